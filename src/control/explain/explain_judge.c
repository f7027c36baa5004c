/* One answer of many: what holds for the workload that was asked about. */
#include "control/api/document.h"
#include "control/explain/explain_priv.h"

static bool is_asked_about(const struct explain *e, const struct explain_arrival *a)
{
    return e->called == NULL || a->workload == e->called;
}

struct count {
    size_t all, asked, allowed;
    const struct explain_arrival *first, *first_refused;
};

static void count_arrivals(const struct explain *e, struct count *c)
{
    for (size_t i = 0; i < e->destinations.len; i++) {
        const struct explain_destination *d = &e->destinations.ptr[i];
        for (size_t n = 0; n < d->arrivals.len; n++) {
            const struct explain_arrival *a = &d->arrivals.ptr[n];
            c->all++;
            if (!is_asked_about(e, a))
                continue;
            c->asked++;
            if (c->first == NULL)
                c->first = a;
            if (a->verdict == EXPLAIN_ALLOWED)
                c->allowed++;
            else if (c->first_refused == NULL)
                c->first_refused = a;
        }
    }
}

static const struct explain_destination *find_empty(const struct explain *e)
{
    for (size_t i = 0; i < e->destinations.len; i++) {
        if (e->destinations.ptr[i].arrivals.len == 0)
            return &e->destinations.ptr[i];
    }
    return NULL;
}

/* Nobody is there at all: the caller gets 503. */
static void nobody(struct explain *e)
{
    const struct explain_destination *d = find_empty(e);
    struct str where = d != NULL ? d->cluster_name : e->host;
    bool is_missing = d != NULL && d->cluster == NULL && e->has_sidecar;
    explain_answer(e, EXPLAIN_UNAVAILABLE, e->route != NULL ? 503 : 0,
                   is_missing
                       ? arena_printf(e->a, "destination %.*s does not exist", STR_FMT(where))
                       : arena_printf(e->a, "no ready replica is behind %.*s", STR_FMT(where)));
    e->decided_origin = e->route_origin;
}

static struct str list_reached(const struct explain *e)
{
    struct str text = STR_NULL;
    for (size_t i = 0; i < e->destinations.len; i++) {
        const struct explain_destination *d = &e->destinations.ptr[i];
        for (size_t n = 0; n < d->arrivals.len; n++) {
            const struct api_document *w = d->arrivals.ptr[n].workload;
            text = arena_printf(e->a, "%.*s%s%.*s/%.*s", STR_FMT(text), text.len > 0 ? ", " : "",
                                STR_FMT(w->namespace), STR_FMT(w->name));
        }
    }
    return text;
}

static void elsewhere(struct explain *e)
{
    struct str reached = list_reached(e);
    explain_answer(e, EXPLAIN_NOT_REACHED, 0,
                   arena_printf(e->a, "the request goes to %.*s, not to %.*s/%.*s",
                                STR_FMT(reached), STR_FMT(e->called->namespace),
                                STR_FMT(e->called->name)));
    e->decided_origin = e->route_origin;
}

void explain_judge(struct explain *e)
{
    struct count c = {.all = 0};
    count_arrivals(e, &c);
    if (c.all == 0) {
        nobody(e);
        return;
    }
    if (c.asked == 0) {
        elsewhere(e);
        return;
    }
    const struct explain_arrival *a = c.first_refused != NULL ? c.first_refused : c.first;
    if (c.allowed > 0 && c.allowed < c.asked) {
        explain_answer(e, EXPLAIN_MIXED, 0,
                       arena_printf(e->a, "%zu of %zu workloads allow it; %.*s/%.*s does not: %.*s",
                                    c.allowed, c.asked, STR_FMT(a->workload->namespace),
                                    STR_FMT(a->workload->name), STR_FMT(a->reason)));
    } else {
        explain_answer(e, a->verdict, a->status, a->reason);
    }
    e->decided_by = a->decided_by;
    e->decided_origin = a->decided_origin;
}
