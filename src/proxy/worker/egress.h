/* The box's way out, seen from a sidecar: the supervisor opens sockets on the host and passes them
 * in over a unix socket (host/egress.h states the protocol).
 *
 * Owner: who made it. Thread: one. */
#pragma once

#include "base/str.h"
#include "io/addr.h"

struct egress_client;

struct egress_client *egress_client_new(struct str path);
struct egress_client *egress_client_free(struct egress_client *e);
/* A socket whose connect has begun, or -ERR_X. Waits for the supervisor, at most 1 s. */
int egress_client_connect(struct egress_client *e, const struct addr *to);
/* A UDP socket connected to the host's resolver, or -ERR_X. */
int egress_client_dns(struct egress_client *e);
