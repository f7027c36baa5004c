/* Inside proxy/flow/ only.
 *
 *   flow -> flow_listener (by name, stable) -> flow_config (one version, counted) -> flow_chain
 *   flow_conn (a downstream connection) -> its listener; the config it was opened with, pinned
 */
#pragma once

#include "base/map.h"
#include "base/vec.h"
#include "http/server.h"
#include "mesh/match/match.h"
#include "mesh/model/directory.h"
#include "proxy/filter/request.h"
#include "proxy/flow/flow.h"
#include "proxy/telemetry/access_log.h"

/* A host that was asked for lately, as metrics label its service. */
enum { FLOW_HOSTS_KNOWN = 16, FLOW_HOST_KNOWN_LEN = 59 };
struct flow_host_known {
    uint8_t len; /* 0: none */
    char host[FLOW_HOST_KNOWN_LEN];
    metrics_id id;
};

struct flows {
    struct flow_env env;
    struct map listeners;   /* name -> struct flow_listener */
    struct map routes;      /* name -> struct resource */
    struct map directories; /* name -> struct resource */
    VEC(const struct directory *) directory_list;
    VEC(struct cidr) ranges; /* of the mesh, by all of them */
    bool is_registry_only;
    struct flow_host_known hosts_known[FLOW_HOSTS_KNOWN]; /* by index */
    struct list conns;                                    /* flow_conn.link */
    unsigned conn_count;
    struct flow_share *share, *own_share; /* env's, or the own one */
    struct overload overload;
    struct list parked; /* flow_more.parked_link */
    unsigned parked_count;
    struct map wanted;   /* detail names that were asked for */
    struct str_buf line; /* of an access log, while it is made */
    struct map sinks;    /* path -> struct access_log_sink */
    bool is_draining, is_outbound_draining;
    bool is_stopped; /* nothing is opened any more */
    uint64_t inbound_accepted;
    unsigned rests; /* bits of enum flow_rest: why no listener accepts */
    metrics_id own_peer;
    uint64_t connection_ids;
};

/* --- listener.c --- */

enum flow_rest { FLOW_REST_FULL = 1, FLOW_REST_MEMORY = 2 };

enum { RBACS_MAX = 8, ACCESS_LOGS_MAX = 4 };

struct flow_log {
    const struct access_log_filter *filter; /* NULL: all */
    struct access_log_format *format;
    struct access_log_sink *sink; /* the flow's */
};

struct flow_local_reply;
struct flow_chain {
    const struct filter_chain *model;
    const struct rbac *rbacs[RBACS_MAX]; /* network filters, in order */
    size_t rbac_count;
    const struct hcm *hcm;       /* NULL: TCP */
    const struct tcp_proxy *tcp; /* NULL: HTTP */
    uint64_t tcp_weight_total;
    struct filter filters[FILTERS_MAX + 1]; /* [0] records */
    uint32_t filter_count;
    struct filter shed[2]; /* instead of them while memory is short: recorded, refused */
    struct limits limits;  /* the process's, narrowed by the model */
    struct http_server_config server;
    struct flow_log logs[ACCESS_LOGS_MAX];
    size_t log_count;
    struct flow_local_reply *local_reply; /* NULL: answers go as they are made */
};

/* One version of a listener. */
struct flow_config {
    uint32_t ref_count;
    struct resource *resource;
    const struct listener *model;
    struct flow_chain *chains; /* as the model's; the last is the default chain's */
    size_t chain_count;
};

struct flow_listener {
    struct flows *flow;
    struct str name;            /* own memory */
    struct flow_config *config; /* NULL: removed */
    struct listen_socket *sockets[2];
    struct addr bound;
    atomic_uint *count; /* its connections, of all workers; NULL: it never had a limit */
};

struct flow_config *flow_config_ref(struct flow_config *c);
struct flow_config *flow_config_unref(struct flow_config *c);
struct flow_listener *listener_find(struct flows *f, struct str name);
/* A listener without a socket of its own for this address (use_original_dst); NULL: none. */
struct flow_listener *listener_find_addr(struct flows *f, const struct addr *a);
const struct flow_chain *chain_find(const struct flow_config *c, const struct chain_input *in);
void listener_stop(struct flow_listener *l);
/* Accepting rests for as long as there is a reason to. */
void listeners_rest(struct flows *f, enum flow_rest reason, bool is_resting);
void listeners_free(struct flows *f);
struct access_log_sink *flow_sink(struct flows *f, struct str path);

