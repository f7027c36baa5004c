#include "http/h2_session.h"

#include <stdlib.h>

#include "base/err.h"

enum {
    FLOOD_PERIOD_US = 10 * 1000 * 1000,
    SETTINGS_WAIT_US = 30 * 1000 * 1000, /* for the peer to acknowledge ours: RFC 9113 6.5.3 */
};

static const struct str preface = {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24};

/* How much in a period is no accident any more. A client whose requests time out resets them all,
 * so the first is generous: RFC 9113 10.5. */
static const uint32_t annoyances_max[H2_ANNOY_COUNT] = {
    [H2_ANNOY_RESET] = 10000,  [H2_ANNOY_CONTROL] = 1000, [H2_ANNOY_EMPTY] = 500,
    [H2_ANNOY_IGNORED] = 5000, [H2_ANNOY_WINDOW] = 5000,
};

static void over(struct h2_session *h)
{
    if (h->is_over)
        return;
    h->is_over = true;
    h->ops->on_over(h);
}

static void run_task(struct turn_task *task)
{
    struct h2_session *h = CONTAINER_OF(task, struct h2_session, task);

    if (h->is_over)
        return;
    h2_output_data(h);
    if (h->is_terminated || (h->is_goaway_in && list_is_empty(&h->streams)))
        over(h);
}

void h2_session_mark(struct h2_session *h)
{
    if (!h->is_over && (h->may_send || h->is_terminated))
        turn_soon(h->conn->turn, &h->task);
}

/* --- what ends it --------------------------------------------------------------------------- */

static void put_goaway(struct h2_session *h, uint32_t last_id, enum h2_error code)
{
    struct h2_frame f = {.len = 8, .type = H2_GOAWAY};
    char payload[8];

    h2_put_u32(h2_put_u32(payload, last_id), code);
    h2_output_frame(h, &f, str_from(payload, sizeof(payload)));
}

void h2_session_goaway(struct h2_session *h, uint32_t last_id)
{
    h->goaway_id = last_id;
    put_goaway(h, last_id, H2_NO_ERROR);
}

void h2_session_terminate(struct h2_session *h, enum h2_error code)
{
    if (h->is_terminated)
        return;
    put_goaway(h, h->last_id, code);
    h->is_terminated = true;
    h2_session_mark(h);
}

void h2_session_annoy(struct h2_session *h, enum h2_annoyance what)
{
    uint64_t now_us = turn_now_us(h->conn->turn);

    if (now_us - h->flood.since_us > FLOOD_PERIOD_US)
        h->flood = (struct h2_flood){.since_us = now_us};
    if (++h->flood.counts[what] >= annoyances_max[what])
        h2_session_terminate(h, H2_ENHANCE_YOUR_CALM);
}

/* As Envoy counts them: a peer that is allowed n WINDOW_UPDATE for each DATA frame has some to
 * begin with, and two for each stream. */
static bool is_beyond(const struct h2_session *h)
{
    const struct h2_bounds *b = h->bounds;
    const struct h2_totals *t = &h->totals;

    return (b->empty_frames_max > 0 && t->empty_run > b->empty_frames_max) ||
           (b->priority_frames_max > 0 &&
            t->priorities > b->priority_frames_max * (1 + t->streams)) ||
           (b->window_updates_max > 0 &&
            t->window_updates > 5 + 2 * (t->streams + b->window_updates_max * t->data_out));
}

void h2_session_check_bounds(struct h2_session *h, const struct h2_frame *f)
{
    struct h2_totals *t = &h->totals;

    switch (f->type) {
    case H2_PRIORITY:
        t->priorities++;
        break;
    case H2_WINDOW_UPDATE:
        t->window_updates++;
        break;
    case H2_DATA:
    case H2_HEADERS:
    case H2_CONTINUATION:
        t->empty_run = f->len == 0 && (f->flags & H2_FLAG_END_STREAM) == 0 ? t->empty_run + 1 : 0;
        break;
    default:
        return;
    }
    if (is_beyond(h))
        h2_session_terminate(h, H2_ENHANCE_YOUR_CALM);
}

/* --- SETTINGS, PING, GOAWAY ----------------------------------------------------------------- */

static char *put_setting(char *to, enum h2_setting id, uint64_t value)
{
    *to++ = 0;
    *to++ = (char)id;
    return h2_put_u32(to, (uint32_t)value);
}

static void put_settings(struct h2_session *h)
{
    char payload[4 * H2_SETTING_LEN], *at = payload; /* one each below */

    at = put_setting(at, H2_SETTING_INITIAL_WINDOW_SIZE, h->stream_window);
    at = put_setting(at, H2_SETTING_MAX_HEADER_LIST_SIZE, h->limits->header_bytes_max);
    if (h->is_server)
        at = put_setting(at, H2_SETTING_MAX_CONCURRENT_STREAMS,
                         h->limits->streams_per_connection_max);
    else
        at = put_setting(at, H2_SETTING_ENABLE_PUSH, 0);
    if (h->allows_connect)
        at = put_setting(at, H2_SETTING_ENABLE_CONNECT_PROTOCOL, 1);
    struct h2_frame f = {.len = (uint32_t)(at - payload), .type = H2_SETTINGS};
    h2_output_frame(h, &f, str_from(payload, f.len));
}

