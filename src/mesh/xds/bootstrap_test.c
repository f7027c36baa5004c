#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "mesh/model/listener.h"
#include "mesh/model/secret.h"
#include "mesh/xds/bootstrap.h"
#include "mesh/xds/ca_codec.h"
#include "mesh/xds/codec.h"

enum { LEN_MAX = 1 << 16 };

#define T "type.googleapis.com/envoy.extensions."
#define HCM T "filters.network.http_connection_manager.v3.HttpConnectionManager"
#define ROUTER "{'name':'r','typed_config':{'@type':'" T "filters.http.router.v3.Router'}}"
#define ADDRESS "'address':{'socket_address':{'address':'127.0.0.1','port_value':8080}}"
#define CHAIN(filters) "'filter_chains':[{'filters':[" filters "]}]"
#define TCP                                                                                        \
    "{'name':'t','typed_config':{'@type':'" T "filters.network.tcp_proxy.v3.TcpProxy',"            \
    "'stat_prefix':'t','cluster':'c'}}"
#define TUNNEL(config)                                                                             \
    LISTENER(ADDRESS                                                                               \
             "," CHAIN("{'name':'t','typed_config':{'@type':'" T                                   \
                       "filters.network.tcp_proxy.v3.TcpProxy','stat_prefix':'t','cluster':'c',"   \
                       "'tunneling_config':{" config "}}}"))
#define LISTENER(body) "{'static_resources':{'listeners':[{'name':'l'," body "}]}}"
#define CLUSTER(body) "{'static_resources':{'clusters':[{'name':'c'," body "}]}}"
#define ONE_ENDPOINT                                                                               \
    "'load_assignment':{'cluster_name':'c','endpoints':[{'lb_endpoints':["                         \
    "{'endpoint':{'address':{'socket_address':{'address':'127.0.0.1','port_value':1}}}}]}]}"
#define X64 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx."
/* A name of 253 bytes and what stands before it. */
#define NAMED(more)                                                                                \
    "'type':'STRICT_DNS','load_assignment':{'cluster_name':'c','endpoints':[{'lb_endpoints':["     \
    "{'endpoint':{'address':{'socket_address':{'address':'" more X64 X64 X64                       \
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx','port_value':1}}}}]}]}"
#define HTTP(more)                                                                                 \
    LISTENER(ADDRESS "," CHAIN("{'name':'h','typed_config':{'@type':'" HCM "',"                    \
                               "'stat_prefix':'h','http_filters':[" ROUTER "]," more "}}"))
#define ROUTES(route)                                                                              \
    HTTP("'route_config':{'virtual_hosts':[{'name':'v','domains':['*'],"                           \
         "'routes':[" route "]}]}")

/* Single quotes stand for double ones: JSON in C is hard to read. */
static struct str quoted(const char *text, struct str_buf *buf)
{
    str_buf_reset(buf);
    for (; *text != '\0'; text++)
        str_buf_add_char(buf, *text == '\'' ? '"' : *text);
    return str_buf_str(buf);
}

static struct bootstrap *parse(const char *text)
{
    struct str_buf json = STR_BUF_INIT(LEN_MAX), why = STR_BUF_INIT(LEN_MAX);
    struct bootstrap *b = NULL;
    if (bootstrap_parse(quoted(text, &json), &why, &b) != 0)
        fail_msg("%s", why.ptr);
    str_buf_deinit(&json);
    str_buf_deinit(&why);
    return b;
}

static void assert_str(struct str got, const char *want)
{
    if (!str_eq(got, str_from_c(want)))
        fail_msg("got \"%.*s\", not \"%s\"", STR_FMT(got), want);
}

