#include "cli/origin.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/map.h"
#include "cli/documents.h"
#include "host/paths.h"
#include "mesh/xds/codec.h"

struct refine {
    struct arena *a;
    const struct api_document_list *given;
    struct api_document_list read; /* from the files that origins name */
    struct map files;              /* already read */
    char folder[PATH_LEN_MAX];     /* the present one; empty: not known */
};

/* --- documents --- */

static const struct api_document *find(const struct refine *r, const struct api_document_list *list,
                                       struct str subject, struct str hash)
{
    for (size_t i = 0; i < list->docs.len; i++) {
        const struct api_document *d = list->docs.ptr[i];
        char text[20];
        if (!str_eq(api_document_subject(r->a, d), subject))
            continue;
        snprintf(text, sizeof text, "%016llx", (unsigned long long)xds_hash(d->json));
        if (str_eq(str_from_c(text), hash))
            return d;
    }
    return NULL;
}

/* A file is looked at once; what is wrong with it now is not what was asked. */
static void read_file(struct refine *r, struct str file)
{
    struct api_findings findings;
    size_t count = 0;
    if (file.len == 0 || file.ptr[0] != '/' || map_get(&r->files, file) != NULL)
        return;
    struct str name = arena_str(r->a, file);
    map_put(&r->files, name, r);
    api_findings_init(&findings);
    documents_read(name.ptr, STR_NULL, &r->read, &findings, &count);
    api_findings_deinit(&findings);
}

static struct str shown_file(const struct refine *r, struct str file)
{
    struct str folder = str_from_c(r->folder);
    if (folder.len > 1 && str_starts_with(file, folder) && file.len > folder.len + 1 &&
        file.ptr[folder.len] == '/')
        return str_skip(file, folder.len + 1);
    return file;
}

static const struct json *origin(struct refine *r, const struct json *o)
{
    struct str subject = json_text_at(o, "document");
    struct str hash = json_text_at(o, "hash");
    struct str path = json_text_at(o, "path");
    struct str file = json_text_at(o, "file");
    struct api_place place = {0, 0};
    uint64_t line = 0;
    json_u64(json_get(o, "line"), &line);
    const struct api_document *d = find(r, r->given, subject, hash);
    if (d == NULL) {
        read_file(r, file);
        d = find(r, &r->read, subject, hash);
    }
    if (d != NULL) {
        line = path.len > 0 && api_document_locate(d, path, &place) ? place.line : d->place.line;
        file = d->file;
    }
    struct json *copy = json_new_object(r->a);
    json_object_add(r->a, copy, STR("document"), json_new_str(r->a, subject));
    json_object_add(r->a, copy, STR("path"), json_new_str(r->a, path));
    json_object_add(r->a, copy, STR("file"), json_new_str(r->a, shown_file(r, file)));
    json_object_add(r->a, copy, STR("line"), json_new_i64(r->a, (int64_t)line));
    json_object_add(r->a, copy, STR("exact"), json_new_bool(r->a, d != NULL));
    return copy;
}

/* --- the tree; its depth is bounded by the parser --- */

static const struct json *copy_tree(struct refine *r, const struct json *v)
{
    if (v->type == JSON_OBJECT) {
        if (json_get(v, "document") != NULL && json_get(v, "hash") != NULL)
            return origin(r, v);
        struct json *object = json_new_object(r->a);
        for (size_t i = 0; i < v->count; i++)
            json_object_add(r->a, object, v->keys[i], copy_tree(r, v->items[i]));
        return object;
    }
    if (v->type != JSON_ARRAY)
        return v;
    struct json *array = json_new_array(r->a);
    for (size_t i = 0; i < v->count; i++)
        json_array_add(r->a, array, copy_tree(r, v->items[i]));
    return array;
}

const struct json *origin_refine(struct arena *a, const struct json *answer,
                                 const struct api_document_list *list)
{
    struct refine r = {.a = a, .given = list};
    if (getcwd(r.folder, sizeof r.folder) == NULL)
        r.folder[0] = '\0';
    map_init(&r.files);
    api_document_list_init(&r.read);
    const struct json *copy = copy_tree(&r, answer);
    api_document_list_deinit(&r.read);
    map_deinit(&r.files);
    return copy;
}

struct str origin_place(struct arena *a, const struct json *o)
{
    struct str file = json_text_at(o, "file");
    uint64_t line = 0;
    bool is_exact = false;
    if (file.len == 0)
        return json_text_at(o, "document");
    json_u64(json_get(o, "line"), &line);
    json_bool(json_get(o, "exact"), &is_exact);
    return arena_printf(a, "%.*s:%llu%s", STR_FMT(file), (unsigned long long)line,
                        is_exact ? "" : " (changed since)");
}
