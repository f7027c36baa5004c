/* Clients that are none of ours, field by field: state of the world, streams of one type, the order
 * in which things are sent, secrets. No sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/log.h"
#include "control/push/testing/push_rig.h"
#include "mesh/xds/pb_wire.h"

#define IDENTITY "spiffe://cluster.local/ns/shop/sa/web"
#define CATALOG "catalog.shop.svc.cluster.local:8080"

static const char documents[] =
    "apiVersion: v1\nkind: Service\nmetadata: {name: catalog, namespace: shop}\n"
    "spec: {selector: {app: catalog}, ports: [{name: http, port: 8080}]}\n---\n"
    "apiVersion: tulle.dev/v1\nkind: Workload\n"
    "metadata: {name: web, namespace: shop, labels: {app: web}}\n"
    "spec: {serviceAccount: web, replicas: 2, ports: [{name: http, port: 80}]}\n";

static const char orders[] =
    "apiVersion: v1\nkind: Service\nmetadata: {name: orders, namespace: shop}\n"
    "spec: {selector: {app: orders}, ports: [{name: http, port: 8080}]}\n";

static const char to_v2[] = "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
                            "metadata: {name: catalog, namespace: shop}\n"
                            "spec: {hosts: [catalog], http: [{route: [\n"
                            " {destination: {host: catalog, subset: v2}}]}]}\n";

enum { RESPONSES_MAX = 64, STREAMS_MAX = 4, TEXT_MAX = 1 << 20 };

/* One response, read: names are counted as far as these tests ask. */
struct response {
    char type[16], version[20], nonce[20];
    unsigned count;
    struct str_buf body; /* of all resources, and the names that went */
};

struct client {
    struct push_stream *stream;
    enum ads_variant variant;
    struct response got[RESPONSES_MAX];
    size_t count;
    int ended; /* gRPC status + 1 */
};

struct fixture {
    struct push_rig rig;
    struct client clients[STREAMS_MAX];
};

/* --- responses --- */

static const char *short_type(struct str url)
{
    enum resource_type type;
    return resource_type_from_url(url, &type) ? resource_type_name(type) : "?";
}

static void copy(char *to, size_t cap, struct str s)
{
    snprintf(to, cap, "%.*s", STR_FMT(s));
}

static void read_response(struct client *c, struct str message)
{
    bool is_sotw = c->variant == ADS_SOTW;
    assert_true(c->count < RESPONSES_MAX);
    struct response *r = &c->got[c->count++];
    struct pb_field f;
    r->body = STR_BUF_INIT(TEXT_MAX);
    while (pb_wire_next(&message, &f) == 1) {
        if (f.number == 1 && is_sotw)
            copy(r->version, sizeof r->version, f.bytes);
        else if (f.number == 2)
            r->count++;
        else if (f.number == 4)
            copy(r->type, sizeof r->type, str_from_c(short_type(f.bytes)));
        else if (f.number == 5)
            copy(r->nonce, sizeof r->nonce, f.bytes);
        if (f.number == 2 || f.number == 6)
            str_buf_add(&r->body, f.bytes);
    }
}

static void stream_send(void *ctx, struct push_response *r)
{
    struct str_buf message = STR_BUF_INIT(1 << 24);
    push_response_encode(r, &message);
    read_response(ctx, str_buf_str(&message));
    str_buf_deinit(&message);
    push_response_free(r);
}

static bool stream_room(void *ctx)
{
    return ctx != NULL;
}

static void stream_end(void *ctx, enum grpc_status status, struct str why)
{
    (void)why;
    ((struct client *)ctx)->ended = (int)status + 1;
}

static const struct push_stream_ops stream_ops = {stream_send, stream_room, stream_end};

static void forget(struct client *c)
{
    for (size_t i = 0; i < c->count; i++)
        str_buf_deinit(&c->got[i].body);
    memset(c->got, 0, sizeof c->got);
    c->count = 0;
}

/* "cluster listener": the types of what has come, in order; forgotten then. */
static void assert_types(struct client *c, const char *want)
{
    struct str_buf got = STR_BUF_INIT(TEXT_MAX);
    str_buf_add_c(&got, "");
    for (size_t i = 0; i < c->count; i++)
        str_buf_printf(&got, "%s%s", i > 0 ? " " : "", c->got[i].type);
    if (!str_eq(str_buf_str(&got), str_from_c(want)))
        fail_msg("got: %.*s; want: %s", STR_FMT(str_buf_str(&got)), want);
    str_buf_deinit(&got);
    forget(c);
}