static void test_whole(void **state)
{
    struct bootstrap *b = parse(
        "{'node':{'id':'n','cluster':'k','metadata':{'a':[1,true,null,{'b':'c'}]}},"
        "'admin':{" ADDRESS "},"
        "'dynamicResources':{'adsConfig':{'apiType':'DELTA_GRPC','transportApiVersion':'V3',"
        "'grpcServices':[{'envoyGrpc':{'clusterName':'xds'}}]},'ldsConfig':{'ads':{}},"
        "'cds_config':{'ads':{},'resource_api_version':'V3','initial_fetch_timeout':'0s'}},"
        "'static_resources':{'listeners':[{" ADDRESS "," CHAIN(
            TCP) "}],"
                 "'clusters':[{'name':'c','type':'STATIC','connect_timeout':'0.25s'," ONE_ENDPOINT
                 "}],"
                 "'secrets':[{'name':'s','validation_context':{'trusted_ca':{'inline_string':"
                 "'-----BEGIN CERTIFICATE-----'}}}]}}");
    assert_str(b->node_id, "n");
    assert_str(b->node_cluster, "k");
    assert_str(b->node_metadata_json, "{\"a\":[1,true,null,{\"b\":\"c\"}]}");
    assert_int_equal(b->admin.port, 8080);
    assert_true(b->ads.is_set && b->ads.source.is_delta && b->lds.is_set && b->cds.is_set);
    assert_str(b->ads.source.cluster, "xds");
    assert_str(b->lds.source.cluster, "");
    assert_int_equal(b->resource_count, 3);
    assert_int_equal(b->resources[0]->type, RESOURCE_SECRET);
    assert_int_equal(b->resources[1]->cluster->connect_timeout_us, 250000);
    /* What the file does not say has Envoy's defaults. */
    const struct cluster *c = b->resources[1]->cluster;
    assert_int_equal(c->breaker.connections_max, 1024);
    assert_int_equal(c->breaker.retries_max, 3);
    assert_int_equal(c->panic_threshold_percent, 50);
    assert_int_equal(c->idle_timeout_us, 3600000000);
    assert_int_equal(c->inline_endpoints->items[0].weight, 1);
    assert_false(c->outlier.is_on);
    assert_str(b->resources[2]->name, "127.0.0.1:8080");
    assert_true(b->resources[2]->listener->bind_to_port);
    bootstrap_free(b);
    bootstrap_free(parse("{}"));
    assert_null(bootstrap_free(NULL));
}

static void test_defaults_of_http(void **state)
{
    struct bootstrap *b = parse(ROUTES("{'match':{'prefix':'/'},'route':{'cluster':'c'}}"));
    const struct hcm *hcm = b->resources[0]->listener->chains[0].filters[0].hcm;
    assert_int_equal(hcm->stream_idle_timeout_us, 300000000);
    assert_int_equal(hcm->drain_timeout_us, 5000000);
    assert_int_equal(hcm->idle_timeout_us, 3600000000);
    assert_true(hcm->generate_request_id);
    assert_int_equal(hcm->request_timeout_us, 0);
    const struct route *r = &hcm->route_config->hosts[0].routes[0];
    assert_int_equal(r->timeout_us, 15000000);
    assert_int_equal(r->weight_total, 1);
    assert_true(r->match.is_case_sensitive);
    bootstrap_free(b);
}

#define LIST "static_resources.listeners[0]"
#define HPATH LIST ".filter_chains[0].filters[0].typed_config"
#define RPATH HPATH ".route_config.virtual_hosts[0].routes[0]"

#define OVERLOAD(monitors) "{'overload_manager':{'resource_monitors':[" monitors "]}}"
#define CONNECTIONS(max)                                                                           \
    "{'name':'envoy.resource_monitors.global_downstream_max_connections','typed_config':{"         \
    "'@type':'" T "resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig',"      \
    "'max_active_downstream_connections':" max "}}"
#define HEAP                                                                                       \
    "{'name':'envoy.resource_monitors.fixed_heap','typed_config':{'@type':'" T                     \
    "resource_monitors.fixed_heap.v3.FixedHeapConfig','max_heap_size_bytes':1073741824}}"
#define AT_HEAP(value)                                                                             \
    "{'name':'envoy.resource_monitors.fixed_heap','threshold':{'value':" value "}}"

