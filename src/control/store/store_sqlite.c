/* The store in an SQLite file: WAL, every commit synced, so an acknowledged write survives a crash.
 *
 * One row a document; `revision` in table meta counts every change. Statements are prepared once.
 * Beside it: sqlite_schema.c (tables, statements), sqlite_history.c, sqlite_backup.c.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/random.h"
#include "control/store/sqlite_priv.h"

static void bind_key(sqlite3_stmt *st, enum api_kind kind, struct str namespace_, struct str name)
{
    sqlite_bind_str(st, 1, sqlite_kind_name(kind));
    sqlite_bind_str(st, 2, namespace_);
    sqlite_bind_str(st, 3, name);
}

/* Borrowed from the row. */
static struct store_object row_object(sqlite3_stmt *st, enum api_kind kind)
{
    return (struct store_object){
        .kind = kind,
        .namespace_ = sqlite_column_str(st, 1),
        .name = sqlite_column_str(st, 2),
        .json = sqlite_column_str(st, 3),
        .status_json = sqlite_column_str(st, 4),
        .file = sqlite_column_str(st, 5),
        .line = (uint32_t)sqlite3_column_int64(st, 6),
        .uid = sqlite_column_str(st, 7),
        .created_at = sqlite_column_str(st, 8),
        .owner = sqlite_column_str(st, 9),
        .revision = (uint64_t)sqlite3_column_int64(st, 10),
        .created_revision = (uint64_t)sqlite3_column_int64(st, 11),
        .generation = (uint64_t)sqlite3_column_int64(st, 12),
    };
}

static void copy_object(struct arena *a, const struct store_object *from, struct store_object *to)
{
    *to = *from;
    to->namespace_ = arena_str(a, from->namespace_);
    to->name = arena_str(a, from->name);
    to->json = arena_str(a, from->json);
    to->status_json = arena_str(a, from->status_json);
    to->file = arena_str(a, from->file);
    to->uid = arena_str(a, from->uid);
    to->created_at = arena_str(a, from->created_at);
    to->owner = arena_str(a, from->owner);
}

/* --- reading --- */

static int list(struct store *s, enum api_kind kind, struct str namespace_, store_each_fn *each,
                void *ctx)
{
    sqlite3_stmt *st = sqlite_of(s)->st[ST_LIST];
    sqlite_bind_str(st, 1, sqlite_kind_name(kind));
    sqlite_bind_str(st, 2, namespace_);
    int rc;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct store_object o = row_object(st, kind);
        each(ctx, &o);
    }
    sqlite3_reset(st);
    return sqlite_err(rc);
}

static int get(struct store *s, enum api_kind kind, struct str namespace_, struct str name,
               struct arena *a, struct store_object *ret_object)
{
    sqlite3_stmt *st = sqlite_of(s)->st[ST_GET];
    bind_key(st, kind, namespace_, name);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        struct store_object o = row_object(st, kind);
        copy_object(a, &o, ret_object);
    }
    sqlite3_reset(st);
    return rc == SQLITE_DONE ? -ERR_NOT_FOUND : sqlite_err(rc);
}

/* --- writing --- */

static struct str make_uid(struct arena *a)
{
    uint8_t b[16];
    random_secret(b, sizeof b);
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* RFC 9562 5.4: version 4 */
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    return arena_printf(a, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                        b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11],
                        b[12], b[13], b[14], b[15]);
}

static bool is_expected(const struct store_write *w, int found, const struct store_object *present)
{
    if (w->expected_revision == 0)
        return true;
    if (w->expected_revision == UINT64_MAX)
        return found != 0;
    return found == 0 && present->revision == w->expected_revision;
}

static int delete_one(struct store_sqlite *q, struct store_write *w,
                      const struct store_object *present, uint64_t revision)
{
    sqlite3_stmt *st = q->st[ST_DELETE];
    bind_key(st, w->object.kind, w->object.namespace_, w->object.name);
    q->past_bytes += 2 * (present->json.len + SQLITE_VERSION_BYTES); /* it, and its end */
    w->object = *present;
    w->change = STORE_DELETED;
    w->revision = revision;
    return sqlite_run(st);
}

