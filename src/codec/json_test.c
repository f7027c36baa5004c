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

enum { LEN_MAX = 1 << 20 };

/* Text in, one-line text out. */
static void assert_reads(const char *text, const char *canonical)
{
    struct str_buf out = STR_BUF_INIT(LEN_MAX);
    struct json_error error = {0};
    struct json_writer w;
    const struct json *v;
    struct arena a;

    arena_init(&a, 0);
    if (json_parse(&a, str_from_c(text), LEN_MAX, &v, &error) != 0)
        fail_msg("%s: %u:%u %s", text, error.line, error.column, error.text);
    json_writer_init(&w, &out, 0);
    json_writer_tree(&w, NULL, v);
    assert_string_equal(out.ptr, canonical);
    str_buf_deinit(&out);
    arena_deinit(&a);
}

static void test_good(void **state)
{
    static const struct {
        const char *text, *canonical;
    } rows[] = {
        {"null", "null"},
        {" true ", "true"},
        {"[]", "[]"},
        {"{}", "{}"},
        {"\t[1, -2,\r\n3.5 , 1e2,-0,0.0, 9223372036854775807, -9223372036854775808]",
         "[1,-2,3.5,100.0,0,0.0,9223372036854775807,-9223372036854775808]"},
        {"{\"a\":{\"b\":[null,false]},\"\":\"\"}", "{\"a\":{\"b\":[null,false]},\"\":\"\"}"},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\\"\\\\/\\b\\f\\n\\r\\t\""},
        {"\"\\u0041\\u00e4\\u20AC\\ud83d\\ude00\"", "\"A\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\""},
        {"\"\\u0000\\u001f\x7f\"", "\"\\u0000\\u001f\\u007f\""},
        {"\"\\u2028\\u0085\"", "\"\\u2028\\u0085\""},
        {"\"\xf0\x9f\x98\x80\"", "\"\xf0\x9f\x98\x80\""},
        {"0.1", "0.1"},
        {"1E-7", "1e-07"},
        {"123456789.123456789", "123456789.12345679"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_reads(rows[i].text, rows[i].canonical);
}

static void test_bad(void **state)
{
    static const struct {
        const char *text;
        unsigned line, column;
        const char *why; /* part of the message */
    } rows[] = {
        {"", 1, 1, "ends where a value"},
        {"  ", 1, 3, "ends where"},
        {"nul", 1, 1, "'n' where a value"},
        {"True", 1, 1, "'T'"},
        {"[1,]", 1, 4, "']' where a value"},
        {"[1 2]", 1, 4, "'2' where ',' or ']'"},
        {"[1", 1, 3, "ends where"},
        {"{\"a\":1,}", 1, 8, "'}' where a string"},
        {"{a:1}", 1, 2, "'a' where a string"},
        {"{\"a\" 1}", 1, 6, "where ':'"},
        {"{\"a\":1 \"b\":2}", 1, 8, "',' or '}'"},
        {"{\n \"a\":1,\n  \"a\":2}", 3, 3, "\"a\" stands here a second time"},
        {"1 2", 1, 3, "where the end"},
        {"01", 1, 2, "where the end"},
        {"-", 1, 2, "a digit"},
        {"+1", 1, 1, "'+'"},
        {"1.", 1, 3, "a digit"},
        {".5", 1, 1, "'.'"},
        {"1e", 1, 3, "a digit"},
        {"1e400", 1, 1, "out of range"},
        {"9223372036854775808", 1, 1, "64 bits"},
        {"-9223372036854775809", 1, 1, "64 bits"},
        {"NaN", 1, 1, "'N'"},
        {"\"a", 1, 1, "without end"},
        {"\"\\", 1, 2, "unknown escape"},
        {"\"\\x\"", 1, 2, "unknown escape"},
        {"\"\\u12g4\"", 1, 2, "no character"},
        {"\"\\ud83d\"", 1, 2, "no character"},
        {"\"\\ud83d\\u0041\"", 1, 2, "no character"},
        {"\"\\ude00\"", 1, 2, "no character"},
        {"\"\n\"", 1, 2, "control character"},
        {"\"a\xff\"", 1, 3, "UTF-8"},
        {"\"\xc0\x80\"", 1, 2, "UTF-8"},
        {"\"\xed\xa0\x80\"", 1, 2, "UTF-8"},
        {"{\"\\u0000\":1}", 1, 2, "U+0000"},
        {"\xef\xbb\xbf{}", 1, 1, "byte 0xef"},
        {"[1] // comment", 1, 5, "'/'"},
        {"'a'", 1, 1, "'''"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct json_error error = {0};
        const struct json *v = NULL;
        struct arena a;

        arena_init(&a, 0);
        assert_int_equal(json_parse(&a, str_from_c(rows[i].text), LEN_MAX, &v, &error),
                         -ERR_SYNTAX);
        if (error.line != rows[i].line || error.column != rows[i].column ||
            strstr(error.text, rows[i].why) == NULL)
            fail_msg("%s: %u:%u %s", rows[i].text, error.line, error.column, error.text);
        assert_null(v);
        assert_int_equal(json_parse(&a, str_from_c(rows[i].text), LEN_MAX, &v, NULL), -ERR_SYNTAX);
        arena_deinit(&a);
    }
}

static void test_bounds(void **state)
{
    char deep[2 * JSON_DEPTH_MAX + 3];
    const struct json *v;
    struct arena a;

    arena_init(&a, 0);
    memset(deep, '[', JSON_DEPTH_MAX);
    memset(deep + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    assert_int_equal(json_parse(&a, str_from(deep, 2 * JSON_DEPTH_MAX), LEN_MAX, &v, NULL), 0);
    memset(deep, '[', JSON_DEPTH_MAX + 1);
    memset(deep + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    assert_int_equal(json_parse(&a, str_from(deep, sizeof(deep) - 1), LEN_MAX, &v, NULL),
                     -ERR_SYNTAX);
    assert_int_equal(json_parse(&a, STR("[1]"), 2, &v, NULL), -ERR_TOO_LARGE);
    assert_int_equal(json_parse(&a, STR_NULL, 2, &v, NULL), -ERR_SYNTAX);
    arena_deinit(&a);
}

static void test_duplicates_among_many(void **state)
{
    struct str_buf text = STR_BUF_INIT(LEN_MAX);
    struct json_error error;
    const struct json *v;
    struct arena a;

    arena_init(&a, 0);
    str_buf_add_c(&text, "{");
    for (int i = 0; i < 5000; i++)
        str_buf_printf(&text, "\"k%d\":%d,\n", i, i);
    size_t len = text.len;
    str_buf_add_c(&text, "\"z\":1}");
    assert_int_equal(json_parse(&a, str_buf_str(&text), LEN_MAX, &v, &error), 0);
    assert_int_equal(json_count(v), 5001);
    text.len = len;
    str_buf_add_c(&text, "\"k77\":1}");
    assert_int_equal(json_parse(&a, str_buf_str(&text), LEN_MAX, &v, &error), -ERR_SYNTAX);
    assert_int_equal(error.line, 5001);
    assert_int_equal(error.column, 1);
    str_buf_deinit(&text);
    arena_deinit(&a);
}

static void test_look_ups(void **state)
{
    const struct json *v;
    struct arena a;
    uint64_t u = 0;
    int64_t i = 0;
    double f = 0;
    bool b = false;
    struct str s;

    arena_init(&a, 0);
    assert_int_equal(json_parse(&a,
                                STR("{\"s\":\"x\",\"n\":-5,\"u\":7,\"f\":1.5,\"b\":true,\n"
                                    " \"l\":[1],\"big\":\"18446744073709551615\"}"),
                                LEN_MAX, &v, NULL),
                     0);
    assert_true(json_str(json_get(v, "s"), &s) && str_eq(s, STR("x")));
    assert_true(json_i64(json_get(v, "n"), &i) && i == -5);
    assert_false(json_u64(json_get(v, "n"), &u));
    assert_true(json_u64(json_get(v, "u"), &u) && u == 7);
    assert_true(json_f64(json_get(v, "u"), &f) && f == 7);
    assert_true(json_f64(json_get(v, "f"), &f) && f == 1.5);
    assert_false(json_i64(json_get(v, "f"), &i));
    assert_true(json_bool(json_get(v, "b"), &b) && b);
    assert_true(json_u64_or_str(json_get(v, "big"), &u) && u == UINT64_MAX);
    assert_true(json_i64(json_at(json_get(v, "l"), 0), &i) && i == 1);
    assert_int_equal(json_get(v, "l")->place.line, 2);
    assert_int_equal(json_get(v, "l")->place.column, 6);
    assert_int_equal(v->key_places[5].column, 2);
    assert_null(json_at(json_get(v, "l"), 1));
    assert_null(json_get(json_get(json_get(v, "nothing"), "at"), "all"));
    assert_null(json_get(json_get(v, "s"), "x"));
    assert_false(json_str(NULL, &s));
    assert_true(str_eq(json_str_or(NULL, STR("d")), STR("d")));
    arena_deinit(&a);
}

static void test_writer(void **state)
{
    struct str_buf out = STR_BUF_INIT(LEN_MAX);
    struct json_writer w;

    json_writer_init(&w, &out, 2);
    json_writer_object(&w, NULL);
    json_writer_c(&w, "name", "a\"b");
    json_writer_c(&w, "none", NULL);
    json_writer_array(&w, "list");
    json_writer_u64(&w, NULL, UINT64_MAX);
    json_writer_i64(&w, NULL, -1);
    json_writer_f64(&w, NULL, 1.0 / 0.0);
    json_writer_end(&w);
    json_writer_array(&w, "empty");
    json_writer_end(&w);
    json_writer_key(&w, STR("k\n"));
    json_writer_raw(&w, NULL, STR("[1]"));
    json_writer_bool(&w, "bad", true);
    json_writer_str(&w, "utf8", STR("\xff\xc3\xa4"));
    json_writer_end(&w);
    assert_string_equal(out.ptr, "{\n  \"name\": \"a\\\"b\",\n  \"none\": null,\n  \"list\": [\n"
                                 "    18446744073709551615,\n    -1,\n    null\n  ],\n"
                                 "  \"empty\": [],\n  \"k\\n\": [1],\n  \"bad\": true,\n"
                                 "  \"utf8\": \"\xef\xbf\xbd\xc3\xa4\"\n}");
    str_buf_deinit(&out);
}

static void test_building(void **state)
{
    struct str_buf out = STR_BUF_INIT(LEN_MAX);
    struct json_writer w;
    struct arena a;

    arena_init(&a, 0);
    struct json *o = json_new_object(&a), *l = json_new_array(&a);
    for (int i = 0; i < 20; i++)
        json_array_add(&a, l, json_new_i64(&a, i));
    json_object_add(&a, o, STR("list"), l);
    json_object_add(&a, o, STR("nul"), json_new_null(&a));
    json_object_add(&a, o, STR("yes"), json_new_bool(&a, true));
    json_object_add(&a, o, STR("s"), json_new_str(&a, STR("t")));
    json_object_add(&a, o, STR("f"), json_new_f64(&a, 2));
    json_writer_init(&w, &out, 0);
    json_writer_tree(&w, NULL, o);
    assert_string_equal(out.ptr, "{\"list\":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19],"
                                 "\"nul\":null,\"yes\":true,\"s\":\"t\",\"f\":2.0}");
    str_buf_deinit(&out);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),     cmocka_unit_test(test_bad),
        cmocka_unit_test(test_bounds),   cmocka_unit_test(test_duplicates_among_many),
        cmocka_unit_test(test_look_ups), cmocka_unit_test(test_writer),
        cmocka_unit_test(test_building),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
