/* The certificate authority of a mesh.
 *
 * The CA key lives behind a message interface (struct ca_signer: a request by value, a reply by
 * value), in a process of its own where signer_process_start made one. Made at first start in the
 * state directory, or given as files there. Leaves come from CSRs: the CA takes the public key from
 * the CSR and nothing else; the name comes from the attestation.
 *
 * Owner and thread: the brain. */
#pragma once

#include "base/arena.h"
#include "control/ca/signer.h"
#include "control/store/store.h"
#include "crypto/x509.h"

struct ca;

struct ca_options {
    struct store *store;      /* how far a rotation of the root has come; NULL: none can be made */
    struct str state_dir;     /* ca-key.pem (0600) and ca-cert.pem */
    struct str trust_domain;  /* labels the root's subject when it is made */
    uint64_t root_lifetime_s; /* 10 years */
    struct ca_signer signer;  /* taken over, whatever comes of it; ops NULL: one in this process */
};

/* Opens the CA of the directory, or makes one where there is neither key nor certificate. One
 * without the other, a key that others may read, and a certificate that is over are refused (why).
 */
int ca_open(const struct ca_options *o, uint64_t now_s, struct str_buf *why, struct ca **ret_ca);
struct ca *ca_free(struct ca *c);

/* The CA's files, as a backup takes them along: as they lie on the disk, keys under their
 * passphrase where there is one. A file that is not there is not there in the backup either; keys
 * are secret: the caller wipes. */
enum { CA_FILE_BYTES_MAX = 64 * 1024, CA_FILE_COUNT = 4 };
extern const struct str ca_file_names[CA_FILE_COUNT];
/* -ERR_NOT_FOUND; -ERR_X. */
int ca_export(const struct ca *c, size_t index, struct str_buf *ret_pem);
/* How a root's key lies on the disk; whether one was encrypted when the CA was opened. */
bool ca_root_is_encrypted(const struct ca *c, const struct cert *root);
bool ca_was_converted(const struct ca *c);

/* PEM of all roots to be trusted; the one that signs leaves comes first: a workload whose leaf is
 * another's asks for a new one. */
struct str ca_bundle(const struct ca *c);
/* The root that signs leaves; borrowed. */
struct cert *ca_root(const struct ca *c);
uint64_t ca_root_not_after_s(const struct ca *c);
/* All roots, as in the bundle; borrowed. */
enum { CA_ROOTS_MAX = 2 };
size_t ca_roots(const struct ca *c, struct cert *ret_roots[CA_ROOTS_MAX]);
/* The first 16 hex digits of a root's SHA-256: its name in what people read. */
enum { CA_ID_LEN = 16 };
struct str ca_root_id(const struct cert *root, struct arena *a);
/* Which of the roots signed the certificate; NULL: none of ours. Dates are not looked at. */
struct cert *ca_signer_of(const struct ca *c, const struct cert *leaf);
/* The same of any roots. Pure; thread: any. */
struct cert *ca_signer_among(struct cert *const *roots, size_t count, const struct cert *leaf);

/* --- changing the root (rotation.c) ---
 *
 *   NONE --begin--> TRUST --sign--> SIGN --finish--> NONE
 *                     `--cancel--> NONE
 *
 * TRUST: the new root is in the bundle, the old one signs. SIGN: the new one signs leaves; the
 * control plane itself shows a certificate of the old one, which those know too that have slept
 * since before. NONE again: the old root is gone, its key with it.
 *
 * The stage is a record of the store; a process that dies anywhere finds on what the last step
 * left, done or not begun. Whether it is time for a step is for the caller to know. */
enum ca_stage { CA_STAGE_NONE, CA_STAGE_TRUST, CA_STAGE_SIGN };
const char *ca_stage_name(enum ca_stage stage);
enum ca_stage ca_stage(const struct ca *c);
uint64_t ca_stage_since_s(const struct ca *c); /* 0 for NONE */
/* -ERR_CONFLICT: not in the stage that the step begins in. All may write to the store and the
 * state directory: -ERR_NO_SPACE, -ERR_SYSTEM; then nothing has changed, or the step is done when
 * the CA is opened next. */
int ca_rotation_begin(struct ca *c, struct str trust_domain, uint64_t now_s);
int ca_rotation_sign(struct ca *c, uint64_t now_s);
int ca_rotation_finish(struct ca *c);
int ca_rotation_cancel(struct ca *c);

struct ca_request {
    struct str csr_pem;
    struct str spiffe_id; /* what the attestation proved */
    uint64_t now_s, lifetime_s;
};
/* The leaf as PEM, appended. Never valid for longer than its root. -ERR_INVALID and what parsing
 * gives: the CSR; -ERR_DENIED: against the signer's policy; -ERR_UNAVAILABLE, -ERR_TIMEOUT: the
 * signer (why). */
int ca_issue(struct ca *c, const struct ca_request *r, struct str_buf *ret_leaf_pem,
             struct str_buf *why);
/* A server certificate for tulled itself, by the root that the mesh has known longest. */
struct ca_own_request {
    const struct key *key;
    const struct str *dns; /* at most CA_SIGNER_DNS_MAX */
    size_t dns_count;
    struct str spiffe_id;
    uint64_t now_s, lifetime_s;
};
int ca_issue_own(struct ca *c, const struct ca_own_request *r, struct str_buf *why,
                 struct cert **ret_cert);

/* --- attestation: join tokens --- */

/* One-time, short-lived, stored hashed; binds a Workload and a replica index. */
enum { CA_TOKEN_LIFETIME_S = 600, CA_TOKENS_MAX = 10000 };
/* -ERR_LIMIT: too many that nobody has used. */
int ca_token_make(struct store *s, struct str namespace_, struct str workload, uint32_t index,
                  uint64_t now_s, uint64_t lifetime_s, struct str_buf *ret_token);
/* Whom the token binds; consumed. -ERR_UNAUTHENTICATED. Strings in the arena. */
int ca_token_redeem(struct store *s, struct str token, uint64_t now_s, struct arena *a,
                    struct str *ret_namespace, struct str *ret_workload, uint32_t *ret_index);
