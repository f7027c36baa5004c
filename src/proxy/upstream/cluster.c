#include "proxy/upstream/upstream_priv.h"

enum {
    ORIGINAL_DST_CLEANUP_US = 5 * 1000 * 1000,
    ORIGINAL_DST_HOSTS_MAX = 10000,
    ENDPOINT_ADDRS_MAX = 32,
};

static void cleanup_idle_hosts(struct timer *t);
static void waiting_run(struct turn_task *t);
static void failed_run(struct turn_task *t);
static void unresolved_run(struct turn_task *t);

struct upstream_cluster *cluster_new(struct upstream *u, struct str name)
{
    struct upstream_cluster *c = NEW(struct upstream_cluster);
    c->u = u;
    list_init(&c->link);
    list_init(&c->waiting);
    list_init(&c->failed);
    list_init(&c->unresolved);
    list_init(&c->unresolved_tcp);
    turn_task_init(&c->waiting_task, waiting_run);
    turn_task_init(&c->failed_task, failed_run);
    turn_task_init(&c->unresolved_task, unresolved_run);
    timer_init(&c->cleanup_timer, cleanup_idle_hosts);
    c->name = str_from(str_dup_c(name), name.len);
    c->is_eligible_stale = true;
    c->next = u->env.index; /* workers do not all begin with the same host */
    c->share = cluster_share_acquire(u->share, name);
    outlier_init(c);
    return c;
}

struct str cluster_endpoints_name(const struct upstream_cluster *c)
{
    return c->config->eds_service_name.len > 0 ? c->config->eds_service_name : c->name;
}

void cluster_free_if_unused(struct upstream_cluster *c)
{
    /* Attempts whose failure is not yet told need it: failed_run looks again. */
    if (!c->is_removed || c->held > 0 || !list_is_empty(&c->failed))
        return;
    struct upstream *u = c->u;
    list_remove(&c->link);
    outlier_deinit(c);
    timer_stop(&c->cleanup_timer);
    turn_cancel(&c->waiting_task);
    turn_cancel(&c->failed_task);
    turn_cancel(&c->unresolved_task);
    ASSERT(list_is_empty(&c->waiting));
    ASSERT(c->granted == 0);
    cluster_share_release(c->share);
    resource_unref(c->resource);
    resource_unref(c->endpoints);
    free(c->hosts.ptr);
    free(c->eligible.ptr);
    free((void *)(uintptr_t)c->name.ptr);
    free(c);
    upstream_free_if_unused(u);
}

static void drop_host_at(struct upstream_cluster *c, size_t i)
{
    struct upstream_host *h = c->hosts.ptr[i];
    VEC_REMOVE_SWAP(&c->hosts, i);
    lb_invalidate(c);
    host_leave(h);
}

static void give_back_granted(struct upstream_cluster *c)
{
    while (c->granted > 0) {
        c->granted--;
        bool is_ours = share_give_connection(c->share, c->u->env.index);
        ASSERT(!is_ours); /* nobody waits here: the bit says so */
    }
}

void cluster_remove(struct upstream_cluster *c)
{
    c->is_removed = true;
    c->held++; /* keeps c while its hosts leave */
    list_push_back(&c->u->zombies, &c->link);
    struct outcome why = {.err = -ERR_NOT_FOUND,
                          .fault = FAULT_LOCAL,
                          .is_retryable = true,
                          .is_unanswered = true,
                          .status = 503,
                          .flags = FLAG_BIT(NO_CLUSTER),
                          .details = STR("cluster_removed")};
    struct upstream_attempt *a;
    outlier_deinit(c);
    dns_stop(c);
    timer_stop(&c->cleanup_timer);
    while ((a = LIST_FIRST(&c->unresolved, struct upstream_attempt, link)) != NULL)
        attempt_fail_later(a, &why);
    turn_soon(c->u->env.turn, &c->unresolved_task);
    while ((a = LIST_FIRST(&c->waiting, struct upstream_attempt, link)) != NULL) {
        share_give(&c->share->pending);
        attempt_fail_later(a, &why);
    }
    /* The bit is the next one's of this name from here on. */
    turn_cancel(&c->waiting_task);
    share_set_waiting(c->share, c->u->env.index, false);
    give_back_granted(c);
    while (c->hosts.len > 0)
        drop_host_at(c, c->hosts.len - 1);
    c->held--;
    cluster_free_if_unused(c);
}

metrics_id upstream_cluster_service(struct upstream_cluster *c)
{
    if (c->is_service_known)
        return c->service;
    struct metrics_destination d = {.service_name = c->config->name};
    if (c->config->service.host.len > 0) {
        d.service = c->config->service.host;
        d.service_name = c->config->service.name;
        d.service_namespace = c->config->service.namespace_;
    }
    c->is_service_known = true;
    c->service = metrics_intern_destination(c->u->env.metrics, &d);
    return c->service;
}

