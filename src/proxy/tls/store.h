/* The secrets of a worker and the TLS contexts built from them.
 *
 * One SSL_CTX per identity, bundle, role and options, never per cluster (25 KiB and 0.9 ms each):
 * contexts are cached by what makes them up. When a secret changes the contexts that used it are
 * rebuilt on next use; connections that live keep the old one.
 *
 * Owner: the worker (and the main thread has one of its own). Thread: the owner's. */
#pragma once

#include "crypto/tls.h"
#include "mesh/model/resource.h"
#include "mesh/model/secret.h"
#include "mesh/model/tls.h"

struct tls_store;

struct tls_store *tls_store_new(const uint8_t ticket_key[80]); /* NULL: no tickets */
struct tls_store *tls_store_free(struct tls_store *s);

/* secret NULL: removed. Takes a reference of its own. */
void tls_store_set_secret(struct tls_store *s, struct str name, struct resource *secret);
struct resource *tls_store_secret(struct tls_store *s, struct str name); /* borrowed; NULL: none */

/* The context for a listener's or cluster's TLS settings; borrowed, valid until the next change of
 * a secret (reference it to keep it: endpoints do). -ERR_UNAVAILABLE: a secret is missing yet;
 * -ERR_CERTIFICATE: it does not parse (why). alpn: instead of the settings' list when count > 0. */
int tls_store_server(struct tls_store *s, const struct downstream_tls *tls, struct str_buf *why,
                     struct tls_context **ret_context);
int tls_store_client(struct tls_store *s, const struct upstream_tls *tls, const struct str *alpn,
                     size_t alpn_count, struct str_buf *why, struct tls_context **ret_context);
/* The names that a peer may have: those of the settings and those of the validation secret, any of
 * which is enough; none: any name under the roots. Returns how many there are, of which the first
 * max are stored: the caller refuses when there are more. */
size_t tls_store_sans(struct tls_store *s, const struct common_tls *tls,
                      struct tls_san_match *ret_sans, size_t max);
/* Appends text that is equal for equal settings: secrets (inline ones by digest), versions, ALPN,
 * names. */
void tls_store_describe(const struct common_tls *tls, struct str_buf *to);
/* Counts changes of secrets: pools compare it to know that a connection has an old identity. */
uint64_t tls_store_generation(const struct tls_store *s);
