/* Routes: envoy.config.route.v3.RouteConfiguration. Matching is mesh/match. */
#pragma once

#include "mesh/model/common.h"

/* PATH_CONNECT: the method CONNECT, which has no path and fits no other kind. */
enum path_match_kind {
    PATH_PREFIX,
    PATH_EXACT,
    PATH_SEPARATED_PREFIX,
    PATH_REGEX, /* of the whole path, without the query */
    PATH_CONNECT,
};

struct query_match {
    struct str name;
    struct string_match value;
};

struct route_match {
    enum path_match_kind path_kind;
    struct str path;
    bool is_case_sensitive;             /* default true */
    const struct header_match *headers; /* ":method" for methods */
    size_t header_count;
    const struct query_match *queries;
    size_t query_count;
    bool is_grpc;              /* only gRPC requests */
    const struct regex *regex; /* PATH_REGEX: path, compiled */
};

/* envoy.extensions.filters.http.fault.v3.HTTPFault; parts are millionths of the requests. */
struct fault_policy {
    uint64_t delay_us;
    uint32_t delay_parts, abort_parts;
    uint16_t abort_status; /* 0: as gRPC does, 200 and grpc-status */
    uint16_t abort_grpc_status;
    struct str upstream_cluster; /* empty: any */
    const struct header_match *headers;
    size_t header_count;
};

/* envoy.extensions.filters.http.cors.v3.CorsPolicy */
struct cors_policy {
    const struct string_match *origins;
    size_t origin_count;
    struct str methods, headers, exposed, max_age; /* as the fields say them; empty: not said */
    bool allow_credentials;
    uint32_t enabled_parts;             /* millionths of the requests */
    bool forwards_unmatched_preflights; /* default true */
};

/* typed_per_filter_config: what the filter of that name does here instead. */
struct filter_override {
    struct str name;
    const struct fault_policy *fault; /* one of them */
    const struct cors_policy *cors;
};
struct filter_overrides {
    const struct filter_override *items;
    size_t count;
};

/* hash_policy: what ties requests to a host of clusters that hash. */
enum hash_kind { HASH_HEADER, HASH_COOKIE, HASH_SOURCE_IP, HASH_QUERY };
struct hash_policy {
    enum hash_kind kind;
    struct str name;  /* of the header, cookie, parameter */
    struct str path;  /* of a cookie that is made */
    bool is_made;     /* a cookie that is not there is made up, to last for */
    uint64_t ttl_us;  /* 0: as long as the browser's session */
    bool is_terminal; /* the ones behind it count only when it has no value */
};

/* request_mirror_policies: a copy of a request whose answer nobody waits for. */
struct mirror_policy {
    struct str cluster;
    uint32_t parts;    /* millionths of the requests */
    bool is_host_kept; /* else "-shadow" is appended to it */
};

struct weighted_cluster {
    struct str name;
    uint32_t weight;
    struct header_edits request, response;
    struct filter_overrides overrides;
};

/* What a retry policy reacts to: retry_on of Envoy, HTTP and gRPC. */
enum retry_on {
    RETRY_5XX = 1 << 0,
    RETRY_GATEWAY_ERROR = 1 << 1,
    RETRY_RESET = 1 << 2,
    RETRY_CONNECT_FAILURE = 1 << 3,
    RETRY_REFUSED_STREAM = 1 << 4,
    RETRY_RETRIABLE_4XX = 1 << 5,
    RETRY_RETRIABLE_STATUS_CODES = 1 << 6,
    RETRY_RESET_BEFORE_REQUEST = 1 << 7,
    RETRY_ENVOY_RATELIMITED = 1 << 8,
    RETRY_GRPC_CANCELLED = 1 << 9,
    RETRY_GRPC_DEADLINE_EXCEEDED = 1 << 10,
    RETRY_GRPC_INTERNAL = 1 << 11,
    RETRY_GRPC_RESOURCE_EXHAUSTED = 1 << 12,
    RETRY_GRPC_UNAVAILABLE = 1 << 13,
};

struct retry_policy {
    uint32_t on;                  /* enum retry_on */
    uint32_t retries_max;         /* num_retries; Envoy's default 1 */
    uint64_t per_try_timeout_us;  /* 0: the route's */
    const uint32_t *status_codes; /* retriable_status_codes */
    size_t status_code_count;
    bool avoid_previous_hosts;                /* retry_host_predicate previous_hosts */
    uint32_t host_selection_attempts_max;     /* host_selection_retry_max_attempts */
    uint64_t backoff_base_us, backoff_max_us; /* defaults 25 ms, 10 x base */
};

enum route_action_kind { ROUTE_FORWARD, ROUTE_REDIRECT, ROUTE_DIRECT_RESPONSE };

struct route {
    struct str name; /* shown as %ROUTE_NAME% */
    struct route_match match;
    enum route_action_kind kind;
    /* ROUTE_FORWARD */
    const struct weighted_cluster *clusters;
    size_t cluster_count;
    uint64_t weight_total;
    uint64_t timeout_us;              /* 0: none; Envoy's default 15 s is filled by the codec */
    uint64_t idle_timeout_us;         /* stream; MODEL_UNSET_U64: the listener's */
    bool has_max_stream_duration;     /* else the listener's */
    uint64_t max_stream_duration_us;  /* 0: none */
    const struct retry_policy *retry; /* NULL: the virtual host's, else none */
    const struct upgrade_config *upgrades; /* have the last word over the listener's */
    size_t upgrade_count;
    struct str prefix_rewrite;         /* replaces what matched */
    const struct regex *regex_rewrite; /* of the path without query; NULL: none */
    struct str regex_substitution;
    const struct hash_policy *hashes;
    size_t hash_count;
    const struct mirror_policy *mirrors;
    size_t mirror_count;
    bool has_grpc_timeout;        /* a request's grpc-timeout counts instead of timeout_us, */
    uint64_t grpc_timeout_max_us; /* up to this; 0: whatever it says */
    struct str host_rewrite;
    bool auto_host_rewrite;
    /* ROUTE_REDIRECT */
    struct str redirect_scheme, redirect_host, redirect_path, redirect_prefix;
    uint16_t redirect_port, redirect_status;
    bool redirect_strips_query;
    /* ROUTE_DIRECT_RESPONSE */
    uint16_t direct_status;
    struct str direct_body;
    struct header_edits request, response;
    struct filter_overrides overrides;
    struct origin origin;
};

struct virtual_host {
    struct str name;
    const struct str *domains; /* exact, "*.suffix", "prefix.*", "*"; lower case */
    size_t domain_count;
    const struct route *routes;
    size_t route_count;
    const struct retry_policy *retry;
    struct header_edits request, response;
    struct filter_overrides overrides;
    bool include_attempt_count; /* x-envoy-attempt-count to the upstream */
};

struct route_config {
    struct str name;
    const struct virtual_host *hosts;
    size_t host_count;
    struct header_edits request, response;
    bool ignore_port_in_host;
    struct origin origin;
};
