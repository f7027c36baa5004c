/* The walk over a real folder, and when who follows one is told. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "control/folder/folder.h"
#include "control/folder/folder_git.h"

struct fixture {
    char top[64], root[96];
    struct turn *turn;
    unsigned loads;
    size_t files, texts, errors;
    bool is_refusing, is_changing;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    strcpy(f->top, "/tmp/tulle-folder-XXXXXX");
    assert_non_null(mkdtemp(f->top));
    snprintf(f->root, sizeof f->root, "%s/mesh", f->top);
    assert_int_equal(mkdir(f->root, 0700), 0);
    f->turn = turn_new_linux();
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    turn_free(f->turn);
    snprintf(command, sizeof command, "rm -rf %s", f->top);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

static const char *at(const struct fixture *f, const char *name)
{
    static char path[4][256];
    static int next;
    next = (next + 1) % 4;
    snprintf(path[next], sizeof path[next], "%s/%s", f->root, name);
    return path[next];
}

static void put(const struct fixture *f, const char *name, const char *text)
{
    FILE *out = fopen(at(f, name), "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
}

static void make_folder(const struct fixture *f, const char *name)
{
    assert_int_equal(mkdir(at(f, name), 0700), 0);
}

static void link_to(const struct fixture *f, const char *target, const char *name)
{
    assert_int_equal(symlink(target, at(f, name)), 0);
}

/* --- the walk --- */

static void scan(const struct fixture *f, struct folder_scan *s)
{
    folder_scan_start(s, f->root, NULL, NULL);
    while (folder_scan_step(s)) {
    }
}

static bool has_problem(const struct folder_scan *s, const char *path, const char *text)
{
    for (size_t i = 0; i < s->problems.len; i++) {
        if (str_eq(s->problems.ptr[i].path, str_from_c(path)) &&
            str_contains(s->problems.ptr[i].text, str_from_c(text)))
            return true;
    }
    return false;
}

static void expect_files(const struct folder_scan *s, const char *const *paths, size_t count)
{
    assert_int_equal(s->files.len, count);
    for (size_t i = 0; i < count; i++)
        assert_true(str_eq(s->files.ptr[i].path, str_from_c(paths[i])));
}

static void walk_takes_documents_alone(void **state)
{
    struct fixture *f = *state;
    struct folder_scan s;
    static const char *const paths[] = {"a.yaml", "b.json", "deep/c.yml", "deep/er/d.yaml"};
    make_folder(f, "deep");
    make_folder(f, "deep/er");
    make_folder(f, ".git");
    make_folder(f, "folder.yaml");
    put(f, "deep/er/d.yaml", "");
    put(f, "b.json", "");
    put(f, "a.yaml", "");
    put(f, "deep/c.yml", "");
    put(f, "notes.txt", "");
    put(f, ".a.yaml", "");
    put(f, ".git/x.yaml", "");
    scan(f, &s);
    expect_files(&s, paths, ARRAY_LEN(paths));
    assert_false(s.is_partial);
    folder_scan_deinit(&s);
}

static void links_stay_inside(void **state)
{
    struct fixture *f = *state;
    struct folder_scan s;
    static const char *const paths[] = {"deep/real.yaml", "mapped.yaml"};
    make_folder(f, "deep");
    make_folder(f, "..1");
    put(f, "deep/real.yaml", "");
    put(f, "..1/mapped.yaml", "");
    link_to(f, "..1", "..data");
    link_to(f, "..data/mapped.yaml", "mapped.yaml");
    link_to(f, "deep/real.yaml", "again.yaml");
    link_to(f, "..", "deep/loop");
    link_to(f, "../..", "deep/out");
    link_to(f, "/etc/passwd", "passwd.yaml");
    link_to(f, "self.yaml", "self.yaml");
    link_to(f, "nothing", "nothing.yaml");
    scan(f, &s);
    expect_files(&s, paths, ARRAY_LEN(paths));
    assert_true(s.is_partial);
    assert_int_equal(s.problems.len, 4);
    assert_true(has_problem(&s, "deep/out", "out of the folder"));
    assert_true(has_problem(&s, "passwd.yaml", "out of the folder"));
    assert_true(has_problem(&s, "self.yaml", "circle"));
    assert_true(has_problem(&s, "nothing.yaml", "nothing"));
    folder_scan_deinit(&s);
}

