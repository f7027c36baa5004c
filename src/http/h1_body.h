/* Bodies of HTTP/1 messages: finds the data in a connection's bytes and the end of the message, for
 * every way of framing (RFC 9112 6.3, 7.1), and writes the chunked coding.
 *
 * The reader removes framing from the front of a chain and tells how many bytes of data come next;
 * the caller moves them away by slices; nothing is copied.
 *
 * Pure. Owner: whoever embeds the struct. */
#pragma once

#include "http/h1_parse.h"

/* Bounds on what chunked coding may carry beside data. */
enum { H1_CHUNK_EXT_BYTES_MAX = 1024, H1_CHUNK_EXT_BYTES_TOTAL_MAX = 16 * 1024 };

enum h1_next {
    H1_NEXT_MORE,     /* needs more bytes */
    H1_NEXT_DATA,     /* the first *ret_len bytes are data: take some, then h1_body_taken */
    H1_NEXT_TRAILERS, /* the first *ret_len bytes are a trailer section: parse and skip them */
    H1_NEXT_END,      /* what follows is the next message; repeats */
    H1_NEXT_BAD,
};

enum h1_body_state {
    H1_BODY_AT_SIZE, /* first digit of a chunk's size */
    H1_BODY_IN_SIZE,
    H1_BODY_IN_EXT,
    H1_BODY_AT_SIZE_LF,
    H1_BODY_IN_DATA,
    H1_BODY_AT_DATA_CR,
    H1_BODY_AT_DATA_LF,
    H1_BODY_IN_TRAILERS,
    H1_BODY_AT_END,
};

struct h1_body {
    enum h1_body_kind kind;
    enum h1_body_state state;
    uint64_t left;   /* of the body, or of the chunk */
    uint32_t digits; /* of the size */
    uint32_t ext_bytes, ext_bytes_total;
    uint8_t ext_state;   /* where in an extension's grammar */
    struct h1_scan scan; /* trailers */
};

void h1_body_init(struct h1_body *b, const struct h1_framing *framing);
/* Skips framing at the front of `in`. For H1_BODY_UNTIL_CLOSE the end is the caller's to see. */
enum h1_next h1_body_next(struct h1_body *b, struct chain *in, const struct limits *limits,
                          size_t *ret_len, struct h1_error *ret_error);
/* n of the data bytes that h1_body_next told of were taken off the chain. */
void h1_body_taken(struct h1_body *b, size_t n);
bool h1_body_is_at_end(const struct h1_body *b);
bool h1_body_is_in_trailers(const struct h1_body *b);

/* Moves the first len bytes (> 0) of `from` to `out` as one chunk. */
void h1_chunk_move(struct chain *out, struct chain *from, size_t len);
/* The last chunk, trailers (NULL: none), the end. */
void h1_chunk_end(struct chain *out, const struct http_head *trailers);
