/* The bootstrap of apps that speak xDS themselves, and the socket that it leads to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "codec/json.h"
#include "mesh/model/cluster.h"
#include "mesh/model/listener.h"
#include "proxy/agent/proxyless.h"

enum { TEXT_MAX = 64 * 1024 };

static struct proxyless_args args(void)
{
    struct proxyless_args a = {.state_dir = STR("/var/lib/x"),
                               .node_id = STR("sidecar~\"1\""),
                               .namespace_ = STR("shop"),
                               .workload = STR("web"),
                               .server_name = STR("tulled"),
                               .index = 3};
    assert_true(addr_parse(STR("10.77.0.2:15012"), &a.discovery));
    return a;
}

static struct str text_at(const struct json *v, const char *key)
{
    return json_str_or(json_get(v, key), STR_NULL);
}

static void test_bootstrap(void **state)
{
    const struct proxyless_args a = args();
    const struct json *root;
    struct str_buf text = STR_BUF_INIT(TEXT_MAX);
    struct arena arena;
    uint64_t index;
    (void)state;
    arena_init(&arena, 4096);
    proxyless_bootstrap(&a, &text);
    assert_int_equal(json_parse(&arena, str_buf_str(&text), TEXT_MAX, &root, NULL), 0);
    const struct json *server = json_at(json_get(root, "xds_servers"), 0);
    assert_true(str_eq(text_at(server, "server_uri"), STR("unix:///var/lib/x/xds.sock")));
    const struct json *node = json_get(root, "node"), *metadata = json_get(node, "metadata");
    assert_true(str_eq(text_at(node, "id"), STR("sidecar~\"1\"")));
    assert_non_null(json_get(node, "locality")); /* grpc-js takes none without */
    assert_true(str_eq(text_at(metadata, "DIALECT"), STR("grpc")));
    assert_true(json_u64(json_get(metadata, "INDEX"), &index) && index == 3);
    const struct json *provider = json_get(json_get(root, "certificate_providers"), "default");
    assert_true(str_eq(text_at(json_get(provider, "config"), "private_key_file"),
                       STR("/var/lib/x/identity/key.pem")));
    str_buf_deinit(&text);
    arena_deinit(&arena);
}

static void test_the_way_to_the_control_plane(void **state)
{
    const struct proxyless_args a = args();
    struct resource *own[PROXYLESS_COUNT];
    (void)state;
    proxyless_resources(&a, own);
    const struct cluster *cluster = own[0]->cluster;
    const struct listener *listener = own[1]->listener;
    assert_true(str_eq(listener->address.path, STR("/var/lib/x/xds.sock")));
    assert_int_equal(listener->default_chain->filters[0].kind, NETWORK_FILTER_TCP_PROXY);
    assert_int_equal(listener->default_chain->filters[0].tcp_proxy->idle_timeout_us, 0);
    assert_int_equal(cluster->inline_endpoints->items[0].address.port, 15012);
    /* Nobody else is taken for the control plane, whatever certificate of the mesh he has. */
    assert_int_equal(cluster->tls->common.san_count, 1);
    assert_int_equal(cluster->tls->common.sans[0].type, TLS_SAN_TYPE_DNS);
    assert_true(str_eq(cluster->tls->common.sans[0].match.value, STR("tulled")));
    for (size_t i = 0; i < PROXYLESS_COUNT; i++)
        resource_unref(own[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bootstrap),
        cmocka_unit_test(test_the_way_to_the_control_plane),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
