/* A connection: an ordered byte stream in both directions with an optional layer (TLS) in between.
 *
 *        wire  <-> [layer] <-> in / out  <-> handler (http1, http2, tcp proxy)
 *
 * The handler reads and consumes `in`, appends to `out` and calls conn_mark_dirty; it never sends.
 * Flow control: reading goes on only while `in` holds less than read_max bytes and is not paused;
 * whoever makes room outside of on_input (takes from `in`, raises read_max) calls conn_wake;
 * the handler watches chain `out` (plus what the layer holds: conn_out_len) and is told by
 * on_drain, when it asks (conn_ask_drain), that all of it has been sent.
 *
 * States: CONNECTING -> HANDSHAKE (layer) -> OPEN -> (half closed either way) -> CLOSED.
 * Every callback comes from the run list, never from within a call of the handler's own, and every
 * handler's first one is on_open (or on_close): also for accepted and adopted connections, after
 * conn_set_handler on an open connection, and once more when a layer that was set is open.
 * After conn_close and conn_abort only on_close comes.
 * on_close comes exactly once, last, also after conn_close by the owner; the object is freed at the
 * end of that turn.
 *
 * Owner: the loop; the handler holds a borrowed pointer until on_close. Thread: the loop's. */
#pragma once

#include "io/addr.h"
#include "io/turn.h"

struct conn;

struct conn_handler {
    /* The connection is open (connected and handshaken): layer facts (ALPN, peer) are known. May be
     * NULL. */
    void (*on_open)(struct conn *c);
    /* New bytes in `in`, or the peer has ended its side (conn_is_in_ended), or both. An end that a
     * layer could not authenticate (TLS without close_notify) comes with c->err = -ERR_TRUNCATED.
     */
    void (*on_input)(struct conn *c);
    /* Asked for by conn_ask_drain: after the last flush `out` was empty. May be NULL. */
    void (*on_drain)(struct conn *c);
    /* Gone: err (= c->err) is 0 after an orderly end or our own close, else -ERR_X. What was not
     * consumed is still in `in`, the layer still tells its facts and its error_text. A connection
     * whose two sides have ended, with `in` consumed, closes by itself. */
    void (*on_close)(struct conn *c, int err);
};

/* A byte transformation on the connection. Pure: bytes in, bytes out (crypto/tls_endpoint). */
struct conn_layer_ops {
    /* Consumes from wire_in, appends plain bytes and wire answers. *ret_is_open: handshake done.
     * *ret_is_ended: the peer ended its side in an authenticated way (TLS close_notify). */
    int (*input)(void *layer, struct chain *wire_in, struct chain *plain_in, struct chain *wire_out,
                 bool *ret_is_open, bool *ret_is_ended);
    /* Moves all of plain_out, transformed, to wire_out. */
    int (*output)(void *layer, struct chain *plain_out, struct chain *wire_out);
    /* Appends the farewell (close_notify). */
    void (*end)(void *layer, struct chain *wire_out);
    void (*free)(void *layer);
    /* Text of the last failure for logs ("certificate verify failed: ..."), borrowed. */
    struct str (*error_text)(void *layer);
    const char *name; /* "tls" */
};

/* What a layer may give beyond read_max: a record that was under way, and some of the next. */
enum { CONN_OVER_BYTES = 20 * 1024 + 512 };

struct conn {
    /* The handler's: */
    struct chain in, out;
    const struct conn_handler *handler;
    void *ctx;
    struct turn *turn;
    struct chain_account account;
    struct addr local, remote;
    struct addr original_dst; /* family ADDR_NONE: not captured (SO_ORIGINAL_DST) */
    int err;                  /* why it closed */
    size_t read_max; /* no more than so many bytes in `in`; behind a layer CONN_OVER_BYTES more */
    uint32_t close_wait_us; /* a close waits so long for the peer's end, lest a reset overtake us */
    uint64_t bytes_out;     /* of the wire */
    /* The rest belongs to io/. */
    const struct conn_layer_ops *layer_ops;
    void *layer;
    struct conn_io *io;
};

struct conn_options {
    uint32_t mark;           /* SO_MARK; 0: none */
    const struct addr *bind; /* source address, or NULL */
    uint64_t connect_timeout_us;
    struct str preface;        /* the first bytes on the wire, in front of a layer's; copied */
    uint32_t keepalive_idle_s; /* 0: off */
    uint32_t keepalive_interval_s, keepalive_probes; /* 0: five probes within idle_s more */
    /* A non-blocking socket whose connect was begun elsewhere and which becomes ours, instead of a
     * new one; 0: none. Linux only. */
    int connecting_fd;
};

