#include "control/ca/ca_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"

enum { PATH_LEN_MAX = 4096, READ_LEN = 4096 };

static int check_readers(int fd, enum ca_file_readers readers)
{
    static const mode_t forbidden[] = {
        [CA_FILE_ANY] = 0,
        [CA_FILE_GROUP] = S_IRWXO,
        [CA_FILE_OWNER_ONLY] = S_IRWXG | S_IRWXO,
    };
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_from_errno(errno);
    return (st.st_mode & forbidden[readers]) != 0 ? -ERR_DENIED : 0;
}

static int read_all(int fd, struct str_buf *to)
{
    char block[READ_LEN];
    ssize_t n;
    while ((n = read(fd, block, sizeof block)) > 0)
        str_buf_add(to, str_from(block, (size_t)n));
    explicit_bzero(block, sizeof block);
    if (n < 0)
        return err_from_errno(errno);
    return to->is_overflown ? -ERR_TOO_LARGE : 0;
}

int ca_file_read(const char *path, enum ca_file_readers readers, struct str_buf *to)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? -ERR_NOT_FOUND : err_from_errno(errno);
    int err = check_readers(fd, readers);
    if (err == 0)
        err = read_all(fd, to);
    close(fd);
    return err;
}

static int write_all(int fd, struct str bytes)
{
    while (bytes.len > 0) {
        ssize_t n = write(fd, bytes.ptr, bytes.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_from_errno(errno);
        bytes = str_skip(bytes, (size_t)n);
    }
    return fsync(fd) == 0 ? 0 : err_from_errno(errno);
}

int ca_file_sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_from_errno(errno);
    int err = fsync(fd) == 0 ? 0 : err_from_errno(errno);
    close(fd);
    return err;
}

/* The rename itself is to survive a crash. */
static int sync_dir_of(const char *path)
{
    char dir[PATH_LEN_MAX];
    const char *slash = strrchr(path, '/');
    int len = slash == NULL ? 0 : (int)(slash - path);
    snprintf(dir, sizeof dir, "%.*s", len, path);
    return ca_file_sync_dir(slash == NULL ? "." : len == 0 ? "/" : dir);
}

int ca_file_write(const char *path, mode_t mode, struct str bytes)
{
    char temporary[PATH_LEN_MAX];
    int len = snprintf(temporary, sizeof temporary, "%s.new", path);
    if (len < 0 || (size_t)len >= sizeof temporary)
        return -ERR_TOO_LARGE;
    (void)unlink(temporary);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return err_from_errno(errno);
    int err = write_all(fd, bytes);
    close(fd);
    if (err == 0 && rename(temporary, path) != 0)
        err = err_from_errno(errno);
    if (err != 0)
        (void)unlink(temporary);
    return err != 0 ? err : sync_dir_of(path);
}
