/* security.istio.io AuthorizationPolicy: who may do what at a server.
 *
 * A policy without rules matches nothing: as ALLOW it allows nobody. One rule without any part
 * (`rules: [{}]`) matches everything. A rule matches when one of its sources, one of its
 * operations and all of its conditions match; an absent part matches everything. Within a source
 * or operation all fields that are set must match. An empty list is the same as an absent one. */
#pragma once

#include "control/api/value.h"

enum api_auth_action { API_AUTH_ALLOW, API_AUTH_DENY };

struct api_auth_source {
    struct api_place place;
    /* `<trust domain>/ns/<namespace>/sa/<account>`; a leading `spiffe://` is taken off. */
    struct api_matches principals, not_principals;
    struct api_matches namespaces, not_namespaces;
    struct api_strs ip_blocks, not_ip_blocks; /* addresses or CIDR, checked */
};

struct api_auth_operation {
    struct api_place place;
    struct api_matches hosts, not_hosts; /* compared without case */
    struct api_ports ports, not_ports;
    struct api_matches methods, not_methods;
    struct api_matches paths, not_paths;
};

enum api_auth_key {
    API_AUTH_KEY_REQUEST_HEADER, /* header */
    API_AUTH_KEY_SOURCE_IP,      /* values are addresses or CIDR (EXACT), checked */
    API_AUTH_KEY_SOURCE_NAMESPACE,
    API_AUTH_KEY_SOURCE_PRINCIPAL, /* without `spiffe://` */
    API_AUTH_KEY_DESTINATION_IP,   /* as SOURCE_IP */
    API_AUTH_KEY_DESTINATION_PORT, /* values are decimal ports (EXACT), checked */
    API_AUTH_KEY_CONNECTION_SNI,
};

/* Matches when one of the values does (or there are none) and none of not_values does. */
struct api_auth_condition {
    struct api_place place;
    enum api_auth_key key;
    struct str header; /* lower case, for REQUEST_HEADER */
    struct api_matches values, not_values;
};

struct api_auth_rule {
    struct api_place place;
    const struct api_auth_source *sources;
    size_t source_count;
    const struct api_auth_operation *operations;
    size_t operation_count;
    const struct api_auth_condition *conditions;
    size_t condition_count;
};

struct api_authorization_policy {
    struct api_selector selector;
    enum api_auth_action action;
    const struct api_auth_rule *rules;
    size_t rule_count;
};

/* Whether the rule asks about HTTP (hosts, methods, paths, headers): on a TCP port such a rule of
 * an ALLOW never matches, and one of a DENY matches without these parts. */
bool api_auth_rule_is_http(const struct api_auth_rule *r);
