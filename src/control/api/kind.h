/* The kinds of documents Tulle knows: names, groups, versions, scope. One table; `get`, the REST
 * paths and the parser read it.
 *
 * Thread: immutable. */
#pragma once

#include "base/str.h"

enum api_kind {
    API_KIND_NAMESPACE,
    API_KIND_SERVICE_ACCOUNT,
    API_KIND_SERVICE,
    API_KIND_WORKLOAD,
    API_KIND_MESH,
    API_KIND_VIRTUAL_SERVICE,
    API_KIND_DESTINATION_RULE,
    API_KIND_PEER_AUTHENTICATION,
    API_KIND_AUTHORIZATION_POLICY,
    API_KIND_COUNT,
};

struct api_kind_info {
    enum api_kind kind;
    const char *name;           /* "VirtualService" */
    const char *singular;       /* "virtualservice" */
    const char *plural;         /* "virtualservices": the REST path and `get` */
    const char *short_names[3]; /* "vs"; ended by NULL */
    const char *group;          /* "networking.istio.io"; "" is Kubernetes' core group */
    const char *versions[4];    /* all that are read, the preferred one first; ended by NULL */
    bool is_namespaced;
};

const struct api_kind_info *api_kind_info(enum api_kind kind);
/* "VirtualService", "virtualservices", "vs", in any case, also with `.group` behind; NULL when
 * there is none. */
const struct api_kind_info *api_kind_parse(struct str name);
/* By REST path: group ("" for core), version, plural; NULL when there is none. */
const struct api_kind_info *api_kind_by_path(struct str group, struct str version,
                                             struct str plural);
bool api_kind_has_version(const struct api_kind_info *k, struct str version);
/* Whether it is the first of the table with its group, for lists of groups. */
bool api_kind_is_first_of_group(const struct api_kind_info *info);
/* By `apiVersion` and `kind` of a document; NULL when there is none. */
const struct api_kind_info *api_kind_by_document(struct str api_version, struct str kind);
/* Whether Istio, Kubernetes or the Gateway API have such a kind, which Tulle does not support yet.
 */
bool api_kind_is_known_elsewhere(struct str api_version, struct str kind);
/* The name of a supported kind that looks like this one; NULL when none does. */
const char *api_kind_nearest(struct str name);
