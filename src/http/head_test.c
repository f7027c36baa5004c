#include "http/head.h"

#include <setjmp.h>
#include <stdarg.h>
/* cmocka wants those before it. */
#include <cmocka.h>

#include "http/date.h"

static void test_every_name_is_found(void **state)
{
    for (unsigned id = 1; id < HTTP_NAME_COUNT; id++) {
        struct str text = http_name_text(id);
        char other[64];

        if (http_name_find(text) != id)
            fail_msg("%.*s is missing in names_by_len of head.c", STR_FMT(text));
        memcpy(other, text.ptr, text.len);
        other[text.len / 2] ^= 1;
        assert_int_equal(http_name_find(str_from(other, text.len)), HTTP_NAME_OTHER);
        assert_int_not_equal(http_name_find(str_sub(text, 0, text.len - 1)), id);
    }
    assert_int_equal(http_name_find(STR("")), HTTP_NAME_OTHER);
    assert_int_equal(http_name_find(STR("Host")), HTTP_NAME_OTHER);
    assert_int_equal(http_name_find(STR("x-a-name-that-is-longer-than-all-the-others")),
                     HTTP_NAME_OTHER);
}

static void assert_str(struct str got, const char *want)
{
    if (!str_eq(got, str_from_c(want)))
        fail_msg("want %s got %.*s", want, STR_FMT(got));
}

static void test_fields(void **state)
{
    struct arena a;
    struct http_head h;

    arena_init(&a, 256);
    http_head_init(&h, &a, true);
    assert_null(http_head_get(&h, HTTP_NAME_DATE).ptr);
    assert_null(http_head_get_joined(&h, STR("x-a")).ptr);
    http_head_add_named(&h, STR("x-a"), STR("1"));
    http_head_add(&h, HTTP_NAME_DATE, STR("d"));
    http_head_add_named(&h, STR("x-a"), STR("2"));
    http_head_add_named(&h, STR("x-b"), STR("3"));
    http_head_add_named(&h, STR("x-a"), STR(""));
    assert_str(http_head_get(&h, HTTP_NAME_DATE), "d");
    assert_str(http_head_get_named(&h, STR("date")), "d");
    assert_str(http_head_get_named(&h, STR("x-a")), "1");
    assert_str(http_head_get_joined(&h, STR("x-a")), "1,2,");
    assert_str(http_head_get_joined(&h, STR("x-b")), "3");
    http_head_set_named(&h, STR("x-a"), STR("9"));
    assert_str(http_head_get_joined(&h, STR("x-a")), "9");
    assert_int_equal(h.field_count, 3);
    assert_str(h.fields[0].name, "x-a");
    http_head_set(&h, HTTP_NAME_SERVER, STR("s"));
    http_head_set(&h, HTTP_NAME_SERVER, STR("t"));
    assert_str(http_head_get(&h, HTTP_NAME_SERVER), "t");
    assert_int_equal(http_head_remove(&h, HTTP_NAME_SERVER), 1);
    assert_int_equal(http_head_remove_named(&h, STR("x-b")), 1);
    assert_int_equal(http_head_remove_named(&h, STR("x-b")), 0);
    assert_int_equal(h.field_count, 2);
    for (int i = 0; i < 100; i++)
        http_head_add_named(&h, STR("x-many"), STR("v"));
    assert_int_equal(h.field_count, 102);
    assert_int_equal(http_head_remove_named(&h, STR("x-many")), 100);
    assert_str(http_head_get_named(&h, STR("x-a")), "9");
    arena_deinit(&a);
}

/* A codec writes fields past the functions: nothing that is there is overlooked, whether it notes
 * the names afterwards or not. */
static void test_fields_written_directly(void **state)
{
    for (int is_indexed = 0; is_indexed <= 1; is_indexed++) {
        struct arena a;
        struct http_head h, copy;

        arena_init(&a, 256);
        http_head_init(&h, &a, true);
        http_head_add(&h, HTTP_NAME_DATE, STR("d"));
        h.fields[h.field_count++] = (struct http_field){STR("te"), STR("1"), HTTP_NAME_TE};
        h.fields[h.field_count++] = (struct http_field){STR("x-a"), STR("2"), HTTP_NAME_OTHER};
        h.fields[h.field_count++] = (struct http_field){STR("server"), STR("3"), HTTP_NAME_SERVER};
        if (is_indexed)
            http_head_index(&h);
        assert_str(http_head_get(&h, HTTP_NAME_TE), "1");
        assert_str(http_head_get_named(&h, STR("x-a")), "2");
        assert_null(http_head_get(&h, HTTP_NAME_HOST).ptr);
        assert_null(http_head_get_named(&h, STR("x-b")).ptr);
        http_head_add(&h, HTTP_NAME_B3, STR("4"));
        http_head_copy(&copy, &h, &a);
        http_head_remove_all_of(&h, HTTP_NAME_BIT(TE) | HTTP_NAME_BIT(HOST) | HTTP_NAME_BIT(DATE));
        assert_int_equal(h.field_count, 3);
        assert_int_equal(http_head_remove(&h, HTTP_NAME_SERVER), 1);
        assert_int_equal(http_head_remove(&h, HTTP_NAME_B3), 1);
        /* As many as were noted once, but others. */
        h.fields[h.field_count++] = (struct http_field){STR("te"), STR("5"), HTTP_NAME_TE};
        assert_str(http_head_get(&h, HTTP_NAME_TE), "5");
        assert_str(http_head_get(&copy, HTTP_NAME_B3), "4");
        assert_str(http_head_get(&copy, HTTP_NAME_SERVER), "3");
        arena_deinit(&a);
    }
}

