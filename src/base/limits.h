/* The named limits of a process: limits.def is the table, a struct limits one set of values.
 *
 * Owner: whoever embeds it; filled at start, read only afterwards, then readable by any thread. */
#pragma once

#include "base/str.h"

struct limits {
#define LIMIT(name, fallback, min, max, unit, text) uint64_t name;
#include "base/limits.def"
#undef LIMIT
};

struct limits_row {
    const char *name, *unit, *text;
    uint64_t fallback, min, max;
    size_t offset; /* in struct limits */
};

extern const struct limits_row limits_rows[];
extern const size_t limits_rows_count;

/* Every limit at its default. */
void limits_init(struct limits *l);

/* Sets one by name from decimal digits. -ERR_NOT_FOUND: no such limit; -ERR_INVALID: no number, or
 * outside the row's bounds. */
int limits_set(struct limits *l, struct str name, struct str value);

/* NULL when there is no such limit. */
const struct limits_row *limits_find(struct str name);
/* The nearest value that the limit's row allows; name must be one. */
uint64_t limits_clamp(struct str name, uint64_t value);
uint64_t limits_get(const struct limits *l, const struct limits_row *row);
