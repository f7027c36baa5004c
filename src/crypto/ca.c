/* Issuing certificates (RFC 5280; SPIFFE X509-SVID for the names). */
#include <arpa/inet.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/rand.h>

#include "crypto/crypto_priv.h"

enum { SERIAL_LEN = 16 };

static void set_serial(X509 *x)
{
    uint8_t bytes[SERIAL_LEN];
    ASSERT(RAND_bytes(bytes, sizeof bytes) == 1);
    /* RFC 5280 4.1.2.2: positive, not zero. */
    bytes[0] = (uint8_t)((bytes[0] & 0x7f) | 0x40);
    BIGNUM *n = BN_bin2bn(bytes, sizeof bytes, NULL);
    ASSERT(n != NULL && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)) != NULL);
    BN_free(n);
}

static void set_times(X509 *x, uint64_t not_before_s, uint64_t not_after_s)
{
    ASSERT(ASN1_TIME_set(X509_getm_notBefore(x), (time_t)not_before_s) != NULL);
    ASSERT(ASN1_TIME_set(X509_getm_notAfter(x), (time_t)not_after_s) != NULL);
}

/* value: of OpenSSL's configuration syntax; constants of ours only, never foreign text. */
static void add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_nconf_nid(NULL, &ctx, nid, value);
    ASSERT(e != NULL && X509_add_ext(x, e, -1) == 1);
    X509_EXTENSION_free(e);
}

static void push_name(GENERAL_NAMES *names, int type, ASN1_STRING *value)
{
    GENERAL_NAME *gn = GENERAL_NAME_new();
    ASSERT(gn != NULL);
    GENERAL_NAME_set0_value(gn, type, value);
    sk_GENERAL_NAME_push(names, gn);
}

static bool push_text(GENERAL_NAMES *names, int type, struct str text)
{
    if (text.len == 0 || text.len > SAN_LEN_MAX)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] <= ' ' || text.ptr[i] >= 0x7f)
            return false;
    }
    ASN1_IA5STRING *value = ASN1_IA5STRING_new();
    ASSERT(value != NULL && ASN1_STRING_set(value, text.ptr, (int)text.len) == 1);
    push_name(names, type, value);
    return true;
}

static bool push_ip(GENERAL_NAMES *names, struct str text)
{
    char buf[INET6_ADDRSTRLEN];
    uint8_t ip[16];
    int len = 0;
    if (text.len >= sizeof buf)
        return false;
    memcpy(buf, text.ptr, text.len);
    buf[text.len] = '\0';
    if (inet_pton(AF_INET, buf, ip) == 1)
        len = 4;
    else if (inet_pton(AF_INET6, buf, ip) == 1)
        len = 16;
    if (len == 0)
        return false;
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    ASSERT(value != NULL && ASN1_OCTET_STRING_set(value, ip, len) == 1);
    push_name(names, GEN_IPADD, value);
    return true;
}

static void add_sans(X509 *x, GENERAL_NAMES *names, bool is_critical)
{
    ASSERT(X509_add1_ext_i2d(x, NID_subject_alt_name, names, is_critical, X509V3_ADD_APPEND) == 1);
}

static X509 *new_x509(EVP_PKEY *pkey, uint64_t not_before_s, uint64_t not_after_s)
{
    X509 *x = X509_new();
    ASSERT(x != NULL);
    X509_set_version(x, X509_VERSION_3);
    set_serial(x);
    set_times(x, not_before_s, not_after_s);
    ASSERT(X509_set_pubkey(x, pkey) == 1);
    return x;
}

static int sign(X509 *x, const struct key *k, struct cert **ret_cert)
{
    bool is_signed = X509_sign(x, k->pkey, EVP_sha256()) > 0;
    ERR_clear_error();
    if (!is_signed) {
        X509_free(x);
        return -ERR_INTERNAL;
    }
    *ret_cert = cert_wrap(x);
    return 0;
}

