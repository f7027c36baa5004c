/* The dialect of gRPC's own xDS clients ("proxyless"): what they read, in the form that each of
 * them takes. They refuse a resource for a field that Envoy needs (TLS parameters, secrets by SDS,
 * a raw_buffer socket), and read some things of Envoy's elsewhere. So these messages hold little.
 * Sources: gRFC A27 (listener, cluster), A29 (TLS), A31 (time-outs), A32 (breakers), A36 (servers),
 * A50 (ejection), A52 (load balancing). */
#include "base/err.h"
#include "mesh/xds/codec_priv.h"

/* Of the bootstrap: its files hold the own certificate and the roots. */
#define PROVIDER "default"

/* --- TLS --- */

static Pb__Tls__CertificateProviderPluginInstance *encode_provider(struct encode *e)
{
    Pb__Tls__CertificateProviderPluginInstance *m =
        PB_NEW(e, Pb__Tls__CertificateProviderPluginInstance,
               pb__tls__certificate_provider_plugin_instance);
    m->instance_name = PROVIDER;
    return m;
}

/* Names by the untyped list: the typed one is not read. Of ours all are URIs or DNS names. */
static void encode_names(struct encode *e, const struct common_tls *in,
                         Pb__Tls__CertificateValidationContext *m)
{
    m->n_match_subject_alt_names = in->san_count;
    m->match_subject_alt_names = PB_PTRS(e, Pb__Matcher__StringMatcher, in->san_count);
    for (size_t i = 0; i < in->san_count; i++)
        m->match_subject_alt_names[i] = encode_string_match(e, &in->sans[i].match);
}

static Pb__Tls__CommonTlsContext *encode_common(struct encode *e, const struct common_tls *in,
                                                bool is_client)
{
    Pb__Tls__CommonTlsContext *m =
        PB_NEW(e, Pb__Tls__CommonTlsContext, pb__tls__common_tls_context);
    Pb__Tls__CertificateValidationContext *context =
        PB_NEW(e, Pb__Tls__CertificateValidationContext, pb__tls__certificate_validation_context);
    context->ca_certificate_provider_instance = encode_provider(e);
    if (is_client) /* a server that is given names refuses the listener; its RBAC looks at them */
        encode_names(e, in, context);
    m->tls_certificate_provider_instance = encode_provider(e);
    m->validation_context_type_case =
        PB__TLS__COMMON_TLS_CONTEXT__VALIDATION_CONTEXT_TYPE_COMBINED_VALIDATION_CONTEXT;
    m->combined_validation_context =
        PB_NEW(e, Pb__Tls__CommonTlsContext__CombinedCertificateValidationContext,
               pb__tls__common_tls_context__combined_certificate_validation_context);
    m->combined_validation_context->default_validation_context = context;
    return m;
}

static Pb__Core__TransportSocket *encode_socket(struct encode *e, const ProtobufCMessage *config)
{
    Pb__Core__TransportSocket *m = PB_NEW(e, Pb__Core__TransportSocket, pb__core__transport_socket);
    m->name = "envoy.transport_sockets.tls";
    m->typed_config = encode_any(e, config);
    return m;
}

static Pb__Core__TransportSocket *encode_client_tls(struct encode *e, const struct upstream_tls *in)
{
    if (in == NULL)
        return NULL;
    Pb__Tls__UpstreamTlsContext *m =
        PB_NEW(e, Pb__Tls__UpstreamTlsContext, pb__tls__upstream_tls_context);
    m->common_tls_context = encode_common(e, &in->common, true);
    m->sni = encode_str(e, in->sni);
    return encode_socket(e, &m->base);
}

static Pb__Core__TransportSocket *encode_server_tls(struct encode *e,
                                                    const struct downstream_tls *in)
{
    if (in == NULL)
        return NULL;
    Pb__Tls__DownstreamTlsContext *m =
        PB_NEW(e, Pb__Tls__DownstreamTlsContext, pb__tls__downstream_tls_context);
    m->common_tls_context = encode_common(e, &in->common, false);
    m->require_client_certificate = encode_bool(e, in->require_client_certificate);
    return encode_socket(e, &m->base);
}

