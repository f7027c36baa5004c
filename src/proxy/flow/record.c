/* What happened, to metrics and access logs: once per request or TCP connection. */
#include "http/grpc.h"
#include "proxy/flow/flow_priv.h"

/* --- who: peers and services as Istio labels them --- */

/* The caller of an inbound connection: its replica by address, when the directory knows it and the
 * certificate agrees; else the certificate alone. */
static metrics_id caller_of(struct flow_conn *fc)
{
    if (fc->is_peer_known)
        return fc->peer;
    struct ip_addr source = flow_ip(&fc->info.remote);
    struct directory_hit hit = directories_find(fc->flow, &source);
    struct metrics_peer peer = {.principal = downstream_tls(&fc->info)->peer_principal};
    const struct directory_workload *w = hit.workload;
    bool is_same = w != NULL && (peer.principal.len == 0 || str_eq(w->identity, peer.principal));
    if (is_same) {
        peer.workload = w->name;
        peer.namespace_ = w->namespace_;
        peer.app = w->app;
        peer.version = w->version;
    }
    fc->peer = metrics_intern_peer(fc->flow->env.metrics, &peer);
    fc->is_peer_known = true;
    return fc->peer;
}

/* "outbound_.8080_.v1_.catalog.shop.svc.cluster.local" names the service; else the authority. */
static struct str service_host(const struct flow_conn *fc, struct str authority)
{
    struct str sni = downstream_tls(&fc->info)->sni;
    if (str_starts_with(sni, STR("outbound_."))) {
        struct str rest = str_skip(sni, strlen("outbound_."));
        ptrdiff_t at;
        while ((at = str_find(rest, '_')) >= 0 && (size_t)at + 1 < rest.len &&
               rest.ptr[at + 1] == '.')
            rest = str_skip(rest, (size_t)at + 2);
        return rest;
    }
    ptrdiff_t colon = str_rfind(authority, ':');
    return colon > 0 ? str_sub(authority, 0, (size_t)colon) : authority;
}

static metrics_id intern_service(struct flows *f, struct str host)
{
    const struct directory_service *s = directories_find_host(f, host);
    struct str rest = host;
    struct metrics_destination d = {.service = host, .service_name = host};
    if (s != NULL) {
        d.service = s->host;
        d.service_name = str_split(&rest, '.');
        d.service_namespace = str_split(&rest, '.');
    }
    return metrics_intern_destination(f->env.metrics, &d);
}

/* A sidecar is asked for few hosts: those that were asked for last are remembered. */
static metrics_id service_by_host(struct flow_conn *fc, struct str host)
{
    struct flows *f = fc->flow;
    if (host.len == 0 || host.len > FLOW_HOST_KNOWN_LEN)
        return intern_service(f, host);
    unsigned char last = (unsigned char)host.ptr[host.len - 1];
    struct flow_host_known *known =
        &f->hosts_known[((unsigned char)host.ptr[0] + last + host.len) % FLOW_HOSTS_KNOWN];
    if (known->len != host.len || memcmp(known->host, host.ptr, host.len) != 0) {
        known->id = intern_service(f, host);
        known->len = (uint8_t)host.len;
        memcpy(known->host, host.ptr, host.len);
    }
    return known->id;
}

static struct metrics_hop hop_of(struct flow_conn *fc, struct upstream_host *host,
                                 struct upstream_cluster *cluster, struct str authority)
{
    struct flows *f = fc->flow;
    struct metrics_hop hop = {.reporter = REPORTER_SOURCE, .source = f->own_peer};
    if (fc->is_outbound) {
        hop.destination = host != NULL ? upstream_host_peer(host) : 0;
        hop.service = cluster != NULL ? upstream_cluster_service(cluster) : 0;
        hop.security = SECURITY_UNKNOWN;
        return hop;
    }
    hop.reporter = REPORTER_DESTINATION;
    hop.source = caller_of(fc);
    hop.destination = f->own_peer;
    hop.service = service_by_host(fc, service_host(fc, authority));
    hop.security = fc->info.is_mtls ? SECURITY_MUTUAL_TLS : SECURITY_NONE;
    return hop;
}

static void write_logs(struct flows *f, const struct flow_chain *chain, const struct record *rec)
{
    for (size_t i = 0; i < chain->log_count; i++) {
        if (!log_is_wanted(chain->logs[i].filter, rec))
            continue;
        str_buf_reset(&f->line);
        access_log_format_line(chain->logs[i].format, rec, &f->line);
        access_log_sink_add(chain->logs[i].sink, str_buf_str(&f->line));
    }
}

/* --- HTTP --- */

