#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "codec/url.h"

static const struct url_path_options merging = {true, true, URL_SLASHES_UNESCAPE,
                                                URL_BACKSLASH_TO_SLASH};
static const struct url_path_options strict = {true, false, URL_SLASHES_REJECT,
                                               URL_BACKSLASH_REJECT};
static const struct url_path_options keeping = {true, false, URL_SLASHES_KEEP, URL_BACKSLASH_KEEP};
static const struct url_path_options merging_only = {false, true, URL_SLASHES_KEEP,
                                                     URL_BACKSLASH_TO_SLASH};
static const struct url_path_options unescaping_only = {false, false, URL_SLASHES_UNESCAPE,
                                                        URL_BACKSLASH_TO_SLASH};
static const struct url_path_options rejecting_only = {false, false, URL_SLASHES_REJECT,
                                                       URL_BACKSLASH_TO_SLASH};
static const struct url_path_options none = {false, false, URL_SLASHES_KEEP, URL_BACKSLASH_KEEP};

struct path_row {
    const struct url_path_options *options;
    const char *path, *canonical; /* NULL: refused */
    enum url_result result;
};

static const struct path_row path_rows[] = {
    {&url_path_options_base, "/", "/", 0},
    {&url_path_options_base, "/a/b", "/a/b", 0},
    {&url_path_options_base, "/a/./b", "/a/b", 0},
    {&url_path_options_base, "/a/../b", "/b", 0},
    {&url_path_options_base, "/a/..", "/", 0},
    {&url_path_options_base, "/a/.", "/a/", 0},
    {&url_path_options_base, "/.", "/", 0},
    {&url_path_options_base, "/a/b/../../c", "/c", 0},
    {&url_path_options_base, "/a//../b", "/a/b", 0},
    {&url_path_options_base, "/...", "/...", 0},
    {&url_path_options_base, "/.a/..b/c.", "/.a/..b/c.", 0},
    {&url_path_options_base, "/a//b", "/a//b", 0},
    {&url_path_options_base, "/a/%2e%2E/b", "/b", 0},
    {&url_path_options_base, "/a/.%2e/b", "/b", 0},
    {&url_path_options_base, "/%61%7E%2d", "/a~-", 0},
    {&url_path_options_base, "/a%2fb%5cc", "/a%2Fb%5Cc", 0},
    {&url_path_options_base, "/a\\b", "/a/b", 0},
    {&url_path_options_base, "/a\\..\\b", "/b", 0},
    {&url_path_options_base, "/%252e%252e/a", "/%252e%252e/a", 0},
    {&url_path_options_base, "/%3fa%3Db", "/%3Fa%3Db", 0},
    {&url_path_options_base, "/a%20b;c=d", "/a%20b;c=d", 0},
    {&url_path_options_base, "/%e2%82%ac", "/%E2%82%AC", 0},
    {&url_path_options_base, "/a|b\"c<d>^`{}[]", "/a%7Cb%22c%3Cd%3E%5E%60%7B%7D[]", 0},
    {&merging, "/a//../b", "/a/b", 0},
    {&merging_only, "/a//../%2e//b\\c|", "/a/../%2e/b\\c|", 0},
    {&merging_only, "//", "/", 0},
    {&unescaping_only, "/a%2f%2F..%5c%2e//b", "/a//../%2e//b", 0},
    {&rejecting_only, "/a%2fb", NULL, URL_BAD_ESCAPED_SLASH},
    {&rejecting_only, "/a/../b\\", "/a/../b\\", 0},
    {&merging, "//a///b//", "/a/b/", 0},
    {&merging, "/a%2F..%2fb", "/b", 0},
    {&merging, "/a%5Cb", "/a/b", 0},
    {&merging, "/a/%2F/b", "/a/b", 0},
    {&merging, "/a/.//b", "/a/b", 0},
    {&merging, "/a/..//b", "/b", 0},
    {&keeping, "/a\\b", "/a%5Cb", 0},
    {&none, "/a/../b%2e", "/a/../b%2e", 0},
    {&none, "/a%00", NULL, URL_BAD_NUL},
    {&url_path_options_base, "", NULL, URL_BAD_EMPTY},
    {&url_path_options_base, "a", NULL, URL_BAD_EMPTY},
    {&url_path_options_base, "*", NULL, URL_BAD_EMPTY},
    {&url_path_options_base, "/..", NULL, URL_BAD_ABOVE_ROOT},
    {&url_path_options_base, "/a/../..", NULL, URL_BAD_ABOVE_ROOT},
    {&url_path_options_base, "/%2e%2e/etc/passwd", NULL, URL_BAD_ABOVE_ROOT},
    {&url_path_options_base, "/a%00b", NULL, URL_BAD_NUL},
    {&url_path_options_base, "/a%0", NULL, URL_BAD_ESCAPE},
    {&url_path_options_base, "/a%", NULL, URL_BAD_ESCAPE},
    {&url_path_options_base, "/a%g0", NULL, URL_BAD_ESCAPE},
    {&url_path_options_base, "/a b", NULL, URL_BAD_BYTE},
    {&url_path_options_base, "/a\tb", NULL, URL_BAD_BYTE},
    {&url_path_options_base, "/a\x7f", NULL, URL_BAD_BYTE},
    {&url_path_options_base, "/\xc3\xa4", NULL, URL_BAD_BYTE},
    {&url_path_options_base, "/a?b", NULL, URL_BAD_BYTE},
    {&url_path_options_base, "/a#b", NULL, URL_BAD_FRAGMENT},
    {&strict, "/a%2Fb", NULL, URL_BAD_ESCAPED_SLASH},
    {&strict, "/a%5cb", NULL, URL_BAD_ESCAPED_SLASH},
    {&strict, "/a\\b", NULL, URL_BAD_BACKSLASH},
};

