/* Delivery: xDS streams of proxies, what each should have, has, and refused.
 *
 * A stream authenticates by its client certificate (SPIFFE id), names its workload in the node
 * metadata, and gets only what that identity may have. Changed facts mark subscriptions dirty; a
 * stream's dirty set drains when its socket has room; a slow proxy skips intermediate versions.
 * Content hashes decide: what a proxy already has is not sent again, not after a restart either.
 *
 * Owner and thread: the brain. Connections are held by the edges (edge*.c), on threads of their
 * own; subscriptions (push*.c) are the brain's. Between them only mail. */
#pragma once

#include "codec/json_writer.h"
#include "control/ca/ca.h"
#include "control/registry/registry.h"
#include "control/translate/translate.h"
#include "io/conn.h"
#include "io/turn.h"

struct push;
struct push_waiter;

struct push_args {
    struct turn *turn;
    struct store *store;
    struct registry *registry;
    struct translate *translate;
    struct ca *ca;
};

struct push *push_new(const struct push_args *args);
/* All connections must be closed or are aborted; the turn has to run once more to free them. */
struct push *push_free(struct push *p);
/* Listens for gRPC over mTLS: xDS, delta and state of the world, aggregated and by type (listeners,
 * routes, clusters, endpoints, secrets), and tulle.mesh.v1.Agent/Report (client certificate);
 * IstioCertificateService/CreateCertificate (client certificate, or join token);
 * tulle.mesh.v1.Agent/Roots (anybody: the roots as PEM). Accepts nobody before push_serve.
 * thread_count: of the edges; 0: by the number of processors. */
enum { PUSH_EDGES_MAX = 16 };
int push_listen(struct push *p, const struct addr *at, unsigned thread_count, struct str_buf *why);
/* The same without TLS at a unix socket, for root and the user of this process, who could have the
 * CA's key as well: a call says by the header x-tulle-identity whose SPIFFE id it stands for.
 * After push_listen, before push_serve. */
int push_listen_local(struct push *p, struct str path, struct str_buf *why);
/* Starts the threads of the edges: whatever a process gives up (rights, system calls) has to be
 * given up before. 0 without push_listen. */
int push_serve(struct push *p);
/* Where it listens, with the port that the kernel chose. */
const struct addr *push_addr(const struct push *p);
/* Changed facts of registry; call from registry_watch. */
void push_fact_changed(struct push *p, struct str fact);
/* The CA's roots, or which of them signs, changed: tells the proxies, and shows another certificate
 * itself. */
void push_roots_changed(struct push *p);
/* The certificate that xDS is served with; borrowed, NULL: not listening. */
struct cert *push_own_leaf(const struct push *p);
/* What is known of a replica's certificates. */
struct push_certs {
    const struct registry_replica *replica;
    bool is_connected;
    bool is_trusting;     /* it runs the present bundle of roots: acknowledged, not only sent */
    bool is_leaf_renewed; /* the leaf that it runs was signed by the root that signs at present */
    struct str root;      /* id of the root that signed its leaf; empty: not known */
    uint64_t not_after_s; /* of that leaf; 0: not known */
    const char *why_not;  /* trusting or renewed; NULL: both */
};
void push_each_certs(struct push *p, void (*each)(void *ctx, const struct push_certs *c),
                     void *ctx);

/* An identity was revoked (registry_revoke, before): its replicas are gone for everybody at once;
 * its own streams end a little later, so that its sidecars hear that they let nobody in. */
void push_revoked(struct push *p, struct str identity);
/* It may come back (registry_restore, before). */
void push_restored(struct push *p, struct str identity);

/* Leases and bypasses: ends those that are over, and wakes when the next one is. After
 * registry_bypass_begin. */
void push_expire_soon(struct push *p);

/* The supervisor saw this sidecar die: no lease for it. False: no such replica. */
bool push_replica_gone(struct push *p, struct str namespace_, struct str workload, uint32_t index);

/* apply --wait: all proxies whose bytes change by revisions up to `revision` run them, or refused.
 * done comes once, from the run list or a timer; ms since the commit. */
struct push_wait_result {
    unsigned proxies, acked, nacked;
    uint64_t ms;
    bool is_timed_out;
    struct str nacks_json;   /* array of {"proxy","type","reason"}; borrowed for the call */
    struct str lagging_json; /* array of the names of proxies that have not answered; likewise */
};
typedef void push_wait_fn(void *ctx, const struct push_wait_result *r);
/* Starts measuring: call right after store_commit with its revision. */
void push_committed(struct push *p, uint64_t revision);
struct push_waiter *push_wait(struct push *p, uint64_t revision, uint64_t timeout_us,
                              push_wait_fn *done, void *ctx);
/* Before done has come, which then does not. */
void push_wait_cancel(struct push_waiter *w);

/* For status: members of an object: "proxies" (what each replica runs, what it should, since when,
 * why not) and counters. Asks translate for what proxies were not sent yet. */
struct push_status_query {
    struct str namespace_, workload; /* only these; empty: any */
    bool is_detailed;                /* versions by type, too */
};
void push_render_status(struct push *p, const struct push_status_query *query,
                        struct json_writer *to);
/* Prometheus text. */
void push_render_metrics(struct push *p, struct str_buf *to);
uint64_t push_bytes_sent(const struct push *p);
