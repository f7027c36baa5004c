#include "io/io_priv.h"

#include <stdlib.h>

enum {
    LINGER_US = 5000000,     /* for what is left to be sent by conn_close */
    FIN_WAIT_US = 2000000,   /* for the peer's end, so that a reset does not eat what was sent */
    READ_BUDGET = 256 * 1024, /* of one connection in one turn */
    READ_MAX_DEFAULT = 64 * 1024,
    LOW_WATER_DEFAULT = 16 * 1024,
};

/* A connection and what io/ keeps of it are one object. */
struct conn_box {
    struct conn conn;
    struct conn_io io;
};

static void run_conn(struct turn_task *task);
static void on_timer(struct timer *timer);

/* ---- Life ---- */

struct conn_io *conn_io_new(struct turn *t, enum conn_state state)
{
    struct conn_box *box;
    if (t->conn_pool_count > 0) {
        struct conn_io *old = LIST_FIRST(&t->conn_pool, struct conn_io, link);
        list_remove(&old->link);
        t->conn_pool_count--;
        box = CONTAINER_OF(old, struct conn_box, io);
        memset(box, 0, sizeof *box);
    } else {
        box = NEW(struct conn_box);
    }
    struct conn *c = &box->conn;
    struct conn_io *io = &box->io;
    c->io = io;
    c->turn = t;
    c->account.parent = &t->account;
    c->read_max = READ_MAX_DEFAULT;
    c->low_water = LOW_WATER_DEFAULT;
    c->opened_us = t->now_us;
    struct chain *chains[] = {&c->in, &c->out, &io->wire_in, &io->wire_out};
    for (size_t i = 0; i < ARRAY_LEN(chains); i++)
        chain_init(chains[i], &t->chunks, &c->account);
    io->conn = c;
    io->state = state;
    io->fd = -1;
    io->is_writable = io->wants_open = state == CONN_OPEN;
    turn_task_init(&io->task, run_conn);
    timer_init(&io->timer, on_timer);
    list_init(&io->dirty_link);
    list_init(&io->full_link);
    list_push_back(&t->conns, &io->link);
    return io;
}

static void free_layer(struct conn_io *io)
{
    struct conn *c = io->conn;
    if (c->layer_ops != NULL)
        c->layer_ops->free(c->layer);
    c->layer_ops = NULL;
    c->layer = NULL;
}

static void unlink_conn(struct conn_io *io)
{
    turn_cancel(&io->task);
    timer_stop(&io->timer);
    list_remove(&io->dirty_link);
    list_remove(&io->full_link);
}

static void free_chains(struct conn_io *io)
{
    chain_deinit(&io->conn->in);
    chain_deinit(&io->conn->out);
    chain_deinit(&io->wire_in);
    chain_deinit(&io->wire_out);
}

void conn_io_discard(struct conn_io *io)
{
    struct turn *t = io->conn->turn;
    unlink_conn(io);
    list_remove(&io->link);
    t->ops->close(io, false);
    free_layer(io);
    free_chains(io);
    if (t->conn_pool_count < CONN_POOL_MAX) {
        list_push_front(&t->conn_pool, &io->link);
        t->conn_pool_count++;
    } else {
        free(CONTAINER_OF(io, struct conn_box, io));
    }
}

void conn_io_free_all(struct turn *t)
{
    while (!list_is_empty(&t->conns))
        conn_io_discard(LIST_FIRST(&t->conns, struct conn_io, link));
    while (!list_is_empty(&t->conn_pool)) {
        struct conn_io *io = LIST_FIRST(&t->conn_pool, struct conn_io, link);
        list_remove(&io->link);
        free(CONTAINER_OF(io, struct conn_box, io));
    }
}

static void free_buried(struct grave *g)
{
    conn_io_discard(CONTAINER_OF(g, struct conn_io, grave));
}

static void bury(struct conn_io *io)
{
    unlink_conn(io);
    turn_bury(io->conn->turn, &io->grave, free_buried);
}

/* Ends all callbacks but on_close, which follows from the run list. */
static void die(struct conn_io *io, int err)
{
    struct conn *c = io->conn;
    if (io->state == CONN_DEAD || io->state == CONN_LINGER)
        return;
    if (c->err == 0)
        c->err = err;
    /* After our own orderly end the peer's is awaited: closing while its bytes come in makes TCP
     * send a reset, which may overtake what we sent. */
    bool is_lingering = io->is_end_done && !io->is_wire_ended && err == 0;
    io->state = CONN_DEAD;
    unlink_conn(io);
    if (!is_lingering)
        c->turn->ops->close(io, io->is_aborted);
    turn_soon(c->turn, &io->task);
}

