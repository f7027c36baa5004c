
#include <float.h>
#include <math.h>

#include "base/err.h"
#include "codec/base64.h"
#include "codec/duration.h"
#include "mesh/xds/any.h"
#include "mesh/xds/pb.h"
#include "mesh/xds/pb_check.h"
#include "mesh/xds/pb_json.h"
#include "mesh/xds/pb_wire.h"

enum { NESTED_LEN_MAX = 64 << 20, FIELDS_MAX = 256, DEPTH_MAX = 128 };

struct reader {
    struct str_buf *why;
    unsigned depth;
    struct str_buf *ignored; /* paths of fields that are passed over; NULL: they are errors */
};

static int read_message(struct reader *r, const ProtobufCMessageDescriptor *desc,
                        const struct json *v, const struct pb_path *at, struct str_buf *to);

bool pb_json_is_wrapper(const ProtobufCMessageDescriptor *desc)
{
    return desc->n_fields == 1 && strcmp(desc->package_name, "google.protobuf") == 0 &&
           strcmp(desc->fields[0].name, "value") == 0 &&
           str_ends_with(str_from_c(desc->name), STR("Value"));
}

bool pb_json_is_map_entry(const ProtobufCMessageDescriptor *desc)
{
    return desc->n_fields == 2 && str_ends_with(str_from_c(desc->short_name), STR("Entry")) &&
           strcmp(desc->fields[0].name, "key") == 0 && strcmp(desc->fields[1].name, "value") == 0;
}

/* --- scalars --- */

static int fail_type(struct reader *r, const struct pb_path *at, const char *want,
                     const struct json *v)
{
    return pb_path_fail(at, r->why, "%s is needed, not %s", want, json_type_name(v->type));
}

/* A number that stands in a string, as it stands without. */
static bool number_in(struct str text, struct json *ret_number)
{
    enum { TEXT_LEN_MAX = 400, SCRATCH_LEN = 1024 };
    struct arena scratch;
    const struct json *root;
    bool is_number = text.len > 0 && text.len <= TEXT_LEN_MAX &&
                     strchr("-0123456789", text.ptr[0]) != NULL && text.ptr[text.len - 1] >= '0' &&
                     text.ptr[text.len - 1] <= '9';
    arena_init(&scratch, SCRATCH_LEN);
    is_number = is_number && json_parse(&scratch, text, TEXT_LEN_MAX, &root, NULL) == 0 &&
                (root->type == JSON_INT || root->type == JSON_REAL);
    if (is_number)
        *ret_number = *root;
    arena_deinit(&scratch);
    return is_number;
}

/* Whole numbers come as numbers, as strings of digits, or with a fraction of zero. */
static bool json_integer(const struct json *v, bool *ret_is_negative, uint64_t *ret_magnitude)
{
    if (v->type == JSON_INT) {
        *ret_is_negative = v->integer < 0;
        *ret_magnitude = v->integer < 0 ? 0 - (uint64_t)v->integer : (uint64_t)v->integer;
        return true;
    }
    if (v->type == JSON_REAL && v->real > -9.2e18 && v->real < 9.2e18 &&
        (double)(int64_t)v->real == v->real) {
        *ret_is_negative = v->real < 0;
        *ret_magnitude = v->real < 0 ? (uint64_t)-v->real : (uint64_t)v->real;
        return true;
    }
    if (v->type != JSON_STR)
        return false;
    *ret_is_negative = str_starts_with(v->str, STR("-"));
    if (str_to_u64(str_skip(v->str, *ret_is_negative), UINT64_MAX, ret_magnitude))
        return true;
    struct json number;
    return number_in(v->str, &number) && json_integer(&number, ret_is_negative, ret_magnitude);
}

static int read_signed(struct reader *r, const struct json *v, uint64_t max,
                       const struct pb_path *at, int64_t *ret_value)
{
    bool is_negative;
    uint64_t magnitude;
    if (!json_integer(v, &is_negative, &magnitude))
        return fail_type(r, at, "a whole number", v);
    if (magnitude > max + is_negative)
        return pb_path_fail(at, r->why, "out of range");
    *ret_value = (int64_t)(is_negative ? 0 - magnitude : magnitude);
    return 0;
}

