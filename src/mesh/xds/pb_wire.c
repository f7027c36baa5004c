#include "mesh/xds/pb_wire.h"

#include "base/err.h"

enum { NUMBER_MAX = (1 << 29) - 1, VARINT_LEN_MAX = 10 };

static int read_varint(struct str *rest, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (size_t i = 0; i < rest->len && i < VARINT_LEN_MAX; i++) {
        uint8_t byte = (uint8_t)rest->ptr[i];
        if (i == VARINT_LEN_MAX - 1 && byte > 1)
            return -ERR_PROTOCOL;
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *rest = str_skip(*rest, i + 1);
            *ret_value = value;
            return 0;
        }
    }
    return -ERR_PROTOCOL;
}

static int read_fixed(struct str *rest, size_t len, uint64_t *ret_value)
{
    if (rest->len < len)
        return -ERR_PROTOCOL;
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++)
        value |= (uint64_t)(uint8_t)rest->ptr[i] << (8 * i);
    *rest = str_skip(*rest, len);
    *ret_value = value;
    return 0;
}

static int read_value(struct str *rest, struct pb_field *f)
{
    switch (f->type) {
    case PB_VARINT:
        return read_varint(rest, &f->value);
    case PB_FIXED64:
        return read_fixed(rest, 8, &f->value);
    case PB_FIXED32:
        return read_fixed(rest, 4, &f->value);
    case PB_BYTES:
        if (read_varint(rest, &f->value) != 0 || f->value > rest->len)
            return -ERR_PROTOCOL;
        f->bytes = str_sub(*rest, 0, (size_t)f->value);
        *rest = str_skip(*rest, (size_t)f->value);
        return 0;
    }
    return -ERR_PROTOCOL; /* groups */
}

enum pb_wire_type pb_wire_type_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return PB_FIXED32;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return PB_FIXED64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return PB_BYTES;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_ENUM:
        return PB_VARINT;
    }
    return PB_VARINT;
}

int pb_wire_next(struct str *rest, struct pb_field *ret_field)
{
    if (rest->len == 0)
        return 0;
    uint64_t tag;
    if (read_varint(rest, &tag) != 0 || tag >> 3 == 0 || tag >> 3 > NUMBER_MAX)
        return -ERR_PROTOCOL;
    struct pb_field f = {.number = (uint32_t)(tag >> 3), .type = (enum pb_wire_type)(tag & 7)};
    int rc = read_value(rest, &f);
    if (rc != 0)
        return rc;
    *ret_field = f;
    return 1;
}

int pb_wire_next_packed(struct str *rest, enum pb_wire_type type, uint64_t *ret_value)
{
    if (rest->len == 0)
        return 0;
    struct pb_field f = {.type = type};
    if (type == PB_BYTES || read_value(rest, &f) != 0)
        return -ERR_PROTOCOL;
    *ret_value = f.value;
    return 1;
}

void pb_wire_add_varint(struct str_buf *to, uint64_t value)
{
    char bytes[VARINT_LEN_MAX];
    size_t len = 0;
    while (value >= 0x80) {
        bytes[len++] = (char)(value | 0x80);
        value >>= 7;
    }
    bytes[len++] = (char)value;
    str_buf_add(to, str_from(bytes, len));
}

void pb_wire_add_tag(struct str_buf *to, uint32_t number, enum pb_wire_type type)
{
    pb_wire_add_varint(to, (uint64_t)number << 3 | type);
}

static void add_fixed(struct str_buf *to, uint64_t value, size_t len)
{
    char bytes[8];
    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)(value >> (8 * i));
    str_buf_add(to, str_from(bytes, len));
}

void pb_wire_add_fixed64(struct str_buf *to, uint64_t value)
{
    add_fixed(to, value, 8);
}

void pb_wire_add_fixed32(struct str_buf *to, uint32_t value)
{
    add_fixed(to, value, 4);
}

void pb_wire_add_bytes(struct str_buf *to, uint32_t number, struct str bytes)
{
    pb_wire_add_tag(to, number, PB_BYTES);
    pb_wire_add_varint(to, bytes.len);
    str_buf_add(to, bytes);
}
