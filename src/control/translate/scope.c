/* All that a proxy without a directory gets: our own ask by name for what their app uses, others
 * have to have it before. Listeners and clusters of all services; of subsets those that a rule
 * defines or a route names. Facts are not recorded: control/push looks again when a service, a rule
 * or a route has changed. */
#include "control/translate/translate_priv.h"

struct scope {
    struct registry *r;
    struct job job; /* of a run that makes nothing */
    void (*each)(void *ctx, struct str name);
    void *ctx;
    bool is_of_clusters;
    struct arena arena; /* of one service, or one document */
};

static void tell(struct scope *s, struct str name)
{
    s->each(s->ctx, name);
}

/* --- services --- */

static void tell_subsets(struct scope *s, struct str host, uint16_t port)
{
    const struct api_document *rule = job_rule(&s->job, host);
    for (size_t i = 0; rule != NULL && i < rule->spec.destination_rule->subset_count; i++)
        tell(s, name_format(&s->arena, host, port, rule->spec.destination_rule->subsets[i].name,
                            false));
}

static void on_service(void *ctx, const struct registry_service *service)
{
    struct scope *s = ctx;
    const struct api_service *spec = service->doc->spec.service;
    for (size_t i = 0; i < spec->port_count; i++) {
        uint16_t port = spec->ports[i].port;
        tell(s, name_format(&s->arena, service->host, port, STR_NULL, false));
        if (!s->is_of_clusters)
            continue;
        if (spec->ports[i].protocol == API_PROTOCOL_AUTO)
            tell(s, name_format(&s->arena, service->host, port, STR_NULL, true));
        tell_subsets(s, service->host, port);
    }
    s->job.facts.len = 0;
    arena_reset(&s->arena);
}

static void on_namespace(void *ctx, struct str namespace_)
{
    struct scope *s = ctx;
    registry_services(s->r, namespace_, on_service, s);
}

/* --- destinations of routes --- */

struct destinations {
    struct scope *scope;
    const struct api_document *doc;
    uint16_t port; /* that was called */
};

static void tell_destinations(const struct destinations *d,
                              const struct api_weighted_destination *list, size_t count,
                              bool is_tcp)
{
    struct job *j = &d->scope->job;
    for (size_t i = 0; i < count; i++)
        tell(d->scope,
             destination_cluster(j, &list[i].destination, d->doc->namespace, d->port, is_tcp));
}

static void tell_routes(const struct destinations *d)
{
    const struct api_virtual_service *vs = d->doc->spec.virtual_service;
    for (size_t i = 0; i < vs->http_count; i++)
        tell_destinations(d, vs->http[i].destinations, vs->http[i].destination_count, false);
    for (size_t i = 0; i < vs->tcp_count; i++)
        tell_destinations(d, vs->tcp[i].destinations, vs->tcp[i].destination_count, true);
}

/* A destination without a port is called by that of the host that is routed. */
static void look_at_routes(struct scope *s, const struct api_document *doc)
{
    const struct api_virtual_service *vs = doc->spec.virtual_service;
    for (size_t i = 0; i < vs->hosts.len; i++) {
        const struct registry_service *service = registry_service_by_host(
            s->r, api_host_fqdn(&s->arena, vs->hosts.v[i], doc->namespace));
        for (size_t p = 0; service != NULL && p < service->doc->spec.service->port_count; p++)
            tell_routes(&(struct destinations){s, doc, service->doc->spec.service->ports[p].port});
    }
    s->job.facts.len = 0;
    arena_reset(&s->arena);
}

/* --- both --- */

static void walk(struct scope *s)
{
    arena_init(&s->arena, 4096);
    s->job.a = &s->arena;
    registry_namespaces(s->r, on_namespace, s);
    if (s->is_of_clusters) {
        struct registry_docs docs = registry_docs(s->r, API_KIND_VIRTUAL_SERVICE, STR_NULL);
        for (size_t i = 0; i < docs.len; i++)
            look_at_routes(s, docs.ptr[i]);
    }
    VEC_DEINIT(&s->job.facts);
    arena_deinit(&s->arena);
}

void scope_listeners(struct registry *r, void (*each)(void *ctx, struct str name), void *ctx)
{
    struct scope s = {.r = r, .each = each, .ctx = ctx};
    each(ctx, STR(TRANSLATE_OUTBOUND));
    walk(&s);
}

void scope_clusters(struct registry *r, const struct translate_viewer *v,
                    void (*each)(void *ctx, struct str name), void *ctx)
{
    struct scope s = {
        .r = r, .job = {.r = r, .viewer = v}, .each = each, .ctx = ctx, .is_of_clusters = true};
    each(ctx, STR(TRANSLATE_PASSTHROUGH));
    each(ctx, STR(TRANSLATE_BLACKHOLE));
    walk(&s);
}
