#include "mesh/xds/ads_client.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/list.h"
#include "base/map.h"
#include "base/vec.h"
#include "mesh/xds/ads_node.h"
#include "mesh/xds/pb_check.h"

enum {
    MESSAGE_LEN_MAX = 64 << 20, /* of one response; the transport bounds it first */
    WHY_LEN_MAX = 4096,
    NAME_SHOWN_MAX = 256,
    REASON_SHOWN_MAX = 1024,
    BLOCK_LEN = 4096,
    STATUS_INVALID_ARGUMENT = 3,
};

/* What is known of one name of a type. Lives while it is subscribed to, by name or wildcard. */
struct entry {
    struct list link;   /* in changed: the server does not know something of it */
    struct str name;    /* owned */
    struct str version; /* owned; empty: nothing accepted */
    bool is_subscribed; /* by name */
    bool is_answered;   /* accepted, refused, removed or preloaded once */
    bool is_new;        /* the server does not know of the subscription yet */
    bool is_dropped;    /* nor of its end */
    bool is_awaited;    /* counted: subscribed to by name, and not answered */
};

struct type_state {
    struct map entries;  /* name -> struct entry */
    struct list changed; /* struct entry: is_new or is_dropped */
    size_t awaited;      /* entries whose answer is not here */
    bool is_wildcard, is_wildcard_new, is_wildcard_answered;
    bool is_requested; /* on this stream */
    bool is_dirty;
};

/* A response that its owner has yet to apply. */
struct pending {
    struct list link;
    uint64_t token;
    uint64_t stream;
    enum resource_type type;
    bool is_in_callback, is_done;
    struct arena arena;
    struct str nonce;
    VEC(struct resource *) changed;
    VEC(struct str) removed;
    VEC(struct str) refused; /* names; their reasons are in why */
    struct str_buf why;
};

struct ads_client {
    struct ads_client_ops ops;
    void *ctx;
    struct arena arena; /* the node's strings */
    struct ads_node node;
    struct type_state types[RESOURCE_TYPE_COUNT];
    struct list pending;
    uint64_t last_token;
    uint64_t stream; /* number of the present stream */
    bool is_connected, is_node_sent;
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

static void set_str(struct str *to, struct str value)
{
    char *copy = dup_bytes(value);
    free_str(*to);
    *to = str_from(copy, value.len);
}

static struct entry *find_or_add(struct type_state *t, struct str name)
{
    struct entry *e = map_get(&t->entries, name);
    if (e != NULL)
        return e;
    e = NEW(struct entry);
    list_init(&e->link);
    set_str(&e->name, name);
    map_put(&t->entries, name, e);
    return e;
}

static void entry_free(struct entry *e)
{
    free_str(e->name);
    free_str(e->version);
    free(e);
}

/* After any change of its flags. */
static void note(struct type_state *t, struct entry *e)
{
    bool is_awaited = e->is_subscribed && !e->is_answered;
    t->awaited = t->awaited - e->is_awaited + is_awaited;
    e->is_awaited = is_awaited;
    list_remove(&e->link);
    if (e->is_new || e->is_dropped)
        list_push_back(&t->changed, &e->link);
}

static void drop_entry(struct type_state *t, struct entry *e)
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
    arena_init(&c->arena, BLOCK_LEN);
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
    }
    arena_deinit(&c->arena);
    free(c);
    return NULL;
}

/* --- subscriptions --- */

void ads_client_subscribe(struct ads_client *c, enum resource_type type, struct str name)
{
    struct type_state *t = &c->types[type];
    struct entry *e = find_or_add(t, name);
    if (e->is_subscribed)
        return;
    e->is_subscribed = true;
    /* An end that was not told yet and a new beginning cancel each other out. */
    e->is_new = !e->is_dropped;
    e->is_dropped = false;
    note(t, e);
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
    note(t, e);
    if (e->is_dropped) {
        t->is_dirty = true;
        return;
    }
    /* The server never heard of it. */
    if (!t->is_wildcard)
        drop_entry(t, e);
}

