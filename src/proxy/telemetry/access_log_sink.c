/* Where access log lines go: a file or a standard stream, one write a turn, never waiting.
 *
 * Lines collect in a buffer; what the sink does not take stays, up to a limit; beyond it lines are
 * dropped and counted. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/telemetry/access_log.h"

enum { RETRY_US = 50 * 1000 };

struct access_log_sink {
    struct turn *turn;
    int fd; /* -1: could not be opened; lines are dropped */
    struct str_buf buffer;
    size_t written; /* of the buffer */
    uint64_t dropped;
    struct turn_task task;
    struct timer retry;
};

static void write_out(struct access_log_sink *s)
{
    while (s->written < s->buffer.len) {
        ssize_t n = write(s->fd, s->buffer.ptr + s->written, s->buffer.len - s->written);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            timer_start(s->turn, &s->retry, RETRY_US);
            return;
        }
        s->written += (size_t)n;
    }
    str_buf_reset(&s->buffer);
    s->written = 0;
}

static void on_task(struct turn_task *t)
{
    write_out(CONTAINER_OF(t, struct access_log_sink, task));
}

static void on_retry(struct timer *t)
{
    write_out(CONTAINER_OF(t, struct access_log_sink, retry));
}

/* A standard stream is opened anew, so that not waiting on it is not forced upon those who share
 * it. */
static int open_sink(const char *path)
{
    int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    int fd = open(path, flags, 0640);
    /* /dev/stdout is a socket or a pipe of another user under some supervisors. */
    if (fd < 0 && strcmp(path, "/dev/stdout") == 0)
        fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    if (fd < 0 && strcmp(path, "/dev/stderr") == 0)
        fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    return fd;
}

struct access_log_sink *access_log_sink_new(struct turn *t, struct str path, size_t queue_bytes_max)
{
    struct access_log_sink *s = NEW(struct access_log_sink);
    char *file = str_dup_c(path);
    s->turn = t;
    s->fd = open_sink(file);
    s->buffer = (struct str_buf)STR_BUF_INIT(queue_bytes_max);
    turn_task_init(&s->task, on_task);
    timer_init(&s->retry, on_retry);
    free(file);
    return s;
}

struct access_log_sink *access_log_sink_free(struct access_log_sink *s)
{
    if (s == NULL)
        return NULL;
    turn_cancel(&s->task);
    timer_stop(&s->retry);
    if (s->fd >= 0) {
        if (s->written < s->buffer.len) {
            ssize_t n = write(s->fd, s->buffer.ptr + s->written, s->buffer.len - s->written);
            (void)n; /* the last try */
        }
        close(s->fd);
    }
    str_buf_deinit(&s->buffer);
    free(s);
    return NULL;
}

void access_log_sink_add(struct access_log_sink *s, struct str line)
{
    if (s->fd < 0 || s->buffer.len + line.len + 1 > s->buffer.len_max) {
        s->dropped++;
        return;
    }
    str_buf_add(&s->buffer, line);
    if (!timer_is_started(&s->retry))
        turn_soon(s->turn, &s->task);
}

uint64_t access_log_sink_dropped(const struct access_log_sink *s)
{
    return s->dropped;
}
