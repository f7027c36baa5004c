/* More bytes never change an answer, and what is read lies within what came. */
#include "codec/proxy_protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str bytes = str_from((const char *)data, size);
    struct proxy_protocol whole = {0}, part = {0};
    enum proxy_protocol_read end = proxy_protocol_read(bytes, &whole);

    ASSERT(end != PROXY_PROTOCOL_MORE || size < PROXY_PROTOCOL_LEN_MAX);
    ASSERT(end != PROXY_PROTOCOL_YES || (whole.len > 0 && whole.len <= size));
    for (size_t len = 0; len < size; len += 1 + len / 16) {
        enum proxy_protocol_read got = proxy_protocol_read(str_sub(bytes, 0, len), &part);
        if (got == PROXY_PROTOCOL_MORE)
            continue;
        ASSERT(got == end);
        ASSERT(got != PROXY_PROTOCOL_YES || part.len == whole.len);
        break;
    }
    return 0;
}
