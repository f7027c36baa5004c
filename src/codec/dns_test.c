#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/err.h"
#include "codec/dns.h"

#define QUESTION "\x03Web\x04shop\x00\x00\x01\x00\x01"
#define HEADER(flags, counts) "\x12\x34" flags counts
#define ONE_QUESTION "\x00\x01\x00\x00\x00\x00\x00\x00"
#define ONE_AND_OPT "\x00\x01\x00\x00\x00\x00\x00\x01"
#define OPT(size) "\x00\x00\x29" size "\x00\x00\x00\x00\x00\x00"

static void test_query(void **state)
{
    struct dns_query q;

    assert_int_equal(dns_query_parse(STR(HEADER("\x01\x20", ONE_QUESTION) QUESTION), &q), 0);
    assert_string_equal(q.name, "web.shop");
    assert_int_equal(q.name_len, 8);
    assert_int_equal(q.id, 0x1234);
    assert_int_equal(q.type, DNS_TYPE_A);
    assert_int_equal(q.class, DNS_CLASS_IN);
    assert_true(q.is_recursion_desired);
    assert_false(q.has_edns);
    assert_int_equal(q.udp_len_max, 512);
    assert_true(str_eq(q.question, STR(QUESTION)));
    assert_int_equal(
        dns_query_parse(STR(HEADER("\x00\x00", ONE_AND_OPT) QUESTION OPT("\x10\x00")), &q), 0);
    assert_true(q.has_edns);
    assert_int_equal(q.udp_len_max, 4096);
    assert_int_equal(
        dns_query_parse(STR(HEADER("\x00\x00", ONE_AND_OPT) QUESTION OPT("\x00\x10")), &q), 0);
    assert_int_equal(q.udp_len_max, 512);
    assert_int_equal(
        dns_query_parse(STR(HEADER("\x00\x00", ONE_QUESTION) "\x00\x00\x02\x00\x01"), &q), 0);
    assert_int_equal(q.name_len, 0);
}

static void test_query_bad(void **state)
{
#define ROW(err, text)                                                                             \
    {                                                                                              \
        err,                                                                                       \
        {                                                                                          \
            text, sizeof(text) - 1                                                                 \
        }                                                                                          \
    }
    static const struct {
        int err;
        struct str packet;
    } rows[] = {
        ROW(-ERR_PROTOCOL, ""),
        ROW(-ERR_PROTOCOL, "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00"),
        ROW(-ERR_PROTOCOL, HEADER("\x81\x00", ONE_QUESTION) QUESTION),
        ROW(-ERR_UNSUPPORTED, HEADER("\x28\x00", ONE_QUESTION) QUESTION),
        ROW(-ERR_SYNTAX, HEADER("\x01\x00", "\x00\x00\x00\x00\x00\x00\x00\x00")),
        ROW(-ERR_SYNTAX, HEADER("\x01\x00", "\x00\x02\x00\x00\x00\x00\x00\x00") QUESTION QUESTION),
        ROW(-ERR_SYNTAX, HEADER("\x01\x00", "\x00\x01\x00\x01\x00\x00\x00\x00") QUESTION),
        ROW(-ERR_SYNTAX, HEADER("\x01\x00", ONE_QUESTION)),
        ROW(-ERR_SYNTAX, HEADER("\x01\x00", ONE_QUESTION) "\x03Web\x04sho"),
        ROW(-ERR_SYNTAX, HEADER("\x01\x00", ONE_QUESTION) "\x03Web\x04shop\x00\x00\x01\x00"),
        ROW(-ERR_SYNTAX, HEADER("\x01\x00", ONE_QUESTION) "\x03W.b\x04shop\x00\x00\x01\x00\x01"),
        ROW(-ERR_SYNTAX, HEADER("\x01\x00", ONE_QUESTION) "\x03W\x00"
                                                          "b\x04shop\x00\x00\x01\x00\x01"),
        ROW(-ERR_SYNTAX, HEADER("\x01\x00", ONE_QUESTION) "\xc0\x0c\x00\x01\x00\x01"),
        ROW(-ERR_SYNTAX, HEADER("\x01\x00", ONE_QUESTION) "\x03Web\xc0\x0c\x00\x01\x00\x01"),
        ROW(-ERR_SYNTAX, HEADER("\x01\x00", ONE_QUESTION) "\x40"
                                                          "aaa\x00\x00\x01\x00\x01"),
        ROW(-ERR_SYNTAX, HEADER("\x01\x00", ONE_QUESTION) QUESTION "x"),
        ROW(-ERR_SYNTAX, HEADER("\x01\x00", ONE_AND_OPT) QUESTION),
        ROW(-ERR_SYNTAX, HEADER("\x01\x00", ONE_AND_OPT) QUESTION
            "\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x05"),
        ROW(-ERR_SYNTAX, HEADER("\x01\x00", ONE_AND_OPT) QUESTION
            "\x00\x00\x29\x10\x00\x00\x01\x00\x00\x00\x00"),
        ROW(-ERR_SYNTAX, HEADER("\x01\x00", "\x00\x01\x00\x00\x00\x00\x00\x02")
                             QUESTION OPT("\x10\x00") OPT("\x10\x00")),
        ROW(-ERR_SYNTAX,
            HEADER("\x01\x00", "\x00\x01\x00\x00\x00\x00\xff\xff") QUESTION OPT("\x10\x00")),
    };
#undef ROW

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct dns_query q = {0};

        assert_int_equal(dns_query_parse(rows[i].packet, &q), rows[i].err);
        assert_int_equal(q.question.len, 0);
        if (rows[i].err != -ERR_PROTOCOL)
            assert_int_equal(q.id, 0x1234);
    }
}

