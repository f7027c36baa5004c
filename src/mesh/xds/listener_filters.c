/* What looks at a connection's first bytes before a filter chain is chosen. */
#include "base/err.h"
#include "mesh/xds/any.h"
#include "mesh/xds/codec_priv.h"

/* --- decoding: filter_disabled --- */

static int decode_ports_off(struct decode *d, const struct pb_path *at,
                            const Pb__Listener__ListenerFilterChainMatchPredicate *m,
                            struct port_range *ranges, size_t *count);

enum { PORTS_OFF_MAX = 256 };

static int decode_any_of(struct decode *d, const struct pb_path *at,
                         const Pb__Listener__ListenerFilterChainMatchPredicate__MatchSet *m,
                         struct port_range *ranges, size_t *count)
{
    for (size_t i = 0; i < m->n_rules; i++) {
        if (decode_ports_off(d, PB_AT_I(at, "rules", i), m->rules[i], ranges, count) != 0)
            return -ERR_INVALID;
    }
    return 0;
}

/* Ports, and any of several; a range's end is exclusive. */
static int decode_ports_off(struct decode *d, const struct pb_path *at,
                            const Pb__Listener__ListenerFilterChainMatchPredicate *m,
                            struct port_range *ranges, size_t *count)
{
    const Pb__Type__Int32Range *r = m->destination_port_range;
    switch ((int)m->rule_case) {
    case PB__LISTENER__LISTENER_FILTER_CHAIN_MATCH_PREDICATE__RULE_OR_MATCH:
        return decode_any_of(d, PB_AT(at, "or_match"), m->or_match, ranges, count);
    case PB__LISTENER__LISTENER_FILTER_CHAIN_MATCH_PREDICATE__RULE_DESTINATION_PORT_RANGE:
        if (r->start < 0 || r->end <= r->start || r->end > UINT16_MAX + 1)
            return decode_fail(d, PB_AT(at, "destination_port_range"), "not a range of ports");
        if (*count == PORTS_OFF_MAX)
            return decode_fail(d, at, "more than %d ports", PORTS_OFF_MAX);
        ranges[(*count)++] = (struct port_range){(uint16_t)r->start, (uint16_t)(r->end - 1)};
        return 0;
    default:
        return decode_fail(d, at, "destination_port_range and or_match are supported");
    }
}

static int decode_disabled(struct decode *d, const struct pb_path *at,
                           const Pb__Listener__ListenerFilterChainMatchPredicate *m,
                           struct port_ranges *ret_ports)
{
    if (m == NULL)
        return 0;
    struct port_range *ranges = ARENA_ARRAY(d->scratch, struct port_range, PORTS_OFF_MAX);
    size_t count = 0;
    if (decode_ports_off(d, at, m, ranges, &count) != 0)
        return -ERR_INVALID;
    struct port_range *items = ARENA_ARRAY(d->arena, struct port_range, count);
    memcpy(items, ranges, count * sizeof *items);
    *ret_ports = (struct port_ranges){count > 0 ? items : NULL, count};
    return 0;
}

/* --- decoding: the list --- */

static void decode_proxy_protocol(const Pb__ProxyProtocol__ProxyProtocol *m,
                                  struct listener_filters *filters)
{
    filters->proxy_protocol = true;
    filters->is_proxy_protocol_optional = m->allow_requests_without_proxy_protocol != 0;
    for (size_t i = 0; i < m->n_disallowed_versions; i++) {
        bool is_v1 = m->disallowed_versions[i] == PB__CORE__PROXY_PROTOCOL_CONFIG__VERSION__V1;
        filters->is_proxy_v1_refused |= is_v1;
        filters->is_proxy_v2_refused |= !is_v1;
    }
}

static int decode_listener_filter(struct decode *d, const struct pb_path *parent,
                                  const Pb__Listener__ListenerFilter *m, struct listener *l)
{
    const struct pb_path *at = PB_AT(parent, "typed_config");
    const struct pb_path *disabled_at = PB_AT(parent, "filter_disabled");
    const ProtobufCMessageDescriptor *desc;
    const void *config = decode_any(d, at, m->typed_config, &desc);
    if (config == NULL)
        return -ERR_INVALID;
    if (desc == &pb__tls_inspector__tls_inspector__descriptor) {
        l->inspectors.tls_inspector = true;
        return decode_disabled(d, disabled_at, m->filter_disabled, &l->inspectors.tls_ports_off);
    }
    if (desc == &pb__http_inspector__http_inspector__descriptor) {
        l->inspectors.http_inspector = true;
        return decode_disabled(d, disabled_at, m->filter_disabled, &l->inspectors.http_ports_off);
    }
    if (m->filter_disabled != NULL)
        return decode_fail(d, disabled_at, "of the inspectors of TLS and HTTP only");
    if (desc == &pb__original_dst__original_dst__descriptor) {
        l->inspectors.original_dst = true;
        return 0;
    }
    if (desc != &pb__proxy_protocol__proxy_protocol__descriptor)
        return decode_fail(d, at, "%s is not a listener filter", desc->name);
    if (l->inspectors.tls_inspector || l->inspectors.http_inspector)
        return decode_fail(d, at, "must stand before those that look at the bytes");
    if (l->use_original_dst)
        return decode_fail(d, at, "use_original_dst does not go together with it");
    decode_proxy_protocol(config, &l->inspectors);
    return 0;
}

