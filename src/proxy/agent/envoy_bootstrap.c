/* The files that Envoy is started with, as JSON. */
#include "proxy/agent/envoy.h"

#include <stdio.h>

enum { JSON_BYTES_MAX = 64 * 1024, TEXT_MAX = 1024 };

#define TYPE "type.googleapis.com/envoy."
#define TLS TYPE "extensions.transport_sockets.tls.v3."
#define HTTP_OPTIONS "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
#define CLUSTER_NAME "tulled"
#define SECRET_OWN "agent"
#define SECRET_ROOTS "agent-roots"

static void path(struct json_writer *w, const struct envoy_args *args, const char *key,
                 const char *file)
{
    char text[TEXT_MAX];
    int len = snprintf(text, sizeof text, "%.*s/%s", STR_FMT(args->state_dir), file);
    json_writer_str(w, key, str_from(text, MIN((size_t)len, sizeof text - 1)));
}

static void object(struct json_writer *w, const char *key, const char *inner)
{
    json_writer_object(w, key);
    if (inner != NULL)
        json_writer_object(w, inner);
}

static void end(struct json_writer *w, int count)
{
    while (count-- > 0)
        json_writer_end(w);
}

static void node(struct json_writer *w, const struct envoy_args *args)
{
    struct str addresses = args->addresses;
    json_writer_object(w, "node");
    json_writer_str(w, "id", args->node_id);
    json_writer_str(w, "cluster", args->node_cluster);
    json_writer_object(w, "metadata");
    json_writer_str(w, "NAMESPACE", args->namespace_);
    json_writer_str(w, "WORKLOAD", args->workload);
    json_writer_u64(w, "INDEX", args->index);
    json_writer_array(w, "ADDRESSES");
    while (addresses.len > 0)
        json_writer_str(w, NULL, str_split(&addresses, ','));
    end(w, 3);
}

/* By one stream; the state directory's socket shows what runs to whoever may look there. */
static void sources(struct json_writer *w, const struct envoy_args *args)
{
    static const char *const types[] = {"cds_config", "lds_config"};
    object(w, "admin", "address");
    json_writer_object(w, "pipe");
    path(w, args, "path", "envoy-admin.sock");
    end(w, 3);
    object(w, "dynamic_resources", "ads_config");
    json_writer_c(w, "api_type", "DELTA_GRPC");
    json_writer_c(w, "transport_api_version", "V3");
    json_writer_array(w, "grpc_services");
    object(w, NULL, "envoy_grpc");
    json_writer_c(w, "cluster_name", CLUSTER_NAME);
    end(w, 4);
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        object(w, types[i], "ads");
        json_writer_end(w);
        json_writer_c(w, "resource_api_version", "V3");
        json_writer_end(w);
    }
    json_writer_end(w);
}

static void secret_source(struct json_writer *w, const struct envoy_args *args, const char *name,
                          const char *file)
{
    json_writer_c(w, "name", name);
    object(w, "sds_config", "path_config_source");
    path(w, args, "path", file);
    json_writer_end(w);
    json_writer_c(w, "resource_api_version", "V3");
    json_writer_end(w);
}

static void tls(struct json_writer *w, const struct envoy_args *args)
{
    object(w, "transport_socket", NULL);
    json_writer_c(w, "name", "envoy.transport_sockets.tls");
    json_writer_object(w, "typed_config");
    json_writer_c(w, "@type", TLS "UpstreamTlsContext");
    json_writer_str(w, "sni", args->server_name);
    object(w, "common_tls_context", "tls_params");
    json_writer_c(w, "tls_minimum_protocol_version", "TLSv1_3");
    json_writer_c(w, "tls_maximum_protocol_version", "TLSv1_3");
    json_writer_end(w);
    json_writer_array(w, "tls_certificate_sds_secret_configs");
    json_writer_object(w, NULL);
    secret_source(w, args, SECRET_OWN, ENVOY_FILE_CERTIFICATE);
    end(w, 2);
    object(w, "combined_validation_context", "default_validation_context");
    json_writer_array(w, "match_typed_subject_alt_names");
    json_writer_object(w, NULL);
    json_writer_c(w, "san_type", "DNS");
    json_writer_object(w, "matcher");
    json_writer_str(w, "exact", args->server_name);
    end(w, 4);
    json_writer_object(w, "validation_context_sds_secret_config");
    secret_source(w, args, SECRET_ROOTS, ENVOY_FILE_ROOTS);
    end(w, 5);
}