static int read_unsigned(struct reader *r, const struct json *v, uint64_t max,
                         const struct pb_path *at, uint64_t *ret_value)
{
    bool is_negative;
    uint64_t magnitude;
    if (!json_integer(v, &is_negative, &magnitude))
        return fail_type(r, at, "a whole number", v);
    if (magnitude > max || (is_negative && magnitude > 0))
        return pb_path_fail(at, r->why, "out of range");
    *ret_value = magnitude;
    return 0;
}

static int read_enum(struct reader *r, const ProtobufCEnumDescriptor *desc, const struct json *v,
                     const struct pb_path *at, int64_t *ret_value)
{
    if (v->type == JSON_STR) {
        for (unsigned i = 0; i < desc->n_value_names; i++) {
            if (str_eq(v->str, str_from_c(desc->values_by_name[i].name))) {
                *ret_value = desc->values[desc->values_by_name[i].index].value;
                return 0;
            }
        }
        return pb_path_fail(at, r->why, "\"%.*s\" is not a value of %s",
                            (int)MIN(v->str.len, (size_t)100), v->str.ptr, desc->short_name);
    }
    int64_t number = 0;
    if (read_signed(r, v, INT32_MAX, at, &number) != 0)
        return -ERR_INVALID;
    if (protobuf_c_enum_descriptor_get_value(desc, (int)number) == NULL)
        return pb_path_fail(at, r->why, "%lld is not a value of %s", (long long)number,
                            desc->short_name);
    *ret_value = number;
    return 0;
}

static int read_double(struct reader *r, const struct json *v, const struct pb_path *at,
                       double *ret_value)
{
    static const struct {
        struct str text;
        double value;
    } names[] = {{{"Infinity", 8}, INFINITY}, {{"-Infinity", 9}, -INFINITY}, {{"NaN", 3}, NAN}};
    struct json number;
    for (size_t i = 0; v->type == JSON_STR && i < ARRAY_LEN(names); i++) {
        if (str_eq(v->str, names[i].text)) {
            *ret_value = names[i].value;
            return 0;
        }
    }
    if (v->type == JSON_STR && number_in(v->str, &number))
        v = &number;
    return json_f64(v, ret_value) ? 0 : fail_type(r, at, "a number", v);
}

static int read_integer(struct reader *r, const ProtobufCFieldDescriptor *fd, const struct json *v,
                        const struct pb_path *at, uint64_t *ret_value)
{
    int64_t i = 0;
    bool b = false;
    int rc = -ERR_INVALID;
    switch (fd->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        rc = read_signed(r, v, INT32_MAX, at, &i);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        rc = read_signed(r, v, INT64_MAX, at, &i);
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return read_unsigned(r, v, UINT32_MAX, at, ret_value);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return read_unsigned(r, v, UINT64_MAX, at, ret_value);
    case PROTOBUF_C_TYPE_ENUM:
        rc = read_enum(r, fd->descriptor, v, at, &i);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        rc = json_bool(v, &b) ? 0 : fail_type(r, at, "true or false", v);
        i = b;
        break;
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        break;
    }
    bool is_zigzag = fd->type == PROTOBUF_C_TYPE_SINT32 || fd->type == PROTOBUF_C_TYPE_SINT64;
    *ret_value = is_zigzag ? pb_wire_zigzag(i) : (uint64_t)i;
    return rc;
}

static int read_text(struct reader *r, const ProtobufCFieldDescriptor *fd, const struct json *v,
                     const struct pb_path *at, struct str_buf *to)
{
    if (v->type != JSON_STR)
        return fail_type(r, at, "a string", v);
    if (fd->type == PROTOBUF_C_TYPE_STRING) {
        if (str_find(v->str, '\0') >= 0)
            return pb_path_fail(at, r->why, "a string with a NUL byte");
        pb_wire_add_bytes(to, fd->id, v->str);
        return 0;
    }
    struct arena scratch;
    arena_init(&scratch, 256);
    struct str bytes;
    bool is_good = base64_decode(&scratch, BASE64_STD, v->str, &bytes) == 0 ||
                   base64_decode(&scratch, BASE64_URL, v->str, &bytes) == 0;
    int rc = is_good ? 0 : pb_path_fail(at, r->why, "not base64");
    if (rc == 0)
        pb_wire_add_bytes(to, fd->id, bytes);
    arena_deinit(&scratch);
    return rc;
}

