/* Both ends of tunnels: connections that leave as streams, streams that come in as connections. */
#include "proxy/flow/tunnel.h"

/* --- out --- */

bool tunnel_is_wanted(const struct flow_chain *chain, const struct upstream_cluster *cluster)
{
    return cluster != NULL && (chain->tcp->tunneling != NULL || upstream_offers_tunnel(cluster));
}

static void on_conn_close(void *ctx, int err)
{
    struct flow_conn *fc = ctx;
    (void)err;
    fc->is_tunnel = false;
    conn_gone(fc);
}

static const struct tcp_server_ops conn_ops = {.on_close = on_conn_close};

static void add_fields(const struct tcp_tunneling *tunneling, struct http_head *head)
{
    for (size_t i = 0; i < tunneling->request.set_count; i++) {
        const struct header_edit *e = &tunneling->request.set[i];
        bool exists = http_head_get_named(head, e->name).ptr != NULL;
        if (e->action == HEADER_SET || (e->action == HEADER_SET_IF_EXISTS && exists))
            http_head_set_named(head, e->name, e->value);
        else if (e->action == HEADER_APPEND || (e->action == HEADER_ADD_IF_ABSENT && !exists))
            http_head_add_named(head, e->name, e->value);
    }
}

/* To a mesh peer the authority is the address that was chosen; the filter writes it. */
void tunnel_serve(struct flow_conn *fc, struct str cluster_name)
{
    const struct tcp_proxy *tcp = fc->chain->tcp;
    struct tcp_server *server = tcp_server_open(fc->conn, &fc->chain->limits, tcp->idle_timeout_us,
                                                &fc->info, &conn_ops, fc);
    struct exchange *x = tcp_server_exchange(server);
    fc->has_tunnels = fc->is_tunnel = true;
    struct tunnel *t = tunnel_install(fc, x, flow_config_ref(fc->config), fc->chain);
    t->cluster_name = cluster_name;
    t->opened_wall_us = fc->opened_wall_us;
    exchange_set_idle_timeout(x, tcp->idle_timeout_us);
    struct http_head *head =
        tcp_server_start(server, tcp->tunneling != NULL ? tcp->tunneling->hostname : STR_NULL);
    if (tcp->tunneling != NULL)
        add_fields(tcp->tunneling, head);
}

/* --- in --- */

bool tunnel_is_agreed(const struct flow_conn *fc)
{
    return fc->chain->tcp != NULL && str_eq(downstream_tls(&fc->info)->alpn, STR(TLS_ALPN_TUNNEL));
}

static void on_stream(void *ctx, struct exchange *x)
{
    struct flow_conn *fc = ctx;
    const struct flow_chain *chain = conn_current_chain(fc);
    struct flow_config *config = chain != NULL ? flow_config_ref(fc->listener->config) : NULL;
    struct tunnel *t = tunnel_install(fc, x, config, chain);
    t->is_sent_by_peer = true;
    t->opened_wall_us = turn_wall_us(x->turn);
    if (chain != NULL)
        exchange_set_idle_timeout(x, chain->tcp->idle_timeout_us);
}

static void on_bad_stream(void *ctx, const struct outcome *why)
{
    struct flow_conn *fc = ctx;
    (void)why;
    metrics_add(fc->flow->env.metrics, COUNTER_BAD_REQUESTS, 1);
}

static void on_server_close(void *ctx, int err)
{
    struct flow_conn *fc = ctx;
    (void)err;
    fc->server = NULL;
    conn_gone(fc);
}

static const struct http_server_ops server_ops = {
    .on_exchange = on_stream,
    .on_bad_request = on_bad_stream,
    .on_close = on_server_close,
    .is_info_kept = true, /* flow_conn is held by its exchanges */
};

void tunnel_accept(struct flow_conn *fc)
{
    fc->has_tunnels = true;
    fc->server = http_server_open(fc->conn, &fc->chain->server, &fc->info, &server_ops, fc);
    if (fc->is_outbound ? fc->flow->is_outbound_draining : fc->flow->is_draining)
        http_server_drain_after_next(fc->server);
}

/* --- judged again --- */

void tunnel_abort(struct flow_conn *fc, struct str details, struct str origin)
{
    const struct outcome denied = {
        .err = -ERR_DENIED, .fault = FAULT_POLICY, .status = 403, .details = details};
    LIST_FOREACH (&fc->exchanges, x, struct exchange, link) {
        struct tunnel *t = x->ctx;
        t->details = details;
        t->origin = arena_str(&x->arena, origin);
        exchange_fail(x, &denied);
    }
    /* Over, but for a reader that takes its time. */
    if (fc->is_tunnel && list_is_empty(&fc->exchanges))
        conn_abort(fc->conn, -ERR_DENIED);
}
