/* What proxies without a directory get: all names, and a listener for what has none. */
#include "control/translate/testing/rig.h"

#define HOST(name) name ".shop.svc.cluster.local"

static const char documents[] =
    "apiVersion: v1\nkind: Service\nmetadata: {name: catalog}\n"
    "spec: {selector: {app: catalog}, ports: [{name: http, port: 8080}, {name: grpc, port: "
    "9090}]}\n"
    "---\n"
    "apiVersion: v1\nkind: Service\nmetadata: {name: cart}\n"
    "spec: {selector: {app: cart}, ports: [{name: tcp, port: 6379}, {name: what, port: 7000}]}\n"
    "---\n"
    "apiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: data}\n"
    "spec: {selector: {app: db}, ports: [{name: tcp, port: 5432}]}\n"
    "---\n"
    "apiVersion: tulle.dev/v1\nkind: Workload\n"
    "metadata: {name: web, labels: {app: web}}\n"
    "spec: {serviceAccount: web, ports: [{name: http, port: 80}]}\n"
    "---\n"
    "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: catalog}\n"
    "spec: {host: catalog, subsets: [{name: v1, labels: {version: v1}}]}\n"
    "---\n"
    "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: catalog}\n"
    "spec: {hosts: [catalog], http: [{match: [{port: 8080}], route: [\n"
    " {destination: {host: catalog, subset: undefined}, weight: 50},\n"
    " {destination: {host: cart, port: {number: 7000}}, weight: 50}]}]}\n"
    "---\n"
    "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: cart}\n"
    "spec: {hosts: [cart], tcp: [{match: [{port: 6379}],\n"
    " route: [{destination: {host: cart, port: {number: 7000}}}]}]}\n";

struct names {
    struct str_buf text;
};

static void on_name(void *ctx, struct str name)
{
    struct names *n = ctx;
    str_buf_printf(&n->text, "%.*s\n", STR_FMT(name));
}

static bool has(const struct names *n, const char *name)
{
    char line[200];
    snprintf(line, sizeof line, "%s\n", name);
    struct str rest = str_buf_str(&n->text);
    while (rest.len > 0) {
        if (str_eq(str_split(&rest, '\n'), str_from_c(name)))
            return true;
    }
    return false;
}

static void ask(struct rig *r, enum resource_type type, struct names *n)
{
    n->text = STR_BUF_INIT(1 << 16);
    translate_names(r->translate, &r->viewer, type, on_name, n);
}

static void test_names(void **state)
{
    static const char *const clusters[] = {
        "inbound|80|http",
        TRANSLATE_PASSTHROUGH,
        TRANSLATE_BLACKHOLE,
        HOST("catalog") ":8080",
        HOST("catalog") ":9090",
        HOST("catalog") ":8080/v1",
        HOST("catalog") ":9090/v1",
        HOST("catalog") ":8080/undefined", /* named by a route alone */
        HOST("cart") ":6379",
        HOST("cart") ":7000",
        HOST("cart") ":7000|tcp", /* of an undeclared protocol */
        "db.data.svc.cluster.local:5432",
    };
    static const char *const listeners[] = {
        TRANSLATE_INBOUND,
        TRANSLATE_OUTBOUND,
        HOST("catalog") ":8080",
        HOST("cart") ":7000",
        "db.data.svc.cluster.local:5432",
    };
    struct rig *r = *state;
    struct names n;
    rig_apply(r, documents);
    r->viewer.dialect = XDS_DIALECT_ENVOY;
    ask(r, RESOURCE_CLUSTER, &n);
    for (size_t i = 0; i < ARRAY_LEN(clusters); i++) {
        if (!has(&n, clusters[i]))
            fail_msg("no cluster %s in\n%s", clusters[i], n.text.ptr);
        if (rig_get(r, RESOURCE_CLUSTER, clusters[i]) == NULL)
            fail_msg("there is no cluster %s", clusters[i]);
    }
    assert_false(has(&n, HOST("cart") ":6379|tcp"));
    str_buf_deinit(&n.text);
    ask(r, RESOURCE_LISTENER, &n);
    for (size_t i = 0; i < ARRAY_LEN(listeners); i++) {
        if (!has(&n, listeners[i]))
            fail_msg("no listener %s in\n%s", listeners[i], n.text.ptr);
    }
    assert_false(has(&n, HOST("catalog") ":8080/v1"));
    str_buf_deinit(&n.text);
    /* Our own asks for what it uses. */
    r->viewer.dialect = XDS_DIALECT_TULLE;
    ask(r, RESOURCE_CLUSTER, &n);
    assert_false(has(&n, HOST("catalog") ":8080"));
    str_buf_deinit(&n.text);
}

