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

bool breaker_has_connection(const struct upstream_cluster *c)
{
    return c->connections < c->config->breaker.connections_max;
}

enum breaker_result breaker_begin(struct upstream_cluster *c, struct upstream_attempt *a)
{
    const struct circuit_breaker *limit = &c->config->breaker;
    if (c->requests >= limit->requests_max)
        return BREAKER_OVERFLOW;
    if (!holds_connection(a) || breaker_has_connection(c)) {
        a->is_connection_counted = holds_connection(a);
        c->connections += a->is_connection_counted;
        a->is_counted = true;
        c->requests++;
        return BREAKER_OK;
    }
    if (c->pending >= limit->pending_max)
        return BREAKER_OVERFLOW;
    c->pending++;
    a->is_counted = true;
    c->requests++;
    return BREAKER_WAIT;
}

void breaker_end(struct upstream_cluster *c, struct upstream_attempt *a)
{
    if (!a->is_counted)
        return;
    a->is_counted = false;
    c->requests--;
    if (!a->is_connection_counted)
        return;
    a->is_connection_counted = false;
    c->connections--;
    if (!list_is_empty(&c->waiting))
        turn_soon(c->u->env.turn, &c->waiting_task);
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
    return MAX(least, (uint32_t)((uint64_t)c->requests * percent / 100));
}

bool upstream_retry_begin(struct upstream *u, struct upstream_cluster *c)
{
    if (c->retries >= retries_max(c)) {
        metrics_add(u->env.metrics, COUNTER_RETRIES_OVERFLOWN, 1);
        return false;
    }
    c->retries++;
    metrics_add(u->env.metrics, COUNTER_RETRIES, 1);
    return true;
}

void upstream_retry_end(struct upstream *u, struct upstream_cluster *c)
{
    (void)u;
    ASSERT(c->retries > 0);
    c->retries--;
}
