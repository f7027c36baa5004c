#include "mesh/xds/decode.h"

#include "base/err.h"
#include "codec/regex.h"
#include "mesh/xds/any.h"

struct str decode_str(struct decode *d, const char *s)
{
    return decode_is_set(s) ? arena_str(d->arena, str_from_c(s)) : STR_NULL;
}

struct str decode_str_lower(struct decode *d, const char *s)
{
    if (!decode_is_set(s))
        return STR_NULL;
    size_t len = strlen(s);
    char *copy = arena_bytes(d->arena, len + 1);
    for (size_t i = 0; i <= len; i++)
        copy[i] = s[i] >= 'A' && s[i] <= 'Z' ? (char)(s[i] + ('a' - 'A')) : s[i];
    return str_from(copy, len);
}

struct str decode_str_shared(struct decode *d, const char *s)
{
    /* The field before it is not longer; a message in another order costs a copy, not a search. */
    enum { SEARCH_LEN = 4096 };
    if (!decode_is_set(s))
        return STR_NULL;
    size_t len = strlen(s);
    struct str rest = str_sub(d->wire, d->wire_pos, len + SEARCH_LEN);
    const char *found = memmem(rest.ptr, rest.len, s, len);
    if (found == NULL)
        return decode_str(d, s);
    d->wire_pos = (size_t)(found - d->wire.ptr) + len;
    return str_from(found, len);
}

const struct str *decode_strs(struct decode *d, const char *const *strs, size_t count)
{
    if (count == 0)
        return NULL;
    struct str *copies = ARENA_ARRAY(d->arena, struct str, count);
    for (size_t i = 0; i < count; i++)
        copies[i] = decode_str(d, strs[i]);
    return copies;
}

int decode_duration(struct decode *d, const struct pb_path *at, const Pb__Duration *m,
                    uint64_t fallback_us, uint64_t *ret_us)
{
    enum { NANOS_MAX = 999999999 };
    const int64_t seconds_max = 315576000000; /* 10,000 years, as protobuf says */
    if (m == NULL) {
        *ret_us = fallback_us;
        return 0;
    }
    if (m->seconds < 0 || m->nanos < 0)
        return decode_fail(d, at, "a duration must not be negative");
    if (m->seconds > seconds_max || m->nanos > NANOS_MAX)
        return decode_fail(d, at, "not a duration");
    *ret_us = (uint64_t)m->seconds * 1000000 + (uint64_t)m->nanos / 1000;
    return 0;
}

int decode_percent(struct decode *d, const struct pb_path *at, const Pb__Type__Percent *m,
                   uint32_t fallback, uint32_t *ret_percent)
{
    if (m == NULL) {
        *ret_percent = fallback;
        return 0;
    }
    if (!(m->value >= 0 && m->value <= 100))
        return decode_fail(d, at, "a percentage must lie between 0 and 100");
    *ret_percent = (uint32_t)(m->value + 0.5);
    return 0;
}

int decode_fraction(struct decode *d, const struct pb_path *at,
                    const Pb__Type__FractionalPercent *m, uint32_t fallback, uint32_t *ret_parts)
{
    static const uint32_t of[] = {
        [PB__TYPE__FRACTIONAL_PERCENT__DENOMINATOR_TYPE__HUNDRED] = 100,
        [PB__TYPE__FRACTIONAL_PERCENT__DENOMINATOR_TYPE__TEN_THOUSAND] = 10000,
        [PB__TYPE__FRACTIONAL_PERCENT__DENOMINATOR_TYPE__MILLION] = MODEL_PARTS_ALL,
    };
    if (m == NULL) {
        *ret_parts = fallback;
        return 0;
    }
    if ((size_t)m->denominator >= ARRAY_LEN(of))
        return decode_fail(d, PB_AT(at, "denominator"), "no such value");
    uint32_t unit = of[m->denominator];
    if (m->numerator > unit)
        return decode_fail(d, PB_AT(at, "numerator"), "more than all");
    *ret_parts = m->numerator * (MODEL_PARTS_ALL / unit);
    return 0;
}

