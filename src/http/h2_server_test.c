/* Raw frames into a server: what is refused, and how (RFC 9113). */
#include <nghttp2/nghttp2.h>
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
    char path[128], authority[64], cookie[64], trailers[128];
    struct outcome bad;
};

/* --- server ----------------------------------------------------------------------------------- */

static void copy(char *to, size_t len, struct str s)
{
    snprintf(to, len, "%.*s", STR_FMT(s));
}

static void on_head(void *service, struct service_stream *s, const struct http_head *head)
{
    struct bench *b = service;

    copy(b->path, sizeof(b->path), head->path);
    copy(b->authority, sizeof(b->authority), head->authority);
    copy(b->cookie, sizeof(b->cookie), http_head_get_named(head, STR("cookie")));
    if (!head->has_body)
        service_reply(s, 200, STR("text/plain"), STR("fine"));
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
    chain_clear(body);
    if (is_ended && service_exchange(s)->flows[SIDE_REQUEST].head->has_body)
        service_reply(s, 200, STR("text/plain"), STR("fine"));
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

static void test_heads(void **state)
{
    static const struct {
        const char *head;
        unsigned status; /* 0: reset with PROTOCOL_ERROR */
        const char *path, *authority;
    } table[] = {
        {GET, 200, "/", "h"},
        {GET "te\ntrailers\n", 200, "/", "h"},
        {":method\nGET\n:scheme\nhttp\n:authority\nH.Test:80\n:path\n/a/../b/%7e?x=%41\n", 200,
         "/b/~?x=%41", "h.test:80"},
        {":method\nGET\n:scheme\nhttp\n:path\n/\nhost\nonly\n", 200, "/", "only"},
        {GET "host\nh\n", 200, "/", "h"},
        {GET "host\nh:80\n", 200, "/", "h"},
        {GET "host\nother\n", 400, NULL, NULL},
        {":method\nGET\n:scheme\nhttp\n:authority\nu@h\n:path\n/\n", 400, NULL, NULL},
        {":method\nGET\n:scheme\nhttp\n:authority\nh\n:path\n/../x\n", 400, NULL, NULL},
        {":method\nGET\n:scheme\nhttp\n:authority\nh\n:path\n/a#b\n", 400, NULL, NULL},
        {":method\nGET\n:scheme\nhttp\n:authority\nh\n:path\n/%00\n", 400, NULL, NULL},
        {":method\nOPTIONS\n:scheme\nhttp\n:authority\nh\n:path\n*\n", 200, "*", "h"},
        {GET "expect\nmiracles\n", 417, NULL, NULL},
        {":method\nCONNECT\n:authority\nh:1\n", 501, NULL, NULL},
        {":method\nGET /x\n:scheme\nhttp\n:authority\nh\n:path\n/\n", 0, NULL, NULL},
        {":method\n\n:scheme\nhttp\n:authority\nh\n:path\n/\n", 0, NULL, NULL},
        {":method\nGET\n:scheme\nhttp\n:authority\nh\n:path\n/ x\n", 0, NULL, NULL},
        {":method\nGET\n:scheme\nhttp\n:authority\nh h\n:path\n/\n", 0, NULL, NULL},
        {":method\nGET\n:scheme\nftp\n:authority\nh\n:path\n/\n", 0, NULL, NULL},
        {":method\nGET\n:scheme\nhttp\n:authority\nh\n", 0, NULL, NULL},
        {GET ":path\n/again\n", 0, NULL, NULL},
        {GET "x-a\n1\n:method\nGET\n", 0, NULL, NULL},
        {GET ":protocol\nwebsocket\n", 0, NULL, NULL},
        {GET "X-Upper\n1\n", 0, NULL, NULL},
        {GET "connection\nclose\n", 0, NULL, NULL},
        {GET "transfer-encoding\nchunked\n", 0, NULL, NULL},
        {GET "upgrade\nh2c\n", 0, NULL, NULL},
        {GET "te\ngzip\n", 0, NULL, NULL},
        {GET "bad name\n1\n", 0, NULL, NULL},
        {GET "x-a\nbad\x01value\n", 0, NULL, NULL},
        {GET "host\nh\nhost\nh\n", 0, NULL, NULL},
        {GET "content-length\n5\n", 0, NULL, NULL},
        {GET "content-length\n0\ncontent-length\n0\n", 0, NULL, NULL},
        {GET "content-length\n+0\n", 0, NULL, NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        assert_int_equal(setup(state), 0);
        struct bench *b = *state;

        put_preface(b);
        put_headers(b, 1, table[i].head, ENDED);
        struct answer a = read_answer(b);
        if (a.status != table[i].status || a.resets != (table[i].status == 0 ? 1u : 0u))
            fail_msg("head %zu: status %u, %u resets", i, a.status, a.resets);
        if (table[i].status == 0)
            assert_int_equal(a.reset_code, NGHTTP2_PROTOCOL_ERROR);
        if (table[i].path != NULL) {
            assert_string_equal(b->path, table[i].path);
            assert_string_equal(b->authority, table[i].authority);
        } else {
            assert_int_equal(b->exchanges, 0);
        }
        assert_int_equal(teardown(state), 0);
    }
}

static void test_cookies_are_joined(void **state)
{
    struct bench *b = *state;

    put_preface(b);
    put_headers(b, 1, GET "cookie\na=1\nx\ny\ncookie\nb=2\n", ENDED);
    assert_int_equal(read_answer(b).status, 200);
    assert_string_equal(b->cookie, "a=1; b=2");
}

static void test_limits(void **state)
{
    struct bench *b = *state;
    struct str_buf lines = STR_BUF_INIT(20000);

    b->limits.header_count_max = 50;
    put_preface(b);
    str_buf_add_c(&lines, GET);
    for (int i = 0; i < 60; i++)
        str_buf_printf(&lines, "x-%d\n1\n", i);
    str_buf_add_char(&lines, '\0');
    put_headers(b, 1, lines.ptr, ENDED);
    assert_int_equal(read_answer(b).status, 431);
    assert_int_equal(b->bad_requests, 1);
    assert_int_equal(b->bad.err, -ERR_TOO_LARGE);
    put_headers(b, 3, GET, ENDED); /* the connection goes on */
    struct answer a = read_answer(b);
    assert_int_equal(a.headers, 1);
    assert_int_equal(b->exchanges, 1);
    str_buf_deinit(&lines);
}

static void test_length_mismatch(void **state)
{
    struct bench *b = *state;

    put_preface(b);
    put_headers(b, 1, POST "content-length\n5\n", NGHTTP2_FLAG_END_HEADERS);
    put_frame(b, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, STR("abc"));
    struct answer a = read_answer(b);
    assert_int_equal(a.resets, 1);
    assert_int_equal(a.reset_code, NGHTTP2_PROTOCOL_ERROR);
    assert_int_equal(a.headers, 0);
}

static void test_trailers_are_checked(void **state)
{
    struct bench *b = *state;

    put_preface(b);
    put_headers(b, 1, POST, NGHTTP2_FLAG_END_HEADERS);
    put_frame(b, NGHTTP2_DATA, 0, 1, STR("abc"));
    put_headers(b, 1, "content-length\n3\n", ENDED);
    struct answer a = read_answer(b);
    assert_int_equal(a.resets, 1);
    assert_int_equal(a.headers, 0);
}

/* As in HTTP/1: behind the body nobody looks for who calls, so nothing of that kind passes. */
static void test_trailers_say_no_identity(void **state)
{
    struct bench *b = *state;

    put_preface(b);
    put_headers(b, 1, POST, NGHTTP2_FLAG_END_HEADERS);
    put_frame(b, NGHTTP2_DATA, 0, 1, STR("abc"));
    put_headers(b, 1,
                "x-sum\n3\nx-forwarded-client-cert\nURI=spiffe://a/ns/b/sa/c\n"
                "authorization\nBearer x\nx-tulle-version\n1.0\n",
                ENDED);
    assert_int_equal(read_answer(b).status, 200);
    assert_string_equal(b->trailers, "x-sum ");
}

static void test_continuations(void **state)
{
    struct bench *b = *state;
    struct str_buf block = STR_BUF_INIT(1000);

    put_preface(b);
    add_literals(&block, GET "x-a\n1\n");
    struct str all = str_buf_str(&block);
    put_frame(b, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM, 1, str_sub(all, 0, 7));
    put_frame(b, NGHTTP2_CONTINUATION, 0, 1, str_sub(all, 7, 5));
    put_frame(b, NGHTTP2_CONTINUATION, NGHTTP2_FLAG_END_HEADERS, 1, str_skip(all, 12));
    assert_int_equal(read_answer(b).status, 200);
    put_frame(b, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM, 3, str_sub(all, 0, 7));
    for (int i = 0; i < 100; i++)
        put_frame(b, NGHTTP2_CONTINUATION, 0, 3, STR_NULL);
    read_answer(b);
    assert_null(b->server); /* closed */
    str_buf_deinit(&block);
}

/* Frames that cost us and bring nothing. */
static void test_floods(void **state)
{
    for (int kind = 0; kind < 4; kind++) {
        assert_int_equal(setup(state), 0);
        struct bench *b = *state;

        put_preface(b);
        if (kind == 2)
            put_headers(b, 1, POST, NGHTTP2_FLAG_END_HEADERS);
        for (uint32_t i = 0; i < 11000 && b->client != NULL; i++) {
            if (kind == 0)
                put_frame(b, NGHTTP2_PING, 0, 0, STR("12345678"));
            else if (kind == 1)
                put_frame(b, NGHTTP2_SETTINGS, 0, 0, STR_NULL);
            else if (kind == 2)
                put_frame(b, NGHTTP2_DATA, 0, 1, STR_NULL);
            else {
                put_headers(b, 1 + 2 * i, GET, ENDED);
                put_frame(b, NGHTTP2_RST_STREAM, 0, 1 + 2 * i, str_from("\0\0\0\x08", 4));
            }
            if (i % 500 == 499) {
                sim_world_run(b->world, sim_world_now_us(b->world) + 1000);
                b->in.len > 900000 ? chain_clear(&b->in) : (void)0;
            }
        }
        run(b);
        assert_null(b->server);
        assert_int_equal(teardown(state), 0);
    }
}

static void test_drain_in_two_steps(void **state)
{
    struct bench *b = *state;

    put_preface(b);
    put_headers(b, 1, POST, NGHTTP2_FLAG_END_HEADERS);
    read_answer(b);
    http_server_drain(b->server);
    struct answer a = read_answer(b);
    assert_int_equal(a.goaways, 1);
    assert_int_equal(a.goaway_last, INT32_MAX);
    put_headers(b, 3, GET, ENDED); /* was on its way */
    assert_int_equal(read_answer(b).headers, 1);
    for (int i = 0; i < 10; i++)
        run(b);
    a = read_answer(b); /* no answer to the PING: after a second all the same */
    assert_int_equal(a.goaways, 1);
    assert_int_equal(a.goaway_last, 3);
    assert_non_null(b->server);
    put_frame(b, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, STR("abc"));
    assert_int_equal(read_answer(b).headers, 1);
    run(b);
    assert_null(b->server);
    assert_int_equal(b->exchanges, 2);
}

static void test_slow_head(void **state)
{
    struct bench *b = *state;

    b->config.headers_timeout_us = 50000;
    put_preface(b);
    put_headers(b, 1, GET, NGHTTP2_FLAG_END_STREAM);
    struct answer a = read_answer(b);
    assert_int_equal(a.goaways, 1);
    assert_int_equal(a.goaway_code, NGHTTP2_ENHANCE_YOUR_CALM);
    run(b);
    assert_null(b->server);
    assert_int_equal(b->exchanges, 0);
}

/* A stream that nobody reads holds its window, not the connection's. */
static void test_windows(void **state)
{
    struct bench *b = *state;
    static char data[16384];
    size_t updates = 0;

    put_preface(b);
    put_headers(b, 1, POST, NGHTTP2_FLAG_END_HEADERS);
    for (int i = 0; i < 3; i++)
        put_frame(b, NGHTTP2_DATA, 0, 1, str_from(data, sizeof(data)));
    run(b);
    for (; b->in.len >= 9; chain_skip(&b->in, 9 + (number_at(b, 0) >> 8)))
        updates += (uint8_t)number_at(b, 0) == NGHTTP2_WINDOW_UPDATE && number_at(b, 5) == 1;
    assert_true(updates > 0); /* the service took it all */
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads),
        TEST(cookies_are_joined),
        TEST(limits),
        TEST(length_mismatch),
        TEST(trailers_are_checked),
        TEST(trailers_say_no_identity),
        TEST(continuations),
        cmocka_unit_test(test_floods),
        TEST(drain_in_two_steps),
        TEST(slow_head),
        TEST(windows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