static const struct {
    const char *json, *why; /* why: what the message starts with */
} bad[] = {
    {"", "line 1, column "},
    {"[]", "an object is needed, not array"},
    {"{'nodes':{}}", "nodes: a field of Bootstrap that is not supported"},
    {"{'node':{'id':7}}", "node.id: a string is needed, not integer"},
    {"{'node':{'id':'a\\u0000b'}}", "node.id: a string with a NUL byte"},
    {"{'stats_config':{}}", "stats_config: a field of Bootstrap that is not supported"},
    {"{'admin':{'address':{}}}", "admin.address: an address is needed"},
    {"{'admin':{'address':{'socket_address':{'address':'localhost','port_value':1}}}}",
     "admin.address.socket_address.address: \"localhost\" is not an IP address"},
    {"{'admin':{'address':{'socket_address':{'address':'::1','port_value':70000}}}}",
     "admin.address.socket_address.port_value: 70000 is not a port"},
    {"{'admin':{'address':{'socket_address':{},'pipe':{'path':'/x'}}}}",
     "admin.address: only one of socket_address and pipe"},
    {"{'dynamic_resources':{'lds_config':{'ads':{}}}}", "dynamic_resources.ads_config: needed"},
    {"{'dynamic_resources':{'ads_config':{'api_type':'REST'}}}",
     "dynamic_resources.ads_config.api_type: GRPC or DELTA_GRPC"},
    {"{'dynamic_resources':{'ads_config':{'api_type':'WHAT'}}}",
     "dynamic_resources.ads_config.api_type: \"WHAT\" is not a value of ApiType"},
    {LISTENER(ADDRESS), LIST ".filter_chains: at least one is needed"},
    {LISTENER(ADDRESS ",'socket_options':[]"), LIST ".socket_options: a field of Listener"},
    {LISTENER(CHAIN(TCP)), LIST ".address: an address is needed"},
    {LISTENER(ADDRESS "," CHAIN("{'name':'x','typed_config':{'@type':'" T "x.Y'}}")),
     HPATH ": extension \"type.googleapis.com/envoy.extensions.x.Y\" is not supported"},
    {LISTENER(ADDRESS "," CHAIN("{'name':'x','typed_config':{}}")),
     HPATH ": an object with \"@type\" is needed"},
    {LISTENER(ADDRESS "," CHAIN(ROUTER)), HPATH ": envoy.extensions.filters.http.router.v3.Router"},
    {LISTENER(ADDRESS "," CHAIN(TCP "," TCP)),
     LIST ".filter_chains[0].filters[0]: nothing runs behind"},
    {TUNNEL(""), HPATH ".tunneling_config.hostname: host:port is needed"},
    {TUNNEL("'hostname':'%REQUESTED_SERVER_NAME%:443'"),
     HPATH ".tunneling_config.hostname: no formats"},
    {TUNNEL("'hostname':'a:1','use_post':true"), HPATH ".tunneling_config.use_post: only CONNECT"},
    {TUNNEL("'hostname':'a:1','post_path':'/'"), HPATH ".tunneling_config.post_path: a field of"},
    {TUNNEL("'hostname':'a:1','headers_to_add':[{'header':{'key':'a b','value':'c'}}]"),
     HPATH ".tunneling_config.headers_to_add[0].header.key: a header name"},
    {HTTP("'route_config':{},'max_request_headers_kb':9000"),
     HPATH ".max_request_headers_kb: must lie between 1 and 8192"},
    {HTTP("'route_config':{},'http2_protocol_options':{'initial_stream_window_size':1}"),
     HPATH ".http2_protocol_options.initial_stream_window_size: must lie between 65535 and"},
    {HTTP("'route_config':{},'set_current_client_cert_details':{'issuer':true}"),
     HPATH ".set_current_client_cert_details.issuer: a field of"},
    {HTTP("'route_config':{},'add_user_agent':{}"),
     HPATH ".add_user_agent: a field of HttpConnectionManager"},
    {HTTP("'codec_type':'HTTP3','route_config':{}"), HPATH ".codec_type: AUTO, HTTP1 and HTTP2"},
    {HTTP("'stream_idle_timeout':'x','route_config':{}"), HPATH ".stream_idle_timeout: a duration"},
    {HTTP("'stream_idle_timeout':'-1s','route_config':{}"),
     HPATH ".stream_idle_timeout: a duration"},
    {HTTP("'rds':{'route_config_name':'r','config_source':{}}"),
     HPATH ".rds.config_source: ads or api_config_source is needed"},
    {ROUTES("{'route':{'cluster':'c'}}"), RPATH ".match: a match is needed"},
    {ROUTES("{'match':{'prefix':'/'}}"), RPATH ": route, redirect or direct_response is needed"},
    {ROUTES("{'match':{'safe_regex':{'regex':'(?=a)'}},'route':{'cluster':'c'}}"),
     RPATH ".match.safe_regex.regex: not a regular expression, at byte 3"},
    {ROUTES("{'match':{'safe_regex':{'regex':'.*'}},'route':{'cluster':'c','regex_rewrite':"
            "{'pattern':{'regex':'(a)'},'substitution':'\\\\2'}}}"),
     RPATH ".route.regex_rewrite.substitution: a"},
    {ROUTES("{'match':{'prefix':'/'},'route':{'cluster':'c','regex_rewrite':"
            "{'pattern':{'regex':'a'},'substitution':'b c'}}}"),
     RPATH ".route.regex_rewrite.substitution: bytes that no path holds"},
    {ROUTES(
         "{'match':{'prefix':'/'},'route':{'cluster':'c'},'typed_per_filter_config':{'f':{'@type':"
         "'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router'}}}"),
     RPATH ".typed_per_filter_config[\"f\"]: envoy"},
    {ROUTES("{'match':{'prefix':'/'},'route':{'cluster':'c','hash_policy':[{'header':{}}]}}"),
     RPATH ".route.hash_policy[0]: a name is needed"},
    {ROUTES("{'match':{'prefix':'/'},'route':{'cluster':''}}"), RPATH ".route.cluster: a name"},
    {ROUTES("{'match':{'prefix':'/'},'route':{'weighted_clusters':{'clusters':[{'name':'a'}]}}}"),
     RPATH ".route.weighted_clusters: the sum of the weights"},
    {ROUTES(
         "{'match':{'prefix':'/'},'route':{'cluster':'c','retry_policy':{'retry_on':'5xx,no'}}}"),
     RPATH ".route.retry_policy.retry_on: \"no\" is not supported"},
    {ROUTES("{'match':{'prefix':'/'},'direct_response':{'status':99}}"),
     RPATH ".direct_response.status: 99"},
    {ROUTES("{'match':{'prefix':'/'},'route':{'cluster':'c'},'request_headers_to_add':"
            "[{'header':{'key':'a b','value':'c'}}]}"),
     RPATH ".request_headers_to_add[0].header.key: a header name"},
    {ROUTES("{'match':{'prefix':'/'},'route':{'cluster':'c'},'request_headers_to_add':"
            "[{'header':{'key':'a','value':'b\\r\\nc: d'}}]}"),
     RPATH ".request_headers_to_add[0].header.value: bytes that no header holds"},
    {CLUSTER("'type':'STRICT_DNS'"), "static_resources.clusters[0].load_assignment: endpoints"},
    {CLUSTER("'type':'LOGICAL_DNS','load_assignment':{'cluster_name':'c'}"),
     "static_resources.clusters[0].load_assignment: LOGICAL_DNS has one endpoint"},
    {CLUSTER(NAMED("y")),
     "static_resources.clusters[0].load_assignment.endpoints[0]"
     ".lb_endpoints[0].endpoint.address.socket_address.address: a name of 254"},
    {CLUSTER("'type':'STATIC','lb_policy':'LOAD_BALANCING_POLICY_CONFIG'," ONE_ENDPOINT),
     "static_resources.clusters[0].lb_policy: "},
    {CLUSTER("'type':'STATIC','connect_timeout':'0s'," ONE_ENDPOINT),
     "static_resources.clusters[0].connect_timeout: must be longer"},
    {CLUSTER("'type':'STATIC','upstream_bind_config':{'socket_options':[{'level':1,'name':9,"
             "'int_value':1}]}," ONE_ENDPOINT),
     "static_resources.clusters[0].upstream_bind_config.socket_options: SO_MARK alone"},
    {LISTENER("'address':{'socket_address':{'address':'127.0.0.1','port_value':1}},"
              "'additional_addresses':[{'address':{'socket_address':{'address':'::1',"
              "'port_value':1}}}]"),
     "static_resources.listeners[0].additional_addresses: one address"},
    {CLUSTER("'type':'EDS'"), "static_resources.clusters[0].eds_cluster_config: needed"},
    {CLUSTER("'lbPolicy':0,'lb_policy':0"),
     "static_resources.clusters[0]: lb_policy is there twice"},
    {CLUSTER("'type':1.5"), "static_resources.clusters[0].type: a whole number"},
    {CLUSTER("'max_requests_per_connection':-1"),
     "static_resources.clusters[0].max_requests_per_connection: out of range"},
    {CLUSTER("'max_requests_per_connection':4294967296"),
     "static_resources.clusters[0].max_requests_per_connection: out of range"},
    {CLUSTER("'type':'STATIC','common_lb_config':{'healthy_panic_threshold':{'value':101}}"
             "," ONE_ENDPOINT),
     "static_resources.clusters[0].common_lb_config.healthy_panic_threshold: a percentage"},
    {CLUSTER("'typed_extension_protocol_options':{'x':{'@type':'" T "x'}}"),
     "static_resources.clusters[0].typed_extension_protocol_options[\"x\"]: extension"},
    {CLUSTER(
         "'type':'STATIC','transport_socket':{'name':'t','typed_config':{'@type':'" T
         "transport_sockets.tls.v3.UpstreamTlsContext','common_tls_context':{'tls_certificates':"
         "[{'certificate_chain':{'filename':'/nonexistent'}}]}}}," ONE_ENDPOINT),
     "static_resources.clusters[0].transport_socket.typed_config.common_tls_context."
     "tls_certificates[0].certificate_chain.filename: /nonexistent: "},
    {CLUSTER("'type':'STATIC','transport_socket':{'name':'t','typed_config':{'@type':'" T
             "transport_sockets.tls.v3.UpstreamTlsContext','common_tls_context':{"
             "'validation_context':{'match_typed_subject_alt_names':[{'san_type':'DNS',"
             "'matcher':{'exact':'a'}}]}}}}," ONE_ENDPOINT),
     "static_resources.clusters[0].transport_socket.typed_config.common_tls_context."
     "validation_context: names of peers mean nothing without trusted_ca"},
    {"{'layered_runtime':{'layers':[{'name':'s','static_layer':{'re2':{'max':1}}}]}}",
     "layered_runtime.layers[0].static_layer[\"re2\"][\"max\"]: runtime key \"re2.max\" is not"},
    {"{'layered_runtime':{'layers':[{'name':'s','static_layer':"
     "{'envoy.resource_limits.listener.no.connection_limit':1}}]}}",
     "layered_runtime.layers[0].static_layer[\"envoy.resource_limits.listener.no.connection_"
     "limit\"]:"
     " there is no static listener \"no\""},
    {"{'layered_runtime':{'layers':[{'name':'s','static_layer':"
     "{'overload.global_downstream_max_connections':'1'}}]}}",
     "layered_runtime.layers[0].static_layer[\"overload.global_downstream_max_connections\"]: a "
     "number"},
    {"{'layered_runtime':{'layers':[{'name':'a','admin_layer':{}}]}}",
     "layered_runtime.layers[0].admin_layer: a field of RuntimeLayer"},
    {OVERLOAD(CONNECTIONS("0")),
     "overload_manager.resource_monitors[0].typed_config.max_active_downstream_connections: must"},
    {OVERLOAD("{'name':'envoy.resource_monitors.fixed_heap','typed_config':{'@type':'" T
              "resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig'}}"),
     "overload_manager.resource_monitors[0].name: envoy.resource_monitors.global_downstream"},
    {OVERLOAD("{'name':'x','typed_config':{'@type':'" T
              "resource_monitors.injected_resource.v3.InjectedResourceConfig'}}"),
     "overload_manager.resource_monitors[0].typed_config: extension"},
    {OVERLOAD(HEAP "],'actions':[{'name':'envoy.overload_actions.reset_high_memory_stream'}"),
     "overload_manager.actions[0].name: action \"envoy.overload_actions.reset_high"},
    {OVERLOAD(CONNECTIONS("1") "],'actions':[{'name':'envoy.overload_actions.shrink_heap',"
                               "'triggers':[" AT_HEAP("0.5") "]}"),
     "overload_manager.actions[0].triggers[0].name: only envoy.resource_monitors.fixed_heap"},
    {OVERLOAD(HEAP "],'actions':[{'name':'envoy.overload_actions.shrink_heap','triggers':[" AT_HEAP(
         "0.001") "]}"),
     "overload_manager.actions[0].triggers[0].threshold.value: must lie"},
    {OVERLOAD(HEAP "],'actions':[{'name':'envoy.overload_actions.shrink_heap'}"),
     "overload_manager.actions[0].triggers: one trigger"},
    {OVERLOAD(HEAP "],'actions':[{'name':'envoy.overload_actions.shrink_heap','triggers':[{'name':"
                   "'envoy.resource_monitors.fixed_heap','scaled':{}}]}"),
     "overload_manager.actions[0].triggers[0].scaled: a field of Trigger"},
    {"{'static_resources':{'clusters':[{'name':'c'," ONE_ENDPOINT "},{'name':'c'," ONE_ENDPOINT
     "}]}}",
     "static_resources.clusters[1]: the name \"c\" is there twice"},
};

