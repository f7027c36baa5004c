/* Join tokens: 32 random bytes that are shown once; the store keeps their hash and what they bind.
 *
 * Table "tokens": hex of the SHA-256 -> "EXPIRY NAMESPACE WORKLOAD INDEX". A look-up by hash needs
 * no comparison in constant time: who guesses hashes learns nothing about tokens. */
#include "base/err.h"
#include "base/random.h"
#include "base/vec.h"
#include "codec/base64.h"
#include "control/ca/ca.h"
#include "crypto/digest.h"

#define TOKEN_TABLE "tokens"

enum { TOKEN_BYTES = 32, TOKEN_TEXT_LEN = 43, DIGEST_BYTES = 32 };

static struct str key_of(struct str token, struct arena *a)
{
    uint8_t digest[DIGEST_BYTES];
    struct str_buf hex = STR_BUF_INIT(2 * DIGEST_BYTES + 1);
    sha256(token, digest);
    hex_encode(&hex, str_from((const char *)digest, sizeof digest));
    struct str key = arena_str(a, str_buf_str(&hex));
    str_buf_deinit(&hex);
    return key;
}

struct token {
    uint64_t expires_s;
    struct str namespace_, workload;
    uint64_t index;
};

static bool parse(struct str value, struct token *ret_token)
{
    struct token t;
    struct str rest = value;
    if (!str_to_u64(str_split(&rest, ' '), UINT64_MAX, &t.expires_s))
        return false;
    t.namespace_ = str_split(&rest, ' ');
    t.workload = str_split(&rest, ' ');
    if (t.namespace_.len == 0 || t.workload.len == 0 || !str_to_u64(rest, UINT32_MAX, &t.index))
        return false;
    *ret_token = t;
    return true;
}

/* --- expiry --- */

struct purge {
    uint64_t now_s;
    struct arena arena;
    VEC(struct str) keys;
    size_t live;
};

static void look(void *ctx, struct str key, struct str value)
{
    struct purge *p = ctx;
    struct token t;
    if (!parse(value, &t) || t.expires_s <= p->now_s)
        VEC_PUSH(&p->keys, arena_str(&p->arena, key));
    else
        p->live++;
}

/* How many are left. */
static int purge(struct store *s, uint64_t now_s, size_t *ret_live)
{
    struct purge p = {.now_s = now_s};
    arena_init(&p.arena, 1024);
    int err = store_record_list(s, STR(TOKEN_TABLE), look, &p);
    for (size_t i = 0; err == 0 && i < p.keys.len; i++)
        err = store_record_put(s, STR(TOKEN_TABLE), p.keys.ptr[i], STR_NULL);
    *ret_live = p.live;
    VEC_DEINIT(&p.keys);
    arena_deinit(&p.arena);
    return err;
}

/* --- making and taking --- */

int ca_token_make(struct store *s, struct str namespace_, struct str workload, uint32_t index,
                  uint64_t now_s, uint64_t lifetime_s, struct str_buf *ret_token)
{
    uint8_t bytes[TOKEN_BYTES];
    size_t live = 0;
    int err = purge(s, now_s, &live);
    if (err == 0 && live >= CA_TOKENS_MAX)
        err = -ERR_LIMIT;
    if (err != 0)
        return err;
    random_secret(bytes, sizeof bytes);
    struct str_buf text = STR_BUF_INIT(TOKEN_TEXT_LEN + 1);
    base64_encode(&text, BASE64_URL, str_from((const char *)bytes, sizeof bytes));
    struct arena a;
    arena_init(&a, 1024);
    unsigned long long until_s = now_s + lifetime_s;
    struct str value = arena_printf(&a, "%llu %.*s %.*s %u", until_s, STR_FMT(namespace_),
                                    STR_FMT(workload), index);
    err = store_record_put(s, STR(TOKEN_TABLE), key_of(str_buf_str(&text), &a), value);
    if (err == 0)
        str_buf_add(ret_token, str_buf_str(&text));
    secret_wipe(bytes, sizeof bytes);
    secret_wipe(text.ptr, text.cap);
    str_buf_deinit(&text);
    arena_deinit(&a);
    return err;
}

int ca_token_redeem(struct store *s, struct str token, uint64_t now_s, struct arena *a,
                    struct str *ret_namespace, struct str *ret_workload, uint32_t *ret_index)
{
    struct str value;
    struct token t;
    if (token.len != TOKEN_TEXT_LEN)
        return -ERR_UNAUTHENTICATED;
    struct str key = key_of(token, a);
    int err = store_record_get(s, STR(TOKEN_TABLE), key, a, &value);
    if (err == -ERR_NOT_FOUND)
        return -ERR_UNAUTHENTICATED;
    /* Gone before it is honoured: once, also when the rest fails. */
    if (err == 0)
        err = store_record_put(s, STR(TOKEN_TABLE), key, STR_NULL);
    if (err != 0)
        return err;
    if (!parse(value, &t) || t.expires_s <= now_s)
        return -ERR_UNAUTHENTICATED;
    *ret_namespace = t.namespace_;
    *ret_workload = t.workload;
    *ret_index = (uint32_t)t.index;
    return 0;
}
