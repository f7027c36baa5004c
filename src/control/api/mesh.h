/* tulle.dev/v1 Mesh: the one document that sets the mesh's defaults. Without one,
 * api_mesh_default() holds. */
#pragma once

#include "control/api/peer_authentication.h"

enum api_outbound_mode { API_OUTBOUND_ALLOW_ANY, API_OUTBOUND_REGISTRY_ONLY };

enum api_access_log_format { API_ACCESS_LOG_TEXT, API_ACCESS_LOG_JSON };

/* As Istio's MeshConfig.pathNormalization. */
enum api_path_normalization {
    API_PATHS_BASE, /* RFC 3986, back-slashes become slashes */
    API_PATHS_NONE,
    API_PATHS_MERGE_SLASHES,            /* BASE, and "//" becomes "/" */
    API_PATHS_DECODE_AND_MERGE_SLASHES, /* MERGE_SLASHES, after %2F and %5C were decoded */
};

struct api_mesh {
    struct str trust_domain; /* "cluster.local" by default */
    struct api_place trust_domain_place;
    enum api_mtls_mode mtls_mode; /* UNSET means PERMISSIVE */
    enum api_outbound_mode outbound_mode;
    bool is_access_log_enabled; /* true by default */
    enum api_access_log_format access_log_format;
    enum api_path_normalization path_normalization;
    uint64_t leaf_lifetime_ms; /* of workload certificates; 24 h by default, 5 s to 90 d */
};

enum { API_LEAF_LIFETIME_MS_MIN = 5 * 1000 };
#define API_LEAF_LIFETIME_MS_MAX (90ull * 24 * 3600 * 1000) /* what the signer signs */

const struct api_mesh *api_mesh_default(void);
