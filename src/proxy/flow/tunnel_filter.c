/* The one filter of a tunnel: who may, where to, attempts, and what is told of it at the end.
 *
 * As for any TCP connection up to three hosts are tried. Nothing of the caller's has gone out
 * before a peer says that the tunnel is open, so another try is always safe until then. */
#include "proxy/flow/tunnel.h"

static void start_attempt(struct tunnel *t);

/* --- attempts --- */

static bool is_static(const struct tunnel *t)
{
    return t->chain->tcp->tunneling != NULL && !t->is_sent_by_peer;
}

static void note_host(struct tunnel *t)
{
    if (t->attempt.host == NULL || t->attempt.host == t->host)
        return;
    upstream_host_drop(t->host);
    t->host = upstream_host_hold(t->attempt.host);
}

static void finish_attempt(struct tunnel *t, unsigned status, const struct outcome *why)
{
    if (!t->is_attempt_live)
        return;
    t->is_attempt_live = false;
    note_host(t);
    if (t->attempt.host != NULL && t->tried_count < TUNNEL_TRIES_MAX)
        t->tried[t->tried_count++] = upstream_host_hold(t->attempt.host);
    upstream_attempt_finish(t->fc->flow->env.upstream, &t->attempt, status, why);
}

/* Of a mesh peer: the address that it was found by, which must be its own. */
static void on_ready(struct upstream_attempt *a)
{
    struct tunnel *t = CONTAINER_OF(a, struct tunnel, attempt);
    note_host(t);
    t->up_local = http_client_conn(a->client)->local;
    if (t->is_sent_by_peer || is_static(t))
        return;
    char text[ADDR_TEXT_LEN];
    t->x->flows[SIDE_REQUEST].head->authority =
        arena_str(&t->x->arena, addr_format(&upstream_host_info(a->host)->address, text));
}

/* A shared connection that was on its way out says nothing about its host; a host that cannot be
 * reached is left for another. */
static bool may_try_again(const struct tunnel *t, const struct outcome *why)
{
    uint64_t final =
        FLAG_BIT(NO_HEALTHY_UPSTREAM) | FLAG_BIT(NO_CLUSTER) | FLAG_BIT(UPSTREAM_OVERFLOW);
    if (t->tries >= TUNNEL_TRIES_MAX || (why->flags & final) != 0 || !exchange_can_rewind(t->x))
        return false;
    bool was_unlucky =
        why->was_reused || (why->is_retryable && (why->flags & FLAG_BIT(UPSTREAM_CONNECT)) == 0);
    return was_unlucky || (upstream_cluster_config(t->cluster)->kind != CLUSTER_ORIGINAL_DST &&
                           upstream_host_count(t->cluster) > t->tried_count);
}

static void run_again(struct turn_task *task)
{
    struct tunnel *t = CONTAINER_OF(task, struct tunnel, again);
    if (t->x->phase == EXCHANGE_OPEN)
        start_attempt(t);
}

static void note_failure(struct tunnel *t, const struct outcome *why)
{
    if (why->reason.len > 0)
        t->failure = arena_str(&t->x->arena, why->reason);
}

/* True: another attempt is arranged. */
static bool try_again(struct tunnel *t, const struct outcome *why)
{
    note_failure(t, why);
    finish_attempt(t, 0, why);
    if (!may_try_again(t, why))
        return false;
    turn_soon(t->x->turn, &t->again);
    return true;
}

/* No stream could be had. */
static void on_fail(struct upstream_attempt *a, const struct outcome *given)
{
    struct tunnel *t = CONTAINER_OF(a, struct tunnel, attempt);
    struct outcome why = *given;
    if (t->x->phase != EXCHANGE_OPEN) {
        finish_attempt(t, 0, &why);
        return;
    }
    if (!try_again(t, &why))
        exchange_fail(t->x, &why);
}

static const struct upstream_attempt_ops attempt_ops = {.on_ready = on_ready, .on_fail = on_fail};

static void start_attempt(struct tunnel *t)
{
    struct flow_conn *fc = t->fc;
    t->attempt = (struct upstream_attempt){
        .ops = &attempt_ops,
        .cluster = t->cluster,
        .x = t->x,
        .downstream_version = HTTP_2,
        .original_dst = &fc->info.original_dst,
        .is_tcp = !is_static(t),
        .may_share = !t->is_sent_by_peer,
        .is_connection = true,
        .identity = outbound_identity(fc),
        .avoid = t->tried,
        .avoid_count = t->tried_count,
    };
    t->tries++;
    t->is_attempt_live = true;
    upstream_attempt_start(fc->flow->env.upstream, &t->attempt);
}