static void depth_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct folder_scan s;
    char path[128] = "";
    for (size_t i = 0, len = 0; i < FOLDER_DEPTH_MAX + 2; i++) {
        len += (size_t)snprintf(path + len, sizeof path - len, i == 0 ? "d" : "/d");
        make_folder(f, path);
    }
    put(f, "a.yaml", "");
    scan(f, &s);
    assert_int_equal(s.files.len, 1);
    assert_int_equal(s.problems.len, 1);
    assert_true(s.is_partial);
    folder_scan_deinit(&s);
}

static void reading_sees_one_state(void **state)
{
    struct fixture *f = *state;
    struct folder_scan s;
    struct str_buf text = STR_BUF_INIT(10);
    put(f, "a.yaml", "twelve bytes");
    put(f, "b.yaml", "few");
    put(f, "c.yaml", "few");
    put(f, "d.yaml", "few");
    scan(f, &s);
    assert_int_equal(folder_scan_read(&s, &s.files.ptr[0], &text), -ERR_TOO_LARGE);
    str_buf_deinit(&text);
    text = STR_BUF_INIT(10);
    assert_int_equal(folder_scan_read(&s, &s.files.ptr[1], &text), 0);
    assert_true(str_eq(str_buf_str(&text), STR("few")));
    put(f, "c.yaml", "other"); /* since it was found */
    assert_int_equal(folder_scan_read(&s, &s.files.ptr[2], &text), -ERR_AGAIN);
    unlink(at(f, "d.yaml"));
    assert_int_equal(folder_scan_read(&s, &s.files.ptr[3], &text), -ERR_NOT_FOUND);
    str_buf_deinit(&text);
    folder_scan_deinit(&s);
}

static void a_folder_that_is_not_there_is_said(void **state)
{
    struct fixture *f = *state;
    struct folder_scan s;
    assert_int_equal(rmdir(f->root), 0);
    scan(f, &s);
    assert_int_equal(s.root, -1);
    assert_true(has_problem(&s, "", "No such file"));
    folder_scan_deinit(&s);
}

/* --- following --- */

static void on_scanned(void *ctx, struct folder_scan *s)
{
    struct fixture *f = ctx;
    f->files = s->files.len;
    f->texts = f->errors = 0;
    for (size_t i = 0; i < s->files.len; i++)
        s->files.ptr[i].is_wanted = true;
    if (f->is_changing)
        put(f, "a.yaml", "changed");
    f->is_changing = false;
}

static void on_text(void *ctx, const struct folder_file *file, struct str text, int err)
{
    struct fixture *f = ctx;
    (void)file;
    (void)text;
    assert_true(err == 0 || err == -ERR_AGAIN);
    f->errors += err != 0;
    f->texts++;
}

static bool on_done(void *ctx)
{
    struct fixture *f = ctx;
    f->loads++;
    return !f->is_refusing;
}

static const struct folder_ops ops = {on_scanned, on_text, on_done};

static struct folder *follow(struct fixture *f)
{
    struct folder *folder =
        folder_new(&(struct folder_args){f->turn, str_from_c(f->root), 1000, &ops, f});
    folder_start(folder);
    return folder;
}

static void until_loads(struct fixture *f, unsigned loads)
{
    for (int i = 0; i < 20000 && f->loads < loads; i++)
        turn_once(f->turn, 10);
    assert_true(f->loads >= loads);
}

/* Until a load has found so many. */
static void until_files(struct fixture *f, size_t files)
{
    unsigned before = f->loads;
    for (int i = 0; i < 20000 && (f->loads == before || f->files != files); i++)
        turn_once(f->turn, 10);
    assert_int_equal(f->files, files);
}

