/* What explain says of documents: each row is a question and the parts of the answer that count. */
#include "base/err.h"
#include "codec/json.h"
#include "control/explain/explain.h"
#include "control/translate/testing/rig.h"

static const char documents[] =
    "apiVersion: tulle.dev/v1\nkind: Mesh\nmetadata: {name: default}\n"
    "spec: {trustDomain: mesh.local, mtls: {mode: STRICT}}\n"
    "---\napiVersion: tulle.dev/v1\nkind: Workload\n"
    "metadata: {name: web, namespace: shop, labels: {app: web}}\n"
    "spec: {serviceAccount: web, ports: [{name: http, port: 8080}]}\n"
    "---\napiVersion: tulle.dev/v1\nkind: Workload\n"
    "metadata: {name: free, namespace: shop}\n"
    "spec: {capture: {excludeOutboundPorts: [80]}}\n"
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: app, namespace: shop}\n"
    "spec: {selector: {app: app}, ports: [{name: http, port: 80, targetPort: 8080},"
    " {name: tcp, port: 6379}, {name: http-open, port: 81, targetPort: 8081}]}\n"
    "---\napiVersion: tulle.dev/v1\nkind: Workload\n"
    "metadata: {name: one, namespace: shop, labels: {app: app, version: v1}}\n"
    "spec: {ports: [{name: http, port: 8080}, {name: tcp, port: 6379}],"
    " capture: {excludeInboundPorts: [8081]}}\n"
    "---\napiVersion: tulle.dev/v1\nkind: Workload\n"
    "metadata: {name: two, namespace: shop, labels: {app: app, version: v2}}\n"
    "spec: {ports: [{name: http, port: 8080}, {name: tcp, port: 6379}]}\n";

struct ask {
    const char *workload, *method, *url, *from, *header, *from_ip;
};

static int setup(void **state)
{
    rig_setup(state);
    rig_apply(*state, documents);
    rig_ready(*state, "shop", "web", 0, "10.0.0.1");
    rig_ready(*state, "shop", "one", 0, "10.0.0.2");
    rig_ready(*state, "shop", "one", 1, "10.0.0.3");
    rig_ready(*state, "shop", "two", 0, "10.0.0.4");
    return 0;
}

static int run(struct rig *r, const struct ask *q, bool has_addresses, struct str *ret_text)
{
    struct str_buf out = STR_BUF_INIT(1 << 20), why = STR_BUF_INIT(4096);
    struct str header = str_from_c(q->header);
    struct json_writer w;
    json_writer_init(&w, &out, 0);
    struct explain_args args = {
        .store = r->store,
        .registry = r->registry,
        .translate = r->translate,
        .workload = str_from_c(q->workload),
        .method = str_from_c(q->method),
        .url = str_from_c(q->url),
        .headers = &header,
        .header_count = q->header != NULL,
        .from = str_from_c(q->from),
        .from_ip = str_from_c(q->from_ip),
        .has_addresses = has_addresses,
    };
    int err = explain(&args, &w, &why);
    *ret_text = arena_str(&r->arena, str_buf_str(err == 0 ? &out : &why));
    str_buf_deinit(&out);
    str_buf_deinit(&why);
    return err;
}

static const struct json *answer(struct rig *r, const struct ask *q)
{
    struct str text;
    const struct json *root;
    if (run(r, q, true, &text) != 0)
        fail_msg("%.*s", STR_FMT(text));
    assert_int_equal(json_parse(&r->arena, text, 1 << 20, &root, NULL), 0);
    return root;
}

static struct str text_at(const struct json *v, const char *key)
{
    return json_str_or(json_get(v, key), STR_NULL);
}

static const struct json *arrival(const struct json *root, size_t destination, size_t workload)
{
    return json_at(json_get(json_at(json_get(root, "destinations"), destination), "workloads"),
                   workload);
}

/* expected: "DECISION[ STATUS]", and what the reason contains. */
static void check(struct rig *r, const struct ask *q, const char *expected, const char *reason)
{
    const struct json *root = answer(r, q);
    uint64_t status = 0;
    struct str have = text_at(root, "decision");
    if (json_u64(json_get(root, "status"), &status))
        have = arena_printf(&r->arena, "%.*s %u", STR_FMT(have), (unsigned)status);
    assert_str(have, expected);
    if (!str_contains(text_at(root, "reason"), str_from_c(reason)))
        fail_msg("\"%.*s\" does not say \"%s\"", STR_FMT(text_at(root, "reason")), reason);
}

/* --- who gets there --- */

