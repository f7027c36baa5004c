/* Envoy's bootstrap (envoy.config.bootstrap.v3.Bootstrap) in protobuf JSON, our subset: anything
 * else is refused by its path. Main thread, at start. */
#pragma once

#include "mesh/model/cluster.h"
#include "mesh/model/common.h"
#include "mesh/model/resource.h"

/* overload_manager; 0: not said. */
struct overload_limits {
    uint64_t connections_max;              /* of all listeners, beyond which they are refused */
    uint64_t heap_bytes_max;               /* the budget of which the percents are */
    uint32_t accept_percent, shed_percent; /* no connections; no requests */
};

struct bootstrap_source {
    bool is_set;
    struct resource_source source; /* of lds and cds; no cluster: the aggregated stream */
};

struct bootstrap {
    struct arena arena;
    struct str node_id, node_cluster;
    struct str node_metadata_json; /* kept as text */
    struct model_addr admin;       /* family 0, no path: no admin */
    struct resource **resources;   /* static listeners, clusters, secrets; owned */
    size_t resource_count;
    /* dynamic_resources: of all types, of all listeners, of all clusters. */
    struct bootstrap_source ads, lds, cds;
    struct overload_limits overload;
};

int bootstrap_parse(struct str json, struct str_buf *why, struct bootstrap **ret_bootstrap);
/* As Envoy's --allow-unknown-static-fields: what we do not have is passed over and its path noted
 * in ignored, but for what TLS and authorization are made of. NULL: nothing is. */
int bootstrap_parse_tolerant(struct str json, struct str_buf *ignored, struct str_buf *why,
                             struct bootstrap **ret_bootstrap);
struct bootstrap *bootstrap_free(struct bootstrap *b);
