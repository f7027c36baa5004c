#include "mesh/xds/any.h"

#include "mesh/xds/pb.h"

static const ProtobufCMessageDescriptor *const known[] = {
    &pb__access_log_file__file_access_log__descriptor,
    &pb__access_log_stream__stderr_access_log__descriptor,
    &pb__access_log_stream__stdout_access_log__descriptor,
    &pb__cares__cares_dns_resolver_config__descriptor,
    &pb__cluster__cluster__descriptor,
    &pb__cors__cors__descriptor,
    &pb__cors__cors_policy__descriptor,
    &pb__directory__directory__descriptor,
    &pb__downstream_connections__downstream_connections_config__descriptor,
    &pb__endpoint__cluster_load_assignment__descriptor,
    &pb__fault__httpfault__descriptor,
    &pb__fixed_heap__fixed_heap_config__descriptor,
    &pb__grpc_stats__filter_config__descriptor,
    &pb__hcm__http_connection_manager__descriptor,
    &pb__http_inspector__http_inspector__descriptor,
    &pb__http_rbac__rbac__descriptor,
    &pb__lb_least_request__least_request__descriptor,
    &pb__lb_round_robin__round_robin__descriptor,
    &pb__lb_wrr_locality__wrr_locality__descriptor,
    &pb__listener__listener__descriptor,
    &pb__network_rbac__rbac__descriptor,
    &pb__original_dst__original_dst__descriptor,
    &pb__previous_hosts__previous_hosts_predicate__descriptor,
    &pb__proxy_protocol__proxy_protocol__descriptor,
    &pb__raw_buffer__raw_buffer__descriptor,
    &pb__route__route_configuration__descriptor,
    &pb__router__router__descriptor,
    &pb__tcp_proxy__tcp_proxy__descriptor,
    &pb__tls__downstream_tls_context__descriptor,
    &pb__tls__secret__descriptor,
    &pb__tls__upstream_tls_context__descriptor,
    &pb__tls_inspector__tls_inspector__descriptor,
    &pb__udpa__typed_struct__descriptor,
    &pb__upstream_http__http_protocol_options__descriptor,
    &pb__upstream_proxy_protocol__proxy_protocol_upstream_transport__descriptor,
    &pb__uuid_request_id__uuid_request_id_config__descriptor,
    &pb__xds_type__typed_struct__descriptor,
};

/* Of Istio's own proxy, and in no public descriptor: counts of requests, and the ALPN by which two
 * of its proxies tell each other what they speak (we offer what a cluster says). A compressor
 * changes what a body is written as, and only for who asks for it. */
static const char *const opaque[] = {
    "envoy.extensions.filters.http.compressor.v3.Compressor", /* of statistics: they go as they are
                                                               */
    "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
    "stats.PluginConfig",
};

/* As a TypedStruct: who the peer is, for those counts. */
static const char *const observing[] = {
    "envoy.tcp.metadataexchange.config.MetadataExchange",
    "io.istio.http.peer_metadata.Config",
    "stats.PluginConfig",
};

static bool is_listed(const char *const *names, size_t count, struct str type_url)
{
    struct str name = str_skip(type_url, strlen(ANY_URL_PREFIX));
    for (size_t i = 0; str_starts_with(type_url, STR(ANY_URL_PREFIX)) && i < count; i++) {
        if (str_eq(name, str_from_c(names[i])))
            return true;
    }
    return false;
}

bool any_is_opaque(struct str type_url)
{
    return is_listed(opaque, ARRAY_LEN(opaque), type_url);
}

bool any_only_observes(const ProtobufCMessageDescriptor *descriptor, const void *message,
                       struct str type_url)
{
    struct str inner = STR_NULL;
    if (descriptor == &pb__grpc_stats__filter_config__descriptor || any_is_opaque(type_url))
        return true;
    if (descriptor == &pb__udpa__typed_struct__descriptor)
        inner = str_from_c(((const Pb__Udpa__TypedStruct *)message)->type_url);
    else if (descriptor == &pb__xds_type__typed_struct__descriptor)
        inner = str_from_c(((const Pb__XdsType__TypedStruct *)message)->type_url);
    return is_listed(observing, ARRAY_LEN(observing), inner);
}

const ProtobufCMessageDescriptor *any_find(struct str type_url)
{
    if (!str_starts_with(type_url, STR(ANY_URL_PREFIX)))
        return NULL;
    if (any_is_opaque(type_url))
        return &pb__empty__descriptor;
    struct str name = str_skip(type_url, strlen(ANY_URL_PREFIX));
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (str_eq(name, str_from_c(known[i]->name)))
            return known[i];
    }
    return NULL;
}

struct str any_type_url(struct arena *a, const ProtobufCMessageDescriptor *descriptor)
{
    return arena_printf(a, ANY_URL_PREFIX "%s", descriptor->name);
}
