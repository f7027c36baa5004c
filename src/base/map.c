#include "base/map.h"

#include <stdlib.h>

#include "base/random.h"

enum { CAP_MIN = 8 };

void map_init(struct map *m)
{
    *m = (struct map){.seed = random_process_seed()};
}

void map_deinit(struct map *m)
{
    map_clear(m);
    free(m->slots);
    m->slots = NULL;
    m->cap = 0;
}

static void key_free(struct map_slot *slot)
{
    union {
        const char *as_const;
        char *as_heap;
    } key = {slot->key.ptr};

    free(key.as_heap);
    slot->key = STR_NULL;
}

void map_clear(struct map *m)
{
    for (size_t i = 0; i < m->cap; i++) {
        key_free(&m->slots[i]);
        m->slots[i] = (struct map_slot){0};
    }
    m->len = m->used = 0;
}

static uint64_t hash_of(const struct map *m, struct str key)
{
    uint64_t hash = str_hash(key, m->seed);

    return hash != 0 ? hash : 1;
}

/* The slot of the key, or NULL. There is always a slot that was never used, so the walk ends. */
static struct map_slot *find(const struct map *m, struct str key, uint64_t hash)
{
    if (m->cap == 0)
        return NULL;
    for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        struct map_slot *slot = &m->slots[i];

        if (slot->hash == 0)
            return NULL;
        if (slot->hash == hash && slot->value != NULL && str_eq(slot->key, key))
            return slot;
    }
}

static struct map_slot *find_unused(struct map_slot *slots, size_t cap, uint64_t hash)
{
    size_t i = hash & (cap - 1);

    while (slots[i].hash != 0)
        i = (i + 1) & (cap - 1);
    return &slots[i];
}

/* Rebuilds without the deleted slots, with room to spare. */
static void rehash(struct map *m)
{
    size_t cap = CAP_MIN;
    while (cap < (m->len + 1) * 2)
        cap *= 2;

    struct map_slot *slots = mem_zalloc(cap * sizeof(*slots));
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].value != NULL)
            *find_unused(slots, cap, m->slots[i].hash) = m->slots[i];
    free(m->slots);
    m->slots = slots;
    m->cap = cap;
    m->used = m->len;
}

void *map_get(const struct map *m, struct str key)
{
    struct map_slot *slot = find(m, key, hash_of(m, key));

    return slot == NULL ? NULL : slot->value;
}

void *map_put(struct map *m, struct str key, void *value)
{
    ASSERT(value != NULL);
    uint64_t hash = hash_of(m, key);
    struct map_slot *slot = find(m, key, hash);

    if (slot != NULL) {
        void *old = slot->value;

        slot->value = value;
        return old;
    }
    if ((m->used + 1) * 4 > m->cap * 3)
        rehash(m);
    slot = find_unused(m->slots, m->cap, hash);
    *slot = (struct map_slot){hash, str_from(str_dup_c(key), key.len), value};
    m->len++;
    m->used++;
    return NULL;
}

void *map_remove(struct map *m, struct str key)
{
    struct map_slot *slot = find(m, key, hash_of(m, key));

    if (slot == NULL)
        return NULL;
    void *old = slot->value;
    key_free(slot);
    slot->value = NULL;
    m->len--;
    return old;
}

bool map_next(const struct map *m, size_t *iter, struct str *ret_key, void **ret_value)
{
    while (*iter < m->cap) {
        const struct map_slot *slot = &m->slots[(*iter)++];

        if (slot->value == NULL)
            continue;
        if (ret_key != NULL)
            *ret_key = slot->key;
        if (ret_value != NULL)
            *ret_value = slot->value;
        return true;
    }
    return false;
}
