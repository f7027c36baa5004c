/* Frames out: heads, DATA in turns, windows. */
#include <stdlib.h>

#include "http/h2_session.h"

enum {
    STREAM_OUT_BYTES = 64 * 1024,                 /* taken from an exchange and not yet framed */
    OUT_TOP_BYTES = 2 * HTTP_OUT_HIGH_BYTES,      /* of answers that a peer does not read */
    HEAD_AT_ONCE_BYTES = H2_FRAME_LEN_MAX - 4096, /* heads below are written where they are sent */
};

bool h2_output_has_room(const struct h2_session *h)
{
    return !h->is_terminated && !h->is_over && conn_out_len(h->conn) < HTTP_OUT_HIGH_BYTES;
}

bool h2_output_may_begin(struct h2_session *h)
{
    bool has_room = h2_output_has_room(h);

    if (!has_room) {
        h->is_room_wanted = true;
        conn_ask_drain(h->conn);
    }
    return has_room;
}

static bool is_answer(enum h2_frame_type type)
{
    return type == H2_PING || type == H2_SETTINGS || type == H2_RST_STREAM;
}

/* A frame of so many bytes is in conn->out; the bounds hold for what waits there. */
static void count_waiting(struct h2_session *h, enum h2_frame_type type, size_t len)
{
    const struct h2_bounds *b = h->bounds;
    struct h2_waiting *w = &h->waiting;

    if (b->outbound_frames_max == 0 && b->outbound_control_frames_max == 0)
        return;
    size_t waiting = conn_out_len(h->conn);
    w->added += len;
    if (waiting <= len) { /* it is the only one */
        *w = (struct h2_waiting){.added = w->added, .boundary = w->added};
    } else if ((int64_t)(w->added - waiting) >= (int64_t)w->boundary) {
        w->frames[1] = w->frames[0];
        w->answers[1] = w->answers[0];
        w->frames[0] = w->answers[0] = 0;
        w->boundary = w->added;
    }
    w->frames[0]++;
    w->answers[0] += is_answer(type);
    if ((b->outbound_frames_max > 0 && w->frames[0] + w->frames[1] > b->outbound_frames_max) ||
        (b->outbound_control_frames_max > 0 &&
         w->answers[0] + w->answers[1] > b->outbound_control_frames_max))
        h2_session_terminate(h, H2_ENHANCE_YOUR_CALM);
}

/* Bodies and heads of exchanges wait for room (h2_output_has_room), answers and refusals do not:
 * who asks for them and reads none is given up. */
static void bound_output(struct h2_session *h)
{
    if (conn_out_len(h->conn) > OUT_TOP_BYTES)
        h2_session_terminate(h, H2_ENHANCE_YOUR_CALM);
}

void h2_output_frame(struct h2_session *h, const struct h2_frame *f, struct str payload)
{
    char bytes[H2_FRAME_HEAD];

    if (!h->may_send || h->is_terminated || h->is_over)
        return;
    h2_frame_put(bytes, f);
    chain_add(&h->conn->out, str_from(bytes, sizeof(bytes)));
    chain_add(&h->conn->out, payload);
    conn_mark_dirty(h->conn);
    if (f->type == H2_GOAWAY)
        return;
    count_waiting(h, (enum h2_frame_type)f->type, sizeof(bytes) + payload.len);
    bound_output(h);
}

void h2_output_u32(struct h2_session *h, enum h2_frame_type type, uint32_t id, uint32_t value)
{
    struct h2_frame f = {.len = 4, .type = (uint8_t)type, .id = id};
    char payload[4];

    h2_put_u32(payload, value);
    h2_output_frame(h, &f, str_from(payload, sizeof(payload)));
}

/* --- heads ---------------------------------------------------------------------------------- */

/* A block that may be larger than a frame: HEADERS, then CONTINUATION. */
static void put_large(struct h2_stream *st, struct str block, uint8_t flags)
{
    struct h2_session *h = st->session;
    struct h2_frame f = {.type = H2_HEADERS, .flags = flags, .id = st->id};

    do {
        struct str part = str_sub(block, 0, h->peer.frame_max);

        block = str_skip(block, part.len);
        f.len = (uint32_t)part.len;
        f.flags |= block.len == 0 ? H2_FLAG_END_HEADERS : 0;
        h2_output_frame(h, &f, part);
        f = (struct h2_frame){.type = H2_CONTINUATION, .id = st->id};
    } while (block.len > 0);
}

/* A peer answers a stream and its DATA with WINDOW_UPDATE, and many (gRPC's) with a PING that
 * measures the bandwidth. */
