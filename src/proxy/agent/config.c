#include "proxy/agent/config.h"

#include <stdlib.h>

#include "base/list.h"
#include "base/map.h"
#include "base/vec.h"

enum {
    WANT_OFFLINE_US = 2 * 1000 * 1000,
    WANT_ANSWER_US = 15 * 1000 * 1000,
};

struct entry {
    struct list link; /* in unsettled, when what was received is not what runs */
    enum resource_type type;
    struct str name;           /* own memory */
    struct resource *received; /* the latest, referenced */
    struct resource *running;  /* published last, referenced */
    bool is_local;
    bool is_named;    /* subscribed to by name */
    bool is_detail;   /* a root: wanted by a client of this workload */
    bool is_wildcard; /* a root: came by itself */
    bool is_absent;   /* the control plane says that it does not exist */
    bool is_applied;  /* some version of it runs on every worker, whatever is on its way */
    bool is_marked;   /* reachable from a root; of the pass that runs */
};

/* An update of the control plane that was not answered yet. */
struct update {
    struct list link;
    uint64_t token;
    struct resource **items; /* referenced */
    size_t count;
    struct str_buf why;
};

struct want {
    struct str name; /* own memory */
    uint64_t since_us;
};

struct config {
    struct config_args args;
    struct map entries[RESOURCE_TYPE_COUNT];    /* name -> struct entry */
    struct list unsettled[RESOURCE_TYPE_COUNT]; /* struct entry */
    struct list updates;
    struct map wants;                 /* name -> struct want */
    VEC(struct config_change) flight; /* resources referenced */
    bool is_in_flight;
    uint64_t generation;
    uint64_t looks;
    bool was_heard[RESOURCE_TYPE_COUNT]; /* an update of it has come */
    bool has_begun;                      /* listeners may run */
    bool has_garbage; /* perhaps: something lost a reference, or is no root any more */
};

/* The four resources of a destination have its name. */
static const enum resource_type detail_types[] = {
    RESOURCE_LISTENER,
    RESOURCE_ROUTE,
    RESOURCE_CLUSTER,
    RESOURCE_ENDPOINTS,
};

static const struct resource_source aggregated;

/* --- entries --- */

static struct entry *find(const struct config *c, enum resource_type type, struct str name)
{
    return map_get(&c->entries[type], name);
}

static struct entry *find_or_add(struct config *c, enum resource_type type, struct str name)
{
    struct entry *e = find(c, type, name);
    if (e != NULL)
        return e;
    e = NEW(struct entry);
    list_init(&e->link);
    e->type = type;
    e->name = str_from(str_dup_c(name), name.len);
    map_put(&c->entries[type], e->name, e);
    return e;
}

static void entry_free(struct entry *e)
{
    list_remove(&e->link);
    resource_unref(e->received);
    resource_unref(e->running);
    free((void *)(uintptr_t)e->name.ptr);
    free(e);
}

static void note_settled(struct config *c, struct entry *e)
{
    list_remove(&e->link);
    if (e->received != e->running)
        list_push_back(&c->unsettled[e->type], &e->link);
}

static void set_received(struct config *c, struct entry *e, struct resource *r)
{
    struct resource *old = e->received;
    e->received = r != NULL ? resource_hold(r) : NULL;
    c->has_garbage |= old != NULL || r == NULL;
    note_settled(c, e);
    resource_unref(old);
}

struct config *config_new(const struct config_args *args)
{
    struct config *c = NEW(struct config);
    c->args = *args;
    for (unsigned t = 0; t < RESOURCE_TYPE_COUNT; t++) {
        map_init(&c->entries[t]);
        list_init(&c->unsettled[t]);
    }
    list_init(&c->updates);
    map_init(&c->wants);
    c->has_begun = !args->is_held_at_first;
    return c;
}

static void update_free(struct update *u)
{
    list_remove(&u->link);
    for (size_t i = 0; i < u->count; i++)
        resource_unref(u->items[i]);
    free(u->items);
    str_buf_deinit(&u->why);
    free(u);
}

static void want_free(struct want *w)
{
    free((void *)(uintptr_t)w->name.ptr);
    free(w);
}

