/* The answer as JSON: docs/explain.md has the fields. */
#include "control/api/document.h"
#include "control/explain/explain_priv.h"

static const char *verdict_name(enum explain_verdict v)
{
    static const char *const names[] = {
        [EXPLAIN_ALLOWED] = "ALLOWED",
        [EXPLAIN_DENIED] = "DENIED",
        [EXPLAIN_UNAVAILABLE] = "UNAVAILABLE",
        [EXPLAIN_NO_ROUTE] = "NO_ROUTE",
        [EXPLAIN_REPLIED] = "REPLIED",
        [EXPLAIN_NOT_REACHED] = "NOT_REACHED",
        [EXPLAIN_MIXED] = "MIXED",
    };
    return names[v];
}

const char *explain_mtls_name(enum api_mtls_mode mode)
{
    static const char *const names[] = {
        [API_MTLS_UNSET] = "PERMISSIVE",
        [API_MTLS_DISABLE] = "DISABLE",
        [API_MTLS_PERMISSIVE] = "PERMISSIVE",
        [API_MTLS_STRICT] = "STRICT",
    };
    return names[mode];
}

static void write_origin(struct json_writer *w, const char *key, const struct explain_origin *o)
{
    if (o->document.len == 0) {
        json_writer_null(w, key);
        return;
    }
    json_writer_object(w, key);
    json_writer_str(w, "document", o->document);
    json_writer_str(w, "path", o->path);
    json_writer_str(w, "file", o->file);
    json_writer_u64(w, "line", o->line);
    json_writer_str(w, "hash", o->hash);
    json_writer_end(w);
}

static void write_status(struct json_writer *w, unsigned status)
{
    if (status == 0)
        json_writer_null(w, "status");
    else
        json_writer_u64(w, "status", status);
}

/* --- who and what --- */

static void write_workload(const struct explain *e, struct json_writer *w, const char *key,
                           const struct api_document *d)
{
    struct explain_origin o = explain_origin_of(e, d);
    json_writer_object(w, key);
    json_writer_c(w, "kind", api_kind_info(d->kind)->name);
    json_writer_str(w, "namespace", d->namespace);
    json_writer_str(w, "name", d->name);
    if (d->kind == API_KIND_WORKLOAD) {
        json_writer_str(w, "serviceAccount", d->spec.workload->service_account);
        json_writer_str(w, "identity", registry_identity(e->args->registry, d, e->a));
        json_writer_object(w, "labels");
        for (size_t i = 0; i < d->labels.len; i++) {
            json_writer_key(w, d->labels.v[i].key);
            json_writer_str(w, NULL, d->labels.v[i].value);
        }
        json_writer_end(w);
    }
    write_origin(w, "origin", &o);
    json_writer_end(w);
}

static void write_request(const struct explain *e, struct json_writer *w)
{
    char text[IP_TEXT_MAX];
    json_writer_object(w, "request");
    json_writer_str(w, "method", e->args->method);
    json_writer_str(w, "host", e->host);
    json_writer_u64(w, "port", e->port);
    json_writer_str(w, "authority", e->head->authority);
    json_writer_str(w, "path", e->head->path.ptr != NULL ? e->head->path : e->target);
    if (e->source.family != IP_NONE)
        json_writer_str(w, "address", ip_format(&e->source, text));
    /* A list: a name may come more than once. */
    json_writer_array(w, "headers");
    for (uint32_t i = 0; i < e->given_count; i++) {
        json_writer_object(w, NULL);
        json_writer_str(w, "name", e->head->fields[i].name);
        json_writer_str(w, "value", e->head->fields[i].value);
        json_writer_end(w);
    }
    json_writer_end(w);
    json_writer_end(w);
}

static void write_service(const struct explain *e, struct json_writer *w)
{
    if (e->service == NULL) {
        json_writer_null(w, "service");
        return;
    }
    json_writer_object(w, "service");
    json_writer_str(w, "host", e->host);
    json_writer_u64(w, "port", e->port);
    if (e->service_port != NULL)
        json_writer_c(w, "protocol", api_protocol_name(e->service_port->protocol));
    write_origin(w, "origin", &e->service_origin);
    json_writer_end(w);
}

