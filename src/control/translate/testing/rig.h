/* What the tests of translate share: documents as YAML -> store -> registry -> translate -> wire ->
 * decoded by the proxy's own codec, so that a test asks what a proxy would do. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/vec.h"
#include "control/registry/registry.h"
#include "control/translate/translate.h"
#include "mesh/match/match.h"
#include "mesh/model/cluster.h"
#include "mesh/model/directory.h"

struct rig {
    char dir[64], path[96];
    struct store *store;
    struct registry *registry;
    struct translate *translate;
    struct arena arena;
    struct translate_viewer viewer;   /* shop/web, Tulle's dialect */
    VEC(struct resource *) resources; /* decoded so far */
    VEC(struct str) facts, dirty;     /* told since rig_forget; "route NAME VIEW" */
};

/* cmocka's setup and teardown: *state is the rig. */
int rig_setup(void **state);
int rig_teardown(void **state);
/* Another tulled over the same store. */
void rig_restart(struct rig *r);
void rig_forget(struct rig *r);

/* Applies every document; default namespace shop. Fails the test when one is refused. */
void rig_apply(struct rig *r, const char *yaml);
void rig_delete(struct rig *r, enum api_kind kind, const char *ns, const char *name);
/* A sidecar connects from this address (v4 or v6). */
struct registry_replica *rig_connect(struct rig *r, const char *ns, const char *workload,
                                     uint32_t index, const char *ip);
/* ...and its app is ready. */
struct registry_replica *rig_ready(struct rig *r, const char *ns, const char *workload,
                                   uint32_t index, const char *ip);
void rig_be(struct rig *r, const char *ns, const char *workload); /* who asks from now on */

/* NULL: does not exist. The caller's reference. */
struct translate_output *rig_output(struct rig *r, enum resource_type type, const char *name);
/* Decoded; NULL: does not exist. Lives until teardown. */
const void *rig_get(struct rig *r, enum resource_type type, const char *name);
static inline const struct listener *rig_listener(struct rig *r, const char *name)
{
    return rig_get(r, RESOURCE_LISTENER, name);
}
static inline const struct route_config *rig_route(struct rig *r, const char *name)
{
    return rig_get(r, RESOURCE_ROUTE, name);
}
static inline const struct cluster *rig_cluster(struct rig *r, const char *name)
{
    return rig_get(r, RESOURCE_CLUSTER, name);
}
static inline const struct endpoints *rig_endpoints(struct rig *r, const char *name)
{
    return rig_get(r, RESOURCE_ENDPOINTS, name);
}
static inline const struct directory *rig_directory(struct rig *r, const char *name)
{
    return rig_get(r, RESOURCE_DIRECTORY, name);
}

bool rig_is_dirty(const struct rig *r, const char *start); /* of one of the lines */
bool rig_was_told(const struct rig *r, const char *fact);

/* A request's head. headers: "name: value" lines, or NULL. */
struct http_head *rig_request(struct rig *r, const char *method, const char *authority,
                              const char *path, const char *headers);

#define assert_str(s, expected)                                                                    \
    do {                                                                                           \
        struct str s_ = (s);                                                                       \
        if (!str_eq(s_, str_from_c(expected)))                                                     \
            fail_msg("\"%.*s\" is not \"%s\"", STR_FMT(s_), expected);                             \
    } while (0)
