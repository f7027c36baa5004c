/* Small files of the state directory: whole, private, replaced atomically. Blocking, but short. */
#pragma once

#include "base/str.h"

/* Reads a regular file of at most max bytes. 0 or -ERR_X (NOT_FOUND, TOO_LARGE, ...); appends. */
int file_read(const char *path, size_t max, struct str_buf *to);
/* Writes path.tmp with mode 0600 and renames it. */
int file_write(const char *path, struct str content);
/* Makes the directory (0700) unless it is there. */
int file_make_dir(const char *path);
