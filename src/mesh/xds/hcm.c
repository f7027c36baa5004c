/* The HTTP connection manager. */
#include "base/err.h"
#include "mesh/xds/codec_priv.h"

enum { HEADERS_KB_MAX = 8192 };
static const uint64_t idle_timeout_us = 3600000000, stream_idle_timeout_us = 300000000,
                      drain_timeout_us = 5000000;

/* --- decoding --- */

static int decode_routes(struct decode *d, const struct pb_path *at,
                         const Pb__Hcm__HttpConnectionManager *m, struct hcm *hcm)
{
    struct str name;
    const void *body;
    struct resource_source source;
    switch ((int)m->route_specifier_case) {
    case PB__HCM__HTTP_CONNECTION_MANAGER__ROUTE_SPECIFIER_ROUTE_CONFIG:
        if (decode_route_config(d, PB_AT(at, "route_config"), m->route_config, &name, &body) != 0)
            return -ERR_INVALID;
        hcm->route_config = body;
        return 0;
    case PB__HCM__HTTP_CONNECTION_MANAGER__ROUTE_SPECIFIER_RDS:
        if (!decode_is_set(m->rds->route_config_name))
            return decode_fail(d, PB_AT(at, "rds.route_config_name"), "a name is needed");
        if (decode_config_source(d, PB_AT(at, "rds.config_source"), m->rds->config_source, false,
                                 &source) != 0)
            return -ERR_INVALID;
        hcm->route_config_name = decode_str(d, m->rds->route_config_name);
        decode_add_ref_from(d, RESOURCE_ROUTE, hcm->route_config_name, source);
        return 0;
    default:
        return decode_fail(d, at, "rds or route_config is needed");
    }
}

static int decode_timeouts(struct decode *d, const struct pb_path *at,
                           const Pb__Hcm__HttpConnectionManager *m, struct hcm *hcm)
{
    const struct {
        const char *name;
        const Pb__Duration *value;
        uint64_t fallback_us;
        uint64_t *to;
    } rows[] = {
        {"request_headers_timeout", m->request_headers_timeout, 0,
         &hcm->request_headers_timeout_us},
        {"stream_idle_timeout", m->stream_idle_timeout, stream_idle_timeout_us,
         &hcm->stream_idle_timeout_us},
        {"request_timeout", m->request_timeout, 0, &hcm->request_timeout_us},
        {"drain_timeout", m->drain_timeout, drain_timeout_us, &hcm->drain_timeout_us},
        {"delayed_close_timeout", m->delayed_close_timeout, 0, &hcm->delayed_close_timeout_us},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (decode_duration(d, PB_AT(at, rows[i].name), rows[i].value, rows[i].fallback_us,
                            rows[i].to) != 0)
            return -ERR_INVALID;
    }
    if (m->delayed_close_timeout != NULL && hcm->delayed_close_timeout_us == 0)
        hcm->delayed_close_timeout_us = MODEL_UNSET_U64;
    hcm->idle_timeout_us = idle_timeout_us;
    return decode_http_options(d, PB_AT(at, "common_http_protocol_options"),
                               m->common_http_protocol_options, HTTP_OPTIONS_OF(hcm, NULL));
}

static void decode_client_cert(const Pb__Hcm__HttpConnectionManager *m, struct hcm *hcm)
{
    switch ((int)m->forward_client_cert_details) {
    case PB__HCM__HTTP_CONNECTION_MANAGER__FORWARD_CLIENT_CERT_DETAILS__FORWARD_ONLY:
        hcm->xfcc = XFCC_FORWARD_ONLY;
        break;
    case PB__HCM__HTTP_CONNECTION_MANAGER__FORWARD_CLIENT_CERT_DETAILS__APPEND_FORWARD:
        hcm->xfcc = XFCC_APPEND_FORWARD;
        break;
    case PB__HCM__HTTP_CONNECTION_MANAGER__FORWARD_CLIENT_CERT_DETAILS__SANITIZE_SET:
        hcm->xfcc = XFCC_SANITIZE_SET;
        break;
    case PB__HCM__HTTP_CONNECTION_MANAGER__FORWARD_CLIENT_CERT_DETAILS__ALWAYS_FORWARD_ONLY:
        hcm->xfcc = XFCC_ALWAYS_FORWARD_ONLY;
        break;
    default:
        hcm->xfcc = XFCC_SANITIZE;
    }
    const Pb__Hcm__HttpConnectionManager__SetCurrentClientCertDetails *details =
        m->set_current_client_cert_details;
    if (details == NULL)
        return;
    hcm->xfcc_subject = decode_bool(details->subject, false);
    hcm->xfcc_cert = details->cert != 0;
    hcm->xfcc_chain = details->chain != 0;
    hcm->xfcc_dns = details->dns != 0;
    hcm->xfcc_uri = details->uri != 0;
}

