#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "codec/proxy_protocol.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V4 "\x0a\0\0\1\x0a\0\0\2\x30\x39\0\x50" /* 10.0.0.1:12345 -> 10.0.0.2:80 */
#define S(lit)                                                                                     \
    {                                                                                              \
        lit, sizeof(lit) - 1                                                                       \
    }

struct row {
    struct str bytes;
    const char *from, *to; /* NULL: names nobody */
    size_t behind;         /* bytes that are the connection's */
};

static void check_addr(const struct ip_addr *ip, uint16_t port, const char *want)
{
    char text[IP_PORT_TEXT_MAX];
    if (want == NULL)
        assert_int_equal(ip->family, IP_NONE);
    else
        assert_string_equal(ip_port_format(ip, port, text).ptr, want);
}

static void test_good_ones(void **state)
{
    static const struct row rows[] = {
        {S("PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n"), "192.0.2.1:56324", "10.0.0.1:443", 0},
        {S("PROXY TCP6 2001:db8::1 ::1 1 65535\r\nGET /"), "[2001:db8::1]:1", "[::1]:65535", 5},
        {S("PROXY TCP6 ::ffff:10.0.0.1 ::1 0 1\r\n"), "10.0.0.1:0", "[::1]:1", 0},
        {S("PROXY UNKNOWN\r\nx"), NULL, NULL, 1},
        {S("PROXY UNKNOWN anything at all 1\r\n"), NULL, NULL, 0},
        {S(SIGNATURE "\x21\x11\0\x0c" V4 "GET"), "10.0.0.1:12345", "10.0.0.2:80", 3},
        {S(SIGNATURE "\x21\x21\0\x24"
                     "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
                     "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\2\0\1\0\2"),
         "[2001:db8::1]:1", "[fd00::2]:2", 0},
        {S(SIGNATURE "\x21\x11\0\x12" V4 "\x04\0\3abc"), "10.0.0.1:12345", "10.0.0.2:80", 0},
        /* with its checksum */
        {S(SIGNATURE "\x21\x11\0\x13" V4 "\x03\0\4\x07\x67\x17\x63"), "10.0.0.1:12345",
         "10.0.0.2:80", 0},
        {S(SIGNATURE "\x20\0\0\0"), NULL, NULL, 0},
        {S(SIGNATURE "\x20\x11\0\2??x"), NULL, NULL, 1},
        {S(SIGNATURE "\x21\0\0\0"), NULL, NULL, 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct proxy_protocol h;
        const struct row *r = &rows[i];
        assert_int_equal(proxy_protocol_read(r->bytes, &h), PROXY_PROTOCOL_YES);
        assert_int_equal(h.len, r->bytes.len - r->behind);
        check_addr(&h.source, h.source_port, r->from);
        check_addr(&h.destination, h.destination_port, r->to);
        /* Every part of it is a beginning. */
        for (size_t len = 0; len < h.len; len++)
            assert_int_equal(proxy_protocol_read(str_sub(r->bytes, 0, len), &h),
                             PROXY_PROTOCOL_MORE);
    }
}

static void test_none(void **state)
{
    static const struct str rows[] = {S("G"),       S("GET / HTTP/1.1\r\n"), S("PROXX"),
                                      S("PROXY\t"), S("\r\n\r\nx"),          S("proxy TCP4"),
                                      S("\x16\3\1")};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct proxy_protocol h;
        assert_int_equal(proxy_protocol_read(rows[i], &h), PROXY_PROTOCOL_NONE);
    }
}

