/* HTTP/2, server side (RFC 9113): a stream is an exchange whose downstream end it is.
 *
 * Draining takes two steps (RFC 9113 6.8), so that no request is lost on its way:
 *
 *   GOAWAY(2^31-1) and PING --PING answered, or a second--> GOAWAY(last) --nothing active--> closed
 */
#include <stdlib.h>

#include "http/h2_session.h"

enum { GOAWAY_WAIT_US = 1000 * 1000 };

struct h2_server {
    struct h2_session session;
    struct http_server *server;
    struct timer goaway_timer;
    bool is_noticed; /* the first GOAWAY was sent */
    bool is_final;   /* the second */
};

static struct h2_server *of_session(struct h2_session *h)
{
    return CONTAINER_OF(h, struct h2_server, session);
}

static struct h2_stream *of_end(struct http_end *e)
{
    return CONTAINER_OF(e, struct h2_stream, end);
}

/* --- the exchange's end --------------------------------------------------------------------- */

static void send_continue(struct h2_stream *st)
{
    static const struct http_head head = {.status = 100};
    struct h2_session *h = st->session;

    if (!st->reader.head->expects_continue || st->is_head_submitted || st->is_gone)
        return;
    h2_pairs_response(&h->pairs, &head, &st->x->arena);
    nghttp2_submit_headers(h->ng, NGHTTP2_FLAG_NONE, st->id, NULL, h->pairs.ptr, h->pairs.len,
                           NULL);
    h2_session_mark(h);
}

static void on_grant(struct http_end *e, uint32_t bytes)
{
    if (bytes == 0)
        send_continue(of_end(e));
    else
        h2_stream_grant(of_end(e), bytes);
}

/* Without a body END_STREAM goes with the head. */
static bool is_head_all(const struct flow *flow)
{
    return !flow->head->has_body ||
           (flow->is_ended && chain_is_empty(&flow->body) && flow->trailers == NULL);
}

static void send_head(struct h2_stream *st, struct flow *flow)
{
    struct h2_session *h = st->session;
    nghttp2_data_provider provider = h2_stream_provider(st);
    bool is_all = is_head_all(flow);

    http_server_decorate(h->owner, st->x, flow->head);
    h2_pairs_response(&h->pairs, flow->head, &st->x->arena);
    nghttp2_submit_response(h->ng, st->id, h->pairs.ptr, h->pairs.len, is_all ? NULL : &provider);
    st->is_head_submitted = flow->is_head_sent = true;
    st->is_source_ended = st->is_out_ended = is_all;
    st->flow = flow;
    h2_session_mark(h);
}

static void on_send(struct http_end *e, struct flow *flow)
{
    struct h2_stream *st = of_end(e);

    if (st->is_gone && !st->is_out_ended)
        return;
    if (!flow->is_head_sent)
        send_head(st, flow);
    h2_stream_send_body(st, flow);
}

static uint32_t code_of(const struct outcome *why)
{
    if (why->fault == FAULT_DOWNSTREAM && why->err == -ERR_PROTOCOL)
        return NGHTTP2_PROTOCOL_ERROR;
    return why->err == -ERR_CANCELED ? NGHTTP2_CANCEL : NGHTTP2_INTERNAL_ERROR;
}

static void on_reset(struct http_end *e, const struct outcome *why)
{
    if (why->err == 0)
        h2_stream_stop_input(of_end(e));
    else
        h2_stream_reset(of_end(e), code_of(why));
}

static void on_detach(struct http_end *e)
{
    h2_stream_detach(of_end(e));
}

static const struct http_end_ops end_ops = {
    .grant = on_grant,
    .send = on_send,
    .reset = on_reset,
    .detach = on_detach,
};

/* --- the session ---------------------------------------------------------------------------- */

static struct h2_stream *on_new_stream(struct h2_session *h, int32_t id)
{
    struct h2_stream *st = h2_stream_new(h, id);

    st->end.ops = &end_ops;
    h2_stream_attach(st, http_server_exchange_new(h->owner, &st->end));
    http_server_headers_begin(h->owner);
    return st;
}

/* RFC 9113 8.1.1: malformed is a stream error; what is well-formed but not acceptable is answered.
 */
static void refuse(struct h2_stream *st, int err, bool is_ended)
{
    struct h2_session *h = st->session;
    struct outcome why = {.err = err,
                          .fault = FAULT_DOWNSTREAM,
                          .status = st->reader.refused,
                          .details = st->reader.details};
    struct http_head head = {.status = st->reader.refused};

    outcome_describe(&why);
    if (err == -ERR_PROTOCOL) {
        h2_stream_reset(st, NGHTTP2_PROTOCOL_ERROR);
    } else {
        h2_pairs_response(&h->pairs, &head, &st->x->arena);
        nghttp2_submit_response(h->ng, st->id, h->pairs.ptr, h->pairs.len, NULL);
        st->is_out_ended = true;
        if (!is_ended)
            h2_stream_reset(st, NGHTTP2_NO_ERROR);
    }
    h2_session_mark(h);
    http_server_bad_request(h->owner, &why);
    h2_stream_fail(st, &why);
}

