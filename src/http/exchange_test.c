#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "http/exchange.h"
#include "io/sim.h"

/* An end that notes what it is told. */
struct fake_end {
    struct http_end end;
    struct chain got;
    size_t take_max; /* body bytes that it takes per send */
    const struct http_head *head;
    bool is_ended;
    unsigned granted, wanted, resets, detaches, sent_asked;
    struct outcome why;
};

static void fake_grant(struct http_end *e, uint32_t bytes)
{
    struct fake_end *f = CONTAINER_OF(e, struct fake_end, end);

    if (bytes == 0)
        f->wanted++;
    f->granted += bytes;
}

static void fake_send(struct http_end *e, struct flow *flow)
{
    struct fake_end *f = CONTAINER_OF(e, struct fake_end, end);

    f->head = flow->head;
    flow->is_head_sent = true;
    chain_move(&f->got, &flow->body, f->take_max);
    if (flow->is_ended && chain_is_empty(&flow->body))
        f->is_ended = flow->is_end_sent = true;
}

static void fake_reset(struct http_end *e, const struct outcome *why)
{
    struct fake_end *f = CONTAINER_OF(e, struct fake_end, end);

    f->resets++;
    f->why = *why;
}

static void fake_detach(struct http_end *e)
{
    struct fake_end *f = CONTAINER_OF(e, struct fake_end, end);

    assert_null(e->x);
    f->detaches++;
}

static const struct http_end_ops fake_ops = {
    .grant = fake_grant, .send = fake_send, .reset = fake_reset, .detach = fake_detach};

static void fake_ask_sent(struct http_end *e)
{
    CONTAINER_OF(e, struct fake_end, end)->sent_asked++;
}

/* One with a connection behind it: what it takes is not sent yet. */
static const struct http_end_ops slow_ops = {.grant = fake_grant,
                                             .send = fake_send,
                                             .ask_sent = fake_ask_sent,
                                             .reset = fake_reset,
                                             .detach = fake_detach};

static void fake_init(struct fake_end *f)
{
    *f = (struct fake_end){.end.ops = &fake_ops, .take_max = SIZE_MAX};
    chain_init(&f->got, NULL, NULL);
}

/* A filter that does as the test says and counts. */
struct script {
    enum verdict request, response, body[2], fail;
    struct fake_end *retry_on; /* NULL: a retry waits for the test */
    unsigned heads[2], bodies[2], fails, ends;
    struct outcome end_outcome;
};

struct script_state {
    unsigned zero;
};

static struct script *script_of(struct exchange *x, const void *state);

static enum verdict verdict_of(struct exchange *x, enum verdict v)
{
    if (v == VERDICT_REPLY)
        exchange_reply(x, 403, STR("denied_by_test"), STR("no"));
    if (v == VERDICT_FAIL)
        x->outcome = (struct outcome){.err = -ERR_NOT_FOUND, .fault = FAULT_LOCAL};
    return v;
}

static enum verdict script_head(struct exchange *x, void *state, enum side side)
{
    struct script *s = script_of(x, state);

    s->heads[side]++;
    return verdict_of(x, side == SIDE_REQUEST ? s->request : s->response);
}

static enum verdict script_body(struct exchange *x, void *state, enum side side)
{
    struct script *s = script_of(x, state);

    s->bodies[side]++;
    return verdict_of(x, s->body[side]);
}

static enum verdict script_fail(struct exchange *x, void *state, const struct outcome *why)
{
    struct script *s = script_of(x, state);

    (void)why;
    s->fails++;
    if (s->fail == VERDICT_WAIT && s->retry_on != NULL)
        exchange_set_upstream(x, &s->retry_on->end);
    return s->fail == VERDICT_FAIL ? VERDICT_FAIL : verdict_of(x, s->fail);
}

static void script_end(struct exchange *x, void *state)
{
    struct script *s = script_of(x, state);

    s->ends++;
    s->end_outcome = x->outcome;
}

static const struct filter_ops script_ops = {.name = "script",
                                             .state_bytes = sizeof(struct script_state),
                                             .on_head = script_head,
                                             .on_upstream_fail = script_fail,
                                             .on_end = script_end};
static const struct filter_ops body_ops = {.name = "body",
                                           .state_bytes = sizeof(struct script_state),
                                           .on_head = script_head,
                                           .on_body = script_body,
                                           .on_end = script_end};

