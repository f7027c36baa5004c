/* Inside proxy/upstream/ only: the structs of clusters, hosts and connections.
 *
 *   upstream -> clusters by name -> hosts by address, identity -> links (one connection each)
 *
 * A host outlives its endpoint while streams or logs hold it; a cluster outlives its configuration
 * while hosts of it are held. */
#pragma once

#include "base/map.h"
#include "base/vec.h"
#include "proxy/upstream/lookup.h"
#include "proxy/upstream/share.h"
#include "proxy/upstream/upstream.h"

struct upstream {
    struct upstream_env env;
    struct map clusters;       /* name -> struct upstream_cluster, configured */
    struct map endpoints;      /* name -> struct resource (referenced) */
    struct lookup_files files; /* of names that are looked up */
    struct list zombies;       /* clusters without configuration that are still held */
    struct upstream_share *share, *own_share; /* env's, or the own one */
    uint64_t active;                          /* attempts, for nothing but dumps */
    bool is_ending;
};

struct host_set {
    struct upstream_host **ptr;
    size_t len, cap;
};

enum { LB_LEVELS_MAX = 8 };

/* The eligible hosts of a priority that takes a share of the load. */
struct lb_level {
    size_t from, count; /* in eligible */
    uint64_t weight;    /* of all of them */
    uint32_t load;      /* its share, of load_total */
    bool is_weighted;   /* their weights differ */
};

struct upstream_cluster {
    struct upstream *u;
    struct list link;           /* in zombies once removed */
    struct str name;            /* own memory */
    struct resource *resource;  /* pins config */
    struct resource *endpoints; /* pins; NULL: none yet */
    const struct cluster *config;
    struct limits limits;     /* the process's, with what config says */
    struct host_set hosts;    /* configured, or on demand (ORIGINAL_DST) */
    struct host_set eligible; /* cache: may be picked, by priority */
    struct lb_level levels[LB_LEVELS_MAX];
    unsigned level_count;
    uint32_t load_total; /* of all levels */
    bool is_eligible_stale;
    uint32_t next; /* round robin */
    /* Breaker, outlier detection. */
    struct cluster_share *share;
    struct list waiting; /* attempts for which no connection slot is free */
    uint32_t granted;    /* slots that other workers gave to those who wait */
    struct turn_task waiting_task;
    struct list failed; /* attempts whose failure is to be told */
    struct turn_task failed_task;
    unsigned seen_generation; /* of share */
    /* Names that are looked up; NULL: none. Who came before the first answers waits. */
    struct dns_cluster *dns;
    struct list unresolved, unresolved_tcp; /* attempts; upstream_tcp.link */
    struct turn_task unresolved_task;
    struct timer outlier_timer;
    struct timer cleanup_timer; /* ORIGINAL_DST: hosts that nobody used */
    uint32_t held;              /* hosts alive, configured or not */
    bool is_removed;
    bool is_service_known;
    metrics_id service;
};

struct upstream_host {
    struct upstream_cluster *cluster;
    struct upstream_host_info info;
    struct resource *pin;        /* the endpoints resource that info.endpoint lies in */
    struct str identity;         /* own memory; empty: none of its own */
    struct tls_session *session; /* of the last TLS connection; NULL before the first */
    uint32_t weight;
    uint32_t ref_count; /* membership, links, attempts, logs */
    uint32_t active;    /* attempts that count for least-request */
    bool is_member;     /* in cluster->hosts */
    bool is_peer_known;
    bool is_tunnel_refused;     /* the last time, where one was offered */
    bool is_tunnel_misdirected; /* it knows its address by another name: none is offered */
    metrics_id peer;
    /* Connections. */
    struct list links;
    uint32_t links_connecting;
    struct list pending; /* attempts that wait for a connection of this host */
    uint32_t pending_count;
    struct turn_task pump_task;
    uint64_t transport; /* how it is reached now */
    /* Outlier detection. */
    struct host_share *share; /* NULL: it has not failed yet */
    bool is_ejected;          /* as of the cluster's seen_generation */
    uint64_t used_us;
};

/* What a connection is made for, and who may use it. */
enum link_kind {
    LINK_HTTP1,
    LINK_HTTP2,
    LINK_ALPN,   /* HTTP, by what the handshake agrees on */
    LINK_TCP,    /* bytes, one tunnel that ends here */
    LINK_TUNNEL, /* the same as streams of HTTP/2, or one alone, by what the handshake agrees on */
    LINK_KINDS,
};

/* One connection to a host. */
struct upstream_link {
    struct list link;
    enum link_kind kind;
    struct upstream_host *host; /* held */
    struct conn *conn;          /* while connecting; then the client's */
    struct http_client *client; /* NULL while connecting */
    struct http_client_config client_config;
    enum http_version version; /* HTTP_UNKNOWN: ALPN decides, not open yet */
    uint64_t tls_generation;
    uint64_t transport;             /* link_transport of when it was opened */
    struct upstream_caller *caller; /* whom alone it is for; own memory, NULL: anybody */
    struct timer timer;             /* connect and handshake together */
    bool is_draining;
    bool must_drain; /* after those who waited for it were served */
    int timeout_err;
};

/* upstream.c */
void upstream_free_if_unused(struct upstream *u);

