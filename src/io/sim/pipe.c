#include "io/sim/sim_priv.h"

enum { PIPE_BYTES_MAX = 64 * 1024, PIPE_MEMORY_MAX = 1 << 30 };

void sim_end_init(struct sim_end *e, struct sim_link *link)
{
    *e = (struct sim_end){.link = link, .in.bytes = STR_BUF_INIT(PIPE_MEMORY_MAX)};
}

void sim_end_deinit(struct sim_end *e)
{
    str_buf_deinit(&e->in.bytes);
    VEC_DEINIT(&e->in.pieces);
}

static size_t held(const struct sim_pipe *p)
{
    return p->bytes.len - p->from;
}

static size_t capacity(const struct sim_world *w)
{
    return w->options.pipe_bytes_max > 0 ? w->options.pipe_bytes_max : PIPE_BYTES_MAX;
}

static struct sim_piece *next_piece(struct sim_pipe *p)
{
    return p->first < p->pieces.len ? &p->pieces.ptr[p->first] : NULL;
}

/* Forgets what has been read. */
static void compact(struct sim_pipe *p)
{
    if (next_piece(p) == NULL) {
        p->first = p->pieces.len = 0;
    }
    if (held(p) == 0) {
        str_buf_reset(&p->bytes);
        p->from = 0;
    } else if (p->from > PIPE_BYTES_MAX) {
        memmove(p->bytes.ptr, p->bytes.ptr + p->from, held(p));
        p->bytes.len -= p->from;
        p->from = 0;
    }
}

void sim_pipe_put(struct sim_world *w, struct sim_pipe *p, enum sim_piece_kind kind, struct str s)
{
    uint32_t max = w->options.piece_bytes_max;
    do {
        size_t len = s.len;
        if (max > 0 && len > 0)
            len = MIN(len, (size_t)random_below(&w->random, max) + 1);
        p->last_at_us = MAX(p->last_at_us, w->now_us + sim_latency_us(w));
        VEC_PUSH(&p->pieces, ((struct sim_piece){kind, len, p->last_at_us}));
        str_buf_add(&p->bytes, str_sub(s, 0, len));
        s = str_skip(s, len);
    } while (s.len > 0);
}

uint64_t sim_end_mark(struct sim_end *e, uint64_t now_us, bool is_marking)
{
    struct sim_world *w = e->link->world;
    if (e->io == NULL || e->is_closed || !e->is_connected)
        return UINT64_MAX;
    uint64_t next = UINT64_MAX;
    if (!e->is_connect_told) {
        next = now_us;
        if (is_marking) {
            e->is_connect_told = true;
            conn_io_mark_writable(e->io);
        }
        return next;
    }
    struct sim_piece *piece = next_piece(&e->in);
    if (piece != NULL && !e->io->is_readable) {
        next = piece->at_us;
        if (is_marking && piece->at_us <= now_us)
            conn_io_mark_readable(e->io, piece->kind != SIM_BYTES);
    }
    bool has_room = sim_peer(e)->is_closed || held(&sim_peer(e)->in) < capacity(w);
    if (!e->io->is_writable && has_room) {
        next = now_us;
        if (is_marking)
            conn_io_mark_writable(e->io);
    }
    return next;
}

static enum io_read take_bytes(struct sim_pipe *p, struct sim_piece *piece, struct chain *to,
                               size_t len_max, size_t *ret_len)
{
    size_t len = MIN(piece->len, len_max);
    bool is_whole = len == piece->len;
    chain_add(to, str_from(p->bytes.ptr + p->from, len));
    *ret_len = len;
    p->from += len;
    piece->len -= len;
    p->first += is_whole;
    compact(p);
    return is_whole ? IO_READ_DRAINED : IO_READ_MORE;
}

/* One piece a read, so that a seed can put every boundary anywhere. */
enum io_read sim_read(struct conn_io *io, struct chain *to, size_t len_max, size_t *ret_len,
                      int *ret_err)
{
    struct sim_end *e = io->sim;
    struct sim_pipe *p = &e->in;
    struct sim_piece *piece = next_piece(p);
    if (piece == NULL || piece->at_us > e->link->world->now_us)
        return IO_READ_DRAINED;
    if (piece->kind == SIM_BYTES)
        return take_bytes(p, piece, to, len_max, ret_len);
    p->first++;
    switch (piece->kind) {
    case SIM_BYTES:
    case SIM_FIN:
        return IO_READ_ENDED;
    case SIM_RESET:
        *ret_err = -ERR_RESET;
        return IO_READ_FAILED;
    }
    return IO_READ_DRAINED;
}

ssize_t sim_write(struct conn_io *io, struct chain *from)
{
    struct sim_end *e = io->sim;
    struct sim_end *peer = sim_peer(e);
    struct sim_world *w = e->link->world;
    if (peer->is_closed)
        return -ERR_RESET;
    size_t taken = 0;
    while (!chain_is_empty(from)) {
        size_t room = capacity(w) > held(&peer->in) ? capacity(w) - held(&peer->in) : 0;
        if (room == 0) {
            io->is_writable = false;
            break;
        }
        struct str s = str_sub(chain_first(from), 0, room);
        sim_pipe_put(w, &peer->in, SIM_BYTES, s);
        taken += s.len;
        chain_skip(from, s.len);
    }
    return (ssize_t)taken;
}

bool sim_is_drained(struct conn_io *io)
{
    struct sim_end *e = io->sim;
    const struct sim_piece *piece = next_piece(&e->in);
    return piece == NULL || piece->kind != SIM_BYTES;
}

void sim_end_write(struct conn_io *io)
{
    struct sim_end *e = io->sim;
    if (!e->is_ended)
        sim_pipe_put(e->link->world, &sim_peer(e)->in, SIM_FIN, STR_NULL);
    e->is_ended = true;
}

void sim_close(struct conn_io *io, bool is_reset)
{
    struct sim_end *e = io->sim;
    if (e == NULL)
        return;
    struct sim_end *peer = sim_peer(e);
    /* As TCP: closing with bytes unread is a reset too. */
    is_reset = is_reset || held(&e->in) > 0;
    if (is_reset)
        sim_pipe_put(e->link->world, &peer->in, SIM_RESET, STR_NULL);
    else
        sim_end_write(io);
    e->is_closed = true;
    e->io = NULL;
    io->sim = NULL;
    bool is_peer_gone = peer->is_closed || (peer->io == NULL && !e->link->is_accepted &&
                                            !list_is_linked(&e->link->pending));
    if (is_peer_gone)
        sim_link_free(e->link);
}
