#include "control/translate/testing/rig.h"

#define CATALOG "catalog.shop.svc.cluster.local"
#define PAYMENT "payment.shop.svc.cluster.local"

static const char shop[] =
    "apiVersion: tulle.dev/v1\nkind: Mesh\nmetadata: {name: default}\n"
    "spec: {trustDomain: mesh.local}\n"
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: catalog, namespace: shop}\n"
    "spec: {selector: {app: catalog}, ports: [{name: http, port: 8080}, {name: http-alt, port: "
    "9}]}\n"
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: payment, namespace: shop}\n"
    "spec: {selector: {app: payment}, ports: [{name: http, port: 80}]}\n"
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: cart, namespace: shop}\n"
    "spec: {selector: {app: cart}, ports: [{name: tcp, port: 6379}, {name: any, port: 7000}]}\n"
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: ledger, namespace: bank}\n"
    "spec: {selector: {app: ledger}, ports: [{name: http, port: 80}]}\n"
    "---\napiVersion: tulle.dev/v1\nkind: Workload\n"
    "metadata: {name: web, namespace: shop, labels: {app: web, tier: front}}\n"
    "spec: {serviceAccount: web-sa, ports: [{name: http, port: 8080}]}\n"
    "---\napiVersion: tulle.dev/v1\nkind: Workload\n"
    "metadata: {name: orders, namespace: shop, labels: {app: orders}}\n"
    "spec: {serviceAccount: orders-sa, ports: [{name: http, port: 8080}]}\n"
    "---\napiVersion: tulle.dev/v1\nkind: Workload\n"
    "metadata: {name: teller, namespace: bank, labels: {app: teller}}\n"
    "spec: {ports: [{name: http, port: 8080}]}\n";

static int setup(void **state)
{
    rig_setup(state);
    rig_apply(*state, shop);
    return 0;
}

/* The route that a request meets at the listener `name`; NULL: 404. */
static const struct route *ask(struct rig *r, const char *name, const char *method,
                               const char *path, const char *headers)
{
    const struct route_config *rc = rig_route(r, name);
    assert_non_null(rc);
    struct http_head *h = rig_request(r, method, "catalog", path, headers);
    const struct virtual_host *vh = match_virtual_host(rc, h->authority);
    assert_non_null(vh);
    return match_route(vh, h);
}

static const char *cluster_of(struct rig *r, const char *name, const char *path,
                              const char *headers)
{
    const struct route *route = ask(r, name, "GET", path, headers);
    if (route == NULL || route->cluster_count != 1)
        return "";
    return arena_str(&r->arena, route->clusters[0].name).ptr;
}

static void test_seed(void **state)
{
    struct rig *r = *state;
    rig_apply(r,
              "apiVersion: networking.istio.io/v1beta1\nkind: DestinationRule\n"
              "metadata: {name: catalog}\n"
              "spec:\n  host: catalog.shop.svc.cluster.local\n  trafficPolicy:\n"
              "    retries: {attempts: 3, perTryTimeout: 800ms,\n"
              "      retryOn: \"5xx,connect-failure,gateway-error\"}\n"
              "---\napiVersion: networking.istio.io/v1beta1\nkind: VirtualService\n"
              "metadata: {name: catalog}\n"
              "spec:\n  hosts: [catalog]\n  http:\n"
              "  - match: [{headers: {x-sticky-user: {exact: beta}}}]\n"
              "    route: [{destination: {host: catalog, subset: v2}}]\n"
              "  - route:\n"
              "    - {destination: {host: catalog, subset: v1, port: {number: 8080}}, weight: 90}\n"
              "    - {destination: {host: catalog, subset: v2, port: {number: 8080}}, weight: 10}\n"
              "    timeout: 3s\n");
    const struct route *beta = ask(r, CATALOG ":8080", "GET", "/", "x-sticky-user: beta");
    assert_int_equal(beta->cluster_count, 1);
    assert_str(beta->clusters[0].name, CATALOG ":8080/v2");
    assert_str(beta->origin.text, "VirtualService/shop/catalog#http[0]");
    assert_int_equal(beta->timeout_us, 0);

    const struct route *rest = ask(r, CATALOG ":8080", "GET", "/", "x-sticky-user: alpha");
    assert_str(rest->origin.text, "VirtualService/shop/catalog#http[1]");
    assert_int_equal(rest->timeout_us, 3000000);
    unsigned v2 = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        const struct weighted_cluster *w = match_weighted(
            rest->clusters, rest->cluster_count, rest->weight_total, (uint32_t)((i << 32) / 1000));
        v2 += str_eq(w->name, STR(CATALOG ":8080/v2"));
    }
    assert_in_range(v2, 99, 101);
    /* The leniency: retries of the rule, since the routes set none. */
    const struct route *both[] = {beta, rest};
    for (size_t i = 0; i < 2; i++) {
        const struct retry_policy *p = both[i]->retry;
        assert_int_equal(p->retries_max, 3);
        assert_int_equal(p->per_try_timeout_us, 800000);
        assert_int_equal(p->on, RETRY_5XX | RETRY_CONNECT_FAILURE | RETRY_GATEWAY_ERROR);
        assert_true(p->avoid_previous_hosts);
    }
    /* The same documents for the other port: the port that was called, and the one that is named.
     */
    assert_string_equal(cluster_of(r, CATALOG ":9", "/", "x-sticky-user: beta"), CATALOG ":9/v2");
    assert_str(ask(r, CATALOG ":9", "GET", "/", NULL)->clusters[0].name, CATALOG ":8080/v1");
    /* Clusters of both subsets are there. */
    assert_non_null(rig_cluster(r, CATALOG ":8080/v1"));
    assert_non_null(rig_cluster(r, CATALOG ":8080/v2"));
}

