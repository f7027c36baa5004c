/* What the workers of a process share of their downstream connections: how many each holds, so that
 * the one that accepts knows who is least loaded, and how many there are in all, so that
 * connections_max is exact.
 *
 * One worker accepts for all (worker 0). Hashing by SO_REUSEPORT leaves workers idle with few, long
 * connections; sharing the socket among the loops (EPOLLEXCLUSIVE) wakes whoever slept last, not
 * whoever has least to do, so that it needs the same hand-off and pauses in N places instead of
 * one.
 *
 * Load is counted in connections: what a sidecar and its peers hold are few and long ones, and a
 * count that changes with each request would be a shared cache line on the path of each request.
 *
 * Owner: who starts the workers. Thread: any. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/map.h"

#include "proxy/flow/overload.h"

enum { FLOW_WORKERS_MAX = 64 };

struct flow_load {
    atomic_uint connections;
    char apart[60]; /* each on a cache line of its own: written by the acceptor and one worker */
};

struct flow_share {
    unsigned count; /* workers */
    pthread_mutex_t limits_lock;
    struct map
        limits; /* listener's name -> atomic_uint, for those that have a limit of their own */
    atomic_uint connections;
    struct overload_share overload;
    /* Draining: worker 0 has closed its listeners, nobody is handed a connection any more. */
    atomic_bool is_closed, is_inbound_closed;
    atomic_bool is_full; /* accepting rests: who frees a place tells the acceptor */
    struct flow_load workers[FLOW_WORKERS_MAX];
};

void flow_share_init(struct flow_share *s, unsigned count);
void flow_share_deinit(struct flow_share *s);
/* The connections of a listener, over all workers and all versions of it. Lives as long as s. */
atomic_uint *flow_share_limit(struct flow_share *s, struct str listener);
/* The worker with the fewest connections; `own` when it is among them, since it costs no mail. */
unsigned flow_share_least_loaded(const struct flow_share *s, unsigned own);
/* A connection of that worker; returns how many there are now. */
unsigned flow_share_enter(struct flow_share *s, unsigned worker);
/* It is gone. True: accepting rests, and there is room again below `max`. */
bool flow_share_leave(struct flow_share *s, unsigned worker, unsigned long max);
/* Accepting rests from here on; false: there is room again already. */
bool flow_share_rest(struct flow_share *s, unsigned long max);
