#include "proxy/agent/admin.h"

#include <stdlib.h>

#include "base/err.h"
#include "codec/url.h"
#include "http/server.h"
#include "proxy/agent/admin_priv.h"

enum { PORTS_MAX = 8, IDLE_US = 60 * 1000 * 1000 };

struct port {
    struct admin *admin;
    struct listen_socket *socket;
    enum admin_face face;
    struct service service;
    struct filter filter;
};

struct admin {
    struct agent *agent;
    struct port ports[PORTS_MAX];
    unsigned port_count;
    struct http_server_config config;
    struct list conns, requests;
};

struct admin_conn {
    struct list link;
    struct port *port;
    struct conn *conn;
    struct http_server *server;
    struct grave grave;
};

/* --- answering --- */

static void request_free(struct admin_request *r)
{
    list_remove(&r->link);
    metrics_free(r->metrics);
    str_buf_deinit(&r->parts);
    str_buf_deinit(&r->body);
    arena_deinit(&r->arena);
    free(r);
}

static void finish(struct admin_request *r)
{
    if (r->stream == NULL) {
        request_free(r);
        return;
    }
    unsigned status = r->page->answer(r);
    struct service_stream *s = TAKE(r->stream);
    const char *type = r->page->content_type;
    service_set_ctx(s, NULL);
    service_reply(s, status, type != NULL ? str_from_c(type) : STR("text/plain; charset=UTF-8"),
                  str_buf_str(&r->body));
    request_free(r);
}

static void on_collected(void *arg);

static void collect_next(struct admin_request *r)
{
    struct agent *a = r->admin->agent;
    if (r->next_worker < a->worker_count)
        worker_post_call(a->workers[r->next_worker++], r->page->collect, r, on_collected);
    else
        finish(r);
}

static void on_collected(void *arg)
{
    collect_next(arg);
}

struct str admin_query(const struct admin_request *r, struct str name)
{
    struct str value = STR_NULL;
    return url_query_get(r->query, name, &value) ? value : STR_NULL;
}

/* --- the service --- */

static const struct admin_page *find_page(const struct port *p, struct str path)
{
    for (size_t i = 0; i < admin_page_count; i++) {
        if (str_eq(path, str_from_c(admin_pages[i].path)) &&
            (admin_pages[i].faces & (1u << p->face)) != 0)
            return &admin_pages[i];
    }
    return NULL;
}

/* A page in a browser must not be able to make its visitor post here: names that are no loopback
 * name are refused (DNS rebinding), and so is anything that says it comes from another site. */
static bool is_from_here(const struct port *p, const struct http_head *head)
{
    struct url_authority at;
    struct addr addr;
    if (p->face != ADMIN_ALL)
        return true;
    if (http_head_get_named(head, STR("origin")).len > 0)
        return false;
    if (url_split_authority(head->authority, &at) != URL_OK)
        return false;
    return str_eq(at.host, STR("localhost")) || addr_parse_ip(at.host, 0, &addr);
}

static void on_head(void *ctx, struct service_stream *s, const struct http_head *head)
{
    struct port *p = ctx;
    const struct admin_page *page = find_page(p, http_head_path_only(head));
    bool is_get = str_eq(head->method, STR("GET")) || str_eq(head->method, STR("HEAD"));
    bool is_post = str_eq(head->method, STR("POST"));
    service_set_ctx(s, NULL);
    if (!is_from_here(p, head)) {
        service_reply(s, 403, STR("text/plain"), STR("only from this machine\n"));
        return;
    }
    if (page == NULL) {
        service_reply(s, 404, STR("text/plain"), STR("not found; see /help\n"));
        return;
    }
    if (page->is_post ? !is_post : !is_get) {
        service_reply(s, 405, STR("text/plain"),
                      page->is_post ? STR("POST is needed\n") : STR("GET is needed\n"));
        return;
    }
    struct admin_request *r = NEW(struct admin_request);
    r->admin = p->admin;
    r->stream = s;
    r->page = page;
    r->body = STR_BUF_INIT(ADMIN_BODY_MAX);
    r->parts = STR_BUF_INIT(ADMIN_BODY_MAX);
    arena_init(&r->arena, 1024);
    r->path = arena_str(&r->arena, http_head_path_only(head));
    r->query = arena_str(&r->arena, http_head_query(head));
    list_push_back(&p->admin->requests, &r->link);
    service_set_ctx(s, r);
    if (page->collect != NULL)
        collect_next(r);
    else
        finish(r);
}

