#include "base/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

bool str_eq_nocase(struct str a, struct str b)
{
    return a.len == b.len && str_starts_with_nocase(a, b);
}

int str_cmp(struct str a, struct str b)
{
    size_t n = MIN(a.len, b.len);
    int order = n == 0 ? 0 : memcmp(a.ptr, b.ptr, n);

    if (order != 0)
        return order;
    return (a.len > b.len) - (a.len < b.len);
}

bool str_starts_with(struct str s, struct str prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

static unsigned char lower(char c)
{
    unsigned char u = (unsigned char)c;

    return u >= 'A' && u <= 'Z' ? (unsigned char)(u | 0x20) : u;
}

bool str_starts_with_nocase(struct str s, struct str prefix)
{
    if (s.len < prefix.len)
        return false;
    for (size_t i = 0; i < prefix.len; i++)
        if (lower(s.ptr[i]) != lower(prefix.ptr[i]))
            return false;
    return true;
}

bool str_ends_with(struct str s, struct str suffix)
{
    return s.len >= suffix.len &&
           (suffix.len == 0 || memcmp(s.ptr + s.len - suffix.len, suffix.ptr, suffix.len) == 0);
}

bool str_contains(struct str s, struct str needle)
{
    if (needle.len == 0)
        return true;
    return s.len >= needle.len && memmem(s.ptr, s.len, needle.ptr, needle.len) != NULL;
}

/* RFC 3629 4: the ranges that the second byte is bound to, by first byte. */
static const struct {
    unsigned char first_min, first_max, len, second_min, second_max;
} utf8_rows[] = {
    {0xc2, 0xdf, 2, 0x80, 0xbf}, {0xe0, 0xe0, 3, 0xa0, 0xbf}, {0xe1, 0xec, 3, 0x80, 0xbf},
    {0xed, 0xed, 3, 0x80, 0x9f}, {0xee, 0xef, 3, 0x80, 0xbf}, {0xf0, 0xf0, 4, 0x90, 0xbf},
    {0xf1, 0xf3, 4, 0x80, 0xbf}, {0xf4, 0xf4, 4, 0x80, 0x8f},
};

size_t str_utf8_len(struct str s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;

    if (s.len == 0)
        return 0;
    if (p[0] < 0x80)
        return 1;
    for (size_t i = 0; i < ARRAY_LEN(utf8_rows); i++) {
        if (p[0] < utf8_rows[i].first_min || p[0] > utf8_rows[i].first_max)
            continue;
        size_t len = utf8_rows[i].len;
        if (s.len < len || p[1] < utf8_rows[i].second_min || p[1] > utf8_rows[i].second_max)
            return 0;
        for (size_t k = 2; k < len; k++)
            if ((p[k] & 0xc0) != 0x80)
                return 0;
        return len;
    }
    return 0;
}

bool str_is_utf8(struct str s)
{
    while (s.len > 0) {
        size_t n = str_utf8_len(s);

        if (n == 0)
            return false;
        s = str_skip(s, n);
    }
    return true;
}

ptrdiff_t str_find(struct str s, char c)
{
    const char *at = s.len == 0 ? NULL : memchr(s.ptr, c, s.len);

    return at == NULL ? -1 : at - s.ptr;
}

ptrdiff_t str_rfind(struct str s, char c)
{
    const char *at = s.len == 0 ? NULL : memrchr(s.ptr, c, s.len);

    return at == NULL ? -1 : at - s.ptr;
}

struct str str_trim(struct str s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
        s = str_skip(s, 1);
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

struct str str_split(struct str *rest, char sep)
{
    struct str all = *rest;
    ptrdiff_t at = str_find(all, sep);

    if (at < 0) {
        *rest = STR_NULL;
        return all;
    }
    *rest = str_skip(all, (size_t)at + 1);
    return str_sub(all, 0, (size_t)at);
}

bool str_to_u64(struct str s, uint64_t max, uint64_t *ret_value)
{
    uint64_t value = 0;

    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = (unsigned char)s.ptr[i] - (unsigned)'0';

        if (digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, digit, &value) || value > max)
            return false;
    }
    *ret_value = value;
    return true;
}

/* Product of 128 bits, folded: each bit of the result depends on all bits of both factors. */
static uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t load(const char *p, size_t len)
{
    uint64_t v = 0;

    memcpy(&v, p, len);
    return v;
}

/* All sixteen digits at once. */
#ifdef __SSE2__
static inline void put_hex16(char *to, uint64_t value)
{
    const __m128i low_half = _mm_set1_epi8(15);
    __m128i bytes = _mm_cvtsi64_si128((long long)__builtin_bswap64(value));
    __m128i high = _mm_and_si128(_mm_srli_epi64(bytes, 4), low_half);
    __m128i halves = _mm_unpacklo_epi8(high, _mm_and_si128(bytes, low_half));
    __m128i is_letter = _mm_cmpgt_epi8(halves, _mm_set1_epi8(9));
    __m128i letters = _mm_and_si128(is_letter, _mm_set1_epi8('a' - '0' - 10));

    _mm_storeu_si128((__m128i *)(void *)to,
                     _mm_add_epi8(_mm_add_epi8(halves, _mm_set1_epi8('0')), letters));
}
#else
static inline void put_hex16(char *to, uint64_t value)
{
    static const char hex[] = "0123456789abcdef";

    for (unsigned i = 16; i-- > 0;)
        *to++ = hex[value >> (4 * i) & 15];
}
#endif

