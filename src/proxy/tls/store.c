#include "proxy/tls/store.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/map.h"
#include "crypto/digest.h"

enum { CHAIN_MAX = 16, ROOTS_MAX = 256, KEY_LEN_MAX = 4096 };

/* A secret, parsed once. */
struct stored {
    struct resource *resource;
    struct key *key;
    struct cert *chain[CHAIN_MAX];
    size_t chain_count;
    struct cert **roots;
    size_t root_count;
};

struct tls_store {
    struct map secrets;  /* name -> struct stored */
    struct map contexts; /* what makes it up, as text -> struct tls_context */
    uint64_t generation;
    bool has_tickets;
    uint8_t ticket_key[80];
};

struct tls_store *tls_store_new(const uint8_t ticket_key[80])
{
    struct tls_store *s = NEW(struct tls_store);
    map_init(&s->secrets);
    map_init(&s->contexts);
    s->generation = 1; /* 0 is "no TLS" for users */
    if (ticket_key != NULL) {
        s->has_tickets = true;
        memcpy(s->ticket_key, ticket_key, sizeof s->ticket_key);
    }
    return s;
}

static void stored_free(struct stored *t)
{
    if (t == NULL)
        return;
    key_unref(t->key);
    for (size_t i = 0; i < t->chain_count; i++)
        cert_unref(t->chain[i]);
    for (size_t i = 0; i < t->root_count; i++)
        cert_unref(t->roots[i]);
    free(t->roots);
    resource_unref(t->resource);
    free(t);
}

/* Contexts are rebuilt on their next use; endpoints that live hold theirs. */
static void forget_contexts(struct tls_store *s)
{
    size_t iter = 0;
    void *value;
    while (map_next(&s->contexts, &iter, NULL, &value))
        tls_context_unref(value);
    map_clear(&s->contexts);
}

struct tls_store *tls_store_free(struct tls_store *s)
{
    if (s == NULL)
        return NULL;
    forget_contexts(s);
    size_t iter = 0;
    void *value;
    while (map_next(&s->secrets, &iter, NULL, &value))
        stored_free(value);
    map_deinit(&s->secrets);
    map_deinit(&s->contexts);
    secret_wipe(s->ticket_key, sizeof s->ticket_key);
    free(s);
    return NULL;
}

static int parse_pair(struct stored *t, const struct secret *secret)
{
    int err = key_from_pem(secret->key_pem, &t->key);
    if (err != 0)
        return err;
    return certs_from_pem(secret->chain_pem, t->chain, CHAIN_MAX, &t->chain_count);
}

static int parse_roots(struct stored *t, const struct secret *secret)
{
    struct cert *roots[ROOTS_MAX];
    size_t count;
    int err = certs_from_pem(secret->roots_pem, roots, ROOTS_MAX, &count);
    if (err != 0)
        return err;
    t->roots = mem_alloc(sizeof(struct cert *) * (count > 0 ? count : 1));
    for (size_t i = 0; i < count; i++)
        t->roots[i] = roots[i];
    t->root_count = count;
    return 0;
}

static int stored_new(struct resource *r, struct stored **ret_stored)
{
    struct stored *t = NEW(struct stored);
    t->resource = resource_hold(r);
    int err = r->secret->kind == SECRET_CERTIFICATE ? parse_pair(t, r->secret)
                                                    : parse_roots(t, r->secret);
    if (err != 0) {
        stored_free(t);
        return -ERR_CERTIFICATE;
    }
    *ret_stored = t;
    return 0;
}

void tls_store_set_secret(struct tls_store *s, struct str name, struct resource *secret)
{
    struct stored *t = NULL;
    /* What does not parse was refused by the main thread; should it come all the same, its users
     * fail closed, as without it. */
    if (secret != NULL && stored_new(secret, &t) != 0)
        t = NULL;
    stored_free(t != NULL ? map_put(&s->secrets, name, t) : map_remove(&s->secrets, name));
    s->generation++;
    forget_contexts(s);
}

struct resource *tls_store_secret(struct tls_store *s, struct str name)
{
    const struct stored *t = map_get(&s->secrets, name);
    return t == NULL ? NULL : t->resource;
}

uint64_t tls_store_generation(const struct tls_store *s)
{
    return s->generation;
}

/* --- contexts --- */

/* A certificate where roots are expected would be a context without roots. */
static int check_kind(const struct secret *secret, enum secret_kind kind, struct str_buf *why)
{
    if (secret->kind == kind)
        return 0;
    str_buf_add_c(why, kind == SECRET_CERTIFICATE ? "the secret is no certificate"
                                                  : "the secret is no validation context");
    return -ERR_CERTIFICATE;
}

