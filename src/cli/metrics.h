/* What the live table needs of a sidecar's metrics: Istio's standard ones, in Prometheus' text
 * format, seen from the server. Thread: any. */
#pragma once

#include "base/str.h"

enum { METRICS_BUCKETS_MAX = 40 };

struct metrics_sample {
    uint64_t requests, failures; /* failures: 5xx and no answer (0) */
    struct metrics_bucket {
        double le_ms; /* INFINITY for the last */
        uint64_t count;
    } buckets[METRICS_BUCKETS_MAX]; /* cumulative, by le */
    size_t bucket_count;
};

/* Adds what a text holds to the sample. Lines that are not understood are passed over. */
void metrics_add(struct metrics_sample *to, struct str text);
/* to + from; since - before, per field (a counter that started anew counts from 0). */
void metrics_merge(struct metrics_sample *to, const struct metrics_sample *from);
struct metrics_sample metrics_since(const struct metrics_sample *now,
                                    const struct metrics_sample *before);
/* The time below which the part q (0..1) of the requests lies, by linear interpolation within its
 * bucket; negative when there were none. */
double metrics_quantile_ms(const struct metrics_sample *s, double q);
