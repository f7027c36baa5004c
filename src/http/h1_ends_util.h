/* For the tests and the fuzz target of both HTTP/1 ends: on the simulated backend, a client that we
 * are, byte by byte, a proxy of one filter, and origins that we are too. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "http/http_priv.h"
#include "io/sim.h"

/* --- a raw peer ------------------------------------------------------------------------------- */

struct peer {
    struct conn *conn; /* NULL once closed */
    struct str_buf got;
    int closes, err;
};

static void peer_on_input(struct conn *c)
{
    struct peer *p = c->ctx;

    for (uint32_t i = 0; i < c->in.count; i++)
        str_buf_add(&p->got, chain_slice_str(&c->in, i));
    chain_clear(&c->in);
}

static void peer_on_close(struct conn *c, int err)
{
    struct peer *p = c->ctx;

    p->conn = NULL;
    p->closes++;
    p->err = err;
}

static const struct conn_handler peer_handler = {.on_input = peer_on_input,
                                                 .on_close = peer_on_close};

/* --- the proxy -------------------------------------------------------------------------------- */

enum { ORIGINS_MAX = 8 };

static struct world {
    struct sim_world *sim;
    struct turn *turn;
    struct addr proxy_addr, origin_addr;
    struct listen_socket *proxy_socket, *origin_socket;
    struct limits limits;
    struct http_server_config server_config;
    struct http_client_config client_config;
    struct peer client, origins[ORIGINS_MAX];
    int origin_count;
    struct http_server *server;   /* NULL once closed */
    struct http_client *upstream; /* the pool */
    int exchanges, releases, heads, ends, bad_requests, rooms;
    struct outcome outcome, failure; /* of the last exchange */
    unsigned reply_status;           /* not 0: the filter answers itself */
    listen_fn *accept;               /* NULL: an HTTP server takes the client */
    enum http_version version;       /* of the upstream; HTTP_UNKNOWN: HTTP/1.1 */
} w;

static void on_room(void *ctx, struct http_client *c)
{
    w.rooms++;
}

static void on_draining(void *ctx, struct http_client *c)
{
    if (w.upstream == c)
        w.upstream = NULL;
}

static void on_upstream_close(void *ctx, struct http_client *c, int err)
{
    if (w.upstream == c)
        w.upstream = NULL;
}

static const struct http_client_ops client_ops = {on_room, on_draining, on_upstream_close};

static enum verdict route(struct exchange *x, void *state, enum side side)
{
    struct conn_options options = {.connect_timeout_us = 1000000};

    if (side == SIDE_RESPONSE)
        return VERDICT_NEXT;
    w.heads++;
    if (w.reply_status != 0) {
        exchange_reply(x, w.reply_status, STR("told_to"),
                       w.reply_status == 204 ? STR_NULL : STR("no"));
        return VERDICT_REPLY;
    }
    if (w.upstream == NULL || http_client_room(w.upstream) == 0) {
        struct conn *c = conn_connect(w.turn, &w.origin_addr, &options, NULL, NULL, NULL, NULL);
        w.upstream = http_client_open(c, w.version != HTTP_UNKNOWN ? w.version : HTTP_11,
                                      &w.client_config, &client_ops, NULL);
    }
    int err = http_client_start(w.upstream, x);
    ASSERT(err == 0);
    return VERDICT_NEXT;
}

static enum verdict on_upstream_fail(struct exchange *x, void *state, const struct outcome *why)
{
    w.failure = *why;
    return VERDICT_FAIL;
}

static void on_exchange_end(struct exchange *x, void *state)
{
    w.ends++;
    w.outcome = x->outcome;
}

static const struct filter_ops route_ops = {.name = "route",
                                            .on_head = route,
                                            .on_upstream_fail = on_upstream_fail,
                                            .on_end = on_exchange_end};
static const struct filter filters[] = {{.ops = &route_ops}};

static void on_release(struct exchange *x)
{
    w.releases++;
}

static void on_exchange(void *ctx, struct exchange *x)
{
    w.exchanges++;
    x->filters = filters;
    x->filter_count = 1;
    x->release = on_release;
}

