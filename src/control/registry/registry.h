/* The registry: which services and workloads there are, where, and who of them lives.
 *
 * Documents come from the store; replicas come and go as their sidecars connect, become ready,
 * drain, die. Virtual addresses of services are allocated once and persisted, so that they are
 * stable over restarts and over deletion and re-creation.
 *
 * Every fact has a key: a reader (translate) notes the keys of what it reads, and the registry
 * tells which have changed, after the change.
 *
 * Owner and thread: the brain. */
#pragma once

#include "codec/ip.h"
#include "control/api/check.h"
#include "control/api/document.h"
#include "control/api/mesh.h"
#include "control/api/service.h"
#include "control/api/workload.h"
#include "control/store/store.h"

struct registry;

/* Facts that change, as text, so that a dependency is a string:
 *   mesh                  the Mesh document
 *   namespaces            which namespaces have services or workloads
 *   services/NS           which services a namespace has, their ports and addresses
 *   service/NS/NAME       one service
 *   endpoints/NS/NAME     the ready replicas of a service
 *   replicas/NS           the replicas of a namespace and their addresses
 *   workload/NS/NAME      one Workload document
 *   routes/HOST           VirtualServices for a full host name
 *   rules/HOST            DestinationRules for a full host name
 *   docs/KIND/NS          documents of another kind in a namespace
 *   roots                 the roots that the mesh trusts
 *   revoked               which identities are kept out
 */
typedef void registry_changed_fn(void *ctx, struct str fact);

struct registry *registry_new(struct store *s, struct str_buf *why);
struct registry *registry_free(struct registry *r);
void registry_watch(struct registry *r, registry_changed_fn *changed, void *ctx);

/* The mesh's defaults: its document, or api_mesh_default(). */
const struct api_mesh *registry_mesh(const struct registry *r);

/* The roots that the mesh trusts, PEM: told by who has the CA, copied; empty: nobody has. */
void registry_set_roots(struct registry *r, struct str pem);
struct str registry_roots(const struct registry *r);

/* All documents of a kind, sorted by namespace and name (namespace empty: all); borrowed until the
 * next change. */
struct registry_docs {
    struct api_document *const *ptr;
    size_t len;
};
struct registry_docs registry_docs(const struct registry *r, enum api_kind kind,
                                   struct str namespace_);
struct api_document *registry_doc(const struct registry *r, enum api_kind kind,
                                  struct str namespace_, struct str name);

/* VirtualServices (DestinationRules) that name this host, oldest first; -> each(ctx, doc). */
void registry_routes(const struct registry *r, struct str host,
                     void (*each)(void *ctx, const struct api_document *d), void *ctx);
void registry_rules(const struct registry *r, struct str host,
                    void (*each)(void *ctx, const struct api_document *d), void *ctx);

/* VirtualServices and DestinationRules that speak of another namespace, or of a host that is in
 * none (control/api/references.h); -> each(ctx, doc), some of them more than once. */
void registry_users(const struct registry *r, struct str place,
                    void (*each)(void *ctx, const struct api_document *d), void *ctx);

#define REGISTRY_ROOT_NAMESPACE API_ROOT_NAMESPACE

/* --- identities that are kept out (revoked.c): in the store's table "revoked" --- */

/* note: when, by whom; for people. 0 or the store's error. Again is no harm. */
int registry_revoke(struct registry *r, struct str identity, struct str note);
/* -ERR_NOT_FOUND: it was not. */
int registry_restore(struct registry *r, struct str identity);
bool registry_is_revoked(const struct registry *r, struct str identity);
void registry_each_revoked(const struct registry *r,
                           void (*each)(void *ctx, struct str identity, struct str note),
                           void *ctx);

/* --- ways around the mesh for a while (bypass.c): in the store's table "bypass" --- */

enum bypass_sides { BYPASS_INBOUND = 1, BYPASS_OUTBOUND = 2, BYPASS_BOTH = 3 };

struct registry_bypass {
    struct str namespace_, workload;
    uint16_t port;     /* 0: all */
    unsigned sides;    /* enum bypass_sides */
    uint64_t until_ms; /* since 1970 */
    struct str note;   /* since when, by whom, why; for people */
};

/* In place of one of the same workload and port. 0, -ERR_LIMIT, or the store's error. While there
 * is one, the workload's replicas outlive their leases: it is there because their sidecars are not.
 */
int registry_bypass_begin(struct registry *r, const struct registry_bypass *b);
/* -ERR_NOT_FOUND: there is none. */
int registry_bypass_end(struct registry *r, struct str namespace_, struct str workload,
                        uint16_t port);
/* Ends those whose time is over; when to call again (UINT64_MAX: never), by the same clock. */
uint64_t registry_bypass_expire(struct registry *r, uint64_t now_ms);
/* Whether an inbound port of the workload is reached past its sidecar, in clear. */
bool registry_is_bypassed(const struct registry *r, struct str namespace_, struct str workload,
                          uint16_t port);
