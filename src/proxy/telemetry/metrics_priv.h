/* Inside proxy/telemetry/ only: interned labels, hops, cells. */
#pragma once

#include "base/arena.h"
#include "base/map.h"
#include "base/vec.h"
#include "proxy/telemetry/metrics.h"

enum { BUCKET_COUNT = 19 }; /* the last, +Inf, is the count */
enum { LABEL_LEN_MAX = 256 };
/* Ids of peers and destinations that exist from the start. What strangers name is capped: beyond
 * limits.metric_series_max all is "overflow". */
enum { METRICS_ID_UNKNOWN, METRICS_ID_OVERFLOW };

/* Envoy's default buckets; milliseconds or bytes. */
extern const double metrics_buckets[BUCKET_COUNT];

struct histogram {
    uint32_t buckets[BUCKET_COUNT]; /* not cumulative */
    uint64_t count;
    double sum;
};

enum cell_kind { CELL_REQUEST, CELL_TCP };

/* A series of all metrics of its kind. */
struct cell {
    uint64_t key; /* hop, code, grpc status, flags; 0: a free slot */
    uint32_t hop;
    enum cell_kind kind;
    uint16_t code;
    int16_t grpc_status; /* -1: not gRPC */
    uint32_t flags;      /* index of a set of response flags */
    union {
        struct {
            struct histogram duration_ms, request_bytes, response_bytes;
        };
        struct {
            uint64_t opened, closed, sent, received;
        };
    };
};

/* Open addressing from 64-bit keys to indexes + 1. */
struct key_table {
    uint64_t *keys;
    uint32_t *values;
    size_t cap, len;
};

uint32_t *key_table_find(struct key_table *t, uint64_t key);     /* the value; 0: new, to be set */
uint32_t key_table_get(const struct key_table *t, uint64_t key); /* 0: none */
void key_table_deinit(struct key_table *t);

struct metrics {
    size_t series_max;
    struct arena arena; /* interned strings */
    struct map strings; /* text -> itself, for peers and destinations */
    VEC(struct metrics_peer) peers;
    VEC(struct metrics_destination) destinations;
    VEC(struct metrics_hop) hops;
    VEC(uint64_t) flag_sets;
    struct map peer_ids, destination_ids; /* key text -> id + 1 */
    struct key_table hop_ids, flag_ids, cell_ids;
    VEC(struct cell *) cells;
    int64_t counters[COUNTER_COUNT];
};

struct cell *metrics_cell(struct metrics *m, enum cell_kind kind, const struct metrics_hop *hop,
                          uint16_t code, int grpc_status, uint64_t flags);
