/* Where something stands in a message: "filter_chains[0].filters[1].typed_config.stat_prefix".
 * Nodes live on the stack of whoever walks down; a text is made only when something is wrong. */
#pragma once

#include "base/str.h"

struct pb_path {
    const struct pb_path *parent; /* NULL: the message itself, its name is not printed if empty */
    const char *name;
    long index;     /* of a repeated field; -1: none */
    struct str key; /* of a map; ptr NULL: none */
    /* A walker of the wire does not count: the index is how often this field stands in
     * `before`. NULL: index holds. */
    struct str before;
    uint32_t number;
};

#define PB_AT(parent_, name_)                                                                      \
    (&(const struct pb_path){(parent_), (name_), -1, {NULL, 0}, {NULL, 0}, 0})
#define PB_AT_I(parent_, name_, index_)                                                            \
    (&(const struct pb_path){(parent_), (name_), (long)(index_), {NULL, 0}, {NULL, 0}, 0})

/* NULL is the message itself: nothing is printed. */
void pb_path_print(const struct pb_path *p, struct str_buf *to);
/* Appends "path: text" to why (which may be NULL), once: what is there already stays alone.
 * Returns -ERR_INVALID, so that callers can return it. */
int pb_path_fail(const struct pb_path *p, struct str_buf *why, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
