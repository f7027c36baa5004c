/* Matching: model in, decision out. Pure: the proxy, `explain` and tests call the same code.
 * Thread: any. */
#pragma once

#include "codec/url.h"
#include "http/head.h"
#include "mesh/model/cluster.h"
#include "mesh/model/directory.h"
#include "mesh/model/listener.h"
#include "mesh/model/policy.h"
#include "mesh/model/route.h"

bool match_string(const struct string_match *m, struct str value);
bool match_header(const struct header_match *m, const struct http_head *head);

/* --- routes --- */

/* Domain precedence as Envoy's: exact, longest suffix wildcard, longest prefix wildcard, "*". */
const struct virtual_host *match_virtual_host(const struct route_config *rc, struct str authority);
/* First route of the virtual host that matches, in order. NULL: none. */
const struct route *match_route(const struct virtual_host *vh, const struct http_head *head);
/* Whether a request's head meets what one route asks for. */
bool match_route_fits(const struct route *route, const struct http_head *head);
/* What a route says of tunnels of this type; NULL: nothing. */
const struct upgrade_config *match_upgrade(const struct route *route, struct str type);
/* Whether a request that asks for a tunnel (http_head_asks_tunnel) may have it: the route has the
 * last word, then the listener; who is not named may not. */
bool match_upgrade_allowed(const struct hcm *hcm, const struct route *route,
                           const struct http_head *head);
/* Picks by weight; random in [0, 2^32). NULL when the weights are all zero. */
const struct weighted_cluster *match_weighted(const struct weighted_cluster *clusters, size_t count,
                                              uint64_t weight_total, uint32_t random);

/* --- what a route makes of a head (match_edit.c) --- */

/* The form of paths that a listener's options ask for. */
struct url_path_options match_path_options(const struct hcm *hcm);
/* Header edits of one level of a route. */
void match_edit(const struct header_edits *edits, struct http_head *head);
/* Rewrites of path and authority. */
void match_rewrite(const struct route *route, struct http_head *head);

/* --- towards a host --- */

/* How a host of a cluster is spoken to; e may be NULL: nothing is known of it. NULL: in clear. */
const struct upstream_tls *match_upstream_tls(const struct cluster *c, const struct endpoint *e);

/* --- authorization --- */

struct rbac_input {
    const struct http_head *head; /* NULL: TCP */
    struct str principal;         /* "spiffe://..." of a verified peer, else empty */
    struct ip_addr source, remote, destination;
    uint16_t destination_port;
    struct str sni;
};

struct rbac_decision {
    bool is_allowed;
    /* The DENY policy that matched, or the ALLOW policies of which none did; empty when allowed
     * without a policy. */
    struct str origin;
};

void match_rbac(const struct rbac *rbac, const struct rbac_input *in,
                struct rbac_decision *ret_decision);

/* Whether one rule, or a part of one, holds; match_rbac is made of these. */
bool match_rbac_policy(const struct rbac_policy *policy, const struct rbac_input *in);
bool match_rbac_node(const struct rbac_node *node, const struct rbac_input *in);

/* --- filter chains --- */

struct chain_input {
    struct ip_addr destination, source;
    uint16_t destination_port;
    struct str server_name; /* lower case; empty: none */
    bool is_tls;
    const struct str *application_protocols;
    size_t application_protocol_count;
};

/* Envoy's precedence: destination port, IP, server name, transport protocol, application protocols,
 * source; a more specific criterion is decided first and does not step back. NULL: none (and no
 * default chain). */
const struct filter_chain *match_filter_chain(const struct listener *l,
                                              const struct chain_input *in);
