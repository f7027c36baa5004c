/* The directory: a resource per namespace with all that a proxy must know of every service before
 * it uses it; about 150 bytes a port, its encoded message among them. It answers DNS and
 * original-destination look-ups and tells mesh from non-mesh. tulle.mesh.v1.Directory. */
#pragma once

#include "base/arena.h"
#include "mesh/model/common.h"

enum service_protocol {
    PROTOCOL_AUTO, /* one look at the first bytes */
    PROTOCOL_HTTP,
    PROTOCOL_HTTP2,
    PROTOCOL_GRPC,
    PROTOCOL_TCP,
    PROTOCOL_TLS,
};

struct directory_port {
    uint16_t port;
    enum service_protocol protocol;
};

struct directory_service {
    struct str host;             /* "catalog.shop.svc.cluster.local", lower case */
    struct ip_addr addresses[2]; /* v4, v6 virtual addresses; family 0: none */
    uint32_t port_count;
    const struct directory_port *ports;
};

/* A replica of the mesh by its own address: called directly, it is reached by mTLS with its
 * identity, without VirtualService. */
struct directory_workload {
    struct ip_addr addresses[2];
    struct str identity; /* "spiffe://..." */
    struct str name, namespace_, app, version;
    bool is_mtls;                /* speaks mTLS (has a sidecar, not DISABLE) */
    const uint16_t *clear_ports; /* which its sidecar does not capture: nobody speaks mTLS there */
    size_t clear_port_count;
};

struct directory {
    struct str namespace_;
    struct str dns_suffix;             /* "svc.cluster.local" */
    const struct cidr *address_ranges; /* ranges that belong to the mesh: unassigned is refused */
    size_t address_range_count;
    bool is_registry_only; /* outboundTrafficPolicy REGISTRY_ONLY */
    const struct directory_service *services;
    size_t service_count;
    const struct directory_workload *workloads;
    size_t workload_count;
    /* Filled by directory_index: an open hash table of hosts and addresses. */
    const uint32_t *slots;
    uint32_t slot_count;
};

/* Makes the table of what is looked up below. Whoever makes a directory that is looked up in calls
 * it when all else is there; services and workloads must not change or move afterwards. */
void directory_index(struct directory *d, struct arena *a);
/* NULL when there is none; host in lower case. */
const struct directory_service *directory_find_host(const struct directory *d, struct str host);
/* Sets one of the two, or neither: a service has its address before any workload. */
void directory_find_ip(const struct directory *d, const struct ip_addr *ip,
                       const struct directory_service **ret_service,
                       const struct directory_workload **ret_workload);

/* Names of the detail of a service port, in this order of types: all predictable. */
/* "catalog.shop.svc.cluster.local:8080" */
struct str directory_detail_name(struct arena *a, struct str host, uint16_t port);
