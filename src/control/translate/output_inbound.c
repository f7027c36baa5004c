/* The inbound listener of a workload: who may come in by which port, with or without mTLS.
 *
 * Chains per port that the Workload lists, or that a PeerAuthentication names, and chains for all
 * others, under the workload's mode. How many and which a port gets:
 *
 *              mTLS of the mesh            other TLS                    plain text
 *   STRICT     any TLS is taken for it     -                            -
 *   PERMISSIVE by its ALPN; HTTP: any TLS  passed on to the app, TCP    HTTP or TCP
 *   DISABLE    -                           passed on to the app, TCP    HTTP or TCP
 *
 * AUTO ports have an HTTP and a TCP chain for each, told apart by ALPN or by the first bytes. */
#include "control/translate/translate_priv.h"

/* What clients of a mesh offer... */
static const struct str mesh_http_alpn[] = {
    {"tulle-h2", 8},
    {"istio-h2", 8},
    {"istio-http/1.1", 14},
    {"istio-http/1.0", 14},
};
static const struct str mesh_tcp_alpn[] = {
    {"tulle-tcp", 9},
    {"istio-peer-exchange", 19},
    {"istio", 5},
};
/* ...and where no TLS but theirs can be meant, the plain names of HTTP too. */
static const struct str http_alpn[] = {
    {"tulle-h2", 8},        {"istio-h2", 8},        {"h2", 2},
    {"istio-http/1.1", 14}, {"istio-http/1.0", 14}, {"http/1.1", 8},
};
static const struct str http_protocols[] = {{"http/1.0", 8}, {"http/1.1", 8}, {"h2c", 3}};

enum {
    PEEK_TIMEOUT_US = 100 * 1000,              /* a server may have to speak first */
    PEEK_TIMEOUT_STRICT_US = 10 * 1000 * 1000, /* nobody but TLS clients comes in: they begin */
};

struct builder {
    struct job *j;
    const struct api_document *workload;
    const struct api_workload *spec;
    struct filter_chain *chains;
    size_t count, cap;
    struct rbac_pair http_policy, tcp_policy;
    const struct rbac *revoked; /* of connections, whatever they speak; NULL: nobody is */
    bool has_plain;             /* some chain takes what is not TLS */
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
    route->match =
        (struct route_match){.path_kind = PATH_PREFIX, .path = STR("/"), .is_case_sensitive = true};
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
        filters[(*count)++] =
            (struct http_filter){HTTP_FILTER_RBAC, STR("envoy.filters.http.rbac"), rbac};
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
    /* One element, of whom this sidecar verified. Callers' sidecars strip what their apps say, so
     * that an earlier one could only come from somebody who has a key and no sidecar. */
    hcm->xfcc = XFCC_SANITIZE_SET;
    hcm->xfcc_subject = hcm->xfcc_dns = hcm->xfcc_uri = true;
    return (struct network_filter){.kind = NETWORK_FILTER_HCM,
                                   .name = STR("envoy.filters.network.http_connection_manager"),
                                   .hcm = hcm};
}

