#include "proxy/flow/overload.h"

#include <malloc.h>
#include <stdio.h>

#include "base/log.h"
#include "proxy/flow/flow_priv.h"

enum {
    LOOK_US = 20 * 1000,
    PUBLISH_BYTES = 64 * 1024, /* or a 64th of the budget when that is less */
    LEAVE_PERCENT = 5,
    RESETS_MAX = 8, /* of one look */
    SHED_TURNS = 4,
    TRIM_US = 3 * 1000 * 1000,
    TRIM_TURNS_MAX = 300, /* in TRIM_US: 100 a second is idle */
    TRIM_BYTES_MIN = 1 << 20,
    TRIM_CONNS_MIN = 32,
};

const char *overload_rung_name(enum overload_rung rung)
{
    static const char *const names[] = {"calm", "stop_reading", "stop_accepting", "shed", "reset"};
    return names[rung];
}

unsigned overload_percent(const struct limits *l, uint64_t held_bytes)
{
    uint64_t budget = l->memory_budget_bytes;
    return budget > 0 ? (unsigned)(held_bytes * 100 / budget) : 0;
}

enum overload_rung overload_rung_of(const struct limits *l, enum overload_rung now,
                                    uint64_t held_bytes)
{
    const uint64_t from[] = {0, l->overload_read_percent, l->overload_accept_percent,
                             l->overload_shed_percent, l->overload_reset_percent};
    unsigned percent = overload_percent(l, held_bytes);
    enum overload_rung rung = OVERLOAD_RESET;
    while (rung > OVERLOAD_CALM && percent < from[rung])
        rung--;
    /* Downwards only when it is clear. */
    while (rung < now && rung < OVERLOAD_RESET &&
           percent + MIN((uint64_t)LEAVE_PERCENT, from[rung + 1] / 2) >= from[rung + 1])
        rung++;
    return rung;
}

static uint64_t publish_step(const struct limits *l)
{
    return MIN((uint64_t)PUBLISH_BYTES, l->memory_budget_bytes / 64);
}

uint64_t overload_growth(const struct limits *l, uint64_t held_bytes, unsigned workers)
{
    uint64_t budget = l->memory_budget_bytes;
    uint64_t left = budget > held_bytes ? budget - held_bytes : 0;
    return MAX(left / workers, publish_step(l));
}

bool overload_is_above_part(uint64_t own_bytes, uint64_t held_bytes, unsigned workers)
{
    return own_bytes >= held_bytes / workers;
}

/* --- the last rung --- */

/* The budget counts chunks, of which a chain with little in it takes one, too. */
static uint64_t chunk_of(size_t len)
{
    return len > 0 ? CHUNK_LEN : 0;
}

static uint64_t held_by_exchange(const struct exchange *x)
{
    uint64_t held = (uint64_t)MAX(x->account.bytes, 0);
    for (int side = SIDE_REQUEST; side <= SIDE_RESPONSE; side++)
        held += chunk_of(x->flows[side].body.len) + chunk_of(x->flows[side].kept.len);
    return held;
}

/* What a connection holds, with its exchanges, which have an account of their own. */
static uint64_t held_by(const struct flow_conn *fc)
{
    uint64_t held = (uint64_t)MAX(fc->conn->account.bytes, 0) + chunk_of(fc->conn->in.len) +
                    chunk_of(conn_out_len(fc->conn));
    LIST_FOREACH (&fc->exchanges, x, struct exchange, link)
        held += held_by_exchange(x);
    return held;
}

static struct flow_conn *largest_conn(struct flows *f, uint64_t *ret_held)
{
    struct flow_conn *largest = NULL;
    uint32_t now = (uint32_t)turn_count(f->env.turn);
    uint64_t most = 0;
    LIST_FOREACH (&f->conns, fc, struct flow_conn, link) {
        /* What was reset gets the turns to go. */
        uint64_t held = now - fc->shed_turn > SHED_TURNS ? held_by(fc) : 0;
        if (held > most) {
            largest = fc;
            most = held;
        }
    }
    *ret_held = most;
    return largest;
}

