/* A change set takes effect within one turn, in the order of dependencies: what is referred to
 * comes first when it is added and last when it goes. */
#include <stdlib.h>

#include "proxy/worker/worker_priv.h"

static const enum resource_type additions[] = {
    RESOURCE_SECRET, RESOURCE_ENDPOINTS, RESOURCE_CLUSTER,
    RESOURCE_ROUTE,  RESOURCE_DIRECTORY, RESOURCE_LISTENER,
};
static const enum resource_type removals[] = {
    RESOURCE_LISTENER, RESOURCE_DIRECTORY, RESOURCE_ROUTE,
    RESOURCE_CLUSTER,  RESOURCE_ENDPOINTS, RESOURCE_SECRET,
};

/* --- building a set (main thread) --- */

struct change_set *change_set_new(void)
{
    struct change_set *s = NEW(struct change_set);
    arena_init(&s->arena, 4096);
    s->mail.handle = apply_mail;
    return s;
}

void change_set_add(struct change_set *s, enum resource_type type, struct str name,
                    struct resource *r)
{
    /* Grows by doubling at powers of two. */
    if ((s->count & (s->count - 1)) == 0)
        s->changes =
            mem_realloc(s->changes, sizeof(struct change) * (s->count == 0 ? 1 : s->count * 2));
    s->changes[s->count++] = (struct change){
        .type = type,
        .name = arena_str(&s->arena, name),
        .resource = r != NULL ? resource_hold(r) : NULL,
    };
}

struct change_set *change_set_free(struct change_set *s)
{
    if (s == NULL)
        return NULL;
    for (size_t i = 0; i < s->count; i++) {
        resource_unref(s->changes[i].resource);
        resource_unref(s->changes[i].running);
    }
    free(s->changes);
    arena_deinit(&s->arena);
    free(s);
    return NULL;
}

/* --- applying it (worker) --- */

static void note_error(struct change_set *s, const struct change *c, struct str why)
{
    /* All workers refuse the same, but for ports, which are worker 0's: it counts. */
    if (s->worker->args.index == 0)
        metrics_add(s->worker->metrics, COUNTER_CONFIG_REJECTED, 1);
    s->error = arena_printf(&s->arena, "%.*s%s%s %.*s: %.*s", STR_FMT(s->error),
                            s->error.len > 0 ? "; " : "", resource_type_name(c->type),
                            STR_FMT(c->name), STR_FMT(why));
}

static void apply_listener(struct worker *w, struct change_set *s, struct change *c)
{
    struct str_buf why = STR_BUF_INIT(1024);
    if (flow_set_listener(w->flow, c->name, c->resource, &why) != 0) {
        note_error(s, c, str_buf_str(&why));
        c->is_refused = true;
        c->running = flow_listener_resource(w->flow, c->name);
    }
    str_buf_deinit(&why);
}

static void apply_one(struct worker *w, struct change_set *s, struct change *c)
{
    switch (c->type) {
    case RESOURCE_SECRET:
        tls_store_set_secret(w->tls, c->name, c->resource);
        break;
    case RESOURCE_ENDPOINTS:
        upstream_set_endpoints(w->upstream, c->name, c->resource);
        break;
    case RESOURCE_CLUSTER:
        upstream_set_cluster(w->upstream, c->name, c->resource);
        break;
    case RESOURCE_ROUTE:
        flow_set_route(w->flow, c->name, c->resource);
        break;
    case RESOURCE_DIRECTORY:
        flow_set_directory(w->flow, c->name, c->resource);
        break;
    case RESOURCE_LISTENER:
        apply_listener(w, s, c);
        break;
    case RESOURCE_TYPE_COUNT:
        break;
    }
}

static void apply_type(struct worker *w, struct change_set *s, enum resource_type type,
                       bool is_removal)
{
    for (size_t i = 0; i < s->count; i++) {
        if (s->changes[i].type == type && (s->changes[i].resource == NULL) == is_removal)
            apply_one(w, s, &s->changes[i]);
    }
}

static bool has_secrets(const struct change_set *s)
{
    for (size_t i = 0; i < s->count; i++) {
        if (s->changes[i].type == RESOURCE_SECRET)
            return true;
    }
    return false;
}

static void applied_mail(struct turn *turn, struct mail *mail)
{
    (void)turn;
    struct change_set *s = CONTAINER_OF(mail, struct change_set, mail);
    s->on_applied(s, s->worker);
}

void apply_mail(struct turn *turn, struct mail *mail)
{
    (void)turn;
    struct change_set *s = CONTAINER_OF(mail, struct change_set, mail);
    struct worker *w = s->worker;
    for (size_t i = 0; i < ARRAY_LEN(additions); i++)
        apply_type(w, s, additions[i], false);
    for (size_t i = 0; i < ARRAY_LEN(removals); i++)
        apply_type(w, s, removals[i], true);
    if (has_secrets(s))
        upstream_identity_changed(w->upstream);
    if (w->args.index == 0)
        metrics_add(w->metrics, COUNTER_CONFIG_UPDATES, 1);
    s->mail.handle = applied_mail;
    mailbox_post(w->args.main, &s->mail);
}

void worker_post_changes(struct worker *w, struct change_set *s)
{
    s->worker = w;
    mailbox_post(w->turn, &s->mail);
}
