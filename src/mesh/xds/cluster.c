#include <sys/socket.h>

#include "base/err.h"
#include "mesh/xds/any.h"
#include "mesh/xds/codec_priv.h"

enum { CONNECT_TIMEOUT_US = 5000000, PANIC_PERCENT = 50, CHOICES = 2 };

/* --- decoding: where the endpoints come from --- */

static int decode_static(struct decode *d, const struct pb_path *at, const Pb__Cluster__Cluster *m,
                         struct cluster *cluster)
{
    const struct pb_path *here = PB_AT(at, "load_assignment");
    struct str name;
    const void *body;
    /* Istio's BlackHoleCluster: it has nobody, which 503 says. */
    if (m->load_assignment == NULL && cluster->kind == CLUSTER_STATIC) {
        cluster->inline_endpoints = ARENA_NEW(d->arena, struct endpoints);
        return 0;
    }
    if (m->load_assignment == NULL)
        return decode_fail(d, here, "endpoints are needed");
    if (decode_endpoints(d, here, m->load_assignment, &name, &body) != 0)
        return -ERR_INVALID;
    cluster->inline_endpoints = body;
    for (size_t i = 0; i < cluster->inline_endpoints->count; i++) {
        const struct endpoint *ep = &cluster->inline_endpoints->items[i];
        bool has_address = ep->address.ip.family != IP_NONE || ep->address.path.len > 0;
        if (!has_address && cluster->kind == CLUSTER_STATIC)
            return decode_fail(d, here, "\"%.*s\" is not an IP address (STRICT_DNS looks up names)",
                               STR_FMT(ep->hostname));
    }
    return 0;
}

static int decode_eds(struct decode *d, const struct pb_path *at, const Pb__Cluster__Cluster *m,
                      struct cluster *cluster)
{
    const struct pb_path *here = PB_AT(at, "eds_cluster_config");
    if (m->eds_cluster_config == NULL)
        return decode_fail(d, here, "needed by type EDS");
    struct resource_source source;
    if (decode_config_source(d, PB_AT(here, "eds_config"), m->eds_cluster_config->eds_config, false,
                             &source) != 0)
        return -ERR_INVALID;
    cluster->eds_service_name = decode_str(d, m->eds_cluster_config->service_name);
    decode_add_ref_from(
        d, RESOURCE_ENDPOINTS,
        cluster->eds_service_name.len > 0 ? cluster->eds_service_name : cluster->name, source);
    return 0;
}

static int decode_original_dst(struct decode *d, const struct pb_path *at,
                               const Pb__Cluster__Cluster *m, struct cluster *cluster)
{
    if (m->lb_config_case != PB__CLUSTER__CLUSTER__LB_CONFIG_ORIGINAL_DST_LB_CONFIG)
        return 0;
    uint32_t port = decode_u32(m->original_dst_lb_config->upstream_port_override, 0);
    if (port > UINT16_MAX)
        return decode_fail(d, PB_AT(at, "original_dst_lb_config.upstream_port_override"),
                           "%u is not a port", port);
    cluster->original_dst_port = (uint16_t)port;
    return 0;
}

static int decode_discovery(struct decode *d, const struct pb_path *at,
                            const Pb__Cluster__Cluster *m, struct cluster *cluster)
{
    switch ((int)m->type) {
    case PB__CLUSTER__CLUSTER__DISCOVERY_TYPE__STATIC:
        cluster->kind = CLUSTER_STATIC;
        return decode_static(d, at, m, cluster);
    case PB__CLUSTER__CLUSTER__DISCOVERY_TYPE__STRICT_DNS:
        cluster->kind = CLUSTER_STRICT_DNS;
        return decode_static(d, at, m, cluster);
    case PB__CLUSTER__CLUSTER__DISCOVERY_TYPE__LOGICAL_DNS:
        cluster->kind = CLUSTER_LOGICAL_DNS;
        if (decode_static(d, at, m, cluster) != 0)
            return -ERR_INVALID;
        return cluster->inline_endpoints->count == 1
                   ? 0
                   : decode_fail(d, PB_AT(at, "load_assignment"), "LOGICAL_DNS has one endpoint");
    case PB__CLUSTER__CLUSTER__DISCOVERY_TYPE__EDS:
        cluster->kind = CLUSTER_EDS;
        return decode_eds(d, at, m, cluster);
    case PB__CLUSTER__CLUSTER__DISCOVERY_TYPE__ORIGINAL_DST:
        cluster->kind = CLUSTER_ORIGINAL_DST;
        return decode_original_dst(d, at, m, cluster);
    default:
        return decode_fail(d, PB_AT(at, "type"),
                           "STATIC, STRICT_DNS, LOGICAL_DNS, EDS and ORIGINAL_DST are supported");
    }
}

