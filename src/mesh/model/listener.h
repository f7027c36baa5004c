/* Listeners: envoy.config.listener.v3.Listener and the filters of its chains. */
#pragma once

#include "mesh/model/common.h"
#include "mesh/model/policy.h"
#include "mesh/model/route.h"
#include "mesh/model/tls.h"

enum listener_direction { LISTENER_UNSPECIFIED, LISTENER_INBOUND, LISTENER_OUTBOUND };

/* envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager. */
enum hcm_codec { HCM_CODEC_AUTO, HCM_CODEC_HTTP1, HCM_CODEC_HTTP2 };
/* forward_client_cert_details */
enum hcm_xfcc {
    XFCC_SANITIZE,
    XFCC_FORWARD_ONLY,
    XFCC_APPEND_FORWARD,
    XFCC_SANITIZE_SET,
    XFCC_ALWAYS_FORWARD_ONLY
};
/* server_header_transformation; of no effect without a server_name. */
enum hcm_server_header { SERVER_OVERWRITE, SERVER_APPEND_IF_ABSENT, SERVER_PASS_THROUGH };
/* scheme_header_transformation */
enum hcm_scheme { SCHEME_KEEP, SCHEME_HTTP, SCHEME_HTTPS };
enum hcm_escaped_slashes {
    SLASHES_KEEP,
    SLASHES_REJECT,
    SLASHES_UNESCAPE_REDIRECT,
    SLASHES_UNESCAPE_FORWARD
};

/* strip_matching_host_port, strip_any_host_port */
enum hcm_strip_port { STRIP_PORT_NONE, STRIP_PORT_MATCHING, STRIP_PORT_ANY };
/* common_http_protocol_options.headers_with_underscores_action */
enum hcm_underscores { UNDERSCORES_ALLOW, UNDERSCORES_REJECT, UNDERSCORES_DROP };

enum http_filter_kind { HTTP_FILTER_RBAC, HTTP_FILTER_FAULT, HTTP_FILTER_CORS, HTTP_FILTER_ROUTER };

struct http_filter {
    enum http_filter_kind kind;
    struct str name; /* overrides are kept by it */
    const struct rbac *rbac;
    const struct fault_policy *fault; /* NULL: where routes say so */
};

/* envoy.config.accesslog.v3.AccessLogFilter. */
enum log_filter_kind {
    LOG_FILTER_ALL,
    LOG_FILTER_STATUS,
    LOG_FILTER_DURATION, /* ms */
    LOG_FILTER_HEADER,   /* of the request */
    LOG_FILTER_FLAGS,    /* any of them */
    LOG_FILTER_AND,
    LOG_FILTER_OR,
};
enum log_compare { LOG_COMPARE_EQUAL, LOG_COMPARE_AT_LEAST, LOG_COMPARE_AT_MOST };
struct access_log_filter {
    enum log_filter_kind kind;
    enum log_compare compare;
    uint32_t value;
    uint64_t flags; /* bits in the order of http/flags.def; 0: any at all */
    struct header_match header;
    const struct access_log_filter *children;
    size_t child_count;
};

/* A value of a google.protobuf.Struct whose strings are formats. */
enum format_json_kind {
    FORMAT_JSON_TEXT,
    FORMAT_JSON_OBJECT,
    FORMAT_JSON_LIST,
    FORMAT_JSON_NUMBER,
    FORMAT_JSON_BOOL,
    FORMAT_JSON_NULL,
};
struct format_json {
    struct str key;  /* of members of an object */
    struct str text; /* with operators */
    enum format_json_kind kind;
    double number;
    bool is_true;
    const struct format_json *children;
    size_t child_count;
};

/* envoy.config.core.v3.SubstitutionFormatString; all empty: the default of its user. */
struct substitution_format {
    struct str text;
    bool is_json;                     /* fields count; none: the default */
    bool omit_empty_values;           /* members without value are left out, "-" is nothing */
    const struct format_json *fields; /* of the object */
    size_t field_count;
    struct str content_type; /* of a body made by it; empty: the usual one */
};

/* envoy.extensions.access_loggers.file.v3.FileAccessLog / stdout. */
struct access_log_config {
    const struct access_log_filter *filter; /* NULL: all requests */
    struct str path;                        /* "/dev/stdout" */
    struct substitution_format format;
};

/* envoy...http_connection_manager.v3.ResponseMapper: what becomes of answers of the proxy's own. */
struct local_reply_mapper {
    const struct access_log_filter *filter;
    uint32_t status; /* 0: stays */
    bool has_body, has_format;
    struct str body;
    struct substitution_format format;
    struct header_edits headers; /* set alone */
};
/* LocalReplyConfig: the first mapper that fits, then the body by its format or this one. */
struct local_reply {
    const struct local_reply_mapper *mappers;
    size_t mapper_count;
    bool has_format;
    struct substitution_format format;
};

