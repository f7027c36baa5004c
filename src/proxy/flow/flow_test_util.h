/* For the tests of this module: raw clients and listeners built by hand, on top of the world of
 * proxy/upstream's tests. */
#pragma once

#include <unistd.h>

#include "proxy/flow/flow_priv.h"
#include "proxy/upstream/upstream_test_util.h"

static struct flows *flow;
static struct str_buf wanted; /* names of details, each with a newline */

/* --- raw clients --- */

struct client {
    struct conn *conn; /* NULL once closed */
    struct str_buf got;
    bool is_closed, is_deaf, got_end;
    int err;
};

static void client_input(struct conn *c)
{
    struct client *k = c->ctx;
    if (k->is_deaf)
        return;
    for (uint32_t i = 0; i < c->in.count; i++)
        str_buf_add(&k->got, chain_slice_str(&c->in, i));
    chain_clear(&c->in);
    k->got_end |= conn_is_in_ended(c);
}

static void client_close(struct conn *c, int err)
{
    struct client *k = c->ctx;
    if (!k->is_deaf)
        client_input(c);
    k->is_closed = true;
    k->err = err;
    k->conn = NULL;
}

static const struct conn_handler client_handler = {.on_input = client_input,
                                                   .on_close = client_close};

static struct addr addr_of(const char *ip, uint16_t port)
{
    struct addr a;
    assert_true(addr_parse_ip(str_from_c(ip), port, &a));
    return a;
}

static void client_open(struct client *k, const char *ip, uint16_t port)
{
    struct addr to = addr_of(ip, port);
    static const struct conn_options options = {.connect_timeout_us = SECOND};
    *k = (struct client){.got = STR_BUF_INIT(8 * 1024 * 1024)};
    k->conn = conn_connect(rig.turn, &to, &options, &client_handler, k, NULL, NULL);
}

static void client_say(struct client *k, const char *text)
{
    chain_add(&k->conn->out, str_from_c(text));
    conn_mark_dirty(k->conn);
}

static void client_forget(struct client *k)
{
    if (k->conn != NULL)
        conn_abort(k->conn, 0);
    rig_run(SECOND);
    str_buf_deinit(&k->got);
}

static inline bool client_got(const struct client *k, const char *text)
{
    return str_contains(str_buf_str(&k->got), str_from_c(text));
}

/* Closed, or told that nothing more will come. */
static inline bool is_gone(const struct client *k)
{
    return k->is_closed || k->got_end;
}

static inline bool app_saw(const char *text)
{
    return str_contains(str_buf_str(&rig.origins[0].last), str_from_c(text));
}

/* --- configuration by hand --- */

struct spec {
    const char *name, *ip;
    uint16_t port;
    bool is_unbound, is_capture, is_outbound, has_http_inspector;
    const struct rbac *rbac, *tcp_rbac;
    const char *cluster;
    bool is_tcp, has_both; /* has_both: the HTTP chain for HTTP, else the TCP chain */
    const char *log_path;
    const struct downstream_tls *tls;
    const struct retry_policy *retry;
};

static const struct http_filter *http_filters(struct arena *a, const struct spec *s, size_t *count)
{
    struct http_filter *f = ARENA_ARRAY(a, struct http_filter, 2);
    *count = 0;
    if (s->rbac != NULL)
        f[(*count)++] = (struct http_filter){.kind = HTTP_FILTER_RBAC, .rbac = s->rbac};
    f[(*count)++] = (struct http_filter){.kind = HTTP_FILTER_ROUTER};
    return f;
}

static const struct route_config *routes_to(struct arena *a, const struct spec *s)
{
    static const struct str any[] = {{"*", 1}};
    struct route_config *rc = ARENA_NEW(a, struct route_config);
    struct virtual_host *vh = ARENA_NEW(a, struct virtual_host);
    struct route *r = ARENA_NEW(a, struct route);
    struct weighted_cluster *w = ARENA_NEW(a, struct weighted_cluster);
    *w = (struct weighted_cluster){.name = str_from_c(s->cluster), .weight = 1};
    *r = (struct route){.retry = s->retry,
                        .match = {.path_kind = PATH_PREFIX, .path = STR("/")},
                        .clusters = w,
                        .cluster_count = 1,
                        .weight_total = 1};
    *vh = (struct virtual_host){.domains = any, .domain_count = 1, .routes = r, .route_count = 1};
    *rc = (struct route_config){.hosts = vh, .host_count = 1};
    return rc;
}

