/* A question to a name server over TCP (RFC 7766), when its answer over UDP was cut off: a
 * connection of its own, one question, one answer. Owner: who asks, until it is done or cancelled.
 * Thread: the loop's. */
#pragma once

#include "io/addr.h"
#include "io/turn.h"

struct lookup_tcp;
/* payload: one whole message, or ptr NULL: there was none in time. Once, from the run list; it is
 * gone then. Whether it answers the question is for the caller to judge. */
typedef void lookup_tcp_fn(void *ctx, struct str payload);

struct lookup_tcp_args {
    struct turn *turn;
    const struct addr *server;
    struct str question; /* copied */
    uint32_t mark;       /* SO_MARK; 0: none */
    uint64_t wait_us;    /* for all of it */
    lookup_tcp_fn *done;
    void *ctx;
};
struct lookup_tcp *lookup_tcp_start(const struct lookup_tcp_args *args);
struct lookup_tcp *lookup_tcp_cancel(struct lookup_tcp *t); /* accepts NULL; returns NULL */
