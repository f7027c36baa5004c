#include "control/translate/testing/rig.h"

#define CATALOG "catalog.shop.svc.cluster.local"

static const char shop[] =
    "apiVersion: tulle.dev/v1\nkind: Mesh\nmetadata: {name: default}\n"
    "spec: {trustDomain: mesh.local}\n"
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: catalog, namespace: shop}\n"
    "spec: {selector: {app: catalog}, ports: [{name: http, port: 8080, targetPort: web},\n"
    "  {name: grpc, port: 90, targetPort: 9090}, {name: tcp, port: 6379}, {name: any, port: "
    "7000}]}\n"
    "---\napiVersion: tulle.dev/v1\nkind: Workload\n"
    "metadata: {name: catalog-v1, namespace: shop, labels: {app: catalog, version: v1}}\n"
    "spec: {serviceAccount: catalog-sa, ports: [{name: web, port: 8000}]}\n"
    "---\napiVersion: tulle.dev/v1\nkind: Workload\n"
    "metadata: {name: catalog-v2, namespace: shop, labels: {app: catalog, version: v2}}\n"
    "spec: {serviceAccount: catalog2-sa, ports: [{name: web, port: 8002}]}\n"
    "---\napiVersion: tulle.dev/v1\nkind: Workload\n"
    "metadata: {name: catalog-v3, namespace: shop, labels: {app: catalog, version: v3}}\n"
    "spec: {ports: [{name: other, port: 8003}]}\n";

static int setup(void **state)
{
    rig_setup(state);
    rig_apply(*state, shop);
    return 0;
}

static void rule(struct rig *r, const char *ns, const char *spec)
{
    rig_apply(r, arena_printf(&r->arena,
                              "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
                              "metadata: {name: catalog, namespace: %s}\n"
                              "spec: {host: " CATALOG ", %s}\n",
                              ns, spec)
                     .ptr);
}

/* --- clusters --- */

static void test_cluster_defaults(void **state)
{
    struct rig *r = *state;
    const struct cluster *c = rig_cluster(r, CATALOG ":8080");
    assert_int_equal(c->kind, CLUSTER_EDS);
    assert_int_equal(c->lb, LB_LEAST_REQUEST);
    assert_int_equal(c->connect_timeout_us, 10000000);
    assert_int_equal(c->idle_timeout_us, 3600000000);
    assert_int_equal(c->breaker.connections_max, UINT32_MAX);
    assert_int_equal(c->breaker.pending_max, UINT32_MAX);
    assert_int_equal(c->breaker.requests_max, UINT32_MAX);
    assert_int_equal(c->breaker.retries_max, UINT32_MAX);
    assert_int_equal(c->max_requests_per_connection, 0);
    assert_false(c->outlier.is_on);
    assert_int_equal(c->panic_threshold_percent, 0);
    assert_int_equal(c->protocol, UPSTREAM_HTTP1);
    assert_str(c->service.name, "catalog");
    assert_str(c->service.namespace_, "shop");
    assert_int_equal(rig_cluster(r, CATALOG ":90")->protocol, UPSTREAM_HTTP2);
    assert_int_equal(rig_cluster(r, CATALOG ":7000")->protocol, UPSTREAM_DOWNSTREAM);
    assert_null(rig_cluster(r, CATALOG ":81"));
    assert_null(rig_cluster(r, "nobody.shop.svc.cluster.local:80"));
}

