#include "proxy/agent/backoff.h"

#include "base/util.h"

static uint64_t below(struct random *r, uint64_t bound)
{
    return bound == 0 ? 0 : random_u64(r) % bound;
}

uint64_t backoff_us(const struct backoff_range *range, unsigned failures, struct random *r)
{
    uint64_t delay = range->first_us;
    for (unsigned i = 0; i < failures && delay < range->last_us; i++)
        delay *= 2;
    delay = MIN(delay, range->last_us);
    return delay - delay / 2 + below(r, delay / 2 + 1);
}

uint64_t renewal_delay_us(uint64_t not_before_us, uint64_t not_after_us, uint64_t now_us,
                          struct random *r)
{
    if (not_after_us <= now_us || not_after_us <= not_before_us)
        return 0;
    uint64_t life = not_after_us - not_before_us;
    uint64_t at = not_before_us + life / 2 - life / 10 + below(r, life / 5 + 1);
    return at > now_us ? at - now_us : 0;
}

uint64_t renewal_retry_us(uint64_t not_after_us, uint64_t now_us, unsigned failures,
                          struct random *r)
{
    static const uint64_t first = 100 * 1000, last = 30ull * 1000 * 1000;
    uint64_t left = not_after_us > now_us ? not_after_us - now_us : 0;
    uint64_t most = MIN(MAX(left / 8, first), last);
    const struct backoff_range range = {first, left > 0 ? most : 5ull * 1000 * 1000};
    return backoff_us(&range, failures, r);
}
