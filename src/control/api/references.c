#include "control/api/references.h"

#include "control/api/authorization_policy.h"
#include "control/api/destination_rule.h"
#include "control/api/virtual_service.h"

struct walk {
    const struct api_document *d;
    void (*each)(void *ctx, struct str place);
    void *ctx;
};

static void on_host(const struct walk *w, struct str host)
{
    struct arena a;
    arena_init(&a, 512);
    struct str service, fqdn = api_host_fqdn(&a, host, w->d->namespace), place = fqdn;
    (void)api_host_split(fqdn, &service, &place);
    if (!str_eq(place, w->d->namespace))
        w->each(w->ctx, place);
    arena_deinit(&a);
}

static void on_destinations(const struct walk *w, const struct api_weighted_destination *list,
                            size_t count)
{
    for (size_t i = 0; i < count; i++)
        on_host(w, list[i].destination.host);
}

static void on_routes(const struct walk *w)
{
    const struct api_virtual_service *vs = w->d->spec.virtual_service;
    for (size_t i = 0; i < vs->hosts.len; i++)
        on_host(w, vs->hosts.v[i]);
    for (size_t i = 0; i < vs->http_count; i++)
        on_destinations(w, vs->http[i].destinations, vs->http[i].destination_count);
    for (size_t i = 0; i < vs->tcp_count; i++)
        on_destinations(w, vs->tcp[i].destinations, vs->tcp[i].destination_count);
}

/* TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT, or a part of one. */
static void on_principals(const struct walk *w, const struct api_matches *principals)
{
    for (size_t i = 0; i < principals->len; i++) {
        struct str rest = principals->v[i].value;
        while (rest.len > 0 && !str_eq(str_split(&rest, '/'), STR("ns")))
            continue;
        struct str place = str_split(&rest, '/');
        if (place.len > 0 && !str_eq(place, w->d->namespace))
            w->each(w->ctx, place);
    }
}

static void on_policy(const struct walk *w)
{
    const struct api_authorization_policy *p = w->d->spec.authorization_policy;
    for (size_t i = 0; i < p->rule_count; i++) {
        const struct api_auth_rule *rule = &p->rules[i];
        for (size_t n = 0; n < rule->source_count; n++) {
            on_principals(w, &rule->sources[n].principals);
            on_principals(w, &rule->sources[n].not_principals);
        }
        for (size_t n = 0; n < rule->condition_count; n++) {
            on_principals(w, &rule->conditions[n].values);
            on_principals(w, &rule->conditions[n].not_values);
        }
    }
}

void api_document_references(const struct api_document *d,
                             void (*each)(void *ctx, struct str place), void *ctx)
{
    const struct walk w = {d, each, ctx};
    if (d->kind == API_KIND_VIRTUAL_SERVICE)
        on_routes(&w);
    else if (d->kind == API_KIND_DESTINATION_RULE)
        on_host(&w, d->spec.destination_rule->host);
    else if (d->kind == API_KIND_AUTHORIZATION_POLICY)
        on_policy(&w);
}
