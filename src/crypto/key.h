/* Private keys and certificates. Opaque wrappers around OpenSSL, the only ones in the tree.
 *
 * Private keys never leave this module except by key_to_pem (PKCS#8) for a file of mode 0600, and
 * by key_to_pem_encrypted.
 * Lifetime: refcounted, read-only after creation. Thread: any. */
#pragma once

#include "base/arena.h"
#include "base/str.h"

struct key;
struct key *key_new_p256(void);
int key_from_pem(struct str pem, struct key **ret_key);
void key_to_pem(const struct key *k, struct str_buf *to); /* buffer is the caller's to wipe */
/* The same under a passphrase. -ERR_DENIED: it is not this one, or the key is damaged; -ERR_SYNTAX:
 * the text is no encrypted key. Takes a fifth of a second on purpose (scrypt). */
enum { KEY_PASSPHRASE_LEN_MAX = 1024 };
bool key_pem_is_encrypted(struct str pem);
int key_from_pem_encrypted(struct str pem, struct str passphrase, struct key **ret_key);
/* -ERR_INVALID: no passphrase, or too long a one. */
int key_to_pem_encrypted(const struct key *k, struct str passphrase, struct str_buf *to);
struct key *key_ref(struct key *k);
struct key *key_unref(struct key *k);
AUTO_FREE_DEFINE(struct key, key_unref);
