/* A root as the brain knows it: its certificate. The key is the signer's. */
#include <string.h>

#include "base/err.h"
#include "control/ca/ca_priv.h"

enum {
    /* Clocks of other machines may be behind: valid from a little earlier on. */
    BACKDATE_S = 300,
};

int ca_call(const struct ca *c, const struct ca_signer_request *r, struct arena *a,
            struct ca_signer_reply *ret_reply)
{
    *ret_reply = (struct ca_signer_reply){0};
    return c->signer.ops->call(c->signer.signer, r, a, ret_reply);
}

int ca_call_plain(const struct ca *c, enum ca_signer_verb verb, struct str text,
                  struct str_buf *why)
{
    struct arena a;
    struct ca_signer_request r = {.verb = verb, .text = text};
    struct ca_signer_reply reply;
    arena_init(&a, 512);
    int err = ca_call(c, &r, &a, &reply);
    if (err != 0 && why != NULL)
        str_buf_add(why, reply.why);
    arena_deinit(&a);
    return err;
}

void ca_root_deinit(struct ca_root *root)
{
    cert_unref(root->cert);
    *root = (struct ca_root){0};
}

static int set_root(const struct ca_signer_reply *reply, struct ca_root *ret_root)
{
    struct arena a;
    struct cert_info info;
    AUTO(cert_unref_auto) struct cert *cert = NULL;
    int err = cert_from_pem(reply->text, &cert);
    if (err != 0)
        return err;
    arena_init(&a, 1024);
    err = cert_info(cert, &a, &info);
    if (err == 0)
        *ret_root = (struct ca_root){TAKE(cert), info.not_after_s, reply->is_encrypted,
                                     reply->is_converted};
    arena_deinit(&a);
    return err;
}

static int ask(const struct ca *c, const struct ca_signer_request *r, struct str_buf *why,
               struct ca_root *ret_root)
{
    struct arena a;
    struct ca_signer_reply reply;
    arena_init(&a, 4096);
    int err = ca_call(c, r, &a, &reply);
    if (err == 0)
        err = set_root(&reply, ret_root);
    else
        str_buf_add(why, reply.why);
    arena_deinit(&a);
    return err;
}

int ca_root_make(const struct ca *c, enum ca_slot slot, struct str trust_domain, uint64_t now_s,
                 struct str_buf *why, struct ca_root *ret_root)
{
    struct ca_signer_request r = {
        .verb = CA_SIGNER_MAKE,
        .slot = slot,
        .name = trust_domain,
        .not_before_s = now_s - MIN(now_s, (uint64_t)BACKDATE_S),
        .not_after_s = now_s + c->root_lifetime_s,
    };
    return ask(c, &r, why, ret_root);
}

int ca_root_read(const struct ca *c, enum ca_slot slot, bool is_alive, uint64_t now_s,
                 struct str_buf *why, struct ca_root *ret_root)
{
    struct ca_signer_request r = {
        .verb = CA_SIGNER_OPEN, .slot = slot, .now_s = is_alive ? now_s : 0};
    return ask(c, &r, why, ret_root);
}
