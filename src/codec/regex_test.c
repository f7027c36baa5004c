/* Regular expressions: what RE2 says, for what we have of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/err.h"
#include "codec/regex.h"

static struct arena arena;

static const struct regex *compiled(const char *pattern)
{
    AUTO(str_buf_deinit) struct str_buf why = STR_BUF_INIT(1024);
    const struct regex *re = NULL;
    if (regex_compile(&arena, str_from_c(pattern), &why, &re) != 0)
        fail_msg("%s: %.*s", pattern, STR_FMT(str_buf_str(&why)));
    return re;
}

static void test_match(void **state)
{
    static const struct {
        const char *pattern, *text;
        bool is_match;
    } rows[] = {
        {"", "", true},
        {"", "a", false},
        {"abc", "abc", true},
        {"abc", "xabc", false},
        {"abc", "abcx", false},
        {".*abc.*", "xxabcyy", true},
        {"a|bc|", "bc", true},
        {"a|bc|", "", true},
        {"a|bc|", "b", false},
        {"(ab)*", "ababab", true},
        {"(ab)*", "aba", false},
        {"a{2,3}", "a", false},
        {"a{2,3}", "aaa", true},
        {"a{2,3}", "aaaa", false},
        {"a{2,}", "aaaaa", true},
        {"a{3}", "aaa", true},
        {"a{,3}", "a{,3}", true}, /* text, as in RE2 */
        {"x{0}y", "y", true},
        {"[a-c]+", "abcabc", true},
        {"[^a-c]+", "xyz", true},
        {"[^a-c]+", "xaz", false},
        {"[]a]+", "]a", true},
        {"[a-]+", "a-", true},
        {"[\\w.-]+", "a_B.-9", true},
        {"[[:alpha:]]+", "aB", true},
        {"[[:^digit:]]+", "aB", true},
        {"[[:^digit:]]+", "a1", false},
        {"\\d+\\s\\w+", "12 ab", true},
        {"\\D\\S\\W", "ab-", true},
        {"(?i)HeLLo", "hEllO", true},
        {"(?i)[a-c]x", "BX", true},
        {"a(?i)b", "aB", true},
        {"a(?i)b", "AB", false},
        {"(?i:a)b", "Ab", true},
        {"(?i:a)b", "AB", false},
        {"(?:)a", "a", true},
        {"a.c", "a\nc", false},
        {"(?s)a.c", "a\nc", true},
        {"^abc$", "abc", true},
        {"(?m)a$\n^b", "a\nb", true},
        {"a$\nb", "a\nb", false},
        {"\\Aab\\z", "ab", true},
        {"\\bab\\b", "ab", true},
        {"a\\Bb", "ab", true},
        {"a\\bb", "ab", false},
        {"\\.\\*\\x41\\t", ".*A\t", true},
        {"\\Qa.b\\E.", "a.bc", true},
        {"\\Qa.b\\E.", "axbc", false},
        {"(?P<name>x)y", "xy", true},
        {"caf\xc3\xa9*", "caf\xc3\xa9\xc3\xa9", true},
        {"caf\xc3\xa9*", "caf\xc3\xa9\xa9", false},
        {".*/ns/shop/.*", "spiffe://cluster.local/ns/shop/sa/web", true},
        {".*/ns/shop/.*", "spiffe://cluster.local/ns/shop2/sa/web", false},
        {"(a*)*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", false},
        {"(a|a)*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", true},
        {"(a?){30}a{30}", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (regex_match(compiled(rows[i].pattern), str_from_c(rows[i].text)) != rows[i].is_match)
            fail_msg("%s on \"%s\" should be %d", rows[i].pattern, rows[i].text, rows[i].is_match);
    }
}

static void test_refused(void **state)
{
    static const char *const rows[] = {
        "(",          "a)",     "[a",
        "[b-a]",      "*a",     "a**",
        "a{2}{3}",    "{2}",    "|{2}",
        "a*{2}",      "({2})",  "a{2}*",
        "a{1001}",    "a{3,2}", "\\1",
        "\\pL",       "(?=a)",  "(?!a)",
        "(?<=a)",     "a\\",    "[\\",
        "[[:nope:]]", "(?Pa)",  "[\xc3\xa4]",
        "(?i",        "\\x4",   "((a{1000}){1000}){1000}",
        "(?P<>a)",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO(str_buf_deinit) struct str_buf why = STR_BUF_INIT(1024);
        const struct regex *re;
        if (regex_compile(&arena, str_from_c(rows[i]), &why, &re) != -ERR_INVALID)
            fail_msg("%s is taken", rows[i]);
        assert_true(why.len > 0);
    }
}