static void test_cluster_limits(void **state)
{
    struct rig *r = *state;
    rule(r, "shop",
         "trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}, connectionPool: {tcp:\n"
         "  {maxConnections: 200, connectTimeout: 2s, tcpKeepalive: {time: 90s, probes: 3}}, http: "
         "{http1MaxPendingRequests: 1000,\n"
         "  http2MaxRequests: 7, maxRequestsPerConnection: 100, maxRetries: 3, idleTimeout: 5m}},\n"
         "  outlierDetection: {consecutive5xxErrors: 5, interval: 5s, baseEjectionTime: 1m,\n"
         "  maxEjectionPercent: 50}, portLevelSettings: [{port: {number: 90},\n"
         "  loadBalancer: {simple: RANDOM}}]},\n"
         "subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {outlierDetection:\n"
         "  {consecutive5xxErrors: 0, consecutiveGatewayErrors: 9, minHealthPercent: 20}}}]");
    const struct cluster *c = rig_cluster(r, CATALOG ":8080");
    assert_int_equal(c->lb, LB_ROUND_ROBIN);
    assert_int_equal(c->breaker.connections_max, 200);
    assert_int_equal(c->connect_timeout_us, 2000000);
    assert_int_equal(c->keepalive_idle_s, 90);
    assert_int_equal(c->keepalive_interval_s, 75);
    assert_int_equal(c->keepalive_probes, 3);
    assert_int_equal(c->breaker.pending_max, 1000);
    assert_int_equal(c->breaker.requests_max, 7);
    assert_int_equal(c->breaker.retries_max, 3);
    assert_int_equal(c->max_requests_per_connection, 100);
    assert_int_equal(c->idle_timeout_us, 300000000);
    assert_true(c->outlier.is_on);
    assert_int_equal(c->outlier.consecutive_5xx, 5);
    assert_int_equal(c->outlier.enforcing_consecutive_5xx, 100);
    assert_int_equal(c->outlier.enforcing_gateway_failure, 0);
    assert_int_equal(c->outlier.interval_us, 5000000);
    assert_int_equal(c->outlier.base_ejection_us, 60000000);
    assert_int_equal(c->outlier.max_ejection_percent, 50);
    assert_str(c->origin.text, "DestinationRule/shop/catalog");
    const struct cluster *v1 = rig_cluster(r, CATALOG ":8080/v1");
    assert_int_equal(v1->lb, LB_ROUND_ROBIN);
    assert_int_equal(v1->breaker.connections_max, 200);
    assert_int_equal(v1->outlier.enforcing_consecutive_5xx, 0);
    assert_int_equal(v1->outlier.consecutive_gateway_failure, 9);
    assert_int_equal(v1->outlier.enforcing_gateway_failure, 100);
    assert_int_equal(v1->outlier.base_ejection_us, 30000000);
    assert_int_equal(v1->panic_threshold_percent, 20);
    /* A port's settings replace the others. */
    const struct cluster *grpc = rig_cluster(r, CATALOG ":90");
    assert_int_equal(grpc->lb, LB_RANDOM);
    assert_int_equal(grpc->breaker.connections_max, UINT32_MAX);
    assert_false(grpc->outlier.is_on);
}