/* --- addresses --- */

int decode_socket_address(struct decode *d, const struct pb_path *at,
                          const Pb__Core__SocketAddress *m, struct model_addr *ret_addr)
{
    struct model_addr addr = {0};
    if (m->protocol != PB__CORE__SOCKET_ADDRESS__PROTOCOL__TCP)
        return decode_fail(d, PB_AT(at, "protocol"), "only TCP is supported");
    if (!ip_parse(str_from_c(m->address), &addr.ip))
        return decode_fail(d, PB_AT(at, "address"), "\"%s\" is not an IP address",
                           m->address != NULL ? m->address : "");
    if (m->port_value > UINT16_MAX)
        return decode_fail(d, PB_AT(at, "port_value"), "%u is not a port", m->port_value);
    addr.port = (uint16_t)m->port_value;
    *ret_addr = addr;
    return 0;
}

int decode_address(struct decode *d, const struct pb_path *at, const Pb__Core__Address *m,
                   struct model_addr *ret_addr)
{
    if (m == NULL)
        return decode_fail(d, at, "an address is needed");
    switch ((int)m->address_case) {
    case PB__CORE__ADDRESS__ADDRESS_SOCKET_ADDRESS:
        return decode_socket_address(d, PB_AT(at, "socket_address"), m->socket_address, ret_addr);
    case PB__CORE__ADDRESS__ADDRESS_PIPE:
        if (!decode_is_set(m->pipe->path))
            return decode_fail(d, PB_AT(at, "pipe.path"), "a path is needed");
        *ret_addr = (struct model_addr){.path = decode_str(d, m->pipe->path)};
        return 0;
    case PB__CORE__ADDRESS__ADDRESS__NOT_SET:
    default:
        return decode_fail(d, at, "an address is needed");
    }
}

int decode_cidr(struct decode *d, const struct pb_path *at, const Pb__Core__CidrRange *m,
                struct cidr *ret_cidr)
{
    struct ip_addr ip;
    if (!ip_parse(str_from_c(m->address_prefix), &ip))
        return decode_fail(d, PB_AT(at, "address_prefix"), "\"%s\" is not an IP address",
                           m->address_prefix != NULL ? m->address_prefix : "");
    uint32_t prefix = decode_u32(m->prefix_len, 0);
    if (prefix > 8 * ip_len(&ip))
        return decode_fail(d, PB_AT(at, "prefix_len"), "%u is longer than the address", prefix);
    *ret_cidr = cidr_from(&ip, prefix);
    return 0;
}

int decode_cidrs(struct decode *d, const struct pb_path *at, const char *name,
                 Pb__Core__CidrRange *const *items, size_t count, const struct cidr **ret_cidrs)
{
    if (count == 0)
        return 0;
    struct cidr *cidrs = ARENA_ARRAY(d->arena, struct cidr, count);
    for (size_t i = 0; i < count; i++) {
        int rc = decode_cidr(d, PB_AT_I(at, name, i), items[i], &cidrs[i]);
        if (rc != 0)
            return rc;
    }
    *ret_cidrs = cidrs;
    return 0;
}

/* --- matchers --- */

int decode_regex(struct decode *d, const struct pb_path *at, const Pb__Matcher__RegexMatcher *m,
                 const struct regex **ret_regex)
{
    AUTO(str_buf_deinit) struct str_buf why = STR_BUF_INIT(256);
    const char *pattern = m != NULL && m->regex != NULL ? m->regex : "";
    if (pattern[0] == '\0')
        return decode_fail(d, PB_AT(at, "regex"), "the pattern is empty");
    if (regex_compile(d->arena, str_from_c(pattern), &why, ret_regex) != 0)
        return decode_fail(d, PB_AT(at, "regex"), "%.*s", STR_FMT(str_buf_str(&why)));
    return 0;
}

