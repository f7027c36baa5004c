#include "http/service.h"

#include "http/exchange_priv.h"

/* The state of the filter and the upstream end in one: it lives as long as the exchange. */
struct service_stream {
    struct http_end end;
    struct exchange *x;
    const struct service *service;
    void *ctx;
    struct chain out; /* written past the credit */
    struct http_head *trailers;
    bool is_started, is_responded, is_end_asked, is_end_given;
    bool was_full;    /* on_room is owed */
    bool is_bodiless; /* what is written is dropped: HEAD, 204, 304 */
};

static bool is_attached(const struct service_stream *s)
{
    return s->end.x != NULL;
}

/* Hands on what the credit allows, then the end. */
static void flush(struct service_stream *s)
{
    struct exchange *x = s->x;
    struct flow *f = &x->flows[SIDE_RESPONSE];

    if (!is_attached(s) || !s->is_responded || s->is_end_given)
        return;
    size_t len = MIN(s->out.len, (size_t)f->credit_bytes);
    if (len > 0)
        exchange_recv_body(x, SIDE_RESPONSE, &s->out, len);
    if (!s->is_end_asked || !chain_is_empty(&s->out))
        return;
    s->is_end_given = true;
    if (s->trailers != NULL)
        exchange_recv_trailers(x, SIDE_RESPONSE, s->trailers);
    exchange_recv_end(x, SIDE_RESPONSE);
}

/* --- the end -------------------------------------------------------------------------------- */

static void on_grant(struct http_end *e, uint32_t bytes)
{
    struct service_stream *s = CONTAINER_OF(e, struct service_stream, end);
    const struct service *service = s->service;

    (void)bytes;
    flush(s);
    if (!s->was_full || service_room(s) == 0)
        return;
    s->was_full = false;
    if (!s->is_end_asked && service->ops->on_room != NULL)
        service->ops->on_room(service->ctx, s);
}

static void on_send(struct http_end *e, struct flow *f)
{
    struct service_stream *s = CONTAINER_OF(e, struct service_stream, end);
    const struct service *service = s->service;

    if (!f->is_head_sent) {
        f->is_head_sent = true;
        service->ops->on_head(service->ctx, s, f->head);
    }
    if (!is_attached(s) || (chain_is_empty(&f->body) && !f->is_ended))
        return;
    if (service->ops->on_body != NULL)
        service->ops->on_body(service->ctx, s, &f->body, f->is_ended);
    else
        chain_clear(&f->body);
    f->is_end_sent = f->is_ended && chain_is_empty(&f->body);
}

static void on_reset(struct http_end *e, const struct outcome *why)
{
    (void)e;
    (void)why; /* the filter's on_end tells it */
}

static void on_detach(struct http_end *e)
{
    (void)e;
}

static const struct http_end_ops end_ops = {
    .grant = on_grant,
    .send = on_send,
    .reset = on_reset,
    .detach = on_detach,
};

/* --- the filter ----------------------------------------------------------------------------- */

static enum verdict on_filter_head(struct exchange *x, void *state, enum side side)
{
    struct service_stream *s = state;

    if (side == SIDE_RESPONSE || s->is_started)
        return VERDICT_NEXT;
    s->is_started = true;
    s->end.ops = &end_ops;
    s->x = x;
    s->service = x->filters[x->called_count - 1].config;
    chain_init(&s->out, turn_chunks(x->turn), &x->account);
    exchange_set_upstream(x, &s->end);
    return VERDICT_NEXT;
}

static void on_filter_end(struct exchange *x, void *state)
{
    struct service_stream *s = state;

    if (!s->is_started)
        return;
    /* A service that never saw the head has nothing to end. */
    if (x->flows[SIDE_REQUEST].is_head_sent)
        s->service->ops->on_end(s->service->ctx, s, x->outcome.err);
    chain_deinit(&s->out);
}

const struct filter_ops service_filter_ops = {
    .name = "service",
    .state_bytes = sizeof(struct service_stream),
    .on_head = on_filter_head,
    .on_end = on_filter_end,
};

/* --- for services --------------------------------------------------------------------------- */

void service_set_ctx(struct service_stream *s, void *ctx)
{
    s->ctx = ctx;
}

void *service_ctx(const struct service_stream *s)
{
    return s->ctx;
}

struct exchange *service_exchange(const struct service_stream *s)
{
    return s->x;
}

static struct http_head *head_new(struct service_stream *s, const struct http_field *fields,
                                  size_t count)
{
    struct arena *a = &s->x->arena;
    struct http_head *head = ARENA_NEW(a, struct http_head);

    http_head_init(head, a, false);
    for (size_t i = 0; i < count; i++)
        http_head_add_named(head, arena_str(a, fields[i].name), arena_str(a, fields[i].value));
    return head;
}

static void respond(struct service_stream *s, struct http_head *head, unsigned status)
{
    const struct http_head *request = s->x->flows[SIDE_REQUEST].head;

    ASSERT(!s->is_responded);
    s->is_responded = true;
    s->is_bodiless = str_eq(request->method, STR("HEAD")) || status == 204 || status == 304;
    head->status = (uint16_t)status;
    head->has_body = !s->is_bodiless;
    head->is_grpc =
        str_starts_with(http_head_get(head, HTTP_NAME_CONTENT_TYPE), STR("application/grpc"));
    s->is_end_given = s->is_bodiless;
    exchange_recv_head(s->x, SIDE_RESPONSE, head);
}

void service_respond(struct service_stream *s, unsigned status, const struct http_field *fields,
                     size_t count)
{
    if (is_attached(s))
        respond(s, head_new(s, fields, count), status);
}

size_t service_room(const struct service_stream *s)
{
    size_t credit = s->x->flows[SIDE_RESPONSE].credit_bytes;

    if (!is_attached(s) || credit <= s->out.len)
        return 0;
    return credit - s->out.len;
}

size_t service_waiting(const struct service_stream *s)
{
    return is_attached(s) ? s->out.len : 0;
}

void service_write(struct service_stream *s, struct chain *from)
{
    if (!is_attached(s) || s->is_end_asked || s->is_bodiless) {
        chain_clear(from);
        return;
    }
    chain_move(&s->out, from, from->len);
    flush(s);
    s->was_full = service_room(s) == 0;
}

void service_end(struct service_stream *s, const struct http_field *trailers, size_t count)
{
    if (!is_attached(s) || s->is_end_asked)
        return;
    s->is_end_asked = true;
    if (count > 0)
        s->trailers = head_new(s, trailers, count);
    flush(s);
}

void service_reply(struct service_stream *s, unsigned status, struct str content_type,
                   struct str body)
{
    if (!is_attached(s))
        return;
    struct http_head *head = head_new(s, NULL, 0);
    if (!str_is_empty(content_type))
        http_head_add(head, HTTP_NAME_CONTENT_TYPE, arena_str(&s->x->arena, content_type));
    head->has_length = status != 204;
    head->length = body.len;
    respond(s, head, status);
    if (!s->is_bodiless)
        chain_add(&s->out, body);
    service_end(s, NULL, 0);
}

void service_reset(struct service_stream *s, int err)
{
    struct outcome why = {.err = err, .fault = FAULT_LOCAL};

    if (!is_attached(s))
        return;
    outcome_describe(&why);
    exchange_recv_fail(s->x, SIDE_RESPONSE, &why);
}
