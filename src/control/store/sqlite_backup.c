/* Backup: one SQLite file that holds the tables and, in table `files`, what lies beside them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "control/store/sqlite_priv.h"

enum { PATH_LEN_MAX = 4096 };

/* "FOLDER/NAME" */
static bool join(char path[PATH_LEN_MAX], struct str folder, struct str name)
{
    int len = snprintf(path, PATH_LEN_MAX, "%.*s/%.*s", STR_FMT(folder), STR_FMT(name));
    return len > 0 && len < PATH_LEN_MAX;
}

static bool is_there(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static int sync_path(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0)
        return -ERR_SYSTEM;
    int err = fsync(fd) == 0 ? 0 : -ERR_SYSTEM;
    close(fd);
    return err;
}

/* --- copying a database --- */

static int copy_pages(sqlite3 *from, sqlite3 *to, struct str_buf *why)
{
    sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");
    int rc = b != NULL ? sqlite3_backup_step(b, -1) : sqlite3_errcode(to);
    if (b != NULL)
        (void)sqlite3_backup_finish(b);
    if (rc == SQLITE_DONE)
        return 0;
    str_buf_add_c(why, sqlite3_errstr(rc));
    return rc == SQLITE_OK ? -ERR_SYSTEM : sqlite_err(rc);
}

/* A new file for us alone; the library would make it with the mode that umask leaves. */
static int create(const char *path, struct str_buf *why, sqlite3 **ret_db)
{
    int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) {
        str_buf_printf(why, "%s: %s", path, strerror(errno));
        return errno == EEXIST ? -ERR_EXISTS : errno == ENOSPC ? -ERR_NO_SPACE : -ERR_SYSTEM;
    }
    close(fd);
    int rc = sqlite3_open_v2(path, ret_db, SQLITE_OPEN_READWRITE, NULL);
    if (rc != SQLITE_OK)
        str_buf_printf(why, "%s: %s", path, sqlite3_errstr(rc));
    return sqlite_err(rc);
}

/* --- backup --- */

static int add_file(sqlite3 *db, const struct store_file *f, struct str_buf *why)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, "INSERT INTO files VALUES (?1, ?2)", -1, &st, NULL);
    int err = sqlite_err(rc);
    if (err == 0) {
        sqlite_bind_str(st, 1, f->name);
        sqlite3_bind_blob(st, 2, f->bytes.ptr, (int)f->bytes.len, SQLITE_STATIC);
        err = sqlite_run(st);
    }
    if (err != 0)
        str_buf_add_c(why, sqlite3_errmsg(db));
    sqlite3_finalize(st);
    return err;
}

static int fill(sqlite3 *from, sqlite3 *to, const struct store_file *files, size_t count,
                struct str_buf *why)
{
    int err = copy_pages(from, to, why);
    if (err == 0)
        err = sqlite_exec(to,
                          "PRAGMA journal_mode = DELETE;"
                          "CREATE TABLE files (name TEXT PRIMARY KEY, bytes BLOB NOT NULL);",
                          why);
    for (size_t i = 0; err == 0 && i < count; i++)
        err = add_file(to, &files[i], why);
    return err;
}

int sqlite_backup(struct store *s, struct str path, const struct store_file *files, size_t count,
                  struct str_buf *why)
{
    char file[PATH_LEN_MAX];
    sqlite3 *to = NULL;
    if (path.len == 0 || path.len >= sizeof file)
        return -ERR_INVALID;
    snprintf(file, sizeof file, "%.*s", STR_FMT(path));
    int err = create(file, why, &to);
    if (err == -ERR_EXISTS)
        return err;
    if (err == 0)
        err = fill(sqlite_of(s)->db, to, files, count, why);
    sqlite3_close(to);
    if (err != 0)
        (void)unlink(file);
    return err;
}

/* --- restore --- */

static int check(sqlite3 *db, struct str_buf *why)
{
    uint64_t version = 0, has_files = 0;
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, "PRAGMA integrity_check(1)", -1, &st, NULL);
    bool is_whole = rc == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW &&
                    str_eq(sqlite_column_str(st, 0), STR("ok"));
    sqlite3_finalize(st);
    if (is_whole)
        (void)sqlite_number(db, "SELECT COUNT(*) FROM sqlite_master WHERE name = 'files'",
                            &has_files);
    if (has_files == 0) {
        str_buf_add_c(why, is_whole ? "this is no backup of tulled" : "the file is damaged");
        return -ERR_CORRUPT;
    }
    (void)sqlite_number(db, "PRAGMA user_version", &version);
    if (version == 0 || version > SQLITE_SCHEMA_VERSION) {
        str_buf_printf(why, "written by another version (schema %llu, this one reads 1 to %d)",
                       (unsigned long long)version, SQLITE_SCHEMA_VERSION);
        return -ERR_UNSUPPORTED;
    }
    return 0;
}

