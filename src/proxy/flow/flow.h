/* From an accepted connection to a stream: which listener, which protocol, which route.
 *
 * The configuration of a worker as it runs: listeners, routes and directories by name. A connection
 * keeps to its listener's name, not to its configuration: every request, and every connection when
 * the configuration changes, is judged by what holds now.
 *
 * Owner: the worker. Thread: the worker's. */
#pragma once

#include "base/limits.h"
#include "mesh/model/resource.h"
#include "proxy/flow/share.h"
#include "proxy/telemetry/metrics.h"
#include "proxy/tls/store.h"
#include "proxy/upstream/upstream.h"

struct flows;
struct access_log_share;

/* Names of what the agent's own bootstrap provides (proxy/agent). */
#define FLOW_LISTENER_OUTBOUND                                                                     \
    "virtualOutbound"                           /* its connections are looked up in the directory */
#define FLOW_LISTENER_DIRECT "direct"           /* to a replica's own address, mTLS */
#define FLOW_LISTENER_PASSTHROUGH "passthrough" /* to the world */

struct flow_env {
    struct turn *turn;
    unsigned index;                /* of the worker; 0 accepts for all */
    struct flow_share *share;      /* NULL: of this one alone */
    struct access_log_share *logs; /* NULL: of this one alone */
    /* Posts an accepted transport to another worker, for its flow_take. NULL with one worker. */
    void (*hand_over)(void *ctx, unsigned worker, struct str listener,
                      const struct conn_transport *transport);
    /* Worker 0 is to call flow_has_room. NULL with one worker. */
    void (*on_room)(void *ctx);
    const struct limits *limits;
    struct tls_store *tls;
    struct upstream *upstream;
    struct metrics *metrics;
    /* What no listener is for goes by the chains of the one that captured it, as other people's
     * control planes mean it; else it waits for a directory to say. */
    bool is_capture_chain_used;
    uint32_t mark_inbound; /* of accepted sockets: answers must not be captured */
    struct str own_workload, own_namespace, own_app, own_version, own_principal, own_cluster;
    /* The detail of a mesh name is wanted; asked once per name until it comes or fails. */
    void (*on_detail_wanted)(void *ctx, struct str detail_name);
    void *ctx;
};

struct flows *flow_new(const struct flow_env *env);
struct flows *flow_free(struct flows *f); /* all connections are gone */
/* Ends every connection at once; their ends are told in the next turns. */
void flow_abort(struct flows *f);

/* Configuration; NULL removes. References are taken. A listener that cannot be opened is an error
 * with why, and what ran before stays. */
int flow_set_listener(struct flows *f, struct str name, struct resource *r, struct str_buf *why);
/* What runs under the name, referenced; NULL: nothing. */
struct resource *flow_listener_resource(const struct flows *f, struct str name);
void flow_set_route(struct flows *f, struct str name, struct resource *r);
void flow_set_directory(struct flows *f, struct str name, struct resource *r);
/* The detail that was wanted will not come. */
void flow_detail_failed(struct flows *f, struct str name, struct str why);

/* Whether the address is a replica's or a service's of the mesh (never reached through the world).
 */
bool flow_is_mesh_addr(const struct flows *f, const struct addr *a);

/* An accepted transport that worker 0 handed over. */
void flow_take(struct flows *f, struct str listener, const struct conn_transport *transport);
/* Worker 0: there may be room for connections again. */
void flow_has_room(struct flows *f);

/* The first half of a drain: connections end gracefully, and those that still come are served one
 * request; what waits for a request is not closed under it. */
void flow_drain_conns(struct flows *f, bool inbound_only);
/* All of it: stops listening; requests under way finish, idle connections are closed. */
void flow_drain(struct flows *f, bool inbound_only);
uint64_t flow_inbound_accepted(const struct flows *f); /* so far */
unsigned flow_active(const struct flows *f);           /* connections open */
unsigned flow_active_of_all(const struct flows *f);    /* those of all workers */
/* Worker 0 has drained (inbound_only: at least what comes in): nobody gets new connections. */
bool flow_is_closed(const struct flows *f, bool inbound_only);
uint64_t flow_logs_dropped(const struct flows *f); /* lines that slow sinks lost */
void flow_render_listeners(const struct flows *f, struct str_buf *to); /* JSON array */
