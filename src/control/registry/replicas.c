/* Replicas of the registry: who of the workloads lives, and who of them is ready.
 *
 *   CONNECTED --ready--> READY --drain--> DRAINING
 *       |                  |                 |
 *       +---- stream lost, lease over -------+--> GONE (removed)
 *
 * A lost stream alone changes nothing until its lease is over, so that a restart of tulled, or of a
 * sidecar that comes back from its cache, ejects nobody. For the first, the store's table
 * "replicas" keeps them: NAMESPACE/WORKLOAD/INDEX -> "STATE ADDRESS ADDRESS".
 *
 * There may be ten thousand, and a hundred changes a second: nothing here walks through all but
 * what is asked about all. */
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/log.h"
#include "control/registry/registry_priv.h"

/* Read back from the store: the lease begins at the first look at the clock. */
enum { LEASE_NOT_BEGUN = 0 };

static void tell_endpoints(struct registry *r, const struct api_document *workload)
{
    char key[LOOKUP_KEY_MAX];
    for (size_t n = 0; n < workload->labels.len; n++) {
        const struct lookup_items *found =
            lookup_get(&r->services_by_label,
                       lookup_label_key(key, workload->namespace, &workload->labels.v[n]));
        for (size_t i = 0; i < found->len; i++) {
            const struct registry_service *s = found->ptr[i];
            if (service_selects(s, workload))
                registry_tell(r, "endpoints/%.*s/%.*s", STR_FMT(s->doc->namespace),
                              STR_FMT(s->doc->name));
        }
    }
}

static void tell_replica(struct registry *r, const struct registry_replica *p)
{
    registry_tell(r, "replicas/%.*s", STR_FMT(p->namespace_));
    if (p->doc != NULL)
        tell_endpoints(r, p->doc);
}

struct str registry_identity(const struct registry *r, const struct api_document *workload,
                             struct arena *a)
{
    return arena_printf(a, "spiffe://%.*s/ns/%.*s/sa/%.*s", STR_FMT(r->mesh->trust_domain),
                        STR_FMT(workload->namespace),
                        STR_FMT(workload->spec.workload->service_account));
}

static void each_label(struct registry *r, struct registry_replica *p, bool is_added)
{
    char text[LOOKUP_KEY_MAX];
    for (size_t i = 0; p->doc != NULL && i < p->doc->labels.len; i++) {
        struct str key = lookup_label_key(text, p->namespace_, &p->doc->labels.v[i]);
        if (is_added)
            lookup_add(&r->replicas_by_label, key, p);
        else
            lookup_remove(&r->replicas_by_label, key, p);
    }
}

static void each_address(struct registry *r, struct registry_replica *p, bool is_added)
{
    char text[IP_TEXT_MAX];
    for (size_t i = 0; i < ARRAY_LEN(p->addresses); i++) {
        if (p->addresses[i].family == IP_NONE)
            continue;
        struct str key = ip_format(&p->addresses[i], text);
        if (is_added)
            lookup_add(&r->replicas_by_address, key, p);
        else
            lookup_remove(&r->replicas_by_address, key, p);
    }
}

static void set_addresses(struct registry *r, struct registry_replica *p,
                          const struct ip_addr addresses[2])
{
    each_address(r, p, false);
    p->addresses[0] = addresses[0];
    p->addresses[1] = addresses[1];
    each_address(r, p, true);
}

static void set_doc(struct registry *r, struct registry_replica *p, struct api_document *doc)
{
    const struct api_document *old = p->doc;
    each_label(r, p, false);
    p->doc = api_document_ref(doc);
    each_label(r, p, true);
    api_document_unref((struct api_document *)(uintptr_t)old);
    free((void *)(uintptr_t)p->identity.ptr);
    struct arena a;
    arena_init(&a, 512);
    struct str identity = registry_identity(r, doc, &a);
    p->identity = str_from(str_dup_c(identity), identity.len);
    arena_deinit(&a);
}

static void replica_free(struct registry_replica *p)
{
    api_document_unref((struct api_document *)(uintptr_t)p->doc);
    free((void *)(uintptr_t)p->namespace_.ptr);
    free((void *)(uintptr_t)p->workload.ptr);
    free((void *)(uintptr_t)p->identity.ptr);
    free(p);
}