/* --- decoding: load balancing --- */

static int decode_lb(struct decode *d, const struct pb_path *at, const Pb__Cluster__Cluster *m,
                     struct cluster *cluster)
{
    if (m->load_balancing_policy != NULL)
        return decode_fail(d, PB_AT(at, "load_balancing_policy"), "is not supported; lb_policy is");
    switch ((int)m->lb_policy) {
    case PB__CLUSTER__CLUSTER__LB_POLICY__ROUND_ROBIN:
        cluster->lb = LB_ROUND_ROBIN;
        break;
    case PB__CLUSTER__CLUSTER__LB_POLICY__LEAST_REQUEST:
        cluster->lb = LB_LEAST_REQUEST;
        break;
    case PB__CLUSTER__CLUSTER__LB_POLICY__RANDOM:
        cluster->lb = LB_RANDOM;
        break;
    case PB__CLUSTER__CLUSTER__LB_POLICY__RING_HASH:
    case PB__CLUSTER__CLUSTER__LB_POLICY__MAGLEV:
        cluster->lb = LB_HASH;
        break;
    case PB__CLUSTER__CLUSTER__LB_POLICY__CLUSTER_PROVIDED:
        cluster->lb = LB_CLUSTER_PROVIDED;
        break;
    default:
        return decode_fail(d, PB_AT(at, "lb_policy"),
                           "ROUND_ROBIN, LEAST_REQUEST, RANDOM, RING_HASH, MAGLEV and "
                           "CLUSTER_PROVIDED are supported");
    }
    bool is_provided = cluster->lb == LB_CLUSTER_PROVIDED;
    if (is_provided != (cluster->kind == CLUSTER_ORIGINAL_DST))
        return decode_fail(d, PB_AT(at, "lb_policy"),
                           "CLUSTER_PROVIDED and type ORIGINAL_DST go together");
    cluster->least_request_choices = CHOICES;
    if (m->lb_config_case == PB__CLUSTER__CLUSTER__LB_CONFIG_LEAST_REQUEST_LB_CONFIG)
        cluster->least_request_choices =
            decode_u32(m->least_request_lb_config->choice_count, CHOICES);
    if (cluster->least_request_choices < 2)
        return decode_fail(d, PB_AT(at, "least_request_lb_config.choice_count"), "at least 2");
    cluster->is_locality_weighted =
        m->common_lb_config != NULL && m->common_lb_config->locality_weighted_lb_config != NULL;
    const Pb__Type__Percent *panic =
        m->common_lb_config != NULL ? m->common_lb_config->healthy_panic_threshold : NULL;
    return decode_percent(d, PB_AT(at, "common_lb_config.healthy_panic_threshold"), panic,
                          PANIC_PERCENT, &cluster->panic_threshold_percent);
}

/* --- decoding: transport sockets --- */

static int decode_socket_match(struct decode *d, const struct pb_path *at,
                               const Pb__Cluster__Cluster__TransportSocketMatch *m,
                               struct transport_socket_match *match)
{
    if (!decode_is_set(m->name))
        return decode_fail(d, PB_AT(at, "name"), "a name is needed");
    match->name = decode_str(d, m->name);
    if (m->match != NULL && m->match->n_fields > 1)
        return decode_fail(d, PB_AT(at, "match"), "only one pair is supported");
    if (m->match != NULL && m->match->n_fields == 1) {
        match->metadata_key = decode_str(d, m->match->fields[0]->key);
        match->metadata_value =
            decode_str(d, decode_struct_str(m->match, m->match->fields[0]->key));
        if (match->metadata_key.len == 0 || match->metadata_value.len == 0)
            return decode_fail(d, PB_AT(at, "match"), "a key and a string are needed");
    }
    return decode_upstream_tls(d, PB_AT(at, "transport_socket"), m->transport_socket, &match->tls);
}

