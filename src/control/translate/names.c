/* Names of resources; the grammar is in translate.h. */
#include "control/translate/translate_priv.h"

bool name_parse(struct str text, struct output_name *ret_name)
{
    struct output_name n = {.host = STR_NULL};
    uint64_t port;
    ptrdiff_t at = str_rfind(text, '|');
    if (at >= 0) {
        if (!str_eq(str_skip(text, (size_t)at), STR("|tcp")))
            return false;
        n.is_tcp = true;
        text = str_sub(text, 0, (size_t)at);
    }
    at = str_find(text, '/');
    if (at >= 0) {
        n.subset = str_skip(text, (size_t)at + 1);
        text = str_sub(text, 0, (size_t)at);
    }
    at = str_rfind(text, ':');
    if (at <= 0 || !str_to_u64(str_skip(text, (size_t)at + 1), UINT16_MAX, &port) || port == 0)
        return false;
    n.host = str_sub(text, 0, (size_t)at);
    n.port = (uint16_t)port;
    *ret_name = n;
    return true;
}

struct str name_format(struct arena *a, struct str host, uint16_t port, struct str subset,
                       bool is_tcp)
{
    return arena_printf(a, "%.*s:%u%s%.*s%s", STR_FMT(host), port, subset.len > 0 ? "/" : "",
                        STR_FMT(subset), is_tcp ? "|tcp" : "");
}

/* Port 0: ports that the Workload does not list. */
struct str name_inbound(struct arena *a, uint16_t port, enum api_protocol protocol)
{
    return arena_printf(a, "inbound|%u|%s", port, api_protocol_name(protocol));
}

bool name_parse_inbound(struct str text, uint16_t *ret_port, enum api_protocol *ret_protocol)
{
    struct str rest = text;
    uint64_t port;
    if (!str_eq(str_split(&rest, '|'), STR("inbound")) ||
        !str_to_u64(str_split(&rest, '|'), UINT16_MAX, &port))
        return false;
    for (int p = API_PROTOCOL_AUTO; p <= API_PROTOCOL_TLS; p++) {
        if (str_eq(rest, str_from_c(api_protocol_name((enum api_protocol)p)))) {
            *ret_port = (uint16_t)port;
            *ret_protocol = (enum api_protocol)p;
            return true;
        }
    }
    return false;
}