static struct script *script_of(struct exchange *x, const void *state)
{
    for (uint32_t i = 0; i < x->filter_count; i++) {
        if (x->states[i] == state) {
            assert_int_equal(((const struct script_state *)state)->zero, 0);
            return (struct script *)(uintptr_t)x->filters[i].config;
        }
    }
    fail();
    return NULL;
}

struct bench {
    struct sim_world *world;
    struct turn *turn;
    struct limits limits;
    struct downstream_info info;
    struct fake_end down, up, up2;
    struct script scripts[3];
    struct filter filters[3];
    struct exchange *x;
    unsigned released;
    struct chain source;
};

static void on_release(struct exchange *x)
{
    ((struct bench *)x->ctx)->released++;
}

static void run(struct bench *b)
{
    sim_world_run(b->world, sim_world_now_us(b->world) + 1000);
}

static void begin(struct bench *b)
{
    b->x = exchange_new(b->turn, &b->down.end, &b->info, turn_account(b->turn), &b->limits);
    b->x->filters = b->filters;
    b->x->filter_count = 3;
    b->x->ctx = b;
    b->x->release = on_release;
}

static int setup(void **state)
{
    static struct bench bench;
    struct bench *b = &bench;

    *b = (struct bench){0};
    b->world = sim_world_new(&(struct sim_options){.seed = 1});
    b->turn = turn_new_sim(b->world);
    limits_init(&b->limits);
    fake_init(&b->down);
    fake_init(&b->up);
    fake_init(&b->up2);
    for (int i = 0; i < 3; i++)
        b->filters[i] = (struct filter){&script_ops, &b->scripts[i]};
    chain_init(&b->source, NULL, NULL);
    begin(b);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    run(b);
    chain_deinit(&b->source);
    chain_deinit(&b->down.got);
    chain_deinit(&b->up.got);
    chain_deinit(&b->up2.got);
    assert_int_equal(turn_account(b->turn)->bytes, 0);
    turn_free(b->turn);
    sim_world_free(b->world);
    return 0;
}

static void recv_head(struct bench *b, enum side side, bool has_body)
{
    struct http_head *h = ARENA_NEW(&b->x->arena, struct http_head);

    http_head_init(h, &b->x->arena, side == SIDE_REQUEST);
    h->method = side == SIDE_REQUEST ? STR("POST") : STR_NULL;
    h->status = side == SIDE_REQUEST ? 0 : 200;
    h->has_body = has_body;
    exchange_recv_head(b->x, side, h);
}

static void recv_body(struct bench *b, enum side side, size_t len)
{
    for (size_t i = 0; i < len; i++)
        chain_add(&b->source, str_from(&"abcdefg"[i % 7], 1));
    exchange_recv_body(b->x, side, &b->source, len);
}

static void assert_got(const struct fake_end *f, size_t len)
{
    assert_int_equal(f->got.len, len);
    for (size_t i = 0; i < len; i++) {
        char c;
        chain_peek(&f->got, i, &c, 1);
        assert_int_equal(c, "abcdefg"[i % 7]);
        if (len > 4096)
            i += 6 * 97;
    }
}

static void assert_ended(struct bench *b, unsigned called)
{
    assert_int_equal(b->released, 1);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(b->scripts[i].ends, i < called ? 1 : 0);
}

static const struct outcome upstream_reset = {.err = -ERR_RESET, .fault = FAULT_UPSTREAM};

static void test_passes(void **state)
{
    struct bench *b = *state;

    recv_head(b, SIDE_REQUEST, true);
    exchange_set_upstream(b->x, &b->up.end);
    recv_body(b, SIDE_REQUEST, 5000);
    run(b);
    assert_int_equal(b->down.wanted, 1);
    assert_int_equal(b->down.granted, 5000);
    exchange_recv_end(b->x, SIDE_REQUEST);
    run(b);
    assert_true(b->up.is_ended);
    assert_got(&b->up, 5000);
    recv_head(b, SIDE_RESPONSE, true);
    recv_body(b, SIDE_RESPONSE, 3000);
    run(b);
    assert_int_equal(b->up.granted, 3000);
    assert_int_equal(b->down.head->status, 200);
    exchange_recv_end(b->x, SIDE_RESPONSE);
    run(b);
    assert_true(b->down.is_ended);
    assert_got(&b->down, 3000);
    assert_int_equal(b->down.resets + b->up.resets, 0);
    assert_int_equal(b->down.detaches, 1);
    assert_int_equal(b->up.detaches, 1);
    assert_ended(b, 3);
    assert_int_equal(b->scripts[0].end_outcome.err, 0);
    assert_int_equal(b->scripts[1].heads[SIDE_RESPONSE], 1);
}

