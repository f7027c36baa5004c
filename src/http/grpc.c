#include "http/grpc.h"

#include "base/err.h"

enum { PREFIX_LEN = 5 };

/* As gRPC's own mapping for a reply that says nothing of gRPC (doc/http-grpc-status-mapping.md). */
enum grpc_status grpc_status_from_http(unsigned http_status)
{
    switch (http_status) {
    case 200:
        return GRPC_OK;
    case 400:
        return GRPC_INTERNAL;
    case 401:
        return GRPC_UNAUTHENTICATED;
    case 403:
        return GRPC_PERMISSION_DENIED;
    case 404:
        return GRPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return GRPC_UNAVAILABLE;
    default:
        return GRPC_UNKNOWN;
    }
}

int grpc_status_of(const struct http_head *head, const struct http_head *trailers)
{
    struct str text = STR_NULL;
    uint64_t status;

    if (trailers != NULL)
        text = http_head_get(trailers, HTTP_NAME_GRPC_STATUS);
    if (str_is_empty(text) && head != NULL)
        text = http_head_get(head, HTTP_NAME_GRPC_STATUS);
    if (str_is_empty(text))
        return -1;
    /* A status that nobody knows is UNKNOWN. */
    return str_to_u64(text, GRPC_UNAUTHENTICATED, &status) ? (int)status : GRPC_UNKNOWN;
}

void grpc_frame_begin(struct chain *out, size_t message_len)
{
    uint32_t len = (uint32_t)message_len;
    char prefix[PREFIX_LEN] = {0, (char)(len >> 24), (char)(len >> 16), (char)(len >> 8),
                               (char)len};

    ASSERT(message_len <= UINT32_MAX);
    chain_add(out, str_from(prefix, sizeof(prefix)));
}

void grpc_frame(struct chain *out, struct str message)
{
    grpc_frame_begin(out, message.len);
    chain_add(out, message);
}

/* 1: *ret_len is that of the message behind the prefix, which stays in front. */
static int peek_prefix(const struct chain *in, size_t message_bytes_max, size_t *ret_len)
{
    uint8_t prefix[PREFIX_LEN];

    if (chain_peek(in, 0, prefix, sizeof(prefix)) < sizeof(prefix))
        return 0;
    if (prefix[0] == 1)
        return -ERR_UNSUPPORTED;
    if (prefix[0] != 0)
        return -ERR_PROTOCOL;
    size_t len =
        (size_t)prefix[1] << 24 | (size_t)prefix[2] << 16 | (size_t)prefix[3] << 8 | prefix[4];
    if (len > message_bytes_max)
        return -ERR_TOO_LARGE;
    *ret_len = len;
    return 1;
}

int grpc_deframe(struct chain *in, size_t message_bytes_max, struct str_buf *buf)
{
    size_t len = 0;
    int n = peek_prefix(in, message_bytes_max, &len);

    if (n <= 0 || in->len < PREFIX_LEN + len)
        return MIN(n, 0);
    str_buf_reset(buf);
    char *to = str_buf_reserve(buf, len);
    if (to == NULL)
        return -ERR_TOO_LARGE;
    chain_skip(in, PREFIX_LEN);
    chain_peek(in, 0, to, len);
    chain_skip(in, len);
    str_buf_grow(buf, len);
    return 1;
}

int grpc_deframe_part(struct chain *in, size_t message_bytes_max, struct grpc_part *part)
{
    if (!part->is_open) {
        int n = peek_prefix(in, message_bytes_max, &part->left);
        if (n <= 0)
            return n;
        chain_skip(in, PREFIX_LEN);
        str_buf_reset(part->message);
        part->is_open = true;
        if (str_buf_reserve(part->message, part->left) == NULL)
            return -ERR_TOO_LARGE;
    }
    size_t len = MIN(part->left, in->len);
    chain_peek(in, 0, str_buf_reserve(part->message, len), len);
    chain_skip(in, len);
    str_buf_grow(part->message, len);
    part->left -= len;
    part->is_open = part->left > 0;
    return part->is_open ? 0 : 1;
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c <= 0x7e && c != '%';
}

struct str grpc_message_encode(struct str text, struct arena *a)
{
    static const char hex[] = "0123456789ABCDEF";
    char *out = arena_bytes(a, text.len * 3 + 1);
    size_t n = 0;

    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];

        if (is_plain(c)) {
            out[n++] = (char)c;
        } else {
            out[n++] = '%';
            out[n++] = hex[c >> 4];
            out[n++] = hex[c & 15];
        }
    }
    return str_from(out, n);
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Lenient, as the specification asks: what is no escape stays as it is. */
struct str grpc_message_decode(struct str text, struct arena *a)
{
    char *out = arena_bytes(a, text.len + 1);
    size_t n = 0;

    for (size_t i = 0; i < text.len; i++) {
        int high = -1, low = -1;

        if (text.ptr[i] == '%' && text.len - i > 2) {
            high = hex_value(text.ptr[i + 1]);
            low = hex_value(text.ptr[i + 2]);
        }
        if (high >= 0 && low >= 0) {
            out[n++] = (char)(high << 4 | low);
            i += 2;
        } else {
            out[n++] = text.ptr[i];
        }
    }
    return str_from(out, n);
}