static void test_overload_manager(void **state)
{
    struct bootstrap *b = parse(OVERLOAD(CONNECTIONS(
        "7") "," HEAP
             "],'actions':[{'name':'envoy.overload_actions.shrink_heap','triggers':[" AT_HEAP(
                 "0.9") "]},{'name':'envoy.overload_actions.stop_accepting_requests','triggers':"
                        "[" AT_HEAP("0.98") "]},"
                                            "{'name':'envoy.overload_actions.stop_accepting_"
                                            "connections','triggers':[" AT_HEAP("1") "]}"));
    assert_int_equal(b->overload.connections_max, 7);
    assert_int_equal(b->overload.heap_bytes_max, 1 << 30);
    assert_int_equal(b->overload.shed_percent, 98);
    assert_int_equal(b->overload.accept_percent, 100);
    bootstrap_free(b);
    b = parse("{}");
    assert_int_equal(b->overload.connections_max + b->overload.heap_bytes_max, 0);
    bootstrap_free(b);
}

#define RUNTIME(layers) "'layered_runtime':{'layers':[" layers "]}"
#define STATIC(fields) "{'name':'s','static_layer':{" fields "}}"

static void test_runtime_layers(void **state)
{
    struct bootstrap *b = parse("{'static_resources':{'listeners':[{'name':'in'," ADDRESS "," CHAIN(
        TCP) "}]}," RUNTIME(STATIC("'overload':{'global_downstream_max_connections':9},"
                                   "'envoy.resource_limits':{'listener':{'in':{'connection_limit':"
                                   "5}}}") "," STATIC("'envoy.resource_limits.listener.in."
                                                      "connection_limit':6")) "}");
    assert_int_equal(b->overload.connections_max, 9);
    assert_int_equal(b->resources[0]->listener->connections_max, 6);
    bootstrap_free(b);
}

