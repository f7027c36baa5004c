#include "base/err.h"
#include "mesh/xds/codec_priv.h"

/* --- decoding --- */

static int decode_version(struct decode *d, const struct pb_path *at,
                          Pb__Tls__TlsParameters__TlsProtocol version, int *ret_version)
{
    switch ((int)version) {
    case PB__TLS__TLS_PARAMETERS__TLS_PROTOCOL__TLS_AUTO:
        *ret_version = 0;
        return 0;
    case PB__TLS__TLS_PARAMETERS__TLS_PROTOCOL__TLSv1_2:
        *ret_version = 12;
        return 0;
    case PB__TLS__TLS_PARAMETERS__TLS_PROTOCOL__TLSv1_3:
        *ret_version = 13;
        return 0;
    default:
        return decode_fail(d, at, "only TLSv1_2 and TLSv1_3 are supported");
    }
}

/* Those that we could agree to, in their order; a list without any would agree to nothing. */
static int decode_ciphers(struct decode *d, const struct pb_path *at,
                          const Pb__Tls__TlsParameters *m, struct common_tls *tls)
{
    static const char *const known[] = {
        "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
    };
    AUTO(str_buf_deinit) struct str_buf list = STR_BUF_INIT(1024);
    for (size_t i = 0; i < m->n_cipher_suites; i++) {
        for (size_t k = 0; k < ARRAY_LEN(known); k++) {
            if (strcmp(m->cipher_suites[i], known[k]) == 0)
                str_buf_printf(&list, "%s%s", list.len > 0 ? ":" : "", known[k]);
        }
    }
    if (list.is_overflown || (m->n_cipher_suites > 0 && list.len == 0))
        return decode_fail(d, PB_AT(at, "cipher_suites"), "none of them is supported");
    tls->ciphers = arena_str(d->arena, str_buf_str(&list));
    return 0;
}

static int decode_params(struct decode *d, const struct pb_path *at,
                         const Pb__Tls__TlsParameters *m, struct common_tls *tls)
{
    if (m == NULL)
        return 0;
    if (decode_version(d, PB_AT(at, "tls_minimum_protocol_version"),
                       m->tls_minimum_protocol_version, &tls->version_min) != 0 ||
        decode_version(d, PB_AT(at, "tls_maximum_protocol_version"),
                       m->tls_maximum_protocol_version, &tls->version_max) != 0)
        return -ERR_INVALID;
    if (tls->version_max != 0 && tls->version_min > tls->version_max)
        return decode_fail(d, at, "the minimum is above the maximum");
    if (m->n_ecdh_curves > 0)
        return decode_fail(d, PB_AT(at, "ecdh_curves"), "not supported");
    return m->n_cipher_suites > 0 ? decode_ciphers(d, at, m, tls) : 0;
}

static int decode_sds(struct decode *d, const struct pb_path *at, const Pb__Tls__SdsSecretConfig *m,
                      struct str *ret_name)
{
    if (m == NULL || !decode_is_set(m->name))
        return decode_fail(d, PB_AT(at, "name"), "the name of a secret is needed");
    /* Without a source the secret is one of the bootstrap's. */
    struct resource_source source;
    if (decode_config_source(d, PB_AT(at, "sds_config"), m->sds_config, true, &source) != 0)
        return -ERR_INVALID;
    *ret_name = decode_str(d, m->name);
    decode_add_ref_from(d, RESOURCE_SECRET, *ret_name, source);
    return 0;
}

static int decode_own_certificate(struct decode *d, const struct pb_path *at,
                                  const Pb__Tls__CommonTlsContext *m, struct common_tls *tls)
{
    size_t count = m->n_tls_certificates + m->n_tls_certificate_sds_secret_configs;
    if (m->tls_certificate_provider_instance != NULL)
        return decode_fail(d, PB_AT(at, "tls_certificate_provider_instance"),
                           "certificate providers are not supported");
    if (count > 1)
        return decode_fail(d, at, "more than one certificate is not supported yet");
    if (m->n_tls_certificate_sds_secret_configs == 1)
        return decode_sds(d, PB_AT_I(at, "tls_certificate_sds_secret_configs", 0),
                          m->tls_certificate_sds_secret_configs[0], &tls->certificate.sds_name);
    if (m->n_tls_certificates == 0)
        return 0;
    struct secret *secret = ARENA_NEW(d->arena, struct secret);
    tls->certificate.inline_secret = secret;
    return decode_certificate(d, PB_AT_I(at, "tls_certificates", 0), m->tls_certificates[0],
                              secret);
}

