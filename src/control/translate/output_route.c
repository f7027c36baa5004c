/* Routes of a service port: VirtualService and the retries that apply. */
#include "control/translate/translate_priv.h"

/* --- retries --- */

static uint32_t retry_on_of(uint32_t api)
{
    static const struct {
        uint32_t api, model;
    } table[] = {
        {API_RETRY_5XX, RETRY_5XX},
        {API_RETRY_GATEWAY_ERROR, RETRY_GATEWAY_ERROR},
        {API_RETRY_RESET, RETRY_RESET},
        {API_RETRY_RESET_BEFORE_REQUEST, RETRY_RESET_BEFORE_REQUEST},
        {API_RETRY_CONNECT_FAILURE, RETRY_CONNECT_FAILURE},
        {API_RETRY_RETRIABLE_4XX, RETRY_RETRIABLE_4XX},
        {API_RETRY_REFUSED_STREAM, RETRY_REFUSED_STREAM},
        {API_RETRY_RETRIABLE_STATUS_CODES, RETRY_RETRIABLE_STATUS_CODES},
        {API_RETRY_CANCELLED, RETRY_GRPC_CANCELLED},
        {API_RETRY_DEADLINE_EXCEEDED, RETRY_GRPC_DEADLINE_EXCEEDED},
        {API_RETRY_INTERNAL, RETRY_GRPC_INTERNAL},
        {API_RETRY_RESOURCE_EXHAUSTED, RETRY_GRPC_RESOURCE_EXHAUSTED},
        {API_RETRY_UNAVAILABLE, RETRY_GRPC_UNAVAILABLE},
    };
    uint32_t on = 0;
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        on |= (api & table[i].api) != 0 ? table[i].model : 0;
    return on;
}

/* retries NULL: Istio's defaults (2 attempts). */
static const struct retry_policy *retry_policy(struct job *j, const struct api_retries *retries)
{
    static const struct api_retries fallback = {
        .attempts = API_RETRY_ATTEMPTS_DEFAULT,
        .retry_on = API_RETRY_ON_DEFAULT,
    };
    const struct api_retries *r = retries != NULL ? retries : &fallback;
    if (r->attempts == 0)
        return NULL;
    struct retry_policy *p = ARENA_NEW(j->a, struct retry_policy);
    p->on = retry_on_of(r->retry_on);
    p->retries_max = r->attempts;
    p->per_try_timeout_us = api_opt_or(r->per_try_timeout_ms, 0) * 1000;
    uint32_t *codes = ARENA_ARRAY(j->a, uint32_t, r->status_codes.len + 1);
    for (size_t i = 0; i < r->status_codes.len; i++)
        codes[i] = r->status_codes.v[i];
    p->status_codes = codes;
    p->status_code_count = r->status_codes.len;
    p->avoid_previous_hosts = true;
    p->host_selection_attempts_max = 5;
    p->backoff_base_us = 25000;
    p->backoff_max_us = 250000;
    return p;
}

/* The rule's retries of the destination apply to routes that set none (a leniency). */
static const struct retry_policy *route_retries(struct job *j, const struct api_retries *own,
                                                struct str host, struct str subset, uint16_t port)
{
    if (own != NULL)
        return retry_policy(j, own);
    const struct api_document *rule = job_rule(j, host);
    if (rule == NULL)
        return retry_policy(j, NULL);
    struct api_traffic_policy policy =
        api_destination_rule_policy(rule->spec.destination_rule, subset, port);
    return retry_policy(j, policy.retries);
}

/* --- matches --- */

static struct string_match string_of(const struct api_match *m)
{
    static const enum string_match_kind kinds[] = {
        [API_MATCH_EXACT] = STRING_MATCH_EXACT,
        [API_MATCH_PREFIX] = STRING_MATCH_PREFIX,
        [API_MATCH_SUFFIX] = STRING_MATCH_SUFFIX,
        [API_MATCH_PRESENT] = STRING_MATCH_ANY,
    };
    return (struct string_match){.kind = kinds[m->kind], .value = m->value};
}

static void add_header(struct header_match *headers, size_t *count, struct str name,
                       const struct api_match *m, bool is_inverted)
{
    headers[(*count)++] =
        (struct header_match){.name = name, .value = string_of(m), .is_inverted = is_inverted};
}

