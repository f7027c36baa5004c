#include "codec/dns.h"

#include "base/err.h"

enum {
    FLAG_RESPONSE = 0x8000,
    FLAG_OPCODE = 0x7800,
    FLAG_AUTHORITATIVE = 0x0400,
    FLAG_TRUNCATED = 0x0200,
    FLAG_RECURSION_DESIRED = 0x0100,
    FLAG_RECURSION_AVAILABLE = 0x0080,
    LABEL_MAX = 63,
    NAME_WIRE_MAX = 255,
    RECORD_FIXED_LEN = 10, /* type, class, TTL, length of data */
    ADDITIONAL_MAX = 4,
    OPT_LEN = 11,
    POINTER_TO_QUESTION = 0xc00c,
};

/* A cursor over a message; the first read behind the end marks it. */
struct reader {
    struct str left;
    bool is_short;
};

static unsigned take_u8(struct reader *r)
{
    unsigned value;

    if (r->left.len == 0) {
        r->is_short = true;
        return 0;
    }
    value = (unsigned char)r->left.ptr[0];
    r->left = str_skip(r->left, 1);
    return value;
}

static unsigned take_u16(struct reader *r)
{
    unsigned high = take_u8(r);

    return high << 8 | take_u8(r);
}

static struct str take_bytes(struct reader *r, size_t len)
{
    struct str bytes = str_sub(r->left, 0, len);

    r->is_short |= bytes.len < len;
    r->left = str_skip(r->left, len);
    return bytes;
}

