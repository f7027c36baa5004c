/* A connection to a host: TCP, TLS with the host's expected identity, then an HTTP client. */
#include "proxy/upstream/upstream_priv.h"

#include "codec/proxy_protocol.h"
#include "crypto/tls.h"
#include "mesh/match/match.h"

enum { SANS_MAX = 16, ALPN_MAX = 16 };

/* --- TLS --- */

static const struct upstream_tls *tls_of(const struct upstream_host *h)
{
    return match_upstream_tls(h->cluster->config, h->info.endpoint);
}

bool link_is_by_alpn(const struct upstream_host *h)
{
    const struct upstream_tls *tls = tls_of(h);
    for (size_t i = 0; tls != NULL && i < tls->common.alpn_count; i++) {
        struct str alpn = tls->common.alpn[i];
        if (str_eq(alpn, STR("h2")) || str_eq(alpn, STR("tulle-h2")) ||
            str_eq(alpn, STR("istio-h2")))
            return true;
    }
    return false;
}

static bool is_tunnel_offered(const struct upstream_tls *tls)
{
    for (size_t i = 0; tls != NULL && i < tls->common.alpn_count; i++) {
        if (str_eq(tls->common.alpn[i], STR(TLS_ALPN_TUNNEL)))
            return true;
    }
    return false;
}

bool link_offers_tunnel(const struct upstream_host *h)
{
    return is_tunnel_offered(tls_of(h));
}

bool upstream_offers_tunnel(const struct upstream_cluster *c)
{
    bool is_offered = is_tunnel_offered(c->config->tls);
    for (size_t i = 0; i < c->config->tls_match_count; i++)
        is_offered |= is_tunnel_offered(c->config->tls_matches[i].tls);
    return is_offered;
}

static bool fits(const struct tls_san_match *m, struct str identity)
{
    if (m->san != TLS_SAN_URI && m->san != TLS_SAN_ANY)
        return false;
    switch (m->match) {
    case TLS_MATCH_EXACT:
        return str_eq(identity, m->value);
    case TLS_MATCH_PREFIX:
        return str_starts_with(identity, m->value);
    case TLS_MATCH_SUFFIX:
        return str_ends_with(identity, m->value);
    case TLS_MATCH_CONTAINS:
        return str_contains(identity, m->value);
    }
    return false;
}

/* An endpoint's own identity and the cluster's names must both hold. A mesh certificate has one
 * URI, so that an identity which the names leave out can never prove itself: -ERR_DENIED. */
static int expected_sans(const struct upstream_host *h, const struct upstream_tls *tls,
                         struct tls_san_match sans[SANS_MAX], size_t *ret_count)
{
    size_t count = tls_store_sans(h->cluster->u->env.tls, &tls->common, sans, SANS_MAX);
    bool is_named = count == 0;
    if (count > SANS_MAX)
        return -ERR_LIMIT;
    *ret_count = count;
    if (h->identity.len == 0)
        return 0;
    for (size_t i = 0; i < count; i++)
        is_named |= fits(&sans[i], h->identity);
    if (!is_named)
        return -ERR_DENIED;
    sans[0] = (struct tls_san_match){TLS_SAN_URI, TLS_MATCH_EXACT, h->identity};
    *ret_count = 1;
    return 0;
}

uint64_t link_transport(const struct upstream_host *h)
{
    const struct cluster *c = h->cluster->config;
    const struct upstream_tls *tls = tls_of(h);
    struct str_buf text = STR_BUF_INIT(256 * 1024);
    str_buf_printf(&text, "%d|%d|%d|", c->is_inbound, c->bind.port, c->caller_header);
    str_buf_add(&text, str_from((const char *)c->bind.ip.bytes, ip_len(&c->bind.ip)));
    str_buf_add(&text, str_from((const char *)c->bind_other.ip.bytes, ip_len(&c->bind_other.ip)));
    if (tls != NULL) {
        str_buf_printf(&text, "|%zu:", tls->sni.len);
        str_buf_add(&text, tls->sni);
        tls_store_describe(&tls->common, &text);
    }
    uint64_t hash = str_hash(str_buf_str(&text), random_process_seed());
    str_buf_deinit(&text);
    return hash;
}