static void test_cluster_tls(void **state)
{
    struct rig *r = *state;
    /* Unset: the endpoint decides. */
    const struct cluster *c = rig_cluster(r, CATALOG ":8080");
    assert_null(c->tls);
    assert_int_equal(c->tls_match_count, 2);
    assert_str(c->tls_matches[0].metadata_key, "tlsMode");
    assert_str(c->tls_matches[0].metadata_value, "istio");
    assert_int_equal(c->tls_matches[1].metadata_key.len, 0);
    assert_null(c->tls_matches[1].tls);
    const struct upstream_tls *tls = c->tls_matches[0].tls;
    assert_str(tls->sni, "outbound_.8080_._." CATALOG);
    assert_str(tls->common.alpn[0], "tulle-h2");
    assert_str(tls->common.alpn[1], "istio-h2");
    assert_str(tls->common.certificate.sds_name, "default");
    assert_str(tls->common.validation.sds_name, "ROOTCA");
    assert_int_equal(tls->common.version_min, 13);
    /* Never any name under the roots. */
    assert_int_equal(tls->common.san_count, 1);
    assert_str(tls->common.sans[0].match.value, "spiffe://mesh.local/ns/shop/sa/");
    assert_int_equal(tls->common.sans[0].match.kind, STRING_MATCH_PREFIX);
    const struct common_tls *tcp = &rig_cluster(r, CATALOG ":6379")->tls_matches[0].tls->common;
    assert_str(tcp->alpn[0], TLS_ALPN_TUNNEL);
    assert_str(tcp->alpn[1], "tulle-tcp");
    assert_str(rig_cluster(r, CATALOG ":7000")->tls_matches[0].tls->common.alpn[0], "tulle-h2");
    assert_str(rig_cluster(r, CATALOG ":7000|tcp")->tls_matches[0].tls->common.alpn[0],
               TLS_ALPN_TUNNEL);
    assert_str(rig_cluster(r, CATALOG ":7000|tcp")->eds_service_name, CATALOG ":7000");
    assert_str(rig_cluster(r, CATALOG ":7000/v1|tcp")->eds_service_name, CATALOG ":7000/v1");

    rule(r, "shop", "trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}");
    c = rig_cluster(r, CATALOG ":8080");
    assert_int_equal(c->tls_match_count, 0);
    assert_str(c->tls->common.sans[0].match.value, "spiffe://mesh.local/ns/shop/sa/");

    rule(r, "shop",
         "trafficPolicy: {tls: {mode: ISTIO_MUTUAL, sni: x.example,\n"
         "  subjectAltNames: [\"spiffe://mesh.local/ns/shop/sa/catalog-sa\", b.example]}}");
    c = rig_cluster(r, CATALOG ":8080/v1");
    assert_str(c->tls->sni, "x.example");
    assert_int_equal(c->tls->common.san_count, 2);
    assert_int_equal(c->tls->common.sans[0].type, TLS_SAN_TYPE_URI);
    assert_int_equal(c->tls->common.sans[0].match.kind, STRING_MATCH_EXACT);
    assert_int_equal(c->tls->common.sans[1].type, TLS_SAN_TYPE_DNS);

    /* Bulk over a long way is better off by itself. */
    rule(r, "shop", "trafficPolicy: {connectionPool: {tcp: {multiplex: false}}}");
    tcp = &rig_cluster(r, CATALOG ":6379")->tls_matches[0].tls->common;
    assert_str(tcp->alpn[0], "tulle-tcp");
    assert_int_equal(tcp->alpn_count, 3);
    assert_str(rig_cluster(r, CATALOG ":8080")->tls_matches[0].tls->common.alpn[0], "tulle-h2");
    rule(r, "shop", "trafficPolicy: {connectionPool: {tcp: {multiplex: true}}}");
    tcp = &rig_cluster(r, CATALOG ":6379")->tls_matches[0].tls->common;
    assert_str(tcp->alpn[0], TLS_ALPN_TUNNEL);

    rule(r, "shop", "trafficPolicy: {tls: {mode: DISABLE}}");
    c = rig_cluster(r, CATALOG ":8080");
    assert_null(c->tls);
    assert_int_equal(c->tls_match_count, 0);
}

/* The caller's namespace, then the service's, then the root; what others say is theirs. */
static void test_rule_scope(void **state)
{
    struct rig *r = *state;
    struct translate_viewer web = {XDS_DIALECT_TULLE, STR("shop"), STR("web")};
    struct translate_viewer teller = {XDS_DIALECT_TULLE, STR("bank"), STR("teller")};
#define KEY(v)                                                                                     \
    translate_view_key(r->translate, &v, RESOURCE_CLUSTER, STR(CATALOG ":8080"), &r->arena)
    rule(r, "shop", "trafficPolicy: {connectionPool: {tcp: {maxConnections: 5}}}");
    assert_true(str_eq(KEY(web), KEY(teller)));
    rule(r, "bank", "trafficPolicy: {tls: {mode: DISABLE}}");
    assert_false(str_eq(KEY(web), KEY(teller)));
    const struct cluster *c = rig_cluster(r, CATALOG ":8080");
    assert_int_equal(c->breaker.connections_max, 5);
    assert_int_equal(c->tls_match_count, 2);
    rig_be(r, "bank", "teller");
    c = rig_cluster(r, CATALOG ":8080");
    assert_int_equal(c->breaker.connections_max, UINT32_MAX);
    assert_int_equal(c->tls_match_count, 0);
    rig_be(r, "office", "clerk");
    c = rig_cluster(r, CATALOG ":8080");
    assert_int_equal(c->breaker.connections_max, 5);
    rig_delete(r, API_KIND_DESTINATION_RULE, "shop", "catalog");
    c = rig_cluster(r, CATALOG ":8080");
    assert_int_equal(c->breaker.connections_max, UINT32_MAX);
    assert_int_equal(c->tls_match_count, 2);
    rule(r, "istio-system", "trafficPolicy: {connectionPool: {tcp: {maxConnections: 9}}}");
    assert_int_equal(rig_cluster(r, CATALOG ":8080")->breaker.connections_max, 9);
    rule(r, "shop", "trafficPolicy: {connectionPool: {tcp: {maxConnections: 8}}}");
    assert_int_equal(rig_cluster(r, CATALOG ":8080")->breaker.connections_max, 8);
#undef KEY
}

