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
    uint64_t root_lifetime_s;
    const char *passphrase_file;
};

static int open_ca(struct fixture *f, uint64_t now_s)
{
    struct ca_options o = {.store = f->store,
                           .state_dir = str_from_c(f->dir),
                           .trust_domain = STR("mesh.local"),
                           .root_lifetime_s = f->root_lifetime_s};
    str_buf_reset(&f->why);
    if (f->passphrase_file != NULL) {
        struct ca_signer_options signer = {.dir = f->dir, .passphrase_file = f->passphrase_file};
        int err = ca_signer_local(&signer, &f->why, &o.signer);
        if (err != 0)
            return err;
    }
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
    f->root_lifetime_s = 10ull * YEAR;
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
    key_unref(k);
}

static void test_a_leaf_ends_with_its_root(void **state)
{
    struct fixture *f = *state;
    struct cert_info info;
    struct key *k = key_new_p256();
    f->root_lifetime_s = 86400;
    assert_int_equal(open_ca(f, NOW), 0);
    struct cert *leaf =
        issue(f, k, "spiffe://a/ns/b/sa/c", "spiffe://mesh.local/ns/shop/sa/web", 2 * 86400);
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
    struct ca_own_request r = {k,   names, 1, STR("spiffe://mesh.local/ns/tulle-system/sa/tulled"),
                               NOW, 86400};
    assert_int_equal(ca_issue_own(f->ca, &r, &f->why, &cert), 0);
    assert_int_equal(cert_info(cert, &f->arena, &info), 0);
    assert_int_equal(info.dns_san_count, 1);
    assert_true(str_eq(info.dns_sans[0], STR("tulled")));
    assert_int_equal(info.uri_san_count, 1);
    cert_unref(cert);
    key_unref(k);
}

/* --- what the signer signs, whoever asks --- */

static void test_the_policy_of_the_signer(void **state)
{
    struct fixture *f = *state;
    enum { DAY = 86400 };
    static const struct {
        const char *name;
        uint64_t lifetime_s;
        bool is_signed;
    } rows[] = {
        {"spiffe://mesh.local/ns/tulle-system/sa/tulled", DAY, false},
        {"spiffe://mesh.local/ns/tulle-system/sa/tulled-api", DAY, false},
        {"spiffe://mesh.local", DAY, false},
        {"spiffe://mesh.local/admin", DAY, false},
        {"spiffe://mesh.local/ns/shop/sa/web", 100 * DAY, false},
        {"spiffe://mesh.local/ns/shop/sa/web", 90 * DAY, true},
        {"spiffe://other.test/ns/shop/sa/web", DAY, false}, /* after the first */
        {"spiffe://mesh.local/ns/tulle-system/sa/other", DAY, true},
    };
    struct key *k = key_new_p256();
    struct str_buf csr = STR_BUF_INIT(8192), leaf = STR_BUF_INIT(16384);
    assert_int_equal(open_ca(f, NOW), 0);
    assert_int_equal(csr_make(k, STR("spiffe://a/b"), &csr), 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct ca_request r = {str_buf_str(&csr), str_from_c(rows[i].name), NOW,
                               rows[i].lifetime_s};
        str_buf_reset(&f->why);
        int err = ca_issue(f->ca, &r, &leaf, &f->why);
        if (err != (rows[i].is_signed ? 0 : -ERR_DENIED))
            fail_msg("row %zu: %d %s", i, err, f->why.ptr);
        assert_true(rows[i].is_signed || str_contains(str_buf_str(&f->why), STR("policy")));
    }
    key_unref(k);
    str_buf_deinit(&csr);
    str_buf_deinit(&leaf);
}

static void test_servers_have_our_name_only(void **state)
{
    struct fixture *f = *state;
    static const struct str names[] = {{"tulled", 6}};
    struct key *k = key_new_p256();
    struct cert *cert;
    assert_int_equal(open_ca(f, NOW), 0);
    struct ca_own_request r = {k, names, 1, STR("spiffe://mesh.local/ns/shop/sa/web"), NOW, 86400};
    assert_int_equal(ca_issue_own(f->ca, &r, &f->why, &cert), -ERR_DENIED);
    key_unref(k);
}

/* --- the key on the disk --- */

static void write_file(struct fixture *f, const char *name, const char *text)
{
    FILE *to = fopen(file(f, name), "w");
    fputs(text, to);
    fclose(to);
    chmod(file(f, name), 0600);
}

static bool key_file_has(struct fixture *f, const char *name, const char *text)
{
    char bytes[8192] = "";
    FILE *from = fopen(file(f, name), "r");
    assert_non_null(from);
    (void)!fread(bytes, 1, sizeof bytes - 1, from);
    fclose(from);
    return strstr(bytes, text) != NULL;
}

