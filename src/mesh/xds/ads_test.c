/* Both halves of ADS against each other: what each side hears is written to a log, line by line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/vec.h"
#include "mesh/model/cluster.h"
#include "mesh/xds/ads_client.h"
#include "mesh/xds/ads_server.h"

enum { LOG_MAX = 1 << 16, MESSAGE_MAX = 1 << 20 };

struct fixture {
    struct ads_client *client;
    struct ads_stream *stream;
    struct str_buf log;
    VEC(struct str_buf) to_server; /* sent, not yet received */
    bool applies_later, refuses;
    enum resource_type type; /* of responses */
    uint64_t last_token;
    struct str_buf why;
};

/* --- the server's ear --- */

static void on_subscribe(void *ctx, enum resource_type type, struct str name, struct str version)
{
    struct fixture *f = ctx;
    str_buf_printf(&f->log, "+%s %.*s=%.*s\n", resource_type_name(type), STR_FMT(name),
                   STR_FMT(version));
}

static void on_known(void *ctx, enum resource_type type, struct str name, struct str version)
{
    struct fixture *f = ctx;
    str_buf_printf(&f->log, "?%s %.*s=%.*s\n", resource_type_name(type), STR_FMT(name),
                   STR_FMT(version));
}

static void on_unsubscribe(void *ctx, enum resource_type type, struct str name)
{
    struct fixture *f = ctx;
    str_buf_printf(&f->log, "-%s %.*s\n", resource_type_name(type), STR_FMT(name));
}

static void on_ack(void *ctx, enum resource_type type, uint64_t response)
{
    struct fixture *f = ctx;
    str_buf_printf(&f->log, "ack %s %d\n", resource_type_name(type), (int)response);
}

static void on_nack(void *ctx, enum resource_type type, uint64_t response, struct str detail)
{
    struct fixture *f = ctx;
    str_buf_printf(&f->log, "nack %s %d %.*s\n", resource_type_name(type), (int)response,
                   STR_FMT(detail));
}

static void on_node(void *ctx, const struct ads_request_info *info)
{
    struct fixture *f = ctx;
    str_buf_printf(&f->log, "node %.*s %.*s %.*s %.*s\n", STR_FMT(info->node_id),
                   STR_FMT(info->node_cluster), STR_FMT(info->node_metadata_json),
                   STR_FMT(info->user_agent));
}

static const struct ads_stream_ops stream_ops = {
    .on_subscribe = on_subscribe,
    .on_known = on_known,
    .on_unsubscribe = on_unsubscribe,
    .on_ack = on_ack,
    .on_nack = on_nack,
    .on_node = on_node,
};

/* --- the client's ear --- */

static void send_to_server(void *ctx, struct str message)
{
    struct fixture *f = ctx;
    struct str_buf copy = STR_BUF_INIT(MESSAGE_MAX);
    str_buf_add(&copy, message);
    VEC_PUSH(&f->to_server, copy);
}

static void on_update(void *ctx, const struct ads_update *update)
{
    struct fixture *f = ctx;
    for (size_t i = 0; i < update->changed_count; i++)
        str_buf_printf(&f->log, "got %s %.*s=%.*s\n", resource_type_name(update->type),
                       STR_FMT(update->changed[i]->name), STR_FMT(update->changed[i]->version));
    f->last_token = update->token;
    if (!f->applies_later)
        ads_client_done(f->client, update->token, f->refuses ? STR("no") : STR_NULL);
    /* Borrowed until the callback returns, done or not. */
    for (size_t i = 0; i < update->removed_count; i++)
        str_buf_printf(&f->log, "gone %s %.*s\n", resource_type_name(update->type),
                       STR_FMT(update->removed[i]));
}

static void on_ignored(void *ctx, struct str type_url, struct str why)
{
    struct fixture *f = ctx;
    assert_true(why.len > 0);
    str_buf_printf(&f->log, "ignored %.*s\n", STR_FMT(type_url));
}

