/* What the encoders of all types share: values of the model in, protobuf structs out. The structs
 * live in the encoder's arena and are packed at the end. */
#pragma once

#include "mesh/model/common.h"
#include "mesh/xds/codec.h"
#include "mesh/xds/pb.h"

struct encode {
    struct arena *arena; /* scratch */
    enum xds_dialect dialect;
    int rc; /* the first thing that has no encoding: -ERR_UNSUPPORTED */
};

/* A message at its defaults. */
#define PB_NEW(e, type, prefix)                                                                    \
    ({                                                                                             \
        type *pb_new_ = arena_alloc((e)->arena, sizeof(type));                                     \
        prefix##__init(pb_new_);                                                                   \
        pb_new_;                                                                                   \
    })
/* An array of n pointers, and room for them. */
#define PB_PTRS(e, type, n) ((type **)arena_zalloc((e)->arena, sizeof(type *) * (n)))

/* NULL for the empty string. */
const char *encode_str(struct encode *e, struct str s);
/* Never NULL. */
const char *encode_str_always(struct encode *e, struct str s);
const char **encode_strs(struct encode *e, const struct str *strs, size_t count);
Pb__UInt32Value *encode_u32(struct encode *e, uint32_t value);
Pb__BoolValue *encode_bool(struct encode *e, bool value);
Pb__Duration *encode_duration(struct encode *e, uint64_t us);
Pb__Type__Percent *encode_percent(struct encode *e, uint32_t percent);

/* NULL: no address. */
Pb__Core__Address *encode_address(struct encode *e, const struct model_addr *addr);
Pb__Core__CidrRange *encode_cidr(struct encode *e, const struct cidr *cidr);
Pb__Core__CidrRange **encode_cidrs(struct encode *e, const struct cidr *cidrs, size_t count);
Pb__Matcher__StringMatcher *encode_string_match(struct encode *e, const struct string_match *m);
Pb__Route__HeaderMatcher *encode_header_match(struct encode *e, const struct header_match *m);
Pb__Core__HeaderValueOption **encode_header_set(struct encode *e, const struct header_edits *in);
const char **encode_header_remove(struct encode *e, const struct header_edits *in);

Pb__Core__ConfigSource *encode_ads(struct encode *e);
Pb__Core__DataSource *encode_inline(struct encode *e, struct str data);
Pb__Any *encode_any(struct encode *e, const ProtobufCMessage *m);

/* Metadata under construction: empty values and structs are left out, so that nothing said
 * is nothing sent. NULL struct and metadata are made on first use. */
void encode_struct_add(struct encode *e, Pb__Struct **to, const char *key, Pb__Value *value);
void encode_struct_add_str(struct encode *e, Pb__Struct **to, const char *key, struct str value);
void encode_struct_add_true(struct encode *e, Pb__Struct **to, const char *key, bool value);
void encode_metadata_add(struct encode *e, Pb__Core__Metadata **to, const char *filter,
                         Pb__Struct *value);
Pb__Core__Metadata *encode_origin(struct encode *e, const struct origin *origin);
