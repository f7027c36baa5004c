/* Streams against the client's state machine, in memory: no sockets, no TLS. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/log.h"
#include "codec/json.h"
#include "control/push/testing/push_rig.h"
#include "mesh/xds/ads_client.h"
#include "mesh/xds/ca_codec.h"

#define IDENTITY "spiffe://cluster.local/ns/shop/sa/web"
#define HOST "catalog.shop.svc.cluster.local:8080"

static const char documents[] =
    "apiVersion: v1\nkind: Service\nmetadata: {name: catalog, namespace: shop}\n"
    "spec: {selector: {app: catalog}, ports: [{name: http, port: 8080}]}\n---\n"
    "apiVersion: v1\nkind: Service\nmetadata: {name: orders, namespace: shop}\n"
    "spec: {selector: {app: orders}, ports: [{name: http, port: 8080}]}\n---\n"
    "apiVersion: tulle.dev/v1\nkind: Workload\n"
    "metadata: {name: web, namespace: shop, labels: {app: web}}\n"
    "spec: {serviceAccount: web, replicas: 2, ports: [{name: http, port: 80}]}\n---\n"
    "apiVersion: tulle.dev/v1\nkind: Workload\n"
    "metadata: {name: catalog-v1, namespace: shop, labels: {app: catalog, version: v1}}\n"
    "spec: {serviceAccount: catalog, replicas: 2, ports: [{name: http, port: 8080}]}\n";

static const char routes[] = "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
                             "metadata: {name: catalog, namespace: shop}\n"
                             "spec: {hosts: [catalog], http: [{route: [\n"
                             " {destination: {host: catalog, subset: v1}, weight: %d},\n"
                             " {destination: {host: catalog, subset: v2}, weight: %d}]}]}\n";

struct fixture;

/* A proxy: its client and the stream it holds at present. */
struct proxy {
    struct fixture *f;
    struct ads_client *client;
    struct push_stream *stream;
    VEC(struct str_buf) to_server, to_client;
    struct str_buf got;    /* "route NAME\n", "-route NAME\n" */
    const char *refuse;    /* updates of that type are refused */
    bool is_full, is_mute; /* no room; does not answer */
    int ended;             /* gRPC status + 1 */
    char ended_why[200];
};

struct fixture {
    struct push_rig rig;
    struct proxy web;
    struct arena arena;
    struct push_wait_result waited;
    bool is_waited;
    char lagging[256];
    struct str_buf nacks;
};

/* --- documents --- */

static void apply_weights(struct fixture *f, int v1)
{
    char text[1024];
    snprintf(text, sizeof text, routes, v1, 100 - v1);
    push_rig_apply(&f->rig, text);
}

/* --- the proxy --- */

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
    const char *type = resource_type_name(u->type);
    for (size_t i = 0; i < u->changed_count; i++)
        str_buf_printf(&x->got, "%s %.*s\n", type, STR_FMT(u->changed[i]->name));
    for (size_t i = 0; i < u->removed_count; i++)
        str_buf_printf(&x->got, "-%s %.*s\n", type, STR_FMT(u->removed[i]));
    char reason[200] = "";
    if (x->refuse != NULL && strcmp(x->refuse, type) == 0)
        snprintf(reason, sizeof reason, "%s: not today",
                 u->changed_count > 0 ? arena_str(&x->f->arena, u->changed[0]->name).ptr : "?");
    ads_client_done(x->client, u->token, str_from_c(reason));
}

static const struct ads_client_ops client_ops = {client_send, client_update};

static void stream_send(void *ctx, struct push_response *r)
{
    struct proxy *x = ctx;
    struct str_buf copy = STR_BUF_INIT(1 << 24);
    push_response_encode(r, &copy);
    VEC_PUSH(&x->to_client, copy);
    push_response_free(r);
}

static bool stream_room(void *ctx)
{
    return !((struct proxy *)ctx)->is_full;
}

