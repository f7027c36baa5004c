
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/err.h"
#include "crypto/digest.h"
#include "crypto/test_ids.h"

static void test_digest(void **state)
{
    (void)state;
    static const uint8_t of_abc[4] = {0xba, 0x78, 0x16, 0xbf};
    uint8_t d[32];
    sha256(STR("abc"), d);
    assert_memory_equal(d, of_abc, 4);
    sha256(STR_NULL, d);
    assert_int_equal(d[0], 0xe3);
    assert_true(digest_eq(d, d, 32));
    assert_false(digest_eq(d, of_abc, 4));
}

static void test_key_pem(void **state)
{
    (void)state;
    AUTO(key_unref_auto) struct key *k = key_new_p256();
    struct key *again;
    struct str_buf pem = STR_BUF_INIT(4096);
    key_to_pem(k, &pem);
    assert_true(str_starts_with(str_buf_str(&pem), STR("-----BEGIN PRIVATE KEY-----")));
    assert_int_equal(key_from_pem(str_buf_str(&pem), &again), 0);
    key_unref(again);
    static const char *const bad[] = {
        "",
        "x",
        "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(key_from_pem(str_from_c(bad[i]), &again), -ERR_SYNTAX);
    for (size_t cut = 2; cut < pem.len - 1; cut += 7)
        assert_true(key_from_pem(str_sub(str_buf_str(&pem), 0, pem.len - cut), &again) < 0);
    str_buf_deinit(&pem);
}

static void test_key_under_a_passphrase(void **state)
{
    (void)state;
    AUTO(key_unref_auto) struct key *k = key_new_p256();
    struct key *again;
    struct str_buf pem = STR_BUF_INIT(4096), plain = STR_BUF_INIT(4096), back = STR_BUF_INIT(4096);
    key_to_pem(k, &plain);
    assert_int_equal(key_to_pem_encrypted(k, STR_NULL, &pem), -ERR_INVALID);
    assert_int_equal(key_to_pem_encrypted(k, STR("correct horse"), &pem), 0);
    struct str text = str_buf_str(&pem);
    assert_true(key_pem_is_encrypted(text) && !key_pem_is_encrypted(str_buf_str(&plain)));
    assert_int_equal(key_from_pem(text, &again), -ERR_SYNTAX);
    assert_int_equal(key_from_pem_encrypted(text, STR("correct horsf"), &again), -ERR_DENIED);
    assert_int_equal(key_from_pem_encrypted(text, STR_NULL, &again), -ERR_DENIED);
    assert_int_equal(key_from_pem_encrypted(str_buf_str(&plain), STR("correct horse"), &again),
                     -ERR_SYNTAX);
    assert_int_equal(key_from_pem_encrypted(text, STR("correct horse"), &again), 0);
    key_to_pem(again, &back);
    assert_true(str_eq(str_buf_str(&plain), str_buf_str(&back)));
    key_unref(again);
    str_buf_deinit(&pem);
    str_buf_deinit(&plain);
    str_buf_deinit(&back);
}

static void test_leaf_facts(void **state)
{
    (void)state;
    struct test_id ca = test_ca("mesh.local");
    uint64_t from = test_now() - 60;
    struct test_id leaf = test_leaf_at(&ca, "spiffe://mesh.local/ns/shop/sa/web", from, from + 600);
    struct arena a;
    struct cert_info info;
    arena_init(&a, 1024);
    assert_int_equal(cert_info(leaf.cert, &a, &info), 0);
    assert_int_equal(info.uri_san_count, 1);
    assert_true(str_eq(info.uri_sans[0], STR("spiffe://mesh.local/ns/shop/sa/web")));
    assert_int_equal(info.dns_san_count, 0);
    assert_true(str_is_empty(info.subject));
    assert_true(str_eq(info.issuer, STR("O=mesh.local")));
    assert_int_equal(info.serial_hex.len, 32);
    assert_int_equal(info.not_before_s, from);
    assert_int_equal(info.not_after_s, from + 600);
    assert_false(info.is_ca);
    assert_int_equal(info.sha256_hex.len, 64);
    assert_true(cert_matches_key(leaf.cert, leaf.key));
    assert_false(cert_matches_key(leaf.cert, ca.key));
    assert_int_equal(cert_info(ca.cert, &a, &info), 0);
    assert_true(info.is_ca);
    assert_true(str_eq(info.subject, STR("O=mesh.local")));
    arena_deinit(&a);
    test_id_free(&leaf);
    test_id_free(&ca);
}

static void test_verify(void **state)
{
    (void)state;
    struct test_id ca = test_ca("mesh.local"), other = test_ca("mesh.local");
    uint64_t now = test_now();
    struct test_id leaf = test_leaf_at(&ca, "spiffe://mesh.local/ns/a/sa/b", now - 60, now + 600);
    const struct {
        struct cert *root;
        uint64_t at;
        const char *why; /* NULL: accepted */
    } rows[] = {
        {ca.cert, now, NULL},
        {ca.cert, now + 601, "expired"},
        {ca.cert, now - 61, "not yet valid"},
        {other.cert, now, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str_buf why = STR_BUF_INIT(1000);
        int err = cert_verify(leaf.cert, NULL, 0, &rows[i].root, 1, rows[i].at, &why);
        assert_int_equal(err, rows[i].why == NULL ? 0 : -ERR_CERTIFICATE);
        if (rows[i].why != NULL) {
            assert_true(why.len > 0);
            assert_true(str_contains(str_buf_str(&why), str_from_c(rows[i].why)));
        }
        str_buf_deinit(&why);
    }
    assert_int_equal(cert_verify(leaf.cert, NULL, 0, NULL, 0, now, NULL), -ERR_CERTIFICATE);
    test_id_free(&leaf);
    test_id_free(&ca);
    test_id_free(&other);
}

static void test_leaf_ends_with_ca(void **state)
{
    (void)state;
    struct test_id ca = test_ca("mesh.local");
    struct test_id leaf = test_leaf_at(&ca, "spiffe://mesh.local/ns/a/sa/b", test_now() - 60,
                                       test_now() + 100 * 86400);
    struct arena a;
    struct cert_info leaf_info, ca_info;
    arena_init(&a, 1024);
    assert_int_equal(cert_info(leaf.cert, &a, &leaf_info), 0);
    assert_int_equal(cert_info(ca.cert, &a, &ca_info), 0);
    assert_int_equal(leaf_info.not_after_s, ca_info.not_after_s);
    arena_deinit(&a);
    test_id_free(&leaf);
    test_id_free(&ca);
}

static void test_issue_refusals(void **state)
{
    (void)state;
    struct test_id ca = test_ca("mesh.local");
    struct key *k = key_new_p256();
    struct str_buf pem = STR_BUF_INIT(10000);
    struct csr *csr;
    struct cert *cert;
    assert_int_equal(csr_make(k, STR("spiffe://x/y"), &pem), 0);
    assert_int_equal(csr_from_pem(str_buf_str(&pem), &csr), 0);
    static const struct str bad[] = {
        {NULL, 0},
        {"http://x", 8},
        {"spiffe://a b", 12},
        {"spiffe://a\0b", 12},
        {"spiffe://\xc3\xa4", 11},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(ca_issue_leaf(ca.key, ca.cert, csr, bad[i], 1, UINT32_MAX, &cert),
                         -ERR_INVALID);
    /* a key that is not the CA's, a time that is over */
    assert_int_equal(ca_issue_leaf(k, ca.cert, csr, STR("spiffe://x/y"), 1, 2000000000, &cert),
                     -ERR_INVALID);
    assert_int_equal(ca_issue_leaf(ca.key, ca.cert, csr, STR("spiffe://x/y"), 5, 5, &cert),
                     -ERR_INVALID);
    assert_int_equal(csr_make(k, STR_NULL, &pem), -ERR_INVALID);
    csr_free(csr);
    key_unref(k);
    str_buf_deinit(&pem);
    test_id_free(&ca);
}

static void test_server_names(void **state)
{
    (void)state;
    struct test_id ca = test_ca("mesh.local");
    struct key *k = key_new_p256();
    struct cert *cert;
    struct str names[] = {STR("tulled.local"), STR("127.0.0.1"), STR("::1")};
    assert_int_equal(ca_issue_server(ca.key, ca.cert, k, names, 3,
                                     STR("spiffe://mesh.local/tulled"), test_now() - 1,
                                     test_now() + 100, &cert),
                     0);
    struct arena a;
    struct cert_info info;
    arena_init(&a, 1024);
    assert_int_equal(cert_info(cert, &a, &info), 0);
    assert_int_equal(info.dns_san_count, 1);
    assert_true(str_eq(info.dns_sans[0], STR("tulled.local")));
    assert_int_equal(info.uri_san_count, 1);
    cert_unref(cert);
    assert_int_equal(ca_issue_server(ca.key, ca.cert, k, NULL, 0, STR_NULL, test_now() - 1,
                                     test_now() + 100, &cert),
                     -ERR_INVALID);
    arena_deinit(&a);
    key_unref(k);
    test_id_free(&ca);
}

static void test_pem_chain(void **state)
{
    (void)state;
    struct test_id ca = test_ca("mesh.local");
    struct test_id leaf = test_leaf(&ca, "spiffe://mesh.local/ns/a/sa/b");
    struct str_buf pem = STR_BUF_INIT(100000);
    struct cert *certs[4], *one;
    size_t count;
    str_buf_add_c(&pem, "text before is allowed (RFC 7468)\n");
    cert_to_pem(leaf.cert, &pem);
    cert_to_pem(ca.cert, &pem);
    assert_int_equal(certs_from_pem(str_buf_str(&pem), certs, 4, &count), 0);
    assert_int_equal(count, 2);
    assert_true(cert_matches_key(certs[0], leaf.key));
    cert_unref(certs[0]);
    cert_unref(certs[1]);
    assert_int_equal(certs_from_pem(str_buf_str(&pem), certs, 1, &count), -ERR_TOO_LARGE);
    assert_int_equal(cert_from_pem(str_buf_str(&pem), &one), 0);
    cert_unref(one);
    /* a key among certificates, a block that is cut */
    struct str_buf mixed = STR_BUF_INIT(100000);
    str_buf_add(&mixed, str_buf_str(&pem));
    key_to_pem(leaf.key, &mixed);
    assert_int_equal(certs_from_pem(str_buf_str(&mixed), certs, 4, &count), -ERR_SYNTAX);
    assert_int_equal(certs_from_pem(str_sub(str_buf_str(&pem), 0, pem.len - 40), certs, 4, &count),
                     -ERR_SYNTAX);
    assert_int_equal(certs_from_pem(STR(""), certs, 4, &count), -ERR_SYNTAX);
    assert_int_equal(cert_from_pem(STR("no pem"), &one), -ERR_SYNTAX);
    assert_int_equal(cert_from_der(STR("0"), &one), -ERR_SYNTAX);
    str_buf_deinit(&mixed);
    str_buf_deinit(&pem);
    test_id_free(&leaf);
    test_id_free(&ca);
}

/* Made by openssl(1): Ed25519, RSA of 1024 bits. */
static const char csr_ed25519[] =
    "-----BEGIN CERTIFICATE REQUEST-----\n"
    "MIG/MHMCAQAwADAqMAUGAytlcAMhAKu6C9TJP6+ALd7glPWgp5tcFp380Eep7jdV\n"
    "U2I+fMFooEAwPgYJKoZIhvcNAQkOMTEwLzAtBgNVHREEJjAkhiJzcGlmZmU6Ly9t\n"
    "ZXNoLmxvY2FsL25zL3Nob3Avc2Evd2ViMAUGAytlcANBAMdxAQvGmLBlSYcoJR3u\n"
    "wTD9zvglov0f7cc0LpWm7gAsw2Lhao0wCd/NqG+FQFa89S6hO/G7bBCzCOKW+nfH\n"
    "oQw=\n"
    "-----END CERTIFICATE REQUEST-----\n";
static const char csr_rsa1024[] =
    "-----BEGIN CERTIFICATE REQUEST-----\n"
    "MIIBfzCB6QIBADAAMIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC33KDZnGHE\n"
    "JSdoEp04nGu/Re8Py4ZtV2PEVa9pequTDFJMXeOE4v9X74Xf/y488DE88mb/DFbv\n"
    "dMA2hKaQiyvFANP6Ic2LxmOSHen3XvZBt+wqLTgi8eRCq9pK2dDKLib8K2B9Mr4f\n"
    "pXEq8iowaJbrO5xNnQANCjjjuXek9+HcAQIDAQABoEAwPgYJKoZIhvcNAQkOMTEw\n"
    "LzAtBgNVHREEJjAkhiJzcGlmZmU6Ly9tZXNoLmxvY2FsL25zL3Nob3Avc2Evd2Vi\n"
    "MA0GCSqGSIb3DQEBCwUAA4GBACNMf2FEJlsrHgo7tGjv01b4kes6P11gVhXsVRHn\n"
    "v0EOPrHFoLzRO7Hwttkl3UWcg13JHDOyO8I8CdAQDoZubj2vJrgLefpWg3P1mI0Z\n"
    "fn0EjkHh7YnCHN+RQsTfTcP4qL4MHxQo6Ge8mndh8D/LLf4Lhg1j7+ODqNoIpT52\n"
    "nCC5\n"
    "-----END CERTIFICATE REQUEST-----\n";

static void test_csr(void **state)
{
    (void)state;
    struct key *k = key_new_p256();
    struct str_buf pem = STR_BUF_INIT(10000);
    struct csr *csr;
    struct str sans[2];
    size_t count;
    struct arena a;
    arena_init(&a, 1024);
    assert_int_equal(csr_make(k, STR("spiffe://mesh.local/ns/a/sa/b"), &pem), 0);
    assert_int_equal(csr_from_pem(str_buf_str(&pem), &csr), 0);
    assert_int_equal(csr_uri_sans(csr, &a, sans, 2, &count), 0);
    assert_int_equal(count, 1);
    assert_true(str_eq(sans[0], STR("spiffe://mesh.local/ns/a/sa/b")));
    assert_int_equal(csr_uri_sans(csr, &a, sans, 0, &count), -ERR_TOO_LARGE);
    csr_free(csr);
    /* Any flipped byte of the body must be refused: signature or syntax. */
    for (size_t i = 40; i < pem.len - 40; i += 5) {
        char was = pem.ptr[i];
        if (was == '\n')
            continue;
        pem.ptr[i] = was == 'A' ? 'B' : 'A';
        assert_true(csr_from_pem(str_buf_str(&pem), &csr) < 0);
        pem.ptr[i] = was;
    }
    assert_int_equal(csr_from_pem(str_from_c(csr_ed25519), &csr), -ERR_UNSUPPORTED);
    assert_int_equal(csr_from_pem(str_from_c(csr_rsa1024), &csr), -ERR_UNSUPPORTED);
    /* two requests in one text */
    struct str_buf twice = STR_BUF_INIT(20000);
    str_buf_add(&twice, str_buf_str(&pem));
    str_buf_add(&twice, str_buf_str(&pem));
    assert_int_equal(csr_from_pem(str_buf_str(&twice), &csr), -ERR_SYNTAX);
    assert_int_equal(csr_from_pem(STR(""), &csr), -ERR_SYNTAX);
    str_buf_deinit(&twice);
    str_buf_deinit(&pem);
    arena_deinit(&a);
    key_unref(k);
}

/* What a name says ends up in headers (x-forwarded-client-cert) and in logs. */
static void test_names_stay_names(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "spiffe://a/ns/b/sa/c\r\nx-admin: yes",
        "spiffe://a/ns/b/sa/c d",
        "spiffe://a/ns/b/sa/\x7f",
        "spiffe://a/ns/b/sa/\xc3\xa9",
    };
    struct key *k = key_new_p256();
    struct arena a;
    arena_init(&a, 1024);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct str_buf pem = STR_BUF_INIT(10000);
        struct csr *csr;
        struct str sans[2];
        size_t count;
        assert_int_equal(csr_make(k, str_from_c(bad[i]), &pem), 0);
        assert_int_equal(csr_from_pem(str_buf_str(&pem), &csr), 0);
        assert_int_equal(csr_uri_sans(csr, &a, sans, 2, &count), -ERR_INVALID);
        csr_free(csr);
        str_buf_deinit(&pem);
    }
    arena_deinit(&a);
    key_unref(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digest),
        cmocka_unit_test(test_key_pem),
        cmocka_unit_test(test_key_under_a_passphrase),
        cmocka_unit_test(test_leaf_facts),
        cmocka_unit_test(test_verify),
        cmocka_unit_test(test_leaf_ends_with_ca),
        cmocka_unit_test(test_issue_refusals),
        cmocka_unit_test(test_server_names),
        cmocka_unit_test(test_pem_chain),
        cmocka_unit_test(test_csr),
        cmocka_unit_test(test_names_stay_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
