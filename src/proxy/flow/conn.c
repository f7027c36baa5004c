/* A downstream connection: accepted -> (looked up) -> inspected -> (TLS) -> served -> gone.
 *
 * Until it is served its handler is one of the two here (waiting for bytes, for the handshake);
 * then it belongs to the HTTP server or to the TCP pair, which tell of its end. */
#include <stdlib.h>

#include "base/log.h"
#include "crypto/tls.h"
#include "proxy/flow/flow_priv.h"

static void start_tls(struct flow_conn *fc);

struct ip_addr flow_ip(const struct addr *a)
{
    if (a->family == ADDR_IP4)
        return ip_from_bytes(a->ip, 4);
    if (a->family == ADDR_IP6)
        return ip_from_bytes(a->ip, 16);
    return (struct ip_addr){.family = IP_NONE};
}

const struct addr *conn_destination(const struct flow_conn *fc)
{
    return fc->info.original_dst.family != ADDR_NONE ? &fc->info.original_dst : &fc->info.local;
}

/* --- life --- */

static void free_grave(struct grave *g)
{
    struct flow_conn *fc = CONTAINER_OF(g, struct flow_conn, grave);
    flow_config_unref(fc->config);
    arena_deinit(&fc->arena);
    free(fc);
}

void conn_unref(struct flow_conn *fc)
{
    if (--fc->ref_count == 0)
        turn_bury(fc->flow->env.turn, &fc->grave, free_grave);
}

struct flow_more *conn_more(struct flow_conn *fc)
{
    if (fc->more == NULL) {
        fc->more = ARENA_NEW(&fc->arena, struct flow_more);
        fc->more->fc = fc;
        list_init(&fc->more->parked_link);
    }
    return fc->more;
}

void conn_gone(struct flow_conn *fc)
{
    struct flows *f = fc->flow;
    timer_stop(&fc->timer);
    list_remove(&fc->link);
    outbound_gone(fc);
    f->conn_count--;
    if (fc->more != NULL && fc->more->counted != NULL)
        atomic_fetch_sub(fc->more->counted, 1);
    metrics_add(f->env.metrics, COUNTER_CONNECTIONS_ACTIVE, -1);
    flow_dismiss(f);
    overload_note_end(&f->overload);
    conn_unref(fc);
}

static void on_early_close(struct conn *c, int err)
{
    struct flow_conn *fc = c->ctx;
    if (err != 0 && err != -ERR_DENIED && c->layer != NULL)
        metrics_add(fc->flow->env.metrics, COUNTER_DOWNSTREAM_TLS_FAILURES, 1);
    conn_gone(fc);
}

void conn_refuse(struct flow_conn *fc, uint64_t flags, struct str details, struct str origin)
{
    struct record_tcp t = {.flags = flags, .details = details, .origin = origin};
    record_tcp_log(fc, fc->chain, &t);
    if (fc->chain == NULL) {
        /* No access log is responsible: where to, and why not. */
        char to[ADDR_TEXT_LEN];
        log_event(LOG_INFO, "connection_refused", LF("to", addr_format(conn_destination(fc), to)),
                  LF("reason", details));
        conn_abort(fc->conn, -ERR_DENIED);
        return;
    }
    /* By a policy, after the connection had come about: an orderly end. */
    conn_close(fc->conn);
}

static void fill_info(struct flow_conn *fc)
{
    struct conn *c = fc->conn;
    fc->info.local = c->local;
    fc->info.remote = fc->info.direct_remote = c->remote;
    fc->info.original_dst = c->original_dst;
    /* Unique among the workers: each counts in steps of their number. */
    fc->flow->connection_ids += fc->flow->share->count;
    fc->info.connection_id = fc->flow->connection_ids;
}

static void on_timer(struct timer *t);

/* For drains, which wait until nobody comes any more: of worker 0 those of all. */
static void note_accepted(const struct flow_listener *l)
{
    l->flow->inbound_accepted +=
        l->config != NULL && l->config->model->direction != LISTENER_OUTBOUND;
}

/* False: the listener has as many as it may. Those that were there before it had a limit do not
 * count. */
