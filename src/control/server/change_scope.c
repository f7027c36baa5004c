/* Which of the documents that are there a change is checked against. What it can make wrong lies in
 * its own namespaces, in those that its documents speak of, and in those that speak of either; so
 * the work does not grow with the rest. A change of the mesh, or of what holds for every namespace,
 * is checked against all. */
#include "control/api/references.h"
#include "control/server/server_priv.h"

enum { WRITES_MAX = 1000 }; /* more of them are about everything anyway */

struct scope {
    struct change *change;
    struct map places; /* namespaces, and hosts that are in none */
};

static void add_place(void *ctx, struct str place)
{
    struct scope *s = ctx;
    map_put(&s->places, place, s);
}

static void add_user(void *ctx, const struct api_document *d)
{
    add_place(ctx, d->namespace);
}

static bool is_about_all(const struct change *c)
{
    if (c->writes.len > WRITES_MAX)
        return true;
    for (size_t i = 0; i < c->writes.len; i++) {
        struct str namespace_ = c->writes.ptr[i].object.namespace_;
        if (namespace_.len == 0 || str_eq(namespace_, STR(API_ROOT_NAMESPACE)))
            return true;
    }
    return false;
}

/* Their own, and what they speak of now and before. */
static void add_own(struct scope *s)
{
    const struct change *c = s->change;
    for (size_t i = 0; i < c->docs.docs.len; i++)
        api_document_references(c->docs.docs.ptr[i], add_place, s);
    for (size_t i = 0; i < c->writes.len; i++) {
        const struct store_object *o = &c->writes.ptr[i].object;
        const struct api_document *old =
            registry_doc(c->server->args.registry, o->kind, o->namespace_, o->name);
        add_place(s, o->namespace_);
        if (old != NULL)
            api_document_references(old, add_place, s);
    }
}

static void add_users(struct scope *s)
{
    VEC(struct str) places = {0};
    size_t iter = 0;
    struct str place;
    while (map_next(&s->places, &iter, &place, NULL))
        VEC_PUSH(&places, arena_str(&s->change->arena, place));
    for (size_t i = 0; i < places.len; i++)
        registry_users(s->change->server->args.registry, places.ptr[i], add_user, s);
    VEC_DEINIT(&places);
}

static int by_text(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

void change_scope(struct change *c)
{
    struct scope s = {.change = c};
    struct str place;
    size_t iter = 0;
    c->is_about_all = is_about_all(c);
    c->namespaces.len = 0;
    if (c->is_about_all)
        return;
    map_init(&s.places);
    add_own(&s);
    add_users(&s);
    add_place(&s, STR(API_ROOT_NAMESPACE));
    while (map_next(&s.places, &iter, &place, NULL))
        VEC_PUSH(&c->namespaces, arena_str(&c->arena, place));
    qsort(c->namespaces.ptr, c->namespaces.len, sizeof *c->namespaces.ptr, by_text);
    map_deinit(&s.places);
}

void change_each_stored(struct change *c, enum api_kind kind,
                        void (*each)(void *ctx, struct api_document *d), void *ctx)
{
    const struct registry *r = c->server->args.registry;
    bool is_whole = c->is_about_all || kind == API_KIND_MESH || kind == API_KIND_NAMESPACE;
    for (size_t i = 0; i < (is_whole ? 1 : c->namespaces.len); i++) {
        struct registry_docs docs =
            registry_docs(r, kind, is_whole ? STR_NULL : c->namespaces.ptr[i]);
        for (size_t n = 0; n < docs.len; n++)
            each(ctx, docs.ptr[n]);
    }
}
