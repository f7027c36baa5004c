/* The identity of this workload: a key that is made here and never leaves the state directory, a
 * leaf from the control plane's CA, the roots to judge peers by.
 *
 *   NONE -> (CSR with the join token) -> VALID -> (CSR by the present leaf, from half life) ->
 * VALID
 *
 * key.pem, cert.pem and roots.pem (roots.h) lie in DIR/identity (0600); a leaf there that is still
 * valid is used at once. When the roots begin with another one than the leaf's, it is renewed
 * within seconds. Failures are repeated with backoff and jitter. Each request has a connection of
 * its own, for the present leaf is what it proves itself by.
 *
 * Owner: the agent. Thread: the main thread's. */
#pragma once

#include "crypto/tls.h"
#include "mesh/model/resource.h"

struct identity;

struct identity_args {
    struct turn *turn;
    const struct limits *limits;
    struct str state_dir;
    const char *root_cert_file, *token_file;
    struct str spiffe_id;
    struct addr discovery;
    struct str server_name; /* that the control plane proves */
    uint32_t mark;
    /* A new leaf: the secrets to be published (borrowed for the call); roots is NULL once the
     * stream tells them (identity_set_roots). */
    void (*on_secrets)(void *ctx, struct resource *own, struct resource *roots);
    void *ctx;
};

/* Loads what is there; -ERR_X with why when the state directory or the root certificates cannot
 * be used. */
int identity_new(const struct identity_args *args, struct str_buf *why,
                 struct identity **ret_identity);
struct identity *identity_free(struct identity *i);
/* Begins; on_secrets comes at once when a valid leaf was loaded. */
void identity_start(struct identity *i);
/* The roots of the mesh as the control plane's stream tells them. -ERR_CERTIFICATE: no CA, or
 * something else, in it; nothing has changed then. */
int identity_set_roots(struct identity *i, struct str pem);
bool identity_is_valid(const struct identity *i); /* a leaf that has not expired */
/* For connections to the control plane; borrowed, NULL without a valid leaf. */
struct tls_context *identity_tls(struct identity *i);
struct identity_counts {
    uint64_t renewals, failures;
    uint64_t not_after_s; /* of the present leaf; 0: none */
};
struct identity_counts identity_counts(const struct identity *i);
/* JSON object for /certs: subject, serial, validity; no keys. */
void identity_render(const struct identity *i, struct str_buf *to);
