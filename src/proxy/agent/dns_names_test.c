#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "mesh/model/directory.h"
#include "proxy/agent/dns_names.h"

static struct resource *make_directory(const char *host)
{
    struct resource *r = resource_new(RESOURCE_DIRECTORY, STR("shop"));
    struct directory *d = ARENA_NEW(&r->arena, struct directory);
    struct directory_service *s = ARENA_NEW(&r->arena, struct directory_service);
    s->host = str_from_c(host);
    s->addresses[0] = ip_v4(240, 240, 0, 1);
    d->dns_suffix = STR("svc.cluster.local");
    d->services = s;
    d->service_count = 1;
    directory_index(d, &r->arena);
    r->directory = d;
    return r;
}

static void test_forms(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum dns_names_result result;
    } rows[] = {
        {"catalog", DNS_NAMES_FOUND},
        {"catalog.shop", DNS_NAMES_FOUND},
        {"catalog.shop.svc", DNS_NAMES_FOUND},
        {"catalog.shop.svc.cluster.local", DNS_NAMES_FOUND},
        {"orders", DNS_NAMES_FOREIGN},
        {"catalog.other", DNS_NAMES_FOREIGN},
        {"catalog.other.svc.cluster.local", DNS_NAMES_UNKNOWN},
        {"catalog.shop.shop.svc.cluster.local", DNS_NAMES_UNKNOWN},
        {"catalog.shop.cluster.local", DNS_NAMES_UNKNOWN},
        {"svc.cluster.local", DNS_NAMES_UNKNOWN},
        {"cluster.local", DNS_NAMES_UNKNOWN},
        {"xcluster.local", DNS_NAMES_FOREIGN},
        {"example.org", DNS_NAMES_FOREIGN},
        {"", DNS_NAMES_FOREIGN},
    };
    struct dns_names *n = dns_names_new(STR("shop"));
    struct resource *r = make_directory("catalog.shop.svc.cluster.local");
    dns_names_set(n, STR("shop"), r);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct ip_addr addrs[2];
        size_t count;
        enum dns_names_result got = dns_names_find(n, str_from_c(rows[i].name), addrs, &count);
        if (got != rows[i].result)
            fail_msg("%s: %d", rows[i].name, (int)got);
        assert_int_equal(count, got == DNS_NAMES_FOUND ? 1 : 0);
    }
    resource_unref(r);
    dns_names_free(n);
}

static void test_a_directory_goes(void **state)
{
    (void)state;
    struct dns_names *n = dns_names_new(STR("web"));
    struct resource *r = make_directory("catalog.shop.svc.cluster.local");
    struct ip_addr addrs[2];
    size_t count;
    dns_names_set(n, STR("shop"), r);
    assert_int_equal(dns_names_find(n, STR("catalog"), addrs, &count), DNS_NAMES_FOREIGN);
    assert_int_equal(dns_names_find(n, STR("catalog.shop"), addrs, &count), DNS_NAMES_FOUND);
    dns_names_set(n, STR("shop"), NULL);
    assert_int_equal(dns_names_find(n, STR("catalog.shop"), addrs, &count), DNS_NAMES_FOREIGN);
    assert_int_equal(dns_names_find(n, STR("catalog.shop.svc.cluster.local"), addrs, &count),
                     DNS_NAMES_UNKNOWN);
    resource_unref(r);
    dns_names_free(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_a_directory_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
