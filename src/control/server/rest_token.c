/* POST /apis/tulle.dev/v1/namespaces/NS/workloads/NAME/token
 *
 *   {"replica": N}                            for who starts sidecars himself: the token
 *   {"join": true[, "replica": N, "lifetimeSeconds": S]}
 *                                             by hand: all that a host needs to join, as one text
 */
#include "codec/base64.h"
#include "control/server/server_priv.h"
#include "crypto/digest.h"

enum { JOIN_TEXT_MAX = 8192, JOIN_LIFETIME_S = 3600, JOIN_LIFETIME_S_MAX = 24 * 3600 };

struct wish {
    uint64_t replica, lifetime_s;
    bool is_join;
};

/* The first that nobody is. */
static uint64_t free_replica(const struct rest_call *c, const struct api_document *d)
{
    uint64_t n = 0;
    while (n < API_WORKLOAD_REPLICAS_MAX - 1 &&
           registry_replica(c->server->args.registry, d->namespace, d->name, (uint32_t)n) != NULL)
        n++;
    return n;
}

static bool parse(struct rest_call *c, const struct api_document *d, struct wish *ret_wish)
{
    const struct json *root;
    struct wish w = {.lifetime_s = CA_TOKEN_LIFETIME_S};
    if (json_parse(c->a, str_buf_str(&c->body), 4096, &root, NULL) != 0)
        return false;
    (void)json_bool(json_get(root, "join"), &w.is_join);
    if (w.is_join) {
        w.lifetime_s = JOIN_LIFETIME_S;
        w.replica = free_replica(c, d);
    }
    bool is_named = json_u64(json_get(root, "replica"), &w.replica);
    if ((!is_named && !w.is_join) || w.replica >= API_WORKLOAD_REPLICAS_MAX)
        return false;
    const struct json *lifetime = json_get(root, "lifetimeSeconds");
    if (lifetime != NULL && (!w.is_join || !json_u64(lifetime, &w.lifetime_s) ||
                             w.lifetime_s == 0 || w.lifetime_s > JOIN_LIFETIME_S_MAX))
        return false;
    *ret_wish = w;
    return true;
}

static struct str label_of(const struct api_document *d, struct str key)
{
    struct str value = STR_NULL;
    (void)api_labels_get(&d->labels, key, &value);
    return value;
}

/* The roots by their digests: while one is being replaced the host may meet either. */
static void write_pins(const struct rest_call *c, struct json_writer *w)
{
    struct cert *roots[CA_ROOTS_MAX];
    size_t count = ca_roots(c->server->args.ca, roots);
    json_writer_array(w, "pins");
    for (size_t i = 0; i < count; i++) {
        struct cert_info info;
        if (cert_info(roots[i], c->a, &info) == 0)
            json_writer_str(w, NULL, info.sha256_hex);
    }
    json_writer_end(w);
}

/* What a host is to know of itself, and by what it knows us; base64url of JSON. */
static void write_join(const struct rest_call *c, const struct api_document *d,
                       const struct wish *wish, struct str token, struct str_buf *out)
{
    struct str_buf text = STR_BUF_INIT(JOIN_TEXT_MAX);
    struct json_writer w;
    json_writer_init(&w, &text, 0);
    json_writer_object(&w, NULL);
    json_writer_str(&w, "token", token);
    json_writer_str(&w, "workload", d->name);
    json_writer_str(&w, "namespace", d->namespace);
    json_writer_u64(&w, "replica", wish->replica);
    json_writer_str(&w, "serviceAccount", d->spec.workload->service_account);
    json_writer_str(&w, "trustDomain", registry_mesh(c->server->args.registry)->trust_domain);
    json_writer_str(&w, "app", label_of(d, STR("app")));
    json_writer_str(&w, "version", label_of(d, STR("version")));
    write_pins(c, &w);
    json_writer_end(&w);
    base64_encode(out, BASE64_URL, str_buf_str(&text));
    secret_wipe(text.ptr, text.cap);
    str_buf_deinit(&text);
}

static void reply(struct rest_call *c, const struct api_document *d, const struct wish *wish,
                  struct str token)
{
    struct str_buf out = STR_BUF_INIT(2 * JOIN_TEXT_MAX), join = STR_BUF_INIT(2 * JOIN_TEXT_MAX);
    struct json_writer w;
    json_writer_init(&w, &out, 0);
    json_writer_object(&w, NULL);
    if (wish->is_join) {
        write_join(c, d, wish, token, &join);
        json_writer_str(&w, "join", str_buf_str(&join));
        json_writer_u64(&w, "replica", wish->replica);
        write_pins(c, &w);
    } else {
        json_writer_str(&w, "token", token);
    }
    json_writer_u64(&w, "expiresInSeconds", wish->lifetime_s);
    json_writer_end(&w);
    rest_reply(c, 201, str_buf_str(&out));
    secret_wipe(out.ptr, out.cap);
    str_buf_deinit(&out);
    if (join.ptr != NULL)
        secret_wipe(join.ptr, join.cap);
    str_buf_deinit(&join);
}

/* They let a host in. Those that the supervisor of this machine takes for its sidecars, many at
 * once, are no news. */
static bool is_audited(const struct rest_call *c, const struct wish *wish)
{
    return wish->is_join || !c->who.is_administrator;
}

static int audit(struct rest_call *c, const struct api_document *d, const struct wish *wish)
{
    struct store_author by = rest_author(c, "token create");
    struct str what = arena_printf(c->a, "%.*s/%.*s/%llu", STR_FMT(d->namespace), STR_FMT(d->name),
                                   (unsigned long long)wish->replica);
    by.note =
        by.note.len > 0 ? arena_printf(c->a, "%.*s: %.*s", STR_FMT(what), STR_FMT(by.note)) : what;
    return store_audit(c->server->args.store, &by);
}

void rest_token(struct rest_call *c, struct str namespace_, struct str workload)
{
    const struct server_args *args = &c->server->args;
    struct wish wish;
    const struct api_document *d =
        registry_doc(args->registry, API_KIND_WORKLOAD, namespace_, workload);
    if (d == NULL) {
        rest_fail(c, 404, "NotFound", "Workload \"%.*s\" is not there", STR_FMT(workload));
        return;
    }
    if (!parse(c, d, &wish)) {
        rest_fail(c, 400, "BadRequest",
                  "the body is {\"replica\": NUMBER}, below %d, or {\"join\": true} with "
                  "\"lifetimeSeconds\" up to %d",
                  API_WORKLOAD_REPLICAS_MAX, JOIN_LIFETIME_S_MAX);
        return;
    }
    struct str_buf token = STR_BUF_INIT(128);
    int err = is_audited(c, &wish) ? audit(c, d, &wish) : 0;
    if (err == 0)
        err = ca_token_make(args->store, namespace_, workload, (uint32_t)wish.replica,
                            turn_wall_us(args->turn) / 1000000, wish.lifetime_s, &token);
    if (err == 0)
        reply(c, d, &wish, str_buf_str(&token));
    else
        rest_fail(c, err == -ERR_LIMIT ? 429 : 500,
                  err == -ERR_LIMIT ? "TooManyRequests" : "InternalError", "no token: %s",
                  err_text(err));
    if (token.ptr != NULL)
        secret_wipe(token.ptr, token.cap);
    str_buf_deinit(&token);
}
