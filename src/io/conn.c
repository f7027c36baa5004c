/* Connections: their life and what their handlers may call. How they run is conn_run.c. */
#include "io/io_priv.h"

#include <stdlib.h>

enum {
    FIN_WAIT_US = 2000000, /* for the peer's end, so that a reset does not eat what was sent */
    READ_MAX_DEFAULT = 64 * 1024,
};

/* A connection and what io/ keeps of it are one object. There are ten thousands of them, nearly all
 * idle: what few need (a layer's chains) is not in it. */
struct conn_box {
    struct conn conn;
    struct conn_io io;
};
_Static_assert(sizeof(struct conn_box) <= 456, "what an idle connection costs");

static void on_timer(struct timer *timer);

/* ---- Life ---- */

static struct conn_box *box_acquire(struct turn *t)
{
    if (t->conn_pool_count == 0)
        return NEW(struct conn_box);
    struct conn_io *old = LIST_ENTRY(t->conn_pool.next, struct conn_io, link);
    struct conn_box *box = CONTAINER_OF(old, struct conn_box, io);
    list_remove(&old->link);
    t->conn_pool_count--;
    memset(box, 0, sizeof *box);
    return box;
}

struct conn_io *conn_io_new(struct turn *t, enum conn_state state)
{
    struct conn_box *box = box_acquire(t);
    struct conn *c = &box->conn;
    struct conn_io *io = &box->io;
    c->io = io;
    c->turn = t;
    c->account.parent = &t->account;
    c->read_max = READ_MAX_DEFAULT;
    c->close_wait_us = FIN_WAIT_US;
    chain_init(&c->in, &t->chunks, &c->account);
    chain_init(&c->out, &t->chunks, &c->account);
    io->conn = c;
    io->state = state;
    io->fd = -1;
    io->is_writable = io->wants_open = state == CONN_OPEN;
    turn_task_init(&io->task, conn_io_run);
    timer_init(&io->timer, on_timer);
    list_init(&io->dirty_link);
    list_init(&io->barred_link);
    list_push_back(&t->conns, &io->link);
    return io;
}

static void take_layer(struct conn_io *io, const struct conn_layer_ops *layer_ops, void *layer)
{
    struct conn *c = io->conn;
    c->layer_ops = layer_ops;
    c->layer = layer;
    if (layer_ops == NULL)
        return;
    io->wire = NEW(struct conn_wire);
    chain_init(&io->wire->in, &c->turn->chunks, &c->account);
    chain_init(&io->wire->out, &c->turn->chunks, &c->account);
}

static void free_layer(struct conn_io *io)
{
    struct conn *c = io->conn;
    if (c->layer_ops == NULL)
        return;
    c->layer_ops->free(c->layer);
    c->layer_ops = NULL;
    c->layer = NULL;
    chain_deinit(&io->wire->in);
    chain_deinit(&io->wire->out);
    free(io->wire);
    io->wire = NULL;
}

static void unlink_conn(struct conn_io *io)
{
    turn_cancel(&io->task);
    timer_stop(&io->timer);
    list_remove(&io->dirty_link);
    list_remove(&io->barred_link);
}

void conn_io_discard(struct conn_io *io)
{
    struct turn *t = io->conn->turn;
    unlink_conn(io);
    list_remove(&io->link);
    t->ops->close(io, false);
    free_layer(io);
    chain_deinit(&io->conn->in);
    chain_deinit(&io->conn->out);
    if (t->conn_pool_count < CONN_POOL_MAX) {
        list_push_front(&t->conn_pool, &io->link);
        t->conn_pool_count++;
    } else {
        free(CONTAINER_OF(io, struct conn_box, io));
    }
}

void conn_io_free_all(struct turn *t)
{
    LIST_FOREACH (&t->conns, io, struct conn_io, link)
        conn_io_discard(io);
    LIST_FOREACH (&t->conn_pool, io, struct conn_io, link) {
        list_remove(&io->link);
        free(CONTAINER_OF(io, struct conn_box, io));
    }
}

static void free_buried(struct grave *g)
{
    conn_io_discard(CONTAINER_OF(g, struct conn_io, grave));
}

void conn_io_bury(struct conn_io *io)
{
    unlink_conn(io);
    turn_bury(io->conn->turn, &io->grave, free_buried);
}

