#include "codec/cidr.h"

#include <stdio.h>

static unsigned bits_of(uint8_t family)
{
    return family == IP_V4 ? 32 : 128;
}

struct cidr cidr_from(const struct ip_addr *addr, unsigned prefix)
{
    struct cidr c = {.family = addr->family, .prefix = (uint8_t)prefix};

    ASSERT(prefix <= bits_of(addr->family));
    memcpy(c.addr, addr->bytes, ip_len(addr));
    for (unsigned i = 0; i < 16; i++) {
        unsigned keep = prefix > i * 8 ? MIN(prefix - i * 8, 8U) : 0;

        c.addr[i] = (uint8_t)(c.addr[i] & (0xff00U >> keep));
    }
    return c;
}

bool cidr_parse(struct str s, struct cidr *ret_cidr, bool *ret_had_host_bits)
{
    struct str addr_text = str_split(&s, '/');
    bool is_v6_text = str_find(addr_text, ':') >= 0;
    struct ip_addr addr;
    uint64_t prefix = is_v6_text ? 128 : 32;

    if (!ip_parse(addr_text, &addr))
        return false;
    if (s.ptr != NULL) {
        uint64_t max = prefix;

        if (s.len > 3 || (s.len > 1 && s.ptr[0] == '0') || !str_to_u64(s, max, &prefix))
            return false;
    }
    if (is_v6_text && addr.family == IP_V4) { /* mapped */
        if (prefix < 96)
            return false; /* would span both families */
        prefix -= 96;
    }
    *ret_cidr = cidr_from(&addr, (unsigned)prefix);
    if (ret_had_host_bits != NULL)
        *ret_had_host_bits = memcmp(ret_cidr->addr, addr.bytes, sizeof(addr.bytes)) != 0;
    return true;
}

static bool is_prefix_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;

    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

bool cidr_match(const struct cidr *c, const struct ip_addr *addr)
{
    return c->family == addr->family && c->family != IP_NONE &&
           is_prefix_equal(c->addr, addr->bytes, c->prefix);
}

bool cidr_contains(const struct cidr *outer, const struct cidr *inner)
{
    return outer->family == inner->family && outer->prefix <= inner->prefix &&
           is_prefix_equal(outer->addr, inner->addr, outer->prefix);
}

struct str cidr_format(const struct cidr *c, char buf[CIDR_TEXT_MAX])
{
    struct ip_addr addr = {.family = c->family};
    size_t len;

    memcpy(addr.bytes, c->addr, sizeof(addr.bytes));
    len = ip_format(&addr, buf).len;
    len += (size_t)snprintf(buf + len, CIDR_TEXT_MAX - len, "/%u", c->prefix);
    return str_from(buf, len);
}
