/* Load balancing: who of the eligible hosts is next. One picker a policy, one table.
 *
 * Eligible hosts are kept by priority. As long as enough of a priority are healthy it takes all;
 * what it cannot take goes to the next one (Envoy's "priority levels"). */
#include <math.h>

#include "proxy/upstream/upstream_priv.h"

enum { PERCENT = 100 };

/* What a pick is made of. */
struct pick {
    struct upstream_cluster *c;
    const struct lb_level *level;
    struct upstream_host **hosts; /* of the level */
    const uint64_t *hash;         /* NULL: none */
    struct upstream_host *const *avoid;
    size_t avoid_count;
};

void lb_invalidate(struct upstream_cluster *c)
{
    c->is_eligible_stale = true;
}

/* --- who is eligible --- */

static uint32_t priority_of(const struct upstream_host *h)
{
    return h->info.endpoint != NULL ? h->info.endpoint->priority : 0;
}

static void add_eligible(struct upstream_cluster *c, struct lb_level *level,
                         struct upstream_host *h)
{
    VEC_PUSH(&c->eligible, h);
    if (level->count++ > 0 && h->weight != c->eligible.ptr[level->from]->weight)
        level->is_weighted = true;
    level->weight += h->weight;
}

/* Who is in a priority, and how many of them are well. */
struct members {
    uint32_t all, usable;
    uint32_t next; /* the next higher priority that there is; UINT32_MAX: none */
};

static struct members count_members(const struct upstream_cluster *c, uint32_t priority)
{
    struct members m = {.next = UINT32_MAX};
    for (size_t i = 0; i < c->hosts.len; i++) {
        uint32_t p = priority_of(c->hosts.ptr[i]);
        if (p > priority)
            m.next = MIN(m.next, p);
        m.all += p == priority;
        m.usable += p == priority && host_is_usable(c->hosts.ptr[i]);
    }
    return m;
}

/* Envoy's panic: when too few hosts are well, all are used; a threshold of 0 turns it off. */
static bool is_panic(const struct upstream_cluster *c, const struct members *m)
{
    return (uint64_t)m->usable * PERCENT < (uint64_t)c->config->panic_threshold_percent * m->all;
}

static uint32_t overprovisioning_of(const struct upstream_cluster *c)
{
    enum { USUAL = 140 };
    const struct endpoints *e = c->endpoints == NULL ? NULL
                                : c->endpoints->type == RESOURCE_ENDPOINTS
                                    ? c->endpoints->endpoints
                                    : c->endpoints->cluster->inline_endpoints;
    return e != NULL && e->overprovisioning_percent > 0 ? e->overprovisioning_percent : USUAL;
}

/* A priority with what it can take of the load that is left. */
static void collect_level(struct upstream_cluster *c, uint32_t priority, const struct members *m,
                          bool is_panicking, uint32_t left)
{
    struct lb_level *level = &c->levels[c->level_count];
    uint64_t health = m->all == 0 ? 0 : (uint64_t)m->usable * overprovisioning_of(c) / m->all;
    *level = (struct lb_level){.from = c->eligible.len};
    for (size_t i = 0; i < c->hosts.len; i++) {
        struct upstream_host *h = c->hosts.ptr[i];
        if (priority_of(h) == priority && (is_panicking || host_is_usable(h)))
            add_eligible(c, level, h);
    }
    level->load = (uint32_t)MIN(health, left);
    /* A share that rounds to nothing is still somebody's. */
    if (level->load == 0 && m->usable > 0)
        level->load = 1;
}

/* Each priority takes what it can of what the ones before it left; returns what nobody can. */
static uint32_t collect(struct upstream_cluster *c, bool may_panic)
{
    uint32_t left = PERCENT;
    struct members m;
    bool are_all_panicking = true;
    c->eligible.len = 0;
    c->level_count = 0;
    c->load_total = 0;
    for (uint32_t at = 0; c->level_count < LB_LEVELS_MAX && left > 0 && at != UINT32_MAX;
         at = m.next) {
        m = count_members(c, at);
        bool is_panicking = may_panic && is_panic(c, &m);
        struct lb_level *level = &c->levels[c->level_count];
        collect_level(c, at, &m, is_panicking, left);
        left -= MIN(left, level->load);
        c->load_total += level->load;
        c->level_count += level->count > 0;
        are_all_panicking &= is_panicking || m.all == 0;
    }
    /* Nobody knows who is well: everybody is as good as the next. */
    for (unsigned i = 0; are_all_panicking && i < c->level_count; i++) {
        c->load_total += (uint32_t)c->levels[i].count - c->levels[i].load;
        c->levels[i].load = (uint32_t)c->levels[i].count;
    }
    return left;
}

/* Where those that are well can take all, nobody panics, however few they are of a priority. */
static void refresh(struct upstream_cluster *c)
{
    if (collect(c, false) > 0)
        collect(c, true);
    c->is_eligible_stale = false;
}

/* --- pickers --- */

