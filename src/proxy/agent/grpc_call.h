/* A gRPC call of the agent's own: unary or a stream of messages, over an HTTP/2 client.
 *
 * Lifetime: until on_end (also after grpc_call_cancel). Thread: the main thread's. */
#pragma once

#include "base/str.h"
#include "http/client.h"
#include "io/turn.h"

struct grpc_call;

struct grpc_call_ops {
    /* A whole message; false: the call is reset (protocol error). */
    bool (*on_message)(void *ctx, struct grpc_call *c, struct str message);
    /* Last callback. status: enum grpc_status; why: grpc-message or what went wrong; borrowed. */
    void (*on_end)(void *ctx, struct grpc_call *c, int status, struct str why);
};

struct grpc_call_args {
    struct str path, authority;
    struct str bearer; /* authorization: Bearer ...; empty: none */
    bool is_plain;     /* scheme http */
    size_t message_bytes_max;
    const struct grpc_call_ops *ops;
    void *ctx;
};

struct grpc_call *grpc_call_start(struct turn *t, struct http_client *client,
                                  const struct grpc_call_args *args);
void grpc_call_send(struct grpc_call *c, struct str message);
void grpc_call_end(struct grpc_call *c); /* no more messages of ours */
void grpc_call_cancel(struct grpc_call *c);
