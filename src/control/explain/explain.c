#include "control/explain/explain_priv.h"

#include "control/api/document.h"

enum { WHY_BYTES_MAX = 4096 };

/* --- what proxies have --- */

const void *explain_get(struct explain *e, const struct api_document *viewer,
                        enum resource_type type, struct str name)
{
    struct translate_viewer v = {XDS_DIALECT_TULLE, viewer->namespace, viewer->name};
    struct translate_output *o = translate_get(e->args->translate, &v, type, name);
    struct str_buf why = STR_BUF_INIT(WHY_BYTES_MAX);
    struct resource *r = NULL;
    if (o != NULL && o->wire.len > 0 && xds_decode(type, o->wire, &why, &r) == 0)
        VEC_PUSH(&e->resources, r);
    str_buf_deinit(&why);
    translate_output_unref(o);
    return r != NULL ? r->body : NULL;
}

/* --- where documents stand --- */

static void place(const struct explain *e, enum api_kind kind, struct str namespace_,
                  struct str name, struct explain_origin *o)
{
    struct store_object stored;
    if (store_get(e->args->store, kind, namespace_, name, e->a, &stored) != 0)
        return;
    o->file = stored.file;
    o->line = stored.line;
    o->hash = arena_printf(e->a, "%016llx", (unsigned long long)xds_hash(stored.json));
}

struct explain_origin explain_origin(const struct explain *e, struct str text)
{
    struct explain_origin o = {.document = text};
    ptrdiff_t hash = str_find(text, '#');
    if (hash >= 0) {
        o.document = str_sub(text, 0, (size_t)hash);
        o.path = arena_printf(e->a, "spec.%.*s", STR_FMT(str_skip(text, (size_t)hash + 1)));
    }
    struct str rest = o.document;
    const struct api_kind_info *kind = api_kind_parse(str_split(&rest, '/'));
    if (kind == NULL || rest.ptr == NULL)
        return o;
    struct str namespace_ = kind->is_namespaced ? str_split(&rest, '/') : STR_NULL;
    place(e, kind->kind, namespace_, rest, &o);
    return o;
}

struct explain_origin explain_origin_of(const struct explain *e, const struct api_document *d)
{
    return explain_origin(e, api_document_subject(e->a, d));
}

/* --- all of it --- */

static void deinit(struct explain *e)
{
    for (size_t i = 0; i < e->destinations.len; i++) {
        struct explain_destination *d = &e->destinations.ptr[i];
        for (size_t n = 0; n < d->arrivals.len; n++) {
            VEC_DEINIT(&d->arrivals.ptr[n].policies);
            VEC_DEINIT(&d->arrivals.ptr[n].endpoints);
        }
        VEC_DEINIT(&d->arrivals);
    }
    VEC_DEINIT(&e->destinations);
    VEC_DEINIT(&e->skipped);
    for (size_t i = 0; i < e->resources.len; i++)
        resource_unref(e->resources.ptr[i]);
    VEC_DEINIT(&e->resources);
}

int explain(const struct explain_args *args, struct json_writer *w, struct str_buf *why)
{
    struct arena a;
    arena_init(&a, 16 * 1024);
    struct explain e = {.args = args, .a = &a, .why = why};
    int err = explain_ask(&e);
    if (err == 0) {
        if (explain_route(&e)) {
            for (size_t i = 0; i < e.destinations.len; i++)
                explain_arrive(&e, &e.destinations.ptr[i]);
            explain_judge(&e);
        }
        explain_write(&e, w);
    }
    deinit(&e);
    arena_deinit(&a);
    return err;
}
