/* A root: its key and certificate, and the two files that they are.
 *
 * With a passphrase keys are written under it, and one that lies in the clear is written anew:
 * beside, then in its place by a rename, so that a crash leaves the one or the other. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "control/ca/ca.h"
#include "control/ca/ca_file.h"
#include "control/ca/vault.h"
#include "crypto/digest.h"

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

const char *vault_path(const struct vault *v, const char *name, char buf[VAULT_PATH_LEN_MAX])
{
    snprintf(buf, VAULT_PATH_LEN_MAX, "%s/%s", v->dir, name);
    return buf;
}

static int fail(struct str_buf *why, const char *file, int err, const char *what)
{
    str_buf_printf(why, "%s%s: %s", file, what, err_text(err));
    return err;
}

void vault_forget(struct vault *v, enum ca_slot slot)
{
    struct vault_root *root = &v->roots[slot];
    key_unref(root->key);
    cert_unref(root->cert);
    *root = (struct vault_root){0};
}

static struct str passphrase(const struct vault *v)
{
    return str_from(v->passphrase, v->passphrase_len);
}

static void wipe(struct str_buf *b)
{
    if (b->ptr != NULL)
        secret_wipe(b->ptr, b->cap);
    str_buf_deinit(b);
}

/* --- writing --- */

static int write_key(const struct vault *v, enum ca_slot slot, const struct key *k)
{
    char path[VAULT_PATH_LEN_MAX];
    struct str_buf pem = STR_BUF_INIT(CA_FILE_BYTES_MAX);
    int err = 0;
    if (v->passphrase != NULL)
        err = key_to_pem_encrypted(k, passphrase(v), &pem);
    else
        key_to_pem(k, &pem);
    if (err == 0)
        err = ca_file_write(vault_path(v, slot_files[slot].key, path), 0600, str_buf_str(&pem));
    wipe(&pem);
    return err;
}

/* The key comes last: a certificate alone, left behind by a crash, is made anew. */
static int write_root(const struct vault *v, enum ca_slot slot, const struct key *k,
                      const struct cert *cert)
{
    char path[VAULT_PATH_LEN_MAX];
    struct str_buf pem = STR_BUF_INIT(CA_FILE_BYTES_MAX);
    cert_to_pem(cert, &pem);
    int err = ca_file_write(vault_path(v, slot_files[slot].cert, path), 0644, str_buf_str(&pem));
    str_buf_deinit(&pem);
    return err != 0 ? err : write_key(v, slot, k);
}

int vault_make(struct vault *v, enum ca_slot slot, const struct ca_signer_request *r)
{
    AUTO(key_unref_auto) struct key *k = key_new_p256();
    AUTO(cert_unref_auto) struct cert *cert = NULL;
    int err = ca_make_root(k, r->name, r->not_before_s, r->not_after_s, &cert);
    if (err == 0)
        err = write_root(v, slot, k, cert);
    if (err != 0)
        return err;
    vault_forget(v, slot);
    v->roots[slot] =
        (struct vault_root){.not_after_s = r->not_after_s, .is_encrypted = v->passphrase != NULL};
    v->roots[slot].key = TAKE(k);
    v->roots[slot].cert = TAKE(cert);
    return 0;
}

/* --- a key that lies in the clear --- */

/* What the old file's blocks held is written over; a disk that keeps copies keeps them. */
static void overwrite(int fd)
{
    static const char zeros[4096];
    struct stat st;
    if (fstat(fd, &st) != 0)
        return;
    for (off_t at = 0; at < st.st_size; at += (off_t)sizeof zeros)
        (void)!pwrite(fd, zeros, (size_t)MIN(st.st_size - at, (off_t)sizeof zeros), at);
    (void)fsync(fd);
}

static int convert(const struct vault *v, enum ca_slot slot, const struct key *k)
{
    char path[VAULT_PATH_LEN_MAX];
    int old = open(vault_path(v, slot_files[slot].key, path), O_WRONLY | O_CLOEXEC);
    if (old < 0)
        return err_from_errno(errno);
    int err = write_key(v, slot, k);
    if (err == 0)
        overwrite(old);
    close(old);
    return err;
}

/* --- reading --- */

static int parse_key(struct vault *v, const char *file, struct str pem, struct str_buf *why,
                     struct vault_root *root)
{
    root->is_encrypted = key_pem_is_encrypted(pem);
    if (!root->is_encrypted) {
        int err = key_from_pem(pem, &root->key);
        return err != 0 ? fail(why, file, err, "") : 0;
    }
    if (v->passphrase == NULL)
        return fail(why, file, -ERR_DENIED, " is encrypted, and there is no passphrase");
    int err = key_from_pem_encrypted(pem, passphrase(v), &root->key);
    return err != 0 ? fail(why, file, err, " does not open with this passphrase") : 0;
}

