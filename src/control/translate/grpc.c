/* What differs for clients of gRPC that speak xDS themselves: a call has no proxy beside it that
 * could look at it, so what is known of all of their calls is decided here. */
#include "control/translate/translate_priv.h"

/* --- calls that end here --- */

const struct cluster *grpc_nowhere(struct job *j)
{
    struct cluster *c = ARENA_NEW(j->a, struct cluster);
    c->name = STR(TRANSLATE_BLACKHOLE);
    c->kind = CLUSTER_EDS;
    c->lb = LB_ROUND_ROBIN;
    c->breaker = (struct circuit_breaker){UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, 0, 0};
    return c;
}

const struct endpoints *grpc_nowhere_endpoints(struct job *j)
{
    struct endpoints *e = ARENA_NEW(j->a, struct endpoints);
    e->cluster_name = STR(TRANSLATE_BLACKHOLE);
    return e;
}

/* --- matches --- */

static bool is_same(struct str a, struct str b, bool has_case)
{
    return has_case ? str_eq(a, b) : str_eq_nocase(a, b);
}

static bool fits(const struct api_match *m, struct str value, bool has_case)
{
    if (m->kind == API_MATCH_PRESENT)
        return true;
    if (value.len < m->value.len)
        return false;
    switch (m->kind) {
    case API_MATCH_PREFIX:
        return is_same(str_sub(value, 0, m->value.len), m->value, has_case);
    case API_MATCH_SUFFIX:
        return is_same(str_skip(value, value.len - m->value.len), m->value, has_case);
    case API_MATCH_EXACT:
    case API_MATCH_PRESENT:
        return is_same(value, m->value, has_case);
    }
    return false;
}

/* Their authority is the name that they called; documents speak of it with its port or without. */
static bool fits_authority(const struct api_match *m, struct str name)
{
    struct str host = str_sub(name, 0, (size_t)str_rfind(name, ':'));
    return fits(m, name, false) || fits(m, host, false);
}

bool grpc_can_meet(struct str name, const struct api_http_match *m)
{
    if (m->method != NULL && !fits(m->method, STR("POST"), true))
        return false;
    /* There is no query in the path of a call. */
    return m->query_params.len == 0 && (m->authority == NULL || fits_authority(m->authority, name));
}
