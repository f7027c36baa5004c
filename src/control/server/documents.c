#include "control/server/documents.h"

#include <stdlib.h>

#include "codec/duration.h"
#include "control/server/documents_priv.h"

struct documents *documents_new(struct server *s, struct str path)
{
    struct documents *d = NEW(struct documents);
    d->server = s;
    d->path = str_dup_c(path);
    d->strangers = STR_BUF_INIT(500);
    map_init(&d->files);
    map_init(&d->by_subject);
    documents_problems_init(&d->now);
    d->folder = folder_new(
        &(struct folder_args){s->args.turn, path, API_TEXT_BYTES_MAX, &documents_ops, d});
    folder_start(d->folder);
    return d;
}

struct documents *documents_free(struct documents *d)
{
    if (d == NULL)
        return NULL;
    folder_free(d->folder);
    documents_end_load(d);
    documents_problems_deinit(&d->now);
    void *file;
    for (size_t i = 0; map_next(&d->files, &i, NULL, &file);)
        documents_file_free(file);
    map_deinit(&d->files);
    map_deinit(&d->by_subject);
    VEC_DEINIT(&d->seen);
    str_buf_deinit(&d->strangers);
    free(d->path);
    free(d);
    return NULL;
}

static const struct documents_problem *problem_of(const struct documents *d, enum api_kind kind,
                                                  struct str namespace_, struct str name,
                                                  struct arena *a)
{
    struct api_document named = {.kind = kind, .namespace = namespace_, .name = name};
    if (d == NULL || d->now.count == 0)
        return NULL;
    return map_get(&d->now.by_subject, api_document_subject(a, &named));
}

struct str documents_problem(const struct documents *d, enum api_kind kind, struct str namespace_,
                             struct str name, struct arena *a)
{
    const struct documents_problem *p = problem_of(d, kind, namespace_, name, a);
    return p == NULL ? STR_NULL
                     : arena_printf(a, "%.*s:%u:%u: %.*s", STR_FMT(p->file), p->line, p->column,
                                    STR_FMT(p->text));
}

enum documents_say documents_may_write(const struct documents *d, const struct store_object *o,
                                       bool is_delete, struct arena *a, struct str *ret_where)
{
    struct store_object stored;
    int err = store_get(d->server->args.store, o->kind, o->namespace_, o->name, a, &stored);
    const struct documents_problem *p = problem_of(d, o->kind, o->namespace_, o->name, a);
    if (err == 0 && str_eq(stored.owner, STR(DOCUMENTS_OWNER))) {
        *ret_where = arena_printf(a, "%.*s:%u", STR_FMT(stored.file), stored.line);
        return DOCUMENTS_FROM;
    }
    if (p != NULL) {
        *ret_where = arena_printf(a, "%.*s:%u", STR_FMT(p->file), p->line);
        return DOCUMENTS_FROM;
    }
    *ret_where = str_from_c(d->path);
    return is_delete ? DOCUMENTS_FREE : DOCUMENTS_FOLDER;
}

/* --- telling --- */

static void write_problems(const struct documents *d, struct json_writer *w)
{
    json_writer_u64(w, "errorCount", d->now.count);
    json_writer_array(w, "errors");
    for (size_t i = 0; i < d->now.list.len && i < DOCUMENTS_SHOWN_MAX; i++) {
        const struct documents_problem *p = &d->now.list.ptr[i];
        json_writer_object(w, NULL);
        json_writer_str(w, "file", p->file);
        json_writer_u64(w, "line", p->line);
        json_writer_u64(w, "column", p->column);
        json_writer_str(w, "document", p->subject);
        json_writer_str(w, "text", p->text);
        json_writer_end(w);
    }
    json_writer_end(w);
}

void documents_write_status(const struct documents *d, struct json_writer *w)
{
    char time[TIME_TEXT_MAX];
    if (d == NULL)
        return;
    struct folder_view view = folder_view(d->folder);
    json_writer_object(w, "documents");
    json_writer_c(w, "folder", d->path);
    json_writer_c(w, "state", view.state);
    json_writer_bool(w, "notified", view.is_told);
    json_writer_u64(w, "files", map_len(&d->files));
    json_writer_u64(w, "documents", d->document_count);
    json_writer_u64(w, "loads", d->loads);
    json_writer_str(w, "loadedAt",
                    d->loaded_ms > 0 ? time_format((int64_t)d->loaded_ms, false, time) : STR_NULL);
    json_writer_u64(w, "revision", d->loaded_revision);
    write_problems(d, w);
    json_writer_u64(w, "othersCount", d->stranger_count);
    json_writer_str(w, "others", str_buf_str(&d->strangers));
    json_writer_end(w);
}

void documents_render_metrics(const struct documents *d, struct str_buf *to)
{
    if (d == NULL)
        return;
    const struct {
        const char *name, *type, *help;
        uint64_t value;
    } rows[] = {
        {"tulle_documents_files", "gauge", "Files of the folder of documents.", map_len(&d->files)},
        {"tulle_documents", "gauge", "Documents in them, good or not.", d->document_count},
        {"tulle_documents_errors", "gauge", "What is wrong in the folder at present.",
         d->now.count},
        {"tulle_documents_others", "gauge", "Documents that run and are not from the folder.",
         d->stranger_count},
        {"tulle_documents_loads_total", "counter", "Times that the folder was loaded.", d->loads},
        {"tulle_documents_load_failures_total", "counter", "Those that could change nothing.",
         d->failures},
        {"tulle_documents_loaded_timestamp_seconds", "gauge", "When it was last loaded.",
         d->loaded_ms / 1000},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        str_buf_printf(to, "# HELP %s %s\n# TYPE %s %s\n%s %llu\n", rows[i].name, rows[i].help,
                       rows[i].name, rows[i].type, rows[i].name, (unsigned long long)rows[i].value);
}
