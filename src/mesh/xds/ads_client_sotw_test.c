/* The client by state of the world against a server that is written down here, message by message.
 */
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
#include "mesh/xds/pb.h"

enum { LOG_MAX = 1 << 16, MESSAGE_MAX = 1 << 20, ITEMS_MAX = 4 };

struct fixture {
    struct ads_client *client;
    struct str_buf log;
    struct arena arena;
    bool applies_later, refuses;
    uint64_t tokens[ITEMS_MAX];
    size_t token_count;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const char *kind_of(const char *type_url)
{
    enum resource_type type;
    return resource_type_from_url(str_from_c(type_url), &type) ? resource_type_name(type) : "?";
}

static const char *text_of(const char *s)
{
    return s != NULL ? s : "";
}

/* Without the fields that a request may leave out. */
static void on_send(void *ctx, struct str message)
{
    struct fixture *f = ctx;
    const Pb__Discovery__DiscoveryRequest *m =
        pb_unpack(&f->arena, &pb__discovery__discovery_request__descriptor, message);
    assert_non_null(m);
    const char *names[16];
    for (size_t i = 0; i < m->n_resource_names; i++)
        names[i] = m->resource_names[i];
    qsort(names, m->n_resource_names, sizeof *names, by_name);
    str_buf_printf(&f->log, "%s%s v=%s n=%s", m->node != NULL ? "node " : "", kind_of(m->type_url),
                   text_of(m->version_info), text_of(m->response_nonce));
    for (size_t i = 0; i < m->n_resource_names; i++)
        str_buf_printf(&f->log, " %s", names[i]);
    if (m->error_detail != NULL)
        str_buf_printf(&f->log, " ! %s", m->error_detail->message);
    str_buf_add_c(&f->log, "\n");
}

static void on_update(void *ctx, const struct ads_update *update)
{
    struct fixture *f = ctx;
    for (size_t i = 0; i < update->changed_count; i++)
        str_buf_printf(&f->log, "got %.*s\n", STR_FMT(update->changed[i]->name));
    for (size_t i = 0; i < update->removed_count; i++)
        str_buf_printf(&f->log, "gone %.*s\n", STR_FMT(update->removed[i]));
    if (f->applies_later)
        f->tokens[f->token_count++] = update->token;
    else
        ads_client_done(f->client, update->token, f->refuses ? STR("no") : STR_NULL);
}

static void on_held(void *ctx, enum resource_type type, unsigned times)
{
    struct fixture *f = ctx;
    str_buf_printf(&f->log, "held %s %u\n", resource_type_name(type), times);
}

static const struct ads_client_ops ops = {.send = on_send, .on_update = on_update};
static const struct ads_client_ops patient_ops = {
    .send = on_send, .on_update = on_update, .on_held = on_held};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->log = STR_BUF_INIT(LOG_MAX);
    arena_init(&f->arena, MESSAGE_MAX);
    f->client = ads_client_new(
        &(struct ads_client_args){.node_id = STR("n"), .is_sotw = true, .ops = &ops, .ctx = f});
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    ads_client_free(f->client);
    str_buf_deinit(&f->log);
    arena_deinit(&f->arena);
    free(f);
    return 0;
}

static void connect_stream(struct fixture *f)
{
    ads_client_disconnected(f->client);
    ads_client_connected(f->client);
}

/* A resource of that name; "name=3" has another content, "name!" a field that there is not, "@name"
 * stands in an envelope, "~name" in one that has a time to live. */
