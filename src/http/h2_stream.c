/* A stream: its number, its exchange, its end. */
#include <stdlib.h>

#include "http/h2_session.h"

enum { SPARE_COUNT_MAX = 64, SPARE_COUNT_IDLE = 16, BUCKETS_FIRST = 16 };

/* --- by number ------------------------------------------------------------------------------ */

static struct h2_stream **bucket_of(const struct h2_session *h, uint32_t id)
{
    return &h->buckets[(id >> 1) & (h->bucket_count - 1)];
}

static void put_in_bucket(struct h2_stream *st)
{
    struct h2_stream **bucket = bucket_of(st->session, st->id);

    st->hash_next = *bucket;
    *bucket = st;
}

static void grow_buckets(struct h2_session *h)
{
    free(h->buckets);
    h->bucket_count = MAX(h->bucket_count * 2, (uint32_t)BUCKETS_FIRST);
    h->buckets = mem_zalloc(sizeof(*h->buckets) * h->bucket_count);
    LIST_FOREACH (&h->streams, st, struct h2_stream, link) {
        if (st->id != 0 && !st->is_gone)
            put_in_bucket(st);
    }
}

static void take_from_bucket(struct h2_stream *st)
{
    struct h2_stream **at = bucket_of(st->session, st->id);

    while (*at != st)
        at = &(*at)->hash_next;
    *at = st->hash_next;
}

struct h2_stream *h2_stream_find(const struct h2_session *h, uint32_t id)
{
    struct h2_stream *st = h->bucket_count == 0 ? NULL : *bucket_of(h, id);

    while (st != NULL && st->id != id)
        st = st->hash_next;
    return st;
}

/* A client begins streams before it has seen our SETTINGS; a server answers behind them. */
uint32_t h2_stream_first_window(const struct h2_session *h)
{
    bool is_ahead = h->is_server && !h->is_settled;

    return is_ahead ? MAX(h->stream_window, (uint32_t)H2_WINDOW_DEFAULT) : h->stream_window;
}

void h2_stream_open(struct h2_stream *st, uint32_t id)
{
    struct h2_session *h = st->session;

    if (h->open_count >= h->bucket_count)
        grow_buckets(h);
    st->id = id;
    st->send_window = h->peer.window;
    st->recv_window = h2_stream_first_window(h);
    h->open_count++;
    h->totals.streams++;
    put_in_bucket(st);
}

/* --- life ----------------------------------------------------------------------------------- */

struct h2_stream *h2_stream_new(struct h2_session *h, uint32_t id)
{
    struct h2_stream *st = LIST_FIRST(&h->spare, struct h2_stream, link);

    if (st != NULL) {
        list_remove(&st->link);
        h->spare_count--;
        *st = (struct h2_stream){.session = h};
    } else {
        st = NEW(struct h2_stream);
        st->session = h;
    }
    chain_init(&st->out, turn_chunks(h->conn->turn), &h->conn->account);
    list_init(&st->ready_link);
    list_init(&st->owing_link);
    list_init(&st->link);
    if (id != 0)
        h2_stream_open(st, id);
    list_push_back(&h->streams, &st->link);
    return st;
}

/* An idle connection keeps few. */
static void drop_spares(struct h2_session *h)
{
    LIST_FOREACH (&h->spare, st, struct h2_stream, link) {
        if (h->spare_count <= SPARE_COUNT_IDLE)
            return;
        list_remove(&st->link);
        h->spare_count--;
        free(st);
    }
}

/* When neither the exchange nor the wire needs it any more. */
static void free_if_done(struct h2_stream *st)
{
    struct h2_session *h = st->session;

    if (st->is_attached || (!st->is_gone && st->id != 0))
        return;
    list_remove(&st->link);
    chain_deinit(&st->out);
    if (h->spare_count < SPARE_COUNT_MAX) {
        list_push_front(&h->spare, &st->link);
        h->spare_count++;
    } else {
        free(st);
    }
    if (list_is_empty(&h->streams))
        drop_spares(h);
    h->ops->on_stream_free(h);
    if (h->is_goaway_in && list_is_empty(&h->streams))
        h2_session_mark(h);
}

void h2_stream_attach(struct h2_stream *st, struct exchange *x)
{
    struct flow *in = &x->flows[st->session->ops->in_side];
    uint32_t first = h2_stream_first_window(st->session);

    st->x = x;
    st->is_attached = true;
    if (in->window_bytes < first) {
        in->credit_bytes += first - in->window_bytes;
        in->window_bytes = first;
    }
}

