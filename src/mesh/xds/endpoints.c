#include "base/err.h"
#include "codec/dns.h"
#include "mesh/xds/codec_priv.h"

/* Envoy's own filter: which transport socket match an endpoint asks for. */
#define MATCH_FILTER "envoy.transport_socket_match"

enum { OVERPROVISIONING_PERCENT = 140 };

/* --- decoding --- */

/* "name;namespace;app;version;cluster", as Istio writes it. */
static void decode_workload(struct decode *d, const char *text, struct workload_info *w)
{
    struct str rest = decode_str(d, text);
    struct str *fields[] = {&w->name, &w->namespace_, &w->app, &w->version, &w->cluster_id};
    for (size_t i = 0; i < ARRAY_LEN(fields) && rest.ptr != NULL; i++)
        *fields[i] = str_split(&rest, ';');
}

static int decode_endpoint_metadata(struct decode *d, const struct pb_path *at,
                                    const Pb__Core__Metadata *m, struct endpoint *ep)
{
    decode_workload(d, decode_struct_str(decode_metadata(m, "istio"), "workload"), &ep->workload);
    const Pb__Struct *own = decode_metadata(m, "tulle");
    ep->identity = decode_str(d, decode_struct_str(own, "identity"));
    ep->workload.principal = decode_str(d, decode_struct_str(own, "principal"));
    ep->workload.service_account = decode_str(d, decode_struct_str(own, "service_account"));
    ep->is_tulle = decode_struct_bool(own, "is_tulle");
    const Pb__Struct *match = decode_metadata(m, MATCH_FILTER);
    if (match != NULL && match->n_fields > 1)
        return decode_fail(d, PB_AT(at, "metadata.filter_metadata"),
                           MATCH_FILTER ": only one pair is supported");
    if (match != NULL && match->n_fields == 1) {
        ep->match_key = decode_str(d, match->fields[0]->key);
        ep->match_value = decode_str(d, decode_struct_str(match, match->fields[0]->key));
    }
    return 0;
}

static enum endpoint_health health_of(Pb__Core__HealthStatus status)
{
    switch ((int)status) {
    case PB__CORE__HEALTH_STATUS__UNHEALTHY:
    case PB__CORE__HEALTH_STATUS__TIMEOUT:
        return ENDPOINT_UNHEALTHY;
    case PB__CORE__HEALTH_STATUS__DRAINING:
        return ENDPOINT_DRAINING;
    default:
        return ENDPOINT_HEALTHY;
    }
}

/* An address that is no IP is a name for STRICT_DNS; the cluster checks that it may be one. */
static int decode_endpoint_address(struct decode *d, const struct pb_path *at,
                                   const Pb__Endpoint__Endpoint *m, struct endpoint *ep)
{
    ep->hostname = decode_str_lower(d, m->hostname);
    const Pb__Core__Address *addr = m->address;
    struct ip_addr ip;
    if (addr == NULL || addr->address_case != PB__CORE__ADDRESS__ADDRESS_SOCKET_ADDRESS ||
        !decode_is_set(addr->socket_address->address) ||
        ip_parse(str_from_c(addr->socket_address->address), &ip))
        return decode_address(d, PB_AT(at, "address"), addr, &ep->address);
    const Pb__Core__SocketAddress *sa = addr->socket_address;
    if (sa->port_value == 0 || sa->port_value > UINT16_MAX)
        return decode_fail(d, PB_AT(at, "address.socket_address.port_value"), "%u is not a port",
                           sa->port_value);
    ep->hostname = decode_str_lower(d, sa->address);
    if (ep->hostname.len >= DNS_NAME_MAX)
        return decode_fail(d, PB_AT(at, "address.socket_address.address"),
                           "a name of %zu bytes, at most %d", ep->hostname.len, DNS_NAME_MAX - 1);
    ep->address.port = (uint16_t)sa->port_value;
    return 0;
}

