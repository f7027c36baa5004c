/* HTTP/2, client side (RFC 9113): a stream is the upstream end of an exchange. */
#include <stdlib.h>

#include "http/h2_session.h"

enum {
    STREAMS_BEFORE_SETTINGS = 100, /* RFC 9113 6.5.2: no peer should allow fewer */
    INFORMATIONAL_MAX = 16,        /* responses 1xx in front of one final response */
};

struct h2_client {
    struct h2_session session;
    struct http_client *client;
};

static struct h2_stream *of_end(struct http_end *e)
{
    return CONTAINER_OF(e, struct h2_stream, end);
}

/* --- the exchange's end --------------------------------------------------------------------- */

static void on_grant(struct http_end *e, uint32_t bytes)
{
    h2_stream_grant(of_end(e), bytes);
}

/* The connection has no more stream numbers: another one will do. */
static void fail_unsent(struct h2_stream *st)
{
    struct outcome why = {.err = -ERR_UNAVAILABLE,
                          .fault = FAULT_UPSTREAM,
                          .is_retryable = true,
                          .is_unanswered = true,
                          .status = 503,
                          .flags = FLAG_BIT(UPSTREAM_CLOSED),
                          .details = STR("upstream_streams_exhausted")};

    http_client_set_draining(st->session->owner);
    h2_stream_fail(st, &why);
}

/* RFC 8441 3: the peer's SETTINGS do not have it. */
static void fail_unsupported(struct h2_stream *st)
{
    struct outcome why = {.err = -ERR_UNSUPPORTED,
                          .fault = FAULT_UPSTREAM,
                          .is_unanswered = true,
                          .status = 503,
                          .flags = FLAG_BIT(UPSTREAM_PROTOCOL),
                          .details = STR("upstream_tunnel_unsupported")};

    h2_stream_fail(st, &why);
}

static bool is_head_all(const struct flow *flow)
{
    return !flow->head->has_body ||
           (flow->is_ended && chain_is_empty(&flow->body) && flow->trailers == NULL);
}

/* False: no more requests on this connection. */
static bool send_head(struct h2_stream *st, struct flow *flow)
{
    struct h2_session *h = st->session;
    bool is_all = is_head_all(flow);

    st->is_tunnel_asked = http_head_asks_tunnel(flow->head);
    if (flow->head->protocol.len > 0 && !h->peer.allows_connect) {
        fail_unsupported(st);
        return false;
    }
    if (h->is_goaway_in || h->next_id > INT32_MAX) {
        fail_unsent(st);
        return false;
    }
    h2_stream_open(st, h->next_id);
    h->next_id += 2;
    h2_output_head(st, H2_HEAD_REQUEST, flow->head, is_all);
    st->is_head_request = str_eq(flow->head->method, STR("HEAD"));
    st->is_head_submitted = flow->is_head_sent = true;
    st->flow = flow;
    if (is_all) {
        flow->is_end_sent = true;
        h2_stream_sent_end(st);
    }
    return true;
}

static void on_send(struct http_end *e, struct flow *flow)
{
    struct h2_stream *st = of_end(e);

    if (!st->session->may_send || (st->is_gone && !st->is_out_ended))
        return;
    if (!flow->is_head_sent) {
        if (flow->head->protocol.len > 0 && !st->session->peer.is_known)
            return; /* on_control wakes all */
        if (!h2_output_may_begin(st->session) || !send_head(st, flow))
            return;
    }
    if (!flow->is_end_sent)
        h2_output_body(st, flow);
}

static void on_reset(struct http_end *e, const struct outcome *why)
{
    (void)why; /* to the upstream every reset means that nobody wants the answer any more */
    h2_stream_reset(of_end(e), H2_CANCEL);
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
    .reset = on_reset,
    .detach = on_detach,
};

/* --- the session ---------------------------------------------------------------------------- */

static void fail_response(struct h2_stream *st, int err)
{
    struct outcome why = {
        .err = err, .fault = FAULT_UPSTREAM, .details = st->session->reader.details};

    outcome_describe(&why);
    h2_stream_reset(st, H2_PROTOCOL_ERROR);
    h2_stream_fail(st, &why);
}

/* In the canonical form it is 101 that switches (RFC 8441 5: 2xx on the wire). False: refused. */
static bool open_tunnel(struct h2_stream *st, struct http_head *head)
{
    const struct http_head *request = st->x->flows[SIDE_REQUEST].head;

    if (request->protocol.len > 0 && head->status < 300) {
        head->status = 101;
        head->protocol = request->protocol;
    }
    if (!http_head_opens_tunnel(request, head))
        return false;
    head->has_length = false;
    return true;
}

