/* Filter chains are narrowed down criterion by criterion. Each one is decided among the chains that
 * the earlier ones left, and once it is decided there is no way back: a connection whose port has
 * chains of its own never falls through to the chains of any port. */
#include "mesh/match/match.h"
#include "mesh/match/match_priv.h"

enum stage {
    STAGE_PORT,
    STAGE_IP,
    STAGE_NAME,
    STAGE_TRANSPORT,
    STAGE_APPLICATION,
    STAGE_SOURCE,
    STAGE_COUNT,
};

/* How specific a chain is in one criterion: the most specific of the left ones wins. */
enum { RANK_NONE = -1, RANK_UNSET = 0, RANK_SET = 1 };

static int rank_ranges(const struct cidr *ranges, size_t count, const struct ip_addr *addr)
{
    if (count == 0)
        return RANK_UNSET;
    int best = RANK_NONE;
    for (size_t i = 0; i < count; i++) {
        /* A prefix of no bits says as much as no prefix. */
        if (ranges[i].prefix > best && cidr_match(&ranges[i], addr))
            best = ranges[i].prefix;
    }
    return best;
}

static int rank_server_names(const struct filter_chain_match *m, struct str host)
{
    if (m->server_name_count == 0)
        return RANK_UNSET;
    int best = RANK_NONE;
    for (size_t i = 0; i < m->server_name_count && host.len > 0; i++) {
        struct str name = m->server_names[i];
        if (str_eq(name, host))
            return INT32_MAX;
        bool is_wildcard = name.len > 1 && name.ptr[0] == '*';
        if (is_wildcard && match_wildcard_suffix(name, host) && (int)name.len > best)
            best = (int)name.len;
    }
    return best;
}

/* The client's first protocol that any chain knows decides. */
static int rank_application(const struct filter_chain_match *m, const struct chain_input *in)
{
    if (m->application_protocol_count == 0)
        return RANK_UNSET;
    for (size_t i = 0; i < in->application_protocol_count; i++) {
        for (size_t k = 0; k < m->application_protocol_count; k++) {
            if (str_eq(in->application_protocols[i], m->application_protocols[k]))
                return (int)(in->application_protocol_count - i);
        }
    }
    return RANK_NONE;
}

static int rank_transport(const struct filter_chain_match *m, const struct chain_input *in)
{
    if (m->transport_protocol.len == 0)
        return RANK_UNSET;
    struct str is = in->is_tls ? STR("tls") : STR("raw_buffer");
    return str_eq(m->transport_protocol, is) ? RANK_SET : RANK_NONE;
}

static int rank(enum stage stage, const struct filter_chain_match *m, const struct chain_input *in)
{
    switch (stage) {
    case STAGE_PORT:
        if (m->destination_port == 0)
            return RANK_UNSET;
        return m->destination_port == in->destination_port ? RANK_SET : RANK_NONE;
    case STAGE_IP:
        return rank_ranges(m->prefix_ranges, m->prefix_range_count, &in->destination);
    case STAGE_NAME:
        return rank_server_names(m, in->server_name);
    case STAGE_TRANSPORT:
        return rank_transport(m, in);
    case STAGE_APPLICATION:
        return rank_application(m, in);
    case STAGE_SOURCE:
        return rank_ranges(m->source_prefix_ranges, m->source_prefix_range_count, &in->source);
    case STAGE_COUNT:
        break;
    }
    return RANK_NONE;
}

static bool is_left(const struct filter_chain_match *m, const struct chain_input *in,
                    const int decided[STAGE_COUNT], enum stage stage)
{
    for (enum stage s = STAGE_PORT; s < stage; s++) {
        if (rank(s, m, in) != decided[s])
            return false;
    }
    return true;
}

const struct filter_chain *match_filter_chain(const struct listener *l,
                                              const struct chain_input *in)
{
    int decided[STAGE_COUNT];
    const struct filter_chain *found = l->default_chain;
    for (enum stage stage = STAGE_PORT; stage < STAGE_COUNT; stage++) {
        int best = RANK_NONE;
        for (size_t i = 0; i < l->chain_count; i++) {
            const struct filter_chain_match *m = &l->chains[i].match;
            int r = is_left(m, in, decided, stage) ? rank(stage, m, in) : RANK_NONE;
            if (r > best) {
                best = r;
                found = &l->chains[i];
            }
        }
        if (best == RANK_NONE)
            return l->default_chain;
        decided[stage] = best;
    }
    return found;
}