static void test_paths(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(path_rows); i++) {
        const struct path_row *row = &path_rows[i];
        struct str path = STR_NULL, again;
        struct arena a;

        arena_init(&a, 0);
        assert_int_equal(url_path_canonical(&a, str_from_c(row->path), row->options, &path),
                         row->result);
        if (row->canonical != NULL) {
            if (!str_eq(path, str_from_c(row->canonical)))
                fail_msg("%s: %.*s", row->path, STR_FMT(path));
            assert_int_equal(url_path_canonical(&a, path, row->options, &again), URL_OK);
            assert_true(str_eq(path, again));
        } else {
            assert_null(path.ptr);
        }
        assert_non_null(url_result_text(row->result));
        arena_deinit(&a);
    }
}

static void test_canonical_is_not_copied(void **state)
{
    struct str in = STR("/catalog/items/7"), out;
    struct arena a;

    arena_init(&a, 0);
    assert_int_equal(url_path_canonical(&a, in, &url_path_options_base, &out), URL_OK);
    assert_ptr_equal(in.ptr, out.ptr);
    assert_int_equal(arena_size(&a), 0);
    arena_deinit(&a);
}

static void test_targets(void **state)
{
    struct str path, query;
    bool has_query;

    assert_int_equal(url_split_target(STR("/a?b=c?d"), &path, &query, &has_query), URL_OK);
    assert_true(str_eq(path, STR("/a")) && str_eq(query, STR("b=c?d")) && has_query);
    assert_int_equal(url_split_target(STR("/a?"), &path, &query, &has_query), URL_OK);
    assert_true(has_query && query.len == 0);
    assert_int_equal(url_split_target(STR("/a"), &path, &query, &has_query), URL_OK);
    assert_false(has_query);
    assert_int_equal(url_split_target(STR("/a#b"), &path, &query, &has_query), URL_BAD_FRAGMENT);
    assert_int_equal(url_split_target(STR("/a?b#c"), &path, &query, &has_query), URL_BAD_FRAGMENT);
    assert_int_equal(url_split_target(STR("/a?b\r\n"), &path, &query, &has_query), URL_BAD_BYTE);
    assert_int_equal(url_split_target(STR("/a\0"), &path, &query, &has_query), URL_BAD_BYTE);
    assert_int_equal(url_split_target(STR("*"), &path, &query, &has_query), URL_BAD_EMPTY);
    assert_int_equal(url_split_target(STR(""), &path, &query, &has_query), URL_BAD_EMPTY);
}

