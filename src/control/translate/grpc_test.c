/* What clients of gRPC are sent, as the JSON of its messages: the proxies' own decoder refuses it.
 */
#include "control/translate/testing/rig.h"
#include "mesh/xds/codec.h"

#define HOST "catalog.shop.svc.cluster.local"
#define CATALOG HOST ":8080"

static const char documents[] =
    "apiVersion: v1\nkind: Service\nmetadata: {name: catalog}\n"
    "spec: {selector: {app: catalog}, ports: [{name: grpc, port: 8080}, {name: tcp, port: 90}]}\n"
    "---\n"
    "apiVersion: tulle.dev/v1\nkind: Workload\nmetadata: {name: v1, labels: {app: catalog, "
    "version: "
    "v1}}\n"
    "spec: {serviceAccount: catalog, ports: [{name: grpc, port: 8080}]}\n"
    "---\n"
    "apiVersion: tulle.dev/v1\nkind: Workload\nmetadata: {name: v2, labels: {app: catalog, "
    "version: "
    "v2}}\n"
    "spec: {serviceAccount: catalog, ports: [{name: grpc, port: 8080}]}\n"
    "---\n"
    "apiVersion: tulle.dev/v1\nkind: Workload\nmetadata: {name: web, labels: {app: web}}\n"
    "spec: {serviceAccount: web}\n";

static const char by_name[] = "\"route_config_name\":\"" CATALOG "\"";
static const char to_itself[] = "\"cluster\":\"" CATALOG "\"";
static const char a_tenth[] = "\"name\":\"" CATALOG "/v2\",\"weight\":1";

enum { TEXT_MAX = 1 << 20 };

static int setup(void **state)
{
    if (rig_setup(state) != 0)
        return -1;
    struct rig *r = *state;
    r->viewer.dialect = XDS_DIALECT_GRPC;
    rig_apply(r, documents);
    return 0;
}

/* Of the output; fails when there is none, or it could not be made. */
static struct str json_of(struct rig *r, enum resource_type type, const char *name)
{
    struct str_buf text = STR_BUF_INIT(TEXT_MAX);
    struct translate_output *o = rig_output(r, type, name);
    assert_non_null(o);
    if (o->error.len > 0)
        fail_msg("%.*s", STR_FMT(o->error));
    assert_int_equal(xds_to_json(type, o->wire, &text), 0);
    struct str kept = arena_str(&r->arena, str_buf_str(&text));
    translate_output_unref(o);
    str_buf_deinit(&text);
    return kept;
}

/* parts: ends with NULL; one that begins with '!' must not be in it. */
static void assert_holds(struct str text, const char *const *parts)
{
    for (; *parts != NULL; parts++) {
        bool is_out = (*parts)[0] == '!';
        if (str_contains(text, str_from_c(*parts + is_out)) == is_out)
            fail_msg("%s in %.*s", *parts, STR_FMT(text));
    }
}
#define HOLDS(text, ...) assert_holds((text), (const char *const[]){__VA_ARGS__, NULL})

static void rule(struct rig *r, const char *policy)
{
    rig_apply(r, arena_printf(&r->arena,
                              "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
                              "metadata: {name: catalog}\n"
                              "spec: {host: catalog, trafficPolicy: {%s}}\n",
                              policy)
                     .ptr);
}

static void routes(struct rig *r, const char *http)
{
    rig_apply(r, arena_printf(&r->arena,
                              "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
                              "metadata: {name: catalog}\nspec: {hosts: [catalog], http: [%s]}\n",
                              http)
                     .ptr);
}

static void test_listener(void **state)
{
    struct rig *r = *state;
    HOLDS(json_of(r, RESOURCE_LISTENER, CATALOG), "\"api_listener\"", "HttpConnectionManager",
          by_name, "http.router.v3.Router", "!filter_chains", "!\"address\"", "!access_log",
          "!upgrade_configs");
    /* Nothing listens, nothing is captured, and no call goes to a port of bytes. */
    assert_null(rig_output(r, RESOURCE_LISTENER, "virtualInbound"));
    assert_null(rig_output(r, RESOURCE_LISTENER, "virtualOutbound"));
    assert_null(rig_output(r, RESOURCE_LISTENER, HOST ":90"));
    assert_null(rig_output(r, RESOURCE_LISTENER, HOST ":81"));
}