int decode_string_match(struct decode *d, const struct pb_path *at,
                        const Pb__Matcher__StringMatcher *m, struct string_match *ret_match)
{
    static const char need[] = "a pattern is needed";
    if (m == NULL)
        return decode_fail(d, at, need);
    struct string_match match = {.ignore_case = m->ignore_case != 0};
    const char *value = NULL;
    switch ((int)m->match_pattern_case) {
    case PB__MATCHER__STRING_MATCHER__MATCH_PATTERN_EXACT:
        match.kind = STRING_MATCH_EXACT;
        value = m->exact;
        break;
    case PB__MATCHER__STRING_MATCHER__MATCH_PATTERN_PREFIX:
        match.kind = STRING_MATCH_PREFIX;
        value = m->prefix;
        break;
    case PB__MATCHER__STRING_MATCHER__MATCH_PATTERN_SUFFIX:
        match.kind = STRING_MATCH_SUFFIX;
        value = m->suffix;
        break;
    case PB__MATCHER__STRING_MATCHER__MATCH_PATTERN_CONTAINS:
        match.kind = STRING_MATCH_CONTAINS;
        value = m->contains;
        break;
    case PB__MATCHER__STRING_MATCHER__MATCH_PATTERN_SAFE_REGEX:
        match.kind = STRING_MATCH_REGEX;
        match.ignore_case = false; /* says nothing here */
        if (decode_regex(d, PB_AT(at, "safe_regex"), m->safe_regex, &match.regex) != 0)
            return -ERR_INVALID;
        match.value = regex_pattern(match.regex);
        *ret_match = match;
        return 0;
    case PB__MATCHER__STRING_MATCHER__MATCH_PATTERN__NOT_SET:
    default:
        return decode_fail(d, at, need);
    }
    if (match.kind != STRING_MATCH_EXACT && !decode_is_set(value))
        return decode_fail(d, at, "the pattern is empty");
    match.value = decode_str(d, value);
    *ret_match = match;
    return 0;
}

static int decode_header_value(struct decode *d, const struct pb_path *at,
                               const Pb__Route__HeaderMatcher *m, struct header_match *match)
{
    struct string_match *v = &match->value;
    switch ((int)m->header_match_specifier_case) {
    case PB__ROUTE__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_STRING_MATCH:
        return decode_string_match(d, PB_AT(at, "string_match"), m->string_match, v);
    case PB__ROUTE__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_EXACT_MATCH:
        *v = (struct string_match){STRING_MATCH_EXACT, false, decode_str(d, m->exact_match), NULL};
        return 0;
    case PB__ROUTE__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_PREFIX_MATCH:
        *v =
            (struct string_match){STRING_MATCH_PREFIX, false, decode_str(d, m->prefix_match), NULL};
        return 0;
    case PB__ROUTE__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_SUFFIX_MATCH:
        *v =
            (struct string_match){STRING_MATCH_SUFFIX, false, decode_str(d, m->suffix_match), NULL};
        return 0;
    case PB__ROUTE__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_CONTAINS_MATCH:
        *v = (struct string_match){STRING_MATCH_CONTAINS, false, decode_str(d, m->contains_match),
                                   NULL};
        return 0;
    case PB__ROUTE__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_SAFE_REGEX_MATCH:
        v->kind = STRING_MATCH_REGEX;
        if (decode_regex(d, PB_AT(at, "safe_regex_match"), m->safe_regex_match, &v->regex) != 0)
            return -ERR_INVALID;
        v->value = regex_pattern(v->regex);
        return 0;
    case PB__ROUTE__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_PRESENT_MATCH:
        v->kind = STRING_MATCH_ANY;
        match->is_inverted = match->is_inverted != !m->present_match;
        return 0;
    case PB__ROUTE__HEADER_MATCHER__HEADER_MATCH_SPECIFIER__NOT_SET:
    default: /* the name alone asks for presence */
        v->kind = STRING_MATCH_ANY;
        return 0;
    }
}

