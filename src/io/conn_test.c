/* Connections on Linux: loopback TCP, unix sockets and socket pairs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "io/conn.h"

struct peer {
    struct turn *turn;
    struct conn *conn;
    int opens, inputs, drains, closes, err;
    bool is_shared, is_echo, is_sink, closes_at_end, ends_at_end;
    size_t got;
    uint64_t sum;
    struct str_buf text;
};

static void on_open(struct conn *c)
{
    struct peer *p = c->ctx;
    assert_true(conn_is_open(c));
    p->conn = c;
    p->opens++;
}

static void on_input(struct conn *c)
{
    struct peer *p = c->ctx;
    assert_true(p->is_shared || p->closes == 0);
    p->inputs++;
    p->got += c->in.len;
    if (p->is_echo) {
        chain_move(&c->out, &c->in, c->in.len);
        conn_mark_dirty(c);
    }
    while (!chain_is_empty(&c->in)) {
        struct str s = chain_first(&c->in);
        for (size_t i = 0; i < s.len; i++)
            p->sum = p->sum * 31 + (uint8_t)s.ptr[i];
        if (!p->is_sink)
            str_buf_add(&p->text, s);
        chain_skip(&c->in, s.len);
    }
    if (conn_is_in_ended(c) && p->ends_at_end)
        conn_end(c);
    if (conn_is_in_ended(c) && p->closes_at_end)
        conn_close(c);
}

static void on_drain(struct conn *c)
{
    struct peer *p = c->ctx;
    p->drains++;
}

static void on_close(struct conn *c, int err)
{
    struct peer *p = c->ctx;
    p->closes++;
    p->err = err;
    p->conn = NULL;
}

static const struct conn_handler handler = {on_open, on_input, on_drain, on_close};

struct fixture {
    struct turn *t;
    struct peer a, b; /* a connects, b is accepted */
    struct listen_socket *ls;
    struct addr at;
};

static void on_accept(void *ctx, struct conn *c)
{
    struct fixture *f = ctx;
    f->b.conn = c;
    conn_set_handler(c, &handler, &f->b);
}

static struct addr loopback(void)
{
    struct addr a;
    assert_true(addr_parse(STR("127.0.0.1:0"), &a));
    return a;
}

static void fixture_init_at(struct fixture *f, struct addr at)
{
    memset(f, 0, sizeof *f);
    f->t = turn_new_linux();
    assert_non_null(f->t);
    f->a.text = f->b.text = STR_BUF_INIT(1 << 20);
    struct listen_options options = {.inherited_fd = -1};
    assert_int_equal(listen_open(f->t, &at, &options, on_accept, f, &f->ls), 0);
    f->at = *listen_addr(f->ls);
}

static void fixture_init(struct fixture *f)
{
    fixture_init_at(f, loopback());
}

static void fixture_connect(struct fixture *f)
{
    struct conn *c = conn_connect(f->t, &f->at, NULL, &handler, &f->a, NULL, NULL);
    assert_false(conn_is_open(c));
    f->a.conn = c;
}

static void fixture_deinit(struct fixture *f)
{
    listen_close(f->ls);
    if (f->a.conn != NULL && f->a.closes == 0)
        conn_abort(f->a.conn, 0);
    if (f->b.conn != NULL && f->b.closes == 0)
        conn_abort(f->b.conn, 0);
    for (int i = 0; i < 3; i++)
        turn_once(f->t, 0);
    assert_int_equal(turn_account(f->t)->bytes, 0);
    str_buf_deinit(&f->a.text);
    str_buf_deinit(&f->b.text);
    assert_null(turn_free(f->t));
}

#define RUN_UNTIL(f, cond)                                                                         \
    do {                                                                                           \
        for (int tries_ = 0; !(cond); tries_++) {                                                  \
            assert_true(tries_ < 20000);                                                           \
            turn_once((f)->t, 100);                                                                \
        }                                                                                          \
    } while (0)

