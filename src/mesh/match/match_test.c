#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "codec/regex.h"
#include "mesh/match/match.h"

#define S(lit)                                                                                     \
    {                                                                                              \
        lit, sizeof(lit) - 1                                                                       \
    }

static struct arena arena;

static int setup(void **state)
{
    arena_init(&arena, 1024);
    return 0;
}

static int teardown(void **state)
{
    arena_deinit(&arena);
    return 0;
}

static struct http_head *new_head(const char *method, const char *authority, const char *path)
{
    struct http_head *h = ARENA_NEW(&arena, struct http_head);
    http_head_init(h, &arena, true);
    h->method = str_from_c(method);
    h->scheme = STR("http");
    h->authority = str_from_c(authority);
    h->path = str_from_c(path);
    return h;
}

/* --- strings --- */

static const struct {
    enum string_match_kind kind;
    bool ignore_case;
    const char *pattern, *value;
    bool want;
} string_cases[] = {
    {STRING_MATCH_ANY, false, "", "", true},
    {STRING_MATCH_EXACT, false, "abc", "abc", true},
    {STRING_MATCH_EXACT, false, "abc", "ABC", false},
    {STRING_MATCH_EXACT, true, "abc", "ABC", true},
    {STRING_MATCH_EXACT, false, "abc", "abcd", false},
    {STRING_MATCH_EXACT, false, "", "", true},
    {STRING_MATCH_PREFIX, false, "ab", "abc", true},
    {STRING_MATCH_PREFIX, false, "abc", "ab", false},
    {STRING_MATCH_PREFIX, true, "AB", "abc", true},
    {STRING_MATCH_SUFFIX, false, "bc", "abc", true},
    {STRING_MATCH_SUFFIX, true, "BC", "abc", true},
    {STRING_MATCH_SUFFIX, false, "abcd", "bcd", false},
    {STRING_MATCH_SUFFIX, true, "abcd", "bcd", false},
    {STRING_MATCH_CONTAINS, false, "b", "abc", true},
    {STRING_MATCH_CONTAINS, false, "B", "abc", false},
    {STRING_MATCH_CONTAINS, true, "BC", "abc", true},
    {STRING_MATCH_CONTAINS, true, "abcd", "abc", false},
    {STRING_MATCH_CONTAINS, false, "", "abc", true},
};

static void test_strings(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(string_cases); i++) {
        struct string_match m = {string_cases[i].kind, string_cases[i].ignore_case,
                                 str_from_c(string_cases[i].pattern)};
        if (match_string(&m, str_from_c(string_cases[i].value)) != string_cases[i].want)
            fail_msg("case %zu", i);
    }
}

/* --- headers --- */

static const struct {
    struct header_match m;
    bool want;
} header_cases[] = {
    {{.name = S(":authority"), .value = {STRING_MATCH_EXACT, false, S("web")}}, true},
    {{.name = S("host"), .value = {STRING_MATCH_EXACT, false, S("web")}}, true},
    {{.name = S(":method"), .value = {STRING_MATCH_EXACT, false, S("GET")}}, true},
    {{.name = S(":scheme"), .value = {STRING_MATCH_EXACT, false, S("http")}}, true},
    {{.name = S(":path"), .value = {STRING_MATCH_EXACT, false, S("/a?b=c")}}, true},
    {{.name = S("x-one"), .value = {STRING_MATCH_EXACT, false, S("1")}}, true},
    {{.name = S("x-one"), .value = {STRING_MATCH_ANY}}, true},
    {{.name = S("x-one"), .value = {STRING_MATCH_ANY}, .is_inverted = true}, false},
    /* As in Envoy, each of several fields is looked at by itself. */
    {{.name = S("x-two"), .value = {STRING_MATCH_EXACT, false, S("a,b")}}, false},
    {{.name = S("x-two"), .value = {STRING_MATCH_EXACT, false, S("a")}}, true},
    {{.name = S("x-two"), .value = {STRING_MATCH_EXACT, false, S("b")}}, true},
    {{.name = S("x-two"), .value = {STRING_MATCH_EXACT, false, S("b")}, .is_inverted = true},
     false},
    {{.name = S("x-two"), .value = {STRING_MATCH_EXACT, false, S("c")}, .is_inverted = true}, true},
    {{.name = S("x-none"), .value = {STRING_MATCH_ANY}, .treat_missing_as_empty = true}, true},
    {{.name = S("x-empty"), .value = {STRING_MATCH_ANY}}, true},
    {{.name = S("x-empty"), .value = {STRING_MATCH_EXACT, false, S("")}}, true},
    {{.name = S("x-none"), .value = {STRING_MATCH_ANY}}, false},
    {{.name = S("x-none"), .value = {STRING_MATCH_ANY}, .is_inverted = true}, true},
    {{.name = S("x-none"), .value = {STRING_MATCH_EXACT, false, S("v")}}, false},
    /* As in Envoy: missing matches nothing, inverted or not, unless taken for empty. */
    {{.name = S("x-none"), .value = {STRING_MATCH_EXACT, false, S("v")}, .is_inverted = true},
     false},
    {{.name = S("x-none"),
      .value = {STRING_MATCH_EXACT, false, S("v")},
      .is_inverted = true,
      .treat_missing_as_empty = true},
     true},
    {{.name = S("x-none"),
      .value = {STRING_MATCH_EXACT, false, S("")},
      .treat_missing_as_empty = true},
     true},
    {{.name = S("x-one"), .value = {STRING_MATCH_PREFIX, false, S("2")}, .is_inverted = true},
     true},
};

