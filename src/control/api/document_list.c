#include "control/api/document.h"

#include <stdlib.h>

struct api_document *api_document_ref(struct api_document *d)
{
    ASSERT(d->ref_count > 0);
    d->ref_count++;
    return d;
}

struct api_document *api_document_unref(struct api_document *d)
{
    if (d == NULL || --d->ref_count > 0)
        return NULL;
    arena_deinit(&d->arena);
    free(d);
    return NULL;
}

struct str api_document_subject(struct arena *a, const struct api_document *d)
{
    const char *kind = api_kind_info(d->kind)->name;
    if (d->namespace.len == 0)
        return arena_printf(a, "%s/%.*s", kind, STR_FMT(d->name));
    return arena_printf(a, "%s/%.*s/%.*s", kind, STR_FMT(d->namespace), STR_FMT(d->name));
}

void api_document_list_init(struct api_document_list *l)
{
    *l = (struct api_document_list){0};
    arena_init(&l->arena, 1024);
}

void api_document_list_deinit(struct api_document_list *l)
{
    for (size_t i = 0; i < l->docs.len; i++)
        api_document_unref(l->docs.ptr[i]);
    VEC_DEINIT(&l->docs);
    VEC_DEINIT(&l->broken);
    arena_deinit(&l->arena);
}

void api_document_list_add(struct api_document_list *l, struct api_document *d)
{
    VEC_PUSH(&l->docs, api_document_ref(d));
}
