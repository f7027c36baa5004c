/* The field section of an HTTP/1 message (RFC 9112 5): headers and trailers, checked strictly.
 *
 * The section is parsed where it lies: names are brought to lower case in place, the head's fields
 * point into the text. What concerns framing and the connection is taken out and reported apart;
 * what is hop-by-hop does not get through (RFC 9110 7.6.1).
 *
 * Pure. Lifetime: the text must live as long as the head; put it into the head's arena. */
#pragma once

#include "base/limits.h"
#include "http/head.h"

/* Bytes behind a text that must be there: the scanners load and store whole words. Their values do
 * not matter and stay. */
enum { H1_PAD_BYTES = 16 };

/* Why a message is refused: status is what a client is told (an upstream's is told by 502). */
struct h1_error {
    uint16_t status;
    struct str details; /* snake_case, static */
};

enum h1_section { H1_SECTION_REQUEST, H1_SECTION_RESPONSE, H1_SECTION_TRAILERS };

enum { H1_LISTED_MAX = 16 };

/* What the fields say that is not passed on. */
struct h1_fields {
    enum h1_section section;
    struct http_head *head; /* receives the rest; wants_trailers, is_grpc, length are set in it */
    struct str host;
    bool has_host, has_length, has_transfer_encoding;
    bool is_close, is_keep_alive, is_upgrade; /* Connection */
    struct str upgrade;                       /* the field; null: none, or more than one */
    bool has_upgrade;
    bool expects_continue;
    struct str listed[H1_LISTED_MAX]; /* other names in Connection */
    uint32_t listed_count;
    size_t bytes; /* names and values */
};

/* Parses text[0, len), which starts at the first field line and ends with the empty line's CRLF.
 * f->section, f->head are set by the caller, the rest is zero. 0, or -ERR_PROTOCOL, -ERR_TOO_LARGE,
 * -ERR_UNSUPPORTED with *ret_error. */
int h1_fields_parse(struct h1_fields *f, char *text, size_t len, const struct limits *limits,
                    struct h1_error *ret_error);

/* The first byte from p on that is a control byte other than HTAB (RFC 9110 5.5). There must be one
 * within the text. */
char *h1_field_value_end(char *p);
bool h1_is_token_char(char c);
/* Whether a field of this name (in lower case) is left out of trailers, of whichever version: it
 * would change how the message is routed or judged (RFC 9110 6.5.1). */
bool h1_field_is_never_trailing(struct str name);