struct hcm {
    struct str stat_prefix;
    enum hcm_codec codec;
    struct str route_config_name;            /* by RDS; or */
    const struct route_config *route_config; /* inline */
    const struct http_filter *filters;
    size_t filter_count;
    struct str server_name; /* empty: "tulle" is not added either */
    enum hcm_server_header server_header;
    enum hcm_scheme scheme;
    struct str via;                /* appended to the fields of both messages; empty: not */
    uint32_t xff_num_trusted_hops; /* proxies in front whose word on the client counts */
    bool skip_xff_append, preserve_external_request_id, always_set_request_id_in_response;
    bool use_remote_address, normalize_path, merge_slashes;
    enum hcm_escaped_slashes escaped_slashes;
    enum hcm_strip_port strip_port; /* of Host: the listener's own, or whichever */
    bool strip_trailing_host_dot;
    enum hcm_underscores underscores; /* in names of fields */
    enum hcm_xfcc xfcc;
    bool xfcc_subject, xfcc_cert, xfcc_chain, xfcc_dns,
        xfcc_uri;                         /* set_current_client_cert_details */
    bool generate_request_id;             /* default true */
    uint64_t idle_timeout_us;             /* common_http_protocol_options; default 1 h; 0: none */
    uint64_t request_headers_timeout_us;  /* 0: none */
    uint64_t stream_idle_timeout_us;      /* default 5 min; 0: none */
    uint64_t request_timeout_us;          /* 0: none */
    uint64_t drain_timeout_us;            /* default 5 s */
    uint64_t delayed_close_timeout_us;    /* 0: the connection's own; MODEL_UNSET_U64: none */
    uint64_t max_connection_duration_us;  /* 0: none */
    uint64_t max_stream_duration_us;      /* 0: none */
    uint32_t max_requests_per_connection; /* 0: none */
    uint32_t max_headers_count;           /* 0: the process's */
    uint32_t max_request_headers_kb;      /* 0: the process's */
    struct http2_options http2;
    const struct upgrade_config *upgrades;
    size_t upgrade_count;
    const struct local_reply *local_reply; /* NULL: as they are made */
    const struct access_log_config *access_logs;
    size_t access_log_count;
};

/* TcpProxy.tunneling_config: connections go to the cluster as CONNECT streams. */
struct tcp_tunneling {
    struct str hostname; /* "host:port", the authority */
    struct header_edits request;
};

/* envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy. */
struct tcp_proxy {
    struct str stat_prefix;
    const struct weighted_cluster *clusters; /* one with weight 1 for `cluster` */
    size_t cluster_count;
    uint64_t idle_timeout_us;              /* default 1 h; 0: none */
    const struct tcp_tunneling *tunneling; /* NULL: plain */
    const struct access_log_config *access_logs;
    size_t access_log_count;
};

enum network_filter_kind { NETWORK_FILTER_HCM, NETWORK_FILTER_TCP_PROXY, NETWORK_FILTER_RBAC };

struct network_filter {
    enum network_filter_kind kind;
    struct str name;
    union {
        const struct hcm *hcm;
        const struct tcp_proxy *tcp_proxy;
        const struct rbac *rbac;
    };
};

/* envoy.config.listener.v3.FilterChainMatch; empty fields match all. Precedence as Envoy's:
 * destination port, destination IP, server names, transport protocol, application protocols,
 * source. */
struct filter_chain_match {
    uint16_t destination_port;        /* 0: any */
    const struct cidr *prefix_ranges; /* destination IP */
    size_t prefix_range_count;
    const struct str *server_names; /* exact or "*.suffix", lower case */
    size_t server_name_count;
    struct str transport_protocol; /* "tls", "raw_buffer", empty */
    const struct str *application_protocols;
    size_t application_protocol_count;
    const struct cidr *source_prefix_ranges;
    size_t source_prefix_range_count;
};

struct filter_chain {
    struct str name;
    struct filter_chain_match match;
    const struct downstream_tls *tls;     /* NULL: plain text */
    const struct network_filter *filters; /* the last one terminates */
    size_t filter_count;
};

/* filter_disabled: original destination ports of connections that an inspector leaves alone. */
struct port_range {
    uint16_t from, to; /* inclusive */
};
struct port_ranges {
    const struct port_range *items;
    size_t count;
};

struct listener_filters {
    bool original_dst, proxy_protocol, tls_inspector, http_inspector;
    struct port_ranges tls_ports_off, http_ports_off;
    /* Of proxy_protocol: who comes without a header is let in; which versions are none of ours. */
    bool is_proxy_protocol_optional, is_proxy_v1_refused, is_proxy_v2_refused;
};

/* tulle.mesh.v1.ListenerInfo in metadata.filter_metadata["tulle"]: what capture and telemetry of a
 * mesh listener need beyond Envoy's fields. */
struct listener {
    struct model_addr address;
    struct model_addr address_v6; /* beside it, for proxies that do not know the directory */
    bool bind_to_port;            /* default true */
    uint32_t connections_max;     /* 0: the process's; a bootstrap's runtime layer says it */
    bool use_original_dst;        /* hands over to the listener of that address */
    enum listener_direction direction;
    struct listener_filters inspectors;
    uint64_t listener_filters_timeout_us; /* default 15 s in Envoy; 0: none */
    bool continue_on_listener_filters_timeout;
    const struct filter_chain *chains;
    size_t chain_count;
    const struct filter_chain *default_chain; /* NULL: close */
    struct origin origin;
};
