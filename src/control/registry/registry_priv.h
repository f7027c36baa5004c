/* Inside control/registry/ only. */
#pragma once

#include "base/map.h"
#include "base/vec.h"
#include "control/registry/registry.h"

/* --- lookup.c: from a text to all that has it, in the order in which they came --- */

enum { LOOKUP_KEY_MAX = 1024 };
struct lookup {
    struct map map; /* to struct lookup_items */
};
struct lookup_items {
    void **ptr;
    size_t len, cap;
};
void lookup_init(struct lookup *l);
void lookup_deinit(struct lookup *l); /* the items are not its own */
/* Never NULL; valid until the next change. */
const struct lookup_items *lookup_get(const struct lookup *l, struct str key);
struct lookup_items *lookup_add(struct lookup *l, struct str key, void *item);
void lookup_remove(struct lookup *l, struct str key, const void *item);
/* Keys, cut off at the end of buf: what is found is looked at once more. */
struct str lookup_label_key(char buf[LOOKUP_KEY_MAX], struct str namespace_,
                            const struct api_label *label);
struct str lookup_pair_key(char buf[LOOKUP_KEY_MAX], struct str namespace_, struct str name);

struct registry_watcher {
    registry_changed_fn *changed;
    void *ctx;
};

struct registry_revoked {
    struct str identity, note;
};

struct registry_namespace {
    struct str name; /* own memory */
    size_t count;
};

struct registry {
    struct store *store;
    VEC(struct api_document *) docs[API_KIND_COUNT]; /* sorted by namespace and name; referenced */
    const struct api_mesh *mesh;
    struct str_buf roots;
    VEC(struct registry_revoked) revoked;    /* own memory */
    VEC(struct registry_bypass) bypasses;    /* own memory */
    VEC(struct registry_service *) services; /* sorted as the documents */
    VEC(struct registry_replica *) replicas;
    struct map replica_by_name; /* "NS/WORKLOAD/INDEX" */
    struct lookup replicas_by_workload, replicas_by_namespace, replicas_by_address;
    struct lookup replicas_by_label;             /* of its Workload, each of them */
    struct lookup services_by_label;             /* the first of its selector */
    struct lookup routes_by_host, rules_by_host; /* documents, sorted as all are */
    struct lookup users; /* VirtualServices, DestinationRules by what they speak of elsewhere */
    VEC(struct registry_namespace) namespaces; /* with services or workloads, sorted */
    VEC(struct str) unkept; /* names of replicas that the store does not have so yet */
    registry_unkept_fn *on_unkept;
    void *on_unkept_ctx;
    VEC(struct registry_watcher) watchers;
    VEC(struct registry_service *) fresh; /* of this commit; their addresses are not kept yet */
    uint32_t next_address;
    uint64_t lease_us;
};

void registry_tell(struct registry *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A service or workload of the namespace comes (goes); true: it is the first (was the last). */
bool registry_namespace_use(struct registry *r, struct str namespace_);
bool registry_namespace_leave(struct registry *r, struct str namespace_);

/* revoked.c */
bool revoked_load(struct registry *r);
void revoked_free(struct registry *r);

/* bypass.c */
bool bypass_load(struct registry *r);
void bypass_free(struct registry *r);
bool bypass_has_inbound(const struct registry *r, struct str namespace_, struct str workload);

/* services.c */
void services_changed(struct registry *r, const struct api_document *old, struct api_document *now);
void services_told(struct registry *r, int err);
void services_free(struct registry *r);
void namespaces_free(struct registry *r);
bool services_load_addresses(struct registry *r);
bool service_selects(const struct registry_service *s, const struct api_document *workload);

/* replicas.c */
void replicas_workload_changed(struct registry *r, const struct api_document *old,
                               const struct api_document *now);
void replicas_mesh_changed(struct registry *r);
bool replicas_load(struct registry *r);
void replicas_free(struct registry *r);
