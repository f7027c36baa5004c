/* Frames in (RFC 9113 4, 6): one after the other out of conn->in. All but DATA are taken whole. */
#include "base/err.h"
#include "http/h2_session.h"

static void fail(struct h2_session *h, enum h2_error code)
{
    h2_session_terminate(h, code);
}

/* --- DATA ----------------------------------------------------------------------------------- */

/* The connection's window is given back at once: what is held is bounded by those of the streams.
 */
static bool charge_connection(struct h2_session *h, uint32_t len)
{
    if ((int64_t)len > h->recv_window) {
        fail(h, H2_FLOW_CONTROL_ERROR);
        return false;
    }
    h->recv_window -= len;
    h2_output_grant(h, NULL, len);
    return true;
}

/* NULL: nobody wants the frame, or the connection has ended. */
static struct h2_stream *receiver(struct h2_session *h, const struct h2_frame *f)
{
    struct h2_stream *st = h2_stream_find(h, f->id);

    if (st == NULL) {
        if (f->id == 0 || h2_section_is_idle(h, f->id))
            fail(h, H2_PROTOCOL_ERROR);
        else if (!h2_section_is_forgotten(h, f->id))
            fail(h, H2_STREAM_CLOSED);
        return NULL;
    }
    if (st->is_in_ended) {
        h2_stream_reject(st, H2_STREAM_CLOSED);
        return NULL;
    }
    if (!st->is_head_in) { /* RFC 9113 8.1: a response begins with its head */
        h2_stream_reject(st, H2_PROTOCOL_ERROR);
        return NULL;
    }
    return st;
}

/* Windows, credit and length of the whole frame, before any of it is taken. */
static struct h2_stream *charge_stream(struct h2_session *h, struct h2_stream *st, uint32_t len,
                                       uint32_t payload_len)
{
    if ((int64_t)len > st->recv_window ||
        (st->is_attached && payload_len > st->x->flows[h->ops->in_side].credit_bytes)) {
        h2_stream_reject(st, H2_FLOW_CONTROL_ERROR);
        return NULL;
    }
    st->recv_window -= len;
    st->length_seen += payload_len;
    if ((st->has_length && st->length_seen > st->length) || (st->is_bodyless && payload_len > 0)) {
        h2_stream_reject(st, H2_PROTOCOL_ERROR);
        return NULL;
    }
    /* What nobody will take is given back here, the rest by the exchange. */
    h2_output_grant(h, st, st->is_attached ? len - payload_len : len);
    return st;
}

/* The head of a DATA frame, in `head_len` bytes with the length of its padding. */
static void begin_data(struct h2_session *h, const struct h2_frame *f, uint32_t pad, bool is_padded)
{
    uint32_t payload_len = f->len - (is_padded ? pad + 1 : 0);
    bool is_ended = (f->flags & H2_FLAG_END_STREAM) != 0;

    if (!charge_connection(h, f->len))
        return;
    h->in.data = *f;
    h->in.is_in_data = true;
    h->in.data_left = payload_len;
    h->in.pad_left = pad;
    if (payload_len == 0 && !is_ended)
        h2_session_annoy(h, H2_ANNOY_EMPTY);
    struct h2_stream *st = receiver(h, f);
    h->in.stream = st == NULL ? NULL : charge_stream(h, st, f->len, payload_len);
}

static void take_data(struct h2_session *h)
{
    struct chain *in = &h->conn->in;
    struct h2_stream *st = h->in.stream;
    uint32_t len = (uint32_t)MIN(in->len, (size_t)h->in.data_left);
    uint32_t pad;

    h->in.data_left -= len;
    if (len > 0 && st != NULL && st->is_attached)
        exchange_recv_body(st->x, h->ops->in_side, in, len);
    else
        chain_skip(in, len);
    if (h->in.data_left > 0)
        return;
    pad = (uint32_t)MIN(in->len, (size_t)h->in.pad_left);
    chain_skip(in, pad);
    h->in.pad_left -= pad;
    if (h->in.pad_left > 0)
        return;
    h->in.is_in_data = false;
    h->in.stream = NULL;
    if (st != NULL && (h->in.data.flags & H2_FLAG_END_STREAM) != 0)
        h2_stream_recv_end(st);
}