static void stream_end(void *ctx, enum grpc_status status, struct str why)
{
    struct proxy *x = ctx;
    x->ended = (int)status + 1;
    snprintf(x->ended_why, sizeof x->ended_why, "%.*s", STR_FMT(why));
}

static const struct push_stream_ops stream_ops = {stream_send, stream_room, stream_end};

static void drop(struct proxy *x)
{
    for (size_t i = 0; i < x->to_server.len; i++)
        str_buf_deinit(&x->to_server.ptr[i]);
    for (size_t i = 0; i < x->to_client.len; i++)
        str_buf_deinit(&x->to_client.ptr[i]);
    VEC_DEINIT(&x->to_server);
    VEC_DEINIT(&x->to_client);
}

/* Until both sides have nothing more to say. */
static void run(struct fixture *f)
{
    struct proxy *x = &f->web;
    for (int i = 0; i < 20; i++) {
        ads_client_flush(x->client);
        for (size_t n = 0; n < x->to_server.len && !x->is_mute; n++) {
            struct str_buf message = x->to_server.ptr[n];
            push_stream_recv(x->stream, str_buf_str(&message));
        }
        if (!x->is_mute) {
            for (size_t n = 0; n < x->to_server.len; n++)
                str_buf_deinit(&x->to_server.ptr[n]);
            x->to_server.len = 0;
        }
        turn_once(f->rig.turn, 0);
        for (size_t n = 0; n < x->to_client.len; n++)
            assert_int_equal(ads_client_recv(x->client, str_buf_str(&x->to_client.ptr[n])), 0);
        for (size_t n = 0; n < x->to_client.len; n++)
            str_buf_deinit(&x->to_client.ptr[n]);
        x->to_client.len = 0;
    }
}

static void connect_as(struct fixture *f, const char *identity)
{
    struct proxy *x = &f->web;
    struct push_peer peer = {.identity = str_from_c(identity)};
    if (x->stream != NULL) {
        push_stream_close(x->stream);
        ads_client_disconnected(x->client);
        drop(x);
    }
    x->ended = 0;
    x->stream =
        push_stream_open(f->rig.push, &peer, &(struct push_call){ADS_DELTA}, &stream_ops, x);
    ads_client_connected(x->client);
    run(f);
}

static void make_client(struct fixture *f, const char *metadata)
{
    struct proxy *x = &f->web;
    x->f = f;
    x->client = ads_client_new(&(struct ads_client_args){.node_id = STR("web/0"),
                                                         .node_cluster = STR("web"),
                                                         .node_metadata_json = str_from_c(metadata),
                                                         .ops = &client_ops,
                                                         .ctx = x});
    ads_client_subscribe_all(x->client, RESOURCE_DIRECTORY);
    ads_client_subscribe_all(x->client, RESOURCE_CLUSTER);
    ads_client_subscribe_all(x->client, RESOURCE_LISTENER);
    static const enum resource_type types[] = {RESOURCE_LISTENER, RESOURCE_ROUTE, RESOURCE_CLUSTER,
                                               RESOURCE_ENDPOINTS};
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        ads_client_subscribe(x->client, types[i], STR(HOST));
}

#define METADATA                                                                                   \
    "{\"NAMESPACE\":\"shop\",\"WORKLOAD\":\"web\",\"INDEX\":0,\"ADDRESSES\":[\"10.0.0.5\"],"       \
    "\"READY\":true,\"DIALECT\":\"tulle\"}"

/* --- fixture --- */

static void hang_up(struct fixture *f)
{
    if (f->web.stream != NULL)
        f->web.stream = push_stream_close(f->web.stream);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    arena_init(&f->arena, 1024);
    f->nacks = STR_BUF_INIT(10000);
    f->web.got = STR_BUF_INIT(1 << 20);
    push_rig_open(&f->rig);
    push_rig_apply(&f->rig, documents);
    apply_weights(f, 90);
    make_client(f, METADATA);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    hang_up(f);
    drop(&f->web);
    ads_client_free(f->web.client);
    str_buf_deinit(&f->web.got);
    str_buf_deinit(&f->nacks);
    push_rig_close(&f->rig);
    arena_deinit(&f->arena);
    free(f);
    return 0;
}

