#include "control/api/destination_rule.h"
#include "control/api/test_priv.h"
#include "control/api/virtual_service.h"

#define VS                                                                                         \
    "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: a }\nspec:\n"
#define DR                                                                                         \
    "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: a }\nspec:\n"

static void test_match(void **state)
{
    struct parsed p =
        parse_good(VS "  hosts: [ a ]\n"
                      "  http:\n"
                      "    - name: first\n"
                      "      match:\n"
                      "        - uri: { prefix: /api }\n"
                      "          method: { exact: GET }\n"
                      "          authority: { exact: a.example.com }\n"
                      "          headers: { X-User: { exact: beta }, x-any: {}, x-none: }\n"
                      "          withoutHeaders: { x-debug: {} }\n"
                      "          queryParams: { Q: { prefix: z } }\n"
                      "          ignoreUriCase: true\n"
                      "          port: 8080\n"
                      "          sourceLabels: { app: web }\n"
                      "          sourceNamespace: shop\n"
                      "          gateways: [ mesh ]\n"
                      "        - {}\n"
                      "      route: [ { destination: { host: a } } ]\n",
                   1);
    const struct api_http_route *r = parsed_doc(&p, 0)->spec.virtual_service->http;
    const struct api_http_match *m = r->matches;
    assert_str(r->name, "first");
    assert_int_equal(r->match_count, 2);
    assert_int_equal(m->uri->kind, API_MATCH_PREFIX);
    assert_str(m->uri->value, "/api");
    assert_str(m->method->value, "GET");
    assert_str(m->authority->value, "a.example.com");
    assert_true(m->is_uri_case_ignored);
    assert_int_equal(m->headers.len, 3);
    assert_str(m->headers.v[0].name, "x-user");
    assert_int_equal(m->headers.v[0].match.kind, API_MATCH_EXACT);
    assert_int_equal(m->headers.v[1].match.kind, API_MATCH_PRESENT);
    assert_int_equal(m->headers.v[2].match.kind, API_MATCH_PRESENT);
    assert_int_equal(m->without_headers.len, 1);
    assert_str(m->query_params.v[0].name, "Q");
    assert_int_equal(m->port, 8080);
    assert_str(m->source_labels.v[0].value, "web");
    assert_str(m->source_namespace, "shop");
    assert_null(r->matches[1].uri);
    parsed_free(&p);
}

static void test_weights(void **state)
{
    struct parsed p =
        parse_good(VS "  hosts: [ a ]\n"
                      "  http:\n"
                      "    - match: [ { port: 1 } ]\n"
                      "      route: [ { destination: { host: a } } ]\n"
                      "    - match: [ { port: 2 } ]\n"
                      "      route: [ { destination: { host: a }, weight: 0 } ]\n"
                      "    - route:\n"
                      "        - { destination: { host: a, subset: v1 }, weight: 90 }\n"
                      "        - destination: { host: a, port: { number: 80 } }\n",
                   1);
    const struct api_http_route *http = parsed_doc(&p, 0)->spec.virtual_service->http;
    assert_int_equal(http[0].destinations[0].weight, 100);
    assert_int_equal(http[1].destinations[0].weight, 100);
    assert_int_equal(http[2].destinations[0].weight, 90);
    assert_int_equal(http[2].destinations[1].weight, 0);
    assert_str(http[2].destinations[0].destination.subset, "v1");
    assert_int_equal(http[2].destinations[0].destination.subset_place.line, 12);
    assert_int_equal(http[2].destinations[1].destination.port, 80);
    assert_true(has_finding(&p, API_WARNING, "without weight"));
    parsed_free(&p);
}

static void test_actions(void **state)
{
    struct parsed p =
        parse_good(VS "  hosts: [ a ]\n"
                      "  http:\n"
                      "    - match: [ { uri: { exact: /old } } ]\n"
                      "      redirect: { uri: /new, authority: b, redirectCode: 302, scheme: "
                      "https, port: 8443 }\n"
                      "    - match: [ { uri: { exact: /hi } } ]\n"
                      "      directResponse: { status: 418, body: { string: tea } }\n"
                      "    - route: [ { destination: { host: a } } ]\n"
                      "      rewrite: { uri: /x, authority: c }\n"
                      "      timeout: 3s\n"
                      "      headers:\n"
                      "        request: { set: { X-A: b }, add: { x-c: d }, remove: [ X-E ] }\n"
                      "        response: { remove: [ server ] }\n",
                   1);
    const struct api_http_route *http = parsed_doc(&p, 0)->spec.virtual_service->http;
    assert_int_equal(http[0].redirect->code, 302);
    assert_str(http[0].redirect->scheme, "https");
    assert_int_equal(http[0].redirect->port, 8443);
    assert_int_equal(http[1].direct_response->status, 418);
    assert_str(http[1].direct_response->body, "tea");
    assert_str(http[2].rewrite->uri, "/x");
    assert_str(http[2].rewrite->authority, "c");
    assert_int_equal(http[2].timeout_ms.value, 3000);
    assert_str(http[2].headers.request_set.v[0].key, "x-a");
    assert_str(http[2].headers.request_add.v[0].value, "d");
    assert_str(http[2].headers.request_remove.v[0], "x-e");
    assert_str(http[2].headers.response_remove.v[0], "server");
    assert_false(http[0].timeout_ms.is_set);
    parsed_free(&p);
}

