/* The server half: protocol messages of one stream, as a state machine. control/push decides what
 * to send; this decodes requests, keeps subscriptions and nonces, and encodes responses.
 *
 * Both variants of the protocol, delta and state of the world, on streams of all types (ADS) and of
 * one: what differs is seen by control/push in ads_stream_is_full() alone.
 * Source: xDS REST and gRPC protocol, envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol. */
#pragma once

#include "mesh/model/resource.h"

struct ads_stream;

enum ads_variant { ADS_DELTA, ADS_SOTW };

struct ads_request_info {
    struct str node_id, node_cluster, node_metadata_json,
        user_agent; /* first request of a stream */
};

struct ads_stream_ops {
    /* (Un)subscriptions in the order of the request; name "*" is the wildcard, of listeners,
     * clusters and directories only. version: what the client says it has ("" when it has nothing);
     * of a state-of-the-world wildcard: what it has of the type as a whole. A name that is
     * subscribed to already may come again: the client has lost what it had. */
    void (*on_subscribe)(void *ctx, enum resource_type type, struct str name, struct str version);
    /* May be NULL. Before a wildcard: what the client says it has of resources that it does not
     * subscribe to by name. */
    void (*on_known)(void *ctx, enum resource_type type, struct str name, struct str version);
    void (*on_unsubscribe)(void *ctx, enum resource_type type, struct str name);
    /* Once for each response, unless the stream ends before. */
    void (*on_ack)(void *ctx, enum resource_type type, uint64_t response);
    /* detail: the client's reason; resource names that it refused are in its text. */
    void (*on_nack)(void *ctx, enum resource_type type, uint64_t response, struct str detail);
    /* Before anything else of the stream. */
    void (*on_node)(void *ctx, const struct ads_request_info *info);
};
/* Strings are borrowed until the callback returns. Requests for types that we do not have are
 * passed over. */

struct ads_stream_args {
    enum ads_variant variant;
    bool is_single; /* a stream of one type, whose requests need not name it */
    enum resource_type type;
    const struct ads_stream_ops *ops;
    void *ctx;
};
struct ads_stream *ads_stream_new(const struct ads_stream_args *args);
struct ads_stream *ads_stream_free(struct ads_stream *s);
/* A DiscoveryRequest or DeltaDiscoveryRequest, decoded. Pure: it may be made on another thread than
 * the stream's. NULL with a reason: end the stream with INVALID_ARGUMENT. */
struct ads_request;
struct ads_request *ads_request_decode(enum ads_variant variant, struct str message,
                                       struct str_buf *why);
struct ads_request *ads_request_free(struct ads_request *r); /* accepts NULL, returns NULL */
/* r is of the stream's variant. -ERR_PROTOCOL with a reason: end the stream with INVALID_ARGUMENT.
 */
int ads_stream_take(struct ads_stream *s, const struct ads_request *r, struct str_buf *why);
/* Both in one. */
int ads_stream_recv(struct ads_stream *s, struct str message, struct str_buf *why);

/* A response of this type must hold all that the client is to have, changed or not; what is not in
 * it is gone. Of other types it holds what changed. */
bool ads_stream_is_full(const struct ads_stream *s, enum resource_type type);
/* A resource that is gone can be told of this type: by name, or by its absence. */
bool ads_stream_tells_removal(const struct ads_stream *s, enum resource_type type);
bool ads_stream_is_aggregated(const struct ads_stream *s);
enum ads_variant ads_stream_variant(const struct ads_stream *s);

struct ads_item {
    struct str name, version;
    struct str wire; /* the encoded resource without the Any around it */
};
struct ads_response {
    enum resource_type type;
    struct str version; /* of all that the client has of the type then */
    const struct ads_item *items;
    size_t item_count;
    const struct str *removed; /* delta only */
    size_t removed_count;
};
/* One response goes out; returns its number (for on_ack/on_nack). */
uint64_t ads_stream_number(struct ads_stream *s, enum resource_type type);
/* Its bytes, piece by piece, so that nobody has to hold it as a whole: piece 0 is what is not a
 * resource, piece i the i-th resource; one behind the other they are the message. Pure: the thread
 * may be another one than the stream's. */
size_t ads_response_len(enum ads_variant variant, const struct ads_response *r, uint64_t number);
void ads_response_piece(enum ads_variant variant, const struct ads_response *r, uint64_t number,
                        size_t i, struct str_buf *to);
/* All at once: takes the number and appends the message. */
uint64_t ads_stream_respond(struct ads_stream *s, const struct ads_response *r,
                            struct str_buf *ret_message);
