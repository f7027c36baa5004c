#include "codec/proxy_protocol.h"

#include <stdio.h>

#include "base/util.h"

enum {
    V1_LEN_MAX =
        107, /* "PROXY TCP6 " + 2 * 39 + 2 * 5 + blanks + CRLF, as the specification counts */
    V2_HEAD_LEN = 16,
    TLV_HEAD_LEN = 3,
    TLV_CRC32C = 0x03,
    FIELDS_MAX = 6,
};

static const struct str v1_signature = {"PROXY ", 6};
static const struct str v2_signature = {"\r\n\r\n\0\r\nQUIT\n", 12};

/* --- version 1 --- */

/* Cut at single blanks; FIELDS_MAX: too many. */
static size_t cut(struct str line, struct str fields[FIELDS_MAX])
{
    size_t count = 0;
    while (line.ptr != NULL && count < FIELDS_MAX)
        fields[count++] = str_split(&line, ' ');
    return count;
}

static bool read_port(struct str text, uint16_t *ret_port)
{
    uint64_t port;
    bool has_zeros = text.len > 1 && text.ptr[0] == '0';
    if (has_zeros || !str_to_u64(text, UINT16_MAX, &port))
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

/* The family is that of the text: an IPv4 address written as an IPv6 one belongs to TCP6. */
static bool read_ip(struct str text, bool is_v6, struct ip_addr *ret_ip)
{
    bool has_colon = str_find(text, ':') >= 0;
    return has_colon == is_v6 && ip_parse(text, ret_ip);
}

static bool read_v1_fields(struct str line, struct proxy_protocol *h)
{
    struct str fields[FIELDS_MAX];
    size_t count = cut(line, fields);
    if (str_eq(fields[0], STR("UNKNOWN")))
        return true;
    bool is_v6 = str_eq(fields[0], STR("TCP6"));
    if (count != 5 || (!is_v6 && !str_eq(fields[0], STR("TCP4"))))
        return false;
    return read_ip(fields[1], is_v6, &h->source) && read_ip(fields[2], is_v6, &h->destination) &&
           read_port(fields[3], &h->source_port) && read_port(fields[4], &h->destination_port);
}

static enum proxy_protocol_read read_v1(struct str bytes, struct proxy_protocol *ret_header)
{
    struct proxy_protocol h = {.version = PROXY_PROTOCOL_V1};
    ptrdiff_t end = str_find(bytes, '\n');
    if (end < 0)
        return bytes.len < V1_LEN_MAX ? PROXY_PROTOCOL_MORE : PROXY_PROTOCOL_BAD;
    h.len = (size_t)end + 1;
    if (h.len > V1_LEN_MAX || end == 0 || bytes.ptr[end - 1] != '\r')
        return PROXY_PROTOCOL_BAD;
    struct str line = str_sub(bytes, v1_signature.len, h.len - 2 - v1_signature.len);
    if (!read_v1_fields(line, &h))
        return PROXY_PROTOCOL_BAD;
    *ret_header = h;
    return PROXY_PROTOCOL_YES;
}

/* --- version 2 --- */

static unsigned u16(const char *p)
{
    const unsigned char *b = (const unsigned char *)p;
    return (unsigned)(b[0] << 8 | b[1]);
}

/* RFC 3720 B.4, bit by bit: headers are short and rare. */
static uint32_t crc32c(uint32_t crc, struct str bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        crc ^= (unsigned char)bytes.ptr[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0x82f63b78u & (0u - (crc & 1)));
    }
    return crc;
}

/* The sum is over the whole header with zeros in its own place. */
static bool is_sum_right(struct str header, size_t at)
{
    static const struct str zeros = {"\0\0\0\0", 4};
    const unsigned char *b = (const unsigned char *)header.ptr + at;
    uint32_t want = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    uint32_t crc = crc32c(UINT32_MAX, str_sub(header, 0, at));
    crc = crc32c(crc, zeros);
    return ~crc32c(crc, str_skip(header, at + zeros.len)) == want;
}

/* Fields behind the addresses: each is whole, and none stands behind the last. */
static bool are_tlvs_right(struct str header, size_t at)
{
    while (at < header.len) {
        if (header.len - at < TLV_HEAD_LEN)
            return false;
        size_t len = u16(header.ptr + at + 1), value = at + TLV_HEAD_LEN;
        if (header.len - value < len)
            return false;
        if (header.ptr[at] == TLV_CRC32C && (len != 4 || !is_sum_right(header, value)))
            return false;
        at = value + len;
    }
    return true;
}

static size_t address_len(unsigned family)
{
    static const uint8_t lens[] = {0, 12, 36, 216}; /* none, IPv4, IPv6, unix */
    return family < ARRAY_LEN(lens) ? lens[family] : SIZE_MAX;
}