/* As Istio's agent asks for. */
static void test_unknown_fields_are_passed_over_on_request(void **state)
{
    struct str_buf json = STR_BUF_INIT(LEN_MAX), why = STR_BUF_INIT(LEN_MAX);
    struct str_buf ignored = STR_BUF_INIT(LEN_MAX);
    struct bootstrap *b = NULL;
    struct str text = quoted("{'stats_config':{'a':[1]},'admin':{'profile_path':'x'},"
                             "'layered_runtime':{'layers':[{'admin_layer':{}},"
                             "{'static_layer':{'re2.max':1}}]}}",
                             &json);
    assert_int_equal(bootstrap_parse(text, &why, &b), -ERR_INVALID);
    str_buf_reset(&why);
    assert_int_equal(bootstrap_parse_tolerant(text, &ignored, &why, &b), 0);
    assert_str(str_buf_str(&ignored),
               "stats_config, admin.profile_path, layered_runtime.layers[0].admin_layer, "
               "runtime key re2.max");
    bootstrap_free(b);
    /* What decides who comes in is none of it. */
    str_buf_reset(&json);
    text =
        quoted("{'static_resources':{'secrets':[{'name':'s','session_ticket_keys':{}}]}}", &json);
    b = NULL;
    assert_int_equal(bootstrap_parse_tolerant(text, &ignored, &why, &b), -ERR_INVALID);
    assert_non_null(strstr(why.ptr, "secrets[0].session_ticket_keys: a field of Secret"));
    str_buf_deinit(&json);
    str_buf_deinit(&why);
    str_buf_deinit(&ignored);
}

