/* In a file of its own: jansson's names collide with ours. */
#include "codec/json_reference.h"

#include <jansson.h>

bool json_reference_accepts(struct str text)
{
    json_t *v = json_loadb(text.ptr, text.len,
                           JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);

    json_decref(v);
    return v != NULL;
}
