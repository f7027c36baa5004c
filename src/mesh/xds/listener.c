#include "base/err.h"
#include "mesh/xds/any.h"
#include "mesh/xds/codec_priv.h"

enum { FILTERS_TIMEOUT_US = 15000000 };

/* --- decoding: filter chains --- */

static int decode_chain_match(struct decode *d, const struct pb_path *at,
                              const Pb__Listener__FilterChainMatch *m,
                              struct filter_chain_match *match)
{
    if (m == NULL)
        return 0;
    uint32_t port = decode_u32(m->destination_port, 0);
    if (port > UINT16_MAX || (m->destination_port != NULL && port == 0))
        return decode_fail(d, PB_AT(at, "destination_port"), "%u is not a port", port);
    match->destination_port = (uint16_t)port;
    match->transport_protocol = decode_str(d, m->transport_protocol);
    if (match->transport_protocol.len > 0 && !str_eq(match->transport_protocol, STR("tls")) &&
        !str_eq(match->transport_protocol, STR("raw_buffer")))
        return decode_fail(d, PB_AT(at, "transport_protocol"), "tls or raw_buffer is needed");
    struct str *names = ARENA_ARRAY(d->arena, struct str, m->n_server_names);
    for (size_t i = 0; i < m->n_server_names; i++) {
        names[i] = decode_str_lower(d, m->server_names[i]);
        ptrdiff_t star = str_rfind(names[i], '*');
        if (names[i].len == 0 || star > 0 || (star == 0 && !str_starts_with(names[i], STR("*."))))
            return decode_fail(d, PB_AT_I(at, "server_names", i),
                               "a name, or *. and a name, is needed");
    }
    match->server_names = m->n_server_names > 0 ? names : NULL;
    match->server_name_count = m->n_server_names;
    match->application_protocols =
        decode_strs(d, m->application_protocols, m->n_application_protocols);
    match->application_protocol_count = m->n_application_protocols;
    match->prefix_range_count = m->n_prefix_ranges;
    match->source_prefix_range_count = m->n_source_prefix_ranges;
    if (decode_cidrs(d, at, "prefix_ranges", m->prefix_ranges, m->n_prefix_ranges,
                     &match->prefix_ranges) != 0)
        return -ERR_INVALID;
    return decode_cidrs(d, at, "source_prefix_ranges", m->source_prefix_ranges,
                        m->n_source_prefix_ranges, &match->source_prefix_ranges);
}

static int decode_filter(struct decode *d, const struct pb_path *parent,
                         const Pb__Listener__Filter *m, struct network_filter *filter,
                         bool *ret_is_kept)
{
    const struct pb_path *at = PB_AT(parent, "typed_config");
    const ProtobufCMessageDescriptor *desc;
    const void *config = decode_any(d, at, m->typed_config, &desc);
    if (config == NULL)
        return -ERR_INVALID;
    filter->name = decode_str(d, m->name);
    *ret_is_kept = !any_only_observes(desc, config, str_from_c(m->typed_config->type_url));
    if (!*ret_is_kept)
        return 0;
    if (desc == &pb__hcm__http_connection_manager__descriptor) {
        filter->kind = NETWORK_FILTER_HCM;
        return decode_hcm(d, at, config, &filter->hcm);
    }
    if (desc == &pb__tcp_proxy__tcp_proxy__descriptor) {
        filter->kind = NETWORK_FILTER_TCP_PROXY;
        return decode_tcp_proxy(d, at, config, &filter->tcp_proxy);
    }
    if (desc == &pb__network_rbac__rbac__descriptor) {
        filter->kind = NETWORK_FILTER_RBAC;
        return decode_rbac(d, PB_AT(at, "rules"), ((const Pb__NetworkRbac__RBAC *)config)->rules,
                           &filter->rbac);
    }
    return decode_fail(d, at, "%s is not a network filter that is supported",
                       decode_any_name(desc, config));
}

static int decode_filters(struct decode *d, const struct pb_path *at,
                          const Pb__Listener__FilterChain *m, struct filter_chain *chain)
{
    struct network_filter *filters = ARENA_ARRAY(d->arena, struct network_filter, m->n_filters);
    size_t count = 0;
    for (size_t i = 0; i < m->n_filters; i++) {
        const struct pb_path *here = PB_AT_I(at, "filters", i);
        bool is_kept;
        if (decode_filter(d, here, m->filters[i], &filters[count], &is_kept) != 0)
            return -ERR_INVALID;
        bool is_last = i + 1 == m->n_filters;
        bool is_terminal = is_kept && filters[count].kind != NETWORK_FILTER_RBAC;
        if (is_terminal && !is_last)
            return decode_fail(d, here, "nothing runs behind this filter");
        if (is_last && !is_terminal)
            return decode_fail(d, here, "the last filter must carry the connection on");
        if (is_kept)
            count++;
        else
            filters[count] = (struct network_filter){0};
    }
    chain->filters = count > 0 ? filters : NULL;
    chain->filter_count = count;
    return 0;
}