static void set_headers(struct job *j, const struct api_http_match *m, struct route_match *to)
{
    size_t count = 0;
    struct header_match *headers =
        ARENA_ARRAY(j->a, struct header_match, m->headers.len + m->without_headers.len + 2);
    /* gRPC matches a call's metadata only; it was asked before whether these two fit. */
    bool has_pseudo = !job_is_grpc(j);
    if (m->method != NULL && has_pseudo)
        add_header(headers, &count, STR(":method"), m->method, false);
    if (m->authority != NULL && has_pseudo) {
        add_header(headers, &count, STR(":authority"), m->authority, false);
        headers[count - 1].value.ignore_case = true; /* hosts have no case */
    }
    for (size_t i = 0; i < m->headers.len; i++)
        add_header(headers, &count, m->headers.v[i].name, &m->headers.v[i].match, false);
    for (size_t i = 0; i < m->without_headers.len; i++)
        add_header(headers, &count, m->without_headers.v[i].name, &m->without_headers.v[i].match,
                   true);
    to->headers = headers;
    to->header_count = count;
}

static void set_queries(struct job *j, const struct api_http_match *m, struct route_match *to)
{
    struct query_match *queries = ARENA_ARRAY(j->a, struct query_match, m->query_params.len + 1);
    for (size_t i = 0; i < m->query_params.len; i++)
        queries[i] =
            (struct query_match){m->query_params.v[i].name, string_of(&m->query_params.v[i].match)};
    to->queries = queries;
    to->query_count = m->query_params.len;
}

static struct route_match match_of(struct job *j, const struct api_http_match *m)
{
    struct route_match to = {.path_kind = PATH_PREFIX, .path = STR("/"), .is_case_sensitive = true};
    if (m == NULL)
        return to;
    if (m->uri != NULL && m->uri->kind != API_MATCH_PRESENT) {
        to.path_kind = m->uri->kind == API_MATCH_EXACT ? PATH_EXACT : PATH_PREFIX;
        to.path = m->uri->value;
        to.is_case_sensitive = !m->is_uri_case_ignored;
    }
    set_headers(j, m, &to);
    set_queries(j, m, &to);
    return to;
}

/* Matches that this caller, or this port, can never meet are left out. */
static bool is_for_viewer(struct job *j, uint16_t match_port, const struct api_labels *labels,
                          struct str namespace_, uint16_t port)
{
    if (match_port != 0 && match_port != port)
        return false;
    if (namespace_.len > 0 && !str_eq(namespace_, j->viewer->namespace_))
        return false;
    if (labels->len == 0)
        return true;
    const struct api_document *workload = job_workload(j);
    return workload != NULL && api_labels_match(labels, &workload->labels);
}

/* --- one route --- */

struct builder {
    struct job *j;
    const struct api_document *doc;
    struct str name; /* of the resource: what is called */
    uint16_t port;
    struct route *routes;
    size_t count, cap;
};

static struct route *next_route(struct builder *b)
{
    if (b->count == b->cap) {
        size_t cap = b->cap == 0 ? 8 : b->cap * 2;
        struct route *routes = ARENA_ARRAY(b->j->a, struct route, cap);
        if (b->count > 0)
            memcpy(routes, b->routes, b->count * sizeof *routes);
        b->routes = routes;
        b->cap = cap;
    }
    return &b->routes[b->count++];
}

static void set_redirect(const struct api_redirect *from, struct route *to)
{
    to->kind = ROUTE_REDIRECT;
    to->redirect_scheme = from->scheme;
    to->redirect_host = from->authority;
    to->redirect_path = from->uri;
    to->redirect_port = from->port;
    to->redirect_status = from->code;
}

static void set_nowhere(struct job *j, struct route *to)
{
    struct weighted_cluster *cluster = ARENA_NEW(j->a, struct weighted_cluster);
    *cluster = (struct weighted_cluster){.name = STR(TRANSLATE_BLACKHOLE), .weight = 1};
    to->kind = ROUTE_FORWARD;
    to->clusters = cluster;
    to->cluster_count = 1;
    to->weight_total = 1;
}

static void set_forward(struct builder *b, const struct api_http_route *from, struct route *to)
{
    struct job *j = b->j;
    to->kind = ROUTE_FORWARD;
    to->clusters = destination_weighted(j, from->destinations, from->destination_count,
                                        b->doc->namespace, b->port, false, &to->cluster_count);
    for (size_t i = 0; i < to->cluster_count; i++)
        to->weight_total += to->clusters[i].weight;
    to->timeout_us = api_opt_or(from->timeout_ms, 0) * 1000;
    const struct api_destination *first = &from->destinations[0].destination;
    to->retry = route_retries(j, from->retries, api_host_fqdn(j->a, first->host, b->doc->namespace),
                              first->subset, first->port != 0 ? first->port : b->port);
    if (from->rewrite != NULL) {
        to->prefix_rewrite = from->rewrite->uri;
        to->host_rewrite = from->rewrite->authority;
    }
}

