#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "control/store/store.h"

struct fixture {
    char dir[64], path[96];
    struct store *store;
    struct arena arena;
    unsigned events, told;
    int told_err;
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

static void test_a_document_that_moved_is_the_same(void **state)
{
    struct fixture *f = *state;
    struct store_object o;
    struct store_write w = put("a", "{}");
    w.object.file = STR("a.yaml");
    w.object.line = 3;
    assert_int_equal(store_commit(f->store, &w, 1, NULL, NULL), 0);
    w.object.file = STR("b.yaml");
    w.object.line = 9;
    assert_int_equal(store_commit(f->store, &w, 1, NULL, NULL), 0);
    assert_int_equal(w.change, STORE_UNCHANGED);
    assert_int_equal(store_revision(f->store), 1);
    struct store_write elsewhere = put("a", "{}"); /* by somebody who has no file */
    assert_int_equal(store_commit(f->store, &elsewhere, 1, NULL, NULL), 0);
    assert_int_equal(store_get(f->store, API_KIND_SERVICE, STR("shop"), STR("a"), &f->arena, &o),
                     0);
    assert_true(str_eq(o.file, STR("b.yaml")));
    assert_int_equal(o.line, 9);
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

static void on_told(void *ctx, int err)
{
    struct fixture *f = ctx;
    f->told++;
    f->told_err = err;
}

static void put_record_of(void *ctx, enum store_change change, const struct store_object *o)
{
    struct fixture *f = ctx;
    (void)change;
    f->events++;
    assert_int_equal(store_record_put(f->store, STR("t"), o->name, STR("v")), 0);
}

/* Whatever watchers put is one write: the records of a commit do not cost a sync each. */
static void test_records_of_a_commit(void **state)
{
    struct fixture *f = *state;
    struct str value;
    store_watch(f->store, put_record_of, on_told, f);
    struct store_write both[2] = {put("a", "{}"), put("b", "{}")};
    assert_int_equal(store_commit(f->store, both, 2, NULL, NULL), 0);
    assert_int_equal(f->events, 2);
    assert_int_equal(f->told, 1);
    assert_int_equal(f->told_err, 0);
    f->store = store_close(f->store);
    open_store(f);
    assert_int_equal(store_record_get(f->store, STR("t"), STR("b"), &f->arena, &value), 0);
    assert_true(str_eq(value, STR("v")));
    /* Outside of a commit, each is kept at once. */
    assert_int_equal(store_record_put(f->store, STR("t"), STR("c"), STR("w")), 0);
}

static void test_delete_and_watch(void **state)
{
    struct fixture *f = *state;
    store_watch(f->store, on_change, on_told, f);
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

/* --- history --- */

struct seen {
    struct store_act acts[8];
    struct store_version versions[16];
    size_t act_count, version_count;
    struct arena *a;
};

static void on_act(void *ctx, const struct store_act *a)
{
    struct seen *s = ctx;
    struct store_act *to = &s->acts[s->act_count++];
    *to = *a;
    to->by.who = arena_str(s->a, a->by.who);
    to->by.note = arena_str(s->a, a->by.note);
}

static void on_version(void *ctx, const struct store_version *v)
{
    struct seen *s = ctx;
    struct store_version *to = &s->versions[s->version_count++];
    *to = *v;
    to->object.name = arena_str(s->a, v->object.name);
    to->object.json = arena_str(s->a, v->object.json);
}

static const struct store_history_ops seeing = {.act = on_act, .version = on_version};

static const struct store_author author = {
    {"2026-01-01T00:00:00Z", 20}, {"uid:7", 5}, {"here", 4}, {"apply", 5}, {"why not", 7},
};

static void apply(struct fixture *f, const char *name, const char *json)
{
    struct store_write w = put(name, json);
    w.is_delete = json == NULL;
    assert_int_equal(store_commit(f->store, &w, 1, &author, NULL), 0);
}

static struct seen look(struct fixture *f, struct store_history_query q)
{
    struct seen s = {.a = &f->arena};
    q.acts_max = q.acts_max > 0 ? q.acts_max : 8;
    assert_int_equal(store_history(f->store, &q, &seeing, &s), 0);
    return s;
}

static void test_history_tells_who_did_what(void **state)
{
    struct fixture *f = *state;
    struct store_write two[2] = {put("a", "{\"v\":1}"), put("b", "{\"v\":1}")};
    assert_int_equal(store_commit(f->store, two, 2, &author, NULL), 0);
    apply(f, "a", "{\"v\":2}");
    apply(f, "a", "{\"v\":2}"); /* changes nothing, and is no act */
    apply(f, "b", NULL);
    assert_int_equal(store_audit(f->store, &author), 0);
    struct seen s = look(f, (struct store_history_query){0});
    assert_int_equal(s.act_count, 4);
    assert_int_equal(s.acts[0].revision, 0);
    assert_int_equal(s.acts[1].revision, 4);
    assert_int_equal(s.acts[3].revision, 2);
    assert_true(str_eq(s.acts[1].by.who, STR("uid:7")));
    assert_true(str_eq(s.acts[1].by.note, STR("why not")));
    assert_int_equal(s.version_count, 4);
    assert_int_equal(s.versions[0].change, STORE_DELETED);
    assert_true(str_eq(s.versions[0].object.json, STR("{\"v\":1}")));
    assert_int_equal(s.versions[1].change, STORE_CONFIGURED);
    assert_true(str_eq(s.versions[1].object.json, STR("{\"v\":2}")));
    s = look(f, (struct store_history_query){.is_commits_only = true, .acts_max = 1});
    assert_int_equal(s.act_count, 1);
    assert_int_equal(s.acts[0].revision, 4);
    s = look(f, (struct store_history_query){.before_id = s.acts[0].id});
    assert_int_equal(s.act_count, 2);
    s = look(f, (struct store_history_query){
                    .has_kind = true, .kind = API_KIND_SERVICE, .name = STR("b")});
    assert_int_equal(s.act_count, 2);
    s = look(f, (struct store_history_query){.namespace_ = STR("elsewhere")});
    assert_int_equal(s.act_count, 0);
    s = look(f, (struct store_history_query){.revision = 3});
    assert_int_equal(s.act_count, 1);
    assert_int_equal(s.version_count, 1);
}

static void on_object_at(void *ctx, const struct store_object *o)
{
    str_buf_printf(ctx, "%.*s=%.*s ", STR_FMT(o->name), STR_FMT(o->json));
}

static void check_state(struct fixture *f, uint64_t revision, const char *want)
{
    struct str_buf text = STR_BUF_INIT(10000);
    assert_int_equal(store_list_at(f->store, revision, on_object_at, &text), 0);
    assert_string_equal(text.ptr != NULL ? text.ptr : "", want);
    str_buf_deinit(&text);
}

static void test_the_state_of_each_revision(void **state)
{
    struct fixture *f = *state;
    apply(f, "a", "1");
    apply(f, "b", "1");
    apply(f, "a", "2");
    apply(f, "b", NULL);
    apply(f, "b", "3");
    check_state(f, 0, "");
    check_state(f, 1, "a=1 ");
    check_state(f, 2, "a=1 b=1 ");
    check_state(f, 3, "a=2 b=1 ");
    check_state(f, 4, "a=2 ");
    check_state(f, 5, "a=2 b=3 ");
    assert_int_equal(store_list_at(f->store, 6, on_object_at, NULL), -ERR_NOT_FOUND);
}

static void test_history_is_bounded(void **state)
{
    struct fixture *f = *state;
    char json[32];
    store_set_history(f->store, 32, STORE_HISTORY_BYTES_DEFAULT);
    apply(f, "old", "1");
    apply(f, "gone", "1");
    apply(f, "gone", NULL);
    for (int i = 0; i < 200; i++) {
        snprintf(json, sizeof json, "%d", i);
        apply(f, "a", json);
    }
    uint64_t start = store_history_start(f->store), now = store_revision(f->store);
    assert_in_range(now - start, 32, 34);
    assert_int_equal(store_list_at(f->store, start - 1, on_object_at, NULL), -ERR_NOT_FOUND);
    snprintf(json, sizeof json, "a=%d old=1 ", (int)start - 4);
    check_state(f, start, json);
    check_state(f, now, "a=199 old=1 ");
    f->store = store_close(f->store);
    open_store(f);
    assert_int_equal(store_history_start(f->store), start);
}

static void count_object(void *ctx, const struct store_object *o)
{
    (void)o;
    ++*(unsigned *)ctx;
}

/* By bytes, too: a few large documents that change often must not fill the disk. */
static void test_history_is_bounded_by_bytes(void **state)
{
    struct fixture *f = *state;
    enum { LARGE = 20000, KEPT = 10 };
    char *json = malloc(LARGE + 1);
    store_set_history(f->store, 10000, KEPT * LARGE);
    memset(json, '7', LARGE);
    json[LARGE] = '\0';
    apply(f, "small", "1"); /* is there, so it stays, whatever the history holds */
    apply(f, "gone", json);
    apply(f, "gone", NULL);
    for (int i = 0; i < 100; i++) {
        json[0] = (char)('1' + i % 9);
        json[1] = (char)('1' + i / 9 % 9);
        apply(f, "a", json);
    }
    uint64_t start = store_history_start(f->store), now = store_revision(f->store);
    assert_in_range(now - start, KEPT / 2, KEPT + 1);
    assert_int_equal(store_list_at(f->store, start - 1, on_object_at, NULL), -ERR_NOT_FOUND);
    unsigned count = 0;
    assert_int_equal(store_list_at(f->store, start, count_object, &count), 0);
    assert_int_equal(count, 2);
    f->store = store_close(f->store);
    open_store(f);
    assert_int_equal(store_history_start(f->store), start);
    /* What is there may be larger than all that is kept of the past. */
    store_set_history(f->store, 10000, 100);
    apply(f, "a", "1");
    apply(f, "b", json);
    assert_int_equal(store_history_start(f->store), now + 1);
    check_state(f, store_revision(f->store) - 1, "a=1 small=1 ");
    free(json);
}

/* --- earlier schemas, backups --- */

static void make_version_1(const char *path)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(
            db,
            "CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
            "CREATE TABLE objects ("
            " kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, json TEXT NOT NULL,"
            " status TEXT NOT NULL DEFAULT '', file TEXT NOT NULL, line INTEGER NOT NULL,"
            " uid TEXT NOT NULL, created_at TEXT NOT NULL, owner TEXT NOT NULL,"
            " revision INTEGER NOT NULL, created_revision INTEGER NOT NULL,"
            " generation INTEGER NOT NULL, PRIMARY KEY (kind, namespace, name)) WITHOUT ROWID;"
            "CREATE TABLE records (tbl TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,"
            " PRIMARY KEY (tbl, key)) WITHOUT ROWID;"
            "INSERT INTO meta VALUES ('revision', 7);"
            "INSERT INTO objects VALUES ('Service', 'shop', 'a', '{\"old\":1}', '', 'f.yaml', 3,"
            " 'uid', '2025-01-01T00:00:00Z', 'up', 5, 4, 2);"
            "PRAGMA user_version = 1;",
            NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(db);
}

static void test_schema_1_is_brought_up_to_date(void **state)
{
    struct fixture *f = *state;
    f->store = store_close(f->store);
    unlink(f->path);
    make_version_1(f->path);
    open_store(f);
    struct store_object o;
    assert_int_equal(store_revision(f->store), 7);
    assert_int_equal(store_get(f->store, API_KIND_SERVICE, STR("shop"), STR("a"), &f->arena, &o),
                     0);
    assert_true(str_eq(o.json, STR("{\"old\":1}")));
    assert_int_equal(store_history_start(f->store), 7);
    apply(f, "a", "2");
    check_state(f, 7, "a={\"old\":1} ");
    check_state(f, 8, "a=2 ");
}

static void restored_path(const struct fixture *f, char path[128], char folder[96])
{
    snprintf(folder, 96, "%s/to", f->dir);
    snprintf(path, 128, "%s/store.db", folder);
    assert_int_equal(mkdir(folder, 0700), 0);
}

static void remove_restored(const char *folder)
{
    static const char *const names[] = {"store.db", "store.db-wal", "store.db-shm", "store.db.part",
                                        "ca-key.pem"};
    char path[160];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
}

static void test_a_backup_is_all_of_it(void **state)
{
    struct fixture *f = *state;
    char backup[128], path[128], folder[96];
    struct str_buf why = STR_BUF_INIT(1000);
    struct store_file file = {STR("ca-key.pem"), STR("secret\n")};
    snprintf(backup, sizeof backup, "%s/backup", f->dir);
    restored_path(f, path, folder);
    apply(f, "a", "1");
    apply(f, "a", "2");
    assert_int_equal(store_record_put(f->store, STR("t"), STR("k"), STR("v")), 0);
    assert_int_equal(store_backup(f->store, str_from_c(backup), &file, 1, &why), 0);
    struct stat st;
    assert_int_equal(stat(backup, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(store_backup(f->store, str_from_c(backup), &file, 1, &why), -ERR_EXISTS);
    apply(f, "a", "3"); /* after it */
    assert_int_equal(store_restore_sqlite(str_from_c(backup), str_from_c(folder), &why), 0);
    assert_int_equal(store_restore_sqlite(str_from_c(backup), str_from_c(folder), &why),
                     -ERR_EXISTS);
    f->store = store_close(f->store);
    assert_int_equal(store_open_sqlite(str_from_c(path), &why, &f->store), 0);
    check_state(f, 2, "a=2 ");
    check_state(f, 1, "a=1 ");
    assert_int_equal(store_revision(f->store), 2);
    struct str value;
    assert_int_equal(store_record_get(f->store, STR("t"), STR("k"), &f->arena, &value), 0);
    snprintf(path, sizeof path, "%s/ca-key.pem", folder);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 7);
    assert_int_equal(st.st_mode & 0777, 0600);
    f->store = store_close(f->store);
    remove_restored(folder);
    unlink(backup);
    str_buf_deinit(&why);
}

static void make_file(const char *folder, const char *name, const char *text)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
}

static bool has_file(const char *folder, const char *name)
{
    char path[160];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return stat(path, &st) == 0;
}

/* What a restore that was killed half-way left is taken away by the next one, and by nothing else.
 */
static void test_a_killed_restore_is_cleaned_up(void **state)
{
    struct fixture *f = *state;
    char backup[128], path[128], folder[96];
    struct str_buf why = STR_BUF_INIT(1000);
    struct store_file file = {STR("ca-key.pem"), STR("secret\n")};
    snprintf(backup, sizeof backup, "%s/backup", f->dir);
    restored_path(f, path, folder);
    assert_int_equal(store_backup(f->store, str_from_c(backup), &file, 1, &why), 0);
    /* Somebody's own key is not overwritten, and stays. */
    make_file(folder, "ca-key.pem", "mine");
    assert_int_equal(store_restore_sqlite(str_from_c(backup), str_from_c(folder), &why),
                     -ERR_EXISTS);
    assert_true(has_file(folder, "ca-key.pem"));
    assert_false(has_file(folder, "restore.unfinished"));
    assert_int_equal(store_restore_finish(str_from_c(folder), &why), 0);
    /* Killed: half of the key, half of the database, and the note of what was to come. */
    make_file(folder, "ca-key.pem", "sec");
    make_file(folder, "store.db.part", "SQLite");
    make_file(folder, "restore.unfinished", "ca-key.pem\n../backup\n");
    assert_int_equal(store_restore_finish(str_from_c(folder), &why), -ERR_CORRUPT);
    assert_int_equal(store_restore_sqlite(str_from_c(backup), str_from_c(folder), &why), 0);
    assert_false(has_file(folder, "restore.unfinished"));
    assert_false(has_file(folder, "store.db.part"));
    assert_int_equal(store_restore_finish(str_from_c(folder), &why), 0);
    /* Killed when only the note was left. */
    make_file(folder, "restore.unfinished", "ca-key.pem\n");
    assert_int_equal(store_restore_finish(str_from_c(folder), &why), 0);
    assert_true(has_file(folder, "ca-key.pem"));
    assert_false(has_file(folder, "restore.unfinished"));
    remove_restored(folder);
    unlink(backup);
    str_buf_deinit(&why);
}

static int restore_changed(struct fixture *f, const char *backup, const char *sql)
{
    char path[128], folder[96];
    struct str_buf why = STR_BUF_INIT(1000);
    sqlite3 *db;
    restored_path(f, path, folder);
    assert_int_equal(sqlite3_open(backup, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    int err = store_restore_sqlite(str_from_c(backup), str_from_c(folder), &why);
    assert_true(err == 0 || why.len > 0);
    struct stat st;
    assert_true(err == 0 || stat(path, &st) != 0);
    remove_restored(folder);
    str_buf_deinit(&why);
    return err;
}

static void test_bad_backups_are_refused(void **state)
{
    struct fixture *f = *state;
    char backup[128];
    struct str_buf why = STR_BUF_INIT(1000);
    snprintf(backup, sizeof backup, "%s/backup", f->dir);
    assert_int_equal(store_restore_sqlite(str_from_c(backup), STR("/nowhere"), &why),
                     -ERR_NOT_FOUND);
    assert_int_equal(store_backup(f->store, str_from_c(backup), NULL, 0, &why), 0);
    assert_int_equal(restore_changed(f, backup, "INSERT INTO files VALUES ('../x', 'y')"),
                     -ERR_CORRUPT);
    assert_int_equal(
        restore_changed(f, backup, "DELETE FROM files; INSERT INTO files VALUES ('store.db', 1)"),
        -ERR_CORRUPT);
    assert_int_equal(restore_changed(f, backup, "DELETE FROM files; PRAGMA user_version = 99"),
                     -ERR_UNSUPPORTED);
    assert_int_equal(restore_changed(f, backup, "PRAGMA user_version = 2; DROP TABLE files"),
                     -ERR_CORRUPT);
    unlink(backup);
    str_buf_deinit(&why);
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
        cmocka_unit_test_setup_teardown(test_a_document_that_moved_is_the_same, setup, teardown),
        cmocka_unit_test_setup_teardown(test_put_get_list, setup, teardown),
        cmocka_unit_test_setup_teardown(test_equal_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conflict_takes_all_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_records_of_a_commit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_delete_and_watch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_survives_reopening, setup, teardown),
        cmocka_unit_test_setup_teardown(test_history_tells_who_did_what, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_state_of_each_revision, setup, teardown),
        cmocka_unit_test_setup_teardown(test_history_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_history_is_bounded_by_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_schema_1_is_brought_up_to_date, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_backup_is_all_of_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_killed_restore_is_cleaned_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_backups_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refuses_a_foreign_file, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
