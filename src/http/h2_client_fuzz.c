/* Bytes of a hostile server into our client: calls with and without bodies are under way on one
 * HTTP/2 connection, and each must end once whatever comes. The first byte chooses how the bytes
 * are cut; SETTINGS are put in front unless it is odd. */
#include <stdint.h>

#include "http/client.h"
#include "http/service.h"
#include "io/sim.h"

enum { CALLS = 4 };

struct bench {
    struct sim_world *world;
    struct turn *turn;
    struct limits limits;
    struct http_client_config config;
    struct http_client *client;
    struct conn *server;
    struct str input;
    unsigned calls, ends;
};

/* --- calls ------------------------------------------------------------------------------------ */

static void on_head(void *ctx, struct call *c, const struct http_head *head)
{
    (void)ctx;
    (void)c;
    ASSERT(head->status >= 200);
}

static void on_end(void *ctx, struct call *c, const struct http_head *trailers,
                   const struct outcome *outcome)
{
    (void)c;
    (void)trailers;
    (void)outcome;
    ((struct bench *)ctx)->ends++;
}

static const struct call_ops call_ops = {.on_head = on_head, .on_end = on_end};

static void ask(struct bench *b, const char *method, const char *protocol, bool has_body)
{
    struct arena arena;
    struct http_head head;
    struct chain body;

    arena_init(&arena, 1024);
    http_head_init(&head, &arena, true);
    head.method = str_from_c(method);
    head.path = STR("/a?b");
    head.scheme = STR("http");
    head.authority = STR("service.test");
    head.protocol = str_from_c(protocol);
    head.has_body = has_body;
    struct call *call = call_start(b->turn, b->client, &head, &call_ops, b);
    chain_init(&body, NULL, NULL);
    chain_add(&body, has_body ? STR("what is sent") : STR_NULL);
    call_write(call, &body);
    call_end(call);
    chain_deinit(&body);
    arena_deinit(&arena);
    b->calls++;
}

static void on_room(void *ctx, struct http_client *c)
{
    struct bench *b = ctx;

    if (b->calls < 2 * CALLS && http_client_room(c) > 0)
        ask(b, "GET", NULL, false);
}

static void on_draining(void *ctx, struct http_client *c)
{
    (void)ctx;
    (void)c;
}

static void on_client_close(void *ctx, struct http_client *c, int err)
{
    (void)c;
    (void)err;
    ((struct bench *)ctx)->client = NULL;
}

static const struct http_client_ops client_ops = {
    .on_room = on_room, .on_draining = on_draining, .on_close = on_client_close};

/* --- the server ------------------------------------------------------------------------------- */

static void server_open(struct conn *c)
{
    struct bench *b = c->ctx;

    chain_add(&c->out, b->input);
    conn_mark_dirty(c);
}

static void server_input(struct conn *c)
{
    chain_clear(&c->in);
    if (conn_is_in_ended(c))
        conn_close(c);
}

static void server_close(struct conn *c, int err)
{
    (void)err;
    ((struct bench *)c->ctx)->server = NULL;
}

static const struct conn_handler server = {
    .on_open = server_open, .on_input = server_input, .on_close = server_close};

static void on_accept(void *ctx, struct conn *c)
{
    ((struct bench *)ctx)->server = c;
    conn_set_handler(c, &server, ctx);
}

static const struct conn_handler nobody;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct str settings = {"\0\0\0\4\0\0\0\0\0", 9};
    struct listen_options listen = {.inherited_fd = -1};
    struct conn_options options = {.connect_timeout_us = 1000000};
    struct listen_socket *socket;
    struct bench b = {0};
    struct addr addr;
    struct str_buf input = STR_BUF_INIT(1 << 20);

    if (size < 1 || size > 100000)
        return 0;
    if (data[0] % 2 == 0)
        str_buf_add(&input, settings);
    str_buf_add(&input, str_from((const char *)data + 1, size - 1));
    b.input = str_buf_str(&input);
    b.world = sim_world_new(&(struct sim_options){.seed = data[0],
                                                  .latency_us_max = 5,
                                                  .piece_bytes_max = data[0] / 2,
                                                  .pipe_bytes_max = 65536});
    b.turn = turn_new_sim(b.world);
    limits_init(&b.limits);
    b.config = (struct http_client_config){
        .limits = &b.limits, .streams_max = 100, .idle_timeout_us = 1000000};
    addr_parse(STR("10.0.0.1:80"), &addr);
    if (listen_open(b.turn, &addr, &listen, on_accept, &b, &socket) != 0)
        return 0;
    struct conn *c = conn_connect(b.turn, &addr, &options, &nobody, NULL, NULL, NULL);
    b.client = http_client_open(c, HTTP_2, &b.config, &client_ops, &b);
    for (int i = 0; i < CALLS; i++)
        ask(&b, i == 2 ? "HEAD" : i == 1 ? "POST" : "GET", i == 3 ? "websocket" : NULL, i % 2 == 1);
    sim_world_run(b.world, 3000000);
    if (b.server != NULL)
        conn_close(b.server);
    sim_world_run(b.world, 10000000);
    if (b.client != NULL)
        http_client_abort(b.client, -ERR_CANCELED);
    listen_close(socket);
    sim_world_run(b.world, 20000000);
    ASSERT(b.client == NULL && b.ends == b.calls);
    ASSERT(turn_account(b.turn)->bytes == 0);
    turn_free(b.turn);
    sim_world_free(b.world);
    str_buf_deinit(&input);
    return 0;
}
