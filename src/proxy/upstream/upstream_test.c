/* Clusters, pools, limits and health on the simulated backend. */
#include "proxy/upstream/upstream_test_try.h"

/* --- picking --- */

static void test_round_robin_takes_turns(void **state)
{
    struct cluster model = cluster_defaults();
    rig_open(3);
    set_simple(&model, 3);
    many(9);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(rig.origins[i].requests, 3);
        assert_int_equal(rig.origins[i].conns, 1); /* kept alive */
    }
    rig_close();
}

static void test_weights(void **state)
{
    static const enum lb_kind kinds[] = {LB_ROUND_ROBIN, LB_RANDOM, LB_LEAST_REQUEST};
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        struct cluster model = cluster_defaults();
        struct endpoint items[2];
        model.lb = kinds[k];
        rig_open(2);
        items[0] = endpoint_of(0);
        items[1] = endpoint_of(1);
        items[0].weight = 9;
        set_endpoints("c", items, 2);
        set_cluster("c", &model);
        many(200);
        assert_in_range(rig.origins[1].requests, 4, 50);
        assert_int_equal(rig.origins[0].requests + rig.origins[1].requests, 200);
        rig_close();
    }
}

static void test_least_request_avoids_the_busy(void **state)
{
    struct cluster model = cluster_defaults();
    struct tried stuck[20] = {0};
    model.lb = LB_LEAST_REQUEST;
    model.least_request_choices = 6;
    rig_open(2);
    set_simple(&model, 2);
    rig.origins[0].mode = ORIGIN_HANGS;
    for (unsigned i = 0; i < 20; i++) {
        begin(&stuck[i]);
        rig_run(10 * MS);
    }
    assert_in_range(rig.origins[0].requests, 1, 4);
    for (unsigned i = 0; i < 20; i++) {
        if (stuck[i].call != NULL)
            call_cancel(stuck[i].call);
    }
    rig_run(SECOND);
    for (unsigned i = 0; i < 20; i++)
        forget(&stuck[i]);
    assert_int_equal(the_cluster()->share->requests, 0);
    rig_close();
}

static void test_no_hosts(void **state)
{
    struct cluster model = cluster_defaults();
    struct tried t = {0};
    rig_open(1);
    set_cluster("c", &model);
    one(&t);
    assert_true(t.is_failed && t.host == NULL);
    assert_true((t.why.flags & FLAG_BIT(NO_HEALTHY_UPSTREAM)) != 0);
    forget(&t);
    struct endpoint ill = endpoint_of(0);
    ill.health = ENDPOINT_UNHEALTHY;
    set_endpoints("c", &ill, 1);
    one(&t);
    assert_true((t.why.flags & FLAG_BIT(NO_HEALTHY_UPSTREAM)) != 0);
    assert_int_equal(rig.origins[0].requests, 0);
    forget(&t);
    rig_close();
}

/* Three of priority 0, one of priority 1. However few are well of a priority, it does not panic
 * where the others take all; where they do not, and all panic, everybody gets his share. */
static void test_priorities_and_panic(void **state)
{
    static const struct {
        uint32_t threshold;
        bool is_first_well, is_last_well;
        unsigned first, others, last; /* of 100 requests, about */
    } rows[] = {
        {50, false, true, 0, 0, 100},   {0, false, true, 0, 0, 100},
        {50, true, true, 46, 0, 54}, /* a third, overprovisioned: 46 percent */
        {0, true, false, 100, 0, 0},    {50, true, false, 25, 50, 25},
        {50, false, false, 25, 50, 25},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cluster model = cluster_defaults();
        struct endpoint items[4];
        model.panic_threshold_percent = rows[i].threshold;
        rig_open(4);
        for (unsigned k = 0; k < 4; k++) {
            bool is_well = k == 0 ? rows[i].is_first_well : k == 3 && rows[i].is_last_well;
            items[k] = endpoint_of(k);
            items[k].priority = k == 3;
            items[k].health = is_well ? ENDPOINT_HEALTHY : ENDPOINT_UNHEALTHY;
        }
        set_endpoints("c", items, 4);
        set_cluster("c", &model);
        many(100);
        unsigned got[] = {rig.origins[0].requests,
                          rig.origins[1].requests + rig.origins[2].requests,
                          rig.origins[3].requests};
        unsigned want[] = {rows[i].first, rows[i].others, rows[i].last};
        for (unsigned k = 0; k < 3; k++)
            assert_in_range(got[k], want[k] / 2, want[k] * 2);
        rig_close();
    }
}

