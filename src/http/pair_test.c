/* Our client against our server over simulated pipes, in HTTP/1 and HTTP/2, whole and byte by byte:
 * calls on one side, a service on the other. Foreign peers are for the scenario tests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "http/client.h"
#include "http/server.h"
#include "http/service.h"
#include "io/sim.h"

struct pair;

struct asked {
    struct pair *pair;
    struct call *call;
    struct chain got;
    unsigned status, ends;
    struct outcome outcome;
    char trailer[64];
    bool is_slow; /* takes nothing */
};

struct pair {
    struct sim_world *world;
    struct turn *turn;
    struct limits limits;
    struct addr addr;
    enum http_version version;
    struct http_server_config server_config;
    struct http_client_config client_config;
    struct http_server *server;
    struct http_client *client;
    struct listen_socket *listen;
    struct service service;
    struct filter filter;
    unsigned exchanges, service_ends, bad_requests, server_closes, client_closes, drainings, rooms;
    int service_err;
    struct service_stream *held; /* of the path /hold */
    uint64_t seen_bytes;
};

static void run_for(struct pair *p, uint64_t us)
{
    sim_world_run(p->world, sim_world_now_us(p->world) + us);
}

static void run(struct pair *p)
{
    run_for(p, 2000000);
}

/* --- the service: echoes ---------------------------------------------------------------------- */

static void on_head(void *service, struct service_stream *s, const struct http_head *head)
{
    struct pair *p = service;

    if (str_eq(head->path, STR("/hold"))) {
        p->held = s;
        return;
    }
    if (str_eq(head->path, STR("/reset"))) {
        service_reset(s, -ERR_RESET);
        return;
    }
    if (str_eq(head->path, STR("/teapot"))) {
        service_reply(s, 418, STR("text/plain"), STR("short and stout"));
        return;
    }
    struct http_field field = {STR("x-path"), head->path, HTTP_NAME_OTHER};
    service_respond(s, 200, &field, 1);
}

static void on_body(void *service, struct service_stream *s, struct chain *body, bool is_ended)
{
    struct pair *p = service;
    const struct http_head *head = service_exchange(s)->flows[SIDE_REQUEST].head;

    p->seen_bytes += MIN(body->len, service_room(s));
    if (!str_starts_with(head->path, STR("/echo"))) {
        chain_clear(body);
        return;
    }
    struct chain part;
    chain_init(&part, NULL, NULL);
    chain_move(&part, body, service_room(s));
    service_write(s, &part);
    chain_deinit(&part);
    if (!is_ended || !chain_is_empty(body))
        return;
    struct http_field trailer = {STR("x-sum"), STR("42"), HTTP_NAME_OTHER};
    service_end(s, &trailer, str_eq(head->path, STR("/echo-trailers")) ? 1 : 0);
}

static void on_service_room(void *service, struct service_stream *s)
{
    (void)service;
    exchange_wake(service_exchange(s));
}

static void on_service_end(void *service, struct service_stream *s, int err)
{
    struct pair *p = service;

    if (p->held == s)
        p->held = NULL;
    p->service_ends++;
    p->service_err = err;
}

static const struct service_ops service_ops = {
    .on_head = on_head, .on_body = on_body, .on_room = on_service_room, .on_end = on_service_end};

/* --- the call --------------------------------------------------------------------------------- */

static void on_call_head(void *ctx, struct call *c, const struct http_head *head)
{
    struct asked *a = ctx;

    assert_ptr_equal(a->call, c);
    a->status = head->status;
}

static void on_call_body(void *ctx, struct call *c, struct chain *body)
{
    struct asked *a = ctx;

    (void)c;
    if (!a->is_slow)
        chain_move(&a->got, body, body->len);
}

static void on_call_end(void *ctx, struct call *c, const struct http_head *trailers,
                        const struct outcome *outcome)
{
    struct asked *a = ctx;

    (void)c;
    a->ends++;
    a->outcome = *outcome;
    if (trailers != NULL) {
        struct str value = http_head_get_named(trailers, STR("x-sum"));
        snprintf(a->trailer, sizeof(a->trailer), "%.*s", STR_FMT(value));
    }
}

static const struct call_ops call_ops = {
    .on_head = on_call_head, .on_body = on_call_body, .on_end = on_call_end};

