/* AuthorizationPolicies and PeerAuthentications: whom they mean and where they apply. */
#include "control/api/authorization_policy.h"
#include "control/api/check_priv.h"
#include "control/api/mesh.h"
#include "control/api/workload.h"

static void check_selector(struct check *c, const struct api_document *d,
                           const struct api_selector *selector)
{
    bool is_root = str_eq(d->namespace, STR(API_ROOT_NAMESPACE));
    if (selector->labels.len == 0 ||
        (!is_root && !check_has_in_namespace(c, API_KIND_WORKLOAD, d->namespace)) ||
        c->by_kind[API_KIND_WORKLOAD].list.len == 0)
        return;
    CHECK_EACH(c, API_KIND_WORKLOAD, w)
    if ((is_root || str_eq(w->namespace, d->namespace)) &&
        api_labels_match(&selector->labels, &w->labels))
        return;
    struct check_at at = {d, selector->place, "spec.selector"};
    if (is_root)
        check_report(c, API_WARNING, at, NULL, "the selector matches no workload");
    else
        check_report(c, API_WARNING, at, NULL, "the selector matches no workload of namespace %.*s",
                     STR_FMT(d->namespace));
}

/* --- Principals ----------------------------------------------------------------------------- */

static bool is_account_used(struct check *c, struct str namespace, struct str account)
{
    CHECK_EACH(c, API_KIND_WORKLOAD, w)
    if (str_eq(w->namespace, namespace) && str_eq(w->spec.workload->service_account, account))
        return true;
    return false;
}

/* <trust domain>/ns/<namespace>/sa/<account> */
static bool split_principal(struct str principal, struct str *ret_namespace,
                            struct str *ret_account)
{
    struct str rest = principal;
    str_split(&rest, '/');
    if (!str_starts_with(rest, STR("ns/")))
        return false;
    rest = str_skip(rest, 3);
    struct str namespace = str_split(&rest, '/');
    if (!str_starts_with(rest, STR("sa/")))
        return false;
    *ret_namespace = namespace;
    *ret_account = str_skip(rest, 3);
    return true;
}

static void check_trust_domain(struct check *c, struct check_at at, const struct api_match *m)
{
    ptrdiff_t slash = str_find(m->value, '/');
    struct str own = api_check_mesh(c->set)->trust_domain;
    if (c->by_kind[API_KIND_MESH].list.len == 0 || slash < 0)
        return;
    struct str domain = str_sub(m->value, 0, (size_t)slash);
    if (!str_eq(domain, own))
        check_report(c, API_WARNING, at, NULL,
                     "trust domain \"%.*s\" is not the mesh's, which is \"%.*s\"", STR_FMT(domain),
                     STR_FMT(own));
}

static void check_account(struct check *c, struct check_at at, const struct api_match *m)
{
    struct str namespace, account;
    if (m->kind != API_MATCH_EXACT || !split_principal(m->value, &namespace, &account))
        return;
    if (!check_has_in_namespace(c, API_KIND_SERVICE_ACCOUNT, namespace) ||
        check_has(c, API_KIND_SERVICE_ACCOUNT, namespace, account) ||
        is_account_used(c, namespace, account))
        return;
    check_report(c, API_WARNING, at, NULL, "no ServiceAccount \"%.*s\" in namespace %.*s",
                 STR_FMT(account), STR_FMT(namespace));
}

static void check_principals(struct check *c, const struct api_document *d,
                             const struct api_matches *principals, const char *path)
{
    for (size_t i = 0; i < principals->len; i++) {
        const struct api_match *m = &principals->v[i];
        struct check_at at = {d, m->place, check_path(c, "%s[%zu]", path, i)};
        if (m->kind == API_MATCH_EXACT || m->kind == API_MATCH_PREFIX)
            check_trust_domain(c, at, m);
        check_account(c, at, m);
    }
}

static void check_rule(struct check *c, const struct api_document *d,
                       const struct api_auth_rule *rule, size_t index)
{
    for (size_t i = 0; i < rule->source_count; i++) {
        const char *source = check_path(c, "spec.rules[%zu].from[%zu].source", index, i);
        check_principals(c, d, &rule->sources[i].principals,
                         check_path(c, "%s.principals", source));
        check_principals(c, d, &rule->sources[i].not_principals,
                         check_path(c, "%s.notPrincipals", source));
    }
    for (size_t i = 0; i < rule->condition_count; i++) {
        if (rule->conditions[i].key != API_AUTH_KEY_SOURCE_PRINCIPAL)
            continue;
        const char *when = check_path(c, "spec.rules[%zu].when[%zu]", index, i);
        check_principals(c, d, &rule->conditions[i].values, check_path(c, "%s.values", when));
        check_principals(c, d, &rule->conditions[i].not_values,
                         check_path(c, "%s.notValues", when));
    }
}

/* --- PeerAuthentication --------------------------------------------------------------------- */

static enum api_mtls_mode namespace_mode(struct check *c, struct str namespace)
{
    CHECK_EACH(c, API_KIND_PEER_AUTHENTICATION, d)
    {
        const struct api_peer_authentication *pa = d->spec.peer_authentication;
        if (str_eq(d->namespace, namespace) && pa->selector.labels.len == 0 &&
            pa->mode != API_MTLS_UNSET)
            return pa->mode;
    }
    return API_MTLS_UNSET;
}

enum api_mtls_mode check_mtls_mode(struct check *c, struct str namespace)
{
    enum api_mtls_mode mode = namespace_mode(c, namespace);
    if (mode == API_MTLS_UNSET)
        mode = namespace_mode(c, STR(API_ROOT_NAMESPACE));
    if (mode == API_MTLS_UNSET)
        mode = api_check_mesh(c->set)->mtls_mode;
    return mode == API_MTLS_UNSET ? API_MTLS_PERMISSIVE : mode;
}

static void check_peer_scope(struct check *c, const struct api_document *d)
{
    if (d->spec.peer_authentication->selector.labels.len > 0)
        return;
    CHECK_EACH(c, API_KIND_PEER_AUTHENTICATION, other)
    {
        if (other == d || !str_eq(other->namespace, d->namespace) || str_eq(other->name, d->name) ||
            other->spec.peer_authentication->selector.labels.len > 0)
            continue;
        struct str hint =
            arena_printf(&c->arena, "the other is at %s", check_place(c, other, other->place));
        check_report(c, API_ERROR, (struct check_at){d, d->place, ""}, hint.ptr,
                     "there are two PeerAuthentications for the whole namespace %.*s",
                     STR_FMT(d->namespace));
        return;
    }
}

void check_policy_all(struct check *c)
{
    CHECK_EACH(c, API_KIND_AUTHORIZATION_POLICY, d)
    {
        const struct api_authorization_policy *policy = d->spec.authorization_policy;
        check_selector(c, d, &policy->selector);
        for (size_t i = 0; i < policy->rule_count; i++)
            check_rule(c, d, &policy->rules[i], i);
    }
    CHECK_EACH(c, API_KIND_PEER_AUTHENTICATION, d)
    {
        check_selector(c, d, &d->spec.peer_authentication->selector);
        check_peer_scope(c, d);
    }
}