/* A header in front of another socket. *ret_inner: that one. */
static int decode_proxy_header(struct decode *d, const struct pb_path *at,
                               const Pb__Core__TransportSocket *m, struct cluster *cluster,
                               const Pb__Core__TransportSocket **ret_inner)
{
    *ret_inner = m;
    if (m == NULL || m->typed_config == NULL || !decode_is_set(m->typed_config->type_url) ||
        !str_ends_with(str_from_c(m->typed_config->type_url),
                       STR("."
                           "ProxyProtocolUpstreamTransport")))
        return 0;
    const Pb__UpstreamProxyProtocol__ProxyProtocolUpstreamTransport *transport =
        decode_any_as(d, PB_AT(at, "typed_config"), m->typed_config,
                      &pb__upstream_proxy_protocol__proxy_protocol_upstream_transport__descriptor);
    if (transport == NULL)
        return -ERR_INVALID;
    if (transport->transport_socket == NULL)
        return decode_fail(d, PB_AT(at, "typed_config.transport_socket"), "a socket is needed");
    bool is_v2 = transport->config != NULL &&
                 transport->config->version == PB__CORE__PROXY_PROTOCOL_CONFIG__VERSION__V2;
    cluster->caller_header = is_v2 ? CALLER_HEADER_V2 : CALLER_HEADER_V1;
    *ret_inner = transport->transport_socket;
    return 0;
}

static int decode_sockets(struct decode *d, const struct pb_path *at, const Pb__Cluster__Cluster *m,
                          struct cluster *cluster)
{
    size_t count = m->n_transport_socket_matches;
    struct transport_socket_match *matches =
        ARENA_ARRAY(d->arena, struct transport_socket_match, count);
    for (size_t i = 0; i < count; i++) {
        if (decode_socket_match(d, PB_AT_I(at, "transport_socket_matches", i),
                                m->transport_socket_matches[i], &matches[i]) != 0)
            return -ERR_INVALID;
    }
    cluster->tls_matches = count > 0 ? matches : NULL;
    cluster->tls_match_count = count;
    const struct pb_path *outer = PB_AT(at, "transport_socket");
    const struct pb_path *wrapped = PB_AT(outer, "typed_config.transport_socket");
    const Pb__Core__TransportSocket *inner;
    if (decode_proxy_header(d, outer, m->transport_socket, cluster, &inner) != 0)
        return -ERR_INVALID;
    if (cluster->caller_header != CALLER_HEADER_NONE && count > 0)
        return decode_fail(d, PB_AT(at, "transport_socket_matches"),
                           "not together with a PROXY header");
    return decode_upstream_tls(d, inner != m->transport_socket ? wrapped : outer, inner,
                               &cluster->tls);
}

/* Filters of a cluster: those alone without which connections are the same. */
static int check_filters(struct decode *d, const struct pb_path *at, const Pb__Cluster__Cluster *m)
{
    for (size_t i = 0; i < m->n_filters; i++) {
        const struct pb_path *here = PB_AT(PB_AT_I(at, "filters", i), "typed_config");
        const ProtobufCMessageDescriptor *desc;
        const void *config = decode_any(d, here, m->filters[i]->typed_config, &desc);
        if (config == NULL)
            return -ERR_INVALID;
        if (!any_only_observes(desc, config, str_from_c(m->filters[i]->typed_config->type_url)))
            return decode_fail(d, here, "%s is not supported", decode_any_name(desc, config));
    }
    return 0;
}

static void decode_keepalive(const Pb__Cluster__Cluster *m, struct cluster *cluster)
{
    const Pb__Core__TcpKeepalive *k = m->upstream_connection_options != NULL
                                          ? m->upstream_connection_options->tcp_keepalive
                                          : NULL;
    if (k == NULL)
        return;
    cluster->keepalive_idle_s = decode_u32(k->keepalive_time, KEEPALIVE_IDLE_S_DEFAULT);
    cluster->keepalive_interval_s = decode_u32(k->keepalive_interval, KEEPALIVE_INTERVAL_S_DEFAULT);
    cluster->keepalive_probes = decode_u32(k->keepalive_probes, KEEPALIVE_PROBES_DEFAULT);
}

/* --- decoding: the whole --- */

