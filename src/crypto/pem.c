/* PEM blocks (RFC 7468), strictly: one label, bounded sizes, no encryption headers. */
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "crypto/crypto_priv.h"

BIO *pem_open(struct str pem)
{
    ASSERT(pem.len <= PEM_LEN_MAX);
    BIO *bio = BIO_new_mem_buf(pem.len > 0 ? pem.ptr : "", (int)pem.len);
    ASSERT(bio != NULL);
    return bio;
}

static bool is_end_of_text(void)
{
    unsigned long e = ERR_peek_last_error();
    return ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
}

int pem_next(BIO *bio, const char *label, unsigned char **ret_der, long *ret_len)
{
    char *name = NULL, *header = NULL;
    unsigned char *der = NULL;
    long len = 0;
    ERR_clear_error();
    if (PEM_read_bio(bio, &name, &header, &der, &len) != 1) {
        bool is_end = is_end_of_text();
        ERR_clear_error();
        *ret_der = NULL;
        return is_end ? 0 : -ERR_SYNTAX;
    }
    bool is_ok = strcmp(name, label) == 0 && header[0] == '\0' && len > 0 && len <= DER_LEN_MAX;
    OPENSSL_free(name);
    OPENSSL_free(header);
    if (!is_ok) {
        OPENSSL_clear_free(der, (size_t)len);
        return -ERR_SYNTAX;
    }
    *ret_der = der;
    *ret_len = len;
    return 0;
}
