/* One request after the other. */
#include "control/ca/vault.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "control/ca/ca.h"
#include "control/ca/ca_file.h"
#include "crypto/digest.h"

enum { WHY_LEN_MAX = 1024, BUNDLE_ROOTS_MAX = 64 };

/* --- the passphrase --- */

static int take_passphrase(struct vault *v, struct str text, struct str_buf *why)
{
    while (str_ends_with(text, STR("\n")) || str_ends_with(text, STR("\r")))
        text.len--;
    if (text.len < VAULT_PASSPHRASE_LEN_MIN || text.len > KEY_PASSPHRASE_LEN_MAX ||
        str_find(text, '\0') >= 0) {
        str_buf_printf(why, "a passphrase has %d to %d bytes", VAULT_PASSPHRASE_LEN_MIN,
                       KEY_PASSPHRASE_LEN_MAX);
        return -ERR_INVALID;
    }
    v->passphrase = mem_strndup(text.ptr, text.len);
    v->passphrase_len = text.len;
    return 0;
}

static int read_passphrase(struct vault *v, const struct ca_signer_options *o, struct str_buf *why)
{
    struct str_buf text = STR_BUF_INIT(KEY_PASSPHRASE_LEN_MAX + 2);
    enum ca_file_readers readers = o->is_credential ? CA_FILE_GROUP : CA_FILE_OWNER_ONLY;
    int err = ca_file_read(o->passphrase_file, readers, &text);
    if (err == -ERR_DENIED)
        str_buf_printf(why, "%s: others may read the passphrase, or we may not: chmod 0600",
                       o->passphrase_file);
    else if (err != 0)
        str_buf_printf(why, "%s: %s", o->passphrase_file, err_text(err));
    else
        err = take_passphrase(v, str_buf_str(&text), why);
    if (text.ptr != NULL)
        secret_wipe(text.ptr, text.cap);
    str_buf_deinit(&text);
    /* Never NOT_FOUND, which says that there is no root. */
    return err == -ERR_NOT_FOUND ? -ERR_INVALID : err;
}

/* --- life --- */

int vault_init(struct vault *v, const struct ca_signer_options *o, struct vault_memory *memory,
               struct str_buf *why)
{
    *v = (struct vault){0};
    v->memory = memory != NULL ? memory : &v->own_memory;
    int len = snprintf(v->dir, sizeof v->dir, "%s", o->dir);
    if (len < 0 || (size_t)len >= sizeof v->dir) {
        str_buf_add_c(why, "the state directory's name is too long");
        return -ERR_TOO_LARGE;
    }
    return o->passphrase_file != NULL ? read_passphrase(v, o, why) : 0;
}

void vault_deinit(struct vault *v)
{
    for (int slot = 0; slot < CA_SLOT_COUNT; slot++)
        vault_forget(v, (enum ca_slot)slot);
    if (v->passphrase != NULL)
        secret_wipe(v->passphrase, v->passphrase_len);
    free(v->passphrase);
    v->passphrase = NULL;
}

/* --- requests --- */

static struct str cert_text(const struct cert *cert, struct arena *a)
{
    struct str_buf pem = STR_BUF_INIT(CA_FILE_BYTES_MAX);
    cert_to_pem(cert, &pem);
    struct str text = arena_str(a, str_buf_str(&pem));
    str_buf_deinit(&pem);
    return text;
}

static void tell_root(const struct vault_root *root, struct arena *a, struct ca_signer_reply *reply)
{
    reply->text = cert_text(root->cert, a);
    reply->is_encrypted = root->is_encrypted;
    reply->is_converted = root->is_converted;
}

static int open_slot(struct vault *v, const struct ca_signer_request *r, struct arena *a,
                     struct str_buf *why, struct ca_signer_reply *reply)
{
    int err = vault_read(v, r->slot, why);
    if (err != 0)
        return err;
    if (r->now_s != 0 && v->roots[r->slot].not_after_s <= r->now_s) {
        str_buf_printf(why, "ca-%scert.pem is over", r->slot == CA_SLOT_NEXT ? "next-" : "");
        return -ERR_CERTIFICATE;
    }
    tell_root(&v->roots[r->slot], a, reply);
    return 0;
}

static int make(struct vault *v, const struct ca_signer_request *r, struct arena *a,
                struct str_buf *why, struct ca_signer_reply *reply)
{
    int err = vault_make(v, r->slot, r);
    if (err == 0)
        tell_root(&v->roots[r->slot], a, reply);
    else
        str_buf_add_c(why, err_text(err));
    return err;
}

