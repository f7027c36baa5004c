#include "mesh/xds/pb_check.h"

#include "base/err.h"
#include "base/map.h"
#include "mesh/xds/any.h"
#include "mesh/xds/pb.h"
#include "mesh/xds/pb_json.h"
#include "mesh/xds/pb_wire.h"

enum { FIELDS_MAX = 256 };

struct check {
    enum pb_check_mode mode;
    struct str_buf *why;
    unsigned depth;
};

static int check_message(struct check *c, const ProtobufCMessageDescriptor *desc, struct str wire,
                         const struct pb_path *at);

static int check_enum(struct check *c, const ProtobufCFieldDescriptor *fd, uint64_t value,
                      const struct pb_path *at)
{
    if (fd->type != PROTOBUF_C_TYPE_ENUM || c->mode == PB_CHECK_TOLERANT)
        return 0;
    int32_t number = (int32_t)value;
    if ((uint64_t)(int64_t)number == value &&
        protobuf_c_enum_descriptor_get_value(fd->descriptor, number) != NULL)
        return 0;
    return pb_path_fail(at, c->why, "unknown value %lld", (long long)value);
}

static int check_packed(struct check *c, const ProtobufCFieldDescriptor *fd, struct str bytes,
                        const struct pb_path *at)
{
    uint64_t value;
    int rc;
    while ((rc = pb_wire_next_packed(&bytes, pb_wire_type_of(fd->type), &value)) == 1) {
        if (check_enum(c, fd, value, at) != 0)
            return -ERR_INVALID;
    }
    return rc == 0 ? 0 : pb_path_fail(at, c->why, "malformed list of numbers");
}

static int check_string(struct check *c, struct str bytes, const struct pb_path *at)
{
    if (str_find(bytes, '\0') >= 0)
        return pb_path_fail(at, c->why, "a string with a NUL byte");
    return str_is_utf8(bytes) ? 0 : pb_path_fail(at, c->why, "not UTF-8");
}

static int check_bytes(struct check *c, const ProtobufCFieldDescriptor *fd, struct str bytes,
                       const struct pb_path *at)
{
    if (fd->type == PROTOBUF_C_TYPE_STRING)
        return check_string(c, bytes, at);
    if (fd->type == PROTOBUF_C_TYPE_MESSAGE)
        return check_message(c, fd->descriptor, bytes, at);
    return 0;
}

static int check_field(struct check *c, const ProtobufCMessageDescriptor *desc,
                       const struct pb_field *f, struct str before, const struct pb_path *parent)
{
    const ProtobufCFieldDescriptor *fd = protobuf_c_message_descriptor_get_field(desc, f->number);
    if (fd == NULL && c->mode == PB_CHECK_TOLERANT)
        return 0;
    if (fd == NULL)
        return pb_path_fail(parent, c->why, "field %u of %s is not supported", f->number,
                            desc->name);
    bool is_repeated = fd->label == PROTOBUF_C_LABEL_REPEATED;
    struct pb_path at = {.parent = parent, .name = fd->name, .index = -1, .number = f->number};
    if (is_repeated)
        at.before = before.len > 0 ? before : STR("");
    enum pb_wire_type want = pb_wire_type_of(fd->type);
    if (is_repeated && want != PB_BYTES && f->type == PB_BYTES)
        return check_packed(c, fd, f->bytes, &at);
    if (f->type != want)
        return pb_path_fail(&at, c->why, "wrong wire type %u", (unsigned)f->type);
    if (want == PB_BYTES)
        return check_bytes(c, fd, f->bytes, &at);
    return check_enum(c, fd, f->value, &at);
}

static int check_any(struct check *c, struct str wire, const struct pb_path *at)
{
    struct str url = STR_NULL, value = STR_NULL;
    struct pb_field f;
    while (pb_wire_next(&wire, &f) == 1) {
        if (f.number == 1 && f.type == PB_BYTES)
            url = f.bytes;
        else if (f.number == 2 && f.type == PB_BYTES)
            value = f.bytes;
    }
    const ProtobufCMessageDescriptor *desc = any_find(url);
    if (any_is_opaque(url))
        return 0;
    if (desc == NULL)
        return pb_path_fail(at, c->why, "extension \"%.*s\" is not supported",
                            (int)MIN(url.len, (size_t)200), url.ptr != NULL ? url.ptr : "");
    return check_message(c, desc, value, at);
}

