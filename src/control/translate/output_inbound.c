/* The inbound listener of a workload: who may come in by which port, with or without mTLS.
 *
 * A chain per listed port, mode and protocol; ports that the Workload does not list are passed on
 * by the last chains under the workload's mode. */
#include "control/translate/translate_priv.h"

static const struct str http_alpn[] = {
    {"tulle-h2", 8},        {"istio-h2", 8},        {"h2", 2},
    {"istio-http/1.1", 14}, {"istio-http/1.0", 14}, {"http/1.1", 8},
};
static const struct str http_protocols[] = {{"http/1.0", 8}, {"http/1.1", 8}, {"h2c", 3}};

struct builder {
    struct job *j;
    const struct api_document *workload;
    struct filter_chain *chains;
    size_t count, cap;
    struct rbac_pair http_policy, tcp_policy;
};

/* --- filters --- */

static const struct route_config *inbound_routes(struct job *j, struct str cluster)
{
    struct route_config *rc = ARENA_NEW(j->a, struct route_config);
    struct virtual_host *vh = ARENA_NEW(j->a, struct virtual_host);
    struct route *route = ARENA_NEW(j->a, struct route);
    struct weighted_cluster *w = ARENA_NEW(j->a, struct weighted_cluster);
    static const struct str all = {"*", 1};
    *w = (struct weighted_cluster){.name = cluster, .weight = 1};
    route->name = STR("default");
    route->match = (struct route_match){PATH_PREFIX, STR("/"), true, NULL, 0, NULL, 0, false};
    route->kind = ROUTE_FORWARD;
    route->clusters = w;
    route->cluster_count = 1;
    route->weight_total = 1;
    route->idle_timeout_us = MODEL_UNSET_U64;
    vh->name = STR("inbound");
    vh->domains = &all;
    vh->domain_count = 1;
    vh->routes = route;
    vh->route_count = 1;
    rc->name = cluster;
    rc->hosts = vh;
    rc->host_count = 1;
    return rc;
}

static void add_rbac(struct http_filter *filters, size_t *count, const struct rbac *rbac)
{
    if (rbac != NULL)
        filters[(*count)++] = (struct http_filter){
            HTTP_FILTER_RBAC, STR("envoy.filters.http.rbac"), rbac};
}

static struct network_filter http_filter(struct builder *b, struct str cluster)
{
    struct job *j = b->j;
    struct hcm *hcm = ARENA_NEW(j->a, struct hcm);
    struct http_filter *filters = ARENA_ARRAY(j->a, struct http_filter, 3);
    hcm_defaults(j, hcm);
    add_rbac(filters, &hcm->filter_count, b->http_policy.deny);
    add_rbac(filters, &hcm->filter_count, b->http_policy.allow);
    filters[hcm->filter_count++] =
        (struct http_filter){HTTP_FILTER_ROUTER, STR("envoy.filters.http.router"), NULL};
    hcm->stat_prefix = cluster;
    hcm->route_config = inbound_routes(j, cluster);
    hcm->filters = filters;
    hcm->xfcc = XFCC_APPEND_FORWARD;
    hcm->xfcc_subject = hcm->xfcc_dns = hcm->xfcc_uri = true;
    return (struct network_filter){.kind = NETWORK_FILTER_HCM,
                                   .name = STR("envoy.filters.network.http_connection_manager"),
                                   .hcm = hcm};
}

static struct network_filter rbac_filter(const struct rbac *rbac)
{
    return (struct network_filter){.kind = NETWORK_FILTER_RBAC,
                                   .name = STR("envoy.filters.network.rbac"),
                                   .rbac = rbac};
}

static struct network_filter tcp_filter(struct job *j, struct str cluster)
{
    struct tcp_proxy *tcp = ARENA_NEW(j->a, struct tcp_proxy);
    struct weighted_cluster *w = ARENA_NEW(j->a, struct weighted_cluster);
    *w = (struct weighted_cluster){.name = cluster, .weight = 1};
    tcp->stat_prefix = cluster;
    tcp->clusters = w;
    tcp->cluster_count = 1;
    tcp->idle_timeout_us = (uint64_t)API_IDLE_TIMEOUT_MS_DEFAULT * 1000;
    tcp->access_logs = access_logs(j, &tcp->access_log_count);
    return (struct network_filter){.kind = NETWORK_FILTER_TCP_PROXY,
                                   .name = STR("envoy.filters.network.tcp_proxy"),
                                   .tcp_proxy = tcp};
}

