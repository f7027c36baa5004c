/* The client side of a tunnel that ends here: a connection without HTTP, for CONNECT.
 *
 *   IDLE --start--> HEAD --request's head--> OPEN --both ends, or let go--> CLOSED
 *
 * That the connection is there is all of the answer: 200. Then bytes go both ways, each way until
 * its end. One tunnel a connection. */
#include <stdlib.h>

#include "http/h1_out.h"
#include "http/http_priv.h"

enum tcp_client_state { TCP_CLIENT_IDLE, TCP_CLIENT_HEAD, TCP_CLIENT_OPEN, TCP_CLIENT_CLOSED };

struct tcp_client {
    struct http_client *client;
    struct http_end end; /* end.x is NULL when there is no exchange */
    enum tcp_client_state state;
    struct h1_out out;
    bool is_in_done, is_out_done, is_abort;
};

static struct tcp_client *of_end(struct http_end *e)
{
    return CONTAINER_OF(e, struct tcp_client, end);
}

static struct conn *conn_of(const struct tcp_client *s)
{
    return s->client->conn;
}

static void fail(struct tcp_client *s, int err)
{
    struct outcome why = http_client_lost(s->client, err, false, false);

    s->state = TCP_CLIENT_CLOSED;
    http_client_set_draining(s->client);
    exchange_recv_fail(s->end.x, SIDE_RESPONSE, &why);
    http_client_stream_done(s->client);
    http_client_abort(s->client, err);
}

/* --- reading -------------------------------------------------------------------------------- */

/* As far as credit goes; the end, unless TLS tells of a cut. */
static void read_bytes(struct tcp_client *s)
{
    struct conn *c = conn_of(s);
    size_t len = MIN(c->in.len, (size_t)s->end.x->flows[SIDE_RESPONSE].credit_bytes);

    if (len > 0)
        exchange_recv_body(s->end.x, SIDE_RESPONSE, &c->in, len);
    if (c->in.len > 0 || !conn_is_in_ended(c))
        return;
    if (c->err != 0) {
        fail(s, -ERR_TRUNCATED);
        return;
    }
    s->is_in_done = true;
    exchange_recv_end(s->end.x, SIDE_RESPONSE);
}

static void limit_reading(struct tcp_client *s)
{
    if (s->state == TCP_CLIENT_OPEN && s->end.x != NULL)
        conn_of(s)->read_max = s->end.x->flows[SIDE_RESPONSE].credit_bytes;
}

/* What a server says first waits for its tunnel. */
static void on_input(struct http_client *client)
{
    struct tcp_client *s = client->codec_state;

    if (s->state == TCP_CLIENT_OPEN && !s->is_in_done && s->end.x != NULL) {
        read_bytes(s);
        limit_reading(s);
    } else if (s->state == TCP_CLIENT_IDLE && conn_is_in_ended(client->conn)) {
        s->state = TCP_CLIENT_CLOSED;
        http_client_set_draining(client);
        http_client_close(client);
    }
}

/* --- writing: the exchange's end ------------------------------------------------------------ */

static void on_grant(struct http_end *e, uint32_t bytes)
{
    struct tcp_client *s = of_end(e);

    if (bytes == 0)
        return;
    limit_reading(s);
    conn_wake(conn_of(s));
}

/* RFC 9110 9.3.6: the tunnel is open. */
static void answer(struct tcp_client *s, struct flow *flow)
{
    struct exchange *x = s->end.x;
    struct http_head *head = ARENA_NEW(&x->arena, struct http_head);

    flow->is_head_sent = true;
    s->state = TCP_CLIENT_OPEN;
    h1_out_init(&s->out, H1_BODY_UNTIL_CLOSE, 0);
    http_head_init(head, &x->arena, false);
    head->version = HTTP_11;
    head->status = 200;
    head->has_body = true;
    exchange_recv_head(x, SIDE_RESPONSE, head);
    conn_wake(conn_of(s));
}

static void on_send(struct http_end *e, struct flow *flow)
{
    struct tcp_client *s = of_end(e);

    if (s->state == TCP_CLIENT_CLOSED || !s->client->is_open)
        return;
    if (!flow->is_head_sent) {
        answer(s, flow);
        return;
    }
    h1_out_move(&s->out, conn_of(s), flow);
    if (flow->is_end_sent && !s->is_out_done) {
        s->is_out_done = true;
        conn_end(conn_of(s));
    }
}

static void on_ask_sent(struct http_end *e)
{
    conn_ask_drain(conn_of(of_end(e)));
}

static void on_reset(struct http_end *e, const struct outcome *why)
{
    of_end(e)->is_abort = why->err != 0;
}

static void on_detach(struct http_end *e)
{
    struct tcp_client *s = of_end(e);
    struct http_client *client = s->client;
    bool is_unused = s->state == TCP_CLIENT_HEAD && !conn_is_in_ended(client->conn);
    bool is_orderly = s->is_in_done && s->is_out_done && !s->is_abort;

    if (s->state == TCP_CLIENT_CLOSED || is_unused) {
        s->state = is_unused ? TCP_CLIENT_IDLE : TCP_CLIENT_CLOSED;
        http_client_stream_done(client);
        return;
    }
    s->state = TCP_CLIENT_CLOSED;
    http_client_set_draining(client);
    http_client_stream_done(client);
    if (is_orderly)
        http_client_close(client);
    else
        http_client_abort(client, -ERR_CANCELED);
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
    struct tcp_client *s = NEW(struct tcp_client);

    s->client = client;
    s->end.ops = &end_ops;
    client->codec_state = s;
    client->conn->read_max = h1_read_bytes(client->conn);
}

static void wake(struct http_client *client)
{
    struct tcp_client *s = client->codec_state;

    if (s->end.x != NULL)
        exchange_wake(s->end.x);
}

static void on_drain(struct http_client *client)
{
    struct tcp_client *s = client->codec_state;

    if (s->end.x != NULL)
        h1_out_drained(conn_of(s), s->end.x, SIDE_REQUEST);
}

static unsigned room(const struct http_client *client)
{
    const struct tcp_client *s = client->codec_state;

    return s->state == TCP_CLIENT_IDLE && s->end.x == NULL ? 1 : 0;
}

static void start(struct http_client *client, struct exchange *x)
{
    struct tcp_client *s = client->codec_state;

    s->state = TCP_CLIENT_HEAD;
    s->is_abort = false;
    h1_fit_window(client->conn, &x->flows[SIDE_RESPONSE]);
    exchange_set_upstream(x, &s->end);
}

static void farewell(struct http_client *client)
{
    struct tcp_client *s = client->codec_state;

    s->state = TCP_CLIENT_CLOSED;
    http_client_close(client);
}

static void on_close(struct http_client *client, int err)
{
    struct tcp_client *s = client->codec_state;
    struct outcome why = http_client_lost(client, err, false, s->state != TCP_CLIENT_OPEN);

    if (s->end.x != NULL)
        exchange_recv_fail(s->end.x, SIDE_RESPONSE, &why);
    client->codec_state = NULL;
    free(s);
}

const struct http_client_codec tcp_client_codec = {
    .name = "tcp",
    .version = HTTP_NONE,
    .open = on_codec_open,
    .on_open = wake,
    .on_input = on_input,
    .on_drain = on_drain,
    .room = room,
    .start = start,
    .close = farewell,
    .on_close = on_close,
};
