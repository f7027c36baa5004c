/* What all stores share: watchers, told after each commit in the order of revisions. */
#include "control/store/store_priv.h"

#include <stdlib.h>

void store_init(struct store *s, const struct store_ops *ops)
{
    s->ops = ops;
    s->history_revisions = STORE_HISTORY_REVISIONS_DEFAULT;
    s->history_bytes_max = STORE_HISTORY_BYTES_DEFAULT;
}

uint64_t store_revision(const struct store *s)
{
    return s->revision;
}

struct store *store_close(struct store *s)
{
    if (s == NULL)
        return NULL;
    VEC_DEINIT(&s->watchers);
    s->ops->close(s);
    return NULL;
}

int store_list(struct store *s, enum api_kind kind, struct str namespace_, store_each_fn *each,
               void *ctx)
{
    return s->ops->list(s, kind, namespace_, each, ctx);
}

int store_get(struct store *s, enum api_kind kind, struct str namespace_, struct str name,
              struct arena *a, struct store_object *ret_object)
{
    return s->ops->get(s, kind, namespace_, name, a, ret_object);
}

static void tell_object(struct store *s, const struct store_write *write)
{
    for (size_t w = 0; w < s->watchers.len; w++)
        s->watchers.ptr[w].changed(s->watchers.ptr[w].ctx, write->change, &write->object);
}

static void tell(struct store *s, const struct store_write *writes, size_t count)
{
    s->ops->records_begin(s);
    for (size_t i = 0; i < count; i++) {
        if (writes[i].change != STORE_UNCHANGED)
            tell_object(s, &writes[i]);
    }
    int err = s->ops->records_end(s);
    for (size_t w = 0; w < s->watchers.len; w++) {
        if (s->watchers.ptr[w].told != NULL)
            s->watchers.ptr[w].told(s->watchers.ptr[w].ctx, err);
    }
}

int store_commit(struct store *s, struct store_write *writes, size_t count,
                 const struct store_author *by, size_t *ret_failed)
{
    static const struct store_author nobody = {.verb = {"commit", 6}};
    int err = s->ops->commit(s, writes, count, by != NULL ? by : &nobody, ret_failed);
    if (err != 0)
        return err;
    tell(s, writes, count);
    return 0;
}

int store_set_status(struct store *s, enum api_kind kind, struct str namespace_, struct str name,
                     struct str status_json)
{
    return s->ops->set_status(s, kind, namespace_, name, status_json);
}

void store_watch(struct store *s, store_watch_fn *changed, store_told_fn *told, void *ctx)
{
    VEC_PUSH(&s->watchers, ((struct store_watcher){changed, told, ctx}));
}

void store_set_history(struct store *s, uint64_t revisions, uint64_t bytes)
{
    s->history_revisions = revisions;
    s->history_bytes_max = bytes;
}

uint64_t store_history_start(const struct store *s)
{
    return s->history_start;
}

int store_history(struct store *s, const struct store_history_query *q,
                  const struct store_history_ops *ops, void *ctx)
{
    return s->ops->history(s, q, ops, ctx);
}

int store_list_at(struct store *s, uint64_t revision, store_each_fn *each, void *ctx)
{
    if (revision < s->history_start || revision > s->revision)
        return -ERR_NOT_FOUND;
    return s->ops->list_at(s, revision, each, ctx);
}

int store_list_since(struct store *s, enum api_kind kind, struct str namespace_, uint64_t revision,
                     store_version_fn *each, void *ctx)
{
    if (revision < s->history_start)
        return -ERR_NOT_FOUND;
    return s->ops->list_since(s, kind, namespace_, revision, each, ctx);
}

int store_audit(struct store *s, const struct store_author *by)
{
    return s->ops->audit(s, by);
}

int store_backup(struct store *s, struct str path, const struct store_file *files, size_t count,
                 struct str_buf *why)
{
    return s->ops->backup(s, path, files, count, why);
}

void store_records_begin(struct store *s)
{
    if (s->ops->set_lazy != NULL)
        s->ops->set_lazy(s, true);
    s->ops->records_begin(s);
}

int store_records_end(struct store *s)
{
    int err = s->ops->records_end(s);
    if (s->ops->set_lazy != NULL)
        s->ops->set_lazy(s, false);
    return err;
}

int store_record_put(struct store *s, struct str table, struct str key, struct str value)
{
    return s->ops->record_put(s, table, key, value);
}

int store_record_get(struct store *s, struct str table, struct str key, struct arena *a,
                     struct str *ret_value)
{
    return s->ops->record_get(s, table, key, a, ret_value);
}

int store_record_list(struct store *s, struct str table, store_record_fn *each, void *ctx)
{
    return s->ops->record_list(s, table, each, ctx);
}
