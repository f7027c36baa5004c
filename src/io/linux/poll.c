#include "io/linux/linux_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS_MAX = 128 };

_Static_assert(_Alignof(struct conn_io) > TAG_MASK && _Alignof(struct listen_socket) > TAG_MASK &&
                   _Alignof(struct watch) > TAG_MASK && _Alignof(struct dgram) > TAG_MASK,
               "the lowest bits of these pointers are free for the tag");

int linux_register(struct turn *t, int fd, uint32_t events, void *object, enum linux_tag tag)
{
    const struct linux_backend *b = t->backend;
    struct epoll_event ev = {.events = events, .data.u64 = (uintptr_t)object | tag};
    return epoll_ctl(b->epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0 ? 0 : err_from_errno(errno);
}

void linux_unregister(struct turn *t, int fd)
{
    const struct linux_backend *b = t->backend;
    epoll_ctl(b->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

int linux_prepare_fd(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return err_from_errno(errno);
    return 0;
}

static void on_wake(const struct linux_backend *b)
{
    uint64_t count;
    while (read(b->event_fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
}

static void dispatch(struct turn *t, const struct epoll_event *ev)
{
    void *object = (void *)(uintptr_t)(ev->data.u64 & ~(uint64_t)TAG_MASK);
    switch ((enum linux_tag)(ev->data.u64 & TAG_MASK)) {
    case TAG_CONN:
        linux_on_conn_event(object, ev->events);
        break;
    case TAG_LISTEN:
        listen_io_mark(object);
        break;
    case TAG_WATCH:
        linux_on_watch_event(object, ev->events);
        break;
    case TAG_DGRAM:
        turn_soon(t, &((struct dgram *)object)->task);
        break;
    case TAG_WAKE:
        on_wake(t->backend);
        break;
    case TAG_MASK:
        break;
    }
}

static int timeout_ms_of(int64_t timeout_us)
{
    if (timeout_us < 0)
        return -1;
    return (int)MIN((timeout_us + 999) / 1000, (int64_t)INT32_MAX);
}

static void linux_poll(struct turn *t, int64_t timeout_us)
{
    const struct linux_backend *b = t->backend;
    struct epoll_event events[EVENTS_MAX];
    int n = linux_epoll_wait(b->epoll_fd, events, EVENTS_MAX, timeout_ms_of(timeout_us));
    for (int i = 0; i < n; i++)
        dispatch(t, &events[i]);
}

static uint64_t clock_us(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static uint64_t linux_now_us(const struct turn *t)
{
    (void)t;
    return clock_us(CLOCK_MONOTONIC);
}

static uint64_t linux_wall_us(const struct turn *t)
{
    (void)t;
    return clock_us(CLOCK_REALTIME);
}

static void linux_wake(struct turn *t)
{
    const struct linux_backend *b = t->backend;
    uint64_t one = 1;
    /* EAGAIN: the counter is full, so a wake is on its way. */
    while (write(b->event_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static void linux_deinit(struct turn *t)
{
    struct linux_backend *b = t->backend;
    close(b->epoll_fd);
    close(b->event_fd);
    free(b);
}

const struct io_ops linux_ops = {
    .name = "linux",
    .deinit = linux_deinit,
    .poll = linux_poll,
    .now_us = linux_now_us,
    .wall_us = linux_wall_us,
    .wake = linux_wake,
    .connect = linux_connect,
    .finish_connect = linux_finish_connect,
    .read = linux_read,
    .write = linux_write,
    .is_drained = linux_is_drained,
    .peer = linux_peer,
    .end = linux_end,
    .close = linux_close,
    .listen = linux_listen,
    .accept = linux_accept,
    .adopt = linux_adopt_transport,
    .drop = linux_drop_transport,
    .listen_pause = linux_listen_pause,
    .listen_close = linux_listen_close,
};

bool turn_is_linux(const struct turn *t)
{
    return t->ops == &linux_ops;
}

struct turn *turn_new_linux(void)
{
    struct linux_backend *b = NEW(struct linux_backend);
    b->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    b->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct turn *t = NULL;
    if (b->epoll_fd >= 0 && b->event_fd >= 0) {
        t = turn_new(&linux_ops, b);
        random_init_system(&t->random);
        if (linux_register(t, b->event_fd, EPOLLIN | EPOLLET, NULL, TAG_WAKE) == 0)
            return t;
        return turn_free(t);
    }
    if (b->epoll_fd >= 0)
        close(b->epoll_fd);
    if (b->event_fd >= 0)
        close(b->event_fd);
    free(b);
    return NULL;
}
