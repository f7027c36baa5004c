/* What a change costs when others are there that it does not concern: counted, not timed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/log.h"
#include "control/push/testing/push_rig.h"
#include "mesh/xds/ads_client.h"

enum { WORKLOADS = 12, WAIT_TURNS_MAX = 2000 };

struct fixture;

/* The one replica of workload w<n>, in namespace a or b; it calls s0. */
struct proxy {
    struct fixture *f;
    struct ads_client *client;
    struct push_stream *stream;
    VEC(struct str_buf) to_server, to_client;
    unsigned directories, listeners, endpoints;
};

struct fixture {
    struct push_rig rig;
    struct proxy proxies[WORKLOADS];
};

static const char *namespace_of(unsigned i)
{
    return i % 2 == 0 ? "a" : "b";
}

/* --- documents --- */

static void apply_workload(struct fixture *f, unsigned i)
{
    char text[1024];
    const char *ns = namespace_of(i);
    snprintf(text, sizeof text,
             "apiVersion: v1\nkind: Service\nmetadata: {name: s%u, namespace: %s}\n"
             "spec: {selector: {app: w%u}, ports: [{name: http, port: 80}]}\n---\n"
             "apiVersion: tulle.dev/v1\nkind: Workload\n"
             "metadata: {name: w%u, namespace: %s, labels: {app: w%u}}\n"
             "spec: {serviceAccount: w, ports: [{name: http, port: 80}]}\n",
             i, ns, i, i, ns, i);
    push_rig_apply(&f->rig, text);
}

static void apply_policy(struct fixture *f, const char *namespace_, const char *app,
                         const char *path)
{
    char text[1024];
    snprintf(text, sizeof text,
             "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
             "metadata: {name: p, namespace: %s}\n"
             "spec: {selector: {matchLabels: {app: %s}}, action: DENY,"
             " rules: [{to: [{operation: {paths: [\"%s\"]}}]}]}\n",
             namespace_, app, path);
    push_rig_apply(&f->rig, text);
}

/* --- proxies --- */

static void client_send(void *ctx, struct str message)
{
    struct proxy *x = ctx;
    struct str_buf copy = STR_BUF_INIT(1 << 20);
    str_buf_add(&copy, message);
    VEC_PUSH(&x->to_server, copy);
}

static void client_update(void *ctx, const struct ads_update *u)
{
    struct proxy *x = ctx;
    x->directories += u->type == RESOURCE_DIRECTORY ? (unsigned)u->changed_count : 0;
    x->listeners += u->type == RESOURCE_LISTENER ? (unsigned)u->changed_count : 0;
    x->endpoints += u->type == RESOURCE_ENDPOINTS ? (unsigned)u->changed_count : 0;
    ads_client_done(x->client, u->token, STR_NULL);
}

static const struct ads_client_ops client_ops = {client_send, client_update};

static void stream_send(void *ctx, struct push_response *r)
{
    struct proxy *x = ctx;
    struct str_buf message = STR_BUF_INIT(1 << 24);
    push_response_encode(r, &message);
    VEC_PUSH(&x->to_client, message);
    push_response_free(r);
}

static bool stream_room(void *ctx)
{
    (void)ctx;
    return true;
}

static void stream_end(void *ctx, enum grpc_status status, struct str why)
{
    (void)ctx;
    fail_msg("ended with %d: %.*s", (int)status, STR_FMT(why));
}

static const struct push_stream_ops stream_ops = {stream_send, stream_room, stream_end};

static bool move_on(struct proxy *x)
{
    bool has_moved = x->to_server.len > 0 || x->to_client.len > 0;
    for (size_t i = 0; i < x->to_client.len; i++) {
        assert_int_equal(ads_client_recv(x->client, str_buf_str(&x->to_client.ptr[i])), 0);
        str_buf_deinit(&x->to_client.ptr[i]);
    }
    x->to_client.len = 0;
    ads_client_flush(x->client);
    for (size_t i = 0; i < x->to_server.len; i++) {
        push_stream_recv(x->stream, str_buf_str(&x->to_server.ptr[i]));
        str_buf_deinit(&x->to_server.ptr[i]);
    }
    x->to_server.len = 0;
    return has_moved;
}

/* Until nobody has anything more to say. */
static void run(struct fixture *f)
{
    for (int quiet = 0; quiet < 3;) {
        bool has_moved = false;
        turn_once(f->rig.turn, 0);
        for (unsigned i = 0; i < WORKLOADS; i++)
            has_moved |= move_on(&f->proxies[i]);
        quiet = has_moved ? 0 : quiet + 1;
    }
}

