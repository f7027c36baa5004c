#include "crypto/x509.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <time.h>

#include "crypto/crypto_priv.h"
#include "crypto/digest.h"

struct cert *cert_wrap(X509 *x509)
{
    struct cert *c = NEW(struct cert);
    atomic_init(&c->ref_count, 1);
    c->x509 = x509;
    return c;
}

int cert_from_der(struct str der, struct cert **ret_cert)
{
    if (der.len == 0 || der.len > DER_LEN_MAX)
        return -ERR_SYNTAX;
    const unsigned char *at = (const unsigned char *)der.ptr;
    const unsigned char *end = at + der.len;
    X509 *x509 = d2i_X509(NULL, &at, (long)der.len);
    ERR_clear_error();
    if (x509 == NULL)
        return -ERR_SYNTAX;
    if (at != end) {
        X509_free(x509);
        return -ERR_SYNTAX;
    }
    *ret_cert = cert_wrap(x509);
    return 0;
}

static int next_cert(BIO *bio, struct cert **ret_cert)
{
    unsigned char *der = NULL;
    long len = 0;
    *ret_cert = NULL;
    int err = pem_next(bio, "CERTIFICATE", &der, &len);
    if (err < 0 || der == NULL)
        return err;
    err = cert_from_der(str_from((const char *)der, (size_t)len), ret_cert);
    OPENSSL_free(der);
    return err;
}

int certs_from_pem(struct str pem, struct cert **ret_certs, size_t max, size_t *ret_count)
{
    if (pem.len > PEM_LEN_MAX)
        return -ERR_TOO_LARGE;
    BIO *bio = pem_open(pem);
    size_t count = 0;
    int err;
    for (;;) {
        struct cert *c;
        err = next_cert(bio, &c);
        if (err < 0 || c == NULL)
            break;
        if (count == max) {
            cert_unref(c);
            err = -ERR_TOO_LARGE;
            break;
        }
        ret_certs[count++] = c;
    }
    BIO_free(bio);
    if (err == 0 && count == 0)
        err = -ERR_SYNTAX;
    if (err < 0) {
        while (count > 0)
            cert_unref(ret_certs[--count]);
        return err;
    }
    *ret_count = count;
    return 0;
}

int cert_from_pem(struct str pem, struct cert **ret_cert)
{
    if (pem.len > PEM_LEN_MAX)
        return -ERR_TOO_LARGE;
    struct cert *c;
    BIO *bio = pem_open(pem);
    int err = next_cert(bio, &c);
    BIO_free(bio);
    if (err < 0 || c == NULL)
        return -ERR_SYNTAX;
    *ret_cert = c;
    return 0;
}

struct cert *cert_ref(struct cert *c)
{
    atomic_fetch_add_explicit(&c->ref_count, 1, memory_order_relaxed);
    return c;
}

struct cert *cert_unref(struct cert *c)
{
    if (c == NULL || atomic_fetch_sub_explicit(&c->ref_count, 1, memory_order_acq_rel) > 1)
        return NULL;
    X509_free(c->x509);
    free(c);
    return NULL;
}

void cert_to_pem(const struct cert *c, struct str_buf *to)
{
    x509_to_pem(c->x509, to);
}

void x509_to_pem(X509 *x509, struct str_buf *to)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *data;
    ASSERT(bio != NULL);
    ASSERT(PEM_write_bio_X509(bio, x509) == 1);
    long len = BIO_get_mem_data(bio, &data);
    str_buf_add(to, str_from(data, (size_t)len));
    BIO_free(bio);
}

/* ---- Facts ---- */

struct str x509_name_text(const X509_NAME *name, struct arena *a)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *data;
    ASSERT(bio != NULL);
    X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253);
    long len = BIO_get_mem_data(bio, &data);
    struct str text = arena_str(a, str_from(data, len > 0 ? (size_t)len : 0));
    BIO_free(bio);
    return text;
}

struct str hex_text(const uint8_t *bytes, size_t len, struct arena *a)
{
    static const char digits[] = "0123456789abcdef";
    char *text = arena_bytes(a, 2 * len);
    for (size_t i = 0; i < len; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    return str_from(text, 2 * len);
}

void x509_sha256(const X509 *x509, uint8_t ret_digest[32])
{
    unsigned len = 32;
    ASSERT(X509_digest(x509, EVP_sha256(), ret_digest, &len) == 1);
}

static struct str ip_text(const ASN1_OCTET_STRING *ip, char *buf, unsigned cap)
{
    int len = ASN1_STRING_length(ip);
    const void *bytes = ASN1_STRING_get0_data(ip);
    if (len != 4 && len != 16)
        return STR_NULL;
    return str_from_c(inet_ntop(len == 4 ? AF_INET : AF_INET6, bytes, buf, cap));
}

/* Names go into headers and logs as they are: control bytes and spaces would write more than a name
 * there, and a NUL would end it elsewhere for whoever reads it as a C string. */
static bool is_printable_name(struct str name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] <= ' ' || name.ptr[i] >= 0x7f)
            return false;
    }
    return name.len > 0 && name.len <= SAN_LEN_MAX;
}