static void expect_answers(struct h2_session *h)
{
    uint32_t *counts = h->flood.counts;

    counts[H2_ANNOY_WINDOW] -= MIN(counts[H2_ANNOY_WINDOW], 4u);
    counts[H2_ANNOY_CONTROL] -= MIN(counts[H2_ANNOY_CONTROL], 1u);
}

void h2_output_head(struct h2_stream *st, enum h2_head_kind kind, const struct http_head *head,
                    bool is_ended)
{
    struct h2_session *h = st->session;
    size_t room = h2_head_room(head), given;
    uint8_t flags = is_ended ? H2_FLAG_END_STREAM : 0;

    expect_answers(h);
    if (room > HEAD_AT_ONCE_BYTES) {
        char *block = mem_alloc(room), *end = h2_head_put(&h->encoder, block, kind, head);

        ASSERT((size_t)(end - block) <= room);
        put_large(st, str_from(block, (size_t)(end - block)), flags);
        free(block);
        return;
    }
    char *at = chain_reserve(&h->conn->out, H2_FRAME_HEAD + room, &given);
    char *end = h2_head_put(&h->encoder, at + H2_FRAME_HEAD, kind, head);
    struct h2_frame f = {.len = (uint32_t)(end - at) - H2_FRAME_HEAD,
                         .type = H2_HEADERS,
                         .flags = flags | H2_FLAG_END_HEADERS,
                         .id = st->id};
    h2_frame_put(at, &f);
    chain_commit(&h->conn->out, (size_t)(end - at));
    conn_mark_dirty(h->conn);
    count_waiting(h, H2_HEADERS, (size_t)(end - at));
    bound_output(h);
}

/* --- DATA ----------------------------------------------------------------------------------- */

static const struct http_head *trailers_of(const struct flow *flow)
{
    const struct http_head *trailers = flow == NULL ? NULL : flow->trailers;

    return trailers == NULL || trailers->field_count == 0 ? NULL : trailers;
}

/* Bytes that may go in one frame now. */
static size_t frame_room(const struct h2_stream *st)
{
    const struct h2_session *h = st->session;
    int64_t window = MIN(st->send_window, h->send_window);

    /* No peer allows less; a longer frame would only make the others wait. */
    return window <= 0 ? 0 : MIN((size_t)window, (size_t)H2_FRAME_LEN_MAX);
}

/* Below this a frame that leaves bytes behind is short by the peer's window alone: it calls for no
 * answers, else a peer would buy a PING with each byte that it lets through. */
enum { PINCHED_BYTES = 1024 };

static void put_data(struct h2_stream *st, struct chain *from, size_t len, bool is_ended)
{
    struct h2_session *h = st->session;
    struct h2_frame f = {.len = (uint32_t)len,
                         .type = H2_DATA,
                         .flags = is_ended ? H2_FLAG_END_STREAM : 0,
                         .id = st->id};
    char bytes[H2_FRAME_HEAD];

    h2_frame_put(bytes, &f);
    chain_add(&h->conn->out, str_from(bytes, sizeof(bytes)));
    chain_move(&h->conn->out, from, len);
    conn_mark_dirty(h->conn);
    st->send_window -= (int64_t)len;
    h->send_window -= (int64_t)len;
    h->totals.data_out++;
    st->put_flush = turn_flush_count(h->conn->turn);
    count_waiting(h, H2_DATA, sizeof(bytes) + len);
    if (len >= PINCHED_BYTES || chain_is_empty(from))
        expect_answers(h);
}

/* One frame, or two: of the first len bytes; all of them, when is_last. The stream may be gone
 * behind it. */
static void put_some(struct h2_stream *st, struct chain *from, size_t len, bool is_last,
                     const struct flow *flow)
{
    const struct http_head *trailers = is_last ? trailers_of(flow) : NULL;

    if (len > 0 || (is_last && trailers == NULL))
        put_data(st, from, len, is_last && trailers == NULL);
    if (trailers != NULL)
        h2_output_head(st, H2_HEAD_TRAILERS, trailers, true);
}

void h2_output_ready(struct h2_stream *st)
{
    struct h2_session *h = st->session;
    bool has_end = st->is_source_ended && !st->is_out_ended && st->is_head_submitted;

    if (st->is_gone || list_is_linked(&st->ready_link) || (chain_is_empty(&st->out) && !has_end))
        return;
    list_push_back(&h->ready, &st->ready_link);
    h2_session_mark(h);
}

static void note_owing(struct h2_stream *st)
{
    struct h2_session *h = st->session;

    if (list_is_linked(&st->owing_link))
        return;
    list_push_back(&h->owing, &st->owing_link);
    conn_ask_drain(h->conn);
}

