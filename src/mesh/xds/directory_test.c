/* What a directory costs, and where its strings lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mesh/model/directory.h"
#include "mesh/xds/codec.h"

enum { SERVICES = 10000, WIRE_MAX = 4 << 20, SERVICE_BYTES_MAX = 160 };

static struct resource *decode(struct str wire)
{
    struct str_buf why = STR_BUF_INIT(4096);
    struct resource *r = NULL;
    if (xds_decode(RESOURCE_DIRECTORY, wire, &why, &r) != 0)
        fail_msg("%s", why.ptr);
    str_buf_deinit(&why);
    return r;
}

static struct resource *round_trip(const struct directory *d)
{
    struct str_buf wire = STR_BUF_INIT(WIRE_MAX);
    assert_int_equal(xds_encode(RESOURCE_DIRECTORY, d->namespace_, d, XDS_DIALECT_TULLE, &wire), 0);
    struct resource *r = decode(str_buf_str(&wire));
    str_buf_deinit(&wire);
    return r;
}

static bool is_in_wire(const struct resource *r, struct str s)
{
    return s.ptr >= r->wire.ptr && s.ptr + s.len <= r->wire.ptr + r->wire.len;
}

/* Each proxy holds all services of the mesh: what one costs is bounded, its message included. */
static void test_size(void **state)
{
    static const struct directory_port ports[] = {{8080, PROTOCOL_HTTP}, {9090, PROTOCOL_GRPC}};
    struct arena a;
    (void)state;
    arena_init(&a, 4096);
    struct directory_service *services = ARENA_ARRAY(&a, struct directory_service, SERVICES);
    for (size_t i = 0; i < SERVICES; i++) {
        uint8_t v6[16] = {0xfd, [14] = (uint8_t)(i >> 8), [15] = (uint8_t)i};
        services[i] = (struct directory_service){
            .host = arena_printf(&a, "s%zu.shop.svc.cluster.local", i),
            .addresses = {ip_v4(240, 240, (uint8_t)(i >> 8), (uint8_t)i), ip_from_bytes(v6, 16)},
            .ports = ports,
            .port_count = 1 + i / (SERVICES / 2),
        };
    }
    struct directory d = {
        .namespace_ = STR("shop"), .services = services, .service_count = SERVICES};
    struct resource *r = round_trip(&d);
    assert_int_equal(r->directory->service_count, SERVICES);
    for (size_t i = 0; i < SERVICES; i++) {
        const struct directory_service *s = directory_find_host(r->directory, services[i].host);
        assert_non_null(s);
        assert_true(is_in_wire(r, s->host));
        assert_int_equal(s->port_count, services[i].port_count);
        assert_int_equal(s->ports[s->port_count - 1].port, ports[s->port_count - 1].port);
    }
    if (arena_size(&r->arena) > (size_t)SERVICES * SERVICE_BYTES_MAX)
        fail_msg("%zu bytes a service", arena_size(&r->arena) / SERVICES);
    resource_unref(r);
    arena_deinit(&a);
}

static void test_hosts_are_lower_case(void **state)
{
    struct directory_service services[] = {{.host = STR("A.Shop")}, {.host = STR("b.shop")}};
    struct directory d = {.namespace_ = STR("shop"), .services = services, .service_count = 2};
    (void)state;
    struct resource *r = round_trip(&d);
    assert_true(str_eq(r->directory->services[0].host, STR("a.shop")));
    assert_non_null(directory_find_host(r->directory, STR("a.shop")));
    assert_true(is_in_wire(r, r->directory->services[1].host));
    resource_unref(r);
}

/* Fields may come in any order: what does not lie where it is looked for is copied. */
static void test_any_order(void **state)
{
    static const char wire[] = "\x0a\x04shop"
                               "\x32\x11\x1a\x04name\x12\x09spiffe://"
                               "\x32\x05\x1a\x03two"
                               "\x2a\x03\x0a\x01s";
    (void)state;
    struct resource *r = decode(str_from(wire, sizeof wire - 1));
    const struct directory *d = r->directory;
    assert_int_equal(d->workload_count, 2);
    assert_true(str_eq(d->workloads[0].identity, STR("spiffe://")));
    assert_true(str_eq(d->workloads[0].name, STR("name")));
    assert_true(str_eq(d->workloads[1].name, STR("two")));
    assert_true(str_eq(d->services[0].host, STR("s")));
    resource_unref(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_hosts_are_lower_case),
        cmocka_unit_test(test_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