static bool got(struct fixture *f, const char *line)
{
    return str_contains(str_buf_str(&f->web.got), str_from_c(line));
}

static void on_waited(void *ctx, const struct push_wait_result *r)
{
    struct fixture *f = ctx;
    f->waited = *r;
    snprintf(f->lagging, sizeof f->lagging, "%.*s", STR_FMT(r->lagging_json));
    f->is_waited = true;
    str_buf_reset(&f->nacks);
    str_buf_add(&f->nacks, r->nacks_json);
}

enum { LONG_US = 600 * 1000 * 1000, SHORT_US = 50 * 1000 };
static void start_wait(struct fixture *f, uint64_t timeout_us)
{
    f->is_waited = false;
    push_wait(f->rig.push, store_revision(f->rig.store), timeout_us, on_waited, f);
}

/* --- tests --- */

static void test_subscribe_and_get(void **state)
{
    struct fixture *f = *state;
    connect_as(f, IDENTITY);
    assert_int_equal(f->web.ended, 0);
    assert_true(got(f, "\nlistener virtualInbound\n") || got(f, "listener virtualInbound\n"));
    assert_true(got(f, "route " HOST "\n"));
    assert_true(got(f, "cluster " HOST "\n"));
    assert_true(got(f, "endpoints " HOST "\n"));
    assert_true(got(f, "directory shop\n"));
    assert_true(got(f, "cluster inbound|80|http\n"));
    assert_true(ads_client_is_synced(f->web.client));
    /* Clusters come before the routes that name them. */
    const char *text = f->web.got.ptr;
    assert_true(strstr(text, "cluster " HOST) < strstr(text, "route " HOST));
    struct registry_replica *r = registry_replica(f->rig.registry, STR("shop"), STR("web"), 0);
    assert_non_null(r);
    assert_int_equal(r->state, REPLICA_READY);
}

static void test_only_what_changed_is_sent(void **state)
{
    struct fixture *f = *state;
    connect_as(f, IDENTITY);
    str_buf_reset(&f->web.got);
    apply_weights(f, 50);
    run(f);
    assert_true(str_eq(str_buf_str(&f->web.got), STR("route " HOST "\n")));
}

static void test_equal_content_is_no_byte(void **state)
{
    struct fixture *f = *state;
    connect_as(f, IDENTITY);
    uint64_t before = push_bytes_sent(f->rig.push);
    /* Another annotation, another revision: the same configuration. */
    push_rig_apply(&f->rig,
                   "apiVersion: v1\nkind: Service\n"
                   "metadata: {name: catalog, namespace: shop, annotations: {note: x}}\n"
                   "spec: {selector: {app: catalog}, ports: [{name: http, port: 8080}]}\n");
    start_wait(f, LONG_US);
    run(f);
    assert_true(push_bytes_sent(f->rig.push) == before);
    assert_true(f->is_waited);
    assert_int_equal(f->waited.proxies, 0);
    apply_weights(f, 90); /* unchanged */
    run(f);
    assert_true(push_bytes_sent(f->rig.push) == before);
}

static void test_reconnect_sends_nothing(void **state)
{
    struct fixture *f = *state;
    connect_as(f, IDENTITY);
    uint64_t before = push_bytes_sent(f->rig.push);
    connect_as(f, IDENTITY);
    assert_true(push_bytes_sent(f->rig.push) == before);
    /* Nor after a restart of tulled. */
    hang_up(f);
    push_rig_stop(&f->rig);
    ads_client_disconnected(f->web.client);
    drop(&f->web);
    push_rig_start(&f->rig);
    str_buf_reset(&f->web.got);
    connect_as(f, IDENTITY);
    assert_int_equal(f->web.ended, 0);
    assert_true(f->rig.push->counters.resources == 0);
    assert_int_equal(f->web.got.len, 0);
    assert_true(push_bytes_sent(f->rig.push) == 0);
}

