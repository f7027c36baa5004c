/* The HTTP/1 codec of a server connection: one exchange at a time.
 *
 *   HEAD --head complete--> BODY --request and response complete--> HEAD
 *    |                       |
 *    +--refused--> CLOSED <--+--Connection: close, broken, client gone
 *
 * In BODY the exchange is attached until it lets go; when it does so before the request is
 * complete, the rest of the body is dropped (a little) or the connection closed. Requests that the
 * client sends ahead wait in conn->in, bounded by its read_max.
 *
 * A request that asks for a tunnel is read up to its head's end; when the response opens it, BODY
 * goes to TUNNEL, which ends with the connection. When it does not, what the client has sent ahead
 * may be of either language, so the connection ends behind the response. */
#include <stdlib.h>

#include "http/date.h"
#include "http/h1_body.h"
#include "http/h1_out.h"
#include "http/h1_render.h"
#include "http/http_priv.h"
#include "http/loop.h"
#include "http/target.h"
#include "http/websocket.h"

/* Of an unwanted request body: reading it costs less than a new connection. */
enum { DISCARD_BYTES_MAX = 64 * 1024 };

enum h1_server_state { H1_SERVER_HEAD, H1_SERVER_BODY, H1_SERVER_TUNNEL, H1_SERVER_CLOSED };

struct h1_server {
    struct list spare; /* while no connection needs it */
    struct http_server *server;
    struct http_end end; /* of the exchange under way; end.x is NULL when there is none */
    enum h1_server_state state;
    struct h1_scan scan;
    size_t head_read_max; /* conn->read_max while a head is read */
    bool is_blank_seen;   /* an empty line before the request */
    /* The request: */
    struct http_head *request;
    struct h1_body body;
    struct h1_framing framing;
    size_t discarded_bytes;
    bool is_request_done;
    bool is_body_seen; /* a byte of the request's body came */
    bool is_continue_sent;
    /* The response: */
    struct h1_out out;
    bool is_response_begun;
    bool is_close; /* the connection ends with this exchange */
    bool is_abort; /* ... so that nobody takes the response for complete */
};

static struct h1_server *of_end(struct http_end *e)
{
    return CONTAINER_OF(e, struct h1_server, end);
}

static struct conn *conn_of(const struct h1_server *s)
{
    return s->server->conn;
}

static void expect_head(struct h1_server *s)
{
    s->state = H1_SERVER_HEAD;
    s->is_blank_seen = false;
    s->head_read_max = h1_read_bytes(conn_of(s));
    h1_scan_init(&s->scan, H1_SECTION_REQUEST);
}

/* --- refusing ------------------------------------------------------------------------------- */

static void close_conn(struct h1_server *s)
{
    s->state = H1_SERVER_CLOSED;
    http_server_headers_end(s->server);
    http_server_close(s->server);
}

/* An answer without an exchange: what could not be parsed has no policy to be judged by. */
static void answer_error(struct h1_server *s, const struct h1_error *error)
{
    struct chain *out = &conn_of(s)->out;
    const char *text = http_status_text(error->status);
    char date[HTTP_DATE_LEN];

    chain_printf(
        out,
        "HTTP/1.1 %u %s\r\ndate: %.*s\r\ncontent-type: text/plain\r\n"
        "content-length: %zu\r\n%sconnection: close\r\n\r\n%s: %.*s\n",
        error->status, text, STR_FMT(http_date_format(turn_wall_us(s->server->turn), date)),
        strlen(text) + error->details.len + 3, error->status == 426 ? "upgrade: HTTP/1.1\r\n" : "",
        text, STR_FMT(error->details));
    conn_mark_dirty(conn_of(s));
}

static struct outcome outcome_of(const struct h1_error *error)
{
    return (struct outcome){.err = error->status == 408 ? -ERR_TIMEOUT : -ERR_PROTOCOL,
                            .fault = FAULT_DOWNSTREAM,
                            .status = error->status,
                            .flags = FLAG_BIT(DOWNSTREAM_PROTOCOL),
                            .details = error->details};
}

/* The head is refused; x is its exchange, which nobody has seen, or NULL. */
static void refuse_head(struct h1_server *s, struct exchange *x, const struct h1_error *error)
{
    struct outcome why = outcome_of(error);

    answer_error(s, error);
    http_server_bad_request(s->server, &why);
    close_conn(s);
    if (x != NULL) {
        exchange_recv_fail(x, SIDE_REQUEST, &why);
        http_server_exchange_done(s->server);
    }
}

