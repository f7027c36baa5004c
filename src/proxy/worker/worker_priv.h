/* Inside proxy/worker/ only. */
#pragma once

#include <pthread.h>

#include "proxy/flow/flow.h"
#include "proxy/worker/egress.h"
#include "proxy/worker/worker.h"

struct worker {
    struct worker_args args; /* strings are the caller's and outlive the worker */
    pthread_t thread;
    struct turn *turn;
    struct metrics *metrics;
    struct tls_store *tls;
    struct upstream *upstream;
    struct flows *flow;
    struct egress_client *egress; /* NULL: connections go out by the kernel */
    struct drain *drain;          /* under way; NULL: none */
};

/* apply.c: the mail of a change set, on the worker's thread. */
void apply_mail(struct turn *turn, struct mail *mail);
