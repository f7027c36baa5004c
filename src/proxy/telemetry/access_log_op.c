/* The operators of access logs: each gives its value as a view, of the record or of the caller's
 * buffer; nothing is allocated and nothing goes through printf. */
#include "codec/duration.h"
#include "proxy/telemetry/access_log_priv.h"

_Static_assert((int)ACCESS_LOG_TEXT_MAX >= ADDR_TEXT_LEN, "an address fits");
_Static_assert((int)ACCESS_LOG_TEXT_MAX >= (int)TIME_TEXT_MAX, "a time fits");

/* --- fields --- */

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

/* A field may be there and empty. */
static struct str first_or_other(const struct http_head *head, const struct access_log_arg *arg)
{
    if (head == NULL)
        return STR_NULL;
    struct str value = value_of(head, &arg->first);
    return value.ptr != NULL ? value : value_of(head, &arg->other);
}

/* --- the target --- */

static struct str target_of(const struct http_head *head, const struct access_log_arg *arg)
{
    if (head == NULL)
        return STR_NULL;
    struct str original = http_head_get(head, HTTP_NAME_X_ENVOY_ORIGINAL_PATH);
    struct str path =
        arg->path == ACCESS_LOG_PATH_ALONE || original.ptr == NULL ? head->path : original;
    if (arg->path == ACCESS_LOG_ORIGINAL_ALONE)
        path = original;
    ptrdiff_t query = str_find(path, '?');
    return arg->is_without_query && query >= 0 ? str_sub(path, 0, (size_t)query) : path;
}

static struct str query_of(const struct http_head *head)
{
    ptrdiff_t at = head != NULL ? str_find(head->path, '?') : -1;
    return at >= 0 ? str_skip(head->path, (size_t)at + 1) : STR_NULL;
}

static unsigned hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? (unsigned)(c - '0')
           : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
           : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10)
                                  : 16;
}

/* Escapes that are none stay; with escapes, what does not fit is cut. */
static struct str unescape(struct str s, char buf[ACCESS_LOG_TEXT_MAX])
{
    size_t len = 0;
    if (str_find(s, '%') < 0)
        return s;
    for (size_t i = 0; i < s.len && len < ACCESS_LOG_TEXT_MAX; i++) {
        unsigned high = s.len - i > 2 ? hex_digit(s.ptr[i + 1]) : 16;
        unsigned low = s.len - i > 2 ? hex_digit(s.ptr[i + 2]) : 16;
        bool is_escape = s.ptr[i] == '%' && high < 16 && low < 16;
        buf[len++] = is_escape ? (char)(high << 4 | low) : s.ptr[i];
        i += is_escape ? 2 : 0;
    }
    return str_from(buf, len);
}

/* The first of that name. */
static struct str query_param(const struct http_head *head, struct str name,
                              char buf[ACCESS_LOG_TEXT_MAX])
{
    struct str rest = query_of(head);
    while (rest.ptr != NULL) {
        struct str value = str_split(&rest, '&'), key = str_split(&value, '=');
        if (str_eq(key, name))
            return value.ptr != NULL ? unescape(value, buf) : STR("");
    }
    return STR_NULL;
}

/* --- operators --- */

/* Most are an expression of r (the record), arg and buf. */
#define OPERATOR(name, expression)                                                                 \
    static struct str op_##name(const struct record *r, const struct access_log_arg *arg,          \
                                char buf[ACCESS_LOG_TEXT_MAX])                                     \
    {                                                                                              \
        (void)r, (void)arg, (void)buf;                                                             \
        return expression;                                                                         \
    }
/* Those whose empty text says that there is none. */
#define TEXT_OPERATOR(name, expression) OPERATOR(name, some(expression))

static struct str some(struct str s)
{
    return s.len > 0 ? s : STR_NULL;
}

static const struct http_head *request_head(const struct record *r)
{
    return r->x != NULL ? r->x->flows[SIDE_REQUEST].head : NULL;
}

static const struct http_head *response_head(const struct record *r)
{
    return r->x != NULL ? r->x->flows[SIDE_RESPONSE].head : NULL;
}