static int read_real(struct reader *r, const ProtobufCFieldDescriptor *fd, const struct json *v,
                     const struct pb_path *at, struct str_buf *to)
{
    double value;
    if (read_double(r, v, at, &value) != 0)
        return -ERR_INVALID;
    if (fd->type == PROTOBUF_C_TYPE_FLOAT) {
        if (isfinite(value) && (value > FLT_MAX || value < -FLT_MAX))
            return pb_path_fail(at, r->why, "out of range");
        float small = (float)value;
        uint32_t bits;
        memcpy(&bits, &small, sizeof bits);
        pb_wire_add_tag(to, fd->id, PB_FIXED32);
        pb_wire_add_fixed32(to, bits);
        return 0;
    }
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    pb_wire_add_tag(to, fd->id, PB_FIXED64);
    pb_wire_add_fixed64(to, bits);
    return 0;
}

/* One value with its tag; packed or not, readers take both. */
static int read_value(struct reader *r, const ProtobufCFieldDescriptor *fd, const struct json *v,
                      const struct pb_path *at, struct str_buf *to)
{
    if (fd->type == PROTOBUF_C_TYPE_MESSAGE) {
        AUTO(str_buf_deinit) struct str_buf nested = STR_BUF_INIT(NESTED_LEN_MAX);
        if (read_message(r, fd->descriptor, v, at, &nested) != 0)
            return -ERR_INVALID;
        pb_wire_add_bytes(to, fd->id, str_buf_str(&nested));
        return 0;
    }
    if (fd->type == PROTOBUF_C_TYPE_STRING || fd->type == PROTOBUF_C_TYPE_BYTES)
        return read_text(r, fd, v, at, to);
    if (fd->type == PROTOBUF_C_TYPE_DOUBLE || fd->type == PROTOBUF_C_TYPE_FLOAT)
        return read_real(r, fd, v, at, to);
    uint64_t value;
    enum pb_wire_type type = pb_wire_type_of(fd->type);
    if (read_integer(r, fd, v, at, &value) != 0)
        return -ERR_INVALID;
    pb_wire_add_tag(to, fd->id, type);
    if (type == PB_FIXED32)
        pb_wire_add_fixed32(to, (uint32_t)value);
    else if (type == PB_FIXED64)
        pb_wire_add_fixed64(to, value);
    else
        pb_wire_add_varint(to, value);
    return 0;
}

/* --- messages with a form of their own --- */

static int read_duration(struct reader *r, const struct json *v, const struct pb_path *at,
                         struct str_buf *to)
{
    struct duration_proto d;
    if (v->type != JSON_STR || duration_parse_proto(v->str, &d) != 0)
        return pb_path_fail(at, r->why, "a duration such as \"3s\" or \"0.25s\" is needed");
    if (d.seconds != 0) {
        pb_wire_add_tag(to, 1, PB_VARINT);
        pb_wire_add_varint(to, (uint64_t)d.seconds);
    }
    if (d.nanos != 0) {
        pb_wire_add_tag(to, 2, PB_VARINT);
        pb_wire_add_varint(to, (uint64_t)(int64_t)d.nanos);
    }
    return 0;
}

static int read_struct_value(struct reader *r, const struct json *v, const struct pb_path *at,
                             struct str_buf *to);