static void test_bad_ones_are_refused_by_their_path(void **state)
{
    struct str_buf json = STR_BUF_INIT(LEN_MAX), why = STR_BUF_INIT(LEN_MAX);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct bootstrap *b = NULL;
        str_buf_reset(&why);
        if (bootstrap_parse(quoted(bad[i].json, &json), &why, &b) == 0)
            fail_msg("taken: %s", bad[i].json);
        assert_null(b);
        if (!str_starts_with(str_buf_str(&why), str_from_c(bad[i].why)))
            fail_msg("%s\n  says: %s", bad[i].json, why.ptr);
    }
    str_buf_deinit(&json);
    str_buf_deinit(&why);
}

static void test_the_longest_name(void **state)
{
    struct bootstrap *b = parse(CLUSTER(NAMED("")));
    const struct endpoint *e = &b->resources[0]->cluster->inline_endpoints->items[0];
    assert_int_equal(e->hostname.len, 253);
    bootstrap_free(b);
}

static void test_files_are_for_bootstraps(void **state)
{
    char path[] = "/tmp/bootstrap_test_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, "-----BEGIN CERTIFICATE-----\n", 28) == 28);
    close(fd);
    char json[512];
    snprintf(json, sizeof json,
             "{'static_resources':{'secrets':[{'name':'s','validation_context':"
             "{'trusted_ca':{'filename':'%s'}}}]}}",
             path);
    struct bootstrap *b = parse(json);
    assert_str(b->resources[0]->secret->roots_pem, "-----BEGIN CERTIFICATE-----\n");
    struct str_buf why = STR_BUF_INIT(LEN_MAX);
    struct resource *r = NULL;
    assert_int_equal(xds_decode(RESOURCE_SECRET, b->resources[0]->wire, &why, &r), -ERR_INVALID);
    assert_str(str_buf_str(&why),
               "validation_context.trusted_ca.filename: only a bootstrap may name files");
    str_buf_deinit(&why);
    bootstrap_free(b);
    unlink(path);
}

