/* The small values that documents are made of: places, optional numbers, labels, lists, matches.
 *
 * All are plain and borrowed: the memory belongs to the arena of the document they were read
 * from. A place says where in the document's file a value stands; the file is the document's.
 * Thread: immutable once parsed. */
#pragma once

#include "base/str.h"

struct arena;

/* Both count from 1; 0 means unknown. */
struct api_place {
    uint32_t line, column;
};

/* A number or duration that a document may leave out. Durations are in milliseconds and their
 * fields are named `_ms`. */
struct api_opt {
    bool is_set;
    uint64_t value;
};

static inline uint64_t api_opt_or(struct api_opt o, uint64_t fallback)
{
    return o.is_set ? o.value : fallback;
}

struct api_label {
    struct str key, value;
};

/* In the order of the document; keys are unique. */
struct api_labels {
    const struct api_label *v;
    size_t len;
};

/* The value of a key; false when there is none. ret_value may be NULL. */
bool api_labels_get(const struct api_labels *labels, struct str key, struct str *ret_value);
/* Whether every label of the selector is among the labels. The empty selector selects all. */
bool api_labels_match(const struct api_labels *selector, const struct api_labels *labels);

struct api_strs {
    const struct str *v;
    size_t len;
};

struct api_ports {
    const uint16_t *v;
    size_t len;
};

/* How a text is compared. From `{exact: x}`, `{prefix: x}`, `{}` in routes; from `x`, `x*`, `*x`,
 * `*` in authorization. */
enum api_match_kind {
    API_MATCH_EXACT,
    API_MATCH_PREFIX,
    API_MATCH_SUFFIX,
    API_MATCH_PRESENT, /* there, and in authorization not empty */
};

struct api_match {
    enum api_match_kind kind;
    struct str value; /* without the star; empty for PRESENT */
    struct api_place place;
};

struct api_matches {
    const struct api_match *v;
    size_t len;
};

/* A header or query parameter to compare. */
struct api_named_match {
    struct str name; /* header names are lower case */
    struct api_match match;
};

struct api_named_matches {
    const struct api_named_match *v;
    size_t len;
};

/* Which workloads of its namespace a policy applies to. */
struct api_selector {
    bool is_set; /* false, or no labels: all workloads of the namespace */
    struct api_labels labels;
    struct api_place place;
};

/* What a port carries: from `appProtocol`, else from a port name `<protocol>[-<suffix>]`. */
enum api_protocol {
    API_PROTOCOL_AUTO, /* one look at the first bytes */
    API_PROTOCOL_HTTP,
    API_PROTOCOL_HTTP2,
    API_PROTOCOL_GRPC,
    API_PROTOCOL_TCP,
    API_PROTOCOL_TLS, /* the application's own TLS: passed on as TCP */
};

const char *api_protocol_name(enum api_protocol p); /* "http2" */
/* app_protocol may be empty. */
enum api_protocol api_protocol_of_port(struct str port_name, struct str app_protocol);

/* The DNS suffix below which services are named: catalog.shop.svc.cluster.local. */
#define API_DNS_SUFFIX "svc.cluster.local"

/* Policies of this namespace hold for the whole mesh. */
#define API_ROOT_NAMESPACE "istio-system"

/* A destination as written -> its full name: a name without a dot belongs to the namespace of the
 * document that names it; `x.y.svc` gets the rest of the suffix; other names are full already. The
 * result is in the arena or is the host itself. */
struct str api_host_fqdn(struct arena *a, struct str host, struct str namespace);
/* catalog.shop.svc.cluster.local -> catalog, shop; false for any other name. */
bool api_host_split(struct str fqdn, struct str *ret_service, struct str *ret_namespace);