static void test_is_recycled(void **state)
{
    struct bench *b = *state;
    struct exchange *first = b->x;
    uint64_t ordinal = first->ordinal;

    test_passes(state);
    chain_deinit(&b->up.got);
    fake_init(&b->up);
    chain_deinit(&b->down.got);
    fake_init(&b->down);
    begin(b);
    assert_ptr_equal(b->x, first);
    assert_int_equal(b->x->ordinal, ordinal + 1);
    assert_int_equal(b->x->flows[0].credit_bytes, b->x->flows[0].window_bytes);
    exchange_recv_fail(b->x, SIDE_REQUEST, &(struct outcome){.err = -ERR_CLOSED});
}

static void test_slow_consumer_holds_the_credit(void **state)
{
    struct bench *b = *state;

    b->up.take_max = 1000;
    recv_head(b, SIDE_REQUEST, true);
    exchange_set_upstream(b->x, &b->up.end);
    recv_body(b, SIDE_REQUEST, b->x->flows[0].window_bytes);
    assert_int_equal(b->x->flows[SIDE_REQUEST].credit_bytes, 0);
    run(b);
    assert_int_equal(b->down.granted, 1000);
    exchange_wake(b->x);
    run(b);
    assert_int_equal(b->down.granted, 2000);
    assert_int_equal(b->x->flows[SIDE_REQUEST].credit_bytes, 2000);
    exchange_recv_fail(b->x, SIDE_REQUEST, &(struct outcome){.err = -ERR_CLOSED});
}

/* What a consumer has taken is credited when it is sent: all at once, and only once. */
static void test_credit_comes_when_it_is_sent(void **state)
{
    struct bench *b = *state;
    struct flow *f = &b->x->flows[SIDE_REQUEST];
    uint32_t window = f->window_bytes, first = window - 1000;

    b->up.end.ops = &slow_ops;
    recv_head(b, SIDE_REQUEST, true);
    exchange_set_upstream(b->x, &b->up.end);
    recv_body(b, SIDE_REQUEST, first);
    run(b);
    assert_int_equal(b->up.got.len, first);
    assert_int_equal(b->up.sent_asked, 1);
    assert_int_equal(b->down.granted, 0);
    recv_body(b, SIDE_REQUEST, 1000);
    run(b);
    assert_int_equal(b->up.sent_asked, 1); /* it owes an answer still */
    assert_int_equal(f->credit_bytes, 0);
    exchange_note_sent(b->x, SIDE_REQUEST);
    assert_int_equal(b->down.granted, window);
    assert_int_equal(f->credit_bytes, window);
    exchange_note_sent(b->x, SIDE_REQUEST);
    assert_int_equal(b->down.granted, window);
    exchange_recv_fail(b->x, SIDE_REQUEST, &(struct outcome){.err = -ERR_CLOSED});
}

/* Small bodies cost no question; nor does the rest of one whose end has come. */
static void test_small_bodies_are_not_asked_for(void **state)
{
    struct bench *b = *state;
    struct flow *f = &b->x->flows[SIDE_REQUEST];

    b->up.end.ops = &slow_ops;
    recv_head(b, SIDE_REQUEST, true);
    exchange_set_upstream(b->x, &b->up.end);
    for (int i = 0; i < 3; i++) {
        recv_body(b, SIDE_REQUEST, f->window_bytes / 16);
        run(b);
    }
    assert_int_equal(b->up.sent_asked, 0);
    assert_int_equal(f->credit_bytes + f->owed_bytes, f->window_bytes);
    recv_body(b, SIDE_REQUEST, f->window_bytes / 2);
    exchange_recv_end(b->x, SIDE_REQUEST);
    run(b);
    assert_int_equal(b->up.sent_asked, 0);
    assert_true(b->up.is_ended);
    exchange_recv_fail(b->x, SIDE_REQUEST, &(struct outcome){.err = -ERR_CLOSED});
}

