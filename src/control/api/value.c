#include "control/api/value.h"

#include "base/arena.h"

bool api_labels_get(const struct api_labels *labels, struct str key, struct str *ret_value)
{
    for (size_t i = 0; i < labels->len; i++) {
        if (!str_eq(labels->v[i].key, key))
            continue;
        if (ret_value != NULL)
            *ret_value = labels->v[i].value;
        return true;
    }
    return false;
}

bool api_labels_match(const struct api_labels *selector, const struct api_labels *labels)
{
    for (size_t i = 0; i < selector->len; i++) {
        struct str value;
        if (!api_labels_get(labels, selector->v[i].key, &value) ||
            !str_eq(value, selector->v[i].value))
            return false;
    }
    return true;
}

const char *api_protocol_name(enum api_protocol p)
{
    switch (p) {
    case API_PROTOCOL_AUTO:
        return "auto";
    case API_PROTOCOL_HTTP:
        return "http";
    case API_PROTOCOL_HTTP2:
        return "http2";
    case API_PROTOCOL_GRPC:
        return "grpc";
    case API_PROTOCOL_TCP:
        return "tcp";
    case API_PROTOCOL_TLS:
        return "tls";
    }
    return "auto";
}

/* Istio's names, in any case. The databases are known to let the server speak first or to have a
 * protocol of their own; they are passed on as TCP. */
static const struct {
    const char *name;
    enum api_protocol protocol;
} protocols[] = {
    {"http", API_PROTOCOL_HTTP}, {"http2", API_PROTOCOL_HTTP2},
    {"h2c", API_PROTOCOL_HTTP2}, {"kubernetes.io/h2c", API_PROTOCOL_HTTP2},
    {"grpc", API_PROTOCOL_GRPC}, {"grpc-web", API_PROTOCOL_HTTP},
    {"tcp", API_PROTOCOL_TCP},   {"tls", API_PROTOCOL_TLS},
    {"https", API_PROTOCOL_TLS}, {"kubernetes.io/ws", API_PROTOCOL_HTTP},
    {"mongo", API_PROTOCOL_TCP}, {"kubernetes.io/wss", API_PROTOCOL_TLS},
    {"mysql", API_PROTOCOL_TCP}, {"redis", API_PROTOCOL_TCP},
    {"ws", API_PROTOCOL_HTTP},   {"wss", API_PROTOCOL_TLS},
};

static bool protocol_find(struct str name, enum api_protocol *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(protocols); i++) {
        if (str_eq_nocase(name, str_from_c(protocols[i].name))) {
            *ret = protocols[i].protocol;
            return true;
        }
    }
    return false;
}

enum api_protocol api_protocol_of_port(struct str port_name, struct str app_protocol)
{
    enum api_protocol protocol = API_PROTOCOL_AUTO;
    if (app_protocol.len > 0 && protocol_find(app_protocol, &protocol))
        return protocol;
    /* grpc-web is the one protocol with a dash: the whole prefix is tried before its first word. */
    if (str_starts_with_nocase(port_name, STR("grpc-web")) &&
        (port_name.len == 8 || port_name.ptr[8] == '-'))
        return API_PROTOCOL_HTTP;
    struct str rest = port_name;
    if (protocol_find(str_split(&rest, '-'), &protocol))
        return protocol;
    return API_PROTOCOL_AUTO;
}

struct str api_host_fqdn(struct arena *a, struct str host, struct str namespace)
{
    if (str_find(host, '.') < 0 && host.len > 0 && host.ptr[0] != '*')
        return arena_printf(a, "%.*s.%.*s." API_DNS_SUFFIX, STR_FMT(host), STR_FMT(namespace));
    if (str_ends_with(host, STR(".svc")))
        return arena_printf(a, "%.*s.cluster.local", STR_FMT(host));
    return host;
}

bool api_host_split(struct str fqdn, struct str *ret_service, struct str *ret_namespace)
{
    if (!str_ends_with(fqdn, STR("." API_DNS_SUFFIX)))
        return false;
    struct str rest = str_sub(fqdn, 0, fqdn.len - STR("." API_DNS_SUFFIX).len);
    struct str service = str_split(&rest, '.');
    if (service.len == 0 || rest.len == 0 || str_find(rest, '.') >= 0)
        return false;
    *ret_service = service;
    *ret_namespace = rest;
    return true;
}