/* --- limits --- */

static void test_connections_pending_overflow(void **state)
{
    struct cluster model = cluster_defaults();
    struct tried t[4] = {0};
    model.breaker.connections_max = 2;
    model.breaker.pending_max = 1;
    rig_open(1);
    set_simple(&model, 1);
    rig.origins[0].mode = ORIGIN_HANGS;
    for (unsigned i = 0; i < 4; i++) {
        begin(&t[i]);
        rig_run(10 * MS);
    }
    assert_int_equal(rig.origins[0].requests, 2);
    assert_int_equal(the_cluster()->share->pending, 1);
    assert_true(t[3].is_failed);
    assert_true((t[3].why.flags & FLAG_BIT(UPSTREAM_OVERFLOW)) != 0);
    assert_int_equal(metrics_get(rig.metrics, COUNTER_OVERFLOWS), 1);
    /* A slot frees: who waits is served. */
    rig.origins[0].mode = ORIGIN_ANSWERS;
    call_cancel(t[0].call);
    rig_run(SECOND);
    assert_true(t[2].is_over);
    assert_int_equal(t[2].status, 200);
    assert_int_equal(the_cluster()->share->pending, 0);
    call_cancel(t[1].call);
    rig_run(SECOND);
    assert_int_equal(the_cluster()->share->connections, 0);
    assert_int_equal(the_cluster()->share->requests, 0);
    for (unsigned i = 0; i < 4; i++)
        forget(&t[i]);
    rig_close();
}

/* An attempt that waits while its host goes is served by another. */
static void test_waiting_attempt_chooses_again(void **state)
{
    struct cluster model = cluster_defaults();
    struct tried t[2] = {0};
    model.breaker.connections_max = 1;
    rig_open(2);
    set_simple(&model, 1);
    rig.origins[0].mode = ORIGIN_HANGS;
    begin(&t[0]);
    begin(&t[1]);
    rig_run(10 * MS);
    struct endpoint other = endpoint_of(1);
    set_endpoints("c", &other, 1);
    call_cancel(t[0].call);
    rig_run(SECOND);
    assert_int_equal(t[1].status, 200);
    assert_int_equal(rig.origins[1].requests, 1);
    forget(&t[0]);
    forget(&t[1]);
    rig_close();
}

/* A cluster that goes and comes again: its slots are those of the old one's requests, and come
 * back to those who wait now. */
static void test_slots_of_a_removed_cluster(void **state)
{
    struct cluster model = cluster_defaults();
    struct tried t[4] = {0};
    model.breaker.connections_max = 1;
    rig_open(1);
    set_simple(&model, 1);
    rig.origins[0].mode = ORIGIN_HANGS;
    begin(&t[0]);
    begin(&t[3]);
    rig_run(10 * MS);
    upstream_set_cluster(rig.upstream, STR("c"), NULL);
    set_simple(&model, 1);
    begin(&t[1]);
    begin(&t[2]);
    rig_run(10 * MS);
    assert_int_equal(the_cluster()->share->pending, 2);
    rig.origins[0].mode = ORIGIN_ANSWERS;
    call_cancel(t[0].call);
    rig_run(SECOND);
    for (unsigned i = 1; i < 3; i++) {
        assert_true(t[i].is_over);
        assert_int_equal(t[i].status, 200);
    }
    assert_int_equal(the_cluster()->share->connections, 0);
    assert_true(t[3].is_failed); /* it waited for the old one's */
    for (unsigned i = 0; i < 4; i++)
        forget(&t[i]);
    rig_close();
}

/* --- names --- */

/* The names are other ones by the time that those who waited are to begin: they wait on. */
static void test_names_unknown_again(void **state)
{
    static const char *const names[] = {"a.example", "b.example", "c.example"};
    struct tried t = {0};
    rig_open(1);
    set_named(names, 1);
    begin(&t);
    rig_run(10 * MS);
    assert_false(list_is_empty(&the_cluster()->unresolved));
    turn_soon(rig.turn, &the_cluster()->unresolved_task);
    set_named(names + 1, 2);
    rig_run(10 * MS);
    assert_false(t.is_over);
    rig_run(20ull * SECOND);
    assert_true(t.is_failed);
    assert_true((t.why.flags & FLAG_BIT(NO_HEALTHY_UPSTREAM)) != 0);
    forget(&t);
    rig_close();
}