static unsigned header_u16(struct str packet, size_t i)
{
    return (unsigned)((unsigned char)packet.ptr[2 * i] << 8 | (unsigned char)packet.ptr[2 * i + 1]);
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool is_name_byte(char c)
{
    c = lower(c);
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* RFC 1035 3.1, without compression: lower case text into name. */
static bool take_name(struct reader *r, char name[DNS_NAME_MAX], uint16_t *ret_len)
{
    size_t len = 0;

    for (;;) {
        unsigned label_len = take_u8(r);

        if (r->is_short || label_len > LABEL_MAX)
            return false;
        if (label_len == 0)
            break;
        struct str label = take_bytes(r, label_len);
        if (r->is_short || len + label_len + 1 >= DNS_NAME_MAX)
            return false;
        if (len > 0)
            name[len++] = '.';
        for (size_t i = 0; i < label.len; i++) {
            if (!is_name_byte(label.ptr[i]))
                return false;
            name[len++] = lower(label.ptr[i]);
        }
    }
    name[len] = '\0';
    *ret_len = (uint16_t)len;
    return true;
}

/* A record's owner name, which may end in a pointer; never followed. */
static bool skip_name(struct reader *r)
{
    for (size_t len = 0; len < NAME_WIRE_MAX;) {
        unsigned label_len = take_u8(r);

        if (r->is_short)
            return false;
        if (label_len == 0)
            return true;
        if (label_len >= 0xc0) {
            take_u8(r);
            return !r->is_short;
        }
        if (label_len > LABEL_MAX)
            return false;
        take_bytes(r, label_len);
        len += label_len + 1;
    }
    return false;
}

struct record {
    unsigned type, class;
    uint32_t ttl;
    struct str data;
};

static bool take_record(struct reader *r, struct record *ret_record)
{
    if (!skip_name(r))
        return false;
    ret_record->type = take_u16(r);
    ret_record->class = take_u16(r);
    ret_record->ttl = take_u16(r) << 16;
    ret_record->ttl |= take_u16(r);
    ret_record->data = take_bytes(r, take_u16(r));
    return !r->is_short;
}

/* RFC 6891 6.1.1: at most one OPT; its class is the payload that the asker takes. */
static int take_additional(struct reader *r, unsigned count, struct dns_query *q)
{
    struct record record;

    if (count > ADDITIONAL_MAX)
        return -ERR_SYNTAX;
    for (unsigned i = 0; i < count; i++) {
        if (!take_record(r, &record))
            return -ERR_SYNTAX;
        if (record.type != DNS_TYPE_OPT)
            continue;
        if (q->has_edns || (record.ttl >> 16 & 0xff) != 0)
            return -ERR_SYNTAX;
        q->has_edns = true;
        q->udp_len_max = (uint16_t)MAX(record.class, (unsigned)DNS_UDP_LEN_MIN);
    }
    return r->left.len == 0 ? 0 : -ERR_SYNTAX;
}

static int take_question(struct reader *r, struct dns_query *q)
{
    const char *from = r->left.ptr;

    if (!take_name(r, q->name, &q->name_len))
        return -ERR_SYNTAX;
    q->type = (uint16_t)take_u16(r);
    q->class = (uint16_t)take_u16(r);
    if (r->is_short)
        return -ERR_SYNTAX;
    q->question = str_from(from, (size_t)(r->left.ptr - from));
    return 0;
}

int dns_query_parse(struct str packet, struct dns_query *ret_query)
{
    struct dns_query q = {.udp_len_max = DNS_UDP_LEN_MIN};
    struct reader r = {.left = str_skip(packet, DNS_HEADER_LEN)};
    int err;

    if (packet.len < DNS_HEADER_LEN || (header_u16(packet, 1) & FLAG_RESPONSE) != 0)
        return -ERR_PROTOCOL;
    q.id = (uint16_t)header_u16(packet, 0);
    q.is_recursion_desired = (header_u16(packet, 1) & FLAG_RECURSION_DESIRED) != 0;
    *ret_query = q;
    if ((header_u16(packet, 1) & FLAG_OPCODE) != 0)
        return -ERR_UNSUPPORTED;
    if (header_u16(packet, 2) != 1 || header_u16(packet, 3) != 0 || header_u16(packet, 4) != 0)
        return -ERR_SYNTAX;
    err = take_question(&r, &q);
    if (err == 0)
        err = take_additional(&r, header_u16(packet, 5), &q);
    if (err == 0)
        *ret_query = q;
    return err;
}

struct str dns_query_name(const struct dns_query *q)
{
    return str_from(q->name, q->name_len);
}

static char *put_u16(char *at, unsigned value)
{
    at[0] = (char)(value >> 8);
    at[1] = (char)value;
    return at + 2;
}

static char *put_u32(char *at, uint32_t value)
{
    return put_u16(put_u16(at, value >> 16), value & 0xffff);
}

static char *put_opt(char *at)
{
    *at++ = 0; /* the root */
    at = put_u16(at, DNS_TYPE_OPT);
    at = put_u16(at, DNS_UDP_LEN_MAX);
    at = put_u32(at, 0);
    return put_u16(at, 0);
}

static char *put_addr(char *at, const struct ip_addr *addr, uint32_t ttl_s)
{
    unsigned len = ip_len(addr);

    at = put_u16(at, POINTER_TO_QUESTION);
    at = put_u16(at, addr->family == IP_V4 ? DNS_TYPE_A : DNS_TYPE_AAAA);
    at = put_u16(at, DNS_CLASS_IN);
    at = put_u32(at, ttl_s);
    at = put_u16(at, len);
    memcpy(at, addr->bytes, len);
    return at + len;
}

static bool is_asked(const struct dns_query *q, const struct ip_addr *addr)
{
    if (q->class != DNS_CLASS_IN)
        return false;
    if (addr->family == IP_V4)
        return q->type == DNS_TYPE_A || q->type == DNS_TYPE_ANY;
    return addr->family == IP_V6 && (q->type == DNS_TYPE_AAAA || q->type == DNS_TYPE_ANY);
}

static unsigned answer_flags(const struct dns_query *q, const struct dns_answer *answer)
{
    unsigned flags = FLAG_RESPONSE | (unsigned)answer->rcode;

    flags |= answer->is_authoritative ? (unsigned)FLAG_AUTHORITATIVE : 0;
    flags |= answer->is_recursion_available ? (unsigned)FLAG_RECURSION_AVAILABLE : 0;
    flags |= q->is_recursion_desired ? (unsigned)FLAG_RECURSION_DESIRED : 0;
    return flags;
}

static size_t room_for(const struct dns_query *q, bool is_udp, size_t cap)
{
    size_t len_max = DNS_TCP_LEN_MAX;

    if (is_udp)
        len_max = MIN((size_t)q->udp_len_max, (size_t)DNS_UDP_LEN_MAX);
    return MIN(len_max, cap);
}

size_t dns_answer_build(const struct dns_query *q, const struct dns_answer *answer, bool is_udp,
                        void *buf, size_t cap)
{
    char *start = buf, *at = start + DNS_HEADER_LEN;
    unsigned flags = answer_flags(q, answer), count = 0;

    ASSERT(cap >= DNS_UDP_LEN_MIN);
    char *end = start + room_for(q, is_udp, cap) - (q->has_edns ? OPT_LEN : 0);
    if (q->question.len > 0) /* a question that was parsed fits into 512 bytes */
        memcpy(at, q->question.ptr, q->question.len);
    at += q->question.len;
    for (size_t i = 0; i < answer->addr_count; i++) {
        const struct ip_addr *addr = &answer->addrs[i];

        if (!is_asked(q, addr))
            continue;
        if (end - at < 2 + RECORD_FIXED_LEN + (ptrdiff_t)ip_len(addr)) {
            flags |= FLAG_TRUNCATED;
            break;
        }
        at = put_addr(at, addr, answer->ttl_s);
        count++;
    }
    if (q->has_edns)
        at = put_opt(at);
    char *head = put_u16(put_u16(start, q->id), flags);
    head = put_u16(put_u16(head, q->question.len > 0), count);
    put_u16(put_u16(head, 0), q->has_edns);
    return (size_t)(at - start);
}

void dns_set_id(void *packet, uint16_t id)
{
    put_u16(packet, id);
}

uint16_t dns_id(struct str packet)
{
    return packet.len < 2 ? 0 : (uint16_t)header_u16(packet, 0);
}

bool dns_response_matches(struct str packet, const struct dns_query *q, uint16_t id)
{
    size_t name_len = q->question.len - MIN(q->question.len, (size_t)4);
    struct str got = str_sub(packet, DNS_HEADER_LEN, q->question.len);

    if (packet.len < DNS_HEADER_LEN || q->question.len == 0 || got.len != q->question.len)
        return false;
    if (header_u16(packet, 0) != id || header_u16(packet, 2) != 1 ||
        (header_u16(packet, 1) & (FLAG_RESPONSE | FLAG_OPCODE)) != FLAG_RESPONSE)
        return false;
    /* Lengths of labels are below 'A', so folding case over the whole name leaves them alone. */
    return str_eq_nocase(str_sub(got, 0, name_len), str_sub(q->question, 0, name_len)) &&
           str_eq(str_skip(got, name_len), str_skip(q->question, name_len));
}

bool dns_response_is_truncated(struct str packet)
{
    return packet.len >= DNS_HEADER_LEN && (header_u16(packet, 1) & FLAG_TRUNCATED) != 0;
}

enum dns_rcode dns_response_rcode(struct str packet)
{
    return packet.len < DNS_HEADER_LEN ? DNS_SERVFAIL
                                       : (enum dns_rcode)(header_u16(packet, 1) & 15);
}

/* Labels of a name in text form, without compression; NULL when it is not valid. */
static char *put_name(char *at, struct str name)
{
    if (str_ends_with(name, STR(".")))
        name.len--;
    if (name.len == 0 || name.len >= DNS_NAME_MAX)
        return NULL;
    while (name.ptr != NULL) {
        struct str label = str_split(&name, '.');

        if (label.len == 0 || label.len > LABEL_MAX)
            return NULL;
        *at++ = (char)label.len;
        for (size_t i = 0; i < label.len; i++) {
            if (!is_name_byte(label.ptr[i]))
                return NULL;
            *at++ = label.ptr[i];
        }
    }
    *at++ = 0;
    return at;
}

size_t dns_query_build(uint16_t id, struct str name, enum dns_type type, void *buf, size_t cap)
{
    char *start = buf, *at;

    ASSERT(cap >= DNS_UDP_LEN_MIN);
    at = put_u16(put_u16(start, id), FLAG_RECURSION_DESIRED);
    at = put_u16(put_u16(at, 1), 0);
    at = put_u16(put_u16(at, 0), 1);
    at = put_name(at, name);
    if (at == NULL)
        return 0;
    at = put_u16(put_u16(at, type), DNS_CLASS_IN);
    return (size_t)(put_opt(at) - start);
}

static bool is_addr_record(const struct record *record)
{
    if (record->class != DNS_CLASS_IN)
        return false;
    return (record->type == DNS_TYPE_A && record->data.len == 4) ||
           (record->type == DNS_TYPE_AAAA && record->data.len == 16);
}

int dns_response_addrs(struct str packet, struct ip_addr *addrs, size_t max, size_t *ret_count,
                       uint32_t *ret_ttl_s)
{
    struct reader r = {.left = str_skip(packet, DNS_HEADER_LEN)};
    uint32_t ttl_s = UINT32_MAX;
    struct record record;
    size_t count = 0;

    if (packet.len < DNS_HEADER_LEN)
        return -ERR_PROTOCOL;
    for (unsigned i = header_u16(packet, 2); i > 0; i--) {
        if (!skip_name(&r))
            return -ERR_PROTOCOL;
        take_bytes(&r, 4);
        if (r.is_short)
            return -ERR_PROTOCOL;
    }
    for (unsigned i = header_u16(packet, 3); i > 0; i--) {
        if (!take_record(&r, &record))
            return -ERR_PROTOCOL;
        if (!is_addr_record(&record) && record.type != DNS_TYPE_CNAME)
            continue;
        ttl_s = MIN(ttl_s, record.ttl);
        if (is_addr_record(&record) && count < max)
            addrs[count++] = ip_from_bytes(record.data.ptr, record.data.len);
    }
    *ret_count = count;
    *ret_ttl_s = count > 0 ? ttl_s : 0;
    return 0;
}
