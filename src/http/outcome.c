/* Outcomes: one table says what each failure means to the one who is told of it. */
#include "http/http_priv.h"

static const char *const flag_names[] = {
#define FLAG(id, short_text, long_text) short_text,
#include "http/flags.def"
#undef FLAG
};
static const char *const flag_long_names[] = {
#define FLAG(id, short_text, long_text) long_text,
#include "http/flags.def"
#undef FLAG
};

static struct str flags_text(uint64_t flags, const char *const names[FLAG_COUNT], char buf[128])
{
    size_t len = 0;

    for (unsigned i = 0; i < FLAG_COUNT && flags >> i != 0; i++) {
        struct str name = str_from_c((flags >> i & 1) != 0 ? names[i] : NULL);

        if (name.len == 0)
            continue;
        if (len + 1 + name.len > 128)
            break; /* the longest texts do not all fit: the rest is left out whole */
        if (len > 0)
            buf[len++] = ',';
        memcpy(buf + len, name.ptr, name.len);
        len += name.len;
    }
    return len == 0 ? STR("-") : str_from(buf, len);
}

struct str response_flags_text(uint64_t flags, char buf[128])
{
    return flags_text(flags, flag_names, buf);
}

struct str response_flags_long(uint64_t flags, char buf[128])
{
    return flags_text(flags, flag_long_names, buf);
}

struct meaning {
    enum err err;
    enum fault fault;
    uint16_t status; /* 0: there is nobody to tell */
    uint64_t flags;
    const char *details;
};

static const struct meaning meanings[] = {
    {ERR_CONNECT, FAULT_UPSTREAM, 503, FLAG_BIT(UPSTREAM_CONNECT), "upstream_connection_failure"},
    {ERR_REFUSED, FAULT_UPSTREAM, 503, FLAG_BIT(UPSTREAM_CONNECT), "upstream_connection_failure"},
    {ERR_UNREACHABLE, FAULT_UPSTREAM, 503, FLAG_BIT(UPSTREAM_CONNECT),
     "upstream_connection_failure"},
    {ERR_TLS, FAULT_UPSTREAM, 503, FLAG_BIT(UPSTREAM_CONNECT), "upstream_tls_failure"},
    {ERR_CERTIFICATE, FAULT_UPSTREAM, 503, FLAG_BIT(UPSTREAM_CONNECT), "upstream_tls_failure"},
    {ERR_TIMEOUT, FAULT_UPSTREAM, 504, FLAG_BIT(UPSTREAM_TIMEOUT), "upstream_response_timeout"},
    {ERR_RESET, FAULT_UPSTREAM, 503, FLAG_BIT(UPSTREAM_RESET), "upstream_reset"},
    {ERR_CLOSED, FAULT_UPSTREAM, 503, FLAG_BIT(UPSTREAM_CLOSED), "upstream_connection_terminated"},
    {ERR_TRUNCATED, FAULT_UPSTREAM, 503, FLAG_BIT(UPSTREAM_CLOSED),
     "upstream_connection_terminated"},
    {ERR_PROTOCOL, FAULT_UPSTREAM, 502, FLAG_BIT(UPSTREAM_PROTOCOL), "upstream_protocol_error"},
    {ERR_TOO_LARGE, FAULT_UPSTREAM, 502, FLAG_BIT(UPSTREAM_PROTOCOL), "upstream_head_too_large"},
    {ERR_LIMIT, FAULT_UPSTREAM, 503, FLAG_BIT(UPSTREAM_OVERFLOW), "upstream_overflow"},
    {ERR_UNAVAILABLE, FAULT_UPSTREAM, 503, FLAG_BIT(NO_HEALTHY_UPSTREAM), "no_healthy_upstream"},
    {ERR_CLOSED, FAULT_DOWNSTREAM, 0, FLAG_BIT(DOWNSTREAM_CLOSED), "downstream_closed"},
    {ERR_CANCELED, FAULT_DOWNSTREAM, 0, FLAG_BIT(DOWNSTREAM_CLOSED), "downstream_closed"},
    {ERR_TRUNCATED, FAULT_DOWNSTREAM, 0, FLAG_BIT(DOWNSTREAM_CLOSED), "downstream_closed"},
    {ERR_RESET, FAULT_DOWNSTREAM, 0, FLAG_BIT(DOWNSTREAM_REMOTE_RESET), "downstream_reset"},
    {ERR_PROTOCOL, FAULT_DOWNSTREAM, 400, FLAG_BIT(DOWNSTREAM_PROTOCOL),
     "downstream_protocol_error"},
    {ERR_TOO_LARGE, FAULT_DOWNSTREAM, 413, FLAG_BIT(DOWNSTREAM_PROTOCOL), "request_too_large"},
    {ERR_TIMEOUT, FAULT_DOWNSTREAM, 408, FLAG_BIT(STREAM_IDLE), "request_timeout"},
    {ERR_TIMEOUT, FAULT_LOCAL, 504, FLAG_BIT(UPSTREAM_TIMEOUT), "request_timeout"},
    {ERR_NOT_FOUND, FAULT_LOCAL, 404, FLAG_BIT(NO_ROUTE), "route_not_found"},
    {ERR_LIMIT, FAULT_LOCAL, 503, FLAG_BIT(OVERLOAD), "overload"},
    {ERR_UNAVAILABLE, FAULT_LOCAL, 503, FLAG_BIT(LOCAL_RESET), "unavailable"},
    {ERR_DENIED, FAULT_POLICY, 403, 0, "rbac_access_denied"},
    {ERR_UNAUTHENTICATED, FAULT_POLICY, 401, 0, "unauthenticated"},
    {ERR_LIMIT, FAULT_POLICY, 429, FLAG_BIT(RATE_LIMITED), "request_rate_limited"},
};

