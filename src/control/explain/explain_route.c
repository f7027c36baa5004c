/* The caller's side: the service, its listener, the route, the destinations. */
#include "control/api/destination_rule.h"
#include "control/api/document.h"
#include "control/api/virtual_service.h"
#include "control/explain/explain_priv.h"

void explain_answer(struct explain *e, enum explain_verdict verdict, unsigned status,
                    struct str reason)
{
    e->verdict = verdict;
    e->status = status;
    e->reason = reason;
}

/* --- names that are no service --- */

static struct str ports_text(const struct explain *e)
{
    const struct api_service *s = e->service->doc->spec.service;
    struct str text = STR_NULL;
    for (size_t i = 0; i < s->port_count; i++)
        text = arena_printf(e->a, "%.*s%s%u", STR_FMT(text), i > 0 ? ", " : "", s->ports[i].port);
    return text;
}

static bool fail_service(struct explain *e)
{
    struct str ports = e->service != NULL ? ports_text(e) : STR_NULL;
    bool is_only = registry_mesh(e->args->registry)->outbound_mode == API_OUTBOUND_REGISTRY_ONLY;
    if (e->service != NULL)
        explain_answer(e, EXPLAIN_NOT_REACHED, 0,
                       arena_printf(e->a, "service %.*s has no port %u (it has %.*s)",
                                    STR_FMT(e->host), e->port, STR_FMT(ports)));
    else if (!e->has_sidecar)
        explain_answer(e, EXPLAIN_NOT_REACHED, 0,
                       arena_printf(e->a, "no Service is named %.*s", STR_FMT(e->host)));
    else
        explain_answer(e, EXPLAIN_NOT_REACHED, 0,
                       arena_printf(e->a, "no Service is named %.*s; what is not of the mesh is %s",
                                    STR_FMT(e->host),
                                    is_only ? "refused (outboundTrafficPolicy REGISTRY_ONLY)"
                                            : "let through as it is (outboundTrafficPolicy "
                                              "ALLOW_ANY)"));
    return false;
}

/* --- destinations --- */

static struct explain_destination *add_destination(struct explain *e, struct str cluster)
{
    struct explain_destination d = {.cluster_name = cluster};
    ptrdiff_t slash = str_find(cluster, '/');
    if (slash >= 0) {
        struct str rest = str_skip(cluster, (size_t)slash + 1);
        d.subset = str_split(&rest, '|');
    }
    VEC_PUSH(&e->destinations, d);
    return &e->destinations.ptr[e->destinations.len - 1];
}

/* "DestinationRule/shop/catalog" to the document; NULL: there is none. */
static const struct api_document *rule_of(const struct explain *e, const struct cluster *c)
{
    struct str rest = c != NULL ? c->origin.text : STR_NULL;
    if (!str_eq(str_split(&rest, '/'), STR("DestinationRule")))
        return NULL;
    struct str namespace_ = str_split(&rest, '/');
    return registry_doc(e->args->registry, API_KIND_DESTINATION_RULE, namespace_, rest);
}

/* Which part of the rule counts, and what a subset means: without a word in the rule the version.
 */
static void describe_rule(const struct explain *e, struct explain_destination *d)
{
    const struct api_document *doc = rule_of(e, d->cluster);
    const struct api_destination_rule *rule = doc != NULL ? doc->spec.destination_rule : NULL;
    const struct api_subset *s = NULL;
    if (rule != NULL)
        d->cluster_origin.path = STR("spec.trafficPolicy");
    for (size_t i = 0; rule != NULL && i < rule->subset_count; i++) {
        if (!str_eq(rule->subsets[i].name, d->subset))
            continue;
        s = &rule->subsets[i];
        d->cluster_origin.path = arena_printf(e->a, "spec.subsets[%zu]", i);
    }
    if (s == NULL && d->subset.len > 0)
        d->labels = arena_printf(e->a, "version=%.*s", STR_FMT(d->subset));
    for (size_t i = 0; s != NULL && i < s->labels.len; i++)
        d->labels = arena_printf(e->a, "%.*s%s%.*s=%.*s", STR_FMT(d->labels), i > 0 ? "," : "",
                                 STR_FMT(s->labels.v[i].key), STR_FMT(s->labels.v[i].value));
}

static struct str tls_mode(const struct cluster *c)
{
    if (c->tls_match_count > 0)
        return STR("auto");
    return c->tls != NULL ? STR("mTLS") : STR("plain");
}

static void add_weighted(struct explain *e, const struct weighted_cluster *clusters, size_t count)
{
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += clusters[i].weight;
    for (size_t i = 0; i < count; i++) {
        struct explain_destination *d = add_destination(e, clusters[i].name);
        d->weighted = &clusters[i];
        d->weight = clusters[i].weight;
        d->weight_total = total;
        d->cluster = explain_get(e, e->from, RESOURCE_CLUSTER, clusters[i].name);
        if (d->cluster == NULL)
            continue;
        d->cluster_origin = explain_origin(e, d->cluster->origin.text);
        describe_rule(e, d);
        d->tls_mode = tls_mode(d->cluster);
    }
}

/* --- the route --- */

