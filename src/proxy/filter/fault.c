/* Faults on purpose: envoy.extensions.filters.http.fault. A delay first, then the refusal. */
#include "proxy/filter/filter_priv.h"

struct fault_state {
    struct exchange *x;
    struct timer timer;
    const struct fault_policy *policy; /* NULL: none applies */
    bool is_judged, is_delayed;
};

static bool is_drawn(struct exchange *x, uint32_t parts)
{
    return parts > 0 && random_below(turn_random(x->turn), MODEL_PARTS_ALL) < parts;
}

static bool applies(const struct fault_policy *p, struct exchange *x)
{
    const struct http_head *head = x->flows[SIDE_REQUEST].head;
    if (p->upstream_cluster.len > 0 && !str_eq(p->upstream_cluster, request_of(x)->cluster_name))
        return false;
    for (size_t i = 0; i < p->header_count; i++) {
        if (!match_header(&p->headers[i], head))
            return false;
    }
    return true;
}

/* What the most specific level of the route says goes before the filter's own. */
static const struct fault_policy *policy_of(struct exchange *x, const struct http_filter *filter)
{
    const struct filter_override *o = override_of(request_of(x), filter->name);
    const struct fault_policy *p = o != NULL ? o->fault : filter->fault;
    return p != NULL && applies(p, x) ? p : NULL;
}

static void on_timer(struct timer *t)
{
    struct fault_state *f = CONTAINER_OF(t, struct fault_state, timer);
    f->is_delayed = false;
    exchange_wake(f->x);
}

static bool start_delay(struct fault_state *f)
{
    if (f->policy->delay_us == 0 || !is_drawn(f->x, f->policy->delay_parts))
        return false;
    f->x->outcome.flags |= FLAG_BIT(DELAY_INJECTED);
    f->is_delayed = true;
    timer_start(f->x->turn, &f->timer, f->policy->delay_us);
    return true;
}

static enum verdict refuse(struct fault_state *f)
{
    struct exchange *x = f->x;
    unsigned status = f->policy->abort_status;
    x->outcome.flags |= FLAG_BIT(FAULT_INJECTED);
    x->outcome.fault = FAULT_POLICY;
    struct http_head *head = exchange_reply(x, status != 0 ? status : 200,
                                            STR("fault_filter_abort"), STR("fault filter abort"));
    if (status == 0)
        http_head_set_named(head, STR("grpc-status"),
                            arena_u64(head->arena, f->policy->abort_grpc_status));
    return VERDICT_REPLY;
}

static enum verdict on_head(struct exchange *x, void *state, enum side side)
{
    struct fault_state *f = state;
    if (side == SIDE_RESPONSE || (f->is_judged && f->policy == NULL))
        return VERDICT_NEXT;
    if (f->is_delayed)
        return VERDICT_WAIT;
    if (!f->is_judged) {
        f->x = x;
        f->is_judged = true;
        timer_init(&f->timer, on_timer);
        f->policy = policy_of(x, filter_model_of(x, &fault_filter_ops, state));
        if (f->policy == NULL)
            return VERDICT_NEXT;
        if (start_delay(f))
            return VERDICT_WAIT;
    }
    return is_drawn(x, f->policy->abort_parts) ? refuse(f) : VERDICT_NEXT;
}

static void on_end(struct exchange *x, void *state)
{
    struct fault_state *f = state;
    (void)x;
    if (f->is_judged)
        timer_stop(&f->timer);
}

const struct filter_ops fault_filter_ops = {
    .name = "fault",
    .state_bytes = sizeof(struct fault_state),
    .on_head = on_head,
    .on_end = on_end,
};