static bool has_room(struct flow_listener *l, struct flow_conn *fc)
{
    uint32_t max = l->config->model->connections_max;
    if (max == 0)
        return true;
    if (l->count == NULL)
        l->count = flow_share_limit(l->flow->share, l->name);
    conn_more(fc)->counted = l->count;
    return atomic_fetch_add(l->count, 1) < max;
}

static void refuse_at_once(struct flow_conn *fc)
{
    static const struct conn_handler closing = {.on_close = on_early_close};
    conn_set_handler(fc->conn, &closing, fc);
    conn_abort(fc->conn, -ERR_UNAVAILABLE);
}

static void take(struct flow_listener *l, struct conn *c)
{
    struct flows *f = l->flow;
    struct flow_conn *fc = NEW(struct flow_conn);
    fc->ref_count = 1;
    fc->flow = f;
    fc->conn = c;
    arena_init(&fc->arena, 256);
    list_init(&fc->exchanges);
    timer_init(&fc->timer, on_timer);
    list_push_back(&f->conns, &fc->link);
    f->conn_count++;
    fc->opened_wall_us = turn_wall_us(f->env.turn);
    fill_info(fc);
    metrics_add(f->env.metrics, COUNTER_CONNECTIONS_ACCEPTED, 1);
    metrics_add(f->env.metrics, COUNTER_CONNECTIONS_ACTIVE, 1);
    note_accepted(l);
    if (l->config == NULL) {
        refuse_at_once(fc);
        return;
    }
    if (!has_room(l, fc)) {
        metrics_add(f->env.metrics, COUNTER_LISTENER_FULL, 1);
        refuse_at_once(fc);
        return;
    }
    fc->is_outbound = l->config->model->direction == LISTENER_OUTBOUND;
    fc->listener = l;
    if (l->config->model->use_original_dst)
        outbound_dispatch(fc);
    else
        conn_dispatch(fc, l);
}

void conn_accepted(void *ctx, struct conn *c)
{
    struct flow_listener *l = ctx;
    flow_admit(l->flow, l->flow->env.index);
    take(l, c);
}

bool conn_route(void *ctx, const struct conn_transport *transport)
{
    const struct flow_listener *l = ctx;
    struct flows *f = l->flow;
    unsigned to = flow_share_least_loaded(f->share, f->env.index);
    if (to == f->env.index)
        return false;
    flow_admit(f, to);
    note_accepted(l);
    f->env.hand_over(f->env.ctx, to, l->name, transport);
    return true;
}

void flow_take(struct flows *f, struct str listener, const struct conn_transport *transport)
{
    /* Listeners are told of a change before worker 0 is: it is here, or it was removed. */
    struct flow_listener *l = map_get(&f->listeners, listener);
    struct conn *c = l != NULL ? conn_from_transport(f->env.turn, transport) : NULL;
    if (l == NULL)
        conn_transport_close(f->env.turn, transport);
    if (c == NULL)
        flow_dismiss(f);
    else
        take(l, c);
}

/* --- inspection --- */

static bool must_inspect(const struct flow_conn *fc, const struct listener *model)
{
    return detect_is_wanted(model, conn_destination(fc)->port);
}

static bool must_read(const struct flow_conn *fc, const struct listener *model)
{
    return must_inspect(fc, model) || model->inspectors.proxy_protocol;
}

static const struct flow_chain *find_chain(const struct flow_conn *fc,
                                           const struct flow_config *config)
{
    static const struct flow_hello nothing;
    const struct flow_hello *hello = fc->hello != NULL ? fc->hello : &nothing;
    struct chain_input in = {
        .destination = flow_ip(conn_destination(fc)),
        .destination_port = conn_destination(fc)->port,
        .source = flow_ip(&fc->info.remote),
        .server_name = hello->server_name,
        .application_protocols = hello->application_protocols,
        .application_protocol_count = hello->application_protocol_count,
        .is_tls = fc->is_tls,
    };
    return chain_find(config, &in);
}

