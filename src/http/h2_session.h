/* What both sides of an HTTP/2 connection (RFC 9113) share: a session between a conn and the
 * streams of exchanges. h2_server.c and h2_client.c say what differs.
 *
 *   h2_session.c  life, SETTINGS, GOAWAY, floods     h2_stream.c  a stream and its exchange
 *   h2_input.c    frames in                          h2_output.c  heads, DATA, windows out
 *   h2_section.c  HEADERS and CONTINUATION in
 *
 * Input: frames are read where they lie in conn->in; body bytes move from there into the exchange.
 * Output: frames are written straight into conn->out. What the windows or a full connection hold
 * back waits in stream->out; streams that may go on take turns, a frame each (session->ready).
 *
 * Windows: a stream's is the exchange's credit, given back when half of it has left again. The
 * connection's is given back as bytes arrive, so one slow stream cannot stop the others; what a
 * connection holds is bounded by streams times flow_window_bytes. A client that has not seen our
 * SETTINGS yet may send 64 KiB (RFC 9113 6.9.2).
 *
 * Life of a stream:  IDLE (client: no number yet) -> OPEN -> is_gone (both sides ended, or a reset)
 * It is freed when both the exchange has let go and the wire is done with it.
 *
 * An error of the connection sends GOAWAY and stops the input; the connection is closed from the
 * run list (on_over), never within the work on a frame.
 *
 * Inside http/ only. Thread: the loop's. */
#pragma once

#include "http/h2_frame.h"
#include "http/h2_head.h"
#include "http/http_priv.h"

struct h2_session;
struct h2_stream;

#define H2_LOST UINT32_MAX /* no error code of RFC 9113: the connection is gone */

struct h2_session_ops {
    /* Whether one more exchange may begin (server only; NULL: yes). Those of reset streams live
     * until the turn ends. */
    bool (*may_begin)(const struct h2_session *h);
    /* A request begins (server only). */
    struct h2_stream *(*on_new_stream)(struct h2_session *h, uint32_t id);
    /* The section is complete in h->reader; h2_head_reader_finish has not been called. */
    void (*on_head)(struct h2_stream *st, bool is_ended);
    /* The wire is done with a stream whose exchange still hangs on it. H2_LOST: with all of them,
     * for lost_err. */
    struct outcome (*why_gone)(const struct h2_stream *st, uint32_t error_code);
    /* The stream's object goes. */
    void (*on_stream_free)(struct h2_session *h);
    /* A field section has begun that is not complete yet / it is (server: a timer). May be NULL. */
    void (*on_section)(struct h2_session *h, bool is_complete);
    /* SETTINGS, GOAWAY or PING acknowledgement of the peer, done by the session. */
    void (*on_control)(struct h2_session *h, const struct h2_frame *frame);
    /* The session is broken or over: the connection is to be closed (what is in out is sent). */
    void (*on_over)(struct h2_session *h);
    enum side in_side; /* the side of an exchange that the peer produces */
};

/* What costs us more than its sender, counted per period. */
enum h2_annoyance {
    H2_ANNOY_RESET,   /* by the peer, or by us for its faults */
    H2_ANNOY_CONTROL, /* SETTINGS, PING, beyond one for each frame of a stream that we send */
    H2_ANNOY_EMPTY,
    H2_ANNOY_IGNORED, /* PRIORITY and unknown frames */
    H2_ANNOY_WINDOW,  /* WINDOW_UPDATE, beyond what DATA frames of ours call for */
    H2_ANNOY_COUNT,
};

struct h2_flood {
    uint64_t since_us;
    uint32_t counts[H2_ANNOY_COUNT];
};

/* Of the whole connection, for struct h2_bounds. */
struct h2_totals {
    uint64_t streams, data_out; /* streams that were opened, DATA frames of ours */
    uint64_t priorities, window_updates;
    uint32_t empty_run; /* frames without payload, one behind the other */
};

/* What is known of the peer by its SETTINGS. */
struct h2_peer {
    uint32_t window;      /* of a new stream */
    uint32_t frame_max;   /* payload bytes */
    uint32_t streams_max; /* that we may open */
    bool allows_connect;  /* RFC 8441 */
    bool is_known;        /* its SETTINGS came */
};

/* Streams that we have reset while the peer was still sending: what comes on them is no fault. */
enum { H2_RESETS_KEPT = 64, H2_GAPS_KEPT = 4 };

struct h2_past {
    uint32_t resets[H2_RESETS_KEPT]; /* ring */
    uint32_t resets_count;
    struct {
        uint32_t from, to;
    } gaps[H2_GAPS_KEPT]; /* numbers that the peer left out, ring */
    uint32_t gaps_count;
};

/* A frame of DATA or a field section that is under way. */
struct h2_incoming {
    struct h2_frame data;
    struct h2_stream *stream;     /* of the DATA; NULL: nobody wants it */
    uint32_t data_left, pad_left; /* pad_left alone: the frame's end is still to come */
    bool is_in_data;
    struct h2_frame section;
    struct str_buf block; /* what came of a section that is not complete */
    unsigned continuations;
    bool is_in_section, is_self_dependent;
    bool is_waiting; /* on_section was told */
};

