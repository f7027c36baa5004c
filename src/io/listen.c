#include "io/io_priv.h"

#include <stdlib.h>

enum {
    ACCEPT_BUDGET = 64,  /* of one socket in one turn */
    STARVED_US = 100000, /* out of descriptors: rest before the next try */
};

struct conn *conn_from_transport(struct turn *t, const struct conn_transport *transport)
{
    struct conn_io *io = conn_io_new(t, CONN_OPEN);
    io->conn->remote = transport->remote;
    if (t->ops->adopt(io, transport) == 0)
        return io->conn;
    conn_io_discard(io);
    return NULL;
}

void conn_transport_close(struct turn *t, const struct conn_transport *transport)
{
    t->ops->drop(t, transport);
}

/* The callee adopts the connection by giving it a handler; else it is closed. */
static void deliver(struct listen_socket *s, const struct conn_transport *transport)
{
    if (s->route != NULL && s->route(s->ctx, transport))
        return;
    struct conn *c = conn_from_transport(s->turn, transport);
    if (c == NULL)
        return;
    s->accept(s->ctx, c);
    if (c->handler == NULL)
        conn_abort(c, -ERR_CANCELED);
}

static void starve(struct listen_socket *s)
{
    s->is_starved = true;
    s->turn->ops->listen_pause(s, true);
    timer_start(s->turn, &s->timer, STARVED_US);
}

static void run_listen(struct turn_task *task)
{
    struct listen_socket *s = CONTAINER_OF(task, struct listen_socket, task);
    struct turn *t = s->turn;
    for (int i = 0; i < ACCEPT_BUDGET; i++) {
        if (s->is_paused || s->is_starved || s->is_closed)
            return;
        struct conn_transport transport = {.fd = -1, .is_transparent_dst = s->is_transparent_dst};
        int err = t->ops->accept(s, &transport);
        if (err == 0) {
            deliver(s, &transport);
            continue;
        }
        if (err == -ERR_LIMIT)
            starve(s);
        if (err == -ERR_AGAIN || err == -ERR_LIMIT)
            return;
    }
    turn_later(t, task);
}

static void on_rested(struct timer *timer)
{
    struct listen_socket *s = CONTAINER_OF(timer, struct listen_socket, timer);
    s->is_starved = false;
    if (!s->is_paused)
        s->turn->ops->listen_pause(s, false);
}

void listen_io_mark(struct listen_socket *s)
{
    turn_soon(s->turn, &s->task);
}

int listen_open(struct turn *t, const struct addr *at, const struct listen_options *options,
                listen_fn *accept, void *ctx, struct listen_socket **ret_socket)
{
    static const struct listen_options none = {.inherited_fd = -1};
    options = options != NULL ? options : &none;
    struct listen_socket *s = NEW(struct listen_socket);
    s->turn = t;
    s->accept = accept;
    s->route = options->route;
    s->ctx = ctx;
    s->fd = -1;
    s->is_transparent_dst = options->is_transparent_dst;
    s->mark = options->mark;
    turn_task_init(&s->task, run_listen);
    timer_init(&s->timer, on_rested);
    int err = t->ops->listen(s, at, options);
    if (err < 0) {
        free(s);
        return err;
    }
    list_push_back(&t->listens, &s->link);
    *ret_socket = s;
    return 0;
}

void listen_pause(struct listen_socket *s)
{
    if (s->is_paused)
        return;
    s->is_paused = true;
    if (!s->is_starved)
        s->turn->ops->listen_pause(s, true);
}

void listen_resume(struct listen_socket *s)
{
    if (!s->is_paused)
        return;
    s->is_paused = false;
    if (!s->is_starved)
        s->turn->ops->listen_pause(s, false);
}

static void free_buried(struct grave *g)
{
    free(CONTAINER_OF(g, struct listen_socket, grave));
}

void listen_close(struct listen_socket *s)
{
    if (s == NULL || s->is_closed)
        return;
    s->is_closed = true;
    turn_cancel(&s->task);
    timer_stop(&s->timer);
    list_remove(&s->link);
    s->turn->ops->listen_close(s);
    turn_bury(s->turn, &s->grave, free_buried);
}

const struct addr *listen_addr(const struct listen_socket *s)
{
    return &s->addr;
}
