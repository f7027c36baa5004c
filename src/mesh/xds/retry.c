#include "base/err.h"
#include "mesh/xds/codec_priv.h"

static const struct {
    const char *name;
    enum retry_on bit;
} conditions[] = {
    {"5xx", RETRY_5XX},
    {"gateway-error", RETRY_GATEWAY_ERROR},
    {"reset", RETRY_RESET},
    {"connect-failure", RETRY_CONNECT_FAILURE},
    {"refused-stream", RETRY_REFUSED_STREAM},
    {"retriable-4xx", RETRY_RETRIABLE_4XX},
    {"retriable-status-codes", RETRY_RETRIABLE_STATUS_CODES},
    {"reset-before-request", RETRY_RESET_BEFORE_REQUEST},
    {"envoy-ratelimited", RETRY_ENVOY_RATELIMITED},
    {"cancelled", RETRY_GRPC_CANCELLED},
    {"deadline-exceeded", RETRY_GRPC_DEADLINE_EXCEEDED},
    {"internal", RETRY_GRPC_INTERNAL},
    {"resource-exhausted", RETRY_GRPC_RESOURCE_EXHAUSTED},
    {"unavailable", RETRY_GRPC_UNAVAILABLE},
};

enum { BACKOFF_BASE_US = 25000, BACKOFF_MAX_FACTOR = 10 };

/* --- decoding --- */

static int decode_conditions(struct decode *d, const struct pb_path *at, const char *text,
                             struct retry_policy *retry)
{
    struct str rest = str_from_c(text);
    while (rest.len > 0) {
        struct str name = str_trim(str_split(&rest, ','));
        bool is_found = name.len == 0;
        for (size_t i = 0; i < ARRAY_LEN(conditions) && !is_found; i++) {
            is_found = str_eq(name, str_from_c(conditions[i].name));
            if (is_found)
                retry->on |= conditions[i].bit;
        }
        if (!is_found)
            return decode_fail(d, PB_AT(at, "retry_on"), "\"%.*s\" is not supported",
                               STR_FMT(name));
    }
    return 0;
}

static int decode_predicates(struct decode *d, const struct pb_path *at,
                             const Pb__Route__RetryPolicy *m, struct retry_policy *retry)
{
    for (size_t i = 0; i < m->n_retry_host_predicate; i++) {
        const struct pb_path *here = PB_AT_I(at, "retry_host_predicate", i);
        if (decode_any_as(d, PB_AT(here, "typed_config"), m->retry_host_predicate[i]->typed_config,
                          &pb__previous_hosts__previous_hosts_predicate__descriptor) == NULL)
            return -ERR_INVALID;
        retry->avoid_previous_hosts = true;
    }
    if (m->host_selection_retry_max_attempts < 0 ||
        m->host_selection_retry_max_attempts > UINT32_MAX)
        return decode_fail(d, PB_AT(at, "host_selection_retry_max_attempts"), "out of range");
    retry->host_selection_attempts_max = (uint32_t)m->host_selection_retry_max_attempts;
    return 0;
}

static int decode_backoff(struct decode *d, const struct pb_path *parent,
                          const Pb__Route__RetryPolicy *m, struct retry_policy *retry)
{
    const struct pb_path *at = PB_AT(parent, "retry_back_off");
    const Pb__Duration *base = m->retry_back_off != NULL ? m->retry_back_off->base_interval : NULL;
    const Pb__Duration *max = m->retry_back_off != NULL ? m->retry_back_off->max_interval : NULL;
    if (m->retry_back_off != NULL && base == NULL)
        return decode_fail(d, PB_AT(at, "base_interval"), "an interval is needed");
    if (decode_duration(d, PB_AT(at, "base_interval"), base, BACKOFF_BASE_US,
                        &retry->backoff_base_us) != 0)
        return -ERR_INVALID;
    if (retry->backoff_base_us < 1000) /* as Envoy, which counts milliseconds */
        retry->backoff_base_us = 1000;
    if (decode_duration(d, PB_AT(at, "max_interval"), max,
                        retry->backoff_base_us * BACKOFF_MAX_FACTOR, &retry->backoff_max_us) != 0)
        return -ERR_INVALID;
    if (retry->backoff_max_us < retry->backoff_base_us)
        return decode_fail(d, PB_AT(at, "max_interval"), "shorter than base_interval");
    return 0;
}

