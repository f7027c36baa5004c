/* What a cluster's connections speak: HttpProtocolOptions, and the older fields of Cluster that
 * said the same. */
#include "base/err.h"
#include "mesh/xds/codec_priv.h"

#define OPTIONS_KEY "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

static const uint64_t idle_timeout_us = 3600000000;

/* --- decoding --- */

static int decode_protocol(struct decode *d, const struct pb_path *at,
                           const Pb__UpstreamHttp__HttpProtocolOptions *m, struct cluster *cluster)
{
    switch ((int)m->upstream_protocol_options_case) {
    case PB__UPSTREAM_HTTP__HTTP_PROTOCOL_OPTIONS__UPSTREAM_PROTOCOL_OPTIONS_EXPLICIT_HTTP_CONFIG:
        if (m->explicit_http_config->protocol_config_case ==
            PB__UPSTREAM_HTTP__HTTP_PROTOCOL_OPTIONS__EXPLICIT_HTTP_CONFIG__PROTOCOL_CONFIG__NOT_SET)
            return decode_fail(d, PB_AT(at, "explicit_http_config"), "a protocol is needed");
        cluster->protocol = UPSTREAM_HTTP1;
        if (m->explicit_http_config->protocol_config_case ==
            PB__UPSTREAM_HTTP__HTTP_PROTOCOL_OPTIONS__EXPLICIT_HTTP_CONFIG__PROTOCOL_CONFIG_HTTP2_PROTOCOL_OPTIONS) {
            cluster->protocol = UPSTREAM_HTTP2;
            return decode_http2_options(d, PB_AT(at, "explicit_http_config.http2_protocol_options"),
                                        m->explicit_http_config->http2_protocol_options,
                                        &cluster->http2);
        }
        return 0;
    case PB__UPSTREAM_HTTP__HTTP_PROTOCOL_OPTIONS__UPSTREAM_PROTOCOL_OPTIONS_USE_DOWNSTREAM_PROTOCOL_CONFIG:
        cluster->protocol = UPSTREAM_DOWNSTREAM;
        return decode_http2_options(
            d, PB_AT(at, "use_downstream_protocol_config.http2_protocol_options"),
            m->use_downstream_protocol_config->http2_protocol_options, &cluster->http2);
    case PB__UPSTREAM_HTTP__HTTP_PROTOCOL_OPTIONS__UPSTREAM_PROTOCOL_OPTIONS_AUTO_CONFIG:
        cluster->protocol = UPSTREAM_AUTO_ALPN;
        return decode_http2_options(d, PB_AT(at, "auto_config.http2_protocol_options"),
                                    m->auto_config->http2_protocol_options, &cluster->http2);
    default:
        return decode_fail(d, at, "the choice of a protocol is needed");
    }
}

int decode_cluster_protocol(struct decode *d, const struct pb_path *at,
                            const Pb__Cluster__Cluster *m, struct cluster *cluster)
{
    cluster->idle_timeout_us = idle_timeout_us;
    cluster->max_requests_per_connection = decode_u32(m->max_requests_per_connection, 0);
    cluster->protocol = m->http2_protocol_options != NULL ? UPSTREAM_HTTP2 : UPSTREAM_HTTP1;
    if (decode_http2_options(d, PB_AT(at, "http2_protocol_options"), m->http2_protocol_options,
                             &cluster->http2) != 0 ||
        decode_http_options(d, PB_AT(at, "common_http_protocol_options"),
                            m->common_http_protocol_options,
                            HTTP_OPTIONS_OF(cluster, &cluster->max_response_headers_kb)) != 0)
        return -ERR_INVALID;
    for (size_t i = 0; i < m->n_typed_extension_protocol_options; i++) {
        struct pb_path here = *PB_AT(at, "typed_extension_protocol_options");
        const char *key = m->typed_extension_protocol_options[i]->key;
        here.key = str_from_c(key != NULL ? key : "");
        if (!str_eq(here.key, STR(OPTIONS_KEY)))
            return decode_fail(d, &here, "not supported");
        const Pb__UpstreamHttp__HttpProtocolOptions *options =
            decode_any_as(d, &here, m->typed_extension_protocol_options[i]->value,
                          &pb__upstream_http__http_protocol_options__descriptor);
        if (options == NULL ||
            decode_http_options(d, PB_AT(&here, "common_http_protocol_options"),
                                options->common_http_protocol_options,
                                HTTP_OPTIONS_OF(cluster, &cluster->max_response_headers_kb)) != 0 ||
            decode_protocol(d, &here, options, cluster) != 0)
            return -ERR_INVALID;
    }
    return 0;
}

