/* The store: documents with revisions behind one list / watch / put interface.
 *
 * Every change gets the next revision of the whole store; a document remembers the revision of its
 * last change (resourceVersion) and of its creation. Puts are optimistic: who names a revision gets
 * -ERR_CONFLICT when the document has another. Implementations: store_sqlite.c; later etcd and
 * Kubernetes.
 *
 * Beside documents the store keeps small records of the control plane itself (addresses, tokens,
 * CA, leases) by table and key, under the same durability.
 *
 * Thread: the brain's. Watchers are called from store_put/store_delete's caller, after commit, in
 * order of revisions. */
#pragma once

#include "base/arena.h"
#include "control/api/kind.h"

struct store;

struct store_object {
    enum api_kind kind;
    struct str namespace_, name; /* namespace_ empty for kinds without one */
    struct str json;             /* as api_document.json */
    struct str status_json;      /* empty: none; set by store_set_status, no new revision */
    struct str file;             /* where it came from, for findings; may be empty */
    uint32_t line;
    struct str uid, created_at; /* RFC 4122 / RFC 3339 */
    uint64_t revision, created_revision, generation;
    struct str owner; /* who manages it: "up", "api" */
};

int store_open_sqlite(struct str path, struct str_buf *why, struct store **ret_store);
struct store *store_close(struct store *s);

uint64_t store_revision(const struct store *s);

/* Calls each(ctx, object) for all of a kind (namespace empty: all); object is borrowed. */
typedef void store_each_fn(void *ctx, const struct store_object *o);
int store_list(struct store *s, enum api_kind kind, struct str namespace_, store_each_fn *each,
               void *ctx);
/* Strings live in the arena. -ERR_NOT_FOUND. */
int store_get(struct store *s, enum api_kind kind, struct str namespace_, struct str name,
              struct arena *a, struct store_object *ret_object);

enum store_change { STORE_CREATED, STORE_CONFIGURED, STORE_UNCHANGED, STORE_DELETED };

/* A set of writes that takes effect as one, or not at all. */
struct store_write {
    bool is_delete;
    struct store_object object; /* kind, namespace_, name, json, file, line, owner, and
                                 * created_at for a new one; the rest is filled in */
    uint64_t expected_revision; /* 0: whatever is there; UINT64_MAX: must not exist */
    enum store_change change;   /* result */
    uint64_t revision;          /* result */
};
/* -ERR_CONFLICT (ret_failed: which), -ERR_NOT_FOUND on delete, -ERR_NO_SPACE, -ERR_SYSTEM. Equal
 * JSON changes nothing (STORE_UNCHANGED), not even the revision. */
int store_commit(struct store *s, struct store_write *writes, size_t count, size_t *ret_failed);
/* No revision, no watch event. */
int store_set_status(struct store *s, enum api_kind kind, struct str namespace_, struct str name,
                     struct str status_json);

/* After each commit: every object that changed (deleted: object has its last content). */
typedef void store_watch_fn(void *ctx, enum store_change change, const struct store_object *o);
void store_watch(struct store *s, store_watch_fn *changed, void *ctx);

/* Records: value bytes by (table, key). NULL value deletes. */
int store_record_put(struct store *s, struct str table, struct str key, struct str value);
int store_record_get(struct store *s, struct str table, struct str key, struct arena *a,
                     struct str *ret_value);
typedef void store_record_fn(void *ctx, struct str key, struct str value);
int store_record_list(struct store *s, struct str table, store_record_fn *each, void *ctx);
