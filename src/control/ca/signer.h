/* The one who holds the CA's keys: messages in, certificates out.
 *
 * Requests and replies are values, so that a signer may as well live in another process, or be a
 * hardware module: an implementation is one table of functions. Keys go in no direction but onto
 * the disk. Thread: the brain's. */
#pragma once

#include "base/arena.h"

enum ca_slot { CA_SLOT_PRESENT, CA_SLOT_NEXT, CA_SLOT_COUNT };

enum ca_signer_verb {
    CA_SIGNER_OPEN,    /* slot, now_s (0: a root that is over is taken): its certificate */
    CA_SIGNER_MAKE,    /* slot, name (trust domain), not_before_s, not_after_s: its certificate */
    CA_SIGNER_LEAF,    /* slot, text (CSR), name (SPIFFE id), not_before_s, not_after_s: the leaf */
    CA_SIGNER_SERVER,  /* the same, and dns: a server of the control plane's own */
    CA_SIGNER_REPLACE, /* the next root takes the place of the present one; again is no harm */
    CA_SIGNER_DISCARD, /* the next root's files go */
    CA_SIGNER_BUNDLE,  /* text: the roots, as a file for who copies them */
    CA_SIGNER_EXPORT,  /* index (of ca_file_names): that file as it lies on the disk */
    CA_SIGNER_VERB_COUNT,
};

enum { CA_SIGNER_DNS_MAX = 16, CA_SIGNER_TEXT_MAX = 144 * 1024, CA_SIGNER_NAME_MAX = 2048 };

struct ca_signer_request {
    enum ca_signer_verb verb;
    enum ca_slot slot;
    uint32_t index;
    uint64_t now_s, not_before_s, not_after_s;
    struct str text, name;
    struct str dns[CA_SIGNER_DNS_MAX];
    size_t dns_count;
};

/* Strings are in the caller's arena. */
struct ca_signer_reply {
    struct str text;
    struct str why;                  /* on failure */
    bool is_encrypted, is_converted; /* OPEN, MAKE: the key on the disk; just now */
};

struct ca_signer_ops {
    /* 0 or -ERR_X. -ERR_NOT_FOUND from OPEN and EXPORT: there is no such file; -ERR_DENIED: against
     * the signer's policy, a wrong passphrase, a key that others may read. */
    int (*call)(void *signer, const struct ca_signer_request *request, struct arena *a,
                struct ca_signer_reply *ret_reply);
    void (*free)(void *signer);
};

struct ca_signer {
    const struct ca_signer_ops *ops;
    void *signer;
};

/* Where a signer finds things. */
struct ca_signer_options {
    const char *dir;             /* the files' folder */
    const char *passphrase_file; /* NULL: keys lie in the clear */
    bool is_credential;          /* a systemd credential: its folder guards it */
    bool is_confined;            /* a process: gives up what it does not need */
};
/* A signer in this process. -ERR_X: the passphrase (why). */
int ca_signer_local(const struct ca_signer_options *o, struct str_buf *why,
                    struct ca_signer *ret_signer);
