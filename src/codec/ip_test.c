#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "codec/cidr.h"

static void test_ip_good(void **state)
{
    static const struct {
        const char *text, *canonical;
    } rows[] = {
        {"0.0.0.0", "0.0.0.0"},
        {"255.255.255.255", "255.255.255.255"},
        {"::", "::"},
        {"::1", "::1"},
        {"1::", "1::"},
        {"2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
        {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
        {"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"},
        {"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"},
        {"::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"},
        {"fe80::00ff", "fe80::ff"},
        {"::ffff:10.0.0.1", "10.0.0.1"},
        {"::FFFF:0a00:0001", "10.0.0.1"},
        {"64:ff9b::10.0.0.1", "64:ff9b::a00:1"},
    };
    char buf[IP_TEXT_MAX];
    struct ip_addr addr;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_true(ip_parse(str_from_c(rows[i].text), &addr));
        assert_string_equal(ip_format(&addr, buf).ptr, rows[i].canonical);
    }
}

static void test_ip_bad(void **state)
{
    static const char *const rows[] = {
        "",
        ".",
        ":",
        ":::",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.256",
        "01.2.3.4",
        "1.2.3.4 ",
        " 1.2.3.4",
        "1.2.3.",
        ".1.2.3",
        "1..2.3",
        "1.2.3.-4",
        "0x1.2.3.4",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "1::2::3",
        "::12345",
        "::g",
        "fe80::1%eth0",
        "[::1]",
        "1:2:3:4:5:6:7:8::",
        "::1:2:3:4:5:6:7:8",
        ":1:2:3:4:5:6:7:8",
        "1:2:3:4:5:6:7:",
        "1.2.3.4::",
        "::1.2.3",
        "1:2:3:4:5:6:7:1.2.3.4",
        "::1.2.3.4:5",
        "::ffff:1.2.3.256",
        "10.0.0.1/8",
        "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa",
    };
    struct ip_addr addr;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_false(ip_parse(str_from_c(rows[i]), &addr));
    assert_false(ip_parse(STR("1.2.3.4\0"), &addr));
}

static void test_ip_port(void **state)
{
    static const char *const bad[] = {"1.2.3.4",    "::1:80", "[::1]",        "[::1]80",
                                      "1.2.3.4:",   ":80",    "[1.2.3.4]:80", "1.2.3.4:65536",
                                      "1.2.3.4:+1", "[]:1",   "a:1"};
    char buf[IP_PORT_TEXT_MAX];
    struct ip_addr addr;
    uint16_t port;

    assert_true(ip_port_parse(STR("1.2.3.4:80"), &addr, &port));
    assert_string_equal(ip_port_format(&addr, port, buf).ptr, "1.2.3.4:80");
    assert_true(ip_port_parse(STR("[2001:db8::1]:65535"), &addr, &port));
    assert_string_equal(ip_port_format(&addr, port, buf).ptr, "[2001:db8::1]:65535");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(ip_port_parse(str_from_c(bad[i]), &addr, &port));
}

static void test_ip_kinds(void **state)
{
    struct ip_addr a = ip_v4(127, 0, 0, 1), b = ip_v4(127, 0, 0, 2), c;

    assert_true(ip_is_loopback(&a));
    assert_false(ip_is_unspecified(&a));
    assert_true(ip_cmp(&a, &b) < 0);
    assert_true(ip_parse(STR("::1"), &c));
    assert_true(ip_is_loopback(&c));
    assert_false(ip_eq(&a, &c));
    assert_true(ip_parse(STR("::"), &c));
    assert_true(ip_is_unspecified(&c));
    assert_true(ip_hash(&a, 1) != ip_hash(&b, 1));
}

static void test_cidr(void **state)
{
    static const struct {
        const char *cidr, *canonical, *inside, *outside;
        bool had_host_bits;
    } rows[] = {
        {"10.0.0.0/8", "10.0.0.0/8", "10.255.0.1", "11.0.0.0", false},
        {"10.1.2.3/8", "10.0.0.0/8", "10.255.0.1", "::a00:1", true},
        {"10.1.2.3", "10.1.2.3/32", "10.1.2.3", "10.1.2.2", false},
        {"0.0.0.0/0", "0.0.0.0/0", "1.2.3.4", "::1", false},
        {"192.168.1.128/25", "192.168.1.128/25", "192.168.1.255", "192.168.1.127", false},
        {"fd00::/7", "fc00::/7", "fdff::1", "fe00::", true},
        {"::/0", "::/0", "1::", "1.2.3.4", false},
        {"2001:db8::1", "2001:db8::1/128", "2001:db8::1", "2001:db8::2", false},
        {"::ffff:10.0.0.0/104", "10.0.0.0/8", "::ffff:10.1.1.1", "11.0.0.1", false},
    };
    char buf[CIDR_TEXT_MAX];
    struct ip_addr addr;
    struct cidr c;
    bool had_host_bits;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_true(cidr_parse(str_from_c(rows[i].cidr), &c, &had_host_bits));
        assert_int_equal(had_host_bits, rows[i].had_host_bits);
        assert_string_equal(cidr_format(&c, buf).ptr, rows[i].canonical);
        assert_true(ip_parse(str_from_c(rows[i].inside), &addr));
        assert_true(cidr_match(&c, &addr));
        assert_true(ip_parse(str_from_c(rows[i].outside), &addr));
        assert_false(cidr_match(&c, &addr));
        assert_true(cidr_contains(&c, &c));
    }
}

static void test_cidr_bad(void **state)
{
    static const char *const rows[] = {
        "",           "/8",          "10.0.0.0/",  "10.0.0.0/33", "10.0.0/8",
        "::/129",     "10.0.0.0/08", "1.2.3.4/-1", "1.2.3.4/8/8", "::ffff:0:0/90",
        "10.0.0.0/8 "};
    struct cidr c;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_false(cidr_parse(str_from_c(rows[i]), &c, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ip_good), cmocka_unit_test(test_ip_bad),
        cmocka_unit_test(test_ip_port), cmocka_unit_test(test_ip_kinds),
        cmocka_unit_test(test_cidr),    cmocka_unit_test(test_cidr_bad),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
