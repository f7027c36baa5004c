#include "codec/base64.h"

#include "base/err.h"

static const char alphabets[2][65] = {
    [BASE64_STD] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    [BASE64_URL] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
};

void base64_encode(struct str_buf *out, enum base64_kind kind, struct str bytes)
{
    const char *alphabet = alphabets[kind];
    const unsigned char *p = (const unsigned char *)bytes.ptr;

    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t n = MIN(bytes.len - i, (size_t)3);
        unsigned bits = (unsigned)p[i] << 16;

        bits |= n > 1 ? (unsigned)p[i + 1] << 8 : 0;
        bits |= n > 2 ? p[i + 2] : 0;
        char four[4] = {alphabet[bits >> 18], alphabet[bits >> 12 & 63], alphabet[bits >> 6 & 63],
                        alphabet[bits & 63]};
        str_buf_add(out, str_from(four, n + 1));
        if (kind == BASE64_STD)
            str_buf_add(out, str_sub(STR("=="), 0, 3 - n));
    }
}

static int digit_of(enum base64_kind kind, char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == alphabets[kind][62])
        return 62;
    return c == alphabets[kind][63] ? 63 : -1;
}

/* Up to four digits to up to three bytes; the bits that are left over are zero (RFC 4648 3.5). */
static bool decode_group(enum base64_kind kind, struct str digits, char *out)
{
    unsigned bits = 0;

    for (size_t i = 0; i < 4; i++) {
        int digit = i < digits.len ? digit_of(kind, digits.ptr[i]) : 0;

        if (digit < 0)
            return false;
        bits = bits << 6 | (unsigned)digit;
    }
    for (size_t i = 0; i + 1 < digits.len; i++)
        out[i] = (char)(bits >> (16 - 8 * i));
    return (bits & (0xffffffU >> (8 * (digits.len - 1)))) == 0;
}

int base64_decode(struct arena *a, enum base64_kind kind, struct str text, struct str *ret_bytes)
{
    if (kind == BASE64_STD) {
        if (text.len % 4 != 0)
            return -ERR_SYNTAX;
        for (int i = 0; i < 2 && str_ends_with(text, STR("=")); i++)
            text.len--;
    }
    if (text.len % 4 == 1)
        return -ERR_SYNTAX;

    char *out = arena_bytes(a, text.len / 4 * 3 + 4);
    size_t len = 0;
    while (text.len > 0) {
        struct str group = str_sub(text, 0, 4);

        if (!decode_group(kind, group, out + len))
            return -ERR_SYNTAX;
        len += group.len - 1;
        text = str_skip(text, 4);
    }
    *ret_bytes = str_from(out, len);
    return 0;
}

void hex_encode(struct str_buf *out, struct str bytes)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < bytes.len; i++) {
        unsigned char byte = (unsigned char)bytes.ptr[i];
        char two[2] = {digits[byte >> 4], digits[byte & 15]};

        str_buf_add(out, str_from(two, 2));
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int hex_decode(struct str text, void *buf, size_t buf_len)
{
    uint8_t *out = buf;

    if (text.len % 2 != 0 || text.len / 2 > buf_len)
        return -ERR_SYNTAX;
    for (size_t i = 0; i < text.len; i++)
        if (hex_digit(text.ptr[i]) < 0)
            return -ERR_SYNTAX;
    for (size_t i = 0; i < text.len; i += 2)
        *out++ = (uint8_t)(hex_digit(text.ptr[i]) << 4 | hex_digit(text.ptr[i + 1]));
    return 0;
}
