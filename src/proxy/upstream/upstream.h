/* Everything a worker knows of where requests go: clusters, hosts, pools, limits, health.
 *
 * Run-time state outlives configuration and has its one home here. Clusters by name; hosts by
 * address, port and identity: pools of connections, active counts, ejections, breakers, retry
 * budgets. A change of configuration arrives as a diff of hosts: 1,000 changes that do not touch a
 * cluster lose no connection, no ejection, no count (invariant, tested).
 *
 * Owner: the worker. Thread: the worker's. */
#pragma once

#include "base/limits.h"
#include "http/client.h"
#include "mesh/model/cluster.h"
#include "mesh/model/resource.h"
#include "proxy/telemetry/metrics.h"
#include "proxy/tls/store.h"
#include "proxy/upstream/share.h"

struct upstream;
struct upstream_cluster;
struct upstream_host;

/* Connects elsewhere than by the kernel (the box's egress socket). NULL in env: conn_connect. */
typedef struct conn *upstream_connect_fn(void *ctx, const struct addr *to,
                                         const struct conn_options *options,
                                         const struct conn_handler *handler, void *handler_ctx,
                                         const struct conn_layer_ops *layer_ops, void *layer);

struct upstream_env {
    struct turn *turn;
    unsigned index;               /* of the worker */
    struct upstream_share *share; /* NULL: of this one alone */
    const struct limits *limits;
    struct tls_store *tls;
    struct metrics *metrics;
    uint32_t mark_outbound, mark_inbound; /* SO_MARK towards peers / towards the app; 0: none */
    upstream_connect_fn *connect;
    void *connect_ctx;
};

/* What a configuration says of HTTP/2 peers, as the codecs take it. */
struct h2_bounds upstream_h2_bounds(const struct http2_options *options);

/* A literal address of configuration; ADDR_NONE when it holds none. */
struct addr upstream_addr(const struct model_addr *m);

struct upstream *upstream_new(const struct upstream_env *env);
struct upstream *upstream_free(struct upstream *u); /* ends all connections */

/* Configuration: NULL removes. A removed cluster finishes its streams. References are taken. */
void upstream_set_cluster(struct upstream *u, struct str name, struct resource *cluster);
void upstream_set_endpoints(struct upstream *u, struct str name, struct resource *endpoints);
/* A secret changed: idle connections with an old identity are drained, busy ones after their last
 * stream; new ones use the new identity. */
void upstream_identity_changed(struct upstream *u);

struct upstream_cluster *upstream_find(struct upstream *u, struct str name); /* NULL: none */
const struct cluster *upstream_cluster_config(const struct upstream_cluster *c);
/* The service as metrics label it; interned once a configuration. */
metrics_id upstream_cluster_service(struct upstream_cluster *c);

/* --- one attempt of a request --- */

struct upstream_host_info {
    struct addr address;
    const struct endpoint *endpoint; /* NULL for ORIGINAL_DST */
};
const struct upstream_host_info *upstream_host_info(const struct upstream_host *h);
/* The replica as metrics label it; interned once an endpoint. */
metrics_id upstream_host_peer(struct upstream_host *h);
/* Keeps a host (and its endpoint's strings) beyond the attempt, for logs. */
struct upstream_host *upstream_host_hold(struct upstream_host *h);
struct upstream_host *upstream_host_drop(struct upstream_host *h); /* accepts NULL, returns NULL */

/* Whom a connection is for, where the host is told (cluster.caller_header). */
struct upstream_caller {
    struct addr source, destination;
};

struct upstream_attempt;

struct upstream_attempt_ops {
    /* A stream was attached to the exchange (exchange_set_upstream was called). */
    void (*on_ready)(struct upstream_attempt *a);
    /* No stream: why->flags has UH, UF, UO, ...; the attempt is over. */
    void (*on_fail)(struct upstream_attempt *a, const struct outcome *why);
};

