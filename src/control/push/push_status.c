/* What there is to tell of proxies: for people (status), for Prometheus (metrics). */
#include <stdio.h>
#include <stdlib.h>

#include "codec/duration.h"
#include "control/push/push_priv.h"

static const char *state_name(enum replica_state state)
{
    switch (state) {
    case REPLICA_CONNECTED:
        return "unready";
    case REPLICA_READY:
        return "ready";
    case REPLICA_DRAINING:
        return "draining";
    case REPLICA_GONE:
        return "gone";
    }
    return "gone";
}

static bool is_stream_synced(const struct push_stream *s)
{
    return !s->is_ended && !s->is_dirty && s->sent.len == 0 && s->nacks.len == 0;
}

/* Of all its streams. NULL: it has none. */
static bool is_synced(const struct push_stream *s)
{
    bool is_all = s != NULL && is_stream_synced(s);
    for (const struct push_stream *o = s; is_all && (o = PUSH_GROUP_NEXT(o)) != s;)
        is_all = is_stream_synced(o);
    return is_all;
}

static void write_stream_nacks(struct json_writer *w, const struct push_stream *s)
{
    for (size_t i = 0; i < s->nacks.len; i++) {
        const struct push_nack *n = &s->nacks.ptr[i];
        json_writer_object(w, NULL);
        json_writer_c(w, "type", resource_type_name(n->type));
        json_writer_c(w, "name", n->name);
        json_writer_c(w, "reason", n->reason);
        json_writer_end(w);
    }
}

static void write_nacks(struct json_writer *w, const struct push_stream *s)
{
    json_writer_array(w, "nacks");
    if (s != NULL)
        write_stream_nacks(w, s);
    for (const struct push_stream *o = s; o != NULL && (o = PUSH_GROUP_NEXT(o)) != s;)
        write_stream_nacks(w, o);
    json_writer_end(w);
}

/* What it speaks: "delta" or "state of the world", and as whom we see it. */
static void write_protocol(struct json_writer *w, const struct push_stream *s)
{
    static const char *const dialects[] = {
        [XDS_DIALECT_TULLE] = "tulle", [XDS_DIALECT_ENVOY] = "envoy", [XDS_DIALECT_GRPC] = "grpc"};
    /* Of an agent of ours and the proxy beside it the latter. */
    for (const struct push_stream *o = PUSH_GROUP_NEXT(s); o != s; o = PUSH_GROUP_NEXT(o)) {
        if (push_stream_is_foreign(o)) {
            s = o;
            break;
        }
    }
    json_writer_c(w, "xds", ads_stream_variant(s->ads) == ADS_SOTW ? "sotw" : "delta");
    json_writer_c(w, "dialect", dialects[s->dialect]);
}

static void write_addresses(struct json_writer *w, const struct registry_replica *r)
{
    char text[IP_TEXT_MAX];
    json_writer_array(w, "addresses");
    for (size_t i = 0; i < ARRAY_LEN(r->addresses); i++) {
        if (r->addresses[i].family != IP_NONE)
            json_writer_str(w, NULL, ip_format(&r->addresses[i], text));
    }
    json_writer_end(w);
}

struct listing {
    const struct push *push;
    const struct push_status_query *query;
    struct json_writer *w;
};

static bool is_asked_for(const struct push_status_query *q, const struct registry_replica *r)
{
    return (q->workload.len == 0 || str_eq(q->workload, r->workload)) &&
           (q->namespace_.len == 0 || str_eq(q->namespace_, r->namespace_));
}

static void on_replica(void *ctx, const struct registry_replica *r)
{
    const struct listing *l = ctx;
    struct json_writer *w = l->w;
    if (!is_asked_for(l->query, r))
        return;
    struct arena a;
    char time[TIME_TEXT_MAX];
    const struct push_stream *s = r->node;
    arena_init(&a, 512);
    json_writer_object(w, NULL);
    json_writer_str(w, "namespace", r->namespace_);
    json_writer_str(w, "workload", r->workload);
    json_writer_u64(w, "replica", r->index);
    json_writer_str(
        w, "proxy",
        arena_printf(&a, "%.*s/%.*s/%u", STR_FMT(r->namespace_), STR_FMT(r->workload), r->index));
    json_writer_c(w, "state", state_name(r->state));
    json_writer_bool(w, "ready", r->state == REPLICA_READY);
    json_writer_bool(w, "connected", s != NULL);
    json_writer_bool(w, "synced", is_synced(s));
    json_writer_str(w, "identity", r->identity);
    write_addresses(w, r);
    if (s != NULL && s->not_after_s > 0)
        json_writer_str(w, "certNotAfter",
                        time_format((int64_t)s->not_after_s * 1000, false, time));
    if (s != NULL)
        write_protocol(w, s);
    write_nacks(w, s);
    push_proxy_render(l->push, r, l->query->is_detailed, w, &a);
    json_writer_end(w);
    arena_deinit(&a);
}