static void ask(struct pair *p, struct asked *a, const char *method, const char *path,
                size_t body_len, bool is_ended)
{
    struct arena arena;
    struct http_head head;
    struct chain body;

    *a = (struct asked){.pair = p};
    chain_init(&a->got, NULL, NULL);
    arena_init(&arena, 1024);
    http_head_init(&head, &arena, true);
    head.method = str_from_c(method);
    head.path = str_from_c(path);
    head.scheme = STR("http");
    head.authority = STR("service.test");
    head.has_body = body_len > 0 || !is_ended;
    a->call = call_start(p->turn, p->client, &head, &call_ops, a);
    chain_init(&body, NULL, NULL);
    for (size_t i = 0; i < body_len; i++)
        chain_add(&body, str_from(&"0123456789abcdef!"[i % 17], 1));
    call_write(a->call, &body);
    if (is_ended)
        call_end(a->call);
    chain_deinit(&body);
    arena_deinit(&arena);
}

static void assert_echo(struct asked *a, size_t len)
{
    assert_int_equal(a->ends, 1);
    assert_int_equal(a->outcome.err, 0);
    assert_int_equal(a->status, 200);
    assert_int_equal(a->got.len, len);
    struct str all = chain_pullup(&a->got, len);
    for (size_t i = 0; i < len; i++)
        if (all.ptr[i] != "0123456789abcdef!"[i % 17])
            fail_msg("byte %zu differs", i);
    chain_deinit(&a->got);
}

/* --- the bench -------------------------------------------------------------------------------- */

static void on_exchange(void *ctx, struct exchange *x)
{
    struct pair *p = ctx;

    p->exchanges++;
    x->filters = &p->filter;
    x->filter_count = 1;
}

static void on_bad_request(void *ctx, const struct outcome *why)
{
    (void)why;
    ((struct pair *)ctx)->bad_requests++;
}

static void on_server_close(void *ctx, int err)
{
    struct pair *p = ctx;

    (void)err;
    p->server_closes++;
    p->server = NULL;
}

static const struct http_server_ops server_ops = {
    .on_exchange = on_exchange, .on_bad_request = on_bad_request, .on_close = on_server_close};

static void on_room(void *ctx, struct http_client *c)
{
    (void)c;
    ((struct pair *)ctx)->rooms++;
}

static void on_draining(void *ctx, struct http_client *c)
{
    (void)c;
    ((struct pair *)ctx)->drainings++;
}

static void on_client_close(void *ctx, struct http_client *c, int err)
{
    struct pair *p = ctx;

    (void)c;
    (void)err;
    p->client_closes++;
    p->client = NULL;
}

static const struct http_client_ops client_ops = {
    .on_room = on_room, .on_draining = on_draining, .on_close = on_client_close};

static void on_accept(void *ctx, struct conn *c)
{
    struct pair *p = ctx;
    struct downstream_info info = {0};

    p->server = http_server_open(c, &p->server_config, &info, &server_ops, p);
}

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

static void connect_client(struct pair *p)
{
    struct conn_options options = {.connect_timeout_us = 1000000};
    struct conn *c = conn_connect(p->turn, &p->addr, &options, &no_handler, NULL, NULL, NULL);

    p->client = http_client_open(c, p->version, &p->client_config, &client_ops, p);
}

static int setup(void **state, enum http_version version, uint32_t piece)
{
    static struct pair pair;
    struct pair *p = &pair;
    struct listen_options listen = {.inherited_fd = -1};

    *p = (struct pair){.version = version};
    p->world = sim_world_new(&(struct sim_options){
        .seed = 7, .latency_us_max = 10, .piece_bytes_max = piece, .pipe_bytes_max = 65536});
    p->turn = turn_new_sim(p->world);
    limits_init(&p->limits);
    p->server_config = (struct http_server_config){
        .limits = &p->limits, .path = url_path_options_base, .headers_timeout_us = 60000000};
    p->client_config = (struct http_client_config){.limits = &p->limits, .streams_max = 1000};
    p->service = (struct service){&service_ops, p};
    p->filter = (struct filter){&service_filter_ops, &p->service};
    assert_true(addr_parse(STR("10.0.0.1:80"), &p->addr));
    assert_int_equal(listen_open(p->turn, &p->addr, &listen, on_accept, p, &p->listen), 0);
    connect_client(p);
    *state = p;
    return 0;
}

static int setup_1(void **state)
{
    return setup(state, HTTP_11, 0);
}

static int setup_1_bytes(void **state)
{
    return setup(state, HTTP_11, 1);
}

static int setup_2(void **state)
{
    return setup(state, HTTP_2, 0);
}

static int setup_2_bytes(void **state)
{
    return setup(state, HTTP_2, 1);
}

static int setup_2_pieces(void **state)
{
    return setup(state, HTTP_2, 1000);
}

