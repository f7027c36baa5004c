#include "base/err.h"
#include "mesh/xds/codec_priv.h"

/* --- decoding --- */

static int check_pem(struct decode *d, const struct pb_path *at, struct str pem)
{
    return str_contains(pem, STR("-----BEGIN ")) ? 0 : decode_fail(d, at, "not PEM");
}

int decode_certificate(struct decode *d, const struct pb_path *at, const Pb__Tls__TlsCertificate *m,
                       struct secret *secret)
{
    const struct pb_path *chain_at = PB_AT(at, "certificate_chain");
    const struct pb_path *key_at = PB_AT(at, "private_key");
    secret->kind = SECRET_CERTIFICATE;
    if (decode_data_source(d, chain_at, m->certificate_chain, &secret->chain_pem) != 0 ||
        check_pem(d, chain_at, secret->chain_pem) != 0 ||
        decode_data_source(d, key_at, m->private_key, &secret->key_pem) != 0)
        return -ERR_INVALID;
    return check_pem(d, key_at, secret->key_pem);
}

static int decode_sans(struct decode *d, const struct pb_path *at,
                       const Pb__Tls__CertificateValidationContext *m, struct secret *secret)
{
    size_t count = m->n_match_typed_subject_alt_names + m->n_match_subject_alt_names;
    struct tls_san_matcher *sans = ARENA_ARRAY(d->arena, struct tls_san_matcher, count);
    secret->sans = count > 0 ? sans : NULL;
    secret->san_count = count;
    for (size_t i = 0; i < m->n_match_typed_subject_alt_names; i++, sans++) {
        const struct pb_path *here = PB_AT_I(at, "match_typed_subject_alt_names", i);
        const Pb__Tls__SubjectAltNameMatcher *san = m->match_typed_subject_alt_names[i];
        switch ((int)san->san_type) {
        case PB__TLS__SUBJECT_ALT_NAME_MATCHER__SAN_TYPE__DNS:
            sans->type = TLS_SAN_TYPE_DNS;
            break;
        case PB__TLS__SUBJECT_ALT_NAME_MATCHER__SAN_TYPE__URI:
            sans->type = TLS_SAN_TYPE_URI;
            break;
        case PB__TLS__SUBJECT_ALT_NAME_MATCHER__SAN_TYPE__IP_ADDRESS:
            sans->type = TLS_SAN_TYPE_IP;
            break;
        default:
            return decode_fail(d, PB_AT(here, "san_type"), "DNS, URI or IP_ADDRESS is needed");
        }
        if (decode_string_match(d, PB_AT(here, "matcher"), san->matcher, &sans->match) != 0)
            return -ERR_INVALID;
    }
    /* The older list: any type of name. */
    for (size_t i = 0; i < m->n_match_subject_alt_names; i++, sans++) {
        if (decode_string_match(d, PB_AT_I(at, "match_subject_alt_names", i),
                                m->match_subject_alt_names[i], &sans->match) != 0)
            return -ERR_INVALID;
    }
    for (size_t i = 0; i < count; i++) {
        if (secret->sans[i].match.kind == STRING_MATCH_REGEX)
            return decode_fail(d, at, "regular expressions are not supported for names of peers");
    }
    return 0;
}

int decode_validation(struct decode *d, const struct pb_path *at,
                      const Pb__Tls__CertificateValidationContext *m, struct secret *secret)
{
    const struct pb_path *ca_at = PB_AT(at, "trusted_ca");
    secret->kind = SECRET_VALIDATION;
    if (m->ca_certificate_provider_instance != NULL)
        return decode_fail(d, PB_AT(at, "ca_certificate_provider_instance"),
                           "certificate providers are not supported");
    if (m->trusted_ca != NULL &&
        (decode_data_source(d, ca_at, m->trusted_ca, &secret->roots_pem) != 0 ||
         check_pem(d, ca_at, secret->roots_pem) != 0))
        return -ERR_INVALID;
    return decode_sans(d, at, m, secret);
}