static int decode_status_codes(struct decode *d, const struct pb_path *at,
                               const Pb__Route__RetryPolicy *m, struct retry_policy *retry)
{
    uint32_t *codes = ARENA_ARRAY(d->arena, uint32_t, m->n_retriable_status_codes);
    for (size_t i = 0; i < m->n_retriable_status_codes; i++) {
        codes[i] = m->retriable_status_codes[i];
        if (codes[i] < 100 || codes[i] > 599)
            return decode_fail(d, PB_AT_I(at, "retriable_status_codes", i), "%u is not a status",
                               codes[i]);
    }
    retry->status_codes = m->n_retriable_status_codes > 0 ? codes : NULL;
    retry->status_code_count = m->n_retriable_status_codes;
    return 0;
}

int decode_retry(struct decode *d, const struct pb_path *at, const Pb__Route__RetryPolicy *m,
                 const struct retry_policy **ret_retry)
{
    if (m == NULL)
        return 0;
    struct retry_policy *retry = ARENA_NEW(d->arena, struct retry_policy);
    retry->retries_max = decode_u32(m->num_retries, 1);
    if (decode_conditions(d, at, m->retry_on, retry) != 0 ||
        decode_duration(d, PB_AT(at, "per_try_timeout"), m->per_try_timeout, 0,
                        &retry->per_try_timeout_us) != 0 ||
        decode_predicates(d, at, m, retry) != 0 || decode_backoff(d, at, m, retry) != 0 ||
        decode_status_codes(d, at, m, retry) != 0)
        return -ERR_INVALID;
    *ret_retry = retry;
    return 0;
}

/* --- encoding --- */

static const char *encode_conditions(struct encode *e, uint32_t on)
{
    enum { TEXT_LEN_MAX = 512 };
    AUTO(str_buf_deinit) struct str_buf text = STR_BUF_INIT(TEXT_LEN_MAX);
    for (size_t i = 0; i < ARRAY_LEN(conditions); i++) {
        if ((on & conditions[i].bit) == 0)
            continue;
        if (text.len > 0)
            str_buf_add_char(&text, ',');
        str_buf_add_c(&text, conditions[i].name);
    }
    return encode_str(e, str_buf_str(&text));
}

static void encode_predicates(struct encode *e, const struct retry_policy *in,
                              Pb__Route__RetryPolicy *m)
{
    m->has_host_selection_retry_max_attempts = in->host_selection_attempts_max > 0;
    m->host_selection_retry_max_attempts = in->host_selection_attempts_max;
    if (!in->avoid_previous_hosts)
        return;
    Pb__PreviousHosts__PreviousHostsPredicate *config = PB_NEW(
        e, Pb__PreviousHosts__PreviousHostsPredicate, pb__previous_hosts__previous_hosts_predicate);
    Pb__Route__RetryPolicy__RetryHostPredicate *predicate =
        PB_NEW(e, Pb__Route__RetryPolicy__RetryHostPredicate,
               pb__route__retry_policy__retry_host_predicate);
    predicate->name = "envoy.retry_host_predicates.previous_hosts";
    predicate->typed_config = encode_any(e, &config->base);
    m->n_retry_host_predicate = 1;
    m->retry_host_predicate = PB_PTRS(e, Pb__Route__RetryPolicy__RetryHostPredicate, 1);
    m->retry_host_predicate[0] = predicate;
}

Pb__Route__RetryPolicy *encode_retry(struct encode *e, const struct retry_policy *in)
{
    if (in == NULL)
        return NULL;
    Pb__Route__RetryPolicy *m = PB_NEW(e, Pb__Route__RetryPolicy, pb__route__retry_policy);
    m->retry_on = encode_conditions(e, in->on);
    m->num_retries = encode_u32(e, in->retries_max);
    m->per_try_timeout =
        in->per_try_timeout_us > 0 ? encode_duration(e, in->per_try_timeout_us) : NULL;
    encode_predicates(e, in, m);
    m->n_retriable_status_codes = in->status_code_count;
    m->retriable_status_codes = ARENA_ARRAY(e->arena, uint32_t, in->status_code_count);
    for (size_t i = 0; i < in->status_code_count; i++)
        m->retriable_status_codes[i] = in->status_codes[i];
    if (in->backoff_base_us == 0 || (in->backoff_base_us == BACKOFF_BASE_US &&
                                     in->backoff_max_us == BACKOFF_BASE_US * BACKOFF_MAX_FACTOR))
        return m;
    m->retry_back_off =
        PB_NEW(e, Pb__Route__RetryPolicy__RetryBackOff, pb__route__retry_policy__retry_back_off);
    m->retry_back_off->base_interval = encode_duration(e, in->backoff_base_us);
    m->retry_back_off->max_interval =
        in->backoff_max_us > 0 ? encode_duration(e, in->backoff_max_us) : NULL;
    return m;
}
