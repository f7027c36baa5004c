/* Listening, who may call, and requests with their bodies. */
#include "control/server/server.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "control/server/server_priv.h"

enum { IDLE_US = 60 * 1000 * 1000 };

struct server_conn {
    struct server *server;
    struct list link;
    struct http_server *http;
    const struct filter *filter;
    struct grave grave;
};

/* --- connections --- */

static void on_exchange(void *ctx, struct exchange *x)
{
    const struct server_conn *c = ctx;
    x->filters = c->filter;
    x->filter_count = 1;
}

static void free_conn(struct grave *g)
{
    free(CONTAINER_OF(g, struct server_conn, grave));
}

static void on_close(void *ctx, int err)
{
    struct server_conn *c = ctx;
    (void)err;
    list_remove(&c->link);
    turn_bury(c->server->args.turn, &c->grave, free_conn);
}

static const struct http_server_ops http_ops = {.on_exchange = on_exchange, .on_close = on_close};

static void accept_conn(struct server *s, struct conn *conn, const struct filter *filter)
{
    struct server_conn *c = NEW(struct server_conn);
    struct downstream_info info = {.local = conn->local, .remote = conn->remote};
    c->server = s;
    c->filter = filter;
    list_push_back(&s->conns, &c->link);
    c->http = http_server_open(conn, &s->http, &info, &http_ops, c);
}

/* Root and the owner of this process are admin; nobody else gets a word. */
static void on_api_accept(void *ctx, struct conn *conn)
{
    struct server *s = ctx;
    uint32_t uid;
    static const struct conn_handler refused = {.on_open = NULL};
    if (conn_peer_uid(conn, &uid) == 0 && (uid == 0 || uid == geteuid())) {
        accept_conn(s, conn, &s->api_filter);
        return;
    }
    log_event(LOG_WARN, "api_peer_refused", LFC("reason", "not root, not the owner"));
    conn_set_handler(conn, &refused, NULL);
    conn_abort(conn, -ERR_DENIED);
}

static void on_metrics_accept(void *ctx, struct conn *conn)
{
    struct server *s = ctx;
    accept_conn(s, conn, &s->metrics_filter);
}

/* --- requests of the API --- */

void rest_free(struct rest *q)
{
    str_buf_deinit(&q->body);
    arena_deinit(&q->arena);
    free(q);
}

static void on_api_head(void *service, struct service_stream *stream, const struct http_head *head)
{
    struct server *s = service;
    struct rest *q = NEW(struct rest);
    q->server = s;
    q->stream = stream;
    arena_init(&q->arena, 4096);
    q->body = (struct str_buf)STR_BUF_INIT(BODY_BYTES_MAX);
    q->method = arena_str(&q->arena, head->method);
    q->path = arena_str(&q->arena, http_head_path_only(head));
    q->query = arena_str(&q->arena, http_head_query(head));
    q->file = arena_str(&q->arena, http_head_get_named(head, STR("x-tulle-file")));
    q->is_json =
        str_starts_with(http_head_get(head, HTTP_NAME_CONTENT_TYPE), STR("application/json"));
    service_set_ctx(stream, q);
}

static void on_api_body(void *service, struct service_stream *stream, struct chain *body,
                        bool is_ended)
{
    struct rest *q = service_ctx(stream);
    (void)service;
    while (!chain_is_empty(body)) {
        struct str part = chain_first(body);
        str_buf_add(&q->body, part);
        chain_skip(body, part.len);
    }
    if (q->is_refused)
        return;
    if (q->body.is_overflown) {
        q->is_refused = true;
        rest_error(q, 413, "RequestEntityTooLarge", "the body is larger than %d bytes",
                   BODY_BYTES_MAX);
        return;
    }
    if (is_ended)
        rest_dispatch(q);
}

static void on_api_end(void *service, struct service_stream *stream, int err)
{
    struct rest *q = service_ctx(stream);
    (void)service;
    (void)err;
    q->stream = NULL;
    if (!q->is_waiting)
        rest_free(q);
}

static const struct service_ops api_ops = {
    .on_head = on_api_head,
    .on_body = on_api_body,
    .on_end = on_api_end,
};

/* --- metrics --- */

static void on_metrics_head(void *service, struct service_stream *stream,
                            const struct http_head *head)
{
    struct server *s = service;
    if (!str_eq(http_head_path_only(head), STR("/metrics"))) {
        service_reply(stream, 404, STR("text/plain"), STR("only /metrics is here\n"));
        return;
    }
    struct str_buf text = STR_BUF_INIT(ANSWER_BYTES_MAX);
    push_render_metrics(s->args.push, &text);
    service_reply(stream, 200, STR("text/plain; version=0.0.4; charset=utf-8"), str_buf_str(&text));
    str_buf_deinit(&text);
}

static void on_metrics_end(void *service, struct service_stream *stream, int err)
{
    (void)service;
    (void)stream;
    (void)err;
}

static const struct service_ops metrics_ops = {.on_head = on_metrics_head,
                                               .on_end = on_metrics_end};

/* --- life --- */

struct server *server_new(const struct server_args *args)
{
    struct server *s = NEW(struct server);
    s->args = *args;
    list_init(&s->conns);
    limits_init(&s->limits);
    s->http = (struct http_server_config){
        .codec = HTTP_CODEC_AUTO,
        .limits = &s->limits,
        .path = url_path_options_base,
        .idle_timeout_us = IDLE_US,
        .headers_timeout_us = s->limits.request_headers_timeout_ms * 1000,
    };
    s->api_service = (struct service){&api_ops, s};
    s->metrics_service = (struct service){&metrics_ops, s};
    s->api_filter = (struct filter){&service_filter_ops, &s->api_service};
    s->metrics_filter = (struct filter){&service_filter_ops, &s->metrics_service};
    return s;
}

struct server *server_free(struct server *s)
{
    if (s == NULL)
        return NULL;
    ASSERT(list_is_empty(&s->conns));
    free(s);
    return NULL;
}

void server_stop(struct server *s)
{
    if (s->api != NULL)
        listen_close(s->api);
    if (s->metrics != NULL)
        listen_close(s->metrics);
    s->api = s->metrics = NULL;
    LIST_FOREACH (&s->conns, c, struct server_conn, link) {
        http_server_abort(c->http, -ERR_CANCELED);
    }
}

static int listen_at(struct server *s, const struct addr *at, listen_fn *accept,
                     struct listen_socket **ret_socket, struct str_buf *why)
{
    struct listen_options options = {.backlog = 128, .inherited_fd = -1};
    int err = listen_open(s->args.turn, at, &options, accept, s, ret_socket);
    if (err != 0) {
        char text[ADDR_TEXT_LEN];
        str_buf_printf(why, "cannot listen at %.*s: %s", STR_FMT(addr_format(at, text)),
                       err_text(err));
    }
    return err;
}

int server_listen_api(struct server *s, struct str unix_path, struct str_buf *why)
{
    struct addr at = {.family = ADDR_UNIX};
    if (unix_path.len >= sizeof at.path) {
        str_buf_printf(why, "the path of the socket is longer than %zu bytes", sizeof at.path - 1);
        return -ERR_TOO_LARGE;
    }
    memcpy(at.path, unix_path.ptr, unix_path.len);
    /* What a killed predecessor left; nobody listens there, or the bind below would not help. */
    unlink(at.path);
    return listen_at(s, &at, on_api_accept, &s->api, why);
}

int server_listen_metrics(struct server *s, const struct addr *at, struct str_buf *why)
{
    return listen_at(s, at, on_metrics_accept, &s->metrics, why);
}
