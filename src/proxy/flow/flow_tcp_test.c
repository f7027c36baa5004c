/* Bytes through a TCP chain, on the simulated backend. */
#include "proxy/flow/flow_test_util.h"

static void test_tcp_half_close(void **state)
{
    struct client k;
    open_world();
    app_open();
    set_listener(&in_tcp);
    app.answer_len = 100 * 1000;
    client_open(&k, "10.1.0.1", 8080);
    client_say(&k, "request");
    conn_end(k.conn);
    rig_run(SECOND);
    assert_true(str_eq(str_buf_str(&app.got), STR("request")));
    assert_int_equal(k.got.len, 100 * 1000);
    assert_true(k.is_closed && k.err == 0);
    str_buf_deinit(&app.got);
    client_forget(&k);
    close_world();
}

/* A reader that takes its time gets all, long after the app has closed. */
static void test_tcp_slow_reader(void **state)
{
    struct client k;
    open_world();
    app_open();
    set_listener(&in_tcp);
    app.answer_len = 2 * 1000 * 1000;
    client_open(&k, "10.1.0.1", 8080);
    conn_pause(k.conn);
    client_say(&k, "request");
    conn_end(k.conn);
    rig_run(60ull * SECOND);
    assert_false(k.is_closed);
    conn_resume(k.conn);
    rig_run(60ull * SECOND);
    assert_int_equal(k.got.len, 2 * 1000 * 1000);
    assert_true(k.is_closed && k.err == 0);
    str_buf_deinit(&app.got);
    client_forget(&k);
    close_world();
}

/* So, too, when the app has ended its side and then hears something that it cannot take. */
static void test_tcp_reset_after_end(void **state)
{
    enum { MORE_THAN_A_PIPE = 256 * 1024 + 10 * 1000 };
    struct client k;
    open_world();
    app_open();
    set_listener(&in_tcp);
    client_open(&k, "10.1.0.1", 8080);
    conn_pause(k.conn);
    client_say(&k, "request");
    rig_run(SECOND);
    char *bytes = mem_alloc(MORE_THAN_A_PIPE);
    memset(bytes, 'a', MORE_THAN_A_PIPE);
    chain_add(&app.conn->out, str_from(bytes, MORE_THAN_A_PIPE));
    free(bytes);
    conn_end(app.conn);
    rig_run(SECOND);
    conn_abort(app.conn, -ERR_RESET);
    rig_run(SECOND);
    assert_false(k.is_closed);
    conn_resume(k.conn);
    rig_run(SECOND);
    assert_int_equal(k.got.len, MORE_THAN_A_PIPE);
    assert_true(k.got_end && k.err == 0);
    str_buf_deinit(&app.got);
    client_forget(&k);
    close_world();
}

/* The client has ended its side before, and learns the end of the answer however the app went. */
static void check_end_of_both(bool is_reset, size_t held)
{
    const size_t answer_len = 256 * 1024 + held;
    struct client k;
    open_world();
    app_open();
    app.is_slow = true;
    set_listener(&in_tcp);
    client_open(&k, "10.1.0.1", 8080);
    conn_pause(k.conn);
    client_say(&k, "request");
    conn_end(k.conn);
    rig_run(SECOND);
    char *bytes = mem_alloc(answer_len);
    memset(bytes, 'a', answer_len);
    chain_add(&app.conn->out, str_from(bytes, answer_len));
    free(bytes);
    conn_end(app.conn);
    rig_run(SECOND);
    if (is_reset)
        conn_abort(app.conn, -ERR_RESET);
    else
        conn_close(app.conn);
    rig_run(SECOND);
    conn_resume(k.conn);
    rig_run(10 * SECOND);
    assert_int_equal(k.got.len, answer_len);
    assert_true(k.got_end && k.err == 0);
    str_buf_deinit(&app.got);
    client_forget(&k);
    close_world();
}

static void test_tcp_end_of_both(void **state)
{
    /* The second: so much that the app is not listened to when its end comes. */
    static const size_t held[] = {10 * 1000, 18 * 1000};
    for (size_t i = 0; i < ARRAY_LEN(held); i++) {
        check_end_of_both(false, held[i]);
        check_end_of_both(true, held[i]);
    }
}

