/* The connections of one host, and the attempts that wait for one.
 *
 * An attempt takes a connection that has room at once, unless others wait. Else marks and pumps:
 * whatever may change the answer (an attempt that waits, room on a connection, a connection opened
 * or lost) puts the host's pump on the run list, which hands streams out.
 *
 * Links that have room are in front: the one that was freed last is taken first, and those that are
 * full go to the back, so that nobody searches among hundreds that are busy. */
#include "proxy/upstream/upstream_priv.h"

enum { H2_STREAMS_ASSUMED = 100 };

static void pump_soon(struct upstream_host *h)
{
    turn_soon(h->cluster->u->env.turn, &h->pump_task);
}

/* What kind of connection serves an attempt. */
static enum link_kind wanted_kind(const struct upstream_host *h, const struct upstream_attempt *a)
{
    if (a->is_tcp && a->may_share && !h->is_tunnel_misdirected && link_offers_tunnel(h))
        return LINK_TUNNEL;
    if (a->is_tcp)
        return LINK_TCP;
    if (link_is_by_alpn(h))
        return LINK_ALPN;
    switch (h->cluster->config->protocol) {
    case UPSTREAM_HTTP1:
        return LINK_HTTP1;
    case UPSTREAM_HTTP2:
        return LINK_HTTP2;
    case UPSTREAM_DOWNSTREAM:
        return a->downstream_version == HTTP_2 ? LINK_HTTP2 : LINK_HTTP1;
    case UPSTREAM_AUTO_ALPN:
        return LINK_ALPN;
    }
    return LINK_HTTP1;
}

static bool is_fit(const struct upstream_link *l, enum link_kind kind)
{
    switch (kind) {
    case LINK_HTTP1:
        return l->version == HTTP_11 && l->kind != LINK_TUNNEL;
    case LINK_HTTP2:
        return l->version == HTTP_2 && l->kind != LINK_TUNNEL;
    case LINK_ALPN: /* who leaves the version to ALPN takes any */
        return l->kind != LINK_TCP && l->kind != LINK_TUNNEL;
    case LINK_TCP:
    case LINK_TUNNEL:
        return l->kind == kind;
    case LINK_KINDS:
        break;
    }
    return false;
}

static unsigned streams_of(const struct upstream_host *h, enum link_kind kind)
{
    bool is_alone =
        kind == LINK_HTTP1 || kind == LINK_TCP || (kind == LINK_TUNNEL && h->is_tunnel_refused);
    return is_alone ? 1 : H2_STREAMS_ASSUMED;
}

/* Whom the attempt's connection must be for; NULL: the host is not told. */
static const struct upstream_caller *caller_of(const struct upstream_host *h,
                                               const struct upstream_attempt *a,
                                               struct upstream_caller *buf)
{
    if (!link_is_told_callers(h))
        return NULL;
    *buf = a->x->info != NULL ? link_caller(a->x->info) : (struct upstream_caller){0};
    return buf;
}

static struct upstream_link *find_room(struct upstream_host *h, enum link_kind kind,
                                       const struct upstream_caller *caller)
{
    LIST_FOREACH (&h->links, l, struct upstream_link, link) {
        if (l->client == NULL || l->is_draining)
            continue;
        if (is_fit(l, kind) && link_is_same_caller(l->caller, caller) &&
            http_client_room(l->client) > 0)
            return l;
    }
    return NULL;
}

static unsigned connecting_streams(const struct upstream_host *h, enum link_kind kind,
                                   const struct upstream_caller *caller)
{
    unsigned streams = 0;
    LIST_FOREACH (&h->links, l, struct upstream_link, link) {
        if (l->client == NULL && is_fit(l, kind) && link_is_same_caller(l->caller, caller))
            streams += streams_of(h, l->kind);
    }
    return streams;
}

/* Hands a stream to the attempt when a connection has room. */
static bool hand_out(struct upstream_host *h, struct upstream_attempt *a)
{
    struct upstream_caller buf;
    struct upstream_link *l = find_room(h, wanted_kind(h, a), caller_of(h, a, &buf));
    if (l == NULL || http_client_start(l->client, a->x) != 0)
        return false;
    if (list_is_linked(&a->link)) {
        list_remove(&a->link);
        h->pending_count--;
    }
    a->client = l->client;
    h->used_us = turn_now_us(h->cluster->u->env.turn);
    if (http_client_room(l->client) == 0) {
        list_remove(&l->link);
        list_push_back(&h->links, &l->link);
    }
    a->ops->on_ready(a);
    return true;
}

void pool_room_grew(struct upstream_link *l)
{
    list_remove(&l->link);
    list_push_front(&l->host->links, &l->link);
}

static void enqueue(struct upstream_host *h, struct upstream_attempt *a)
{
    list_push_back(&h->pending, &a->link);
    h->pending_count++;
    pump_soon(h);
}

void pool_begin(struct upstream_host *h, struct upstream_attempt *a)
{
    a->is_pending = false;
    /* Nobody overtakes, and what the pump has to put in order first it puts in order first. */
    if (h->pending_count > 0 || list_is_linked(&h->pump_task.link) || !hand_out(h, a))
        enqueue(h, a);
}