int decode_header_match(struct decode *d, const struct pb_path *at,
                        const Pb__Route__HeaderMatcher *m, struct header_match *ret_match)
{
    if (!decode_is_set(m->name))
        return decode_fail(d, PB_AT(at, "name"), "a name is needed");
    struct header_match match = {
        .name = decode_str_lower(d, m->name),
        .is_inverted = m->invert_match != 0,
        .treat_missing_as_empty = m->treat_missing_header_as_empty != 0,
    };
    int rc = decode_header_value(d, at, m, &match);
    if (rc == 0)
        *ret_match = match;
    return rc;
}

/* --- header edits --- */

/* RFC 9110 5.1 and 5.5: what could end a field and begin another is no name and no value. */
static bool is_header_name(const char *s)
{
    if (!decode_is_set(s) || s[0] == ':')
        return false;
    for (; *s != '\0'; s++) {
        if ((unsigned char)*s <= ' ' || (unsigned char)*s >= 0x7f ||
            strchr("\"(),/:;<=>?@[\\]{}", *s))
            return false;
    }
    return true;
}

bool decode_is_header_value(const char *s)
{
    for (; s != NULL && *s != '\0'; s++) {
        if (((unsigned char)*s < ' ' && *s != '\t') || *s == 0x7f)
            return false;
    }
    return true;
}

/* RFC 6265 4.1.1: a token. */
bool decode_is_cookie(const char *s)
{
    return is_header_name(s);
}

/* A '%' begins an operator, none of which we have here; "%%" is one. */
static int decode_header_text(struct decode *d, const struct pb_path *at, struct str text,
                              struct str *ret_value)
{
    char *value = arena_bytes(d->arena, text.len + 1);
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '%' && (i + 1 == text.len || text.ptr[++i] != '%'))
            return decode_fail(d, at,
                               "operators are not supported here; a '%%' is written \"%%%%\"");
        value[len++] = text.ptr[i];
    }
    *ret_value = str_from(value, len);
    return 0;
}

int decode_header_set(struct decode *d, const struct pb_path *at,
                      const Pb__Core__HeaderValueOption *m, struct header_edit *edit)
{
    if (m->header == NULL || !is_header_name(m->header->key))
        return decode_fail(d, PB_AT(at, "header.key"), "a header name is needed");
    if (!decode_is_header_value(m->header->value))
        return decode_fail(d, PB_AT(at, "header.value"), "bytes that no header holds");
    edit->name = decode_str_lower(d, m->header->key);
    if (decode_header_text(d, PB_AT(at, "header.value"), str_from_c(m->header->value),
                           &edit->value) != 0)
        return -ERR_INVALID;
    switch ((int)m->append_action) {
    case PB__CORE__HEADER_VALUE_OPTION__HEADER_APPEND_ACTION__APPEND_IF_EXISTS_OR_ADD:
        /* `append` is the older way to say it. */
        edit->action = decode_bool(m->append, true) ? HEADER_APPEND : HEADER_SET;
        return 0;
    case PB__CORE__HEADER_VALUE_OPTION__HEADER_APPEND_ACTION__ADD_IF_ABSENT:
        edit->action = HEADER_ADD_IF_ABSENT;
        return 0;
    case PB__CORE__HEADER_VALUE_OPTION__HEADER_APPEND_ACTION__OVERWRITE_IF_EXISTS_OR_ADD:
        edit->action = HEADER_SET;
        return 0;
    case PB__CORE__HEADER_VALUE_OPTION__HEADER_APPEND_ACTION__OVERWRITE_IF_EXISTS:
        edit->action = HEADER_SET_IF_EXISTS;
        return 0;
    default:
        return decode_fail(d, PB_AT(at, "append_action"), "unknown action");
    }
}

