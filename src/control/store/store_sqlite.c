/* The store in an SQLite file: WAL, every commit synced, so an acknowledged write survives a crash.
 *
 * One row a document; `revision` in table meta counts every change. Statements are prepared once.
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"
#include "control/store/store_priv.h"

enum { SCHEMA_VERSION = 1 };

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS objects ("
    " kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, json TEXT NOT NULL,"
    " status TEXT NOT NULL DEFAULT '', file TEXT NOT NULL, line INTEGER NOT NULL,"
    " uid TEXT NOT NULL, created_at TEXT NOT NULL, owner TEXT NOT NULL,"
    " revision INTEGER NOT NULL, created_revision INTEGER NOT NULL, generation INTEGER NOT NULL,"
    " PRIMARY KEY (kind, namespace, name)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS records ("
    " tbl TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (tbl, key))"
    " WITHOUT ROWID;"
    "INSERT OR IGNORE INTO meta VALUES ('revision', 0);";

enum statement {
    ST_BEGIN,
    ST_COMMIT,
    ST_ROLLBACK,
    ST_LIST,
    ST_GET,
    ST_PUT,
    ST_DELETE,
    ST_REVISION,
    ST_STATUS,
    ST_RECORD_PUT,
    ST_RECORD_DELETE,
    ST_RECORD_GET,
    ST_RECORD_LIST,
    ST_COUNT,
};

#define COLUMNS                                                                                    \
    "kind, namespace, name, json, status, file, line, uid, created_at, owner, revision, "          \
    "created_revision, generation"

static const char *const statements[ST_COUNT] = {
    [ST_BEGIN] = "BEGIN IMMEDIATE",
    [ST_COMMIT] = "COMMIT",
    [ST_ROLLBACK] = "ROLLBACK",
    [ST_LIST] = ("SELECT " COLUMNS " FROM objects WHERE kind = ?1 AND (?2 = '' OR namespace = ?2)"
                 " ORDER BY namespace, name"),
    [ST_GET] = ("SELECT " COLUMNS " FROM objects WHERE kind = ?1 AND namespace = ?2 AND name = ?3"),
    [ST_PUT] = ("INSERT INTO objects (" COLUMNS ")"
                " VALUES (?1, ?2, ?3, ?4, '', ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
                " ON CONFLICT (kind, namespace, name) DO UPDATE SET json = excluded.json,"
                " file = excluded.file, line = excluded.line, owner = excluded.owner,"
                " revision = excluded.revision, generation = excluded.generation"),
    [ST_DELETE] = "DELETE FROM objects WHERE kind = ?1 AND namespace = ?2 AND name = ?3",
    [ST_REVISION] = "UPDATE meta SET value = ?1 WHERE key = 'revision'",
    [ST_STATUS] = ("UPDATE objects SET status = ?4"
                   " WHERE kind = ?1 AND namespace = ?2 AND name = ?3"),
    [ST_RECORD_PUT] = "INSERT OR REPLACE INTO records VALUES (?1, ?2, ?3)",
    [ST_RECORD_DELETE] = "DELETE FROM records WHERE tbl = ?1 AND key = ?2",
    [ST_RECORD_GET] = "SELECT value FROM records WHERE tbl = ?1 AND key = ?2",
    [ST_RECORD_LIST] = "SELECT key, value FROM records WHERE tbl = ?1 ORDER BY key",
};

struct store_sqlite {
    struct store store;
    sqlite3 *db;
    sqlite3_stmt *st[ST_COUNT];
    struct arena arena; /* strings of the last commit's objects */
};

static struct store_sqlite *of(struct store *s)
{
    return CONTAINER_OF(s, struct store_sqlite, store);
}

static int to_err(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_DONE:
    case SQLITE_ROW:
        return 0;
    case SQLITE_FULL:
        return -ERR_NO_SPACE;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return -ERR_CORRUPT;
    default:
        return -ERR_SYSTEM;
    }
}

static void bind_str(sqlite3_stmt *st, int at, struct str s)
{
    sqlite3_bind_text(st, at, s.len > 0 ? s.ptr : "", (int)s.len, SQLITE_STATIC);
}