static void test_absolute(void **state)
{
    struct str scheme, authority, target;
    struct arena a;

    arena_init(&a, 0);
    assert_int_equal(url_split_absolute(&a, STR("HTTP://Web:80/a?b"), &scheme, &authority, &target),
                     URL_OK);
    assert_true(str_eq(scheme, STR("http")) && str_eq(authority, STR("Web:80")));
    assert_true(str_eq(target, STR("/a?b")));
    assert_int_equal(url_split_absolute(&a, STR("http://web"), &scheme, &authority, &target),
                     URL_OK);
    assert_true(str_eq(target, STR("/")));
    assert_int_equal(url_split_absolute(&a, STR("http://[::1]:80?q"), &scheme, &authority, &target),
                     URL_OK);
    assert_true(str_eq(target, STR("/?q")));
    assert_int_equal(url_split_absolute(&a, STR("http://u:p@web/"), &scheme, &authority, &target),
                     URL_BAD_AUTHORITY);
    assert_int_equal(url_split_absolute(&a, STR("http:///a"), &scheme, &authority, &target),
                     URL_BAD_AUTHORITY);
    assert_int_equal(url_split_absolute(&a, STR("http://a/#x"), &scheme, &authority, &target),
                     URL_BAD_FRAGMENT);
    assert_int_equal(url_split_absolute(&a, STR("http:/a"), &scheme, &authority, &target),
                     URL_BAD_EMPTY);
    assert_int_equal(url_split_absolute(&a, STR("://a"), &scheme, &authority, &target),
                     URL_BAD_EMPTY);
    arena_deinit(&a);
}

static void test_authorities(void **state)
{
    static const struct {
        const char *text, *host;
        unsigned port;
        bool is_ipv6;
    } good[] = {
        {"web", "web", 0, false},
        {"Web.Shop.svc:8080", "Web.Shop.svc", 8080, false},
        {"1.2.3.4:65535", "1.2.3.4", 65535, false},
        {"[::1]", "::1", 0, true},
        {"[2001:db8::1]:443", "2001:db8::1", 443, true},
        {"a_b.", "a_b.", 0, false},
    };
    static const char *const bad[] = {
        "",        ":80",    "web:",    "web:0",     "web:65536",  "web:080808",
        "web:080", "web:8a", "u@web",   "we b",      "web/",       "web:80:80",
        "[::1",    "::1",    "[::1]80", "[1.2.3.4]", "[]",         "[v1.a]",
        "web%2e",  "we\tb",  "web\\x",  "\xc3\xa4",  "[::1%eth0]", "web:+80",
    };
    struct url_authority parts;

    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(url_split_authority(str_from_c(good[i].text), &parts), URL_OK);
        assert_true(str_eq(parts.host, str_from_c(good[i].host)));
        assert_int_equal(parts.port, good[i].port);
        assert_int_equal(parts.is_ipv6, good[i].is_ipv6);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(url_split_authority(str_from_c(bad[i]), &parts), URL_BAD_AUTHORITY);
    assert_int_equal(url_split_authority(STR("web\0"), &parts), URL_BAD_AUTHORITY);
}

static void test_hosts(void **state)
{
    struct str host = STR("web.shop");
    struct arena a;

    arena_init(&a, 0);
    assert_ptr_equal(url_host_canonical(&a, host).ptr, host.ptr);
    assert_true(str_eq(url_host_canonical(&a, STR("WEB.Shop.")), STR("web.shop")));
    assert_true(str_eq(url_host_canonical(&a, STR("web.")), STR("web")));
    assert_true(str_eq(url_host_canonical(&a, STR(".")), STR(".")));
    arena_deinit(&a);
}

static void test_escapes_and_queries(void **state)
{
    struct arena a;
    struct str s;

    arena_init(&a, 0);
    assert_true(url_decode(&a, STR("a%20+%C3%a4"), &s) && str_eq(s, STR("a +\xc3\xa4")));
    assert_true(url_decode(&a, STR("plain"), &s) && str_eq(s, STR("plain")));
    assert_false(url_decode(&a, STR("a%2"), &s));
    assert_true(url_query_get(STR("a=1&b=2%203&b=4&c"), STR("b"), &s) && str_eq(s, STR("2%203")));
    assert_true(url_query_get(STR("a=1&c"), STR("c"), &s) && s.ptr != NULL && s.len == 0);
    assert_true(url_query_get(STR("%61b%63=1"), STR("abc"), &s) && str_eq(s, STR("1")));
    assert_true(url_query_get(STR("a=x=y"), STR("a"), &s) && str_eq(s, STR("x=y")));
    assert_false(url_query_get(STR("abc=1"), STR("ab"), &s));
    assert_false(url_query_get(STR("ab=1"), STR("abc"), &s));
    assert_false(url_query_get(STR_NULL, STR("a"), &s));
    assert_true(url_query_get(STR("a%=1"), STR("a%"), &s));
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_canonical_is_not_copied),
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_absolute),
        cmocka_unit_test(test_authorities),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_escapes_and_queries),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
