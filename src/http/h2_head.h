/* Heads of HTTP/2 messages (RFC 9113 8), both ways: field by field in, a compressed block out.
 *
 * Names and values were checked one by one when they were decoded (h2_field.h); here the message as
 * a whole is: pseudo fields, limits, length. A head gets the canonical form that HTTP/1 gives it.
 *
 * Pure. Lifetime: strings are copied into the head's arena. */
#pragma once

#include "base/limits.h"
#include "codec/url.h"
#include "http/hpack.h"

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
    uint32_t pseudo_seen; /* bits of enum h2_kind */
    uint16_t refused;     /* status; 0: fine so far. The rest is decoded for HPACK's sake only */
    struct str details;
    bool is_malformed;   /* a stream error PROTOCOL_ERROR */
    bool has_fields;     /* pseudo fields may not follow */
    bool allows_connect; /* CONNECT, also with :protocol (RFC 8441); else it is refused */
};

void h2_head_reader_init(struct h2_head_reader *r, enum h2_head_kind kind,
                         const struct limits *limits, struct arena *a);
void h2_head_reader_add(struct h2_head_reader *r, const struct hpack_field *field);
/* The section is complete. 0; -ERR_PROTOCOL (reset the stream); or r->refused is set and the return
 * is -ERR_INVALID or -ERR_TOO_LARGE (answer with that status). path: for requests. */
int h2_head_reader_finish(struct h2_head_reader *r, const struct url_path_options *path);

/* A block that has that head fits into so many bytes. */
size_t h2_head_room(const struct http_head *head);
/* Writes the block at `to`; returns its end. Content-length is written from has_length. */
char *h2_head_put(struct hpack_encoder *e, char *to, enum h2_head_kind kind,
                  const struct http_head *head);
