#include "base/err.h"
#include "mesh/xds/codec_priv.h"

enum { TIMEOUT_US = 15000000 };

static const struct {
    Pb__Route__RedirectAction__RedirectResponseCode code;
    uint16_t status;
} redirect_codes[] = {
    {PB__ROUTE__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__MOVED_PERMANENTLY, 301},
    {PB__ROUTE__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__FOUND, 302},
    {PB__ROUTE__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__SEE_OTHER, 303},
    {PB__ROUTE__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__TEMPORARY_REDIRECT, 307},
    {PB__ROUTE__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__PERMANENT_REDIRECT, 308},
};

/* --- decoding: forwarding --- */

static int decode_weights(struct decode *d, const struct pb_path *at,
                          const Pb__Route__WeightedCluster *m, struct route *route)
{
    if (m->n_clusters == 0)
        return decode_fail(d, PB_AT(at, "clusters"), "at least one is needed");
    struct weighted_cluster *clusters =
        ARENA_ARRAY(d->arena, struct weighted_cluster, m->n_clusters);
    for (size_t i = 0; i < m->n_clusters; i++) {
        const Pb__Route__WeightedCluster__ClusterWeight *w = m->clusters[i];
        const struct pb_path *here = PB_AT_I(at, "clusters", i);
        if (!decode_is_set(w->name))
            return decode_fail(d, PB_AT(here, "name"), "a name is needed");
        clusters[i].name = decode_str(d, w->name);
        clusters[i].weight = decode_u32(w->weight, 0);
        route->weight_total += clusters[i].weight;
        const struct decode_edits request = {
            "request", w->request_headers_to_add, w->n_request_headers_to_add,
            w->request_headers_to_remove, w->n_request_headers_to_remove};
        const struct decode_edits response = {
            "response", w->response_headers_to_add, w->n_response_headers_to_add,
            w->response_headers_to_remove, w->n_response_headers_to_remove};
        if (decode_header_edits(d, here, &request, &clusters[i].request) != 0 ||
            decode_header_edits(d, here, &response, &clusters[i].response) != 0 ||
            DECODE_OVERRIDES(d, here, w, &clusters[i].overrides) != 0)
            return -ERR_INVALID;
        decode_add_ref(d, RESOURCE_CLUSTER, clusters[i].name);
    }
    if (route->weight_total == 0 || route->weight_total > UINT32_MAX)
        return decode_fail(d, at, "the sum of the weights must lie between 1 and 2^32-1");
    if (m->total_weight != NULL && decode_u32(m->total_weight, 0) != route->weight_total)
        return decode_fail(d, PB_AT(at, "total_weight"), "is not the sum of the weights");
    route->clusters = clusters;
    route->cluster_count = m->n_clusters;
    return 0;
}

static int decode_clusters(struct decode *d, const struct pb_path *at,
                           const Pb__Route__RouteAction *m, struct route *route)
{
    switch ((int)m->cluster_specifier_case) {
    case PB__ROUTE__ROUTE_ACTION__CLUSTER_SPECIFIER_WEIGHTED_CLUSTERS:
        return decode_weights(d, PB_AT(at, "weighted_clusters"), m->weighted_clusters, route);
    case PB__ROUTE__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER:
        break;
    default:
        return decode_fail(d, at, "cluster or weighted_clusters is needed");
    }
    if (!decode_is_set(m->cluster))
        return decode_fail(d, PB_AT(at, "cluster"), "a name is needed");
    struct weighted_cluster *cluster = ARENA_NEW(d->arena, struct weighted_cluster);
    cluster->name = decode_str(d, m->cluster);
    cluster->weight = 1;
    route->clusters = cluster;
    route->cluster_count = 1;
    route->weight_total = 1;
    decode_add_ref(d, RESOURCE_CLUSTER, cluster->name);
    return 0;
}

