/* The types' codecs, one file each: decode_X takes an unpacked message, encode_X makes one. */
#pragma once

#include "mesh/model/cluster.h"
#include "mesh/model/directory.h"
#include "mesh/model/listener.h"
#include "mesh/model/secret.h"
#include "mesh/xds/decode.h"
#include "mesh/xds/encode.h"

/* decode_X: 0 or -ERR_INVALID with d->why; the out parameter is untouched on failure. */

/* --- listener.c --- */
int decode_listener(struct decode *d, const struct pb_path *at, const void *message,
                    struct str *ret_name, const void **ret_body);
ProtobufCMessage *encode_listener(struct encode *e, struct str name, const void *body);
/* --- listener_filters.c --- */
int decode_listener_filters(struct decode *d, const struct pb_path *at,
                            const Pb__Listener__Listener *m, struct listener *l);
void encode_listener_filters(struct encode *e, const struct listener_filters *in,
                             Pb__Listener__Listener *m);
/* --- http_filters.c --- */
int decode_http_filters(struct decode *d, const struct pb_path *at,
                        const Pb__Hcm__HttpConnectionManager *m, struct hcm *hcm);
Pb__Hcm__HttpFilter *encode_http_filter(struct encode *e, const struct http_filter *in);
/* An entry of typed_per_filter_config, whose generated types differ by where it stands. */
struct decode_override {
    const char *name;
    const Pb__Any *config;
};
int decode_overrides(struct decode *d, const struct pb_path *at, const struct decode_override *in,
                     size_t count, struct filter_overrides *ret_overrides);
#define DECODE_OVERRIDES(d, at, m, to)                                                             \
    ({                                                                                             \
        size_t count_ = (m)->n_typed_per_filter_config;                                            \
        struct decode_override *in_ = ARENA_ARRAY((d)->scratch, struct decode_override, count_);   \
        for (size_t i_ = 0; i_ < count_; i_++)                                                     \
            in_[i_] = (struct decode_override){(m)->typed_per_filter_config[i_]->key,              \
                                               (m)->typed_per_filter_config[i_]->value};           \
        decode_overrides((d), (at), in_, count_, (to));                                            \
    })
/* --- hcm.c --- */
int decode_hcm(struct decode *d, const struct pb_path *at, const Pb__Hcm__HttpConnectionManager *m,
               const struct hcm **ret_hcm);
ProtobufCMessage *encode_hcm(struct encode *e, const struct hcm *in);
void encode_hcm_routes(struct encode *e, const struct hcm *in, Pb__Hcm__HttpConnectionManager *m);
void encode_hcm_filters(struct encode *e, const struct hcm *in, Pb__Hcm__HttpConnectionManager *m);
/* --- grpc_dialect.c: these in XDS_DIALECT_GRPC --- */
ProtobufCMessage *encode_grpc_listener(struct encode *e, struct str name,
                                       const struct listener *in);
ProtobufCMessage *encode_grpc_cluster(struct encode *e, struct str name, const struct cluster *in);
/* --- tcp_proxy.c --- */
int decode_tcp_proxy(struct decode *d, const struct pb_path *at, const Pb__TcpProxy__TcpProxy *m,
                     const struct tcp_proxy **ret_tcp_proxy);
ProtobufCMessage *encode_tcp_proxy(struct encode *e, const struct tcp_proxy *in);
/* --- access_log.c --- */
int decode_access_logs(struct decode *d, const struct pb_path *at,
                       Pb__Accesslog__AccessLog *const *items, size_t count,
                       const struct access_log_config **ret_logs);
Pb__Accesslog__AccessLog **encode_access_logs(struct encode *e,
                                              const struct access_log_config *logs, size_t count);
/* --- format.c --- */
int decode_format(struct decode *d, const struct pb_path *at,
                  const Pb__Core__SubstitutionFormatString *m,
                  struct substitution_format *to); /* NULL message: to stays as it is */
/* NULL: the default. */
Pb__Core__SubstitutionFormatString *encode_format(struct encode *e,
                                                  const struct substitution_format *in);
/* --- local_reply.c: NULL message, NULL config --- */
int decode_local_reply(struct decode *d, const struct pb_path *at,
                       const Pb__Hcm__LocalReplyConfig *m, const struct local_reply **ret_reply);
