/* What output functions read, each with its fact. */
#include "control/translate/translate_priv.h"

const struct api_mesh *job_mesh(struct job *j)
{
    job_note(j, "mesh");
    return registry_mesh(j->r);
}

const struct registry_service *job_service(struct job *j, struct str host)
{
    struct str name, namespace_;
    if (!api_host_split(host, &name, &namespace_))
        return NULL;
    job_note(j, "service/%.*s/%.*s", STR_FMT(namespace_), STR_FMT(name));
    return registry_service(j->r, namespace_, name);
}

const struct api_document *job_workload(struct job *j)
{
    const struct translate_viewer *v = j->viewer;
    job_note(j, "workload/%.*s/%.*s", STR_FMT(v->namespace_), STR_FMT(v->workload));
    return registry_doc(j->r, API_KIND_WORKLOAD, v->namespace_, v->workload);
}

/* --- documents about a host --- */

enum rank { RANK_OTHER, RANK_ROOT, RANK_SERVICE, RANK_CALLER };

struct choice {
    struct str caller, service; /* namespaces */
    const struct api_document *best;
    enum rank rank;
};

static enum rank rank_of(const struct choice *c, const struct api_document *d)
{
    if (c->caller.len > 0 && str_eq(d->namespace, c->caller))
        return RANK_CALLER;
    if (str_eq(d->namespace, c->service))
        return RANK_SERVICE;
    return str_eq(d->namespace, STR(REGISTRY_ROOT_NAMESPACE)) ? RANK_ROOT : RANK_OTHER;
}

/* The first by name of the best rank. */
static void choose(void *ctx, const struct api_document *d)
{
    struct choice *c = ctx;
    enum rank rank = rank_of(c, d);
    if (c->best != NULL && rank <= c->rank)
        return;
    c->best = d;
    c->rank = rank;
}

static struct str namespace_of(struct str host)
{
    struct str name, namespace_ = STR_NULL;
    (void)api_host_split(host, &name, &namespace_);
    return namespace_;
}

/* Istio's order: the caller's namespace, the service's, the root's; nobody else's rules count. */
const struct api_document *job_rule(struct job *j, struct str host)
{
    struct choice c = {.caller = j->viewer->namespace_, .service = namespace_of(host)};
    job_note(j, "rules/%.*s", STR_FMT(host));
    registry_rules(j->r, host, choose, &c);
    return c.rank == RANK_OTHER ? NULL : c.best;
}

/* Routes hold for callers of all namespaces. That two documents route a host is a conflict, which
 * is refused when it is applied; should it come about, the service's own namespace wins. */
const struct api_document *job_routes(struct job *j, struct str host)
{
    struct choice c = {.service = namespace_of(host)};
    job_note(j, "routes/%.*s", STR_FMT(host));
    registry_routes(j->r, host, choose, &c);
    return c.best;
}

struct registry_docs job_docs(struct job *j, enum api_kind kind, struct str namespace_)
{
    job_note(j, "docs/%s/%.*s", api_kind_info(kind)->name, STR_FMT(namespace_));
    return registry_docs(j->r, kind, namespace_);
}