/* Repetitions of what makes no step are no work, however often they are nested. */
static void test_nothing_repeated(void **state)
{
    static const char *const rows[] = {
        "(?:(?:(?:(?:(?:(?:){1000}){1000}){1000}){1000}){1000}){1000}",
        "(?:(?:(?:(?:(?:x{0}){1000}){1000}){1000}){1000}){1000}",
        "(?:(?:(?:(?:(?:(?i){1000}){1000}){1000}){1000}){1000}){1000}",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct regex *re = compiled(rows[i]);
        assert_true(regex_match(re, STR("")));
        assert_false(regex_match(re, STR("a")));
    }
    assert_true(regex_match(compiled("(?:(?:){1000}a){3}"), STR("aaa")));
}

/* As long as a pattern may be, and as many steps. */
static void test_large(void **state)
{
    char pattern[REGEX_PATTERN_LEN_MAX + 2];
    AUTO(str_buf_deinit) struct str_buf why = STR_BUF_INIT(1024);
    const struct regex *re;
    memset(pattern, 'a', sizeof pattern);
    struct str most = {pattern, REGEX_INSTS_MAX - 2};
    assert_int_equal(regex_compile(&arena, most, &why, &re), 0);
    assert_true(regex_match(re, most));
    assert_false(regex_match(re, str_skip(most, 1)));
    assert_int_equal(regex_compile(&arena, (struct str){pattern, REGEX_INSTS_MAX}, &why, &re),
                     -ERR_INVALID);
    assert_int_equal(
        regex_compile(&arena, (struct str){pattern, REGEX_PATTERN_LEN_MAX + 1}, &why, &re),
        -ERR_INVALID);
}

static void test_replace(void **state)
{
    static const struct {
        const char *pattern, *text, *substitution, *want;
    } rows[] = {
        {"b", "abcb", "x", "axcx"},
        {"^/v1/(.*)$", "/v1/a/b", "/\\1", "/a/b"},
        {"^/service/([^/]+)(/.*)$", "/service/foo/v1/api", "\\2/instance/\\1",
         "/v1/api/instance/foo"},
        {"(?i)/xxx/", "/aaa/XxX/bbb", "/yyy/", "/aaa/yyy/bbb"},
        {"one", "/xxx/one/yyy/one/zzz", "two", "/xxx/two/yyy/two/zzz"},
        {"^(.*?)one(.*)$", "/xxx/one/yyy/one/zzz", "\\1two\\2", "/xxx/two/yyy/one/zzz"},
        {"nope", "abc", "x", "abc"},
        {"a*", "baac", "-", "-b-c-"},
        {"(a)|(b)", "ab", "<\\1\\2>", "<a><b>"},
        {"a", "a", "\\\\\\0", "\\a"},
        {"(a+)(b+)", "xaabby", "\\2\\1", "xbbaay"},
        {"\\bw", "ww w", "x", "xw x"},
        {"a|ab", "ab", "x", "xb"}, /* the first alternative, not the longest */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct regex *re = compiled(rows[i].pattern);
        struct str substitution = str_from_c(rows[i].substitution);
        assert_true(regex_can_replace(re, substitution));
        struct str got = regex_replace(re, str_from_c(rows[i].text), substitution, &arena);
        if (!str_eq(got, str_from_c(rows[i].want)))
            fail_msg("%s on %s: %.*s", rows[i].pattern, rows[i].text, STR_FMT(got));
    }
    assert_false(regex_can_replace(compiled("(a)"), STR("\\2")));
    assert_false(regex_can_replace(compiled("(a)"), STR("x\\")));
    assert_false(regex_can_replace(compiled("(a)"), STR("\\n")));
}

static int open_arena(void **state)
{
    arena_init(&arena, 4096);
    return 0;
}

static int close_arena(void **state)
{
    arena_deinit(&arena);
    return 0;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_match),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_nothing_repeated),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_replace),
    };
    return cmocka_run_group_tests(tests, open_arena, close_arena);
}
