#include "http/h1_field.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/err.h"

enum { SPARE_FIELDS = 12, TYPICAL_LINE_BYTES = 24 };

/* What a handler decides about its field; error: ret_error is set. */
enum fate { FATE_KEEP, FATE_DROP, FATE_BAD, FATE_UNSUPPORTED };

struct parse {
    struct h1_fields *fields;
    struct h1_error *error;
};

/* RFC 9110 5.6.2: tchar, as its lower case; 0 for everything else. */
static const unsigned char token_chars[256] = {
    ['!'] = '!', ['#'] = '#', ['$'] = '$', ['%'] = '%', ['&'] = '&', ['\''] = '\'', ['*'] = '*',
    ['+'] = '+', ['-'] = '-', ['.'] = '.', ['^'] = '^', ['_'] = '_', ['`'] = '`',   ['|'] = '|',
    ['~'] = '~', ['0'] = '0', ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4',   ['5'] = '5',
    ['6'] = '6', ['7'] = '7', ['8'] = '8', ['9'] = '9', ['a'] = 'a', ['b'] = 'b',   ['c'] = 'c',
    ['d'] = 'd', ['e'] = 'e', ['f'] = 'f', ['g'] = 'g', ['h'] = 'h', ['i'] = 'i',   ['j'] = 'j',
    ['k'] = 'k', ['l'] = 'l', ['m'] = 'm', ['n'] = 'n', ['o'] = 'o', ['p'] = 'p',   ['q'] = 'q',
    ['r'] = 'r', ['s'] = 's', ['t'] = 't', ['u'] = 'u', ['v'] = 'v', ['w'] = 'w',   ['x'] = 'x',
    ['y'] = 'y', ['z'] = 'z', ['A'] = 'a', ['B'] = 'b', ['C'] = 'c', ['D'] = 'd',   ['E'] = 'e',
    ['F'] = 'f', ['G'] = 'g', ['H'] = 'h', ['I'] = 'i', ['J'] = 'j', ['K'] = 'k',   ['L'] = 'l',
    ['M'] = 'm', ['N'] = 'n', ['O'] = 'o', ['P'] = 'p', ['Q'] = 'q', ['R'] = 'r',   ['S'] = 's',
    ['T'] = 't', ['U'] = 'u', ['V'] = 'v', ['W'] = 'w', ['X'] = 'x', ['Y'] = 'y',   ['Z'] = 'z',
};

/* Connection may not take these away: they carry framing, identity, routing or policy. Names that
 * end in '-' stand for all that begin so. */
static const struct str never_listed[] = {
    {"host", 4},
    {"content-length", 14},
    {"transfer-encoding", 17},
    {"content-type", 12},
    {"content-encoding", 16},
    {"authorization", 13},
    {"cookie", 6},
    {"set-cookie", 10},
    {"cache-control", 13},
    {"date", 4},
    {"location", 8},
    {"expect", 6},
    {"forwarded", 9},
    {"via", 3},
    {"traceparent", 11},
    {"tracestate", 10},
    {"b3", 2},
    {"x-b3-", 5},
    {"x-forwarded-", 12},
    {"x-envoy-", 8},
    {"x-tulle-", 8},
    {"x-request-id", 12},
    {"x-real-ip", 9},
    {"grpc-", 5},
};

/* RFC 9110 6.5.1: what would change how the message is framed, routed or judged has no place in
 * trailers. These are dropped; those that touch framing are refused. */
static const struct str never_trailing[] = {
    {"age", 3},
    {"authorization", 13},
    {"cache-control", 13},
    {"content-encoding", 16},
    {"content-range", 13},
    {"content-type", 12},
    {"cookie", 6},
    {"date", 4},
    {"expect", 6},
    {"expires", 7},
    {"forwarded", 9},
    {"location", 8},
    {"max-forwards", 12},
    {"pragma", 6},
    {"proxy-authenticate", 18},
    {"proxy-authorization", 19},
    {"range", 5},
    {"retry-after", 11},
    {"set-cookie", 10},
    {"te", 2},
    {"traceparent", 11},
    {"tracestate", 10},
    {"vary", 4},
    {"warning", 7},
    {"www-authenticate", 16},
    {"x-b3-", 5},
    {"x-envoy-", 8},
    {"x-forwarded-", 12},
    {"x-request-id", 12},
    {"x-tulle-", 8},
};

static bool is_in(const struct str *rows, size_t count, struct str name)
{
    for (size_t i = 0; i < count; i++) {
        bool is_prefix = rows[i].ptr[rows[i].len - 1] == '-';

        if (is_prefix ? str_starts_with(name, rows[i]) : str_eq(name, rows[i]))
            return true;
    }
    return false;
}