/* Addresses take the place of the names that are waited for. */
static void test_names_are_not_needed_any_more(void **state)
{
    static const char *const names[] = {"a.example"};
    struct cluster model = cluster_defaults();
    struct endpoint e = endpoint_of(0);
    struct endpoints list = {.items = &e, .count = 1};
    struct tried t = {0};
    rig_open(1);
    set_named(names, 1);
    begin(&t);
    rig_run(10 * MS);
    model.kind = CLUSTER_STATIC;
    model.inline_endpoints = &list;
    set_cluster("c", &model);
    rig_run(100 * MS);
    assert_int_equal(t.status, 200);
    forget(&t);
    rig_close();
}

static void test_retry_limits(void **state)
{
    static const struct {
        struct circuit_breaker breaker;
        unsigned requests, allowed;
    } cases[] = {
        {{1024, 1024, 1024, MODEL_UNSET_U32, 0, 0}, 0, 10},
        {{1024, 1024, 1024, MODEL_UNSET_U32, 0, 0}, 200, 40},
        {{1024, 1024, 1024, 3, 0, 0}, 200, 3},
        {{1024, 1024, 1024, MODEL_UNSET_U32, 50, 2}, 10, 5},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cluster model = cluster_defaults();
        model.breaker = cases[i].breaker;
        rig_open(1);
        set_simple(&model, 1);
        the_cluster()->share->requests = cases[i].requests;
        unsigned taken = 0;
        while (taken < 100 && upstream_retry_begin(rig.upstream, the_cluster()))
            taken++;
        assert_int_equal(taken, cases[i].allowed);
        while (taken-- > 0)
            upstream_retry_end(rig.upstream, the_cluster());
        the_cluster()->share->requests = 0;
        rig_close();
    }
}

/* --- configuration --- */

static void test_a_diff_keeps_what_stays(void **state)
{
    struct cluster model = cluster_defaults();
    struct endpoint items[3];
    model.outlier.is_on = true;
    rig_open(3);
    set_simple(&model, 2);
    rig.origins[1].status = 503;
    many(10);
    struct upstream_host *kept = host_at(0), *ejected = host_at(1);
    assert_true(ejected->is_ejected);
    for (unsigned i = 0; i < 3; i++)
        items[i] = endpoint_of(i);
    items[0].weight = 3;
    set_endpoints("c", items, 3);
    model.breaker.requests_max = 77;
    set_cluster("c", &model);
    assert_ptr_equal(host_at(0), kept);
    assert_ptr_equal(host_at(1), ejected);
    assert_true(ejected->is_ejected);
    assert_int_equal(kept->weight, 3);
    unsigned conns = rig.origins[0].conns;
    many(20);
    assert_int_equal(rig.origins[0].conns, conns);
    rig_close();
}

static void test_unrelated_changes_lose_nothing(void **state)
{
    struct cluster model = cluster_defaults();
    struct tried stuck = {0};
    model.outlier.is_on = true;
    rig_open(3);
    set_simple(&model, 2);
    rig.origins[1].status = 503;
    many(10);
    rig.origins[0].mode = ORIGIN_HANGS;
    begin(&stuck);
    rig_run(10 * MS);
    unsigned conns = rig.origins[0].conns;
    for (unsigned i = 0; i < 1000; i++) {
        char name[16];
        struct endpoint e = endpoint_of(2);
        snprintf(name, sizeof name, "x%u", i % 50);
        set_endpoints(name, &e, i % 3 != 0);
        if (i % 7 == 0)
            upstream_set_cluster(rig.upstream, str_from_c(name), NULL);
        else
            set_cluster(name, &model);
    }
    assert_int_equal(the_cluster()->share->requests, 1);
    assert_int_equal(the_cluster()->share->ejected, 1);
    assert_int_equal(rig.origins[0].conns, conns);
    assert_int_equal(rig.origins[0].open, 1);
    assert_false(stuck.is_over);
    call_cancel(stuck.call);
    rig_run(SECOND);
    forget(&stuck);
    rig_close();
}

