/* The operators of access logs: each gives its value as a view, of the record or of the caller's
 * buffer; nothing is allocated and nothing goes through printf. */
#include "codec/duration.h"
#include "proxy/telemetry/access_log_priv.h"

_Static_assert((int)ACCESS_LOG_TEXT_MAX >= ADDR_TEXT_LEN, "an address fits");
_Static_assert((int)ACCESS_LOG_TEXT_MAX >= (int)TIME_TEXT_MAX, "a time fits");

/* --- fields --- */

static struct str lower(struct arena *a, struct str s)
{
    char *out = arena_bytes(a, s.len + 1);
    for (size_t i = 0; i < s.len; i++)
        out[i] = (char)(s.ptr[i] >= 'A' && s.ptr[i] <= 'Z' ? s.ptr[i] + 32 : s.ptr[i]);
    return str_from(out, s.len);
}

static struct access_log_field field_named(struct str name)
{
    static const struct {
        struct str name;
        enum access_log_field_kind kind;
    } pseudos[] = {
        {{":method", 7}, ACCESS_LOG_METHOD},
        {{":path", 5}, ACCESS_LOG_PATH},
        {{":authority", 10}, ACCESS_LOG_AUTHORITY},
        {{":scheme", 7}, ACCESS_LOG_SCHEME},
    };
    for (size_t i = 0; i < ARRAY_LEN(pseudos); i++) {
        if (str_eq(name, pseudos[i].name))
            return (struct access_log_field){.kind = pseudos[i].kind};
    }
    return (struct access_log_field){ACCESS_LOG_FIELD, http_name_find(name), name};
}

/* "NAME" or "NAME?OTHER". */
struct access_log_arg access_log_arg_of(struct arena *a, struct str text)
{
    struct str rest = lower(a, text);
    struct access_log_arg arg = {.first = field_named(str_split(&rest, '?'))};
    if (rest.ptr != NULL)
        arg.other = field_named(rest);
    return arg;
}

static struct str value_of(const struct http_head *head, const struct access_log_field *f)
{
    switch (f->kind) {
    case ACCESS_LOG_NO_FIELD:
        return STR_NULL;
    case ACCESS_LOG_METHOD:
        return head->method;
    case ACCESS_LOG_PATH:
        return head->path;
    case ACCESS_LOG_AUTHORITY:
        return head->authority;
    case ACCESS_LOG_SCHEME:
        return head->scheme;
    case ACCESS_LOG_FIELD:
        return f->id != HTTP_NAME_OTHER ? http_head_get(head, f->id)
                                        : http_head_get_named(head, f->name);
    }
    return STR_NULL;
}

static struct str first_or_other(const struct http_head *head, const struct access_log_arg *arg)
{
    if (head == NULL)
        return STR_NULL;
    struct str value = value_of(head, &arg->first);
    return value.len > 0 ? value : value_of(head, &arg->other);
}

/* --- operators --- */

/* Most are an expression of r (the record), arg and buf. */
#define OPERATOR(name, expression)                                                                 \
    static struct str op_##name(const struct record *r, const struct access_log_arg *arg,          \
                                char buf[ACCESS_LOG_TEXT_MAX])                                     \
    {                                                                                              \
        (void)arg, (void)buf;                                                                      \
        return expression;                                                                         \
    }

static const struct http_head *request_head(const struct record *r)
{
    return r->x != NULL ? r->x->flows[SIDE_REQUEST].head : NULL;
}

static const struct http_head *response_head(const struct record *r)
{
    return r->x != NULL ? r->x->flows[SIDE_RESPONSE].head : NULL;
}

static const struct http_head *trailers(const struct record *r)
{
    return r->x != NULL ? r->x->flows[SIDE_RESPONSE].trailers : NULL;
}

static struct str protocol(const struct http_head *head)
{
    if (head == NULL)
        return STR_NULL;
    return head->version == HTTP_2    ? STR("HTTP/2")
           : head->version == HTTP_10 ? STR("HTTP/1.0")
                                      : STR("HTTP/1.1");
}

