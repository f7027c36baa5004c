#include "control/translate/testing/rig.h"

#include <stdio.h>
#include <string.h>

#include "control/translate/translate_priv.h"

#define CATALOG "catalog.shop.svc.cluster.local"
#define PAYMENT "payment.shop.svc.cluster.local"

static const char shop[] =
    "apiVersion: v1\nkind: Service\nmetadata: {name: catalog, namespace: shop}\n"
    "spec: {selector: {app: catalog}, ports: [{name: http, port: 8080}]}\n"
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: payment, namespace: shop}\n"
    "spec: {selector: {app: payment}, ports: [{name: http, port: 8080}]}\n"
    "---\napiVersion: tulle.dev/v1\nkind: Workload\n"
    "metadata: {name: web, namespace: shop, labels: {app: web}}\n"
    "spec: {serviceAccount: web-sa, ports: [{name: http, port: 8080}]}\n"
    "---\napiVersion: tulle.dev/v1\nkind: Workload\n"
    "metadata: {name: catalog, namespace: shop, labels: {app: catalog}}\n"
    "spec: {serviceAccount: catalog-sa, ports: [{name: http, port: 8080}]}\n"
    "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n"
    "metadata: {name: catalog, namespace: shop}\n"
    "spec: {hosts: [catalog], http: [{route: [{destination: {host: catalog}}]}]}\n";

static int setup(void **state)
{
    rig_setup(state);
    rig_apply(*state, shop);
    return 0;
}

/* Every output of the mesh, asked for once. */
static const struct {
    enum resource_type type;
    const char *name;
} all[] = {
    {RESOURCE_DIRECTORY, "shop"},
    {RESOURCE_LISTENER, TRANSLATE_INBOUND},
    {RESOURCE_LISTENER, CATALOG ":8080"},
    {RESOURCE_ROUTE, CATALOG ":8080"},
    {RESOURCE_CLUSTER, CATALOG ":8080"},
    {RESOURCE_ENDPOINTS, CATALOG ":8080"},
    {RESOURCE_LISTENER, PAYMENT ":8080"},
    {RESOURCE_ROUTE, PAYMENT ":8080"},
    {RESOURCE_CLUSTER, PAYMENT ":8080"},
    {RESOURCE_ENDPOINTS, PAYMENT ":8080"},
    {RESOURCE_CLUSTER, "inbound|8080|http"},
};

/* Which of them were run again (bits), and which are other objects now. */
struct pass {
    unsigned runs, changes;
};

static struct translate_output *held[ARRAY_LEN(all)];

static struct pass ask_all(struct rig *r)
{
    struct pass pass = {0};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        uint64_t before = translate_runs(r->translate);
        struct translate_output *o = rig_output(r, all[i].type, all[i].name);
        assert_non_null(o);
        assert_int_equal(o->error.len, 0);
        pass.runs |= (translate_runs(r->translate) - before == 1 ? 1u : 0u) << i;
        pass.changes |= (o != held[i] ? 1u : 0u) << i;
        translate_output_unref(held[i]);
        held[i] = o;
    }
    return pass;
}

static void drop_all(void)
{
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        held[i] = translate_output_unref(held[i]);
}

enum {
    DIRECTORY = 1 << 0,
    INBOUND = 1 << 1,
    CATALOG_LISTENER = 1 << 2,
    CATALOG_ROUTE = 1 << 3,
    CATALOG_CLUSTER = 1 << 4,
    CATALOG_ENDPOINTS = 1 << 5,
    PAYMENT_ALL = 15 << 6,
    EVERYTHING = (1 << 11) - 1,
    INBOUND_CLUSTER = 1 << 10,
};

static void expect(struct rig *r, unsigned runs_max, unsigned changes, int line)
{
    struct pass pass = ask_all(r);
    if ((pass.runs & ~runs_max) != 0 || pass.changes != changes)
        fail_msg("line %d: ran %x of %x, changed %x, not %x", line, pass.runs, runs_max,
                 pass.changes, changes);
}
#define EXPECT(runs_max, changes) expect(r, runs_max, changes, __LINE__)

