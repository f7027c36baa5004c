#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/log.h"
#include "proxy/worker/worker_priv.h"

enum { END_TURNS_MAX = 100, DRAIN_LOOK_US = 50 * 1000, DRAIN_QUIET_US = 300 * 1000 };

/* --- mails with a payload --- */

struct wanted_mail {
    struct mail mail;
    void (*tell)(void *ctx, struct str name); /* the worker may be gone by then */
    void *ctx;
    char *name;
};

static void on_wanted_mail(struct turn *turn, struct mail *mail)
{
    (void)turn;
    struct wanted_mail *m = CONTAINER_OF(mail, struct wanted_mail, mail);
    m->tell(m->ctx, str_from_c(m->name));
    free(m->name);
    free(m);
}

static void on_detail_wanted(void *ctx, struct str name)
{
    struct worker *w = ctx;
    struct wanted_mail *m = NEW(struct wanted_mail);
    m->mail.handle = on_wanted_mail;
    m->tell = w->args.on_detail_wanted;
    m->ctx = w->args.ctx;
    m->name = str_dup_c(name);
    mailbox_post(w->args.main, &m->mail);
}

struct failed_mail {
    struct mail mail;
    struct worker *worker;
    char *name, *why;
};

static void on_failed_mail(struct turn *turn, struct mail *mail)
{
    (void)turn;
    struct failed_mail *m = CONTAINER_OF(mail, struct failed_mail, mail);
    flow_detail_failed(m->worker->flow, str_from_c(m->name), str_from_c(m->why));
    free(m->name);
    free(m->why);
    free(m);
}

void worker_post_detail_failed(struct worker *w, struct str detail_name, struct str why)
{
    struct failed_mail *m = NEW(struct failed_mail);
    m->mail.handle = on_failed_mail;
    m->worker = w;
    m->name = str_dup_c(detail_name);
    m->why = str_dup_c(why);
    mailbox_post(w->turn, &m->mail);
}

struct call_mail {
    struct mail mail;
    struct worker *worker;
    void (*fn)(struct worker *w, void *arg);
    void (*done)(void *arg);
    void *arg;
};

static void on_call_done_mail(struct turn *turn, struct mail *mail)
{
    (void)turn;
    struct call_mail *m = CONTAINER_OF(mail, struct call_mail, mail);
    m->done(m->arg);
    free(m);
}

static void on_call_mail(struct turn *turn, struct mail *mail)
{
    (void)turn;
    struct call_mail *m = CONTAINER_OF(mail, struct call_mail, mail);
    m->fn(m->worker, m->arg);
    m->mail.handle = on_call_done_mail;
    mailbox_post(m->worker->args.main, &m->mail);
}

void worker_post_call(struct worker *w, void (*fn)(struct worker *w, void *arg), void *arg,
                      void (*done)(void *arg))
{
    struct call_mail *m = NEW(struct call_mail);
    *m = (struct call_mail){
        .mail = {.handle = on_call_mail}, .worker = w, .fn = fn, .done = done, .arg = arg};
    mailbox_post(w->turn, &m->mail);
}

/* --- between workers --- */

struct hand_over_mail {
    struct mail mail;
    struct worker *worker;
    struct conn_transport transport;
    char *listener;
};

static void on_hand_over_mail(struct turn *turn, struct mail *mail)
{
    (void)turn;
    struct hand_over_mail *m = CONTAINER_OF(mail, struct hand_over_mail, mail);
    flow_take(m->worker->flow, str_from_c(m->listener), &m->transport);
    free(m->listener);
    free(m);
}

static void hand_over(void *ctx, unsigned worker, struct str listener,
                      const struct conn_transport *transport)
{
    const struct worker *w = ctx;
    struct hand_over_mail *m = NEW(struct hand_over_mail);
    m->mail.handle = on_hand_over_mail;
    m->worker = w->args.group->workers[worker];
    m->transport = *transport;
    m->listener = str_dup_c(listener);
    mailbox_post(m->worker->turn, &m->mail);
}

struct room_mail {
    struct mail mail;
    struct worker *worker;
};

static void on_room_mail(struct turn *turn, struct mail *mail)
{
    (void)turn;
    struct room_mail *m = CONTAINER_OF(mail, struct room_mail, mail);
    flow_has_room(m->worker->flow);
    free(m);
}

static void on_room(void *ctx)
{
    const struct worker *w = ctx;
    struct room_mail *m = NEW(struct room_mail);
    m->mail.handle = on_room_mail;
    m->worker = w->args.group->workers[0];
    mailbox_post(m->worker->turn, &m->mail);
}

/* --- drain ---
 *
 *   ANNOUNCED --time--> ENDING --nobody comes--> STOPPED --idle, or time is up--> told
 *
 * Worker 0 accepts for all: when it has closed, nobody comes to the others either. */

