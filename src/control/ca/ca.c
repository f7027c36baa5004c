/* Opening the CA, and what it issues. */
#include "control/ca/ca.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "control/ca/ca_file.h"
#include "control/ca/ca_priv.h"

enum {
    BUNDLE_BYTES_MAX = CA_ROOTS_MAX * CA_FILE_BYTES_MAX,
    /* Clocks of other machines may be behind: valid from a little earlier on. */
    BACKDATE_S_MAX = 300,
    BACKDATE_PART = 20,
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
    err = ca_root_make(c, CA_SLOT_PRESENT, o->trust_domain, now_s, &c->roots[0]);
    if (err != 0)
        str_buf_printf(why, "making a CA: %s", err_text(err));
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
    int len = snprintf(c->dir, sizeof c->dir, "%.*s", STR_FMT(o->state_dir));
    if (len < 0 || (size_t)len >= sizeof c->dir) {
        str_buf_add_c(why, "the state directory's name is too long");
        return -ERR_TOO_LARGE;
    }
    int err = ca_rotation_load(c, why);
    if (err == 0)
        err = open_present(c, o, now_s, why);
    if (err != 0)
        return err;
    c->root_count = 1;
    if (c->stage != CA_STAGE_NONE)
        err = open_next(c, now_s, why);
    if (err != 0)
        return err;
    err = ca_make_bundle(c);
    if (err != 0)
        str_buf_printf(why, "ca-bundle.pem: %s", err_text(err));
    return err;
}

int ca_open(const struct ca_options *o, uint64_t now_s, struct str_buf *why, struct ca **ret_ca)
{
    struct ca *c = NEW(struct ca);
    c->store = o->store;
    c->root_lifetime_s = o->root_lifetime_s;
    c->bundle = STR_BUF_INIT(BUNDLE_BYTES_MAX);
    int err = open_roots(c, o, now_s, why);
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
    str_buf_deinit(&c->bundle);
    free(c);
    return NULL;
}

/* --- roots --- */

static const struct ca_root *signing(const struct ca *c)
{
    return &c->roots[c->stage == CA_STAGE_SIGN ? 1 : 0];
}

/* A full disk keeps nobody from starting who has nothing new to write. */
static int write_if_new(const char *path, struct str pem)
{
    struct str_buf old = STR_BUF_INIT(BUNDLE_BYTES_MAX);
    bool is_same = ca_file_read(path, false, &old) == 0 && str_eq(str_buf_str(&old), pem);
    str_buf_deinit(&old);
    return is_same ? 0 : ca_file_write(path, 0644, pem);
}

int ca_make_bundle(struct ca *c)
{
    char path[CA_PATH_LEN_MAX];
    struct cert *roots[CA_ROOTS_MAX];
    size_t count = ca_roots(c, roots);
    str_buf_reset(&c->bundle);
    for (size_t i = 0; i < count; i++)
        cert_to_pem(roots[i], &c->bundle);
    return write_if_new(ca_path(c, "ca-bundle.pem", path), str_buf_str(&c->bundle));
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

struct str ca_root_id(const struct cert *root, struct arena *a)
{
    struct cert_info info;
    return cert_info(root, a, &info) == 0 ? str_sub(info.sha256_hex, 0, CA_ID_LEN) : STR_NULL;
}

struct cert *ca_signer_of(const struct ca *c, const struct cert *leaf)
{
    struct arena a;
    struct cert_info info;
    struct str_buf why = STR_BUF_INIT(256);
    struct cert *found = NULL;
    arena_init(&a, 2048);
    uint64_t at_s = cert_info(leaf, &a, &info) == 0 ? info.not_before_s : 0;
    for (size_t i = 0; found == NULL && i < c->root_count; i++) {
        struct cert *root = c->roots[i].cert;
        if (cert_verify(leaf, NULL, 0, &root, 1, at_s, &why) == 0)
            found = root;
    }
    str_buf_deinit(&why);
    arena_deinit(&a);
    return found;
}

/* --- issuing --- */

static void set_times(const struct ca_root *by, uint64_t now_s, uint64_t lifetime_s,
                      struct ca_sign_request *to)
{
    uint64_t backdate_s = MIN(lifetime_s / BACKDATE_PART, (uint64_t)BACKDATE_S_MAX);
    to->not_before_s = now_s - MIN(now_s, backdate_s);
    to->not_after_s = MIN(now_s + lifetime_s, by->not_after_s);
}

int ca_issue(struct ca *c, const struct ca_request *r, struct str_buf *ret_leaf_pem,
             struct str_buf *why)
{
    struct arena a;
    const struct ca_root *by = signing(c);
    struct ca_sign_request message = {.csr_pem = r->csr_pem, .spiffe_id = r->spiffe_id};
    struct ca_sign_reply reply = {.cert_pem = STR_NULL};
    arena_init(&a, 4096);
    set_times(by, r->now_s, r->lifetime_s, &message);
    int err = by->signer.ops->sign(by->signer.signer, &message, &a, &reply);
    str_buf_add(err == 0 ? ret_leaf_pem : why, err == 0 ? reply.cert_pem : reply.why);
    arena_deinit(&a);
    return err;
}

/* The elder root, unless it is about to end. */
static const struct ca_root *own_root(const struct ca *c, uint64_t until_s)
{
    bool is_elder_long = c->roots[0].not_after_s >= until_s;
    return c->stage == CA_STAGE_SIGN && !is_elder_long ? &c->roots[1] : &c->roots[0];
}

int ca_issue_own(struct ca *c, const struct key *k, const struct str *dns_names, size_t count,
                 struct str spiffe_id, uint64_t now_s, uint64_t lifetime_s, struct cert **ret_cert)
{
    struct ca_sign_request message = {.spiffe_id = spiffe_id};
    const struct ca_root *by = own_root(c, now_s + lifetime_s);
    set_times(by, now_s, lifetime_s, &message);
    return by->signer.ops->sign_server(by->signer.signer, k, dns_names, count, &message, ret_cert);
}
