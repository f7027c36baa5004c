#include "proxy/agent/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"

enum { PATH_MAX_LEN = 4096 };

static int read_all(int fd, size_t max, struct str_buf *to)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_from_errno(errno);
    if (S_ISDIR(st.st_mode))
        return -ERR_INVALID;
    char part[16384];
    size_t len = 0;
    for (;;) {
        ssize_t n = read(fd, part, sizeof part);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_from_errno(errno);
        if (n == 0)
            return to->is_overflown ? -ERR_TOO_LARGE : 0;
        len += (size_t)n;
        if (len > max)
            return -ERR_TOO_LARGE;
        str_buf_add(to, str_from(part, (size_t)n));
    }
}

int file_read(const char *path, size_t max, struct str_buf *to)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return errno == ENOENT ? -ERR_NOT_FOUND : err_from_errno(errno);
    int err = read_all(fd, max, to);
    close(fd);
    return err;
}

static int write_all(int fd, struct str s)
{
    while (s.len > 0) {
        ssize_t n = write(fd, s.ptr, s.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_from_errno(errno);
        s = str_skip(s, (size_t)n);
    }
    return 0;
}

int file_write(const char *path, struct str content)
{
    char tmp[PATH_MAX_LEN];
    int len = snprintf(tmp, sizeof tmp, "%s.tmp", path);
    if (len < 0 || (size_t)len >= sizeof tmp)
        return -ERR_TOO_LARGE;
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_from_errno(errno);
    int err = write_all(fd, content);
    if (close(fd) != 0 && err == 0)
        err = err_from_errno(errno);
    if (err == 0 && rename(tmp, path) != 0)
        err = err_from_errno(errno);
    if (err != 0)
        unlink(tmp);
    return err;
}

int file_make_dir(const char *path)
{
    return mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : err_from_errno(errno);
}
