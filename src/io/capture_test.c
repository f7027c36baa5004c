/* Captured connections: what netfilter redirects tells where it wanted to go, and the mark keeps
 * our own traffic out. Needs root and nft, in a network namespace of its own; else it is skipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "io/conn.h"

static struct conn *accepted;
static int closes, last_err;

static void on_close(struct conn *c, int err)
{
    (void)c;
    closes++;
    last_err = err;
}

static const struct conn_handler handler = {NULL, NULL, NULL, on_close};

static void on_accept(void *ctx, struct conn *c)
{
    (void)ctx;
    accepted = c;
    conn_set_handler(c, &handler, NULL);
}

static bool prepare(void)
{
    return geteuid() == 0 && unshare(CLONE_NEWNET) == 0 &&
           system("ip link set lo up && ip route add default dev lo && "
                  "ip -6 route add default dev lo 2>/dev/null; "
                  "nft -f - <<'END'\n"
                  "table inet capture {\n"
                  " chain out { type nat hook output priority -100;\n"
                  "  meta mark 0x539 return\n"
                  "  tcp dport 80 redirect to :15001\n"
                  " }\n}\n"
                  "END") == 0;
}

static void try_one(struct turn *t, const char *to, uint32_t mark, bool is_captured)
{
    struct conn_options options = {.mark = mark, .connect_timeout_us = 200000};
    struct addr dst;
    assert_true(addr_parse(str_from_c(to), &dst));
    accepted = NULL;
    closes = 0;
    struct conn *c = conn_connect(t, &dst, &options, &handler, NULL, NULL, NULL);
    for (int i = 0; i < 100 && accepted == NULL && closes == 0; i++)
        turn_once(t, 10);
    assert_int_equal(accepted != NULL, is_captured);
    if (is_captured) {
        assert_true(addr_eq(&accepted->original_dst, &dst));
        conn_abort(accepted, 0);
    }
    conn_abort(c, 0);
    turn_once(t, 0);
    turn_once(t, 0);
}

static void test_original_dst(void **state)
{
    (void)state;
    if (!prepare()) {
        print_message("skipped: needs root, ip and nft\n");
        skip();
    }
    struct turn *t = turn_new_linux();
    struct listen_socket *ls;
    struct addr at;
    struct listen_options options = {.is_transparent_dst = true, .inherited_fd = -1};
    addr_parse(STR("[::]:15001"), &at);
    assert_int_equal(listen_open(t, &at, &options, on_accept, NULL, &ls), 0);
    try_one(t, "240.240.0.1:80", 0, true);
    try_one(t, "[2001:db8::7]:80", 0, true);
    try_one(t, "127.0.0.1:80", 0, true);
    try_one(t, "127.0.0.1:80", 0x539, false);
    /* straight to the listener: not captured */
    struct addr direct;
    addr_parse(STR("127.0.0.1:15001"), &direct);
    accepted = NULL;
    struct conn *c = conn_connect(t, &direct, NULL, &handler, NULL, NULL, NULL);
    for (int i = 0; i < 100 && accepted == NULL; i++)
        turn_once(t, 10);
    assert_non_null(accepted);
    assert_int_equal(accepted->original_dst.family, ADDR_NONE);
    conn_abort(c, 0);
    conn_abort(accepted, 0);
    turn_once(t, 0);
    listen_close(ls);
    turn_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_original_dst),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
