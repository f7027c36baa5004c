/* What io/ knows of its own objects, and the interface of its backends (linux/, sim/). Included
 * inside io/ only. */
#pragma once

#include <stdatomic.h>
#include <sys/types.h>

#include "base/err.h"
#include "io/conn.h"
#include "io/timers.h"

/* Conn objects kept for reuse; chunks: as many as the busiest turn of late needed, a few when idle.
 */
enum {
    CONN_POOL_MAX = 64,
    CHUNK_POOL_MAX = 1024,
    CHUNK_POOL_KEEP = 8,
    CHUNK_TRIM_US = 2 * 1000 * 1000,
};

struct turn {
    const struct io_ops *ops;
    void *backend;
    uint64_t now_us;
    atomic_bool is_stopping;

    struct list run;    /* tasks of this turn */
    struct list later;  /* tasks of the next turn */
    struct list dirty;  /* conn_io.dirty_link */
    struct list barred; /* conn_io.barred_link: readable, but the byte budget was used up */
    struct list graves;
    struct list conns; /* conn_io.link: all of them */
    struct list listens;
    struct timers timers;
    _Atomic(struct mail *) mailbox; /* newest first */

    struct random random;
    turn_hook_fn *hook;
    void *hook_ctx;
    int64_t charged_bytes;
    uint64_t bar_bytes;
    uint64_t count, flush_count;
    bool is_pressed;
    bool is_drain_due; /* of some connection: a round more */
    struct turn_extra *extra;
    struct chunk_pool chunks;
    struct timer trim; /* of chunks */
    struct chain_account account;
    struct list conn_pool; /* conn_io.link of unused objects */
    unsigned conn_pool_count;
};

struct turn *turn_new(const struct io_ops *ops, void *backend);
static inline bool turn_is_barred(const struct turn *t)
{
    return t->chunks.live_bytes + (uint64_t)t->charged_bytes > t->bar_bytes;
}

/* Is there work for which one must not wait? */
bool turn_is_busy(const struct turn *t);
void turn_later(struct turn *t, struct turn_task *task);

enum conn_state {
    CONN_CONNECTING, /* the transport is being connected */
    CONN_HANDSHAKE,  /* the layer is at work */
    CONN_OPEN,
    CONN_CLOSING, /* closed by its handler; what is left is sent, what comes is dropped */
    CONN_DEAD,    /* on_close is due */
    CONN_LINGER,  /* on_close was called; our FIN is sent, the peer's is awaited */
};

/* What lies between a layer and the transport. */
struct conn_wire {
    struct chain in, out;
};

/* Kept small, as most connections idle most of the time: see conn.c on the two together. */
struct conn_io {
    struct conn *conn;
    struct turn_task task;
    struct list link, dirty_link, barred_link;
    union {
        struct timer timer; /* connect, linger */
        struct grave grave; /* when all that is over */
    };
    struct conn_wire *wire; /* NULL: no layer */

    enum conn_state state : 8;
    bool is_readable, is_writable; /* as far as is known */
    bool wants_input;              /* callbacks that are due */
    bool wants_open : 1, wants_drain : 1;
    bool wants_feed : 1;     /* the layer is to begin */
    bool is_drain_asked : 1; /* on_drain is wanted */
    bool is_hup : 1;         /* a short read may hide an end: read until it shows */
    bool is_paused : 1, is_wire_ended : 1, is_in_ended : 1;
    bool is_layer_open : 1;
    bool is_end_wanted : 1, is_end_added : 1, is_end_done : 1;
    bool is_aborted : 1;
    bool is_lingering : 1;       /* LINGER follows DEAD */
    bool is_farewell : 1;        /* closing after a failure: only the wire's bytes go out */
    int16_t read_err, write_err; /* told once the handler has seen what came before */

    /* The backend's. */
    int fd; /* linux */
    struct sim_end *sim;
};

enum io_read { IO_READ_MORE, IO_READ_DRAINED, IO_READ_ENDED, IO_READ_FAILED };

