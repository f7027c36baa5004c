/* Services and the workloads that serve them. */
#include "control/api/check_priv.h"
#include "control/api/service.h"
#include "control/api/workload.h"

static bool has_port(const struct api_workload *w, uint16_t port)
{
    for (size_t i = 0; i < w->port_count; i++)
        if (w->ports[i].port == port)
            return true;
    return false;
}

static void check_target(struct check *c, const struct api_document *d,
                         const struct api_service_port *port, size_t index,
                         const struct api_document *workload)
{
    struct check_at at = {d, port->place, check_path(c, "spec.ports[%zu]", index)};
    const struct api_workload *w = workload->spec.workload;
    if (w->port_count == 0)
        return; /* it does not say what it serves */
    if (port->target_port_name.len > 0 && api_workload_find_port(w, port->target_port_name) == 0)
        check_report_unmet(c, at, NULL, "targetPort \"%.*s\" is no port of Workload/%.*s/%.*s",
                           STR_FMT(port->target_port_name), STR_FMT(workload->namespace),
                           STR_FMT(workload->name));
    else if (port->target_port != 0 && !has_port(w, port->target_port))
        check_report(c, API_WARNING, at, NULL, "targetPort %u is no port of Workload/%.*s/%.*s",
                     port->target_port, STR_FMT(workload->namespace), STR_FMT(workload->name));
}

static void check_service(struct check *c, const struct api_document *d)
{
    const struct api_service *s = d->spec.service;
    struct check_at at = {d, d->place, ""};
    size_t served_by = 0;
    if (s->selector.len == 0) {
        check_report(c, API_WARNING, at, "add spec.selector",
                     "a service without selector is served by nobody");
        return;
    }
    CHECK_EACH(c, API_KIND_WORKLOAD, w)
    {
        if (!str_eq(w->namespace, d->namespace) || !api_labels_match(&s->selector, &w->labels))
            continue;
        served_by++;
        for (size_t i = 0; i < s->port_count; i++)
            check_target(c, d, &s->ports[i], i, w);
    }
    if (served_by == 0 && check_has_in_namespace(c, API_KIND_WORKLOAD, d->namespace))
        check_report(c, API_WARNING, at, NULL,
                     "the selector of Service/%.*s/%.*s matches no workload", STR_FMT(d->namespace),
                     STR_FMT(d->name));
}

/* The control plane's own names begin so: a workload that had one would be taken for it. */
static bool is_control_plane(const struct api_document *d)
{
    return str_eq(d->namespace, STR("tulle-system")) &&
           str_starts_with(d->spec.workload->service_account, STR("tulled"));
}

static void check_workload(struct check *c, const struct api_document *d)
{
    const struct api_workload *w = d->spec.workload;
    if (is_control_plane(d))
        check_report(c, API_ERROR,
                     (struct check_at){d, w->service_account_place, "spec.serviceAccount"},
                     "another account, or another namespace",
                     "the account \"%.*s\" of namespace tulle-system is the control plane's",
                     STR_FMT(w->service_account));
    /* Every namespace has an account of this name. */
    if (str_eq(w->service_account, STR("default")) ||
        check_has(c, API_KIND_SERVICE_ACCOUNT, d->namespace, w->service_account))
        return;
    check_report(c, API_WARNING,
                 (struct check_at){d, w->service_account_place, "spec.serviceAccount"}, NULL,
                 "no ServiceAccount \"%.*s\" in namespace %.*s", STR_FMT(w->service_account),
                 STR_FMT(d->namespace));
}

void check_workload_all(struct check *c)
{
    CHECK_EACH(c, API_KIND_SERVICE, d)
    check_service(c, d);
    CHECK_EACH(c, API_KIND_WORKLOAD, d)
    check_workload(c, d);
}