/* The exchange under way fails because of the client: nothing but an answer to a broken body may
 * still be said. */
static void fail_exchange(struct h1_server *s, const struct outcome *why)
{
    struct exchange *x = s->end.x;

    if (x != NULL) {
        exchange_recv_fail(x, SIDE_REQUEST, why);
        http_server_exchange_done(s->server);
    }
    s->state = H1_SERVER_CLOSED;
    if (x != NULL && s->is_response_begun)
        http_server_abort(s->server, why->err);
    else
        close_conn(s);
}

static void fail_gone(struct h1_server *s)
{
    struct outcome why = http_outcome_downstream(-ERR_CLOSED);

    fail_exchange(s, &why);
}

static void fail_body(struct h1_server *s, const struct h1_error *error)
{
    struct outcome why = outcome_of(error);

    if (!s->is_response_begun)
        answer_error(s, error);
    if (s->end.x == NULL)
        http_server_bad_request(s->server, &why);
    fail_exchange(s, &why);
}

/* --- reading -------------------------------------------------------------------------------- */

static void begin_exchange(struct h1_server *s, struct exchange *x, struct http_head *head)
{
    s->state = H1_SERVER_BODY;
    s->request = head;
    s->discarded_bytes = 0;
    s->is_body_seen = s->is_continue_sent = s->is_response_begun = s->is_abort = false;
    s->is_close = !s->framing.is_persistent;
    h1_body_init(&s->body, &s->framing);
    s->is_request_done = h1_body_is_at_end(&s->body);
    http_server_exchange_start(s->server, x, head);
}

/* RFC 9112 3.3: where HTTP/1.0 names no host, the address that the client connected to. False: that
 * is a path. */
static bool set_own_authority(const struct h1_server *s, struct http_head *head)
{
    const struct downstream_info *info = s->server->info;
    const struct addr *to =
        info->original_dst.family != ADDR_NONE ? &info->original_dst : &info->local;
    char text[ADDR_TEXT_LEN];

    return http_authority_set(head, arena_str(head->arena, addr_format(to, text)));
}

static void parse_head(struct h1_server *s, size_t len)
{
    static const struct h1_error hostless = {400, {"host_missing", 12}};
    const struct http_server_config *config = s->server->config;
    struct h1_request_options options = {
        .limits = config->limits,
        .path = &config->path,
        .scheme = s->server->info->tls != NULL ? STR("https") : STR("http"),
        .accept_http_10 = config->accept_http_10,
        .accept_upgrade = config->accept_upgrade,
    };
    struct exchange *x = http_server_exchange_new(s->server, &s->end);
    struct http_head *head = arena_alloc(&x->arena, sizeof(*head));
    char *text = h1_text_copy(&x->arena, &conn_of(s)->in, len);
    struct h1_error error;

    h1_fit_window(conn_of(s), &x->flows[SIDE_REQUEST]);
    chain_skip(&conn_of(s)->in, len);
    if (h1_parse_request(text, len, &options, &x->arena, head, &s->framing, &error) < 0) {
        refuse_head(s, x, &error);
        return;
    }
    if (head->authority.len == 0 && !set_own_authority(s, head)) {
        refuse_head(s, x, &hostless);
        return;
    }
    begin_exchange(s, x, head);
}

/* True: a head was taken, one way or the other, so there may be more to do. */
static bool read_head(struct h1_server *s)
{
    static const struct h1_error empty = {400, {"start_line_empty", 16}};
    struct conn *c = conn_of(s);
    struct h1_error error;
    size_t len;

    if (c->in.len == 0) {
        if (conn_is_in_ended(c))
            close_conn(s);
        return false;
    }
    if (conn_out_len(c) >= H1_OUT_MAX_BYTES) { /* who reads no answers asks no more questions */
        conn_ask_drain(c);
        return false;
    }
    switch (h1_scan_chain(&s->scan, &c->in, s->server->config->limits, &len, &error)) {
    case H1_SCAN_MORE:
        if (conn_is_in_ended(c))
            close_conn(s);
        else
            http_server_headers_begin(s->server);
        /* A head that is allowed must fit, else it would never be complete. */
        if (c->in.len >= s->head_read_max)
            s->head_read_max = h1_head_bytes_max(s->server->config->limits) + 1;
        return false;
    case H1_SCAN_BAD:
        refuse_head(s, NULL, &error);
        return false;
    case H1_SCAN_DONE:
        break;
    }
    if (len > 2) {
        parse_head(s, len);
    } else if (s->is_blank_seen) {
        refuse_head(s, NULL, &empty);
    } else {
        chain_skip(&c->in, len);
        http_server_headers_end(s->server);
        expect_head(s);
        s->is_blank_seen = true;
    }
    return true;
}

