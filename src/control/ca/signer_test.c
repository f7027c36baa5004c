#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "control/ca/ca.h"
#include "control/ca/signer_process.h"
#include "control/ca/signer_wire.h"

enum { YEAR = 365 * 86400 };

struct fixture {
    char dir[64];
    struct ca_signer signer;
    pid_t guard;
    struct arena arena;
    struct str_buf why;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    strcpy(f->dir, "/tmp/tulle-signer-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    arena_init(&f->arena, 1024);
    f->why = STR_BUF_INIT(1000);
    struct ca_signer_options o = {.dir = f->dir};
    assert_int_equal(ca_signer_process_start(&o, &f->why, &f->signer, &f->guard), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->signer.ops != NULL)
        f->signer.ops->free(f->signer.signer);
    DIR *d = opendir(f->dir);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    rmdir(f->dir);
    str_buf_deinit(&f->why);
    arena_deinit(&f->arena);
    free(f);
    return 0;
}

/* The guard's child. */
static pid_t signer_pid(const struct fixture *f)
{
    pid_t found = 0;
    DIR *proc = opendir("/proc");
    for (struct dirent *e; found == 0 && (e = readdir(proc)) != NULL;) {
        char path[300];
        int pid, parent;
        snprintf(path, sizeof path, "/proc/%s/stat", e->d_name);
        FILE *stat = fopen(path, "r");
        if (stat == NULL)
            continue;
        if (fscanf(stat, "%d (%*[^)]) %*c %d", &pid, &parent) == 2 && parent == f->guard)
            found = pid;
        fclose(stat);
    }
    closedir(proc);
    return found;
}

static int call(struct fixture *f, struct ca_signer_request r, struct ca_signer_reply *reply)
{
    return f->signer.ops->call(f->signer.signer, &r, &f->arena, reply);
}

static struct ca_signer_request make(uint64_t now_s)
{
    return (struct ca_signer_request){.verb = CA_SIGNER_MAKE,
                                      .slot = CA_SLOT_PRESENT,
                                      .name = STR("mesh.local"),
                                      .not_before_s = now_s,
                                      .not_after_s = now_s + YEAR};
}

static uint64_t now(void)
{
    return (uint64_t)time(NULL);
}

static int leaf(struct fixture *f, const char *name, uint64_t from_s)
{
    struct key *k = key_new_p256();
    struct str_buf csr = STR_BUF_INIT(8192);
    struct ca_signer_reply reply;
    assert_int_equal(csr_make(k, STR("spiffe://a/b"), &csr), 0);
    struct ca_signer_request r = {.verb = CA_SIGNER_LEAF,
                                  .text = str_buf_str(&csr),
                                  .name = str_from_c(name),
                                  .not_before_s = from_s,
                                  .not_after_s = from_s + 600};
    int err = call(f, r, &reply);
    assert_true(err != 0 || str_starts_with(reply.text, STR("-----BEGIN CERTIFICATE-----")));
    assert_true(err == 0 || reply.why.len > 0);
    key_unref(k);
    str_buf_deinit(&csr);
    return err;
}

static void test_signs(void **state)
{
    struct fixture *f = *state;
    struct ca_signer_reply reply;
    struct ca_signer_request open = {.verb = CA_SIGNER_OPEN};
    assert_int_equal(call(f, open, &reply), -ERR_NOT_FOUND);
    assert_int_equal(call(f, make(now()), &reply), 0);
    assert_true(str_starts_with(reply.text, STR("-----BEGIN CERTIFICATE-----")));
    assert_int_equal(call(f, make(now()), &reply), -ERR_DENIED); /* there is one */
    assert_int_equal(leaf(f, "spiffe://mesh.local/ns/a/sa/b", now()), 0);
    /* By its own clock: nothing for times to come. */
    assert_int_equal(leaf(f, "spiffe://mesh.local/ns/a/sa/b", now() + 86400), -ERR_DENIED);
    assert_int_equal(leaf(f, "spiffe://other.test/ns/a/sa/b", now()), -ERR_DENIED);
}

/* Where it is killed a successor takes its place, and knows which names it may sign. */
static void test_another_one_when_it_dies(void **state)
{
    struct fixture *f = *state;
    struct ca_signer_reply reply;
    assert_int_equal(call(f, make(now()), &reply), 0);
    assert_int_equal(leaf(f, "spiffe://mesh.local/ns/a/sa/b", now()), 0);
    for (int i = 0; i < 3; i++) {
        pid_t pid = signer_pid(f);
        assert_true(pid > 0);
        kill(pid, SIGKILL);
        assert_int_equal(leaf(f, "spiffe://mesh.local/ns/a/sa/b", now()), 0);
        assert_true(signer_pid(f) != pid);
        assert_int_equal(leaf(f, "spiffe://other.test/ns/a/sa/b", now()), -ERR_DENIED);
    }
}

/* Those that would end tulled are sent to its whole group by some. */
static void test_signals_do_not_end_it(void **state)
{
    struct fixture *f = *state;
    struct ca_signer_reply reply;
    assert_int_equal(call(f, make(now()), &reply), 0);
    pid_t pid = signer_pid(f);
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
        kill(pid, signals[i]);
        kill(f->guard, signals[i]);
    }
    assert_int_equal(leaf(f, "spiffe://mesh.local/ns/a/sa/b", now()), 0);
    assert_int_equal(signer_pid(f), pid);
}

