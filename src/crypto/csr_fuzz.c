/* Foreign bytes as a signing request: must be parsed or refused, never crash. */
#include "crypto/x509.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct csr *csr;
    if (csr_from_pem(str_from((const char *)data, size), &csr) < 0)
        return 0;
    struct str sans[4];
    size_t count;
    struct arena a;
    arena_init(&a, 1024);
    (void)csr_uri_sans(csr, &a, sans, 4, &count);
    arena_deinit(&a);
    csr_free(csr);
    return 0;
}