/* The names that a peer may have come from the context, the roots from it or from a secret. */
static int decode_inline_validation(struct decode *d, const struct pb_path *at,
                                    const Pb__Tls__CertificateValidationContext *m,
                                    struct common_tls *tls)
{
    if (m == NULL)
        return 0;
    struct secret *secret = ARENA_NEW(d->arena, struct secret);
    if (decode_validation(d, at, m, secret) != 0)
        return -ERR_INVALID;
    tls->sans = secret->sans;
    tls->san_count = secret->san_count;
    secret->sans = NULL;
    secret->san_count = 0;
    if (secret->roots_pem.len > 0)
        tls->validation.inline_secret = secret;
    return 0;
}

/* Whoever signs himself has any name: such a check would only seem to be one. */
static int check_roots(struct decode *d, const struct pb_path *at, const struct common_tls *tls)
{
    bool has_roots = tls->validation.sds_name.len > 0 || tls->validation.inline_secret != NULL;
    return tls->san_count == 0 || has_roots
               ? 0
               : decode_fail(d, at, "names of peers mean nothing without trusted_ca");
}

static int decode_combined(struct decode *d, const struct pb_path *at,
                           const Pb__Tls__CommonTlsContext__CombinedCertificateValidationContext *m,
                           struct common_tls *tls)
{
    const struct pb_path *default_at = PB_AT(at, "default_validation_context");
    if (decode_inline_validation(d, default_at, m->default_validation_context, tls) != 0)
        return -ERR_INVALID;
    if (tls->validation.inline_secret != NULL)
        return decode_fail(d, PB_AT(default_at, "trusted_ca"), "the secret gives the roots");
    return decode_sds(d, PB_AT(at, "validation_context_sds_secret_config"),
                      m->validation_context_sds_secret_config, &tls->validation.sds_name);
}

static int decode_peer_validation(struct decode *d, const struct pb_path *at,
                                  const Pb__Tls__CommonTlsContext *m, struct common_tls *tls)
{
    const struct pb_path *here = PB_AT(at, "validation_context");
    switch ((int)m->validation_context_type_case) {
    case PB__TLS__COMMON_TLS_CONTEXT__VALIDATION_CONTEXT_TYPE_VALIDATION_CONTEXT:
        if (decode_inline_validation(d, here, m->validation_context, tls) != 0)
            return -ERR_INVALID;
        return check_roots(d, here, tls);
    case PB__TLS__COMMON_TLS_CONTEXT__VALIDATION_CONTEXT_TYPE_VALIDATION_CONTEXT_SDS_SECRET_CONFIG:
        return decode_sds(d, PB_AT(at, "validation_context_sds_secret_config"),
                          m->validation_context_sds_secret_config, &tls->validation.sds_name);
    case PB__TLS__COMMON_TLS_CONTEXT__VALIDATION_CONTEXT_TYPE_COMBINED_VALIDATION_CONTEXT:
        return decode_combined(d, PB_AT(at, "combined_validation_context"),
                               m->combined_validation_context, tls);
    default:
        return 0;
    }
}

static int decode_common(struct decode *d, const struct pb_path *parent,
                         const Pb__Tls__CommonTlsContext *m, struct common_tls *tls)
{
    enum { ALPN_LEN_MAX = 255 };
    if (m == NULL)
        return 0;
    const struct pb_path *at = PB_AT(parent, "common_tls_context");
    if (decode_params(d, PB_AT(at, "tls_params"), m->tls_params, tls) != 0 ||
        decode_own_certificate(d, at, m, tls) != 0 || decode_peer_validation(d, at, m, tls) != 0)
        return -ERR_INVALID;
    for (size_t i = 0; i < m->n_alpn_protocols; i++) {
        size_t len = strlen(m->alpn_protocols[i]);
        if (len == 0 || len > ALPN_LEN_MAX)
            return decode_fail(d, PB_AT_I(at, "alpn_protocols", i), "not a protocol name");
    }
    tls->alpn = decode_strs(d, m->alpn_protocols, m->n_alpn_protocols);
    tls->alpn_count = m->n_alpn_protocols;
    return 0;
}

/* NULL without *ret_is_plain: failed. */
static const void *decode_socket(struct decode *d, const struct pb_path *at,
                                 const Pb__Core__TransportSocket *m,
                                 const ProtobufCMessageDescriptor *want, bool *ret_is_plain)
{
    const ProtobufCMessageDescriptor *desc;
    *ret_is_plain = m == NULL;
    if (m == NULL)
        return NULL;
    const void *config = decode_any(d, PB_AT(at, "typed_config"), m->typed_config, &desc);
    if (config == NULL || desc == want)
        return config;
    if (desc == &pb__raw_buffer__raw_buffer__descriptor)
        *ret_is_plain = true;
    else
        (void)decode_fail(d, PB_AT(at, "typed_config"), "%s is not supported here", desc->name);
    return NULL;
}