static const struct ads_client_ops client_ops = {
    .send = send_to_server, .on_update = on_update, .on_ignored = on_ignored};

/* --- fixture --- */

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->log = STR_BUF_INIT(LOG_MAX);
    f->why = STR_BUF_INIT(LOG_MAX);
    f->type = RESOURCE_ENDPOINTS;
    f->client = ads_client_new(&(struct ads_client_args){
        .node_id = STR("sidecar~10.0.0.1"),
        .node_cluster = STR("web"),
        .node_metadata_json = STR("{\"NAMESPACE\":\"shop\",\"n\":1}"),
        .user_agent = STR("tulle"),
        .ops = &client_ops,
        .ctx = f,
    });
    *state = f;
    return 0;
}

static void drop_queue(struct fixture *f)
{
    for (size_t i = 0; i < f->to_server.len; i++)
        str_buf_deinit(&f->to_server.ptr[i]);
    VEC_DEINIT(&f->to_server);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    drop_queue(f);
    ads_client_free(f->client);
    ads_stream_free(f->stream);
    str_buf_deinit(&f->log);
    str_buf_deinit(&f->why);
    free(f);
    return 0;
}

static void deliver(struct fixture *f)
{
    for (size_t i = 0; i < f->to_server.len; i++) {
        int rc = ads_stream_recv(f->stream, str_buf_str(&f->to_server.ptr[i]), &f->why);
        if (rc != 0)
            fail_msg("server: %s", f->why.ptr);
    }
    drop_queue(f);
}

static void connect_stream(struct fixture *f)
{
    ads_client_disconnected(f->client);
    drop_queue(f);
    ads_stream_free(f->stream);
    f->stream = ads_stream_new(&(struct ads_stream_args){.ops = &stream_ops, .ctx = f});
    ads_client_connected(f->client);
    deliver(f);
}

static void flush(struct fixture *f)
{
    ads_client_flush(f->client);
    deliver(f);
}

/* Endpoints or a cluster of that name, or bytes that are no such thing. */
static struct str_buf wire_of(enum resource_type type, const char *name, bool is_good)
{
    struct str_buf wire = STR_BUF_INIT(MESSAGE_MAX);
    struct endpoints eps = {.cluster_name = str_from_c(name)};
    struct cluster cluster = {.name = eps.cluster_name,
                              .kind = CLUSTER_EDS,
                              .least_request_choices = 2,
                              .connect_timeout_us = 1000000};
    const void *body = type == RESOURCE_CLUSTER ? (const void *)&cluster : &eps;
    if (is_good)
        assert_int_equal(xds_encode(type, str_from_c(name), body, XDS_DIALECT_TULLE, &wire), 0);
    else
        str_buf_add_c(&wire, "\x7a\x01x"); /* field 15 */
    return wire;
}

struct item {
    const char *name, *version;
    bool is_bad;
};

static void respond(struct fixture *f, const struct item *items, size_t count,
                    const char *const *removed, size_t removed_count)
{
    struct ads_item wire_items[4];
    struct str_buf wires[4], message = STR_BUF_INIT(MESSAGE_MAX);
    struct str removed_strs[4];
    for (size_t i = 0; i < count; i++) {
        wires[i] = wire_of(f->type, items[i].name, !items[i].is_bad);
        wire_items[i] = (struct ads_item){str_from_c(items[i].name), str_from_c(items[i].version),
                                          str_buf_str(&wires[i])};
    }
    for (size_t i = 0; i < removed_count; i++)
        removed_strs[i] = str_from_c(removed[i]);
    ads_stream_respond(f->stream,
                       &(struct ads_response){.type = f->type,
                                              .items = wire_items,
                                              .item_count = count,
                                              .removed = removed_strs,
                                              .removed_count = removed_count},
                       &message);
    assert_int_equal(ads_client_recv(f->client, str_buf_str(&message)), 0);
    str_buf_deinit(&message);
    for (size_t i = 0; i < count; i++)
        str_buf_deinit(&wires[i]);
    deliver(f);
}