static void decode_path_options(const Pb__Hcm__HttpConnectionManager *m, struct hcm *hcm)
{
    hcm->normalize_path = decode_bool(m->normalize_path, false);
    hcm->merge_slashes = m->merge_slashes != 0;
    switch ((int)m->path_with_escaped_slashes_action) {
    case PB__HCM__HTTP_CONNECTION_MANAGER__PATH_WITH_ESCAPED_SLASHES_ACTION__REJECT_REQUEST:
        hcm->escaped_slashes = SLASHES_REJECT;
        break;
    case PB__HCM__HTTP_CONNECTION_MANAGER__PATH_WITH_ESCAPED_SLASHES_ACTION__UNESCAPE_AND_REDIRECT:
        hcm->escaped_slashes = SLASHES_UNESCAPE_REDIRECT;
        break;
    case PB__HCM__HTTP_CONNECTION_MANAGER__PATH_WITH_ESCAPED_SLASHES_ACTION__UNESCAPE_AND_FORWARD:
        hcm->escaped_slashes = SLASHES_UNESCAPE_FORWARD;
        break;
    default:
        hcm->escaped_slashes = SLASHES_KEEP;
    }
}

static void decode_host_options(const Pb__Hcm__HttpConnectionManager *m, struct hcm *hcm)
{
    bool is_any = m->strip_port_mode_case ==
                      PB__HCM__HTTP_CONNECTION_MANAGER__STRIP_PORT_MODE_STRIP_ANY_HOST_PORT &&
                  m->strip_any_host_port;
    hcm->strip_port = is_any                             ? STRIP_PORT_ANY
                      : m->strip_matching_host_port != 0 ? STRIP_PORT_MATCHING
                                                         : STRIP_PORT_NONE;
    hcm->strip_trailing_host_dot = m->strip_trailing_host_dot != 0;
}

static int decode_underscores(struct decode *d, const struct pb_path *at,
                              const Pb__Core__HttpProtocolOptions *m, struct hcm *hcm)
{
    if (m == NULL)
        return 0;
    switch ((int)m->headers_with_underscores_action) {
    case PB__CORE__HTTP_PROTOCOL_OPTIONS__HEADERS_WITH_UNDERSCORES_ACTION__ALLOW:
        return 0;
    case PB__CORE__HTTP_PROTOCOL_OPTIONS__HEADERS_WITH_UNDERSCORES_ACTION__REJECT_REQUEST:
        hcm->underscores = UNDERSCORES_REJECT;
        return 0;
    case PB__CORE__HTTP_PROTOCOL_OPTIONS__HEADERS_WITH_UNDERSCORES_ACTION__DROP_HEADER:
        hcm->underscores = UNDERSCORES_DROP;
        return 0;
    default:
        return decode_fail(
            d, PB_AT(at, "common_http_protocol_options.headers_with_underscores_action"),
            "ALLOW, REJECT_REQUEST and DROP_HEADER are supported");
    }
}

static int decode_server_header(struct decode *d, const struct pb_path *at,
                                const Pb__Hcm__HttpConnectionManager *m, struct hcm *hcm)
{
    switch ((int)m->server_header_transformation) {
    case PB__HCM__HTTP_CONNECTION_MANAGER__SERVER_HEADER_TRANSFORMATION__OVERWRITE:
        hcm->server_header = SERVER_OVERWRITE;
        return 0;
    case PB__HCM__HTTP_CONNECTION_MANAGER__SERVER_HEADER_TRANSFORMATION__APPEND_IF_ABSENT:
        hcm->server_header = SERVER_APPEND_IF_ABSENT;
        return 0;
    case PB__HCM__HTTP_CONNECTION_MANAGER__SERVER_HEADER_TRANSFORMATION__PASS_THROUGH:
        hcm->server_header = SERVER_PASS_THROUGH;
        return 0;
    default:
        return decode_fail(d, PB_AT(at, "server_header_transformation"), "no such value");
    }
}