static void set_filters(struct builder *b, struct filter_chain *chain, struct str cluster,
                        bool is_http)
{
    struct network_filter *filters = ARENA_ARRAY(b->j->a, struct network_filter, 3);
    if (is_http) {
        filters[chain->filter_count++] = http_filter(b, cluster);
    } else {
        if (b->tcp_policy.deny != NULL)
            filters[chain->filter_count++] = rbac_filter(b->tcp_policy.deny);
        if (b->tcp_policy.allow != NULL)
            filters[chain->filter_count++] = rbac_filter(b->tcp_policy.allow);
        filters[chain->filter_count++] = tcp_filter(b->j, cluster);
    }
    chain->filters = filters;
}

/* --- chains --- */

static struct filter_chain *next_chain(struct builder *b, uint16_t port)
{
    if (b->count == b->cap) {
        size_t cap = b->cap == 0 ? 8 : b->cap * 2;
        struct filter_chain *chains = ARENA_ARRAY(b->j->a, struct filter_chain, cap);
        if (b->count > 0)
            memcpy(chains, b->chains, b->count * sizeof *chains);
        b->chains = chains;
        b->cap = cap;
    }
    struct filter_chain *chain = &b->chains[b->count++];
    chain->match.destination_port = port;
    return chain;
}

static void set_protocols(struct filter_chain *chain, const struct str *protocols, size_t count)
{
    chain->match.application_protocols = protocols;
    chain->match.application_protocol_count = count;
}

static void add_chain(struct builder *b, uint16_t port, enum api_protocol protocol, bool is_tls,
                      bool is_http)
{
    bool is_auto = protocol == API_PROTOCOL_AUTO;
    struct filter_chain *chain = next_chain(b, port);
    chain->name = is_http ? is_tls ? STR("http-mtls") : STR("http-plain")
                  : is_tls ? STR("tcp-mtls")
                           : STR("tcp-plain");
    chain->match.transport_protocol = is_tls ? STR("tls") : STR("raw_buffer");
    if (is_auto && is_http && is_tls)
        set_protocols(chain, http_alpn, ARRAY_LEN(http_alpn));
    else if (is_auto && is_http)
        set_protocols(chain, http_protocols, ARRAY_LEN(http_protocols));
    if (is_tls)
        chain->tls = tls_inbound(b->j, is_http || is_auto, !is_http || is_auto);
    enum api_protocol to = is_auto && !is_http ? API_PROTOCOL_TCP : protocol;
    set_filters(b, chain, name_inbound(b->j->a, port, to), is_http);
}

static void add_port(struct builder *b, uint16_t port, enum api_protocol protocol)
{
    enum api_mtls_mode mode = mtls_mode(b->j, b->workload, port);
    bool is_tcp = protocol == API_PROTOCOL_TCP || protocol == API_PROTOCOL_TLS;
    for (int is_tls = 1; is_tls >= 0; is_tls--) {
        if (mode == (is_tls ? API_MTLS_DISABLE : API_MTLS_STRICT))
            continue;
        if (!is_tcp)
            add_chain(b, port, protocol, is_tls, true);
        if (is_tcp || protocol == API_PROTOCOL_AUTO)
            add_chain(b, port, protocol, is_tls, false);
    }
    /* Without mTLS of ours, TLS bytes are the app's own. */
    if (mode == API_MTLS_DISABLE) {
        struct filter_chain *chain = next_chain(b, port);
        chain->name = STR("tcp-plain");
        chain->match.transport_protocol = STR("tls");
        set_filters(b, chain, name_inbound(b->j->a, port, is_tcp ? protocol : API_PROTOCOL_TCP),
                    false);
    }
}

const struct listener *output_inbound(struct job *j)
{
    const struct api_document *workload = job_workload(j);
    if (workload == NULL)
        return NULL;
    struct builder b = {
        .j = j,
        .workload = workload,
        .http_policy = policy_for(j, workload, false),
        .tcp_policy = policy_for(j, workload, true),
    };
    const struct api_workload *spec = workload->spec.workload;
    for (size_t i = 0; i < spec->port_count; i++)
        add_port(&b, spec->ports[i].port, spec->ports[i].protocol);
    add_port(&b, 0, API_PROTOCOL_AUTO);
    struct listener *l = ARENA_NEW(j->a, struct listener);
    l->address = (struct model_addr){.ip = ip_v4(0, 0, 0, 0), .port = 15006};
    l->bind_to_port = true;
    l->direction = LISTENER_INBOUND;
    l->inspectors = (struct listener_filters){true, true, true};
    l->listener_filters_timeout_us = 100 * 1000;
    l->continue_on_listener_filters_timeout = true;
    l->chains = b.chains;
    l->chain_count = b.count;
    l->origin.text = api_document_subject(j->a, workload);
    return l;
}