/* --- what the store keeps of them --- */

#define REPLICA_TABLE "replicas"

/* "NAMESPACE/WORKLOAD/INDEX" */
static struct str name_of(char buf[LOOKUP_KEY_MAX], struct str namespace_, struct str workload,
                          uint32_t index)
{
    int len = snprintf(buf, LOOKUP_KEY_MAX, "%.*s/%.*s/%u", STR_FMT(namespace_), STR_FMT(workload),
                       index);
    return str_from(buf, MIN((size_t)len, (size_t)LOOKUP_KEY_MAX - 1));
}

static struct str record_value(const struct registry_replica *p, struct arena *a)
{
    char v4[IP_TEXT_MAX], v6[IP_TEXT_MAX];
    bool has_v4 = p->addresses[0].family != IP_NONE, has_v6 = p->addresses[1].family != IP_NONE;
    struct str first = has_v4 ? ip_format(&p->addresses[0], v4) : STR("-");
    struct str second = has_v6 ? ip_format(&p->addresses[1], v6) : STR("-");
    return arena_printf(a, "%d %.*s %.*s", (int)p->state, STR_FMT(first), STR_FMT(second));
}

/* What is gone by now is deleted by its name. */
static void note_unkept(struct registry *r, const struct registry_replica *p)
{
    char text[LOOKUP_KEY_MAX];
    struct str name = name_of(text, p->namespace_, p->workload, p->index);
    if (r->unkept.len == 0 && r->on_unkept != NULL)
        r->on_unkept(r->on_unkept_ctx);
    VEC_PUSH(&r->unkept, str_from(str_dup_c(name), name.len));
}

static void keep(struct registry *r, struct registry_replica *p)
{
    if (!p->is_unkept)
        note_unkept(r, p);
    p->is_unkept = true;
}

static int keep_one(struct registry *r, struct str name)
{
    struct registry_replica *p = map_get(&r->replica_by_name, name);
    struct arena a;
    arena_init(&a, 512);
    struct str value = p != NULL ? record_value(p, &a) : STR_NULL;
    if (p != NULL)
        p->is_unkept = false;
    int err = store_record_put(r->store, STR(REPLICA_TABLE), name, value);
    arena_deinit(&a);
    return err;
}

/* Best effort: without it a restart of tulled has to wait for the sidecars' word. */
void registry_keep(struct registry *r)
{
    int err = 0;
    if (r->unkept.len == 0)
        return;
    store_records_begin(r->store);
    for (size_t i = 0; i < r->unkept.len; i++) {
        int one = keep_one(r, r->unkept.ptr[i]);
        err = err != 0 ? err : one;
        free((void *)(uintptr_t)r->unkept.ptr[i].ptr);
    }
    r->unkept.len = 0;
    int end = store_records_end(r->store);
    err = err != 0 ? err : end;
    if (err != 0)
        log_event(LOG_WARN, "replicas_not_kept", LFC("reason", err_text(err)));
}

void registry_on_unkept(struct registry *r, registry_unkept_fn *unkept, void *ctx)
{
    r->on_unkept = unkept;
    r->on_unkept_ctx = ctx;
    if (r->unkept.len > 0 && unkept != NULL)
        unkept(ctx);
}

static void unlist(struct registry *r, struct registry_replica *p)
{
    char text[LOOKUP_KEY_MAX];
    struct registry_replica *last = r->replicas.ptr[r->replicas.len - 1];
    last->at = p->at;
    VEC_REMOVE_SWAP(&r->replicas, p->at);
    map_remove(&r->replica_by_name, name_of(text, p->namespace_, p->workload, p->index));
    lookup_remove(&r->replicas_by_workload, lookup_pair_key(text, p->namespace_, p->workload), p);
    lookup_remove(&r->replicas_by_namespace, p->namespace_, p);
    each_label(r, p, false);
    each_address(r, p, false);
}

static void remove_replica(struct registry *r, struct registry_replica *p)
{
    unlist(r, p);
    p->state = REPLICA_GONE;
    keep(r, p);
    tell_replica(r, p);
    replica_free(p);
}

static struct registry_replica *find(const struct registry *r, struct str namespace_,
                                     struct str workload, uint32_t index)
{
    char text[LOOKUP_KEY_MAX];
    return map_get(&r->replica_by_name, name_of(text, namespace_, workload, index));
}

