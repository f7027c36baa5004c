#include "base/random.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/random.h>

#include "base/util.h"

/* splitmix64: spreads a seed of any quality over the whole state. */
static uint64_t spread(uint64_t *x)
{
    uint64_t z = *x += 0x9e3779b97f4a7c15;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

void random_init(struct random *r, uint64_t seed)
{
    for (size_t i = 0; i < ARRAY_LEN(r->s); i++)
        r->s[i] = spread(&seed);
}

void random_init_system(struct random *r)
{
    uint64_t seed;

    random_secret(&seed, sizeof(seed));
    random_init(r, seed);
}

static uint64_t rotl(uint64_t x, unsigned n)
{
    return x << n | x >> (64 - n);
}

uint64_t random_u64(struct random *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint32_t random_below(struct random *r, uint32_t bound)
{
    ASSERT(bound > 0);
    /* The upper half of a product is uniform once the few low products are thrown away. */
    uint32_t reject_below = -bound % bound;
    for (;;) {
        uint64_t product = (random_u64(r) >> 32) * bound;

        if ((uint32_t)product >= reject_below)
            return (uint32_t)(product >> 32);
    }
}

void random_secret(void *buf, unsigned long len)
{
    char *p = buf;

    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);

        /* Without randomness there are no secrets: going on would be worse than ending. */
        if (n < 0 && errno != EINTR)
            util_assert_failed("getrandom", __FILE__, __LINE__);
        if (n > 0) {
            p += n;
            len -= (unsigned long)n;
        }
    }
}

uint64_t random_process_seed(void)
{
    static _Atomic uint64_t seed;
    uint64_t have = atomic_load_explicit(&seed, memory_order_relaxed);
    uint64_t drawn;

    if (have != 0)
        return have;
    random_secret(&drawn, sizeof(drawn));
    drawn |= 1;
    return atomic_compare_exchange_strong(&seed, &have, drawn) ? drawn : have;
}