/* Data of the body: to the exchange as far as its credit goes; nobody's when it has let go. */
static bool take_data(struct h1_server *s, size_t len)
{
    struct conn *c = conn_of(s);

    s->is_body_seen = true;
    if (s->end.x == NULL) {
        s->discarded_bytes += len;
        if (s->discarded_bytes > DISCARD_BYTES_MAX) {
            close_conn(s);
            return false;
        }
        chain_skip(&c->in, len);
    } else {
        len = MIN(len, (size_t)s->end.x->flows[SIDE_REQUEST].credit_bytes);
        if (len == 0)
            return false;
        exchange_recv_body(s->end.x, SIDE_REQUEST, &c->in, len);
    }
    h1_body_taken(&s->body, len);
    return true;
}

static bool take_trailers(struct h1_server *s, size_t len)
{
    struct chain *in = &conn_of(s)->in;
    struct exchange *x = s->end.x;
    struct h1_error error;

    if (x != NULL) {
        struct http_head *trailers = arena_alloc(&x->arena, sizeof(*trailers));
        char *text = h1_text_copy(&x->arena, in, len);

        if (h1_parse_trailers(text, len, s->server->config->limits, &x->arena, trailers, &error) <
            0) {
            fail_body(s, &error);
            return false;
        }
        exchange_recv_trailers(x, SIDE_REQUEST, trailers);
    }
    chain_skip(in, len);
    return true;
}

static void end_request(struct h1_server *s)
{
    s->is_request_done = true;
    if (s->end.x != NULL)
        exchange_recv_end(s->end.x, SIDE_REQUEST);
    else
        expect_head(s);
}

/* True: go on reading. */
static bool read_body(struct h1_server *s)
{
    struct h1_error error;
    size_t len;

    switch (h1_body_next(&s->body, &conn_of(s)->in, s->server->config->limits, &len, &error)) {
    case H1_NEXT_MORE:
        if (conn_is_in_ended(conn_of(s)))
            fail_gone(s);
        return false;
    case H1_NEXT_DATA:
        return take_data(s, len);
    case H1_NEXT_TRAILERS:
        return take_trailers(s, len);
    case H1_NEXT_END:
        end_request(s);
        return true;
    case H1_NEXT_BAD:
        fail_body(s, &error);
        return false;
    }
    return false;
}

/* Bytes, as far as credit goes; their end, unless TLS tells of a cut. */
static void read_tunnel(struct h1_server *s)
{
    struct conn *c = conn_of(s);
    struct exchange *x = s->end.x;

    if (x == NULL || s->is_request_done)
        return;
    size_t len = MIN(c->in.len, (size_t)x->flows[SIDE_REQUEST].credit_bytes);
    if (len > 0)
        exchange_recv_body(x, SIDE_REQUEST, &c->in, len);
    if (c->in.len > 0 || !conn_is_in_ended(c))
        return;
    if (c->err != 0) {
        fail_gone(s);
        return;
    }
    s->is_request_done = true;
    exchange_recv_end(x, SIDE_REQUEST);
}

/* A client that ends its side while it waits for an answer has left (so do all of them that give
 * up): the work behind it is cancelled. Requests that it sent ahead are still served. */
static bool is_client_gone(const struct h1_server *s)
{
    return conn_is_in_ended(conn_of(s)) && conn_of(s)->in.len == 0;
}

static bool read_on(struct h1_server *s)
{
    switch (s->state) {
    case H1_SERVER_HEAD:
        return read_head(s);
    case H1_SERVER_BODY:
        if (!s->is_request_done)
            return read_body(s);
        if (is_client_gone(s))
            fail_gone(s);
        return false;
    case H1_SERVER_TUNNEL:
        read_tunnel(s);
        return false;
    case H1_SERVER_CLOSED:
        return false;
    }
    return false;
}

/* A body is read as far as there is credit for it: what is not wanted yet stays with the client.
 * Its trailers are parsed as a whole, as a head is. */
