/* What the workers of a process share of a cluster: the counts behind its limits, and who is
 * ejected.
 *
 * One block of atomics per cluster name. A limit is taken by compare-and-swap, so that it is exact
 * however many workers ask at once. A connection slot that is given back while another worker's
 * attempts wait for one is handed to it by mail instead of being freed: whoever came first gets it,
 * though its own worker's newcomers would be faster. Load balancing (next host, requests under way
 * per host) stays each worker's own: it needs no exactness, and would be a shared line per request.
 *
 * A host has a block of its own from its first failure on only (outlier.c).
 *
 * Lifetime: the table is made before and freed behind the workers; a cluster's block lives while a
 * worker's cluster or a mail refers to it. Thread: any. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/map.h"
#include "io/turn.h"

enum { UPSTREAM_WORKERS_MAX = 64 }; /* bits of cluster_share.waiting */

struct upstream;

struct upstream_share {
    unsigned count;
    struct {
        struct upstream *upstream; /* NULL: ended */
        struct turn *turn;
    } workers[UPSTREAM_WORKERS_MAX];
    pthread_mutex_t lock;
    struct map clusters; /* name -> struct cluster_share */
};

struct cluster_share {
    struct upstream_share *all;
    struct str name;    /* own memory */
    unsigned ref_count; /* under all->lock */
    atomic_uint connections, pending, requests, retries;
    atomic_uint connections_max;
    atomic_ullong waiting; /* a bit for each worker with attempts that wait for a connection */
    atomic_uint next;      /* whose turn it is among them */
    /* Outlier detection. generation: moves with everything behind the lock. */
    atomic_uint generation;
    pthread_mutex_t lock;
    struct map hosts; /* address and identity -> struct host_share */
    unsigned ejected;
    uint64_t interval_due_us;
};

/* Behind the cluster's lock, but for the counts of failures in a row. */
struct host_share {
    unsigned ref_count;
    atomic_uint consecutive_5xx, consecutive_gateway;
    bool is_ejected;
    uint32_t ejections;
    uint64_t ejected_until_us;
};

void upstream_share_init(struct upstream_share *s, unsigned count);
void upstream_share_deinit(struct upstream_share *s); /* all blocks are released */

struct cluster_share *cluster_share_acquire(struct upstream_share *all, struct str name);
void cluster_share_release(struct cluster_share *s);

/* One more, unless that would be more than max. */
bool share_take(atomic_uint *count, uint32_t max);
static inline void share_give(atomic_uint *count)
{
    atomic_fetch_sub(count, 1);
}

/* Gives a connection slot of worker `own` back, or to whoever waits for one. True: own's attempts
 * are next, the slot is theirs. */
bool share_give_connection(struct cluster_share *s, unsigned own);
/* The worker's attempts wait, or do so no longer. After it has said so it tries once more. */
void share_set_waiting(struct cluster_share *s, unsigned worker, bool is_waiting);
