/* More bytes never change an answer, and what is read lies within what came. */
#include "codec/proxy_protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was read is written in its one form, which is read as the same. */
static void check_written(const struct proxy_protocol *h)
{
    char buf[PROXY_PROTOCOL_WRITTEN_MAX];
    struct proxy_protocol again = {0};
    size_t len = proxy_protocol_write(h, buf);

    ASSERT(len <= sizeof buf);
    ASSERT(proxy_protocol_read(str_from(buf, len), &again) == PROXY_PROTOCOL_YES);
    bool is_one_family = h->source.family == h->destination.family;
    ASSERT(!is_one_family ||
           (ip_eq(&again.source, &h->source) && ip_eq(&again.destination, &h->destination) &&
            again.source_port == h->source_port));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str bytes = str_from((const char *)data, size);
    struct proxy_protocol whole = {0}, part = {0};
    enum proxy_protocol_read end = proxy_protocol_read(bytes, &whole);

    ASSERT(end != PROXY_PROTOCOL_MORE || size < PROXY_PROTOCOL_LEN_MAX);
    ASSERT(end != PROXY_PROTOCOL_YES || (whole.len > 0 && whole.len <= size));
    if (end == PROXY_PROTOCOL_YES)
        check_written(&whole);
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