static void on_settings_timer(struct timer *timer)
{
    h2_session_terminate(CONTAINER_OF(timer, struct h2_session, settings_timer),
                         H2_SETTINGS_TIMEOUT);
}

void h2_session_begin(struct h2_session *h)
{
    h->may_send = true;
    if (!h->is_server)
        chain_add(&h->conn->out, preface);
    put_settings(h);
    if (h->recv_window > H2_WINDOW_DEFAULT)
        h2_output_u32(h, H2_WINDOW_UPDATE, 0, (uint32_t)h->recv_window - H2_WINDOW_DEFAULT);
    timer_start(h->conn->turn, &h->settings_timer, SETTINGS_WAIT_US);
}

/* RFC 9113 6.5.2, RFC 8441 3. H2_NO_ERROR: taken over into peer. */
static enum h2_error take_setting(struct h2_session *h, unsigned id, uint32_t value,
                                  struct h2_peer *peer)
{
    switch (id) {
    case H2_SETTING_HEADER_TABLE_SIZE:
        hpack_encoder_set_size(&h->encoder, value);
        break;
    case H2_SETTING_ENABLE_PUSH:
        return value > (h->is_server ? 1u : 0u) ? H2_PROTOCOL_ERROR : H2_NO_ERROR;
    case H2_SETTING_MAX_CONCURRENT_STREAMS:
        peer->streams_max = value;
        break;
    case H2_SETTING_INITIAL_WINDOW_SIZE:
        peer->window = value;
        return value > H2_WINDOW_MAX ? H2_FLOW_CONTROL_ERROR : H2_NO_ERROR;
    case H2_SETTING_MAX_FRAME_SIZE:
        peer->frame_max = value;
        return value < H2_FRAME_LEN_MAX || value > H2_FRAME_LEN_TOP ? H2_PROTOCOL_ERROR
                                                                    : H2_NO_ERROR;
    case H2_SETTING_ENABLE_CONNECT_PROTOCOL:
        if (value > 1 || (value == 0 && peer->allows_connect))
            return H2_PROTOCOL_ERROR;
        peer->allows_connect = value == 1;
        break;
    default:
        break;
    }
    return H2_NO_ERROR;
}

/* RFC 9113 6.9.2: the windows of streams change by the difference, also below zero. */
static enum h2_error move_windows(struct h2_session *h, int64_t by)
{
    if (by == 0)
        return H2_NO_ERROR;
    LIST_FOREACH (&h->streams, st, struct h2_stream, link) {
        if (st->id == 0 || st->is_gone)
            continue;
        st->send_window += by;
        if (st->send_window > H2_WINDOW_MAX)
            return H2_FLOW_CONTROL_ERROR;
        h2_output_ready(st);
    }
    return H2_NO_ERROR;
}

static enum h2_error take_settings(struct h2_session *h, const struct h2_frame *f,
                                   const char *payload)
{
    struct h2_peer peer = h->peer;

    if (!peer.is_known) /* unless it says so */
        peer.window = H2_WINDOW_DEFAULT;
    for (uint32_t at = 0; at < f->len; at += H2_SETTING_LEN) {
        unsigned id = (unsigned)(uint8_t)payload[at] << 8 | (uint8_t)payload[at + 1];
        enum h2_error code = take_setting(h, id, h2_get_u32(payload + at + 2), &peer);

        if (code != H2_NO_ERROR)
            return code;
    }
    int64_t by = (int64_t)peer.window - h->peer.window;
    peer.is_known = true;
    h->peer = peer;
    return move_windows(h, by);
}

/* RFC 9113 6.9.2: what began before has a window of the first size less. */
static void settle(struct h2_session *h)
{
    int64_t less = (int64_t)h2_stream_first_window(h) - h->stream_window;

    timer_stop(&h->settings_timer);
    h->is_settled = true;
    LIST_FOREACH (&h->streams, st, struct h2_stream, link) {
        if (st->id != 0 && less > 0)
            st->recv_window -= less;
    }
}

void h2_session_recv_settings(struct h2_session *h, const struct h2_frame *f, const char *payload)
{
    static const struct h2_frame ack = {.type = H2_SETTINGS, .flags = H2_FLAG_ACK};
    bool is_ack = (f->flags & H2_FLAG_ACK) != 0;

    if (f->id != 0) {
        h2_session_terminate(h, H2_PROTOCOL_ERROR);
        return;
    }
    if (f->len % H2_SETTING_LEN != 0 || (is_ack && f->len != 0)) {
        h2_session_terminate(h, H2_FRAME_SIZE_ERROR);
        return;
    }
    if (is_ack) {
        settle(h);
        return;
    }
    h2_session_annoy(h, H2_ANNOY_CONTROL);
    enum h2_error code = take_settings(h, f, payload);
    if (code != H2_NO_ERROR) {
        h2_session_terminate(h, code);
        return;
    }
    h2_output_frame(h, &ack, STR_NULL);
    h->ops->on_control(h, f);
}

