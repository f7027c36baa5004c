/* The wire format of protobuf, read and written field by field. Pure. */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "base/str.h"

enum pb_wire_type { PB_VARINT = 0, PB_FIXED64 = 1, PB_BYTES = 2, PB_FIXED32 = 5 };

struct pb_field {
    uint32_t number;
    enum pb_wire_type type;
    uint64_t value;   /* PB_VARINT, PB_FIXED64, PB_FIXED32 */
    struct str bytes; /* PB_BYTES: borrowed from the message */
};

/* How values of that kind are written; the elements of a list, too. */
enum pb_wire_type pb_wire_type_of(ProtobufCType type);
/* Takes the next field off *rest. 1: there is one; 0: the end; -ERR_PROTOCOL: no valid field
 * (truncated, number 0, a group). */
int pb_wire_next(struct str *rest, struct pb_field *ret_field);
/* Takes one varint, fixed64 or fixed32 off packed *rest; likewise. */
int pb_wire_next_packed(struct str *rest, enum pb_wire_type type, uint64_t *ret_value);

void pb_wire_add_varint(struct str_buf *to, uint64_t value);
void pb_wire_add_tag(struct str_buf *to, uint32_t number, enum pb_wire_type type);
void pb_wire_add_fixed64(struct str_buf *to, uint64_t value);
void pb_wire_add_fixed32(struct str_buf *to, uint32_t value);
/* Tag, length, bytes. */
void pb_wire_add_bytes(struct str_buf *to, uint32_t number, struct str bytes);

/* How zigzag codes negative numbers. */
static inline int64_t pb_wire_unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

static inline uint64_t pb_wire_zigzag(int64_t v)
{
    return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}
