/* Model -> wire -> model -> wire: equal bytes; and the wire as JSON against what it should say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/err.h"
#include "mesh/model/cluster.h"
#include "mesh/model/directory.h"
#include "mesh/model/listener.h"
#include "mesh/model/secret.h"
#include "mesh/xds/codec.h"

#define S(lit)                                                                                     \
    {                                                                                              \
        lit, sizeof(lit) - 1                                                                       \
    }
#define PEM "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"
#define KEY "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n"

enum { LEN_MAX = 1 << 20 };

/* --- routes --- */

static const struct header_edit set_edits[] = {
    {S("x-a"), S("1"), HEADER_APPEND},
    {S("x-b"), S("2"), HEADER_ADD_IF_ABSENT},
    {S("x-c"), S("3"), HEADER_SET},
    {S("x-d"), S("4"), HEADER_SET_IF_EXISTS},
};
static const struct str remove_edits[] = {S("x-gone")};
/* A constant expression, as clang wants it. */
#define EDITS ((struct header_edits){set_edits, 4, remove_edits, 1})
static const struct header_match headers[] = {
    {.name = S(":method"), .value = {STRING_MATCH_EXACT, false, S("GET")}},
    {.name = S("x-user"),
     .value = {STRING_MATCH_PREFIX, true, S("b")},
     .is_inverted = true,
     .treat_missing_as_empty = true},
    {.name = S("x-there"), .value = {STRING_MATCH_ANY}},
};
static const struct query_match queries[] = {
    {S("v"), {STRING_MATCH_SUFFIX, false, S("2")}},
    {S("debug"), {STRING_MATCH_ANY}},
};
static const uint32_t codes[] = {503, 429};
static const struct retry_policy retry = {
    .on = RETRY_CONNECT_FAILURE | RETRY_RETRIABLE_STATUS_CODES | RETRY_GRPC_UNAVAILABLE,
    .retries_max = 2,
    .per_try_timeout_us = 1500000,
    .status_codes = codes,
    .status_code_count = 2,
    .avoid_previous_hosts = true,
    .host_selection_attempts_max = 5,
    .backoff_base_us = 50000,
    .backoff_max_us = 200000,
};
static const struct weighted_cluster weighted[] = {
    {S("v1"), 90, {NULL, 0, NULL, 0}, {set_edits, 1, NULL, 0}},
    {S("v2"), 10},
};
static const struct weighted_cluster one[] = {{S("catalog:8080"), 1}};
static const struct upgrade_config upgrades[] = {{S("websocket"), true}, {S("other"), false}};
static const struct upgrade_config route_upgrades[] = {{S("connect"), true, true},
                                                       {S("websocket"), false}};

