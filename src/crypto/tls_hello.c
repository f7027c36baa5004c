/* A look at a ClientHello (RFC 8446 4.1.2), bounded and without state: bytes in, names out. */
#include "crypto/tls.h"

enum {
    RECORD_HANDSHAKE = 22,
    HANDSHAKE_CLIENT_HELLO = 1,
    RECORD_HEADER_LEN = 5,
    RECORD_PAYLOAD_MAX = 16384,
    HELLO_LEN_MAX = 16384, /* of the message, however many records carry it */
    EXTENSION_SERVER_NAME = 0,
    EXTENSION_ALPN = 16,
    SNI_LEN_MAX = 255,
};

/* A cursor that turns false once and stays so. */
struct reader {
    struct str rest;
    bool is_ok;
};

static uint32_t take_number(struct reader *r, size_t bytes)
{
    uint32_t value = 0;
    if (r->rest.len < bytes) {
        r->is_ok = false;
        return 0;
    }
    for (size_t i = 0; i < bytes; i++)
        value = value << 8 | (uint8_t)r->rest.ptr[i];
    r->rest = str_skip(r->rest, bytes);
    return value;
}

static struct str take_bytes(struct reader *r, size_t len)
{
    if (!r->is_ok || r->rest.len < len) {
        r->is_ok = false;
        return STR_NULL;
    }
    struct str s = str_sub(r->rest, 0, len);
    r->rest = str_skip(r->rest, len);
    return s;
}

/* A vector whose length has `bytes` bytes. */
static struct str take_vector(struct reader *r, size_t bytes)
{
    return take_bytes(r, take_number(r, bytes));
}

/* RFC 6066 3: one name of type host_name. */
static bool parse_server_name(struct str body, struct arena *a, struct tls_hello *hello)
{
    struct reader r = {body, true};
    struct reader list = {take_vector(&r, 2), true};
    uint32_t type = take_number(&list, 1);
    struct str name = take_vector(&list, 2);
    if (!r.is_ok || r.rest.len > 0 || !list.is_ok || list.rest.len > 0)
        return false;
    if (type != 0 || name.len == 0 || name.len > SNI_LEN_MAX)
        return false;
    char *lower = arena_bytes(a, name.len);
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (c <= ' ' || c >= 0x7f)
            return false;
        lower[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    hello->sni = str_from(lower, name.len);
    return true;
}

/* RFC 7301 3.1; more names than there is room for are valid and left out. */
static bool parse_alpn(struct str body, struct arena *a, struct tls_hello *hello)
{
    struct reader r = {body, true};
    struct reader list = {take_vector(&r, 2), true};
    if (!r.is_ok || r.rest.len > 0 || list.rest.len == 0)
        return false;
    while (list.rest.len > 0) {
        struct str name = take_vector(&list, 1);
        if (!list.is_ok || name.len == 0)
            return false;
        if (hello->alpn_count < ARRAY_LEN(hello->alpn))
            hello->alpn[hello->alpn_count++] = arena_str(a, name);
    }
    return true;
}

static bool parse_extensions(struct str bytes, struct arena *a, struct tls_hello *hello)
{
    struct reader r = {bytes, true};
    bool has_name = false, has_alpn = false;
    while (r.rest.len > 0) {
        uint32_t type = take_number(&r, 2);
        struct str body = take_vector(&r, 2);
        if (!r.is_ok)
            return false;
        if (type == EXTENSION_SERVER_NAME) {
            if (has_name || !parse_server_name(body, a, hello))
                return false;
            has_name = true;
        } else if (type == EXTENSION_ALPN) {
            if (has_alpn || !parse_alpn(body, a, hello))
                return false;
            has_alpn = true;
        }
    }
    return true;
}

static bool parse_hello(struct str body, struct arena *a, struct tls_hello *hello)
{
    struct reader r = {body, true};
    uint32_t version = take_number(&r, 2);
    take_bytes(&r, 32);
    struct str session = take_vector(&r, 1);
    struct str ciphers = take_vector(&r, 2);
    struct str compressions = take_vector(&r, 1);
    if (!r.is_ok || version >> 8 != 3 || session.len > 32 || ciphers.len < 2 ||
        ciphers.len % 2 != 0 || compressions.len == 0)
        return false;
    if (r.rest.len == 0)
        return true; /* TLS 1.2 without extensions */
    struct str extensions = take_vector(&r, 2);
    return r.is_ok && r.rest.len == 0 && parse_extensions(extensions, a, hello);
}

/* Takes the next record's payload, or what there is of it. */
static enum tls_peek next_record(struct reader *r, struct str *ret_payload)
{
    struct str header = str_sub(r->rest, 0, RECORD_HEADER_LEN);
    const uint8_t *h = (const uint8_t *)header.ptr;
    if ((header.len > 0 && h[0] != RECORD_HANDSHAKE) || (header.len > 1 && h[1] != 3))
        return TLS_PEEK_NO;
    if (header.len < RECORD_HEADER_LEN)
        return TLS_PEEK_MORE;
    size_t len = (size_t)h[3] << 8 | h[4];
    if (len == 0 || len > RECORD_PAYLOAD_MAX)
        return TLS_PEEK_NO;
    r->rest = str_skip(r->rest, RECORD_HEADER_LEN);
    *ret_payload = str_sub(r->rest, 0, len);
    r->rest = str_skip(r->rest, len);
    return ret_payload->len == len ? TLS_PEEK_YES : TLS_PEEK_MORE;
}

/* The message's length with its header once that has come; 0: not yet. */
static size_t message_len(const uint8_t *m, size_t have)
{
    return have < 4 ? 0 : 4 + ((size_t)m[1] << 16 | (size_t)m[2] << 8 | m[3]);
}

enum tls_peek tls_peek_hello(struct str bytes, struct arena *a, struct tls_hello *ret_hello)
{
    struct reader r = {bytes, true};
    struct str_buf joined = STR_BUF_INIT(2 * (HELLO_LEN_MAX + RECORD_PAYLOAD_MAX));
    struct tls_hello hello = {0};
    enum tls_peek result;
    for (;;) {
        struct str payload = STR_NULL;
        result = next_record(&r, &payload);
        str_buf_add(&joined, payload);
        const uint8_t *m = (const uint8_t *)joined.ptr;
        size_t len = message_len(m, joined.len);
        if (result == TLS_PEEK_NO)
            break;
        if ((joined.len > 0 && m[0] != HANDSHAKE_CLIENT_HELLO) || len > HELLO_LEN_MAX) {
            result = TLS_PEEK_NO;
            break;
        }
        if (len > 0 && joined.len >= len) {
            bool is_ok = parse_hello(str_from(joined.ptr + 4, len - 4), a, &hello);
            result = is_ok ? TLS_PEEK_YES : TLS_PEEK_NO;
            break;
        }
        if (result == TLS_PEEK_MORE) {
            if (bytes.len >= TLS_PEEK_LEN_MAX)
                result = TLS_PEEK_NO;
            break;
        }
    }
    str_buf_deinit(&joined);
    if (result == TLS_PEEK_YES)
        *ret_hello = hello;
    return result;
}
