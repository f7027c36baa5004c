/* Resources that a sidecar has of itself: its outbound capture listener, the way to replicas
 * called by their own address, the way to the world, and its secrets. Thread: the main thread's. */
#pragma once

#include "mesh/model/resource.h"

#define LOCAL_SECRET_OWN "default"
#define LOCAL_SECRET_ROOTS "ROOTCA"

enum { LOCAL_COUNT = 6 };

/* References are the caller's. trust_domain: peers of a direct call are of it. */
void local_resources(struct str trust_domain, struct resource *ret_resources[LOCAL_COUNT]);
/* Any of its own, from the model; NULL: it cannot be encoded, which is logged. */
struct resource *local_resource(enum resource_type type, struct str name, const void *body);
struct resource *local_secret_pair(struct str chain_pem, struct str key_pem);
struct resource *local_secret_roots(struct str roots_pem);