static void test_bad_ones(void **state)
{
    static char long_line[200] = "PROXY UNKNOWN ";
    static const struct str rows[] = {
        S("PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n"),
        S("PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n"),
        S("PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n"),
        S("PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n"),
        S("PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n"),
        S("PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n"),
        S("PROXY TCP4 1.1.1.1 2.2.2.2 -1 2\r\n"),
        S("PROXY TCP4 1.1.1.01 2.2.2.2 1 2\r\n"),
        S("PROXY TCP4 ::1 ::2 1 2\r\n"),
        S("PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n"),
        S("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n"),
        S("PROXY tcp4 1.1.1.1 2.2.2.2 1 2\r\n"),
        S("PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n"),
        S("PROXY UNKNOWNX\r\n"),
        S("PROXY \r\n"),
        S("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\r\n"),
        {long_line, sizeof long_line},
        S(SIGNATURE "\x11\x11\0\x0c" V4),            /* version 1 in binary */
        S(SIGNATURE "\x22\x11\0\x0c" V4),            /* no such command */
        S(SIGNATURE "\x21\x12\0\x0c" V4),            /* UDP */
        S(SIGNATURE "\x21\x41\0\x0c" V4),            /* no such family */
        S(SIGNATURE "\x21\x10\0\x0c" V4),            /* a family without transport */
        S(SIGNATURE "\x21\x01\0\0"),                 /* the other way round */
        S(SIGNATURE "\x21\x11\0\x0b" V4),            /* too short for its addresses */
        S(SIGNATURE "\x21\x11\0\x0e" V4 "\x04\0"),   /* a field that is cut off */
        S(SIGNATURE "\x21\x11\0\x0f" V4 "\x04\0\1"), /* a field that is longer than the rest */
        S(SIGNATURE "\x21\x11\0\x13" V4 "\x03\0\4\0\0\0\0"), /* a checksum that does not hold */
        S(SIGNATURE "\x21\x11\xff\xff" V4),
    };
    (void)state;
    memset(long_line + 14, 'x', sizeof long_line - 14);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct proxy_protocol h;
        if (proxy_protocol_read(rows[i], &h) != PROXY_PROTOCOL_BAD)
            fail_msg("row %zu", i);
    }
}

/* What is written is read as the same; and byte by byte as the specification has it. */
static void test_written(void **state)
{
    static const struct {
        struct proxy_protocol header;
        struct str want;
    } rows[] = {
        {{.version = PROXY_PROTOCOL_V1,
          .source = {IP_V4, {192, 0, 2, 7}},
          .destination = {IP_V4, {198, 51, 100, 1}},
          .source_port = 5000,
          .destination_port = 80},
         S("PROXY TCP4 192.0.2.7 198.51.100.1 5000 80\r\n")},
        {{.version = PROXY_PROTOCOL_V1,
          .source = {IP_V6, {0x20, 1, 0xd, 0xb8, [15] = 7}},
          .destination = {IP_V6, {0x20, 1, 0xd, 0xb8, [15] = 1}},
          .source_port = 65535},
         S("PROXY TCP6 2001:db8::7 2001:db8::1 65535 0\r\n")},
        {{.version = PROXY_PROTOCOL_V1}, S("PROXY UNKNOWN\r\n")},
        {{.version = PROXY_PROTOCOL_V1, .source = {IP_V4}, .destination = {IP_V6}},
         S("PROXY UNKNOWN\r\n")},
        {{.version = PROXY_PROTOCOL_V2,
          .source = {IP_V4, {192, 0, 2, 7}},
          .destination = {IP_V4, {198, 51, 100, 1}},
          .source_port = 5000,
          .destination_port = 80},
         S(SIGNATURE "\x21\x11\0\x0c\xc0\0\2\7\xc6\x33\x64\1\x13\x88\0\x50")},
        {{.version = PROXY_PROTOCOL_V2}, S(SIGNATURE "\x20\0\0\0")},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char buf[PROXY_PROTOCOL_WRITTEN_MAX];
        size_t len = proxy_protocol_write(&rows[i].header, buf);
        struct proxy_protocol h;
        if (!str_eq(str_from(buf, len), rows[i].want))
            fail_msg("row %zu", i);
        assert_int_equal(proxy_protocol_read(rows[i].want, &h), PROXY_PROTOCOL_YES);
        assert_int_equal(h.source_port, rows[i].header.source_port);
        bool is_told = rows[i].header.source.family == rows[i].header.destination.family &&
                       rows[i].header.source.family != IP_NONE;
        assert_int_equal(h.source.family != IP_NONE, is_told);
        if (is_told)
            assert_true(ip_eq(&h.source, &rows[i].header.source));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_ones),
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_bad_ones),
        cmocka_unit_test(test_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