static struct upstream_host *pick_weighted(const struct pick *p)
{
    struct random *random = turn_random(p->c->u->env.turn);
    const struct lb_level *level = p->level;
    if (!level->is_weighted)
        return p->hosts[random_below(random, (uint32_t)level->count)];
    uint64_t at = random_u64(random) % level->weight;
    for (size_t i = 0; i < level->count; i++) {
        if (at < p->hosts[i]->weight)
            return p->hosts[i];
        at -= p->hosts[i]->weight;
    }
    return p->hosts[0];
}

static struct upstream_host *pick_round_robin(const struct pick *p)
{
    if (p->level->is_weighted)
        return pick_weighted(p);
    return p->hosts[p->c->next++ % p->level->count];
}

/* Power of two choices: of two random hosts the one with fewer requests under way, by weight. */
static struct upstream_host *pick_least_request(const struct pick *p)
{
    struct upstream_host *best = pick_weighted(p);
    for (uint32_t i = 1; i < p->c->config->least_request_choices; i++) {
        struct upstream_host *other = pick_weighted(p);
        if ((uint64_t)other->active * best->weight < (uint64_t)best->active * other->weight)
            best = other;
    }
    return best;
}

static bool is_among(struct upstream_host *const *hosts, size_t count,
                     const struct upstream_host *h)
{
    for (size_t i = 0; i < count; i++) {
        if (hosts[i] == h)
            return true;
    }
    return false;
}

/* Rendezvous by weight: of all hosts the one whose draw, made of its address and the hash, is the
 * highest. No table; a host that comes or goes moves its own share alone. */
static double draw_of(const struct upstream_host *h, uint64_t hash)
{
    const struct addr *a = &h->info.address;
    uint64_t mixed = str_hash(str_from((const char *)a->ip, sizeof a->ip), hash ^ a->port);
    double unit = ((double)(mixed >> 11) + 0.5) / (double)(UINT64_C(1) << 53);
    return -(double)h->weight / log(unit);
}

static struct upstream_host *pick_hash(const struct pick *p)
{
    struct upstream_host *best = NULL;
    double most = 0;
    if (p->hash == NULL)
        return pick_weighted(p);
    for (size_t i = 0; i < p->level->count; i++) {
        double draw = draw_of(p->hosts[i], *p->hash);
        if ((best != NULL && draw <= most) || is_among(p->avoid, p->avoid_count, p->hosts[i]))
            continue;
        best = p->hosts[i];
        most = draw;
    }
    return best != NULL ? best : p->hosts[0];
}

typedef struct upstream_host *pick_fn(const struct pick *p);

static pick_fn *const pickers[] = {
    [LB_ROUND_ROBIN] = pick_round_robin,
    [LB_LEAST_REQUEST] = pick_least_request,
    [LB_RANDOM] = pick_weighted,
    [LB_CLUSTER_PROVIDED] = pick_weighted,
    [LB_HASH] = pick_hash,
};

/* --- the pick --- */

static const struct lb_level *choose_level(const struct upstream_cluster *c, const uint64_t *hash)
{
    if (c->level_count == 1)
        return &c->levels[0];
    /* Who is tied to a host is tied to its level, too. */
    uint32_t at = hash != NULL ? (uint32_t)(*hash % c->load_total)
                               : random_below(turn_random(c->u->env.turn), c->load_total);
    for (unsigned i = 0; i < c->level_count; i++) {
        if (at < c->levels[i].load)
            return &c->levels[i];
        at -= c->levels[i].load;
    }
    return &c->levels[0];
}

/* The picker's choice, or when it falls on hosts to be avoided a few times, any other. */
static struct upstream_host *pick_other(const struct pick *p)
{
    const struct upstream_cluster *c = p->c;
    struct upstream_host *h = NULL;
    for (int tries = 0; tries < 5; tries++) {
        h = pickers[c->config->lb](p);
        if (!is_among(p->avoid, p->avoid_count, h))
            return h;
    }
    uint32_t from = random_below(turn_random(c->u->env.turn), (uint32_t)c->eligible.len);
    for (size_t i = 0; i < c->eligible.len; i++) {
        struct upstream_host *other = c->eligible.ptr[(from + i) % c->eligible.len];
        if (!is_among(p->avoid, p->avoid_count, other))
            return other;
    }
    return h;
}

struct upstream_host *lb_pick(struct upstream_cluster *c, const uint64_t *hash,
                              struct upstream_host *const *avoid, size_t avoid_count)
{
    if (c->config->outlier.is_on)
        outlier_look(c);
    if (c->is_eligible_stale)
        refresh(c);
    if (c->eligible.len == 0)
        return NULL;
    const struct lb_level *level = choose_level(c, hash);
    return pick_other(&(struct pick){.c = c,
                                     .level = level,
                                     .hosts = c->eligible.ptr + level->from,
                                     .hash = hash,
                                     .avoid = avoid,
                                     .avoid_count = avoid_count});
}