void conn_io_die(struct conn_io *io, int err)
{
    struct conn *c = io->conn;
    if (io->state == CONN_DEAD || io->state == CONN_LINGER)
        return;
    if (c->err == 0)
        c->err = err;
    /* After our own orderly end the peer's is awaited: closing while its bytes come in makes TCP
     * send a reset, which may overtake what we sent. */
    io->is_lingering = io->is_end_done && !io->is_wire_ended && !io->is_aborted && err == 0 &&
                       c->close_wait_us > 0;
    io->state = CONN_DEAD;
    unlink_conn(io);
    if (!io->is_lingering)
        c->turn->ops->close(io, io->is_aborted);
    turn_soon(c->turn, &io->task);
}

void conn_io_report_close(struct conn_io *io)
{
    struct conn *c = io->conn;
    if (c->handler != NULL && c->handler->on_close != NULL)
        c->handler->on_close(c, c->err);
    c->handler = NULL;
    free_layer(io);
    chain_clear(&c->in);
    chain_clear(&c->out);
    if (!io->is_lingering) {
        conn_io_bury(io);
        return;
    }
    io->state = CONN_LINGER;
    timer_start(c->turn, &io->timer, c->close_wait_us);
    turn_soon(c->turn, &io->task);
}

bool conn_io_drop_input(struct conn_io *io, int *ret_err)
{
    struct turn *t = io->conn->turn;
    struct chain dropped;
    chain_init(&dropped, &t->chunks, NULL);
    *ret_err = 0;
    for (size_t budget = CONN_READ_BUDGET; io->is_readable && !io->is_wire_ended;) {
        size_t len = 0;
        enum io_read what = t->ops->read(io, &dropped, SIZE_MAX, &len, ret_err);
        chain_clear(&dropped);
        if (what == IO_READ_ENDED || what == IO_READ_FAILED)
            io->is_wire_ended = true;
        if (what == IO_READ_DRAINED)
            io->is_readable = false;
        if (len >= budget) {
            turn_later(t, &io->task);
            break;
        }
        budget -= len;
    }
    return io->is_wire_ended;
}

static void on_timer(struct timer *timer)
{
    struct conn_io *io = CONTAINER_OF(timer, struct conn_io, timer);
    switch (io->state) {
    case CONN_CONNECTING:
        conn_io_die(io, -ERR_TIMEOUT);
        break;
    case CONN_CLOSING:
        io->is_aborted = true;
        conn_io_die(io, -ERR_TIMEOUT);
        break;
    case CONN_LINGER:
        conn_io_bury(io);
        break;
    case CONN_HANDSHAKE:
    case CONN_OPEN:
    case CONN_DEAD:
        break;
    }
}

/* ---- Marks, for the backends and the turn ---- */

void conn_io_mark_dirty(struct conn_io *io)
{
    if (!list_is_linked(&io->dirty_link))
        list_push_back(&io->conn->turn->dirty, &io->dirty_link);
}

void conn_io_mark_readable(struct conn_io *io, bool is_hup)
{
    io->is_readable = true;
    io->is_hup |= is_hup;
    turn_soon(io->conn->turn, &io->task);
}

void conn_io_mark_writable(struct conn_io *io)
{
    if (io->state == CONN_CONNECTING) {
        turn_soon(io->conn->turn, &io->task);
    } else if (!io->is_writable) {
        io->is_writable = true;
        conn_io_mark_dirty(io);
    }
}

void conn_io_lift_bar(struct turn *t)
{
    if (turn_is_barred(t))
        return;
    LIST_FOREACH (&t->barred, io, struct conn_io, barred_link) {
        list_remove(&io->barred_link);
        turn_soon(t, &io->task);
    }
}

/* ---- The handler's calls ---- */

struct conn *conn_connect(struct turn *t, const struct addr *to, const struct conn_options *options,
                          const struct conn_handler *handler, void *ctx,
                          const struct conn_layer_ops *layer_ops, void *layer)
{
    static const struct conn_options none;
    struct conn_io *io = conn_io_new(t, CONN_CONNECTING);
    struct conn *c = io->conn;
    c->handler = handler;
    c->ctx = ctx;
    take_layer(io, layer_ops, layer);
    c->remote = *to;
    options = options != NULL ? options : &none;
    if (options->preface.len > 0)
        chain_add(layer_ops != NULL ? &io->wire->out : &c->out, options->preface);
    int err = t->ops->connect(io, to, options);
    if (err < 0)
        conn_io_die(io, err);
    else if (options->connect_timeout_us > 0)
        timer_start(t, &io->timer, options->connect_timeout_us);
    if (err >= 0 && options->preface.len > 0)
        conn_mark_dirty(c);
    return c;
}