static bool holds(const struct response *r, const char *text)
{
    return str_contains(str_buf_str(&r->body), str_from_c(text));
}

/* --- requests --- */

static void add(struct str_buf *to, uint32_t number, const char *text)
{
    if (text != NULL)
        pb_wire_add_bytes(to, number, str_from_c(text));
}

/* An entry of a Struct: field 1, {1: key, 2: {number: value}}. */
static void add_entry(struct str_buf *to, const char *key, uint32_t number, struct str value)
{
    struct str_buf v = STR_BUF_INIT(1000), entry = STR_BUF_INIT(1000);
    pb_wire_add_bytes(&v, number, value);
    add(&entry, 1, key);
    pb_wire_add_bytes(&entry, 2, str_buf_str(&v));
    pb_wire_add_bytes(to, 1, str_buf_str(&entry));
    str_buf_deinit(&v);
    str_buf_deinit(&entry);
}

/* Index 0 is a number of eight zero bytes. */
static void add_node(struct str_buf *to, uint32_t number, bool is_ours, const char *agent)
{
    struct str_buf metadata = STR_BUF_INIT(1000), node = STR_BUF_INIT(2000);
    struct str_buf zero = STR_BUF_INIT(100), entry = STR_BUF_INIT(100);
    add_entry(&metadata, "NAMESPACE", 3, STR("shop"));
    add_entry(&metadata, "WORKLOAD", 3, STR("web"));
    if (is_ours)
        add_entry(&metadata, "DIALECT", 3, STR("tulle"));
    pb_wire_add_tag(&zero, 2, PB_FIXED64);
    pb_wire_add_fixed64(&zero, 0);
    add(&entry, 1, "INDEX");
    pb_wire_add_bytes(&entry, 2, str_buf_str(&zero));
    pb_wire_add_bytes(&metadata, 1, str_buf_str(&entry));
    add(&node, 1, "envoy");
    add(&node, 6, agent);
    pb_wire_add_bytes(&node, 3, str_buf_str(&metadata));
    pb_wire_add_bytes(to, number, str_buf_str(&node));
    str_buf_deinit(&metadata);
    str_buf_deinit(&node);
    str_buf_deinit(&zero);
    str_buf_deinit(&entry);
}

struct request {
    enum resource_type type;
    const char *names[4];
    const char *version, *nonce, *error, *agent, *gone; /* the last of delta */
    bool has_node, is_ours;
};

static void say(struct fixture *f, struct client *c, struct request r)
{
    bool is_sotw = c->variant == ADS_SOTW;
    struct str_buf m = STR_BUF_INIT(TEXT_MAX), error = STR_BUF_INIT(1000);
    if (is_sotw)
        add(&m, 1, r.version);
    if (r.has_node)
        add_node(&m, is_sotw ? 2 : 1, r.is_ours, r.agent);
    for (size_t i = 0; i < ARRAY_LEN(r.names); i++)
        add(&m, 3, r.names[i]);
    pb_wire_add_bytes(&m, is_sotw ? 4 : 2, resource_type_url(r.type));
    add(&m, is_sotw ? 5 : 6, r.nonce);
    if (!is_sotw)
        add(&m, 4, r.gone);
    if (r.error != NULL) {
        add(&error, 2, r.error);
        pb_wire_add_bytes(&m, is_sotw ? 6 : 7, str_buf_str(&error));
    }
    push_stream_recv(c->stream, str_buf_str(&m));
    str_buf_deinit(&m);
    str_buf_deinit(&error);
    turn_once(f->rig.turn, 0);
}

/* Accepts the newest response; these are all the names then, which delta does not repeat. */
static void accept_last(struct fixture *f, struct client *c, struct request r)
{
    const struct response *last = &c->got[c->count - 1];
    char version[20], nonce[20];
    copy(version, sizeof version, str_from_c(last->version));
    copy(nonce, sizeof nonce, str_from_c(last->nonce));
    r.version = version;
    r.nonce = nonce;
    if (c->variant == ADS_DELTA)
        memset(r.names, 0, sizeof r.names);
    say(f, c, r);
}

