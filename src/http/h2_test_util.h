/* For tests of an HTTP/2 server by raw frames: a bench with a server, a service and a client that
 * says what the test puts into it. Included by one file of tests each, behind nghttp2.h. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "http/server.h"
#include "http/service.h"
#include "io/sim.h"

struct bench {
    struct sim_world *world;
    struct turn *turn;
    struct limits limits;
    struct http_server_config config;
    struct http_server *server;
    struct service service;
    struct filter filter;
    struct listen_socket *listen;
    struct conn *client;
    struct chain in; /* what the server sent */
    nghttp2_hd_inflater *inflater;
    unsigned exchanges, bad_requests, ends;
    uint64_t begun_turn; /* begun_count: of exchanges that began in it; begun_max: in any */
    unsigned begun_count, begun_max;
    char path[128], authority[64], cookie[64], trailers[128];
    struct outcome bad;
    size_t reply_bytes;     /* of an answer; 0: "fine" */
    bool is_holding;        /* the service takes no body */
    unsigned tunnel_status; /* answer to who asks for a tunnel, which echoes when that opens it */
    char method[16], protocol[32];
};

/* --- server ----------------------------------------------------------------------------------- */

static void copy(char *to, size_t len, struct str s)
{
    snprintf(to, len, "%.*s", STR_FMT(s));
}

static void reply(struct bench *b, struct service_stream *s)
{
    static char large[1 << 17];

    service_reply(s, 200, STR("text/plain"),
                  b->reply_bytes > 0 ? str_from(large, b->reply_bytes) : STR("fine"));
}

static void on_head(void *service, struct service_stream *s, const struct http_head *head)
{
    struct bench *b = service;

    copy(b->method, sizeof(b->method), head->method);
    copy(b->protocol, sizeof(b->protocol), head->protocol);
    copy(b->path, sizeof(b->path), head->path);
    copy(b->authority, sizeof(b->authority), head->authority);
    copy(b->cookie, sizeof(b->cookie), http_head_get_named(head, STR("cookie")));
    if (http_head_asks_tunnel(head))
        service_respond(s, b->tunnel_status, NULL, 0);
    else if (!head->has_body)
        reply(b, s);
}

static void on_body(void *service, struct service_stream *s, struct chain *body, bool is_ended)
{
    struct bench *b = service;
    const struct http_head *trailers = service_exchange(s)->flows[SIDE_REQUEST].trailers;

    for (uint32_t i = 0; is_ended && trailers != NULL && i < trailers->field_count; i++) {
        size_t len = strlen(b->trailers);
        snprintf(b->trailers + len, sizeof(b->trailers) - len, "%.*s ",
                 STR_FMT(trailers->fields[i].name));
    }
    if (b->is_holding)
        return;
    if (http_head_asks_tunnel(service_exchange(s)->flows[SIDE_REQUEST].head)) {
        service_write(s, body);
        if (is_ended)
            service_end(s, NULL, 0);
        return;
    }
    chain_clear(body);
    if (is_ended && service_exchange(s)->flows[SIDE_REQUEST].head->has_body)
        reply(b, s);
}

static void on_end(void *service, struct service_stream *s, int err)
{
    (void)s;
    (void)err;
    ((struct bench *)service)->ends++;
}

static const struct service_ops service_ops = {
    .on_head = on_head, .on_body = on_body, .on_end = on_end};

static void on_exchange(void *ctx, struct exchange *x)
{
    struct bench *b = ctx;

    b->exchanges++;
    if (b->begun_turn != turn_count(x->turn))
        b->begun_count = 0;
    b->begun_turn = turn_count(x->turn);
    b->begun_max = MAX(b->begun_max, ++b->begun_count);
    x->filters = &b->filter;
    x->filter_count = 1;
}

static void on_bad_request(void *ctx, const struct outcome *why)
{
    struct bench *b = ctx;

    b->bad_requests++;
    b->bad = *why;
}

static void on_server_close(void *ctx, int err)
{
    (void)err;
    ((struct bench *)ctx)->server = NULL;
}

static const struct http_server_ops server_ops = {
    .on_exchange = on_exchange, .on_bad_request = on_bad_request, .on_close = on_server_close};

static void on_accept(void *ctx, struct conn *c)
{
    struct bench *b = ctx;
    struct downstream_info info = {0};

    b->server = http_server_open(c, &b->config, &info, &server_ops, b);
}

/* --- client ----------------------------------------------------------------------------------- */

static void client_open(struct conn *c)
{
    (void)c;
}

static void client_input(struct conn *c)
{
    struct bench *b = c->ctx;

    chain_move(&b->in, &c->in, c->in.len);
    if (conn_is_in_ended(c))
        conn_close(c);
}

static void client_close(struct conn *c, int err)
{
    (void)err;
    ((struct bench *)c->ctx)->client = NULL;
}

static const struct conn_handler client = {
    .on_open = client_open, .on_input = client_input, .on_close = client_close};

static void run(struct bench *b)
{
    sim_world_run(b->world, sim_world_now_us(b->world) + 100000);
}