/* There is something to take in the exchange, and room for it. */
static bool wants_more(const struct h2_stream *st)
{
    return st->out.len < STREAM_OUT_BYTES / 2 && st->flow->body.len > 0;
}

/* A frame of a stream whose turn it is. */
static void send_frame(struct h2_stream *st)
{
    struct h2_session *h = st->session;
    size_t len = MIN(st->out.len, frame_room(st));
    bool is_last = st->is_source_ended && len == st->out.len;

    list_remove(&st->ready_link);
    if (len == 0 && !is_last) {
        if (st->send_window > 0)
            list_push_back(&h->blocked, &st->ready_link);
        return; /* its own window: WINDOW_UPDATE brings it back */
    }
    put_some(st, &st->out, len, is_last, st->flow);
    if (st->is_attached)
        exchange_note_moved(st->x);
    if (st->is_attached && (is_last || wants_more(st)))
        exchange_wake(st->x);
    if (is_last)
        h2_stream_sent_end(st);
    else if (!chain_is_empty(&st->out))
        list_push_back(&h->ready, &st->ready_link);
    else if (st->is_sent_asked)
        note_owing(st);
}

void h2_output_data(struct h2_session *h)
{
    struct h2_stream *st;

    while (h2_output_has_room(h) &&
           (st = LIST_FIRST(&h->ready, struct h2_stream, ready_link)) != NULL)
        send_frame(st);
    if (!list_is_empty(&h->ready))
        conn_ask_drain(h->conn);
}

/* Straight from the exchange into the connection, where nobody else waits: up to a frame. True:
 * that was the end, and the stream may be gone. */
static bool send_at_once(struct h2_stream *st, struct flow *flow)
{
    struct h2_session *h = st->session;

    if (!chain_is_empty(&st->out) || !list_is_empty(&h->ready) || !h2_output_has_room(h))
        return false;
    size_t len = MIN(flow->body.len, frame_room(st));
    bool is_last = flow->is_ended && len == flow->body.len;
    if (len == 0 && !is_last)
        return false;
    put_some(st, &flow->body, len, is_last, flow);
    if (is_last) {
        flow->is_end_sent = true;
        h2_stream_sent_end(st);
    }
    return is_last;
}

void h2_output_body(struct h2_stream *st, struct flow *flow)
{
    if (st->is_gone) {
        flow->is_end_sent = st->is_out_ended;
        return;
    }
    if (!st->is_source_ended) {
        if (send_at_once(st, flow))
            return;
        size_t room = st->out.len < STREAM_OUT_BYTES ? STREAM_OUT_BYTES - st->out.len : 0;
        chain_move(&st->out, &flow->body, room);
        chain_tighten(&st->out, CHAIN_STREAM_BYTES);
        st->is_source_ended = flow->is_ended && chain_is_empty(&flow->body);
        h2_output_ready(st);
    }
    /* Not before all is in frames: the exchange's time-outs are those of a peer that does not read.
     */
    flow->is_end_sent = st->is_out_ended;
}

/* --- windows -------------------------------------------------------------------------------- */

void h2_output_ask_sent(struct h2_stream *st)
{
    if (st->is_gone)
        return; /* nobody takes anything any more */
    st->is_sent_asked = true;
    if (chain_is_empty(&st->out))
        note_owing(st);
}

/* What a stream has put into conn->out since the flush that left it empty is not sent. */
void h2_output_tell_sent(struct h2_session *h)
{
    uint64_t now = turn_flush_count(h->conn->turn);

    LIST_FOREACH (&h->owing, st, struct h2_stream, owing_link) {
        if (chain_is_empty(&st->out) && st->put_flush == now) {
            conn_ask_drain(h->conn);
            continue;
        }
        list_remove(&st->owing_link);
        if (!chain_is_empty(&st->out))
            continue; /* send_frame comes back to it */
        st->is_sent_asked = false;
        exchange_note_sent(st->x, h->ops->in_side == SIDE_REQUEST ? SIDE_RESPONSE : SIDE_REQUEST);
    }
}

void h2_output_grant(struct h2_session *h, struct h2_stream *st, uint32_t bytes)
{
    uint32_t *due = st == NULL ? &h->recv_due : &st->recv_due;
    int64_t *window = st == NULL ? &h->recv_window : &st->recv_window;
    uint32_t whole = st == NULL ? (uint32_t)h->limits->conn_window_bytes : h->stream_window;

    *due += bytes;
    if (*due < whole / 2)
        return;
    h2_output_u32(h, H2_WINDOW_UPDATE, st == NULL ? 0 : st->id, *due);
    *window += *due;
    *due = 0;
}