static void test_echo(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    f.b.is_echo = true;
    fixture_connect(&f);
    RUN_UNTIL(&f, f.a.opens == 1 && f.b.opens == 1);
    chain_add(&f.a.conn->out, STR("hello"));
    conn_mark_dirty(f.a.conn);
    RUN_UNTIL(&f, f.a.text.len == 5);
    assert_memory_equal(f.a.text.ptr, "hello", 5);
    assert_int_equal(f.a.conn->bytes_out, 5);
    assert_true(addr_eq(&f.a.conn->remote, &f.at));
    assert_true(addr_eq(&f.a.conn->local, &f.b.conn->remote));
    assert_int_equal(f.b.conn->original_dst.family, ADDR_NONE);
    /* an idle connection holds no chunk */
    assert_int_equal(turn_chunks(f.t)->live_count, 0);
    conn_close(f.a.conn);
    f.b.closes_at_end = true;
    RUN_UNTIL(&f, f.a.closes == 1 && f.b.closes == 1);
    assert_int_equal(f.a.err, 0);
    assert_int_equal(f.b.err, 0);
    fixture_deinit(&f);
}

static void test_half_close(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fixture_connect(&f);
    RUN_UNTIL(&f, f.a.opens && f.b.opens);
    chain_add(&f.a.conn->out, STR("question"));
    conn_mark_dirty(f.a.conn);
    conn_end(f.a.conn);
    RUN_UNTIL(&f, f.b.conn != NULL && conn_is_in_ended(f.b.conn));
    assert_int_equal(f.b.got, 8);
    assert_int_equal(f.b.closes, 0);
    chain_add(&f.b.conn->out, STR("answer"));
    conn_mark_dirty(f.b.conn);
    conn_end(f.b.conn);
    RUN_UNTIL(&f, f.a.closes && f.b.closes);
    assert_int_equal(f.a.got, 6);
    assert_int_equal(f.a.err, 0);
    assert_int_equal(f.b.err, 0);
    fixture_deinit(&f);
}

static void test_big_close(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fixture_connect(&f);
    f.b.is_sink = f.b.closes_at_end = true;
    RUN_UNTIL(&f, f.a.opens && f.b.opens);
    size_t total = 0;
    for (int i = 0; i < 100000; i++) {
        chain_printf(&f.a.conn->out, "line %d of a large text that does not fit the socket\n", i);
    }
    total = f.a.conn->out.len;
    assert_true(total > 5000000);
    conn_mark_dirty(f.a.conn);
    conn_close(f.a.conn);
    RUN_UNTIL(&f, f.a.closes && f.b.closes);
    assert_int_equal(f.a.err, 0);
    assert_int_equal(f.b.got, total);
    fixture_deinit(&f);
}

static void test_backpressure(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fixture_connect(&f);
    f.b.is_sink = true;
    RUN_UNTIL(&f, f.a.opens && f.b.opens);
    conn_pause(f.b.conn);
    static char block[1 << 20];
    for (int i = 0; i < 16; i++)
        chain_add(&f.a.conn->out, str_from(block, sizeof block));
    conn_ask_drain(f.a.conn);
    for (int i = 0; i < 50; i++)
        turn_once(f.t, 1);
    assert_int_equal(f.b.got, 0);
    assert_int_equal(f.a.drains, 0);
    assert_true(conn_out_len(f.a.conn) > 0);
    assert_true(f.b.conn->in.len <= f.b.conn->read_max);
    conn_resume(f.b.conn);
    RUN_UNTIL(&f, f.b.got == 16 << 20);
    RUN_UNTIL(&f, f.a.drains == 1);
    assert_int_equal(conn_out_len(f.a.conn), 0);
    /* Told once for each question, also where there is nothing to be sent. */
    turn_once(f.t, 1);
    assert_int_equal(f.a.drains, 1);
    conn_ask_drain(f.a.conn);
    RUN_UNTIL(&f, f.a.drains == 2);
    fixture_deinit(&f);
}

static void drain_and_write(struct conn *c)
{
    struct peer *p = c->ctx;
    p->drains++;
    chain_add(&c->out, STR("again"));
    conn_ask_drain(c);
}

