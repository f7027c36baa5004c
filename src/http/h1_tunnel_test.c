/* Tunnels over HTTP/1 (upgrades, CONNECT) and informational responses, on the simulated backend,
 * the peers on both sides being raw. */
#include "http/h1_ends_test_util.h"

static int setup(void **state)
{
    start_world(0);
    w.server_config.accept_upgrade = true;
    return 0;
}

static int setup_byte_by_byte(void **state)
{
    start_world(1);
    w.server_config.accept_upgrade = true;
    return 0;
}

#define ASK                                                                                        \
    "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"   \
    "Sec-WebSocket-Key: k\r\n\r\n"
#define ASKED                                                                                      \
    "GET /chat HTTP/1.1\r\nhost: a\r\nsec-websocket-key: k\r\nconnection: upgrade\r\n"             \
    "upgrade: websocket\r\n\r\n"
#define YES                                                                                        \
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX: "         \
    "1\r\n\r\n"
#define SAID                                                                                       \
    "HTTP/1.1 101 Switching Protocols\r\nx: 1\r\nconnection: upgrade\r\nupgrade: "                 \
    "websocket\r\n\r\n"

static void open_websocket(void)
{
    say(C, ASK);
    expect(O, ASKED);
    say(O, YES);
    expect(C, SAID);
}

/* --- upgrades ------------------------------------------------------------------------------- */

static void test_upgrade(void **state)
{
    open_websocket();
    say(C, "ping");
    expect(O, "ping");
    say(O, "pong");
    expect(C, "pong");
    assert_int_equal(w.ends, 0);
    conn_end(O->conn);
    run();
    assert_true(conn_is_in_ended(C->conn));
    conn_end(C->conn);
    run();
    assert_int_equal(w.ends, 1);
    assert_int_equal(w.outcome.err, 0);
    assert_null(w.upstream);
    assert_null(w.server);
}

/* What comes in one piece with the heads belongs to the tunnel. */
static void test_bytes_behind_the_heads(void **state)
{
    say(C, ASK "early");
    expect(O, ASKED);
    say(O, YES "first");
    expect(C, SAID "first");
    expect(O, "early");
}

static void test_half_close_by_the_client(void **state)
{
    open_websocket();
    say(C, "last");
    conn_end(C->conn);
    run();
    expect(O, "last");
    assert_true(conn_is_in_ended(O->conn));
    say(O, "more");
    expect(C, "more");
    assert_int_equal(w.ends, 0);
    conn_end(O->conn);
    run();
    assert_int_equal(w.ends, 1);
    assert_int_equal(w.outcome.err, 0);
}

static void test_half_close_by_the_server(void **state)
{
    open_websocket();
    conn_end(O->conn);
    run();
    assert_true(conn_is_in_ended(C->conn));
    say(C, "still here");
    expect(O, "still here");
    assert_int_equal(w.ends, 0);
}

static void test_resets_pass(void **state)
{
    open_websocket();
    conn_abort(C->conn, -ERR_CANCELED);
    run();
    assert_int_equal(O->closes, 1);
    assert_int_equal(O->err, -ERR_RESET);
    assert_int_equal(w.ends, 1);
    assert_true((w.outcome.flags & FLAG_BIT(DOWNSTREAM_CLOSED)) != 0);
    connect_client();
    say(C, ASK);
    say(O2, YES);
    conn_abort(O2->conn, -ERR_CANCELED);
    run();
    assert_int_equal(C->closes, 1);
    assert_int_equal(C->err, -ERR_RESET);
    assert_int_equal(w.ends, 2);
}

