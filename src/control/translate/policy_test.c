#include "control/translate/testing/rig.h"

static const char workload[] =
    "apiVersion: tulle.dev/v1\nkind: Mesh\nmetadata: {name: default}\n"
    "spec: {trustDomain: mesh.local}\n"
    "---\napiVersion: tulle.dev/v1\nkind: Workload\n"
    "metadata: {name: payment, namespace: shop, labels: {app: payment}}\n"
    "spec: {ports: [{name: http, port: 8080}, {name: tcp, port: 6379}]}\n";

static int setup(void **state)
{
    rig_setup(state);
    rig_apply(*state, workload);
    rig_be(*state, "shop", "payment");
    return 0;
}

/* One call: of whom, from where, for what. TCP when method is NULL. */
struct call {
    const char *peer, *method, *path, *headers; /* peer: identity without "spiffe://"; NULL: none */
    const char *authority, *sni;
    struct ip_addr source;
    uint16_t port;
};

static const struct rbac *rbac_at(const struct filter_chain *chain, size_t index)
{
    const struct network_filter *last = &chain->filters[chain->filter_count - 1];
    if (last->kind == NETWORK_FILTER_HCM) {
        assert_int_equal(chain->filter_count, 1);
        const struct hcm *hcm = last->hcm;
        assert_int_equal(hcm->filters[hcm->filter_count - 1].kind, HTTP_FILTER_ROUTER);
        return index + 1 < hcm->filter_count ? hcm->filters[index].rbac : NULL;
    }
    return index + 1 < chain->filter_count ? chain->filters[index].rbac : NULL;
}

/* Whether the call is let in, and by whom it is refused. */
static bool judge(struct rig *r, const struct call *call, struct str *ret_origin)
{
    const struct listener *l = rig_listener(r, TRANSLATE_INBOUND);
    struct ip_addr here = ip_v4(10, 0, 0, 9);
    uint16_t port = call->port != 0 ? call->port : call->method != NULL ? 8080 : 6379;
    struct str tcp[] = {STR("tulle-tcp")};
    struct chain_input in = {.destination = here,
                             .destination_port = port,
                             .is_tls = call->peer != NULL,
                             .application_protocols = tcp,
                             .application_protocol_count = call->peer != NULL};
    const struct filter_chain *chain = match_filter_chain(l, &in);
    assert_non_null(chain);
    struct rbac_input facts = {.source = call->source,
                               .remote = call->source,
                               .destination = here,
                               .destination_port = port,
                               .sni = str_from_c(call->sni)};
    if (call->peer != NULL)
        facts.principal = arena_printf(&r->arena, "spiffe://%s", call->peer);
    if (call->method != NULL)
        facts.head =
            rig_request(r, call->method, call->authority != NULL ? call->authority : "payment",
                        call->path, call->headers);
    const struct rbac *rbac;
    for (size_t i = 0; (rbac = rbac_at(chain, i)) != NULL; i++) {
        struct rbac_decision d;
        match_rbac(rbac, &facts, &d);
        if (!d.is_allowed) {
            *ret_origin = d.origin;
            return false;
        }
    }
    return true;
}

static void expect(struct rig *r, const struct call *call, bool is_allowed, int line)
{
    struct str origin = STR_NULL;
    if (judge(r, call, &origin) != is_allowed)
        fail_msg("line %d: %s (%.*s)", line, is_allowed ? "refused" : "let in", STR_FMT(origin));
}
#define ALLOWED(...) expect(r, &(struct call){__VA_ARGS__}, true, __LINE__)
#define REFUSED(...) expect(r, &(struct call){__VA_ARGS__}, false, __LINE__)

static const char *origin_of(struct rig *r, const struct call *call)
{
    struct str origin = STR_NULL;
    assert_false(judge(r, call, &origin));
    return arena_str(&r->arena, origin).ptr;
}

#define ORDERS "mesh.local/ns/shop/sa/orders-sa"
#define WEB "mesh.local/ns/shop/sa/web-sa"
#define TELLER "mesh.local/ns/bank/sa/teller"