static int teardown(void **state)
{
    struct pair *p = *state;

    if (p->client != NULL)
        http_client_abort(p->client, -ERR_CANCELED);
    run_for(p, 10000000);
    assert_null(p->client);
    assert_null(p->server);
    assert_int_equal(p->service_ends, p->exchanges);
    listen_close(p->listen);
    run(p);
    assert_int_equal(turn_account(p->turn)->bytes, 0);
    turn_free(p->turn);
    sim_world_free(p->world);
    return 0;
}

/* --- tests ------------------------------------------------------------------------------------ */

static void test_get(void **state)
{
    struct pair *p = *state;
    static struct asked a;

    ask(p, &a, "GET", "/teapot", 0, true);
    run(p);
    assert_int_equal(a.status, 418);
    assert_int_equal(a.ends, 1);
    assert_int_equal(a.outcome.err, 0);
    assert_int_equal(a.got.len, 15);
    assert_int_equal(p->service_err, 0);
    assert_int_equal(http_client_active(p->client), 0);
    assert_int_equal(http_server_active(p->server), 0);
    chain_deinit(&a.got);
}

static void test_echo(void **state)
{
    struct pair *p = *state;
    static struct asked a;

    for (int i = 0; i < 3; i++) {
        ask(p, &a, "POST", "/echo", 5000, true);
        run_for(p, 5000000);
        assert_echo(&a, 5000);
    }
    assert_int_equal(p->exchanges, 3);
    assert_int_equal(p->server_closes, 0);
}

static void test_large_echo(void **state)
{
    struct pair *p = *state;
    static struct asked a;

    ask(p, &a, "POST", "/echo", 3000000, true);
    run_for(p, 100000000);
    assert_echo(&a, 3000000);
}

static void test_trailers(void **state)
{
    struct pair *p = *state;
    static struct asked a;

    ask(p, &a, "POST", "/echo-trailers", 100, true);
    run(p);
    assert_string_equal(a.trailer, "42");
    assert_echo(&a, 100);
}

static void test_head(void **state)
{
    struct pair *p = *state;
    static struct asked a;

    ask(p, &a, "HEAD", "/teapot", 0, true);
    run(p);
    assert_int_equal(a.status, 418);
    assert_int_equal(a.ends, 1);
    assert_int_equal(a.got.len, 0);
    ask(p, &a, "POST", "/echo", 10, true);
    run(p);
    assert_echo(&a, 10);
}

static void test_many(void **state)
{
    struct pair *p = *state;
    static struct asked asked[60];

    for (int i = 0; i < 60; i++)
        ask(p, &asked[i], "POST", "/echo", 1000 * (size_t)i, true);
    run_for(p, 50000000);
    for (int i = 0; i < 60; i++)
        assert_echo(&asked[i], 1000 * (size_t)i);
    assert_int_equal(p->exchanges, 60);
}

static void test_cancel(void **state)
{
    struct pair *p = *state;
    static struct asked a;

    ask(p, &a, "GET", "/hold", 0, true);
    run(p);
    assert_non_null(p->held);
    call_cancel(a.call);
    run(p);
    assert_int_equal(a.ends, 1);
    assert_int_equal(a.outcome.err, -ERR_CANCELED);
    assert_null(p->held);
    assert_int_equal(p->service_ends, 1);
    assert_true(p->service_err != 0);
}

static void test_reset(void **state)
{
    struct pair *p = *state;
    static struct asked a;

    ask(p, &a, "GET", "/reset", 0, true);
    run(p);
    assert_int_equal(a.ends, 1);
    assert_int_equal(a.status, 500);
    chain_deinit(&a.got);
}

/* Half of a response, then a reset: never an orderly end. */
static void test_truncated(void **state)
{
    struct pair *p = *state;
    static struct asked a;
    struct chain half;

    ask(p, &a, "GET", "/hold", 0, true);
    run(p);
    service_respond(p->held, 200, NULL, 0);
    chain_init(&half, NULL, NULL);
    chain_add(&half, STR("half of it"));
    service_write(p->held, &half);
    run(p);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.got.len, 10);
    assert_int_equal(a.ends, 0);
    service_reset(p->held, -ERR_RESET);
    run(p);
    assert_int_equal(a.ends, 1);
    assert_true(a.outcome.err != 0);
    chain_deinit(&half);
    chain_deinit(&a.got);
}