/* What was all sent goes on in the same turn, a few times. */
static void test_rounds(void **state)
{
    (void)state;
    static const struct conn_handler eager = {on_open, on_input, drain_and_write, on_close};
    struct fixture f;
    fixture_init(&f);
    fixture_connect(&f);
    RUN_UNTIL(&f, f.a.opens && f.b.opens);
    conn_set_handler(f.a.conn, &eager, &f.a);
    RUN_UNTIL(&f, f.a.opens == 2);
    for (int turn = 1; turn <= 3; turn++) {
        uint64_t flushes = turn_flush_count(f.t), sent = f.a.conn->bytes_out;
        if (turn == 1)
            conn_ask_drain(f.a.conn);
        turn_once(f.t, 0);
        assert_int_equal(turn_flush_count(f.t) - flushes, 4);
        /* The question of the last round is answered in the next turn's first. */
        assert_int_equal(f.a.drains, turn * 4 - 1);
        assert_int_equal(f.a.conn->bytes_out - sent, turn == 1 ? 15 : 20);
    }
    fixture_deinit(&f);
}

static void leave_input(struct conn *c)
{
    struct peer *p = c->ctx;
    p->inputs++;
}

static void test_read_max(void **state)
{
    (void)state;
    static const struct conn_handler lazy = {on_open, leave_input, on_drain, on_close};
    struct fixture f;
    fixture_init(&f);
    fixture_connect(&f);
    RUN_UNTIL(&f, f.a.opens && f.b.opens);
    f.b.conn->read_max = 10000;
    conn_set_handler(f.b.conn, &lazy, &f.b);
    static char block[100000];
    chain_add(&f.a.conn->out, str_from(block, sizeof block));
    conn_mark_dirty(f.a.conn);
    RUN_UNTIL(&f, f.b.conn->in.len >= 10000);
    for (int i = 0; i < 20; i++)
        turn_once(f.t, 1);
    assert_int_equal(f.b.conn->in.len, 10000);
    /* consumed outside on_input: reading goes on when that is said */
    size_t taken = 0;
    for (int i = 0; taken < sizeof block; i++) {
        assert_true(i < 1000);
        taken += f.b.conn->in.len;
        chain_clear(&f.b.conn->in);
        conn_wake(f.b.conn);
        turn_once(f.t, 1);
    }
    assert_int_equal(taken, sizeof block);
    fixture_deinit(&f);
}

static void test_refused(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    listen_close(f.ls);
    turn_once(f.t, 0);
    f.ls = NULL;
    fixture_connect(&f);
    RUN_UNTIL(&f, f.a.closes == 1);
    assert_int_equal(f.a.err, -ERR_REFUSED);
    assert_int_equal(f.a.opens, 0);
    fixture_deinit(&f);
}

static void test_connect_timeout(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    listen_close(f.ls);
    f.ls = NULL;
    /* A backlog of one that nobody takes from: later connects wait. */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_storage sa;
    struct addr at = loopback();
    assert_int_equal(bind(fd, (void *)&sa, addr_to_sockaddr(&at, &sa)), 0);
    assert_int_equal(listen(fd, 0), 0);
    socklen_t len = sizeof sa;
    getsockname(fd, (void *)&sa, &len);
    addr_from_sockaddr(&sa, len, &f.at);
    int filler = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(filler, (void *)&sa, len), 0);
    struct conn_options options = {.connect_timeout_us = 30000};
    f.a.conn = conn_connect(f.t, &f.at, &options, &handler, &f.a, NULL, NULL);
    RUN_UNTIL(&f, f.a.closes == 1);
    assert_int_equal(f.a.err, -ERR_TIMEOUT);
    close(fd);
    close(filler);
    fixture_deinit(&f);
}

static void test_abort_resets(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fixture_connect(&f);
    RUN_UNTIL(&f, f.a.opens && f.b.opens);
    conn_abort(f.a.conn, -ERR_CANCELED);
    assert_int_equal(f.a.closes, 0); /* never from within */
    RUN_UNTIL(&f, f.a.closes && f.b.closes);
    assert_int_equal(f.a.err, -ERR_CANCELED);
    assert_int_equal(f.b.err, -ERR_RESET);
    fixture_deinit(&f);
}

/* What the peer said before it reset is delivered first. */
static void test_answer_before_reset(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fixture_connect(&f);
    RUN_UNTIL(&f, f.a.opens && f.b.opens);
    chain_add(&f.b.conn->out, STR("413"));
    conn_mark_dirty(f.b.conn);
    turn_once(f.t, 0);
    conn_abort(f.b.conn, 0);
    chain_add(&f.a.conn->out, STR("more"));
    conn_mark_dirty(f.a.conn);
    RUN_UNTIL(&f, f.a.closes == 1);
    assert_int_equal(f.a.got, 3);
    assert_int_equal(f.a.err, -ERR_RESET);
    fixture_deinit(&f);
}