static const struct meaning *find(enum err err, enum fault fault)
{
    static const struct meaning upstream = {
        .status = 503, .flags = FLAG_BIT(UPSTREAM_RESET), .details = "upstream_failure"};
    static const struct meaning downstream = {.flags = FLAG_BIT(DOWNSTREAM_CLOSED),
                                              .details = "downstream_failure"};
    static const struct meaning local = {
        .status = 500, .flags = FLAG_BIT(LOCAL_RESET), .details = "local_failure"};

    for (size_t i = 0; i < ARRAY_LEN(meanings); i++) {
        if (meanings[i].err == err && meanings[i].fault == fault)
            return &meanings[i];
    }
    return fault == FAULT_UPSTREAM ? &upstream : fault == FAULT_DOWNSTREAM ? &downstream : &local;
}

void outcome_describe(struct outcome *o)
{
    if (o->err == 0)
        o->err = -ERR_INTERNAL; /* a filter that failed without saying why */
    if (o->fault == FAULT_NONE)
        o->fault = FAULT_LOCAL;
    const struct meaning *m = find((enum err) - o->err, o->fault);
    if (o->status == 0)
        o->status = m->status != 0 ? m->status : 503;
    if (o->flags == 0)
        o->flags = m->flags;
    if (str_is_empty(o->details))
        o->details = str_from_c(m->details);
}

struct outcome http_outcome_upstream(int err, bool is_connected, bool was_reused,
                                     bool is_unanswered)
{
    struct outcome o = {.err = err == 0 ? -ERR_CLOSED : err,
                        .fault = FAULT_UPSTREAM,
                        .was_reused = was_reused,
                        .is_unanswered = is_unanswered};

    if (!is_connected) {
        /* Nothing was sent. A connect that takes too long is a failed connect, no 504. */
        o.is_retryable = true;
        o.status = 503;
        o.flags = FLAG_BIT(UPSTREAM_CONNECT);
        if (o.err == -ERR_TIMEOUT)
            o.details = STR("upstream_connect_timeout");
    } else if (o.err == -ERR_RESET) {
        /* That of the connection; a stream's own reset says UR by itself. */
        o.flags = FLAG_BIT(UPSTREAM_CLOSED);
        o.details = STR("upstream_connection_terminated");
    }
    outcome_describe(&o);
    return o;
}

struct outcome http_outcome_downstream(int err)
{
    struct outcome o = {.err = err == 0 || err == -ERR_RESET ? -ERR_CLOSED : err,
                        .fault = FAULT_DOWNSTREAM};

    outcome_describe(&o);
    return o;
}