static void test_removed_host_drains(void **state)
{
    struct cluster model = cluster_defaults();
    struct tried busy = {0};
    rig_open(2);
    set_simple(&model, 1);
    rig.origins[0].mode = ORIGIN_HANGS;
    begin(&busy);
    rig_run(10 * MS);
    struct endpoint other = endpoint_of(1);
    set_endpoints("c", &other, 1);
    rig_run(SECOND);
    assert_false(busy.is_over); /* the stream goes on */
    assert_int_equal(rig.origins[0].open, 1);
    many(2);
    assert_int_equal(rig.origins[1].requests, 2);
    call_cancel(busy.call);
    rig_run(SECOND);
    assert_int_equal(rig.origins[0].open, 0);
    forget(&busy);
    /* An idle one goes at once. */
    struct endpoint back = endpoint_of(0);
    set_endpoints("c", &back, 1);
    rig_run(SECOND);
    assert_int_equal(rig.origins[1].open, 0);
    rig_close();
}

/* A host that goes while a connection to it is being made: served, then closed. */
static void test_host_removed_while_connecting(void **state)
{
    struct cluster model = cluster_defaults();
    struct tried t = {0};
    rig_open(2);
    set_simple(&model, 1);
    begin(&t);
    turn_once(rig.turn, 0);
    struct endpoint other = endpoint_of(1);
    set_endpoints("c", &other, 1);
    rig_run(SECOND);
    assert_int_equal(t.status, 200);
    assert_int_equal(rig.origins[0].open, 0);
    forget(&t);
    assert_null(find_host(0));
    assert_int_equal(the_cluster()->held, 1);
    rig_close();
}

/* Cluster settings that change how hosts are reached must not use connections of yesterday. */
static void test_transport_change_drains(void **state)
{
    struct cluster model = cluster_defaults();
    static const struct upstream_tls tls = {.common = {.validation = {.sds_name = {"roots", 5}}}};
    struct tried t = {0};
    rig_open(1);
    set_simple(&model, 1);
    many(1);
    assert_int_equal(rig.origins[0].open, 1);
    model.tls = &tls;
    set_cluster("c", &model);
    one(&t);
    assert_true(t.is_failed); /* no certificate: not in clear instead */
    assert_true((t.why.flags & FLAG_BIT(UPSTREAM_CONNECT)) != 0);
    assert_int_equal(rig.origins[0].requests, 1);
    assert_int_equal(rig.origins[0].open, 0);
    forget(&t);
    rig_close();
}

/* --- connecting --- */

static void test_refused_and_silent(void **state)
{
    struct cluster model = cluster_defaults();
    struct tried t = {0};
    rig_open(2);
    set_simple(&model, 1);
    sim_world_refuse(rig.sim, &rig.origins[0].addr, false);
    one(&t);
    assert_true((t.why.flags & FLAG_BIT(UPSTREAM_CONNECT)) != 0 && t.why.is_retryable);
    assert_int_equal(the_cluster()->share->connections, 0);
    forget(&t);
    struct endpoint other = endpoint_of(1);
    set_endpoints("c", &other, 1);
    sim_world_refuse(rig.sim, &rig.origins[1].addr, true);
    begin(&t);
    rig_run(900 * MS);
    assert_false(t.is_over);
    rig_run(200 * MS);
    assert_true(t.is_failed);
    assert_int_equal(t.why.err, -ERR_TIMEOUT);
    assert_true((t.why.flags & FLAG_BIT(UPSTREAM_CONNECT)) != 0);
    forget(&t);
    rig_close();
}

/* Cancelled while: failing, waiting for a slot, connecting, sent, answered. */
/* The first waits for a connection, the next ones find it; who comes while others wait does not
 * overtake them. */
static void test_a_kept_connection_is_taken_at_once(void **state)
{
    struct cluster model = cluster_defaults();
    struct tried t[5] = {0};
    rig_open(1);
    set_simple(&model, 1);
    for (unsigned i = 0; i < 3; i++)
        begin(&t[i]);
    rig_run(SECOND);
    for (unsigned i = 0; i < 3; i++)
        assert_true(t[i].is_over && !t[i].is_ready_at_once);
    struct upstream_host *h = t[0].host;
    struct upstream_link *last = LIST_FIRST(&h->links, struct upstream_link, link);
    one(&t[3]);
    assert_true(t[3].is_ready_at_once);
    /* The connection that was free last was taken, and is in front again. */
    assert_ptr_equal(LIST_FIRST(&h->links, struct upstream_link, link), last);
    h->pending_count++;
    begin(&t[4]);
    rig_run(1);
    h->pending_count--;
    assert_false(t[4].is_ready_at_once);
    rig_run(SECOND);
    assert_true(t[4].is_over);
    for (unsigned i = 0; i < 5; i++)
        forget(&t[i]);
    rig_close();
}

