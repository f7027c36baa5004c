/* Outlier detection: hosts that fail several times in a row are left out for a while
 * (envoy.config.cluster.v3.OutlierDetection, consecutive errors only).
 *
 * Failures in a row, and who is out, hold for all workers (share.h). A host has no block there
 * until it first fails; the block's making and every change of who is out move the cluster's
 * generation, which each worker looks at before it picks and before it counts. */
#include <stdlib.h>

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

/* --- what is shared of a host --- */

static void host_key(const struct upstream_host *h, struct str_buf *to)
{
    char text[ADDR_TEXT_LEN];
    str_buf_add(to, addr_format(&h->info.address, text));
    str_buf_add_char(to, '|');
    str_buf_add(to, h->identity);
}

static struct str_buf key_buf(void)
{
    return (struct str_buf)STR_BUF_INIT(16 * 1024);
}

/* Under the lock. NULL: it has not failed yet. */
static struct host_share *find_share(struct cluster_share *s, const struct upstream_host *h)
{
    struct str_buf key = key_buf();
    host_key(h, &key);
    struct host_share *share = map_get(&s->hosts, str_buf_str(&key));
    str_buf_deinit(&key);
    return share;
}

static void acquire_share(struct upstream_host *h)
{
    struct cluster_share *s = h->cluster->share;
    pthread_mutex_lock(&s->lock);
    struct host_share *share = find_share(s, h);
    if (share == NULL) {
        struct str_buf key = key_buf();
        share = NEW(struct host_share);
        host_key(h, &key);
        map_put(&s->hosts, str_buf_str(&key), share);
        str_buf_deinit(&key);
        atomic_fetch_add(&s->generation, 1);
    }
    share->ref_count++;
    h->share = share;
    pthread_mutex_unlock(&s->lock);
}

/* Under the lock. */
static void drop_share(struct cluster_share *s, struct upstream_host *h)
{
    struct host_share *share = TAKE(h->share);
    if (--share->ref_count > 0)
        return;
    struct str_buf key = key_buf();
    host_key(h, &key);
    map_remove(&s->hosts, str_buf_str(&key));
    str_buf_deinit(&key);
    free(share);
}

void outlier_look(struct upstream_cluster *c)
{
    struct cluster_share *s = c->share;
    unsigned now = atomic_load_explicit(&s->generation, memory_order_acquire);
    if (now == c->seen_generation)
        return;
    c->seen_generation = now;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < c->hosts.len; i++) {
        struct upstream_host *h = c->hosts.ptr[i];
        if (h->share == NULL && s->all->count > 1 && (h->share = find_share(s, h)) != NULL)
            h->share->ref_count++;
        h->is_ejected = h->share != NULL && h->share->is_ejected;
    }
    pthread_mutex_unlock(&s->lock);
    lb_invalidate(c);
}

/* --- ejection --- */

/* Under the lock. */
static void uneject(struct upstream_cluster *c, struct host_share *share)
{
    share->is_ejected = false;
    c->share->ejected--;
    atomic_fetch_add(&c->share->generation, 1);
    metrics_add(c->u->env.metrics, COUNTER_EJECTED, -1);
}

void outlier_forget(struct upstream_host *h)
{
    struct upstream_cluster *c = h->cluster;
    if (h->share == NULL)
        return;
    pthread_mutex_lock(&c->share->lock);
    if (h->share->is_ejected)
        uneject(c, h->share);
    drop_share(c->share, h);
    pthread_mutex_unlock(&c->share->lock);
    h->is_ejected = false;
    lb_invalidate(c);
}

/* Under the lock. */
static void end_interval(struct upstream_cluster *c, uint64_t now)
{
    for (size_t i = 0; i < c->hosts.len; i++) {
        struct host_share *share = c->hosts.ptr[i]->share;
        if (share == NULL || now < share->ejected_until_us)
            continue;
        if (share->is_ejected)
            uneject(c, share);
        else if (share->ejections > 0)
            share->ejections--; /* a healthy interval shortens the next ejection */
    }
}

