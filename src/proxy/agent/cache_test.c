#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proxy/agent/cache.h"

static void print_record(void *ctx, const struct cache_record *r)
{
    str_buf_printf(ctx, "%s%s%s %.*s %.*s %zu;", resource_type_name(r->type),
                   r->is_detail ? "!" : "", r->is_wildcard ? "*" : "", STR_FMT(r->name),
                   STR_FMT(r->version), r->wire.len);
}

static struct str_buf sample(void)
{
    struct str_buf pack = STR_BUF_INIT(4096);
    cache_append(&pack, &(struct cache_record){.type = RESOURCE_LISTENER,
                                               .is_wildcard = true,
                                               .name = STR("virtualInbound"),
                                               .version = STR("v1"),
                                               .wire = STR("\x01\x00\x02")});
    cache_append(&pack, &(struct cache_record){.type = RESOURCE_CLUSTER,
                                               .is_detail = true,
                                               .name = STR("a:80"),
                                               .version = STR("v2")});
    return pack;
}

static void test_what_was_written_is_read(void **state)
{
    struct str_buf pack = sample(), seen = STR_BUF_INIT(4096);
    (void)state;
    assert_true(cache_parse(str_buf_str(&pack), print_record, &seen));
    assert_string_equal(seen.ptr, "listener* virtualInbound v1 3;cluster! a:80 v2 0;");
    str_buf_deinit(&pack);
    str_buf_deinit(&seen);
}

/* Cut anywhere but between records it is damaged, and nothing half is given out. */
static void test_cut_packs_are_damaged(void **state)
{
    struct str_buf pack = sample();
    size_t first = 8 + 14 + strlen("virtualInbound") + 2 + 3;
    (void)state;
    for (size_t len = 0; len < pack.len; len++) {
        struct str_buf seen = STR_BUF_INIT(4096);
        char *exact = mem_strndup(pack.ptr, len);
        bool is_whole = cache_parse(str_from(exact, len), print_record, &seen);
        assert_int_equal(is_whole, len == 8 || len == first);
        assert_true(seen.len == 0 || len >= first);
        str_buf_deinit(&seen);
        free(exact);
    }
    str_buf_deinit(&pack);
}

static void test_foreign_bytes_are_damaged(void **state)
{
    struct str_buf pack = sample(), seen = STR_BUF_INIT(4096);
    (void)state;
    pack.ptr[8] = 77; /* no such type */
    assert_false(cache_parse(str_buf_str(&pack), print_record, &seen));
    memset(pack.ptr + 10, 0xff, 12); /* lengths beyond all bounds */
    pack.ptr[8] = 0;
    assert_false(cache_parse(str_buf_str(&pack), print_record, &seen));
    pack.ptr[0] = 'x';
    assert_false(cache_parse(str_buf_str(&pack), print_record, &seen));
    assert_int_equal(seen.len, 0);
    str_buf_deinit(&pack);
    str_buf_deinit(&seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_written_is_read),
        cmocka_unit_test(test_cut_packs_are_damaged),
        cmocka_unit_test(test_foreign_bytes_are_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
