/* The one who holds the CA's key: messages in, certificates out.
 *
 * Requests and replies are plain bytes, so that a signer may as well live in another process, or be
 * a hardware module: an implementation is one table of functions. Thread: the brain's. */
#pragma once

#include "base/arena.h"
#include "crypto/x509.h"

struct ca_sign_request {
    struct str csr_pem; /* public key, and the proof that the asker has the private one */
    struct str spiffe_id;
    uint64_t not_before_s, not_after_s;
};

/* Strings are in the caller's arena. */
struct ca_sign_reply {
    struct str cert_pem;
    struct str why; /* on failure */
};

struct ca_signer_ops {
    int (*sign)(void *signer, const struct ca_sign_request *request, struct arena *a,
                struct ca_sign_reply *ret_reply);
    /* A server of the control plane's own: only signers that share its process can. */
    int (*sign_server)(void *signer, const struct key *k, const struct str *dns_names,
                       size_t dns_count, const struct ca_sign_request *request,
                       struct cert **ret_cert);
    void (*free)(void *signer);
};

struct ca_signer {
    const struct ca_signer_ops *ops;
    void *signer;
};

/* A signer in this process; takes references. */
struct ca_signer ca_signer_local(struct key *key, struct cert *cert);
