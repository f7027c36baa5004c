#include "http/h2_session.h"

#include <stdlib.h>

enum {
    STREAM_OUT_BYTES = 64 * 1024, /* of a stream, taken from its exchange and not yet framed */
    SPARE_COUNT_MAX = 8,
    FLOOD_PERIOD_US = 10 * 1000 * 1000,
    WINDOW_BYTES_MIN = 65535, /* what a peer may send before it has seen our SETTINGS */
};

/* What costs us more than its sender, and how much of it in a period is no accident any more. A
 * client whose requests time out resets them all, so the first is generous: RFC 9113 10.5. */
enum h2_annoyance { ANNOY_RESET, ANNOY_CONTROL, ANNOY_EMPTY, ANNOY_PRIORITY };
static const uint32_t annoyances_max[] = {
    [ANNOY_RESET] = 10000,
    [ANNOY_CONTROL] = 1000,
    [ANNOY_EMPTY] = 500,
    [ANNOY_PRIORITY] = 5000,
};
_Static_assert(ARRAY_LEN(annoyances_max) == ARRAY_LEN(((struct h2_flood *)NULL)->counts),
               "a count each");

/* --- streams -------------------------------------------------------------------------------- */

struct h2_stream *h2_stream_new(struct h2_session *h, int32_t id)
{
    struct h2_stream *st = LIST_FIRST(&h->spare, struct h2_stream, link);

    if (st != NULL) {
        list_remove(&st->link);
        h->spare_count--;
        *st = (struct h2_stream){.id = id};
    } else {
        st = NEW(struct h2_stream);
        st->id = id;
    }
    st->session = h;
    chain_init(&st->out, turn_chunks(h->conn->turn), &h->conn->account);
    list_init(&st->link);
    list_push_back(&h->streams, &st->link);
    if (id != 0)
        nghttp2_session_set_stream_user_data(h->ng, id, st);
    return st;
}

/* When neither the exchange nor the wire needs it any more. */
static void free_if_done(struct h2_stream *st)
{
    struct h2_session *h = st->session;

    if (st->is_attached || (!st->is_gone && st->id != 0))
        return;
    list_remove(&st->link);
    chain_deinit(&st->out);
    if (h->spare_count < SPARE_COUNT_MAX) {
        list_push_front(&h->spare, &st->link);
        h->spare_count++;
    } else {
        free(st);
    }
    h->ops->on_stream_free(h);
}

void h2_stream_attach(struct h2_stream *st, struct exchange *x)
{
    struct flow *in = &x->flows[st->session->ops->in_side];

    st->x = x;
    st->is_attached = true;
    if (x->window_bytes < st->session->window_bytes) {
        in->credit_bytes += st->session->window_bytes - x->window_bytes;
        x->window_bytes = st->session->window_bytes;
    }
}

static void let_go(struct h2_stream *st)
{
    st->is_attached = false;
    st->x = NULL;
    st->flow = NULL;
    free_if_done(st);
}

void h2_stream_fail(struct h2_stream *st, const struct outcome *why)
{
    exchange_recv_fail(st->x, st->session->ops->in_side, why);
    let_go(st);
}

void h2_stream_detach(struct h2_stream *st)
{
    let_go(st);
}

void h2_stream_reset(struct h2_stream *st, uint32_t error_code)
{
    if (st->id == 0 || st->is_gone || st->is_reset_sent)
        return;
    st->is_reset_sent = true;
    if (!st->is_out_ended)
        chain_clear(&st->out); /* else its last frame is just being made */
    nghttp2_submit_rst_stream(st->session->ng, NGHTTP2_FLAG_NONE, st->id, error_code);
    h2_session_mark(st->session);
}

void h2_stream_stop_input(struct h2_stream *st)
{
    if (st->is_out_ended)
        h2_stream_reset(st, NGHTTP2_NO_ERROR);
    else
        st->is_reset_due = true;
}

void h2_stream_recv_trailers(struct h2_stream *st)
{
    enum side side = st->session->ops->in_side;

    if (h2_head_reader_finish(&st->reader, NULL) != 0) {
        h2_stream_reset(st, NGHTTP2_PROTOCOL_ERROR); /* on_stream_close tells the exchange */
        return;
    }
    if (st->reader.head->field_count > 0)
        exchange_recv_trailers(st->x, side, st->reader.head);
    exchange_recv_end(st->x, side);
}

