#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/pace.h"
#include "base/util.h"

enum { SECOND = 1000000 };

static struct pace pace;

static void test_so_many_at_once_then_so_many_a_second(void **state)
{
    (void)state;
    uint64_t now = 5 * SECOND;
    pace_init(&pace, 1, 10, 20);
    for (int i = 0; i < 20; i++)
        assert_true(pace_take(&pace, STR("a"), now));
    assert_false(pace_take(&pace, STR("a"), now));
    assert_true(pace_take(&pace, STR("b"), now));
    for (int i = 0; i < 10; i++)
        assert_true(pace_take(&pace, STR("a"), now + SECOND));
    assert_false(pace_take(&pace, STR("a"), now + SECOND));
    for (int i = 0; i < 20; i++)
        assert_true(pace_take(&pace, STR("a"), now + 10 * SECOND));
    assert_false(pace_take(&pace, STR("a"), now + 10 * SECOND));
}

/* More keys than places: those that have been quiet make room. */
static void test_keys_without_end(void **state)
{
    (void)state;
    char key[16];
    pace_init(&pace, 1, 10, 5);
    for (int i = 0; i < 100000; i++) {
        int len = snprintf(key, sizeof key, "%d", i);
        assert_true(pace_take(&pace, str_from(key, (size_t)len), (uint64_t)i * SECOND));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_so_many_at_once_then_so_many_a_second),
        cmocka_unit_test(test_keys_without_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