static void test_what_went_is_removed(void **state)
{
    struct fixture *f = *state;
    connect_as(f, IDENTITY);
    str_buf_reset(&f->web.got);
    struct store_write w = {
        .is_delete = true,
        .object = {.kind = API_KIND_SERVICE, .namespace_ = STR("shop"), .name = STR("catalog")}};
    assert_int_equal(store_commit(f->rig.store, &w, 1, NULL, NULL), 0);
    run(f);
    assert_true(got(f, "-route " HOST "\n"));
    assert_true(got(f, "-cluster " HOST "\n"));
    assert_true(got(f, "directory shop\n"));
    /* And it comes back under its name. */
    str_buf_reset(&f->web.got);
    push_rig_apply(&f->rig, documents);
    run(f);
    assert_true(got(f, "route " HOST "\n"));
}

static void test_new_namespace_reaches_the_wildcard(void **state)
{
    struct fixture *f = *state;
    connect_as(f, IDENTITY);
    str_buf_reset(&f->web.got);
    push_rig_apply(&f->rig, "apiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: data}\n"
                            "spec: {selector: {app: db}, ports: [{name: tcp, port: 5432}]}\n");
    run(f);
    assert_true(str_eq(str_buf_str(&f->web.got), STR("directory data\n")));
    str_buf_reset(&f->web.got);
    struct store_write w = {
        .is_delete = true,
        .object = {.kind = API_KIND_SERVICE, .namespace_ = STR("data"), .name = STR("db")}};
    assert_int_equal(store_commit(f->rig.store, &w, 1, NULL, NULL), 0);
    run(f);
    assert_true(str_eq(str_buf_str(&f->web.got), STR("-directory data\n")));
}

static void test_wait_counts(void **state)
{
    struct fixture *f = *state;
    connect_as(f, IDENTITY);
    f->web.is_mute = true;
    apply_weights(f, 10);
    start_wait(f, LONG_US);
    run(f);
    assert_false(f->is_waited);
    f->web.is_mute = false;
    run(f);
    assert_true(f->is_waited);
    assert_int_equal(f->waited.proxies, 1);
    assert_int_equal(f->waited.acked, 1);
    assert_false(f->waited.is_timed_out);
    /* Asked again later: still known. */
    start_wait(f, LONG_US);
    run(f);
    assert_true(f->is_waited);
    assert_int_equal(f->waited.acked, 1);
}

static void test_wait_times_out_and_forgets_the_dead(void **state)
{
    struct fixture *f = *state;
    connect_as(f, IDENTITY);
    f->web.is_mute = true;
    apply_weights(f, 10);
    start_wait(f, SHORT_US);
    run(f);
    usleep(60000);
    run(f);
    assert_true(f->is_waited);
    assert_true(f->waited.is_timed_out);
    assert_string_equal(f->lagging, "[\"shop/web/0\"]");
    assert_int_equal(f->waited.proxies, 1);
    assert_int_equal(f->waited.acked, 0);
    start_wait(f, LONG_US);
    f->web.stream = push_stream_close(f->web.stream);
    turn_once(f->rig.turn, 0);
    assert_true(f->is_waited);
    assert_int_equal(f->waited.proxies, 0);
    assert_string_equal(f->lagging, "[]");
    assert_false(f->waited.is_timed_out);
    f->web.is_mute = false;
}

static void test_wait_without_proxies(void **state)
{
    struct fixture *f = *state;
    apply_weights(f, 33);
    start_wait(f, LONG_US);
    turn_once(f->rig.turn, 0);
    assert_true(f->is_waited);
    assert_int_equal(f->waited.proxies, 0);
}

