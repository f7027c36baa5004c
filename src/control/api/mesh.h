/* tulle.dev/v1 Mesh: the one document that sets the mesh's defaults. Without one,
 * api_mesh_default() holds. */
#pragma once

#include "control/api/peer_authentication.h"

enum api_outbound_mode { API_OUTBOUND_ALLOW_ANY, API_OUTBOUND_REGISTRY_ONLY };

enum api_access_log_format { API_ACCESS_LOG_TEXT, API_ACCESS_LOG_JSON };

struct api_mesh {
    struct str trust_domain; /* "cluster.local" by default */
    struct api_place trust_domain_place;
    enum api_mtls_mode mtls_mode; /* UNSET means PERMISSIVE */
    enum api_outbound_mode outbound_mode;
    bool is_access_log_enabled; /* true by default */
    enum api_access_log_format access_log_format;
    uint64_t leaf_lifetime_ms; /* of workload certificates; 24 h by default, 5 s at least */
};

enum { API_LEAF_LIFETIME_MS_MIN = 5 * 1000 };

const struct api_mesh *api_mesh_default(void);
