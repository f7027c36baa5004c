/* Documents to model to bytes: what a proxy should run.
 *
 * Pull-based with recorded dependencies: asking for a resource runs its function, which notes every
 * fact it reads (registry's keys); a changed fact marks just those outputs, which are re-run when
 * asked again. Same hash as before: nothing changes for anybody. Outputs are shared by *views*:
 * proxies alike in dialect, and for outputs that depend on who asks, alike in namespace and the
 * labels that documents mention.
 *
 * One file an output: directory, listener_inbound, listener_service, route, cluster, endpoints,
 * policy (RBAC). Pure: no clock, no randomness, no I/O.
 *
 * Owner and thread: the brain. */
#pragma once

#include "control/api/peer_authentication.h"
#include "control/registry/registry.h"
#include "mesh/model/resource.h"
#include "mesh/xds/codec.h"

struct translate;

/* Names of resources:
 *   directory   NS
 *   listener    virtualInbound | HOST:PORT; virtualOutbound
 *   route       HOST:PORT
 *   cluster     HOST:PORT[/SUBSET][|tcp] | inbound|PORT|PROTOCOL; PassthroughCluster,
 *               BlackHoleCluster
 *   endpoints   HOST:PORT[/SUBSET]
 *   secret      ROOTCA, the roots that the mesh trusts
 * What stands behind a semicolon is there in Envoy's dialect only. */
#define TRANSLATE_INBOUND "virtualInbound"
#define TRANSLATE_ROOTS "ROOTCA"
/* Of proxies without a directory: what listens for the app's calls, where those go that are
 * nobody's, and those that must not go anywhere. */
#define TRANSLATE_OUTBOUND "virtualOutbound"
#define TRANSLATE_PASSTHROUGH "PassthroughCluster"
#define TRANSLATE_BLACKHOLE "BlackHoleCluster"
#define TRANSLATE_TCP_SUFFIX "|tcp" /* the same endpoints, spoken to in plain bytes */
/* The endpoints of a cluster of that name, a part of it. False: it has none of its own. */
bool translate_endpoints_of(struct str cluster, struct str *ret_name);

/* Who asks. Strings are borrowed for the call. */
struct translate_viewer {
    enum xds_dialect dialect;
    struct str namespace_, workload; /* of its Workload document */
};

/* One encoded output; immutable, counted atomically, shared by all streams and by the threads that
 * send it. */
struct translate_output {
    _Atomic(uint32_t) ref_count;
    bool is_secret; /* wiped when the last one lets go */
    enum resource_type type;
    struct str name;
    struct str wire;    /* encoded message */
    struct str version; /* hash in hex, 16 digits */
    struct str error;   /* not empty: could not be made; what is wrong in which document */
    struct arena arena;
};
struct translate_output *translate_output_ref(struct translate_output *o);
struct translate_output *translate_output_unref(struct translate_output *o);

struct translate *translate_new(struct registry *r);
struct translate *translate_free(struct translate *t);

/* The resource of this name for this viewer: a reference of the caller's; NULL: does not exist.
 * Cached until a fact that it read changes. The name may be anything, as a proxy sent it; of those
 * that stand for nothing some ten thousand are remembered, so that dirty() tells when they come to
 * be, the rest is not. */
struct translate_output *translate_get(struct translate *t, const struct translate_viewer *v,
                                       enum resource_type type, struct str name);
/* Names that a wildcard subscription of the viewer stands for: directories of all namespaces, its
 * inbound listener and inbound clusters; in Envoy's dialect, which asks for nothing by name, all
 * listeners and clusters of all services instead, some of them more than once. each(ctx, name). */
void translate_names(struct translate *t, const struct translate_viewer *v, enum resource_type type,
                     void (*each)(void *ctx, struct str name), void *ctx);

/* The view of a viewer for an output: equal views share it. In the arena. A change of documents may
 * change it; the output of the old view is told as dirty then. */
struct str translate_view_key(const struct translate *t, const struct translate_viewer *v,
                              enum resource_type type, struct str name, struct arena *a);

/* Which mode of mutual TLS a port of a Workload demands, and who says so: an origin such as
 * "PeerAuthentication/shop/default#mtls" or "Mesh/default#mtls", in the arena; empty: the default.
 * Records no facts: for telling, not for outputs. */
enum api_mtls_mode translate_mtls(struct translate *t, const struct api_document *workload,
                                  uint16_t port, struct arena *a, struct str *ret_origin);

/* A fact changed: calls dirty(ctx, type, name, view) for each output that had read it; the caller
 * asks again for those that somebody subscribes to, from inside the call too. `view` is what
 * translate_view_key gives; outputs that do not depend on the viewer have the empty view. */
typedef void translate_dirty_fn(void *ctx, enum resource_type type, struct str name,
                                struct str view);
void translate_changed(struct translate *t, struct str fact, translate_dirty_fn *dirty, void *ctx);
/* Computes an output that was told as dirty, for whoever asked for it first. True: it is another
 * one than when it was told, or those who had it have another view by now. */
bool translate_refresh(struct translate *t, enum resource_type type, struct str name,
                       struct str view);
/* How many outputs were run since start, for tests and metrics. */
uint64_t translate_runs(const struct translate *t);
