/* Facts in, dirty streams out; the turn's task sends what they lack. */
#include "control/push/push_priv.h"

#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    TRIM_US = 2 * 1000 * 1000,
    TRIM_BYTES = 64 * 1024 * 1024,
    REFUSALS_PER_S = 2, /* of an identity, on documents' status */
    REFUSALS_BURST = 100,
};

/* Much that was sent at once has left holes between what stays. */
static void on_trim(struct timer *timer)
{
    struct push *p = CONTAINER_OF(timer, struct push, trim_timer);
    if (p->counters.bytes - p->trimmed_bytes < TRIM_BYTES)
        return;
    p->trimmed_bytes = p->counters.bytes;
    malloc_trim(0);
}

/* Each time that somebody is served, the moment is put off. */
static void trim_later(struct push *p)
{
    timer_stop(&p->trim_timer);
    timer_start(p->turn, &p->trim_timer, TRIM_US);
}

void push_stream_serve(struct push_stream *s)
{
    struct push *p = s->push;
    if (s->is_ended || !push_stream_check(s))
        return;
    p->counters.visits++;
    if (!push_stream_flush(s))
        return; /* push_stream_room comes back, or the pace does */
    if (s->is_dirty)
        push_times_note(&p->counters.queue, PUSH_TIMES_QUEUE, turn_now_us(p->turn) - s->dirty_us);
    s->is_dirty = false;
    push_wait_flushed(s);
    s->has_sent = false;
}

static void on_run(struct turn_task *task)
{
    struct push *p = CONTAINER_OF(task, struct push, task);
    struct list now = LIST_INIT(now);
    push_settle(p);
    list_splice_back(&now, &p->dirty);
    LIST_FOREACH (&now, s, struct push_stream, dirty_link) {
        list_remove(&s->dirty_link);
        push_stream_serve(s);
    }
    trim_later(p);
}

static void on_expire(struct timer *timer)
{
    push_expire_soon(CONTAINER_OF(timer, struct push, expire_timer));
}

void push_expire_soon(struct push *p)
{
    uint64_t now_us = turn_now_us(p->turn), wall_ms = turn_wall_us(p->turn) / 1000;
    uint64_t over_ms = registry_bypass_expire(p->registry, wall_ms);
    uint64_t next_us = registry_expire(p->registry, now_us);
    if (over_ms != UINT64_MAX) {
        /* Looked at once a minute: a wall clock may be set. */
        uint64_t rest_ms = MIN(over_ms - wall_ms, (uint64_t)60000);
        next_us = MIN(next_us, now_us + rest_ms * 1000);
    }
    timer_stop(&p->expire_timer);
    if (next_us != UINT64_MAX)
        timer_start(p->turn, &p->expire_timer, next_us > now_us ? next_us - now_us : 1);
}

static void on_keep(struct turn_task *task)
{
    registry_keep(CONTAINER_OF(task, struct push, keep_task)->registry);
}

/* Once for all that this turn does. */
static void on_unkept(void *ctx)
{
    struct push *p = ctx;
    turn_soon(p->turn, &p->keep_task);
}

/* --- what changed --- */

static void mark_target(const struct push_target *t)
{
    for (size_t i = 0; i < t->subs.len; i++)
        push_sub_mark(t->subs.ptr[i]);
}

/* Of what changes back before the turn ends, or becomes the same bytes, nobody is told. */
void push_settle(struct push *p)
{
    for (size_t i = 0; i < p->changes.len; i++) {
        const struct push_change c = p->changes.ptr[i];
        const struct push_target *t = push_target_of(p, c.type, c.name, c.view);
        if (t != NULL && translate_refresh(p->translate, c.type, c.name, c.view))
            mark_target(t);
    }
    p->changes.len = 0;
    arena_reset(&p->changes_arena);
}

/* Outputs that nobody has are computed when somebody asks. */
static void on_dirty(void *ctx, enum resource_type type, struct str name, struct str view)
{
    struct push *p = ctx;
    struct arena *a = &p->changes_arena;
    if (push_target_of(p, type, name, view) == NULL)
        return;
    VEC_PUSH(&p->changes, ((struct push_change){type, arena_str(a, name), arena_str(a, view)}));
    turn_soon(p->turn, &p->task);
}

