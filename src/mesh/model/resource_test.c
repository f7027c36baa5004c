#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "mesh/model/directory.h"
#include "mesh/model/resource.h"

static void assert_str(struct str got, const char *want)
{
    assert_int_equal(got.len, strlen(want));
    assert_memory_equal(got.ptr, want, got.len);
}

static void test_type_urls_go_both_ways(void **state)
{
    for (unsigned i = 0; i < RESOURCE_TYPE_COUNT; i++) {
        enum resource_type type = (enum resource_type)i, back = RESOURCE_TYPE_COUNT;
        assert_true(resource_type_from_url(resource_type_url(type), &back));
        assert_int_equal(back, type);
        assert_true(strlen(resource_type_name(type)) > 0);
    }
    enum resource_type type = RESOURCE_SECRET;
    assert_false(resource_type_from_url(STR("envoy.config.listener.v3.Listener"), &type));
    assert_false(resource_type_from_url(STR_NULL, &type));
    assert_int_equal(type, RESOURCE_SECRET);
    assert_string_equal(resource_type_name(RESOURCE_ENDPOINTS), "endpoints");
}

static void test_the_last_reference_frees(void **state)
{
    char name[] = "catalog:8080";
    struct resource *r = resource_new(RESOURCE_CLUSTER, str_from_c(name));
    memset(name, 'x', sizeof(name) - 1); /* the name is the resource's own */
    assert_str(r->name, "catalog:8080");
    assert_ptr_equal(resource_hold(r), r);
    assert_null(resource_unref(r));
    assert_str(r->name, "catalog:8080");
    assert_null(resource_unref(r));
    assert_null(resource_unref(NULL));
}

static void test_detail_names(void **state)
{
    struct arena a;
    arena_init(&a, 64);
    assert_str(directory_detail_name(&a, STR("catalog.shop.svc.cluster.local"), 8080),
               "catalog.shop.svc.cluster.local:8080");
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_type_urls_go_both_ways),
        cmocka_unit_test(test_the_last_reference_frees),
        cmocka_unit_test(test_detail_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