/* A peer that goes away is noticed while reading is paused, when nothing is left to read. */
static void test_reset_while_paused(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fixture_connect(&f);
    RUN_UNTIL(&f, f.a.opens && f.b.opens);
    conn_pause(f.b.conn);
    conn_abort(f.a.conn, 0);
    RUN_UNTIL(&f, f.b.closes == 1);
    assert_int_equal(f.b.err, -ERR_RESET);
    fixture_deinit(&f);
}

static void test_unix(void **state)
{
    (void)state;
    struct addr at;
    char path[64];
    snprintf(path, sizeof path, "@tulle-conn-test-%d", (int)getpid());
    assert_true(addr_parse(str_from_c(path), &at));
    struct fixture f;
    fixture_init_at(&f, at);
    f.b.is_echo = true;
    fixture_connect(&f);
    RUN_UNTIL(&f, f.a.opens && f.b.opens);
    chain_add(&f.a.conn->out, STR("x"));
    conn_mark_dirty(f.a.conn);
    RUN_UNTIL(&f, f.a.got == 1);
    fixture_deinit(&f);
}

static void test_stale_unix_path(void **state)
{
    (void)state;
    char path[64];
    snprintf(path, sizeof path, "/tmp/tulle-conn-test-%d", (int)getpid());
    struct addr at;
    assert_true(addr_parse(str_from_c(path), &at));
    for (int i = 0; i < 2; i++) {
        struct fixture f;
        fixture_init_at(&f, at);
        fixture_connect(&f);
        RUN_UNTIL(&f, f.a.opens && f.b.opens);
        struct listen_socket *second;
        assert_int_equal(listen_open(f.t, &at, NULL, on_accept, &f, &second), -ERR_EXISTS);
        fixture_deinit(&f);
    }
    unlink(path);
}

static void test_adopt(void **state)
{
    (void)state;
    struct turn *t = turn_new_linux();
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    struct peer p = {.text = STR_BUF_INIT(100)};
    struct conn *c = conn_adopt_fd(t, fds[0], &handler, &p);
    assert_int_equal(write(fds[1], "abc", 3), 3);
    while (p.got < 3)
        turn_once(t, 100);
    assert_int_equal(p.opens, 1);
    chain_add(&c->out, STR("bye"));
    conn_close(c);
    turn_once(t, 0);
    turn_once(t, 0);
    assert_int_equal(p.closes, 1);
    char buf[8];
    assert_int_equal(read(fds[1], buf, sizeof buf), 3);
    assert_int_equal(read(fds[1], buf, sizeof buf), 0);
    close(fds[1]);
    str_buf_deinit(&p.text);
    turn_free(t);
}

static void test_many(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    f.b.is_sink = f.b.closes_at_end = f.b.is_shared = true;
    struct peer clients[200];
    memset(clients, 0, sizeof clients);
    for (size_t i = 0; i < ARRAY_LEN(clients); i++)
        conn_connect(f.t, &f.at, NULL, &handler, &clients[i], NULL, NULL);
    size_t opens = 0;
    while (opens < ARRAY_LEN(clients)) {
        turn_once(f.t, 100);
        opens = 0;
        for (size_t i = 0; i < ARRAY_LEN(clients); i++)
            opens += (size_t)clients[i].opens;
    }
    for (size_t i = 0; i < ARRAY_LEN(clients); i++)
        conn_close(clients[i].conn);
    RUN_UNTIL(&f, f.b.closes == (int)ARRAY_LEN(clients));
    for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
        assert_int_equal(clients[i].closes, 1);
        assert_int_equal(clients[i].err, 0);
    }
    f.b.conn = NULL;
    fixture_deinit(&f);
}

static void swap_handler(struct conn *c);

static void test_swap_handler(void **state)
{
    (void)state;
    static const struct conn_handler first = {NULL, swap_handler, NULL, on_close};
    struct fixture f;
    fixture_init(&f);
    fixture_connect(&f);
    RUN_UNTIL(&f, f.a.opens && f.b.opens);
    conn_set_handler(f.b.conn, &first, &f.b);
    f.b.opens = 0;
    chain_add(&f.a.conn->out, STR("peek"));
    conn_mark_dirty(f.a.conn);
    RUN_UNTIL(&f, f.b.got == 4);
    assert_int_equal(f.b.opens, 1);
    assert_int_equal(f.b.inputs, 1);
    fixture_deinit(&f);
}

