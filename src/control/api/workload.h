/* tulle.dev/v1 Workload: what runs: labels, identity, ports, and for `tulle up` how to run it. On
 * a VM the same document is what its sidecar registers as. */
#pragma once

#include "control/api/value.h"

struct api_workload_port {
    struct api_place place;
    struct str name; /* unique in the workload */
    uint16_t port;
    enum api_protocol protocol; /* from the name */
};

enum api_ready_kind { API_READY_NONE, API_READY_HTTP, API_READY_TCP, API_READY_EXEC };

struct api_workload_ready {
    enum api_ready_kind kind;
    uint16_t port;           /* HTTP, TCP */
    struct str path;         /* HTTP; "/" by default */
    struct api_strs command; /* EXEC */
};

struct api_workload_run {
    struct api_strs command; /* at least the program; starts in the folder of its document */
    struct api_labels env;
    struct api_workload_ready ready;
};

struct api_workload_capture {
    struct api_ports exclude_inbound_ports, exclude_outbound_ports;
    struct api_strs exclude_outbound_ranges; /* CIDR, checked */
};

/* Which program is its sidecar. */
enum api_proxy { API_PROXY_TULLE, API_PROXY_ENVOY };

struct api_workload {
    struct str service_account; /* "default" by default */
    struct api_place service_account_place;
    uint32_t replicas; /* 1 by default, 0 is allowed */
    const struct api_workload_port *ports;
    size_t port_count;
    const struct api_workload_run *run; /* NULL: started by hand */
    struct api_workload_capture capture;
    enum api_proxy proxy;
};

enum { API_WORKLOAD_REPLICAS_MAX = 1000 };

/* The port's number by name; 0 when there is none. */
uint16_t api_workload_find_port(const struct api_workload *w, struct str name);