static struct str column_str(sqlite3_stmt *st, int at)
{
    const char *text = (const char *)sqlite3_column_text(st, at);
    return str_from(text, (size_t)sqlite3_column_bytes(st, at));
}

/* Runs a statement that gives no rows. */
static int run(sqlite3_stmt *st)
{
    int rc = sqlite3_step(st);
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return to_err(rc);
}

static struct str kind_name(enum api_kind kind)
{
    return str_from_c(api_kind_info(kind)->name);
}

static void bind_key(sqlite3_stmt *st, enum api_kind kind, struct str namespace_, struct str name)
{
    bind_str(st, 1, kind_name(kind));
    bind_str(st, 2, namespace_);
    bind_str(st, 3, name);
}

/* Borrowed from the row. */
static struct store_object row_object(sqlite3_stmt *st, enum api_kind kind)
{
    return (struct store_object){
        .kind = kind,
        .namespace_ = column_str(st, 1),
        .name = column_str(st, 2),
        .json = column_str(st, 3),
        .status_json = column_str(st, 4),
        .file = column_str(st, 5),
        .line = (uint32_t)sqlite3_column_int64(st, 6),
        .uid = column_str(st, 7),
        .created_at = column_str(st, 8),
        .owner = column_str(st, 9),
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
    sqlite3_stmt *st = of(s)->st[ST_LIST];
    bind_str(st, 1, kind_name(kind));
    bind_str(st, 2, namespace_);
    int rc;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct store_object o = row_object(st, kind);
        each(ctx, &o);
    }
    sqlite3_reset(st);
    return to_err(rc);
}

static int get(struct store *s, enum api_kind kind, struct str namespace_, struct str name,
               struct arena *a, struct store_object *ret_object)
{
    sqlite3_stmt *st = of(s)->st[ST_GET];
    bind_key(st, kind, namespace_, name);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        struct store_object o = row_object(st, kind);
        copy_object(a, &o, ret_object);
    }
    sqlite3_reset(st);
    return rc == SQLITE_DONE ? -ERR_NOT_FOUND : to_err(rc);
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
    w->object = *present;
    w->change = STORE_DELETED;
    w->revision = revision;
    return run(st);
}

static int put_one(struct store_sqlite *q, struct store_write *w, bool is_new,
                   const struct store_object *present, uint64_t revision)
{
    struct store_object *o = &w->object;
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
    bind_str(st, 4, o->json);
    bind_str(st, 5, o->file);
    sqlite3_bind_int64(st, 6, o->line);
    bind_str(st, 7, o->uid);
    bind_str(st, 8, o->created_at);
    bind_str(st, 9, o->owner);
    sqlite3_bind_int64(st, 10, (sqlite3_int64)o->revision);
    sqlite3_bind_int64(st, 11, (sqlite3_int64)o->created_revision);
    sqlite3_bind_int64(st, 12, (sqlite3_int64)o->generation);
    return run(st);
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
        return 0;
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
    if (*revision == q->store.revision)
        return 0;
    sqlite3_bind_int64(q->st[ST_REVISION], 1, (sqlite3_int64)*revision);
    return run(q->st[ST_REVISION]);
}

static int commit(struct store *s, struct store_write *writes, size_t count, size_t *ret_failed)
{
    struct store_sqlite *q = of(s);
    size_t failed = 0;
    uint64_t revision = s->revision;
    arena_reset(&q->arena);
    int err = run(q->st[ST_BEGIN]);
    if (err == 0) {
        err = write_all(q, writes, count, &revision, &failed);
        if (err == 0)
            err = run(q->st[ST_COMMIT]);
        if (err != 0)
            (void)run(q->st[ST_ROLLBACK]);
    }
    if (err != 0) {
        if (ret_failed != NULL)
            *ret_failed = failed;
        return err;
    }
    s->revision = revision;
    return 0;
}

static int set_status(struct store *s, enum api_kind kind, struct str namespace_, struct str name,
                      struct str status_json)
{
    sqlite3_stmt *st = of(s)->st[ST_STATUS];
    bind_key(st, kind, namespace_, name);
    bind_str(st, 4, status_json);
    return run(st);
}

/* --- records --- */

