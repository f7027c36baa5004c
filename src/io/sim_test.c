/* Connections on the simulated backend, a layer included: same rules as on Linux, under seeds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "io/sim.h"

struct peer {
    struct conn *conn;
    int opens, closes, err;
    bool is_echo, ends_at_end;
    struct str_buf text;
    uint64_t opened_at_us, closed_at_us;
};

static void on_open(struct conn *c)
{
    struct peer *p = c->ctx;
    p->conn = c;
    p->opens++;
    p->opened_at_us = turn_now_us(c->turn);
}

static void on_input(struct conn *c)
{
    struct peer *p = c->ctx;
    assert_true(p->opens > 0 && p->closes == 0);
    for (uint32_t i = 0; i < c->in.count; i++)
        str_buf_add(&p->text, chain_slice_str(&c->in, i));
    if (p->is_echo) {
        chain_move(&c->out, &c->in, c->in.len);
        conn_mark_dirty(c);
    } else {
        chain_clear(&c->in);
    }
    if (conn_is_in_ended(c) && p->ends_at_end)
        conn_end(c);
}

static void on_close(struct conn *c, int err)
{
    struct peer *p = c->ctx;
    p->closes++;
    p->err = err;
    p->closed_at_us = turn_now_us(c->turn);
}

static const struct conn_handler handler = {on_open, on_input, NULL, on_close};

/* ---- A layer to test with: a greeting each way, then every byte xor'ed; '\xff' says farewell ----
 */

struct toy {
    bool is_client, has_greeted, is_open, refuses;
};

static int toy_input(void *layer, struct chain *wire_in, struct chain *plain_in,
                     struct chain *wire_out, bool *ret_is_open, bool *ret_is_ended)
{
    struct toy *y = layer;
    if (!y->has_greeted && (y->is_client || !chain_is_empty(wire_in))) {
        chain_add(wire_out, STR("HI"));
        y->has_greeted = true;
    }
    if (!y->is_open) {
        if (wire_in->len < 2)
            return 0;
        struct str s = chain_pullup(wire_in, 2);
        if (!str_eq(s, STR("HI")) || y->refuses) {
            chain_add(wire_out, STR("!"));
            return -ERR_TLS;
        }
        chain_skip(wire_in, 2);
        y->is_open = *ret_is_open = true;
    }
    while (!chain_is_empty(wire_in)) {
        char c = *chain_first(wire_in).ptr;
        chain_skip(wire_in, 1);
        if (c == '\xff') {
            *ret_is_ended = true;
            return 0;
        }
        c ^= 1;
        chain_add(plain_in, str_from(&c, 1));
    }
    return 0;
}

static int toy_output(void *layer, struct chain *plain_out, struct chain *wire_out)
{
    (void)layer;
    while (!chain_is_empty(plain_out)) {
        char c = *chain_first(plain_out).ptr;
        c ^= 1;
        chain_add(wire_out, str_from(&c, 1));
        chain_skip(plain_out, 1);
    }
    return 0;
}

static void toy_end(void *layer, struct chain *wire_out)
{
    (void)layer;
    chain_add(wire_out, STR("\xff"));
}

static struct str toy_error_text(void *layer)
{
    (void)layer;
    return STR("toy");
}

static const struct conn_layer_ops toy_ops = {
    toy_input, toy_output, toy_end, free, toy_error_text, "toy",
};

static struct toy *toy_new(bool is_client)
{
    struct toy *y = calloc(1, sizeof *y);
    y->is_client = is_client;
    return y;
}

/* ---- ---- */

struct fixture {
    struct sim_world *w;
    struct turn *ta, *tb;
    struct peer a, b;
    struct listen_socket *ls;
    struct addr at;
    bool has_layer, b_refuses;
};

static void on_accept(void *ctx, struct conn *c)
{
    struct fixture *f = ctx;
    f->b.conn = c;
    conn_set_handler(c, &handler, &f->b);
    if (f->has_layer) {
        struct toy *y = toy_new(false);
        y->refuses = f->b_refuses;
        conn_set_layer(c, &toy_ops, y);
    }
}

static void fixture_init(struct fixture *f, struct sim_options o)
{
    memset(f, 0, sizeof *f);
    f->w = sim_world_new(&o);
    f->ta = turn_new_sim(f->w);
    f->tb = turn_new_sim(f->w);
    f->a.text = f->b.text = STR_BUF_INIT(1 << 20);
    assert_true(addr_parse(STR("10.0.0.1:80"), &f->at));
    assert_int_equal(listen_open(f->tb, &f->at, NULL, on_accept, f, &f->ls), 0);
}

