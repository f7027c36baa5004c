/* The unit of configuration: one immutable, reference-counted resource.
 *
 * The main thread decodes and validates it (mesh/xds), publishes it to workers as part of a change
 * set, and nobody changes it afterwards. Equal content has an equal hash: the version on the wire,
 * and the reason why a restarted control plane re-sends nothing.
 *
 * Lifetime: refcount (atomic; resources cross threads). The body and all its strings live in the
 * resource's own arena. */
#pragma once

#include <stdatomic.h>

#include "base/arena.h"
#include "base/str.h"

enum resource_type {
    RESOURCE_LISTENER,
    RESOURCE_ROUTE,
    RESOURCE_CLUSTER,
    RESOURCE_ENDPOINTS,
    RESOURCE_SECRET,
    RESOURCE_DIRECTORY,
    RESOURCE_TYPE_COUNT,
};

/* "type.googleapis.com/envoy.config.listener.v3.Listener", ... */
struct str resource_type_url(enum resource_type type);
bool resource_type_from_url(struct str url, enum resource_type *ret_type);
/* "listener", "route", "cluster", "endpoints", "secret", "directory". */
const char *resource_type_name(enum resource_type type);

struct resource {
    atomic_uint ref_count;
    enum resource_type type;
    struct str name;
    uint64_t hash;      /* of the canonical encoding */
    struct str version; /* as the server named it, or the hash in hex */
    struct str wire;    /* encoded message, for config_dump and the disk cache; may be empty */
    struct arena arena;
    /* What it refers to by name, for closures and warming: resolved in this order. */
    const struct resource_ref *refs;
    size_t ref_count_out;
    union {
        const void *body;
        const struct listener *listener;
        const struct route_config *route;
        const struct cluster *cluster;
        const struct endpoints *endpoints;
        const struct secret *secret;
        const struct directory *directory;
    };
};

/* Who has a resource: the aggregated stream (no cluster is named), or a service of its own. */
struct resource_source {
    struct str cluster; /* of the bootstrap, where that service is */
    bool is_delta;      /* else state of the world */
};

struct resource_ref {
    enum resource_type type;
    struct str name;
    struct resource_source source;
};

/* An empty resource to be filled: body is allocated by the caller in r->arena. ref_count 1. */
struct resource *resource_new(enum resource_type type, struct str name);
struct resource *resource_hold(
    struct resource *r); /* takes a reference (struct resource_ref is a name) */
struct resource *resource_unref(struct resource *r);
AUTO_FREE_DEFINE(struct resource, resource_unref);
