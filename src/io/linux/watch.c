#include "io/linux/linux_priv.h"

#include <sys/epoll.h>

void linux_on_watch_event(struct watch *w, uint32_t events)
{
    w->events |= events;
    turn_soon(w->turn, &w->task);
}

static void run_watch(struct turn_task *task)
{
    struct watch *w = CONTAINER_OF(task, struct watch, task);
    uint32_t events = w->events;
    w->events = 0;
    bool is_over = (events & (EPOLLHUP | EPOLLERR)) != 0;
    w->ready(w, (events & (EPOLLIN | EPOLLRDHUP)) != 0 || is_over,
             (events & EPOLLOUT) != 0 || is_over);
}

int watch_start(struct turn *t, struct watch *w, int fd, bool want_write, watch_fn *ready)
{
    if (!turn_is_linux(t))
        return -ERR_UNSUPPORTED;
    turn_task_init(&w->task, run_watch);
    w->turn = t;
    w->fd = fd;
    w->events = 0;
    w->ready = ready;
    uint32_t events = want_write ? EPOLLIN | EPOLLOUT | EPOLLET : EPOLLIN;
    int err = linux_register(t, fd, events, w, TAG_WATCH);
    if (err < 0)
        w->fd = -1;
    return err;
}

void watch_stop(struct watch *w)
{
    if (w->fd < 0)
        return;
    turn_cancel(&w->task);
    linux_unregister(w->turn, w->fd);
    w->fd = -1;
}
