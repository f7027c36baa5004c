#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/random.h"
#include "codec/base64.h"

static void test_rfc_vectors(void **state)
{
    static const struct {
        const char *bytes, *std, *url;
    } rows[] = {
        {"", "", ""},
        {"f", "Zg==", "Zg"},
        {"fo", "Zm8=", "Zm8"},
        {"foo", "Zm9v", "Zm9v"},
        {"foob", "Zm9vYg==", "Zm9vYg"},
        {"fooba", "Zm9vYmE=", "Zm9vYmE"},
        {"\xfb\xff", "+/8=", "-_8"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str_buf out = STR_BUF_INIT(100);
        struct str bytes = str_from_c(rows[i].bytes), back;
        struct arena a;

        arena_init(&a, 0);
        base64_encode(&out, BASE64_STD, bytes);
        assert_true(str_eq(str_buf_str(&out), str_from_c(rows[i].std)));
        assert_int_equal(base64_decode(&a, BASE64_STD, str_buf_str(&out), &back), 0);
        assert_true(str_eq(back, bytes));
        str_buf_reset(&out);
        base64_encode(&out, BASE64_URL, bytes);
        assert_true(str_eq(str_buf_str(&out), str_from_c(rows[i].url)));
        assert_int_equal(base64_decode(&a, BASE64_URL, str_buf_str(&out), &back), 0);
        assert_true(str_eq(back, bytes));
        str_buf_deinit(&out);
        arena_deinit(&a);
    }
}

static void test_bad(void **state)
{
    static const struct {
        enum base64_kind kind;
        const char *text;
    } rows[] = {
        {BASE64_STD, "Zg"},       {BASE64_STD, "Zg="},  {BASE64_STD, "Z==="},  {BASE64_STD, "===="},
        {BASE64_STD, "Zh=="},     {BASE64_STD, "Zm9="}, {BASE64_STD, "Zm\n8"}, {BASE64_STD, "-_8="},
        {BASE64_STD, "Zg==Zg=="}, {BASE64_URL, "Zg=="}, {BASE64_URL, "+/8"},   {BASE64_URL, "Z"},
        {BASE64_URL, "Zm9vY"},    {BASE64_URL, "Zh"},   {BASE64_URL, "Zm 8"},  {BASE64_STD, "="},
    };
    struct arena a;
    struct str out;

    arena_init(&a, 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(base64_decode(&a, rows[i].kind, str_from_c(rows[i].text), &out),
                         -ERR_SYNTAX);
    arena_deinit(&a);
}

static void test_round_trip(void **state)
{
    struct str_buf out = STR_BUF_INIT(1000);
    struct arena a;
    char bytes[100], back[100];
    struct random r;

    random_init(&r, 3);
    arena_init(&a, 0);
    for (size_t len = 0; len < sizeof(bytes); len++) {
        struct str decoded;

        for (size_t i = 0; i < len; i++)
            bytes[i] = (char)random_u64(&r);
        for (int kind = 0; kind < 2; kind++) {
            str_buf_reset(&out);
            base64_encode(&out, kind, str_from(bytes, len));
            assert_int_equal(base64_decode(&a, kind, str_buf_str(&out), &decoded), 0);
            assert_true(str_eq(decoded, str_from(bytes, len)));
        }
        str_buf_reset(&out);
        hex_encode(&out, str_from(bytes, len));
        assert_int_equal(hex_decode(str_buf_str(&out), back, sizeof(back)), 0);
        assert_memory_equal(bytes, back, len);
    }
    str_buf_deinit(&out);
    arena_deinit(&a);
}

static void test_hex_bad(void **state)
{
    char buf[4];

    assert_int_equal(hex_decode(STR("0aFF"), buf, 4), 0);
    assert_int_equal(hex_decode(STR("0aF"), buf, 4), -ERR_SYNTAX);
    assert_int_equal(hex_decode(STR("0g"), buf, 4), -ERR_SYNTAX);
    assert_int_equal(hex_decode(STR("@a"), buf, 4), -ERR_SYNTAX);
    assert_int_equal(hex_decode(STR("0011223344"), buf, 4), -ERR_SYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc_vectors),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_hex_bad),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
