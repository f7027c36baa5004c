/* What documents a folder holds: a walk over its files, a step at a time, and their bytes.
 *
 * Taken are regular files with a name in .yaml, .yml or .json, in the folder and in all below it;
 * names that begin with a dot are passed over. Links are followed while they stay inside the folder
 * (openat2's RESOLVE_BENEATH: the kernel decides, at the very moment of opening); a file or a
 * folder that is reached twice is taken once, by its own name if it has one that is not hidden.
 *
 * What cannot be read is a problem with its path and makes the result partial: what is not found
 * there may still be there.
 *
 * Owner: whoever embeds the struct. Thread: one. It watches nothing and knows nothing of documents.
 */
#pragma once

#include "base/arena.h"
#include "base/map.h"
#include "base/vec.h"

enum {
    FOLDER_FILES_MAX = 100 * 1000,
    FOLDER_DEPTH_MAX = 32,
    FOLDER_PROBLEMS_MAX = 100,
    FOLDER_PATH_LEN_MAX = 1024,
};

/* Tells one state of a file from another without reading it. */
struct folder_stamp {
    uint64_t device, inode, bytes, modified_ns, changed_ns;
};

struct folder_file {
    struct str path; /* "shop/routes.yaml", from the folder on; in the scan's arena */
    struct folder_stamp stamp;
    bool is_wanted;   /* set by who is told of the scan: its text is to be read */
    bool is_fresh;    /* written just now: the stamp may not tell it from what it is next */
    bool is_restless; /* still being written when patience was over: not to be read yet */
};

struct folder_problem {
    struct str path; /* as above; empty: the folder itself */
    struct str text;
};

struct folder_scan {
    int root; /* -1: it is not there, or no folder */
    struct arena arena;
    VEC(struct folder_file) files; /* sorted by path once the scan is over */
    VEC(struct folder_problem) problems;
    bool is_partial;                      /* something could not be read */
    bool is_too_many;                     /* more files than FOLDER_FILES_MAX: of no use */
    VEC(struct str) folders, links;       /* still to be looked at */
    struct map seen;                      /* by device and inode */
    void (*on_folder)(void *ctx, int fd); /* before a folder's names are read; may be NULL */
    void *ctx;
};

/* Opens the folder. A folder that is not there is a problem, and the scan is over. */
void folder_scan_start(struct folder_scan *s, const char *path,
                       void (*on_folder)(void *ctx, int fd), void *ctx);
void folder_scan_deinit(struct folder_scan *s);
/* Looks at one folder, or one link. False: that was all. */
bool folder_scan_step(struct folder_scan *s);

/* The file's bytes, appended. -ERR_AGAIN: it changed meanwhile; -ERR_TOO_LARGE: more than the
 * buffer's maximum; -ERR_NOT_FOUND, -ERR_SYSTEM. */
int folder_scan_read(const struct folder_scan *s, const struct folder_file *f, struct str_buf *to);

bool folder_stamp_is_equal(const struct folder_stamp *a, const struct folder_stamp *b);