static void test_headers(void **state)
{
    struct http_head *h = new_head("GET", "web", "/a?b=c");
    http_head_add_named(h, STR("x-one"), STR("1"));
    http_head_add_named(h, STR("x-two"), STR("a"));
    http_head_add_named(h, STR("x-empty"), STR(""));
    http_head_add_named(h, STR("x-two"), STR("b"));
    for (size_t i = 0; i < ARRAY_LEN(header_cases); i++) {
        if (match_header(&header_cases[i].m, h) != header_cases[i].want)
            fail_msg("case %zu", i);
    }
}

/* --- virtual hosts --- */

static const struct str domains_exact[] = {S("www.example.com"), S("[::1]:80")};
static const struct str domains_suffix[] = {S("*.example.com")};
static const struct str domains_longer[] = {S("*.b.example.com"), S("*-x.example.com")};
static const struct str domains_prefix[] = {S("www.*")};
static const struct str domains_any[] = {S("*")};
static const struct virtual_host vhosts[] = {
    {.name = S("any"), .domains = domains_any, .domain_count = 1},
    {.name = S("prefix"), .domains = domains_prefix, .domain_count = 1},
    {.name = S("suffix"), .domains = domains_suffix, .domain_count = 1},
    {.name = S("longer"), .domains = domains_longer, .domain_count = 2},
    {.name = S("exact"), .domains = domains_exact, .domain_count = 2},
};

static const struct {
    const char *authority, *want, *want_without_port;
} vhost_cases[] = {
    {"www.example.com", "exact", "exact"},
    {"a.example.com", "suffix", "suffix"},
    {"www.a.example.com", "suffix", "suffix"},
    {"a.b.example.com", "longer", "longer"},
    {"a-x.example.com", "longer", "longer"},
    {"-x.example.com", "suffix", "suffix"}, /* a star stands for one byte at least */
    {"www.other.com", "prefix", "prefix"},
    {"www.", "any", "any"},
    {"other.com", "any", "any"},
    {"example.com", "any", "any"},
    {"", "any", "any"},
    {"www.example.com:8080", "prefix", "exact"},
    {"a.example.com:8080", "any", "suffix"},
    {"[::1]:80", "exact", "any"},
    {"[::1]", "any", "any"},
};

static void test_virtual_hosts(void **state)
{
    struct route_config rc = {.hosts = vhosts, .host_count = ARRAY_LEN(vhosts)};
    for (size_t i = 0; i < ARRAY_LEN(vhost_cases) * 2; i++) {
        rc.ignore_port_in_host = i % 2 == 1;
        const char *want =
            rc.ignore_port_in_host ? vhost_cases[i / 2].want_without_port : vhost_cases[i / 2].want;
        const struct virtual_host *vh =
            match_virtual_host(&rc, str_from_c(vhost_cases[i / 2].authority));
        assert_non_null(vh);
        if (!str_eq(vh->name, str_from_c(want)))
            fail_msg("%s: %.*s", vhost_cases[i / 2].authority, STR_FMT(vh->name));
    }
    struct route_config only = {.hosts = &vhosts[4], .host_count = 1};
    assert_null(match_virtual_host(&only, STR("other.com")));
    struct route_config none = {0};
    assert_null(match_virtual_host(&none, STR("other.com")));
}