/* --- endpoints --- */

static void test_endpoints(void **state)
{
    struct rig *r = *state;
    assert_int_equal(rig_endpoints(r, CATALOG ":8080")->count, 0);
    rig_ready(r, "shop", "catalog-v2", 0, "10.0.0.3");
    rig_ready(r, "shop", "catalog-v1", 1, "10.0.0.2");
    rig_connect(r, "shop", "catalog-v1", 0, "10.0.0.1");
    rig_ready(r, "shop", "catalog-v3", 0, "10.0.0.4");
    const struct endpoints *e = rig_endpoints(r, CATALOG ":8080");
    /* v1/0 is not ready, v3 has no port of that name. */
    assert_int_equal(e->count, 2);
    assert_int_equal(e->items[0].address.ip.bytes[3], 2);
    assert_int_equal(e->items[0].address.port, 8000);
    assert_str(e->items[0].identity, "spiffe://mesh.local/ns/shop/sa/catalog-sa");
    assert_str(e->items[0].match_key, "tlsMode");
    assert_str(e->items[0].match_value, "istio");
    assert_str(e->items[0].workload.name, "catalog-v1");
    assert_str(e->items[0].workload.version, "v1");
    assert_str(e->items[0].workload.app, "catalog");
    assert_str(e->items[0].workload.principal, "spiffe://mesh.local/ns/shop/sa/catalog-sa");
    assert_true(e->items[0].is_tulle);
    assert_int_equal(e->items[1].address.port, 8002);
    assert_str(e->items[1].identity, "spiffe://mesh.local/ns/shop/sa/catalog2-sa");
    assert_int_equal(rig_endpoints(r, CATALOG ":90")->count, 3);
    assert_int_equal(rig_endpoints(r, CATALOG ":90")->items[0].address.port, 9090);
    assert_int_equal(rig_endpoints(r, CATALOG ":6379")->items[0].address.port, 6379);
    assert_null(rig_endpoints(r, CATALOG ":81"));
    assert_null(rig_endpoints(r, CATALOG ":7000|tcp"));

    /* Subsets: by the leniency, by a rule. */
    assert_int_equal(rig_endpoints(r, CATALOG ":90/v1")->count, 1);
    assert_int_equal(rig_endpoints(r, CATALOG ":90/v9")->count, 0);
    rule(r, "shop",
         "subsets: [{name: v1, labels: {version: v2}}, {name: all, labels: {app: catalog}}]");
    assert_str(rig_endpoints(r, CATALOG ":90/v1")->items[0].workload.name, "catalog-v2");
    assert_int_equal(rig_endpoints(r, CATALOG ":90/all")->count, 3);
    assert_int_equal(rig_endpoints(r, CATALOG ":90/v3")->count, 1);
}

