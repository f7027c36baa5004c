/* RFC 6902's examples (appendix A), and what must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/err.h"
#include "codec/json_writer.h"
#include "control/server/json_patch.h"

static const struct json *parse(struct arena *a, const char *text)
{
    const struct json *root;
    assert_int_equal(json_parse(a, str_from_c(text), 1 << 20, &root, NULL), 0);
    return root;
}

static const char *text_of(struct arena *a, const struct json *v)
{
    struct str_buf out = STR_BUF_INIT(1 << 20);
    struct json_writer w;
    json_writer_init(&w, &out, 0);
    json_writer_tree(&w, NULL, v);
    const char *text = arena_str(a, str_buf_str(&out)).ptr;
    str_buf_deinit(&out);
    return text;
}

#define OP(op, path, rest) "[{\"op\":\"" op "\",\"path\":\"" path "\"" rest "}]"

struct row {
    const char *target, *acts, *want; /* want NULL: refused */
    int err;
};

static void check(const struct row *r)
{
    struct arena a;
    const struct json *got = NULL;
    const char *why = "";
    arena_init(&a, 4096);
    int err = json_patch(&a, parse(&a, r->target), parse(&a, r->acts), &got, &why);
    if (err != r->err)
        print_error("%s: %s\n", r->acts, why);
    assert_int_equal(err, r->err);
    if (err == 0)
        assert_string_equal(text_of(&a, got), r->want);
    else
        assert_true(strlen(why) > 0);
    arena_deinit(&a);
}

static void test_the_examples_of_rfc_6902(void **unused)
{
    static const struct row rows[] = {
        {"{\"foo\":\"bar\"}", OP("add", "/baz", ",\"value\":\"qux\""),
         "{\"foo\":\"bar\",\"baz\":\"qux\"}", 0},
        {"{\"foo\":[\"bar\",\"baz\"]}", OP("add", "/foo/1", ",\"value\":\"qux\""),
         "{\"foo\":[\"bar\",\"qux\",\"baz\"]}", 0},
        {"{\"baz\":\"qux\",\"foo\":\"bar\"}", OP("remove", "/baz", ""), "{\"foo\":\"bar\"}", 0},
        {"{\"foo\":[\"bar\",\"qux\",\"baz\"]}", OP("remove", "/foo/1", ""),
         "{\"foo\":[\"bar\",\"baz\"]}", 0},
        {"{\"baz\":\"qux\",\"foo\":\"bar\"}", OP("replace", "/baz", ",\"value\":\"boo\""),
         "{\"baz\":\"boo\",\"foo\":\"bar\"}", 0},
        {"{\"foo\":{\"bar\":\"baz\",\"waldo\":\"fred\"},\"qux\":{\"corge\":\"grault\"}}",
         OP("move", "/qux/thud", ",\"from\":\"/foo/waldo\""),
         "{\"foo\":{\"bar\":\"baz\"},\"qux\":{\"corge\":\"grault\",\"thud\":\"fred\"}}", 0},
        {"{\"foo\":[\"all\",\"grass\",\"cows\",\"eat\"]}",
         OP("move", "/foo/3", ",\"from\":\"/foo/1\""),
         "{\"foo\":[\"all\",\"cows\",\"eat\",\"grass\"]}", 0},
        {"{\"baz\":\"qux\",\"foo\":[\"a\",2,\"c\"]}",
         "[{\"op\":\"test\",\"path\":\"/baz\",\"value\":\"qux\"},"
         "{\"op\":\"test\",\"path\":\"/foo/1\",\"value\":2}]",
         "{\"baz\":\"qux\",\"foo\":[\"a\",2,\"c\"]}", 0},
        {"{\"baz\":\"qux\"}", OP("test", "/baz", ",\"value\":\"bar\""), NULL, -ERR_CONFLICT},
        {"{\"foo\":\"bar\"}", OP("add", "/child", ",\"value\":{\"grandchild\":{}}"),
         "{\"foo\":\"bar\",\"child\":{\"grandchild\":{}}}", 0},
        {"{\"foo\":\"bar\"}", OP("add", "/baz", ",\"value\":\"qux\",\"xyz\":123"),
         "{\"foo\":\"bar\",\"baz\":\"qux\"}", 0},
        {"{\"foo\":\"bar\"}", OP("add", "/baz/bat", ",\"value\":\"qux\""), NULL, -ERR_INVALID},
        {"{\"/\":9,\"~1\":10}", OP("test", "/~01", ",\"value\":10"), "{\"/\":9,\"~1\":10}", 0},
        {"{\"/\":9,\"~1\":10}", OP("test", "/~01", ",\"value\":\"10\""), NULL, -ERR_CONFLICT},
        {"{\"foo\":[\"bar\"]}", OP("add", "/foo/-", ",\"value\":[\"abc\",\"def\"]"),
         "{\"foo\":[\"bar\",[\"abc\",\"def\"]]}", 0},
    };
    (void)unused;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check(&rows[i]);
}

