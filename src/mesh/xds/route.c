#include "base/err.h"
#include "codec/regex.h"
#include "mesh/xds/codec_priv.h"

/* --- decoding --- */

static int decode_path(struct decode *d, const struct pb_path *at, const Pb__Route__RouteMatch *m,
                       struct route_match *match)
{
    switch ((int)m->path_specifier_case) {
    case PB__ROUTE__ROUTE_MATCH__PATH_SPECIFIER_PREFIX:
        match->path_kind = PATH_PREFIX;
        match->path = decode_str(d, m->prefix);
        return 0;
    case PB__ROUTE__ROUTE_MATCH__PATH_SPECIFIER_PATH:
        match->path_kind = PATH_EXACT;
        match->path = decode_str(d, m->path);
        return 0;
    case PB__ROUTE__ROUTE_MATCH__PATH_SPECIFIER_PATH_SEPARATED_PREFIX:
        match->path_kind = PATH_SEPARATED_PREFIX;
        match->path = decode_str(d, m->path_separated_prefix);
        /* Envoy's pattern ^[^?#]+[^?#/]$ */
        if (match->path.len < 2 || str_ends_with(match->path, STR("/")) ||
            str_find(match->path, '?') >= 0 || str_find(match->path, '#') >= 0)
            return decode_fail(d, PB_AT(at, "path_separated_prefix"),
                               "must not end with a slash nor hold a query");
        return 0;
    case PB__ROUTE__ROUTE_MATCH__PATH_SPECIFIER_CONNECT_MATCHER:
        match->path_kind = PATH_CONNECT;
        return 0;
    case PB__ROUTE__ROUTE_MATCH__PATH_SPECIFIER_SAFE_REGEX:
        match->path_kind = PATH_REGEX;
        if (decode_regex(d, PB_AT(at, "safe_regex"), m->safe_regex, &match->regex) != 0)
            return -ERR_INVALID;
        match->path = regex_pattern(match->regex);
        return 0;
    default:
        return decode_fail(d, at, "a path, prefix, path_separated_prefix or safe_regex is needed");
    }
}

static int decode_query(struct decode *d, const struct pb_path *at,
                        const Pb__Route__QueryParameterMatcher *m, struct query_match *query)
{
    if (!decode_is_set(m->name))
        return decode_fail(d, PB_AT(at, "name"), "a name is needed");
    query->name = decode_str(d, m->name);
    switch ((int)m->query_parameter_match_specifier_case) {
    case PB__ROUTE__QUERY_PARAMETER_MATCHER__QUERY_PARAMETER_MATCH_SPECIFIER_STRING_MATCH:
        return decode_string_match(d, PB_AT(at, "string_match"), m->string_match, &query->value);
    case PB__ROUTE__QUERY_PARAMETER_MATCHER__QUERY_PARAMETER_MATCH_SPECIFIER_PRESENT_MATCH:
        if (!m->present_match)
            return decode_fail(d, PB_AT(at, "present_match"), "only true is supported");
        return 0;
    default: /* the name alone asks for presence */
        return 0;
    }
}

static int decode_route_match(struct decode *d, const struct pb_path *at,
                              const Pb__Route__RouteMatch *m, struct route_match *match)
{
    if (m == NULL)
        return decode_fail(d, at, "a match is needed");
    struct header_match *headers = ARENA_ARRAY(d->arena, struct header_match, m->n_headers);
    struct query_match *queries = ARENA_ARRAY(d->arena, struct query_match, m->n_query_parameters);
    match->is_case_sensitive = decode_bool(m->case_sensitive, true);
    match->is_grpc = m->grpc != NULL;
    match->headers = m->n_headers > 0 ? headers : NULL;
    match->header_count = m->n_headers;
    match->queries = m->n_query_parameters > 0 ? queries : NULL;
    match->query_count = m->n_query_parameters;
    if (decode_path(d, at, m, match) != 0)
        return -ERR_INVALID;
    for (size_t i = 0; i < m->n_headers; i++) {
        if (decode_header_match(d, PB_AT_I(at, "headers", i), m->headers[i], &headers[i]) != 0)
            return -ERR_INVALID;
    }
    for (size_t i = 0; i < m->n_query_parameters; i++) {
        if (decode_query(d, PB_AT_I(at, "query_parameters", i), m->query_parameters[i],
                         &queries[i]) != 0)
            return -ERR_INVALID;
    }
    return 0;
}

