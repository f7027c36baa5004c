/* Both messages: a mark, numbers of fixed width in the machine's own order, texts with their
 * length.
 */
#include "control/ca/signer_wire.h"

#include "base/err.h"

enum {
    MARK_REQUEST = 0x31515354, /* "TSQ1" */
    MARK_REPLY = 0x31525354,   /* "TSR1" */
    DNS_LEN_MAX = 255,
    WHY_LEN_MAX = 4096,
    FLAG_ENCRYPTED = 1,
    FLAG_CONVERTED = 2,
};

static void put_u32(struct str_buf *to, uint32_t value)
{
    str_buf_add(to, str_from((const char *)&value, sizeof value));
}

static void put_u64(struct str_buf *to, uint64_t value)
{
    str_buf_add(to, str_from((const char *)&value, sizeof value));
}

static void put_text(struct str_buf *to, struct str text)
{
    put_u32(to, (uint32_t)text.len);
    str_buf_add(to, text);
}

/* What is left of a message; once something was wrong, all that follows is, too. */
struct reader {
    struct str rest;
    bool is_bad;
};

static void take(struct reader *r, void *to, size_t len)
{
    if (r->rest.len < len) {
        r->is_bad = true;
        memset(to, 0, len);
        return;
    }
    memcpy(to, r->rest.ptr, len);
    r->rest = str_skip(r->rest, len);
}

static uint32_t take_u32(struct reader *r, uint32_t max)
{
    uint32_t value;
    take(r, &value, sizeof value);
    r->is_bad = r->is_bad || value > max;
    return r->is_bad ? 0 : value;
}

static uint64_t take_u64(struct reader *r)
{
    uint64_t value;
    take(r, &value, sizeof value);
    return value;
}

static struct str take_text(struct reader *r, uint32_t len_max)
{
    uint32_t len = take_u32(r, len_max);
    if (r->rest.len < len)
        r->is_bad = true;
    if (r->is_bad)
        return STR_NULL;
    struct str text = str_sub(r->rest, 0, len);
    r->rest = str_skip(r->rest, len);
    return text;
}

static bool is_whole(const struct reader *r)
{
    return !r->is_bad && r->rest.len == 0;
}

void signer_wire_put_request(struct str_buf *to, uint32_t number, const struct ca_signer_request *r)
{
    put_u32(to, MARK_REQUEST);
    put_u32(to, number);
    put_u32(to, (uint32_t)r->verb);
    put_u32(to, (uint32_t)r->slot);
    put_u32(to, r->index);
    put_u32(to, (uint32_t)r->dns_count);
    put_u64(to, r->now_s);
    put_u64(to, r->not_before_s);
    put_u64(to, r->not_after_s);
    put_text(to, r->text);
    put_text(to, r->name);
    for (size_t i = 0; i < r->dns_count; i++)
        put_text(to, r->dns[i]);
}

int signer_wire_get_request(struct str bytes, uint32_t *ret_number,
                            struct ca_signer_request *ret_request)
{
    struct reader in = {bytes, bytes.len > SIGNER_WIRE_MAX};
    struct ca_signer_request r = {0};
    in.is_bad = in.is_bad || take_u32(&in, UINT32_MAX) != MARK_REQUEST;
    uint32_t number = take_u32(&in, UINT32_MAX);
    r.verb = (enum ca_signer_verb)take_u32(&in, CA_SIGNER_VERB_COUNT - 1);
    r.slot = (enum ca_slot)take_u32(&in, CA_SLOT_COUNT - 1);
    r.index = take_u32(&in, UINT32_MAX);
    r.dns_count = take_u32(&in, CA_SIGNER_DNS_MAX);
    r.now_s = take_u64(&in);
    r.not_before_s = take_u64(&in);
    r.not_after_s = take_u64(&in);
    r.text = take_text(&in, CA_SIGNER_TEXT_MAX);
    r.name = take_text(&in, CA_SIGNER_NAME_MAX);
    for (size_t i = 0; i < r.dns_count; i++)
        r.dns[i] = take_text(&in, DNS_LEN_MAX);
    if (!is_whole(&in))
        return -ERR_PROTOCOL;
    *ret_number = number;
    *ret_request = r;
    return 0;
}

void signer_wire_put_reply(struct str_buf *to, uint32_t number, int err,
                           const struct ca_signer_reply *r)
{
    put_u32(to, MARK_REPLY);
    put_u32(to, number);
    put_u32(to, (uint32_t)-err);
    put_u32(to, (r->is_encrypted ? FLAG_ENCRYPTED : 0u) | (r->is_converted ? FLAG_CONVERTED : 0u));
    put_text(to, r->text);
    put_text(to, str_sub(r->why, 0, WHY_LEN_MAX));
}

int signer_wire_get_reply(struct str bytes, uint32_t *ret_number, int *ret_err,
                          struct ca_signer_reply *ret_reply)
{
    struct reader in = {bytes, bytes.len > SIGNER_WIRE_MAX};
    struct ca_signer_reply r = {0};
    in.is_bad = in.is_bad || take_u32(&in, UINT32_MAX) != MARK_REPLY;
    uint32_t number = take_u32(&in, UINT32_MAX);
    uint32_t err = take_u32(&in, ERR_COUNT - 1);
    uint32_t flags = take_u32(&in, FLAG_ENCRYPTED | FLAG_CONVERTED);
    r.is_encrypted = (flags & FLAG_ENCRYPTED) != 0;
    r.is_converted = (flags & FLAG_CONVERTED) != 0;
    r.text = take_text(&in, CA_SIGNER_TEXT_MAX);
    r.why = take_text(&in, WHY_LEN_MAX);
    if (!is_whole(&in))
        return -ERR_PROTOCOL;
    *ret_number = number;
    *ret_err = -(int)err;
    *ret_reply = r;
    return 0;
}
