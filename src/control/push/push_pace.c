/* Directories are what every proxy gets: one replica more is a resource more for all of them, of
 * some kilobytes. So their changes have a rate that all streams share; what waits is sent as it is
 * then, whatever happened in between. The first directories of a stream do not wait, and nothing
 * else does. */
#include "control/push/push_priv.h"

enum {
    BYTES_PER_MS = 200 * 1024,      /* what one thread does beside its work */
    BYTES_MAX = 250 * BYTES_PER_MS, /* that may be sent at once */
    LOOK_US = 20 * 1000,
};

static void refill(struct push *p)
{
    uint64_t now_us = turn_now_us(p->turn);
    uint64_t us = MIN(now_us - p->pace_us, (uint64_t)1000 * 1000);
    p->pace_bytes = MIN(p->pace_bytes + (int64_t)(us * BYTES_PER_MS / 1000), (int64_t)BYTES_MAX);
    p->pace_us = now_us;
}

static void on_look(struct timer *timer)
{
    struct push *p = CONTAINER_OF(timer, struct push, pace_timer);
    refill(p);
    while (p->pace_bytes > 0 && !list_is_empty(&p->paced)) {
        struct push_stream *s = LIST_FIRST(&p->paced, struct push_stream, paced_link);
        list_remove(&s->paced_link);
        push_stream_serve(s);
    }
    if (!list_is_empty(&p->paced))
        timer_start(p->turn, timer, LOOK_US);
}

bool push_pace_holds(struct push_stream *s)
{
    struct push *p = s->push;
    if (list_is_empty(&s->dirty[RESOURCE_DIRECTORY]) || s->is_wild_unanswered[RESOURCE_DIRECTORY])
        return false;
    refill(p);
    if (p->pace_bytes > 0)
        return false;
    if (!list_is_linked(&s->paced_link))
        list_push_back(&p->paced, &s->paced_link);
    if (!timer_is_started(&p->pace_timer))
        timer_start(p->turn, &p->pace_timer, LOOK_US);
    return true;
}

void push_pace_take(struct push *p, uint64_t bytes)
{
    p->pace_bytes -= (int64_t)bytes;
}

void push_pace_init(struct push *p)
{
    list_init(&p->paced);
    p->pace_bytes = BYTES_MAX;
    p->pace_us = turn_now_us(p->turn);
    timer_init(&p->pace_timer, on_look);
}

void push_pace_deinit(struct push *p)
{
    timer_stop(&p->pace_timer);
}
