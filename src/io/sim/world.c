#include "io/sim/sim_priv.h"

#include <stdlib.h>

/* 2026-01-01 00:00:00 UTC: what turn_wall_us says when a world begins. */
static const uint64_t wall_start_us = 1767225600000000;

struct sim_world *sim_world_new(const struct sim_options *options)
{
    struct sim_world *w = NEW(struct sim_world);
    w->options = *options;
    random_init(&w->random, options->seed);
    /* Not 0, which code may take for "never". */
    w->now_us = 1000000;
    w->next_port = 32768;
    list_init(&w->turns);
    list_init(&w->links);
    list_init(&w->listens);
    return w;
}

struct sim_world *sim_world_free(struct sim_world *w)
{
    if (w == NULL)
        return NULL;
    ASSERT(list_is_empty(&w->turns));
    LIST_FOREACH (&w->links, l, struct sim_link, link)
        sim_link_free(l);
    VEC_DEINIT(&w->refusals);
    free(w);
    return NULL;
}

uint64_t sim_world_now_us(const struct sim_world *w)
{
    return w->now_us;
}

uint64_t sim_latency_us(struct sim_world *w)
{
    uint32_t min = w->options.latency_us_min, max = w->options.latency_us_max;
    return max > min ? min + random_below(&w->random, max - min + 1) : min;
}

/* ---- What happens, and when ---- */

/* Connects and links whose time has come; the time of the next one that has not. */
static uint64_t arrive(struct sim_world *w)
{
    uint64_t next = UINT64_MAX;
    LIST_FOREACH (&w->links, l, struct sim_link, link) {
        if (l->ends[0].is_connected || l->is_silent)
            continue;
        if (l->connect_at_us <= w->now_us)
            sim_link_arrive(l);
        else
            next = MIN(next, l->connect_at_us);
    }
    return next;
}

/* Events of one turn: marks those that are due, or only tells when the first is. */
static uint64_t turn_events(struct turn *t, bool is_marking)
{
    struct sim_world *w = sim_world_of(t);
    uint64_t next = UINT64_MAX;
    LIST_FOREACH (&w->links, l, struct sim_link, link) {
        for (size_t i = 0; i < ARRAY_LEN(l->ends); i++) {
            struct sim_end *e = &l->ends[i];
            if (e->io != NULL && e->io->conn->turn == t)
                next = MIN(next, sim_end_mark(e, w->now_us, is_marking));
        }
    }
    LIST_FOREACH (&w->listens, s, struct sim_listen, link) {
        if (s->socket->turn != t || s->is_paused || list_is_empty(&s->pending))
            continue;
        next = w->now_us;
        if (is_marking)
            listen_io_mark(s->socket);
    }
    return next;
}

static uint64_t next_of_turn(struct turn *t)
{
    if (turn_is_busy(t))
        return 0;
    return MIN(turn_events(t, false), timers_next_us(&t->timers));
}

/* Runs, in an order that the seed decides, every turn that has something to do now. */
static bool run_due(struct sim_world *w)
{
    VEC(struct turn *) due = {0};
    LIST_FOREACH (&w->turns, st, struct sim_turn, link) {
        if (next_of_turn(st->turn) <= w->now_us)
            VEC_PUSH(&due, st->turn);
    }
    bool has_run = due.len > 0;
    while (due.len > 0) {
        uint32_t i = random_below(&w->random, (uint32_t)due.len);
        turn_once(due.ptr[i], 0);
        VEC_REMOVE_SWAP(&due, i);
    }
    VEC_DEINIT(&due);
    return has_run;
}

bool sim_world_run(struct sim_world *w, uint64_t until_us)
{
    for (;;) {
        uint64_t next = arrive(w);
        if (run_due(w))
            continue;
        LIST_FOREACH (&w->turns, st, struct sim_turn, link)
            next = MIN(next, next_of_turn(st->turn));
        if (next == UINT64_MAX)
            return true;
        if (next > until_us) {
            w->now_us = MAX(w->now_us, until_us);
            return false;
        }
        w->now_us = MAX(w->now_us, next);
    }
}

void sim_world_capture(struct sim_world *w, const struct addr *to)
{
    w->capture = *to;
}

void sim_world_refuse(struct sim_world *w, const struct addr *a, bool is_silent)
{
    VEC_PUSH(&w->refusals, ((struct sim_refusal){*a, is_silent}));
}

void sim_world_cut(struct sim_world *w, const struct addr *a)
{
    LIST_FOREACH (&w->links, l, struct sim_link, link) {
        if (!addr_eq(&l->to, a))
            continue;
        for (size_t i = 0; i < ARRAY_LEN(l->ends); i++)
            sim_pipe_put(w, &l->ends[i].in, SIM_RESET, STR_NULL);
    }
}

/* ---- The turn's backend ---- */

static void sim_poll(struct turn *t, int64_t timeout_us)
{
    (void)timeout_us;
    turn_events(t, true);
}

static uint64_t sim_now_us(const struct turn *t)
{
    return sim_world_of(t)->now_us;
}

static uint64_t sim_wall_us(const struct turn *t)
{
    return wall_start_us + sim_world_of(t)->now_us;
}

static void sim_wake(struct turn *t)
{
    (void)t; /* the world looks into every mailbox */
}

static void sim_deinit(struct turn *t)
{
    struct sim_turn *st = t->backend;
    list_remove(&st->link);
    free(st);
}

static const struct io_ops sim_ops = {
    .name = "sim",
    .deinit = sim_deinit,
    .poll = sim_poll,
    .now_us = sim_now_us,
    .wall_us = sim_wall_us,
    .wake = sim_wake,
    .connect = sim_connect,
    .finish_connect = sim_finish_connect,
    .read = sim_read,
    .write = sim_write,
    .is_drained = sim_is_drained,
    .end = sim_end_write,
    .close = sim_close,
    .listen = sim_listen,
    .accept = sim_accept,
    .adopt = sim_adopt,
    .drop = sim_drop,
    .listen_pause = sim_listen_pause,
    .listen_close = sim_listen_close,
};

struct turn *turn_new_sim(struct sim_world *w)
{
    struct sim_turn *st = NEW(struct sim_turn);
    st->world = w;
    st->turn = turn_new(&sim_ops, st);
    random_init(&st->turn->random, random_u64(&w->random));
    list_push_back(&w->turns, &st->link);
    return st->turn;
}