static int decode_endpoint(struct decode *d, const struct pb_path *at,
                           const Pb__Endpoint__LbEndpoint *m, struct endpoint *ep)
{
    if (m->endpoint == NULL)
        return decode_fail(d, PB_AT(at, "endpoint"), "an endpoint is needed");
    ep->weight = decode_u32(m->load_balancing_weight, 1);
    if (ep->weight == 0)
        return decode_fail(d, PB_AT(at, "load_balancing_weight"), "must be at least 1");
    ep->health = health_of(m->health_status);
    if (decode_endpoint_metadata(d, at, m->metadata, ep) != 0)
        return -ERR_INVALID;
    return decode_endpoint_address(d, PB_AT(at, "endpoint"), m->endpoint, ep);
}

/* Localities are flattened: each endpoint knows the weight and the priority of its own. */
static int decode_locality(struct decode *d, const struct pb_path *at,
                           const Pb__Endpoint__LocalityLbEndpoints *m, struct endpoint *items)
{
    enum { PRIORITY_MAX = 128 };
    uint64_t total = 0;
    if (m->priority > PRIORITY_MAX)
        return decode_fail(d, PB_AT(at, "priority"), "at most %d", PRIORITY_MAX);
    for (size_t i = 0; i < m->n_lb_endpoints; i++) {
        if (decode_endpoint(d, PB_AT_I(at, "lb_endpoints", i), m->lb_endpoints[i], &items[i]) != 0)
            return -ERR_INVALID;
        total += items[i].weight;
    }
    for (size_t i = 0; i < m->n_lb_endpoints; i++) {
        items[i].priority = m->priority;
        items[i].locality_weight = decode_u32(m->load_balancing_weight, 0);
        items[i].locality_weight_total = total;
    }
    return 0;
}

int decode_endpoints(struct decode *d, const struct pb_path *at, const void *message,
                     struct str *ret_name, const void **ret_body)
{
    const Pb__Endpoint__ClusterLoadAssignment *m = message;
    if (!decode_is_set(m->cluster_name))
        return decode_fail(d, PB_AT(at, "cluster_name"), "a name is needed");
    struct endpoints *eps = ARENA_NEW(d->arena, struct endpoints);
    eps->cluster_name = decode_str(d, m->cluster_name);
    for (size_t i = 0; i < m->n_endpoints; i++)
        eps->count += m->endpoints[i]->n_lb_endpoints;
    struct endpoint *items = ARENA_ARRAY(d->arena, struct endpoint, eps->count);
    eps->items = items;
    for (size_t i = 0; i < m->n_endpoints; i++) {
        if (decode_locality(d, PB_AT_I(at, "endpoints", i), m->endpoints[i], items) != 0)
            return -ERR_INVALID;
        items += m->endpoints[i]->n_lb_endpoints;
    }
    eps->overprovisioning_percent = decode_u32(
        m->policy != NULL ? m->policy->overprovisioning_factor : NULL, OVERPROVISIONING_PERCENT);
    if (eps->overprovisioning_percent == 0)
        return decode_fail(d, PB_AT(at, "policy.overprovisioning_factor"), "must be at least 1");
    *ret_name = eps->cluster_name;
    *ret_body = eps;
    return 0;
}

/* --- encoding --- */

static struct str workload_text(struct encode *e, const struct workload_info *w)
{
    if (w->name.len + w->namespace_.len + w->app.len + w->version.len + w->cluster_id.len == 0)
        return STR_NULL;
    return arena_printf(e->arena, "%.*s;%.*s;%.*s;%.*s;%.*s", STR_FMT(w->name),
                        STR_FMT(w->namespace_), STR_FMT(w->app), STR_FMT(w->version),
                        STR_FMT(w->cluster_id));
}