static int decode_forward(struct decode *d, const struct pb_path *at,
                          const Pb__Route__RouteAction *m, struct route *route)
{
    route->kind = ROUTE_FORWARD;
    route->prefix_rewrite = decode_str(d, m->prefix_rewrite);
    if (m->host_rewrite_specifier_case ==
        PB__ROUTE__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_HOST_REWRITE_LITERAL)
        route->host_rewrite = decode_str(d, m->host_rewrite_literal);
    if (m->host_rewrite_specifier_case ==
        PB__ROUTE__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_AUTO_HOST_REWRITE)
        route->auto_host_rewrite = decode_bool(m->auto_host_rewrite, false);
    if (decode_clusters(d, at, m, route) != 0 ||
        decode_duration(d, PB_AT(at, "timeout"), m->timeout, TIMEOUT_US, &route->timeout_us) != 0 ||
        decode_duration(d, PB_AT(at, "idle_timeout"), m->idle_timeout, MODEL_UNSET_U64,
                        &route->idle_timeout_us) != 0)
        return -ERR_INVALID;
    const Pb__Duration *duration =
        m->max_stream_duration != NULL ? m->max_stream_duration->max_stream_duration : NULL;
    route->has_max_stream_duration = duration != NULL;
    if (decode_duration(d, PB_AT(at, "max_stream_duration.max_stream_duration"), duration, 0,
                        &route->max_stream_duration_us) != 0)
        return -ERR_INVALID;
    if (decode_route_upgrades(d, at, m, route) != 0 || decode_route_policies(d, at, m, route) != 0)
        return -ERR_INVALID;
    return decode_retry(d, PB_AT(at, "retry_policy"), m->retry_policy, &route->retry);
}

/* --- decoding: answers of our own --- */

static int decode_redirect(struct decode *d, const struct pb_path *at,
                           const Pb__Route__RedirectAction *m, struct route *route)
{
    route->kind = ROUTE_REDIRECT;
    route->redirect_host = decode_str(d, m->host_redirect);
    route->redirect_strips_query = m->strip_query != 0;
    if (m->port_redirect > UINT16_MAX)
        return decode_fail(d, PB_AT(at, "port_redirect"), "%u is not a port", m->port_redirect);
    route->redirect_port = (uint16_t)m->port_redirect;
    if (m->path_rewrite_specifier_case ==
        PB__ROUTE__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_PATH_REDIRECT)
        route->redirect_path = decode_str(d, m->path_redirect);
    if (m->path_rewrite_specifier_case ==
        PB__ROUTE__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_PREFIX_REWRITE)
        route->redirect_prefix = decode_str(d, m->prefix_rewrite);
    if (m->scheme_rewrite_specifier_case ==
        PB__ROUTE__REDIRECT_ACTION__SCHEME_REWRITE_SPECIFIER_SCHEME_REDIRECT)
        route->redirect_scheme = decode_str_lower(d, m->scheme_redirect);
    if (m->scheme_rewrite_specifier_case ==
            PB__ROUTE__REDIRECT_ACTION__SCHEME_REWRITE_SPECIFIER_HTTPS_REDIRECT &&
        m->https_redirect)
        route->redirect_scheme = STR("https");
    for (size_t i = 0; i < ARRAY_LEN(redirect_codes); i++) {
        if (redirect_codes[i].code == m->response_code)
            route->redirect_status = redirect_codes[i].status;
    }
    return 0;
}

static int decode_direct(struct decode *d, const struct pb_path *at,
                         const Pb__Route__DirectResponseAction *m, struct route *route)
{
    route->kind = ROUTE_DIRECT_RESPONSE;
    if (m->status < 200 || m->status > 599)
        return decode_fail(d, PB_AT(at, "status"), "%u is not a final status", m->status);
    route->direct_status = (uint16_t)m->status;
    return m->body == NULL ? 0
                           : decode_data_source(d, PB_AT(at, "body"), m->body, &route->direct_body);
}

