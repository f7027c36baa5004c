/* Connections of an edge: through the gate and a TLS handshake to HTTP/2, until the client's
 * certificate is over. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "control/push/edge_priv.h"

enum {
    SILENT_US = 10 * 1000 * 1000,
    SHAKING_US = 10 * 1000 * 1000,
    GRACE_US = 1000 * 1000,
    KNOWN_MAX = 65536, /* of the process, like those below */
    SILENT_MAX = 16384,
    READY_MAX = 1024,
    SHAKING_MAX = 256,
    STRANGERS_MAX = 1024,
    FILES_OF_OTHERS = 128, /* store, API, logs */
    TOKENS_PER_S = 100,
    TOKENS_MAX = 1000,
    LOOK_AGAIN_US = 3600u * 1000 * 1000,  /* wall clocks are set */
    EXPIRED_LINGER_US = 10 * 1000 * 1000, /* for a client that does not read why */
    LEAF_PEM_MAX = 64 * 1024,
    TRIM_HANDSHAKES = 100,
    TRIM_US = 2 * 1000 * 1000,
};

static void conn_free(struct edge_conn *ec)
{
    struct edge_thread *t = ec->thread;
    /* Calls may outlive it by a turn. */
    LIST_FOREACH (&ec->calls, c, struct edge_call, link) {
        list_remove(&c->link);
        c->conn = NULL;
    }
    list_remove(&ec->link);
    gate_leave(&ec->gate);
    crowd_remove(&t->known, &ec->known);
    timer_stop(&ec->timer);
    atomic_fetch_sub_explicit(&t->conn_count, 1, memory_order_relaxed);
    free(ec);
}

static void abort_conn(struct edge_conn *ec, int err)
{
    if (ec->server != NULL)
        http_server_abort(ec->server, err);
    else
        conn_abort(ec->conn, err);
}

/* --- how many requests --- */

bool edge_conn_take_token(struct edge_conn *ec, uint64_t *ret_wait_us)
{
    static const uint64_t each_us = 1000000 / TOKENS_PER_S;
    uint64_t now_us = turn_now_us(ec->thread->turn), earned = (now_us - ec->tokens_us) / each_us;
    ec->tokens_us += earned * each_us;
    ec->tokens = (uint32_t)MIN(ec->tokens + earned, (uint64_t)TOKENS_MAX);
    if (ec->tokens == 0) {
        *ret_wait_us = ec->tokens_us + each_us - now_us;
        return false;
    }
    ec->tokens--;
    return true;
}

/* --- HTTP --- */

static struct ip_addr ip_of(const struct addr *a)
{
    if (a->family == ADDR_IP4)
        return ip_from_bytes(a->ip, 4);
    if (a->family == ADDR_IP6)
        return ip_from_bytes(a->ip, 16);
    return (struct ip_addr){.family = IP_NONE};
}

/* The last of a call, whether it got as far as to the service or not. */
static void on_release(struct exchange *x)
{
    struct edge_call *c = x->ctx;
    list_remove(&c->link);
}

/* What the connection proved is copied: the call may outlive it by a turn. */
static void on_exchange(void *ctx, struct exchange *x)
{
    struct edge_conn *ec = ctx;
    struct edge_call *c = ARENA_NEW(&x->arena, struct edge_call);
    c->thread = ec->thread;
    c->conn = ec;
    c->is_local = ec->is_local;
    list_push_back(&ec->calls, &c->link);
    if (x->info->is_mtls)
        c->peer.identity = arena_str(&x->arena, downstream_tls(x->info)->peer_principal);
    c->peer.address = ip_of(&x->info->remote);
    c->peer.not_after_s = ec->not_after_s;
    memcpy(c->peer.root, ec->root, sizeof ec->root);
    x->ctx = c;
    x->release = on_release;
    x->filters = &ec->thread->filter;
    x->filter_count = 1;
}

static void on_server_close(void *ctx, int err)
{
    (void)err;
    conn_free(ctx);
}

static const struct http_server_ops server_ops = {
    .on_exchange = on_exchange,
    .on_close = on_server_close,
};

/* --- a certificate that is over --- */

static void expire(struct edge_conn *ec)
{
    static const struct str why = STR("the certificate of this connection is over: come again "
                                      "with the one that followed it");
    ec->is_expired = true;
    edge_count(&ec->thread->edge->counts.expired, 1);
    LIST_FOREACH (&ec->calls, c, struct edge_call, link) {
        if (c->s != NULL)
            edge_call_finish(c, GRPC_UNAUTHENTICATED, why);
    }
    http_server_drain(ec->server);
    timer_start(ec->thread->turn, &ec->timer, EXPIRED_LINGER_US);
}