/* --- encoding --- */

static Pb__Core__Http1ProtocolOptions *encode_http1(struct encode *e)
{
    return PB_NEW(e, Pb__Core__Http1ProtocolOptions, pb__core__http1_protocol_options);
}

static void encode_explicit(struct encode *e, const struct cluster *in,
                            Pb__UpstreamHttp__HttpProtocolOptions *m)
{
    m->upstream_protocol_options_case =
        PB__UPSTREAM_HTTP__HTTP_PROTOCOL_OPTIONS__UPSTREAM_PROTOCOL_OPTIONS_EXPLICIT_HTTP_CONFIG;
    m->explicit_http_config =
        PB_NEW(e, Pb__UpstreamHttp__HttpProtocolOptions__ExplicitHttpConfig,
               pb__upstream_http__http_protocol_options__explicit_http_config);
    if (in->protocol == UPSTREAM_HTTP2) {
        m->explicit_http_config->protocol_config_case =
            PB__UPSTREAM_HTTP__HTTP_PROTOCOL_OPTIONS__EXPLICIT_HTTP_CONFIG__PROTOCOL_CONFIG_HTTP2_PROTOCOL_OPTIONS;
        m->explicit_http_config->http2_protocol_options = encode_http2_options(e, &in->http2);
        return;
    }
    m->explicit_http_config->protocol_config_case =
        PB__UPSTREAM_HTTP__HTTP_PROTOCOL_OPTIONS__EXPLICIT_HTTP_CONFIG__PROTOCOL_CONFIG_HTTP_PROTOCOL_OPTIONS;
    m->explicit_http_config->http_protocol_options = encode_http1(e);
}

static void encode_protocol(struct encode *e, const struct cluster *in,
                            Pb__UpstreamHttp__HttpProtocolOptions *m)
{
    switch (in->protocol) {
    case UPSTREAM_HTTP1:
    case UPSTREAM_HTTP2:
        encode_explicit(e, in, m);
        break;
    case UPSTREAM_DOWNSTREAM:
        m->upstream_protocol_options_case =
            PB__UPSTREAM_HTTP__HTTP_PROTOCOL_OPTIONS__UPSTREAM_PROTOCOL_OPTIONS_USE_DOWNSTREAM_PROTOCOL_CONFIG;
        m->use_downstream_protocol_config =
            PB_NEW(e, Pb__UpstreamHttp__HttpProtocolOptions__UseDownstreamHttpConfig,
                   pb__upstream_http__http_protocol_options__use_downstream_http_config);
        m->use_downstream_protocol_config->http_protocol_options = encode_http1(e);
        m->use_downstream_protocol_config->http2_protocol_options =
            encode_http2_options(e, &in->http2);
        break;
    case UPSTREAM_AUTO_ALPN:
        m->upstream_protocol_options_case =
            PB__UPSTREAM_HTTP__HTTP_PROTOCOL_OPTIONS__UPSTREAM_PROTOCOL_OPTIONS_AUTO_CONFIG;
        m->auto_config = PB_NEW(e, Pb__UpstreamHttp__HttpProtocolOptions__AutoHttpConfig,
                                pb__upstream_http__http_protocol_options__auto_http_config);
        m->auto_config->http_protocol_options = encode_http1(e);
        m->auto_config->http2_protocol_options = encode_http2_options(e, &in->http2);
        break;
    }
}

void encode_cluster_protocol(struct encode *e, const struct cluster *in, Pb__Cluster__Cluster *m)
{
    Pb__UpstreamHttp__HttpProtocolOptions *options =
        PB_NEW(e, Pb__UpstreamHttp__HttpProtocolOptions, pb__upstream_http__http_protocol_options);
    struct cluster copy = *in;
    options->common_http_protocol_options = encode_http_options(
        e, HTTP_OPTIONS_OF(&copy, &copy.max_response_headers_kb), idle_timeout_us);
    encode_protocol(e, in, options);
    m->n_typed_extension_protocol_options = 1;
    m->typed_extension_protocol_options =
        PB_PTRS(e, Pb__Cluster__Cluster__TypedExtensionProtocolOptionsEntry, 1);
    m->typed_extension_protocol_options[0] =
        PB_NEW(e, Pb__Cluster__Cluster__TypedExtensionProtocolOptionsEntry,
               pb__cluster__cluster__typed_extension_protocol_options_entry);
    m->typed_extension_protocol_options[0]->key = OPTIONS_KEY;
    m->typed_extension_protocol_options[0]->value = encode_any(e, &options->base);
}