/* Opens as many connections as the waiting attempts need. */
static void open_for(struct upstream_host *h, enum link_kind kind, unsigned waiting)
{
    unsigned coming = connecting_streams(h, kind, NULL);
    while (coming < waiting) {
        struct outcome why;
        int err = link_open(h, kind, NULL, &why);
        if (err != 0) {
            LIST_FOREACH (&h->pending, a, struct upstream_attempt, link) {
                if (wanted_kind(h, a) != kind)
                    continue;
                h->pending_count--;
                attempt_fail_later(a, &why);
            }
            return;
        }
        coming += streams_of(h, kind);
    }
}

static void fail_pending(struct upstream_host *h, struct upstream_attempt *a,
                         const struct outcome *why)
{
    h->pending_count--;
    attempt_fail_later(a, why);
    a->why.reason = arena_str(&a->x->arena, why->reason);
}

static bool is_for(struct upstream_host *h, const struct upstream_attempt *a, enum link_kind kind,
                   const struct upstream_caller *caller)
{
    struct upstream_caller buf;
    return wanted_kind(h, a) == kind && link_is_same_caller(caller, caller_of(h, a, &buf));
}

/* Those in line before the attempt that take the same connections. */
static unsigned waiting_before(struct upstream_host *h, const struct upstream_attempt *attempt,
                               enum link_kind kind, const struct upstream_caller *caller)
{
    unsigned waiting = 0;
    LIST_FOREACH (&h->pending, a, struct upstream_attempt, link) {
        if (a == attempt)
            break;
        waiting += is_for(h, a, kind, caller);
    }
    return waiting;
}

/* A connection for the attempt, unless one of its caller's that is on its way has room. */
static void open_for_caller(struct upstream_host *h, struct upstream_attempt *a)
{
    struct upstream_caller buf;
    const struct upstream_caller *caller = caller_of(h, a, &buf);
    enum link_kind kind = wanted_kind(h, a);
    struct outcome why;
    if (connecting_streams(h, kind, caller) > waiting_before(h, a, kind, caller))
        return;
    if (link_open(h, kind, caller, &why) != 0)
        fail_pending(h, a, &why);
}

void pool_fail_excess(struct upstream_host *h, enum link_kind kind,
                      const struct upstream_caller *caller, const struct outcome *why)
{
    unsigned served = connecting_streams(h, kind, caller), waiting = 0;
    if (find_room(h, kind, caller) != NULL)
        return; /* just now: the pump goes on */
    LIST_FOREACH (&h->pending, a, struct upstream_attempt, link) {
        if (is_for(h, a, kind, caller) && waiting++ >= served)
            fail_pending(h, a, why);
    }
}

static void drain_link(struct upstream_link *l)
{
    l->is_draining = true;
    if (l->client != NULL)
        http_client_drain(l->client);
}

/* Connections that were opened before a change served those who waited for them; nobody else. */
static void drain_used_up(struct upstream_host *h)
{
    LIST_FOREACH (&h->links, l, struct upstream_link, link) {
        if (l->client != NULL && !l->is_draining && (l->must_drain || !h->is_member))
            drain_link(l);
    }
}

void pool_pump(struct upstream_host *h)
{
    unsigned waiting[LINK_KINDS] = {0};
    upstream_host_hold(h);
    LIST_FOREACH (&h->pending, a, struct upstream_attempt, link) {
        if (hand_out(h, a))
            continue;
        if (link_is_told_callers(h))
            open_for_caller(h, a);
        else
            waiting[wanted_kind(h, a)]++;
    }
    for (unsigned kind = 0; kind < LINK_KINDS; kind++) {
        if (waiting[kind] > 0)
            open_for(h, (enum link_kind)kind, waiting[kind]);
    }
    drain_used_up(h);
    upstream_host_drop(h);
}

void pool_drain(struct upstream_host *h, uint64_t before_generation)
{
    upstream_host_hold(h);
    LIST_FOREACH (&h->links, l, struct upstream_link, link) {
        bool is_tls = l->tls_generation > 0;
        if (l->is_draining || (before_generation != UINT64_MAX &&
                               (!is_tls || l->tls_generation >= before_generation)))
            continue;
        drain_link(l);
    }
    if (h->pending_count > 0)
        pump_soon(h);
    upstream_host_drop(h);
}

void pool_transport_changed(struct upstream_host *h)
{
    uint64_t transport = link_transport(h);
    if (transport == h->transport)
        return;
    h->transport = transport;
    upstream_host_hold(h);
    LIST_FOREACH (&h->links, l, struct upstream_link, link) {
        if (l->transport == transport || l->is_draining)
            continue;
        if (l->client != NULL)
            drain_link(l);
        else
            conn_abort(l->conn, -ERR_CANCELED); /* who waits for it gets another */
        l->is_draining = true;
    }
    if (h->pending_count > 0)
        pump_soon(h);
    upstream_host_drop(h);
}

/* Limits hold for connections that are there, too: none is given up for an old one. */
void pool_limits_changed(struct upstream_host *h)
{
    LIST_FOREACH (&h->links, l, struct upstream_link, link)
        link_set_limits(l);
    if (h->pending_count > 0)
        pump_soon(h);
}

void pool_abort(struct upstream_host *h)
{
    upstream_host_hold(h);
    LIST_FOREACH (&h->links, l, struct upstream_link, link) {
        if (l->client != NULL)
            http_client_abort(l->client, -ERR_CANCELED);
        else
            conn_abort(l->conn, -ERR_CANCELED);
    }
    upstream_host_drop(h);
}
