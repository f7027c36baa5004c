/* The roots by which this proxy judges others.
 *
 * It begins with a pin: the file that --root-cert names, put there by whoever set it up. The
 * control plane that proves itself by it tells the roots of the mesh, which replace what was told
 * before; they are kept in the state directory. From then on peers are judged by these alone, and
 * the pin counts only where a join token is used. A root that was dropped is trusted by nobody,
 * even if it is still in the pin: what was told before and is not told any more is kept, too.
 *
 * Owner: the identity. Thread: the main thread's. */
#pragma once

#include "crypto/x509.h"

enum { ROOTS_MAX = 64, ROOTS_PEM_MAX = 256 * 1024 };

struct roots {
    const char *pin_file;
    char path[600], dropped_path[600]; /* roots.pem, roots-dropped.pem */
    struct str_buf told;               /* PEM; empty: nothing was told yet */
    struct str_buf pin;                /* PEM, as read last, without those that were dropped */
    struct str_buf dropped;            /* PEM: what was trusted once, the latest first */
    bool is_streamed; /* told by the configuration stream: answers to requests may be older */
};

/* dir: where roots.pem lies. -ERR_X with why: neither file nor pin can be used.
 * -ERR_CERTIFICATE, too: all roots of the pin were dropped. */
int roots_init(struct roots *r, const char *pin_file, const char *dir, struct str_buf *why);
void roots_deinit(struct roots *r);
/* What was told, or the pin: PEM. */
struct str roots_pem(const struct roots *r);
/* Takes the PEM as the roots of the mesh, and keeps it on disk (ret_is_new: it is another one).
 * -ERR_CERTIFICATE: there is no CA in it, or something else; nothing has changed then. */
int roots_tell(struct roots *r, struct str pem, bool *ret_is_new);
/* The certificates, referenced for the caller; is_with_pin: those of the pin, read anew, too. */
int roots_certs(struct roots *r, bool is_with_pin, struct cert *ret_certs[ROOTS_MAX],
                size_t *ret_count);
void roots_certs_unref(struct cert *const *certs, size_t count);
/* Whether the root that signs at present, the first one told, signed the leaf. */
bool roots_is_present(struct roots *r, const struct cert *leaf, uint64_t now_s);
