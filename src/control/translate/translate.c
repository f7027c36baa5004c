/* The engine: runs output functions, records what they read, keeps what they made. */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "control/translate/translate_priv.h"

enum {
    SCRATCH_BLOCK_BYTES = 16 * 1024,
    OUTPUT_BYTES_MAX = 16 * 1024 * 1024,
    ERROR_BYTES_MAX = 4096,
    MISSING_MAX = 16 * 1024, /* names that stand for nothing and are remembered all the same */
};

/* An output that was made at least once. */
struct entry {
    enum resource_type type;
    struct str name, view, key;      /* own memory */
    struct translate_output *output; /* NULL: does not exist */
    struct str namespace_, workload; /* who asked first; own memory */
    enum xds_dialect dialect;
    bool is_stale;
    bool is_told;     /* as dirty, and not refreshed since */
    bool has_changed; /* since it was told */
    VEC(struct fact *) facts;
};

/* A fact with those who read it. */
struct fact {
    struct str text; /* own memory */
    VEC(struct entry *) readers;
};

struct translate {
    struct registry *registry;
    struct map entries; /* type/view/name -> struct entry */
    struct map facts;   /* text -> struct fact */
    uint64_t runs;
    size_t missing_count; /* entries without output */
};

static struct str own(struct str s)
{
    return str_from(str_dup_c(s), s.len);
}

static void disown(struct str s)
{
    free((void *)(uintptr_t)s.ptr);
}

/* --- outputs --- */

struct translate_output *translate_output_ref(struct translate_output *o)
{
    atomic_fetch_add_explicit(&o->ref_count, 1, memory_order_relaxed);
    return o;
}

struct translate_output *translate_output_unref(struct translate_output *o)
{
    if (o == NULL || atomic_fetch_sub_explicit(&o->ref_count, 1, memory_order_acq_rel) > 1)
        return NULL;
    if (o->is_secret)
        explicit_bzero((void *)(uintptr_t)o->wire.ptr, o->wire.len);
    arena_deinit(&o->arena);
    free(o);
    return NULL;
}

/* --- facts --- */

static void forget_facts(struct translate *t, struct entry *e)
{
    for (size_t i = 0; i < e->facts.len; i++) {
        struct fact *f = e->facts.ptr[i];
        for (size_t n = 0; n < f->readers.len; n++) {
            if (f->readers.ptr[n] == e) {
                VEC_REMOVE_SWAP(&f->readers, n);
                break;
            }
        }
        if (f->readers.len > 0)
            continue;
        map_remove(&t->facts, f->text);
        VEC_DEINIT(&f->readers);
        disown(f->text);
        free(f);
    }
    e->facts.len = 0;
}

static void record_fact(struct translate *t, struct entry *e, struct str text)
{
    struct fact *f = map_get(&t->facts, text);
    if (f == NULL) {
        f = NEW(struct fact);
        f->text = own(text);
        map_put(&t->facts, f->text, f);
    }
    VEC_PUSH(&f->readers, e);
    VEC_PUSH(&e->facts, f);
}

void job_note(struct job *j, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    ASSERT(len > 0 && (size_t)len < sizeof text);
    struct str fact = str_from(text, (size_t)len);
    for (size_t i = 0; i < j->facts.len; i++) {
        if (str_eq(j->facts.ptr[i], fact))
            return;
    }
    VEC_PUSH(&j->facts, arena_str(j->a, fact));
}

void translate_changed(struct translate *t, struct str text, translate_dirty_fn *dirty, void *ctx)
{
    const struct fact *f = map_get(&t->facts, text);
    VEC(struct entry *) dirtied = {0};
    if (f == NULL)
        return;
    for (size_t i = 0; i < f->readers.len; i++) {
        if (f->readers.ptr[i]->is_stale)
            continue;
        f->readers.ptr[i]->is_stale = true;
        f->readers.ptr[i]->has_changed &= f->readers.ptr[i]->is_told;
        f->readers.ptr[i]->is_told = true;
        VEC_PUSH(&dirtied, f->readers.ptr[i]);
    }
    /* Whoever is told may ask at once, and that changes the fact's readers. */
    for (size_t i = 0; i < dirtied.len; i++)
        dirty(ctx, dirtied.ptr[i]->type, dirtied.ptr[i]->name, dirtied.ptr[i]->view);
    VEC_DEINIT(&dirtied);
}