/* Frames that wait to be written, counted in two parts: those up to a byte of the output, and those
 * behind it. When that byte is written, the first part is gone; what is
 * counted may be up to twice what waits, never less. */
struct h2_waiting {
    uint64_t added, boundary;       /* bytes since the beginning */
    uint32_t frames[2], answers[2]; /* answers: PING, SETTINGS, RST_STREAM */
};

struct h2_session {
    const struct h2_session_ops *ops;
    struct conn *conn;
    const struct limits *limits;
    void *owner;                /* http_server or http_client */
    struct list streams;        /* h2_stream.link: attached or on the wire */
    struct list spare;          /* h2_stream.link: for reuse */
    struct list ready, blocked; /* h2_stream.ready_link: DATA waits for its turn / for our window */
    struct list owing; /* h2_stream.owing_link: exchange_note_sent when conn->out is empty */
    struct h2_stream **buckets; /* by number; hash_next */
    uint32_t bucket_count, open_count;
    unsigned spare_count;
    struct turn_task task;
    struct timer settings_timer;
    struct hpack_decoder decoder;
    struct hpack_encoder encoder;
    struct h2_head_reader reader; /* of the section that is decoded now */
    struct h2_incoming in;
    struct h2_peer peer;
    struct h2_past past;
    struct h2_flood flood;
    struct h2_totals totals;
    struct h2_waiting waiting;      /* counted when bounds has something of it */
    const struct h2_bounds *bounds; /* the configuration's */
    int64_t send_window;            /* of the connection */
    int64_t recv_window;            /* likewise */
    uint32_t recv_due;              /* not given back yet */
    uint32_t stream_window;         /* what we announce */
    uint32_t last_id;               /* server: the highest number seen */
    uint32_t next_id;               /* client: of our next stream */
    uint32_t goaway_id;             /* server: of our last GOAWAY; higher ones are not looked at */
    unsigned preface_left;          /* server: bytes of the preface still to come */
    int lost_err;                   /* why the connection went */
    bool is_server;
    bool allows_connect; /* server: requests may ask for tunnels */
    bool may_send;       /* the connection is open */
    bool is_first_frame; /* it must be SETTINGS */
    bool is_settled;     /* the peer knows our SETTINGS */
    bool is_room_wanted; /* a head waits for room in conn->out */
    bool is_goaway_in;   /* the peer opens or takes no more streams */
    bool is_terminated;  /* our error was sent: no more input */
    bool is_over;
};

struct h2_stream {
    struct http_end end;
    struct h2_session *session;
    struct list link, ready_link, owing_link;
    struct h2_stream *hash_next;
    uint32_t id;                      /* 0: not on the wire yet */
    struct exchange *x;               /* while attached */
    struct chain out;                 /* body taken from the exchange, not yet in frames */
    struct flow *flow;                /* what out comes from, while attached */
    int64_t send_window, recv_window; /* recv: below 0 when the peer was ahead of our SETTINGS */
    uint32_t recv_due;
    uint64_t put_flush;           /* flushes of the loop before its last DATA */
    uint64_t length, length_seen; /* of the body that comes in, when has_length */
    bool has_length;
    bool is_bodyless; /* a response to HEAD, 204, 304: length says nothing, DATA is a fault */
    bool is_head_request;
    bool is_tunnel_asked; /* client: by our request */
    bool expects_continue;
    bool is_head_submitted;
    bool is_source_ended; /* out holds all that is left of the body */
    bool is_out_ended;    /* END_STREAM was given to the wire */
    bool is_in_ended;     /* END_STREAM came */
    bool is_head_in;      /* the request's, the final response's: what comes next are trailers */
    bool is_reset_due;    /* RST_STREAM(NO_ERROR) behind our END_STREAM */
    uint8_t informational_count;
    bool is_sent_asked; /* exchange_note_sent is owed */
    bool is_attached;
    bool is_gone; /* the wire is done with it */
    bool was_reused;
    bool has_input; /* anything of the peer's came */
};

/* --- h2_session.c --------------------------------------------------------------------------- */

void h2_session_init(struct h2_session *h, const struct h2_session_ops *ops, struct conn *conn,
                     const struct limits *limits, bool is_server, void *owner);
/* Frees streams; none may be attached. */
void h2_session_deinit(struct h2_session *h);
/* The connection is open: our preface and SETTINGS. */
void h2_session_begin(struct h2_session *h);
/* All of conn->in. */
void h2_session_input(struct h2_session *h);
/* There is room for output, or the session's end is to be looked at: in the run list. */
void h2_session_mark(struct h2_session *h);
/* A GOAWAY that is no error. */
void h2_session_goaway(struct h2_session *h, uint32_t last_id);
void h2_session_ping(struct h2_session *h);
/* GOAWAY with an error, then the end. */
void h2_session_terminate(struct h2_session *h, enum h2_error code);
/* Wakes every exchange: the connection has opened. */
void h2_session_wake_all(struct h2_session *h);
/* conn->out is empty (on_drain). */
void h2_session_drained(struct h2_session *h);
/* The connection is gone: exchange_recv_fail for every attached stream. */
void h2_session_fail_all(struct h2_session *h, int err);
/* Counts; too many end the session. */
void h2_session_annoy(struct h2_session *h, enum h2_annoyance what);
/* A frame that may be bounded by the configuration has come: PRIORITY, WINDOW_UPDATE, or one that
 * may have no payload. */
