#include "cli/metrics.h"

#include <math.h>
#include <stdlib.h>

/* The value of a label in `a="x",b="y"`; values with escaped quotes are of no interest here. */
static bool label(struct str labels, struct str key, struct str *ret_value)
{
    while (labels.len > 0) {
        ptrdiff_t eq = str_find(labels, '=');
        if (eq < 0 || (size_t)eq + 1 >= labels.len || labels.ptr[eq + 1] != '"')
            return false;
        struct str name = str_sub(labels, 0, (size_t)eq);
        struct str rest = str_skip(labels, (size_t)eq + 2);
        size_t end = 0;
        while (end < rest.len && rest.ptr[end] != '"')
            end += rest.ptr[end] == '\\' ? 2 : 1;
        if (end >= rest.len)
            return false;
        if (str_eq(str_trim(name), key)) {
            *ret_value = str_sub(rest, 0, end);
            return true;
        }
        labels = str_skip(rest, end + 1);
        if (labels.len > 0 && labels.ptr[0] == ',')
            labels = str_skip(labels, 1);
    }
    return false;
}

static bool parse_number(struct str s, double *ret_value)
{
    char buf[64], *end;
    if (s.len == 0 || s.len >= sizeof buf)
        return false;
    memcpy(buf, s.ptr, s.len);
    buf[s.len] = '\0';
    *ret_value = strtod(buf, &end);
    return *end == '\0';
}

static void add_bucket(struct metrics_sample *to, double le_ms, uint64_t count)
{
    size_t i = 0;
    while (i < to->bucket_count && to->buckets[i].le_ms < le_ms)
        i++;
    if (i < to->bucket_count && !(to->buckets[i].le_ms > le_ms)) {
        to->buckets[i].count += count;
        return;
    }
    if (to->bucket_count == METRICS_BUCKETS_MAX)
        return;
    memmove(&to->buckets[i + 1], &to->buckets[i], (to->bucket_count - i) * sizeof to->buckets[0]);
    to->buckets[i] = (struct metrics_bucket){le_ms, count};
    to->bucket_count++;
}

static void add_series(struct metrics_sample *to, struct str name, struct str labels, double value)
{
    struct str reporter, text;
    double le_ms;
    if (!label(labels, STR("reporter"), &reporter) || !str_eq(reporter, STR("destination")) ||
        !(value >= 0))
        return;
    uint64_t count = (uint64_t)value;
    if (str_eq(name, STR("istio_requests_total"))) {
        to->requests += count;
        if (label(labels, STR("response_code"), &text) && text.len > 0 &&
            (text.ptr[0] == '5' || text.ptr[0] == '0'))
            to->failures += count;
    } else if (str_eq(name, STR("istio_request_duration_milliseconds_bucket"))) {
        if (label(labels, STR("le"), &text) &&
            (str_eq(text, STR("+Inf")) ? (le_ms = INFINITY, true) : parse_number(text, &le_ms)))
            add_bucket(to, le_ms, count);
    }
}

void metrics_add(struct metrics_sample *to, struct str text)
{
    while (text.ptr != NULL) {
        struct str line = str_split(&text, '\n');
        ptrdiff_t open = str_find(line, '{'), close = str_rfind(line, '}');
        double value;
        if (!str_starts_with(line, STR("istio_request")) || open < 0 || close < open)
            continue;
        struct str labels = str_sub(line, (size_t)open + 1, (size_t)(close - open - 1));
        if (parse_number(str_trim(str_skip(line, (size_t)close + 1)), &value))
            add_series(to, str_sub(line, 0, (size_t)open), labels, value);
    }
}

void metrics_merge(struct metrics_sample *to, const struct metrics_sample *from)
{
    to->requests += from->requests;
    to->failures += from->failures;
    for (size_t i = 0; i < from->bucket_count; i++)
        add_bucket(to, from->buckets[i].le_ms, from->buckets[i].count);
}

static uint64_t bucket_at(const struct metrics_sample *s, double le_ms)
{
    for (size_t i = 0; i < s->bucket_count; i++)
        if (s->buckets[i].le_ms >= le_ms && !(s->buckets[i].le_ms > le_ms))
            return s->buckets[i].count;
    return 0;
}

static uint64_t difference(uint64_t now, uint64_t before)
{
    return now >= before ? now - before : now;
}

struct metrics_sample metrics_since(const struct metrics_sample *now,
                                    const struct metrics_sample *before)
{
    struct metrics_sample d = *now;
    d.requests = difference(now->requests, before->requests);
    d.failures = difference(now->failures, before->failures);
    for (size_t i = 0; i < d.bucket_count; i++)
        d.buckets[i].count =
            difference(now->buckets[i].count, bucket_at(before, now->buckets[i].le_ms));
    return d;
}

double metrics_quantile_ms(const struct metrics_sample *s, double q)
{
    if (s->bucket_count == 0 || s->buckets[s->bucket_count - 1].count == 0)
        return -1;
    double wanted = q * (double)s->buckets[s->bucket_count - 1].count;
    double lower = 0, below = 0;
    for (size_t i = 0; i < s->bucket_count; i++) {
        double count = (double)s->buckets[i].count;
        if (count >= wanted && count > below) {
            if (isinf(s->buckets[i].le_ms))
                return lower;
            return lower + (s->buckets[i].le_ms - lower) * (wanted - below) / (count - below);
        }
        lower = isinf(s->buckets[i].le_ms) ? lower : s->buckets[i].le_ms;
        below = count;
    }
    return lower;
}
