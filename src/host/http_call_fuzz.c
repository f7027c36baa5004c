/* Answers of apps, sidecars and tulled, and a state file, as anybody may write them. */
#include "base/err.h"
#include "host/egress.h"
#include "host/http_call.h"
#include "host/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str bytes = str_from((const char *)data, size);
    struct egress_request request;
    struct state state;
    char ip[46];
    for (int i = 0; i < 4; i++) {
        struct http_answer a = {0, STR_BUF_INIT(1)};
        int err = http_call_parse(bytes, (i & 1) != 0, (i & 2) != 0, &a);
        ASSERT((i & 1) == 0 || err != -ERR_AGAIN); /* at the end nothing is left open */
        http_answer_deinit(&a);
    }
    egress_request_parse(bytes, &request);
    egress_first_nameserver(bytes, ip);
    state_parse(bytes, &state);
    state_deinit(&state);
    return 0;
}
