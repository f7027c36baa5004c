/* For trying http/ with foreign clients and servers: no part of the product.
 *
 *   http_dev echo PORT                     answers GET with 13 bytes, POST with its body; /big?N,
 * /trailers http_dev proxy PORT UPSTREAM h1|h2     passes everything on to 127.0.0.1:UPSTREAM
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "http/client.h"
#include "http/server.h"
#include "http/service.h"

struct dev {
    struct turn *turn;
    struct limits limits;
    struct http_server_config server_config;
    struct http_client_config client_config;
    struct service service;
    struct filter filter;
    struct addr upstream;
    enum http_version version;
    struct list idle, waiting; /* links of struct upstream, struct attempt */
    struct upstream *shared;   /* h2 */
};

/* --- echo ------------------------------------------------------------------------------------- */

static void on_head(void *service, struct service_stream *s, const struct http_head *head)
{
    (void)service;
    struct http_field type = {STR("content-type"), STR("text/plain"), HTTP_NAME_CONTENT_TYPE};

    if (head->has_body || str_starts_with(head->path, STR("/big")))
        service_respond(s, 200, &type, 1);
    else
        service_reply(s, 200, STR("text/plain"), STR("hello, world\n"));
}

static void write_big(struct service_stream *s)
{
    static char block[4096];
    struct chain part;
    size_t left = (size_t)(uintptr_t)service_ctx(s) - 1;

    chain_init(&part, NULL, NULL);
    while (left > 0 && service_room(s) > 0) {
        size_t room = MIN(service_room(s), sizeof(block)), n = MIN(left, room);
        chain_add(&part, str_from(block, n));
        service_write(s, &part);
        left -= n;
    }
    chain_deinit(&part);
    service_set_ctx(s, (void *)(uintptr_t)(left + 1));
    if (left == 0)
        service_end(s, NULL, 0);
}

static void on_body(void *service, struct service_stream *s, struct chain *body, bool is_ended)
{
    const struct http_head *head = service_exchange(s)->flows[SIDE_REQUEST].head;
    struct http_field trailer = {STR("x-sum"), STR("42"), HTTP_NAME_OTHER};
    struct chain part;
    uint64_t n;

    (void)service;
    if (str_starts_with(head->path, STR("/big")) && service_ctx(s) == NULL) {
        n = str_to_u64(http_head_query(head), UINT32_MAX, &n) ? n : 1000000;
        service_set_ctx(s, (void *)(uintptr_t)(n + 1));
        write_big(s);
        return;
    }
    if (!head->has_body)
        return;
    chain_init(&part, NULL, NULL);
    chain_move(&part, body, service_room(s));
    service_write(s, &part);
    chain_deinit(&part);
    if (is_ended && chain_is_empty(body))
        service_end(s, &trailer, str_starts_with(head->path, STR("/trailers")) ? 1 : 0);
}

static void on_room(void *service, struct service_stream *s)
{
    (void)service;
    if (service_ctx(s) != NULL)
        write_big(s);
    else
        exchange_wake(service_exchange(s));
}

static void on_end(void *service, struct service_stream *s, int err)
{
    (void)service;
    (void)s;
    (void)err;
}

static const struct service_ops echo_ops = {
    .on_head = on_head, .on_body = on_body, .on_room = on_room, .on_end = on_end};

/* --- proxy: a pool in its simplest form ------------------------------------------------------- */

struct upstream {
    struct dev *dev;
    struct http_client *client;
    struct list link;
};

struct attempt {
    struct exchange *x;
    struct list link;
};

static void client_room(void *ctx, struct http_client *c);
static void client_draining(void *ctx, struct http_client *c);
static void client_close(void *ctx, struct http_client *c, int err);
static const struct http_client_ops client_ops = {
    .on_room = client_room, .on_draining = client_draining, .on_close = client_close};

static void nothing(struct conn *c)
{
    (void)c;
}

static void nothing_closed(struct conn *c, int err)
{
    (void)c;
    (void)err;
}

static const struct conn_handler no_handler = {
    .on_open = nothing, .on_input = nothing, .on_close = nothing_closed};

static struct upstream *upstream_new(struct dev *d)
{
    struct upstream *u = NEW(struct upstream);
    struct conn_options options = {.connect_timeout_us = 1000000};

    u->dev = d;
    list_init(&u->link);
    u->client = http_client_open(
        conn_connect(d->turn, &d->upstream, &options, &no_handler, NULL, NULL, NULL), d->version,
        &d->client_config, &client_ops, u);
    return u;
}