static void connect_a(struct fixture *f, uint64_t timeout_us)
{
    struct conn_options options = {.connect_timeout_us = timeout_us};
    f->a.conn = conn_connect(f->ta, &f->at, &options, &handler, &f->a,
                             f->has_layer ? &toy_ops : NULL, f->has_layer ? toy_new(true) : NULL);
}

static void fixture_deinit(struct fixture *f)
{
    listen_close(f->ls);
    turn_free(f->ta);
    turn_free(f->tb);
    sim_world_free(f->w);
    str_buf_deinit(&f->a.text);
    str_buf_deinit(&f->b.text);
}

static void test_round_trip(void **state)
{
    (void)state;
    static const uint32_t pieces[] = {0, 1, 3, 100};
    for (uint64_t seed = 0; seed < 80; seed++) {
        struct fixture f;
        fixture_init(&f, (struct sim_options){.seed = seed,
                                              .latency_us_min = 10,
                                              .latency_us_max = 5000,
                                              .piece_bytes_max = pieces[seed % 4],
                                              .pipe_bytes_max = seed % 5 == 0 ? 7 : 0});
        f.has_layer = seed % 2 == 0;
        f.b.is_echo = f.b.ends_at_end = true;
        connect_a(&f, 0);
        for (int i = 0; i < 200; i++)
            chain_printf(&f.a.conn->out, "line %d\n", i);
        size_t total = f.a.conn->out.len;
        conn_mark_dirty(f.a.conn);
        conn_end(f.a.conn);
        assert_true(sim_world_run(f.w, UINT64_MAX));
        assert_int_equal(f.a.opens, 1);
        assert_int_equal(f.b.opens, 1);
        assert_int_equal(f.a.closes, 1);
        assert_int_equal(f.b.closes, 1);
        assert_int_equal(f.a.err, 0);
        assert_int_equal(f.b.err, 0);
        assert_int_equal(f.a.text.len, total);
        assert_memory_equal(f.a.text.ptr, f.b.text.ptr, total);
        assert_int_equal(turn_account(f.ta)->bytes, 0);
        fixture_deinit(&f);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, (struct sim_options){.seed = 1, .latency_us_min = 100});
    sim_world_refuse(f.w, &f.at, false);
    connect_a(&f, 1000000);
    assert_true(sim_world_run(f.w, UINT64_MAX));
    assert_int_equal(f.a.err, -ERR_REFUSED);
    fixture_deinit(&f);

    fixture_init(&f, (struct sim_options){.seed = 1, .latency_us_min = 100});
    sim_world_refuse(f.w, &f.at, true);
    uint64_t begin = sim_world_now_us(f.w);
    connect_a(&f, 1000000);
    assert_true(sim_world_run(f.w, UINT64_MAX));
    assert_int_equal(f.a.err, -ERR_TIMEOUT);
    assert_int_equal(f.a.closed_at_us, begin + 1000000);
    fixture_deinit(&f);

    fixture_init(&f, (struct sim_options){.seed = 1, .latency_us_min = 100});
    f.at.port = 81;
    connect_a(&f, 0);
    assert_true(sim_world_run(f.w, UINT64_MAX));
    assert_int_equal(f.a.err, -ERR_REFUSED);
    fixture_deinit(&f);
}

static void test_cut(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, (struct sim_options){.seed = 1, .latency_us_min = 100});
    connect_a(&f, 0);
    sim_world_run(f.w, UINT64_MAX);
    assert_true(f.a.opens && f.b.opens);
    sim_world_cut(f.w, &f.at);
    assert_true(sim_world_run(f.w, UINT64_MAX));
    assert_int_equal(f.a.err, -ERR_RESET);
    assert_int_equal(f.b.err, -ERR_RESET);
    fixture_deinit(&f);
}

static void test_layer_fails(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, (struct sim_options){.seed = 1, .latency_us_min = 100});
    f.has_layer = f.b_refuses = true;
    connect_a(&f, 0);
    assert_true(sim_world_run(f.w, UINT64_MAX));
    assert_int_equal(f.b.err, -ERR_TLS);
    assert_int_equal(f.b.opens, 0);
    assert_int_equal(f.b.closes, 1);
    /* b greeted before it failed, so a was open when the wire ended without farewell */
    assert_int_equal(f.a.opens, 1);
    assert_string_equal(f.a.text.ptr, " "); /* the alert came through: '!' ^ 1 */
    assert_int_equal(f.a.conn->err, -ERR_TRUNCATED);
    conn_close(f.a.conn);
    assert_true(sim_world_run(f.w, UINT64_MAX));
    assert_int_equal(f.a.closes, 1);
    assert_int_equal(f.a.err, -ERR_TRUNCATED);
    fixture_deinit(&f);
}

