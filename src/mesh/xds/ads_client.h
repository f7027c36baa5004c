/* The client half of xDS as a state machine, delta (incremental) or state of the world, for a
 * stream of all types or of one: messages in, messages and resources out. No sockets: the agent
 * carries the bytes over a gRPC call.
 *
 * Subscriptions by (type, name) or wildcard; versions known are told on reconnect
 * (initial_resource_versions; version_info), so an unchanged server re-sends nothing. Each response
 * is answered by one ACK or NACK after the owner has applied it (ads_client_done). Good resources
 * of a response are taken even when others are refused. */
#pragma once

#include "mesh/model/resource.h"
#include "mesh/xds/codec.h"

struct ads_client;

struct ads_update {
    enum resource_type type;
    struct resource *const
        *changed; /* decoded; borrowed until the callback returns (ref to keep) */
    size_t changed_count;
    const struct str *removed; /* names; also those that the server says do not exist */
    size_t removed_count;
    uint64_t token; /* for ads_client_done */
};

struct ads_client_ops {
    /* A DeltaDiscoveryRequest or DiscoveryRequest to be sent; bytes are borrowed. */
    void (*send)(void *ctx, struct str message);
    /* Apply it, then (at once or later) call ads_client_done. */
    void (*on_update)(void *ctx, const struct ads_update *update);
    /* A response was acknowledged (why empty) or refused, in part or as a whole. May be NULL. */
    void (*on_answered)(void *ctx, enum resource_type type, struct str why);
    /* State of the world: a response was refused, and so was the one before it, `times` in a row: a
     * server that sends the same again at once would be answered at once, for ever. The answer
     * waits until ads_client_release. NULL: it does not. */
    void (*on_held)(void *ctx, enum resource_type type, unsigned times);
    /* A response of a type that nobody asked for was passed over. May be NULL. */
    void (*on_ignored)(void *ctx, struct str type_url, struct str why);
};

struct ads_client_args {
    struct str node_id, node_cluster, node_metadata_json, user_agent;
    bool is_sotw; /* state of the world instead of delta */
    const struct ads_client_ops *ops;
    void *ctx;
};

struct ads_client *ads_client_new(const struct ads_client_args *args);
struct ads_client *ads_client_free(struct ads_client *c);
void ads_client_subscribe(struct ads_client *c, enum resource_type type, struct str name);
void ads_client_subscribe_all(struct ads_client *c, enum resource_type type); /* wildcard */
void ads_client_unsubscribe(struct ads_client *c, enum resource_type type, struct str name);
/* A resource known from the disk cache, told as initial version on connect. Delta only. */
void ads_client_preload(struct ads_client *c, enum resource_type type, struct str name,
                        struct str version);
void ads_client_connected(struct ads_client *c); /* a new stream is open: sends first requests */
void ads_client_disconnected(struct ads_client *c);
/* A response. -ERR_PROTOCOL: it is none, and the stream must be reset. */
int ads_client_recv(struct ads_client *c, struct str message);
/* The update with this token was applied (why empty) or refused as a whole (reason). */
void ads_client_done(struct ads_client *c, uint64_t token, struct str why);
/* Sends the answer that on_held told of; nothing where there is none (any more). */
void ads_client_release(struct ads_client *c, enum resource_type type);
/* The subscriptions changed in this turn are sent in one request per type. */
void ads_client_flush(struct ads_client *c);
bool ads_client_is_synced(const struct ads_client *c); /* every subscription was answered once */