/* A name of exactly n bytes of text: labels of 49 and a rest. */
static size_t put_long_name(char *at, size_t n)
{
    size_t len = 0;

    for (size_t left = n + 1; left > 0;) {
        size_t label = MIN(left, (size_t)50) - 1;

        at[len++] = (char)label;
        memset(at + len, 'a', label);
        len += label;
        left -= label + 1;
    }
    memcpy(at + len, "\0\0\1\0\1", 5);
    return len + 5;
}

static void test_name_length(void **state)
{
    char packet[400] = HEADER("\x01\x00", ONE_QUESTION);
    struct dns_query q;

    assert_int_equal(dns_query_parse(str_from(packet, 12 + put_long_name(packet + 12, 253)), &q),
                     0);
    assert_int_equal(q.name_len, 253);
    assert_int_equal(dns_query_parse(str_from(packet, 12 + put_long_name(packet + 12, 254)), &q),
                     -ERR_SYNTAX);
    assert_int_equal(dns_query_parse(str_from(packet, 12 + put_long_name(packet + 12, 300)), &q),
                     -ERR_SYNTAX);
}

static void test_answer(void **state)
{
    const struct ip_addr addrs[] = {
        {IP_V6, {0xfd, [15] = 1}}, ip_v4(10, 0, 0, 1), ip_v4(10, 0, 0, 2)};
    struct dns_answer answer = {
        .is_recursion_available = true, .ttl_s = 30, .addrs = addrs, .addr_count = 3};
    struct ip_addr got[4];
    struct dns_query q;
    char buf[DNS_UDP_LEN_MAX];
    uint32_t ttl_s;
    size_t n;

    assert_int_equal(
        dns_query_parse(STR(HEADER("\x01\x00", ONE_AND_OPT) QUESTION OPT("\x10\x00")), &q), 0);
    struct str packet = str_from(buf, dns_answer_build(&q, &answer, true, buf, sizeof(buf)));
    static const char expected[] =
        "\x12\x34\x81\x80\x00\x01\x00\x02\x00\x00\x00\x01" QUESTION
        "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x1e\x00\x04\x0a\x00\x00\x01"
        "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x1e\x00\x04\x0a\x00\x00\x02" OPT("\x04\xd0");
    assert_int_equal(packet.len, sizeof(expected) - 1);
    assert_memory_equal(packet.ptr, expected, packet.len);
    assert_true(dns_response_matches(packet, &q, 0x1234));
    assert_int_equal(dns_response_addrs(packet, got, 4, &n, &ttl_s), 0);
    assert_int_equal(n, 2);
    assert_true(ip_eq(&got[1], &addrs[2]));
    assert_int_equal(ttl_s, 30);
    q.type = DNS_TYPE_AAAA;
    packet.len = dns_answer_build(&q, &answer, true, buf, sizeof(buf));
    assert_int_equal(dns_response_addrs(packet, got, 4, &n, &ttl_s), 0);
    assert_int_equal(n, 1);
    assert_true(ip_eq(&got[0], &addrs[0]));
    q.type = DNS_TYPE_MX; /* no data */
    packet.len = dns_answer_build(&q, &answer, true, buf, sizeof(buf));
    assert_int_equal(dns_response_addrs(packet, got, 4, &n, &ttl_s), 0);
    assert_int_equal(n, 0);
    assert_int_equal(dns_response_rcode(packet), DNS_NOERROR);
}

static void test_answer_is_truncated(void **state)
{
    static struct ip_addr addrs[100];
    struct dns_answer answer = {.ttl_s = 1, .addrs = addrs, .addr_count = 100};
    struct dns_query q;
    char buf[4096];

    for (int i = 0; i < 100; i++)
        addrs[i] = ip_v4(10, 0, 0, (uint8_t)i);
    assert_int_equal(dns_query_parse(STR(HEADER("\x01\x00", ONE_QUESTION) QUESTION), &q), 0);
    size_t len = dns_answer_build(&q, &answer, true, buf, sizeof(buf));
    assert_in_range(len, 480, 512);
    assert_true(dns_response_is_truncated(str_from(buf, len)));
    len = dns_answer_build(&q, &answer, false, buf, sizeof(buf));
    assert_true(len > 1600);
    assert_false(dns_response_is_truncated(str_from(buf, len)));
    q.has_edns = true;
    q.udp_len_max = 65535;
    len = dns_answer_build(&q, &answer, true, buf, sizeof(buf));
    assert_in_range(len, 1200, DNS_UDP_LEN_MAX);
}

