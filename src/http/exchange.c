/* Phases of an exchange:
 *
 *   NEW --request head--> OPEN --exchange_reply--> REPLYING
 *    |                     |                          |
 *    +--downstream gone----+--response sent, failed---+--> ENDED --end of the turn--> recycled
 *
 * OPEN: both flows move between the ends, through the filters; upstream ends come and go (retries).
 * REPLYING: the response is ours, the upstream is let go, what comes of the request is dropped.
 * Within OPEN and REPLYING the flags of the two flows say how far it is; exchange_pump.c reads
 * them. */
#include "http/exchange.h"

#include <stdlib.h>

#include "http/exchange_priv.h"
#include "http/loop.h"

enum {
    ARENA_BLOCK_BYTES = 4096,
    ARENA_KEEP_BYTES_MAX = 16 * 1024, /* a recycled exchange holds no more */
    WINDOW_PRESSED_BYTES = 16 * 1024, /* of those that begin while memory is short */
    /* HTTP/2 streams raise it to what they have told their peer. */
    WINDOW_BYTES_MAX = CHAIN_STREAM_BYTES,
};

void exchange_drop(struct list *link)
{
    struct exchange *x = CONTAINER_OF(link, struct exchange, link);

    arena_deinit(&x->arena);
    free(x);
}

/* Zeroed but for its arena, which is empty. */
static struct exchange *acquire(struct http_loop *loop)
{
    struct list *spare = spares_take(&loop->exchanges);
    struct exchange *x;

    if (spare == NULL) {
        x = NEW(struct exchange);
        arena_init(&x->arena, ARENA_BLOCK_BYTES);
        return x;
    }
    x = CONTAINER_OF(spare, struct exchange, link);
    struct arena arena = x->arena;
    *x = (struct exchange){.arena = arena};
    return x;
}

static void release(struct exchange *x)
{
    struct http_loop *loop = x->loop;

    if (arena_size(&x->arena) > ARENA_KEEP_BYTES_MAX) {
        exchange_drop(&x->link);
        return;
    }
    arena_reset(&x->arena);
    x->arena.block_len = ARENA_BLOCK_BYTES;
    spares_give(loop, &loop->exchanges, &x->link);
}

/* The arena counts like the chains do: to the connection, and to the loop. */
static void charge_arena(struct exchange *x, size_t bytes)
{
    int64_t more = (int64_t)bytes - x->charged_bytes;

    x->charged_bytes = (uint32_t)bytes;
    turn_charge(x->turn, more);
    for (struct chain_account *a = &x->account; a != NULL; a = a->parent)
        a->bytes += more;
}

static void dig(struct grave *g)
{
    struct exchange *x = CONTAINER_OF(g, struct exchange, grave);

    for (int side = SIDE_REQUEST; side <= SIDE_RESPONSE; side++) {
        chain_deinit(&x->flows[side].body);
        chain_deinit(&x->flows[side].kept);
    }
    charge_arena(x, 0);
    if (x->unpin != NULL)
        x->unpin(x);
    release(x);
}

void exchange_set_phase(struct exchange *x, enum exchange_phase to)
{
    static const uint8_t legal[] = {
        [EXCHANGE_NEW] = 1 << EXCHANGE_OPEN | 1 << EXCHANGE_ENDED,
        [EXCHANGE_OPEN] = 1 << EXCHANGE_REPLYING | 1 << EXCHANGE_ENDED,
        [EXCHANGE_REPLYING] = 1 << EXCHANGE_REPLYING | 1 << EXCHANGE_ENDED,
        [EXCHANGE_ENDED] = 0,
    };

    ASSERT(legal[x->phase] & 1 << to);
    x->phase = to;
}

static void run_task(struct turn_task *task)
{
    exchange_run(CONTAINER_OF(task, struct exchange, task));
}