/* Which services there are, and which of their parts are routed to. */
static bool changes_the_mesh(struct str fact)
{
    static const struct str kinds[] = {{"services", 8}, {"routes", 6}, {"rules", 5}};
    struct str rest = fact, kind = str_split(&rest, '/');
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (str_eq(kind, kinds[i]))
            return true;
    }
    return false;
}

static void mark_stream(struct push_stream *s)
{
    s->is_wild_due = s->is_check_due = true;
    push_stream_mark(s);
}

static void mark_workload(struct push *p, struct str namespace_, struct str name)
{
    const struct push_workload *w = push_workload_streams(p, namespace_, name);
    for (size_t i = 0; w != NULL && i < w->streams.len; i++)
        mark_stream(w->streams.ptr[i]);
}

/* Wildcards that a fact can change: a directory's namespaces, a workload's own, and with proxies
 * that get all there is, all there is. */
static void mark_wildcards(struct push *p, struct str fact)
{
    struct str rest = fact;
    bool is_for_all = str_eq(fact, STR("namespaces")) || str_eq(fact, STR("mesh"));
    bool is_for_foreign = p->envoy_count > 0 && changes_the_mesh(fact);
    if (str_eq(str_split(&rest, '/'), STR("workload"))) {
        struct str namespace_ = str_split(&rest, '/');
        mark_workload(p, namespace_, rest);
    }
    if (!is_for_all && !is_for_foreign)
        return;
    LIST_FOREACH (&p->streams, s, struct push_stream, link) {
        if (s->workload.len > 0 && (is_for_all || push_stream_is_envoy(s)))
            mark_stream(s);
    }
}

void push_fact_changed(struct push *p, struct str fact)
{
    translate_changed(p->translate, fact, on_dirty, p);
    mark_wildcards(p, fact);
    if (p->edge != NULL && str_eq(fact, STR("mesh")))
        edge_mesh_changed(p->edge);
}

/* Those that we make, and that another root has signed than the one that signs now. */
static void renew_secrets(struct push *p)
{
    struct arena a;
    arena_init(&a, 2048);
    struct str signing = ca_root_id(ca_root(p->ca), &a);
    LIST_FOREACH (&p->streams, s, struct push_stream, link) {
        if (!s->is_ended && !str_eq(push_secret_root(s), signing))
            push_secret_renew(s);
    }
    arena_deinit(&a);
}

void push_roots_changed(struct push *p)
{
    registry_set_roots(p->registry, ca_bundle(p->ca));
    if (p->edge != NULL)
        edge_roots_changed(p->edge);
    renew_secrets(p);
}

struct cert *push_own_leaf(const struct push *p)
{
    return p->edge != NULL ? edge_own_leaf(p->edge) : NULL;
}

/* --- revoked identities --- */

enum { REVOKE_GRACE_US = 2 * 1000 * 1000 };

static void on_revoke(struct timer *timer)
{
    struct push *p = CONTAINER_OF(timer, struct push, revoke_timer);
    LIST_FOREACH (&p->streams, s, struct push_stream, link) {
        if (registry_is_revoked(p->registry, s->identity))
            push_stream_end(s, GRPC_PERMISSION_DENIED, "this identity is revoked");
    }
}

struct gone {
    struct str identity;
    struct registry_replica *found;
};

static void find_replica(void *ctx, const struct registry_replica *r)
{
    struct gone *g = ctx;
    if (str_eq(r->identity, g->identity))
        g->found = (struct registry_replica *)(uintptr_t)r;
}

void push_revoked(struct push *p, struct str identity)
{
    /* One at a time: each that goes changes the list. */
    for (struct gone g = {identity, NULL};; g.found = NULL) {
        registry_replicas(p->registry, find_replica, &g);
        if (g.found == NULL)
            break;
        registry_replica_set_state(p->registry, g.found, REPLICA_GONE);
    }
    timer_start(p->turn, &p->revoke_timer, REVOKE_GRACE_US);
}