static void test_without_its_guard_it_is_gone(void **state)
{
    struct fixture *f = *state;
    struct ca_signer_reply reply;
    assert_int_equal(call(f, make(now()), &reply), 0);
    kill(f->guard, SIGKILL);
    /* Once it is over, the signer's own end has been signalled. */
    assert_int_equal(waitpid(f->guard, NULL, 0), f->guard);
    assert_true(leaf(f, "spiffe://mesh.local/ns/a/sa/b", now()) < 0);
}

static void test_it_ends_with_who_asks(void **state)
{
    struct fixture *f = *state;
    struct ca_signer_reply reply;
    assert_int_equal(call(f, make(now()), &reply), 0);
    pid_t pid = signer_pid(f);
    f->signer.ops->free(f->signer.signer); /* waits for the guard */
    f->signer.ops = NULL;
    assert_int_equal(kill(pid, 0), -1);
}

static void test_messages_are_strict(void **state)
{
    (void)state;
    struct ca_signer_request r = {.verb = CA_SIGNER_SERVER,
                                  .slot = CA_SLOT_NEXT,
                                  .index = 3,
                                  .now_s = 1,
                                  .not_before_s = 2,
                                  .not_after_s = 3,
                                  .text = STR("csr"),
                                  .name = STR("name"),
                                  .dns = {STR("a"), STR("b")},
                                  .dns_count = 2};
    struct ca_signer_request got;
    struct str_buf bytes = STR_BUF_INIT(SIGNER_WIRE_MAX);
    uint32_t number;
    signer_wire_put_request(&bytes, 7, &r);
    assert_int_equal(signer_wire_get_request(str_buf_str(&bytes), &number, &got), 0);
    assert_int_equal(number, 7);
    assert_true(got.verb == r.verb && got.slot == r.slot && got.index == 3 && got.dns_count == 2);
    assert_true(str_eq(got.text, r.text) && str_eq(got.dns[1], r.dns[1]) && got.not_after_s == 3);
    for (size_t len = 0; len < bytes.len; len++)
        assert_int_equal(
            signer_wire_get_request(str_sub(str_buf_str(&bytes), 0, len), &number, &got),
            -ERR_PROTOCOL);
    str_buf_add_char(&bytes, 'x');
    assert_int_equal(signer_wire_get_request(str_buf_str(&bytes), &number, &got), -ERR_PROTOCOL);
    bytes.len--;
    bytes.ptr[8] = CA_SIGNER_VERB_COUNT;
    assert_int_equal(signer_wire_get_request(str_buf_str(&bytes), &number, &got), -ERR_PROTOCOL);
    str_buf_deinit(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_signs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_one_when_it_dies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_signals_do_not_end_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_its_guard_it_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_it_ends_with_who_asks, setup, teardown),
        cmocka_unit_test(test_messages_are_strict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