static int decode_scheme(struct decode *d, const struct pb_path *at,
                         const Pb__Core__SchemeHeaderTransformation *m, struct hcm *hcm)
{
    struct str scheme = m != NULL ? str_from_c(m->scheme_to_overwrite) : STR_NULL;
    if (str_eq(scheme, STR("https")))
        hcm->scheme = SCHEME_HTTPS;
    else if (str_eq(scheme, STR("http")))
        hcm->scheme = SCHEME_HTTP;
    else if (m != NULL)
        return decode_fail(d, PB_AT(at, "scheme_to_overwrite"), "http or https is needed");
    return 0;
}

/* What is told of the connection and the request in fields. */
static int decode_headers(struct decode *d, const struct pb_path *at,
                          const Pb__Hcm__HttpConnectionManager *m, struct hcm *hcm)
{
    hcm->server_name = decode_str(d, m->server_name);
    hcm->via = decode_str(d, m->via);
    hcm->use_remote_address = decode_bool(m->use_remote_address, false);
    hcm->xff_num_trusted_hops = m->xff_num_trusted_hops;
    hcm->skip_xff_append = m->skip_xff_append != 0;
    hcm->generate_request_id = decode_bool(m->generate_request_id, true);
    hcm->preserve_external_request_id = m->preserve_external_request_id != 0;
    hcm->always_set_request_id_in_response = m->always_set_request_id_in_response != 0;
    const struct str values[] = {hcm->server_name, hcm->via};
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        for (size_t k = 0; k < values[i].len; k++) {
            unsigned char c = (unsigned char)values[i].ptr[k];
            if (c < 0x20 || c == 0x7f)
                return decode_fail(d, PB_AT(at, i == 0 ? "server_name" : "via"),
                                   "a header value has no control bytes");
        }
    }
    if (decode_scheme(d, PB_AT(at, "scheme_header_transformation"), m->scheme_header_transformation,
                      hcm) != 0)
        return -ERR_INVALID;
    return decode_server_header(d, at, m, hcm);
}

static int decode_codec(struct decode *d, const struct pb_path *at,
                        const Pb__Hcm__HttpConnectionManager *m, struct hcm *hcm)
{
    switch ((int)m->codec_type) {
    case PB__HCM__HTTP_CONNECTION_MANAGER__CODEC_TYPE__AUTO:
        hcm->codec = HCM_CODEC_AUTO;
        return 0;
    case PB__HCM__HTTP_CONNECTION_MANAGER__CODEC_TYPE__HTTP1:
        hcm->codec = HCM_CODEC_HTTP1;
        return 0;
    case PB__HCM__HTTP_CONNECTION_MANAGER__CODEC_TYPE__HTTP2:
        hcm->codec = HCM_CODEC_HTTP2;
        return 0;
    default:
        return decode_fail(d, PB_AT(at, "codec_type"), "AUTO, HTTP1 and HTTP2 are supported");
    }
}

/* UUIDs are what we make. */
static int check_request_id(struct decode *d, const struct pb_path *at,
                            const Pb__Hcm__RequestIDExtension *m)
{
    if (m == NULL)
        return 0;
    return decode_any_as(d, PB_AT(at, "typed_config"), m->typed_config,
                         &pb__uuid_request_id__uuid_request_id_config__descriptor) != NULL
               ? 0
               : -ERR_INVALID;
}

int decode_hcm(struct decode *d, const struct pb_path *at, const Pb__Hcm__HttpConnectionManager *m,
               const struct hcm **ret_hcm)
{
    struct hcm *hcm = ARENA_NEW(d->arena, struct hcm);
    if (!decode_is_set(m->stat_prefix))
        return decode_fail(d, PB_AT(at, "stat_prefix"), "a name is needed");
    hcm->stat_prefix = decode_str(d, m->stat_prefix);
    hcm->max_request_headers_kb = decode_u32(m->max_request_headers_kb, 0);
    if (m->max_request_headers_kb != NULL &&
        (hcm->max_request_headers_kb == 0 || hcm->max_request_headers_kb > HEADERS_KB_MAX))
        return decode_fail(d, PB_AT(at, "max_request_headers_kb"), "must lie between 1 and %d",
                           HEADERS_KB_MAX);
    if (m->proxy_100_continue == 0 && m->has_proxy_100_continue)
        return decode_fail(d, PB_AT(at, "proxy_100_continue"), "only true is supported");
    if (check_request_id(d, PB_AT(at, "request_id_extension"), m->request_id_extension) != 0)
        return -ERR_INVALID;
    decode_client_cert(m, hcm);
    decode_path_options(m, hcm);
    decode_host_options(m, hcm);
    hcm->access_log_count = m->n_access_log;
    if (decode_headers(d, at, m, hcm) != 0 || decode_codec(d, at, m, hcm) != 0 ||
        decode_timeouts(d, at, m, hcm) != 0 ||
        decode_http2_options(d, PB_AT(at, "http2_protocol_options"), m->http2_protocol_options,
                             &hcm->http2) != 0 ||
        decode_underscores(d, at, m->common_http_protocol_options, hcm) != 0 ||
        decode_hcm_upgrades(d, at, m, hcm) != 0 || decode_routes(d, at, m, hcm) != 0 ||
        decode_http_filters(d, at, m, hcm) != 0 ||
        decode_local_reply(d, PB_AT(at, "local_reply_config"), m->local_reply_config,
                           &hcm->local_reply) != 0 ||
        decode_access_logs(d, at, m->access_log, m->n_access_log, &hcm->access_logs) != 0)
        return -ERR_INVALID;
    *ret_hcm = hcm;
    return 0;
}