static void test_cluster(void **state)
{
    struct rig *r = *state;
    HOLDS(json_of(r, RESOURCE_CLUSTER, CATALOG), "\"type\":\"EDS\"",
          "least_request.v3.LeastRequest", "round_robin.v3.RoundRobin", "!\"lb_policy\"",
          "!transport_socket_matches", "!upstream_bind_config", "!typed_extension_protocol_options",
          "!\"tls_params\"", "!sds",
          "\"tls_certificate_provider_instance\":{\"instance_name\":\"default\"}",
          "\"ca_certificate_provider_instance\":{\"instance_name\":\"default\"}",
          "\"match_subject_alt_names\":[{\"prefix\":\"spiffe://cluster.local/ns/shop/sa/\"}]");
    assert_null(rig_output(r, RESOURCE_CLUSTER, "inbound|8080|grpc"));
    assert_null(rig_output(r, RESOURCE_CLUSTER, "PassthroughCluster"));
    assert_null(rig_output(r, RESOURCE_CLUSTER, CATALOG "|tcp"));
}

static void test_cluster_by_rule(void **state)
{
    struct rig *r = *state;
    rule(r, "tls: {mode: DISABLE}, loadBalancer: {simple: ROUND_ROBIN},\n"
            " connectionPool: {http: {http2MaxRequests: 7}},\n"
            " outlierDetection: {consecutive5xxErrors: 3, interval: 2s, baseEjectionTime: 9s,\n"
            "  maxEjectionPercent: 100}");
    HOLDS(json_of(r, RESOURCE_CLUSTER, CATALOG), "!transport_socket", "!load_balancing_policy",
          "\"max_requests\":7", "\"failure_percentage_request_volume\":3",
          "\"enforcing_failure_percentage\":100", "\"enforcing_success_rate\":0",
          "\"base_ejection_time\":\"9s\"", "!consecutive");
    rule(r, "tls: {mode: ISTIO_MUTUAL, sni: s.example, subjectAltNames: [\"spiffe://a/b\"]}");
    HOLDS(json_of(r, RESOURCE_CLUSTER, CATALOG), "\"exact\":\"spiffe://a/b\"",
          "\"sni\":\"s.example\"");
}

static void test_endpoints(void **state)
{
    struct rig *r = *state;
    rig_ready(r, "shop", "v1", 0, "10.0.0.1");
    HOLDS(json_of(r, RESOURCE_ENDPOINTS, CATALOG), "\"locality\":{}", "\"load_balancing_weight\":1",
          "\"address\":\"10.0.0.1\"", "!metadata");
    HOLDS(json_of(r, RESOURCE_ENDPOINTS, CATALOG "/v2"), "!endpoints");
}

/* PeerAuthentication says what each workload speaks; one cluster can speak one of them. */
static void test_tls_is_the_clusters(void **state)
{
    static const char disable[] =
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: %s}\n"
        "spec: {selector: {matchLabels: {version: %s}}, mtls: {mode: DISABLE}}\n";
    struct rig *r = *state;
    rig_ready(r, "shop", "v1", 0, "10.0.0.1");
    rig_ready(r, "shop", "v2", 0, "10.0.0.2");
    rig_apply(r, arena_printf(&r->arena, disable, "v2", "v2").ptr);
    HOLDS(json_of(r, RESOURCE_CLUSTER, CATALOG), "UpstreamTlsContext");
    HOLDS(json_of(r, RESOURCE_ENDPOINTS, CATALOG), "10.0.0.1", "!10.0.0.2");
    HOLDS(json_of(r, RESOURCE_CLUSTER, CATALOG "/v2"), "!transport_socket");
    HOLDS(json_of(r, RESOURCE_ENDPOINTS, CATALOG "/v2"), "10.0.0.2");
    rig_forget(r);
    rig_apply(r, arena_printf(&r->arena, disable, "v1", "v1").ptr);
    assert_true(rig_is_dirty(r, "cluster " CATALOG));
    HOLDS(json_of(r, RESOURCE_CLUSTER, CATALOG), "!transport_socket");
    HOLDS(json_of(r, RESOURCE_ENDPOINTS, CATALOG), "10.0.0.1", "10.0.0.2");
}

