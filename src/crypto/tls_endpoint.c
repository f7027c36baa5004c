#include <openssl/bio.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <time.h>

#include "crypto/tls_priv.h"

enum {
    RECORD_LEN_MAX = SSL3_RT_MAX_PLAIN_LENGTH,
    READ_ROOM_MIN = 1024,
    ERROR_LEN_MAX = 2048,
    SNI_LEN_MAX = 255,
};

/* ---- Between OpenSSL and the chains ---- */

static int bio_read(BIO *bio, char *to, size_t len, size_t *ret_len)
{
    struct tls_endpoint *e = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (e->wire_in == NULL || chain_is_empty(e->wire_in)) {
        BIO_set_retry_read(bio);
        return 0;
    }
    *ret_len = chain_peek(e->wire_in, 0, to, len);
    chain_skip(e->wire_in, *ret_len);
    return 1;
}

static int bio_write(BIO *bio, const char *from, size_t len, size_t *ret_len)
{
    struct tls_endpoint *e = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (e->wire_out != NULL)
        chain_add(e->wire_out, str_from(from, len));
    *ret_len = len;
    return 1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *ptr)
{
    (void)bio;
    (void)number;
    (void)ptr;
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP ? 1 : 0;
}

BIO_METHOD *tls_bio_method_new(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "chains");
    if (m == NULL || BIO_meth_set_read_ex(m, bio_read) != 1 ||
        BIO_meth_set_write_ex(m, bio_write) != 1 || BIO_meth_set_ctrl(m, bio_ctrl) != 1) {
        BIO_meth_free(m);
        return NULL;
    }
    return m;
}

static void attach(struct tls_endpoint *e, struct chain *wire_in, struct chain *wire_out)
{
    e->wire_in = wire_in;
    e->wire_out = wire_out;
    /* Errors that anybody left in this thread's queue would be taken for this connection's. There
     * are none as a rule, and clearing visits each of the queue's places. */
    if (ERR_peek_error() != 0)
        ERR_clear_error();
}

static void detach(struct tls_endpoint *e)
{
    e->wire_in = e->wire_out = NULL;
}

/* ---- Life ---- */

static void copy_sans(struct tls_endpoint *e, const struct tls_endpoint_args *args)
{
    e->san_count = args->san_count;
    if (args->san_count == 0)
        return;
    e->sans = ARENA_ARRAY(&e->arena, struct tls_san_match, args->san_count);
    for (size_t i = 0; i < args->san_count; i++) {
        e->sans[i] = args->sans[i];
        e->sans[i].value = arena_str(&e->arena, args->sans[i].value);
    }
}

static void set_client(struct tls_endpoint *e, const struct tls_endpoint_args *args)
{
    uint8_t alpn[TLS_ALPN_LEN_MAX];
    unsigned len = e->context->alpn_len;
    memcpy(alpn, e->context->alpn, sizeof alpn);
    if (args->alpn_count > 0 && !tls_alpn_encode(args->alpn, args->alpn_count, alpn, &len))
        len = 0;
    if (len > 0)
        SSL_set_alpn_protos(e->ssl, alpn, len);
    char sni[SNI_LEN_MAX + 1];
    if (args->sni.len > 0 && args->sni.len <= SNI_LEN_MAX && str_find(args->sni, '\0') < 0) {
        memcpy(sni, args->sni.ptr, args->sni.len);
        sni[args->sni.len] = '\0';
        SSL_set_tlsext_host_name(e->ssl, sni);
    }
    if (args->session != NULL) {
        e->session = tls_session_ref(args->session);
        tls_session_use(e->session, e, (uint64_t)time(NULL));
    } else {
        SSL_set_options(e->ssl, SSL_OP_NO_TICKET);
    }
    SSL_set_connect_state(e->ssl);
}