/* --- encoding --- */

void encode_hcm_routes(struct encode *e, const struct hcm *in, Pb__Hcm__HttpConnectionManager *m)
{
    if (in->route_config != NULL) {
        m->route_specifier_case = PB__HCM__HTTP_CONNECTION_MANAGER__ROUTE_SPECIFIER_ROUTE_CONFIG;
        m->route_config = (Pb__Route__RouteConfiguration *)encode_route_config(
            e, in->route_config->name, in->route_config);
        return;
    }
    m->route_specifier_case = PB__HCM__HTTP_CONNECTION_MANAGER__ROUTE_SPECIFIER_RDS;
    m->rds = PB_NEW(e, Pb__Hcm__Rds, pb__hcm__rds);
    m->rds->route_config_name = encode_str(e, in->route_config_name);
    m->rds->config_source = encode_ads(e);
}

void encode_hcm_filters(struct encode *e, const struct hcm *in, Pb__Hcm__HttpConnectionManager *m)
{
    m->n_http_filters = in->filter_count;
    m->http_filters = PB_PTRS(e, Pb__Hcm__HttpFilter, in->filter_count);
    for (size_t i = 0; i < in->filter_count; i++)
        m->http_filters[i] = encode_http_filter(e, &in->filters[i]);
}

static void encode_timeouts(struct encode *e, const struct hcm *in,
                            Pb__Hcm__HttpConnectionManager *m)
{
    struct hcm options = *in;
    m->common_http_protocol_options =
        encode_http_options(e, HTTP_OPTIONS_OF(&options, NULL), MODEL_UNSET_U64);
    m->stream_idle_timeout = encode_duration(e, in->stream_idle_timeout_us);
    m->drain_timeout = encode_duration(e, in->drain_timeout_us);
    if (in->request_headers_timeout_us > 0)
        m->request_headers_timeout = encode_duration(e, in->request_headers_timeout_us);
    if (in->request_timeout_us > 0)
        m->request_timeout = encode_duration(e, in->request_timeout_us);
    if (in->delayed_close_timeout_us > 0)
        m->delayed_close_timeout = encode_duration(
            e, in->delayed_close_timeout_us != MODEL_UNSET_U64 ? in->delayed_close_timeout_us : 0);
}

