#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "control/ca/ca.h"

enum { NOW = 1800000000, YEAR = 365 * 86400 };

struct fixture {
    char dir[64];
    struct store *store;
    struct ca *ca;
    struct arena arena;
    struct str_buf why;
};

static int open_ca(struct fixture *f, uint64_t now_s)
{
    struct ca_options o = {f->store, str_from_c(f->dir), STR("mesh.local"), 10ull * YEAR};
    str_buf_reset(&f->why);
    return ca_open(&o, now_s, &f->why, &f->ca);
}

static const char *file(struct fixture *f, const char *name)
{
    return arena_printf(&f->arena, "%s/%s", f->dir, name).ptr;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    strcpy(f->dir, "/tmp/tulle-ca-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    arena_init(&f->arena, 1024);
    f->why = STR_BUF_INIT(1000);
    assert_int_equal(store_open_sqlite(str_from_c(file(f, "store.db")), &f->why, &f->store), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    store_close(f->store);
    ca_free(f->ca);
    DIR *d = opendir(f->dir);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    rmdir(f->dir);
    str_buf_deinit(&f->why);
    arena_deinit(&f->arena);
    free(f);
    return 0;
}

static void test_made_once_and_read_again(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    assert_int_equal(open_ca(f, NOW), 0);
    struct str first = arena_str(&f->arena, ca_bundle(f->ca));
    assert_true(str_starts_with(first, STR("-----BEGIN CERTIFICATE-----")));
    assert_true(ca_root_not_after_s(f->ca) == NOW + 10ull * YEAR);
    assert_int_equal(stat(file(f, "ca-key.pem"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    f->ca = ca_free(f->ca);
    assert_int_equal(open_ca(f, NOW + 5), 0);
    assert_true(str_eq(ca_bundle(f->ca), first));
}

static void test_refuses_what_is_not_right(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(open_ca(f, NOW), 0);
    f->ca = ca_free(f->ca);
    assert_int_equal(open_ca(f, NOW + 11ull * YEAR), -ERR_CERTIFICATE);
    assert_true(str_contains(str_buf_str(&f->why), STR("is over")));
    chmod(file(f, "ca-key.pem"), 0640);
    assert_int_equal(open_ca(f, NOW), -ERR_DENIED);
    chmod(file(f, "ca-key.pem"), 0600);
    rename(file(f, "ca-cert.pem"), file(f, "kept"));
    assert_int_equal(open_ca(f, NOW), -ERR_CORRUPT);
    /* Somebody else's certificate. */
    rename(file(f, "ca-key.pem"), file(f, "key"));
    assert_int_equal(open_ca(f, NOW), 0);
    f->ca = ca_free(f->ca);
    rename(file(f, "key"), file(f, "ca-key.pem"));
    assert_int_equal(open_ca(f, NOW), -ERR_CERTIFICATE);
    assert_true(str_contains(str_buf_str(&f->why), STR("does not belong")));
}

static struct cert *issue(struct fixture *f, struct key *k, const char *asked, const char *proved,
                          uint64_t lifetime_s)
{
    struct str_buf csr = STR_BUF_INIT(8192), leaf = STR_BUF_INIT(16384);
    struct cert *cert = NULL;
    assert_int_equal(csr_make(k, str_from_c(asked), &csr), 0);
    struct ca_request r = {str_buf_str(&csr), str_from_c(proved), NOW, lifetime_s};
    assert_int_equal(ca_issue(f->ca, &r, &leaf, &f->why), 0);
    assert_int_equal(cert_from_pem(str_buf_str(&leaf), &cert), 0);
    str_buf_deinit(&csr);
    str_buf_deinit(&leaf);
    return cert;
}

static void test_the_name_comes_from_the_attestation(void **state)
{
    struct fixture *f = *state;
    struct cert_info info;
    struct key *k = key_new_p256();
    assert_int_equal(open_ca(f, NOW), 0);
    struct cert *leaf = issue(f, k, "spiffe://mesh.local/ns/shop/sa/admin",
                              "spiffe://mesh.local/ns/shop/sa/web", 86400);
    assert_int_equal(cert_info(leaf, &f->arena, &info), 0);
    assert_int_equal(info.uri_san_count, 1);
    assert_true(str_eq(info.uri_sans[0], STR("spiffe://mesh.local/ns/shop/sa/web")));
    assert_true(info.not_after_s == NOW + 86400);
    assert_true(info.not_before_s == NOW - 300);
    assert_false(info.is_ca);
    assert_true(cert_matches_key(leaf, k));
    struct cert *root = ca_root(f->ca);
    assert_int_equal(cert_verify(leaf, NULL, 0, &root, 1, NOW, &f->why), 0);
    cert_unref(leaf);
    /* Seconds: no backdating, so that half of its life is half. */
    leaf = issue(f, k, "spiffe://a/ns/b/sa/c", "spiffe://mesh.local/ns/shop/sa/web", 6);
    assert_int_equal(cert_info(leaf, &f->arena, &info), 0);
    assert_true(info.not_before_s == NOW && info.not_after_s == NOW + 6);
    cert_unref(leaf);
    /* Never longer than the root. */
    leaf = issue(f, k, "spiffe://a/ns/b/sa/c", "spiffe://mesh.local/ns/shop/sa/web", 20ull * YEAR);
    assert_int_equal(cert_info(leaf, &f->arena, &info), 0);
    assert_true(info.not_after_s == ca_root_not_after_s(f->ca));
    cert_unref(leaf);
    key_unref(k);
}

static void test_bad_requests(void **state)
{
    struct fixture *f = *state;
    static const struct str bad[] = {
        {NULL, 0}, {"hello", 5}, {"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END", 50}};
    struct str_buf leaf = STR_BUF_INIT(16384);
    assert_int_equal(open_ca(f, NOW), 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct ca_request r = {bad[i], STR("spiffe://mesh.local/ns/a/sa/b"), NOW, 100};
        str_buf_reset(&f->why);
        assert_true(ca_issue(f->ca, &r, &leaf, &f->why) < 0);
        assert_true(f->why.len > 0);
        assert_int_equal(leaf.len, 0);
    }
    str_buf_deinit(&leaf);
}

static void test_own_server(void **state)
{
    struct fixture *f = *state;
    static const struct str names[] = {{"tulled", 6}};
    struct key *k = key_new_p256();
    struct cert *cert;
    struct cert_info info;
    assert_int_equal(open_ca(f, NOW), 0);
    assert_int_equal(ca_issue_own(f->ca, k, names, 1,
                                  STR("spiffe://mesh.local/ns/tulle-system/sa/tulled"), NOW, 86400,
                                  &cert),
                     0);
    assert_int_equal(cert_info(cert, &f->arena, &info), 0);
    assert_int_equal(info.dns_san_count, 1);
    assert_true(str_eq(info.dns_sans[0], STR("tulled")));
    assert_int_equal(info.uri_san_count, 1);
    cert_unref(cert);
    key_unref(k);
}

static struct str make_token(struct fixture *f, uint64_t now_s)
{
    struct str_buf token = STR_BUF_INIT(100);
    assert_int_equal(
        ca_token_make(f->store, STR("shop"), STR("web"), 3, now_s, CA_TOKEN_LIFETIME_S, &token), 0);
    struct str copy = arena_str(&f->arena, str_buf_str(&token));
    str_buf_deinit(&token);
    return copy;
}

static void test_tokens_hold_once(void **state)
{
    struct fixture *f = *state;
    struct str namespace_, workload;
    uint32_t index;
    struct str token = make_token(f, NOW), other = make_token(f, NOW);
    assert_int_equal(token.len, 43);
    assert_false(str_eq(token, other));
    assert_int_equal(ca_token_redeem(f->store, token, NOW + CA_TOKEN_LIFETIME_S - 1, &f->arena,
                                     &namespace_, &workload, &index),
                     0);
    assert_true(str_eq(namespace_, STR("shop")));
    assert_true(str_eq(workload, STR("web")));
    assert_int_equal(index, 3);
    assert_int_equal(
        ca_token_redeem(f->store, token, NOW, &f->arena, &namespace_, &workload, &index),
        -ERR_UNAUTHENTICATED);
    assert_int_equal(ca_token_redeem(f->store, other, NOW + CA_TOKEN_LIFETIME_S, &f->arena,
                                     &namespace_, &workload, &index),
                     -ERR_UNAUTHENTICATED);
}

static void count(void *ctx, struct str key, struct str value)
{
    (void)value;
    assert_int_equal(key.len, 64);
    ++*(unsigned *)ctx;
}

static void test_tokens_are_hashed_and_purged(void **state)
{
    struct fixture *f = *state;
    unsigned n = 0;
    struct str value;
    struct str token = make_token(f, NOW);
    make_token(f, NOW + 1);
    assert_int_equal(store_record_get(f->store, STR("tokens"), token, &f->arena, &value),
                     -ERR_NOT_FOUND);
    store_record_list(f->store, STR("tokens"), count, &n);
    assert_int_equal(n, 2);
    make_token(f, NOW + CA_TOKEN_LIFETIME_S);
    n = 0;
    store_record_list(f->store, STR("tokens"), count, &n);
    assert_int_equal(n, 2);
}

static void test_foreign_tokens(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {"", "x", "' OR 1=1 --",
                                      "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};
    struct str namespace_, workload;
    uint32_t index;
    make_token(f, NOW);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(ca_token_redeem(f->store, str_from_c(bad[i]), NOW, &f->arena, &namespace_,
                                         &workload, &index),
                         -ERR_UNAUTHENTICATED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_made_once_and_read_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refuses_what_is_not_right, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_name_comes_from_the_attestation, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_own_server, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tokens_hold_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tokens_are_hashed_and_purged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_foreign_tokens, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
