/* Strings as pointer and length, by value. A str borrows; it owns nothing and is not terminated.
 *
 * Lifetime: that of the memory it points into; a str kept in a struct says in a comment whose. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/util.h"

struct str {
    const char *ptr;
    size_t len;
};

/* For literals only. */
#define STR(lit) ((struct str){"" lit, sizeof(lit) - 1})
#define STR_NULL ((struct str){NULL, 0})
/* For printf: "%.*s". */
#define STR_FMT(s) (int)(s).len, ((s).ptr != NULL ? (s).ptr : "")

static inline struct str str_from(const char *ptr, size_t len)
{
    return (struct str){ptr, len};
}

/* NULL gives the empty string. */
static inline struct str str_from_c(const char *c)
{
    return c == NULL ? STR_NULL : (struct str){c, strlen(c)};
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool str_is_empty(struct str s)
{
    return s.len == 0;
}

/* The part from `from` on, at most `len` bytes; both are clamped to the string. */
static inline struct str str_sub(struct str s, size_t from, size_t len)
{
    if (from > s.len)
        from = s.len;
    /* NULL + 0 is undefined. */
    return (struct str){from > 0 ? s.ptr + from : s.ptr, len < s.len - from ? len : s.len - from};
}

static inline struct str str_skip(struct str s, size_t n)
{
    return str_sub(s, n, SIZE_MAX);
}

bool str_eq_nocase(struct str a, struct str b); /* ASCII case folded */
int str_cmp(struct str a, struct str b);        /* bytewise, shorter first, as strcmp's sign */
bool str_starts_with(struct str s, struct str prefix);
bool str_starts_with_nocase(struct str s, struct str prefix);
bool str_ends_with(struct str s, struct str suffix);
bool str_contains(struct str s, struct str needle);

/* Bytes of the first character when it is well-formed UTF-8 (RFC 3629: no overlong form, no
 * surrogate, nothing above U+10FFFF), else 0. */
size_t str_utf8_len(struct str s);
bool str_is_utf8(struct str s);

/* Index of the first/last byte c, or -1. */
ptrdiff_t str_find(struct str s, char c);
ptrdiff_t str_rfind(struct str s, char c);

/* Without leading and trailing SP and HTAB (RFC 9110 5.6.3: OWS). */
struct str str_trim(struct str s);

/* Cuts `*rest` at the first `sep`: the part before it is returned, `*rest` becomes what follows.
 * When there is no `sep`, all of it is returned and `*rest` becomes the null string (ptr NULL). */
struct str str_split(struct str *rest, char sep);

/* Whole string as a decimal number, digits only; false when empty, not digits, or above max. */
bool str_to_u64(struct str s, uint64_t max, uint64_t *ret_value);

/* Writes the lowest `digits` (at most 16) hexadecimal digits, lower case; behind the last one,
 * where to go on. */
char *str_put_hex(char *to, uint64_t value, unsigned digits);

/* Copies s to where there is room for it; behind it, where to go on. Most texts of a message's head
 * are short: those are copied by words that may overlap. */
static inline char *str_put(char *to, struct str s)
{
    uint64_t a, b;
    uint32_t c, d;

    if (s.len > 16) {
        memcpy(to, s.ptr, s.len);
    } else if (s.len >= 8) {
        memcpy(&a, s.ptr, 8);
        memcpy(&b, s.ptr + s.len - 8, 8);
        memcpy(to, &a, 8);
        memcpy(to + s.len - 8, &b, 8);
    } else if (s.len >= 4) {
        memcpy(&c, s.ptr, 4);
        memcpy(&d, s.ptr + s.len - 4, 4);
        memcpy(to, &c, 4);
        memcpy(to + s.len - 4, &d, 4);
    } else {
        for (size_t i = 0; i < s.len; i++)
            to[i] = s.ptr[i];
    }
    return to + s.len;
}

/* Decimal text of a number in `text`, without printf: for the path of requests. */
#define STR_U64_LEN 20
struct str str_of_u64(uint64_t value, char text[STR_U64_LEN]);

/* 64-bit hash; seeded with a secret of the process where strangers choose the keys. */
uint64_t str_hash(struct str s, uint64_t seed);

/* Heap copy, NUL-terminated; free(3). */
char *str_dup_c(struct str s);

/* A growable byte buffer with a maximum that is stated when it is made.
 * Owner: whoever holds the struct. Once an append would pass the maximum, the buffer is marked
 * `is_overflown`, the append is dropped whole and every later one too. */
struct str_buf {
    char *ptr; /* NUL-terminated once anything was appended */
    size_t len, cap, len_max;
    bool is_overflown;
};

#define STR_BUF_INIT(max) ((struct str_buf){NULL, 0, 0, (max), false})

void str_buf_deinit(struct str_buf *b);
void str_buf_reset(struct str_buf *b); /* keeps the memory */
void str_buf_add(struct str_buf *b, struct str s);
void str_buf_add_c(struct str_buf *b, const char *s);
void str_buf_add_char(struct str_buf *b, char c);
/* A stranger's text that people will see: what would move a terminal's cursor, or begin another
 * line, is left out of it. Control bytes become '?', line ends and tabs spaces. */
void str_buf_add_shown(struct str_buf *b, struct str s);
void str_buf_add_u64(struct str_buf *b, uint64_t value);
void str_buf_printf(struct str_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Room for len more bytes at the end, or NULL when that passes the maximum; then str_buf_grow. */
char *str_buf_reserve(struct str_buf *b, size_t len);
void str_buf_grow(struct str_buf *b, size_t len);

static inline struct str str_buf_str(const struct str_buf *b)
{
    return (struct str){b->ptr, b->len};
}

/* The buffer's memory, NUL-terminated ("" when empty); the buffer is empty afterwards. free(3). */
char *str_buf_take(struct str_buf *b);