static struct client *open_as(struct fixture *f, size_t i, struct push_call call,
                              const char *identity)
{
    struct client *c = &f->clients[i];
    struct push_peer peer = {.identity = str_from_c(identity)};
    assert_true(ip_parse(STR("10.0.0.5"), &peer.address));
    c->variant = call.variant;
    c->ended = 0;
    c->stream = push_stream_open(f->rig.push, &peer, &call, &stream_ops, c);
    return c;
}

static struct client *open_stream(struct fixture *f, size_t i, struct push_call call)
{
    return open_as(f, i, call, IDENTITY);
}

static const struct push_call all_sotw = {ADS_SOTW, false, RESOURCE_LISTENER};
static const struct push_call all_delta = {ADS_DELTA, false, RESOURCE_LISTENER};

/* --- fixture --- */

static void apply(struct fixture *f, const char *text)
{
    push_rig_apply(&f->rig, text);
    turn_once(f->rig.turn, 0);
}

static void delete_service(struct fixture *f, const char *name)
{
    struct store_write w = {
        .is_delete = true,
        .object = {.kind = API_KIND_SERVICE, .namespace_ = STR("shop"), .name = str_from_c(name)}};
    assert_int_equal(store_commit(f->rig.store, &w, 1, NULL, NULL), 0);
    turn_once(f->rig.turn, 0);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    push_rig_open(&f->rig);
    apply(f, documents);
    *state = f;
    return 0;
}

static void close_stream(struct client *c)
{
    if (c->stream != NULL)
        c->stream = push_stream_close(c->stream);
    forget(c);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < STREAMS_MAX; i++)
        close_stream(&f->clients[i]);
    push_rig_close(&f->rig);
    free(f);
    return 0;
}

/* What status says of all proxies holds this. */
static bool is_told(struct fixture *f, const char *part)
{
    struct str_buf text = STR_BUF_INIT(TEXT_MAX);
    struct json_writer w;
    json_writer_init(&w, &text, 0);
    json_writer_object(&w, NULL);
    push_render_status(f->rig.push, &(struct push_status_query){.is_detailed = true}, &w);
    json_writer_end(&w);
    bool is_there = str_contains(str_buf_str(&text), str_from_c(part));
    str_buf_deinit(&text);
    return is_there;
}

/* --- tests --- */

static void test_all_of_a_type_each_time(void **state)
{
    struct fixture *f = *state;
    struct client *c = open_stream(f, 0, all_sotw);
    say(f, c, (struct request){RESOURCE_CLUSTER, .has_node = true});
    assert_int_equal(c->count, 1);
    unsigned before = c->got[0].count;
    char version[20];
    copy(version, sizeof version, str_from_c(c->got[0].version));
    assert_true(holds(&c->got[0], CATALOG));
    assert_true(holds(&c->got[0], "inbound|80|http"));
    assert_true(holds(&c->got[0], TRANSLATE_PASSTHROUGH));
    accept_last(f, c, (struct request){RESOURCE_CLUSTER});
    assert_types(c, "cluster");
    assert_true(is_told(f, "\"pendingCount\":0"));
    apply(f, orders);
    assert_int_equal(c->count, 1);
    assert_false(is_told(f, "\"pendingCount\":0"));
    assert_int_equal(c->got[0].count, before + 1);
    assert_true(holds(&c->got[0], CATALOG));
    assert_true(holds(&c->got[0], "orders.shop"));
    assert_string_not_equal(c->got[0].version, version);
    accept_last(f, c, (struct request){RESOURCE_CLUSTER});
    forget(c);
    /* What goes is not in the next one, and what is as it was has the version that it had. */
    delete_service(f, "orders");
    assert_int_equal(c->count, 1);
    assert_int_equal(c->got[0].count, before);
    assert_false(holds(&c->got[0], "orders.shop"));
    assert_string_equal(c->got[0].version, version);
}

static void test_a_former_stream_is_taken_up(void **state)
{
    struct fixture *f = *state;
    struct client *c = open_stream(f, 0, all_sotw);
    say(f, c, (struct request){RESOURCE_CLUSTER, .has_node = true});
    char version[20];
    copy(version, sizeof version, str_from_c(c->got[0].version));
    close_stream(c);
    c = open_stream(f, 0, all_sotw);
    say(f, c, (struct request){RESOURCE_CLUSTER, .version = version, .has_node = true});
    assert_types(c, "");
    assert_true(is_told(f, "\"pendingCount\":0"));
    /* But a change since is told. */
    close_stream(c);
    apply(f, orders);
    c = open_stream(f, 0, all_sotw);
    say(f, c, (struct request){RESOURCE_CLUSTER, .version = version, .has_node = true});
    assert_types(c, "cluster");
}

