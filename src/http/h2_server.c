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

    if (st->expects_continue && !st->is_head_submitted && !st->is_gone &&
        h2_output_has_room(st->session))
        h2_output_head(st, H2_HEAD_RESPONSE, &head, false);
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

/* RFC 9113 8.5, 8441 5: to who asked for a tunnel any 2xx says that there is one. A server of
 * HTTP/1 may ignore an upgrade and answer as it likes. */
static void withhold_success(const struct exchange *x, struct http_head *head)
{
    if (x->is_tunnel && !x->is_switched && head->status / 100 == 2)
        head->status = 502;
}

static void send_head(struct h2_stream *st, struct flow *flow)
{
    bool is_all = is_head_all(flow);

    withhold_success(st->x, flow->head);
    http_server_decorate(st->session->owner, st->x, flow->head);
    struct http_head head = *flow->head;
    if (st->x->is_switched) { /* RFC 8441 5: no 101 here, and no length */
        head.status = head.status == 101 ? 200 : head.status;
        head.has_length = false;
    }
    h2_output_head(st, H2_HEAD_RESPONSE, &head, is_all);
    st->is_head_submitted = flow->is_head_sent = true;
    st->flow = flow;
    if (is_all) {
        flow->is_end_sent = true;
        h2_stream_sent_end(st);
    }
}

static void on_send(struct http_end *e, struct flow *flow)
{
    struct h2_stream *st = of_end(e);

    if (st->is_gone && !st->is_out_ended)
        return;
    if (!flow->is_head_sent) {
        if (!h2_output_may_begin(st->session))
            return;
        send_head(st, flow);
    }
    if (!flow->is_end_sent)
        h2_output_body(st, flow);
}

static void on_inform(struct http_end *e, const struct http_head *informational)
{
    struct h2_stream *st = of_end(e);
    struct http_head head = *informational;

    if (st->is_head_submitted || st->is_gone || !h2_output_has_room(st->session))
        return;
    head.has_length = false; /* RFC 9110 8.6 */
    h2_output_head(st, H2_HEAD_RESPONSE, &head, false);
}

static enum h2_error code_of(const struct outcome *why)
{
    if (why->fault == FAULT_DOWNSTREAM && why->err == -ERR_PROTOCOL)
        return H2_PROTOCOL_ERROR;
    return why->err == -ERR_CANCELED ? H2_CANCEL : H2_INTERNAL_ERROR;
}

static void on_reset(struct http_end *e, const struct outcome *why)
{
    if (why->err == 0)
        h2_stream_stop_input(of_end(e));
    else
        h2_stream_reset(of_end(e), code_of(why));
}

static void on_ask_sent(struct http_end *e)
{
    h2_output_ask_sent(of_end(e));
}

static void on_detach(struct http_end *e)
{
    h2_stream_detach(of_end(e));
}

static const struct http_end_ops end_ops = {
    .grant = on_grant,
    .send = on_send,
    .ask_sent = on_ask_sent,
    .inform = on_inform,
    .reset = on_reset,
    .detach = on_detach,
};

/* --- the session ---------------------------------------------------------------------------- */

/* An exchange holds the server until the turn in which it ended is over. */
static bool may_begin(const struct h2_session *h)
{
    const struct http_server *server = h->owner;
    return server->ref_count - 1 < 2 * h->limits->streams_per_connection_max;
}

static struct h2_stream *on_new_stream(struct h2_session *h, uint32_t id)
{
    struct h2_stream *st = h2_stream_new(h, id);

    st->end.ops = &end_ops;
    h2_stream_attach(st, http_server_exchange_new(h->owner, &st->end));
    return st;
}

/* RFC 9113 8.1.1: malformed is a stream error; what is well-formed but not acceptable is answered.
 */
