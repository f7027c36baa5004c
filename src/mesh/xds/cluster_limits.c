/* Circuit breakers and outlier detection. */
#include "base/err.h"
#include "mesh/xds/codec_priv.h"

enum {
    CONNECTIONS_MAX = 1024,
    PENDING_MAX = 1024,
    REQUESTS_MAX = 1024,
    RETRIES_MAX = 3,
    BUDGET_PERCENT = 20,
    BUDGET_MIN = 3,
    CONSECUTIVE = 5,
    EJECTION_PERCENT = 10,
};
static const uint64_t interval_us = 10000000, base_ejection_us = 30000000,
                      max_ejection_us = 300000000;

/* --- circuit breakers --- */

static int decode_thresholds(struct decode *d, const struct pb_path *at,
                             const Pb__Cluster__CircuitBreakers__Thresholds *m,
                             struct circuit_breaker *breaker)
{
    breaker->connections_max = decode_u32(m->max_connections, CONNECTIONS_MAX);
    breaker->pending_max = decode_u32(m->max_pending_requests, PENDING_MAX);
    breaker->requests_max = decode_u32(m->max_requests, REQUESTS_MAX);
    breaker->retries_max = decode_u32(m->max_retries, RETRIES_MAX);
    if (m->retry_budget == NULL)
        return 0;
    breaker->retry_budget_min = decode_u32(m->retry_budget->min_retry_concurrency, BUDGET_MIN);
    if (decode_percent(d, PB_AT(at, "retry_budget.budget_percent"), m->retry_budget->budget_percent,
                       BUDGET_PERCENT, &breaker->retry_budget_percent) != 0)
        return -ERR_INVALID;
    if (breaker->retry_budget_percent == 0)
        return decode_fail(d, PB_AT(at, "retry_budget.budget_percent"), "must be above 0");
    return 0;
}

int decode_breaker(struct decode *d, const struct pb_path *at,
                   const Pb__Cluster__CircuitBreakers *m, struct circuit_breaker *ret_breaker)
{
    *ret_breaker =
        (struct circuit_breaker){CONNECTIONS_MAX, PENDING_MAX, REQUESTS_MAX, RETRIES_MAX};
    for (size_t i = 0; m != NULL && i < m->n_thresholds; i++) {
        /* No route of ours has HIGH priority, so its limits never meet anything. */
        if (m->thresholds[i]->priority != PB__CORE__ROUTING_PRIORITY__DEFAULT)
            continue;
        return decode_thresholds(d, PB_AT_I(at, "thresholds", i), m->thresholds[i], ret_breaker);
    }
    return 0;
}

Pb__Cluster__CircuitBreakers *encode_breaker(struct encode *e, const struct circuit_breaker *in)
{
    bool is_default = in->connections_max == CONNECTIONS_MAX && in->pending_max == PENDING_MAX &&
                      in->requests_max == REQUESTS_MAX && in->retries_max == RETRIES_MAX &&
                      in->retry_budget_percent == 0;
    if (is_default)
        return NULL;
    Pb__Cluster__CircuitBreakers__Thresholds *t = PB_NEW(
        e, Pb__Cluster__CircuitBreakers__Thresholds, pb__cluster__circuit_breakers__thresholds);
    t->max_connections = encode_u32(e, in->connections_max);
    t->max_pending_requests = encode_u32(e, in->pending_max);
    t->max_requests = encode_u32(e, in->requests_max);
    t->max_retries = encode_u32(e, in->retries_max);
    if (in->retry_budget_percent > 0) {
        t->retry_budget = PB_NEW(e, Pb__Cluster__CircuitBreakers__Thresholds__RetryBudget,
                                 pb__cluster__circuit_breakers__thresholds__retry_budget);
        t->retry_budget->budget_percent = encode_percent(e, in->retry_budget_percent);
        t->retry_budget->min_retry_concurrency = encode_u32(e, in->retry_budget_min);
    }
    Pb__Cluster__CircuitBreakers *m =
        PB_NEW(e, Pb__Cluster__CircuitBreakers, pb__cluster__circuit_breakers);
    m->n_thresholds = 1;
    m->thresholds = PB_PTRS(e, Pb__Cluster__CircuitBreakers__Thresholds, 1);
    m->thresholds[0] = t;
    return m;
}