static const struct route routes[] = {
    {.name = S("all"),
     .match = {PATH_SEPARATED_PREFIX, S("/api"), false, headers, 3, queries, 2, true},
     .clusters = weighted,
     .cluster_count = 2,
     .weight_total = 100,
     .timeout_us = 3000000,
     .idle_timeout_us = 60000000,
     .has_max_stream_duration = true,
     .max_stream_duration_us = 90000000,
     .retry = &retry,
     .prefix_rewrite = S("/v1"),
     .host_rewrite = S("other"),
     .request = EDITS,
     .response = EDITS,
     .origin = {S("VirtualService/shop/catalog#http[0]")}},
    {.match = {PATH_EXACT, S("/old"), true},
     .kind = ROUTE_REDIRECT,
     .redirect_scheme = S("https"),
     .redirect_host = S("new"),
     .redirect_path = S("/new"),
     .redirect_port = 8443,
     .redirect_status = 308,
     .redirect_strips_query = true,
     .idle_timeout_us = MODEL_UNSET_U64},
    {.match = {PATH_PREFIX, S("/p"), true},
     .kind = ROUTE_REDIRECT,
     .redirect_prefix = S("/q"),
     .redirect_status = 301,
     .idle_timeout_us = MODEL_UNSET_U64},
    {.match = {PATH_PREFIX, S("/down"), true},
     .kind = ROUTE_DIRECT_RESPONSE,
     .direct_status = 503,
     .direct_body = S("later"),
     .idle_timeout_us = MODEL_UNSET_U64},
    {.match = {PATH_PREFIX, S("/"), true},
     .clusters = one,
     .cluster_count = 1,
     .weight_total = 1,
     .idle_timeout_us = MODEL_UNSET_U64,
     .auto_host_rewrite = true},
    {.match = {PATH_CONNECT, .is_case_sensitive = true},
     .clusters = one,
     .cluster_count = 1,
     .weight_total = 1,
     .idle_timeout_us = MODEL_UNSET_U64,
     .upgrades = route_upgrades,
     .upgrade_count = 2},
};
static const struct str domains[] = {S("catalog"), S("*.catalog")};
static const struct str any_domain[] = {S("*")};
static const struct virtual_host hosts[] = {
    {.name = S("catalog"),
     .domains = domains,
     .domain_count = 2,
     .routes = routes,
     .route_count = 5,
     .retry = &retry,
     .request = EDITS,
     .include_attempt_count = true},
    {.name = S("rest"), .domains = any_domain, .domain_count = 1},
};
static const struct route_config route_config = {
    .name = S("catalog:8080"),
    .hosts = hosts,
    .host_count = 2,
    .response = EDITS,
    .ignore_port_in_host = true,
    .origin = {S("Service/shop/catalog")},
};

/* --- listeners --- */

static const struct rbac_node any = {.kind = RBAC_ANY};
static const struct rbac_node permission_leaves[] = {
    {.kind = RBAC_PATH, .string = {STRING_MATCH_PREFIX, false, S("/charge")}},
    {.kind = RBAC_HEADER,
     .header = {.name = S(":method"), .value = {STRING_MATCH_EXACT, false, S("POST")}}},
    {.kind = RBAC_DESTINATION_PORT, .port_from = 8080, .port_to = 8080},
    {.kind = RBAC_DESTINATION_PORT, .port_from = 9000, .port_to = 9010},
    {.kind = RBAC_DESTINATION_IP, .cidr = {{10}, 8, IP_V4}},
    {.kind = RBAC_SNI, .string = {STRING_MATCH_SUFFIX, false, S(".local")}},
    {.kind = RBAC_SNI, .string = {STRING_MATCH_ANY}},
    {.kind = RBAC_NOT, .children = &any, .child_count = 1},
};
static const struct rbac_node principal_leaves[] = {
    {.kind = RBAC_PRINCIPAL,
     .string = {STRING_MATCH_EXACT, false, S("spiffe://m/ns/shop/sa/orders")}},
    {.kind = RBAC_PRINCIPAL, .string = {STRING_MATCH_ANY}},
    {.kind = RBAC_NAMESPACE, .string = {STRING_MATCH_EXACT, false, S("shop")}},
    {.kind = RBAC_NAMESPACE, .string = {STRING_MATCH_PREFIX, false, S("sh")}},
    {.kind = RBAC_NAMESPACE, .string = {STRING_MATCH_SUFFIX, false, S("op")}},
    {.kind = RBAC_SOURCE_IP, .cidr = {{0xfd}, 8, IP_V6}},
    {.kind = RBAC_REMOTE_IP, .cidr = {{10, 1}, 16, IP_V4}},
};
static const struct rbac_policy policies[] = {
    {S("AuthorizationPolicy/shop/pay#rules[0]"),
     {RBAC_OR, permission_leaves, 7},
     {RBAC_AND, principal_leaves, 7}},
    {S("AuthorizationPolicy/shop/pay#rules[1]"), {RBAC_ANY}, {RBAC_OR, principal_leaves, 2}},
};
static const struct rbac allow = {
    RBAC_ALLOW, policies, 2, S("AuthorizationPolicy/shop/pay,AuthorizationPolicy/shop/nobody")};
