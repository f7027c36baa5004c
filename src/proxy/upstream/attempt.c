/* One attempt of a request: host, breaker, connection, result. */
#include "crypto/tls.h"
#include "proxy/upstream/upstream_priv.h"

bool upstream_attempt_is_tls(const struct upstream_attempt *a)
{
    return a->client != NULL && tls_endpoint_of(http_client_conn(a->client)) != NULL;
}

void upstream_attempt_opened(struct upstream_attempt *a)
{
    if (a->host != NULL)
        outlier_result(a->host, 200);
}

void upstream_attempt_misdirected(struct upstream_attempt *a)
{
    if (a->host != NULL)
        a->host->is_tunnel_misdirected = true;
}

void attempt_fail_later(struct upstream_attempt *a, const struct outcome *why)
{
    struct upstream_cluster *c = a->cluster;
    list_remove(&a->link);
    a->is_failed = true;
    a->why = *why;
    list_push_back(&c->failed, &a->link);
    turn_soon(c->u->env.turn, &c->failed_task);
}

static struct outcome no_host(const struct upstream_cluster *c)
{
    return (struct outcome){
        .err = -ERR_UNAVAILABLE,
        .fault = FAULT_UPSTREAM,
        .is_unanswered = true,
        .status = 503,
        .flags = FLAG_BIT(NO_HEALTHY_UPSTREAM),
        .details = STR("no_healthy_upstream"),
        .reason =
            c->hosts.len == 0 ? STR("the cluster has no endpoints") : STR("no endpoint is healthy"),
    };
}

static struct outcome overflow(void)
{
    return (struct outcome){
        .err = -ERR_LIMIT,
        .fault = FAULT_LOCAL,
        .is_unanswered = true,
        .status = 503,
        .flags = FLAG_BIT(UPSTREAM_OVERFLOW),
        .details = STR("upstream_reset_before_response_started{overflow}"),
        .reason = STR("circuit breaker"),
    };
}

static struct upstream_host *choose(struct upstream_attempt *a)
{
    struct upstream_cluster *c = a->cluster;
    if (c->is_removed)
        return NULL;
    if (c->config->kind != CLUSTER_ORIGINAL_DST)
        return lb_pick(c, a->has_hash ? &a->hash : NULL, a->avoid, a->avoid_count);
    if (a->original_dst == NULL || a->original_dst->family == ADDR_NONE)
        return NULL;
    return cluster_original_host(c, a->original_dst, a->identity);
}

void upstream_attempt_start(struct upstream *u, struct upstream_attempt *a)
{
    struct upstream_cluster *c = a->cluster;
    list_init(&a->link);
    a->started_us = turn_now_us(u->env.turn);
    if (!dns_is_known(c)) {
        list_push_back(&c->unresolved, &a->link);
        return;
    }
    struct upstream_host *h = choose(a);
    if (h == NULL) {
        struct outcome why = no_host(c);
        attempt_fail_later(a, &why);
        return;
    }
    switch (breaker_begin(c, a)) {
    case BREAKER_OVERFLOW: {
        struct outcome why = overflow();
        metrics_add(u->env.metrics, COUNTER_OVERFLOWS, 1);
        attempt_fail_later(a, &why);
        return;
    }
    case BREAKER_WAIT:
        a->host = upstream_host_hold(h);
        a->is_pending = true;
        h->active++;
        list_push_back(&c->waiting, &a->link);
        breaker_wait(c);
        return;
    case BREAKER_OK:
        a->host = upstream_host_hold(h);
        h->active++;
        pool_begin(h, a);
        return;
    }
}

/* Takes a pending attempt off whatever queue it is in. */
static void unqueue(struct upstream_attempt *a)
{
    if (!list_is_linked(&a->link))
        return;
    list_remove(&a->link);
    if (a->is_failed || a->host == NULL)
        return;
    if (a->is_connection_counted || !a->is_pending)
        a->host->pending_count--;
    else
        share_give(&a->cluster->share->pending);
}

/* What outlier detection hears of an attempt without a response: a host that could not be reached,
 * or broke off, counts as a gateway failure; a caller that left harms nobody. */
static unsigned status_for_outlier(unsigned status, const struct outcome *o)
{
    if (status != 0)
        return status;
    if (o == NULL || o->err == 0 || o->fault != FAULT_UPSTREAM || o->err == -ERR_CANCELED)
        return 0;
    return o->err == -ERR_TIMEOUT ? 504 : 503;
}

void upstream_attempt_finish(struct upstream *u, struct upstream_attempt *a, unsigned status,
                             const struct outcome *outcome)
{
    (void)u;
    unqueue(a);
    struct upstream_cluster *c = a->cluster;
    struct upstream_host *h = a->host;
    breaker_end(c, a);
    a->client = NULL;
    if (h == NULL)
        return;
    a->host = NULL;
    h->active--;
    unsigned seen = status_for_outlier(status, outcome);
    if (seen != 0)
        outlier_result(h, seen);
    upstream_host_drop(h);
}
