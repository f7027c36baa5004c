/* Authorization: envoy.extensions.filters.http.rbac.v3. Decided by mesh/match; told here. */
#include "proxy/filter/filter_priv.h"

static struct ip_addr to_ip(const struct addr *a)
{
    if (a->family == ADDR_IP4)
        return ip_from_bytes(a->ip, 4);
    if (a->family == ADDR_IP6)
        return ip_from_bytes(a->ip, 16);
    return (struct ip_addr){.family = IP_NONE};
}

bool rbac_is_allowed(const struct rbac *rbac, struct exchange *x, struct str *ret_origin)
{
    const struct downstream_info *info = x->info;
    const struct addr *to =
        info->original_dst.family != ADDR_NONE ? &info->original_dst : &info->local;
    const struct request *r = request_of(x);
    const struct addr *client =
        r != NULL && r->client.family != ADDR_NONE ? &r->client : &info->remote;
    struct rbac_input in = {
        .head = x->flows[SIDE_REQUEST].head,
        .principal = downstream_tls(info)->peer_principal,
        .source = to_ip(&info->direct_remote),
        .remote = to_ip(client),
        .destination = to_ip(to),
        .destination_port = to->port,
        .sni = downstream_tls(info)->sni,
    };
    struct rbac_decision decision;
    match_rbac(rbac, &in, &decision);
    if (ret_origin != NULL)
        *ret_origin = decision.origin;
    return decision.is_allowed;
}

/* A mesh peer is told which policy; at an edge the client sees the request's id only. */
static enum verdict refuse(struct exchange *x, struct request *r, struct str origin)
{
    metrics_add(r->metrics, COUNTER_RBAC_DENIED, 1);
    r->origin = arena_str(&x->arena, origin);
    struct str details =
        origin.len > 0
            ? arena_printf(&x->arena, "rbac_access_denied_matched_policy[%.*s]", STR_FMT(origin))
            : STR("rbac_access_denied_matched_policy[none]");
    const struct http_head *request = x->flows[SIDE_REQUEST].head;
    struct str request_id = http_head_get(request, HTTP_NAME_X_REQUEST_ID);
    x->outcome.fault = FAULT_POLICY;
    struct http_head *head = exchange_reply(x, 403, details, STR("RBAC: access denied"));
    if (x->info->is_mtls)
        http_head_set(head, HTTP_NAME_X_TULLE_ORIGIN, r->origin);
    else if (request_id.len > 0)
        http_head_set(head, HTTP_NAME_X_REQUEST_ID, request_id);
    return VERDICT_REPLY;
}

/* Filters without state may share an address with the next one: ops must be ours, too. */
static const struct rbac *config_of(const struct exchange *x, const void *state)
{
    for (uint32_t i = 0; i < x->filter_count; i++) {
        if (x->filters[i].ops == &rbac_filter_ops && x->states[i] == state)
            return x->filters[i].config;
    }
    return NULL;
}

static enum verdict on_head(struct exchange *x, void *state, enum side side)
{
    if (side == SIDE_RESPONSE)
        return VERDICT_NEXT;
    struct request *r = request_of(x);
    struct str origin;
    const struct rbac *rbac = config_of(x, state);
    ASSERT(rbac != NULL);
    if (!rbac_is_allowed(rbac, x, &origin))
        return refuse(x, r, origin);
    metrics_add(r->metrics, COUNTER_RBAC_ALLOWED, 1);
    return VERDICT_NEXT;
}

const struct filter_ops rbac_filter_ops = {
    .name = "rbac",
    .state_bytes = 8, /* its address tells which of several it is */
    .on_head = on_head,
};
