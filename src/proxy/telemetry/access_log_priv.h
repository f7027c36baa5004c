/* Inside proxy/telemetry/ only: what an access log's line is made of. */
#pragma once

#include "base/vec.h"
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
/* Points in time of COMMON_DURATION. */
enum access_log_point {
    ACCESS_LOG_REQUEST_BEGIN,
    ACCESS_LOG_REQUEST_END,
    ACCESS_LOG_RESPONSE_BEGIN,
    ACCESS_LOG_RESPONSE_END,
};

enum access_log_path {
    ACCESS_LOG_ORIGINAL_OR_PATH,
    ACCESS_LOG_ORIGINAL_ALONE,
    ACCESS_LOG_PATH_ALONE,
};
enum access_log_grpc { ACCESS_LOG_GRPC_CAMEL, ACCESS_LOG_GRPC_SNAKE, ACCESS_LOG_GRPC_NUMBER };

/* An operator's argument; each operator fills in what it asks for. */
struct access_log_arg {
    struct access_log_field first, other; /* other is taken when first is missing */
    const struct access_log_time *time;   /* NULL: RFC 3339 with milliseconds */
    struct str text;                      /* a name, or what never changes */
    bool is_without_query;
    enum access_log_path path;
    enum access_log_grpc grpc;
    enum access_log_point begin, end;
    uint32_t unit_us_num, unit_us_den; /* a duration's number is us * num / den */
};
/* text: between the parentheses, ptr NULL: there are none. 0 or -ERR_X with why. */
typedef int access_log_arg_fn(struct arena *a, struct str text, struct str_buf *why,
                              struct access_log_arg *to);

/* The value, of the record or in buf; ptr NULL: there is none ("-", or null in JSON). */
typedef struct str access_log_value_fn(const struct record *r, const struct access_log_arg *arg,
                                       char buf[ACCESS_LOG_TEXT_MAX]);

enum {
    ACCESS_LOG_NUMBER = 1, /* in JSON */
    ACCESS_LOG_CUT = 2,    /* may have a length behind its argument */
    ACCESS_LOG_OWN = 4,    /* a text of ours: goes into text as it is */
};
struct access_log_operator {
    const char *name;
    access_log_value_fn *value;
    access_log_arg_fn *arg; /* NULL: takes none */
    unsigned flags;
};
const struct access_log_operator *access_log_operator_find(struct str name);

/* access_log_arg.c */
access_log_arg_fn access_log_arg_fields, access_log_arg_time, access_log_arg_local_time,
    access_log_arg_name, access_log_arg_path, access_log_arg_grpc, access_log_arg_points,
    access_log_arg_hostname, access_log_arg_environment;

/* access_log_time.c: a time in the user's format. -ERR_X with why; is_local: in the zone of the
 * process, else UTC. In the arena. */
struct access_log_time;
int access_log_time_new(struct arena *a, struct str format, bool is_local, struct str_buf *why,
                        const struct access_log_time **ret_time);
struct str access_log_time_format(const struct access_log_time *t, uint64_t wall_us,
                                  char buf[ACCESS_LOG_TEXT_MAX]);

/* --- access_log_format.c: formats, compiled --- */

/* Bytes behind a literal and behind a line's end that a wide copy may touch. */
enum { ACCESS_LOG_PAD = 16 };

/* A literal text and the value behind it. */
struct piece {
    struct str literal;                   /* followed by PAD bytes of its arena */
    const struct access_log_operator *op; /* NULL: the end of a format */
    struct access_log_arg arg;
    size_t len_max; /* of the value */
};

struct pieces {
    struct piece *ptr;
    size_t len, cap;
};

/* A value in JSON. */
struct json_node {
    enum format_json_kind kind; /* NUMBER, BOOL and NULL: text */
    struct str key;             /* of a member: ',"key":' (',' of an item), and PAD */
    struct str text;            /* what never changes */
    struct pieces pieces;
    struct json_node *children;
    size_t child_count;
};

struct access_log_format {
    struct arena arena;
    bool is_json, omit_empty_values;
    struct pieces text;
    struct json_node root;
    struct str_buf *scratch; /* of a value of several pieces; kept, so that nothing is allocated */
};
