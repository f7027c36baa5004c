/* State of the world: each request repeats all names, each response all that there is of a type
 * whose names come by themselves, or what there is of the names asked for. */
#include "base/err.h"
#include "mesh/xds/ads_client_priv.h"
#include "mesh/xds/pb_check.h"

/* --- requests --- */

static bool has_pending(const struct ads_client *c, enum resource_type type)
{
    LIST_FOREACH (&c->pending, p, struct pending, link) {
        if (p->type == type && p->stream == c->stream && !p->is_done)
            return true;
    }
    return false;
}

/* All names but for those that are lost: what was dropped is told by its absence. */
static void fill_names(struct type_state *t, struct arena *a, Pb__Discovery__DiscoveryRequest *m)
{
    size_t iter = 0;
    void *value;
    m->n_resource_names = 0;
    m->resource_names = arena_alloc(a, sizeof(char *) * (map_len(&t->entries) + 1));
    while (map_next(&t->entries, &iter, NULL, &value)) {
        struct entry *e = value;
        bool is_over = e->is_dropped && !t->is_wildcard;
        if (e->is_subscribed && !e->is_lost)
            m->resource_names[m->n_resource_names++] = arena_str(a, e->name).ptr;
        e->is_new = e->is_dropped = false;
        ads_note(t, e);
        if (is_over)
            ads_drop_entry(t, e);
    }
    /* Nothing named at all means everything; beside names it must be said. */
    if (t->is_wildcard && m->n_resource_names > 0)
        m->resource_names[m->n_resource_names++] = "*";
}

static bool find_lost(struct type_state *t)
{
    size_t iter = 0;
    void *value;
    bool is_found = false;
    while (map_next(&t->entries, &iter, NULL, &value)) {
        is_found |= ((struct entry *)value)->is_lost;
        ((struct entry *)value)->is_lost = false;
    }
    return is_found;
}

static void fill(struct ads_client *c, enum resource_type type, struct arena *a,
                 Pb__Discovery__DiscoveryRequest *m)
{
    struct type_state *t = &c->types[type];
    /* A version covers what it was the answer to: who waits for a name has no such version, and a
     * server that compares nothing else would keep it waiting. */
    bool is_complete = t->awaited == 0 || t->is_requested;
    pb__discovery__discovery_request__init(m);
    m->type_url = arena_str(a, resource_type_url(type)).ptr;
    if (t->version.len > 0 && is_complete)
        m->version_info = arena_str(a, t->version).ptr;
    if (t->nonce.len > 0)
        m->response_nonce = arena_str(a, t->nonce).ptr;
    fill_names(t, a, m);
}

/* p: what it answers, or NULL. */
static void send_request(struct ads_client *c, enum resource_type type, const struct pending *p)
{
    struct type_state *t = &c->types[type];
    struct arena a;
    arena_init(&a, ADS_BLOCK_LEN);
    Pb__Discovery__DiscoveryRequest m;
    fill(c, type, &a, &m);
    if (p != NULL) {
        m.response_nonce = arena_str(&a, p->nonce).ptr;
        m.error_detail = ads_status(&a, p);
    }
    bool says_something = t->is_requested || t->is_wildcard || m.n_resource_names > 0;
    t->is_dirty = t->is_wildcard_new = false;
    t->is_requested = says_something;
    if (says_something) {
        m.node = ads_first_node(c, &a);
        ads_send(c, &m.base);
    }
    if (find_lost(t)) {
        fill_names(t, &a, &m);
        m.node = ads_first_node(c, &a);
        m.error_detail = NULL;
        ads_send(c, &m.base);
        t->is_requested = true;
    }
    arena_deinit(&a);
}

void ads_client_sotw_flush(struct ads_client *c, enum resource_type type)
{
    ads_client_release(c, type);
    if (!c->types[type].is_dirty)
        return;
    /* A response that was not answered yet: its answer tells the names as they are then. Between
     * the two a request with its nonce would be taken for the answer. */
    if (!has_pending(c, type))
        send_request(c, type, NULL);
}

/* --- responses --- */

/* The message inside the envelope that some servers put a resource in. NULL: refused. */
static const Pb__Any *open_envelope(struct pending *p, struct arena *scratch, const Pb__Any *m,
                                    struct str *ret_name)
{
    const ProtobufCMessageDescriptor *desc = &pb__discovery__resource__descriptor;
    *ret_name = STR_NULL;
    if (!str_eq(str_from_c(m->type_url),
                STR("type.googleapis.com/envoy.service.discovery.v3.Resource")))
        return m;
    struct str wire = str_from((const char *)m->value.data, m->value.len);
    const Pb__Discovery__Resource *envelope = NULL;
    if (pb_check(desc, wire, PB_CHECK_TOLERANT, NULL, NULL) == 0)
        envelope = pb_unpack(scratch, desc, wire);
    if (envelope == NULL || envelope->resource == NULL) {
        ads_refuse_name(p, STR_NULL, "an envelope without a resource");
        return NULL;
    }
    *ret_name = arena_str(&p->arena, str_from_c(envelope->name));
    if (envelope->ttl == NULL)
        return envelope->resource;
    ads_refuse_name(p, *ret_name, "ttl is not supported");
    return NULL;
}