static void test_named_types_hold_what_changed(void **state)
{
    struct fixture *f = *state;
    struct client *c = open_stream(f, 0, all_sotw);
    apply(f, orders);
    say(f, c,
        (struct request){RESOURCE_ROUTE,
                         {CATALOG, "orders.shop.svc.cluster.local:8080", "none:1"},
                         .has_node = true});
    assert_int_equal(c->got[0].count, 2);
    accept_last(f, c,
                (struct request){RESOURCE_ROUTE,
                                 {CATALOG, "orders.shop.svc.cluster.local:8080", "none:1"}});
    forget(c);
    apply(f, to_v2);
    assert_int_equal(c->count, 1);
    assert_int_equal(c->got[0].count, 1);
    assert_true(holds(&c->got[0], CATALOG "/v2"));
    accept_last(f, c,
                (struct request){RESOURCE_ROUTE,
                                 {CATALOG, "orders.shop.svc.cluster.local:8080", "none:1"}});
    forget(c);
    /* There is no way to say that it is gone. */
    delete_service(f, "orders");
    assert_types(c, "");
    apply(f, orders);
    assert_types(c, "route");
}

static void test_listeners_that_are_not_there_are_answered(void **state)
{
    struct fixture *f = *state;
    struct client *c = open_stream(f, 0, all_sotw);
    say(f, c, (struct request){RESOURCE_LISTENER, {"none:1"}, .has_node = true});
    assert_int_equal(c->count, 1);
    assert_int_equal(c->got[0].count, 0);
    accept_last(f, c, (struct request){RESOURCE_LISTENER, {"none:1"}});
    say(f, c, (struct request){RESOURCE_DIRECTORY});
    say(f, c, (struct request){RESOURCE_ENDPOINTS, {"none:1"}});
    forget(c);
    apply(f, orders);
    assert_types(c, "");
}

/* A client with everything, all of it accepted. */
static struct client *settled(struct fixture *f, struct push_call call)
{
    struct client *c = open_stream(f, 0, call);
    say(f, c, (struct request){RESOURCE_CLUSTER, .has_node = true});
    accept_last(f, c, (struct request){RESOURCE_CLUSTER});
    say(f, c, (struct request){RESOURCE_ENDPOINTS, {CATALOG}});
    accept_last(f, c, (struct request){RESOURCE_ENDPOINTS, {CATALOG}});
    say(f, c, (struct request){RESOURCE_LISTENER});
    accept_last(f, c, (struct request){RESOURCE_LISTENER});
    say(f, c, (struct request){RESOURCE_ROUTE, {CATALOG}});
    accept_last(f, c, (struct request){RESOURCE_ROUTE, {CATALOG}});
    assert_types(c, "cluster endpoints listener route");
    return c;
}

/* A route to a cluster that is new waits until that has its endpoints. */
static void test_make_before_break(void **state)
{
    struct fixture *f = *state;
    struct client *c = settled(f, all_sotw);
    apply(f, to_v2);
    assert_int_equal(c->count, 1);
    assert_true(holds(&c->got[0], CATALOG "/v2"));
    accept_last(f, c, (struct request){RESOURCE_CLUSTER});
    assert_types(c, "cluster");
    say(f, c, (struct request){RESOURCE_ENDPOINTS, {CATALOG, CATALOG "/v2"}, .nonce = "2"});
    assert_int_equal(c->count, 1);
    assert_string_equal(c->got[0].type, "endpoints");
    accept_last(f, c, (struct request){RESOURCE_ENDPOINTS, {CATALOG, CATALOG "/v2"}});
    assert_types(c, "endpoints route");
}

/* What is not used any more goes last, when all that used it has been replaced. */
static void test_removal_comes_last(void **state)
{
    struct fixture *f = *state;
    struct client *c = settled(f, all_sotw);
    apply(f, orders);
    while (c->count > 0) { /* accept the cluster and the listener of orders, whichever comes */
        enum resource_type type = strcmp(c->got[c->count - 1].type, "cluster") == 0
                                      ? RESOURCE_CLUSTER
                                      : RESOURCE_LISTENER;
        size_t before = c->count;
        accept_last(f, c, (struct request){type});
        if (c->count == before && type == RESOURCE_CLUSTER) {
            say(f, c,
                (struct request){RESOURCE_ENDPOINTS,
                                 {CATALOG, "orders.shop.svc.cluster.local:8080"},
                                 .nonce = "2"});
            accept_last(f, c,
                        (struct request){RESOURCE_ENDPOINTS,
                                         {CATALOG, "orders.shop.svc.cluster.local:8080"}});
        }
        if (c->count == before)
            break;
    }
    forget(c);
    delete_service(f, "orders");
    assert_types(c, "listener cluster");
}

