#include "http/h1_fuzz_util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str input = str_from((const char *)data, size);

    fuzz_split(TEST_REQUEST, input);
    fuzz_round_trip(TEST_REQUEST, input);
    fuzz_round_trip(TEST_TUNNEL_REQUEST, input);
    return 0;
}