Pb__Hcm__LocalReplyConfig *encode_local_reply(struct encode *e, const struct local_reply *in);
/* --- access_log_filter.c --- */
int decode_access_log_filter(struct decode *d, const struct pb_path *at,
                             const Pb__Accesslog__AccessLogFilter *m,
                             const struct access_log_filter **ret_filter); /* NULL: NULL */
Pb__Accesslog__AccessLogFilter *encode_access_log_filter(struct encode *e,
                                                         const struct access_log_filter *in);
/* --- route.c --- */
int decode_route_config(struct decode *d, const struct pb_path *at, const void *message,
                        struct str *ret_name, const void **ret_body);
ProtobufCMessage *encode_route_config(struct encode *e, struct str name, const void *body);
/* --- route_action.c --- */
int decode_route_action(struct decode *d, const struct pb_path *at, const Pb__Route__Route *m,
                        struct route *route);
void encode_route_action(struct encode *e, const struct route *in, Pb__Route__Route *m);
/* --- route_policy.c --- */
int decode_route_policies(struct decode *d, const struct pb_path *at,
                          const Pb__Route__RouteAction *m, struct route *route);
bool route_has_no_encoding(const struct route *in);
/* --- upgrade.c: upgrade_configs --- */
int decode_hcm_upgrades(struct decode *d, const struct pb_path *at,
                        const Pb__Hcm__HttpConnectionManager *m, struct hcm *hcm);
void encode_hcm_upgrades(struct encode *e, const struct hcm *in, Pb__Hcm__HttpConnectionManager *m);
int decode_route_upgrades(struct decode *d, const struct pb_path *at,
                          const Pb__Route__RouteAction *m, struct route *route);
void encode_route_upgrades(struct encode *e, const struct route *in, Pb__Route__RouteAction *m);
/* --- retry.c --- */
int decode_retry(struct decode *d, const struct pb_path *at, const Pb__Route__RetryPolicy *m,
                 const struct retry_policy **ret_retry); /* NULL message: NULL policy */
Pb__Route__RetryPolicy *encode_retry(struct encode *e, const struct retry_policy *in);
/* --- cluster.c --- */
int decode_cluster(struct decode *d, const struct pb_path *at, const void *message,
                   struct str *ret_name, const void **ret_body);
ProtobufCMessage *encode_cluster(struct encode *e, struct str name, const void *body);
/* --- cluster_dns.c: names of endpoints --- */
int decode_cluster_dns(struct decode *d, const struct pb_path *at, const Pb__Cluster__Cluster *m,
                       struct cluster *cluster);
void encode_cluster_dns(struct encode *e, const struct cluster *in, Pb__Cluster__Cluster *m);
/* --- cluster_limits.c: circuit breakers and outlier detection --- */
int decode_breaker(struct decode *d, const struct pb_path *at,
                   const Pb__Cluster__CircuitBreakers *m, struct circuit_breaker *ret_breaker);
Pb__Cluster__CircuitBreakers *encode_breaker(struct encode *e, const struct circuit_breaker *in);
int decode_outlier(struct decode *d, const struct pb_path *at,
                   const Pb__Cluster__OutlierDetection *m, struct outlier_detection *ret_outlier);
Pb__Cluster__OutlierDetection *encode_outlier(struct encode *e, const struct outlier_detection *in);
/* --- http_options.c: what listeners and clusters say of HTTP --- */
/* Adds what is set to options; NULL adds nothing. */
int decode_http2_options(struct decode *d, const struct pb_path *at,
                         const Pb__Core__Http2ProtocolOptions *m, struct http2_options *options);
Pb__Core__Http2ProtocolOptions *encode_http2_options(struct encode *e,
                                                     const struct http2_options *in);
/* Where a listener or a cluster keeps them. */
struct http_options {
    uint64_t *idle_timeout_us, *max_connection_duration_us, *max_stream_duration_us;
    uint32_t *max_headers_count, *max_requests_per_connection;
    uint32_t *max_response_headers_kb; /* NULL: of clusters alone */
};
#define HTTP_OPTIONS_OF(model, response_kb)                                                        \
    (&(struct http_options){&(model)->idle_timeout_us, &(model)->max_connection_duration_us,       \
                            &(model)->max_stream_duration_us, &(model)->max_headers_count,         \
                            &(model)->max_requests_per_connection, (response_kb)})
