/* The called side: mutual TLS between both proxies, then the policies of each workload that a
 * destination leads to. */
#include "control/api/document.h"
#include "control/explain/explain_priv.h"
#include "http/target.h"

/* One arrival being judged. */
struct hearing {
    struct explain *e;
    const struct explain_destination *d;
    struct explain_arrival *arrival;
    const struct upstream_tls *tls; /* NULL: in clear */
    struct rbac_input in;
};

static void decide(struct explain_arrival *a, enum explain_verdict verdict, unsigned status,
                   struct str reason)
{
    a->verdict = verdict;
    a->status = status;
    a->reason = reason;
}

/* --- policies --- */

static struct explain_policy policy_of(struct hearing *h, const struct rbac *rbac,
                                       const struct rbac_policy *p)
{
    struct explain *e = h->e;
    struct explain_policy out = {
        .is_deny = rbac->action == RBAC_DENY,
        .is_matched = match_rbac_policy(p, &h->in),
        .name = arena_str(e->a, p->name),
        .wants = explain_text_rule(e->a, p),
    };
    out.origin = explain_origin(e, out.name);
    if (!out.is_matched)
        out.why = explain_text_rule_fails(e->a, p, &h->in);
    if (h->in.source.family == IP_NONE && explain_text_asks_address(p))
        h->arrival->has_unknown_address = true;
    return out;
}

/* The first of several names decides where to look. */
static struct explain_origin first_origin(const struct explain *e, struct str names)
{
    return explain_origin(e, str_split(&names, ','));
}

/* False: refused; what is behind is not asked. */
static bool ask_rbac(struct hearing *h, const struct rbac *rbac)
{
    struct explain *e = h->e;
    struct explain_arrival *a = h->arrival;
    struct rbac_decision decision;
    bool is_decided = false;
    if (rbac == NULL)
        return true;
    match_rbac(rbac, &h->in, &decision);
    struct str origin = arena_str(e->a, decision.origin);
    for (size_t i = 0; i < rbac->policy_count; i++) {
        struct explain_policy p = policy_of(h, rbac, &rbac->policies[i]);
        p.decides = p.is_matched && !is_decided && str_eq(p.name, origin);
        is_decided |= p.decides;
        VEC_PUSH(&a->policies, p);
    }
    if (decision.is_allowed && rbac->action == RBAC_DENY)
        return true;
    a->decided_by = origin;
    a->decided_origin = first_origin(e, origin);
    if (decision.is_allowed)
        return true;
    decide(a, EXPLAIN_DENIED, a->is_tcp ? 0 : 403,
           rbac->action == RBAC_DENY
               ? arena_printf(e->a, "DENY %.*s matches", STR_FMT(origin))
               : arena_printf(e->a, "ALLOW policies are in force, and no rule of them matches"));
    return false;
}

static void ask_policies(struct hearing *h, const struct filter_chain *chain)
{
    const struct network_filter *last = &chain->filters[chain->filter_count - 1];
    decide(h->arrival, EXPLAIN_ALLOWED, 0, STR("no policy is in force"));
    for (size_t i = 0; i < chain->filter_count; i++) {
        if (chain->filters[i].kind == NETWORK_FILTER_RBAC && !ask_rbac(h, chain->filters[i].rbac))
            return;
    }
    for (size_t i = 0; last->kind == NETWORK_FILTER_HCM && i < last->hcm->filter_count; i++) {
        if (last->hcm->filters[i].kind == HTTP_FILTER_RBAC &&
            !ask_rbac(h, last->hcm->filters[i].rbac))
            return;
    }
    if (h->arrival->decided_by.len > 0)
        h->arrival->reason =
            arena_printf(h->e->a, "ALLOW %.*s matches", STR_FMT(h->arrival->decided_by));
    else if (h->arrival->policies.len > 0)
        h->arrival->reason = STR("no DENY policy matches, and no ALLOW policy is in force");
}

/* --- the head, as it arrives --- */