static struct network_filter http_filter(struct arena *a, const struct spec *s)
{
    struct hcm *h = ARENA_NEW(a, struct hcm);
    *h = (struct hcm){.generate_request_id = true,
                      .normalize_path = true,
                      .xfcc = XFCC_SANITIZE_SET,
                      .idle_timeout_us = 3600ull * SECOND,
                      .stream_idle_timeout_us = 300ull * SECOND};
    h->filters = http_filters(a, s, &h->filter_count);
    h->route_config = routes_to(a, s);
    if (s->log_path != NULL) {
        struct access_log_config *log = ARENA_NEW(a, struct access_log_config);
        log->path = str_from_c(s->log_path);
        h->access_logs = log;
        h->access_log_count = 1;
    }
    return (struct network_filter){.kind = NETWORK_FILTER_HCM, .hcm = h};
}

static struct network_filter tcp_filter(struct arena *a, const struct spec *s)
{
    struct tcp_proxy *t = ARENA_NEW(a, struct tcp_proxy);
    struct weighted_cluster *w = ARENA_NEW(a, struct weighted_cluster);
    *w = (struct weighted_cluster){.name = str_from_c(s->cluster), .weight = 1};
    *t = (struct tcp_proxy){.clusters = w, .cluster_count = 1, .idle_timeout_us = 3600ull * SECOND};
    return (struct network_filter){.kind = NETWORK_FILTER_TCP_PROXY, .tcp_proxy = t};
}

static void fill_chain(struct arena *a, const struct spec *s, bool is_tcp, struct filter_chain *c)
{
    struct network_filter *n = ARENA_ARRAY(a, struct network_filter, 2);
    if (s->tcp_rbac != NULL)
        n[c->filter_count++] =
            (struct network_filter){.kind = NETWORK_FILTER_RBAC, .rbac = s->tcp_rbac};
    n[c->filter_count++] = is_tcp ? tcp_filter(a, s) : http_filter(a, s);
    c->filters = n;
    c->tls = s->tls;
}

static int try_listener(const struct spec *s, struct str_buf *why)
{
    static const struct str http[] = {{"http/1.1", 8}, {"h2c", 3}};
    struct resource *r = resource_new(RESOURCE_LISTENER, str_from_c(s->name));
    struct arena *a = &r->arena;
    struct listener *l = ARENA_NEW(a, struct listener);
    struct filter_chain *chains = ARENA_ARRAY(a, struct filter_chain, 2);
    struct addr at = addr_of(s->ip, s->port);
    *l = (struct listener){
        .address = to_model(&at),
        .bind_to_port = !s->is_unbound,
        .use_original_dst = s->is_capture,
        .direction = s->is_outbound ? LISTENER_OUTBOUND : LISTENER_INBOUND,
        .inspectors = {.http_inspector = s->has_http_inspector,
                       .tls_inspector = s->has_http_inspector},
        .listener_filters_timeout_us = 100 * MS,
        .continue_on_listener_filters_timeout = true,
        .chains = chains,
        .chain_count = s->has_both ? 2 : 1,
    };
    fill_chain(a, s, s->is_tcp, &chains[0]);
    if (s->has_both) {
        chains[0].match.application_protocols = http;
        chains[0].match.application_protocol_count = 2;
        fill_chain(a, s, true, &chains[1]);
    }
    r->listener = l;
    int err = flow_set_listener(flow, r->name, r, why);
    resource_unref(r);
    return err;
}

static inline void set_listener(const struct spec *s)
{
    struct str_buf why = STR_BUF_INIT(256);
    assert_int_equal(try_listener(s, &why), 0);
    str_buf_deinit(&why);
}

