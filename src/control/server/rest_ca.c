/* The CA:
 *   GET  /tulle/v1/ca                     roots, the stage of a rotation, leaves and whose they are
 *   GET  /tulle/v1/ca/bundle              the roots as PEM
 *   POST /tulle/v1/ca/rotate?to=trust|sign|drop|cancel[&force=true]
 *   POST /tulle/v1/ca/issue?identity=ID[&lifetime=SECONDS]   body: a CSR */
#include "base/log.h"
#include "codec/duration.h"
#include "control/server/server_priv.h"
#include "mesh/identity/spiffe.h"

enum {
    ISSUE_LIFETIME_S = 24 * 3600,
    ISSUE_LIFETIME_S_MAX = 90 * 24 * 3600,
    ISSUED_MAX = 10000,
    LEAF_PEM_MAX = 64 * 1024,
    MISSING_NAMED_MAX = 5,
};

/* Leaves that were issued by hand, which nobody renews by himself: serial -> "NOT_AFTER ROOT ID".
 */
#define ISSUED_TABLE "issued"

static uint64_t now_s(const struct rest_call *c)
{
    return turn_wall_us(c->server->args.turn) / 1000000;
}

/* --- what there is --- */

/* Counts, and on the way writes (w) or names those that are missing (text). */
struct survey {
    const struct rest_call *call;
    struct json_writer *w;   /* may be NULL */
    struct str_buf *missing; /* may be NULL */
    bool is_renewal;         /* missing are those whose leaf is of another root */
    unsigned of, trusting, renewed, missing_count;
    unsigned issued_by_other; /* by hand, not over */
    struct str signing;       /* id of the root that signs */
    VEC(struct str) over;     /* serials of leaves by hand that nobody takes any more */
};

static void write_end(const struct rest_call *c, struct json_writer *w, uint64_t not_after_s)
{
    char text[TIME_TEXT_MAX];
    int64_t left_s = (int64_t)not_after_s - (int64_t)now_s(c);
    json_writer_str(w, "notAfter", time_format((int64_t)not_after_s * 1000, false, text));
    json_writer_i64(w, "secondsLeft", left_s);
}

static void name_missing(struct survey *s, struct str name, const char *why)
{
    if (s->missing == NULL)
        return;
    if (s->missing_count++ < MISSING_NAMED_MAX)
        str_buf_printf(s->missing, "%s%.*s (%s)", s->missing_count > 1 ? ", " : "", STR_FMT(name),
                       why);
}

static struct str proxy_name(const struct rest_call *c, const struct registry_replica *r)
{
    return arena_printf(c->a, "%.*s/%.*s/%u", STR_FMT(r->namespace_), STR_FMT(r->workload),
                        r->index);
}

static void on_certs(void *ctx, const struct push_certs *p)
{
    struct survey *s = ctx;
    struct str name = proxy_name(s->call, p->replica);
    s->of++;
    s->trusting += p->is_trusting;
    s->renewed += p->is_leaf_renewed;
    if (!p->is_trusting || (s->is_renewal && !p->is_leaf_renewed))
        name_missing(s, name, p->why_not);
    if (s->w == NULL)
        return;
    json_writer_object(s->w, NULL);
    json_writer_str(s->w, "proxy", name);
    json_writer_str(s->w, "identity", p->replica->identity);
    json_writer_bool(s->w, "connected", p->is_connected);
    json_writer_bool(s->w, "trusting", p->is_trusting);
    json_writer_bool(s->w, "renewed", p->is_leaf_renewed);
    if (p->root.len > 0)
        json_writer_str(s->w, "root", p->root);
    if (p->not_after_s > 0)
        write_end(s->call, s->w, p->not_after_s);
    if (p->why_not != NULL)
        json_writer_c(s->w, "why", p->why_not);
    json_writer_end(s->w);
}

static bool is_trusted(const struct rest_call *c, struct str root)
{
    struct cert *roots[CA_ROOTS_MAX];
    size_t count = ca_roots(c->server->args.ca, roots);
    for (size_t i = 0; i < count; i++) {
        if (str_eq(ca_root_id(roots[i], c->a), root))
            return true;
    }
    return false;
}

static void on_issued(void *ctx, struct str serial, struct str value)
{
    struct survey *s = ctx;
    uint64_t not_after_s = 0;
    struct str identity = value, end = str_split(&identity, ' '), root = str_split(&identity, ' ');
    (void)str_to_u64(end, UINT64_MAX, &not_after_s);
    if (not_after_s <= now_s(s->call) || !is_trusted(s->call, root)) {
        VEC_PUSH(&s->over, arena_str(s->call->a, serial));
        return;
    }
    if (!str_eq(root, s->signing)) {
        s->issued_by_other++;
        if (s->is_renewal)
            name_missing(s, identity, "issued by hand");
    }
    if (s->w == NULL)
        return;
    json_writer_object(s->w, NULL);
    json_writer_str(s->w, "serial", serial);
    json_writer_str(s->w, "identity", identity);
    json_writer_str(s->w, "root", root);
    write_end(s->call, s->w, not_after_s);
    json_writer_end(s->w);
}

