/* Times of access logs in a format of the user's: strftime's conversions and Envoy's own for the
 * fraction of a second and the seconds of the epoch. What strftime does is cut at compile time into
 * texts for it and fractions between them. */
#include <stdio.h>
#include <time.h>

#include "base/err.h"
#include "proxy/telemetry/access_log_priv.h"

/* %f, %1f .. %9f, %s and %Ez stand between the parts for strftime. */
enum time_part_kind { TIME_STRFTIME, TIME_FRACTION, TIME_EPOCH, TIME_OFFSET };
struct time_part {
    enum time_part_kind kind;
    const char *text; /* for strftime */
    unsigned digits;  /* of the fraction */
};

enum { TIME_PARTS_MAX = 32, FRACTION_DIGITS = 9 };
struct access_log_time {
    struct time_part parts[TIME_PARTS_MAX];
    size_t count;
    bool is_local;
};

/* No %n: a line has one end. */
static const char conversions[] = "aAbBcCdDeFgGhHIjklmMpPrRStTuUVwWxXyYzZ%";

struct compile {
    struct arena *arena;
    struct access_log_time *to;
    char *text; /* for strftime, as much of it as was read */
    size_t len;
    bool is_full;
};

static void push(struct compile *c, struct time_part part)
{
    c->is_full = c->is_full || c->to->count == TIME_PARTS_MAX;
    if (!c->is_full)
        c->to->parts[c->to->count++] = part;
}

static void push_text(struct compile *c)
{
    struct str text = arena_str(c->arena, str_from(c->text, c->len));
    if (text.len > 0)
        push(c, (struct time_part){.kind = TIME_STRFTIME, .text = text.ptr});
    c->len = 0;
}

/* What stands behind a '%'; its length, 0: none of ours. */
static size_t take_conversion(struct compile *c, struct str s)
{
    bool has_digits = s.len > 1 && s.ptr[0] >= '1' && s.ptr[0] <= '9' && s.ptr[1] == 'f';
    if (has_digits || str_starts_with(s, STR("f"))) {
        push_text(c);
        push(c, (struct time_part){.kind = TIME_FRACTION,
                                   .digits = has_digits ? (unsigned)(s.ptr[0] - '0')
                                                        : (unsigned)FRACTION_DIGITS});
        return has_digits ? 2 : 1;
    }
    if (str_starts_with(s, STR("s"))) {
        push_text(c);
        push(c, (struct time_part){.kind = TIME_EPOCH});
        return 1;
    }
    if (str_starts_with(s, STR("Ez"))) {
        push_text(c);
        push(c, (struct time_part){.kind = TIME_OFFSET});
        return 2;
    }
    if (s.len == 0 || strchr(conversions, s.ptr[0]) == NULL || s.ptr[0] == '\0')
        return 0;
    c->text[c->len++] = '%';
    c->text[c->len++] = s.ptr[0];
    return 1;
}

static int compile_parts(struct compile *c, struct str format, struct str_buf *why)
{
    while (format.len > 0) {
        if (format.ptr[0] != '%') {
            c->text[c->len++] = format.ptr[0];
            format = str_skip(format, 1);
            continue;
        }
        size_t taken = take_conversion(c, str_skip(format, 1));
        if (taken == 0) {
            str_buf_printf(why,
                           "'%.*s' is no conversion of a time (strftime's but %%n, %%E and %%O, "
                           "%%s, %%f, %%1f to %%9f, %%Ez)",
                           STR_FMT(str_sub(format, 0, 3)));
            return -ERR_UNSUPPORTED;
        }
        format = str_skip(format, taken + 1);
    }
    push_text(c);
    if (!c->is_full)
        return 0;
    str_buf_printf(why, "more than %d parts in the format of a time", TIME_PARTS_MAX);
    return -ERR_LIMIT;
}

/* A Wednesday in September has the longest names. */
static bool is_short_enough(const struct access_log_time *t)
{
    char buf[ACCESS_LOG_TEXT_MAX];
    const uint64_t longest_us = 1789544030123456;
    return access_log_time_format(t, longest_us, buf).len > 0;
}

int access_log_time_new(struct arena *a, struct str format, bool is_local, struct str_buf *why,
                        const struct access_log_time **ret_time)
{
    struct access_log_time *t = ARENA_NEW(a, struct access_log_time);
    struct compile c = {.arena = a, .to = t, .text = arena_bytes(a, 2 * format.len + 1)};
    for (size_t i = 0; i < format.len; i++) {
        if ((unsigned char)format.ptr[i] < 0x20) {
            str_buf_add_c(why, "a control byte in the format of a time");
            return -ERR_INVALID;
        }
    }
    t->is_local = is_local;
    int err = compile_parts(&c, format, why);
    if (err != 0)
        return err;
    if (!is_short_enough(t)) {
        str_buf_printf(why, "the format of a time gives more than %d bytes", ACCESS_LOG_TEXT_MAX);
        return -ERR_LIMIT;
    }
    *ret_time = t;
    return 0;
}

/* The first digits of the nine of a second; what we know ends with the microsecond. */
static size_t put_fraction(uint64_t wall_us, unsigned digits, char *to, size_t room)
{
    char text[FRACTION_DIGITS + 1];
    snprintf(text, sizeof text, "%06u000", (unsigned)(wall_us % 1000000));
    if (room <= digits)
        return 0;
    memcpy(to, text, digits);
    return digits;
}

static size_t put_offset(const struct tm *tm, char *to, size_t room)
{
    long minutes = tm->tm_gmtoff / 60;
    int n = snprintf(to, room, "%c%02ld:%02ld", minutes < 0 ? '-' : '+', labs(minutes) / 60,
                     labs(minutes) % 60);
    return n > 0 && (size_t)n < room ? (size_t)n : 0;
}

/* Bytes put; 0: no room. */
static size_t put_part(const struct time_part *p, const struct tm *tm, uint64_t wall_us, char *to,
                       size_t room)
{
    switch (p->kind) {
    case TIME_STRFTIME:
/* The format is the user's, checked by compile_parts. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        return strftime(to, room, p->text, tm);
#pragma GCC diagnostic pop
    case TIME_FRACTION:
        return put_fraction(wall_us, p->digits, to, room);
    case TIME_EPOCH:
        if (room <= STR_U64_LEN)
            return 0;
        return str_put(to, str_of_u64(wall_us / 1000000, (char[STR_U64_LEN]){0})) - to;
    case TIME_OFFSET:
        return put_offset(tm, to, room);
    }
    return 0;
}

struct str access_log_time_format(const struct access_log_time *t, uint64_t wall_us,
                                  char buf[ACCESS_LOG_TEXT_MAX])
{
    time_t seconds = (time_t)(wall_us / 1000000);
    struct tm tm;
    size_t len = 0;
    if ((t->is_local ? localtime_r(&seconds, &tm) : gmtime_r(&seconds, &tm)) == NULL)
        return STR_NULL;
    if (!t->is_local)
        tm.tm_zone = "UTC"; /* not "GMT" */
    for (size_t i = 0; i < t->count; i++) {
        size_t put = put_part(&t->parts[i], &tm, wall_us, buf + len, ACCESS_LOG_TEXT_MAX - len);
        if (put == 0)
            return STR_NULL;
        len += put;
    }
    return str_from(buf, len);
}