/* --- the other frames ----------------------------------------------------------------------- */

static void recv_rst_stream(struct h2_session *h, const struct h2_frame *f, const char *payload)
{
    struct h2_stream *st = h2_stream_find(h, f->id);

    if (f->len != 4) {
        fail(h, H2_FRAME_SIZE_ERROR);
        return;
    }
    if (f->id == 0 || (st == NULL && h2_section_is_idle(h, f->id))) {
        fail(h, H2_PROTOCOL_ERROR);
        return;
    }
    h2_session_annoy(h, H2_ANNOY_RESET);
    if (st != NULL)
        h2_stream_lose(st, h2_get_u32(payload));
}

/* Priorities are not looked at (RFC 9113 5.3.2), only whether the frame is one. */
static void recv_priority(struct h2_session *h, const struct h2_frame *f, const char *payload)
{
    struct h2_stream *st = h2_stream_find(h, f->id);
    enum h2_error code = H2_NO_ERROR;

    h2_session_annoy(h, H2_ANNOY_IGNORED);
    if (f->id == 0)
        fail(h, H2_PROTOCOL_ERROR);
    else if (f->len != H2_PRIORITY_LEN)
        code = H2_FRAME_SIZE_ERROR;
    else if ((h2_get_u32(payload) & 0x7fffffff) == f->id)
        code = H2_PROTOCOL_ERROR;
    if (code == H2_NO_ERROR)
        return;
    if (st != NULL)
        h2_stream_reject(st, code);
    else
        fail(h, code); /* there is no stream that could be reset */
}

static void recv_connection_window(struct h2_session *h, uint32_t bytes)
{
    if (bytes == 0) {
        fail(h, H2_PROTOCOL_ERROR);
        return;
    }
    h->send_window += bytes;
    if (h->send_window > H2_WINDOW_MAX) {
        fail(h, H2_FLOW_CONTROL_ERROR);
        return;
    }
    if (h->send_window > 0)
        list_splice_back(&h->ready, &h->blocked);
    if (!list_is_empty(&h->ready))
        h2_session_mark(h);
}

static void recv_stream_window(struct h2_session *h, uint32_t id, uint32_t bytes)
{
    struct h2_stream *st = h2_stream_find(h, id);

    if (st == NULL) {
        if (h2_section_is_idle(h, id))
            fail(h, H2_PROTOCOL_ERROR);
        return;
    }
    if (bytes == 0 || st->send_window + bytes > H2_WINDOW_MAX) {
        h2_stream_reject(st, bytes == 0 ? H2_PROTOCOL_ERROR : H2_FLOW_CONTROL_ERROR);
        return;
    }
    st->send_window += bytes;
    h2_output_ready(st);
}

static void recv_window_update(struct h2_session *h, const struct h2_frame *f, const char *payload)
{
    if (f->len != 4) {
        fail(h, H2_FRAME_SIZE_ERROR);
        return;
    }
    uint32_t bytes = h2_get_u32(payload) & 0x7fffffff;
    h2_session_annoy(h, H2_ANNOY_WINDOW);
    if (f->id == 0)
        recv_connection_window(h, bytes);
    else
        recv_stream_window(h, f->id, bytes);
}

static void recv_frame(struct h2_session *h, const struct h2_frame *f, const char *payload)
{
    switch (f->type) {
    case H2_HEADERS:
        h2_section_recv_headers(h, f, str_from(payload, f->len));
        break;
    case H2_PRIORITY:
        recv_priority(h, f, payload);
        break;
    case H2_RST_STREAM:
        recv_rst_stream(h, f, payload);
        break;
    case H2_SETTINGS:
        h2_session_recv_settings(h, f, payload);
        break;
    case H2_PUSH_PROMISE: /* no client may, no server was allowed to (RFC 9113 8.4) */
        fail(h, H2_PROTOCOL_ERROR);
        break;
    case H2_PING:
        h2_session_recv_ping(h, f, payload);
        break;
    case H2_GOAWAY:
        h2_session_recv_goaway(h, f, payload);
        break;
    case H2_WINDOW_UPDATE:
        recv_window_update(h, f, payload);
        break;
    case H2_CONTINUATION:
        h2_section_recv_continuation(h, f, str_from(payload, f->len));
        break;
    default: /* RFC 9113 5.5 */
        h2_session_annoy(h, H2_ANNOY_IGNORED);
        break;
    }
}

