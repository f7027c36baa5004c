/* networking.istio.io VirtualService: how requests for a host are routed, seen by the client.
 *
 * Every field that a document sets is either in these structs or was refused when it was parsed;
 * who reads a VirtualService honours all of them. */
#pragma once

#include "control/api/value.h"

struct api_destination {
    struct api_place place;
    struct str host; /* as written: see api_host_fqdn */
    struct api_place host_place;
    struct str subset; /* empty: all endpoints */
    struct api_place subset_place;
    uint16_t port; /* 0: the port that was called, or the only one */
    struct api_place port_place;
};

struct api_headers {
    struct api_labels request_set, request_add, response_set, response_add;
    struct api_strs request_remove, response_remove; /* all names in lower case */
};

struct api_weighted_destination {
    struct api_destination destination;
    uint32_t weight; /* 100 when it is the only one; else as written, 0 gets no traffic */
    struct api_headers headers; /* HTTP only */
};

/* All parts that are set must match. */
struct api_http_match {
    struct api_place place;
    struct str name;
    const struct api_match *uri, *method, *authority; /* NULL: any */
    bool is_uri_case_ignored;
    struct api_named_matches headers, without_headers, query_params;
    uint16_t port;                   /* 0: any */
    struct api_labels source_labels; /* of the calling workload */
    struct str source_namespace;     /* empty: any */
};

enum api_retry_on {
    API_RETRY_5XX = 1 << 0,
    API_RETRY_GATEWAY_ERROR = 1 << 1,
    API_RETRY_RESET = 1 << 2,
    API_RETRY_RESET_BEFORE_REQUEST = 1 << 3,
    API_RETRY_CONNECT_FAILURE = 1 << 4,
    API_RETRY_RETRIABLE_4XX = 1 << 5,
    API_RETRY_REFUSED_STREAM = 1 << 6,
    API_RETRY_RETRIABLE_STATUS_CODES = 1 << 7,
    API_RETRY_CANCELLED = 1 << 8, /* gRPC statuses from here on */
    API_RETRY_DEADLINE_EXCEEDED = 1 << 9,
    API_RETRY_INTERNAL = 1 << 10,
    API_RETRY_RESOURCE_EXHAUSTED = 1 << 11,
    API_RETRY_UNAVAILABLE = 1 << 12,
};

enum {
    API_RETRY_ATTEMPTS_DEFAULT = 2,
    API_RETRY_ON_DEFAULT = API_RETRY_CONNECT_FAILURE | API_RETRY_REFUSED_STREAM |
                           API_RETRY_UNAVAILABLE | API_RETRY_CANCELLED |
                           API_RETRY_RETRIABLE_STATUS_CODES,
};

/* "connect-failure"; NULL when more or less than one bit is set. */
const char *api_retry_on_name(enum api_retry_on bit);

/* Defaults are filled in, so that `retries: {attempts: 3}` retries on API_RETRY_ON_DEFAULT. */
struct api_retries {
    struct api_place place;
    uint32_t attempts; /* retries after the first try; 0: none */
    struct api_opt per_try_timeout_ms;
    uint32_t retry_on;             /* bits of enum api_retry_on */
    struct api_ports status_codes; /* numbers among retryOn; they imply RETRIABLE_STATUS_CODES */
};

struct api_redirect {
    struct str uri, authority, scheme; /* empty: kept */
    uint16_t port;                     /* 0: kept */
    uint16_t code;                     /* 301 by default; 301, 302, 303, 307, 308 */
};

struct api_direct_response {
    uint16_t status;
    struct str body;
};

struct api_rewrite {
    struct str uri, authority; /* empty: kept. After a prefix match, uri replaces the prefix */
};

/* Exactly one of destinations, redirect and direct_response is there. */
struct api_http_route {
    struct api_place place;
    struct str name;
    const struct api_http_match *matches; /* one of them; none: every request */
    size_t match_count;
    const struct api_weighted_destination *destinations;
    size_t destination_count;
    const struct api_redirect *redirect;
    const struct api_direct_response *direct_response;
    const struct api_rewrite *rewrite;
    struct api_opt timeout_ms;         /* 0 and unset: none */
    const struct api_retries *retries; /* NULL: the DestinationRule's, else Istio's defaults */
    struct api_headers headers;
};

struct api_tcp_match {
    struct api_place place;
    uint16_t port; /* 0: any */
    struct api_labels source_labels;
    struct str source_namespace;
};

struct api_tcp_route {
    struct api_place place;
    const struct api_tcp_match *matches; /* one of them; none: every connection */
    size_t match_count;
    const struct api_weighted_destination *destinations; /* at least one */
    size_t destination_count;
};

struct api_virtual_service {
    struct api_strs hosts;               /* as written; at least one */
    const struct api_place *host_places; /* hosts.len of them */
    const struct api_http_route *http;
    size_t http_count;
    const struct api_tcp_route *tcp;
    size_t tcp_count;
};