static void test_dependencies(void **state)
{
    struct rig *r = *state;
    EXPECT(EVERYTHING, EVERYTHING);
    EXPECT(0, 0);
    /* The same again, with a comment, with another order of its own. */
    rig_apply(r, shop);
    EXPECT(0, 0);
    rig_apply(r, "# a comment\napiVersion: networking.istio.io/v1\nkind: VirtualService\n"
                 "metadata: {name: catalog, namespace: shop} # and one more\n"
                 "spec: {hosts: [catalog], http: [{route: [{destination: {host: catalog}}]}]}\n");
    EXPECT(0, 0);
    assert_int_equal(translate_runs(r->translate), ARRAY_LEN(all));
    /* Another text of equal meaning is run, and is nothing new. */
    rig_apply(r, "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
                 "metadata: {name: catalog, namespace: shop, annotations: {note: x}}\n"
                 "spec: {hosts: [catalog], http: [{route: [{destination: {host: catalog},\n"
                 "  weight: 100}]}]}\n");
    EXPECT(CATALOG_ROUTE | CATALOG_LISTENER, 0);
    rig_apply(
        r, "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
           "metadata: {name: catalog, namespace: shop}\n"
           "spec: {hosts: [catalog], http: [{timeout: 1s, route: [{destination: {host: catalog},\n"
           "  weight: 100}]}]}\n");
    EXPECT(CATALOG_ROUTE | CATALOG_LISTENER, CATALOG_ROUTE);
    rig_apply(
        r, "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
           "metadata: {name: catalog, namespace: shop}\n"
           "spec: {host: catalog, trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}}}\n");
    EXPECT(CATALOG_ROUTE | CATALOG_CLUSTER, CATALOG_CLUSTER);
    rig_apply(r, "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
                 "metadata: {name: web, namespace: shop}\nspec: {}\n");
    EXPECT(INBOUND, INBOUND);
    rig_apply(r, "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
                 "metadata: {name: else, namespace: bank}\nspec: {}\n");
    EXPECT(0, 0);
    rig_ready(r, "shop", "catalog", 0, "10.0.0.1");
    EXPECT(CATALOG_ENDPOINTS | DIRECTORY, CATALOG_ENDPOINTS | DIRECTORY);
    rig_apply(r, "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
                 "metadata: {name: default, namespace: shop}\nspec: {mtls: {mode: STRICT}}\n");
    EXPECT(INBOUND | DIRECTORY | CATALOG_ENDPOINTS, INBOUND);
    rig_apply(r, "apiVersion: v1\nkind: Service\nmetadata: {name: other, namespace: bank}\n"
                 "spec: {ports: [{name: http, port: 80}]}\n");
    EXPECT(0, 0);
    rig_apply(r, "apiVersion: v1\nkind: Service\nmetadata: {name: other, namespace: shop}\n"
                 "spec: {ports: [{name: http, port: 80}]}\n");
    EXPECT(DIRECTORY, DIRECTORY);
    /* What no proxy sees. */
    rig_apply(r, "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: x, namespace: shop}\n");
    EXPECT(0, 0);
    rig_apply(r, "apiVersion: tulle.dev/v1\nkind: Mesh\nmetadata: {name: default}\n"
                 "spec: {certificates: {leafLifetime: 1h}}\n");
    EXPECT(EVERYTHING, 0);
    /* The trust domain stands in every expected name. */
    rig_apply(r, "apiVersion: tulle.dev/v1\nkind: Mesh\nmetadata: {name: default}\n"
                 "spec: {trustDomain: mesh.local}\n");
    EXPECT(EVERYTHING, INBOUND | DIRECTORY | CATALOG_CLUSTER | CATALOG_ENDPOINTS | 1 << 8);
    drop_all();
}