static int read_struct(struct reader *r, const struct json *v, const struct pb_path *at,
                       struct str_buf *to)
{
    if (v->type != JSON_OBJECT)
        return fail_type(r, at, "an object", v);
    for (uint32_t i = 0; i < v->count; i++) {
        AUTO(str_buf_deinit) struct str_buf entry = STR_BUF_INIT(NESTED_LEN_MAX);
        AUTO(str_buf_deinit) struct str_buf value = STR_BUF_INIT(NESTED_LEN_MAX);
        struct pb_path here = {.parent = at, .index = -1, .key = v->keys[i]};
        if (str_find(v->keys[i], '\0') >= 0)
            return pb_path_fail(at, r->why, "a key with a NUL byte");
        if (read_struct_value(r, v->items[i], &here, &value) != 0)
            return -ERR_INVALID;
        pb_wire_add_bytes(&entry, 1, v->keys[i]);
        pb_wire_add_bytes(&entry, 2, str_buf_str(&value));
        pb_wire_add_bytes(to, 1, str_buf_str(&entry));
    }
    return 0;
}

static int read_list(struct reader *r, const struct json *v, const struct pb_path *at,
                     struct str_buf *to)
{
    if (v->type != JSON_ARRAY)
        return fail_type(r, at, "an array", v);
    for (uint32_t i = 0; i < v->count; i++) {
        AUTO(str_buf_deinit) struct str_buf value = STR_BUF_INIT(NESTED_LEN_MAX);
        if (read_struct_value(r, v->items[i], PB_AT_I(at, "", i), &value) != 0)
            return -ERR_INVALID;
        pb_wire_add_bytes(to, 1, str_buf_str(&value));
    }
    return 0;
}

/* google.protobuf.Value: whatever JSON holds. */
static int read_struct_value(struct reader *r, const struct json *v, const struct pb_path *at,
                             struct str_buf *to)
{
    if (r->depth >= DEPTH_MAX)
        return pb_path_fail(at, r->why, "nested too deep");
    const ProtobufCMessageDescriptor *desc = &pb__value__descriptor;
    AUTO(str_buf_deinit) struct str_buf nested = STR_BUF_INIT(NESTED_LEN_MAX);
    int rc = 0;
    r->depth++;
    switch (v->type) {
    case JSON_NULL:
        pb_wire_add_tag(to, 1, PB_VARINT);
        pb_wire_add_varint(to, 0);
        break;
    case JSON_INT:
    case JSON_REAL:
        rc = read_value(r, protobuf_c_message_descriptor_get_field(desc, 2), v, at, to);
        break;
    case JSON_STR:
        rc = read_value(r, protobuf_c_message_descriptor_get_field(desc, 3), v, at, to);
        break;
    case JSON_BOOL:
        rc = read_value(r, protobuf_c_message_descriptor_get_field(desc, 4), v, at, to);
        break;
    case JSON_OBJECT:
        rc = read_struct(r, v, at, &nested);
        pb_wire_add_bytes(to, 5, str_buf_str(&nested));
        break;
    case JSON_ARRAY:
        rc = read_list(r, v, at, &nested);
        pb_wire_add_bytes(to, 6, str_buf_str(&nested));
        break;
    }
    r->depth--;
    return rc;
}

static int read_object(struct reader *r, const ProtobufCMessageDescriptor *desc,
                       const struct json *v, bool is_any, const struct pb_path *at,
                       struct str_buf *to);

static int read_any(struct reader *r, const struct json *v, const struct pb_path *at,
                    struct str_buf *to)
{
    struct str url;
    if (!json_str(json_get(v, "@type"), &url))
        return pb_path_fail(at, r->why, "an object with \"@type\" is needed");
    const ProtobufCMessageDescriptor *desc = any_find(url);
    if (desc == NULL)
        return pb_path_fail(at, r->why, "extension \"%.*s\" is not supported",
                            (int)MIN(url.len, (size_t)200), url.ptr);
    AUTO(str_buf_deinit) struct str_buf nested = STR_BUF_INIT(NESTED_LEN_MAX);
    if (!any_is_opaque(url) && read_object(r, desc, v, true, at, &nested) != 0)
        return -ERR_INVALID;
    pb_wire_add_bytes(to, 1, url);
    pb_wire_add_bytes(to, 2, str_buf_str(&nested));
    return 0;
}

/* --- objects --- */