/* --- configuration --- */

static void set_limits(struct upstream_cluster *c)
{
    const struct cluster *config = c->config;
    c->limits = *c->u->env.limits;
    if (config->http2.stream_window_bytes > 0)
        c->limits.flow_window_bytes =
            limits_clamp(STR("flow_window_bytes"), config->http2.stream_window_bytes);
    if (config->http2.connection_window_bytes > 0)
        c->limits.conn_window_bytes =
            limits_clamp(STR("conn_window_bytes"), config->http2.connection_window_bytes);
    if (config->max_headers_count > 0)
        c->limits.header_count_max = config->max_headers_count;
    if (config->max_response_headers_kb > 0)
        c->limits.header_bytes_max = (uint64_t)config->max_response_headers_kb * 1024;
}

struct h2_bounds upstream_h2_bounds(const struct http2_options *options)
{
    return (struct h2_bounds){
        .outbound_frames_max = options->outbound_frames_max,
        .outbound_control_frames_max = options->outbound_control_frames_max,
        .empty_frames_max = options->empty_frames_max,
        .priority_frames_max = options->priority_frames_max,
        .window_updates_max = options->window_updates_max,
    };
}

void cluster_set_config(struct upstream_cluster *c, struct resource *r)
{
    struct resource *old = c->resource;
    c->resource = resource_hold(r);
    c->config = r->cluster;
    set_limits(c);
    atomic_store(&c->share->connections_max, c->config->breaker.connections_max);
    c->is_service_known = false;
    lb_invalidate(c);
    outlier_config_changed(c);
    bool is_by_name =
        r->cluster->kind == CLUSTER_STRICT_DNS || r->cluster->kind == CLUSTER_LOGICAL_DNS;
    if (is_by_name)
        dns_set_config(c);
    else
        dns_stop(c); /* first: endpoints have no names any more */
    if (r->cluster->kind == CLUSTER_STATIC)
        cluster_set_endpoints(c, r);
    /* The names that were waited for may have gone. */
    if (dns_is_known(c))
        turn_soon(c->u->env.turn, &c->unresolved_task);
    if (r->cluster->kind == CLUSTER_ORIGINAL_DST && !timer_is_started(&c->cleanup_timer))
        timer_start(c->u->env.turn, &c->cleanup_timer, ORIGINAL_DST_CLEANUP_US);
    for (size_t i = 0; i < c->hosts.len; i++) {
        pool_transport_changed(c->hosts.ptr[i]);
        pool_limits_changed(c->hosts.ptr[i]);
    }
    /* Limits may have grown. */
    if (!list_is_empty(&c->waiting))
        turn_soon(c->u->env.turn, &c->waiting_task);
    resource_unref(old);
}

static struct upstream_host *find_host(struct upstream_cluster *c, const struct addr *address,
                                       struct str identity)
{
    for (size_t i = 0; i < c->hosts.len; i++) {
        struct upstream_host *h = c->hosts.ptr[i];
        if (addr_eq(&h->info.address, address) && str_eq(h->identity, identity))
            return h;
    }
    return NULL;
}

static struct upstream_host *add_host(struct upstream_cluster *c, const struct addr *address,
                                      struct str identity)
{
    struct upstream_host *h = host_new(c, address, identity);
    h->is_member = true;
    VEC_PUSH(&c->hosts, h);
    lb_invalidate(c);
    return h;
}

static void put_member(struct upstream_cluster *c, const struct addr *address,
                       const struct endpoint *e, struct resource *r)
{
    struct upstream_host *h = find_host(c, address, e->identity);
    if (h == NULL)
        h = add_host(c, address, e->identity);
    h->is_member = true;
    host_set_endpoint(h, e, r);
}

static size_t addrs_of(const struct upstream_cluster *c, const struct endpoints *list, size_t i,
                       struct addr ret_addrs[ENDPOINT_ADDRS_MAX])
{
    if (c->dns != NULL)
        return dns_addrs(c, i, ret_addrs, ENDPOINT_ADDRS_MAX);
    ret_addrs[0] = upstream_addr(&list->items[i].address);
    return 1;
}

/* r: an endpoints resource, or the cluster's own with inline endpoints; NULL: none. */
void cluster_set_endpoints(struct upstream_cluster *c, struct resource *r)
{
    const struct endpoints *list = NULL;
    if (r != NULL)
        list = r->type == RESOURCE_CLUSTER ? r->cluster->inline_endpoints : r->endpoints;
    struct resource *old = c->endpoints;
    c->endpoints = r != NULL ? resource_hold(r) : NULL;
    for (size_t i = 0; i < c->hosts.len; i++)
        c->hosts.ptr[i]->is_member = false;
    for (size_t i = 0; list != NULL && i < list->count; i++) {
        struct addr addrs[ENDPOINT_ADDRS_MAX];
        size_t count = addrs_of(c, list, i, addrs);
        for (size_t k = 0; k < count; k++)
            put_member(c, &addrs[k], &list->items[i], r);
    }
    for (size_t i = c->hosts.len; i-- > 0;) {
        if (!c->hosts.ptr[i]->is_member)
            drop_host_at(c, i);
    }
    outlier_members_changed(c);
    lb_invalidate(c);
    resource_unref(old);
}