static const struct rbac allow_nothing = {RBAC_ALLOW, NULL, 0, S("AuthorizationPolicy/shop/none")};
static const struct rbac deny = {RBAC_DENY, policies, 1};
static const struct http_filter http_filters[] = {
    {HTTP_FILTER_RBAC, S("deny"), &deny},
    {HTTP_FILTER_RBAC, S("allow"), &allow},
    {HTTP_FILTER_ROUTER, S("router")},
};
static const struct format_json json_list[] = {
    {.text = S("%BYTES_SENT%")},
    {.kind = FORMAT_JSON_NUMBER, .number = -1.5},
    {.kind = FORMAT_JSON_OBJECT},
};
static const struct format_json json_inner[] = {
    {.key = S("list"), .kind = FORMAT_JSON_LIST, .children = json_list, .child_count = 3},
    {.key = S("no"), .kind = FORMAT_JSON_BOOL},
    {.key = S("yes"), .kind = FORMAT_JSON_BOOL, .is_true = true},
    {.key = S("nothing"), .kind = FORMAT_JSON_NULL},
    {.key = S("empty"), .kind = FORMAT_JSON_LIST},
};
static const struct format_json json_fields[] = {
    {S("code"), S("%RESPONSE_CODE%")},
    {.key = S("in"), .kind = FORMAT_JSON_OBJECT, .children = json_inner, .child_count = 5},
};
static const struct access_log_filter log_parts[] = {
    {.kind = LOG_FILTER_STATUS, .compare = LOG_COMPARE_AT_LEAST, .value = 400},
    {.kind = LOG_FILTER_DURATION, .compare = LOG_COMPARE_AT_MOST},
    {.kind = LOG_FILTER_FLAGS, .flags = 5},
    {.kind = LOG_FILTER_ALL},
};
static const struct access_log_filter log_either[] = {
    {.kind = LOG_FILTER_AND, .children = log_parts, .child_count = 4},
    {.kind = LOG_FILTER_HEADER, .header = {.name = S("x-debug"), .value = {STRING_MATCH_ANY}}},
};
static const struct access_log_filter log_filter = {
    .kind = LOG_FILTER_OR, .children = log_either, .child_count = 2};
