/* The ladder of the byte budget as a function of what is held, and whom its last rung takes. */
#include "proxy/flow/flow_test_util.h"

static void test_rungs(void **state)
{
    static const struct {
        enum overload_rung now;
        unsigned percent;
        enum overload_rung then;
    } cases[] = {
        {OVERLOAD_CALM, 0, OVERLOAD_CALM},      {OVERLOAD_CALM, 69, OVERLOAD_CALM},
        {OVERLOAD_CALM, 70, OVERLOAD_READ},     {OVERLOAD_READ, 66, OVERLOAD_READ},
        {OVERLOAD_READ, 64, OVERLOAD_CALM},     {OVERLOAD_CALM, 99, OVERLOAD_RESET},
        {OVERLOAD_RESET, 91, OVERLOAD_RESET},   {OVERLOAD_RESET, 89, OVERLOAD_SHED},
        {OVERLOAD_RESET, 84, OVERLOAD_ACCEPT},  {OVERLOAD_SHED, 10, OVERLOAD_CALM},
        {OVERLOAD_ACCEPT, 500, OVERLOAD_RESET},
    };
    struct limits l;
    limits_init(&l);
    assert_int_equal(overload_rung_of(&l, OVERLOAD_CALM, 1ull << 40), OVERLOAD_CALM); /* none set */
    l.memory_budget_bytes = 100 * 1000;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(overload_rung_of(&l, cases[i].now, cases[i].percent * 1000ull),
                         cases[i].then);
    /* One at the very bottom can be left, too. */
    l.overload_read_percent = 2;
    assert_int_equal(overload_rung_of(&l, OVERLOAD_READ, 0), OVERLOAD_CALM);
}

static void test_the_growth_of_a_worker(void **state)
{
    struct limits l;
    limits_init(&l);
    l.memory_budget_bytes = 64 << 20;
    assert_int_equal(overload_growth(&l, 32 << 20, 4), 8 << 20);
    assert_int_equal(overload_growth(&l, (64 << 20) - 4096, 4), 64 << 10);
    assert_int_equal(overload_growth(&l, 65 << 20, 1), 64 << 10);
    l.memory_budget_bytes = 640 << 10;
    assert_int_equal(overload_growth(&l, 640 << 10, 1), 10 << 10);
}

static void test_who_has_to_give(void **state)
{
    assert_true(overload_is_above_part(100, 100, 1));
    assert_true(overload_is_above_part(25, 100, 4));
    assert_false(overload_is_above_part(24, 100, 4));
    assert_false(overload_is_above_part(1, 100, 2));
    assert_true(overload_is_above_part(99, 100, 2));
}

/* What a request keeps of its body is its connection's, too: that one goes, the small one stays. */
static void test_the_largest_goes_when_memory_is_short(void **state)
{
    enum { BODY_LEN = 60000 };
    static char body[BODY_LEN + 1];
    struct client large, small, other;
    memset(body, 'b', BODY_LEN);
    open_world();
    set_listener(&(struct spec){.name = "in", .ip = "10.1.0.1", .port = 8080, .cluster = "c"});
    rig.origins[0].mode = ORIGIN_HANGS;
    client_open(&small, "10.1.0.1", 8080);
    client_say(&small, GET);
    client_open(&large, "10.1.0.1", 8080);
    client_say(&large, "PUT /x HTTP/1.1\r\nHost: catalog\r\nContent-Length: 60000\r\n\r\n");
    client_say(&large, body);
    rig_run(SECOND);
    rig.limits.memory_budget_bytes = turn_held_bytes(rig.turn);
    client_open(&other, "10.1.0.1", 8080); /* something happens */
    rig_run(SECOND);
    assert_int_equal(metrics_get(rig.metrics, COUNTER_OVERLOAD_RESETS), 1);
    assert_true(client_got(&large, "HTTP/1.1 503 ") || is_gone(&large));
    assert_int_equal(small.got.len, 0);
    assert_false(is_gone(&small));
    rig.limits.memory_budget_bytes = 0;
    client_forget(&other);
    client_forget(&small);
    client_forget(&large);
    close_world();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rungs),
        cmocka_unit_test(test_the_growth_of_a_worker),
        cmocka_unit_test(test_who_has_to_give),
        cmocka_unit_test(test_the_largest_goes_when_memory_is_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