void push_render_status(struct push *p, const struct push_status_query *query,
                        struct json_writer *w)
{
    const struct push_counters *c = &p->counters;
    /* What has changed and was not looked at yet is not in sync. */
    push_settle(p);
    struct listing l = {p, query, w};
    json_writer_array(w, "proxies");
    registry_replicas(p->registry, on_replica, &l);
    json_writer_end(w);
    json_writer_u64(w, "xdsBytesPushed", c->bytes);
    json_writer_u64(w, "xdsResourcesSent", c->resources);
    json_writer_u64(w, "acks", c->acks);
    json_writer_u64(w, "nacks", c->nacks);
    json_writer_u64(w, "translateRuns", translate_runs(p->translate));
}

/* --- Prometheus --- */

static void counter(struct str_buf *to, const char *name, const char *help, uint64_t value)
{
    str_buf_printf(to, "# HELP %s %s\n# TYPE %s counter\n%s %llu\n", name, help, name, name,
                   (unsigned long long)value);
}

static void gauge(struct str_buf *to, const char *name, const char *help, uint64_t value)
{
    str_buf_printf(to, "# HELP %s %s\n# TYPE %s gauge\n%s %llu\n", name, help, name, name,
                   (unsigned long long)value);
}

static const char *const istio_names[RESOURCE_TYPE_COUNT] = {
    [RESOURCE_LISTENER] = "lds",  [RESOURCE_ROUTE] = "rds",  [RESOURCE_CLUSTER] = "cds",
    [RESOURCE_ENDPOINTS] = "eds", [RESOURCE_SECRET] = "sds", [RESOURCE_DIRECTORY] = "directory",
};

static void pushes(const struct push *p, struct str_buf *to)
{
    str_buf_add_c(to, "# HELP pilot_xds_pushes Responses sent, by type.\n"
                      "# TYPE pilot_xds_pushes counter\n");
    for (int i = 0; i < RESOURCE_TYPE_COUNT; i++)
        str_buf_printf(to, "pilot_xds_pushes{type=\"%s\"} %llu\n", istio_names[i],
                       (unsigned long long)p->counters.responses[i]);
}

static void times(const struct push_counters *c, struct str_buf *to)
{
    char label[32];
    push_times_render_head(PUSH_TIMES_CONVERGENCE, to);
    push_times_render(&c->convergence, PUSH_TIMES_CONVERGENCE, "", to);
    push_times_render_head(PUSH_TIMES_QUEUE, to);
    push_times_render(&c->queue, PUSH_TIMES_QUEUE, "", to);
    push_times_render_head(PUSH_TIMES_PUSH, to);
    for (int i = 0; i < RESOURCE_TYPE_COUNT; i++) {
        snprintf(label, sizeof label, "type=\"%s\"", istio_names[i]);
        push_times_render(&c->push[i], PUSH_TIMES_PUSH, label, to);
    }
}

/* What istiod's CA counts. */
static void certificates(const struct push_counters *c, struct str_buf *to)
{
    counter(to, "citadel_server_csr_count", "Certificate requests.", c->certificates + c->rejects);
    counter(to, "citadel_server_success_cert_issuance_count", "Leaves issued to workloads.",
            c->certificates);
    counter(to, "citadel_server_csr_parsing_err_count", "Requests that cannot be read.",
            c->csr_parsing);
    counter(to, "citadel_server_authentication_failure_count",
            "Requests of whom nothing proves, or who may not.", c->authentication);
    counter(to, "citadel_server_csr_sign_err_count", "Requests that the CA refused to sign.",
            c->csr_sign);
}

static uint64_t pending(const struct push *p)
{
    uint64_t count = 0;
    LIST_FOREACH (&p->pending, s, struct push_stream, pending_link)
        count += !s->is_ended && (s->is_dirty || s->sent.len > 0);
    return count;
}

void push_render_metrics(struct push *p, struct str_buf *to)
{
    push_settle(p);
    const struct push_counters *c = &p->counters;
    gauge(to, "pilot_xds", "Proxies connected by xDS.", p->stream_count);
    gauge(to, "tulled_xds_pending", "Proxies that lack something or owe an answer.", pending(p));
    counter(to, "tulled_xds_visits_total", "Proxies looked at for what they lack.", c->visits);
    pushes(p, to);
    counter(to, "pilot_total_xds_rejects", "Responses that a proxy refused.", c->nacks);
    counter(to, "pilot_total_xds_internal_errors", "Resources that could not be made.",
            c->internal_errors);
    times(c, to);
    counter(to, "tulled_xds_sent_bytes_total", "Bytes of xDS responses.", c->bytes);
    counter(to, "tulled_xds_resources_sent_total", "Resources in xDS responses.", c->resources);
    counter(to, "tulled_xds_acks_total", "Responses that a proxy applied.", c->acks);
    counter(to, "tulled_translate_runs_total", "Outputs computed.", translate_runs(p->translate));
    counter(to, "tulled_certificates_issued_total", "Leaves issued to workloads.", c->certificates);
    counter(to, "tulled_certificate_rejects_total", "Certificate requests refused.", c->rejects);
    certificates(c, to);
    if (p->edge != NULL)
        edge_render_metrics(p->edge, to);
}
