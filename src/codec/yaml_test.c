#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/err.h"
#include "codec/json.h"
#include "codec/json_writer.h"
#include "codec/yaml.h"

/* The documents as JSON, one a line. */
static void assert_reads(const char *text, const char *json)
{
    struct str_buf out = STR_BUF_INIT(1 << 20);
    struct yaml_stream s;
    struct arena a;

    arena_init(&a, 0);
    if (yaml_parse(&a, str_from_c(text), NULL, &s) != 0)
        fail_msg("%s: %u:%u %s", text, s.errors[0].line, s.errors[0].column, s.errors[0].text.ptr);
    for (uint32_t i = 0; i < s.document_count; i++) {
        struct json_writer w;

        if (i > 0)
            str_buf_add_char(&out, '\n');
        json_writer_init(&w, &out, 0);
        json_writer_tree(&w, NULL, yaml_to_json(&a, s.documents[i]));
    }
    char *got = str_buf_take(&out);
    assert_string_equal(got, json);
    free(got);
    arena_deinit(&a);
}

static void test_good(void **state)
{
    static const struct {
        const char *text, *json;
    } rows[] = {
        {"", ""},
        {"# nothing\n---\n---\n", ""},
        {"a: 1\nb: [x, 'y', \"z\"]\n", "{\"a\":1,\"b\":[\"x\",\"y\",\"z\"]}"},
        {"---\na: 1\n---\nb: 2\n...\n", "{\"a\":1}\n{\"b\":2}"},
        {"country: no\nn: ~\nt: true\ny: yes\nT: True\nempty:\n",
         "{\"country\":\"no\",\"n\":null,\"t\":true,\"y\":\"yes\",\"T\":\"True\",\"empty\":null}"},
        {"i: -5\np: +5\no: 010\nh: 0x10\nf: 1.50\ne: 1e3\nt: 1:30\nv: 1.2.3\nd: .5\nn: .nan\nq: "
         "'5'\n",
         "{\"i\":-5,\"p\":5,\"o\":\"010\",\"h\":\"0x10\",\"f\":1.5,\"e\":1000.0,\"t\":\"1:30\","
         "\"v\":\"1.2.3\",\"d\":0.5,\"n\":\".nan\",\"q\":\"5\"}"},
        {"s: !!str 5\nk: ! 6\nl: !!seq [1]\n", "{\"s\":\"5\",\"k\":\"6\",\"l\":[1]}"},
        {"a: &x {b: 1}\nc: *x\nd: [*x, *x]\n",
         "{\"a\":{\"b\":1},\"c\":{\"b\":1},\"d\":[{\"b\":1},{\"b\":1}]}"},
        {"t: |\n  two\n  lines\nf: >-\n  one\n  line\n",
         "{\"t\":\"two\\nlines\\n\",\"f\":\"one line\"}"},
        {"\"<<\": 1\n", "{\"<<\":1}"},
        {"\xef\xbb\xbf"
         "a: b\n",
         "{\"a\":\"b\"}"},
        /* JSON, with what YAML's reader alone would not take. */
        {"{\"a\":\"\\ud83d\\ude00\\/\",\t\"b\":[1,-2.5,null,true],\"c\":\"no\"}",
         "{\"a\":\"\xf0\x9f\x98\x80/\",\"b\":[1,-2.5,null,true],\"c\":\"no\"}"},
        {"\t[\n\t1]", "[1]"},
        {"[]", "[]"},
        /* Starts like JSON but is YAML. */
        {"{a: b, c: [d]}", "{\"a\":\"b\",\"c\":[\"d\"]}"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_reads(rows[i].text, rows[i].json);
}

static void test_bad(void **state)
{
    static const struct {
        const char *text;
        unsigned line, column, documents, errors;
        const char *why;
    } rows[] = {
        {"a: 1\nb: 2\na: 3\n", 3, 1, 0, 1, "\"a\" stands here a second time (first at 1:1)"},
        {"{\"a\": 1,\n \"a\": 2}", 2, 2, 0, 1, "second time (first at 1:2)"},
        {"x: 1\n---\na: 1\na: 2\nb: 1\nb: 2\n---\ny: 1\n", 4, 1, 2, 2, "second time"},
        {"base: &b {x: 1}\nc:\n  <<: *b\n", 3, 3, 0, 1, "merge keys"},
        {"? [1, 2]\n: x\n", 1, 3, 0, 1, "a key is a text"},
        {"a:\n\t- b\n", 2, 1, 0, 1, "tab"},
        {"a: b: c\n", 1, 5, 0, 1, "mapping values"},
        {"a: [1, 2\n", 2, 1, 0, 1, "expected"},
        {"a: \"x\n", 2, 1, 0, 1, "quoted"},
        {"a: *nope\n", 1, 4, 0, 1, "not defined"},
        {"a: &x [*x]\n", 1, 8, 0, 1, "it stands in"},
        {"a: &x b\n---\nc: *x\n", 3, 4, 1, 1, "not defined"},
        {"a: !Ref x\n", 1, 4, 0, 1, "tag !Ref"},
        {"a: !!binary aGk=\n", 1, 4, 0, 1, "not supported"},
        {"%YAML 1.1\n---\na: 1\n", 1, 1, 0, 1, "directives"},
        {"a: \"\\0\"\n", 1, 4, 0, 1, "U+0000"},
        {"{\"a\": \"\\u0000\"}", 1, 7, 0, 1, "U+0000"},
        {"a: \xff\n", 1, 4, 0, 1, "UTF-8"},
        {"a: b\n\x01\n", 2, 1, 0, 1, "control characters"},
        {"a: @b\n", 1, 4, 0, 1, "cannot start any token"},
        {"a: 1\n--- \nb: 1\n  c: 2\n", 4, 4, 1, 1, "mapping values"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct yaml_stream s;
        struct arena a;

        arena_init(&a, 0);
        assert_int_equal(yaml_parse(&a, str_from_c(rows[i].text), NULL, &s), -ERR_SYNTAX);
        if (s.errors[0].line != rows[i].line || s.errors[0].column != rows[i].column ||
            s.error_count != rows[i].errors || s.document_count != rows[i].documents ||
            strstr(s.errors[0].text.ptr, rows[i].why) == NULL)
            fail_msg("%s: %u:%u %s (%u errors, %u documents)", rows[i].text, s.errors[0].line,
                     s.errors[0].column, s.errors[0].text.ptr, s.error_count, s.document_count);
        arena_deinit(&a);
    }
}

static void assert_refused(const char *text, const struct yaml_limits *limits, int err,
                           const char *why)
{
    struct yaml_stream s;
    struct arena a;

    arena_init(&a, 0);
    assert_int_equal(yaml_parse(&a, str_from_c(text), limits, &s), err);
    assert_non_null(strstr(s.errors[s.error_count - 1].text.ptr, why));
    assert_int_equal(s.document_count, 0);
    arena_deinit(&a);
}

static void test_bounds(void **state)
{
    struct yaml_limits limits = {1000, 50, 5, 3};
    char nested[400] = {0};

    assert_refused("a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a]\nc: [*b,*b]\n", &limits,
                   -ERR_SYNTAX, "too many values");
    assert_refused(
        "[1,2,3,4,5,6,7,8,9,10,1,2,3,4,5,6,7,8,9,10,1,2,3,4,5,6,7,8,9,10,1,2,3,4,5,6,7,8,9,10,"
        "1,2,3,4,5,6,7,8,9,10]",
        &limits, -ERR_SYNTAX, "too many values");
    assert_refused("[[[[[[1]]]]]]", &limits, -ERR_SYNTAX, "too deeply");
    assert_refused("a:\n b:\n  c:\n   d:\n    e:\n     f: 1\n", &limits, -ERR_SYNTAX, "too deeply");
    assert_refused("a: 1\na: 2\na: 3\na: 4\na: 5\n", &limits, -ERR_SYNTAX, "second time");
    memset(nested, '[', sizeof(nested) - 1);
    assert_refused(nested, NULL, -ERR_SYNTAX, "too deeply");
    limits.len_max = 10;
    assert_refused("aaaaaaaaaaaaaa", &limits, -ERR_TOO_LARGE, "larger than 10 bytes");
}

static void test_duplicates_among_many(void **state)
{
    struct str_buf text = STR_BUF_INIT(1 << 20);
    struct yaml_stream s;
    struct arena a;

    arena_init(&a, 0);
    for (int i = 0; i < 2000; i++)
        str_buf_printf(&text, "k%d: x\n", i);
    str_buf_add_c(&text, "k3: x\nk1999: y\nzz: 1\n");
    assert_int_equal(yaml_parse(&a, str_buf_str(&text), NULL, &s), -ERR_SYNTAX);
    assert_int_equal(s.error_count, 2);
    assert_string_equal(s.errors[0].text.ptr,
                        "key \"k3\" stands here a second time (first at 4:1)");
    assert_int_equal(s.errors[1].line, 2002);
    str_buf_deinit(&text);
    arena_deinit(&a);
}

static void test_anchors_are_bounded(void **state)
{
    struct str_buf text = STR_BUF_INIT(1 << 20);

    for (int i = 0; i < 1001; i++)
        str_buf_printf(&text, "- &a%d x\n", i);
    assert_refused(text.ptr, NULL, -ERR_SYNTAX, "more than 1000 anchors");
    str_buf_deinit(&text);
}

static void test_places_and_helpers(void **state)
{
    struct yaml_stream s;
    struct arena a;
    struct str text;
    int64_t i;
    uint64_t u;
    double f;
    bool b;

    arena_init(&a, 0);
    assert_int_equal(yaml_parse(&a,
                                STR("spec:\n  http:\n  - w: 90\n    s: '1'\n    v: 1.10\n"
                                    "    u: 18446744073709551615\n    f: 1e999\n"),
                                NULL, &s),
                     0);
    const struct yaml_node *spec = yaml_get(s.documents[0], "spec"), *http = yaml_get(spec, "http");
    const struct yaml_node *item = http->items[0], *w = yaml_get(item, "w");
    assert_int_equal(yaml_get_key(s.documents[0], "spec")->line, 1);
    assert_int_equal(item->line, 3);
    assert_int_equal(item->column, 5);
    assert_int_equal(w->column, 8);
    assert_true(yaml_i64(w, &i) && i == 90);
    assert_false(yaml_str(w, &text));
    assert_false(yaml_bool(w, &b));
    assert_string_equal(yaml_kind_text(w), "a number");
    assert_true(yaml_str(yaml_get(item, "s"), &text));
    assert_false(yaml_i64(yaml_get(item, "s"), &i));
    assert_false(yaml_f64(yaml_get(item, "s"), &f));
    assert_false(yaml_str(yaml_get(item, "v"), &text));
    assert_true(yaml_f64(yaml_get(item, "v"), &f) && f == 1.1);
    assert_true(yaml_u64(yaml_get(item, "u"), &u) && u == UINT64_MAX);
    assert_false(yaml_i64(yaml_get(item, "u"), &i));
    assert_false(yaml_f64(yaml_get(item, "f"), &f));
    assert_null(yaml_get(w, "x"));
    assert_null(yaml_get(NULL, "x"));
    assert_true(yaml_is_null(NULL));
    assert_string_equal(yaml_kind_text(http), "a list");
    arena_deinit(&a);
}

static void test_write(void **state)
{
    static const char json[] =
        "{\"kind\":\"Service\",\"metadata\":{\"name\":\"web\",\"labels\":{},\"x-y/z\":\"a b\"},"
        "\"spec\":{\"ports\":[{\"name\":\"http\",\"port\":80},{\"port\":81,\"l\":[[1,2],[]]}],"
        "\"hosts\":[\"*.local\",\"a.b:80\",\"10.0.0.1\"]},"
        "\"words\":[\"no\",\"\",\"null\",\"- x\",\"5\",\"a: b\",\"a:\",\"a "
        "#b\",\"two\\nlines\",\"caf\xc3\xa9\","
        "\"2026-11-25\",\"0x1F\",\"a\\u0085b\",\"~\",\"Y\"],\"f\":1.0,\"t\":true,\"z\":null}";
    static const char yaml[] =
        "kind: Service\n"
        "metadata:\n"
        "  name: web\n"
        "  labels: {}\n"
        "  x-y/z: a b\n"
        "spec:\n"
        "  ports:\n"
        "  - name: http\n"
        "    port: 80\n"
        "  - port: 81\n"
        "    l:\n"
        "    - - 1\n"
        "      - 2\n"
        "    - []\n"
        "  hosts:\n"
        "  - \"*.local\"\n"
        "  - a.b:80\n"
        "  - \"10.0.0.1\"\n"
        "words:\n"
        "- \"no\"\n- \"\"\n- \"null\"\n- \"- x\"\n- \"5\"\n- \"a: b\"\n- \"a:\"\n"
        "- \"a #b\"\n- \"two\\nlines\"\n- \"caf\xc3\xa9\"\n- \"2026-11-25\"\n"
        "- \"0x1F\"\n- \"a\\u0085b\"\n- \"~\"\n- \"Y\"\n"
        "f: 1.0\nt: true\nz: null\n";
    struct str_buf out = STR_BUF_INIT(1 << 20);
    const struct json *v;
    struct arena a;

    arena_init(&a, 0);
    assert_int_equal(json_parse(&a, str_from_c(json), 1 << 20, &v, NULL), 0);
    yaml_write(&out, v);
    assert_string_equal(out.ptr, yaml);
    assert_reads(out.ptr, json);
    str_buf_reset(&out);
    yaml_write(&out, json_new_array(&a));
    assert_string_equal(out.ptr, "[]\n");
    assert_int_equal(yaml_from_json(&a, json_new_str(&a, STR("x")))->line, 0);
    str_buf_deinit(&out);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_duplicates_among_many),
        cmocka_unit_test(test_anchors_are_bounded),
        cmocka_unit_test(test_places_and_helpers),
        cmocka_unit_test(test_write),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