/* The same four lists stand in routes, virtual hosts and route configurations. */
#define DECODE_EDITS(d, at, m, to)                                                                 \
    (decode_header_edits((d), (at),                                                                \
                         &(struct decode_edits){"request", (m)->request_headers_to_add,            \
                                                (m)->n_request_headers_to_add,                     \
                                                (m)->request_headers_to_remove,                    \
                                                (m)->n_request_headers_to_remove},                 \
                         &(to)->request) == 0 &&                                                   \
             decode_header_edits((d), (at),                                                        \
                                 &(struct decode_edits){"response", (m)->response_headers_to_add,  \
                                                        (m)->n_response_headers_to_add,            \
                                                        (m)->response_headers_to_remove,           \
                                                        (m)->n_response_headers_to_remove},        \
                                 &(to)->response) == 0                                             \
         ? 0                                                                                       \
         : -ERR_INVALID)

static int decode_route(struct decode *d, const struct pb_path *at, const Pb__Route__Route *m,
                        struct route *route)
{
    route->name = decode_str(d, m->name);
    route->origin = decode_origin(d, m->metadata);
    if (decode_route_match(d, PB_AT(at, "match"), m->match, &route->match) != 0 ||
        DECODE_EDITS(d, at, m, route) != 0 || DECODE_OVERRIDES(d, at, m, &route->overrides) != 0)
        return -ERR_INVALID;
    return decode_route_action(d, at, m, route);
}

static int decode_virtual_host(struct decode *d, const struct pb_path *at,
                               const Pb__Route__VirtualHost *m, struct virtual_host *vh)
{
    if (!decode_is_set(m->name))
        return decode_fail(d, PB_AT(at, "name"), "a name is needed");
    if (m->n_domains == 0)
        return decode_fail(d, PB_AT(at, "domains"), "at least one is needed");
    struct str *domains = ARENA_ARRAY(d->arena, struct str, m->n_domains);
    for (size_t i = 0; i < m->n_domains; i++) {
        domains[i] = decode_str_lower(d, m->domains[i]);
        if (domains[i].len == 0)
            return decode_fail(d, PB_AT_I(at, "domains", i), "an empty domain");
    }
    struct route *routes = ARENA_ARRAY(d->arena, struct route, m->n_routes);
    vh->name = decode_str(d, m->name);
    vh->domains = domains;
    vh->domain_count = m->n_domains;
    vh->routes = m->n_routes > 0 ? routes : NULL;
    vh->route_count = m->n_routes;
    vh->include_attempt_count = m->include_request_attempt_count != 0;
    if (m->require_tls != PB__ROUTE__VIRTUAL_HOST__TLS_REQUIREMENT_TYPE__NONE)
        return decode_fail(d, PB_AT(at, "require_tls"), "only NONE is supported");
    if (DECODE_EDITS(d, at, m, vh) != 0 || DECODE_OVERRIDES(d, at, m, &vh->overrides) != 0 ||
        decode_retry(d, PB_AT(at, "retry_policy"), m->retry_policy, &vh->retry) != 0)
        return -ERR_INVALID;
    for (size_t i = 0; i < m->n_routes; i++) {
        if (decode_route(d, PB_AT_I(at, "routes", i), m->routes[i], &routes[i]) != 0)
            return -ERR_INVALID;
    }
    return 0;
}

/* Of two virtual hosts with one domain, which would be right? Envoy refuses that, and so do we. */
static int check_domains(struct decode *d, const struct pb_path *at, const struct route_config *rc)
{
    int rc_err = 0;
    struct map seen;
    map_init(&seen);
    for (size_t i = 0; i < rc->host_count && rc_err == 0; i++) {
        const struct virtual_host *vh = &rc->hosts[i];
        for (size_t k = 0; k < vh->domain_count && rc_err == 0; k++) {
            if (map_put(&seen, vh->domains[k], &seen) != NULL)
                rc_err = decode_fail(d, PB_AT_I(PB_AT_I(at, "virtual_hosts", i), "domains", k),
                                     "\"%.*s\" is there twice", STR_FMT(vh->domains[k]));
        }
    }
    map_deinit(&seen);
    return rc_err;
}

