#include "mesh/model/directory.h"

struct str directory_detail_name(struct arena *a, struct str host, uint16_t port)
{
    return arena_printf(a, "%.*s:%u", STR_FMT(host), (unsigned)port);
}
