/* The way out of the box: sidecars have no route to the world; the supervisor opens sockets on the
 * host and passes them in over a unix socket. No NAT, no forwarding, no rule on the host.
 *
 * Protocol, on a SOCK_STREAM unix socket, any number of requests one after another:
 *     "TCP <ip> <port>\n"   -> one status byte; with 0 an SCM_RIGHTS socket whose non-blocking
 *                              connect has been started: the sidecar waits for it to be writable
 *     "UDP-DNS\n"           -> the same with a UDP socket connected to the host's first resolver
 * Any other status byte is an enum err; a malformed request ends the connection. The host's own
 * loopback and the box's own addresses are not the world: such targets are refused (ERR_DENIED).
 *
 * Owner: the supervisor's loop: poll egress_fds, call egress_on_event. Thread: one. */
#pragma once

#include <poll.h>

#include "base/str.h"

enum { EGRESS_CLIENTS_MAX = 256, EGRESS_LINE_MAX = 80 };

struct egress;

/* Listens at path, for the given owner only. 0 or -ERR_X. */
int egress_open(const char *path, unsigned uid, struct egress **ret_egress);

/* Fills up to max entries; the number. */
size_t egress_fds(const struct egress *e, struct pollfd *fds, size_t max);
/* One of the descriptors has something. */
void egress_on_event(struct egress *e, int fd);

/* A request line, without its newline: the socket type to open and the target. */
struct egress_request {
    bool is_dns;
    char ip[46];
    uint16_t port;
};
/* 0, -ERR_SYNTAX, or -ERR_DENIED for a target that is not the world. */
int egress_request_parse(struct str line, struct egress_request *ret_request);
/* The first "nameserver" of a resolv.conf; false when there is none. */
bool egress_first_nameserver(struct str resolv_conf, char ret_ip[46]);
