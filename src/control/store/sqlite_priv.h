/* Inside control/store/ only: the parts of the SQLite store. */
#pragma once

#include <sqlite3.h>

#include "control/store/store_priv.h"

enum statement {
    ST_BEGIN,
    ST_BEGIN_LATER,
    ST_COMMIT,
    ST_ROLLBACK,
    ST_LIST,
    ST_GET,
    ST_PUT,
    ST_DELETE,
    ST_META,
    ST_STATUS,
    ST_PLACE,
    ST_RECORD_PUT,
    ST_RECORD_DELETE,
    ST_RECORD_GET,
    ST_RECORD_LIST,
    ST_ACT_ADD,
    ST_ACTS,
    ST_ACT_VERSIONS,
    ST_VERSION_ADD,
    ST_AT,
    ST_SINCE,
    ST_PAST_BYTES,
    ST_PAST_START,
    ST_PRUNE_VERSIONS,
    ST_PRUNE_GONE,
    ST_PRUNE_ACTS,
    ST_COUNT,
};

struct store_sqlite {
    struct store store;
    sqlite3 *db;
    sqlite3_stmt *st[ST_COUNT];
    struct arena arena; /* strings of the last commit's objects */
    bool is_grouping;
    uint64_t past_bytes; /* of versions that something has replaced, about */
};

static inline struct store_sqlite *sqlite_of(struct store *s)
{
    return CONTAINER_OF(s, struct store_sqlite, store);
}

/* --- sqlite_util.c --- */

int sqlite_err(int rc);
void sqlite_bind_str(sqlite3_stmt *st, int at, struct str s);
/* Borrowed from the row. */
struct str sqlite_column_str(sqlite3_stmt *st, int at);
struct str sqlite_column_blob(sqlite3_stmt *st, int at);
/* Runs a statement that gives no rows, and frees it for the next use. */
int sqlite_run(sqlite3_stmt *st);
/* Runs text; the reason is added to why. */
int sqlite_exec(sqlite3 *db, const char *sql, struct str_buf *why);
/* The first number that a query gives; unchanged when there is none. */
int sqlite_number(sqlite3 *db, const char *sql, uint64_t *ret_value);
struct str sqlite_kind_name(enum api_kind kind);
/* Writes a number of table meta. */
int sqlite_set_meta(struct store_sqlite *q, const char *key, uint64_t value);

/* --- sqlite_schema.c --- */

enum { SQLITE_SCHEMA_VERSION = 2 };
/* Makes the tables, or brings those of an earlier version up to date. -ERR_UNSUPPORTED for later
 * ones. */
int sqlite_set_up(sqlite3 *db, struct str_buf *why);
extern const char *const sqlite_statements[ST_COUNT];

/* --- sqlite_history.c: inside the transaction of the commit --- */

int sqlite_note_version(struct store_sqlite *q, const struct store_write *w, uint64_t act_revision);
int sqlite_note_act(struct store_sqlite *q, const struct store_author *by, uint64_t revision);
/* Counts the bytes of the history; after something was dropped, and once at start. */
int sqlite_count_past(struct store_sqlite *q);
/* What a version costs beside its JSON, about. */
enum { SQLITE_VERSION_BYTES = 300 };
/* Drops what lies before the bound, when it is worth it: then ret_start gets the new start.
 * new_revision is the commit's. */
int sqlite_prune(struct store_sqlite *q, uint64_t new_revision, uint64_t *ret_start);

int sqlite_history(struct store *s, const struct store_history_query *q,
                   const struct store_history_ops *ops, void *ctx);
int sqlite_list_at(struct store *s, uint64_t revision, store_each_fn *each, void *ctx);
int sqlite_list_since(struct store *s, enum api_kind kind, struct str namespace_, uint64_t revision,
                      store_version_fn *each, void *ctx);
int sqlite_audit(struct store *s, const struct store_author *by);

/* --- sqlite_backup.c --- */

int sqlite_backup(struct store *s, struct str path, const struct store_file *files, size_t count,
                  struct str_buf *why);
/* For sqlite_restore.c, too: "FOLDER/NAME"; whether there is something; a new database, mode 0600;
 * all pages of one into another. */
enum { SQLITE_PATH_LEN_MAX = 4096 };
bool sqlite_join(char path[SQLITE_PATH_LEN_MAX], struct str folder, struct str name);
bool sqlite_is_there(const char *path);
int sqlite_create(const char *path, struct str_buf *why, sqlite3 **ret_db);
int sqlite_copy_pages(sqlite3 *from, sqlite3 *to, struct str_buf *why);
