/* The HTTP/1 codec of a client connection: one exchange at a time.
 *
 *   IDLE --start--> HEAD --response head--> BODY --response complete--> DONE --let go--> IDLE
 *
 * A connection is used again only when both messages were complete, the server agreed, and not one
 * byte came beyond: what is unasked for would be taken for the next answer. */
#include <stdlib.h>

#include "http/h1_body.h"
#include "http/h1_out.h"
#include "http/h1_render.h"
#include "http/http_priv.h"
#include "http/websocket.h"

/* 1xx responses before the final one: each costs arena. */
enum { INFORMATIONAL_MAX = EXCHANGE_INFORMS_MAX };

enum h1_client_state {
    H1_CLIENT_IDLE,
    H1_CLIENT_HEAD,
    H1_CLIENT_BODY,
    H1_CLIENT_DONE,
    H1_CLIENT_CLOSED,
};

struct h1_client {
    struct http_client *client;
    struct http_end end; /* end.x is NULL when there is no exchange */
    enum h1_client_state state;
    /* The request: */
    struct h1_out out;
    bool is_to_head; /* the method is HEAD */
    bool is_tunnel;  /* the response opened one: bytes both ways */
    bool is_request_begun, is_request_done;
    bool is_close_said;
    struct str accept; /* what the server must say to a key of ours; ptr NULL: it got none */
    /* The response: */
    struct h1_scan scan;
    size_t head_read_max; /* conn->read_max while a head is read */
    struct h1_framing framing;
    struct h1_body body;
    unsigned informational;
    bool is_answered; /* a byte of a response came */
    bool is_reused;   /* not the connection's first exchange */
    bool is_abort;    /* the exchange lets go of an attempt that was under way */
};

static struct h1_client *of_end(struct http_end *e)
{
    return CONTAINER_OF(e, struct h1_client, end);
}

static struct conn *conn_of(const struct h1_client *s)
{
    return s->client->conn;
}

/* --- failing -------------------------------------------------------------------------------- */

/* The connection breaks, its exchange with it. */
static void fail(struct h1_client *s, const struct outcome *why)
{
    struct exchange *x = s->end.x;

    s->state = H1_CLIENT_CLOSED;
    http_client_set_draining(s->client);
    if (x != NULL) {
        exchange_recv_fail(x, SIDE_RESPONSE, why);
        http_client_stream_done(s->client);
    }
    http_client_abort(s->client, why->err);
}

static void fail_lost(struct h1_client *s, int err)
{
    struct outcome why = http_client_lost(s->client, err, s->is_reused, !s->is_answered);

    fail(s, &why);
}

static void fail_protocol(struct h1_client *s, struct str details)
{
    struct outcome why = http_client_lost(s->client, -ERR_PROTOCOL, s->is_reused, false);

    why.reason = details;
    fail(s, &why);
}

/* --- reading -------------------------------------------------------------------------------- */

static void end_response(struct h1_client *s)
{
    s->state = H1_CLIENT_DONE;
    if (!s->framing.is_persistent || conn_of(s)->in.len > 0 || conn_is_in_ended(conn_of(s))) {
        s->framing.is_persistent = false;
        http_client_set_draining(s->client);
    }
}

/* RFC 9110 15.2: a client must be able to take any number; we take a few. That the body is wanted
 * is ours to tell, see grant. */
static void on_informational(struct h1_client *s, const struct http_head *head)
{
    if (++s->informational > INFORMATIONAL_MAX) {
        fail_protocol(s, STR("too_many_informational_responses"));
        return;
    }
    h1_scan_init(&s->scan, H1_SECTION_RESPONSE);
    if (head->status != 100)
        exchange_recv_informational(s->end.x, head);
}

/* RFC 9110 7.8, 15.2.2: only what was asked for. */
static bool is_switch_asked(const struct h1_client *s, const struct http_head *head)
{
    struct str protocol = s->end.x->flows[SIDE_REQUEST].head->protocol;

    return protocol.len > 0 && str_eq(head->protocol, protocol);
}

/* RFC 9112 6.3: whatever the fields say, what follows is the tunnel. */
static void open_tunnel(struct h1_client *s, struct http_head *head)
{
    s->is_tunnel = true;
    s->framing = (struct h1_framing){.body = H1_BODY_UNTIL_CLOSE};
    h1_out_init(&s->out, H1_BODY_UNTIL_CLOSE, 0);
    head->has_body = true;
    head->has_length = false;
}

