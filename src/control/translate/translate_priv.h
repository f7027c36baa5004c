/* Inside control/translate/ only: what the output functions share.
 *
 * An output function reads documents and the registry through the note_* readers, which record the
 * fact, and builds a model struct in the scratch arena. */
#pragma once

#include "base/map.h"
#include "base/vec.h"
#include "control/api/authorization_policy.h"
#include "control/api/destination_rule.h"
#include "control/api/peer_authentication.h"
#include "control/api/virtual_service.h"
#include "control/translate/translate.h"
#include "mesh/model/cluster.h"
#include "mesh/model/directory.h"
#include "mesh/model/listener.h"
#include "mesh/model/route.h"
#include "mesh/model/secret.h"

/* What capture tells a proxy's own connections by (host/README.md). tulle-proxy knows them. */
enum { TRANSLATE_MARK_PEERS = 0x539, TRANSLATE_MARK_APP = 0x53a };

/* One run of an output function. */
struct job {
    struct translate *t;
    struct registry *r;
    const struct translate_viewer *viewer;
    struct arena *a;       /* scratch: gone when the output is encoded */
    VEC(struct str) facts; /* read so far, in the arena */
    struct str_buf *error;
};

void job_note(struct job *j, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const struct api_mesh *job_mesh(struct job *j);
/* By full host name; NULL: no such service. */
const struct registry_service *job_service(struct job *j, struct str host);
/* The Workload document of the viewer; NULL: deleted. */
const struct api_document *job_workload(struct job *j);
/* The DestinationRule of a host for this viewer; NULL: none. */
const struct api_document *job_rule(struct job *j, struct str host);
/* The VirtualService of a host; NULL: none. */
const struct api_document *job_routes(struct job *j, struct str host);
struct registry_docs job_docs(struct job *j, enum api_kind kind, struct str namespace_);

/* --- names.c --- */

struct output_name {
    struct str host; /* empty: none of ours */
    uint16_t port;
    struct str subset; /* empty: all endpoints */
    bool is_tcp;
};
bool name_parse(struct str text, struct output_name *ret_name);
struct str name_format(struct arena *a, struct str host, uint16_t port, struct str subset,
                       bool is_tcp);
struct str name_inbound(struct arena *a, uint16_t port, enum api_protocol protocol);
bool name_parse_inbound(struct str text, uint16_t *ret_port, enum api_protocol *ret_protocol);
bool name_is_namespace(struct str text);
/* One of the two clusters of what is nobody's. */
bool name_is_nobodys(struct str text);
/* Whether a resource of this type could ever have the name. */
bool name_is_possible(enum resource_type type, struct str text);

/* --- view.c --- */

/* What of the viewer an output depends on. */
enum view_scope { VIEW_ALL, VIEW_NAMESPACE, VIEW_WORKLOAD };
enum view_scope view_scope(const struct registry *r, enum resource_type type, struct str name);

/* --- mtls.c --- */

/* What a workload's port demands: port, workload, namespace, mesh; PERMISSIVE at last. */
enum api_mtls_mode mtls_mode(struct job *j, const struct api_document *workload, uint16_t port);
/* ...and which PeerAuthentication says so: of that port, or (0) of all; untouched when none does.
 */
struct mtls_source {
    const struct api_document *doc;
    uint16_t port;
};
enum api_mtls_mode mtls_mode_from(struct job *j, const struct api_document *workload, uint16_t port,
                                  struct mtls_source *source);
/* Ports that policies of the workload speak of by number, listed by it or not. */
void mtls_ports(struct job *j, const struct api_document *workload,
                void (*each)(void *ctx, uint16_t port), void *ctx);

/* --- policy.c --- */

struct rbac_pair {
    const struct rbac *deny, *allow; /* NULL: none in force */
};
struct rbac_pair policy_for(struct job *j, const struct api_document *workload, bool is_tcp);

/* Denies whoever is revoked; a workload that is revoked itself lets nobody in. NULL: nobody is. */
const struct rbac *policy_revoked(struct job *j, const struct api_document *workload);

/* --- tls.c --- */

#define TLS_SECRET_OWN "default"
#define TLS_SECRET_ROOTS TRANSLATE_ROOTS

/* What goes over it: of HTTP the version matters to others than Tulle proxies only; TLS_TCP_ALONE:
 * each connection by itself. */
enum tls_use { TLS_HTTP1, TLS_HTTP2, TLS_TCP, TLS_TCP_ALONE };
const struct downstream_tls *tls_inbound(struct job *j, bool is_http, bool is_tcp);
const struct upstream_tls *tls_outbound(struct job *j, const struct output_name *n,
                                        enum tls_use use, const struct api_client_tls *rule);

/* --- destination.c --- */

/* The cluster that a destination of a document in `namespace_` means, for a call to `port`. */
struct str destination_cluster(struct job *j, const struct api_destination *d,
                               struct str namespace_, uint16_t port, bool is_tcp);
const struct weighted_cluster *destination_weighted(struct job *j,
                                                    const struct api_weighted_destination *d,
                                                    size_t count, struct str namespace_,
                                                    uint16_t port, bool is_tcp, size_t *ret_count);
struct header_edits destination_edits(struct job *j, const struct api_labels *set,
                                      const struct api_labels *add, const struct api_strs *remove);

/* --- outputs: NULL: does not exist --- */

const struct directory *output_directory(struct job *j, struct str name);
const struct listener *output_inbound(struct job *j);
const struct listener *output_outbound(struct job *j); /* NULL in Tulle's dialect */
const struct listener *output_service_listener(struct job *j, struct str name);
const struct route_config *output_route(struct job *j, struct str name);
const struct cluster *output_cluster(struct job *j, struct str name);
const struct endpoints *output_endpoints(struct job *j, struct str name);
const struct secret *output_roots(struct job *j);

/* scope.c: names of all that a proxy without a directory gets. */
void scope_listeners(struct registry *r, void (*each)(void *ctx, struct str name), void *ctx);
void scope_clusters(struct registry *r, const struct translate_viewer *v,
                    void (*each)(void *ctx, struct str name), void *ctx);
/* Addresses that the registry gives out: what is not assigned there is refused, never let out. */
const struct cidr *mesh_ranges(struct job *j, size_t *ret_count);
static inline bool job_is_envoy(const struct job *j)
{
    return j->viewer->dialect == XDS_DIALECT_ENVOY;
}

/* grpc.c: clients of gRPC, which have no proxy. */
static inline bool job_is_grpc(const struct job *j)
{
    return j->viewer->dialect == XDS_DIALECT_GRPC;
}
/* What they cannot do with a call (a redirect, an answer) ends it: a cluster that has no endpoints,
 * and those. They have no action for that which all of them bear. */
const struct cluster *grpc_nowhere(struct job *j);
const struct endpoints *grpc_nowhere_endpoints(struct job *j);
/* Whether a call of a client of `name` (HOST:PORT) can meet the match, as far as that does not
 * depend on the call: its method, its authority. */
bool grpc_can_meet(struct str name, const struct api_http_match *m);
/* output_endpoints.c: TLS is a cluster's there, not an endpoint's. It is spoken unless no endpoint
 * does; those that do not are left out then. */
bool endpoints_speak_tls(struct job *j, const struct output_name *n);

/* access_log.c */
const struct access_log_config *access_logs(struct job *j, size_t *ret_count);
/* The HTTP connection manager's settings that inbound and outbound share. */
void hcm_defaults(struct job *j, struct hcm *hcm);