static void test_defaults(void **state)
{
    struct rig *r = *state;
    const struct route *route = ask(r, PAYMENT ":80", "POST", "/pay", NULL);
    assert_str(route->clusters[0].name, PAYMENT ":80");
    assert_int_equal(route->timeout_us, 0);
    assert_int_equal(route->retry->retries_max, 2);
    assert_int_equal(route->retry->on, RETRY_CONNECT_FAILURE | RETRY_REFUSED_STREAM |
                                           RETRY_GRPC_UNAVAILABLE | RETRY_GRPC_CANCELLED |
                                           RETRY_RETRIABLE_STATUS_CODES);
    assert_int_equal(route->retry->host_selection_attempts_max, 5);
    assert_null(rig_route(r, PAYMENT ":81"));
    assert_null(rig_route(r, "nobody.shop.svc.cluster.local:80"));
    assert_null(rig_route(r, PAYMENT ":80/v1"));
}

static void test_retries(void **state)
{
    struct rig *r = *state;
    rig_apply(r, "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
                 "metadata: {name: catalog}\n"
                 "spec: {host: catalog, trafficPolicy: {retries: {attempts: 0}}}\n"
                 "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n"
                 "metadata: {name: catalog}\nspec:\n  hosts: [catalog]\n  http:\n"
                 "  - {match: [{uri: {prefix: /none}}], route: [{destination: {host: catalog}}],\n"
                 "     retries: {attempts: 0}}\n"
                 "  - {match: [{uri: {prefix: /codes}}], route: [{destination: {host: catalog}}],\n"
                 "     retries: {attempts: 4, retryOn: \"503,reset,deadline-exceeded\"}}\n"
                 "  - {route: [{destination: {host: catalog}}]}\n");
    assert_null(ask(r, CATALOG ":8080", "GET", "/none", NULL)->retry);
    const struct retry_policy *codes = ask(r, CATALOG ":8080", "GET", "/codes", NULL)->retry;
    assert_int_equal(codes->retries_max, 4);
    assert_int_equal(codes->on,
                     RETRY_RESET | RETRY_GRPC_DEADLINE_EXCEEDED | RETRY_RETRIABLE_STATUS_CODES);
    assert_int_equal(codes->status_code_count, 1);
    assert_int_equal(codes->status_codes[0], 503);
    /* The rule's own 0 for routes that say nothing. */
    assert_null(ask(r, CATALOG ":8080", "GET", "/", NULL)->retry);
    rig_delete(r, API_KIND_DESTINATION_RULE, "shop", "catalog");
    assert_int_equal(ask(r, CATALOG ":8080", "GET", "/", NULL)->retry->retries_max, 2);
}