static void on_response_head(struct h1_client *s, struct http_head *head)
{
    const struct http_head *request = s->end.x->flows[SIDE_REQUEST].head;

    if (head->status == 101 && !is_switch_asked(s, head)) {
        fail_protocol(s, STR("switching_protocols_refused"));
        return;
    }
    if (head->status == 101 && s->accept.ptr != NULL && !websocket_take_accept(head, s->accept)) {
        fail_protocol(s, STR("websocket_accept_wrong"));
        return;
    }
    if (head->status < 200 && head->status != 101) {
        on_informational(s, head);
        return;
    }
    if (http_head_opens_tunnel(request, head))
        open_tunnel(s, head);
    else
        s->is_request_done |= http_head_asks_tunnel(request);
    h1_body_init(&s->body, &s->framing);
    s->state = H1_CLIENT_BODY;
    exchange_recv_head(s->end.x, SIDE_RESPONSE, head);
    if (!head->has_body)
        end_response(s);
}

static void parse_head(struct h1_client *s, size_t len)
{
    struct exchange *x = s->end.x;
    struct http_head *head = arena_alloc(&x->arena, sizeof(*head));
    char *text = h1_text_copy(&x->arena, &conn_of(s)->in, len);
    struct h1_error error;

    chain_skip(&conn_of(s)->in, len);
    if (h1_parse_response(text, len, s->client->config->limits, s->is_to_head, &x->arena, head,
                          &s->framing, &error) < 0)
        fail_protocol(s, error.details);
    else
        on_response_head(s, head);
}

/* True: go on reading. */
static bool read_head(struct h1_client *s)
{
    struct conn *c = conn_of(s);
    struct h1_error error;
    size_t len;

    if (c->in.len > 0 && !s->is_request_begun) {
        fail_protocol(s, STR("response_before_request"));
        return false;
    }
    s->is_answered |= c->in.len > 0;
    switch (h1_scan_chain(&s->scan, &c->in, s->client->config->limits, &len, &error)) {
    case H1_SCAN_MORE:
        if (conn_is_in_ended(c))
            fail_lost(s, s->is_answered ? -ERR_TRUNCATED : -ERR_CLOSED);
        /* A head that is allowed must fit, else it would never be complete. */
        if (c->in.len >= s->head_read_max)
            s->head_read_max = h1_head_bytes_max(s->client->config->limits) + 1;
        return false;
    case H1_SCAN_BAD:
        fail_protocol(s, error.details);
        return false;
    case H1_SCAN_DONE:
        break;
    }
    if (len > 2)
        parse_head(s, len);
    else
        fail_protocol(s, STR("start_line_empty"));
    return true;
}

/* The bytes have run out; the end of the connection is the end of a body only where nothing else
 * is, and where TLS did not tell of a cut (RFC 9112 9.8). */
static void on_no_more(struct h1_client *s)
{
    struct conn *c = conn_of(s);

    if (!conn_is_in_ended(c))
        return;
    if (s->body.kind != H1_BODY_UNTIL_CLOSE || c->err != 0) {
        fail_lost(s, -ERR_TRUNCATED);
        return;
    }
    exchange_recv_end(s->end.x, SIDE_RESPONSE);
    end_response(s);
}

static bool take_data(struct h1_client *s, size_t len)
{
    struct exchange *x = s->end.x;

    len = MIN(len, (size_t)x->flows[SIDE_RESPONSE].credit_bytes);
    if (len == 0)
        return false;
    exchange_recv_body(x, SIDE_RESPONSE, &conn_of(s)->in, len);
    h1_body_taken(&s->body, len);
    return true;
}

static bool take_trailers(struct h1_client *s, size_t len)
{
    struct chain *in = &conn_of(s)->in;
    struct arena *a = &s->end.x->arena;
    struct http_head *trailers = arena_alloc(a, sizeof(*trailers));
    char *text = h1_text_copy(a, in, len);
    struct h1_error error;

    chain_skip(in, len);
    if (h1_parse_trailers(text, len, s->client->config->limits, a, trailers, &error) < 0) {
        fail_protocol(s, error.details);
        return false;
    }
    exchange_recv_trailers(s->end.x, SIDE_RESPONSE, trailers);
    return true;
}

