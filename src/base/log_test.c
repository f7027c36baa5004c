#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log_priv.h"

static void assert_line(bool is_json, const struct log_field *fields, size_t n,
                        const char *expected)
{
    static char buf[LOG_LINE_MAX + 1];
    struct log_line line = {LOG_WARN, "conn_closed", fields, n, 0, 1795600800123};

    buf[log_render(buf, is_json, &line)] = '\0';
    assert_string_equal(buf, expected);
}

static void test_forms(void **state)
{
    const struct log_field fields[] = {
        LFC("peer", "10.0.0.1:80"),
        LFC("why", "said \"no\"\n\x1b[31m\\"),
        LFC("empty", NULL),
        LFC("utf8", "gr\xc3\xbc\xc3\x9f"),
        LFC("bad", "a\xff\xc2\x9b"
                   "b"),
    };

    assert_line(false, fields, 5,
                "2026-11-25T10:00:00.123Z WARN conn_closed peer=10.0.0.1:80 "
                "why=\"said \\\"no\\\"\\n\\u001b[31m\\\\\" empty=\"\" utf8=\"gr\xc3\xbc\xc3\x9f\" "
                "bad=\"a\xef\xbf\xbd\xef\xbf\xbd"
                "b\"\n");
    assert_line(
        true, fields, 3,
        "{\"time\":\"2026-11-25T10:00:00.123Z\",\"level\":\"warn\",\"event\":\"conn_closed\","
        "\"peer\":\"10.0.0.1:80\",\"why\":\"said \\\"no\\\"\\n\\u001b[31m\\\\\",\"empty\":\"\"}\n");
    assert_line(false, NULL, 0, "2026-11-25T10:00:00.123Z WARN conn_closed\n");
}

static void test_long_lines_end_well(void **state)
{
    static char value[LOG_VALUE_MAX * 4], buf[LOG_LINE_MAX + 1];
    struct log_field fields[12];
    struct log_line line = {LOG_INFO, "e", fields, 12, 5, 0};

    for (int c = 1; c < 256; c++) {
        memset(value, c, sizeof(value));
        for (int i = 0; i < 12; i++)
            fields[i] = (struct log_field)LF("key", str_from(value, (size_t)i * 300));
        for (int is_json = 0; is_json < 2; is_json++) {
            size_t len = log_render(buf, is_json, &line);

            buf[len] = '\0';
            assert_true(len < LOG_LINE_MAX);
            if (is_json)
                assert_true(str_ends_with(str_from(buf, len), STR("\",\"suppressed\":5}\n")));
            else
                assert_true(str_ends_with(str_from(buf, len), STR(" suppressed=5\n")));
        }
    }
}

static void test_rate(void **state)
{
    uint64_t suppressed = 99;
    char name[2000][8];

    for (int i = 0; i < LOG_RATE_MAX; i++)
        assert_true(log_rate_allow("storm", 5000 + i, &suppressed));
    assert_int_equal(suppressed, 0);
    for (int i = 0; i < 7; i++)
        assert_false(log_rate_allow("storm", 5999, &suppressed));
    assert_true(log_rate_allow("other", 5999, &suppressed));
    assert_true(log_rate_allow("storm", 6000, &suppressed));
    assert_int_equal(suppressed, 7);
    assert_true(log_rate_allow("storm", 6001, &suppressed));
    assert_int_equal(suppressed, 0);
    for (int i = 0; i < 2000; i++) { /* more events than rows: the oldest make room */
        snprintf(name[i], sizeof(name[i]), "e%d", i);
        assert_true(log_rate_allow(name[i], 10000 + i, &suppressed));
    }
}

static void test_write(void **state)
{
    char buf[4096];
    int fds[2];
    ssize_t n;

    assert_int_equal(pipe(fds), 0);
    log_set_fd(fds[1]);
    log_set_level(LOG_WARN);
    log_event(LOG_INFO, "hidden", LFC("a", "b"));
    log_event(LOG_ERROR, "shown", LFC("a", "b c"));
    n = read(fds[0], buf, sizeof(buf) - 1);
    assert_true(n > 0);
    buf[n] = '\0';
    assert_non_null(strstr(buf, " ERROR shown a=\"b c\"\n"));
    assert_null(strstr(buf, "hidden"));
    log_set_json(true);
    log_event(LOG_WARN, "again", LFC("a", "b"));
    n = read(fds[0], buf, sizeof(buf) - 1);
    assert_int_equal(buf[0], '{');
    log_set_json(false);
    log_set_fd(STDERR_FILENO);
    close(fds[0]);
    close(fds[1]);
}

static void test_levels(void **state)
{
    enum log_level level;

    assert_true(log_level_parse(STR("Warning"), &level));
    assert_int_equal(level, LOG_WARN);
    assert_true(log_level_parse(STR("debug"), &level));
    assert_false(log_level_parse(STR("loud"), &level));
    assert_string_equal(log_level_name(LOG_OFF), "off");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),  cmocka_unit_test(test_long_lines_end_well),
        cmocka_unit_test(test_rate),   cmocka_unit_test(test_write),
        cmocka_unit_test(test_levels),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