enum drain_phase { DRAIN_ANNOUNCED, DRAIN_ENDING, DRAIN_STOPPED };

struct drain {
    struct mail mail;
    struct worker *worker;
    enum drain_phase phase;
    bool inbound_only;
    uint64_t announce_us, time_us;
    uint64_t announced_until_us, until_us, quiet_since_us;
    uint64_t accepted; /* when it was last looked at */
    void (*on_drained)(void *ctx);
    void *ctx;
    struct timer timer;
};

static void on_drained_mail(struct turn *turn, struct mail *mail)
{
    (void)turn;
    struct drain *d = CONTAINER_OF(mail, struct drain, mail);
    if (d->on_drained != NULL)
        d->on_drained(d->ctx);
    free(d);
}

/* Of all workers; worker 0 only. */
static bool is_quiet(struct drain *d, uint64_t now_us)
{
    uint64_t accepted = flow_inbound_accepted(d->worker->flow);
    if (accepted != d->accepted) {
        d->accepted = accepted;
        d->quiet_since_us = now_us;
    }
    return flow_active_of_all(d->worker->flow) == 0 || now_us - d->quiet_since_us >= DRAIN_QUIET_US;
}

/* Whoever has not heard yet still comes, and is served; not for ever. */
static bool comes_nobody(struct drain *d, uint64_t now_us)
{
    const struct worker *w = d->worker;
    return (w->args.index == 0 ? is_quiet(d, now_us) : flow_is_closed(w->flow, d->inbound_only)) ||
           now_us + d->time_us / 2 >= d->until_us;
}

/* Closed is looked at first: what was handed over before it counts. */
static bool is_idle(const struct drain *d)
{
    const struct flows *f = d->worker->flow;
    return flow_is_closed(f, d->inbound_only) && flow_active(f) == 0;
}

/* True: all is over. */
static bool drain_step(struct drain *d, uint64_t now_us)
{
    struct flows *f = d->worker->flow;
    if (d->phase == DRAIN_ANNOUNCED && now_us >= d->announced_until_us) {
        d->phase = DRAIN_ENDING;
        d->quiet_since_us = now_us;
        flow_drain_conns(f, d->inbound_only);
    }
    if (d->phase == DRAIN_ENDING && comes_nobody(d, now_us)) {
        d->phase = DRAIN_STOPPED;
        flow_drain(f, d->inbound_only);
    }
    return d->phase == DRAIN_STOPPED && (is_idle(d) || now_us >= d->until_us);
}

static void look_at_drain(struct timer *t)
{
    struct drain *d = CONTAINER_OF(t, struct drain, timer);
    struct worker *w = d->worker;
    if (!drain_step(d, turn_now_us(w->turn))) {
        timer_start(w->turn, t, DRAIN_LOOK_US);
        return;
    }
    w->drain = NULL;
    d->mail.handle = on_drained_mail;
    mailbox_post(w->args.main, &d->mail);
}

static void on_drain_mail(struct turn *turn, struct mail *mail)
{
    struct drain *d = CONTAINER_OF(mail, struct drain, mail);
    struct worker *w = d->worker;
    if (w->drain != NULL) {
        /* Overtaken by this one: whoever waits for it is told all the same. */
        timer_stop(&w->drain->timer);
        w->drain->mail.handle = on_drained_mail;
        mailbox_post(w->args.main, &w->drain->mail);
    }
    w->drain = d;
    d->announced_until_us = turn_now_us(turn) + d->announce_us;
    d->until_us = turn_now_us(turn) + d->time_us;
    if (d->announce_us == 0) {
        d->phase = DRAIN_STOPPED;
        flow_drain(w->flow, d->inbound_only);
    }
    timer_init(&d->timer, look_at_drain);
    timer_start(turn, &d->timer, 0);
}

void worker_post_drain(struct worker *w, bool inbound_only, uint64_t announce_us, uint64_t time_us,
                       void (*on_drained)(void *ctx), void *ctx)
{
    struct drain *d = NEW(struct drain);
    *d = (struct drain){.mail = {.handle = on_drain_mail},
                        .worker = w,
                        .inbound_only = inbound_only,
                        .announce_us = announce_us,
                        .time_us = time_us,
                        .on_drained = on_drained,
                        .ctx = ctx};
    mailbox_post(w->turn, &d->mail);
}

/* --- life --- */

/* Connections out of the box go through the supervisor; those of the mesh never leave it. */
static struct conn *connect_outside(void *ctx, const struct addr *to,
                                    const struct conn_options *options,
                                    const struct conn_handler *handler, void *handler_ctx,
                                    const struct conn_layer_ops *layer_ops, void *layer)
{
    struct worker *w = ctx;
    struct conn_options own = *options;
    if (!flow_is_mesh_addr(w->flow, to)) {
        int fd = egress_client_connect(w->egress, to);
        if (fd > 0)
            own.connecting_fd = fd;
        else
            log_event(LOG_WARN, "egress_failed", LFC("error", err_text(fd)));
    }
    return conn_connect(w->turn, to, &own, handler, handler_ctx, layer_ops, layer);
}

