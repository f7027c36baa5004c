/* Clusters: of a service port or subset, and those towards the app behind a proxy. */
#include "control/translate/translate_priv.h"

static uint32_t limit_of(struct api_opt o)
{
    return o.is_set ? (uint32_t)MIN(o.value, (uint64_t)UINT32_MAX) : UINT32_MAX;
}

/* Whole seconds, upwards: the kernel counts in them. */
static uint32_t seconds_of(struct api_opt ms, uint32_t fallback)
{
    uint64_t s = ms.is_set ? (ms.value + 999) / 1000 : fallback;
    return (uint32_t)MAX(MIN(s, (uint64_t)UINT32_MAX), (uint64_t)1);
}

static void set_keepalive(struct cluster *c, const struct api_tcp_keepalive *k)
{
    if (k == NULL)
        return;
    c->keepalive_idle_s = seconds_of(k->time_ms, KEEPALIVE_IDLE_S_DEFAULT);
    c->keepalive_interval_s = seconds_of(k->interval_ms, KEEPALIVE_INTERVAL_S_DEFAULT);
    c->keepalive_probes = k->probes.is_set ? limit_of(k->probes) : KEEPALIVE_PROBES_DEFAULT;
}

static void set_pool(struct cluster *c, const struct api_connection_pool *p)
{
    c->breaker = (struct circuit_breaker){UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, 0, 0};
    c->connect_timeout_us = (uint64_t)API_CONNECT_TIMEOUT_MS_DEFAULT * 1000;
    c->idle_timeout_us = (uint64_t)API_IDLE_TIMEOUT_MS_DEFAULT * 1000;
    if (p == NULL)
        return;
    c->breaker.connections_max = limit_of(p->max_connections);
    c->breaker.pending_max = limit_of(p->http1_max_pending_requests);
    c->breaker.requests_max = limit_of(p->http2_max_requests);
    c->breaker.retries_max = limit_of(p->max_retries);
    c->connect_timeout_us =
        api_opt_or(p->connect_timeout_ms, API_CONNECT_TIMEOUT_MS_DEFAULT) * 1000;
    c->idle_timeout_us = api_opt_or(p->http_idle_timeout_ms, API_IDLE_TIMEOUT_MS_DEFAULT) * 1000;
    c->max_requests_per_connection = (uint32_t)api_opt_or(p->max_requests_per_connection, 0);
    set_keepalive(c, p->tcp_keepalive);
}

static void set_outlier(struct cluster *c, const struct api_outlier_detection *o)
{
    struct outlier_detection *d = &c->outlier;
    c->panic_threshold_percent = 0;
    if (o == NULL)
        return;
    d->is_on = true;
    d->consecutive_5xx = (uint32_t)api_opt_or(o->consecutive_5xx_errors, API_OUTLIER_5XX_DEFAULT);
    d->enforcing_consecutive_5xx = d->consecutive_5xx > 0 ? 100 : 0;
    d->consecutive_gateway_failure = (uint32_t)api_opt_or(o->consecutive_gateway_errors, 0);
    d->enforcing_gateway_failure = d->consecutive_gateway_failure > 0 ? 100 : 0;
    d->interval_us = api_opt_or(o->interval_ms, API_OUTLIER_INTERVAL_MS_DEFAULT) * 1000;
    d->base_ejection_us =
        api_opt_or(o->base_ejection_time_ms, API_OUTLIER_BASE_EJECTION_MS_DEFAULT) * 1000;
    d->max_ejection_us = MAX(d->base_ejection_us, (uint64_t)300 * 1000 * 1000);
    d->max_ejection_percent =
        (uint32_t)api_opt_or(o->max_ejection_percent, API_OUTLIER_MAX_EJECTION_PERCENT_DEFAULT);
    c->panic_threshold_percent = (uint32_t)api_opt_or(o->min_health_percent, 0);
}

static enum lb_kind lb_of(const enum api_lb *lb)
{
    static const enum lb_kind kinds[] = {
        [API_LB_LEAST_REQUEST] = LB_LEAST_REQUEST,
        [API_LB_ROUND_ROBIN] = LB_ROUND_ROBIN,
        [API_LB_RANDOM] = LB_RANDOM,
    };
    return lb == NULL ? LB_LEAST_REQUEST : kinds[*lb];
}

/* What the app behind the last hop speaks; between two Tulle proxies it is HTTP/2 all the same. */
static enum upstream_protocol protocol_of(enum api_protocol p)
{
    static const enum upstream_protocol protocols[] = {
        [API_PROTOCOL_AUTO] = UPSTREAM_DOWNSTREAM, [API_PROTOCOL_HTTP] = UPSTREAM_HTTP1,
        [API_PROTOCOL_HTTP2] = UPSTREAM_HTTP2,     [API_PROTOCOL_GRPC] = UPSTREAM_HTTP2,
        [API_PROTOCOL_TCP] = UPSTREAM_HTTP1,       [API_PROTOCOL_TLS] = UPSTREAM_HTTP1,
    };
    return protocols[p];
}

