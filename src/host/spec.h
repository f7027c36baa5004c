/* What a mesh in a box is to run: the workloads, plain and checked, without any document type.
 *
 * Lifetime: everything lives in the arena of the spec's maker and stays for the life of the
 * supervisor. Thread: immutable once built. */
#pragma once

#include "base/arena.h"
#include "base/vec.h"

enum box_ready_kind { BOX_READY_NONE, BOX_READY_HTTP, BOX_READY_TCP, BOX_READY_EXEC };

struct box_ready {
    enum box_ready_kind kind;
    uint16_t port;
    const char *path;     /* HTTP */
    const char **command; /* EXEC, NULL-terminated */
};

/* What capture leaves alone; ranges are "10.0.0.0/8" or "fd00::/8", checked by the maker. */
struct box_capture {
    const uint16_t *exclude_inbound_ports, *exclude_outbound_ports;
    size_t exclude_inbound_count, exclude_outbound_count;
    const char **exclude_outbound_ranges;
    size_t exclude_ranges_count;
};

struct box_workload {
    const char *name, *namespace, *service_account;
    const char *folder;   /* where run.command starts */
    const char **command; /* NULL-terminated; NULL: started by hand through `tulle exec` */
    const char **env;     /* "NAME=value", NULL-terminated; may be NULL */
    uint32_t replicas;
    uint16_t first_port; /* probed by a TCP connection when `ready` says nothing; 0: none */
    struct box_ready ready;
    struct box_capture capture;
    bool is_envoy; /* its sidecar's data plane is Envoy */
};

enum {
    BOX_NAME_LEN_MAX = 32,     /* of a mesh: part of socket paths */
    BOX_REPLICAS_MAX = 1000,   /* of a mesh */
    BOX_SOCKET_PATH_MAX = 107, /* sun_path */
};

struct box_spec {
    const char *name; /* of the mesh */
    const char *dir;  /* absolute; shown to people */
    const char *trust_domain;
    VEC(struct box_workload) workloads;
};

/* Lower-case letters, digits, '-' and '_', starting with a letter or digit. */
bool box_name_is_valid(const char *name);
