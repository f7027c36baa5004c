/* Names of resources; the grammar is in translate.h. */
#include "control/translate/translate_priv.h"

enum { LABEL_LEN_MAX = 63, HOST_LEN_MAX = 253 };

/* Names come from proxies: what is no host, namespace or subset of ours ends here. */
static bool is_name(struct str s, size_t len_max, bool is_dotted)
{
    if (s.len == 0 || s.len > len_max)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
        if (!is_plain && !(is_dotted && c == '.'))
            return false;
    }
    return true;
}

/* Subsets are named as label values are. */
static bool is_subset(struct str s)
{
    if (s.len == 0 || s.len > LABEL_LEN_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
            c != '-' && c != '_' && c != '.')
            return false;
    }
    return true;
}

/* One spelling a number: no leading zero. */
static bool parse_port(struct str s, uint16_t *ret_port)
{
    uint64_t port;
    if (!str_to_u64(s, UINT16_MAX, &port) || (s.len > 1 && s.ptr[0] == '0'))
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

bool name_is_namespace(struct str text)
{
    return is_name(text, LABEL_LEN_MAX, false);
}

bool name_parse(struct str text, struct output_name *ret_name)
{
    struct output_name n = {.host = STR_NULL};
    ptrdiff_t at = str_rfind(text, '|');
    if (at >= 0) {
        if (!str_eq(str_skip(text, (size_t)at), STR(TRANSLATE_TCP_SUFFIX)))
            return false;
        n.is_tcp = true;
        text = str_sub(text, 0, (size_t)at);
    }
    at = str_find(text, '/');
    if (at >= 0) {
        n.subset = str_skip(text, (size_t)at + 1);
        text = str_sub(text, 0, (size_t)at);
        if (!is_subset(n.subset))
            return false;
    }
    at = str_rfind(text, ':');
    if (at < 0 || !parse_port(str_skip(text, (size_t)at + 1), &n.port) || n.port == 0)
        return false;
    n.host = str_sub(text, 0, (size_t)at);
    if (!is_name(n.host, HOST_LEN_MAX, true))
        return false;
    *ret_name = n;
    return true;
}

bool translate_endpoints_of(struct str cluster, struct str *ret_name)
{
    struct output_name n;
    if (!name_parse(cluster, &n))
        return false;
    *ret_name =
        n.is_tcp ? str_sub(cluster, 0, cluster.len - strlen(TRANSLATE_TCP_SUFFIX)) : cluster;
    return true;
}

struct str name_format(struct arena *a, struct str host, uint16_t port, struct str subset,
                       bool is_tcp)
{
    return arena_printf(a, "%.*s:%u%s%.*s%s", STR_FMT(host), port, subset.len > 0 ? "/" : "",
                        STR_FMT(subset), is_tcp ? TRANSLATE_TCP_SUFFIX : "");
}

/* Port 0: ports that the Workload does not list. */
struct str name_inbound(struct arena *a, uint16_t port, enum api_protocol protocol)
{
    return arena_printf(a, "inbound|%u|%s", port, api_protocol_name(protocol));
}

bool name_parse_inbound(struct str text, uint16_t *ret_port, enum api_protocol *ret_protocol)
{
    struct str rest = text;
    uint16_t port;
    if (!str_eq(str_split(&rest, '|'), STR("inbound")) || !parse_port(str_split(&rest, '|'), &port))
        return false;
    for (int p = API_PROTOCOL_AUTO; p <= API_PROTOCOL_TLS; p++) {
        if (str_eq(rest, str_from_c(api_protocol_name((enum api_protocol)p)))) {
            *ret_port = port;
            *ret_protocol = (enum api_protocol)p;
            return true;
        }
    }
    return false;
}

bool name_is_nobodys(struct str text)
{
    return str_eq(text, STR(TRANSLATE_PASSTHROUGH)) || str_eq(text, STR(TRANSLATE_BLACKHOLE));
}

bool name_is_possible(enum resource_type type, struct str text)
{
    struct output_name n;
    uint16_t port;
    enum api_protocol protocol;
    switch (type) {
    case RESOURCE_DIRECTORY:
        return name_is_namespace(text);
    case RESOURCE_LISTENER:
        if (str_eq(text, STR(TRANSLATE_INBOUND)) || str_eq(text, STR(TRANSLATE_OUTBOUND)))
            return true;
        return name_parse(text, &n) && n.subset.len == 0 && !n.is_tcp;
    case RESOURCE_ROUTE:
        return name_parse(text, &n) && n.subset.len == 0 && !n.is_tcp;
    case RESOURCE_CLUSTER:
        return name_parse_inbound(text, &port, &protocol) || name_is_nobodys(text) ||
               name_parse(text, &n);
    case RESOURCE_ENDPOINTS:
        return str_eq(text, STR(TRANSLATE_BLACKHOLE)) || (name_parse(text, &n) && !n.is_tcp);
    case RESOURCE_SECRET:
        return str_eq(text, STR(TRANSLATE_ROOTS));
    case RESOURCE_TYPE_COUNT:
        return false;
    }
    return false;
}
