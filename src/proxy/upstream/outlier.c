/* Outlier detection: hosts that fail several times in a row are left out for a while
 * (envoy.config.cluster.v3.OutlierDetection, consecutive errors only). */
#include "proxy/upstream/upstream_priv.h"

static void on_interval(struct timer *t);

void outlier_init(struct upstream_cluster *c)
{
    timer_init(&c->outlier_timer, on_interval);
}

void outlier_config_changed(struct upstream_cluster *c)
{
    if (!c->config->outlier.is_on) {
        outlier_deinit(c);
        for (size_t i = 0; i < c->hosts.len; i++)
            outlier_forget(c->hosts.ptr[i]);
    } else if (!timer_is_started(&c->outlier_timer)) {
        /* One that runs goes on: changes that come faster than the interval must not keep a host
         * out for ever. */
        timer_start(c->u->env.turn, &c->outlier_timer, c->config->outlier.interval_us);
    }
}

void outlier_deinit(struct upstream_cluster *c)
{
    timer_stop(&c->outlier_timer);
}

static void uneject(struct upstream_host *h)
{
    struct upstream_cluster *c = h->cluster;
    h->is_ejected = false;
    c->ejected--;
    metrics_add(c->u->env.metrics, COUNTER_EJECTED, -1);
    lb_invalidate(c);
}

void outlier_forget(struct upstream_host *h)
{
    if (h->is_ejected)
        uneject(h);
}

static void on_interval(struct timer *t)
{
    struct upstream_cluster *c = CONTAINER_OF(t, struct upstream_cluster, outlier_timer);
    uint64_t now = turn_now_us(c->u->env.turn);
    for (size_t i = 0; i < c->hosts.len; i++) {
        struct upstream_host *h = c->hosts.ptr[i];
        if (h->is_ejected && now >= h->ejected_until_us) {
            uneject(h);
        } else if (!h->is_ejected && h->ejections > 0 && now >= h->ejected_until_us) {
            h->ejections--; /* a healthy interval shortens the next ejection */
        }
    }
    timer_start(c->u->env.turn, t, c->config->outlier.interval_us);
}

/* The share that may be out at a time: one at least while others stand, the last one never, unless
 * all may go. */
static size_t ejections_max(const struct upstream_cluster *c)
{
    uint32_t percent = c->config->outlier.max_ejection_percent;
    size_t share = c->hosts.len * MIN(percent, 100u) / 100;
    return share == 0 && percent > 0 && c->hosts.len > 1 ? 1 : share;
}

static struct upstream_host *longest_ejected(const struct upstream_cluster *c)
{
    struct upstream_host *first = NULL;
    for (size_t i = 0; i < c->hosts.len; i++) {
        struct upstream_host *h = c->hosts.ptr[i];
        if (h->is_ejected && (first == NULL || h->ejected_until_us < first->ejected_until_us))
            first = h;
    }
    return first;
}

void outlier_members_changed(struct upstream_cluster *c)
{
    struct upstream_host *h;
    while (c->ejected > ejections_max(c) && (h = longest_ejected(c)) != NULL)
        uneject(h);
}

static void eject(struct upstream_host *h, uint32_t enforcing_percent)
{
    struct upstream_cluster *c = h->cluster;
    const struct outlier_detection *o = &c->config->outlier;
    h->consecutive_5xx = h->consecutive_gateway = 0;
    if (h->is_ejected || !h->is_member || c->ejected >= ejections_max(c))
        return;
    if (random_below(turn_random(c->u->env.turn), 100) >= enforcing_percent)
        return;
    h->ejections++;
    uint64_t for_us =
        MIN(o->base_ejection_us * h->ejections, MAX(o->max_ejection_us, o->base_ejection_us));
    h->ejected_until_us = turn_now_us(c->u->env.turn) + for_us;
    h->is_ejected = true;
    c->ejected++;
    lb_invalidate(c);
    metrics_add(c->u->env.metrics, COUNTER_EJECTIONS, 1);
    metrics_add(c->u->env.metrics, COUNTER_EJECTED, 1);
}

void outlier_result(struct upstream_host *h, unsigned status)
{
    const struct outlier_detection *o = &h->cluster->config->outlier;
    if (!o->is_on)
        return;
    if (status < 500) {
        h->consecutive_5xx = h->consecutive_gateway = 0;
        return;
    }
    bool is_gateway = status >= 502 && status <= 504;
    h->consecutive_gateway = is_gateway ? h->consecutive_gateway + 1 : 0;
    h->consecutive_5xx++;
    if (o->consecutive_gateway_failure > 0 && o->enforcing_gateway_failure > 0 &&
        h->consecutive_gateway >= o->consecutive_gateway_failure)
        eject(h, o->enforcing_gateway_failure);
    else if (o->consecutive_5xx > 0 && h->consecutive_5xx >= o->consecutive_5xx)
        eject(h, o->enforcing_consecutive_5xx);
}
