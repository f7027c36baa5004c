/* YAML 1.1 as libyaml reads it, turned into a tree in which every node knows its place.
 *
 * Plain scalars stay text: what they mean is asked by yaml_bool, yaml_i64 and so on, which know the
 * field's type. Only `true` and `false` are booleans: `no` is Norway. JSON is read too.
 *
 * Refused, with their place: duplicate keys, keys that are not scalars, merge keys (<<),
 * directives, too deep, too large, too many nodes (aliases count with what they stand for). Anchors
 * and aliases work; an alias shares the node it names, so a node's place is where it was written.
 *
 * Owner: all nodes and texts live in the caller's arena. Thread: a finished tree is read by all. */
#pragma once

#include "base/arena.h"
#include "base/str.h"

enum yaml_kind { YAML_MAP, YAML_SEQ, YAML_SCALAR };

struct yaml_node {
    enum yaml_kind kind;
    bool is_quoted;        /* scalar in quotes, or a block (| >): a string whatever it looks like */
    uint32_t line, column; /* 1-based; 0: made by yaml_from_json */
    uint32_t count;        /* of items or members */
    struct str tag;        /* as written and resolved ("tag:yaml.org,2002:str"); else empty */
    struct str text;       /* scalars; UTF-8 */
    /* Sequences: count items. Maps: values; keys[i] is the key node of items[i]. */
    struct yaml_node **items;
    struct yaml_node **keys;
};

struct yaml_error {
    uint32_t line, column;
    struct str text; /* in the arena */
};

struct yaml_limits {
    size_t len_max;     /* bytes of the whole stream */
    uint32_t nodes_max; /* over all documents, aliases expanded */
    uint32_t depth_max;
    uint32_t errors_max; /* after so many, reading stops */
};

/* 4 MiB, 200,000 nodes, 64 levels, 100 errors. */
extern const struct yaml_limits yaml_limits_default;

struct yaml_stream {
    struct yaml_node **documents; /* empty documents are left out */
    uint32_t document_count;
    struct yaml_error *errors; /* in the order of the text */
    uint32_t error_count;
};

/* Reads all documents of a text. 0, or -ERR_TOO_LARGE / -ERR_SYNTAX when there is at least one
 * error. In both cases *ret_stream is filled: with errors, documents holds those that were whole
 * and without fault. limits may be NULL. */
int yaml_parse(struct arena *a, struct str text, const struct yaml_limits *limits,
               struct yaml_stream *ret_stream);

/* The value of a key, or NULL; n may be NULL or of another kind. */
struct yaml_node *yaml_get(const struct yaml_node *n, const char *key);
struct yaml_node *yaml_get_str(const struct yaml_node *n, struct str key);
/* The key's own node, for findings that point at it. */
struct yaml_node *yaml_get_key(const struct yaml_node *n, const char *key);

/* What a scalar means. False: not a scalar, or not of that form; the out parameter is untouched. */
bool yaml_is_null(const struct yaml_node *n); /* plain null, ~, or nothing; also n == NULL */
bool yaml_bool(const struct yaml_node *n, bool *ret_value);   /* plain true, false */
bool yaml_i64(const struct yaml_node *n, int64_t *ret_value); /* plain decimal, optional sign */
bool yaml_u64(const struct yaml_node *n, uint64_t *ret_value);
bool yaml_f64(const struct yaml_node *n, double *ret_value); /* plain, finite; integers too */
/* Any scalar that a typed reader would not take for null, a boolean or a number; numbers count as
 * strings only in quotes. */
bool yaml_str(const struct yaml_node *n, struct str *ret_value);

/* "a map", "a list", "a string", "a number", "a boolean", "null": for messages. */
const char *yaml_kind_text(const struct yaml_node *n);

struct json;
struct str_buf;

/* A tree of JSON from a tree of YAML, scalars typed as YAML's core schema types them (with the
 * boolean rule above). */
const struct json *yaml_to_json(struct arena *a, const struct yaml_node *n);
/* The other way, with line and column 0. */
struct yaml_node *yaml_from_json(struct arena *a, const struct json *v);

/* Block-style YAML, strings quoted where another reader might take them for something else
 * (YAML 1.1's booleans and numbers included). Ends with a newline. */
void yaml_write(struct str_buf *out, const struct json *v);