static void assert_log(struct fixture *f, const char *want)
{
    const char *got = f->log.len > 0 ? f->log.ptr : "";
    if (strcmp(got, want) != 0)
        fail_msg("got:\n%swant:\n%s", got, want);
    str_buf_reset(&f->log);
}

#define NODE "node sidecar~10.0.0.1 web {\"NAMESPACE\":\"shop\",\"n\":1} tulle\n"

/* --- tests --- */

static void test_subscribe_and_ack(void **state)
{
    struct fixture *f = *state;
    ads_client_subscribe(f->client, RESOURCE_ENDPOINTS, STR("a:80"));
    ads_client_subscribe(f->client, RESOURCE_ENDPOINTS, STR("a:80"));
    ads_client_subscribe(f->client, RESOURCE_SECRET, STR("default"));
    connect_stream(f);
    assert_log(f, NODE "+endpoints a:80=\n+secret default=\n");
    assert_false(ads_client_is_synced(f->client));
    respond(f, (struct item[]){{"a:80", "v1"}}, 1, NULL, 0);
    assert_log(f, "got endpoints a:80=v1\nack endpoints 1\n");
    assert_false(ads_client_is_synced(f->client));
    ads_client_unsubscribe(f->client, RESOURCE_SECRET, STR("default"));
    assert_true(ads_client_is_synced(f->client));
    flush(f);
    assert_log(f, "-secret default\n");
}

static void test_changes_of_a_turn_are_one_request(void **state)
{
    struct fixture *f = *state;
    connect_stream(f);
    assert_log(f, "");
    ads_client_subscribe(f->client, RESOURCE_ENDPOINTS, STR("a:80"));
    ads_client_subscribe(f->client, RESOURCE_ENDPOINTS, STR("never:1"));
    ads_client_unsubscribe(f->client, RESOURCE_ENDPOINTS, STR("never:1"));
    ads_client_flush(f->client);
    assert_int_equal(f->to_server.len, 1);
    deliver(f);
    assert_log(f, NODE "+endpoints a:80=\n");
    ads_client_subscribe(f->client, RESOURCE_ENDPOINTS, STR("b:80"));
    ads_client_unsubscribe(f->client, RESOURCE_ENDPOINTS, STR("a:80"));
    ads_client_flush(f->client);
    assert_int_equal(f->to_server.len, 1);
    deliver(f);
    assert_log(f, "+endpoints b:80=\n-endpoints a:80\n");
    /* An end and a new beginning in one turn: nothing to say. */
    ads_client_unsubscribe(f->client, RESOURCE_ENDPOINTS, STR("b:80"));
    ads_client_subscribe(f->client, RESOURCE_ENDPOINTS, STR("b:80"));
    flush(f);
    assert_log(f, "");
    /* What is not subscribed to any more is passed over, and acknowledged. */
    respond(f, (struct item[]){{"a:80", "v1"}}, 1, NULL, 0);
    assert_log(f, "ack endpoints 1\n");
}

static void test_reconnect_tells_versions(void **state)
{
    struct fixture *f = *state;
    ads_client_preload(f->client, RESOURCE_ENDPOINTS, STR("cached:80"), STR("v7"));
    ads_client_subscribe(f->client, RESOURCE_ENDPOINTS, STR("cached:80"));
    assert_true(ads_client_is_synced(f->client));
    connect_stream(f);
    assert_log(f, NODE "+endpoints cached:80=v7\n");
    respond(f, (struct item[]){{"cached:80", "v8"}}, 1, NULL, 0);
    str_buf_reset(&f->log);
    connect_stream(f);
    assert_log(f, NODE "+endpoints cached:80=v8\n");
    assert_true(ads_client_is_synced(f->client));
}

