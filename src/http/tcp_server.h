/* The server side of a tunnel that begins here: the bytes of a connection without HTTP are those of
 * a CONNECT that this process asks for itself (the counterpart of tcp_client.c).
 *
 * Each way ends by itself; a connection that breaks resets the stream, and the other way round, in
 * the same turn. An answer that opens no tunnel ends the connection: orderly when it says 403
 * (nobody did anything wrong but ask), else by a reset.
 * Owner: the loop; the opener holds a borrowed pointer until on_close. Thread: the loop's. */
#pragma once

#include "base/limits.h"
#include "http/exchange.h"
#include "io/conn.h"

struct tcp_server;

struct tcp_server_ops {
    /* The connection is gone. Its exchange may end a turn later. */
    void (*on_close)(void *ctx, int err);
};

/* Takes over a connection that is open. limits, info and ops outlive the connection, info its
 * exchange too. linger_us: how long a reader may take for the last bytes, when both ways have ended
 * (0: for ever). The caller installs filters in tcp_server_exchange, then calls tcp_server_start.
 */
struct tcp_server *tcp_server_open(struct conn *c, const struct limits *limits, uint64_t linger_us,
                                   const struct downstream_info *info,
                                   const struct tcp_server_ops *ops, void *ctx);
struct exchange *tcp_server_exchange(const struct tcp_server *s);
/* The request's head for the filters: CONNECT to authority ("host:port"), which is copied. Returns
 * it, for fields to be added before the turn goes on. */
struct http_head *tcp_server_start(struct tcp_server *s, struct str authority);
void tcp_server_abort(struct tcp_server *s, int err); /* at once, by a reset */
