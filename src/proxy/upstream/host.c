#include "crypto/tls.h"
#include "proxy/upstream/upstream_priv.h"

static void pump_run(struct turn_task *t)
{
    pool_pump(CONTAINER_OF(t, struct upstream_host, pump_task));
}

struct addr upstream_addr(const struct model_addr *m)
{
    struct addr a = {.family = ADDR_NONE, .port = m->port};
    if (m->path.len > 0) {
        addr_set_path(&a, m->path);
    } else if (m->ip.family != IP_NONE) {
        a.family = m->ip.family == IP_V4 ? ADDR_IP4 : ADDR_IP6;
        memcpy(a.ip, m->ip.bytes, sizeof a.ip);
    }
    return a;
}

struct upstream_host *host_new(struct upstream_cluster *c, const struct addr *address,
                               struct str identity)
{
    struct upstream_host *h = NEW(struct upstream_host);
    h->cluster = c;
    h->info.address = *address;
    if (identity.len > 0)
        h->identity = str_from(str_dup_c(identity), identity.len);
    h->weight = 1;
    h->ref_count = 1; /* of the membership */
    h->used_us = turn_now_us(c->u->env.turn);
    list_init(&h->links);
    list_init(&h->pending);
    turn_task_init(&h->pump_task, pump_run);
    c->held++;
    return h;
}

/* Locality-weighted: what its locality is given, shared by the endpoints' own weights. A locality
 * without a weight gets nothing in Envoy; here its endpoints get the least that there is. */
static uint32_t weight_of(const struct cluster *c, const struct endpoint *e)
{
    enum { SCALE = 1000 };
    uint32_t own = MAX(e->weight, 1u);
    if (!c->is_locality_weighted || e->locality_weight_total == 0)
        return own;
    uint64_t share = (uint64_t)e->locality_weight * own * SCALE / e->locality_weight_total;
    return (uint32_t)MAX(MIN(share, (uint64_t)UINT32_MAX), UINT64_C(1));
}

void host_set_endpoint(struct upstream_host *h, const struct endpoint *e, struct resource *pin)
{
    struct resource *old = h->pin;
    h->pin = resource_hold(pin);
    h->info.endpoint = e;
    h->is_peer_known = false;
    h->weight = weight_of(h->cluster->config, e);
    pool_transport_changed(h);
    resource_unref(old);
}

void host_leave(struct upstream_host *h)
{
    h->is_member = false;
    outlier_forget(h);
    pool_drain(h, UINT64_MAX);
    upstream_host_drop(h);
}

bool host_is_usable(const struct upstream_host *h)
{
    return h->is_member && !h->is_ejected &&
           (h->info.endpoint == NULL || h->info.endpoint->health == ENDPOINT_HEALTHY);
}

const struct upstream_host_info *upstream_host_info(const struct upstream_host *h)
{
    return &h->info;
}

metrics_id upstream_host_peer(struct upstream_host *h)
{
    const struct endpoint *e = h->info.endpoint;
    if (h->is_peer_known || e == NULL)
        return h->peer;
    const struct workload_info *w = &e->workload;
    h->is_peer_known = true;
    h->peer = metrics_intern_peer(h->cluster->u->env.metrics, &(struct metrics_peer){
                                                                  .workload = w->name,
                                                                  .namespace_ = w->namespace_,
                                                                  .principal = e->identity,
                                                                  .app = w->app,
                                                                  .version = w->version,
                                                                  .cluster = w->cluster_id,
                                                              });
    return h->peer;
}

struct upstream_host *upstream_host_hold(struct upstream_host *h)
{
    h->ref_count++;
    return h;
}

struct upstream_host *upstream_host_drop(struct upstream_host *h)
{
    if (h == NULL)
        return NULL;
    ASSERT(h->ref_count > 0);
    if (--h->ref_count > 0)
        return NULL;
    ASSERT(list_is_empty(&h->links) && list_is_empty(&h->pending));
    struct upstream_cluster *c = h->cluster;
    turn_cancel(&h->pump_task);
    resource_unref(h->pin);
    tls_session_unref(h->session);
    free((void *)(uintptr_t)h->identity.ptr);
    free(h);
    c->held--;
    cluster_free_if_unused(c);
    return NULL;
}