static struct upstream *pick(struct dev *d)
{
    if (d->version == HTTP_2) {
        if (d->shared == NULL)
            d->shared = upstream_new(d);
        return d->shared;
    }
    struct upstream *u = LIST_FIRST(&d->idle, struct upstream, link);
    if (u == NULL)
        return upstream_new(d);
    list_remove(&u->link);
    return u;
}

static void client_room(void *ctx, struct http_client *c)
{
    struct upstream *u = ctx;
    struct dev *d = u->dev;

    while (http_client_room(c) > 0 && !list_is_empty(&d->waiting)) {
        struct attempt *a = LIST_FIRST(&d->waiting, struct attempt, link);
        list_remove(&a->link);
        http_client_start(c, a->x);
    }
    if (d->version != HTTP_2 && http_client_room(c) > 0 && !list_is_linked(&u->link))
        list_push_front(&d->idle, &u->link);
}

static void client_draining(void *ctx, struct http_client *c)
{
    struct upstream *u = ctx;

    (void)c;
    list_remove(&u->link);
    if (u->dev->shared == u)
        u->dev->shared = NULL;
}

static void client_close(void *ctx, struct http_client *c, int err)
{
    (void)err;
    client_draining(ctx, c);
    free(ctx);
}

static enum verdict route_head(struct exchange *x, void *state, enum side side)
{
    struct dev *d = x->ctx;
    struct attempt *a = state;

    if (side == SIDE_RESPONSE)
        return VERDICT_NEXT;
    a->x = x;
    list_init(&a->link);
    if (http_client_start(pick(d)->client, x) != 0)
        list_push_back(&d->waiting, &a->link);
    return VERDICT_NEXT;
}

static void route_end(struct exchange *x, void *state)
{
    (void)x;
    list_remove(&((struct attempt *)state)->link);
}

static const struct filter_ops route_ops = {.name = "route",
                                            .state_bytes = sizeof(struct attempt),
                                            .on_head = route_head,
                                            .on_end = route_end};

/* --- both ------------------------------------------------------------------------------------- */

static void on_exchange(void *ctx, struct exchange *x)
{
    struct dev *d = ctx;

    x->ctx = d;
    x->filters = &d->filter;
    x->filter_count = 1;
}

static void on_close(void *ctx, int err)
{
    (void)ctx;
    (void)err;
}

static const struct http_server_ops server_ops = {.on_exchange = on_exchange, .on_close = on_close};

static void on_accept(void *ctx, struct conn *c)
{
    struct dev *d = ctx;
    struct downstream_info info = {.local = c->local, .remote = c->remote};

    http_server_open(c, &d->server_config, &info, &server_ops, d);
}

static struct turn *stopping;

static void on_signal(int number)
{
    (void)number;
    turn_stop(stopping);
}

int main(int argc, char **argv)
{
    struct dev d = {.turn = turn_new_linux()};
    struct listen_options options = {.inherited_fd = -1, .backlog = 1024};
    struct listen_socket *listen;
    char at[64];
    struct addr addr;

    if (argc < 3)
        return 2;
    list_init(&d.idle);
    list_init(&d.waiting);
    limits_init(&d.limits);
    d.server_config = (struct http_server_config){.limits = &d.limits,
                                                  .path = url_path_options_base,
                                                  .idle_timeout_us = 60000000,
                                                  .headers_timeout_us = 5000000,
                                                  .stream_idle_timeout_us = 60000000,
                                                  .server_name = STR("tulle-dev")};
    d.client_config = (struct http_client_config){.limits = &d.limits, .streams_max = 100};
    d.service = (struct service){&echo_ops, &d};
    d.filter = (struct filter){&service_filter_ops, &d.service};
    if (argc == 5) {
        snprintf(at, sizeof(at), "127.0.0.1:%s", argv[3]);
        addr_parse(str_from_c(at), &d.upstream);
        d.version = argv[4][1] == '2' ? HTTP_2 : HTTP_11;
        d.filter = (struct filter){&route_ops, NULL};
    }
    snprintf(at, sizeof(at), "127.0.0.1:%s", argv[2]);
    if (!addr_parse(str_from_c(at), &addr) ||
        listen_open(d.turn, &addr, &options, on_accept, &d, &listen) != 0)
        return 1;
    stopping = d.turn;
    signal(SIGTERM, on_signal);
    signal(SIGPIPE, SIG_IGN);
    turn_run(d.turn);
    return 0;
}