static int write_whole(const char *path, struct str bytes, struct str_buf *why)
{
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    bool is_done = fd >= 0;
    while (is_done && bytes.len > 0) {
        ssize_t n = write(fd, bytes.ptr, bytes.len);
        if (n > 0)
            bytes = str_skip(bytes, (size_t)n);
        else if (n == 0 || errno != EINTR)
            is_done = false;
    }
    is_done = is_done && fsync(fd) == 0;
    if (!is_done)
        str_buf_printf(why, "%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return is_done ? 0 : -ERR_SYSTEM;
}

/* A name from a backup must not lead out of the folder. */
static bool is_plain_name(struct str name)
{
    return name.len > 0 && name.len < 256 && name.ptr[0] != '.' && str_find(name, '/') < 0 &&
           str_find(name, '\0') < 0 && !str_eq(name, STR("store.db"));
}

static int restore_files(sqlite3 *db, struct str folder, struct str_buf *why)
{
    char path[PATH_LEN_MAX];
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, "SELECT name, bytes FROM files", -1, &st, NULL), err = 0;
    while (rc == SQLITE_OK && err == 0 && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct str name = sqlite_column_str(st, 0);
        rc = SQLITE_OK;
        if (is_plain_name(name) && join(path, folder, name)) {
            err = write_whole(path, sqlite_column_blob(st, 1), why);
        } else {
            str_buf_add_c(why, "the backup holds a file with a name that cannot be");
            err = -ERR_CORRUPT;
        }
    }
    sqlite3_finalize(st);
    return err != 0 ? err : sqlite_err(rc);
}

/* store.db appears last, by a rename: with it the folder is whole, without it nothing is there. */
static int restore_db(sqlite3 *db, struct str folder, struct str_buf *why)
{
    char part[PATH_LEN_MAX], whole[PATH_LEN_MAX], top[PATH_LEN_MAX];
    sqlite3 *to = NULL;
    if (!join(part, folder, STR("store.db.part")) || !join(whole, folder, STR("store.db")) ||
        !join(top, folder, STR(".")))
        return -ERR_INVALID;
    (void)unlink(part);
    int err = create(part, why, &to);
    if (err == 0)
        err = copy_pages(db, to, why);
    if (err == 0)
        err = sqlite_exec(to, "DROP TABLE files", why);
    sqlite3_close(to);
    if (err == 0 && (sync_path(part, O_RDWR) != 0 || rename(part, whole) != 0 ||
                     sync_path(top, O_RDONLY | O_DIRECTORY) != 0)) {
        str_buf_printf(why, "%s: %s", whole, strerror(errno));
        err = -ERR_SYSTEM;
    }
    return err;
}

static int open_backup(struct str path, struct str_buf *why, sqlite3 **ret_db)
{
    char file[PATH_LEN_MAX];
    if (path.len == 0 || path.len >= sizeof file)
        return -ERR_INVALID;
    snprintf(file, sizeof file, "%.*s", STR_FMT(path));
    if (!is_there(file)) {
        str_buf_printf(why, "%s is not there", file);
        return -ERR_NOT_FOUND;
    }
    int rc = sqlite3_open_v2(file, ret_db, SQLITE_OPEN_READONLY, NULL);
    if (rc != SQLITE_OK)
        str_buf_printf(why, "%s: %s", file, sqlite3_errstr(rc));
    return sqlite_err(rc);
}

int store_restore_sqlite(struct str backup_path, struct str folder, struct str_buf *why)
{
    char whole[PATH_LEN_MAX];
    sqlite3 *db = NULL;
    if (!join(whole, folder, STR("store.db")))
        return -ERR_INVALID;
    if (is_there(whole)) {
        str_buf_printf(why, "%s is there already; move it away first", whole);
        return -ERR_EXISTS;
    }
    int err = open_backup(backup_path, why, &db);
    if (err == 0)
        err = check(db, why);
    if (err == 0)
        err = restore_files(db, folder, why);
    if (err == 0)
        err = restore_db(db, folder, why);
    sqlite3_close(db);
    return err;
}
