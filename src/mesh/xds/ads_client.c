#include "mesh/xds/ads_client.h"

#include <stdlib.h>

#include "base/err.h"
#include "mesh/xds/ads_client_priv.h"
#include "mesh/xds/pb_wire.h"

enum {
    WHY_LEN_MAX = 4096,
    NAME_SHOWN_MAX = 256,
    REASON_SHOWN_MAX = 1024,
    STATUS_INVALID_ARGUMENT = 3,
};

/* --- entries --- */

static char *dup_bytes(struct str s)
{
    return mem_strndup(s.ptr != NULL ? s.ptr : "", s.len);
}

static void free_str(struct str s)
{
    free((void *)(uintptr_t)s.ptr); /* ours, though a str points to const */
}

void ads_set_str(struct str *to, struct str value)
{
    char *copy = dup_bytes(value);
    free_str(*to);
    *to = str_from(copy, value.len);
}

struct entry *ads_entry(struct type_state *t, struct str name)
{
    struct entry *e = map_get(&t->entries, name);
    if (e != NULL)
        return e;
    e = NEW(struct entry);
    list_init(&e->link);
    ads_set_str(&e->name, name);
    map_put(&t->entries, name, e);
    return e;
}

static void entry_free(struct entry *e)
{
    free_str(e->name);
    free_str(e->version);
    free(e);
}

void ads_note(struct type_state *t, struct entry *e)
{
    bool is_awaited = e->is_subscribed && !e->is_answered;
    t->awaited = t->awaited - e->is_awaited + is_awaited;
    e->is_awaited = is_awaited;
    list_remove(&e->link);
    if (e->is_new || e->is_dropped)
        list_push_back(&t->changed, &e->link);
}

void ads_drop_entry(struct type_state *t, struct entry *e)
{
    t->awaited -= e->is_awaited;
    list_remove(&e->link);
    map_remove(&t->entries, e->name);
    entry_free(e);
}

/* --- life --- */

struct ads_client *ads_client_new(const struct ads_client_args *args)
{
    struct ads_client *c = NEW(struct ads_client);
    c->ops = *args->ops;
    c->ctx = args->ctx;
    c->is_sotw = args->is_sotw;
    arena_init(&c->arena, ADS_BLOCK_LEN);
    c->node = (struct ads_node){
        .id = arena_str(&c->arena, args->node_id),
        .cluster = arena_str(&c->arena, args->node_cluster),
        .metadata_json = arena_str(&c->arena, args->node_metadata_json),
        .user_agent = arena_str(&c->arena, args->user_agent),
    };
    list_init(&c->pending);
    for (unsigned i = 0; i < RESOURCE_TYPE_COUNT; i++) {
        map_init(&c->types[i].entries);
        list_init(&c->types[i].changed);
    }
    return c;
}

static void pending_free(struct pending *p)
{
    list_remove(&p->link);
    for (size_t i = 0; i < p->changed.len; i++)
        resource_unref(p->changed.ptr[i]);
    map_deinit(&p->seen);
    VEC_DEINIT(&p->changed);
    VEC_DEINIT(&p->removed);
    VEC_DEINIT(&p->refused);
    str_buf_deinit(&p->why);
    arena_deinit(&p->arena);
    free(p);
}

struct ads_client *ads_client_free(struct ads_client *c)
{
    if (c == NULL)
        return NULL;
    LIST_FOREACH (&c->pending, p, struct pending, link)
        pending_free(p);
    for (unsigned i = 0; i < RESOURCE_TYPE_COUNT; i++) {
        size_t iter = 0;
        void *e;
        while (map_next(&c->types[i].entries, &iter, NULL, &e))
            entry_free(e);
        map_deinit(&c->types[i].entries);
        free_str(c->types[i].version);
        free_str(c->types[i].nonce);
    }
    arena_deinit(&c->arena);
    free(c);
    return NULL;
}

/* --- subscriptions --- */

void ads_client_subscribe(struct ads_client *c, enum resource_type type, struct str name)
{
    struct type_state *t = &c->types[type];
    struct entry *e = ads_entry(t, name);
    if (e->is_subscribed)
        return;
    e->is_subscribed = true;
    /* An end that was not told yet and a new beginning cancel each other out; but a server that
     * tells the state of the world would say nothing of what has not changed, and it was given up.
     */
    e->is_lost = e->is_dropped && c->is_sotw;
    if (e->is_lost)
        ads_set_str(&e->version, STR_NULL);
    e->is_new = !e->is_dropped;
    e->is_dropped = false;
    ads_note(t, e);
    t->is_dirty = true;
}

void ads_client_subscribe_all(struct ads_client *c, enum resource_type type)
{
    struct type_state *t = &c->types[type];
    if (t->is_wildcard)
        return;
    t->is_wildcard = t->is_wildcard_new = t->is_dirty = true;
}

void ads_client_unsubscribe(struct ads_client *c, enum resource_type type, struct str name)
{
    struct type_state *t = &c->types[type];
    struct entry *e = map_get(&t->entries, name);
    if (e == NULL || !e->is_subscribed)
        return;
    e->is_subscribed = false;
    e->is_dropped = !e->is_new && t->is_requested;
    e->is_new = false;
    ads_note(t, e);
    if (e->is_dropped) {
        t->is_dirty = true;
        return;
    }
    /* The server never heard of it. */
    if (!t->is_wildcard)
        ads_drop_entry(t, e);
}