static void choose_chain(struct flow_conn *fc)
{
    timer_stop(&fc->timer);
    fc->config = flow_config_ref(fc->listener->config);
    fc->chain = find_chain(fc, fc->config);
    if (fc->chain == NULL) {
        conn_refuse(fc, FLAG_BIT(NO_ROUTE), STR("filter_chain_not_found"), STR_NULL);
        return;
    }
    /* Listeners without inspector (ordinary TLS ports) have TLS on all their connections. */
    if (fc->chain->model->tls != NULL)
        start_tls(fc);
    else
        conn_serve(fc);
}

/* Without inspectors the first chain tells: TLS is on all connections of the listener, or on none.
 * Where they look at other ports they say what TLS is, and this port has none. */
static void assume_tls(struct flow_conn *fc, const struct listener *model)
{
    fc->is_tls =
        !model->inspectors.tls_inspector && model->chain_count > 0 && model->chains[0].tls != NULL;
}

static void inspect(struct flow_conn *fc, bool is_final)
{
    const struct flow_config *config = fc->listener->config;
    if (config == NULL) {
        conn_abort(fc->conn, -ERR_UNAVAILABLE);
        return;
    }
    is_final |= conn_is_in_ended(fc->conn);
    switch (proxy_header_take(fc, config->model, is_final)) {
    case PROXY_HEADER_MORE:
        return;
    case PROXY_HEADER_REFUSED:
        timer_stop(&fc->timer);
        conn_refuse(fc, FLAG_BIT(DOWNSTREAM_PROTOCOL), STR("proxy_protocol_error"), STR_NULL);
        return;
    case PROXY_HEADER_TAKEN:
        break;
    }
    if (!must_inspect(fc, config->model)) {
        assume_tls(fc, config->model);
        choose_chain(fc);
        return;
    }
    if (detect_peek(fc, config->model, is_final) == DETECT_DONE)
        choose_chain(fc);
}

static void on_inspect_input(struct conn *c)
{
    inspect(c->ctx, false);
}

static const struct conn_handler inspect_handler = {
    .on_input = on_inspect_input,
    .on_close = on_early_close,
};

/* No client byte in time: TCP, so that server-first protocols do not hang. In a handshake: away. */
static void on_timer(struct timer *t)
{
    struct flow_conn *fc = CONTAINER_OF(t, struct flow_conn, timer);
    const struct flow_config *config = fc->listener->config;
    if (fc->config != NULL || config == NULL ||
        !config->model->continue_on_listener_filters_timeout) {
        conn_abort(fc->conn, -ERR_TIMEOUT);
        return;
    }
    /* A client that has begun to say what it speaks is no silent one: it gets more time. */
    if (fc->conn->in.len > 0 && !fc->is_detect_extended) {
        fc->is_detect_extended = true;
        timer_start(fc->flow->env.turn, t, fc->flow->env.limits->tls_handshake_timeout_ms * 1000);
        return;
    }
    metrics_add(fc->flow->env.metrics, COUNTER_DETECT_TIMEOUTS, 1);
    inspect(fc, true);
}

void conn_dispatch(struct flow_conn *fc, struct flow_listener *l)
{
    fc->listener = l;
    conn_set_handler(fc->conn, &inspect_handler, fc);
    if (!must_read(fc, l->config->model)) {
        assume_tls(fc, l->config->model);
        choose_chain(fc);
        return;
    }
    uint64_t timeout = l->config->model->listener_filters_timeout_us;
    if (timeout > 0)
        timer_start(fc->flow->env.turn, &fc->timer, timeout);
    /* Bytes may have come already while it was parked. */
    if (fc->conn->in.len > 0 || conn_is_in_ended(fc->conn))
        conn_wake(fc->conn);
}

/* --- TLS --- */

static void on_tls_open(struct conn *c)
{
    struct flow_conn *fc = c->ctx;
    /* In our arena: logs of the last exchanges may be written when the connection has gone. */
    struct downstream_tls_info *tls = ARENA_NEW(&fc->arena, struct downstream_tls_info);
    struct tls_peer peer = tls_endpoint_peer(tls_endpoint_of(c), &fc->arena);
    timer_stop(&fc->timer);
    *tls = (struct downstream_tls_info){
        .peer_principal = peer.is_verified ? peer.uri_san : STR_NULL,
        .peer_subject = peer.subject,
        .peer_cert_sha256 = peer.sha256_hex,
        .peer_dns_san = peer.dns_san,
        .own_principal = peer.own_uri_san,
        .sni = peer.sni,
        .alpn = peer.alpn,
        .version = str_from_c(peer.version),
    };
    fc->info.tls = tls;
    fc->info.is_mtls = peer.is_verified;
    conn_serve(fc);
}

