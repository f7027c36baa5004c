#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "codec/duration.h"

static void test_durations(void **state)
{
    static const struct {
        const char *text;
        uint64_t us;
        const char *canonical;
    } rows[] = {
        {"0", 0, "0s"},
        {"0s", 0, "0s"},
        {"1m", 60000000, "1m"},
        {"800ms", 800000, "800ms"},
        {"1.5s", 1500000, "1.5s"},
        {".5s", 500000, "500ms"},
        {"1.s", 1000000, "1s"},
        {"1h2m", 3720000000, "1h2m"},
        {"1h0.5s", 3600500000, "1h0.5s"},
        {"100us", 100, "100us"},
        {"1500us", 1500, "1.5ms"},
        {"7\xc2\xb5s", 7, "7us"},
        {"999ns", 0, "0s"},
        {"1.5h", 5400000000, "1h30m"},
        {"0.0000001s", 0, "0s"},
        {"2540400h", 9145440000000000, "2540400h"},
    };
    char buf[DURATION_TEXT_MAX];
    uint64_t us, again;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(duration_parse(str_from_c(rows[i].text), &us), 0);
        assert_true(us == rows[i].us);
        assert_string_equal(duration_format(us, buf).ptr, rows[i].canonical);
        assert_int_equal(duration_parse(str_from_c(buf), &again), 0);
        assert_true(us == again);
    }
}

static void test_durations_bad(void **state)
{
    static const struct {
        const char *text;
        int err;
    } rows[] = {
        {"", -ERR_SYNTAX},
        {"1", -ERR_SYNTAX},
        {"s", -ERR_SYNTAX},
        {".s", -ERR_SYNTAX},
        {"-1s", -ERR_SYNTAX},
        {"+1s", -ERR_SYNTAX},
        {"1 s", -ERR_SYNTAX},
        {"1d", -ERR_SYNTAX},
        {"1s ", -ERR_SYNTAX},
        {"1S", -ERR_SYNTAX},
        {"1s2", -ERR_SYNTAX},
        {"1.2.3s", -ERR_SYNTAX},
        {"1e3s", -ERR_SYNTAX},
        {"00", -ERR_SYNTAX},
        {"9999999h", -ERR_INVALID},
        {"99999999999999999999s", -ERR_INVALID},
        {"2500000h2500000h", -ERR_INVALID},
    };
    uint64_t us = 7;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(duration_parse(str_from_c(rows[i].text), &us), rows[i].err);
    assert_int_equal(us, 7);
}

static void test_proto(void **state)
{
    static const struct {
        const char *text;
        struct duration_proto value;
        const char *written; /* NULL: the same */
    } rows[] = {
        {"3s", {3, 0}, NULL},
        {"3.5s", {3, 500000000}, "3.500s"},
        {"-3.500s", {-3, -500000000}, NULL},
        {"0.000001999s", {0, 1999}, NULL},
        {"-0.000002s", {0, -2000}, NULL},
        {"315576000000.999999999s", {315576000000, 999999999}, NULL},
        {"-315576000000s", {-315576000000, 0}, NULL},
    };
    static const char *const bad[] = {"",    "s",    "3",     "3m",  ".5s",           "3.s",
                                      "+3s", "--3s", "3.5 s", "3s ", "3.1234567890s", "3.-5s"};
    char buf[DURATION_TEXT_MAX];
    struct duration_proto d;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(duration_parse_proto(str_from_c(rows[i].text), &d), 0);
        assert_int_equal(d.seconds, rows[i].value.seconds);
        assert_int_equal(d.nanos, rows[i].value.nanos);
        assert_string_equal(duration_format_proto(d, buf).ptr,
                            rows[i].written != NULL ? rows[i].written : rows[i].text);
    }
    assert_int_equal(duration_parse_proto(STR("315576000001s"), &d), -ERR_INVALID);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(duration_parse_proto(str_from_c(bad[i]), &d), -ERR_SYNTAX);
    /* Whatever a message holds is written within bounds. */
    d = (struct duration_proto){INT64_MIN, INT32_MIN};
    assert_true(duration_format_proto(d, buf).len < DURATION_TEXT_MAX);
}

static void test_times(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
        const char *canonical;
    } rows[] = {
        {"1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00.000Z"},
        {"2026-11-25T10:00:00.123Z", 1795600800123, "2026-11-25T10:00:00.123Z"},
        {"2026-11-25t10:00:00.1239999z", 1795600800123, "2026-11-25T10:00:00.123Z"},
        {"2026-11-25T12:30:00+02:30", 1795600800000, "2026-11-25T10:00:00.000Z"},
        {"2024-02-29T23:59:60Z", 1709251200000, "2024-03-01T00:00:00.000Z"},
        {"2000-02-29T00:00:00-00:01", 951782460000, "2000-02-29T00:01:00.000Z"},
        {"9999-12-31T23:59:59.999Z", 253402300799999, "9999-12-31T23:59:59.999Z"},
    };
    char buf[TIME_TEXT_MAX];
    int64_t ms;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(time_parse(str_from_c(rows[i].text), &ms), 0);
        assert_true(ms == rows[i].ms);
        assert_string_equal(time_format(ms, true, buf).ptr, rows[i].canonical);
    }
    assert_string_equal(time_format(951782460999, false, buf).ptr, "2000-02-29T00:01:00Z");
    assert_string_equal(time_format(-5, false, buf).ptr, "1970-01-01T00:00:00Z");
    for (int64_t day = 0; day < 3000000; day += 17) {
        assert_int_equal(time_parse(time_format(day * 86400000, false, buf), &ms), 0);
        assert_true(ms == MIN(day * 86400000, 253402300799000));
    }
}

static void test_times_bad(void **state)
{
    static const char *const rows[] = {
        "",
        "2026-11-25",
        "2026-11-25T10:00:00",
        "2026-11-25 10:00:00Z",
        "2026-13-25T10:00:00Z",
        "2026-02-29T10:00:00Z",
        "2100-02-29T10:00:00Z",
        "2026-11-31T10:00:00Z",
        "2026-11-25T24:00:00Z",
        "2026-11-25T10:60:00Z",
        "2026-11-25T10:00:61Z",
        "2026-11-25T10:00:00.Z",
        "2026-11-25T10:00:00+0200",
        "2026-11-25T10:00:00+24:00",
        "2026-11-25T10:00:00Zx",
        "2026\r11-25T10:00:00Z",
        "26-11-25T10:00:00Z",
        "0000-11-25T10:00:00Z",
    };
    int64_t ms;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(time_parse(str_from_c(rows[i]), &ms), -ERR_SYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations), cmocka_unit_test(test_durations_bad),
        cmocka_unit_test(test_proto),     cmocka_unit_test(test_times),
        cmocka_unit_test(test_times_bad),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