static void on_certificate(struct timer *timer)
{
    struct edge_conn *ec = CONTAINER_OF(timer, struct edge_conn, timer);
    uint64_t now_us = turn_wall_us(ec->thread->turn), until_us = ec->not_after_s * 1000000;
    if (ec->is_expired)
        http_server_abort(ec->server, -ERR_TIMEOUT);
    else if (now_us >= until_us)
        expire(ec);
    else
        timer_start(ec->thread->turn, timer, MIN(until_us - now_us, (uint64_t)LOOK_AGAIN_US));
}

/* --- TLS --- */

static void note_root(struct edge_conn *ec, const struct tls_endpoint *tls)
{
    const struct edge_creds *creds = ec->thread->creds;
    struct str_buf pem = STR_BUF_INIT(LEAF_PEM_MAX);
    AUTO(cert_unref_auto) struct cert *leaf = NULL;
    struct arena a;
    arena_init(&a, 2048);
    tls_endpoint_peer_pem(tls, false, &pem);
    if (cert_from_pem(str_buf_str(&pem), &leaf) == 0) {
        const struct cert *root = ca_signer_among(creds->roots, creds->root_count, leaf);
        struct str id = root != NULL ? ca_root_id(root, &a) : STR_NULL;
        snprintf(ec->root, sizeof ec->root, "%.*s", STR_FMT(id));
    }
    arena_deinit(&a);
    str_buf_deinit(&pem);
}

/* Each handshake needs some 60 KiB for a moment, between what stays: many of them leave holes. */
static void on_trim(struct timer *timer)
{
    struct edge_thread *t = CONTAINER_OF(timer, struct edge_thread, trim_timer);
    t->handshakes_untrimmed = 0;
    malloc_trim(0);
}

/* Each handshake puts the moment off. */
static void trim_later(struct edge_thread *t)
{
    if (++t->handshakes_untrimmed < TRIM_HANDSHAKES)
        return;
    timer_stop(&t->trim_timer);
    timer_start(t->turn, &t->trim_timer, TRIM_US);
}

/* One more with a certificate. Where there are too many, somebody goes of the identity that has
 * most. */
static void join_known(struct edge_conn *ec, struct str identity)
{
    struct edge_thread *t = ec->thread;
    if (t->known.count >= t->known_max) {
        struct edge_conn *other = CONTAINER_OF(crowd_longest(&t->known), struct edge_conn, known);
        crowd_remove(&t->known, &other->known);
        edge_count(&t->edge->counts.dropped_full, 1);
        abort_conn(other, -ERR_LIMIT);
    }
    crowd_add(&t->known, &ec->known, identity);
    on_certificate(&ec->timer);
}

static void on_open(struct conn *c)
{
    struct edge_conn *ec = c->ctx;
    const struct tls_endpoint *endpoint = tls_endpoint_of(c);
    if (endpoint == NULL)
        return; /* accepted; its handshake has not begun */
    struct edge_thread *t = ec->thread;
    struct arena texts;
    arena_init(&texts, 512);
    struct tls_peer peer = tls_endpoint_peer(endpoint, &texts);
    struct downstream_tls_info tls = {
        .peer_principal = peer.is_verified ? peer.uri_san : STR_NULL,
        .sni = peer.sni,
        .alpn = peer.alpn,
        .version = str_from_c(peer.version),
    };
    struct downstream_info info = {
        .local = c->local,
        .remote = c->remote,
        .is_mtls = peer.is_verified && peer.uri_san.len > 0,
        .tls = &tls,
    };
    ec->not_after_s = peer.is_verified ? peer.not_after_s : 0;
    if (peer.is_verified)
        note_root(ec, endpoint);
    ec->server = http_server_open(c, info.is_mtls ? &t->config : &t->config_strangers, &info,
                                  &server_ops, ec);
    gate_shaken(&ec->gate, info.is_mtls);
    trim_later(t);
    if (info.is_mtls)
        join_known(ec, peer.uri_san);
    arena_deinit(&texts);
}

static void on_input(struct conn *c)
{
    struct edge_conn *ec = c->ctx;
    if (!chain_is_empty(&c->in))
        gate_spoke(&ec->gate);
    else if (conn_is_in_ended(c))
        conn_abort(c, -ERR_CLOSED);
}

static void on_close(struct conn *c, int err)
{
    struct edge_conn *ec = c->ctx;
    if (ec->gate.state == GATE_SHAKING) {
        edge_count(&ec->thread->edge->counts.handshake_failures, 1);
        log_event(LOG_INFO, "xds_handshake_failed", LFC("error", err_text(err)),
                  LF("reason", conn_error_text(c)));
    }
    conn_free(ec);
}

