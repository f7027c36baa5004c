#include "http/hpack_table.h"

#include <stdlib.h>

/* RFC 7541 appendix A. Values that a message may not have (an empty host, what frames HTTP/1) are
 * marked here once and for all. */
const struct hpack_static_row hpack_static[HPACK_STATIC_COUNT + 1] = {
    {STR_NULL, STR_NULL, 0, 0, false},
#define IS_VALID(kind, id)                                                                         \
    ((int)(kind) != (int)H2_AUTHORITY && (int)(id) != (int)HTTP_NAME_HOST &&                       \
     (int)(id) != (int)HTTP_NAME_CONTENT_LENGTH && (int)(id) != (int)HTTP_NAME_TRANSFER_ENCODING)
#define HPACK_STATIC(kind, id, name, value)                                                        \
    {{name, sizeof(name) - 1},                                                                     \
     {value, sizeof(value) - 1},                                                                   \
     H2_##kind,                                                                                    \
     HTTP_NAME_##id,                                                                               \
     IS_VALID(H2_##kind, HTTP_NAME_##id)},
#include "http/hpack_static.def"
#undef HPACK_STATIC
};

_Static_assert((HPACK_ENTRIES_MIN & (HPACK_ENTRIES_MIN - 1)) == 0,
               "ordinals that overflow go on in the next slot");
_Static_assert(HPACK_BYTES_MAX % HPACK_BYTES_MIN == 0, "doubling ends there");
_Static_assert(HTTP_NAME_COUNT <= UINT8_MAX, "an id fits into an entry");

void hpack_table_init(struct hpack_table *t)
{
    *t = (struct hpack_table){.size_max = HPACK_TABLE_BYTES};
}

void hpack_table_deinit(struct hpack_table *t)
{
    free(t->entries);
    free(t->bytes);
    *t = (struct hpack_table){0};
}

static uint32_t size_of(size_t name_len, size_t value_len)
{
    return (uint32_t)(name_len + value_len) + HPACK_ENTRY_BYTES;
}

static void evict_to(struct hpack_table *t, uint32_t size_max)
{
    while (t->size > size_max) {
        const struct hpack_entry *oldest = hpack_table_entry(t, t->inserted - t->count + 1);

        t->size -= size_of(oldest->name_len, oldest->value_len);
        t->count--;
    }
}

void hpack_table_set_size(struct hpack_table *t, uint32_t size_max)
{
    ASSERT(size_max <= HPACK_TABLE_BYTES);
    t->size_max = size_max;
    evict_to(t, size_max);
}

static void grow_entries(struct hpack_table *t)
{
    uint32_t cap = t->entries_cap == 0 ? HPACK_ENTRIES_MIN : 2 * t->entries_cap;
    struct hpack_entry *entries = mem_zalloc(cap * sizeof *entries);

    for (uint32_t i = 0; i < t->count; i++) {
        uint32_t ordinal = t->inserted - i;

        entries[ordinal & (cap - 1)] = *hpack_table_entry(t, ordinal);
    }
    free(t->entries);
    t->entries = entries;
    t->entries_cap = cap;
}

/* Room for len bytes at t->at; behind the last of them only when there are as many as may be. */
static void make_room(struct hpack_table *t, size_t len)
{
    uint32_t cap = t->bytes_cap == 0 ? HPACK_BYTES_MIN : t->bytes_cap;

    while (t->at + len > cap && cap < HPACK_BYTES_MAX)
        cap *= 2;
    if (cap != t->bytes_cap) {
        t->bytes = mem_realloc(t->bytes, cap);
        t->bytes_cap = cap;
    }
    if (t->at + len > cap)
        t->at = 0;
}

struct hpack_entry *hpack_table_insert(struct hpack_table *t, struct str name, struct str value)
{
    size_t len = name.len + value.len;

    if (len + HPACK_ENTRY_BYTES > t->size_max) {
        evict_to(t, 0);
        return NULL;
    }
    evict_to(t, t->size_max - (uint32_t)len - HPACK_ENTRY_BYTES);
    if (t->count == t->entries_cap)
        grow_entries(t);
    bool is_inside = t->bytes_cap > 0 && name.ptr >= t->bytes && name.ptr < t->bytes + t->bytes_cap;
    size_t name_at = is_inside ? (size_t)(name.ptr - t->bytes) : 0;
    make_room(t, len);
    if (is_inside)
        name.ptr = t->bytes + name_at;
    char *to = t->bytes + t->at;
    memmove(to, name.ptr, name.len); /* it may be that of an entry which has just gone */
    if (value.len > 0)
        memcpy(to + name.len, value.ptr, value.len);
    t->inserted++;
    t->count++;
    t->size += size_of(name.len, value.len);
    struct hpack_entry *e = hpack_table_entry(t, t->inserted);
    *e = (struct hpack_entry){
        .at = t->at, .name_len = (uint32_t)name.len, .value_len = (uint32_t)value.len};
    t->at += (uint32_t)len;
    return e;
}
