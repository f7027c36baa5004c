/* Certificates: parsing, chains, issuing. See key.h for life times. */
#pragma once

#include "crypto/key.h"

struct cert;

/* First certificate of a PEM text, or the n certificates of it. */
int cert_from_pem(struct str pem, struct cert **ret_cert);
int certs_from_pem(struct str pem, struct cert **ret_certs, size_t max, size_t *ret_count);
int cert_from_der(struct str der, struct cert **ret_cert);
struct cert *cert_ref(struct cert *c);
struct cert *cert_unref(struct cert *c);
AUTO_FREE_DEFINE(struct cert, cert_unref);
void cert_to_pem(const struct cert *c, struct str_buf *to);

struct cert_info {
    struct str subject, issuer; /* RFC 2253 one-line */
    struct str serial_hex;
    struct str uri_sans[8];
    size_t uri_san_count;
    struct str dns_sans[16];
    size_t dns_san_count;
    uint64_t not_before_s, not_after_s; /* UTC */
    bool is_ca;
    struct str sha256_hex; /* of the DER */
};
/* Strings live in the arena. */
int cert_info(const struct cert *c, struct arena *a, struct cert_info *ret_info);
bool cert_matches_key(const struct cert *c, const struct key *k);

/* A CSR (PKCS#10, PEM) with exactly one URI SAN, signed by k. */
int csr_make(const struct key *k, struct str uri_san, struct str_buf *ret_pem);
struct csr;
/* Parses and checks its self-signature; strict: P-256/P-384/RSA>=2048 keys only. */
int csr_from_pem(struct str pem, struct csr **ret_csr);
struct csr *csr_free(struct csr *c);
AUTO_FREE_DEFINE(struct csr, csr_free);
/* URI SANs that the CSR asks for, in the arena. */
int csr_uri_sans(const struct csr *c, struct arena *a, struct str *ret_sans, size_t max,
                 size_t *ret_count);

/* Issues a self-signed CA (pathlen:1, keyCertSign|cRLSign), subject "O=<trust domain>". */
int ca_make_root(const struct key *k, struct str trust_domain, uint64_t not_before_s,
                 uint64_t not_after_s, struct cert **ret_cert);
/* Issues a leaf for the CSR's public key: URI SAN spiffe_id (critical, empty subject), client and
 * server auth, digitalSignature, random 128-bit serial. */
int ca_issue_leaf(const struct key *ca_key, const struct cert *ca_cert, const struct csr *csr,
                  struct str spiffe_id, uint64_t not_before_s, uint64_t not_after_s,
                  struct cert **ret_cert);
/* A server certificate with DNS and IP SANs (the control plane's own), for a local key. */
int ca_issue_server(const struct key *ca_key, const struct cert *ca_cert, const struct key *k,
                    const struct str *dns_names, size_t dns_count, struct str spiffe_id,
                    uint64_t not_before_s, uint64_t not_after_s, struct cert **ret_cert);
/* The same for the public key of a CSR. */
struct server_names {
    const struct str *dns; /* DNS names and IPs */
    size_t dns_count;
    struct str spiffe_id; /* may be empty */
};
int ca_issue_server_csr(const struct key *ca_key, const struct cert *ca_cert, const struct csr *csr,
                        const struct server_names *names, uint64_t not_before_s,
                        uint64_t not_after_s, struct cert **ret_cert);
/* Verifies leaf + intermediates against roots at a time; 0 or -ERR_CERTIFICATE. */
int cert_verify(const struct cert *leaf, struct cert *const *chain, size_t chain_count,
                struct cert *const *roots, size_t root_count, uint64_t now_s,
                struct str_buf *ret_why);
