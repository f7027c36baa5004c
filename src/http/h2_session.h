/* What both sides of an HTTP/2 connection (RFC 9113) share: an nghttp2 session between a conn and
 * the streams of exchanges. h2_server.c and h2_client.c say what differs.
 *
 * Input: bytes of conn->in go through nghttp2, whose callbacks only store into exchanges and wake
 * them. Body bytes are shared out of conn->in, not copied.
 * Output: whoever makes output marks the session; it is produced by a task behind the exchanges of
 * the turn, so that one flush sends it all. Body bytes wait in stream->out, which an exchange fills
 * and DATA frames empty.
 *
 * Windows: a stream's is the exchange's credit, a WINDOW_UPDATE follows each grant. The
 * connection's is given back as bytes arrive, so one slow stream cannot stop the others; what a
 * connection holds is bounded by streams times flow_window_bytes.
 *
 * Life of a stream:  IDLE (client: not submitted) -> OPEN -> (nghttp2 closes it: is_gone)
 * It is freed when both the exchange has let go and the wire is done with it.
 *
 * Inside http/ only. Thread: the loop's. */
#pragma once

#include <nghttp2/nghttp2.h>

#include "http/h2_head.h"
#include "http/http_priv.h"

struct h2_session;
struct h2_stream;

#define H2_LOST UINT32_MAX /* no error code of RFC 9113: the connection is gone */

struct h2_session_ops {
    /* A field section begins on a stream that has no object yet (server: a request). May return
     * NULL: the stream is reset. */
    struct h2_stream *(*on_new_stream)(struct h2_session *h, int32_t id);
    /* The section is complete; h2_head_reader_finish has not been called. */
    void (*on_head)(struct h2_stream *st, bool is_ended);
    /* The wire is done with a stream whose exchange still hangs on it. H2_LOST: with all of them,
     * for lost_err. */
    struct outcome (*why_gone)(const struct h2_stream *st, uint32_t error_code);
    /* The stream's object goes. */
    void (*on_stream_free)(struct h2_session *h);
    /* SETTINGS, GOAWAY, PING acknowledgement of the peer. */
    void (*on_control)(struct h2_session *h, const nghttp2_frame *frame);
    /* The session is broken or over: the connection is to be closed (what is in out is sent). */
    void (*on_over)(struct h2_session *h);
    enum side in_side; /* the side of an exchange that the peer produces */
};

/* What a peer may do without use, counted per period. */
struct h2_flood {
    uint64_t since_us;
    uint32_t counts[4]; /* enum h2_annoyance */
};

struct h2_session {
    const struct h2_session_ops *ops;
    nghttp2_session *ng;
    struct conn *conn;
    const struct limits *limits;
    uint32_t window_bytes; /* of a stream, as it was announced */
    void *owner;           /* http_server or http_client */
    struct list streams;   /* h2_stream.link: attached or on the wire */
    struct list spare;     /* h2_stream.link: for reuse */
    unsigned spare_count;
    struct turn_task task;
    struct h2_pairs pairs;
    struct h2_flood flood;
    struct chain scratch; /* body bytes on their way into an exchange */
    const uint8_t *input; /* the slice that nghttp2 works on */
    size_t input_len;
    int lost_err;  /* why the connection went */
    bool may_send; /* the connection is open */
    bool is_over;
};

struct h2_stream {
    struct http_end end;
    struct h2_session *session;
    struct list link;
    int32_t id;         /* 0: not on the wire yet */
    struct exchange *x; /* while attached */
    struct h2_head_reader reader;
    struct chain out;  /* body taken from the exchange, not yet in frames */
    struct flow *flow; /* what out comes from, while attached */
    bool is_head_submitted, is_deferred;
    bool is_source_ended; /* out holds all that is left of the body */
    bool is_out_ended;    /* END_STREAM was given to the wire */
    bool is_in_ended;     /* END_STREAM came */
    bool is_head_in;      /* the request's, the final response's: what comes next are trailers */
    bool is_reset_sent;
    bool is_reset_due; /* RST_STREAM(NO_ERROR) behind our END_STREAM */
    uint8_t informational_count;
    bool is_attached;
    bool is_gone; /* nghttp2 has closed it */
    bool was_reused;
    bool has_input; /* anything of the peer's came */
};

void h2_session_init(struct h2_session *h, const struct h2_session_ops *ops, struct conn *conn,
                     const struct limits *limits, bool is_server, void *owner);
/* Frees streams (none may be attached) and the nghttp2 session. */
void h2_session_deinit(struct h2_session *h);
/* All of conn->in through nghttp2. */
void h2_session_input(struct h2_session *h);
/* There is something to send: produced at the end of the run list. */
void h2_session_mark(struct h2_session *h);
/* Produces now (before closing). */
void h2_session_produce(struct h2_session *h);
/* GOAWAY with an error, then the end. */
void h2_session_terminate(struct h2_session *h, uint32_t error_code);
/* Wakes every exchange: there is room in conn->out, or the connection has opened. */
void h2_session_wake_all(struct h2_session *h);
/* The connection is gone: exchange_recv_fail for every attached stream. */
void h2_session_fail_all(struct h2_session *h, int err);

struct h2_stream *h2_stream_new(struct h2_session *h, int32_t id);
/* Marks the stream attached: its end belongs to x now. */
void h2_stream_attach(struct h2_stream *st, struct exchange *x);
/* The end fails the exchange (st->x) and lets go. */
void h2_stream_fail(struct h2_stream *st, const struct outcome *why);
void h2_stream_reset(struct h2_stream *st, uint32_t error_code);
/* All is answered, the rest of the request is not wanted: RST_STREAM(NO_ERROR) behind the answer.
 */
void h2_stream_stop_input(struct h2_stream *st);
/* A complete trailer section came: into the exchange, or the stream is reset. */
void h2_stream_recv_trailers(struct h2_stream *st);
/* Common parts of the ends. */
void h2_stream_grant(struct h2_stream *st, uint32_t bytes);
/* Moves body into st->out, resumes DATA; sets flow->is_end_sent when nothing of the flow is needed
 * any more: without trailers that is as soon as all is in st->out. */
void h2_stream_send_body(struct h2_stream *st, struct flow *flow);
/* The exchange has let go. */
void h2_stream_detach(struct h2_stream *st);
/* For nghttp2_submit_*: DATA from st->out. */
nghttp2_data_provider h2_stream_provider(struct h2_stream *st);
