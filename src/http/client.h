/* The client side of a connection: carries exchanges upstream, HTTP/1.1 (one at a time) or HTTP/2;
 * or one tunnel that ends here (HTTP_NONE: CONNECT is answered by 200, then its bytes are passed).
 *
 * Owner: the loop; the pool that opened it holds a borrowed pointer until on_close.
 * Thread: the loop's. */
#pragma once

#include "base/limits.h"
#include "http/exchange.h"
#include "http/h2_bounds.h"
#include "io/conn.h"

struct http_client;

struct http_client_config {
    const struct limits *limits;
    uint32_t streams_max;  /* concurrent; 0: the peer's; HTTP/1: 1 whatever is said */
    uint32_t requests_max; /* then drained; 0: none */
    uint64_t idle_timeout_us;
    uint64_t duration_max_us; /* then drained; 0: none */
    struct h2_bounds h2;
};

struct http_client_ops {
    /* A stream ended or the peer raised its limit: there may be room now. */
    void (*on_room)(void *ctx, struct http_client *c);
    /* No new streams here any more (GOAWAY, Connection: close, requests_max): replace it. */
    void (*on_draining)(void *ctx, struct http_client *c);
    void (*on_close)(void *ctx, struct http_client *c, int err);
};

/* The conn is open (version known) or still connecting: then streams wait in it. */
struct http_client *http_client_open(struct conn *c, enum http_version version,
                                     const struct http_client_config *config,
                                     const struct http_client_ops *ops, void *ctx);
/* How many more streams may start now. */
unsigned http_client_room(const struct http_client *c);
unsigned http_client_active(const struct http_client *c);
/* Attaches x's upstream end (exchange_set_upstream). -ERR_UNAVAILABLE: no room. */
int http_client_start(struct http_client *c, struct exchange *x);
void http_client_drain(struct http_client *c); /* closes after its last stream */
void http_client_abort(struct http_client *c, int err);
struct conn *http_client_conn(const struct http_client *c);
