/* The router: the last filter, which reaches out. Attempts, time-outs and retries live here alone.
 *
 *   IDLE --start--> CONNECTING --stream--> SENT --head taken--> PASSED
 *                       |                   |
 *                       +----fails----------+--> BACKOFF --timer--> CONNECTING
 *                                           +--> IDLE (given up: the exchange failed)
 *
 * Envoy's router semantics: the route's time-out counts from the end of the request to the end of
 * the response; the per-try time-out to the response's head. */
#include "proxy/filter/filter_priv.h"

enum { HOSTS_TRIED_MAX = 8, REPLAYS_MAX = 3 };

enum router_phase { ROUTER_IDLE, ROUTER_CONNECTING, ROUTER_SENT, ROUTER_BACKOFF, ROUTER_PASSED };

struct router {
    struct exchange *x;
    struct request *r;
    enum router_phase phase;
    struct upstream_attempt attempt;
    bool is_attempt_live;                         /* started and not finished */
    struct upstream_host *tried[HOSTS_TRIED_MAX]; /* held */
    uint32_t tried_count;
    uint32_t retries, replays;
    bool is_retry_counted; /* upstream_retry_begin */
    struct timer timeout, try_timeout, try_duration, backoff;
    uint64_t try_began_us;
    uint64_t hash; /* of what ties the request to a host */
    bool has_hash;
};

static void start_attempt(struct router *s);

/* --- answers without an upstream --- */

static enum verdict reply_no_route(struct exchange *x)
{
    x->outcome.flags |= FLAG_BIT(NO_ROUTE);
    exchange_reply(x, 404, STR("route_not_found"), STR_NULL);
    return VERDICT_REPLY;
}

static enum verdict reply_no_cluster(struct exchange *x)
{
    x->outcome.flags |= FLAG_BIT(NO_CLUSTER);
    exchange_reply(x, 503, STR("cluster_not_found"), STR_NULL);
    return VERDICT_REPLY;
}

static enum verdict reply_direct(struct exchange *x, struct request *r)
{
    struct http_head *head =
        exchange_reply(x, r->route->direct_status, STR("direct_response"), r->route->direct_body);
    edit_response(r, head);
    return VERDICT_REPLY;
}

/* The request's host, without a port that another takes the place of, or that was the default of
 * the scheme which the redirect leaves. */
static struct str redirect_own_host(const struct route *route, const struct http_head *head,
                                    bool is_new_scheme)
{
    struct str host = head->authority;
    ptrdiff_t colon = str_rfind(host, ':');
    if (colon < 0 || str_rfind(host, ']') > colon)
        return host;
    struct str port = str_skip(host, (size_t)colon + 1);
    bool was_default = str_eq(port, str_eq(head->scheme, STR("https")) ? STR("443") : STR("80"));
    return route->redirect_port != 0 || (is_new_scheme && was_default)
               ? str_sub(host, 0, (size_t)colon)
               : host;
}

static struct str redirect_path(const struct route *route, const struct http_head *head)
{
    struct str path = head->path;
    ptrdiff_t query = str_find(path, '?');
    if (route->redirect_path.len > 0) {
        /* Without a query of its own the new path takes the old one along. */
        bool takes_query = query >= 0 && str_find(route->redirect_path, '?') < 0;
        path = !takes_query ? route->redirect_path
                            : arena_printf(head->arena, "%.*s%.*s", STR_FMT(route->redirect_path),
                                           STR_FMT(str_skip(path, (size_t)query)));
    } else if (route->redirect_prefix.len > 0) {
        path = arena_printf(head->arena, "%.*s%.*s", STR_FMT(route->redirect_prefix),
                            STR_FMT(str_skip(path, route->match.path.len)));
    }
    query = str_find(path, '?');
    return route->redirect_strips_query && query >= 0 ? str_sub(path, 0, (size_t)query) : path;
}

static struct str redirect_location(const struct route *route, const struct http_head *head)
{
    struct str old_scheme = head->scheme.len > 0 ? head->scheme : STR("http");
    struct str scheme = route->redirect_scheme.len > 0 ? route->redirect_scheme : old_scheme;
    struct str host = route->redirect_host.len > 0
                          ? route->redirect_host
                          : redirect_own_host(route, head, !str_eq(scheme, old_scheme));
    struct str path = redirect_path(route, head);
    if (route->redirect_port != 0)
        host = arena_printf(head->arena, "%.*s:%u", STR_FMT(host), route->redirect_port);
    return arena_printf(head->arena, "%.*s://%.*s%.*s", STR_FMT(scheme), STR_FMT(host),
                        STR_FMT(path));
}