/* Embedded in the router's state. Zeroed, then filled up to `host`. */
struct upstream_attempt {
    const struct upstream_attempt_ops *ops;
    struct upstream_cluster *cluster;
    struct exchange *x;
    enum http_version downstream_version; /* for UPSTREAM_DOWNSTREAM; restored by the server side */
    const struct addr *original_dst;      /* for ORIGINAL_DST */
    bool is_tcp; /* CONNECT ends here: a connection of its own, without HTTP */
    /* With is_tcp: a stream of a shared connection, when the peer's TLS agrees to that. */
    bool may_share;
    /* What it carries is a connection: it counts in maxConnections alone, and waits for none. */
    bool is_connection;
    struct str identity;                /* ORIGINAL_DST with mTLS: must be proven; else empty */
    struct upstream_host *const *avoid; /* hosts of earlier attempts */
    size_t avoid_count;
    bool has_hash; /* for clusters that hash: who is tied to a host */
    uint64_t hash;
    /* Set by upstream: */
    struct upstream_host *host; /* chosen; NULL: none (referenced until finish) */
    struct http_client *client;
    struct list link;
    bool is_pending, is_counted, is_failed;
    bool is_connection_counted; /* against maxConnections */
    uint64_t started_us;
    struct outcome why; /* of a failure not yet told */
};

/* Begins an attempt: picks a host, counts it in breaker and budget, finds or makes a connection.
 * Exactly one of on_ready, on_fail follows; on_ready inside the call when a connection has room,
 * on_fail never. */
void upstream_attempt_start(struct upstream *u, struct upstream_attempt *a);
/* The attempt is over, however: counts back, feeds outlier detection. status 0: no response. Also
 * cancels a pending attempt (then no callback comes). */
void upstream_attempt_finish(struct upstream *u, struct upstream_attempt *a, unsigned status,
                             const struct outcome *outcome);

/* The peer took the connection that the attempt carries: its outlier detection hears of it now, as
 * the stream may last for days. */
void upstream_attempt_opened(struct upstream_attempt *a);

/* The host takes connections as streams, but for another address than it was found by (there is a
 * translation of addresses in between): it gets connections of their own from now on. */
void upstream_attempt_misdirected(struct upstream_attempt *a);

/* Whether a live attempt's stream goes over TLS, so that who answers is who was meant. */
bool upstream_attempt_is_tls(const struct upstream_attempt *a);

/* Whether connections to the cluster may be streams of shared ones: its TLS offers the mesh's token
 * for that (TLS_ALPN_TUNNEL), which a peer that does not know of it leaves alone. */
bool upstream_offers_tunnel(const struct upstream_cluster *c);
size_t upstream_host_count(const struct upstream_cluster *c);

/* Whether one more retry is within the limit: max(10, 20 % of active requests), or the cluster's
 * own. Taken with true; given back by upstream_retry_end. */
bool upstream_retry_begin(struct upstream *u, struct upstream_cluster *c);
void upstream_retry_end(struct upstream *u, struct upstream_cluster *c);

/* --- TCP: a connection instead of a stream --- */

struct upstream_tcp;
struct upstream_tcp_ops {
    void (*on_ready)(void *ctx, struct conn *c, struct upstream_host *host); /* handler to be set */
    void (*on_fail)(void *ctx, const struct outcome *why);
};
/* Picks and connects, trying up to 3 hosts. Counted in maxConnections until upstream_tcp_finish.
 * info: of the connection that it is for, NULL: none; copied. */
struct upstream_tcp *upstream_tcp_start(struct upstream *u, struct upstream_cluster *c,
                                        const struct downstream_info *info, struct str identity,
                                        const struct upstream_tcp_ops *ops, void *ctx);
void upstream_tcp_finish(struct upstream_tcp *t);

/* For admin /clusters: as JSON array of {name, hosts:[{address, active, ejected, ...}], counts}. */
void upstream_render(const struct upstream *u, struct str_buf *to);
