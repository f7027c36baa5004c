#include "codec/ip.h"

#include <stdio.h>

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

struct ip_addr ip_v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
    return (struct ip_addr){IP_V4, {a, b, c, d}};
}

struct ip_addr ip_from_bytes(const void *bytes, size_t len)
{
    struct ip_addr addr = {IP_NONE, {0}};
    const char *p = bytes;

    ASSERT(len == 4 || len == 16);
    addr.family = len == 4 ? IP_V4 : IP_V6;
    if (len == 16 && memcmp(p, mapped_prefix, sizeof(mapped_prefix)) == 0) {
        addr.family = IP_V4;
        p += sizeof(mapped_prefix);
        len = 4;
    }
    memcpy(addr.bytes, p, len);
    return addr;
}

static bool parse_v4(struct str s, uint8_t bytes[4])
{
    for (int i = 0; i < 4; i++) {
        struct str part = str_split(&s, '.');
        uint64_t value;

        if (part.len > 3 || (part.len > 1 && part.ptr[0] == '0') || !str_to_u64(part, 255, &value))
            return false;
        bytes[i] = (uint8_t)value;
        if ((s.ptr == NULL) != (i == 3)) /* too few or too many parts */
            return false;
    }
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool parse_group(struct str s, uint8_t bytes[2])
{
    unsigned value = 0;

    if (s.len == 0 || s.len > 4)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        int digit = hex_digit(s.ptr[i]);

        if (digit < 0)
            return false;
        value = value << 4 | (unsigned)digit;
    }
    bytes[0] = (uint8_t)(value >> 8);
    bytes[1] = (uint8_t)value;
    return true;
}

/* Groups between colons, the last perhaps dotted; returns the number of bytes, or -1. */
static int parse_groups(struct str s, bool may_end_dotted, uint8_t bytes[16])
{
    int len = 0;

    if (s.len == 0)
        return 0;
    while (s.ptr != NULL) {
        struct str part = str_split(&s, ':');
        bool is_last = s.ptr == NULL;

        if (is_last && may_end_dotted && str_find(part, '.') >= 0) {
            if (len > 12 || !parse_v4(part, bytes + len))
                return -1;
            return len + 4;
        }
        if (len > 14 || !parse_group(part, bytes + len))
            return -1;
        len += 2;
    }
    return len;
}

static ptrdiff_t find_gap(struct str s)
{
    for (size_t i = 0; i + 1 < s.len; i++)
        if (s.ptr[i] == ':' && s.ptr[i + 1] == ':')
            return (ptrdiff_t)i;
    return -1;
}

/* RFC 4291 2.2. */
static bool parse_v6(struct str s, uint8_t bytes[16])
{
    uint8_t front[16] = {0}, back[16] = {0};
    ptrdiff_t gap = find_gap(s);

    if (gap < 0)
        return parse_groups(s, true, bytes) == 16;
    int front_len = parse_groups(str_sub(s, 0, (size_t)gap), false, front);
    int back_len = parse_groups(str_skip(s, (size_t)gap + 2), true, back);
    if (front_len < 0 || back_len < 0 || front_len + back_len > 14)
        return false;
    memset(bytes, 0, 16);
    memcpy(bytes, front, (size_t)front_len);
    memcpy(bytes + 16 - back_len, back, (size_t)back_len);
    return true;
}

bool ip_parse(struct str s, struct ip_addr *ret_addr)
{
    uint8_t bytes[16];

    if (s.len == 0 || s.len >= IP_TEXT_MAX)
        return false;
    if (str_find(s, ':') < 0) {
        if (!parse_v4(s, bytes))
            return false;
        *ret_addr = ip_from_bytes(bytes, 4);
        return true;
    }
    if (!parse_v6(s, bytes))
        return false;
    *ret_addr = ip_from_bytes(bytes, 16);
    return true;
}