/* filter_metadata["istio"]{services: [{host, name, namespace}]} and ["tulle"]. */
static void decode_facts(struct decode *d, const Pb__Cluster__Cluster *m, struct cluster *cluster)
{
    cluster->origin = decode_origin(d, m->metadata);
    cluster->is_inbound = decode_struct_bool(decode_metadata(m->metadata, "tulle"), "is_inbound");
    const Pb__Value *list = decode_struct_get(decode_metadata(m->metadata, "istio"), "services");
    if (list == NULL || list->kind_case != PB__VALUE__KIND_LIST_VALUE ||
        list->list_value->n_values == 0)
        return;
    const Pb__Value *first = list->list_value->values[0];
    if (first->kind_case != PB__VALUE__KIND_STRUCT_VALUE)
        return;
    cluster->service.host = decode_str(d, decode_struct_str(first->struct_value, "host"));
    cluster->service.name = decode_str(d, decode_struct_str(first->struct_value, "name"));
    cluster->service.namespace_ =
        decode_str(d, decode_struct_str(first->struct_value, "namespace"));
}

static bool is_mark(const Pb__Core__SocketOption *m)
{
    return m->level == SOL_SOCKET && m->name == SO_MARK &&
           m->value_case == PB__CORE__SOCKET_OPTION__VALUE_INT_VALUE && m->int_value > 0 &&
           m->int_value <= UINT32_MAX &&
           (!m->has_state || m->state == PB__CORE__SOCKET_OPTION__SOCKET_STATE__STATE_PREBIND);
}

/* One more, of the other family: for hosts that have both. */
static int decode_extra_bind(struct decode *d, const struct pb_path *at,
                             const Pb__Core__BindConfig *m, struct cluster *cluster)
{
    const struct pb_path *here = PB_AT_I(at, "extra_source_addresses", 0);
    if (m->n_extra_source_addresses == 0)
        return 0;
    if (m->n_extra_source_addresses > 1 || m->extra_source_addresses[0]->address == NULL)
        return decode_fail(d, here, "one address is supported");
    if (decode_socket_address(d, PB_AT(here, "address"), m->extra_source_addresses[0]->address,
                              &cluster->bind_other) != 0)
        return -ERR_INVALID;
    if (cluster->bind_other.ip.family == cluster->bind.ip.family)
        return decode_fail(d, here, "an address of the other family is needed");
    return 0;
}

static int decode_bind(struct decode *d, const struct pb_path *at, const Pb__Cluster__Cluster *m,
                       struct cluster *cluster)
{
    const struct pb_path *here = PB_AT(at, "upstream_bind_config");
    const Pb__Core__BindConfig *bind = m->upstream_bind_config;
    if (bind == NULL)
        return 0;
    if (bind->n_socket_options > 1 ||
        (bind->n_socket_options == 1 && !is_mark(bind->socket_options[0])))
        return decode_fail(d, PB_AT(here, "socket_options"), "SO_MARK alone is supported");
    if (bind->n_socket_options == 1)
        cluster->socket_mark = (uint32_t)bind->socket_options[0]->int_value;
    if (bind->source_address == NULL)
        return 0;
    if (decode_socket_address(d, PB_AT(here, "source_address"), bind->source_address,
                              &cluster->bind) != 0)
        return -ERR_INVALID;
    return decode_extra_bind(d, here, bind, cluster);
}

int decode_cluster(struct decode *d, const struct pb_path *at, const void *message,
                   struct str *ret_name, const void **ret_body)
{
    const Pb__Cluster__Cluster *m = message;
    if (!decode_is_set(m->name))
        return decode_fail(d, PB_AT(at, "name"), "a name is needed");
    struct cluster *cluster = ARENA_NEW(d->arena, struct cluster);
    cluster->name = decode_str(d, m->name);
    cluster->alt_stat_name = decode_str(d, m->alt_stat_name);
    decode_facts(d, m, cluster);
    decode_keepalive(m, cluster);
    if (check_filters(d, at, m) != 0 || decode_discovery(d, at, m, cluster) != 0 ||
        decode_lb(d, at, m, cluster) != 0 ||
        decode_duration(d, PB_AT(at, "connect_timeout"), m->connect_timeout, CONNECT_TIMEOUT_US,
                        &cluster->connect_timeout_us) != 0)
        return -ERR_INVALID;
    if (cluster->connect_timeout_us == 0)
        return decode_fail(d, PB_AT(at, "connect_timeout"), "must be longer than 0");
    if (decode_cluster_dns(d, at, m, cluster) != 0 ||
        decode_cluster_protocol(d, at, m, cluster) != 0 ||
        decode_breaker(d, PB_AT(at, "circuit_breakers"), m->circuit_breakers, &cluster->breaker) !=
            0 ||
        decode_outlier(d, PB_AT(at, "outlier_detection"), m->outlier_detection,
                       &cluster->outlier) != 0 ||
        decode_sockets(d, at, m, cluster) != 0 || decode_bind(d, at, m, cluster) != 0)
        return -ERR_INVALID;
    *ret_name = cluster->name;
    *ret_body = cluster;
    return 0;
}