/* --- routes --- */

static const struct header_match beta_headers[] = {
    {.name = S("x-user"), .value = {STRING_MATCH_EXACT, false, S("beta")}},
    {.name = S(":method"), .value = {STRING_MATCH_EXACT, false, S("GET")}},
};
static const struct query_match v2_queries[] = {
    {.name = S("v"), .value = {STRING_MATCH_EXACT, false, S("2")}},
};
static const struct query_match debug_queries[] = {
    {.name = S("debug"), .value = {STRING_MATCH_ANY}},
};
static const struct route routes[] = {
    {.name = S("grpc"), .match = {PATH_PREFIX, S("/"), true, .is_grpc = true}},
    {.name = S("exact"), .match = {PATH_EXACT, S("/exact"), true}},
    {.name = S("nocase"), .match = {PATH_EXACT, S("/NoCase"), false}},
    {.name = S("separated"), .match = {PATH_SEPARATED_PREFIX, S("/api"), true}},
    {.name = S("beta"), .match = {PATH_PREFIX, S("/h"), true, beta_headers, 2}},
    {.name = S("query"), .match = {PATH_PREFIX, S("/q"), true, NULL, 0, v2_queries, 1}},
    {.name = S("debug"), .match = {PATH_PREFIX, S("/q"), true, NULL, 0, debug_queries, 1}},
    {.name = S("prefix"), .match = {PATH_PREFIX, S("/p"), true}},
    {.name = S("connect"), .match = {PATH_CONNECT, .is_case_sensitive = true}},
};
static const struct {
    const char *method, *path, *user, *want;
    bool is_grpc;
} route_cases[] = {
    {"GET", "/exact", NULL, "exact"},
    {"GET", "/exact?x=1", NULL, "exact"},
    {"GET", "/exact/", NULL, NULL},
    {"GET", "/nocasE", NULL, "nocase"},
    {"GET", "/api", NULL, "separated"},
    {"GET", "/api/v1", NULL, "separated"},
    {"GET", "/api?x", NULL, "separated"},
    {"GET", "/apiary", NULL, NULL},
    {"GET", "/hello", "beta", "beta"},
    {"POST", "/hello", "beta", NULL},
    {"GET", "/hello", "alpha", NULL},
    {"GET", "/hello", NULL, NULL},
    {"GET", "/q?v=2", NULL, "query"},
    {"GET", "/q?a=1&v=2", NULL, "query"},
    {"GET", "/q?v=21", NULL, NULL},
    {"GET", "/q?v=1&debug", NULL, "debug"},
    {"GET", "/q", NULL, NULL},
    {"GET", "/path", NULL, "prefix"},
    {"POST", "/exact", NULL, "grpc", true},
    {"CONNECT", "", NULL, "connect"},
};

static void test_routes(void **state)
{
    struct virtual_host vh = {.routes = routes, .route_count = ARRAY_LEN(routes)};
    for (size_t i = 0; i < ARRAY_LEN(route_cases); i++) {
        struct http_head *h = new_head(route_cases[i].method, "web", route_cases[i].path);
        h->is_grpc = route_cases[i].is_grpc;
        if (route_cases[i].user != NULL)
            http_head_add_named(h, STR("x-user"), str_from_c(route_cases[i].user));
        const struct route *r = match_route(&vh, h);
        struct str got = r == NULL ? STR_NULL : r->name;
        if (!str_eq(got, str_from_c(route_cases[i].want)))
            fail_msg("%s: %.*s", route_cases[i].path, STR_FMT(got));
    }
}

static const struct upgrade_config ws_on[] = {{S("websocket"), true}};
static const struct upgrade_config ws_off[] = {{S("websocket"), false}};
static const struct upgrade_config connect_on[] = {{S("connect"), true}};
static const struct {
    const struct upgrade_config *hcm, *route;
    const char *method, *protocol;
    bool want;
} upgrade_cases[] = {
    {NULL, NULL, "GET", "websocket", false},
    {ws_on, NULL, "GET", "websocket", true},
    {ws_on, NULL, "GET", "other", false},
    {ws_on, ws_off, "GET", "websocket", false},
    {ws_off, ws_on, "GET", "websocket", true},
    {NULL, ws_on, "GET", "websocket", true},
    {ws_on, NULL, "CONNECT", NULL, false},
    {connect_on, NULL, "CONNECT", NULL, true},
    {NULL, connect_on, "CONNECT", NULL, true},
    {connect_on, NULL, "GET", "websocket", false},
    {connect_on, connect_on, "GET", "connect", false},
};

