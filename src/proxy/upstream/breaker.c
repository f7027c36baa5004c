/* Circuit breakers and the retry limit of a cluster.
 *
 * An attempt for an HTTP/1 request holds a connection slot, whatever the hop speaks, so that
 * maxConnections means what it means to people; beyond it attempts wait (pending), beyond that they
 * overflow. Requests in all are bounded by http2MaxRequests. */
#include "proxy/upstream/upstream_priv.h"

enum { RETRIES_MIN_DEFAULT = 10, RETRIES_PERCENT_DEFAULT = 20 };

static bool holds_connection(const struct upstream_attempt *a)
{
    return a->downstream_version != HTTP_2 || a->cluster->config->protocol == UPSTREAM_HTTP1;
}

bool breaker_take_connection(struct upstream_cluster *c)
{
    return share_take(&c->share->connections, c->config->breaker.connections_max);
}

void breaker_give_connection(struct upstream_cluster *c)
{
    if (!share_give_connection(c->share, c->u->env.index))
        return;
    /* Those who wait are of the cluster that has the name now. */
    struct upstream_cluster *now = c->is_removed ? upstream_find(c->u, c->name) : c;
    if (now != NULL)
        cluster_grant_connection(now);
    else if (share_give_connection(c->share, c->u->env.index))
        share_give(&c->share->connections);
}

void breaker_wait(struct upstream_cluster *c)
{
    share_set_waiting(c->share, c->u->env.index, true);
    turn_soon(c->u->env.turn, &c->waiting_task);
}

enum breaker_result breaker_begin(struct upstream_cluster *c, struct upstream_attempt *a)
{
    const struct circuit_breaker *limit = &c->config->breaker;
    if (a->is_connection) {
        a->is_connection_counted = breaker_take_connection(c);
        return a->is_connection_counted ? BREAKER_OK : BREAKER_OVERFLOW;
    }
    if (!share_take(&c->share->requests, limit->requests_max))
        return BREAKER_OVERFLOW;
    a->is_counted = true;
    if (!holds_connection(a))
        return BREAKER_OK;
    a->is_connection_counted = breaker_take_connection(c);
    if (a->is_connection_counted)
        return BREAKER_OK;
    if (share_take(&c->share->pending, limit->pending_max))
        return BREAKER_WAIT;
    a->is_counted = false;
    share_give(&c->share->requests);
    return BREAKER_OVERFLOW;
}

void breaker_end(struct upstream_cluster *c, struct upstream_attempt *a)
{
    if (a->is_counted)
        share_give(&c->share->requests);
    a->is_counted = false;
    if (!a->is_connection_counted)
        return;
    a->is_connection_counted = false;
    breaker_give_connection(c);
}

static uint32_t retries_max(const struct upstream_cluster *c)
{
    const struct circuit_breaker *limit = &c->config->breaker;
    if (limit->retries_max != MODEL_UNSET_U32)
        return limit->retries_max;
    uint32_t percent = limit->retry_budget_percent > 0 ? limit->retry_budget_percent
                                                       : (uint32_t)RETRIES_PERCENT_DEFAULT;
    uint32_t least =
        limit->retry_budget_percent > 0 ? limit->retry_budget_min : (uint32_t)RETRIES_MIN_DEFAULT;
    return MAX(least, (uint32_t)((uint64_t)atomic_load(&c->share->requests) * percent / 100));
}

bool upstream_retry_begin(struct upstream *u, struct upstream_cluster *c)
{
    if (!share_take(&c->share->retries, retries_max(c))) {
        metrics_add(u->env.metrics, COUNTER_RETRIES_OVERFLOWN, 1);
        return false;
    }
    metrics_add(u->env.metrics, COUNTER_RETRIES, 1);
    return true;
}

void upstream_retry_end(struct upstream *u, struct upstream_cluster *c)
{
    (void)u;
    share_give(&c->share->retries);
}