static const struct access_log_config logs[] = {
    {.path = S("/dev/stdout"), .filter = &log_filter},
    {.path = S("/tmp/a"), .format = {S("%PROTOCOL%\n"), .omit_empty_values = true}},
    {.path = S("/tmp/b"), .format = {.is_json = true, .fields = json_fields, .field_count = 2}},
};
static const struct header_edit reply_fields[] = {{S("x-why"), S("50% of it"), HEADER_SET}};
static const struct local_reply_mapper mappers[] = {
    {.filter = log_parts,
     .status = 502,
     .has_body = true,
     .headers = {.set = reply_fields, .set_count = 1}},
    {.filter = &log_filter,
     .has_format = true,
     .format = {.text = S("<p>%LOCAL_REPLY_BODY%</p>"), .content_type = S("text/html")}},
};
static const struct local_reply local_reply = {
    .mappers = mappers,
    .mapper_count = 2,
    .has_format = true,
    .format = {.is_json = true, .fields = json_fields, .field_count = 2},
};
static const struct hcm hcm = {
    .stat_prefix = S("in"),
    .codec = HCM_CODEC_HTTP2,
    .route_config_name = S("catalog:8080"),
    .filters = http_filters,
    .filter_count = 3,
    .server_name = S("tulle"),
    .use_remote_address = true,
    .server_header = SERVER_APPEND_IF_ABSENT,
    .scheme = SCHEME_HTTPS,
    .via = S("1.1 tulle"),
    .xff_num_trusted_hops = 2,
    .skip_xff_append = true,
    .preserve_external_request_id = true,
    .always_set_request_id_in_response = true,
    .normalize_path = true,
    .merge_slashes = true,
    .escaped_slashes = SLASHES_REJECT,
    .strip_port = STRIP_PORT_MATCHING,
    .strip_trailing_host_dot = true,
    .underscores = UNDERSCORES_DROP,
    .xfcc = XFCC_APPEND_FORWARD,
    .xfcc_subject = true,
    .xfcc_cert = true,
    .xfcc_chain = true,
    .xfcc_dns = true,
    .xfcc_uri = true,
    .generate_request_id = true,
    .idle_timeout_us = 1000000,
    .request_headers_timeout_us = 2000000,
    .stream_idle_timeout_us = 3000000,
    .drain_timeout_us = 5500000,
    .max_requests_per_connection = 7,
    .delayed_close_timeout_us = 1500000,
    .max_connection_duration_us = 60000000,
    .max_stream_duration_us = 30000000,
    .max_headers_count = 50,
    .max_request_headers_kb = 96,
    .http2 = {100, 70000, 140000, 1000, 100, 5, 6, 7, true},
    .upgrades = upgrades,
    .upgrade_count = 2,
    .local_reply = &local_reply,
    .access_logs = logs,
    .access_log_count = 3,
};
static const struct hcm inline_hcm = {
    .stat_prefix = S("out"),
    .strip_port = STRIP_PORT_ANY,
    .escaped_slashes = SLASHES_UNESCAPE_REDIRECT,
    .underscores = UNDERSCORES_REJECT,
    .route_config = &route_config,
    .filters = &http_filters[2],
    .filter_count = 1,
};
static const struct header_edit tunnel_edits[] = {{S("x-from"), S("web"), HEADER_SET}};
static const struct tcp_tunneling tunneling = {S("db.example:5432"), {tunnel_edits, 1, NULL, 0}};
static const struct tcp_proxy tcp = {.stat_prefix = S("redis"),
                                     .clusters = weighted + 1,
                                     .cluster_count = 1,
                                     .idle_timeout_us = 60000000,
                                     .tunneling = &tunneling,
                                     .access_logs = logs,
                                     .access_log_count = 1};
static const struct tcp_proxy plain_tcp = {
    .stat_prefix = S("t"), .clusters = one, .cluster_count = 1, .idle_timeout_us = 3600000000};
static const struct network_filter hcm_filters[] = {
    {NETWORK_FILTER_RBAC, S("rbac"), {.rbac = &allow_nothing}},
    {NETWORK_FILTER_HCM, S("hcm"), {.hcm = &hcm}},
};
static const struct network_filter inline_filters[] = {
    {NETWORK_FILTER_HCM, S("hcm"), {.hcm = &inline_hcm}}};
static const struct network_filter tcp_filters[] = {
    {NETWORK_FILTER_TCP_PROXY, S("tcp"), {.tcp_proxy = &tcp}}};
static const struct network_filter plain_filters[] = {
    {NETWORK_FILTER_TCP_PROXY, S("tcp"), {.tcp_proxy = &plain_tcp}}};
static const struct tls_san_matcher sans[] = {
    {TLS_SAN_TYPE_URI, {STRING_MATCH_PREFIX, false, S("spiffe://m/")}},
    {TLS_SAN_TYPE_DNS, {STRING_MATCH_EXACT, false, S("web")}},
    {TLS_SAN_TYPE_ANY, {STRING_MATCH_EXACT, false, S("old")}},
};
static const struct str alpn[] = {S("tulle"), S("h2")};
static const struct downstream_tls down_tls = {
    {{S("default")}, {S("ROOTCA")}, sans, 3, alpn, 2, 12, 13}, true};