static int list_issued(struct survey *s)
{
    struct store *store = s->call->server->args.store;
    int err = store_record_list(store, STR(ISSUED_TABLE), on_issued, s);
    for (size_t i = 0; err == 0 && i < s->over.len; i++)
        (void)store_record_put(store, STR(ISSUED_TABLE), s->over.ptr[i], STR_NULL);
    VEC_DEINIT(&s->over);
    return err;
}

/* --- GET ca --- */

static void write_roots(struct rest_call *c, struct json_writer *w)
{
    struct ca *ca = c->server->args.ca;
    struct cert *roots[CA_ROOTS_MAX];
    size_t count = ca_roots(ca, roots);
    char text[TIME_TEXT_MAX];
    json_writer_array(w, "roots");
    for (size_t i = 0; i < count; i++) {
        struct cert_info info;
        if (cert_info(roots[i], c->a, &info) != 0)
            continue;
        json_writer_object(w, NULL);
        json_writer_str(w, "id", ca_root_id(roots[i], c->a));
        json_writer_str(w, "sha256", info.sha256_hex);
        json_writer_str(w, "subject", info.subject);
        json_writer_str(w, "notBefore",
                        time_format((int64_t)info.not_before_s * 1000, false, text));
        write_end(c, w, info.not_after_s);
        json_writer_bool(w, "signs", roots[i] == ca_root(ca));
        json_writer_c(w, "keyAtRest", ca_root_is_encrypted(ca, roots[i]) ? "encrypted" : "plain");
        json_writer_end(w);
    }
    json_writer_end(w);
}

static void write_own(struct rest_call *c, struct json_writer *w)
{
    const struct cert *leaf = push_own_leaf(c->server->args.push);
    struct cert_info info;
    if (leaf == NULL || cert_info(leaf, c->a, &info) != 0)
        return;
    const struct cert *root = ca_signer_of(c->server->args.ca, leaf);
    json_writer_object(w, "own");
    json_writer_str(w, "identity", info.uri_san_count > 0 ? info.uri_sans[0] : STR_NULL);
    json_writer_str(w, "root", root != NULL ? ca_root_id(root, c->a) : STR_NULL);
    write_end(c, w, info.not_after_s);
    json_writer_end(w);
}

static void write_ca(struct rest_call *c, struct json_writer *w)
{
    struct ca *ca = c->server->args.ca;
    struct survey s = {.call = c, .w = w, .signing = ca_root_id(ca_root(ca), c->a)};
    char text[TIME_TEXT_MAX];
    json_writer_object(w, NULL);
    json_writer_c(w, "stage", ca_stage_name(ca_stage(ca)));
    if (ca_stage(ca) != CA_STAGE_NONE)
        json_writer_str(w, "since", time_format((int64_t)ca_stage_since_s(ca) * 1000, false, text));
    write_roots(c, w);
    write_own(c, w);
    json_writer_array(w, "proxies");
    push_each_certs(c->server->args.push, on_certs, &s);
    json_writer_end(w);
    json_writer_array(w, "issued");
    (void)list_issued(&s);
    json_writer_end(w);
    json_writer_u64(w, "of", s.of);
    json_writer_u64(w, "trusting", s.trusting);
    json_writer_u64(w, "renewed", s.renewed);
    json_writer_u64(w, "issuedByOther", s.issued_by_other);
    json_writer_end(w);
}

static void reply_ca(struct rest_call *c)
{
    struct str_buf out = STR_BUF_INIT(REST_ANSWER_BYTES_MAX);
    struct json_writer w;
    json_writer_init(&w, &out, 0);
    write_ca(c, &w);
    rest_reply(c, 200, str_buf_str(&out));
    str_buf_deinit(&out);
}

static void reply_bundle(struct rest_call *c)
{
    c->is_done = true;
    service_reply(c->s, 200, STR("application/x-pem-file"), ca_bundle(c->server->args.ca));
}

/* --- POST ca/rotate --- */