static struct str tls_failure_text(int err)
{
    if (err == -ERR_UNAVAILABLE)
        return STR("TLS: this proxy has no certificate yet");
    if (err == -ERR_DENIED)
        return STR("TLS: subjectAltNames of the cluster leave out the endpoint's identity");
    return STR("TLS: the cluster's settings do not load");
}

/* Whoever would pass on the bytes of one connection must not be taken for one of many. */
static int tls_context_for(struct upstream_host *h, const struct upstream_tls *tls,
                           enum link_kind kind, struct tls_context **ret_context)
{
    struct str alpn[ALPN_MAX];
    size_t count = 0;
    struct str_buf why = STR_BUF_INIT(256);
    bool is_less = kind != LINK_TUNNEL && is_tunnel_offered(tls);
    for (size_t i = 0; is_less && i < tls->common.alpn_count && count < ALPN_MAX; i++) {
        if (!str_eq(tls->common.alpn[i], STR(TLS_ALPN_TUNNEL)))
            alpn[count++] = tls->common.alpn[i];
    }
    static const struct str none = {"tulle-tcp", 9};
    if (is_less && count == 0)
        alpn[count++] = none;
    int err = tls_store_client(h->cluster->u->env.tls, tls, alpn, count, &why, ret_context);
    str_buf_deinit(&why);
    return err;
}

static int tls_layer_for(struct upstream_host *h, const struct upstream_tls *tls,
                         enum link_kind kind, struct outcome *ret_why,
                         struct tls_endpoint **ret_layer)
{
    struct upstream *u = h->cluster->u;
    struct tls_context *context;
    int err = tls_context_for(h, tls, kind, &context);
    struct tls_san_match sans[SANS_MAX];
    size_t san_count;
    if (err == 0)
        err = expected_sans(h, tls, sans, &san_count);
    if (err != 0) {
        metrics_add(u->env.metrics, COUNTER_UPSTREAM_TLS_FAILURES, 1);
        *ret_why = (struct outcome){
            .err = err,
            .fault = FAULT_LOCAL,
            .is_unanswered = true,
            .status = 503,
            .flags = FLAG_BIT(UPSTREAM_CONNECT),
            .details = STR("upstream_reset_before_response_started{connection_failure}"),
            .reason = tls_failure_text(err),
        };
        return ret_why->err;
    }
    if (h->session == NULL)
        h->session = tls_session_new();
    struct tls_endpoint_args args = {
        .context = context,
        .sni = tls->sni,
        .sans = sans,
        .san_count = san_count,
        .session = h->session,
    };
    *ret_layer = tls_endpoint_new(&args);
    return 0;
}

/* --- connecting --- */

static bool bind_addr(const struct cluster *c, const struct addr *to, struct addr *ret_bind)
{
    const struct model_addr *both[] = {&c->bind, &c->bind_other};
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        const struct ip_addr *ip = &both[i]->ip;
        if (ip->family == IP_NONE || (ip->family == IP_V4) != (to->family == ADDR_IP4) ||
            (ip->family == IP_V6) != (to->family == ADDR_IP6))
            continue;
        *ret_bind = (struct addr){.family = to->family, .port = both[i]->port};
        memcpy(ret_bind->ip, ip->bytes, sizeof ret_bind->ip);
        return true;
    }
    return false;
}

static void put_ip(const struct addr *a, struct ip_addr *ret_ip, uint16_t *ret_port)
{
    if (a->family != ADDR_IP4 && a->family != ADDR_IP6)
        return;
    *ret_ip = ip_from_bytes((const char *)a->ip, a->family == ADDR_IP4 ? 4 : 16);
    *ret_port = a->port;
}