static int setup(void **state)
{
    static struct bench bench;
    struct bench *b = &bench;
    struct addr addr;

    *b = (struct bench){0};
    b->world = sim_world_new(&(struct sim_options){.seed = 3, .pipe_bytes_max = 1 << 20});
    b->turn = turn_new_sim(b->world);
    limits_init(&b->limits);
    b->config = (struct http_server_config){.limits = &b->limits, .path = url_path_options_base};
    b->service = (struct service){&service_ops, b};
    b->filter = (struct filter){&service_filter_ops, &b->service};
    chain_init(&b->in, NULL, NULL);
    nghttp2_hd_inflate_new(&b->inflater);
    addr_parse(STR("10.0.0.1:80"), &addr);
    assert_int_equal(listen_open(b->turn, &addr, &(struct listen_options){.inherited_fd = -1},
                                 on_accept, b, &b->listen),
                     0);
    b->client = conn_connect(b->turn, &addr, &(struct conn_options){.connect_timeout_us = 1000000},
                             &client, b, NULL, NULL);
    b->client->read_max = 1 << 20;
    run(b);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    if (b->client != NULL)
        conn_close(b->client);
    for (int i = 0; i < 20; i++)
        run(b);
    assert_null(b->server);
    listen_close(b->listen);
    run(b);
    chain_deinit(&b->in);
    nghttp2_hd_inflate_del(b->inflater);
    assert_int_equal(turn_account(b->turn)->bytes, 0);
    turn_free(b->turn);
    sim_world_free(b->world);
    return 0;
}

/* --- frames ----------------------------------------------------------------------------------- */

static void put(struct bench *b, const void *bytes, size_t len)
{
    if (b->client == NULL)
        return;
    chain_add(&b->client->out, str_from(bytes, len));
    conn_mark_dirty(b->client);
}

static void put_frame(struct bench *b, uint8_t type, uint8_t flags, uint32_t id, struct str payload)
{
    uint8_t h[9] = {(uint8_t)(payload.len >> 16),
                    (uint8_t)(payload.len >> 8),
                    (uint8_t)payload.len,
                    type,
                    flags,
                    (uint8_t)(id >> 24),
                    (uint8_t)(id >> 16),
                    (uint8_t)(id >> 8),
                    (uint8_t)id};

    put(b, h, sizeof(h));
    if (payload.len > 0)
        put(b, payload.ptr, payload.len);
}

static void put_preface(struct bench *b)
{
    put(b, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    put_frame(b, NGHTTP2_SETTINGS, 0, 0, STR_NULL);
}

/* "name\nvalue\n..." as literals that are not indexed. A name may start with ':'. */
static void add_literals(struct str_buf *to, const char *lines)
{
    struct str rest = str_from_c(lines);

    while (rest.len > 0) {
        struct str name = str_split(&rest, '\n'), value = str_split(&rest, '\n');

        str_buf_add_char(to, 0);
        for (int i = 0; i < 2; i++) {
            struct str s = i == 0 ? name : value;
            assert_true(s.len < 127);
            str_buf_add_char(to, (char)s.len);
            str_buf_add(to, s);
        }
        if (rest.ptr == NULL)
            break;
    }
}

static void put_headers(struct bench *b, uint32_t id, const char *lines, uint8_t flags)
{
    struct str_buf block = STR_BUF_INIT(20000);

    add_literals(&block, lines);
    put_frame(b, NGHTTP2_HEADERS, flags, id, str_buf_str(&block));
    str_buf_deinit(&block);
}

struct answer {
    unsigned status, resets, goaways, headers, data;
    unsigned data_bytes, ends;
    uint32_t reset_code, goaway_code, goaway_last;
};

static uint32_t number_at(struct bench *b, size_t at)
{
    uint8_t n[4] = {0};

    chain_peek(&b->in, at, n, sizeof(n));
    return (uint32_t)n[0] << 24 | (uint32_t)n[1] << 16 | (uint32_t)n[2] << 8 | n[3];
}

static void read_status(struct bench *b, size_t len, struct answer *a)
{
    char block[4096];
    size_t done = 0;
    int flags = 0;

    chain_peek(&b->in, 9, block, len);
    while ((flags & NGHTTP2_HD_INFLATE_FINAL) == 0) {
        nghttp2_nv nv;
        ssize_t n = nghttp2_hd_inflate_hd2(b->inflater, &nv, &flags, (const uint8_t *)block + done,
                                           len - done, 1);
        assert_true(n >= 0);
        done += (size_t)n;
        if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0 && nv.namelen == 7 &&
            memcmp(nv.name, ":status", 7) == 0)
            a->status = (unsigned)strtoul((const char *)nv.value, NULL, 10);
    }
    nghttp2_hd_inflate_end_headers(b->inflater);
}

static struct answer read_answer(struct bench *b)
{
    struct answer a = {0};

    run(b);
    while (b->in.len >= 9) {
        size_t len = number_at(b, 0) >> 8;
        uint8_t type = (uint8_t)number_at(b, 0);

        assert_true(b->in.len >= 9 + len);
        if (type == NGHTTP2_HEADERS) {
            a.headers++;
            read_status(b, len, &a);
        } else if (type == NGHTTP2_DATA) {
            a.data++;
            a.data_bytes += (unsigned)len;
            a.ends += (number_at(b, 1) & NGHTTP2_FLAG_END_STREAM) != 0;
        } else if (type == NGHTTP2_RST_STREAM) {
            a.resets++;
            a.reset_code = number_at(b, 9);
        } else if (type == NGHTTP2_GOAWAY) {
            a.goaways++;
            a.goaway_last = number_at(b, 9);
            a.goaway_code = number_at(b, 13);
        }
        chain_skip(&b->in, 9 + len);
    }
    return a;
}

#define GET ":method\nGET\n:scheme\nhttp\n:authority\nh\n:path\n/\n"
#define POST ":method\nPOST\n:scheme\nhttp\n:authority\nh\n:path\n/\n"

enum { ENDED = NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM };

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
