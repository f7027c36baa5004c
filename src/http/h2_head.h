/* Heads of HTTP/2 messages (RFC 9113 8), both ways: field by field in, an array of pairs out.
 *
 * nghttp2 checks the syntax of names and values, the order and number of pseudo fields, forbidden
 * connection fields, and content-length against DATA; here limits are kept, and a head gets the
 * same canonical form that HTTP/1 gives it.
 *
 * Pure. Lifetime: strings are copied into the head's arena. */
#pragma once

#include <nghttp2/nghttp2.h>

#include "base/limits.h"
#include "codec/url.h"
#include "http/head.h"

enum h2_head_kind { H2_HEAD_REQUEST, H2_HEAD_RESPONSE, H2_HEAD_TRAILERS };

/* A field section that is being received. */
struct h2_head_reader {
    enum h2_head_kind kind;
    struct http_head *head;
    const struct limits *limits;
    struct str host, target;
    size_t bytes;
    uint32_t count;
    uint32_t cookies;
    uint16_t refused; /* status; 0: fine so far. The rest is decoded for HPACK's sake only */
    struct str details;
    bool is_malformed; /* a stream error PROTOCOL_ERROR */
};

void h2_head_reader_init(struct h2_head_reader *r, enum h2_head_kind kind,
                         const struct limits *limits, struct arena *a);
void h2_head_reader_add(struct h2_head_reader *r, struct str name, struct str value);
/* The section is complete. 0; -ERR_PROTOCOL (reset the stream); or r->refused is set and the return
 * is -ERR_INVALID or -ERR_TOO_LARGE (answer with that status). path: for requests. */
int h2_head_reader_finish(struct h2_head_reader *r, const struct url_path_options *path);

/* Pairs for nghttp2_submit_*, in an array that grows and is used again. */
struct h2_pairs {
    nghttp2_nv *ptr;
    size_t len, cap;
};

void h2_pairs_deinit(struct h2_pairs *p);
/* Fill the array anew; the pairs point into the head. */
void h2_pairs_request(struct h2_pairs *p, const struct http_head *head, struct arena *a);
void h2_pairs_response(struct h2_pairs *p, const struct http_head *head, struct arena *a);
void h2_pairs_trailers(struct h2_pairs *p, const struct http_head *trailers);