/* What the host is told first; empty: nothing. */
static struct str preface_of(const struct link_request *r, char buf[PROXY_PROTOCOL_WRITTEN_MAX])
{
    enum caller_header header = r->host->cluster->config->caller_header;
    struct proxy_protocol h = {.version = header == CALLER_HEADER_V2 ? PROXY_PROTOCOL_V2
                                                                     : PROXY_PROTOCOL_V1};
    if (header == CALLER_HEADER_NONE)
        return STR_NULL;
    if (r->caller != NULL) {
        put_ip(&r->caller->source, &h.source, &h.source_port);
        put_ip(&r->caller->destination, &h.destination, &h.destination_port);
    }
    return str_from(buf, proxy_protocol_write(&h, buf));
}

bool link_is_told_callers(const struct upstream_host *h)
{
    return h->cluster->config->caller_header != CALLER_HEADER_NONE;
}

struct upstream_caller link_caller(const struct downstream_info *info)
{
    return (struct upstream_caller){
        .source = info->remote,
        .destination = info->original_dst.family != ADDR_NONE ? info->original_dst : info->local,
    };
}

bool link_is_same_caller(const struct upstream_caller *a, const struct upstream_caller *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return addr_eq(&a->source, &b->source) && addr_eq(&a->destination, &b->destination);
}

int link_connect(const struct link_request *request, struct outcome *ret_why,
                 struct conn **ret_conn)
{
    struct upstream_host *h = request->host;
    struct upstream *u = h->cluster->u;
    const struct cluster *config = h->cluster->config;
    const struct upstream_tls *tls = tls_of(h);
    struct tls_endpoint *layer = NULL;
    if (tls != NULL && tls_layer_for(h, tls, request->kind, ret_why, &layer) != 0)
        return ret_why->err;
    struct addr bind;
    char preface[PROXY_PROTOCOL_WRITTEN_MAX];
    struct conn_options options = {
        .mark = config->socket_mark != 0 ? config->socket_mark
                : config->is_inbound     ? u->env.mark_inbound
                                         : u->env.mark_outbound,
        .bind = bind_addr(config, &h->info.address, &bind) ? &bind : NULL,
        .connect_timeout_us = config->connect_timeout_us,
        .preface = preface_of(request, preface),
        .keepalive_idle_s = config->keepalive_idle_s,
        .keepalive_interval_s = config->keepalive_interval_s,
        .keepalive_probes = config->keepalive_probes,
    };
    const struct conn_layer_ops *layer_ops = layer != NULL ? &tls_layer_ops : NULL;
    bool is_outside = config->kind == CLUSTER_ORIGINAL_DST && !config->is_inbound && tls == NULL;
    metrics_add(u->env.metrics, COUNTER_UPSTREAM_CONNECTS, 1);
    *ret_conn = is_outside && u->env.connect != NULL
                    ? u->env.connect(u->env.connect_ctx, &h->info.address, &options,
                                     request->handler, request->ctx, layer_ops, layer)
                    : conn_connect(u->env.turn, &h->info.address, &options, request->handler,
                                   request->ctx, layer_ops, layer);
    return 0;
}

struct outcome link_failure(const struct conn *c, int err)
{
    struct outcome o = {
        .err = err != 0 ? err : -ERR_CONNECT,
        .fault = FAULT_UPSTREAM,
        .is_retryable = true,
        .is_unanswered = true,
        .status = 503,
        .flags = FLAG_BIT(UPSTREAM_CONNECT),
        .details = err == -ERR_TIMEOUT
                       ? STR("upstream_reset_before_response_started{connection_timeout}")
                       : STR("upstream_reset_before_response_started{connection_failure}"),
    };
    struct str text = STR_NULL;
    if (c->layer != NULL)
        text = c->layer_ops->error_text(c->layer);
    o.reason = text.len > 0 ? text : str_from_c(err_text(o.err));
    return o;
}

