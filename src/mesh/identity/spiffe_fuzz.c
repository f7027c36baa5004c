/* Whatever parses formats to the very same text. */
#include <stdlib.h>

#include "mesh/identity/spiffe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_from((const char *)data, size);
    struct spiffe_id id;
    if (spiffe_parse(text, &id) != 0)
        return 0;
    struct arena a;
    arena_init(&a, 256);
    if (!str_eq(spiffe_format(&a, &id), text))
        abort();
    arena_deinit(&a);
    return 0;
}
