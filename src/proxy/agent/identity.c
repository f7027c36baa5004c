#include "proxy/agent/identity.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/log.h"
#include "crypto/digest.h"
#include "http/grpc.h"
#include "mesh/xds/ca_codec.h"
#include "proxy/agent/backoff.h"
#include "proxy/agent/channel.h"
#include "proxy/agent/file.h"
#include "proxy/agent/grpc_call.h"
#include "proxy/agent/local.h"
#include "proxy/agent/roots.h"

enum {
    PEM_BYTES_MAX = 256 * 1024,
    TOKEN_BYTES_MAX = 8192,
    CHAIN_MAX = 8,
    ANSWER_TIMEOUT_US = 10 * 1000 * 1000,
    ROTATE_SPREAD_US = 20 * 1000 * 1000, /* thousands of leaves are renewed over this time */
    ROTATE_LIFE_PART = 10,
    EXPIRY_MARGIN_US = 200 * 1000, /* a leaf that ends so soon proves nothing any more */
};

struct identity {
    struct identity_args args;
    char dir[512];
    struct key *key;
    struct cert *chain[CHAIN_MAX]; /* leaf first; none yet: chain_count 0 */
    size_t chain_count;
    uint64_t not_before_us, not_after_us; /* of the leaf, wall clock */
    struct roots roots;
    struct tls_context *tls; /* with our leaf */
    /* The request under way. */
    struct channel *channel;
    struct grpc_call *call;
    bool is_by_leaf, is_answered;
    struct timer timer; /* the next request, or the end of patience */
    unsigned failures;  /* since the last success */
    uint64_t renewal_count, failure_count;
    bool is_ending;
};

static const struct str alpn_h2[] = {{"h2", 2}};

static void request_now(struct identity *i);

/* --- files --- */

static const char *path_of(const struct identity *i, const char *leaf, char buf[600])
{
    snprintf(buf, 600, "%s/%s", i->dir, leaf);
    return buf;
}

static int load_key(struct identity *i)
{
    char path[600];
    struct str_buf pem = STR_BUF_INIT(PEM_BYTES_MAX);
    int err = file_read(path_of(i, "key.pem", path), PEM_BYTES_MAX, &pem);
    if (err == 0)
        err = key_from_pem(str_buf_str(&pem), &i->key);
    if (err != 0) {
        /* None yet, or damaged: a new one, and what was issued for the old one is of no use. */
        str_buf_reset(&pem);
        i->key = key_new_p256();
        key_to_pem(i->key, &pem);
        err = file_write(path, str_buf_str(&pem));
    }
    if (pem.ptr != NULL)
        secret_wipe(pem.ptr, pem.cap);
    str_buf_deinit(&pem);
    return err;
}

/* --- contexts and secrets --- */

/* Towards the control plane, which proves itself by the roots; without a leaf, by the pin too. */
static struct tls_context *make_context(struct identity *i, bool is_with_leaf)
{
    struct cert *roots[ROOTS_MAX];
    size_t root_count = 0;
    struct tls_context *context = NULL;
    struct str_buf why = STR_BUF_INIT(512);
    int err = roots_certs(&i->roots, !is_with_leaf, roots, &root_count);
    struct tls_context_args args = {
        .role = TLS_CLIENT,
        .roots = roots,
        .root_count = root_count,
        .alpn = alpn_h2,
        .alpn_count = 1,
    };
    if (is_with_leaf) {
        args.key = i->key;
        args.chain = i->chain;
        args.chain_count = i->chain_count;
    }
    if (err == 0)
        err = tls_context_new(&args, &why, &context);
    if (err != 0)
        log_event(LOG_ERROR, "identity_context", LF("reason", str_buf_str(&why)));
    roots_certs_unref(roots, root_count);
    str_buf_deinit(&why);
    return context;
}