/* Whether the proof for a step is there; else it has answered with who is missing. */
static bool is_proven(struct rest_call *c, bool is_renewal)
{
    struct str_buf missing = STR_BUF_INIT(4096);
    struct survey s = {.call = c,
                       .missing = &missing,
                       .is_renewal = is_renewal,
                       .signing = ca_root_id(ca_root(c->server->args.ca), c->a)};
    push_each_certs(c->server->args.push, on_certs, &s);
    int err = list_issued(&s);
    bool is_proven = err == 0 && s.missing_count == 0;
    if (err != 0)
        rest_fail_store(c, err, NULL);
    else if (!is_proven)
        rest_fail(c, 409, "Conflict", "%u of %u %s; missing: %.*s%s",
                  is_renewal ? MIN(s.renewed, s.trusting) : s.trusting, s.of,
                  is_renewal ? "proxies have a leaf of the new root" : "proxies trust the new root",
                  STR_FMT(str_buf_str(&missing)),
                  s.missing_count > MISSING_NAMED_MAX ? ", and others" : "");
    str_buf_deinit(&missing);
    return is_proven;
}

static int begin(struct rest_call *c)
{
    const struct server_args *args = &c->server->args;
    return ca_rotation_begin(args->ca, registry_mesh(args->registry)->trust_domain, now_s(c));
}

static int sign(struct rest_call *c)
{
    return ca_rotation_sign(c->server->args.ca, now_s(c));
}

static int drop(struct rest_call *c)
{
    return ca_rotation_finish(c->server->args.ca);
}

static int cancel(struct rest_call *c)
{
    return ca_rotation_cancel(c->server->args.ca);
}

static const struct step {
    struct str name;
    enum ca_stage from;
    bool is_to_be_proven, is_renewal;
    int (*take)(struct rest_call *c);
} steps[] = {
    {{"trust", 5}, CA_STAGE_NONE, false, false, begin},
    {{"sign", 4}, CA_STAGE_TRUST, true, false, sign},
    {{"drop", 4}, CA_STAGE_SIGN, true, true, drop},
    {{"cancel", 6}, CA_STAGE_TRUST, false, false, cancel},
};

/* The audit log has it before it happens: an act that nobody could trace is not done. */
static int audit(struct rest_call *c, const char *verb, struct str what)
{
    struct store_author by = rest_author(c, verb);
    by.note =
        by.note.len > 0 ? arena_printf(c->a, "%.*s: %.*s", STR_FMT(what), STR_FMT(by.note)) : what;
    return store_audit(c->server->args.store, &by);
}

static void take_step(struct rest_call *c, const struct step *step)
{
    struct ca *ca = c->server->args.ca;
    bool is_forced = rest_query_is_true(c, "force");
    if (ca_stage(ca) != step->from) {
        rest_fail(c, 409, "Conflict", "the rotation is in stage %s, and %.*s follows %s",
                  ca_stage_name(ca_stage(ca)), STR_FMT(step->name), ca_stage_name(step->from));
        return;
    }
    if (step->is_to_be_proven && !is_forced && !is_proven(c, step->is_renewal))
        return;
    int err = audit(
        c, "cert root rotate",
        arena_printf(c->a, "%.*s%s", STR_FMT(step->name), is_forced ? ", without proof" : ""));
    if (err == 0)
        err = step->take(c);
    /* Also after an error: the stage may have changed all the same. */
    push_roots_changed(c->server->args.push);
    if (c->server->tls != NULL)
        own_tls_renew(c->server->tls);
    log_event(err == 0 ? LOG_INFO : LOG_ERROR, "root_rotation", LF("step", step->name),
              LFC("stage", ca_stage_name(ca_stage(ca))), LFC("result", err_text(err)));
    if (err != 0)
        rest_fail(c, err == -ERR_NO_SPACE ? 507 : 500, "InternalError",
                  "the step %.*s: %s; the stage is %s", STR_FMT(step->name), err_text(err),
                  ca_stage_name(ca_stage(ca)));
    else
        reply_ca(c);
}

static void rotate(struct rest_call *c)
{
    struct str to = rest_query(c, "to");
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        if (!str_eq(steps[i].name, to))
            continue;
        take_step(c, &steps[i]);
        return;
    }
    rest_fail(c, 400, "BadRequest", "say to=trust, sign, drop or cancel");
}

/* --- POST ca/issue --- */

/* A name of the mesh, and not the control plane's own. */
static bool is_issuable(struct rest_call *c, struct str identity)
{
    struct spiffe_id id;
    const struct api_mesh *mesh = registry_mesh(c->server->args.registry);
    if (spiffe_parse(identity, &id) != 0 || !str_eq(id.trust_domain, mesh->trust_domain)) {
        rest_fail(c, 400, "BadRequest", "identity is spiffe://%.*s/ns/NAMESPACE/sa/SERVICE-ACCOUNT",
                  STR_FMT(mesh->trust_domain));
        return false;
    }
    if (str_eq(id.namespace_, STR("tulle-system"))) {
        rest_fail(c, 403, "Forbidden", "identities of tulle-system are the control plane's");
        return false;
    }
    return true;
}

