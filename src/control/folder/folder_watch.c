#include "control/folder/folder_watch.h"

#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

enum { EVENT_BYTES = 16 * 1024 };

#define NAMES (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)
#define ALL (NAMES | IN_CLOSE_WRITE | IN_MODIFY | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)

static bool concerns_us(const struct folder_watch *w, const struct inotify_event *e)
{
    if ((e->mask & IN_IGNORED) != 0)
        return false;
    return e->wd != w->parent || str_eq(str_from_c(e->len > 0 ? e->name : ""), w->name);
}

static void on_events(struct watch *watch, bool is_readable, bool is_writable)
{
    struct folder_watch *w = CONTAINER_OF(watch, struct folder_watch, watch);
    union {
        struct inotify_event event;
        char bytes[EVENT_BYTES];
    } block;
    bool is_stirred = false;
    (void)is_readable;
    (void)is_writable;
    ssize_t n;
    while ((n = read(w->fd, block.bytes, sizeof block.bytes)) > 0) {
        for (size_t at = 0; at < (size_t)n;) {
            const struct inotify_event *e = (const void *)(block.bytes + at);
            is_stirred = is_stirred || concerns_us(w, e);
            at += sizeof *e + e->len;
        }
    }
    if (is_stirred)
        w->stirred(w->ctx);
}

void folder_watch_start(struct folder_watch *w, struct turn *turn, const char *parent,
                        struct str name, void (*stirred)(void *ctx), void *ctx)
{
    *w = (struct folder_watch){.parent = -1, .name = name, .stirred = stirred, .ctx = ctx};
    w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (w->fd >= 0 && watch_start(turn, &w->watch, w->fd, false, on_events) != 0) {
        close(w->fd);
        w->fd = -1;
    }
    if (w->fd >= 0)
        w->parent = inotify_add_watch(w->fd, parent, NAMES | IN_ONLYDIR);
    w->is_blind = w->parent < 0;
}

void folder_watch_add(struct folder_watch *w, int folder_fd)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", folder_fd);
    if (w->fd < 0 || inotify_add_watch(w->fd, path, ALL | IN_ONLYDIR) < 0)
        w->is_blind = true;
}

void folder_watch_stop(struct folder_watch *w)
{
    if (w->fd < 0)
        return;
    watch_stop(&w->watch);
    close(w->fd);
    w->fd = -1;
}
