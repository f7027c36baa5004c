#include "mesh/xds/encode.h"

#include "base/err.h"
#include "mesh/xds/any.h"

enum { US_PER_S = 1000000, PACKED_LEN_MAX = 64 << 20 };

const char *encode_str(struct encode *e, struct str s)
{
    return s.len == 0 ? NULL : encode_str_always(e, s);
}

const char *encode_str_always(struct encode *e, struct str s)
{
    return arena_str(e->arena, s).ptr;
}

const char **encode_strs(struct encode *e, const struct str *strs, size_t count)
{
    const char **copies = PB_PTRS(e, const char, count);
    for (size_t i = 0; i < count; i++)
        copies[i] = encode_str_always(e, strs[i]);
    return copies;
}

Pb__UInt32Value *encode_u32(struct encode *e, uint32_t value)
{
    Pb__UInt32Value *m = PB_NEW(e, Pb__UInt32Value, pb__uint32_value);
    m->has_value = value != 0;
    m->value = value;
    return m;
}

Pb__BoolValue *encode_bool(struct encode *e, bool value)
{
    Pb__BoolValue *m = PB_NEW(e, Pb__BoolValue, pb__bool_value);
    m->has_value = m->value = value;
    return m;
}

Pb__Duration *encode_duration(struct encode *e, uint64_t us)
{
    Pb__Duration *m = PB_NEW(e, Pb__Duration, pb__duration);
    m->seconds = (int64_t)(us / US_PER_S);
    m->nanos = (int32_t)(us % US_PER_S * 1000);
    m->has_seconds = m->seconds != 0;
    m->has_nanos = m->nanos != 0;
    return m;
}

Pb__Type__Percent *encode_percent(struct encode *e, uint32_t percent)
{
    Pb__Type__Percent *m = PB_NEW(e, Pb__Type__Percent, pb__type__percent);
    m->has_value = percent != 0;
    m->value = percent;
    return m;
}

/* --- addresses --- */

Pb__Core__Address *encode_address(struct encode *e, const struct model_addr *addr)
{
    if (addr->ip.family == IP_NONE && addr->path.len == 0)
        return NULL;
    Pb__Core__Address *m = PB_NEW(e, Pb__Core__Address, pb__core__address);
    if (addr->path.len > 0) {
        m->address_case = PB__CORE__ADDRESS__ADDRESS_PIPE;
        m->pipe = PB_NEW(e, Pb__Core__Pipe, pb__core__pipe);
        m->pipe->path = encode_str(e, addr->path);
        return m;
    }
    char text[IP_TEXT_MAX];
    m->address_case = PB__CORE__ADDRESS__ADDRESS_SOCKET_ADDRESS;
    m->socket_address = PB_NEW(e, Pb__Core__SocketAddress, pb__core__socket_address);
    m->socket_address->address = encode_str(e, ip_format(&addr->ip, text));
    /* Part of a oneof at the others': said even when it is 0. */
    m->socket_address->has_port_value = true;
    m->socket_address->port_value = addr->port;
    return m;
}

Pb__Core__CidrRange *encode_cidr(struct encode *e, const struct cidr *cidr)
{
    char text[IP_TEXT_MAX];
    struct ip_addr ip = {.family = cidr->family};
    memcpy(ip.bytes, cidr->addr, sizeof ip.bytes);
    Pb__Core__CidrRange *m = PB_NEW(e, Pb__Core__CidrRange, pb__core__cidr_range);
    m->address_prefix = encode_str(e, ip_format(&ip, text));
    m->prefix_len = encode_u32(e, cidr->prefix);
    return m;
}

Pb__Core__CidrRange **encode_cidrs(struct encode *e, const struct cidr *cidrs, size_t count)
{
    Pb__Core__CidrRange **items = PB_PTRS(e, Pb__Core__CidrRange, count);
    for (size_t i = 0; i < count; i++)
        items[i] = encode_cidr(e, &cidrs[i]);
    return items;
}

/* --- matchers --- */

Pb__Matcher__StringMatcher *encode_string_match(struct encode *e, const struct string_match *in)
{
    Pb__Matcher__StringMatcher *m =
        PB_NEW(e, Pb__Matcher__StringMatcher, pb__matcher__string_matcher);
    m->has_ignore_case = m->ignore_case = in->ignore_case;
    switch (in->kind) {
    case STRING_MATCH_ANY:
        /* Nothing but a regular expression says this; who can say it otherwise does. */
        e->rc = -ERR_UNSUPPORTED;
        break;
    case STRING_MATCH_EXACT:
        m->match_pattern_case = PB__MATCHER__STRING_MATCHER__MATCH_PATTERN_EXACT;
        m->exact = encode_str_always(e, in->value);
        break;
    case STRING_MATCH_PREFIX:
        m->match_pattern_case = PB__MATCHER__STRING_MATCHER__MATCH_PATTERN_PREFIX;
        m->prefix = encode_str_always(e, in->value);
        break;
    case STRING_MATCH_SUFFIX:
        m->match_pattern_case = PB__MATCHER__STRING_MATCHER__MATCH_PATTERN_SUFFIX;
        m->suffix = encode_str_always(e, in->value);
        break;
    case STRING_MATCH_CONTAINS:
        m->match_pattern_case = PB__MATCHER__STRING_MATCHER__MATCH_PATTERN_CONTAINS;
        m->contains = encode_str_always(e, in->value);
        break;
    case STRING_MATCH_REGEX:
        m->match_pattern_case = PB__MATCHER__STRING_MATCHER__MATCH_PATTERN_SAFE_REGEX;
        m->safe_regex = PB_NEW(e, Pb__Matcher__RegexMatcher, pb__matcher__regex_matcher);
        m->safe_regex->regex = encode_str_always(e, in->value);
        break;
    }
    return m;
}