static void test_nack_is_recorded(void **state)
{
    struct fixture *f = *state;
    struct store_object o;
    connect_as(f, IDENTITY);
    f->web.refuse = "route";
    apply_weights(f, 20);
    start_wait(f, LONG_US);
    run(f);
    assert_true(f->is_waited);
    assert_int_equal(f->waited.nacked, 1);
    assert_int_equal(f->waited.acked, 0);
    assert_true(str_contains(str_buf_str(&f->nacks), STR("not today")));
    assert_true(str_contains(str_buf_str(&f->nacks), STR("shop/web/0")));
    assert_int_equal(f->web.stream->nacks.len, 1);
    assert_string_equal(f->web.stream->nacks.ptr[0].name, HOST);
    assert_int_equal(f->rig.push->counters.nacks, 1);
    assert_int_equal(store_get(f->rig.store, API_KIND_VIRTUAL_SERVICE, STR("shop"), STR("catalog"),
                               &f->arena, &o),
                     0);
    assert_true(str_contains(o.status_json, STR("not today")));
    /* The next good one takes it back. */
    f->web.refuse = NULL;
    apply_weights(f, 30);
    run(f);
    assert_int_equal(f->web.stream->nacks.len, 0);
    assert_int_equal(store_get(f->rig.store, API_KIND_VIRTUAL_SERVICE, STR("shop"), STR("catalog"),
                               &f->arena, &o),
                     0);
    assert_int_equal(o.status_json.len, 0);
}

/* --- status --- */

/* What is told of shop/web/0. */
static const struct json *status_of(struct fixture *f)
{
    struct str_buf out = STR_BUF_INIT(1 << 20);
    const struct push_status_query query = {STR("shop"), STR("web"), true};
    const struct json *root = NULL;
    struct json_writer w;
    json_writer_init(&w, &out, 0);
    json_writer_object(&w, NULL);
    push_render_status(f->rig.push, &query, &w);
    json_writer_end(&w);
    assert_int_equal(json_parse(&f->arena, str_buf_str(&out), 1 << 20, &root, NULL), 0);
    str_buf_deinit(&out);
    assert_int_equal(json_count(json_get(root, "proxies")), 1);
    return json_at(json_get(root, "proxies"), 0);
}

static struct str text_at(const struct json *v, const char *key)
{
    return json_str_or(json_get(v, key), STR_NULL);
}

/* Everything that a proxy lacks is one resource, in this state. */
static const struct json *only_pending(struct fixture *f, const char *state)
{
    const struct json *proxy = status_of(f), *pending = json_get(proxy, "pending");
    assert_int_equal(json_count(pending), 1);
    assert_true(str_eq(text_at(json_at(pending, 0), "state"), str_from_c(state)));
    assert_false(str_eq(text_at(proxy, "version"), text_at(proxy, "target")));
    assert_true(text_at(proxy, "since").len > 0 && text_at(proxy, "why").len > 0);
    return json_at(pending, 0);
}

static void test_status_tells_what_runs_and_what_should(void **state)
{
    struct fixture *f = *state;
    connect_as(f, IDENTITY);
    const struct json *proxy = status_of(f);
    struct str first = text_at(proxy, "version");
    uint64_t count = 0;
    assert_true(str_eq(first, text_at(proxy, "target")) && text_at(proxy, "why").len == 0);
    assert_int_equal(json_count(json_get(proxy, "pending")), 0);
    json_u64(json_get(json_get(json_get(proxy, "types"), "route"), "resources"), &count);
    assert_int_equal(count, 1);
    f->web.is_full = true;
    apply_weights(f, 50);
    run(f);
    const struct json *due = only_pending(f, "due");
    assert_true(str_contains(text_at(due, "reason"), STR("does not read")));
    struct str target = text_at(due, "target"), runs = text_at(due, "version");
    f->web.is_full = false;
    f->web.is_mute = true;
    push_stream_room(f->web.stream);
    run(f);
    const struct json *sent = only_pending(f, "sent");
    assert_true(str_eq(text_at(sent, "version"), runs) && str_eq(text_at(sent, "target"), target));
    f->web.is_mute = false;
    run(f);
    assert_int_equal(json_count(json_get(status_of(f), "pending")), 0);
    /* The same again is the same version. */
    apply_weights(f, 90);
    run(f);
    assert_true(str_eq(text_at(status_of(f), "version"), first));
}

