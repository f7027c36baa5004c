/* Network namespaces without names: held by descriptors, gone with the last process or descriptor.
 *
 * A plain user's box may go into a namespace but never back to the host's, so what is wanted of
 * another namespace is made by a child and handed over. Thread: single-threaded programs only. */
#pragma once

#include "host/netlink.h"

/* A descriptor (O_CLOEXEC) of a fresh network namespace, its loopback up and forwarding off; or
 * -ERR_X. */
int netns_new(void);
/* A descriptor of the namespace of a process, or -ERR_X. */
int netns_of(pid_t pid);

/* Enters ns_fd, for good: with it the user namespace that owns it. 0 or -ERR_X. */
int netns_enter(int ns_fd);

/* A socket of another namespace, as socket(2); or -ERR_X. */
int netns_socket(int ns_fd, int domain, int type);

/* Calls fn in a child that has entered ns_fd; its result (0 or -ERR_X), or what went wrong. */
typedef int netns_fn(const void *arg);
int netns_run(int ns_fd, netns_fn *fn, const void *arg);

/* Writes a setting of the current network namespace, "ipv4/ip_forward"; failure is harmless where
 * the setting only confirms a default. */
int netns_set(const char *name, const char *value);
bool netns_has_ipv6(void);