void conn_set_layer(struct conn *c, const struct conn_layer_ops *layer_ops, void *layer)
{
    struct conn_io *io = c->io;
    ASSERT(c->layer_ops == NULL);
    take_layer(io, layer_ops, layer);
    if (io->state != CONN_OPEN)
        return; /* still connecting; or over, and freed with it */
    io->state = CONN_HANDSHAKE;
    io->wants_open = io->wants_input = io->is_in_ended = false;
    io->wants_feed = true;
    list_remove(&io->barred_link);
    chain_move(&io->wire->in, &c->in, c->in.len);
    turn_soon(c->turn, &io->task);
}

void conn_set_handler(struct conn *c, const struct conn_handler *handler, void *ctx)
{
    struct conn_io *io = c->io;
    c->handler = handler;
    c->ctx = ctx;
    if (io->state != CONN_OPEN)
        return;
    io->wants_open = true;
    if (!chain_is_empty(&c->in) || io->is_in_ended)
        io->wants_input = true;
    turn_soon(c->turn, &io->task);
}

struct str conn_error_text(const struct conn *c)
{
    return c->layer_ops != NULL ? c->layer_ops->error_text(c->layer) : STR_NULL;
}

void conn_mark_dirty(struct conn *c)
{
    if (c->io->state == CONN_HANDSHAKE || c->io->state == CONN_OPEN)
        conn_io_mark_dirty(c->io);
}

size_t conn_out_len(const struct conn *c)
{
    return c->out.len + (c->io->wire != NULL ? c->io->wire->out.len : 0);
}

void conn_ask_drain(struct conn *c)
{
    c->io->is_drain_asked = true;
    conn_mark_dirty(c);
}

void conn_pause(struct conn *c)
{
    c->io->is_paused = true;
}

void conn_resume(struct conn *c)
{
    struct conn_io *io = c->io;
    if (!io->is_paused)
        return;
    io->is_paused = false;
    if (!chain_is_empty(&c->in))
        io->wants_input = true;
    if (io->state == CONN_OPEN)
        turn_soon(c->turn, &io->task);
}

void conn_wake(struct conn *c)
{
    if (c->io->state != CONN_OPEN)
        return;
    c->io->wants_input = true;
    turn_soon(c->turn, &c->io->task);
}

bool conn_is_open(const struct conn *c)
{
    return c->io->state == CONN_OPEN;
}

int conn_peer(const struct conn *c, struct conn_peer *ret_peer)
{
    const struct io_ops *ops = c->turn->ops;
    return ops->peer != NULL ? ops->peer(c->io, ret_peer) : -ERR_UNSUPPORTED;
}

bool conn_is_in_ended(const struct conn *c)
{
    return c->io->is_in_ended;
}

void conn_end(struct conn *c)
{
    struct conn_io *io = c->io;
    if (io->is_end_wanted)
        return;
    io->is_end_wanted = true;
    conn_mark_dirty(c);
}

void conn_close(struct conn *c)
{
    struct conn_io *io = c->io;
    switch (io->state) {
    case CONN_CONNECTING:
    case CONN_HANDSHAKE:
        conn_io_die(io, 0);
        return;
    case CONN_OPEN:
        break;
    case CONN_CLOSING:
    case CONN_DEAD:
    case CONN_LINGER:
        return;
    }
    if (io->write_err != 0 || io->read_err != 0) {
        conn_io_die(io, 0);
        return;
    }
    io->state = CONN_CLOSING;
    io->is_end_wanted = true;
    list_remove(&io->barred_link);
    timer_start(c->turn, &io->timer, CONN_LINGER_US);
    conn_io_mark_dirty(io);
}

void conn_abort(struct conn *c, int err)
{
    struct conn_io *io = c->io;
    if (io->state == CONN_DEAD || io->state == CONN_LINGER)
        return;
    c->err = err;
    io->is_aborted = true;
    conn_io_die(io, err);
}
