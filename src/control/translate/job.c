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

/* Several documents for a host are a conflict that apply refuses; the first by name holds. */
static void take_first(void *ctx, const struct api_document *d)
{
    const struct api_document **first = ctx;
    if (*first == NULL)
        *first = d;
}

const struct api_document *job_rule(struct job *j, struct str host)
{
    const struct api_document *d = NULL;
    job_note(j, "rules/%.*s", STR_FMT(host));
    registry_rules(j->r, host, take_first, &d);
    return d;
}

const struct api_document *job_routes(struct job *j, struct str host)
{
    const struct api_document *d = NULL;
    job_note(j, "routes/%.*s", STR_FMT(host));
    registry_routes(j->r, host, take_first, &d);
    return d;
}

struct registry_docs job_docs(struct job *j, enum api_kind kind, struct str namespace_)
{
    job_note(j, "docs/%s/%.*s", api_kind_info(kind)->name, STR_FMT(namespace_));
    return registry_docs(j->r, kind, namespace_);
}
