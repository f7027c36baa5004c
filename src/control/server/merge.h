/* Patches of JSON documents: RFC 7396 merge patches, and Kubernetes' strategic ones, in which lists
 * of objects are merged by a key. Pure; the result lives in the arena. */
#pragma once

#include "codec/json.h"

/* RFC 7396 section 2: null deletes, objects merge, all else replaces. */
const struct json *merge_patch(struct arena *a, const struct json *target,
                               const struct json *patch);
/* The same, but lists named in merge.c merge item by item by their key; `$patch: delete` and
 * `replace`, and `$deleteFromPrimitiveList/NAME`, do what they say; orders are taken as they come.
 * -ERR_UNSUPPORTED for another directive. */
int merge_strategic(struct arena *a, const struct json *target, const struct json *patch,
                    const struct json **ret_result);
