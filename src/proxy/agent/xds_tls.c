#include "proxy/agent/xds_tls.h"

struct addr xds_tls_addr(const struct model_addr *m)
{
    struct addr a = {.family = ADDR_NONE, .port = m->port};
    if (m->path.len > 0) {
        a.family = ADDR_UNIX;
        memcpy(a.path, m->path.ptr, MIN(m->path.len, sizeof a.path - 1));
    } else if (m->ip.family != IP_NONE) {
        a.family = m->ip.family == IP_V4 ? ADDR_IP4 : ADDR_IP6;
        memcpy(a.ip, m->ip.bytes, sizeof a.ip);
    }
    return a;
}

size_t xds_tls_sans(const struct common_tls *tls, struct tls_san_match *ret_sans, size_t max)
{
    static const enum tls_match_kind kinds[] = {
        [STRING_MATCH_ANY] = TLS_MATCH_PREFIX,        [STRING_MATCH_EXACT] = TLS_MATCH_EXACT,
        [STRING_MATCH_PREFIX] = TLS_MATCH_PREFIX,     [STRING_MATCH_SUFFIX] = TLS_MATCH_SUFFIX,
        [STRING_MATCH_CONTAINS] = TLS_MATCH_CONTAINS,
    };
    static const enum tls_san_kind types[] = {
        [TLS_SAN_TYPE_ANY] = TLS_SAN_ANY,
        [TLS_SAN_TYPE_DNS] = TLS_SAN_DNS,
        [TLS_SAN_TYPE_URI] = TLS_SAN_URI,
        [TLS_SAN_TYPE_IP] = TLS_SAN_IP,
    };
    size_t count = MIN(tls->san_count, max);
    for (size_t i = 0; i < count; i++)
        ret_sans[i] = (struct tls_san_match){
            types[tls->sans[i].type], kinds[tls->sans[i].match.kind], tls->sans[i].match.value};
    return count;
}