/* --- listeners --- */

static ProtobufCMessage *encode_hcm_of(struct encode *e, const struct hcm *in)
{
    Pb__Hcm__HttpConnectionManager *m =
        PB_NEW(e, Pb__Hcm__HttpConnectionManager, pb__hcm__http_connection_manager);
    m->stat_prefix = encode_str(e, in->stat_prefix);
    encode_hcm_routes(e, in, m);
    encode_hcm_filters(e, in, m);
    if (in->max_stream_duration_us > 0) {
        m->common_http_protocol_options =
            PB_NEW(e, Pb__Core__HttpProtocolOptions, pb__core__http_protocol_options);
        m->common_http_protocol_options->max_stream_duration =
            encode_duration(e, in->max_stream_duration_us);
    }
    return &m->base;
}

static Pb__Listener__Filter *encode_filter(struct encode *e, const struct network_filter *in)
{
    Pb__Listener__Filter *m = PB_NEW(e, Pb__Listener__Filter, pb__listener__filter);
    m->name = encode_str(e, in->name);
    m->typed_config = encode_any(e, encode_hcm_of(e, in->hcm));
    return m;
}

static Pb__Listener__FilterChain *encode_chain(struct encode *e, const struct filter_chain *in)
{
    Pb__Listener__FilterChain *m = PB_NEW(e, Pb__Listener__FilterChain, pb__listener__filter_chain);
    m->name = encode_str(e, in->name);
    m->transport_socket = encode_server_tls(e, in->tls);
    m->n_filters = 1;
    m->filters = PB_PTRS(e, Pb__Listener__Filter, 1);
    m->filters[0] = encode_filter(e, &in->filters[0]);
    return m;
}

static const struct network_filter *only_filter(struct encode *e, const struct listener *in)
{
    const struct filter_chain *chain = in->chain_count > 0 ? in->chains : in->default_chain;
    bool is_http = chain != NULL && chain->filter_count == 1 &&
                   chain->filters[0].kind == NETWORK_FILTER_HCM && in->chain_count <= 1;
    if (!is_http)
        e->rc = -ERR_UNSUPPORTED;
    return is_http ? &chain->filters[0] : NULL;
}

/* Of a client no more than what it does with requests; a server has its address, too. */
ProtobufCMessage *encode_grpc_listener(struct encode *e, struct str name, const struct listener *in)
{
    Pb__Listener__Listener *m = PB_NEW(e, Pb__Listener__Listener, pb__listener__listener);
    const struct network_filter *filter = only_filter(e, in);
    m->name = encode_str(e, name);
    m->metadata = encode_origin(e, &in->origin);
    if (filter == NULL)
        return &m->base;
    if (in->direction == LISTENER_INBOUND) {
        m->address = encode_address(e, &in->address);
        m->has_traffic_direction = true;
        m->traffic_direction = PB__CORE__TRAFFIC_DIRECTION__INBOUND;
        m->default_filter_chain =
            encode_chain(e, in->chain_count > 0 ? in->chains : in->default_chain);
        return &m->base;
    }
    m->api_listener = PB_NEW(e, Pb__Listener__ApiListener, pb__listener__api_listener);
    m->api_listener->api_listener = encode_any(e, encode_hcm_of(e, filter->hcm));
    return &m->base;
}

/* --- clusters --- */

static void add_policy(struct encode *e, Pb__Cluster__LoadBalancingPolicy *to, const char *name,
                       const ProtobufCMessage *config)
{
    Pb__Cluster__LoadBalancingPolicy__Policy *p = PB_NEW(
        e, Pb__Cluster__LoadBalancingPolicy__Policy, pb__cluster__load_balancing_policy__policy);
    p->typed_extension_config =
        PB_NEW(e, Pb__Core__TypedExtensionConfig, pb__core__typed_extension_config);
    p->typed_extension_config->name = name;
    p->typed_extension_config->typed_config = encode_any(e, config);
    to->policies[to->n_policies++] = p;
}

