/* Raw frames into a server: what is refused, and how (RFC 9113). */
#include <nghttp2/nghttp2.h>

#include "http/h2_test_util.h"

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
        {":method\nGET\n:scheme\nHTTPS\n:authority\nh\n:path\n/\n", 200, "/", "h"},
        {":method\nGET\n:scheme\nhttps \n:authority\nh\n:path\n/\n", 0, NULL, NULL},
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

/* A unix socket's path, as newer clients of gRPC write it; servers of hosts refuse it. */
static void test_authority_that_nobody_reads(void **state)
{
    static const char head[] =
        ":method\nPOST\n:scheme\nhttp\n:authority\n%2Frun%2Fxds.sock\n:path\n/\n";
    struct bench *b = *state;

    put_preface(b);
    put_headers(b, 1, head, ENDED);
    assert_int_equal(read_answer(b).status, 400);
    assert_int_equal(b->exchanges, 0);
    assert_int_equal(teardown(state), 0);
    assert_int_equal(setup(state), 0);
    b = *state;
    b->config.path.is_authority_unread = true;
    put_preface(b);
    put_headers(b, 1, head, ENDED);
    assert_int_equal(read_answer(b).status, 200);
    assert_string_equal(b->authority, "");
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads),
        TEST(authority_that_nobody_reads),
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