/* --- requests --- */

static enum verdict refuse(struct tunnel *t, unsigned status, uint64_t flags, struct str details)
{
    t->flags |= flags;
    t->details = details;
    exchange_reply(t->x, status, details, STR_NULL);
    return VERDICT_REPLY;
}

/* The connection has told who it is from and what port it is for; a stream may ask for nothing
 * else. */
static bool is_for_us(const struct tunnel *t)
{
    const struct downstream_info *info = &t->fc->info;
    const struct addr *to =
        info->original_dst.family != ADDR_NONE ? &info->original_dst : &info->local;
    char text[ADDR_TEXT_LEN];
    return str_eq(t->x->flows[SIDE_REQUEST].head->authority, addr_format(to, text));
}

/* VERDICT_NEXT: it may come in. */
static enum verdict judge(struct tunnel *t)
{
    struct flow_conn *fc = t->fc;
    struct metrics *m = fc->flow->env.metrics;
    const struct http_head *head = t->x->flows[SIDE_REQUEST].head;
    if (t->chain == NULL)
        return refuse(t, 503, FLAG_BIT(NO_ROUTE), STR("listener_removed"));
    if (!t->x->is_tunnel || head->protocol.len > 0)
        return refuse(t, 405, FLAG_BIT(DOWNSTREAM_PROTOCOL), STR("not_connect"));
    if (!is_for_us(t))
        return refuse(t, 421, FLAG_BIT(NO_ROUTE), STR("not_the_address_of_the_connection"));
    struct str origin;
    if (!conn_is_allowed(fc, t->chain, &origin)) {
        metrics_add(m, COUNTER_RBAC_DENIED, 1);
        t->origin = arena_str(&t->x->arena, origin);
        return refuse(t, 403, 0, STR("rbac_access_denied_matched_policy"));
    }
    if (t->chain->rbac_count > 0)
        metrics_add(m, COUNTER_RBAC_ALLOWED, 1);
    if (fc->flow->overload.rung >= OVERLOAD_SHED) {
        metrics_add(m, COUNTER_OVERLOAD_SHED, 1);
        return refuse(t, 503, FLAG_BIT(OVERLOAD), STR("overload"));
    }
    return VERDICT_NEXT;
}

static enum verdict on_request(struct tunnel *t)
{
    struct flows *f = t->fc->flow;
    if (t->is_sent_by_peer) {
        enum verdict verdict = judge(t);
        if (verdict != VERDICT_NEXT)
            return verdict;
        t->cluster = tcp_choose_cluster(f, t->chain, &t->cluster_name);
    } else {
        t->cluster = upstream_find(f->env.upstream, t->cluster_name);
    }
    if (t->cluster == NULL)
        return refuse(t, 503, FLAG_BIT(NO_CLUSTER), STR("cluster_not_found"));
    start_attempt(t);
    return VERDICT_NEXT;
}

/* --- responses --- */

static void note_open(struct tunnel *t)
{
    const struct record_tcp rec = {.host = t->host, .cluster = t->cluster};
    upstream_attempt_opened(&t->attempt);
    t->hop = record_tcp_hop(t->fc, &rec);
    t->is_counted = true;
    metrics_count_tcp_open(t->fc->flow->env.metrics, &t->hop, 0);
}

/* The peer's policy, or its app, did not want it. */
static struct outcome why_refused(struct tunnel *t, unsigned status)
{
    bool is_denied = status == 403;
    return (struct outcome){
        .err = is_denied ? -ERR_DENIED : -ERR_CONNECT,
        .fault = is_denied ? FAULT_POLICY : FAULT_UPSTREAM,
        .status = is_denied ? 403 : 503,
        .flags = is_denied ? 0 : FLAG_BIT(UPSTREAM_CONNECT),
        .details = STR("upstream_refused_tunnel"),
        .reason = arena_printf(&t->x->arena, "the peer answered CONNECT with %u", status),
    };
}