static Pb__Cluster__LoadBalancingPolicy *policies_new(struct encode *e)
{
    enum { POLICIES_MAX = 2 };
    Pb__Cluster__LoadBalancingPolicy *m =
        PB_NEW(e, Pb__Cluster__LoadBalancingPolicy, pb__cluster__load_balancing_policy);
    m->policies = PB_PTRS(e, Pb__Cluster__LoadBalancingPolicy__Policy, POLICIES_MAX);
    return m;
}

/* Not every client has the least busy one: it takes the first policy of a list that it knows. Those
 * that do not know the list read lb_policy, where ROUND_ROBIN is all that they have. */
static void encode_lb(struct encode *e, const struct cluster *in, Pb__Cluster__Cluster *m)
{
    if (in->lb != LB_LEAST_REQUEST)
        return;
    Pb__LbLeastRequest__LeastRequest *least =
        PB_NEW(e, Pb__LbLeastRequest__LeastRequest, pb__lb_least_request__least_request);
    Pb__LbRoundRobin__RoundRobin *turns =
        PB_NEW(e, Pb__LbRoundRobin__RoundRobin, pb__lb_round_robin__round_robin);
    Pb__LbWrrLocality__WrrLocality *localities =
        PB_NEW(e, Pb__LbWrrLocality__WrrLocality, pb__lb_wrr_locality__wrr_locality);
    least->choice_count = encode_u32(e, in->least_request_choices);
    localities->endpoint_picking_policy = policies_new(e);
    add_policy(e, localities->endpoint_picking_policy, "least_request", &least->base);
    add_policy(e, localities->endpoint_picking_policy, "round_robin", &turns->base);
    m->load_balancing_policy = policies_new(e);
    add_policy(e, m->load_balancing_policy, "wrr_locality", &localities->base);
}

/* gRFC A50 knows no errors in a row. What comes nearest: an endpoint of which as many calls as that
 * ended within the interval, all of them failed. */
static Pb__Cluster__OutlierDetection *encode_ejection(struct encode *e,
                                                      const struct outlier_detection *in)
{
    enum { ALL_FAILED_PERCENT = 99 }; /* more than that */
    Pb__Cluster__OutlierDetection *m =
        PB_NEW(e, Pb__Cluster__OutlierDetection, pb__cluster__outlier_detection);
    uint32_t errors =
        in->consecutive_5xx > 0 ? in->consecutive_5xx : in->consecutive_gateway_failure;
    m->interval = encode_duration(e, in->interval_us);
    m->base_ejection_time = encode_duration(e, in->base_ejection_us);
    m->max_ejection_time = encode_duration(e, in->max_ejection_us);
    m->max_ejection_percent = encode_u32(e, in->max_ejection_percent);
    m->enforcing_success_rate = encode_u32(e, 0);
    m->enforcing_failure_percentage = encode_u32(e, errors > 0 ? 100 : 0);
    m->failure_percentage_threshold = encode_u32(e, ALL_FAILED_PERCENT);
    m->failure_percentage_minimum_hosts = encode_u32(e, 1);
    m->failure_percentage_request_volume = encode_u32(e, MAX(errors, (uint32_t)1));
    return m;
}

ProtobufCMessage *encode_grpc_cluster(struct encode *e, struct str name, const struct cluster *in)
{
    Pb__Cluster__Cluster *m = PB_NEW(e, Pb__Cluster__Cluster, pb__cluster__cluster);
    if (in->kind != CLUSTER_EDS || in->tls_match_count > 0)
        e->rc = -ERR_UNSUPPORTED;
    m->name = encode_str(e, name);
    m->has_type = true;
    m->type = PB__CLUSTER__CLUSTER__DISCOVERY_TYPE__EDS;
    m->eds_cluster_config =
        PB_NEW(e, Pb__Cluster__Cluster__EdsClusterConfig, pb__cluster__cluster__eds_cluster_config);
    m->eds_cluster_config->eds_config = encode_ads(e);
    m->eds_cluster_config->service_name = encode_str(e, in->eds_service_name);
    m->circuit_breakers = encode_breaker(e, &in->breaker);
    m->outlier_detection = in->outlier.is_on ? encode_ejection(e, &in->outlier) : NULL;
    encode_lb(e, in, m);
    m->transport_socket = encode_client_tls(e, in->tls);
    return &m->base;
}
