/* Formats of access logs: compiled once to a list of pieces, then one pass per line. */
#include "proxy/telemetry/access_log.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/vec.h"
#include "codec/duration.h"
#include "codec/json_writer.h"

static const char default_text[] =
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" "
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" "
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% "
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME% %TULLE_ORIGIN%\n";

static const struct access_log_json_field default_json[] = {
    {{"start_time", 10}, {"%START_TIME%", 12}},
    {{"method", 6}, {"%REQ(:METHOD)%", 14}},
    {{"path", 4}, {"%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", 34}},
    {{"protocol", 8}, {"%PROTOCOL%", 10}},
    {{"response_code", 13}, {"%RESPONSE_CODE%", 15}},
    {{"response_flags", 14}, {"%RESPONSE_FLAGS%", 16}},
    {{"response_code_details", 21}, {"%RESPONSE_CODE_DETAILS%", 23}},
    {{"connection_termination_details", 30}, {"%CONNECTION_TERMINATION_DETAILS%", 32}},
    {{"upstream_transport_failure_reason", 33}, {"%UPSTREAM_TRANSPORT_FAILURE_REASON%", 35}},
    {{"bytes_received", 14}, {"%BYTES_RECEIVED%", 16}},
    {{"bytes_sent", 10}, {"%BYTES_SENT%", 12}},
    {{"duration", 8}, {"%DURATION%", 10}},
    {{"upstream_service_time", 21}, {"%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%", 37}},
    {{"x_forwarded_for", 15}, {"%REQ(X-FORWARDED-FOR)%", 22}},
    {{"user_agent", 10}, {"%REQ(USER-AGENT)%", 17}},
    {{"request_id", 10}, {"%REQ(X-REQUEST-ID)%", 19}},
    {{"authority", 9}, {"%REQ(:AUTHORITY)%", 17}},
    {{"upstream_host", 13}, {"%UPSTREAM_HOST%", 15}},
    {{"upstream_cluster", 16}, {"%UPSTREAM_CLUSTER_RAW%", 22}},
    {{"upstream_local_address", 22}, {"%UPSTREAM_LOCAL_ADDRESS%", 24}},
    {{"downstream_local_address", 24}, {"%DOWNSTREAM_LOCAL_ADDRESS%", 26}},
    {{"downstream_remote_address", 25}, {"%DOWNSTREAM_REMOTE_ADDRESS%", 27}},
    {{"requested_server_name", 21}, {"%REQUESTED_SERVER_NAME%", 23}},
    {{"route_name", 10}, {"%ROUTE_NAME%", 12}},
    {{"origin", 6}, {"%TULLE_ORIGIN%", 14}},
};

/* --- operators --- */

/* Appends the value; false: there is none ("-", or null in JSON). */
typedef bool operator_fn(const struct record *r, struct str arg, struct str_buf *to);

static bool add_some(struct str value, struct str_buf *to)
{
    str_buf_add(to, value);
    return value.len > 0;
}

static bool op_start_time(const struct record *r, struct str arg, struct str_buf *to)
{
    (void)arg;
    char text[TIME_TEXT_MAX];
    str_buf_add(to, time_format((int64_t)(r->start_wall_us / 1000), true, text));
    return true;
}

static struct str pseudo(const struct http_head *head, struct str name, bool *ret_is_pseudo)
{
    *ret_is_pseudo = true;
    if (str_eq(name, STR(":method")))
        return head->method;
    if (str_eq(name, STR(":path")))
        return head->path;
    if (str_eq(name, STR(":authority")))
        return head->authority;
    if (str_eq(name, STR(":scheme")))
        return head->scheme;
    *ret_is_pseudo = false;
    return STR_NULL;
}

static struct str field_of(const struct http_head *head, struct str name)
{
    bool is_pseudo;
    struct str value = pseudo(head, name, &is_pseudo);
    return is_pseudo ? value : http_head_get_named(head, name);
}

/* "NAME" or "NAME?OTHER", lower-cased when the format was compiled. */
static bool field_or_other(const struct http_head *head, struct str arg, struct str_buf *to)
{
    if (head == NULL)
        return false;
    struct str rest = arg;
    struct str value = field_of(head, str_split(&rest, '?'));
    if (value.len == 0 && rest.ptr != NULL)
        value = field_of(head, rest);
    return add_some(value, to);
}