static void test_failures(void **state)
{
    struct dns_answer answer = {.rcode = DNS_NXDOMAIN, .is_authoritative = true};
    struct dns_query q;
    char buf[512];

    assert_int_equal(dns_query_parse(STR(HEADER("\x00\x00", ONE_QUESTION) QUESTION), &q), 0);
    struct str packet = str_from(buf, dns_answer_build(&q, &answer, true, buf, sizeof(buf)));
    assert_int_equal(dns_response_rcode(packet), DNS_NXDOMAIN);
    assert_memory_equal(buf, "\x12\x34\x84\x03\x00\x01\x00\x00\x00\x00\x00\x00", 12);
    assert_int_equal(dns_query_parse(STR(HEADER("\x00\x00", ONE_QUESTION) "\xff"), &q),
                     -ERR_SYNTAX);
    answer = (struct dns_answer){.rcode = DNS_FORMERR};
    assert_int_equal(dns_answer_build(&q, &answer, true, buf, sizeof(buf)), 12);
    assert_memory_equal(buf, "\x12\x34\x80\x01\x00\x00\x00\x00\x00\x00\x00\x00", 12);
}

static void test_matching(void **state)
{
    char good[] = HEADER("\x81\x80", ONE_QUESTION) QUESTION;
    struct dns_query q;
    size_t len = sizeof(good) - 1;

    assert_int_equal(dns_query_parse(STR(HEADER("\x01\x00", ONE_QUESTION) QUESTION), &q), 0);
    assert_true(dns_response_matches(str_from(good, len), &q, 0x1234));
    assert_false(dns_response_matches(str_from(good, len), &q, 0x1235));
    for (size_t cut = 0; cut < len; cut++)
        assert_false(dns_response_matches(str_from(good, cut), &q, 0x1234));
    good[13] = 'w'; /* case may differ */
    assert_true(dns_response_matches(str_from(good, len), &q, 0x1234));
    good[13] = 'x';
    assert_false(dns_response_matches(str_from(good, len), &q, 0x1234));
    good[13] = 'W';
    good[len - 1] = 3; /* another class */
    assert_false(dns_response_matches(str_from(good, len), &q, 0x1234));
    good[len - 1] = 1;
    good[2] = 1; /* a query */
    assert_false(dns_response_matches(str_from(good, len), &q, 0x1234));
    dns_set_id(good, 0xabcd);
    assert_int_equal(dns_id(str_from(good, len)), 0xabcd);
}

static void test_own_query(void **state)
{
    static const char *const bad[] = {
        "",
        ".",
        "a..b",
        ".a",
        "a b",
        "a\\b",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b"};
    struct dns_query q;
    char buf[512];

    size_t len = dns_query_build(7, STR("Example.org."), DNS_TYPE_AAAA, buf, sizeof(buf));
    assert_int_equal(dns_query_parse(str_from(buf, len), &q), 0);
    assert_true(str_eq(dns_query_name(&q), STR("example.org")));
    assert_int_equal(q.type, DNS_TYPE_AAAA);
    assert_int_equal(q.id, 7);
    assert_true(q.has_edns && q.is_recursion_desired);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(dns_query_build(7, str_from_c(bad[i]), DNS_TYPE_A, buf, sizeof(buf)), 0);
}

static void test_response_addrs_bad(void **state)
{
#define RESPONSE                                                                                   \
    "\x12\x34\x81\x80\x00\x01\x00\x02\x00\x00\x00\x00" QUESTION                                    \
    "\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x05\x00\x04\x01"                                         \
    "a\xc0\x0c"                                                                                    \
    "\x01"                                                                                         \
    "a\xc0\x0c\x00\x01\x00\x01\x00\x00\x01\x00\x00\x04\x0a\x00\x00\x01"
    static const char packet[] = RESPONSE;
    struct ip_addr addr;
    uint32_t ttl_s;
    size_t n;

    assert_int_equal(dns_response_addrs(str_from(packet, sizeof(packet) - 1), &addr, 1, &n, &ttl_s),
                     0);
    assert_int_equal(n, 1);
    assert_int_equal(ttl_s, 5);
    for (size_t cut = 0; cut < sizeof(packet) - 1; cut++)
        assert_int_equal(dns_response_addrs(str_from(packet, cut), &addr, 1, &n, &ttl_s),
                         -ERR_PROTOCOL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_query),
        cmocka_unit_test(test_query_bad),
        cmocka_unit_test(test_name_length),
        cmocka_unit_test(test_answer),
        cmocka_unit_test(test_answer_is_truncated),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_matching),
        cmocka_unit_test(test_own_query),
        cmocka_unit_test(test_response_addrs_bad),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
