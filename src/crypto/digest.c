#include "crypto/digest.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

void sha256(struct str data, uint8_t ret_digest[32])
{
    SHA256((const unsigned char *)(data.ptr != NULL ? data.ptr : ""), data.len, ret_digest);
}

bool digest_eq(const uint8_t *a, const uint8_t *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

void secret_wipe(void *p, size_t len)
{
    OPENSSL_cleanse(p, len);
}
