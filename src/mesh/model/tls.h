/* TLS contexts of listeners and clusters: envoy.extensions.transport_sockets.tls.v3. */
#pragma once

#include "mesh/model/common.h"

/* Between two Tulle proxies: a connection that carries TCP connections as CONNECT streams of
 * HTTP/2. Who does not know of it agrees to one of the other names, by which one connection is one.
 */
#define TLS_ALPN_TUNNEL "tulle-tunnel"

/* Where a certificate pair or a validation context comes from: a secret resource by SDS, or files
 * and inline data, which the loader turned into an unnamed inline secret. */
struct tls_secret_source {
    struct str sds_name;                /* empty: inline */
    const struct secret *inline_secret; /* NULL: none at all */
};

/* match_typed_subject_alt_names / match_subject_alt_names. */
enum tls_san_type { TLS_SAN_TYPE_ANY, TLS_SAN_TYPE_DNS, TLS_SAN_TYPE_URI, TLS_SAN_TYPE_IP };
struct tls_san_matcher {
    enum tls_san_type type;
    struct string_match match;
};

struct common_tls {
    struct tls_secret_source certificate;
    struct tls_secret_source validation;
    const struct tls_san_matcher *sans; /* none: any name under the roots */
    size_t san_count;
    const struct str *alpn;
    size_t alpn_count;
    int version_min, version_max; /* 12, 13; 0: defaults (server 12..13, client 12..13) */
    struct str ciphers;           /* of TLS 1.2, in OpenSSL's form; empty: the default */
};

struct downstream_tls {
    struct common_tls common;
    bool require_client_certificate;
};

struct upstream_tls {
    struct common_tls common;
    struct str sni;
    bool allow_renegotiation_refused; /* always; kept for the dump */
};