static void on_head(struct h2_stream *st, bool is_ended)
{
    struct h2_session *h = st->session;
    struct http_head *head = h->reader.head;

    if (st->is_head_in) {
        h2_stream_recv_trailers(st);
        return;
    }
    int err = h2_head_reader_finish(&h->reader, NULL);
    if (err == 0 && head->status < 200) {
        if (++st->informational_count > INFORMATIONAL_MAX)
            fail_response(st, -ERR_PROTOCOL);
        else if (head->status != 100)
            exchange_recv_informational(st->x, head);
        return;
    }
    st->is_head_in = true;
    if (err != 0) {
        fail_response(st, err == -ERR_TOO_LARGE ? err : -ERR_PROTOCOL);
        return;
    }
    bool is_tunnel = st->is_tunnel_asked && open_tunnel(st, head);
    head->has_body = !is_ended || is_tunnel;
    exchange_recv_head(st->x, SIDE_RESPONSE, head);
    if (is_ended && is_tunnel)
        exchange_recv_end(st->x, SIDE_RESPONSE);
    h2_stream_settle(st);
}

static struct outcome why_gone(const struct h2_stream *st, uint32_t error_code)
{
    struct outcome why = {.err = -ERR_RESET,
                          .fault = FAULT_UPSTREAM,
                          .is_unanswered = !st->has_input,
                          .was_reused = st->was_reused};

    if (error_code == H2_LOST)
        return http_client_lost(st->session->owner, st->session->lost_err, st->was_reused,
                                !st->has_input);
    if (error_code == H2_REFUSED_STREAM) {
        /* RFC 9113 8.7: not processed, safe to send again; so are streams above a GOAWAY's. */
        why.is_retryable = true;
        why.details = STR("upstream_refused_stream");
    }
    outcome_describe(&why);
    return why;
}

static void on_stream_free(struct h2_session *h)
{
    http_client_stream_done(h->owner);
}

/* Tunnels wait for the first. */
static void on_settings(struct h2_session *h)
{
    http_client_room_grew(h->owner);
    LIST_FOREACH (&h->streams, st, struct h2_stream, link) {
        if (st->is_attached && !st->is_head_submitted)
            exchange_wake(st->x);
    }
}

static void on_control(struct h2_session *h, const struct h2_frame *frame)
{
    if (frame->type == H2_GOAWAY)
        http_client_set_draining(h->owner);
    else if (frame->type == H2_SETTINGS)
        on_settings(h);
}

static void on_over(struct h2_session *h)
{
    http_client_set_draining(h->owner);
    http_client_close(h->owner);
}

static const struct h2_session_ops session_ops = {
    .on_head = on_head,
    .why_gone = why_gone,
    .on_stream_free = on_stream_free,
    .on_control = on_control,
    .on_over = on_over,
    .in_side = SIDE_RESPONSE,
};

/* --- the codec ------------------------------------------------------------------------------ */

static void init(struct http_client *client)
{
    struct h2_client *c = NEW(struct h2_client);

    c->client = client;
    h2_session_init(&c->session, &session_ops, client->conn, client->config->limits, false, client);
    c->session.bounds = &client->config->h2;
    client->codec_state = c;
}

static void on_open(struct http_client *client)
{
    struct h2_client *c = client->codec_state;

    h2_session_begin(&c->session);
    h2_session_wake_all(&c->session);
}

static void on_input(struct http_client *client)
{
    struct h2_client *c = client->codec_state;

    h2_session_input(&c->session);
    if (conn_is_in_ended(client->conn) && !client->is_closing) {
        http_client_set_draining(client);
        http_client_close(client); /* streams that were under way are told by on_close */
    }
}

static void on_drain(struct http_client *client)
{
    struct h2_client *c = client->codec_state;

    h2_session_drained(&c->session);
}

static unsigned room(const struct http_client *client)
{
    const struct h2_client *c = client->codec_state;
    uint32_t allowed = STREAMS_BEFORE_SETTINGS;

    if (c->session.peer.is_known)
        allowed = c->session.peer.streams_max;
    return allowed > client->active ? allowed - client->active : 0;
}

static void start(struct http_client *client, struct exchange *x)
{
    struct h2_client *c = client->codec_state;
    struct h2_stream *st = h2_stream_new(&c->session, 0);

    st->end.ops = &end_ops;
    st->was_reused = client->requests > 1;
    h2_stream_attach(st, x);
    exchange_set_upstream(x, &st->end);
}

static void on_farewell(struct http_client *client)
{
    struct h2_client *c = client->codec_state;

    if (c->session.may_send)
        h2_session_goaway(&c->session, 0); /* no push of the server's was taken */
    http_client_close(client);
}

static void on_close(struct http_client *client, int err)
{
    struct h2_client *c = client->codec_state;

    h2_session_fail_all(&c->session, err);
    h2_session_deinit(&c->session);
    client->codec_state = NULL;
    free(c);
}

const struct http_client_codec h2_client_codec = {
    .name = "http2",
    .version = HTTP_2,
    .open = init,
    .on_open = on_open,
    .on_input = on_input,
    .on_drain = on_drain,
    .room = room,
    .start = start,
    .close = on_farewell,
    .on_close = on_close,
};