int decode_secret(struct decode *d, const struct pb_path *at, const void *message,
                  struct str *ret_name, const void **ret_body)
{
    const Pb__Tls__Secret *m = message;
    if (!decode_is_set(m->name))
        return decode_fail(d, PB_AT(at, "name"), "a name is needed");
    struct secret *secret = ARENA_NEW(d->arena, struct secret);
    int rc;
    switch ((int)m->type_case) {
    case PB__TLS__SECRET__TYPE_TLS_CERTIFICATE:
        rc = decode_certificate(d, PB_AT(at, "tls_certificate"), m->tls_certificate, secret);
        break;
    case PB__TLS__SECRET__TYPE_VALIDATION_CONTEXT:
        rc = decode_validation(d, PB_AT(at, "validation_context"), m->validation_context, secret);
        if (rc == 0 && secret->roots_pem.len == 0)
            rc = decode_fail(d, PB_AT(at, "validation_context.trusted_ca"), "roots are needed");
        break;
    default:
        rc = decode_fail(d, at, "tls_certificate or validation_context is needed");
    }
    if (rc != 0)
        return rc;
    *ret_name = decode_str(d, m->name);
    *ret_body = secret;
    return 0;
}

/* --- encoding --- */

Pb__Tls__TlsCertificate *encode_certificate(struct encode *e, const struct secret *in)
{
    Pb__Tls__TlsCertificate *m = PB_NEW(e, Pb__Tls__TlsCertificate, pb__tls__tls_certificate);
    m->certificate_chain = encode_inline(e, in->chain_pem);
    m->private_key = encode_inline(e, in->key_pem);
    return m;
}

/* SAN matchers that name no type go into the older list, which knows none. */
static void encode_san(struct encode *e, const struct tls_san_matcher *in,
                       Pb__Tls__CertificateValidationContext *m)
{
    static const Pb__Tls__SubjectAltNameMatcher__SanType types[] = {
        [TLS_SAN_TYPE_ANY] = PB__TLS__SUBJECT_ALT_NAME_MATCHER__SAN_TYPE__SAN_TYPE_UNSPECIFIED,
        [TLS_SAN_TYPE_DNS] = PB__TLS__SUBJECT_ALT_NAME_MATCHER__SAN_TYPE__DNS,
        [TLS_SAN_TYPE_URI] = PB__TLS__SUBJECT_ALT_NAME_MATCHER__SAN_TYPE__URI,
        [TLS_SAN_TYPE_IP] = PB__TLS__SUBJECT_ALT_NAME_MATCHER__SAN_TYPE__IP_ADDRESS,
    };
    Pb__Matcher__StringMatcher *match = encode_string_match(e, &in->match);
    if (in->type == TLS_SAN_TYPE_ANY) {
        m->match_subject_alt_names[m->n_match_subject_alt_names++] = match;
        return;
    }
    Pb__Tls__SubjectAltNameMatcher *san =
        PB_NEW(e, Pb__Tls__SubjectAltNameMatcher, pb__tls__subject_alt_name_matcher);
    san->has_san_type = true;
    san->san_type = types[in->type];
    san->matcher = match;
    m->match_typed_subject_alt_names[m->n_match_typed_subject_alt_names++] = san;
}

Pb__Tls__CertificateValidationContext *encode_validation(struct encode *e, struct str roots_pem,
                                                         const struct tls_san_matcher *sans,
                                                         size_t san_count)
{
    Pb__Tls__CertificateValidationContext *m =
        PB_NEW(e, Pb__Tls__CertificateValidationContext, pb__tls__certificate_validation_context);
    if (roots_pem.len > 0)
        m->trusted_ca = encode_inline(e, roots_pem);
    m->match_subject_alt_names = PB_PTRS(e, Pb__Matcher__StringMatcher, san_count);
    m->match_typed_subject_alt_names = PB_PTRS(e, Pb__Tls__SubjectAltNameMatcher, san_count);
    for (size_t i = 0; i < san_count; i++)
        encode_san(e, &sans[i], m);
    return m;
}

ProtobufCMessage *encode_secret(struct encode *e, struct str name, const void *body)
{
    const struct secret *in = body;
    Pb__Tls__Secret *m = PB_NEW(e, Pb__Tls__Secret, pb__tls__secret);
    m->name = encode_str(e, name);
    switch (in->kind) {
    case SECRET_CERTIFICATE:
        m->type_case = PB__TLS__SECRET__TYPE_TLS_CERTIFICATE;
        m->tls_certificate = encode_certificate(e, in);
        break;
    case SECRET_VALIDATION:
        m->type_case = PB__TLS__SECRET__TYPE_VALIDATION_CONTEXT;
        m->validation_context = encode_validation(e, in->roots_pem, in->sans, in->san_count);
        break;
    }
    return &m->base;
}
