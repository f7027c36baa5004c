/* A link to a control plane: one connection, a stream of configuration on it (of all types, or of
 * one), reports beside it; made again with backoff for as long as the proxy lives. The control
 * plane ends a connection with the certificate that opened it, so another follows in time.
 *
 * Owner: the agent. Thread: the main thread's. */
#pragma once

#include "mesh/xds/ads_client.h"
#include "proxy/agent/channel.h"

struct ads;

/* Responses. */
struct ads_counts {
    uint64_t accepted, refused, ignored;
};

struct ads_args {
    bool is_sotw;            /* state of the world instead of delta */
    bool is_single;          /* the service of this type alone */
    enum resource_type type; /* of a single one */
    struct turn *turn;
    const struct limits *limits;
    struct addr to;
    struct str authority;
    bool is_tls;
    struct str sni;
    const struct tls_san_match *sans; /* outlive the link */
    size_t san_count;
    uint32_t mark;
    struct str node_id, node_cluster, node_metadata_json;
    /* The context for the next connection, borrowed; NULL: not yet, try again later. */
    struct tls_context *(*tls)(void *ctx);
    /* When its certificate is over; 0: it has none. NULL: never asked. */
    uint64_t (*tls_until_s)(void *ctx);
    void (*on_update)(void *ctx, const struct ads_update *update);
    void (*on_connected)(void *ctx, bool is_connected);
    void *ctx;
};

struct ads *ads_new(const struct ads_args *args);
struct ads *ads_free(struct ads *a);
/* Connects, now and for ever. */
void ads_start(struct ads *a);
/* tls gives another context now: well before the certificate of the present connection is over
 * another one takes its place, without a gap. */
void ads_tls_changed(struct ads *a);
struct ads_client *ads_client_of(struct ads *a);
bool ads_is_connected(const struct ads *a);
struct ads_counts ads_counts(const struct ads *a);
/* Why the last response of that type was refused; empty when it was not. Borrowed until the next.
 */
struct str ads_refusal(const struct ads *a, enum resource_type type);
/* Tells our state (JSON): now if there is a connection, and on each new one. */
void ads_report(struct ads *a, struct str state_json);