void h2_session_check_bounds(struct h2_session *h, const struct h2_frame *f);
/* Frames about the connection. Each may terminate the session. */
void h2_session_recv_settings(struct h2_session *h, const struct h2_frame *f, const char *payload);
void h2_session_recv_ping(struct h2_session *h, const struct h2_frame *f, const char *payload);
void h2_session_recv_goaway(struct h2_session *h, const struct h2_frame *f, const char *payload);

/* --- h2_section.c --------------------------------------------------------------------------- */

void h2_section_recv_headers(struct h2_session *h, const struct h2_frame *f, struct str payload);
void h2_section_recv_continuation(struct h2_session *h, const struct h2_frame *f,
                                  struct str payload);
/* A section has begun and is not complete. */
void h2_section_wait(struct h2_session *h);
/* No stream has had that number yet; it may be the other side's to use. */
bool h2_section_is_idle(const struct h2_session *h, uint32_t id);
/* A stream that was reset by us, or comes behind our GOAWAY: its frames are no fault. */
bool h2_section_is_forgotten(const struct h2_session *h, uint32_t id);

/* --- h2_output.c ---------------------------------------------------------------------------- */

/* Frames of a few bytes. A peer that reads none of them is given up. */
void h2_output_frame(struct h2_session *h, const struct h2_frame *f, struct str payload);
void h2_output_u32(struct h2_session *h, enum h2_frame_type type, uint32_t id, uint32_t value);
void h2_output_head(struct h2_stream *st, enum h2_head_kind kind, const struct http_head *head,
                    bool is_ended);
/* Whether there is room for a frame that may wait. */
bool h2_output_has_room(const struct h2_session *h);
/* Whether a head may be sent now; else its exchange is woken when there is room. */
bool h2_output_may_begin(struct h2_session *h);
/* DATA of the streams that wait, in turns, as far as windows and the connection allow. */
void h2_output_data(struct h2_session *h);
/* The stream's window, or what it has to send, has grown. */
void h2_output_ready(struct h2_stream *st);
/* Body, end and trailers of the flow, as far as they can be taken; sets flow->is_end_sent when
 * nothing of the flow is needed any more: without trailers that is as soon as all is in st->out. */
void h2_output_body(struct h2_stream *st, struct flow *flow);
/* exchange_note_sent when all that the stream was given has been sent. */
void h2_output_ask_sent(struct h2_stream *st);
void h2_output_tell_sent(struct h2_session *h);
/* WINDOW_UPDATE of a stream and of the connection (st NULL), when enough is due. */
void h2_output_grant(struct h2_session *h, struct h2_stream *st, uint32_t bytes);

/* --- h2_stream.c ---------------------------------------------------------------------------- */

struct h2_stream *h2_stream_new(struct h2_session *h, uint32_t id);
/* Gives it the number under which it is on the wire. */
void h2_stream_open(struct h2_stream *st, uint32_t id);
struct h2_stream *h2_stream_find(const struct h2_session *h, uint32_t id);
/* Marks the stream attached: its end belongs to x now. */
void h2_stream_attach(struct h2_stream *st, struct exchange *x);
/* The exchange has let go. The stream may be freed by this and by what follows. */
void h2_stream_detach(struct h2_stream *st);
/* The end fails the exchange (st->x) and lets go. */
void h2_stream_fail(struct h2_stream *st, const struct outcome *why);
/* RST_STREAM; the exchange is not told. */
void h2_stream_reset(struct h2_stream *st, enum h2_error code);
/* The peer's fault: RST_STREAM, and the exchange fails. */
void h2_stream_reject(struct h2_stream *st, enum h2_error code);
/* The wire is done with it before both sides were: the exchange fails. */
void h2_stream_lose(struct h2_stream *st, uint32_t error_code);
/* All is answered, the rest of the request is not wanted: RST_STREAM(NO_ERROR) behind the answer.
 */
void h2_stream_stop_input(struct h2_stream *st);
/* What a peer may send on a stream that begins now. */
uint32_t h2_stream_first_window(const struct h2_session *h);
/* The exchange takes so many bytes more. */
void h2_stream_grant(struct h2_stream *st, uint32_t bytes);
/* The length that a head announces. False: END_STREAM belies it. */
bool h2_stream_expect(struct h2_stream *st, const struct http_head *head, bool is_ended);
/* A complete trailer section came: into the exchange, or the stream is reset. */
void h2_stream_recv_trailers(struct h2_stream *st);
/* END_STREAM came with DATA or trailers. */
void h2_stream_recv_end(struct h2_stream *st);
/* Our END_STREAM is out. */
void h2_stream_sent_end(struct h2_stream *st);
/* Both sides have ended: the wire is done with it. */
void h2_stream_settle(struct h2_stream *st);
