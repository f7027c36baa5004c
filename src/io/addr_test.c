
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "io/addr.h"

static void test_parse(void **state)
{
    (void)state;
    static const struct {
        const char *text, *again; /* NULL: invalid; "": the same */
    } rows[] = {
        {"1.2.3.4:80", ""},
        {"[::1]:80", ""},
        {"[2001:db8::1]:65535", ""},
        {"[::ffff:10.0.0.1]:8080", "10.0.0.1:8080"},
        {"unix:/run/x", "/run/x"},
        {"/run/x", ""},
        {"@name", ""},
        {"0.0.0.0:0", ""},
        {"1.2.3.4", NULL},
        {"1.2.3.4:", NULL},
        {"1.2.3.4:65536", NULL},
        {"1.2.3.4:-1", NULL},
        {"1.2.3:80", NULL},
        {"1.2.3.4.5:80", NULL},
        {"[1.2.3.4]:80", NULL},
        {"::1:80", NULL},
        {"[::1]80", NULL},
        {"[::1%lo]:80", NULL},
        {"[::g]:80", NULL},
        {"localhost:80", NULL},
        {":80", NULL},
        {"", NULL},
        {"unix:", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct addr a, b;
        char buf[ADDR_TEXT_LEN];
        bool is_ok = addr_parse(str_from_c(rows[i].text), &a);
        assert_int_equal(is_ok, rows[i].again != NULL);
        if (!is_ok)
            continue;
        addr_format(&a, buf);
        assert_string_equal(buf, rows[i].again[0] != '\0' ? rows[i].again : rows[i].text);
        struct sockaddr_storage sa;
        unsigned len = addr_to_sockaddr(&a, &sa);
        assert_true(addr_from_sockaddr(&sa, len, &b));
        assert_true(addr_eq(&a, &b));
        assert_int_equal(addr_hash(&a, 1), addr_hash(&b, 1));
    }
}

static void test_every_number(void **state)
{
    (void)state;
    for (unsigned i = 0; i <= 65535; i++) {
        struct addr a = {.family = ADDR_IP4, .port = (uint16_t)i, .ip = {10, i & 255, i >> 8, 255}};
        char text[ADDR_TEXT_LEN], want[64];
        snprintf(want, sizeof want, "10.%u.%u.255:%u", i & 255, i >> 8, i);
        assert_int_equal(addr_format(&a, text).len, strlen(want));
        assert_string_equal(text, want);
        *strrchr(want, ':') = '\0';
        addr_format_ip(&a, text);
        assert_string_equal(text, want);
    }
}

static void test_paths_are_kept_once(void **state)
{
    (void)state;
    char text[ADDR_PATH_LEN_MAX + 2] = "/";
    struct addr a, b;
    assert_true(addr_set_path(&a, STR("/run/one")) && addr_parse(STR("unix:/run/one"), &b));
    assert_ptr_equal(addr_path(&a), addr_path(&b));
    assert_true(addr_eq(&a, &b));
    assert_true(addr_set_path(&b, STR("/run/other")) && !addr_eq(&a, &b));
    memset(text + 1, 'x', sizeof text - 1);
    assert_true(addr_set_path(&a, str_from(text, ADDR_PATH_LEN_MAX)));
    assert_false(addr_set_path(&a, str_from(text, ADDR_PATH_LEN_MAX + 1)));
    assert_false(addr_set_path(&a, str_from("/a\0b", 4)));
    assert_true(addr_set_path(&a, STR("")) && a.family == ADDR_UNIX);
    /* A peer may call itself what it likes: it has no name once there are too many. */
    unsigned kept = 0;
    for (unsigned i = 0; i < 2000; i++) {
        int len = snprintf(text, sizeof text, "@peer-%u", i);
        struct sockaddr_storage sa;
        bool is_kept = addr_set_path(&a, str_from(text, (size_t)len));
        kept += is_kept;
        struct sockaddr_un *un = (void *)&sa;
        un->sun_family = AF_UNIX;
        memcpy(un->sun_path, text, (size_t)len);
        un->sun_path[0] = '\0';
        unsigned sa_len = (unsigned)(offsetof(struct sockaddr_un, sun_path) + (size_t)len);
        assert_true(addr_from_sockaddr(&sa, sa_len, &b));
        assert_string_equal(addr_path(&b), is_kept ? text : "");
    }
    assert_in_range(kept, 1000, 1023);
    assert_true(addr_set_path(&b, STR("/run/one")));
}

static void test_facts(void **state)
{
    (void)state;
    struct addr a, b;
    assert_true(addr_parse_ip(STR("127.1.2.3"), 5, &a));
    assert_true(addr_is_loopback(&a));
    assert_false(addr_is_any(&a));
    assert_true(addr_parse_ip(STR("127.1.2.3"), 6, &b));
    assert_true(addr_eq_ip(&a, &b));
    assert_false(addr_eq(&a, &b));
    assert_true(addr_parse_ip(STR("::1"), 0, &a));
    assert_true(addr_is_loopback(&a));
    assert_true(addr_parse_ip(STR("::"), 0, &a));
    assert_true(addr_is_any(&a));
    assert_true(addr_parse_ip(STR("::ffff:127.0.0.1"), 0, &a));
    assert_true(addr_is_loopback(&a) && a.family == ADDR_IP4);
    assert_false(addr_parse_ip(STR("1.2.3.4\0"), 0, &a));
    assert_false(addr_parse_ip(STR("01.2.3.4"), 0, &a));
    assert_false(addr_parse(STR("/a\0b"), &a));
    struct addr none = {0};
    struct sockaddr_storage sa;
    assert_int_equal(addr_to_sockaddr(&none, &sa), 0);
    assert_false(addr_from_sockaddr(&sa, 1, &a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_every_number),
        cmocka_unit_test(test_facts),
        cmocka_unit_test(test_paths_are_kept_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
