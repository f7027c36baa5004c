/* The tables, the steps from earlier versions to the present one, and the statements.
 *
 * Version 1: meta, objects, records. Version 2: the history (acts, versions).
 */
#include "base/err.h"
#include "control/store/sqlite_priv.h"

static const char version_1[] =
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

/* What is there already is where the history starts: its state is known from the present revision
 * on. */
static const char version_2[] =
    "CREATE TABLE acts ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, revision INTEGER NOT NULL, at TEXT NOT NULL,"
    " who TEXT NOT NULL, source TEXT NOT NULL, verb TEXT NOT NULL, note TEXT NOT NULL);"
    "CREATE INDEX acts_by_revision ON acts (revision);"
    "CREATE TABLE versions ("
    " revision INTEGER PRIMARY KEY, act_revision INTEGER NOT NULL, change TEXT NOT NULL,"
    " kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, json TEXT NOT NULL,"
    " file TEXT NOT NULL, line INTEGER NOT NULL, owner TEXT NOT NULL, uid TEXT NOT NULL,"
    " created_at TEXT NOT NULL, created_revision INTEGER NOT NULL, generation INTEGER NOT NULL);"
    "CREATE INDEX versions_by_act ON versions (act_revision);"
    "CREATE INDEX versions_by_object ON versions (kind, namespace, name, revision);"
    "INSERT INTO versions SELECT revision, 0, 'created', kind, namespace, name, json, file, line,"
    " owner, uid, created_at, created_revision, generation FROM objects;"
    "INSERT INTO meta SELECT 'history_start', value FROM meta WHERE key = 'revision';";

/* steps[n]: from version n to n + 1. */
static const char *const steps[SQLITE_SCHEMA_VERSION] = {version_1, version_2};

