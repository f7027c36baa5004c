#include "http/h1_body.h"

enum { SIZE_DIGITS_MAX = 16 };

void h1_body_init(struct h1_body *b, const struct h1_framing *framing)
{
    *b = (struct h1_body){.kind = framing->body, .left = framing->length};
    switch (framing->body) {
    case H1_BODY_NONE:
        b->state = H1_BODY_AT_END;
        break;
    case H1_BODY_CHUNKED:
        b->left = 0;
        b->state = H1_BODY_AT_SIZE;
        break;
    case H1_BODY_LENGTH:
        b->state = framing->length == 0 ? H1_BODY_AT_END : H1_BODY_IN_DATA;
        break;
    case H1_BODY_UNTIL_CLOSE:
        b->left = UINT64_MAX;
        b->state = H1_BODY_IN_DATA;
        break;
    }
}

bool h1_body_is_in_trailers(const struct h1_body *b)
{
    return b->kind == H1_BODY_CHUNKED && b->state == H1_BODY_IN_TRAILERS;
}

bool h1_body_is_at_end(const struct h1_body *b)
{
    return b->state == H1_BODY_AT_END;
}

void h1_body_taken(struct h1_body *b, size_t n)
{
    ASSERT(b->state == H1_BODY_IN_DATA && n <= b->left);
    if (b->kind == H1_BODY_UNTIL_CLOSE)
        return;
    b->left -= n;
    if (b->left == 0)
        b->state = b->kind == H1_BODY_CHUNKED ? H1_BODY_AT_DATA_CR : H1_BODY_AT_END;
}

/* RFC 9112 7.1.1: chunk-ext, behind its first ';'. Blanks (BWS) may stand around '=' and ';'. */
enum ext_state {
    EXT_BAD,
    EXT_NAME_AT,
    EXT_NAME,
    EXT_NAME_END,
    EXT_VALUE_AT,
    EXT_TOKEN,
    EXT_QUOTED,
    EXT_ESCAPED,
    EXT_VALUE_END,
    EXT_STATE_COUNT,
};
enum ext_byte {
    EXT_BLANK,
    EXT_TCHAR,
    EXT_EQUALS,
    EXT_SEMICOLON,
    EXT_QUOTE,
    EXT_BACKSLASH,
    EXT_REST
};

static const uint8_t ext_steps[EXT_STATE_COUNT][EXT_REST + 1] = {
    [EXT_NAME_AT] = {[EXT_BLANK] = EXT_NAME_AT, [EXT_TCHAR] = EXT_NAME},
    [EXT_NAME] = {EXT_NAME_END, EXT_NAME, EXT_VALUE_AT, EXT_NAME_AT},
    [EXT_NAME_END] = {EXT_NAME_END, EXT_BAD, EXT_VALUE_AT, EXT_NAME_AT},
    [EXT_VALUE_AT] = {EXT_VALUE_AT, EXT_TOKEN, EXT_BAD, EXT_BAD, EXT_QUOTED},
    [EXT_TOKEN] = {EXT_VALUE_END, EXT_TOKEN, EXT_BAD, EXT_NAME_AT},
    [EXT_QUOTED] = {[EXT_BLANK... EXT_SEMICOLON] = EXT_QUOTED,
                    [EXT_QUOTE] = EXT_VALUE_END,
                    [EXT_BACKSLASH] = EXT_ESCAPED,
                    [EXT_REST] = EXT_QUOTED},
    [EXT_ESCAPED] = {[EXT_BLANK... EXT_REST] = EXT_QUOTED},
    [EXT_VALUE_END] = {[EXT_BLANK] = EXT_VALUE_END, [EXT_SEMICOLON] = EXT_NAME_AT},
};

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    char folded = (char)(c | 0x20);
    return folded >= 'a' && folded <= 'f' ? folded - 'a' + 10 : -1;
}

static struct str on_size_byte(struct h1_body *b, char c)
{
    int digit = hex_value(c);

    if (digit >= 0) {
        /* 16 digits cannot overflow the shift; what is above INT64_MAX is refused. */
        if (++b->digits > SIZE_DIGITS_MAX || b->left > (uint64_t)INT64_MAX >> 4)
            return STR("chunk_size_too_large");
        b->left = b->left << 4 | (uint64_t)digit;
        b->state = H1_BODY_IN_SIZE;
        return STR_NULL;
    }
    if (b->state == H1_BODY_AT_SIZE)
        return STR("chunk_size_invalid");
    if (c == '\r')
        b->state = H1_BODY_AT_SIZE_LF;
    else if (c == ';')
        b->state = H1_BODY_IN_EXT;
    else /* blanks as well: some readers end the size there, some the line */
        return STR("chunk_size_invalid");
    b->ext_state = EXT_NAME_AT;
    return STR_NULL;
}

static enum ext_byte ext_byte_of(char c)
{
    switch (c) {
    case ' ':
    case '\t':
        return EXT_BLANK;
    case '=':
        return EXT_EQUALS;
    case ';':
        return EXT_SEMICOLON;
    case '"':
        return EXT_QUOTE;
    case '\\':
        return EXT_BACKSLASH;
    }
    return h1_is_token_char(c) ? EXT_TCHAR : EXT_REST;
}

static bool is_ext_complete(const struct h1_body *b)
{
    return b->ext_state == EXT_NAME || b->ext_state == EXT_TOKEN || b->ext_state == EXT_VALUE_END;
}