static const struct api_retries *parse_retries(struct parsed *p, const char *retries)
{
    char text[512];
    snprintf(text, sizeof text,
             VS "  hosts: [ a ]\n  http:\n    - route: [ { destination: { host: a } } ]\n"
                "      retries: %s\n",
             retries);
    *p = parse_good(text, 1);
    return parsed_doc(p, 0)->spec.virtual_service->http[0].retries;
}

static void test_retries(void **state)
{
    static const struct {
        const char *text;
        uint32_t attempts, retry_on;
        size_t code_count;
    } cases[] = {
        {"{ attempts: 0 }", 0, API_RETRY_ON_DEFAULT, 0},
        {"{ attempts: 3, retryOn: \"\" }", 3, API_RETRY_ON_DEFAULT, 0},
        {"{ attempts: 1, retryOn: 503 }", 1, API_RETRY_RETRIABLE_STATUS_CODES, 1},
        {"{ attempts: 1, retryOn: \"5xx, connect-failure\" }", 1,
         API_RETRY_5XX | API_RETRY_CONNECT_FAILURE, 0},
        {"{ attempts: 1, retryOn: \"unavailable,502,503\" }", 1,
         API_RETRY_UNAVAILABLE | API_RETRY_RETRIABLE_STATUS_CODES, 2},
    };
    struct parsed p;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct api_retries *r = parse_retries(&p, cases[i].text);
        assert_int_equal(r->attempts, cases[i].attempts);
        assert_int_equal(r->retry_on, cases[i].retry_on);
        assert_int_equal(r->status_codes.len, cases[i].code_count);
        assert_false(r->per_try_timeout_ms.is_set);
        parsed_free(&p);
    }
    assert_string_equal(api_retry_on_name(API_RETRY_5XX), "5xx");
    assert_null(api_retry_on_name(3));
}

static void test_tcp(void **state)
{
    struct parsed p = parse_good(VS "  hosts: [ a, b ]\n"
                                    "  tcp:\n"
                                    "    - match: [ { port: 6379 } ]\n"
                                    "      route: [ { destination: { host: a } } ]\n"
                                    "    - route: [ { destination: { host: b } } ]\n",
                                 1);
    const struct api_virtual_service *vs = parsed_doc(&p, 0)->spec.virtual_service;
    assert_int_equal(vs->hosts.len, 2);
    assert_int_equal(vs->host_places[1].line, 5);
    assert_int_equal(vs->tcp_count, 2);
    assert_int_equal(vs->tcp[0].matches[0].port, 6379);
    assert_int_equal(vs->tcp[1].match_count, 0);
    assert_str(vs->tcp[1].destinations[0].destination.host, "b");
    parsed_free(&p);
}

static const char rule_text[] =
    DR "  host: a\n"
       "  trafficPolicy:\n"
       "    loadBalancer: { simple: RANDOM }\n"
       "    connectionPool:\n"
       "      tcp: { maxConnections: 200, connectTimeout: 1s, idleTimeout: 5m }\n"
       "      http: { http1MaxPendingRequests: 10, http2MaxRequests: 20, maxRetries: 4,\n"
       "        maxRequestsPerConnection: 0, idleTimeout: 1h, h2UpgradePolicy: DEFAULT }\n"
       "    outlierDetection: { consecutive5xxErrors: 0, consecutiveGatewayErrors: 3,\n"
       "      interval: 5s, baseEjectionTime: 1m, maxEjectionPercent: 50, minHealthPercent: 10 }\n"
       "    tls: { mode: ISTIO_MUTUAL, subjectAltNames: [ x ], sni: a.b }\n"
       "    retries: { attempts: 3, perTryTimeout: 800ms, retryOn: 5xx }\n"
       "    portLevelSettings:\n"
       "      - { port: { number: 81 }, tls: { mode: DISABLE } }\n"
       "  subsets:\n"
       "    - { name: v1, labels: { version: v1 } }\n"
       "    - name: v2\n"
       "      labels: { version: v2 }\n"
       "      trafficPolicy:\n"
       "        loadBalancer: { simple: ROUND_ROBIN }\n"
       "        portLevelSettings: [ { port: { number: 82 }, loadBalancer: {} } ]\n";