/* A rule's retries are those of the destination: its subset's, and the caller's own rule. */
static void test_rule_retries(void **state)
{
    struct rig *r = *state;
    rig_apply(r,
              "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
              "metadata: {name: catalog}\nspec:\n  hosts: [catalog]\n  http:\n"
              "  - {match: [{uri: {prefix: /a}}],\n"
              "     route: [{destination: {host: payment, subset: a}}]}\n"
              "  - {route: [{destination: {host: payment}}]}\n"
              "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
              "metadata: {name: payment}\nspec:\n  host: payment\n"
              "  trafficPolicy: {retries: {attempts: 5}}\n"
              "  subsets: [{name: a, labels: {v: a}, trafficPolicy: {retries: {attempts: 6}}}]\n");
    assert_int_equal(ask(r, CATALOG ":8080", "GET", "/", NULL)->retry->retries_max, 5);
    assert_int_equal(ask(r, CATALOG ":8080", "GET", "/a", NULL)->retry->retries_max, 6);
    /* Of another namespace: for its callers alone. */
    rig_apply(r, "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
                 "metadata: {name: payment, namespace: bank}\nspec:\n"
                 "  host: " PAYMENT "\n  trafficPolicy: {retries: {attempts: 7}}\n");
    assert_int_equal(ask(r, CATALOG ":8080", "GET", "/", NULL)->retry->retries_max, 5);
    rig_be(r, "bank", "teller");
    assert_int_equal(ask(r, CATALOG ":8080", "GET", "/", NULL)->retry->retries_max, 7);
}