static void test_endpoint_modes(void **state)
{
    struct rig *r = *state;
    rig_ready(r, "shop", "catalog-v1", 0, "fd00::1");
    rig_ready(r, "shop", "catalog-v2", 0, "10.0.0.3");
    rig_apply(r, "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
                 "metadata: {name: v2}\nspec: {selector: {matchLabels: {version: v2}},\n"
                 "  mtls: {mode: DISABLE}, portLevelMtls: {9090: {mode: STRICT}}}\n");
    const struct endpoints *e = rig_endpoints(r, CATALOG ":8080");
    assert_int_equal(e->count, 2);
    assert_int_equal(e->items[0].address.ip.family, IP_V6);
    assert_str(e->items[0].match_value, "istio");
    assert_int_equal(e->items[1].match_key.len, 0);
    assert_str(rig_endpoints(r, CATALOG ":90")->items[1].match_value, "istio");
    const struct directory *d = rig_directory(r, "shop");
    assert_true(d->workloads[0].is_mtls);
    assert_false(d->workloads[1].is_mtls);
    /* Another trust domain is another identity. */
    rig_forget(r);
    rig_apply(r, "apiVersion: tulle.dev/v1\nkind: Mesh\nmetadata: {name: default}\n"
                 "spec: {trustDomain: other.local}\n");
    assert_true(rig_is_dirty(r, "endpoints " CATALOG ":8080"));
    assert_str(rig_endpoints(r, CATALOG ":8080")->items[0].identity,
               "spiffe://other.local/ns/shop/sa/catalog-sa");
    assert_str(rig_directory(r, "shop")->workloads[1].identity,
               "spiffe://other.local/ns/shop/sa/catalog2-sa");
}

/* Nobody speaks TLS on the port that is reached past its sidecar, and on no other. */
static void test_bypassed_endpoints_are_plain(void **state)
{
    struct rig *r = *state;
    struct registry_bypass b = {STR("shop"), STR("catalog-v1"), 8000, BYPASS_INBOUND, 1, STR_NULL};
    rig_ready(r, "shop", "catalog-v1", 0, "10.0.0.1");
    const struct endpoints *e = rig_endpoints(r, CATALOG ":90");
    assert_int_equal(e->count, 1);
    assert_true(str_eq(e->items[0].match_key, STR("tlsMode")) && e->items[0].is_tulle);
    uint16_t port = e->items[0].address.port;
    b.port = (uint16_t)(port + 1);
    assert_int_equal(registry_bypass_begin(r->registry, &b), 0);
    assert_true(str_eq(rig_endpoints(r, CATALOG ":90")->items[0].match_key, STR("tlsMode")));
    b.port = port;
    rig_forget(r);
    assert_int_equal(registry_bypass_begin(r->registry, &b), 0);
    assert_true(rig_is_dirty(r, "endpoints " CATALOG ":90"));
    e = rig_endpoints(r, CATALOG ":90");
    assert_true(e->items[0].match_key.len == 0 && !e->items[0].is_tulle);
    rig_forget(r);
    assert_int_equal(registry_bypass_expire(r->registry, 1), UINT64_MAX);
    assert_true(rig_is_dirty(r, "endpoints " CATALOG ":90"));
    assert_true(str_eq(rig_endpoints(r, CATALOG ":90")->items[0].match_key, STR("tlsMode")));
}

