/* The process in the workers' place: started, watched, started again, ended; and its files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "codec/json.h"
#include "proxy/agent/envoy.h"

enum { TEXT_MAX = 64 * 1024 };

struct fixture {
    char dir[64], program[96], pids[96];
    struct turn *turn;
    struct envoy_args args;
    unsigned changes;
};

static void on_change(void *ctx)
{
    ((struct fixture *)ctx)->changes++;
}

/* A program that writes its number to a file of lines, and then does this. */
static void make_program(struct fixture *f, const char *then)
{
    FILE *file = fopen(f->program, "w");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\necho $$ $2 >>%s\n%s\n", f->pids, then);
    fclose(file);
    assert_int_equal(chmod(f->program, 0755), 0);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    strcpy(f->dir, "/tmp/tulle-envoy-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->program, sizeof f->program, "%s/program", f->dir);
    snprintf(f->pids, sizeof f->pids, "%s/pids", f->dir);
    f->turn = turn_new_linux();
    f->args = (struct envoy_args){.turn = f->turn,
                                  .program = f->program,
                                  .state_dir = str_from_c(f->dir),
                                  .node_id = STR("sidecar~\"1\""),
                                  .node_cluster = STR("web.shop"),
                                  .namespace_ = STR("shop"),
                                  .workload = STR("web"),
                                  .addresses = STR("10.0.0.5,fd00::5"),
                                  .index = 3,
                                  .server_name = STR("tulled"),
                                  .mark = 0x539,
                                  .on_change = on_change,
                                  .ctx = f};
    assert_true(addr_parse(STR("10.77.0.2:15012"), &f->args.discovery));
    *state = f;
    return 0;
}

static void forget(const struct fixture *f, const char *name)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    unlink(path);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    turn_free(f->turn);
    forget(f, "program");
    forget(f, "pids");
    forget(f, ENVOY_FILE_BOOTSTRAP);
    forget(f, ENVOY_FILE_CERTIFICATE);
    forget(f, ENVOY_FILE_ROOTS);
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

/* How many were started, and the number of the last one. */
static unsigned started(const struct fixture *f, int *ret_last)
{
    FILE *file = fopen(f->pids, "r");
    unsigned count = 0;
    char line[200];
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        char *end;
        *ret_last = (int)strtol(line, &end, 10);
        assert_non_null(strstr(end, "/" ENVOY_FILE_BOOTSTRAP));
        count++;
    }
    if (file != NULL)
        fclose(file);
    return count;
}

static void run_until_started(struct fixture *f, unsigned count, int *ret_last)
{
    uint64_t end_us = turn_now_us(f->turn) + 60ull * 1000 * 1000;
    while (started(f, ret_last) < count && turn_now_us(f->turn) < end_us)
        turn_once(f->turn, 50);
    assert_true(started(f, ret_last) >= count);
}

static void test_it_is_started_again(void **state)
{
    struct fixture *f = *state;
    struct str_buf why = STR_BUF_INIT(TEXT_MAX);
    int last = 0;
    make_program(f, "exit 3");
    struct envoy *e = envoy_new(&f->args);
    turn_once(f->turn, 0);
    assert_int_equal(started(f, &last), 0); /* not before there is a certificate */
    envoy_start(e);
    envoy_start(e);
    run_until_started(f, 3, &last);
    assert_false(envoy_is_ready(e, &why));
    assert_true(str_starts_with(str_buf_str(&why), STR("Envoy does not")));
    assert_int_equal(f->changes, 0);
    envoy_free(e);
    str_buf_deinit(&why);
}

static void test_it_ends_with_us(void **state)
{
    static const char *const ways[] = {"exec sleep 1000",
                                       "trap '' TERM; while :; do sleep 1; done"};
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        int last = 0;
        make_program(f, ways[i]);
        unlink(f->pids);
        struct envoy *e = envoy_new(&f->args);
        envoy_start(e);
        run_until_started(f, 1, &last);
        envoy_free(e);
        char path[64];
        snprintf(path, sizeof path, "/proc/%d", last);
        assert_int_equal(access(path, F_OK), -1);
    }
}

static void test_no_program(void **state)
{
    struct fixture *f = *state;
    struct str_buf why = STR_BUF_INIT(TEXT_MAX);
    struct envoy *e = envoy_new(&f->args);
    envoy_start(e);
    uint64_t end_us = turn_now_us(f->turn) + 60ull * 1000 * 1000;
    while (!str_contains(str_buf_str(&why), STR("does not run")) && turn_now_us(f->turn) < end_us) {
        turn_once(f->turn, 50);
        str_buf_reset(&why);
        assert_false(envoy_is_ready(e, &why));
    }
    assert_true(turn_now_us(f->turn) < end_us);
    envoy_free(e);
    str_buf_deinit(&why);
}

static const struct json *parse(struct arena *a, const struct str_buf *text)
{
    const struct json *root;
    assert_int_equal(json_parse(a, str_buf_str(text), TEXT_MAX, &root, NULL), 0);
    return root;
}

static void test_files(void **state)
{
    struct fixture *f = *state;
    struct str_buf text = STR_BUF_INIT(TEXT_MAX);
    struct arena a;
    struct str s;
    uint64_t n;
    arena_init(&a, 4096);
    envoy_bootstrap(&f->args, &text);
    const struct json *root = parse(&a, &text), *node = json_get(root, "node");
    assert_true(json_str(json_get(node, "id"), &s) && str_eq(s, STR("sidecar~\"1\"")));
    const struct json *metadata = json_get(node, "metadata");
    assert_true(json_u64(json_get(metadata, "INDEX"), &n) && n == 3);
    assert_int_equal(json_count(json_get(metadata, "ADDRESSES")), 2);
    assert_null(json_get(metadata, "DIALECT"));
    const struct json *cluster =
        json_at(json_get(json_get(root, "static_resources"), "clusters"), 0);
    const struct json *option =
        json_at(json_get(json_get(cluster, "upstream_bind_config"), "socket_options"), 0);
    assert_true(json_u64(json_get(option, "int_value"), &n) && n == 0x539);
    assert_true(str_contains(str_buf_str(&text), STR("\"10.77.0.2\"")));
    assert_true(str_contains(str_buf_str(&text), STR("match_typed_subject_alt_names")));
    str_buf_reset(&text);
    envoy_certificate(&f->args, &text);
    assert_int_equal(json_count(json_get(parse(&a, &text), "resources")), 1);
    assert_true(str_contains(str_buf_str(&text), STR("/identity/key.pem")));
    str_buf_reset(&text);
    envoy_roots(&f->args, &text);
    assert_int_equal(json_count(json_get(parse(&a, &text), "resources")), 1);
    assert_false(str_contains(str_buf_str(&text), STR("key.pem")));
    arena_deinit(&a);
    str_buf_deinit(&text);
}

int main(void)
{
    log_set_level(LOG_OFF);
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_it_is_started_again),
        T(test_it_ends_with_us),
        T(test_no_program),
        T(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