/* True: go on reading. */
static bool read_body(struct h1_client *s)
{
    struct h1_error error;
    size_t len;

    switch (h1_body_next(&s->body, &conn_of(s)->in, s->client->config->limits, &len, &error)) {
    case H1_NEXT_MORE:
        on_no_more(s);
        return false;
    case H1_NEXT_DATA:
        return take_data(s, len);
    case H1_NEXT_TRAILERS:
        return take_trailers(s, len);
    case H1_NEXT_END:
        exchange_recv_end(s->end.x, SIDE_RESPONSE);
        end_response(s);
        return true;
    case H1_NEXT_BAD:
        fail_protocol(s, error.details);
        return false;
    }
    return false;
}

/* Nobody asked for bytes; the end of the connection is a server's right. */
static void read_unasked(struct h1_client *s)
{
    struct conn *c = conn_of(s);

    if (c->in.len == 0 && !conn_is_in_ended(c))
        return;
    s->framing.is_persistent = false;
    http_client_set_draining(s->client);
    if (s->state == H1_CLIENT_IDLE) {
        s->state = H1_CLIENT_CLOSED;
        http_client_close(s->client);
    }
}

static bool read_on(struct h1_client *s)
{
    switch (s->state) {
    case H1_CLIENT_HEAD:
        return read_head(s);
    case H1_CLIENT_BODY:
        return read_body(s);
    case H1_CLIENT_IDLE:
    case H1_CLIENT_DONE:
        read_unasked(s);
        return false;
    case H1_CLIENT_CLOSED:
        return false;
    }
    return false;
}

/* As h1_server.c's: a body is read as far as there is credit for it. */
static void limit_reading(struct h1_client *s)
{
    bool is_body = s->end.x != NULL && s->state == H1_CLIENT_BODY;

    conn_of(s)->read_max = !is_body ? s->head_read_max
                           : h1_body_is_in_trailers(&s->body)
                               ? h1_head_bytes_max(s->client->config->limits) + 1
                               : s->end.x->flows[SIDE_RESPONSE].credit_bytes;
}

static void on_input(struct http_client *client)
{
    struct h1_client *s = client->codec_state;

    while (read_on(s))
        ;
    limit_reading(s);
}

/* --- writing: the exchange's end ------------------------------------------------------------ */

static void on_grant(struct http_end *e, uint32_t bytes)
{
    struct h1_client *s = of_end(e);

    if (bytes == 0)
        return;
    limit_reading(s);
    conn_wake(conn_of(s));
}

/* In a copy: another attempt may go over HTTP/2. */
static const struct http_head *add_key(struct h1_client *s, const struct http_head *head)
{
    struct exchange *x = s->end.x;

    if (!websocket_needs_key(head))
        return head;
    struct http_head *copy = ARENA_NEW(&x->arena, struct http_head);
    http_head_copy(copy, head, &x->arena);
    s->accept = websocket_add_key(copy, turn_random(x->turn));
    return copy;
}

static void send_head(struct h1_client *s, struct flow *flow)
{
    const struct http_head *head = flow->head;
    bool is_tunnel = http_head_asks_tunnel(head);
    struct h1_render render = {.body = is_tunnel ? H1_BODY_NONE : h1_render_body_kind(head, true),
                               .is_close = s->client->is_draining && !is_tunnel};

    if (is_tunnel)
        head = add_key(s, head);
    s->is_to_head = str_eq(head->method, STR("HEAD"));
    s->is_close_said = render.is_close;
    h1_out_init(&s->out, render.body, head->length);
    h1_render_request(&conn_of(s)->out, head, &render);
    conn_mark_dirty(conn_of(s));
    s->is_request_begun = flow->is_head_sent = true;
}

static void on_send(struct http_end *e, struct flow *flow)
{
    struct h1_client *s = of_end(e);

    if (s->state == H1_CLIENT_CLOSED || !s->client->is_open)
        return;
    if (!flow->is_head_sent)
        send_head(s, flow);
    int err = h1_out_move(&s->out, conn_of(s), flow);
    if (err != 0) {
        s->state = H1_CLIENT_CLOSED; /* on_close tells the exchange */
        http_client_abort(s->client, err);
        return;
    }
    s->is_request_done = flow->is_end_sent;
    if (s->is_tunnel && flow->is_end_sent)
        conn_end(conn_of(s));
}