int decode_route_config(struct decode *d, const struct pb_path *at, const void *message,
                        struct str *ret_name, const void **ret_body)
{
    const Pb__Route__RouteConfiguration *m = message;
    struct route_config *rc = ARENA_NEW(d->arena, struct route_config);
    struct virtual_host *hosts = ARENA_ARRAY(d->arena, struct virtual_host, m->n_virtual_hosts);
    rc->name = decode_str(d, m->name);
    rc->hosts = m->n_virtual_hosts > 0 ? hosts : NULL;
    rc->host_count = m->n_virtual_hosts;
    rc->ignore_port_in_host = m->ignore_port_in_host_matching != 0;
    rc->origin = decode_origin(d, m->metadata);
    if (DECODE_EDITS(d, at, m, rc) != 0)
        return -ERR_INVALID;
    for (size_t i = 0; i < m->n_virtual_hosts; i++) {
        if (decode_virtual_host(d, PB_AT_I(at, "virtual_hosts", i), m->virtual_hosts[i],
                                &hosts[i]) != 0)
            return -ERR_INVALID;
    }
    if (check_domains(d, at, rc) != 0)
        return -ERR_INVALID;
    *ret_name = rc->name;
    *ret_body = rc;
    return 0;
}

/* --- encoding --- */

#define ENCODE_EDITS(e, in, m)                                                                     \
    do {                                                                                           \
        (m)->n_request_headers_to_add = (in)->request.set_count;                                   \
        (m)->request_headers_to_add = encode_header_set((e), &(in)->request);                      \
        (m)->n_request_headers_to_remove = (in)->request.remove_count;                             \
        (m)->request_headers_to_remove = encode_header_remove((e), &(in)->request);                \
        (m)->n_response_headers_to_add = (in)->response.set_count;                                 \
        (m)->response_headers_to_add = encode_header_set((e), &(in)->response);                    \
        (m)->n_response_headers_to_remove = (in)->response.remove_count;                           \
        (m)->response_headers_to_remove = encode_header_remove((e), &(in)->response);              \
    } while (0)

static void encode_path(struct encode *e, const struct route_match *in, Pb__Route__RouteMatch *m)
{
    const char *path = encode_str_always(e, in->path);
    switch (in->path_kind) {
    case PATH_PREFIX:
        m->path_specifier_case = PB__ROUTE__ROUTE_MATCH__PATH_SPECIFIER_PREFIX;
        m->prefix = path;
        break;
    case PATH_EXACT:
        m->path_specifier_case = PB__ROUTE__ROUTE_MATCH__PATH_SPECIFIER_PATH;
        m->path = path;
        break;
    case PATH_SEPARATED_PREFIX:
        m->path_specifier_case = PB__ROUTE__ROUTE_MATCH__PATH_SPECIFIER_PATH_SEPARATED_PREFIX;
        m->path_separated_prefix = path;
        break;
    case PATH_REGEX:
        m->path_specifier_case = PB__ROUTE__ROUTE_MATCH__PATH_SPECIFIER_SAFE_REGEX;
        m->safe_regex = PB_NEW(e, Pb__Matcher__RegexMatcher, pb__matcher__regex_matcher);
        m->safe_regex->regex = path;
        break;
    case PATH_CONNECT:
        m->path_specifier_case = PB__ROUTE__ROUTE_MATCH__PATH_SPECIFIER_CONNECT_MATCHER;
        m->connect_matcher = PB_NEW(e, Pb__Route__RouteMatch__ConnectMatcher,
                                    pb__route__route_match__connect_matcher);
        break;
    }
}