static void limit_reading(struct h1_server *s)
{
    bool is_body = s->end.x != NULL && !s->is_request_done && s->state != H1_SERVER_HEAD;

    conn_of(s)->read_max = !is_body ? s->head_read_max
                           : h1_body_is_in_trailers(&s->body)
                               ? h1_head_bytes_max(s->server->config->limits) + 1
                               : s->end.x->flows[SIDE_REQUEST].credit_bytes;
}

/* A connection that waits for its next request, as most do most of the time, keeps nothing. */
static void give_back_idle(struct h1_server *s)
{
    struct http_server *server = s->server;
    struct http_loop *loop = http_loop_of(server->turn);

    if (s->state != H1_SERVER_HEAD || s->is_blank_seen || server->conn->in.len > 0)
        return;
    server->conn->read_max = H1_READ_BYTES;
    server->codec_state = NULL;
    spares_give(loop, &loop->h1_servers, &s->spare);
}

/* --- writing: the exchange's end ------------------------------------------------------------ */

/* RFC 9110 10.1.1: only a client that still waits is told. */
static void send_continue(struct h1_server *s)
{
    if (!s->request->expects_continue || s->is_continue_sent || s->is_body_seen ||
        s->is_response_begun || conn_of(s)->in.len > 0)
        return;
    s->is_continue_sent = true;
    chain_add(&conn_of(s)->out, STR("HTTP/1.1 100 Continue\r\n\r\n"));
    conn_mark_dirty(conn_of(s));
}

static void on_grant(struct http_end *e, uint32_t bytes)
{
    struct h1_server *s = of_end(e);

    if (bytes == 0) {
        send_continue(s);
        return;
    }
    limit_reading(s);
    conn_wake(conn_of(s));
}

/* RFC 9112 9.3, 9.6. A client that waits for "100 Continue" may send its body or not: what would
 * come next is anybody's guess. When all of an answer is there before the request, the rest of the
 * request is not wanted. */
static bool must_close(const struct h1_server *s, const struct flow *flow)
{
    if (s->is_close || s->server->is_draining || s->out.kind == H1_BODY_UNTIL_CLOSE ||
        s->end.x->is_tunnel)
        return true;
    if (s->is_request_done)
        return false;
    return flow->is_ended || (s->request->expects_continue && !s->is_continue_sent);
}

/* What the client has sent ahead is read now. */
static void open_tunnel(struct h1_server *s, struct flow *flow)
{
    struct h1_render render = {.upgrade = s->request->protocol, .body = H1_BODY_UNTIL_CLOSE};

    websocket_add_accept(s->end.x->flows[SIDE_REQUEST].head, flow->head);
    h1_out_init(&s->out, H1_BODY_UNTIL_CLOSE, 0);
    s->state = H1_SERVER_TUNNEL;
    s->is_close = true;
    s->is_request_done = false;
    h1_render_response(&conn_of(s)->out, flow->head, &render);
    conn_wake(conn_of(s));
}

static void send_response_head(struct h1_server *s, struct flow *flow)
{
    struct http_head *head = flow->head;
    struct h1_render render = {.is_to_head = str_eq(s->request->method, STR("HEAD"))};
    bool is_bodyless = render.is_to_head || head->status == 204 || head->status == 304;

    render.body =
        is_bodyless ? H1_BODY_NONE : h1_render_body_kind(head, s->request->version == HTTP_11);
    h1_out_init(&s->out, render.body, head->length);
    s->is_close = must_close(s, flow);
    render.is_close = s->is_close;
    render.is_keep_alive = !s->is_close && s->request->version == HTTP_10;
    h1_render_response(&conn_of(s)->out, head, &render);
}

static void send_head(struct h1_server *s, struct flow *flow)
{
    http_server_decorate(s->server, s->end.x, flow->head);
    if (s->end.x->is_switched)
        open_tunnel(s, flow);
    else
        send_response_head(s, flow);
    conn_mark_dirty(conn_of(s));
    s->is_response_begun = flow->is_head_sent = true;
}

/* RFC 9110 15.2: not to HTTP/1.0 clients. */
static void on_inform(struct http_end *e, const struct http_head *head)
{
    struct h1_server *s = of_end(e);
    struct h1_render render = {.body = H1_BODY_NONE};

    if (s->state != H1_SERVER_BODY || s->request->version != HTTP_11)
        return;
    h1_render_response(&conn_of(s)->out, head, &render);
    conn_mark_dirty(conn_of(s));
}

