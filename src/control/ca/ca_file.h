/* Small files of the CA: read whole, written so that they are there whole or not at all. Inside
 * control/ca/ only. */
#pragma once

#include "base/str.h"

#include <sys/types.h>

/* Who else may be able to read a file. */
enum ca_file_readers { CA_FILE_ANY, CA_FILE_GROUP, CA_FILE_OWNER_ONLY };
/* -ERR_NOT_FOUND; -ERR_DENIED: we may not, or more than `readers` may; -ERR_TOO_LARGE. */
int ca_file_read(const char *path, enum ca_file_readers readers, struct str_buf *to);
/* A file that exists is replaced; on disk when this returns. */
int ca_file_write(const char *path, mode_t mode, struct str bytes);
/* What was renamed or removed in the folder stays so. */
int ca_file_sync_dir(const char *dir);
