#include "proxy/telemetry/metrics.h"

#include <stdlib.h>

#include "proxy/telemetry/metrics_priv.h"

const double metrics_buckets[BUCKET_COUNT] = {
    0.5,  1,    5,     10,    25,    50,     100,    250,     500,     1000,
    2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
};

/* Ids have 19 bits in a key; response flags 8. */
enum { SERIES_MAX = 500000, FLAG_SETS_MAX = 255 };

struct metrics *metrics_new(const struct limits *limits)
{
    struct metrics *m = NEW(struct metrics);
    m->series_max = MIN((size_t)limits->metric_series_max, (size_t)SERIES_MAX);
    arena_init(&m->arena, 4096);
    map_init(&m->strings);
    map_init(&m->peer_ids);
    map_init(&m->destination_ids);
    metrics_intern_peer(m, &(struct metrics_peer){.workload = STR_NULL});
    metrics_intern_destination(m, &(struct metrics_destination){.service = STR_NULL});
    metrics_intern_peer(m, &(struct metrics_peer){.workload = STR("overflow")});
    metrics_intern_destination(m, &(struct metrics_destination){.service = STR("overflow")});
    VEC_PUSH(&m->hops, (struct metrics_hop){0});
    VEC_PUSH(&m->flag_sets, 0);
    return m;
}

struct metrics *metrics_free(struct metrics *m)
{
    if (m == NULL)
        return NULL;
    for (size_t i = 0; i < m->cells.len; i++)
        free(m->cells.ptr[i]);
    VEC_DEINIT(&m->cells);
    VEC_DEINIT(&m->peers);
    VEC_DEINIT(&m->destinations);
    VEC_DEINIT(&m->hops);
    VEC_DEINIT(&m->flag_sets);
    key_table_deinit(&m->hop_ids);
    key_table_deinit(&m->flag_ids);
    key_table_deinit(&m->cell_ids);
    map_deinit(&m->strings);
    map_deinit(&m->peer_ids);
    map_deinit(&m->destination_ids);
    arena_deinit(&m->arena);
    free(m);
    return NULL;
}

/* --- cells --- */

/* Bit 63 stays free of source, which has 19 bits. */
static uint64_t hop_key(const struct metrics_hop *h)
{
    return (uint64_t)(h->source & 0xfffff) << 44 | (uint64_t)(h->destination & 0xfffff) << 24 |
           (uint64_t)(h->service & 0xfffff) << 4 | (uint64_t)h->reporter << 3 |
           (uint64_t)h->protocol << 1 | (uint64_t)(h->security == SECURITY_MUTUAL_TLS) |
           (uint64_t)(h->security == SECURITY_NONE) << 63;
}

static uint32_t hop_id(struct metrics *m, const struct metrics_hop *h)
{
    uint32_t *id = key_table_find(&m->hop_ids, hop_key(h));
    if (*id == 0) {
        VEC_PUSH(&m->hops, *h);
        *id = (uint32_t)m->hops.len;
    }
    return *id - 1;
}

static uint32_t flag_id(struct metrics *m, uint64_t flags)
{
    if (flags == 0)
        return 0;
    if (m->flag_sets.len >= FLAG_SETS_MAX && key_table_get(&m->flag_ids, flags) == 0)
        return 0;
    uint32_t *id = key_table_find(&m->flag_ids, flags);
    if (*id == 0) {
        VEC_PUSH(&m->flag_sets, flags);
        *id = (uint32_t)m->flag_sets.len;
    }
    return *id - 1;
}

/* All that is beyond the limit counts in one series of its kind and reporter. */
static struct metrics_hop overflow_hop(struct metrics *m, const struct metrics_hop *h)
{
    metrics_add(m, COUNTER_SERIES_OVERFLOW, 1);
    return (struct metrics_hop){
        .reporter = h->reporter,
        .source = METRICS_ID_OVERFLOW,
        .destination = METRICS_ID_OVERFLOW,
        .service = METRICS_ID_OVERFLOW,
        .protocol = h->protocol,
    };
}

static uint64_t cell_key(enum cell_kind kind, uint32_t hop, uint16_t code, int grpc_status,
                         uint32_t flags)
{
    return (uint64_t)hop << 32 | (uint64_t)(flags & 0xff) << 24 |
           (uint64_t)((unsigned)(grpc_status + 1) & 0x1f) << 17 | (uint64_t)(code & 0xffff) << 1 |
           (uint64_t)kind;
}

static bool is_known_hop(const struct metrics *m, const struct metrics_hop *h)
{
    return key_table_get(&m->hop_ids, hop_key(h)) != 0;
}