/* RFC 5952 4.2: the longest run of two and more zero groups, the first among equals. */
static void find_zero_run(const uint8_t *bytes, int *ret_at, int *ret_len)
{
    *ret_at = -1;
    *ret_len = 1;
    for (int i = 0; i < 8;) {
        int end = i;

        while (end < 8 && bytes[2 * end] == 0 && bytes[2 * end + 1] == 0)
            end++;
        if (end - i > *ret_len) {
            *ret_at = i;
            *ret_len = end - i;
        }
        i = end + 1;
    }
}

static size_t format_v6(const uint8_t *bytes, char *buf)
{
    int run_at, run_len;
    char *p = buf;

    find_zero_run(bytes, &run_at, &run_len);
    for (int i = 0; i < 8; i++) {
        if (i == run_at) {
            *p++ = ':';
            *p++ = ':';
            i += run_len - 1;
            continue;
        }
        if (p > buf && p[-1] != ':')
            *p++ = ':';
        p += snprintf(p, 5, "%x", (unsigned)(bytes[2 * i] << 8 | bytes[2 * i + 1]));
    }
    *p = '\0';
    return (size_t)(p - buf);
}

struct str ip_format(const struct ip_addr *addr, char buf[IP_TEXT_MAX])
{
    const uint8_t *b = addr->bytes;

    if (addr->family == IP_V6)
        return str_from(buf, format_v6(b, buf));
    if (addr->family == IP_V4)
        return str_from(buf,
                        (size_t)snprintf(buf, IP_TEXT_MAX, "%u.%u.%u.%u", b[0], b[1], b[2], b[3]));
    buf[0] = '\0';
    return str_from(buf, 0);
}

bool ip_eq(const struct ip_addr *a, const struct ip_addr *b)
{
    return ip_cmp(a, b) == 0;
}

int ip_cmp(const struct ip_addr *a, const struct ip_addr *b)
{
    if (a->family != b->family)
        return a->family < b->family ? -1 : 1;
    return memcmp(a->bytes, b->bytes, ip_len(a));
}

uint64_t ip_hash(const struct ip_addr *addr, uint64_t seed)
{
    return str_hash(str_from((const char *)addr->bytes, ip_len(addr)), seed);
}

bool ip_is_loopback(const struct ip_addr *addr)
{
    static const uint8_t v6_loopback[16] = {[15] = 1};

    if (addr->family == IP_V4)
        return addr->bytes[0] == 127;
    return addr->family == IP_V6 && memcmp(addr->bytes, v6_loopback, 16) == 0;
}

bool ip_is_unspecified(const struct ip_addr *addr)
{
    static const uint8_t zero[16];

    return addr->family != IP_NONE && memcmp(addr->bytes, zero, ip_len(addr)) == 0;
}

bool ip_port_parse(struct str s, struct ip_addr *ret_addr, uint16_t *ret_port)
{
    ptrdiff_t colon = str_rfind(s, ':');
    struct ip_addr addr;
    uint64_t port;

    if (colon < 1 || s.len - (size_t)colon > 6)
        return false;
    struct str host = str_sub(s, 0, (size_t)colon);
    bool is_bracketed = str_starts_with(host, STR("[")) && str_ends_with(host, STR("]"));
    if (is_bracketed)
        host = str_sub(host, 1, host.len - 2);
    if (is_bracketed != (str_find(host, ':') >= 0))
        return false;
    if (!ip_parse(host, &addr) || !str_to_u64(str_skip(s, (size_t)colon + 1), 65535, &port))
        return false;
    *ret_addr = addr;
    *ret_port = (uint16_t)port;
    return true;
}

struct str ip_port_format(const struct ip_addr *addr, uint16_t port, char buf[IP_PORT_TEXT_MAX])
{
    char text[IP_TEXT_MAX];
    const char *form = addr->family == IP_V6 ? "[" : "";

    ip_format(addr, text);
    int n =
        snprintf(buf, IP_PORT_TEXT_MAX, "%s%s%s:%u", form, text, form[0] != '\0' ? "]" : "", port);
    return str_from(buf, (size_t)n);
}