static void test_routes(void **state)
{
    struct rig *r = *state;
    HOLDS(json_of(r, RESOURCE_ROUTE, CATALOG), "\"domains\":[\"*\"]", to_itself,
          "\"retry_on\":", "unavailable", "!\"max_stream_duration\"");
    routes(r, "{match: [{headers: {x-user: {exact: beta}, x-team: {prefix: a}}}], timeout: 3s,\n"
              "  retries: {attempts: 3, retryOn: unavailable},\n"
              "  route: [{destination: {host: catalog, subset: v1}, weight: 9},\n"
              "   {destination: {host: catalog, subset: v2}, weight: 1}]},\n"
              " {redirect: {uri: /gone}}");
    HOLDS(json_of(r, RESOURCE_ROUTE, CATALOG), "\"exact_match\":\"beta\"", "\"prefix_match\":\"a\"",
          "\"max_stream_duration\":{\"max_stream_duration\":\"3s\"}", "\"num_retries\":3", a_tenth,
          "\"total_weight\":10", "!redirect", "!string_match", "\"cluster\":\"BlackHoleCluster\"");
    HOLDS(json_of(r, RESOURCE_CLUSTER, "BlackHoleCluster"), "EDS", "!transport_socket");
    HOLDS(json_of(r, RESOURCE_ENDPOINTS, "BlackHoleCluster"), "!endpoints");
}

/* What a call can never be, or always is, is decided before it is made. */
static void test_matches_of_all_calls(void **state)
{
    static const struct {
        const char *match;
        bool is_met;
    } cases[] = {
        {"method: {exact: POST}", true},         {"method: {prefix: P}", true},
        {"method: {exact: post}", false},        {"method: {exact: GET}", false},
        {"authority: {exact: " HOST "}", true},  {"authority: {exact: \"" CATALOG "\"}", true},
        {"authority: {prefix: Catalog.}", true}, {"authority: {exact: catalog}", false},
        {"queryParams: {a: {exact: b}}", false}, {"uri: {prefix: /shop.}", true},
    };
    struct rig *r = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        routes(r,
               arena_printf(&r->arena,
                            "{match: [{%s}], route: [{destination: {host: catalog, subset: a}}]},"
                            " {route: [{destination: {host: catalog, subset: b}}]}",
                            cases[i].match)
                   .ptr);
        struct str text = json_of(r, RESOURCE_ROUTE, CATALOG);
        if (str_contains(text, STR(CATALOG "/a")) != cases[i].is_met)
            fail_msg("%s: %.*s", cases[i].match, STR_FMT(text));
        HOLDS(text, "!:method", "!:authority", CATALOG "/b");
    }
}

static void on_name(void *ctx, struct str name)
{
    (void)ctx;
    fail_msg("%.*s", STR_FMT(name));
}

static void test_nothing_by_wildcard(void **state)
{
    struct rig *r = *state;
    for (int type = 0; type < RESOURCE_TYPE_COUNT; type++)
        translate_names(r->translate, &r->viewer, (enum resource_type)type, on_name, NULL);
}

/* Our proxies are no clients of gRPC: what they cannot do is refused by its path. */
static void test_it_is_not_for_proxies(void **state)
{
    static const struct {
        enum resource_type type;
        const char *why;
    } cases[] = {{RESOURCE_LISTENER, "api_listener"}, {RESOURCE_CLUSTER, "load_balancing_policy"}};
    struct rig *r = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct translate_output *o = rig_output(r, cases[i].type, CATALOG);
        struct str_buf why = STR_BUF_INIT(1000);
        struct resource *decoded = NULL;
        assert_int_not_equal(xds_decode(cases[i].type, o->wire, &why, &decoded), 0);
        assert_true(str_starts_with(str_buf_str(&why), str_from_c(cases[i].why)));
        str_buf_deinit(&why);
        translate_output_unref(o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_listener, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_cluster, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_cluster_by_rule, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_endpoints, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_tls_is_the_clusters, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_routes, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_matches_of_all_calls, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_nothing_by_wildcard, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_it_is_not_for_proxies, setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
