/* Envoy in place of our workers: started beside the agent, once that has a certificate, by a
 * bootstrap that leads it to the same control plane. It gets its configuration and its mesh
 * certificates from there; towards there it proves itself by the agent's key and leaf, which it
 * reads from the state directory whenever they are replaced.
 *
 * Ready once it accepts inbound connections: its listener opens when all that it needs is there.
 * Lifetime: the agent's; one that ends is started again. Thread: the main thread's. */
#pragma once

#include "codec/json_writer.h"
#include "io/addr.h"
#include "io/turn.h"

struct envoy;

struct envoy_args {
    struct turn *turn;
    const char *program;
    struct str state_dir; /* strings stay for the life of it */
    struct str node_id, node_cluster, namespace_, workload, addresses;
    unsigned index;
    struct addr discovery;
    struct str server_name;
    uint32_t mark, mark_app;      /* of connections to the control plane; to itself */
    void (*on_change)(void *ctx); /* it is ready now, or no longer */
    void *ctx;
};

struct envoy *envoy_new(const struct envoy_args *args);
/* Ends it: SIGTERM, and SIGKILL after a second. */
struct envoy *envoy_free(struct envoy *e);
/* The files of the certificate are there; later calls say nothing new. */
void envoy_start(struct envoy *e);
bool envoy_is_ready(const struct envoy *e, struct str_buf *why_not);

/* envoy_bootstrap.c: its bootstrap, and the files by which it finds the agent's certificate and
 * roots, all in the state directory. */
#define ENVOY_FILE_BOOTSTRAP "envoy.json"
#define ENVOY_FILE_CERTIFICATE "envoy-certificate.json"
#define ENVOY_FILE_ROOTS "envoy-roots.json"
void envoy_bootstrap(const struct envoy_args *args, struct str_buf *to);
void envoy_certificate(const struct envoy_args *args, struct str_buf *to);
void envoy_roots(const struct envoy_args *args, struct str_buf *to);