/* NULL: none came. */
static const struct http_head *upstream_head(const struct record *r)
{
    return r->x != NULL && !r->x->is_response_local ? response_head(r) : NULL;
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

static struct str time_text(const struct access_log_arg *arg, uint64_t wall_us,
                            char buf[ACCESS_LOG_TEXT_MAX])
{
    if (arg->time != NULL)
        return access_log_time_format(arg->time, wall_us, buf);
    return time_format((int64_t)(wall_us / 1000), true, buf);
}

/* 0: it has not come. */
static uint64_t point_us(const struct record *r, enum access_log_point point)
{
    switch (point) {
    case ACCESS_LOG_REQUEST_BEGIN:
        return r->x != NULL ? r->x->started_us : 0;
    case ACCESS_LOG_REQUEST_END:
        return request_end_us(r);
    case ACCESS_LOG_RESPONSE_BEGIN:
        return response_begin_us(r);
    case ACCESS_LOG_RESPONSE_END:
        return r->x != NULL ? r->x->ended_us : 0;
    }
    return 0;
}

static struct str between(const struct record *r, const struct access_log_arg *arg,
                          char buf[ACCESS_LOG_TEXT_MAX])
{
    uint64_t begin = point_us(r, arg->begin), end = point_us(r, arg->end);
    if (begin == 0 || end < begin)
        return STR_NULL;
    return str_of_u64((end - begin) * arg->unit_us_num / arg->unit_us_den, buf);
}

static struct str response_tx(const struct record *r, char buf[ACCESS_LOG_TEXT_MAX])
{
    static const struct access_log_arg whole = {.begin = ACCESS_LOG_RESPONSE_BEGIN,
                                                .end = ACCESS_LOG_RESPONSE_END,
                                                .unit_us_num = 1,
                                                .unit_us_den = 1000};
    return between(r, &whole, buf);
}

/* The names of the status codes of gRPC, as its libraries and its specification write them. */
static struct str grpc_text(const struct record *r, enum access_log_grpc form,
                            char buf[ACCESS_LOG_TEXT_MAX])
{
    static const struct {
        struct str camel, snake;
    } names[] = {
#define STATUS(camel, snake)                                                                       \
    {                                                                                              \
        {camel, sizeof camel - 1},                                                                 \
        {                                                                                          \
            snake, sizeof snake - 1                                                                \
        }                                                                                          \
    }
        STATUS("OK", "OK"),
        STATUS("Canceled", "CANCELLED"),
        STATUS("Unknown", "UNKNOWN"),
        STATUS("InvalidArgument", "INVALID_ARGUMENT"),
        STATUS("DeadlineExceeded", "DEADLINE_EXCEEDED"),
        STATUS("NotFound", "NOT_FOUND"),
        STATUS("AlreadyExists", "ALREADY_EXISTS"),
        STATUS("PermissionDenied", "PERMISSION_DENIED"),
        STATUS("ResourceExhausted", "RESOURCE_EXHAUSTED"),
        STATUS("FailedPrecondition", "FAILED_PRECONDITION"),
        STATUS("Aborted", "ABORTED"),
        STATUS("OutOfRange", "OUT_OF_RANGE"),
        STATUS("Unimplemented", "UNIMPLEMENTED"),
        STATUS("Internal", "INTERNAL"),
        STATUS("Unavailable", "UNAVAILABLE"),
        STATUS("DataLoss", "DATA_LOSS"),
        STATUS("Unauthenticated", "UNAUTHENTICATED"),
#undef STATUS
    };
    if (r->grpc_status < 0)
        return STR_NULL;
    if (form == ACCESS_LOG_GRPC_NUMBER || (size_t)r->grpc_status >= ARRAY_LEN(names))
        return str_of_u64((uint64_t)r->grpc_status, buf);
    return form == ACCESS_LOG_GRPC_SNAKE ? names[r->grpc_status].snake
                                         : names[r->grpc_status].camel;
}

/* An address whole, without its port, and its port alone. */
#define ADDR_OPERATORS(name, expression)                                                           \
    OPERATOR(name, addr_text(expression, true, buf))                                               \
    OPERATOR(name##_ip, addr_text(expression, false, buf))                                         \
    OPERATOR(name##_port, port_text(expression, buf))

OPERATOR(start_time, time_text(arg, r->start_wall_us, buf))
OPERATOR(emit_time, time_text(arg, r->start_wall_us + r->duration_us, buf))
OPERATOR(req, first_or_other(request_head(r), arg))
OPERATOR(resp, first_or_other(response_head(r), arg))
OPERATOR(trailer, first_or_other(trailers(r), arg))
OPERATOR(protocol, protocol(request_head(r)))
OPERATOR(response_code, str_of_u64(r->status, buf))
OPERATOR(flags, response_flags_text(r->flags, buf))
OPERATOR(flags_long, response_flags_long(r->flags, buf))
OPERATOR(upstream_protocol, protocol(upstream_head(r)))
TEXT_OPERATOR(details, r->details)
TEXT_OPERATOR(connection_details, r->connection_details)
TEXT_OPERATOR(upstream_failure, r->upstream_failure)
OPERATOR(bytes_received, str_of_u64(r->bytes_received, buf))
OPERATOR(bytes_sent, str_of_u64(r->bytes_sent, buf))
OPERATOR(duration, str_of_u64(r->duration_us / 1000, buf))
TEXT_OPERATOR(upstream_cluster, r->upstream_cluster)
ADDR_OPERATORS(downstream_local, downstream_local(r->info))
ADDR_OPERATORS(downstream_remote, client_of(r))
ADDR_OPERATORS(downstream_direct, &r->info->direct_remote)
ADDR_OPERATORS(direct_local, &r->info->local)
ADDR_OPERATORS(upstream_host, r->upstream_host)
ADDR_OPERATORS(upstream_local, r->upstream_local)
OPERATOR(connection_id, str_of_u64(r->info->connection_id, buf))
OPERATOR(request_duration, since_start(r, request_end_us(r), buf))
OPERATOR(response_duration, since_start(r, response_begin_us(r), buf))
OPERATOR(attempts, str_of_u64(r->attempts, buf))
TEXT_OPERATOR(peer_dns, downstream_tls(r->info)->peer_dns_san)
TEXT_OPERATOR(peer_sha256, downstream_tls(r->info)->peer_cert_sha256)
TEXT_OPERATOR(own_uri, downstream_tls(r->info)->own_principal)
TEXT_OPERATOR(peer_uri, downstream_tls(r->info)->peer_principal)
TEXT_OPERATOR(peer_subject, downstream_tls(r->info)->peer_subject)
TEXT_OPERATOR(tls_version, downstream_tls(r->info)->version)
TEXT_OPERATOR(sni, downstream_tls(r->info)->sni)
TEXT_OPERATOR(route_name, r->route_name)
OPERATOR(grpc_number, grpc_text(r, ACCESS_LOG_GRPC_NUMBER, buf))
OPERATOR(grpc_status, grpc_text(r, arg->grpc, buf))
OPERATOR(path, target_of(request_head(r), arg))
OPERATOR(query_param, query_param(request_head(r), arg->text, buf))
OPERATOR(query_params, query_of(request_head(r)))
OPERATOR(common_duration, between(r, arg, buf))
OPERATOR(response_tx, response_tx(r, buf))
OPERATOR(constant, arg->text)
OPERATOR(none, STR_NULL)
OPERATOR(log_type, r->x != NULL ? STR("DownstreamEnd") : STR("TcpConnectionEnd"))
OPERATOR(local_reply_body, r->local_reply_body.ptr != NULL ? r->local_reply_body : STR(""))
TEXT_OPERATOR(origin, r->origin)

static const struct access_log_operator operators[] = {
    {"START_TIME", op_start_time, access_log_arg_time, 0},
    {"START_TIME_LOCAL", op_start_time, access_log_arg_local_time, 0},
    {"EMIT_TIME", op_emit_time, access_log_arg_time, 0},
    {"EMIT_TIME_LOCAL", op_emit_time, access_log_arg_local_time, 0},
    {"REQ", op_req, access_log_arg_fields, ACCESS_LOG_CUT},
    {"REQUEST_HEADER", op_req, access_log_arg_fields, ACCESS_LOG_CUT},
    {"RESP", op_resp, access_log_arg_fields, ACCESS_LOG_CUT},
    {"RESPONSE_HEADER", op_resp, access_log_arg_fields, ACCESS_LOG_CUT},
    {"TRAILER", op_trailer, access_log_arg_fields, ACCESS_LOG_CUT},
    {"RESPONSE_TRAILER", op_trailer, access_log_arg_fields, ACCESS_LOG_CUT},
    {"PROTOCOL", op_protocol, NULL, 0},
    {"RESPONSE_CODE", op_response_code, NULL, ACCESS_LOG_NUMBER},
    {"RESPONSE_FLAGS", op_flags, NULL, 0},
    {"RESPONSE_FLAGS_LONG", op_flags_long, NULL, 0},
    {"UPSTREAM_PROTOCOL", op_upstream_protocol, NULL, 0},
    {"RESPONSE_CODE_DETAILS", op_details, NULL, 0},
    {"CONNECTION_TERMINATION_DETAILS", op_connection_details, NULL, 0},
    {"UPSTREAM_TRANSPORT_FAILURE_REASON", op_upstream_failure, NULL, 0},
    {"BYTES_RECEIVED", op_bytes_received, NULL, ACCESS_LOG_NUMBER},
    {"BYTES_SENT", op_bytes_sent, NULL, ACCESS_LOG_NUMBER},
    {"DURATION", op_duration, NULL, ACCESS_LOG_NUMBER},
    {"UPSTREAM_HOST", op_upstream_host, NULL, 0},
    {"UPSTREAM_CLUSTER", op_upstream_cluster, NULL, 0},
    {"UPSTREAM_CLUSTER_RAW", op_upstream_cluster, NULL, 0},
    {"UPSTREAM_LOCAL_ADDRESS", op_upstream_local, NULL, 0},
    {"UPSTREAM_REQUEST_ATTEMPT_COUNT", op_attempts, NULL, ACCESS_LOG_NUMBER},
    {"DOWNSTREAM_LOCAL_ADDRESS", op_downstream_local, NULL, 0},
    {"DOWNSTREAM_REMOTE_ADDRESS", op_downstream_remote, NULL, 0},
    {"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", op_downstream_remote_ip, NULL, 0},
    {"DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", op_downstream_local_ip, NULL, 0},
    {"DOWNSTREAM_LOCAL_PORT", op_downstream_local_port, NULL, ACCESS_LOG_NUMBER},
    {"DOWNSTREAM_REMOTE_PORT", op_downstream_remote_port, NULL, ACCESS_LOG_NUMBER},
    {"DOWNSTREAM_DIRECT_REMOTE_ADDRESS", op_downstream_direct, NULL, 0},
    {"DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", op_downstream_direct_ip, NULL, 0},
    {"DOWNSTREAM_DIRECT_REMOTE_PORT", op_downstream_direct_port, NULL, ACCESS_LOG_NUMBER},
    {"UPSTREAM_REMOTE_ADDRESS", op_upstream_host, NULL, 0},
    {"UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", op_upstream_host_ip, NULL, 0},
    {"UPSTREAM_REMOTE_PORT", op_upstream_host_port, NULL, ACCESS_LOG_NUMBER},
    {"UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", op_upstream_local_ip, NULL, 0},
    {"UPSTREAM_LOCAL_PORT", op_upstream_local_port, NULL, ACCESS_LOG_NUMBER},
    {"CONNECTION_ID", op_connection_id, NULL, ACCESS_LOG_NUMBER},
    {"REQUEST_DURATION", op_request_duration, NULL, ACCESS_LOG_NUMBER},
    {"RESPONSE_DURATION", op_response_duration, NULL, ACCESS_LOG_NUMBER},
    {"DOWNSTREAM_PEER_DNS_SAN", op_peer_dns, NULL, 0},
    {"DOWNSTREAM_PEER_FINGERPRINT_256", op_peer_sha256, NULL, 0},
    {"DOWNSTREAM_LOCAL_URI_SAN", op_own_uri, NULL, 0},
    {"DOWNSTREAM_PEER_URI_SAN", op_peer_uri, NULL, 0},
    {"DOWNSTREAM_PEER_SUBJECT", op_peer_subject, NULL, 0},
    {"DOWNSTREAM_TLS_VERSION", op_tls_version, NULL, 0},
    {"REQUESTED_SERVER_NAME", op_sni, NULL, 0},
    {"ROUTE_NAME", op_route_name, NULL, 0},
    {"TULLE_ORIGIN", op_origin, NULL, 0},
    {"GRPC_STATUS_NUMBER", op_grpc_number, NULL, ACCESS_LOG_NUMBER},
    {"GRPC_STATUS", op_grpc_status, access_log_arg_grpc, 0},
    {"PATH", op_path, access_log_arg_path, ACCESS_LOG_CUT},
    {"QUERY_PARAM", op_query_param, access_log_arg_name, ACCESS_LOG_CUT},
    {"QUERY_PARAMS", op_query_params, NULL, 0},
    {"COMMON_DURATION", op_common_duration, access_log_arg_points, ACCESS_LOG_NUMBER},
    {"RESPONSE_TX_DURATION", op_response_tx, NULL, ACCESS_LOG_NUMBER},
    {"DOWNSTREAM_DIRECT_LOCAL_ADDRESS", op_direct_local, NULL, 0},
    {"DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT", op_direct_local_ip, NULL, 0},
    {"DOWNSTREAM_DIRECT_LOCAL_PORT", op_direct_local_port, NULL, ACCESS_LOG_NUMBER},
    {"HOSTNAME", op_constant, access_log_arg_hostname, 0},
    {"ENVIRONMENT", op_constant, access_log_arg_environment, ACCESS_LOG_CUT},
    {"ACCESS_LOG_TYPE", op_log_type, NULL, 0},
    {"VIRTUAL_CLUSTER_NAME", op_none, NULL, 0},
    {"LOCAL_REPLY_BODY", op_local_reply_body, NULL, ACCESS_LOG_OWN},
};

const struct access_log_operator *access_log_operator_find(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(operators); i++) {
        if (str_eq(name, str_from_c(operators[i].name)))
            return &operators[i];
    }
    return NULL;
}
