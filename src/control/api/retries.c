/* struct api_retries, as VirtualService has them and, by our leniency, DestinationRule. */
#include "control/api/nearest_priv.h"
#include "control/api/reader_priv.h"
#include "control/api/virtual_service.h"

enum { ATTEMPTS_MAX = 100, STATUS_CODES_MAX = 64 };

static const struct {
    const char *name;
    enum api_retry_on bit;
} tokens[] = {
    {"5xx", API_RETRY_5XX},
    {"gateway-error", API_RETRY_GATEWAY_ERROR},
    {"reset", API_RETRY_RESET},
    {"reset-before-request", API_RETRY_RESET_BEFORE_REQUEST},
    {"connect-failure", API_RETRY_CONNECT_FAILURE},
    {"retriable-4xx", API_RETRY_RETRIABLE_4XX},
    {"refused-stream", API_RETRY_REFUSED_STREAM},
    {"retriable-status-codes", API_RETRY_RETRIABLE_STATUS_CODES},
    {"cancelled", API_RETRY_CANCELLED},
    {"deadline-exceeded", API_RETRY_DEADLINE_EXCEEDED},
    {"internal", API_RETRY_INTERNAL},
    {"resource-exhausted", API_RETRY_RESOURCE_EXHAUSTED},
    {"unavailable", API_RETRY_UNAVAILABLE},
};

static const char *const tokens_not_yet[] = {"envoy-ratelimited", "retriable-headers",
                                             "http3-post-connect-failure"};

const char *api_retry_on_name(enum api_retry_on bit)
{
    for (size_t i = 0; i < ARRAY_LEN(tokens); i++)
        if (tokens[i].bit == bit)
            return tokens[i].name;
    return NULL;
}

static void error_token(const struct in *in, struct str token)
{
    struct str path = in_path(in);
    for (size_t i = 0; i < ARRAY_LEN(tokens_not_yet); i++) {
        if (str_eq(token, str_from_c(tokens_not_yet[i]))) {
            in_error(in, NULL, "\"%.*s: %s\" is not supported yet", STR_FMT(path),
                     tokens_not_yet[i]);
            return;
        }
    }
    char hint[96];
    const char *nearest = NULL;
    for (size_t i = 0; i < ARRAY_LEN(tokens) && nearest == NULL; i++)
        if (nearest_distance(token, str_from_c(tokens[i].name), 2) <= 2)
            nearest = tokens[i].name;
    if (nearest != NULL)
        snprintf(hint, sizeof hint, "did you mean %s?", nearest);
    in_error(in, nearest != NULL ? hint : "write for example 5xx,connect-failure or 503",
             "\"%.*s\" has no condition \"%.*s\"", STR_FMT(path), STR_CLIP(token));
}

static bool token_bit(struct str token, uint32_t *ret_bit)
{
    for (size_t i = 0; i < ARRAY_LEN(tokens); i++) {
        if (str_eq(token, str_from_c(tokens[i].name))) {
            *ret_bit = tokens[i].bit;
            return true;
        }
    }
    return false;
}

static void read_retry_on(const struct in *in, void *out)
{
    struct api_retries *retries = out;
    struct str text;
    uint16_t codes[STATUS_CODES_MAX];
    size_t code_count = 0;
    /* A single status code is a number to YAML. */
    if (!in_text_of_any(in, &text) || text.len == 0)
        return;
    retries->retry_on = 0;
    for (struct str rest = text; rest.ptr != NULL;) {
        struct str token = str_trim(str_split(&rest, ','));
        uint64_t code;
        uint32_t bit;
        if (token_bit(token, &bit)) {
            retries->retry_on |= bit;
        } else if (str_to_u64(token, 599, &code) && code >= 100 && code_count < STATUS_CODES_MAX) {
            codes[code_count++] = (uint16_t)code;
            retries->retry_on |= API_RETRY_RETRIABLE_STATUS_CODES;
        } else {
            error_token(in, token);
        }
    }
    uint16_t *kept = ARENA_ARRAY(in->reader->arena, uint16_t, code_count);
    memcpy(kept, codes, code_count * sizeof codes[0]);
    retries->status_codes = (struct api_ports){kept, code_count};
}

static void read_attempts(const struct in *in, void *out)
{
    uint64_t value;
    if (in_number(in, 0, ATTEMPTS_MAX, &value))
        *(uint32_t *)out = (uint32_t)value;
}

void read_retries(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD_MUST("attempts", read_attempts, struct api_retries, attempts),
        FIELD("perTryTimeout", read_opt_ms, struct api_retries, per_try_timeout_ms),
        FIELD_WHOLE("retryOn", read_retry_on),
        FIELD_WHOLE("retryIgnorePreviousHosts", read_true_only), /* another host on each try */
        FIELD_NOT_YET("retryRemoteLocalities"),
        FIELD_NOT_YET("backoff"),
    };
    struct api_retries *retries = ARENA_NEW(in->reader->arena, struct api_retries);
    retries->place = in->place;
    retries->retry_on = API_RETRY_ON_DEFAULT;
    if (IN_OBJECT(in, fields, retries))
        *(const struct api_retries **)out = retries;
}