static bool op_req(const struct record *r, struct str arg, struct str_buf *to)
{
    return r->x != NULL && field_or_other(r->x->flows[SIDE_REQUEST].head, arg, to);
}

static bool op_resp(const struct record *r, struct str arg, struct str_buf *to)
{
    return r->x != NULL && field_or_other(r->x->flows[SIDE_RESPONSE].head, arg, to);
}

static bool op_trailer(const struct record *r, struct str arg, struct str_buf *to)
{
    return r->x != NULL && field_or_other(r->x->flows[SIDE_RESPONSE].trailers, arg, to);
}

static bool op_protocol(const struct record *r, struct str arg, struct str_buf *to)
{
    (void)arg;
    const struct http_head *head = r->x != NULL ? r->x->flows[SIDE_REQUEST].head : NULL;
    if (head == NULL)
        return false;
    str_buf_add_c(to, head->version == HTTP_2    ? "HTTP/2"
                      : head->version == HTTP_10 ? "HTTP/1.0"
                                                 : "HTTP/1.1");
    return true;
}

static bool op_response_code(const struct record *r, struct str arg, struct str_buf *to)
{
    (void)arg;
    str_buf_add_u64(to, r->status);
    return true;
}

static bool op_flags(const struct record *r, struct str arg, struct str_buf *to)
{
    (void)arg;
    char text[128];
    str_buf_add(to, response_flags_text(r->flags, text));
    return true;
}

static bool op_bytes_received(const struct record *r, struct str arg, struct str_buf *to)
{
    (void)arg;
    str_buf_add_u64(to, r->bytes_received);
    return true;
}

static bool op_bytes_sent(const struct record *r, struct str arg, struct str_buf *to)
{
    (void)arg;
    str_buf_add_u64(to, r->bytes_sent);
    return true;
}

static bool op_duration(const struct record *r, struct str arg, struct str_buf *to)
{
    (void)arg;
    str_buf_add_u64(to, r->duration_us / 1000);
    return true;
}

static bool op_attempts(const struct record *r, struct str arg, struct str_buf *to)
{
    (void)arg;
    str_buf_add_u64(to, r->attempts);
    return true;
}

static bool op_grpc_status(const struct record *r, struct str arg, struct str_buf *to)
{
    (void)arg;
    if (r->grpc_status >= 0)
        str_buf_printf(to, "%d", r->grpc_status);
    return r->grpc_status >= 0;
}

static bool add_addr(const struct addr *a, bool has_port, struct str_buf *to)
{
    char text[ADDR_TEXT_LEN];
    if (a->family == ADDR_NONE)
        return false;
    str_buf_add(to, has_port ? addr_format(a, text) : addr_format_ip(a, text));
    return true;
}

static bool op_downstream_local(const struct record *r, struct str arg, struct str_buf *to)
{
    (void)arg;
    return add_addr(r->info->original_dst.family != ADDR_NONE ? &r->info->original_dst
                                                              : &r->info->local,
                    true, to);
}

static bool op_downstream_remote(const struct record *r, struct str arg, struct str_buf *to)
{
    (void)arg;
    return add_addr(&r->info->remote, true, to);
}

static bool op_downstream_remote_ip(const struct record *r, struct str arg, struct str_buf *to)
{
    (void)arg;
    return add_addr(&r->info->remote, false, to);
}

static bool op_upstream_host(const struct record *r, struct str arg, struct str_buf *to)
{
    (void)arg;
    return r->upstream_host != NULL && add_addr(r->upstream_host, true, to);
}

static bool op_upstream_local(const struct record *r, struct str arg, struct str_buf *to)
{
    (void)arg;
    return r->upstream_local != NULL && add_addr(r->upstream_local, true, to);
}

#define STR_OPERATOR(name, expression)                                                             \
    static bool op_##name(const struct record *r, struct str arg, struct str_buf *to)              \
    {                                                                                              \
        (void)arg;                                                                                 \
        return add_some(expression, to);                                                           \
    }
STR_OPERATOR(details, r->details)
STR_OPERATOR(connection_details, r->connection_details)
STR_OPERATOR(upstream_failure, r->upstream_failure)
STR_OPERATOR(upstream_cluster, r->upstream_cluster)
STR_OPERATOR(sni, r->info->sni)
STR_OPERATOR(route_name, r->route_name)
STR_OPERATOR(origin, r->origin)
STR_OPERATOR(peer_uri, r->info->peer_principal)
STR_OPERATOR(peer_subject, r->info->peer_subject)
STR_OPERATOR(tls_version, r->info->tls_version)