/* --- running --- */

static const void *run_function(struct job *j, enum resource_type type, struct str name)
{
    switch (type) {
    case RESOURCE_DIRECTORY:
        return output_directory(j, name);
    case RESOURCE_LISTENER:
        if (str_eq(name, STR(TRANSLATE_INBOUND)))
            return output_inbound(j);
        return str_eq(name, STR(TRANSLATE_OUTBOUND)) ? output_outbound(j)
                                                     : output_service_listener(j, name);
    case RESOURCE_ROUTE:
        return output_route(j, name);
    case RESOURCE_CLUSTER:
        return output_cluster(j, name);
    case RESOURCE_ENDPOINTS:
        return output_endpoints(j, name);
    case RESOURCE_SECRET: /* that one only: a leaf is made by the proxy, from the CA's answer */
        return output_roots(j);
    case RESOURCE_TYPE_COUNT:
        return NULL;
    }
    return NULL;
}

static struct translate_output *encode(struct job *j, enum resource_type type, struct str name,
                                       const void *body)
{
    struct str_buf wire = STR_BUF_INIT(OUTPUT_BYTES_MAX);
    int err = xds_encode(type, name, body, j->viewer->dialect, &wire);
    if (err != 0 && j->error->len == 0)
        str_buf_printf(j->error, "cannot be encoded: %s", err_text(err));
    struct translate_output *o = NEW(struct translate_output);
    atomic_init(&o->ref_count, 1);
    o->type = type;
    arena_init(&o->arena, wire.len + name.len + 64);
    o->name = arena_str(&o->arena, name);
    o->error = arena_str(&o->arena, str_buf_str(j->error));
    if (err == 0) {
        o->wire = arena_str(&o->arena, str_buf_str(&wire));
        o->version =
            arena_printf(&o->arena, "%016llx", (unsigned long long)xds_hash(str_buf_str(&wire)));
    }
    str_buf_deinit(&wire);
    return o;
}

static void set_output(struct translate *t, struct entry *e, struct translate_output *o)
{
    t->missing_count -= e->output == NULL;
    t->missing_count += o == NULL;
    translate_output_unref(e->output);
    e->output = o;
}

static void run(struct translate *t, struct entry *e, const struct translate_viewer *v)
{
    struct arena scratch;
    arena_init(&scratch, SCRATCH_BLOCK_BYTES);
    struct str_buf error = STR_BUF_INIT(ERROR_BYTES_MAX);
    struct job j = {.t = t, .r = t->registry, .viewer = v, .a = &scratch, .error = &error};
    const void *body = run_function(&j, e->type, e->name);
    struct translate_output *o = body != NULL ? encode(&j, e->type, e->name, body) : NULL;
    t->runs++;
    /* Equal bytes stay the same object, so that nobody sends them again. */
    if (o != NULL && e->output != NULL && str_eq(o->version, e->output->version) &&
        str_eq(o->error, e->output->error)) {
        translate_output_unref(o);
    } else {
        e->has_changed |= o != e->output;
        set_output(t, e, o);
    }
    forget_facts(t, e);
    for (size_t i = 0; i < j.facts.len; i++)
        record_fact(t, e, j.facts.ptr[i]);
    e->is_stale = false;
    VEC_DEINIT(&j.facts);
    str_buf_deinit(&error);
    arena_deinit(&scratch);
}

