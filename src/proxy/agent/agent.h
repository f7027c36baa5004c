/* The main thread of a proxy: configuration, identity, control plane, DNS and admin; the workers
 * serve. Nothing here blocks or takes longer than 2 ms at a time.
 *
 * Two ways to run: from a bootstrap file of Envoy's form, or as the sidecar of a mesh workload.
 * Lifetime and thread: agent_run is called once, by main, and returns the exit status. */
#pragma once

#include "base/limits.h"

struct agent_args {
    struct limits limits;
    unsigned worker_count;
    const char *bootstrap_file; /* NULL: a sidecar, by what follows */
    bool may_ignore_fields;     /* of that file, which we do not have */

    const char *state_dir, *root_cert_file, *token_file, *egress_socket; /* the last may be NULL */
    const char *envoy;    /* the program that serves in our place; NULL: our own workers */
    bool is_proxyless;    /* the app speaks xDS itself: nothing of it is captured (proxyless.h) */
    struct str discovery; /* "HOST:PORT", numeric */
    struct str workload, namespace_, service_account, trust_domain, app, version;
    unsigned index;
    struct str addresses; /* "IP4[,IP6]" */
    bool is_unconfined;   /* keeps the rights that it was started with */
    bool is_app_ready;    /* nobody probes the app: it is taken as ready from the start */
};

int agent_run(const struct agent_args *args);
