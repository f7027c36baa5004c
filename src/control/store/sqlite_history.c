/* The history: who did what, and each object as it was.
 *
 * An act is a row of `acts`; what it did to each object is a row of `versions`, whole, so that any
 * revision within the bound can be shown and brought back. Written in the commit's transaction.
 */
#include "base/err.h"
#include "control/store/sqlite_priv.h"

/* Acts that change no document are bounded by their number alone. */
enum { ACTS_MAX = 100 * 1000, PRUNE_PARTS = 16 };

static const char *const change_names[] = {
    [STORE_CREATED] = "created",
    [STORE_CONFIGURED] = "configured",
    [STORE_UNCHANGED] = "unchanged",
    [STORE_DELETED] = "deleted",
};

static enum store_change change_of(struct str name)
{
    enum store_change change = STORE_DELETED;
    while (change > STORE_CREATED && !str_eq(name, str_from_c(change_names[change])))
        change--;
    return change;
}

/* --- writing --- */

int sqlite_note_version(struct store_sqlite *q, const struct store_write *w, uint64_t act_revision)
{
    sqlite3_stmt *st = q->st[ST_VERSION_ADD];
    const struct store_object *o = &w->object;
    sqlite3_bind_int64(st, 1, (sqlite3_int64)w->revision);
    sqlite3_bind_int64(st, 2, (sqlite3_int64)act_revision);
    sqlite_bind_str(st, 3, str_from_c(change_names[w->change]));
    sqlite_bind_str(st, 4, sqlite_kind_name(o->kind));
    sqlite_bind_str(st, 5, o->namespace_);
    sqlite_bind_str(st, 6, o->name);
    sqlite_bind_str(st, 7, o->json); /* deleted: the last content */
    sqlite_bind_str(st, 8, o->file);
    sqlite3_bind_int64(st, 9, o->line);
    sqlite_bind_str(st, 10, o->owner);
    sqlite_bind_str(st, 11, o->uid);
    sqlite_bind_str(st, 12, o->created_at);
    sqlite3_bind_int64(st, 13, (sqlite3_int64)o->created_revision);
    sqlite3_bind_int64(st, 14, (sqlite3_int64)o->generation);
    return sqlite_run(st);
}

int sqlite_note_act(struct store_sqlite *q, const struct store_author *by, uint64_t revision)
{
    sqlite3_stmt *st = q->st[ST_ACT_ADD];
    sqlite3_bind_int64(st, 1, (sqlite3_int64)revision);
    sqlite_bind_str(st, 2, by->at);
    sqlite_bind_str(st, 3, by->who);
    sqlite_bind_str(st, 4, by->source);
    sqlite_bind_str(st, 5, by->verb);
    sqlite_bind_str(st, 6, by->note);
    return sqlite_run(st);
}

static int prune_by(struct store_sqlite *q, enum statement which, uint64_t start)
{
    sqlite3_stmt *st = q->st[which];
    sqlite3_bind_int64(st, 1, (sqlite3_int64)start);
    if (which == ST_PRUNE_ACTS)
        sqlite3_bind_int64(st, 2, sqlite3_last_insert_rowid(q->db) - ACTS_MAX);
    return sqlite_run(st);
}

static int first_number(sqlite3_stmt *st, uint64_t *ret_value)
{
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        *ret_value = (uint64_t)sqlite3_column_int64(st, 0);
    sqlite3_reset(st);
    return sqlite_err(rc);
}

int sqlite_count_past(struct store_sqlite *q)
{
    return first_number(q->st[ST_PAST_BYTES], &q->past_bytes);
}

/* Seldom, and then a good part. */
static bool is_above(uint64_t value, uint64_t bound)
{
    return value > bound + bound / PRUNE_PARTS;
}

/* Where the history is to start; *ret_start is left alone where it may stay. */
static int choose_start(struct store_sqlite *q, uint64_t new_revision, uint64_t *ret_start)
{
    const struct store *s = &q->store;
    uint64_t by_bytes = 0;
    int err = 0;
    if (is_above(new_revision - s->history_start, s->history_revisions))
        *ret_start = new_revision - s->history_revisions;
    if (is_above(q->past_bytes, s->history_bytes_max)) {
        sqlite3_bind_int64(q->st[ST_PAST_START], 1, (sqlite3_int64)s->history_bytes_max);
        err = first_number(q->st[ST_PAST_START], &by_bytes);
    }
    *ret_start = MAX(*ret_start, MIN(by_bytes, new_revision));
    return err;
}

int sqlite_prune(struct store_sqlite *q, uint64_t new_revision, uint64_t *ret_start)
{
    uint64_t start = q->store.history_start;
    int err = choose_start(q, new_revision, &start);
    if (err != 0 || start == q->store.history_start)
        return err;
    err = prune_by(q, ST_PRUNE_ACTS, start); /* first: needs the id of the act just added */
    if (err == 0)
        err = prune_by(q, ST_PRUNE_VERSIONS, start);
    if (err == 0)
        err = prune_by(q, ST_PRUNE_GONE, start);
    if (err == 0)
        err = sqlite_set_meta(q, "history_start", start);
    if (err == 0)
        err = sqlite_count_past(q);
    *ret_start = start;
    return err;
}