/* What an SDS name or an inline secret stands for. *ret_own: to be freed by the caller. */
static int find_source(struct tls_store *s, const struct tls_secret_source *source,
                       enum secret_kind kind, struct str_buf *why, const struct stored **ret_stored,
                       struct stored **ret_own)
{
    *ret_own = NULL;
    *ret_stored = NULL;
    if (source->sds_name.len > 0) {
        *ret_stored = map_get(&s->secrets, source->sds_name);
        if (*ret_stored == NULL)
            str_buf_printf(why, "secret \"%.*s\" has not come yet", STR_FMT(source->sds_name));
        if (*ret_stored == NULL)
            return -ERR_UNAVAILABLE;
        return check_kind((*ret_stored)->resource->secret, kind, why);
    }
    if (source->inline_secret == NULL)
        return 0;
    int kind_err = check_kind(source->inline_secret, kind, why);
    if (kind_err != 0)
        return kind_err;
    struct resource shell = {.type = RESOURCE_SECRET, .secret = source->inline_secret};
    struct stored *t = NEW(struct stored);
    int err = shell.secret->kind == SECRET_CERTIFICATE ? parse_pair(t, shell.secret)
                                                       : parse_roots(t, shell.secret);
    if (err != 0) {
        stored_free(t);
        str_buf_add_c(why, "a certificate or key does not parse");
        return -ERR_CERTIFICATE;
    }
    *ret_own = t;
    *ret_stored = t;
    return 0;
}

/* By content, for an address may be used again by the next configuration. */
static void add_digest(struct str_buf *key, struct str text)
{
    uint8_t digest[32];
    sha256(text, digest);
    str_buf_add_c(key, "|#");
    for (size_t i = 0; i < sizeof digest; i++)
        str_buf_printf(key, "%02x", digest[i]);
}

/* With its length, so that no two lists of texts look alike. */
static void add_text(struct str_buf *key, const char *tag, struct str text)
{
    str_buf_printf(key, "|%s:%zu:", tag, text.len);
    str_buf_add(key, text);
}

static void add_source_key(struct str_buf *key, const struct tls_secret_source *source)
{
    const struct secret *secret = source->inline_secret;
    if (source->sds_name.len > 0) {
        add_text(key, "sds", source->sds_name);
    } else if (secret != NULL) {
        add_digest(key, secret->chain_pem);
        add_digest(key, secret->key_pem);
        add_digest(key, secret->roots_pem);
    }
}

/* Everything that makes a context up, and nothing else: equal text, same context. */
static void context_key(const struct common_tls *tls, const char *role, const struct str *alpn,
                        size_t alpn_count, struct str_buf *key)
{
    str_buf_add_c(key, role);
    str_buf_add_c(key, "|own");
    add_source_key(key, &tls->certificate);
    str_buf_add_c(key, "|peer");
    add_source_key(key, &tls->validation);
    str_buf_printf(key, "|%d-%d", tls->version_min, tls->version_max);
    add_text(key, "ciphers", tls->ciphers);
    for (size_t i = 0; i < alpn_count; i++)
        add_text(key, "alpn", alpn[i]);
}

void tls_store_describe(const struct common_tls *tls, struct str_buf *to)
{
    context_key(tls, "tls", tls->alpn, tls->alpn_count, to);
    for (size_t i = 0; i < tls->san_count; i++) {
        str_buf_printf(to, "|%d-%d", (int)tls->sans[i].type, (int)tls->sans[i].match.kind);
        add_text(to, "san", tls->sans[i].match.value);
    }
}

static struct tls_san_match to_san(const struct tls_san_matcher *m)
{
    static const enum tls_san_kind types[] = {
        [TLS_SAN_TYPE_ANY] = TLS_SAN_ANY,
        [TLS_SAN_TYPE_DNS] = TLS_SAN_DNS,
        [TLS_SAN_TYPE_URI] = TLS_SAN_URI,
        [TLS_SAN_TYPE_IP] = TLS_SAN_IP,
    };
    /* Presence alone is the empty prefix. */
    static const enum tls_match_kind kinds[] = {
        [STRING_MATCH_ANY] = TLS_MATCH_PREFIX,
        [STRING_MATCH_EXACT] = TLS_MATCH_EXACT,
        [STRING_MATCH_PREFIX] = TLS_MATCH_PREFIX,
        [STRING_MATCH_SUFFIX] = TLS_MATCH_SUFFIX,
        [STRING_MATCH_CONTAINS] = TLS_MATCH_CONTAINS,
        [STRING_MATCH_REGEX] = TLS_MATCH_EXACT, /* no decoder lets one through */
    };
    return (struct tls_san_match){types[m->type], kinds[m->match.kind], m->match.value};
}

