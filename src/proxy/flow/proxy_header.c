/* The PROXY protocol in front of a connection (listener filter proxy_protocol): from here on the
 * connection is that of whom the balancer speaks for; who connected stays in info.direct_remote. */
#include "codec/proxy_protocol.h"
#include "proxy/flow/flow_priv.h"

static struct addr to_addr(const struct ip_addr *ip, uint16_t port)
{
    struct addr a = {.family = ip->family == IP_V4 ? ADDR_IP4 : ADDR_IP6, .port = port};
    memcpy(a.ip, ip->bytes, ip_len(ip));
    return a;
}

static void believe(struct flow_conn *fc, const struct proxy_protocol *h)
{
    if (h->source.family == IP_NONE)
        return;
    fc->info.remote = to_addr(&h->source, h->source_port);
    fc->info.original_dst = to_addr(&h->destination, h->destination_port);
}

static bool is_version_refused(const struct listener_filters *filters,
                               const struct proxy_protocol *h)
{
    return h->version == PROXY_PROTOCOL_V1 ? filters->is_proxy_v1_refused
                                           : filters->is_proxy_v2_refused;
}

static enum proxy_header done(struct flow_conn *fc, enum proxy_header result)
{
    struct metrics *m = fc->flow->env.metrics;
    fc->is_proxy_header_taken = true;
    if (result == PROXY_HEADER_REFUSED)
        metrics_add(m, COUNTER_PROXY_HEADER_ERRORS, 1);
    return result;
}

enum proxy_header proxy_header_take(struct flow_conn *fc, const struct listener *model,
                                    bool is_final)
{
    const struct listener_filters *filters = &model->inspectors;
    if (!filters->proxy_protocol || fc->is_proxy_header_taken)
        return PROXY_HEADER_TAKEN;
    struct chain *in = &fc->conn->in;
    struct proxy_protocol h;
    enum proxy_header without =
        filters->is_proxy_protocol_optional ? PROXY_HEADER_TAKEN : PROXY_HEADER_REFUSED;
    switch (
        proxy_protocol_read(chain_pullup(in, MIN(in->len, (size_t)PROXY_PROTOCOL_LEN_MAX)), &h)) {
    case PROXY_PROTOCOL_MORE:
        if (!is_final)
            return PROXY_HEADER_MORE;
        /* Nothing at all may be a client that waits for the server's greeting; half a header is
         * no part of what it says. */
        return done(fc, in->len == 0 ? without : PROXY_HEADER_REFUSED);
    case PROXY_PROTOCOL_NONE:
        return done(fc, without);
    case PROXY_PROTOCOL_BAD:
        return done(fc, PROXY_HEADER_REFUSED);
    case PROXY_PROTOCOL_YES:
        break;
    }
    /* A version that is not looked for is part of what the client says. */
    if (is_version_refused(filters, &h))
        return done(fc, without);
    metrics_add(fc->flow->env.metrics, COUNTER_PROXY_HEADERS, 1);
    chain_skip(in, h.len);
    believe(fc, &h);
    return done(fc, PROXY_HEADER_TAKEN);
}
