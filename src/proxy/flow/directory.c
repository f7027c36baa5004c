/* The directories of all namespaces, indexed by address and host. */
#include <stdlib.h>

#include "proxy/flow/flow_priv.h"

struct directory_index {
    struct map addresses; /* "4" or "6" and the bytes -> struct by_address */
    struct map hosts;     /* host -> struct directory_service */
    struct arena arena;
    VEC(struct cidr) ranges;
    bool is_registry_only;
};

struct by_address {
    const struct directory_service *service;
    const struct directory_workload *workload;
};

enum { ADDRESS_KEY_LEN = 17 };

static struct str address_key(const struct ip_addr *ip, char buf[ADDRESS_KEY_LEN])
{
    buf[0] = (char)ip->family;
    memcpy(buf + 1, ip->bytes, sizeof ip->bytes);
    return str_from(buf, 1 + ip_len(ip));
}

struct directory_index *directory_index_free(struct directory_index *index)
{
    if (index == NULL)
        return NULL;
    map_deinit(&index->addresses);
    map_deinit(&index->hosts);
    VEC_DEINIT(&index->ranges);
    arena_deinit(&index->arena);
    free(index);
    return NULL;
}

static void add_address(struct directory_index *index, const struct ip_addr *ip,
                        const struct directory_service *service,
                        const struct directory_workload *workload)
{
    char buf[ADDRESS_KEY_LEN];
    if (ip->family == IP_NONE)
        return;
    /* A service's address is the registry's to give, a replica's is its own word in part. */
    const struct by_address *present = map_get(&index->addresses, address_key(ip, buf));
    if (service == NULL && present != NULL && present->service != NULL)
        return;
    struct by_address *entry = ARENA_NEW(&index->arena, struct by_address);
    *entry = (struct by_address){service, workload};
    map_put(&index->addresses, address_key(ip, buf), entry);
}

static void add_directory(struct directory_index *index, const struct directory *d)
{
    for (size_t i = 0; i < d->service_count; i++) {
        const struct directory_service *s = &d->services[i];
        add_address(index, &s->addresses[0], s, NULL);
        add_address(index, &s->addresses[1], s, NULL);
        map_put(&index->hosts, s->host, (void *)(uintptr_t)s);
    }
    for (size_t i = 0; i < d->workload_count; i++) {
        const struct directory_workload *w = &d->workloads[i];
        add_address(index, &w->addresses[0], NULL, w);
        add_address(index, &w->addresses[1], NULL, w);
    }
    for (size_t i = 0; i < d->address_range_count; i++)
        VEC_PUSH(&index->ranges, d->address_ranges[i]);
    index->is_registry_only |= d->is_registry_only;
}

/* The labels of this workload, as everybody sees them. */
static void note_own(struct flows *f, const struct directory *d)
{
    for (size_t i = 0; i < d->workload_count; i++) {
        const struct directory_workload *w = &d->workloads[i];
        if (!str_eq(w->name, f->env.own_workload) || !str_eq(w->namespace_, f->env.own_namespace))
            continue;
        f->own_peer = metrics_intern_peer(f->env.metrics, &(struct metrics_peer){
                                                              .workload = w->name,
                                                              .namespace_ = w->namespace_,
                                                              .principal = f->env.own_principal,
                                                              .app = w->app,
                                                              .version = w->version,
                                                              .cluster = f->env.own_cluster,
                                                          });
        return;
    }
}

void directory_rebuild(struct flows *f)
{
    struct directory_index *index = NEW(struct directory_index);
    map_init(&index->addresses);
    map_init(&index->hosts);
    arena_init(&index->arena, 4096);
    size_t iter = 0;
    void *value;
    while (map_next(&f->directories, &iter, NULL, &value)) {
        const struct resource *r = value;
        add_directory(index, r->directory);
        note_own(f, r->directory);
    }
    directory_index_free(f->index);
    f->index = index;
    memset(f->hosts_known, 0, sizeof f->hosts_known);
}

struct directory_hit directory_find(const struct flows *f, const struct ip_addr *ip)
{
    char buf[ADDRESS_KEY_LEN];
    struct directory_hit hit = {.is_registry_only = f->index->is_registry_only};
    const struct by_address *entry = map_get(&f->index->addresses, address_key(ip, buf));
    if (entry != NULL) {
        hit.service = entry->service;
        hit.workload = entry->workload;
        return hit;
    }
    for (size_t i = 0; i < f->index->ranges.len; i++)
        hit.is_in_range |= cidr_match(&f->index->ranges.ptr[i], ip);
    return hit;
}

const struct directory_service *directory_find_host(const struct flows *f, struct str host)
{
    return map_get(&f->index->hosts, host);
}

bool flow_is_mesh_addr(const struct flows *f, const struct addr *a)
{
    struct ip_addr ip = flow_ip(a);
    struct directory_hit hit = directory_find(f, &ip);
    return hit.service != NULL || hit.workload != NULL || hit.is_in_range;
}