void h2_stream_grant(struct h2_stream *st, uint32_t bytes)
{
    if (bytes == 0 || st->id == 0 || st->is_gone)
        return;
    nghttp2_session_consume_stream(st->session->ng, st->id, bytes);
    h2_session_mark(st->session);
}

static void resume(struct h2_stream *st)
{
    if (!st->is_deferred)
        return;
    st->is_deferred = false;
    nghttp2_session_resume_data(st->session->ng, st->id);
    h2_session_mark(st->session);
}

void h2_stream_send_body(struct h2_stream *st, struct flow *flow)
{
    size_t room = st->out.len < STREAM_OUT_BYTES ? STREAM_OUT_BYTES - st->out.len : 0;

    if (!st->is_source_ended) {
        chain_move(&st->out, &flow->body, room);
        st->is_source_ended = flow->is_ended && chain_is_empty(&flow->body);
        resume(st);
    }
    flow->is_end_sent = st->is_source_ended && (flow->trailers == NULL || st->is_out_ended);
}

/* --- frames out ----------------------------------------------------------------------------- */

static const struct http_head *trailers_of(const struct h2_stream *st)
{
    const struct http_head *trailers = st->flow == NULL ? NULL : st->flow->trailers;

    return trailers == NULL || trailers->field_count == 0 ? NULL : trailers;
}

static void end_stream(struct h2_session *h, struct h2_stream *st, uint32_t *flags)
{
    const struct http_head *trailers = trailers_of(st);

    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (trailers != NULL) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        h2_pairs_trailers(&h->pairs, trailers);
        nghttp2_submit_trailer(h->ng, st->id, h->pairs.ptr, h->pairs.len);
    }
    st->is_out_ended = true;
    if (st->is_reset_due)
        h2_stream_reset(st, NGHTTP2_NO_ERROR);
    if (st->is_attached)
        exchange_wake(st->x);
}

static ssize_t on_read_data(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t len,
                            uint32_t *flags, nghttp2_data_source *source, void *user)
{
    struct h2_stream *st = source->ptr;
    struct h2_session *h = user;
    size_t n = MIN(len, st->out.len);

    (void)ng;
    (void)id;
    (void)buf;
    if (n == 0 && !st->is_source_ended) {
        st->is_deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n == st->out.len && st->is_source_ended)
        end_stream(h, st, flags);
    return (ssize_t)n;
}

nghttp2_data_provider h2_stream_provider(struct h2_stream *st)
{
    return (nghttp2_data_provider){.source.ptr = st, .read_callback = on_read_data};
}

/* The frame that on_read_data has just announced: its 9 bytes, then slices. No padding is used. */
static int on_send_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *frame_head,
                        size_t len, nghttp2_data_source *source, void *user)
{
    struct h2_session *h = user;
    struct h2_stream *st = source->ptr;

    (void)ng;
    (void)frame;
    if (conn_out_len(h->conn) >= HTTP_OUT_HIGH_BYTES)
        return NGHTTP2_ERR_WOULDBLOCK; /* asked again when the session goes on */
    chain_add(&h->conn->out, str_from((const char *)frame_head, 9));
    chain_move(&h->conn->out, &st->out, len);
    if (st->is_attached && !st->is_source_ended && st->out.len < STREAM_OUT_BYTES / 2)
        exchange_wake(st->x);
    return 0;
}

static void over(struct h2_session *h)
{
    if (h->is_over)
        return;
    h->is_over = true;
    h->ops->on_over(h);
}

void h2_session_produce(struct h2_session *h)
{
    const uint8_t *bytes;
    ssize_t n = 0;

    if (!h->may_send || h->is_over)
        return;
    while (conn_out_len(h->conn) < HTTP_OUT_HIGH_BYTES) {
        n = nghttp2_session_mem_send(h->ng, &bytes);
        if (n <= 0)
            break;
        chain_add(&h->conn->out, str_from((const char *)bytes, (size_t)n));
    }
    conn_mark_dirty(h->conn);
    if (n < 0 || (!nghttp2_session_want_read(h->ng) && !nghttp2_session_want_write(h->ng)))
        over(h);
}

static void run_task(struct turn_task *task)
{
    h2_session_produce(CONTAINER_OF(task, struct h2_session, task));
}

void h2_session_mark(struct h2_session *h)
{
    if (h->may_send && !h->is_over)
        turn_soon(h->conn->turn, &h->task);
}

void h2_session_terminate(struct h2_session *h, uint32_t error_code)
{
    nghttp2_session_terminate_session(h->ng, error_code);
    h2_session_mark(h);
}

/* --- frames in ------------------------------------------------------------------------------ */