/* Endpoints follow a cluster that changed, though they did not: a client warms it anew. */
static void test_changed_clusters_get_their_endpoints(void **state)
{
    struct fixture *f = *state;
    for (int variant = ADS_DELTA; variant <= ADS_SOTW; variant++) {
        struct client *c = settled(f, variant == ADS_SOTW ? all_sotw : all_delta);
        char rule[400];
        snprintf(rule, sizeof rule,
                 "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
                 "metadata: {name: catalog, namespace: shop}\n"
                 "spec: {host: catalog, trafficPolicy: {connectionPool: {tcp: {maxConnections: "
                 "%d}}}}\n",
                 variant + 1);
        apply(f, rule);
        assert_types(c, "cluster endpoints");
        close_stream(c);
    }
}

/* A client that never asks for endpoints gets its routes all the same. */
static void test_nobody_waits_for_ever(void **state)
{
    struct fixture *f = *state;
    struct client *c = settled(f, all_sotw);
    apply(f, to_v2);
    assert_types(c, "cluster");
    uint64_t end_us = turn_now_us(f->rig.turn) + 20ull * 1000 * 1000;
    while (c->count == 0 && turn_now_us(f->rig.turn) < end_us)
        turn_once(f->rig.turn, 100);
    assert_types(c, "route");
}

static void test_refusals_are_shown(void **state)
{
    struct fixture *f = *state;
    struct client *c = open_stream(f, 0, all_sotw);
    say(f, c, (struct request){RESOURCE_CLUSTER, .has_node = true});
    say(f, c,
        (struct request){RESOURCE_CLUSTER, .nonce = "1",
                         .error = "Error adding cluster " CATALOG ": not\x1b[2J\ntoday"});
    assert_int_equal(f->rig.push->counters.nacks, 1);
    assert_int_equal(c->count, 1); /* the same is not sent again */
    assert_true(is_told(f, ": not?[2J today"));
    assert_true(is_told(f, "\"xds\":\"sotw\""));
}

/* --- streams of one type --- */

static void test_streams_of_one_replica(void **state)
{
    struct fixture *f = *state;
    struct client *cds = open_stream(f, 0, (struct push_call){ADS_SOTW, true, RESOURCE_CLUSTER});
    struct client *eds = open_stream(f, 1, (struct push_call){ADS_DELTA, true, RESOURCE_ENDPOINTS});
    say(f, cds, (struct request){RESOURCE_CLUSTER, .has_node = true});
    say(f, eds, (struct request){RESOURCE_ENDPOINTS, {CATALOG}, .has_node = true});
    assert_types(cds, "cluster");
    assert_int_equal(eds->count, 1);
    forget(eds);
    assert_int_equal(cds->ended + eds->ended, 0);
    /* It is connected for as long as one of them is. */
    struct registry_replica *r = registry_replica(f->rig.registry, STR("shop"), STR("web"), 0);
    assert_non_null(r);
    close_stream(eds);
    assert_ptr_equal(r->node, cds->stream);
    close_stream(cds);
    assert_null(r->node);
    /* Of those of all types there is one. */
    struct client *old = open_stream(f, 0, all_sotw), *new = open_stream(f, 1, all_delta);
    say(f, old, (struct request){RESOURCE_CLUSTER, .has_node = true});
    say(f, new, (struct request){RESOURCE_CLUSTER, .has_node = true});
    assert_int_equal(old->ended, GRPC_ABORTED + 1);
    assert_int_equal(new->ended, 0);
    close_stream(old);
    assert_ptr_equal(r->node, new->stream);
}

/* An agent of ours beside it has a stream of all types, too. */
static void test_an_agent_beside_it(void **state)
{
    struct fixture *f = *state;
    struct client *c = open_stream(f, 0, all_sotw), *agent = open_stream(f, 1, all_delta);
    say(f, c, (struct request){RESOURCE_CLUSTER, .has_node = true});
    say(f, agent, (struct request){RESOURCE_DIRECTORY, .has_node = true, .is_ours = true});
    assert_int_equal(c->ended + agent->ended, 0);
    assert_types(agent, "directory");
    struct client *again = open_stream(f, 2, all_delta);
    say(f, again, (struct request){RESOURCE_DIRECTORY, .has_node = true, .is_ours = true});
    assert_int_equal(agent->ended, GRPC_ABORTED + 1);
    assert_int_equal(c->ended + again->ended, 0);
}