/* Of a value that is there twice some take the first, some the last, some merge both. Nobody who
 * encodes a message writes such; who reads a rule in it must not read another one than its author.
 */
static int check_once(struct check *c, const ProtobufCMessageDescriptor *desc, uint32_t number,
                      bool seen[FIELDS_MAX], const struct pb_path *at)
{
    const ProtobufCFieldDescriptor *fd = protobuf_c_message_descriptor_get_field(desc, number);
    if (fd == NULL || fd->label == PROTOBUF_C_LABEL_REPEATED)
        return 0;
    /* Of other values the last one holds; messages protobuf-c does not always merge rightly. */
    if (c->mode == PB_CHECK_TOLERANT && fd->type != PROTOBUF_C_TYPE_MESSAGE)
        return 0;
    size_t index = (size_t)(fd - desc->fields);
    ASSERT(desc->n_fields <= FIELDS_MAX);
    if (seen[index])
        return pb_path_fail(PB_AT(at, fd->name), c->why, "there twice");
    for (unsigned i = 0; c->mode == PB_CHECK_STRICT && i < desc->n_fields; i++) {
        const ProtobufCFieldDescriptor *other = &desc->fields[i];
        if (seen[i] && (fd->flags & other->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 &&
            fd->quantifier_offset == other->quantifier_offset)
            return pb_path_fail(PB_AT(at, fd->name), c->why, "there beside %s", other->name);
    }
    seen[index] = true;
    return 0;
}

static struct str key_of(struct str entry)
{
    struct str key = STR("");
    struct pb_field f;
    while (pb_wire_next(&entry, &f) == 1) {
        if (f.number == 1 && f.type == PB_BYTES)
            key = f.bytes;
    }
    return key;
}

/* All keys of our maps are strings. */
static int check_keys(struct check *c, const ProtobufCFieldDescriptor *fd, struct str wire,
                      const struct pb_path *at)
{
    struct map keys;
    struct pb_field f;
    int rc = 0;
    map_init(&keys);
    while (rc == 0 && pb_wire_next(&wire, &f) == 1) {
        if (f.number != fd->id || f.type != PB_BYTES)
            continue;
        struct pb_path here = {.parent = at, .name = fd->name, .index = -1, .key = key_of(f.bytes)};
        if (map_put(&keys, here.key, c) != NULL)
            rc = pb_path_fail(&here, c->why, "there twice");
    }
    map_deinit(&keys);
    return rc;
}

static int check_maps(struct check *c, const ProtobufCMessageDescriptor *desc, struct str wire,
                      const struct pb_path *at)
{
    for (unsigned i = 0; c->mode == PB_CHECK_STRICT && i < desc->n_fields; i++) {
        const ProtobufCFieldDescriptor *fd = &desc->fields[i];
        if (fd->label == PROTOBUF_C_LABEL_REPEATED && fd->type == PROTOBUF_C_TYPE_MESSAGE &&
            pb_json_is_map_entry(fd->descriptor) && check_keys(c, fd, wire, at) != 0)
            return -ERR_INVALID;
    }
    return 0;
}

static int check_message(struct check *c, const ProtobufCMessageDescriptor *desc, struct str wire,
                         const struct pb_path *at)
{
    bool seen[FIELDS_MAX] = {false};
    if (c->depth >= PB_DEPTH_MAX)
        return pb_path_fail(at, c->why, "nested too deep");
    c->depth++;
    struct str rest = wire, before = str_sub(wire, 0, 0);
    struct pb_field f;
    int rc, failed = 0;
    while (failed == 0 && (rc = pb_wire_next(&rest, &f)) != 0) {
        failed = rc < 0 ? pb_path_fail(at, c->why, "malformed %s", desc->name)
                        : check_field(c, desc, &f, before, at);
        if (failed == 0)
            failed = check_once(c, desc, f.number, seen, at);
        before = str_sub(wire, 0, wire.len - rest.len);
    }
    if (failed == 0)
        failed = check_maps(c, desc, wire, at);
    if (failed == 0 && c->mode == PB_CHECK_STRICT && desc == &pb__any__descriptor)
        failed = check_any(c, wire, at);
    c->depth--;
    return failed;
}

int pb_check(const ProtobufCMessageDescriptor *descriptor, struct str wire, enum pb_check_mode mode,
             const struct pb_path *at, struct str_buf *why)
{
    struct check c = {.mode = mode, .why = why};
    return check_message(&c, descriptor, wire, at);
}
