/* Principals, and their records: "token:HEX" or "identity:SPIFFE-ID" -> JSON. */
#include "control/server/access.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/random.h"
#include "base/vec.h"
#include "codec/base64.h"
#include "codec/json.h"
#include "codec/json_writer.h"
#include "crypto/digest.h"

#define TABLE "access"
#define TOKEN_PREFIX "tulle_"

enum { TOKEN_BYTES = 32, DIGEST_BYTES = 32, VALUE_BYTES_MAX = 64 * 1024 };

static const char *const verb_names[ACCESS_VERB_COUNT] = {
    "get", "list", "watch", "create", "update", "patch", "delete", "admin", "bypass",
};

const char *access_verb_name(enum access_verb verb)
{
    return verb_names[verb];
}

bool access_verb_parse(struct str name, enum access_verb *ret_verb)
{
    for (int i = 0; i < ACCESS_VERB_COUNT; i++) {
        if (str_eq(name, str_from_c(verb_names[i]))) {
            *ret_verb = (enum access_verb)i;
            return true;
        }
    }
    return false;
}

bool access_may(const struct access_principal *p, enum access_verb verb, enum api_kind kind,
                struct str namespace_)
{
    const struct access_rules *r = &p->rules;
    if (p->is_administrator)
        return true;
    if ((r->verbs & (1u << verb)) == 0)
        return false;
    if (r->kinds != 0 && (kind == API_KIND_COUNT || (r->kinds & (1u << kind)) == 0))
        return false;
    bool is_in = r->namespace_count == 0;
    for (size_t i = 0; i < r->namespace_count && !is_in; i++)
        is_in = namespace_.len > 0 && str_eq(namespace_, r->namespaces[i]);
    return is_in;
}

/* --- records --- */

void access_write_rules(struct json_writer *w, const struct access_rules *r,
                        enum access_kind_names names)
{
    json_writer_array(w, "verbs");
    for (int v = 0; v < ACCESS_VERB_COUNT; v++) {
        if ((r->verbs & (1u << v)) != 0)
            json_writer_c(w, NULL, verb_names[v]);
    }
    json_writer_end(w);
    json_writer_array(w, "kinds");
    for (int k = 0; k < API_KIND_COUNT; k++) {
        const struct api_kind_info *kind = api_kind_info((enum api_kind)k);
        if ((r->kinds & (1u << k)) != 0)
            json_writer_c(w, NULL, names == ACCESS_KINDS_PLURAL ? kind->plural : kind->name);
    }
    json_writer_end(w);
    json_writer_array(w, "namespaces");
    for (size_t i = 0; i < r->namespace_count; i++)
        json_writer_str(w, NULL, r->namespaces[i]);
    json_writer_end(w);
}

static void write_grant(const struct access_grant *g, struct str_buf *out)
{
    struct json_writer w;
    json_writer_init(&w, out, 0);
    json_writer_object(&w, NULL);
    json_writer_str(&w, "name", g->name);
    json_writer_str(&w, "identity", g->identity);
    json_writer_u64(&w, "expires", g->expires_s);
    json_writer_str(&w, "createdAt", g->created_at);
    access_write_rules(&w, &g->rules, ACCESS_KINDS_SINGULAR);
    json_writer_end(&w);
}

static bool read_kinds(const struct json *list, uint32_t *ret_kinds)
{
    for (size_t i = 0; i < json_count(list); i++) {
        const struct api_kind_info *kind = api_kind_parse(json_str_or(json_at(list, i), STR_NULL));
        if (kind == NULL)
            return false;
        *ret_kinds |= 1u << kind->kind;
    }
    return true;
}

static bool read_verbs(const struct json *list, uint32_t *ret_verbs)
{
    for (size_t i = 0; i < json_count(list); i++) {
        enum access_verb verb;
        if (!access_verb_parse(json_str_or(json_at(list, i), STR_NULL), &verb))
            return false;
        *ret_verbs |= 1u << verb;
    }
    return true;
}