static void set_server(struct tls_endpoint *e)
{
    /* Who must have a name must show a certificate, also where one is only asked for: so that the
     * handshake fails, with its alert, rather than the check behind it. */
    if (e->san_count > 0 && e->context->has_roots)
        SSL_set_verify(e->ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_set_accept_state(e->ssl);
}

struct tls_endpoint *tls_endpoint_new(const struct tls_endpoint_args *args)
{
    struct tls_endpoint *e = NEW(struct tls_endpoint);
    e->context = tls_context_ref(args->context);
    e->error = STR_BUF_INIT(ERROR_LEN_MAX);
    arena_init(&e->arena, 256);
    copy_sans(e, args);
    e->ssl = SSL_new(e->context->ssl_ctx);
    BIO *bio = BIO_new(e->context->bio_method);
    ASSERT(e->ssl != NULL && bio != NULL);
    BIO_set_data(bio, e);
    BIO_set_init(bio, 1);
    SSL_set_bio(e->ssl, bio, bio);
    SSL_set_app_data(e->ssl, e);
    if (e->context->role == TLS_CLIENT)
        set_client(e, args);
    else
        set_server(e);
    ERR_clear_error();
    return e;
}

static void endpoint_free(void *layer)
{
    struct tls_endpoint *e = layer;
    if (e == NULL)
        return;
    detach(e);
    /* A connection that is dropped without farewell would take its session along (SSL_free marks
     * it as bad); only one that failed shall. */
    if (e->is_open && !e->is_over)
        SSL_set_shutdown(e->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(e->ssl);
    tls_session_unref(e->session);
    tls_context_unref(e->context);
    arena_deinit(&e->arena);
    str_buf_deinit(&e->error);
    free(e);
}

/* ---- Failure ---- */

static bool is_certificate_alert(int reason)
{
    switch (reason) {
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
        return true;
    }
    return false;
}

static void add_time(struct str_buf *b, uint64_t s)
{
    time_t t = (time_t)s;
    struct tm tm;
    char text[32];
    if (gmtime_r(&t, &tm) != NULL && strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm) > 0)
        str_buf_add_c(b, text);
}

/* A sentence about the first error in OpenSSL's queue. */
static void describe(struct tls_endpoint *e)
{
    unsigned long code = ERR_peek_error();
    const char *text = ERR_reason_error_string(code);
    int reason = ERR_GET_REASON(code);
    uint64_t own = e->context->own_not_after_s;
    if (!is_certificate_alert(reason)) {
        str_buf_add_c(&e->error, text != NULL ? text : "TLS failure");
        return;
    }
    str_buf_printf(&e->error, "the peer refused our certificate: %s", text);
    if (own == 0) {
        str_buf_add_c(&e->error, " (we have none)");
    } else {
        str_buf_add_c(&e->error,
                      own < (uint64_t)time(NULL) ? " (ours expired at " : " (ours is valid until ");
        add_time(&e->error, own);
        str_buf_add_c(&e->error, ")");
    }
}

static int fail(struct tls_endpoint *e)
{
    e->is_over = true;
    int err = e->verify_err != 0 ? -ERR_CERTIFICATE : -ERR_TLS;
    if (e->error.len == 0 &&
        ERR_GET_REASON(ERR_peek_error()) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
        str_buf_add_c(&e->error, "the peer sent no certificate");
        err = -ERR_CERTIFICATE;
    }
    if (e->error.len == 0)
        describe(e);
    ERR_clear_error();
    return err;
}

/* ---- The peer ---- */

int tls_verify_callback(X509_STORE_CTX *ctx, void *arg)
{
    (void)arg;
    const SSL *ssl = X509_STORE_CTX_get_ex_data(ctx, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_endpoint *e = SSL_get_app_data(ssl);
    if (e->context->has_roots && X509_verify_cert(ctx) != 1) {
        e->verify_err = X509_STORE_CTX_get_error(ctx);
        if (e->verify_err == X509_V_OK) /* X509_verify_cert itself failed */
            e->verify_err = X509_V_ERR_UNSPECIFIED;
        str_buf_printf(&e->error, "peer certificate not accepted: %s",
                       X509_verify_cert_error_string(e->verify_err));
        return 0;
    }
    if (!tls_san_check(X509_STORE_CTX_get0_cert(ctx), e->sans, e->san_count, &e->error)) {
        e->verify_err = X509_V_ERR_CERT_REJECTED;
        X509_STORE_CTX_set_error(ctx, e->verify_err);
        return 0;
    }
    if (!e->context->has_roots)
        X509_STORE_CTX_set_error(ctx, X509_V_OK);
    return 1;
}

/* What the callback did not see: no certificate at all, or a resumed session, whose certificate is
 * judged again. */
static bool check_peer(struct tls_endpoint *e)
{
    const X509 *x509 = SSL_get0_peer_certificate(e->ssl);
    if (x509 == NULL) {
        if (!e->context->is_peer_cert_required && e->san_count == 0)
            return true;
        str_buf_add_c(&e->error, "the peer sent no certificate");
        return false;
    }
    if (!SSL_session_reused(e->ssl))
        return true;
    if (X509_cmp_current_time(X509_get0_notAfter(x509)) <= 0) {
        str_buf_add_c(&e->error, "peer certificate not accepted: certificate has expired");
        return false;
    }
    return tls_san_check(x509, e->sans, e->san_count, &e->error);
}

struct peer_walk {
    struct tls_peer *peer;
    struct arena *arena;
};

static bool note_san(void *ctx, int gen_type, struct str value)
{
    const struct peer_walk *w = ctx;
    if (gen_type == GEN_URI && str_is_empty(w->peer->uri_san))
        w->peer->uri_san = arena_str(w->arena, value);
    if (gen_type == GEN_DNS && str_is_empty(w->peer->dns_san))
        w->peer->dns_san = arena_str(w->arena, value);
    return true;
}

static void note_certificate(const struct tls_endpoint *e, const X509 *x509, struct arena *a,
                             struct tls_peer *peer)
{
    uint8_t digest[32];
    x509_sha256(x509, digest);
    peer->sha256_hex = hex_text(digest, sizeof digest, a);
    peer->subject = x509_name_text(X509_get_subject_name(x509), a);
    peer->not_after_s = asn1_time_to_s(X509_get0_notAfter(x509));
    peer->is_verified = e->context->has_roots && SSL_get_verify_result(e->ssl) == X509_V_OK;
    if (x509_walk_sans(x509, note_san, &(struct peer_walk){peer, a}) < 0) {
        /* Damaged names name nobody. */
        peer->uri_san = peer->dns_san = STR_NULL;
        peer->is_verified = false;
    }
}

struct str tls_endpoint_alpn(const struct tls_endpoint *e)
{
    const unsigned char *alpn;
    unsigned len;
    SSL_get0_alpn_selected(e->ssl, &alpn, &len);
    return str_from((const char *)alpn, len);
}

bool tls_endpoint_is_resumed(const struct tls_endpoint *e)
{
    return SSL_session_reused(e->ssl) == 1;
}

struct tls_peer tls_endpoint_peer(const struct tls_endpoint *e, struct arena *a)
{
    struct tls_peer peer = {
        .alpn = arena_str(a, tls_endpoint_alpn(e)),
        .version = SSL_get_version(e->ssl),
        .is_resumed = tls_endpoint_is_resumed(e),
    };
    const X509 *x509 = SSL_get0_peer_certificate(e->ssl);
    if (x509 != NULL)
        note_certificate(e, x509, a, &peer);
    if (e->context->role == TLS_SERVER)
        peer.sni = arena_str(a, str_from_c(SSL_get_servername(e->ssl, TLSEXT_NAMETYPE_host_name)));
    if (e->context->own_uri_san != NULL)
        peer.own_uri_san = arena_str(a, str_from_c(e->context->own_uri_san));
    return peer;
}

/* ---- The layer ---- */

/* 1: open; 0: wants more; else an error. */
static int handshake(struct tls_endpoint *e)
{
    int r = SSL_do_handshake(e->ssl);
    if (r != 1)
        return SSL_get_error(e->ssl, r) == SSL_ERROR_WANT_READ ? 0 : fail(e);
    if (!check_peer(e)) {
        e->is_over = true;
        return -ERR_CERTIFICATE;
    }
    e->is_open = true;
    return 1;
}

/* One SSL_read; 1: went on, 0: wants more, else an error. */
static int read_some(struct tls_endpoint *e, struct chain *plain_in)
{
    size_t room, n = 0;
    char *at = chain_reserve(plain_in, READ_ROOM_MIN, &room);
    int r = SSL_read_ex(e->ssl, at, room, &n);
    chain_commit(plain_in, r == 1 ? n : 0);
    if (r == 1)
        return 1;
    switch (SSL_get_error(e->ssl, r)) {
    case SSL_ERROR_WANT_READ:
        return 0;
    case SSL_ERROR_ZERO_RETURN:
        e->is_ended = true;
        return 0;
    default:
        return fail(e);
    }
}

static int endpoint_input(void *layer, struct chain *wire_in, struct chain *plain_in,
                          struct chain *wire_out, bool *ret_is_open, bool *ret_is_ended)
{
    struct tls_endpoint *e = layer;
    if (e->is_over)
        return -ERR_TLS;
    attach(e, wire_in, wire_out);
    bool was_open = e->is_open;
    int r = was_open ? 1 : handshake(e);
    if (r == 1)
        *ret_is_open = true;
    while (r == 1 && !e->is_ended && (!chain_is_empty(wire_in) || SSL_has_pending(e->ssl)))
        r = read_some(e, plain_in);
    if (e->is_ended) {
        *ret_is_ended = true;
        chain_clear(wire_in); /* behind close_notify nothing counts (RFC 8446 6.1) */
    }
    /* By itself OpenSSL keeps the handshake's buffer until something more is read. */
    if (r == 1 && !was_open)
        (void)SSL_free_buffers(e->ssl);
    detach(e);
    return r < 0 ? r : 0;
}

/* As few records as there can be: slices are gathered into whole ones. */
static int write_record(struct tls_endpoint *e, struct chain *plain_out)
{
    char gathered[RECORD_LEN_MAX];
    struct str first = chain_first(plain_out);
    size_t len = MIN(plain_out->len, (size_t)RECORD_LEN_MAX), written = 0;
    const char *from = first.ptr;
    if (first.len < len) {
        chain_peek(plain_out, 0, gathered, len);
        from = gathered;
    }
    if (SSL_write_ex(e->ssl, from, len, &written) != 1)
        return fail(e);
    chain_skip(plain_out, written);
    return 0;
}

static int endpoint_output(void *layer, struct chain *plain_out, struct chain *wire_out)
{
    struct tls_endpoint *e = layer;
    if (!e->is_open || e->is_over)
        return -ERR_TLS;
    attach(e, NULL, wire_out);
    int err = 0;
    while (err == 0 && !chain_is_empty(plain_out))
        err = write_record(e, plain_out);
    detach(e);
    return err;
}

static void endpoint_end(void *layer, struct chain *wire_out)
{
    struct tls_endpoint *e = layer;
    if (!e->is_open || e->is_over)
        return;
    attach(e, NULL, wire_out);
    (void)SSL_shutdown(e->ssl);
    detach(e);
}

static struct str endpoint_error_text(void *layer)
{
    const struct tls_endpoint *e = layer;
    return str_buf_str(&e->error);
}

const struct conn_layer_ops tls_layer_ops = {
    .input = endpoint_input,
    .output = endpoint_output,
    .end = endpoint_end,
    .free = endpoint_free,
    .error_text = endpoint_error_text,
    .name = "tls",
};

struct name_walk {
    tls_name_fn *see;
    void *ctx;
};

static bool see_name(void *ctx, int gen_type, struct str value)
{
    const struct name_walk *w = ctx;
    if (gen_type != GEN_URI && gen_type != GEN_DNS)
        return true;
    return w->see(w->ctx, gen_type == GEN_URI ? TLS_SAN_URI : TLS_SAN_DNS, value);
}

void tls_endpoint_walk_names(const struct tls_endpoint *e, tls_name_fn *see, void *ctx)
{
    const X509 *x509 = SSL_get0_peer_certificate(e->ssl);
    if (x509 != NULL)
        (void)x509_walk_sans(x509, see_name, &(struct name_walk){see, ctx});
}

void tls_endpoint_peer_pem(const struct tls_endpoint *e, bool has_chain, struct str_buf *to)
{
    X509 *leaf = SSL_get0_peer_certificate(e->ssl);
    STACK_OF(X509) *rest = has_chain ? SSL_get_peer_cert_chain(e->ssl) : NULL;
    if (leaf == NULL)
        return;
    x509_to_pem(leaf, to);
    /* A client's view of the chain begins with the leaf, a server's behind it. */
    for (int i = 0; i < sk_X509_num(rest); i++) {
        if (X509_cmp(sk_X509_value(rest, i), leaf) != 0)
            x509_to_pem(sk_X509_value(rest, i), to);
    }
}

const struct tls_endpoint *tls_endpoint_of(const struct conn *c)
{
    return c->layer_ops == &tls_layer_ops ? c->layer : NULL;
}