static void test_tcp_backpressure(void **state)
{
    struct client k;
    char *bytes = mem_alloc(4 * 1000 * 1000);
    memset(bytes, 'u', 4 * 1000 * 1000);
    open_world();
    app_open();
    set_listener(&in_tcp);
    app.is_slow = true;
    client_open(&k, "10.1.0.1", 8080);
    chain_add(&k.conn->out, str_from(bytes, 4 * 1000 * 1000));
    conn_mark_dirty(k.conn);
    rig_run(5 * SECOND);
    struct flow_conn *fc = LIST_FIRST(&flow->conns, struct flow_conn, link);
    ASSERT(fc != NULL);
    /* What the proxy holds is bounded however much the client has. */
    assert_true(fc->conn->in.len <= 64 * 1024 + 16 * 1024);
    assert_true(conn_out_len(k.conn) > 2 * 1000 * 1000);
    app.is_slow = false;
    conn_wake(app.conn);
    rig_run(20 * SECOND);
    assert_int_equal(app.got.len, 4 * 1000 * 1000);
    free(bytes);
    str_buf_deinit(&app.got);
    client_forget(&k);
    close_world();
}

static void test_tcp_break_reaches_both(void **state)
{
    struct client k;
    open_world();
    app_open();
    set_listener(&in_tcp);
    client_open(&k, "10.1.0.1", 8080);
    client_say(&k, "x");
    rig_run(SECOND);
    conn_abort(app.conn, -ERR_RESET);
    rig_run(SECOND);
    assert_true(k.is_closed && k.err != 0);
    client_forget(&k);
    client_open(&k, "10.1.0.1", 8080);
    client_say(&k, "x");
    rig_run(SECOND);
    assert_non_null(app.conn);
    conn_abort(k.conn, -ERR_RESET);
    rig_run(SECOND);
    assert_null(app.conn);
    str_buf_deinit(&app.got);
    client_forget(&k);
    close_world();
}

static void test_tcp_policy(void **state)
{
    struct spec denied = in_tcp;
    struct client k, later;
    open_world();
    app_open();
    set_listener(&in_tcp);
    client_open(&k, "10.1.0.1", 8080);
    client_say(&k, "x");
    rig_run(SECOND);
    assert_false(k.is_closed);
    denied.tcp_rbac = &denies;
    set_listener(&denied);
    rig_run(SECOND);
    assert_true(k.is_closed);
    client_open(&later, "10.1.0.1", 8080);
    rig_run(SECOND);
    assert_true(is_gone(&later));
    assert_null(app.conn);
    assert_int_equal(metrics_get(rig.metrics, COUNTER_RBAC_DENIED), 1);
    str_buf_deinit(&app.got);
    client_forget(&k);
    client_forget(&later);
    close_world();
}

static void test_tcp_without_upstream(void **state)
{
    struct spec nowhere = in_tcp;
    struct client k;
    open_world();
    nowhere.cluster = "nobody";
    set_listener(&nowhere);
    client_open(&k, "10.1.0.1", 8080);
    rig_run(SECOND);
    assert_true(k.is_closed);
    client_forget(&k);
    set_listener(&in_tcp);
    sim_world_refuse(rig.sim, &rig.origins[0].addr, false);
    client_open(&k, "10.1.0.1", 8080);
    rig_run(SECOND);
    assert_true(k.is_closed);
    client_forget(&k);
    /* The client leaves while the upstream is being connected. */
    sim_world_refuse(rig.sim, &rig.origins[0].addr, true);
    client_open(&k, "10.1.0.1", 8080);
    rig_run(100 * MS);
    client_forget(&k);
    close_world();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tcp_half_close),      cmocka_unit_test(test_tcp_slow_reader),
        cmocka_unit_test(test_tcp_reset_after_end), cmocka_unit_test(test_tcp_end_of_both),
        cmocka_unit_test(test_tcp_backpressure),    cmocka_unit_test(test_tcp_break_reaches_both),
        cmocka_unit_test(test_tcp_policy),          cmocka_unit_test(test_tcp_without_upstream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