int sqlite_audit(struct store *s, const struct store_author *by)
{
    struct store_sqlite *q = sqlite_of(s);
    int err = sqlite_note_act(q, by, 0);
    return err != 0 ? err : prune_by(q, ST_PRUNE_ACTS, s->history_start);
}

/* --- reading --- */

/* Borrowed from the row; false for a kind that this version does not know. */
static bool row_version(sqlite3_stmt *st, struct store_version *ret_version)
{
    const struct api_kind_info *kind = api_kind_parse(sqlite_column_str(st, 1));
    if (kind == NULL)
        return false;
    *ret_version = (struct store_version){
        .change = change_of(sqlite_column_str(st, 0)),
        .object = {.kind = kind->kind,
                   .namespace_ = sqlite_column_str(st, 2),
                   .name = sqlite_column_str(st, 3),
                   .json = sqlite_column_str(st, 4),
                   .file = sqlite_column_str(st, 5),
                   .line = (uint32_t)sqlite3_column_int64(st, 6),
                   .owner = sqlite_column_str(st, 7),
                   .revision = (uint64_t)sqlite3_column_int64(st, 8),
                   .uid = sqlite_column_str(st, 9),
                   .created_at = sqlite_column_str(st, 10),
                   .created_revision = (uint64_t)sqlite3_column_int64(st, 11),
                   .generation = (uint64_t)sqlite3_column_int64(st, 12)},
    };
    return true;
}

static struct store_act row_act(sqlite3_stmt *st)
{
    return (struct store_act){
        .id = (uint64_t)sqlite3_column_int64(st, 0),
        .revision = (uint64_t)sqlite3_column_int64(st, 1),
        .by = {.at = sqlite_column_str(st, 2),
               .who = sqlite_column_str(st, 3),
               .source = sqlite_column_str(st, 4),
               .verb = sqlite_column_str(st, 5),
               .note = sqlite_column_str(st, 6)},
    };
}

static int versions_of(struct store_sqlite *q, uint64_t act_revision,
                       const struct store_history_ops *ops, void *ctx)
{
    sqlite3_stmt *st = q->st[ST_ACT_VERSIONS];
    sqlite3_bind_int64(st, 1, (sqlite3_int64)act_revision);
    int rc;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct store_version v;
        if (row_version(st, &v))
            ops->version(ctx, &v);
    }
    sqlite3_reset(st);
    return sqlite_err(rc);
}

int sqlite_history(struct store *s, const struct store_history_query *query,
                   const struct store_history_ops *ops, void *ctx)
{
    struct store_sqlite *q = sqlite_of(s);
    sqlite3_stmt *st = q->st[ST_ACTS];
    int rc, err = 0;
    sqlite3_bind_int64(st, 1, (sqlite3_int64)query->before_id);
    sqlite3_bind_int64(st, 2, (sqlite3_int64)query->revision);
    sqlite3_bind_int64(st, 3, query->is_commits_only);
    sqlite_bind_str(st, 4, query->has_kind ? sqlite_kind_name(query->kind) : STR_NULL);
    sqlite_bind_str(st, 5, query->namespace_);
    sqlite_bind_str(st, 6, query->name);
    sqlite3_bind_int64(st, 7, (sqlite3_int64)query->acts_max);
    while (err == 0 && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct store_act act = row_act(st);
        ops->act(ctx, &act);
        err = act.revision > 0 ? versions_of(q, act.revision, ops, ctx) : 0;
    }
    sqlite3_reset(st);
    return err != 0 ? err : sqlite_err(rc);
}

int sqlite_list_at(struct store *s, uint64_t revision, store_each_fn *each, void *ctx)
{
    sqlite3_stmt *st = sqlite_of(s)->st[ST_AT];
    sqlite3_bind_int64(st, 1, (sqlite3_int64)revision);
    int rc;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct store_version v;
        if (row_version(st, &v))
            each(ctx, &v.object);
    }
    sqlite3_reset(st);
    return sqlite_err(rc);
}

int sqlite_list_since(struct store *s, enum api_kind kind, struct str namespace_, uint64_t revision,
                      store_version_fn *each, void *ctx)
{
    sqlite3_stmt *st = sqlite_of(s)->st[ST_SINCE];
    sqlite3_bind_int64(st, 1, (sqlite3_int64)revision);
    sqlite_bind_str(st, 2, sqlite_kind_name(kind));
    sqlite_bind_str(st, 3, namespace_);
    int rc;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct store_version v;
        if (row_version(st, &v))
            each(ctx, &v);
    }
    sqlite3_reset(st);
    return sqlite_err(rc);
}