static struct entry *entry_new(struct translate *t, const struct translate_viewer *v,
                               enum resource_type type, struct str name, struct str view,
                               struct str key)
{
    struct entry *e = NEW(struct entry);
    e->type = type;
    e->name = own(name);
    e->view = own(view);
    e->key = own(key);
    e->namespace_ = own(v->namespace_);
    e->workload = own(v->workload);
    e->dialect = v->dialect;
    e->is_stale = true;
    map_put(&t->entries, e->key, e);
    t->missing_count++;
    return e;
}

static void entry_free(struct translate *t, struct entry *e)
{
    forget_facts(t, e);
    translate_output_unref(e->output);
    VEC_DEINIT(&e->facts);
    disown(e->name);
    disown(e->view);
    disown(e->key);
    disown(e->namespace_);
    disown(e->workload);
    free(e);
}

static struct str entry_key(struct arena *a, enum resource_type type, struct str view,
                            struct str name)
{
    return arena_printf(a, "%d/%.*s/%.*s", (int)type, STR_FMT(view), STR_FMT(name));
}

bool translate_refresh(struct translate *t, enum resource_type type, struct str name,
                       struct str view)
{
    struct arena a;
    arena_init(&a, 1024);
    struct entry *e = map_get(&t->entries, entry_key(&a, type, view, name));
    bool has_changed = true;
    if (e != NULL) {
        struct translate_viewer v = {e->dialect, e->namespace_, e->workload};
        if (str_eq(translate_view_key(t, &v, type, name, &a), view)) {
            if (e->is_stale)
                run(t, e, &v);
            has_changed = e->has_changed;
        }
        e->is_told = e->has_changed = false;
    }
    arena_deinit(&a);
    return has_changed;
}

struct translate_output *translate_get(struct translate *t, const struct translate_viewer *v,
                                       enum resource_type type, struct str name)
{
    struct arena a;
    if (!name_is_possible(type, name))
        return NULL;
    arena_init(&a, 1024);
    struct str view = translate_view_key(t, v, type, name, &a);
    struct str key = entry_key(&a, type, view, name);
    struct entry *e = map_get(&t->entries, key);
    bool is_new = e == NULL;
    if (is_new)
        e = entry_new(t, v, type, name, view, key);
    if (e->is_stale)
        run(t, e, v);
    struct translate_output *o = e->output != NULL ? translate_output_ref(e->output) : NULL;
    /* What exists is bounded by the documents; what does not, by this: proxies choose the names. */
    if (o == NULL && is_new && t->missing_count > MISSING_MAX) {
        t->missing_count--;
        map_remove(&t->entries, e->key);
        entry_free(t, e);
    }
    arena_deinit(&a);
    return o;
}

/* --- telling --- */

static struct str mesh_origin(const struct registry *r, struct arena *a)
{
    struct registry_docs docs = registry_docs(r, API_KIND_MESH, STR_NULL);
    if (docs.len == 0 || registry_mesh(r)->mtls_mode == API_MTLS_UNSET)
        return STR_NULL;
    return arena_printf(a, "%.*s#mtls", STR_FMT(api_document_subject(a, docs.ptr[0])));
}

enum api_mtls_mode translate_mtls(struct translate *t, const struct api_document *workload,
                                  uint16_t port, struct arena *a, struct str *ret_origin)
{
    struct translate_viewer viewer = {XDS_DIALECT_TULLE, workload->namespace, workload->name};
    struct job j = {.t = t, .r = t->registry, .viewer = &viewer, .a = a};
    struct mtls_source source = {NULL, 0};
    enum api_mtls_mode mode = mtls_mode_from(&j, workload, port, &source);
    VEC_DEINIT(&j.facts);
    if (source.doc == NULL)
        *ret_origin = mesh_origin(t->registry, a);
    else if (source.port == 0)
        *ret_origin = arena_printf(a, "%.*s#mtls", STR_FMT(api_document_subject(a, source.doc)));
    else
        *ret_origin =
            arena_printf(a, "%.*s#portLevelMtls.%u", STR_FMT(api_document_subject(a, source.doc)),
                         (unsigned)source.port);
    return mode;
}