static void put(struct rig *r, const char *ns, const char *name, const char *spec)
{
    rig_apply(r, arena_printf(&r->arena,
                              "apiVersion: security.istio.io/v1beta1\nkind: AuthorizationPolicy\n"
                              "metadata: {name: %s, namespace: %s}\nspec: %s\n",
                              name, ns, spec)
                     .ptr);
}

static void test_seed(void **state)
{
    struct rig *r = *state;
    ALLOWED(.peer = WEB, .method = "GET", .path = "/");
    ALLOWED(.method = "GET", .path = "/");
    rig_apply(r, "apiVersion: security.istio.io/v1beta1\nkind: AuthorizationPolicy\n"
                 "metadata: {name: payment-allow-orders, namespace: shop}\nspec:\n"
                 "  selector: {matchLabels: {app: payment}}\n  rules:\n  - from:\n    - source:\n"
                 "        principals: [\"spiffe://mesh.local/ns/shop/sa/orders-sa\"]\n");
    ALLOWED(.peer = ORDERS, .method = "GET", .path = "/");
    ALLOWED(.peer = ORDERS);
    REFUSED(.peer = WEB, .method = "GET", .path = "/");
    REFUSED(.peer = WEB);
    REFUSED(.peer = "other.local/ns/shop/sa/orders-sa", .method = "GET", .path = "/");
    REFUSED(.peer = ORDERS "2", .method = "GET", .path = "/");
    REFUSED(.method = "GET", .path = "/");
    REFUSED(.method = NULL);
    assert_string_equal(origin_of(r, &(struct call){.peer = WEB, .method = "GET", .path = "/"}),
                        "AuthorizationPolicy/shop/payment-allow-orders");
}

static void test_sources(void **state)
{
    struct rig *r = *state;
    put(r, "shop", "p", "{rules: [{from: [{source: {principals: [\"mesh.local/ns/shop/*\"]}}]}]}");
    ALLOWED(.peer = WEB);
    REFUSED(.peer = TELLER);
    put(r, "shop", "p", "{rules: [{from: [{source: {principals: [\"*/sa/teller\"]}}]}]}");
    ALLOWED(.peer = TELLER);
    REFUSED(.peer = WEB);
    put(r, "shop", "p", "{rules: [{from: [{source: {principals: [\"*\"]}}]}]}");
    ALLOWED(.peer = TELLER);
    REFUSED(.method = NULL);
    put(r, "shop", "p",
        "{rules: [{from: [{source: {principals: [\"*\"],"
        " notPrincipals: [\"" TELLER "\"]}}]}]}");
    ALLOWED(.peer = WEB);
    REFUSED(.peer = TELLER);
    REFUSED(.method = NULL);
    put(r, "shop", "p", "{rules: [{from: [{source: {namespaces: [bank, \"fin*\", \"*ance\"]}}]}]}");
    ALLOWED(.peer = TELLER);
    ALLOWED(.peer = "mesh.local/ns/finland/sa/x");
    ALLOWED(.peer = "mesh.local/ns/freelance/sa/x");
    REFUSED(.peer = "mesh.local/ns/bank2/sa/x");
    REFUSED(.peer = "mesh.local/ns/a-bank/sa/bank");
    REFUSED(.peer = WEB);
    REFUSED(.method = NULL);
    put(r, "shop", "p",
        "{rules: [{from: [{source: {namespaces: [\"*\"], notNamespaces: [bank]}}]}]}");
    ALLOWED(.peer = WEB);
    REFUSED(.peer = TELLER);
    put(r, "shop", "p",
        "{rules: [{from: [{source: {ipBlocks: [10.1.0.0/16, \"fd00::/8\", 9.9.9.9],"
        " notIpBlocks: [10.1.2.0/24]}}]}]}");
    ALLOWED(.source = ip_v4(10, 1, 3, 4));
    ALLOWED(.source = ip_v4(9, 9, 9, 9));
    ALLOWED(.source = {.family = IP_V6, .bytes = {0xfd}});
    REFUSED(.source = ip_v4(10, 1, 2, 4));
    REFUSED(.source = ip_v4(10, 2, 2, 4));
    /* All fields of one source, any of the sources. */
    put(r, "shop", "p",
        "{rules: [{from: [{source: {namespaces: [bank], ipBlocks: [10.0.0.1]}},"
        " {source: {principals: [\"" WEB "\"]}}]}]}");
    ALLOWED(.peer = WEB, .source = ip_v4(1, 1, 1, 1));
    ALLOWED(.peer = TELLER, .source = ip_v4(10, 0, 0, 1));
    REFUSED(.peer = TELLER, .source = ip_v4(10, 0, 0, 2));
}