static int put_one(struct store_sqlite *q, struct store_write *w, bool is_new,
                   const struct store_object *present, uint64_t revision)
{
    struct store_object *o = &w->object;
    q->past_bytes += is_new ? 0 : present->json.len + SQLITE_VERSION_BYTES;
    o->uid = is_new ? make_uid(&q->arena) : present->uid;
    o->created_at = is_new ? o->created_at : present->created_at;
    o->created_revision = is_new ? revision : present->created_revision;
    o->generation = is_new ? 1 : present->generation + 1;
    o->status_json = is_new ? STR_NULL : present->status_json;
    o->revision = revision;
    w->change = is_new ? STORE_CREATED : STORE_CONFIGURED;
    w->revision = revision;
    sqlite3_stmt *st = q->st[ST_PUT];
    bind_key(st, o->kind, o->namespace_, o->name);
    sqlite_bind_str(st, 4, o->json);
    sqlite_bind_str(st, 5, o->file);
    sqlite3_bind_int64(st, 6, o->line);
    sqlite_bind_str(st, 7, o->uid);
    sqlite_bind_str(st, 8, o->created_at);
    sqlite_bind_str(st, 9, o->owner);
    sqlite3_bind_int64(st, 10, (sqlite3_int64)o->revision);
    sqlite3_bind_int64(st, 11, (sqlite3_int64)o->created_revision);
    sqlite3_bind_int64(st, 12, (sqlite3_int64)o->generation);
    return sqlite_run(st);
}

/* The same document stands elsewhere, or is another's: told of nobody, but whoever looks for it
 * looks there. */
static int move_one(struct store_sqlite *q, const struct store_write *w,
                    const struct store_object *present)
{
    const struct store_object *o = &w->object;
    struct str owner = w->is_taking_over ? o->owner : present->owner;
    bool is_there = o->line == 0 || (o->line == present->line && str_eq(o->file, present->file));
    if (is_there && str_eq(owner, present->owner))
        return 0;
    sqlite3_stmt *st = q->st[ST_PLACE];
    bind_key(st, o->kind, o->namespace_, o->name);
    sqlite_bind_str(st, 4, is_there ? present->file : o->file);
    sqlite3_bind_int64(st, 5, is_there ? present->line : o->line);
    sqlite_bind_str(st, 6, owner);
    return sqlite_run(st);
}

/* *revision is taken only when something changes. */
static int write_one(struct store_sqlite *q, struct store_write *w, uint64_t *revision)
{
    struct store_object present = {0};
    int found =
        get(&q->store, w->object.kind, w->object.namespace_, w->object.name, &q->arena, &present);
    if (found != 0 && found != -ERR_NOT_FOUND)
        return found;
    if (!is_expected(w, found, &present))
        return -ERR_CONFLICT;
    if (w->is_delete)
        return found != 0 ? found : delete_one(q, w, &present, ++*revision);
    if (found == 0 && str_eq(present.json, w->object.json)) {
        w->change = STORE_UNCHANGED;
        w->revision = present.revision;
        return move_one(q, w, &present);
    }
    return put_one(q, w, found != 0, &present, ++*revision);
}

static int write_all(struct store_sqlite *q, struct store_write *writes, size_t count,
                     uint64_t *revision, size_t *ret_failed)
{
    for (size_t i = 0; i < count; i++) {
        int err = write_one(q, &writes[i], revision);
        if (err != 0) {
            *ret_failed = i;
            return err;
        }
    }
    return 0;
}

/* What changed, by whom, and the new revision. */
static int note_all(struct store_sqlite *q, const struct store_write *writes, size_t count,
                    const struct store_author *by, uint64_t revision, uint64_t *ret_start)
{
    int err = 0;
    if (revision == q->store.revision)
        return 0;
    for (size_t i = 0; err == 0 && i < count; i++) {
        if (writes[i].change != STORE_UNCHANGED)
            err = sqlite_note_version(q, &writes[i], revision);
    }
    if (err == 0)
        err = sqlite_note_act(q, by, revision);
    if (err == 0)
        err = sqlite_prune(q, revision, ret_start);
    return err != 0 ? err : sqlite_set_meta(q, "revision", revision);
}

static int commit(struct store *s, struct store_write *writes, size_t count,
                  const struct store_author *by, size_t *ret_failed)
{
    struct store_sqlite *q = sqlite_of(s);
    size_t failed = 0;
    uint64_t revision = s->revision, start = s->history_start, past_bytes = q->past_bytes;
    arena_reset(&q->arena);
    int err = sqlite_run(q->st[ST_BEGIN]);
    if (err == 0) {
        err = write_all(q, writes, count, &revision, &failed);
        if (err == 0)
            err = note_all(q, writes, count, by, revision, &start);
        if (err == 0)
            err = sqlite_run(q->st[ST_COMMIT]);
        if (err != 0)
            (void)sqlite_run(q->st[ST_ROLLBACK]);
    }
    if (err != 0) {
        q->past_bytes = past_bytes;
        if (ret_failed != NULL)
            *ret_failed = failed;
        return err;
    }
    s->revision = revision;
    s->history_start = start;
    return 0;
}

static int set_status(struct store *s, enum api_kind kind, struct str namespace_, struct str name,
                      struct str status_json)
{
    sqlite3_stmt *st = sqlite_of(s)->st[ST_STATUS];
    bind_key(st, kind, namespace_, name);
    sqlite_bind_str(st, 4, status_json);
    return sqlite_run(st);
}

/* --- records --- */

