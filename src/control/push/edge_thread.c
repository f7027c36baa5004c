/* One edge thread: its loop, its life, and the connections that thread 0 accepts for all. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "control/push/edge_priv.h"

enum {
    STRANGER_IDLE_US = 10 * 1000 * 1000,
    STRANGER_STREAMS_MAX = 4,
    KEEPALIVE_IDLE_S = 30,
    CLOSE_TURNS_MAX = 100,
    CERTIFICATES_PER_S = 50, /* of an identity, which may have many replicas */
    CERTIFICATES_BURST = 500,
    STRANGERS_PER_S = 50, /* of an address, which may stand for many hosts */
    STRANGERS_BURST = 500,
};

/* --- accepting --- */

struct transport_mail {
    struct mail mail;
    struct edge_thread *to;
    struct conn_transport transport;
    bool is_local;
};

static void on_transport(struct turn *turn, struct mail *mail)
{
    struct transport_mail *m = CONTAINER_OF(mail, struct transport_mail, mail);
    struct edge_thread *t = m->to;
    struct conn *c = NULL;
    if (t->is_stopping)
        conn_transport_close(turn, &m->transport);
    else
        c = conn_from_transport(turn, &m->transport);
    if (c != NULL)
        edge_conn_accept(t, c, m->is_local);
    else
        atomic_fetch_sub_explicit(&t->conn_count, 1, memory_order_relaxed);
    free(m);
}

static unsigned conns_of(const struct edge_thread *t)
{
    return atomic_load_explicit(&t->conn_count, memory_order_relaxed);
}

static struct edge_thread *least_loaded(const struct edge *e)
{
    struct edge_thread *best = e->threads[0];
    for (unsigned i = 1; i < e->thread_count; i++) {
        if (conns_of(e->threads[i]) < conns_of(best))
            best = e->threads[i];
    }
    return best;
}

/* True: it goes to another thread. */
static bool hand_over(struct edge_thread *t, const struct conn_transport *transport, bool is_local)
{
    struct edge_thread *to = least_loaded(t->edge);
    atomic_fetch_add_explicit(&to->conn_count, 1, memory_order_relaxed);
    if (to == t)
        return false;
    struct transport_mail *m = NEW(struct transport_mail);
    *m = (struct transport_mail){{.handle = on_transport}, to, *transport, is_local};
    mailbox_post(to->turn, &m->mail);
    return true;
}

static bool on_route(void *ctx, const struct conn_transport *transport)
{
    return hand_over(ctx, transport, false);
}

static void on_accept(void *ctx, struct conn *c)
{
    edge_conn_accept(ctx, c, false);
}

int edge_thread_listen(struct edge_thread *t, const struct addr *at)
{
    struct listen_options options = {
        .inherited_fd = -1, .keepalive_idle_s = KEEPALIVE_IDLE_S, .route = on_route};
    return listen_open(t->turn, at, &options, on_accept, t, &t->socket);
}

static bool on_route_local(void *ctx, const struct conn_transport *transport)
{
    return hand_over(ctx, transport, true);
}

static void on_accept_local(void *ctx, struct conn *c)
{
    edge_conn_accept(ctx, c, true);
}

int edge_thread_listen_local(struct edge_thread *t, const struct addr *at)
{
    struct listen_options options = {.inherited_fd = -1, .route = on_route_local};
    return listen_open(t->turn, at, &options, on_accept_local, t, &t->local);
}

/* --- what it shows --- */

struct creds_mail {
    struct mail mail;
    struct edge_thread *to;
    struct edge_creds *creds;
};

static void on_creds(struct turn *turn, struct mail *mail)
{
    struct creds_mail *m = CONTAINER_OF(mail, struct creds_mail, mail);
    (void)turn;
    edge_creds_unref(m->to->creds);
    m->to->creds = m->creds;
    free(m);
}

void edge_thread_post_creds(struct edge_thread *t, struct edge_creds *creds)
{
    struct creds_mail *m = NEW(struct creds_mail);
    *m = (struct creds_mail){{.handle = on_creds}, t, creds};
    mailbox_post(t->turn, &m->mail);
}

/* --- life --- */

static void set_config(struct edge_thread *t)
{
    limits_init(&t->limits);
    t->config = (struct http_server_config){
        .codec = HTTP_CODEC_2,
        .limits = &t->limits,
        .path = url_path_options_base,
        .headers_timeout_us = 10ull * 1000 * 1000,
        .idle_timeout_us = 3600ull * 1000 * 1000,
    };
    t->config.path.is_authority_unread = true;
    /* Who has no certificate wants one, and is gone then. */
    limits_init(&t->limits_strangers);
    t->limits_strangers.streams_per_connection_max = STRANGER_STREAMS_MAX;
    t->config_strangers = t->config;
    t->config_strangers.limits = &t->limits_strangers;
    t->config_strangers.idle_timeout_us = STRANGER_IDLE_US;
    t->config_strangers.stream_idle_timeout_us = STRANGER_IDLE_US;
    t->service = (struct service){&edge_call_ops, t};
    t->filter = (struct filter){&service_filter_ops, &t->service};
}

struct edge_thread *edge_thread_new(struct edge *e, unsigned index, struct edge_creds *creds)
{
    struct edge_thread *t = NEW(struct edge_thread);
    t->edge = e;
    t->index = index;
    t->turn = turn_new_linux();
    t->creds = edge_creds_ref(creds);
    atomic_init(&t->conn_count, 0);
    list_init(&t->conns);
    list_init(&t->unaries_queued);
    pace_init(&t->certificates, random_process_seed(), CERTIFICATES_PER_S, CERTIFICATES_BURST);
    pace_init(&t->strangers, random_process_seed(), STRANGERS_PER_S, STRANGERS_BURST);
    edge_conn_init_pools(t);
    set_config(t);
    return t;
}

static void end(struct edge_thread *t)
{
    t->is_stopping = true;
    if (t->local != NULL)
        (void)unlink(addr_path(listen_addr(t->local)));
    listen_close(t->socket);
    listen_close(t->local);
    t->socket = t->local = NULL;
    edge_conn_abort_all(t);
    /* Calls end in the turns that follow the abort. */
    for (int i = 0; i < CLOSE_TURNS_MAX && (!list_is_empty(&t->conns) || i < 3); i++)
        turn_once(t->turn, 0);
}

static void *run(void *arg)
{
    struct edge_thread *t = arg;
    turn_run(t->turn);
    end(t);
    return NULL;
}

int edge_thread_start(struct edge_thread *t)
{
    sigset_t all, old;
    sigfillset(&all);
    /* Signals are the brain's. */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int error = pthread_create(&t->thread, NULL, run, t);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (error != 0)
        return -ERR_SYSTEM;
    t->is_started = true;
    char name[16];
    snprintf(name, sizeof name, "edge-%u", t->index);
    (void)pthread_setname_np(t->thread, name);
    return 0;
}

void edge_thread_stop(struct edge_thread *t)
{
    if (!t->is_started) {
        end(t);
        return;
    }
    turn_stop(t->turn);
    pthread_join(t->thread, NULL);
}

struct edge_thread *edge_thread_free(struct edge_thread *t)
{
    if (t == NULL)
        return NULL;
    edge_conn_deinit_pools(t);
    edge_creds_unref(t->creds);
    turn_free(t->turn);
    free(t);
    return NULL;
}
