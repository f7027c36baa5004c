#include "http/h2_field.h"

enum char_class {
    CLASS_NAME = 1,      /* tokens without upper case (RFC 9113 8.2.1) */
    CLASS_TOKEN = 2,     /* RFC 9110 5.6.2 */
    CLASS_SCHEME = 4,    /* RFC 3986 3.1 */
    CLASS_AUTHORITY = 8, /* RFC 3986 3.2, not decoded */
    CLASS_DIGIT = 16,
};

#define MARK (CLASS_NAME | CLASS_TOKEN)

static const uint8_t classes[256] = {
    ['a' ... 'z'] = MARK | CLASS_SCHEME | CLASS_AUTHORITY,
    ['A' ... 'Z'] = CLASS_TOKEN | CLASS_SCHEME | CLASS_AUTHORITY,
    ['0' ... '9'] = MARK | CLASS_SCHEME | CLASS_AUTHORITY | CLASS_DIGIT,
    ['!'] = MARK | CLASS_AUTHORITY,
    ['#'] = MARK,
    ['$'] = MARK | CLASS_AUTHORITY,
    ['%'] = MARK | CLASS_AUTHORITY,
    ['&'] = MARK | CLASS_AUTHORITY,
    ['\''] = MARK | CLASS_AUTHORITY,
    ['*'] = MARK | CLASS_AUTHORITY,
    ['+'] = MARK | CLASS_SCHEME | CLASS_AUTHORITY,
    ['-'] = MARK | CLASS_SCHEME | CLASS_AUTHORITY,
    ['.'] = MARK | CLASS_SCHEME | CLASS_AUTHORITY,
    ['^'] = MARK,
    ['_'] = MARK | CLASS_AUTHORITY,
    ['`'] = MARK,
    ['|'] = MARK,
    ['~'] = MARK | CLASS_AUTHORITY,
    ['('] = CLASS_AUTHORITY,
    [')'] = CLASS_AUTHORITY,
    [','] = CLASS_AUTHORITY,
    [':'] = CLASS_AUTHORITY,
    [';'] = CLASS_AUTHORITY,
    ['='] = CLASS_AUTHORITY,
    ['@'] = CLASS_AUTHORITY,
    ['['] = CLASS_AUTHORITY,
    [']'] = CLASS_AUTHORITY,
};

static bool is_all(struct str s, enum char_class class)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((classes[(uint8_t)s.ptr[i]] & class) == 0)
            return false;
    }
    return s.len > 0;
}

/* --- text ----------------------------------------------------------------------------------- */

#define BYTES(b) (0x0101010101010101ull * (b))

/* Not 0 when one of the eight bytes is below `low` (at most 0x80) or is DEL. */
static uint64_t has_control(uint64_t word, uint8_t low)
{
    uint64_t del = word ^ BYTES(0x7f);

    return ((word - BYTES((uint64_t)low)) & ~word & BYTES(0x80ull)) |
           ((del - BYTES(1ull)) & ~del & BYTES(0x80ull));
}

static bool is_text_slow(struct str s, uint8_t low)
{
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = (uint8_t)s.ptr[i];

        if ((c < low && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

/* No byte below `low` other than HTAB, and no DEL. */
static bool is_text(struct str s, uint8_t low)
{
    uint64_t word;

    if (s.len < sizeof(word))
        return is_text_slow(s, low);
    for (size_t i = 0; i + sizeof(word) <= s.len; i += sizeof(word)) {
        memcpy(&word, s.ptr + i, sizeof(word));
        if (has_control(word, low) != 0)
            return is_text_slow(s, low);
    }
    memcpy(&word, s.ptr + s.len - sizeof(word), sizeof(word));
    return has_control(word, low) == 0 || is_text_slow(s, low);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

/* RFC 9113 8.2.1, RFC 9110 5.5. */
static bool is_value(struct str s)
{
    return s.len == 0 || (is_text(s, 0x20) && !is_space(s.ptr[0]) && !is_space(s.ptr[s.len - 1]));
}

/* --- names ---------------------------------------------------------------------------------- */

static const struct {
    struct str name;
    enum h2_kind kind;
} pseudo_names[] = {
    {{":method", 7}, H2_METHOD}, {{":scheme", 7}, H2_SCHEME}, {{":authority", 10}, H2_AUTHORITY},
    {{":path", 5}, H2_PATH},     {{":status", 7}, H2_STATUS}, {{":protocol", 9}, H2_PROTOCOL},
};

static enum h2_kind pseudo_of(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(pseudo_names); i++) {
        if (str_eq(name, pseudo_names[i].name))
            return pseudo_names[i].kind;
    }
    return H2_PSEUDO_UNKNOWN;
}

bool h2_field_name(struct str name, enum h2_kind *ret_kind, enum http_name *ret_id)
{
    *ret_kind = H2_FIELD;
    *ret_id = HTTP_NAME_OTHER;
    if (name.len > 0 && name.ptr[0] == ':') {
        *ret_kind = pseudo_of(name);
        return *ret_kind != H2_PSEUDO_UNKNOWN;
    }
    *ret_id = http_name_find(name);
    return *ret_id != HTTP_NAME_OTHER || is_all(name, CLASS_NAME);
}

/* --- values --------------------------------------------------------------------------------- */

/* RFC 9110 15: three digits; codes below 100 are none. */
static bool is_status(struct str s)
{
    return s.len == 3 && is_all(s, CLASS_DIGIT) && s.ptr[0] != '0';
}

static bool is_path(struct str s)
{
    return s.len > 0 && is_text(s, 0x21) && str_find(s, '\t') < 0;
}

static bool is_field_value(enum http_name id, struct str value)
{
    switch ((unsigned)id) {
    case HTTP_NAME_CONNECTION:
    case HTTP_NAME_KEEP_ALIVE:
    case HTTP_NAME_PROXY_CONNECTION:
    case HTTP_NAME_TRANSFER_ENCODING:
    case HTTP_NAME_UPGRADE:
        return false; /* RFC 9113 8.2.2 */
    case HTTP_NAME_TE:
        return str_eq_nocase(value, STR("trailers"));
    case HTTP_NAME_HOST:
        return is_all(value, CLASS_AUTHORITY);
    case HTTP_NAME_CONTENT_LENGTH:
        return is_all(value, CLASS_DIGIT);
    default:
        return is_value(value);
    }
}

bool h2_field_value_is_valid(enum h2_kind kind, enum http_name id, struct str value)
{
    switch (kind) {
    case H2_FIELD:
        return is_field_value(id, value);
    case H2_METHOD:
        return value.len <= H2_METHOD_LEN_MAX && is_all(value, CLASS_TOKEN);
    case H2_SCHEME:
        return is_all(value, CLASS_SCHEME);
    case H2_AUTHORITY:
        return is_all(value, CLASS_AUTHORITY);
    case H2_PATH:
        return is_path(value);
    case H2_STATUS:
        return is_status(value);
    case H2_PROTOCOL:
        return is_all(value, CLASS_TOKEN);
    case H2_PSEUDO_UNKNOWN:
        break;
    }
    return false;
}