void ads_client_preload(struct ads_client *c, enum resource_type type, struct str name,
                        struct str version)
{
    struct type_state *t = &c->types[type];
    struct entry *e = ads_entry(t, name);
    ads_set_str(&e->version, version);
    /* An unchanged server says nothing: what is there counts. */
    e->is_answered = t->is_wildcard_answered = true;
    ads_note(t, e);
}

bool ads_client_is_synced(const struct ads_client *c)
{
    for (unsigned i = 0; i < RESOURCE_TYPE_COUNT; i++) {
        const struct type_state *t = &c->types[i];
        if ((t->is_wildcard && !t->is_wildcard_answered) || t->awaited > 0)
            return false;
    }
    return true;
}

/* --- requests --- */

Pb__Core__Node *ads_first_node(struct ads_client *c, struct arena *a)
{
    struct ads_node node = c->node;
    if (c->is_node_sent)
        return NULL;
    c->is_node_sent = true;
    return ads_node_encode(a, &node);
}

void ads_send(struct ads_client *c, const ProtobufCMessage *m)
{
    AUTO(str_buf_deinit) struct str_buf wire = STR_BUF_INIT(ADS_MESSAGE_LEN_MAX);
    pb_pack(m, &wire);
    c->ops.send(c->ctx, str_buf_str(&wire));
}

void ads_client_flush(struct ads_client *c)
{
    for (unsigned i = 0; i < RESOURCE_TYPE_COUNT && c->is_connected; i++) {
        if (!c->types[i].is_dirty)
            continue;
        if (c->is_sotw)
            ads_client_sotw_flush(c, (enum resource_type)i);
        else
            ads_client_delta_flush(c, (enum resource_type)i);
    }
}

void ads_client_connected(struct ads_client *c)
{
    c->is_connected = true;
    c->is_node_sent = false;
    c->stream++;
    for (unsigned i = 0; i < RESOURCE_TYPE_COUNT; i++) {
        struct type_state *t = &c->types[i];
        t->is_requested = false;
        ads_set_str(&t->nonce, STR_NULL);
        t->is_dirty = t->is_wildcard || map_len(&t->entries) > 0;
    }
    ads_client_flush(c);
}

void ads_client_disconnected(struct ads_client *c)
{
    c->is_connected = false;
}

/* --- responses --- */

void ads_refuse_name(struct pending *p, struct str name, const char *why)
{
    VEC_PUSH(&p->refused, name);
    if (p->why.len > 0)
        str_buf_add_c(&p->why, "; ");
    str_buf_printf(&p->why, "%.*s: %.*s", (int)MIN(name.len, (size_t)NAME_SHOWN_MAX), name.ptr,
                   REASON_SHOWN_MAX, why);
}

bool ads_is_wanted(const struct type_state *t, struct str name)
{
    const struct entry *e = map_get(&t->entries, name);
    return t->is_wildcard || (e != NULL && e->is_subscribed);
}

static bool is_named_already(const struct pending *p, struct str name)
{
    return map_get(&p->seen, name) != NULL;
}

static struct str type_of(const Pb__Any *m)
{
    return m != NULL ? str_from_c(m->type_url) : STR_NULL;
}

/* The name that a resource has inside, for those that cannot be decoded: every type has it in its
 * first field. */
static struct str peek_name(struct arena *a, const Pb__Any *m)
{
    struct str rest = m != NULL ? str_from((const char *)m->value.data, m->value.len) : STR_NULL;
    struct pb_field f;
    while (pb_wire_next(&rest, &f) == 1) {
        if (f.number == 1 && f.type == PB_BYTES)
            return arena_str(a, str_sub(f.bytes, 0, NAME_SHOWN_MAX));
    }
    return STR_NULL;
}

struct resource *ads_take_resource(struct pending *p, struct str name, const Pb__Any *m)
{
    AUTO(str_buf_deinit) struct str_buf why = STR_BUF_INIT(WHY_LEN_MAX);
    struct resource *r = NULL;
    struct str shown = name.len > 0 ? name : peek_name(&p->arena, m);
    if (!str_eq(type_of(m), resource_type_url(p->type))) {
        ads_refuse_name(p, shown, "not a resource of this type");
        return NULL;
    }
    struct str wire = str_from((const char *)m->value.data, m->value.len);
    if (xds_decode(p->type, wire, &why, &r) != 0) {
        ads_refuse_name(p, shown, why.len > 0 ? why.ptr : "cannot be decoded");
        return NULL;
    }
    const char *reason = name.len > 0 && !str_eq(r->name, name)
                             ? "the resource inside has another name"
                         : is_named_already(p, r->name) ? "it is there twice"
                                                        : NULL;
    if (reason != NULL) {
        ads_refuse_name(p, shown, reason);
        resource_unref(r);
        return NULL;
    }
    map_put(&p->seen, r->name, p);
    return r;
}