static void test_operations(void **state)
{
    struct rig *r = *state;
    put(r, "shop", "p",
        "{rules: [{to: [{operation: {methods: [GET, HEAD], paths: [\"/api/*\"],"
        " notPaths: [\"*/secret\"]}}]}]}");
    ALLOWED(.method = "GET", .path = "/api/x?y=/secret");
    ALLOWED(.method = "HEAD", .path = "/api/");
    REFUSED(.method = "POST", .path = "/api/x");
    REFUSED(.method = "GET", .path = "/apix");
    REFUSED(.method = "GET", .path = "/api/a/secret");
    REFUSED(.method = NULL);
    put(r, "shop", "p",
        "{rules: [{to: [{operation: {hosts: [Pay.Example, \"*.shop\"],"
        " notHosts: [x.shop]}}]}]}");
    ALLOWED(.method = "GET", .path = "/", .authority = "pay.example");
    ALLOWED(.method = "GET", .path = "/", .authority = "a.SHOP");
    REFUSED(.method = "GET", .path = "/", .authority = "x.shop");
    REFUSED(.method = "GET", .path = "/", .authority = "other");
    put(r, "shop", "p", "{rules: [{to: [{operation: {ports: [\"8080\"]}}]}]}");
    ALLOWED(.method = "GET", .path = "/");
    REFUSED(.method = NULL);
    put(r, "shop", "p",
        "{rules: [{to: [{operation: {notPorts: [\"8080\"], notMethods: [PUT]}}]}]}");
    REFUSED(.method = "GET", .path = "/");
    REFUSED(.method = NULL); /* asks about HTTP */
    put(r, "shop", "p",
        "{rules: [{to: [{operation: {paths: [\"*\"]}}, {operation: {ports: [\"1\"]}}]}]}");
    ALLOWED(.method = "GET", .path = "/");
}

static void test_conditions(void **state)
{
    struct rig *r = *state;
#define WHEN(key, values) "{rules: [{when: [{key: \"" key "\", " values "}]}]}"
    put(r, "shop", "p", WHEN("request.headers[X-Team]", "values: [red, \"blu*\"]"));
    ALLOWED(.method = "GET", .path = "/", .headers = "x-team: blue");
    REFUSED(.method = "GET", .path = "/", .headers = "x-team: green");
    REFUSED(.method = "GET", .path = "/");
    REFUSED(.peer = WEB); /* ALLOW about HTTP: nothing on TCP */
    put(r, "shop", "p", WHEN("request.headers[x-team]", "notValues: [red]"));
    ALLOWED(.method = "GET", .path = "/", .headers = "x-team: blue");
    ALLOWED(.method = "GET", .path = "/");
    REFUSED(.method = "GET", .path = "/", .headers = "x-team: red");
    put(r, "shop", "p", WHEN("source.ip", "values: [10.0.0.0/8], notValues: [10.0.0.5]"));
    ALLOWED(.source = ip_v4(10, 0, 0, 4));
    ALLOWED(.method = "GET", .path = "/", .source = ip_v4(10, 0, 0, 4));
    REFUSED(.source = ip_v4(10, 0, 0, 5));
    REFUSED(.source = ip_v4(11, 0, 0, 4));
    put(r, "shop", "p", WHEN("source.namespace", "values: [bank]"));
    ALLOWED(.peer = TELLER);
    REFUSED(.peer = WEB);
    put(r, "shop", "p", WHEN("source.principal", "values: [\"" WEB "\"]"));
    ALLOWED(.peer = WEB, .method = "GET", .path = "/");
    REFUSED(.peer = TELLER, .method = "GET", .path = "/");
    put(r, "shop", "p", WHEN("destination.ip", "values: [10.0.0.9]"));
    ALLOWED(.method = NULL);
    put(r, "shop", "p", WHEN("destination.ip", "notValues: [10.0.0.9]"));
    REFUSED(.method = NULL);
    put(r, "shop", "p", WHEN("destination.port", "values: [\"6379\"]"));
    ALLOWED(.method = NULL);
    REFUSED(.method = "GET", .path = "/");
    put(r, "shop", "p", WHEN("connection.sni", "values: [\"*.example\"]"));
    ALLOWED(.peer = WEB, .sni = "a.example");
    REFUSED(.peer = WEB, .sni = "a.other");
    /* All conditions, together with source and operation. */
    put(r, "shop", "p",
        "{rules: [{from: [{source: {namespaces: [shop]}}],\n"
        "  to: [{operation: {methods: [GET]}}],\n"
        "  when: [{key: \"request.headers[a]\", values: [\"1\"]},\n"
        "         {key: destination.port, values: [\"8080\"]}]}]}");
    ALLOWED(.peer = WEB, .method = "GET", .path = "/", .headers = "a: 1");
    REFUSED(.peer = WEB, .method = "GET", .path = "/", .headers = "a: 2");
    REFUSED(.peer = WEB, .method = "PUT", .path = "/", .headers = "a: 1");
    REFUSED(.peer = TELLER, .method = "GET", .path = "/", .headers = "a: 1");
#undef WHEN
}

