/* Of a route that forwards: rewriting by a regular expression, hashing, mirrors. They come from
 * other people's control planes; ours makes none, and there is no encoding. */
#include "base/err.h"
#include "codec/regex.h"
#include "mesh/xds/codec_priv.h"

static bool is_path_text(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((uint8_t)s.ptr[i] <= ' ' || s.ptr[i] == 0x7f)
            return false;
    }
    return true;
}

static int decode_regex_rewrite(struct decode *d, const struct pb_path *at,
                                const Pb__Matcher__RegexMatchAndSubstitute *m, struct route *route)
{
    if (m == NULL)
        return 0;
    if (decode_regex(d, PB_AT(at, "pattern"), m->pattern, &route->regex_rewrite) != 0)
        return -ERR_INVALID;
    route->regex_substitution = decode_str(d, m->substitution);
    if (!is_path_text(route->regex_substitution))
        return decode_fail(d, PB_AT(at, "substitution"), "bytes that no path holds");
    if (!regex_can_replace(route->regex_rewrite, route->regex_substitution))
        return decode_fail(d, PB_AT(at, "substitution"),
                           "a \"\\\" stands before the number of a group, or another \"\\\"");
    return 0;
}

static int decode_hash(struct decode *d, const struct pb_path *at,
                       const Pb__Route__RouteAction__HashPolicy *m, struct hash_policy *hash)
{
    const char *name = NULL;
    hash->is_terminal = m->terminal != 0;
    switch ((int)m->policy_specifier_case) {
    case PB__ROUTE__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_HEADER:
        hash->kind = HASH_HEADER;
        hash->name = decode_str_lower(d, name = m->header->header_name);
        break;
    case PB__ROUTE__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_COOKIE:
        hash->kind = HASH_COOKIE;
        hash->name = decode_str(d, name = m->cookie->name);
        hash->path = decode_str(d, m->cookie->path);
        hash->is_made = m->cookie->ttl != NULL;
        if (!decode_is_cookie(name) || !decode_is_header_value(m->cookie->path))
            return decode_fail(d, PB_AT(at, "cookie"), "a name that a cookie may have is needed");
        if (decode_duration(d, PB_AT(at, "cookie.ttl"), m->cookie->ttl, 0, &hash->ttl_us) != 0)
            return -ERR_INVALID;
        break;
    case PB__ROUTE__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_CONNECTION_PROPERTIES:
        hash->kind = HASH_SOURCE_IP;
        return m->connection_properties->source_ip
                   ? 0
                   : decode_fail(d, PB_AT(at, "connection_properties"), "source_ip is needed");
    case PB__ROUTE__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_QUERY_PARAMETER:
        hash->kind = HASH_QUERY;
        hash->name = decode_str(d, name = m->query_parameter->name);
        break;
    default:
        return decode_fail(d, at,
                           "header, cookie, connection_properties or query_parameter is needed");
    }
    return decode_is_set(name) ? 0 : decode_fail(d, at, "a name is needed");
}

static int decode_hashes(struct decode *d, const struct pb_path *at,
                         const Pb__Route__RouteAction *m, struct route *route)
{
    struct hash_policy *hashes = ARENA_ARRAY(d->arena, struct hash_policy, m->n_hash_policy);
    for (size_t i = 0; i < m->n_hash_policy; i++) {
        if (decode_hash(d, PB_AT_I(at, "hash_policy", i), m->hash_policy[i], &hashes[i]) != 0)
            return -ERR_INVALID;
    }
    route->hashes = m->n_hash_policy > 0 ? hashes : NULL;
    route->hash_count = m->n_hash_policy;
    return 0;
}

static int decode_mirrors(struct decode *d, const struct pb_path *at,
                          const Pb__Route__RouteAction *m, struct route *route)
{
    size_t count = m->n_request_mirror_policies;
    struct mirror_policy *mirrors = ARENA_ARRAY(d->arena, struct mirror_policy, count);
    for (size_t i = 0; i < count; i++) {
        const Pb__Route__RouteAction__RequestMirrorPolicy *one = m->request_mirror_policies[i];
        const struct pb_path *here = PB_AT_I(at, "request_mirror_policies", i);
        const Pb__Type__FractionalPercent *part =
            one->runtime_fraction != NULL ? one->runtime_fraction->default_value : NULL;
        if (!decode_is_set(one->cluster))
            return decode_fail(d, PB_AT(here, "cluster"), "a name is needed");
        mirrors[i].cluster = decode_str(d, one->cluster);
        mirrors[i].is_host_kept = one->disable_shadow_host_suffix_append != 0;
        if (decode_fraction(d, PB_AT(here, "runtime_fraction.default_value"), part, MODEL_PARTS_ALL,
                            &mirrors[i].parts) != 0)
            return -ERR_INVALID;
        decode_add_ref(d, RESOURCE_CLUSTER, mirrors[i].cluster);
    }
    route->mirrors = count > 0 ? mirrors : NULL;
    route->mirror_count = count;
    return 0;
}

/* max_grpc_timeout is the older way to say grpc_timeout_header_max. */
static int decode_grpc_timeout(struct decode *d, const struct pb_path *at,
                               const Pb__Route__RouteAction *m, struct route *route)
{
    const Pb__Duration *max =
        m->max_stream_duration != NULL ? m->max_stream_duration->grpc_timeout_header_max : NULL;
    if (max == NULL)
        max = m->max_grpc_timeout;
    route->has_grpc_timeout = max != NULL;
    return decode_duration(d, PB_AT(at, "max_grpc_timeout"), max, 0, &route->grpc_timeout_max_us);
}

int decode_route_policies(struct decode *d, const struct pb_path *at,
                          const Pb__Route__RouteAction *m, struct route *route)
{
    if (decode_regex_rewrite(d, PB_AT(at, "regex_rewrite"), m->regex_rewrite, route) != 0 ||
        decode_hashes(d, at, m, route) != 0 || decode_mirrors(d, at, m, route) != 0)
        return -ERR_INVALID;
    if (route->regex_rewrite != NULL && route->prefix_rewrite.len > 0)
        return decode_fail(d, PB_AT(at, "regex_rewrite"), "not together with prefix_rewrite");
    return decode_grpc_timeout(d, at, m, route);
}

bool route_has_no_encoding(const struct route *in)
{
    bool has_overrides = in->overrides.count > 0;
    for (size_t i = 0; i < in->cluster_count; i++)
        has_overrides |= in->clusters[i].overrides.count > 0;
    return in->regex_rewrite != NULL || in->hash_count > 0 || in->mirror_count > 0 ||
           in->has_grpc_timeout || has_overrides;
}