static void on_ask_sent(struct http_end *e)
{
    conn_ask_drain(conn_of(of_end(e)));
}

static void on_reset(struct http_end *e, const struct outcome *why)
{
    of_end(e)->is_abort = why->err != 0;
}

/* Whether the connection is as good as new. One that has not carried a byte of the request is. */
static bool is_reusable(const struct h1_client *s)
{
    if (!s->is_request_begun)
        return conn_of(s)->in.len == 0 && !conn_is_in_ended(conn_of(s));
    return s->state == H1_CLIENT_DONE && s->is_request_done && s->framing.is_persistent &&
           !s->is_close_said;
}

static void on_detach(struct http_end *e)
{
    struct h1_client *s = of_end(e);
    struct http_client *client = s->client;

    if (s->state == H1_CLIENT_CLOSED) {
        http_client_stream_done(client);
        return;
    }
    bool is_cut = s->is_request_begun && (s->state != H1_CLIENT_DONE || s->is_abort);
    bool is_kept = !is_cut && is_reusable(s);
    s->state = is_kept ? H1_CLIENT_IDLE : H1_CLIENT_CLOSED;
    if (!is_kept)
        http_client_set_draining(client);
    http_client_stream_done(client);
    if (is_cut)
        http_client_abort(client, -ERR_CANCELED);
    else if (!is_kept)
        http_client_close(client);
}

static const struct http_end_ops end_ops = {
    .grant = on_grant,
    .send = on_send,
    .ask_sent = on_ask_sent,
    .reset = on_reset,
    .detach = on_detach,
};

/* --- the codec ------------------------------------------------------------------------------ */

static void on_codec_open(struct http_client *client)
{
    struct h1_client *s = NEW(struct h1_client);

    s->client = client;
    s->end.ops = &end_ops;
    client->codec_state = s;
    s->head_read_max = client->conn->read_max = h1_read_bytes(client->conn);
}

static void wake(struct http_client *client)
{
    struct h1_client *s = client->codec_state;

    if (s->end.x != NULL)
        exchange_wake(s->end.x);
}

static void on_drain(struct http_client *client)
{
    struct h1_client *s = client->codec_state;

    if (s->end.x != NULL)
        h1_out_drained(conn_of(s), s->end.x, SIDE_REQUEST);
}

static unsigned room(const struct http_client *client)
{
    const struct h1_client *s = client->codec_state;

    return s->state == H1_CLIENT_IDLE && s->end.x == NULL && client->conn->in.len == 0 ? 1 : 0;
}

static void start(struct http_client *client, struct exchange *x)
{
    struct h1_client *s = client->codec_state;

    ASSERT(s->state == H1_CLIENT_IDLE);
    s->state = H1_CLIENT_HEAD;
    s->is_request_begun = s->is_request_done = s->is_close_said = false;
    s->is_answered = s->is_abort = s->is_tunnel = false;
    s->accept = STR_NULL;
    s->informational = 0;
    s->head_read_max = h1_read_bytes(client->conn);
    s->is_reused = client->requests > 1;
    h1_scan_init(&s->scan, H1_SECTION_RESPONSE);
    h1_fit_window(client->conn, &x->flows[SIDE_RESPONSE]);
    exchange_set_upstream(x, &s->end);
}

static void farewell(struct http_client *client)
{
    struct h1_client *s = client->codec_state;

    s->state = H1_CLIENT_CLOSED;
    http_client_close(client);
}

static void on_close(struct http_client *client, int err)
{
    struct h1_client *s = client->codec_state;
    struct outcome why = http_client_lost(client, err, s->is_reused, !s->is_answered);

    if (s->end.x != NULL)
        exchange_recv_fail(s->end.x, SIDE_RESPONSE, &why);
    client->codec_state = NULL;
    free(s);
}

const struct http_client_codec h1_client_codec = {
    .name = "http1",
    .version = HTTP_11,
    .open = on_codec_open,
    .on_open = wake,
    .on_input = on_input,
    .on_drain = on_drain,
    .room = room,
    .start = start,
    .close = farewell,
    .on_close = on_close,
};
