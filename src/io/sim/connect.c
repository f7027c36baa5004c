#include "io/sim/sim_priv.h"

#include <stdlib.h>

static const struct sim_refusal *find_refusal(const struct sim_world *w, const struct addr *to)
{
    for (size_t i = 0; i < w->refusals.len; i++) {
        if (addr_eq(&w->refusals.ptr[i].at, to))
            return &w->refusals.ptr[i];
    }
    return NULL;
}

static struct sim_listen *find_listen(struct sim_world *w, const struct addr *to)
{
    LIST_FOREACH (&w->listens, s, struct sim_listen, link) {
        const struct addr *at = &s->socket->addr;
        if (addr_eq(at, to) || (addr_is_any(at) && at->port == to->port))
            return s;
    }
    return NULL;
}

static struct addr source_addr(struct sim_world *w, const struct conn_options *options)
{
    struct addr from;
    if (options->bind != NULL)
        from = *options->bind;
    else
        addr_parse_ip(STR("10.255.0.1"), 0, &from);
    if (from.port == 0)
        from.port = w->next_port++;
    return from;
}

int sim_connect(struct conn_io *io, const struct addr *to, const struct conn_options *options)
{
    struct sim_world *w = sim_world_of(io->conn->turn);
    const struct sim_refusal *refusal = find_refusal(w, to);
    if (refusal != NULL && !refusal->is_silent)
        return -ERR_REFUSED;
    struct sim_link *l = NEW(struct sim_link);
    l->world = w;
    l->to = *to;
    l->from = source_addr(w, options);
    l->is_captured = w->capture.family != ADDR_NONE && options->mark == 0;
    l->is_silent = refusal != NULL;
    l->connect_at_us = w->now_us + sim_latency_us(w);
    list_init(&l->pending);
    sim_end_init(&l->ends[0], l);
    sim_end_init(&l->ends[1], l);
    l->ends[0].io = io;
    io->sim = &l->ends[0];
    list_push_back(&w->links, &l->link);
    return 0;
}

void sim_link_arrive(struct sim_link *l)
{
    struct sim_listen *s = find_listen(l->world, l->is_captured ? &l->world->capture : &l->to);
    l->ends[0].is_connected = true;
    if (s == NULL) {
        l->connect_err = -ERR_REFUSED;
        return;
    }
    list_push_back(&s->pending, &l->pending);
}

int sim_finish_connect(struct conn_io *io)
{
    struct sim_end *e = io->sim;
    if (!e->is_connected)
        return -ERR_AGAIN;
    io->conn->local = e->link->from;
    return e->link->connect_err;
}

void sim_link_free(struct sim_link *l)
{
    for (size_t i = 0; i < ARRAY_LEN(l->ends); i++) {
        if (l->ends[i].io != NULL)
            l->ends[i].io->sim = NULL;
        sim_end_deinit(&l->ends[i]);
    }
    list_remove(&l->link);
    list_remove(&l->pending);
    free(l);
}

int sim_listen(struct listen_socket *s, const struct addr *at, const struct listen_options *options)
{
    struct sim_world *w = sim_world_of(s->turn);
    if (options->inherited_fd >= 0)
        return -ERR_UNSUPPORTED;
    if (at->port != 0 && find_listen(w, at) != NULL)
        return -ERR_EXISTS;
    s->addr = *at;
    if (s->addr.port == 0 && at->family != ADDR_UNIX)
        s->addr.port = w->next_port++;
    s->sim = NEW(struct sim_listen);
    s->sim->socket = s;
    list_init(&s->sim->pending);
    list_push_back(&w->listens, &s->sim->link);
    return 0;
}

int sim_accept(struct listen_socket *s, struct conn_transport *ret_transport)
{
    struct sim_link *l = LIST_FIRST(&s->sim->pending, struct sim_link, pending);
    if (l == NULL)
        return -ERR_AGAIN;
    list_remove(&l->pending);
    l->is_accepted = true;
    l->accepted_at = s->addr;
    ret_transport->remote = l->from;
    ret_transport->sim = &l->ends[1];
    return 0;
}

int sim_adopt(struct conn_io *io, const struct conn_transport *transport)
{
    struct sim_end *e = transport->sim;
    const struct sim_link *l = e->link;
    e->io = io;
    e->is_connected = e->is_connect_told = true;
    io->sim = e;
    io->conn->local = l->is_captured ? l->accepted_at : l->to;
    if (l->is_captured)
        io->conn->original_dst = l->to;
    return 0;
}

void sim_drop(struct turn *t, const struct conn_transport *transport)
{
    struct sim_link *l = transport->sim->link;
    l->ends[1].is_closed = true;
    sim_pipe_put(sim_world_of(t), &l->ends[0].in, SIM_RESET, STR_NULL);
    if (l->ends[0].is_closed)
        sim_link_free(l);
}

void sim_listen_pause(struct listen_socket *s, bool is_paused)
{
    s->sim->is_paused = is_paused;
}

/* Who waits to be accepted is reset. */
void sim_listen_close(struct listen_socket *s)
{
    LIST_FOREACH (&s->sim->pending, l, struct sim_link, pending) {
        list_remove(&l->pending);
        l->ends[1].is_closed = true;
        sim_pipe_put(l->world, &l->ends[0].in, SIM_RESET, STR_NULL);
        if (l->ends[0].is_closed)
            sim_link_free(l);
    }
    list_remove(&s->sim->link);
    free(s->sim);
    s->sim = NULL;
}
