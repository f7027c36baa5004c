/* A worker's thread and its mails, on Linux and loopback; meant for TSan as well. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "io/conn.h"
#include "proxy/telemetry/metrics.h"
#include "proxy/worker/worker.h"

#include "mesh/model/cluster.h"
#include "mesh/model/directory.h"
#include "mesh/model/listener.h"

enum { SECOND = 1000 * 1000 };

static struct {
    struct limits limits;
    struct turn *turn;
    struct worker_group *group;
    struct worker *worker, *workers[4];
    unsigned applied, calls, drained;
    char error[256];
    uint16_t port;
    int64_t accepted;
} t;

static void wait_until(bool (*is_done)(void))
{
    for (unsigned i = 0; i < 3000 && !is_done(); i++)
        turn_once(t.turn, 10);
    assert_true(is_done());
}

static void on_detail_wanted(void *ctx, struct str name)
{
}

static void open_workers(unsigned count)
{
    memset(&t, 0, sizeof t);
    limits_init(&t.limits);
    t.turn = turn_new_linux();
    t.group = worker_group_new(count);
    for (unsigned i = 0; i < count; i++)
        t.workers[i] = worker_new(&(struct worker_args){.index = i,
                                                        .group = t.group,
                                                        .limits = &t.limits,
                                                        .main = t.turn,
                                                        .on_detail_wanted = on_detail_wanted});
    t.worker = t.workers[0];
    for (unsigned i = 0; i < count; i++)
        worker_start(t.workers[i]);
}

static void open_worker(void)
{
    open_workers(1);
}

static void end_workers(void)
{
    for (unsigned i = 0; i < t.group->count; i++)
        worker_stop(t.workers[i]);
    for (unsigned i = 0; i < t.group->count; i++)
        worker_join(t.workers[i]);
    for (unsigned i = 0; i < t.group->count; i++)
        worker_end(t.workers[i]);
    for (unsigned i = 0; i < t.group->count; i++)
        worker_free(t.workers[i]);
    t.group = worker_group_free(t.group);
}

static void close_worker(void)
{
    end_workers();
    for (unsigned i = 0; i < 3; i++)
        turn_once(t.turn, 0);
    turn_free(t.turn);
}

static struct resource *listener_new(unsigned status, uint16_t port)
{
    static const struct str any[] = {{"*", 1}};
    static const struct http_filter router[] = {{.kind = HTTP_FILTER_ROUTER}};
    struct resource *r = resource_new(RESOURCE_LISTENER, STR("in"));
    struct arena *a = &r->arena;
    struct listener *l = ARENA_NEW(a, struct listener);
    struct filter_chain *chain = ARENA_NEW(a, struct filter_chain);
    struct network_filter *n = ARENA_NEW(a, struct network_filter);
    struct hcm *h = ARENA_NEW(a, struct hcm);
    struct route_config *rc = ARENA_NEW(a, struct route_config);
    struct virtual_host *vh = ARENA_NEW(a, struct virtual_host);
    struct route *route = ARENA_NEW(a, struct route);
    *route = (struct route){.match = {.path_kind = PATH_PREFIX, .path = STR("/")},
                            .kind = ROUTE_DIRECT_RESPONSE,
                            .direct_status = (uint16_t)status,
                            .direct_body = STR("hello")};
    *vh =
        (struct virtual_host){.domains = any, .domain_count = 1, .routes = route, .route_count = 1};
    *rc = (struct route_config){.hosts = vh, .host_count = 1};
    *h = (struct hcm){.filters = router, .filter_count = 1, .route_config = rc};
    *n = (struct network_filter){.kind = NETWORK_FILTER_HCM, .hcm = h};
    *chain = (struct filter_chain){.filters = n, .filter_count = 1};
    l->address.ip = ip_from_bytes((const uint8_t[]){127, 0, 0, 1}, 4);
    l->address.port = port;
    l->bind_to_port = true;
    l->direction = LISTENER_INBOUND;
    l->chains = chain;
    l->chain_count = 1;
    r->listener = l;
    return r;
}

static void on_applied(struct change_set *set, struct worker *w)
{
    t.applied++;
    snprintf(t.error, sizeof t.error, "%.*s", STR_FMT(set->error));
    change_set_free(set);
}

static void post_listener(unsigned status, uint16_t port)
{
    struct change_set *set = change_set_new();
    struct resource *r = listener_new(status, port);
    change_set_add(set, RESOURCE_LISTENER, r->name, r);
    change_set_add(set, RESOURCE_ENDPOINTS, STR("nothing"), NULL);
    resource_unref(r);
    set->on_applied = on_applied;
    worker_post_changes(t.worker, set);
}

static bool is_applied(void)
{
    return t.applied > 0;
}

/* --- calls --- */