/* The listener as JSON. */
static struct str_buf dump(struct rig *r, const char *name)
{
    struct str_buf json = STR_BUF_INIT(1 << 20);
    struct translate_output *o = rig_output(r, RESOURCE_LISTENER, name);
    assert_non_null(o);
    assert_int_equal(xds_to_json(RESOURCE_LISTENER, o->wire, &json), 0);
    translate_output_unref(o);
    return json;
}

static void test_what_is_nobodys(void **state)
{
    struct rig *r = *state;
    rig_apply(r, documents);
    assert_null(rig_output(r, RESOURCE_LISTENER, TRANSLATE_OUTBOUND));
    assert_null(rig_output(r, RESOURCE_CLUSTER, TRANSLATE_PASSTHROUGH));
    r->viewer.dialect = XDS_DIALECT_ENVOY;
    const struct cluster *c = rig_cluster(r, TRANSLATE_PASSTHROUGH);
    assert_int_equal(c->kind, CLUSTER_ORIGINAL_DST);
    assert_int_equal(rig_cluster(r, TRANSLATE_BLACKHOLE)->kind, CLUSTER_STATIC);
    struct str_buf json = dump(r, TRANSLATE_OUTBOUND);
    struct str text = str_buf_str(&json);
    assert_true(str_contains(text, STR("240.240.0.0")));
    assert_true(str_contains(text, STR("fd77:7e11::")));
    assert_true(str_contains(text, STR("\"" TRANSLATE_PASSTHROUGH "\"")));
    assert_true(str_contains(text, STR("additional")));
    str_buf_deinit(&json);
    rig_apply(r, "apiVersion: tulle.dev/v1\nkind: Mesh\nmetadata: {name: m}\n"
                 "spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}\n");
    json = dump(r, TRANSLATE_OUTBOUND);
    assert_false(str_contains(str_buf_str(&json), STR(TRANSLATE_PASSTHROUGH)));
    str_buf_deinit(&json);
}

static void assert_alpn(const struct common_tls *tls, const char *first, const char *last)
{
    assert_str(tls->alpn[0], first);
    assert_str(tls->alpn[tls->alpn_count - 1], last);
}

/* Tokens that the client means, and marks that capture knows it by. */
static void test_clusters(void **state)
{
    static const struct {
        const char *name, *first, *last;
        enum upstream_protocol protocol;
    } rows[] = {
        {HOST("catalog") ":8080", "istio-http/1.1", "http/1.1", UPSTREAM_HTTP1},
        {HOST("catalog") ":9090", "istio-h2", "h2", UPSTREAM_HTTP2},
        {HOST("cart") ":6379", "istio-peer-exchange", "istio", UPSTREAM_HTTP1},
        {HOST("cart") ":7000", "istio-http/1.1", "http/1.1", UPSTREAM_HTTP1},
        {HOST("cart") ":7000|tcp", "istio-peer-exchange", "istio", UPSTREAM_HTTP1},
    };
    struct rig *r = *state;
    rig_apply(r, documents);
    const struct cluster *ours = rig_cluster(r, HOST("catalog") ":8080");
    assert_int_equal(ours->socket_mark, 0);
    assert_alpn(&ours->tls_matches[0].tls->common, "tulle-h2", "h2");
    r->viewer.dialect = XDS_DIALECT_ENVOY;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct cluster *c = rig_cluster(r, rows[i].name);
        assert_alpn(&c->tls_matches[0].tls->common, rows[i].first, rows[i].last);
        assert_int_equal(c->protocol, rows[i].protocol);
        assert_int_equal(c->socket_mark, 0x539);
    }
    assert_int_equal(rig_cluster(r, "inbound|80|http")->socket_mark, 0x53a);
}

/* To a peer that is Envoy nothing is said that only ours understand. */
static void test_endpoints(void **state)
{
    struct rig *r = *state;
    rig_apply(r, documents);
    rig_apply(r, "apiVersion: tulle.dev/v1\nkind: Workload\n"
                 "metadata: {name: c1, labels: {app: catalog}}\n"
                 "spec: {ports: [{name: http, port: 8080}], proxy: envoy}\n---\n"
                 "apiVersion: tulle.dev/v1\nkind: Workload\n"
                 "metadata: {name: c2, labels: {app: catalog}}\n"
                 "spec: {ports: [{name: http, port: 8080}], proxy: tulle}\n");
    rig_ready(r, "shop", "c1", 0, "10.0.0.1");
    rig_ready(r, "shop", "c2", 0, "10.0.0.2");
    const struct endpoints *e = rig_endpoints(r, HOST("catalog") ":8080");
    assert_int_equal(e->count, 2);
    assert_false(e->items[0].is_tulle);
    assert_true(e->items[1].is_tulle);
    assert_str(e->items[0].match_value, "istio");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)
    const struct CMUnitTest tests[] = {
        T(test_names),
        T(test_what_is_nobodys),
        T(test_clusters),
        T(test_endpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