/* What was withheld while memory was short comes back with what is taken next, however little. */
static void test_withheld_credit_comes_back(void **state)
{
    struct bench *b = *state;
    struct flow *f = &b->x->flows[SIDE_REQUEST];
    uint32_t window = f->window_bytes, rest = window / 5;

    turn_set_pressed(b->turn, true);
    b->up.end.ops = &slow_ops;
    b->up.take_max = window - rest;
    recv_head(b, SIDE_REQUEST, true);
    exchange_set_upstream(b->x, &b->up.end);
    recv_body(b, SIDE_REQUEST, window);
    run(b);
    assert_int_equal(b->up.sent_asked, 1);
    exchange_note_sent(b->x, SIDE_REQUEST);
    assert_int_equal(b->down.granted, 0);
    assert_int_equal(f->withheld_bytes, window - rest);
    exchange_wake(b->x);
    run(b);
    assert_int_equal(b->up.got.len, window);
    assert_int_equal(b->up.sent_asked, 2);
    exchange_note_sent(b->x, SIDE_REQUEST);
    assert_int_equal(b->down.granted, window);
    assert_int_equal(f->credit_bytes, window);
    exchange_recv_fail(b->x, SIDE_REQUEST, &(struct outcome){.err = -ERR_CLOSED});
}

/* An attempt that fails gives back what it took: of that, what was credited once is not again. */
static void test_a_replay_is_credited_once(void **state)
{
    struct bench *b = *state;
    struct flow *f = &b->x->flows[SIDE_REQUEST];
    uint32_t part = f->window_bytes / 8 * 3;

    b->scripts[2].fail = VERDICT_WAIT;
    b->scripts[2].retry_on = &b->up2;
    b->up.end.ops = b->up2.end.ops = &slow_ops;
    recv_head(b, SIDE_REQUEST, true);
    exchange_set_upstream(b->x, &b->up.end);
    recv_body(b, SIDE_REQUEST, part);
    run(b);
    exchange_note_sent(b->x, SIDE_REQUEST);
    assert_int_equal(b->down.granted, part);
    recv_body(b, SIDE_REQUEST, part); /* of this the first attempt says nothing */
    run(b);
    assert_int_equal(b->up.sent_asked, 2);
    exchange_recv_fail(b->x, SIDE_RESPONSE, &upstream_reset);
    run(b);
    assert_int_equal(b->up2.got.len, 2 * part);
    assert_int_equal(b->up2.sent_asked, 1);
    assert_int_equal(b->down.granted, part);
    assert_int_equal(f->owed_bytes, part);
    exchange_note_sent(b->x, SIDE_REQUEST);
    assert_int_equal(b->down.granted, 2 * part);
    assert_int_equal(f->credit_bytes, f->window_bytes);
    exchange_recv_fail(b->x, SIDE_REQUEST, &(struct outcome){.err = -ERR_CLOSED});
}

static void test_filter_waits(void **state)
{
    struct bench *b = *state;

    b->scripts[1].request = VERDICT_WAIT;
    recv_head(b, SIDE_REQUEST, false);
    run(b);
    assert_int_equal(b->scripts[0].heads[0], 1);
    assert_int_equal(b->scripts[1].heads[0], 1);
    assert_int_equal(b->scripts[2].heads[0], 0);
    assert_int_equal(b->down.wanted, 0);
    b->scripts[1].request = VERDICT_NEXT;
    exchange_wake(b->x);
    run(b);
    assert_int_equal(b->scripts[0].heads[0], 1);
    assert_int_equal(b->scripts[1].heads[0], 2);
    assert_int_equal(b->scripts[2].heads[0], 1);
    exchange_recv_fail(b->x, SIDE_REQUEST, &(struct outcome){.err = -ERR_CLOSED});
    run(b);
    assert_ended(b, 3);
}

static void test_filter_replies(void **state)
{
    struct bench *b = *state;

    b->scripts[1].request = VERDICT_REPLY;
    recv_head(b, SIDE_REQUEST, true);
    recv_body(b, SIDE_REQUEST, 100);
    run(b);
    assert_int_equal(b->down.head->status, 403);
    assert_int_equal(b->down.got.len, 2);
    assert_true(b->down.is_ended);
    assert_int_equal(b->down.resets, 1); /* the request was not complete */
    assert_int_equal(b->down.why.err, 0);
    assert_int_equal(b->scripts[0].heads[SIDE_RESPONSE], 1);
    assert_int_equal(b->scripts[1].heads[SIDE_RESPONSE], 0);
    assert_ended(b, 2);
    assert_int_equal(b->scripts[1].end_outcome.status, 403);
    assert_string_equal(b->scripts[1].end_outcome.details.ptr, "denied_by_test");
}