/* Each worker has a timer; whose comes first does the interval's work for all. */
static void on_interval(struct timer *t)
{
    struct upstream_cluster *c = CONTAINER_OF(t, struct upstream_cluster, outlier_timer);
    uint64_t now = turn_now_us(c->u->env.turn), interval = c->config->outlier.interval_us;
    outlier_look(c);
    pthread_mutex_lock(&c->share->lock);
    if (now >= c->share->interval_due_us) {
        c->share->interval_due_us = now + interval - interval / 10;
        end_interval(c, now);
    }
    pthread_mutex_unlock(&c->share->lock);
    outlier_look(c);
    timer_start(c->u->env.turn, t, interval);
}

/* The share that may be out at a time: one at least while others stand, the last one never, unless
 * all may go. */
static size_t ejections_max(const struct upstream_cluster *c)
{
    uint32_t percent = c->config->outlier.max_ejection_percent;
    size_t share = c->hosts.len * MIN(percent, 100u) / 100;
    return share == 0 && percent > 0 && c->hosts.len > 1 ? 1 : share;
}

static struct host_share *longest_ejected(const struct upstream_cluster *c)
{
    struct host_share *first = NULL;
    for (size_t i = 0; i < c->hosts.len; i++) {
        struct host_share *h = c->hosts.ptr[i]->share;
        if (h != NULL && h->is_ejected &&
            (first == NULL || h->ejected_until_us < first->ejected_until_us))
            first = h;
    }
    return first;
}

void outlier_members_changed(struct upstream_cluster *c)
{
    struct host_share *h;
    pthread_mutex_lock(&c->share->lock);
    while (c->share->ejected > ejections_max(c) && (h = longest_ejected(c)) != NULL)
        uneject(c, h);
    pthread_mutex_unlock(&c->share->lock);
    /* Hosts that are new here may be out already. */
    c->seen_generation--;
    outlier_look(c);
}

/* Under the lock. */
static void eject(struct upstream_host *h)
{
    struct upstream_cluster *c = h->cluster;
    const struct outlier_detection *o = &c->config->outlier;
    struct host_share *share = h->share;
    share->ejections++;
    uint64_t for_us =
        MIN(o->base_ejection_us * share->ejections, MAX(o->max_ejection_us, o->base_ejection_us));
    share->ejected_until_us = turn_now_us(c->u->env.turn) + for_us;
    share->is_ejected = true;
    c->share->ejected++;
    atomic_fetch_add(&c->share->generation, 1);
    metrics_add(c->u->env.metrics, COUNTER_EJECTIONS, 1);
    metrics_add(c->u->env.metrics, COUNTER_EJECTED, 1);
}

static void consider(struct upstream_host *h, uint32_t enforcing_percent)
{
    struct upstream_cluster *c = h->cluster;
    atomic_store(&h->share->consecutive_5xx, 0);
    atomic_store(&h->share->consecutive_gateway, 0);
    if (random_below(turn_random(c->u->env.turn), 100) >= enforcing_percent)
        return;
    pthread_mutex_lock(&c->share->lock);
    if (!h->share->is_ejected && c->share->ejected < ejections_max(c))
        eject(h);
    pthread_mutex_unlock(&c->share->lock);
    outlier_look(c);
}

static void count_success(const struct upstream_host *h)
{
    struct host_share *share = h->share;
    if (share == NULL || atomic_load_explicit(&share->consecutive_5xx, memory_order_relaxed) == 0)
        return;
    atomic_store(&share->consecutive_5xx, 0);
    atomic_store(&share->consecutive_gateway, 0);
}

void outlier_result(struct upstream_host *h, unsigned status)
{
    const struct outlier_detection *o = &h->cluster->config->outlier;
    if (!o->is_on || !h->is_member)
        return;
    outlier_look(h->cluster);
    if (status < 500) {
        count_success(h);
        return;
    }
    if (h->share == NULL)
        acquire_share(h);
    bool is_gateway = status >= 502 && status <= 504;
    unsigned gateway = is_gateway ? atomic_fetch_add(&h->share->consecutive_gateway, 1) + 1 : 0;
    if (!is_gateway)
        atomic_store(&h->share->consecutive_gateway, 0);
    unsigned any = atomic_fetch_add(&h->share->consecutive_5xx, 1) + 1;
    if (o->consecutive_gateway_failure > 0 && o->enforcing_gateway_failure > 0 &&
        gateway >= o->consecutive_gateway_failure)
        consider(h, o->enforcing_gateway_failure);
    else if (o->consecutive_5xx > 0 && any >= o->consecutive_5xx)
        consider(h, o->enforcing_consecutive_5xx);
}
