/* security.istio.io PeerAuthentication: whether servers demand mutual TLS. */
#pragma once

#include "control/api/value.h"

enum api_mtls_mode { API_MTLS_UNSET, API_MTLS_DISABLE, API_MTLS_PERMISSIVE, API_MTLS_STRICT };

struct api_port_mtls {
    uint16_t port; /* of the workload */
    enum api_mtls_mode mode;
};

/* UNSET inherits: port from workload, workload from namespace, namespace from the Mesh. */
struct api_peer_authentication {
    struct api_selector selector;
    enum api_mtls_mode mode;
    const struct api_port_mtls *ports; /* only with a selector */
    size_t port_count;
};