static void publish(struct identity *i)
{
    struct str_buf chain = STR_BUF_INIT(PEM_BYTES_MAX), key = STR_BUF_INIT(PEM_BYTES_MAX);
    for (size_t n = 0; n < i->chain_count; n++)
        cert_to_pem(i->chain[n], &chain);
    key_to_pem(i->key, &key);
    struct resource *own = local_secret_pair(str_buf_str(&chain), str_buf_str(&key));
    /* What the stream tells comes to the workers by itself. */
    struct resource *roots = i->roots.is_streamed ? NULL : local_secret_roots(roots_pem(&i->roots));
    i->args.on_secrets(i->args.ctx, own, roots);
    resource_unref(own);
    resource_unref(roots);
    secret_wipe(key.ptr, key.cap);
    str_buf_deinit(&key);
    str_buf_deinit(&chain);
}

static void drop_chain(struct identity *i)
{
    for (size_t n = 0; n < i->chain_count; n++)
        cert_unref(i->chain[n]);
    i->chain_count = 0;
}

/* The leaf must be for our key, carry our name and no other, and stand under the roots. */
static int check_leaf(struct identity *i, struct cert *const *chain, size_t count, struct arena *a,
                      struct cert_info *ret_info, struct str_buf *why)
{
    struct cert *roots[ROOTS_MAX];
    size_t root_count = 0;
    if (count == 0 || !cert_matches_key(chain[0], i->key)) {
        str_buf_add_c(why, "the certificate is not for our key");
        return -ERR_CERTIFICATE;
    }
    int err = cert_info(chain[0], a, ret_info);
    if (err == 0 &&
        (ret_info->uri_san_count != 1 || !str_eq(ret_info->uri_sans[0], i->args.spiffe_id))) {
        str_buf_add_c(why, "the certificate is for another name");
        err = -ERR_CERTIFICATE;
    }
    if (err == 0)
        err = roots_certs(&i->roots, false, roots, &root_count);
    if (err == 0)
        err = cert_verify(chain[0], chain + 1, count - 1, roots, root_count,
                          turn_wall_us(i->args.turn) / 1000000, why);
    roots_certs_unref(roots, root_count);
    return err;
}

/* Takes over the certificates on success. */
static int take_chain(struct identity *i, struct cert **chain, size_t count, struct str_buf *why)
{
    struct arena a;
    struct cert_info info;
    arena_init(&a, 2048);
    int err = check_leaf(i, chain, count, &a, &info, why);
    if (err == 0) {
        drop_chain(i);
        for (size_t n = 0; n < count; n++)
            i->chain[n] = chain[n];
        i->chain_count = count;
        i->not_before_us = info.not_before_s * 1000000;
        i->not_after_us = info.not_after_s * 1000000;
        tls_context_unref(i->tls);
        i->tls = make_context(i, true);
    }
    arena_deinit(&a);
    return err;
}

static void load_leaf(struct identity *i)
{
    char path[600];
    struct cert *chain[CHAIN_MAX];
    size_t count = 0;
    struct str_buf pem = STR_BUF_INIT(PEM_BYTES_MAX), why = STR_BUF_INIT(512);
    int err = file_read(path_of(i, "cert.pem", path), PEM_BYTES_MAX, &pem);
    if (err == 0)
        err = certs_from_pem(str_buf_str(&pem), chain, CHAIN_MAX, &count);
    if (err == 0 && take_chain(i, chain, count, &why) != 0) {
        log_event(LOG_INFO, "identity_not_reused", LF("reason", str_buf_str(&why)));
        for (size_t n = 0; n < count; n++)
            cert_unref(chain[n]);
    }
    str_buf_deinit(&pem);
    str_buf_deinit(&why);
}

/* --- asking --- */

bool identity_is_valid(const struct identity *i)
{
    return i->chain_count > 0 && turn_wall_us(i->args.turn) + EXPIRY_MARGIN_US < i->not_after_us;
}

static void plan_next(struct identity *i, uint64_t delay_us)
{
    timer_start(i->args.turn, &i->timer, delay_us);
}