int decode_downstream_tls(struct decode *d, const struct pb_path *at,
                          const Pb__Core__TransportSocket *m, const struct downstream_tls **ret_tls)
{
    bool is_plain;
    const Pb__Tls__DownstreamTlsContext *context =
        decode_socket(d, at, m, &pb__tls__downstream_tls_context__descriptor, &is_plain);
    if (context == NULL)
        return is_plain ? 0 : -ERR_INVALID;
    const struct pb_path *here = PB_AT(at, "typed_config");
    struct downstream_tls *tls = ARENA_NEW(d->arena, struct downstream_tls);
    if (decode_common(d, here, context->common_tls_context, &tls->common) != 0)
        return -ERR_INVALID;
    if (tls->common.certificate.sds_name.len == 0 && tls->common.certificate.inline_secret == NULL)
        return decode_fail(d, PB_AT(here, "common_tls_context"), "a server needs a certificate");
    tls->require_client_certificate = decode_bool(context->require_client_certificate, false);
    bool has_roots =
        tls->common.validation.sds_name.len > 0 || tls->common.validation.inline_secret != NULL;
    if (tls->require_client_certificate && !has_roots)
        return decode_fail(d, PB_AT(here, "require_client_certificate"),
                           "without a validation context any certificate would do");
    *ret_tls = tls;
    return 0;
}

int decode_upstream_tls(struct decode *d, const struct pb_path *at,
                        const Pb__Core__TransportSocket *m, const struct upstream_tls **ret_tls)
{
    enum { SNI_LEN_MAX = 255 };
    bool is_plain;
    const Pb__Tls__UpstreamTlsContext *context =
        decode_socket(d, at, m, &pb__tls__upstream_tls_context__descriptor, &is_plain);
    if (context == NULL)
        return is_plain ? 0 : -ERR_INVALID;
    const struct pb_path *here = PB_AT(at, "typed_config");
    struct upstream_tls *tls = ARENA_NEW(d->arena, struct upstream_tls);
    if (decode_common(d, here, context->common_tls_context, &tls->common) != 0)
        return -ERR_INVALID;
    tls->sni = decode_str(d, context->sni);
    if (tls->sni.len > SNI_LEN_MAX)
        return decode_fail(d, PB_AT(here, "sni"), "longer than %d bytes", SNI_LEN_MAX);
    *ret_tls = tls;
    return 0;
}

/* --- encoding --- */

static Pb__Tls__TlsParameters__TlsProtocol encode_version(int version)
{
    if (version == 0)
        return PB__TLS__TLS_PARAMETERS__TLS_PROTOCOL__TLS_AUTO;
    return version == 12 ? PB__TLS__TLS_PARAMETERS__TLS_PROTOCOL__TLSv1_2
                         : PB__TLS__TLS_PARAMETERS__TLS_PROTOCOL__TLSv1_3;
}

static Pb__Tls__TlsParameters *encode_params(struct encode *e, const struct common_tls *in)
{
    if (in->ciphers.len > 0)
        e->rc = -ERR_UNSUPPORTED; /* ours leave the choice to the proxy */
    if (in->version_min == 0 && in->version_max == 0)
        return NULL;
    Pb__Tls__TlsParameters *m = PB_NEW(e, Pb__Tls__TlsParameters, pb__tls__tls_parameters);
    m->has_tls_minimum_protocol_version = in->version_min != 0;
    m->tls_minimum_protocol_version = encode_version(in->version_min);
    m->has_tls_maximum_protocol_version = in->version_max != 0;
    m->tls_maximum_protocol_version = encode_version(in->version_max);
    return m;
}

static Pb__Tls__SdsSecretConfig *encode_sds(struct encode *e, struct str name)
{
    Pb__Tls__SdsSecretConfig *m = PB_NEW(e, Pb__Tls__SdsSecretConfig, pb__tls__sds_secret_config);
    m->name = encode_str(e, name);
    m->sds_config = encode_ads(e);
    return m;
}

static void encode_own_certificate(struct encode *e, const struct common_tls *in,
                                   Pb__Tls__CommonTlsContext *m)
{
    if (in->certificate.sds_name.len > 0) {
        m->n_tls_certificate_sds_secret_configs = 1;
        m->tls_certificate_sds_secret_configs = PB_PTRS(e, Pb__Tls__SdsSecretConfig, 1);
        m->tls_certificate_sds_secret_configs[0] = encode_sds(e, in->certificate.sds_name);
    } else if (in->certificate.inline_secret != NULL) {
        m->n_tls_certificates = 1;
        m->tls_certificates = PB_PTRS(e, Pb__Tls__TlsCertificate, 1);
        m->tls_certificates[0] = encode_certificate(e, in->certificate.inline_secret);
    }
}

