/* VirtualServices and DestinationRules: what they refer to, and whether two speak about the same.
 */
#include "control/api/check_priv.h"
#include "control/api/destination_rule.h"
#include "control/api/mesh.h"
#include "control/api/nearest_priv.h"
#include "control/api/service.h"
#include "control/api/virtual_service.h"

static struct str fqdn_of(struct check *c, const struct api_document *d, struct str host)
{
    return api_host_fqdn(&c->arena, host, d->namespace);
}

/* The name to write instead of a misspelt host; NULL when none is near. */
static const char *host_hint(struct check *c, struct str fqdn)
{
    const struct api_document *best = NULL;
    unsigned best_distance = 3;
    ptrdiff_t dot = str_find(fqdn, '.');
    struct str name = dot < 0 ? fqdn : str_sub(fqdn, 0, (size_t)dot);
    CHECK_EACH(c, API_KIND_SERVICE, s)
    {
        unsigned distance = nearest_distance(name, s->name, best_distance);
        if (distance < best_distance) {
            best_distance = distance;
            best = s;
        }
    }
    if (best == NULL)
        return NULL;
    return arena_printf(&c->arena, "did you mean %.*s.%.*s." API_DNS_SUFFIX "?",
                        STR_FMT(best->name), STR_FMT(best->namespace))
        .ptr;
}

static void check_port(struct check *c, struct check_at at, struct str fqdn, uint16_t port,
                       enum api_severity severity)
{
    const struct api_document *service = check_find_service(c, fqdn);
    if (port == 0 || service == NULL || api_service_find_port(service->spec.service, port) != NULL)
        return;
    if (severity == API_ERROR)
        check_report_unmet(c, at, NULL, "Service/%.*s/%.*s has no port %u",
                           STR_FMT(service->namespace), STR_FMT(service->name), port);
    else
        check_report(c, severity, at, NULL, "Service/%.*s/%.*s has no port %u",
                     STR_FMT(service->namespace), STR_FMT(service->name), port);
}

/* --- Subsets -------------------------------------------------------------------------------- */

struct selected {
    size_t service, labelled; /* workloads of the service; those of them with the labels, too */
};

static struct selected count_selected(struct check *c, const struct api_document *service,
                                      const struct api_labels *labels)
{
    struct selected count = {0};
    CHECK_EACH(c, API_KIND_WORKLOAD, w)
    {
        if (!str_eq(w->namespace, service->namespace) ||
            !api_labels_match(&service->spec.service->selector, &w->labels))
            continue;
        count.service++;
        if (api_labels_match(labels, &w->labels))
            count.labelled++;
    }
    return count;
}

static bool is_subset_defined(struct check *c, struct str fqdn, struct str subset)
{
    CHECK_EACH(c, API_KIND_DESTINATION_RULE, rule)
    {
        if (str_eq(fqdn_of(c, rule, rule->spec.destination_rule->host), fqdn) &&
            api_destination_rule_find_subset(rule->spec.destination_rule, subset) != NULL)
            return true;
    }
    return false;
}

/* The third leniency: a subset that no rule defines is the endpoints labelled with its name. Where
 * the set knows the workloads and none is, the name is a mistake. */
static void check_subset(struct check *c, const struct api_document *d, struct str fqdn,
                         const struct api_destination *to, const char *path)
{
    struct check_at at = {d, to->subset_place, check_path(c, "%s.subset", path)};
    if (to->subset.len == 0 || is_subset_defined(c, fqdn, to->subset))
        return;
    const struct api_document *service = check_find_service(c, fqdn);
    struct api_label label = {STR("version"), to->subset};
    struct selected count = {0};
    if (service != NULL)
        count = count_selected(c, service, &(struct api_labels){&label, 1});
    if (count.service > 0 && count.labelled == 0)
        check_report_unmet(c, at, NULL,
                           "no DestinationRule defines subset \"%.*s\", and no workload of %.*s is "
                           "labelled version: %.*s",
                           STR_FMT(to->subset), STR_FMT(fqdn), STR_FMT(to->subset));
    else
        check_report(c, API_WARNING, at,
                     "Istio would not find it: there, define it in a DestinationRule",
                     "no DestinationRule defines subset \"%.*s\": endpoints labelled version: "
                     "%.*s are used",
                     STR_FMT(to->subset), STR_FMT(to->subset));
}

/* --- VirtualService ------------------------------------------------------------------------- */

static void check_destination(struct check *c, const struct api_document *d,
                              const struct api_destination *to, const char *path)
{
    struct check_at host = {d, to->host_place, check_path(c, "%s.host", path)};
    struct check_at port = {d, to->port_place, check_path(c, "%s.port", path)};
    struct str fqdn = fqdn_of(c, d, to->host);
    if (check_is_host_missing(c, fqdn)) {
        check_report_unmet(c, host, host_hint(c, fqdn), "no Service defines host \"%.*s\"",
                           STR_FMT(fqdn));
        return;
    }
    check_port(c, port, fqdn, to->port, API_ERROR);
    check_subset(c, d, fqdn, to, path);
}