static void test_deny(void **state)
{
    struct rig *r = *state;
    put(r, "shop", "no-admin",
        "{action: DENY, rules: [{to: [{operation: {ports: [\"1\"]}}]},\n"
        "  {from: [{source: {namespaces: [bank]}}], to: [{operation: {paths: [\"/admin*\"]}}]}]}");
    ALLOWED(.peer = WEB, .method = "GET", .path = "/admin");
    ALLOWED(.peer = TELLER, .method = "GET", .path = "/");
    REFUSED(.peer = TELLER, .method = "GET", .path = "/admin/x");
    assert_string_equal(
        origin_of(r, &(struct call){.peer = TELLER, .method = "GET", .path = "/admin"}),
        "AuthorizationPolicy/shop/no-admin#rules[1]");
    /* On TCP the rule loses its path and refuses the rest of what it says. */
    REFUSED(.peer = TELLER);
    ALLOWED(.peer = WEB);
    put(r, "shop", "no-admin", "{action: DENY, rules: [{to: [{operation: {methods: [PUT]}}]}]}");
    REFUSED(.peer = WEB);
    REFUSED(.method = NULL);
    ALLOWED(.method = "GET", .path = "/");
    put(r, "shop", "no-admin",
        "{action: DENY, rules: [{from: [{source: {namespaces: [bank]}}],"
        " when: [{key: \"request.headers[a]\", values: [b]}]}]}");
    REFUSED(.peer = TELLER);
    ALLOWED(.peer = WEB);
    REFUSED(.peer = TELLER, .method = "GET", .path = "/", .headers = "a: b");
    ALLOWED(.peer = TELLER, .method = "GET", .path = "/");
    put(r, "shop", "no-admin",
        "{action: DENY, rules: [{from: [{source: {notPrincipals: [\"*\"]}}]}]}");
    REFUSED(.method = "GET", .path = "/");
    ALLOWED(.peer = WEB, .method = "GET", .path = "/");
    put(r, "shop", "no-admin",
        "{action: DENY, rules: [{when: [{key: source.ip,"
        " values: [10.0.0.1]}]}]}");
    REFUSED(.method = "GET", .path = "/", .source = ip_v4(10, 0, 0, 1));
    ALLOWED(.method = "GET", .path = "/", .source = ip_v4(10, 0, 0, 2));
    put(r, "shop", "no-admin", "{action: DENY, rules: [{}]}");
    REFUSED(.peer = WEB, .method = "GET", .path = "/");
    REFUSED(.peer = WEB);
    /* DENY goes before ALLOW. */
    put(r, "shop", "all", "{rules: [{}]}");
    REFUSED(.peer = WEB, .method = "GET", .path = "/");
    put(r, "shop", "no-admin", "{action: DENY}");
    ALLOWED(.peer = WEB, .method = "GET", .path = "/");
    ALLOWED(.method = NULL);
}

