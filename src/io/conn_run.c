/* Connections at work: bytes in, callbacks, bytes out. All of it is called by the turn. */
#include "io/io_priv.h"

/* ---- In ---- */

/* The layer has failed: its alert still goes out, nothing else does. */
static void fail_layer(struct conn_io *io, int err)
{
    struct conn *c = io->conn;
    if (c->err == 0)
        c->err = err;
    io->state = CONN_CLOSING;
    io->is_farewell = io->is_end_wanted = io->is_end_added = true;
    list_remove(&io->barred_link);
    chain_clear(&c->out);
    timer_start(c->turn, &io->timer, CONN_LINGER_US);
    conn_io_mark_dirty(io);
}

/* Gives wire_in to the layer; false when the connection is over. */
static bool feed_layer(struct conn_io *io)
{
    struct conn *c = io->conn;
    bool is_open = false, is_ended = false;
    size_t before = c->in.len;
    int err =
        c->layer_ops->input(c->layer, &io->wire->in, &c->in, &io->wire->out, &is_open, &is_ended);
    if (err < 0) {
        fail_layer(io, err);
        return false;
    }
    if (!chain_is_empty(&io->wire->out))
        conn_io_mark_dirty(io);
    if (is_open && !io->is_layer_open) {
        io->is_layer_open = io->wants_open = true;
        io->state = CONN_OPEN;
        conn_io_mark_dirty(io);
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
            conn_io_die(io, -ERR_CLOSED);
            return;
        }
        /* An end that nobody signed (RFC 8446 6.1): an attacker may have cut the stream. */
        c->err = -ERR_TRUNCATED;
    }
    io->is_in_ended = io->wants_input = true;
}

static bool has_room(const struct conn_io *io)
{
    const struct conn *c = io->conn;
    return c->in.len < c->read_max && !turn_is_barred(c->turn);
}

static bool may_read(struct conn_io *io)
{
    const struct conn *c = io->conn;
    if (!io->is_readable || io->is_wire_ended)
        return false;
    if (io->state == CONN_HANDSHAKE)
        return true;
    if (io->state != CONN_OPEN || !has_room(io))
        return false;
    /* Paused, but the peer has hung up and left nothing to read: that end may be told. */
    return !io->is_paused || (io->is_hup && c->turn->ops->is_drained(io));
}

/* A layer gives what it has been given, and the record that this completes. */
static size_t read_room(const struct conn_io *io)
{
    enum { LAYER_READ_MIN = 4096 };
    const struct conn *c = io->conn;
    size_t room = c->read_max > c->in.len ? c->read_max - c->in.len : 0;
    return c->layer_ops != NULL ? MAX(room, (size_t)LAYER_READ_MIN) : room;
}

static void read_all(struct conn_io *io)
{
    struct conn *c = io->conn;
    struct turn *t = c->turn;
    for (size_t budget = CONN_READ_BUDGET; may_read(io);) {
        size_t len = 0;
        int err = 0;
        struct chain *to = c->layer_ops != NULL ? &io->wire->in : &c->in;
        enum io_read what = t->ops->read(io, to, read_room(io), &len, &err);
        if (len > 0 && c->layer_ops == NULL)
            io->wants_input = true;
        if (len > 0 && c->layer_ops != NULL && io->is_in_ended)
            chain_clear(&io->wire->in); /* behind the peer's farewell */
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
            io->read_err = (int16_t)err;
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
    if (io->state != CONN_OPEN || io->wants_open || !io->wants_input || io->is_paused)
        return;
    io->wants_input = false;
    if (c->handler != NULL && c->handler->on_input != NULL)
        c->handler->on_input(c);
}

static void call_drain(struct conn_io *io)
{
    struct conn *c = io->conn;
    if (io->state != CONN_OPEN || io->wants_open || !io->wants_drain)
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
        conn_io_die(io, io->read_err != 0 ? io->read_err : io->write_err);
        return;
    }
    if (io->state != CONN_OPEN)
        return;
    if (io->wants_open || (io->wants_input && !io->is_paused)) {
        turn_soon(c->turn, &io->task);
        return;
    }
    if (io->read_err != 0)
        conn_io_die(io, io->read_err);
    else if (io->write_err != 0 && !may_read(io))
        conn_io_die(io, io->write_err);
    else if (io->is_in_ended && io->is_end_done && chain_is_empty(&c->in))
        conn_io_die(io, 0);
    else if (may_read(io))
        turn_later(c->turn, &io->task);
    else if (io->is_readable && turn_is_barred(c->turn) && !list_is_linked(&io->barred_link))
        list_push_back(&c->turn->barred, &io->barred_link);
}

