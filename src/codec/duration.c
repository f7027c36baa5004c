#include "codec/duration.h"

#include <stdio.h>

#include "base/err.h"

enum { NS_DIGITS = 9, NS_PER_S = 1000000000 };
#define PROTO_SECONDS_MAX 315576000000ull /* 10,000 years */

static const struct {
    const char *name;
    uint64_t ns;
} units[] = {
    {"h", 3600000000000}, {"m", 60000000000},  {"s", 1000000000},   {"ms", 1000000},
    {"us", 1000},         {"\xc2\xb5s", 1000}, {"\xce\xbcs", 1000}, {"ns", 1},
};

static struct str take_digits(struct str *s)
{
    size_t n = 0;

    while (n < s->len && s->ptr[n] >= '0' && s->ptr[n] <= '9')
        n++;
    struct str digits = str_sub(*s, 0, n);
    *s = str_skip(*s, n);
    return digits;
}

static uint64_t take_unit(struct str *s)
{
    size_t n = 0;

    while (n < s->len && s->ptr[n] != '.' && (s->ptr[n] < '0' || s->ptr[n] > '9'))
        n++;
    struct str name = str_sub(*s, 0, n);
    *s = str_skip(*s, n);
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (str_eq(name, str_from_c(units[i].name)))
            return units[i].ns;
    return 0;
}

/* The fraction as nanoseconds of one unit; digits behind the ninth are cut. */
static uint64_t fraction_ns(struct str digits, uint64_t unit_ns)
{
    uint64_t value = 0, scale = 1;

    for (size_t i = 0; i < digits.len && i < NS_DIGITS; i++) {
        value = value * 10 + (uint64_t)(digits.ptr[i] - '0');
        scale *= 10;
    }
    return (uint64_t)((unsigned __int128)value * unit_ns / scale);
}

static int take_term(struct str *s, uint64_t *total_ns)
{
    struct str whole = take_digits(s), fraction = STR_NULL;
    uint64_t count = 0, ns;

    if (s->len > 0 && s->ptr[0] == '.') {
        *s = str_skip(*s, 1);
        fraction = take_digits(s);
    }
    if (whole.len + fraction.len == 0)
        return -ERR_SYNTAX;
    uint64_t unit_ns = take_unit(s);
    if (unit_ns == 0)
        return -ERR_SYNTAX;
    if (whole.len > 0 && !str_to_u64(whole, INT64_MAX, &count))
        return -ERR_INVALID;
    if (__builtin_mul_overflow(count, unit_ns, &ns) ||
        __builtin_add_overflow(ns, fraction_ns(fraction, unit_ns), &ns) ||
        __builtin_add_overflow(*total_ns, ns, total_ns) || *total_ns > INT64_MAX)
        return -ERR_INVALID;
    return 0;
}

int duration_parse(struct str s, uint64_t *ret_us)
{
    uint64_t total_ns = 0;

    if (str_eq(s, STR("0"))) {
        *ret_us = 0;
        return 0;
    }
    if (s.len == 0)
        return -ERR_SYNTAX;
    while (s.len > 0) {
        int err = take_term(&s, &total_ns);

        if (err != 0)
            return err;
    }
    *ret_us = total_ns / 1000;
    return 0;
}

int duration_parse_proto(struct str s, struct duration_proto *ret_duration)
{
    bool is_negative = str_starts_with(s, STR("-"));
    s = str_skip(s, is_negative);
    struct str whole = take_digits(&s), fraction = STR_NULL;
    uint64_t seconds;

    if (s.len > 0 && s.ptr[0] == '.') {
        s = str_skip(s, 1);
        fraction = take_digits(&s);
        if (fraction.len == 0 || fraction.len > NS_DIGITS)
            return -ERR_SYNTAX;
    }
    if (whole.len == 0 || !str_eq(s, STR("s")))
        return -ERR_SYNTAX;
    if (!str_to_u64(whole, PROTO_SECONDS_MAX, &seconds))
        return -ERR_INVALID;
    int64_t sign = is_negative ? -1 : 1;
    *ret_duration = (struct duration_proto){
        sign * (int64_t)seconds, (int32_t)(sign * (int64_t)fraction_ns(fraction, NS_PER_S))};
    return 0;
}

/* Writes value/scale with as many decimals as it needs; scale is a power of ten. */
static size_t put_decimal(char *buf, size_t cap, uint64_t value, uint64_t scale, const char *unit)
{
    uint64_t fraction = value % scale;
    int digits = 0;

    for (uint64_t s = scale; s > 1; s /= 10)
        digits++;
    if (fraction == 0)
        return (size_t)snprintf(buf, cap, "%llu%s", (unsigned long long)(value / scale), unit);
    while (fraction % 10 == 0) {
        fraction /= 10;
        digits--;
    }
    return (size_t)snprintf(buf, cap, "%llu.%0*llu%s", (unsigned long long)(value / scale), digits,
                            (unsigned long long)fraction, unit);
}

struct str duration_format(uint64_t us, char buf[DURATION_TEXT_MAX])
{
    uint64_t minutes = us / 60000000, rest = us % 60000000;
    size_t n = 0;

    if (us == 0)
        return str_from(buf, (size_t)snprintf(buf, DURATION_TEXT_MAX, "0s"));
    if (us < 1000)
        return str_from(buf, put_decimal(buf, DURATION_TEXT_MAX, us, 1, "us"));
    if (us < 1000000)
        return str_from(buf, put_decimal(buf, DURATION_TEXT_MAX, us, 1000, "ms"));
    if (minutes >= 60)
        n += (size_t)snprintf(buf, DURATION_TEXT_MAX, "%lluh", (unsigned long long)(minutes / 60));
    if (minutes % 60 > 0)
        n += (size_t)snprintf(buf + n, DURATION_TEXT_MAX - n, "%dm", (int)(minutes % 60));
    if (rest > 0)
        n += put_decimal(buf + n, DURATION_TEXT_MAX - n, rest, 1000000, "s");
    return str_from(buf, n);
}

struct str duration_format_proto(struct duration_proto in, char buf[DURATION_TEXT_MAX])
{
    const char *sign = in.seconds < 0 || in.nanos < 0 ? "-" : "";
    unsigned nanos = in.nanos < 0 ? 0 - (unsigned)in.nanos : (unsigned)in.nanos;
    unsigned long long seconds =
        in.seconds < 0 ? 0 - (unsigned long long)in.seconds : (unsigned long long)in.seconds;
    int n;

    /* protobuf's printers use 0, 3, 6 or 9 decimals. */
    if (nanos == 0)
        n = snprintf(buf, DURATION_TEXT_MAX, "%s%llus", sign, seconds);
    else if (nanos % 1000000 == 0)
        n = snprintf(buf, DURATION_TEXT_MAX, "%s%llu.%03us", sign, seconds, nanos / 1000000);
    else if (nanos % 1000 == 0)
        n = snprintf(buf, DURATION_TEXT_MAX, "%s%llu.%06us", sign, seconds, nanos / 1000);
    else
        n = snprintf(buf, DURATION_TEXT_MAX, "%s%llu.%09us", sign, seconds, nanos);
    return str_from(buf, (size_t)n);
}