/* A chain without filters closes what it takes. */
static int decode_chain(struct decode *d, const struct pb_path *at,
                        const Pb__Listener__FilterChain *m, struct filter_chain *chain)
{
    chain->name = decode_str(d, m->name);
    if (decode_chain_match(d, PB_AT(at, "filter_chain_match"), m->filter_chain_match,
                           &chain->match) != 0 ||
        decode_downstream_tls(d, PB_AT(at, "transport_socket"), m->transport_socket, &chain->tls) !=
            0)
        return -ERR_INVALID;
    return decode_filters(d, at, m, chain);
}

static int decode_chains(struct decode *d, const struct pb_path *at,
                         const Pb__Listener__Listener *m, struct listener *l)
{
    struct filter_chain *chains = ARENA_ARRAY(d->arena, struct filter_chain, m->n_filter_chains);
    for (size_t i = 0; i < m->n_filter_chains; i++) {
        if (decode_chain(d, PB_AT_I(at, "filter_chains", i), m->filter_chains[i], &chains[i]) != 0)
            return -ERR_INVALID;
    }
    l->chains = m->n_filter_chains > 0 ? chains : NULL;
    l->chain_count = m->n_filter_chains;
    if (m->default_filter_chain == NULL)
        return 0;
    struct filter_chain *chain = ARENA_NEW(d->arena, struct filter_chain);
    l->default_chain = chain;
    return decode_chain(d, PB_AT(at, "default_filter_chain"), m->default_filter_chain, chain);
}

/* --- decoding: the listener itself --- */

static enum listener_direction direction_of(Pb__Core__TrafficDirection direction)
{
    if (direction == PB__CORE__TRAFFIC_DIRECTION__INBOUND)
        return LISTENER_INBOUND;
    return direction == PB__CORE__TRAFFIC_DIRECTION__OUTBOUND ? LISTENER_OUTBOUND
                                                              : LISTENER_UNSPECIFIED;
}

/* A listener that binds nothing is found by its name, and needs no address. */
static int decode_bind(struct decode *d, const struct pb_path *at, const Pb__Listener__Listener *m,
                       struct listener *l)
{
    l->bind_to_port = decode_bool(m->bind_to_port, true);
    if (m->n_additional_addresses > 0 && l->bind_to_port)
        return decode_fail(d, PB_AT(at, "additional_addresses"), "one address is supported");
    if (m->address == NULL && !l->bind_to_port)
        return 0;
    return decode_address(d, PB_AT(at, "address"), m->address, &l->address);
}

static struct str listener_name(struct decode *d, const Pb__Listener__Listener *m,
                                const struct listener *l)
{
    char text[IP_PORT_TEXT_MAX];
    if (decode_is_set(m->name))
        return decode_str(d, m->name);
    if (l->address.path.len > 0)
        return l->address.path;
    return arena_str(d->arena, ip_port_format(&l->address.ip, l->address.port, text));
}

int decode_listener(struct decode *d, const struct pb_path *at, const void *message,
                    struct str *ret_name, const void **ret_body)
{
    const Pb__Listener__Listener *m = message;
    if (m->api_listener != NULL)
        return decode_fail(d, PB_AT(at, "api_listener"), "is for clients of gRPC, not for a proxy");
    struct listener *l = ARENA_NEW(d->arena, struct listener);
    l->use_original_dst = decode_bool(m->use_original_dst, false);
    l->direction = direction_of(m->traffic_direction);
    l->continue_on_listener_filters_timeout = m->continue_on_listener_filters_timeout != 0;
    l->origin = decode_origin(d, m->metadata);
    if (decode_bind(d, at, m, l) != 0 || decode_listener_filters(d, at, m, l) != 0 ||
        decode_duration(d, PB_AT(at, "listener_filters_timeout"), m->listener_filters_timeout,
                        FILTERS_TIMEOUT_US, &l->listener_filters_timeout_us) != 0 ||
        decode_chains(d, at, m, l) != 0)
        return -ERR_INVALID;
    if (l->chain_count == 0 && l->default_chain == NULL)
        return decode_fail(d, PB_AT(at, "filter_chains"), "at least one is needed");
    *ret_name = listener_name(d, m, l);
    *ret_body = l;
    return 0;
}

/* --- encoding --- */

static bool matches_all(const struct filter_chain_match *m)
{
    return m->destination_port == 0 && m->prefix_range_count == 0 && m->server_name_count == 0 &&
           m->transport_protocol.len == 0 && m->application_protocol_count == 0 &&
           m->source_prefix_range_count == 0;
}

/* NULL where every connection matches. */
static Pb__Listener__FilterChainMatch *encode_chain_match(struct encode *e,
                                                          const struct filter_chain_match *in)
{
    if (matches_all(in))
        return NULL;
    Pb__Listener__FilterChainMatch *m =
        PB_NEW(e, Pb__Listener__FilterChainMatch, pb__listener__filter_chain_match);
    m->destination_port = in->destination_port != 0 ? encode_u32(e, in->destination_port) : NULL;
    m->n_prefix_ranges = in->prefix_range_count;
    m->prefix_ranges = encode_cidrs(e, in->prefix_ranges, in->prefix_range_count);
    m->n_server_names = in->server_name_count;
    m->server_names = encode_strs(e, in->server_names, in->server_name_count);
    m->transport_protocol = encode_str(e, in->transport_protocol);
    m->n_application_protocols = in->application_protocol_count;
    m->application_protocols =
        encode_strs(e, in->application_protocols, in->application_protocol_count);
    m->n_source_prefix_ranges = in->source_prefix_range_count;
    m->source_prefix_ranges =
        encode_cidrs(e, in->source_prefix_ranges, in->source_prefix_range_count);
    return m;
}

