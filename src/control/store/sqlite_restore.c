/* Restore: what a backup holds becomes the state of a folder, whole or not at all.
 *
 * Before anything is written a note says which files are about to come (`restore.unfinished`); it
 * goes when all is there. Where one is found and no store.db, a restore was killed: the next one
 * takes away what that left, and nobody starts on it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "control/store/sqlite_priv.h"

#define NOTE "restore.unfinished"

enum { NOTE_BYTES_MAX = 64 * 1024 };

static int sync_path(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0)
        return -ERR_SYSTEM;
    int err = fsync(fd) == 0 ? 0 : -ERR_SYSTEM;
    close(fd);
    return err;
}

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
    char path[SQLITE_PATH_LEN_MAX];
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, "SELECT name, bytes FROM files", -1, &st, NULL), err = 0;
    while (rc == SQLITE_OK && err == 0 && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct str name = sqlite_column_str(st, 0);
        rc = SQLITE_OK;
        if (is_plain_name(name) && sqlite_join(path, folder, name)) {
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
    char part[SQLITE_PATH_LEN_MAX], whole[SQLITE_PATH_LEN_MAX], top[SQLITE_PATH_LEN_MAX];
    sqlite3 *to = NULL;
    if (!sqlite_join(part, folder, STR("store.db.part")) ||
        !sqlite_join(whole, folder, STR("store.db")) || !sqlite_join(top, folder, STR(".")))
        return -ERR_INVALID;
    (void)unlink(part);
    int err = sqlite_create(part, why, &to);
    if (err == 0)
        err = sqlite_copy_pages(db, to, why);
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
    char file[SQLITE_PATH_LEN_MAX];
    if (path.len == 0 || path.len >= sizeof file)
        return -ERR_INVALID;
    snprintf(file, sizeof file, "%.*s", STR_FMT(path));
    if (!sqlite_is_there(file)) {
        str_buf_printf(why, "%s is not there", file);
        return -ERR_NOT_FOUND;
    }
    int rc = sqlite3_open_v2(file, ret_db, SQLITE_OPEN_READONLY, NULL);
    if (rc != SQLITE_OK)
        str_buf_printf(why, "%s: %s", file, sqlite3_errstr(rc));
    return sqlite_err(rc);
}

/* --- what a killed one left --- */

static int read_note(const char *path, struct str_buf *to)
{
    char block[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd >= 0 ? 1 : -1;
    while (n > 0 && (n = read(fd, block, sizeof block)) > 0)
        str_buf_add(to, str_from(block, (size_t)n));
    if (fd >= 0)
        close(fd);
    return n == 0 && !to->is_overflown ? 0 : -ERR_SYSTEM;
}

/* Only what the note names: everything else there is somebody's. The note goes last, so that this
 * may be killed, too. */
static int clean_up(struct str folder, struct str_buf *why)
{
    char note[SQLITE_PATH_LEN_MAX], path[SQLITE_PATH_LEN_MAX];
    struct str_buf names = STR_BUF_INIT(NOTE_BYTES_MAX);
    if (!sqlite_join(note, folder, STR(NOTE)))
        return -ERR_INVALID;
    if (!sqlite_is_there(note))
        return 0;
    int err = read_note(note, &names);
    struct str rest = str_buf_str(&names);
    while (err == 0 && rest.len > 0) {
        struct str name = str_split(&rest, '\n');
        if (is_plain_name(name) && sqlite_join(path, folder, name) && unlink(path) != 0 &&
            errno != ENOENT)
            err = -ERR_SYSTEM;
    }
    if (sqlite_join(path, folder, STR("store.db.part")))
        (void)unlink(path);
    if (err != 0 || unlink(note) != 0) {
        str_buf_printf(why, "%s: %s", note, strerror(errno));
        err = err != 0 ? err : -ERR_SYSTEM;
    }
    str_buf_deinit(&names);
    return err;
}

int store_restore_finish(struct str folder, struct str_buf *why)
{
    char note[SQLITE_PATH_LEN_MAX], whole[SQLITE_PATH_LEN_MAX];
    if (!sqlite_join(note, folder, STR(NOTE)) || !sqlite_join(whole, folder, STR("store.db")))
        return -ERR_INVALID;
    if (!sqlite_is_there(note))
        return 0;
    /* Killed when all was there but for this. */
    if (sqlite_is_there(whole))
        return unlink(note) == 0 ? 0 : -ERR_SYSTEM;
    str_buf_add_c(why, "a restore did not come to its end: run it again");
    return -ERR_CORRUPT;
}

/* --- all of it --- */

/* The names of the backup's files, one a line; none of them may be there. */
static int list_files(sqlite3 *db, struct str folder, struct str_buf *names, struct str_buf *why)
{
    char path[SQLITE_PATH_LEN_MAX];
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, "SELECT name FROM files", -1, &st, NULL), err = 0;
    while (rc == SQLITE_OK && err == 0 && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct str name = sqlite_column_str(st, 0);
        rc = SQLITE_OK;
        if (!is_plain_name(name) || !sqlite_join(path, folder, name)) {
            str_buf_add_c(why, "the backup holds a file with a name that cannot be");
            err = -ERR_CORRUPT;
        } else if (sqlite_is_there(path)) {
            str_buf_printf(why, "%s is there already; move it away first", path);
            err = -ERR_EXISTS;
        }
        str_buf_add(names, name);
        str_buf_add_char(names, '\n');
    }
    sqlite3_finalize(st);
    if (err == 0 && names->is_overflown)
        err = -ERR_CORRUPT;
    return err != 0 ? err : sqlite_err(rc);
}

static int fill_folder(sqlite3 *db, struct str folder, struct str_buf *why)
{
    char note[SQLITE_PATH_LEN_MAX], top[SQLITE_PATH_LEN_MAX];
    struct str_buf names = STR_BUF_INIT(NOTE_BYTES_MAX);
    if (!sqlite_join(note, folder, STR(NOTE)) || !sqlite_join(top, folder, STR(".")))
        return -ERR_INVALID;
    int err = list_files(db, folder, &names, why);
    if (err == 0)
        err = write_whole(note, str_buf_str(&names), why);
    str_buf_deinit(&names);
    if (err != 0)
        return err;
    err = sync_path(top, O_RDONLY | O_DIRECTORY);
    if (err == 0)
        err = restore_files(db, folder, why);
    if (err == 0)
        err = restore_db(db, folder, why);
    if (err != 0)
        (void)clean_up(folder, why);
    else
        err = store_restore_finish(folder, why);
    return err;
}

int store_restore_sqlite(struct str backup_path, struct str folder, struct str_buf *why)
{
    char whole[SQLITE_PATH_LEN_MAX];
    sqlite3 *db = NULL;
    if (!sqlite_join(whole, folder, STR("store.db")))
        return -ERR_INVALID;
    if (sqlite_is_there(whole)) {
        str_buf_printf(why, "%s is there already; move it away first", whole);
        return -ERR_EXISTS;
    }
    int err = open_backup(backup_path, why, &db);
    if (err == 0)
        err = check(db, why);
    if (err == 0)
        err = clean_up(folder, why);
    if (err == 0)
        err = fill_folder(db, folder, why);
    sqlite3_close(db);
    return err;
}
