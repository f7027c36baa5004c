/* Regular expressions in the syntax of RE2, which configurations for Envoy have: matching takes
 * time in proportion to pattern times text, whatever both are.
 *
 * There: literals, '.', classes ([a-z], [^...], [[:alpha:]], \d \w \s \D \W \S), groups (capturing,
 * (?:...), (?P<name>...), flags i, m, s, U), '|', greedy and lazy * + ? {n,m}, ^ $ \A \z \b \B,
 * \Q...\E, \xHH, \t and its like. A character is a byte: "." takes one of a longer character.
 * Refused: back-references, look-around, classes of what is not ASCII (\pL, [ä]).
 *
 * A compiled pattern is immutable and lives in its arena. Pure; thread: any. */
#pragma once

#include "base/arena.h"

struct regex;

enum {
    REGEX_PATTERN_LEN_MAX = 4096,
    REGEX_INSTS_MAX = 4096, /* what counted repetitions may make of it */
    REGEX_GROUPS_MAX = 9,   /* that capture: as many as a substitution can name */
};

/* 0 or -ERR_INVALID, with a sentence in why. */
int regex_compile(struct arena *a, struct str pattern, struct str_buf *why,
                  const struct regex **ret_regex);
/* The pattern as it was written. */
struct str regex_pattern(const struct regex *re);
/* Whether the whole text matches. */
bool regex_match(const struct regex *re, struct str text);
/* Whether a substitution names groups only that there are, and is well-formed: "\" stands before a
 * digit or another "\". */
bool regex_can_replace(const struct regex *re, struct str substitution);
/* All matches, from left to right, replaced; \0 to \9 stand for the match and its groups. In the
 * arena, or the text itself when nothing matches. */
struct str regex_replace(const struct regex *re, struct str text, struct str substitution,
                         struct arena *a);
