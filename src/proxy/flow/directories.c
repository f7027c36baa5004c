/* The directories of all namespaces: each has its own table, shared by all workers; a look-up asks
 * one after the other. */
#include <stdlib.h>

#include "proxy/flow/flow_priv.h"

void directories_deinit(struct flows *f)
{
    VEC_DEINIT(&f->directory_list);
    VEC_DEINIT(&f->ranges);
}

/* Every namespace says the same ones. */
static void add_range(struct flows *f, const struct cidr *range)
{
    for (size_t i = 0; i < f->ranges.len; i++) {
        if (memcmp(&f->ranges.ptr[i], range, sizeof *range) == 0)
            return;
    }
    VEC_PUSH(&f->ranges, *range);
}

static void add_directory(struct flows *f, const struct directory *d)
{
    VEC_PUSH(&f->directory_list, d);
    for (size_t i = 0; i < d->address_range_count; i++)
        add_range(f, &d->address_ranges[i]);
    f->is_registry_only |= d->is_registry_only;
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

void directories_changed(struct flows *f)
{
    size_t iter = 0;
    void *value;
    f->directory_list.len = f->ranges.len = 0;
    f->is_registry_only = false;
    while (map_next(&f->directories, &iter, NULL, &value)) {
        const struct resource *r = value;
        add_directory(f, r->directory);
        note_own(f, r->directory);
    }
    memset(f->hosts_known, 0, sizeof f->hosts_known);
}

static bool is_in_range(const struct flows *f, const struct ip_addr *ip)
{
    for (size_t i = 0; i < f->ranges.len; i++) {
        if (cidr_match(&f->ranges.ptr[i], ip))
            return true;
    }
    return false;
}

struct directory_hit directories_find(const struct flows *f, const struct ip_addr *ip)
{
    struct directory_hit hit = {.is_registry_only = f->is_registry_only};
    for (size_t i = 0; i < f->directory_list.len && hit.service == NULL; i++)
        directory_find_ip(f->directory_list.ptr[i], ip, &hit.service, &hit.workload);
    /* A service's address is nobody else's, whatever another namespace's replica says. */
    if (hit.service != NULL)
        hit.workload = NULL;
    else if (hit.workload == NULL)
        hit.is_in_range = is_in_range(f, ip);
    return hit;
}

const struct directory_service *directories_find_host(const struct flows *f, struct str host)
{
    const struct directory_service *s = NULL;
    for (size_t i = 0; i < f->directory_list.len && s == NULL; i++)
        s = directory_find_host(f->directory_list.ptr[i], host);
    return s;
}

bool flow_is_mesh_addr(const struct flows *f, const struct addr *a)
{
    struct ip_addr ip = flow_ip(a);
    struct directory_hit hit = directories_find(f, &ip);
    return hit.service != NULL || hit.workload != NULL || hit.is_in_range;
}
