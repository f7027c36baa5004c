/* Opening the CA, and what it issues. */
#include "control/ca/ca.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "control/ca/ca_file.h"
#include "control/ca/signer.h"
#include "crypto/digest.h"

enum {
    PEM_BYTES_MAX = CA_FILE_BYTES_MAX,
    PATH_LEN_MAX = 4096,
    /* Clocks of other machines may be behind: valid from a little earlier on. */
    BACKDATE_S_MAX = 300,
    BACKDATE_PART = 20,
};

struct ca {
    struct ca_signer signer;
    struct cert *root;
    struct str_buf bundle;
    uint64_t not_after_s;
};

static const char *file_of(char buf[PATH_LEN_MAX], struct str dir, const char *name)
{
    int len = snprintf(buf, PATH_LEN_MAX, "%.*s/%s", STR_FMT(dir), name);
    return len > 0 && len < PATH_LEN_MAX ? buf : NULL;
}

static int fail(struct str_buf *why, int err, const char *what)
{
    str_buf_printf(why, "%s: %s", what, err_text(err));
    return err;
}

/* --- making a root --- */

static int write_root(const struct ca_options *o, const struct key *k, const struct cert *cert)
{
    char path[PATH_LEN_MAX];
    struct str_buf pem = STR_BUF_INIT(PEM_BYTES_MAX);
    cert_to_pem(cert, &pem);
    int err = ca_file_write(file_of(path, o->state_dir, "ca-cert.pem"), 0644, str_buf_str(&pem));
    str_buf_reset(&pem);
    /* The key comes last: a certificate alone, left behind by a crash, is made anew. */
    key_to_pem(k, &pem);
    if (err == 0)
        err = ca_file_write(file_of(path, o->state_dir, "ca-key.pem"), 0600, str_buf_str(&pem));
    secret_wipe(pem.ptr, pem.cap);
    str_buf_deinit(&pem);
    return err;
}

static int make_root(const struct ca_options *o, uint64_t now_s, struct key **ret_key,
                     struct cert **ret_cert)
{
    AUTO(key_unref_auto) struct key *k = key_new_p256();
    AUTO(cert_unref_auto) struct cert *cert = NULL;
    int err = ca_make_root(k, o->trust_domain, now_s - MIN(now_s, (uint64_t)BACKDATE_S_MAX),
                           now_s + o->root_lifetime_s, &cert);
    if (err == 0)
        err = write_root(o, k, cert);
    if (err != 0)
        return err;
    *ret_key = TAKE(k);
    *ret_cert = TAKE(cert);
    return 0;
}

/* --- reading one --- */

static int read_key(const char *path, struct key **ret_key)
{
    struct str_buf pem = STR_BUF_INIT(PEM_BYTES_MAX);
    int err = ca_file_read(path, true, &pem);
    if (err == 0)
        err = key_from_pem(str_buf_str(&pem), ret_key);
    if (pem.ptr != NULL)
        secret_wipe(pem.ptr, pem.cap);
    str_buf_deinit(&pem);
    return err;
}

static int read_cert(const char *path, struct cert **ret_cert)
{
    struct str_buf pem = STR_BUF_INIT(PEM_BYTES_MAX);
    int err = ca_file_read(path, false, &pem);
    if (err == 0)
        err = cert_from_pem(str_buf_str(&pem), ret_cert);
    str_buf_deinit(&pem);
    return err;
}

static int check_root(const struct key *k, const struct cert *cert, uint64_t now_s,
                      struct str_buf *why)
{
    struct arena a;
    struct cert_info info;
    arena_init(&a, 1024);
    int err = cert_info(cert, &a, &info);
    if (err != 0)
        fail(why, err, "ca-cert.pem");
    else if (!cert_matches_key(cert, k))
        err = fail(why, -ERR_CERTIFICATE, "ca-cert.pem does not belong to ca-key.pem");
    else if (!info.is_ca)
        err = fail(why, -ERR_CERTIFICATE, "ca-cert.pem is not a CA's");
    else if (info.not_after_s <= now_s)
        err = fail(why, -ERR_CERTIFICATE, "ca-cert.pem is over");
    arena_deinit(&a);
    return err;
}