static void add_route(struct builder *b, const struct api_http_route *from,
                      const struct api_http_match *m, size_t index)
{
    struct job *j = b->j;
    struct route *to = next_route(b);
    struct str subject = api_document_subject(j->a, b->doc);
    to->name = from->name;
    if (m != NULL && m->name.len > 0)
        to->name = arena_printf(j->a, "%.*s%s%.*s", STR_FMT(from->name),
                                from->name.len > 0 ? "." : "", STR_FMT(m->name));
    to->match = match_of(j, m);
    to->idle_timeout_us = MODEL_UNSET_U64;
    to->origin.text = arena_printf(j->a, "%.*s#http[%zu]", STR_FMT(subject), index);
    bool is_answer = from->redirect != NULL || from->direct_response != NULL;
    if (is_answer && job_is_grpc(j)) {
        set_nowhere(j, to);
    } else if (from->redirect != NULL) {
        set_redirect(from->redirect, to);
    } else if (from->direct_response != NULL) {
        to->kind = ROUTE_DIRECT_RESPONSE;
        to->direct_status = from->direct_response->status;
        to->direct_body = from->direct_response->body;
    } else {
        set_forward(b, from, to);
    }
    const struct api_headers *h = &from->headers;
    to->request = destination_edits(j, &h->request_set, &h->request_add, &h->request_remove);
    to->response = destination_edits(j, &h->response_set, &h->response_add, &h->response_remove);
}

static void add_document(struct builder *b)
{
    const struct api_virtual_service *vs = b->doc->spec.virtual_service;
    for (size_t i = 0; i < vs->http_count; i++) {
        const struct api_http_route *route = &vs->http[i];
        if (route->match_count == 0)
            add_route(b, route, NULL, i);
        for (size_t m = 0; m < route->match_count; m++) {
            const struct api_http_match *match = &route->matches[m];
            if (is_for_viewer(b->j, match->port, &match->source_labels, match->source_namespace,
                              b->port) &&
                (!job_is_grpc(b->j) || grpc_can_meet(b->name, match)))
                add_route(b, route, match, i);
        }
    }
}

/* Without a VirtualService everything goes to the service itself. */
static void add_default(struct builder *b, struct str name, struct str host)
{
    struct job *j = b->j;
    struct route *to = next_route(b);
    struct weighted_cluster *cluster = ARENA_NEW(j->a, struct weighted_cluster);
    cluster->name = name;
    cluster->weight = 1;
    to->name = STR("default");
    to->match = match_of(j, NULL);
    to->kind = ROUTE_FORWARD;
    to->clusters = cluster;
    to->cluster_count = 1;
    to->weight_total = 1;
    to->idle_timeout_us = MODEL_UNSET_U64;
    to->retry = route_retries(j, NULL, host, STR_NULL, b->port);
}

const struct route_config *output_route(struct job *j, struct str name)
{
    struct output_name n;
    if (!name_parse(name, &n) || n.subset.len > 0 || n.is_tcp)
        return NULL;
    const struct registry_service *s = job_service(j, n.host);
    if (s == NULL || api_service_find_port(s->doc->spec.service, n.port) == NULL)
        return NULL;
    struct builder b = {.j = j, .doc = job_routes(j, n.host), .name = name, .port = n.port};
    if (b.doc != NULL && b.doc->spec.virtual_service->http_count > 0)
        add_document(&b);
    else
        add_default(&b, name, n.host);
    struct route_config *rc = ARENA_NEW(j->a, struct route_config);
    struct virtual_host *vh = ARENA_NEW(j->a, struct virtual_host);
    static const struct str all = {"*", 1};
    vh->name = name;
    vh->domains = &all;
    vh->domain_count = 1;
    vh->routes = b.routes;
    vh->route_count = b.count;
    vh->include_attempt_count = true;
    rc->name = name;
    rc->hosts = vh;
    rc->host_count = 1;
    rc->ignore_port_in_host = true;
    if (b.doc != NULL)
        rc->origin.text = api_document_subject(j->a, b.doc);
    return rc;
}