/* Connects; the outcome comes by on_open or on_close. A layer, when given, is owned from here on.
 */
struct conn *conn_connect(struct turn *t, const struct addr *to, const struct conn_options *options,
                          const struct conn_handler *handler, void *ctx,
                          const struct conn_layer_ops *layer_ops, void *layer);
/* Adopts a connected socket (inherited, passed or accepted elsewhere). Linux only. */
struct conn *conn_adopt_fd(struct turn *t, int fd, const struct conn_handler *handler, void *ctx);

/* Puts a layer on an accepted connection: bytes already in `in` are its first wire bytes; on_open
 * comes when its handshake is done. Only once, before anything was written. */
void conn_set_layer(struct conn *c, const struct conn_layer_ops *layer_ops, void *layer);
void conn_set_handler(struct conn *c, const struct conn_handler *handler, void *ctx);
/* Why the layer failed, for logs; empty when there is nothing to say. Valid until on_close returns.
 */
struct str conn_error_text(const struct conn *c);

/* There is something in `out`: it is sent when the turn ends. */
void conn_mark_dirty(struct conn *c);
/* Bytes not yet taken by the kernel. */
size_t conn_out_len(const struct conn *c);
/* on_drain, once, behind the first flush that leaves nothing in `out`. */
void conn_ask_drain(struct conn *c);

void conn_pause(struct conn *c); /* no reading (and no on_input) until conn_resume */
void conn_resume(struct conn *c);
/* Calls on_input again in the run list (for a handler that left bytes in `in`). */
void conn_wake(struct conn *c);

bool conn_is_open(const struct conn *c);
/* Who is at the other end of a unix socket, as the kernel saw it connect (SO_PEERCRED).
 * -ERR_UNSUPPORTED: no unix socket. */
struct conn_peer {
    uint32_t uid, pid;
};
int conn_peer(const struct conn *c, struct conn_peer *ret_peer);
bool conn_is_in_ended(const struct conn *c);
/* Ends our side once `out` is sent (nothing may be added to `out` any more); reading goes on. */
void conn_end(struct conn *c);
/* Sends what is in `out` (bounded by a linger time of 5 s), then closes. */
void conn_close(struct conn *c);
/* Closes at once; TCP sends a reset. */
void conn_abort(struct conn *c, int err);

/* A listening socket. */
struct listen_socket;
typedef void listen_fn(void *ctx, struct conn *c);

/* An accepted transport that no loop has registered yet: it may go to another loop by mail. */
struct conn_transport {
    struct addr remote;
    bool is_transparent_dst; /* as its listener's */
    /* The backend's. */
    int fd;
    struct sim_end *sim;
};

/* Asked for each accepted transport (listen_options.route). True: it was taken, and one of the two
 * calls below is owed for it; false: it becomes a connection of this loop. */
typedef bool listen_route_fn(void *ctx, const struct conn_transport *transport);

/* Makes it a connection of this loop, without handler: the caller sets one or aborts it. NULL: it
 * could not be registered and is closed. */
struct conn *conn_from_transport(struct turn *t, const struct conn_transport *transport);
/* Closes it; from any thread that holds it. */
void conn_transport_close(struct turn *t, const struct conn_transport *transport);

struct listen_options {
    bool is_transparent_dst; /* read SO_ORIGINAL_DST of each connection */
    int backlog;
    int inherited_fd; /* -1: bind anew; else the socket's once it is open */
    uint32_t mark;    /* SO_MARK of accepted sockets; 0: none */
    bool is_v6_only;
    uint32_t keepalive_idle_s; /* of accepted sockets: hosts that went without a word; 0: off */
    listen_route_fn *route;    /* NULL: all connections are this loop's; ctx is that of accept */
};

/* accept(ctx, c): c has no handler yet; the callee sets one (conn_set_handler) or aborts it. */
int listen_open(struct turn *t, const struct addr *at, const struct listen_options *options,
                listen_fn *accept, void *ctx, struct listen_socket **ret_socket);
void listen_pause(struct listen_socket *s); /* leaves connections in the backlog */
void listen_resume(struct listen_socket *s);
void listen_close(struct listen_socket *s);
const struct addr *listen_addr(const struct listen_socket *s); /* with the port the kernel chose */
