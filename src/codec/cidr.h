/* CIDR prefixes (10.0.0.0/8, fd00::/8, or one address): parsing and matching.
 * Pure functions; a struct cidr is a plain value. See ip.h about mapped addresses. */
#pragma once

#include "codec/ip.h"

struct cidr {
    uint8_t addr[16]; /* host bits cleared */
    uint8_t prefix;   /* 0..32 or 0..128 */
    uint8_t family;   /* enum ip_family */
};

/* A bare address is a prefix of full length; host bits may be set and are cleared (Istio takes
 * them), *ret_had_host_bits (may be NULL) tells. A mapped prefix of 96 and more bits becomes IPv4.
 */
bool cidr_parse(struct str s, struct cidr *ret_cidr, bool *ret_had_host_bits);
bool cidr_match(const struct cidr *c, const struct ip_addr *addr);
bool cidr_contains(const struct cidr *outer, const struct cidr *inner);
enum { CIDR_TEXT_MAX = 50 };
struct str cidr_format(const struct cidr *c, char buf[CIDR_TEXT_MAX]);
struct cidr cidr_from(const struct ip_addr *addr, unsigned prefix);
