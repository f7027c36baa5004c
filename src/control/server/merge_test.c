/* RFC 7396's examples (appendix A), and what strategic patches do to lists. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/err.h"
#include "codec/json_writer.h"
#include "control/server/merge.h"

static const struct json *parse(struct arena *a, const char *text)
{
    const struct json *root;
    assert_int_equal(json_parse(a, str_from_c(text), 10000, &root, NULL), 0);
    return root;
}

static const char *text_of(struct arena *a, const struct json *v)
{
    struct str_buf out = STR_BUF_INIT(10000);
    struct json_writer w;
    json_writer_init(&w, &out, 0);
    json_writer_tree(&w, NULL, v);
    const char *text = arena_str(a, str_buf_str(&out)).ptr;
    str_buf_deinit(&out);
    return text;
}

static void test_the_examples_of_rfc_7396(void **unused)
{
    static const struct {
        const char *target, *patch, *want;
    } rows[] = {
        {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"a\":null}", "{}"},
        {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
        {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
        {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}"},
        {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
        {"[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]"},
        {"{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]"},
        {"{\"a\":\"foo\"}", "null", "null"},
        {"{\"a\":\"foo\"}", "\"bar\"", "\"bar\""},
        {"{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}"},
        {"[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}"},
        {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
    };
    (void)unused;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena a;
        arena_init(&a, 1024);
        const struct json *got =
            merge_patch(&a, parse(&a, rows[i].target), parse(&a, rows[i].patch));
        assert_string_equal(text_of(&a, got), rows[i].want);
        arena_deinit(&a);
    }
}

static void test_strategic(void **unused)
{
    static const struct {
        const char *target, *patch, *want;
    } rows[] = {
        {"{\"ports\":[{\"port\":1,\"name\":\"a\"},{\"port\":2}]}",
         "{\"ports\":[{\"port\":1,\"name\":\"b\"},{\"port\":3}]}",
         "{\"ports\":[{\"port\":1,\"name\":\"b\"},{\"port\":2},{\"port\":3}]}"},
        {"{\"ports\":[{\"port\":1},{\"port\":2}]}",
         "{\"$setElementOrder/"
         "ports\":[{\"port\":2}],\"ports\":[{\"port\":1,\"$patch\":\"delete\"}]}",
         "{\"ports\":[{\"port\":2}]}"},
        {"{\"other\":[1,2]}", "{\"other\":[3]}", "{\"other\":[3]}"},
        {"{\"f\":[\"a\",\"b\"]}", "{\"$deleteFromPrimitiveList/f\":[\"a\"]}", "{\"f\":[\"b\"]}"},
        {"{\"spec\":{\"a\":1,\"b\":2}}", "{\"spec\":{\"$patch\":\"replace\",\"c\":3}}",
         "{\"spec\":{\"c\":3}}"},
        {"{\"spec\":{\"a\":1}}", "{\"spec\":{\"$retainKeys\":[\"a\"],\"a\":2}}",
         "{\"spec\":{\"a\":2}}"},
        {"{\"a\":1}", "{\"ports\":[{\"port\":1,\"$patch\":\"delete\"},{\"port\":2}]}",
         "{\"a\":1,\"ports\":[{\"port\":2}]}"},
    };
    (void)unused;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena a;
        const struct json *got;
        arena_init(&a, 1024);
        assert_int_equal(
            merge_strategic(&a, parse(&a, rows[i].target), parse(&a, rows[i].patch), &got), 0);
        assert_string_equal(text_of(&a, got), rows[i].want);
        arena_deinit(&a);
    }
}

static void test_unknown_directives_are_refused(void **unused)
{
    static const char *const patches[] = {"{\"$patch\":\"fly\"}", "{\"a\":{\"$other\":1}}",
                                          "{\"ports\":[{\"port\":1,\"$x\":1}]}"};
    (void)unused;
    for (size_t i = 0; i < ARRAY_LEN(patches); i++) {
        struct arena a;
        const struct json *got;
        arena_init(&a, 1024);
        assert_int_equal(merge_strategic(&a, parse(&a, "{\"ports\":[{\"port\":1}],\"a\":{}}"),
                                         parse(&a, patches[i]), &got),
                         -ERR_UNSUPPORTED);
        arena_deinit(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_examples_of_rfc_7396),
        cmocka_unit_test(test_strategic),
        cmocka_unit_test(test_unknown_directives_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
