#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "io/gate.h"
#include "io/sim.h"

enum { MEMBERS = 64 };

struct guest {
    struct gate_member gate;
    struct addr from;
    bool is_begun;
    int dropped;
};

struct fixture {
    struct sim_world *world;
    struct turn *turn;
    struct gate gate;
    struct guest guests[MEMBERS];
    int begun;
};

static struct fixture *now;

static void begin(struct gate_member *m)
{
    CONTAINER_OF(m, struct guest, gate)->is_begun = true;
    now->begun++;
}

static void drop(struct gate_member *m, int err)
{
    CONTAINER_OF(m, struct guest, gate)->dropped = err;
}

static const struct gate_ops ops = {begin, drop};

static int setup(void **state)
{
    static const struct gate_limits limits = {.silent_max = 8,
                                              .ready_max = 8,
                                              .shaking_max = 4,
                                              .strangers_max = 3,
                                              .silent_us = 10000000,
                                              .shaking_us = 5000000,
                                              .grace_us = 1000000};
    struct fixture *f = calloc(1, sizeof *f);
    f->world = sim_world_new(&(struct sim_options){.seed = 1});
    f->turn = turn_new_sim(f->world);
    gate_init(&f->gate, f->turn, &limits, &ops);
    *state = now = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < MEMBERS; i++)
        gate_leave(&f->guests[i].gate);
    gate_deinit(&f->gate);
    turn_free(f->turn);
    sim_world_free(f->world);
    free(f);
    return 0;
}

static struct guest *enter(struct fixture *f, int i, const char *ip)
{
    struct guest *g = &f->guests[i];
    assert_true(addr_parse_ip(str_from_c(ip), 1, &g->from));
    gate_enter(&f->gate, &g->gate, &g->from);
    return g;
}

static void pass(struct fixture *f, uint64_t us)
{
    sim_world_run(f->world, sim_world_now_us(f->world) + us);
}

static void test_the_way_through(void **state)
{
    struct fixture *f = *state;
    struct guest *a = enter(f, 0, "10.0.0.1"), *b = enter(f, 1, "10.0.0.2");
    assert_false(a->is_begun);
    gate_spoke(&a->gate);
    assert_true(a->is_begun);
    gate_shaken(&a->gate, true);
    assert_int_equal(a->gate.state, GATE_OUT);
    gate_spoke(&b->gate);
    gate_shaken(&b->gate, false);
    assert_int_equal(b->gate.state, GATE_STRANGER);
    pass(f, 60000000);
    assert_int_equal(b->dropped, 0); /* who is a stranger is for others to time */
}

static void test_who_says_nothing_goes(void **state)
{
    struct fixture *f = *state;
    struct guest *silent = enter(f, 0, "10.0.0.1"), *slow = enter(f, 1, "10.0.0.1");
    gate_spoke(&slow->gate);
    pass(f, 5500000);
    assert_int_equal(slow->dropped, -ERR_TIMEOUT);
    assert_int_equal(silent->dropped, 0);
    pass(f, 5000000);
    assert_int_equal(silent->dropped, -ERR_TIMEOUT);
    assert_int_equal(f->gate.counts.dropped_late, 2);
}

/* A crowd of one address drops its own oldest; somebody from elsewhere stays. */
static void test_a_crowd_harms_itself(void **state)
{
    struct fixture *f = *state;
    struct guest *other = enter(f, 0, "10.0.0.2");
    for (int i = 1; i <= 40; i++)
        enter(f, i, "10.0.0.1");
    assert_int_equal(other->dropped, 0);
    assert_int_equal(f->guests[1].dropped, -ERR_LIMIT);
    assert_int_equal(f->guests[40].dropped, 0);
    assert_int_equal(f->gate.silent.count, 8);
    gate_spoke(&other->gate);
    assert_true(other->is_begun);
}

static void test_a_network_is_one_address(void **state)
{
    struct fixture *f = *state;
    struct guest *other = enter(f, 0, "2001:db8:1::1");
    for (int i = 1; i <= 40; i++) {
        char ip[64];
        snprintf(ip, sizeof ip, "2001:db8:2:0:%x::1", (unsigned)i);
        enter(f, i, ip);
    }
    assert_int_equal(other->dropped, 0);
}

/* Places are taken by those who stall: after their grace the next one gets one. Of those who wait,
 * addresses come in turns. */
static void test_handshakes_that_stall(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 10; i++) {
        enter(f, i, "10.0.0.1");
        gate_spoke(&f->guests[i].gate);
    }
    assert_int_equal(f->begun, 4);
    struct guest *late = enter(f, 20, "10.0.0.2");
    gate_spoke(&late->gate);
    assert_false(late->is_begun);
    pass(f, 1100000);
    assert_true(late->is_begun);
    assert_int_equal(late->dropped, 0);
    assert_int_equal(f->guests[0].dropped, -ERR_LIMIT);
    assert_int_equal(f->gate.shaking.count, 4);
    /* A place that gets free is taken at once. */
    int before = f->begun;
    gate_leave(&late->gate);
    assert_int_equal(f->begun, before + 1);
}

static void test_strangers_are_few(void **state)
{
    struct fixture *f = *state;
    struct guest *other = enter(f, 0, "10.0.0.2");
    gate_spoke(&other->gate);
    gate_shaken(&other->gate, false);
    for (int i = 1; i <= 10; i++) {
        struct guest *g = enter(f, i, "10.0.0.1");
        gate_spoke(&g->gate);
        gate_shaken(&g->gate, false);
    }
    assert_int_equal(f->gate.strangers.count, 3);
    assert_int_equal(other->dropped, 0);
    assert_int_equal(f->guests[8].dropped, -ERR_LIMIT);
    assert_int_equal(f->guests[10].dropped, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_the_way_through),       T(test_who_says_nothing_goes),
        T(test_a_crowd_harms_itself),  T(test_a_network_is_one_address),
        T(test_handshakes_that_stall), T(test_strangers_are_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
