/* What tulled gives up once all that it needs is open. */
#pragma once

#include "base/str.h"
#include "main/tulled_options.h"

/* By --user and --confine; passphrase_file (NULL: none) stays out of reach, as the state directory
 * does. Logs what holds from now on, and what this kernel has not. Before
 * threads are started. -ERR_X: no such user, or the kernel refuses to change to it (why). */
int tulled_confine(const struct tulled_options *o, const char *passphrase_file,
                   struct str_buf *why);
