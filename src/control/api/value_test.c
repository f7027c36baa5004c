#include "control/api/kind.h"
#include "control/api/name_priv.h"
#include "control/api/nearest_priv.h"
#include "control/api/test_priv.h"

static void test_hosts(void **state)
{
    static const struct {
        const char *host, *fqdn;
    } cases[] = {
        {"catalog", "catalog.shop.svc.cluster.local"},
        {"catalog.shop.svc", "catalog.shop.svc.cluster.local"},
        {"catalog.shop.svc.cluster.local", "catalog.shop.svc.cluster.local"},
        {"example.com", "example.com"},
        {"*", "*"},
        {"", ""},
    };
    struct arena a;
    struct str service, namespace;
    arena_init(&a, 256);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_str(api_host_fqdn(&a, str_from_c(cases[i].host), STR("shop")), cases[i].fqdn);
    assert_true(api_host_split(STR("catalog.shop.svc.cluster.local"), &service, &namespace));
    assert_str(service, "catalog");
    assert_str(namespace, "shop");
    assert_false(api_host_split(STR("shop.svc.cluster.local"), &service, &namespace));
    assert_false(api_host_split(STR("a.b.c.svc.cluster.local"), &service, &namespace));
    assert_false(api_host_split(STR(".shop.svc.cluster.local"), &service, &namespace));
    assert_false(api_host_split(STR("svc.cluster.local"), &service, &namespace));
    assert_false(api_host_split(STR("example.com"), &service, &namespace));
    arena_deinit(&a);
}

static void test_protocols(void **state)
{
    static const struct {
        const char *name, *app_protocol, *protocol;
    } cases[] = {
        {"http", "", "http"},
        {"http-web", "", "http"},
        {"http2", "", "http2"},
        {"grpc", "", "grpc"},
        {"grpc-web", "", "http"},
        {"grpc-web-edge", "", "http"},
        {"grpc-webby", "", "grpc"},
        {"tcp-redis", "", "tcp"},
        {"https", "", "tls"},
        {"web", "", "auto"},
        {"", "", "auto"},
        {"httpish", "", "auto"},
        {"web", "http2", "http2"},
        {"http", "kubernetes.io/h2c", "http2"},
        {"http", "example.com/x", "http"},
        {"mysql", "", "tcp"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_string_equal(api_protocol_name(api_protocol_of_port(
                                str_from_c(cases[i].name), str_from_c(cases[i].app_protocol))),
                            cases[i].protocol);
}

static void test_labels(void **state)
{
    struct api_label v[] = {{STR("app"), STR("a")}, {STR("version"), STR("v1")}};
    struct api_labels all = {v, 2}, first = {v, 1}, none = {NULL, 0};
    struct api_label other_v = {STR("app"), STR("b")};
    struct api_labels other = {&other_v, 1};
    struct str value;
    assert_true(api_labels_match(&none, &all));
    assert_true(api_labels_match(&first, &all));
    assert_false(api_labels_match(&all, &first));
    assert_false(api_labels_match(&other, &all));
    assert_true(api_labels_get(&all, STR("version"), &value));
    assert_str(value, "v1");
    assert_false(api_labels_get(&all, STR("nope"), NULL));
}

static void test_kinds(void **state)
{
    static const struct {
        const char *name;
        enum api_kind kind;
    } cases[] = {
        {"VirtualService", API_KIND_VIRTUAL_SERVICE},
        {"virtualservices", API_KIND_VIRTUAL_SERVICE},
        {"VS", API_KIND_VIRTUAL_SERVICE},
        {"vs.networking.istio.io", API_KIND_VIRTUAL_SERVICE},
        {"svc", API_KIND_SERVICE},
        {"authorizationpolicies", API_KIND_AUTHORIZATION_POLICY},
        {"mesh", API_KIND_MESH},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct api_kind_info *k = api_kind_parse(str_from_c(cases[i].name));
        assert_non_null(k);
        assert_int_equal(k->kind, cases[i].kind);
    }
    for (size_t i = 0; i < API_KIND_COUNT; i++) {
        const struct api_kind_info *k = api_kind_info((enum api_kind)i);
        assert_ptr_equal(k, api_kind_by_path(str_from_c(k->group), str_from_c(k->versions[0]),
                                             str_from_c(k->plural)));
    }
    assert_null(api_kind_parse(STR("vs.security.istio.io")));
    assert_null(api_kind_parse(STR("")));
    assert_null(api_kind_by_path(STR("networking.istio.io"), STR("v9"), STR("virtualservices")));
    assert_null(api_kind_by_document(STR("v1"), STR("VirtualService")));
    assert_non_null(
        api_kind_by_document(STR("networking.istio.io/v1alpha3"), STR("VirtualService")));
    assert_true(api_kind_is_known_elsewhere(STR("apps/v1"), STR("Deployment")));
    assert_false(api_kind_is_known_elsewhere(STR("example.com/v1"), STR("Gateway")));
    assert_string_equal(api_kind_nearest(STR("Virtualservces")), "VirtualService");
    assert_null(api_kind_nearest(STR("Banana")));
}

static void test_nearest(void **state)
{
    assert_int_equal(nearest_distance(STR("abc"), STR("abc"), 3), 0);
    assert_int_equal(nearest_distance(STR("abc"), STR("ABC"), 3), 0);
    assert_int_equal(nearest_distance(STR("abc"), STR("acb"), 3), 1);
    assert_int_equal(nearest_distance(STR("abc"), STR("abcd"), 3), 1);
    assert_int_equal(nearest_distance(STR(""), STR("abc"), 3), 3);
    assert_int_equal(nearest_distance(STR("kitten"), STR("sitting"), 3), 3);
    assert_int_equal(nearest_distance(STR("abc"), STR("xyz"), 2), 3);
}

static void test_names(void **state)
{
    assert_true(name_is_dns_label(STR("a-1")));
    assert_false(name_is_dns_label(STR("-a")));
    assert_false(name_is_dns_label(STR("A")));
    assert_false(name_is_dns_label(STR("a.b")));
    assert_false(name_is_dns_label(STR("")));
    assert_true(name_is_dns_subdomain(STR("a.b-c.d")));
    assert_false(name_is_dns_subdomain(STR("a..b")));
    assert_false(name_is_dns_subdomain(STR("a.")));
    assert_false(name_is_dns_subdomain(STR("../a")));
    assert_true(name_is_header(STR("X-User_1")));
    assert_false(name_is_header(STR("x:y")));
    assert_false(name_is_header(STR("")));
    assert_false(name_is_header_value(STR("a\r\nb")));
    assert_true(name_is_host(STR("*.example.com"), true));
    assert_false(name_is_host(STR("*.example.com"), false));
    assert_true(name_is_label_key(STR("app.kubernetes.io/name")));
    assert_false(name_is_label_key(STR("/name")));
    assert_true(name_is_label_value(STR("")));
    assert_false(name_is_label_value(STR("a/b")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hosts),   cmocka_unit_test(test_protocols),
        cmocka_unit_test(test_labels),  cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_nearest), cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