/* Around half life; soon, when the leaf is not of the root that signs at present. */
static void plan_renewal(struct identity *i, uint64_t since_us)
{
    uint64_t now = turn_wall_us(i->args.turn);
    struct random *random = turn_random(i->args.turn);
    uint64_t delay = renewal_delay_us(since_us, i->not_after_us, now, random);
    if (!roots_is_present(&i->roots, i->chain[0], now / 1000000)) {
        uint64_t part = (i->not_after_us - i->not_before_us) / ROTATE_LIFE_PART;
        uint64_t spread = MIN(part, (uint64_t)ROTATE_SPREAD_US);
        uint64_t soon = random_u64(random) % (spread + 1);
        delay = MIN(delay, soon);
    }
    plan_next(i, delay);
}

static void on_failure(struct identity *i, struct str why)
{
    uint64_t now = turn_wall_us(i->args.turn);
    i->channel = channel_close(i->channel);
    if (i->is_ending)
        return;
    i->failure_count++;
    log_event(LOG_WARN, "identity_request_failed",
              LF("by", i->is_by_leaf ? STR("leaf") : STR("token")), LF("reason", why));
    plan_next(i, renewal_retry_us(i->not_after_us, now, i->failures++, turn_random(i->args.turn)));
}

static void store(const struct identity *i)
{
    char path[600];
    struct str_buf pem = STR_BUF_INIT(PEM_BYTES_MAX);
    for (size_t n = 0; n < i->chain_count; n++)
        cert_to_pem(i->chain[n], &pem);
    int err = file_write(path_of(i, "cert.pem", path), str_buf_str(&pem));
    if (err != 0)
        log_event(LOG_ERROR, "identity_not_stored", LFC("error", err_text(err)));
    str_buf_deinit(&pem);
}

/* The last part of an answer: the roots as they were when it was written. What the stream tells is
 * never older, so it stands. */
static int take_answered_roots(struct identity *i, struct str pem, struct str_buf *why)
{
    bool is_new;
    int err = i->roots.is_streamed ? 0 : roots_tell(&i->roots, pem, &is_new);
    if (err != 0)
        str_buf_add_c(why, "the roots that came with the certificate cannot be used");
    return err;
}

static int take_answer(struct identity *i, struct str message, struct str_buf *why)
{
    struct arena a;
    struct ca_codec_response response;
    struct str_buf pem = STR_BUF_INIT(PEM_BYTES_MAX);
    struct cert *chain[CHAIN_MAX];
    size_t count = 0;
    arena_init(&a, 4096);
    int err = ca_codec_decode_response(&a, message, &response);
    if (err == 0 && response.chain_count > 1)
        err = take_answered_roots(i, response.chain_pem[--response.chain_count], why);
    for (size_t n = 0; err == 0 && n < response.chain_count; n++) {
        str_buf_add(&pem, response.chain_pem[n]);
        str_buf_add_char(&pem, '\n');
    }
    if (err == 0)
        err = certs_from_pem(str_buf_str(&pem), chain, CHAIN_MAX, &count);
    if (err == 0) {
        err = take_chain(i, chain, count, why);
        for (size_t n = 0; err != 0 && n < count; n++)
            cert_unref(chain[n]);
    }
    if (err != 0 && why->len == 0)
        str_buf_add_c(why, err_text(err));
    str_buf_deinit(&pem);
    arena_deinit(&a);
    return err;
}

static bool on_message(void *ctx, struct grpc_call *c, struct str message)
{
    struct identity *i = ctx;
    struct str_buf why = STR_BUF_INIT(512);
    if (c != i->call)
        return false;
    int err = take_answer(i, message, &why);
    i->is_answered = err == 0;
    if (err != 0)
        log_event(LOG_ERROR, "identity_answer_refused", LF("reason", str_buf_str(&why)));
    str_buf_deinit(&why);
    return err == 0;
}