/* Streams that have outlived the revocation have lost their replica: they come again with it. */
void push_restored(struct push *p, struct str identity)
{
    LIST_FOREACH (&p->streams, s, struct push_stream, link) {
        if (str_eq(s->identity, identity))
            push_stream_end(s, GRPC_UNAVAILABLE, "this identity is revoked no longer");
    }
}

bool push_replica_gone(struct push *p, struct str namespace_, struct str workload, uint32_t index)
{
    struct registry_replica *r = registry_replica(p->registry, namespace_, workload, index);
    if (r == NULL)
        return false;
    struct push_stream *s = r->node;
    registry_replica_set_state(p->registry, r, REPLICA_GONE);
    if (s != NULL)
        push_stream_end(s, GRPC_UNAVAILABLE, "its supervisor says that this sidecar is gone");
    return true;
}

const struct api_document *push_workload_of(const struct push *p, struct str namespace_,
                                            struct str workload, struct str identity)
{
    const struct api_document *d =
        registry_doc(p->registry, API_KIND_WORKLOAD, namespace_, workload);
    if (d == NULL)
        return NULL;
    struct arena a;
    arena_init(&a, 512);
    bool is_its = str_eq(registry_identity(p->registry, d, &a), identity);
    arena_deinit(&a);
    return is_its ? d : NULL;
}

/* Edges wait for the network, the brain computes: one for every two processors. */
static unsigned default_edges(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return (unsigned)MAX(MIN(count / 2, 4L), 1L);
}

int push_listen(struct push *p, const struct addr *at, unsigned thread_count, struct str_buf *why)
{
    int err = 0;
    ASSERT(p->edge == NULL);
    p->edge = edge_open(p, at, thread_count > 0 ? thread_count : default_edges(), why, &err);
    return err;
}

int push_listen_local(struct push *p, struct str path, struct str_buf *why)
{
    ASSERT(p->edge != NULL);
    return edge_listen_local(p->edge, path, why);
}

int push_serve(struct push *p)
{
    return p->edge != NULL ? edge_serve(p->edge) : 0;
}

const struct addr *push_addr(const struct push *p)
{
    return edge_addr(p->edge);
}

uint64_t push_bytes_sent(const struct push *p)
{
    return p->counters.bytes;
}

struct push *push_new(const struct push_args *args)
{
    struct push *p = NEW(struct push);
    p->turn = args->turn;
    p->store = args->store;
    p->registry = args->registry;
    p->translate = args->translate;
    p->ca = args->ca;
    list_init(&p->streams);
    list_init(&p->dirty);
    list_init(&p->pending);
    list_init(&p->waiters);
    map_init(&p->targets);
    map_init(&p->workloads);
    arena_init(&p->changes_arena, 4096);
    pace_init(&p->refusals, random_process_seed(), REFUSALS_PER_S, REFUSALS_BURST);
    turn_task_init(&p->task, on_run);
    timer_init(&p->expire_timer, on_expire);
    timer_init(&p->revoke_timer, on_revoke);
    timer_init(&p->trim_timer, on_trim);
    push_pace_init(p);
    turn_task_init(&p->keep_task, on_keep);
    registry_on_unkept(p->registry, on_unkept, p);
    registry_set_roots(p->registry, ca_bundle(p->ca));
    push_expire_soon(p);
    return p;
}

struct push *push_free(struct push *p)
{
    if (p == NULL)
        return NULL;
    p->edge = edge_close(p->edge);
    LIST_FOREACH (&p->streams, s, struct push_stream, link)
        push_stream_close(s);
    turn_cancel(&p->task);
    timer_stop(&p->expire_timer);
    timer_stop(&p->revoke_timer);
    timer_stop(&p->trim_timer);
    push_pace_deinit(p);
    turn_cancel(&p->keep_task);
    registry_on_unkept(p->registry, NULL, NULL);
    push_wait_free(p);
    map_deinit(&p->targets);
    map_deinit(&p->workloads);
    VEC_DEINIT(&p->changes);
    arena_deinit(&p->changes_arena);
    free(p);
    return NULL;
}