/* --- the client on top --- */

static void link_free(struct upstream_link *l)
{
    struct upstream_host *h = l->host;
    list_remove(&l->link);
    timer_stop(&l->timer);
    free(l->caller);
    free(l);
    upstream_host_drop(h);
}

static void pump_for_pending(struct upstream_host *h)
{
    if (h->pending_count > 0)
        turn_soon(h->cluster->u->env.turn, &h->pump_task);
}

static void on_client_room(void *ctx, struct http_client *client)
{
    (void)client;
    struct upstream_link *l = ctx;
    pool_room_grew(l);
    pump_for_pending(l->host);
}

/* Those that are being drained or were made for another transport serve nobody who waits. */
static bool has_other_links(const struct upstream_host *h)
{
    LIST_FOREACH (&h->links, l, struct upstream_link, link) {
        if (!l->is_draining)
            return true;
    }
    return false;
}

static void on_client_draining(void *ctx, struct http_client *client)
{
    struct upstream_link *l = ctx;
    (void)client;
    l->is_draining = true;
    pump_for_pending(l->host);
    /* Busy hosts get the next connection before somebody has to wait for it. */
    struct outcome why;
    if (l->host->is_member && l->host->active > 0 && l->version == HTTP_2 &&
        !has_other_links(l->host))
        (void)link_open(l->host, l->kind, l->caller, &why);
}

static void on_client_close(void *ctx, struct http_client *client, int err)
{
    (void)client, (void)err;
    struct upstream_link *l = ctx;
    struct upstream_host *h = upstream_host_hold(l->host);
    link_free(l);
    pump_for_pending(h);
    upstream_host_drop(h);
}

static const struct http_client_ops client_ops = {
    .on_room = on_client_room,
    .on_draining = on_client_draining,
    .on_close = on_client_close,
};

/* Whoever does not know of tunnels takes the bytes of one connection. */
static enum http_version version_of_tunnel(struct upstream_link *l, struct str alpn)
{
    l->host->is_tunnel_refused = !str_eq(alpn, STR(TLS_ALPN_TUNNEL));
    return l->host->is_tunnel_refused ? HTTP_NONE : HTTP_2;
}

static enum http_version version_by_alpn(struct upstream_link *l, const struct conn *c)
{
    const struct tls_endpoint *e = tls_endpoint_of(c);
    struct str alpn = e != NULL ? tls_endpoint_alpn(e) : STR_NULL;
    if (l->kind == LINK_TUNNEL)
        return version_of_tunnel(l, alpn);
    if (e == NULL)
        return HTTP_11;
    bool is_h2 =
        str_eq(alpn, STR("h2")) || str_eq(alpn, STR("tulle-h2")) || str_eq(alpn, STR("istio-h2"));
    return is_h2 ? HTTP_2 : HTTP_11;
}

/* Nobody but its caller can use it, and who that is has probably gone. */
static uint64_t idle_timeout_us(const struct upstream_link *l)
{
    const uint64_t told_us = 5000000;
    uint64_t configured_us = l->host->cluster->config->idle_timeout_us;
    if (l->caller == NULL)
        return configured_us;
    return configured_us > 0 ? MIN(configured_us, told_us) : told_us;
}

void link_set_limits(struct upstream_link *l)
{
    const struct cluster *config = l->host->cluster->config;
    l->client_config = (struct http_client_config){
        .limits = &l->host->cluster->limits,
        .streams_max = config->http2.streams_max,
        .requests_max = config->max_requests_per_connection,
        .idle_timeout_us = idle_timeout_us(l),
        .duration_max_us = config->max_connection_duration_us,
        .h2 = upstream_h2_bounds(&config->http2),
    };
}

void link_note_open(struct upstream_host *h, const struct conn *c)
{
    const struct tls_endpoint *e = tls_endpoint_of(c);
    if (e != NULL && tls_endpoint_is_resumed(e))
        metrics_add(h->cluster->u->env.metrics, COUNTER_UPSTREAM_TLS_RESUMED, 1);
}