static int read_key(struct vault *v, enum ca_slot slot, struct str_buf *why,
                    struct vault_root *root)
{
    char path[VAULT_PATH_LEN_MAX];
    struct str_buf pem = STR_BUF_INIT(CA_FILE_BYTES_MAX);
    const char *file = slot_files[slot].key;
    int err = ca_file_read(vault_path(v, file, path), CA_FILE_OWNER_ONLY, &pem);
    if (err == 0)
        err = parse_key(v, file, str_buf_str(&pem), why, root);
    else if (err != -ERR_NOT_FOUND)
        fail(why, file, err, "");
    wipe(&pem);
    return err;
}

static int read_cert(const struct vault *v, enum ca_slot slot, struct cert **ret_cert)
{
    char path[VAULT_PATH_LEN_MAX];
    struct str_buf pem = STR_BUF_INIT(CA_FILE_BYTES_MAX);
    int err = ca_file_read(vault_path(v, slot_files[slot].cert, path), CA_FILE_ANY, &pem);
    if (err == 0)
        err = cert_from_pem(str_buf_str(&pem), ret_cert);
    str_buf_deinit(&pem);
    return err;
}

static int check(const char *file, struct str_buf *why, struct vault_root *root)
{
    struct arena a;
    struct cert_info info;
    arena_init(&a, 1024);
    int err = cert_info(root->cert, &a, &info);
    if (err != 0)
        fail(why, file, err, "");
    else if (!cert_matches_key(root->cert, root->key))
        err = fail(why, file, -ERR_CERTIFICATE, " does not belong to the key beside it");
    else if (!info.is_ca)
        err = fail(why, file, -ERR_CERTIFICATE, " is not a CA's");
    else
        root->not_after_s = info.not_after_s;
    arena_deinit(&a);
    return err;
}

static int read_root(struct vault *v, enum ca_slot slot, struct str_buf *why,
                     struct vault_root *root)
{
    const char *cert_file = slot_files[slot].cert;
    int err = read_key(v, slot, why, root);
    if (err != 0)
        return err;
    err = read_cert(v, slot, &root->cert);
    if (err != 0) /* never NOT_FOUND: a new root would lock everybody out */
        return fail(why, cert_file, err == -ERR_NOT_FOUND ? -ERR_CORRUPT : err, "");
    err = check(cert_file, why, root);
    if (err != 0 || v->passphrase == NULL || root->is_encrypted)
        return err;
    err = convert(v, slot, root->key);
    if (err != 0)
        return fail(why, slot_files[slot].key, err, " cannot be encrypted");
    root->is_encrypted = root->is_converted = true;
    return 0;
}

int vault_read(struct vault *v, enum ca_slot slot, struct str_buf *why)
{
    struct vault_root root = {0};
    if (v->roots[slot].key != NULL)
        return 0;
    int err = read_root(v, slot, why, &root);
    if (err == 0) {
        v->roots[slot] = root;
        return 0;
    }
    key_unref(root.key);
    cert_unref(root.cert);
    return err;
}

/* --- one in the other's place --- */

static int move(const struct vault *v, const char *from, const char *to)
{
    char old[VAULT_PATH_LEN_MAX], new[VAULT_PATH_LEN_MAX];
    if (rename(vault_path(v, from, old), vault_path(v, to, new)) == 0 || errno == ENOENT)
        return 0; /* ENOENT: moved already */
    return err_from_errno(errno);
}

int vault_replace(struct vault *v)
{
    int err = move(v, slot_files[CA_SLOT_NEXT].cert, slot_files[CA_SLOT_PRESENT].cert);
    if (err == 0)
        err = move(v, slot_files[CA_SLOT_NEXT].key, slot_files[CA_SLOT_PRESENT].key);
    if (err != 0)
        return err;
    vault_forget(v, CA_SLOT_PRESENT); /* is read anew: what lies there counts */
    vault_forget(v, CA_SLOT_NEXT);
    return ca_file_sync_dir(v->dir);
}

void vault_discard(struct vault *v)
{
    char path[VAULT_PATH_LEN_MAX];
    (void)unlink(vault_path(v, slot_files[CA_SLOT_NEXT].key, path));
    (void)unlink(vault_path(v, slot_files[CA_SLOT_NEXT].cert, path));
    (void)ca_file_sync_dir(v->dir);
    vault_forget(v, CA_SLOT_NEXT);
}