/* "lb_policy" is also "lbPolicy". */
static bool is_name_of(struct str key, const char *name)
{
    if (str_eq(key, str_from_c(name)))
        return true;
    size_t i = 0;
    bool is_upper = false;
    for (; *name != '\0'; name++) {
        if (*name == '_') {
            is_upper = true;
            continue;
        }
        char c = is_upper && *name >= 'a' && *name <= 'z' ? (char)(*name - ('a' - 'A')) : *name;
        is_upper = false;
        if (i >= key.len || key.ptr[i++] != c)
            return false;
    }
    return i == key.len;
}

/* A key is always a string in JSON, whatever it means. */
static struct json key_of(const ProtobufCFieldDescriptor *fd, struct str text)
{
    bool is_bool = fd->type == PROTOBUF_C_TYPE_BOOL;
    if (is_bool && (str_eq(text, STR("true")) || str_eq(text, STR("false"))))
        return (struct json){.type = JSON_BOOL, .boolean = str_eq(text, STR("true"))};
    return (struct json){.type = JSON_STR, .str = text};
}

static int read_map(struct reader *r, const ProtobufCFieldDescriptor *fd, const struct json *v,
                    const struct pb_path *at, struct str_buf *to)
{
    const ProtobufCMessageDescriptor *entry_desc = fd->descriptor;
    if (v->type != JSON_OBJECT)
        return fail_type(r, at, "an object", v);
    for (uint32_t i = 0; i < v->count; i++) {
        AUTO(str_buf_deinit) struct str_buf entry = STR_BUF_INIT(NESTED_LEN_MAX);
        struct pb_path here = *at;
        here.key = v->keys[i];
        struct json key = key_of(&entry_desc->fields[0], v->keys[i]);
        if (read_value(r, &entry_desc->fields[0], &key, &here, &entry) != 0 ||
            read_value(r, &entry_desc->fields[1], v->items[i], &here, &entry) != 0)
            return -ERR_INVALID;
        pb_wire_add_bytes(to, fd->id, str_buf_str(&entry));
    }
    return 0;
}

static int read_field(struct reader *r, const ProtobufCFieldDescriptor *fd, const struct json *v,
                      const struct pb_path *parent, struct str_buf *to)
{
    const struct pb_path *at = PB_AT(parent, fd->name);
    if (fd->label != PROTOBUF_C_LABEL_REPEATED)
        return read_value(r, fd, v, at, to);
    if (fd->type == PROTOBUF_C_TYPE_MESSAGE && pb_json_is_map_entry(fd->descriptor))
        return read_map(r, fd, v, at, to);
    if (v->type != JSON_ARRAY)
        return fail_type(r, at, "an array", v);
    for (uint32_t i = 0; i < v->count; i++) {
        if (read_value(r, fd, v->items[i], PB_AT_I(parent, fd->name, i), to) != 0)
            return -ERR_INVALID;
    }
    return 0;
}

