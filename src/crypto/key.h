/* Private keys and certificates. Opaque wrappers around OpenSSL, the only ones in the tree.
 *
 * Private keys never leave this module except by key_to_pem (PKCS#8) for a file of mode 0600.
 * Lifetime: refcounted, read-only after creation. Thread: any. */
#pragma once

#include "base/arena.h"
#include "base/str.h"

struct key;
struct key *key_new_p256(void);
int key_from_pem(struct str pem, struct key **ret_key);
void key_to_pem(const struct key *k, struct str_buf *to); /* buffer is the caller's to wipe */
struct key *key_ref(struct key *k);
struct key *key_unref(struct key *k);
AUTO_FREE_DEFINE(struct key, key_unref);