static void test_cancel_in_every_state(void **state)
{
    for (unsigned turns = 0; turns < 40; turns++) {
        struct cluster model = cluster_defaults();
        struct tried t[3] = {0};
        model.breaker.connections_max = 1;
        model.breaker.pending_max = 1;
        rig_open(1);
        set_simple(&model, 1);
        for (unsigned i = 0; i < 3; i++)
            begin(&t[i]);
        rig_run(turns * 50);
        for (unsigned i = 0; i < 3; i++) {
            if (t[i].call != NULL)
                call_cancel(t[i].call);
        }
        rig_run(SECOND);
        assert_int_equal(the_cluster()->share->connections, 0);
        assert_int_equal(the_cluster()->share->requests, 0);
        assert_int_equal(the_cluster()->share->pending, 0);
        for (unsigned i = 0; i < 3; i++) {
            assert_true(t[i].is_over);
            forget(&t[i]);
        }
        many(1); /* and all is well */
        rig_close();
    }
}

static void test_free_with_everything_under_way(void **state)
{
    for (unsigned turns = 0; turns < 30; turns++) {
        struct cluster model = cluster_defaults();
        struct tried t[4] = {0};
        model.breaker.connections_max = 2;
        model.breaker.pending_max = 1;
        rig_open(2);
        set_simple(&model, 2);
        rig.origins[1].mode = ORIGIN_HANGS;
        for (unsigned i = 0; i < 4; i++)
            begin(&t[i]);
        rig_run(turns * 60);
        if (turns % 2 == 0) {
            upstream_set_cluster(rig.upstream, STR("c"), NULL);
            rig_run(turns * 10);
        }
        struct upstream *u = rig.upstream;
        upstream_free(rig.upstream);
        rig_run(SECOND);
        for (unsigned i = 0; i < 4; i++) {
            if (t[i].call != NULL) {
                rig.upstream = u;
                call_cancel(t[i].call);
            }
        }
        rig_run(SECOND);
        rig.upstream = NULL;
        for (unsigned i = 0; i < 4; i++) {
            assert_true(t[i].is_over);
            forget(&t[i]);
        }
        rig_close();
    }
}

static void test_free_without_hosts(void **state)
{
    struct cluster model = cluster_defaults();
    rig_open(0);
    set_cluster("c", &model);
    set_cluster("d", &model);
    rig_close();
}

/* Removed while its only attempt has no host: told all the same, freed afterwards. */
static void test_removed_before_the_failure_is_told(void **state)
{
    struct cluster model = cluster_defaults();
    struct tried held = {0}, t = {0};
    rig_open(1);
    set_simple(&model, 1);
    one(&held); /* a log still holds a host */
    set_endpoints("c", NULL, 0);
    begin(&t);
    exchange_run(call_exchange(t.call));
    upstream_set_cluster(rig.upstream, STR("c"), NULL);
    forget(&held);
    rig_run(SECOND);
    assert_true(t.is_failed && t.is_over);
    forget(&t);
    rig_close();
}

/* --- ORIGINAL_DST --- */

static void test_original_dst(void **state)
{
    struct cluster model = cluster_defaults();
    model.kind = CLUSTER_ORIGINAL_DST;
    rig_open(2);
    set_cluster("c", &model);
    struct addr dst = rig.origins[1].addr;
    struct tried t = {0};
    t.attempt.original_dst = &dst;
    one(&t);
    assert_int_equal(t.status, 200);
    assert_int_equal(rig.origins[1].requests, 1);
    forget(&t);
    assert_int_equal(the_cluster()->hosts.len, 1);
    /* Connections keep the host; without any it goes. */
    rig_run(20ull * SECOND);
    assert_int_equal(the_cluster()->hosts.len, 1);
    sim_world_cut(rig.sim, &dst);
    rig_run(20ull * SECOND);
    assert_int_equal(the_cluster()->hosts.len, 0);
    one(&t); /* nobody was called */
    assert_true((t.why.flags & FLAG_BIT(NO_HEALTHY_UPSTREAM)) != 0);
    forget(&t);
    rig_close();
}

