/* What the decoders of all types share: protobuf structs in, values of the model out. */
#pragma once

#include "base/map.h"
#include "base/vec.h"
#include "mesh/model/common.h"
#include "mesh/model/resource.h"
#include "mesh/xds/pb.h"
#include "mesh/xds/pb_path.h"

struct decode {
    struct arena *arena;   /* the resource's: what is decoded lives here */
    struct arena *scratch; /* unpacked messages, gone after decoding */
    struct str_buf *why;
    struct str wire; /* the message, in the resource's arena */
    size_t wire_pos; /* decode_str_shared: behind what was found last */
    /* Bootstraps name files; what comes over the network does not get to read ours. */
    bool may_read_files;
    struct str_buf
        *ignored; /* what of a bootstrap may be passed over is noted here; NULL: errors */
    VEC(struct resource_ref) refs;
    struct map seen_refs[RESOURCE_TYPE_COUNT];
};

#define decode_fail(d, at, ...) pb_path_fail((at), (d)->why, __VA_ARGS__)

/* Copies; NULL gives the empty string. */
struct str decode_str(struct decode *d, const char *s);
struct str decode_str_lower(struct decode *d, const char *s);
/* Without a copy: what is asked for in the order of the message lies there. Else a copy. There is
 * no NUL behind it. */
struct str decode_str_shared(struct decode *d, const char *s);
const struct str *decode_strs(struct decode *d, const char *const *strs, size_t count);
static inline uint32_t decode_u32(const Pb__UInt32Value *m, uint32_t fallback)
{
    return m == NULL ? fallback : m->value;
}
static inline bool decode_bool(const Pb__BoolValue *m, bool fallback)
{
    return m == NULL ? fallback : m->value != 0;
}
static inline bool decode_is_set(const char *s)
{
    return s != NULL && s[0] != '\0';
}

/* The out parameter takes the fallback where the message is NULL. 0 or -ERR_INVALID. */
int decode_duration(struct decode *d, const struct pb_path *at, const Pb__Duration *m,
                    uint64_t fallback_us, uint64_t *ret_us);
int decode_percent(struct decode *d, const struct pb_path *at, const Pb__Type__Percent *m,
                   uint32_t fallback, uint32_t *ret_percent);
int decode_address(struct decode *d, const struct pb_path *at, const Pb__Core__Address *m,
                   struct model_addr *ret_addr);
int decode_socket_address(struct decode *d, const struct pb_path *at,
                          const Pb__Core__SocketAddress *m, struct model_addr *ret_addr);
int decode_cidr(struct decode *d, const struct pb_path *at, const Pb__Core__CidrRange *m,
                struct cidr *ret_cidr);
/* name: of the field, for paths. */
int decode_cidrs(struct decode *d, const struct pb_path *at, const char *name,
                 Pb__Core__CidrRange *const *items, size_t count, const struct cidr **ret_cidrs);
/* In millionths; fallback where the message is NULL. */
int decode_fraction(struct decode *d, const struct pb_path *at,
                    const Pb__Type__FractionalPercent *m, uint32_t fallback, uint32_t *ret_parts);
/* Of the whole string. */
int decode_regex(struct decode *d, const struct pb_path *at, const Pb__Matcher__RegexMatcher *m,
                 const struct regex **ret_regex);
bool decode_is_header_value(const char *s); /* NULL is the empty one */
bool decode_is_cookie(const char *s);       /* a name of one */
int decode_string_match(struct decode *d, const struct pb_path *at,
                        const Pb__Matcher__StringMatcher *m, struct string_match *ret_match);
int decode_header_match(struct decode *d, const struct pb_path *at,
                        const Pb__Route__HeaderMatcher *m, struct header_match *ret_match);

/* Header edits of one message: prefix is "request", "response", or "tunnel" for the set that has
 * none. */
struct decode_edits {
    const char *prefix;
    Pb__Core__HeaderValueOption *const *set;
    size_t set_count;
    const char *const *remove;
    size_t remove_count;
};
/* One field that is added; its value is a literal, '%' written "%%". */
int decode_header_set(struct decode *d, const struct pb_path *at,
                      const Pb__Core__HeaderValueOption *m, struct header_edit *edit);
int decode_header_edits(struct decode *d, const struct pb_path *at, const struct decode_edits *in,
                        struct header_edits *ret_edits);

/* The aggregated stream, or one of its own from a gRPC service. NULL passes when is_optional. */
int decode_config_source(struct decode *d, const struct pb_path *at,
                         const Pb__Core__ConfigSource *m, bool is_optional,
                         struct resource_source *ret_source);
/* One gRPC service by its cluster's name, state of the world or delta. */
int decode_api_source(struct decode *d, const struct pb_path *at,
                      const Pb__Core__ApiConfigSource *m, struct resource_source *ret_source);
/* Inline text or bytes; a file where files may be read. */
int decode_data_source(struct decode *d, const struct pb_path *at, const Pb__Core__DataSource *m,
                       struct str *ret_data);

/* The message inside an Any; NULL after a failure. Compare *ret_descriptor to know what it is. */
const void *decode_any(struct decode *d, const struct pb_path *at, const Pb__Any *any,
                       const ProtobufCMessageDescriptor **ret_descriptor);
/* NULL after a failure, or when it is another message than `want`. */
const void *decode_any_as(struct decode *d, const struct pb_path *at, const Pb__Any *any,
                          const ProtobufCMessageDescriptor *want);

/* How an error names an extension: of a TypedStruct what is inside. */
const char *decode_any_name(const ProtobufCMessageDescriptor *descriptor, const void *message);

/* Metadata: filter_metadata[filter]; NULL: none. */
const Pb__Struct *decode_metadata(const Pb__Core__Metadata *m, const char *filter);
const Pb__Value *decode_struct_get(const Pb__Struct *m, const char *key);
const char *decode_struct_str(const Pb__Struct *m, const char *key); /* NULL: none */
bool decode_struct_bool(const Pb__Struct *m, const char *key);
struct origin decode_origin(struct decode *d, const Pb__Core__Metadata *m);

/* Notes that the resource refers to another, once. */
void decode_add_ref(struct decode *d, enum resource_type type, struct str name);
void decode_add_ref_from(struct decode *d, enum resource_type type, struct str name,
                         struct resource_source source);