static enum fate refuse(struct parse *p, uint16_t status, struct str details)
{
    *p->error = (struct h1_error){status, details};
    return status == 501 || status == 417 ? FATE_UNSUPPORTED : FATE_BAD;
}

bool h1_field_is_never_trailing(struct str name)
{
    return is_in(never_trailing, ARRAY_LEN(never_trailing), name);
}

bool h1_is_token_char(char c)
{
    return token_chars[(unsigned char)c] != 0;
}

#ifdef __SSE2__
enum { SCAN_BYTES = 16 };
_Static_assert((int)SCAN_BYTES <= (int)H1_PAD_BYTES,
               "a load at the last byte stays within the pad");

/* One bit a byte: control bytes other than HTAB. */
static inline unsigned control_bytes(const char *p)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v);
    __m128i tab = _mm_cmpeq_epi8(v, _mm_set1_epi8('\t'));
    __m128i del = _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f));

    return (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_andnot_si128(tab, low), del));
}

static inline __m128i is_between(__m128i v, char first, char last)
{
    return _mm_and_si128(_mm_cmpgt_epi8(v, _mm_set1_epi8((char)(first - 1))),
                         _mm_cmplt_epi8(v, _mm_set1_epi8((char)(last + 1))));
}

/* Brings the letters, digits and dashes at p, of which most names are made, to lower case and
 * returns how many there are, SCAN_BYTES at most. What follows them is left as it is. */
static inline unsigned lower_common(char *p)
{
    static const char first_lanes[2 * SCAN_BYTES] = {[0 ... SCAN_BYTES - 1] = 0x20};
    __m128i v = _mm_loadu_si128((const __m128i *)(void *)p);
    __m128i letters = is_between(_mm_or_si128(v, _mm_set1_epi8(0x20)), 'a', 'z');
    __m128i others = _mm_or_si128(is_between(v, '0', '9'), _mm_cmpeq_epi8(v, _mm_set1_epi8('-')));
    unsigned common = (unsigned)_mm_movemask_epi8(_mm_or_si128(letters, others));
    unsigned n = (unsigned)__builtin_ctz(~common); /* 16 when all are */
    __m128i lanes = _mm_loadu_si128((const __m128i *)(const void *)(first_lanes + SCAN_BYTES - n));

    _mm_storeu_si128((__m128i *)(void *)p, _mm_or_si128(v, _mm_and_si128(letters, lanes)));
    return n;
}
#else
enum { SCAN_BYTES = 1 };

static inline unsigned control_bytes(const char *p)
{
    unsigned char c = (unsigned char)*p;

    return (c < 0x20 && c != '\t') || c == 0x7f;
}

static inline unsigned lower_common(char *p)
{
    unsigned char c = token_chars[(unsigned char)*p];

    if (c == 0)
        return 0;
    *p = (char)c;
    return 1;
}
#endif

/* The first control byte from p on. */
static inline char *value_end(char *p)
{
    unsigned found;

    while ((found = control_bytes(p)) == 0)
        p += SCAN_BYTES;
    return p + __builtin_ctz(found);
}

char *h1_field_value_end(char *p)
{
    return value_end(p);
}

/* Lower-cases the name at p; returns the first byte that does not belong to it. */
static inline char *name_end(char *p)
{
    for (;;) {
        unsigned n = lower_common(p);

        p += n;
        if (n == SCAN_BYTES)
            continue;
        unsigned char c = token_chars[(unsigned char)*p];
        if (c == 0)
            return p;
        *p++ = (char)c; /* one of the rare ones: '_', '.', ... */
    }
}

/* --- fields that are not passed on as they are ------------------------------------------------ */

/* RFC 9112 6.3: a second one is refused even when it says the same; so is a list. */
static enum fate on_content_length(struct parse *p, struct str value)
{
    struct h1_fields *f = p->fields;

    if (f->has_length)
        return refuse(p, 400, STR("content_length_repeated"));
    if (!str_to_u64(value, INT64_MAX, &f->head->length))
        return refuse(p, 400, STR("content_length_invalid"));
    f->has_length = true;
    return FATE_DROP;
}

/* RFC 9112 6.1: chunked alone is understood. Anything that mentions it otherwise is an attack or a
 * mistake, other codings are not implemented. */
static enum fate on_transfer_encoding(struct parse *p, struct str value)
{
    struct h1_fields *f = p->fields;

    if (f->has_transfer_encoding)
        return refuse(p, 400, STR("transfer_encoding_repeated"));
    f->has_transfer_encoding = true;
    if (str_eq_nocase(value, STR("chunked")))
        return FATE_DROP;
    for (size_t i = 0; i + 7 <= value.len; i++)
        if (str_starts_with_nocase(str_skip(value, i), STR("chunked")))
            return refuse(p, 400, STR("transfer_encoding_invalid"));
    if (value.len == 0)
        return refuse(p, 400, STR("transfer_encoding_invalid"));
    return refuse(p, 501, STR("transfer_encoding_unsupported"));
}