static int read_root(const struct ca_options *o, uint64_t now_s, struct str_buf *why,
                     struct key **ret_key, struct cert **ret_cert)
{
    char path[PATH_LEN_MAX];
    AUTO(key_unref_auto) struct key *k = NULL;
    AUTO(cert_unref_auto) struct cert *cert = NULL;
    if (file_of(path, o->state_dir, "ca-cert.pem.new") == NULL)
        return fail(why, -ERR_TOO_LARGE, "the state directory's name");
    int err = read_key(file_of(path, o->state_dir, "ca-key.pem"), &k);
    if (err == -ERR_NOT_FOUND)
        return err;
    if (err != 0)
        return fail(why, err, "ca-key.pem");
    err = read_cert(file_of(path, o->state_dir, "ca-cert.pem"), &cert);
    if (err != 0) /* never NOT_FOUND: a new root would lock everybody out */
        return fail(why, err == -ERR_NOT_FOUND ? -ERR_CORRUPT : err, "ca-cert.pem");
    err = check_root(k, cert, now_s, why);
    if (err != 0)
        return err;
    *ret_key = TAKE(k);
    *ret_cert = TAKE(cert);
    return 0;
}

int ca_read_files(struct str state_dir, struct str_buf *ret_key_pem, struct str_buf *ret_cert_pem)
{
    char path[PATH_LEN_MAX];
    if (file_of(path, state_dir, "ca-cert.pem") == NULL)
        return -ERR_TOO_LARGE;
    int err = ca_file_read(path, false, ret_cert_pem);
    return err != 0 ? err : ca_file_read(file_of(path, state_dir, "ca-key.pem"), true, ret_key_pem);
}

/* --- life --- */

int ca_open(const struct ca_options *o, uint64_t now_s, struct str_buf *why, struct ca **ret_ca)
{
    AUTO(key_unref_auto) struct key *k = NULL;
    AUTO(cert_unref_auto) struct cert *cert = NULL;
    int err = read_root(o, now_s, why, &k, &cert);
    if (err == -ERR_NOT_FOUND) {
        err = make_root(o, now_s, &k, &cert);
        if (err != 0)
            fail(why, err, "making a CA");
    }
    if (err != 0)
        return err;
    struct arena a;
    struct cert_info info;
    arena_init(&a, 1024);
    struct ca *c = NEW(struct ca);
    c->bundle = STR_BUF_INIT(PEM_BYTES_MAX);
    c->signer = ca_signer_local(k, cert);
    c->root = TAKE(cert);
    cert_to_pem(c->root, &c->bundle);
    err = cert_info(c->root, &a, &info);
    c->not_after_s = err == 0 ? info.not_after_s : 0;
    arena_deinit(&a);
    *ret_ca = c;
    return 0;
}

struct ca *ca_free(struct ca *c)
{
    if (c == NULL)
        return NULL;
    c->signer.ops->free(c->signer.signer);
    cert_unref(c->root);
    str_buf_deinit(&c->bundle);
    free(c);
    return NULL;
}

struct str ca_bundle(const struct ca *c)
{
    return str_buf_str(&c->bundle);
}

struct cert *ca_root(const struct ca *c)
{
    return c->root;
}

uint64_t ca_root_not_after_s(const struct ca *c)
{
    return c->not_after_s;
}

/* --- issuing --- */

static void set_times(const struct ca *c, uint64_t now_s, uint64_t lifetime_s,
                      struct ca_sign_request *to)
{
    uint64_t backdate_s = MIN(lifetime_s / BACKDATE_PART, (uint64_t)BACKDATE_S_MAX);
    to->not_before_s = now_s - MIN(now_s, backdate_s);
    to->not_after_s = MIN(now_s + lifetime_s, c->not_after_s);
}

int ca_issue(struct ca *c, const struct ca_request *r, struct str_buf *ret_leaf_pem,
             struct str_buf *why)
{
    struct arena a;
    struct ca_sign_request message = {.csr_pem = r->csr_pem, .spiffe_id = r->spiffe_id};
    struct ca_sign_reply reply = {.cert_pem = STR_NULL};
    arena_init(&a, 4096);
    set_times(c, r->now_s, r->lifetime_s, &message);
    int err = c->signer.ops->sign(c->signer.signer, &message, &a, &reply);
    str_buf_add(err == 0 ? ret_leaf_pem : why, err == 0 ? reply.cert_pem : reply.why);
    arena_deinit(&a);
    return err;
}

int ca_issue_own(struct ca *c, const struct key *k, const struct str *dns_names, size_t count,
                 struct str spiffe_id, uint64_t now_s, uint64_t lifetime_s, struct cert **ret_cert)
{
    struct ca_sign_request message = {.spiffe_id = spiffe_id};
    set_times(c, now_s, lifetime_s, &message);
    return c->signer.ops->sign_server(c->signer.signer, k, dns_names, count, &message, ret_cert);
}