static struct cell *new_cell(struct metrics *m, enum cell_kind kind, uint32_t hop, uint16_t code,
                             int grpc_status, uint32_t flags)
{
    struct cell *c = NEW(struct cell);
    c->hop = hop;
    c->kind = kind;
    c->code = code;
    c->grpc_status = (int16_t)grpc_status;
    c->flags = flags;
    VEC_PUSH(&m->cells, c);
    *key_table_find(&m->cell_ids, cell_key(kind, hop, code, grpc_status, flags)) =
        (uint32_t)m->cells.len;
    return c;
}

struct cell *metrics_cell(struct metrics *m, enum cell_kind kind, const struct metrics_hop *hop,
                          uint16_t code, int grpc_status, uint64_t flags)
{
    bool is_full = m->cells.len >= m->series_max;
    uint32_t at = 0;
    /* A peer says what it likes: 2 is UNKNOWN. */
    if (grpc_status > 16)
        grpc_status = 2;
    if (!is_full || is_known_hop(m, hop)) {
        uint32_t id = hop_id(m, hop), flag = flag_id(m, flags);
        at = key_table_get(&m->cell_ids, cell_key(kind, id, code, grpc_status, flag));
        if (at == 0 && !is_full)
            return new_cell(m, kind, id, code, grpc_status, flag);
    }
    if (at != 0)
        return m->cells.ptr[at - 1];
    struct metrics_hop other = overflow_hop(m, hop);
    uint32_t id = hop_id(m, &other);
    at = key_table_get(&m->cell_ids, cell_key(kind, id, 0, -1, 0));
    return at != 0 ? m->cells.ptr[at - 1] : new_cell(m, kind, id, 0, -1, 0);
}

/* --- counting --- */

static void observe(struct histogram *h, double value)
{
    size_t i = 0;
    while (i < BUCKET_COUNT && value > metrics_buckets[i])
        i++;
    if (i < BUCKET_COUNT)
        h->buckets[i]++;
    h->count++;
    h->sum += value;
}

void metrics_count_request(struct metrics *m, const struct metrics_hop *hop,
                           const struct metrics_request *r)
{
    struct cell *c = metrics_cell(m, CELL_REQUEST, hop, r->response_code, r->grpc_status, r->flags);
    observe(&c->duration_ms, (double)r->duration_us / 1000);
    observe(&c->request_bytes, (double)r->request_bytes);
    observe(&c->response_bytes, (double)r->response_bytes);
}

void metrics_count_tcp_open(struct metrics *m, const struct metrics_hop *hop, uint64_t flags)
{
    metrics_cell(m, CELL_TCP, hop, 0, -1, flags)->opened++;
}

void metrics_count_tcp_bytes(struct metrics *m, const struct metrics_hop *hop, uint64_t flags,
                             uint64_t sent, uint64_t received)
{
    struct cell *c = metrics_cell(m, CELL_TCP, hop, 0, -1, flags);
    c->sent += sent;
    c->received += received;
}

void metrics_count_tcp_close(struct metrics *m, const struct metrics_hop *hop, uint64_t flags)
{
    metrics_cell(m, CELL_TCP, hop, 0, -1, flags)->closed++;
}

void metrics_add(struct metrics *m, enum metrics_counter c, int64_t n)
{
    m->counters[c] += n;
}

void metrics_set(struct metrics *m, enum metrics_counter c, int64_t value)
{
    m->counters[c] = value;
}

int64_t metrics_get(const struct metrics *m, enum metrics_counter c)
{
    return m->counters[c];
}

/* --- merging --- */

static void merge_histogram(struct histogram *into, const struct histogram *from)
{
    for (size_t i = 0; i < BUCKET_COUNT; i++)
        into->buckets[i] += from->buckets[i];
    into->count += from->count;
    into->sum += from->sum;
}

static void merge_cell(struct metrics *into, const struct metrics *from, const struct cell *c)
{
    struct metrics_hop hop = from->hops.ptr[c->hop];
    hop.source = metrics_intern_peer(into, &from->peers.ptr[hop.source]);
    hop.destination = metrics_intern_peer(into, &from->peers.ptr[hop.destination]);
    hop.service = metrics_intern_destination(into, &from->destinations.ptr[hop.service]);
    struct cell *to =
        metrics_cell(into, c->kind, &hop, c->code, c->grpc_status, from->flag_sets.ptr[c->flags]);
    if (c->kind == CELL_REQUEST) {
        merge_histogram(&to->duration_ms, &c->duration_ms);
        merge_histogram(&to->request_bytes, &c->request_bytes);
        merge_histogram(&to->response_bytes, &c->response_bytes);
    } else {
        to->opened += c->opened;
        to->closed += c->closed;
        to->sent += c->sent;
        to->received += c->received;
    }
}

void metrics_merge(struct metrics *into, const struct metrics *from)
{
    for (size_t i = 0; i < from->cells.len; i++)
        merge_cell(into, from, from->cells.ptr[i]);
    for (int i = 0; i < COUNTER_COUNT; i++)
        into->counters[i] += from->counters[i];
}