void ads_client_preload(struct ads_client *c, enum resource_type type, struct str name,
                        struct str version)
{
    struct type_state *t = &c->types[type];
    struct entry *e = find_or_add(t, name);
    set_str(&e->version, version);
    /* An unchanged server says nothing: what is there counts. */
    e->is_answered = t->is_wildcard_answered = true;
    note(t, e);
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

static void send_request(struct ads_client *c, enum resource_type type, struct arena *a,
                         Pb__Discovery__DeltaDiscoveryRequest *m)
{
    struct ads_node node = c->node;
    m->type_url = arena_str(a, resource_type_url(type)).ptr;
    if (!c->is_node_sent)
        m->node = ads_node_encode(a, &node);
    c->is_node_sent = true;
    AUTO(str_buf_deinit) struct str_buf wire = STR_BUF_INIT(MESSAGE_LEN_MAX);
    pb_pack(&m->base, &wire);
    c->ops.send(c->ctx, str_buf_str(&wire));
}

static const char *copy_c(struct arena *a, struct str s)
{
    return arena_str(a, s).ptr;
}

static void add_version(struct arena *a, Pb__Discovery__DeltaDiscoveryRequest *m,
                        const struct entry *e)
{
    Pb__Discovery__DeltaDiscoveryRequest__InitialResourceVersionsEntry *v =
        arena_alloc(a, sizeof *v);
    pb__discovery__delta_discovery_request__initial_resource_versions_entry__init(v);
    v->key = copy_c(a, e->name);
    v->value = copy_c(a, e->version);
    m->initial_resource_versions[m->n_initial_resource_versions++] = v;
}

/* The first request of a type on a stream tells everything: names, and the versions at hand. */
static void fill_first(struct type_state *t, struct arena *a,
                       Pb__Discovery__DeltaDiscoveryRequest *m)
{
    size_t count = map_len(&t->entries), iter = 0;
    void *value;
    m->resource_names_subscribe = arena_alloc(a, sizeof(char *) * (count + 1));
    m->initial_resource_versions =
        arena_alloc(a, sizeof(*m->initial_resource_versions) * (count + 1));
    while (map_next(&t->entries, &iter, NULL, &value)) {
        struct entry *e = value;
        if (!e->is_subscribed && !t->is_wildcard) {
            /* Left from another stream; what was preloaded may still be asked for. */
            if (e->is_dropped)
                drop_entry(t, e);
            continue;
        }
        e->is_new = e->is_dropped = false;
        note(t, e);
        if (e->is_subscribed)
            m->resource_names_subscribe[m->n_resource_names_subscribe++] = copy_c(a, e->name);
        if (e->version.len > 0)
            add_version(a, m, e);
    }
    /* Nothing named at all means everything; beside names it must be said. */
    if (t->is_wildcard && m->n_resource_names_subscribe > 0)
        m->resource_names_subscribe[m->n_resource_names_subscribe++] = "*";
}

static void fill_changes(struct type_state *t, struct arena *a,
                         Pb__Discovery__DeltaDiscoveryRequest *m)
{
    size_t count = 0;
    LIST_FOREACH (&t->changed, e, struct entry, link)
        count++;
    m->resource_names_subscribe = arena_alloc(a, sizeof(char *) * (count + 1));
    m->resource_names_unsubscribe = arena_alloc(a, sizeof(char *) * (count + 1));
    LIST_FOREACH (&t->changed, e, struct entry, link) {
        bool is_dropped = e->is_dropped;
        if (e->is_new)
            m->resource_names_subscribe[m->n_resource_names_subscribe++] = copy_c(a, e->name);
        if (is_dropped)
            m->resource_names_unsubscribe[m->n_resource_names_unsubscribe++] = copy_c(a, e->name);
        e->is_new = e->is_dropped = false;
        note(t, e);
        if (is_dropped && !t->is_wildcard)
            drop_entry(t, e);
    }
    if (t->is_wildcard_new)
        m->resource_names_subscribe[m->n_resource_names_subscribe++] = "*";
}

static void flush_type(struct ads_client *c, enum resource_type type)
{
    struct type_state *t = &c->types[type];
    if (!t->is_dirty)
        return;
    struct arena a;
    arena_init(&a, BLOCK_LEN);
    Pb__Discovery__DeltaDiscoveryRequest m;
    pb__discovery__delta_discovery_request__init(&m);
    if (t->is_requested)
        fill_changes(t, &a, &m);
    else
        fill_first(t, &a, &m);
    bool says_something = m.n_resource_names_subscribe + m.n_resource_names_unsubscribe > 0 ||
                          (!t->is_requested && t->is_wildcard);
    t->is_dirty = t->is_wildcard_new = false;
    t->is_requested = t->is_requested || says_something;
    if (says_something)
        send_request(c, type, &a, &m);
    arena_deinit(&a);
}

void ads_client_flush(struct ads_client *c)
{
    for (unsigned i = 0; i < RESOURCE_TYPE_COUNT && c->is_connected; i++)
        flush_type(c, (enum resource_type)i);
}

void ads_client_connected(struct ads_client *c)
{
    c->is_connected = true;
    c->is_node_sent = false;
    c->stream++;
    for (unsigned i = 0; i < RESOURCE_TYPE_COUNT; i++) {
        struct type_state *t = &c->types[i];
        t->is_requested = false;
        t->is_dirty = t->is_wildcard || map_len(&t->entries) > 0;
    }
    ads_client_flush(c);
}

void ads_client_disconnected(struct ads_client *c)
{
    c->is_connected = false;
}

/* --- responses --- */

static void refuse(struct pending *p, struct str name, const char *why)
{
    VEC_PUSH(&p->refused, name);
    if (p->why.len > 0)
        str_buf_add_c(&p->why, "; ");
    str_buf_printf(&p->why, "%.*s: %.*s", (int)MIN(name.len, (size_t)NAME_SHOWN_MAX), name.ptr,
                   REASON_SHOWN_MAX, why);
}

static bool is_wanted(const struct type_state *t, struct str name)
{
    const struct entry *e = map_get(&t->entries, name);
    return t->is_wildcard || (e != NULL && e->is_subscribed);
}

static void take_resource(struct pending *p, const Pb__Discovery__Resource *m)
{
    struct str name = arena_str(&p->arena, str_from_c(m->name));
    AUTO(str_buf_deinit) struct str_buf why = STR_BUF_INIT(WHY_LEN_MAX);
    struct resource *r = NULL;
    if (m->resource == NULL ||
        !str_eq(str_from_c(m->resource->type_url), resource_type_url(p->type))) {
        refuse(p, name, "not a resource of this type");
        return;
    }
    struct str wire = str_from((const char *)m->resource->value.data, m->resource->value.len);
    if (xds_decode(p->type, wire, &why, &r) != 0) {
        refuse(p, name, why.len > 0 ? why.ptr : "cannot be decoded");
        return;
    }
    if (!str_eq(r->name, name)) {
        refuse(p, name, "the resource inside has another name");
        resource_unref(r);
        return;
    }
    if (m->version != NULL && m->version[0] != 0)
        r->version = arena_str(&r->arena, str_from_c(m->version));
    VEC_PUSH(&p->changed, r);
}

static struct pending *new_pending(struct ads_client *c, enum resource_type type,
                                   const Pb__Discovery__DeltaDiscoveryResponse *m)
{
    struct type_state *t = &c->types[type];
    struct pending *p = NEW(struct pending);
    arena_init(&p->arena, BLOCK_LEN);
    p->why = STR_BUF_INIT(WHY_LEN_MAX);
    p->token = ++c->last_token;
    p->stream = c->stream;
    p->type = type;
    p->nonce = arena_str(&p->arena, str_from_c(m->nonce));
    list_push_back(&c->pending, &p->link);
    for (size_t i = 0; i < m->n_resources; i++) {
        /* What was unsubscribed meanwhile is no longer of interest. */
        if (is_wanted(t, str_from_c(m->resources[i]->name)))
            take_resource(p, m->resources[i]);
    }
    for (size_t i = 0; i < m->n_removed_resources; i++) {
        struct str name = str_from_c(m->removed_resources[i]);
        if (is_wanted(t, name))
            VEC_PUSH(&p->removed, arena_str(&p->arena, name));
    }
    return p;
}

static int take_response(struct ads_client *c, struct arena *scratch, struct str message)
{
    const ProtobufCMessageDescriptor *desc = &pb__discovery__delta_discovery_response__descriptor;
    enum resource_type type;
    if (message.len > MESSAGE_LEN_MAX ||
        pb_check(desc, message, PB_CHECK_TOLERANT, NULL, NULL) != 0)
        return -ERR_PROTOCOL;
    const Pb__Discovery__DeltaDiscoveryResponse *m = pb_unpack(scratch, desc, message);
    if (m == NULL || !resource_type_from_url(str_from_c(m->type_url), &type) ||
        !c->types[type].is_requested)
        return -ERR_PROTOCOL;
    struct pending *p = new_pending(c, type, m);
    uint64_t token = p->token;
    if (p->changed.len + p->removed.len == 0) {
        ads_client_done(c, token, STR_NULL);
        return 0;
    }
    const struct ads_update update = {
        .type = type,
        .changed = p->changed.ptr,
        .changed_count = p->changed.len,
        .removed = p->removed.ptr,
        .removed_count = p->removed.len,
        .token = token,
    };
    p->is_in_callback = true;
    c->ops.on_update(c->ctx, &update);
    p->is_in_callback = false;
    if (p->is_done)
        pending_free(p);
    return 0;
}

int ads_client_recv(struct ads_client *c, struct str message)
{
    if (!c->is_connected)
        return -ERR_PROTOCOL;
    struct arena scratch;
    arena_init(&scratch, BLOCK_LEN);
    int rc = take_response(c, &scratch, message);
    arena_deinit(&scratch);
    return rc;
}

/* --- ACK and NACK --- */

static void answer(struct ads_client *c, struct pending *p)
{
    struct arena a;
    arena_init(&a, BLOCK_LEN);
    Pb__Discovery__DeltaDiscoveryRequest m;
    Pb__Rpc__Status status;
    pb__discovery__delta_discovery_request__init(&m);
    pb__rpc__status__init(&status);
    m.response_nonce = copy_c(&a, p->nonce);
    if (p->why.len > 0 || p->refused.len > 0) {
        status.has_code = true;
        status.code = STATUS_INVALID_ARGUMENT;
        status.message = p->why.len > 0 ? p->why.ptr : "refused";
        m.error_detail = &status;
    }
    send_request(c, p->type, &a, &m);
    arena_deinit(&a);
}

static void note_answered(struct type_state *t, struct str name)
{
    struct entry *e = map_get(&t->entries, name);
    if (e == NULL)
        return;
    e->is_answered = true;
    note(t, e);
}

/* What was accepted is what a later stream tells as known. */
static void commit(struct type_state *t, struct pending *p, bool is_accepted)
{
    for (size_t i = 0; i < p->changed.len; i++) {
        struct str name = p->changed.ptr[i]->name;
        if (!is_wanted(t, name))
            continue;
        struct entry *e = find_or_add(t, name);
        e->is_answered = true;
        note(t, e);
        if (is_accepted)
            set_str(&e->version, p->changed.ptr[i]->version);
    }
    for (size_t i = 0; i < p->removed.len; i++) {
        struct entry *e = map_get(&t->entries, p->removed.ptr[i]);
        if (e == NULL)
            continue;
        e->is_answered = true;
        note(t, e);
        if (is_accepted)
            set_str(&e->version, STR_NULL);
        if (!e->is_subscribed && is_accepted && !e->is_dropped)
            drop_entry(t, e);
    }
    for (size_t i = 0; i < p->refused.len; i++)
        note_answered(t, p->refused.ptr[i]);
    t->is_wildcard_answered = true;
}

void ads_client_done(struct ads_client *c, uint64_t token, struct str why)
{
    struct pending *p = NULL;
    LIST_FOREACH (&c->pending, at, struct pending, link) {
        if (at->token == token)
            p = at;
    }
    ASSERT(p != NULL && !p->is_done);
    commit(&c->types[p->type], p, why.len == 0);
    if (why.len > 0) {
        if (p->why.len > 0)
            str_buf_add_c(&p->why, "; ");
        str_buf_add(&p->why, str_sub(why, 0, WHY_LEN_MAX / 2));
    }
    /* A response of a stream that is gone is answered by the next one's first request. */
    if (c->is_connected && p->stream == c->stream)
        answer(c, p);
    p->is_done = true;
    if (!p->is_in_callback)
        pending_free(p);
}
