/* The simulated backend: a world of turns, listeners and links (two ends, two pipes). */
#pragma once

#include "base/vec.h"
#include "io/io_priv.h"
#include "io/sim.h"

enum sim_piece_kind { SIM_BYTES, SIM_FIN, SIM_RESET };

struct sim_piece {
    enum sim_piece_kind kind;
    size_t len;
    uint64_t at_us; /* when it arrives */
};

/* Bytes on their way to one end, in order. */
struct sim_pipe {
    struct str_buf bytes; /* of all pieces, from `from` on */
    size_t from;
    VEC(struct sim_piece) pieces;
    size_t first; /* pieces before it have been read */
    uint64_t last_at_us;
};

struct sim_end {
    struct sim_link *link;
    struct conn_io *io; /* NULL: not accepted yet, or closed */
    struct sim_pipe in;
    bool is_closed, is_ended;
    bool is_connected, is_connect_told;
};

struct sim_link {
    struct list link; /* sim_world.links */
    struct sim_world *world;
    struct sim_end ends[2]; /* 0 connects, 1 is accepted */
    struct addr to, from;
    struct addr accepted_at; /* where it was captured to */
    bool is_captured;
    uint64_t connect_at_us;
    int connect_err;
    bool is_silent, is_accepted;
    struct list pending; /* sim_listen.pending */
};

struct sim_listen {
    struct list link; /* sim_world.listens */
    struct listen_socket *socket;
    struct list pending;
    bool is_paused;
};

struct sim_refusal {
    struct addr at;
    bool is_silent;
};

struct sim_turn {
    struct list link; /* sim_world.turns */
    struct sim_world *world;
    struct turn *turn;
};

struct sim_world {
    struct sim_options options;
    struct random random;
    uint64_t now_us;
    uint16_t next_port;
    struct list turns, links, listens;
    VEC(struct sim_refusal) refusals;
    struct addr capture; /* family ADDR_NONE: none */
};

static inline struct sim_world *sim_world_of(const struct turn *t)
{
    return ((const struct sim_turn *)t->backend)->world;
}

static inline struct sim_end *sim_peer(struct sim_end *e)
{
    return e == &e->link->ends[0] ? &e->link->ends[1] : &e->link->ends[0];
}

uint64_t sim_latency_us(struct sim_world *w);

/* sim/pipe.c: the ends of links */
void sim_end_init(struct sim_end *e, struct sim_link *link);
void sim_end_deinit(struct sim_end *e);
void sim_pipe_put(struct sim_world *w, struct sim_pipe *p, enum sim_piece_kind kind, struct str s);
/* Marks what has arrived; the time of what comes next (UINT64_MAX: nothing). */
uint64_t sim_end_mark(struct sim_end *e, uint64_t now_us, bool is_marking);
enum io_read sim_read(struct conn_io *io, struct chain *to, size_t len_max, size_t *ret_len,
                      int *ret_err);
ssize_t sim_write(struct conn_io *io, struct chain *from);
bool sim_is_drained(struct conn_io *io);
void sim_end_write(struct conn_io *io);
void sim_close(struct conn_io *io, bool is_reset);

/* sim/connect.c: how links come to be */
int sim_connect(struct conn_io *io, const struct addr *to, const struct conn_options *options);
int sim_finish_connect(struct conn_io *io);
/* Lets a connect whose time has come succeed or fail. */
void sim_link_arrive(struct sim_link *l);
void sim_link_free(struct sim_link *l);
int sim_listen(struct listen_socket *s, const struct addr *at,
               const struct listen_options *options);
int sim_accept(struct listen_socket *s, struct conn_transport *ret_transport);
int sim_adopt(struct conn_io *io, const struct conn_transport *transport);
void sim_drop(struct turn *t, const struct conn_transport *transport);
void sim_listen_pause(struct listen_socket *s, bool is_paused);
void sim_listen_close(struct listen_socket *s);
