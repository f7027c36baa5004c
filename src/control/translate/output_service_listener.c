/* The listener of a service port on the caller's side: HTTP, TCP, or one look at the first bytes.
 */
#include "control/translate/translate_priv.h"

static const struct str http_protocols[] = {{"http/1.0", 8}, {"http/1.1", 8}, {"h2c", 3}};

static struct network_filter http_filter(struct job *j, struct str name)
{
    struct hcm *hcm = ARENA_NEW(j->a, struct hcm);
    struct http_filter *router = ARENA_NEW(j->a, struct http_filter);
    hcm_defaults(j, hcm);
    hcm->stat_prefix = name;
    hcm->route_config_name = name;
    router->kind = HTTP_FILTER_ROUTER;
    router->name = STR("envoy.filters.http.router");
    hcm->filters = router;
    hcm->filter_count = 1;
    /* Nothing that the app says of a client certificate goes on. */
    hcm->xfcc = XFCC_SANITIZE;
    return (struct network_filter){.kind = NETWORK_FILTER_HCM,
                                   .name = STR("envoy.filters.network.http_connection_manager"),
                                   .hcm = hcm};
}

static bool tcp_match_applies(struct job *j, const struct api_tcp_match *m, uint16_t port)
{
    if (m->port != 0 && m->port != port)
        return false;
    if (m->source_namespace.len > 0 && !str_eq(m->source_namespace, j->viewer->namespace_))
        return false;
    if (m->source_labels.len == 0)
        return true;
    const struct api_document *workload = job_workload(j);
    return workload != NULL && api_labels_match(&m->source_labels, &workload->labels);
}

static const struct api_tcp_route *find_tcp_route(struct job *j, const struct api_document *d,
                                                  uint16_t port)
{
    const struct api_virtual_service *vs = d->spec.virtual_service;
    for (size_t i = 0; i < vs->tcp_count; i++) {
        if (vs->tcp[i].match_count == 0)
            return &vs->tcp[i];
        for (size_t m = 0; m < vs->tcp[i].match_count; m++) {
            if (tcp_match_applies(j, &vs->tcp[i].matches[m], port))
                return &vs->tcp[i];
        }
    }
    return NULL;
}

static uint64_t tcp_idle_timeout_us(struct job *j, struct str host, uint16_t port)
{
    const struct api_document *rule = job_rule(j, host);
    uint64_t timeout_ms = API_IDLE_TIMEOUT_MS_DEFAULT;
    if (rule != NULL) {
        struct api_traffic_policy policy =
            api_destination_rule_policy(rule->spec.destination_rule, STR_NULL, port);
        if (policy.connection_pool != NULL)
            timeout_ms = api_opt_or(policy.connection_pool->tcp_idle_timeout_ms, timeout_ms);
    }
    return timeout_ms * 1000;
}

static struct network_filter tcp_filter(struct job *j, const struct output_name *n, bool is_auto)
{
    struct tcp_proxy *tcp = ARENA_NEW(j->a, struct tcp_proxy);
    const struct api_document *d = job_routes(j, n->host);
    const struct api_tcp_route *route = d != NULL ? find_tcp_route(j, d, n->port) : NULL;
    tcp->stat_prefix = name_format(j->a, n->host, n->port, STR_NULL, false);
    tcp->idle_timeout_us = tcp_idle_timeout_us(j, n->host, n->port);
    tcp->access_logs = access_logs(j, &tcp->access_log_count);
    if (route != NULL) {
        tcp->clusters = destination_weighted(j, route->destinations, route->destination_count,
                                             d->namespace, n->port, true, &tcp->cluster_count);
    } else {
        struct weighted_cluster *c = ARENA_NEW(j->a, struct weighted_cluster);
        c->name = name_format(j->a, n->host, n->port, STR_NULL, is_auto);
        c->weight = 1;
        tcp->clusters = c;
        tcp->cluster_count = 1;
    }
    return (struct network_filter){.kind = NETWORK_FILTER_TCP_PROXY,
                                   .name = STR("envoy.filters.network.tcp_proxy"),
                                   .tcp_proxy = tcp};
}

static struct filter_chain *chain_of(struct job *j, struct str name, struct network_filter filter)
{
    struct filter_chain *chain = ARENA_NEW(j->a, struct filter_chain);
    struct network_filter *filters = ARENA_NEW(j->a, struct network_filter);
    filters[0] = filter;
    chain->name = name;
    chain->filters = filters;
    chain->filter_count = 1;
    return chain;
}

static void set_chains(struct job *j, const struct output_name *n, struct str name,
                       enum api_protocol protocol, struct listener *l)
{
    bool is_auto = protocol == API_PROTOCOL_AUTO;
    bool is_tcp = protocol == API_PROTOCOL_TCP || protocol == API_PROTOCOL_TLS;
    if (!is_tcp) {
        struct filter_chain *http = chain_of(j, STR("http"), http_filter(j, name));
        if (is_auto) {
            http->match.transport_protocol = STR("raw_buffer");
            http->match.application_protocols = http_protocols;
            /* "h2c" is the last: what Envoy cannot tell on (output_cluster.c) goes as TCP. */
            http->match.application_protocol_count =
                ARRAY_LEN(http_protocols) - (job_is_envoy(j) ? 1 : 0);
            l->inspectors.tls_inspector = l->inspectors.http_inspector = true;
        }
        l->chains = http;
        l->chain_count = 1;
    }
    if (is_tcp || is_auto)
        l->default_chain = chain_of(j, STR("tcp"), tcp_filter(j, n, is_auto));
}

/* Nothing listens: what a call of this name goes through in the client itself. */
static const struct listener *grpc_listener(struct job *j, struct str name,
                                            enum api_protocol protocol)
{
    struct listener *l = ARENA_NEW(j->a, struct listener);
    if (protocol == API_PROTOCOL_TCP || protocol == API_PROTOCOL_TLS)
        return NULL;
    l->direction = LISTENER_OUTBOUND;
    l->default_chain = chain_of(j, STR("http"), http_filter(j, name));
    return l;
}

const struct listener *output_service_listener(struct job *j, struct str name)
{
    struct output_name n;
    if (!name_parse(name, &n) || n.subset.len > 0 || n.is_tcp)
        return NULL;
    const struct registry_service *s = job_service(j, n.host);
    const struct api_service_port *port =
        s != NULL ? api_service_find_port(s->doc->spec.service, n.port) : NULL;
    if (port == NULL)
        return NULL;
    if (s->addresses[0].family == IP_NONE && !job_is_grpc(j))
        str_buf_printf(j->error, "Service/%.*s/%.*s has no address: none is left",
                       STR_FMT(s->doc->namespace), STR_FMT(s->doc->name));
    if (job_is_grpc(j))
        return grpc_listener(j, name, port->protocol);
    struct listener *l = ARENA_NEW(j->a, struct listener);
    l->address = (struct model_addr){.ip = s->addresses[0], .port = n.port};
    /* Our own proxies look an address up in the directory, and take the listener by its name. */
    if (job_is_envoy(j))
        l->address_v6 = (struct model_addr){.ip = s->addresses[1], .port = n.port};
    l->direction = LISTENER_OUTBOUND;
    l->bind_to_port = false;
    l->continue_on_listener_filters_timeout = true;
    l->listener_filters_timeout_us = 100 * 1000;
    set_chains(j, &n, name, port->protocol, l);
    l->origin.text = api_document_subject(j->a, s->doc);
    return l;
}