static struct h2_stream *stream_of(struct h2_session *h, int32_t id)
{
    return nghttp2_session_get_stream_user_data(h->ng, id);
}

static void annoy(struct h2_session *h, enum h2_annoyance what)
{
    uint64_t now_us = turn_now_us(h->conn->turn);

    if (now_us - h->flood.since_us > FLOOD_PERIOD_US)
        h->flood = (struct h2_flood){.since_us = now_us};
    if (++h->flood.counts[what] == annoyances_max[what])
        h2_session_terminate(h, NGHTTP2_ENHANCE_YOUR_CALM);
}

static enum h2_head_kind kind_of(const struct h2_session *h, const struct h2_stream *st)
{
    if (st->is_head_in)
        return H2_HEAD_TRAILERS;
    return h->ops->in_side == SIDE_REQUEST ? H2_HEAD_REQUEST : H2_HEAD_RESPONSE;
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct h2_session *h = user;
    struct h2_stream *st = stream_of(h, frame->hd.stream_id);

    (void)ng;
    if (frame->hd.type != NGHTTP2_HEADERS)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* a push, which was not allowed */
    if (st == NULL)
        st = h->ops->on_new_stream(h, frame->hd.stream_id);
    if (st == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    st->has_input = true;
    if (st->is_attached)
        h2_head_reader_init(&st->reader, kind_of(h, st), h->limits, &st->x->arena);
    return 0;
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user)
{
    struct h2_stream *st = stream_of(user, frame->hd.stream_id);

    (void)ng;
    (void)flags;
    if (st != NULL && st->is_attached)
        h2_head_reader_add(&st->reader, str_from((const char *)name, name_len),
                           str_from((const char *)value, value_len));
    return 0;
}

/* A field that nghttp2 would leave out silently; nobody may see less than was sent. */
static int on_invalid_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
                             size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                             void *user)
{
    (void)ng;
    (void)frame;
    (void)name;
    (void)name_len;
    (void)value;
    (void)value_len;
    (void)flags;
    (void)user;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* The bytes lie in conn->in, which nghttp2 reads slice by slice: they are shared out of it. */
static void take_data(struct h2_session *h, const uint8_t *data, size_t len)
{
    ptrdiff_t offset = data - h->input;

    if (data >= h->input && (size_t)offset + len <= h->input_len)
        chain_share(&h->scratch, &h->conn->in, (size_t)offset, len);
    else
        chain_add(&h->scratch, str_from((const char *)data, len));
}

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
                   void *user)
{
    struct h2_session *h = user;
    struct h2_stream *st = stream_of(h, id);

    (void)flags;
    nghttp2_session_consume_connection(ng, len);
    if (st == NULL || !st->is_attached || st->is_reset_sent)
        return 0;
    if (len > st->x->flows[h->ops->in_side].credit_bytes) {
        h2_stream_reset(st, NGHTTP2_FLOW_CONTROL_ERROR);
        return 0;
    }
    take_data(h, data, len);
    exchange_recv_body(st->x, h->ops->in_side, &h->scratch, len);
    return 0;
}

static void end_input(struct h2_session *h, struct h2_stream *st)
{
    st->is_in_ended = true;
    if (st->is_attached)
        exchange_recv_end(st->x, h->ops->in_side);
}

static void on_data_frame(struct h2_session *h, const nghttp2_frame *frame)
{
    struct h2_stream *st = stream_of(h, frame->hd.stream_id);
    bool is_end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

    if (frame->hd.length == 0 && !is_end)
        annoy(h, ANNOY_EMPTY);
    if (st != NULL && is_end)
        end_input(h, st);
}

static void on_headers_frame(struct h2_session *h, const nghttp2_frame *frame)
{
    struct h2_stream *st = stream_of(h, frame->hd.stream_id);
    bool is_end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

    if (st == NULL)
        return;
    st->is_in_ended |= is_end;
    if (st->is_attached && !st->is_reset_sent)
        h->ops->on_head(st, is_end);
}

static int on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct h2_session *h = user;

    (void)ng;
    switch (frame->hd.type) {
    case NGHTTP2_DATA:
        on_data_frame(h, frame);
        break;
    case NGHTTP2_HEADERS:
        on_headers_frame(h, frame);
        break;
    case NGHTTP2_RST_STREAM:
        annoy(h, ANNOY_RESET);
        break;
    case NGHTTP2_PRIORITY:
        annoy(h, ANNOY_PRIORITY);
        break;
    case NGHTTP2_PING:
    case NGHTTP2_SETTINGS:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) == 0)
            annoy(h, ANNOY_CONTROL);
        h->ops->on_control(h, frame);
        break;
    case NGHTTP2_GOAWAY:
        h->ops->on_control(h, frame);
        break;
    default:
        break;
    }
    return 0;
}

