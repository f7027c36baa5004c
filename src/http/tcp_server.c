#include "http/tcp_server.h"

#include <stdlib.h>

#include "http/h1_out.h"
#include "http/http_priv.h"

struct tcp_server {
    struct conn *conn; /* NULL: gone */
    struct turn *turn;
    const struct tcp_server_ops *ops;
    void *ctx;
    struct http_end end; /* end.x is NULL when there is no exchange any more */
    struct exchange *x;  /* until it is over */
    struct h1_out out;
    struct chain_account account; /* the exchange's, which may outlive the connection */
    unsigned ref_count;           /* the connection's and the exchange's */
    uint64_t linger_us;
    struct timer linger;
    uint16_t refused; /* the status that opened no tunnel */
    bool is_in_done, is_out_done, is_abort;
    struct grave grave;
};

static struct tcp_server *of_end(struct http_end *e)
{
    return CONTAINER_OF(e, struct tcp_server, end);
}

static void dig(struct grave *g)
{
    free(CONTAINER_OF(g, struct tcp_server, grave));
}

static void unref(struct tcp_server *s)
{
    if (--s->ref_count == 0)
        turn_bury(s->turn, &s->grave, dig);
}

static void unpin(struct exchange *x)
{
    struct tcp_server *s = x->owner;

    s->x = NULL;
    unref(s);
}

/* --- reading -------------------------------------------------------------------------------- */

static void fail(struct tcp_server *s, int err)
{
    struct outcome why = http_outcome_downstream(err);

    if (s->end.x != NULL)
        exchange_recv_fail(s->end.x, SIDE_REQUEST, &why);
}

/* As far as credit goes; the end, unless TLS tells of a cut. */
static void read_bytes(struct tcp_server *s)
{
    struct flow *f = &s->end.x->flows[SIDE_REQUEST];
    size_t len = MIN(s->conn->in.len, (size_t)f->credit_bytes);

    if (len > 0)
        exchange_recv_body(s->end.x, SIDE_REQUEST, &s->conn->in, len);
    s->conn->read_max = f->credit_bytes;
    if (s->conn->in.len > 0 || !conn_is_in_ended(s->conn))
        return;
    if (s->conn->err != 0) {
        fail(s, -ERR_TRUNCATED);
        conn_abort(s->conn, -ERR_TRUNCATED);
        return;
    }
    s->is_in_done = true;
    exchange_recv_end(s->end.x, SIDE_REQUEST);
}

static void on_input(struct conn *c)
{
    struct tcp_server *s = c->ctx;

    if (s->end.x != NULL && s->end.x->flows[SIDE_REQUEST].head != NULL && !s->is_in_done)
        read_bytes(s);
}

static void on_drain(struct conn *c)
{
    struct tcp_server *s = c->ctx;

    if (s->end.x != NULL)
        h1_out_drained(c, s->end.x, SIDE_RESPONSE);
}

static void on_close(struct conn *c, int err)
{
    struct tcp_server *s = c->ctx;

    timer_stop(&s->linger);
    s->conn = NULL;
    fail(s, err);
    s->ops->on_close(s->ctx, err);
    unref(s);
}

static const struct conn_handler conn_handler = {
    .on_input = on_input,
    .on_drain = on_drain,
    .on_close = on_close,
};

/* --- writing: the exchange's end ------------------------------------------------------------ */

static void on_grant(struct http_end *e, uint32_t bytes)
{
    struct tcp_server *s = of_end(e);

    if (bytes == 0 || s->conn == NULL)
        return;
    s->conn->read_max = e->x->flows[SIDE_REQUEST].credit_bytes;
    conn_wake(s->conn);
}

static void on_ask_sent(struct http_end *e)
{
    struct tcp_server *s = of_end(e);

    if (s->conn != NULL)
        conn_ask_drain(s->conn);
}

/* Nobody here could read it. */
static void drop_answer(struct tcp_server *s, struct flow *flow)
{
    s->refused = flow->head->status;
    chain_clear(&flow->body);
    flow->is_end_sent = flow->is_ended;
}

static void on_send(struct http_end *e, struct flow *flow)
{
    struct tcp_server *s = of_end(e);

    flow->is_head_sent = true;
    if (!s->end.x->is_switched) {
        drop_answer(s, flow);
        return;
    }
    h1_out_move(&s->out, s->conn, flow);
    if (flow->is_end_sent && !s->is_out_done) {
        s->is_out_done = true;
        conn_end(s->conn);
    }
}

static void on_reset(struct http_end *e, const struct outcome *why)
{
    of_end(e)->is_abort = why->err != 0;
}

/* Both ways have ended: the connection closes by itself once all is sent, however slow its reader.
 * A server that has said all and hears no more: what it said still goes out. */
static void on_detach(struct http_end *e)
{
    struct tcp_server *s = of_end(e);

    if (s->conn == NULL)
        return;
    if (s->is_in_done && s->is_out_done && !s->is_abort) {
        if (s->linger_us > 0)
            timer_start(s->turn, &s->linger, s->linger_us);
    } else if ((s->is_out_done || s->refused == 403) && !s->is_abort) {
        conn_close(s->conn);
    } else {
        conn_abort(s->conn, -ERR_CANCELED);
    }
}

static const struct http_end_ops end_ops = {
    .grant = on_grant,
    .send = on_send,
    .ask_sent = on_ask_sent,
    .reset = on_reset,
    .detach = on_detach,
};

static void on_linger(struct timer *t)
{
    tcp_server_abort(CONTAINER_OF(t, struct tcp_server, linger), -ERR_TIMEOUT);
}

/* --- for the opener ------------------------------------------------------------------------- */

struct tcp_server *tcp_server_open(struct conn *c, const struct limits *limits, uint64_t linger_us,
                                   const struct downstream_info *info,
                                   const struct tcp_server_ops *ops, void *ctx)
{
    struct tcp_server *s = NEW(struct tcp_server);

    s->conn = c;
    s->turn = c->turn;
    s->ops = ops;
    s->ctx = ctx;
    s->end.ops = &end_ops;
    s->linger_us = linger_us;
    s->ref_count = 2;
    s->account.parent = turn_account(c->turn);
    timer_init(&s->linger, on_linger);
    list_init(&s->grave.link);
    h1_out_init(&s->out, H1_BODY_UNTIL_CLOSE, 0);
    s->x = exchange_new(c->turn, &s->end, info, &s->account, limits);
    s->x->owner = s;
    s->x->unpin = unpin;
    h1_fit_window(c, &s->x->flows[SIDE_REQUEST]);
    c->read_max = s->x->flows[SIDE_REQUEST].credit_bytes;
    conn_set_handler(c, &conn_handler, s);
    return s;
}

struct exchange *tcp_server_exchange(const struct tcp_server *s)
{
    return s->x;
}

struct http_head *tcp_server_start(struct tcp_server *s, struct str authority)
{
    struct http_head *head = ARENA_NEW(&s->x->arena, struct http_head);

    http_head_init(head, &s->x->arena, true);
    head->version = HTTP_2;
    head->method = STR("CONNECT");
    head->authority = arena_str(&s->x->arena, authority);
    head->has_body = true;
    exchange_recv_head(s->x, SIDE_REQUEST, head);
    conn_wake(s->conn);
    return head;
}

void tcp_server_abort(struct tcp_server *s, int err)
{
    if (s->conn != NULL)
        conn_abort(s->conn, err);
}
