#include "mesh/xds/xds_fuzz_util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_resource(RESOURCE_ROUTE, data, size);
}
