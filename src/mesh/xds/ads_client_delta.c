/* Incremental: each request says what is subscribed to anew or no more, each response what changed.
 */
#include "base/err.h"
#include "mesh/xds/ads_client_priv.h"
#include "mesh/xds/pb_check.h"

/* --- requests --- */

static void send_request(struct ads_client *c, enum resource_type type, struct arena *a,
                         Pb__Discovery__DeltaDiscoveryRequest *m)
{
    m->type_url = arena_str(a, resource_type_url(type)).ptr;
    m->node = ads_first_node(c, a);
    ads_send(c, &m->base);
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
                ads_drop_entry(t, e);
            continue;
        }
        e->is_new = e->is_dropped = false;
        ads_note(t, e);
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
        ads_note(t, e);
        if (is_dropped && !t->is_wildcard)
            ads_drop_entry(t, e);
    }
    if (t->is_wildcard_new)
        m->resource_names_subscribe[m->n_resource_names_subscribe++] = "*";
}

void ads_client_delta_flush(struct ads_client *c, enum resource_type type)
{
    struct type_state *t = &c->types[type];
    struct arena a;
    arena_init(&a, ADS_BLOCK_LEN);
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

/* --- responses --- */

static void take_resource(struct pending *p, const Pb__Discovery__Resource *m)
{
    struct str name = arena_str(&p->arena, str_from_c(m->name));
    if (m->ttl != NULL) {
        ads_refuse_name(p, name, "ttl is not supported");
        return;
    }
    struct resource *r = ads_take_resource(p, name, m->resource);
    if (r == NULL)
        return;
    if (m->version != NULL && m->version[0] != 0)
        r->version = arena_str(&r->arena, str_from_c(m->version));
    VEC_PUSH(&p->changed, r);
}

static struct pending *take_all(struct ads_client *c, enum resource_type type,
                                const Pb__Discovery__DeltaDiscoveryResponse *m)
{
    struct type_state *t = &c->types[type];
    struct pending *p = ads_pending_new(c, type, str_from_c(m->nonce));
    for (size_t i = 0; i < m->n_resources; i++) {
        /* What was unsubscribed meanwhile is no longer of interest. */
        if (ads_is_wanted(t, str_from_c(m->resources[i]->name)))
            take_resource(p, m->resources[i]);
    }
    for (size_t i = 0; i < m->n_removed_resources; i++) {
        struct str name = str_from_c(m->removed_resources[i]);
        if (ads_is_wanted(t, name))
            VEC_PUSH(&p->removed, arena_str(&p->arena, name));
    }
    return p;
}

int ads_client_delta_take(struct ads_client *c, struct arena *scratch, struct str message,
                          struct pending **ret_pending)
{
    const ProtobufCMessageDescriptor *desc = &pb__discovery__delta_discovery_response__descriptor;
    enum resource_type type;
    if (pb_check(desc, message, PB_CHECK_TOLERANT, NULL, NULL) != 0)
        return -ERR_PROTOCOL;
    const Pb__Discovery__DeltaDiscoveryResponse *m = pb_unpack(scratch, desc, message);
    if (m == NULL)
        return -ERR_PROTOCOL;
    if (!resource_type_from_url(str_from_c(m->type_url), &type) || !c->types[type].is_requested)
        ads_ignore(c, m->type_url, "nothing of this type was asked for");
    else
        *ret_pending = take_all(c, type, m);
    return 0;
}

/* --- ACK and NACK --- */

void ads_client_delta_answer(struct ads_client *c, const struct pending *p)
{
    struct arena a;
    arena_init(&a, ADS_BLOCK_LEN);
    Pb__Discovery__DeltaDiscoveryRequest m;
    pb__discovery__delta_discovery_request__init(&m);
    m.response_nonce = copy_c(&a, p->nonce);
    m.error_detail = ads_status(&a, p);
    send_request(c, p->type, &a, &m);
    arena_deinit(&a);
}

static void note_answered(struct type_state *t, struct str name)
{
    struct entry *e = map_get(&t->entries, name);
    if (e == NULL)
        return;
    e->is_answered = true;
    ads_note(t, e);
}

/* What was accepted is what a later stream tells as known. */
void ads_client_delta_commit(struct type_state *t, struct pending *p, bool is_accepted)
{
    for (size_t i = 0; i < p->changed.len; i++) {
        struct str name = p->changed.ptr[i]->name;
        if (!ads_is_wanted(t, name))
            continue;
        struct entry *e = ads_entry(t, name);
        e->is_answered = true;
        ads_note(t, e);
        if (is_accepted)
            ads_set_str(&e->version, p->changed.ptr[i]->version);
    }
    for (size_t i = 0; i < p->removed.len; i++) {
        struct entry *e = map_get(&t->entries, p->removed.ptr[i]);
        if (e == NULL)
            continue;
        e->is_answered = true;
        ads_note(t, e);
        if (is_accepted)
            ads_set_str(&e->version, STR_NULL);
        if (!e->is_subscribed && is_accepted && !e->is_dropped)
            ads_drop_entry(t, e);
    }
    for (size_t i = 0; i < p->refused.len; i++)
        note_answered(t, p->refused.ptr[i]);
    t->is_wildcard_answered = true;
}
