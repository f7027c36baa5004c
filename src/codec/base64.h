/* Base64 and base64url (RFC 4648 sections 4 and 5) and hexadecimal (section 8), strict: no line
 * breaks, no foreign bytes, padding right, unused bits zero. Pure functions. */
#pragma once

#include "base/arena.h"
#include "base/str.h"

enum base64_kind {
    BASE64_STD, /* + /, padded */
    BASE64_URL, /* - _, without padding (RFC 7515) */
};

void base64_encode(struct str_buf *out, enum base64_kind kind, struct str bytes);
/* -ERR_SYNTAX; the result is in the arena. */
int base64_decode(struct arena *a, enum base64_kind kind, struct str text, struct str *ret_bytes);

void hex_encode(struct str_buf *out, struct str bytes); /* lower case */
/* Either case, even length; buf holds text.len / 2 bytes. -ERR_SYNTAX. */
int hex_decode(struct str text, void *buf, size_t buf_len);
