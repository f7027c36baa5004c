/* An HTTP request on a downstream connection: its route is decided once, here; then the filters of
 * the chain that holds now take it. */
#include "proxy/flow/flow_priv.h"

static const struct route_config *find_routes(struct flow_conn *fc, const struct hcm *hcm,
                                              struct resource **ret_pin)
{
    if (hcm->route_config_name.len == 0)
        return hcm->route_config;
    struct resource *r = map_get(&fc->flow->routes, hcm->route_config_name);
    if (r == NULL)
        return NULL;
    *ret_pin = resource_hold(r);
    return r->route;
}

static void choose_cluster(struct request *r)
{
    const struct route *route = r->route;
    if (route == NULL || route->kind != ROUTE_FORWARD)
        return;
    uint32_t random = (uint32_t)random_u64(turn_random(r->x->turn));
    r->weighted =
        match_weighted(route->clusters, route->cluster_count, route->weight_total, random);
    if (r->weighted != NULL)
        r->cluster_name = r->weighted->name;
}

static void choose_route(struct flow_conn *fc, struct request *r, struct resource **ret_pin)
{
    const struct http_head *head = r->x->flows[SIDE_REQUEST].head;
    r->routes = find_routes(fc, r->hcm, ret_pin);
    if (r->routes == NULL)
        return;
    r->vhost = match_virtual_host(r->routes, head->authority);
    if (r->vhost != NULL)
        r->route = match_route(r->vhost, head);
    choose_cluster(r);
}

/* What a request pins beside its own arena. */
struct pins {
    struct request request; /* first: x->ctx */
    struct flow_conn *fc;
    struct flow_config *config;
    struct resource *routes;
    struct timer request_timer, stream_timer; /* not started: no such time-out */
};

/* --- time-outs of a whole request --- */

static void on_request_timeout(struct timer *t)
{
    struct exchange *x = CONTAINER_OF(t, struct pins, request_timer)->request.x;
    if (x->request_end_us != 0)
        return;
    exchange_fail(x, &(struct outcome){.err = -ERR_TIMEOUT,
                                       .fault = FAULT_DOWNSTREAM,
                                       .status = 408,
                                       .details = STR("request_overall_timeout")});
}

static void on_stream_duration(struct timer *t)
{
    struct exchange *x = CONTAINER_OF(t, struct pins, stream_timer)->request.x;
    /* As with idleness: the caller's, as long as it owes the rest of its request. */
    bool is_caller = x->request_end_us == 0;
    exchange_fail(x, &(struct outcome){.err = -ERR_TIMEOUT,
                                       .fault = is_caller ? FAULT_DOWNSTREAM : FAULT_LOCAL,
                                       .status = is_caller ? 408 : 504,
                                       .details = STR("max_duration_timeout")});
}

static void start_timer(struct exchange *x, struct timer *timer, timer_fn *fire,
                        uint64_t timeout_us)
{
    timer_init(timer, fire);
    if (timeout_us > 0)
        timer_start(x->turn, timer, timeout_us);
}

static void start_timers(struct pins *p, const struct hcm *hcm)
{
    struct request *r = &p->request;
    const struct route *route = r->route;
    if (route != NULL && route->idle_timeout_us != MODEL_UNSET_U64)
        exchange_set_idle_timeout(r->x, route->idle_timeout_us);
    start_timer(r->x, &p->request_timer, on_request_timeout, hcm->request_timeout_us);
    start_timer(r->x, &p->stream_timer, on_stream_duration,
                route != NULL && route->has_max_stream_duration ? route->max_stream_duration_us
                                                                : hcm->max_stream_duration_us);
}

static void release(struct exchange *x)
{
    struct pins *p = CONTAINER_OF(request_of(x), struct pins, request);
    timer_stop(&p->request_timer);
    timer_stop(&p->stream_timer);
    upstream_host_drop(p->request.last_host);
    resource_unref(p->routes);
    flow_config_unref(p->config);
    conn_unref(p->fc);
}

/* Connections of a listener that is gone get no further: the filters of their own last version
 * would answer by a policy of yesterday. */
static enum verdict refuse_head(struct exchange *x, void *state, enum side side)
{
    (void)state;
    if (side == SIDE_RESPONSE)
        return VERDICT_NEXT;
    x->outcome.flags |= FLAG_BIT(NO_ROUTE);
    exchange_reply(x, 503, STR("listener_removed"), STR_NULL);
    return VERDICT_REPLY;
}

static const struct filter_ops refuse_filter_ops = {.name = "refuse", .on_head = refuse_head};
static const struct filter refuse_chain[] = {{.ops = &refuse_filter_ops}};

/* Memory is short: who comes anew is told to come again later. */
static enum verdict shed_head(struct exchange *x, void *state, enum side side)
{
    (void)state;
    if (side == SIDE_RESPONSE)
        return VERDICT_NEXT;
    x->outcome.flags |= FLAG_BIT(OVERLOAD);
    metrics_add(request_of(x)->metrics, COUNTER_OVERLOAD_SHED, 1);
    struct http_head *head = exchange_reply(x, 503, STR("overload"), STR("overloaded\n"));
    http_head_add_named(head, STR("retry-after"), STR("1"));
    return VERDICT_REPLY;
}

const struct filter_ops shed_filter_ops = {.name = "shed", .on_head = shed_head};

