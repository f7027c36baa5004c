#include "io/crowd.h"

#include <stdlib.h>

struct crowd_group {
    struct list members; /* in the order they came */
    struct list bucket_link, ring_link;
    size_t count;
    struct str key; /* own memory */
};

static size_t bucket_of(size_t count)
{
    size_t i = 0;
    while (count > 1 && i + 1 < CROWD_BUCKETS) {
        count >>= 1;
        i++;
    }
    return i;
}

void crowd_init(struct crowd *c)
{
    map_init(&c->groups);
    for (size_t i = 0; i < CROWD_BUCKETS; i++)
        list_init(&c->buckets[i]);
    list_init(&c->ring);
    c->count = 0;
}

void crowd_deinit(struct crowd *c)
{
    ASSERT(c->count == 0);
    map_deinit(&c->groups);
}

static struct crowd_group *group_of(struct crowd *c, struct str key)
{
    struct crowd_group *g = map_get(&c->groups, key);
    if (g != NULL)
        return g;
    g = NEW(struct crowd_group);
    list_init(&g->members);
    list_init(&g->bucket_link);
    g->key = str_from(str_dup_c(key), key.len);
    list_push_back(&c->ring, &g->ring_link);
    map_put(&c->groups, g->key, g);
    return g;
}

static void group_free(struct crowd *c, struct crowd_group *g)
{
    map_remove(&c->groups, g->key);
    list_remove(&g->bucket_link);
    list_remove(&g->ring_link);
    free((void *)(uintptr_t)g->key.ptr);
    free(g);
}

static void set_count(struct crowd *c, struct crowd_group *g, size_t count)
{
    c->count = c->count - g->count + count;
    g->count = count;
    list_remove(&g->bucket_link);
    list_push_back(&c->buckets[bucket_of(count)], &g->bucket_link);
}

void crowd_add(struct crowd *c, struct crowd_member *m, struct str key)
{
    struct crowd_group *g = group_of(c, str_sub(key, 0, CROWD_KEY_LEN_MAX));
    ASSERT(m->group == NULL);
    m->group = g;
    list_push_back(&g->members, &m->link);
    set_count(c, g, g->count + 1);
}

void crowd_remove(struct crowd *c, struct crowd_member *m)
{
    struct crowd_group *g = m->group;
    if (g == NULL)
        return;
    m->group = NULL;
    list_remove(&m->link);
    set_count(c, g, g->count - 1);
    if (g->count == 0)
        group_free(c, g);
}

struct crowd_member *crowd_longest(const struct crowd *c)
{
    for (size_t i = CROWD_BUCKETS; i-- > 0;) {
        if (list_is_empty(&c->buckets[i]))
            continue;
        const struct crowd_group *g =
            LIST_ENTRY(c->buckets[i].next, struct crowd_group, bucket_link);
        return LIST_ENTRY(g->members.next, struct crowd_member, link);
    }
    return NULL;
}

struct crowd_member *crowd_next(struct crowd *c)
{
    struct crowd_group *g = LIST_FIRST(&c->ring, struct crowd_group, ring_link);
    if (g == NULL)
        return NULL;
    list_remove(&g->ring_link);
    list_push_back(&c->ring, &g->ring_link);
    return LIST_ENTRY(g->members.prev, struct crowd_member, link);
}