static Pb__Core__Metadata *encode_endpoint_metadata(struct encode *e, const struct endpoint *ep)
{
    Pb__Core__Metadata *metadata = NULL;
    Pb__Struct *istio = NULL, *own = NULL, *match = NULL;
    if (ep->match_key.len > 0)
        encode_struct_add_str(e, &match, encode_str(e, ep->match_key), ep->match_value);
    encode_struct_add_str(e, &istio, "workload", workload_text(e, &ep->workload));
    encode_struct_add_str(e, &own, "identity", ep->identity);
    encode_struct_add_true(e, &own, "is_tulle", ep->is_tulle);
    encode_struct_add_str(e, &own, "principal", ep->workload.principal);
    encode_struct_add_str(e, &own, "service_account", ep->workload.service_account);
    encode_metadata_add(e, &metadata, MATCH_FILTER, match);
    encode_metadata_add(e, &metadata, "istio", istio);
    encode_metadata_add(e, &metadata, "tulle", own);
    return metadata;
}

static void encode_health(const struct endpoint *ep, Pb__Endpoint__LbEndpoint *m)
{
    switch (ep->health) {
    case ENDPOINT_HEALTHY:
        return; /* UNKNOWN counts as healthy */
    case ENDPOINT_UNHEALTHY:
        m->health_status = PB__CORE__HEALTH_STATUS__UNHEALTHY;
        break;
    case ENDPOINT_DRAINING:
        m->health_status = PB__CORE__HEALTH_STATUS__DRAINING;
        break;
    }
    m->has_health_status = true;
}

static Pb__Core__Address *encode_endpoint_address(struct encode *e, const struct endpoint *ep)
{
    Pb__Core__Address *m = encode_address(e, &ep->address);
    if (m != NULL || ep->hostname.len == 0)
        return m;
    /* Only a name: it stands where the address does. */
    struct model_addr any = {.ip = ip_v4(0, 0, 0, 0), .port = ep->address.port};
    m = encode_address(e, &any);
    m->socket_address->address = encode_str(e, ep->hostname);
    return m;
}

static Pb__Endpoint__LbEndpoint *encode_endpoint(struct encode *e, const struct endpoint *ep)
{
    Pb__Endpoint__LbEndpoint *m = PB_NEW(e, Pb__Endpoint__LbEndpoint, pb__endpoint__lb_endpoint);
    m->endpoint = PB_NEW(e, Pb__Endpoint__Endpoint, pb__endpoint__endpoint);
    m->endpoint->address = encode_endpoint_address(e, ep);
    if (ep->address.ip.family != IP_NONE || ep->address.path.len > 0)
        m->endpoint->hostname = encode_str(e, ep->hostname);
    m->load_balancing_weight = ep->weight == 1 ? NULL : encode_u32(e, ep->weight);
    if (e->dialect != XDS_DIALECT_GRPC) /* reads none of it */
        m->metadata = encode_endpoint_metadata(e, ep);
    encode_health(ep, m);
    return m;
}

ProtobufCMessage *encode_endpoints(struct encode *e, struct str name, const void *body)
{
    const struct endpoints *in = body;
    Pb__Endpoint__ClusterLoadAssignment *m =
        PB_NEW(e, Pb__Endpoint__ClusterLoadAssignment, pb__endpoint__cluster_load_assignment);
    m->cluster_name = encode_str(e, name);
    if (in->count == 0)
        return &m->base;
    Pb__Endpoint__LocalityLbEndpoints *l =
        PB_NEW(e, Pb__Endpoint__LocalityLbEndpoints, pb__endpoint__locality_lb_endpoints);
    if (e->dialect ==
        XDS_DIALECT_GRPC) { /* refuses one without place, ignores one without weight */
        l->locality = PB_NEW(e, Pb__Core__Locality, pb__core__locality);
        l->load_balancing_weight = encode_u32(e, 1);
    }
    l->n_lb_endpoints = in->count;
    l->lb_endpoints = PB_PTRS(e, Pb__Endpoint__LbEndpoint, in->count);
    for (size_t i = 0; i < in->count; i++) {
        l->lb_endpoints[i] = encode_endpoint(e, &in->items[i]);
        if (in->items[i].priority != 0)
            e->rc = -ERR_UNSUPPORTED; /* ours are all alike */
    }
    m->n_endpoints = 1;
    m->endpoints = PB_PTRS(e, Pb__Endpoint__LocalityLbEndpoints, 1);
    m->endpoints[0] = l;
    return &m->base;
}
