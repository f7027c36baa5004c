/* The certificate authority of a mesh.
 *
 * The CA key lives behind a message interface (struct ca_signer: a request by value, a reply by
 * value), so that the signer can move into a process of its own. Made at first start in the state
 * directory, or given as files there. Leaves come from CSRs: the CA takes the public key from the
 * CSR and nothing else; the name comes from the attestation.
 *
 * Owner and thread: the brain. */
#pragma once

#include "base/arena.h"
#include "control/store/store.h"
#include "crypto/x509.h"

struct ca;

struct ca_options {
    struct str state_dir;     /* ca-key.pem (0600) and ca-cert.pem */
    struct str trust_domain;  /* labels the root's subject when it is made */
    uint64_t root_lifetime_s; /* 10 years */
};

/* Opens the CA of the directory, or makes one where there is neither key nor certificate. One
 * without the other, a key that others may read, and a certificate that is over are refused (why).
 */
int ca_open(const struct ca_options *o, uint64_t now_s, struct str_buf *why, struct ca **ret_ca);
struct ca *ca_free(struct ca *c);

/* The CA's files, as a backup takes them along: ca-key.pem (secret: the caller wipes) and
 * ca-cert.pem. */
enum { CA_FILE_BYTES_MAX = 64 * 1024 };
int ca_read_files(struct str state_dir, struct str_buf *ret_key_pem, struct str_buf *ret_cert_pem);

/* PEM of all roots to be trusted. */
struct str ca_bundle(const struct ca *c);
/* The root itself; borrowed. */
struct cert *ca_root(const struct ca *c);
uint64_t ca_root_not_after_s(const struct ca *c);

struct ca_request {
    struct str csr_pem;
    struct str spiffe_id; /* what the attestation proved */
    uint64_t now_s, lifetime_s;
};
/* The leaf as PEM, appended. Never valid for longer than the root. -ERR_INVALID and what parsing
 * gives: the CSR (why). */
int ca_issue(struct ca *c, const struct ca_request *r, struct str_buf *ret_leaf_pem,
             struct str_buf *why);
/* A server certificate for tulled itself. */
int ca_issue_own(struct ca *c, const struct key *k, const struct str *dns_names, size_t count,
                 struct str spiffe_id, uint64_t now_s, uint64_t lifetime_s, struct cert **ret_cert);

/* --- attestation: join tokens --- */

/* One-time, short-lived, stored hashed; binds a Workload and a replica index. */
enum { CA_TOKEN_LIFETIME_S = 600, CA_TOKENS_MAX = 10000 };
/* -ERR_LIMIT: too many that nobody has used. */
int ca_token_make(struct store *s, struct str namespace_, struct str workload, uint32_t index,
                  uint64_t now_s, struct str_buf *ret_token);
/* Whom the token binds; consumed. -ERR_UNAUTHENTICATED. Strings in the arena. */
int ca_token_redeem(struct store *s, struct str token, uint64_t now_s, struct arena *a,
                    struct str *ret_namespace, struct str *ret_workload, uint32_t *ret_index);