static void on_idle(struct timer *timer)
{
    struct exchange *x = CONTAINER_OF(timer, struct exchange, idle_timer);
    uint64_t idle_us = turn_now_us(x->turn) - x->moved_us;

    /* Restarted here rather than at every move, which is the common event. */
    if (idle_us < x->idle_timeout_us) {
        timer_start(x->turn, timer, x->idle_timeout_us - idle_us);
        return;
    }
    /* Whom was there to wait for: the caller, as long as it owes the rest of its request. */
    bool is_caller = x->request_end_us == 0;
    exchange_fail(x, &(struct outcome){.err = -ERR_TIMEOUT,
                                       .fault = is_caller ? FAULT_DOWNSTREAM : FAULT_LOCAL,
                                       .status = is_caller ? 408 : 504,
                                       .flags = FLAG_BIT(STREAM_IDLE),
                                       .details = STR("stream_idle_timeout")});
}

static void flow_init(struct exchange *x, struct flow *f, const struct limits *limits)
{
    chain_init(&f->body, turn_chunks(x->turn), &x->account);
    chain_init(&f->kept, turn_chunks(x->turn), &x->account);
    f->window_bytes = (uint32_t)MIN(limits->flow_window_bytes, (uint64_t)WINDOW_BYTES_MAX);
    if (turn_is_pressed(x->turn))
        f->window_bytes = MIN(f->window_bytes, (uint32_t)WINDOW_PRESSED_BYTES);
    f->credit_bytes = f->window_bytes;
    f->withheld_bytes = 0;
}

struct exchange *exchange_new(struct turn *t, struct http_end *downstream,
                              const struct downstream_info *info, struct chain_account *account,
                              const struct limits *limits)
{
    struct http_loop *loop = http_loop_of(t);
    struct exchange *x = acquire(loop);

    x->loop = loop;
    x->turn = t;
    x->info = info;
    x->account.parent = account;
    x->ordinal = loop->ordinal++;
    x->kept_bytes_max = (uint32_t)limits->kept_body_bytes_max;
    x->started_us = x->moved_us = turn_now_us(t);
    x->downstream = downstream;
    downstream->x = x;
    list_init(&x->link);
    list_init(&x->grave.link);
    turn_task_init(&x->task, run_task);
    timer_init(&x->idle_timer, on_idle);
    flow_init(x, &x->flows[SIDE_REQUEST], limits);
    flow_init(x, &x->flows[SIDE_RESPONSE], limits);
    return x;
}

void exchange_prepare(struct exchange *x)
{
    ASSERT(x->filter_count <= EXCHANGE_FILTERS_MAX);
    x->states = ARENA_ARRAY(&x->arena, void *, x->filter_count + 1);
    for (uint32_t i = 0; i < x->filter_count; i++) {
        const struct filter_ops *ops = x->filters[i].ops;

        x->states[i] = arena_zalloc(&x->arena, ops->state_bytes);
        x->has_body_filter |= ops->on_body != NULL;
    }
    if (x->idle_timeout_us > 0)
        timer_start(x->turn, &x->idle_timer, x->idle_timeout_us);
}

void exchange_end(struct exchange *x)
{
    exchange_set_phase(x, EXCHANGE_ENDED);
    ASSERT(x->downstream == NULL && x->upstream == NULL);
    x->ended_us = turn_now_us(x->turn);
    timer_stop(&x->idle_timer);
    turn_cancel(&x->task);
    for (uint32_t i = 0; i < x->called_count; i++) {
        if (x->filters[i].ops->on_end != NULL)
            x->filters[i].ops->on_end(x, x->states[i]);
    }
    if (x->release != NULL)
        x->release(x);
    list_remove(&x->link);
    turn_bury(x->turn, &x->grave, dig);
}

/* --- what ends tell ------------------------------------------------------------------------- */

void exchange_note_moved(struct exchange *x)
{
    x->moved_us = turn_now_us(x->turn);
}

static void moved(struct exchange *x)
{
    x->moved_us = turn_now_us(x->turn);
    exchange_wake(x);
}

static void mark_ended(struct exchange *x, enum side side)
{
    x->flows[side].is_ended = true;
    if (side == SIDE_REQUEST && x->request_end_us == 0)
        x->request_end_us = turn_now_us(x->turn);
}

/* Nothing of a tunnel is taken before it is open, so nothing has to be kept; the caller owes
 * nothing until it is answered. */
