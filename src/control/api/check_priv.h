/* Inside of check.h: the set, indexed, and the groups of checks. */
#pragma once

#include "base/map.h"
#include "control/api/check.h"
#include "control/api/peer_authentication.h"

struct check_docs {
    VEC(const struct api_document *) list;
};

struct check {
    const struct api_document_list *set;
    struct api_findings *findings;
    struct arena arena;
    struct check_docs by_kind[API_KIND_COUNT]; /* in the order of the set */
    struct map by_subject;                     /* "Service/shop/catalog" -> first document */
    struct map broken;                         /* the same for broken ones -> any value */
};

/* Walks the documents of a kind. */
#define CHECK_EACH(c, k, d)                                                                        \
    for (size_t d##_i = 0; d##_i < (c)->by_kind[k].list.len; d##_i++)                              \
        for (const struct api_document *d = (c)->by_kind[k].list.ptr[d##_i]; d != NULL; d = NULL)

/* NULL when the set has none. */
const struct api_document *check_find(struct check *c, enum api_kind kind, struct str namespace,
                                      struct str name);
/* Whether it is there, readable or broken. */
bool check_has(struct check *c, enum api_kind kind, struct str namespace, struct str name);
bool check_has_in_namespace(struct check *c, enum api_kind kind, struct str namespace);
/* The Service a full host name stands for; NULL when there is none (or it is broken). */
const struct api_document *check_find_service(struct check *c, struct str fqdn);
/* Whether a host without a Service is a mistake: the set has Services in its namespace, and not
 * this one. */
bool check_is_host_missing(struct check *c, struct str fqdn);

/* Where a finding stands: both ways, since who reads it may have another text of the document. */
struct check_at {
    const struct api_document *d;
    struct api_place place;
    const char *path; /* "spec.host"; "" is the document */
};

void check_report(struct check *c, enum api_severity severity, struct check_at at, const char *hint,
                  const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* An error that is_unmet. */
void check_report_unmet(struct check *c, struct check_at at, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* A path in the check's arena. */
const char *check_path(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* "FILE:LINE:COL" in the check's arena, for hints. */
const char *check_place(struct check *c, const struct api_document *d, struct api_place place);

/* What holds for the whole namespace: its own PeerAuthentication, the root's, else the Mesh's. */
enum api_mtls_mode check_mtls_mode(struct check *c, struct str namespace);

void check_workload_all(struct check *c); /* Service, Workload */
void check_route_all(struct check *c);    /* VirtualService, DestinationRule */
void check_policy_all(struct check *c);   /* AuthorizationPolicy, PeerAuthentication */
