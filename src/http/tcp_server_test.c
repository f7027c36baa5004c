/* A tunnel that begins at a connection without HTTP, towards one that ends it (tcp_client) or
 * passes it on (HTTP/1), on the simulated backend. */
#include "http/tcp_server.h"

#include "http/h1_ends_test_util.h"

static struct tcp_server *tcp; /* NULL once closed */
static struct downstream_info tcp_info;
static uint64_t linger_us;

static void on_tcp_close(void *ctx, int err)
{
    tcp = NULL;
}

static const struct tcp_server_ops tcp_ops = {on_tcp_close};

static void accept_tcp(void *ctx, struct conn *c)
{
    tcp_info = (struct downstream_info){.local = c->local, .remote = c->remote};
    tcp = tcp_server_open(c, &w.limits, linger_us, &tcp_info, &tcp_ops, NULL);
    on_exchange(NULL, tcp_server_exchange(tcp));
    struct http_head *head = tcp_server_start(tcp, STR("db:5432"));
    http_head_add_named(head, STR("x"), STR("1"));
}

static int set_up(uint32_t piece_bytes_max, enum http_version version)
{
    start_world(piece_bytes_max);
    conn_abort(C->conn, -ERR_CANCELED); /* it came as HTTP */
    run();
    linger_us = 0;
    w.version = version;
    w.accept = accept_tcp;
    connect_client();
    return 0;
}

static int setup(void **state)
{
    return set_up(0, HTTP_NONE);
}

static int setup_byte_by_byte(void **state)
{
    return set_up(1, HTTP_NONE);
}

static int setup_http1(void **state)
{
    return set_up(0, HTTP_11);
}

static int teardown_all(void **state)
{
    teardown(state);
    assert_null(tcp);
    return 0;
}

static void test_bytes(void **state)
{
    say(C, "ping");
    expect(O, "ping");
    say(O, "pong");
    expect(C, "pong");
    conn_end(O->conn);
    run();
    assert_true(conn_is_in_ended(C->conn));
    conn_end(C->conn);
    run();
    assert_int_equal(w.ends, 1);
    assert_int_equal(w.outcome.err, 0);
    assert_int_equal(C->closes, 1);
    assert_int_equal(O->closes, 1);
}

static void test_a_server_that_speaks_first(void **state)
{
    say(O, "220 hello");
    expect(C, "220 hello");
}

static void test_half_close_by_the_client(void **state)
{
    say(C, "last");
    conn_end(C->conn);
    run();
    expect(O, "last");
    assert_true(conn_is_in_ended(O->conn));
    say(O, "more");
    expect(C, "more");
    assert_int_equal(w.ends, 0);
}

static void test_half_close_by_the_server(void **state)
{
    conn_end(O->conn);
    run();
    assert_true(conn_is_in_ended(C->conn));
    say(C, "still here");
    expect(O, "still here");
    assert_int_equal(w.ends, 0);
}

static void test_resets_pass(void **state)
{
    conn_abort(C->conn, -ERR_CANCELED);
    run();
    assert_int_equal(O->closes, 1);
    assert_int_equal(O->err, -ERR_RESET);
    connect_client();
    conn_abort(O2->conn, -ERR_CANCELED);
    run();
    assert_int_equal(C->closes, 1);
    assert_int_equal(C->err, -ERR_RESET);
    assert_int_equal(w.ends, 2);
}

/* The owner's word, too, and both sides hear of it. */
static void test_abort(void **state)
{
    tcp_server_abort(tcp, -ERR_DENIED);
    run();
    assert_int_equal(C->err, -ERR_RESET);
    assert_int_equal(O->err, -ERR_RESET);
}

static void refused_by(unsigned status)
{
    conn_abort(C->conn, -ERR_CANCELED);
    run();
    w.reply_status = status;
    C->err = 0;
    connect_client();
    assert_int_equal(C->closes + (C->conn != NULL && conn_is_in_ended(C->conn)), 1);
    expect(C, ""); /* what the answer says is for nobody here */
}

static void test_refused_for_good_reason(void **state)
{
    refused_by(403);
    assert_int_equal(C->err, 0);
}

static void test_refused(void **state)
{
    refused_by(503);
    assert_int_equal(C->err, -ERR_RESET);
}