/* --- conn.c: a downstream connection from accept to close --- */

enum { ALPN_MAX = 16 };

/* What the first bytes told: with addresses, what a chain is chosen by. */
struct flow_hello {
    struct str server_name;
    const struct str *application_protocols;
    size_t application_protocol_count;
};

/* What few connections have. */
struct flow_more {
    struct flow_conn *fc;
    struct list parked_link;
    atomic_uint *counted;       /* of the listener that took it, when that has a limit */
    struct str wanted;          /* parked: the detail it waits for */
    struct str direct_identity; /* a replica's own address was called */
    struct str xfcc; /* this hop's element of x-forwarded-client-cert, by these settings */
    uint8_t xfcc_parts;
};

/* Kept small, as most connections idle most of the time: what not all need is in the arena, which
 * has no memory before something is. */
struct flow_conn {
    uint32_t ref_count; /* the connection, and its exchanges, which may end later */
    uint32_t shed_turn; /* when it, or a stream of it, was reset for want of memory */
    metrics_id peer;    /* inbound: the caller */
    bool is_peer_known : 1;
    bool is_proxy_header_taken : 1;
    bool is_detect_extended : 1; /* something came, but not enough to tell: the second wait */
    bool is_outbound : 1;
    bool is_tls : 1;      /* as its first bytes, or its listener, say */
    bool has_tunnels : 1; /* exchanges are TCP connections, whether they begin or end here */
    bool is_tunnel : 1;   /* TCP that goes on as a stream, as long as it is there */
    struct flows *flow;
    struct list link;
    struct conn *conn;
    struct flow_listener *listener;
    struct flow_config *config;     /* of the moment of opening, pinned */
    const struct flow_chain *chain; /* of config */
    struct arena arena;
    const struct flow_hello *hello; /* NULL: nothing known */
    struct downstream_info info;
    struct flow_more *more;     /* NULL: nothing of it is known */
    struct http_server *server; /* HTTP */
    struct flow_tcp *tcp;       /* TCP */
    struct list exchanges;      /* of this connection (exchange.link) */
    uint64_t opened_wall_us;
    union {
        struct timer timer; /* detection, handshake */
        struct grave grave; /* when the connection and its exchanges have gone */
    };
};
_Static_assert(sizeof(struct flow_conn) <= 312, "what an idle connection costs");

void conn_accepted(void *ctx, struct conn *c); /* listen_fn; ctx: flow_listener */
/* listen_route_fn; ctx: flow_listener. Hands it to the least loaded worker. */
bool conn_route(void *ctx, const struct conn_transport *transport);
/* Counts it, and lets accepting rest when that was the last place. */
void flow_admit(struct flows *f, unsigned worker);
void flow_dismiss(struct flows *f);
/* The listener is known: inspects, matches the chain, goes on. */
void conn_dispatch(struct flow_conn *fc, struct flow_listener *l);
/* The connection is served by its chain (after TLS). */
void conn_serve(struct flow_conn *fc);
void conn_unref(struct flow_conn *fc);
struct flow_more *conn_more(struct flow_conn *fc); /* made when it is not there yet */
void conn_gone(struct flow_conn *fc); /* from whoever holds the conn's handler at its end */
/* Refused before it was served: counted, logged, aborted. */
void conn_refuse(struct flow_conn *fc, uint64_t flags, struct str details, struct str origin);
/* Its listener changed: judged again by what holds now; reset when forbidden. */
void conn_judge(struct flow_conn *fc);
/* The chain that holds now for this connection; NULL: none any more. */
const struct flow_chain *conn_current_chain(const struct flow_conn *fc);
struct ip_addr flow_ip(const struct addr *a);
/* Where the client meant to go. */
const struct addr *conn_destination(const struct flow_conn *fc);
bool conn_is_allowed(const struct flow_conn *fc, const struct flow_chain *chain,
                     struct str *ret_origin);

/* --- detect.c --- */

enum detect_result { DETECT_MORE, DETECT_DONE };
/* Whether connections to this port are looked at. */
bool detect_is_wanted(const struct listener *model, uint16_t port);
/* Sets is_tls and hello by the first bytes. */
enum detect_result detect_peek(struct flow_conn *fc, const struct listener *model, bool is_final);

