/* Metrics of a worker: counters and histograms by interned 64-bit keys.
 *
 * A series is a metric and a set of label values. The label strings are interned once per
 * connection or per destination (keys.c); a request combines ids into one 64-bit key and adds to a
 * cell: a few nanoseconds instead of hashing dozens of strings. Series are capped
 * (limits.metric_series_max: what is beyond counts under label values "overflow") and aged.
 *
 * Names, labels, buckets and help come from metrics.def: Istio's standard metrics, and our own
 * (tulle_*). Owner: one struct metrics per worker, merged when scraped: the scrape posts a mail to
 * each worker, which renders a snapshot. Thread: the worker's. */
#pragma once

#include "base/limits.h"
#include "base/str.h"

struct metrics;

enum reporter { REPORTER_SOURCE, REPORTER_DESTINATION };

/* One peer of a hop as Istio labels it; strings interned for good. */
struct metrics_peer {
    struct str workload, namespace_, principal, app, version, cluster;
};
struct metrics_destination {
    struct str service, service_name, service_namespace;
};
enum metrics_security { SECURITY_UNKNOWN, SECURITY_NONE, SECURITY_MUTUAL_TLS };
enum metrics_protocol { METRICS_HTTP, METRICS_GRPC, METRICS_TCP };

typedef uint32_t metrics_id; /* an interned peer or destination; 0: all unknown */

struct metrics *metrics_new(const struct limits *limits);
struct metrics *metrics_free(struct metrics *m);

/* The same content gives the same id; cheap enough for once per connection. */
metrics_id metrics_intern_peer(struct metrics *m, const struct metrics_peer *p);
metrics_id metrics_intern_destination(struct metrics *m, const struct metrics_destination *d);

struct metrics_hop {
    enum reporter reporter;
    metrics_id source, destination, service;
    enum metrics_protocol protocol;
    enum metrics_security security;
};

struct metrics_request {
    uint16_t response_code;
    int grpc_status; /* -1: not gRPC */
    uint64_t flags;  /* FLAG_BIT of http/exchange.h */
    uint64_t duration_us, request_bytes, response_bytes;
};

void metrics_count_request(struct metrics *m, const struct metrics_hop *hop,
                           const struct metrics_request *r);
void metrics_count_tcp_open(struct metrics *m, const struct metrics_hop *hop, uint64_t flags);
void metrics_count_tcp_bytes(struct metrics *m, const struct metrics_hop *hop, uint64_t flags,
                             uint64_t sent, uint64_t received);
void metrics_count_tcp_close(struct metrics *m, const struct metrics_hop *hop, uint64_t flags);

/* Our own counters and gauges, from metrics.def: COUNTER(id, "tulle_...", "help"). */
enum metrics_counter {
#define COUNTER(id, name, help) COUNTER_##id,
#define GAUGE(id, name, help) COUNTER_##id,
#include "proxy/telemetry/metrics.def"
#undef COUNTER
#undef GAUGE
    COUNTER_COUNT,
};
void metrics_add(struct metrics *m, enum metrics_counter c, int64_t n);
void metrics_set(struct metrics *m, enum metrics_counter c, int64_t value);
int64_t metrics_get(const struct metrics *m, enum metrics_counter c);

/* Adds all of `from` to `into` (scrape: a fresh struct metrics collects the workers'). */
void metrics_merge(struct metrics *into, const struct metrics *from);
/* Prometheus text format 0.0.4. `static_labels` are none: Istio's labels say who. */
void metrics_render(const struct metrics *m, struct str_buf *to);