static struct exchange *largest_exchange(struct flow_conn *fc)
{
    struct exchange *largest = NULL;
    uint64_t most = 0;
    LIST_FOREACH (&fc->exchanges, x, struct exchange, link) {
        uint64_t held = held_by_exchange(x);
        if (largest == NULL || held > most) {
            largest = x;
            most = held;
        }
    }
    return largest;
}

/* A stream when it holds most of what its connection does, else the connection. */
static void reset_conn(struct flow_conn *fc, uint64_t held)
{
    static const struct outcome why = {
        .err = -ERR_LIMIT,
        .fault = FAULT_LOCAL,
        .status = 503,
        .flags = FLAG_BIT(OVERLOAD),
        .details = {"overload_reset_largest", 22},
    };
    struct exchange *x = largest_exchange(fc);
    fc->shed_turn = (uint32_t)turn_count(fc->flow->env.turn);
    if (x != NULL && held_by_exchange(x) * 2 >= held) {
        exchange_fail(x, &why);
        return;
    }
    if (fc->server != NULL)
        http_server_abort(fc->server, -ERR_LIMIT);
    else if (fc->tcp != NULL)
        tcp_abort(fc->tcp, STR("overload"), STR_NULL);
    else if (fc->is_tunnel)
        tunnel_abort(fc, STR("overload"), STR_NULL);
    else
        conn_abort(fc->conn, -ERR_LIMIT);
}

static void reset_largest(struct overload *o, uint64_t held)
{
    struct flows *f = o->flow;
    const struct limits *l = f->env.limits;
    /* Each worker looks: those that hold less than their part leave it to the others. */
    if (!overload_is_above_part(o->published_bytes, held, f->share->count))
        return;
    for (int i = 0; i < RESETS_MAX; i++) {
        uint64_t freed;
        if (overload_percent(l, held) + LEAVE_PERCENT < l->overload_reset_percent)
            return;
        struct flow_conn *fc = largest_conn(f, &freed);
        if (fc == NULL)
            return;
        held -= MIN(held, freed);
        metrics_add(f->env.metrics, COUNTER_OVERLOAD_RESETS, 1);
        reset_conn(fc, freed);
    }
}

/* --- looking --- */

/* Said once for the process, by whoever sees it first. */
static void change_rung(struct overload *o, enum overload_rung from, enum overload_rung to,
                        uint64_t held)
{
    unsigned before = (unsigned)from;
    char percent[16];
    if (!atomic_compare_exchange_strong(&o->share->rung, &before, (unsigned)to))
        return;
    snprintf(percent, sizeof percent, "%u", overload_percent(o->flow->env.limits, held));
    log_event(to > from ? LOG_WARN : LOG_INFO, "overload", LFC("rung", overload_rung_name(to)),
              LFC("before", overload_rung_name(from)), LFC("budget_percent", percent));
    if (to > from)
        metrics_add(o->flow->env.metrics, COUNTER_OVERLOAD_ENTERED, 1);
}

static void act(struct overload *o, enum overload_rung rung)
{
    struct flows *f = o->flow;
    if (rung == o->rung)
        return;
    turn_set_pressed(f->env.turn, rung >= OVERLOAD_READ);
    if ((rung >= OVERLOAD_ACCEPT) != (o->rung >= OVERLOAD_ACCEPT))
        listeners_rest(f, FLOW_REST_MEMORY, rung >= OVERLOAD_ACCEPT);
    o->rung = rung;
    if (rung > OVERLOAD_CALM && !timer_is_started(&o->timer))
        timer_start(f->env.turn, &o->timer, LOOK_US);
}

static void publish(struct overload *o, uint64_t held)
{
    if (held > o->published_bytes)
        atomic_fetch_add(&o->share->held_bytes, held - o->published_bytes);
    else
        atomic_fetch_sub(&o->share->held_bytes, o->published_bytes - held);
    o->published_bytes = held;
    o->held_max = MAX(o->held_max, held);
}