static void test_empty(void **state)
{
    struct rig *r = *state;
    const struct call http = {.peer = WEB, .method = "GET", .path = "/"}, tcp = {.peer = WEB};
    put(r, "shop", "nothing", "{}");
    assert_string_equal(origin_of(r, &http), "AuthorizationPolicy/shop/nothing");
    assert_string_equal(origin_of(r, &tcp), "AuthorizationPolicy/shop/nothing");
    put(r, "shop", "everything", "{rules: [{}]}");
    expect(r, &http, true, __LINE__);
    expect(r, &tcp, true, __LINE__);
    /* One that only speaks of HTTP allows nothing on TCP, and says so. */
    rig_delete(r, API_KIND_AUTHORIZATION_POLICY, "shop", "everything");
    rig_delete(r, API_KIND_AUTHORIZATION_POLICY, "shop", "nothing");
    expect(r, &tcp, true, __LINE__);
    put(r, "shop", "gets", "{rules: [{to: [{operation: {methods: [GET]}}]}]}");
    expect(r, &http, true, __LINE__);
    assert_string_equal(origin_of(r, &tcp), "AuthorizationPolicy/shop/gets");
}

static void test_scope(void **state)
{
    struct rig *r = *state;
    const struct call web = {.peer = WEB, .method = "GET", .path = "/"};
    put(r, "shop", "other", "{selector: {matchLabels: {app: catalog}}}");
    put(r, "bank", "nothing", "{}");
    expect(r, &web, true, __LINE__);
    put(r, "shop", "first",
        "{selector: {matchLabels: {app: payment}},"
        " rules: [{from: [{source: {namespaces: [bank]}}]}]}");
    assert_string_equal(origin_of(r, &web), "AuthorizationPolicy/shop/first");
    put(r, "shop", "second", "{rules: [{to: [{operation: {methods: [PUT]}}]}]}");
    assert_string_equal(origin_of(r, &web),
                        "AuthorizationPolicy/shop/first,AuthorizationPolicy/shop/second");
    ALLOWED(.peer = TELLER, .method = "GET", .path = "/");
    ALLOWED(.peer = WEB, .method = "PUT", .path = "/");
    put(r, "shop", "third", "{action: DENY, rules: [{from: [{source: {namespaces: [shop]}}]}]}");
    assert_string_equal(origin_of(r, &(struct call){.peer = WEB, .method = "PUT", .path = "/"}),
                        "AuthorizationPolicy/shop/third#rules[0]");
    rig_delete(r, API_KIND_AUTHORIZATION_POLICY, "shop", "third");
    /* The root namespace speaks for all, and its selectors select everywhere. */
    put(r, "istio-system", "all", "{rules: [{to: [{operation: {methods: [HEAD]}}]}]}");
    put(r, "istio-system", "some",
        "{selector: {matchLabels: {app: payment}}, action: DENY,"
        " rules: [{from: [{source: {namespaces: [bank]}}]}]}");
    put(r, "istio-system", "others",
        "{selector: {matchLabels: {app: web}}, action: DENY,"
        " rules: [{}]}");
    ALLOWED(.method = "HEAD", .path = "/");
    assert_string_equal(origin_of(r, &(struct call){.method = "GET", .path = "/"}),
                        "AuthorizationPolicy/istio-system/all,AuthorizationPolicy/shop/first,"
                        "AuthorizationPolicy/shop/second");
    assert_string_equal(origin_of(r, &(struct call){.peer = TELLER, .method = "GET", .path = "/"}),
                        "AuthorizationPolicy/istio-system/some#rules[0]");
    rig_delete(r, API_KIND_AUTHORIZATION_POLICY, "istio-system", "all");
    rig_delete(r, API_KIND_AUTHORIZATION_POLICY, "istio-system", "some");
    /* Labels decide whom a policy selects. */
    rig_delete(r, API_KIND_AUTHORIZATION_POLICY, "shop", "second");
    rig_apply(r, "apiVersion: tulle.dev/v1\nkind: Workload\n"
                 "metadata: {name: payment, namespace: shop, labels: {app: paid}}\n"
                 "spec: {ports: [{name: http, port: 8080}]}\n");
    expect(r, &web, true, __LINE__);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_seed, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_sources, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_operations, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_conditions, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_deny, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_empty, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_scope, setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
