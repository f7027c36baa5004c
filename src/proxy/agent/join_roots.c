/* The roots of a control plane that is not known yet: from whoever answers, by pin. */
#include <stdlib.h>

#include "base/err.h"
#include "http/grpc.h"
#include "proxy/agent/agent_priv.h"
#include "proxy/agent/channel.h"
#include "proxy/agent/grpc_call.h"
#include "proxy/agent/join.h"
#include "proxy/agent/roots.h"

enum { TIMEOUT_US = 15 * 1000 * 1000 };

struct fetch {
    struct turn *turn;
    struct limits limits;
    struct channel *channel;
    struct str_buf pem, *why;
    int err; /* 1: under way */
};

static const struct str alpn_h2[] = {{"h2", 2}};

static bool is_pinned(const struct cert *c, const struct join_text *text)
{
    struct arena a;
    struct cert_info info;
    bool is_it = false;
    arena_init(&a, 2048);
    if (cert_info(c, &a, &info) == 0 && info.is_ca) {
        for (size_t i = 0; i < text->pin_count; i++)
            is_it = is_it || str_eq(info.sha256_hex, text->pins[i]);
    }
    arena_deinit(&a);
    return is_it;
}

int join_pick_roots(struct str pem, const struct join_text *text, struct str_buf *ret_pem)
{
    struct cert *certs[ROOTS_MAX];
    size_t count = 0, before = ret_pem->len;
    if (certs_from_pem(pem, certs, ROOTS_MAX, &count) != 0)
        return -ERR_CERTIFICATE;
    for (size_t i = 0; i < count; i++) {
        if (is_pinned(certs[i], text))
            cert_to_pem(certs[i], ret_pem);
    }
    roots_certs_unref(certs, count);
    return ret_pem->len > before ? 0 : -ERR_CERTIFICATE;
}

/* --- the call --- */

static void finish(struct fetch *f, int err, struct str why)
{
    if (f->err != 1)
        return;
    f->err = err;
    if (err != 0)
        str_buf_add(f->why, why);
}

static bool on_message(void *ctx, struct grpc_call *c, struct str message)
{
    struct fetch *f = ctx;
    (void)c;
    str_buf_reset(&f->pem);
    str_buf_add(&f->pem, message);
    return true;
}

static void on_end(void *ctx, struct grpc_call *c, int status, struct str why)
{
    struct fetch *f = ctx;
    (void)c;
    bool is_good = status == GRPC_OK && f->pem.len > 0;
    finish(f, is_good ? 0 : -ERR_UNAVAILABLE, why.len > 0 ? why : STR("no roots in the answer"));
}

static const struct grpc_call_ops call_ops = {.on_message = on_message, .on_end = on_end};

static void on_open(void *ctx, struct channel *c)
{
    struct fetch *f = ctx;
    struct grpc_call *call =
        grpc_call_start(f->turn, channel_client(c),
                        &(struct grpc_call_args){.path = STR("/tulle.mesh.v1.Agent/Roots"),
                                                 .authority = STR(AGENT_SERVER_NAME),
                                                 .message_bytes_max = ROOTS_PEM_MAX,
                                                 .ops = &call_ops,
                                                 .ctx = f});
    grpc_call_send(call, STR(""));
    grpc_call_end(call);
}

static void on_close(void *ctx, struct channel *c, struct str why)
{
    struct fetch *f = ctx;
    (void)c;
    f->channel = NULL;
    finish(f, -ERR_UNAVAILABLE, why);
}

static const struct channel_ops channel_ops = {.on_open = on_open, .on_close = on_close};

/* Nothing secret is said, and what is heard is only believed by its digest: so nobody's word is
 * needed for who answers. */
static int ask(struct fetch *f, const struct addr *to, uint32_t mark)
{
    struct tls_context *context = NULL;
    struct tls_context_args args = {.role = TLS_CLIENT,
                                    .is_unverified_allowed = true,
                                    .alpn = alpn_h2,
                                    .alpn_count = ARRAY_LEN(alpn_h2)};
    int err = tls_context_new(&args, f->why, &context);
    if (err != 0)
        return err;
    f->channel = channel_open(f->turn, &(struct channel_args){.to = *to,
                                                              .tls = context,
                                                              .sni = STR(AGENT_SERVER_NAME),
                                                              .mark = mark,
                                                              .limits = &f->limits,
                                                              .ops = &channel_ops,
                                                              .ctx = f});
    tls_context_unref(context);
    uint64_t until_us = turn_now_us(f->turn) + TIMEOUT_US;
    while (f->err == 1 && turn_now_us(f->turn) < until_us)
        turn_once(f->turn, 100);
    finish(f, -ERR_TIMEOUT, STR("no answer within 15 s"));
    return f->err;
}

int join_fetch_roots(const struct addr *control_plane, uint32_t mark, const struct join_text *text,
                     struct str_buf *ret_pem, struct str_buf *why)
{
    struct fetch f = {
        .turn = turn_new_linux(), .pem = STR_BUF_INIT(ROOTS_PEM_MAX), .why = why, .err = 1};
    limits_init(&f.limits);
    int err = ask(&f, control_plane, mark);
    f.err = 0; /* what still comes is of no interest */
    channel_close(f.channel);
    for (int i = 0; i < 4; i++)
        turn_once(f.turn, 0);
    turn_free(f.turn);
    if (err == 0) {
        err = join_pick_roots(str_buf_str(&f.pem), text, ret_pem);
        if (err != 0)
            str_buf_add_c(why, "its roots are not those that the token came with: it is another "
                               "control plane, or somebody in between");
    }
    str_buf_deinit(&f.pem);
    return err;
}