static void test_copy_is_deep(void **state)
{
    struct arena a, b;
    struct http_head h, copy;

    arena_init(&a, 256);
    arena_init(&b, 256);
    http_head_init(&h, &a, true);
    h.method = arena_str(&a, STR("GET"));
    h.path = arena_str(&a, STR("/p"));
    h.authority = arena_str(&a, STR("a"));
    h.has_length = true;
    h.length = 5;
    http_head_add_named(&h, arena_str(&a, STR("x-a")), arena_str(&a, STR("1")));
    http_head_add_named(&h, arena_str(&a, STR("date")), arena_str(&a, STR("")));
    http_head_copy(&copy, &h, &b);
    arena_deinit(&a);
    assert_str(copy.method, "GET");
    assert_str(copy.path, "/p");
    assert_null(copy.original_path.ptr);
    assert_str(http_head_get_named(&copy, STR("x-a")), "1");
    assert_non_null(http_head_get(&copy, HTTP_NAME_DATE).ptr);
    assert_int_equal(copy.length, 5);
    assert_ptr_equal(copy.arena, &b);
    http_head_add_named(&copy, STR("x-b"), STR("2"));
    arena_deinit(&b);
}

static void test_path_parts(void **state)
{
    struct http_head h = {.path = STR("/a?b?c")};

    assert_str(http_head_path_only(&h), "/a");
    assert_str(http_head_query(&h), "b?c");
    h.path = STR("/a");
    assert_str(http_head_path_only(&h), "/a");
    assert_true(str_is_empty(http_head_query(&h)));
}

static void test_status_texts(void **state)
{
    assert_string_equal(http_status_text(100), "Continue");
    assert_string_equal(http_status_text(200), "OK");
    assert_string_equal(http_status_text(404), "Not Found");
    assert_string_equal(http_status_text(503), "Service Unavailable");
    assert_string_equal(http_status_text(511), "Network Authentication Required");
    assert_string_equal(http_status_text(599), "Unknown");
    assert_string_equal(http_status_text(0), "Unknown");
}

static void test_grpc_types(void **state)
{
    assert_true(http_is_grpc_type(STR("application/grpc")));
    assert_true(http_is_grpc_type(STR("Application/gRPC+proto")));
    assert_true(http_is_grpc_type(STR("application/grpc; charset=x")));
    assert_false(http_is_grpc_type(STR("application/grpc-web")));
    assert_false(http_is_grpc_type(STR("application/grp")));
    assert_false(http_is_grpc_type(STR_NULL));
}

static void test_dates(void **state)
{
    static const struct {
        uint64_t seconds;
        const char *want;
    } rows[] = {
        {0, "Thu, 01 Jan 1970 00:00:00 GMT"},
        {784111777, "Sun, 06 Nov 1994 08:49:37 GMT"},
        {951782399, "Mon, 28 Feb 2000 23:59:59 GMT"},
        {951782400, "Tue, 29 Feb 2000 00:00:00 GMT"},
        {4107542399, "Sun, 28 Feb 2100 23:59:59 GMT"},
        {4107542400, "Mon, 01 Mar 2100 00:00:00 GMT"},
        {1798761599, "Thu, 31 Dec 2026 23:59:59 GMT"},
        {253402300799, "Fri, 31 Dec 9999 23:59:59 GMT"},
    };
    char buf[HTTP_DATE_LEN];

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_str(http_date_format(rows[i].seconds * 1000000 + 999999, buf), rows[i].want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_name_is_found),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_fields_written_directly),
        cmocka_unit_test(test_copy_is_deep),
        cmocka_unit_test(test_path_parts),
        cmocka_unit_test(test_status_texts),
        cmocka_unit_test(test_grpc_types),
        cmocka_unit_test(test_dates),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