/* --- unsubscribing beside a wildcard --- */

static void test_names_beside_a_wildcard(void **state)
{
    struct fixture *f = *state;
    struct client *c = open_stream(f, 0, all_delta);
    say(f, c, (struct request){RESOURCE_CLUSTER, {"*", CATALOG, "none:1"}, .has_node = true});
    forget(c);
    /* It is in the wildcard, too: said once more; the other one is not. */
    say(f, c, (struct request){RESOURCE_CLUSTER, .gone = CATALOG});
    assert_int_equal(c->count, 1);
    assert_true(holds(&c->got[0], CATALOG));
    assert_int_equal(c->got[0].count, 1);
}

/* --- secrets --- */

static void test_secrets(void **state)
{
    struct fixture *f = *state;
    struct client *c = open_stream(f, 0, (struct push_call){ADS_SOTW, true, RESOURCE_SECRET});
    say(f, c, (struct request){RESOURCE_SECRET, {"default", "ROOTCA", "other"}, .has_node = true});
    assert_int_equal(c->count, 1);
    assert_int_equal(c->got[0].count, 2);
    assert_true(holds(&c->got[0], "BEGIN PRIVATE KEY"));
    assert_true(holds(&c->got[0], "BEGIN CERTIFICATE"));
    assert_int_equal(f->rig.push->counters.certificates, 1);
    /* Another identity gets nothing at all. */
    struct client *other = open_as(f, 1, (struct push_call){ADS_SOTW, true, RESOURCE_SECRET},
                                   "spiffe://cluster.local/ns/shop/sa/other");
    say(f, other, (struct request){RESOURCE_SECRET, {"default"}, .has_node = true});
    assert_int_equal(other->ended, GRPC_PERMISSION_DENIED + 1);
    assert_int_equal(other->count, 0);
}

struct certs {
    bool is_trusting, is_renewed;
};

static void on_certs(void *ctx, const struct push_certs *c)
{
    *(struct certs *)ctx = (struct certs){c->is_trusting, c->is_leaf_renewed};
}

static struct certs certs_of(struct fixture *f)
{
    struct certs found = {false, false};
    push_each_certs(f->rig.push, on_certs, &found);
    return found;
}

static void next_stage(struct fixture *f, int (*step)(struct ca *c, uint64_t now_s))
{
    assert_int_equal(step(f->rig.ca, turn_wall_us(f->rig.turn) / 1000000), 0);
    push_roots_changed(f->rig.push);
    turn_once(f->rig.turn, 0);
}

static int begin(struct ca *c, uint64_t now_s)
{
    return ca_rotation_begin(c, STR("cluster.local"), now_s);
}

/* Another root: first trusted, then ours is signed by it; neither counts before it is accepted. */
static void test_another_root(void **state)
{
    static const struct request both = {RESOURCE_SECRET, {"default", "ROOTCA"}};
    struct fixture *f = *state;
    struct client *c = open_stream(f, 0, all_sotw);
    char root[CA_ID_LEN + 1];
    say(f, c, (struct request){RESOURCE_SECRET, {"default", "ROOTCA"}, .has_node = true});
    accept_last(f, c, both);
    forget(c);
    /* Its connection was opened by a leaf of the present root. */
    copy(root, sizeof root, push_secret_root(c->stream));
    copy(c->stream->root, sizeof c->stream->root, str_from_c(root));
    assert_true(certs_of(f).is_trusting && certs_of(f).is_renewed);
    next_stage(f, begin);
    assert_int_equal(c->count, 1);
    assert_int_equal(c->got[0].count, 1); /* the roots alone */
    assert_true(holds(&c->got[0], "ROOTCA"));
    assert_false(certs_of(f).is_trusting);
    accept_last(f, c, both);
    assert_true(certs_of(f).is_trusting);
    forget(c);
    next_stage(f, ca_rotation_sign);
    assert_true(c->count > 0);
    assert_string_not_equal(push_secret_root(c->stream).ptr, root);
    assert_false(certs_of(f).is_renewed);
    accept_last(f, c, both);
    assert_false(certs_of(f).is_renewed); /* the connection's own leaf is of the old one still */
    copy(c->stream->root, sizeof c->stream->root, push_secret_root(c->stream));
    assert_true(certs_of(f).is_renewed);
}

