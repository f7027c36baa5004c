/* The server half: protocol messages of one stream, as a state machine. control/push decides what
 * to send; this decodes requests, keeps subscriptions, nonces, what the client has, and encodes
 * responses. Delta only for now; state of the world is refused with UNIMPLEMENTED. */
#pragma once

#include "mesh/model/resource.h"

struct ads_stream;

struct ads_request_info {
    struct str node_id, node_cluster, node_metadata_json,
        user_agent; /* first request of a stream */
};

struct ads_stream_ops {
    /* (Un)subscriptions in the order of the request; name "*" is the wildcard. version: what the
     * client says it has ("" when it has nothing). */
    void (*on_subscribe)(void *ctx, enum resource_type type, struct str name, struct str version);
    /* May be NULL. Before a wildcard: what the client says it has of resources that it does not
     * subscribe to by name. */
    void (*on_known)(void *ctx, enum resource_type type, struct str name, struct str version);
    void (*on_unsubscribe)(void *ctx, enum resource_type type, struct str name);
    void (*on_ack)(void *ctx, enum resource_type type, uint64_t response);
    /* detail: the client's reason; resource names that it refused are in its text. */
    void (*on_nack)(void *ctx, enum resource_type type, uint64_t response, struct str detail);
    /* Before anything else of the stream. */
    void (*on_node)(void *ctx, const struct ads_request_info *info);
};
/* Strings are borrowed until the callback returns. Requests for types that we do not have are
 * passed over. */

struct ads_stream *ads_stream_new(const struct ads_stream_ops *ops, void *ctx);
struct ads_stream *ads_stream_free(struct ads_stream *s);
/* A DeltaDiscoveryRequest. -ERR_PROTOCOL with a reason: end the stream with INVALID_ARGUMENT. */
int ads_stream_recv(struct ads_stream *s, struct str message, struct str_buf *why);

struct ads_item {
    struct str name, version;
    struct str wire; /* the encoded resource without the Any around it */
};
/* Appends one DeltaDiscoveryResponse; returns its number (for on_ack/on_nack). */
uint64_t ads_stream_response(struct ads_stream *s, enum resource_type type,
                             const struct ads_item *items, size_t item_count,
                             const struct str *removed, size_t removed_count,
                             struct str_buf *ret_message);