static ProtobufCMessage *encode_network_rbac(struct encode *e, const struct rbac *in)
{
    Pb__NetworkRbac__RBAC *m = PB_NEW(e, Pb__NetworkRbac__RBAC, pb__network_rbac__rbac);
    m->stat_prefix = "tcp.";
    m->rules = encode_rbac(e, in);
    return &m->base;
}

static Pb__Listener__Filter *encode_filter(struct encode *e, const struct network_filter *in)
{
    Pb__Listener__Filter *m = PB_NEW(e, Pb__Listener__Filter, pb__listener__filter);
    switch (in->kind) {
    case NETWORK_FILTER_HCM:
        m->name = "envoy.filters.network.http_connection_manager";
        m->typed_config = encode_any(e, encode_hcm(e, in->hcm));
        break;
    case NETWORK_FILTER_TCP_PROXY:
        m->name = "envoy.filters.network.tcp_proxy";
        m->typed_config = encode_any(e, encode_tcp_proxy(e, in->tcp_proxy));
        break;
    case NETWORK_FILTER_RBAC:
        m->name = "envoy.filters.network.rbac";
        m->typed_config = encode_any(e, encode_network_rbac(e, in->rbac));
        break;
    }
    if (in->name.len > 0)
        m->name = encode_str(e, in->name);
    return m;
}

static Pb__Listener__FilterChain *encode_chain(struct encode *e, const struct filter_chain *in)
{
    Pb__Listener__FilterChain *m = PB_NEW(e, Pb__Listener__FilterChain, pb__listener__filter_chain);
    m->name = encode_str(e, in->name);
    m->filter_chain_match = encode_chain_match(e, &in->match);
    m->transport_socket = in->tls != NULL ? encode_downstream_tls(e, in->tls) : NULL;
    m->n_filters = in->filter_count;
    m->filters = PB_PTRS(e, Pb__Listener__Filter, in->filter_count);
    for (size_t i = 0; i < in->filter_count; i++)
        m->filters[i] = encode_filter(e, &in->filters[i]);
    return m;
}

static void encode_address_v6(struct encode *e, const struct listener *in,
                              Pb__Listener__Listener *m)
{
    if (in->address_v6.ip.family == IP_NONE)
        return;
    m->n_additional_addresses = 1;
    m->additional_addresses = PB_PTRS(e, Pb__Listener__AdditionalAddress, 1);
    m->additional_addresses[0] =
        PB_NEW(e, Pb__Listener__AdditionalAddress, pb__listener__additional_address);
    m->additional_addresses[0]->address = encode_address(e, &in->address_v6);
}

ProtobufCMessage *encode_listener(struct encode *e, struct str name, const void *body)
{
    static const Pb__Core__TrafficDirection directions[] = {
        [LISTENER_UNSPECIFIED] = PB__CORE__TRAFFIC_DIRECTION__UNSPECIFIED,
        [LISTENER_INBOUND] = PB__CORE__TRAFFIC_DIRECTION__INBOUND,
        [LISTENER_OUTBOUND] = PB__CORE__TRAFFIC_DIRECTION__OUTBOUND,
    };
    const struct listener *in = body;
    if (e->dialect == XDS_DIALECT_GRPC)
        return encode_grpc_listener(e, name, in);
    Pb__Listener__Listener *m = PB_NEW(e, Pb__Listener__Listener, pb__listener__listener);
    m->name = encode_str(e, name);
    m->address = encode_address(e, &in->address);
    encode_address_v6(e, in, m);
    m->bind_to_port = in->bind_to_port ? NULL : encode_bool(e, false);
    m->use_original_dst = in->use_original_dst ? encode_bool(e, true) : NULL;
    m->has_traffic_direction = in->direction != LISTENER_UNSPECIFIED;
    m->traffic_direction = directions[in->direction];
    encode_listener_filters(e, &in->inspectors, m);
    m->listener_filters_timeout = encode_duration(e, in->listener_filters_timeout_us);
    m->has_continue_on_listener_filters_timeout = m->continue_on_listener_filters_timeout =
        in->continue_on_listener_filters_timeout;
    m->n_filter_chains = in->chain_count;
    m->filter_chains = PB_PTRS(e, Pb__Listener__FilterChain, in->chain_count);
    for (size_t i = 0; i < in->chain_count; i++)
        m->filter_chains[i] = encode_chain(e, &in->chains[i]);
    m->default_filter_chain = in->default_chain != NULL ? encode_chain(e, in->default_chain) : NULL;
    m->metadata = encode_origin(e, &in->origin);
    return &m->base;
}