static void begin_tunnel(struct exchange *x)
{
    ASSERT(x->flows[SIDE_REQUEST].head->has_body);
    x->is_tunnel = true;
    x->flows[SIDE_REQUEST].is_committed = true;
    x->request_end_us = turn_now_us(x->turn);
}

static void on_request_head(struct exchange *x, const struct http_head *head)
{
    exchange_set_phase(x, EXCHANGE_OPEN);
    if (http_head_asks_tunnel(head))
        begin_tunnel(x);
}

static void on_response_head(struct exchange *x, const struct http_head *head)
{
    x->response_head_us = turn_now_us(x->turn);
    x->is_switched = http_head_opens_tunnel(x->flows[SIDE_REQUEST].head, head);
    ASSERT(!x->is_switched || head->has_body);
}

void exchange_recv_head(struct exchange *x, enum side side, struct http_head *head)
{
    struct flow *f = &x->flows[side];

    ASSERT(f->head == NULL && head->is_request == (side == SIDE_REQUEST));
    f->head = head;
    charge_arena(x, arena_size(&x->arena));
    if (side == SIDE_REQUEST)
        on_request_head(x, head);
    else
        on_response_head(x, head);
    if (!head->has_body)
        mark_ended(x, side);
    moved(x);
}

void exchange_recv_informational(struct exchange *x, const struct http_head *head)
{
    ASSERT(head->status > 101 && head->status < 200);
    if (x->phase != EXCHANGE_OPEN || x->inform_count == EXCHANGE_INFORMS_MAX)
        return;
    x->informs[x->inform_count++] = head;
    moved(x);
}

void exchange_recv_body(struct exchange *x, enum side side, struct chain *from, size_t len)
{
    struct flow *f = &x->flows[side];

    ASSERT(f->head != NULL && !f->is_ended && len <= f->credit_bytes);
    f->credit_bytes -= (uint32_t)len;
    chain_move(&f->body, from, len);
    moved(x);
}

void exchange_recv_trailers(struct exchange *x, enum side side, struct http_head *trailers)
{
    if (side == SIDE_REQUEST && x->on_trailers != NULL)
        x->on_trailers(x, trailers);
    x->flows[side].trailers = trailers;
}

void exchange_recv_end(struct exchange *x, enum side side)
{
    ASSERT(x->flows[side].head != NULL);
    mark_ended(x, side);
    moved(x);
}

/* A reason is often a text of a connection that goes away. */
static void keep_failure(struct exchange *x, const struct outcome *why)
{
    x->failure = *why;
    if (!str_is_empty(why->reason))
        x->failure.reason = arena_str(&x->arena, why->reason);
}

/* Both ends of a tunnel have ended towards the caller: that its connection goes now is orderly,
 * what it sent before is still delivered. */
static bool is_caller_done(const struct exchange *x, const struct outcome *why)
{
    return x->is_switched && why->err == -ERR_CLOSED && x->flows[SIDE_REQUEST].is_ended &&
           x->flows[SIDE_RESPONSE].is_end_sent;
}

static void fail_downstream(struct exchange *x, const struct outcome *why)
{
    if (is_caller_done(x, why)) {
        exchange_wake(x);
        return;
    }
    keep_failure(x, why);
    x->is_downstream_failed = true;
    exchange_wake(x);
}

/* Behind a complete response a failure tells only that the rest of the request is not wanted. */
static void fail_upstream(struct exchange *x, const struct outcome *why)
{
    if (!x->flows[SIDE_RESPONSE].is_ended && !x->is_downstream_failed && !x->is_fail_due) {
        keep_failure(x, why);
        x->is_upstream_failed = true;
    }
    exchange_wake(x);
}

void exchange_recv_fail(struct exchange *x, enum side side, const struct outcome *why)
{
    struct http_end **slot = side == SIDE_REQUEST ? &x->downstream : &x->upstream;

    ASSERT(*slot != NULL && x->phase != EXCHANGE_ENDED);
    (*slot)->x = NULL;
    *slot = NULL;
    if (side == SIDE_REQUEST)
        fail_downstream(x, why);
    else
        fail_upstream(x, why);
}

void exchange_wake(struct exchange *x)
{
    if (x->phase != EXCHANGE_ENDED)
        turn_soon(x->turn, &x->task);
}