static const struct cidr ranges[] = {{{10}, 8, IP_V4}};
static const struct str names[] = {S("a.example"), S("*.example")};
static const struct filter_chain chains[] = {
    {.name = S("mtls"),
     .match = {8080, ranges, 1, names, 2, S("tls"), alpn, 2, ranges, 1},
     .tls = &down_tls,
     .filters = hcm_filters,
     .filter_count = 2},
    {.name = S("inline"), .filters = inline_filters, .filter_count = 1},
    {.name = S("tcp"),
     .match = {.destination_port = 6379},
     .filters = tcp_filters,
     .filter_count = 1},
};
static const struct filter_chain default_chain = {.filters = plain_filters, .filter_count = 1};
static const struct listener listener = {
    .address = {.ip = {IP_V4, {127, 0, 0, 1}}, .port = 15006},
    .bind_to_port = false,
    .use_original_dst = true,
    .direction = LISTENER_INBOUND,
    .inspectors = {.original_dst = true, .tls_inspector = true, .http_inspector = true},
    .listener_filters_timeout_us = 100000,
    .continue_on_listener_filters_timeout = true,
    .chains = chains,
    .chain_count = 3,
    .default_chain = &default_chain,
    .origin = {S("Workload/shop/catalog")},
};

static const struct listener proxied_listener = {
    .address = {.ip = {IP_V4, {127, 0, 0, 1}}, .port = 8000},
    .bind_to_port = true,
    .inspectors = {.proxy_protocol = true,
                   .tls_inspector = true,
                   .is_proxy_protocol_optional = true,
                   .is_proxy_v1_refused = true},
    .default_chain = &default_chain,
};

/* --- clusters, endpoints, secrets, the directory --- */

static const struct secret inline_cert = {SECRET_CERTIFICATE, S(PEM), S(KEY)};
static const struct secret inline_roots = {.kind = SECRET_VALIDATION, .roots_pem = S(PEM)};
static const struct upstream_tls up_tls = {
    {{.inline_secret = &inline_cert}, {.inline_secret = &inline_roots}, sans, 1, alpn, 1},
    S("web")};
static const struct upstream_tls sds_tls = {{{S("default")}, {S("ROOTCA")}}, S("sni")};
static const struct transport_socket_match matches[] = {
    {S("tlsMode-istio"), S("tlsMode"), S("istio"), &sds_tls},
    {.name = S("tlsMode-disabled")},
};
static const struct endpoint endpoint_items[] = {
    {.address = {.ip = {IP_V4, {10, 0, 0, 1}}, .port = 8080},
     .weight = 3,
     .identity = S("spiffe://m/ns/shop/sa/catalog"),
     .match_key = S("tlsMode"),
     .match_value = S("istio"),
     .is_tulle = true,
     .workload = {S("catalog-v1"), S("shop"), S("catalog"), S("v1"), S("box"), S("catalog"),
                  S("spiffe://m/ns/shop/sa/catalog")}},
    {.address = {.ip = {IP_V6, {0xfd, 1}}, .port = 8080},
     .weight = 1,
     .health = ENDPOINT_UNHEALTHY},
    {.address = {.path = S("/run/app.sock")}, .weight = 1, .health = ENDPOINT_DRAINING},
};
static const struct endpoint dns_items[] = {
    {.address = {.port = 443}, .hostname = S("example.com"), .weight = 1}};
static const struct endpoints endpoints = {S("catalog:8080"), endpoint_items, 3};
static const struct endpoints no_endpoints = {S("catalog:8080"), NULL, 0};
static const struct endpoints dns_endpoints = {S("dns"), dns_items, 1};
#define DEFAULTS                                                                                   \
    .least_request_choices = 2, .connect_timeout_us = 5000000, .idle_timeout_us = 3600000000,      \
    .panic_threshold_percent = 50, .breaker = {1024, 1024, 1024, 3}