static void test_malformed_wire(void **state)
{
    static const struct {
        struct str wire;
        const char *why;
    } cases[] = {
        {{"\xff", 1}, "malformed envoy.config.cluster.v3.Cluster"},
        {{"\x0a\x05"
          "ab",
          4},
         "malformed envoy.config.cluster.v3.Cluster"},
        {{"\x0b", 1}, "malformed envoy.config.cluster.v3.Cluster"}, /* a group */
        {{"\x0a\x01\xff", 3}, "name: not UTF-8"},
        {{"\x0a\x02"
          "a\0",
          4},
         "name: a string with a NUL byte"},
        {{"\x08\x01", 2}, "name: wrong wire type 0"},
        {{"\x10\x63", 2}, "type: unknown value 99"},
        {{"\xd2\x02\x00", 3}, "field 42 of envoy.config.cluster.v3.Cluster is not supported"},
        {{"", 0}, "name: a name is needed"},
        /* A field of the second socket match. */
        {{"\xda\x02\x02\x0a\x00\xda\x02\x03\x12\x01\xff", 11},
         "transport_socket_matches[1].match: malformed google.protobuf.Struct"},
    };
    struct str_buf why = STR_BUF_INIT(LEN_MAX);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct resource *r = NULL;
        str_buf_reset(&why);
        assert_int_not_equal(xds_decode(RESOURCE_CLUSTER, cases[i].wire, &why, &r), 0);
        assert_null(r);
        if (!str_starts_with(str_buf_str(&why), str_from_c(cases[i].why)))
            fail_msg("case %zu: %s", i, why.ptr);
    }
    str_buf_deinit(&why);
}

