/* Inside http/ only: the seam between a connection's common part (server.c, client.c) and its codec
 * (h1_server.c, h2_server.c, h1_client.c, h2_client.c).
 *
 * The common part owns the conn and its handler, chooses the codec, keeps timers, counts exchanges,
 * drains and closes. The codec turns bytes into heads, bodies and ends of exchanges, and back.
 *
 * An end (struct http_end) is embedded in the codec's stream. From exchange_new /
 * exchange_set_upstream on the exchange calls it, until one of two things happens, exactly once:
 *   - the exchange lets go: ops->reset when a side was not done, then in any case ops->detach
 *     (e->x is NULL already inside detach);
 *   - the end fails: it calls exchange_recv_fail, which sets e->x to NULL and calls nothing back.
 * After either the stream is the codec's own affair; a server codec tells the count by
 * http_server_exchange_done, a client codec by http_client_stream_done.
 *
 * reset(why): why->err 0 means that the response is complete but the request is not (h1 server:
 * discard the rest of the body or close after the response; h2: RST_STREAM NO_ERROR). Any other
 * err: abort so that the peer cannot take it for an orderly end (h1 server: conn_abort or close
 * without the last chunk; h2: RST_STREAM).
 *
 * grant(0), once, before any other grant of a request: the request has passed all filters, its body
 * is wanted: answer "100 Continue" if the head asked for it and no body byte has come yet.
 * grant(n): flow->credit_bytes has grown by n; read on.
 * An end never gives exchange_recv_body more than flow->credit_bytes.
 *
 * Framing fields: content-length stays among the fields, for matching; an encoder leaves that field
 * out and writes the length from has_length/length (also with has_body false: HEAD, 304).
 *
 * Informational responses of an upstream: a client codec gives 1xx other than 100 and 101 to
 * exchange_recv_informational; a server codec writes them in ops->inform (head borrowed, in the
 * exchange's arena; no framing fields, nothing of http_server_decorate). 100 is swallowed: a server
 * codec says it by itself.
 *
 * Tunnels (http_head_asks_tunnel, http_head_opens_tunnel; head.h says what they look like). Server
 * codec: gives the head with has_body true (no exchange_recv_end with it); may give body and end
 * before the tunnel is open, within credit (HTTP/1 does not read on before). In send(), when the
 * head goes out, e->x->is_switched tells whether the tunnel is open: if so the response's end ends
 * our side only, and the request goes on until the caller ends its own; if not it is an ordinary
 * response, behind which the request is reset(err 0) unless it has ended. A tunnel's response has
 * no content-length. Client codec: send() is given the head alone until the tunnel is open; on a
 * response head that opens it (a 101 is made of HTTP/2's 200 where head->protocol was asked for)
 * it sets has_body, has_length = false, and gives it to exchange_recv_head; then body and end as
 * ever. HTTP/2 answers a request with `protocol` that the peer's SETTINGS do not allow by
 * exchange_recv_fail (-ERR_UNSUPPORTED, FAULT_UPSTREAM). Resets and lost connections fail the
 * exchange, which resets the other end in the same turn.
 * Thread: the loop's. */
#pragma once

#include "http/client.h"
#include "http/server.h"

enum {
    HTTP_OUT_HIGH_BYTES = 256 * 1024, /* HTTP/2, conn_out_len above: no more DATA */
    HTTP_READ_MAX_BYTES = 64 * 1024,  /* HTTP/2: conn->read_max */
    /* HTTP/1, where a connection is a stream. Of a body no more is read than its credit. */
    H1_READ_BYTES = CHAIN_STREAM_BYTES,    /* conn->read_max, until a head needs more */
    H1_OUT_MAX_BYTES = CHAIN_STREAM_BYTES, /* conn_out_len above: no more body, no next request */
};

/* Behind TLS more may come than was asked for: half of what an HTTP/1 stream may hold is for that.
 */
static inline size_t h1_read_bytes(const struct conn *c)
{
    return c->layer_ops != NULL ? H1_READ_BYTES / 2 : H1_READ_BYTES;
}

/* Of a flow that begins, and which this connection will fill. */
static inline void h1_fit_window(const struct conn *c, struct flow *f)
{
    _Static_assert((size_t)CONN_OVER_BYTES < (size_t)H1_READ_BYTES / 2, "fits its half");
    f->window_bytes = MIN(f->window_bytes, (uint32_t)h1_read_bytes(c));
    f->credit_bytes = MIN(f->credit_bytes, f->window_bytes);
}

/* --- server --------------------------------------------------------------------------------- */

struct http_server_codec {
    const char *name; /* "http1", "http2" */
    enum http_version version;
    /* codec_state is the codec's, NULL until then. Bytes may lie in conn->in already; on_input
     * follows. */
    void (*open)(struct http_server *s);
    /* New bytes in conn->in, or conn_is_in_ended. */
    void (*on_input)(struct http_server *s);
    /* There is room in conn->out again: wakes the exchanges that wait for it. */
    void (*on_drain)(struct http_server *s);
    /* s->is_draining was set just now: h1: `Connection: close` on the next response; h2: GOAWAY.
     * When nothing is active the common part goes on to call close by itself. */
    void (*drain)(struct http_server *s);
    /* The headers timer fired: answers (h1: 408) and closes. */
    void (*on_headers_timeout)(struct http_server *s);
    /* Draining and no exchange is active: produces its last bytes and calls http_server_close (h2:
     * when its second GOAWAY is out). Called again when exchanges came and went meanwhile. */
    void (*close)(struct http_server *s);
    /* The connection is gone: exchange_recv_fail for every exchange (no *_done calls needed), frees
     * codec_state. Also called when open was not. */
    void (*on_close)(struct http_server *s, int err);
};

