#include "http/client.h"

#include <stdlib.h>

#include "http/http_priv.h"

static void dig(struct grave *g)
{
    free(CONTAINER_OF(g, struct http_client, grave));
}

static void mark_open(struct http_client *c)
{
    c->is_open = true;
    c->codec->on_open(c);
    http_client_room_grew(c);
}

static void on_open(struct conn *conn)
{
    struct http_client *c = conn->ctx;

    if (!c->is_open && !c->is_closing)
        mark_open(c);
}

static void on_input(struct conn *conn)
{
    struct http_client *c = conn->ctx;

    if (!c->is_closing)
        c->codec->on_input(c);
}

static void on_drain(struct conn *conn)
{
    struct http_client *c = conn->ctx;

    if (!c->is_closing)
        c->codec->on_drain(c);
}

static void on_close(struct conn *conn, int err)
{
    struct http_client *c = conn->ctx;

    c->is_closing = c->is_closed = true;
    timer_stop(&c->idle_timer);
    timer_stop(&c->duration_timer);
    c->codec->on_close(c, err);
    turn_cancel(&c->task);
    c->active = 0;
    c->conn = NULL;
    if (c->ops->on_close != NULL)
        c->ops->on_close(c->ctx, c, err);
    turn_bury(c->turn, &c->grave, dig);
}

static const struct conn_handler conn_handler = {
    .on_open = on_open,
    .on_input = on_input,
    .on_drain = on_drain,
    .on_close = on_close,
};

/* The owner is told, and the connection closed, from the run list only: a pool may start a stream
 * right inside on_room. */
static void run_task(struct turn_task *task)
{
    struct http_client *c = CONTAINER_OF(task, struct http_client, task);

    if (c->is_closing)
        return;
    if (c->is_draining && !c->is_draining_told) {
        c->is_draining_told = true;
        if (c->ops->on_draining != NULL)
            c->ops->on_draining(c->ctx, c);
    }
    if (c->is_room_due && !c->is_draining) {
        c->is_room_due = false;
        if (c->ops->on_room != NULL)
            c->ops->on_room(c->ctx, c);
    }
    if (c->is_draining && c->active == 0 && !c->is_closing)
        c->codec->close(c);
}

static void on_idle(struct timer *timer)
{
    http_client_drain(CONTAINER_OF(timer, struct http_client, idle_timer));
}

static void on_duration(struct timer *timer)
{
    http_client_drain(CONTAINER_OF(timer, struct http_client, duration_timer));
}

static void start_idle_timer(struct http_client *c)
{
    if (c->config->idle_timeout_us > 0 && !c->is_closing)
        timer_start(c->turn, &c->idle_timer, c->config->idle_timeout_us);
}

struct http_client *http_client_open(struct conn *conn, enum http_version version,
                                     const struct http_client_config *config,
                                     const struct http_client_ops *ops, void *ctx)
{
    struct http_client *c = NEW(struct http_client);

    c->conn = conn;
    c->turn = conn->turn;
    c->config = config;
    c->ops = ops;
    c->ctx = ctx;
    c->codec = version == HTTP_2      ? &h2_client_codec
               : version == HTTP_NONE ? &tcp_client_codec
                                      : &h1_client_codec;
    turn_task_init(&c->task, run_task);
    timer_init(&c->idle_timer, on_idle);
    timer_init(&c->duration_timer, on_duration);
    list_init(&c->grave.link);
    conn->read_max = HTTP_READ_MAX_BYTES;
    conn_set_handler(conn, &conn_handler, c);
    c->codec->open(c);
    start_idle_timer(c);
    if (config->duration_max_us > 0)
        timer_start(c->turn, &c->duration_timer, config->duration_max_us);
    if (conn_is_open(conn))
        mark_open(c);
    conn_wake(conn);
    return c;
}

unsigned http_client_room(const struct http_client *c)
{
    uint32_t streams_max = c->config->streams_max > 0 ? c->config->streams_max : UINT32_MAX;

    if (c->is_draining || c->is_closing || c->active >= streams_max)
        return 0;
    uint64_t room = MIN(c->codec->room(c), streams_max - c->active);
    if (c->config->requests_max > 0)
        room = MIN(room, c->config->requests_max - c->requests);
    return (unsigned)room;
}

unsigned http_client_active(const struct http_client *c)
{
    return c->active;
}

int http_client_start(struct http_client *c, struct exchange *x)
{
    if (http_client_room(c) == 0)
        return -ERR_UNAVAILABLE;
    c->active++;
    c->requests++;
    timer_stop(&c->idle_timer);
    c->codec->start(c, x);
    if (c->config->requests_max > 0 && c->requests >= c->config->requests_max)
        http_client_set_draining(c);
    return 0;
}

void http_client_drain(struct http_client *c)
{
    http_client_set_draining(c);
}

void http_client_abort(struct http_client *c, int err)
{
    if (c->is_closed)
        return;
    c->is_closing = true;
    conn_abort(c->conn, err);
}

struct conn *http_client_conn(const struct http_client *c)
{
    return c->conn;
}

/* --- for codecs ----------------------------------------------------------------------------- */

void http_client_stream_done(struct http_client *c)
{
    if (c->is_closed)
        return;
    ASSERT(c->active > 0);
    if (--c->active == 0 && !c->is_draining)
        start_idle_timer(c);
    http_client_room_grew(c);
}

void http_client_set_draining(struct http_client *c)
{
    if (c->is_draining || c->is_closed)
        return;
    c->is_draining = true;
    timer_stop(&c->idle_timer);
    turn_soon(c->turn, &c->task);
}

void http_client_room_grew(struct http_client *c)
{
    if (c->is_closed)
        return;
    c->is_room_due = true;
    turn_soon(c->turn, &c->task);
}

void http_client_close(struct http_client *c)
{
    if (c->is_closing)
        return;
    c->is_closing = true;
    conn_close(c->conn);
}

struct outcome http_client_lost(const struct http_client *c, int err, bool was_reused,
                                bool is_unanswered)
{
    struct outcome o = http_outcome_upstream(err, c->is_open, was_reused, is_unanswered);
    const struct conn *conn = c->conn;

    if (conn != NULL && conn->layer_ops != NULL && conn->layer_ops->error_text != NULL)
        o.reason = conn->layer_ops->error_text(conn->layer);
    return o;
}
