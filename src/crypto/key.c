#include "crypto/key.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>

#include "crypto/crypto_priv.h"

enum { RSA_BITS_MIN = 2048, RSA_BITS_MAX = 8192, KEY_PEM_LEN_MAX = 32 * 1024 };

static struct key *wrap(EVP_PKEY *pkey)
{
    struct key *k = NEW(struct key);
    atomic_init(&k->ref_count, 1);
    k->pkey = pkey;
    return k;
}

struct key *key_new_p256(void)
{
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    ASSERT(pkey != NULL); /* no curve, no entropy: nothing can go on */
    return wrap(pkey);
}

bool pkey_is_accepted(const EVP_PKEY *pkey)
{
    char group[32];
    int bits = EVP_PKEY_get_bits(pkey);
    if (EVP_PKEY_is_a(pkey, "RSA"))
        return bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX;
    if (!EVP_PKEY_is_a(pkey, "EC") || EVP_PKEY_get_group_name(pkey, group, sizeof group, NULL) != 1)
        return false;
    return strcmp(group, "prime256v1") == 0 || strcmp(group, "P-256") == 0 ||
           strcmp(group, "secp384r1") == 0 || strcmp(group, "P-384") == 0;
}

int key_take(EVP_PKEY *pkey, struct key **ret_key)
{
    if (!pkey_is_accepted(pkey)) {
        EVP_PKEY_free(pkey);
        return -ERR_UNSUPPORTED;
    }
    *ret_key = wrap(pkey);
    return 0;
}

/* Nobody is asked for a passphrase: an encrypted key is refused. */
static int no_passphrase(char *buf, int size, int rwflag, void *ctx)
{
    (void)buf;
    (void)size;
    (void)rwflag;
    (void)ctx;
    return -1;
}

int key_from_pem(struct str pem, struct key **ret_key)
{
    if (pem.len == 0 || pem.len > KEY_PEM_LEN_MAX)
        return -ERR_SYNTAX;
    BIO *bio = pem_open(pem);
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    BIO_free(bio);
    ERR_clear_error();
    return pkey != NULL ? key_take(pkey, ret_key) : -ERR_SYNTAX;
}

void key_to_pem(const struct key *k, struct str_buf *to)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    char *data;
    ASSERT(bio != NULL);
    ASSERT(PEM_write_bio_PKCS8PrivateKey(bio, k->pkey, NULL, NULL, 0, NULL, NULL) == 1);
    long len = BIO_get_mem_data(bio, &data);
    str_buf_add(to, str_from(data, (size_t)len));
    BIO_free(bio);
}

struct key *key_ref(struct key *k)
{
    atomic_fetch_add_explicit(&k->ref_count, 1, memory_order_relaxed);
    return k;
}

struct key *key_unref(struct key *k)
{
    if (k == NULL || atomic_fetch_sub_explicit(&k->ref_count, 1, memory_order_acq_rel) > 1)
        return NULL;
    EVP_PKEY_free(k->pkey);
    free(k);
    return NULL;
}