/* An extension that is not understood is ignored; its bytes are visible ASCII and blanks only:
 * nothing that another reader takes for a line's end. */
static struct str on_ext_byte(struct h1_body *b, char c)
{
    if (c == '\r' && is_ext_complete(b)) {
        b->state = H1_BODY_AT_SIZE_LF;
        return STR_NULL;
    }
    if (c != '\t' && (c < ' ' || c == 0x7f))
        return STR("chunk_extension_invalid");
    b->ext_state = ext_steps[b->ext_state][ext_byte_of(c)];
    if (b->ext_state == EXT_BAD)
        return STR("chunk_extension_invalid");
    if (++b->ext_bytes > H1_CHUNK_EXT_BYTES_MAX ||
        ++b->ext_bytes_total > H1_CHUNK_EXT_BYTES_TOTAL_MAX)
        return STR("chunk_extension_too_large");
    return STR_NULL;
}

static struct str on_size_end(struct h1_body *b, char c)
{
    if (c != '\n')
        return STR("chunk_size_invalid");
    if (b->left > 0) {
        b->state = H1_BODY_IN_DATA;
    } else {
        b->state = H1_BODY_IN_TRAILERS;
        h1_scan_init(&b->scan, H1_SECTION_TRAILERS);
    }
    return STR_NULL;
}

/* One byte of framing; a detail when it is wrong. */
static struct str on_framing_byte(struct h1_body *b, char c)
{
    switch (b->state) {
    case H1_BODY_AT_SIZE:
    case H1_BODY_IN_SIZE:
        return on_size_byte(b, c);
    case H1_BODY_IN_EXT:
        return on_ext_byte(b, c);
    case H1_BODY_AT_SIZE_LF:
        return on_size_end(b, c);
    case H1_BODY_AT_DATA_CR:
        b->state = H1_BODY_AT_DATA_LF;
        return c == '\r' ? STR_NULL : STR("chunk_end_invalid");
    case H1_BODY_AT_DATA_LF:
        b->state = H1_BODY_AT_SIZE;
        b->digits = b->ext_bytes = 0;
        return c == '\n' ? STR_NULL : STR("chunk_end_invalid");
    case H1_BODY_IN_DATA:
    case H1_BODY_IN_TRAILERS:
    case H1_BODY_AT_END:
        break;
    }
    ASSERT(false);
    return STR_NULL;
}

static bool is_in_framing(const struct h1_body *b)
{
    return b->state != H1_BODY_IN_DATA && b->state != H1_BODY_IN_TRAILERS &&
           b->state != H1_BODY_AT_END;
}

/* Consumes framing bytes; false when one is wrong. */
static bool skip_framing(struct h1_body *b, struct chain *in, struct h1_error *ret_error)
{
    while (is_in_framing(b) && in->len > 0) {
        struct str bytes = chain_first(in);
        size_t n = 0;

        while (n < bytes.len && is_in_framing(b)) {
            struct str wrong = on_framing_byte(b, bytes.ptr[n]);
            if (wrong.ptr != NULL) {
                *ret_error = (struct h1_error){400, wrong};
                return false;
            }
            n++;
        }
        chain_skip(in, n);
    }
    return true;
}

static enum h1_next next_trailers(struct h1_body *b, struct chain *in, const struct limits *limits,
                                  size_t *ret_len, struct h1_error *ret_error)
{
    size_t len;

    switch (h1_scan_chain(&b->scan, in, limits, &len, ret_error)) {
    case H1_SCAN_MORE:
        return H1_NEXT_MORE;
    case H1_SCAN_BAD:
        return H1_NEXT_BAD;
    case H1_SCAN_DONE:
        break;
    }
    b->state = H1_BODY_AT_END;
    if (len == 2) {
        chain_skip(in, 2);
        return H1_NEXT_END;
    }
    *ret_len = len;
    return H1_NEXT_TRAILERS;
}

enum h1_next h1_body_next(struct h1_body *b, struct chain *in, const struct limits *limits,
                          size_t *ret_len, struct h1_error *ret_error)
{
    if (!skip_framing(b, in, ret_error))
        return H1_NEXT_BAD;
    if (b->state == H1_BODY_AT_END)
        return H1_NEXT_END;
    if (b->state == H1_BODY_IN_TRAILERS)
        return next_trailers(b, in, limits, ret_len, ret_error);
    if (in->len == 0)
        return H1_NEXT_MORE;
    *ret_len = b->left < in->len ? (size_t)b->left : in->len;
    return H1_NEXT_DATA;
}

/* --- writing -------------------------------------------------------------------------------- */

void h1_chunk_move(struct chain *out, struct chain *from, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    char line[18], *at = line + sizeof line;

    ASSERT(len > 0 && len <= from->len);
    *--at = '\n';
    *--at = '\r';
    for (size_t left = len; left > 0; left >>= 4)
        *--at = hex[left & 15];
    chain_add(out, str_from(at, (size_t)(line + sizeof line - at)));
    chain_move(out, from, len);
    chain_add(out, STR("\r\n"));
}

void h1_chunk_end(struct chain *out, const struct http_head *trailers)
{
    chain_add(out, STR("0\r\n"));
    for (uint32_t i = 0; trailers != NULL && i < trailers->field_count; i++) {
        const struct http_field *f = &trailers->fields[i];

        chain_add(out, f->name);
        chain_add(out, STR(": "));
        chain_add(out, f->value);
        chain_add(out, STR("\r\n"));
    }
    chain_add(out, STR("\r\n"));
}
