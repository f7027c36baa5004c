/* Selectors in the forms that Kubernetes' clients write, and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/err.h"
#include "control/server/selector.h"

struct row {
    const char *text, *labels;
    bool is_taken;
};

static void test_labels(void **unused)
{
    static const struct row rows[] = {
        {"", "{}", true},
        {"a", "{\"a\":\"\"}", true},
        {"a", "{}", false},
        {"!a", "{}", true},
        {"!a", "{\"a\":\"x\"}", false},
        {"a=b", "{\"a\":\"b\"}", true},
        {"a==b", "{\"a\":\"b\"}", true},
        {"a = b", "{\"a\":\"b\"}", true},
        {"a=b", "{\"a\":\"c\"}", false},
        {"a=", "{\"a\":\"\"}", true},
        {"a!=b", "{\"a\":\"c\"}", true},
        {"a!=b", "{}", true},
        {"a!=b", "{\"a\":\"b\"}", false},
        {"a in (b,c)", "{\"a\":\"c\"}", true},
        {"a in (b, c)", "{\"a\":\"d\"}", false},
        {"a in (b)", "{}", false},
        {"a notin (b,c)", "{\"a\":\"d\"}", true},
        {"a notin (b,c)", "{}", true},
        {"a notin (b,c)", "{\"a\":\"b\"}", false},
        {"a in (,b)", "{\"a\":\"\"}", true},
        {"a=b,c=d", "{\"a\":\"b\",\"c\":\"d\"}", true},
        {"a=b,c=d", "{\"a\":\"b\"}", false},
        {"a in (b),!c, d!=e", "{\"a\":\"b\"}", true},
        {"app.kubernetes.io/name=web", "{\"app.kubernetes.io/name\":\"web\"}", true},
        {"in in (in)", "{\"in\":\"in\"}", true},
        {"inner", "{\"inner\":\"x\"}", true},
    };
    (void)unused;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena a;
        struct selector s;
        const struct json *labels;
        const char *why = NULL;
        arena_init(&a, 1024);
        assert_int_equal(json_parse(&a, str_from_c(rows[i].labels), 1000, &labels, NULL), 0);
        if (selector_parse_labels(&a, str_from_c(rows[i].text), &s, &why) != 0)
            fail_msg("%s: %s", rows[i].text, why);
        if (selector_takes_labels(&s, labels) != rows[i].is_taken)
            fail_msg("%s on %s", rows[i].text, rows[i].labels);
        arena_deinit(&a);
    }
}

static void test_what_is_none(void **unused)
{
    static const char *const labels[] = {"=a",      "a=b,",     "a b",     ",",    "a in b",
                                         "a in (b", "a in ()x", "a=b c",   "!a=b", "a>1",
                                         "!",       "!=b",      "a=\"b\"", "a(b)", "a,,b"};
    static const char *const fields[] = {"spec.host=x", "metadata.name", "!metadata.name",
                                         "metadata.name in (a,b)", "metadata.name=a b"};
    struct arena a;
    struct selector s;
    const char *why;
    (void)unused;
    arena_init(&a, 1024);
    for (size_t i = 0; i < ARRAY_LEN(labels); i++) {
        if (selector_parse_labels(&a, str_from_c(labels[i]), &s, &why) != -ERR_INVALID)
            fail_msg("%s", labels[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (selector_parse_fields(&a, str_from_c(fields[i]), &s, &why) != -ERR_INVALID)
            fail_msg("%s", fields[i]);
    }
    arena_deinit(&a);
}

static void test_bounds(void **unused)
{
    struct arena a;
    struct selector s;
    const char *why;
    struct str_buf text = STR_BUF_INIT(1 << 16);
    (void)unused;
    arena_init(&a, 1024);
    for (int i = 0; i <= SELECTOR_TERMS_MAX; i++)
        str_buf_printf(&text, "%sa", i > 0 ? "," : "");
    assert_int_equal(selector_parse_labels(&a, str_buf_str(&text), &s, &why), -ERR_INVALID);
    str_buf_reset(&text);
    str_buf_add_c(&text, "a in (");
    for (int i = 0; i <= SELECTOR_VALUES_MAX; i++)
        str_buf_add_c(&text, "a,");
    str_buf_add_c(&text, "a)");
    assert_int_equal(selector_parse_labels(&a, str_buf_str(&text), &s, &why), -ERR_INVALID);
    str_buf_deinit(&text);
    arena_deinit(&a);
}

static void test_fields(void **unused)
{
    struct arena a;
    struct selector s;
    const char *why;
    (void)unused;
    arena_init(&a, 1024);
    assert_int_equal(
        selector_parse_fields(&a, STR("metadata.name=x,metadata.namespace!=kube"), &s, &why), 0);
    assert_true(selector_takes_fields(&s, STR("shop"), STR("x")));
    assert_false(selector_takes_fields(&s, STR("kube"), STR("x")));
    assert_false(selector_takes_fields(&s, STR("shop"), STR("y")));
    assert_true(str_eq(selector_only_name(&s), STR("x")));
    assert_int_equal(selector_parse_fields(&a, STR("metadata.name!=x"), &s, &why), 0);
    assert_true(selector_takes_fields(&s, STR("shop"), STR("y")));
    assert_null(selector_only_name(&s).ptr);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_what_is_none),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
