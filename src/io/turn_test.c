
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "io/dgram.h"
#include "io/turn.h"

struct step {
    struct turn_task task;
    struct turn *turn;
    int runs, runs_max;
    struct turn_task *victim;
};

static void run_step(struct turn_task *task)
{
    struct step *s = (struct step *)task;
    s->runs++;
    if (s->victim != NULL)
        turn_cancel(s->victim);
    if (s->runs < s->runs_max)
        turn_soon(s->turn, task);
}

static void test_tasks(void **state)
{
    (void)state;
    struct turn *t = turn_new_linux();
    struct step b = {.turn = t, .runs_max = 1};
    struct step a = {.turn = t, .runs_max = 1, .victim = &b.task};
    turn_task_init(&a.task, run_step);
    turn_task_init(&b.task, run_step);
    turn_soon(t, &a.task);
    turn_soon(t, &a.task);
    turn_soon(t, &b.task);
    turn_once(t, 0);
    assert_int_equal(a.runs, 1);
    assert_int_equal(b.runs, 0); /* cancelled by a, in the same batch */
    turn_free(t);
}

static void count_fire(struct timer *timer);

struct ticker {
    struct timer timer;
    int fires;
};

static void count_fire(struct timer *timer)
{
    ((struct ticker *)timer)->fires++;
}

/* A task that queues itself for ever starves neither timers nor the caller. */
static void test_endless_task(void **state)
{
    (void)state;
    struct turn *t = turn_new_linux();
    struct step a = {.turn = t, .runs_max = INT32_MAX};
    struct ticker k = {.fires = 0};
    turn_task_init(&a.task, run_step);
    timer_init(&k.timer, count_fire);
    turn_soon(t, &a.task);
    timer_start(t, &k.timer, 2000);
    for (int i = 0; i < 100000 && k.fires == 0; i++)
        turn_once(t, -1);
    assert_int_equal(k.fires, 1);
    turn_cancel(&a.task);
    turn_free(t);
}

static void test_timer_wait(void **state)
{
    (void)state;
    struct turn *t = turn_new_linux();
    struct ticker k = {.fires = 0};
    timer_init(&k.timer, count_fire);
    turn_once(t, 0);
    uint64_t before = turn_now_us(t);
    timer_start(t, &k.timer, 20000);
    int turns = 0;
    while (k.fires == 0) {
        turn_once(t, -1);
        turns++;
    }
    assert_true(turn_now_us(t) - before >= 20000);
    assert_true(turns <= 3);
    timer_start(t, &k.timer, 1000);
    timer_stop(&k.timer);
    turn_once(t, 5);
    assert_int_equal(k.fires, 1);
    turn_free(t);
}

/* ---- Mailbox ---- */

enum { SENDERS = 4, MAILS = 20000 };

struct letter {
    struct mail mail;
    int sender, number;
    int *last; /* of all senders */
    int *total;
};

struct sender {
    struct turn *to;
    struct letter *letters;
};

static void on_letter(struct turn *turn, struct mail *mail)
{
    struct letter *l = (struct letter *)mail;
    assert_int_equal(l->number, l->last[l->sender] + 1);
    l->last[l->sender] = l->number;
    if (++*l->total == SENDERS * MAILS)
        turn_stop(turn);
}

static void *send_letters(void *arg)
{
    struct sender *s = arg;
    for (int i = 0; i < MAILS; i++)
        mailbox_post(s->to, &s->letters[i].mail);
    return NULL;
}

static void test_mailbox(void **state)
{
    (void)state;
    struct turn *t = turn_new_linux();
    int last[SENDERS] = {0}, total = 0;
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    for (int s = 0; s < SENDERS; s++) {
        senders[s] = (struct sender){t, calloc(MAILS, sizeof(struct letter))};
        for (int i = 0; i < MAILS; i++)
            senders[s].letters[i] = (struct letter){{NULL, on_letter}, s, i + 1, last, &total};
    }
    for (int s = 0; s < SENDERS; s++)
        assert_int_equal(pthread_create(&threads[s], NULL, send_letters, &senders[s]), 0);
    turn_run(t);
    for (int s = 0; s < SENDERS; s++) {
        pthread_join(threads[s], NULL);
        free(senders[s].letters);
    }
    assert_int_equal(total, SENDERS * MAILS);
    turn_free(t);
}

