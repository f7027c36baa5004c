/* A root: its key and certificate, and the two files that they are. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/err.h"
#include "control/ca/ca_file.h"
#include "control/ca/ca_priv.h"
#include "crypto/digest.h"

enum {
    /* Clocks of other machines may be behind: valid from a little earlier on. */
    BACKDATE_S = 300,
};

static const struct {
    const char *key, *cert;
} slot_files[] = {
    [CA_SLOT_PRESENT] = {"ca-key.pem", "ca-cert.pem"},
    [CA_SLOT_NEXT] = {"ca-next-key.pem", "ca-next-cert.pem"},
};

const struct str ca_file_names[CA_FILE_COUNT] = {
    {"ca-cert.pem", 11},
    {"ca-key.pem", 10},
    {"ca-next-cert.pem", 16},
    {"ca-next-key.pem", 15},
};

const char *ca_path(const struct ca *c, const char *name, char buf[CA_PATH_LEN_MAX])
{
    snprintf(buf, CA_PATH_LEN_MAX, "%s/%s", c->dir, name);
    return buf;
}

static int fail(struct str_buf *why, const char *file, int err, const char *what)
{
    str_buf_printf(why, "%s%s: %s", file, what, err_text(err));
    return err;
}

static void set_root(struct ca_root *root, struct key *k, struct cert *cert, uint64_t not_after_s)
{
    *root = (struct ca_root){ca_signer_local(k, cert), cert_ref(cert), not_after_s};
}

void ca_root_deinit(struct ca_root *root)
{
    if (root->cert == NULL)
        return;
    root->signer.ops->free(root->signer.signer);
    cert_unref(root->cert);
    *root = (struct ca_root){0};
}

/* --- making --- */

static int write_root(const struct ca *c, enum ca_root_slot slot, const struct key *k,
                      const struct cert *cert)
{
    char path[CA_PATH_LEN_MAX];
    struct str_buf pem = STR_BUF_INIT(CA_FILE_BYTES_MAX);
    cert_to_pem(cert, &pem);
    int err = ca_file_write(ca_path(c, slot_files[slot].cert, path), 0644, str_buf_str(&pem));
    str_buf_reset(&pem);
    /* The key comes last: a certificate alone, left behind by a crash, is made anew. */
    key_to_pem(k, &pem);
    if (err == 0)
        err = ca_file_write(ca_path(c, slot_files[slot].key, path), 0600, str_buf_str(&pem));
    secret_wipe(pem.ptr, pem.cap);
    str_buf_deinit(&pem);
    return err;
}

int ca_root_make(const struct ca *c, enum ca_root_slot slot, struct str trust_domain,
                 uint64_t now_s, struct ca_root *ret_root)
{
    AUTO(key_unref_auto) struct key *k = key_new_p256();
    AUTO(cert_unref_auto) struct cert *cert = NULL;
    uint64_t not_after_s = now_s + c->root_lifetime_s;
    int err =
        ca_make_root(k, trust_domain, now_s - MIN(now_s, (uint64_t)BACKDATE_S), not_after_s, &cert);
    if (err == 0)
        err = write_root(c, slot, k, cert);
    if (err == 0)
        set_root(ret_root, k, cert, not_after_s);
    return err;
}

/* --- reading --- */

static int read_key(const char *path, struct key **ret_key)
{
    struct str_buf pem = STR_BUF_INIT(CA_FILE_BYTES_MAX);
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
    struct str_buf pem = STR_BUF_INIT(CA_FILE_BYTES_MAX);
    int err = ca_file_read(path, false, &pem);
    if (err == 0)
        err = cert_from_pem(str_buf_str(&pem), ret_cert);
    str_buf_deinit(&pem);
    return err;
}

static int check(const struct key *k, const struct cert *cert, const char *file, bool is_alive,
                 uint64_t now_s, struct str_buf *why, uint64_t *ret_not_after_s)
{
    struct arena a;
    struct cert_info info;
    arena_init(&a, 1024);
    int err = cert_info(cert, &a, &info);
    if (err != 0)
        fail(why, file, err, "");
    else if (!cert_matches_key(cert, k))
        err = fail(why, file, -ERR_CERTIFICATE, " does not belong to the key beside it");
    else if (!info.is_ca)
        err = fail(why, file, -ERR_CERTIFICATE, " is not a CA's");
    else if (is_alive && info.not_after_s <= now_s)
        err = fail(why, file, -ERR_CERTIFICATE, " is over");
    else
        *ret_not_after_s = info.not_after_s;
    arena_deinit(&a);
    return err;
}

int ca_root_read(const struct ca *c, enum ca_root_slot slot, bool is_alive, uint64_t now_s,
                 struct str_buf *why, struct ca_root *ret_root)
{
    char path[CA_PATH_LEN_MAX];
    uint64_t not_after_s = 0;
    AUTO(key_unref_auto) struct key *k = NULL;
    AUTO(cert_unref_auto) struct cert *cert = NULL;
    const char *key_file = slot_files[slot].key, *cert_file = slot_files[slot].cert;
    int err = read_key(ca_path(c, key_file, path), &k);
    if (err == -ERR_NOT_FOUND)
        return err;
    if (err != 0)
        return fail(why, key_file, err, "");
    err = read_cert(ca_path(c, cert_file, path), &cert);
    if (err != 0) /* never NOT_FOUND: a new root would lock everybody out */
        return fail(why, cert_file, err == -ERR_NOT_FOUND ? -ERR_CORRUPT : err, "");
    err = check(k, cert, cert_file, is_alive, now_s, why, &not_after_s);
    if (err == 0)
        set_root(ret_root, k, cert, not_after_s);
    return err;
}

int ca_read_file(struct str state_dir, size_t index, struct str_buf *ret_pem)
{
    char path[CA_PATH_LEN_MAX];
    struct str name = ca_file_names[index];
    int len = snprintf(path, sizeof path, "%.*s/%.*s", STR_FMT(state_dir), STR_FMT(name));
    if (len < 0 || (size_t)len >= sizeof path)
        return -ERR_TOO_LARGE;
    return ca_file_read(path, str_ends_with(name, STR("key.pem")), ret_pem);
}

/* --- one in the other's place --- */

static int move(const struct ca *c, const char *from, const char *to)
{
    char old[CA_PATH_LEN_MAX], new[CA_PATH_LEN_MAX];
    if (rename(ca_path(c, from, old), ca_path(c, to, new)) == 0 || errno == ENOENT)
        return 0; /* ENOENT: moved already */
    return err_from_errno(errno);
}

int ca_root_replace(const struct ca *c)
{
    int err = move(c, slot_files[CA_SLOT_NEXT].cert, slot_files[CA_SLOT_PRESENT].cert);
    if (err == 0)
        err = move(c, slot_files[CA_SLOT_NEXT].key, slot_files[CA_SLOT_PRESENT].key);
    return err != 0 ? err : ca_file_sync_dir(c->dir);
}

void ca_root_remove_next(const struct ca *c)
{
    char path[CA_PATH_LEN_MAX];
    (void)unlink(ca_path(c, slot_files[CA_SLOT_NEXT].key, path));
    (void)unlink(ca_path(c, slot_files[CA_SLOT_NEXT].cert, path));
    (void)ca_file_sync_dir(c->dir);
}
