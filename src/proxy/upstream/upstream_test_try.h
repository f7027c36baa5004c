/* Tests only: one attempt, or many, through the rig of upstream_test_util.h. */
#pragma once

#include "proxy/upstream/upstream_test_util.h"

/* A request: a call whose only filter makes one attempt. */
struct tried {
    struct upstream_attempt attempt;
    struct call *call; /* NULL once ended */
    bool is_finished, is_ready, is_ready_at_once, is_failed, is_over;
    unsigned status;
    struct upstream_host *host; /* held */
    struct outcome why, outcome;
};

static void on_ready(struct upstream_attempt *a)
{
    CONTAINER_OF(a, struct tried, attempt)->is_ready = true;
}

static void on_fail(struct upstream_attempt *a, const struct outcome *why)
{
    struct tried *t = CONTAINER_OF(a, struct tried, attempt);
    t->is_failed = true;
    t->why = *why;
    exchange_fail(a->x, why);
}

static const struct upstream_attempt_ops attempt_ops = {on_ready, on_fail};

static enum verdict reach_head(struct exchange *x, void *state, enum side side)
{
    struct tried *t = x->ctx;
    if (side == SIDE_RESPONSE) {
        t->status = x->flows[SIDE_RESPONSE].head->status;
        return VERDICT_NEXT;
    }
    t->attempt.ops = &attempt_ops;
    t->attempt.cluster = the_cluster();
    t->attempt.x = x;
    if (t->attempt.downstream_version == HTTP_UNKNOWN)
        t->attempt.downstream_version = HTTP_11;
    upstream_attempt_start(rig.upstream, &t->attempt);
    assert_false(t->is_failed); /* never inside the call */
    t->is_ready_at_once = t->is_ready;
    return VERDICT_NEXT;
}

static void reach_end(struct exchange *x, void *state)
{
    struct tried *t = x->ctx;
    if (t->attempt.host != NULL)
        t->host = upstream_host_hold(t->attempt.host);
    if (t->is_finished)
        return;
    t->is_finished = true;
    upstream_attempt_finish(rig.upstream, &t->attempt, x->is_response_local ? 0 : t->status,
                            &x->outcome);
}

static const struct filter_ops reach_ops = {
    .name = "reach", .on_head = reach_head, .on_end = reach_end};
static const struct filter reach[] = {{.ops = &reach_ops}};

static void call_over(void *ctx, struct call *c, const struct http_head *trailers,
                      const struct outcome *outcome)
{
    struct tried *t = ctx;
    t->is_over = true;
    t->call = NULL;
    t->outcome = *outcome;
}

static const struct call_ops call_ops = {.on_end = call_over};

static void begin(struct tried *t)
{
    struct arena a;
    struct http_head head;
    arena_init(&a, 512);
    http_head_init(&head, &a, true);
    head.method = STR("GET");
    head.scheme = STR("http");
    head.authority = STR("catalog");
    head.path = STR("/");
    t->call = call_start_filters(rig.turn, reach, 1, &head, &call_ops, t);
    call_exchange(t->call)->ctx = t;
    arena_deinit(&a);
}

static void forget(struct tried *t)
{
    upstream_host_drop(t->host);
    *t = (struct tried){0};
}

/* One request after another; which origin answered. */
static void one(struct tried *t)
{
    begin(t);
    for (unsigned i = 0; i < 100 && !t->is_over; i++)
        rig_run(20 * MS);
    assert_true(t->is_over);
}

static void many(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct tried t = {0};
        one(&t);
        forget(&t);
    }
}
