/* TCP: a downstream and an upstream connection, bytes moved both ways.
 *
 * Chunks move, nothing is copied. What one side has not sent is not read from the other; each
 * direction ends by itself (half-close), the pair when both have, or when either breaks. */
#include <stdlib.h>

#include "proxy/flow/flow_priv.h"

/* Of one direction, read and not sent; beyond the second nothing is read before all is sent. */
enum {
    HELD_BYTES_MAX = CHAIN_STREAM_BYTES - 512, /* TLS adds some */
    PAUSE_BYTES = HELD_BYTES_MAX / 4,
    PAUSE_PRESSED_BYTES = PAUSE_BYTES / 2,
};

struct flow_tcp {
    struct flow_conn *fc;
    struct flow_config *config; /* pinned: access logs at the end */
    const struct flow_chain *chain;
    struct str cluster_name;
    struct upstream_cluster *cluster;
    struct upstream_tcp *upstream; /* until finish */
    struct conn *up;               /* NULL: connecting, or gone */
    struct conn *down;             /* NULL: gone */
    struct upstream_host *host;    /* held */
    struct addr up_local;
    struct timer idle;
    struct metrics_hop hop;
    bool is_counted;         /* opened in the metrics */
    bool is_broken;          /* both are being closed */
    uint64_t received, sent; /* by the downstream: from it, to it */
    uint64_t flags;
    struct str details, failure, origin;
    struct grave grave;
};

static void free_grave(struct grave *g)
{
    struct flow_tcp *t = CONTAINER_OF(g, struct flow_tcp, grave);
    upstream_host_drop(t->host);
    flow_config_unref(t->config);
    free(t);
}

static void log_end(struct flow_tcp *t)
{
    struct record_tcp rec = {
        .flags = t->flags,
        .bytes_received = t->received,
        .bytes_sent = t->sent,
        .details = t->details,
        .upstream_failure = t->failure,
        .upstream_cluster = t->cluster_name,
        .origin = t->origin,
        .host = t->host,
        .upstream_local = &t->up_local,
    };
    struct metrics *m = t->fc->flow->env.metrics;
    if (t->is_counted) {
        metrics_count_tcp_bytes(m, &t->hop, t->flags, t->sent, t->received);
        metrics_count_tcp_close(m, &t->hop, t->flags);
    }
    record_tcp_log(t->fc, t->chain, &rec);
}

static void end_if_both_gone(struct flow_tcp *t)
{
    if (t->up != NULL || t->down != NULL)
        return;
    struct flow_conn *fc = t->fc;
    timer_stop(&t->idle);
    log_end(t);
    upstream_tcp_finish(t->upstream);
    fc->tcp = NULL;
    turn_bury(fc->flow->env.turn, &t->grave, free_grave);
    conn_gone(fc);
}

static void break_both(struct flow_tcp *t, int err)
{
    t->is_broken = true;
    if (t->up != NULL)
        conn_abort(t->up, err);
    if (t->down != NULL)
        conn_abort(t->down, err);
}

/* --- moving --- */

static void touch(struct flow_tcp *t)
{
    uint64_t timeout = t->chain->tcp->idle_timeout_us;
    if (timeout > 0)
        timer_start(t->fc->flow->env.turn, &t->idle, timeout);
}

static void on_idle(struct timer *timer)
{
    struct flow_tcp *t = CONTAINER_OF(timer, struct flow_tcp, idle);
    t->details = STR("idle_timeout");
    break_both(t, -ERR_TIMEOUT);
}

/* Behind TLS more may come than was asked for. */
static size_t read_max(const struct conn *from, size_t held)
{
    size_t over = from->layer_ops != NULL ? CONN_OVER_BYTES : 0;
    return HELD_BYTES_MAX - over - MIN(held, (size_t)PAUSE_BYTES);
}

static void move(struct flow_tcp *t, struct conn *from, struct conn *to, uint64_t *count)
{
    if (t->is_broken || to == NULL)
        return;
    size_t len = from->in.len;
    if (len > 0) {
        chain_move(&to->out, &from->in, len);
        *count += len;
        conn_mark_dirty(to);
        touch(t);
    }
    if (conn_is_in_ended(from)) {
        conn_end(to);
        return;
    }
    size_t held = conn_out_len(to);
    from->read_max = read_max(from, held);
    if (held > (turn_is_pressed(to->turn) ? (size_t)PAUSE_PRESSED_BYTES : (size_t)PAUSE_BYTES)) {
        conn_pause(from);
        conn_ask_drain(to);
    }
}

static void down_input(struct conn *c)
{
    struct flow_tcp *t = c->ctx;
    move(t, t->down, t->up, &t->received);
}

static void up_input(struct conn *c)
{
    struct flow_tcp *t = c->ctx;
    move(t, t->up, t->down, &t->sent);
}

static void go_on(struct conn *from)
{
    if (from == NULL)
        return;
    from->read_max = read_max(from, 0);
    conn_resume(from);
}

static void down_drain(struct conn *c)
{
    struct flow_tcp *t = c->ctx;
    go_on(t->up);
}

