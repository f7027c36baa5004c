#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/map.h"
#include "base/random.h"
#include "base/vec.h"

static void test_arena(void **state)
{
    struct arena a;

    arena_init(&a, 512);
    for (size_t len = 0; len < 3000; len += 7) {
        char *p = arena_alloc(&a, len);
        assert_int_equal((uintptr_t)p % 16, 0);
        memset(p, 0xaa, len);
        char *q = arena_zalloc(&a, 20);
        for (int i = 0; i < 20; i++)
            assert_int_equal(q[i], 0);
    }
    size_t full = arena_size(&a);
    arena_reset(&a);
    assert_true(arena_size(&a) < full && arena_size(&a) > 0);
    struct str s = arena_str(&a, STR("text"));
    assert_string_equal(s.ptr, "text");
    assert_string_equal(arena_str(&a, STR_NULL).ptr, "");
    assert_true(str_eq(arena_printf(&a, "%s-%d", s.ptr, 3), STR("text-3")));
    arena_deinit(&a);
    assert_int_equal(arena_size(&a), 0);
    arena_reset(&a);
    arena_alloc(&a, 100000);
    arena_alloc(&a, 16);
    arena_deinit(&a);
}

/* What stays is filled: at most a block is empty, and blocks are small beside the whole. */
static void test_tight_arena(void **state)
{
    (void)state;
    for (size_t used = 1; used < 20000; used += 331) {
        struct arena a;
        arena_init_tight(&a, 512);
        for (size_t n = 0; n < used; n++)
            *arena_bytes(&a, 1) = 'x';
        if (arena_size(&a) > used + used / 4 + 600)
            fail_msg("%zu bytes for %zu", arena_size(&a), used);
        arena_deinit(&a);
    }
}

static void test_map(void **state)
{
    static int values[2000];
    struct map m;
    char key[16];
    size_t iter = 0, seen = 0;
    struct str k;
    void *v;

    map_init(&m);
    assert_null(map_get(&m, STR("x")));
    assert_null(map_remove(&m, STR("x")));
    for (int i = 0; i < 2000; i++) {
        snprintf(key, sizeof(key), "key%d", i);
        assert_null(map_put(&m, str_from_c(key), &values[i]));
    }
    assert_ptr_equal(map_put(&m, STR("key7"), &values[8]), &values[7]);
    assert_ptr_equal(map_get(&m, STR("key7")), &values[8]);
    assert_int_equal(map_len(&m), 2000);
    while (map_next(&m, &iter, &k, &v)) {
        snprintf(key, sizeof(key), "%.*s", STR_FMT(k));
        if (++seen % 2 == 0)
            assert_ptr_equal(map_remove(&m, str_from_c(key)), v);
    }
    assert_int_equal(seen, 2000);
    assert_int_equal(map_len(&m), 1000);
    /* Many puts and removals do not fill the table with graves. */
    for (int i = 0; i < 100000; i++) {
        snprintf(key, sizeof(key), "t%d", i);
        map_put(&m, str_from_c(key), &values[0]);
        map_remove(&m, str_from_c(key));
    }
    assert_true(m.cap <= 8192);
    map_clear(&m);
    assert_int_equal(map_len(&m), 0);
    map_put(&m, STR(""), &values[0]);
    assert_ptr_equal(map_get(&m, STR_NULL), &values[0]);
    map_deinit(&m);
}

struct item {
    struct list node;
    int n;
};

static void test_list(void **state)
{
    struct list head, other;
    struct item items[4] = {{.n = 0}, {.n = 1}, {.n = 2}, {.n = 3}};
    int sum = 0, last = -1;

    list_init(&head);
    list_init(&other);
    assert_null(LIST_FIRST(&head, struct item, node));
    for (int i = 0; i < 4; i++)
        list_push_back(i < 2 ? &head : &other, &items[i].node);
    list_splice_back(&head, &other);
    assert_true(list_is_empty(&other));
    LIST_FOREACH (&head, it, struct item, node) {
        assert_true(it->n > last);
        last = it->n;
        sum += it->n;
        list_remove(&it->node);
    }
    assert_int_equal(sum, 6);
    assert_true(list_is_empty(&head));
    assert_false(list_is_linked(&items[0].node));
    list_remove(&items[0].node);
}

static void test_vec(void **state)
{
    VEC(int) v = {0};

    for (int i = 0; i < 100; i++)
        VEC_PUSH(&v, i);
    VEC_REMOVE_SWAP(&v, 0);
    assert_int_equal(v.len, 99);
    assert_int_equal(v.ptr[0], 99);
    VEC_DEINIT(&v);
    assert_null(v.ptr);
}

static void test_err(void **state)
{
    assert_string_equal(err_text(-ERR_REFUSED), "connection refused");
    assert_string_equal(err_name(ERR_REFUSED), "REFUSED");
    assert_string_equal(err_name(0), "NONE");
    assert_string_equal(err_name(-9999), "INTERNAL");
    assert_string_equal(err_name(INT32_MIN), "INTERNAL");
    assert_true(err_is_retryable(-ERR_RESET));
    assert_int_equal(err_class(-ERR_PROTOCOL), ERR_CLASS_PEER);
    assert_int_equal(err_from_errno(ECONNREFUSED), -ERR_REFUSED);
    assert_int_equal(err_from_errno(EIO), -ERR_SYSTEM);
}

static void test_random(void **state)
{
    struct random a, b;
    uint32_t counts[10] = {0};

    random_init(&a, 1);
    random_init(&b, 1);
    for (int i = 0; i < 100; i++)
        assert_true(random_u64(&a) == random_u64(&b));
    for (int i = 0; i < 100000; i++)
        counts[random_below(&a, 10)]++;
    for (int i = 0; i < 10; i++)
        assert_in_range(counts[i], 9500, 10500);
    assert_int_equal(random_below(&a, 1), 0);
    random_init_system(&a);
    random_init_system(&b);
    assert_true(random_u64(&a) != random_u64(&b));
    assert_true(random_process_seed() == random_process_seed());
}

static void test_limits(void **state)
{
    struct limits l;

    limits_init(&l);
    assert_int_equal(l.header_bytes_max, 61440);
    assert_int_equal(l.idle_timeout_ms, 3600000);
    assert_int_equal(limits_set(&l, STR("url_bytes_max"), STR("16384")), 0);
    assert_int_equal(l.url_bytes_max, 16384);
    assert_int_equal(limits_get(&l, limits_find(STR("url_bytes_max"))), 16384);
    assert_int_equal(limits_set(&l, STR("url_bytes"), STR("1")), -ERR_NOT_FOUND);
    assert_int_equal(limits_set(&l, STR("url_bytes_max"), STR("1")), -ERR_INVALID);
    assert_int_equal(limits_set(&l, STR("url_bytes_max"), STR("99999999")), -ERR_INVALID);
    assert_int_equal(limits_set(&l, STR("url_bytes_max"), STR("x")), -ERR_INVALID);
    assert_int_equal(l.url_bytes_max, 16384);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arena),  cmocka_unit_test(test_tight_arena),
        cmocka_unit_test(test_map),    cmocka_unit_test(test_list),
        cmocka_unit_test(test_vec),    cmocka_unit_test(test_err),
        cmocka_unit_test(test_random), cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