/* --- the stream of frames ------------------------------------------------------------------- */

/* RFC 9113 3.4. False: more is to come, or it is none. */
static bool take_preface(struct h2_session *h)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    struct chain *in = &h->conn->in;
    char got[sizeof(preface)];
    size_t len = chain_peek(in, 0, got, h->preface_left);

    if (memcmp(got, preface + sizeof(preface) - 1 - h->preface_left, len) != 0)
        fail(h, H2_PROTOCOL_ERROR);
    chain_skip(in, len);
    h->preface_left -= (unsigned)len;
    return h->preface_left == 0 && !h->is_terminated;
}

/* What the head of a frame alone says. False: the connection has ended. */
static bool may_follow(struct h2_session *h, const struct h2_frame *f)
{
    enum h2_error code = H2_NO_ERROR;

    if (h->is_first_frame && (f->type != H2_SETTINGS || (f->flags & H2_FLAG_ACK) != 0))
        code = H2_PROTOCOL_ERROR;
    else if (f->len > H2_FRAME_LEN_MAX)
        code = H2_FRAME_SIZE_ERROR;
    else if (h->in.is_in_section && f->type != H2_CONTINUATION)
        code = H2_PROTOCOL_ERROR;
    h->is_first_frame = false;
    if (code != H2_NO_ERROR)
        fail(h, code);
    return code == H2_NO_ERROR;
}

/* False: more bytes are needed. */
static bool take_data_head(struct h2_session *h, const struct h2_frame *f)
{
    struct chain *in = &h->conn->in;
    bool is_padded = (f->flags & H2_FLAG_PADDED) != 0;
    uint8_t pad = 0;

    if (is_padded && f->len > 0 && chain_peek(in, H2_FRAME_HEAD, &pad, 1) == 0)
        return false;
    if (is_padded && pad >= f->len) {
        fail(h, f->len == 0 ? H2_FRAME_SIZE_ERROR : H2_PROTOCOL_ERROR);
        return false;
    }
    h2_session_check_bounds(h, f);
    chain_skip(in, H2_FRAME_HEAD + (is_padded ? 1 : 0));
    begin_data(h, f, pad, is_padded);
    return true;
}

/* False: more bytes are needed, or the connection has ended. */
static bool take_frame(struct h2_session *h)
{
    struct chain *in = &h->conn->in;
    char head[H2_FRAME_HEAD];

    if (in->len < H2_FRAME_HEAD)
        return false;
    chain_peek(in, 0, head, sizeof(head));
    struct h2_frame f = h2_frame_parse(head);
    bool was_first = h->is_first_frame;
    if (!may_follow(h, &f))
        return false;
    if (f.type == H2_DATA)
        return take_data_head(h, &f);
    if (in->len < H2_FRAME_HEAD + f.len) {
        h->is_first_frame = was_first;
        if (f.type == H2_HEADERS)
            h2_section_wait(h);
        return false;
    }
    h2_session_check_bounds(h, &f);
    struct str whole = chain_pullup(in, H2_FRAME_HEAD + f.len);
    recv_frame(h, &f, whole.ptr + H2_FRAME_HEAD);
    chain_skip(in, whole.len);
    return !h->is_terminated;
}

void h2_session_input(struct h2_session *h)
{
    struct chain *in = &h->conn->in;

    if (!h->is_terminated && !h->is_over && h->preface_left > 0 && !take_preface(h) &&
        !h->is_terminated)
        return;
    while (!h->is_terminated && !h->is_over && !chain_is_empty(in)) {
        if (h->in.is_in_data)
            take_data(h);
        else if (!take_frame(h))
            break;
        else if (h->in.is_in_data && h->in.data_left == 0 && h->in.pad_left == 0)
            take_data(h); /* an empty frame ends where it begins */
    }
    if (h->is_terminated && !h->is_over)
        chain_clear(in);
}