/* A record that cannot be read gives no right: false. */
static bool read_grant(struct arena *a, struct str value, struct access_grant *ret_grant)
{
    const struct json *root;
    struct access_grant g = {.expires_s = 0};
    if (json_parse(a, value, VALUE_BYTES_MAX, &root, NULL) != 0)
        return false;
    g.name = json_str_or(json_get(root, "name"), STR_NULL);
    g.identity = json_str_or(json_get(root, "identity"), STR_NULL);
    g.created_at = json_str_or(json_get(root, "createdAt"), STR_NULL);
    const struct json *namespaces = json_get(root, "namespaces");
    g.rules.namespace_count = json_count(namespaces);
    if (g.rules.namespace_count > ACCESS_LIST_MAX ||
        !json_u64(json_get(root, "expires"), &g.expires_s))
        return false;
    for (size_t i = 0; i < g.rules.namespace_count; i++)
        g.rules.namespaces[i] = json_str_or(json_at(namespaces, i), STR_NULL);
    *ret_grant = g;
    return read_verbs(json_get(root, "verbs"), &ret_grant->rules.verbs) &&
           read_kinds(json_get(root, "kinds"), &ret_grant->rules.kinds);
}

static struct str token_key(struct arena *a, struct str token)
{
    uint8_t digest[DIGEST_BYTES];
    struct str_buf hex = STR_BUF_INIT(2 * DIGEST_BYTES + 1);
    sha256(token, digest);
    hex_encode(&hex, str_from((const char *)digest, sizeof digest));
    struct str key = arena_printf(a, "token:%.*s", STR_FMT(str_buf_str(&hex)));
    str_buf_deinit(&hex);
    return key;
}

static struct str identity_key(struct arena *a, struct str identity)
{
    return arena_printf(a, "identity:%.*s", STR_FMT(identity));
}

/* --- who it is --- */

static struct str principal_name(struct arena *a, const struct access_grant *g)
{
    return g->identity.len > 0 ? arena_str(a, g->identity)
                               : arena_printf(a, "token:%.*s", STR_FMT(g->name));
}

static int find(struct store *s, struct str key, uint64_t now_s, struct arena *a,
                struct access_principal *ret_principal)
{
    struct str value;
    struct access_grant g;
    int err = store_record_get(s, STR(TABLE), key, a, &value);
    if (err != 0)
        return err == -ERR_NOT_FOUND ? -ERR_UNAUTHENTICATED : err;
    if (!read_grant(a, value, &g) || (g.expires_s > 0 && g.expires_s <= now_s))
        return -ERR_UNAUTHENTICATED;
    *ret_principal = (struct access_principal){
        .name = principal_name(a, &g), .expires_s = g.expires_s, .rules = g.rules};
    return 0;
}

int access_by_token(struct store *s, struct str token, uint64_t now_s, struct arena *a,
                    struct access_principal *ret_principal)
{
    if (!str_starts_with(token, STR(TOKEN_PREFIX)) || token.len > 200)
        return -ERR_UNAUTHENTICATED;
    return find(s, token_key(a, token), now_s, a, ret_principal);
}

int access_by_identity(struct store *s, struct str spiffe_id, uint64_t now_s, struct arena *a,
                       struct access_principal *ret_principal)
{
    return find(s, identity_key(a, spiffe_id), now_s, a, ret_principal);
}

/* --- giving and taking --- */

struct lookup {
    struct str name;
    access_each_fn *each;
    void *ctx;
    struct arena arena;
    struct str key; /* of that name; empty: none */
    struct str principal;
    size_t count;
};

static void look(void *ctx, struct str key, struct str value)
{
    struct lookup *l = ctx;
    struct access_grant g;
    l->count++;
    if (!read_grant(&l->arena, value, &g))
        return;
    if (l->each != NULL) {
        l->each(l->ctx, &g);
    } else if (str_eq(g.name, l->name)) {
        l->key = arena_str(&l->arena, key);
        l->principal = principal_name(&l->arena, &g);
    }
}

