/* What http/ keeps for each loop: objects that wait for their next use, as many as were needed of
 * late, so that in steady state nothing is allocated. Inside http/ only.
 *
 * Owner: the loop (turn_extra). Thread: the loop's. */
#pragma once

#include "io/turn.h"

/* Spare objects of one kind. Each has a struct list, by which it lies here. */
struct spares {
    struct list free;
    unsigned count;
    unsigned count_low;              /* the fewest since the last trim */
    void (*drop)(struct list *link); /* frees the object */
};

struct http_loop {
    struct turn_extra extra;
    struct turn *turn;
    struct spares exchanges, h1_servers;
    struct timer trim;
    uint64_t ordinal; /* of the next exchange */
};

struct http_loop *http_loop_of(struct turn *t);

/* The one that was used last, or NULL. */
static inline struct list *spares_take(struct spares *s)
{
    if (list_is_empty(&s->free))
        return NULL;
    struct list *link = s->free.next;
    list_remove(link);
    s->count--;
    s->count_low = MIN(s->count_low, s->count);
    return link;
}

/* Its object, for its next use; beyond SPARES_MAX it is freed. */
enum { SPARES_MAX = 1024, SPARES_KEEP = 8 /* when nobody needs them */ };
void spares_give(struct http_loop *loop, struct spares *s, struct list *link);

/* What the kinds do to free one of theirs. */
void exchange_drop(struct list *link);
void h1_server_drop(struct list *link);
