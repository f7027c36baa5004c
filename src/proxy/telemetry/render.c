/* Prometheus text format 0.0.4: Istio's standard metrics and our own counters. */
#include <stdio.h>

#include "http/exchange.h"
#include "proxy/telemetry/metrics_priv.h"

struct own_metric {
    const char *name, *help, *type;
};

static const struct own_metric own_metrics[COUNTER_COUNT] = {
#define COUNTER(id, name, help) {name, help, "counter"},
#define GAUGE(id, name, help) {name, help, "gauge"},
#include "proxy/telemetry/metrics.def"
#undef COUNTER
#undef GAUGE
};

static void add_escaped(struct str_buf *to, struct str value)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        if (c == '\\' || c == '"')
            str_buf_add_char(to, '\\');
        if (c == '\n')
            str_buf_add_c(to, "\\n");
        else
            str_buf_add_char(to, c);
    }
}

static void add_label(struct str_buf *to, const char *name, struct str value)
{
    str_buf_printf(to, "%s=\"", name);
    if (value.len > 0)
        add_escaped(to, value);
    else
        str_buf_add_c(to, "unknown");
    str_buf_add_c(to, "\",");
}

/* principals are labels with their scheme, as Istio's. */
static void add_peer(struct str_buf *to, const char *side, const struct metrics_peer *p)
{
    const struct {
        const char *name;
        struct str value;
    } labels[] = {
        {"workload", p->workload},
        {"workload_namespace", p->namespace_},
        {"principal", p->principal},
        {"app", p->app},
        {"version", p->version},
        {"cluster", p->cluster},
        {"canonical_service", p->app.len > 0 ? p->app : p->workload},
        {"canonical_revision", p->version.len > 0 ? p->version : STR("latest")},
    };
    for (size_t i = 0; i < ARRAY_LEN(labels); i++) {
        char name[64];
        snprintf(name, sizeof name, "%s_%s", side, labels[i].name);
        add_label(to, name, labels[i].value);
    }
}

static void add_labels(const struct metrics *m, const struct cell *c, struct str_buf *to)
{
    static const char *const protocols[] = {
        [METRICS_HTTP] = "http", [METRICS_GRPC] = "grpc", [METRICS_TCP] = "tcp"};
    static const char *const securities[] = {
        [SECURITY_UNKNOWN] = "unknown",
        [SECURITY_NONE] = "none",
        [SECURITY_MUTUAL_TLS] = "mutual_tls",
    };
    const struct metrics_hop *hop = &m->hops.ptr[c->hop];
    const struct metrics_destination *d = &m->destinations.ptr[hop->service];
    char flags[128], number[16];
    add_label(to, "reporter",
              hop->reporter == REPORTER_SOURCE ? STR("source") : STR("destination"));
    add_peer(to, "source", &m->peers.ptr[hop->source]);
    add_peer(to, "destination", &m->peers.ptr[hop->destination]);
    add_label(to, "destination_service", d->service);
    add_label(to, "destination_service_name", d->service_name);
    add_label(to, "destination_service_namespace", d->service_namespace);
    add_label(to, "request_protocol", str_from_c(protocols[hop->protocol]));
    if (c->kind == CELL_REQUEST) {
        snprintf(number, sizeof number, "%u", c->code);
        add_label(to, "response_code", str_from_c(number));
        snprintf(number, sizeof number, "%d", c->grpc_status);
        add_label(to, "grpc_response_status", c->grpc_status < 0 ? STR("-") : str_from_c(number));
    }
    add_label(to, "response_flags", response_flags_text(m->flag_sets.ptr[c->flags], flags));
    add_label(to, "connection_security_policy", str_from_c(securities[hop->security]));
    to->len--; /* the last comma */
}

