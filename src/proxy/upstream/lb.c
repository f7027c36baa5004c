/* Load balancing: who of the eligible hosts is next. One picker a policy, one table. */
#include "proxy/upstream/upstream_priv.h"

void lb_invalidate(struct upstream_cluster *c)
{
    c->is_eligible_stale = true;
}

static void collect(struct upstream_cluster *c, bool is_panicking)
{
    c->eligible.len = 0;
    c->eligible_weight = 0;
    c->is_weighted = false;
    for (size_t i = 0; i < c->hosts.len; i++) {
        struct upstream_host *h = c->hosts.ptr[i];
        if (!is_panicking && !host_is_usable(h))
            continue;
        VEC_PUSH(&c->eligible, h);
        c->eligible_weight += h->weight;
        if (h->weight != c->eligible.ptr[0]->weight)
            c->is_weighted = true;
    }
}

/* Envoy's panic: when too few hosts are healthy, all are used; a threshold of 0 turns it off. */
static bool must_panic(const struct upstream_cluster *c)
{
    return c->hosts.len > 0 &&
           c->eligible.len * 100 < (uint64_t)c->config->panic_threshold_percent * c->hosts.len;
}

static void refresh(struct upstream_cluster *c)
{
    collect(c, false);
    if (must_panic(c))
        collect(c, true);
    c->is_eligible_stale = false;
}

static struct upstream_host *pick_weighted(struct upstream_cluster *c)
{
    struct random *random = turn_random(c->u->env.turn);
    if (!c->is_weighted)
        return c->eligible.ptr[random_below(random, (uint32_t)c->eligible.len)];
    uint64_t at = random_u64(random) % c->eligible_weight;
    for (size_t i = 0; i < c->eligible.len; i++) {
        if (at < c->eligible.ptr[i]->weight)
            return c->eligible.ptr[i];
        at -= c->eligible.ptr[i]->weight;
    }
    return c->eligible.ptr[0];
}

static struct upstream_host *pick_random(struct upstream_cluster *c)
{
    return pick_weighted(c);
}

static struct upstream_host *pick_round_robin(struct upstream_cluster *c)
{
    if (c->is_weighted)
        return pick_weighted(c);
    return c->eligible.ptr[c->next++ % c->eligible.len];
}

/* Power of two choices: of two random hosts the one with fewer requests under way, by weight. */
static struct upstream_host *pick_least_request(struct upstream_cluster *c)
{
    struct upstream_host *best = pick_weighted(c);
    for (uint32_t i = 1; i < c->config->least_request_choices; i++) {
        struct upstream_host *other = pick_weighted(c);
        if ((uint64_t)other->active * best->weight < (uint64_t)best->active * other->weight)
            best = other;
    }
    return best;
}

typedef struct upstream_host *pick_fn(struct upstream_cluster *c);

static pick_fn *const pickers[] = {
    [LB_ROUND_ROBIN] = pick_round_robin,
    [LB_LEAST_REQUEST] = pick_least_request,
    [LB_RANDOM] = pick_random,
    [LB_CLUSTER_PROVIDED] = pick_random,
};

static bool is_among(struct upstream_host *const *hosts, size_t count,
                     const struct upstream_host *h)
{
    for (size_t i = 0; i < count; i++) {
        if (hosts[i] == h)
            return true;
    }
    return false;
}

/* The picker's choice, or when it falls on hosts to be avoided a few times, any other. */
static struct upstream_host *pick_other(struct upstream_cluster *c,
                                        struct upstream_host *const *avoid, size_t avoid_count)
{
    struct upstream_host *h = NULL;
    for (int tries = 0; tries < 5; tries++) {
        h = pickers[c->config->lb](c);
        if (!is_among(avoid, avoid_count, h))
            return h;
    }
    uint32_t from = random_below(turn_random(c->u->env.turn), (uint32_t)c->eligible.len);
    for (size_t i = 0; i < c->eligible.len; i++) {
        struct upstream_host *other = c->eligible.ptr[(from + i) % c->eligible.len];
        if (!is_among(avoid, avoid_count, other))
            return other;
    }
    return h;
}

struct upstream_host *lb_pick(struct upstream_cluster *c, struct upstream_host *const *avoid,
                              size_t avoid_count)
{
    if (c->config->outlier.is_on)
        outlier_look(c);
    if (c->is_eligible_stale)
        refresh(c);
    if (c->eligible.len == 0)
        return NULL;
    return pick_other(c, avoid, avoid_count);
}
