/* Opening the CA, and what it issues. */
#include "control/ca/ca.h"

#include <stdlib.h>

#include "base/err.h"
#include "control/ca/ca_priv.h"
#include "crypto/digest.h"

enum {
    BUNDLE_BYTES_MAX = CA_ROOTS_MAX * CA_FILE_BYTES_MAX,
    /* Clocks of other machines may be behind: valid from a little earlier on. */
    BACKDATE_S_MAX = 300,
    BACKDATE_PART = 20,
    CSR_BYTES_MAX = 16 * 1024,
};

/* --- life --- */

static int open_present(struct ca *c, const struct ca_options *o, uint64_t now_s,
                        struct str_buf *why)
{
    /* While another one signs, the old root may well be over. */
    bool is_signing = c->stage != CA_STAGE_SIGN;
    int err = ca_root_read(c, CA_SLOT_PRESENT, is_signing, now_s, why, &c->roots[0]);
    if (err != -ERR_NOT_FOUND)
        return err;
    if (c->stage != CA_STAGE_NONE) {
        str_buf_add_c(why, "ca-key.pem is missing, and the root is being rotated");
        return -ERR_CORRUPT;
    }
    str_buf_add_c(why, "making a CA: ");
    err = ca_root_make(c, CA_SLOT_PRESENT, o->trust_domain, now_s, why, &c->roots[0]);
    if (err == 0)
        str_buf_reset(why);
    return err;
}

static int open_next(struct ca *c, uint64_t now_s, struct str_buf *why)
{
    int err = ca_root_read(c, CA_SLOT_NEXT, true, now_s, why, &c->roots[1]);
    if (err == -ERR_NOT_FOUND) {
        str_buf_add_c(why, "ca-next-key.pem is missing, and the root is being rotated");
        return -ERR_CORRUPT;
    }
    c->root_count += err == 0;
    return err;
}

static int open_roots(struct ca *c, const struct ca_options *o, uint64_t now_s, struct str_buf *why)
{
    int err = ca_rotation_load(c, why);
    if (err == 0)
        err = open_present(c, o, now_s, why);
    if (err != 0)
        return err;
    c->root_count = 1;
    if (c->stage != CA_STAGE_NONE)
        err = open_next(c, now_s, why);
    return err != 0 ? err : ca_make_bundle(c, why);
}

/* Whoever brought no signer has one in this process. */
static int take_signer(struct ca *c, const struct ca_options *o, struct str_buf *why)
{
    c->signer = o->signer;
    if (o->signer.ops != NULL)
        return 0;
    AUTO(mem_free_auto) char *dir = str_dup_c(o->state_dir);
    struct ca_signer_options local = {.dir = dir};
    return ca_signer_local(&local, why, &c->signer);
}

int ca_open(const struct ca_options *o, uint64_t now_s, struct str_buf *why, struct ca **ret_ca)
{
    struct ca *c = NEW(struct ca);
    c->store = o->store;
    c->root_lifetime_s = o->root_lifetime_s;
    c->bundle = STR_BUF_INIT(BUNDLE_BYTES_MAX);
    int err = take_signer(c, o, why);
    if (err == 0)
        err = open_roots(c, o, now_s, why);
    if (err != 0) {
        ca_free(c);
        return err;
    }
    *ret_ca = c;
    return 0;
}

struct ca *ca_free(struct ca *c)
{
    if (c == NULL)
        return NULL;
    for (size_t i = 0; i < CA_ROOTS_MAX; i++)
        ca_root_deinit(&c->roots[i]);
    if (c->signer.ops != NULL)
        c->signer.ops->free(c->signer.signer);
    str_buf_deinit(&c->bundle);
    free(c);
    return NULL;
}

/* --- roots --- */

static enum ca_slot signing_slot(const struct ca *c)
{
    return c->stage == CA_STAGE_SIGN ? CA_SLOT_NEXT : CA_SLOT_PRESENT;
}

static const struct ca_root *signing(const struct ca *c)
{
    return &c->roots[signing_slot(c)];
}

int ca_make_bundle(struct ca *c, struct str_buf *why)
{
    struct cert *roots[CA_ROOTS_MAX];
    size_t count = ca_roots(c, roots);
    str_buf_reset(&c->bundle);
    for (size_t i = 0; i < count; i++)
        cert_to_pem(roots[i], &c->bundle);
    return ca_call_plain(c, CA_SIGNER_BUNDLE, str_buf_str(&c->bundle), why);
}

struct str ca_bundle(const struct ca *c)
{
    return str_buf_str(&c->bundle);
}

struct cert *ca_root(const struct ca *c)
{
    return signing(c)->cert;
}

uint64_t ca_root_not_after_s(const struct ca *c)
{
    return signing(c)->not_after_s;
}

size_t ca_roots(const struct ca *c, struct cert *ret_roots[CA_ROOTS_MAX])
{
    size_t first = c->stage == CA_STAGE_SIGN ? 1 : 0;
    for (size_t i = 0; i < c->root_count; i++)
        ret_roots[i] = c->roots[(first + i) % CA_ROOTS_MAX].cert;
    return c->root_count;
}