/* A name given in both spellings, or two members of a oneof, would be a guess. */
static int note_seen(struct reader *r, const ProtobufCMessageDescriptor *desc, unsigned index,
                     bool seen[FIELDS_MAX], const struct pb_path *at)
{
    const ProtobufCFieldDescriptor *fd = &desc->fields[index];
    if (seen[index])
        return pb_path_fail(at, r->why, "%s is there twice", fd->name);
    for (unsigned i = 0; i < desc->n_fields; i++) {
        const ProtobufCFieldDescriptor *other = &desc->fields[i];
        if (seen[i] && (fd->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 &&
            (other->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 &&
            fd->quantifier_offset == other->quantifier_offset)
            return pb_path_fail(at, r->why, "only one of %s and %s", other->name, fd->name);
    }
    seen[index] = true;
    return 0;
}

static int fail_unknown(struct reader *r, const struct pb_path *at, struct str key,
                        const ProtobufCMessageDescriptor *desc)
{
    char name[101];
    size_t len = MIN(key.len, sizeof name - 1);
    memcpy(name, key.ptr, len);
    name[len] = '\0';
    return pb_path_fail(PB_AT(at, name), r->why, "a field of %s that is not supported",
                        desc->short_name);
}

/* What decides who may come in is never passed over. */
static bool may_ignore(const struct reader *r, const ProtobufCMessageDescriptor *desc)
{
    struct str package = str_from_c(desc->package_name);
    return r->ignored != NULL && !str_contains(package, STR(".transport_sockets.")) &&
           !str_contains(package, STR(".rbac."));
}

static void note_ignored(struct reader *r, const struct pb_path *at, struct str key)
{
    char name[101];
    size_t len = MIN(key.len, sizeof name - 1);
    memcpy(name, key.ptr, len);
    name[len] = '\0';
    AUTO(str_buf_deinit) struct str_buf path = STR_BUF_INIT(1024);
    pb_path_print(PB_AT(at, name), &path);
    str_buf_printf(r->ignored, "%s%.*s", r->ignored->len > 0 ? ", " : "",
                   STR_FMT(str_buf_str(&path)));
}

static int read_object(struct reader *r, const ProtobufCMessageDescriptor *desc,
                       const struct json *v, bool is_any, const struct pb_path *at,
                       struct str_buf *to)
{
    bool seen[FIELDS_MAX] = {false};
    ASSERT(desc->n_fields <= FIELDS_MAX);
    if (v->type != JSON_OBJECT)
        return fail_type(r, at, "an object", v);
    for (uint32_t i = 0; i < v->count; i++) {
        if (is_any && str_eq(v->keys[i], STR("@type")))
            continue;
        unsigned index = 0;
        while (index < desc->n_fields && !is_name_of(v->keys[i], desc->fields[index].name))
            index++;
        if (index == desc->n_fields && may_ignore(r, desc)) {
            note_ignored(r, at, v->keys[i]);
            continue;
        }
        if (index == desc->n_fields)
            return fail_unknown(r, at, v->keys[i], desc);
        if (v->items[i]->type == JSON_NULL &&
            desc->fields[index].descriptor != (const void *)&pb__value__descriptor)
            continue;
        if (note_seen(r, desc, index, seen, at) != 0 ||
            read_field(r, &desc->fields[index], v->items[i], at, to) != 0)
            return -ERR_INVALID;
    }
    return 0;
}

static int read_special(struct reader *r, const ProtobufCMessageDescriptor *desc,
                        const struct json *v, const struct pb_path *at, struct str_buf *to,
                        bool *ret_is_special)
{
    *ret_is_special = true;
    if (desc == &pb__duration__descriptor)
        return read_duration(r, v, at, to);
    if (desc == &pb__any__descriptor)
        return read_any(r, v, at, to);
    if (desc == &pb__struct__descriptor)
        return read_struct(r, v, at, to);
    if (desc == &pb__list_value__descriptor)
        return read_list(r, v, at, to);
    if (desc == &pb__value__descriptor)
        return read_struct_value(r, v, at, to);
    if (pb_json_is_wrapper(desc))
        return read_value(r, &desc->fields[0], v, at, to);
    *ret_is_special = false;
    return 0;
}

static int read_message(struct reader *r, const ProtobufCMessageDescriptor *desc,
                        const struct json *v, const struct pb_path *at, struct str_buf *to)
{
    bool is_special;
    if (r->depth >= DEPTH_MAX)
        return pb_path_fail(at, r->why, "nested too deep");
    r->depth++;
    int rc = read_special(r, desc, v, at, to, &is_special);
    if (!is_special)
        rc = read_object(r, desc, v, false, at, to);
    r->depth--;
    if (rc == 0 && to->is_overflown)
        return pb_path_fail(at, r->why, "too large");
    return rc;
}

int pb_json_read(const ProtobufCMessageDescriptor *descriptor, const struct json *v,
                 const struct pb_path *at, struct str_buf *why, struct str_buf *to)
{
    struct reader r = {.why = why};
    return read_message(&r, descriptor, v, at, to);
}

int pb_json_read_tolerant(const ProtobufCMessageDescriptor *descriptor, const struct json *v,
                          struct str_buf *ignored, struct str_buf *why, struct str_buf *to)
{
    struct reader r = {.why = why, .ignored = ignored};
    return read_message(&r, descriptor, v, NULL, to);
}
