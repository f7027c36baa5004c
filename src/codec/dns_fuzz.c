/* Whatever query is read can be answered, and the answer belongs to it. */
#include <stdlib.h>

#include "base/err.h"
#include "codec/dns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_answer(const struct dns_query *q, bool is_udp)
{
    static const struct ip_addr addrs[] = {{IP_V4, {10, 0, 0, 1}}, {IP_V6, {0xfd, [15] = 1}}};
    struct dns_answer answer = {.ttl_s = 5, .addrs = addrs, .addr_count = ARRAY_LEN(addrs)};
    struct ip_addr got[2];
    char buf[DNS_UDP_LEN_MAX];
    uint32_t ttl_s;
    size_t n;

    struct str packet = str_from(buf, dns_answer_build(q, &answer, is_udp, buf, sizeof(buf)));
    ASSERT(packet.len <= sizeof(buf));
    ASSERT(dns_response_matches(packet, q, q->id) == (q->question.len > 0));
    ASSERT(dns_response_addrs(packet, got, 2, &n, &ttl_s) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str packet = str_from((const char *)data, size);
    struct ip_addr addrs[4];
    struct dns_query q;
    uint32_t ttl_s;
    size_t n;

    int err = dns_query_parse(packet, &q);
    if (err == 0)
        ASSERT(q.name_len < DNS_NAME_MAX && q.name[q.name_len] == '\0' && q.question.len > 0);
    if (err != -ERR_PROTOCOL) {
        check_answer(&q, true);
        check_answer(&q, false);
    }
    if (dns_response_addrs(packet, addrs, ARRAY_LEN(addrs), &n, &ttl_s) == 0)
        ASSERT(n <= ARRAY_LEN(addrs));
    dns_response_rcode(packet);
    dns_response_is_truncated(packet);
    return 0;
}