static void test_replica_life(void **state)
{
    struct rig *r = *state;
    struct registry_replica *p = rig_connect(r, "shop", "catalog-v1", 0, "10.0.0.1");
    assert_int_equal(rig_endpoints(r, CATALOG ":90")->count, 0);
    rig_forget(r);
    registry_replica_set_state(r->registry, p, REPLICA_READY);
    assert_true(rig_is_dirty(r, "endpoints " CATALOG ":90"));
    assert_int_equal(rig_endpoints(r, CATALOG ":90")->count, 1);
    registry_replica_set_state(r->registry, p, REPLICA_DRAINING);
    assert_int_equal(rig_endpoints(r, CATALOG ":90")->count, 0);
    registry_replica_set_state(r->registry, p, REPLICA_READY);
    /* A lost stream alone changes nothing; the end of its lease does. */
    rig_forget(r);
    registry_replica_disconnect(r->registry, p, 1000);
    assert_int_equal(r->facts.len, 0);
    assert_int_equal(registry_expire(r->registry, 2000), 30001000);
    assert_int_equal(rig_endpoints(r, CATALOG ":90")->count, 1);
    assert_int_equal(registry_expire(r->registry, 30001000), UINT64_MAX);
    assert_int_equal(rig_endpoints(r, CATALOG ":90")->count, 0);
    assert_null(registry_replica(r->registry, STR("shop"), STR("catalog-v1"), 0));
    /* Labels move a replica out of the service, deletion ends it. */
    rig_ready(r, "shop", "catalog-v1", 0, "10.0.0.1");
    assert_int_equal(rig_endpoints(r, CATALOG ":90")->count, 1);
    rig_apply(r, "apiVersion: tulle.dev/v1\nkind: Workload\n"
                 "metadata: {name: catalog-v1, namespace: shop, labels: {app: old}}\n"
                 "spec: {serviceAccount: catalog-sa, ports: [{name: web, port: 8000}]}\n");
    assert_int_equal(rig_endpoints(r, CATALOG ":90")->count, 0);
    rig_apply(r, shop);
    assert_int_equal(rig_endpoints(r, CATALOG ":90")->count, 1);
    rig_delete(r, API_KIND_WORKLOAD, "shop", "catalog-v1");
    assert_int_equal(rig_endpoints(r, CATALOG ":90")->count, 0);
    assert_int_equal(rig_directory(r, "shop")->workload_count, 0);
}

/* --- the directory --- */

static void test_directory(void **state)
{
    struct rig *r = *state;
    rig_apply(r, "apiVersion: v1\nkind: Service\nmetadata: {name: aa, namespace: shop}\n"
                 "spec: {ports: [{name: https, port: 443}]}\n");
    rig_ready(r, "shop", "catalog-v1", 0, "10.0.0.1");
    const struct directory *d = rig_directory(r, "shop");
    assert_str(d->namespace_, "shop");
    assert_str(d->dns_suffix, "svc.cluster.local");
    assert_false(d->is_registry_only);
    assert_int_equal(d->service_count, 2);
    assert_str(d->services[0].host, "aa.shop.svc.cluster.local");
    assert_int_equal(d->services[0].ports[0].protocol, PROTOCOL_TLS);
    assert_int_equal(d->services[1].port_count, 4);
    assert_int_equal(d->services[1].ports[0].protocol, PROTOCOL_HTTP);
    assert_int_equal(d->services[1].ports[3].protocol, PROTOCOL_AUTO);
    assert_int_equal(d->services[0].addresses[0].family, IP_V4);
    assert_int_equal(d->services[0].addresses[1].family, IP_V6);
    assert_false(ip_eq(&d->services[0].addresses[0], &d->services[1].addresses[0]));
    assert_int_equal(d->address_range_count, 2);
    assert_true(cidr_match(&d->address_ranges[0], &d->services[0].addresses[0]));
    assert_true(cidr_match(&d->address_ranges[1], &d->services[0].addresses[1]));
    assert_int_equal(d->workload_count, 1);
    assert_str(d->workloads[0].name, "catalog-v1");
    assert_str(d->workloads[0].version, "v1");
    assert_true(d->workloads[0].is_mtls);
    rig_apply(r, "apiVersion: tulle.dev/v1\nkind: Mesh\nmetadata: {name: default}\n"
                 "spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}\n");
    assert_true(rig_directory(r, "shop")->is_registry_only);
    /* A namespace of workloads alone, until its last one goes. */
    assert_null(rig_directory(r, "solo"));
    rig_forget(r);
    rig_apply(r, "apiVersion: tulle.dev/v1\nkind: Workload\n"
                 "metadata: {name: one, namespace: solo}\nspec: {}\n");
    assert_true(rig_is_dirty(r, "directory solo"));
    assert_true(rig_was_told(r, "namespaces"));
    assert_int_equal(rig_directory(r, "solo")->service_count, 0);
    rig_delete(r, API_KIND_WORKLOAD, "solo", "one");
    assert_null(rig_directory(r, "solo"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cluster_defaults, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_cluster_limits, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_cluster_tls, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_rule_scope, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_endpoints, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_endpoint_modes, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_bypassed_endpoints_are_plain, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_replica_life, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_directory, setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
