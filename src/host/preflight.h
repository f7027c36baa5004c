/* What this machine lacks for a mesh in a box, found before anything is started. */
#pragma once

#include "base/str.h"

/* Appends one line for each thing that is missing ("nft is not installed (apt-get install
 * nftables)"); true when nothing is. Tries the kernel's features in a child with namespaces of its
 * own, so nothing is left behind. */
bool preflight_check(const char *proxy_program, const char *tulled_program, struct str_buf *out);