static struct registry_replica *replica_new(struct registry *r, struct api_document *doc,
                                            uint32_t index)
{
    struct registry_replica *p = NEW(struct registry_replica);
    p->namespace_ = str_from(str_dup_c(doc->namespace), doc->namespace.len);
    p->workload = str_from(str_dup_c(doc->name), doc->name.len);
    p->index = index;
    set_doc(r, p, doc);
    p->at = r->replicas.len;
    VEC_PUSH(&r->replicas, p);
    char text[LOOKUP_KEY_MAX];
    map_put(&r->replica_by_name, name_of(text, p->namespace_, p->workload, index), p);
    lookup_add(&r->replicas_by_workload, lookup_pair_key(text, p->namespace_, p->workload), p);
    lookup_add(&r->replicas_by_namespace, p->namespace_, p);
    return p;
}

/* --- reading them back --- */

static bool parse_address(struct str text, enum ip_family family, struct ip_addr *ret_addr)
{
    if (str_eq(text, STR("-")))
        return true;
    return ip_parse(text, ret_addr) && ret_addr->family == family;
}

static bool parse_record(struct str key, struct str value, struct registry_replica *ret_replica)
{
    struct registry_replica p = {.namespace_ = str_split(&key, '/')};
    uint64_t index, state;
    p.workload = str_split(&key, '/');
    if (!str_to_u64(key, UINT32_MAX, &index) ||
        !str_to_u64(str_split(&value, ' '), REPLICA_DRAINING, &state))
        return false;
    p.index = (uint32_t)index;
    p.state = (enum replica_state)state;
    if (!parse_address(str_split(&value, ' '), IP_V4, &p.addresses[0]) ||
        !parse_address(value, IP_V6, &p.addresses[1]))
        return false;
    *ret_replica = p;
    return true;
}

struct load {
    struct registry *r;
    struct arena arena;
    VEC(struct str) useless;
};

static void on_record(void *ctx, struct str key, struct str value)
{
    struct load *l = ctx;
    struct registry_replica kept;
    struct api_document *doc = NULL;
    if (parse_record(key, value, &kept))
        doc = registry_doc(l->r, API_KIND_WORKLOAD, kept.namespace_, kept.workload);
    if (doc == NULL) {
        VEC_PUSH(&l->useless, arena_str(&l->arena, key));
        return;
    }
    struct registry_replica *p = replica_new(l->r, doc, kept.index);
    p->state = kept.state;
    set_addresses(l->r, p, kept.addresses);
    p->lease_until_us = LEASE_NOT_BEGUN;
    p->is_from_store = true;
}

bool replicas_load(struct registry *r)
{
    struct load l = {.r = r};
    arena_init(&l.arena, 512);
    int err = store_record_list(r->store, STR(REPLICA_TABLE), on_record, &l);
    for (size_t i = 0; err == 0 && i < l.useless.len; i++)
        err = store_record_put(r->store, STR(REPLICA_TABLE), l.useless.ptr[i], STR_NULL);
    VEC_DEINIT(&l.useless);
    arena_deinit(&l.arena);
    return err == 0;
}

/* --- life --- */

struct registry_replica *registry_replica(const struct registry *r, struct str namespace_,
                                          struct str workload, uint32_t index)
{
    return find(r, namespace_, workload, index);
}

/* The first of those that had the address and are not there any more; NULL: none is left. */
static struct registry_replica *find_evicted(const struct registry *r, const struct ip_addr *ip,
                                             const struct registry_replica *newcomer)
{
    char text[IP_TEXT_MAX];
    const struct lookup_items *found = lookup_get(&r->replicas_by_address, ip_format(ip, text));
    for (size_t i = 0; i < found->len; i++) {
        struct registry_replica *p = found->ptr[i];
        if (p != newcomer && p->node == NULL && !p->is_from_store)
            return p;
    }
    return NULL;
}

/* An address that was given away proves another identity now. Those that are only known from the
 * store may share one, as the workloads of a host do, and have not had time to say so. */