static void on_exchange(void *ctx, struct exchange *x)
{
    struct flow_conn *fc = ctx;
    const struct flow_chain *chain = conn_current_chain(fc);
    if (chain == NULL) {
        x->filters = refuse_chain;
        x->filter_count = 1;
        http_server_drain(fc->server);
        return;
    }
    struct pins *p = ARENA_NEW(&x->arena, struct pins);
    struct request *r = &p->request;
    p->fc = fc;
    fc->ref_count++;
    p->config = flow_config_ref(fc->listener->config);
    r->x = x;
    r->upstream = fc->flow->env.upstream;
    r->metrics = fc->flow->env.metrics;
    r->hcm = chain->hcm;
    r->is_inbound = !fc->is_outbound;
    r->direct_identity = outbound_identity(fc);
    r->owner = fc;
    canonical_request(fc, r, x->flows[SIDE_REQUEST].head);
    headers_request(fc, r, x->flows[SIDE_REQUEST].head);
    choose_route(fc, r, &p->routes);
    start_timers(p, chain->hcm);
    x->ctx = r;
    bool is_shed = fc->flow->overload.rung >= OVERLOAD_SHED;
    x->filters = is_shed ? chain->shed : chain->filters;
    x->filter_count = is_shed ? (uint32_t)ARRAY_LEN(chain->shed) : chain->filter_count;
    x->release = release;
    list_push_back(&fc->exchanges, &x->link);
}

static void on_bad_request(void *ctx, const struct outcome *why)
{
    struct flow_conn *fc = ctx;
    struct metrics *m = fc->flow->env.metrics;
    metrics_add(m, COUNTER_BAD_REQUESTS, 1);
    if (why->status == 431)
        metrics_add(m, COUNTER_HEADS_TOO_LARGE, 1);
    else if (why->status == 414)
        metrics_add(m, COUNTER_URLS_TOO_LONG, 1);
    else if (why->status == 408)
        metrics_add(m, COUNTER_HEADERS_TIMEOUTS, 1);
}

static void on_close(void *ctx, int err)
{
    struct flow_conn *fc = ctx;
    (void)err;
    fc->server = NULL;
    conn_gone(fc);
}

const struct http_server_ops flow_http_ops = {
    .on_exchange = on_exchange,
    .on_bad_request = on_bad_request,
    .on_close = on_close,
    .is_info_kept = true, /* flow_conn is held by its exchanges */
};

/* --- the first filter: which tunnels there may be, the last word on a response, the records --- */

/* The app took the connection, or had it, and closed it without a byte of an answer: one that ends
 * does that to what waits in its backlog. What may be done twice may be done elsewhere. */
static bool is_lost_harmlessly(const struct exchange *x)
{
    return (x->outcome.flags & FLAG_BIT(UPSTREAM_CLOSED)) != 0 && x->outcome.is_unanswered &&
           request_is_idempotent(x->flows[SIDE_REQUEST].head->method);
}

/* What this proxy answers itself, as the listener wants it. */
static void map_reply(struct exchange *x)
{
    const struct flow_chain *chain = x->filters[0].config;
    if (x->is_response_local && chain->local_reply != NULL)
        local_reply_apply(chain->local_reply, request_of(x)->owner, request_of(x));
}

static enum verdict reply_early(struct exchange *x)
{
    const struct early_reply *early = &request_of(x)->early;
    struct http_head *head = exchange_reply(x, early->status, early->details, STR_NULL);

    if (!str_is_empty(early->location))
        http_head_add(head, HTTP_NAME_LOCATION, early->location);
    map_reply(x);
    return VERDICT_REPLY;
}

/* As Envoy does, before any filter: a server may ignore an Upgrade (RFC 9110 7.8), but a caller
 * that is told nothing would wait for what will not come. */
static enum verdict check_tunnel(struct exchange *x)
{
    const struct request *r = request_of(x);
    const struct http_head *head = x->flows[SIDE_REQUEST].head;
    bool is_lost = head->protocol.len == 0 && r->route == NULL; /* CONNECT: the router's 404 */
    if (!x->is_tunnel || is_lost || match_upgrade_allowed(r->hcm, r->route, head))
        return VERDICT_NEXT;
    exchange_reply(x, 403, STR("upgrade_failed"), STR_NULL);
    map_reply(x);
    return VERDICT_REPLY;
}

/* A mesh peer is told that the app gave no answer, so that it may ask another replica: "1" when the
 * request never reached it, as after a failed connect of the peer's own; "lost" when the app had
 * it. Nobody but this proxy may say so. */
static void tell_unreached(const struct exchange *x, struct http_head *head)
{
    bool is_unseen = (x->outcome.flags & FLAG_BIT(UPSTREAM_CONNECT)) != 0;
    http_head_remove(head, HTTP_NAME_X_TULLE_UNREACHED);
    if (x->is_response_local && x->info->is_mtls && (is_unseen || is_lost_harmlessly(x)))
        http_head_add(head, HTTP_NAME_X_TULLE_UNREACHED, is_unseen ? STR("1") : STR("lost"));
}

static enum verdict record_on_head(struct exchange *x, void *state, enum side side)
{
    (void)state;
    if (side == SIDE_REQUEST)
        return request_of(x)->early.status == 0 ? check_tunnel(x) : reply_early(x);
    struct http_head *head = x->flows[SIDE_RESPONSE].head;
    map_reply(x);
    headers_response(request_of(x), head);
    if (request_of(x)->is_inbound)
        tell_unreached(x, head);
    return VERDICT_NEXT;
}

static void record_on_end(struct exchange *x, void *state)
{
    (void)state;
    record_request(x);
}

const struct filter_ops record_filter_ops = {
    .name = "record",
    .on_head = record_on_head,
    .on_end = record_on_end,
};
