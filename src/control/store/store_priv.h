/* Inside control/store/ only: what an implementation provides. */
#pragma once

#include "base/err.h"
#include "base/vec.h"
#include "control/store/store.h"

struct store_ops {
    const char *name;
    void (*close)(struct store *s);
    int (*list)(struct store *s, enum api_kind kind, struct str namespace_, store_each_fn *each,
                void *ctx);
    int (*get)(struct store *s, enum api_kind kind, struct str namespace_, struct str name,
               struct arena *a, struct store_object *ret_object);
    /* Fills change, revision and the rest of each write's object (strings live until the next
     * commit). */
    int (*commit)(struct store *s, struct store_write *writes, size_t count,
                  const struct store_author *by, size_t *ret_failed);
    int (*set_status)(struct store *s, enum api_kind kind, struct str namespace_, struct str name,
                      struct str status_json);
    int (*history)(struct store *s, const struct store_history_query *q,
                   const struct store_history_ops *ops, void *ctx);
    int (*list_at)(struct store *s, uint64_t revision, store_each_fn *each, void *ctx);
    int (*list_since)(struct store *s, enum api_kind kind, struct str namespace_, uint64_t revision,
                      store_version_fn *each, void *ctx);
    int (*audit)(struct store *s, const struct store_author *by);
    int (*backup)(struct store *s, struct str path, const struct store_file *files, size_t count,
                  struct str_buf *why);
    /* Between the two, records are put as one; end: -ERR_X when they are not kept, none of them. */
    void (*records_begin)(struct store *s);
    int (*records_end)(struct store *s);
    /* May be NULL. While it is lazy, commits do not wait for the disk. */
    void (*set_lazy)(struct store *s, bool is_lazy);
    int (*record_put)(struct store *s, struct str table, struct str key, struct str value);
    int (*record_get)(struct store *s, struct str table, struct str key, struct arena *a,
                      struct str *ret_value);
    int (*record_list)(struct store *s, struct str table, store_record_fn *each, void *ctx);
};

struct store_watcher {
    store_watch_fn *changed;
    store_told_fn *told;
    void *ctx;
};

struct store {
    const struct store_ops *ops;
    uint64_t revision;
    uint64_t history_start, history_revisions, history_bytes_max;
    VEC(struct store_watcher) watchers;
};

void store_init(struct store *s, const struct store_ops *ops);