static void refuse(struct h2_stream *st, int err, bool is_ended)
{
    struct h2_session *h = st->session;
    struct outcome why = {.err = err,
                          .fault = FAULT_DOWNSTREAM,
                          .status = h->reader.refused,
                          .details = h->reader.details};
    struct http_head head = {.status = h->reader.refused};

    outcome_describe(&why);
    http_server_bad_request(h->owner, &why);
    h2_session_annoy(h, H2_ANNOY_RESET);
    if (err == -ERR_PROTOCOL) {
        h2_stream_reset(st, H2_PROTOCOL_ERROR);
    } else {
        h2_output_head(st, H2_HEAD_RESPONSE, &head, true);
        st->is_reset_due = !is_ended;
        h2_stream_sent_end(st);
    }
    h2_stream_fail(st, &why);
}

static void on_head(struct h2_stream *st, bool is_ended)
{
    struct h2_session *h = st->session;
    struct http_server *server = h->owner;
    struct http_head *head = h->reader.head;

    if (st->is_head_in) {
        h2_stream_recv_trailers(st);
        return;
    }
    st->is_head_in = true;
    int err = h2_head_reader_finish(&h->reader, &server->config->path);
    if (err != 0) {
        refuse(st, err, is_ended);
        return;
    }
    bool is_tunnel = http_head_asks_tunnel(head);
    head->has_body = !is_ended || is_tunnel;
    head->expects_continue &= !is_ended;
    st->expects_continue = head->expects_continue;
    http_server_exchange_start(server, st->x, head);
    if (is_ended && is_tunnel)
        exchange_recv_end(st->x, SIDE_REQUEST);
}

static void on_section(struct h2_session *h, bool is_complete)
{
    if (is_complete)
        http_server_headers_end(h->owner);
    else
        http_server_headers_begin(h->owner);
}

static struct outcome why_gone(const struct h2_stream *st, uint32_t error_code)
{
    struct outcome why = {.err = -ERR_RESET, .fault = FAULT_DOWNSTREAM};

    if (error_code == H2_LOST)
        return http_outcome_downstream(st->session->lost_err);
    if (error_code == H2_PROTOCOL_ERROR || error_code == H2_FLOW_CONTROL_ERROR)
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
    if (s->is_final)
        return;
    s->is_final = true;
    timer_stop(&s->goaway_timer);
    h2_session_goaway(&s->session, s->session.last_id);
    turn_soon(s->server->turn, &s->server->task); /* comes back as close when nothing is active */
}

static void on_goaway_timer(struct timer *timer)
{
    send_final_goaway(CONTAINER_OF(timer, struct h2_server, goaway_timer));
}

/* The answer to our PING: everything that the peer sent before it saw the first GOAWAY is here. */
static void on_control(struct h2_session *h, const struct h2_frame *frame)
{
    struct h2_server *s = of_session(h);

    if (frame->type == H2_PING && (frame->flags & H2_FLAG_ACK) != 0 && s->is_noticed)
        send_final_goaway(s);
}

static void on_over(struct h2_session *h)
{
    http_server_close(h->owner);
}

static const struct h2_session_ops session_ops = {
    .may_begin = may_begin,
    .on_new_stream = on_new_stream,
    .on_head = on_head,
    .why_gone = why_gone,
    .on_stream_free = on_stream_free,
    .on_section = on_section,
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
    s->session.bounds = &server->config->h2;
    s->session.allows_connect = server->config->allow_connect;
    server->codec_state = s;
    h2_session_begin(&s->session);
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

    h2_session_drained(&s->session);
}

static void drain(struct http_server *server)
{
    struct h2_server *s = server->codec_state;

    s->is_noticed = true;
    h2_session_goaway(&s->session, INT32_MAX);
    h2_session_ping(&s->session);
    uint64_t wait_us = server->config->drain_timeout_us;
    timer_start(server->turn, &s->goaway_timer, wait_us > 0 ? wait_us : GOAWAY_WAIT_US);
}

static void on_headers_timeout(struct http_server *server)
{
    struct h2_server *s = server->codec_state;

    h2_session_terminate(&s->session, H2_ENHANCE_YOUR_CALM);
}

static void on_farewell(struct http_server *server)
{
    struct h2_server *s = server->codec_state;

    if (!s->is_final)
        return; /* send_final_goaway asks again */
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
