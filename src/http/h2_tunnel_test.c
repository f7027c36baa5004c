/* Tunnels into an HTTP/2 server by raw frames: CONNECT (RFC 9113 8.5), with a protocol (RFC 8441).
 */
#include <nghttp2/nghttp2.h>

#include "http/h2_test_util.h"

#define CHAT ":method\nCONNECT\n:protocol\nWebSocket\n:scheme\nhttp\n:authority\nh\n:path\n/chat\n"

static int setup_tunnel(void **state)
{
    int err = setup(state);
    struct bench *b = *state;

    /* The first connection has said its SETTINGS already. */
    conn_close(b->client);
    run(b);
    b->config.allow_connect = true;
    b->tunnel_status = 101;
    b->client =
        conn_connect(b->turn, listen_addr(b->listen),
                     &(struct conn_options){.connect_timeout_us = 1000000}, &client, b, NULL, NULL);
    b->client->read_max = 1 << 20;
    put_preface(b);
    run(b);
    return err;
}

static void test_offered(void **state)
{
    struct bench *b = *state;
    char settings[24] = {0};

    assert_int_equal(number_at(b, 0) >> 8, 24);
    chain_peek(&b->in, 9, settings, sizeof(settings));
    assert_memory_equal(settings + 18, "\0\x08\0\0\0\1", 6);
}

static void test_websocket(void **state)
{
    struct bench *b = *state;

    put_headers(b, 1, CHAT "content-length\n3\n", NGHTTP2_FLAG_END_HEADERS);
    struct answer a = read_answer(b);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.ends, 0);
    assert_string_equal(b->method, "GET");
    assert_string_equal(b->protocol, "websocket");
    assert_string_equal(b->path, "/chat");
    put_frame(b, NGHTTP2_DATA, 0, 1, STR("hello"));
    a = read_answer(b);
    assert_int_equal(a.data_bytes, 5);
    assert_int_equal(a.ends, 0);
    put_frame(b, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, STR("bye"));
    a = read_answer(b);
    assert_int_equal(a.data_bytes, 3);
    assert_int_equal(a.ends, 1);
    assert_int_equal(a.resets, 0);
    assert_int_equal(b->ends, 1);
}

static void test_ended_at_once(void **state)
{
    struct bench *b = *state;

    put_headers(b, 1, CHAT, ENDED);
    struct answer a = read_answer(b);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.resets, 0);
    assert_int_equal(b->ends, 1);
}

static void test_refused(void **state)
{
    struct bench *b = *state;

    b->tunnel_status = 304;
    put_headers(b, 1, CHAT, NGHTTP2_FLAG_END_HEADERS);
    struct answer a = read_answer(b);
    assert_int_equal(a.status, 304);
    assert_int_equal(a.resets, 1); /* what is sent behind it is not wanted */
    assert_int_equal(a.reset_code, NGHTTP2_NO_ERROR);
    assert_int_equal(b->ends, 1);
}

/* To a client any 2xx is a tunnel. */
static void test_refused_by_success(void **state)
{
    struct bench *b = *state;

    b->tunnel_status = 204;
    put_headers(b, 1, CHAT, NGHTTP2_FLAG_END_HEADERS);
    struct answer a = read_answer(b);
    assert_int_equal(a.status, 502);
    assert_int_equal(a.resets, 1);
    assert_int_equal(b->ends, 1);
}

static void test_connect(void **state)
{
    struct bench *b = *state;

    b->tunnel_status = 200;
    put_headers(b, 1, ":method\nCONNECT\n:authority\ndb:5432\n", NGHTTP2_FLAG_END_HEADERS);
    assert_int_equal(read_answer(b).status, 200);
    assert_string_equal(b->method, "CONNECT");
    assert_string_equal(b->authority, "db:5432");
    put_frame(b, NGHTTP2_DATA, 0, 1, STR("hello"));
    assert_int_equal(read_answer(b).data_bytes, 5);
    put_frame(b, NGHTTP2_RST_STREAM, 0, 1, str_from("\0\0\0\x08", 4));
    run(b);
    assert_int_equal(b->ends, 1);
}

static void test_bad_heads(void **state)
{
    static const struct {
        const char *head;
        unsigned status; /* 0: reset */
    } table[] = {
        {":method\nGET\n:protocol\nwebsocket\n:scheme\nhttp\n:authority\nh\n:path\n/\n", 0},
        {":method\nCONNECT\n:protocol\nwebsocket\n:authority\nh\n:path\n/\n", 0},
        {":method\nCONNECT\n:protocol\nwebsocket\n:scheme\nhttp\n:authority\nh\n", 0},
        {":method\nCONNECT\n:protocol\nweb socket\n:scheme\nhttp\n:authority\nh\n:path\n/\n", 0},
        {CHAT ":protocol\nwebsocket\n", 0},
        {CHAT "upgrade\nwebsocket\n", 0},
        {":method\nCONNECT\n:authority\ndb:1\n:path\n/\n", 0},
        {":method\nCONNECT\n:authority\ndb:1\n:scheme\nhttp\n", 0},
        {":method\nCONNECT\nhost\ndb:1\n", 0},
        {":method\nCONNECT\n:authority\ndb\n", 400},
        {":method\nCONNECT\n:authority\ndb:0\n", 400},
        {":method\nCONNECT\n:authority\ndb:65536\n", 400},
        {":method\nCONNECT\n:authority\n:80\n", 400},
        {":method\nCONNECT\n:authority\ndb:1\nhost\nother:1\n", 400},
    };
    struct bench *b = *state;

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        put_headers(b, 1 + 2 * (uint32_t)i, table[i].head, NGHTTP2_FLAG_END_HEADERS);
        struct answer a = read_answer(b);
        if (a.status != table[i].status || a.resets != 1 || a.goaways != 0)
            fail_msg("row %zu: status %u", i, a.status);
    }
    assert_int_equal(b->exchanges, 0);
}

#define TUNNEL(name) cmocka_unit_test_setup_teardown(test_##name, setup_tunnel, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TUNNEL(offered),   TUNNEL(websocket),          TUNNEL(ended_at_once),
        TUNNEL(refused),   TUNNEL(refused_by_success), TUNNEL(connect),
        TUNNEL(bad_heads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