static enum fate on_host(struct parse *p, struct str value)
{
    struct h1_fields *f = p->fields;

    if (f->has_host)
        return refuse(p, 400, STR("host_repeated"));
    f->has_host = true;
    f->host = value;
    return FATE_DROP;
}

static bool is_token(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!h1_is_token_char(s.ptr[i]))
            return false;
    return s.len > 0;
}

/* A name in lower case: the same view when it is so already, else a copy. */
static struct str lowered(struct arena *a, struct str s)
{
    size_t i = 0;

    while (i < s.len && token_chars[(unsigned char)s.ptr[i]] == (unsigned char)s.ptr[i])
        i++;
    if (i == s.len)
        return s;
    char *copy = arena_bytes(a, s.len);
    for (i = 0; i < s.len; i++)
        copy[i] = (char)token_chars[(unsigned char)s.ptr[i]];
    return str_from(copy, s.len);
}

/* Fields that are never passed on, whether Connection lists them or not. */
static bool is_dropped_anyway(struct str name)
{
    switch ((unsigned)http_name_find(name)) {
    case HTTP_NAME_HTTP2_SETTINGS:
    case HTTP_NAME_KEEP_ALIVE:
    case HTTP_NAME_PROXY_CONNECTION:
    case HTTP_NAME_TE:
    case HTTP_NAME_TRAILER:
        return true;
    }
    return false;
}

static enum fate on_listed(struct parse *p, struct str name)
{
    struct h1_fields *f = p->fields;

    if (!is_token(name))
        return refuse(p, 400, STR("connection_invalid"));
    name = lowered(f->head->arena, name);
    if (str_eq(name, STR("close"))) {
        f->is_close = true;
    } else if (str_eq(name, STR("keep-alive"))) {
        f->is_keep_alive = true;
    } else if (str_eq(name, STR("upgrade"))) {
        f->is_upgrade = true;
    } else if (is_dropped_anyway(name)) {
        return FATE_DROP;
    } else if (is_in(never_listed, ARRAY_LEN(never_listed), name)) {
        return refuse(p, 400, STR("connection_lists_end_to_end_field"));
    } else if (f->listed_count == H1_LISTED_MAX) {
        return refuse(p, 400, STR("connection_lists_too_many"));
    } else {
        f->listed[f->listed_count++] = name;
    }
    return FATE_DROP;
}

/* RFC 9110 7.6.1. Empty list members are allowed (RFC 9110 5.6.1.2). */
static enum fate on_connection(struct parse *p, struct str value)
{
    while (value.ptr != NULL) {
        struct str name = str_trim(str_split(&value, ','));

        if (name.len > 0 && on_listed(p, name) != FATE_DROP)
            return FATE_BAD;
    }
    return FATE_DROP;
}

static enum fate on_drop(struct parse *p, struct str value)
{
    return FATE_DROP;
}

static enum fate on_upgrade(struct parse *p, struct str value)
{
    struct h1_fields *f = p->fields;

    f->upgrade = f->has_upgrade ? STR_NULL : value;
    f->has_upgrade = true;
    return FATE_DROP;
}

static enum fate on_te(struct parse *p, struct str value)
{
    if (p->fields->section != H1_SECTION_REQUEST)
        return FATE_DROP;
    while (value.ptr != NULL) {
        struct str member = str_split(&value, ',');

        if (str_eq_nocase(str_trim(str_split(&member, ';')), STR("trailers")))
            p->fields->head->wants_trailers = true;
    }
    return FATE_DROP;
}

/* RFC 9110 10.1.1. */
static enum fate on_expect(struct parse *p, struct str value)
{
    if (p->fields->section != H1_SECTION_REQUEST)
        return FATE_KEEP;
    if (!str_eq_nocase(value, STR("100-continue")))
        return refuse(p, 417, STR("expectation_unknown"));
    p->fields->expects_continue = true;
    return FATE_DROP;
}

static enum fate on_content_type(struct parse *p, struct str value)
{
    p->fields->head->is_grpc = http_is_grpc_type(value);
    return FATE_KEEP;
}

typedef enum fate field_fn(struct parse *p, struct str value);

static field_fn *const header_fns[HTTP_NAME_COUNT] = {
    [HTTP_NAME_CONNECTION] = on_connection,
    [HTTP_NAME_CONTENT_LENGTH] = on_content_length,
    [HTTP_NAME_CONTENT_TYPE] = on_content_type,
    [HTTP_NAME_EXPECT] = on_expect,
    [HTTP_NAME_HOST] = on_host,
    [HTTP_NAME_HTTP2_SETTINGS] = on_drop,
    [HTTP_NAME_KEEP_ALIVE] = on_drop,
    [HTTP_NAME_PROXY_CONNECTION] = on_drop,
    [HTTP_NAME_TE] = on_te,
    [HTTP_NAME_TRAILER] = on_drop,
    [HTTP_NAME_TRANSFER_ENCODING] = on_transfer_encoding,
    [HTTP_NAME_UPGRADE] = on_upgrade,
};