static void on_end(void *ctx, struct service_stream *s, int err)
{
    struct admin_request *r = service_ctx(s);
    (void)ctx;
    (void)err;
    if (r != NULL)
        r->stream = NULL; /* freed when the workers have answered */
}

static const struct service_ops service_ops = {.on_head = on_head, .on_end = on_end};

/* --- connections --- */

static void dig_conn(struct grave *g)
{
    free(CONTAINER_OF(g, struct admin_conn, grave));
}

static void conn_gone(struct admin_conn *c)
{
    list_remove(&c->link);
    turn_bury(c->port->admin->agent->turn, &c->grave, dig_conn);
}

static void on_exchange(void *ctx, struct exchange *x)
{
    struct admin_conn *c = ctx;
    x->filters = &c->port->filter;
    x->filter_count = 1;
}

static void on_bad_request(void *ctx, const struct outcome *why)
{
    (void)ctx;
    (void)why;
}

static void on_server_close(void *ctx, int err)
{
    (void)err;
    conn_gone(ctx);
}

static const struct http_server_ops server_ops = {
    .on_exchange = on_exchange,
    .on_bad_request = on_bad_request,
    .on_close = on_server_close,
};

static void on_accept(void *ctx, struct conn *conn)
{
    struct port *p = ctx;
    struct admin_conn *c = NEW(struct admin_conn);
    c->port = p;
    c->conn = conn;
    list_push_back(&p->admin->conns, &c->link);
    const struct downstream_info info = {.local = conn->local, .remote = conn->remote};
    c->server = http_server_open(conn, &p->admin->config, &info, &server_ops, c);
}

/* --- life --- */

struct agent *admin_agent(const struct admin *a)
{
    return a->agent;
}

struct admin *admin_new(struct agent *agent)
{
    struct admin *a = NEW(struct admin);
    a->agent = agent;
    list_init(&a->conns);
    list_init(&a->requests);
    a->config = (struct http_server_config){
        .codec = HTTP_CODEC_AUTO,
        .limits = &agent->limits,
        .path = url_path_options_base,
        .idle_timeout_us = IDLE_US,
        .headers_timeout_us = agent->limits.request_headers_timeout_ms * 1000,
        .accept_http_10 = true,
    };
    return a;
}

struct admin *admin_free(struct admin *a)
{
    if (a == NULL)
        return NULL;
    for (unsigned i = 0; i < a->port_count; i++)
        listen_close(a->ports[i].socket);
    LIST_FOREACH (&a->conns, c, struct admin_conn, link)
        http_server_abort(c->server, -ERR_CANCELED);
    /* Requests wait for workers, which still live: their answers come by mail. */
    for (int i = 0; i < 200 && !(list_is_empty(&a->conns) && list_is_empty(&a->requests)); i++)
        turn_once(a->agent->turn, 10);
    turn_once(a->agent->turn, 0);
    free(a);
    return NULL;
}

int admin_listen(struct admin *a, const struct addr *at, enum admin_face face, struct str_buf *why)
{
    const struct listen_options options = {.backlog = 128, .inherited_fd = -1, .is_v6_only = true};
    ASSERT(a->port_count < PORTS_MAX);
    struct port *p = &a->ports[a->port_count];
    p->admin = a;
    p->face = face;
    p->service = (struct service){.ops = &service_ops, .ctx = p};
    p->filter = (struct filter){.ops = &service_filter_ops, .config = &p->service};
    int err = listen_open(a->agent->turn, at, &options, on_accept, p, &p->socket);
    if (err != 0) {
        char text[ADDR_TEXT_LEN];
        str_buf_printf(why, "admin: cannot listen at %.*s: %s", STR_FMT(addr_format(at, text)),
                       err_text(err));
        return err;
    }
    a->port_count++;
    return 0;
}