/* What a client wrote behind the slash is no target of its own. */
static void test_a_rewritten_path_begins_with_a_slash(void **state)
{
    static const struct {
        const char *path, *want;
    } rows[] = {
        {"/x", "/"}, {"/x?q", "/?q"}, {"/x/y", "/y"}, {"/xhttp://admin/y", "/http://admin/y"},
        {"*", "*"}, /* of OPTIONS; nothing matched */
    };
    AUTO(str_buf_deinit) struct str_buf why = STR_BUF_INIT(256);
    struct route route = {.regex_substitution = STR("\\1")};
    assert_int_equal(regex_compile(&arena, STR("^/x(.*)$"), &why, &route.regex_rewrite), 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_head *h = new_head("GET", "web", rows[i].path);
        match_rewrite(&route, h);
        if (!str_eq(h->path, str_from_c(rows[i].want)))
            fail_msg("%s becomes %.*s", rows[i].path, STR_FMT(h->path));
    }
}

static void test_upgrades(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(upgrade_cases); i++) {
        const struct upgrade_config *of_hcm = upgrade_cases[i].hcm, *own = upgrade_cases[i].route;
        struct hcm hcm = {.upgrades = of_hcm, .upgrade_count = of_hcm != NULL};
        struct route route = {.upgrades = own, .upgrade_count = own != NULL};
        struct http_head *h = new_head(upgrade_cases[i].method, "web", "/");
        if (upgrade_cases[i].protocol != NULL)
            h->protocol = str_from_c(upgrade_cases[i].protocol);
        if (match_upgrade_allowed(&hcm, &route, h) != upgrade_cases[i].want)
            fail_msg("case %zu", i);
    }
}

static void test_weights(void **state)
{
    const struct weighted_cluster clusters[] = {
        {.name = S("a"), .weight = 90},
        {.name = S("zero"), .weight = 0},
        {.name = S("b"), .weight = 10},
    };
    unsigned counts[3] = {0};
    for (uint32_t i = 0; i < 1000; i++) {
        const struct weighted_cluster *c =
            match_weighted(clusters, 3, 100, i * (UINT32_MAX / 1000));
        assert_non_null(c);
        counts[c - clusters]++;
    }
    assert_in_range(counts[0], 899, 901);
    assert_int_equal(counts[1], 0);
    assert_in_range(counts[2], 99, 101);
    assert_ptr_equal(match_weighted(clusters, 3, 100, 0), &clusters[0]);
    assert_ptr_equal(match_weighted(clusters, 3, 100, UINT32_MAX), &clusters[2]);
    assert_null(match_weighted(&clusters[1], 1, 0, 5));
}

/* --- authorization --- */

#define ORDERS "spiffe://mesh.local/ns/shop/sa/orders"

static const struct rbac_node any = {.kind = RBAC_ANY};
static const struct rbac_node is_get = {
    .kind = RBAC_HEADER,
    .header = {.name = S(":method"), .value = {STRING_MATCH_EXACT, false, S("GET")}},
};
static const struct rbac_node is_charge = {.kind = RBAC_PATH,
                                           .string = {STRING_MATCH_PREFIX, false, S("/charge")}};
static const struct rbac_node port_range = {
    .kind = RBAC_DESTINATION_PORT, .port_from = 8080, .port_to = 8089};
static const struct rbac_node is_orders = {.kind = RBAC_PRINCIPAL,
                                           .string = {STRING_MATCH_EXACT, false, S(ORDERS)}};
static const struct rbac_node is_anybody = {.kind = RBAC_PRINCIPAL, .string = {STRING_MATCH_ANY}};
static const struct rbac_node is_shop = {.kind = RBAC_NAMESPACE,
                                         .string = {STRING_MATCH_EXACT, false, S("shop")}};
static const struct rbac_node is_other = {.kind = RBAC_NAMESPACE,
                                          .string = {STRING_MATCH_EXACT, false, S("sho")}};
static const struct rbac_node is_sni = {.kind = RBAC_SNI,
                                        .string = {STRING_MATCH_SUFFIX, false, S(".local")}};
