/* The pump: exchange_run makes one pass,
 *
 *   failures -> request: head through filters, body through filters, to the upstream end
 *            -> response: head through filters, body through filters, to the downstream end
 *            -> let go of ends that are done
 *
 * and whatever is produced meanwhile wakes the exchange for another pass, so no exchange can hold
 * up its loop: a pass moves at most what the credit of two flows allows. */
#include "http/exchange_priv.h"

static bool has_ended(const struct exchange *x)
{
    return x->phase == EXCHANGE_ENDED;
}

/* --- failures ------------------------------------------------------------------------------- */

static void abort_all(struct exchange *x)
{
    exchange_let_go(x, &x->upstream, &x->outcome);
    exchange_let_go(x, &x->downstream, &x->outcome);
    exchange_end(x);
}

/* What filters have noted before (a delay was injected) stays noted. */
static void set_outcome(struct exchange *x, const struct outcome *why)
{
    uint64_t flags = x->outcome.flags;

    x->outcome = *why;
    x->outcome.flags |= flags;
}

/* Tells the downstream: by a reply while that is possible, else by a reset, so that nobody takes a
 * truncated response for a whole one. */
static void fail_with(struct exchange *x, const struct outcome *why)
{
    set_outcome(x, why);
    outcome_describe(&x->outcome);
    if (x->phase == EXCHANGE_REPLYING || x->flows[SIDE_RESPONSE].is_head_sent ||
        x->flows[SIDE_REQUEST].head == NULL) {
        abort_all(x);
        return;
    }
    struct http_head *head = exchange_reply(x, x->outcome.status, x->outcome.details,
                                            str_from_c(err_text(x->outcome.err)));
    if (x->outcome.err == -ERR_LIMIT && (x->outcome.flags & FLAG_BIT(UPSTREAM_OVERFLOW)) != 0)
        http_head_add(head, HTTP_NAME_X_ENVOY_OVERLOADED, STR("true"));
    exchange_wake(x);
}

/* True: the filter said NEXT. */
static bool take_verdict(struct exchange *x, uint32_t index, enum verdict verdict)
{
    struct outcome why;

    switch (verdict) {
    case VERDICT_NEXT:
        return true;
    case VERDICT_WAIT:
        return false;
    case VERDICT_REPLY:
        ASSERT(x->phase == EXCHANGE_REPLYING);
        x->reply_from = index;
        exchange_wake(x); /* the response side may be behind us in this pass */
        return false;
    case VERDICT_FAIL:
        why = x->outcome;
        fail_with(x, &why);
        return false;
    }
    return false;
}

static enum verdict ask_about_failure(struct exchange *x, uint32_t index)
{
    const struct filter_ops *ops = x->filters[index].ops;

    if (ops->on_upstream_fail == NULL)
        return VERDICT_FAIL;
    return ops->on_upstream_fail(x, x->states[index], &x->failure);
}

static void handle_upstream_failure(struct exchange *x)
{
    struct outcome before = x->outcome;

    x->is_upstream_failed = false;
    if (x->flows[SIDE_RESPONSE].is_head_sent || x->called_count == 0) {
        fail_with(x, &x->failure);
        return;
    }
    exchange_restart_response(x);
    set_outcome(x, &x->failure);
    uint32_t index = x->called_count - 1;
    enum verdict verdict = ask_about_failure(x, index);
    if (verdict == VERDICT_WAIT) {
        x->outcome = before;
        exchange_rewind_request(x);
    }
    take_verdict(x, index, verdict == VERDICT_NEXT ? VERDICT_FAIL : verdict);
}

/* The client's leaving ends everything at once; it is nobody's failure upstream. */
static void handle_downstream_failure(struct exchange *x)
{
    set_outcome(x, &x->failure);
    outcome_describe(&x->outcome);
    abort_all(x);
}

static bool handle_failures(struct exchange *x)
{
    if (x->is_downstream_failed) {
        handle_downstream_failure(x);
    } else if (x->is_fail_due) {
        x->is_fail_due = false;
        fail_with(x, &x->failure);
    } else if (x->is_upstream_failed) {
        handle_upstream_failure(x);
    }
    return has_ended(x);
}

/* --- through the filters -------------------------------------------------------------------- */

/* How many filters the flow passes, and the index of the n-th. */
static uint32_t filters_of(const struct exchange *x, enum side side)
{
    if (side == SIDE_REQUEST)
        return x->filter_count;
    return x->phase == EXCHANGE_REPLYING ? x->reply_from : x->called_count;
}

static uint32_t filter_index(const struct exchange *x, enum side side, uint32_t nth)
{
    return side == SIDE_REQUEST ? nth : filters_of(x, side) - 1 - nth;
}

static enum verdict call_on_head(struct exchange *x, uint32_t index, enum side side)
{
    const struct filter_ops *ops = x->filters[index].ops;

