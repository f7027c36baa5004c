/* JSON (RFC 8259): a writer that streams into a buffer, and a small immutable tree for reading.
 *
 * The tree lives in the caller's arena and borrows nothing from the text. Reading is strict: UTF-8
 * only, duplicate keys, trailing text, integers beyond int64_t, too deep and too large documents
 * are refused.
 * Owner: the arena's. Thread: a finished tree may be read by all. */
#pragma once

#include "base/arena.h"
#include "base/str.h"

enum json_type {
    JSON_NULL,
    JSON_BOOL,
    JSON_INT,  /* fits int64_t */
    JSON_REAL, /* finite */
    JSON_STR,
    JSON_ARRAY,
    JSON_OBJECT,
};

struct json_place {
    uint32_t line, column; /* 1-based, in bytes; 0: the node was built, not read */
};

struct json {
    enum json_type type;
    uint32_t count; /* of children: items or members, in the order of the text */
    union {
        bool boolean;
        int64_t integer;
        double real;
        struct str str;            /* UTF-8, may hold U+0000 */
        const struct json **items; /* arrays and objects */
    };
    const struct str *keys;              /* objects: keys[i] belongs to items[i] */
    const struct json_place *key_places; /* NULL when the node was built */
    struct json_place place;
};

enum { JSON_DEPTH_MAX = 64 };

struct json_error {
    uint32_t line, column; /* 1-based; 0: not known */
    char text[160];
};

/* The tree of a whole text. Errors: -ERR_TOO_LARGE (text longer than len_max), -ERR_SYNTAX (all
 * else); *ret_error (may be NULL) says where and why. */
int json_parse(struct arena *a, struct str text, size_t len_max, const struct json **ret_root,
               struct json_error *ret_error);

/* Looking into a tree. `v` may be NULL everywhere: then there is nothing, so look-ups nest:
 * json_get(json_get(root, "spec"), "hosts"). */
const struct json *json_get(const struct json *v, const char *key);
const struct json *json_get_str_key(const struct json *v, struct str key);
const struct json *json_at(const struct json *v, size_t i);
size_t json_count(const struct json *v); /* of an array or object; else 0 */

/* True when v is of that type (and in range), false else, leaving the out parameter alone. */
bool json_str(const struct json *v, struct str *ret_value);
bool json_bool(const struct json *v, bool *ret_value);
bool json_i64(const struct json *v, int64_t *ret_value);
bool json_u64(const struct json *v, uint64_t *ret_value);
bool json_f64(const struct json *v, double *ret_value); /* integers too */
/* proto3's JSON writes 64-bit numbers as strings: takes either form. */
bool json_u64_or_str(const struct json *v, uint64_t *ret_value);

struct str json_str_or(const struct json *v, struct str fallback);
/* Of a member: STR_NULL or 0 when there is none, or none of that type (a number may be a string).
 */
struct str json_text_at(const struct json *v, const char *key);
unsigned long long json_number_at(const struct json *v, const char *key);
const char *json_type_name(enum json_type type); /* "object" */

/* Building trees in an arena, for the REST API and the command line. Members keep their order;
 * json_object_add does not look for duplicates. Growth is amortised. */
struct json *json_new_null(struct arena *a);
struct json *json_new_bool(struct arena *a, bool value);
struct json *json_new_i64(struct arena *a, int64_t value);
struct json *json_new_f64(struct arena *a, double value);
struct json *json_new_str(struct arena *a, struct str value); /* copied */
struct json *json_new_array(struct arena *a);
struct json *json_new_object(struct arena *a);
void json_array_add(struct arena *a, struct json *array, const struct json *item);
void json_object_add(struct arena *a, struct json *object, struct str key, const struct json *v);
