#include "codec/regex.h"
#include "mesh/match/match.h"
#include "mesh/match/match_priv.h"

bool match_wildcard_suffix(struct str pattern, struct str host)
{
    struct str suffix = str_skip(pattern, 1);
    return host.len > suffix.len && str_ends_with(host, suffix);
}

/* --- virtual hosts --- */

/* How well a domain fits: exact above suffix wildcards above prefix wildcards above "*"; among
 * wildcards the longer one. 0: not at all. */
enum { RANK_ANY = 1, RANK_PREFIX = 1 << 16, RANK_SUFFIX = 2 << 16, RANK_EXACT = 3 << 16 };
enum { DOMAIN_LEN_MAX = (1 << 16) - 1 };

static int rank_domain(struct str domain, struct str host)
{
    if (domain.len == 0 || domain.len > DOMAIN_LEN_MAX)
        return 0;
    if (domain.ptr[0] == '*') {
        if (domain.len == 1)
            return RANK_ANY;
        return match_wildcard_suffix(domain, host) ? RANK_SUFFIX + (int)domain.len : 0;
    }
    if (domain.ptr[domain.len - 1] == '*') {
        struct str prefix = str_sub(domain, 0, domain.len - 1);
        bool fits = host.len > prefix.len && str_starts_with(host, prefix);
        return fits ? RANK_PREFIX + (int)domain.len : 0;
    }
    return str_eq(domain, host) ? RANK_EXACT : 0;
}

static struct str without_port(struct str authority)
{
    ptrdiff_t colon = str_rfind(authority, ':');
    if (colon < 0)
        return authority;
    /* A colon inside brackets belongs to an IPv6 address. */
    if (str_find(str_skip(authority, (size_t)colon), ']') >= 0)
        return authority;
    return str_sub(authority, 0, (size_t)colon);
}

const struct virtual_host *match_virtual_host(const struct route_config *rc, struct str authority)
{
    if (rc->ignore_port_in_host)
        authority = without_port(authority);
    const struct virtual_host *best = NULL;
    int best_rank = 0;
    for (size_t i = 0; i < rc->host_count; i++) {
        const struct virtual_host *vh = &rc->hosts[i];
        for (size_t k = 0; k < vh->domain_count; k++) {
            int rank = rank_domain(vh->domains[k], authority);
            if (rank == RANK_EXACT)
                return vh;
            if (rank > best_rank) {
                best_rank = rank;
                best = vh;
            }
        }
    }
    return best;
}

/* --- routes --- */

static bool starts_with(struct str s, struct str prefix, bool is_case_sensitive)
{
    return is_case_sensitive ? str_starts_with(s, prefix) : str_starts_with_nocase(s, prefix);
}

static bool match_path(const struct route_match *m, struct str path)
{
    switch (m->path_kind) {
    case PATH_PREFIX:
        return starts_with(path, m->path, m->is_case_sensitive);
    case PATH_EXACT:
        return path.len == m->path.len && starts_with(path, m->path, m->is_case_sensitive);
    case PATH_SEPARATED_PREFIX:
        return starts_with(path, m->path, m->is_case_sensitive) &&
               (path.len == m->path.len || path.ptr[m->path.len] == '/');
    case PATH_REGEX:
        return regex_match(m->regex, path);
    case PATH_CONNECT:
        return false;
    }
    return false;
}

/* RFC 9110 9.3.6: CONNECT has no path, and where it leads is for those routes alone that name it: a
 * prefix of "/" does not. */
static bool match_target(const struct route_match *m, const struct http_head *head, struct str path)
{
    bool is_connect = str_eq(head->method, STR("CONNECT"));
    return is_connect ? m->path_kind == PATH_CONNECT : match_path(m, path);
}

static bool match_one(const struct route_match *m, const struct http_head *head, struct str path)
{
    if (!match_target(m, head, path) || (m->is_grpc && !head->is_grpc))
        return false;
    for (size_t i = 0; i < m->header_count; i++) {
        if (!match_header(&m->headers[i], head))
            return false;
    }
    if (m->query_count == 0)
        return true;
    struct str query = http_head_query(head);
    for (size_t i = 0; i < m->query_count; i++) {
        if (!match_query(&m->queries[i], query))
            return false;
    }
    return true;
}

bool match_route_fits(const struct route *route, const struct http_head *head)
{
    return match_one(&route->match, head, http_head_path_only(head));
}

const struct route *match_route(const struct virtual_host *vh, const struct http_head *head)
{
    struct str path = http_head_path_only(head);
    for (size_t i = 0; i < vh->route_count; i++) {
        if (match_one(&vh->routes[i].match, head, path))
            return &vh->routes[i];
    }
    return NULL;
}

static const struct upgrade_config *find_upgrade(const struct upgrade_config *upgrades,
                                                 size_t count, struct str type)
{
    for (size_t i = 0; i < count; i++) {
        if (str_eq(upgrades[i].type, type))
            return &upgrades[i];
    }
    return NULL;
}

const struct upgrade_config *match_upgrade(const struct route *route, struct str type)
{
    return route == NULL ? NULL : find_upgrade(route->upgrades, route->upgrade_count, type);
}

bool match_upgrade_allowed(const struct hcm *hcm, const struct route *route,
                           const struct http_head *head)
{
    bool is_connect = head->protocol.len == 0;
    struct str type = is_connect ? STR("connect") : head->protocol;
    /* That name stands for the method; no protocol can be meant by it. */
    if (!is_connect && str_eq(type, STR("connect")))
        return false;
    const struct upgrade_config *u = match_upgrade(route, type);
    if (u == NULL)
        u = find_upgrade(hcm->upgrades, hcm->upgrade_count, type);
    return u != NULL && u->is_enabled;
}

const struct weighted_cluster *match_weighted(const struct weighted_cluster *clusters, size_t count,
                                              uint64_t weight_total, uint32_t random)
{
    if (weight_total == 0)
        return NULL;
    /* Multiply and shift spreads evenly; weight_total is below 2^32 by the codec's check. */
    uint64_t at = ((uint64_t)random * weight_total) >> 32;
    for (size_t i = 0; i < count; i++) {
        if (at < clusters[i].weight)
            return &clusters[i];
        at -= clusters[i].weight;
    }
    return NULL;
}