/* Its own content is its version here: a response repeats what did not change. */
static void take_resource(struct type_state *t, struct pending *p, struct str name,
                          const Pb__Any *m)
{
    struct resource *r = ads_take_resource(p, name, m);
    if (r == NULL)
        return;
    if (!ads_is_wanted(t, r->name)) {
        resource_unref(r);
        return;
    }
    struct entry *e = ads_entry(t, r->name);
    e->is_listed = true;
    if (str_eq(e->version, r->version)) {
        e->is_answered = true;
        ads_note(t, e);
        resource_unref(r);
        return;
    }
    ads_set_str(&e->version, r->version);
    VEC_PUSH(&p->changed, r);
}

static bool is_wild_type(enum resource_type type)
{
    return type == RESOURCE_LISTENER || type == RESOURCE_CLUSTER;
}

/* What was there and is not named any more is gone. What was refused stays as it is; where its name
 * is not to be found out, so does everything. */
static void take_removals(struct type_state *t, struct pending *p)
{
    size_t iter = 0;
    void *value;
    for (size_t i = 0; i < p->refused.len; i++) {
        struct entry *e = map_get(&t->entries, p->refused.ptr[i]);
        if (e != NULL)
            e->is_listed = true;
        if (p->refused.ptr[i].len == 0)
            return;
    }
    while (map_next(&t->entries, &iter, NULL, &value)) {
        struct entry *e = value;
        if (!e->is_listed) {
            VEC_PUSH(&p->removed, arena_str(&p->arena, e->name));
            ads_set_str(&e->version, STR_NULL);
        }
    }
}

static struct pending *take_all(struct ads_client *c, enum resource_type type,
                                struct arena *scratch, const Pb__Discovery__DiscoveryResponse *m)
{
    struct type_state *t = &c->types[type];
    struct pending *p = ads_pending_new(c, type, str_from_c(m->nonce));
    size_t iter = 0;
    void *value;
    p->version = arena_str(&p->arena, str_from_c(m->version_info));
    ads_set_str(&t->nonce, p->nonce);
    while (map_next(&t->entries, &iter, NULL, &value))
        ((struct entry *)value)->is_listed = false;
    for (size_t i = 0; i < m->n_resources; i++) {
        struct str name;
        const Pb__Any *inner = open_envelope(p, scratch, m->resources[i], &name);
        if (inner != NULL)
            take_resource(t, p, name, inner);
    }
    if (t->is_wildcard && is_wild_type(type))
        take_removals(t, p);
    return p;
}

int ads_client_sotw_take(struct ads_client *c, struct arena *scratch, struct str message,
                         struct pending **ret_pending)
{
    const ProtobufCMessageDescriptor *desc = &pb__discovery__discovery_response__descriptor;
    enum resource_type type;
    if (pb_check(desc, message, PB_CHECK_TOLERANT, NULL, NULL) != 0)
        return -ERR_PROTOCOL;
    const Pb__Discovery__DiscoveryResponse *m = pb_unpack(scratch, desc, message);
    if (m == NULL)
        return -ERR_PROTOCOL;
    if (!resource_type_from_url(str_from_c(m->type_url), &type) || !c->types[type].is_requested)
        ads_ignore(c, m->type_url, "nothing of this type was asked for");
    else
        *ret_pending = take_all(c, type, scratch, m);
    return 0;
}

/* --- ACK and NACK --- */

void ads_client_sotw_answer(struct ads_client *c, const struct pending *p)
{
    struct type_state *t = &c->types[p->type];
    if (p->why.len == 0 && p->refused.len == 0)
        ads_set_str(&t->version, p->version);
    send_request(c, p->type, p);
}

static void note_answered(struct type_state *t, struct entry *e)
{
    if (e == NULL)
        return;
    e->is_answered = true;
    ads_note(t, e);
}

void ads_client_sotw_commit(struct type_state *t, struct pending *p, bool is_accepted)
{
    for (size_t i = 0; i < p->changed.len; i++) {
        struct entry *e = map_get(&t->entries, p->changed.ptr[i]->name);
        note_answered(t, e);
        /* Named again, it is to be tried again. */
        if (e != NULL && !is_accepted && str_eq(e->version, p->changed.ptr[i]->version))
            ads_set_str(&e->version, STR_NULL);
    }
    for (size_t i = 0; i < p->removed.len; i++) {
        struct entry *e = map_get(&t->entries, p->removed.ptr[i]);
        note_answered(t, e);
        /* Unless another response has brought it back meanwhile. */
        if (e != NULL && e->version.len == 0 && !e->is_subscribed)
            ads_drop_entry(t, e);
    }
    for (size_t i = 0; i < p->refused.len; i++)
        note_answered(t, map_get(&t->entries, p->refused.ptr[i]));
    t->is_wildcard_answered = true;
}
