/* Inside control/explain/ only: the question, the answer, and the steps between. All lives in the
 * arena of the call. */
#pragma once

#include "base/err.h"
#include "base/vec.h"
#include "control/explain/explain.h"
#include "mesh/match/match.h"

/* Where a decision comes from; document empty: a default. */
struct explain_origin {
    struct str document; /* "VirtualService/shop/catalog" */
    struct str path;     /* "spec.http[0]"; may be empty */
    struct str file;
    uint32_t line;   /* of the document's begin; 0: not known */
    struct str hash; /* of the document's JSON: whether a file still says the same */
};

enum explain_verdict {
    EXPLAIN_ALLOWED,
    EXPLAIN_DENIED,      /* by a policy, or by mutual TLS */
    EXPLAIN_UNAVAILABLE, /* allowed or not: there is nobody to ask */
    EXPLAIN_NO_ROUTE,
    EXPLAIN_REPLIED,     /* the caller's own sidecar answers: redirect, direct response */
    EXPLAIN_NOT_REACHED, /* it goes elsewhere */
    EXPLAIN_MIXED,       /* some destinations allow it, others do not */
};

/* A rule of an AuthorizationPolicy that was asked. */
struct explain_policy {
    bool is_deny, is_matched, decides;
    struct str name; /* its origin's text */
    struct explain_origin origin;
    struct str wants, why; /* what it asks for; why it does not match (empty: it does) */
};

/* A workload at the end of a destination. */
struct explain_arrival {
    const struct endpoint *endpoint; /* the first of those alike */
    const struct api_document *workload;
    VEC(const struct endpoint *) endpoints;
    enum api_mtls_mode mode;
    struct explain_origin mode_origin;
    bool is_mtls, is_tcp, is_uncaptured;
    struct str caller; /* the identity that the workload sees; empty: none */
    enum explain_verdict verdict;
    unsigned status; /* 0: the app's own, or none at all */
    struct str reason;
    struct str decided_by; /* as in x-tulle-origin; may be empty */
    struct explain_origin decided_origin;
    VEC(struct explain_policy) policies;
    bool has_unknown_address; /* a rule asks for addresses that are not known */
};

struct explain_destination {
    const struct weighted_cluster *weighted;
    struct str cluster_name, subset, labels; /* labels: "version=v1", of the subset */
    uint64_t weight, weight_total;
    const struct cluster *cluster; /* NULL: does not exist */
    struct explain_origin cluster_origin;
    struct str tls_mode; /* of the rule: "auto", "mTLS", "plain" */
    size_t endpoint_count;
    VEC(struct explain_arrival) arrivals;
};

/* A route that was looked at and does not fit. */
struct explain_skipped {
    struct explain_origin origin;
    struct str why;
};

struct explain {
    const struct explain_args *args;
    struct arena *a;
    struct str_buf *why;
    VEC(struct resource *) resources; /* decoded for this call */
    /* The question. */
    const struct api_document *called, *called_service; /* one of them */
    const struct api_document *from;                    /* NULL: not of the mesh */
    bool has_sidecar; /* the caller's, and it captures this call */
    struct str host, authority, target, path;
    uint16_t port;
    bool is_tcp_asked;
    struct http_head *head;                 /* as the route sees it */
    uint32_t given_count;                   /* of its fields: those of the question */
    const struct registry_service *service; /* NULL: no such service */
    const struct api_service_port *service_port;
    struct ip_addr source;
    /* The way. */
    const struct route_config *routes;
    const struct virtual_host *vhost;
    const struct route *route; /* NULL: TCP, none, or no sidecar */
    const struct tcp_proxy *tcp;
    struct explain_origin service_origin, route_origin, retry_origin;
    VEC(struct explain_skipped) skipped;
    VEC(struct explain_destination) destinations;
    /* The answer. */
    enum explain_verdict verdict;
    unsigned status;
    struct str reason, decided_by;
    struct explain_origin decided_origin;
};

/* explain.c: a resource as that workload's proxy has it; NULL: does not exist. */
const void *explain_get(struct explain *e, const struct api_document *viewer,
                        enum resource_type type, struct str name);
/* "Kind/ns/name#http[0]" to where that stands. */
struct explain_origin explain_origin(const struct explain *e, struct str text);
struct explain_origin explain_origin_of(const struct explain *e, const struct api_document *d);

/* explain_question.c: who, whom, what; 0, or the error of explain() with why. */
int explain_ask(struct explain *e);
/* The request's head, with its path in the form that these options give. False: refused by every
 * proxy. options NULL: as it is. */
bool explain_make_head(struct explain *e, const struct url_path_options *options);

/* What every sidecar adds where it is missing, so that who asks for it finds it. Ids are not known.
 */
void explain_add_own(struct http_head *head);

/* explain_route.c: from the caller to destinations. False: there are none, and the answer is set.
 */
bool explain_route(struct explain *e);
/* explain_inbound.c: what each workload at a destination says. */
void explain_arrive(struct explain *e, struct explain_destination *d);
/* explain_judge.c: all of it as one answer. */
void explain_judge(struct explain *e);
void explain_answer(struct explain *e, enum explain_verdict verdict, unsigned status,
                    struct str reason);

/* explain_text.c: what a rule or a route asks for, and which of it does not hold. In the arena. */
struct str explain_text_rule(struct arena *a, const struct rbac_policy *p);
struct str explain_text_rule_fails(struct arena *a, const struct rbac_policy *p,
                                   const struct rbac_input *in);
struct str explain_text_route(struct arena *a, const struct route_match *m);
struct str explain_text_route_fails(struct arena *a, const struct route *r,
                                    const struct http_head *head);
bool explain_text_asks_address(const struct rbac_policy *p);

/* explain_write.c */
void explain_write(const struct explain *e, struct json_writer *w);
const char *explain_mtls_name(enum api_mtls_mode mode);