/* --- encoding --- */

static void encode_discovery(struct encode *e, const struct cluster *in, Pb__Cluster__Cluster *m)
{
    m->has_type = true;
    switch (in->kind) {
    case CLUSTER_STATIC:
        m->type = PB__CLUSTER__CLUSTER__DISCOVERY_TYPE__STATIC;
        break;
    case CLUSTER_LOGICAL_DNS:
        m->type = PB__CLUSTER__CLUSTER__DISCOVERY_TYPE__LOGICAL_DNS;
        break;
    case CLUSTER_STRICT_DNS:
        m->type = PB__CLUSTER__CLUSTER__DISCOVERY_TYPE__STRICT_DNS;
        break;
    case CLUSTER_EDS:
        m->type = PB__CLUSTER__CLUSTER__DISCOVERY_TYPE__EDS;
        m->eds_cluster_config = PB_NEW(e, Pb__Cluster__Cluster__EdsClusterConfig,
                                       pb__cluster__cluster__eds_cluster_config);
        m->eds_cluster_config->eds_config = encode_ads(e);
        m->eds_cluster_config->service_name = encode_str(e, in->eds_service_name);
        break;
    case CLUSTER_ORIGINAL_DST:
        m->type = PB__CLUSTER__CLUSTER__DISCOVERY_TYPE__ORIGINAL_DST;
        if (in->original_dst_port == 0)
            break;
        m->lb_config_case = PB__CLUSTER__CLUSTER__LB_CONFIG_ORIGINAL_DST_LB_CONFIG;
        m->original_dst_lb_config = PB_NEW(e, Pb__Cluster__Cluster__OriginalDstLbConfig,
                                           pb__cluster__cluster__original_dst_lb_config);
        m->original_dst_lb_config->upstream_port_override = encode_u32(e, in->original_dst_port);
        break;
    }
    if (in->inline_endpoints != NULL) {
        ProtobufCMessage *endpoints = encode_endpoints(e,
                                                       in->inline_endpoints->cluster_name.len > 0
                                                           ? in->inline_endpoints->cluster_name
                                                           : in->name,
                                                       in->inline_endpoints);
        m->load_assignment = (Pb__Endpoint__ClusterLoadAssignment *)endpoints;
    }
}

static void encode_lb(struct encode *e, const struct cluster *in, Pb__Cluster__Cluster *m)
{
    static const Pb__Cluster__Cluster__LbPolicy policies[] = {
        [LB_ROUND_ROBIN] = PB__CLUSTER__CLUSTER__LB_POLICY__ROUND_ROBIN,
        [LB_LEAST_REQUEST] = PB__CLUSTER__CLUSTER__LB_POLICY__LEAST_REQUEST,
        [LB_RANDOM] = PB__CLUSTER__CLUSTER__LB_POLICY__RANDOM,
        [LB_CLUSTER_PROVIDED] = PB__CLUSTER__CLUSTER__LB_POLICY__CLUSTER_PROVIDED,
        [LB_HASH] = PB__CLUSTER__CLUSTER__LB_POLICY__RING_HASH,
    };
    if (in->is_locality_weighted)
        e->rc = -ERR_UNSUPPORTED; /* ours do not say it */
    m->has_lb_policy = in->lb != LB_ROUND_ROBIN;
    m->lb_policy = policies[in->lb];
    bool has_choices = in->least_request_choices > 2 && in->kind != CLUSTER_ORIGINAL_DST;
    if (has_choices) {
        m->lb_config_case = PB__CLUSTER__CLUSTER__LB_CONFIG_LEAST_REQUEST_LB_CONFIG;
        m->least_request_lb_config = PB_NEW(e, Pb__Cluster__Cluster__LeastRequestLbConfig,
                                            pb__cluster__cluster__least_request_lb_config);
        m->least_request_lb_config->choice_count = encode_u32(e, in->least_request_choices);
    }
    if (in->panic_threshold_percent == PANIC_PERCENT)
        return;
    m->common_lb_config =
        PB_NEW(e, Pb__Cluster__Cluster__CommonLbConfig, pb__cluster__cluster__common_lb_config);
    m->common_lb_config->healthy_panic_threshold = encode_percent(e, in->panic_threshold_percent);
}

