/* What is Tulle's own below /tulle/v1: status, wait, sidecars that died. */
#include <stdlib.h>

#include "codec/duration.h"
#include "control/server/server_priv.h"

enum { WAIT_MS_DEFAULT = 30000, WAIT_MS_MAX = 3600000 };

/* --- wait --- */

struct waiting {
    struct rest_call *call;
    struct push_waiter *waiter;
    uint64_t revision;
};

static void on_waited(void *ctx, const struct push_wait_result *r)
{
    struct waiting *waiting = ctx;
    struct rest_call *c = waiting->call;
    /* Names of proxies, and their reasons, are of all namespaces. */
    bool is_told_all = access_may(&c->who, ACCESS_LIST, API_KIND_COUNT, STR_NULL);
    struct str_buf out = STR_BUF_INIT(REST_ANSWER_BYTES_MAX);
    struct json_writer w;
    json_writer_init(&w, &out, 0);
    json_writer_object(&w, NULL);
    json_writer_u64(&w, "revision", waiting->revision);
    json_writer_u64(&w, "proxies", r->proxies);
    json_writer_u64(&w, "acked", r->acked);
    json_writer_u64(&w, "nacked", r->nacked);
    json_writer_u64(&w, "ms", r->ms);
    json_writer_bool(&w, "timedOut", r->is_timed_out);
    json_writer_raw(&w, "nacks", is_told_all ? r->nacks_json : STR("[]"));
    json_writer_raw(&w, "lagging", is_told_all ? r->lagging_json : STR("[]"));
    json_writer_end(&w);
    c->waiting = NULL;
    rest_reply(c, 200, str_buf_str(&out));
    str_buf_deinit(&out);
    free(waiting);
}

void rest_mesh_forget(struct rest_call *c)
{
    struct waiting *waiting = c->waiting;
    if (waiting == NULL)
        return;
    push_wait_cancel(waiting->waiter);
    free(waiting);
    c->waiting = NULL;
}

static void wait_for(struct rest_call *c)
{
    uint64_t revision = 0, timeout_ms = WAIT_MS_DEFAULT;
    struct str timeout = rest_query(c, "timeout");
    if (!str_to_u64(rest_query(c, "revision"), UINT64_MAX, &revision) ||
        (timeout.len > 0 && !str_to_u64(timeout, WAIT_MS_MAX, &timeout_ms))) {
        rest_fail(c, 400, "BadRequest", "say revision=NUMBER and timeout=MILLISECONDS (%d at most)",
                  WAIT_MS_MAX);
        return;
    }
    if (revision > store_revision(c->server->args.store)) {
        rest_fail(c, 400, "BadRequest", "revision %llu is not there yet",
                  (unsigned long long)revision);
        return;
    }
    struct waiting *waiting = NEW(struct waiting);
    waiting->call = c;
    waiting->revision = revision;
    c->waiting = waiting;
    waiting->waiter =
        push_wait(c->server->args.push, revision, timeout_ms * 1000, on_waited, waiting);
}

/* --- status --- */

struct warnings {
    const struct registry *registry;
    struct json_writer *w;
    enum api_mtls_mode fallback; /* where a namespace says nothing */
};

static enum api_mtls_mode namespace_mode(const struct registry *r, struct str namespace_,
                                         enum api_mtls_mode fallback)
{
    struct registry_docs docs = registry_docs(r, API_KIND_PEER_AUTHENTICATION, namespace_);
    for (size_t i = 0; i < docs.len; i++) {
        const struct api_peer_authentication *p = docs.ptr[i]->spec.peer_authentication;
        bool is_selecting = p->selector.is_set && p->selector.labels.len > 0;
        if (!is_selecting && p->mode != API_MTLS_UNSET)
            return p->mode;
    }
    return fallback;
}