static enum verdict on_response(struct tunnel *t)
{
    unsigned status = t->x->flows[SIDE_RESPONSE].head->status;
    if (t->x->is_switched) {
        note_open(t);
        return VERDICT_NEXT;
    }
    struct outcome why = why_refused(t, status);
    bool is_misdirected = status == 421 && !is_static(t);
    if (is_misdirected)
        upstream_attempt_misdirected(&t->attempt);
    why.is_retryable = is_misdirected;
    if (is_misdirected)
        why.flags = 0;
    if (status != 403 && try_again(t, &why)) {
        exchange_rewind(t->x, &why);
        return VERDICT_WAIT;
    }
    note_failure(t, &why);
    finish_attempt(t, status == 403 ? 0 : 503, NULL);
    t->x->outcome = why;
    return VERDICT_FAIL;
}

static enum verdict on_head(struct exchange *x, void *state, enum side side)
{
    struct tunnel *t = x->ctx;
    (void)state;
    return side == SIDE_REQUEST ? on_request(t) : on_response(t);
}

static enum verdict on_upstream_fail(struct exchange *x, void *state, const struct outcome *why)
{
    (void)state;
    return try_again(x->ctx, why) ? VERDICT_WAIT : VERDICT_FAIL;
}

/* --- the end --- */

/* What a log says of how it ended, besides what was noted while it happened. Once it was open, a
 * side that breaks off is the apps' affair, as with any TCP connection. */
static void note_end(struct tunnel *t)
{
    const struct outcome *o = &t->x->outcome;
    bool is_idle = (o->flags & FLAG_BIT(STREAM_IDLE)) != 0;
    if (!t->is_counted && !t->is_sent_by_peer && o->fault == FAULT_DOWNSTREAM)
        t->flags |= FLAG_BIT(DOWNSTREAM_CLOSED);
    else if (!t->is_counted)
        t->flags |= o->flags;
    if (t->details.len == 0 && is_idle)
        t->details = STR("idle_timeout");
    else if (t->details.len == 0 && !t->is_counted)
        t->details = o->details;
    if (o->fault == FAULT_UPSTREAM && t->failure.len == 0)
        t->failure = o->reason;
}

static void on_end(struct exchange *x, void *state)
{
    struct tunnel *t = x->ctx;
    struct metrics *m = t->fc->flow->env.metrics;
    uint64_t received = x->flows[SIDE_REQUEST].bytes, sent = x->flows[SIDE_RESPONSE].bytes;
    (void)state;
    turn_cancel(&t->again);
    note_host(t);
    note_end(t);
    if (t->is_counted) {
        metrics_count_tcp_bytes(m, &t->hop, t->flags, sent, received);
        metrics_count_tcp_close(m, &t->hop, t->flags);
    }
    const struct record_tcp rec = {
        .flags = t->flags,
        .bytes_received = received,
        .bytes_sent = t->is_counted ? sent : 0, /* an answer of ours is none of the app's */
        .opened_wall_us = t->opened_wall_us,
        .details = t->details,
        .upstream_failure = t->failure,
        .upstream_cluster = t->cluster_name,
        .origin = t->origin,
        .host = t->host,
        .upstream_local = &t->up_local,
    };
    record_tcp_log(t->fc, t->chain, &rec);
    finish_attempt(t, 0, t->is_counted ? NULL : &x->outcome);
}

static const struct filter_ops tunnel_filter_ops = {
    .name = "tunnel",
    .on_head = on_head,
    .on_upstream_fail = on_upstream_fail,
    .on_end = on_end,
};
static const struct filter tunnel_filters[] = {{.ops = &tunnel_filter_ops}};

/* --- life --- */

static void release(struct exchange *x)
{
    struct tunnel *t = x->ctx;
    upstream_host_drop(t->host);
    for (uint32_t i = 0; i < t->tried_count; i++)
        upstream_host_drop(t->tried[i]);
    flow_config_unref(t->config);
    conn_unref(t->fc);
}

struct tunnel *tunnel_install(struct flow_conn *fc, struct exchange *x, struct flow_config *config,
                              const struct flow_chain *chain)
{
    struct tunnel *t = ARENA_NEW(&x->arena, struct tunnel);
    t->x = x;
    t->fc = fc;
    fc->ref_count++;
    t->config = config;
    t->chain = chain;
    turn_task_init(&t->again, run_again);
    x->ctx = t;
    x->filters = tunnel_filters;
    x->filter_count = ARRAY_LEN(tunnel_filters);
    x->release = release;
    list_push_back(&fc->exchanges, &x->link);
    return t;
}
