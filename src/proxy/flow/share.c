#include "proxy/flow/share.h"

#include <stdlib.h>

#include "base/util.h"

void flow_share_init(struct flow_share *s, unsigned count)
{
    ASSERT(count >= 1 && count <= FLOW_WORKERS_MAX);
    s->count = count;
    pthread_mutex_init(&s->limits_lock, NULL);
    map_init(&s->limits);
    atomic_init(&s->connections, 0);
    atomic_init(&s->is_full, false);
    atomic_init(&s->is_closed, false);
    atomic_init(&s->is_inbound_closed, false);
    atomic_init(&s->overload.held_bytes, 0);
    atomic_init(&s->overload.rung, OVERLOAD_CALM);
    for (unsigned i = 0; i < FLOW_WORKERS_MAX; i++)
        atomic_init(&s->workers[i].connections, 0);
}

void flow_share_deinit(struct flow_share *s)
{
    size_t iter = 0;
    void *value;
    while (map_next(&s->limits, &iter, NULL, &value))
        free(value);
    map_deinit(&s->limits);
    pthread_mutex_destroy(&s->limits_lock);
}

atomic_uint *flow_share_limit(struct flow_share *s, struct str listener)
{
    pthread_mutex_lock(&s->limits_lock);
    atomic_uint *count = map_get(&s->limits, listener);
    if (count == NULL) {
        count = NEW(atomic_uint);
        atomic_init(count, 0);
        map_put(&s->limits, listener, count);
    }
    pthread_mutex_unlock(&s->limits_lock);
    return count;
}

unsigned flow_share_least_loaded(const struct flow_share *s, unsigned own)
{
    unsigned best = own;
    unsigned least = atomic_load_explicit(&s->workers[own].connections, memory_order_relaxed);
    for (unsigned i = 0; i < s->count && least > 0; i++) {
        unsigned n = atomic_load_explicit(&s->workers[i].connections, memory_order_relaxed);
        if (n < least) {
            least = n;
            best = i;
        }
    }
    return best;
}

unsigned flow_share_enter(struct flow_share *s, unsigned worker)
{
    atomic_fetch_add_explicit(&s->workers[worker].connections, 1, memory_order_relaxed);
    return atomic_fetch_add(&s->connections, 1) + 1;
}

/* The order of count and flag, here and in flow_share_rest, is what keeps a wake from being lost:
 * either the one sees the flag, or the other sees the room. */
bool flow_share_leave(struct flow_share *s, unsigned worker, unsigned long max)
{
    atomic_fetch_sub_explicit(&s->workers[worker].connections, 1, memory_order_relaxed);
    unsigned left = atomic_fetch_sub(&s->connections, 1) - 1;
    return atomic_load(&s->is_full) && left < max && atomic_exchange(&s->is_full, false);
}

bool flow_share_rest(struct flow_share *s, unsigned long max)
{
    atomic_store(&s->is_full, true);
    return atomic_load(&s->connections) >= max || !atomic_exchange(&s->is_full, false);
}
