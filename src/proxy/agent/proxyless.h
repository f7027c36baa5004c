/* For an app that speaks xDS itself, as clients and servers of gRPC can: in place of the capture of
 * its traffic it finds, in the state directory,
 *
 *   grpc.json      its bootstrap (GRPC_XDS_BOOTSTRAP names it)
 *   xds.sock       the control plane, in clear; our connection there proves who it is
 *   identity/...   key, leaf and roots, which the bootstrap's certificate provider watches
 *
 * Not all clients of gRPC can prove themselves to a control plane by certificate; all can use a
 * socket. Whoever may open it acts as this workload: the directory is its owner's alone.
 * Thread: the main thread's. */
#pragma once

#include "io/addr.h"
#include "mesh/model/resource.h"

#define PROXYLESS_LISTENER "xds"
#define PROXYLESS_FILE_SOCKET "xds.sock"
#define PROXYLESS_FILE_BOOTSTRAP "grpc.json"

struct proxyless_args {
    struct str state_dir, node_id, node_cluster, namespace_, workload, server_name;
    unsigned index;
    struct addr discovery;
};

enum { PROXYLESS_COUNT = 2 };
/* The socket, and the way from there to the control plane. References are the caller's. */
void proxyless_resources(const struct proxyless_args *args,
                         struct resource *ret_resources[PROXYLESS_COUNT]);
void proxyless_bootstrap(const struct proxyless_args *args, struct str_buf *to);
/* Writes it into the state directory. */
int proxyless_write(const struct proxyless_args *args);
