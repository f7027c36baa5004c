#include "proxy/upstream/host_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_uint_fast64_t reads;

uint64_t host_file_reads(void)
{
    return atomic_load(&reads);
}

void host_file_init(struct host_file *f, const char *path)
{
    *f = (struct host_file){.path = path, .text = STR_BUF_INIT(HOST_FILE_LEN_MAX)};
}

void host_file_deinit(struct host_file *f)
{
    str_buf_deinit(&f->text);
}

static bool is_same(const struct host_file *f, const struct stat *s)
{
    return f->is_known && f->inode == s->st_ino && f->device == s->st_dev &&
           f->size == s->st_size && f->changed_s == s->st_mtim.tv_sec &&
           f->changed_ns == s->st_mtim.tv_nsec;
}

static void note(struct host_file *f, const struct stat *s)
{
    f->is_known = true;
    f->inode = s->st_ino;
    f->device = s->st_dev;
    f->size = s->st_size;
    f->changed_s = s->st_mtim.tv_sec;
    f->changed_ns = s->st_mtim.tv_nsec;
}

static void read_all(struct host_file *f, int fd)
{
    char part[4096];
    ssize_t n;
    while ((n = read(fd, part, sizeof part)) > 0 || (n < 0 && errno == EINTR)) {
        if (n > 0)
            str_buf_add(&f->text, str_from(part, (size_t)n));
    }
    if (n < 0 || f->text.is_overflown) {
        str_buf_reset(&f->text);
        f->is_known = false;
    }
}

struct str host_file_text(struct host_file *f)
{
    struct stat s;
    if (stat(f->path, &s) == 0 && is_same(f, &s))
        return str_buf_str(&f->text);
    str_buf_reset(&f->text);
    f->is_known = false;
    int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return STR_NULL;
    /* What is noted is of before the reading: a change meanwhile is read again. */
    if (fstat(fd, &s) == 0 && S_ISREG(s.st_mode)) {
        atomic_fetch_add(&reads, 1);
        note(f, &s);
        read_all(f, fd);
    }
    close(fd);
    return str_buf_str(&f->text);
}
