/* Inside control/registry/ only. */
#pragma once

#include "base/vec.h"
#include "control/registry/registry.h"

struct registry_watcher {
    registry_changed_fn *changed;
    void *ctx;
};

struct registry_revoked {
    struct str identity, note;
};

struct registry {
    struct store *store;
    VEC(struct api_document *) docs[API_KIND_COUNT]; /* sorted by namespace and name; referenced */
    const struct api_mesh *mesh;
    struct str_buf roots;
    VEC(struct registry_revoked) revoked;    /* own memory */
    VEC(struct registry_service *) services; /* sorted as the documents */
    VEC(struct registry_replica *) replicas;
    VEC(struct registry_watcher) watchers;
    VEC(struct registry_service *) fresh; /* of this commit; their addresses are not kept yet */
    uint32_t next_address;
    uint64_t lease_us;
};

void registry_tell(struct registry *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* revoked.c */
bool revoked_load(struct registry *r);
void revoked_free(struct registry *r);

/* services.c */
void services_changed(struct registry *r, const struct api_document *old, struct api_document *now);
void services_told(struct registry *r, int err);
void services_free(struct registry *r);
bool services_load_addresses(struct registry *r);
bool service_selects(const struct registry_service *s, const struct api_document *workload);

/* replicas.c */
void replicas_workload_changed(struct registry *r, const struct api_document *old,
                               const struct api_document *now);
void replicas_mesh_changed(struct registry *r);
bool replicas_load(struct registry *r);
void replicas_free(struct registry *r);
