/* Which addresses a replica is given. The one it connects from is proven; the others are its own
 * word, and whoever is called at an address is expected to prove the identity of who has it: one
 * that is somebody else's would be cut off by a false word. */
#include "base/log.h"
#include "codec/cidr.h"
#include "control/push/push_priv.h"

struct claim {
    const struct push_stream *s;
    const struct ip_addr *ip;
    bool is_taken;
};

static bool is_same_replica(const struct push_stream *s, const struct registry_replica *p)
{
    return p->index == s->index && str_eq(p->workload, s->workload) &&
           str_eq(p->namespace_, s->namespace_);
}

/* Workloads of one host share its addresses: the proven one among them. */
static void see_replica(void *ctx, const struct registry_replica *p)
{
    struct claim *c = ctx;
    size_t slot = c->ip->family == IP_V4 ? 0 : 1;
    if (!is_same_replica(c->s, p) && ip_eq(&p->addresses[slot], c->ip) &&
        !ip_eq(&p->addresses[1 - slot], &c->s->address))
        c->is_taken = true;
}

/* Addresses of services, and those that nobody can have for himself. */
static bool is_reserved(const struct ip_addr *ip)
{
    static const struct str ranges[] = {{"240.240.0.0/16", 14}, {"fd77:7e11::/32", 14},
                                        {"224.0.0.0/4", 11},    {"ff00::/8", 8},
                                        {"169.254.0.0/16", 14}, {"fe80::/10", 9}};
    bool is_in = ip_is_unspecified(ip);
    for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
        struct cidr range;
        is_in |= cidr_parse(ranges[i], &range, NULL) && cidr_match(&range, ip);
    }
    return is_in;
}

static bool is_claimable(const struct push_stream *s, bool is_proving, const struct ip_addr *ip)
{
    struct claim c = {s, ip, false};
    if (is_reserved(ip) || (is_proving && ip_is_loopback(ip)))
        return false;
    if (is_proving)
        registry_replicas_at(s->push->registry, ip, see_replica, &c);
    return !c.is_taken;
}

void push_stream_addresses(const struct push_stream *s, struct ip_addr addresses[2])
{
    /* Loopback says nothing: it is this machine's own processes that speak. */
    bool is_proving = s->address.family != IP_NONE && !ip_is_loopback(&s->address);
    if (is_proving)
        addresses[s->address.family == IP_V4 ? 0 : 1] = s->address;
    for (size_t i = 0; i < 2; i++) {
        char text[IP_TEXT_MAX];
        if (addresses[i].family == IP_NONE || (is_proving && ip_eq(&addresses[i], &s->address)) ||
            is_claimable(s, is_proving, &addresses[i]))
            continue;
        log_event(LOG_WARN, "address_not_given", LF("identity", s->identity),
                  LF("workload", s->workload), LF("address", ip_format(&addresses[i], text)));
        addresses[i] = (struct ip_addr){.family = IP_NONE};
    }
}