static void test_other_acts(void **unused)
{
    static const struct row rows[] = {
        {"{\"a\":1}", "[]", "{\"a\":1}", 0},
        {"{\"a\":1}", OP("replace", "", ",\"value\":{\"b\":2}"), "{\"b\":2}", 0},
        {"{\"a\":1}", OP("add", "/a", ",\"value\":2"), "{\"a\":2}", 0},
        {"{\"a\":{\"b\":1}}", OP("copy", "/c", ",\"from\":\"/a\""),
         "{\"a\":{\"b\":1},\"c\":{\"b\":1}}", 0},
        {"{\"a\":[1,2]}", OP("add", "/a/2", ",\"value\":3"), "{\"a\":[1,2,3]}", 0},
        {"{\"a\":1}", OP("add", "/", ",\"value\":0"), "{\"a\":1,\"\":0}", 0},
        {"{\"a\":1.0}", OP("test", "/a", ",\"value\":1"), "{\"a\":1.0}", 0},
        {"{\"a\":{\"x\":1,\"y\":2}}", OP("test", "/a", ",\"value\":{\"y\":2,\"x\":1}"),
         "{\"a\":{\"x\":1,\"y\":2}}", 0},
        {"{\"a\":null}", OP("test", "/a", ",\"value\":null"), "{\"a\":null}", 0},
        {"{\"a\":[{\"b\":1}]}", OP("replace", "/a/0/b", ",\"value\":2"), "{\"a\":[{\"b\":2}]}", 0},
        /* Nothing of it when one act fails. */
        {"{\"a\":1}", "[{\"op\":\"remove\",\"path\":\"/a\"},{\"op\":\"remove\",\"path\":\"/a\"}]",
         NULL, -ERR_INVALID},
    };
    (void)unused;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check(&rows[i]);
}

static void test_what_is_refused(void **unused)
{
    static const char *const acts[] = {
        "{}",
        "[1]",
        "[{}]",
        OP("fly", "/a", ""),
        OP("add", "/x", ""),
        OP("add", "a", ",\"value\":1"),
        OP("add", "/a/3", ",\"value\":1"),
        OP("add", "/a/01", ",\"value\":1"),
        OP("add", "/a/-1", ",\"value\":1"),
        OP("add", "/a/1e0", ",\"value\":1"),
        OP("add", "/a/0/b", ",\"value\":1"),
        OP("add", "/~2", ",\"value\":1"),
        OP("add", "/~", ",\"value\":1"),
        OP("remove", "", ""),
        OP("remove", "/b", ""),
        OP("remove", "/a/-", ""),
        OP("replace", "/b", ",\"value\":1"),
        OP("replace", "/a/2", ",\"value\":1"),
        OP("move", "/b", ""),
        OP("move", "/a/0/x", ",\"from\":\"/a\""),
        OP("copy", "/b", ",\"from\":\"/c\""),
        OP("test", "/b", ",\"value\":null"),
    };
    (void)unused;
    for (size_t i = 0; i < ARRAY_LEN(acts); i++)
        check(&(struct row){"{\"a\":[1,2]}", acts[i], NULL, -ERR_INVALID});
}