static const struct rbac_node from_ten = {.kind = RBAC_SOURCE_IP, .cidr = {{10}, 8, IP_V4}};
static const struct rbac_node to_ten = {.kind = RBAC_DESTINATION_IP, .cidr = {{10}, 8, IP_V4}};
static const struct rbac_node remote_ten = {.kind = RBAC_REMOTE_IP, .cidr = {{10}, 8, IP_V4}};
static const struct rbac_node nothing = {.kind = RBAC_OR};
static const struct rbac_node everything = {.kind = RBAC_AND};
static const struct rbac_node not_get = {.kind = RBAC_NOT, .children = &is_get, .child_count = 1};
static const struct rbac_node get_charge_nodes[] = {
    {.kind = RBAC_HEADER,
     .header = {.name = S(":method"), .value = {STRING_MATCH_EXACT, false, S("GET")}}},
    {.kind = RBAC_PATH, .string = {STRING_MATCH_PREFIX, false, S("/charge")}},
};
static const struct rbac_node get_and_charge = {RBAC_AND, get_charge_nodes, 2};
static const struct rbac_node get_or_charge = {RBAC_OR, get_charge_nodes, 2};

static const struct {
    const struct rbac_node *permission, *principal;
    const char *method, *path; /* NULL: TCP */
    const char *peer;
    bool want;
} rbac_cases[] = {
    {&any, &any, "GET", "/", "", true},
    {&is_get, &any, "GET", "/", "", true},
    {&is_get, &any, "POST", "/", "", false},
    {&is_get, &any, NULL, NULL, "", false},
    {&is_charge, &any, "GET", "/charge?x", "", true},
    {&is_charge, &any, "GET", "/refund?a=/charge", "", false},
    {&is_charge, &any, NULL, NULL, "", false},
    {&not_get, &any, "POST", "/", "", true},
    {&not_get, &any, "GET", "/", "", false},
    {&get_and_charge, &any, "GET", "/charge", "", true},
    {&get_and_charge, &any, "GET", "/", "", false},
    {&get_or_charge, &any, "POST", "/charge", "", true},
    {&get_or_charge, &any, "POST", "/", "", false},
    {&nothing, &any, "GET", "/", "", false},
    {&everything, &any, "GET", "/", "", true},
    {&port_range, &any, NULL, NULL, "", true},
    {&any, &is_orders, "GET", "/", ORDERS, true},
    {&any, &is_orders, "GET", "/", ORDERS "2", false},
    {&any, &is_orders, "GET", "/", "", false},
    {&any, &is_anybody, "GET", "/", ORDERS, true},
    {&any, &is_anybody, "GET", "/", "", false},
    {&any, &is_shop, NULL, NULL, ORDERS, true},
    {&any, &is_shop, NULL, NULL, "", false},
    {&any, &is_shop, NULL, NULL, "spiffe://shop/ns/web/sa/shop", false},
    {&any, &is_other, NULL, NULL, ORDERS, false},
    {&is_sni, &any, NULL, NULL, "", true},
    {&any, &from_ten, NULL, NULL, "", true},
    {&to_ten, &any, NULL, NULL, "", false},
    {&any, &remote_ten, NULL, NULL, "", true},
};

static void test_rbac_nodes(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(rbac_cases); i++) {
        struct rbac_policy policy = {S("AuthorizationPolicy/shop/p#rules[0]"),
                                     *rbac_cases[i].permission, *rbac_cases[i].principal};
        struct rbac_input in = {
            .principal = str_from_c(rbac_cases[i].peer),
            .source = ip_v4(10, 0, 0, 1),
            .remote = ip_v4(10, 9, 9, 9),
            .destination = ip_v4(192, 168, 0, 1),
            .destination_port = 8089,
            .sni = STR("catalog.local"),
        };
        if (rbac_cases[i].method != NULL)
            in.head = new_head(rbac_cases[i].method, "web", rbac_cases[i].path);
        struct rbac allow = {RBAC_ALLOW, &policy, 1, S("AuthorizationPolicy/shop/p")};
        struct rbac_decision d;
        match_rbac(&allow, &in, &d);
        if (d.is_allowed != rbac_cases[i].want)
            fail_msg("case %zu", i);
        assert_true(str_eq(d.origin, d.is_allowed ? policy.name : allow.origins));

        struct rbac deny = {RBAC_DENY, &policy, 1};
        match_rbac(&deny, &in, &d);
        assert_int_equal(d.is_allowed, !rbac_cases[i].want);
        assert_true(str_eq(d.origin, d.is_allowed ? STR_NULL : policy.name));

        struct rbac log = {RBAC_LOG, &policy, 1};
        match_rbac(&log, &in, &d);
        assert_true(d.is_allowed);
    }
}