static struct network_filter rbac_filter(const struct rbac *rbac)
{
    return (struct network_filter){
        .kind = NETWORK_FILTER_RBAC, .name = STR("envoy.filters.network.rbac"), .rbac = rbac};
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
    struct network_filter *filters = ARENA_ARRAY(b->j->a, struct network_filter, 4);
    if (b->revoked != NULL)
        filters[chain->filter_count++] = rbac_filter(b->revoked);
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

/* Ports that are not listed share clusters: these go where the connection wanted to go anyway. */
static struct str cluster_name(const struct builder *b, uint16_t port, enum api_protocol protocol)
{
    bool is_listed = false;
    for (size_t i = 0; i < b->spec->port_count; i++)
        is_listed |= b->spec->ports[i].port == port;
    return name_inbound(b->j->a, is_listed ? port : 0, protocol);
}

static bool is_tcp_only(enum api_protocol protocol)
{
    return protocol == API_PROTOCOL_TCP || protocol == API_PROTOCOL_TLS;
}

static void add_http(struct builder *b, uint16_t port, enum api_protocol protocol,
                     enum api_mtls_mode mode, bool is_tls)
{
    bool is_auto = protocol == API_PROTOCOL_AUTO;
    struct filter_chain *chain = next_chain(b, port);
    chain->name = is_tls ? STR("http-mtls") : STR("http-plain");
    chain->match.transport_protocol = is_tls ? STR("tls") : STR("raw_buffer");
    if (is_auto && !is_tls)
        set_protocols(chain, http_protocols, ARRAY_LEN(http_protocols));
    else if (is_auto && mode == API_MTLS_STRICT)
        set_protocols(chain, http_alpn, ARRAY_LEN(http_alpn));
    else if (is_auto)
        set_protocols(chain, mesh_http_alpn, ARRAY_LEN(mesh_http_alpn));
    if (is_tls)
        chain->tls = tls_inbound(b->j, true, is_auto);
    set_filters(b, chain, cluster_name(b, port, protocol), true);
}

static void add_tcp(struct builder *b, uint16_t port, struct str name, struct str transport,
                    const struct downstream_tls *tls)
{
    struct filter_chain *chain = next_chain(b, port);
    chain->name = name;
    chain->match.transport_protocol = transport;
    chain->tls = tls;
    set_filters(b, chain, cluster_name(b, port, API_PROTOCOL_TCP), false);
}

static void add_mtls(struct builder *b, uint16_t port, enum api_protocol protocol,
                     enum api_mtls_mode mode)
{
    bool is_auto = protocol == API_PROTOCOL_AUTO;
    if (!is_tcp_only(protocol))
        add_http(b, port, protocol, mode, true);
    if (!is_tcp_only(protocol) && !is_auto)
        return;
    add_tcp(b, port, STR("tcp-mtls"), STR("tls"), tls_inbound(b->j, is_auto, true));
    if (mode != API_MTLS_STRICT)
        set_protocols(&b->chains[b->count - 1], mesh_tcp_alpn, ARRAY_LEN(mesh_tcp_alpn));
}

static void add_plain(struct builder *b, uint16_t port, enum api_protocol protocol,
                      enum api_mtls_mode mode)
{
    bool is_auto = protocol == API_PROTOCOL_AUTO;
    b->has_plain = true;
    if (!is_tcp_only(protocol))
        add_http(b, port, protocol, mode, false);
    if (is_tcp_only(protocol) || is_auto)
        add_tcp(b, port, STR("tcp-plain"), STR("raw_buffer"), NULL);
    /* The mTLS chain of a port that speaks HTTP takes all TLS. */
    if (is_tcp_only(protocol) || is_auto || mode == API_MTLS_DISABLE)
        add_tcp(b, port, STR("tls-passthrough"), STR("tls"), NULL);
}

static void add_port(struct builder *b, uint16_t port, enum api_protocol protocol)
{
    enum api_mtls_mode mode = mtls_mode(b->j, b->workload, port);
    if (mode != API_MTLS_DISABLE)
        add_mtls(b, port, protocol, mode);
    if (mode != API_MTLS_STRICT)
        add_plain(b, port, protocol, mode);
}

static bool has_port(const struct builder *b, uint16_t port)
{
    for (size_t i = 0; i < b->count; i++) {
        if (b->chains[i].match.destination_port == port)
            return true;
    }
    return false;
}

/* A policy's word about a port that the Workload does not list holds too. */
static void add_unlisted(void *ctx, uint16_t port)
{
    struct builder *b = ctx;
    if (!has_port(b, port))
        add_port(b, port, API_PROTOCOL_AUTO);
}

const struct listener *output_inbound(struct job *j)
{
    if (job_is_grpc(j))
        return NULL; /* there is nobody to capture for */
    const struct api_document *workload = job_workload(j);
    if (workload == NULL)
        return NULL;
    struct builder b = {
        .j = j,
        .workload = workload,
        .spec = workload->spec.workload,
        .http_policy = policy_for(j, workload, false),
        .tcp_policy = policy_for(j, workload, true),
        .revoked = policy_revoked(j, workload),
    };
    for (size_t i = 0; i < b.spec->port_count; i++)
        add_port(&b, b.spec->ports[i].port, b.spec->ports[i].protocol);
    mtls_ports(j, workload, add_unlisted, &b);
    add_port(&b, 0, API_PROTOCOL_AUTO);
    struct listener *l = ARENA_NEW(j->a, struct listener);
    l->address = (struct model_addr){.ip = ip_v4(0, 0, 0, 0), .port = 15006};
    if (job_is_envoy(j))
        l->address_v6 =
            (struct model_addr){.ip = ip_from_bytes((const uint8_t[16]){0}, 16), .port = 15006};
    l->bind_to_port = true;
    l->direction = LISTENER_INBOUND;
    l->inspectors = (struct listener_filters){
        .original_dst = true, .tls_inspector = true, .http_inspector = true};
    l->listener_filters_timeout_us = b.has_plain ? PEEK_TIMEOUT_US : PEEK_TIMEOUT_STRICT_US;
    l->continue_on_listener_filters_timeout = b.has_plain;
    l->chains = b.chains;
    l->chain_count = b.count;
    l->origin.text = api_document_subject(j->a, workload);
    return l;
}
