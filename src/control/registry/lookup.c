/* From a text to all that has it. */
#include <stdio.h>
#include <stdlib.h>

#include "control/registry/registry_priv.h"

void lookup_init(struct lookup *l)
{
    map_init(&l->map);
}

void lookup_deinit(struct lookup *l)
{
    size_t iter = 0;
    void *value;
    while (map_next(&l->map, &iter, NULL, &value)) {
        struct lookup_items *items = value;
        VEC_DEINIT(items);
        free(items);
    }
    map_deinit(&l->map);
}

const struct lookup_items *lookup_get(const struct lookup *l, struct str key)
{
    static const struct lookup_items none;
    const struct lookup_items *items = map_get(&l->map, key);
    return items != NULL ? items : &none;
}

struct lookup_items *lookup_add(struct lookup *l, struct str key, void *item)
{
    struct lookup_items *items = map_get(&l->map, key);
    if (items == NULL) {
        items = NEW(struct lookup_items);
        map_put(&l->map, key, items);
    }
    VEC_PUSH(items, item);
    return items;
}

void lookup_remove(struct lookup *l, struct str key, const void *item)
{
    struct lookup_items *items = map_get(&l->map, key);
    for (size_t i = 0; items != NULL && i < items->len; i++) {
        if (items->ptr[i] != item)
            continue;
        memmove(items->ptr + i, items->ptr + i + 1, (items->len - 1 - i) * sizeof *items->ptr);
        items->len--;
        break;
    }
    if (items == NULL || items->len > 0)
        return;
    map_remove(&l->map, key);
    VEC_DEINIT(items);
    free(items);
}

struct str lookup_label_key(char buf[LOOKUP_KEY_MAX], struct str namespace_,
                            const struct api_label *label)
{
    int len = snprintf(buf, LOOKUP_KEY_MAX, "%.*s/%.*s=%.*s", STR_FMT(namespace_),
                       STR_FMT(label->key), STR_FMT(label->value));
    return str_from(buf, MIN((size_t)len, (size_t)LOOKUP_KEY_MAX - 1));
}

struct str lookup_pair_key(char buf[LOOKUP_KEY_MAX], struct str namespace_, struct str name)
{
    int len = snprintf(buf, LOOKUP_KEY_MAX, "%.*s/%.*s", STR_FMT(namespace_), STR_FMT(name));
    return str_from(buf, MIN((size_t)len, (size_t)LOOKUP_KEY_MAX - 1));
}