/* Without a word in the rules each endpoint decides: mTLS where its workload has a sidecar. */
static void set_tls(struct job *j, struct cluster *c, const struct output_name *n, enum tls_use use,
                    const struct api_client_tls *rule)
{
    if (rule != NULL && rule->mode == API_CLIENT_TLS_DISABLE)
        return;
    const struct upstream_tls *tls = tls_outbound(j, n, use, rule);
    if (rule != NULL || job_is_grpc(j)) {
        c->tls = rule != NULL || endpoints_speak_tls(j, n) ? tls : NULL;
        return;
    }
    struct transport_socket_match *m = ARENA_ARRAY(j->a, struct transport_socket_match, 2);
    m[0] = (struct transport_socket_match){STR("tlsMode-istio"), STR("tlsMode"), STR("istio"), tls};
    m[1] = (struct transport_socket_match){STR("tlsMode-disabled"), STR_NULL, STR_NULL, NULL};
    c->tls_matches = m;
    c->tls_match_count = 2;
}

static enum tls_use use_of_tcp(bool is_alone)
{
    return is_alone ? TLS_TCP_ALONE : TLS_TCP;
}

static enum tls_use use_of_http(enum upstream_protocol protocol)
{
    return protocol == UPSTREAM_HTTP2 ? TLS_HTTP2 : TLS_HTTP1;
}

static const struct cluster *service_cluster(struct job *j, struct str name,
                                             const struct output_name *n)
{
    const struct registry_service *s = job_service(j, n->host);
    const struct api_service_port *port =
        s != NULL ? api_service_find_port(s->doc->spec.service, n->port) : NULL;
    if (port == NULL)
        return NULL;
    const struct api_document *rule = job_rule(j, n->host);
    struct api_traffic_policy policy = {0};
    if (rule != NULL)
        policy = api_destination_rule_policy(rule->spec.destination_rule, n->subset, n->port);
    struct cluster *c = ARENA_NEW(j->a, struct cluster);
    c->name = name;
    c->kind = CLUSTER_EDS;
    if (n->is_tcp)
        c->eds_service_name = name_format(j->a, n->host, n->port, n->subset, false);
    c->lb = lb_of(policy.lb);
    c->least_request_choices = 2;
    c->protocol = protocol_of(port->protocol);
    /* Envoy cannot choose a token for each connection: HTTP/1 it is, and the rest goes as TCP. */
    if (job_is_envoy(j) && c->protocol == UPSTREAM_DOWNSTREAM)
        c->protocol = UPSTREAM_HTTP1;
    set_pool(c, policy.connection_pool);
    set_outlier(c, policy.outlier_detection);
    bool is_tcp =
        n->is_tcp || port->protocol == API_PROTOCOL_TCP || port->protocol == API_PROTOCOL_TLS;
    bool is_alone = policy.connection_pool != NULL && policy.connection_pool->is_tcp_alone;
    set_tls(j, c, n, is_tcp ? use_of_tcp(is_alone) : use_of_http(c->protocol), policy.tls);
    c->service = (struct service_info){n->host, s->doc->name, s->doc->namespace};
    c->socket_mark = job_is_envoy(j) ? TRANSLATE_MARK_PEERS : 0;
    if (rule != NULL)
        c->origin.text = api_document_subject(j->a, rule);
    return c;
}

static const struct cluster *inbound_cluster(struct job *j, struct str name,
                                             enum api_protocol protocol)
{
    struct cluster *c = ARENA_NEW(j->a, struct cluster);
    c->name = name;
    c->kind = CLUSTER_ORIGINAL_DST;
    c->lb = LB_CLUSTER_PROVIDED;
    c->protocol = protocol_of(protocol);
    set_pool(c, NULL);
    set_outlier(c, NULL);
    c->is_inbound = true;
    c->socket_mark = job_is_envoy(j) ? TRANSLATE_MARK_APP : 0;
    return c;
}

/* Where nothing listens, as a cluster without endpoints; or wherever the app wanted to go. */
static const struct cluster *nobodys_cluster(struct job *j, struct str name)
{
    if (!job_is_envoy(j))
        return NULL;
    struct cluster *c = ARENA_NEW(j->a, struct cluster);
    bool is_passthrough = str_eq(name, STR(TRANSLATE_PASSTHROUGH));
    c->name = name;
    c->inline_endpoints = is_passthrough ? NULL : ARENA_NEW(j->a, struct endpoints);
    c->kind = is_passthrough ? CLUSTER_ORIGINAL_DST : CLUSTER_STATIC;
    c->lb = is_passthrough ? LB_CLUSTER_PROVIDED : LB_ROUND_ROBIN;
    c->protocol = UPSTREAM_HTTP1;
    set_pool(c, NULL);
    set_outlier(c, NULL);
    c->socket_mark = TRANSLATE_MARK_PEERS;
    return c;
}

const struct cluster *output_cluster(struct job *j, struct str name)
{
    uint16_t port;
    enum api_protocol protocol;
    struct output_name n;
    if (name_parse_inbound(name, &port, &protocol))
        return job_is_grpc(j) ? NULL : inbound_cluster(j, name, protocol);
    if (job_is_grpc(j) && str_eq(name, STR(TRANSLATE_BLACKHOLE)))
        return grpc_nowhere(j);
    if (name_is_nobodys(name))
        return nobodys_cluster(j, name);
    if (!name_parse(name, &n) || (n.is_tcp && job_is_grpc(j)))
        return NULL;
    return service_cluster(j, name, &n);
}
