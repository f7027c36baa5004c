#include "mesh/model/resource.h"

#include <stdlib.h>

enum { ARENA_BLOCK_LEN = 512 };

static const struct {
    const char *name, *url;
} types[RESOURCE_TYPE_COUNT] = {
    [RESOURCE_LISTENER] = {"listener", "type.googleapis.com/envoy.config.listener.v3.Listener"},
    [RESOURCE_ROUTE] = {"route", "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"},
    [RESOURCE_CLUSTER] = {"cluster", "type.googleapis.com/envoy.config.cluster.v3.Cluster"},
    [RESOURCE_ENDPOINTS] = {"endpoints",
                            "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"},
    [RESOURCE_SECRET] = {"secret",
                         "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"},
    [RESOURCE_DIRECTORY] = {"directory", "type.googleapis.com/tulle.mesh.v1.Directory"},
};

struct str resource_type_url(enum resource_type type)
{
    ASSERT(type < RESOURCE_TYPE_COUNT);
    return str_from_c(types[type].url);
}

bool resource_type_from_url(struct str url, enum resource_type *ret_type)
{
    for (unsigned i = 0; i < RESOURCE_TYPE_COUNT; i++) {
        if (str_eq(url, str_from_c(types[i].url))) {
            *ret_type = (enum resource_type)i;
            return true;
        }
    }
    return false;
}

const char *resource_type_name(enum resource_type type)
{
    ASSERT(type < RESOURCE_TYPE_COUNT);
    return types[type].name;
}

struct resource *resource_new(enum resource_type type, struct str name)
{
    ASSERT(type < RESOURCE_TYPE_COUNT);
    struct resource *r = NEW(struct resource);
    atomic_init(&r->ref_count, 1);
    r->type = type;
    arena_init_tight(&r->arena, ARENA_BLOCK_LEN);
    r->name = arena_str(&r->arena, name);
    return r;
}

struct resource *resource_hold(struct resource *r)
{
    unsigned before = atomic_fetch_add_explicit(&r->ref_count, 1, memory_order_relaxed);
    ASSERT(before > 0);
    return r;
}

struct resource *resource_unref(struct resource *r)
{
    if (r == NULL)
        return NULL;
    /* Release and acquire: whoever frees sees all that the other threads did with it. */
    unsigned before = atomic_fetch_sub_explicit(&r->ref_count, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before > 1)
        return NULL;
    arena_deinit(&r->arena);
    free(r);
    return NULL;
}
