/* Bytes of a hostile client into a server (the preface decides which codec) with an echoing
 * service. The first byte chooses how they are cut; the preface of HTTP/2 is put in front unless it
 * is odd. */
#include <stdint.h>

#include "http/server.h"
#include "http/service.h"
#include "io/sim.h"

struct bench {
    struct sim_world *world;
    struct turn *turn;
    struct limits limits;
    struct http_server_config config;
    struct service service;
    struct filter filter;
    struct str input;
};

static void on_head(void *service, struct service_stream *s, const struct http_head *head)
{
    struct http_field field = {STR("x-path"), head->path, HTTP_NAME_OTHER};

    (void)service;
    service_respond(s, head->protocol.len > 0 ? 101 : 200, &field, 1);
}

static void on_body(void *service, struct service_stream *s, struct chain *body, bool is_ended)
{
    struct http_field trailer = {STR("x-end"), STR("1"), HTTP_NAME_OTHER};

    (void)service;
    service_write(s, body);
    if (is_ended)
        service_end(s, &trailer, 1);
}

static void on_end(void *service, struct service_stream *s, int err)
{
    (void)service;
    (void)s;
    (void)err;
}

static const struct service_ops service_ops = {
    .on_head = on_head, .on_body = on_body, .on_end = on_end};

static void on_exchange(void *ctx, struct exchange *x)
{
    x->filters = &((struct bench *)ctx)->filter;
    x->filter_count = 1;
}

static void on_server_close(void *ctx, int err)
{
    (void)ctx;
    (void)err;
}

static const struct http_server_ops server_ops = {.on_exchange = on_exchange,
                                                  .on_close = on_server_close};

static void on_accept(void *ctx, struct conn *c)
{
    struct bench *b = ctx;
    struct downstream_info info = {0};

    http_server_open(c, &b->config, &info, &server_ops, b);
}

static void client_open(struct conn *c)
{
    struct bench *b = c->ctx;

    chain_add(&c->out, b->input);
    conn_mark_dirty(c);
    conn_end(c);
}

static void client_input(struct conn *c)
{
    chain_clear(&c->in);
    if (conn_is_in_ended(c))
        conn_close(c);
}

static void client_close(struct conn *c, int err)
{
    (void)c;
    (void)err;
}

static const struct conn_handler client = {
    .on_open = client_open, .on_input = client_input, .on_close = client_close};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct str preface = {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24};
    struct listen_options listen = {.inherited_fd = -1};
    struct listen_socket *socket;
    struct bench b = {0};
    struct addr addr;
    struct str_buf input = STR_BUF_INIT(1 << 20);

    if (size < 1 || size > 100000)
        return 0;
    if (data[0] % 2 == 0)
        str_buf_add(&input, preface);
    str_buf_add(&input, str_from((const char *)data + 1, size - 1));
    b.input = str_buf_str(&input);
    b.world = sim_world_new(&(struct sim_options){.seed = data[0],
                                                  .latency_us_max = 5,
                                                  .piece_bytes_max = data[0] / 2,
                                                  .pipe_bytes_max = 65536});
    b.turn = turn_new_sim(b.world);
    limits_init(&b.limits);
    b.config = (struct http_server_config){.limits = &b.limits,
                                           .path = url_path_options_base,
                                           .allow_connect = data[0] >= 128,
                                           .idle_timeout_us = 1000000,
                                           .headers_timeout_us = 1000000,
                                           .stream_idle_timeout_us = 1000000};
    b.service = (struct service){&service_ops, &b};
    b.filter = (struct filter){&service_filter_ops, &b.service};
    addr_parse(STR("10.0.0.1:80"), &addr);
    if (listen_open(b.turn, &addr, &listen, on_accept, &b, &socket) != 0)
        return 0;
    conn_connect(b.turn, &addr, &(struct conn_options){.connect_timeout_us = 1000000}, &client, &b,
                 NULL, NULL);
    sim_world_run(b.world, 30000000);
    listen_close(socket);
    sim_world_run(b.world, 31000000);
    ASSERT(turn_account(b.turn)->bytes == 0);
    turn_free(b.turn);
    sim_world_free(b.world);
    str_buf_deinit(&input);
    return 0;
}