static const struct cluster eds_cluster = {
    .name = S("catalog:8080"),
    .alt_stat_name = S("stat"),
    .kind = CLUSTER_EDS,
    .eds_service_name = S("catalog"),
    .lb = LB_LEAST_REQUEST,
    .least_request_choices = 4,
    .connect_timeout_us = 10000000,
    .idle_timeout_us = 0,
    .max_requests_per_connection = 9,
    .keepalive_idle_s = 60,
    .keepalive_interval_s = 10,
    .keepalive_probes = 4,
    .http2 = {.streams_max = 50, .stream_window_bytes = 131072},
    .max_stream_duration_us = 8000000,
    .max_headers_count = 20,
    .max_response_headers_kb = 12,
    .protocol = UPSTREAM_DOWNSTREAM,
    .breaker = {UINT32_MAX, 10, 0, 3, 20, 10},
    .outlier = {true, 5, 100, 7, 50, 30000000, 60000000, 300000000, 100},
    .panic_threshold_percent = 0,
    .tls = &up_tls,
    .tls_matches = matches,
    .tls_match_count = 2,
    .bind = {.ip = {IP_V4, {127, 0, 0, 6}}},
    .service = {S("catalog.shop.svc.cluster.local"), S("catalog"), S("shop")},
    .is_inbound = true,
    .origin = {S("DestinationRule/shop/catalog")},
};
static const struct cluster static_cluster = {DEFAULTS,
                                              .name = S("static"),
                                              .kind = CLUSTER_STATIC,
                                              .caller_header = CALLER_HEADER_V2,
                                              .inline_endpoints = &endpoints,
                                              .protocol = UPSTREAM_HTTP2};
static const struct cluster dst_cluster = {DEFAULTS,
                                           .name = S("passthrough"),
                                           .kind = CLUSTER_ORIGINAL_DST,
                                           .lb = LB_CLUSTER_PROVIDED,
                                           .original_dst_port = 8080,
                                           .socket_mark = 0x539,
                                           .protocol = UPSTREAM_AUTO_ALPN};
static const struct model_addr resolvers[] = {{.ip = {IP_V4, {10, 0, 0, 53}}, .port = 53}};
static const struct cluster dns_cluster = {DEFAULTS,
                                           .name = S("dns"),
                                           .kind = CLUSTER_STRICT_DNS,
                                           .lb = LB_RANDOM,
                                           .inline_endpoints = &dns_endpoints,
                                           .dns = {.refresh_us = 7000000,
                                                   .failure_base_us = 1000000,
                                                   .failure_max_us = 60000000,
                                                   .respect_ttl = true,
                                                   .family = DNS_V4_PREFERRED,
                                                   .resolvers = resolvers,
                                                   .resolver_count = 1}};
static const struct cluster logical_cluster = {DEFAULTS, .name = S("logical"),
                                               .kind = CLUSTER_LOGICAL_DNS,
                                               .inline_endpoints = &dns_endpoints};
static const struct secret roots = {
    .kind = SECRET_VALIDATION, .roots_pem = S(PEM), .sans = sans, .san_count = 3};
static const struct directory_port ports[] = {
    {8080, PROTOCOL_HTTP}, {9090, PROTOCOL_GRPC}, {1, PROTOCOL_AUTO}};
static const struct directory_service services[] = {
    {S("catalog.shop.svc.cluster.local"),
     {{IP_V4, {240, 240, 0, 1}}, {IP_V6, {0xfd, 1}}},
     3,
     ports},
    {S("headless.shop"), {{0}, {0}}, 1, ports},
    {S("six.shop"), {{0}, {IP_V6, {0xfd, 2}}}, 0, NULL},
};
static const uint16_t clear_ports[] = {22, 65535};
static const struct directory_workload workloads[] = {
    {{{IP_V4, {10, 0, 0, 1}}, {0}},
     S("spiffe://m/ns/shop/sa/a"),
     S("a-0"),
     S("shop"),
     S("a"),
     S("v1"),
     true,
     clear_ports,
     2},
};
static const struct directory directory = {
    S("shop"), S("svc.cluster.local"), ranges, 1, true, services, 3, workloads, 1};