static void on_tls_input(struct conn *c)
{
    (void)c; /* plain bytes come after on_open only and stay for the server */
}

static const struct conn_handler tls_handler = {
    .on_open = on_tls_open,
    .on_input = on_tls_input,
    .on_close = on_early_close,
};

static void start_tls(struct flow_conn *fc)
{
    struct flows *f = fc->flow;
    struct tls_san_match sans[16];
    struct str_buf why = STR_BUF_INIT(512);
    struct tls_context *context;
    size_t san_count =
        tls_store_sans(f->env.tls, &fc->chain->model->tls->common, sans, ARRAY_LEN(sans));
    int err = tls_store_server(f->env.tls, fc->chain->model->tls, &why, &context);
    str_buf_deinit(&why);
    /* Without a certificate, or with names that cannot be checked, nobody comes in. */
    if (err != 0 || san_count > ARRAY_LEN(sans)) {
        metrics_add(f->env.metrics, COUNTER_DOWNSTREAM_TLS_FAILURES, 1);
        conn_refuse(fc, FLAG_BIT(NO_CLUSTER), STR("tls_context_not_ready"), STR_NULL);
        return;
    }
    struct tls_endpoint_args args = {.context = context, .sans = sans, .san_count = san_count};
    timer_start(f->env.turn, &fc->timer, f->env.limits->tls_handshake_timeout_ms * 1000);
    conn_set_handler(fc->conn, &tls_handler, fc);
    conn_set_layer(fc->conn, &tls_layer_ops, tls_endpoint_new(&args));
}

/* --- serving --- */

bool conn_is_allowed(const struct flow_conn *fc, const struct flow_chain *chain,
                     struct str *ret_origin)
{
    struct rbac_input in = {
        .principal = downstream_tls(&fc->info)->peer_principal,
        .source = flow_ip(&fc->info.direct_remote),
        .remote = flow_ip(&fc->info.remote),
        .destination = flow_ip(conn_destination(fc)),
        .destination_port = conn_destination(fc)->port,
        .sni = downstream_tls(&fc->info)->sni,
    };
    for (size_t i = 0; i < chain->rbac_count; i++) {
        struct rbac_decision d;
        match_rbac(chain->rbacs[i], &in, &d);
        if (!d.is_allowed) {
            *ret_origin = d.origin;
            return false;
        }
    }
    return true;
}

static enum http_codec server_codec(const struct flow_conn *fc)
{
    struct str alpn = downstream_tls(&fc->info)->alpn;
    if (str_eq(alpn, STR("tulle-h2")) || str_eq(alpn, STR("istio-h2")) || str_eq(alpn, STR("h2")))
        return HTTP_CODEC_2;
    return fc->chain->server.codec;
}

static void serve_http(struct flow_conn *fc)
{
    enum http_codec codec = server_codec(fc);
    const struct http_server_config *config = &fc->chain->server;
    if (codec != config->codec) {
        struct http_server_config *own = ARENA_NEW(&fc->arena, struct http_server_config);
        *own = *config;
        own->codec = codec;
        config = own;
    }
    uint64_t wait = fc->chain->hcm->delayed_close_timeout_us;
    if (wait > 0)
        fc->conn->close_wait_us = wait != MODEL_UNSET_U64 ? (uint32_t)MIN(wait, UINT32_MAX) : 0;
    fc->server = http_server_open(fc->conn, config, &fc->info, &flow_http_ops, fc);
    if (fc->is_outbound ? fc->flow->is_outbound_draining : fc->flow->is_draining)
        http_server_drain_after_next(fc->server);
}

/* The listener may have changed, or gone, during the handshake: what holds now decides. */
static bool take_current_chain(struct flow_conn *fc)
{
    const struct flow_chain *chain = conn_current_chain(fc);
    if (chain == NULL)
        return false;
    if (chain != fc->chain) {
        flow_config_unref(fc->config);
        fc->config = flow_config_ref(fc->listener->config);
        fc->chain = chain;
    }
    return true;
}