    if (x->called_count <= index)
        x->called_count = index + 1;
    return ops->on_head == NULL ? VERDICT_NEXT : ops->on_head(x, x->states[index], side);
}

/* True: the head has passed all. A filter may have rewound the exchange: then there is no head. */
static bool pass_head(struct exchange *x, enum side side)
{
    struct flow *f = &x->flows[side];

    while (f->head != NULL && f->at < filters_of(x, side)) {
        uint32_t index = filter_index(x, side, f->at);

        if (!take_verdict(x, index, call_on_head(x, index, side)))
            return false;
        f->at++;
    }
    return f->head != NULL;
}

static bool is_body_seen(const struct flow *f)
{
    return f->body.len == f->seen_bytes && f->is_ended == f->is_end_seen;
}

static enum verdict call_on_body(struct exchange *x, uint32_t index, enum side side)
{
    const struct filter_ops *ops = x->filters[index].ops;

    return ops->on_body == NULL ? VERDICT_NEXT : ops->on_body(x, x->states[index], side);
}

/* True: all of the body has passed all filters. What came while one of them waited starts anew. */
static bool pass_body(struct exchange *x, enum side side)
{
    struct flow *f = &x->flows[side];

    while (x->has_body_filter && !is_body_seen(f)) {
        if (f->body_at == 0) {
            f->pass_bytes = f->body.len;
            f->is_pass_ended = f->is_ended;
        }
        while (f->body_at < filters_of(x, side)) {
            uint32_t index = filter_index(x, side, f->body_at);

            if (!take_verdict(x, index, call_on_body(x, index, side)))
                return false;
            f->body_at++;
        }
        f->body_at = 0;
        f->seen_bytes = f->pass_bytes;
        f->is_end_seen = f->is_pass_ended;
    }
    return true;
}

/* --- to the ends ---------------------------------------------------------------------------- */

static bool has_work(const struct flow *f)
{
    return !f->is_head_sent || f->body.len > 0 || (f->is_ended && !f->is_end_sent);
}

/* kept holds all bytes of the body so far, taken or not, as long as they are few. */
static void keep(struct exchange *x)
{
    struct flow *f = &x->flows[SIDE_REQUEST];
    uint64_t received = f->bytes + f->body.len;

    if (f->is_committed || received == f->kept.len)
        return;
    if (received > x->kept_bytes_max) {
        f->is_committed = true;
        chain_clear(&f->kept);
        return;
    }
    size_t fresh = (size_t)received - f->kept.len;
    chain_share(&f->kept, &f->body, f->body.len - fresh, fresh);
    chain_tighten(&f->kept, (size_t)2 * CHAIN_STREAM_BYTES);
}

static void commit(struct exchange *x)
{
    struct flow *request = &x->flows[SIDE_REQUEST];

    if (!request->is_committed) {
        request->is_committed = true;
        chain_clear(&request->kept);
    }
}

enum { PRESSED_BODY_BYTES = 8 * 1024 };

static void credit(struct exchange *x, enum side side)
{
    struct flow *f = &x->flows[side];
    struct http_end *producer = side == SIDE_REQUEST ? x->downstream : x->upstream;
    uint32_t bytes = f->owed_bytes;

    f->owed_bytes = 0;
    /* What waits is enough: under pressure no more comes until it has gone. */
    if (turn_is_pressed(x->turn) && f->body.len > PRESSED_BODY_BYTES) {
        f->withheld_bytes += bytes;
        return;
    }
    bytes += f->withheld_bytes;
    f->withheld_bytes = 0;
    f->credit_bytes += bytes;
    if (bytes > 0 && producer != NULL && !f->is_ended)
        producer->ops->grant(producer, bytes);
}

void exchange_note_sent(struct exchange *x, enum side side)
{
    struct flow *f = &x->flows[side];

    exchange_note_moved(x);
    if (!f->is_sent_asked)
        return;
    f->is_sent_asked = false;
    credit(x, side);
}

/* The consumer is asked when a part of the window is at stake, what was withheld included: small
 * bodies never are. A producer that has ended wants nothing. */
static void owe(struct exchange *x, enum side side, struct http_end *consumer, size_t taken)
{
    enum { WINDOW_PARTS = 4 };
    struct flow *f = &x->flows[side];
    uint32_t replayed = (uint32_t)MIN(taken, (size_t)f->replay_bytes);

    f->replay_bytes -= replayed;
    f->owed_bytes += (uint32_t)taken - replayed;
    if (f->is_ended || f->is_sent_asked)
        return;
    if (consumer->ops->ask_sent == NULL) {
        credit(x, side);
    } else if (f->owed_bytes + f->withheld_bytes >= f->window_bytes / WINDOW_PARTS) {
        f->is_sent_asked = true;
        consumer->ops->ask_sent(consumer);
    }
}

