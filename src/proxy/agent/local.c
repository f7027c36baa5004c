#include "proxy/agent/local.h"

#include "base/log.h"
#include "mesh/model/cluster.h"
#include "mesh/model/listener.h"
#include "mesh/model/secret.h"
#include "mesh/xds/codec.h"
#include "proxy/flow/flow.h"

enum {
    WIRE_BYTES_MAX = 1 << 20,
    PORT_OUTBOUND = 15001,
    DETECT_US = 100 * 1000,
    CONNECT_US = 10 * 1000 * 1000,
};
static const uint64_t idle_us = 3600ull * 1000 * 1000;

#define CLUSTER_DIRECT "direct"
#define CLUSTER_DIRECT_TCP "direct-tcp"
#define CLUSTER_PASSTHROUGH "PassthroughCluster"

static const struct str alpn_http[] = {{"tulle-h2", 8}, {"istio-h2", 8}, {"h2", 2}};
static const struct str alpn_tcp[] = {
    {TLS_ALPN_TUNNEL, 12}, {"tulle-tcp", 9}, {"istio-peer-exchange", 19}, {"istio", 5}};
static const struct str http_protocols[] = {{"http/1.0", 8}, {"http/1.1", 8}, {"h2c", 3}};
static const struct access_log_config stdout_log = {.path = {"/dev/stdout", 11}};

/* By way of the wire form, so that they are looked at, hashed and shown as all others are. */
struct resource *local_resource(enum resource_type type, struct str name, const void *body)
{
    struct str_buf wire = STR_BUF_INIT(WIRE_BYTES_MAX), why = STR_BUF_INIT(1024);
    struct resource *r = NULL;
    int err = xds_encode(type, name, body, XDS_DIALECT_TULLE, &wire);
    if (err == 0)
        err = xds_decode(type, str_buf_str(&wire), &why, &r);
    if (err != 0)
        log_event(LOG_ERROR, "local_resource", LF("name", name), LF("reason", str_buf_str(&why)));
    str_buf_deinit(&wire);
    str_buf_deinit(&why);
    return r;
}

/* --- secrets --- */

struct resource *local_secret_pair(struct str chain_pem, struct str key_pem)
{
    const struct secret s = {
        .kind = SECRET_CERTIFICATE, .chain_pem = chain_pem, .key_pem = key_pem};
    return local_resource(RESOURCE_SECRET, STR(LOCAL_SECRET_OWN), &s);
}

struct resource *local_secret_roots(struct str roots_pem)
{
    const struct secret s = {.kind = SECRET_VALIDATION, .roots_pem = roots_pem};
    return local_resource(RESOURCE_SECRET, STR(LOCAL_SECRET_ROOTS), &s);
}

/* --- listeners --- */

static struct network_filter tcp_filter(const struct tcp_proxy *tcp)
{
    return (struct network_filter){.kind = NETWORK_FILTER_TCP_PROXY,
                                   .name = STR("envoy.filters.network.tcp_proxy"),
                                   .tcp_proxy = tcp};
}

static struct resource *tcp_listener(struct str name, struct str cluster, struct listener model)
{
    const struct weighted_cluster to = {.name = cluster, .weight = 1};
    const struct tcp_proxy tcp = {
        .stat_prefix = cluster,
        .clusters = &to,
        .cluster_count = 1,
        .idle_timeout_us = idle_us,
        .access_logs = &stdout_log,
        .access_log_count = 1,
    };
    const struct network_filter filter = tcp_filter(&tcp);
    const struct filter_chain chain = {.name = name, .filters = &filter, .filter_count = 1};
    model.default_chain = &chain;
    model.direction = LISTENER_OUTBOUND;
    return local_resource(RESOURCE_LISTENER, name, &model);
}

static struct resource *outbound_listener(void)
{
    struct listener model = {
        .address = {.ip = {.family = IP_V4}, .port = PORT_OUTBOUND},
        .bind_to_port = true,
        .use_original_dst = true,
    };
    return tcp_listener(STR(FLOW_LISTENER_OUTBOUND), STR(CLUSTER_PASSTHROUGH), model);
}

static struct resource *passthrough_listener(void)
{
    struct listener model = {.address = {.ip = {.family = IP_V4}, .port = 1}};
    return tcp_listener(STR(FLOW_LISTENER_PASSTHROUGH), STR(CLUSTER_PASSTHROUGH), model);
}