static const struct secret latin_roots = {.kind = SECRET_VALIDATION,
                                          .roots_pem = S("# Z\374rich \0 \n" PEM)};

static const struct {
    const char *what;
    enum resource_type type;
    struct str name;
    const void *body;
    const char *refs;
} bodies[] = {
    {"route", RESOURCE_ROUTE, S("catalog:8080"), &route_config,
     "cluster v1,cluster v2,cluster catalog:8080,"},
    {"listener", RESOURCE_LISTENER, S("virtualInbound"), &listener,
     "route catalog:8080,cluster v1,cluster v2,cluster catalog:8080,secret default,secret ROOTCA,"},
    {"eds", RESOURCE_CLUSTER, S("catalog:8080"), &eds_cluster,
     "endpoints catalog,secret default,secret ROOTCA,"},
    {"static", RESOURCE_CLUSTER, S("static"), &static_cluster, ""},
    {"original_dst", RESOURCE_CLUSTER, S("passthrough"), &dst_cluster, ""},
    {"proxied listener", RESOURCE_LISTENER, S("proxied"), &proxied_listener,
     "cluster catalog:8080,"},
    {"strict_dns", RESOURCE_CLUSTER, S("dns"), &dns_cluster, ""},
    {"logical_dns", RESOURCE_CLUSTER, S("logical"), &logical_cluster, ""},
    {"endpoints", RESOURCE_ENDPOINTS, S("catalog:8080"), &endpoints, ""},
    {"no endpoints", RESOURCE_ENDPOINTS, S("catalog:8080"), &no_endpoints, ""},
    {"certificate", RESOURCE_SECRET, S("default"), &inline_cert, ""},
    {"roots", RESOURCE_SECRET, S("ROOTCA"), &roots, ""},
    {"roots with a comment in Latin-1", RESOURCE_SECRET, S("ROOTCA"), &latin_roots, ""},
    {"directory", RESOURCE_DIRECTORY, S("shop"), &directory, ""},
};

static struct str_buf encode(enum resource_type type, struct str name, const void *body)
{
    struct str_buf wire = STR_BUF_INIT(LEN_MAX);
    assert_int_equal(xds_encode(type, name, body, XDS_DIALECT_TULLE, &wire), 0);
    return wire;
}

static struct resource *decode(enum resource_type type, struct str wire)
{
    struct str_buf why = STR_BUF_INIT(LEN_MAX);
    struct resource *r = NULL;
    if (xds_decode(type, wire, &why, &r) != 0)
        fail_msg("%s", why.ptr);
    str_buf_deinit(&why);
    return r;
}

static void assert_same(const char *what, const struct str_buf *a, const struct str_buf *b,
                        enum resource_type type)
{
    if (str_eq(str_buf_str(a), str_buf_str(b)))
        return;
    struct str_buf ja = STR_BUF_INIT(LEN_MAX), jb = STR_BUF_INIT(LEN_MAX);
    xds_to_json(type, str_buf_str(a), &ja);
    xds_to_json(type, str_buf_str(b), &jb);
    fail_msg("%s differs:\n%s\n%s", what, ja.ptr, jb.ptr);
}

static void assert_refs(const struct resource *r, const char *want)
{
    struct str_buf got = STR_BUF_INIT(LEN_MAX);
    str_buf_add_c(&got, "");
    for (size_t i = 0; i < r->ref_count_out; i++)
        str_buf_printf(&got, "%s %.*s,", resource_type_name(r->refs[i].type),
                       STR_FMT(r->refs[i].name));
    assert_string_equal(got.len > 0 ? got.ptr : "", want);
    str_buf_deinit(&got);
}

