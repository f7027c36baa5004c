/* Connections of the control plane's faces: who comes in, and who has to go when there are too
 * many. Administrators by the unix socket are not bounded; strangers are, by where they come from,
 * and those who have shown who they are by their name. */
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "control/server/server_priv.h"

enum {
    SILENT_MAX = 1000, /* of each face that is open to the network */
    READY_MAX = 250,
    SHAKING_MAX = 32, /* they cost the brain's time */
    STRANGERS_MAX = 500,
    KNOWN_MAX = 2000,
    SILENT_US = 10 * 1000 * 1000,
    SHAKING_US = 10 * 1000 * 1000,
    GRACE_US = 1000 * 1000,
};

static struct str place_of(const struct addr *a)
{
    return str_from((const char *)a->ip, a->family == ADDR_IP4 ? 4 : 8);
}

static void conn_free(struct server_conn *sc)
{
    struct server_face *face = sc->face;
    list_remove(&sc->link);
    gate_leave(&sc->gate);
    crowd_remove(&face->known, &sc->known);
    free(sc);
}

static void abort_conn(struct server_conn *sc, int err)
{
    if (sc->http != NULL)
        http_server_abort(sc->http, err);
    else
        conn_abort(sc->conn, err);
}

/* One more of a pool in which who has most has to make place. */
static void join_known(struct server_conn *sc, struct str key, size_t count_max)
{
    struct crowd *known = &sc->face->known;
    if (known->count >= count_max) {
        struct server_conn *other = CONTAINER_OF(crowd_longest(known), struct server_conn, known);
        crowd_remove(known, &other->known);
        sc->face->server->counts.dropped++;
        abort_conn(other, -ERR_LIMIT);
    }
    crowd_add(known, &sc->known, key);
}

void server_conn_known(struct server_conn *sc, struct str name)
{
    if (sc->face->door != DOOR_REMOTE || sc->known.group != NULL)
        return;
    gate_leave(&sc->gate);
    join_known(sc, name, KNOWN_MAX);
}

/* --- HTTP --- */

static void on_exchange(void *ctx, struct exchange *x)
{
    struct server_conn *sc = ctx;
    x->filters = &sc->face->filter;
    x->filter_count = 1;
    x->ctx = sc;
}

static void on_server_close(void *ctx, int err)
{
    (void)err;
    conn_free(ctx);
}

static const struct http_server_ops http_ops = {
    .on_exchange = on_exchange,
    .on_close = on_server_close,
};

/* --- connections --- */

static void note_tls(struct server_conn *sc, const struct tls_endpoint *endpoint,
                     struct arena *texts, struct downstream_info *info)
{
    struct tls_peer peer = tls_endpoint_peer(endpoint, texts);
    struct downstream_tls_info *tls = ARENA_NEW(texts, struct downstream_tls_info);
    *tls = (struct downstream_tls_info){
        .peer_principal = peer.is_verified ? peer.uri_san : STR_NULL,
        .alpn = peer.alpn,
        .version = str_from_c(peer.version),
    };
    info->is_mtls = peer.is_verified;
    sc->not_after_s = peer.is_verified ? peer.not_after_s : 0;
    info->tls = tls;
}

/* Whatever a handshake showed, who it is counts once a request was allowed. */
static void on_open(struct conn *c)
{
    struct server_conn *sc = c->ctx;
    struct downstream_info info = {.local = c->local, .remote = c->remote};
    const struct tls_endpoint *tls = tls_endpoint_of(c);
    struct arena texts;
    if (sc->face->door == DOOR_REMOTE && tls == NULL)
        return; /* accepted; its handshake has not begun */
    arena_init(&texts, 512);
    if (tls != NULL)
        note_tls(sc, tls, &texts, &info);
    sc->http = http_server_open(c, &sc->face->server->config, &info, &http_ops, sc);
    if (tls != NULL)
        gate_shaken(&sc->gate, false);
    arena_deinit(&texts);
}

static void on_input(struct conn *c)
{
    struct server_conn *sc = c->ctx;
    if (sc->face->door != DOOR_REMOTE)
        return;
    if (!chain_is_empty(&c->in))
        gate_spoke(&sc->gate);
    else if (conn_is_in_ended(c))
        conn_abort(c, -ERR_CLOSED);
}

static void on_close(struct conn *c, int err)
{
    (void)err;
    conn_free(c->ctx);
}

static const struct conn_handler handler = {
    .on_open = on_open,
    .on_input = on_input,
    .on_close = on_close,
};

/* The file's mode keeps others out already; the kernel's word on the peer is what counts. */
static bool is_admin(const struct conn *c, struct conn_peer *ret_peer)
{
    return conn_peer(c, ret_peer) == 0 && (ret_peer->uid == 0 || ret_peer->uid == geteuid());
}

void server_conn_accept(void *ctx, struct conn *c)
{
    struct server_face *face = ctx;
    struct conn_peer peer = {0};
    if (face->door == DOOR_LOCAL && !is_admin(c, &peer)) {
        log_event(LOG_WARN, "api_refused", LFC("reason", "the peer is neither root nor our user"));
        conn_abort(c, -ERR_DENIED);
        return;
    }
    struct server_conn *sc = NEW(struct server_conn);
    sc->face = face;
    sc->conn = c;
    sc->peer = peer;
    list_init(&sc->known.link);
    list_push_back(&face->server->conns, &sc->link);
    conn_set_handler(c, &handler, sc);
    if (face->door == DOOR_REMOTE)
        gate_enter(&face->gate, &sc->gate, &c->remote);
    else if (face->door == DOOR_OPEN)
        join_known(sc, place_of(&c->remote), SILENT_MAX);
}

/* --- pools --- */

static void begin(struct gate_member *m)
{
    struct server_conn *sc = CONTAINER_OF(m, struct server_conn, gate);
    const struct server *s = sc->face->server;
    conn_set_layer(
        sc->conn, &tls_layer_ops,
        tls_endpoint_new(&(struct tls_endpoint_args){.context = own_tls_context(s->tls)}));
}

static void drop(struct gate_member *m, int err)
{
    struct server_conn *sc = CONTAINER_OF(m, struct server_conn, gate);
    sc->face->server->counts.dropped++;
    abort_conn(sc, err);
}

void server_face_init_pools(struct server_face *face)
{
    static const struct gate_ops ops = {.begin = begin, .drop = drop};
    static const struct gate_limits limits = {
        .silent_max = SILENT_MAX,
        .ready_max = READY_MAX,
        .shaking_max = SHAKING_MAX,
        .strangers_max = STRANGERS_MAX,
        .silent_us = SILENT_US,
        .shaking_us = SHAKING_US,
        .grace_us = GRACE_US,
    };
    gate_init(&face->gate, face->server->args.turn, &limits, &ops);
    crowd_init(&face->known);
}

void server_face_deinit_pools(struct server_face *face)
{
    gate_deinit(&face->gate);
    crowd_deinit(&face->known);
}

void server_conns_abort(struct server *s)
{
    LIST_FOREACH (&s->conns, sc, struct server_conn, link) {
        gate_leave(&sc->gate);
        crowd_remove(&sc->face->known, &sc->known);
        abort_conn(sc, -ERR_CLOSED);
    }
}
