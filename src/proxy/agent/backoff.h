/* When to try again, and when to renew: pure functions of numbers and a source of chance. */
#pragma once

#include "base/random.h"

struct backoff_range {
    uint64_t first_us, last_us;
};

/* Doubles with each failure (0: the first), from first to last, with a jitter of 50 %. */
uint64_t backoff_us(const struct backoff_range *range, unsigned failures, struct random *r);
/* How long from now until a leaf is to be renewed: the half of its life, give or take a tenth;
 * 0: at once. All in microseconds of the same clock. */
uint64_t renewal_delay_us(uint64_t not_before_us, uint64_t not_after_us, uint64_t now_us,
                          struct random *r);
/* How long to wait after the n-th failed renewal: short against what is left of the leaf. */
uint64_t renewal_retry_us(uint64_t not_after_us, uint64_t now_us, unsigned failures,
                          struct random *r);