static void look_at_listeners(struct worker *w, void *arg)
{
    struct str_buf b = STR_BUF_INIT(4096);
    worker_render_listeners(w, &b);
    const char *at = strstr(b.ptr, "127.0.0.1:");
    t.port = at != NULL ? (uint16_t)strtoul(at + 10, NULL, 10) : 0;
    t.accepted = metrics_get(worker_metrics(w), COUNTER_CONNECTIONS_ACCEPTED);
    str_buf_deinit(&b);
}

static void call_done(void *arg)
{
    t.calls++;
}

static bool is_called(void)
{
    return t.calls > 0;
}

static void look(void)
{
    t.calls = 0;
    worker_post_call(t.worker, look_at_listeners, NULL, call_done);
    wait_until(is_called);
}

/* --- a client on the main thread's loop --- */

static struct str_buf got;
static bool is_closed;

static void client_input(struct conn *c)
{
    for (uint32_t i = 0; i < c->in.count; i++)
        str_buf_add(&got, chain_slice_str(&c->in, i));
    chain_clear(&c->in);
    if (conn_is_in_ended(c))
        conn_end(c);
}

static void client_close(struct conn *c, int err)
{
    is_closed = true;
}

static const struct conn_handler client_handler = {.on_input = client_input,
                                                   .on_close = client_close};

static bool has_closed(void)
{
    return is_closed;
}

static bool has_answer(void)
{
    return str_contains(str_buf_str(&got), STR("hello"));
}

static struct conn *client_open(void)
{
    struct addr to;
    static const struct conn_options options = {.connect_timeout_us = SECOND};
    assert_true(addr_parse_ip(STR("127.0.0.1"), t.port, &to));
    got = (struct str_buf)STR_BUF_INIT(64 * 1024);
    is_closed = false;
    return conn_connect(t.turn, &to, &options, &client_handler, NULL, NULL, NULL);
}