int ca_make_root(const struct key *k, struct str trust_domain, uint64_t not_before_s,
                 uint64_t not_after_s, struct cert **ret_cert)
{
    if (trust_domain.len == 0 || trust_domain.len > 255 || not_after_s <= not_before_s)
        return -ERR_INVALID;
    X509 *x = new_x509(k->pkey, not_before_s, not_after_s);
    X509_NAME *name = X509_get_subject_name(x);
    /* X.520 bounds O at 64 characters: a longer trust domain is cut, it only labels the CA. */
    int len = (int)MIN(trust_domain.len, (size_t)64);
    if (X509_NAME_add_entry_by_NID(name, NID_organizationName, MBSTRING_UTF8,
                                   (const unsigned char *)trust_domain.ptr, len, -1, 0) != 1 ||
        X509_set_issuer_name(x, name) != 1) {
        ERR_clear_error();
        X509_free(x);
        return -ERR_INVALID;
    }
    add_extension(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:1");
    add_extension(x, x, NID_key_usage, "critical,keyCertSign,cRLSign");
    add_extension(x, x, NID_subject_key_identifier, "hash");
    return sign(x, k, ret_cert);
}

/* Both kinds of leaf: names decide, the subject stays empty. A leaf never outlives its CA. */
static int issue(const struct key *ca_key, const struct cert *ca_cert, EVP_PKEY *pkey,
                 GENERAL_NAMES *names, uint64_t not_before_s, uint64_t not_after_s,
                 struct cert **ret_cert)
{
    not_after_s = MIN(not_after_s, asn1_time_to_s(X509_get0_notAfter(ca_cert->x509)));
    if (not_after_s <= not_before_s || !cert_matches_key(ca_cert, ca_key))
        return -ERR_INVALID;
    X509 *x = new_x509(pkey, not_before_s, not_after_s);
    ASSERT(X509_set_issuer_name(x, X509_get_subject_name(ca_cert->x509)) == 1);
    add_extension(x, ca_cert->x509, NID_basic_constraints, "critical,CA:FALSE");
    add_extension(x, ca_cert->x509, NID_key_usage, "critical,digitalSignature");
    add_extension(x, ca_cert->x509, NID_ext_key_usage, "serverAuth,clientAuth");
    add_extension(x, ca_cert->x509, NID_subject_key_identifier, "hash");
    if (X509_get0_subject_key_id(ca_cert->x509) != NULL)
        add_extension(x, ca_cert->x509, NID_authority_key_identifier, "keyid:always");
    add_sans(x, names, true); /* RFC 5280 4.1.2.6: critical when the subject is empty */
    return sign(x, ca_key, ret_cert);
}

int ca_issue_leaf(const struct key *ca_key, const struct cert *ca_cert, const struct csr *csr,
                  struct str spiffe_id, uint64_t not_before_s, uint64_t not_after_s,
                  struct cert **ret_cert)
{
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    ASSERT(names != NULL);
    int err = -ERR_INVALID;
    if (str_starts_with(spiffe_id, STR("spiffe://")) && push_text(names, GEN_URI, spiffe_id))
        err = issue(ca_key, ca_cert, X509_REQ_get0_pubkey(csr->req), names, not_before_s,
                    not_after_s, ret_cert);
    GENERAL_NAMES_free(names);
    return err;
}

static int issue_server(const struct key *ca_key, const struct cert *ca_cert, EVP_PKEY *pkey,
                        const struct server_names *n, uint64_t not_before_s, uint64_t not_after_s,
                        struct cert **ret_cert)
{
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    ASSERT(names != NULL);
    bool is_ok = str_is_empty(n->spiffe_id) || push_text(names, GEN_URI, n->spiffe_id);
    for (size_t i = 0; i < n->dns_count && is_ok; i++)
        is_ok = push_ip(names, n->dns[i]) || push_text(names, GEN_DNS, n->dns[i]);
    int err = -ERR_INVALID;
    if (is_ok && sk_GENERAL_NAME_num(names) > 0)
        err = issue(ca_key, ca_cert, pkey, names, not_before_s, not_after_s, ret_cert);
    GENERAL_NAMES_free(names);
    return err;
}

int ca_issue_server(const struct key *ca_key, const struct cert *ca_cert, const struct key *k,
                    const struct str *dns_names, size_t dns_count, struct str spiffe_id,
                    uint64_t not_before_s, uint64_t not_after_s, struct cert **ret_cert)
{
    struct server_names n = {dns_names, dns_count, spiffe_id};
    return issue_server(ca_key, ca_cert, k->pkey, &n, not_before_s, not_after_s, ret_cert);
}

int ca_issue_server_csr(const struct key *ca_key, const struct cert *ca_cert, const struct csr *csr,
                        const struct server_names *names, uint64_t not_before_s,
                        uint64_t not_after_s, struct cert **ret_cert)
{
    return issue_server(ca_key, ca_cert, X509_REQ_get0_pubkey(csr->req), names, not_before_s,
                        not_after_s, ret_cert);
}