static const struct operator
{
    const char *name;
    operator_fn *run;
    bool has_arg, is_number;
}
operators[] = {
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
    {"DOWNSTREAM_PEER_URI_SAN", op_peer_uri, false, false},
    {"DOWNSTREAM_PEER_SUBJECT", op_peer_subject, false, false},
    {"DOWNSTREAM_TLS_VERSION", op_tls_version, false, false},
    {"REQUESTED_SERVER_NAME", op_sni, false, false},
    {"ROUTE_NAME", op_route_name, false, false},
    {"GRPC_STATUS_NUMBER", op_grpc_status, false, true},
    {"TULLE_ORIGIN", op_origin, false, false},
};

/* --- compiling --- */

struct piece {
    struct str literal; /* when op is NULL */
    const struct operator* op;
    struct str arg; /* lower case */
    size_t len_max; /* 0: whole */
};

struct pieces {
    struct piece *ptr;
    size_t len, cap;
};

struct json_field {
    struct str key;
    struct pieces pieces;
};

struct access_log_format {
    struct arena arena;
    bool is_json;
    struct pieces text;
    struct json_field *fields;
    size_t field_count;
    struct str_buf *scratch; /* of one value; kept, so that a line allocates nothing */
};

static const struct operator* find_operator(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(operators); i++) {
        if (str_eq(name, str_from_c(operators[i].name)))
            return &operators[i];
    }
    return NULL;
}

static struct str lower(struct arena *a, struct str s)
{
    char *out = arena_bytes(a, s.len + 1);
    for (size_t i = 0; i < s.len; i++)
        out[i] = (char)(s.ptr[i] >= 'A' && s.ptr[i] <= 'Z' ? s.ptr[i] + 32 : s.ptr[i]);
    return str_from(out, s.len);
}

/* NAME, NAME(arg), NAME(arg):len */
static int compile_operator(struct access_log_format *f, struct pieces *pieces, struct str text,
                            struct str_buf *why)
{
    struct piece p = {0};
    ptrdiff_t open = str_find(text, '('), close = str_rfind(text, ')');
    struct str name = open >= 0 ? str_sub(text, 0, (size_t)open) : text;
    p.op = find_operator(name);
    bool is_closed = open < 0 || close > open;
    if (p.op == NULL || !is_closed || p.op->has_arg != (open >= 0)) {
        /* START_TIME takes a format of strftime, which is not built. */
        str_buf_printf(why, "access log: operator %%%.*s%% is not supported", STR_FMT(text));
        return -ERR_UNSUPPORTED;
    }
    if (open >= 0) {
        struct str arg = str_sub(text, (size_t)open + 1, (size_t)(close - open) - 1);
        struct str rest = str_skip(text, (size_t)close + 1);
        uint64_t len = 0;
        p.arg = lower(&f->arena, arg);
        if (rest.len > 0 && (rest.ptr[0] != ':' || !str_to_u64(str_skip(rest, 1), 65536, &len))) {
            str_buf_printf(why, "access log: bad length in %%%.*s%%", STR_FMT(text));
            return -ERR_INVALID;
        }
        p.len_max = len;
    }
    VEC_PUSH(pieces, p);
    return 0;
}

static int compile(struct access_log_format *f, struct pieces *pieces, struct str text,
                   struct str_buf *why)
{
    text = arena_str(&f->arena, text);
    while (text.len > 0) {
        ptrdiff_t at = str_find(text, '%');
        size_t literal = at < 0 ? text.len : (size_t)at;
        if (literal > 0)
            VEC_PUSH(pieces, ((struct piece){.literal = str_sub(text, 0, literal)}));
        if (at < 0)
            return 0;
        text = str_skip(text, literal + 1);
        if (text.len > 0 && text.ptr[0] == '%') {
            VEC_PUSH(pieces, ((struct piece){.literal = STR("%")}));
            text = str_skip(text, 1);
            continue;
        }
        ptrdiff_t end = str_find(text, '%');
        if (end < 0) {
            str_buf_add_c(why, "access log: a % without its end");
            return -ERR_SYNTAX;
        }
        int err = compile_operator(f, pieces, str_sub(text, 0, (size_t)end), why);
        if (err != 0)
            return err;
        text = str_skip(text, (size_t)end + 1);
    }
    return 0;
}