static void endpoint(struct json_writer *w, const struct addr *at)
{
    char text[ADDR_TEXT_LEN];
    struct str ip = addr_format_ip(at, text);
    json_writer_object(w, "load_assignment");
    json_writer_c(w, "cluster_name", CLUSTER_NAME);
    json_writer_array(w, "endpoints");
    json_writer_object(w, NULL);
    json_writer_array(w, "lb_endpoints");
    object(w, NULL, "endpoint");
    object(w, "address", "socket_address");
    json_writer_str(w, "address", ip);
    json_writer_u64(w, "port_value", at->port);
    end(w, 8);
}

/* Capture knows our connections by their mark. */
static void mark(struct json_writer *w, const struct envoy_args *args)
{
    json_writer_object(w, "upstream_bind_config");
    json_writer_array(w, "socket_options");
    json_writer_object(w, NULL);
    json_writer_u64(w, "level", 1); /* SOL_SOCKET */
    json_writer_u64(w, "name", 36); /* SO_MARK */
    json_writer_u64(w, "int_value", args->mark);
    json_writer_c(w, "state", "STATE_PREBIND");
    end(w, 3);
}

static void keepalive(struct json_writer *w)
{
    object(w, "typed_extension_protocol_options", HTTP_OPTIONS);
    json_writer_c(w, "@type", TYPE "extensions.upstreams.http.v3.HttpProtocolOptions");
    object(w, "explicit_http_config", "http2_protocol_options");
    json_writer_object(w, "connection_keepalive");
    json_writer_c(w, "interval", "30s");
    json_writer_c(w, "timeout", "10s");
    end(w, 5);
}

void envoy_bootstrap(const struct envoy_args *args, struct str_buf *to)
{
    struct json_writer w;
    json_writer_init(&w, to, 0);
    json_writer_object(&w, NULL);
    node(&w, args);
    sources(&w, args);
    json_writer_object(&w, "static_resources");
    json_writer_array(&w, "clusters");
    json_writer_object(&w, NULL);
    json_writer_c(&w, "name", CLUSTER_NAME);
    json_writer_c(&w, "type", "STATIC");
    json_writer_c(&w, "connect_timeout", "5s");
    keepalive(&w);
    endpoint(&w, &args->discovery);
    mark(&w, args);
    tls(&w, args);
    end(&w, 4);
}

/* --- the agent's certificate --- */

/* Its files are replaced by renaming, which Envoy watches the directory for. */
static void file(struct json_writer *w, const struct envoy_args *args, const char *key,
                 const char *name)
{
    json_writer_object(w, key);
    path(w, args, "filename", name);
    json_writer_end(w);
}

static void begin_secret(struct json_writer *w, const struct envoy_args *args, const char *name,
                         const char *kind)
{
    json_writer_object(w, NULL);
    json_writer_array(w, "resources");
    json_writer_object(w, NULL);
    json_writer_c(w, "@type", TLS "Secret");
    json_writer_c(w, "name", name);
    object(w, kind, "watched_directory");
    path(w, args, "path", "identity");
    json_writer_end(w);
}

void envoy_certificate(const struct envoy_args *args, struct str_buf *to)
{
    struct json_writer w;
    json_writer_init(&w, to, 0);
    begin_secret(&w, args, SECRET_OWN, "tls_certificate");
    file(&w, args, "certificate_chain", "identity/cert.pem");
    file(&w, args, "private_key", "identity/key.pem");
    end(&w, 4);
}

void envoy_roots(const struct envoy_args *args, struct str_buf *to)
{
    struct json_writer w;
    json_writer_init(&w, to, 0);
    begin_secret(&w, args, SECRET_ROOTS, "validation_context");
    file(&w, args, "trusted_ca", "identity/roots.pem");
    end(&w, 4);
}