static void test_status_tells_why_it_was_refused(void **state)
{
    struct fixture *f = *state;
    connect_as(f, IDENTITY);
    struct str first = text_at(status_of(f), "version");
    f->web.refuse = "route";
    apply_weights(f, 20);
    run(f);
    const struct json *pending = only_pending(f, "refused");
    struct str runs = text_at(pending, "version"), reason = text_at(pending, "reason");
    struct str document = text_at(json_at(json_get(pending, "documents"), 0), "document");
    assert_true(str_contains(reason, STR("not today")));
    assert_true(str_eq(document, STR("VirtualService/shop/catalog")));
    /* Refused twice, it still runs what it had at first. */
    apply_weights(f, 30);
    run(f);
    pending = only_pending(f, "refused");
    assert_true(str_eq(text_at(pending, "version"), runs));
    assert_true(str_eq(text_at(status_of(f), "version"), first));
    f->web.refuse = NULL;
    apply_weights(f, 40);
    run(f);
    assert_int_equal(json_count(json_get(status_of(f), "pending")), 0);
}

static void test_status_of_one_that_is_away(void **state)
{
    struct fixture *f = *state;
    connect_as(f, IDENTITY);
    f->web.stream = push_stream_close(f->web.stream);
    assert_true(str_contains(text_at(status_of(f), "why"), STR("its endpoints stay")));
    hang_up(f);
    push_rig_stop(&f->rig);
    push_rig_start(&f->rig);
    assert_true(str_contains(text_at(status_of(f), "why"), STR("since the control plane started")));
}

static void test_slow_proxy_skips_versions(void **state)
{
    struct fixture *f = *state;
    connect_as(f, IDENTITY);
    uint64_t before = f->rig.push->counters.resources;
    f->web.is_full = true;
    for (int v1 = 10; v1 < 20; v1++) {
        apply_weights(f, v1);
        run(f);
    }
    assert_true(f->rig.push->counters.resources == before);
    f->web.is_full = false;
    push_stream_room(f->web.stream);
    run(f);
    assert_true(f->rig.push->counters.resources == before + 1);
}

static void test_identity_decides(void **state)
{
    struct fixture *f = *state;
    connect_as(f, "spiffe://cluster.local/ns/shop/sa/catalog");
    assert_int_equal(f->web.ended, GRPC_PERMISSION_DENIED + 1);
    assert_int_equal(f->web.got.len, 0);
    assert_null(registry_replica(f->rig.registry, STR("shop"), STR("web"), 0));
    connect_as(f, IDENTITY);
    assert_int_equal(f->web.ended, 0);
    /* The document becomes somebody else's. */
    push_rig_apply(&f->rig,
                   "apiVersion: tulle.dev/v1\nkind: Workload\n"
                   "metadata: {name: web, namespace: shop, labels: {app: web}}\n"
                   "spec: {serviceAccount: other, replicas: 2, ports: [{name: http, port: 80}]}\n");
    turn_once(f->rig.turn, 0);
    assert_int_equal(f->web.ended, GRPC_PERMISSION_DENIED + 1);
}

static struct ip_addr ip(const char *text)
{
    struct ip_addr addr = {.family = IP_NONE};
    assert_true(text == NULL || ip_parse(str_from_c(text), &addr));
    return addr;
}

