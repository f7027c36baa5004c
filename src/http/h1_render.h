/* Heads as HTTP/1.1 text, in one pass into one reservation of a chain.
 *
 * Framing, Host and Connection come from the head's framing and the options; fields of those names
 * in the head are left out, so that a head can never contradict itself on the wire. A request with
 * a protocol says Upgrade; one whose method is CONNECT has the authority for its target.
 *
 * Pure. Thread: the chain's. */
#pragma once

#include "base/chain.h"
#include "http/h1_parse.h"
#include "http/head.h"

struct h1_render {
    bool is_close;          /* Connection: close */
    bool is_keep_alive;     /* Connection: keep-alive, for HTTP/1.0 clients */
    enum h1_body_kind body; /* of what follows; LENGTH: head->length */
    bool is_to_head;        /* response to HEAD: Content-Length tells of what is not sent */
    struct str upgrade;     /* of a 101: what is switched to; else null */
};

/* How a body is framed on the wire when the receiver understands chunked, or does not. */
enum h1_body_kind h1_render_body_kind(const struct http_head *h, bool can_chunk);

void h1_render_request(struct chain *out, const struct http_head *h, const struct h1_render *r);
void h1_render_response(struct chain *out, const struct http_head *h, const struct h1_render *r);