/* Destinations and match ports of one route, HTTP or TCP. */
static void check_destinations(struct check *c, const struct api_document *d,
                               const struct api_weighted_destination *v, size_t len,
                               const char *route)
{
    for (size_t i = 0; i < len; i++)
        check_destination(c, d, &v[i].destination,
                          check_path(c, "%s.route[%zu].destination", route, i));
}

static void check_match_port(struct check *c, struct check_at at, uint16_t port)
{
    const struct api_virtual_service *vs = at.d->spec.virtual_service;
    if (vs->hosts.len == 1)
        check_port(c, at, fqdn_of(c, at.d, vs->hosts.v[0]), port, API_WARNING);
}

static void check_http_route(struct check *c, const struct api_document *d, size_t index)
{
    const struct api_http_route *route = &d->spec.virtual_service->http[index];
    const char *path = check_path(c, "spec.http[%zu]", index);
    for (size_t i = 0; i < route->match_count; i++) {
        const struct api_http_match *m = &route->matches[i];
        check_match_port(c, (struct check_at){d, m->place, check_path(c, "%s.match[%zu]", path, i)},
                         m->port);
    }
    check_destinations(c, d, route->destinations, route->destination_count, path);
}

static void check_tcp_route(struct check *c, const struct api_document *d, size_t index)
{
    const struct api_tcp_route *route = &d->spec.virtual_service->tcp[index];
    const char *path = check_path(c, "spec.tcp[%zu]", index);
    for (size_t i = 0; i < route->match_count; i++) {
        const struct api_tcp_match *m = &route->matches[i];
        check_match_port(c, (struct check_at){d, m->place, check_path(c, "%s.match[%zu]", path, i)},
                         m->port);
    }
    check_destinations(c, d, route->destinations, route->destination_count, path);
}

static void check_routes(struct check *c, const struct api_document *d)
{
    const struct api_virtual_service *vs = d->spec.virtual_service;
    for (size_t i = 0; i < vs->http_count; i++)
        check_http_route(c, d, i);
    for (size_t i = 0; i < vs->tcp_count; i++)
        check_tcp_route(c, d, i);
}

/* Both documents get the finding, for either may be the one to change. */
static void report_conflict(struct check *c, enum api_severity severity, struct str fqdn,
                            const struct check_at *a, const struct check_at *b, const char *what)
{
    const struct check_at *const pair[] = {a, b};
    for (size_t i = 0; i < 2; i++) {
        const struct check_at *other = pair[1 - i];
        struct str subject = api_document_subject(&c->arena, other->d);
        struct str hint = arena_printf(&c->arena, "at %s", check_place(c, other->d, other->place));
        check_report(c, severity, *pair[i], hint.ptr, "host %.*s %s %.*s as well", STR_FMT(fqdn),
                     what, STR_FMT(subject));
    }
}

static struct check_at *at_new(struct check *c, struct check_at at)
{
    struct check_at *copy = ARENA_NEW(&c->arena, struct check_at);
    *copy = at;
    return copy;
}

static bool is_http_possible(enum api_protocol p)
{
    return p != API_PROTOCOL_TCP && p != API_PROTOCOL_TLS;
}

static bool is_tcp_possible(enum api_protocol p)
{
    return p == API_PROTOCOL_TCP || p == API_PROTOCOL_TLS || p == API_PROTOCOL_AUTO;
}

/* Routes of a layer that no port of the host speaks are never asked. */
static void check_layers(struct check *c, struct check_at at, struct str fqdn)
{
    const struct api_virtual_service *vs = at.d->spec.virtual_service;
    const struct api_document *service = check_find_service(c, fqdn);
    bool has_http = false, has_tcp = false;
    if (service == NULL)
        return;
    const struct api_service *s = service->spec.service;
    for (size_t i = 0; i < s->port_count; i++) {
        has_http |= is_http_possible(s->ports[i].protocol);
        has_tcp |= is_tcp_possible(s->ports[i].protocol);
    }
    if (vs->http_count > 0 && !has_http)
        check_report(c, API_WARNING, at, "name the port http, or set its appProtocol",
                     "spec.http is never used: no port of %.*s speaks HTTP", STR_FMT(fqdn));
    if (vs->tcp_count > 0 && !has_tcp)
        check_report(c, API_WARNING, at, NULL,
                     "spec.tcp is never used: all ports of %.*s speak HTTP", STR_FMT(fqdn));
}

