
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "io/timers.h"

struct probe {
    struct timer timer;
    uint64_t wanted_us;
    int fires;
};

static uint64_t now_us;
static int fired;

static void on_fire(struct timer *timer)
{
    struct probe *p = (struct probe *)timer;
    p->fires++;
    fired++;
    assert_true(now_us >= p->wanted_us);
}

static void start(struct timers *ts, struct probe *p, uint64_t delay_us)
{
    p->wanted_us = now_us + delay_us;
    timers_start(ts, &p->timer, now_us, delay_us);
}

/* Each delay alone: fires in the first tick that is not before it, whatever level it starts on. */
static void test_exact(void **state)
{
    (void)state;
    static const uint64_t delays_ms[] = {
        0,     1,     2,       254,     255,      256,       257,        511,        512,
        16383, 16384, 16385,   20000,   1048575,  1048576,   1048577,    67108863,   67108864,
        99999, 65536, 1000000, 3600000, 86400000, 432000000, 4294967295, 4294967296, 6000000000};
    for (size_t i = 0; i < ARRAY_LEN(delays_ms); i++) {
        for (uint64_t base = 0; base < 3; base++) {
            struct timers ts;
            now_us = 1000 + base * 777777;
            timers_init(&ts, now_us);
            struct probe p = {0};
            timer_init(&p.timer, on_fire);
            start(&ts, &p, delays_ms[i] * 1000);
            uint64_t due = (MAX(p.wanted_us, now_us + 1) + 999) / 1000 * 1000;
            int looks = 0;
            while (p.fires == 0) {
                uint64_t next = timers_next_us(&ts);
                assert_true(next > now_us && next <= due);
                assert_true(looks++ < 20);
                now_us = next;
                timers_advance(&ts, now_us);
            }
            if (delays_ms[i] > 0)
                assert_int_equal(now_us, due);
            assert_int_equal(timers_next_us(&ts), UINT64_MAX);
        }
    }
}

/* Against a naive model: random starts, stops and steps of time. */
static void test_random(void **state)
{
    (void)state;
    enum { COUNT = 500 };
    static struct probe probes[COUNT];
    struct random r;
    random_init(&r, 7);
    struct timers ts;
    now_us = 123456;
    timers_init(&ts, now_us);
    for (size_t i = 0; i < COUNT; i++)
        timer_init(&probes[i].timer, on_fire);
    for (int step = 0; step < 20000; step++) {
        struct probe *p = &probes[random_below(&r, COUNT)];
        switch (random_below(&r, 4)) {
        case 0:
        case 1: {
            uint64_t range = 1ull << random_below(&r, 31);
            start(&ts, p, random_u64(&r) % range);
            break;
        }
        case 2:
            list_remove(&p->timer.link);
            break;
        case 3:
            now_us += random_u64(&r) % (1ull << random_below(&r, 28));
            timers_advance(&ts, now_us);
            for (size_t i = 0; i < COUNT; i++) {
                if (!timer_is_started(&probes[i].timer))
                    continue;
                assert_true((probes[i].timer.due_us + 999) / 1000 > now_us / 1000);
                assert_true(timers_bound_us(&ts) <= (probes[i].timer.due_us + 999) / 1000 * 1000);
            }
            break;
        }
    }
    assert_true(fired > 1000);
}

/* A timer that was stopped makes one look too early, and no second one. */
static void test_bound(void **state)
{
    (void)state;
    struct timers ts;
    struct probe soon = {0}, late = {0};
    now_us = 5000;
    timers_init(&ts, now_us);
    assert_int_equal(timers_bound_us(&ts), UINT64_MAX);
    timer_init(&soon.timer, on_fire);
    timer_init(&late.timer, on_fire);
    start(&ts, &late, 50000);
    assert_int_equal(timers_bound_us(&ts), 55000);
    start(&ts, &soon, 20000);
    list_remove(&soon.timer.link);
    assert_int_equal(timers_bound_us(&ts), 25000);
    now_us = 25000;
    timers_advance(&ts, now_us);
    assert_int_equal(soon.fires + late.fires, 0);
    assert_int_equal(timers_bound_us(&ts), 55000);
    now_us = 55000;
    timers_advance(&ts, now_us);
    assert_int_equal(late.fires, 1);
    assert_int_equal(timers_bound_us(&ts), UINT64_MAX);
}

static struct timers *shared;
static struct probe other;

static void stop_other(struct timer *timer)
{
    (void)timer;
    list_remove(&other.timer.link);
}

static void restart_self(struct timer *timer)
{
    fired++;
    timers_start(shared, timer, now_us, 0);
}

static void test_changes_while_firing(void **state)
{
    (void)state;
    struct timers ts;
    now_us = 5000;
    timers_init(&ts, now_us);
    shared = &ts;
    struct timer first;
    timer_init(&first, stop_other);
    timer_init(&other.timer, on_fire);
    other.fires = 0;
    timers_start(&ts, &first, now_us, 3000);
    start(&ts, &other, 3000);
    now_us += 10000;
    timers_advance(&ts, now_us);
    assert_int_equal(other.fires, 0);

    struct timer again;
    timer_init(&again, restart_self);
    fired = 0;
    timers_start(&ts, &again, now_us, 0);
    now_us += 100000;
    timers_advance(&ts, now_us);
    assert_int_equal(fired, 1); /* once a phase */
    assert_true(timer_is_started(&again));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_changes_while_firing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
