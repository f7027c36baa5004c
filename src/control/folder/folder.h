/* A folder of documents that is followed: its texts, whenever it has come to rest after a change.
 *
 * A change is waited out (files are written in pieces, a checkout writes thousands): nothing has
 * happened for FOLDER_SETTLE_US, and Git is not at work; but no longer than FOLDER_PATIENCE_US:
 * then what is still being written is named as restless, and keeps nobody else waiting. Then all of
 * the folder is looked at, and the texts that are wanted are read, both in slices of a few
 * milliseconds; what changes meanwhile begins it anew. Besides, the folder is looked at by the
 * clock: seldom where inotify tells, often where it cannot.
 *
 * Owner and thread: the turn's. It knows nothing of documents. */
#pragma once

#include "control/folder/folder_scan.h"
#include "io/turn.h"

enum {
    FOLDER_SETTLE_US = 200 * 1000,
    FOLDER_PATIENCE_US = 3 * 1000 * 1000,
    FOLDER_GIT_PATIENCE_US = 30 * 1000 * 1000,
    FOLDER_LOOK_US = 30 * 1000 * 1000,      /* where inotify tells */
    FOLDER_RETRY_US = 5 * 1000 * 1000,      /* what was found could not be used */
    FOLDER_LOOK_OFTEN_US = 2 * 1000 * 1000, /* where it does not, or the folder is not there */
};

struct folder;

struct folder_ops {
    /* All files there are: those with is_wanted set will be read. May come again instead of done.
     */
    void (*scanned)(void *ctx, struct folder_scan *s);
    /* One of those; err: it could not be read. */
    void (*text)(void *ctx, const struct folder_file *f, struct str text, int err);
    /* All of them came. False: come again by the clock, though nothing changes. */
    bool (*done)(void *ctx);
};

struct folder_args {
    struct turn *turn;
    struct str path; /* of the folder, absolute; copied */
    size_t file_bytes_max;
    const struct folder_ops *ops;
    void *ctx;
};

struct folder *folder_new(const struct folder_args *args);
struct folder *folder_free(struct folder *f);
/* The first load, at once, before anything else goes on; left for later when Git is at work. */
void folder_start(struct folder *f);

struct folder_view {
    const char *state;      /* "idle", "settling", "waiting for git", "loading" */
    bool is_told;           /* by inotify; else it looks by the clock */
    uint64_t changed_since; /* us of the turn's clock; 0: nothing is waited out */
};
struct folder_view folder_view(const struct folder *f);