/* --- proxy_header.c: the PROXY protocol in front of a connection --- */

enum proxy_header { PROXY_HEADER_MORE, PROXY_HEADER_TAKEN, PROXY_HEADER_REFUSED };
/* Takes the header, once, where the listener asks for one, and believes what it says. */
enum proxy_header proxy_header_take(struct flow_conn *fc, const struct listener *model,
                                    bool is_final);

/* --- outbound.c --- */

void outbound_dispatch(struct flow_conn *fc);
void outbound_gone(struct flow_conn *fc); /* it does not wait any more */
/* Of the replica whose own address was called; empty: none was. */
struct str outbound_identity(const struct flow_conn *fc);
void outbound_unpark(struct flows *f, struct str name, struct str why_not);

/* --- directories.c --- */

struct directory_hit {
    const struct directory_service *service;
    const struct directory_workload *workload;
    bool is_in_range; /* of the mesh, but nobody's */
    bool is_registry_only;
};
void directories_changed(struct flows *f);
void directories_deinit(struct flows *f);
struct directory_hit directories_find(const struct flows *f, const struct ip_addr *ip);
const struct directory_service *directories_find_host(const struct flows *f, struct str host);

/* --- http.c --- */

extern const struct http_server_ops flow_http_ops; /* ctx: flow_conn */
extern const struct filter_ops shed_filter_ops;
extern const struct filter_ops record_filter_ops; /* config: flow_chain */

/* --- headers.c --- */

/* Applies what the connection manager says of hosts and names of fields; r->early when it answers
 * itself. Before headers_request. */
void canonical_request(const struct flow_conn *fc, struct request *r, struct http_head *head);
void headers_request(struct flow_conn *fc, struct request *r, struct http_head *head);
void headers_response(const struct request *r, struct http_head *head);

/* --- xfcc.c --- */

/* x-forwarded-client-cert, as the configuration wants it. */
void xfcc_set(struct flow_conn *fc, const struct hcm *hcm, struct http_head *head);

/* --- record.c --- */

void record_request(struct exchange *x);
/* Until now; borrows. */
struct record record_of(struct flow_conn *fc, const struct request *r, uint64_t now_us);
struct record_tcp {
    uint64_t flags, bytes_received, bytes_sent;
    uint64_t opened_wall_us; /* 0: when the connection was */
    struct str details, upstream_failure, upstream_cluster, origin;
    struct upstream_host *host;
    struct upstream_cluster *cluster;
    const struct addr *upstream_local;
};
struct metrics_hop record_tcp_hop(struct flow_conn *fc, const struct record_tcp *t);
void record_tcp_log(struct flow_conn *fc, const struct flow_chain *chain,
                    const struct record_tcp *t);

/* --- local_reply.c --- */

/* -ERR_X with why, which names the place. The model outlives it. */
int local_reply_new(const struct local_reply *model, struct str_buf *why,
                    struct flow_local_reply **ret_reply);
struct flow_local_reply *local_reply_free(struct flow_local_reply *lr);
/* Of a response that this proxy made, before its head is passed on. */
void local_reply_apply(const struct flow_local_reply *lr, struct flow_conn *fc, struct request *r);

/* --- log_filter.c --- */

bool log_is_wanted(const struct access_log_filter *f, const struct record *rec);

/* --- tcp.c --- */

/* By weight; NULL: there is none of that name, or no name. */
struct upstream_cluster *tcp_choose_cluster(struct flows *f, const struct flow_chain *chain,
                                            struct str *ret_name);
void tcp_serve(struct flow_conn *fc, struct str cluster_name, struct upstream_cluster *cluster);
void tcp_abort(struct flow_tcp *t, struct str details, struct str origin);

/* --- tunnel.c: TCP connections that are streams on their way (tunnel.h has what they are made of)
 * ---
 */

/* Whether connections of the chain to the cluster leave as streams. */
bool tunnel_is_wanted(const struct flow_chain *chain, const struct upstream_cluster *cluster);
/* The connection goes on as a stream. */
void tunnel_serve(struct flow_conn *fc, struct str cluster_name);
/* The peer's proxy agreed to send connections as streams of this one. */
bool tunnel_is_agreed(const struct flow_conn *fc);
void tunnel_accept(struct flow_conn *fc);
/* All of the connection's tunnels are reset. */
void tunnel_abort(struct flow_conn *fc, struct str details, struct str origin);