static Pb__Core__TransportSocket *encode_proxy_header(struct encode *e, enum caller_header version,
                                                      Pb__Core__TransportSocket *inner)
{
    Pb__UpstreamProxyProtocol__ProxyProtocolUpstreamTransport *transport =
        PB_NEW(e, Pb__UpstreamProxyProtocol__ProxyProtocolUpstreamTransport,
               pb__upstream_proxy_protocol__proxy_protocol_upstream_transport);
    transport->config = PB_NEW(e, Pb__Core__ProxyProtocolConfig, pb__core__proxy_protocol_config);
    transport->config->has_version = true;
    transport->config->version = version == CALLER_HEADER_V2
                                     ? PB__CORE__PROXY_PROTOCOL_CONFIG__VERSION__V2
                                     : PB__CORE__PROXY_PROTOCOL_CONFIG__VERSION__V1;
    transport->transport_socket = inner;
    Pb__Core__TransportSocket *m = PB_NEW(e, Pb__Core__TransportSocket, pb__core__transport_socket);
    m->name = "envoy.transport_sockets.upstream_proxy_protocol";
    m->typed_config = encode_any(e, &transport->base);
    return m;
}

static void encode_sockets(struct encode *e, const struct cluster *in, Pb__Cluster__Cluster *m)
{
    m->transport_socket = in->tls != NULL || in->caller_header != CALLER_HEADER_NONE
                              ? encode_upstream_tls(e, in->tls)
                              : NULL;
    if (in->caller_header != CALLER_HEADER_NONE)
        m->transport_socket = encode_proxy_header(e, in->caller_header, m->transport_socket);
    m->n_transport_socket_matches = in->tls_match_count;
    m->transport_socket_matches =
        PB_PTRS(e, Pb__Cluster__Cluster__TransportSocketMatch, in->tls_match_count);
    for (size_t i = 0; i < in->tls_match_count; i++) {
        const struct transport_socket_match *t = &in->tls_matches[i];
        Pb__Cluster__Cluster__TransportSocketMatch *match =
            PB_NEW(e, Pb__Cluster__Cluster__TransportSocketMatch,
                   pb__cluster__cluster__transport_socket_match);
        match->name = encode_str(e, t->name);
        if (t->metadata_key.len > 0)
            encode_struct_add_str(e, &match->match, encode_str(e, t->metadata_key),
                                  t->metadata_value);
        else
            match->match = PB_NEW(e, Pb__Struct, pb__struct); /* matches all */
        match->transport_socket = encode_upstream_tls(e, t->tls);
        m->transport_socket_matches[i] = match;
    }
}

static Pb__Value *encode_services(struct encode *e, const struct service_info *in)
{
    Pb__Struct *fields = NULL;
    encode_struct_add_str(e, &fields, "host", in->host);
    encode_struct_add_str(e, &fields, "name", in->name);
    encode_struct_add_str(e, &fields, "namespace", in->namespace_);
    if (fields == NULL)
        return NULL;
    Pb__Value *item = PB_NEW(e, Pb__Value, pb__value);
    item->kind_case = PB__VALUE__KIND_STRUCT_VALUE;
    item->struct_value = fields;
    Pb__Value *list = PB_NEW(e, Pb__Value, pb__value);
    list->kind_case = PB__VALUE__KIND_LIST_VALUE;
    list->list_value = PB_NEW(e, Pb__ListValue, pb__list_value);
    list->list_value->n_values = 1;
    list->list_value->values = PB_PTRS(e, Pb__Value, 1);
    list->list_value->values[0] = item;
    return list;
}