int decode_header_edits(struct decode *d, const struct pb_path *at, const struct decode_edits *in,
                        struct header_edits *ret_edits)
{
    bool is_request = strcmp(in->prefix, "request") == 0;
    bool is_tunnel = strcmp(in->prefix, "tunnel") == 0;
    const char *set_name = is_tunnel    ? "headers_to_add"
                           : is_request ? "request_headers_to_add"
                                        : "response_headers_to_add";
    const char *remove_name =
        is_request ? "request_headers_to_remove" : "response_headers_to_remove";
    struct header_edit *set = ARENA_ARRAY(d->arena, struct header_edit, in->set_count);
    struct str *remove = ARENA_ARRAY(d->arena, struct str, in->remove_count);
    for (size_t i = 0; i < in->set_count; i++) {
        int rc = decode_header_set(d, PB_AT_I(at, set_name, i), in->set[i], &set[i]);
        if (rc != 0)
            return rc;
    }
    for (size_t i = 0; i < in->remove_count; i++) {
        if (!is_header_name(in->remove[i]))
            return decode_fail(d, PB_AT_I(at, remove_name, i), "a header name is needed");
        remove[i] = decode_str_lower(d, in->remove[i]);
    }
    *ret_edits = (struct header_edits){
        in->set_count > 0 ? set : NULL,
        in->set_count,
        in->remove_count > 0 ? remove : NULL,
        in->remove_count,
    };
    return 0;
}

/* --- sources --- */

int decode_api_source(struct decode *d, const struct pb_path *at,
                      const Pb__Core__ApiConfigSource *m, struct resource_source *ret_source)
{
    bool is_delta = m->api_type == PB__CORE__API_CONFIG_SOURCE__API_TYPE__DELTA_GRPC;
    if (!is_delta && m->api_type != PB__CORE__API_CONFIG_SOURCE__API_TYPE__GRPC)
        return decode_fail(d, PB_AT(at, "api_type"), "GRPC or DELTA_GRPC is needed");
    if (m->transport_api_version != PB__CORE__API_VERSION__V3)
        return decode_fail(d, PB_AT(at, "transport_api_version"), "V3 is needed");
    if (m->n_grpc_services != 1 || m->grpc_services[0]->envoy_grpc == NULL ||
        !decode_is_set(m->grpc_services[0]->envoy_grpc->cluster_name))
        return decode_fail(d, PB_AT(at, "grpc_services"),
                           "one envoy_grpc with its cluster_name is needed");
    *ret_source = (struct resource_source){
        decode_str(d, m->grpc_services[0]->envoy_grpc->cluster_name), is_delta};
    return 0;
}

static int decode_specifier(struct decode *d, const struct pb_path *at,
                            const Pb__Core__ConfigSource *m, struct resource_source *ret_source)
{
    switch ((int)m->config_source_specifier_case) {
    case PB__CORE__CONFIG_SOURCE__CONFIG_SOURCE_SPECIFIER_ADS:
        *ret_source = (struct resource_source){0};
        return 0;
    case PB__CORE__CONFIG_SOURCE__CONFIG_SOURCE_SPECIFIER_API_CONFIG_SOURCE:
        return decode_api_source(d, PB_AT(at, "api_config_source"), m->api_config_source,
                                 ret_source);
    default:
        return decode_fail(d, at, "ads or api_config_source is needed");
    }
}

int decode_config_source(struct decode *d, const struct pb_path *at,
                         const Pb__Core__ConfigSource *m, bool is_optional,
                         struct resource_source *ret_source)
{
    if (m == NULL && is_optional) {
        *ret_source = (struct resource_source){0};
        return 0;
    }
    if (m == NULL)
        return decode_fail(d, at, "a source is needed");
    if (m->resource_api_version == PB__CORE__API_VERSION__V2)
        return decode_fail(d, PB_AT(at, "resource_api_version"), "only V3 is supported");
    uint64_t timeout_us = 0;
    if (decode_duration(d, PB_AT(at, "initial_fetch_timeout"), m->initial_fetch_timeout, 0,
                        &timeout_us) != 0)
        return -ERR_INVALID;
    if (timeout_us != 0)
        return decode_fail(d, PB_AT(at, "initial_fetch_timeout"),
                           "only 0s is supported: what is missing is waited for");
    return decode_specifier(d, at, m, ret_source);
}