static const struct conn_handler handshake_handler = {
    .on_open = on_open,
    .on_input = on_input,
    .on_close = on_close,
};

/* --- the unix socket --- */

static void on_local_open(struct conn *c)
{
    struct edge_conn *ec = c->ctx;
    struct downstream_info info = {.local = c->local, .remote = c->remote};
    ec->server = http_server_open(c, &ec->thread->config, &info, &server_ops, ec);
}

static void on_local_input(struct conn *c)
{
    (void)c;
}

static const struct conn_handler local_handler = {
    .on_open = on_local_open,
    .on_input = on_local_input,
    .on_close = on_close,
};

/* The file's mode keeps others out already; the kernel's word on the peer is what counts. */
static bool is_ours(const struct conn *c)
{
    struct conn_peer peer;
    return conn_peer(c, &peer) == 0 && (peer.uid == 0 || peer.uid == geteuid());
}

static void begin_local(struct edge_conn *ec)
{
    ec->is_local = true;
    conn_set_handler(ec->conn, &local_handler, ec);
    if (is_ours(ec->conn))
        return;
    log_event(LOG_WARN, "xds_refused", LFC("reason", "neither root nor our user"));
    conn_abort(ec->conn, -ERR_DENIED);
}

void edge_conn_accept(struct edge_thread *t, struct conn *c, bool is_local)
{
    struct edge_conn *ec = NEW(struct edge_conn);
    ec->thread = t;
    ec->conn = c;
    ec->tokens = TOKENS_MAX;
    ec->tokens_us = turn_now_us(t->turn);
    timer_init(&ec->timer, on_certificate);
    list_init(&ec->calls);
    list_init(&ec->known.link);
    list_push_back(&t->conns, &ec->link);
    edge_count(&t->edge->counts.connections, 1);
    if (is_local) {
        begin_local(ec);
        return;
    }
    conn_set_handler(c, &handshake_handler, ec);
    gate_enter(&t->gate, &ec->gate, &c->remote);
}

/* --- pools --- */

static void begin(struct gate_member *m)
{
    struct edge_conn *ec = CONTAINER_OF(m, struct edge_conn, gate);
    edge_count(&ec->thread->edge->counts.handshakes, 1);
    conn_set_layer(
        ec->conn, &tls_layer_ops,
        tls_endpoint_new(&(struct tls_endpoint_args){.context = ec->thread->creds->tls}));
}

static void drop(struct gate_member *m, int err)
{
    struct edge_conn *ec = CONTAINER_OF(m, struct edge_conn, gate);
    struct edge_counters *n = &ec->thread->edge->counts;
    edge_count(err == -ERR_LIMIT ? &n->dropped_full : &n->dropped_late, 1);
    abort_conn(ec, err);
}

static const struct gate_ops gate_ops = {.begin = begin, .drop = drop};

/* Descriptors that the edges may use together. */
static size_t file_budget(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur > 10 * KNOWN_MAX)
        return (size_t)10 * KNOWN_MAX;
    return files.rlim_cur > 2 * FILES_OF_OTHERS ? (size_t)files.rlim_cur - FILES_OF_OTHERS
                                                : FILES_OF_OTHERS;
}

static size_t share(size_t wanted, size_t budget, const struct edge_thread *t)
{
    return MAX(MIN(wanted, budget) / t->edge->thread_count, (size_t)1);
}

void edge_conn_init_pools(struct edge_thread *t)
{
    /* Half of the descriptors are for who has a certificate. */
    size_t files = file_budget();
    struct gate_limits limits = {
        .silent_max = share(SILENT_MAX, files / 4, t),
        .ready_max = share(READY_MAX, files / 16, t),
        .shaking_max = share(SHAKING_MAX, files / 16, t),
        .strangers_max = share(STRANGERS_MAX, files / 16, t),
        .silent_us = SILENT_US,
        .shaking_us = SHAKING_US,
        .grace_us = GRACE_US,
    };
    gate_init(&t->gate, t->turn, &limits, &gate_ops);
    crowd_init(&t->known);
    timer_init(&t->trim_timer, on_trim);
    t->known_max = share(KNOWN_MAX, files / 2, t);
}

void edge_conn_abort_all(struct edge_thread *t)
{
    LIST_FOREACH (&t->conns, ec, struct edge_conn, link)
        abort_conn(ec, -ERR_CLOSED);
}

void edge_conn_deinit_pools(struct edge_thread *t)
{
    timer_stop(&t->trim_timer);
    LIST_FOREACH (&t->conns, ec, struct edge_conn, link) {
        gate_leave(&ec->gate);
        crowd_remove(&t->known, &ec->known);
    }
    gate_deinit(&t->gate);
    crowd_deinit(&t->known);
}