/* "Any" is presence, on each fact; who has none is not let in by it. */
static void test_rbac_any_is_presence(void **state)
{
    static const enum rbac_node_kind kinds[] = {RBAC_SNI, RBAC_PRINCIPAL, RBAC_NAMESPACE};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct rbac_policy policy = {S("p"), {.kind = RBAC_ANY}, {.kind = kinds[i]}};
        struct rbac rbac = {RBAC_ALLOW, &policy, 1, S("p")};
        struct rbac_input in = {.destination_port = 80};
        struct rbac_decision d;
        policy.principal.string.kind = STRING_MATCH_ANY;
        match_rbac(&rbac, &in, &d);
        assert_false(d.is_allowed);
        in.sni = STR("catalog.local");
        in.principal = STR(ORDERS);
        match_rbac(&rbac, &in, &d);
        assert_true(d.is_allowed);
    }
}

static void test_rbac_without_policies(void **state)
{
    struct rbac_input in = {.destination_port = 80};
    struct rbac_decision d;
    match_rbac(&(struct rbac){RBAC_ALLOW, .origins = S("AuthorizationPolicy/shop/none")}, &in, &d);
    assert_false(d.is_allowed);
    assert_true(str_eq(d.origin, STR("AuthorizationPolicy/shop/none")));
    match_rbac(&(struct rbac){RBAC_DENY}, &in, &d);
    assert_true(d.is_allowed);
}

/* --- filter chains --- */

static const struct str alpn_istio[] = {S("istio"), S("h2")};
static const struct str alpn_http[] = {S("http/1.1")};
static const struct str names_exact[] = {S("a.example.com")};
static const struct str names_short[] = {S("*.com")};
static const struct str names_long[] = {S("*.example.com")};
static const struct cidr net_ten[] = {{{10}, 8, IP_V4}};
static const struct cidr net_ten_one[] = {{{10, 1}, 16, IP_V4}};
static const struct filter_chain chains[] = {
    {.name = S("any")},
    {.name = S("tls"), .match = {.transport_protocol = S("tls")}},
    {.name = S("tls-istio"),
     .match = {.transport_protocol = S("tls"),
               .application_protocols = alpn_istio,
               .application_protocol_count = 2}},
    {.name = S("tls-http"),
     .match = {.transport_protocol = S("tls"),
               .application_protocols = alpn_http,
               .application_protocol_count = 1}},
    {.name = S("8080-tls-istio"),
     .match = {.destination_port = 8080,
               .transport_protocol = S("tls"),
               .application_protocols = alpn_istio,
               .application_protocol_count = 2}},
    {.name = S("8080-raw"),
     .match = {.destination_port = 8080, .transport_protocol = S("raw_buffer")}},
    {.name = S("exact"),
     .match = {.destination_port = 443, .server_names = names_exact, .server_name_count = 1}},
    {.name = S("short"),
     .match = {.destination_port = 443, .server_names = names_short, .server_name_count = 1}},
    {.name = S("long"),
     .match = {.destination_port = 443, .server_names = names_long, .server_name_count = 1}},
    {.name = S("ten"),
     .match = {.destination_port = 99, .prefix_ranges = net_ten, .prefix_range_count = 1}},
    {.name = S("ten-one"),
     .match = {.destination_port = 99,
               .prefix_ranges = net_ten_one,
               .prefix_range_count = 1,
               .source_prefix_ranges = net_ten,
               .source_prefix_range_count = 1}},
};