/* --- identity --- */

static void test_identity_is_part_of_a_host(void **state)
{
    struct cluster model = cluster_defaults();
    struct endpoint e = endpoint_of(0);
    rig_open(1);
    e.identity = STR("spiffe://mesh.local/ns/a/sa/one");
    set_endpoints("c", &e, 1);
    set_cluster("c", &model);
    many(1);
    struct upstream_host *before = upstream_host_hold(host_at(0));
    e.identity = STR("spiffe://mesh.local/ns/a/sa/two");
    set_endpoints("c", &e, 1);
    assert_ptr_not_equal(host_at(0), before);
    many(1);
    assert_int_equal(rig.origins[0].conns, 2);
    assert_int_equal(rig.origins[0].open, 1);
    upstream_host_drop(before);
    rig_close();
}

/* An identity that the cluster's names leave out is refused before anything is sent. */
static void test_names_and_identity_must_hold(void **state)
{
    static const struct {
        struct tls_san_matcher san;
        bool is_tried;
    } cases[] = {
        {{TLS_SAN_TYPE_URI, {.kind = STRING_MATCH_PREFIX, .value = STR("spiffe://m/ns/a/sa/")}},
         true},
        {{TLS_SAN_TYPE_URI, {.kind = STRING_MATCH_EXACT, .value = STR("spiffe://m/ns/a/sa/x")}},
         true},
        {{TLS_SAN_TYPE_ANY, {.kind = STRING_MATCH_SUFFIX, .value = STR("/sa/x")}}, true},
        {{TLS_SAN_TYPE_URI, {.kind = STRING_MATCH_EXACT, .value = STR("spiffe://m/ns/a/sa/")}},
         false},
        {{TLS_SAN_TYPE_URI, {.kind = STRING_MATCH_PREFIX, .value = STR("spiffe://m/ns/b/")}},
         false},
        {{TLS_SAN_TYPE_DNS, {.kind = STRING_MATCH_EXACT, .value = STR("spiffe://m/ns/a/sa/x")}},
         false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cluster model = cluster_defaults();
        struct upstream_tls tls = {.common = {.sans = &cases[i].san, .san_count = 1}};
        struct endpoint e = endpoint_of(0);
        struct tried t = {0};
        rig_open(1);
        e.identity = STR("spiffe://m/ns/a/sa/x");
        model.tls = &tls;
        set_endpoints("c", &e, 1);
        set_cluster("c", &model);
        one(&t);
        assert_true(t.is_failed); /* nobody there speaks TLS */
        assert_int_equal(rig.origins[0].conns, cases[i].is_tried);
        assert_int_equal(t.why.err == -ERR_DENIED, !cases[i].is_tried);
        forget(&t);
        rig_close();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_robin_takes_turns),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_least_request_avoids_the_busy),
        cmocka_unit_test(test_no_hosts),
        cmocka_unit_test(test_priorities_and_panic),
        cmocka_unit_test(test_connections_pending_overflow),
        cmocka_unit_test(test_waiting_attempt_chooses_again),
        cmocka_unit_test(test_slots_of_a_removed_cluster),
        cmocka_unit_test(test_names_unknown_again),
        cmocka_unit_test(test_names_are_not_needed_any_more),
        cmocka_unit_test(test_retry_limits),
        cmocka_unit_test(test_a_diff_keeps_what_stays),
        cmocka_unit_test(test_unrelated_changes_lose_nothing),
        cmocka_unit_test(test_removed_host_drains),
        cmocka_unit_test(test_host_removed_while_connecting),
        cmocka_unit_test(test_transport_change_drains),
        cmocka_unit_test(test_refused_and_silent),
        cmocka_unit_test(test_a_kept_connection_is_taken_at_once),
        cmocka_unit_test(test_cancel_in_every_state),
        cmocka_unit_test(test_free_with_everything_under_way),
        cmocka_unit_test(test_free_without_hosts),
        cmocka_unit_test(test_removed_before_the_failure_is_told),
        cmocka_unit_test(test_original_dst),
        cmocka_unit_test(test_identity_is_part_of_a_host),
        cmocka_unit_test(test_names_and_identity_must_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
