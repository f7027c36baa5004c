/* v1 Service: a name, its ports, and the workloads that serve it. Kubernetes' fields; headless
 * services and node ports are not built yet. */
#pragma once

#include "control/api/value.h"

struct api_document;

struct api_service_port {
    struct api_place place;
    struct str name; /* may be empty when it is the only port */
    uint16_t port;
    uint16_t target_port;        /* 0 when it is named */
    struct str target_port_name; /* a port of the workload; empty when it is a number */
    enum api_protocol protocol;  /* from appProtocol, else from the name */
};

struct api_service {
    struct api_labels selector; /* empty: nobody serves it */
    const struct api_service_port *ports;
    size_t port_count; /* at least 1 */
};

/* The port with this number; NULL when there is none. */
const struct api_service_port *api_service_find_port(const struct api_service *s, uint16_t port);
