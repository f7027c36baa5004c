/* What crypto/ shares inside: the wrapped OpenSSL objects, PEM blocks, names. */
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>

#include "base/err.h"
#include "crypto/x509.h"

enum {
    PEM_LEN_MAX = 1 << 20,
    DER_LEN_MAX = 64 * 1024,
    SAN_LEN_MAX = 2048, /* SPIFFE-ID 2.3 */
};

struct key {
    atomic_uint ref_count;
    EVP_PKEY *pkey;
};

struct cert {
    atomic_uint ref_count;
    X509 *x509;
};

struct csr {
    X509_REQ *req;
};

int key_take(EVP_PKEY *pkey, struct key **ret_key); /* takes over; -ERR_UNSUPPORTED: its kind */
struct cert *cert_wrap(X509 *x509);                 /* takes over the reference */

/* The next PEM block of a text that has label `label`; another label, or anything that is damaged,
 * is -ERR_SYNTAX. *ret_der is OPENSSL_free'd by the caller; NULL at the end of the text. */
struct bio_st;
struct bio_st *pem_open(struct str pem);
int pem_next(struct bio_st *bio, const char *label, unsigned char **ret_der, long *ret_len);

/* P-256, P-384, RSA of 2048 to 8192 bits. */
bool pkey_is_accepted(const EVP_PKEY *pkey);

/* RFC 2253 text; hex of a digest; both in the arena. */
struct str x509_name_text(const X509_NAME *name, struct arena *a);
struct str hex_text(const uint8_t *bytes, size_t len, struct arena *a);
void x509_to_pem(X509 *x509, struct str_buf *to);
void x509_sha256(const X509 *x509, uint8_t ret_digest[32]);

/* Calls see() for each SAN that has a text (URI, DNS, IP); false from it stops the walk.
 * -ERR_INVALID: the extension is damaged or a name holds a NUL. */
typedef bool san_fn(void *ctx, int gen_type, struct str value);
int x509_walk_sans(const X509 *x509, san_fn *see, void *ctx);
int general_names_walk(const GENERAL_NAMES *names, san_fn *see, void *ctx);
uint64_t asn1_time_to_s(const ASN1_TIME *t); /* 0: unreadable or before 1970 */
