/* Inside of tls_context.c, tls_endpoint.c, tls_session.c and tls_san.c. */
#pragma once

#include <openssl/ssl.h>

#include "base/arena.h"
#include "crypto/crypto_priv.h"
#include "crypto/tls.h"

enum { TLS_ALPN_LEN_MAX = 256 };

struct tls_context {
    atomic_uint ref_count;
    uint64_t id; /* drawn: no context of another time or place has it */
    enum tls_role role;
    SSL_CTX *ssl_ctx;
    BIO_METHOD *bio_method;
    bool has_roots, is_peer_cert_required;
    uint64_t own_not_after_s;       /* 0: no certificate of our own */
    char *own_uri_san;              /* first URI SAN of it; NULL: none */
    uint8_t alpn[TLS_ALPN_LEN_MAX]; /* wire format, in order of preference */
    unsigned alpn_len;
};

struct tls_endpoint {
    struct tls_context *context;
    struct tls_session *session; /* client, or NULL */
    SSL *ssl;
    struct chain *wire_in, *wire_out; /* of the call that is running */
    struct arena arena;               /* sans */
    struct tls_san_match *sans;
    size_t san_count;
    bool is_open, is_ended, is_over;
    int verify_err; /* X509_V_ERR_...: why the chain was refused */
    struct str_buf error;
};

/* RFC 7301 wire format; false when an entry is empty or too long, or all together are. */
bool tls_alpn_encode(const struct str *alpn, size_t count, uint8_t *to, unsigned *ret_len);

/* The BIO between OpenSSL and the chains of an endpoint. */
BIO_METHOD *tls_bio_method_new(void);

/* The chain, then the names, while the handshake waits for the verdict. */
int tls_verify_callback(X509_STORE_CTX *ctx, void *arg);

/* OpenSSL's callback for a session that a ticket made: into the endpoint's session. */
int tls_session_on_new(SSL *ssl, SSL_SESSION *made);
/* The endpoint's handshake offers what is kept, if it may. */
void tls_session_use(struct tls_session *s, struct tls_endpoint *e, uint64_t now_s);

/* Does the certificate carry one of the wanted names? On no, *why says what was wanted and what
 * there was. No wanted names: yes. */
bool tls_san_check(const X509 *x509, const struct tls_san_match *sans, size_t count,
                   struct str_buf *why);