static void encode_peer_validation(struct encode *e, const struct common_tls *in,
                                   Pb__Tls__CommonTlsContext *m)
{
    const struct secret *roots = in->validation.inline_secret;
    bool has_sds = in->validation.sds_name.len > 0;
    if (has_sds && in->san_count == 0) {
        m->validation_context_type_case =
            PB__TLS__COMMON_TLS_CONTEXT__VALIDATION_CONTEXT_TYPE_VALIDATION_CONTEXT_SDS_SECRET_CONFIG;
        m->validation_context_sds_secret_config = encode_sds(e, in->validation.sds_name);
        return;
    }
    if (!has_sds && roots == NULL && in->san_count == 0)
        return;
    Pb__Tls__CertificateValidationContext *context =
        encode_validation(e, roots != NULL ? roots->roots_pem : STR_NULL, in->sans, in->san_count);
    if (!has_sds) {
        m->validation_context_type_case =
            PB__TLS__COMMON_TLS_CONTEXT__VALIDATION_CONTEXT_TYPE_VALIDATION_CONTEXT;
        m->validation_context = context;
        return;
    }
    m->validation_context_type_case =
        PB__TLS__COMMON_TLS_CONTEXT__VALIDATION_CONTEXT_TYPE_COMBINED_VALIDATION_CONTEXT;
    m->combined_validation_context =
        PB_NEW(e, Pb__Tls__CommonTlsContext__CombinedCertificateValidationContext,
               pb__tls__common_tls_context__combined_certificate_validation_context);
    m->combined_validation_context->default_validation_context = context;
    m->combined_validation_context->validation_context_sds_secret_config =
        encode_sds(e, in->validation.sds_name);
}

/* Others would agree to the token of tunnels, as to any that they are given, and then pass on
 * bytes.
 */
static const char **encode_alpn(struct encode *e, const struct common_tls *in, size_t *ret_count)
{
    const char **names = encode_strs(e, in->alpn, in->alpn_count);
    size_t count = 0;
    for (size_t i = 0; i < in->alpn_count; i++) {
        if (e->dialect == XDS_DIALECT_TULLE || !str_eq(in->alpn[i], STR(TLS_ALPN_TUNNEL)))
            names[count++] = names[i];
    }
    *ret_count = count;
    return names;
}

static Pb__Tls__CommonTlsContext *encode_common(struct encode *e, const struct common_tls *in)
{
    Pb__Tls__CommonTlsContext *m =
        PB_NEW(e, Pb__Tls__CommonTlsContext, pb__tls__common_tls_context);
    m->tls_params = encode_params(e, in);
    encode_own_certificate(e, in, m);
    encode_peer_validation(e, in, m);
    m->alpn_protocols = encode_alpn(e, in, &m->n_alpn_protocols);
    return m;
}

static Pb__Core__TransportSocket *encode_socket(struct encode *e, const char *name,
                                                const ProtobufCMessage *config)
{
    Pb__Core__TransportSocket *m = PB_NEW(e, Pb__Core__TransportSocket, pb__core__transport_socket);
    m->name = name;
    m->typed_config = encode_any(e, config);
    return m;
}

static Pb__Core__TransportSocket *encode_plain(struct encode *e)
{
    Pb__RawBuffer__RawBuffer *m = PB_NEW(e, Pb__RawBuffer__RawBuffer, pb__raw_buffer__raw_buffer);
    return encode_socket(e, "envoy.transport_sockets.raw_buffer", &m->base);
}

Pb__Core__TransportSocket *encode_downstream_tls(struct encode *e, const struct downstream_tls *in)
{
    if (in == NULL)
        return encode_plain(e);
    Pb__Tls__DownstreamTlsContext *m =
        PB_NEW(e, Pb__Tls__DownstreamTlsContext, pb__tls__downstream_tls_context);
    m->common_tls_context = encode_common(e, &in->common);
    m->require_client_certificate = encode_bool(e, in->require_client_certificate);
    return encode_socket(e, "envoy.transport_sockets.tls", &m->base);
}

Pb__Core__TransportSocket *encode_upstream_tls(struct encode *e, const struct upstream_tls *in)
{
    if (in == NULL)
        return encode_plain(e);
    Pb__Tls__UpstreamTlsContext *m =
        PB_NEW(e, Pb__Tls__UpstreamTlsContext, pb__tls__upstream_tls_context);
    m->common_tls_context = encode_common(e, &in->common);
    m->sni = encode_str(e, in->sni);
    return encode_socket(e, "envoy.transport_sockets.tls", &m->base);
}