static Pb__Route__QueryParameterMatcher *encode_query(struct encode *e,
                                                      const struct query_match *in)
{
    Pb__Route__QueryParameterMatcher *m =
        PB_NEW(e, Pb__Route__QueryParameterMatcher, pb__route__query_parameter_matcher);
    m->name = encode_str(e, in->name);
    if (in->value.kind == STRING_MATCH_ANY) {
        m->query_parameter_match_specifier_case =
            PB__ROUTE__QUERY_PARAMETER_MATCHER__QUERY_PARAMETER_MATCH_SPECIFIER_PRESENT_MATCH;
        m->present_match = true;
        return m;
    }
    m->query_parameter_match_specifier_case =
        PB__ROUTE__QUERY_PARAMETER_MATCHER__QUERY_PARAMETER_MATCH_SPECIFIER_STRING_MATCH;
    m->string_match = encode_string_match(e, &in->value);
    return m;
}

static Pb__Route__RouteMatch *encode_route_match(struct encode *e, const struct route_match *in)
{
    Pb__Route__RouteMatch *m = PB_NEW(e, Pb__Route__RouteMatch, pb__route__route_match);
    encode_path(e, in, m);
    m->case_sensitive = in->is_case_sensitive ? NULL : encode_bool(e, false);
    m->n_headers = in->header_count;
    m->headers = PB_PTRS(e, Pb__Route__HeaderMatcher, in->header_count);
    for (size_t i = 0; i < in->header_count; i++)
        m->headers[i] = encode_header_match(e, &in->headers[i]);
    m->n_query_parameters = in->query_count;
    m->query_parameters = PB_PTRS(e, Pb__Route__QueryParameterMatcher, in->query_count);
    for (size_t i = 0; i < in->query_count; i++)
        m->query_parameters[i] = encode_query(e, &in->queries[i]);
    if (in->is_grpc)
        m->grpc = PB_NEW(e, Pb__Route__RouteMatch__GrpcRouteMatchOptions,
                         pb__route__route_match__grpc_route_match_options);
    return m;
}

static Pb__Route__Route *encode_route(struct encode *e, const struct route *in)
{
    Pb__Route__Route *m = PB_NEW(e, Pb__Route__Route, pb__route__route);
    m->name = encode_str(e, in->name);
    m->match = encode_route_match(e, &in->match);
    m->metadata = encode_origin(e, &in->origin);
    ENCODE_EDITS(e, in, m);
    if (route_has_no_encoding(in))
        e->rc = -ERR_UNSUPPORTED;
    encode_route_action(e, in, m);
    return m;
}

static Pb__Route__VirtualHost *encode_virtual_host(struct encode *e, const struct virtual_host *in)
{
    Pb__Route__VirtualHost *m = PB_NEW(e, Pb__Route__VirtualHost, pb__route__virtual_host);
    m->name = encode_str(e, in->name);
    m->n_domains = in->domain_count;
    m->domains = encode_strs(e, in->domains, in->domain_count);
    m->n_routes = in->route_count;
    m->routes = PB_PTRS(e, Pb__Route__Route, in->route_count);
    for (size_t i = 0; i < in->route_count; i++)
        m->routes[i] = encode_route(e, &in->routes[i]);
    if (in->overrides.count > 0)
        e->rc = -ERR_UNSUPPORTED;
    m->retry_policy = encode_retry(e, in->retry);
    m->has_include_request_attempt_count = m->include_request_attempt_count =
        in->include_attempt_count;
    ENCODE_EDITS(e, in, m);
    return m;
}

ProtobufCMessage *encode_route_config(struct encode *e, struct str name, const void *body)
{
    const struct route_config *in = body;
    Pb__Route__RouteConfiguration *m =
        PB_NEW(e, Pb__Route__RouteConfiguration, pb__route__route_configuration);
    m->name = encode_str(e, name);
    m->n_virtual_hosts = in->host_count;
    m->virtual_hosts = PB_PTRS(e, Pb__Route__VirtualHost, in->host_count);
    for (size_t i = 0; i < in->host_count; i++)
        m->virtual_hosts[i] = encode_virtual_host(e, &in->hosts[i]);
    ENCODE_EDITS(e, in, m);
    m->validate_clusters = encode_bool(e, false); /* clusters come on demand */
    m->has_ignore_port_in_host_matching = m->ignore_port_in_host_matching = in->ignore_port_in_host;
    m->metadata = encode_origin(e, &in->origin);
    return &m->base;
}
