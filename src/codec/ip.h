/* IP addresses and prefixes as values of our own: text form in and out, matching.
 *
 * IPv4 mapped into IPv6 (::ffff:a.b.c.d) is IPv4 everywhere, so that an address has one form.
 * Pure functions; all structs are plain values. */
#pragma once

#include "base/str.h"

enum ip_family { IP_NONE = 0, IP_V4 = 4, IP_V6 = 6 };

struct ip_addr {
    uint8_t family;    /* enum ip_family */
    uint8_t bytes[16]; /* network order; IPv4 in the first four, the rest zero */
};

enum { IP_TEXT_MAX = 46 }; /* with NUL */

/* Strict: no leading zeros, no zone, no brackets, nothing around. */
bool ip_parse(struct str s, struct ip_addr *ret_addr);
/* RFC 5952; buf is NUL-terminated; returns the text as a view of it. */
struct str ip_format(const struct ip_addr *addr, char buf[IP_TEXT_MAX]);

bool ip_eq(const struct ip_addr *a, const struct ip_addr *b);
int ip_cmp(const struct ip_addr *a, const struct ip_addr *b);
uint64_t ip_hash(const struct ip_addr *addr, uint64_t seed);
bool ip_is_loopback(const struct ip_addr *addr);
bool ip_is_unspecified(const struct ip_addr *addr);
static inline unsigned ip_len(const struct ip_addr *addr) /* bytes that count: 4, 16 or 0 */
{
    return addr->family == IP_V4 ? 4 : addr->family == IP_V6 ? 16 : 0;
}
struct ip_addr ip_v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d);
/* From 4 or 16 bytes in network order; a mapped one becomes IPv4. */
struct ip_addr ip_from_bytes(const void *bytes, size_t len);

/* "1.2.3.4:80", "[::1]:80"; the port is needed. */
bool ip_port_parse(struct str s, struct ip_addr *ret_addr, uint16_t *ret_port);
enum { IP_PORT_TEXT_MAX = 54 };
struct str ip_port_format(const struct ip_addr *addr, uint16_t port, char buf[IP_PORT_TEXT_MAX]);
