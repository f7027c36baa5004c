/* Clusters and endpoints: envoy.config.cluster.v3.Cluster, envoy.config.endpoint.v3. */
#pragma once

#include "mesh/model/common.h"
#include "mesh/model/tls.h"

enum cluster_kind {
    CLUSTER_STATIC,
    CLUSTER_EDS,
    CLUSTER_ORIGINAL_DST,
    CLUSTER_STRICT_DNS,
    CLUSTER_LOGICAL_DNS, /* one name, of which the first address counts */
};
/* upstream_proxy_protocol: what a connection says first of who is behind it. */
enum caller_header { CALLER_HEADER_NONE, CALLER_HEADER_V1, CALLER_HEADER_V2 };
/* HASH: RING_HASH and MAGLEV, by rendezvous: a host that comes or goes moves its own share alone.
 */
enum lb_kind { LB_ROUND_ROBIN, LB_LEAST_REQUEST, LB_RANDOM, LB_CLUSTER_PROVIDED, LB_HASH };

/* CircuitBreakers.Thresholds of DEFAULT priority; UINT32_MAX: no limit. Envoy's default is 1024
 * (retries 3); the codec fills it where the message says nothing. */
struct circuit_breaker {
    uint32_t connections_max, pending_max, requests_max, retries_max;
    /* retry_budget; percent 0: none, retries_max holds. */
    uint32_t retry_budget_percent, retry_budget_min;
};

struct outlier_detection {
    bool is_on;
    uint32_t consecutive_5xx;                   /* default 5; 0: never */
    uint32_t enforcing_consecutive_5xx;         /* percent, default 100 */
    uint32_t consecutive_gateway_failure;       /* default 5 */
    uint32_t enforcing_gateway_failure;         /* default 0 */
    uint64_t interval_us;                       /* default 10 s */
    uint64_t base_ejection_us, max_ejection_us; /* defaults 30 s, 300 s */
    uint32_t max_ejection_percent;              /* default 10 */
};

/* HttpProtocolOptions: what the upstream hop speaks. */
enum upstream_protocol { UPSTREAM_HTTP1, UPSTREAM_HTTP2, UPSTREAM_DOWNSTREAM, UPSTREAM_AUTO_ALPN };

/* Of clusters whose endpoints are names: dns_lookup_family and its neighbours. */
enum dns_family { DNS_AUTO, DNS_V4_ONLY, DNS_V6_ONLY, DNS_V4_PREFERRED, DNS_ALL };

struct dns_options {
    uint64_t refresh_us;                      /* dns_refresh_rate; default 5 s */
    uint64_t failure_base_us, failure_max_us; /* dns_failure_refresh_rate; 0: as refresh_us */
    bool respect_ttl;
    enum dns_family family;
    const struct model_addr *resolvers; /* typed_dns_resolver_config; none: the host's */
    size_t resolver_count;
};

struct transport_socket_match {
    struct str name;
    struct str metadata_key, metadata_value; /* empty key: matches all */
    const struct upstream_tls *tls;          /* NULL: raw_buffer */
};

/* Facts for metrics and logs: metadata "istio" services[0]. */
struct service_info {
    struct str host, name, namespace_;
};

/* The kernel's keepalive, where it is asked for and does not say how often. */
enum {
    KEEPALIVE_IDLE_S_DEFAULT = 7200,
    KEEPALIVE_INTERVAL_S_DEFAULT = 75,
    KEEPALIVE_PROBES_DEFAULT = 9,
};

struct cluster {
    struct str name, alt_stat_name;
    enum cluster_kind kind;
    struct str eds_service_name; /* empty: name */
    enum lb_kind lb;
    uint32_t least_request_choices;       /* default 2 */
    uint64_t connect_timeout_us;          /* default 5 s */
    uint64_t idle_timeout_us;             /* default 1 h; 0: none */
    uint32_t max_requests_per_connection; /* 0: none */
    uint64_t max_connection_duration_us;  /* 0: none */
    uint64_t max_stream_duration_us;      /* 0: none */
    uint32_t max_headers_count;           /* of a response; 0: the process's */
    uint32_t max_response_headers_kb;     /* 0: the process's */
    struct http2_options http2;
    enum upstream_protocol protocol;
    struct circuit_breaker breaker;
    struct outlier_detection outlier;
    uint32_t panic_threshold_percent; /* default 50 */
    bool is_locality_weighted;        /* hosts share the weight of their locality */
    uint32_t keepalive_idle_s, keepalive_interval_s, keepalive_probes; /* 0: the process's */
    const struct upstream_tls *tls;   /* NULL: raw_buffer, unless matches say otherwise */
    enum caller_header caller_header; /* in front of all of it */
    const struct transport_socket_match *tls_matches;
    size_t tls_match_count;
    struct model_addr bind;                   /* upstream_bind_config: 127.0.0.6 for inbound */
    struct model_addr bind_other;             /* of the other family */
    uint32_t socket_mark;                     /* SO_MARK of connections; 0: the process's */
    const struct endpoints *inline_endpoints; /* STATIC, STRICT_DNS, LOGICAL_DNS */
    struct dns_options dns;
    struct service_info service;
    bool is_inbound;            /* towards the app behind this proxy */
    uint16_t original_dst_port; /* ORIGINAL_DST with port override; 0: as captured */
    struct origin origin;
};

enum endpoint_health { ENDPOINT_HEALTHY, ENDPOINT_UNHEALTHY, ENDPOINT_DRAINING };

/* What is known of the workload behind an endpoint: metadata "istio" workload, "tulle". */
struct workload_info {
    struct str name, namespace_, app, version, cluster_id, service_account;
    struct str principal; /* "spiffe://..." */
};

struct endpoint {
    struct model_addr address;
    struct str hostname;            /* STRICT_DNS */
    uint32_t weight;                /* default 1 */
    uint32_t locality_weight;       /* of all endpoints of its locality together; 0: none */
    uint64_t locality_weight_total; /* the sum of their own weights */
    uint32_t priority; /* those of a lower number go before, as long as enough are healthy */
    enum endpoint_health health;
    /* Identity that this endpoint must prove, "spiffe://..."; empty: the cluster's SANs hold. */
    struct str identity;
    /* envoy.transport_socket_match metadata (one pair is what meshes use). */
    struct str match_key, match_value;
    struct workload_info workload;
    bool is_tulle; /* a Tulle proxy: own ALPN, version restored */
};

struct endpoints {
    struct str cluster_name;
    const struct endpoint *items;
    size_t count;
    uint32_t overprovisioning_percent; /* default 140 */
};