static void on_renewed(struct identity *i)
{
    uint64_t now = turn_wall_us(i->args.turn);
    i->channel = channel_close(i->channel);
    i->failures = 0;
    i->renewal_count++;
    store(i);
    plan_renewal(i, MAX(i->not_before_us, now));
    char seconds[32];
    snprintf(seconds, sizeof seconds, "%llu",
             (unsigned long long)((i->not_after_us - now) / 1000000));
    log_event(LOG_INFO, "identity_issued", LF("identity", i->args.spiffe_id),
              LFC("valid_s", seconds));
    publish(i);
}

static void on_call_end(void *ctx, struct grpc_call *c, int status, struct str why)
{
    struct identity *i = ctx;
    if (c != i->call)
        return;
    i->call = NULL;
    timer_stop(&i->timer);
    if (i->is_answered && !i->is_ending)
        on_renewed(i);
    else
        on_failure(i, status == GRPC_OK ? STR("no answer") : why);
}

static const struct grpc_call_ops call_ops = {.on_message = on_message, .on_end = on_call_end};

static void send_csr(struct identity *i, struct str token)
{
    struct str_buf csr = STR_BUF_INIT(PEM_BYTES_MAX), message = STR_BUF_INIT(PEM_BYTES_MAX);
    int err = csr_make(i->key, i->args.spiffe_id, &csr);
    ASSERT(err == 0);
    ca_codec_encode_request(&(struct ca_codec_request){.csr_pem = str_buf_str(&csr)}, &message);
    i->is_answered = false;
    i->call =
        grpc_call_start(i->args.turn, channel_client(i->channel),
                        &(struct grpc_call_args){
                            .path = STR("/istio.v1.auth.IstioCertificateService/CreateCertificate"),
                            .authority = i->args.server_name,
                            .bearer = token,
                            .message_bytes_max = PEM_BYTES_MAX,
                            .ops = &call_ops,
                            .ctx = i});
    grpc_call_send(i->call, str_buf_str(&message));
    grpc_call_end(i->call);
    str_buf_deinit(&csr);
    str_buf_deinit(&message);
}

static void on_open(void *ctx, struct channel *c)
{
    struct identity *i = ctx;
    struct str_buf token = STR_BUF_INIT(TOKEN_BYTES_MAX);
    int err = 0;
    (void)c;
    if (!i->is_by_leaf)
        err = file_read(i->args.token_file, TOKEN_BYTES_MAX, &token);
    struct str text = str_buf_str(&token);
    while (text.len > 0 && (unsigned char)text.ptr[text.len - 1] <= ' ')
        text.len--;
    plan_next(i, ANSWER_TIMEOUT_US);
    if (err == 0) {
        send_csr(i, text);
    } else {
        timer_stop(&i->timer);
        on_failure(i, STR("the join token cannot be read"));
    }
    if (token.ptr != NULL)
        secret_wipe(token.ptr, token.cap);
    str_buf_deinit(&token);
}

static void on_close(void *ctx, struct channel *c, struct str why)
{
    struct identity *i = ctx;
    (void)c;
    i->channel = NULL;
    if (i->call == NULL)
        on_failure(i, why); /* else the call's end says so */
}

static const struct channel_ops channel_ops = {.on_open = on_open, .on_close = on_close};

static void request_now(struct identity *i)
{
    /* The leaf first; should it be refused, the token, which may have been renewed. */
    i->is_by_leaf = identity_is_valid(i) && i->tls != NULL && i->failures % 4 != 3;
    struct tls_context *context = i->is_by_leaf ? tls_context_ref(i->tls) : make_context(i, false);
    if (context == NULL) {
        on_failure(i, STR("no TLS context"));
        return;
    }
    const struct tls_san_match san = {TLS_SAN_DNS, TLS_MATCH_EXACT, i->args.server_name};
    i->channel = channel_open(i->args.turn, &(struct channel_args){.to = i->args.discovery,
                                                                   .tls = context,
                                                                   .sni = i->args.server_name,
                                                                   .sans = &san,
                                                                   .san_count = 1,
                                                                   .mark = i->args.mark,
                                                                   .limits = i->args.limits,
                                                                   .ops = &channel_ops,
                                                                   .ctx = i});
    tls_context_unref(context);
}