static void take_addresses(const char *p, size_t ip_bytes, struct proxy_protocol *h)
{
    h->source = ip_from_bytes(p, ip_bytes);
    h->destination = ip_from_bytes(p + ip_bytes, ip_bytes);
    h->source_port = (uint16_t)u16(p + 2 * ip_bytes);
    h->destination_port = (uint16_t)u16(p + 2 * ip_bytes + 2);
}

static enum proxy_protocol_read read_v2(struct str bytes, struct proxy_protocol *ret_header)
{
    enum { LOCAL = 0x20, PROXY = 0x21, UNSPECIFIED = 0, STREAM = 1 };
    struct proxy_protocol h = {.version = PROXY_PROTOCOL_V2};
    if (bytes.len < V2_HEAD_LEN)
        return PROXY_PROTOCOL_MORE;
    unsigned command = (unsigned char)bytes.ptr[12], family = (unsigned char)bytes.ptr[13] >> 4,
             transport = bytes.ptr[13] & 15;
    size_t address = address_len(family), rest = u16(bytes.ptr + 14);
    h.len = V2_HEAD_LEN + rest;
    bool is_local = command == LOCAL;
    bool is_known = (is_local || command == PROXY) && transport <= STREAM && address != SIZE_MAX &&
                    (is_local || (family == 0) == (transport == UNSPECIFIED));
    if (!is_known || h.len > PROXY_PROTOCOL_LEN_MAX || (!is_local && rest < address))
        return PROXY_PROTOCOL_BAD;
    if (bytes.len < h.len)
        return PROXY_PROTOCOL_MORE;
    /* LOCAL: a check of the balancer's own; what stands behind its head is to be skipped. */
    if (!is_local && !are_tlvs_right(str_sub(bytes, 0, h.len), V2_HEAD_LEN + address))
        return PROXY_PROTOCOL_BAD;
    if (!is_local && (family == 1 || family == 2))
        take_addresses(bytes.ptr + V2_HEAD_LEN, family == 1 ? 4 : 16, &h);
    *ret_header = h;
    return PROXY_PROTOCOL_YES;
}

/* --- either --- */

static bool may_begin(struct str bytes, struct str signature)
{
    return memcmp(bytes.ptr, signature.ptr, MIN(bytes.len, signature.len)) == 0;
}

enum proxy_protocol_read proxy_protocol_read(struct str bytes, struct proxy_protocol *ret_header)
{
    if (bytes.len == 0)
        return PROXY_PROTOCOL_MORE;
    bool is_v1 = may_begin(bytes, v1_signature), is_v2 = may_begin(bytes, v2_signature);
    if (!is_v1 && !is_v2)
        return PROXY_PROTOCOL_NONE;
    if (bytes.len < (is_v1 ? v1_signature.len : v2_signature.len))
        return PROXY_PROTOCOL_MORE;
    return is_v1 ? read_v1(bytes, ret_header) : read_v2(bytes, ret_header);
}

/* --- writing --- */

static bool is_of_one_family(const struct proxy_protocol *h)
{
    return h->source.family != IP_NONE && h->source.family == h->destination.family;
}

static size_t write_v1(const struct proxy_protocol *h, char *to)
{
    char source[IP_TEXT_MAX], destination[IP_TEXT_MAX];
    if (!is_of_one_family(h))
        return (size_t)(str_put(to, STR("PROXY UNKNOWN\r\n")) - to);
    int n = snprintf(to, PROXY_PROTOCOL_WRITTEN_MAX, "PROXY TCP%d %.*s %.*s %u %u\r\n",
                     h->source.family == IP_V4 ? 4 : 6, STR_FMT(ip_format(&h->source, source)),
                     STR_FMT(ip_format(&h->destination, destination)), h->source_port,
                     h->destination_port);
    return (size_t)n;
}

static char *put_u16(char *to, unsigned value)
{
    *to++ = (char)(value >> 8);
    *to++ = (char)value;
    return to;
}

static size_t write_v2(const struct proxy_protocol *h, char *to)
{
    enum { LOCAL = 0x20, PROXY = 0x21, TCP4 = 0x11, TCP6 = 0x21 };
    char *at = str_put(to, v2_signature);
    if (!is_of_one_family(h)) {
        *at++ = LOCAL;
        *at++ = 0;
        return (size_t)(put_u16(at, 0) - to);
    }
    bool is_v4 = h->source.family == IP_V4;
    size_t len = is_v4 ? 4 : 16;
    *at++ = PROXY;
    *at++ = is_v4 ? TCP4 : TCP6;
    at = put_u16(at, (unsigned)(2 * len + 4));
    at = str_put(at, str_from((const char *)h->source.bytes, len));
    at = str_put(at, str_from((const char *)h->destination.bytes, len));
    at = put_u16(at, h->source_port);
    return (size_t)(put_u16(at, h->destination_port) - to);
}

size_t proxy_protocol_write(const struct proxy_protocol *h, char buf[PROXY_PROTOCOL_WRITTEN_MAX])
{
    return h->version == PROXY_PROTOCOL_V1 ? write_v1(h, buf) : write_v2(h, buf);
}