static void send_to(struct exchange *x, enum side side, struct http_end *consumer)
{
    struct flow *f = &x->flows[side];
    size_t before = f->body.len;
    bool was_head_sent = f->is_head_sent, was_end_sent = f->is_end_sent;

    consumer->ops->send(consumer, f);
    size_t taken = before - f->body.len;
    f->bytes += taken;
    f->seen_bytes = f->body.len;
    if (taken > 0 || was_head_sent != f->is_head_sent || was_end_sent != f->is_end_sent)
        x->moved_us = turn_now_us(x->turn);
    if (taken > 0)
        owe(x, side, consumer, taken);
}

/* A tunnel that is not open yet: the head alone, whatever came behind it. */
static void send_tunnel_head(struct exchange *x)
{
    struct flow *f = &x->flows[SIDE_REQUEST];
    size_t seen_bytes = f->seen_bytes;
    bool is_ended = f->is_ended;
    struct chain body;

    chain_init(&body, turn_chunks(x->turn), &x->account);
    chain_move(&body, &f->body, f->body.len);
    f->is_ended = false;
    send_to(x, SIDE_REQUEST, x->upstream);
    f->is_ended = is_ended;
    f->seen_bytes = seen_bytes;
    chain_move(&f->body, &body, body.len);
    chain_deinit(&body);
}

static void send_informs(struct exchange *x)
{
    bool is_timely = x->phase == EXCHANGE_OPEN && !x->flows[SIDE_RESPONSE].is_head_sent;

    for (uint32_t i = 0; i < x->inform_count; i++) {
        if (is_timely && x->downstream != NULL && x->downstream->ops->inform != NULL)
            x->downstream->ops->inform(x->downstream, x->informs[i]);
    }
    x->inform_count = 0;
}

/* --- the pass ------------------------------------------------------------------------------- */

static void want_body(struct exchange *x)
{
    if (x->is_body_wanted)
        return;
    x->is_body_wanted = true;
    if (!x->flows[SIDE_REQUEST].is_ended && x->downstream != NULL)
        x->downstream->ops->grant(x->downstream, 0);
}

static void move_request(struct exchange *x)
{
    x->is_request_moving = true;
    bool has_passed = pass_head(x, SIDE_REQUEST);
    x->is_request_moving = false;
    if (!has_passed)
        return;
    want_body(x);
    if (!pass_body(x, SIDE_REQUEST))
        return;
    keep(x);
    if (x->upstream == NULL || !has_work(&x->flows[SIDE_REQUEST]))
        return;
    if (!x->is_tunnel || x->is_switched)
        send_to(x, SIDE_REQUEST, x->upstream);
    else if (!x->flows[SIDE_REQUEST].is_head_sent)
        send_tunnel_head(x);
}

static void move_response(struct exchange *x)
{
    struct flow *f = &x->flows[SIDE_RESPONSE];

    if (!pass_head(x, SIDE_RESPONSE) || !pass_body(x, SIDE_RESPONSE))
        return;
    if (x->downstream == NULL || !has_work(f))
        return;
    send_to(x, SIDE_RESPONSE, x->downstream);
    if (f->is_head_sent)
        commit(x);
}

/* Of no use behind a reply of ours; the credit is not given back, so little comes. */
static void drop_request(struct exchange *x)
{
    chain_clear(&x->flows[SIDE_REQUEST].body);
}

/* Of what nobody takes for now. */
static void tighten(struct exchange *x)
{
    for (int side = SIDE_REQUEST; side <= SIDE_RESPONSE; side++) {
        if (x->flows[side].body.len > 0)
            chain_tighten(&x->flows[side].body, CHAIN_STREAM_BYTES);
    }
}

static void settle(struct exchange *x)
{
    static const struct outcome done_early = {.err = 0};
    const struct flow *request = &x->flows[SIDE_REQUEST];
    const struct flow *response = &x->flows[SIDE_RESPONSE];

    if (request->is_end_sent && response->is_ended)
        exchange_let_go(x, &x->upstream, NULL);
    if (!response->is_end_sent)
        return;
    /* The other half of a tunnel ends by itself, as long as there is somebody to hear it. */
    if (x->is_switched && !request->is_end_sent && x->upstream != NULL)
        return;
    exchange_let_go(x, &x->upstream, &done_early);
    exchange_let_go(x, &x->downstream, request->is_ended ? NULL : &done_early);
    exchange_end(x);
}

void exchange_run(struct exchange *x)
{
    if (has_ended(x) || handle_failures(x) || x->phase == EXCHANGE_NEW)
        return;
    if (x->states == NULL)
        exchange_prepare(x);
    if (x->phase == EXCHANGE_OPEN)
        move_request(x);
    if (x->phase == EXCHANGE_REPLYING)
        drop_request(x);
    if (has_ended(x))
        return;
    send_informs(x);
    move_response(x);
    if (!has_ended(x))
        settle(x);
    if (!has_ended(x))
        tighten(x);
}
