/* Documents of the registry: parsed once, sorted, indexed by what readers ask for. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/log.h"
#include "control/api/destination_rule.h"
#include "control/api/references.h"
#include "control/registry/registry_priv.h"

enum { FACT_LEN_MAX = 1024, LEASE_US = 30 * 1000 * 1000, ROOTS_BYTES_MAX = 256 * 1024 };

void registry_tell(struct registry *r, const char *fmt, ...)
{
    char fact[FACT_LEN_MAX];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(fact, sizeof fact, fmt, args);
    va_end(args);
    ASSERT(len > 0 && (size_t)len < sizeof fact);
    for (size_t i = 0; i < r->watchers.len; i++)
        r->watchers.ptr[i].changed(r->watchers.ptr[i].ctx, str_from(fact, (size_t)len));
}

void registry_watch(struct registry *r, registry_changed_fn *changed, void *ctx)
{
    VEC_PUSH(&r->watchers, ((struct registry_watcher){changed, ctx}));
}

/* --- the sorted arrays --- */

static int compare(struct str namespace_a, struct str name_a, struct str namespace_b,
                   struct str name_b)
{
    int order = str_cmp(namespace_a, namespace_b);
    return order != 0 ? order : str_cmp(name_a, name_b);
}

/* Where the document is, or would be. */
static size_t lower_bound(const struct registry *r, enum api_kind kind, struct str namespace_,
                          struct str name)
{
    size_t from = 0, to = r->docs[kind].len;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        const struct api_document *d = r->docs[kind].ptr[mid];
        if (compare(d->namespace, d->name, namespace_, name) < 0)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

struct api_document *registry_doc(const struct registry *r, enum api_kind kind,
                                  struct str namespace_, struct str name)
{
    size_t at = lower_bound(r, kind, namespace_, name);
    if (at == r->docs[kind].len)
        return NULL;
    struct api_document *d = r->docs[kind].ptr[at];
    return compare(d->namespace, d->name, namespace_, name) == 0 ? d : NULL;
}

struct registry_docs registry_docs(const struct registry *r, enum api_kind kind,
                                   struct str namespace_)
{
    size_t from = 0, to = r->docs[kind].len;
    if (namespace_.len > 0) {
        from = lower_bound(r, kind, namespace_, STR_NULL);
        for (to = from;
             to < r->docs[kind].len && str_eq(r->docs[kind].ptr[to]->namespace, namespace_);)
            to++;
    }
    /* There may be no document of the kind at all: NULL + 0 is undefined. */
    if (to == from)
        return (struct registry_docs){NULL, 0};
    return (struct registry_docs){r->docs[kind].ptr + from, to - from};
}

static void insert_doc(struct registry *r, struct api_document *d)
{
    size_t at = lower_bound(r, d->kind, d->namespace, d->name);
    VEC_PUSH(&r->docs[d->kind], d);
    struct api_document **ptr = r->docs[d->kind].ptr;
    memmove(ptr + at + 1, ptr + at, (r->docs[d->kind].len - 1 - at) * sizeof *ptr);
    ptr[at] = d;
}

static struct api_document *take_doc(struct registry *r, enum api_kind kind, struct str namespace_,
                                     struct str name)
{
    struct api_document *d = registry_doc(r, kind, namespace_, name);
    if (d == NULL)
        return NULL;
    size_t at = lower_bound(r, kind, namespace_, name);
    struct api_document **ptr = r->docs[kind].ptr;
    memmove(ptr + at, ptr + at + 1, (r->docs[kind].len - 1 - at) * sizeof *ptr);
    r->docs[kind].len--;
    return d;
}

/* --- facts --- */

static void tell_routes(struct registry *r, const struct api_document *d)
{
    struct arena a;
    arena_init(&a, 512);
    for (size_t i = 0; i < d->spec.virtual_service->hosts.len; i++) {
        struct str host = api_host_fqdn(&a, d->spec.virtual_service->hosts.v[i], d->namespace);
        registry_tell(r, "routes/%.*s", STR_FMT(host));
    }
    arena_deinit(&a);
}

static void tell_rules(struct registry *r, const struct api_document *d)
{
    struct arena a;
    arena_init(&a, 512);
    struct str host = api_host_fqdn(&a, d->spec.destination_rule->host, d->namespace);
    registry_tell(r, "rules/%.*s", STR_FMT(host));
    arena_deinit(&a);
}

static void tell_docs(struct registry *r, const struct api_document *d)
{
    registry_tell(r, "docs/%s/%.*s", api_kind_info(d->kind)->name, STR_FMT(d->namespace));
}

static void for_both(struct registry *r, const struct api_document *old,
                     const struct api_document *now,
                     void (*tell)(struct registry *r, const struct api_document *d))
{
    if (old != NULL)
        tell(r, old);
    if (now != NULL)
        tell(r, now);
}

static void mesh_changed(struct registry *r)
{
    struct registry_docs docs = registry_docs(r, API_KIND_MESH, STR_NULL);
    r->mesh = docs.len > 0 ? docs.ptr[0]->spec.mesh : api_mesh_default();
    registry_tell(r, "mesh");
    replicas_mesh_changed(r);
}

static void changed(struct registry *r, const struct api_document *old, struct api_document *now)
{
    switch (now != NULL ? now->kind : old->kind) {
    case API_KIND_MESH:
        mesh_changed(r);
        return;
    case API_KIND_SERVICE:
        services_changed(r, old, now);
        return;
    case API_KIND_WORKLOAD:
        replicas_workload_changed(r, old, now);
        return;
    case API_KIND_VIRTUAL_SERVICE:
        for_both(r, old, now, tell_routes);
        return;
    case API_KIND_DESTINATION_RULE:
        for_both(r, old, now, tell_rules);
        return;
    case API_KIND_PEER_AUTHENTICATION:
    case API_KIND_AUTHORIZATION_POLICY:
    case API_KIND_NAMESPACE:
    case API_KIND_SERVICE_ACCOUNT:
        for_both(r, old, now, tell_docs);
        return;
    case API_KIND_COUNT:
        break;
    }
}

/* --- by host --- */

/* In its place among the others, which are sorted. */
static void add_sorted(struct lookup *l, struct str host, struct api_document *d)
{
    struct lookup_items *items = lookup_add(l, host, d);
    size_t at = items->len - 1;
    for (; at > 0; at--) {
        const struct api_document *before = items->ptr[at - 1];
        if (compare(before->namespace, before->name, d->namespace, d->name) <= 0)
            break;
        items->ptr[at] = items->ptr[at - 1];
    }
    items->ptr[at] = d;
}

static void index_host(struct lookup *l, struct str host, struct api_document *d, bool is_added)
{
    lookup_remove(l, host, d); /* a document may name a host twice */
    if (is_added)
        add_sorted(l, host, d);
}

struct user {
    struct registry *r;
    struct api_document *d;
    bool is_added;
};

static void on_reference(void *ctx, struct str place)
{
    const struct user *u = ctx;
    if (u->is_added)
        lookup_add(&u->r->users, place, u->d);
    else
        lookup_remove(&u->r->users, place, u->d);
}

static void index_doc(struct registry *r, struct api_document *d, bool is_added)
{
    struct user user = {r, d, is_added};
    struct arena a;
    if (d == NULL || (d->kind != API_KIND_DESTINATION_RULE && d->kind != API_KIND_VIRTUAL_SERVICE))
        return;
    api_document_references(d, on_reference, &user);
    arena_init(&a, 512);
    if (d->kind == API_KIND_DESTINATION_RULE)
        index_host(&r->rules_by_host,
                   api_host_fqdn(&a, d->spec.destination_rule->host, d->namespace), d, is_added);
    for (size_t i = 0;
         d->kind == API_KIND_VIRTUAL_SERVICE && i < d->spec.virtual_service->hosts.len; i++)
        index_host(&r->routes_by_host,
                   api_host_fqdn(&a, d->spec.virtual_service->hosts.v[i], d->namespace), d,
                   is_added);
    arena_deinit(&a);
}

static void each_by_host(const struct lookup *l, struct str host,
                         void (*each)(void *ctx, const struct api_document *d), void *ctx)
{
    const struct lookup_items *items = lookup_get(l, host);
    for (size_t i = 0; i < items->len; i++)
        each(ctx, items->ptr[i]);
}

void registry_routes(const struct registry *r, struct str host,
                     void (*each)(void *ctx, const struct api_document *d), void *ctx)
{
    each_by_host(&r->routes_by_host, host, each, ctx);
}

void registry_users(const struct registry *r, struct str place,
                    void (*each)(void *ctx, const struct api_document *d), void *ctx)
{
    each_by_host(&r->users, place, each, ctx);
}

void registry_rules(const struct registry *r, struct str host,
                    void (*each)(void *ctx, const struct api_document *d), void *ctx)
{
    each_by_host(&r->rules_by_host, host, each, ctx);
}

static void put_doc(struct registry *r, struct api_document *d)
{
    struct api_document *old = take_doc(r, d->kind, d->namespace, d->name);
    index_doc(r, old, false);
    insert_doc(r, api_document_ref(d));
    index_doc(r, d, true);
    changed(r, old, d);
    api_document_unref(old);
}

/* What the store holds was checked when it was put; should a newer program refuse it, it is left
 * out and said. */
static void parse_object(struct registry *r, const struct store_object *o,
                         void (*then)(struct registry *r, struct api_document *d))
{
    struct api_document_list list;
    struct api_findings findings;
    api_document_list_init(&list);
    api_findings_init(&findings);
    struct api_source source = {.file = o->file, .text = o->json, .stored_line = o->line};
    if (api_document_parse(&source, &list, &findings) != 0)
        log_event(LOG_ERROR, "stored_document_refused", LFC("kind", api_kind_info(o->kind)->name),
                  LF("namespace", o->namespace_), LF("name", o->name));
    for (size_t i = 0; i < list.docs.len; i++)
        then(r, list.docs.ptr[i]);
    api_document_list_deinit(&list);
    api_findings_deinit(&findings);
}

static void on_store(void *ctx, enum store_change change, const struct store_object *o)
{
    struct registry *r = ctx;
    if (change != STORE_DELETED) {
        parse_object(r, o, put_doc);
        return;
    }
    struct api_document *old = take_doc(r, o->kind, o->namespace_, o->name);
    if (old == NULL)
        return;
    index_doc(r, old, false);
    changed(r, old, NULL);
    api_document_unref(old);
}

static void on_told(void *ctx, int err)
{
    services_told(ctx, err);
}

/* --- life --- */

static void on_load(void *ctx, const struct store_object *o)
{
    parse_object(ctx, o, put_doc);
}

static void init_lookups(struct registry *r)
{
    map_init(&r->replica_by_name);
    lookup_init(&r->replicas_by_workload);
    lookup_init(&r->replicas_by_namespace);
    lookup_init(&r->replicas_by_address);
    lookup_init(&r->replicas_by_label);
    lookup_init(&r->services_by_label);
    lookup_init(&r->routes_by_host);
    lookup_init(&r->rules_by_host);
    lookup_init(&r->users);
}

static void deinit_lookups(struct registry *r)
{
    map_deinit(&r->replica_by_name);
    namespaces_free(r);
    lookup_deinit(&r->replicas_by_workload);
    lookup_deinit(&r->replicas_by_namespace);
    lookup_deinit(&r->replicas_by_address);
    lookup_deinit(&r->replicas_by_label);
    lookup_deinit(&r->services_by_label);
    lookup_deinit(&r->routes_by_host);
    lookup_deinit(&r->rules_by_host);
    lookup_deinit(&r->users);
}

struct registry *registry_new(struct store *s, struct str_buf *why)
{
    struct registry *r = NEW(struct registry);
    r->store = s;
    r->mesh = api_mesh_default();
    r->lease_us = LEASE_US;
    r->roots = STR_BUF_INIT(ROOTS_BYTES_MAX);
    init_lookups(r);
    if (!revoked_load(r)) {
        str_buf_add_c(why, "the store's table of revoked identities cannot be read");
        return registry_free(r);
    }
    if (!bypass_load(r)) {
        str_buf_add_c(why, "the store's table of bypasses cannot be read");
        return registry_free(r);
    }
    if (!services_load_addresses(r)) {
        str_buf_add_c(why, "the store's table of addresses cannot be read");
        return registry_free(r);
    }
    for (int kind = 0; kind < API_KIND_COUNT; kind++) {
        int err = store_list(s, (enum api_kind)kind, STR_NULL, on_load, r);
        if (err != 0) {
            str_buf_printf(why, "reading %s documents: %s",
                           api_kind_info((enum api_kind)kind)->name, err_text(err));
            return registry_free(r);
        }
    }
    if (!replicas_load(r)) {
        str_buf_add_c(why, "the store's table of replicas cannot be read");
        return registry_free(r);
    }
    services_told(r, 0);
    store_watch(s, on_store, on_told, r);
    return r;
}

struct registry *registry_free(struct registry *r)
{
    if (r == NULL)
        return NULL;
    replicas_free(r);
    services_free(r);
    revoked_free(r);
    deinit_lookups(r);
    bypass_free(r);
    for (int kind = 0; kind < API_KIND_COUNT; kind++) {
        for (size_t i = 0; i < r->docs[kind].len; i++)
            api_document_unref(r->docs[kind].ptr[i]);
        VEC_DEINIT(&r->docs[kind]);
    }
    VEC_DEINIT(&r->watchers);
    str_buf_deinit(&r->roots);
    free(r);
    return NULL;
}

const struct api_mesh *registry_mesh(const struct registry *r)
{
    return r->mesh;
}

void registry_set_roots(struct registry *r, struct str pem)
{
    if (str_eq(str_buf_str(&r->roots), pem))
        return;
    str_buf_reset(&r->roots);
    str_buf_add(&r->roots, pem);
    ASSERT(!r->roots.is_overflown);
    registry_tell(r, "roots");
}

struct str registry_roots(const struct registry *r)
{
    return str_buf_str(&r->roots);
}
