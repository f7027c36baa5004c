/* Inside control/ca/ only: the CA with its roots. */
#pragma once

#include "control/ca/ca.h"
#include "control/ca/signer.h"

enum { CA_PATH_LEN_MAX = 4096 };

/* A key with its certificate. */
struct ca_root {
    struct ca_signer signer;
    struct cert *cert;
    uint64_t not_after_s;
};

struct ca {
    struct store *store;
    char dir[CA_PATH_LEN_MAX - 64];
    uint64_t root_lifetime_s;
    struct ca_root roots[CA_ROOTS_MAX]; /* the elder first */
    size_t root_count;
    enum ca_stage stage;
    uint64_t since_s;
    struct str_buf bundle;
};

/* After the roots or the stage changed: the bundle follows, in memory and as a file beside. */
int ca_make_bundle(struct ca *c);

/* --- root.c: a root and its two files --- */

enum ca_root_slot { CA_SLOT_PRESENT, CA_SLOT_NEXT };
const char *ca_path(const struct ca *c, const char *name, char buf[CA_PATH_LEN_MAX]);
/* Makes key and certificate and writes both; what was in the slot is replaced. */
int ca_root_make(const struct ca *c, enum ca_root_slot slot, struct str trust_domain,
                 uint64_t now_s, struct ca_root *ret_root);
/* -ERR_NOT_FOUND: there is no key; one without the other, a key that others may read, and
 * (is_alive) a certificate that is over are refused. */
int ca_root_read(const struct ca *c, enum ca_root_slot slot, bool is_alive, uint64_t now_s,
                 struct str_buf *why, struct ca_root *ret_root);
void ca_root_deinit(struct ca_root *root);
/* The next root's files take the place of the present one's; again is no harm. */
int ca_root_replace(const struct ca *c);
void ca_root_remove_next(const struct ca *c);

/* --- rotation.c --- */

/* Reads the stage, and finishes what was under way. Before the roots are read. */
int ca_rotation_load(struct ca *c, struct str_buf *why);