/* --- ORIGINAL_DST --- */

struct upstream_host *cluster_original_host(struct upstream_cluster *c, const struct addr *dst,
                                            struct str identity)
{
    struct addr address = *dst;
    if (c->config->original_dst_port != 0)
        address.port = c->config->original_dst_port;
    struct upstream_host *h = find_host(c, &address, identity);
    if (h == NULL && c->hosts.len < ORIGINAL_DST_HOSTS_MAX)
        h = add_host(c, &address, identity);
    if (h != NULL)
        h->used_us = turn_now_us(c->u->env.turn);
    return h;
}

static void cleanup_idle_hosts(struct timer *t)
{
    struct upstream_cluster *c = CONTAINER_OF(t, struct upstream_cluster, cleanup_timer);
    uint64_t now = turn_now_us(c->u->env.turn);
    for (size_t i = c->hosts.len; i-- > 0;) {
        const struct upstream_host *h = c->hosts.ptr[i];
        if (h->active == 0 && list_is_empty(&h->links) && h->pending_count == 0 &&
            now - h->used_us > ORIGINAL_DST_CLEANUP_US)
            drop_host_at(c, i);
    }
    timer_start(c->u->env.turn, t, ORIGINAL_DST_CLEANUP_US);
}

/* --- attempts that wait --- */

/* The host that was chosen when the wait began may have gone or been ejected since. */
static void choose_again(struct upstream_attempt *a)
{
    struct upstream_cluster *c = a->cluster;
    if (c->config->kind == CLUSTER_ORIGINAL_DST || host_is_usable(a->host))
        return;
    struct upstream_host *h = lb_pick(c, a->has_hash ? &a->hash : NULL, a->avoid, a->avoid_count);
    if (h == NULL || h == a->host)
        return;
    h->active++;
    a->host->active--;
    upstream_host_drop(a->host);
    a->host = upstream_host_hold(h);
}

static bool take_slot(struct upstream_cluster *c)
{
    if (c->granted == 0)
        return breaker_take_connection(c);
    c->granted--;
    return true;
}

/* One's own bit is set before the last try, so that no slot is freed unseen in between. */
static void waiting_run(struct turn_task *t)
{
    struct upstream_cluster *c = CONTAINER_OF(t, struct upstream_cluster, waiting_task);
    struct upstream_attempt *a;
    if (!list_is_empty(&c->waiting))
        share_set_waiting(c->share, c->u->env.index, true);
    while ((a = LIST_FIRST(&c->waiting, struct upstream_attempt, link)) != NULL && take_slot(c)) {
        list_remove(&a->link);
        share_give(&c->share->pending);
        a->is_connection_counted = true;
        choose_again(a);
        pool_begin(a->host, a);
    }
    if (list_is_empty(&c->waiting)) {
        share_set_waiting(c->share, c->u->env.index, false);
        give_back_granted(c);
    }
}

void cluster_grant_connection(struct upstream_cluster *c)
{
    c->granted++;
    turn_soon(c->u->env.turn, &c->waiting_task);
}

/* Those who came before the names were known begin now, with whatever is. */
static void unresolved_run(struct turn_task *t)
{
    struct upstream_cluster *c = CONTAINER_OF(t, struct upstream_cluster, unresolved_task);
    struct upstream_attempt *a;
    struct list attempts, tcp;
    list_init(&attempts);
    list_init(&tcp);
    /* Names may have become unknown again: then they go back to where they waited. */
    list_splice_back(&attempts, &c->unresolved);
    list_splice_back(&tcp, &c->unresolved_tcp);
    c->held++;
    while ((a = LIST_FIRST(&attempts, struct upstream_attempt, link)) != NULL) {
        list_remove(&a->link);
        upstream_attempt_start(c->u, a);
    }
    while (!list_is_empty(&tcp))
        tcp_resolved(tcp.next);
    c->held--;
    cluster_free_if_unused(c);
}

static void failed_run(struct turn_task *t)
{
    struct upstream_cluster *c = CONTAINER_OF(t, struct upstream_cluster, failed_task);
    c->held++;
    struct upstream_attempt *a;
    while ((a = LIST_FIRST(&c->failed, struct upstream_attempt, link)) != NULL) {
        list_remove(&a->link);
        a->ops->on_fail(a, &a->why);
    }
    c->held--;
    cluster_free_if_unused(c);
}
