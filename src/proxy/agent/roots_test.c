#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "proxy/agent/file.h"
#include "proxy/agent/roots.h"

enum { NOW = 1800000000, DAY = 86400 };

struct fixture {
    char dir[64], pin[96], told[96], dropped[96];
    struct key *keys[2];
    struct cert *roots[2];
    struct roots r;
    struct str_buf why, pem[2];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    strcpy(f->dir, "/tmp/tulle-roots-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->pin, sizeof f->pin, "%s/pin.pem", f->dir);
    snprintf(f->told, sizeof f->told, "%s/roots.pem", f->dir);
    snprintf(f->dropped, sizeof f->dropped, "%s/roots-dropped.pem", f->dir);
    f->why = STR_BUF_INIT(500);
    for (int i = 0; i < 2; i++) {
        f->keys[i] = key_new_p256();
        assert_int_equal(
            ca_make_root(f->keys[i], STR("mesh"), NOW - DAY, NOW + 100 * DAY, &f->roots[i]), 0);
        f->pem[i] = STR_BUF_INIT(ROOTS_PEM_MAX);
        cert_to_pem(f->roots[i], &f->pem[i]);
    }
    assert_int_equal(file_write(f->pin, str_buf_str(&f->pem[0])), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    roots_deinit(&f->r);
    for (int i = 0; i < 2; i++) {
        key_unref(f->keys[i]);
        cert_unref(f->roots[i]);
        str_buf_deinit(&f->pem[i]);
    }
    str_buf_deinit(&f->why);
    unlink(f->pin);
    unlink(f->told);
    unlink(f->dropped);
    rmdir(f->dir);
    free(f);
    return 0;
}

static void begin(struct fixture *f)
{
    assert_int_equal(roots_init(&f->r, f->pin, f->dir, &f->why), 0);
}

static size_t count(struct fixture *f, bool is_with_pin)
{
    struct cert *certs[ROOTS_MAX];
    size_t n = 0;
    assert_int_equal(roots_certs(&f->r, is_with_pin, certs, &n), 0);
    roots_certs_unref(certs, n);
    return n;
}

static void test_the_pin_counts_until_something_is_told(void **state)
{
    struct fixture *f = *state;
    bool is_new = false;
    begin(f);
    assert_true(str_eq(roots_pem(&f->r), str_buf_str(&f->pem[0])));
    assert_int_equal(roots_tell(&f->r, str_buf_str(&f->pem[1]), &is_new), 0);
    assert_true(is_new);
    assert_true(str_eq(roots_pem(&f->r), str_buf_str(&f->pem[1])));
    assert_int_equal(count(f, false), 1);
    assert_int_equal(roots_tell(&f->r, str_buf_str(&f->pem[1]), &is_new), 0);
    assert_false(is_new);
}

static void tell_both(struct fixture *f)
{
    bool is_new;
    struct str_buf both = STR_BUF_INIT(ROOTS_PEM_MAX);
    str_buf_add(&both, str_buf_str(&f->pem[0]));
    str_buf_add(&both, str_buf_str(&f->pem[1]));
    assert_int_equal(roots_tell(&f->r, str_buf_str(&both), &is_new), 0);
    str_buf_deinit(&both);
}

/* Its key may be a stranger's: that is why it was dropped. */
static void test_a_root_that_was_dropped_is_not_trusted_by_the_pin(void **state)
{
    struct fixture *f = *state;
    bool is_new;
    begin(f);
    tell_both(f);
    assert_int_equal(roots_tell(&f->r, str_buf_str(&f->pem[1]), &is_new), 0);
    assert_int_equal(count(f, true), 1);
    roots_deinit(&f->r);
    begin(f);
    assert_int_equal(count(f, true), 1);
    /* Not by what was told getting lost either. */
    roots_deinit(&f->r);
    unlink(f->told);
    assert_int_equal(roots_init(&f->r, f->pin, f->dir, &f->why), -ERR_CERTIFICATE);
    /* Told again it counts again. */
    roots_deinit(&f->r);
    assert_int_equal(file_write(f->told, str_buf_str(&f->pem[1])), 0);
    begin(f);
    tell_both(f);
    assert_int_equal(count(f, false), 2);
    roots_deinit(&f->r);
    unlink(f->told);
    begin(f);
}

static void test_a_new_pin_counts(void **state)
{
    struct fixture *f = *state;
    bool is_new;
    begin(f);
    assert_int_equal(roots_tell(&f->r, str_buf_str(&f->pem[0]), &is_new), 0);
    assert_int_equal(file_write(f->pin, str_buf_str(&f->pem[1])), 0);
    assert_int_equal(count(f, true), 2);
    assert_int_equal(count(f, false), 1);
}

static void test_what_was_told_is_kept(void **state)
{
    struct fixture *f = *state;
    bool is_new;
    begin(f);
    assert_int_equal(file_write(f->pin, str_buf_str(&f->pem[1])), 0);
    assert_int_equal(roots_tell(&f->r, str_buf_str(&f->pem[1]), &is_new), 0);
    roots_deinit(&f->r);
    begin(f);
    assert_true(str_eq(roots_pem(&f->r), str_buf_str(&f->pem[1])));
    /* Damaged: the pin again. */
    roots_deinit(&f->r);
    assert_int_equal(file_write(f->told, STR("-----BEGIN CERTIFICATE-----\nAA")), 0);
    begin(f);
    assert_true(str_eq(roots_pem(&f->r), str_buf_str(&f->pem[1])));
}

static void test_a_pin_is_needed_once_only(void **state)
{
    struct fixture *f = *state;
    bool is_new;
    unlink(f->pin);
    assert_int_equal(roots_init(&f->r, f->pin, f->dir, &f->why), -ERR_NOT_FOUND);
    assert_true(str_contains(str_buf_str(&f->why), STR("pin.pem")));
    assert_int_equal(roots_tell(&f->r, str_buf_str(&f->pem[1]), &is_new), 0);
    roots_deinit(&f->r);
    begin(f);
    assert_int_equal(count(f, true), 1);
}

static void test_what_is_no_bundle_is_refused(void **state)
{
    struct fixture *f = *state;
    struct cert *leaf;
    bool is_new;
    static const struct str names[] = {{"tulled", 6}};
    struct str_buf pem = STR_BUF_INIT(2 * ROOTS_PEM_MAX);
    begin(f);
    assert_int_equal(ca_issue_server(f->keys[0], f->roots[0], f->keys[1], names, 1, STR_NULL, NOW,
                                     NOW + DAY, &leaf),
                     0);
    str_buf_add(&pem, str_buf_str(&f->pem[1]));
    cert_to_pem(leaf, &pem); /* a root, and what is none */
    assert_int_equal(roots_tell(&f->r, str_buf_str(&pem), &is_new), -ERR_CERTIFICATE);
    assert_int_equal(roots_tell(&f->r, STR(""), &is_new), -ERR_CERTIFICATE);
    assert_int_equal(roots_tell(&f->r, STR("roots"), &is_new), -ERR_CERTIFICATE);
    assert_true(str_eq(roots_pem(&f->r), str_buf_str(&f->pem[0])));
    cert_unref(leaf);
    str_buf_deinit(&pem);
}

static void test_the_first_root_is_the_one_that_signs(void **state)
{
    struct fixture *f = *state;
    struct cert *leaf;
    bool is_new;
    static const struct str names[] = {{"x", 1}};
    struct str_buf pem = STR_BUF_INIT(ROOTS_PEM_MAX);
    begin(f);
    assert_int_equal(ca_issue_server(f->keys[0], f->roots[0], f->keys[1], names, 1, STR_NULL, NOW,
                                     NOW + DAY, &leaf),
                     0);
    assert_true(roots_is_present(&f->r, leaf, NOW));
    str_buf_printf(&pem, "%.*s%.*s", STR_FMT(str_buf_str(&f->pem[0])),
                   STR_FMT(str_buf_str(&f->pem[1])));
    assert_int_equal(roots_tell(&f->r, str_buf_str(&pem), &is_new), 0);
    assert_true(roots_is_present(&f->r, leaf, NOW));
    str_buf_reset(&pem);
    str_buf_printf(&pem, "%.*s%.*s", STR_FMT(str_buf_str(&f->pem[1])),
                   STR_FMT(str_buf_str(&f->pem[0])));
    assert_int_equal(roots_tell(&f->r, str_buf_str(&pem), &is_new), 0);
    assert_false(roots_is_present(&f->r, leaf, NOW));
    cert_unref(leaf);
    str_buf_deinit(&pem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_pin_counts_until_something_is_told, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_root_that_was_dropped_is_not_trusted_by_the_pin,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_new_pin_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_was_told_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_pin_is_needed_once_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_no_bundle_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_first_root_is_the_one_that_signs, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