static enum fate on_trailer(struct parse *p, const struct http_field *field)
{
    switch ((unsigned)field->id) {
    case HTTP_NAME_CONTENT_LENGTH:
    case HTTP_NAME_TRANSFER_ENCODING:
    case HTTP_NAME_HOST:
    case HTTP_NAME_CONNECTION:
    case HTTP_NAME_UPGRADE:
    case HTTP_NAME_TRAILER:
    case HTTP_NAME_KEEP_ALIVE:
    case HTTP_NAME_PROXY_CONNECTION:
    case HTTP_NAME_HTTP2_SETTINGS:
        return refuse(p, 400, STR("trailer_forbidden"));
    }
    return h1_field_is_never_trailing(field->name) ? FATE_DROP : FATE_KEEP;
}

static enum fate on_field(struct parse *p, const struct http_field *field)
{
    if (p->fields->section == H1_SECTION_TRAILERS)
        return on_trailer(p, field);
    field_fn *fn = header_fns[field->id];
    return fn == NULL ? FATE_KEEP : fn(p, field->value);
}

/* --- lines ---------------------------------------------------------------------------------- */

/* One "name: value CRLF" at *at, which moves behind it. Returns FATE_KEEP when it is well-formed.
 */
static enum fate parse_line(struct parse *p, char **at, struct http_field *ret_field)
{
    char *name = *at, *colon = name_end(name);

    if (*colon != ':' || colon == name) {
        if (*name == ' ' || *name == '\t') /* RFC 9112 5.2 */
            return refuse(p, 400, STR("field_line_folded"));
        return refuse(p, 400, STR("field_name_invalid"));
    }
    char *value = colon + 1;
    while (*value == ' ' || *value == '\t')
        value++;
    char *end = value_end(value);
    if (end[0] != '\r' || end[1] != '\n')
        return refuse(p, 400, STR("field_value_invalid"));
    *at = end + 2;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *ret_field = (struct http_field){.name = str_from(name, (size_t)(colon - name)),
                                     .value = str_from(value, (size_t)(end - value))};
    ret_field->id = http_name_find(ret_field->name);
    return FATE_KEEP;
}

/* Room for as many fields as such a text usually has, and for what filters add. */
static void make_room(struct http_head *h, size_t len)
{
    h->field_cap = (uint32_t)(len / TYPICAL_LINE_BYTES) + SPARE_FIELDS;
    h->field_count = 0;
    h->fields = arena_alloc(h->arena, sizeof(*h->fields) * h->field_cap);
}

static void make_more_room(struct http_head *h)
{
    struct http_field *fields = arena_alloc(h->arena, sizeof(*fields) * h->field_cap * 2);

    memcpy(fields, h->fields, sizeof(*fields) * h->field_count);
    h->fields = fields;
    h->field_cap *= 2;
}

static int parse_lines(struct parse *p, char *at, char *end, const struct limits *limits)
{
    struct h1_fields *f = p->fields;
    struct http_head *h = f->head;
    uint64_t count = 0;

    while (at < end) {
        if (h->field_count == h->field_cap)
            make_more_room(h);
        struct http_field *field = &h->fields[h->field_count];

        if (parse_line(p, &at, field) != FATE_KEEP)
            return -ERR_PROTOCOL;
        f->bytes += field->name.len + field->value.len;
        if (++count > limits->header_count_max || f->bytes > limits->header_bytes_max) {
            refuse(p, 431, STR("header_section_too_large"));
            return -ERR_TOO_LARGE;
        }
        switch (on_field(p, field)) {
        case FATE_KEEP:
            h->field_count++;
            break;
        case FATE_DROP:
            break;
        case FATE_BAD:
            return -ERR_PROTOCOL;
        case FATE_UNSUPPORTED:
            return -ERR_UNSUPPORTED;
        }
    }
    return 0;
}

int h1_fields_parse(struct h1_fields *f, char *text, size_t len, const struct limits *limits,
                    struct h1_error *ret_error)
{
    struct parse p = {f, ret_error};

    ASSERT(len >= 2 && text[len - 2] == '\r' && text[len - 1] == '\n');
    make_room(f->head, len);
    int err = parse_lines(&p, text, text + len - 2, limits);
    if (err != 0)
        return err;
    http_head_index(f->head);
    for (uint32_t i = 0; i < f->listed_count; i++)
        http_head_remove_named(f->head, f->listed[i]);
    return 0;
}
