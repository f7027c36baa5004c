/* Patches as lists of acts (RFC 6902). Pure; the result lives in the arena and shares with the
 * target what it does not change. */
#pragma once

#include "codec/json.h"

enum {
    JSON_PATCH_ACTS_MAX = 500,
    JSON_PATCH_COPIED_MAX = 100 * 1000, /* values that all acts `copy` add, together */
    JSON_PATCH_MADE_MAX = 1000 * 1000,  /* members and items that lie beside what they change */
};

/* All acts, or none. -ERR_CONFLICT: a `test` does not hold; -ERR_INVALID: an act cannot be done;
 * *ret_why says which and why (in the arena). */
int json_patch(struct arena *a, const struct json *target, const struct json *acts,
               const struct json **ret_result, const char **ret_why);
