#include "proxy/agent/proxyless.h"

#include <stdio.h>

#include "base/err.h"
#include "codec/json_writer.h"
#include "mesh/model/cluster.h"
#include "mesh/model/listener.h"
#include "proxy/agent/file.h"
#include "proxy/agent/local.h"

enum { FILE_BYTES_MAX = 64 * 1024, PATH_BYTES_MAX = 1024, CONNECT_US = 5 * 1000 * 1000 };
#define CLUSTER_NAME "tulled"

struct path {
    char text[PATH_BYTES_MAX];
};

static struct str path_of(const struct proxyless_args *args, const char *prefix, const char *file,
                          struct path *buf)
{
    int len =
        snprintf(buf->text, sizeof buf->text, "%s%.*s/%s", prefix, STR_FMT(args->state_dir), file);
    return str_from(buf->text, MIN((size_t)len, sizeof buf->text - 1));
}

/* --- the socket --- */

/* The bytes of HTTP/2 are the same in clear and within TLS: nobody has to look at them. A stream
 * may be silent for days. */
static struct resource *socket_listener(const struct proxyless_args *args)
{
    struct path buf;
    const struct weighted_cluster to = {.name = STR(CLUSTER_NAME), .weight = 1};
    const struct tcp_proxy tcp = {
        .stat_prefix = STR(PROXYLESS_LISTENER), .clusters = &to, .cluster_count = 1};
    const struct network_filter filter = {.kind = NETWORK_FILTER_TCP_PROXY,
                                          .name = STR("envoy.filters.network.tcp_proxy"),
                                          .tcp_proxy = &tcp};
    const struct filter_chain chain = {
        .name = STR(PROXYLESS_LISTENER), .filters = &filter, .filter_count = 1};
    const struct listener model = {
        .address = {.path = path_of(args, "", PROXYLESS_FILE_SOCKET, &buf)},
        .bind_to_port = true,
        .direction = LISTENER_OUTBOUND,
        .default_chain = &chain,
    };
    return local_resource(RESOURCE_LISTENER, STR(PROXYLESS_LISTENER), &model);
}

static struct ip_addr ip_of(const struct addr *a)
{
    return ip_from_bytes(a->ip, a->family == ADDR_IP6 ? 16 : 4);
}

static struct resource *control_cluster(const struct proxyless_args *args)
{
    static const uint32_t no_limit = UINT32_MAX;
    static const struct str alpn = {"h2", 2};
    const struct tls_san_matcher san = {
        .type = TLS_SAN_TYPE_DNS,
        .match = {.kind = STRING_MATCH_EXACT, .value = args->server_name}};
    const struct upstream_tls tls = {
        .common = {.certificate = {.sds_name = STR(LOCAL_SECRET_OWN)},
                   .validation = {.sds_name = STR(LOCAL_SECRET_ROOTS)},
                   .sans = &san,
                   .san_count = 1,
                   .alpn = &alpn,
                   .alpn_count = 1,
                   .version_min = 13,
                   .version_max = 13},
        .sni = args->server_name,
    };
    const struct endpoint endpoint = {
        .address = {.ip = ip_of(&args->discovery), .port = args->discovery.port}, .weight = 1};
    const struct endpoints endpoints = {
        .cluster_name = STR(CLUSTER_NAME), .items = &endpoint, .count = 1};
    const struct cluster model = {
        .name = STR(CLUSTER_NAME),
        .kind = CLUSTER_STATIC,
        .lb = LB_ROUND_ROBIN,
        .connect_timeout_us = CONNECT_US,
        .protocol = UPSTREAM_HTTP2,
        .breaker = {no_limit, no_limit, no_limit, no_limit, 0, 0},
        .panic_threshold_percent = 50,
        .tls = &tls,
        .inline_endpoints = &endpoints,
    };
    return local_resource(RESOURCE_CLUSTER, STR(CLUSTER_NAME), &model);
}

void proxyless_resources(const struct proxyless_args *args,
                         struct resource *ret_resources[PROXYLESS_COUNT])
{
    ret_resources[0] = control_cluster(args);
    ret_resources[1] = socket_listener(args);
}

/* --- the bootstrap --- */

static void end(struct json_writer *w, int count)
{
    while (count-- > 0)
        json_writer_end(w);
}

static void server(struct json_writer *w, const struct proxyless_args *args)
{
    struct path buf;
    json_writer_array(w, "xds_servers");
    json_writer_object(w, NULL);
    json_writer_str(w, "server_uri", path_of(args, "unix://", PROXYLESS_FILE_SOCKET, &buf));
    json_writer_array(w, "channel_creds");
    json_writer_object(w, NULL);
    json_writer_c(w, "type", "insecure");
    end(w, 2);
    json_writer_array(w, "server_features");
    json_writer_c(w, NULL, "xds_v3");
    end(w, 3);
}

/* Where an endpoint is comes from its agent, which reports when the app is ready, too. */
static void node(struct json_writer *w, const struct proxyless_args *args)
{
    json_writer_object(w, "node");
    json_writer_str(w, "id", args->node_id);
    json_writer_str(w, "cluster", args->node_cluster);
    json_writer_object(w, "locality");
    json_writer_end(w);
    json_writer_object(w, "metadata");
    json_writer_str(w, "NAMESPACE", args->namespace_);
    json_writer_str(w, "WORKLOAD", args->workload);
    json_writer_u64(w, "INDEX", args->index);
    json_writer_c(w, "DIALECT", "grpc");
    end(w, 2);
}

static void provider(struct json_writer *w, const struct proxyless_args *args)
{
    static const struct {
        const char *key, *file;
    } files[] = {{"certificate_file", "identity/cert.pem"},
                 {"private_key_file", "identity/key.pem"},
                 {"ca_certificate_file", "identity/roots.pem"}};
    struct path buf;
    json_writer_object(w, "certificate_providers");
    json_writer_object(w, "default");
    json_writer_c(w, "plugin_name", "file_watcher");
    json_writer_object(w, "config");
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        json_writer_str(w, files[i].key, path_of(args, "", files[i].file, &buf));
    json_writer_c(w, "refresh_interval", "10s");
    end(w, 3);
}

void proxyless_bootstrap(const struct proxyless_args *args, struct str_buf *to)
{
    struct json_writer w;
    json_writer_init(&w, to, 2);
    json_writer_object(&w, NULL);
    server(&w, args);
    node(&w, args);
    provider(&w, args);
    json_writer_c(&w, "server_listener_resource_name_template",
                  "grpc/server?xds.resource.listening_address=%s");
    json_writer_end(&w);
}

int proxyless_write(const struct proxyless_args *args)
{
    struct path buf;
    struct str_buf text = STR_BUF_INIT(FILE_BYTES_MAX);
    proxyless_bootstrap(args, &text);
    int err = text.is_overflown ? -ERR_TOO_LARGE
                                : file_write(path_of(args, "", PROXYLESS_FILE_BOOTSTRAP, &buf).ptr,
                                             str_buf_str(&text));
    str_buf_deinit(&text);
    return err;
}