/* Who connects from 10.0.0.5 says that these are its addresses, too. */
static void test_addresses_are_not_taken_on_its_word(void **state)
{
    static const struct {
        const char *v4, *v6, *given_v6;
    } rows[] = {
        {"10.0.0.5", "fd00::5", "fd00::5"}, {"10.0.0.9", "fd00::9", NULL}, /* catalog's */
        {"10.0.0.5", "fd00::6", "fd00::6"}, /* of another one on the same host */
        {"10.0.0.5", "fd77:7e11::1", NULL}, {"10.0.0.5", "::1", NULL},     {"10.0.0.5", "::", NULL},
        {"10.0.0.5", "fe80::1", NULL},      {"10.0.0.5", "ff02::1", NULL},
    };
    struct fixture *f = *state;
    struct ip_addr others[2] = {ip("10.0.0.9"), ip("fd00::9")};
    struct registry_replica *p;
    assert_int_equal(
        registry_replica_connect(f->rig.registry, STR("shop"), STR("catalog-v1"), 0, others, f, &p),
        0);
    others[0] = ip("10.0.0.5");
    others[1] = ip("fd00::6");
    assert_int_equal(
        registry_replica_connect(f->rig.registry, STR("shop"), STR("catalog-v1"), 1, others, f, &p),
        0);
    struct push_stream s = {.push = f->rig.push,
                            .namespace_ = STR("shop"),
                            .workload = STR("web"),
                            .address = ip("10.0.0.5")};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct ip_addr got[2] = {ip(rows[i].v4), ip(rows[i].v6)};
        struct ip_addr v4 = ip("10.0.0.5"), v6 = ip(rows[i].given_v6);
        push_stream_addresses(&s, got);
        assert_true(ip_eq(&got[0], &v4));
        assert_int_equal(got[1].family, v6.family);
        assert_true(v6.family == IP_NONE || ip_eq(&got[1], &v6));
    }
    /* This machine's own processes are believed, but for the services' addresses. */
    s.address = ip("127.0.0.1");
    struct ip_addr got[2] = {ip("240.240.0.1"), ip("fd00::9")};
    push_stream_addresses(&s, got);
    assert_int_equal(got[0].family, IP_NONE);
    assert_int_equal(got[1].family, IP_V6);
}

static void test_replicas_live_and_die(void **state)
{
    struct fixture *f = *state;
    struct str_buf why = STR_BUF_INIT(1000);
    connect_as(f, IDENTITY);
    struct registry_replica *r = registry_replica(f->rig.registry, STR("shop"), STR("web"), 0);
    const char *unready =
        "{\"state\":\"unready\",\"index\":0,\"namespace\":\"shop\",\"workload\":\"web\"}";
    assert_int_equal(push_report(f->rig.push, STR(IDENTITY), str_from_c(unready), &why), GRPC_OK);
    assert_int_equal(r->state, REPLICA_CONNECTED);
    assert_int_equal(push_report(f->rig.push, STR("spiffe://cluster.local/ns/shop/sa/x"),
                                 str_from_c(unready), &why),
                     GRPC_PERMISSION_DENIED);
    static const char *const bad[] = {
        "", "{}", "[]",
        "{\"state\":\"ready\",\"index\":-1,\"namespace\":\"shop\",\"workload\":\"web\"}",
        "{\"state\":\"gone\",\"index\":0,\"namespace\":\"shop\",\"workload\":\"web\"}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(push_report(f->rig.push, STR(IDENTITY), str_from_c(bad[i]), &why),
                         GRPC_INVALID_ARGUMENT);
    f->web.stream = push_stream_close(f->web.stream);
    r = registry_replica(f->rig.registry, STR("shop"), STR("web"), 0);
    assert_non_null(r); /* its lease runs */
    assert_null(r->node);
    assert_true(push_replica_gone(f->rig.push, STR("shop"), STR("web"), 0));
    assert_null(registry_replica(f->rig.registry, STR("shop"), STR("web"), 0));
    assert_false(push_replica_gone(f->rig.push, STR("shop"), STR("web"), 0));
    str_buf_deinit(&why);
}

