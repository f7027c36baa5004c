/* DNS messages (RFC 1035, EDNS0 by RFC 6891): reading queries, building answers, and checking that
 * a forwarded response belongs to its query.
 *
 * Strict and bounded: one question, names by RFC 1035's limits, no compression in questions, no
 * pointer is ever followed. Pure functions over the caller's buffers. */
#pragma once

#include "base/str.h"
#include "codec/ip.h"

enum {
    DNS_HEADER_LEN = 12,
    DNS_NAME_MAX = 254, /* text with dots, without the last one, and NUL */
    DNS_UDP_LEN_MIN = 512,
    DNS_UDP_LEN_MAX = 1232, /* what we send and offer by EDNS0: fits any path without fragments */
    DNS_TCP_LEN_MAX = 65535,
};

enum dns_type {
    DNS_TYPE_A = 1,
    DNS_TYPE_NS = 2,
    DNS_TYPE_CNAME = 5,
    DNS_TYPE_SOA = 6,
    DNS_TYPE_PTR = 12,
    DNS_TYPE_MX = 15,
    DNS_TYPE_TXT = 16,
    DNS_TYPE_AAAA = 28,
    DNS_TYPE_SRV = 33,
    DNS_TYPE_OPT = 41,
    DNS_TYPE_HTTPS = 65,
    DNS_TYPE_ANY = 255,
};

enum { DNS_CLASS_IN = 1 };

enum dns_rcode {
    DNS_NOERROR = 0,
    DNS_FORMERR = 1,
    DNS_SERVFAIL = 2,
    DNS_NXDOMAIN = 3,
    DNS_NOTIMP = 4,
    DNS_REFUSED = 5,
};

struct dns_query {
    uint16_t id;
    uint16_t type, class; /* as on the wire: any value */
    bool is_recursion_desired;
    bool has_edns;
    uint16_t udp_len_max;    /* what the asker takes over UDP: 512 without EDNS0; at least 512 */
    char name[DNS_NAME_MAX]; /* lower case, no trailing dot, "" is the root; NUL-terminated */
    uint16_t name_len;
    /* The question's bytes as they came (names keep their case, which some askers check), a view of
     * the packet. */
    struct str question;
};

/* Reads a query. 0; -ERR_PROTOCOL: not worth an answer (a response, shorter than a header);
 * -ERR_SYNTAX: answer FORMERR; -ERR_UNSUPPORTED: answer NOTIMP (opcode). For the latter two
 * ret_query has id, is_recursion_desired, and an empty question. Names with bytes that are not
 * letters, digits, '-' or '_' are -ERR_SYNTAX. */
int dns_query_parse(struct str packet, struct dns_query *ret_query);

struct str dns_query_name(const struct dns_query *q);

/* An answer with n addresses of the asked family (others are left out) for the question's name;
 * n == 0 with NOERROR is "no data". Over UDP (len_max from the query) answers that do not fit are
 * left out and TC is set. Returns the length; cap is at least DNS_UDP_LEN_MIN. */
struct dns_answer {
    enum dns_rcode rcode;
    bool is_authoritative;
    bool is_recursion_available;
    uint32_t ttl_s;
    const struct ip_addr *addrs;
    size_t addr_count;
};
size_t dns_answer_build(const struct dns_query *q, const struct dns_answer *answer, bool is_udp,
                        void *buf, size_t cap);

/* A query for the upstream resolver: as the asker's, with our id. Only for UDP and TCP payloads
 * that dns_query_parse took. Writes the two id bytes into the packet. */
void dns_set_id(void *packet, uint16_t id);
uint16_t dns_id(struct str packet);

/* Whether packet is a whole-looking response to q as it was asked with that id: header, QR bit, id,
 * one question with the same name (case ignored), type and class. */
bool dns_response_matches(struct str packet, const struct dns_query *q, uint16_t id);
bool dns_response_is_truncated(struct str packet);
enum dns_rcode dns_response_rcode(struct str packet);

/* A query of our own (for the resolver in io/): returns its length; 0 when the name is not valid.
 */
size_t dns_query_build(uint16_t id, struct str name, enum dns_type type, void *buf, size_t cap);

/* The addresses of A and AAAA records in the answer section of a response that matched, whatever
 * their owner name (chains of CNAME), at most max; *ret_ttl_s is the smallest TTL. -ERR_PROTOCOL on
 * a malformed message. */
int dns_response_addrs(struct str packet, struct ip_addr *addrs, size_t max, size_t *ret_count,
                       uint32_t *ret_ttl_s);
