/* A hierarchical timer wheel: starting and stopping are O(1), advancing costs what is due.
 *
 * Level 0 has 256 slots of 1 ms, each of the four levels above has 64 slots, each as wide as the
 * whole level below it; the last one ends at 49 days, later timers wait there for another round.
 * A bitmap tells which slots may hold timers; stopping does not clear it, looking does.
 *
 * Owner: the turn. Thread: the loop's. Never early: a timer fires in the first tick that is not
 * before its due time. */
#pragma once

#include "io/turn.h"

enum {
    TIMERS_LOW_BITS = 8,
    TIMERS_HIGH_BITS = 6,
    TIMERS_LOW_SLOTS = 1 << TIMERS_LOW_BITS,
    TIMERS_HIGH_SLOTS = 1 << TIMERS_HIGH_BITS,
    TIMERS_HIGH_LEVELS = 4,
    TIMERS_TICK_US = 1000,
};

struct timers {
    uint64_t tick;        /* all up to and including this one have fired */
    uint64_t target_tick; /* what is started gets a later one than this */
    uint64_t bound_tick;  /* before it there is nothing to do: see timers_bound_us */
    uint64_t low_map[TIMERS_LOW_SLOTS / 64];
    uint64_t high_map[TIMERS_HIGH_LEVELS];
    struct list low[TIMERS_LOW_SLOTS];
    struct list high[TIMERS_HIGH_LEVELS][TIMERS_HIGH_SLOTS];
};

void timers_init(struct timers *ts, uint64_t now_us);
void timers_start(struct timers *ts, struct timer *timer, uint64_t now_us, uint64_t delay_us);
/* Fires all that is due at now_us. */
void timers_advance(struct timers *ts, uint64_t now_us);
/* When to look next (a timer, or a slot to be spread over the level below); UINT64_MAX: never. */
uint64_t timers_next_us(struct timers *ts);
/* The same without looking: a timer that was stopped counts until the next look, so it may be too
 * early, once, and is never too late. What is started and stopped with every request costs no look.
 */
uint64_t timers_bound_us(const struct timers *ts);