static void drop_flight(struct config *c)
{
    for (size_t i = 0; i < c->flight.len; i++)
        resource_unref(c->flight.ptr[i].resource);
    c->flight.len = 0;
    c->is_in_flight = false;
}

struct config *config_free(struct config *c)
{
    if (c == NULL)
        return NULL;
    void *value;
    LIST_FOREACH (&c->updates, u, struct update, link)
        update_free(u);
    for (size_t iter = 0; map_next(&c->wants, &iter, NULL, &value);)
        want_free(value);
    map_deinit(&c->wants);
    drop_flight(c);
    VEC_DEINIT(&c->flight);
    for (unsigned t = 0; t < RESOURCE_TYPE_COUNT; t++) {
        for (size_t iter = 0; map_next(&c->entries[t], &iter, NULL, &value);)
            entry_free(value);
        map_deinit(&c->entries[t]);
    }
    free(c);
    return NULL;
}

/* --- subscriptions --- */

static void subscribe(struct config *c, struct entry *e, const struct resource_source *from)
{
    if (e->is_named || e->is_local)
        return;
    e->is_named = true;
    e->is_absent = false;
    c->args.ops->subscribe(c->args.ctx, e->type, e->name, from);
}

static void unsubscribe(struct config *c, struct entry *e)
{
    if (!e->is_named)
        return;
    e->is_named = false;
    c->args.ops->unsubscribe(c->args.ctx, e->type, e->name);
}

static bool is_by_name(const struct config *c, enum resource_type type, struct str name)
{
    switch (c->args.supply[type]) {
    case CONFIG_BY_NAME:
        return true;
    case CONFIG_MIXED:
        return !str_starts_with(name, STR(CONFIG_INBOUND_PREFIX));
    case CONFIG_BY_WILDCARD:
    case CONFIG_LOCAL:
        return false;
    }
    return false;
}

static void subscribe_refs(struct config *c, const struct resource *r)
{
    for (size_t i = 0; i < r->ref_count_out; i++) {
        const struct resource_ref *ref = &r->refs[i];
        if (is_by_name(c, ref->type, ref->name))
            subscribe(c, find_or_add(c, ref->type, ref->name), &ref->source);
    }
}

/* --- receiving --- */

static void receive(struct config *c, struct entry *e, struct resource *r)
{
    e->is_absent = false;
    set_received(c, e, r);
    if (!e->is_named && !e->is_local)
        e->is_wildcard = true;
    subscribe_refs(c, r);
}

static void fail_want(struct config *c, struct str name, struct str why)
{
    struct want *w = map_remove(&c->wants, name);
    if (w == NULL)
        return;
    c->args.ops->detail_failed(c->args.ctx, w->name, why);
    want_free(w);
}

/* A destination that does not exist any more, or never did, is forgotten: asked for again it is
 * subscribed to anew. */
static void forget_detail(struct config *c, struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(detail_types); i++) {
        struct entry *e = find(c, detail_types[i], name);
        if (e != NULL)
            e->is_detail = false;
    }
    c->has_garbage = true;
    fail_want(c, name, STR("the control plane knows no such service and port"));
}

static void receive_removal(struct config *c, enum resource_type type, struct str name)
{
    struct entry *e = find(c, type, name);
    if (e == NULL || e->is_local)
        return;
    set_received(c, e, NULL);
    e->is_absent = true;
    e->is_wildcard = false;
    if (type == RESOURCE_LISTENER && e->is_detail)
        forget_detail(c, e->name);
}

void config_set_local(struct config *c, enum resource_type type, struct str name,
                      struct resource *r)
{
    struct entry *e = find_or_add(c, type, name);
    e->is_local = r != NULL;
    if (r != NULL)
        receive(c, e, r);
    else
        set_received(c, e, NULL);
}

