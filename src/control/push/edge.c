/* Connections of proxies: accepted, handshaken under our own certificate, handed to HTTP/2. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "control/push/edge_priv.h"

enum {
    CONNS_MAX = 20000,
    OWN_LIFETIME_S = 24 * 3600,
    HANDSHAKE_US = 15 * 1000 * 1000,
    STRANGER_IDLE_US = 10 * 1000 * 1000,
    CLOSE_TURNS_MAX = 100,
    LEAF_PEM_MAX = 64 * 1024,
};

struct edge_conn {
    struct edge *edge;
    struct list link;
    struct conn *conn;
    struct http_server *server; /* NULL: still shaking hands */
    struct timer timer;
    uint64_t not_after_s;
    char root[CA_ID_LEN + 1];
    bool is_local; /* by the unix socket: says itself who it is */
};

static void conn_free(struct edge_conn *ec)
{
    list_remove(&ec->link);
    timer_stop(&ec->timer);
    ec->edge->conn_count--;
    free(ec);
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

/* What the connection proved is copied: the call may outlive it by a turn. */
static void on_exchange(void *ctx, struct exchange *x)
{
    struct edge_conn *ec = ctx;
    struct edge_call *c = ARENA_NEW(&x->arena, struct edge_call);
    c->edge = ec->edge;
    c->is_local = ec->is_local;
    if (x->info->is_mtls)
        c->peer.identity = arena_str(&x->arena, downstream_tls(x->info)->peer_principal);
    c->peer.address = ip_of(&x->info->remote);
    c->peer.not_after_s = ec->not_after_s;
    memcpy(c->peer.root, ec->root, sizeof ec->root);
    x->ctx = c;
    x->filters = &ec->edge->filter;
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

/* --- TLS --- */

static void note_root(struct edge_conn *ec, const struct conn *c)
{
    struct str_buf pem = STR_BUF_INIT(LEAF_PEM_MAX);
    tls_endpoint_peer_pem(tls_endpoint_of(c), false, &pem);
    push_root_of(ec->edge->push, str_buf_str(&pem), ec->root);
    str_buf_deinit(&pem);
}

static void on_open(struct conn *c)
{
    struct edge_conn *ec = c->ctx;
    struct arena texts;
    arena_init(&texts, 512);
    struct tls_peer peer = tls_endpoint_peer(tls_endpoint_of(c), &texts);
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
        note_root(ec, c);
    timer_stop(&ec->timer);
    const struct http_server_config *config =
        info.is_mtls ? &ec->edge->config : &ec->edge->config_strangers;
    ec->server = http_server_open(c, config, &info, &server_ops, ec);
    arena_deinit(&texts);
}

static void on_input(struct conn *c)
{
    (void)c;
}

static void on_close(struct conn *c, int err)
{
    if (err != 0)
        log_event(LOG_INFO, "xds_handshake_failed", LFC("error", err_text(err)),
                  LF("reason", conn_error_text(c)));
    conn_free(c->ctx);
}

static const struct conn_handler handshake_handler = {
    .on_open = on_open,
    .on_input = on_input,
    .on_close = on_close,
};

static void on_handshake_timeout(struct timer *timer)
{
    conn_abort(CONTAINER_OF(timer, struct edge_conn, timer)->conn, -ERR_TIMEOUT);
}

/* NULL: there are too many; the connection is aborted. */
static struct edge_conn *take_conn(struct edge *e, struct conn *c)
{
    if (e->conn_count >= CONNS_MAX) {
        conn_abort(c, -ERR_LIMIT);
        return NULL;
    }
    struct edge_conn *ec = NEW(struct edge_conn);
    ec->edge = e;
    ec->conn = c;
    timer_init(&ec->timer, on_handshake_timeout);
    list_push_back(&e->conns, &ec->link);
    e->conn_count++;
    return ec;
}

static void on_accept(void *ctx, struct conn *c)
{
    struct edge *e = ctx;
    struct edge_conn *ec = take_conn(e, c);
    if (ec == NULL)
        return;
    conn_set_handler(c, &handshake_handler, ec);
    conn_set_layer(c, &tls_layer_ops,
                   tls_endpoint_new(&(struct tls_endpoint_args){.context = e->tls}));
    timer_start(e->turn, &ec->timer, HANDSHAKE_US);
}

/* --- the unix socket --- */

static void on_local_open(struct conn *c)
{
    struct edge_conn *ec = c->ctx;
    struct downstream_info info = {.local = c->local, .remote = c->remote};
    ec->server = http_server_open(c, &ec->edge->config, &info, &server_ops, ec);
}

static const struct conn_handler local_handler = {
    .on_open = on_local_open,
    .on_input = on_input,
    .on_close = on_close,
};

/* The file's mode keeps others out already; the kernel's word on the peer is what counts. */
static void on_accept_local(void *ctx, struct conn *c)
{
    struct conn_peer peer;
    if (conn_peer(c, &peer) != 0 || (peer.uid != 0 && peer.uid != geteuid())) {
        log_event(LOG_WARN, "xds_refused", LFC("reason", "neither root nor our user"));
        conn_abort(c, -ERR_DENIED);
        return;
    }
    struct edge_conn *ec = take_conn(ctx, c);
    if (ec == NULL)
        return;
    ec->is_local = true;
    conn_set_handler(c, &local_handler, ec);
}

int edge_listen_local(struct edge *e, struct str path, struct str_buf *why)
{
    struct addr at;
    if (!addr_set_path(&at, path)) {
        str_buf_printf(why, "--xds-local takes a path of at most %d bytes", ADDR_PATH_LEN_MAX);
        return -ERR_INVALID;
    }
    mode_t old = umask(0177);
    int err = listen_open(e->turn, &at, NULL, on_accept_local, e, &e->local);
    umask(old);
    if (err != 0)
        str_buf_printf(why, "listening on %.*s: %s", STR_FMT(path), err_text(err));
    return err;
}

/* --- our own certificate --- */

static int make_context(const struct edge *e, struct cert *leaf, struct str_buf *why,
                        struct tls_context **ret_context)
{
    static const struct str alpn[] = {{"h2", 2}};
    struct cert *roots[CA_ROOTS_MAX];
    size_t root_count = ca_roots(e->push->ca, roots);
    struct tls_context_args args = {
        .role = TLS_SERVER,
        .key = e->key,
        .chain = &leaf,
        .chain_count = 1,
        .roots = roots,
        .root_count = root_count,
        .is_client_cert_asked = true,
        .alpn = alpn,
        .alpn_count = ARRAY_LEN(alpn),
    };
    return tls_context_new(&args, why, ret_context);
}

static int renew(struct edge *e, struct str_buf *why)
{
    static const struct str names[] = {{"tulled", 6}};
    AUTO(cert_unref_auto) struct cert *leaf = NULL;
    struct tls_context *context = NULL;
    str_buf_reset(&e->identity);
    str_buf_printf(&e->identity, "spiffe://%.*s/ns/tulle-system/sa/tulled",
                   STR_FMT(registry_mesh(e->push->registry)->trust_domain));
    struct ca_own_request r = {e->key,
                               names,
                               ARRAY_LEN(names),
                               str_buf_str(&e->identity),
                               turn_wall_us(e->turn) / 1000000,
                               OWN_LIFETIME_S};
    str_buf_add_c(why, "a certificate for tulled itself: ");
    int err = ca_issue_own(e->push->ca, &r, why, &leaf);
    if (err == 0) {
        str_buf_reset(why);
        err = make_context(e, leaf, why, &context);
    }
    timer_start(e->turn, &e->renew_timer, (uint64_t)OWN_LIFETIME_S / 2 * 1000000);
    if (err != 0)
        return err;
    tls_context_unref(e->tls);
    e->tls = context;
    cert_unref(e->leaf);
    e->leaf = TAKE(leaf);
    return 0;
}

static void renew_or_say(struct edge *e)
{
    struct str_buf why = STR_BUF_INIT(PUSH_REASON_LEN_MAX);
    if (renew(e, &why) != 0)
        log_event(LOG_ERROR, "own_certificate_not_renewed", LF("reason", str_buf_str(&why)));
    str_buf_deinit(&why);
}

static void on_renew(struct timer *timer)
{
    renew_or_say(CONTAINER_OF(timer, struct edge, renew_timer));
}

void edge_mesh_changed(struct edge *e)
{
    struct str_buf identity = STR_BUF_INIT(PUSH_REASON_LEN_MAX);
    str_buf_printf(&identity, "spiffe://%.*s/ns/tulle-system/sa/tulled",
                   STR_FMT(registry_mesh(e->push->registry)->trust_domain));
    if (!str_eq(str_buf_str(&identity), str_buf_str(&e->identity)))
        renew_or_say(e);
    str_buf_deinit(&identity);
}

void edge_roots_changed(struct edge *e)
{
    renew_or_say(e);
}

struct cert *edge_own_leaf(const struct edge *e)
{
    return e->leaf;
}

/* --- life --- */

static void set_config(struct edge *e)
{
    limits_init(&e->limits);
    e->config = (struct http_server_config){
        .codec = HTTP_CODEC_2,
        .limits = &e->limits,
        .path = url_path_options_base,
        .headers_timeout_us = 10ull * 1000 * 1000,
        .idle_timeout_us = 3600ull * 1000 * 1000,
    };
    /* Who has no certificate wants one, and is gone then. */
    e->config_strangers = e->config;
    e->config_strangers.idle_timeout_us = STRANGER_IDLE_US;
    e->config_strangers.stream_idle_timeout_us = STRANGER_IDLE_US;
    e->service = (struct service){&edge_call_ops, e};
    e->filter = (struct filter){&service_filter_ops, &e->service};
}

struct edge *edge_open(struct push *p, const struct addr *at, struct str_buf *why, int *ret_err)
{
    struct edge *e = NEW(struct edge);
    char text[ADDR_TEXT_LEN];
    e->push = p;
    e->turn = p->turn;
    list_init(&e->conns);
    e->key = key_new_p256();
    e->identity = STR_BUF_INIT(PUSH_REASON_LEN_MAX);
    timer_init(&e->renew_timer, on_renew);
    set_config(e);
    int err = renew(e, why);
    if (err == 0) {
        err = listen_open(e->turn, at, NULL, on_accept, e, &e->socket);
        if (err != 0)
            str_buf_printf(why, "listening on %.*s: %s", STR_FMT(addr_format(at, text)),
                           err_text(err));
    }
    if (err != 0) {
        *ret_err = err;
        return edge_close(e);
    }
    return e;
}

struct edge *edge_close(struct edge *e)
{
    if (e == NULL)
        return NULL;
    timer_stop(&e->renew_timer);
    listen_close(e->socket);
    if (e->local != NULL)
        (void)unlink(addr_path(listen_addr(e->local)));
    listen_close(e->local);
    LIST_FOREACH (&e->conns, ec, struct edge_conn, link) {
        if (ec->server != NULL)
            http_server_abort(ec->server, -ERR_CLOSED);
        else
            conn_abort(ec->conn, -ERR_CLOSED);
    }
    /* Calls end in the turns that follow the abort. */
    for (int i = 0; i < CLOSE_TURNS_MAX && (!list_is_empty(&e->conns) || i < 3); i++)
        turn_once(e->turn, 0);
    tls_context_unref(e->tls);
    cert_unref(e->leaf);
    key_unref(e->key);
    str_buf_deinit(&e->identity);
    free(e);
    return NULL;
}