static struct http_head *arriving_head(struct hearing *h)
{
    const struct explain *e = h->e;
    struct http_head *head = ARENA_NEW(e->a, struct http_head);
    http_head_init(head, e->a, true);
    http_head_copy(head, e->head, e->a);
    if (e->route != NULL) {
        match_rewrite(e->route, head);
        match_edit(&h->d->weighted->request, head);
        match_edit(&e->route->request, head);
        match_edit(&e->vhost->request, head);
        match_edit(&e->routes->request, head);
        /* From those who are not verified it is not taken. */
        if (e->vhost->include_attempt_count && h->arrival->is_mtls)
            http_head_set(head, HTTP_NAME_X_ENVOY_ATTEMPT_COUNT, STR("1"));
    }
    explain_add_own(head);
    return head;
}

/* --- mutual TLS --- */

/* An endpoint's identity must be among the names that the caller's rule allows. */
static bool is_expected(const struct upstream_tls *tls, const struct endpoint *e)
{
    bool is_named = tls->common.san_count == 0;
    for (size_t i = 0; i < tls->common.san_count; i++) {
        const struct tls_san_matcher *san = &tls->common.sans[i];
        bool is_uri = san->type == TLS_SAN_TYPE_URI || san->type == TLS_SAN_TYPE_ANY;
        is_named |= is_uri && match_string(&san->match, e->identity);
    }
    return is_named || e->identity.len == 0;
}

static const struct filter_chain *inbound_chain(struct hearing *h)
{
    static const struct str http1 = {"http/1.1", 8};
    const struct explain_arrival *a = h->arrival;
    const struct listener *l =
        explain_get(h->e, a->workload, RESOURCE_LISTENER, STR(TRANSLATE_INBOUND));
    bool is_tcp = h->e->tcp != NULL || h->e->is_tcp_asked;
    struct chain_input in = {
        .destination = a->endpoint->address.ip,
        .source = h->in.source,
        .destination_port = a->endpoint->address.port,
        .is_tls = h->tls != NULL,
        .server_name = h->in.sni,
        .application_protocols = h->tls != NULL ? h->tls->common.alpn : &http1,
        .application_protocol_count = h->tls != NULL ? h->tls->common.alpn_count : !is_tcp,
    };
    return l != NULL ? match_filter_chain(l, &in) : NULL;
}

static void refuse_connection(struct hearing *h)
{
    struct explain_arrival *a = h->arrival;
    bool has_sidecar = h->e->has_sidecar;
    const char *what = h->tls == NULL && a->mode == API_MTLS_STRICT
                           ? "mutual TLS is STRICT there, and the caller comes in clear"
                       : h->tls != NULL && a->mode == API_MTLS_DISABLE
                           ? "mutual TLS is DISABLEd there, and the caller's rule demands it"
                           : "no filter chain of the workload's sidecar takes the connection";
    decide(a, EXPLAIN_DENIED, has_sidecar && h->e->route != NULL ? 503 : 0, str_from_c(what));
    a->decided_by = a->mode_origin.document;
    a->decided_origin = a->mode_origin;
}

static void hear(struct hearing *h)
{
    struct explain *e = h->e;
    struct explain_arrival *a = h->arrival;
    if (h->tls != NULL && !is_expected(h->tls, a->endpoint)) {
        decide(a, EXPLAIN_DENIED, e->route != NULL ? 503 : 0,
               arena_printf(e->a,
                            "the workload proves %.*s, which the caller's rule does not allow",
                            STR_FMT(a->endpoint->identity)));
        a->decided_by = h->d->cluster_origin.document;
        a->decided_origin = h->d->cluster_origin;
        return;
    }
    const struct filter_chain *chain = inbound_chain(h);
    if (chain == NULL || chain->filter_count == 0) {
        refuse_connection(h);
        return;
    }
    const struct network_filter *last = &chain->filters[chain->filter_count - 1];
    a->is_mtls = chain->tls != NULL && chain->tls->require_client_certificate;
    a->is_tcp = last->kind != NETWORK_FILTER_HCM;
    if (a->is_mtls && e->has_sidecar)
        a->caller = registry_identity(e->args->registry, e->from, e->a);
    h->in.principal = a->caller;
    if (!a->is_tcp) {
        struct http_head *head = arriving_head(h);
        struct url_path_options options = match_path_options(last->hcm);
        if (!http_target_set(head, head->path, &options)) {
            decide(a, EXPLAIN_DENIED, 400, STR("the path is none that the sidecar takes"));
            return;
        }
        h->in.head = head;
    }
    ask_policies(h, chain);
}

