/* First bytes of a connection: the verdict must not depend on how they are cut, once it is made. */
#include "crypto/tls.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str all = {(const char *)data, size};
    struct tls_hello hello = {0};
    struct arena a;
    arena_init(&a, 1024);
    enum tls_peek whole = tls_peek_hello(all, &a, &hello);
    size_t total = hello.sni.len;
    if (whole == TLS_PEEK_YES) {
        for (size_t i = 0; i < hello.alpn_count; i++)
            total += hello.alpn[i].len;
        ASSERT(total <= size && hello.alpn_count <= 16);
    }
    for (size_t cut = 1; cut < 8 && cut < size; cut++) {
        enum tls_peek part = tls_peek_hello(str_sub(all, 0, size - cut), &a, &hello);
        ASSERT(part == TLS_PEEK_MORE || part == whole || whole == TLS_PEEK_MORE);
        ASSERT(part == TLS_PEEK_MORE || whole != TLS_PEEK_MORE || size > TLS_PEEK_LEN_MAX);
    }
    arena_deinit(&a);
    return 0;
}
