/* The inside of a replica: its network, mounts and rights. Everything here runs in the replica's
 * own process (its namespaces' first), or in a child of it, and only ever narrows.
 *
 * Two views of the file system, both the host's with changes:
 *   - init and sidecar: of /run/tulle only this replica's state directory, the egress socket and
 *     the sidecar's program are there; resolver files are the mesh's.
 *   - app (and `tulle exec`): /run/tulle is empty, so neither the sidecar's key nor the control
 *     plane's socket can be reached, the kernel's settings (/proc/sys, /sys) are read-only, and the
 *     capabilities that could undo capture (CAP_NET_ADMIN, CAP_NET_RAW for marks; CAP_SYS_ADMIN,
 *     CAP_SYS_PTRACE) are gone for good. */
#pragma once

#include "host/spec.h"

enum { SANDBOX_PROXY_UID = 1337 };

struct sandbox {
    const char *mesh, *slug, *hostname, *namespace;
    const char *address_v4, *address_v6; /* address_v6 NULL: no IPv6 on this host */
    const char *gateway_v4, *gateway_v6;
    const char *proxy_program; /* absolute path on the host */
    const char *envoy_program; /* likewise; NULL: not wanted */
    const struct box_capture *capture;
    const char *bypass_file; /* what is lifted of it for a while (bypass.h) */
};

#define SANDBOX_LINK "eth0"

/* All of it, in a process that is alone in fresh network, mount, PID and UTS namespaces and whose
 * link SANDBOX_LINK has arrived. 0 or -ERR_X; ret_what names the step that failed. */
int sandbox_setup(const struct sandbox *s, const char **ret_what);

/* Path of the sidecar's program as seen inside, and of Envoy where that is wanted. */
char *sandbox_proxy_path(const char *mesh, char *buf, size_t len);
char *sandbox_envoy_path(const char *mesh, char *buf, size_t len);

/* Turns the process into the sidecar's user: uid 1337 (where a box has more than one uid),
 * CAP_NET_ADMIN (marks) and CAP_NET_BIND_SERVICE only, inherited by what it executes. 0 or -ERR_X.
 */
int sandbox_become_proxy(void);
/* Gives the process the app's view and rights. Single-threaded processes only. 0 or -ERR_X. */
int sandbox_become_app(void);

/* "NS.svc.cluster.local svc.cluster.local cluster.local" and so on. */
void sandbox_resolv_conf(const char *namespace, struct str_buf *out);
void sandbox_hosts(const struct sandbox *s, struct str_buf *out);
