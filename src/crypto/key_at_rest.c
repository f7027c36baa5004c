/* Private keys as files that need a passphrase: PKCS#8 (RFC 5958) in PBES2 (RFC 8018) with scrypt
 * (RFC 7914) and AES-256-CBC, as `openssl pkcs8 -topk8 -scrypt` writes them. Others' schemes are
 * read as far as OpenSSL reads them. */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rand.h>
#include <openssl/x509.h>

#include "crypto/crypto_priv.h"

enum {
    /* 16 MiB and some 200 ms a guess: OWASP's scrypt settings; OpenSSL's own bound is 32 MiB. */
    SCRYPT_N = 16384,
    SCRYPT_R = 8,
    SCRYPT_P = 5,
    SALT_LEN = 16,
    KEY_PEM_LEN_MAX = 32 * 1024,
};

bool key_pem_is_encrypted(struct str pem)
{
    return str_contains(pem, STR("-----BEGIN ENCRYPTED PRIVATE KEY-----")) ||
           str_contains(pem, STR("Proc-Type: 4,ENCRYPTED"));
}

static int give_passphrase(char *buf, int size, int rwflag, void *ctx)
{
    const struct str *passphrase = ctx;
    (void)rwflag;
    if (size < 0 || passphrase->len > (size_t)size)
        return -1;
    memcpy(buf, passphrase->ptr, passphrase->len);
    return (int)passphrase->len;
}

int key_from_pem_encrypted(struct str pem, struct str passphrase, struct key **ret_key)
{
    if (pem.len == 0 || pem.len > KEY_PEM_LEN_MAX || !key_pem_is_encrypted(pem))
        return -ERR_SYNTAX;
    if (passphrase.len == 0 || passphrase.len > KEY_PASSPHRASE_LEN_MAX)
        return -ERR_DENIED;
    BIO *bio = pem_open(pem);
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey(bio, NULL, give_passphrase, &passphrase);
    BIO_free(bio);
    ERR_clear_error();
    if (pkey == NULL) /* a wrong passphrase looks like a damaged file, mostly the former */
        return -ERR_DENIED;
    return key_take(pkey, ret_key);
}

static X509_ALGOR *make_scheme(void)
{
    uint8_t salt[SALT_LEN];
    ASSERT(RAND_bytes(salt, sizeof salt) == 1);
    X509_ALGOR *scheme = PKCS5_pbe2_set_scrypt(EVP_aes_256_cbc(), salt, sizeof salt, NULL, SCRYPT_N,
                                               SCRYPT_R, SCRYPT_P);
    ASSERT(scheme != NULL);
    return scheme;
}

int key_to_pem_encrypted(const struct key *k, struct str passphrase, struct str_buf *to)
{
    if (passphrase.len == 0 || passphrase.len > KEY_PASSPHRASE_LEN_MAX)
        return -ERR_INVALID;
    PKCS8_PRIV_KEY_INFO *plain = EVP_PKEY2PKCS8(k->pkey);
    BIO *bio = BIO_new(BIO_s_mem());
    ASSERT(plain != NULL && bio != NULL);
    X509_ALGOR *scheme = make_scheme();
    X509_SIG *sealed = PKCS8_set0_pbe(passphrase.ptr, (int)passphrase.len, plain, scheme);
    int err = -ERR_INTERNAL;
    char *data;
    if (sealed == NULL)
        X509_ALGOR_free(scheme); /* else sealed owns it */
    else if (PEM_write_bio_PKCS8(bio, sealed) == 1)
        err = 0;
    long len = BIO_get_mem_data(bio, &data);
    if (err == 0)
        str_buf_add(to, str_from(data, (size_t)len));
    X509_SIG_free(sealed);
    PKCS8_PRIV_KEY_INFO_free(plain);
    BIO_free(bio);
    ERR_clear_error();
    return err;
}