void conn_io_check_none_forgotten(struct turn *t)
{
    LIST_FOREACH (&t->conns, io, struct conn_io, link)
        ASSERT(!may_read(io) || list_is_linked(&io->task.link) || turn_is_barred(t));
}

static void pump(struct conn_io *io)
{
    if (io->wants_feed) {
        io->wants_feed = false;
        if (!feed_layer(io))
            return;
        if (io->state == CONN_HANDSHAKE && io->is_wire_ended) {
            conn_io_die(io, -ERR_CLOSED);
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
        conn_io_die(io, err);
        return;
    }
    timer_stop(&io->timer);
    io->is_writable = true;
    io->state = c->layer_ops != NULL ? CONN_HANDSHAKE : CONN_OPEN;
    io->wants_feed = c->layer_ops != NULL;
    io->wants_open = c->layer_ops == NULL;
    conn_io_mark_dirty(io);
    pump(io);
}

void conn_io_run(struct turn_task *task)
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
        if (conn_io_drop_input(io, &err) && err != 0)
            conn_io_die(io, err);
        break;
    case CONN_DEAD:
        conn_io_report_close(io);
        break;
    case CONN_LINGER:
        if (conn_io_drop_input(io, &err))
            conn_io_bury(io);
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
        int err = c->layer_ops->output(c->layer, &c->out, &io->wire->out);
        if (err < 0) {
            conn_io_die(io, err);
            return false;
        }
    }
    if (io->is_end_wanted && !io->is_end_added) {
        io->is_end_added = true;
        if (c->layer_ops != NULL)
            c->layer_ops->end(c->layer, &io->wire->out);
    }
    return true;
}

static void on_write_failed(struct conn_io *io, int err)
{
    struct conn *c = io->conn;
    chain_clear(&c->out);
    if (io->wire != NULL)
        chain_clear(&io->wire->out);
    if (io->state == CONN_CLOSING) {
        conn_io_die(io, err);
        return;
    }
    /* What the peer said before it went is still worth reading: an early answer, for instance. */
    io->write_err = (int16_t)err;
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
        conn_io_die(io, 0);
    else
        turn_soon(t, &io->task);
}

/* False: the connection is over, or failed. */
static bool write_out(struct conn_io *io, struct chain *from)
{
    struct conn *c = io->conn;
    while (!chain_is_empty(from) && io->is_writable) {
        ssize_t n = c->turn->ops->write(io, from);
        if (n < 0) {
            on_write_failed(io, (int)n);
            return false;
        }
        c->bytes_out += (uint64_t)n;
    }
    if (chain_is_empty(from))
        on_sent(io);
    return true;
}

/* What is left waits for the peer: it may take little more than its own length. */
static void check_rest(struct conn_io *io)
{
    struct conn *c = io->conn;
    if (conn_out_len(c) > 0) {
        chain_tighten(&c->out, CHAIN_STREAM_BYTES);
        if (io->wire != NULL)
            chain_tighten(&io->wire->out, CHAIN_STREAM_BYTES);
    } else if (io->is_drain_asked) {
        io->is_drain_asked = false;
        io->wants_drain = c->turn->is_drain_due = true;
        if (io->state == CONN_OPEN)
            turn_soon(c->turn, &io->task);
    }
}

void conn_io_flush(struct conn_io *io)
{
    struct conn *c = io->conn;
    if (io->state == CONN_DEAD || io->state == CONN_LINGER)
        return;
    if (io->write_err != 0) {
        chain_clear(&c->out);
        return;
    }
    /* What must wait does so in one chain: behind the layer. */
    if (io->state != CONN_CONNECTING && !transform(io))
        return;
    if (io->state != CONN_CONNECTING && io->is_writable &&
        !write_out(io, io->wire != NULL ? &io->wire->out : &c->out))
        return;
    check_rest(io);
}