size_t tls_store_sans(struct tls_store *s, const struct common_tls *tls,
                      struct tls_san_match *ret_sans, size_t max)
{
    const struct stored *stored = map_get(&s->secrets, tls->validation.sds_name);
    const struct secret *secret = tls->validation.sds_name.len == 0 ? tls->validation.inline_secret
                                  : stored != NULL                  ? stored->resource->secret
                                                                    : NULL;
    size_t count = 0;
    for (size_t i = 0; i < tls->san_count; i++, count++) {
        if (count < max)
            ret_sans[count] = to_san(&tls->sans[i]);
    }
    for (size_t i = 0; secret != NULL && i < secret->san_count; i++, count++) {
        if (count < max)
            ret_sans[count] = to_san(&secret->sans[i]);
    }
    return count;
}

static int build(struct tls_store *s, const struct common_tls *tls, struct tls_context_args *args,
                 struct str_buf *why, struct tls_context **ret_context)
{
    const struct stored *pair, *roots;
    struct stored *own_pair, *own_roots = NULL;
    int err = find_source(s, &tls->certificate, SECRET_CERTIFICATE, why, &pair, &own_pair);
    if (err == 0)
        err = find_source(s, &tls->validation, SECRET_VALIDATION, why, &roots, &own_roots);
    if (err == 0) {
        args->key = pair != NULL ? pair->key : NULL;
        args->chain = pair != NULL ? pair->chain : NULL;
        args->chain_count = pair != NULL ? pair->chain_count : 0;
        args->roots = roots != NULL ? roots->roots : NULL;
        args->root_count = roots != NULL ? roots->root_count : 0;
        args->version_min = tls->version_min;
        args->version_max = tls->version_max;
        args->ciphers =
            tls->ciphers.len > 0 ? tls->ciphers.ptr : NULL; /* of arena_str: with a NUL */
        args->ticket_key = s->has_tickets ? s->ticket_key : NULL;
        err = tls_context_new(args, why, ret_context);
    }
    stored_free(own_pair);
    stored_free(own_roots);
    return err;
}

static int find_or_build(struct tls_store *s, const struct common_tls *tls, struct str_buf *key,
                         struct tls_context_args *args, struct str_buf *why,
                         struct tls_context **ret_context)
{
    int err = 0;
    struct tls_context *context =
        key->is_overflown ? NULL : map_get(&s->contexts, str_buf_str(key));
    if (context == NULL) {
        err = build(s, tls, args, why, &context);
        if (err == 0)
            map_put(&s->contexts, str_buf_str(key), context);
    }
    if (err == 0)
        *ret_context = context;
    str_buf_deinit(key);
    return err;
}

int tls_store_server(struct tls_store *s, const struct downstream_tls *tls, struct str_buf *why,
                     struct tls_context **ret_context)
{
    struct str_buf key = STR_BUF_INIT(KEY_LEN_MAX);
    const char *role = tls->require_client_certificate ? "server!" : "server";
    context_key(&tls->common, role, tls->common.alpn, tls->common.alpn_count, &key);
    bool has_roots =
        tls->common.validation.sds_name.len > 0 || tls->common.validation.inline_secret != NULL;
    struct tls_context_args args = {
        .role = TLS_SERVER,
        .is_client_cert_required = tls->require_client_certificate,
        .is_client_cert_asked = has_roots,
        .alpn = tls->common.alpn,
        .alpn_count = tls->common.alpn_count,
    };
    return find_or_build(s, &tls->common, &key, &args, why, ret_context);
}

int tls_store_client(struct tls_store *s, const struct upstream_tls *tls, const struct str *alpn,
                     size_t alpn_count, struct str_buf *why, struct tls_context **ret_context)
{
    struct str_buf key = STR_BUF_INIT(KEY_LEN_MAX);
    const struct str *protocols = alpn_count > 0 ? alpn : tls->common.alpn;
    size_t count = alpn_count > 0 ? alpn_count : tls->common.alpn_count;
    context_key(&tls->common, "client", protocols, count, &key);
    /* Without validation_context Envoy does not verify; so it is said here, too. */
    bool has_roots =
        tls->common.validation.sds_name.len > 0 || tls->common.validation.inline_secret != NULL;
    struct tls_context_args args = {
        .role = TLS_CLIENT,
        .is_unverified_allowed = !has_roots,
        .alpn = protocols,
        .alpn_count = count,
    };
    return find_or_build(s, &tls->common, &key, &args, why, ret_context);
}
