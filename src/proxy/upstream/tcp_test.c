/* Plain connections to hosts of a cluster. */
#include "proxy/upstream/upstream_test_util.h"

struct tcp_try {
    struct upstream_tcp *tcp;
    struct conn *conn;
    struct upstream_host *host;
    struct outcome why;
    bool is_ready, is_failed, is_closed;
};

static void tcp_close(struct conn *c, int err)
{
    struct tcp_try *t = c->ctx;
    t->is_closed = true;
    t->conn = NULL;
}

static void tcp_input(struct conn *c)
{
    chain_clear(&c->in);
}

static const struct conn_handler tcp_handler = {.on_input = tcp_input, .on_close = tcp_close};

static void tcp_ready(void *ctx, struct conn *c, struct upstream_host *host)
{
    struct tcp_try *t = ctx;
    t->is_ready = true;
    t->conn = c;
    t->host = host;
    conn_set_handler(c, &tcp_handler, t);
}

static void tcp_failed(void *ctx, const struct outcome *why)
{
    struct tcp_try *t = ctx;
    t->is_failed = true;
    t->why = *why;
}

static const struct upstream_tcp_ops tcp_ops = {tcp_ready, tcp_failed};

static void test_tcp_tries_three_hosts(void **state)
{
    struct cluster model = cluster_defaults();
    struct tcp_try t = {0}, none = {0};
    rig_open(5);
    set_simple(&model, 3);
    sim_world_refuse(rig.sim, &rig.origins[0].addr, false);
    sim_world_refuse(rig.sim, &rig.origins[1].addr, false);
    t.tcp = upstream_tcp_start(rig.upstream, the_cluster(), NULL, STR_NULL, &tcp_ops, &t);
    rig_run(SECOND);
    assert_true(t.is_ready);
    assert_ptr_equal(t.host, host_at(2));
    assert_int_equal(the_cluster()->share->connections, 1);
    sim_world_refuse(rig.sim, &rig.origins[2].addr, false);
    none.tcp = upstream_tcp_start(rig.upstream, the_cluster(), NULL, STR_NULL, &tcp_ops, &none);
    rig_run(SECOND);
    assert_true(none.is_failed);
    assert_true((none.why.flags & FLAG_BIT(UPSTREAM_CONNECT)) != 0);
    upstream_tcp_finish(none.tcp);
    conn_abort(t.conn, 0);
    rig_run(SECOND);
    upstream_tcp_finish(t.tcp);
    assert_int_equal(the_cluster()->share->connections, 0);
    rig_close();
}

static void test_tcp_limits_and_cancel(void **state)
{
    struct cluster model = cluster_defaults();
    struct tcp_try t = {0}, over = {0};
    model.breaker.connections_max = 1;
    rig_open(1);
    set_simple(&model, 1);
    t.tcp = upstream_tcp_start(rig.upstream, the_cluster(), NULL, STR_NULL, &tcp_ops, &t);
    over.tcp = upstream_tcp_start(rig.upstream, the_cluster(), NULL, STR_NULL, &tcp_ops, &over);
    assert_false(t.is_failed || over.is_failed);
    rig_run(50);
    assert_true((over.why.flags & FLAG_BIT(UPSTREAM_OVERFLOW)) != 0);
    upstream_tcp_finish(over.tcp);
    upstream_tcp_finish(t.tcp); /* still connecting */
    rig_run(SECOND);
    assert_false(t.is_ready || t.is_failed);
    assert_int_equal(the_cluster()->share->connections, 0);
    /* And with the whole of upstream gone. */
    t.tcp = upstream_tcp_start(rig.upstream, the_cluster(), NULL, STR_NULL, &tcp_ops, &t);
    upstream_free(rig.upstream);
    rig.upstream = NULL;
    upstream_tcp_finish(t.tcp);
    rig_run(SECOND);
    rig_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tcp_tries_three_hosts),
        cmocka_unit_test(test_tcp_limits_and_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