extern const struct http_server_codec h1_server_codec;
extern const struct http_server_codec h2_server_codec;

struct http_server {
    struct conn *conn;
    struct turn *turn;
    const struct http_server_config *config;
    const struct http_server_ops *ops;
    void *ctx;
    const struct downstream_info *info;    /* the owner's, or the copy */
    struct http_server_extra *extra;       /* NULL: not needed */
    const struct http_server_codec *codec; /* NULL until decided */
    void *codec_state;
    uint32_t ref_count;    /* the connection's and one per exchange */
    uint32_t active;       /* exchanges attached to an end of ours */
    uint64_t requests;     /* begun so far */
    uint64_t requests_max; /* then drained; 0: none */
    bool is_draining;      /* no new requests */
    bool is_closing;       /* http_server_close or _abort was called */
    bool is_closed;        /* on_close has been: conn is NULL */
    struct timer headers_timer;
    struct turn_task task; /* draining, closing */
    union {
        struct timer idle_timer; /* no exchange */
        struct grave grave;      /* when the connection and all exchanges have gone */
    };
};

/* At the first byte of a request: a new exchange in whose arena the head is parsed. */
struct exchange *http_server_exchange_new(struct http_server *s, struct http_end *downstream);
/* Head complete: gives it to the exchange, has the filters installed (ops->on_exchange), wakes.
 * Stops the headers timer. */
void http_server_exchange_start(struct http_server *s, struct exchange *x, struct http_head *head);
/* Once per http_server_exchange_new: the end is detached (or failed) and the stream is off the
 * wire. When it was the last one: starts the idle timer, or closes when draining. */
void http_server_exchange_done(struct http_server *s);
/* First byte of a head / head complete or given up: the headers timer. */
void http_server_headers_begin(struct http_server *s);
void http_server_headers_end(struct http_server *s);
/* Adds what a response of this server carries, before it is rendered: `server`, `date`. */
void http_server_decorate(struct http_server *s, struct exchange *x, struct http_head *response);
/* For counters (ops->on_bad_request). The codec answers and closes itself. */
void http_server_bad_request(struct http_server *s, const struct outcome *why);
/* Sends what is in out, then closes. The codec must not touch conn->in afterwards. */
void http_server_close(struct http_server *s);

/* --- client --------------------------------------------------------------------------------- */

struct http_client_codec {
    const char *name;
    enum http_version version;
    /* Makes c->codec_state. The conn may still be connecting (conn_is_open). */
    void (*open)(struct http_client *c);
    /* The conn is open: streams that waited are woken. Called once, also when it was open before.
     */
    void (*on_open)(struct http_client *c);
    void (*on_input)(struct http_client *c);
    void (*on_drain)(struct http_client *c);
    /* Streams that may start now, apart from config->streams_max, requests_max and draining. */
    unsigned (*room)(const struct http_client *c);
    /* Makes a stream and calls exchange_set_upstream. There is room. */
    void (*start)(struct http_client *c, struct exchange *x);
    /* Nothing is active any more (drained, idle): says farewell and calls conn_close. */
    void (*close)(struct http_client *c);
    /* The connection is gone: exchange_recv_fail for every stream, frees codec_state. */
    void (*on_close)(struct http_client *c, int err);
};

extern const struct http_client_codec h1_client_codec;
extern const struct http_client_codec h2_client_codec;
extern const struct http_client_codec tcp_client_codec;

struct http_client {
    struct conn *conn;
    struct turn *turn;
    const struct http_client_config *config;
    const struct http_client_ops *ops;
    void *ctx;
    const struct http_client_codec *codec;
    void *codec_state;
    uint32_t active;
    uint64_t requests; /* started so far; > 1 at a start: "reused" for the keep-alive race */
    bool is_open;      /* codec->on_open was called */
    bool is_draining, is_draining_told;
    bool is_closing, is_closed;
    bool is_room_due; /* on_room is owed */
    struct timer idle_timer, duration_timer;
    struct turn_task task; /* on_room, on_draining, close: from the run list only */
    struct grave grave;
};

/* Once per start: the stream is detached (or failed) and off the wire. */
void http_client_stream_done(struct http_client *c);
/* No new streams from now on (GOAWAY, Connection: close, the response's end is the connection's).
 */
void http_client_set_draining(struct http_client *c);
/* The peer allows more than before. */
void http_client_room_grew(struct http_client *c);
/* Sends what is in out, then closes. */
void http_client_close(struct http_client *c);

/* http_outcome_upstream for a stream of c, with the reason that the layer (TLS) gives. The reason
 * is borrowed from the conn; exchange_recv_fail copies it. */
struct outcome http_client_lost(const struct http_client *c, int err, bool was_reused,
                                bool is_unanswered);
/* The outcome of a lost or broken connection for the stream of one of its exchanges:
 * err -> fault, flags (UF, UC, UR, DC, UPE, DPE), retryability, details. was_reused: a client's
 * stream that is not the connection's first; is_unanswered: no byte of the response was seen. */
struct outcome http_outcome_upstream(int err, bool is_connected, bool was_reused,
                                     bool is_unanswered);
struct outcome http_outcome_downstream(int err);
