/* The byte budget of the process and its ladder:
 *
 *   CALM -> READ (what waits is enough: no more is read for it) -> ACCEPT (no new connections)
 *        -> SHED (new streams get 503, Retry-After, flag OM) -> RESET (the largest go)
 *
 * Each worker publishes what its chains and arenas take; the sum against memory_budget_bytes says
 * which rung holds for all. A rung is left 5 % of the budget below where it was entered (or at half
 * of that, when it is less).
 *
 * Owner: struct overload is its worker's, struct overload_share the process's. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "base/limits.h"
#include "io/turn.h"

enum overload_rung {
    OVERLOAD_CALM,
    OVERLOAD_READ,
    OVERLOAD_ACCEPT,
    OVERLOAD_SHED,
    OVERLOAD_RESET,
};

struct overload_share {
    atomic_ullong held_bytes; /* of all workers, as published */
    atomic_uint rung;
};

struct flows;

struct overload {
    struct flows *flow;
    struct overload_share *share;
    uint64_t published_bytes;
    enum overload_rung rung; /* as acted upon here */
    struct timer timer;      /* above CALM: looks even when nothing happens */
    /* Memory is given back to the system once it has become quiet. */
    struct timer trim_timer;
    uint64_t trim_turns, held_max, conn_max;
};

/* The rung at so many bytes when `now` is the present one. */
enum overload_rung overload_rung_of(const struct limits *l, enum overload_rung now,
                                    uint64_t held_bytes);
const char *overload_rung_name(enum overload_rung rung);
unsigned overload_percent(const struct limits *l, uint64_t held_bytes);

/* What a worker may grow by before it looks again: its part of what is left, but never less than is
 * published at a time, lest it looks at each chunk. */
uint64_t overload_growth(const struct limits *l, uint64_t held_bytes, unsigned workers);
/* Whether a worker that holds so much of what all hold has to give something back. */
bool overload_is_above_part(uint64_t own_bytes, uint64_t held_bytes, unsigned workers);

void overload_init(struct overload *o, struct flows *f, struct overload_share *share);
void overload_deinit(struct overload *o);
/* A connection is gone: perhaps the load with it. */
void overload_note_end(struct overload *o);
