/* Views: which proxies share an output, because nothing in it depends on who asks.
 *
 * Matches by the caller's labels or namespace, and rules for a host that stand in a namespace which
 * is neither the service's nor the root, depend on who asks. The scope is found without recording
 * facts: a document that changes it is one that the output itself reads. */
#include "control/translate/translate_priv.h"

struct scope {
    const struct registry *r;
    struct str service_namespace; /* of the host whose rules are looked at */
    enum view_scope scope;
};

static void widen(struct scope *s, enum view_scope to)
{
    s->scope = MAX(s->scope, to);
}

static void on_rule(void *ctx, const struct api_document *d)
{
    struct scope *s = ctx;
    if (!str_eq(d->namespace, s->service_namespace) &&
        !str_eq(d->namespace, STR(REGISTRY_ROOT_NAMESPACE)))
        widen(s, VIEW_NAMESPACE);
}

static void look_at_rules(struct scope *s, struct str host)
{
    struct str name;
    s->service_namespace = STR_NULL;
    (void)api_host_split(host, &name, &s->service_namespace);
    registry_rules(s->r, host, on_rule, s);
}

static void look_at_source(struct scope *s, const struct api_labels *labels, struct str namespace_)
{
    if (labels->len > 0)
        widen(s, VIEW_WORKLOAD);
    if (namespace_.len > 0)
        widen(s, VIEW_NAMESPACE);
}

static void on_routes(void *ctx, const struct api_document *d)
{
    struct scope *s = ctx;
    const struct api_virtual_service *vs = d->spec.virtual_service;
    struct arena a;
    arena_init(&a, 512);
    for (size_t i = 0; i < vs->http_count; i++) {
        const struct api_http_route *route = &vs->http[i];
        for (size_t m = 0; m < route->match_count; m++)
            look_at_source(s, &route->matches[m].source_labels, route->matches[m].source_namespace);
        if (route->destination_count > 0)
            look_at_rules(s,
                          api_host_fqdn(&a, route->destinations[0].destination.host, d->namespace));
    }
    for (size_t i = 0; i < vs->tcp_count; i++) {
        for (size_t m = 0; m < vs->tcp[i].match_count; m++)
            look_at_source(s, &vs->tcp[i].matches[m].source_labels,
                           vs->tcp[i].matches[m].source_namespace);
    }
    arena_deinit(&a);
}

enum view_scope view_scope(const struct registry *r, enum resource_type type, struct str name)
{
    struct output_name n;
    struct scope s = {.r = r};
    if (type == RESOURCE_DIRECTORY)
        return VIEW_ALL;
    if (type == RESOURCE_LISTENER && str_eq(name, STR(TRANSLATE_INBOUND)))
        return VIEW_WORKLOAD;
    if (str_eq(name, STR(TRANSLATE_OUTBOUND)))
        return VIEW_ALL;
    if (!name_parse(name, &n))
        return VIEW_ALL;
    look_at_rules(&s, n.host);
    if (type == RESOURCE_ROUTE || type == RESOURCE_LISTENER)
        registry_routes(r, n.host, on_routes, &s);
    return s.scope;
}
