#include "control/server/own_tls.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/log.h"

enum { LIFETIME_S = 24 * 3600, TEXT_LEN_MAX = 1024 };

struct own_tls {
    struct own_tls_args args;
    struct key *key;
    struct tls_context *context;
    struct timer timer;
};

static int make_context(struct own_tls *t, struct cert *leaf, struct str_buf *why)
{
    struct cert *roots[CA_ROOTS_MAX];
    size_t root_count = ca_roots(t->args.ca, roots);
    struct tls_context *context;
    struct tls_context_args args = {
        .role = TLS_SERVER,
        .key = t->key,
        .chain = &leaf,
        .chain_count = 1,
        .roots = roots,
        .root_count = root_count,
        .is_client_cert_asked = true,
        .alpn = t->args.alpn,
        .alpn_count = t->args.alpn_count,
    };
    int err = tls_context_new(&args, why, &context);
    if (err != 0)
        return err;
    tls_context_unref(t->context);
    t->context = context;
    return 0;
}

static int renew(struct own_tls *t, struct str_buf *why)
{
    AUTO(cert_unref_auto) struct cert *leaf = NULL;
    struct str_buf id = STR_BUF_INIT(TEXT_LEN_MAX);
    str_buf_printf(&id, "spiffe://%.*s/ns/tulle-system/sa/%s",
                   STR_FMT(t->args.trust_domain(t->args.ctx)), t->args.account);
    struct ca_own_request r = {t->key,
                               t->args.names,
                               t->args.name_count,
                               str_buf_str(&id),
                               turn_wall_us(t->args.turn) / 1000000,
                               LIFETIME_S};
    str_buf_printf(why, "a certificate for %s: ", t->args.account);
    int err = ca_issue_own(t->args.ca, &r, why, &leaf);
    if (err == 0) {
        str_buf_reset(why);
        err = make_context(t, leaf, why);
    }
    str_buf_deinit(&id);
    timer_start(t->args.turn, &t->timer, (uint64_t)LIFETIME_S / 2 * 1000000);
    return err;
}

void own_tls_renew(struct own_tls *t)
{
    struct str_buf why = STR_BUF_INIT(TEXT_LEN_MAX);
    if (renew(t, &why) != 0)
        log_event(LOG_ERROR, "own_certificate_not_renewed", LF("reason", str_buf_str(&why)));
    str_buf_deinit(&why);
}

static void on_renew(struct timer *timer)
{
    own_tls_renew(CONTAINER_OF(timer, struct own_tls, timer));
}

struct own_tls *own_tls_new(const struct own_tls_args *args, struct str_buf *why)
{
    struct own_tls *t = NEW(struct own_tls);
    t->args = *args;
    t->key = key_new_p256();
    timer_init(&t->timer, on_renew);
    return renew(t, why) == 0 ? t : own_tls_free(t);
}

struct own_tls *own_tls_free(struct own_tls *t)
{
    if (t == NULL)
        return NULL;
    timer_stop(&t->timer);
    tls_context_unref(t->context);
    key_unref(t->key);
    free(t);
    return NULL;
}

struct tls_context *own_tls_context(const struct own_tls *t)
{
    return t->context;
}