static void on_peek(struct conn *c);
static const struct conn_handler peeker = {NULL, on_peek, NULL, on_close};

/* A detector looks at the first bytes, leaves them and puts the layer on. */
static void on_peek(struct conn *c)
{
    if (c->in.len < 2)
        return;
    conn_set_layer(c, &toy_ops, toy_new(false));
    conn_set_handler(c, &handler, c->ctx);
}

static void on_accept_peek(void *ctx, struct conn *c)
{
    struct fixture *f = ctx;
    f->b.conn = c;
    conn_set_handler(c, &peeker, &f->b);
}

static void test_layer_after_peek(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct fixture f;
        fixture_init(&f, (struct sim_options){.seed = seed,
                                              .latency_us_max = 300,
                                              .piece_bytes_max = (uint32_t)(seed % 3)});
        f.has_layer = true;
        listen_close(f.ls);
        assert_int_equal(listen_open(f.tb, &f.at, NULL, on_accept_peek, &f, &f.ls), 0);
        connect_a(&f, 0);
        chain_add(&f.a.conn->out, STR("secret"));
        conn_end(f.a.conn);
        f.b.ends_at_end = f.b.is_echo = true;
        assert_true(sim_world_run(f.w, UINT64_MAX));
        assert_int_equal(f.b.opens, 1);
        assert_string_equal(f.b.text.ptr, "secret");
        assert_string_equal(f.a.text.ptr, "secret");
        assert_int_equal(f.a.closes + f.b.closes, 2);
        fixture_deinit(&f);
    }
}

/* The same seed gives the same run. */
static void test_repeatable(void **state)
{
    (void)state;
    uint64_t ends[2];
    for (int i = 0; i < 2; i++) {
        struct fixture f;
        fixture_init(&f, (struct sim_options){.seed = 42,
                                              .latency_us_min = 5,
                                              .latency_us_max = 9000,
                                              .piece_bytes_max = 10});
        f.b.is_echo = f.b.ends_at_end = true;
        connect_a(&f, 0);
        chain_add(&f.a.conn->out, STR("some bytes that travel in small pieces"));
        conn_end(f.a.conn);
        sim_world_run(f.w, UINT64_MAX);
        ends[i] = f.a.closed_at_us;
        fixture_deinit(&f);
    }
    assert_int_equal(ends[0], ends[1]);
}

static void test_close_lingers(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, (struct sim_options){.seed = 1, .latency_us_min = 100});
    connect_a(&f, 0);
    sim_world_run(f.w, UINT64_MAX);
    conn_pause(f.b.conn);
    static char block[1 << 20];
    chain_add(&f.a.conn->out, str_from(block, sizeof block));
    uint64_t begin = sim_world_now_us(f.w);
    conn_close(f.a.conn);
    sim_world_run(f.w, begin + 4000000);
    assert_int_equal(f.a.closes, 0);
    sim_world_run(f.w, begin + 6000000);
    assert_int_equal(f.a.closes, 1);
    assert_int_equal(f.a.err, -ERR_TIMEOUT);
    fixture_deinit(&f);
}

/* Without a wait for the peer's end a connection is gone as soon as all is sent. */
static void test_close_wait(void **state)
{
    (void)state;
    static const uint32_t waits_us[] = {0, 500000};
    for (size_t i = 0; i < ARRAY_LEN(waits_us); i++) {
        struct fixture f;
        fixture_init(&f, (struct sim_options){.seed = 1, .latency_us_min = 100});
        connect_a(&f, 0);
        sim_world_run(f.w, UINT64_MAX);
        conn_pause(f.b.conn); /* does not see the end, and sends none */
        f.a.conn->close_wait_us = waits_us[i];
        uint64_t begin = sim_world_now_us(f.w);
        conn_close(f.a.conn);
        sim_world_run(f.w, UINT64_MAX);
        assert_int_equal(f.a.closes, 1);
        assert_true(sim_world_now_us(f.w) - begin >= waits_us[i]);
        assert_true(sim_world_now_us(f.w) - begin < waits_us[i] + 100000);
        fixture_deinit(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_layer_fails),
        cmocka_unit_test(test_layer_after_peek),
        cmocka_unit_test(test_repeatable),
        cmocka_unit_test(test_close_lingers),
        cmocka_unit_test(test_close_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