void registry_each_bypass(const struct registry *r,
                          void (*each)(void *ctx, const struct registry_bypass *b), void *ctx);

/* --- services --- */

struct registry_service {
    const struct api_document *doc; /* kind Service */
    struct str host;                /* "catalog.shop.svc.cluster.local" */
    struct ip_addr addresses[2];    /* v4 of 240.240.0.0/16, v6 of fd77:7e11::/32 */
};
const struct registry_service *registry_service(const struct registry *r, struct str namespace_,
                                                struct str name);
const struct registry_service *registry_service_by_host(const struct registry *r, struct str host);
void registry_services(const struct registry *r, struct str namespace_,
                       void (*each)(void *ctx, const struct registry_service *s), void *ctx);
/* Namespaces that have services or workloads. */
void registry_namespaces(const struct registry *r, void (*each)(void *ctx, struct str namespace_),
                         void *ctx);

/* --- replicas --- */

enum replica_state { REPLICA_CONNECTED, REPLICA_READY, REPLICA_DRAINING, REPLICA_GONE };

struct registry_replica {
    struct str namespace_, workload; /* its Workload document's */
    uint32_t index;
    const struct api_document *doc; /* kind Workload; labels and account come from it */
    struct ip_addr addresses[2];
    enum replica_state state;
    struct str identity;     /* "spiffe://..." */
    uint64_t lease_until_us; /* GONE after it; renewed by the stream */
    uint64_t lost_us;        /* its stream ended then; 0: it has one, or never had */
    void *node;              /* push's stream, NULL: not connected */
    bool is_from_store;      /* not seen yet since tulled started */
    bool is_unkept;          /* the store has it otherwise; registry's own, like: */
    size_t at;               /* its place in the list */
};

/* NULL: none. Borrowed until the next change of the registry. */
struct registry_replica *registry_replica(const struct registry *r, struct str namespace_,
                                          struct str workload, uint32_t index);
/* The sidecar of a replica proved its identity and connected from this address. Replicas that
 * lost their stream and had the address before, of whichever workload, are gone. -ERR_NOT_FOUND:
 * there is no such Workload. */
int registry_replica_connect(struct registry *r, struct str namespace_, struct str workload,
                             uint32_t index, const struct ip_addr addresses[2], void *node,
                             struct registry_replica **ret_replica);
void registry_replica_set_state(struct registry *r, struct registry_replica *replica,
                                enum replica_state state);
/* The stream ended (the caller has made sure that `node` is still its stream: another one of the
 * same replica may have taken over): the replica keeps its state until its lease ends (30 s by
 * default; a sidecar that dies in the box is reported at once). Replicas are kept by the store too:
 * a restarted tulled knows them, each for one more lease, so that it ejects nobody. */
void registry_replica_disconnect(struct registry *r, struct registry_replica *replica,
                                 uint64_t now_us);
/* A replica of a bypassed workload that no stream of its own tells of any more: ready, at these
 * addresses. -ERR_NOT_FOUND: there is no such Workload. */
int registry_replica_hold(struct registry *r, struct str namespace_, struct str workload,
                          uint32_t index, const struct ip_addr addresses[2]);
/* Ends leases; returns when to call again (UINT64_MAX: never). Called once after start too. */
uint64_t registry_expire(struct registry *r, uint64_t now_us);
void registry_replicas(const struct registry *r,
                       void (*each)(void *ctx, const struct registry_replica *p), void *ctx);
/* Those of a namespace; those of one Workload; those that have this address. */
void registry_replicas_in(const struct registry *r, struct str namespace_,
                          void (*each)(void *ctx, const struct registry_replica *p), void *ctx);
void registry_replicas_of(const struct registry *r, struct str namespace_, struct str workload,
                          void (*each)(void *ctx, const struct registry_replica *p), void *ctx);
void registry_replicas_at(const struct registry *r, const struct ip_addr *ip,
                          void (*each)(void *ctx, const struct registry_replica *p), void *ctx);
/* What the store is to know of replicas is written by registry_keep, many at a time and without a
 * sync: a crash of tulled loses nothing of it, one of the machine what a sidecar says anew.
 * unkept(ctx) is told when there is something; without it, it is written by registry_free. */
typedef void registry_unkept_fn(void *ctx);
void registry_on_unkept(struct registry *r, registry_unkept_fn *unkept, void *ctx);
void registry_keep(struct registry *r);
/* Ready replicas that a service's selector picks, sorted by address. */
void registry_service_replicas(const struct registry *r, const struct registry_service *s,
                               void (*each)(void *ctx, const struct registry_replica *p),
                               void *ctx);

/* "spiffe://td/ns/NS/sa/SA" of a workload document. */
struct str registry_identity(const struct registry *r, const struct api_document *workload,
                             struct arena *a);