static void report_close(struct conn_io *io)
{
    struct conn *c = io->conn;
    if (c->handler != NULL && c->handler->on_close != NULL)
        c->handler->on_close(c, c->err);
    c->handler = NULL;
    free_layer(io);
    chain_clear(&c->in);
    chain_clear(&c->out);
    chain_clear(&io->wire_in);
    chain_clear(&io->wire_out);
    if (!io->is_end_done || io->is_wire_ended || c->err != 0 || io->is_aborted) {
        bury(io);
        return;
    }
    io->state = CONN_LINGER;
    timer_start(c->turn, &io->timer, FIN_WAIT_US);
    turn_soon(c->turn, &io->task);
}

/* Reads and drops; true when the peer has ended or broken. */
static bool drop_input(struct conn_io *io, int *ret_err)
{
    struct turn *t = io->conn->turn;
    *ret_err = 0;
    for (size_t budget = READ_BUDGET; io->is_readable && !io->is_wire_ended;) {
        size_t len = 0;
        enum io_read what = t->ops->read(io, &io->wire_in, &len, ret_err);
        chain_clear(&io->wire_in);
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
        die(io, -ERR_TIMEOUT);
        break;
    case CONN_CLOSING:
        io->is_aborted = true;
        die(io, -ERR_TIMEOUT);
        break;
    case CONN_LINGER:
        bury(io);
        break;
    case CONN_HANDSHAKE:
    case CONN_OPEN:
    case CONN_DEAD:
        break;
    }
}

/* ---- In ---- */

static void mark_dirty(struct conn_io *io)
{
    if (!list_is_linked(&io->dirty_link))
        list_push_back(&io->conn->turn->dirty, &io->dirty_link);
}

/* The layer has failed: its alert still goes out, nothing else does. */
static void fail_layer(struct conn_io *io, int err)
{
    struct conn *c = io->conn;
    if (c->err == 0)
        c->err = err;
    io->state = CONN_CLOSING;
    io->is_farewell = io->is_end_wanted = io->is_end_added = true;
    list_remove(&io->full_link);
    chain_clear(&c->out);
    timer_start(c->turn, &io->timer, LINGER_US);
    mark_dirty(io);
}

/* Gives wire_in to the layer; false when the connection is over. */
static bool feed_layer(struct conn_io *io)
{
    struct conn *c = io->conn;
    bool is_open = false, is_ended = false;
    size_t before = c->in.len;
    int err = c->layer_ops->input(c->layer, &io->wire_in, &c->in, &io->wire_out, &is_open,
                                  &is_ended);
    if (err < 0) {
        fail_layer(io, err);
        return false;
    }
    if (!chain_is_empty(&io->wire_out))
        mark_dirty(io);
    if (is_open && !io->is_layer_open) {
        io->is_layer_open = io->wants_open = true;
        io->state = CONN_OPEN;
        mark_dirty(io);
    }
    if (is_ended)
        io->is_in_ended = true;
    if (is_ended || c->in.len > before)
        io->wants_input = true;
    return true;
}

static void on_wire_ended(struct conn_io *io)
{
    struct conn *c = io->conn;
    io->is_readable = false;
    io->is_wire_ended = true;
    if (io->is_in_ended)
        return;
    if (c->layer_ops != NULL) {
        if (io->state == CONN_HANDSHAKE) {
            die(io, -ERR_CLOSED);
            return;
        }
        /* An end that nobody signed (RFC 8446 6.1): an attacker may have cut the stream. */
        c->err = -ERR_TRUNCATED;
    }
    io->is_in_ended = io->wants_input = true;
}

static bool may_read(struct conn_io *io)
{
    const struct conn *c = io->conn;
    if (!io->is_readable || io->is_wire_ended)
        return false;
    if (io->state == CONN_HANDSHAKE)
        return true;
    if (io->state != CONN_OPEN || c->in.len >= c->read_max)
        return false;
    /* Paused, but the peer has hung up and left nothing to read: that end may be told. */
    return !io->is_paused || (io->is_hup && c->turn->ops->is_drained(io));
}