struct pending *ads_pending_new(struct ads_client *c, enum resource_type type, struct str nonce)
{
    struct pending *p = NEW(struct pending);
    arena_init(&p->arena, ADS_BLOCK_LEN);
    map_init(&p->seen);
    p->why = STR_BUF_INIT(WHY_LEN_MAX);
    p->token = ++c->last_token;
    p->stream = c->stream;
    p->type = type;
    p->nonce = arena_str(&p->arena, nonce);
    list_push_back(&c->pending, &p->link);
    return p;
}

void ads_ignore(struct ads_client *c, const char *type_url, const char *why)
{
    if (c->ops.on_ignored != NULL)
        c->ops.on_ignored(c->ctx, str_sub(str_from_c(type_url), 0, NAME_SHOWN_MAX),
                          str_from_c(why));
}

static void hand_over(struct ads_client *c, struct pending *p)
{
    uint64_t token = p->token;
    const struct type_state *t = &c->types[p->type];
    /* That there is nothing of a type is news once: others wait for it. */
    bool is_news = t->is_wildcard && !t->is_wildcard_answered;
    if (p->changed.len + p->removed.len == 0 && !is_news) {
        ads_client_done(c, token, STR_NULL);
        return;
    }
    const struct ads_update update = {
        .type = p->type,
        .changed = p->changed.ptr,
        .changed_count = p->changed.len,
        .removed = p->removed.ptr,
        .removed_count = p->removed.len,
        .token = token,
    };
    p->is_in_callback = true;
    c->ops.on_update(c->ctx, &update);
    p->is_in_callback = false;
    if (p->is_done && !p->is_held)
        pending_free(p);
}

int ads_client_recv(struct ads_client *c, struct str message)
{
    if (!c->is_connected)
        return -ERR_PROTOCOL;
    struct arena scratch;
    struct pending *p = NULL;
    int rc = -ERR_PROTOCOL;
    arena_init(&scratch, ADS_BLOCK_LEN);
    if (message.len <= ADS_MESSAGE_LEN_MAX)
        rc = c->is_sotw ? ads_client_sotw_take(c, &scratch, message, &p)
                        : ads_client_delta_take(c, &scratch, message, &p);
    arena_deinit(&scratch);
    if (p != NULL)
        hand_over(c, p);
    return rc;
}

/* --- ACK and NACK --- */

Pb__Rpc__Status *ads_status(struct arena *a, const struct pending *p)
{
    if (p->why.len == 0 && p->refused.len == 0)
        return NULL;
    Pb__Rpc__Status *status = arena_alloc(a, sizeof *status);
    pb__rpc__status__init(status);
    status->has_code = true;
    status->code = STATUS_INVALID_ARGUMENT;
    status->message = p->why.len > 0 ? p->why.ptr : "refused";
    return status;
}

static struct pending *find_pending(struct ads_client *c, uint64_t token)
{
    LIST_FOREACH (&c->pending, p, struct pending, link) {
        if (p->token == token)
            return p;
    }
    return NULL;
}

static void commit(struct ads_client *c, struct pending *p, bool is_accepted)
{
    if (c->is_sotw)
        ads_client_sotw_commit(&c->types[p->type], p, is_accepted);
    else
        ads_client_delta_commit(&c->types[p->type], p, is_accepted);
}

static void send_answer(struct ads_client *c, struct pending *p)
{
    /* A response of a stream that is gone is answered by the next one's first request. */
    if (!c->is_connected || p->stream != c->stream)
        return;
    if (c->is_sotw)
        ads_client_sotw_answer(c, p);
    else
        ads_client_delta_answer(c, p);
}

void ads_client_release(struct ads_client *c, enum resource_type type)
{
    LIST_FOREACH (&c->pending, p, struct pending, link) {
        if (p->type != type || !p->is_held)
            continue;
        p->is_held = false;
        send_answer(c, p);
        if (!p->is_in_callback)
            pending_free(p);
    }
}

static void answer(struct ads_client *c, struct pending *p)
{
    struct type_state *t = &c->types[p->type];
    bool is_refused = p->why.len > 0 || p->refused.len > 0;
    if (c->ops.on_answered != NULL)
        c->ops.on_answered(c->ctx, p->type, str_buf_str(&p->why));
    t->refused_in_row = is_refused ? t->refused_in_row + 1 : 0;
    p->is_held = c->is_sotw && t->refused_in_row > 1 && c->ops.on_held != NULL;
    if (p->is_held)
        c->ops.on_held(c->ctx, p->type, t->refused_in_row);
    else
        send_answer(c, p);
}

void ads_client_done(struct ads_client *c, uint64_t token, struct str why)
{
    struct pending *p = find_pending(c, token);
    ASSERT(p != NULL && !p->is_done);
    commit(c, p, why.len == 0);
    if (why.len > 0) {
        if (p->why.len > 0)
            str_buf_add_c(&p->why, "; ");
        str_buf_add(&p->why, str_sub(why, 0, WHY_LEN_MAX / 2));
    }
    p->is_done = true;
    answer(c, p);
    if (!p->is_in_callback && !p->is_held)
        pending_free(p);
}
