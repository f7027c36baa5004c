#include "control/api/virtual_service.h"

#include "control/api/virtual_service_priv.h"

/* --- Destinations --------------------------------------------------------------------------- */

static const uint32_t weight_unset = UINT32_MAX;

static void read_port_selector(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD_MUST("number", read_port, struct api_destination, port),
    };
    struct api_destination *destination = out;
    destination->port_place = in->place;
    IN_OBJECT(in, fields, destination);
}

static void read_destination_host(const struct in *in, void *out)
{
    struct api_destination *destination = out;
    destination->host_place = in->place;
    read_host_ref(in, &destination->host);
}

static void read_subset(const struct in *in, void *out)
{
    struct api_destination *destination = out;
    struct str text;
    if (!in_text(in, &text) || text.len == 0)
        return;
    destination->subset_place = in->place;
    /* Subsets become parts of cluster names. */
    if (name_is_label_value(text))
        destination->subset = text;
    else
        in_error(in, "letters, digits, - _ . and at most 63 of them",
                 "\"%.*s\" is no valid subset name", STR_CLIP(text));
}

static void read_destination(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD_WHOLE_MUST("host", read_destination_host),
        FIELD_WHOLE("subset", read_subset),
        FIELD_WHOLE("port", read_port_selector),
    };
    struct api_destination *destination = out;
    destination->place = in->place;
    IN_OBJECT(in, fields, destination);
}

static void read_weight(const struct in *in, void *out)
{
    uint64_t value;
    if (in_number(in, 0, INT32_MAX, &value))
        *(uint32_t *)out = (uint32_t)value;
}

static void read_http_destination(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD_MUST("destination", read_destination, struct api_weighted_destination, destination),
        FIELD("weight", read_weight, struct api_weighted_destination, weight),
        FIELD("headers", read_headers, struct api_weighted_destination, headers),
    };
    struct api_weighted_destination *d = out;
    d->weight = weight_unset;
    IN_OBJECT(in, fields, d);
}

static void read_tcp_destination(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD_MUST("destination", read_destination, struct api_weighted_destination, destination),
        FIELD("weight", read_weight, struct api_weighted_destination, weight),
    };
    struct api_weighted_destination *d = out;
    d->weight = weight_unset;
    IN_OBJECT(in, fields, d);
}

/* Istio's rules: a lone destination gets everything, several get what their weights say, and one
 * without weight among several gets nothing. */
static void settle_weights(const struct in *in, struct api_weighted_destination *v, size_t len)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < len; i++) {
        if (v[i].weight == weight_unset && len > 1) {
            struct in item = in_item(in, i);
            in_warning(&item, "give it a weight", "a destination without weight gets no traffic");
        }
        if (v[i].weight == weight_unset)
            v[i].weight = len == 1 ? 100 : 0;
        sum += v[i].weight;
    }
    if (len == 1 && sum == 0)
        v[0].weight = 100;
    else if (len > 0 && sum == 0)
        in_error(in, NULL, "the weights of all destinations are 0");
    else if (sum > UINT32_MAX)
        in_error(in, NULL, "the weights add up to more than %u", UINT32_MAX);
}

static struct api_weighted_destination *read_destinations(const struct in *in, field_fn *read,
                                                          size_t *ret_count)
{
    struct api_weighted_destination *v = in_array(in, sizeof *v, read, ret_count);
    if (v == NULL && in_is_sequence(in))
        in_error(in, NULL, "a route needs at least one destination");
    if (v != NULL)
        settle_weights(in, v, *ret_count);
    return v;
}

static void read_http_destinations(const struct in *in, void *out)
{
    struct api_http_route *route = out;
    route->destinations = read_destinations(in, read_http_destination, &route->destination_count);
}

static void read_tcp_destinations(const struct in *in, void *out)
{
    struct api_tcp_route *route = out;
    route->destinations = read_destinations(in, read_tcp_destination, &route->destination_count);
}

/* --- Redirect, direct response, rewrite ----------------------------------------------------- */

static void read_line(const struct in *in, void *out)
{
    struct str text;
    if (!in_text(in, &text))
        return;
    struct str path = in_path(in);
    if (text.len == 0 || !name_is_header_value(text) || str_find(text, ' ') >= 0)
        in_error(in, NULL, "\"%.*s\" must be text without blanks and control characters",
                 STR_FMT(path));
    else
        *(struct str *)out = text;
}