static int step_up(sqlite3 *db, uint64_t from, struct str_buf *why)
{
    struct str_buf sql = STR_BUF_INIT(8192);
    str_buf_printf(&sql, "BEGIN IMMEDIATE;%sPRAGMA user_version = %llu;COMMIT;", steps[from],
                   (unsigned long long)from + 1);
    int err = sqlite_exec(db, sql.ptr, why);
    if (err != 0)
        (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    str_buf_deinit(&sql);
    return err;
}

int sqlite_set_up(sqlite3 *db, struct str_buf *why)
{
    uint64_t version = 0;
    /* No temporary files: a confined process could not make them. */
    int err = sqlite_exec(db,
                          "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                          "PRAGMA temp_store = MEMORY;",
                          why);
    if (err == 0)
        err = sqlite_number(db, "PRAGMA user_version", &version);
    if (err == 0 && version > SQLITE_SCHEMA_VERSION) {
        str_buf_printf(why, "written by a newer version (schema %llu, this one reads %d)",
                       (unsigned long long)version, SQLITE_SCHEMA_VERSION);
        return -ERR_UNSUPPORTED;
    }
    while (err == 0 && version < SQLITE_SCHEMA_VERSION)
        err = step_up(db, version++, why);
    return err;
}

#define COLUMNS                                                                                    \
    "kind, namespace, name, json, status, file, line, uid, created_at, owner, revision, "          \
    "created_revision, generation"
#define VERSION_COLUMNS                                                                            \
    "v.change, v.kind, v.namespace, v.name, v.json, v.file, v.line, v.owner, v.revision, "         \
    "v.uid, v.created_at, v.created_revision, v.generation"
#define PAST                                                                                       \
    "SELECT past, bytes FROM (SELECT COALESCE(LEAD(revision) OVER (PARTITION BY kind, namespace, " \
    "name ORDER BY revision), CASE WHEN change = 'deleted' THEN revision + 1 END) AS past, "       \
    "LENGTH(CAST(json AS BLOB)) + 300 AS bytes FROM versions) WHERE past IS NOT NULL"
#define IS_SAME_OBJECT "n.kind = v.kind AND n.namespace = v.namespace AND n.name = v.name"

const char *const sqlite_statements[ST_COUNT] = {
    [ST_BEGIN] = "BEGIN IMMEDIATE",
    [ST_BEGIN_LATER] = "BEGIN DEFERRED", /* no lock, no sync when nothing is written */
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
    [ST_META] = "INSERT OR REPLACE INTO meta VALUES (?1, ?2)",
    [ST_PLACE] = ("UPDATE objects SET file = ?4, line = ?5, owner = ?6"
                  " WHERE kind = ?1 AND namespace = ?2 AND name = ?3"),
    [ST_STATUS] = ("UPDATE objects SET status = ?4"
                   " WHERE kind = ?1 AND namespace = ?2 AND name = ?3"),
    [ST_RECORD_PUT] = "INSERT OR REPLACE INTO records VALUES (?1, ?2, ?3)",
    [ST_RECORD_DELETE] = "DELETE FROM records WHERE tbl = ?1 AND key = ?2",
    [ST_RECORD_GET] = "SELECT value FROM records WHERE tbl = ?1 AND key = ?2",
    [ST_RECORD_LIST] = "SELECT key, value FROM records WHERE tbl = ?1 ORDER BY key",
    [ST_ACT_ADD] = ("INSERT INTO acts (revision, at, who, source, verb, note)"
                    " VALUES (?1, ?2, ?3, ?4, ?5, ?6)"),
    [ST_ACTS] = ("SELECT id, revision, at, who, source, verb, note FROM acts"
                 " WHERE (?1 = 0 OR id < ?1) AND (?2 = 0 OR revision = ?2)"
                 " AND (?3 = 0 OR revision > 0)"
                 " AND (?4 || ?5 || ?6 = '' OR EXISTS (SELECT 1 FROM versions v"
                 "  WHERE v.act_revision = acts.revision AND (?4 = '' OR v.kind = ?4)"
                 "  AND (?5 = '' OR v.namespace = ?5) AND (?6 = '' OR v.name = ?6)))"
                 " ORDER BY id DESC LIMIT ?7"),
    [ST_ACT_VERSIONS] = ("SELECT " VERSION_COLUMNS " FROM versions v"
                         " WHERE v.act_revision = ?1 ORDER BY v.revision"),
    [ST_VERSION_ADD] = ("INSERT INTO versions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10,"
                        " ?11, ?12, ?13, ?14)"),
    [ST_SINCE] = ("SELECT " VERSION_COLUMNS " FROM versions v WHERE v.revision > ?1"
                  " AND v.kind = ?2 AND (?3 = '' OR v.namespace = ?3) ORDER BY v.revision"),
    [ST_AT] = ("SELECT " VERSION_COLUMNS " FROM versions v WHERE v.change <> 'deleted'"
               " AND v.revision = (SELECT MAX(n.revision) FROM versions n"
               "  WHERE " IS_SAME_OBJECT " AND n.revision <= ?1)"
               " ORDER BY v.kind, v.namespace, v.name"),
    /* A version is of the past from the revision on at which another has replaced it, or behind
     * which it was gone. */
    [ST_PAST_BYTES] = "SELECT COALESCE(SUM(bytes), 0) FROM (" PAST ")",
    [ST_PAST_START] = ("SELECT MAX(past) FROM (SELECT past, SUM(bytes) OVER (ORDER BY past DESC)"
                       " AS total FROM (" PAST ")) WHERE total > ?1"),
    /* What a later version, itself not after the new start, has replaced; then what was gone. */
    [ST_PRUNE_VERSIONS] = ("DELETE FROM versions AS v WHERE v.revision < ?1"
                           " AND EXISTS (SELECT 1 FROM versions n WHERE " IS_SAME_OBJECT
                           "  AND n.revision > v.revision AND n.revision <= ?1)"),
    [ST_PRUNE_GONE] = "DELETE FROM versions WHERE revision < ?1 AND change = 'deleted'",
    [ST_PRUNE_ACTS] = "DELETE FROM acts WHERE id < ?2 OR (revision > 0 AND revision < ?1)",
};
