/* The frames of HTTP/2 (RFC 9113 4, 6): their head, their numbers.
 *
 * Pure. */
#pragma once

#include "base/str.h"

enum {
    H2_FRAME_HEAD = 9,
    H2_FRAME_LEN_MAX = 16384, /* SETTINGS_MAX_FRAME_SIZE, ours: the default */
    H2_FRAME_LEN_TOP = (1 << 24) - 1,
    H2_WINDOW_DEFAULT = 65535,
    H2_WINDOW_MAX = INT32_MAX,
    H2_SETTING_LEN = 6,
    H2_PRIORITY_LEN = 5,
    H2_PING_LEN = 8,
};

/* Others are ignored. */
enum h2_frame_type {
    H2_DATA,
    H2_HEADERS,
    H2_PRIORITY,
    H2_RST_STREAM,
    H2_SETTINGS,
    H2_PUSH_PROMISE,
    H2_PING,
    H2_GOAWAY,
    H2_WINDOW_UPDATE,
    H2_CONTINUATION,
};

enum h2_flag {
    H2_FLAG_END_STREAM = 0x1,
    H2_FLAG_ACK = 0x1,
    H2_FLAG_END_HEADERS = 0x4,
    H2_FLAG_PADDED = 0x8,
    H2_FLAG_PRIORITY = 0x20,
};

enum h2_error {
    H2_NO_ERROR,
    H2_PROTOCOL_ERROR,
    H2_INTERNAL_ERROR,
    H2_FLOW_CONTROL_ERROR,
    H2_SETTINGS_TIMEOUT,
    H2_STREAM_CLOSED,
    H2_FRAME_SIZE_ERROR,
    H2_REFUSED_STREAM,
    H2_CANCEL,
    H2_COMPRESSION_ERROR,
    H2_CONNECT_ERROR,
    H2_ENHANCE_YOUR_CALM,
};

enum h2_setting {
    H2_SETTING_HEADER_TABLE_SIZE = 1,
    H2_SETTING_ENABLE_PUSH = 2,
    H2_SETTING_MAX_CONCURRENT_STREAMS = 3,
    H2_SETTING_INITIAL_WINDOW_SIZE = 4,
    H2_SETTING_MAX_FRAME_SIZE = 5,
    H2_SETTING_MAX_HEADER_LIST_SIZE = 6,
    H2_SETTING_ENABLE_CONNECT_PROTOCOL = 8, /* RFC 8441 */
};

struct h2_frame {
    uint32_t len; /* of the payload */
    uint8_t type, flags;
    uint32_t id; /* 0: the connection */
};

static inline uint32_t h2_get_u32(const char *from)
{
    const uint8_t *b = (const uint8_t *)from;

    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static inline char *h2_put_u32(char *to, uint32_t value)
{
    value = __builtin_bswap32(value);
    memcpy(to, &value, sizeof(value));
    return to + sizeof(value);
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "h2_put_u32 swaps");

/* The reserved bit is ignored (RFC 9113 4.1). */
static inline struct h2_frame h2_frame_parse(const char head[H2_FRAME_HEAD])
{
    return (struct h2_frame){.len = h2_get_u32(head) >> 8,
                             .type = (uint8_t)head[3],
                             .flags = (uint8_t)head[4],
                             .id = h2_get_u32(head + 5) & 0x7fffffff};
}

/* Returns where the payload begins. */
static inline char *h2_frame_put(char *to, const struct h2_frame *f)
{
    h2_put_u32(to, f->len << 8 | f->type);
    to[4] = (char)f->flags;
    return h2_put_u32(to + 5, f->id);
}