static void test_rule(void **state)
{
    struct parsed p = parse_good(rule_text, 1);
    const struct api_destination_rule *rule = parsed_doc(&p, 0)->spec.destination_rule;
    const struct api_traffic_policy *t = &rule->traffic_policy.policy;
    assert_str(rule->host, "a");
    assert_int_equal(*t->lb, API_LB_RANDOM);
    assert_int_equal(t->connection_pool->max_connections.value, 200);
    assert_int_equal(t->connection_pool->connect_timeout_ms.value, 1000);
    assert_int_equal(t->connection_pool->tcp_idle_timeout_ms.value, 300000);
    assert_int_equal(t->connection_pool->http_idle_timeout_ms.value, 3600000);
    assert_int_equal(t->connection_pool->http1_max_pending_requests.value, 10);
    assert_int_equal(t->connection_pool->http2_max_requests.value, 20);
    assert_int_equal(t->connection_pool->max_retries.value, 4);
    assert_true(t->connection_pool->max_requests_per_connection.is_set);
    assert_true(t->outlier_detection->consecutive_5xx_errors.is_set);
    assert_int_equal(t->outlier_detection->consecutive_gateway_errors.value, 3);
    assert_int_equal(t->outlier_detection->base_ejection_time_ms.value, 60000);
    assert_int_equal(t->tls->mode, API_CLIENT_TLS_ISTIO_MUTUAL);
    assert_str(t->tls->sni, "a.b");
    assert_int_equal(t->retries->per_try_timeout_ms.value, 800);
    assert_int_equal(rule->subset_count, 2);
    assert_non_null(api_destination_rule_find_subset(rule, STR("v2")));
    assert_null(api_destination_rule_find_subset(rule, STR("v3")));
    assert_null(api_destination_rule_find_subset(rule, STR("")));
    assert_true(has_finding(&p, API_WARNING, "spec.trafficPolicy.retries"));
    parsed_free(&p);
}

static void test_multiplex(void **state)
{
    static const struct {
        const char *value;
        bool is_alone;
    } rows[] = {{"true", false}, {"false", true}};
    char text[256];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        snprintf(text, sizeof text,
                 DR "  host: a\n  trafficPolicy: { connectionPool: { tcp: { multiplex: %s } } }\n",
                 rows[i].value);
        struct parsed p = parse_good(text, 1);
        const struct api_destination_rule *rule = parsed_doc(&p, 0)->spec.destination_rule;
        assert_int_equal(rule->traffic_policy.policy.connection_pool->is_tcp_alone,
                         rows[i].is_alone);
        assert_true(
            has_finding(&p, API_WARNING, "spec.trafficPolicy.connectionPool.tcp.multiplex"));
        parsed_free(&p);
    }
}

static void test_policy_merge(void **state)
{
    struct parsed p = parse_good(rule_text, 1);
    const struct api_destination_rule *rule = parsed_doc(&p, 0)->spec.destination_rule;
    struct api_traffic_policy t = api_destination_rule_policy(rule, STR(""), 0);
    assert_int_equal(*t.lb, API_LB_RANDOM);
    /* A port's settings replace the whole policy, but for our retries. */
    t = api_destination_rule_policy(rule, STR("v1"), 81);
    assert_null(t.lb);
    assert_null(t.connection_pool);
    assert_int_equal(t.tls->mode, API_CLIENT_TLS_DISABLE);
    assert_int_equal(t.retries->attempts, 3);
    /* A subset replaces the parts it sets. */
    t = api_destination_rule_policy(rule, STR("v2"), 80);
    assert_int_equal(*t.lb, API_LB_ROUND_ROBIN);
    assert_int_equal(t.connection_pool->max_connections.value, 200);
    t = api_destination_rule_policy(rule, STR("v2"), 82);
    assert_int_equal(*t.lb, API_LB_LEAST_REQUEST);
    t = api_destination_rule_policy(rule, STR("v9"), 80);
    assert_int_equal(*t.lb, API_LB_RANDOM);
    parsed_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_match),        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_actions),      cmocka_unit_test(test_retries),
        cmocka_unit_test(test_tcp),          cmocka_unit_test(test_rule),
        cmocka_unit_test(test_policy_merge), cmocka_unit_test(test_multiplex),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
