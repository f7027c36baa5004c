/* Backup: one SQLite file that holds the tables and, in table `files`, what lies beside them.
 * sqlite_restore.c reads it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "control/store/sqlite_priv.h"

/* "FOLDER/NAME" */
bool sqlite_join(char path[SQLITE_PATH_LEN_MAX], struct str folder, struct str name)
{
    int len = snprintf(path, SQLITE_PATH_LEN_MAX, "%.*s/%.*s", STR_FMT(folder), STR_FMT(name));
    return len > 0 && len < SQLITE_PATH_LEN_MAX;
}

bool sqlite_is_there(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

/* --- copying a database --- */

int sqlite_copy_pages(sqlite3 *from, sqlite3 *to, struct str_buf *why)
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
int sqlite_create(const char *path, struct str_buf *why, sqlite3 **ret_db)
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
    int err = sqlite_copy_pages(from, to, why);
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
    char file[SQLITE_PATH_LEN_MAX];
    sqlite3 *to = NULL;
    if (path.len == 0 || path.len >= sizeof file)
        return -ERR_INVALID;
    snprintf(file, sizeof file, "%.*s", STR_FMT(path));
    int err = sqlite_create(file, why, &to);
    if (err == -ERR_EXISTS)
        return err;
    if (err == 0)
        err = fill(sqlite_of(s)->db, to, files, count, why);
    sqlite3_close(to);
    if (err != 0)
        (void)unlink(file);
    return err;
}