int decode_route_action(struct decode *d, const struct pb_path *at, const Pb__Route__Route *m,
                        struct route *route)
{
    route->idle_timeout_us = MODEL_UNSET_U64;
    switch ((int)m->action_case) {
    case PB__ROUTE__ROUTE__ACTION_ROUTE:
        return decode_forward(d, PB_AT(at, "route"), m->route, route);
    case PB__ROUTE__ROUTE__ACTION_REDIRECT:
        return decode_redirect(d, PB_AT(at, "redirect"), m->redirect, route);
    case PB__ROUTE__ROUTE__ACTION_DIRECT_RESPONSE:
        return decode_direct(d, PB_AT(at, "direct_response"), m->direct_response, route);
    default:
        return decode_fail(d, at, "route, redirect or direct_response is needed");
    }
}

/* --- encoding --- */

static bool has_edits(const struct weighted_cluster *w)
{
    return w->request.set_count + w->request.remove_count + w->response.set_count +
               w->response.remove_count >
           0;
}

static Pb__Route__WeightedCluster *encode_weights(struct encode *e, const struct route *in)
{
    Pb__Route__WeightedCluster *m =
        PB_NEW(e, Pb__Route__WeightedCluster, pb__route__weighted_cluster);
    m->n_clusters = in->cluster_count;
    m->clusters = PB_PTRS(e, Pb__Route__WeightedCluster__ClusterWeight, in->cluster_count);
    /* Older clients of gRPC take it for 100 and refuse another sum. */
    if (e->dialect == XDS_DIALECT_GRPC)
        m->total_weight = encode_u32(e, (uint32_t)in->weight_total);
    for (size_t i = 0; i < in->cluster_count; i++) {
        const struct weighted_cluster *w = &in->clusters[i];
        Pb__Route__WeightedCluster__ClusterWeight *c =
            PB_NEW(e, Pb__Route__WeightedCluster__ClusterWeight,
                   pb__route__weighted_cluster__cluster_weight);
        c->name = encode_str(e, w->name);
        c->weight = encode_u32(e, w->weight);
        c->n_request_headers_to_add = w->request.set_count;
        c->request_headers_to_add = encode_header_set(e, &w->request);
        c->n_request_headers_to_remove = w->request.remove_count;
        c->request_headers_to_remove = encode_header_remove(e, &w->request);
        c->n_response_headers_to_add = w->response.set_count;
        c->response_headers_to_add = encode_header_set(e, &w->response);
        c->n_response_headers_to_remove = w->response.remove_count;
        c->response_headers_to_remove = encode_header_remove(e, &w->response);
        m->clusters[i] = c;
    }
    return m;
}

/* gRFC A31: gRPC does not read `timeout`, and ends a call by this. */
static void encode_duration_max(struct encode *e, const struct route *in, Pb__Route__RouteAction *m)
{
    bool is_by_timeout = e->dialect == XDS_DIALECT_GRPC && !in->has_max_stream_duration;
    uint64_t max_us = is_by_timeout ? in->timeout_us : in->max_stream_duration_us;
    if (is_by_timeout ? max_us == 0 : !in->has_max_stream_duration)
        return;
    m->max_stream_duration = PB_NEW(e, Pb__Route__RouteAction__MaxStreamDuration,
                                    pb__route__route_action__max_stream_duration);
    m->max_stream_duration->max_stream_duration = encode_duration(e, max_us);
}