static void read_all(struct conn_io *io)
{
    struct conn *c = io->conn;
    struct turn *t = c->turn;
    for (size_t budget = READ_BUDGET; may_read(io);) {
        size_t len = 0;
        int err = 0;
        struct chain *to = c->layer_ops != NULL ? &io->wire_in : &c->in;
        enum io_read what = t->ops->read(io, to, &len, &err);
        c->bytes_in += len;
        if (len > 0 && c->layer_ops == NULL)
            io->wants_input = true;
        if (len > 0 && c->layer_ops != NULL && io->is_in_ended)
            chain_clear(&io->wire_in); /* behind the peer's farewell */
        else if (len > 0 && c->layer_ops != NULL && !feed_layer(io))
            return;
        switch (what) {
        case IO_READ_MORE:
            break;
        case IO_READ_DRAINED:
            io->is_readable = false;
            break;
        case IO_READ_ENDED:
            on_wire_ended(io);
            break;
        case IO_READ_FAILED:
            io->is_wire_ended = true;
            io->read_err = err;
            break;
        }
        if (len >= budget) {
            turn_later(t, &io->task);
            return;
        }
        budget -= len;
    }
}

/* ---- Callbacks ---- */

static void call_open(struct conn_io *io)
{
    struct conn *c = io->conn;
    if (io->state != CONN_OPEN || !io->wants_open)
        return;
    io->wants_open = false;
    if (c->handler != NULL && c->handler->on_open != NULL)
        c->handler->on_open(c);
}

static void call_input(struct conn_io *io)
{
    struct conn *c = io->conn;
    if (io->state != CONN_OPEN || !io->wants_input || io->is_paused)
        return;
    io->wants_input = false;
    if (c->handler != NULL && c->handler->on_input != NULL)
        c->handler->on_input(c);
}

static void call_drain(struct conn_io *io)
{
    struct conn *c = io->conn;
    if (io->state != CONN_OPEN || !io->wants_drain)
        return;
    io->wants_drain = false;
    if (c->handler != NULL && c->handler->on_drain != NULL)
        c->handler->on_drain(c);
}

/* What follows once the callbacks are through: failures that waited for them, an end on both
 * sides, reading that has to go on. */
static void settle(struct conn_io *io)
{
    struct conn *c = io->conn;
    if (io->state == CONN_HANDSHAKE && (io->read_err != 0 || io->write_err != 0)) {
        die(io, io->read_err != 0 ? io->read_err : io->write_err);
        return;
    }
    if (io->state != CONN_OPEN)
        return;
    if (io->wants_open || (io->wants_input && !io->is_paused)) {
        turn_soon(c->turn, &io->task);
        return;
    }
    if (io->read_err != 0)
        die(io, io->read_err);
    else if (io->write_err != 0 && !may_read(io))
        die(io, io->write_err);
    else if (io->is_in_ended && io->is_end_done && chain_is_empty(&c->in))
        die(io, 0);
    else if (may_read(io))
        turn_later(c->turn, &io->task);
    else if (io->is_readable && c->in.len >= c->read_max && !list_is_linked(&io->full_link))
        list_push_back(&c->turn->full, &io->full_link);
}

static void pump(struct conn_io *io)
{
    if (io->wants_feed) {
        io->wants_feed = false;
        if (!feed_layer(io))
            return;
        if (io->state == CONN_HANDSHAKE && io->is_wire_ended) {
            die(io, -ERR_CLOSED);
            return;
        }
    }
    call_open(io);
    read_all(io);
    call_open(io);
    call_input(io);
    call_drain(io);
    settle(io);
}

static void on_transport(struct conn_io *io)
{
    struct conn *c = io->conn;
    int err = c->turn->ops->finish_connect(io);
    if (err == -ERR_AGAIN)
        return;
    if (err < 0) {
        die(io, err);
        return;
    }
    timer_stop(&io->timer);
    c->opened_us = c->turn->now_us;
    io->is_writable = true;
    io->state = c->layer_ops != NULL ? CONN_HANDSHAKE : CONN_OPEN;
    io->wants_feed = c->layer_ops != NULL;
    io->wants_open = c->layer_ops == NULL;
    mark_dirty(io);
    pump(io);
}

static void run_conn(struct turn_task *task)
{
    struct conn_io *io = CONTAINER_OF(task, struct conn_io, task);
    int err;
    switch (io->state) {
    case CONN_CONNECTING:
        on_transport(io);
        break;
    case CONN_HANDSHAKE:
    case CONN_OPEN:
        pump(io);
        break;
    case CONN_CLOSING:
        if (drop_input(io, &err) && err != 0)
            die(io, err);
        break;
    case CONN_DEAD:
        report_close(io);
        break;
    case CONN_LINGER:
        if (drop_input(io, &err))
            bury(io);
        break;
    }
}

/* ---- Out ---- */

