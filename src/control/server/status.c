/* What runs, waiting until it does, and join tokens. */
#include <time.h>
#include <unistd.h>

#include "control/server/server_priv.h"

enum { WAIT_MS_DEFAULT = 30000, WAIT_MS_MAX = 3600000 };

/* --- GET /tulle/v1/status --- */

static bool says_mtls(const struct registry *r)
{
    return registry_mesh(r)->mtls_mode != API_MTLS_UNSET;
}

struct warnings_ctx {
    struct rest *q;
    struct json_writer *w;
};

static void on_namespace(void *ctx, struct str namespace_)
{
    struct warnings_ctx *c = ctx;
    const struct registry *r = c->q->server->args.registry;
    if (registry_docs(r, API_KIND_WORKLOAD, namespace_).len == 0 ||
        registry_docs(r, API_KIND_PEER_AUTHENTICATION, namespace_).len > 0)
        return;
    json_writer_str(c->w, NULL,
                    arena_printf(&c->q->arena,
                                 "namespace %.*s takes plain text (PERMISSIVE), because nothing "
                                 "says otherwise: set mtls.mode in the Mesh, or a "
                                 "PeerAuthentication",
                                 STR_FMT(namespace_)));
}

void status_handle(struct rest *q)
{
    struct server *s = q->server;
    struct str_buf text = STR_BUF_INIT(ANSWER_BYTES_MAX);
    struct json_writer w;
    json_writer_init(&w, &text, 0);
    json_writer_object(&w, NULL);
    json_writer_i64(&w, "pid", getpid());
    json_writer_c(&w, "version", TULLE_VERSION);
    json_writer_str(&w, "trustDomain", registry_mesh(s->args.registry)->trust_domain);
    json_writer_u64(&w, "revision", store_revision(s->args.store));
    json_writer_u64(&w, "translateRuns", translate_runs(s->args.translate));
    json_writer_u64(&w, "rootNotAfter", ca_root_not_after_s(s->args.ca));
    push_render_status(s->args.push, &w);
    json_writer_array(&w, "warnings");
    struct warnings_ctx ctx = {q, &w};
    if (!says_mtls(s->args.registry))
        registry_namespaces(s->args.registry, on_namespace, &ctx);
    json_writer_end(&w);
    json_writer_end(&w);
    rest_answer(q, 200, str_buf_str(&text));
    str_buf_deinit(&text);
}

/* --- GET /tulle/v1/wait --- */

static void on_waited(void *ctx, const struct push_wait_result *r)
{
    struct rest *q = ctx;
    struct str_buf text = STR_BUF_INIT(ANSWER_BYTES_MAX);
    struct json_writer w;
    q->is_waiting = false;
    json_writer_init(&w, &text, 0);
    json_writer_object(&w, NULL);
    json_writer_u64(&w, "proxies", r->proxies);
    json_writer_u64(&w, "acked", r->acked);
    json_writer_u64(&w, "nacked", r->nacked);
    json_writer_u64(&w, "ms", r->ms);
    json_writer_bool(&w, "timedOut", r->is_timed_out);
    json_writer_raw(&w, "nacks", r->nacks_json.len > 0 ? r->nacks_json : STR("[]"));
    json_writer_end(&w);
    bool is_alone = q->stream == NULL; /* the client has left meanwhile */
    rest_answer(q, 200, str_buf_str(&text));
    str_buf_deinit(&text);
    if (is_alone)
        rest_free(q);
}

void wait_handle(struct rest *q)
{
    uint64_t revision, timeout_ms = WAIT_MS_DEFAULT;
    struct str timeout = rest_query(q, STR("timeout"));
    if (!str_to_u64(rest_query(q, STR("revision")), INT64_MAX, &revision) ||
        (timeout.len > 0 && !str_to_u64(timeout, WAIT_MS_MAX, &timeout_ms))) {
        rest_error(q, 400, "BadRequest", "wait?revision=NUMBER[&timeout=MILLISECONDS] is meant");
        return;
    }
    q->is_waiting = true;
    push_wait(q->server->args.push, revision, timeout_ms * 1000, on_waited, q);
}

/* --- POST .../workloads/NAME/token --- */

static bool read_replica(struct rest *q, uint64_t *ret_index)
{
    const struct json *root = NULL;
    struct str text = str_buf_str(&q->body);
    *ret_index = 0;
    if (text.len == 0)
        return true;
    if (json_parse(&q->arena, text, text.len, &root, NULL) != 0)
        return false;
    const struct json *replica = json_get(root, "replica");
    return replica == NULL || (json_u64(replica, ret_index) && *ret_index <= UINT32_MAX);
}

void token_handle(struct rest *q, const struct rest_target *t)
{
    struct server *s = q->server;
    uint64_t index;
    if (registry_doc(s->args.registry, API_KIND_WORKLOAD, t->namespace_, t->name) == NULL) {
        rest_error(q, 404, "NotFound", "Workload %.*s/%.*s does not exist", STR_FMT(t->namespace_),
                   STR_FMT(t->name));
        return;
    }
    if (!read_replica(q, &index)) {
        rest_error(q, 400, "BadRequest", "{\"replica\": INDEX} is meant");
        return;
    }
    struct str_buf token = STR_BUF_INIT(1024);
    int err = ca_token_make(s->args.store, t->namespace_, t->name, (uint32_t)index,
                            (uint64_t)time(NULL), &token);
    if (err == -ERR_LIMIT)
        rest_error(q, 429, "TooManyRequests", "too many tokens that nobody has used");
    else if (err != 0)
        rest_error(q, 500, "InternalError", "%s", err_text(err));
    else
        rest_answer(q, 200,
                    arena_printf(&q->arena, "{\"token\":\"%.*s\"}", STR_FMT(str_buf_str(&token))));
    str_buf_deinit(&token);
}