/* By fields of their own, which older clients of gRPC need. False: there is none. */
static bool encode_plain_match(struct encode *e, const struct string_match *in,
                               Pb__Route__HeaderMatcher *m)
{
    const char *value = encode_str_always(e, in->value);
    if (in->ignore_case)
        return false;
    switch (in->kind) {
    case STRING_MATCH_EXACT:
        m->header_match_specifier_case =
            PB__ROUTE__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_EXACT_MATCH;
        m->exact_match = value;
        return true;
    case STRING_MATCH_PREFIX:
        m->header_match_specifier_case =
            PB__ROUTE__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_PREFIX_MATCH;
        m->prefix_match = value;
        return true;
    case STRING_MATCH_SUFFIX:
        m->header_match_specifier_case =
            PB__ROUTE__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_SUFFIX_MATCH;
        m->suffix_match = value;
        return true;
    case STRING_MATCH_REGEX:
    case STRING_MATCH_CONTAINS: /* have one, which not all know */
    case STRING_MATCH_ANY:
        return false;
    }
    return false;
}

Pb__Route__HeaderMatcher *encode_header_match(struct encode *e, const struct header_match *in)
{
    Pb__Route__HeaderMatcher *m = PB_NEW(e, Pb__Route__HeaderMatcher, pb__route__header_matcher);
    m->name = encode_str(e, in->name);
    m->has_invert_match = m->invert_match = in->is_inverted;
    m->has_treat_missing_header_as_empty = m->treat_missing_header_as_empty =
        in->treat_missing_as_empty;
    if (in->value.kind == STRING_MATCH_ANY) {
        m->header_match_specifier_case =
            PB__ROUTE__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_PRESENT_MATCH;
        m->present_match = true;
        return m;
    }
    if (e->dialect == XDS_DIALECT_GRPC && encode_plain_match(e, &in->value, m))
        return m;
    m->header_match_specifier_case = PB__ROUTE__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_STRING_MATCH;
    m->string_match = encode_string_match(e, &in->value);
    return m;
}

/* --- header edits --- */

static Pb__Core__HeaderValueOption__HeaderAppendAction append_action(enum header_action action)
{
    switch (action) {
    case HEADER_APPEND:
        return PB__CORE__HEADER_VALUE_OPTION__HEADER_APPEND_ACTION__APPEND_IF_EXISTS_OR_ADD;
    case HEADER_ADD_IF_ABSENT:
        return PB__CORE__HEADER_VALUE_OPTION__HEADER_APPEND_ACTION__ADD_IF_ABSENT;
    case HEADER_SET:
        return PB__CORE__HEADER_VALUE_OPTION__HEADER_APPEND_ACTION__OVERWRITE_IF_EXISTS_OR_ADD;
    case HEADER_SET_IF_EXISTS:
        return PB__CORE__HEADER_VALUE_OPTION__HEADER_APPEND_ACTION__OVERWRITE_IF_EXISTS;
    }
    return PB__CORE__HEADER_VALUE_OPTION__HEADER_APPEND_ACTION__APPEND_IF_EXISTS_OR_ADD;
}

/* A '%' is written "%%". */
static const char *encode_header_text(struct encode *e, struct str value)
{
    char *text = arena_bytes(e->arena, value.len * 2 + 1);
    size_t len = 0;
    for (size_t i = 0; i < value.len; i++) {
        text[len++] = value.ptr[i];
        if (value.ptr[i] == '%')
            text[len++] = '%';
    }
    return encode_str(e, str_from(text, len));
}

Pb__Core__HeaderValueOption **encode_header_set(struct encode *e, const struct header_edits *in)
{
    Pb__Core__HeaderValueOption **items = PB_PTRS(e, Pb__Core__HeaderValueOption, in->set_count);
    for (size_t i = 0; i < in->set_count; i++) {
        items[i] = PB_NEW(e, Pb__Core__HeaderValueOption, pb__core__header_value_option);
        items[i]->header = PB_NEW(e, Pb__Core__HeaderValue, pb__core__header_value);
        items[i]->header->key = encode_str(e, in->set[i].name);
        items[i]->header->value = encode_header_text(e, in->set[i].value);
        items[i]->append_action = append_action(in->set[i].action);
        items[i]->has_append_action = in->set[i].action != HEADER_APPEND;
    }
    return items;
}

