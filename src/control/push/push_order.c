/* Make before break. tulle-proxy warms what it gets, and applies what belongs together at once.
 * Others use a route as soon as they have it: a cluster that it names, and that is not yet there or
 * has no endpoints yet, fails requests. So with them
 *
 *   clusters -> their endpoints, acknowledged -> listeners, routes, acknowledged -> what goes
 *
 * and none of that waits for ever. Endpoints follow every cluster that was sent, even unchanged:
 * Envoy does not use a changed cluster before it has got them anew ("resource warming"). */
#include <stdio.h>

#include "control/push/push_priv.h"

enum { HOLD_US = 2 * 1000 * 1000 };

static bool is_ordered(const struct push_stream *s)
{
    return push_stream_is_envoy(s) && ads_stream_is_aggregated(s->ads);
}

void push_warm_begin(struct push_sub *cluster)
{
    struct push_stream *s = cluster->stream;
    struct str name;
    if (!is_ordered(s) || !translate_endpoints_of(cluster->name, &name))
        return;
    s->warming_count += !cluster->is_warming;
    cluster->is_warming = true;
    struct push_sub *endpoints = push_stream_sub(s, RESOURCE_ENDPOINTS, name);
    if (endpoints == NULL)
        return;
    endpoints->is_forced = true;
    push_sub_mark(endpoints);
}

void push_warm_end(struct push_sub *cluster)
{
    cluster->stream->warming_count -= cluster->is_warming;
    cluster->is_warming = false;
}

static void end_all(struct push_stream *s)
{
    size_t iter = 0;
    struct push_sub *sub;
    while (s->warming_count > 0 && (sub = push_subs_next(&s->subs, &iter)) != NULL)
        push_warm_end(sub);
}

static void end_named(struct push_stream *s, struct str name)
{
    struct push_sub *cluster =
        name.len <= PUSH_NAME_LEN_MAX ? push_stream_sub(s, RESOURCE_CLUSTER, name) : NULL;
    if (cluster != NULL)
        push_warm_end(cluster);
}

/* Endpoints serve two clusters, that of requests and that of plain bytes. */
static void end_of_endpoints(struct push_stream *s, struct str name)
{
    char tcp[PUSH_NAME_LEN_MAX + 8];
    int len = snprintf(tcp, sizeof tcp, "%.*s" TRANSLATE_TCP_SUFFIX, STR_FMT(name));
    end_named(s, name);
    end_named(s, str_from(tcp, (size_t)len));
}

void push_warm_answered(struct push_stream *s, enum resource_type type, struct str names,
                        bool is_nack)
{
    if (type == RESOURCE_CLUSTER && is_nack)
        end_all(s);
    while (type == RESOURCE_ENDPOINTS && s->warming_count > 0 && names.len > 0)
        end_of_endpoints(s, str_split(&names, '\n'));
}

static void on_over(struct timer *timer)
{
    struct push_stream *s = CONTAINER_OF(timer, struct push_stream, hold_timer);
    s->is_hold_over = true;
    end_all(s);
    push_stream_mark(s);
}

static bool holds(struct push_stream *s, bool is_waiting)
{
    if (!is_waiting || !is_ordered(s) || s->is_hold_over)
        return false;
    if (!timer_is_started(&s->hold_timer))
        timer_start(s->push->turn, &s->hold_timer, HOLD_US);
    return true;
}

bool push_holds_changes(struct push_stream *s)
{
    return holds(s, s->warming_count > 0);
}

bool push_holds_removals(struct push_stream *s)
{
    return holds(s, s->sent.len > 0);
}

void push_hold_init(struct push_stream *s)
{
    timer_init(&s->hold_timer, on_over);
}

void push_hold_reset(struct push_stream *s)
{
    timer_stop(&s->hold_timer);
    s->is_hold_over = false;
}
