/* Names of resources come from proxies: what parses has one spelling, and fits a fact's text. */
#include <stdlib.h>

#include "control/translate/translate_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_from((const char *)data, size);
    struct output_name n;
    uint16_t port;
    enum api_protocol protocol;
    struct arena a;
    arena_init(&a, 512);
    if (name_parse(text, &n) &&
        (!str_eq(name_format(&a, n.host, n.port, n.subset, n.is_tcp), text) || text.len > 400 ||
         n.port == 0))
        abort();
    if (name_parse_inbound(text, &port, &protocol) &&
        !str_eq(name_inbound(&a, port, protocol), text))
        abort();
    for (int type = 0; type < RESOURCE_TYPE_COUNT; type++) {
        if (name_is_possible((enum resource_type)type, text) && text.len > 400)
            abort();
    }
    arena_deinit(&a);
    return 0;
}
