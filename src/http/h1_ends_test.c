#include "http/h1_ends_test_util.h"
#include "http/http_priv.h"

static int setup(void **state)
{
    return start_world(0);
}

static int setup_byte_by_byte(void **state)
{
    return start_world(1);
}

/* --- plain exchanges -------------------------------------------------------------------------- */

static void test_get(void **state)
{
    say(C, "GET /a?b HTTP/1.1\r\nHost: A:1\r\nX-Q: 1\r\n\r\n");
    expect(O, "GET /a?b HTTP/1.1\r\nhost: a:1\r\nx-q: 1\r\n\r\n");
    say(O, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-R: 2\r\n\r\nhello");
    expect(C, "HTTP/1.1 200 OK\r\nx-r: 2\r\ncontent-length: 5\r\n\r\nhello");
    assert_int_equal(w.outcome.err, 0);
    /* Both connections are used again. */
    say(C, "\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(O, "GET /b HTTP/1.1\r\nhost: a\r\n\r\n");
    say(O, "HTTP/1.1 404 Nope\r\nContent-Length: 0\r\n\r\n");
    expect(C, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
    assert_int_equal(w.origin_count, 1);
    assert_int_equal(w.ends, 2);
}

static void test_post_length(void **state)
{
    say(C, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234");
    expect(O, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n01234");
    say(C, "56789");
    expect(O, "56789");
    say(O, "HTTP/1.1 204 No Content\r\n\r\n");
    expect(C, "HTTP/1.1 204 No Content\r\n\r\n");
    say(C, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(O, "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
}

static void test_chunked_with_trailers(void **state)
{
    say(C, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n");
    say(C, "0\r\nX-T: 1\r\n\r\n");
    expect(O, "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
              "3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n");
    say(O, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    say(O, "2\r\nhi\r\n");
    expect(C, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n");
    say(O, "0\r\nGrpc-Status: 0\r\n\r\n");
    expect(C, "0\r\ngrpc-status: 0\r\n\r\n");
    assert_int_equal(w.ends, 1);
    assert_non_null(w.upstream);
}

/* What waits for a request has no state: before the first, between two, behind a dropped body; a
 * part of one, be it an empty line, has. */
static void test_idle_keeps_no_state(void **state)
{
    assert_null(w.server->codec_state);
    say(C, "\r\n");
    assert_non_null(w.server->codec_state);
    say(C, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    say(O, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    assert_non_null(w.server->codec_state);
    say(O, "ok");
    assert_null(w.server->codec_state);
    say(C, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123");
    say(O, "HTTP/1.1 413 Too Large\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n");
    say(O, "0\r\n\r\n");
    assert_non_null(w.server->codec_state);
    say(C, "456789");
    assert_null(w.server->codec_state);
    say(C, "GET / HTTP/1.1\r\nHo");
    assert_non_null(w.server->codec_state);
    run_us(2500000); /* 408 */
    assert_int_equal(w.bad_requests, 1);
}

static void test_head_method(void **state)
{
    say(C, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    say(O, "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n");
    expect(C, "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n");
    assert_int_equal(w.ends, 1);
    say(C, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    say(O, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    expect(C, "HTTP/1.1 200 OK\r\n\r\n");
    assert_int_equal(w.origin_count, 1);
}

static void test_pipelining(void **state)
{
    say(C, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
           "GET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    expect(O, "GET /1 HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_int_equal(w.exchanges, 1);
    say(O, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1");
    expect(O, "GET /2 HTTP/1.1\r\nhost: a\r\n\r\n");
    say(O, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2");
    say(O, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n3");
    expect(C, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1"
              "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n2"
              "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\n3");
    assert_true(conn_is_in_ended(w.client.conn));
}

/* RFC 9112 3.3: without a Host the address that was connected to stands for it. */
static void test_http_10_without_host(void **state)
{
    char want[128], addr[ADDR_TEXT_LEN];

    say(C, "GET / HTTP/1.0\r\n\r\n");
    snprintf(want, sizeof want, "GET / HTTP/1.1\r\nhost: %.*s\r\n\r\n",
             STR_FMT(addr_format(&w.proxy_addr, addr)));
    expect(O, want);
}

static void test_http_10(void **state)
{
    say(C, "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
    say(O, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1");
    expect(C, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\n1");
    /* A length that is not known yet can only be told by the end of the connection. */
    say(C, "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
    say(O, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
    expect(C, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhi");
    assert_true(conn_is_in_ended(w.client.conn));
}

static void test_close_delimited(void **state)
{
    say(C, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    say(O, "HTTP/1.0 200 OK\r\n\r\nsome");
    say(O, " more");
    conn_end(w.origins[0].conn);
    run();
    expect(C, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
              "4\r\nsome\r\n5\r\n more\r\n0\r\n\r\n");
    assert_null(w.upstream);
    assert_int_equal(w.outcome.err, 0);
    assert_non_null(w.server);
}

static void test_large_bodies(void **state)
{
    enum { LEN = 1000000 };
    char *text = malloc(LEN + 1), head[100];

    memset(text, 'x', LEN);
    text[LEN] = '\0';
    snprintf(head, sizeof head, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", LEN);
    say(C, head);
    say(C, text);
    run_us(5000000);
    assert_int_equal(w.origins[0].got.len, LEN + strlen("POST / HTTP/1.1\r\nhost: a\r\n"
                                                        "content-length: 1000000\r\n\r\n"));
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", LEN);
    say(O, head);
    say(O, text);
    run_us(5000000);
    assert_int_equal(w.client.got.len > LEN, 1);
    assert_int_equal(w.ends, 1);
    assert_int_equal(w.outcome.err, 0);
    assert_memory_equal(w.client.got.ptr + w.client.got.len - LEN, text, LEN);
    free(text);
}

/* --- 100-continue ----------------------------------------------------------------------------- */

static void test_continue(void **state)
{
    say(C, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    expect(C, "HTTP/1.1 100 Continue\r\n\r\n");
    expect(O, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n");
    say(C, "hi");
    expect(O, "hi");
    say(O, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    expect(C, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    assert_non_null(w.server);
}

static void test_continue_refused(void **state)
{
    w.reply_status = 403;
    say(C, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    expect(C, "HTTP/1.1 403 Forbidden\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n"
              "connection: close\r\n\r\nno");
    assert_true(conn_is_in_ended(w.client.conn));
}

static void test_upstream_informational(void **state)
{
    say(C, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    say(O, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
    expect(C, "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n");
    say(O, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    expect(C, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    assert_non_null(w.upstream);
}

static void test_too_many_informational(void **state)
{
    say(C, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    for (int i = 0; i < 9; i++)
        say(O, "HTTP/1.1 102 Processing\r\n\r\n");
    assert_int_equal(w.failure.status, 502);
    assert_null(w.upstream);
}

/* --- bad requests ----------------------------------------------------------------------------- */

static void test_bad_request(void **state)
{
    say(C, "GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(C, "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 32\r\n"
              "connection: close\r\n\r\nBad Request: field_name_invalid\n");
    assert_true(conn_is_in_ended(w.client.conn));
    assert_int_equal(w.exchanges, 0);
    assert_int_equal(w.bad_requests, 1);
}

static void test_not_http(void **state)
{
    say(C, "\x16\x03\x01\x02");
    assert_true(conn_is_in_ended(w.client.conn));
    assert_int_equal(w.bad_requests, 1);
}

static void test_head_timeout(void **state)
{
    say(C, "GET / HT");
    run_us(2500000);
    expect(C, "HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain\r\ncontent-length: 38\r\n"
              "connection: close\r\n\r\nRequest Timeout: request_head_timeout\n");
    assert_int_equal(w.bad_requests, 1);
}

/* An empty line is no request: a client that sends one behind its last body may rest. */
static void test_blank_line_is_no_request(void **state)
{
    say(C, "\r\n");
    run_us(5000000);
    expect(C, "");
    assert_non_null(w.server);
    say(C, "\r\n");
    expect(C, "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 30\r\n"
              "connection: close\r\n\r\nBad Request: start_line_empty\n");
}

static void test_largest_head(void **state)
{
    char *text = malloc(70000), *at = text;

    at += sprintf(at, "GET /");
    memset(at, 'p', 8000);
    at += 8000;
    at += sprintf(at, " HTTP/1.1\r\nHost: a\r\nX: ");
    memset(at, 'v', 61000);
    at += 61000;
    strcpy(at, "\r\n\r\n");
    say(C, text);
    run_us(1000000);
    assert_int_equal(w.exchanges, 1);
    assert_int_equal(w.bad_requests, 0);
    free(text);
}

static void test_bad_chunk(void **state)
{
    say(C, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    say(C, "x\r\n");
    expect(C, "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 32\r\n"
              "connection: close\r\n\r\nBad Request: chunk_size_invalid\n");
    assert_int_equal(w.ends, 1);
    assert_int_equal(w.origins[0].closes, 1);
}

/* --- early answers ---------------------------------------------------------------------------- */

static void test_reply_before_body(void **state)
{
    w.reply_status = 403;
    say(C, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome");
    expect(C, "HTTP/1.1 403 Forbidden\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n"
              "connection: close\r\n\r\nno");
    assert_int_equal(w.ends, 1);
}

static void test_reply_keeps_connection(void **state)
{
    w.reply_status = 403;
    say(C, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nsomeGET / HTTP/1.1\r\nHost: "
           "a\r\n\r\n");
    expect(C, "HTTP/1.1 403 Forbidden\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nno"
              "HTTP/1.1 403 Forbidden\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nno");
}

/* The origin answers before it has all of the request: the answer is passed on, the rest dropped.
 */
static void test_early_response(void **state)
{
    say(C, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123");
    say(O, "HTTP/1.1 413 Too Large\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n");
    expect(C, "HTTP/1.1 413 Content Too Large\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n");
    say(O, "0\r\n\r\n");
    expect(C, "0\r\n\r\n");
    assert_int_equal(w.ends, 1);
    assert_null(w.upstream);
    say(C, "456789GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(O2, "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
}

static void test_discard_is_bounded(void **state)
{
    char *text = malloc(100001);

    memset(text, 'x', 100000);
    text[100000] = '\0';
    say(C, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n0123");
    say(O, "HTTP/1.1 413 Too Large\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n");
    say(O, "0\r\n\r\n");
    say(C, text);
    assert_true(w.client.conn == NULL || conn_is_in_ended(w.client.conn));
    free(text);
}

/* --- those who leave -------------------------------------------------------------------------- */

static void test_client_leaves(void **state)
{
    say(C, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(O, "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    conn_close(w.client.conn);
    run();
    assert_int_equal(w.ends, 1);
    assert_int_equal(w.outcome.fault, FAULT_DOWNSTREAM);
    assert_true((w.outcome.flags & FLAG_BIT(DOWNSTREAM_CLOSED)) != 0);
    assert_int_equal(w.origins[0].closes, 1);
}

/* Answers without a body wait for room, too: more questions are not read meanwhile. */
static void test_a_client_that_reads_no_answers(void **state)
{
    enum { REQUESTS = 5000 };

    w.reply_status = 204;
    conn_pause(w.client.conn);
    for (int i = 0; i < REQUESTS; i++)
        say_bytes(C, STR("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    run();
    assert_in_range(w.exchanges, 1, REQUESTS - 1);
    assert_in_range(conn_out_len(w.server->conn), 1, H1_OUT_MAX_BYTES + 1024);
    assert_in_range(w.server->conn->in.len, 1, H1_READ_BYTES);
    conn_resume(w.client.conn);
    for (int i = 0; i < 100 && w.exchanges < REQUESTS; i++)
        run();
    assert_int_equal(w.exchanges, REQUESTS);
}

static void test_client_resets(void **state)
{
    say(C, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
    conn_abort(w.client.conn, -ERR_CANCELED);
    run();
    assert_int_equal(w.ends, 1);
    assert_int_equal(w.outcome.fault, FAULT_DOWNSTREAM);
    assert_int_equal(w.origins[0].closes, 1);
}

static void test_client_ends_inside_body(void **state)
{
    say(C, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
    conn_end(w.client.conn);
    run();
    assert_int_equal(w.ends, 1);
    assert_int_equal(w.outcome.fault, FAULT_DOWNSTREAM);
}

static void test_idle_client_ends(void **state)
{
    conn_end(w.client.conn);
    run_us(5000000);
    assert_null(w.server);
}

static void test_origin_refuses(void **state)
{
    sim_world_refuse(w.sim, &w.origin_addr, false);
    say(C, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    run();
    assert_int_equal(w.failure.status, 503);
    assert_true(w.failure.is_retryable);
    assert_true(strncmp(w.client.got.ptr, "HTTP/1.1 503 ", 13) == 0);
    assert_non_null(w.server);
}

static void test_origin_dies_unanswered(void **state)
{
    say(C, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    conn_end(w.origins[0].conn);
    run();
    assert_true(w.failure.is_unanswered);
    assert_false(w.failure.was_reused);
    assert_true(strncmp(w.client.got.ptr, "HTTP/1.1 503 ", 13) == 0);
}

/* The race of a kept connection. */
static void test_origin_dies_reused(void **state)
{
    say(C, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    say(O, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    say(C, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    conn_abort(w.origins[0].conn, -ERR_CANCELED);
    run();
    assert_true(w.failure.is_unanswered);
    assert_true(w.failure.was_reused);
}

static void test_idle_origin_closes(void **state)
{
    say(C, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    say(O, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    conn_end(w.origins[0].conn);
    run();
    assert_null(w.upstream);
    say(C, "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(O2, "GET /2 HTTP/1.1\r\nhost: a\r\n\r\n");
}

static void test_truncated_response(void **state)
{
    say(C, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    say(O, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234");
    expect(C, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234");
    conn_end(w.origins[0].conn);
    run();
    /* Not to be taken for the whole: a reset, no orderly end. */
    assert_int_equal(w.client.closes, 1);
    assert_int_not_equal(w.client.err, 0);
    assert_int_equal(w.outcome.fault, FAULT_UPSTREAM);
}

static void test_truncated_head(void **state)
{
    say(C, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    say(O, "HTTP/1.1 200 OK\r\nContent-Le");
    conn_end(w.origins[0].conn);
    run();
    assert_false(w.failure.is_unanswered);
    assert_true(strncmp(w.client.got.ptr, "HTTP/1.1 503 ", 13) == 0);
}

/* --- bad responses ---------------------------------------------------------------------------- */

static void check_bad_response(const char *text)
{
    int origin = w.origin_count;

    say(C, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    say(&w.origins[origin], text);
    if (strncmp(w.client.got.ptr, "HTTP/1.1 502 Bad Gateway\r\n", 26) != 0)
        fail_msg("got %s", w.client.got.ptr);
    str_buf_reset(&w.client.got);
    assert_int_equal(w.outcome.fault, FAULT_UPSTREAM);
    assert_true((w.outcome.flags & FLAG_BIT(UPSTREAM_PROTOCOL)) != 0);
    assert_int_equal(w.origins[origin].closes, 1);
    assert_null(w.upstream);
}

static void test_bad_responses(void **state)
{
    check_bad_response("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n");
    check_bad_response("HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n");
    check_bad_response("SSH-2.0-OpenSSH\r\n\r\n");
    check_bad_response("\r\n");
    check_bad_response("HTTP/1.1 200 OK\n\n");
}

static void test_bad_response_chunk(void **state)
{
    say(C, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    say(O, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    say(O, "z\r\n");
    assert_int_equal(w.client.closes, 1);
    assert_int_not_equal(w.client.err, 0);
}

static void test_extra_bytes_are_not_an_answer(void **state)
{
    say(C, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    say(O, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 200 OK\r\nContent-Length: "
           "4\r\n\r\nevil");
    expect(C, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1");
    assert_null(w.upstream);
    say(C, "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(O2, "GET /2 HTTP/1.1\r\nhost: a\r\n\r\n");
}

static void test_unasked_bytes_on_idle(void **state)
{
    say(C, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    say(O, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1");
    say(O, "HTTP/1.1 408 Request Timeout\r\n\r\n");
    assert_null(w.upstream);
    expect(C, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1");
}

/* --- draining --------------------------------------------------------------------------------- */

static void test_server_drains(void **state)
{
    say(C, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    http_server_drain(w.server);
    say(O, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1");
    expect(C, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\n1");
    assert_true(conn_is_in_ended(w.client.conn));
}

static void test_idle_server_drains(void **state)
{
    http_server_drain(w.server);
    run();
    assert_true(conn_is_in_ended(w.client.conn));
}

static void test_requests_max(void **state)
{
    w.client_config.requests_max = 1;
    say(C, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(O, "GET /1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    say(O, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1");
    expect(C, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1");
    assert_null(w.upstream);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define B(name) cmocka_unit_test_setup_teardown(name, setup_byte_by_byte, teardown)
    const struct CMUnitTest tests[] = {
        T(test_get),
        T(test_post_length),
        T(test_chunked_with_trailers),
        T(test_idle_keeps_no_state),
        T(test_head_method),
        T(test_pipelining),
        T(test_http_10),
        T(test_http_10_without_host),
        T(test_close_delimited),
        T(test_large_bodies),
        T(test_continue),
        T(test_continue_refused),
        T(test_upstream_informational),
        T(test_too_many_informational),
        T(test_bad_request),
        T(test_not_http),
        T(test_head_timeout),
        T(test_blank_line_is_no_request),
        T(test_largest_head),
        T(test_bad_chunk),
        T(test_reply_before_body),
        T(test_reply_keeps_connection),
        T(test_early_response),
        T(test_discard_is_bounded),
        T(test_client_leaves),
        T(test_a_client_that_reads_no_answers),
        T(test_client_resets),
        T(test_client_ends_inside_body),
        T(test_idle_client_ends),
        T(test_origin_refuses),
        T(test_origin_dies_unanswered),
        T(test_origin_dies_reused),
        T(test_idle_origin_closes),
        T(test_truncated_response),
        T(test_truncated_head),
        T(test_bad_responses),
        T(test_bad_response_chunk),
        T(test_extra_bytes_are_not_an_answer),
        T(test_unasked_bytes_on_idle),
        T(test_server_drains),
        T(test_idle_server_drains),
        T(test_requests_max),
        B(test_post_length),
        B(test_idle_keeps_no_state),
        B(test_head_method),
        B(test_http_10),
        B(test_bad_request),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
