/* tulle lint, and the walk over files and folders below it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <ftw.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "cli/cli.h"

#define GOOD "apiVersion: v1\nkind: Namespace\nmetadata: { name: a }\n"
#define BAD "apiVersion: v1\nkind: Namespace\nmetadata: { nam: b }\n"

static const char *const files[][2] = {
    {"b.yml", BAD},        {"a.yaml", GOOD},    {"c.txt", BAD},
    {".hidden.yaml", BAD}, {"sub/d.yaml", BAD}, {".git/e.yaml", BAD},
};

static void write_file(const char *name, const char *text)
{
    FILE *f = fopen(name, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int setup(void **state)
{
    char *dir = strdup("/tmp/lint_test.XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chdir(dir), 0);
    mkdir("sub", 0700);
    mkdir(".git", 0700);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        write_file(files[i][0], files[i][1]);
    assert_int_equal(symlink(".", "sub/loop"), 0);
    *state = dir;
    return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static int teardown(void **state)
{
    assert_int_equal(chdir("/"), 0);
    nftw(*state, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return 0;
}

struct run {
    char *out, *err;
    int code;
};

static struct run lint(const char *const *args)
{
    struct run r = {0};
    size_t out_len, err_len;
    char *argv[8];
    struct cli cli = {.verb = "lint", .argv = argv, .self = "tulle"};
    while (args[cli.argc] != NULL) {
        argv[cli.argc] = (char *)args[cli.argc];
        cli.argc++;
    }
    cli.out = open_memstream(&r.out, &out_len);
    cli.err = open_memstream(&r.err, &err_len);
    r.code = cli_lint(&cli);
    fclose(cli.out);
    fclose(cli.err);
    return r;
}

static void run_free(struct run *r)
{
    free(r->out);
    free(r->err);
}

static void test_folder(void **state)
{
    struct run r = lint((const char *[]){".", NULL});
    assert_string_equal(r.out, "./b.yml:3:11: error: \"metadata.name\" is missing\n"
                               "./b.yml:3:13: error: unknown field \"metadata.nam\" "
                               "(did you mean name?)\n"
                               "./sub/d.yaml:3:11: error: \"metadata.name\" is missing\n"
                               "./sub/d.yaml:3:13: error: unknown field \"metadata.nam\" "
                               "(did you mean name?)\n");
    assert_string_equal(r.err, "1 document in 3 files: 4 errors, 0 warnings\n");
    assert_int_equal(r.code, CLI_ERROR);
    run_free(&r);
}

static void test_file(void **state)
{
    struct run r = lint((const char *[]){"a.yaml", NULL});
    assert_string_equal(r.out, "");
    assert_int_equal(r.code, CLI_OK);
    run_free(&r);
    r = lint((const char *[]){"c.txt", "-o", "json", NULL});
    assert_non_null(strstr(r.out, "\"line\":3,\"column\":13"));
    assert_int_equal(r.code, CLI_ERROR);
    run_free(&r);
}

static void test_unreadable(void **state)
{
    struct run r = lint((const char *[]){"nope.yaml", "a.yaml", NULL});
    assert_non_null(strstr(r.out, "nope.yaml:1:1: error: "));
    assert_int_equal(r.code, CLI_ERROR);
    run_free(&r);
}

static void test_usage(void **state)
{
    struct run r = lint((const char *[]){NULL});
    assert_int_equal(r.code, CLI_USAGE);
    run_free(&r);
    r = lint((const char *[]){"a.yaml", "-o", "xml", NULL});
    assert_int_equal(r.code, CLI_USAGE);
    run_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_usage),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