static void test_good_ones_are_taken_bad_ones_refused(void **state)
{
    struct fixture *f = *state;
    ads_client_subscribe(f->client, RESOURCE_ENDPOINTS, STR("bad:80"));
    ads_client_subscribe(f->client, RESOURCE_ENDPOINTS, STR("good:80"));
    connect_stream(f);
    str_buf_reset(&f->log);
    respond(f, (struct item[]){{"bad:80", "v1", true}, {"good:80", "v1"}}, 2, NULL, 0);
    assert_log(f, "got endpoints good:80=v1\n"
                  "nack endpoints 1 bad:80: field 15 of "
                  "envoy.config.endpoint.v3.ClusterLoadAssignment is not supported\n");
    assert_true(ads_client_is_synced(f->client));
    connect_stream(f);
    char *log = str_buf_take(&f->log);
    assert_non_null(strstr(log, "+endpoints bad:80=\n"));
    assert_non_null(strstr(log, "+endpoints good:80=v1\n"));
    free(log);
    f->log = STR_BUF_INIT(LOG_MAX);
}

static void test_refused_as_a_whole(void **state)
{
    struct fixture *f = *state;
    ads_client_subscribe(f->client, RESOURCE_ENDPOINTS, STR("a:80"));
    connect_stream(f);
    f->refuses = true;
    str_buf_reset(&f->log);
    respond(f, (struct item[]){{"a:80", "v1"}}, 1, NULL, 0);
    assert_log(f, "got endpoints a:80=v1\nnack endpoints 1 no\n");
    connect_stream(f);
    assert_log(f, NODE "+endpoints a:80=\n");
}

static void test_removal(void **state)
{
    struct fixture *f = *state;
    ads_client_subscribe(f->client, RESOURCE_ENDPOINTS, STR("a:80"));
    ads_client_subscribe(f->client, RESOURCE_ENDPOINTS, STR("none:80"));
    connect_stream(f);
    respond(f, (struct item[]){{"a:80", "v1"}}, 1, (const char *[]){"none:80"}, 1);
    assert_true(ads_client_is_synced(f->client));
    str_buf_reset(&f->log);
    respond(f, NULL, 0, (const char *[]){"a:80", "stranger:1"}, 2);
    assert_log(f, "gone endpoints a:80\nack endpoints 2\n");
}

static void test_wildcard(void **state)
{
    struct fixture *f = *state;
    f->type = RESOURCE_CLUSTER;
    ads_client_subscribe_all(f->client, RESOURCE_CLUSTER);
    connect_stream(f);
    assert_log(f, NODE "+cluster *=\n");
    assert_false(ads_client_is_synced(f->client));
    respond(f, (struct item[]){{"a:80", "v1"}}, 1, NULL, 0);
    assert_log(f, "got cluster a:80=v1\nack cluster 1\n");
    assert_true(ads_client_is_synced(f->client));
    connect_stream(f);
    assert_log(f, NODE "?cluster a:80=v1\n+cluster *=\n");
    ads_client_subscribe(f->client, RESOURCE_CLUSTER, STR("b:80"));
    flush(f);
    assert_log(f, "+cluster b:80=\n");
    connect_stream(f);
    assert_log(f, NODE "+cluster b:80=\n?cluster a:80=v1\n+cluster *=\n");
    respond(f, NULL, 0, (const char *[]){"a:80"}, 1);
    str_buf_reset(&f->log);
    connect_stream(f);
    assert_log(f, NODE "+cluster b:80=\n+cluster *=\n");
}

static void test_applied_after_the_stream_is_gone(void **state)
{
    struct fixture *f = *state;
    ads_client_subscribe(f->client, RESOURCE_ENDPOINTS, STR("a:80"));
    connect_stream(f);
    f->applies_later = true;
    respond(f, (struct item[]){{"a:80", "v1"}}, 1, NULL, 0);
    connect_stream(f);
    str_buf_reset(&f->log);
    ads_client_done(f->client, f->last_token, STR_NULL);
    deliver(f);
    assert_log(f, ""); /* no ACK on a stream that never sent it */
    connect_stream(f);
    assert_log(f, NODE "+endpoints a:80=v1\n");
    respond(f, (struct item[]){{"a:80", "v2"}}, 1, NULL, 0);
    /* Never applied: freed with the client. */
}

