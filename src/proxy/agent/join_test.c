#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "codec/base64.h"
#include "crypto/x509.h"
#include "proxy/agent/file.h"
#include "proxy/agent/join.h"
#include "proxy/agent/roots.h"

#define PIN "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define REST                                                                                       \
    "\"workload\":\"web\",\"namespace\":\"shop\",\"replica\":3,\"serviceAccount\":\"web-sa\","     \
    "\"app\":\"web\",\"version\":\"\","

struct fixture {
    struct arena a;
    char dir[64];
    struct str_buf why;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    arena_init(&f->a, 4096);
    f->why = STR_BUF_INIT(1000);
    strcpy(f->dir, "/tmp/tulle-join-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    *state = f;
    return 0;
}

static void remove_file(struct fixture *f, const char *name)
{
    unlink(arena_printf(&f->a, "%s/%s", f->dir, name).ptr);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    remove_file(f, "join.json");
    remove_file(f, "token");
    remove_file(f, "pin.pem");
    rmdir(f->dir);
    str_buf_deinit(&f->why);
    arena_deinit(&f->a);
    free(f);
    return 0;
}

static struct str encode(struct fixture *f, const char *json)
{
    struct str_buf out = STR_BUF_INIT(JOIN_TEXT_MAX);
    base64_encode(&out, BASE64_URL, str_from_c(json));
    struct str text = arena_str(&f->a, str_buf_str(&out));
    str_buf_deinit(&out);
    return text;
}

static void test_a_text_is_read(void **state)
{
    struct fixture *f = *state;
    struct join_text t;
    struct str text = encode(f, "{\"token\":\"secret\"," REST
                                "\"trustDomain\":\"mesh.local\",\"pins\":[\"" PIN "\"]}");
    /* As it comes from a file. */
    text = arena_printf(&f->a, "%.*s\n", STR_FMT(text));
    assert_int_equal(join_text_parse(&f->a, text, &t), 0);
    assert_true(str_eq(t.token, STR("secret")) && str_eq(t.workload, STR("web")));
    assert_int_equal(t.replica, 3);
    assert_int_equal(t.pin_count, 1);
    assert_true(str_eq(t.pins[0], STR(PIN)));
}

static void test_what_is_none_is_refused(void **state)
{
    struct fixture *f = *state;
    struct join_text t;
    static const char *const bad[] = {
        "",
        "[]",
        "{\"token\":\"secret\"}",
        "{\"token\":\"\"," REST "\"trustDomain\":\"m\",\"pins\":[\"" PIN "\"]}",
        "{\"token\":\"s\"," REST "\"trustDomain\":\"m\",\"pins\":[]}",
        "{\"token\":\"s\"," REST "\"trustDomain\":\"m\",\"pins\":[\"abc\"]}",
        "{\"token\":\"s\"," REST "\"trustDomain\":\"m/../x\",\"pins\":[\"" PIN "\"]}",
        "{\"token\":\"s\\u0000\"," REST "\"trustDomain\":\"m\",\"pins\":[\"" PIN "\"]}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(join_text_parse(&f->a, encode(f, bad[i]), &t), -ERR_SYNTAX);
    assert_int_equal(join_text_parse(&f->a, STR("%%%"), &t), -ERR_SYNTAX);
}

/* Of a bundle only what the pin names is believed. */
static void test_pins_decide(void **state)
{
    struct fixture *f = *state;
    struct join_text t = {.pin_count = 1};
    struct str_buf bundle = STR_BUF_INIT(ROOTS_PEM_MAX), picked = STR_BUF_INIT(ROOTS_PEM_MAX),
                   second = STR_BUF_INIT(ROOTS_PEM_MAX);
    struct key *k = key_new_p256();
    struct cert *roots[2];
    struct cert_info info;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ca_make_root(k, STR("mesh"), 1000, 2000, &roots[i]), 0);
        cert_to_pem(roots[i], &bundle);
    }
    assert_int_equal(cert_info(roots[1], &f->a, &info), 0);
    t.pins[0] = info.sha256_hex;
    assert_int_equal(join_pick_roots(str_buf_str(&bundle), &t, &picked), 0);
    cert_to_pem(roots[1], &second);
    assert_true(str_eq(str_buf_str(&picked), str_buf_str(&second)));
    t.pins[0] = STR(PIN);
    str_buf_reset(&picked);
    assert_int_equal(join_pick_roots(str_buf_str(&bundle), &t, &picked), -ERR_CERTIFICATE);
    assert_int_equal(picked.len, 0);
    assert_int_equal(join_pick_roots(STR("none"), &t, &picked), -ERR_CERTIFICATE);
    for (int i = 0; i < 2; i++)
        cert_unref(roots[i]);
    key_unref(k);
    str_buf_deinit(&bundle);
    str_buf_deinit(&picked);
    str_buf_deinit(&second);
}

static void put(struct fixture *f, const char *name, const char *text)
{
    assert_int_equal(file_write(arena_printf(&f->a, "%s/%s", f->dir, name).ptr, str_from_c(text)),
                     0);
}

static void test_a_folder_is_enough_the_next_time(void **state)
{
    struct fixture *f = *state;
    struct agent_args to = {.worker_count = 1};
    struct join_args args = {.state_dir = f->dir};
    assert_int_equal(join_prepare(&args, &f->a, &to, &f->why), -ERR_NOT_FOUND);
    assert_true(str_contains(str_buf_str(&f->why), STR("--token")));
    put(f, "join.json",
        "{" REST "\"trustDomain\":\"m\",\"controlPlane\":\"127.0.0.1:15012\",\"addresses\":\"\"}");
    assert_int_equal(join_prepare(&args, &f->a, &to, &f->why), 0);
    assert_true(str_eq(to.discovery, STR("127.0.0.1:15012")));
    assert_true(str_eq(to.addresses, STR("127.0.0.1")));
    assert_true(str_eq(to.workload, STR("web")) && to.index == 3 && to.is_app_ready);
    put(f, "join.json", "{\"workload\":5}");
    assert_int_equal(join_prepare(&args, &f->a, &to, &f->why), -ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_text_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_none_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pins_decide, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_folder_is_enough_the_next_time, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
