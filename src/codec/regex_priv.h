/* Inside regex*.c only: the tree and the program of a pattern. */
#pragma once

#include "codec/regex.h"

enum regex_op {
    REGEX_SET,   /* a byte of sets[arg]; on to next */
    REGEX_SPLIT, /* to next, or with less right to other */
    REGEX_SAVE,  /* where we are, in slot arg; on to next */
    REGEX_TEXT_BEGIN,
    REGEX_TEXT_END,
    REGEX_LINE_BEGIN,
    REGEX_LINE_END,
    REGEX_WORD_BOUNDARY,
    REGEX_NO_WORD_BOUNDARY,
    REGEX_EMPTY, /* on to next */
    REGEX_MATCH,
};

struct regex_inst {
    uint8_t op;
    uint16_t arg, next, other;
};

struct regex_set {
    uint64_t bits[4];
};

static inline bool regex_set_has(const struct regex_set *s, uint8_t byte)
{
    return (s->bits[byte / 64] >> (byte % 64) & 1) != 0;
}

struct regex {
    struct str pattern;
    const struct regex_inst *insts; /* begins at 0 */
    uint16_t inst_count;
    unsigned group_count;
    const struct regex_set *sets;
};

/* --- regex_parse.c --- */

enum regex_node_kind {
    REGEX_NODE_EMPTY,
    REGEX_NODE_SET,    /* one byte of set */
    REGEX_NODE_CONCAT, /* left, then right */
    REGEX_NODE_OR,     /* left, else right */
    REGEX_NODE_REPEAT, /* left, min to max times; max -1: without end */
    REGEX_NODE_GROUP,  /* left, captured as group */
    REGEX_NODE_ASSERT, /* op */
};

struct regex_node {
    enum regex_node_kind kind;
    const struct regex_node *left, *right;
    struct regex_set set;
    int min, max;
    bool is_lazy;
    unsigned group;
    enum regex_op op;
};

/* 0 or -ERR_INVALID with why. */
int regex_parse(struct arena *a, struct str pattern, struct str_buf *why,
                const struct regex_node **ret_root, unsigned *ret_group_count);

/* --- regex_set.c: sets of bytes by what stands in a pattern --- */

void regex_set_add(struct regex_set *s, unsigned low, unsigned high);
void regex_set_invert(struct regex_set *s);
void regex_set_fold(struct regex_set *s); /* letters in their other case, too */
/* \d \w \s and their negations, by letter; false: none of them. */
bool regex_set_add_perl(struct regex_set *s, char letter);
/* "alpha" and its like; false: there is no such. */
bool regex_set_add_posix(struct regex_set *s, struct str name, bool is_inverted);