static void read_path(const struct in *in, void *out)
{
    struct str *path = out;
    read_line(in, path);
    if (path->len > 0 && path->ptr[0] != '/')
        in_error(in, NULL, "a path starts with /: \"%.*s\"", STR_CLIP(*path));
}

static void read_scheme(const struct in *in, void *out)
{
    static const char *const names[] = {"http", "https", NULL};
    int index = in_enum(in, names, NULL);
    if (index >= 0)
        *(struct str *)out = str_from_c(names[index]);
}

static void read_redirect_code(const struct in *in, void *out)
{
    static const uint16_t codes[] = {301, 302, 303, 307, 308};
    uint64_t value;
    if (!in_number(in, 300, 399, &value))
        return;
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        if (codes[i] == value) {
            *(uint16_t *)out = codes[i];
            return;
        }
    }
    in_error(in, "301, 302, 303, 307 or 308", "%llu does not redirect", (unsigned long long)value);
}

static void read_redirect(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD("uri", read_path, struct api_redirect, uri),
        FIELD("authority", read_line, struct api_redirect, authority),
        FIELD("scheme", read_scheme, struct api_redirect, scheme),
        FIELD("port", read_port, struct api_redirect, port),
        FIELD("redirectCode", read_redirect_code, struct api_redirect, code),
        FIELD_NOT_YET("derivePort"),
        FIELD_NOT_YET("prefixRewrite"),
    };
    struct api_redirect *redirect = ARENA_NEW(in->reader->arena, struct api_redirect);
    redirect->code = 301;
    IN_OBJECT(in, fields, redirect);
    *(const struct api_redirect **)out = redirect;
}

static void read_body(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD("string", read_str, struct api_direct_response, body),
        FIELD_NOT_YET("bytes"),
    };
    IN_OBJECT(in, fields, out);
}

static void read_status(const struct in *in, void *out)
{
    uint64_t value;
    if (in_number(in, 200, 599, &value))
        *(uint16_t *)out = (uint16_t)value;
}

static void read_direct_response(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD_MUST("status", read_status, struct api_direct_response, status),
        FIELD_WHOLE("body", read_body),
    };
    struct api_direct_response *response = ARENA_NEW(in->reader->arena, struct api_direct_response);
    IN_OBJECT(in, fields, response);
    *(const struct api_direct_response **)out = response;
}

static void read_rewrite(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD("uri", read_path, struct api_rewrite, uri),
        FIELD("authority", read_line, struct api_rewrite, authority),
        FIELD_NOT_YET("uriRegexRewrite"),
    };
    struct api_rewrite *rewrite = ARENA_NEW(in->reader->arena, struct api_rewrite);
    IN_OBJECT(in, fields, rewrite);
    *(const struct api_rewrite **)out = rewrite;
}

/* --- Routes --------------------------------------------------------------------------------- */

static void read_http_matches(const struct in *in, void *out)
{
    struct api_http_route *route = out;
    route->matches = in_array(in, sizeof *route->matches, read_http_match, &route->match_count);
}

static void check_action(const struct in *in, const struct api_http_route *route)
{
    struct in child;
    unsigned actions = (unsigned)in_get(in, "route", &child) + in_get(in, "redirect", &child) +
                       in_get(in, "directResponse", &child);
    struct str path = in_path(in);
    if (actions != 1)
        in_error(in, NULL, "\"%.*s\" must have one of route, redirect and directResponse",
                 STR_FMT(path));
    if (route->rewrite != NULL && !in_get(in, "route", &child))
        in_error(in, NULL, "\"%.*s\" must have a route to rewrite for", STR_FMT(path));
}

