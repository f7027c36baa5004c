/* How often: so many at once, then so many a second, of each key. The table has a fixed size; who
 * meets another in it takes the place of one that has been quiet, or shares with it.
 *
 * Owner: whoever embeds it. Thread: one. */
#pragma once

#include "base/str.h"

enum { PACE_SLOTS = 1024, PACE_PROBES = 4 };

struct pace_slot {
    uint64_t key;      /* 0: never used */
    uint64_t spent_us; /* what was taken is paid back by then */
};

struct pace {
    uint64_t seed, interval_us, burst_us;
    struct pace_slot slots[PACE_SLOTS];
};

void pace_init(struct pace *p, uint64_t seed, uint32_t per_second, uint32_t burst);
/* False: too often. */
bool pace_take(struct pace *p, struct str key, uint64_t now_us);