/* All requests go to the address that was called. */
static void fill_direct_http(struct hcm *hcm, struct route_config *routes)
{
    static const struct str all = {"*", 1};
    static const struct weighted_cluster to = {.name = {CLUSTER_DIRECT, 6}, .weight = 1};
    static const struct route route = {
        .name = {"direct", 6},
        .match = {.path_kind = PATH_PREFIX, .path = {"/", 1}, .is_case_sensitive = true},
        .kind = ROUTE_FORWARD,
        .clusters = &to,
        .cluster_count = 1,
        .weight_total = 1,
        .idle_timeout_us = MODEL_UNSET_U64,
    };
    static const struct virtual_host host = {
        .name = {"direct", 6},
        .domains = &all,
        .domain_count = 1,
        .routes = &route,
        .route_count = 1,
    };
    static const struct http_filter router = {.kind = HTTP_FILTER_ROUTER,
                                              .name = {"envoy.filters.http.router", 25}};
    *routes = (struct route_config){.name = STR("direct"), .hosts = &host, .host_count = 1};
    *hcm = (struct hcm){
        .stat_prefix = STR("direct"),
        .codec = HCM_CODEC_AUTO,
        .route_config = routes,
        .filters = &router,
        .filter_count = 1,
        .normalize_path = true,
        .generate_request_id = true,
        .idle_timeout_us = idle_us,
        .stream_idle_timeout_us = 300ull * 1000 * 1000,
        .drain_timeout_us = 5ull * 1000 * 1000,
        .access_logs = &stdout_log,
        .access_log_count = 1,
    };
}

static struct resource *direct_listener(void)
{
    struct hcm hcm;
    struct route_config routes;
    fill_direct_http(&hcm, &routes);
    const struct network_filter filter = {
        .kind = NETWORK_FILTER_HCM,
        .name = STR("envoy.filters.network.http_connection_manager"),
        .hcm = &hcm,
    };
    const struct filter_chain chain = {
        .name = STR("http"),
        .match = {.transport_protocol = STR("raw_buffer"),
                  .application_protocols = http_protocols,
                  .application_protocol_count = ARRAY_LEN(http_protocols)},
        .filters = &filter,
        .filter_count = 1,
    };
    struct listener model = {
        .address = {.ip = {.family = IP_V4}, .port = 2},
        .inspectors = {.tls_inspector = true, .http_inspector = true},
        .listener_filters_timeout_us = DETECT_US,
        .continue_on_listener_filters_timeout = true,
        .chains = &chain,
        .chain_count = 1,
    };
    return tcp_listener(STR(FLOW_LISTENER_DIRECT), STR(CLUSTER_DIRECT_TCP), model);
}

/* --- clusters --- */

static struct resource *cluster(struct str name, const struct upstream_tls *tls,
                                enum upstream_protocol protocol)
{
    static const uint32_t no_limit = UINT32_MAX;
    const struct cluster model = {
        .name = name,
        .kind = CLUSTER_ORIGINAL_DST,
        .lb = LB_CLUSTER_PROVIDED,
        .least_request_choices = 2,
        .connect_timeout_us = CONNECT_US,
        .idle_timeout_us = idle_us,
        .protocol = protocol,
        .breaker = {no_limit, no_limit, no_limit, no_limit, 20, 10},
        .panic_threshold_percent = 50,
        .tls = tls,
    };
    return local_resource(RESOURCE_CLUSTER, name, &model);
}

static struct resource *mtls_cluster(struct str name, struct str trust_domain,
                                     const struct str *alpn, size_t alpn_count,
                                     enum upstream_protocol protocol)
{
    char prefix[300];
    size_t len = MIN(trust_domain.len, sizeof prefix - 16);
    memcpy(prefix, "spiffe://", 9);
    memcpy(prefix + 9, trust_domain.ptr, len);
    prefix[9 + len] = '/';
    /* Whose replica it is stands in the directory and is asked for beside this. */
    const struct tls_san_matcher san = {
        .type = TLS_SAN_TYPE_URI,
        .match = {.kind = STRING_MATCH_PREFIX, .value = str_from(prefix, 10 + len)},
    };
    const struct upstream_tls tls = {
        .common =
            {
                .certificate = {.sds_name = STR(LOCAL_SECRET_OWN)},
                .validation = {.sds_name = STR(LOCAL_SECRET_ROOTS)},
                .sans = &san,
                .san_count = 1,
                .alpn = alpn,
                .alpn_count = alpn_count,
                .version_min = 13,
                .version_max = 13,
            },
    };
    return cluster(name, &tls, protocol);
}

void local_resources(struct str trust_domain, struct resource *ret_resources[LOCAL_COUNT])
{
    ret_resources[0] = outbound_listener();
    ret_resources[1] = passthrough_listener();
    ret_resources[2] = direct_listener();
    ret_resources[3] = cluster(STR(CLUSTER_PASSTHROUGH), NULL, UPSTREAM_DOWNSTREAM);
    ret_resources[4] = mtls_cluster(STR(CLUSTER_DIRECT), trust_domain, alpn_http,
                                    ARRAY_LEN(alpn_http), UPSTREAM_HTTP2);
    ret_resources[5] = mtls_cluster(STR(CLUSTER_DIRECT_TCP), trust_domain, alpn_tcp,
                                    ARRAY_LEN(alpn_tcp), UPSTREAM_HTTP1);
}
