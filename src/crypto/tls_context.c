#include <openssl/err.h>
#include <stdlib.h>

#include "base/random.h"
#include "crypto/digest.h"
#include "crypto/tls_priv.h"

enum {
    TICKET_KEY_LEN = 80,
    SESSION_TIMEOUT_S = 3600,
    VERIFY_DEPTH_MAX = 8,
};

/* TLS 1.2, where it is allowed: forward secrecy and AEAD only. */
static const char ciphers_default[] = "ECDHE+AESGCM:ECDHE+CHACHA20";

bool tls_alpn_encode(const struct str *alpn, size_t count, uint8_t *to, unsigned *ret_len)
{
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
        if (alpn[i].len == 0 || alpn[i].len > 255 || len + 1 + alpn[i].len > TLS_ALPN_LEN_MAX)
            return false;
        to[len++] = (uint8_t)alpn[i].len;
        memcpy(to + len, alpn[i].ptr, alpn[i].len);
        len += alpn[i].len;
    }
    *ret_len = (unsigned)len;
    return true;
}

/* RFC 7301 3.2, but as Envoy does: without overlap the handshake goes on without a protocol. */
static int select_alpn(SSL *ssl, const unsigned char **ret, unsigned char *ret_len,
                       const unsigned char *offered, unsigned offered_len, void *arg)
{
    const struct tls_context *c = arg;
    unsigned char *chosen;
    (void)ssl;
    if (SSL_select_next_proto(&chosen, ret_len, c->alpn, c->alpn_len, offered, offered_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *ret = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static int fail(struct str_buf *why, int err, const char *what)
{
    if (why != NULL) {
        unsigned long e = ERR_peek_last_error();
        str_buf_add_c(why, what);
        if (e != 0 && ERR_reason_error_string(e) != NULL)
            str_buf_printf(why, ": %s", ERR_reason_error_string(e));
    }
    ERR_clear_error();
    return err;
}

static int version_number(int version)
{
    return version == 0 || version == 13 ? TLS1_3_VERSION : version == 12 ? TLS1_2_VERSION : -1;
}

static int set_versions(SSL_CTX *ctx, const struct tls_context_args *args, struct str_buf *why)
{
    int min = version_number(args->version_min), max = version_number(args->version_max);
    if (min < 0 || max < 0 || min > max)
        return fail(why, -ERR_INVALID, "TLS versions are 1.2 and 1.3");
    if (SSL_CTX_set_min_proto_version(ctx, min) != 1 ||
        SSL_CTX_set_max_proto_version(ctx, max) != 1)
        return fail(why, -ERR_UNSUPPORTED, "TLS version");
    const char *ciphers = args->ciphers != NULL ? args->ciphers : ciphers_default;
    if (SSL_CTX_set_cipher_list(ctx, ciphers) != 1)
        return fail(why, -ERR_INVALID, "cipher list");
    return 0;
}

static bool note_own_san(void *ctx, int gen_type, struct str value)
{
    struct tls_context *c = ctx;
    if (gen_type == GEN_URI && c->own_uri_san == NULL)
        c->own_uri_san = str_dup_c(value);
    return true;
}

static int set_certificate(struct tls_context *c, const struct tls_context_args *args,
                           struct str_buf *why)
{
    if (args->key == NULL || args->chain_count == 0) {
        if (args->role == TLS_SERVER)
            return fail(why, -ERR_INVALID, "a server needs a certificate and its key");
        return 0;
    }
    if (!cert_matches_key(args->chain[0], args->key))
        return fail(why, -ERR_CERTIFICATE, "the certificate does not belong to the key");
    if (SSL_CTX_use_certificate(c->ssl_ctx, args->chain[0]->x509) != 1 ||
        SSL_CTX_use_PrivateKey(c->ssl_ctx, args->key->pkey) != 1)
        return fail(why, -ERR_CERTIFICATE, "own certificate");
    for (size_t i = 1; i < args->chain_count; i++) {
        if (SSL_CTX_add1_chain_cert(c->ssl_ctx, args->chain[i]->x509) != 1)
            return fail(why, -ERR_CERTIFICATE, "own certificate chain");
    }
    c->own_not_after_s = asn1_time_to_s(X509_get0_notAfter(args->chain[0]->x509));
    if (x509_walk_sans(args->chain[0]->x509, note_own_san, c) < 0)
        return fail(why, -ERR_CERTIFICATE, "names of the own certificate");
    return 0;
}

static int set_verification(struct tls_context *c, const struct tls_context_args *args,
                            struct str_buf *why)
{
    bool is_client = args->role == TLS_CLIENT;
    bool is_asked = is_client || args->is_client_cert_required || args->is_client_cert_asked;
    if (is_asked && args->root_count == 0 && !args->is_unverified_allowed)
        return fail(why, -ERR_INVALID, "the peer is to be verified, but there are no roots");
    X509_STORE *store = SSL_CTX_get_cert_store(c->ssl_ctx);
    /* What the bundle names is an anchor, also an intermediate CA. */
    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
    for (size_t i = 0; i < args->root_count; i++) {
        if (X509_STORE_add_cert(store, args->roots[i]->x509) != 1)
            return fail(why, -ERR_CERTIFICATE, "root certificate");
        /* Tells the client which CAs count. */
        if (!is_client && is_asked)
            SSL_CTX_add_client_CA(c->ssl_ctx, args->roots[i]->x509);
    }
    c->has_roots = args->root_count > 0;
    c->is_peer_cert_required = is_client || args->is_client_cert_required;
    int mode = !is_asked ? SSL_VERIFY_NONE : SSL_VERIFY_PEER;
    if (c->is_peer_cert_required)
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(c->ssl_ctx, mode, NULL);
    SSL_CTX_set_verify_depth(c->ssl_ctx, VERIFY_DEPTH_MAX);
    SSL_CTX_set_cert_verify_callback(c->ssl_ctx, tls_verify_callback, NULL);
    return 0;
}

/* Sessions are resumed only where the same roots and demands made them: a ticket must not carry a
 * peer past the checks of another context that shares the key. */
static void set_session_id(struct tls_context *c, const struct tls_context_args *args)
{
    uint8_t id[32], digest[32];
    struct str_buf all = STR_BUF_INIT(1 << 20);
    str_buf_printf(&all, "%d%d%d%d", args->role, args->is_client_cert_required,
                   args->is_client_cert_asked, args->is_unverified_allowed);
    for (size_t i = 0; i < args->root_count; i++) {
        x509_sha256(args->roots[i]->x509, digest);
        str_buf_add(&all, str_from((const char *)digest, sizeof digest));
    }
    if (args->chain_count > 0) {
        x509_sha256(args->chain[0]->x509, digest);
        str_buf_add(&all, str_from((const char *)digest, sizeof digest));
    }
    sha256(str_buf_str(&all), id);
    str_buf_deinit(&all);
    SSL_CTX_set_session_id_context(c->ssl_ctx, id, sizeof id);
}

static int set_tickets(struct tls_context *c, const struct tls_context_args *args,
                       struct str_buf *why)
{
    if (args->role == TLS_CLIENT) {
        SSL_CTX_set_session_cache_mode(c->ssl_ctx,
                                       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(c->ssl_ctx, tls_session_on_new);
        return 0;
    }
    SSL_CTX_set_session_cache_mode(c->ssl_ctx, SSL_SESS_CACHE_OFF);
    if (args->ticket_key == NULL) {
        SSL_CTX_set_options(c->ssl_ctx, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(c->ssl_ctx, 0);
        return 0;
    }
    uint8_t key[TICKET_KEY_LEN];
    memcpy(key, args->ticket_key, sizeof key);
    long is_set = SSL_CTX_set_tlsext_ticket_keys(c->ssl_ctx, key, sizeof key);
    secret_wipe(key, sizeof key);
    if (is_set != 1)
        return fail(why, -ERR_INVALID, "ticket key");
    SSL_CTX_set_num_tickets(c->ssl_ctx, 1); /* two cost a third of the server's handshake */
    SSL_CTX_set_timeout(c->ssl_ctx, SESSION_TIMEOUT_S);
    set_session_id(c, args);
    return 0;
}

static void set_modes(SSL_CTX *ctx)
{
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_security_level(ctx, 2);
}

static int fill(struct tls_context *c, const struct tls_context_args *args, struct str_buf *why)
{
    set_modes(c->ssl_ctx);
    int err = set_versions(c->ssl_ctx, args, why);
    if (err == 0)
        err = set_certificate(c, args, why);
    if (err == 0)
        err = set_verification(c, args, why);
    if (err == 0)
        err = set_tickets(c, args, why);
    if (err == 0 && !tls_alpn_encode(args->alpn, args->alpn_count, c->alpn, &c->alpn_len))
        err = fail(why, -ERR_INVALID, "ALPN protocol names have 1 to 255 bytes");
    if (err == 0 && args->role == TLS_SERVER && c->alpn_len > 0)
        SSL_CTX_set_alpn_select_cb(c->ssl_ctx, select_alpn, c);
    return err;
}

int tls_context_new(const struct tls_context_args *args, struct str_buf *why,
                    struct tls_context **ret_context)
{
    ERR_clear_error();
    struct tls_context *c = NEW(struct tls_context);
    atomic_init(&c->ref_count, 1);
    c->role = args->role;
    random_secret(&c->id, sizeof c->id);
    c->ssl_ctx = SSL_CTX_new(args->role == TLS_SERVER ? TLS_server_method() : TLS_client_method());
    c->bio_method = tls_bio_method_new();
    ASSERT(c->ssl_ctx != NULL && c->bio_method != NULL);
    int err = fill(c, args, why);
    if (err < 0) {
        tls_context_unref(c);
        return err;
    }
    *ret_context = c;
    return 0;
}

struct tls_context *tls_context_ref(struct tls_context *c)
{
    atomic_fetch_add_explicit(&c->ref_count, 1, memory_order_relaxed);
    return c;
}

struct tls_context *tls_context_unref(struct tls_context *c)
{
    if (c == NULL || atomic_fetch_sub_explicit(&c->ref_count, 1, memory_order_acq_rel) > 1)
        return NULL;
    SSL_CTX_free(c->ssl_ctx);
    BIO_meth_free(c->bio_method);
    free(c->own_uri_san);
    free(c);
    return NULL;
}