static void encode_client_cert(struct encode *e, const struct hcm *in,
                               Pb__Hcm__HttpConnectionManager *m)
{
    static const Pb__Hcm__HttpConnectionManager__ForwardClientCertDetails modes[] = {
        [XFCC_SANITIZE] = PB__HCM__HTTP_CONNECTION_MANAGER__FORWARD_CLIENT_CERT_DETAILS__SANITIZE,
        [XFCC_FORWARD_ONLY] =
            PB__HCM__HTTP_CONNECTION_MANAGER__FORWARD_CLIENT_CERT_DETAILS__FORWARD_ONLY,
        [XFCC_APPEND_FORWARD] =
            PB__HCM__HTTP_CONNECTION_MANAGER__FORWARD_CLIENT_CERT_DETAILS__APPEND_FORWARD,
        [XFCC_SANITIZE_SET] =
            PB__HCM__HTTP_CONNECTION_MANAGER__FORWARD_CLIENT_CERT_DETAILS__SANITIZE_SET,
        [XFCC_ALWAYS_FORWARD_ONLY] =
            PB__HCM__HTTP_CONNECTION_MANAGER__FORWARD_CLIENT_CERT_DETAILS__ALWAYS_FORWARD_ONLY,
    };
    m->has_forward_client_cert_details = in->xfcc != XFCC_SANITIZE;
    m->forward_client_cert_details = modes[in->xfcc];
    if (!in->xfcc_subject && !in->xfcc_cert && !in->xfcc_chain && !in->xfcc_dns && !in->xfcc_uri)
        return;
    Pb__Hcm__HttpConnectionManager__SetCurrentClientCertDetails *details =
        PB_NEW(e, Pb__Hcm__HttpConnectionManager__SetCurrentClientCertDetails,
               pb__hcm__http_connection_manager__set_current_client_cert_details);
    details->subject = in->xfcc_subject ? encode_bool(e, true) : NULL;
    details->has_cert = details->cert = in->xfcc_cert;
    details->has_chain = details->chain = in->xfcc_chain;
    details->has_dns = details->dns = in->xfcc_dns;
    details->has_uri = details->uri = in->xfcc_uri;
    m->set_current_client_cert_details = details;
}

static void encode_path_options(struct encode *e, const struct hcm *in,
                                Pb__Hcm__HttpConnectionManager *m)
{
    static const Pb__Hcm__HttpConnectionManager__PathWithEscapedSlashesAction actions[] = {
        [SLASHES_KEEP] =
            PB__HCM__HTTP_CONNECTION_MANAGER__PATH_WITH_ESCAPED_SLASHES_ACTION__KEEP_UNCHANGED,
        [SLASHES_REJECT] =
            PB__HCM__HTTP_CONNECTION_MANAGER__PATH_WITH_ESCAPED_SLASHES_ACTION__REJECT_REQUEST,
        [SLASHES_UNESCAPE_REDIRECT] =
            PB__HCM__HTTP_CONNECTION_MANAGER__PATH_WITH_ESCAPED_SLASHES_ACTION__UNESCAPE_AND_REDIRECT,
        [SLASHES_UNESCAPE_FORWARD] =
            PB__HCM__HTTP_CONNECTION_MANAGER__PATH_WITH_ESCAPED_SLASHES_ACTION__UNESCAPE_AND_FORWARD,
    };
    m->normalize_path = encode_bool(e, in->normalize_path);
    m->has_merge_slashes = m->merge_slashes = in->merge_slashes;
    m->has_path_with_escaped_slashes_action = true;
    m->path_with_escaped_slashes_action = actions[in->escaped_slashes];
}

static void encode_host_options(struct encode *e, const struct hcm *in,
                                Pb__Hcm__HttpConnectionManager *m)
{
    static const Pb__Core__HttpProtocolOptions__HeadersWithUnderscoresAction actions[] = {
        [UNDERSCORES_ALLOW] =
            PB__CORE__HTTP_PROTOCOL_OPTIONS__HEADERS_WITH_UNDERSCORES_ACTION__ALLOW,
        [UNDERSCORES_REJECT] =
            PB__CORE__HTTP_PROTOCOL_OPTIONS__HEADERS_WITH_UNDERSCORES_ACTION__REJECT_REQUEST,
        [UNDERSCORES_DROP] =
            PB__CORE__HTTP_PROTOCOL_OPTIONS__HEADERS_WITH_UNDERSCORES_ACTION__DROP_HEADER,
    };
    m->has_strip_matching_host_port = m->strip_matching_host_port =
        in->strip_port == STRIP_PORT_MATCHING;
    if (in->strip_port == STRIP_PORT_ANY) {
        m->strip_port_mode_case =
            PB__HCM__HTTP_CONNECTION_MANAGER__STRIP_PORT_MODE_STRIP_ANY_HOST_PORT;
        m->strip_any_host_port = true;
    }
    m->has_strip_trailing_host_dot = m->strip_trailing_host_dot = in->strip_trailing_host_dot;
    if (in->underscores == UNDERSCORES_ALLOW)
        return;
    if (m->common_http_protocol_options == NULL)
        m->common_http_protocol_options =
            PB_NEW(e, Pb__Core__HttpProtocolOptions, pb__core__http_protocol_options);
    m->common_http_protocol_options->has_headers_with_underscores_action = true;
    m->common_http_protocol_options->headers_with_underscores_action = actions[in->underscores];
}

