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
    bool is_taking_over;        /* what is there and equal gets the object's owner, too */
    enum store_change change;   /* result */
    uint64_t revision;          /* result */
};
/* Who did something: for the history and the audit log. Any part may be empty. */
struct store_author {
    struct str at;     /* RFC 3339 */
    struct str who;    /* "uid:0" */
    struct str source; /* from where: "unix socket, pid 4711" */
    struct str verb;   /* "apply", "delete", "rollback", ... */
    struct str note;   /* the reason that was given */
};

/* -ERR_CONFLICT (ret_failed: which), -ERR_NOT_FOUND on delete, -ERR_NO_SPACE, -ERR_SYSTEM. Equal
 * JSON changes nothing (STORE_UNCHANGED), not even the revision; only its file and line are kept
 * when they are others. The history takes part in the same transaction. */
int store_commit(struct store *s, struct store_write *writes, size_t count,
                 const struct store_author *by, size_t *ret_failed);
/* No revision, no watch event. */
int store_set_status(struct store *s, enum api_kind kind, struct str namespace_, struct str name,
                     struct str status_json);

/* After each commit: every object that changed (deleted: object has its last content). */
typedef void store_watch_fn(void *ctx, enum store_change change, const struct store_object *o);
/* Records that watchers put while they are told of one commit are written as one, with one sync for
 * all. told comes when all is told: 0, or -ERR_X when none of these records was kept. May be NULL.
 */
typedef void store_told_fn(void *ctx, int err);
void store_watch(struct store *s, store_watch_fn *changed, store_told_fn *told, void *ctx);

/* --- history: what every commit did, as far back as the bound allows --- */

enum { STORE_HISTORY_REVISIONS_DEFAULT = 10000, STORE_HISTORY_BYTES_DEFAULT = 256 * 1024 * 1024 };
/* How many revisions are kept, and how many bytes of what is no longer there; older ones go in
 * later commits. What is there at present does not count. */
void store_set_history(struct store *s, uint64_t revisions, uint64_t bytes);
/* The oldest revision whose state is still known. */
uint64_t store_history_start(const struct store *s);

/* One act: a commit, or something else that is audited (revision 0). */
struct store_act {
    uint64_t id; /* counts up */
    uint64_t revision;
    struct store_author by;
};
/* One object of an act; what was deleted has its last content. */
struct store_version {
    enum store_change change;
    struct store_object object; /* without status */
};
struct store_history_ops {
    void (*act)(void *ctx, const struct store_act *a);         /* the latest first */
    void (*version)(void *ctx, const struct store_version *v); /* those of that act */
};
struct store_history_query {
    bool has_kind;
    enum api_kind kind;          /* with has_kind */
    struct str namespace_, name; /* only acts that changed such an object; empty: any */
    uint64_t revision;           /* only the act of this revision; 0: all */
    uint64_t before_id;          /* only earlier acts; 0: from the latest */
    size_t acts_max;
    bool is_commits_only;
};
int store_history(struct store *s, const struct store_history_query *q,
                  const struct store_history_ops *ops, void *ctx);
/* Every object as it was after that revision; -ERR_NOT_FOUND when it is older than
 * store_history_start or not there yet. */
int store_list_at(struct store *s, uint64_t revision, store_each_fn *each, void *ctx);
/* What happened to a kind's objects after that revision, in order (namespace_ empty: in all).
 * -ERR_NOT_FOUND when it is older than store_history_start. */
typedef void store_version_fn(void *ctx, const struct store_version *v);
int store_list_since(struct store *s, enum api_kind kind, struct str namespace_, uint64_t revision,
                     store_version_fn *each, void *ctx);
/* Notes an act that changes no document. */
int store_audit(struct store *s, const struct store_author *by);

/* --- backup --- */

/* A file that belongs to the state beside the documents: the CA's key, its certificate. */
struct store_file {
    struct str name; /* without a folder */
    struct str bytes;
};
/* Writes all of it, as one moment has it, into a new file at path (mode 0600), the files with it.
 */
int store_backup(struct store *s, struct str path, const struct store_file *files, size_t count,
                 struct str_buf *why);
/* Reads such a file into the folder, as `store.db` and the files; nothing may be there yet.
 * -ERR_CORRUPT, -ERR_UNSUPPORTED, -ERR_EXISTS, -ERR_NOT_FOUND, -ERR_SYSTEM, with the reason. */
int store_restore_sqlite(struct str backup_path, struct str folder, struct str_buf *why);
/* Before a folder's store is opened: -ERR_CORRUPT when a restore was killed before its end. */
int store_restore_finish(struct str folder, struct str_buf *why);

/* Records: value bytes by (table, key). NULL value deletes. */
/* What is put in between is written as one, without waiting for the disk: a crash of the machine
 * may lose it, as a whole. Not from a watcher. */
void store_records_begin(struct store *s);
int store_records_end(struct store *s);
int store_record_put(struct store *s, struct str table, struct str key, struct str value);
int store_record_get(struct store *s, struct str table, struct str key, struct arena *a,
                     struct str *ret_value);
typedef void store_record_fn(void *ctx, struct str key, struct str value);
int store_record_list(struct store *s, struct str table, store_record_fn *each, void *ctx);