static void serve_tcp(struct flow_conn *fc)
{
    struct str name;
    struct upstream_cluster *cluster = tcp_choose_cluster(fc->flow, fc->chain, &name);
    if (fc->chain->rbac_count > 0)
        metrics_add(fc->flow->env.metrics, COUNTER_RBAC_ALLOWED, 1);
    if (tunnel_is_wanted(fc->chain, cluster))
        tunnel_serve(fc, name);
    else
        tcp_serve(fc, name, cluster);
}

void conn_serve(struct flow_conn *fc)
{
    struct str origin;
    if (!take_current_chain(fc)) {
        conn_refuse(fc, FLAG_BIT(NO_ROUTE), STR("listener_changed"), STR_NULL);
        return;
    }
    /* Each of its streams is judged as the connection would be. */
    if (tunnel_is_agreed(fc)) {
        tunnel_accept(fc);
        return;
    }
    if (!conn_is_allowed(fc, fc->chain, &origin)) {
        metrics_add(fc->flow->env.metrics, COUNTER_RBAC_DENIED, 1);
        conn_refuse(fc, 0, STR("rbac_access_denied_matched_policy"), origin);
        return;
    }
    if (fc->chain->hcm != NULL) {
        serve_http(fc);
        return;
    }
    serve_tcp(fc);
}

/* --- judged again --- */

const struct flow_chain *conn_current_chain(const struct flow_conn *fc)
{
    const struct flow_config *now = fc->listener->config;
    if (now == NULL)
        return NULL;
    if (now == fc->config)
        return fc->chain;
    const struct flow_chain *chain = find_chain(fc, now);
    /* Who came without a certificate does not stay when one is required. */
    if (chain != NULL && chain->model->tls != NULL &&
        chain->model->tls->require_client_certificate && !fc->info.is_mtls)
        return NULL;
    bool is_same_kind = chain != NULL && (chain->hcm != NULL) == (fc->chain->hcm != NULL) &&
                        (chain->model->tls != NULL) == (fc->chain->model->tls != NULL);
    return is_same_kind ? chain : NULL;
}

static void judge_exchanges(struct flow_conn *fc, const struct flow_chain *chain)
{
    static const struct outcome denied = {
        .err = -ERR_DENIED,
        .fault = FAULT_POLICY,
        .status = 403,
        .details = {"rbac_access_denied_after_change", 31},
    };
    LIST_FOREACH (&fc->exchanges, x, struct exchange, link) {
        if (!filters_still_allowed(chain->filters, chain->filter_count, x))
            exchange_fail(x, &denied);
    }
}

void conn_judge(struct flow_conn *fc)
{
    struct str origin;
    if (fc->server == NULL && fc->tcp == NULL && !fc->is_tunnel)
        return; /* not served yet: it will be judged by what holds then */
    const struct flow_chain *chain = conn_current_chain(fc);
    if (chain == NULL) {
        /* Outbound names that go away end with their requests; inbound, the port is closed. */
        if (fc->server != NULL && fc->is_outbound)
            http_server_drain(fc->server);
        else if (fc->server != NULL)
            http_server_abort(fc->server, -ERR_DENIED);
        else if (!fc->is_outbound && fc->is_tunnel)
            tunnel_abort(fc, STR("listener_removed"), STR_NULL);
        else if (!fc->is_outbound)
            tcp_abort(fc->tcp, STR("listener_removed"), STR_NULL);
        return;
    }
    bool is_allowed = conn_is_allowed(fc, chain, &origin);
    if (fc->has_tunnels) {
        if (!is_allowed)
            tunnel_abort(fc, STR("rbac_access_denied_after_change"), origin);
        return;
    }
    if (fc->server != NULL && !is_allowed)
        http_server_abort(fc->server, -ERR_DENIED);
    else if (fc->server != NULL)
        judge_exchanges(fc, chain);
    else if (!is_allowed)
        tcp_abort(fc->tcp, STR("rbac_access_denied_after_change"), origin);
}
