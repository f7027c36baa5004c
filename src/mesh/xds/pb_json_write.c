#include <math.h>
#include <stdio.h>

#include "base/map.h"
#include "codec/base64.h"
#include "codec/duration.h"
#include "mesh/xds/any.h"
#include "mesh/xds/pb.h"
#include "mesh/xds/pb_json.h"
#include "mesh/xds/pb_wire.h"

enum { BASE64_LEN_MAX = 32 << 20, MERGED_LEN_MAX = 64 << 20 };

static void write_message(struct json_writer *w, const ProtobufCMessageDescriptor *desc,
                          struct str wire, const char *key);

/* --- scalars --- */

static double double_of(const ProtobufCFieldDescriptor *fd, uint64_t bits)
{
    if (fd->type == PROTOBUF_C_TYPE_FLOAT) {
        uint32_t low = (uint32_t)bits;
        float f;
        memcpy(&f, &low, sizeof f);
        return f;
    }
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

static void write_enum(struct json_writer *w, const ProtobufCFieldDescriptor *fd, uint64_t value,
                       const char *key)
{
    if (fd->descriptor == (const void *)&pb__null_value__descriptor) {
        json_writer_null(w, key);
        return;
    }
    const ProtobufCEnumValue *v =
        protobuf_c_enum_descriptor_get_value(fd->descriptor, (int32_t)value);
    if (v != NULL)
        json_writer_c(w, key, v->name);
    else
        json_writer_i64(w, key, (int32_t)value);
}

/* Whole numbers stay whole: "1", not "1.0". */
static void write_real(struct json_writer *w, double value, const char *key)
{
    if (!isfinite(value)) {
        json_writer_c(w, key, isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity");
        return;
    }
    const double whole_max = 9007199254740992.0; /* 2^53 */
    if (value >= -whole_max && value <= whole_max && value == (double)(int64_t)value)
        json_writer_i64(w, key, (int64_t)value);
    else
        json_writer_f64(w, key, value);
}

static void write_number(struct json_writer *w, const ProtobufCFieldDescriptor *fd, uint64_t value,
                         const char *key)
{
    char text[32];
    switch (fd->type) {
    case PROTOBUF_C_TYPE_BOOL:
        json_writer_bool(w, key, value != 0);
        break;
    case PROTOBUF_C_TYPE_ENUM:
        write_enum(w, fd, value, key);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_FLOAT:
        write_real(w, double_of(fd, value), key);
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        json_writer_u64(w, key, (uint32_t)value);
        break;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        json_writer_i64(w, key, (int32_t)value);
        break;
    case PROTOBUF_C_TYPE_SINT32:
        json_writer_i64(w, key, (int32_t)pb_wire_unzigzag((uint32_t)value));
        break;
    case PROTOBUF_C_TYPE_UINT64: /* 64 bits are strings in JSON */
    case PROTOBUF_C_TYPE_FIXED64:
        snprintf(text, sizeof text, "%llu", (unsigned long long)value);
        json_writer_c(w, key, text);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        snprintf(text, sizeof text, "%lld", (long long)value);
        json_writer_c(w, key, text);
        break;
    case PROTOBUF_C_TYPE_SINT64:
        snprintf(text, sizeof text, "%lld", (long long)pb_wire_unzigzag(value));
        json_writer_c(w, key, text);
        break;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        break;
    }
}

static void write_base64(struct json_writer *w, struct str bytes, const char *key)
{
    AUTO(str_buf_deinit) struct str_buf text = STR_BUF_INIT(BASE64_LEN_MAX);
    base64_encode(&text, BASE64_STD, bytes);
    json_writer_str(w, key, str_buf_str(&text));
}

static void write_value(struct json_writer *w, const ProtobufCFieldDescriptor *fd,
                        const struct pb_field *f, const char *key)
{
    if (fd->type == PROTOBUF_C_TYPE_MESSAGE)
        write_message(w, fd->descriptor, f->bytes, key);
    else if (fd->type == PROTOBUF_C_TYPE_STRING)
        json_writer_str(w, key, f->bytes);
    else if (fd->type == PROTOBUF_C_TYPE_BYTES)
        write_base64(w, f->bytes, key);
    else
        write_number(w, fd, f->value, key);
}

/* --- messages with a form of their own --- */

static bool find_field(struct str wire, uint32_t number, struct pb_field *ret_field)
{
    struct pb_field f;
    bool is_found = false;
    while (pb_wire_next(&wire, &f) == 1) {
        if (f.number == number) {
            *ret_field = f;
            is_found = true;
        }
    }
    return is_found;
}

static void write_duration(struct json_writer *w, struct str wire, const char *key)
{
    struct pb_field seconds = {0}, nanos = {0};
    char text[DURATION_TEXT_MAX];
    find_field(wire, 1, &seconds);
    find_field(wire, 2, &nanos);
    const struct duration_proto d = {(int64_t)seconds.value, (int32_t)nanos.value};
    json_writer_str(w, key, duration_format_proto(d, text));
}

static void write_struct_value(struct json_writer *w, struct str wire, const char *key)
{
    const ProtobufCMessageDescriptor *desc = &pb__value__descriptor;
    struct pb_field f, last = {0};
    while (pb_wire_next(&wire, &f) == 1)
        last = f;
    const ProtobufCFieldDescriptor *fd =
        last.number > 1 ? protobuf_c_message_descriptor_get_field(desc, last.number) : NULL;
    if (fd == NULL)
        json_writer_null(w, key);
    else
        write_value(w, fd, &last, key);
}

/* The text of a key, as a member's name. */
static struct str key_text(struct arena *a, const ProtobufCFieldDescriptor *fd,
                           const struct pb_field *f)
{
    enum { KEY_LEN_MAX = 64 };
    if (fd->type == PROTOBUF_C_TYPE_STRING)
        return f->bytes;
    AUTO(str_buf_deinit) struct str_buf text = STR_BUF_INIT(KEY_LEN_MAX);
    struct json_writer w;
    json_writer_init(&w, &text, 0);
    write_number(&w, fd, f->value, NULL);
    struct str s = str_buf_str(&text);
    bool is_quoted = str_starts_with(s, STR("\"")); /* 64 bits */
    return arena_str(a, str_sub(s, is_quoted, s.len - 2 * is_quoted));
}

/* What an entry lacks has its type's zero. */
static void write_entry(struct json_writer *w, const ProtobufCFieldDescriptor *fd, struct str entry)
{
    struct pb_field v = {.bytes = STR("")};
    find_field(entry, 2, &v);
    write_value(w, fd, &v, NULL);
}

/* Of entries with one key the last one holds. */
static void write_entries(struct json_writer *w, const ProtobufCMessageDescriptor *entry_desc,
                          struct str wire, uint32_t number)
{
    enum { BLOCK_LEN = 1024 };
    struct pb_field f;
    struct map last; /* key -> where that entry ends */
    struct arena a;
    arena_init(&a, BLOCK_LEN);
    map_init(&last);
    for (int pass = 0; pass < 2; pass++) {
        struct str rest = wire;
        while (pb_wire_next(&rest, &f) == 1) {
            struct pb_field k = {.bytes = STR("")};
            if (f.number != number)
                continue;
            find_field(f.bytes, 1, &k);
            struct str key = key_text(&a, &entry_desc->fields[0], &k);
            void *here = (void *)(uintptr_t)(f.bytes.ptr + f.bytes.len);
            if (pass == 0) {
                map_put(&last, key, here);
            } else if (map_get(&last, key) == here) {
                json_writer_key(w, key);
                write_entry(w, &entry_desc->fields[1], f.bytes);
            }
        }
    }
    map_deinit(&last);
    arena_deinit(&a);
}

static void write_struct(struct json_writer *w, struct str wire, const char *key)
{
    json_writer_object(w, key);
    write_entries(w, &pb__struct__fields_entry__descriptor, wire, 1);
    json_writer_end(w);
}

static void write_list(struct json_writer *w, struct str wire, const char *key)
{
    struct pb_field f;
    json_writer_array(w, key);
    while (pb_wire_next(&wire, &f) == 1) {
        if (f.number == 1)
            write_struct_value(w, f.bytes, NULL);
    }
    json_writer_end(w);
}

static void write_wrapper(struct json_writer *w, const ProtobufCMessageDescriptor *desc,
                          struct str wire, const char *key)
{
    struct pb_field f = {.bytes = STR("")};
    find_field(wire, 1, &f);
    write_value(w, &desc->fields[0], &f, key);
}

/* --- messages --- */

static void write_repeated(struct json_writer *w, const ProtobufCFieldDescriptor *fd,
                           struct str wire)
{
    struct pb_field f;
    if (fd->type == PROTOBUF_C_TYPE_MESSAGE && pb_json_is_map_entry(fd->descriptor)) {
        json_writer_object(w, fd->name);
        write_entries(w, fd->descriptor, wire, fd->id);
        json_writer_end(w);
        return;
    }
    bool is_number = fd->type != PROTOBUF_C_TYPE_MESSAGE && fd->type != PROTOBUF_C_TYPE_STRING &&
                     fd->type != PROTOBUF_C_TYPE_BYTES;
    json_writer_array(w, fd->name);
    while (pb_wire_next(&wire, &f) == 1) {
        if (f.number != fd->id)
            continue;
        if (!is_number || f.type != PB_BYTES) {
            write_value(w, fd, &f, NULL);
            continue;
        }
        uint64_t value;
        while (pb_wire_next_packed(&f.bytes, pb_wire_type_of(fd->type), &value) == 1)
            write_number(w, fd, value, NULL);
    }
    json_writer_end(w);
}

/* A message that comes in parts is their concatenation; of other values the last one holds. */
static void write_singular(struct json_writer *w, const ProtobufCFieldDescriptor *fd,
                           struct str wire)
{
    struct pb_field f, last = {0};
    unsigned count = 0;
    AUTO(str_buf_deinit) struct str_buf merged = STR_BUF_INIT(MERGED_LEN_MAX);
    while (pb_wire_next(&wire, &f) == 1) {
        if (f.number != fd->id)
            continue;
        if (count++ == 1)
            str_buf_add(&merged, last.bytes);
        if (count > 1)
            str_buf_add(&merged, f.bytes);
        last = f;
    }
    if (count > 1 && fd->type == PROTOBUF_C_TYPE_MESSAGE)
        last.bytes = str_buf_str(&merged);
    write_value(w, fd, &last, fd->name);
}

static bool is_secret(const ProtobufCMessageDescriptor *desc, const ProtobufCFieldDescriptor *fd)
{
    return desc == &pb__tls__tls_certificate__descriptor && strcmp(fd->name, "private_key") == 0;
}

/* Of a oneof the last one that is there holds. */
static bool is_overtaken(const ProtobufCMessageDescriptor *desc, const ProtobufCFieldDescriptor *fd,
                         struct str wire)
{
    struct pb_field f;
    uint32_t last = fd->id;
    if ((fd->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0)
        return false;
    while (pb_wire_next(&wire, &f) == 1) {
        const ProtobufCFieldDescriptor *other =
            protobuf_c_message_descriptor_get_field(desc, f.number);
        if (other != NULL && (other->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 &&
            other->quantifier_offset == fd->quantifier_offset)
            last = f.number;
    }
    return last != fd->id;
}

static void write_fields(struct json_writer *w, const ProtobufCMessageDescriptor *desc,
                         struct str wire)
{
    struct pb_field f;
    for (unsigned i = 0; i < desc->n_fields; i++) {
        const ProtobufCFieldDescriptor *fd = &desc->fields[i];
        if (!find_field(wire, fd->id, &f) || is_overtaken(desc, fd, wire))
            continue;
        if (is_secret(desc, fd)) {
            json_writer_object(w, fd->name);
            json_writer_c(w, "inline_string", "[redacted]");
            json_writer_end(w);
        } else if (fd->label == PROTOBUF_C_LABEL_REPEATED) {
            write_repeated(w, fd, wire);
        } else {
            write_singular(w, fd, wire);
        }
    }
}

static void write_any(struct json_writer *w, struct str wire, const char *key)
{
    struct pb_field url = {.bytes = STR("")}, value = {.bytes = STR("")};
    find_field(wire, 1, &url);
    find_field(wire, 2, &value);
    const ProtobufCMessageDescriptor *desc = any_find(url.bytes);
    json_writer_object(w, key);
    json_writer_str(w, "@type", url.bytes);
    if (desc != NULL)
        write_fields(w, desc, value.bytes);
    else
        write_base64(w, value.bytes, "value");
    json_writer_end(w);
}

static void write_message(struct json_writer *w, const ProtobufCMessageDescriptor *desc,
                          struct str wire, const char *key)
{
    enum { LEVELS_NEEDED = 3 };
    if (w->depth + LEVELS_NEEDED >= JSON_WRITER_DEPTH_MAX) {
        json_writer_c(w, key, "[nested too deep to show]");
    } else if (desc == &pb__duration__descriptor) {
        write_duration(w, wire, key);
    } else if (desc == &pb__any__descriptor) {
        write_any(w, wire, key);
    } else if (desc == &pb__struct__descriptor) {
        write_struct(w, wire, key);
    } else if (desc == &pb__list_value__descriptor) {
        write_list(w, wire, key);
    } else if (desc == &pb__value__descriptor) {
        write_struct_value(w, wire, key);
    } else if (pb_json_is_wrapper(desc)) {
        write_wrapper(w, desc, wire, key);
    } else {
        json_writer_object(w, key);
        write_fields(w, desc, wire);
        json_writer_end(w);
    }
}

void pb_json_write(const ProtobufCMessageDescriptor *descriptor, struct str wire,
                   struct json_writer *w, const char *key)
{
    write_message(w, descriptor, wire, key);
}