static Pb__Any *item_of(struct fixture *f, enum resource_type type, const char *text)
{
    bool is_wrapped = text[0] == '@' || text[0] == '~';
    const char *start = text + is_wrapped;
    size_t len = strcspn(start, "=!");
    struct str name = arena_str(&f->arena, str_from(start, len));
    uint32_t number = start[len] == '=' ? (uint32_t)atoi(start + len + 1) : 1;
    struct str_buf wire = STR_BUF_INIT(MESSAGE_MAX);
    struct endpoint one = {.weight = number, .health = ENDPOINT_HEALTHY};
    ip_parse(STR("10.0.0.1"), &one.address.ip);
    struct endpoints eps = {.cluster_name = name, .items = &one, .count = 1};
    struct cluster cluster = {.name = name,
                              .kind = CLUSTER_EDS,
                              .least_request_choices = 2,
                              .connect_timeout_us = number * 1000000};
    const void *body = type == RESOURCE_CLUSTER ? (const void *)&cluster : &eps;
    assert_int_equal(xds_encode(type, name, body, XDS_DIALECT_TULLE, &wire), 0);
    if (start[len] == '!')
        str_buf_add_c(&wire, "\xfa\x7f\x01x"); /* field 2047 */
    Pb__Any *any = arena_alloc(&f->arena, sizeof *any);
    pb__any__init(any);
    any->type_url = arena_str(&f->arena, resource_type_url(type)).ptr;
    struct str kept = arena_str(&f->arena, str_buf_str(&wire));
    any->has_value = true;
    any->value = (ProtobufCBinaryData){kept.len, (uint8_t *)(uintptr_t)kept.ptr};
    str_buf_reset(&wire);
    if (is_wrapped) {
        Pb__Duration ttl = PB__DURATION__INIT;
        Pb__Discovery__Resource envelope = PB__DISCOVERY__RESOURCE__INIT;
        envelope.name = name.ptr;
        envelope.resource = any;
        envelope.ttl = text[0] == '~' ? &ttl : NULL;
        pb_pack(&envelope.base, &wire);
        kept = arena_str(&f->arena, str_buf_str(&wire));
        any = arena_alloc(&f->arena, sizeof *any);
        pb__any__init(any);
        any->type_url = "type.googleapis.com/envoy.service.discovery.v3.Resource";
        any->has_value = true;
        any->value = (ProtobufCBinaryData){kept.len, (uint8_t *)(uintptr_t)kept.ptr};
    }
    str_buf_deinit(&wire);
    return any;
}

/* version is the nonce, too. */
static void respond(struct fixture *f, enum resource_type type, const char *version,
                    const char *const *items)
{
    Pb__Any *anys[ITEMS_MAX];
    Pb__Discovery__DiscoveryResponse m = PB__DISCOVERY__DISCOVERY_RESPONSE__INIT;
    struct str_buf wire = STR_BUF_INIT(MESSAGE_MAX);
    m.type_url = arena_str(&f->arena, resource_type_url(type)).ptr;
    m.version_info = version;
    m.nonce = version;
    m.resources = anys;
    for (; items[m.n_resources] != NULL; m.n_resources++)
        anys[m.n_resources] = item_of(f, type, items[m.n_resources]);
    pb_pack(&m.base, &wire);
    assert_int_equal(ads_client_recv(f->client, str_buf_str(&wire)), 0);
    str_buf_deinit(&wire);
}

#define CLUSTERS(f, version, ...)                                                                  \
    respond(f, RESOURCE_CLUSTER, version, (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})