/* Whose retries hold: the route's own, or else those of the first destination's rule. */
static struct explain_origin retry_origin(struct explain *e)
{
    struct explain_origin o = e->route_origin;
    struct str path = o.path, document = o.document;
    uint64_t index;
    if (str_starts_with(path, STR("spec.http["))) {
        struct str rest = str_skip(document, strlen("VirtualService/"));
        struct str namespace_ = str_split(&rest, '/'), number = str_skip(path, 10);
        const struct api_document *d =
            registry_doc(e->args->registry, API_KIND_VIRTUAL_SERVICE, namespace_, rest);
        if (d != NULL && str_to_u64(str_split(&number, ']'), UINT32_MAX, &index) &&
            index < d->spec.virtual_service->http_count &&
            d->spec.virtual_service->http[index].retries != NULL) {
            o.path = arena_printf(e->a, "%.*s.retries", STR_FMT(path));
            return o;
        }
    }
    const struct cluster *c = e->destinations.len > 0 ? e->destinations.ptr[0].cluster : NULL;
    const struct api_document *d = rule_of(e, c);
    if (d == NULL || api_destination_rule_policy(d->spec.destination_rule,
                                                 e->destinations.ptr[0].subset, e->port)
                             .retries == NULL)
        return (struct explain_origin){.line = 0};
    o = e->destinations.ptr[0].cluster_origin;
    o.path = STR("spec.trafficPolicy.retries");
    return o;
}

static void note_skipped(struct explain *e)
{
    for (size_t i = 0; i < e->vhost->route_count; i++) {
        const struct route *r = &e->vhost->routes[i];
        if (r == e->route)
            return;
        struct explain_skipped s = {explain_origin(e, r->origin.text),
                                    explain_text_route_fails(e->a, r, e->head)};
        VEC_PUSH(&e->skipped, s);
    }
}

static bool reply_here(struct explain *e)
{
    const struct route *r = e->route;
    if (r->kind == ROUTE_REDIRECT)
        explain_answer(e, EXPLAIN_REPLIED, r->redirect_status,
                       STR("the caller's sidecar answers with a redirect"));
    else
        explain_answer(e, EXPLAIN_REPLIED, r->direct_status,
                       STR("the caller's sidecar answers by itself"));
    e->decided_origin = e->route_origin;
    return false;
}

static bool take_route(struct explain *e, const struct hcm *hcm)
{
    struct url_path_options options = match_path_options(hcm);
    if (!explain_make_head(e, &options)) {
        explain_answer(e, EXPLAIN_DENIED, 400, STR("the path is none that a sidecar takes"));
        return false;
    }
    explain_add_own(e->head);
    e->routes = hcm->route_config_name.len == 0
                    ? hcm->route_config
                    : explain_get(e, e->from, RESOURCE_ROUTE, hcm->route_config_name);
    e->vhost = e->routes != NULL ? match_virtual_host(e->routes, e->head->authority) : NULL;
    e->route = e->vhost != NULL ? match_route(e->vhost, e->head) : NULL;
    if (e->vhost != NULL)
        note_skipped(e);
    if (e->route == NULL) {
        explain_answer(e, EXPLAIN_NO_ROUTE, 404,
                       STR("no route of the VirtualService takes this request"));
        if (e->routes != NULL)
            e->decided_origin = explain_origin(e, e->routes->origin.text);
        return false;
    }
    e->route_origin = explain_origin(e, e->route->origin.text);
    if (e->route->kind != ROUTE_FORWARD)
        return reply_here(e);
    add_weighted(e, e->route->clusters, e->route->cluster_count);
    if (e->route->retry != NULL)
        e->retry_origin = retry_origin(e);
    return true;
}

static const struct filter_chain *outbound_chain(struct explain *e, const struct listener *l)
{
    static const struct str http1 = {"http/1.1", 8};
    struct chain_input in = {
        .destination = l->address.ip,
        .destination_port = e->port,
        .application_protocols = &http1,
        .application_protocol_count = e->is_tcp_asked ? 0 : 1,
    };
    return match_filter_chain(l, &in);
}

static bool with_sidecar(struct explain *e)
{
    struct str name = arena_printf(e->a, "%.*s:%u", STR_FMT(e->host), e->port);
    const struct listener *l = explain_get(e, e->from, RESOURCE_LISTENER, name);
    const struct filter_chain *chain = l != NULL ? outbound_chain(e, l) : NULL;
    const struct network_filter *last =
        chain != NULL && chain->filter_count > 0 ? &chain->filters[chain->filter_count - 1] : NULL;
    if (last == NULL) {
        explain_answer(
            e, EXPLAIN_UNAVAILABLE, 0,
            arena_printf(e->a, "the caller's sidecar has no listener for %.*s", STR_FMT(name)));
        return false;
    }
    if (last->kind == NETWORK_FILTER_HCM) {
        if (!e->is_tcp_asked)
            return take_route(e, last->hcm);
        explain_answer(
            e, EXPLAIN_NOT_REACHED, 0,
            arena_printf(e->a, "%.*s speaks HTTP: say a method and a path", STR_FMT(name)));
        return false;
    }
    e->tcp = last->tcp_proxy;
    add_weighted(e, e->tcp->clusters, e->tcp->cluster_count);
    return true;
}

/* Nobody routes for a caller without sidecar: its connection ends at a replica of the service. */
static void without_sidecar(struct explain *e)
{
    struct str name = arena_printf(e->a, "%.*s:%u", STR_FMT(e->host), e->port);
    struct explain_destination *d = add_destination(e, name);
    d->weight = d->weight_total = 1;
    d->tls_mode = STR("plain");
    (void)explain_make_head(e, &url_path_options_base);
}

bool explain_route(struct explain *e)
{
    if (e->service_port == NULL)
        return fail_service(e);
    if (e->has_sidecar)
        return with_sidecar(e);
    without_sidecar(e);
    return true;
}