/* ---- Watches and datagrams ---- */

static int seen;

static void on_ready(struct watch *w, bool is_readable, bool is_writable)
{
    (void)is_writable;
    char c;
    if (is_readable && read(w->fd, &c, 1) == 1)
        seen++;
}

static void test_watch(void **state)
{
    (void)state;
    struct turn *t = turn_new_linux();
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    struct watch w;
    assert_int_equal(watch_start(t, &w, fds[0], false, on_ready), 0);
    assert_int_equal(write(fds[1], "ab", 2), 2);
    turn_once(t, 100);
    turn_once(t, 100); /* level-triggered: the second byte shows again */
    assert_int_equal(seen, 2);
    watch_stop(&w);
    assert_int_equal(write(fds[1], "c", 1), 1);
    turn_once(t, 1);
    assert_int_equal(seen, 2);
    watch_stop(&w);
    close(fds[0]);
    close(fds[1]);
    turn_free(t);
}

static struct dgram *sockets[2];

static void on_dgram(void *ctx, const struct addr *from, struct str payload)
{
    int *count = ctx;
    ++*count;
    if (str_eq(payload, STR("ping")))
        dgram_send(sockets[1], from, STR("pong"));
    else
        assert_true(str_eq(payload, STR("pong")));
}

static void test_dgram(void **state)
{
    (void)state;
    static const char *const at[] = {"127.0.0.1:0", "[::1]:0"};
    for (size_t i = 0; i < ARRAY_LEN(at); i++) {
        struct turn *t = turn_new_linux();
        struct addr a;
        assert_true(addr_parse(str_from_c(at[i]), &a));
        int counts[2] = {0, 0};
        int err = dgram_open(t, &a, 0, on_dgram, &counts[0], &sockets[0]);
        if (err < 0 && a.family == ADDR_IP6) { /* a host without IPv6 */
            turn_free(t);
            continue;
        }
        assert_int_equal(err, 0);
        assert_int_equal(dgram_open(t, &a, 0, on_dgram, &counts[1], &sockets[1]), 0);
        assert_true(dgram_addr(sockets[1])->port > 0);
        assert_int_equal(dgram_send(sockets[0], dgram_addr(sockets[1]), STR("ping")), 0);
        for (int n = 0; n < 100 && counts[0] == 0; n++)
            turn_once(t, 100);
        assert_int_equal(counts[0], 1);
        assert_int_equal(counts[1], 1);
        dgram_close(sockets[0]);
        dgram_close(sockets[1]);
        turn_free(t);
    }
}

/* Descriptors of this process that carry the mark. */
static int count_marked(uint32_t mark)
{
    int count = 0;
    for (int fd = 0; fd < 256; fd++) {
        uint32_t found = 0;
        socklen_t len = sizeof found;
        if (getsockopt(fd, SOL_SOCKET, SO_MARK, &found, &len) == 0 && found == mark)
            count++;
    }
    return count;
}

/* A mark needs a privilege; without it there is no socket, rather than one that is captured. */
static void test_dgram_mark(void **state)
{
    enum { MARK = 0x5a5a };
    (void)state;
    struct turn *t = turn_new_linux();
    struct dgram *d = NULL;
    struct addr a;
    int count = 0;
    assert_true(addr_parse(STR("127.0.0.1:0"), &a));
    int err = dgram_open(t, &a, MARK, on_dgram, &count, &d);
    assert_int_equal(count_marked(MARK), err == 0 ? 1 : 0);
    if (geteuid() == 0)
        assert_int_equal(err, 0);
    if (d != NULL)
        dgram_close(d);
    assert_int_equal(count_marked(MARK), 0);
    turn_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dgram_mark),   cmocka_unit_test(test_tasks),
        cmocka_unit_test(test_endless_task), cmocka_unit_test(test_timer_wait),
        cmocka_unit_test(test_mailbox),      cmocka_unit_test(test_watch),
        cmocka_unit_test(test_dgram),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
