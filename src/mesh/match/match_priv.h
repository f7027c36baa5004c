/* Parts of match that its files share. */
#pragma once

#include "mesh/match/match.h"

/* query: without its '?'; the first parameter of that name counts. */
bool match_query(const struct query_match *m, struct str query);
/* "*.example.com" against a host in lower case: at least one byte must stand for the star. */
bool match_wildcard_suffix(struct str pattern, struct str host);