static void make_token(struct str_buf *ret_token)
{
    uint8_t secret[TOKEN_BYTES];
    random_secret(secret, sizeof secret);
    str_buf_add_c(ret_token, TOKEN_PREFIX);
    base64_encode(ret_token, BASE64_URL, str_from((const char *)secret, sizeof secret));
    secret_wipe(secret, sizeof secret);
}

static int put(struct store *s, const struct access_grant *g, struct arena *a,
               struct str_buf *ret_token)
{
    struct str_buf value = STR_BUF_INIT(VALUE_BYTES_MAX);
    if (g->identity.len == 0)
        make_token(ret_token);
    struct str key =
        g->identity.len > 0 ? identity_key(a, g->identity) : token_key(a, str_buf_str(ret_token));
    write_grant(g, &value);
    int err = value.is_overflown ? -ERR_TOO_LARGE
                                 : store_record_put(s, STR(TABLE), key, str_buf_str(&value));
    str_buf_deinit(&value);
    return err;
}

int access_give(struct store *s, const struct access_grant *g, struct str_buf *ret_token)
{
    struct lookup l = {.name = g->name};
    struct str present;
    arena_init(&l.arena, 4096);
    int err = store_record_list(s, STR(TABLE), look, &l);
    if (err == 0 && l.count >= ACCESS_COUNT_MAX)
        err = -ERR_LIMIT;
    if (err == 0 &&
        (l.key.len > 0 || (g->identity.len > 0 &&
                           store_record_get(s, STR(TABLE), identity_key(&l.arena, g->identity),
                                            &l.arena, &present) == 0)))
        err = -ERR_EXISTS;
    if (err == 0)
        err = put(s, g, &l.arena, ret_token);
    arena_deinit(&l.arena);
    return err;
}

int access_take(struct store *s, struct str name, struct arena *a, struct str *ret_principal)
{
    struct lookup l = {.name = name};
    arena_init(&l.arena, 4096);
    int err = store_record_list(s, STR(TABLE), look, &l);
    if (err == 0)
        err = l.key.len == 0 ? -ERR_NOT_FOUND : store_record_put(s, STR(TABLE), l.key, STR_NULL);
    if (err == 0)
        *ret_principal = arena_str(a, l.principal);
    arena_deinit(&l.arena);
    return err;
}

int access_list(struct store *s, access_each_fn *each, void *ctx)
{
    struct lookup l = {.each = each, .ctx = ctx};
    arena_init(&l.arena, 4096);
    int err = store_record_list(s, STR(TABLE), look, &l);
    arena_deinit(&l.arena);
    return err;
}

/* --- how often --- */

struct bucket {
    uint64_t at_us;
    double calls;
};

void access_rates_init(struct access_rates *r)
{
    map_init(&r->buckets);
}

void access_rates_deinit(struct access_rates *r)
{
    void *bucket;
    for (size_t i = 0; map_next(&r->buckets, &i, NULL, &bucket);)
        free(bucket);
    map_deinit(&r->buckets);
}

bool access_rate_take(struct access_rates *r, const struct access_principal *p, uint64_t now_us)
{
    if (p->is_administrator)
        return true;
    struct bucket *b = map_get(&r->buckets, p->name);
    if (b == NULL) {
        b = NEW(struct bucket);
        *b = (struct bucket){now_us, ACCESS_BURST};
        map_put(&r->buckets, p->name, b);
    }
    b->calls += (double)(now_us - b->at_us) * ACCESS_RATE / 1e6;
    b->calls = MIN(b->calls, (double)ACCESS_BURST);
    b->at_us = now_us;
    if (b->calls < 1)
        return false;
    b->calls -= 1;
    return true;
}
