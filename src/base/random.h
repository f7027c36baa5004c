/* Pseudo-random numbers (xoshiro256**) for load balancing, jitter and sampling; not for secrets.
 * A seed makes a run repeatable. Owner: whoever embeds it. Thread: one. */
#pragma once

#include <stdint.h>

struct random {
    uint64_t s[4];
};

void random_init(struct random *r, uint64_t seed);
void random_init_system(struct random *r); /* seeded by getrandom(2) */
uint64_t random_u64(struct random *r);
/* Uniform in [0, bound); bound > 0. */
uint32_t random_below(struct random *r, uint32_t bound);

/* Bytes fit for secrets, from getrandom(2). */
void random_secret(void *buf, unsigned long len);

/* A number that is drawn once per process: seeds hashes whose keys strangers choose. Thread: any.
 */
uint64_t random_process_seed(void);
