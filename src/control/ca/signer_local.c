/* The signer in this process. */
#include <stdlib.h>

#include "control/ca/vault.h"

static int call(void *signer, const struct ca_signer_request *request, struct arena *a,
                struct ca_signer_reply *ret_reply)
{
    return vault_call(signer, request, a, ret_reply);
}

static void signer_free(void *signer)
{
    vault_deinit(signer);
    free(signer);
}

static const struct ca_signer_ops local_ops = {
    .call = call,
    .free = signer_free,
};

int ca_signer_local(const struct ca_signer_options *o, struct str_buf *why,
                    struct ca_signer *ret_signer)
{
    struct vault *v = NEW(struct vault);
    int err = vault_init(v, o, NULL, why);
    if (err != 0) {
        signer_free(v);
        return err;
    }
    *ret_signer = (struct ca_signer){&local_ops, v};
    return 0;
}