static const struct {
    struct ip_addr destination, source;
    uint16_t port;
    bool is_tls;
    const char *sni, *alpn[3], *want; /* want NULL: the default chain */
} chain_cases[] = {
    {{IP_V4, {1, 1, 1, 1}}, {IP_V4, {2}}, 80, false, "", {NULL}, "any"},
    {{IP_V4, {1, 1, 1, 1}}, {IP_V4, {2}}, 80, true, "", {NULL}, "tls"},
    {{IP_V4, {1, 1, 1, 1}}, {IP_V4, {2}}, 80, true, "", {"istio"}, "tls-istio"},
    {{IP_V4, {1, 1, 1, 1}}, {IP_V4, {2}}, 80, true, "", {"http/1.1", "h2"}, "tls-http"},
    {{IP_V4, {1, 1, 1, 1}}, {IP_V4, {2}}, 80, true, "", {"x", "h2", "http/1.1"}, "tls-istio"},
    {{IP_V4, {1, 1, 1, 1}}, {IP_V4, {2}}, 80, true, "", {"x"}, "tls"},
    {{IP_V4, {1, 1, 1, 1}}, {IP_V4, {2}}, 8080, true, "", {"istio"}, "8080-tls-istio"},
    {{IP_V4, {1, 1, 1, 1}}, {IP_V4, {2}}, 8080, false, "", {NULL}, "8080-raw"},
    /* The port has chains, none fits: no way back to those of any port. */
    {{IP_V4, {1, 1, 1, 1}}, {IP_V4, {2}}, 8080, true, "", {"http/1.1"}, NULL},
    {{IP_V4, {1, 1, 1, 1}}, {IP_V4, {2}}, 443, true, "a.example.com", {NULL}, "exact"},
    {{IP_V4, {1, 1, 1, 1}}, {IP_V4, {2}}, 443, true, "b.example.com", {NULL}, "long"},
    {{IP_V4, {1, 1, 1, 1}}, {IP_V4, {2}}, 443, true, "c.b.example.com", {NULL}, "long"},
    {{IP_V4, {1, 1, 1, 1}}, {IP_V4, {2}}, 443, true, "other.com", {NULL}, "short"},
    {{IP_V4, {1, 1, 1, 1}}, {IP_V4, {2}}, 443, true, "other.org", {NULL}, NULL},
    {{IP_V4, {1, 1, 1, 1}}, {IP_V4, {2}}, 443, true, "", {NULL}, NULL},
    {{IP_V4, {10, 2, 0, 1}}, {IP_V4, {2}}, 99, false, "", {NULL}, "ten"},
    {{IP_V4, {10, 1, 0, 1}}, {IP_V4, {10, 5}}, 99, false, "", {NULL}, "ten-one"},
    /* The longer prefix is decided before the source is looked at. */
    {{IP_V4, {10, 1, 0, 1}}, {IP_V4, {2}}, 99, false, "", {NULL}, NULL},
    {{IP_V4, {11, 0, 0, 1}}, {IP_V4, {2}}, 99, false, "", {NULL}, NULL},
    {{IP_V6, {0xfd}}, {IP_V6, {0xfe}}, 80, false, "", {NULL}, "any"},
};

static void test_filter_chains(void **state)
{
    const struct filter_chain fallback = {.name = S("default")};
    struct listener l = {.chains = chains, .chain_count = ARRAY_LEN(chains)};
    for (size_t i = 0; i < ARRAY_LEN(chain_cases); i++) {
        struct str alpn[3];
        size_t alpn_count = 0;
        while (alpn_count < 3 && chain_cases[i].alpn[alpn_count] != NULL) {
            alpn[alpn_count] = str_from_c(chain_cases[i].alpn[alpn_count]);
            alpn_count++;
        }
        struct chain_input in = {
            chain_cases[i].destination,
            chain_cases[i].source,
            chain_cases[i].port,
            str_from_c(chain_cases[i].sni),
            chain_cases[i].is_tls,
            alpn,
            alpn_count,
        };
        l.default_chain = NULL;
        const struct filter_chain *got = match_filter_chain(&l, &in);
        struct str name = got == NULL ? STR_NULL : got->name;
        if (!str_eq(name, str_from_c(chain_cases[i].want)))
            fail_msg("case %zu: %.*s", i, STR_FMT(name));
        l.default_chain = &fallback;
        if (got == NULL)
            assert_ptr_equal(match_filter_chain(&l, &in), &fallback);
    }
    assert_null(match_filter_chain(&(struct listener){0}, &(struct chain_input){0}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_virtual_hosts),
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_a_rewritten_path_begins_with_a_slash),
        cmocka_unit_test(test_upgrades),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_rbac_nodes),
        cmocka_unit_test(test_rbac_any_is_presence),
        cmocka_unit_test(test_rbac_without_policies),
        cmocka_unit_test(test_filter_chains),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