static void records_begin(struct store *s)
{
    sqlite_of(s)->is_grouping = sqlite_run(sqlite_of(s)->st[ST_BEGIN_LATER]) == 0;
}

static int records_end(struct store *s)
{
    struct store_sqlite *q = sqlite_of(s);
    if (!q->is_grouping)
        return 0; /* each was written by itself */
    q->is_grouping = false;
    /* A put that fails for want of space may have ended the transaction, and all of it. */
    if (sqlite3_get_autocommit(q->db))
        return -ERR_SYSTEM;
    int err = sqlite_run(q->st[ST_COMMIT]);
    if (err != 0)
        (void)sqlite_run(q->st[ST_ROLLBACK]);
    return err;
}

static void set_lazy(struct store *s, bool is_lazy)
{
    (void)sqlite3_exec(sqlite_of(s)->db,
                       is_lazy ? "PRAGMA synchronous = NORMAL" : "PRAGMA synchronous = FULL", NULL,
                       NULL, NULL);
}

static int record_put(struct store *s, struct str table, struct str key, struct str value)
{
    sqlite3_stmt *st = sqlite_of(s)->st[value.ptr != NULL ? ST_RECORD_PUT : ST_RECORD_DELETE];
    sqlite_bind_str(st, 1, table);
    sqlite_bind_str(st, 2, key);
    if (value.ptr != NULL)
        sqlite3_bind_blob(st, 3, value.ptr, (int)value.len, SQLITE_STATIC);
    return sqlite_run(st);
}

static int record_get(struct store *s, struct str table, struct str key, struct arena *a,
                      struct str *ret_value)
{
    sqlite3_stmt *st = sqlite_of(s)->st[ST_RECORD_GET];
    sqlite_bind_str(st, 1, table);
    sqlite_bind_str(st, 2, key);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        *ret_value = arena_str(a, sqlite_column_blob(st, 0));
    sqlite3_reset(st);
    return rc == SQLITE_DONE ? -ERR_NOT_FOUND : sqlite_err(rc);
}

static int record_list(struct store *s, struct str table, store_record_fn *each, void *ctx)
{
    sqlite3_stmt *st = sqlite_of(s)->st[ST_RECORD_LIST];
    sqlite_bind_str(st, 1, table);
    int rc;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW)
        each(ctx, sqlite_column_str(st, 0), sqlite_column_blob(st, 1));
    sqlite3_reset(st);
    return sqlite_err(rc);
}

/* --- opening --- */

static void close_sqlite(struct store *s)
{
    struct store_sqlite *q = sqlite_of(s);
    for (int i = 0; i < ST_COUNT; i++)
        sqlite3_finalize(q->st[i]);
    sqlite3_close(q->db);
    arena_deinit(&q->arena);
    free(q);
}

static const struct store_ops sqlite_ops = {
    .name = "sqlite",
    .close = close_sqlite,
    .list = list,
    .get = get,
    .commit = commit,
    .set_status = set_status,
    .history = sqlite_history,
    .list_at = sqlite_list_at,
    .list_since = sqlite_list_since,
    .audit = sqlite_audit,
    .backup = sqlite_backup,
    .records_begin = records_begin,
    .records_end = records_end,
    .set_lazy = set_lazy,
    .record_put = record_put,
    .record_get = record_get,
    .record_list = record_list,
};

static int prepare_all(struct store_sqlite *q, struct str_buf *why)
{
    for (int i = 0; i < ST_COUNT; i++) {
        int rc = sqlite3_prepare_v3(q->db, sqlite_statements[i], -1, SQLITE_PREPARE_PERSISTENT,
                                    &q->st[i], NULL);
        if (rc != SQLITE_OK) {
            str_buf_add_c(why, sqlite3_errmsg(q->db));
            return sqlite_err(rc);
        }
    }
    int err =
        sqlite_number(q->db, "SELECT value FROM meta WHERE key = 'revision'", &q->store.revision);
    if (err == 0)
        err = sqlite_number(q->db, "SELECT value FROM meta WHERE key = 'history_start'",
                            &q->store.history_start);
    return err != 0 ? err : sqlite_count_past(q);
}

int store_open_sqlite(struct str path, struct str_buf *why, struct store **ret_store)
{
    struct store_sqlite *q = NEW(struct store_sqlite);
    store_init(&q->store, &sqlite_ops);
    arena_init(&q->arena, 16 * 1024);
    char *file = str_dup_c(path);
    int rc = sqlite3_open_v2(file, &q->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
    int err = sqlite_err(rc);
    if (rc != SQLITE_OK)
        str_buf_printf(why, "%s: %s", file, sqlite3_errstr(rc));
    free(file);
    if (err == 0)
        err = sqlite_set_up(q->db, why);
    if (err == 0)
        err = prepare_all(q, why);
    if (err != 0) {
        store_close(&q->store);
        return err;
    }
    *ret_store = &q->store;
    return 0;
}