int decode_http_options(struct decode *d, const struct pb_path *at,
                        const Pb__Core__HttpProtocolOptions *m, const struct http_options *to);
/* NULL: nothing differs from the defaults. */
Pb__Core__HttpProtocolOptions *encode_http_options(struct encode *e, const struct http_options *in,
                                                   uint64_t idle_fallback_us);
/* --- cluster_protocol.c: HttpProtocolOptions of clusters --- */
int decode_cluster_protocol(struct decode *d, const struct pb_path *at,
                            const Pb__Cluster__Cluster *m, struct cluster *cluster);
void encode_cluster_protocol(struct encode *e, const struct cluster *in, Pb__Cluster__Cluster *m);
/* --- endpoints.c --- */
int decode_endpoints(struct decode *d, const struct pb_path *at, const void *message,
                     struct str *ret_name, const void **ret_body);
ProtobufCMessage *encode_endpoints(struct encode *e, struct str name, const void *body);
/* --- secret.c --- */
int decode_secret(struct decode *d, const struct pb_path *at, const void *message,
                  struct str *ret_name, const void **ret_body);
ProtobufCMessage *encode_secret(struct encode *e, struct str name, const void *body);
int decode_certificate(struct decode *d, const struct pb_path *at, const Pb__Tls__TlsCertificate *m,
                       struct secret *secret);
int decode_validation(struct decode *d, const struct pb_path *at,
                      const Pb__Tls__CertificateValidationContext *m, struct secret *secret);
Pb__Tls__TlsCertificate *encode_certificate(struct encode *e, const struct secret *in);
/* roots may be empty: names only. */
Pb__Tls__CertificateValidationContext *encode_validation(struct encode *e, struct str roots_pem,
                                                         const struct tls_san_matcher *sans,
                                                         size_t san_count);
/* --- tls.c --- */
/* A NULL socket, and raw_buffer, are plain text: NULL. */
int decode_downstream_tls(struct decode *d, const struct pb_path *at,
                          const Pb__Core__TransportSocket *m,
                          const struct downstream_tls **ret_tls);
int decode_upstream_tls(struct decode *d, const struct pb_path *at,
                        const Pb__Core__TransportSocket *m, const struct upstream_tls **ret_tls);
/* NULL: a raw_buffer socket. */
Pb__Core__TransportSocket *encode_downstream_tls(struct encode *e, const struct downstream_tls *in);
Pb__Core__TransportSocket *encode_upstream_tls(struct encode *e, const struct upstream_tls *in);
/* --- rbac.c --- */
int decode_rbac(struct decode *d, const struct pb_path *at, const Pb__Rbac__RBAC *m,
                const struct rbac **ret_rbac);
Pb__Rbac__RBAC *encode_rbac(struct encode *e, const struct rbac *in);
/* --- rbac_node.c --- */
int decode_permission(struct decode *d, const struct pb_path *at, const Pb__Rbac__Permission *m,
                      struct rbac_node *ret_node);
int decode_principal(struct decode *d, const struct pb_path *at, const Pb__Rbac__Principal *m,
                     struct rbac_node *ret_node);
Pb__Rbac__Permission *encode_permission(struct encode *e, const struct rbac_node *in);
Pb__Rbac__Principal *encode_principal(struct encode *e, const struct rbac_node *in);
/* --- directory.c --- */
int decode_directory(struct decode *d, const struct pb_path *at, const void *message,
                     struct str *ret_name, const void **ret_body);
ProtobufCMessage *encode_directory(struct encode *e, struct str name, const void *body);

/* --- codec.c --- */
/* xds_decode with a place to name in front of every error, and leave to read files. */
int codec_decode(enum resource_type type, struct str wire, const struct pb_path *at,
                 bool may_read_files, struct str_buf *why, struct resource **ret_resource);
const ProtobufCMessageDescriptor *codec_descriptor(enum resource_type type);