int decode_listener_filters(struct decode *d, const struct pb_path *at,
                            const Pb__Listener__Listener *m, struct listener *l)
{
    for (size_t i = 0; i < m->n_listener_filters; i++) {
        if (decode_listener_filter(d, PB_AT_I(at, "listener_filters", i), m->listener_filters[i],
                                   l) != 0)
            return -ERR_INVALID;
    }
    return 0;
}

/* --- encoding --- */

static Pb__Listener__ListenerFilterChainMatchPredicate *encode_range(struct encode *e,
                                                                     const struct port_range *in)
{
    Pb__Listener__ListenerFilterChainMatchPredicate *m =
        PB_NEW(e, Pb__Listener__ListenerFilterChainMatchPredicate,
               pb__listener__listener_filter_chain_match_predicate);
    Pb__Type__Int32Range *range = PB_NEW(e, Pb__Type__Int32Range, pb__type__int32_range);
    range->has_start = range->has_end = true;
    range->start = in->from;
    range->end = in->to + 1;
    m->rule_case = PB__LISTENER__LISTENER_FILTER_CHAIN_MATCH_PREDICATE__RULE_DESTINATION_PORT_RANGE;
    m->destination_port_range = range;
    return m;
}

static Pb__Listener__ListenerFilterChainMatchPredicate *encode_ports_off(
    struct encode *e, const struct port_ranges *in)
{
    if (in == NULL || in->count == 0)
        return NULL;
    Pb__Listener__ListenerFilterChainMatchPredicate *m =
        PB_NEW(e, Pb__Listener__ListenerFilterChainMatchPredicate,
               pb__listener__listener_filter_chain_match_predicate);
    m->rule_case = PB__LISTENER__LISTENER_FILTER_CHAIN_MATCH_PREDICATE__RULE_OR_MATCH;
    m->or_match = PB_NEW(e, Pb__Listener__ListenerFilterChainMatchPredicate__MatchSet,
                         pb__listener__listener_filter_chain_match_predicate__match_set);
    m->or_match->n_rules = in->count;
    m->or_match->rules = PB_PTRS(e, Pb__Listener__ListenerFilterChainMatchPredicate, in->count);
    for (size_t i = 0; i < in->count; i++)
        m->or_match->rules[i] = encode_range(e, &in->items[i]);
    return m;
}

static void add_listener_filter(struct encode *e, Pb__Listener__Listener *m, const char *name,
                                const ProtobufCMessage *config, const struct port_ranges *ports_off)
{
    Pb__Listener__ListenerFilter *filter =
        PB_NEW(e, Pb__Listener__ListenerFilter, pb__listener__listener_filter);
    filter->name = name;
    filter->typed_config = encode_any(e, config);
    filter->filter_disabled = encode_ports_off(e, ports_off);
    m->listener_filters[m->n_listener_filters++] = filter;
}

static ProtobufCMessage *encode_proxy_protocol(struct encode *e, const struct listener_filters *in)
{
    Pb__ProxyProtocol__ProxyProtocol *m =
        PB_NEW(e, Pb__ProxyProtocol__ProxyProtocol, pb__proxy_protocol__proxy_protocol);
    m->has_allow_requests_without_proxy_protocol = m->allow_requests_without_proxy_protocol =
        in->is_proxy_protocol_optional;
    m->disallowed_versions = arena_alloc(e->arena, 2 * sizeof *m->disallowed_versions);
    if (in->is_proxy_v1_refused)
        m->disallowed_versions[m->n_disallowed_versions++] =
            PB__CORE__PROXY_PROTOCOL_CONFIG__VERSION__V1;
    if (in->is_proxy_v2_refused)
        m->disallowed_versions[m->n_disallowed_versions++] =
            PB__CORE__PROXY_PROTOCOL_CONFIG__VERSION__V2;
    return &m->base;
}

void encode_listener_filters(struct encode *e, const struct listener_filters *in,
                             Pb__Listener__Listener *m)
{
    m->listener_filters = PB_PTRS(e, Pb__Listener__ListenerFilter, 4);
    if (in->original_dst)
        add_listener_filter(
            e, m, "envoy.filters.listener.original_dst",
            &PB_NEW(e, Pb__OriginalDst__OriginalDst, pb__original_dst__original_dst)->base, NULL);
    if (in->proxy_protocol)
        add_listener_filter(e, m, "envoy.filters.listener.proxy_protocol",
                            encode_proxy_protocol(e, in), NULL);
    if (in->tls_inspector)
        add_listener_filter(
            e, m, "envoy.filters.listener.tls_inspector",
            &PB_NEW(e, Pb__TlsInspector__TlsInspector, pb__tls_inspector__tls_inspector)->base,
            &in->tls_ports_off);
    if (in->http_inspector)
        add_listener_filter(
            e, m, "envoy.filters.listener.http_inspector",
            &PB_NEW(e, Pb__HttpInspector__HttpInspector, pb__http_inspector__http_inspector)->base,
            &in->http_ports_off);
}