/* --- the route --- */

static void write_retries(const struct explain *e, struct json_writer *w)
{
    static const char *const names[] = {
        "5xx",
        "gateway-error",
        "reset",
        "connect-failure",
        "refused-stream",
        "retriable-4xx",
        "retriable-status-codes",
        "reset-before-request",
        "envoy-ratelimited",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    };
    const struct retry_policy *p = e->route->retry;
    if (p == NULL) {
        json_writer_null(w, "retries");
        return;
    }
    json_writer_object(w, "retries");
    json_writer_u64(w, "attempts", p->retries_max);
    json_writer_u64(w, "perTryTimeoutMs", p->per_try_timeout_us / 1000);
    json_writer_array(w, "on");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if ((p->on >> i & 1) != 0)
            json_writer_c(w, NULL, names[i]);
    }
    json_writer_end(w);
    write_origin(w, "origin", &e->retry_origin);
    json_writer_end(w);
}

static void write_target(const struct route *r, struct json_writer *w)
{
    switch (r->kind) {
    case ROUTE_FORWARD:
        json_writer_c(w, "action", "forward");
        if (r->prefix_rewrite.len > 0)
            json_writer_str(w, "pathRewrite", r->prefix_rewrite);
        if (r->host_rewrite.len > 0)
            json_writer_str(w, "hostRewrite", r->host_rewrite);
        return;
    case ROUTE_REDIRECT:
        json_writer_c(w, "action", "redirect");
        json_writer_str(w, "redirectHost", r->redirect_host);
        json_writer_str(w, "redirectPath", r->redirect_path);
        return;
    case ROUTE_DIRECT_RESPONSE:
        json_writer_c(w, "action", "directResponse");
        return;
    }
}

static void write_skipped(const struct explain *e, struct json_writer *w)
{
    json_writer_array(w, "skippedRoutes");
    for (size_t i = 0; i < e->skipped.len; i++) {
        json_writer_object(w, NULL);
        write_origin(w, "origin", &e->skipped.ptr[i].origin);
        json_writer_str(w, "why", e->skipped.ptr[i].why);
        json_writer_end(w);
    }
    json_writer_end(w);
}

static void write_route(const struct explain *e, struct json_writer *w)
{
    const struct route *r = e->route;
    if (r == NULL) {
        json_writer_null(w, "route");
        return;
    }
    json_writer_object(w, "route");
    json_writer_str(w, "name", r->name);
    json_writer_str(w, "match", explain_text_route(e->a, &r->match));
    write_target(r, w);
    json_writer_u64(w, "timeoutMs", r->timeout_us / 1000);
    write_retries(e, w);
    write_origin(w, "origin", &e->route_origin);
    json_writer_end(w);
}

/* --- destinations --- */

static void write_policies(const struct explain_arrival *a, struct json_writer *w)
{
    json_writer_array(w, "policies");
    for (size_t i = 0; i < a->policies.len; i++) {
        const struct explain_policy *p = &a->policies.ptr[i];
        json_writer_object(w, NULL);
        json_writer_c(w, "action", p->is_deny ? "DENY" : "ALLOW");
        json_writer_str(w, "rule", p->name);
        json_writer_bool(w, "matched", p->is_matched);
        json_writer_bool(w, "decides", p->decides);
        json_writer_str(w, "wants", p->wants);
        json_writer_str(w, "why", p->why);
        write_origin(w, "origin", &p->origin);
        json_writer_end(w);
    }
    json_writer_end(w);
}

static void write_addresses(const struct explain *e, const struct explain_arrival *a,
                            struct json_writer *w)
{
    char text[IP_PORT_TEXT_MAX];
    json_writer_array(w, "addresses");
    for (size_t i = 0; e->args->has_addresses && i < a->endpoints.len; i++) {
        const struct model_addr *at = &a->endpoints.ptr[i]->address;
        json_writer_str(w, NULL, ip_port_format(&at->ip, at->port, text));
    }
    json_writer_end(w);
}