static void head(struct str_buf *to, const char *name, const char *type, const char *help)
{
    str_buf_printf(to, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static bool has_kind(const struct metrics *m, enum cell_kind kind)
{
    for (size_t i = 0; i < m->cells.len; i++) {
        if (m->cells.ptr[i]->kind == kind)
            return true;
    }
    return false;
}

typedef uint64_t value_fn(const struct cell *c);

static uint64_t requests(const struct cell *c)
{
    return c->duration_ms.count;
}

static uint64_t opened(const struct cell *c)
{
    return c->opened;
}

static uint64_t closed(const struct cell *c)
{
    return c->closed;
}

static uint64_t sent(const struct cell *c)
{
    return c->sent;
}

static uint64_t received(const struct cell *c)
{
    return c->received;
}

struct counter_family {
    const char *name, *help;
    enum cell_kind kind;
    value_fn *value;
};

static const struct counter_family counters[] = {
    {"istio_requests_total", "Requests handled.", CELL_REQUEST, requests},
    {"istio_tcp_connections_opened_total", "TCP connections opened.", CELL_TCP, opened},
    {"istio_tcp_connections_closed_total", "TCP connections closed.", CELL_TCP, closed},
    {"istio_tcp_sent_bytes_total", "Bytes sent to the caller.", CELL_TCP, sent},
    {"istio_tcp_received_bytes_total", "Bytes received from the caller.", CELL_TCP, received},
};

static void render_counter(const struct metrics *m, const struct counter_family *f,
                           struct str_buf *to)
{
    if (!has_kind(m, f->kind))
        return;
    head(to, f->name, "counter", f->help);
    for (size_t i = 0; i < m->cells.len; i++) {
        const struct cell *c = m->cells.ptr[i];
        if (c->kind != f->kind)
            continue;
        str_buf_printf(to, "%s{", f->name);
        add_labels(m, c, to);
        str_buf_printf(to, "} %llu\n", (unsigned long long)f->value(c));
    }
}

struct histogram_family {
    const char *name, *help;
    size_t offset;
};

static const struct histogram_family histograms[] = {
    {"istio_request_duration_milliseconds", "Duration of requests.",
     offsetof(struct cell, duration_ms)},
    {"istio_request_bytes", "Size of request bodies.", offsetof(struct cell, request_bytes)},
    {"istio_response_bytes", "Size of response bodies.", offsetof(struct cell, response_bytes)},
};

static void render_one_histogram(const char *name, struct str labels, const struct histogram *h,
                                 struct str_buf *to)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < BUCKET_COUNT; i++) {
        sum += h->buckets[i];
        str_buf_printf(to, "%s_bucket{%.*s,le=\"%.10g\"} %llu\n", name, STR_FMT(labels),
                       metrics_buckets[i], (unsigned long long)sum);
    }
    str_buf_printf(to, "%s_bucket{%.*s,le=\"+Inf\"} %llu\n", name, STR_FMT(labels),
                   (unsigned long long)h->count);
    str_buf_printf(to, "%s_sum{%.*s} %.17g\n", name, STR_FMT(labels), h->sum);
    str_buf_printf(to, "%s_count{%.*s} %llu\n", name, STR_FMT(labels),
                   (unsigned long long)h->count);
}

static void render_histogram(const struct metrics *m, const struct histogram_family *f,
                             struct str_buf *to)
{
    if (!has_kind(m, CELL_REQUEST))
        return;
    struct str_buf labels = STR_BUF_INIT(16 * 1024);
    head(to, f->name, "histogram", f->help);
    for (size_t i = 0; i < m->cells.len; i++) {
        const struct cell *c = m->cells.ptr[i];
        if (c->kind != CELL_REQUEST)
            continue;
        str_buf_reset(&labels);
        add_labels(m, c, &labels);
        const void *h = (const char *)c + f->offset;
        render_one_histogram(f->name, str_buf_str(&labels), h, to);
    }
    str_buf_deinit(&labels);
}

void metrics_render(const struct metrics *m, struct str_buf *to)
{
    for (size_t i = 0; i < ARRAY_LEN(counters); i++)
        render_counter(m, &counters[i], to);
    for (size_t i = 0; i < ARRAY_LEN(histograms); i++)
        render_histogram(m, &histograms[i], to);
    for (int i = 0; i < COUNTER_COUNT; i++) {
        head(to, own_metrics[i].name, own_metrics[i].type, own_metrics[i].help);
        str_buf_printf(to, "%s %lld\n", own_metrics[i].name, (long long)m->counters[i]);
    }
    head(to, "istio_build", "gauge", "The version that runs.");
    str_buf_add_c(to, "istio_build{component=\"proxy\",tag=\"" TULLE_VERSION "\"} 1\n");
}