static void on_head(struct h2_stream *st, bool is_ended)
{
    struct h2_session *h = st->session;
    struct http_server *server = h->owner;

    if (st->is_head_in) {
        h2_stream_recv_trailers(st);
        return;
    }
    st->is_head_in = true;
    http_server_headers_end(server);
    int err = h2_head_reader_finish(&st->reader, &server->config->path);
    if (err != 0) {
        refuse(st, err, is_ended);
        return;
    }
    st->reader.head->has_body = !is_ended;
    st->reader.head->expects_continue &= !is_ended;
    http_server_exchange_start(server, st->x, st->reader.head);
}

static struct outcome why_gone(const struct h2_stream *st, uint32_t error_code)
{
    struct outcome why = {.err = -ERR_RESET, .fault = FAULT_DOWNSTREAM};

    if (error_code == H2_LOST)
        return http_outcome_downstream(st->session->lost_err);
    if (error_code == NGHTTP2_PROTOCOL_ERROR || error_code == NGHTTP2_FLOW_CONTROL_ERROR)
        why.err = -ERR_PROTOCOL;
    outcome_describe(&why);
    return why;
}

static void on_stream_free(struct h2_session *h)
{
    http_server_exchange_done(h->owner);
}

static void send_final_goaway(struct h2_server *s)
{
    nghttp2_session *ng = s->session.ng;

    if (s->is_final)
        return;
    s->is_final = true;
    timer_stop(&s->goaway_timer);
    nghttp2_submit_goaway(ng, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(ng),
                          NGHTTP2_NO_ERROR, NULL, 0);
    h2_session_mark(&s->session);
    turn_soon(s->server->turn, &s->server->task); /* comes back as close when nothing is active */
}

static void on_goaway_timer(struct timer *timer)
{
    send_final_goaway(CONTAINER_OF(timer, struct h2_server, goaway_timer));
}

/* The answer to our PING: everything that the peer sent before it saw the first GOAWAY is here. */
static void on_control(struct h2_session *h, const nghttp2_frame *frame)
{
    struct h2_server *s = of_session(h);

    if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0 &&
        s->is_noticed)
        send_final_goaway(s);
}

static void on_over(struct h2_session *h)
{
    http_server_close(h->owner);
}

static const struct h2_session_ops session_ops = {
    .on_new_stream = on_new_stream,
    .on_head = on_head,
    .why_gone = why_gone,
    .on_stream_free = on_stream_free,
    .on_control = on_control,
    .on_over = on_over,
    .in_side = SIDE_REQUEST,
};

/* --- the codec ------------------------------------------------------------------------------ */

static void on_open(struct http_server *server)
{
    struct h2_server *s = NEW(struct h2_server);

    s->server = server;
    timer_init(&s->goaway_timer, on_goaway_timer);
    h2_session_init(&s->session, &session_ops, server->conn, server->config->limits, true, server);
    s->session.may_send = true;
    server->codec_state = s;
    h2_session_mark(&s->session);
}

static void on_input(struct http_server *server)
{
    struct h2_server *s = server->codec_state;

    h2_session_input(&s->session);
    if (conn_is_in_ended(server->conn))
        http_server_close(server); /* streams that were under way are told by on_close */
}

static void on_drain(struct http_server *server)
{
    struct h2_server *s = server->codec_state;

    h2_session_mark(&s->session);
    h2_session_wake_all(&s->session);
}

static void drain(struct http_server *server)
{
    struct h2_server *s = server->codec_state;

    s->is_noticed = true;
    nghttp2_submit_shutdown_notice(s->session.ng);
    nghttp2_submit_ping(s->session.ng, NGHTTP2_FLAG_NONE, NULL);
    timer_start(server->turn, &s->goaway_timer, GOAWAY_WAIT_US);
    h2_session_mark(&s->session);
}

static void on_headers_timeout(struct http_server *server)
{
    struct h2_server *s = server->codec_state;

    h2_session_terminate(&s->session, NGHTTP2_ENHANCE_YOUR_CALM);
}

static void on_farewell(struct http_server *server)
{
    struct h2_server *s = server->codec_state;

    if (!s->is_final)
        return; /* send_final_goaway asks again */
    h2_session_produce(&s->session);
    http_server_close(server);
}

static void on_close(struct http_server *server, int err)
{
    struct h2_server *s = server->codec_state;

    if (s == NULL)
        return;
    timer_stop(&s->goaway_timer);
    h2_session_fail_all(&s->session, err);
    h2_session_deinit(&s->session);
    server->codec_state = NULL;
    free(s);
}

const struct http_server_codec h2_server_codec = {
    .name = "http2",
    .version = HTTP_2,
    .open = on_open,
    .on_input = on_input,
    .on_drain = on_drain,
    .drain = drain,
    .on_headers_timeout = on_headers_timeout,
    .close = on_farewell,
    .on_close = on_close,
};
