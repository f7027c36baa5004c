/* Log files that others write to: opened for appending and handed to children, cut when they grow
 * too large (the old half stays as NAME.1). Thread: one. */
#pragma once

#include "base/str.h"

enum { LOGFILE_BYTES_MAX = 16 * 1024 * 1024 };

struct logfile {
    int fd;     /* O_APPEND; -1 when closed */
    int old_fd; /* NAME.1; kept open because the path is out of sight inside a replica */
};

int logfile_open(struct logfile *l, const char *path); /* 0 or -ERR_X */
void logfile_close(struct logfile *l);
/* Copies a file beyond len_max bytes to NAME.1 and empties it. Lines written in between are lost.
 */
void logfile_rotate(struct logfile *l, uint64_t len_max);
/* Adds a line of ours, "[tulle] text". */
void logfile_note(struct logfile *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The last `lines` lines of a file (at most 64 KiB); "" when it cannot be read. free(3). */
char *logfile_tail(const char *path, unsigned lines);
/* Where the last n lines of a text start. */
size_t logfile_tail_offset(struct str text, unsigned lines);