static enum verdict reply_redirect(struct exchange *x, struct request *r)
{
    const struct http_head *request = x->flows[SIDE_REQUEST].head;
    struct str location = redirect_location(r->route, request);
    unsigned status = r->route->redirect_status != 0 ? r->route->redirect_status : 301;
    struct http_head *head = exchange_reply(x, status, STR("direct_response"), STR_NULL);
    http_head_set(head, HTTP_NAME_LOCATION, location);
    edit_response(r, head);
    return VERDICT_REPLY;
}

/* --- attempts --- */

/* For logs and metrics, which are written before this filter hears of the end. */
static void note_host(struct router *s)
{
    struct upstream_host *h = s->attempt.host;
    if (h == NULL || s->r->last_host == h)
        return;
    upstream_host_drop(s->r->last_host);
    s->r->last_host = upstream_host_hold(h);
}

static void remember_host(struct router *s)
{
    struct upstream_host *h = s->attempt.host;
    if (h == NULL)
        return;
    note_host(s);
    if (s->tried_count < HOSTS_TRIED_MAX)
        s->tried[s->tried_count++] = upstream_host_hold(h);
}

/* Also of a retry that never began, because the exchange ended while it was waiting to. */
static void end_retry(struct router *s)
{
    if (!s->is_retry_counted)
        return;
    s->is_retry_counted = false;
    upstream_retry_end(s->r->upstream, s->r->cluster);
}

static void finish_attempt(struct router *s, unsigned status, const struct outcome *why)
{
    timer_stop(&s->try_timeout);
    timer_stop(&s->try_duration);
    if (!s->is_attempt_live)
        return;
    s->is_attempt_live = false;
    remember_host(s);
    upstream_attempt_finish(s->r->upstream, &s->attempt, status, why);
    end_retry(s);
}

/* Notes of ours to the peer's proxy: which version the caller spoke, so that it can be restored. */
static void note_version(const struct router *s, struct http_head *head)
{
    const struct upstream_host_info *info = upstream_host_info(s->attempt.host);
    bool is_told =
        (s->r->direct_identity.len > 0 || (info->endpoint != NULL && info->endpoint->is_tulle)) &&
        s->r->version != HTTP_2 && s->r->version != HTTP_UNKNOWN;
    http_head_remove(head, HTTP_NAME_X_TULLE_VERSION);
    if (is_told)
        http_head_add(head, HTTP_NAME_X_TULLE_VERSION,
                      s->r->version == HTTP_10 ? STR("1.0") : STR("1.1"));
}

/* auto_host_rewrite: the name of the host that was chosen, where it has one. */
static void rewrite_host(const struct router *s, struct http_head *head)
{
    const struct endpoint *e = upstream_host_info(s->attempt.host)->endpoint;
    if (s->r->route != NULL && s->r->route->auto_host_rewrite && e != NULL && e->hostname.len > 0)
        head->authority = arena_str(head->arena, e->hostname);
}

static void on_ready(struct upstream_attempt *a)
{
    struct router *s = CONTAINER_OF(a, struct router, attempt);
    struct http_head *head = s->x->flows[SIDE_REQUEST].head;
    const struct retry_policy *p = retry_policy_of(s->r);
    s->phase = ROUTER_SENT;
    rewrite_host(s, head);
    note_host(s);
    s->r->upstream_local = http_client_conn(a->client)->local;
    note_version(s, head);
    if (s->r->vhost != NULL && s->r->vhost->include_attempt_count)
        http_head_set(head, HTTP_NAME_X_ENVOY_ATTEMPT_COUNT,
                      arena_u64(head->arena, s->r->attempts));
    s->try_began_us = turn_now_us(s->x->turn);
    if (p != NULL && p->per_try_timeout_us > 0)
        timer_start(s->x->turn, &s->try_timeout, p->per_try_timeout_us);
    uint64_t duration_us = upstream_cluster_config(s->r->cluster)->max_stream_duration_us;
    if (duration_us > 0)
        timer_start(s->x->turn, &s->try_duration, duration_us);
}

