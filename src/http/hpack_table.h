/* Inside HPACK only: the static table, the dynamic table, and integers (RFC 7541 2.3, 4, 5.1). */
#pragma once

#include "http/hpack.h"

struct hpack_static_row {
    struct str name, value;
    uint8_t kind, id; /* enum h2_kind, enum http_name */
    bool is_valid;
};

/* [1] to [HPACK_STATIC_COUNT], as the RFC counts. */
extern const struct hpack_static_row hpack_static[HPACK_STATIC_COUNT + 1];

/* An entry's strings lie together. An entry never wraps around: with twice the bytes that live
 * entries can have there is always room for one more in front of or behind them. Most connections
 * see few fields, so both parts begin small. */
enum { HPACK_BYTES_MIN = 512, HPACK_BYTES_MAX = 2 * HPACK_TABLE_BYTES, HPACK_ENTRIES_MIN = 16 };

void hpack_table_init(struct hpack_table *t);
void hpack_table_deinit(struct hpack_table *t);
void hpack_table_set_size(struct hpack_table *t, uint32_t size_max);
/* RFC 7541 4.4: evicts, then adds; name may lie in the table. NULL: it is larger than the table,
 * which is empty now. The caller fills in what the entry remembers. */
struct hpack_entry *hpack_table_insert(struct hpack_table *t, struct str name, struct str value);

static inline bool hpack_table_is_live(const struct hpack_table *t, uint32_t ordinal)
{
    return t->inserted - ordinal < t->count;
}

static inline struct hpack_entry *hpack_table_entry(const struct hpack_table *t, uint32_t ordinal)
{
    return &t->entries[ordinal & (t->entries_cap - 1)];
}

static inline struct str hpack_entry_name(const struct hpack_table *t, const struct hpack_entry *e)
{
    return str_from(t->bytes + e->at, e->name_len);
}

static inline struct str hpack_entry_value(const struct hpack_table *t, const struct hpack_entry *e)
{
    return str_from(t->bytes + e->at + e->name_len, e->value_len);
}