/* Whoever is given a name agrees to it: tunnels are for those that have them. */
static void test_token_of_tunnels(void **state)
{
    static const struct str offered[] = {S("istio"), S(TLS_ALPN_TUNNEL), S("tulle-tcp")};
    static const struct upstream_tls tls = {.common = {.alpn = offered, .alpn_count = 3}};
    static const struct cluster to = {
        .name = S("c"), .kind = CLUSTER_EDS, .connect_timeout_us = 1000000, .tls = &tls};
    for (int dialect = XDS_DIALECT_TULLE; dialect <= XDS_DIALECT_ENVOY; dialect++) {
        struct str_buf wire = STR_BUF_INIT(LEN_MAX);
        assert_int_equal(
            xds_encode(RESOURCE_CLUSTER, to.name, &to, (enum xds_dialect)dialect, &wire), 0);
        struct resource *r = decode(RESOURCE_CLUSTER, str_buf_str(&wire));
        const struct common_tls *got = &r->cluster->tls->common;
        bool has_token = dialect == XDS_DIALECT_TULLE;
        assert_int_equal(got->alpn_count, has_token ? 3 : 2);
        assert_true(str_eq(got->alpn[0], offered[0]));
        assert_true(str_eq(got->alpn[1], offered[has_token ? 1 : 2]));
        resource_unref(r);
        str_buf_deinit(&wire);
    }
}

static void test_round_trips(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        enum resource_type type = bodies[i].type;
        struct str_buf first = encode(type, bodies[i].name, bodies[i].body);
        struct resource *r = decode(type, str_buf_str(&first));
        assert_true(str_eq(r->name, bodies[i].name));
        assert_true(str_eq(r->wire, str_buf_str(&first)));
        assert_int_equal(r->hash, xds_hash(str_buf_str(&first)));
        assert_int_equal(r->version.len, 16);
        assert_refs(r, bodies[i].refs);
        struct str_buf second = encode(type, r->name, r->body);
        assert_same(bodies[i].what, &first, &second, type);
        resource_unref(r);
        str_buf_deinit(&first);
        str_buf_deinit(&second);
    }
}

static void test_json_round_trips(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        enum resource_type type = bodies[i].type;
        if (str_eq_nocase(str_from_c(bodies[i].what), STR("certificate")) ||
            type == RESOURCE_CLUSTER)
            continue; /* their keys are redacted */
        struct str_buf first = encode(type, bodies[i].name, bodies[i].body);
        struct str_buf json = STR_BUF_INIT(LEN_MAX), why = STR_BUF_INIT(LEN_MAX);
        struct resource *r = NULL;
        assert_int_equal(xds_to_json(type, str_buf_str(&first), &json), 0);
        if (xds_from_json(type, str_buf_str(&json), &why, &r) != 0)
            fail_msg("%s: %s", bodies[i].what, why.ptr);
        struct str_buf second = encode(type, r->name, r->body);
        assert_same(bodies[i].what, &first, &second, type);
        resource_unref(r);
        str_buf_deinit(&first);
        str_buf_deinit(&second);
        str_buf_deinit(&json);
    }
}

static void test_keys_are_redacted(void **state)
{
    const struct {
        enum resource_type type;
        const void *body;
    } rows[] = {{RESOURCE_SECRET, &inline_cert}, {RESOURCE_CLUSTER, &eds_cluster}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str_buf wire = encode(rows[i].type, STR("x"), rows[i].body);
        struct str_buf json = STR_BUF_INIT(LEN_MAX);
        assert_int_equal(xds_to_json(rows[i].type, str_buf_str(&wire), &json), 0);
        assert_true(str_contains(str_buf_str(&json), STR("[redacted]")));
        assert_false(str_contains(str_buf_str(&json), STR("PRIVATE KEY")));
        str_buf_deinit(&wire);
        str_buf_deinit(&json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_token_of_tunnels),
        cmocka_unit_test(test_json_round_trips),
        cmocka_unit_test(test_keys_are_redacted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
