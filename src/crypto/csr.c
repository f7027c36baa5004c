/* Certificate signing requests (RFC 2986). */
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>

#include "crypto/crypto_priv.h"

enum { CSR_PEM_LEN_MAX = 16 * 1024 };

static void add_san(X509_REQ *req, struct str uri)
{
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    GENERAL_NAME *gn = GENERAL_NAME_new();
    ASN1_IA5STRING *value = ASN1_IA5STRING_new();
    ASSERT(names != NULL && gn != NULL && value != NULL);
    ASSERT(ASN1_STRING_set(value, uri.ptr, (int)uri.len) == 1);
    GENERAL_NAME_set0_value(gn, GEN_URI, value);
    sk_GENERAL_NAME_push(names, gn);
    STACK_OF(X509_EXTENSION) *extensions = NULL;
    ASSERT(X509V3_add1_i2d(&extensions, NID_subject_alt_name, names, 1, X509V3_ADD_APPEND) == 1);
    ASSERT(X509_REQ_add_extensions(req, extensions) == 1);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    GENERAL_NAMES_free(names);
}

int csr_make(const struct key *k, struct str uri_san, struct str_buf *ret_pem)
{
    if (uri_san.len == 0 || uri_san.len > SAN_LEN_MAX || str_find(uri_san, '\0') >= 0)
        return -ERR_INVALID;
    X509_REQ *req = X509_REQ_new();
    BIO *bio = BIO_new(BIO_s_mem());
    ASSERT(req != NULL && bio != NULL);
    X509_REQ_set_version(req, X509_REQ_VERSION_1);
    X509_REQ_set_pubkey(req, k->pkey);
    add_san(req, uri_san);
    int err = -ERR_INTERNAL;
    if (X509_REQ_sign(req, k->pkey, EVP_sha256()) > 0 && PEM_write_bio_X509_REQ(bio, req) == 1) {
        char *data;
        long len = BIO_get_mem_data(bio, &data);
        str_buf_add(ret_pem, str_from(data, (size_t)len));
        err = 0;
    }
    BIO_free(bio);
    X509_REQ_free(req);
    ERR_clear_error();
    return err;
}

/* Exactly one request, and nothing behind it. */
static int read_one(struct str pem, X509_REQ **ret_req)
{
    unsigned char *der = NULL, *more = NULL;
    long len = 0, more_len;
    BIO *bio = pem_open(pem);
    int err = pem_next(bio, "CERTIFICATE REQUEST", &der, &len);
    if (err == 0 && der != NULL)
        err = pem_next(bio, "CERTIFICATE REQUEST", &more, &more_len);
    BIO_free(bio);
    if (err < 0 || der == NULL || more != NULL) {
        OPENSSL_free(der);
        OPENSSL_free(more);
        return -ERR_SYNTAX;
    }
    const unsigned char *at = der;
    X509_REQ *req = d2i_X509_REQ(NULL, &at, len);
    bool is_whole = at == der + len;
    OPENSSL_free(der);
    if (req == NULL || !is_whole) {
        X509_REQ_free(req);
        return -ERR_SYNTAX;
    }
    *ret_req = req;
    return 0;
}

int csr_from_pem(struct str pem, struct csr **ret_csr)
{
    if (pem.len > CSR_PEM_LEN_MAX)
        return -ERR_TOO_LARGE;
    X509_REQ *req;
    int err = read_one(pem, &req);
    ERR_clear_error();
    if (err < 0)
        return err;
    EVP_PKEY *pkey = X509_REQ_get0_pubkey(req);
    if (pkey == NULL)
        err = -ERR_SYNTAX;
    else if (!pkey_is_accepted(pkey))
        err = -ERR_UNSUPPORTED;
    else if (X509_REQ_verify(req, pkey) != 1)
        err = -ERR_DENIED; /* the sender does not hold the key */
    ERR_clear_error();
    if (err < 0) {
        X509_REQ_free(req);
        return err;
    }
    struct csr *csr = NEW(struct csr);
    csr->req = req;
    *ret_csr = csr;
    return 0;
}

struct csr *csr_free(struct csr *c)
{
    if (c == NULL)
        return NULL;
    X509_REQ_free(c->req);
    free(c);
    return NULL;
}

struct uri_walk {
    struct arena *arena;
    struct str *sans;
    size_t count, max;
    bool has_too_many;
};

static bool see_uri(void *ctx, int type, struct str value)
{
    struct uri_walk *w = ctx;
    if (type != GEN_URI)
        return true;
    if (w->count == w->max) {
        w->has_too_many = true;
        return false;
    }
    w->sans[w->count++] = arena_str(w->arena, value);
    return true;
}

int csr_uri_sans(const struct csr *c, struct arena *a, struct str *ret_sans, size_t max,
                 size_t *ret_count)
{
    struct uri_walk w = {a, ret_sans, 0, max, false};
    STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(c->req);
    int critical = -1;
    GENERAL_NAMES *names = NULL;
    if (extensions != NULL)
        names = X509V3_get_d2i(extensions, NID_subject_alt_name, &critical, NULL);
    int err = names == NULL && critical != -1 ? -ERR_INVALID : 0;
    if (names != NULL)
        err = general_names_walk(names, see_uri, &w);
    GENERAL_NAMES_free(names);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    ERR_clear_error();
    if (err == 0 && w.has_too_many)
        err = -ERR_TOO_LARGE;
    if (err < 0)
        return err;
    *ret_count = w.count;
    return 0;
}