static void ask(struct conn *c)
{
    str_buf_reset(&got);
    chain_add(&c->out, STR("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    conn_mark_dirty(c);
    wait_until(has_answer);
}

static void test_serves_what_it_was_told(void **state)
{
    open_worker();
    post_listener(200, 0);
    wait_until(is_applied);
    assert_string_equal(t.error, "");
    look();
    assert_true(t.port != 0);
    struct conn *c = client_open();
    ask(c);
    assert_true(str_starts_with(str_buf_str(&got), STR("HTTP/1.1 200 ")));
    /* A change takes effect on connections that live, the socket stays. */
    uint16_t before = t.port;
    for (unsigned i = 0; i < 100; i++) {
        t.applied = 0;
        post_listener(i % 2 == 0 ? 404 : 200, 0);
        ask(c);
    }
    wait_until(is_applied);
    t.applied = 0;
    post_listener(418, 0);
    wait_until(is_applied);
    ask(c);
    assert_true(str_starts_with(str_buf_str(&got), STR("HTTP/1.1 418 ")));
    look();
    assert_int_equal(t.port, before);
    assert_int_equal(t.accepted, 1);
    conn_abort(c, 0);
    wait_until(has_closed);
    str_buf_deinit(&got);
    close_worker();
}

static void test_an_error_is_told(void **state)
{
    open_worker();
    post_listener(200, 0);
    wait_until(is_applied);
    look();
    struct change_set *set = change_set_new();
    struct resource *r = listener_new(200, t.port);
    change_set_add(set, RESOURCE_LISTENER, STR("second"), r);
    resource_unref(r);
    set->on_applied = on_applied;
    t.applied = 0;
    worker_post_changes(t.worker, set);
    wait_until(is_applied);
    assert_non_null(strstr(t.error, "listener second: "));
    close_worker();
}

/* --- several workers --- */

static void post_to_all(unsigned status, uint16_t port)
{
    t.applied = 0;
    for (unsigned i = t.group->count; i-- > 0;) {
        t.worker = t.workers[i];
        post_listener(status, port);
    }
}

static bool all_have_applied(void)
{
    return t.applied == t.group->count;
}

static struct {
    int64_t accepted[4], active;
    unsigned calls;
} counted;

static void count_connections(struct worker *w, void *arg)
{
    counted.accepted[worker_index(w)] =
        metrics_get(worker_metrics(w), COUNTER_CONNECTIONS_ACCEPTED);
}

static void counted_one(void *arg)
{
    counted.calls++;
}

static bool has_counted(void)
{
    return counted.calls == t.group->count;
}

static void count_all(void)
{
    memset(&counted, 0, sizeof counted);
    for (unsigned i = 0; i < t.group->count; i++)
        worker_post_call(t.workers[i], count_connections, NULL, counted_one);
    wait_until(has_counted);
}

static bool is_nobody_there(void)
{
    return atomic_load(&t.group->connections.connections) == 0;
}

static void open_all(uint64_t connections_max)
{
    open_workers(4);
    t.limits.connections_max = connections_max; /* read when the first connection comes */
    post_to_all(200, 0);
    wait_until(all_have_applied);
    t.worker = t.workers[0];
    look();
}

/* Long connections, each held: the next goes to whoever has the fewest. */
static void test_the_least_loaded_gets_it(void **state)
{
    struct conn *c[12];
    open_all(100);
    for (unsigned i = 0; i < 12; i++) {
        c[i] = client_open();
        ask(c[i]);
        str_buf_deinit(&got);
    }
    count_all();
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(counted.accepted[i], 3);
    /* Whoever lost its connections gets the next ones. */
    conn_abort(c[1], 0);
    conn_abort(c[5], 0);
    for (unsigned i = 0; i < 300 && atomic_load(&t.group->connections.connections) != 10; i++)
        turn_once(t.turn, 10);
    assert_int_equal(atomic_load(&t.group->connections.connections), 10);
    for (unsigned i = 0; i < 2; i++) {
        c[i == 0 ? 1 : 5] = client_open();
        ask(c[i == 0 ? 1 : 5]);
        str_buf_deinit(&got);
    }
    count_all();
    assert_int_equal(counted.accepted[1], 5);
    for (unsigned i = 0; i < 12; i++)
        conn_abort(c[i], 0);
    wait_until(is_nobody_there);
    close_worker();
}

/* connections_max is the process's: the next one waits in the backlog until any worker's ends. */
static void test_the_limit_is_the_process_s(void **state)
{
    struct conn *c[4];
    open_all(3);
    for (unsigned i = 0; i < 3; i++) {
        c[i] = client_open();
        ask(c[i]);
        str_buf_deinit(&got);
    }
    c[3] = client_open();
    chain_add(&c[3]->out, STR("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    conn_mark_dirty(c[3]);
    for (unsigned i = 0; i < 20; i++)
        turn_once(t.turn, 10);
    assert_int_equal(got.len, 0);
    assert_int_equal(atomic_load(&t.group->connections.connections), 3);
    conn_abort(c[2], 0); /* of worker 2: it tells worker 0 */
    wait_until(has_answer);
    str_buf_deinit(&got);
    count_all();
    assert_int_equal(counted.accepted[2], 2);
    close_worker();
}

/* Connections arrive, and are handed over, while listeners change and go. */
static void test_changes_under_connections(void **state)
{
    open_all(100);
    uint16_t port = t.port;
    for (unsigned i = 0; i < 40; i++) {
        post_to_all(i % 2 == 0 ? 404 : 200, port);
        struct conn *c = client_open();
        ask(c);
        str_buf_deinit(&got);
        conn_abort(c, 0);
        wait_until(all_have_applied);
    }
    close_worker();
}

/* The port is taken: worker 0 says so, and what runs is known. */
static void test_a_refused_port(void **state)
{
    open_all(100);
    struct change_set *set = change_set_new();
    struct resource *r = listener_new(200, 1);
    struct listener *l = (struct listener *)(uintptr_t)r->listener;
    l->address.ip = ip_from_bytes((const uint8_t[]){192, 0, 2, 1}, 4);
    change_set_add(set, RESOURCE_LISTENER, STR("in"), r);
    resource_unref(r);
    set->on_applied = on_applied;
    t.applied = 0;
    worker_post_changes(t.worker, set);
    wait_until(is_applied);
    assert_non_null(strstr(t.error, "cannot listen at"));
    close_worker();
}

static void on_drained(void *ctx)
{
    t.drained++;
}

static bool is_drained(void)
{
    return t.drained >= 2;
}

static void test_drain(void **state)
{
    open_worker();
    post_listener(200, 0);
    wait_until(is_applied);
    look();
    struct conn *c = client_open();
    ask(c);
    /* The second overtakes the first; both are told. */
    worker_post_drain(t.worker, true, 0, 60ull * SECOND, on_drained, NULL);
    worker_post_drain(t.worker, false, 0, 60ull * SECOND, on_drained, NULL);
    wait_until(is_drained);
    wait_until(has_closed);
    (void)c;
    str_buf_deinit(&got);
    close_worker();
}

static bool is_drained_once(void)
{
    return t.drained >= 1;
}

static bool is_told_to_close(void)
{
    return has_answer() && str_contains(str_buf_str(&got), STR("connection: close"));
}

static void wait_us(uint64_t us)
{
    uint64_t until_us = turn_now_us(t.turn) + us;
    while (turn_now_us(t.turn) < until_us)
        turn_once(t.turn, 10);
}

/* Nobody is refused and nothing is closed under a request before the listeners are closed. */
static void test_announced_drain_loses_nothing(void **state)
{
    open_worker();
    post_listener(200, 0);
    wait_until(is_applied);
    look();
    struct conn *kept = client_open();
    ask(kept);
    /* Long enough for a machine that is busy with something else. */
    worker_post_drain(t.worker, false, SECOND, 10ull * SECOND, on_drained, NULL);
    ask(kept); /* as if nothing were */
    assert_false(is_told_to_close());
    wait_us(SECOND + SECOND / 10);
    assert_false(is_closed);
    ask(kept);
    assert_true(is_told_to_close());
    wait_until(has_closed);
    str_buf_deinit(&got);
    struct conn *late = client_open();
    ask(late);
    assert_true(is_told_to_close());
    wait_until(has_closed);
    wait_until(is_drained_once);
    str_buf_deinit(&got);
    (void)client_open(); /* the listeners went last */
    wait_until(has_closed);
    str_buf_deinit(&got);
    close_worker();
}

static void drain_all(uint64_t announce_us)
{
    for (unsigned i = 0; i < t.group->count; i++)
        worker_post_drain(t.workers[i], false, announce_us, 5ull * SECOND, on_drained, NULL);
}

static bool all_are_drained(void)
{
    return t.drained == t.group->count;
}

/* Worker 0 closes for all, when nobody comes any more to any of them; before that none is done:
 * here it is the one without a connection that is handed the late one. */
static void test_drain_of_several_is_one(void **state)
{
    open_all(100);
    struct conn *c[5];
    for (unsigned i = 0; i < 4; i++) {
        c[i] = client_open();
        ask(c[i]);
        str_buf_deinit(&got);
    }
    conn_abort(c[0], 0);
    conn_abort(c[3], 0);
    for (unsigned i = 0; i < 300 && atomic_load(&t.group->connections.connections) != 2; i++)
        turn_once(t.turn, 10);
    drain_all(SECOND / 10);
    wait_us(SECOND / 5);
    assert_int_equal(t.drained, 0);
    for (unsigned i = 0; i < 2; i++) {
        c[4] = client_open();
        ask(c[4]);
        assert_true(is_told_to_close());
        wait_until(has_closed);
        str_buf_deinit(&got);
    }
    conn_abort(c[1], 0);
    conn_abort(c[2], 0);
    wait_until(all_are_drained);
    (void)client_open();
    wait_until(has_closed);
    str_buf_deinit(&got);
    close_worker();
}

/* Nobody announces anything: done is who has nothing, and gets nothing any more. */
static void test_drain_at_once_waits_for_the_acceptor(void **state)
{
    open_all(100);
    for (unsigned i = 1; i < t.group->count; i++)
        worker_post_drain(t.workers[i], false, 0, 60ull * SECOND, on_drained, NULL);
    wait_us(SECOND / 5);
    assert_int_equal(t.drained, 0);
    struct conn *c = client_open();
    ask(c);
    worker_post_drain(t.workers[0], false, 0, 60ull * SECOND, on_drained, NULL);
    wait_until(all_are_drained);
    wait_until(has_closed);
    str_buf_deinit(&got);
    close_worker();
}

static void test_ends_with_connections_open(void **state)
{
    open_worker();
    post_listener(200, 0);
    wait_until(is_applied);
    look();
    struct conn *c = client_open();
    ask(c);
    worker_post_detail_failed(t.worker, STR("nobody:1"), STR("why"));
    end_workers();
    wait_until(has_closed);
    str_buf_deinit(&got);
    turn_free(t.turn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_serves_what_it_was_told),
        cmocka_unit_test(test_an_error_is_told),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_announced_drain_loses_nothing),
        cmocka_unit_test(test_drain_of_several_is_one),
        cmocka_unit_test(test_drain_at_once_waits_for_the_acceptor),
        cmocka_unit_test(test_the_least_loaded_gets_it),
        cmocka_unit_test(test_the_limit_is_the_process_s),
        cmocka_unit_test(test_changes_under_connections),
        cmocka_unit_test(test_a_refused_port),
        cmocka_unit_test(test_ends_with_connections_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