static void test_passed_on_by_http1(void **state)
{
    say(C, "early");
    expect(O, "CONNECT db:5432 HTTP/1.1\r\nhost: db:5432\r\nx: 1\r\n\r\n");
    say(O, "HTTP/1.1 200 OK\r\n\r\nfirst");
    expect(C, "first");
    expect(O, "early");
    conn_end(C->conn);
    run();
    assert_true(conn_is_in_ended(O->conn));
    say(O, "bye");
    expect(C, "bye");
}

/* A 200 to a client that has left is no answer that anybody waits for. */
static void test_client_leaves_before_the_answer(void **state)
{
    conn_abort(C->conn, -ERR_CANCELED);
    run();
    assert_int_equal(O->closes, 1);
    assert_int_equal(w.ends, 1);
    assert_true((w.outcome.flags & FLAG_BIT(DOWNSTREAM_CLOSED)) != 0);
}

static void say_much(struct peer *p, size_t len)
{
    char *bytes = mem_zalloc(len);

    say_bytes(p, str_from(bytes, len));
    free(bytes);
}

static void test_who_does_not_read_holds_the_other_back(void **state)
{
    enum { MUCH = 1 << 20, HELD_MAX = 160 * 1024 };
    struct peer *const sides[2][2] = {{C, O}, {O, C}};

    for (int i = 0; i < 2; i++) {
        struct peer *from = sides[i][0], *to = sides[i][1];
        int64_t peers_own = MUCH;

        conn_pause(to->conn);
        say_much(from, MUCH);
        run_us(5000000);
        peers_own = (int64_t)conn_out_len(from->conn);
        assert_true(peers_own > MUCH / 2);
        assert_true(turn_account(w.turn)->bytes - peers_own < HELD_MAX);
        conn_resume(to->conn);
        run_us(30000000);
        assert_int_equal(to->got.len, MUCH);
        str_buf_reset(&to->got);
    }
}

/* Both ways have ended; the last bytes wait for a client that takes its time. */
static void end_with_a_slow_reader(void)
{
    conn_pause(C->conn);
    conn_end(C->conn);
    run();
    say_much(O, 80000);
    conn_end(O->conn);
    run_us(20000000);
}

static void test_a_slow_reader_gets_all(void **state)
{
    end_with_a_slow_reader();
    conn_resume(C->conn);
    run_us(20000000);
    assert_int_equal(C->got.len, 80000);
    assert_int_equal(C->err, 0);
    assert_int_equal(w.outcome.err, 0);
}

/* A server that has said all and does not listen any more takes nothing back of what it said. */
static void test_a_slow_reader_gets_all_of_a_server_that_leaves(void **state)
{
    conn_pause(C->conn);
    say_much(O, 90000);
    conn_end(O->conn);
    run_us(1000000);
    conn_abort(O->conn, -ERR_CANCELED);
    say(C, "too late");
    run_us(1000000);
    conn_resume(C->conn);
    run_us(1000000);
    assert_int_equal(C->got.len, 90000);
    assert_int_equal(w.ends, 1);
}

static void test_a_reader_that_never_reads_is_left(void **state)
{
    conn_abort(C->conn, -ERR_CANCELED);
    run();
    linger_us = 5000000;
    connect_client();
    conn_pause(C->conn);
    conn_end(C->conn);
    run();
    say_much(O2, 80000);
    conn_end(O2->conn);
    run_us(20000000);
    assert_null(tcp);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown_all)
#define TEST_BYTES(f) cmocka_unit_test_setup_teardown(f, setup_byte_by_byte, teardown_all)
#define TEST_HTTP1(f) cmocka_unit_test_setup_teardown(f, setup_http1, teardown_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_bytes),
        TEST_BYTES(test_bytes),
        TEST(test_a_server_that_speaks_first),
        TEST(test_half_close_by_the_client),
        TEST(test_half_close_by_the_server),
        TEST(test_resets_pass),
        TEST(test_abort),
        TEST(test_refused_for_good_reason),
        TEST(test_refused),
        TEST_HTTP1(test_passed_on_by_http1),
        TEST_HTTP1(test_client_leaves_before_the_answer),
        TEST(test_who_does_not_read_holds_the_other_back),
        TEST(test_a_slow_reader_gets_all),
        TEST(test_a_slow_reader_gets_all_of_a_server_that_leaves),
        TEST(test_a_reader_that_never_reads_is_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
