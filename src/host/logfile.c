#include "host/logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"

enum { TAIL_BYTES_MAX = 64 * 1024 };

int logfile_open(struct logfile *l, const char *path)
{
    char old_path[1024];
    *l = (struct logfile){-1, -1};
    if ((size_t)snprintf(old_path, sizeof old_path, "%s.1", path) >= sizeof old_path)
        return -ERR_TOO_LARGE;
    /* For reading too: rotation copies from it. */
    l->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    l->old_fd = open(old_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (l->fd >= 0 && l->old_fd >= 0)
        return 0;
    int err = err_from_errno(errno);
    logfile_close(l);
    return err;
}

void logfile_close(struct logfile *l)
{
    if (l->fd >= 0)
        close(l->fd);
    if (l->old_fd >= 0)
        close(l->old_fd);
    *l = (struct logfile){-1, -1};
}

void logfile_rotate(struct logfile *l, uint64_t len_max)
{
    struct stat st;
    if (l->fd < 0 || fstat(l->fd, &st) != 0 || (uint64_t)st.st_size <= len_max)
        return;
    off_t from = 0, to = 0;
    if (ftruncate(l->old_fd, 0) == 0)
        while (from < st.st_size &&
               copy_file_range(l->fd, &from, l->old_fd, &to, (size_t)(st.st_size - from), 0) > 0)
            ;
    if (ftruncate(l->fd, 0) != 0)
        return;
}

void logfile_note(struct logfile *l, const char *fmt, ...)
{
    char line[512] = "[tulle] ";
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line + 8, sizeof line - 9, fmt, ap);
    va_end(ap);
    size_t len = strlen(line);
    line[len++] = '\n';
    if (l->fd >= 0 && write(l->fd, line, len) < 0)
        return;
}

size_t logfile_tail_offset(struct str text, unsigned lines)
{
    size_t at = text.len;
    if (at > 0 && text.ptr[at - 1] == '\n')
        at--;
    while (at > 0) {
        if (text.ptr[at - 1] == '\n' && lines-- <= 1)
            return at;
        at--;
    }
    return 0;
}

char *logfile_tail(const char *path, unsigned lines)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        if (fd >= 0)
            close(fd);
        return mem_strndup("", 0);
    }
    off_t from = st.st_size > TAIL_BYTES_MAX ? st.st_size - TAIL_BYTES_MAX : 0;
    char *buf = mem_alloc(TAIL_BYTES_MAX + 1);
    ssize_t n = pread(fd, buf, TAIL_BYTES_MAX, from);
    close(fd);
    size_t len = n > 0 ? (size_t)n : 0;
    size_t at = logfile_tail_offset(str_from(buf, len), lines);
    char *tail = mem_strndup(buf + at, len - at);
    free(buf);
    return tail;
}