static struct str addr_text(const struct addr *a, bool has_port, char buf[ACCESS_LOG_TEXT_MAX])
{
    if (a == NULL || a->family == ADDR_NONE)
        return STR_NULL;
    return has_port ? addr_format(a, buf) : addr_format_ip(a, buf);
}

static struct str port_text(const struct addr *a, char buf[ACCESS_LOG_TEXT_MAX])
{
    if (a == NULL || (a->family != ADDR_IP4 && a->family != ADDR_IP6))
        return STR_NULL;
    return str_of_u64(a->port, buf);
}

static const struct addr *downstream_local(const struct downstream_info *info)
{
    return info->original_dst.family != ADDR_NONE ? &info->original_dst : &info->local;
}

static const struct addr *client_of(const struct record *r)
{
    return r->client != NULL ? r->client : &r->info->remote;
}

/* From the first byte of the request until then. */
static struct str since_start(const struct record *r, uint64_t at_us, char buf[ACCESS_LOG_TEXT_MAX])
{
    if (r->x == NULL || at_us == 0)
        return STR_NULL;
    return str_of_u64((at_us - r->x->started_us) / 1000, buf);
}

static uint64_t request_end_us(const struct record *r)
{
    return r->x != NULL ? r->x->request_end_us : 0;
}

static uint64_t response_begin_us(const struct record *r)
{
    return r->x != NULL && !r->x->is_response_local ? r->x->response_head_us : 0;
}