static void test_filter_fails(void **state)
{
    struct bench *b = *state;

    b->scripts[2].request = VERDICT_FAIL;
    recv_head(b, SIDE_REQUEST, false);
    run(b);
    assert_int_equal(b->down.head->status, 404);
    assert_int_equal(b->down.resets, 0);
    assert_ended(b, 3);
    assert_int_equal(b->scripts[0].end_outcome.err, -ERR_NOT_FOUND);
    assert_int_equal(b->scripts[0].end_outcome.flags, FLAG_BIT(NO_ROUTE));
}

static void test_retry_replays_the_body(void **state)
{
    struct bench *b = *state;

    b->scripts[2].fail = VERDICT_WAIT;
    b->scripts[2].retry_on = &b->up2;
    b->up.take_max = 2500;
    recv_head(b, SIDE_REQUEST, true);
    exchange_set_upstream(b->x, &b->up.end);
    recv_body(b, SIDE_REQUEST, 4200);
    run(b);
    assert_int_equal(b->up.got.len, 2500);
    recv_body(b, SIDE_REQUEST, 700); /* 4200 % 7 is 0: the pattern goes on */
    exchange_recv_end(b->x, SIDE_REQUEST);
    exchange_recv_fail(b->x, SIDE_RESPONSE, &upstream_reset);
    run(b);
    assert_int_equal(b->scripts[2].fails, 1);
    assert_got(&b->up2, 4900);
    assert_true(b->up2.is_ended);
    assert_int_equal(b->down.granted, 2500); /* the rest came with the end: nobody is to be told */
    assert_int_equal(b->x->flows[0].credit_bytes + b->x->flows[0].owed_bytes,
                     b->x->flows[0].window_bytes);
    recv_head(b, SIDE_RESPONSE, false);
    run(b);
    assert_int_equal(b->down.head->status, 200);
    assert_ended(b, 3);
    assert_int_equal(b->scripts[0].end_outcome.err, 0);
}

/* While a retry waits for its time, or for a connection, the body goes on: what was sent already is
 * not lost when it all becomes more than is kept. */
static void test_body_grows_too_large_while_a_retry_waits(void **state)
{
    struct bench *b = *state;

    b->limits.kept_body_bytes_max = 1400;
    exchange_recv_fail(b->x, SIDE_REQUEST, &(struct outcome){.err = -ERR_CLOSED});
    run(b);
    b->released = 0;
    begin(b);
    b->scripts[2].fail = VERDICT_WAIT; /* as a router does whose timer runs */
    recv_head(b, SIDE_REQUEST, true);
    exchange_set_upstream(b->x, &b->up.end);
    recv_body(b, SIDE_REQUEST, 700);
    run(b);
    assert_int_equal(b->up.got.len, 700);
    exchange_recv_fail(b->x, SIDE_RESPONSE, &upstream_reset);
    run(b);
    assert_int_equal(b->scripts[2].fails, 1);
    recv_body(b, SIDE_REQUEST, 1400);
    exchange_recv_end(b->x, SIDE_REQUEST);
    run(b);
    exchange_set_upstream(b->x, &b->up2.end);
    run(b);
    assert_got(&b->up2, 2100);
    assert_true(b->up2.is_ended);
    recv_head(b, SIDE_RESPONSE, false);
    run(b);
    assert_int_equal(b->down.head->status, 200);
}

