/* The signer in this process. */
#include <stdlib.h>

#include "base/err.h"
#include "control/ca/signer.h"

enum { CERT_PEM_BYTES_MAX = 16 * 1024 };

struct signer {
    struct key *key;
    struct cert *cert;
};

static int sign(void *signer, const struct ca_sign_request *r, struct arena *a,
                struct ca_sign_reply *ret_reply)
{
    struct signer *s = signer;
    AUTO(csr_free_auto) struct csr *csr = NULL;
    AUTO(cert_unref_auto) struct cert *leaf = NULL;
    int err = csr_from_pem(r->csr_pem, &csr);
    if (err != 0) {
        ret_reply->why = arena_printf(a, "the signing request: %s", err_text(err));
        return err;
    }
    err = ca_issue_leaf(s->key, s->cert, csr, r->spiffe_id, r->not_before_s, r->not_after_s, &leaf);
    if (err != 0) {
        ret_reply->why = arena_printf(a, "issuing: %s", err_text(err));
        return err;
    }
    struct str_buf pem = STR_BUF_INIT(CERT_PEM_BYTES_MAX);
    cert_to_pem(leaf, &pem);
    ret_reply->cert_pem = arena_str(a, str_buf_str(&pem));
    str_buf_deinit(&pem);
    return 0;
}

static int sign_server(void *signer, const struct key *k, const struct str *dns_names,
                       size_t dns_count, const struct ca_sign_request *r, struct cert **ret_cert)
{
    const struct signer *s = signer;
    return ca_issue_server(s->key, s->cert, k, dns_names, dns_count, r->spiffe_id, r->not_before_s,
                           r->not_after_s, ret_cert);
}

static void signer_free(void *signer)
{
    struct signer *s = signer;
    key_unref(s->key);
    cert_unref(s->cert);
    free(s);
}

static const struct ca_signer_ops local_ops = {
    .sign = sign,
    .sign_server = sign_server,
    .free = signer_free,
};

struct ca_signer ca_signer_local(struct key *key, struct cert *cert)
{
    struct signer *s = NEW(struct signer);
    s->key = key_ref(key);
    s->cert = cert_ref(cert);
    return (struct ca_signer){&local_ops, s};
}