static int sign(struct vault *v, const struct ca_signer_request *r, struct arena *a,
                struct str_buf *why, struct ca_signer_reply *reply)
{
    AUTO(csr_free_auto) struct csr *csr = NULL;
    AUTO(cert_unref_auto) struct cert *leaf = NULL;
    int err = csr_from_pem(r->text, &csr);
    if (err != 0) {
        str_buf_printf(why, "the signing request: %s", err_text(err));
        return err;
    }
    err = vault_read(v, r->slot, why);
    if (err != 0)
        return err;
    const struct vault_root *by = &v->roots[r->slot];
    struct server_names names = {r->dns, r->dns_count, r->name};
    if (r->verb == CA_SIGNER_LEAF)
        err =
            ca_issue_leaf(by->key, by->cert, csr, r->name, r->not_before_s, r->not_after_s, &leaf);
    else
        err = ca_issue_server_csr(by->key, by->cert, csr, &names, r->not_before_s, r->not_after_s,
                                  &leaf);
    if (err == 0)
        reply->text = cert_text(leaf, a);
    else
        str_buf_printf(why, "issuing: %s", err_text(err));
    return err;
}

/* A full disk keeps nobody from starting who has nothing new to write. */
static int write_if_new(const char *path, struct str pem)
{
    struct str_buf old = STR_BUF_INIT(CA_SIGNER_TEXT_MAX);
    bool is_same = ca_file_read(path, CA_FILE_ANY, &old) == 0 && str_eq(str_buf_str(&old), pem);
    str_buf_deinit(&old);
    return is_same ? 0 : ca_file_write(path, 0644, pem);
}

/* Certificates and nothing else: others copy the file. */
static int write_bundle(struct vault *v, const struct ca_signer_request *r, struct str_buf *why)
{
    char path[VAULT_PATH_LEN_MAX];
    struct cert *certs[BUNDLE_ROOTS_MAX];
    size_t count = 0;
    int err = certs_from_pem(r->text, certs, BUNDLE_ROOTS_MAX, &count);
    for (size_t i = 0; err == 0 && i < count; i++)
        cert_unref(certs[i]);
    if (err == 0)
        err = write_if_new(vault_path(v, "ca-bundle.pem", path), r->text);
    if (err != 0)
        str_buf_printf(why, "ca-bundle.pem: %s", err_text(err));
    return err;
}

static int export(struct vault *v, const struct ca_signer_request *r, struct arena *a,
                  struct ca_signer_reply *reply)
{
    char path[VAULT_PATH_LEN_MAX];
    if (r->index >= CA_FILE_COUNT)
        return -ERR_INVALID;
    struct str name = ca_file_names[r->index];
    struct str_buf pem = STR_BUF_INIT(CA_FILE_BYTES_MAX);
    enum ca_file_readers readers =
        str_ends_with(name, STR("key.pem")) ? CA_FILE_OWNER_ONLY : CA_FILE_ANY;
    int err = ca_file_read(vault_path(v, name.ptr, path), readers, &pem);
    if (err == 0)
        reply->text = arena_str(a, str_buf_str(&pem));
    if (pem.ptr != NULL)
        secret_wipe(pem.ptr, pem.cap);
    str_buf_deinit(&pem);
    return err;
}

static int dispatch(struct vault *v, const struct ca_signer_request *r, struct arena *a,
                    struct str_buf *why, struct ca_signer_reply *reply)
{
    switch (r->verb) {
    case CA_SIGNER_OPEN:
        return open_slot(v, r, a, why, reply);
    case CA_SIGNER_MAKE:
        return make(v, r, a, why, reply);
    case CA_SIGNER_LEAF:
    case CA_SIGNER_SERVER:
        return sign(v, r, a, why, reply);
    case CA_SIGNER_REPLACE:
        return vault_replace(v);
    case CA_SIGNER_DISCARD:
        vault_discard(v);
        return 0;
    case CA_SIGNER_BUNDLE:
        return write_bundle(v, r, why);
    case CA_SIGNER_EXPORT:
        return export(v, r, a, reply);
    case CA_SIGNER_VERB_COUNT:
        break;
    }
    return -ERR_INVALID;
}

int vault_call(struct vault *v, const struct ca_signer_request *r, struct arena *a,
               struct ca_signer_reply *ret_reply)
{
    struct str_buf why = STR_BUF_INIT(WHY_LEN_MAX);
    *ret_reply = (struct ca_signer_reply){0};
    int err = vault_allows(v, r, &why);
    if (err == 0)
        err = dispatch(v, r, a, &why, ret_reply);
    if (err != 0)
        ret_reply->why = arena_str(a, str_buf_str(&why));
    str_buf_deinit(&why);
    return err;
}
