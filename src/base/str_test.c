#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/str.h"

static void test_compare(void **state)
{
    assert_true(str_eq(STR("abc"), STR("abc")));
    assert_false(str_eq(STR("abc"), STR("abd")));
    assert_true(str_eq(STR_NULL, STR("")));
    assert_true(str_eq_nocase(STR("Host"), STR("hOST")));
    assert_false(str_eq_nocase(STR("[\\]"), STR("{|}")));
    assert_true(str_cmp(STR("a"), STR("ab")) < 0);
    assert_true(str_cmp(STR("b"), STR("ab")) > 0);
    assert_int_equal(str_cmp(STR_NULL, STR("")), 0);
    assert_true(str_cmp(STR("\x7f"), STR("\x80")) < 0);
    assert_true(str_starts_with(STR("abc"), STR("ab")));
    assert_false(str_starts_with(STR("a"), STR("ab")));
    assert_true(str_ends_with(STR("abc"), STR("bc")));
    assert_true(str_ends_with(STR("abc"), STR_NULL));
    assert_true(str_contains(STR("abc"), STR("bc")));
    assert_false(str_contains(STR_NULL, STR("b")));
}

static void test_find_split_trim(void **state)
{
    struct str rest = STR("a,,b");

    assert_int_equal(str_find(STR("a.b.c"), '.'), 1);
    assert_int_equal(str_rfind(STR("a.b.c"), '.'), 3);
    assert_int_equal(str_find(STR_NULL, '.'), -1);
    assert_true(str_eq(str_split(&rest, ','), STR("a")));
    assert_true(str_eq(str_split(&rest, ','), STR("")));
    assert_true(str_eq(str_split(&rest, ','), STR("b")));
    assert_null(rest.ptr);
    assert_true(str_eq(str_split(&rest, ','), STR("")));
    assert_true(str_eq(str_trim(STR(" \t a b\t")), STR("a b")));
    assert_true(str_eq(str_trim(STR(" \t ")), STR("")));
    assert_true(str_eq(str_sub(STR("abc"), 1, 9), STR("bc")));
    assert_true(str_eq(str_sub(STR("abc"), 7, 9), STR("")));
    assert_null(str_skip(STR_NULL, 3).ptr);
}

static void test_to_u64(void **state)
{
    static const struct {
        const char *text;
        uint64_t max, value;
        bool is_ok;
    } rows[] = {
        {"0", 10, 0, true},
        {"10", 10, 10, true},
        {"11", 10, 0, false},
        {"007", 10, 7, true},
        {"18446744073709551615", UINT64_MAX, UINT64_MAX, true},
        {"18446744073709551616", UINT64_MAX, 0, false},
        {"99999999999999999999999", UINT64_MAX, 0, false},
        {"", 10, 0, false},
        {"+1", 10, 0, false},
        {"-1", 10, 0, false},
        {" 1", 10, 0, false},
        {"1x", 10, 0, false},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t value = 77;
        bool is_ok = str_to_u64(str_from_c(rows[i].text), rows[i].max, &value);

        assert_int_equal(is_ok, rows[i].is_ok);
        assert_true(value == (rows[i].is_ok ? rows[i].value : 77));
    }
}