/* --- arrivals --- */

static bool is_uncaptured(const struct api_document *workload, uint16_t port)
{
    const struct api_ports *ports = &workload->spec.workload->capture.exclude_inbound_ports;
    for (size_t i = 0; i < ports->len; i++) {
        if (ports->v[i] == port)
            return true;
    }
    return false;
}

static void arrive_at(struct explain *e, const struct explain_destination *d,
                      struct explain_arrival *a)
{
    const struct endpoint *to = a->endpoint;
    struct hearing h = {.e = e, .d = d, .arrival = a};
    struct str mode_origin;
    if (d->cluster != NULL)
        h.tls = match_upstream_tls(d->cluster, to);
    a->mode = translate_mtls(e->args->translate, a->workload, to->address.port, e->a, &mode_origin);
    a->mode_origin = explain_origin(e, mode_origin);
    a->is_uncaptured = is_uncaptured(a->workload, to->address.port);
    if (a->is_uncaptured) {
        decide(a, EXPLAIN_ALLOWED, 0,
               STR("the workload's sidecar does not capture this port (excludeInboundPorts): no "
                   "policy is asked"));
        return;
    }
    h.in = (struct rbac_input){
        .source = e->source,
        .remote = e->source,
        .destination_port = to->address.port,
        .sni = h.tls != NULL ? h.tls->sni : STR_NULL,
    };
    if (e->args->has_addresses)
        h.in.destination = to->address.ip;
    hear(&h);
}

static struct explain_arrival *find_arrival(struct explain_destination *d,
                                            const struct workload_info *w)
{
    for (size_t i = 0; i < d->arrivals.len; i++) {
        const struct api_document *have = d->arrivals.ptr[i].workload;
        if (str_eq(have->name, w->name) && str_eq(have->namespace, w->namespace_))
            return &d->arrivals.ptr[i];
    }
    return NULL;
}

static void add_endpoint(struct explain *e, struct explain_destination *d,
                         const struct endpoint *endpoint)
{
    const struct workload_info *w = &endpoint->workload;
    struct explain_arrival *known = find_arrival(d, w);
    d->endpoint_count++;
    if (known != NULL) {
        VEC_PUSH(&known->endpoints, endpoint);
        return;
    }
    struct explain_arrival a = {
        .endpoint = endpoint,
        .workload = registry_doc(e->args->registry, API_KIND_WORKLOAD, w->namespace_, w->name),
    };
    if (a.workload == NULL)
        return;
    VEC_PUSH(&a.endpoints, endpoint);
    VEC_PUSH(&d->arrivals, a);
}

void explain_arrive(struct explain *e, struct explain_destination *d)
{
    const struct api_document *viewer = e->from != NULL     ? e->from
                                        : e->called != NULL ? e->called
                                                            : e->called_service;
    struct str name = d->cluster_name;
    if (d->cluster == NULL && e->has_sidecar)
        return;
    if (d->cluster != NULL && d->cluster->eds_service_name.len > 0)
        name = d->cluster->eds_service_name;
    const struct endpoints *endpoints = explain_get(e, viewer, RESOURCE_ENDPOINTS, name);
    for (size_t i = 0; endpoints != NULL && i < endpoints->count; i++)
        add_endpoint(e, d, &endpoints->items[i]);
    for (size_t i = 0; i < d->arrivals.len; i++)
        arrive_at(e, d, &d->arrivals.ptr[i]);
}
