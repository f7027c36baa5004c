/* Where access log lines go: a file or a standard stream, one write a turn, never waiting.
 *
 * Lines collect in a buffer; what the sink does not take stays, up to a limit; beyond it lines are
 * dropped and counted. Workers share the descriptor of a path: whose write a pipe cut off in the
 * middle of a line holds the pipe until that line is out. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/map.h"
#include "proxy/telemetry/access_log.h"

enum { RETRY_US = 50 * 1000 };

struct out {
    struct access_log_share *share; /* NULL: of one sink alone */
    char *path;
    unsigned ref_count; /* under the share's lock */
    pthread_mutex_t lock;
    const struct access_log_sink *holder; /* is in the middle of a line */
    int fd;                               /* -1: could not be opened; lines are dropped */
};

struct access_log_share {
    pthread_mutex_t lock;
    struct map outs; /* path -> struct out */
};

struct access_log_sink {
    struct turn *turn;
    struct out *out;
    struct str_buf buffer;
    size_t written; /* of the buffer */
    uint64_t dropped;
    struct turn_task task;
    struct timer retry;
};

/* --- the descriptor --- */

/* A standard stream is opened anew, so that not waiting on it is not forced upon those who share
 * it. */
static int open_out(const char *path)
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

static struct out *out_new(struct access_log_share *share, struct str path)
{
    struct out *o = NEW(struct out);
    o->share = share;
    o->path = str_dup_c(path);
    o->fd = open_out(o->path);
    pthread_mutex_init(&o->lock, NULL);
    return o;
}

static void out_free(struct out *o)
{
    if (o->fd >= 0)
        close(o->fd);
    pthread_mutex_destroy(&o->lock);
    free(o->path);
    free(o);
}

static struct out *out_acquire(struct access_log_share *share, struct str path)
{
    if (share == NULL)
        return out_new(NULL, path);
    pthread_mutex_lock(&share->lock);
    struct out *o = map_get(&share->outs, path);
    if (o == NULL) {
        o = out_new(share, path);
        map_put(&share->outs, path, o);
    }
    o->ref_count++;
    pthread_mutex_unlock(&share->lock);
    return o;
}

static void out_release(struct out *o)
{
    struct access_log_share *share = o->share;
    bool is_last = true;
    if (share != NULL) {
        pthread_mutex_lock(&share->lock);
        is_last = --o->ref_count == 0;
        if (is_last)
            map_remove(&share->outs, str_from_c(o->path));
        pthread_mutex_unlock(&share->lock);
    }
    if (is_last)
        out_free(o);
}

struct access_log_share *access_log_share_new(void)
{
    struct access_log_share *s = NEW(struct access_log_share);
    pthread_mutex_init(&s->lock, NULL);
    map_init(&s->outs);
    return s;
}

struct access_log_share *access_log_share_free(struct access_log_share *s)
{
    if (s == NULL)
        return NULL;
    ASSERT(map_len(&s->outs) == 0);
    map_deinit(&s->outs);
    pthread_mutex_destroy(&s->lock);
    free(s);
    return NULL;
}

/* --- writing --- */

/* As much as it takes now; false: not all of it. */
static bool write_some(struct access_log_sink *s)
{
    while (s->written < s->buffer.len) {
        ssize_t n = write(s->out->fd, s->buffer.ptr + s->written, s->buffer.len - s->written);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        s->written += (size_t)n;
    }
    return true;
}

static bool is_within_line(const struct access_log_sink *s)
{
    return s->written > 0 && s->written < s->buffer.len && s->buffer.ptr[s->written - 1] != '\n';
}

static bool write_out(struct access_log_sink *s)
{
    struct out *o = s->out;
    pthread_mutex_lock(&o->lock);
    bool is_done = (o->holder == NULL || o->holder == s) && write_some(s);
    if (o->holder == NULL || o->holder == s)
        o->holder = is_within_line(s) ? s : NULL;
    pthread_mutex_unlock(&o->lock);
    if (is_done) {
        str_buf_reset(&s->buffer);
        s->written = 0;
    }
    return is_done;
}

/* The rest of a line that is cut off is lost; the pipe is not kept from the others for it. */
static void let_go(struct access_log_sink *s)
{
    struct out *o = s->out;
    pthread_mutex_lock(&o->lock);
    if (o->holder == s)
        o->holder = NULL;
    pthread_mutex_unlock(&o->lock);
}

static void write_or_retry(struct access_log_sink *s)
{
    if (!write_out(s))
        timer_start(s->turn, &s->retry, RETRY_US);
}

static void on_task(struct turn_task *t)
{
    write_or_retry(CONTAINER_OF(t, struct access_log_sink, task));
}

static void on_retry(struct timer *t)
{
    write_or_retry(CONTAINER_OF(t, struct access_log_sink, retry));
}

/* --- life --- */

struct access_log_sink *access_log_sink_new(struct turn *t, struct access_log_share *share,
                                            struct str path, size_t queue_bytes_max)
{
    struct access_log_sink *s = NEW(struct access_log_sink);
    s->turn = t;
    s->out = out_acquire(share, path);
    s->buffer = (struct str_buf)STR_BUF_INIT(queue_bytes_max);
    turn_task_init(&s->task, on_task);
    timer_init(&s->retry, on_retry);
    return s;
}

struct access_log_sink *access_log_sink_free(struct access_log_sink *s)
{
    if (s == NULL)
        return NULL;
    turn_cancel(&s->task);
    timer_stop(&s->retry);
    if (s->out->fd >= 0)
        write_out(s); /* the last try */
    let_go(s);
    out_release(s->out);
    str_buf_deinit(&s->buffer);
    free(s);
    return NULL;
}

void access_log_sink_add(struct access_log_sink *s, struct str line)
{
    if (s->out->fd < 0 || s->buffer.len + line.len + 1 > s->buffer.len_max) {
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