static void evict(struct registry *r, const struct ip_addr addresses[2],
                  const struct registry_replica *newcomer)
{
    struct registry_replica *p;
    for (size_t i = 0; i < 2; i++) {
        while (addresses[i].family != IP_NONE &&
               (p = find_evicted(r, &addresses[i], newcomer)) != NULL)
            remove_replica(r, p);
    }
}

int registry_replica_connect(struct registry *r, struct str namespace_, struct str workload,
                             uint32_t index, const struct ip_addr addresses[2], void *node,
                             struct registry_replica **ret_replica)
{
    struct api_document *doc = registry_doc(r, API_KIND_WORKLOAD, namespace_, workload);
    if (doc == NULL)
        return -ERR_NOT_FOUND;
    struct registry_replica *p = find(r, namespace_, workload, index);
    bool is_new = p == NULL;
    if (is_new)
        p = replica_new(r, doc, index);
    bool is_moved =
        !ip_eq(&p->addresses[0], &addresses[0]) || !ip_eq(&p->addresses[1], &addresses[1]);
    if (is_moved)
        set_addresses(r, p, addresses);
    p->node = node;
    p->is_from_store = false;
    p->lost_us = 0;
    p->lease_until_us = UINT64_MAX;
    evict(r, addresses, p);
    if (is_new || is_moved) {
        keep(r, p);
        tell_replica(r, p);
    }
    *ret_replica = p;
    return 0;
}

int registry_replica_hold(struct registry *r, struct str namespace_, struct str workload,
                          uint32_t index, const struct ip_addr addresses[2])
{
    struct api_document *doc = registry_doc(r, API_KIND_WORKLOAD, namespace_, workload);
    if (doc == NULL)
        return -ERR_NOT_FOUND;
    struct registry_replica *p = find(r, namespace_, workload, index);
    if (p != NULL && p->node != NULL)
        return 0; /* its sidecar tells of it */
    if (p == NULL) {
        p = replica_new(r, doc, index);
        p->lease_until_us = LEASE_NOT_BEGUN;
    }
    set_addresses(r, p, addresses);
    p->state = REPLICA_READY;
    keep(r, p);
    tell_replica(r, p);
    return 0;
}

void registry_replica_set_state(struct registry *r, struct registry_replica *replica,
                                enum replica_state state)
{
    if (replica->state == state)
        return;
    if (state == REPLICA_GONE) {
        remove_replica(r, replica);
        return;
    }
    replica->state = state;
    keep(r, replica);
    tell_replica(r, replica);
}

void registry_replica_disconnect(struct registry *r, struct registry_replica *replica,
                                 uint64_t now_us)
{
    replica->node = NULL;
    replica->lost_us = now_us;
    replica->lease_until_us = now_us + r->lease_us;
}

uint64_t registry_expire(struct registry *r, uint64_t now_us)
{
    uint64_t next = UINT64_MAX;
    for (size_t i = r->replicas.len; i-- > 0;) {
        struct registry_replica *p = r->replicas.ptr[i];
        bool is_held =
            p->lease_until_us <= now_us && bypass_has_inbound(r, p->namespace_, p->workload);
        if (p->lease_until_us == LEASE_NOT_BEGUN || is_held)
            p->lease_until_us = now_us + r->lease_us;
        if (p->lease_until_us <= now_us)
            remove_replica(r, p);
        else
            next = MIN(next, p->lease_until_us);
    }
    return next;
}

void registry_replicas(const struct registry *r,
                       void (*each)(void *ctx, const struct registry_replica *p), void *ctx)
{
    for (size_t i = 0; i < r->replicas.len; i++)
        each(ctx, r->replicas.ptr[i]);
}

static void each_of(const struct lookup_items *items,
                    void (*each)(void *ctx, const struct registry_replica *p), void *ctx)
{
    for (size_t i = 0; i < items->len; i++)
        each(ctx, items->ptr[i]);
}

void registry_replicas_in(const struct registry *r, struct str namespace_,
                          void (*each)(void *ctx, const struct registry_replica *p), void *ctx)
{
    each_of(lookup_get(&r->replicas_by_namespace, namespace_), each, ctx);
}

void registry_replicas_of(const struct registry *r, struct str namespace_, struct str workload,
                          void (*each)(void *ctx, const struct registry_replica *p), void *ctx)
{
    char key[LOOKUP_KEY_MAX];
    each_of(lookup_get(&r->replicas_by_workload, lookup_pair_key(key, namespace_, workload)), each,
            ctx);
}