static void write_arrival(const struct explain *e, const struct explain_arrival *a,
                          struct json_writer *w)
{
    json_writer_object(w, NULL);
    json_writer_str(w, "namespace", a->workload->namespace);
    json_writer_str(w, "name", a->workload->name);
    json_writer_bool(w, "asked", e->called == NULL || a->workload == e->called);
    json_writer_u64(w, "endpoints", a->endpoints.len);
    write_addresses(e, a, w);
    json_writer_u64(w, "port", a->endpoint->address.port);
    json_writer_str(w, "identity", a->endpoint->identity);
    json_writer_c(w, "decision", verdict_name(a->verdict));
    write_status(w, a->status);
    json_writer_str(w, "reason", a->reason);
    json_writer_str(w, "decidedBy", a->decided_by);
    json_writer_object(w, "mtls");
    json_writer_c(w, "mode", explain_mtls_name(a->mode));
    json_writer_bool(w, "used", a->is_mtls);
    json_writer_str(w, "caller", a->caller);
    write_origin(w, "origin", &a->mode_origin);
    json_writer_end(w);
    json_writer_bool(w, "captured", !a->is_uncaptured);
    json_writer_bool(w, "addressUnknown", a->has_unknown_address);
    write_policies(a, w);
    json_writer_end(w);
}

static const char *lb_name(enum lb_kind lb)
{
    static const char *const names[] = {
        [LB_ROUND_ROBIN] = "ROUND_ROBIN", [LB_LEAST_REQUEST] = "LEAST_REQUEST",
        [LB_RANDOM] = "RANDOM",           [LB_CLUSTER_PROVIDED] = "PASSTHROUGH",
        [LB_HASH] = "CONSISTENT_HASH",
    };
    return names[lb];
}

static void write_destination(const struct explain *e, const struct explain_destination *d,
                              struct json_writer *w)
{
    json_writer_object(w, NULL);
    json_writer_str(w, "cluster", d->cluster_name);
    json_writer_str(w, "subset", d->subset);
    json_writer_str(w, "labels", d->labels);
    json_writer_u64(w, "weight", d->weight);
    json_writer_f64(w, "percent",
                    d->weight_total > 0 ? 100.0 * (double)d->weight / (double)d->weight_total : 0);
    json_writer_bool(w, "exists", d->cluster != NULL || !e->has_sidecar);
    json_writer_str(w, "tls", d->tls_mode);
    if (d->cluster != NULL)
        json_writer_c(w, "loadBalancer", lb_name(d->cluster->lb));
    json_writer_u64(w, "endpoints", d->endpoint_count);
    write_origin(w, "origin", &d->cluster_origin);
    json_writer_array(w, "workloads");
    for (size_t i = 0; i < d->arrivals.len; i++)
        write_arrival(e, &d->arrivals.ptr[i], w);
    json_writer_end(w);
    json_writer_end(w);
}

void explain_write(const struct explain *e, struct json_writer *w)
{
    json_writer_object(w, NULL);
    json_writer_c(w, "decision", verdict_name(e->verdict));
    write_status(w, e->status);
    json_writer_str(w, "reason", e->reason);
    json_writer_str(w, "decidedBy", e->decided_by);
    write_origin(w, "origin", &e->decided_origin);
    write_workload(e, w, "workload", e->called != NULL ? e->called : e->called_service);
    if (e->from != NULL)
        write_workload(e, w, "from", e->from);
    else
        json_writer_null(w, "from");
    json_writer_bool(w, "sidecar", e->has_sidecar);
    write_request(e, w);
    write_service(e, w);
    write_skipped(e, w);
    write_route(e, w);
    json_writer_array(w, "destinations");
    for (size_t i = 0; i < e->destinations.len; i++)
        write_destination(e, &e->destinations.ptr[i], w);
    json_writer_end(w);
    json_writer_end(w);
}