const char **encode_header_remove(struct encode *e, const struct header_edits *in)
{
    return encode_strs(e, in->remove, in->remove_count);
}

/* --- sources --- */

Pb__Core__ConfigSource *encode_ads(struct encode *e)
{
    Pb__Core__ConfigSource *m = PB_NEW(e, Pb__Core__ConfigSource, pb__core__config_source);
    m->config_source_specifier_case = PB__CORE__CONFIG_SOURCE__CONFIG_SOURCE_SPECIFIER_ADS;
    m->ads = PB_NEW(e, Pb__Core__AggregatedConfigSource, pb__core__aggregated_config_source);
    m->initial_fetch_timeout = encode_duration(e, 0);
    m->has_resource_api_version = true;
    m->resource_api_version = PB__CORE__API_VERSION__V3;
    return m;
}

Pb__Core__DataSource *encode_inline(struct encode *e, struct str data)
{
    Pb__Core__DataSource *m = PB_NEW(e, Pb__Core__DataSource, pb__core__data_source);
    /* A comment between two certificates may be in any encoding. */
    if (str_is_utf8(data) && str_find(data, '\0') < 0) {
        m->specifier_case = PB__CORE__DATA_SOURCE__SPECIFIER_INLINE_STRING;
        m->inline_string = encode_str_always(e, data);
    } else {
        m->specifier_case = PB__CORE__DATA_SOURCE__SPECIFIER_INLINE_BYTES;
        m->inline_bytes.data = (uint8_t *)(uintptr_t)arena_str(e->arena, data).ptr;
        m->inline_bytes.len = data.len;
    }
    return m;
}

/* --- Any and Struct --- */

Pb__Any *encode_any(struct encode *e, const ProtobufCMessage *m)
{
    Pb__Any *any = PB_NEW(e, Pb__Any, pb__any);
    any->type_url = any_type_url(e->arena, m->descriptor).ptr;
    size_t len = protobuf_c_message_get_packed_size(m);
    any->value.data = arena_alloc(e->arena, len + 1);
    any->value.len = protobuf_c_message_pack(m, any->value.data);
    any->has_value = len > 0;
    return any;
}

void encode_struct_add(struct encode *e, Pb__Struct **to, const char *key, Pb__Value *value)
{
    enum { KEYS_MAX = 16 }; /* ours are few and known */
    if (*to == NULL) {
        *to = PB_NEW(e, Pb__Struct, pb__struct);
        (*to)->fields = PB_PTRS(e, Pb__Struct__FieldsEntry, KEYS_MAX);
    }
    ASSERT((*to)->n_fields < KEYS_MAX);
    Pb__Struct__FieldsEntry *entry = PB_NEW(e, Pb__Struct__FieldsEntry, pb__struct__fields_entry);
    entry->key = key;
    entry->value = value;
    (*to)->fields[(*to)->n_fields++] = entry;
}

void encode_struct_add_str(struct encode *e, Pb__Struct **to, const char *key, struct str value)
{
    if (value.len == 0)
        return;
    Pb__Value *v = PB_NEW(e, Pb__Value, pb__value);
    v->kind_case = PB__VALUE__KIND_STRING_VALUE;
    v->string_value = encode_str(e, value);
    encode_struct_add(e, to, key, v);
}

void encode_struct_add_true(struct encode *e, Pb__Struct **to, const char *key, bool value)
{
    if (!value)
        return;
    Pb__Value *v = PB_NEW(e, Pb__Value, pb__value);
    v->kind_case = PB__VALUE__KIND_BOOL_VALUE;
    v->bool_value = true;
    encode_struct_add(e, to, key, v);
}

void encode_metadata_add(struct encode *e, Pb__Core__Metadata **to, const char *filter,
                         Pb__Struct *value)
{
    enum { FILTERS_MAX = 4 };
    if (value == NULL)
        return;
    if (*to == NULL) {
        *to = PB_NEW(e, Pb__Core__Metadata, pb__core__metadata);
        (*to)->filter_metadata = PB_PTRS(e, Pb__Core__Metadata__FilterMetadataEntry, FILTERS_MAX);
    }
    ASSERT((*to)->n_filter_metadata < FILTERS_MAX);
    Pb__Core__Metadata__FilterMetadataEntry *entry = PB_NEW(
        e, Pb__Core__Metadata__FilterMetadataEntry, pb__core__metadata__filter_metadata_entry);
    entry->key = filter;
    entry->value = value;
    (*to)->filter_metadata[(*to)->n_filter_metadata++] = entry;
}

Pb__Core__Metadata *encode_origin(struct encode *e, const struct origin *origin)
{
    Pb__Core__Metadata *metadata = NULL;
    Pb__Struct *fields = NULL;
    encode_struct_add_str(e, &fields, "origin", origin->text);
    encode_metadata_add(e, &metadata, "tulle", fields);
    return metadata;
}