void registry_replicas_at(const struct registry *r, const struct ip_addr *ip,
                          void (*each)(void *ctx, const struct registry_replica *p), void *ctx)
{
    char key[IP_TEXT_MAX];
    each_of(lookup_get(&r->replicas_by_address, ip_format(ip, key)), each, ctx);
}

static int by_address(const void *a, const void *b)
{
    const struct registry_replica *const *p = a, *const *q = b;
    int order = ip_cmp(&(*p)->addresses[0], &(*q)->addresses[0]);
    if (order == 0)
        order = ip_cmp(&(*p)->addresses[1], &(*q)->addresses[1]);
    if (order == 0)
        order = str_cmp((*p)->workload, (*q)->workload);
    return order != 0 ? order : ((*p)->index > (*q)->index) - ((*p)->index < (*q)->index);
}

void registry_service_replicas(const struct registry *r, const struct registry_service *s,
                               void (*each)(void *ctx, const struct registry_replica *p), void *ctx)
{
    VEC(const struct registry_replica *) found = {0};
    const struct api_labels *selector = &s->doc->spec.service->selector;
    char key[LOOKUP_KEY_MAX];
    if (selector->len == 0)
        return;
    const struct lookup_items *candidates =
        lookup_get(&r->replicas_by_label, lookup_label_key(key, s->doc->namespace, selector->v));
    for (size_t i = 0; i < candidates->len; i++) {
        const struct registry_replica *p = candidates->ptr[i];
        if (p->state == REPLICA_READY && service_selects(s, p->doc))
            VEC_PUSH(&found, p);
    }
    if (found.len > 0)
        qsort(found.ptr, found.len, sizeof *found.ptr, by_address);
    for (size_t i = 0; i < found.len; i++)
        each(ctx, found.ptr[i]);
    VEC_DEINIT(&found);
}

/* A deleted workload takes its replicas along; changed labels move them between services. */
void replicas_workload_changed(struct registry *r, const struct api_document *old,
                               const struct api_document *now)
{
    const struct api_document *d = now != NULL ? now : old;
    ASSERT(d != NULL);
    char key[LOOKUP_KEY_MAX];
    struct str pair = lookup_pair_key(key, d->namespace, d->name);
    bool has_replicas = lookup_get(&r->replicas_by_workload, pair)->len > 0;
    bool is_other_namespace = old == NULL   ? registry_namespace_use(r, d->namespace)
                              : now == NULL ? registry_namespace_leave(r, d->namespace)
                                            : false;
    for (size_t i = lookup_get(&r->replicas_by_workload, pair)->len; i-- > 0;) {
        struct registry_replica *p = lookup_get(&r->replicas_by_workload, pair)->ptr[i];
        if (now == NULL)
            remove_replica(r, p);
        else
            set_doc(r, p, (struct api_document *)(uintptr_t)now);
    }
    /* Told when all is changed: who listens may look at once. */
    if (is_other_namespace)
        registry_tell(r, "namespaces");
    registry_tell(r, "workload/%.*s/%.*s", STR_FMT(d->namespace), STR_FMT(d->name));
    if (!has_replicas)
        return;
    registry_tell(r, "replicas/%.*s", STR_FMT(d->namespace));
    if (old != NULL)
        tell_endpoints(r, old);
    if (now != NULL)
        tell_endpoints(r, now);
}

/* The trust domain is part of every identity. */
void replicas_mesh_changed(struct registry *r)
{
    for (size_t i = 0; i < r->replicas.len; i++) {
        struct registry_replica *p = r->replicas.ptr[i];
        struct str old = p->identity;
        p->identity = STR_NULL;
        set_doc(r, p, (struct api_document *)(uintptr_t)p->doc);
        bool is_equal = str_eq(old, p->identity);
        free((void *)(uintptr_t)old.ptr);
        if (!is_equal)
            tell_replica(r, p);
    }
}

void replicas_free(struct registry *r)
{
    registry_keep(r);
    for (size_t i = 0; i < r->replicas.len; i++)
        replica_free(r->replicas.ptr[i]);
    VEC_DEINIT(&r->replicas);
    VEC_DEINIT(&r->unkept);
}