static void test_malformed_responses(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ads_client_recv(f->client, STR("")), -ERR_PROTOCOL); /* not connected */
    ads_client_subscribe(f->client, RESOURCE_ENDPOINTS, STR("a:80"));
    connect_stream(f);
    assert_int_equal(ads_client_recv(f->client, STR("\xff")), -ERR_PROTOCOL);
    struct str_buf message = STR_BUF_INIT(MESSAGE_MAX);
    str_buf_reset(&f->log);
    /* Of no type, or of one that nobody asked for: said, and not answered. */
    assert_int_equal(ads_client_recv(f->client, STR("")), 0);
    ads_stream_respond(f->stream, &(struct ads_response){.type = RESOURCE_CLUSTER}, &message);
    assert_int_equal(ads_client_recv(f->client, str_buf_str(&message)), 0);
    str_buf_deinit(&message);
    deliver(f);
    assert_log(f, "ignored \nignored type.googleapis.com/envoy.config.cluster.v3.Cluster\n");
}

static void test_resource_of_another_name_or_type(void **state)
{
    struct fixture *f = *state;
    ads_client_subscribe(f->client, RESOURCE_ENDPOINTS, STR("a:80"));
    connect_stream(f);
    str_buf_reset(&f->log);
    struct str_buf wire = wire_of(RESOURCE_ENDPOINTS, "b:80", true),
                   message = STR_BUF_INIT(MESSAGE_MAX);
    struct ads_item item = {STR("a:80"), STR("v1"), str_buf_str(&wire)};
    ads_stream_respond(
        f->stream,
        &(struct ads_response){.type = RESOURCE_ENDPOINTS, .items = &item, .item_count = 1},
        &message);
    assert_int_equal(ads_client_recv(f->client, str_buf_str(&message)), 0);
    deliver(f);
    assert_log(f, "nack endpoints 1 a:80: the resource inside has another name\n");
    str_buf_deinit(&wire);
    str_buf_deinit(&message);
}

#define EDS_URL "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"

static void test_malformed_requests(void **state)
{
    static const struct {
        struct str message;
        int rc;
    } cases[] = {
        {{"\xff", 1}, -ERR_PROTOCOL},
        {{"\x12\x42" EDS_URL "\x1a\x00", 70}, -ERR_PROTOCOL}, /* an empty name */
        {{"\x12\x42" EDS_URL "\x32\x01"
          "7",
          71},
         -ERR_PROTOCOL}, /* a nonce never sent */
        {{"\x12\x42" EDS_URL "\x32\x01"
          "x",
          71},
         -ERR_PROTOCOL},
        {{"\x12\x04what", 6}, 0}, /* a type of somebody else */
        {{"\x12\x42" EDS_URL "\x1a\x01"
          "a",
          71},
         0},
    };
    struct fixture *f = *state;
    assert_int_equal(strlen(EDS_URL), 0x42);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ads_stream_free(f->stream);
        f->stream = ads_stream_new(&(struct ads_stream_args){.ops = &stream_ops, .ctx = f});
        str_buf_reset(&f->why);
        if (ads_stream_recv(f->stream, cases[i].message, &f->why) != cases[i].rc)
            fail_msg("case %zu", i);
        assert_int_equal(f->why.len > 0, cases[i].rc != 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_subscribe_and_ack, setup, teardown),
        cmocka_unit_test_setup_teardown(test_changes_of_a_turn_are_one_request, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reconnect_tells_versions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_good_ones_are_taken_bad_ones_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused_as_a_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(test_removal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wildcard, setup, teardown),
        cmocka_unit_test_setup_teardown(test_applied_after_the_stream_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_malformed_responses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resource_of_another_name_or_type, setup, teardown),
        cmocka_unit_test_setup_teardown(test_malformed_requests, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