static void arm_backoff(struct router *s, const struct retry_policy *p)
{
    s->phase = ROUTER_BACKOFF;
    timer_start(s->x->turn, &s->backoff, retry_backoff_us(p, s->retries, turn_random(s->x->turn)));
}

/* Another attempt is arranged, if the policy, the budgets and what was kept allow it. */
static bool try_again(struct router *s, enum retry_verdict verdict)
{
    const struct retry_policy *p = retry_policy_of(s->r);
    if (verdict == RETRY_NO || !exchange_can_rewind(s->x))
        return false;
    if (verdict == RETRY_REPLAY && s->replays < REPLAYS_MAX) {
        s->replays++;
        metrics_add(s->r->metrics, COUNTER_KEEPALIVE_REPLAYS, 1);
        s->phase = ROUTER_BACKOFF;
        timer_start(s->x->turn, &s->backoff, 0);
        return true;
    }
    if (p == NULL || s->retries >= p->retries_max) {
        s->x->outcome.flags |= p != NULL && p->retries_max > 0 ? FLAG_BIT(RETRY_LIMIT) : 0;
        return false;
    }
    /* What nobody has looked at burdens nobody twice: the budget is for the others. An app that is
     * started again makes many of these at once. */
    if (verdict != RETRY_UNSEEN) {
        if (!upstream_retry_begin(s->r->upstream, s->r->cluster)) {
            s->x->outcome.flags |= FLAG_BIT(UPSTREAM_OVERFLOW);
            return false;
        }
        s->is_retry_counted = true;
    }
    s->retries++;
    arm_backoff(s, p);
    return true;
}

static void note_failure(struct router *s, const struct outcome *why)
{
    if (why->reason.len > 0)
        s->r->upstream_failure = arena_str(&s->x->arena, why->reason);
}

/* No stream could be had. */
static void on_fail(struct upstream_attempt *a, const struct outcome *given)
{
    struct router *s = CONTAINER_OF(a, struct router, attempt);
    struct outcome why = *given;
    enum retry_verdict verdict =
        retry_on_failure(retry_policy_of(s->r), s->x->flows[SIDE_REQUEST].head, &why);
    /* Nobody is left to be asked: another try would ask the same. */
    if ((why.flags & (FLAG_BIT(NO_HEALTHY_UPSTREAM) | FLAG_BIT(NO_CLUSTER))) != 0)
        verdict = RETRY_NO;
    note_failure(s, &why);
    finish_attempt(s, 0, &why);
    if (s->x->phase != EXCHANGE_OPEN) /* answered already: a reply that is under way goes on */
        return;
    if (try_again(s, verdict))
        return;
    s->phase = ROUTER_IDLE;
    exchange_fail(s->x, &why);
}

static const struct upstream_attempt_ops attempt_ops = {
    .on_ready = on_ready,
    .on_fail = on_fail,
};

/* connect_config of the route: CONNECT is not passed on, its bytes are. */
static bool ends_here(const struct request *r)
{
    const struct upgrade_config *u = match_upgrade(r->route, STR("connect"));
    return str_eq(r->x->flows[SIDE_REQUEST].head->method, STR("CONNECT")) && u != NULL &&
           u->is_ended_here;
}

static void start_attempt(struct router *s)
{
    const struct retry_policy *p = retry_policy_of(s->r);
    bool must_avoid = p == NULL || p->avoid_previous_hosts;
    s->attempt = (struct upstream_attempt){
        .ops = &attempt_ops,
        .cluster = s->r->cluster,
        .x = s->x,
        .downstream_version = s->r->version,
        .is_tcp = ends_here(s->r),
        .original_dst = &s->x->info->original_dst,
        .identity = s->r->direct_identity,
        .avoid = s->tried,
        .avoid_count = must_avoid ? s->tried_count : 0,
    };
    s->phase = ROUTER_CONNECTING;
    s->is_attempt_live = true;
    s->r->attempts++;
    if (s->r->upstream_started_us == 0)
        s->r->upstream_started_us = turn_now_us(s->x->turn);
    s->attempt.has_hash = s->has_hash;
    s->attempt.hash = s->hash;
    upstream_attempt_start(s->r->upstream, &s->attempt);
}

/* --- timers --- */

static void on_backoff(struct timer *t)
{
    struct router *s = CONTAINER_OF(t, struct router, backoff);
    if (s->x->phase == EXCHANGE_OPEN)
        start_attempt(s);
}