static void read_http_route(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD("name", read_str, struct api_http_route, name),
        FIELD_WHOLE("match", read_http_matches),
        FIELD_WHOLE("route", read_http_destinations),
        FIELD("redirect", read_redirect, struct api_http_route, redirect),
        FIELD("directResponse", read_direct_response, struct api_http_route, direct_response),
        FIELD("rewrite", read_rewrite, struct api_http_route, rewrite),
        FIELD("timeout", read_opt_ms_or_0, struct api_http_route, timeout_ms),
        FIELD("retries", read_retries, struct api_http_route, retries),
        FIELD("headers", read_headers, struct api_http_route, headers),
        FIELD_NOT_YET("delegate"),
        FIELD_NOT_YET("fault"),
        FIELD_NOT_YET("mirror"),
        FIELD_NOT_YET("mirrors"),
        FIELD_NOT_YET("mirrorPercent"),
        FIELD_NOT_YET("mirrorPercentage"),
        FIELD_NOT_YET("corsPolicy"),
    };
    struct api_http_route *route = out;
    route->place = in->place;
    if (IN_OBJECT(in, fields, route))
        check_action(in, route);
}

static bool is_catch_all(const struct api_http_route *route)
{
    for (size_t i = 0; i < route->match_count; i++) {
        const struct api_http_match *m = &route->matches[i];
        bool is_any_path =
            m->uri == NULL || (m->uri->kind == API_MATCH_PREFIX && str_eq(m->uri->value, STR("/")));
        if (is_any_path && m->method == NULL && m->authority == NULL && m->headers.len == 0 &&
            m->without_headers.len == 0 && m->query_params.len == 0 && m->port == 0 &&
            m->source_labels.len == 0 && m->source_namespace.len == 0)
            return true;
    }
    return route->match_count == 0;
}

static void read_http(const struct in *in, void *out)
{
    struct api_virtual_service *vs = out;
    vs->http = in_array(in, sizeof *vs->http, read_http_route, &vs->http_count);
    for (size_t i = 0; i + 1 < vs->http_count; i++) {
        if (!is_catch_all(&vs->http[i]))
            continue;
        struct in item = in_item(in, i + 1);
        in_warning(&item, "move the route that matches all to the end",
                   "this route is never reached: spec.http[%zu] matches everything", i);
        return;
    }
}

static void read_tcp_matches(const struct in *in, void *out)
{
    struct api_tcp_route *route = out;
    route->matches = in_array(in, sizeof *route->matches, read_tcp_match, &route->match_count);
}

static void read_tcp_route(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD_WHOLE("match", read_tcp_matches),
        FIELD_WHOLE_MUST("route", read_tcp_destinations),
    };
    struct api_tcp_route *route = out;
    route->place = in->place;
    IN_OBJECT(in, fields, route);
}

static void read_tcp(const struct in *in, void *out)
{
    struct api_virtual_service *vs = out;
    vs->tcp = in_array(in, sizeof *vs->tcp, read_tcp_route, &vs->tcp_count);
}

static void read_hosts(const struct in *in, void *out)
{
    struct api_virtual_service *vs = out;
    vs->hosts.v = in_array(in, sizeof *vs->hosts.v, read_host_ref, &vs->hosts.len);
    if (vs->hosts.len == 0 && in_is_sequence(in))
        in_error(in, NULL, "\"spec.hosts\" must name at least one host");
    struct api_place *places = ARENA_ARRAY(in->reader->arena, struct api_place, vs->hosts.len);
    for (size_t i = 0; i < vs->hosts.len; i++) {
        struct in item = in_item(in, i);
        places[i] = item.place;
        for (size_t j = 0; j < i; j++)
            if (vs->hosts.v[i].len > 0 && str_eq(vs->hosts.v[i], vs->hosts.v[j]))
                in_error(&item, NULL, "host \"%.*s\" is there twice", STR_CLIP(vs->hosts.v[i]));
    }
    vs->host_places = places;
}

void virtual_service_read(const struct in *spec, struct api_document *d)
{
    static const struct field fields[] = {
        FIELD_WHOLE_MUST("hosts", read_hosts),
        FIELD_WHOLE("http", read_http),
        FIELD_WHOLE("tcp", read_tcp),
        FIELD_WHOLE("gateways", read_mesh_only),
        FIELD_WHOLE("exportTo", read_everywhere),
        FIELD_NOT_YET("tls"),
    };
    struct api_virtual_service *vs = ARENA_NEW(&d->arena, struct api_virtual_service);
    d->spec.virtual_service = vs;
    struct in child;
    if (IN_OBJECT(spec, fields, vs) && vs->http_count + vs->tcp_count == 0 &&
        !in_get(spec, "tls", &child))
        in_error(spec, NULL, "a virtual service needs at least one route in http or tcp");
}