static void up_drain(struct conn *c)
{
    struct flow_tcp *t = c->ctx;
    go_on(t->down);
}

/* A clean end of one side lets the other finish; a break ends both at once, but for what a side had
 * said up to its end: that is still owed to the other. */
static void side_closed(struct flow_tcp *t, const struct conn *c, struct conn *other)
{
    bool had_ended = conn_is_in_ended(c) && c->err != -ERR_TRUNCATED;
    if (c->err != 0 && !had_ended && other != NULL && !t->is_broken) {
        t->is_broken = true;
        conn_abort(other, c->err);
    } else if (other != NULL && !t->is_broken && !conn_is_in_ended(other)) {
        conn_close(other);
    } else if (other != NULL && !t->is_broken) {
        /* It has ended, too, and closes by itself once all is sent, however slow its reader; which
         * it was not told yet if c was not listened to when its end came. */
        conn_end(other);
    }
    end_if_both_gone(t);
}

static void down_close(struct conn *c, int err)
{
    struct flow_tcp *t = c->ctx;
    t->down = NULL;
    if (t->up == NULL && t->host == NULL)
        t->flags |= FLAG_BIT(DOWNSTREAM_CLOSED); /* left before there was an upstream */
    side_closed(t, c, t->up);
}

static void up_close(struct conn *c, int err)
{
    struct flow_tcp *t = c->ctx;
    if (err != 0 && t->failure.len == 0) {
        struct str text = conn_error_text(c);
        t->failure = arena_str(&t->fc->arena, text.len > 0 ? text : str_from_c(err_text(err)));
    }
    t->up = NULL;
    side_closed(t, c, t->down);
}

static const struct conn_handler down_handler = {
    .on_input = down_input,
    .on_drain = down_drain,
    .on_close = down_close,
};
static const struct conn_handler up_handler = {
    .on_input = up_input,
    .on_drain = up_drain,
    .on_close = up_close,
};

/* --- connecting --- */

static void on_ready(void *ctx, struct conn *c, struct upstream_host *host)
{
    struct flow_tcp *t = ctx;
    t->up = c;
    t->host = upstream_host_hold(host);
    t->up_local = c->local;
    c->read_max = read_max(c, 0);
    conn_set_handler(c, &up_handler, t);
    struct record_tcp rec = {.host = host, .cluster = t->cluster};
    t->hop = record_tcp_hop(t->fc, &rec);
    t->is_counted = true;
    metrics_count_tcp_open(t->fc->flow->env.metrics, &t->hop, 0);
    touch(t);
    if (t->down == NULL) {
        conn_abort(c, -ERR_CLOSED);
        return;
    }
    conn_resume(t->down);
    conn_wake(t->down);
    conn_wake(c);
}

static void on_fail(void *ctx, const struct outcome *why)
{
    struct flow_tcp *t = ctx;
    t->flags |= why->flags;
    t->details = why->details;
    t->failure = arena_str(&t->fc->arena, why->reason);
    t->is_broken = true;
    if (t->down != NULL)
        conn_abort(t->down, why->err);
    else
        end_if_both_gone(t);
}

static const struct upstream_tcp_ops tcp_ops = {.on_ready = on_ready, .on_fail = on_fail};

struct upstream_cluster *tcp_choose_cluster(struct flows *f, const struct flow_chain *chain,
                                            struct str *ret_name)
{
    const struct tcp_proxy *tcp = chain->tcp;
    const struct weighted_cluster *w =
        match_weighted(tcp->clusters, tcp->cluster_count, chain->tcp_weight_total,
                       (uint32_t)random_u64(turn_random(f->env.turn)));
    *ret_name = w != NULL ? w->name : STR_NULL;
    return w != NULL ? upstream_find(f->env.upstream, w->name) : NULL;
}

void tcp_serve(struct flow_conn *fc, struct str cluster_name, struct upstream_cluster *cluster)
{
    struct flow_tcp *t = NEW(struct flow_tcp);
    t->fc = fc;
    t->cluster_name = cluster_name;
    t->cluster = cluster;
    t->down = fc->conn;
    t->config = flow_config_ref(fc->config);
    t->chain = fc->chain;
    timer_init(&t->idle, on_idle);
    fc->tcp = t;
    fc->conn->read_max = read_max(fc->conn, 0);
    conn_set_handler(fc->conn, &down_handler, t);
    if (cluster == NULL) {
        t->flags |= FLAG_BIT(NO_CLUSTER);
        t->details = STR("cluster_not_found");
        t->is_broken = true;
        conn_abort(fc->conn, -ERR_UNAVAILABLE);
        return;
    }
    t->upstream = upstream_tcp_start(fc->flow->env.upstream, t->cluster, &fc->info,
                                     outbound_identity(fc), &tcp_ops, t);
}

void tcp_abort(struct flow_tcp *t, struct str details, struct str origin)
{
    t->origin = arena_str(&t->fc->arena, origin);
    t->details = details;
    break_both(t, -ERR_DENIED);
}