void h2_session_ping(struct h2_session *h)
{
    static const struct h2_frame f = {.len = H2_PING_LEN, .type = H2_PING};

    h2_output_frame(h, &f, str_from("goaway\r\n", H2_PING_LEN));
}

void h2_session_recv_ping(struct h2_session *h, const struct h2_frame *f, const char *payload)
{
    struct h2_frame ack = {.len = H2_PING_LEN, .type = H2_PING, .flags = H2_FLAG_ACK};

    if (f->id != 0 || f->len != H2_PING_LEN) {
        h2_session_terminate(h, f->id != 0 ? H2_PROTOCOL_ERROR : H2_FRAME_SIZE_ERROR);
        return;
    }
    if ((f->flags & H2_FLAG_ACK) == 0) {
        h2_session_annoy(h, H2_ANNOY_CONTROL);
        h2_output_frame(h, &ack, str_from(payload, H2_PING_LEN));
    }
    h->ops->on_control(h, f);
}

/* Streams that the peer has not looked at, and will not (RFC 9113 6.8). */
static void lose_above(struct h2_session *h, uint32_t last_id)
{
    LIST_FOREACH (&h->streams, st, struct h2_stream, link) {
        if (st->id > last_id && !st->is_gone)
            h2_stream_lose(st, H2_REFUSED_STREAM);
    }
}

void h2_session_recv_goaway(struct h2_session *h, const struct h2_frame *f, const char *payload)
{
    if (f->id != 0 || f->len < 8) {
        h2_session_terminate(h, f->id != 0 ? H2_PROTOCOL_ERROR : H2_FRAME_SIZE_ERROR);
        return;
    }
    h->is_goaway_in = true;
    h->ops->on_control(h, f);
    if (!h->is_server)
        lose_above(h, h2_get_u32(payload) & 0x7fffffff);
    h2_session_mark(h);
}

/* --- life ----------------------------------------------------------------------------------- */

/* Before a server has said what it takes of a stream, a client sends no more than it takes itself.
 */
static uint32_t first_send_window(const struct limits *limits, bool is_server)
{
    uint64_t first = H2_WINDOW_DEFAULT;

    return (uint32_t)(is_server ? first : MIN(first, limits->flow_window_bytes));
}

void h2_session_init(struct h2_session *h, const struct h2_session_ops *ops, struct conn *conn,
                     const struct limits *limits, bool is_server, void *owner)
{
    *h = (struct h2_session){
        .ops = ops,
        .conn = conn,
        .limits = limits,
        .owner = owner,
        .peer = {.window = first_send_window(limits, is_server),
                 .frame_max = H2_FRAME_LEN_MAX,
                 .streams_max = UINT32_MAX},
        .flood = {.since_us = turn_now_us(conn->turn)},
        .send_window = H2_WINDOW_DEFAULT,
        .recv_window = (int64_t)limits->conn_window_bytes,
        .stream_window = (uint32_t)limits->flow_window_bytes,
        .next_id = 1,
        .goaway_id = INT32_MAX,
        .preface_left = is_server ? (unsigned)preface.len : 0,
        .is_server = is_server,
        .is_first_frame = true,
    };
    list_init(&h->streams);
    list_init(&h->spare);
    list_init(&h->ready);
    list_init(&h->blocked);
    list_init(&h->owing);
    turn_task_init(&h->task, run_task);
    timer_init(&h->settings_timer, on_settings_timer);
    hpack_decoder_init(&h->decoder);
    hpack_encoder_init(&h->encoder);
    /* What a block may have in all; its fields have a limit of their own. */
    h->in.block = STR_BUF_INIT(2 * limits->header_bytes_max + H2_FRAME_LEN_MAX);
}

void h2_session_deinit(struct h2_session *h)
{
    turn_cancel(&h->task);
    timer_stop(&h->settings_timer);
    list_splice_back(&h->spare, &h->streams);
    LIST_FOREACH (&h->spare, st, struct h2_stream, link) {
        ASSERT(!st->is_attached);
        chain_deinit(&st->out);
        free(st);
    }
    free(h->buckets);
    hpack_decoder_deinit(&h->decoder);
    hpack_encoder_deinit(&h->encoder);
    str_buf_deinit(&h->in.block);
}

void h2_session_wake_all(struct h2_session *h)
{
    LIST_FOREACH (&h->streams, st, struct h2_stream, link) {
        if (st->is_attached)
            exchange_wake(st->x);
    }
}

void h2_session_drained(struct h2_session *h)
{
    h2_output_tell_sent(h);
    if (!list_is_empty(&h->ready))
        h2_session_mark(h);
    if (!h->is_room_wanted)
        return;
    h->is_room_wanted = false;
    h2_session_wake_all(h);
}

void h2_session_fail_all(struct h2_session *h, int err)
{
    h->lost_err = err;
    h->is_over = true;
    LIST_FOREACH (&h->streams, st, struct h2_stream, link) {
        if (st->is_attached) {
            struct outcome why = h->ops->why_gone(st, H2_LOST);
            h2_stream_fail(st, &why);
        }
    }
}