char *str_put_hex(char *to, uint64_t value, unsigned digits)
{
    char text[16];

    ASSERT(digits <= sizeof text);
    if (digits == sizeof text) {
        put_hex16(to, value);
    } else {
        put_hex16(text, value);
        memcpy(to, text + sizeof text - digits, digits);
    }
    return to + digits;
}

struct str str_of_u64(uint64_t value, char text[STR_U64_LEN])
{
    size_t at = STR_U64_LEN;
    do {
        text[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return str_from(text + at, STR_U64_LEN - at);
}

uint64_t str_hash(struct str s, uint64_t seed)
{
    const uint64_t k1 = 0x9e3779b97f4a7c15, k2 = 0xd1b54a32d192ed03, k3 = 0x8cb92ba72f3d8dd7;
    uint64_t h = seed ^ fold(seed ^ k1, s.len ^ k2);
    const char *p = s.ptr;
    size_t left = s.len;

    for (; left > 16; left -= 16, p += 16)
        h = fold(load(p, 8) ^ k2 ^ h, load(p + 8, 8) ^ k3 ^ seed);
    if (left > 8)
        h = fold(load(p, 8) ^ k2 ^ h, load(p + 8, left - 8) ^ k3 ^ seed);
    else if (left > 0)
        h = fold(load(p, left) ^ k2 ^ h, k3 ^ seed);
    return fold(h ^ k1, s.len ^ k3);
}

char *str_dup_c(struct str s)
{
    return mem_strndup(s.ptr, s.len);
}

void str_buf_deinit(struct str_buf *b)
{
    free(b->ptr);
    *b = STR_BUF_INIT(b->len_max);
}

void str_buf_reset(struct str_buf *b)
{
    b->len = 0;
    b->is_overflown = false;
    if (b->ptr != NULL)
        b->ptr[0] = '\0';
}

char *str_buf_reserve(struct str_buf *b, size_t len)
{
    if (b->is_overflown || len > b->len_max - b->len) {
        b->is_overflown = true;
        return NULL;
    }
    if (b->cap - b->len < len + 1 || b->ptr == NULL) {
        size_t cap = MAX(b->len + len + 1, b->cap + b->cap / 2);

        b->cap = MAX(cap, (size_t)64);
        b->ptr = mem_realloc(b->ptr, b->cap);
    }
    return b->ptr + b->len;
}

void str_buf_grow(struct str_buf *b, size_t len)
{
    ASSERT(b->len + len < b->cap);
    b->len += len;
    b->ptr[b->len] = '\0';
}

void str_buf_add(struct str_buf *b, struct str s)
{
    char *at = str_buf_reserve(b, s.len);

    if (at == NULL)
        return;
    if (s.len > 0)
        memcpy(at, s.ptr, s.len);
    str_buf_grow(b, s.len);
}

void str_buf_add_c(struct str_buf *b, const char *s)
{
    str_buf_add(b, str_from_c(s));
}

void str_buf_add_char(struct str_buf *b, char c)
{
    str_buf_add(b, str_from(&c, 1));
}

void str_buf_add_shown(struct str_buf *b, struct str s)
{
    char *at = str_buf_reserve(b, s.len);
    size_t len = 0;

    if (at == NULL)
        return;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = (uint8_t)s.ptr[i], next = i + 1 < s.len ? (uint8_t)s.ptr[i + 1] : 0;
        bool is_c1 = c == 0xc2 && next >= 0x80 && next <= 0x9f; /* U+0080 to U+009F, in UTF-8 */

        i += is_c1;
        if (c == '\n' || c == '\r' || c == '\t')
            at[len++] = ' ';
        else
            at[len++] = is_c1 || c < ' ' || c == 0x7f ? '?' : (char)c;
    }
    str_buf_grow(b, len);
}

void str_buf_add_u64(struct str_buf *b, uint64_t value)
{
    char text[STR_U64_LEN];
    str_buf_add(b, str_of_u64(value, text));
}

void str_buf_printf(struct str_buf *b, const char *fmt, ...)
{
    va_list args, again;
    int len;

    va_start(args, fmt);
    va_copy(again, args);
    len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    ASSERT(len >= 0);
    char *at = str_buf_reserve(b, (size_t)len);
    if (at != NULL) {
        vsnprintf(at, (size_t)len + 1, fmt, again);
        str_buf_grow(b, (size_t)len);
    }
    va_end(again);
}

char *str_buf_take(struct str_buf *b)
{
    char *text = b->ptr != NULL ? b->ptr : mem_strndup("", 0);

    text[b->len] = '\0';
    *b = STR_BUF_INIT(b->len_max);
    return text;
}