/* --- Any and Struct --- */

const void *decode_any(struct decode *d, const struct pb_path *at, const Pb__Any *any,
                       const ProtobufCMessageDescriptor **ret_descriptor)
{
    if (any == NULL || !decode_is_set(any->type_url)) {
        (void)decode_fail(d, at, "a typed_config is needed");
        return NULL;
    }
    const ProtobufCMessageDescriptor *desc = any_find(str_from_c(any->type_url));
    if (desc == NULL) {
        (void)decode_fail(d, at, "extension \"%s\" is not supported", any->type_url);
        return NULL;
    }
    struct str bytes = str_from((const char *)any->value.data, any->value.len);
    const void *m = pb_unpack(d->scratch, desc, bytes);
    if (m == NULL) {
        (void)decode_fail(d, at, "malformed %s", desc->name);
        return NULL;
    }
    *ret_descriptor = desc;
    return m;
}

const void *decode_any_as(struct decode *d, const struct pb_path *at, const Pb__Any *any,
                          const ProtobufCMessageDescriptor *want)
{
    const ProtobufCMessageDescriptor *desc;
    const void *m = decode_any(d, at, any, &desc);
    if (m == NULL || desc == want)
        return m;
    (void)decode_fail(d, at, "extension \"%s\" is not supported here", any->type_url);
    return NULL;
}

const char *decode_any_name(const ProtobufCMessageDescriptor *descriptor, const void *message)
{
    const char *inner = NULL;
    if (descriptor == &pb__udpa__typed_struct__descriptor)
        inner = ((const Pb__Udpa__TypedStruct *)message)->type_url;
    else if (descriptor == &pb__xds_type__typed_struct__descriptor)
        inner = ((const Pb__XdsType__TypedStruct *)message)->type_url;
    return decode_is_set(inner) ? inner : descriptor->name;
}

const Pb__Struct *decode_metadata(const Pb__Core__Metadata *m, const char *filter)
{
    for (size_t i = 0; m != NULL && i < m->n_filter_metadata; i++) {
        if (m->filter_metadata[i]->key != NULL && strcmp(m->filter_metadata[i]->key, filter) == 0)
            return m->filter_metadata[i]->value;
    }
    return NULL;
}

const Pb__Value *decode_struct_get(const Pb__Struct *m, const char *key)
{
    for (size_t i = 0; m != NULL && i < m->n_fields; i++) {
        if (m->fields[i]->key != NULL && strcmp(m->fields[i]->key, key) == 0)
            return m->fields[i]->value;
    }
    return NULL;
}

const char *decode_struct_str(const Pb__Struct *m, const char *key)
{
    const Pb__Value *v = decode_struct_get(m, key);
    return v != NULL && v->kind_case == PB__VALUE__KIND_STRING_VALUE ? v->string_value : NULL;
}

bool decode_struct_bool(const Pb__Struct *m, const char *key)
{
    const Pb__Value *v = decode_struct_get(m, key);
    return v != NULL && v->kind_case == PB__VALUE__KIND_BOOL_VALUE && v->bool_value;
}

struct origin decode_origin(struct decode *d, const Pb__Core__Metadata *m)
{
    const char *text = decode_struct_str(decode_metadata(m, "tulle"), "origin");
    return (struct origin){decode_str(d, text)};
}

void decode_add_ref(struct decode *d, enum resource_type type, struct str name)
{
    decode_add_ref_from(d, type, name, (struct resource_source){0});
}

void decode_add_ref_from(struct decode *d, enum resource_type type, struct str name,
                         struct resource_source source)
{
    struct map *seen = &d->seen_refs[type];
    if (map_get(seen, name) != NULL)
        return;
    map_put(seen, name, seen);
    VEC_PUSH(&d->refs, ((struct resource_ref){type, name, source}));
}
