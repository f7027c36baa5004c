#include "proxy/agent/channel.h"

#include <stdlib.h>

enum { OPEN_TIMEOUT_US = 5 * 1000 * 1000, KEEPALIVE_S = 10 };

struct channel {
    struct turn *turn;
    const struct channel_ops *ops;
    void *ctx;
    struct conn *conn; /* while connecting */
    struct http_client *client;
    struct http_client_config config;
    struct timer timer;
    struct str_buf why;
    bool is_timed_out, is_closed;
    struct grave grave;
};

static void dig(struct grave *g)
{
    struct channel *c = CONTAINER_OF(g, struct channel, grave);
    str_buf_deinit(&c->why);
    free(c);
}

static void note_failure(struct channel *c, const struct conn *conn, int err)
{
    struct str text = conn != NULL ? conn_error_text(conn) : STR_NULL;
    str_buf_reset(&c->why);
    if (c->is_timed_out)
        str_buf_add_c(&c->why, "no connection within 5 s");
    else if (text.len > 0)
        str_buf_add(&c->why, text);
    else
        str_buf_add_c(&c->why, err != 0 ? err_text(err) : "closed by the peer");
}

static void finish(struct channel *c)
{
    timer_stop(&c->timer);
    c->conn = NULL;
    c->client = NULL;
    turn_bury(c->turn, &c->grave, dig);
    if (!c->is_closed)
        c->ops->on_close(c->ctx, c, str_buf_str(&c->why));
}

static void on_client_close(void *ctx, struct http_client *client, int err)
{
    struct channel *c = ctx;
    (void)client;
    note_failure(c, NULL, err);
    finish(c);
}

static void on_client_room(void *ctx, struct http_client *client)
{
    (void)ctx;
    (void)client;
}

/* The control plane goes: its streams end and the connection with them; then we come again. */
static void on_client_draining(void *ctx, struct http_client *client)
{
    (void)ctx;
    (void)client;
}

static const struct http_client_ops client_ops = {
    .on_room = on_client_room,
    .on_draining = on_client_draining,
    .on_close = on_client_close,
};

static void on_conn_open(struct conn *conn)
{
    struct channel *c = conn->ctx;
    timer_stop(&c->timer);
    c->conn = NULL;
    c->client = http_client_open(conn, HTTP_2, &c->config, &client_ops, c);
    if (c->is_closed)
        http_client_abort(c->client, -ERR_CANCELED);
    else
        c->ops->on_open(c->ctx, c);
}

static void on_conn_input(struct conn *conn)
{
    (void)conn; /* stays for the client */
}

static void on_conn_close(struct conn *conn, int err)
{
    struct channel *c = conn->ctx;
    note_failure(c, conn, err);
    finish(c);
}

static const struct conn_handler connecting = {
    .on_open = on_conn_open,
    .on_input = on_conn_input,
    .on_close = on_conn_close,
};

static void on_timeout(struct timer *t)
{
    struct channel *c = CONTAINER_OF(t, struct channel, timer);
    c->is_timed_out = true;
    conn_abort(c->conn, -ERR_TIMEOUT);
}

struct channel *channel_open(struct turn *t, const struct channel_args *args)
{
    struct channel *c = NEW(struct channel);
    c->turn = t;
    c->ops = args->ops;
    c->ctx = args->ctx;
    c->why = STR_BUF_INIT(1024);
    c->config = (struct http_client_config){.limits = args->limits};
    timer_init(&c->timer, on_timeout);
    timer_start(t, &c->timer, OPEN_TIMEOUT_US);
    struct conn_options options = {
        .mark = args->mark,
        .connect_timeout_us = OPEN_TIMEOUT_US,
        .keepalive_idle_s = KEEPALIVE_S,
    };
    struct tls_endpoint *layer = NULL;
    if (args->tls != NULL)
        layer = tls_endpoint_new(&(struct tls_endpoint_args){.context = args->tls,
                                                             .sni = args->sni,
                                                             .sans = args->sans,
                                                             .san_count = args->san_count});
    c->conn = conn_connect(t, &args->to, &options, &connecting, c,
                           layer != NULL ? &tls_layer_ops : NULL, layer);
    return c;
}

struct channel *channel_close(struct channel *c)
{
    if (c == NULL || c->is_closed)
        return NULL;
    c->is_closed = true;
    if (c->client != NULL)
        http_client_abort(c->client, -ERR_CANCELED);
    else if (c->conn != NULL)
        conn_abort(c->conn, -ERR_CANCELED);
    return NULL;
}

struct http_client *channel_client(struct channel *c)
{
    return c->client;
}