/* --- what filters and timers ask ------------------------------------------------------------ */

void exchange_fail(struct exchange *x, const struct outcome *why)
{
    if (x->phase == EXCHANGE_ENDED || x->is_downstream_failed || x->is_fail_due)
        return;
    keep_failure(x, why);
    x->is_fail_due = true;
    x->is_upstream_failed = false;
    exchange_wake(x);
}

void exchange_set_idle_timeout(struct exchange *x, uint64_t timeout_us)
{
    x->idle_timeout_us = timeout_us;
    timer_stop(&x->idle_timer);
    if (timeout_us > 0 && x->phase != EXCHANGE_ENDED)
        timer_start(x->turn, &x->idle_timer, timeout_us);
}

void exchange_let_go(struct exchange *x, struct http_end **slot, const struct outcome *why)
{
    struct http_end *end = *slot;

    if (end == NULL)
        return;
    if (why != NULL)
        end->ops->reset(end, why);
    /* A reset may have found the end failed. */
    if (*slot == NULL)
        return;
    *slot = NULL;
    end->x = NULL;
    end->ops->detach(end);
}

void exchange_restart_response(struct exchange *x)
{
    struct flow *f = &x->flows[SIDE_RESPONSE];

    chain_clear(&f->body);
    f->head = f->trailers = NULL;
    f->is_ended = f->is_end_seen = f->is_pass_ended = false;
    f->at = f->body_at = 0;
    f->seen_bytes = f->pass_bytes = 0;
    f->credit_bytes = f->window_bytes;
    f->owed_bytes = f->withheld_bytes = 0;
    f->is_sent_asked = false;
    x->response_head_us = 0;
    x->is_switched = x->is_upstream_failed = false;
    x->inform_count = 0;
}

bool exchange_can_rewind(const struct exchange *x)
{
    const struct flow *request = &x->flows[SIDE_REQUEST];

    return x->phase == EXCHANGE_OPEN && !x->flows[SIDE_RESPONSE].is_head_sent &&
           (!request->is_committed || request->bytes == 0);
}

/* What was taken comes back from kept, before what was not. What was credited to the producer is
 * not credited again. */
static void unread_body(struct exchange *x, struct flow *f)
{
    struct chain rest;

    chain_init(&rest, turn_chunks(x->turn), &x->account);
    chain_move(&rest, &f->body, f->body.len);
    chain_share(&f->body, &f->kept, 0, (size_t)f->bytes);
    chain_move(&f->body, &rest, rest.len);
    chain_deinit(&rest);
    f->replay_bytes += (uint32_t)f->bytes - f->owed_bytes;
    f->owed_bytes = 0;
    f->seen_bytes += (size_t)f->bytes;
    f->pass_bytes += (size_t)f->bytes;
    f->bytes = 0;
}

void exchange_rewind_request(struct exchange *x)
{
    struct flow *f = &x->flows[SIDE_REQUEST];

    if (!f->is_head_sent || !exchange_can_rewind(x))
        return;
    if (f->bytes > 0)
        unread_body(x, f);
    f->is_head_sent = f->is_end_sent = f->is_sent_asked = false;
}

int exchange_rewind(struct exchange *x, const struct outcome *why)
{
    if (!exchange_can_rewind(x))
        return -ERR_INVALID;
    exchange_let_go(x, &x->upstream, why);
    exchange_restart_response(x);
    exchange_rewind_request(x);
    return 0;
}

void exchange_set_upstream(struct exchange *x, struct http_end *upstream)
{
    static const struct outcome too_late = {.err = -ERR_CANCELED, .fault = FAULT_LOCAL};

    ASSERT(x->upstream == NULL && x->phase != EXCHANGE_ENDED);
    x->upstream = upstream;
    upstream->x = x;
    /* A pool may find a connection for an exchange that was answered while it waited in line. */
    if (x->phase != EXCHANGE_OPEN) {
        exchange_let_go(x, &x->upstream, &too_late);
        return;
    }
    if (x->flows[SIDE_REQUEST].is_head_sent) {
        ASSERT(exchange_can_rewind(x));
        exchange_rewind_request(x);
    }
    if (!x->is_request_moving)
        exchange_wake(x);
}
