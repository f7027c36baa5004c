/* Clusters whose endpoints are names (STRICT_DNS, LOGICAL_DNS): each name is looked up again and
 * again; the addresses of the last answer are the hosts. Nobody's answer changes nothing. */
#include <stdlib.h>

#include "proxy/upstream/lookup.h"
#include "proxy/upstream/upstream_priv.h"

enum { TTL_US_MIN = 1000 * 1000 };

/* One endpoint of the configuration. */
struct dns_target {
    struct upstream_cluster *c;
    const struct endpoint *endpoint; /* of c->resource */
    bool is_known;                   /* was answered, or given up, once */
    struct lookup *lookup;
    struct timer timer;
    uint64_t failure_wait_us;
    struct ip_addr addrs[LOOKUP_ADDRS_MAX];
    size_t addr_count;
};

struct dns_cluster {
    struct dns_target *targets;
    size_t count;
};

static void on_timer(struct timer *t);
static void on_looked_up(void *ctx, const struct lookup_result *result);

static bool is_name(const struct endpoint *e)
{
    return e->address.ip.family == IP_NONE && e->address.path.len == 0;
}

bool dns_is_known(const struct upstream_cluster *c)
{
    for (size_t i = 0; c->dns != NULL && i < c->dns->count; i++) {
        if (!c->dns->targets[i].is_known)
            return false;
    }
    return true;
}

size_t dns_addrs(const struct upstream_cluster *c, size_t i, struct addr *ret_addrs, size_t max)
{
    const struct endpoint *e = &c->config->inline_endpoints->items[i];
    if (!is_name(e)) {
        ret_addrs[0] = upstream_addr(&e->address);
        return 1;
    }
    const struct dns_target *t = &c->dns->targets[i];
    size_t count = MIN(t->addr_count, max);
    if (c->config->kind == CLUSTER_LOGICAL_DNS && count > 1)
        count = 1;
    for (size_t k = 0; k < count; k++) {
        struct model_addr m = {.ip = t->addrs[k], .port = e->address.port};
        ret_addrs[k] = upstream_addr(&m);
    }
    return count;
}

/* --- looking up --- */

static void look_up(struct dns_target *t)
{
    const struct dns_options *o = &t->c->config->dns;
    t->lookup = lookup_start(&(struct lookup_args){
        .turn = t->c->u->env.turn,
        .files = &t->c->u->files,
        .mark = t->c->u->env.mark_outbound,
        .name = t->endpoint->hostname,
        .family = o->family,
        .servers = o->resolvers,
        .server_count = o->resolver_count,
        .done = on_looked_up,
        .ctx = t,
    });
}

static void on_timer(struct timer *timer)
{
    look_up(CONTAINER_OF(timer, struct dns_target, timer));
}

/* Longer and longer between the bounds of dns_failure_refresh_rate, or as often as ever. */
static uint64_t wait_after_failure(struct dns_target *t)
{
    const struct dns_options *o = &t->c->config->dns;
    if (o->failure_base_us == 0)
        return o->refresh_us;
    t->failure_wait_us = t->failure_wait_us == 0 ? o->failure_base_us
                                                 : MIN(t->failure_wait_us * 2, o->failure_max_us);
    return t->failure_wait_us;
}

static uint64_t wait_after_answer(struct dns_target *t, const struct lookup_result *r)
{
    const struct dns_options *o = &t->c->config->dns;
    t->failure_wait_us = 0;
    bool is_by_ttl = o->respect_ttl && r->ttl_s > 0;
    return is_by_ttl ? MAX((uint64_t)r->ttl_s * 1000000, (uint64_t)TTL_US_MIN) : o->refresh_us;
}

static void on_looked_up(void *ctx, const struct lookup_result *r)
{
    struct dns_target *t = ctx;
    struct upstream *u = t->c->u;
    t->lookup = NULL;
    t->is_known = true;
    metrics_add(u->env.metrics, COUNTER_DNS_LOOKUPS, 1);
    if (r->is_answered) {
        memcpy(t->addrs, r->addrs, r->count * sizeof r->addrs[0]);
        t->addr_count = r->count;
        cluster_set_endpoints(t->c, t->c->resource);
    } else {
        metrics_add(u->env.metrics, COUNTER_DNS_LOOKUP_FAILURES, 1);
    }
    timer_start(u->env.turn, &t->timer,
                r->is_answered ? wait_after_answer(t, r) : wait_after_failure(t));
    if (dns_is_known(t->c))
        turn_soon(u->env.turn, &t->c->unresolved_task);
}

/* --- configuration --- */

static void stop(struct dns_cluster *d)
{
    for (size_t i = 0; d != NULL && i < d->count; i++) {
        lookup_cancel(d->targets[i].lookup);
        timer_stop(&d->targets[i].timer);
    }
    if (d != NULL)
        free(d->targets);
    free(d);
}

/* What is known of a name stays known while it is looked up again. */
static void take_over(struct dns_target *t, const struct dns_cluster *old)
{
    for (size_t i = 0; old != NULL && i < old->count; i++) {
        const struct dns_target *from = &old->targets[i];
        if (!str_eq(from->endpoint->hostname, t->endpoint->hostname))
            continue;
        t->is_known = from->is_known;
        t->addr_count = from->addr_count;
        memcpy(t->addrs, from->addrs, sizeof t->addrs);
    }
}

void dns_set_config(struct upstream_cluster *c)
{
    const struct endpoints *list = c->config->inline_endpoints;
    struct dns_cluster *old = c->dns, *d = NEW(struct dns_cluster);
    d->count = list->count;
    d->targets = mem_zalloc((list->count + 1) * sizeof(struct dns_target));
    for (size_t i = 0; i < list->count; i++) {
        struct dns_target *t = &d->targets[i];
        *t = (struct dns_target){.c = c, .endpoint = &list->items[i]};
        t->is_known = !is_name(t->endpoint);
        timer_init(&t->timer, on_timer);
        if (!is_name(t->endpoint))
            continue;
        take_over(t, old);
        look_up(t);
    }
    c->dns = d;
    stop(old);
    cluster_set_endpoints(c, c->resource);
}

void dns_stop(struct upstream_cluster *c)
{
    stop(c->dns);
    c->dns = NULL;
}