static int note_issued(struct rest_call *c, struct str leaf_pem, struct str identity)
{
    AUTO(cert_unref_auto) struct cert *leaf = NULL;
    struct cert_info info;
    int err = cert_from_pem(leaf_pem, &leaf);
    if (err == 0)
        err = cert_info(leaf, c->a, &info);
    if (err != 0)
        return err;
    const struct cert *root = ca_root(c->server->args.ca);
    struct str value = arena_printf(c->a, "%llu %.*s %.*s", (unsigned long long)info.not_after_s,
                                    STR_FMT(ca_root_id(root, c->a)), STR_FMT(identity));
    return store_record_put(c->server->args.store, STR(ISSUED_TABLE), info.serial_hex, value);
}

static void reply_issued(struct rest_call *c, struct str leaf_pem)
{
    struct str_buf out = STR_BUF_INIT(REST_ANSWER_BYTES_MAX);
    struct json_writer w;
    json_writer_init(&w, &out, 0);
    json_writer_object(&w, NULL);
    json_writer_str(&w, "certificate", leaf_pem);
    json_writer_str(&w, "bundle", ca_bundle(c->server->args.ca));
    json_writer_end(&w);
    rest_reply(c, 201, str_buf_str(&out));
    str_buf_deinit(&out);
}

/* Written down before it is handed out. */
static void issue_for(struct rest_call *c, struct str identity, uint64_t lifetime_s)
{
    struct str_buf leaf = STR_BUF_INIT(LEAF_PEM_MAX), why = STR_BUF_INIT(1024);
    struct ca_request r = {str_buf_str(&c->body), identity, now_s(c), lifetime_s};
    int err = ca_issue(c->server->args.ca, &r, &leaf, &why);
    if (err != 0) {
        rest_fail(c, 400, "BadRequest", "%.*s", STR_FMT(str_buf_str(&why)));
    } else {
        err = audit(c, "cert issue", identity);
        if (err == 0)
            err = note_issued(c, str_buf_str(&leaf), identity);
        if (err != 0)
            rest_fail_store(c, err, NULL);
        else
            reply_issued(c, str_buf_str(&leaf));
    }
    str_buf_deinit(&leaf);
    str_buf_deinit(&why);
}

static void count_issued(void *ctx, struct str key, struct str value)
{
    (void)key;
    (void)value;
    ++*(size_t *)ctx;
}

static void issue(struct rest_call *c)
{
    uint64_t lifetime_s = ISSUE_LIFETIME_S;
    size_t count = 0;
    struct str identity = rest_query(c, "identity"), lifetime = rest_query(c, "lifetime");
    if (!is_issuable(c, identity))
        return;
    if (lifetime.len > 0 &&
        (!str_to_u64(lifetime, ISSUE_LIFETIME_S_MAX, &lifetime_s) || lifetime_s == 0)) {
        rest_fail(c, 400, "BadRequest", "lifetime is a number of seconds, at most %d",
                  ISSUE_LIFETIME_S_MAX);
        return;
    }
    (void)store_record_list(c->server->args.store, STR(ISSUED_TABLE), count_issued, &count);
    if (count >= ISSUED_MAX)
        rest_fail(c, 429, "TooManyRequests", "%d leaves that were issued by hand are valid",
                  ISSUED_MAX);
    else
        issue_for(c, identity, lifetime_s);
}

/* --- which --- */

bool rest_ca(struct rest_call *c)
{
    static const struct {
        const char *method, *name;
        void (*run)(struct rest_call *c);
        enum access_verb verb; /* to everything; ACCESS_VERB_COUNT: whoever comes in */
    } verbs[] = {
        {"GET", "", reply_ca, ACCESS_LIST},
        {"GET", "bundle", reply_bundle, ACCESS_VERB_COUNT},
        {"POST", "rotate", rotate, ACCESS_ADMIN},
        {"POST", "issue", issue, ACCESS_ADMIN},
    };
    if (!rest_is_own(c, "ca") || c->path_count > 4)
        return false;
    struct str name = c->path_count == 4 ? c->path[3] : STR("");
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (!str_eq(name, str_from_c(verbs[i].name)))
            continue;
        if (!rest_is_method(c, verbs[i].method))
            rest_fail(c, 405, "MethodNotAllowed", "%s only", verbs[i].method);
        else if (verbs[i].verb == ACCESS_VERB_COUNT || rest_may(c, verbs[i].verb, NULL, STR_NULL))
            verbs[i].run(c);
        return true;
    }
    return false;
}
