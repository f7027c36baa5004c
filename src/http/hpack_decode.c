#include <stdlib.h>

#include "base/err.h"
#include "http/hpack_huffman.h"
#include "http/hpack_table.h"

/* RFC 7541 6: how a representation begins. */
enum {
    IS_INDEXED = 0x80,
    IS_INSERTED = 0x40,
    IS_SIZE = 0x20,
    IS_NEVER = 0x10,
    IS_HUFFMAN = 0x80,
};

enum {
    UPDATES_MAX = 2,       /* RFC 7541 4.2 */
    INTEGER_BYTES_MAX = 4, /* behind the prefix: 28 bits */
    SCRATCH_KEEP = 4096,
    SCRATCH_MIN = 512,
};

void hpack_decoder_init(struct hpack_decoder *d)
{
    *d = (struct hpack_decoder){0};
    hpack_table_init(&d->table);
}

void hpack_decoder_deinit(struct hpack_decoder *d)
{
    hpack_table_deinit(&d->table);
    free(d->scratch);
    d->scratch = NULL;
}

void hpack_decode_begin(struct hpack_decoder *d)
{
    d->updates = 0;
    d->is_begun = false;
    if (d->scratch_cap > SCRATCH_KEEP) {
        free(d->scratch);
        d->scratch = NULL;
        d->scratch_cap = 0;
    }
}

static uint8_t take_byte(struct str *s)
{
    uint8_t byte = (uint8_t)s->ptr[0];

    s->ptr++;
    s->len--;
    return byte;
}

/* RFC 7541 5.1. False: cut off, or more than any string here can need. */
static bool take_integer(struct str *s, unsigned prefix_bits, uint32_t *ret_value)
{
    uint32_t mask = (1u << prefix_bits) - 1, value;

    if (s->len == 0)
        return false;
    value = take_byte(s) & mask;
    if (value == mask) {
        uint8_t byte = 0x80;

        for (unsigned i = 0; (byte & 0x80) != 0; i++) {
            if (i == INTEGER_BYTES_MAX || s->len == 0)
                return false;
            byte = take_byte(s);
            value += (uint32_t)(byte & 0x7f) << (7 * i);
        }
    }
    *ret_value = value;
    return true;
}

/* Name and value of one field fit: both are coded in what is left of the block. */
static void need_scratch(struct hpack_decoder *d, size_t coded_len)
{
    size_t room = hpack_huffman_room(coded_len) + 1;

    if (d->scratch_len > 0 || d->scratch_cap >= room)
        return;
    d->scratch_cap = MAX(room, (size_t)SCRATCH_MIN);
    free(d->scratch);
    d->scratch = mem_alloc(d->scratch_cap);
}

/* RFC 7541 5.2. */
static bool take_string(struct hpack_decoder *d, struct str *s, struct str *ret_string)
{
    bool is_huffman = s->len > 0 && ((uint8_t)s->ptr[0] & IS_HUFFMAN) != 0;
    uint32_t len;

    if (!take_integer(s, 7, &len) || len > s->len)
        return false;
    struct str coded = str_from(s->ptr, len);
    if (!is_huffman) {
        *ret_string = coded;
    } else {
        need_scratch(d, s->len);
        char *to = d->scratch + d->scratch_len;
        ptrdiff_t n = hpack_huffman_decode(coded, to);
        if (n < 0)
            return false;
        d->scratch_len += (size_t)n;
        *ret_string = str_from(to, (size_t)n);
    }
    s->ptr += len;
    s->len -= len;
    return true;
}