static void on_conn_open(struct conn *c)
{
    struct upstream_link *l = c->ctx;
    link_note_open(l->host, c);
    timer_stop(&l->timer);
    l->host->links_connecting--;
    if (l->version == HTTP_UNKNOWN)
        l->version = version_by_alpn(l, c);
    link_set_limits(l);
    l->client = http_client_open(c, l->version, &l->client_config, &client_ops, l);
    l->conn = NULL;
    /* Asked to drain while it was connecting: those who wait for it come first. */
    l->must_drain = l->is_draining;
    l->is_draining = false;
    /* Before its end is read, which may have come already: who waits gets it and hears of that,
     * rather than one connection after the other. */
    pool_pump(l->host);
}

static void on_conn_input(struct conn *c)
{
    (void)c; /* nothing comes before on_open; what comes with it stays for the client */
}

/* The connection never opened: who waits for it is told. Others of the host's that are busy make
 * room some day, or never; to try again at once is for whoever knows other hosts. */
static void on_conn_close(struct conn *c, int err)
{
    struct upstream_link *l = c->ctx;
    struct upstream_host *h = upstream_host_hold(l->host);
    struct outcome why = link_failure(c, l->timeout_err != 0 ? l->timeout_err : err);
    h->links_connecting--;
    metrics_add(h->cluster->u->env.metrics, COUNTER_UPSTREAM_CONNECT_FAILURES, 1);
    if (c->layer != NULL && c->layer_ops->error_text(c->layer).len > 0)
        metrics_add(h->cluster->u->env.metrics, COUNTER_UPSTREAM_TLS_FAILURES, 1);
    bool is_replaced = l->is_draining && l->transport != h->transport;
    enum link_kind kind = l->kind;
    struct upstream_caller *caller = TAKE(l->caller);
    link_free(l);
    if (!is_replaced)
        pool_fail_excess(h, kind, caller, &why);
    free(caller);
    pump_for_pending(h);
    upstream_host_drop(h);
}

static const struct conn_handler connecting_handler = {
    .on_open = on_conn_open,
    .on_input = on_conn_input,
    .on_close = on_conn_close,
};

static void on_timeout(struct timer *t)
{
    struct upstream_link *l = CONTAINER_OF(t, struct upstream_link, timer);
    l->timeout_err = -ERR_TIMEOUT;
    conn_abort(l->conn, -ERR_TIMEOUT);
}

int link_open(struct upstream_host *h, enum link_kind kind, const struct upstream_caller *caller,
              struct outcome *ret_why)
{
    static const enum http_version versions[LINK_KINDS] = {
        [LINK_HTTP1] = HTTP_11, [LINK_HTTP2] = HTTP_2,        [LINK_ALPN] = HTTP_UNKNOWN,
        [LINK_TCP] = HTTP_NONE, [LINK_TUNNEL] = HTTP_UNKNOWN,
    };
    struct upstream *u = h->cluster->u;
    struct upstream_link *l = NEW(struct upstream_link);
    const struct link_request request = {
        .host = h, .kind = kind, .caller = caller, .handler = &connecting_handler, .ctx = l};
    int err = link_connect(&request, ret_why, &l->conn);
    if (err != 0) {
        free(l);
        return err;
    }
    l->host = upstream_host_hold(h);
    l->kind = kind;
    if (caller != NULL) {
        l->caller = NEW(struct upstream_caller);
        *l->caller = *caller;
    }
    l->version = versions[kind];
    l->transport = h->transport;
    l->tls_generation = l->conn->layer != NULL ? tls_store_generation(u->env.tls) : 0;
    timer_init(&l->timer, on_timeout);
    timer_start(u->env.turn, &l->timer, h->cluster->config->connect_timeout_us);
    list_push_back(&h->links, &l->link);
    h->links_connecting++;
    return 0;
}