static void test_certificates(void **state)
{
    struct fixture *f = *state;
    struct str_buf token = STR_BUF_INIT(100), csr = STR_BUF_INIT(8192), wire = STR_BUF_INIT(16384),
                   answer = STR_BUF_INIT(65536), why = STR_BUF_INIT(1000);
    struct key *k = key_new_p256();
    uint64_t now_s = turn_wall_us(f->rig.turn) / 1000000;
    assert_int_equal(csr_make(k, STR("spiffe://cluster.local/ns/shop/sa/admin"), &csr), 0);
    ca_codec_encode_request(&(struct ca_codec_request){.csr_pem = str_buf_str(&csr)}, &wire);
    assert_int_equal(ca_token_make(f->rig.store, STR("shop"), STR("web"), 0, now_s, 60, &token), 0);
    struct str t = str_buf_str(&token), request = str_buf_str(&wire);
    assert_int_equal(push_create_certificate(f->rig.push, STR_NULL, t, request, &answer, &why),
                     GRPC_OK);
    struct ca_codec_response response;
    assert_int_equal(ca_codec_decode_response(&f->arena, str_buf_str(&answer), &response), 0);
    assert_int_equal(response.chain_count, 2);
    struct cert *leaf;
    struct cert_info info;
    assert_int_equal(cert_from_pem(response.chain_pem[0], &leaf), 0);
    assert_int_equal(cert_info(leaf, &f->arena, &info), 0);
    assert_true(str_eq(info.uri_sans[0], STR(IDENTITY)));
    cert_unref(leaf);
    str_buf_reset(&answer);
    assert_int_equal(push_create_certificate(f->rig.push, STR_NULL, t, request, &answer, &why),
                     GRPC_UNAUTHENTICATED);
    assert_int_equal(
        push_create_certificate(f->rig.push, STR_NULL, STR_NULL, request, &answer, &why),
        GRPC_UNAUTHENTICATED);
    /* Renewal by the present leaf; not of one whose Workload is gone. */
    assert_int_equal(
        push_create_certificate(f->rig.push, STR(IDENTITY), STR_NULL, request, &answer, &why),
        GRPC_OK);
    assert_int_equal(push_create_certificate(f->rig.push,
                                             STR("spiffe://cluster.local/ns/shop/sa/old"), STR_NULL,
                                             request, &answer, &why),
                     GRPC_PERMISSION_DENIED);
    assert_int_equal(push_create_certificate(f->rig.push, STR(IDENTITY), STR_NULL, STR("\xff\xff"),
                                             &answer, &why),
                     GRPC_INVALID_ARGUMENT);
    key_unref(k);
    str_buf_deinit(&token);
    str_buf_deinit(&csr);
    str_buf_deinit(&wire);
    str_buf_deinit(&answer);
    str_buf_deinit(&why);
}

int main(void)
{
    log_set_level(LOG_OFF);
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_subscribe_and_get),
        T(test_only_what_changed_is_sent),
        T(test_equal_content_is_no_byte),
        T(test_reconnect_sends_nothing),
        T(test_what_went_is_removed),
        T(test_new_namespace_reaches_the_wildcard),
        T(test_wait_counts),
        T(test_wait_times_out_and_forgets_the_dead),
        T(test_wait_without_proxies),
        T(test_nack_is_recorded),
        T(test_status_tells_what_runs_and_what_should),
        T(test_status_tells_why_it_was_refused),
        T(test_status_of_one_that_is_away),
        T(test_slow_proxy_skips_versions),
        T(test_identity_decides),
        T(test_addresses_are_not_taken_on_its_word),
        T(test_replicas_live_and_die),
        T(test_certificates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