/* Static or dynamic: RFC 7541 2.3.3. False: there is none. */
static bool look_up(const struct hpack_decoder *d, uint32_t index, struct hpack_field *ret_field)
{
    const struct hpack_table *t = &d->table;

    if (index == 0)
        return false;
    if (index <= HPACK_STATIC_COUNT) {
        const struct hpack_static_row *row = &hpack_static[index];

        *ret_field = (struct hpack_field){.name = row->name,
                                          .value = row->value,
                                          .kind = (enum h2_kind)row->kind,
                                          .id = (enum http_name)row->id,
                                          .is_valid = row->is_valid,
                                          .is_name_valid = true,
                                          .is_name_static = true,
                                          .is_value_static = true};
        return true;
    }
    index -= HPACK_STATIC_COUNT + 1;
    if (index >= t->count)
        return false;
    const struct hpack_entry *e = hpack_table_entry(t, t->inserted - index);
    *ret_field = (struct hpack_field){.name = hpack_entry_name(t, e),
                                      .value = hpack_entry_value(t, e),
                                      .kind = (enum h2_kind)e->kind,
                                      .id = (enum http_name)e->id,
                                      .is_valid = e->is_valid,
                                      .is_name_valid = e->is_name_valid};
    return true;
}

static bool take_name(struct hpack_decoder *d, struct str *block, unsigned prefix_bits,
                      struct hpack_field *ret_field)
{
    uint32_t index;

    if (!take_integer(block, prefix_bits, &index))
        return false;
    if (index != 0)
        return look_up(d, index, ret_field);
    *ret_field = (struct hpack_field){0};
    if (!take_string(d, block, &ret_field->name))
        return false;
    ret_field->is_name_valid = h2_field_name(ret_field->name, &ret_field->kind, &ret_field->id);
    return true;
}

static bool take_literal(struct hpack_decoder *d, struct str *block, unsigned prefix_bits,
                         struct hpack_field *ret_field)
{
    struct hpack_field f;

    if (!take_name(d, block, prefix_bits, &f) || !take_string(d, block, &f.value))
        return false;
    f.is_value_static = false;
    f.is_valid = f.is_name_valid && h2_field_value_is_valid(f.kind, f.id, f.value);
    *ret_field = f;
    return true;
}

static bool take_inserted(struct hpack_decoder *d, struct str *block, struct hpack_field *ret_field)
{
    struct hpack_field f;

    if (!take_literal(d, block, 6, &f))
        return false;
    /* One that is too large leaves its name, which may be an entry's, where it was. */
    struct hpack_entry *e = hpack_table_insert(&d->table, f.name, f.value);
    if (e != NULL) {
        e->kind = (uint8_t)f.kind;
        e->id = (uint8_t)f.id;
        e->is_valid = f.is_valid;
        e->is_name_valid = f.is_name_valid;
        f.name = f.is_name_static ? f.name : hpack_entry_name(&d->table, e);
        f.value = hpack_entry_value(&d->table, e);
    }
    *ret_field = f;
    return true;
}

static bool take_size(struct hpack_decoder *d, struct str *block)
{
    uint32_t size;

    if (d->is_begun || ++d->updates > UPDATES_MAX || !take_integer(block, 5, &size) ||
        size > HPACK_TABLE_BYTES)
        return false;
    hpack_table_set_size(&d->table, size);
    return true;
}

int hpack_decode(struct hpack_decoder *d, struct str *block, struct hpack_field *ret_field)
{
    bool is_fine = true;
    uint32_t index;

    while (is_fine && block->len > 0 && ((uint8_t)block->ptr[0] & 0xe0) == IS_SIZE)
        is_fine = take_size(d, block);
    if (!is_fine || block->len == 0)
        return is_fine ? 0 : -ERR_PROTOCOL;
    d->is_begun = true;
    d->scratch_len = 0;
    uint8_t first = (uint8_t)block->ptr[0];
    if ((first & IS_INDEXED) != 0) {
        is_fine = take_integer(block, 7, &index) && look_up(d, index, ret_field);
    } else if ((first & IS_INSERTED) != 0) {
        is_fine = take_inserted(d, block, ret_field);
    } else {
        is_fine = take_literal(d, block, 4, ret_field);
        if (is_fine)
            ret_field->is_never_indexed = (first & IS_NEVER) != 0;
    }
    return is_fine ? 1 : -ERR_PROTOCOL;
}
