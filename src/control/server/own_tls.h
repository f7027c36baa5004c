/* The TLS context of a server of ours: a key of its own and a leaf from our CA, renewed by itself.
 * Thread: the brain's. */
#pragma once

#include "control/ca/ca.h"
#include "crypto/tls.h"
#include "io/turn.h"

struct own_tls;

/* The mesh's trust domain, asked at each renewal; borrowed until the next change. */
typedef struct str own_tls_domain_fn(void *ctx);
struct own_tls_args {
    struct turn *turn;
    struct ca *ca;
    const struct str *names; /* DNS SANs; borrowed for good */
    size_t name_count;
    const char *account;             /* spiffe://DOMAIN/ns/tulle-system/sa/ACCOUNT */
    own_tls_domain_fn *trust_domain; /* called with ctx */
    void *ctx;
    const struct str *alpn; /* borrowed for good */
    size_t alpn_count;
};

/* NULL: why. */
struct own_tls *own_tls_new(const struct own_tls_args *args, struct str_buf *why);
struct own_tls *own_tls_free(struct own_tls *t);
/* The CA's roots changed: another leaf, and clients are judged by these roots. */
void own_tls_renew(struct own_tls *t);
/* What the next connection takes; borrowed. */
struct tls_context *own_tls_context(const struct own_tls *t);
