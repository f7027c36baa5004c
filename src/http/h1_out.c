#include "http/h1_out.h"

#include "http/h1_body.h"
#include "http/http_priv.h"

void h1_out_init(struct h1_out *o, enum h1_body_kind kind, uint64_t length)
{
    *o = (struct h1_out){kind, kind == H1_BODY_LENGTH ? length : 0};
}

static int move_body(struct h1_out *o, struct conn *c, struct chain *body, size_t len)
{
    switch (o->kind) {
    case H1_BODY_NONE:
        chain_clear(body);
        return 0;
    case H1_BODY_LENGTH:
        if (body->len > o->left)
            return -ERR_PROTOCOL;
        o->left -= len;
        chain_move(&c->out, body, len);
        break;
    case H1_BODY_CHUNKED:
        h1_chunk_move(&c->out, body, len);
        break;
    case H1_BODY_UNTIL_CLOSE:
        chain_move(&c->out, body, len);
        break;
    }
    conn_mark_dirty(c);
    return 0;
}

int h1_out_move(struct h1_out *o, struct conn *c, struct flow *flow)
{
    size_t waiting = flow->body.len > 0 ? conn_out_len(c) : 0;

    if (flow->body.len > 0 && waiting < H1_OUT_MAX_BYTES) {
        int err = move_body(o, c, &flow->body, MIN(flow->body.len, H1_OUT_MAX_BYTES - waiting));
        if (err != 0)
            return err;
    }
    if (flow->body.len > 0)
        conn_ask_drain(c);
    if (!flow->is_ended || flow->body.len > 0 || flow->is_end_sent)
        return 0;
    if (o->kind == H1_BODY_LENGTH && o->left > 0)
        return -ERR_PROTOCOL;
    if (o->kind == H1_BODY_CHUNKED) {
        h1_chunk_end(&c->out, flow->trailers);
        conn_mark_dirty(c);
    }
    flow->is_end_sent = true;
    return 0;
}

void h1_out_drained(struct conn *c, struct exchange *x, enum side side)
{
    if (conn_out_len(c) > 0) { /* since then */
        conn_ask_drain(c);
        return;
    }
    exchange_note_sent(x, side);
    if (x->flows[side].body.len > 0)
        exchange_wake(x);
}