/* A stream is complete, or was reset by either side, or refused by a GOAWAY. */
static int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t error_code, void *user)
{
    struct h2_stream *st = stream_of(user, id);

    (void)ng;
    if (st == NULL)
        return 0;
    st->is_gone = true;
    if (st->is_attached && !(st->is_in_ended && st->is_out_ended)) {
        struct outcome why = st->session->ops->why_gone(st, error_code);
        h2_stream_fail(st, &why);
    } else {
        free_if_done(st);
    }
    return 0;
}

void h2_session_input(struct h2_session *h)
{
    struct chain *in = &h->conn->in;

    while (!h->is_over && !chain_is_empty(in)) {
        struct str first = chain_first(in);

        h->input = (const uint8_t *)first.ptr;
        h->input_len = first.len;
        ssize_t n = nghttp2_session_mem_recv(h->ng, h->input, first.len);
        if (n < 0) {
            h2_session_produce(h);
            over(h);
            return;
        }
        chain_skip(in, (size_t)n);
    }
    h2_session_mark(h);
}

/* --- life ----------------------------------------------------------------------------------- */

static nghttp2_session_callbacks *callbacks_new(void)
{
    nghttp2_session_callbacks *cb;

    ASSERT(nghttp2_session_callbacks_new(&cb) == 0);
    nghttp2_session_callbacks_set_send_data_callback(cb, on_send_data);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(cb, on_invalid_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    return cb;
}

static nghttp2_option *option_new(void)
{
    nghttp2_option *option;

    ASSERT(nghttp2_option_new(&option) == 0);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_stream_reset_rate_limit(option, annoyances_max[ANNOY_RESET],
                                               annoyances_max[ANNOY_RESET] / 10);
    return option;
}

static void submit_settings(struct h2_session *h, bool is_server)
{
    const struct limits *l = h->limits;
    h->window_bytes = (uint32_t)MAX(l->flow_window_bytes, (uint64_t)WINDOW_BYTES_MIN);
    const nghttp2_settings_entry entries[] = {
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, h->window_bytes},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)l->header_bytes_max},
        {is_server ? NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS : NGHTTP2_SETTINGS_ENABLE_PUSH,
         is_server ? (uint32_t)l->streams_per_connection_max : 0},
    };

    nghttp2_submit_settings(h->ng, NGHTTP2_FLAG_NONE, entries, ARRAY_LEN(entries));
    nghttp2_session_set_local_window_size(h->ng, NGHTTP2_FLAG_NONE, 0,
                                          (int32_t)l->conn_window_bytes);
}

void h2_session_init(struct h2_session *h, const struct h2_session_ops *ops, struct conn *conn,
                     const struct limits *limits, bool is_server, void *owner)
{
    nghttp2_session_callbacks *cb = callbacks_new();
    nghttp2_option *option = option_new();
    int err;

    *h = (struct h2_session){.ops = ops, .conn = conn, .limits = limits, .owner = owner};
    list_init(&h->streams);
    list_init(&h->spare);
    turn_task_init(&h->task, run_task);
    chain_init(&h->scratch, turn_chunks(conn->turn), NULL);
    h->flood.since_us = turn_now_us(conn->turn);
    err = is_server ? nghttp2_session_server_new2(&h->ng, cb, h, option)
                    : nghttp2_session_client_new2(&h->ng, cb, h, option);
    ASSERT(err == 0); /* out of memory only */
    nghttp2_session_callbacks_del(cb);
    nghttp2_option_del(option);
    submit_settings(h, is_server);
}

void h2_session_deinit(struct h2_session *h)
{
    turn_cancel(&h->task);
    nghttp2_session_del(h->ng);
    list_splice_back(&h->spare, &h->streams);
    LIST_FOREACH (&h->spare, st, struct h2_stream, link) {
        ASSERT(!st->is_attached);
        if (st->session != NULL)
            chain_deinit(&st->out);
        free(st);
    }
    h2_pairs_deinit(&h->pairs);
    chain_deinit(&h->scratch);
}

void h2_session_wake_all(struct h2_session *h)
{
    LIST_FOREACH (&h->streams, st, struct h2_stream, link) {
        if (st->is_attached)
            exchange_wake(st->x);
    }
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
