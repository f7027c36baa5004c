/* Authorization: envoy.config.rbac.v3.RBAC, as trees of permissions and principals. */
#pragma once

#include "mesh/model/common.h"

enum rbac_action { RBAC_ALLOW, RBAC_DENY, RBAC_LOG };

enum rbac_node_kind {
    RBAC_ANY,
    RBAC_AND,    /* all children; none: true */
    RBAC_OR,     /* any child; none: false */
    RBAC_NOT,    /* one child */
    RBAC_HEADER, /* never matches on TCP */
    RBAC_PATH,   /* url_path: path without query; never matches on TCP */
    RBAC_DESTINATION_PORT,
    RBAC_DESTINATION_IP,
    RBAC_SOURCE_IP, /* direct_remote_ip */
    RBAC_REMOTE_IP, /* remote_ip: from x-forwarded-for where trusted */
    RBAC_PRINCIPAL, /* authenticated: URI SAN; kind ANY: any verified peer */
    RBAC_NAMESPACE, /* of the peer's SPIFFE id; from our regex-free dialect */
    RBAC_SNI,       /* requested_server_name */
    RBAC_JWT, /* a claim of a token: there are none, as listeners that read them are refused */
};

struct rbac_node {
    enum rbac_node_kind kind;
    const struct rbac_node *children;
    size_t child_count;
    struct header_match header;
    struct string_match string;
    struct cidr cidr;
    uint16_t port_from, port_to; /* inclusive */
};

struct rbac_policy {
    struct str name;                        /* its origin: "AuthorizationPolicy/ns/name#rules[0]" */
    struct rbac_node permission, principal; /* both must match */
};

/* Action ALLOW: allowed when any policy matches; DENY: denied when any matches. */
struct rbac {
    enum rbac_action action;
    const struct rbac_policy *policies;
    size_t policy_count;
    /* Names of all ALLOW policies in force, joined by ",", for "none matched" (x-tulle-origin): a
     * policy's name without its "#...". */
    struct str origins;
};
