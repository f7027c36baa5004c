#include "io/gate.h"

#include "base/err.h"

static struct crowd *crowd_of(struct gate *g, enum gate_state state)
{
    switch (state) {
    case GATE_OUT:
        break;
    case GATE_SILENT:
        return &g->silent;
    case GATE_READY:
        return &g->ready;
    case GATE_SHAKING:
        return &g->shaking;
    case GATE_STRANGER:
        return &g->strangers;
    }
    return NULL;
}

static struct gate_member *member_of(struct crowd_member *m)
{
    return m != NULL ? CONTAINER_OF(m, struct gate_member, member) : NULL;
}

static void set_state(struct gate *g, struct gate_member *m, enum gate_state state)
{
    struct crowd *from = crowd_of(g, m->state), *to = crowd_of(g, state);
    if (from != NULL)
        crowd_remove(from, &m->member);
    m->state = state;
    m->since_us = turn_now_us(g->turn);
    timer_stop(&m->timer);
    if (to != NULL)
        crowd_add(to, &m->member, str_from(m->key, m->key_len));
}

static void drop(struct gate_member *m, int err)
{
    struct gate *g = m->gate;
    if (err == -ERR_LIMIT)
        g->counts.dropped_full++;
    else
        g->counts.dropped_late++;
    set_state(g, m, GATE_OUT);
    g->ops->drop(m, err);
}

/* There is a place for one more. */
static void bound(const struct crowd *c, size_t count_max)
{
    struct gate_member *m = member_of(crowd_longest(c));
    if (m != NULL && c->count >= count_max)
        drop(m, -ERR_LIMIT);
}

/* --- handshakes --- */

/* One place more, if somebody has had his for long enough. */
static bool make_place(struct gate *g)
{
    struct gate_member *m = member_of(crowd_longest(&g->shaking));
    uint64_t now_us = turn_now_us(g->turn);
    if (m == NULL || g->shaking.count < g->limits.shaking_max)
        return true;
    if (now_us < m->since_us + g->limits.grace_us) {
        timer_start(g->turn, &g->timer, m->since_us + g->limits.grace_us - now_us);
        return false;
    }
    drop(m, -ERR_LIMIT);
    return true;
}

static void admit(struct gate *g)
{
    struct gate_member *m;
    while (g->ready.count > 0 && make_place(g) && (m = member_of(crowd_next(&g->ready))) != NULL) {
        g->counts.handshakes++;
        set_state(g, m, GATE_SHAKING);
        timer_start(g->turn, &m->timer, g->limits.shaking_us);
        g->ops->begin(m);
    }
}

static void on_grace(struct timer *timer)
{
    admit(CONTAINER_OF(timer, struct gate, timer));
}

static void on_late(struct timer *timer)
{
    struct gate_member *m = CONTAINER_OF(timer, struct gate_member, timer);
    struct gate *g = m->gate;
    drop(m, -ERR_TIMEOUT);
    admit(g);
}

/* --- members --- */

/* A network of IPv6 is one place: whoever has one has all its addresses. */
static void set_key(struct gate_member *m, const struct addr *from)
{
    m->key_len = from->family == ADDR_IP4 ? 4 : from->family == ADDR_IP6 ? 8 : 0;
    memcpy(m->key, from->ip, m->key_len);
}

void gate_enter(struct gate *g, struct gate_member *m, const struct addr *from)
{
    *m = (struct gate_member){.gate = g};
    list_init(&m->member.link);
    timer_init(&m->timer, on_late);
    set_key(m, from);
    bound(&g->silent, g->limits.silent_max);
    set_state(g, m, GATE_SILENT);
    timer_start(g->turn, &m->timer, g->limits.silent_us);
}

void gate_spoke(struct gate_member *m)
{
    struct gate *g = m->gate;
    if (m->state != GATE_SILENT)
        return;
    bound(&g->ready, g->limits.ready_max);
    set_state(g, m, GATE_READY);
    timer_start(g->turn, &m->timer, g->limits.silent_us);
    admit(g);
}

void gate_shaken(struct gate_member *m, bool is_known)
{
    struct gate *g = m->gate;
    ASSERT(g != NULL && m->state == GATE_SHAKING);
    if (!is_known)
        bound(&g->strangers, g->limits.strangers_max);
    set_state(g, m, is_known ? GATE_OUT : GATE_STRANGER);
    admit(g);
}

void gate_leave(struct gate_member *m)
{
    struct gate *g = m->gate;
    if (g == NULL || m->state == GATE_OUT)
        return;
    set_state(g, m, GATE_OUT);
    admit(g);
}

void gate_init(struct gate *g, struct turn *t, const struct gate_limits *limits,
               const struct gate_ops *ops)
{
    *g = (struct gate){.turn = t, .limits = *limits, .ops = ops};
    ASSERT(limits->silent_max > 0 && limits->ready_max > 0 && limits->shaking_max > 0 &&
           limits->strangers_max > 0);
    struct crowd *crowds[] = {&g->silent, &g->ready, &g->shaking, &g->strangers};
    for (size_t i = 0; i < ARRAY_LEN(crowds); i++)
        crowd_init(crowds[i]);
    timer_init(&g->timer, on_grace);
}

void gate_deinit(struct gate *g)
{
    struct crowd *crowds[] = {&g->silent, &g->ready, &g->shaking, &g->strangers};
    timer_stop(&g->timer);
    for (size_t i = 0; i < ARRAY_LEN(crowds); i++)
        crowd_deinit(crowds[i]);
}
