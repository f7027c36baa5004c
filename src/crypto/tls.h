/* TLS over chains: no sockets here; bytes come in and go out (RFC 8446).
 *
 * tls_context: one per identity, bundle and role, never per cluster (25 KiB and 0.9 ms each);
 * refcounted, immutable, built by the thread that uses it. tls_endpoint: one per connection, a
 * conn layer (tls_layer_ops). Thread: the loop's. */
#pragma once

#include "crypto/key.h"
#include "crypto/x509.h"
#include "io/conn.h"

enum tls_role { TLS_CLIENT, TLS_SERVER };

/* How one accepted name is compared with a SAN of the peer. */
enum tls_san_kind { TLS_SAN_URI, TLS_SAN_DNS, TLS_SAN_IP, TLS_SAN_ANY };
enum tls_match_kind { TLS_MATCH_EXACT, TLS_MATCH_PREFIX, TLS_MATCH_SUFFIX, TLS_MATCH_CONTAINS };
struct tls_san_match {
    enum tls_san_kind san;
    enum tls_match_kind match;
    struct str value;
};

struct tls_context_args {
    enum tls_role role;
    const struct key *key;     /* NULL: no certificate of our own (client) */
    struct cert *const *chain; /* leaf first */
    size_t chain_count;
    struct cert *const *roots;    /* none: the peer is not verified (client: refused unless */
    size_t root_count;            /* is_unverified_allowed) */
    bool is_client_cert_required; /* server */
    bool is_client_cert_asked;    /* server: verified when it comes */
    bool is_unverified_allowed;   /* only counts where there are no roots */
    const struct str *alpn;       /* in order of preference */
    size_t alpn_count;
    int version_min, version_max; /* 12 or 13; 0: 13 and 13 */
    const char *ciphers;          /* TLS 1.2 list, or NULL */
    const uint8_t *ticket_key;    /* 80 bytes shared by workers, or NULL: tickets off */
};

struct tls_context;
/* why: a sentence on failure. */
int tls_context_new(const struct tls_context_args *args, struct str_buf *why,
                    struct tls_context **ret_context);
struct tls_context *tls_context_ref(struct tls_context *c);
struct tls_context *tls_context_unref(struct tls_context *c);

struct tls_endpoint;

/* What a client keeps of a handshake so that the next one with the same peer is short (RFC 8446
 * 2.2): at most one session, given by the peer's last ticket. It is dropped with a connection that
 * fails, and serves only the context that made it, so that new roots or a new certificate of our
 * own mean a whole handshake; the peer's names and expiry are checked again. Counted without
 * atomics, because connections may outlive who keeps it. Thread: the loop's. */
struct tls_session;
struct tls_session *tls_session_new(void);
struct tls_session *tls_session_ref(struct tls_session *s);
struct tls_session *tls_session_unref(struct tls_session *s);
bool tls_session_is_kept(const struct tls_session *s);

struct tls_endpoint_args {
    struct tls_context *context; /* referenced */
    struct str sni;              /* client; empty: none */
    /* Accepted peer names, any of which must match a SAN (a peer without certificate matches none);
     * none: any name under the roots. Copied. Checked again on resumption. */
    const struct tls_san_match *sans;
    size_t san_count;
    /* Client: instead of the context's ALPN list; none: the context's. */
    const struct str *alpn;
    size_t alpn_count;
    /* Client: offered in this handshake and replaced by it; referenced. NULL: whole handshakes. */
    struct tls_session *session;
};

struct tls_endpoint *tls_endpoint_new(const struct tls_endpoint_args *args);
extern const struct conn_layer_ops tls_layer_ops; /* layer: struct tls_endpoint * */

/* What the handshake told. */
struct tls_peer {
    struct str uri_san; /* first URI SAN of the peer ("spiffe://..."), empty: none */
    struct str subject;
    struct str sha256_hex; /* of the peer's certificate */
    struct str dns_san;
    struct str own_uri_san; /* of the certificate that we showed */
    struct str alpn;        /* negotiated */
    struct str sni;         /* server: what the client asked for */
    const char *version;    /* "TLSv1.3" */
    bool is_verified, is_resumed;
    uint64_t not_after_s;
};
/* Asks OpenSSL; strings are in arena. The endpoint must have been open. */
struct tls_peer tls_endpoint_peer(const struct tls_endpoint *e, struct arena *a);
struct str tls_endpoint_alpn(const struct tls_endpoint *e); /* negotiated; borrowed */
bool tls_endpoint_is_resumed(const struct tls_endpoint *e);
/* Every URI and DNS name of the peer's certificate, in its order; false ends the walk. */
typedef bool tls_name_fn(void *ctx, enum tls_san_kind kind, struct str name);
void tls_endpoint_walk_names(const struct tls_endpoint *e, tls_name_fn *see, void *ctx);
/* Appends the peer's certificate in PEM, or all that it sent, the leaf first (a resumed session
 * has the leaf alone); nothing when there is none. */
void tls_endpoint_peer_pem(const struct tls_endpoint *e, bool has_chain, struct str_buf *to);
/* The endpoint of a connection that has tls_layer_ops, else NULL. */
const struct tls_endpoint *tls_endpoint_of(const struct conn *c);

/* Peeks at the first bytes of a connection without consuming them (listener filter tls_inspector):
 * MORE: not enough bytes yet; NO: this is not TLS, or a hello that is damaged or larger than
 * allowed; YES: fills SNI (in lower case) and ALPN (in arena). TLS_PEEK_LEN_MAX bytes are never
 * MORE. */
enum { TLS_PEEK_LEN_MAX = 32 * 1024 };
enum tls_peek { TLS_PEEK_MORE, TLS_PEEK_NO, TLS_PEEK_YES };
struct tls_hello {
    struct str sni;
    struct str alpn[16];
    size_t alpn_count;
};
enum tls_peek tls_peek_hello(struct str bytes, struct arena *a, struct tls_hello *ret_hello);
