/* The server side of a connection: HTTP/1.1 or HTTP/2, decided by ALPN or by the preface.
 *
 * Takes over a conn (its handler) once it is open; makes an exchange per request.
 * Owner: the loop; the opener holds a borrowed pointer until on_close. Thread: the loop's. */
#pragma once

#include "base/limits.h"
#include "codec/url.h"
#include "http/exchange.h"
#include "http/h2_bounds.h"
#include "io/conn.h"

struct http_server;

enum http_codec { HTTP_CODEC_AUTO, HTTP_CODEC_1, HTTP_CODEC_2 };

struct http_server_config {
    enum http_codec codec;
    const struct limits *limits;
    struct url_path_options path;
    struct str server_name;     /* Server field of responses that have none; empty: untouched */
    bool is_server_overwritten; /* ... of all */
    uint64_t idle_timeout_us, headers_timeout_us, stream_idle_timeout_us; /* 0: none */
    uint64_t duration_max_us;  /* of the connection, then drained; 0: none */
    uint64_t drain_timeout_us; /* HTTP/2: from the first GOAWAY to the last; 0: the codec's */
    uint32_t requests_max;     /* per connection, then drained; 0: none */
    struct h2_bounds h2;
    bool accept_http_10;
    /* Requests that ask for a tunnel (http_head_asks_tunnel) get to the filters, which say what is
     * allowed. HTTP/1: false: Upgrade is dropped, CONNECT refused with 501. */
    bool accept_upgrade;
    /* HTTP/2: SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441 3), and CONNECT gets to the filters. */
    bool allow_connect;
};

struct http_server_ops {
    /* The head is complete and canonical. Sets x->filters, filter_count, ctx, release. */
    void (*on_exchange)(void *ctx, struct exchange *x);
    /* A request that could not be parsed was answered with 400/431/... on the wire; for counters.
     */
    void (*on_bad_request)(void *ctx, const struct outcome *why);
    void (*on_close)(void *ctx, int err);
    /* info stays where it is until on_close, and until release of every exchange that has one: it
     * is borrowed, not copied. */
    bool is_info_kept;
};

/* config and ops outlive the connection; info is filled from the conn by the caller and copied. */
struct http_server *http_server_open(struct conn *c, const struct http_server_config *config,
                                     const struct downstream_info *info,
                                     const struct http_server_ops *ops, void *ctx);
/* Graceful end: `Connection: close` on the next response, GOAWAY in two steps; closes when the last
 * exchange has ended. */
void http_server_drain(struct http_server *s);
/* What is under way, or what comes next, is served; then http_server_drain. A request that is on
 * its way already finds nothing closed. */
void http_server_drain_after_next(struct http_server *s);
void http_server_abort(struct http_server *s, int err);
unsigned http_server_active(const struct http_server *s); /* exchanges under way */
