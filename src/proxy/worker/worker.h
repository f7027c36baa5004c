/* A worker: a thread with a turn, its listeners, its clusters, its slots of configuration.
 *
 * The main thread validates and warms resources, then posts a change set, closed under
 * dependencies; the worker applies it within one turn and posts it back: when all workers have, the
 * control plane gets its ACK. Streams count on their worker, without atomics.
 *
 * Worker 0 accepts for all and hands connections to the least loaded (proxy/flow/share.h).
 *
 * Lifetime: worker_new, worker_start, worker_stop, worker_join, worker_free: each for all workers
 * of a group before the next, since they post to each other. Thread: the functions here are the
 * main thread's; everything inside is the worker's. */
#pragma once

#include "base/limits.h"
#include "io/turn.h"
#include "mesh/model/resource.h"
#include "proxy/worker/group.h"

struct worker_args {
    uint32_t index; /* in the group */
    struct worker_group *group;
    const struct limits *limits;
    struct turn *main; /* answers are posted here */
    uint32_t mark_outbound, mark_inbound;
    bool is_capture_chain_used; /* flow.h */
    const uint8_t *ticket_key;  /* 80 bytes, shared by workers */
    struct str egress_socket;   /* box: unix path, empty: connect directly */
    struct str node_id;
    /* Facts of this workload for metrics (reporter side). */
    struct str workload, namespace_, app, version, principal, cluster_id;
    /* A mesh name is used whose detail is not here: asked once per name (main thread). */
    void (*on_detail_wanted)(void *ctx, struct str detail_name);
    void *ctx;
};

struct worker *worker_new(const struct worker_args *args);
void worker_start(struct worker *w);
void worker_stop(struct worker *w);           /* abrupt */
void worker_join(struct worker *w);           /* its thread has ended */
void worker_end(struct worker *w);            /* its connections too; what it posted is posted */
struct worker *worker_free(struct worker *w); /* returns NULL */

struct change {
    enum resource_type type;
    struct str name;           /* in the set's arena */
    struct resource *resource; /* referenced; NULL: removed */
    /* Set by the worker: it was not taken, and what runs on (referenced; NULL: nothing). */
    bool is_refused;
    struct resource *running;
};

/* Applied in the order secrets, endpoints, clusters, routes, directory, listeners; removals after
 * additions, the other way round. */
struct change_set {
    struct mail mail;
    struct arena arena;
    struct change *changes;
    size_t count;
    struct worker *worker; /* whom it was posted to */
    /* Main thread, after the worker applied it. refused: listeners that could not be opened etc. */
    void (*on_applied)(struct change_set *set, struct worker *w);
    void *ctx;
    struct str error; /* empty: fine; else what failed ("listener x: bind: in use") */
};

struct change_set *change_set_new(void);
void change_set_add(struct change_set *s, enum resource_type type, struct str name,
                    struct resource *r);
struct change_set *change_set_free(struct change_set *s);
void worker_post_changes(struct worker *w, struct change_set *s);

/* The detail that on_detail_wanted asked for will not come (reason for the log and the 503). */
void worker_post_detail_failed(struct worker *w, struct str detail_name, struct str why);

/* Drain, within time_us; then on_drained. For announce_us nothing changes, so that callers can hear
 * of it; then connections end gracefully while listeners still accept; then those are closed, when
 * nobody comes any more. announce_us 0: listeners are closed at once. */
void worker_post_drain(struct worker *w, bool inbound_only, uint64_t announce_us, uint64_t time_us,
                       void (*on_drained)(void *ctx), void *ctx);

/* Runs fn on the worker's thread, then done on the main thread (admin: dumps, metrics). */
void worker_post_call(struct worker *w, void (*fn)(struct worker *w, void *arg), void *arg,
                      void (*done)(void *arg));

/* For use inside worker_post_call. */
unsigned worker_index(const struct worker *w);
struct metrics *worker_metrics(struct worker *w);
struct upstream *worker_upstream(struct worker *w);
void worker_render_listeners(struct worker *w, struct str_buf *to);
