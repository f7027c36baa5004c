/* What the proxy knows of a request beyond its exchange: x->ctx of every exchange of a listener.
 *
 * Lifetime: in the exchange's arena. Thread: the worker's. */
#pragma once

#include "http/exchange.h"
#include "mesh/match/match.h"
#include "mesh/model/listener.h"
#include "proxy/telemetry/access_log.h"
#include "proxy/telemetry/metrics.h"
#include "proxy/upstream/upstream.h"

/* An answer that is given before any filter is asked; status 0: none. */
struct early_reply {
    uint16_t status;
    struct str details, location;
};

struct request {
    struct exchange *x;
    struct upstream *upstream;
    struct metrics *metrics;
    /* Decided once, when the head is there (flow/http). */
    const struct hcm *hcm;
    const struct route_config *routes;
    const struct virtual_host *vhost;
    const struct route *route;               /* NULL: 404 NR */
    const struct weighted_cluster *weighted; /* chosen by weight; NULL without route */
    struct str cluster_name;                 /* its name, or where a listener sends without route */
    enum http_version version;        /* what the caller spoke, restored from the peer's note */
    struct upstream_cluster *cluster; /* found by the router; NULL: 503 NC */
    struct str direct_identity;       /* call to a replica's own address; else empty */
    struct early_reply early;
    bool is_inbound;
    struct addr
        client; /* whom the request is from, by trusted proxies; family NONE: who connected */
    /* Written by filters for logs and metrics. */
    const struct hash_policy *made_cookie; /* goes out with the response; NULL: none */
    struct str made_cookie_value;
    struct str origin;           /* policy or rule that decided */
    struct addr upstream_local;  /* of the last attempt */
    struct str upstream_failure; /* transport failure text */
    uint32_t attempts;
    uint64_t flags; /* besides the outcome's */
    uint64_t upstream_started_us, upstream_first_byte_us;
    struct upstream_host *last_host; /* held until the owner drops it, after the log */
    void *owner;                     /* flow's */
};

/* Whether it may be done twice (RFC 9110 9.2.2). */
bool request_is_idempotent(struct str method);

static inline struct request *request_of(struct exchange *x)
{
    return x->ctx;
}

enum { FILTERS_MAX = 12 };

/* Builds a chain from a listener's model (the one array of filters is in filters.c); the last is
 * the router. ret_filters has room for FILTERS_MAX. -ERR_INVALID with why. */
int filters_build(const struct http_filter *models, size_t count, struct str_buf *why,
                  struct filter *ret_filters, uint32_t *ret_count);

/* Judges an exchange that lives again, after the policy changed: false: must be reset. */
bool filters_still_allowed(const struct filter *filters, uint32_t count, struct exchange *x);

extern const struct filter_ops cors_filter_ops;
extern const struct filter_ops fault_filter_ops;
extern const struct filter_ops rbac_filter_ops;
extern const struct filter_ops router_filter_ops;
