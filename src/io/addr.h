/* Socket addresses by value: IPv4, IPv6, unix paths, without sockaddr in the rest of the code. */
#pragma once

#include "base/str.h"

struct sockaddr_storage;

enum addr_family { ADDR_NONE, ADDR_IP4, ADDR_IP6, ADDR_UNIX };

/* Small, for a connection has seven of them. */
struct addr {
    enum addr_family family : 16;
    uint16_t port;  /* host order */
    uint8_t ip[16]; /* network order; IPv4 uses the first 4; a unix socket's path: addr_path */
};
_Static_assert(sizeof(struct addr) == 20, "no gaps");

enum { ADDR_PATH_LEN_MAX = 107 };

#define ADDR_TEXT_LEN 128

/* "10.0.0.1", "::1", without port; IPv4-mapped IPv6 becomes IPv4. False when it is no address. */
bool addr_parse_ip(struct str s, uint16_t port, struct addr *ret_addr);
/* Makes it the unix socket at a path. Paths are kept for good, by the process, each once, up to
 * 1,024 of them: connections hold many addresses, and few are of unix sockets. False: too long, a
 * NUL byte in it, or too many. */
bool addr_set_path(struct addr *a, struct str path);
/* Of an ADDR_UNIX, NUL-terminated, at most ADDR_PATH_LEN_MAX bytes, kept for good; a leading '@'
 * means the abstract space, empty an unbound peer. Empty for another family. */
const char *addr_path(const struct addr *a);
/* "1.2.3.4:80", "[::1]:80", "unix:/path", "/path". */
bool addr_parse(struct str s, struct addr *ret_addr);
/* As Envoy writes it: "1.2.3.4:80", "[::1]:80", "/path"; NUL-terminated, returns buf as str. */
struct str addr_format(const struct addr *a, char buf[ADDR_TEXT_LEN]);
struct str addr_format_ip(const struct addr *a, char buf[ADDR_TEXT_LEN]);
bool addr_eq(const struct addr *a, const struct addr *b);
bool addr_eq_ip(const struct addr *a, const struct addr *b);
bool addr_is_loopback(const struct addr *a);
bool addr_is_any(const struct addr *a);
uint64_t addr_hash(const struct addr *a, uint64_t seed);

unsigned addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *ret_sa); /* its length */
bool addr_from_sockaddr(const struct sockaddr_storage *sa, unsigned len, struct addr *ret_addr);