static void make_parts(struct worker *w)
{
    const struct worker_args *a = &w->args;
    w->metrics = metrics_new(a->limits);
    w->tls = tls_store_new(a->ticket_key);
    if (a->egress_socket.len > 0)
        w->egress = egress_client_new(a->egress_socket);
    w->upstream = upstream_new(&(struct upstream_env){
        .turn = w->turn,
        .index = a->index,
        .share = &a->group->upstream,
        .limits = a->limits,
        .tls = w->tls,
        .metrics = w->metrics,
        .mark_outbound = a->mark_outbound,
        .mark_inbound = a->mark_inbound,
        .connect = w->egress != NULL ? connect_outside : NULL,
        .connect_ctx = w,
    });
    w->flow = flow_new(&(struct flow_env){
        .turn = w->turn,
        .index = a->index,
        .share = &a->group->connections,
        .logs = a->group->logs,
        .hand_over = hand_over,
        .on_room = on_room,
        .limits = a->limits,
        .tls = w->tls,
        .upstream = w->upstream,
        .metrics = w->metrics,
        .is_capture_chain_used = a->is_capture_chain_used,
        .mark_inbound = a->mark_inbound,
        .own_workload = a->workload,
        .own_namespace = a->namespace_,
        .own_app = a->app,
        .own_version = a->version,
        .own_principal = a->principal,
        .own_cluster = a->cluster_id,
        .on_detail_wanted = on_detail_wanted,
        .ctx = w,
    });
}

static void free_parts(struct worker *w)
{
    w->flow = flow_free(w->flow);
    turn_once(w->turn, 0);
    if (w->drain != NULL) {
        timer_stop(&w->drain->timer);
        free(w->drain);
    }
    w->egress = egress_client_free(w->egress);
    w->tls = tls_store_free(w->tls);
    w->metrics = metrics_free(w->metrics);
}

static void *run_thread(void *arg)
{
    struct worker *w = arg;
    /* Signals are the main thread's. */
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    turn_run(w->turn);
    return NULL;
}

struct worker *worker_new(const struct worker_args *args)
{
    struct worker *w = NEW(struct worker);
    w->args = *args;
    w->turn = turn_new_linux();
    make_parts(w);
    args->group->workers[args->index] = w;
    return w;
}

void worker_start(struct worker *w)
{
    int error = pthread_create(&w->thread, NULL, run_thread, w);
    ASSERT(error == 0);
    char name[16];
    snprintf(name, sizeof name, "worker-%u", w->args.index % 1000);
    pthread_setname_np(w->thread, name);
}

void worker_stop(struct worker *w)
{
    turn_stop(w->turn);
}

void worker_join(struct worker *w)
{
    pthread_join(w->thread, NULL);
}

void worker_end(struct worker *w)
{
    /* Mail of the others comes first: a connection that was handed over ends with the rest. */
    turn_once(w->turn, 0);
    flow_abort(w->flow);
    w->upstream = upstream_free(w->upstream);
    /* Connections tell of their end from the run list: give them the turns to do so. */
    for (int i = 0; i < END_TURNS_MAX; i++)
        turn_once(w->turn, 0);
}

struct worker *worker_free(struct worker *w)
{
    turn_once(w->turn, 0); /* what the ends of the others posted */
    free_parts(w);
    turn_free(w->turn);
    free(w);
    return NULL;
}

unsigned worker_index(const struct worker *w)
{
    return w->args.index;
}

static void set_overload(struct worker *w)
{
    const struct overload_share *s = &w->args.group->connections.overload;
    metrics_set(w->metrics, COUNTER_OVERLOAD_RUNG, atomic_load(&s->rung));
    metrics_set(w->metrics, COUNTER_OVERLOAD_PRESSURE,
                overload_percent(w->args.limits, atomic_load(&s->held_bytes)));
}

struct metrics *worker_metrics(struct worker *w)
{
    metrics_set(w->metrics, COUNTER_BYTES_HELD, (int64_t)turn_held_bytes(w->turn));
    metrics_set(w->metrics, COUNTER_ALLOCATIONS, (int64_t)mem_alloc_count());
    if (w->args.index == 0)
        set_overload(w); /* of the process: gauges of workers are added up */
    metrics_set(w->metrics, COUNTER_LOG_DROPPED, (int64_t)flow_logs_dropped(w->flow));
    return w->metrics;
}

struct upstream *worker_upstream(struct worker *w)
{
    return w->upstream;
}

void worker_render_listeners(struct worker *w, struct str_buf *to)
{
    flow_render_listeners(w->flow, to);
}
