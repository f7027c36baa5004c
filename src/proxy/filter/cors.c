/* Cross-origin requests (Fetch standard, "CORS protocol"), by a route's policy:
 * envoy.extensions.filters.http.cors. Preflights are answered here; what is not allowed passes
 * without a word, and the browser refuses it. */
#include "proxy/filter/filter_priv.h"

struct cors {
    const struct cors_policy *policy; /* NULL: none, or the caller's origin is none of its */
    struct str origin;
};

static const struct cors_policy *policy_of(struct exchange *x, const struct http_filter *filter)
{
    const struct filter_override *o = override_of(request_of(x), filter->name);
    const struct cors_policy *p = o != NULL ? o->cors : NULL;
    if (p == NULL || random_below(turn_random(x->turn), MODEL_PARTS_ALL) >= p->enabled_parts)
        return NULL;
    return p;
}

static bool is_allowed(const struct cors_policy *p, struct str origin)
{
    for (size_t i = 0; i < p->origin_count; i++) {
        if (match_string(&p->origins[i], origin))
            return true;
    }
    return false;
}

static void set(struct http_head *head, struct str name, struct str value)
{
    if (value.len > 0)
        http_head_set_named(head, name, value);
}

static void set_origin(const struct cors *c, struct http_head *head)
{
    set(head, STR("access-control-allow-origin"), c->origin);
    if (c->policy->allow_credentials)
        set(head, STR("access-control-allow-credentials"), STR("true"));
}

static enum verdict answer_preflight(struct exchange *x, const struct cors *c)
{
    struct http_head *head = exchange_reply(x, 200, STR("cors_response"), STR_NULL);
    if (c->policy == NULL)
        return VERDICT_REPLY;
    set_origin(c, head);
    set(head, STR("access-control-allow-methods"), c->policy->methods);
    set(head, STR("access-control-allow-headers"), c->policy->headers);
    set(head, STR("access-control-max-age"), c->policy->max_age);
    return VERDICT_REPLY;
}

static enum verdict on_request(struct exchange *x, struct cors *c)
{
    const struct http_head *head = x->flows[SIDE_REQUEST].head;
    const struct cors_policy *p = policy_of(x, filter_model_of(x, &cors_filter_ops, c));
    struct str origin = http_head_get_named(head, STR("origin"));
    if (p == NULL || origin.len == 0)
        return VERDICT_NEXT;
    c->origin = origin;
    c->policy = is_allowed(p, origin) ? p : NULL;
    bool is_preflight = str_eq(head->method, STR("OPTIONS")) &&
                        http_head_get_named(head, STR("access-control-request-method")).len > 0;
    if (is_preflight && (c->policy != NULL || !p->forwards_unmatched_preflights))
        return answer_preflight(x, c);
    return VERDICT_NEXT;
}

static enum verdict on_head(struct exchange *x, void *state, enum side side)
{
    struct cors *c = state;
    if (side == SIDE_REQUEST)
        return on_request(x, c);
    struct http_head *head = x->flows[SIDE_RESPONSE].head;
    if (c->policy == NULL)
        return VERDICT_NEXT;
    set_origin(c, head);
    set(head, STR("access-control-expose-headers"), c->policy->exposed);
    return VERDICT_NEXT;
}

const struct filter_ops cors_filter_ops = {
    .name = "cors",
    .state_bytes = sizeof(struct cors),
    .on_head = on_head,
};