static void test_the_way(void **state)
{
    struct rig *r = *state;
    static const struct {
        struct ask ask;
        const char *expected, *reason;
    } rows[] = {
        {{"app", "GET", "http://app/", "web"}, "ALLOWED", "no policy"},
        {{"one", "GET", "http://app.shop/", "web"}, "ALLOWED", "no policy"},
        {{"one", "GET", "http://APP.shop.svc.cluster.local./?q", "web"}, "ALLOWED", "no policy"},
        {{"one", "GET", "http://app:82/", "web"}, "NOT_REACHED", "it has 80, 6379, 81"},
        {{"one", "GET", "http://other/", "web"}, "NOT_REACHED", "ALLOW_ANY"},
        {{"web", "GET", "http://app/", "one"},
         "NOT_REACHED",
         "shop/one, shop/two, not to shop/web"},
        {{"one", "TCP", "app:6379", "web"}, "ALLOWED", "no policy"},
        {{"one", "TCP", "app:80", "web"}, "NOT_REACHED", "speaks HTTP"},
        {{"one", "GET", "http://app/", NULL}, "DENIED", "STRICT"},
        {{"one", "GET", "http://app/", "free"}, "DENIED", "STRICT"},
        {{"one", "GET", "http://app:81/", "free"}, "ALLOWED", "excludeInboundPorts"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check(r, &rows[i].ask, rows[i].expected, rows[i].reason);
}

static void test_questions_without_sense(void **state)
{
    struct rig *r = *state;
    static const struct {
        struct ask ask;
        int err;
        const char *why;
    } rows[] = {
        {{"x", "GET", "/"}, -ERR_NOT_FOUND, "shop/two"},
        {{"one", "GET", "/", "x"}, -ERR_NOT_FOUND, "shop/two"},
        {{"one", "GET", "/"}, -ERR_INVALID, "several service ports"},
        {{"free", "GET", "/"}, -ERR_INVALID, "no Service picks"},
        {{"one", "", "/"}, -ERR_INVALID, "not a method"},
        {{"one", "GET", ""}, -ERR_INVALID, "has no host"},
        {{"one", "GET", "http://app/\x01"}, -ERR_INVALID, "URL"},
        {{"one", "GET", "http://app/#x"}, -ERR_INVALID, "URL"},
        {{"one", "GET", "http://u@app/"}, -ERR_INVALID, "URL"},
        {{"one", "GET", "http://app/", "web", ": x"}, -ERR_INVALID, "NAME: VALUE"},
        {{"one", "GET", "http://app/", "web", "a b: x"}, -ERR_INVALID, "NAME: VALUE"},
        {{"one", "GET", "http://app/", "web", "a: x\ny: z"}, -ERR_INVALID, "NAME: VALUE"},
        {{"one", "GET", "http://app/", "web", "Host: a/b"}, -ERR_INVALID, "HOST:PORT"},
        {{"one", "GET", "http://app/", "web", "X-Tulle-Peer: x"}, -ERR_INVALID, "proxies"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str text;
        assert_int_equal(run(r, &rows[i].ask, true, &text), rows[i].err);
        if (!str_contains(text, str_from_c(rows[i].why)))
            fail_msg("\"%.*s\" does not say \"%s\"", STR_FMT(text), rows[i].why);
    }
}

/* --- mutual TLS --- */

static void test_modes(void **state)
{
    struct rig *r = *state;
    static const char rule[] = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
                               "metadata: {name: app}\n"
                               "spec: {host: app, trafficPolicy: {tls: {mode: %s}}}\n";
    static const char peers[] = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
                                "metadata: {name: one}\nspec: {selector: {matchLabels: {version: "
                                "v1}}, mtls: {mode: %s}}\n";
    static const struct {
        const char *client, *server, *from, *expected, *reason;
    } rows[] = {
        {"ISTIO_MUTUAL", "STRICT", "web", "ALLOWED", ""},
        {"ISTIO_MUTUAL", "PERMISSIVE", "web", "ALLOWED", ""},
        {"ISTIO_MUTUAL", "PERMISSIVE", NULL, "ALLOWED", ""},
        {"DISABLE", "PERMISSIVE", "web", "ALLOWED", ""},
        {"DISABLE", "STRICT", "web", "DENIED 503", "STRICT"},
        {"DISABLE", "DISABLE", "web", "ALLOWED", ""},
        {"ISTIO_MUTUAL, subjectAltNames: [spiffe://other/x]", "STRICT", "web", "DENIED 503",
         "does not allow"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str client = arena_printf(&r->arena, rule, rows[i].client);
        struct str server = arena_printf(&r->arena, peers, rows[i].server);
        rig_apply(r, client.ptr);
        rig_apply(r, server.ptr);
        check(r, &(struct ask){"one", "GET", "http://app/", rows[i].from}, rows[i].expected,
              rows[i].reason);
    }
}

static void test_the_mode_says_where_it_is_from(void **state)
{
    struct rig *r = *state;
    const struct ask q = {"one", "GET", "http://app/", "web"};
    const struct json *mtls = json_get(arrival(answer(r, &q), 0, 0), "mtls");
    assert_str(text_at(json_get(mtls, "origin"), "document"), "Mesh/default");
    rig_apply(r, "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
                 "metadata: {name: one}\nspec: {selector: {matchLabels: {version: v1}},"
                 " portLevelMtls: {8080: {mode: PERMISSIVE}}}\n");
    mtls = json_get(arrival(answer(r, &q), 0, 0), "mtls");
    assert_str(text_at(mtls, "mode"), "PERMISSIVE");
    assert_str(text_at(json_get(mtls, "origin"), "path"), "spec.portLevelMtls.8080");
    assert_str(text_at(mtls, "caller"), "spiffe://mesh.local/ns/shop/sa/web");
}

/* --- policies --- */

#define POLICY(name, spec)                                                                         \
    "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"                                \
    "metadata: {name: " name "}\nspec: " spec "\n"

static void test_policies_in_their_order(void **state)
{
    struct rig *r = *state;
    rig_apply(r, POLICY("stop", "{action: DENY, selector: {matchLabels: {version: v1}}, rules: "
                                "[{to: [{operation: {paths: [/secret*]}}]}]}"));
    rig_apply(r, POLICY("go", "{selector: {matchLabels: {app: app}}, rules: [{from: [{source: "
                              "{namespaces: [shop]}}], to: [{operation: {methods: [GET]}}]}]}"));
    const struct ask denied = {"one", "GET", "http://app/a/../secret", "web"};
    check(r, &denied, "DENIED 403", "DENY AuthorizationPolicy/shop/stop#rules[0] matches");
    /* What is refused is not asked on. */
    assert_int_equal(json_count(json_get(arrival(answer(r, &denied), 0, 0), "policies")), 1);
    check(r, &(struct ask){"two", "GET", "http://app/secret", "web"}, "ALLOWED", "go#rules[0]");
}

static void test_some_allow_and_some_do_not(void **state)
{
    struct rig *r = *state;
    rig_apply(r, POLICY("stop", "{action: DENY, selector: {matchLabels: {version: v1}}, rules: "
                                "[{to: [{operation: {paths: [/secret*]}}]}]}"));
    check(r, &(struct ask){"app", "GET", "http://app/secret", "web"}, "MIXED", "1 of 2 workloads");
    check(r, &(struct ask){"two", "GET", "http://app/secret", "web"}, "ALLOWED", "no policy");
}

static struct str why_not(struct rig *r, const struct ask *q)
{
    const struct json *policies = json_get(arrival(answer(r, q), 0, 0), "policies");
    return text_at(json_at(policies, 0), "why");
}

static void test_a_rule_says_which_part_of_it_does_not_hold(void **state)
{
    struct rig *r = *state;
    static const struct {
        const char *rule, *why;
    } rows[] = {
        {"{from: [{source: {principals: [mesh.local/ns/shop/sa/x, \"y*\"]}}]}",
         "principal is spiffe://mesh.local/ns/shop/sa/web; wanted: (principal is "
         "spiffe://mesh.local/ns/shop/sa/x or principal starts with spiffe://y)"},
        {"{from: [{source: {namespaces: [other]}}]}",
         "principal is spiffe://mesh.local/ns/shop/sa/web; wanted: caller's namespace is other"},
        {"{from: [{source: {ipBlocks: [192.0.2.0/24]}}]}",
         "caller's address is 10.0.0.1; wanted: caller's address is in 192.0.2.0/24"},
        {"{to: [{operation: {methods: [POST], ports: [\"8080\"]}}]}",
         "method is GET; wanted: method is POST"},
        {"{to: [{operation: {ports: [\"9\"]}}]}", "port is 8080; wanted: port is 9"},
        {"{to: [{operation: {notPaths: [/x]}}]}", "path is /x; wanted: not (path is /x)"},
        {"{to: [{operation: {hosts: [a.example]}}]}", "host is app; wanted: host is a.example"},
        {"{when: [{key: \"request.headers[x-a]\", values: [b]}]}",
         "there is no header x-a; wanted: header x-a is b"},
        {"{when: [{key: connection.sni, values: [b]}]}",
         "SNI is outbound_.80_._.app.shop.svc.cluster.local; wanted: SNI is b"},
        {"{when: [{key: destination.ip, values: [192.0.2.1]}]}",
         "destination address is 10.0.0.2; wanted: destination address is in 192.0.2.1/32"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str text = arena_printf(
            &r->arena, POLICY("only", "{selector: {matchLabels: {app: app}}, rules: [%s]}"),
            rows[i].rule);
        rig_apply(r, text.ptr);
        const struct ask q = {"one", "GET", "http://app/x", "web"};
        check(r, &q, "DENIED 403", "no rule of them matches");
        assert_str(why_not(r, &q), rows[i].why);
    }
}

/* Rules may ask for what sidecars add, and routes may take it away again. */
static void test_headers_of_the_sidecars(void **state)
{
    struct rig *r = *state;
    rig_apply(r, POLICY("only", "{selector: {matchLabels: {app: app}}, rules: [{when: ["
                                "{key: \"request.headers[x-request-id]\", values: [\"*\"]},"
                                "{key: \"request.headers[x-forwarded-proto]\", values: [http]},"
                                "{key: \"request.headers[x-envoy-attempt-count]\", values: "
                                "[\"1\"]}]}]}"));
    const struct ask q = {"one", "GET", "http://app/x", "web", "X-A: b"};
    const struct json *root = answer(r, &q);
    check(r, &q, "ALLOWED", "only#rules[0]");
    assert_int_equal(json_count(json_get(json_get(root, "request"), "headers")), 1);
    assert_int_equal(json_count(json_get(arrival(root, 0, 0), "addresses")), 2);
    check(r, &(struct ask){"one", "GET", "http://app/x", "web", "X-Forwarded-Proto: https"},
          "DENIED 403", "no rule of them matches");
}

static void test_addresses_that_are_not_known(void **state)
{
    struct rig *r = *state;
    struct ask q = {"one", "GET", "http://app/x", "web"};
    struct str text;
    rig_apply(r, POLICY("only", "{selector: {matchLabels: {app: app}}, rules: [{from: [{source: "
                                "{ipBlocks: [10.0.0.0/8]}}]}]}"));
    check(r, &q, "ALLOWED", "only#rules[0]");
    assert_int_equal(run(r, &q, false, &text), 0);
    assert_true(str_contains(text, STR("\"decision\":\"DENIED\"")) &&
                str_contains(text, STR("\"addressUnknown\":true")));
    q.from_ip = "10.1.1.1";
    assert_int_equal(run(r, &q, false, &text), 0);
    assert_true(str_contains(text, STR("\"decision\":\"ALLOWED\"")));
}

static void test_policies_of_connections(void **state)
{
    struct rig *r = *state;
    rig_apply(r, POLICY("only", "{selector: {matchLabels: {app: app}}, rules: [{from: [{source: "
                                "{principals: [mesh.local/ns/shop/sa/x]}}]}]}"));
    const struct ask q = {"one", "TCP", "app:6379", "web"};
    check(r, &q, "DENIED", "no rule of them matches");
    assert_int_equal(json_get(answer(r, &q), "status")->type, JSON_NULL);
}

/* --- origins --- */

static void test_origins(void **state)
{
    struct rig *r = *state;
    rig_apply(r, "# first\n---\n" POLICY("only", "{rules: [{}]}"));
    const struct json *root = answer(r, &(struct ask){"one", "GET", "http://app/", "web"});
    const struct json *o = json_get(root, "origin");
    uint64_t line = 0;
    assert_str(text_at(o, "document"), "AuthorizationPolicy/shop/only");
    assert_str(text_at(o, "path"), "spec.rules[0]");
    assert_str(text_at(o, "file"), "test.yaml");
    assert_true(json_u64(json_get(o, "line"), &line));
    assert_int_equal(line, 3);
    assert_int_equal(text_at(o, "hash").len, 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_way, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_questions_without_sense, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_modes, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_the_mode_says_where_it_is_from, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_policies_in_their_order, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_some_allow_and_some_do_not, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_a_rule_says_which_part_of_it_does_not_hold, setup,
                                        rig_teardown),
        cmocka_unit_test_setup_teardown(test_headers_of_the_sidecars, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_addresses_that_are_not_known, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_policies_of_connections, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_origins, setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