static void test_deletion(void **state)
{
    struct rig *r = *state;
    const char *names[] = {CATALOG ":8080"};
    static const enum resource_type types[] = {RESOURCE_LISTENER, RESOURCE_ROUTE, RESOURCE_CLUSTER,
                                               RESOURCE_ENDPOINTS};
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        assert_non_null(rig_get(r, types[i], names[0]));
    rig_forget(r);
    rig_delete(r, API_KIND_SERVICE, "shop", "catalog");
    assert_true(rig_is_dirty(r, "listener " CATALOG));
    assert_true(rig_is_dirty(r, "route " CATALOG));
    assert_true(rig_is_dirty(r, "cluster " CATALOG));
    assert_true(rig_is_dirty(r, "endpoints " CATALOG));
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        assert_null(rig_get(r, types[i], names[0]));
    /* Who waits for it hears of it when it is there again. */
    rig_forget(r);
    rig_apply(r, shop);
    assert_true(rig_is_dirty(r, "listener " CATALOG));
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        assert_non_null(rig_get(r, types[i], names[0]));
    /* An output that somebody holds outlives its document. */
    struct translate_output *o = rig_output(r, RESOURCE_ROUTE, names[0]);
    rig_delete(r, API_KIND_SERVICE, "shop", "catalog");
    assert_null(rig_output(r, RESOURCE_ROUTE, names[0]));
    assert_str(o->name, names[0]);
    assert_int_equal(o->version.len, 16);
    translate_output_unref(o);
}

/* Equal documents give equal bytes, in another process too. */
static void test_restart(void **state)
{
    struct rig *r = *state;
    struct str versions[ARRAY_LEN(all)];
    rig_ready(r, "shop", "catalog", 1, "10.0.0.2");
    rig_ready(r, "shop", "catalog", 0, "10.0.0.1");
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct translate_output *o = rig_output(r, all[i].type, all[i].name);
        versions[i] = arena_str(&r->arena, o->version);
        translate_output_unref(o);
    }
    rig_restart(r);
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct translate_output *o = rig_output(r, all[i].type, all[i].name);
        assert_true(str_eq(o->version, versions[i]));
        translate_output_unref(o);
    }
}

/* Other people's clients get resources of their own that say the same. */
static void test_dialects(void **state)
{
    struct rig *r = *state;
    rig_ready(r, "shop", "catalog", 0, "10.0.0.1");
    ask_all(r);
    r->viewer.dialect = XDS_DIALECT_ENVOY;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (all[i].type == RESOURCE_DIRECTORY)
            continue;
        /* Of two addresses, which is more than ours would take. */
        if (str_eq(str_from_c(all[i].name), STR(TRANSLATE_INBOUND)))
            translate_output_unref(rig_output(r, all[i].type, all[i].name));
        else
            assert_non_null(rig_get(r, all[i].type, all[i].name));
    }
    const struct cluster *c = rig_cluster(r, CATALOG ":8080");
    assert_int_equal(c->tls_matches[0].tls->common.san_count, 1);
    r->viewer.dialect = XDS_DIALECT_TULLE;
    EXPECT(0, 0);
    drop_all();
}

/* Whoever is told may ask at once. */
struct asker {
    struct rig *r;
    unsigned told;
};

static void ask_at_once(void *ctx, enum resource_type type, struct str name, struct str view)
{
    struct asker *a = ctx;
    (void)view;
    a->told++;
    translate_output_unref(translate_get(a->r->translate, &a->r->viewer, type, name));
}

static void test_reentry(void **state)
{
    struct rig *r = *state;
    struct asker a = {.r = r};
    ask_all(r);
    drop_all();
    translate_changed(r->translate, STR("mesh"), ask_at_once, &a);
    assert_true(a.told >= 5);
    unsigned told = a.told;
    translate_changed(r->translate, STR("mesh"), ask_at_once, &a);
    assert_int_equal(a.told, told * 2);
    translate_changed(r->translate, STR("nothing/like/this"), ask_at_once, &a);
    assert_int_equal(a.told, told * 2);
}

/* --- names --- */