static struct outcome timed_out(struct str details)
{
    return (struct outcome){
        .err = -ERR_TIMEOUT,
        .fault = FAULT_UPSTREAM,
        .status = 504,
        .flags = FLAG_BIT(UPSTREAM_TIMEOUT),
        .details = details,
    };
}

/* Times count from the end of the request, or from what began later: a long upload is not cut off.
 * True: not over yet, the timer is started anew. */
static bool goes_on(const struct router *s, struct timer *t, uint64_t began_us, uint64_t timeout_us)
{
    uint64_t now = turn_now_us(s->x->turn);
    uint64_t from = MAX(s->x->request_end_us, began_us);
    if (s->x->request_end_us != 0 && now >= from + timeout_us)
        return false;
    timer_start(s->x->turn, t, s->x->request_end_us == 0 ? timeout_us : from + timeout_us - now);
    return true;
}

static void on_timeout(struct timer *t)
{
    struct router *s = CONTAINER_OF(t, struct router, timeout);
    if (goes_on(s, t, 0, s->r->route->timeout_us))
        return;
    struct outcome why = timed_out(STR("response_timeout"));
    timer_stop(&s->backoff);
    finish_attempt(s, 0, &why);
    end_retry(s);
    exchange_fail(s->x, &why);
}

static void on_try_timeout(struct timer *t)
{
    struct router *s = CONTAINER_OF(t, struct router, try_timeout);
    const struct retry_policy *p = retry_policy_of(s->r);
    if (goes_on(s, t, s->try_began_us, p->per_try_timeout_us))
        return;
    struct outcome why = timed_out(STR("upstream_per_try_timeout"));
    enum retry_verdict verdict = retry_on_failure(p, s->x->flows[SIDE_REQUEST].head, &why);
    finish_attempt(s, 0, &why);
    if (exchange_can_rewind(s->x) && try_again(s, verdict)) {
        exchange_rewind(s->x, &why);
        return;
    }
    exchange_fail(s->x, &why);
}

/* common_http_protocol_options.max_stream_duration of the cluster. */
static void on_try_duration(struct timer *t)
{
    struct router *s = CONTAINER_OF(t, struct router, try_duration);
    struct outcome why = {
        .err = -ERR_TIMEOUT,
        .fault = FAULT_UPSTREAM,
        .status = s->x->request_end_us == 0 ? 408 : 504,
        .flags = FLAG_BIT(MAX_STREAM_DURATION),
        .details = STR("upstream_max_stream_duration_reached"),
    };
    enum retry_verdict verdict =
        retry_on_failure(retry_policy_of(s->r), s->x->flows[SIDE_REQUEST].head, &why);
    finish_attempt(s, 0, &why);
    if (exchange_can_rewind(s->x) && try_again(s, verdict)) {
        exchange_rewind(s->x, &why);
        return;
    }
    exchange_fail(s->x, &why);
}

/* --- the filter --- */

static void init(struct router *s, struct exchange *x)
{
    s->x = x;
    s->r = request_of(x);
    timer_init(&s->timeout, on_timeout);
    timer_init(&s->try_timeout, on_try_timeout);
    timer_init(&s->try_duration, on_try_duration);
    timer_init(&s->backoff, on_backoff);
}

static enum verdict on_request(struct router *s)
{
    struct request *r = s->r;
    struct http_head *head = s->x->flows[SIDE_REQUEST].head;
    if (r->route == NULL && r->cluster_name.len == 0)
        return reply_no_route(s->x);
    if (r->route != NULL && r->route->kind == ROUTE_DIRECT_RESPONSE)
        return reply_direct(s->x, r);
    if (r->route != NULL && r->route->kind == ROUTE_REDIRECT)
        return reply_redirect(s->x, r);
    r->cluster = upstream_find(r->upstream, r->cluster_name);
    if (r->cluster == NULL)
        return reply_no_cluster(s->x);
    s->has_hash = hash_request(r, &s->hash);
    edit_rewrite(r, head);
    edit_request(r, head);
    if (r->route != NULL && r->route->timeout_us > 0)
        timer_start(s->x->turn, &s->timeout, r->route->timeout_us);
    start_attempt(s);
    return VERDICT_NEXT;
}

