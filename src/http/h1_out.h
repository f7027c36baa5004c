/* The body of an outgoing HTTP/1 message: moves what a flow holds into a connection, framed, and
 * keeps to what its head has announced. Used by both ends. Inside http/ only. */
#pragma once

#include "http/exchange.h"
#include "http/h1_parse.h"
#include "io/conn.h"

struct h1_out {
    enum h1_body_kind kind;
    uint64_t left; /* H1_BODY_LENGTH */
};

void h1_out_init(struct h1_out *o, enum h1_body_kind kind, uint64_t length);
/* Takes body, trailers and end as far as the connection has room (else asks for on_drain); sets
 * flow->is_end_sent. H1_BODY_NONE drops what comes (a response to HEAD). -ERR_PROTOCOL: the body is
 * longer or shorter than announced; the message can only be cut off. */
int h1_out_move(struct h1_out *o, struct conn *c, struct flow *flow);
/* on_drain: what was taken of the flow on that side has been sent, unless more was taken meanwhile;
 * what there was no room for is taken now. */
void h1_out_drained(struct conn *c, struct exchange *x, enum side side);