void config_update(struct config *c, const struct ads_update *update)
{
    struct update *u = NEW(struct update);
    u->token = update->token;
    u->items = mem_zalloc(sizeof(struct resource *) * (update->changed_count + 1));
    u->why = STR_BUF_INIT(4096);
    list_push_back(&c->updates, &u->link);
    c->was_heard[update->type] = true;
    for (size_t i = 0; i < update->changed_count; i++) {
        struct resource *r = update->changed[i];
        struct entry *e = find_or_add(c, r->type, r->name);
        if (e->is_local) {
            str_buf_printf(&u->why, "%.*s: this name is the proxy's own; ", STR_FMT(r->name));
            continue;
        }
        u->items[u->count++] = resource_hold(r);
        receive(c, e, r);
    }
    for (size_t i = 0; i < update->removed_count; i++)
        receive_removal(c, update->type, update->removed[i]);
}

void config_restore(struct config *c, struct resource *r, bool is_detail, bool is_wildcard)
{
    struct entry *e = find_or_add(c, r->type, r->name);
    if (e->is_local)
        return;
    e->is_detail = is_detail;
    if (!is_wildcard)
        subscribe(c, e, &aggregated);
    receive(c, e, r);
}

/* --- wants --- */

void config_want(struct config *c, struct str name, uint64_t now_us)
{
    if (config_is_running(c, RESOURCE_LISTENER, name) || map_get(&c->wants, name) != NULL)
        return; /* it is on its way to the worker */
    struct want *w = NEW(struct want);
    w->name = str_from(str_dup_c(name), name.len);
    w->since_us = now_us;
    map_put(&c->wants, w->name, w);
    for (size_t i = 0; i < ARRAY_LEN(detail_types); i++) {
        struct entry *e = find_or_add(c, detail_types[i], name);
        e->is_detail = true;
        subscribe(c, e, &aggregated);
    }
}

bool config_has_wants(const struct config *c)
{
    return map_len(&c->wants) > 0;
}

void config_expire_wants(struct config *c, uint64_t now_us, bool is_connected)
{
    void *value;
    for (size_t iter = 0; map_next(&c->wants, &iter, NULL, &value);) {
        const struct want *w = value;
        uint64_t waited_us = now_us - w->since_us;
        if (!is_connected && waited_us >= WANT_OFFLINE_US)
            fail_want(c, w->name,
                      STR("the control plane is not reachable and this destination was never "
                          "used"));
        else if (waited_us >= WANT_ANSWER_US)
            fail_want(c, w->name, STR("the control plane has not answered in time"));
    }
}

static void meet_wants(struct config *c)
{
    void *value;
    for (size_t iter = 0; map_next(&c->wants, &iter, NULL, &value);) {
        struct want *w = value;
        if (!config_is_running(c, RESOURCE_LISTENER, w->name))
            continue;
        map_remove(&c->wants, w->name);
        want_free(w);
    }
}

/* --- what may run --- */

/* Whether the type's names are complete without asking: then one that is missing is no reason to
 * wait. */
static bool is_complete(const struct config *c, enum resource_type type)
{
    return c->args.supply[type] == CONFIG_BY_WILDCARD && c->was_heard[type];
}

/* References lead from listeners to routes, clusters, endpoints and secrets: never in circles. */
static bool is_warm(const struct config *c, const struct resource *r, struct resource_ref *missing)
{
    for (size_t i = 0; i < r->ref_count_out; i++) {
        const struct resource_ref *ref = &r->refs[i];
        const struct entry *e = find(c, ref->type, ref->name);
        if (e != NULL && e->is_absent)
            continue;
        if (e == NULL || e->received == NULL) {
            if (is_complete(c, ref->type))
                continue;
            if (missing != NULL)
                *missing = *ref;
            return false;
        }
        if (!is_warm(c, e->received, missing))
            return false;
    }
    return true;
}

bool config_missing(const struct config *c, struct str_buf *to)
{
    struct resource_ref missing;
    void *value;
    for (unsigned t = 0; t < RESOURCE_TYPE_COUNT; t++) {
        for (size_t iter = 0; map_next(&c->entries[t], &iter, NULL, &value);) {
            const struct entry *e = value;
            if (e->received == NULL || is_warm(c, e->received, &missing))
                continue;
            str_buf_printf(to, "%s \"%.*s\" refers to %s \"%.*s\", which is not there",
                           resource_type_name(e->type), STR_FMT(e->name),
                           resource_type_name(missing.type), STR_FMT(missing.name));
            return true;
        }
    }
    return false;
}

