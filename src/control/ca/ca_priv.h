/* Inside control/ca/ only: the CA with its roots. */
#pragma once

#include "control/ca/ca.h"
#include "control/ca/signer.h"

/* What is known of a root; its key is the signer's. */
struct ca_root {
    struct cert *cert;
    uint64_t not_after_s;
    bool is_encrypted, is_converted; /* its key on the disk */
};

struct ca {
    struct store *store;
    struct ca_signer signer;
    uint64_t root_lifetime_s;
    struct ca_root roots[CA_ROOTS_MAX]; /* the elder first: by slot */
    size_t root_count;
    enum ca_stage stage;
    uint64_t since_s;
    struct str_buf bundle;
};

/* After the roots or the stage changed: the bundle follows, in memory and as a file beside. */
int ca_make_bundle(struct ca *c, struct str_buf *why);

/* --- root.c: what is asked of the signer --- */

int ca_call(const struct ca *c, const struct ca_signer_request *r, struct arena *a,
            struct ca_signer_reply *ret_reply);
/* A request of a text only, or of nothing. why may be NULL. */
int ca_call_plain(const struct ca *c, enum ca_signer_verb verb, struct str text,
                  struct str_buf *why);
/* Makes key and certificate and writes both; what was in the slot is replaced. */
int ca_root_make(const struct ca *c, enum ca_slot slot, struct str trust_domain, uint64_t now_s,
                 struct str_buf *why, struct ca_root *ret_root);
/* -ERR_NOT_FOUND: there is no key; one without the other, a key that others may read, and
 * (is_alive) a certificate that is over are refused. */
int ca_root_read(const struct ca *c, enum ca_slot slot, bool is_alive, uint64_t now_s,
                 struct str_buf *why, struct ca_root *ret_root);
void ca_root_deinit(struct ca_root *root);

/* --- rotation.c --- */

/* Reads the stage, and finishes what was under way. Before the roots are read. */
int ca_rotation_load(struct ca *c, struct str_buf *why);