static struct str leaf_of(struct fixture *f)
{
    struct key *k = key_new_p256();
    struct cert *leaf = issue(f, k, "spiffe://a/ns/b/sa/c", "spiffe://mesh.local/ns/a/sa/b", 60);
    struct str id = ca_root_id(ca_signer_of(f->ca, leaf), &f->arena);
    cert_unref(leaf);
    key_unref(k);
    return id;
}

static void test_a_key_under_a_passphrase(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    write_file(f, "pass", "correct horse\n");
    write_file(f, "wrong", "correct horsf\n");
    f->passphrase_file = file(f, "pass");
    assert_int_equal(open_ca(f, NOW), 0);
    assert_true(ca_root_is_encrypted(f->ca, ca_root(f->ca)) && !ca_was_converted(f->ca));
    assert_true(key_file_has(f, "ca-key.pem", "BEGIN ENCRYPTED PRIVATE KEY"));
    assert_int_equal(stat(file(f, "ca-key.pem"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    struct str id = leaf_of(f);
    /* The next root's key, too. */
    assert_int_equal(ca_rotation_begin(f->ca, STR("mesh.local"), NOW), 0);
    assert_true(key_file_has(f, "ca-next-key.pem", "BEGIN ENCRYPTED PRIVATE KEY"));
    assert_int_equal(ca_rotation_cancel(f->ca), 0);
    f->ca = ca_free(f->ca);
    assert_int_equal(open_ca(f, NOW), 0);
    assert_true(str_eq(leaf_of(f), id));
    f->ca = ca_free(f->ca);
    f->passphrase_file = file(f, "wrong");
    assert_int_equal(open_ca(f, NOW), -ERR_DENIED);
    assert_true(str_contains(str_buf_str(&f->why), STR("does not open with this passphrase")));
    f->passphrase_file = NULL;
    assert_int_equal(open_ca(f, NOW), -ERR_DENIED);
    assert_true(str_contains(str_buf_str(&f->why), STR("there is no passphrase")));
}

static void test_a_key_in_the_clear_is_encrypted_at_the_next_start(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(open_ca(f, NOW), 0);
    assert_false(ca_root_is_encrypted(f->ca, ca_root(f->ca)));
    struct str id = leaf_of(f);
    f->ca = ca_free(f->ca);
    /* Another name of the same bytes: where they lay nothing is left. */
    assert_int_equal(link(file(f, "ca-key.pem"), file(f, "old")), 0);
    assert_true(key_file_has(f, "old", "BEGIN PRIVATE KEY"));
    write_file(f, "pass", "correct horse");
    f->passphrase_file = file(f, "pass");
    assert_int_equal(open_ca(f, NOW), 0);
    assert_true(ca_was_converted(f->ca) && ca_root_is_encrypted(f->ca, ca_root(f->ca)));
    assert_true(str_eq(leaf_of(f), id));
    assert_true(key_file_has(f, "ca-key.pem", "BEGIN ENCRYPTED PRIVATE KEY"));
    assert_false(key_file_has(f, "old", "PRIVATE"));
    f->ca = ca_free(f->ca);
    /* A crash before the rename: the new file is beside, the old one counts. */
    write_file(f, "ca-key.pem.new", "half a ke");
    assert_int_equal(open_ca(f, NOW), 0);
    assert_false(ca_was_converted(f->ca));
    assert_true(str_eq(leaf_of(f), id));
}

static void test_passphrases_that_are_refused(void **state)
{
    struct fixture *f = *state;
    f->passphrase_file = file(f, "pass");
    assert_int_equal(open_ca(f, NOW), -ERR_INVALID); /* there is none */
    write_file(f, "pass", "short\n");
    assert_int_equal(open_ca(f, NOW), -ERR_INVALID);
    write_file(f, "pass", "long enough\n");
    chmod(f->passphrase_file, 0640);
    assert_int_equal(open_ca(f, NOW), -ERR_DENIED);
    assert_true(str_contains(str_buf_str(&f->why), STR("chmod 0600")));
    assert_int_equal(access(file(f, "ca-key.pem"), F_OK), -1);
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
        cmocka_unit_test_setup_teardown(test_a_leaf_ends_with_its_root, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_policy_of_the_signer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_servers_have_our_name_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_key_under_a_passphrase, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_key_in_the_clear_is_encrypted_at_the_next_start,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_passphrases_that_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tokens_hold_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tokens_are_hashed_and_purged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_foreign_tokens, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
