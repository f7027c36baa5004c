/* A TCP connection that is a stream on its way: an exchange whose request is CONNECT, either
 * because it leaves so (a connection of ours began it) or because a peer's proxy sent it so.
 *
 *   app -> conn --tcp_server--> exchange [tunnel filter] --h2 client--> peer     tunnel_serve
 *   peer --h2 server--> exchange [tunnel filter] --tcp_client--> conn -> app     tunnel_accept
 *
 * What it counts as, is judged by and logged as is a TCP connection.
 * Lifetime: in the exchange's arena. Inside proxy/flow/ only. Thread: the worker's. */
#pragma once

#include "http/tcp_server.h"
#include "proxy/flow/flow_priv.h"

enum { TUNNEL_TRIES_MAX = 3 };

struct tunnel {
    struct exchange *x;
    struct flow_conn *fc;           /* held */
    struct flow_config *config;     /* pinned; NULL: the listener has gone */
    const struct flow_chain *chain; /* of config; NULL with it */
    struct str cluster_name;        /* empty until it is chosen */
    bool is_sent_by_peer;
    /* The rest is the filter's. */
    struct upstream_cluster *cluster;
    struct upstream_attempt attempt;
    bool is_attempt_live;
    struct turn_task again;
    struct upstream_host *tried[TUNNEL_TRIES_MAX]; /* held */
    uint32_t tried_count, tries;
    struct upstream_host *host; /* the last one, held */
    struct addr up_local;
    struct metrics_hop hop;
    bool is_counted; /* opened, in the metrics */
    uint64_t opened_wall_us;
    uint64_t flags;
    struct str details, failure, origin;
};

/* Gives the exchange its tunnel and the filter. */
struct tunnel *tunnel_install(struct flow_conn *fc, struct exchange *x, struct flow_config *config,
                              const struct flow_chain *chain);
