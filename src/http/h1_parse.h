/* Heads of HTTP/1.0 and 1.1 messages, strict (RFC 9112): what two implementations could read in two
 * ways is refused.
 *
 * In two steps: h1_scan finds the end of a head in a chain as bytes come in (each byte is looked at
 * once); then the complete text, copied once into the exchange's arena, is parsed in place.
 *
 * Pure: no clock, no socket. Thread: any, one at a time. */
#pragma once

#include "base/chain.h"
#include "base/limits.h"
#include "codec/url.h"
#include "http/h1_field.h"

/* --- scan ----------------------------------------------------------------------------------- */

enum h1_scan_result { H1_SCAN_MORE, H1_SCAN_DONE, H1_SCAN_BAD };

struct h1_scan {
    enum h1_section section;
    size_t done;      /* bytes looked at */
    size_t line_from; /* offset of the line that is under way */
    uint32_t lines;   /* complete ones */
    bool is_after_cr; /* the last byte was CR */
};

void h1_scan_init(struct h1_scan *s, enum h1_section section);
/* DONE: the head (with its empty line) is the first *ret_len bytes of `in`; the scan must be
 * initialised again before its next use. BAD: bare LF, a limit passed, or no HTTP at all. The bytes
 * seen by earlier calls must still be at the front of `in`. An empty first line where a start line
 * belongs is DONE with *ret_len 2 (RFC 9112 2.2: a server ignores one). */
enum h1_scan_result h1_scan_chain(struct h1_scan *s, const struct chain *in,
                                  const struct limits *limits, size_t *ret_len,
                                  struct h1_error *ret_error);

/* A head larger than that is refused by the scan: what a connection must be able to hold. */
size_t h1_head_bytes_max(const struct limits *limits);

/* The first len bytes of `in` as a text in the arena, followed by H1_PAD_BYTES. `in` is left. */
char *h1_text_copy(struct arena *a, const struct chain *in, size_t len);

/* --- parse ---------------------------------------------------------------------------------- */

enum h1_body_kind { H1_BODY_NONE, H1_BODY_LENGTH, H1_BODY_CHUNKED, H1_BODY_UNTIL_CLOSE };

/* How the message's body ends, and whether the connection may carry another. */
struct h1_framing {
    enum h1_body_kind body;
    uint64_t length;    /* H1_BODY_LENGTH: above 0 */
    bool is_persistent; /* RFC 9112 9.3 */
};

struct h1_request_options {
    const struct limits *limits;
    const struct url_path_options *path;
    struct str scheme; /* of the connection: "http", "https"; borrowed by the head */
    bool accept_http_10;
    bool accept_upgrade; /* requests that ask for a tunnel; else Upgrade is dropped, CONNECT 501 */
};

/* text[0, len): a complete head, in memory that lives as long as head's arena, H1_PAD_BYTES behind
 * it. head is initialised here. On failure head's contents are unspecified.
 * 0, or -ERR_PROTOCOL, -ERR_TOO_LARGE, -ERR_UNSUPPORTED with *ret_error. */
int h1_parse_request(char *text, size_t len, const struct h1_request_options *options,
                     struct arena *a, struct http_head *head, struct h1_framing *ret_framing,
                     struct h1_error *ret_error);

/* is_to_head: the request's method was HEAD, so there is no body whatever the fields say. A 1xx
 * parses as a response without a body; a 101 must say in `protocol` what to, whether that was asked
 * for is the caller's to see, as it is that a 2xx to CONNECT has no framing. */
int h1_parse_response(char *text, size_t len, const struct limits *limits, bool is_to_head,
                      struct arena *a, struct http_head *head, struct h1_framing *ret_framing,
                      struct h1_error *ret_error);

/* A trailer section, its empty line included; trailers is initialised here. */
int h1_parse_trailers(char *text, size_t len, const struct limits *limits, struct arena *a,
                      struct http_head *trailers, struct h1_error *ret_error);
