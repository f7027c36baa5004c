/* What the workers of one process share: who they are, and the few counts that must hold across
 * them. Everything else belongs to one worker.
 *
 * Lifetime: made before the first worker, freed after the last. Thread: the members are set before
 * the first thread starts; the rest are atomics, or behind a lock of its own. */
#pragma once

#include "proxy/flow/share.h"
#include "proxy/upstream/share.h"

struct worker;

struct worker_group {
    unsigned count;
    struct worker *workers[FLOW_WORKERS_MAX];
    struct flow_share connections;
    struct upstream_share upstream;
    struct access_log_share *logs;
};

struct worker_group *worker_group_new(unsigned count);
struct worker_group *worker_group_free(struct worker_group *g); /* accepts NULL, returns NULL */
