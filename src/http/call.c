/* Calls: the downstream end of a request that this process makes itself. */
#include <stdlib.h>

#include "http/http_priv.h"
#include "http/service.h"

struct call {
    struct http_end end;
    struct exchange *x;
    const struct call_ops *ops;
    void *ctx;
    struct chain out; /* written past the credit */
    struct turn_task task;
    struct outcome canceled;
    struct downstream_info info;
    bool is_end_asked, is_end_given, was_full, is_over;
    unsigned ref_count; /* the exchange's, and one until on_end was called */
};

static void unref(struct call *c)
{
    if (--c->ref_count > 0)
        return;
    free(c);
}

static void flush(struct call *c)
{
    struct flow *f = &c->x->flows[SIDE_REQUEST];

    if (c->end.x == NULL || c->is_end_given)
        return;
    size_t len = MIN(c->out.len, (size_t)f->credit_bytes);
    if (len > 0)
        exchange_recv_body(c->x, SIDE_REQUEST, &c->out, len);
    if (!c->is_end_asked || !chain_is_empty(&c->out))
        return;
    c->is_end_given = true;
    exchange_recv_end(c->x, SIDE_REQUEST);
}

static void finish(struct call *c, const struct outcome *outcome)
{
    c->is_over = true;
    chain_deinit(&c->out);
    if (c->ops->on_end != NULL)
        c->ops->on_end(c->ctx, c, c->x == NULL ? NULL : c->x->flows[SIDE_RESPONSE].trailers,
                       outcome);
    unref(c);
}

/* --- the end -------------------------------------------------------------------------------- */

static void on_grant(struct http_end *e, uint32_t bytes)
{
    struct call *c = CONTAINER_OF(e, struct call, end);

    if (bytes == 0)
        return;
    flush(c);
    if (!c->was_full || call_room(c) == 0)
        return;
    c->was_full = false;
    if (!c->is_end_asked && c->ops->on_room != NULL)
        c->ops->on_room(c->ctx, c);
}

/* Made up here to tell a client of a failure: we are told by the outcome. */
static bool is_failure_text(const struct exchange *x)
{
    return x->is_response_local && x->outcome.err != 0;
}

static void show(struct call *c, struct flow *f)
{
    if (!f->is_head_sent && c->ops->on_head != NULL)
        c->ops->on_head(c->ctx, c, f->head);
    f->is_head_sent = true;
    if (!chain_is_empty(&f->body) && c->ops->on_body != NULL && c->end.x != NULL)
        c->ops->on_body(c->ctx, c, &f->body);
}

static void on_send(struct http_end *e, struct flow *f)
{
    struct call *c = CONTAINER_OF(e, struct call, end);

    if (!is_failure_text(c->x))
        show(c, f);
    f->is_head_sent = true;
    if (f->is_ended || c->ops->on_body == NULL)
        chain_clear(&f->body);
    f->is_end_sent = f->is_ended;
}

static void on_reset(struct http_end *e, const struct outcome *why)
{
    (void)e;
    (void)why; /* detach follows; the exchange has the outcome */
}

static void on_detach(struct http_end *e)
{
    struct call *c = CONTAINER_OF(e, struct call, end);

    finish(c, &c->x->outcome);
}

static const struct http_end_ops end_ops = {
    .grant = on_grant,
    .send = on_send,
    .reset = on_reset,
    .detach = on_detach,
};

static void run_canceled(struct turn_task *task)
{
    struct call *c = CONTAINER_OF(task, struct call, task);

    finish(c, &c->canceled);
}

static void unpin(struct exchange *x)
{
    struct call *c = x->owner;

    c->x = NULL;
    unref(c);
}

/* --- for callers ---------------------------------------------------------------------------- */

static struct call *start(struct turn *t, const struct http_head *head, const struct call_ops *ops,
                          void *ctx, const struct limits *limits)
{
    struct call *c = NEW(struct call);

    c->end.ops = &end_ops;
    c->ops = ops;
    c->ctx = ctx;
    c->ref_count = 2;
    turn_task_init(&c->task, run_canceled);
    c->x = exchange_new(t, &c->end, &c->info, turn_account(t), limits);
    c->x->owner = c;
    c->x->unpin = unpin;
    chain_init(&c->out, turn_chunks(t), turn_account(t));

    struct http_head *copy = ARENA_NEW(&c->x->arena, struct http_head);
    http_head_copy(copy, head, &c->x->arena);
    copy->is_request = true;
    c->is_end_given = c->is_end_asked = !copy->has_body;
    exchange_recv_head(c->x, SIDE_REQUEST, copy);
    return c;
}

struct call *call_start(struct turn *t, struct http_client *client, const struct http_head *head,
                        const struct call_ops *ops, void *ctx)
{
    struct call *c = start(t, head, ops, ctx, client->config->limits);
    int err = http_client_start(client, c->x);

    if (err != 0) {
        struct outcome why = {
            .err = err, .fault = FAULT_UPSTREAM, .is_retryable = true, .is_unanswered = true};
        outcome_describe(&why);
        exchange_fail(c->x, &why);
    }
    return c;
}

struct call *call_start_filters(struct turn *t, const struct filter *filters, uint32_t count,
                                const struct http_head *head, const struct call_ops *ops, void *ctx)
{
    struct limits limits;

    limits_init(&limits);
    struct call *c = start(t, head, ops, ctx, &limits);
    c->x->filters = filters;
    c->x->filter_count = count;
    return c;
}

size_t call_room(const struct call *c)
{
    size_t credit = c->x->flows[SIDE_REQUEST].credit_bytes;

    if (c->end.x == NULL || credit <= c->out.len)
        return 0;
    return credit - c->out.len;
}

void call_write(struct call *c, struct chain *from)
{
    if (c->end.x == NULL || c->is_end_asked) {
        chain_clear(from);
        return;
    }
    chain_move(&c->out, from, from->len);
    flush(c);
    c->was_full = call_room(c) == 0;
}

void call_end(struct call *c)
{
    if (c->is_end_asked)
        return;
    c->is_end_asked = true;
    flush(c);
}

void call_cancel(struct call *c)
{
    if (c->end.x == NULL || c->is_over)
        return;
    c->canceled = (struct outcome){.err = -ERR_CANCELED, .fault = FAULT_DOWNSTREAM};
    outcome_describe(&c->canceled);
    turn_soon(c->x->turn, &c->task);
    exchange_recv_fail(c->x, SIDE_REQUEST, &c->canceled);
}

struct exchange *call_exchange(const struct call *c)
{
    return c->x;
}