static void warn_namespace(void *ctx, struct str namespace_)
{
    const struct warnings *ws = ctx;
    enum api_mtls_mode mode = namespace_mode(ws->registry, namespace_, ws->fallback);
    if (mode == API_MTLS_STRICT ||
        registry_docs(ws->registry, API_KIND_WORKLOAD, namespace_).len == 0)
        return;
    struct str_buf text = STR_BUF_INIT(1024);
    str_buf_printf(&text,
                   "namespace %.*s takes plain text (%s); a PeerAuthentication or "
                   "spec.mtls.mode of the Mesh sets STRICT",
                   STR_FMT(namespace_), mode == API_MTLS_DISABLE ? "DISABLE" : "PERMISSIVE");
    json_writer_str(ws->w, NULL, str_buf_str(&text));
    str_buf_deinit(&text);
}

static void write_warnings(const struct server *s, struct json_writer *w)
{
    const struct registry *r = s->args.registry;
    struct warnings ws = {r, w, registry_mesh(r)->mtls_mode};
    ws.fallback = namespace_mode(r, STR(REGISTRY_ROOT_NAMESPACE), ws.fallback);
    registry_namespaces(r, warn_namespace, &ws);
}

static void reply_status(struct rest_call *c)
{
    const struct server_args *args = &c->server->args;
    struct str_buf out = STR_BUF_INIT(REST_ANSWER_BYTES_MAX);
    struct push_status_query query = {
        .namespace_ = rest_query(c, "namespace"),
        .workload = rest_query(c, "workload"),
        .is_detailed = rest_query_is_true(c, "detail"),
    };
    char time[TIME_TEXT_MAX];
    struct json_writer w;
    json_writer_init(&w, &out, 0);
    json_writer_object(&w, NULL);
    json_writer_str(&w, "mesh", args->mesh);
    json_writer_str(&w, "trustDomain", registry_mesh(args->registry)->trust_domain);
    json_writer_c(&w, "version", TULLE_VERSION);
    json_writer_u64(&w, "revision", store_revision(args->store));
    json_writer_str(&w, "rootNotAfter",
                    time_format((int64_t)ca_root_not_after_s(args->ca) * 1000, false, time));
    push_render_status(args->push, &query, &w);
    rest_bypass_write(c->server, &w);
    json_writer_array(&w, "warnings");
    write_warnings(c->server, &w);
    json_writer_end(&w);
    documents_write_status(c->server->documents, &w);
    json_writer_end(&w);
    rest_reply(c, 200, str_buf_str(&out));
    str_buf_deinit(&out);
}

/* --- the box --- */

/* replicas/NS/WORKLOAD/INDEX/gone */
static void replica_gone(struct rest_call *c)
{
    uint64_t index;
    if (!str_to_u64(c->path[5], UINT32_MAX, &index) ||
        !push_replica_gone(c->server->args.push, c->path[3], c->path[4], (uint32_t)index))
        rest_fail(c, 404, "NotFound", "no such replica");
    else
        rest_reply(c, 200, STR("{\"status\":\"Success\"}"));
}

struct verb {
    const char *method, *path; /* the third part */
    size_t path_count;
    void (*run)(struct rest_call *c);
    enum access_verb verb; /* to everything; ACCESS_VERB_COUNT: whoever comes in */
};

static const struct verb verbs[] = {
    {"GET", "status", 3, reply_status, ACCESS_LIST},
    {"GET", "wait", 3, wait_for, ACCESS_VERB_COUNT},
    {"POST", "replicas", 7, replica_gone, ACCESS_ADMIN},
};

static bool is_last_right(const struct rest_call *c)
{
    return c->path_count != 7 || str_eq(c->path[6], STR("gone"));
}

bool rest_mesh(struct rest_call *c)
{
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        const struct verb *v = &verbs[i];
        if (!rest_is_own(c, v->path) || c->path_count != v->path_count || !is_last_right(c))
            continue;
        if (!rest_is_method(c, v->method))
            rest_fail(c, 405, "MethodNotAllowed", "%s only", v->method);
        else if (v->verb == ACCESS_VERB_COUNT || rest_may(c, v->verb, NULL, STR_NULL))
            v->run(c);
        return true;
    }
    return false;
}
