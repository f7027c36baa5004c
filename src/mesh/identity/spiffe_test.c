#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/err.h"
#include "mesh/identity/spiffe.h"

static const struct {
    const char *text, *trust_domain, *namespace_, *account; /* trust_domain NULL: refused */
} cases[] = {
    {"spiffe://mesh.local/ns/shop/sa/orders-sa", "mesh.local", "shop", "orders-sa"},
    {"spiffe://cluster.local/ns/default/sa/default", "cluster.local", "default", "default"},
    {"spiffe://a/ns/b/sa/C_d.e", "a", "b", "C_d.e"},
    {"", NULL, NULL, NULL},
    {"spiffe://", NULL, NULL, NULL},
    {"spiffe://mesh.local", NULL, NULL, NULL},
    {"spiffe://mesh.local/", NULL, NULL, NULL},
    {"spiffe://mesh.local/ns/shop", NULL, NULL, NULL},
    {"spiffe://mesh.local/ns/shop/sa", NULL, NULL, NULL},
    {"spiffe://mesh.local/ns/shop/sa/", NULL, NULL, NULL},
    {"spiffe://mesh.local/ns//sa/x", NULL, NULL, NULL},
    {"spiffe:///ns/shop/sa/x", NULL, NULL, NULL},
    {"spiffe://Mesh.local/ns/shop/sa/x", NULL, NULL, NULL},
    {"spiffe://mesh.local:443/ns/shop/sa/x", NULL, NULL, NULL},
    {"spiffe://u@mesh.local/ns/shop/sa/x", NULL, NULL, NULL},
    {"SPIFFE://mesh.local/ns/shop/sa/x", NULL, NULL, NULL},
    {"https://mesh.local/ns/shop/sa/x", NULL, NULL, NULL},
    {"spiffe://mesh.local/ns/shop/sa/x/", NULL, NULL, NULL},
    {"spiffe://mesh.local/ns/shop/sa/x/y", NULL, NULL, NULL},
    {"spiffe://mesh.local/ns/shop/sa/x?q", NULL, NULL, NULL},
    {"spiffe://mesh.local/ns/shop/sa/x#f", NULL, NULL, NULL},
    {"spiffe://mesh.local/ns/./sa/x", NULL, NULL, NULL},
    {"spiffe://mesh.local/ns/shop/sa/..", NULL, NULL, NULL},
    {"spiffe://mesh.local/ns/sh%6fp/sa/x", NULL, NULL, NULL},
    {"spiffe://mesh.local/sa/x/ns/shop", NULL, NULL, NULL},
    {"spiffe://mesh.local/ns/shop/sa/x y", NULL, NULL, NULL},
};

static void assert_str(struct str got, const char *want)
{
    assert_int_equal(got.len, strlen(want));
    assert_memory_equal(got.ptr, want, got.len);
}

static void test_parse_and_format(void **state)
{
    struct arena a;
    arena_init(&a, 256);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct spiffe_id id = {.namespace_ = STR("untouched")};
        int rc = spiffe_parse(str_from_c(cases[i].text), &id);
        if (cases[i].trust_domain == NULL) {
            if (rc != -ERR_INVALID)
                fail_msg("taken: %s", cases[i].text);
            assert_str(id.namespace_, "untouched");
            continue;
        }
        if (rc != 0)
            fail_msg("refused: %s", cases[i].text);
        assert_str(id.trust_domain, cases[i].trust_domain);
        assert_str(id.namespace_, cases[i].namespace_);
        assert_str(id.service_account, cases[i].account);
        assert_str(spiffe_format(&a, &id), cases[i].text);
    }
    arena_deinit(&a);
}

static void test_embedded_nul_and_length_are_refused(void **state)
{
    struct spiffe_id id;
    assert_int_equal(spiffe_parse(STR("spiffe://m/ns/a/sa/b\0c"), &id), -ERR_INVALID);
    char text[4096];
    int len = snprintf(text, sizeof text, "spiffe://m/ns/a/sa/%03000d", 1);
    assert_int_equal(spiffe_parse(str_from(text, (size_t)len), &id), -ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_and_format),
        cmocka_unit_test(test_embedded_nul_and_length_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