static void count_request(struct flow_conn *fc, const struct request *r)
{
    const struct exchange *x = r->x;
    const struct http_head *head = x->flows[SIDE_REQUEST].head;
    const struct flow *response = &x->flows[SIDE_RESPONSE];
    /* Whoever holds a host holds its cluster. */
    struct upstream_cluster *cluster = r->last_host != NULL ? r->cluster : NULL;
    struct metrics_hop hop = hop_of(fc, r->last_host, cluster, head->authority);
    hop.protocol = head->is_grpc ? METRICS_GRPC : METRICS_HTTP;
    int grpc_status = head->is_grpc ? grpc_status_of(response->head, response->trailers) : -1;
    struct metrics_request m = {
        .response_code = response->head != NULL ? response->head->status : 0,
        .grpc_status = head->is_grpc ? MAX(grpc_status, 0) : -1,
        .flags = x->outcome.flags | r->flags,
        .duration_us = x->ended_us - x->started_us,
        .request_bytes = x->flows[SIDE_REQUEST].bytes,
        .response_bytes = response->bytes,
    };
    metrics_count_request(fc->flow->env.metrics, &hop, &m);
}

struct record record_of(struct flow_conn *fc, const struct request *r, uint64_t now_us)
{
    const struct exchange *x = r->x;
    const struct flow *response = &x->flows[SIDE_RESPONSE];
    struct record rec = {
        .x = x,
        .info = &fc->info,
        .client = r->client.family != ADDR_NONE ? &r->client : NULL,
        .start_wall_us = turn_wall_us(x->turn) - (now_us - x->started_us),
        .duration_us = now_us - x->started_us,
        .bytes_received = x->flows[SIDE_REQUEST].bytes,
        .bytes_sent = response->bytes,
        .flags = x->outcome.flags | r->flags,
        .status = response->head != NULL ? response->head->status : 0,
        .grpc_status =
            response->head != NULL ? grpc_status_of(response->head, response->trailers) : -1,
        .details = x->outcome.details.len > 0 ? x->outcome.details : STR("via_upstream"),
        .upstream_failure = r->upstream_failure,
        .upstream_cluster = r->cluster_name,
        .upstream_local = &r->upstream_local,
        .route_name = r->route != NULL ? r->route->name : STR_NULL,
        .origin = r->origin.len > 0  ? r->origin
                  : r->route != NULL ? r->route->origin.text
                                     : STR_NULL,
        .upstream_service_time_ms = -1,
        .attempts = r->attempts,
    };
    if (r->last_host != NULL)
        rec.upstream_host = &upstream_host_info(r->last_host)->address;
    if (r->upstream_first_byte_us > 0)
        rec.upstream_service_time_ms =
            (int64_t)(r->upstream_first_byte_us - r->upstream_started_us) / 1000;
    return rec;
}

/* Time-outs of a stream are told apart by what its outcome says. */
static void count_limit(struct flow_conn *fc, const struct exchange *x)
{
    static const struct {
        struct str details;
        enum metrics_counter counter;
    } rows[] = {
        {{"request_overall_timeout", 23}, COUNTER_REQUEST_TIMEOUTS},
        {{"stream_idle_timeout", 19}, COUNTER_STREAM_IDLE_TIMEOUTS},
        {{"max_duration_timeout", 20}, COUNTER_STREAM_DURATIONS},
        {{"upstream_max_stream_duration_reached", 36}, COUNTER_STREAM_DURATIONS},
    };
    for (size_t i = 0; x->outcome.err == -ERR_TIMEOUT && i < ARRAY_LEN(rows); i++) {
        if (str_eq(x->outcome.details, rows[i].details))
            metrics_add(fc->flow->env.metrics, rows[i].counter, 1);
    }
}

void record_request(struct exchange *x)
{
    struct request *r = request_of(x);
    struct flow_conn *fc = r->owner;
    const struct flow_chain *chain = x->filters[0].config;
    count_request(fc, r);
    count_limit(fc, x);
    if (chain->log_count == 0)
        return;
    struct record rec = record_of(fc, r, x->ended_us);
    write_logs(fc->flow, chain, &rec);
}

/* --- TCP --- */

struct metrics_hop record_tcp_hop(struct flow_conn *fc, const struct record_tcp *t)
{
    struct metrics_hop hop = hop_of(fc, t->host, t->cluster, STR_NULL);
    hop.protocol = METRICS_TCP;
    return hop;
}

void record_tcp_log(struct flow_conn *fc, const struct flow_chain *chain,
                    const struct record_tcp *t)
{
    struct turn *turn = fc->flow->env.turn;
    uint64_t now = turn_wall_us(turn);
    uint64_t opened = t->opened_wall_us != 0 ? t->opened_wall_us : fc->opened_wall_us;
    struct record rec = {
        .info = &fc->info,
        .start_wall_us = opened,
        .duration_us = now - opened,
        .bytes_received = t->bytes_received,
        .bytes_sent = t->bytes_sent,
        .flags = t->flags,
        .grpc_status = -1,
        .connection_details = t->details,
        .upstream_failure = t->upstream_failure,
        .upstream_cluster = t->upstream_cluster,
        .upstream_local = t->upstream_local,
        .origin = t->origin,
        .upstream_service_time_ms = -1,
    };
    if (t->host != NULL)
        rec.upstream_host = &upstream_host_info(t->host)->address;
    if (chain != NULL)
        write_logs(fc->flow, chain, &rec);
}
