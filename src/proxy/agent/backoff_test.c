#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/util.h"
#include "proxy/agent/backoff.h"

static const uint64_t second = 1000 * 1000;

static void test_backoff_grows_to_its_bound(void **state)
{
    const struct backoff_range range = {100 * 1000, 5 * 1000 * 1000};
    struct random r;
    (void)state;
    random_init(&r, 1);
    for (unsigned failures = 0; failures < 200; failures++) {
        uint64_t whole = failures < 6 ? range.first_us << failures : range.last_us;
        whole = MIN(whole, range.last_us);
        uint64_t delay = backoff_us(&range, failures, &r);
        assert_true(delay >= whole / 2 && delay <= whole);
    }
}

static void test_leaves_are_renewed_from_half_life(void **state)
{
    static const uint64_t lives[] = {2, 10, 3600, 24 * 3600};
    struct random r;
    (void)state;
    random_init(&r, 2);
    for (size_t i = 0; i < ARRAY_LEN(lives); i++) {
        uint64_t life = lives[i] * second;
        for (int n = 0; n < 100; n++) {
            uint64_t delay =
                renewal_delay_us(1000 * second, 1000 * second + life, 1000 * second, &r);
            assert_true(delay >= life * 4 / 10 && delay <= life * 6 / 10 + 1);
        }
    }
}

static void test_late_leaves_are_renewed_at_once(void **state)
{
    struct random r;
    (void)state;
    random_init(&r, 3);
    assert_int_equal(renewal_delay_us(0, 100 * second, 90 * second, &r), 0);
    assert_int_equal(renewal_delay_us(0, 100 * second, 100 * second, &r), 0);
    assert_int_equal(renewal_delay_us(0, 100 * second, 200 * second, &r), 0);
    assert_int_equal(renewal_delay_us(100 * second, 100 * second, 50 * second, &r), 0);
}

/* However short the life: several tries fit into what is left of it. */
static void test_failed_renewals_are_repeated_in_time(void **state)
{
    static const uint64_t lives[] = {4, 20, 3600, 24 * 3600};
    struct random r;
    (void)state;
    random_init(&r, 4);
    for (size_t i = 0; i < ARRAY_LEN(lives); i++) {
        uint64_t now = lives[i] * second / 2, end = lives[i] * second;
        unsigned tries = 0;
        while (now < end && tries < 1000)
            now += renewal_retry_us(end, now, tries++, &r);
        assert_true(tries >= 5);
    }
    assert_true(renewal_retry_us(0, 10 * second, 100, &r) <= 5 * second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_backoff_grows_to_its_bound),
        cmocka_unit_test(test_leaves_are_renewed_from_half_life),
        cmocka_unit_test(test_late_leaves_are_renewed_at_once),
        cmocka_unit_test(test_failed_renewals_are_repeated_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