/* An address whole, without its port, and its port alone. */
#define ADDR_OPERATORS(name, expression)                                                           \
    OPERATOR(name, addr_text(expression, true, buf))                                               \
    OPERATOR(name##_ip, addr_text(expression, false, buf))                                         \
    OPERATOR(name##_port, port_text(expression, buf))

OPERATOR(start_time, time_format((int64_t)(r->start_wall_us / 1000), true, buf))
OPERATOR(req, first_or_other(request_head(r), arg))
OPERATOR(resp, first_or_other(response_head(r), arg))
OPERATOR(trailer, first_or_other(trailers(r), arg))
OPERATOR(protocol, protocol(request_head(r)))
OPERATOR(response_code, str_of_u64(r->status, buf))
OPERATOR(flags, response_flags_text(r->flags, buf))
OPERATOR(details, r->details)
OPERATOR(connection_details, r->connection_details)
OPERATOR(upstream_failure, r->upstream_failure)
OPERATOR(bytes_received, str_of_u64(r->bytes_received, buf))
OPERATOR(bytes_sent, str_of_u64(r->bytes_sent, buf))
OPERATOR(duration, str_of_u64(r->duration_us / 1000, buf))
OPERATOR(upstream_cluster, r->upstream_cluster)
ADDR_OPERATORS(downstream_local, downstream_local(r->info))
ADDR_OPERATORS(downstream_remote, client_of(r))
ADDR_OPERATORS(downstream_direct, &r->info->direct_remote)
ADDR_OPERATORS(upstream_host, r->upstream_host)
ADDR_OPERATORS(upstream_local, r->upstream_local)
OPERATOR(connection_id, str_of_u64(r->info->connection_id, buf))
OPERATOR(request_duration, since_start(r, request_end_us(r), buf))
OPERATOR(response_duration, since_start(r, response_begin_us(r), buf))
OPERATOR(attempts, str_of_u64(r->attempts, buf))
OPERATOR(peer_dns, r->info->peer_dns_san)
OPERATOR(peer_sha256, r->info->peer_cert_sha256)
OPERATOR(own_uri, r->info->own_principal)
OPERATOR(peer_uri, r->info->peer_principal)
OPERATOR(peer_subject, r->info->peer_subject)
OPERATOR(tls_version, r->info->tls_version)
OPERATOR(sni, r->info->sni)
OPERATOR(route_name, r->route_name)
OPERATOR(grpc_status, r->grpc_status < 0 ? STR_NULL : str_of_u64((uint64_t)r->grpc_status, buf))
OPERATOR(origin, r->origin)

static const struct access_log_operator operators[] = {
    {"START_TIME", op_start_time, false, false},
    {"REQ", op_req, true, false},
    {"RESP", op_resp, true, false},
    {"TRAILER", op_trailer, true, false},
    {"PROTOCOL", op_protocol, false, false},
    {"RESPONSE_CODE", op_response_code, false, true},
    {"RESPONSE_FLAGS", op_flags, false, false},
    {"RESPONSE_CODE_DETAILS", op_details, false, false},
    {"CONNECTION_TERMINATION_DETAILS", op_connection_details, false, false},
    {"UPSTREAM_TRANSPORT_FAILURE_REASON", op_upstream_failure, false, false},
    {"BYTES_RECEIVED", op_bytes_received, false, true},
    {"BYTES_SENT", op_bytes_sent, false, true},
    {"DURATION", op_duration, false, true},
    {"UPSTREAM_HOST", op_upstream_host, false, false},
    {"UPSTREAM_CLUSTER", op_upstream_cluster, false, false},
    {"UPSTREAM_CLUSTER_RAW", op_upstream_cluster, false, false},
    {"UPSTREAM_LOCAL_ADDRESS", op_upstream_local, false, false},
    {"UPSTREAM_REQUEST_ATTEMPT_COUNT", op_attempts, false, true},
    {"DOWNSTREAM_LOCAL_ADDRESS", op_downstream_local, false, false},
    {"DOWNSTREAM_REMOTE_ADDRESS", op_downstream_remote, false, false},
    {"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", op_downstream_remote_ip, false, false},
    {"DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", op_downstream_local_ip, false, false},
    {"DOWNSTREAM_LOCAL_PORT", op_downstream_local_port, false, true},
    {"DOWNSTREAM_REMOTE_PORT", op_downstream_remote_port, false, true},
    {"DOWNSTREAM_DIRECT_REMOTE_ADDRESS", op_downstream_direct, false, false},
    {"DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", op_downstream_direct_ip, false, false},
    {"DOWNSTREAM_DIRECT_REMOTE_PORT", op_downstream_direct_port, false, true},
    {"UPSTREAM_REMOTE_ADDRESS", op_upstream_host, false, false},
    {"UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", op_upstream_host_ip, false, false},
    {"UPSTREAM_REMOTE_PORT", op_upstream_host_port, false, true},
    {"UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", op_upstream_local_ip, false, false},
    {"UPSTREAM_LOCAL_PORT", op_upstream_local_port, false, true},
    {"CONNECTION_ID", op_connection_id, false, true},
    {"REQUEST_DURATION", op_request_duration, false, true},
    {"RESPONSE_DURATION", op_response_duration, false, true},
    {"DOWNSTREAM_PEER_DNS_SAN", op_peer_dns, false, false},
    {"DOWNSTREAM_PEER_FINGERPRINT_256", op_peer_sha256, false, false},
    {"DOWNSTREAM_LOCAL_URI_SAN", op_own_uri, false, false},
    {"DOWNSTREAM_PEER_URI_SAN", op_peer_uri, false, false},
    {"DOWNSTREAM_PEER_SUBJECT", op_peer_subject, false, false},
    {"DOWNSTREAM_TLS_VERSION", op_tls_version, false, false},
    {"REQUESTED_SERVER_NAME", op_sni, false, false},
    {"ROUTE_NAME", op_route_name, false, false},
    {"GRPC_STATUS_NUMBER", op_grpc_status, false, true},
    {"TULLE_ORIGIN", op_origin, false, false},
};

const struct access_log_operator *access_log_operator_find(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(operators); i++) {
        if (str_eq(name, str_from_c(operators[i].name)))
            return &operators[i];
    }
    return NULL;
}