/* A capture that runs before the listeners beside it would let out in clear what they send by mTLS:
 * as in Envoy, all that comes at first is complete before any of it serves. */
static bool can_begin(const struct config *c)
{
    struct str_buf missing = STR_BUF_INIT(256);
    bool is_complete_now = true;
    for (unsigned t = 0; t < RESOURCE_TYPE_COUNT; t++)
        is_complete_now &= c->args.supply[t] != CONFIG_BY_WILDCARD || c->was_heard[t];
    is_complete_now = is_complete_now && !config_missing(c, &missing);
    str_buf_deinit(&missing);
    return is_complete_now;
}

bool config_has_begun(const struct config *c)
{
    return c->has_begun;
}

static bool may_run(const struct config *c, const struct entry *e)
{
    bool is_held = e->type == RESOURCE_LISTENER && !e->is_local && !c->has_begun;
    return !is_held && is_warm(c, e->received, NULL);
}

/* --- what is still of use --- */

static void mark(struct config *c, struct entry *e);

static void mark_refs(struct config *c, const struct resource *r)
{
    for (size_t i = 0; r != NULL && i < r->ref_count_out; i++) {
        struct entry *e = find(c, r->refs[i].type, r->refs[i].name);
        if (e != NULL)
            mark(c, e);
    }
}

static void mark(struct config *c, struct entry *e)
{
    c->looks++;
    if (e->is_marked)
        return;
    e->is_marked = true;
    mark_refs(c, e->received);
    if (e->received != e->running)
        mark_refs(c, e->running);
}

static void clear_marks(struct config *c)
{
    void *value;
    for (unsigned t = 0; t < RESOURCE_TYPE_COUNT; t++) {
        for (size_t iter = 0; map_next(&c->entries[t], &iter, NULL, &value);)
            ((struct entry *)value)->is_marked = false;
    }
}

static bool is_root(const struct entry *e)
{
    return e->is_local || e->is_detail || e->is_wildcard;
}

/* Gives up what no root leads to. Looks at everything, so only when there can be such. */
static void collect_garbage(struct config *c)
{
    void *value;
    if (!c->has_garbage)
        return;
    c->has_garbage = false;
    clear_marks(c);
    for (unsigned t = 0; t < RESOURCE_TYPE_COUNT; t++) {
        for (size_t iter = 0; map_next(&c->entries[t], &iter, NULL, &value);) {
            if (is_root(value))
                mark(c, value);
        }
    }
    for (unsigned t = 0; t < RESOURCE_TYPE_COUNT; t++) {
        for (size_t iter = 0; map_next(&c->entries[t], &iter, NULL, &value);) {
            struct entry *e = value;
            if (e->is_marked)
                continue;
            unsubscribe(c, e);
            if (e->received != NULL)
                set_received(c, e, NULL);
            if (e->running != NULL)
                continue;
            map_remove(&c->entries[t], e->name);
            entry_free(e);
        }
    }
}

/* --- publishing --- */

static void add_change(struct config *c, struct entry *e, struct resource *r)
{
    struct config_change change = {e->type, e->name, r != NULL ? resource_hold(r) : NULL};
    VEC_PUSH(&c->flight, change);
    struct resource *old = e->running;
    e->running = r != NULL ? resource_hold(r) : NULL;
    e->is_applied = e->is_applied && r != NULL;
    c->has_garbage |= old != NULL; /* what it referred to, and its entry when it goes */
    note_settled(c, e);
    resource_unref(old);
}

static bool has_removals(const struct config *c)
{
    for (unsigned t = 0; t < RESOURCE_TYPE_COUNT; t++) {
        LIST_FOREACH (&c->unsettled[t], e, struct entry, link) {
            if (e->received == NULL)
                return true;
        }
    }
    return false;
}

/* Nothing goes: who else refers to it need not be known. */
static void collect_additions(struct config *c)
{
    for (unsigned t = 0; t < RESOURCE_TYPE_COUNT; t++) {
        LIST_FOREACH (&c->unsettled[t], e, struct entry, link) {
            c->looks++;
            if (may_run(c, e))
                add_change(c, e, e->received);
        }
    }
}

/* From listeners down: what refers to others is decided before them. What a running one refers to
 * is marked and stays. */