static void test_large_body_is_committed(void **state)
{
    struct bench *b = *state;

    b->limits.kept_body_bytes_max = 1000;
    exchange_recv_fail(b->x, SIDE_REQUEST, &(struct outcome){.err = -ERR_CLOSED});
    run(b);
    b->released = 0;
    begin(b);
    recv_head(b, SIDE_REQUEST, true);
    recv_body(b, SIDE_REQUEST, 1001);
    run(b);
    assert_true(exchange_can_rewind(b->x)); /* nothing was sent yet */
    exchange_set_upstream(b->x, &b->up.end);
    run(b);
    assert_false(exchange_can_rewind(b->x));
    assert_int_equal(exchange_rewind(b->x, &upstream_reset), -ERR_INVALID);
    b->scripts[2].fail = VERDICT_FAIL;
    exchange_recv_fail(b->x, SIDE_RESPONSE, &upstream_reset);
    run(b);
    assert_int_equal(b->down.head->status, 503);
    assert_int_equal(b->scripts[2].end_outcome.err, -ERR_RESET);
    assert_int_equal(b->scripts[2].end_outcome.flags, FLAG_BIT(UPSTREAM_RESET));
}

static void test_truncated_response_is_reset(void **state)
{
    struct bench *b = *state;

    recv_head(b, SIDE_REQUEST, false);
    exchange_set_upstream(b->x, &b->up.end);
    run(b);
    recv_head(b, SIDE_RESPONSE, true);
    recv_body(b, SIDE_RESPONSE, 10);
    run(b);
    exchange_recv_fail(b->x, SIDE_RESPONSE, &upstream_reset);
    run(b);
    assert_false(b->down.is_ended);
    assert_int_equal(b->down.resets, 1);
    assert_int_equal(b->down.why.err, -ERR_RESET);
    assert_int_equal(b->scripts[2].fails, 0);
    assert_ended(b, 3);
}

static void test_client_leaves(void **state)
{
    struct bench *b = *state;

    recv_head(b, SIDE_REQUEST, false);
    exchange_set_upstream(b->x, &b->up.end);
    run(b);
    exchange_recv_fail(b->x, SIDE_REQUEST,
                       &(struct outcome){.err = -ERR_CLOSED, .fault = FAULT_DOWNSTREAM});
    run(b);
    assert_int_equal(b->up.resets, 1);
    assert_int_equal(b->up.detaches, 1);
    assert_int_equal(b->down.detaches, 0);
    assert_ended(b, 3);
    assert_int_equal(b->scripts[1].end_outcome.flags, FLAG_BIT(DOWNSTREAM_CLOSED));
}

static void test_early_response(void **state)
{
    struct bench *b = *state;

    recv_head(b, SIDE_REQUEST, true);
    exchange_set_upstream(b->x, &b->up.end);
    run(b);
    recv_head(b, SIDE_RESPONSE, false);
    exchange_recv_fail(b->x, SIDE_RESPONSE, &upstream_reset); /* RST_STREAM(NO_ERROR) behind it */
    run(b);
    assert_int_equal(b->down.head->status, 200);
    assert_int_equal(b->down.resets, 1);
    assert_int_equal(b->down.why.err, 0);
    assert_ended(b, 3);
    assert_int_equal(b->scripts[0].end_outcome.err, 0);
}

static void test_fails_from_outside(void **state)
{
    struct bench *b = *state;
    struct outcome why = {.err = -ERR_TIMEOUT, .fault = FAULT_UPSTREAM};

    recv_head(b, SIDE_REQUEST, false);
    exchange_set_upstream(b->x, &b->up.end);
    run(b);
    exchange_fail(b->x, &why);
    exchange_fail(b->x, &upstream_reset);
    run(b);
    assert_int_equal(b->down.head->status, 504);
    assert_int_equal(b->up.resets, 1);
    assert_int_equal(b->scripts[0].end_outcome.flags, FLAG_BIT(UPSTREAM_TIMEOUT));
    assert_ended(b, 3);
}

/* The pool's turn came after the time-out, while the reply waits in a filter. */
static void test_upstream_comes_too_late(void **state)
{
    struct bench *b = *state;
    struct outcome why = {.err = -ERR_TIMEOUT, .fault = FAULT_UPSTREAM};

    recv_head(b, SIDE_REQUEST, true);
    run(b);
    b->scripts[0].response = VERDICT_WAIT;
    exchange_fail(b->x, &why);
    run(b);
    exchange_set_upstream(b->x, &b->up.end);
    assert_int_equal(b->up.resets, 1);
    assert_int_equal(b->up.detaches, 1);
    b->scripts[0].response = VERDICT_NEXT;
    exchange_wake(b->x);
    run(b);
    assert_int_equal(b->down.head->status, 504);
    assert_ended(b, 3);
}