static void test_names(void **state)
{
    struct rig *r = *state;
    static const char *const good[] = {
        "catalog.shop.svc.cluster.local:8080", "a:1", "a:65535/v1", "a:1/V_1.x|tcp", "a:1|tcp",
    };
    static const char *const bad[] = {
        "",         ":",        "a",      "a:",       "a:0",          "a:65536",
        "a:-1",     "a:01",     ":80",    "A:80",     "a b:80",       "a:80/",
        "a:80/x/y", "a:80/x y", "a:80|",  "a:80|udp", "a:80|tcp|tcp", "a:80|tcp/v1",
        "a/b:80",   "[::1]:80", "a:80\n", "*:80",     "a%s:80",       "../x:80",
        "a:80/%n",
    };
    struct output_name n;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_true(name_parse(str_from_c(good[i]), &n));
        assert_str(name_format(&r->arena, n.host, n.port, n.subset, n.is_tcp), good[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (name_parse(str_from_c(bad[i]), &n))
            fail_msg("\"%s\"", bad[i]);
    }
    assert_false(name_parse(str_from("a:1\0", 4), &n));
    static const char *const inbound_bad[] = {
        "inbound|",           "inbound|80",      "inbound|80|",
        "inbound|80|x",       "inbound|080|tcp", "inbound|65536|tcp",
        "inbound|80|tcp|tcp", "outbound|80|tcp", "inbound|80|tcp ",
    };
    uint16_t port;
    enum api_protocol protocol;
    assert_true(name_parse_inbound(STR("inbound|0|auto"), &port, &protocol));
    for (size_t i = 0; i < ARRAY_LEN(inbound_bad); i++)
        assert_false(name_parse_inbound(str_from_c(inbound_bad[i]), &port, &protocol));
}

/* A proxy may ask for anything: no crash, no fact of its making, bounded memory. */
static void test_hostile_names(void **state)
{
    struct rig *r = *state;
    char big[5000];
    memset(big, 'a', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    for (int type = 0; type < RESOURCE_TYPE_COUNT; type++) {
        assert_null(rig_output(r, (enum resource_type)type, big));
        memcpy(big + sizeof big - 4, ":80", 3);
        assert_null(rig_output(r, (enum resource_type)type, big));
        big[sizeof big - 4] = big[sizeof big - 3] = big[sizeof big - 2] = 'a';
        assert_null(rig_output(r, (enum resource_type)type, ""));
        assert_null(rig_output(r, (enum resource_type)type, "a/../b"));
    }
    assert_int_equal(translate_runs(r->translate), 0);
    for (unsigned i = 0; i < 20000; i++) {
        char name[64];
        snprintf(name, sizeof name, "n%u.shop.svc.cluster.local:80", i);
        assert_null(rig_output(r, RESOURCE_ENDPOINTS, name));
    }
    /* The first are remembered, the last are not, and neither disturbs what exists. */
    rig_forget(r);
    rig_apply(r, "apiVersion: v1\nkind: Service\nmetadata: {name: n0, namespace: shop}\n"
                 "spec: {ports: [{name: http, port: 80}]}\n"
                 "---\napiVersion: v1\nkind: Service\nmetadata: {name: n19999, namespace: shop}\n"
                 "spec: {ports: [{name: http, port: 80}]}\n");
    assert_true(rig_is_dirty(r, "endpoints n0.shop"));
    assert_false(rig_is_dirty(r, "endpoints n19999.shop"));
    assert_non_null(rig_endpoints(r, "n19999.shop.svc.cluster.local:80"));
    assert_non_null(rig_endpoints(r, CATALOG ":8080"));
}

struct names {
    struct rig *r;
    char text[512];
};

static void on_name(void *ctx, struct str name)
{
    struct names *n = ctx;
    size_t len = strlen(n->text);
    snprintf(n->text + len, sizeof n->text - len, "%.*s ", STR_FMT(name));
}

static void test_wildcards(void **state)
{
    struct rig *r = *state;
    rig_apply(r, "apiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: bank}\n"
                 "spec: {ports: [{name: http, port: 80}]}\n");
    struct names n = {.r = r};
    translate_names(r->translate, &r->viewer, RESOURCE_DIRECTORY, on_name, &n);
    assert_string_equal(n.text, "bank shop ");
    n.text[0] = '\0';
    translate_names(r->translate, &r->viewer, RESOURCE_LISTENER, on_name, &n);
    assert_string_equal(n.text, TRANSLATE_INBOUND " ");
    n.text[0] = '\0';
    translate_names(r->translate, &r->viewer, RESOURCE_CLUSTER, on_name, &n);
    assert_string_equal(n.text, "inbound|0|auto inbound|0|tcp inbound|8080|http inbound|8080|tcp ");
    n.text[0] = '\0';
    translate_names(r->translate, &r->viewer, RESOURCE_ROUTE, on_name, &n);
    translate_names(r->translate, &r->viewer, RESOURCE_ENDPOINTS, on_name, &n);
    translate_names(r->translate, &r->viewer, RESOURCE_SECRET, on_name, &n);
    assert_string_equal(n.text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_dependencies, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_deletion, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_restart, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_dialects, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_reentry, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_names, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_hostile_names, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_wildcards, setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
