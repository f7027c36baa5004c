#include "http/loop.h"

#include <stdlib.h>

enum { TRIM_US = 2 * 1000 * 1000 };

static void drop_first(struct spares *s)
{
    struct list *link = s->free.next;

    list_remove(link);
    s->count--;
    s->drop(link);
}

/* What nobody needed since the last time goes back to the heap; true: there may be more. */
static bool shrink(struct spares *s)
{
    unsigned unused = s->count_low;

    for (; unused > 0 && s->count > SPARES_KEEP; unused--)
        drop_first(s);
    s->count_low = s->count;
    return s->count > SPARES_KEEP;
}

static void on_trim(struct timer *timer)
{
    struct http_loop *loop = CONTAINER_OF(timer, struct http_loop, trim);
    bool has_more = shrink(&loop->exchanges);

    if (shrink(&loop->h1_servers) || has_more)
        timer_start(loop->turn, timer, TRIM_US);
}

void spares_give(struct http_loop *loop, struct spares *s, struct list *link)
{
    if (s->count >= SPARES_MAX) {
        s->drop(link);
        return;
    }
    list_push_front(&s->free, link);
    s->count++;
    if (s->count > SPARES_KEEP && !timer_is_started(&loop->trim))
        timer_start(loop->turn, &loop->trim, TRIM_US);
}

static void free_loop(struct turn_extra *extra)
{
    struct http_loop *loop = CONTAINER_OF(extra, struct http_loop, extra);

    while (loop->exchanges.count > 0)
        drop_first(&loop->exchanges);
    while (loop->h1_servers.count > 0)
        drop_first(&loop->h1_servers);
    timer_stop(&loop->trim);
    free(loop);
}

static void spares_init(struct spares *s, void (*drop)(struct list *link))
{
    *s = (struct spares){.drop = drop};
    list_init(&s->free);
}

struct http_loop *http_loop_of(struct turn *t)
{
    struct turn_extra **slot = turn_extra(t);

    if (*slot == NULL) {
        struct http_loop *loop = NEW(struct http_loop);
        loop->extra.free = free_loop;
        loop->turn = t;
        loop->ordinal = random_u64(turn_random(t));
        timer_init(&loop->trim, on_trim);
        spares_init(&loop->exchanges, exchange_drop);
        spares_init(&loop->h1_servers, h1_server_drop);
        *slot = &loop->extra;
    }
    return CONTAINER_OF(*slot, struct http_loop, extra);
}
