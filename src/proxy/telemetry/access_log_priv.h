/* Inside proxy/telemetry/ only: what an access log's line is made of. */
#pragma once

#include "proxy/telemetry/access_log.h"

enum { ACCESS_LOG_TEXT_MAX = 128 };

/* What REQ, RESP and TRAILER name, found once when the format is compiled. */
enum access_log_field_kind {
    ACCESS_LOG_NO_FIELD,
    ACCESS_LOG_METHOD,
    ACCESS_LOG_PATH,
    ACCESS_LOG_AUTHORITY,
    ACCESS_LOG_SCHEME,
    ACCESS_LOG_FIELD,
};
struct access_log_field {
    enum access_log_field_kind kind;
    enum http_name id;
    struct str name; /* lower case */
};
/* other is taken when first is missing or empty. */
struct access_log_arg {
    struct access_log_field first, other;
};
struct access_log_arg access_log_arg_of(struct arena *a, struct str text);

/* The value, of the record or in buf; empty: there is none ("-", or null in JSON). */
typedef struct str access_log_value_fn(const struct record *r, const struct access_log_arg *arg,
                                       char buf[ACCESS_LOG_TEXT_MAX]);

struct access_log_operator {
    const char *name;
    access_log_value_fn *value;
    bool has_arg, is_number;
};
const struct access_log_operator *access_log_operator_find(struct str name);
