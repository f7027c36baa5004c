/* What a route of a VirtualService matches on. */
#include "control/api/virtual_service_priv.h"

/* --- StringMatch ---------------------------------------------------------------------------- */

struct string_input {
    struct str exact, prefix;
};

static void read_string_match(const struct in *in, bool is_empty_allowed, struct api_match *ret)
{
    static const struct field fields[] = {
        FIELD("exact", read_str, struct string_input, exact),
        FIELD("prefix", read_str_nonempty, struct string_input, prefix),
        FIELD_NOT_YET("regex"),
    };
    struct string_input input = {0};
    ret->place = in->place;
    if (!IN_OBJECT(in, fields, &input))
        return;
    struct in child;
    size_t count = (size_t)in_get(in, "exact", &child) + in_get(in, "prefix", &child) +
                   in_get(in, "regex", &child);
    if (count > 1 || (count == 0 && !is_empty_allowed)) {
        struct str path = in_path(in);
        in_error(in, NULL, "\"%.*s\" must have one of exact and prefix", STR_FMT(path));
        return;
    }
    ret->kind = count == 0             ? API_MATCH_PRESENT
                : input.prefix.len > 0 ? API_MATCH_PREFIX
                                       : API_MATCH_EXACT;
    ret->value = input.prefix.len > 0 ? input.prefix : input.exact;
}

static void read_match_ptr(const struct in *in, void *out)
{
    struct api_match *match = ARENA_NEW(in->reader->arena, struct api_match);
    read_string_match(in, false, match);
    *(const struct api_match **)out = match;
}

static void read_uri(const struct in *in, void *out)
{
    read_match_ptr(in, out);
    const struct api_match *match = *(const struct api_match **)out;
    if (match->value.len > 0 && match->value.ptr[0] != '/' && !str_eq(match->value, STR("*")))
        in_warning(in, "paths start with /", "no path matches \"%.*s\"", STR_CLIP(match->value));
}

/* --- Maps of names to matches --------------------------------------------------------------- */

static bool check_header_name(const struct in *entry)
{
    static const char *const fields[] = {"uri", "scheme", "method", "authority"};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (str_eq(entry->key, str_from_c(fields[i]))) {
            in_error_key(entry, "it is a field of the match itself", "\"%s\" is no header here",
                         fields[i]);
            return false;
        }
    }
    if (name_is_header(entry->key))
        return true;
    in_error_key(entry, NULL, "\"%.*s\" is no valid header name", STR_CLIP(entry->key));
    return false;
}

static void read_named_matches(const struct in *in, bool is_header, struct api_named_matches *ret)
{
    if (!in_is_mapping(in)) {
        in_object(in, NULL, 0, NULL); /* says what it should be */
        return;
    }
    size_t len = 0;
    struct api_named_match *items =
        ARENA_ARRAY(in->reader->arena, struct api_named_match, in_count(in));
    for (size_t i = 0; i < in_count(in); i++) {
        struct in entry = in_entry(in, i);
        if (is_header && !check_header_name(&entry))
            continue;
        items[len].name =
            is_header ? in_lower(&entry, entry.key) : arena_str(in->reader->arena, entry.key);
        items[len].match = (struct api_match){.kind = API_MATCH_PRESENT, .place = entry.place};
        if (!in_is_null(&entry))
            read_string_match(&entry, true, &items[len].match);
        len++;
    }
    *ret = (struct api_named_matches){items, len};
}

static void read_header_matches(const struct in *in, void *out)
{
    read_named_matches(in, true, out);
}

static void read_query_matches(const struct in *in, void *out)
{
    read_named_matches(in, false, out);
}

static void read_source_namespace(const struct in *in, void *out)
{
    struct str text;
    if (!in_text(in, &text))
        return;
    if (name_is_dns_label(text))
        *(struct str *)out = text;
    else
        in_error(in, NULL, "\"%.*s\" is no valid namespace", STR_CLIP(text));
}

/* --- The matches ---------------------------------------------------------------------------- */

void read_http_match(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD("name", read_str, struct api_http_match, name),
        FIELD("uri", read_uri, struct api_http_match, uri),
        FIELD("method", read_match_ptr, struct api_http_match, method),
        FIELD("authority", read_match_ptr, struct api_http_match, authority),
        FIELD("headers", read_header_matches, struct api_http_match, headers),
        FIELD("withoutHeaders", read_header_matches, struct api_http_match, without_headers),
        FIELD("queryParams", read_query_matches, struct api_http_match, query_params),
        FIELD("ignoreUriCase", read_bool, struct api_http_match, is_uri_case_ignored),
        FIELD("port", read_port, struct api_http_match, port),
        FIELD("sourceLabels", read_k8s_labels, struct api_http_match, source_labels),
        FIELD("sourceNamespace", read_source_namespace, struct api_http_match, source_namespace),
        FIELD_WHOLE("gateways", read_mesh_only),
        FIELD_NOT_YET("scheme"),
        FIELD_NOT_YET("statPrefix"),
    };
    struct api_http_match *match = out;
    match->place = in->place;
    IN_OBJECT(in, fields, match);
}

void read_tcp_match(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD("port", read_port, struct api_tcp_match, port),
        FIELD("sourceLabels", read_k8s_labels, struct api_tcp_match, source_labels),
        FIELD("sourceNamespace", read_source_namespace, struct api_tcp_match, source_namespace),
        FIELD_WHOLE("gateways", read_mesh_only),
        FIELD_NOT_YET("destinationSubnets"),
        FIELD_NOT_YET("sourceSubnet"),
    };
    struct api_tcp_match *match = out;
    match->place = in->place;
    IN_OBJECT(in, fields, match);
}