static inline void remove_listener(const char *name)
{
    struct str_buf why = STR_BUF_INIT(256);
    assert_int_equal(flow_set_listener(flow, str_from_c(name), NULL, &why), 0);
    str_buf_deinit(&why);
}

/* --- the world --- */

/* r is given away. */
static inline void set_directory_of(struct resource *r, struct directory *d)
{
    directory_index(d, &r->arena);
    r->directory = d;
    flow_set_directory(flow, r->name, r);
    resource_unref(r);
}

static void on_detail_wanted(void *ctx, struct str name)
{
    str_buf_printf(&wanted, "%.*s\n", STR_FMT(name));
}

static void open_world(void)
{
    struct cluster model = cluster_defaults();
    rig_open(1);
    set_simple(&model, 1);
    wanted = (struct str_buf)STR_BUF_INIT(64 * 1024);
    flow = flow_new(&(struct flow_env){
        .turn = rig.turn,
        .limits = &rig.limits,
        .tls = rig.tls,
        .upstream = rig.upstream,
        .metrics = rig.metrics,
        .own_workload = STR("catalog"),
        .own_principal = STR("spiffe://mesh.local/ns/shop/sa/catalog"),
        .on_detail_wanted = on_detail_wanted,
    });
}

static void close_world(void)
{
    flow_abort(flow);
    rig_run(10 * SECOND);
    assert_int_equal(flow_active(flow), 0);
    assert_int_equal(metrics_get(rig.metrics, COUNTER_CONNECTIONS_ACTIVE), 0);
    assert_int_equal(flow->parked_count, 0);
    struct upstream_cluster *c = the_cluster();
    assert_int_equal(c->share->connections, 0);
    assert_int_equal(c->share->requests, 0);
    flow = flow_free(flow);
    str_buf_deinit(&wanted);
    rig_close();
}

#define GET "GET /x HTTP/1.1\r\nHost: catalog\r\n\r\n"

static const struct rbac_policy anybody[] = {
    {.permission = {.kind = RBAC_ANY}, .principal = {.kind = RBAC_ANY}}};
static const struct rbac denies = {.action = RBAC_DENY, .policies = anybody, .policy_count = 1};

static const struct spec in_http = {.name = "in", .ip = "10.1.0.1", .port = 8080, .cluster = "c"};
static const struct spec in_tcp = {
    .name = "in", .ip = "10.1.0.1", .port = 8080, .cluster = "c", .is_tcp = true};

/* --- an app that speaks TCP --- */

/* An app that answers with what it is told when the client has ended its side. */
static struct {
    struct conn *conn;
    struct str_buf got;
    size_t answer_len;
    bool is_slow;
} app;

static void app_input(struct conn *c)
{
    if (app.is_slow)
        return;
    for (uint32_t i = 0; i < c->in.count; i++)
        str_buf_add(&app.got, chain_slice_str(&c->in, i));
    chain_clear(&c->in);
    if (!conn_is_in_ended(c))
        return;
    char *bytes = mem_alloc(app.answer_len + 1);
    memset(bytes, 'a', app.answer_len);
    chain_add(&c->out, str_from(bytes, app.answer_len));
    free(bytes);
    conn_end(c);
}

static void app_close(struct conn *c, int err)
{
    app.conn = NULL;
}

static const struct conn_handler app_handler = {.on_input = app_input, .on_close = app_close};

static void app_accept(void *ctx, struct conn *c)
{
    app.conn = c;
    conn_set_handler(c, &app_handler, NULL);
}

static inline void app_open(void)
{
    static const struct listen_options options = {.inherited_fd = -1};
    listen_close(rig.origins[0].socket);
    memset(&app, 0, sizeof app);
    app.got = (struct str_buf)STR_BUF_INIT(8 * 1024 * 1024);
    assert_int_equal(listen_open(rig.turn, &rig.origins[0].addr, &options, app_accept, NULL,
                                 &rig.origins[0].socket),
                     0);
}