static void encode_headers(struct encode *e, const struct hcm *in,
                           Pb__Hcm__HttpConnectionManager *m)
{
    static const Pb__Hcm__HttpConnectionManager__ServerHeaderTransformation servers[] = {
        [SERVER_OVERWRITE] =
            PB__HCM__HTTP_CONNECTION_MANAGER__SERVER_HEADER_TRANSFORMATION__OVERWRITE,
        [SERVER_APPEND_IF_ABSENT] =
            PB__HCM__HTTP_CONNECTION_MANAGER__SERVER_HEADER_TRANSFORMATION__APPEND_IF_ABSENT,
        [SERVER_PASS_THROUGH] =
            PB__HCM__HTTP_CONNECTION_MANAGER__SERVER_HEADER_TRANSFORMATION__PASS_THROUGH,
    };
    m->server_name = encode_str(e, in->server_name);
    m->has_server_header_transformation = in->server_header != SERVER_OVERWRITE;
    m->server_header_transformation = servers[in->server_header];
    m->via = encode_str(e, in->via);
    if (in->scheme != SCHEME_KEEP) {
        m->scheme_header_transformation =
            PB_NEW(e, Pb__Core__SchemeHeaderTransformation, pb__core__scheme_header_transformation);
        m->scheme_header_transformation->transformation_case =
            PB__CORE__SCHEME_HEADER_TRANSFORMATION__TRANSFORMATION_SCHEME_TO_OVERWRITE;
        m->scheme_header_transformation->scheme_to_overwrite =
            in->scheme == SCHEME_HTTPS ? "https" : "http";
    }
    m->use_remote_address = encode_bool(e, in->use_remote_address);
    m->has_xff_num_trusted_hops = in->xff_num_trusted_hops != 0;
    m->xff_num_trusted_hops = in->xff_num_trusted_hops;
    m->has_skip_xff_append = m->skip_xff_append = in->skip_xff_append;
    m->generate_request_id = encode_bool(e, in->generate_request_id);
    m->has_preserve_external_request_id = m->preserve_external_request_id =
        in->preserve_external_request_id;
    m->has_always_set_request_id_in_response = m->always_set_request_id_in_response =
        in->always_set_request_id_in_response;
}

static bool has_http2_options(const struct http2_options *o)
{
    const uint32_t numbers[] = {
        o->streams_max,         o->stream_window_bytes,         o->connection_window_bytes,
        o->outbound_frames_max, o->outbound_control_frames_max, o->empty_frames_max,
        o->priority_frames_max, o->window_updates_max,
    };
    bool is_any = o->allow_connect;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        is_any |= numbers[i] != 0;
    return is_any;
}

ProtobufCMessage *encode_hcm(struct encode *e, const struct hcm *in)
{
    static const Pb__Hcm__HttpConnectionManager__CodecType codecs[] = {
        [HCM_CODEC_AUTO] = PB__HCM__HTTP_CONNECTION_MANAGER__CODEC_TYPE__AUTO,
        [HCM_CODEC_HTTP1] = PB__HCM__HTTP_CONNECTION_MANAGER__CODEC_TYPE__HTTP1,
        [HCM_CODEC_HTTP2] = PB__HCM__HTTP_CONNECTION_MANAGER__CODEC_TYPE__HTTP2,
    };
    Pb__Hcm__HttpConnectionManager *m =
        PB_NEW(e, Pb__Hcm__HttpConnectionManager, pb__hcm__http_connection_manager);
    m->has_codec_type = in->codec != HCM_CODEC_AUTO;
    m->codec_type = codecs[in->codec];
    m->stat_prefix = in->stat_prefix.len > 0 ? encode_str(e, in->stat_prefix) : "http";
    encode_headers(e, in, m);
    if (has_http2_options(&in->http2))
        m->http2_protocol_options = encode_http2_options(e, &in->http2);
    if (in->max_request_headers_kb > 0)
        m->max_request_headers_kb = encode_u32(e, in->max_request_headers_kb);
    encode_hcm_routes(e, in, m);
    encode_hcm_upgrades(e, in, m);
    encode_hcm_filters(e, in, m);
    encode_timeouts(e, in, m);
    encode_client_cert(e, in, m);
    encode_path_options(e, in, m);
    encode_host_options(e, in, m);
    m->local_reply_config = encode_local_reply(e, in->local_reply);
    m->n_access_log = in->access_log_count;
    m->access_log = encode_access_logs(e, in->access_logs, in->access_log_count);
    return &m->base;
}
