#include "io/timers.h"

static unsigned level_shift(unsigned level)
{
    return TIMERS_LOW_BITS + level * TIMERS_HIGH_BITS;
}

void timers_init(struct timers *ts, uint64_t now_us)
{
    memset(ts, 0, sizeof *ts);
    ts->tick = ts->target_tick = now_us / TIMERS_TICK_US;
    ts->bound_tick = UINT64_MAX;
    for (size_t i = 0; i < TIMERS_LOW_SLOTS; i++)
        list_init(&ts->low[i]);
    for (size_t l = 0; l < TIMERS_HIGH_LEVELS; l++) {
        for (size_t i = 0; i < TIMERS_HIGH_SLOTS; i++)
            list_init(&ts->high[l][i]);
    }
}

/* Puts a timer where its tick belongs, seen from ts->tick; due now means this tick's own slot. */
static void place(struct timers *ts, struct timer *timer)
{
    uint64_t tick = (timer->due_us + TIMERS_TICK_US - 1) / TIMERS_TICK_US;
    tick = MAX(tick, ts->tick);
    uint64_t distance = tick - ts->tick;
    if (distance < TIMERS_LOW_SLOTS) {
        size_t slot = tick % TIMERS_LOW_SLOTS;
        ts->low_map[slot / 64] |= 1ull << (slot % 64);
        ts->bound_tick = MIN(ts->bound_tick, tick);
        list_push_back(&ts->low[slot], &timer->link);
        return;
    }
    unsigned level = 0;
    while (level + 1 < TIMERS_HIGH_LEVELS && distance >> level_shift(level + 1) != 0)
        level++;
    /* Beyond the last level: the farthest slot, from where it is placed anew. */
    uint64_t span = (uint64_t)(TIMERS_HIGH_SLOTS - 1) << level_shift(level);
    if (distance > span && level + 1 == TIMERS_HIGH_LEVELS)
        tick = ts->tick + span;
    size_t slot = (tick >> level_shift(level)) % TIMERS_HIGH_SLOTS;
    ts->high_map[level] |= 1ull << slot;
    ts->bound_tick = MIN(ts->bound_tick, tick >> level_shift(level) << level_shift(level));
    list_push_back(&ts->high[level][slot], &timer->link);
}

void timers_start(struct timers *ts, struct timer *timer, uint64_t now_us, uint64_t delay_us)
{
    list_remove(&timer->link);
    timer->due_us = delay_us > UINT64_MAX / 2 ? UINT64_MAX / 2 : now_us + delay_us;
    /* One that restarts itself must not fire twice in the same phase. */
    timer->due_us = MAX(timer->due_us, (ts->target_tick + 1) * TIMERS_TICK_US);
    place(ts, timer);
}

/* The first slot at or after `from`, going round, whose list is not empty; -1: none. */
static int next_slot(uint64_t *map, struct list *slots, unsigned from)
{
    uint64_t turned = from == 0 ? *map : (*map >> from) | (*map << (64 - from));
    while (turned != 0) {
        unsigned offset = (unsigned)__builtin_ctzll(turned);
        unsigned slot = (from + offset) % 64;
        if (!list_is_empty(&slots[slot]))
            return (int)offset;
        *map &= ~(1ull << slot);
        turned &= ~(1ull << offset);
    }
    return -1;
}

static uint64_t next_low_tick(struct timers *ts)
{
    uint64_t first = ts->tick + 1;
    size_t words = ARRAY_LEN(ts->low_map);
    for (size_t i = 0; i <= words; i++) {
        /* The first word is looked at twice: its upper part first, its lower part last. */
        uint64_t base = i == 0 ? first : (first / 64 + i) * 64;
        size_t word = base / 64 % words;
        uint64_t bits = ts->low_map[word] & (UINT64_MAX << (base % 64));
        while (bits != 0) {
            unsigned bit = (unsigned)__builtin_ctzll(bits);
            uint64_t tick = base / 64 * 64 + bit;
            if (!list_is_empty(&ts->low[tick % TIMERS_LOW_SLOTS]))
                return tick;
            ts->low_map[word] &= ~(1ull << bit);
            bits &= bits - 1;
        }
    }
    return UINT64_MAX;
}

/* The first tick of the next slot of a level that has to be spread. */
static uint64_t next_high_tick(struct timers *ts, unsigned level)
{
    uint64_t first = (ts->tick >> level_shift(level)) + 1;
    int offset =
        next_slot(&ts->high_map[level], ts->high[level], (unsigned)(first % TIMERS_HIGH_SLOTS));
    return offset < 0 ? UINT64_MAX : (first + (unsigned)offset) << level_shift(level);
}

static uint64_t next_tick(struct timers *ts)
{
    uint64_t tick = next_low_tick(ts);
    for (unsigned level = 0; level < TIMERS_HIGH_LEVELS; level++)
        tick = MIN(tick, next_high_tick(ts, level));
    return tick;
}

static uint64_t us_of(uint64_t tick)
{
    return tick == UINT64_MAX ? UINT64_MAX : tick * TIMERS_TICK_US;
}

uint64_t timers_next_us(struct timers *ts)
{
    ts->bound_tick = next_tick(ts);
    return us_of(ts->bound_tick);
}

uint64_t timers_bound_us(const struct timers *ts)
{
    return us_of(ts->bound_tick);
}

static void spread(struct timers *ts, unsigned level)
{
    size_t slot = (ts->tick >> level_shift(level)) % TIMERS_HIGH_SLOTS;
    struct list moved;
    list_init(&moved);
    list_splice_back(&moved, &ts->high[level][slot]);
    ts->high_map[level] &= ~(1ull << slot);
    while (!list_is_empty(&moved)) {
        struct timer *timer = LIST_FIRST(&moved, struct timer, link);
        list_remove(&timer->link);
        place(ts, timer);
    }
}

static void fire_slot(struct list *slot)
{
    struct list due;
    list_init(&due);
    list_splice_back(&due, slot);
    while (!list_is_empty(&due)) {
        struct timer *timer = LIST_FIRST(&due, struct timer, link);
        list_remove(&timer->link);
        timer->fire(timer);
    }
}

void timers_advance(struct timers *ts, uint64_t now_us)
{
    ts->target_tick = MAX(ts->target_tick, now_us / TIMERS_TICK_US);
    while (ts->bound_tick <= ts->target_tick) {
        uint64_t tick = ts->bound_tick = next_tick(ts);
        if (tick > ts->target_tick)
            break;
        ts->tick = tick;
        for (unsigned level = TIMERS_HIGH_LEVELS; level-- > 0;) {
            if (tick % (1ull << level_shift(level)) == 0)
                spread(ts, level);
        }
        fire_slot(&ts->low[tick % TIMERS_LOW_SLOTS]);
    }
    ts->tick = ts->target_tick;
}
