#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "control/store/store.h"

struct fixture {
    char dir[64], path[96];
    struct store *store;
    struct arena arena;
    unsigned events;
    enum store_change last_change;
};

static void open_store(struct fixture *f)
{
    struct str_buf why = STR_BUF_INIT(1000);
    int err = store_open_sqlite(str_from_c(f->path), &why, &f->store);
    if (err != 0)
        fail_msg("%.*s", STR_FMT(str_buf_str(&why)));
    str_buf_deinit(&why);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    strcpy(f->dir, "/tmp/tulle-store-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/store.db", f->dir);
    arena_init(&f->arena, 1024);
    open_store(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    store_close(f->store);
    arena_deinit(&f->arena);
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", f->path, suffixes[i]);
        unlink(name);
    }
    rmdir(f->dir);
    free(f);
    return 0;
}

static struct store_write put(const char *name, const char *json)
{
    return (struct store_write){
        .object = {.kind = API_KIND_SERVICE,
                   .namespace_ = STR("shop"),
                   .name = str_from_c(name),
                   .json = str_from_c(json),
                   .created_at = STR("2026-01-01T00:00:00Z")},
    };
}

static void test_put_get_list(void **state)
{
    struct fixture *f = *state;
    struct store_write w[2] = {put("b", "{\"b\":1}"), put("a", "{\"a\":1}")};
    assert_int_equal(store_commit(f->store, w, 2, NULL, NULL), 0);
    assert_int_equal(store_revision(f->store), 2);
    assert_int_equal(w[0].change, STORE_CREATED);
    struct store_object o;
    assert_int_equal(store_get(f->store, API_KIND_SERVICE, STR("shop"), STR("a"), &f->arena, &o),
                     0);
    assert_true(str_eq(o.json, STR("{\"a\":1}")));
    assert_int_equal(o.revision, 2);
    assert_int_equal(o.uid.len, 36);
    assert_int_equal(store_get(f->store, API_KIND_SERVICE, STR("shop"), STR("c"), &f->arena, &o),
                     -ERR_NOT_FOUND);
}

static void test_equal_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct store_write w = put("a", "{}");
    assert_int_equal(store_commit(f->store, &w, 1, NULL, NULL), 0);
    w = put("a", "{}");
    assert_int_equal(store_commit(f->store, &w, 1, NULL, NULL), 0);
    assert_int_equal(w.change, STORE_UNCHANGED);
    assert_int_equal(store_revision(f->store), 1);
}

static void test_conflict_takes_all_back(void **state)
{
    struct fixture *f = *state;
    struct store_write w = put("a", "{}");
    assert_int_equal(store_commit(f->store, &w, 1, NULL, NULL), 0);
    struct store_write both[2] = {put("b", "{}"), put("a", "{\"x\":1}")};
    both[1].expected_revision = 77;
    size_t failed = 99;
    assert_int_equal(store_commit(f->store, both, 2, NULL, &failed), -ERR_CONFLICT);
    assert_int_equal(failed, 1);
    struct store_object o;
    assert_int_equal(store_get(f->store, API_KIND_SERVICE, STR("shop"), STR("b"), &f->arena, &o),
                     -ERR_NOT_FOUND);
    assert_int_equal(store_revision(f->store), 1);
    both[1].expected_revision = UINT64_MAX; /* must not exist */
    assert_int_equal(store_commit(f->store, &both[1], 1, NULL, NULL), -ERR_CONFLICT);
    both[1].expected_revision = 1;
    assert_int_equal(store_commit(f->store, &both[1], 1, NULL, NULL), 0);
    assert_int_equal(both[1].change, STORE_CONFIGURED);
    assert_int_equal(both[1].object.generation, 2);
}

static void on_change(void *ctx, enum store_change change, const struct store_object *o)
{
    struct fixture *f = ctx;
    f->events++;
    f->last_change = change;
    assert_true(o->json.len > 0);
}

static void test_delete_and_watch(void **state)
{
    struct fixture *f = *state;
    store_watch(f->store, on_change, f);
    struct store_write w = put("a", "{}");
    w.is_delete = true;
    assert_int_equal(store_commit(f->store, &w, 1, NULL, NULL), -ERR_NOT_FOUND);
    assert_int_equal(f->events, 0);
    w = put("a", "{}");
    assert_int_equal(store_commit(f->store, &w, 1, NULL, NULL), 0);
    assert_int_equal(f->events, 1);
    w.is_delete = true;
    assert_int_equal(store_commit(f->store, &w, 1, NULL, NULL), 0);
    assert_int_equal(f->events, 2);
    assert_int_equal(f->last_change, STORE_DELETED);
    assert_int_equal(store_revision(f->store), 2);
}

static void test_survives_reopening(void **state)
{
    struct fixture *f = *state;
    struct store_write w = put("a", "{}");
    assert_int_equal(store_commit(f->store, &w, 1, NULL, NULL), 0);
    assert_int_equal(
        store_set_status(f->store, API_KIND_SERVICE, STR("shop"), STR("a"), STR("{\"ok\":true}")),
        0);
    assert_int_equal(store_record_put(f->store, STR("t"), STR("k"), STR("v\0w")), 0);
    f->store = store_close(f->store);
    open_store(f);
    assert_int_equal(store_revision(f->store), 1);
    struct store_object o;
    assert_int_equal(store_get(f->store, API_KIND_SERVICE, STR("shop"), STR("a"), &f->arena, &o),
                     0);
    assert_true(str_eq(o.status_json, STR("{\"ok\":true}")));
    struct str value;
    assert_int_equal(store_record_get(f->store, STR("t"), STR("k"), &f->arena, &value), 0);
    assert_true(str_eq(value, STR("v\0w")));
    assert_int_equal(store_record_put(f->store, STR("t"), STR("k"), STR_NULL), 0);
    assert_int_equal(store_record_get(f->store, STR("t"), STR("k"), &f->arena, &value),
                     -ERR_NOT_FOUND);
}

static void test_refuses_a_foreign_file(void **state)
{
    struct fixture *f = *state;
    char path[128];
    snprintf(path, sizeof path, "%s/other", f->dir);
    FILE *file = fopen(path, "w");
    fputs("this is no database, and it is long enough to be looked at by the library......"
          "......................................................",
          file);
    fclose(file);
    struct str_buf why = STR_BUF_INIT(1000);
    struct store *s = NULL;
    assert_int_equal(store_open_sqlite(str_from_c(path), &why, &s), -ERR_CORRUPT);
    assert_true(why.len > 0);
    assert_null(s);
    str_buf_deinit(&why);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_put_get_list, setup, teardown),
        cmocka_unit_test_setup_teardown(test_equal_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conflict_takes_all_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_delete_and_watch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_survives_reopening, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refuses_a_foreign_file, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
