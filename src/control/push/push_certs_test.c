/* What counts as proof: roots that a proxy acknowledged, leaves that it reported. In memory. */
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

#define IDENTITY "spiffe://cluster.local/ns/shop/sa/web"
#define METADATA                                                                                   \
    "{\"NAMESPACE\":\"shop\",\"WORKLOAD\":\"web\",\"INDEX\":0,\"ADDRESSES\":[\"10.0.0.5\"],"       \
    "\"READY\":true,\"DIALECT\":\"tulle\"}"

static const char workload[] =
    "{\"apiVersion\":\"tulle.dev/v1\",\"kind\":\"Workload\",\"metadata\":{\"name\":\"web\","
    "\"namespace\":\"shop\"},\"spec\":{\"serviceAccount\":\"web\"}}";

struct fixture {
    struct push_rig rig;
    struct arena arena;
    /* The proxy. */
    struct ads_client *client;
    struct push_stream *stream;
    VEC(struct str) to_server, to_client;
    bool is_mute, is_refusing;
    unsigned got; /* times that the roots came */
};

/* --- the proxy --- */

static void client_send(void *ctx, struct str message)
{
    struct fixture *f = ctx;
    VEC_PUSH(&f->to_server, arena_str(&f->arena, message));
}

static void client_update(void *ctx, const struct ads_update *u)
{
    struct fixture *f = ctx;
    for (size_t i = 0; i < u->changed_count; i++)
        f->got += str_eq(u->changed[i]->name, STR("ROOTCA"));
    ads_client_done(f->client, u->token, f->is_refusing ? STR("ROOTCA: not today") : STR_NULL);
}

static const struct ads_client_ops client_ops = {client_send, client_update};

static void stream_send(void *ctx, struct push_response *r)
{
    struct fixture *f = ctx;
    struct str_buf message = STR_BUF_INIT(1 << 24);
    push_response_encode(r, &message);
    VEC_PUSH(&f->to_client, arena_str(&f->arena, str_buf_str(&message)));
    str_buf_deinit(&message);
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
    fail_msg("the stream ended: %d %.*s", (int)status, STR_FMT(why));
}

static const struct push_stream_ops stream_ops = {stream_send, stream_room, stream_end};

static void run(struct fixture *f)
{
    for (int i = 0; i < 10; i++) {
        ads_client_flush(f->client);
        for (size_t n = 0; n < f->to_server.len && !f->is_mute; n++)
            push_stream_recv(f->stream, f->to_server.ptr[n]);
        if (!f->is_mute)
            f->to_server.len = 0;
        turn_once(f->rig.turn, 0);
        for (size_t n = 0; n < f->to_client.len; n++)
            assert_int_equal(ads_client_recv(f->client, f->to_client.ptr[n]), 0);
        f->to_client.len = 0;
    }
}

static void disconnect(struct fixture *f)
{
    f->stream = f->stream != NULL ? push_stream_close(f->stream) : NULL;
    ads_client_disconnected(f->client);
    f->to_server.len = f->to_client.len = 0;
}

static void connect(struct fixture *f)
{
    struct push_peer peer = {.identity = STR(IDENTITY)};
    f->stream =
        push_stream_open(f->rig.push, &peer, &(struct push_call){ADS_DELTA}, &stream_ops, f);
    ads_client_connected(f->client);
    run(f);
}

/* --- fixture --- */