static void is_told_when_it_rests(void **state)
{
    struct fixture *f = *state;
    put(f, "a.yaml", "a");
    usleep(30 * 1000); /* what was written just now is looked at twice */
    struct folder *folder = follow(f);
    assert_int_equal(f->loads, 1);
    assert_int_equal(f->texts, 1);
    assert_true(folder_view(folder).is_told);
    for (int i = 0; i < 8; i++) {
        put(f, "a.yaml", i % 2 == 0 ? "odd" : "even");
        put(f, "b.yaml", "b");
        turn_once(f->turn, 10);
    }
    assert_int_equal(f->loads, 1);
    until_files(f, 2);
    assert_int_equal(f->texts, 2);
    /* In a folder that came later, too; and when the whole is replaced. */
    make_folder(f, "new");
    turn_once(f->turn, 10);
    put(f, "new/c.yaml", "c");
    until_files(f, 3);
    char away[128];
    snprintf(away, sizeof away, "%s/away", f->top);
    assert_int_equal(rename(f->root, away), 0);
    until_files(f, 0);
    assert_int_equal(rename(away, f->root), 0);
    until_files(f, 3);
    assert_int_equal(f->errors, 0);
    folder_free(folder);
}

/* Of each file that is there the first load says something: none is as good as an empty one. */
static void what_changes_in_the_first_load_is_said(void **state)
{
    struct fixture *f = *state;
    put(f, "a.yaml", "a");
    put(f, "b.yaml", "b");
    f->is_changing = true;
    struct folder *folder = follow(f);
    assert_int_equal(f->loads, 1);
    assert_int_equal(f->texts, 2);
    assert_int_equal(f->errors, 1);
    until_loads(f, 2);
    assert_int_equal(f->texts, 2);
    assert_int_equal(f->errors, 0);
    folder_free(folder);
}

/* More events than the queue holds (16384 by default): what was lost does not matter. */
static void lost_events_are_no_harm(void **state)
{
    struct fixture *f = *state;
    put(f, "a.yaml", "a");
    usleep(30 * 1000);
    struct folder *folder = follow(f);
    for (int i = 0; i < 9000; i++) {
        int fd = open(at(f, "x"), O_CREAT | O_WRONLY, 0600);
        close(fd);
        unlink(at(f, "x"));
    }
    put(f, "b.yaml", "b");
    until_files(f, 2);
    folder_free(folder);
}

static void what_was_refused_comes_again(void **state)
{
    struct fixture *f = *state;
    put(f, "a.yaml", "a");
    f->is_refusing = true;
    struct folder *folder = follow(f);
    until_loads(f, 2);
    folder_free(folder);
}

static void git_is_seen_at_work(void **state)
{
    struct fixture *f = *state;
    char path[160];
    assert_false(folder_git_is_busy(f->root));
    snprintf(path, sizeof path, "%s/.git", f->top); /* of the checkout around it */
    assert_int_equal(mkdir(path, 0700), 0);
    assert_false(folder_git_is_busy(f->root));
    snprintf(path, sizeof path, "%s/.git/index.lock", f->top);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_true(folder_git_is_busy(f->root));
    /* A linked worktree: its `.git` names the folder with its index. */
    make_folder(f, "own");
    put(f, ".git", "gitdir: own\n");
    assert_false(folder_git_is_busy(f->root));
    put(f, "own/index.lock", "");
    assert_true(folder_git_is_busy(f->root));
    put(f, ".git", "nonsense");
    assert_false(folder_git_is_busy(f->root));
    put(f, ".git", "");
    assert_false(folder_git_is_busy(f->root));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(walk_takes_documents_alone),
        TEST(links_stay_inside),
        TEST(depth_is_bounded),
        TEST(reading_sees_one_state),
        TEST(a_folder_that_is_not_there_is_said),
        TEST(is_told_when_it_rests),
        TEST(what_changes_in_the_first_load_is_said),
        TEST(lost_events_are_no_harm),
        TEST(what_was_refused_comes_again),
        TEST(git_is_seen_at_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