/* A permission in a permission in ...: refused before anything recurses into it. */
static void test_depth_is_bounded(void **state)
{
    struct str_buf json = STR_BUF_INIT(LEN_MAX), why = STR_BUF_INIT(LEN_MAX);
    str_buf_add_c(&json,
                  "{'static_resources':{'listeners':[{" ADDRESS ",'filter_chains':[{'filters':"
                  "[{'typed_config':{'@type':'" T "filters.network.rbac.v3.RBAC','rules':"
                  "{'policies':{'p':{'principals':[");
    for (int i = 0; i < 45; i++)
        str_buf_add_c(&json, "{'not_id':");
    str_buf_add_c(&json, "{'any':true}");
    for (int i = 0; i < 45; i++)
        str_buf_add_c(&json, "}");
    str_buf_add_c(&json, "]}}}}}]}]}]}}");
    char *text = str_buf_take(&json);
    struct str_buf quoted_json = STR_BUF_INIT(LEN_MAX);
    struct bootstrap *b = NULL;
    assert_int_not_equal(bootstrap_parse(quoted(text, &quoted_json), &why, &b), 0);
    assert_true(why.len > 0);
    free(text);
    str_buf_deinit(&quoted_json);
    str_buf_deinit(&why);
}

static void test_ca_messages(void **state)
{
    struct arena a;
    arena_init(&a, 256);
    struct str_buf wire = STR_BUF_INIT(LEN_MAX);
    struct ca_codec_request request = {STR("csr"), 86400}, got_request = {{0}};
    ca_codec_encode_request(&request, &wire);
    assert_int_equal(ca_codec_decode_request(&a, str_buf_str(&wire), &got_request), 0);
    assert_str(got_request.csr_pem, "csr");
    assert_int_equal(got_request.validity_s, 86400);
    str_buf_reset(&wire);
    const struct str chain[] = {STR("leaf"), STR("root")};
    struct ca_codec_response response = {chain, 2}, got = {NULL, 0};
    ca_codec_encode_response(&response, &wire);
    assert_int_equal(ca_codec_decode_response(&a, str_buf_str(&wire), &got), 0);
    assert_int_equal(got.chain_count, 2);
    assert_str(got.chain_pem[1], "root");
    assert_int_equal(ca_codec_decode_response(&a, STR("\xff"), &got), -ERR_PROTOCOL);
    assert_int_equal(ca_codec_decode_request(
                         &a, STR("\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), &got_request),
                     -ERR_PROTOCOL); /* -1 s */
    str_buf_deinit(&wire);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_defaults_of_http),
        cmocka_unit_test(test_overload_manager),
        cmocka_unit_test(test_runtime_layers),
        cmocka_unit_test(test_unknown_fields_are_passed_over_on_request),
        cmocka_unit_test(test_bad_ones_are_refused_by_their_path),
        cmocka_unit_test(test_the_longest_name),
        cmocka_unit_test(test_files_are_for_bootstraps),
        cmocka_unit_test(test_malformed_wire),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_ca_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
