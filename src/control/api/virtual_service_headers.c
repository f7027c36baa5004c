/* Which headers a route of a VirtualService sets, adds and removes. */
#include "control/api/virtual_service_priv.h"

/* Framing and hop-by-hop headers belong to each connection: the proxy makes them itself. */
static const char *const own_headers[] = {
    "connection", "content-length",    "expect", "http2-settings",
    "keep-alive", "proxy-connection",  "te",     "trailer",
    "upgrade",    "transfer-encoding",
};

static bool check_name(const struct in *in, struct str name, struct api_place place)
{
    struct in at = *in;
    at.place = place;
    if (str_eq_nocase(name, STR("host")) || str_starts_with(name, STR(":"))) {
        in_error(&at, "use rewrite", "header \"%.*s\" cannot be changed here", STR_CLIP(name));
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(own_headers); i++) {
        if (str_eq_nocase(name, str_from_c(own_headers[i]))) {
            in_error(&at, NULL, "header \"%.*s\" belongs to the connection and cannot be changed",
                     STR_CLIP(name));
            return false;
        }
    }
    if (name_is_header(name))
        return true;
    in_error(&at, NULL, "\"%.*s\" is no valid header name", STR_CLIP(name));
    return false;
}

static bool check_value(const struct in *in, struct str value)
{
    if (!name_is_header_value(value))
        in_error(in, NULL, "a header value holds no control characters");
    else if (str_find(value, '%') >= 0)
        in_error(in, NULL, "%% in header values is not supported yet");
    else
        return true;
    return false;
}

static void read_values(const struct in *in, void *out)
{
    struct api_labels *ret = out;
    struct api_labels read = {0};
    read_labels(in, &read);
    if (!in_is_mapping(in))
        return;
    size_t len = 0;
    struct api_label *kept = ARENA_ARRAY(in->reader->arena, struct api_label, read.len);
    for (size_t i = 0; i < in_count(in); i++) {
        struct in entry = in_entry(in, i);
        struct str value;
        if (!api_labels_get(&read, entry.key, &value))
            continue;
        bool is_good = check_name(&entry, entry.key, entry.key_place);
        is_good &= check_value(&entry, value);
        if (is_good)
            kept[len++] = (struct api_label){in_lower(&entry, entry.key), value};
    }
    *ret = (struct api_labels){kept, len};
}

static void read_removed(const struct in *in, void *out)
{
    struct str text;
    if (in_text(in, &text) && check_name(in, text, in->place))
        *(struct str *)out = in_lower(in, text);
}

static void read_remove(const struct in *in, void *out)
{
    struct api_strs *names = out;
    names->v = in_array(in, sizeof *names->v, read_removed, &names->len);
}

static void read_request(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD("set", read_values, struct api_headers, request_set),
        FIELD("add", read_values, struct api_headers, request_add),
        FIELD("remove", read_remove, struct api_headers, request_remove),
    };
    IN_OBJECT(in, fields, out);
}

static void read_response(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD("set", read_values, struct api_headers, response_set),
        FIELD("add", read_values, struct api_headers, response_add),
        FIELD("remove", read_remove, struct api_headers, response_remove),
    };
    IN_OBJECT(in, fields, out);
}

void read_headers(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD_WHOLE("request", read_request),
        FIELD_WHOLE("response", read_response),
    };
    IN_OBJECT(in, fields, out);
}
