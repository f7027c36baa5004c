/* A change that brings documents back to what they were after an earlier revision. */
#include "base/map.h"
#include "control/server/server_priv.h"

struct rollback {
    struct change *change;
    const struct rollback_target *target;
    struct map kept; /* of what was there then, by key: not to be deleted */
};

static bool is_target(const struct rollback *r, const struct store_object *o)
{
    const struct rollback_target *t = r->target;
    return (t->kind == NULL || t->kind->kind == o->kind) &&
           (t->namespace_.len == 0 || str_eq(t->namespace_, o->namespace_)) &&
           (t->name.len == 0 || str_eq(t->name, o->name));
}

static struct str key_of(struct arena *a, const struct store_object *o)
{
    return arena_printf(a, "%d/%.*s/%.*s", (int)o->kind, STR_FMT(o->namespace_), STR_FMT(o->name));
}

static void on_then(void *ctx, const struct store_object *o)
{
    struct rollback *r = ctx;
    struct change *c = r->change;
    struct store_object now;
    if (!is_target(r, o))
        return;
    map_put(&r->kept, key_of(&c->arena, o), r);
    bool is_there =
        store_get(c->server->args.store, o->kind, o->namespace_, o->name, &c->arena, &now) == 0;
    if (is_there && str_eq(now.json, o->json))
        return;
    size_t before = c->writes.len;
    change_parse(c, o->file, o->line, o->json, o->namespace_);
    /* Where it stood in its file then, and whose it was. */
    for (size_t i = before; i < c->writes.len; i++) {
        c->writes.ptr[i].object.line = o->line;
        c->writes.ptr[i].object.owner = arena_str(&c->arena, o->owner);
    }
}

static void on_now(void *ctx, const struct store_object *o)
{
    struct rollback *r = ctx;
    struct arena *a = &r->change->arena;
    if (is_target(r, o) && map_get(&r->kept, key_of(a, o)) == NULL)
        change_delete(r->change, o);
}

int change_back_to(struct change *c, uint64_t revision, const struct rollback_target *target)
{
    struct store *store = c->server->args.store;
    struct rollback r = {.change = c, .target = target};
    map_init(&r.kept);
    int err = store_list_at(store, revision, on_then, &r);
    for (int kind = 0; err == 0 && kind < API_KIND_COUNT; kind++)
        err = store_list(store, (enum api_kind)kind, STR_NULL, on_now, &r);
    map_deinit(&r.kept);
    return err;
}
