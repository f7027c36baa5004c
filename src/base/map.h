/* Hash map from strings (or 64-bit numbers) to pointers, open addressing, insertion by copying the
 * key. Owner: whoever embeds it; values are never freed by the map. Thread: one. */
#pragma once

#include "base/str.h"

struct map_slot {
    uint64_t hash; /* 0: never used */
    struct str key;
    void *value; /* NULL: deleted */
};

struct map {
    struct map_slot *slots;
    size_t cap, len, used; /* len: live, used: live and deleted */
    uint64_t seed;
};

void map_init(struct map *m);
void map_deinit(struct map *m);
void map_clear(struct map *m);

/* NULL when there is none. */
void *map_get(const struct map *m, struct str key);
/* Returns the value that was replaced, or NULL. value must not be NULL. */
void *map_put(struct map *m, struct str key, void *value);
/* Returns the value that was removed, or NULL. */
void *map_remove(struct map *m, struct str key);

/* Walks in unspecified order: start with *iter = 0; false at the end. Removing the entry that was
 * just returned is allowed; putting is not. Either result may be NULL. */
bool map_next(const struct map *m, size_t *iter, struct str *ret_key, void **ret_value);

static inline size_t map_len(const struct map *m)
{
    return m->len;
}
