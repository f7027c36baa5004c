/* Certificates for the tests of this module: a CA and leaves, made on the spot. */
#pragma once

#include <time.h>

#include "crypto/tls.h"

struct test_id {
    struct key *key;
    struct cert *cert;
};

static inline uint64_t test_now(void)
{
    return (uint64_t)time(NULL);
}

static inline struct test_id test_ca(const char *trust_domain)
{
    struct test_id ca = {key_new_p256(), NULL};
    uint64_t now = test_now();
    ASSERT(ca_make_root(ca.key, str_from_c(trust_domain), now - 7200, now + 864000, &ca.cert) == 0);
    return ca;
}

static inline struct test_id test_leaf_at(const struct test_id *ca, const char *spiffe_id,
                                          uint64_t from_s, uint64_t until_s)
{
    struct test_id leaf = {key_new_p256(), NULL};
    struct str_buf pem = STR_BUF_INIT(10000);
    struct csr *csr;
    ASSERT(csr_make(leaf.key, str_from_c(spiffe_id), &pem) == 0);
    ASSERT(csr_from_pem(str_buf_str(&pem), &csr) == 0);
    ASSERT(ca_issue_leaf(ca->key, ca->cert, csr, str_from_c(spiffe_id), from_s, until_s,
                         &leaf.cert) == 0);
    csr_free(csr);
    str_buf_deinit(&pem);
    return leaf;
}

static inline struct test_id test_leaf(const struct test_id *ca, const char *spiffe_id)
{
    return test_leaf_at(ca, spiffe_id, test_now() - 60, test_now() + 3600);
}

static inline void test_id_free(struct test_id *id)
{
    id->key = key_unref(id->key);
    id->cert = cert_unref(id->cert);
}