/* Nothing of what was sent ahead reaches a server that refuses, nor is it taken for a request. */
static void test_refused(void **state)
{
    say(C, ASK "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(O, ASKED);
    say(O, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    expect(C, "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno");
    expect(O, "");
    assert_true(conn_is_in_ended(C->conn));
    assert_int_equal(w.exchanges, 1);
    assert_int_equal(w.outcome.err, 0);
    /* The server's connection is as good as new. */
    assert_non_null(w.upstream);
    assert_int_equal(O->closes, 0);
}

static void test_refused_by_200(void **state)
{
    say(C, ASK);
    say(O, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
    expect(O, ASKED);
    expect(C,
           "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n2\r\nhi\r\n"
           "0\r\n\r\n");
    assert_int_equal(w.outcome.err, 0);
}

static void test_answered_locally(void **state)
{
    w.reply_status = 403;
    say(C, ASK "ahead");
    expect(C, "HTTP/1.1 403 Forbidden\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n"
              "connection: close\r\n\r\nno");
    assert_true(conn_is_in_ended(C->conn));
    assert_int_equal(w.origin_count, 0);
}

static void check_bad_switch(const char *request, const char *answer)
{
    int origin = w.origin_count;

    connect_client();
    say(C, request);
    say(&w.origins[origin], answer);
    if (strncmp(C->got.ptr, "HTTP/1.1 502 Bad Gateway\r\n", 26) != 0)
        fail_msg("got %s", C->got.ptr);
    assert_true((w.outcome.flags & FLAG_BIT(UPSTREAM_PROTOCOL)) != 0);
    assert_int_equal(w.origins[origin].closes, 1);
    if (C->conn != NULL)
        conn_abort(C->conn, -ERR_CANCELED);
    run();
}

static void test_bad_switches(void **state)
{
    conn_abort(C->conn, -ERR_CANCELED);
    run();
    check_bad_switch(ASK, "HTTP/1.1 101 S\r\nUpgrade: other\r\nConnection: upgrade\r\n\r\n");
    check_bad_switch(ASK, "HTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n");
    check_bad_switch(ASK, "HTTP/1.1 101 S\r\nConnection: upgrade\r\n\r\n");
    check_bad_switch("GET / HTTP/1.1\r\nHost: a\r\n\r\n", YES);
    check_bad_switch("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", YES);
}

/* Not an upgrade, whatever the field says: served as any other, without the field. */
static void test_not_an_upgrade(void **state)
{
    static const char *const requests[] = {
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"
         "HTTP2-Settings: AA\r\n\r\n"),
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: a\r\nUpgrade: b\r\nConnection: upgrade\r\n\r\n",
    };

    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        say(C, requests[i]);
        expect(O, "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        say(O, "HTTP/1.1 204 No Content\r\n\r\n");
        expect(C, "HTTP/1.1 204 No Content\r\n\r\n");
    }
    say(C, "POST / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
           "Content-Length: 2\r\n\r\nhi");
    expect(O, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi");
}

static void test_not_accepted(void **state)
{
    w.server_config.accept_upgrade = false;
    say(C, ASK);
    expect(O, "GET /chat HTTP/1.1\r\nhost: a\r\nsec-websocket-key: k\r\n\r\n");
}

/* A tunnel is open when draining begins: it goes on. */
static void test_draining(void **state)
{
    open_websocket();
    http_server_drain(w.server);
    http_client_drain(w.upstream);
    run();
    say(C, "ping");
    expect(O, "ping");
    say(O, "pong");
    expect(C, "pong");
}

static void test_idle(void **state)
{
    w.server_config.stream_idle_timeout_us = 5000000;
    open_websocket();
    run_us(3000000);
    say(O, "x");
    run_us(3000000);
    say(C, "x");
    run_us(3000000);
    assert_int_equal(w.ends, 0);
    run_us(4000000);
    assert_int_equal(w.ends, 1);
    assert_true((w.outcome.flags & FLAG_BIT(STREAM_IDLE)) != 0);
    assert_int_equal(C->closes, 1);
    assert_int_equal(O->closes, 1);
}

/* --- CONNECT -------------------------------------------------------------------------------- */

static void test_connect(void **state)
{
    say(C, "CONNECT db:5432 HTTP/1.1\r\nHost: other\r\nX: 1\r\n\r\nearly");
    expect(O, "CONNECT db:5432 HTTP/1.1\r\nhost: db:5432\r\nx: 1\r\n\r\n");
    /* RFC 9112 6.3: these fields mean nothing here. */
    say(O, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef");
    expect(C, "HTTP/1.1 200 OK\r\n\r\nabcdef");
    expect(O, "early");
    conn_end(C->conn);
    run();
    say(O, "bye");
    expect(C, "bye");
    conn_end(O->conn);
    run();
    assert_int_equal(w.ends, 1);
    assert_int_equal(w.outcome.err, 0);
}

static void test_connect_refused(void **state)
{
    say(C, "CONNECT db:5432 HTTP/1.1\r\nHost: db\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    say(O, "HTTP/1.1 407 No\r\nContent-Length: 1\r\n\r\nx");
    expect(C, "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 1\r\n"
              "connection: close\r\n\r\nx");
    assert_int_equal(w.exchanges, 1);
}

static void test_connect_invalid(void **state)
{
    static const char *const requests[] = {
        "CONNECT db HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT u@a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a:0 HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a:80 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
        "CONNECT a:80 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    };

    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        if (C->conn != NULL)
            conn_abort(C->conn, -ERR_CANCELED);
        run();
        connect_client();
        say(C, requests[i]);
        if (strncmp(C->got.ptr, "HTTP/1.1 400 Bad Request\r\n", 26) != 0)
            fail_msg("%s got %s", requests[i], C->got.ptr);
    }
    assert_int_equal(w.bad_requests, ARRAY_LEN(requests));
    assert_int_equal(w.origin_count, 0);
}

/* --- informational responses ---------------------------------------------------------------- */

static void test_early_hints(void **state)
{
    say(C, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    say(O, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    expect(C, "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
    say(O, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
           "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    expect(C, "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
    assert_int_equal(w.outcome.err, 0);
}

static void test_early_hints_http_10(void **state)
{
    say(C, "GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    say(O, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
    expect(C, "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define TEST_BYTES(f) cmocka_unit_test_setup_teardown(f, setup_byte_by_byte, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_upgrade),
        TEST_BYTES(test_upgrade),
        TEST(test_bytes_behind_the_heads),
        TEST_BYTES(test_bytes_behind_the_heads),
        TEST(test_half_close_by_the_client),
        TEST(test_half_close_by_the_server),
        TEST(test_resets_pass),
        TEST(test_refused),
        TEST_BYTES(test_refused),
        TEST(test_refused_by_200),
        TEST(test_answered_locally),
        TEST(test_bad_switches),
        TEST(test_not_an_upgrade),
        TEST(test_not_accepted),
        TEST(test_draining),
        TEST(test_idle),
        TEST(test_connect),
        TEST_BYTES(test_connect),
        TEST(test_connect_refused),
        TEST(test_connect_invalid),
        TEST(test_early_hints),
        TEST_BYTES(test_early_hints),
        TEST(test_early_hints_http_10),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