void h2_stream_detach(struct h2_stream *st)
{
    st->is_attached = st->is_sent_asked = false;
    list_remove(&st->owing_link);
    st->x = NULL;
    st->flow = NULL;
    free_if_done(st);
}

void h2_stream_fail(struct h2_stream *st, const struct outcome *why)
{
    exchange_recv_fail(st->x, st->session->ops->in_side, why);
    h2_stream_detach(st);
}

/* --- the wire's end ------------------------------------------------------------------------- */

static void leave_wire(struct h2_stream *st)
{
    struct h2_session *h = st->session;

    st->is_gone = true;
    take_from_bucket(st);
    h->open_count--;
    list_remove(&st->ready_link);
    chain_clear(&st->out);
    if (h->in.stream == st)
        h->in.stream = NULL;
}

void h2_stream_settle(struct h2_stream *st)
{
    if (!st->is_in_ended || !st->is_out_ended || st->is_gone)
        return;
    leave_wire(st);
    free_if_done(st);
}

/* Off the wire, but not freed yet. False: it was not on it. */
static bool cut_off(struct h2_stream *st, enum h2_error code)
{
    struct h2_session *h = st->session;

    if (st->id == 0 || st->is_gone)
        return false;
    if (!st->is_in_ended)
        h->past.resets[h->past.resets_count++ % H2_RESETS_KEPT] = st->id;
    h2_output_u32(h, H2_RST_STREAM, st->id, code);
    leave_wire(st);
    return true;
}

void h2_stream_reset(struct h2_stream *st, enum h2_error code)
{
    if (cut_off(st, code))
        free_if_done(st);
}

void h2_stream_reject(struct h2_stream *st, enum h2_error code)
{
    h2_session_annoy(st->session, H2_ANNOY_RESET);
    if (!cut_off(st, code))
        return;
    if (st->is_attached) {
        struct outcome why = st->session->ops->why_gone(st, code);
        h2_stream_fail(st, &why);
    } else {
        free_if_done(st);
    }
}

void h2_stream_lose(struct h2_stream *st, uint32_t error_code)
{
    leave_wire(st);
    if (st->is_attached) {
        struct outcome why = st->session->ops->why_gone(st, error_code);
        h2_stream_fail(st, &why);
    } else {
        free_if_done(st);
    }
}

void h2_stream_stop_input(struct h2_stream *st)
{
    if (st->is_out_ended)
        h2_stream_reset(st, H2_NO_ERROR);
    else
        st->is_reset_due = true;
}

void h2_stream_sent_end(struct h2_stream *st)
{
    st->is_source_ended = st->is_out_ended = true;
    if (st->is_reset_due)
        h2_stream_reset(st, H2_NO_ERROR);
    else
        h2_stream_settle(st);
}

void h2_stream_grant(struct h2_stream *st, uint32_t bytes)
{
    if (bytes > 0 && st->id != 0 && !st->is_gone && !st->is_in_ended)
        h2_output_grant(st->session, st, bytes);
}

/* --- what came ------------------------------------------------------------------------------ */

/* RFC 9110 9.3.6: bytes, whatever the head says of a length. */
static bool is_tunnel(const struct h2_stream *st, const struct http_head *head)
{
    if (head->is_request)
        return str_eq(head->method, STR("CONNECT"));
    return st->is_tunnel_asked && head->status >= 200 && head->status < 300;
}

/* RFC 9110 6.4.1, 9113 8.1.1. */
bool h2_stream_expect(struct h2_stream *st, const struct http_head *head, bool is_ended)
{
    bool is_bytes = is_tunnel(st, head);

    st->is_bodyless = !head->is_request && !is_bytes &&
                      (st->is_head_request || head->status == 204 || head->status == 304);
    st->has_length = head->has_length && !st->is_bodyless && !is_bytes;
    st->length = head->length;
    return !is_ended || !st->has_length || st->length == 0;
}

void h2_stream_recv_trailers(struct h2_stream *st)
{
    struct h2_session *h = st->session;

    if (h2_head_reader_finish(&h->reader, NULL) != 0) {
        h2_stream_reject(st, H2_PROTOCOL_ERROR);
        return;
    }
    if (h->reader.head->field_count > 0)
        exchange_recv_trailers(st->x, h->ops->in_side, h->reader.head);
    h2_stream_recv_end(st);
}

void h2_stream_recv_end(struct h2_stream *st)
{
    if (st->has_length && st->length_seen != st->length) {
        h2_stream_reject(st, H2_PROTOCOL_ERROR);
        return;
    }
    st->is_in_ended = true;
    if (st->is_attached)
        exchange_recv_end(st->x, st->session->ops->in_side);
    h2_stream_settle(st);
}