/* `out` through the layer; false when the connection is over. */
static bool transform(struct conn_io *io)
{
    struct conn *c = io->conn;
    bool is_ready = c->layer_ops == NULL || io->is_layer_open;
    if (!is_ready || io->is_farewell)
        return true;
    if (c->layer_ops != NULL && !chain_is_empty(&c->out)) {
        int err = c->layer_ops->output(c->layer, &c->out, &io->wire_out);
        if (err < 0) {
            die(io, err);
            return false;
        }
    }
    if (io->is_end_wanted && !io->is_end_added) {
        io->is_end_added = true;
        if (c->layer_ops != NULL)
            c->layer_ops->end(c->layer, &io->wire_out);
    }
    return true;
}

static void on_write_failed(struct conn_io *io, int err)
{
    struct conn *c = io->conn;
    chain_clear(&c->out);
    chain_clear(&io->wire_out);
    if (io->state == CONN_CLOSING) {
        die(io, err);
        return;
    }
    /* What the peer said before it went is still worth reading: an early answer, for instance. */
    io->write_err = err;
    io->is_readable = true;
    turn_soon(c->turn, &io->task);
}

static void on_sent(struct conn_io *io)
{
    struct turn *t = io->conn->turn;
    if (!io->is_end_added)
        return;
    if (!io->is_end_done) {
        io->is_end_done = true;
        t->ops->end(io);
    }
    if (io->state == CONN_CLOSING)
        die(io, 0);
    else
        turn_soon(t, &io->task);
}

static void check_drain(struct conn_io *io)
{
    struct conn *c = io->conn;
    if (!io->was_above || conn_out_len(c) > c->low_water)
        return;
    io->was_above = false;
    io->wants_drain = true;
    if (io->state == CONN_OPEN)
        turn_soon(c->turn, &io->task);
}

void conn_io_flush(struct conn_io *io)
{
    struct conn *c = io->conn;
    if (io->state == CONN_DEAD || io->state == CONN_LINGER)
        return;
    io->was_above |= conn_out_len(c) > c->low_water;
    if (io->write_err != 0) {
        chain_clear(&c->out);
        return;
    }
    if (io->state == CONN_CONNECTING || !io->is_writable || !transform(io))
        return;
    struct chain *from = &io->wire_out;
    if (c->layer_ops == NULL)
        from = &c->out;
    while (!chain_is_empty(from) && io->is_writable) {
        ssize_t n = c->turn->ops->write(io, from);
        if (n < 0) {
            on_write_failed(io, (int)n);
            return;
        }
        c->bytes_out += (uint64_t)n;
    }
    if (chain_is_empty(from))
        on_sent(io);
    check_drain(io);
}

/* ---- Marks, for the backends and the turn ---- */

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
        mark_dirty(io);
    }
}

void conn_io_check_full(struct turn *t)
{
    LIST_FOREACH(&t->full, io, struct conn_io, full_link) {
        if (io->conn->in.len < io->conn->read_max) {
            list_remove(&io->full_link);
            turn_soon(t, &io->task);
        }
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
    c->layer_ops = layer_ops;
    c->layer = layer;
    c->remote = *to;
    options = options != NULL ? options : &none;
    int err = t->ops->connect(io, to, options);
    if (err < 0)
        die(io, err);
    else if (options->connect_timeout_us > 0)
        timer_start(t, &io->timer, options->connect_timeout_us);
    return c;
}

void conn_set_layer(struct conn *c, const struct conn_layer_ops *layer_ops, void *layer)
{
    struct conn_io *io = c->io;
    ASSERT(c->layer_ops == NULL);
    c->layer_ops = layer_ops;
    c->layer = layer;
    if (io->state != CONN_OPEN)
        return; /* still connecting; or over, and freed with it */
    io->state = CONN_HANDSHAKE;
    io->wants_open = io->wants_input = io->is_in_ended = false;
    io->wants_feed = true;
    list_remove(&io->full_link);
    chain_move(&io->wire_in, &c->in, c->in.len);
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
        mark_dirty(c->io);
}

size_t conn_out_len(const struct conn *c)
{
    return c->out.len + c->io->wire_out.len;
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
        die(io, 0);
        return;
    case CONN_OPEN:
        break;
    case CONN_CLOSING:
    case CONN_DEAD:
    case CONN_LINGER:
        return;
    }
    if (io->write_err != 0 || io->read_err != 0) {
        die(io, 0);
        return;
    }
    io->state = CONN_CLOSING;
    io->is_end_wanted = true;
    list_remove(&io->full_link);
    timer_start(c->turn, &io->timer, LINGER_US);
    mark_dirty(io);
}

void conn_abort(struct conn *c, int err)
{
    struct conn_io *io = c->io;
    if (io->state == CONN_DEAD || io->state == CONN_LINGER)
        return;
    c->err = err;
    io->is_aborted = true;
    die(io, err);
}
