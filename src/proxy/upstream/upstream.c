#include "proxy/upstream/upstream_priv.h"

struct upstream *upstream_new(const struct upstream_env *env)
{
    struct upstream *u = NEW(struct upstream);
    u->env = *env;
    u->share = env->share;
    if (u->share == NULL) {
        u->share = u->own_share = NEW(struct upstream_share);
        upstream_share_init(u->share, 1);
    }
    u->share->workers[env->index].upstream = u;
    u->share->workers[env->index].turn = env->turn;
    map_init(&u->clusters);
    map_init(&u->endpoints);
    list_init(&u->zombies);
    lookup_files_init(&u->files);
    return u;
}

static void remove_all_clusters(struct upstream *u)
{
    size_t iter = 0;
    struct str name;
    void *value;
    while (map_next(&u->clusters, &iter, &name, &value)) {
        struct upstream_cluster *c = value;
        map_remove(&u->clusters, name);
        for (size_t i = 0; i < c->hosts.len; i++)
            pool_abort(c->hosts.ptr[i]);
        cluster_remove(c);
    }
}

void upstream_free_if_unused(struct upstream *u)
{
    if (!u->is_ending || !list_is_empty(&u->zombies))
        return;
    if (u->own_share != NULL)
        upstream_share_deinit(u->own_share);
    free(u->own_share);
    lookup_files_deinit(&u->files);
    free(u);
}

struct upstream *upstream_free(struct upstream *u)
{
    if (u == NULL)
        return NULL;
    u->share->workers[u->env.index].upstream = NULL;
    remove_all_clusters(u);
    size_t iter = 0;
    struct str name;
    void *value;
    while (map_next(&u->endpoints, &iter, &name, &value))
        resource_unref(value);
    map_deinit(&u->endpoints);
    map_deinit(&u->clusters);
    /* Not before: a cluster that goes in the meantime must not take u along. */
    u->is_ending = true;
    upstream_free_if_unused(u);
    /* else: the last host that is let go frees it (cluster_free_if_unused). */
    return NULL;
}

struct upstream_cluster *upstream_find(struct upstream *u, struct str name)
{
    return map_get(&u->clusters, name);
}

size_t upstream_host_count(const struct upstream_cluster *c)
{
    return c->hosts.len;
}

const struct cluster *upstream_cluster_config(const struct upstream_cluster *c)
{
    return c->config;
}

void upstream_set_cluster(struct upstream *u, struct str name, struct resource *cluster)
{
    struct upstream_cluster *c = map_get(&u->clusters, name);
    if (cluster == NULL) {
        if (c != NULL) {
            map_remove(&u->clusters, name);
            cluster_remove(c);
        }
        return;
    }
    if (c == NULL) {
        c = cluster_new(u, name);
        map_put(&u->clusters, name, c);
    }
    cluster_set_config(c, cluster);
    if (cluster->cluster->kind == CLUSTER_EDS)
        cluster_set_endpoints(c, map_get(&u->endpoints, cluster_endpoints_name(c)));
}

void upstream_set_endpoints(struct upstream *u, struct str name, struct resource *endpoints)
{
    struct resource *old = endpoints != NULL
                               ? map_put(&u->endpoints, name, resource_hold(endpoints))
                               : map_remove(&u->endpoints, name);
    size_t iter = 0;
    void *value;
    while (map_next(&u->clusters, &iter, NULL, &value)) {
        struct upstream_cluster *c = value;
        if (c->config->kind == CLUSTER_EDS && str_eq(cluster_endpoints_name(c), name))
            cluster_set_endpoints(c, endpoints);
    }
    resource_unref(old);
}

void upstream_identity_changed(struct upstream *u)
{
    uint64_t generation = tls_store_generation(u->env.tls);
    size_t iter = 0;
    void *value;
    while (map_next(&u->clusters, &iter, NULL, &value)) {
        struct upstream_cluster *c = value;
        for (size_t i = 0; i < c->hosts.len; i++)
            pool_drain(c->hosts.ptr[i], generation);
    }
}