static void reset_counts(struct fixture *f)
{
    for (unsigned i = 0; i < WORKLOADS; i++)
        f->proxies[i].directories = f->proxies[i].listeners = f->proxies[i].endpoints = 0;
}

static void connect_one(struct fixture *f, unsigned i)
{
    struct proxy *x = &f->proxies[i];
    char identity[128], metadata[256];
    snprintf(identity, sizeof identity, "spiffe://cluster.local/ns/%s/sa/w", namespace_of(i));
    snprintf(metadata, sizeof metadata,
             "{\"NAMESPACE\":\"%s\",\"WORKLOAD\":\"w%u\",\"INDEX\":0,\"DIALECT\":\"tulle\","
             "\"ADDRESSES\":[\"10.0.0.%u\"],\"READY\":true}",
             namespace_of(i), i, i + 1);
    struct push_peer peer = {.identity = str_from_c(identity)};
    x->f = f;
    x->client = ads_client_new(&(struct ads_client_args){.node_id = STR("n"),
                                                         .node_metadata_json = str_from_c(metadata),
                                                         .ops = &client_ops,
                                                         .ctx = x});
    ads_client_subscribe_all(x->client, RESOURCE_DIRECTORY);
    ads_client_subscribe_all(x->client, RESOURCE_LISTENER);
    ads_client_subscribe_all(x->client, RESOURCE_CLUSTER);
    ads_client_subscribe(x->client, RESOURCE_ENDPOINTS, STR("s0.a.svc.cluster.local:80"));
    x->stream =
        push_stream_open(f->rig.push, &peer, &(struct push_call){ADS_DELTA}, &stream_ops, x);
    ads_client_connected(x->client);
}

/* --- fixture --- */

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    push_rig_open(&f->rig);
    for (unsigned i = 0; i < WORKLOADS; i++)
        apply_workload(f, i);
    for (unsigned i = 0; i < WORKLOADS; i++)
        connect_one(f, i);
    run(f);
    reset_counts(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < WORKLOADS; i++) {
        struct proxy *x = &f->proxies[i];
        if (x->stream != NULL)
            push_stream_close(x->stream);
        VEC_DEINIT(&x->to_server);
        VEC_DEINIT(&x->to_client);
        ads_client_free(x->client);
    }
    push_rig_close(&f->rig);
    free(f);
    return 0;
}

/* --- tests --- */

static void test_a_policy_visits_whom_it_concerns(void **state)
{
    struct fixture *f = *state;
    uint64_t visits = f->rig.push->counters.visits, runs = translate_runs(f->rig.translate);
    apply_policy(f, "a", "w4", "/x");
    run(f);
    for (unsigned i = 0; i < WORKLOADS; i++)
        assert_int_equal(f->proxies[i].listeners, i == 4 ? 1 : 0);
    assert_int_equal(f->rig.push->counters.visits - visits, 1);
    /* The inbound listeners of its namespace are computed, and nobody else's. */
    assert_int_equal(translate_runs(f->rig.translate) - runs, WORKLOADS / 2);
}

static void test_equal_bytes_visit_nobody(void **state)
{
    struct fixture *f = *state;
    uint64_t visits = f->rig.push->counters.visits, runs = translate_runs(f->rig.translate);
    apply_policy(f, "a", "nobody", "/x");
    run(f);
    assert_int_equal(f->rig.push->counters.visits, visits);
    assert_int_equal(translate_runs(f->rig.translate) - runs, WORKLOADS / 2);
}

/* A directory says where a replica is, not how it is. */
static void test_readiness_changes_endpoints_only(void **state)
{
    struct fixture *f = *state;
    struct registry_replica *r = registry_replica(f->rig.registry, STR("a"), STR("w0"), 0);
    registry_replica_set_state(f->rig.registry, r, REPLICA_CONNECTED);
    run(f);
    for (unsigned i = 0; i < WORKLOADS; i++) {
        assert_int_equal(f->proxies[i].endpoints, 1);
        assert_int_equal(f->proxies[i].directories, 0);
    }
}

static void test_what_changes_back_is_told_nobody(void **state)
{
    struct fixture *f = *state;
    uint64_t visits = f->rig.push->counters.visits;
    struct registry_replica *r = registry_replica(f->rig.registry, STR("a"), STR("w0"), 0);
    registry_replica_set_state(f->rig.registry, r, REPLICA_CONNECTED);
    registry_replica_set_state(f->rig.registry, r, REPLICA_READY);
    run(f);
    assert_int_equal(f->rig.push->counters.visits, visits);
}