struct io_ops {
    const char *name;
    void (*deinit)(struct turn *t);
    /* Waits until an event, at most timeout_us (-1: for ever), and marks. */
    void (*poll)(struct turn *t, int64_t timeout_us);
    uint64_t (*now_us)(const struct turn *t);
    uint64_t (*wall_us)(const struct turn *t);
    void (*wake)(struct turn *t); /* ends a poll; any thread */

    /* Starts; conn_io_mark_connect follows, then finish_connect: 0, -ERR_AGAIN, -ERR_X. */
    int (*connect)(struct conn_io *io, const struct addr *to, const struct conn_options *options);
    int (*finish_connect)(struct conn_io *io);
    /* Appends what is there, about a chunk, at most len_max (> 0), to `to`; *ret_err: with FAILED.
     */
    enum io_read (*read)(struct conn_io *io, struct chain *to, size_t len_max, size_t *ret_len,
                         int *ret_err);
    /* Takes what goes from the front of `from`, clears is_writable when that is not all; bytes or
     * -ERR_X. */
    ssize_t (*write)(struct conn_io *io, struct chain *from);
    bool (*is_drained)(struct conn_io *io); /* nothing there to read */
    void (*end)(struct conn_io *io);
    void (*close)(struct conn_io *io, bool is_reset); /* twice is harmless */
    /* NULL: this backend's connections have no user behind them. */
    int (*peer)(const struct conn_io *io, struct conn_peer *ret_peer);

    int (*listen)(struct listen_socket *s, const struct addr *at,
                  const struct listen_options *options);
    /* 0, -ERR_AGAIN (none left), -ERR_LIMIT (out of descriptors), other: that one is lost. */
    int (*accept)(struct listen_socket *s, struct conn_transport *ret_transport);
    /* Registers what was accepted, here or elsewhere; on failure it is closed. */
    int (*adopt)(struct conn_io *io, const struct conn_transport *transport);
    void (*drop)(struct turn *t, const struct conn_transport *transport);
    void (*listen_pause)(struct listen_socket *s, bool is_paused);
    void (*listen_close)(struct listen_socket *s);
};

/* Made without transport, in CONN_OPEN or CONN_CONNECTING. */
struct conn_io *conn_io_new(struct turn *t, enum conn_state state);
/* Unused: back to the pool at once. */
void conn_io_discard(struct conn_io *io);
void conn_io_free_all(struct turn *t);
/* Shared by conn.c and conn_run.c. */
enum {
    CONN_LINGER_US = 5000000,      /* for what is left to be sent by conn_close */
    CONN_READ_BUDGET = 256 * 1024, /* of one connection in one turn */
};
void conn_io_run(struct turn_task *task);
/* Ends all callbacks but on_close, which follows from the run list. */
void conn_io_die(struct conn_io *io, int err);
void conn_io_report_close(struct conn_io *io);
/* Reads and drops; true when the peer has ended or broken. */
bool conn_io_drop_input(struct conn_io *io, int *ret_err);
void conn_io_bury(struct conn_io *io);
void conn_io_mark_dirty(struct conn_io *io);
/* For backends: events only mark. */
void conn_io_mark_readable(struct conn_io *io, bool is_hup);
void conn_io_mark_writable(struct conn_io *io);
/* For the turn. */
void conn_io_flush(struct conn_io *io);
void conn_io_lift_bar(struct turn *t);
/* Of a build that looks for such mistakes: nobody made room without conn_wake. */
void conn_io_check_none_forgotten(struct turn *t);

/* Runs the accept callbacks of what waits; starved sockets rest for a moment. */
void listen_io_mark(struct listen_socket *s);

struct listen_socket {
    struct turn *turn;
    struct list link;
    listen_fn *accept;
    listen_route_fn *route;
    void *ctx;
    struct addr addr;
    bool is_transparent_dst, is_paused, is_starved, is_closed;
    uint32_t mark;
    struct turn_task task;
    struct timer timer; /* ends a pause for want of descriptors */
    struct grave grave;
    int fd; /* linux */
    struct sim_listen *sim;
};
