/* Proxies connect when they are told to, and again when they lost their connection. */
#include <stdlib.h>

#include "proxies.h"

enum { AGAIN_US = 500 * 1000, AGAIN_MAX_US = 8 * 1000 * 1000 };

struct world world;

static uint32_t due_count; /* of those that are to connect */

static void set_due(struct proxy *p, uint64_t at_us)
{
    due_count += (at_us != 0) - (p->connect_us != 0);
    p->connect_us = at_us;
}

/* As a sidecar: half a second and twice as long each time, anywhere between half and all of it. */
void proxy_lost(struct proxy *p)
{
    uint64_t us = AGAIN_US;
    for (unsigned i = 0; i < p->failures && us < AGAIN_MAX_US; i++)
        us *= 2;
    p->failures++;
    link_close(p);
    http2_stop(p);
    measure_lost(p);
    set_due(p, p->is_wanted ? now_us() + us / 2 + (uint64_t)rand_r(&world.seed) % (us / 2) : 0);
}

void proxies_connect(uint32_t count, double rate)
{
    uint64_t now = now_us(), n = 0;
    for (uint32_t i = 0; i < world.proxy_count && n < count; i++) {
        struct proxy *p = &world.proxies[i];
        if (p->is_wanted)
            continue;
        p->is_wanted = p->is_ready = true;
        set_due(p, now + 1 + (uint64_t)((double)n++ / rate * 1e6));
    }
}

uint64_t proxies_run(uint64_t now)
{
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < world.proxy_count && due_count > 0; i++) {
        struct proxy *p = &world.proxies[i];
        if (p->connect_us == 0)
            continue;
        if (p->connect_us <= now) {
            set_due(p, 0);
            link_open(p);
        }
        if (p->connect_us != 0 && p->connect_us < next)
            next = p->connect_us;
    }
    return next;
}