static void test_connection_cut(void **state)
{
    struct pair *p = *state;
    static struct asked a;

    ask(p, &a, "GET", "/hold", 0, true);
    run(p);
    sim_world_cut(p->world, &p->addr);
    run(p);
    assert_int_equal(a.ends, 1);
    assert_int_equal(a.outcome.fault, FAULT_UPSTREAM);
    assert_int_equal(a.outcome.flags, FLAG_BIT(UPSTREAM_CLOSED));
    assert_int_equal(p->client_closes, 1);
    assert_int_equal(p->server_closes, 1);
}

static void test_refused(void **state)
{
    struct pair *p = *state;
    static struct asked a;

    http_client_abort(p->client, -ERR_CANCELED);
    run(p);
    sim_world_refuse(p->world, &p->addr, false);
    connect_client(p);
    ask(p, &a, "POST", "/echo", 10, true);
    run(p);
    assert_int_equal(a.ends, 1);
    assert_int_equal(a.outcome.err, -ERR_REFUSED);
    assert_true(a.outcome.is_retryable);
    assert_int_equal(a.outcome.flags, FLAG_BIT(UPSTREAM_CONNECT));
}

/* The request under way is served, then both sides close; the pool is told. */
static void test_drain(void **state)
{
    struct pair *p = *state;
    static struct asked a;

    ask(p, &a, "GET", "/hold", 0, true);
    run(p);
    http_server_drain(p->server);
    run(p);
    assert_int_equal(p->server_closes, 0);
    service_reply(p->held, 200, STR("text/plain"), STR("late"));
    run(p);
    assert_int_equal(a.ends, 1);
    assert_int_equal(a.outcome.err, 0);
    assert_int_equal(a.got.len, 4);
    assert_int_equal(p->drainings, p->version == HTTP_2 ? 1 : 0); /* else closed before */
    assert_int_equal(p->server_closes, 1);
    assert_int_equal(p->client_closes, 1);
    chain_deinit(&a.got);
}

static void test_idle_server_closes(void **state)
{
    struct pair *p = *state;
    static struct asked a;

    p->server_config.idle_timeout_us = 3000000;
    ask(p, &a, "GET", "/teapot", 0, true);
    run_for(p, 2000000);
    assert_int_equal(p->server_closes, 0);
    run_for(p, 4000000);
    assert_int_equal(p->server_closes, 1);
    assert_int_equal(p->client_closes, 1);
    chain_deinit(&a.got);
}

static void test_requests_max(void **state)
{
    struct pair *p = *state;
    static struct asked a;

    p->server_config.requests_max = 2;
    for (int i = 0; i < 2; i++) {
        ask(p, &a, "GET", "/teapot", 0, true);
        run(p);
        assert_int_equal(a.status, 418);
        chain_deinit(&a.got);
    }
    assert_int_equal(p->server_closes, 1);
    assert_int_equal(p->client_closes, 1);
}

/* Who reads nothing gets no more than the windows; who reads again gets the rest. */
static void test_backpressure(void **state)
{
    struct pair *p = *state;
    static struct asked a;

    ask(p, &a, "POST", "/echo", 3000000, true);
    a.is_slow = true;
    run_for(p, 20000000);
    assert_int_equal(a.ends, 0);
    assert_true(p->seen_bytes < 1500000);
    assert_true(turn_account(p->turn)->bytes < 6000000);
    a.is_slow = false;
    exchange_wake(call_exchange(a.call));
    run_for(p, 100000000);
    assert_echo(&a, 3000000);
}

static void test_early_reply(void **state)
{
    struct pair *p = *state;
    static struct asked a;

    ask(p, &a, "POST", "/teapot", 500000, false);
    run(p);
    assert_int_equal(a.status, 418);
    assert_int_equal(a.ends, 1);
    assert_int_equal(a.outcome.err, 0);
    chain_deinit(&a.got);
}

#define ON(name, how)                                                                              \
    {                                                                                              \
#name " " #how, test_##name, setup_##how, teardown, NULL                                   \
    }
#define ON_BOTH(name) ON(name, 1), ON(name, 2)
#define ON_ALL(name) ON(name, 1), ON(name, 1_bytes), ON(name, 2), ON(name, 2_bytes)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ALL(get),
        ON_ALL(echo),
        ON_BOTH(large_echo),
        ON(large_echo, 2_pieces),
        ON_ALL(trailers),
        ON_ALL(head),
        ON(many, 2),
        ON(many, 2_pieces),
        ON_ALL(cancel),
        ON_ALL(reset),
        ON_ALL(truncated),
        ON_BOTH(connection_cut),
        ON_BOTH(refused),
        ON_ALL(drain),
        ON_BOTH(idle_server_closes),
        ON_BOTH(requests_max),
        ON_BOTH(backpressure),
        ON_ALL(early_reply),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
