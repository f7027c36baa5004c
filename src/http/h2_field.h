/* One field of an HTTP/2 message by itself (RFC 9113 8.2, 8.3): what it is, and whether its name
 * and value are well-formed. A compression table keeps the answer, so that what a peer repeats is
 * checked once.
 *
 * Pure. */
#pragma once

#include "http/head.h"

enum h2_kind {
    H2_FIELD,
    H2_METHOD,
    H2_SCHEME,
    H2_AUTHORITY,
    H2_PATH,
    H2_STATUS,
    H2_PROTOCOL,
    H2_PSEUDO_UNKNOWN,
};

enum { H2_METHOD_LEN_MAX = 32 };

/* What a name is. id: of an ordinary field that names.def has. False: it is no name. */
bool h2_field_name(struct str name, enum h2_kind *ret_kind, enum http_name *ret_id);
/* Whether such a field may have this value: no control bytes, no outer white space; pseudo fields,
 * host and te by their own rules; connection fields never. */
bool h2_field_value_is_valid(enum h2_kind kind, enum http_name id, struct str value);
