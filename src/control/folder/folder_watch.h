/* Who is told when something happens in a folder: inotify over all of its folders.
 *
 * Events only say that it is time to look: which file, and whether events were lost, is no matter.
 * Owner: the embedding struct. Thread: the turn's. */
#pragma once

#include "io/turn.h"

struct folder_watch {
    struct watch watch;
    int fd;          /* -1: none */
    int parent;      /* the watch of the folder around it; -1: none */
    bool is_blind;   /* a watch could not be had (too many, no /proc): look by the clock */
    struct str name; /* of the folder in the one around it; borrowed */
    void (*stirred)(void *ctx);
    void *ctx;
};

/* Makes it, watching nothing but the folder's own coming, going and being replaced in `parent`. */
void folder_watch_start(struct folder_watch *w, struct turn *turn, const char *parent,
                        struct str name, void (*stirred)(void *ctx), void *ctx);
/* Another folder, by its descriptor. */
void folder_watch_add(struct folder_watch *w, int folder_fd);
void folder_watch_stop(struct folder_watch *w);