static void decorate(struct router *s, struct http_head *head)
{
    uint64_t now = turn_now_us(s->x->turn);
    if (s->r->upstream_first_byte_us == 0)
        s->r->upstream_first_byte_us = now;
    http_head_set(head, HTTP_NAME_X_ENVOY_UPSTREAM_SERVICE_TIME,
                  arena_u64(head->arena, (now - s->r->upstream_started_us) / 1000));
    edit_response(s->r, head);
    hash_response(s->r, head);
}

/* The peer's proxy has no answer of its app: "1" is the same as if a connect of ours had failed,
 * "lost" tells of a request that the app had taken. Believed of a mesh proxy that proved who it is.
 */
static enum retry_verdict judge_unreached(const struct router *s, struct str told)
{
    static const struct outcome unreached = {
        .err = -ERR_CONNECT,
        .fault = FAULT_UPSTREAM,
        .is_retryable = true,
        .is_unanswered = true,
        .flags = FLAG_BIT(UPSTREAM_CONNECT),
    };
    enum retry_verdict again =
        retry_on_failure(retry_policy_of(s->r), s->x->flows[SIDE_REQUEST].head, &unreached);
    /* What may have ended the app burdens the next one: within the budget. */
    return again == RETRY_UNSEEN && !str_eq(told, STR("1")) ? RETRY_YES : again;
}

static bool is_believed(const struct router *s)
{
    const struct upstream_host *h = s->attempt.host;
    const struct endpoint *e = h != NULL ? upstream_host_info(h)->endpoint : NULL;
    return e != NULL && e->is_tulle && upstream_attempt_is_tls(&s->attempt);
}

static enum retry_verdict judge_response(const struct router *s, struct http_head *head)
{
    struct str told = http_head_get(head, HTTP_NAME_X_TULLE_UNREACHED);
    http_head_remove(head, HTTP_NAME_X_TULLE_UNREACHED);
    if (told.ptr != NULL && is_believed(s))
        return judge_unreached(s, told);
    return retry_on_response(retry_policy_of(s->r), head);
}

static enum verdict on_response(struct router *s)
{
    struct http_head *head = s->x->flows[SIDE_RESPONSE].head;
    timer_stop(&s->try_timeout);
    /* A tunnel has its idle time-out only. */
    if (s->x->is_switched)
        timer_stop(&s->timeout);
    if (s->phase == ROUTER_SENT && s->is_attempt_live) {
        enum retry_verdict verdict = judge_response(s, head);
        if (verdict != RETRY_NO && exchange_can_rewind(s->x)) {
            struct outcome why = {.err = -ERR_UNAVAILABLE, .fault = FAULT_UPSTREAM};
            finish_attempt(s, head->status, NULL);
            if (try_again(s, verdict)) {
                exchange_rewind(s->x, &why);
                return VERDICT_WAIT;
            }
        }
    }
    s->phase = ROUTER_PASSED;
    decorate(s, head);
    return VERDICT_NEXT;
}

static enum verdict on_head(struct exchange *x, void *state, enum side side)
{
    struct router *s = state;
    if (side == SIDE_RESPONSE)
        return on_response(s);
    init(s, x);
    return on_request(s);
}

static enum verdict on_upstream_fail(struct exchange *x, void *state, const struct outcome *why)
{
    struct router *s = state;
    enum retry_verdict verdict =
        retry_on_failure(retry_policy_of(s->r), x->flows[SIDE_REQUEST].head, why);
    note_failure(s, why);
    finish_attempt(s, 0, why);
    return try_again(s, verdict) ? VERDICT_WAIT : VERDICT_FAIL;
}

static void on_end(struct exchange *x, void *state)
{
    struct router *s = state;
    const struct http_head *head = x->flows[SIDE_RESPONSE].head;
    bool is_answered = s->phase == ROUTER_PASSED && !x->is_response_local && head != NULL;
    timer_stop(&s->timeout);
    timer_stop(&s->backoff);
    finish_attempt(s, is_answered && x->outcome.err == 0 ? head->status : 0, &x->outcome);
    end_retry(s);
    for (uint32_t i = 0; i < s->tried_count; i++)
        upstream_host_drop(s->tried[i]);
    s->tried_count = 0;
}

const struct filter_ops router_filter_ops = {
    .name = "router",
    .state_bytes = sizeof(struct router),
    .on_head = on_head,
    .on_upstream_fail = on_upstream_fail,
    .on_end = on_end,
};
