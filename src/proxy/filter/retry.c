/* When another attempt is made: retry_on of Envoy (router filter, "config-http-filters-router"),
 * and our own replay of the keep-alive race. Pure. */
#include "http/grpc.h"
#include "proxy/filter/filter_priv.h"

const struct retry_policy *retry_policy_of(const struct request *r)
{
    if (r->route == NULL)
        return NULL;
    return r->route->retry != NULL ? r->route->retry : r->vhost->retry;
}

static bool is_retried_grpc(uint32_t on, int status)
{
    static const struct {
        int status;
        uint32_t on;
    } table[] = {
        {GRPC_CANCELLED, RETRY_GRPC_CANCELLED},
        {GRPC_DEADLINE_EXCEEDED, RETRY_GRPC_DEADLINE_EXCEEDED},
        {GRPC_INTERNAL, RETRY_GRPC_INTERNAL},
        {GRPC_RESOURCE_EXHAUSTED, RETRY_GRPC_RESOURCE_EXHAUSTED},
        {GRPC_UNAVAILABLE, RETRY_GRPC_UNAVAILABLE},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (table[i].status == status)
            return (on & table[i].on) != 0;
    }
    return false;
}

static bool is_retried_status(const struct retry_policy *p, unsigned status)
{
    if ((p->on & RETRY_5XX) != 0 && status >= 500)
        return true;
    if ((p->on & RETRY_GATEWAY_ERROR) != 0 && status >= 502 && status <= 504)
        return true;
    if ((p->on & RETRY_RETRIABLE_4XX) != 0 && status == 409)
        return true;
    for (size_t i = 0; (p->on & RETRY_RETRIABLE_STATUS_CODES) != 0 && i < p->status_code_count;
         i++) {
        if (p->status_codes[i] == status)
            return true;
    }
    return false;
}

enum retry_verdict retry_on_response(const struct retry_policy *p, const struct http_head *head)
{
    if (p == NULL)
        return RETRY_NO;
    /* Who asks for less gets no second request, unless that was asked for. */
    if (http_head_get_named(head, STR("x-envoy-ratelimited")).ptr != NULL)
        return (p->on & RETRY_ENVOY_RATELIMITED) != 0 ? RETRY_YES : RETRY_NO;
    if (is_retried_status(p, head->status))
        return RETRY_YES;
    return is_retried_grpc(p->on, grpc_status_of(head, NULL)) ? RETRY_YES : RETRY_NO;
}

bool request_is_idempotent(struct str method)
{
    static const struct str methods[] = {
        {"GET", 3}, {"HEAD", 4}, {"PUT", 3}, {"DELETE", 6}, {"OPTIONS", 7}, {"TRACE", 5},
    };
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        if (str_eq(methods[i], method))
            return true;
    }
    return false;
}

enum retry_verdict retry_on_failure(const struct retry_policy *p, const struct http_head *request,
                                    const struct outcome *why)
{
    bool is_connect = (why->flags & FLAG_BIT(UPSTREAM_CONNECT)) != 0;
    bool is_overflow = (why->flags & FLAG_BIT(UPSTREAM_OVERFLOW)) != 0;
    bool is_lost = (why->flags & FLAG_BIT(UPSTREAM_CLOSED)) != 0;
    /* The peer may have seen the request before it closed: only what may be done twice. */
    if (why->was_reused && why->is_unanswered && is_lost && request_is_idempotent(request->method))
        return RETRY_REPLAY;
    if (p == NULL || is_overflow)
        return RETRY_NO;
    enum retry_verdict again = why->is_retryable ? RETRY_UNSEEN : RETRY_YES;
    if ((p->on & (RETRY_5XX | RETRY_GATEWAY_ERROR | RETRY_RESET)) != 0)
        return again;
    if (is_connect && (p->on & RETRY_CONNECT_FAILURE) != 0)
        return again;
    if (why->err == -ERR_REFUSED && !is_connect && (p->on & RETRY_REFUSED_STREAM) != 0)
        return again;
    if (why->is_unanswered && why->is_retryable && why->err != -ERR_TIMEOUT &&
        (p->on & RETRY_RESET_BEFORE_REQUEST) != 0)
        return again;
    return RETRY_NO;
}

/* Envoy's: a random time below base x (2^n - 1), at most the maximum. */
uint64_t retry_backoff_us(const struct retry_policy *p, uint32_t retry, struct random *random)
{
    uint64_t base = p->backoff_base_us > 0 ? p->backoff_base_us : 25000;
    uint64_t most = p->backoff_max_us > 0 ? p->backoff_max_us : base * 10;
    uint64_t span = base * ((1ull << MIN(retry, 16u)) - 1);
    return random_u64(random) % (MIN(span, most) + 1);
}