static int compile_json(struct access_log_format *f, const struct access_log_json_field *fields,
                        size_t count, struct str_buf *why)
{
    f->fields = ARENA_ARRAY(&f->arena, struct json_field, count + 1);
    for (size_t i = 0; i < count; i++) {
        f->fields[i].key = arena_str(&f->arena, fields[i].key);
        f->field_count = i + 1;
        int err = compile(f, &f->fields[i].pieces, fields[i].format, why);
        if (err != 0)
            return err;
    }
    return 0;
}

int access_log_format_new(const struct access_log_config *config, struct str_buf *why,
                          struct access_log_format **ret_format)
{
    struct access_log_format *f = NEW(struct access_log_format);
    arena_init(&f->arena, 2048);
    f->is_json = config->is_json;
    f->scratch = NEW(struct str_buf);
    *f->scratch = STR_BUF_INIT(16 * 1024);
    int err;
    if (!config->is_json)
        err = compile(f, &f->text,
                      config->text_format.len > 0 ? config->text_format : str_from_c(default_text),
                      why);
    else if (config->json_field_count > 0)
        err = compile_json(f, config->json_fields, config->json_field_count, why);
    else
        err = compile_json(f, default_json, ARRAY_LEN(default_json), why);
    if (err != 0) {
        access_log_format_free(f);
        return err;
    }
    *ret_format = f;
    return 0;
}

struct access_log_format *access_log_format_free(struct access_log_format *f)
{
    if (f == NULL)
        return NULL;
    VEC_DEINIT(&f->text);
    for (size_t i = 0; i < f->field_count; i++)
        VEC_DEINIT(&f->fields[i].pieces);
    str_buf_deinit(f->scratch);
    free(f->scratch);
    arena_deinit(&f->arena);
    free(f);
    return NULL;
}

/* --- lines --- */

/* A value of a peer must not forge a line: control bytes, quotes and backslashes are escaped. */
static void add_value(struct str_buf *to, struct str value)
{
    static const char hex[] = "0123456789abcdef";
    size_t done = 0; /* what is clean is added a run at a time */
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\')
            continue;
        const char escape[] = {'\\', 'x', hex[c >> 4], hex[c & 15]};
        str_buf_add(to, str_sub(value, done, i - done));
        str_buf_add(to, str_from(escape, sizeof escape));
        done = i + 1;
    }
    str_buf_add(to, str_skip(value, done));
}

static bool run_piece(const struct piece *p, const struct record *r, struct str_buf *scratch)
{
    str_buf_reset(scratch);
    bool has_value = p->op->run(r, p->arg, scratch);
    if (p->len_max > 0 && scratch->len > p->len_max)
        scratch->len = p->len_max;
    return has_value;
}

static void text_line(const struct pieces *pieces, const struct record *r, struct str_buf *scratch,
                      struct str_buf *to)
{
    for (size_t i = 0; i < pieces->len; i++) {
        const struct piece *p = &pieces->ptr[i];
        if (p->op == NULL)
            str_buf_add(to, p->literal);
        else if (run_piece(p, r, scratch))
            add_value(to, str_buf_str(scratch));
        else
            str_buf_add_char(to, '-');
    }
}

static void json_value(const struct json_field *field, const struct record *r,
                       struct str_buf *scratch, struct json_writer *w)
{
    const struct piece *only = field->pieces.ptr;
    json_writer_key(w, field->key);
    if (field->pieces.len == 1 && only->op != NULL) {
        if (!run_piece(only, r, scratch))
            json_writer_null(w, NULL);
        else if (only->op->is_number)
            json_writer_raw(w, NULL, str_buf_str(scratch));
        else
            json_writer_str(w, NULL, str_buf_str(scratch));
        return;
    }
    struct str_buf text = STR_BUF_INIT(16 * 1024);
    text_line(&field->pieces, r, scratch, &text);
    json_writer_str(w, NULL, str_buf_str(&text));
    str_buf_deinit(&text);
}

void access_log_format_line(const struct access_log_format *f, const struct record *r,
                            struct str_buf *to)
{
    if (!f->is_json) {
        text_line(&f->text, r, f->scratch, to);
    } else {
        struct json_writer w;
        json_writer_init(&w, to, 0);
        json_writer_object(&w, NULL);
        for (size_t i = 0; i < f->field_count; i++)
            json_value(&f->fields[i], r, f->scratch, &w);
        json_writer_end(&w);
        str_buf_add_char(to, '\n');
    }
}
