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

_Static_assert((HPACK_ENTRIES_MAX & (HPACK_ENTRIES_MAX - 1)) == 0,
               "ordinals that overflow go on in the next slot");
_Static_assert(HTTP_NAME_COUNT <= UINT8_MAX, "an id fits into an entry");

void hpack_table_init(struct hpack_table *t)
{
    *t = (struct hpack_table){.size_max = HPACK_TABLE_BYTES};
}

void hpack_table_deinit(struct hpack_table *t)
{
    free(t->store);
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

struct hpack_entry *hpack_table_insert(struct hpack_table *t, struct str name, struct str value)
{
    size_t len = name.len + value.len;

    if (len + HPACK_ENTRY_BYTES > t->size_max) {
        evict_to(t, 0);
        return NULL;
    }
    evict_to(t, t->size_max - (uint32_t)len - HPACK_ENTRY_BYTES);
    if (t->store == NULL)
        t->store = NEW(struct hpack_store);
    if (t->at + len > sizeof(t->store->bytes))
        t->at = 0;
    char *to = t->store->bytes + t->at;
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