/* Who only asks, and never answers, is not kept for ever. */
static void test_answers_are_waited_for_within_bounds(void **state)
{
    struct fixture *f = *state;
    struct client *c = open_stream(f, 0, all_delta);
    say(f, c, (struct request){.type = RESOURCE_ENDPOINTS, .names = {CATALOG}, .has_node = true});
    for (int i = 0; c->ended == 0 && i < 2 * PUSH_UNANSWERED_MAX; i++) {
        forget(c);
        say(f, c, (struct request){.type = RESOURCE_ENDPOINTS, .names = {CATALOG}});
    }
    assert_int_equal(c->ended, GRPC_RESOURCE_EXHAUSTED + 1);
    assert_true(c->stream->sent.len <= PUSH_UNANSWERED_MAX + 1);
}

/* Subscribed to and done with in one message, before the turn can tell that it is gone. */
static void say_and_unsay(struct client *c, int from, int count)
{
    struct str_buf m = STR_BUF_INIT(TEXT_MAX);
    char name[32];
    pb_wire_add_bytes(&m, 2, resource_type_url(RESOURCE_CLUSTER));
    for (uint32_t field = 3; field <= 4; field++) {
        for (int i = from; i < from + count; i++) {
            snprintf(name, sizeof name, "n%d", i);
            add(&m, field, name);
        }
    }
    push_stream_recv(c->stream, str_buf_str(&m));
    str_buf_deinit(&m);
}

static void test_subscriptions_do_not_pile_up(void **state)
{
    enum { PART = 5000 };
    struct fixture *f = *state;
    struct client *c = open_stream(f, 0, all_delta);
    say(f, c, (struct request){.type = RESOURCE_CLUSTER, .names = {"*"}, .has_node = true});
    for (int i = 0; c->ended == 0 && i < 2 * PUSH_SUBS_MAX; i += PART)
        say_and_unsay(c, i, PART);
    assert_int_equal(c->ended, GRPC_RESOURCE_EXHAUSTED + 1);
    assert_true(c->stream->subs.len <= PUSH_SUBS_MAX);
}

static void on_waited(void *ctx, const struct push_wait_result *r)
{
    (void)ctx;
    (void)r;
    fail_msg("who asked is gone");
}

static void test_a_wait_is_cancelled(void **state)
{
    struct fixture *f = *state;
    struct client *c = open_stream(f, 0, all_delta);
    say(f, c, (struct request){.type = RESOURCE_CLUSTER, .names = {"*"}, .has_node = true});
    push_committed(f->rig.push, store_revision(f->rig.store));
    push_wait_cancel(
        push_wait(f->rig.push, store_revision(f->rig.store), 1000000, on_waited, NULL));
    assert_true(list_is_empty(&f->rig.push->waiters));
    accept_last(f, c, (struct request){.type = RESOURCE_CLUSTER});
}

static void test_clients_of_grpc_have_several(void **state)
{
    struct fixture *f = *state;
    struct request r = {RESOURCE_LISTENER, {CATALOG}, .has_node = true, .agent = "gRPC Go"};
    say(f, open_stream(f, 0, all_sotw), r);
    say(f, open_stream(f, 1, all_sotw), r);
    assert_true(holds(&f->clients[1].got[0], "HttpConnectionManager"));
    assert_int_equal(f->clients[0].ended, 0);
}

int main(void)
{
    log_set_level(LOG_OFF);
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_all_of_a_type_each_time),
        T(test_a_former_stream_is_taken_up),
        T(test_named_types_hold_what_changed),
        T(test_listeners_that_are_not_there_are_answered),
        T(test_make_before_break),
        T(test_removal_comes_last),
        T(test_changed_clusters_get_their_endpoints),
        T(test_nobody_waits_for_ever),
        T(test_refusals_are_shown),
        T(test_streams_of_one_replica),
        T(test_an_agent_beside_it),
        T(test_clients_of_grpc_have_several),
        T(test_names_beside_a_wildcard),
        T(test_secrets),
        T(test_another_root),
        T(test_a_wait_is_cancelled),
        T(test_answers_are_waited_for_within_bounds),
        T(test_subscriptions_do_not_pile_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