bool ca_root_is_encrypted(const struct ca *c, const struct cert *root)
{
    for (size_t i = 0; i < c->root_count; i++) {
        if (c->roots[i].cert == root)
            return c->roots[i].is_encrypted;
    }
    return false;
}

bool ca_was_converted(const struct ca *c)
{
    return c->roots[0].is_converted || c->roots[1].is_converted;
}

int ca_export(const struct ca *c, size_t index, struct str_buf *ret_pem)
{
    struct arena a;
    struct ca_signer_request r = {.verb = CA_SIGNER_EXPORT, .index = (uint32_t)index};
    struct ca_signer_reply reply;
    arena_init(&a, CA_FILE_BYTES_MAX);
    int err = ca_call(c, &r, &a, &reply);
    if (err == 0) {
        str_buf_add(ret_pem, reply.text);
        secret_wipe((char *)(uintptr_t)reply.text.ptr, reply.text.len); /* the arena's, ours */
    }
    arena_deinit(&a);
    return err;
}

struct str ca_root_id(const struct cert *root, struct arena *a)
{
    struct cert_info info;
    return cert_info(root, a, &info) == 0 ? str_sub(info.sha256_hex, 0, CA_ID_LEN) : STR_NULL;
}

struct cert *ca_signer_among(struct cert *const *roots, size_t count, const struct cert *leaf)
{
    struct arena a;
    struct cert_info info;
    struct str_buf why = STR_BUF_INIT(256);
    struct cert *found = NULL;
    arena_init(&a, 2048);
    uint64_t at_s = cert_info(leaf, &a, &info) == 0 ? info.not_before_s : 0;
    for (size_t i = 0; found == NULL && i < count; i++) {
        if (cert_verify(leaf, NULL, 0, &roots[i], 1, at_s, &why) == 0)
            found = roots[i];
    }
    str_buf_deinit(&why);
    arena_deinit(&a);
    return found;
}

struct cert *ca_signer_of(const struct ca *c, const struct cert *leaf)
{
    struct cert *roots[CA_ROOTS_MAX];
    return ca_signer_among(roots, ca_roots(c, roots), leaf);
}

/* --- issuing --- */

static void set_times(const struct ca_root *by, uint64_t now_s, uint64_t lifetime_s,
                      struct ca_signer_request *to)
{
    uint64_t backdate_s = MIN(lifetime_s / BACKDATE_PART, (uint64_t)BACKDATE_S_MAX);
    to->not_before_s = now_s - MIN(now_s, backdate_s);
    to->not_after_s = MIN(now_s + lifetime_s, by->not_after_s);
}

int ca_issue(struct ca *c, const struct ca_request *r, struct str_buf *ret_leaf_pem,
             struct str_buf *why)
{
    struct arena a;
    struct ca_signer_request message = {
        .verb = CA_SIGNER_LEAF, .slot = signing_slot(c), .text = r->csr_pem, .name = r->spiffe_id};
    struct ca_signer_reply reply;
    arena_init(&a, 4096);
    set_times(signing(c), r->now_s, r->lifetime_s, &message);
    int err = ca_call(c, &message, &a, &reply);
    str_buf_add(err == 0 ? ret_leaf_pem : why, err == 0 ? reply.text : reply.why);
    arena_deinit(&a);
    return err;
}

/* The elder root, unless it is about to end. */
static enum ca_slot own_slot(const struct ca *c, uint64_t until_s)
{
    bool is_elder_long = c->roots[0].not_after_s >= until_s;
    return c->stage == CA_STAGE_SIGN && !is_elder_long ? CA_SLOT_NEXT : CA_SLOT_PRESENT;
}

static int call_for_cert(struct ca *c, const struct ca_signer_request *r, struct str_buf *why,
                         struct cert **ret_cert)
{
    struct arena a;
    struct ca_signer_reply reply;
    arena_init(&a, 4096);
    int err = ca_call(c, r, &a, &reply);
    if (err == 0)
        err = cert_from_pem(reply.text, ret_cert);
    else
        str_buf_add(why, reply.why);
    arena_deinit(&a);
    return err;
}

int ca_issue_own(struct ca *c, const struct ca_own_request *r, struct str_buf *why,
                 struct cert **ret_cert)
{
    struct str_buf csr = STR_BUF_INIT(CSR_BYTES_MAX);
    struct ca_signer_request message = {.verb = CA_SIGNER_SERVER, .name = r->spiffe_id};
    ASSERT(r->dns_count <= CA_SIGNER_DNS_MAX);
    message.slot = own_slot(c, r->now_s + r->lifetime_s);
    message.dns_count = r->dns_count;
    memcpy(message.dns, r->dns, r->dns_count * sizeof *r->dns);
    set_times(&c->roots[message.slot], r->now_s, r->lifetime_s, &message);
    /* The request's own name does not count. */
    int err = csr_make(r->key, STR("spiffe://own"), &csr);
    message.text = str_buf_str(&csr);
    if (err == 0)
        err = call_for_cert(c, &message, why, ret_cert);
    str_buf_deinit(&csr);
    return err;
}