static void collect_changes(struct config *c)
{
    void *value;
    if (!has_removals(c)) {
        collect_additions(c);
        return;
    }
    clear_marks(c);
    for (unsigned t = 0; t < RESOURCE_TYPE_COUNT; t++) {
        for (size_t iter = 0; map_next(&c->entries[t], &iter, NULL, &value);) {
            struct entry *e = value;
            c->looks++;
            if (e->received == e->running)
                ;
            else if (e->received != NULL && may_run(c, e))
                add_change(c, e, e->received);
            else if (e->received == NULL && !e->is_marked)
                add_change(c, e, NULL);
            const struct resource *r = e->running;
            for (size_t i = 0; r != NULL && i < r->ref_count_out; i++) {
                struct entry *to = find(c, r->refs[i].type, r->refs[i].name);
                if (to != NULL)
                    to->is_marked = true;
            }
        }
    }
}

static bool is_settled(const struct config *c, const struct resource *r)
{
    const struct entry *e = find(c, r->type, r->name);
    return e == NULL || e->received != r || e->running == r ||
           (c->args.answers_cold && !may_run(c, e));
}

static void answer_updates(struct config *c)
{
    LIST_FOREACH (&c->updates, u, struct update, link) {
        bool is_done = true;
        for (size_t i = 0; i < u->count && is_done; i++)
            is_done = is_settled(c, u->items[i]);
        if (!is_done)
            continue;
        list_remove(&u->link);
        c->args.ops->done(c->args.ctx, u->token, str_buf_str(&u->why));
        update_free(u);
    }
}

void config_pump(struct config *c)
{
    if (c->is_in_flight)
        return;
    c->has_begun = c->has_begun || can_begin(c);
    collect_garbage(c);
    collect_changes(c);
    if (c->flight.len == 0) {
        answer_updates(c);
        return;
    }
    c->is_in_flight = true;
    c->args.ops->publish(c->args.ctx, c->flight.ptr, c->flight.len);
}

static bool is_of_update(const struct update *u, const struct resource *r)
{
    for (size_t i = 0; i < u->count; i++) {
        if (u->items[i] == r)
            return true;
    }
    return false;
}

/* The updates whose resources were in the set get to know what was refused. */
static void note_error(struct config *c, struct str error)
{
    LIST_FOREACH (&c->updates, u, struct update, link) {
        bool is_touched = false;
        for (size_t i = 0; i < c->flight.len && !is_touched; i++)
            is_touched =
                c->flight.ptr[i].resource != NULL && is_of_update(u, c->flight.ptr[i].resource);
        if (is_touched)
            str_buf_add(&u->why, error);
    }
}

void config_applied(struct config *c, struct str error)
{
    ASSERT(c->is_in_flight);
    if (error.len > 0)
        note_error(c, error);
    for (size_t i = 0; i < c->flight.len; i++) {
        struct entry *e = find(c, c->flight.ptr[i].type, c->flight.ptr[i].name);
        if (e != NULL)
            e->is_applied = e->running != NULL;
    }
    drop_flight(c);
    c->generation++;
    meet_wants(c);
    if (c->args.answers_cold)
        answer_updates(c);
    config_pump(c);
}

/* --- looking --- */

bool config_is_running(const struct config *c, enum resource_type type, struct str name)
{
    const struct entry *e = find(c, type, name);
    return e != NULL && e->is_applied;
}

struct resource *config_running(const struct config *c, enum resource_type type, struct str name)
{
    const struct entry *e = find(c, type, name);
    return e != NULL ? e->running : NULL;
}

uint64_t config_looks(const struct config *c)
{
    return c->looks;
}

uint64_t config_generation(const struct config *c)
{
    return c->generation;
}

void config_each(const struct config *c, enum resource_type type,
                 void (*each)(void *ctx, const struct config_item *item), void *ctx)
{
    void *value;
    for (size_t iter = 0; map_next(&c->entries[type], &iter, NULL, &value);) {
        const struct entry *e = value;
        const struct config_item item = {e->received, e->running, e->is_local, e->is_detail,
                                         e->is_wildcard};
        if (item.received != NULL || item.running != NULL)
            each(ctx, &item);
    }
}