static Pb__Route__RouteAction *encode_forward(struct encode *e, const struct route *in)
{
    Pb__Route__RouteAction *m = PB_NEW(e, Pb__Route__RouteAction, pb__route__route_action);
    if (in->cluster_count == 1 && in->clusters[0].weight == 1 && !has_edits(&in->clusters[0])) {
        m->cluster_specifier_case = PB__ROUTE__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER;
        m->cluster = encode_str(e, in->clusters[0].name);
    } else {
        m->cluster_specifier_case = PB__ROUTE__ROUTE_ACTION__CLUSTER_SPECIFIER_WEIGHTED_CLUSTERS;
        m->weighted_clusters = encode_weights(e, in);
    }
    m->prefix_rewrite = encode_str(e, in->prefix_rewrite);
    m->timeout = encode_duration(e, in->timeout_us);
    m->idle_timeout =
        in->idle_timeout_us != MODEL_UNSET_U64 ? encode_duration(e, in->idle_timeout_us) : NULL;
    encode_duration_max(e, in, m);
    m->retry_policy = encode_retry(e, in->retry);
    encode_route_upgrades(e, in, m);
    if (in->host_rewrite.len > 0) {
        m->host_rewrite_specifier_case =
            PB__ROUTE__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_HOST_REWRITE_LITERAL;
        m->host_rewrite_literal = encode_str(e, in->host_rewrite);
    } else if (in->auto_host_rewrite) {
        m->host_rewrite_specifier_case =
            PB__ROUTE__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_AUTO_HOST_REWRITE;
        m->auto_host_rewrite = encode_bool(e, true);
    }
    return m;
}

static Pb__Route__RedirectAction *encode_redirect(struct encode *e, const struct route *in)
{
    Pb__Route__RedirectAction *m = PB_NEW(e, Pb__Route__RedirectAction, pb__route__redirect_action);
    m->host_redirect = encode_str(e, in->redirect_host);
    m->has_strip_query = m->strip_query = in->redirect_strips_query;
    m->has_port_redirect = in->redirect_port != 0;
    m->port_redirect = in->redirect_port;
    if (in->redirect_path.len > 0) {
        m->path_rewrite_specifier_case =
            PB__ROUTE__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_PATH_REDIRECT;
        m->path_redirect = encode_str(e, in->redirect_path);
    } else if (in->redirect_prefix.len > 0) {
        m->path_rewrite_specifier_case =
            PB__ROUTE__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_PREFIX_REWRITE;
        m->prefix_rewrite = encode_str(e, in->redirect_prefix);
    }
    if (in->redirect_scheme.len > 0) {
        m->scheme_rewrite_specifier_case =
            PB__ROUTE__REDIRECT_ACTION__SCHEME_REWRITE_SPECIFIER_SCHEME_REDIRECT;
        m->scheme_redirect = encode_str(e, in->redirect_scheme);
    }
    for (size_t i = 0; i < ARRAY_LEN(redirect_codes); i++) {
        if (redirect_codes[i].status == in->redirect_status)
            m->response_code = redirect_codes[i].code;
    }
    m->has_response_code =
        m->response_code != PB__ROUTE__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__MOVED_PERMANENTLY;
    return m;
}

void encode_route_action(struct encode *e, const struct route *in, Pb__Route__Route *m)
{
    if (e->dialect == XDS_DIALECT_GRPC && in->kind != ROUTE_FORWARD) {
        /* Others than "forward" and this make clients refuse the whole; calls that meet it fail. */
        m->action_case = PB__ROUTE__ROUTE__ACTION_NON_FORWARDING_ACTION;
        m->non_forwarding_action =
            PB_NEW(e, Pb__Route__NonForwardingAction, pb__route__non_forwarding_action);
        return;
    }
    switch (in->kind) {
    case ROUTE_FORWARD:
        m->action_case = PB__ROUTE__ROUTE__ACTION_ROUTE;
        m->route = encode_forward(e, in);
        break;
    case ROUTE_REDIRECT:
        m->action_case = PB__ROUTE__ROUTE__ACTION_REDIRECT;
        m->redirect = encode_redirect(e, in);
        break;
    case ROUTE_DIRECT_RESPONSE:
        m->action_case = PB__ROUTE__ROUTE__ACTION_DIRECT_RESPONSE;
        m->direct_response =
            PB_NEW(e, Pb__Route__DirectResponseAction, pb__route__direct_response_action);
        m->direct_response->has_status = true;
        m->direct_response->status = in->direct_status;
        m->direct_response->body =
            in->direct_body.len > 0 ? encode_inline(e, in->direct_body) : NULL;
        break;
    }
}