static void test_matches(void **state)
{
    struct rig *r = *state;
    rig_apply(r,
              "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
              "metadata: {name: catalog}\nspec:\n  hosts: [catalog]\n  http:\n"
              "  - {name: exact, match: [{name: uri, uri: {exact: /one}}, {uri: {exact: /uno}}],\n"
              "     route: [{destination: {host: catalog, subset: a}}]}\n"
              "  - {match: [{uri: {prefix: /CASE}, ignoreUriCase: true, method: {exact: PUT}}],\n"
              "     route: [{destination: {host: catalog, subset: b}}]}\n"
              "  - {match: [{queryParams: {q: {exact: x}}, headers: {h: {prefix: p}}}],\n"
              "     route: [{destination: {host: catalog, subset: c}}]}\n"
              "  - {match: [{withoutHeaders: {no: {}}, uri: {prefix: /w}}],\n"
              "     route: [{destination: {host: catalog, subset: d}}]}\n"
              "  - {match: [{port: 9}], route: [{destination: {host: catalog, subset: e}}]}\n"
              "  - {match: [{authority: {exact: CATALOG}, uri: {prefix: /auth}}],\n"
              "     route: [{destination: {host: catalog, subset: f}}]}\n");
    static const struct {
        const char *port, *method, *path, *headers, *subset, *name;
    } cases[] = {
        {"8080", "GET", "/one", NULL, "a", "exact.uri"},
        {"8080", "GET", "/uno?x=1", NULL, "a", "exact"},
        {"8080", "GET", "/one/more", NULL, NULL, NULL},
        {"8080", "PUT", "/case/1", NULL, "b", ""},
        {"8080", "GET", "/case/1", NULL, NULL, NULL},
        {"8080", "GET", "/?q=x", "h: px", "c", ""},
        {"8080", "GET", "/?q=x", "h: xp", NULL, NULL},
        {"8080", "GET", "/?q=y", "h: px", NULL, NULL},
        {"8080", "GET", "/w", NULL, "d", ""},
        {"8080", "GET", "/w", "no: 1", NULL, NULL},
        {"9", "GET", "/other", NULL, "e", ""},
        {"8080", "GET", "/auth", NULL, "f", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char name[100], want[100];
        snprintf(name, sizeof name, "%s:%s", CATALOG, cases[i].port);
        snprintf(want, sizeof want, "%s:%s/%s", CATALOG, cases[i].port,
                 cases[i].subset != NULL ? cases[i].subset : "");
        const struct route *route = ask(r, name, cases[i].method, cases[i].path, cases[i].headers);
        if ((route != NULL) != (cases[i].subset != NULL))
            fail_msg("case %zu", i);
        if (route == NULL)
            continue;
        assert_str(route->clusters[0].name, want);
        assert_str(route->name, cases[i].name);
    }
}

static void test_actions(void **state)
{
    struct rig *r = *state;
    rig_apply(r, "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
                 "metadata: {name: catalog}\nspec:\n  hosts: [catalog]\n  http:\n"
                 "  - match: [{uri: {prefix: /old}}]\n"
                 "    redirect: {uri: /new, authority: other.example, scheme: https, port: 8443,\n"
                 "               redirectCode: 307}\n"
                 "  - match: [{uri: {prefix: /plain}}]\n"
                 "    redirect: {uri: /new}\n"
                 "  - match: [{uri: {prefix: /teapot}}]\n"
                 "    directResponse: {status: 418, body: {string: short}}\n"
                 "    headers: {response: {set: {x-pot: tea}}}\n"
                 "  - match: [{uri: {prefix: /api}}]\n"
                 "    rewrite: {uri: /v1, authority: inner.example}\n"
                 "    headers: {request: {set: {X-A: \"1\"}, add: {x-b: \"2\"}, remove: [x-c]},\n"
                 "              response: {add: {x-d: \"3\"}, remove: [server]}}\n"
                 "    route:\n"
                 "    - {destination: {host: catalog}, headers: {request: {set: {x-e: \"4\"}}}}\n");
    const struct route *old = ask(r, CATALOG ":8080", "GET", "/old", NULL);
    assert_int_equal(old->kind, ROUTE_REDIRECT);
    assert_str(old->redirect_path, "/new");
    assert_str(old->redirect_host, "other.example");
    assert_str(old->redirect_scheme, "https");
    assert_int_equal(old->redirect_port, 8443);
    assert_int_equal(old->redirect_status, 307);
    assert_int_equal(ask(r, CATALOG ":8080", "GET", "/plain", NULL)->redirect_status, 301);
    const struct route *pot = ask(r, CATALOG ":8080", "GET", "/teapot", NULL);
    assert_int_equal(pot->kind, ROUTE_DIRECT_RESPONSE);
    assert_int_equal(pot->direct_status, 418);
    assert_str(pot->direct_body, "short");
    assert_str(pot->response.set[0].name, "x-pot");
    const struct route *api = ask(r, CATALOG ":8080", "GET", "/api", NULL);
    assert_str(api->prefix_rewrite, "/v1");
    assert_str(api->host_rewrite, "inner.example");
    assert_int_equal(api->request.set_count, 2);
    assert_str(api->request.set[0].name, "x-a");
    assert_int_equal(api->request.set[0].action, HEADER_SET);
    assert_int_equal(api->request.set[1].action, HEADER_APPEND);
    assert_str(api->request.remove[0], "x-c");
    assert_int_equal(api->response.set[0].action, HEADER_APPEND);
    assert_str(api->response.remove[0], "server");
    assert_str(api->clusters[0].request.set[0].name, "x-e");
    /* What no route takes is nobody's: 404, not the service. */
    assert_null(ask(r, CATALOG ":8080", "GET", "/elsewhere", NULL));
}

static void test_views(void **state)
{
    struct rig *r = *state;
    struct translate_viewer web = {XDS_DIALECT_TULLE, STR("shop"), STR("web")};
    struct translate_viewer orders = {XDS_DIALECT_TULLE, STR("shop"), STR("orders")};
    struct translate_viewer teller = {XDS_DIALECT_TULLE, STR("bank"), STR("teller")};
    struct str name = STR(CATALOG ":8080");
#define KEY(v) translate_view_key(r->translate, &v, RESOURCE_ROUTE, name, &r->arena)
    assert_true(str_eq(KEY(web), KEY(teller)));
    rig_apply(r, "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
                 "metadata: {name: catalog}\nspec:\n  hosts: [catalog]\n  http:\n"
                 "  - {match: [{sourceNamespace: bank}], route: [{destination: {host: payment,\n"
                 "     port: {number: 80}}}]}\n"
                 "  - {route: [{destination: {host: catalog}}]}\n");
    assert_true(str_eq(KEY(web), KEY(orders)));
    assert_false(str_eq(KEY(web), KEY(teller)));
    assert_string_equal(cluster_of(r, CATALOG ":8080", "/", NULL), CATALOG ":8080");
    rig_be(r, "bank", "teller");
    assert_string_equal(cluster_of(r, CATALOG ":8080", "/", NULL), PAYMENT ":80");
    rig_forget(r);
    rig_apply(r,
              "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
              "metadata: {name: catalog}\nspec:\n  hosts: [catalog]\n  http:\n"
              "  - {match: [{sourceLabels: {tier: front}}], route: [{destination: {host: catalog,\n"
              "     subset: new}}]}\n"
              "  - {route: [{destination: {host: catalog}}]}\n");
    assert_true(rig_is_dirty(r, "route " CATALOG ":8080 0:shop"));
    assert_true(rig_is_dirty(r, "route " CATALOG ":8080 0:bank"));
    assert_false(str_eq(KEY(web), KEY(orders)));
    assert_string_equal(cluster_of(r, CATALOG ":8080", "/", NULL), CATALOG ":8080");
    rig_be(r, "shop", "web");
    assert_string_equal(cluster_of(r, CATALOG ":8080", "/", NULL), CATALOG ":8080/new");
    rig_be(r, "shop", "orders");
    assert_string_equal(cluster_of(r, CATALOG ":8080", "/", NULL), CATALOG ":8080");
    /* A changed label of the caller counts. */
    rig_forget(r);
    rig_apply(r, "apiVersion: tulle.dev/v1\nkind: Workload\n"
                 "metadata: {name: orders, namespace: shop, labels: {app: orders, tier: front}}\n"
                 "spec: {serviceAccount: orders-sa, ports: [{name: http, port: 8080}]}\n");
    assert_true(rig_is_dirty(r, "route " CATALOG ":8080 0:shop:orders"));
    assert_false(rig_is_dirty(r, "route " CATALOG ":8080 0:shop:web"));
    assert_string_equal(cluster_of(r, CATALOG ":8080", "/", NULL), CATALOG ":8080/new");
#undef KEY
}

/* Documents of other namespaces, and destinations that are not there. */
static void test_foreign(void **state)
{
    struct rig *r = *state;
    rig_apply(
        r, "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
           "metadata: {name: ledger, namespace: shop}\nspec:\n"
           "  hosts: [ledger.bank.svc.cluster.local]\n  http:\n"
           "  - {match: [{uri: {prefix: /short}}], route: [{destination: {host: payment,\n"
           "     port: {number: 80}}}]}\n"
           "  - {match: [{uri: {prefix: /gone}}], route: [{destination: {host: nobody}}]}\n"
           "  - {match: [{uri: {prefix: /out}}], route: [{destination: {host: www.example.com}}]}\n"
           "  - {match: [{uri: {prefix: /port}}], route: [{destination: {host: catalog}}]}\n"
           "  - {match: [{uri: {prefix: /cart}}], route: [{destination: {host: cart,\n"
           "     port: {number: 6379}}}]}\n"
           "  - {route: [{destination: {host: ledger.bank.svc}}]}\n");
    const char *name = "ledger.bank.svc.cluster.local:80";
    for (int i = 0; i < 2; i++) {
        rig_be(r, i == 0 ? "shop" : "bank", i == 0 ? "web" : "teller");
        assert_string_equal(cluster_of(r, name, "/", NULL), name);
        /* A short name belongs to the namespace of the document. */
        assert_string_equal(cluster_of(r, name, "/short", NULL), PAYMENT ":80");
        /* What is not there has a cluster that is not there: 503, never something else. */
        assert_string_equal(cluster_of(r, name, "/gone", NULL), "nobody.shop.svc.cluster.local:80");
        assert_null(rig_cluster(r, "nobody.shop.svc.cluster.local:80"));
        assert_string_equal(cluster_of(r, name, "/out", NULL), "www.example.com:80");
        assert_null(rig_cluster(r, "www.example.com:80"));
        assert_string_equal(cluster_of(r, name, "/port", NULL), CATALOG ":80");
        assert_null(rig_cluster(r, CATALOG ":80"));
    }
    /* The service's own namespace wins over another's. */
    rig_apply(r, "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
                 "metadata: {name: zzz, namespace: bank}\nspec:\n  hosts: [ledger]\n  http:\n"
                 "  - {route: [{destination: {host: ledger, subset: own}}]}\n");
    assert_string_equal(cluster_of(r, name, "/short", NULL),
                        "ledger.bank.svc.cluster.local:80/own");
    /* Only one port: it needs no name. */
    rig_delete(r, API_KIND_VIRTUAL_SERVICE, "bank", "zzz");
    rig_apply(r, "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
                 "metadata: {name: catalog}\nspec:\n  hosts: [catalog]\n  http:\n"
                 "  - {route: [{destination: {host: payment}}]}\n");
    assert_string_equal(cluster_of(r, CATALOG ":8080", "/", NULL), PAYMENT ":80");
}

/* --- TCP --- */

static const struct tcp_proxy *tcp_of(struct rig *r, const char *name)
{
    const struct listener *l = rig_listener(r, name);
    assert_non_null(l);
    assert_non_null(l->default_chain);
    const struct network_filter *last =
        &l->default_chain->filters[l->default_chain->filter_count - 1];
    assert_int_equal(last->kind, NETWORK_FILTER_TCP_PROXY);
    return last->tcp_proxy;
}

static void test_tcp(void **state)
{
    struct rig *r = *state;
    const char *name = "cart.shop.svc.cluster.local:6379";
    const char *unnamed = "cart.shop.svc.cluster.local:7000";
    assert_str(tcp_of(r, name)->clusters[0].name, name);
    assert_int_equal(tcp_of(r, name)->idle_timeout_us, 3600000000);
    assert_str(tcp_of(r, unnamed)->clusters[0].name, "cart.shop.svc.cluster.local:7000|tcp");
    rig_apply(r, "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
                 "metadata: {name: cart}\nspec:\n  hosts: [cart]\n  tcp:\n"
                 "  - {match: [{port: 6379, sourceLabels: {tier: front}}],\n"
                 "     route: [{destination: {host: cart, subset: a}, weight: 3},\n"
                 "             {destination: {host: cart, subset: b}, weight: 1},\n"
                 "             {destination: {host: cart, subset: c}, weight: 0}]}\n"
                 "  - {match: [{port: 7000}],\n"
                 "     route: [{destination: {host: payment, port: {number: 80}}}]}\n"
                 "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
                 "metadata: {name: cart}\n"
                 "spec: {host: cart, trafficPolicy: {connectionPool: {tcp: {idleTimeout: 5s}}}}\n");
    const struct tcp_proxy *tcp = tcp_of(r, name);
    assert_int_equal(tcp->cluster_count, 2);
    assert_str(tcp->clusters[0].name, "cart.shop.svc.cluster.local:6379/a");
    assert_int_equal(tcp->clusters[0].weight, 3);
    assert_int_equal(tcp->idle_timeout_us, 5000000);
    /* Bytes of unknown kind towards a port that speaks HTTP go as TCP. */
    assert_str(tcp_of(r, unnamed)->clusters[0].name, PAYMENT ":80|tcp");
    const struct cluster *c = rig_cluster(r, PAYMENT ":80|tcp");
    assert_str(c->eds_service_name, PAYMENT ":80");
    assert_str(c->tls_matches[0].tls->common.alpn[0], TLS_ALPN_TUNNEL);
    /* Who is not meant by any match gets the service itself. */
    rig_be(r, "shop", "orders");
    assert_str(tcp_of(r, name)->clusters[0].name, name);
}

/* --- the listener of a port on the caller's side --- */

static const char *chain_at(struct rig *r, const char *name, bool is_tls, const char *protocol)
{
    const struct listener *l = rig_listener(r, name);
    struct str protocols[1] = {str_from_c(protocol)};
    struct chain_input in = {.is_tls = is_tls,
                             .application_protocols = protocols,
                             .application_protocol_count = protocol != NULL,
                             .destination = l->address.ip,
                             .destination_port = l->address.port};
    const struct filter_chain *chain = match_filter_chain(l, &in);
    return chain == NULL ? "" : arena_str(&r->arena, chain->name).ptr;
}

static void test_service_listeners(void **state)
{
    struct rig *r = *state;
    const char *http = PAYMENT ":80", *tcp = "cart.shop.svc.cluster.local:6379",
               *any = "cart.shop.svc.cluster.local:7000";
    assert_string_equal(chain_at(r, http, false, NULL), "http");
    assert_string_equal(chain_at(r, tcp, false, NULL), "tcp");
    assert_string_equal(chain_at(r, any, false, "http/1.1"), "http");
    assert_string_equal(chain_at(r, any, false, "h2c"), "http");
    assert_string_equal(chain_at(r, any, false, NULL), "tcp");
    assert_string_equal(chain_at(r, any, true, "h2"), "tcp");
    const struct listener *l = rig_listener(r, http);
    assert_false(l->bind_to_port);
    assert_int_equal(l->direction, LISTENER_OUTBOUND);
    assert_false(l->inspectors.tls_inspector);
    const struct hcm *hcm = l->chains[0].filters[0].hcm;
    assert_str(hcm->route_config_name, http);
    assert_int_equal(hcm->xfcc, XFCC_SANITIZE);
    assert_int_equal(hcm->access_log_count, 1);
    assert_true(rig_listener(r, any)->continue_on_listener_filters_timeout);
    assert_int_equal(rig_listener(r, any)->listener_filters_timeout_us, 100000);
    assert_null(rig_listener(r, "payment.shop.svc.cluster.local:81"));
    rig_apply(r, "apiVersion: tulle.dev/v1\nkind: Mesh\nmetadata: {name: default}\n"
                 "spec: {trustDomain: mesh.local, accessLog: {enabled: false}}\n");
    assert_int_equal(rig_listener(r, http)->chains[0].filters[0].hcm->access_log_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_seed, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_defaults, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_retries, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_rule_retries, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_matches, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_actions, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_views, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_foreign, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_tcp, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_service_listeners, setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
