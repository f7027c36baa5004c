#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mesh/model/directory.h"

enum { SERVICES = 3000 };

static struct ip_addr v4(size_t n)
{
    return ip_v4(240, 240, (uint8_t)(n >> 8), (uint8_t)n);
}

static struct ip_addr v6(size_t n)
{
    uint8_t bytes[16] = {0xfd, [14] = (uint8_t)(n >> 8), [15] = (uint8_t)n};
    return ip_from_bytes(bytes, sizeof bytes);
}

static struct directory *make_many(struct arena *a)
{
    struct directory *d = ARENA_NEW(a, struct directory);
    struct directory_service *services = ARENA_ARRAY(a, struct directory_service, SERVICES);
    for (size_t i = 0; i < SERVICES; i++) {
        services[i].host = arena_printf(a, "s%zu.shop.svc.cluster.local", i);
        services[i].addresses[0] = v4(i);
        services[i].addresses[1] = v6(i);
    }
    d->services = services;
    d->service_count = SERVICES;
    return d;
}

static const struct directory_service *service_at(const struct directory *d, struct ip_addr ip)
{
    const struct directory_service *s = NULL;
    const struct directory_workload *w = NULL;
    directory_find_ip(d, &ip, &s, &w);
    return s;
}

static const struct directory_workload *workload_at(const struct directory *d, struct ip_addr ip)
{
    const struct directory_service *s = NULL;
    const struct directory_workload *w = NULL;
    directory_find_ip(d, &ip, &s, &w);
    return w;
}

static void test_all_are_found(void **state)
{
    struct arena a;
    (void)state;
    arena_init(&a, 4096);
    struct directory *d = make_many(&a);
    directory_index(d, &a);
    for (size_t i = 0; i < SERVICES; i++) {
        assert_ptr_equal(directory_find_host(d, d->services[i].host), &d->services[i]);
        assert_ptr_equal(service_at(d, v4(i)), &d->services[i]);
        assert_ptr_equal(service_at(d, v6(i)), &d->services[i]);
    }
    assert_null(directory_find_host(d, STR("s3000.shop.svc.cluster.local")));
    assert_null(directory_find_host(d, STR_NULL));
    assert_null(service_at(d, v4(SERVICES)));
    assert_null(service_at(d, (struct ip_addr){0}));
    arena_deinit(&a);
}

static void test_nothing(void **state)
{
    struct arena a;
    struct directory d = {0};
    (void)state;
    arena_init(&a, 4096);
    assert_null(directory_find_host(&d, STR("a"))); /* not even a table */
    assert_null(service_at(&d, v4(1)));
    directory_index(&d, &a);
    assert_null(directory_find_host(&d, STR("a")));
    assert_null(service_at(&d, v4(1)));
    arena_deinit(&a);
}

/* Who has an address that several claim: a service before a replica, of equals the last. */
static void test_claims(void **state)
{
    struct arena a;
    (void)state;
    arena_init(&a, 4096);
    struct directory_service services[3] = {
        {.host = STR("a"), .addresses = {v4(1), v6(1)}},
        {.host = STR("b"), .addresses = {v4(2)}},
        {.host = STR("a"), .addresses = {v4(1)}},
    };
    struct directory_workload workloads[3] = {
        {.name = STR("liar"), .addresses = {v4(2), v6(9)}},
        {.name = STR("old"), .addresses = {v4(7), v6(7)}},
        {.name = STR("new"), .addresses = {v4(7)}},
    };
    struct directory d = {
        .services = services, .service_count = 3, .workloads = workloads, .workload_count = 3};
    directory_index(&d, &a);
    assert_ptr_equal(directory_find_host(&d, STR("a")), &services[2]);
    assert_ptr_equal(service_at(&d, v4(1)), &services[2]);
    assert_ptr_equal(service_at(&d, v6(1)), &services[0]);
    assert_ptr_equal(service_at(&d, v4(2)), &services[1]);
    assert_null(workload_at(&d, v4(2)));
    assert_ptr_equal(workload_at(&d, v6(9)), &workloads[0]);
    assert_ptr_equal(workload_at(&d, v4(7)), &workloads[2]);
    assert_ptr_equal(workload_at(&d, v6(7)), &workloads[1]);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_are_found),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_claims),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