static void test_body_filter_holds(void **state)
{
    struct bench *b = *state;

    b->filters[1].ops = &body_ops;
    b->scripts[1].body[SIDE_REQUEST] = VERDICT_WAIT;
    recv_head(b, SIDE_REQUEST, true);
    exchange_set_upstream(b->x, &b->up.end);
    recv_body(b, SIDE_REQUEST, 7);
    run(b);
    assert_null(b->up.head);
    assert_int_equal(b->scripts[1].bodies[0], 1);
    recv_body(b, SIDE_REQUEST, 7);
    exchange_recv_end(b->x, SIDE_REQUEST);
    b->scripts[1].body[SIDE_REQUEST] = VERDICT_NEXT;
    run(b);
    assert_got(&b->up, 14);
    assert_true(b->up.is_ended);
    unsigned calls = b->scripts[1].bodies[0];
    exchange_wake(b->x);
    run(b);
    assert_int_equal(b->scripts[1].bodies[0], calls);
    b->scripts[1].body[SIDE_RESPONSE] = VERDICT_REPLY;
    recv_head(b, SIDE_RESPONSE, true);
    recv_body(b, SIDE_RESPONSE, 7);
    run(b);
    assert_int_equal(b->down.head->status, 403);
    assert_int_equal(b->up.resets, 1);
    assert_ended(b, 3);
}

static void test_idle_timeout(void **state)
{
    struct bench *b = *state;

    exchange_set_idle_timeout(b->x, 5000000);
    recv_head(b, SIDE_REQUEST, true);
    exchange_set_upstream(b->x, &b->up.end);
    run(b);
    sim_world_run(b->world, sim_world_now_us(b->world) + 4000000);
    recv_body(b, SIDE_REQUEST, 7);
    sim_world_run(b->world, sim_world_now_us(b->world) + 4000000);
    assert_int_equal(b->released, 0);
    sim_world_run(b->world, sim_world_now_us(b->world) + 2000000);
    assert_ended(b, 3);
    assert_int_equal(b->down.head->status, 408);
    assert_int_equal(b->scripts[0].end_outcome.flags, FLAG_BIT(STREAM_IDLE));
}

/* A caller that sent all it had to is not the one who is late. */
static void test_idle_timeout_of_the_upstream(void **state)
{
    struct bench *b = *state;

    exchange_set_idle_timeout(b->x, 5000000);
    recv_head(b, SIDE_REQUEST, true);
    exchange_set_upstream(b->x, &b->up.end);
    exchange_recv_end(b->x, SIDE_REQUEST);
    run(b);
    sim_world_run(b->world, sim_world_now_us(b->world) + 6000000);
    assert_ended(b, 3);
    assert_int_equal(b->down.head->status, 504);
    assert_int_equal(b->scripts[0].end_outcome.flags, FLAG_BIT(STREAM_IDLE));
}

static void test_replies_in_grpc(void **state)
{
    struct bench *b = *state;

    b->scripts[0].request = VERDICT_REPLY;
    recv_head(b, SIDE_REQUEST, true);
    b->x->flows[SIDE_REQUEST].head->is_grpc = true;
    run(b);
    assert_int_equal(b->down.head->status, 200);
    assert_true(str_eq(http_head_get(b->down.head, HTTP_NAME_GRPC_STATUS), STR("7")));
    assert_true(str_eq(http_head_get(b->down.head, HTTP_NAME_GRPC_MESSAGE), STR("no")));
    assert_int_equal(b->down.got.len, 0);
    assert_true(b->down.is_ended);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(passes),
        TEST(is_recycled),
        TEST(slow_consumer_holds_the_credit),
        TEST(credit_comes_when_it_is_sent),
        TEST(small_bodies_are_not_asked_for),
        TEST(withheld_credit_comes_back),
        TEST(a_replay_is_credited_once),
        TEST(filter_waits),
        TEST(filter_replies),
        TEST(filter_fails),
        TEST(retry_replays_the_body),
        TEST(body_grows_too_large_while_a_retry_waits),
        TEST(large_body_is_committed),
        TEST(truncated_response_is_reset),
        TEST(client_leaves),
        TEST(early_response),
        TEST(fails_from_outside),
        TEST(upstream_comes_too_late),
        TEST(body_filter_holds),
        TEST(idle_timeout),
        TEST(idle_timeout_of_the_upstream),
        TEST(replies_in_grpc),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
