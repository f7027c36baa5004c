#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "control/ca/ca.h"
#include "control/ca/ca_file.h"

enum { NOW = 1800000000, YEAR = 365 * 86400 };

struct fixture {
    char dir[64];
    struct store *store;
    struct ca *ca;
    struct arena arena;
    struct str_buf why;
};

static const char *file(struct fixture *f, const char *name)
{
    return arena_printf(&f->arena, "%s/%s", f->dir, name).ptr;
}

static int open_ca(struct fixture *f, uint64_t now_s)
{
    struct ca_options o = {f->store, str_from_c(f->dir), STR("mesh.local"), 10ull * YEAR};
    str_buf_reset(&f->why);
    return ca_open(&o, now_s, &f->why, &f->ca);
}

/* As a process that dies and comes again. */
static void reopen(struct fixture *f)
{
    f->ca = ca_free(f->ca);
    f->store = store_close(f->store);
    assert_int_equal(store_open_sqlite(str_from_c(file(f, "store.db")), &f->why, &f->store), 0);
    assert_int_equal(open_ca(f, NOW + 100), 0);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    strcpy(f->dir, "/tmp/tulle-rotation-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    arena_init(&f->arena, 1024);
    f->why = STR_BUF_INIT(1000);
    assert_int_equal(store_open_sqlite(str_from_c(file(f, "store.db")), &f->why, &f->store), 0);
    assert_int_equal(open_ca(f, NOW), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    ca_free(f->ca);
    store_close(f->store);
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

static struct str signing_id(struct fixture *f)
{
    return ca_root_id(ca_root(f->ca), &f->arena);
}

static struct str other_id(struct fixture *f)
{
    struct cert *roots[CA_ROOTS_MAX];
    assert_int_equal(ca_roots(f->ca, roots), 2);
    assert_ptr_equal(roots[0], ca_root(f->ca));
    return ca_root_id(roots[1], &f->arena);
}

/* Which root signs a workload's leaf, and which one tulled's own. */
static struct str leaf_signer(struct fixture *f)
{
    struct key *k = key_new_p256();
    struct cert *leaf;
    struct str_buf csr = STR_BUF_INIT(8192), pem = STR_BUF_INIT(16384);
    assert_int_equal(csr_make(k, STR("spiffe://a/ns/b/sa/c"), &csr), 0);
    struct ca_request r = {str_buf_str(&csr), STR("spiffe://mesh.local/ns/a/sa/b"), NOW + 100, 60};
    assert_int_equal(ca_issue(f->ca, &r, &pem, &f->why), 0);
    assert_int_equal(cert_from_pem(str_buf_str(&pem), &leaf), 0);
    struct str id = ca_root_id(ca_signer_of(f->ca, leaf), &f->arena);
    cert_unref(leaf);
    key_unref(k);
    str_buf_deinit(&csr);
    str_buf_deinit(&pem);
    return id;
}

static struct str own_signer(struct fixture *f, uint64_t now_s)
{
    static const struct str names[] = {{"tulled", 6}};
    struct key *k = key_new_p256();
    struct cert *leaf;
    struct ca_own_request r = {k, names, 1, STR_NULL, now_s, 86400};
    assert_int_equal(ca_issue_own(f->ca, &r, &f->why, &leaf), 0);
    struct str id = ca_root_id(ca_signer_of(f->ca, leaf), &f->arena);
    cert_unref(leaf);
    key_unref(k);
    return id;
}

static void expect_bundle_file(struct fixture *f)
{
    struct str_buf pem = STR_BUF_INIT(CA_FILE_BYTES_MAX);
    assert_int_equal(ca_file_read(file(f, "ca-bundle.pem"), CA_FILE_ANY, &pem), 0);
    assert_true(str_eq(str_buf_str(&pem), ca_bundle(f->ca)));
    str_buf_deinit(&pem);
}

static void expect(struct fixture *f, enum ca_stage stage, struct str signing, struct str other)
{
    assert_int_equal(ca_stage(f->ca), stage);
    assert_true(str_eq(signing_id(f), signing));
    assert_true(str_eq(leaf_signer(f), signing));
    if (other.len > 0)
        assert_true(str_eq(other_id(f), other));
    expect_bundle_file(f);
}

static void test_all_stages_and_a_restart_in_each(void **state)
{
    struct fixture *f = *state;
    struct str old = signing_id(f);
    expect(f, CA_STAGE_NONE, old, STR_NULL);
    assert_int_equal(ca_rotation_begin(f->ca, STR("mesh.local"), NOW), 0);
    struct str new = other_id(f);
    assert_false(str_eq(old, new));
    for (int i = 0; i < 2; i++, reopen(f)) {
        expect(f, CA_STAGE_TRUST, old, new);
        assert_true(ca_stage_since_s(f->ca) == NOW);
        assert_true(str_eq(own_signer(f, NOW), old));
    }
    assert_int_equal(ca_rotation_sign(f->ca, NOW + 7), 0);
    for (int i = 0; i < 2; i++, reopen(f)) {
        expect(f, CA_STAGE_SIGN, new, old);
        assert_true(ca_stage_since_s(f->ca) == NOW + 7);
        assert_true(str_eq(own_signer(f, NOW), old));
        /* Not when the elder is about to end. */
        assert_true(str_eq(own_signer(f, NOW + 10ull * YEAR - 3600), new));
    }
    assert_int_equal(ca_rotation_finish(f->ca), 0);
    for (int i = 0; i < 2; i++, reopen(f)) {
        struct cert *roots[CA_ROOTS_MAX];
        expect(f, CA_STAGE_NONE, new, STR_NULL);
        assert_int_equal(ca_roots(f->ca, roots), 1);
        assert_true(str_eq(own_signer(f, NOW), new));
        assert_int_equal(access(file(f, "ca-next-key.pem"), F_OK), -1);
        assert_int_equal(access(file(f, "ca-next-cert.pem"), F_OK), -1);
    }
}

static void test_steps_are_taken_in_order(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ca_rotation_sign(f->ca, NOW), -ERR_CONFLICT);
    assert_int_equal(ca_rotation_finish(f->ca), -ERR_CONFLICT);
    assert_int_equal(ca_rotation_cancel(f->ca), -ERR_CONFLICT);
    assert_int_equal(ca_rotation_begin(f->ca, STR("mesh.local"), NOW), 0);
    assert_int_equal(ca_rotation_begin(f->ca, STR("mesh.local"), NOW), -ERR_CONFLICT);
    assert_int_equal(ca_rotation_finish(f->ca), -ERR_CONFLICT);
    assert_int_equal(ca_rotation_sign(f->ca, NOW), 0);
    assert_int_equal(ca_rotation_cancel(f->ca), -ERR_CONFLICT); /* leaves of the new one exist */
}

static void test_cancelled_before_it_signs(void **state)
{
    struct fixture *f = *state;
    struct str old = signing_id(f);
    assert_int_equal(ca_rotation_begin(f->ca, STR("mesh.local"), NOW), 0);
    struct str new = other_id(f);
    assert_int_equal(ca_rotation_cancel(f->ca), 0);
    for (int i = 0; i < 2; i++, reopen(f))
        expect(f, CA_STAGE_NONE, old, STR_NULL);
    assert_int_equal(access(file(f, "ca-next-key.pem"), F_OK), -1);
    assert_int_equal(ca_rotation_begin(f->ca, STR("mesh.local"), NOW), 0);
    assert_false(str_eq(other_id(f), new));
}

static void put(struct fixture *f, const char *value)
{
    struct str text = value != NULL ? str_from_c(value) : STR_NULL;
    assert_int_equal(store_record_put(f->store, STR("ca"), STR("rotation"), text), 0);
}

/* The files lie there, the record was never written. */
static void test_died_before_it_began(void **state)
{
    struct fixture *f = *state;
    struct str old = signing_id(f);
    assert_int_equal(ca_rotation_begin(f->ca, STR("mesh.local"), NOW), 0);
    put(f, NULL);
    reopen(f);
    expect(f, CA_STAGE_NONE, old, STR_NULL);
    assert_int_equal(ca_rotation_begin(f->ca, STR("mesh.local"), NOW), 0);
}

/* The old one's files are replaced one by one; wherever that ends, the next start goes on. */
static void test_died_while_it_finished(void **state)
{
    struct fixture *f = *state;
    for (int renamed = 0; renamed <= 2; renamed++) {
        assert_int_equal(ca_rotation_begin(f->ca, STR("mesh.local"), NOW), 0);
        struct str new = other_id(f);
        assert_int_equal(ca_rotation_sign(f->ca, NOW), 0);
        put(f, "finish 1");
        if (renamed > 0)
            rename(file(f, "ca-next-cert.pem"), file(f, "ca-cert.pem"));
        if (renamed > 1)
            rename(file(f, "ca-next-key.pem"), file(f, "ca-key.pem"));
        reopen(f);
        expect(f, CA_STAGE_NONE, new, STR_NULL);
        reopen(f);
        expect(f, CA_STAGE_NONE, new, STR_NULL);
    }
}

/* What is missing is said; a new root is never made in its place. */
static void test_files_that_are_gone(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"ca-next-key.pem", "ca-next-cert.pem", "ca-key.pem",
                                        "ca-cert.pem"};
    assert_int_equal(ca_rotation_begin(f->ca, STR("mesh.local"), NOW), 0);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        f->ca = ca_free(f->ca);
        rename(file(f, names[i]), file(f, "kept"));
        assert_int_equal(open_ca(f, NOW), -ERR_CORRUPT);
        assert_true(str_contains(str_buf_str(&f->why), str_from_c(names[i])));
        rename(file(f, "kept"), file(f, names[i]));
        assert_int_equal(open_ca(f, NOW), 0);
    }
    put(f, "sideways 5");
    f->ca = ca_free(f->ca);
    assert_int_equal(open_ca(f, NOW), -ERR_CORRUPT);
}

/* The reason for a rotation may be that the old root ends. */
static void test_an_old_root_that_is_over(void **state)
{
    struct fixture *f = *state;
    uint64_t later_s = NOW + 10ull * YEAR + 5;
    assert_int_equal(ca_rotation_begin(f->ca, STR("mesh.local"), later_s - 60), 0);
    f->ca = ca_free(f->ca);
    assert_int_equal(open_ca(f, later_s), -ERR_CERTIFICATE);
    assert_int_equal(open_ca(f, later_s - 60), 0);
    assert_int_equal(ca_rotation_sign(f->ca, NOW), 0);
    f->ca = ca_free(f->ca);
    assert_int_equal(open_ca(f, later_s), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_all_stages_and_a_restart_in_each, setup, teardown),
        cmocka_unit_test_setup_teardown(test_steps_are_taken_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancelled_before_it_signs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_died_before_it_began, setup, teardown),
        cmocka_unit_test_setup_teardown(test_died_while_it_finished, setup, teardown),
        cmocka_unit_test_setup_teardown(test_files_that_are_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_old_root_that_is_over, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