static void on_send(struct http_end *e, struct flow *flow)
{
    struct h1_server *s = of_end(e);

    if (s->state == H1_SERVER_CLOSED)
        return;
    if (!flow->is_head_sent)
        send_head(s, flow);
    int err = h1_out_move(&s->out, conn_of(s), flow);
    if (err != 0) {
        s->state = H1_SERVER_CLOSED; /* on_close tells the exchange */
        http_server_abort(s->server, err);
    } else if (s->state == H1_SERVER_TUNNEL && flow->is_end_sent) {
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

/* The exchange has let go: what becomes of the connection. */
static void on_detach(struct http_end *e)
{
    struct h1_server *s = of_end(e);

    if (s->state != H1_SERVER_CLOSED) {
        if (s->is_abort) {
            s->state = H1_SERVER_CLOSED;
            http_server_abort(s->server, -ERR_CANCELED);
        } else if (s->is_close) {
            close_conn(s);
        } else if (s->is_request_done) {
            expect_head(s);
        }
    }
    http_server_exchange_done(s->server);
    if (s->state == H1_SERVER_CLOSED)
        return;
    if (conn_of(s)->in.len > 0 || conn_is_in_ended(conn_of(s)))
        conn_wake(conn_of(s));
    give_back_idle(s);
}

static const struct http_end_ops end_ops = {
    .grant = on_grant,
    .send = on_send,
    .ask_sent = on_ask_sent,
    .inform = on_inform,
    .reset = on_reset,
    .detach = on_detach,
};

/* --- the codec ------------------------------------------------------------------------------ */

void h1_server_drop(struct list *link)
{
    free(CONTAINER_OF(link, struct h1_server, spare));
}

static void on_open(struct http_server *server)
{
    server->conn->read_max = H1_READ_BYTES;
}

/* From the first byte of a request on; see give_back_idle. */
static struct h1_server *acquire(struct http_server *server)
{
    struct list *spare = spares_take(&http_loop_of(server->turn)->h1_servers);
    struct h1_server *s =
        spare != NULL ? CONTAINER_OF(spare, struct h1_server, spare) : NEW(struct h1_server);

    *s = (struct h1_server){.server = server, .end.ops = &end_ops};
    server->codec_state = s;
    expect_head(s);
    return s;
}

static void on_input(struct http_server *server)
{
    struct h1_server *s = server->codec_state;

    if (s == NULL && server->conn->in.len == 0) {
        if (conn_is_in_ended(server->conn))
            http_server_close(server);
        return;
    }
    if (s == NULL)
        s = acquire(server);
    while (read_on(s))
        ;
    limit_reading(s);
    give_back_idle(s);
}

static void on_drain(struct http_server *server)
{
    struct h1_server *s = server->codec_state;

    if (s != NULL && s->end.x != NULL)
        h1_out_drained(conn_of(s), s->end.x, SIDE_RESPONSE);
    else if (server->conn->in.len > 0)
        conn_wake(server->conn);
}

/* The next response says `Connection: close`; see must_close. */
static void drain(struct http_server *server)
{
    (void)server;
}

static void on_headers_timeout(struct http_server *server)
{
    static const struct h1_error timeout = {408, {"request_head_timeout", 20}};
    struct h1_server *s = server->codec_state;

    if (s != NULL && s->state == H1_SERVER_HEAD)
        refuse_head(s, NULL, &timeout);
}

static void on_farewell(struct http_server *server)
{
    if (server->codec_state != NULL)
        close_conn(server->codec_state);
    else
        http_server_close(server);
}

static void on_close(struct http_server *server, int err)
{
    struct h1_server *s = server->codec_state;
    struct outcome why = http_outcome_downstream(err);

    if (s == NULL)
        return;
    if (s->end.x != NULL)
        exchange_recv_fail(s->end.x, SIDE_REQUEST, &why);
    struct http_loop *loop = http_loop_of(server->turn);
    server->codec_state = NULL;
    spares_give(loop, &loop->h1_servers, &s->spare);
}

const struct http_server_codec h1_server_codec = {
    .name = "http1",
    .version = HTTP_11,
    .open = on_open,
    .on_input = on_input,
    .on_drain = on_drain,
    .drain = drain,
    .on_headers_timeout = on_headers_timeout,
    .close = on_farewell,
    .on_close = on_close,
};