static void test_utf8(void **state)
{
    static const struct {
        const char *text;
        bool is_ok;
    } rows[] = {
        {"plain", true},
        {"\xc3\xa4", true},
        {"\xe2\x82\xac", true},
        {"\xf0\x9f\x98\x80", true},
        {"\xc0\x80", false},
        {"\xe0\x80\x80", false},
        {"\xed\xa0\x80", false},
        {"\xf4\x90\x80\x80", false},
        {"\xc3", false},
        {"\x80", false},
        {"\xe2\x82", false},
        {"\xf0\x9f\x98"
         "a",
         false},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(str_is_utf8(str_from_c(rows[i].text)), rows[i].is_ok);
}

static void test_hash(void **state)
{
    char text[40] = {0};
    uint64_t seen[40];

    for (size_t len = 0; len < 40; len++) {
        seen[len] = str_hash(str_from(text, len), 1);
        for (size_t i = 0; i < len; i++)
            assert_true(seen[i] != seen[len]);
        assert_true(str_hash(str_from(text, len), 2) != seen[len]);
    }
    for (size_t i = 0; i < 40; i++) {
        text[i] = 1;
        assert_true(str_hash(str_from(text, 40), 1) != str_hash(str_from((char[40]){0}, 40), 1));
        text[i] = 0;
    }
}

static void test_what_is_shown(void **state)
{
    struct str_buf b = STR_BUF_INIT(30);
    (void)state;
    str_buf_add_shown(&b, STR("a\x1b[2J\r\nb\tc\x7f\xc2\x9b\xc3\xa9\xc2"));
    assert_string_equal(b.ptr, "a?[2J  b c??\xc3\xa9\xc2");
    str_buf_reset(&b);
    str_buf_add_shown(&b, STR_NULL);
    assert_int_equal(b.len, 0);
    str_buf_deinit(&b);
}

static void test_buf(void **state)
{
    struct str_buf b = STR_BUF_INIT(10);

    str_buf_add_c(&b, "abc");
    str_buf_printf(&b, "%d", 4567);
    assert_string_equal(b.ptr, "abc4567");
    str_buf_add_c(&b, "toolong");
    assert_true(b.is_overflown);
    str_buf_add_char(&b, 'x'); /* would fit, but order matters */
    assert_string_equal(b.ptr, "abc4567");
    str_buf_reset(&b);
    assert_int_equal(b.len, 0);
    str_buf_add_c(&b, "0123456789");
    assert_false(b.is_overflown);
    assert_null(str_buf_reserve(&b, 1));
    str_buf_deinit(&b);

    char *text = str_buf_take(&b);
    assert_string_equal(text, "");
    free(text);
    b = STR_BUF_INIT(SIZE_MAX);
    for (int i = 0; i < 1000; i++)
        str_buf_add_char(&b, (char)('a' + i % 26));
    text = str_buf_take(&b);
    assert_int_equal(strlen(text), 1000);
    assert_null(b.ptr);
    free(text);
}

static void test_numbers_as_text(void **state)
{
    static const struct {
        uint64_t value;
        const char *text;
    } cases[] = {
        {0, "0"}, {9, "9"}, {10, "10"}, {1000000, "1000000"}, {UINT64_MAX, "18446744073709551615"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[STR_U64_LEN];
        struct str_buf b = STR_BUF_INIT(64);
        assert_true(str_eq(str_of_u64(cases[i].value, text), str_from_c(cases[i].text)));
        str_buf_add_u64(&b, cases[i].value);
        assert_true(str_eq(str_buf_str(&b), str_from_c(cases[i].text)));
        str_buf_deinit(&b);
    }
    char hex[16];
    assert_ptr_equal(str_put_hex(hex, 0x0123456789abcdef, 16), hex + 16);
    assert_memory_equal(hex, "0123456789abcdef", 16);
    assert_ptr_equal(str_put_hex(hex, 0xfff0a, 2), hex + 2);
    assert_memory_equal(hex, "0a2", 3);
    for (uint64_t v = 1, digits = 0; digits <= 16; digits++, v = v * 0x9e3779b97f4a7c15 + 7) {
        char want[17];
        snprintf(want, sizeof want, "%016llx", (unsigned long long)v);
        assert_ptr_equal(str_put_hex(hex, v, (unsigned)digits), hex + digits);
        assert_memory_equal(hex, want + 16 - digits, digits);
    }
}

static void test_ownership(void **state)
{
    AUTO(mem_free_auto) char *text = str_dup_c(STR("kept"));
    AUTO(mem_free_auto) char *other = TAKE(text);

    assert_null(text);
    assert_string_equal(other, "kept");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compare),
        cmocka_unit_test(test_find_split_trim),
        cmocka_unit_test(test_to_u64),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_buf),
        cmocka_unit_test(test_numbers_as_text),
        cmocka_unit_test(test_what_is_shown),
        cmocka_unit_test(test_ownership),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