/* A few acts must not make a document that nobody can hold, or that is nested without end. */
static void test_growth_is_bounded(void **unused)
{
    struct str_buf acts = STR_BUF_INIT(1 << 20);
    (void)unused;
    str_buf_add_c(&acts, "[{\"op\":\"add\",\"path\":\"/x\",\"value\":[1,1,1,1,1,1,1,1]}");
    for (int i = 0; i < 40; i++)
        str_buf_add_c(&acts, ",{\"op\":\"copy\",\"from\":\"/x\",\"path\":\"/x/0\"},"
                             "{\"op\":\"copy\",\"from\":\"/x\",\"path\":\"/x/-\"}");
    str_buf_add_c(&acts, "]");
    check(&(struct row){"{}", acts.ptr, NULL, -ERR_INVALID});
    str_buf_reset(&acts);
    str_buf_add_c(&acts, "[");
    for (int i = 0; i < 200; i++)
        str_buf_printf(&acts, "%s{\"op\":\"move\",\"from\":\"\",\"path\":\"/a\"}",
                       i > 0 ? "," : "");
    str_buf_add_c(&acts, "]");
    check(&(struct row){"{\"a\":{}}", acts.ptr, NULL, -ERR_INVALID});
    /* Level by level. */
    str_buf_reset(&acts);
    str_buf_add_c(&acts, "[{\"op\":\"add\",\"path\":\"/a\",\"value\":{}}");
    struct str_buf path = STR_BUF_INIT(4096);
    str_buf_add_c(&path, "/a");
    for (int i = 0; i < 70; i++) {
        str_buf_add_c(&path, "/a");
        str_buf_printf(&acts, ",{\"op\":\"add\",\"path\":\"%s\",\"value\":{}}", path.ptr);
    }
    str_buf_add_c(&acts, "]");
    check(&(struct row){"{}", acts.ptr, NULL, -ERR_INVALID});
    str_buf_reset(&acts);
    str_buf_add_c(&acts, "[");
    for (int i = 0; i <= 500; i++)
        str_buf_printf(&acts, "%s{\"op\":\"add\",\"path\":\"/a\",\"value\":1}", i > 0 ? "," : "");
    str_buf_add_c(&acts, "]");
    check(&(struct row){"{}", acts.ptr, NULL, -ERR_INVALID});
    str_buf_deinit(&path);
    str_buf_deinit(&acts);
}

/* Every act makes what lies on its way anew: many of them on a long list, or beside long keys. */
static void test_work_is_bounded(void **unused)
{
    struct str_buf acts = STR_BUF_INIT(1 << 20), target = STR_BUF_INIT(1 << 20);
    (void)unused;
    str_buf_add_c(&acts, "[");
    for (int i = 0; i < 499; i++)
        str_buf_add_c(&acts, "{\"op\":\"add\",\"path\":\"/x/-\",\"value\":1},");
    str_buf_add_c(&acts, "{\"op\":\"replace\",\"path\":\"/x\",\"value\":1}]");
    check(&(struct row){"{\"x\":[]}", acts.ptr, "{\"x\":1}", 0});
    str_buf_add_c(&target, "{\"x\":[0");
    for (int i = 0; i < 20000; i++)
        str_buf_add_c(&target, ",0");
    str_buf_add_c(&target, "]}");
    check(&(struct row){target.ptr, acts.ptr, NULL, -ERR_INVALID});
    str_buf_reset(&target);
    str_buf_add_c(&target, "{\"x\":[],\"");
    for (int i = 0; i < 100000; i++)
        str_buf_add_c(&target, "k");
    str_buf_add_c(&target, "\":1}");
    check(&(struct row){target.ptr, acts.ptr, NULL, -ERR_INVALID});
    str_buf_deinit(&acts);
    str_buf_deinit(&target);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_examples_of_rfc_6902), cmocka_unit_test(test_other_acts),
        cmocka_unit_test(test_what_is_refused),          cmocka_unit_test(test_growth_is_bounded),
        cmocka_unit_test(test_work_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
