/* networking.istio.io DestinationRule: what applies to traffic for a host after routing, seen by
 * the client. */
#pragma once

#include "control/api/virtual_service.h"

enum api_lb { API_LB_LEAST_REQUEST, API_LB_ROUND_ROBIN, API_LB_RANDOM };

/* Istio's tcpKeepalive; what is not set is the kernel's. */
struct api_tcp_keepalive {
    struct api_opt probes, time_ms, interval_ms;
};

struct api_connection_pool {
    struct api_opt max_connections, connect_timeout_ms, tcp_idle_timeout_ms;
    struct api_opt http1_max_pending_requests, http2_max_requests, max_requests_per_connection;
    struct api_opt max_retries, http_idle_timeout_ms;
    const struct api_tcp_keepalive *tcp_keepalive; /* NULL: none */
    bool is_tcp_alone; /* ours, `multiplex: false`: no TCP connection is a stream of a shared one */
};

struct api_outlier_detection {
    struct api_opt consecutive_5xx_errors;     /* 5 by default, 0 is off */
    struct api_opt consecutive_gateway_errors; /* off by default */
    struct api_opt interval_ms;                /* 10 s */
    struct api_opt base_ejection_time_ms;      /* 30 s */
    struct api_opt max_ejection_percent;       /* 10 */
    struct api_opt min_health_percent;         /* 0 */
};

/* Istio's values where a document says nothing. */
enum {
    API_CONNECT_TIMEOUT_MS_DEFAULT = 10 * 1000,
    API_IDLE_TIMEOUT_MS_DEFAULT = 60 * 60 * 1000,
    API_OUTLIER_5XX_DEFAULT = 5,
    API_OUTLIER_INTERVAL_MS_DEFAULT = 10 * 1000,
    API_OUTLIER_BASE_EJECTION_MS_DEFAULT = 30 * 1000,
    API_OUTLIER_MAX_EJECTION_PERCENT_DEFAULT = 10,
};

enum api_client_tls_mode { API_CLIENT_TLS_DISABLE, API_CLIENT_TLS_ISTIO_MUTUAL };

struct api_client_tls {
    enum api_client_tls_mode mode;
    struct str sni;                    /* empty: chosen by us */
    struct api_strs subject_alt_names; /* empty: the accounts that serve the destination */
};

/* NULL parts are not set. */
struct api_traffic_policy {
    const enum api_lb *lb;
    const struct api_connection_pool *connection_pool;
    const struct api_outlier_detection *outlier_detection;
    const struct api_client_tls *tls;
    const struct api_retries *retries; /* ours: for routes that set none */
};

struct api_port_policy {
    uint16_t port;
    struct api_place place;
    struct api_traffic_policy policy; /* retries is never set */
};

/* A policy with its exceptions for single ports. */
struct api_policy_block {
    struct api_traffic_policy policy;
    const struct api_port_policy *ports;
    size_t port_count;
};

struct api_subset {
    struct api_place place;
    struct str name;
    struct api_labels labels;
    struct api_policy_block traffic_policy;
};

struct api_destination_rule {
    struct str host; /* as written: see api_host_fqdn */
    struct api_place host_place;
    struct api_policy_block traffic_policy;
    const struct api_subset *subsets;
    size_t subset_count;
};

/* NULL when the rule has no such subset. */
const struct api_subset *api_destination_rule_find_subset(const struct api_destination_rule *rule,
                                                          struct str subset);

/* What holds for one port (0: no port in particular) and subset (empty, or one the rule does not
 * have: none), as Istio merges it: a port's settings replace the whole policy of their level, then
 * the parts that the subset sets replace those of the rule. Our retries pass through both. */
struct api_traffic_policy api_destination_rule_policy(const struct api_destination_rule *rule,
                                                      struct str subset, uint16_t port);