uint64_t translate_runs(const struct translate *t)
{
    return t->runs;
}

/* --- views --- */

struct str translate_view_key(const struct translate *t, const struct translate_viewer *v,
                              enum resource_type type, struct str name, struct arena *a)
{
    switch (view_scope(t->registry, type, name)) {
    case VIEW_ALL:
        break;
    case VIEW_NAMESPACE:
        return arena_printf(a, "%d:%.*s", (int)v->dialect, STR_FMT(v->namespace_));
    case VIEW_WORKLOAD:
        return arena_printf(a, "%d:%.*s:%.*s", (int)v->dialect, STR_FMT(v->namespace_),
                            STR_FMT(v->workload));
    }
    return arena_printf(a, "%d", (int)v->dialect);
}

/* --- wildcards --- */

struct names_ctx {
    void (*each)(void *ctx, struct str name);
    void *ctx;
};

static void on_namespace(void *ctx, struct str namespace_)
{
    struct names_ctx *n = ctx;
    n->each(n->ctx, namespace_);
}

/* All that its inbound listener may refer to, whatever policies say. */
static void inbound_cluster_names(struct translate *t, const struct translate_viewer *v,
                                  struct names_ctx *n)
{
    const struct api_document *d =
        registry_doc(t->registry, API_KIND_WORKLOAD, v->namespace_, v->workload);
    struct arena a;
    arena_init(&a, 512);
    n->each(n->ctx, name_inbound(&a, 0, API_PROTOCOL_AUTO));
    n->each(n->ctx, name_inbound(&a, 0, API_PROTOCOL_TCP));
    for (size_t i = 0; d != NULL && i < d->spec.workload->port_count; i++) {
        const struct api_workload_port *p = &d->spec.workload->ports[i];
        if (p->protocol != API_PROTOCOL_TCP && p->protocol != API_PROTOCOL_TLS)
            n->each(n->ctx, name_inbound(&a, p->port, p->protocol));
        n->each(n->ctx, name_inbound(&a, p->port, API_PROTOCOL_TCP));
    }
    arena_deinit(&a);
}

void translate_names(struct translate *t, const struct translate_viewer *v, enum resource_type type,
                     void (*each)(void *ctx, struct str name), void *ctx)
{
    struct names_ctx n = {each, ctx};
    if (v->dialect == XDS_DIALECT_GRPC)
        return; /* it asks for all by name */
    switch (type) {
    case RESOURCE_DIRECTORY:
        registry_namespaces(t->registry, on_namespace, &n);
        return;
    case RESOURCE_LISTENER:
        each(ctx, STR(TRANSLATE_INBOUND));
        if (v->dialect != XDS_DIALECT_TULLE)
            scope_listeners(t->registry, each, ctx);
        return;
    case RESOURCE_CLUSTER:
        inbound_cluster_names(t, v, &n);
        if (v->dialect != XDS_DIALECT_TULLE)
            scope_clusters(t->registry, v, each, ctx);
        return;
    case RESOURCE_ROUTE:
    case RESOURCE_ENDPOINTS:
    case RESOURCE_SECRET:
    case RESOURCE_TYPE_COUNT:
        return;
    }
}

/* --- life --- */

struct translate *translate_new(struct registry *r)
{
    struct translate *t = NEW(struct translate);
    t->registry = r;
    map_init(&t->entries);
    map_init(&t->facts);
    return t;
}

struct translate *translate_free(struct translate *t)
{
    if (t == NULL)
        return NULL;
    size_t iter = 0;
    void *value;
    while (map_next(&t->entries, &iter, NULL, &value)) {
        entry_free(t, value);
    }
    map_deinit(&t->entries);
    map_deinit(&t->facts);
    free(t);
    return NULL;
}