static void set_bar(struct overload *o, uint64_t held)
{
    struct flows *f = o->flow;
    turn_set_bar(f->env.turn,
                 o->published_bytes + overload_growth(f->env.limits, held, f->share->count));
}

static void look(struct overload *o)
{
    const struct limits *l = o->flow->env.limits;
    uint64_t held = atomic_load(&o->share->held_bytes);
    enum overload_rung now = (enum overload_rung)atomic_load(&o->share->rung);
    enum overload_rung rung = overload_rung_of(l, now, held);
    if (rung != now)
        change_rung(o, now, rung, held);
    act(o, rung);
    set_bar(o, held);
    if (rung == OVERLOAD_RESET)
        reset_largest(o, held);
}

/* In every turn: two loads and a comparison while little has changed. */
static void on_turn(void *ctx)
{
    struct overload *o = ctx;
    if (o->flow->env.limits->memory_budget_bytes == 0)
        return; /* none: that is for tests, the agent always sets one */
    uint64_t held = turn_held_bytes(o->flow->env.turn);
    uint64_t step = publish_step(o->flow->env.limits);
    uint64_t moved =
        held > o->published_bytes ? held - o->published_bytes : o->published_bytes - held;
    if (moved < step &&
        atomic_load_explicit(&o->share->rung, memory_order_relaxed) == (unsigned)o->rung)
        return;
    publish(o, held);
    look(o);
}

static void on_timer(struct timer *t)
{
    struct overload *o = CONTAINER_OF(t, struct overload, timer);
    publish(o, turn_held_bytes(o->flow->env.turn));
    look(o);
    if (o->rung > OVERLOAD_CALM && !timer_is_started(t))
        timer_start(o->flow->env.turn, t, LOOK_US);
}

/* --- memory back to the system --- */

static void start_trim(struct overload *o)
{
    o->trim_turns = turn_count(o->flow->env.turn);
    timer_start(o->flow->env.turn, &o->trim_timer, TRIM_US);
}

static void on_trim(struct timer *t)
{
    struct overload *o = CONTAINER_OF(t, struct overload, trim_timer);
    struct turn *turn = o->flow->env.turn;
    if (turn_count(turn) - o->trim_turns > TRIM_TURNS_MAX) {
        start_trim(o); /* busy: the allocator's locks would be held against requests */
        return;
    }
    (void)chunk_pool_shrink(turn_chunks(turn), 0);
    malloc_trim(0);
    o->held_max = turn_held_bytes(turn);
    o->conn_max = o->flow->conn_count;
    metrics_add(o->flow->env.metrics, COUNTER_MEMORY_TRIMS, 1);
}

void overload_note_end(struct overload *o)
{
    uint64_t conns = o->flow->conn_count;
    o->conn_max = MAX(o->conn_max, conns + 1);
    if (timer_is_started(&o->trim_timer))
        return;
    uint64_t held = turn_held_bytes(o->flow->env.turn);
    bool is_less =
        o->conn_max >= conns * 2 + TRIM_CONNS_MIN || o->held_max >= held * 2 + TRIM_BYTES_MIN;
    if (is_less)
        start_trim(o);
}

/* --- life --- */

void overload_init(struct overload *o, struct flows *f, struct overload_share *share)
{
    *o = (struct overload){.flow = f, .share = share};
    timer_init(&o->timer, on_timer);
    timer_init(&o->trim_timer, on_trim);
    turn_set_hook(f->env.turn, on_turn, o);
}

void overload_deinit(struct overload *o)
{
    turn_set_hook(o->flow->env.turn, NULL, NULL);
    turn_set_pressed(o->flow->env.turn, false);
    turn_set_bar(o->flow->env.turn, UINT64_MAX);
    timer_stop(&o->timer);
    timer_stop(&o->trim_timer);
}
