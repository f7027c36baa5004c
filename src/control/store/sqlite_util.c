/* What the parts of the SQLite store share: errors, values, running statements. */
#include "base/err.h"
#include "control/store/sqlite_priv.h"

int sqlite_err(int rc)
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

void sqlite_bind_str(sqlite3_stmt *st, int at, struct str s)
{
    sqlite3_bind_text(st, at, s.len > 0 ? s.ptr : "", (int)s.len, SQLITE_STATIC);
}

struct str sqlite_column_str(sqlite3_stmt *st, int at)
{
    const char *text = (const char *)sqlite3_column_text(st, at);
    return str_from(text, (size_t)sqlite3_column_bytes(st, at));
}

struct str sqlite_column_blob(sqlite3_stmt *st, int at)
{
    const void *bytes = sqlite3_column_blob(st, at);
    size_t len = (size_t)sqlite3_column_bytes(st, at);
    return str_from(len > 0 ? bytes : "", len);
}

int sqlite_run(sqlite3_stmt *st)
{
    int rc = sqlite3_step(st);
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return sqlite_err(rc);
}

int sqlite_exec(sqlite3 *db, const char *sql, struct str_buf *why)
{
    char *text = NULL;
    int rc = sqlite3_exec(db, sql, NULL, NULL, &text);
    if (rc != SQLITE_OK)
        str_buf_add_c(why, text != NULL ? text : sqlite3_errstr(rc));
    sqlite3_free(text);
    return sqlite_err(rc);
}

int sqlite_number(sqlite3 *db, const char *sql, uint64_t *ret_value)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        *ret_value = (uint64_t)sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return sqlite_err(rc);
}

struct str sqlite_kind_name(enum api_kind kind)
{
    return str_from_c(api_kind_info(kind)->name);
}

int sqlite_set_meta(struct store_sqlite *q, const char *key, uint64_t value)
{
    sqlite_bind_str(q->st[ST_META], 1, str_from_c(key));
    sqlite3_bind_int64(q->st[ST_META], 2, (sqlite3_int64)value);
    return sqlite_run(q->st[ST_META]);
}