static int record_put(struct store *s, struct str table, struct str key, struct str value)
{
    sqlite3_stmt *st = of(s)->st[value.ptr != NULL ? ST_RECORD_PUT : ST_RECORD_DELETE];
    bind_str(st, 1, table);
    bind_str(st, 2, key);
    if (value.ptr != NULL)
        sqlite3_bind_blob(st, 3, value.ptr, (int)value.len, SQLITE_STATIC);
    return run(st);
}

static struct str column_blob(sqlite3_stmt *st, int at)
{
    const void *bytes = sqlite3_column_blob(st, at);
    size_t len = (size_t)sqlite3_column_bytes(st, at);
    return str_from(len > 0 ? bytes : "", len);
}

static int record_get(struct store *s, struct str table, struct str key, struct arena *a,
                      struct str *ret_value)
{
    sqlite3_stmt *st = of(s)->st[ST_RECORD_GET];
    bind_str(st, 1, table);
    bind_str(st, 2, key);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        *ret_value = arena_str(a, column_blob(st, 0));
    sqlite3_reset(st);
    return rc == SQLITE_DONE ? -ERR_NOT_FOUND : to_err(rc);
}

static int record_list(struct store *s, struct str table, store_record_fn *each, void *ctx)
{
    sqlite3_stmt *st = of(s)->st[ST_RECORD_LIST];
    bind_str(st, 1, table);
    int rc;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW)
        each(ctx, column_str(st, 0), column_blob(st, 1));
    sqlite3_reset(st);
    return to_err(rc);
}

/* --- opening --- */

static void close_sqlite(struct store *s)
{
    struct store_sqlite *q = of(s);
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
    .record_put = record_put,
    .record_get = record_get,
    .record_list = record_list,
};

static int exec(struct store_sqlite *q, const char *sql, struct str_buf *why)
{
    char *text = NULL;
    int rc = sqlite3_exec(q->db, sql, NULL, NULL, &text);
    if (rc != SQLITE_OK)
        str_buf_add_c(why, text != NULL ? text : sqlite3_errstr(rc));
    sqlite3_free(text);
    return to_err(rc);
}

static int read_number(struct store_sqlite *q, const char *sql, uint64_t *ret_value)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(q->db, sql, -1, &st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        *ret_value = (uint64_t)sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return to_err(rc);
}

static int set_up(struct store_sqlite *q, struct str_buf *why)
{
    uint64_t version = 0;
    int err = exec(q, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;", why);
    if (err == 0)
        err = read_number(q, "PRAGMA user_version", &version);
    if (err == 0 && version > SCHEMA_VERSION) {
        str_buf_printf(why, "written by a newer version (schema %llu, this one reads %d)",
                       (unsigned long long)version, SCHEMA_VERSION);
        return -ERR_UNSUPPORTED;
    }
    if (err == 0)
        err = exec(q, schema, why);
    if (err == 0)
        err = exec(q, "PRAGMA user_version = 1", why);
    return err;
}

static int prepare_all(struct store_sqlite *q, struct str_buf *why)
{
    for (int i = 0; i < ST_COUNT; i++) {
        int rc = sqlite3_prepare_v3(q->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &q->st[i],
                                    NULL);
        if (rc != SQLITE_OK) {
            str_buf_add_c(why, sqlite3_errmsg(q->db));
            return to_err(rc);
        }
    }
    return read_number(q, "SELECT value FROM meta WHERE key = 'revision'", &q->store.revision);
}

int store_open_sqlite(struct str path, struct str_buf *why, struct store **ret_store)
{
    struct store_sqlite *q = NEW(struct store_sqlite);
    store_init(&q->store, &sqlite_ops);
    arena_init(&q->arena, 16 * 1024);
    char *file = str_dup_c(path);
    int rc = sqlite3_open_v2(file, &q->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
    int err = to_err(rc);
    if (rc != SQLITE_OK)
        str_buf_printf(why, "%s: %s", file, sqlite3_errstr(rc));
    free(file);
    if (err == 0)
        err = set_up(q, why);
    if (err == 0)
        err = prepare_all(q, why);
    if (err != 0) {
        store_close(&q->store);
        return err;
    }
    *ret_store = &q->store;
    return 0;
}