static void apply(struct fixture *f)
{
    struct store_write w = {.object = {.kind = API_KIND_WORKLOAD,
                                       .namespace_ = STR("shop"),
                                       .name = STR("web"),
                                       .json = str_from_c(workload),
                                       .owner = STR("api"),
                                       .created_at = STR("2026-01-01T00:00:00Z")}};
    assert_int_equal(store_commit(f->rig.store, &w, 1, NULL, NULL), 0);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    arena_init(&f->arena, 1024);
    push_rig_open(&f->rig);
    apply(f);
    f->client = ads_client_new(&(struct ads_client_args){.node_id = STR("web/0"),
                                                         .node_cluster = STR("web"),
                                                         .node_metadata_json = STR(METADATA),
                                                         .ops = &client_ops,
                                                         .ctx = f});
    ads_client_subscribe_all(f->client, RESOURCE_LISTENER);
    connect(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    disconnect(f);
    ads_client_free(f->client);
    VEC_DEINIT(&f->to_server);
    VEC_DEINIT(&f->to_client);
    push_rig_close(&f->rig);
    arena_deinit(&f->arena);
    free(f);
    return 0;
}

/* --- tests --- */

struct seen_certs {
    unsigned count, trusting, renewed;
    const char *why_not;
    char root[CA_ID_LEN + 1];
};

static void on_certs(void *ctx, const struct push_certs *c)
{
    struct seen_certs *s = ctx;
    s->count++;
    s->trusting += c->is_trusting;
    s->renewed += c->is_leaf_renewed;
    s->why_not = c->why_not;
    snprintf(s->root, sizeof s->root, "%.*s", STR_FMT(c->root));
}

static struct seen_certs see_certs(struct fixture *f)
{
    struct seen_certs s = {0};
    push_each_certs(f->rig.push, on_certs, &s);
    assert_int_equal(s.count, 1);
    return s;
}

static void expect_why(struct fixture *f, const char *part)
{
    struct seen_certs s = see_certs(f);
    assert_int_equal(s.trusting, 0);
    assert_non_null(strstr(s.why_not, part));
}

/* Sent is not enough: who has not acknowledged does not count. */
static void test_roots_are_trusted_when_acknowledged(void **state)
{
    struct fixture *f = *state;
    expect_why(f, "not asked for the roots");
    ads_client_subscribe(f->client, RESOURCE_SECRET, STR("ROOTCA"));
    run(f);
    assert_int_equal(f->got, 1);
    assert_int_equal(see_certs(f).trusting, 1);
    f->is_mute = true;
    assert_int_equal(ca_rotation_begin(f->rig.ca, STR("cluster.local"), 1800000000), 0);
    push_roots_changed(f->rig.push);
    expect_why(f, "not acknowledged");
    run(f);
    expect_why(f, "not acknowledged");
    f->is_mute = false;
    run(f);
    assert_int_equal(see_certs(f).trusting, 1);
    /* The order of the bundle says who signs: that is told, too. */
    f->is_refusing = true;
    assert_int_equal(ca_rotation_sign(f->rig.ca, 1800000000), 0);
    push_roots_changed(f->rig.push);
    run(f);
    expect_why(f, "refused");
    f->is_refusing = false;
    disconnect(f);
    connect(f);
    ads_client_unsubscribe(f->client, RESOURCE_SECRET, STR("ROOTCA"));
    ads_client_subscribe(f->client, RESOURCE_SECRET, STR("ROOTCA"));
    run(f);
    assert_int_equal(see_certs(f).trusting, 1);
    /* Another tulled has seen nobody yet. */
    disconnect(f);
    push_rig_stop(&f->rig);
    push_rig_start(&f->rig);
    expect_why(f, "not connected");
}

static struct str report_of(struct fixture *f, const char *identity)
{
    struct key *k = key_new_p256();
    struct str_buf csr = STR_BUF_INIT(10000), leaf = STR_BUF_INIT(10000), why = STR_BUF_INIT(500),
                   text = STR_BUF_INIT(16000);
    struct json_writer w;
    uint64_t now_s = turn_wall_us(f->rig.turn) / 1000000;
    assert_int_equal(csr_make(k, str_from_c(identity), &csr), 0);
    struct ca_request r = {str_buf_str(&csr), str_from_c(identity), now_s, 3600};
    assert_int_equal(ca_issue(f->rig.ca, &r, &leaf, &why), 0);
    json_writer_init(&w, &text, 0);
    json_writer_object(&w, NULL);
    json_writer_c(&w, "namespace", "shop");
    json_writer_c(&w, "workload", "web");
    json_writer_u64(&w, "index", 0);
    json_writer_c(&w, "state", "ready");
    json_writer_str(&w, "leaf", str_buf_str(&leaf));
    json_writer_end(&w);
    struct str copy = arena_str(&f->arena, str_buf_str(&text));
    key_unref(k);
    str_buf_deinit(&csr);
    str_buf_deinit(&leaf);
    str_buf_deinit(&why);
    str_buf_deinit(&text);
    return copy;
}

/* A leaf is renewed when the workload says that it runs one of the root that signs. */
static void test_leaves_are_renewed_when_reported(void **state)
{
    struct fixture *f = *state;
    struct str_buf why = STR_BUF_INIT(500);
    uint64_t now_s = turn_wall_us(f->rig.turn) / 1000000;
    assert_int_equal(see_certs(f).renewed, 0);
    struct str old = ca_root_id(ca_root(f->rig.ca), &f->arena);
    assert_int_equal(push_report(f->rig.push, STR(IDENTITY), report_of(f, IDENTITY), &why),
                     GRPC_OK);
    assert_int_equal(see_certs(f).renewed, 1);
    assert_true(str_eq(str_from_c(see_certs(f).root), old));
    assert_true(f->stream->not_after_s > turn_wall_us(f->rig.turn) / 1000000 + 3000);
    assert_int_equal(ca_rotation_begin(f->rig.ca, STR("cluster.local"), now_s), 0);
    assert_int_equal(see_certs(f).renewed, 1);
    assert_int_equal(ca_rotation_sign(f->rig.ca, now_s), 0);
    assert_int_equal(see_certs(f).renewed, 0);
    assert_int_equal(push_report(f->rig.push, STR(IDENTITY), report_of(f, IDENTITY), &why),
                     GRPC_OK);
    assert_int_equal(see_certs(f).renewed, 1);
    assert_false(str_eq(str_from_c(see_certs(f).root), old));
    /* Somebody else's. */
    struct str foreign = report_of(f, "spiffe://cluster.local/ns/shop/sa/other");
    assert_int_equal(push_report(f->rig.push, STR(IDENTITY), foreign, &why), GRPC_INVALID_ARGUMENT);
    str_buf_deinit(&why);
}

int main(void)
{
    log_set_level(LOG_OFF);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_roots_are_trusted_when_acknowledged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leaves_are_renewed_when_reported, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
