#include "base/pace.h"

#include "base/util.h"

void pace_init(struct pace *p, uint64_t seed, uint32_t per_second, uint32_t burst)
{
    ASSERT(per_second > 0 && burst > 0);
    memset(p, 0, sizeof *p);
    p->seed = seed;
    p->interval_us = 1000000 / per_second;
    p->burst_us = p->interval_us * burst;
}

/* The key's own, or the quietest of those that it may have. */
static struct pace_slot *slot_of(struct pace *p, uint64_t key)
{
    struct pace_slot *quietest = &p->slots[key % PACE_SLOTS];
    for (uint64_t i = 0; i < PACE_PROBES; i++) {
        struct pace_slot *s = &p->slots[(key + i) % PACE_SLOTS];
        if (s->key == key)
            return s;
        if (s->spent_us < quietest->spent_us)
            quietest = s;
    }
    return quietest;
}

bool pace_take(struct pace *p, struct str key, uint64_t now_us)
{
    uint64_t hash = str_hash(key, p->seed) | 1;
    struct pace_slot *s = slot_of(p, hash);
    if (s->key != hash && s->spent_us <= now_us)
        *s = (struct pace_slot){.key = hash};
    uint64_t from_us = MAX(s->spent_us, now_us);
    if (from_us + p->interval_us > now_us + p->burst_us)
        return false;
    s->spent_us = from_us + p->interval_us;
    return true;
}
