/* Network namespaces without names: held by descriptors, gone with the last process or descriptor.
 * Thread: the calling thread is moved, so only single-threaded programs use this. */
#pragma once

#include "host/netlink.h"

/* A descriptor (O_CLOEXEC) of a fresh network namespace, its loopback up and forwarding off; or
 * -ERR_X. */
int netns_new(void);
/* A descriptor of the namespace of a process, or -ERR_X. */
int netns_of(pid_t pid);

/* Enters ns_fd; *ret_back is what netns_leave takes. 0 or -ERR_X. */
int netns_enter(int ns_fd, int *ret_back);
void netns_leave(int back);

/* A socket of another namespace, as socket(2); or -ERR_X. */
int netns_socket(int ns_fd, int domain, int type);

/* Writes a setting of the current network namespace, "ipv4/ip_forward"; failure is harmless where
 * the setting only confirms a default. */
int netns_set(const char *name, const char *value);
bool netns_has_ipv6(void);
