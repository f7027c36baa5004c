/* The CA's keys: what a signer does with a request, wherever it runs. Inside control/ca/ only.
 *
 * The keys are read when they are first needed. The policy (vault_policy.c) holds whoever asks:
 * leaves within one trust domain, fixed by the first of them, for at most 90 days; never the
 * control plane's own name except for its servers; CA certificates only for a slot that has no key.
 *
 * Owner: the signer. Thread: one. */
#pragma once

#include "control/ca/signer.h"
#include "crypto/x509.h"

enum { VAULT_PATH_LEN_MAX = 4096, VAULT_PASSPHRASE_LEN_MIN = 8 };

/* What outlives a signer that died: shared by it and the one that takes its place. */
struct vault_memory {
    char trust_domain[256]; /* "": no leaf was signed yet */
};

struct vault_root {
    struct key *key; /* NULL: not read yet */
    struct cert *cert;
    uint64_t not_after_s;
    bool is_encrypted, is_converted;
};

struct vault {
    char dir[VAULT_PATH_LEN_MAX - 64];
    char *passphrase; /* NULL: none */
    size_t passphrase_len;
    struct vault_root roots[CA_SLOT_COUNT];
    struct vault_memory *memory, own_memory;
    uint64_t (*clock_s)(void); /* NULL: certificates' times are not compared with a clock */
};

/* memory may be NULL. -ERR_X: the passphrase cannot be had (why). */
int vault_init(struct vault *v, const struct ca_signer_options *o, struct vault_memory *memory,
               struct str_buf *why);
void vault_deinit(struct vault *v); /* wipes */
int vault_call(struct vault *v, const struct ca_signer_request *r, struct arena *a,
               struct ca_signer_reply *ret_reply);

/* --- vault_policy.c --- */

/* 0, or -ERR_DENIED and why. */
int vault_allows(struct vault *v, const struct ca_signer_request *r, struct str_buf *why);

/* --- vault_files.c: a root as two files --- */

int vault_read(struct vault *v, enum ca_slot slot, struct str_buf *why);
int vault_make(struct vault *v, enum ca_slot slot, const struct ca_signer_request *r);
int vault_replace(struct vault *v);
void vault_discard(struct vault *v);
void vault_forget(struct vault *v, enum ca_slot slot);
const char *vault_path(const struct vault *v, const char *name, char buf[VAULT_PATH_LEN_MAX]);