/* --- outlier detection --- */

static int decode_outlier_percent(struct decode *d, const struct pb_path *at,
                                  const Pb__UInt32Value *m, uint32_t fallback, uint32_t *ret_value)
{
    uint32_t value = decode_u32(m, fallback);
    if (value > 100)
        return decode_fail(d, at, "a percentage must lie between 0 and 100");
    *ret_value = value;
    return 0;
}

static int decode_outlier_times(struct decode *d, const struct pb_path *at,
                                const Pb__Cluster__OutlierDetection *m, struct outlier_detection *o)
{
    if (decode_duration(d, PB_AT(at, "interval"), m->interval, interval_us, &o->interval_us) != 0 ||
        decode_duration(d, PB_AT(at, "base_ejection_time"), m->base_ejection_time, base_ejection_us,
                        &o->base_ejection_us) != 0 ||
        decode_duration(d, PB_AT(at, "max_ejection_time"), m->max_ejection_time,
                        MAX(max_ejection_us, o->base_ejection_us), &o->max_ejection_us) != 0)
        return -ERR_INVALID;
    if (o->interval_us == 0 || o->base_ejection_us == 0)
        return decode_fail(d, at, "interval and base_ejection_time must be longer than 0");
    if (o->max_ejection_us < o->base_ejection_us)
        o->max_ejection_us = o->base_ejection_us;
    return 0;
}

int decode_outlier(struct decode *d, const struct pb_path *at,
                   const Pb__Cluster__OutlierDetection *m, struct outlier_detection *ret_outlier)
{
    if (m == NULL)
        return 0;
    struct outlier_detection o = {
        .is_on = true,
        .consecutive_5xx = decode_u32(m->consecutive_5xx, CONSECUTIVE),
        .consecutive_gateway_failure = decode_u32(m->consecutive_gateway_failure, CONSECUTIVE),
    };
    if (decode_u32(m->enforcing_success_rate, 0) != 0)
        return decode_fail(d, PB_AT(at, "enforcing_success_rate"),
                           "ejection by success rate is not supported yet; only 0 is");
    if (decode_u32(m->enforcing_failure_percentage, 0) != 0)
        return decode_fail(d, PB_AT(at, "enforcing_failure_percentage"),
                           "ejection by failure percentage is not supported; only 0 is");
    if (decode_outlier_percent(d, PB_AT(at, "enforcing_consecutive_5xx"),
                               m->enforcing_consecutive_5xx, 100,
                               &o.enforcing_consecutive_5xx) != 0 ||
        decode_outlier_percent(d, PB_AT(at, "enforcing_consecutive_gateway_failure"),
                               m->enforcing_consecutive_gateway_failure, 0,
                               &o.enforcing_gateway_failure) != 0 ||
        decode_outlier_percent(d, PB_AT(at, "max_ejection_percent"), m->max_ejection_percent,
                               EJECTION_PERCENT, &o.max_ejection_percent) != 0 ||
        decode_outlier_times(d, at, m, &o) != 0)
        return -ERR_INVALID;
    *ret_outlier = o;
    return 0;
}

Pb__Cluster__OutlierDetection *encode_outlier(struct encode *e, const struct outlier_detection *in)
{
    Pb__Cluster__OutlierDetection *m =
        PB_NEW(e, Pb__Cluster__OutlierDetection, pb__cluster__outlier_detection);
    m->consecutive_5xx = encode_u32(e, in->consecutive_5xx);
    m->enforcing_consecutive_5xx = encode_u32(e, in->enforcing_consecutive_5xx);
    m->consecutive_gateway_failure = encode_u32(e, in->consecutive_gateway_failure);
    m->enforcing_consecutive_gateway_failure = encode_u32(e, in->enforcing_gateway_failure);
    m->interval = encode_duration(e, in->interval_us);
    m->base_ejection_time = encode_duration(e, in->base_ejection_us);
    m->max_ejection_time = encode_duration(e, in->max_ejection_us);
    m->max_ejection_percent = encode_u32(e, in->max_ejection_percent);
    m->enforcing_success_rate = encode_u32(e, 0);
    return m;
}