static Pb__Core__Metadata *encode_facts(struct encode *e, const struct cluster *in)
{
    Pb__Core__Metadata *metadata = NULL;
    Pb__Struct *istio = NULL, *own = NULL;
    Pb__Value *services = encode_services(e, &in->service);
    if (services != NULL)
        encode_struct_add(e, &istio, "services", services);
    encode_struct_add_true(e, &own, "is_inbound", in->is_inbound);
    encode_struct_add_str(e, &own, "origin", in->origin.text);
    encode_metadata_add(e, &metadata, "istio", istio);
    encode_metadata_add(e, &metadata, "tulle", own);
    return metadata;
}

static Pb__Core__SocketOption *encode_mark(struct encode *e, uint32_t mark)
{
    Pb__Core__SocketOption *m = PB_NEW(e, Pb__Core__SocketOption, pb__core__socket_option);
    m->has_level = m->has_name = m->has_state = true;
    m->level = SOL_SOCKET;
    m->name = SO_MARK;
    m->value_case = PB__CORE__SOCKET_OPTION__VALUE_INT_VALUE;
    m->int_value = mark;
    m->state = PB__CORE__SOCKET_OPTION__SOCKET_STATE__STATE_PREBIND;
    return m;
}

/* NULL: nothing to say. */
static Pb__Cluster__UpstreamConnectionOptions *encode_keepalive(struct encode *e,
                                                                const struct cluster *in)
{
    if (in->keepalive_idle_s == 0)
        return NULL;
    Pb__Cluster__UpstreamConnectionOptions *m =
        PB_NEW(e, Pb__Cluster__UpstreamConnectionOptions, pb__cluster__upstream_connection_options);
    m->tcp_keepalive = PB_NEW(e, Pb__Core__TcpKeepalive, pb__core__tcp_keepalive);
    m->tcp_keepalive->keepalive_time = encode_u32(e, in->keepalive_idle_s);
    m->tcp_keepalive->keepalive_interval = encode_u32(e, in->keepalive_interval_s);
    m->tcp_keepalive->keepalive_probes = encode_u32(e, in->keepalive_probes);
    return m;
}

/* NULL: nothing to say. */
static Pb__Core__BindConfig *encode_bind(struct encode *e, const struct cluster *in)
{
    Pb__Core__Address *bind = encode_address(e, &in->bind);
    bool has_address =
        bind != NULL && bind->address_case == PB__CORE__ADDRESS__ADDRESS_SOCKET_ADDRESS;
    if (!has_address && in->socket_mark == 0)
        return NULL;
    Pb__Core__BindConfig *m = PB_NEW(e, Pb__Core__BindConfig, pb__core__bind_config);
    m->source_address = has_address ? bind->socket_address : NULL;
    if (in->bind_other.ip.family != IP_NONE)
        e->rc = -ERR_UNSUPPORTED; /* ours has one */
    if (in->socket_mark != 0) {
        m->n_socket_options = 1;
        m->socket_options = PB_PTRS(e, Pb__Core__SocketOption, 1);
        m->socket_options[0] = encode_mark(e, in->socket_mark);
    }
    return m;
}

ProtobufCMessage *encode_cluster(struct encode *e, struct str name, const void *body)
{
    const struct cluster *in = body;
    if (e->dialect == XDS_DIALECT_GRPC)
        return encode_grpc_cluster(e, name, in);
    Pb__Cluster__Cluster *m = PB_NEW(e, Pb__Cluster__Cluster, pb__cluster__cluster);
    m->name = encode_str(e, name);
    m->alt_stat_name = encode_str(e, in->alt_stat_name);
    m->connect_timeout = encode_duration(e, in->connect_timeout_us);
    m->circuit_breakers = encode_breaker(e, &in->breaker);
    m->outlier_detection = in->outlier.is_on ? encode_outlier(e, &in->outlier) : NULL;
    m->metadata = encode_facts(e, in);
    encode_discovery(e, in, m);
    encode_cluster_dns(e, in, m);
    encode_lb(e, in, m);
    encode_sockets(e, in, m);
    encode_cluster_protocol(e, in, m);
    m->upstream_bind_config = encode_bind(e, in);
    m->upstream_connection_options = encode_keepalive(e, in);
    return &m->base;
}
