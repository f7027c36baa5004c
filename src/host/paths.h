/* Where a mesh keeps what: everything lies below RUN_ROOT/NAME (0700, who started it). The run root
 * is /run/tulle for root; for a plain user $XDG_RUNTIME_DIR/tulle, /run/user/UID/tulle or
 * ~/.local/state/tulle/run, whichever is there first. TULLE_RUN names another directory. */
#pragma once

#include <stddef.h>

#include "base/str.h"

enum { PATH_LEN_MAX = 512 };

/* Found once and kept: a plain user's supervisor is uid 0 in its own user namespace later. */
const char *paths_run_root(void);

/* Each writes at most PATH_LEN_MAX bytes, NUL-terminated, and returns buf. */
char *paths_mesh(const char *mesh, char buf[PATH_LEN_MAX]);
/* NAME/leaf, as "lock", "box.state", "api.sock", "egress.sock", "supervisor.log". */
char *paths_in_mesh(const char *mesh, const char *leaf, char buf[PATH_LEN_MAX]);
char *paths_replica_dir(const char *mesh, const char *slug, char buf[PATH_LEN_MAX]);
/* What is lifted of a replica's capture (bypass.h). */
char *paths_bypass(const char *mesh, const char *slug, char buf[PATH_LEN_MAX]);
char *paths_log(const char *mesh, const char *slug, bool is_proxy, char buf[PATH_LEN_MAX]);

/* Makes the directory and its parents below the run root; 0 or -ERR_X. mode is the last one's. */
int paths_make_dir(const char *path, unsigned mode);
/* Removes a tree; follows no symbolic link and crosses no mount. Missing is fine. */
int paths_remove_tree(const char *path);

/* Calls fn with the name of every mesh that has state. */
typedef void paths_mesh_fn(void *arg, const char *mesh);
void paths_each_mesh(paths_mesh_fn *fn, void *arg);