static void on_timer(struct timer *t)
{
    struct identity *i = CONTAINER_OF(t, struct identity, timer);
    if (i->call != NULL)
        grpc_call_cancel(i->call); /* its end plans the next one */
    else
        request_now(i);
}

/* --- life --- */

int identity_new(const struct identity_args *args, struct str_buf *why,
                 struct identity **ret_identity)
{
    struct identity *i = NEW(struct identity);
    i->args = *args;
    timer_init(&i->timer, on_timer);
    int len = snprintf(i->dir, sizeof i->dir, "%.*s/identity", STR_FMT(args->state_dir));
    int err = len < 0 || (size_t)len >= sizeof i->dir ? -ERR_TOO_LARGE : file_make_dir(i->dir);
    if (err == 0)
        err = load_key(i);
    if (err != 0)
        str_buf_printf(why, "%s: %s", i->dir, err_text(err));
    else
        err = roots_init(&i->roots, args->root_cert_file, i->dir, why);
    if (err != 0) {
        identity_free(i);
        return err;
    }
    load_leaf(i);
    *ret_identity = i;
    return 0;
}

void identity_start(struct identity *i)
{
    if (!identity_is_valid(i)) {
        plan_next(i, 0);
        return;
    }
    plan_renewal(i, i->not_before_us);
    publish(i);
}

int identity_set_roots(struct identity *i, struct str pem)
{
    bool is_new = false;
    int err = roots_tell(&i->roots, pem, &is_new);
    if (err != 0)
        return err;
    i->roots.is_streamed = true;
    if (!is_new || i->chain_count == 0)
        return 0;
    struct tls_context *context = make_context(i, true);
    if (context != NULL) {
        tls_context_unref(i->tls);
        i->tls = context;
    }
    log_event(LOG_INFO, "roots_told", LFC("by", "the control plane"));
    if (i->channel == NULL) /* else what is under way plans it */
        plan_renewal(i, i->not_before_us);
    return 0;
}

struct identity *identity_free(struct identity *i)
{
    if (i == NULL)
        return NULL;
    i->is_ending = true;
    timer_stop(&i->timer);
    channel_close(i->channel);
    for (int n = 0; n < 4 && i->args.turn != NULL; n++)
        turn_once(i->args.turn, 0);
    timer_stop(&i->timer);
    drop_chain(i);
    tls_context_unref(i->tls);
    key_unref(i->key);
    roots_deinit(&i->roots);
    free(i);
    return NULL;
}

struct tls_context *identity_tls(struct identity *i)
{
    return identity_is_valid(i) ? i->tls : NULL;
}

struct identity_counts identity_counts(const struct identity *i)
{
    return (struct identity_counts){
        .renewals = i->renewal_count,
        .failures = i->failure_count,
        .not_after_s = i->chain_count > 0 ? i->not_after_us / 1000000 : 0,
    };
}

void identity_render(const struct identity *i, struct str_buf *to)
{
    struct arena a;
    struct cert_info info;
    arena_init(&a, 2048);
    if (i->chain_count == 0 || cert_info(i->chain[0], &a, &info) != 0) {
        str_buf_add_c(to, "{}");
    } else {
        uint64_t now_s = turn_wall_us(i->args.turn) / 1000000;
        str_buf_printf(to,
                       "{\"identity\":\"%.*s\",\"serial\":\"%.*s\",\"notBefore\":%llu,"
                       "\"notAfter\":%llu,\"secondsLeft\":%lld,\"isValid\":%s}",
                       STR_FMT(i->args.spiffe_id), STR_FMT(info.serial_hex),
                       (unsigned long long)info.not_before_s, (unsigned long long)info.not_after_s,
                       (long long)(info.not_after_s - now_s),
                       identity_is_valid(i) ? "true" : "false");
    }
    arena_deinit(&a);
}