/* Another one asks in between, and so computes it: those who had it are told all the same. */
static void test_whoever_asks_first(void **state)
{
    struct fixture *f = *state;
    struct registry_replica *r = registry_replica(f->rig.registry, STR("a"), STR("w0"), 0);
    struct translate_viewer v = {XDS_DIALECT_TULLE, STR("b"), STR("w1")};
    registry_replica_set_state(f->rig.registry, r, REPLICA_CONNECTED);
    translate_output_unref(
        translate_get(f->rig.translate, &v, RESOURCE_ENDPOINTS, STR("s0.a.svc.cluster.local:80")));
    run(f);
    for (unsigned i = 0; i < WORKLOADS; i++)
        assert_int_equal(f->proxies[i].endpoints, 1);
}

static void wait_for_directories(struct fixture *f, unsigned count)
{
    for (int i = 0; i < WAIT_TURNS_MAX && f->proxies[0].directories < count; i++) {
        turn_once(f->rig.turn, 10 * 1000);
        run(f);
    }
    assert_int_equal(f->proxies[0].directories, count);
}

static void test_directories_have_a_pace(void **state)
{
    struct fixture *f = *state;
    f->rig.push->pace_bytes = INT64_MIN / 2;
    apply_workload(f, WORKLOADS);
    apply_policy(f, "a", "w0", "/x");
    run(f);
    /* Policies do not wait for directories. */
    assert_int_equal(f->proxies[0].listeners, 1);
    assert_int_equal(f->proxies[0].directories, 0);
    /* Several changes are one when the time has come. */
    apply_workload(f, WORKLOADS + 2);
    run(f);
    f->rig.push->pace_bytes = 1;
    wait_for_directories(f, 1);
}

/* Who asks in the very turn of a change must not be told that all have it. */
static void test_what_just_changed_is_not_in_sync(void **state)
{
    struct fixture *f = *state;
    struct str_buf text = STR_BUF_INIT(1 << 20);
    struct json_writer w;
    struct push_status_query query = {.namespace_ = STR("b"), .workload = STR("w1")};
    struct registry_replica *r = registry_replica(f->rig.registry, STR("a"), STR("w0"), 0);
    registry_replica_set_state(f->rig.registry, r, REPLICA_CONNECTED);
    json_writer_init(&w, &text, 0);
    json_writer_object(&w, NULL);
    push_render_status(f->rig.push, &query, &w);
    json_writer_end(&w);
    assert_true(str_contains(str_buf_str(&text), STR("\"synced\":false")));
    str_buf_deinit(&text);
    run(f);
}

static void test_streams_of_a_workload_that_goes(void **state)
{
    struct fixture *f = *state;
    struct store_write w = {
        .is_delete = true,
        .object = {.kind = API_KIND_WORKLOAD, .namespace_ = STR("a"), .name = STR("w2")}};
    assert_int_equal(store_commit(f->rig.store, &w, 1, NULL, NULL), 0);
    push_settle(f->rig.push);
    assert_true(f->proxies[2].stream->is_check_due);
    assert_false(f->proxies[4].stream->is_check_due);
    f->proxies[2].stream->is_check_due = false;
}

/* Only when no lease runs are all replicas looked at: what else is waited for may be far away. */
static void test_a_lease_is_looked_at_when_it_is_over(void **state)
{
    struct fixture *f = *state;
    const struct registry_bypass b = {.namespace_ = STR("b"),
                                      .workload = STR("w1"),
                                      .sides = BYPASS_INBOUND,
                                      .until_ms = turn_wall_us(f->rig.turn) / 1000 + 600 * 1000,
                                      .note = STR("test")};
    assert_int_equal(registry_bypass_begin(f->rig.registry, &b), 0);
    push_expire_soon(f->rig.push);
    f->proxies[2].stream = push_stream_close(f->proxies[2].stream);
    const struct registry_replica *r = registry_replica(f->rig.registry, STR("a"), STR("w2"), 0);
    ASSERT(r != NULL);
    assert_true(timer_is_started(&f->rig.push->expire_timer));
    assert_true(f->rig.push->expire_timer.due_us <= r->lease_until_us);
}

int main(void)
{
    log_set_level(LOG_OFF);
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_a_policy_visits_whom_it_concerns),
        T(test_equal_bytes_visit_nobody),
        T(test_readiness_changes_endpoints_only),
        T(test_what_changes_back_is_told_nobody),
        T(test_whoever_asks_first),
        T(test_directories_have_a_pace),
        T(test_streams_of_a_workload_that_goes),
        T(test_what_just_changed_is_not_in_sync),
        T(test_a_lease_is_looked_at_when_it_is_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
