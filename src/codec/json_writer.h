/* Writes JSON piece by piece into a str_buf; commas, colons and indentation follow by themselves.
 *
 *     struct json_writer w;
 *     json_writer_init(&w, &buf, 2);
 *     json_writer_object(&w, NULL);
 *     json_writer_str(&w, "name", name);
 *     json_writer_array(&w, "ports");
 *     json_writer_u64(&w, NULL, 80);
 *     json_writer_end(&w);
 *     json_writer_end(&w);
 *
 * Inside an object every call takes a key, inside an array (and at the top) NULL; else it ASSERTs.
 * Whether everything fitted is str_buf's is_overflown. Invalid UTF-8 becomes U+FFFD.
 * Owner: the caller's storage; the buffer outlives the writer. Thread: one. */
#pragma once

#include "base/str.h"

enum { JSON_WRITER_DEPTH_MAX = 64 };

struct json;

struct json_writer {
    struct str_buf *out;
    uint32_t indent; /* spaces a level; 0: all on one line */
    uint32_t depth;
    bool has_key; /* json_writer_key was called, its value is due */
    struct json_writer_level {
        bool is_object, has_items;
    } levels[JSON_WRITER_DEPTH_MAX];
};

void json_writer_init(struct json_writer *w, struct str_buf *out, uint32_t indent);

void json_writer_object(struct json_writer *w, const char *key);
void json_writer_array(struct json_writer *w, const char *key);
/* Ends the innermost object or array. */
void json_writer_end(struct json_writer *w);

void json_writer_str(struct json_writer *w, const char *key, struct str value);
void json_writer_c(struct json_writer *w, const char *key, const char *value); /* NULL: null */
void json_writer_i64(struct json_writer *w, const char *key, int64_t value);
void json_writer_u64(struct json_writer *w, const char *key, uint64_t value);
/* The shortest text that reads back as the same number; not finite: null. */
void json_writer_f64(struct json_writer *w, const char *key, double value);
void json_writer_bool(struct json_writer *w, const char *key, bool value);
void json_writer_null(struct json_writer *w, const char *key);
/* Text that is JSON already. */
void json_writer_raw(struct json_writer *w, const char *key, struct str text);
void json_writer_tree(struct json_writer *w, const char *key, const struct json *v);

/* For keys that are not C strings: the next call then takes NULL as its key. */
void json_writer_key(struct json_writer *w, struct str key);

/* The quoted form of one string, without a writer. */
void json_writer_quote(struct str_buf *out, struct str value);