int general_names_walk(const GENERAL_NAMES *names, san_fn *see, void *ctx)
{
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        int type;
        char buf[INET6_ADDRSTRLEN];
        const GENERAL_NAME *gn = sk_GENERAL_NAME_value(names, i);
        const ASN1_STRING *s = GENERAL_NAME_get0_value(gn, &type);
        struct str value;
        if (type == GEN_URI || type == GEN_DNS)
            value = str_from((const char *)ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s));
        else if (type == GEN_IPADD)
            value = ip_text(s, buf, sizeof buf);
        else
            continue;
        if (!is_printable_name(value))
            return -ERR_INVALID;
        if (!see(ctx, type, value))
            break;
    }
    return 0;
}

int x509_walk_sans(const X509 *x509, san_fn *see, void *ctx)
{
    int critical = 0;
    GENERAL_NAMES *names = X509_get_ext_d2i(x509, NID_subject_alt_name, &critical, NULL);
    if (names == NULL) {
        ERR_clear_error();
        return critical == -1 ? 0 : -ERR_INVALID; /* absent: no names; else damaged or doubled */
    }
    int err = general_names_walk(names, see, ctx);
    GENERAL_NAMES_free(names);
    return err;
}

uint64_t asn1_time_to_s(const ASN1_TIME *t)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(t, &tm) != 1)
        return 0;
    time_t s = timegm(&tm);
    return s > 0 ? (uint64_t)s : 0;
}

struct info_walk {
    struct cert_info *info;
    struct arena *arena;
    bool has_too_many;
};

static bool see_san(void *ctx, int type, struct str value)
{
    struct info_walk *w = ctx;
    struct cert_info *info = w->info;
    if (type == GEN_URI && info->uri_san_count == ARRAY_LEN(info->uri_sans)) {
        w->has_too_many = true;
        return false;
    }
    if (type == GEN_URI)
        info->uri_sans[info->uri_san_count++] = arena_str(w->arena, value);
    else if (type == GEN_DNS && info->dns_san_count < ARRAY_LEN(info->dns_sans))
        info->dns_sans[info->dns_san_count++] = arena_str(w->arena, value);
    return true;
}

static struct str serial_text(const X509 *x509, struct arena *a)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(x509);
    return hex_text(ASN1_STRING_get0_data(serial), (size_t)ASN1_STRING_length(serial), a);
}

int cert_info(const struct cert *c, struct arena *a, struct cert_info *ret_info)
{
    struct cert_info info = {0};
    struct info_walk w = {&info, a, false};
    int err = x509_walk_sans(c->x509, see_san, &w);
    if (err < 0)
        return err;
    if (w.has_too_many)
        return -ERR_TOO_LARGE;
    uint8_t digest[32];
    x509_sha256(c->x509, digest);
    info.sha256_hex = hex_text(digest, sizeof digest, a);
    info.subject = x509_name_text(X509_get_subject_name(c->x509), a);
    info.issuer = x509_name_text(X509_get_issuer_name(c->x509), a);
    info.serial_hex = serial_text(c->x509, a);
    info.not_before_s = asn1_time_to_s(X509_get0_notBefore(c->x509));
    info.not_after_s = asn1_time_to_s(X509_get0_notAfter(c->x509));
    info.is_ca = X509_check_ca(c->x509) > 0;
    ERR_clear_error();
    *ret_info = info;
    return 0;
}

bool cert_matches_key(const struct cert *c, const struct key *k)
{
    bool is_same = EVP_PKEY_eq(X509_get0_pubkey(c->x509), k->pkey) == 1;
    ERR_clear_error();
    return is_same;
}

/* ---- Verification ---- */

static X509_STORE *store_of(struct cert *const *roots, size_t count)
{
    X509_STORE *store = X509_STORE_new();
    ASSERT(store != NULL);
    /* What the bundle names is an anchor, also an intermediate CA. */
    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
    for (size_t i = 0; i < count; i++)
        X509_STORE_add_cert(store, roots[i]->x509);
    return store;
}

int cert_verify(const struct cert *leaf, struct cert *const *chain, size_t chain_count,
                struct cert *const *roots, size_t root_count, uint64_t now_s,
                struct str_buf *ret_why)
{
    X509_STORE *store = store_of(roots, root_count);
    STACK_OF(X509) *untrusted = sk_X509_new_null();
    for (size_t i = 0; i < chain_count; i++)
        sk_X509_push(untrusted, chain[i]->x509);
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    ASSERT(ctx != NULL && untrusted != NULL);
    int err = -ERR_CERTIFICATE;
    if (X509_STORE_CTX_init(ctx, store, leaf->x509, untrusted) == 1) {
        X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(ctx), (time_t)now_s);
        if (X509_verify_cert(ctx) == 1)
            err = 0;
    }
    if (err < 0 && ret_why != NULL)
        str_buf_add_c(ret_why, X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
    X509_STORE_CTX_free(ctx);
    sk_X509_free(untrusted);
    X509_STORE_free(store);
    ERR_clear_error();
    return err;
}
