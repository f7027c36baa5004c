/* Which known name a misspelt one was meant to be. */
#pragma once

#include "base/str.h"

/* Edits (insert, delete, replace, swap neighbours; case counts nothing) from a to b, at most max;
 * max + 1 when it takes more. Names longer than 63 bytes never match. */
unsigned nearest_distance(struct str a, struct str b, unsigned max);

/* How far off a name of this length may be and still be taken for a slip. */
static inline unsigned nearest_distance_max(size_t len)
{
    return len <= 3 ? 1 : len <= 7 ? 2 : 3;
}
