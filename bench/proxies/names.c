/* Names of resources as numbers: each is kept once for all proxies. */
#include <stdlib.h>
#include <string.h>

#include "proxies.h"

static struct name *names;
static uint32_t name_count, name_cap;
static uint32_t *slots; /* number + 1; 0: free */
static uint32_t slot_cap;

static uint64_t hash(enum type type, const char *text, size_t len)
{
    uint64_t h = 14695981039346656037ull + (uint64_t)type;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)text[i]) * 1099511628211ull;
    return h ^ h >> 29;
}

static uint32_t *slot_of(enum type type, const char *text, size_t len)
{
    uint32_t at = (uint32_t)hash(type, text, len) & (slot_cap - 1);
    for (;; at = (at + 1) & (slot_cap - 1)) {
        const struct name *n = slots[at] != 0 ? &names[slots[at] - 1] : NULL;
        if (n == NULL || (n->type == type && n->len == len && memcmp(n->text, text, len) == 0))
            return &slots[at];
    }
}

static void grow(void)
{
    slot_cap = slot_cap == 0 ? 4096 : slot_cap * 2;
    free(slots);
    slots = must(calloc(slot_cap, sizeof *slots));
    for (uint32_t i = 0; i < name_count; i++)
        *slot_of(names[i].type, names[i].text, names[i].len) = i + 1;
}

uint32_t name_id(enum type type, const char *text, size_t len)
{
    if (name_count * 2 >= slot_cap)
        grow();
    uint32_t *slot = slot_of(type, text, len);
    if (*slot != 0)
        return *slot - 1;
    if (name_count == name_cap) {
        name_cap = name_cap == 0 ? 1024 : name_cap * 2;
        names = must(realloc(names, name_cap * sizeof *names));
    }
    char *copy = must(malloc(len + 1));
    memcpy(copy, text, len);
    copy[len] = '\0';
    names[name_count] = (struct name){type, copy, len, NONE};
    *slot = ++name_count;
    if (type == ENDPOINTS) {
        uint32_t service = measure_service(copy);
        names[name_count - 1].service = service;
    }
    return name_count - 1;
}

struct name *name_of(uint32_t id)
{
    return &names[id];
}