static void swap_handler(struct conn *c)
{
    conn_set_handler(c, &handler, c->ctx);
}

static void check_opened(struct conn *c)
{
    struct peer *p = c->ctx;
    assert_int_equal(p->opens, 1); /* on_open comes first, whenever the handler was changed */
    on_input(c);
}

static void swap_at_open(struct conn *c)
{
    static const struct conn_handler second = {on_open, check_opened, on_drain, on_close};
    conn_set_handler(c, &second, c->ctx);
}

static void test_swap_at_open(void **state)
{
    (void)state;
    static const struct conn_handler first = {swap_at_open, on_input, NULL, on_close};
    struct fixture f;
    fixture_init(&f);
    fixture_connect(&f);
    RUN_UNTIL(&f, f.a.opens && f.b.opens);
    f.b.opens = 0;
    chain_add(&f.a.conn->out, STR("x"));
    conn_mark_dirty(f.a.conn);
    turn_once(f.t, 0);
    conn_set_handler(f.b.conn, &first, &f.b);
    RUN_UNTIL(&f, f.b.got == 1);
    fixture_deinit(&f);
}

/* Out of descriptors: the listener rests instead of spinning, and comes back. */
static void test_starved(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_storage sa;
    unsigned len = addr_to_sockaddr(&f.at, &sa);
    assert_int_equal(connect(fd, (void *)&sa, len), 0);
    struct rlimit old, none;
    getrlimit(RLIMIT_NOFILE, &old);
    none = (struct rlimit){(rlim_t)fd, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    turn_once(f.t, 100);
    uint64_t begin = turn_now_us(f.t);
    turn_once(f.t, 50);
    assert_true(turn_now_us(f.t) - begin >= 40000);
    assert_int_equal(f.b.opens, 0);
    setrlimit(RLIMIT_NOFILE, &old);
    RUN_UNTIL(&f, f.b.opens == 1);
    close(fd);
    fixture_deinit(&f);
}

/* A descriptor that came from outside serves like one of our own; others are refused. */
static void test_inherited(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    listen_close(f.ls);
    struct addr at = loopback();
    struct sockaddr_storage sa;
    unsigned len = addr_to_sockaddr(&at, &sa);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct listen_options options = {.inherited_fd = fd};
    assert_int_equal(bind(fd, (void *)&sa, len), 0);
    assert_int_equal(listen_open(f.t, &at, &options, on_accept, &f, &f.ls), -ERR_INVALID);
    assert_int_equal(listen(fd, 10), 0);
    assert_int_equal(listen_open(f.t, &at, &options, on_accept, &f, &f.ls), 0);
    f.at = *listen_addr(f.ls);
    assert_true(f.at.port > 0);
    fixture_connect(&f);
    RUN_UNTIL(&f, f.a.opens && f.b.opens);
    fixture_deinit(&f);
}

/* While it is paused connections wait in the backlog. */
static void test_listen_pause(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    listen_pause(f.ls);
    listen_pause(f.ls);
    fixture_connect(&f);
    RUN_UNTIL(&f, f.a.opens);
    for (int i = 0; i < 5; i++)
        turn_once(f.t, 5);
    assert_int_equal(f.b.opens, 0);
    listen_resume(f.ls);
    RUN_UNTIL(&f, f.b.opens == 1);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_half_close),
        cmocka_unit_test(test_big_close),
        cmocka_unit_test(test_backpressure),
        cmocka_unit_test(test_rounds),
        cmocka_unit_test(test_read_max),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_connect_timeout),
        cmocka_unit_test(test_abort_resets),
        cmocka_unit_test(test_answer_before_reset),
        cmocka_unit_test(test_reset_while_paused),
        cmocka_unit_test(test_unix),
        cmocka_unit_test(test_stale_unix_path),
        cmocka_unit_test(test_adopt),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_swap_handler),
        cmocka_unit_test(test_swap_at_open),
        cmocka_unit_test(test_starved),
        cmocka_unit_test(test_inherited),
        cmocka_unit_test(test_listen_pause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