#define ENDPOINTS(f, version, ...)                                                                 \
    respond(f, RESOURCE_ENDPOINTS, version, (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static void assert_log(struct fixture *f, const char *want)
{
    const char *got = f->log.len > 0 ? f->log.ptr : "";
    if (strcmp(got, want) != 0)
        fail_msg("got:\n%swant:\n%s", got, want);
    str_buf_reset(&f->log);
}

/* --- tests --- */

static void test_all_of_a_type(void **state)
{
    struct fixture *f = *state;
    ads_client_subscribe_all(f->client, RESOURCE_CLUSTER);
    connect_stream(f);
    assert_log(f, "node cluster v= n=\n");
    assert_false(ads_client_is_synced(f->client));
    CLUSTERS(f, "1", "a", "b");
    assert_log(f, "got a\ngot b\ncluster v=1 n=1\n");
    assert_true(ads_client_is_synced(f->client));
    /* What is repeated unchanged is not given again; what is missing is gone. */
    CLUSTERS(f, "2", "a", "b=2");
    assert_log(f, "got b\ncluster v=2 n=2\n");
    CLUSTERS(f, "3", "b=2");
    assert_log(f, "gone a\ncluster v=3 n=3\n");
    CLUSTERS(f, "4", "a", "b=2");
    assert_log(f, "got a\ncluster v=4 n=4\n");
    CLUSTERS(f, "5", "b=2");
    str_buf_reset(&f->log);
    CLUSTERS(f, "6", );
    assert_log(f, "gone b\ncluster v=6 n=6\n");
}

static void test_named_ones(void **state)
{
    struct fixture *f = *state;
    ads_client_subscribe(f->client, RESOURCE_ENDPOINTS, STR("a"));
    connect_stream(f);
    assert_log(f, "node endpoints v= n= a\n");
    ads_client_subscribe(f->client, RESOURCE_ENDPOINTS, STR("b"));
    ads_client_flush(f->client);
    assert_log(f, "endpoints v= n= a b\n");
    /* A part of them, and one that nobody asked for: nothing is gone. */
    ENDPOINTS(f, "1", "a", "other");
    assert_log(f, "got a\nendpoints v=1 n=1 a b\n");
    assert_false(ads_client_is_synced(f->client));
    ENDPOINTS(f, "2", "b");
    assert_log(f, "got b\nendpoints v=2 n=2 a b\n");
    assert_true(ads_client_is_synced(f->client));
    ads_client_unsubscribe(f->client, RESOURCE_ENDPOINTS, STR("a"));
    ads_client_flush(f->client);
    assert_log(f, "endpoints v=2 n=2 b\n");
    ads_client_subscribe(f->client, RESOURCE_ENDPOINTS, STR("a"));
    ads_client_flush(f->client);
    assert_log(f, "endpoints v=2 n=2 a b\n");
    ENDPOINTS(f, "3", "a", "b");
    assert_log(f, "got a\nendpoints v=3 n=3 a b\n");
    ads_client_unsubscribe(f->client, RESOURCE_ENDPOINTS, STR("a"));
    ads_client_unsubscribe(f->client, RESOURCE_ENDPOINTS, STR("b"));
    ads_client_flush(f->client);
    assert_log(f, "endpoints v=3 n=3\n");
}

static void test_refusals(void **state)
{
    struct fixture *f = *state;
    ads_client_subscribe_all(f->client, RESOURCE_CLUSTER);
    connect_stream(f);
    CLUSTERS(f, "1", "a", "b");
    str_buf_reset(&f->log);
    /* Good ones are taken; the refused one stays as it was; the version is the one of before. */
    CLUSTERS(f, "2", "a=2", "b!");
    assert_log(f, "got a\ncluster v=1 n=2 ! b: field 2047 of envoy.config.cluster.v3.Cluster is "
                  "not supported\n");
    CLUSTERS(f, "3", "a=2", "b=3", "a=4");
    assert_log(f, "got b\ncluster v=1 n=3 ! a: it is there twice\n");
    CLUSTERS(f, "4", "@a=2", "~b=3");
    assert_log(f, "cluster v=1 n=4 ! b: ttl is not supported\n");
    CLUSTERS(f, "5", "@a=2", "@b=3");
    assert_log(f, "cluster v=5 n=5\n");
    /* The owner cannot run it: named again, it gets it again. */
    f->refuses = true;
    CLUSTERS(f, "6", "a=6", "b=3");
    assert_log(f, "got a\ncluster v=5 n=6 ! no\n");
    f->refuses = false;
    CLUSTERS(f, "7", "a=6", "b=3");
    assert_log(f, "got a\ncluster v=7 n=7\n");
}

static void test_reconnect(void **state)
{
    struct fixture *f = *state;
    ads_client_subscribe_all(f->client, RESOURCE_CLUSTER);
    ads_client_subscribe(f->client, RESOURCE_ENDPOINTS, STR("a"));
    connect_stream(f);
    CLUSTERS(f, "1", "a", "b");
    ENDPOINTS(f, "1", "a");
    str_buf_reset(&f->log);
    connect_stream(f);
    assert_log(f, "node cluster v=1 n=\nendpoints v=1 n= a\n");
    /* A server that does not know our version tells all: nothing of it is new but for what is. */
    CLUSTERS(f, "x", "a");
    assert_log(f, "gone b\ncluster v=x n=x\n");
    /* A name that was never answered has no version. */
    ads_client_subscribe(f->client, RESOURCE_ENDPOINTS, STR("c"));
    connect_stream(f);
    assert_log(f, "node cluster v=x n=\nendpoints v= n= a c\n");
}

static void test_answers_that_wait(void **state)
{
    struct fixture *f = *state;
    ads_client_subscribe_all(f->client, RESOURCE_CLUSTER);
    ads_client_subscribe(f->client, RESOURCE_ENDPOINTS, STR("a"));
    connect_stream(f);
    str_buf_reset(&f->log);
    f->applies_later = true;
    ENDPOINTS(f, "1", "a");
    /* What is asked for meanwhile is told by the answer. */
    ads_client_subscribe(f->client, RESOURCE_ENDPOINTS, STR("b"));
    ads_client_unsubscribe(f->client, RESOURCE_ENDPOINTS, STR("a"));
    ads_client_flush(f->client);
    assert_log(f, "got a\n");
    /* Given up and wanted again before the server heard of it: it has to tell it again. */
    ads_client_subscribe(f->client, RESOURCE_ENDPOINTS, STR("a"));
    ads_client_done(f->client, f->tokens[0], STR_NULL);
    assert_log(f, "endpoints v=1 n=1 b\nendpoints v=1 n=1 a b\n");
    f->applies_later = false;
    ENDPOINTS(f, "2", "a", "b");
    assert_log(f, "got a\ngot b\nendpoints v=2 n=2 a b\n");
    /* Gone and back while the first of three is not applied yet. */
    f->applies_later = true;
    f->token_count = 0;
    CLUSTERS(f, "1", "a");
    CLUSTERS(f, "2", );
    CLUSTERS(f, "3", "a");
    assert_log(f, "got a\ngone a\ngot a\n");
    for (size_t i = 0; i < 3; i++)
        ads_client_done(f->client, f->tokens[i], STR_NULL);
    assert_log(f, "cluster v=1 n=1\ncluster v=2 n=2\ncluster v=3 n=3\n");
    f->applies_later = false;
    CLUSTERS(f, "4", );
    assert_log(f, "gone a\ncluster v=4 n=4\n");
}

/* A server that sends what was refused again at once is not answered at once for ever. */
static void test_refusals_in_a_row_are_held(void **state)
{
    struct fixture *f = *state;
    ads_client_free(f->client);
    f->client = ads_client_new(&(struct ads_client_args){
        .node_id = STR("n"), .is_sotw = true, .ops = &patient_ops, .ctx = f});
    ads_client_subscribe_all(f->client, RESOURCE_CLUSTER);
    connect_stream(f);
    CLUSTERS(f, "1", "a!");
    str_buf_reset(&f->log);
    CLUSTERS(f, "1", "a!");
    assert_log(f, "held cluster 2\n");
    ads_client_release(f->client, RESOURCE_ENDPOINTS);
    assert_log(f, "");
    ads_client_release(f->client, RESOURCE_CLUSTER);
    assert_log(f, "cluster v= n=1 ! a: field 2047 of envoy.config.cluster.v3.Cluster is not "
                  "supported\n");
    /* A change of what is asked for takes the answer with it. */
    CLUSTERS(f, "2", "a!");
    str_buf_reset(&f->log);
    ads_client_subscribe(f->client, RESOURCE_CLUSTER, STR("b"));
    ads_client_flush(f->client);
    assert_log(f, "cluster v= n=2 * b ! a: field 2047 of envoy.config.cluster.v3.Cluster is not "
                  "supported\n");
    /* Good ones are answered at once, and so is the first bad one after them; one of a stream that
     * is gone never. */
    CLUSTERS(f, "3", "a");
    CLUSTERS(f, "4", "a!");
    CLUSTERS(f, "5", "a!");
    str_buf_reset(&f->log);
    connect_stream(f);
    str_buf_reset(&f->log);
    ads_client_release(f->client, RESOURCE_CLUSTER);
    assert_log(f, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_all_of_a_type, setup, teardown),
        cmocka_unit_test_setup_teardown(test_named_ones, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reconnect, setup, teardown),
        cmocka_unit_test_setup_teardown(test_answers_that_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals_in_a_row_are_held, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