static void on_bad_request(void *ctx, const struct outcome *why)
{
    w.bad_requests++;
}

static void on_server_close(void *ctx, int err)
{
    w.server = NULL;
}

static const struct http_server_ops server_ops = {on_exchange, on_bad_request, on_server_close};

static void accept_downstream(void *ctx, struct conn *c)
{
    struct downstream_info info = {.local = c->local, .remote = c->remote};

    if (w.accept != NULL) {
        w.accept(ctx, c);
        return;
    }
    w.server = http_server_open(c, &w.server_config, &info, &server_ops, NULL);
}

static void accept_origin(void *ctx, struct conn *c)
{
    if (w.origin_count == ORIGINS_MAX) {
        conn_abort(c, -ERR_LIMIT);
        return;
    }
    struct peer *p = &w.origins[w.origin_count++];
    p->conn = c;
    conn_set_handler(c, &peer_handler, p);
}

/* --- steps ------------------------------------------------------------------------------------ */

static inline void run(void)
{
    sim_world_run(w.sim, sim_world_now_us(w.sim) + 300000);
}

static inline void run_us(uint64_t us)
{
    sim_world_run(w.sim, sim_world_now_us(w.sim) + us);
}

static inline void say_bytes(struct peer *p, struct str bytes)
{
    ASSERT(p->conn != NULL);
    chain_add(&p->conn->out, bytes);
    conn_mark_dirty(p->conn);
}

static inline void connect_client(void)
{
    struct conn_options options = {.connect_timeout_us = 1000000};

    str_buf_reset(&w.client.got);
    w.client.closes = 0;
    w.client.conn =
        conn_connect(w.turn, &w.proxy_addr, &options, &peer_handler, &w.client, NULL, NULL);
    run();
}

static inline int start_world(uint32_t piece_bytes_max)
{
    struct sim_options options = {.seed = 7,
                                  .latency_us_min = 10,
                                  .latency_us_max = 50,
                                  .piece_bytes_max = piece_bytes_max,
                                  .pipe_bytes_max = 65536};
    struct listen_options listen = {.inherited_fd = -1, .backlog = 16};

    memset(&w, 0, sizeof w);
    w.sim = sim_world_new(&options);
    w.turn = turn_new_sim(w.sim);
    limits_init(&w.limits);
    w.server_config = (struct http_server_config){.codec = HTTP_CODEC_1,
                                                  .limits = &w.limits,
                                                  .path = url_path_options_base,
                                                  .headers_timeout_us = 2000000,
                                                  .accept_http_10 = true};
    w.client_config = (struct http_client_config){.limits = &w.limits, .streams_max = 1};
    addr_parse(STR("10.0.0.1:80"), &w.proxy_addr);
    addr_parse(STR("10.0.0.2:80"), &w.origin_addr);
    w.client.got = STR_BUF_INIT(1 << 24);
    for (int i = 0; i < ORIGINS_MAX; i++)
        w.origins[i].got = STR_BUF_INIT(1 << 24);
    int err = listen_open(w.turn, &w.proxy_addr, &listen, accept_downstream, NULL, &w.proxy_socket);
    if (err == 0)
        err = listen_open(w.turn, &w.origin_addr, &listen, accept_origin, NULL, &w.origin_socket);
    ASSERT(err == 0);
    connect_client();
    return 0;
}

static void close_peer(struct peer *p)
{
    if (p->conn != NULL)
        conn_abort(p->conn, -ERR_CANCELED);
}

static inline void end_world(void)
{
    close_peer(&w.client);
    for (int i = 0; i < w.origin_count; i++)
        close_peer(&w.origins[i]);
    listen_close(w.proxy_socket);
    listen_close(w.origin_socket);
    run_us(10000000);
    ASSERT(w.server == NULL && w.upstream == NULL);
    ASSERT(w.ends == w.heads && w.releases == w.exchanges);
    ASSERT(turn_account(w.turn)->bytes == 0);
    turn_free(w.turn);
    sim_world_free(w.sim);
    str_buf_deinit(&w.client.got);
    for (int i = 0; i < ORIGINS_MAX; i++)
        str_buf_deinit(&w.origins[i].got);
}