static void check_virtual_services(struct check *c)
{
    struct map users;
    map_init(&users);
    CHECK_EACH(c, API_KIND_VIRTUAL_SERVICE, d)
    {
        const struct api_virtual_service *vs = d->spec.virtual_service;
        for (size_t i = 0; i < vs->hosts.len; i++) {
            struct str fqdn = fqdn_of(c, d, vs->hosts.v[i]);
            struct check_at *user = at_new(
                c, (struct check_at){d, vs->host_places[i], check_path(c, "spec.hosts[%zu]", i)});
            const struct check_at *other = map_get(&users, fqdn);
            if (other == NULL)
                map_put(&users, fqdn, user);
            else if (check_find(c, d->kind, d->namespace, d->name) == d)
                report_conflict(c, API_ERROR, fqdn, user, other, "is routed by");
            if (check_is_host_missing(c, fqdn))
                check_report(c, API_WARNING, *user, host_hint(c, fqdn),
                             "no Service defines host \"%.*s\"", STR_FMT(fqdn));
            check_layers(c, *user, fqdn);
        }
        check_routes(c, d);
    }
    map_deinit(&users);
}

/* --- DestinationRule ------------------------------------------------------------------------ */

static void check_rule_ports(struct check *c, const struct api_document *d, struct str fqdn,
                             const struct api_policy_block *block, const char *path)
{
    for (size_t i = 0; i < block->port_count; i++) {
        struct check_at at = {d, block->ports[i].place,
                              check_path(c, "%s.portLevelSettings[%zu]", path, i)};
        check_port(c, at, fqdn, block->ports[i].port, API_ERROR);
    }
}

static void check_rule_subsets(struct check *c, const struct api_document *d, struct str fqdn)
{
    const struct api_destination_rule *rule = d->spec.destination_rule;
    const struct api_document *service = check_find_service(c, fqdn);
    for (size_t i = 0; i < rule->subset_count; i++) {
        const struct api_subset *s = &rule->subsets[i];
        struct check_at at = {d, s->place, check_path(c, "spec.subsets[%zu]", i)};
        check_rule_ports(c, d, fqdn, &s->traffic_policy,
                         check_path(c, "%s.trafficPolicy", at.path));
        if (service == NULL)
            continue;
        struct selected count = count_selected(c, service, &s->labels);
        if (count.service > 0 && count.labelled == 0)
            check_report(c, API_WARNING, at, NULL,
                         "the labels of subset \"%.*s\" match no workload of %.*s",
                         STR_FMT(s->name), STR_FMT(fqdn));
    }
}

static bool is_clear_text(const struct api_policy_block *block)
{
    bool is_clear = block->policy.tls != NULL && block->policy.tls->mode == API_CLIENT_TLS_DISABLE;
    for (size_t i = 0; i < block->port_count; i++) {
        const struct api_client_tls *tls = block->ports[i].policy.tls;
        is_clear |= tls != NULL && tls->mode == API_CLIENT_TLS_DISABLE;
    }
    return is_clear;
}

static void check_rule_mtls(struct check *c, const struct api_document *d, struct str fqdn)
{
    const struct api_destination_rule *rule = d->spec.destination_rule;
    struct str service, namespace;
    bool is_clear = is_clear_text(&rule->traffic_policy);
    for (size_t i = 0; i < rule->subset_count; i++)
        is_clear |= is_clear_text(&rule->subsets[i].traffic_policy);
    if (!is_clear || !api_host_split(fqdn, &service, &namespace) ||
        check_mtls_mode(c, namespace) != API_MTLS_STRICT)
        return;
    check_report(c, API_WARNING, (struct check_at){d, rule->host_place, "spec.host"}, NULL,
                 "clients are to speak in clear (tls.mode: DISABLE), but namespace %.*s is STRICT",
                 STR_FMT(namespace));
}

static void check_destination_rule(struct check *c, const struct api_document *d, struct str fqdn)
{
    check_rule_mtls(c, d, fqdn);
    const struct api_destination_rule *rule = d->spec.destination_rule;
    if (check_is_host_missing(c, fqdn))
        check_report(c, API_WARNING, (struct check_at){d, rule->host_place, "spec.host"},
                     host_hint(c, fqdn), "no Service defines host \"%.*s\"", STR_FMT(fqdn));
    check_rule_ports(c, d, fqdn, &rule->traffic_policy, "spec.trafficPolicy");
    check_rule_subsets(c, d, fqdn);
}

static void check_destination_rules(struct check *c)
{
    struct map users;
    map_init(&users);
    CHECK_EACH(c, API_KIND_DESTINATION_RULE, d)
    {
        const struct api_destination_rule *rule = d->spec.destination_rule;
        struct str fqdn = fqdn_of(c, d, rule->host);
        /* Rules of other namespaces may speak about the same host: the client's own counts. */
        struct str key = arena_printf(&c->arena, "%.*s %.*s", STR_FMT(d->namespace), STR_FMT(fqdn));
        struct check_at *user = at_new(c, (struct check_at){d, rule->host_place, "spec.host"});
        const struct check_at *other = map_get(&users, key);
        if (other == NULL)
            map_put(&users, key, user);
        else if (check_find(c, d->kind, d->namespace, d->name) == d)
            report_conflict(c, API_ERROR, fqdn, user, other, "has a rule in");
        check_destination_rule(c, d, fqdn);
    }
    map_deinit(&users);
}

void check_route_all(struct check *c)
{
    check_virtual_services(c);
    check_destination_rules(c);
}