/* cluster.c */
struct upstream_cluster *cluster_new(struct upstream *u, struct str name);
void cluster_set_config(struct upstream_cluster *c, struct resource *r);
void cluster_set_endpoints(struct upstream_cluster *c, struct resource *r);
void cluster_remove(struct upstream_cluster *c);
/* A connection slot that another worker gave back, for whoever waits here. */
void cluster_grant_connection(struct upstream_cluster *c);
struct str cluster_endpoints_name(const struct upstream_cluster *c);
void cluster_free_if_unused(struct upstream_cluster *c);
/* The host of an address for ORIGINAL_DST, made on demand. */
struct upstream_host *cluster_original_host(struct upstream_cluster *c, const struct addr *dst,
                                            struct str identity);

/* dns_cluster.c */
void dns_set_config(struct upstream_cluster *c); /* starts looking up; takes over what is known */
void dns_stop(struct upstream_cluster *c);
bool dns_is_known(const struct upstream_cluster *c); /* every name was told or given up once */
/* The addresses of endpoint i of the configuration. */
size_t dns_addrs(const struct upstream_cluster *c, size_t i, struct addr *ret_addrs, size_t max);

/* tcp.c */
void tcp_resolved(struct list *link);

/* host.c */
struct upstream_host *host_new(struct upstream_cluster *c, const struct addr *address,
                               struct str identity);
void host_set_endpoint(struct upstream_host *h, const struct endpoint *e, struct resource *pin);
/* No longer part of the cluster: idle connections end, busy ones after their last stream. */
void host_leave(struct upstream_host *h);
bool host_is_usable(const struct upstream_host *h);

/* pool.c */
/* The attempt gets a stream, at once when a connection has room (on_ready comes inside the call).
 */
void pool_begin(struct upstream_host *h, struct upstream_attempt *a);
/* A connection that was full takes streams again. */
void pool_room_grew(struct upstream_link *l);
void pool_pump(struct upstream_host *h);
/* A connection could not be made: those who wait for one of the kind fail, but for as many as the
 * ones that are still being made will serve; all go on when one has room. */
void pool_fail_excess(struct upstream_host *h, enum link_kind kind,
                      const struct upstream_caller *caller, const struct outcome *why);
void pool_drain(struct upstream_host *h, uint64_t before_generation);
void pool_abort(struct upstream_host *h);
/* Configuration may have changed how the host is reached: connections made otherwise (in clear, to
 * other names) take no new streams. */
void pool_transport_changed(struct upstream_host *h);
void pool_limits_changed(struct upstream_host *h);

/* link.c */
/* caller: NULL where the host is told of none. */
int link_open(struct upstream_host *h, enum link_kind kind, const struct upstream_caller *caller,
              struct outcome *ret_why);
/* Whether connections are told apart by callers. */
bool link_is_told_callers(const struct upstream_host *h);
struct upstream_caller link_caller(const struct downstream_info *info);
/* NULL is nobody, and only that. */
bool link_is_same_caller(const struct upstream_caller *a, const struct upstream_caller *b);
/* Digest of what a connection to the host must be like: TLS or not, its secrets and names, the
 * source address. */
uint64_t link_transport(const struct upstream_host *h);
/* The hop offers HTTP/2 by ALPN (all of the mesh do): what is agreed on there is what is spoken,
 * whatever the application behind speaks. */
bool link_is_by_alpn(const struct upstream_host *h);
/* The hop offers to carry connections as streams of a shared one. */
bool link_offers_tunnel(const struct upstream_host *h);
/* Connects to a host with its TLS, which offers tunnels to LINK_TUNNEL only; -ERR_X and why without
 * a connection. */
struct link_request {
    struct upstream_host *host;
    enum link_kind kind;
    const struct upstream_caller *caller; /* NULL: nobody's */
    const struct conn_handler *handler;
    void *ctx;
};
int link_connect(const struct link_request *request, struct outcome *ret_why,
                 struct conn **ret_conn);
/* Counts what its handshake was like; called when it opens. */
void link_note_open(struct upstream_host *h, const struct conn *c);
/* What the cluster's configuration says of a connection, also of one that is open already. */
void link_set_limits(struct upstream_link *l);
/* How a connection that never opened failed, for logs and retries. */
struct outcome link_failure(const struct conn *c, int err);

/* attempt.c */
void attempt_fail_later(struct upstream_attempt *a, const struct outcome *why);

/* breaker.c */
enum breaker_result { BREAKER_OK, BREAKER_WAIT, BREAKER_OVERFLOW };
enum breaker_result breaker_begin(struct upstream_cluster *c, struct upstream_attempt *a);
void breaker_end(struct upstream_cluster *c, struct upstream_attempt *a);
/* True: a slot was taken. */
bool breaker_take_connection(struct upstream_cluster *c);
void breaker_give_connection(struct upstream_cluster *c);
/* An attempt was put among the waiting. */
void breaker_wait(struct upstream_cluster *c);

/* outlier.c */
/* The cluster's settings were replaced. */
void outlier_config_changed(struct upstream_cluster *c);
void outlier_init(struct upstream_cluster *c);
void outlier_deinit(struct upstream_cluster *c);
/* Takes over what other workers found out. */
void outlier_look(struct upstream_cluster *c);
void outlier_result(struct upstream_host *h, unsigned status);
void outlier_forget(struct upstream_host *h);
/* Hosts went: who is out beyond the share that may be comes back. */
void outlier_members_changed(struct upstream_cluster *c);

/* lb.c */
/* NULL: none is eligible. avoid: hosts to be passed over while others exist. */
/* hash: of what ties the request to a host; NULL: nothing does. */
struct upstream_host *lb_pick(struct upstream_cluster *c, const uint64_t *hash,
                              struct upstream_host *const *avoid, size_t avoid_count);
void lb_invalidate(struct upstream_cluster *c);
