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

static void check_port(struct check *c, const struct api_document *d, struct str fqdn,
                       uint16_t port, struct api_place place, enum api_severity severity)
{
    const struct api_document *service = check_find_service(c, fqdn);
    if (port == 0 || service == NULL || api_service_find_port(service->spec.service, port) != NULL)
        return;
    check_report(c, severity, d, place, NULL, "Service/%.*s/%.*s has no port %u",
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
                         const struct api_destination *to)
{
    if (to->subset.len == 0 || is_subset_defined(c, fqdn, to->subset))
        return;
    const struct api_document *service = check_find_service(c, fqdn);
    struct api_label label = {STR("version"), to->subset};
    struct selected count = {0};
    if (service != NULL)
        count = count_selected(c, service, &(struct api_labels){&label, 1});
    if (count.service > 0 && count.labelled == 0)
        check_report(c, API_ERROR, d, to->subset_place, NULL,
                     "no DestinationRule defines subset \"%.*s\", and no workload of %.*s is "
                     "labelled version: %.*s",
                     STR_FMT(to->subset), STR_FMT(fqdn), STR_FMT(to->subset));
    else
        check_report(c, API_WARNING, d, to->subset_place,
                     "Istio would not find it: there, define it in a DestinationRule",
                     "no DestinationRule defines subset \"%.*s\": endpoints labelled version: "
                     "%.*s are used",
                     STR_FMT(to->subset), STR_FMT(to->subset));
}

/* --- VirtualService ------------------------------------------------------------------------- */

static void check_destination(struct check *c, const struct api_document *d,
                              const struct api_destination *to)
{
    struct str fqdn = fqdn_of(c, d, to->host);
    if (check_is_host_missing(c, fqdn)) {
        check_report(c, API_ERROR, d, to->host_place, host_hint(c, fqdn),
                     "no Service defines host \"%.*s\"", STR_FMT(fqdn));
        return;
    }
    check_port(c, d, fqdn, to->port, to->port_place, API_ERROR);
    check_subset(c, d, fqdn, to);
}

static void check_match_port(struct check *c, const struct api_document *d, uint16_t port,
                             struct api_place place)
{
    const struct api_virtual_service *vs = d->spec.virtual_service;
    if (vs->hosts.len == 1)
        check_port(c, d, fqdn_of(c, d, vs->hosts.v[0]), port, place, API_WARNING);
}

static void check_routes(struct check *c, const struct api_document *d)
{
    const struct api_virtual_service *vs = d->spec.virtual_service;
    for (size_t i = 0; i < vs->http_count; i++) {
        const struct api_http_route *route = &vs->http[i];
        for (size_t j = 0; j < route->match_count; j++)
            check_match_port(c, d, route->matches[j].port, route->matches[j].place);
        for (size_t j = 0; j < route->destination_count; j++)
            check_destination(c, d, &route->destinations[j].destination);
    }
    for (size_t i = 0; i < vs->tcp_count; i++) {
        const struct api_tcp_route *route = &vs->tcp[i];
        for (size_t j = 0; j < route->match_count; j++)
            check_match_port(c, d, route->matches[j].port, route->matches[j].place);
        for (size_t j = 0; j < route->destination_count; j++)
            check_destination(c, d, &route->destinations[j].destination);
    }
}

struct host_user {
    const struct api_document *d;
    struct api_place place;
};

/* Both documents get the finding, for either may be the one to change. */
static void report_conflict(struct check *c, enum api_severity severity, struct str fqdn,
                            const struct host_user *a, const struct host_user *b, const char *what)
{
    const struct host_user *const pair[] = {a, b};
    for (size_t i = 0; i < 2; i++) {
        const struct host_user *other = pair[1 - i];
        struct str subject = api_document_subject(&c->arena, other->d);
        struct str hint = arena_printf(&c->arena, "at %s", check_place(c, other->d, other->place));
        check_report(c, severity, pair[i]->d, pair[i]->place, hint.ptr, "host %.*s %s %.*s as well",
                     STR_FMT(fqdn), what, STR_FMT(subject));
    }
}

static struct host_user *host_user_new(struct check *c, const struct api_document *d,
                                       struct api_place place)
{
    struct host_user *user = ARENA_NEW(&c->arena, struct host_user);
    *user = (struct host_user){d, place};
    return user;
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
static void check_layers(struct check *c, const struct api_document *d, struct str fqdn,
                         struct api_place place)
{
    const struct api_virtual_service *vs = d->spec.virtual_service;
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
        check_report(c, API_WARNING, d, place, "name the port http, or set its appProtocol",
                     "spec.http is never used: no port of %.*s speaks HTTP", STR_FMT(fqdn));
    if (vs->tcp_count > 0 && !has_tcp)
        check_report(c, API_WARNING, d, place, NULL,
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
            struct host_user *user = host_user_new(c, d, vs->host_places[i]);
            const struct host_user *other = map_get(&users, fqdn);
            if (other == NULL)
                map_put(&users, fqdn, user);
            else if (check_find(c, d->kind, d->namespace, d->name) == d)
                report_conflict(c, API_ERROR, fqdn, user, other, "is routed by");
            if (check_is_host_missing(c, fqdn))
                check_report(c, API_WARNING, d, vs->host_places[i], host_hint(c, fqdn),
                             "no Service defines host \"%.*s\"", STR_FMT(fqdn));
            check_layers(c, d, fqdn, vs->host_places[i]);
        }
        check_routes(c, d);
    }
    map_deinit(&users);
}

/* --- DestinationRule ------------------------------------------------------------------------ */

static void check_rule_ports(struct check *c, const struct api_document *d, struct str fqdn,
                             const struct api_policy_block *block)
{
    for (size_t i = 0; i < block->port_count; i++)
        check_port(c, d, fqdn, block->ports[i].port, block->ports[i].place, API_ERROR);
}

static void check_rule_subsets(struct check *c, const struct api_document *d, struct str fqdn)
{
    const struct api_destination_rule *rule = d->spec.destination_rule;
    const struct api_document *service = check_find_service(c, fqdn);
    for (size_t i = 0; i < rule->subset_count; i++) {
        const struct api_subset *s = &rule->subsets[i];
        check_rule_ports(c, d, fqdn, &s->traffic_policy);
        if (service == NULL)
            continue;
        struct selected count = count_selected(c, service, &s->labels);
        if (count.service > 0 && count.labelled == 0)
            check_report(c, API_WARNING, d, s->place, NULL,
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
    check_report(c, API_WARNING, d, rule->host_place, NULL,
                 "clients are to speak in clear (tls.mode: DISABLE), but namespace %.*s is STRICT",
                 STR_FMT(namespace));
}

static void check_destination_rule(struct check *c, const struct api_document *d, struct str fqdn)
{
    check_rule_mtls(c, d, fqdn);
    const struct api_destination_rule *rule = d->spec.destination_rule;
    if (check_is_host_missing(c, fqdn))
        check_report(c, API_WARNING, d, rule->host_place, host_hint(c, fqdn),
                     "no Service defines host \"%.*s\"", STR_FMT(fqdn));
    check_rule_ports(c, d, fqdn, &rule->traffic_policy);
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
        struct host_user *user = host_user_new(c, d, rule->host_place);
        const struct host_user *other = map_get(&users, key);
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
