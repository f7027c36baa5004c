#include "http/h1_render.h"

/* Everything beside the texts of the head: version, status, Connection, framing, ends. */
enum { FIXED_BYTES_MAX = 256, FIELD_REST_BYTES = 4, LENGTH_DIGITS_MAX = 20 };

enum h1_body_kind h1_render_body_kind(const struct http_head *h, bool can_chunk)
{
    if (!h->has_body)
        return H1_BODY_NONE;
    if (h->has_length)
        return H1_BODY_LENGTH;
    return can_chunk ? H1_BODY_CHUNKED : H1_BODY_UNTIL_CLOSE;
}

static char *put_number(char *at, uint64_t value)
{
    char digits[LENGTH_DIGITS_MAX], *p = digits + sizeof digits;

    do {
        *--p = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return str_put(at, str_from(p, (size_t)(digits + sizeof digits - p)));
}

/* Fields that this file writes itself, as a set of bits. */
static const uint64_t own_names = HTTP_NAME_BIT(CONNECTION) | HTTP_NAME_BIT(CONTENT_LENGTH) |
                                  HTTP_NAME_BIT(HOST) | HTTP_NAME_BIT(HTTP2_SETTINGS) |
                                  HTTP_NAME_BIT(KEEP_ALIVE) | HTTP_NAME_BIT(PROXY_CONNECTION) |
                                  HTTP_NAME_BIT(TE) | HTTP_NAME_BIT(TRAILER) |
                                  HTTP_NAME_BIT(TRANSFER_ENCODING) | HTTP_NAME_BIT(UPGRADE);

static size_t fields_len(const struct http_head *h)
{
    size_t len = 0;

    for (uint32_t i = 0; i < h->field_count; i++)
        len += h->fields[i].name.len + h->fields[i].value.len + FIELD_REST_BYTES;
    return len;
}

static char *put_fields(char *at, const struct http_head *h)
{
    for (uint32_t i = 0; i < h->field_count; i++) {
        const struct http_field *f = &h->fields[i];

        if ((1ull << f->id & own_names) != 0)
            continue;
        at = str_put(at, f->name);
        *at++ = ':';
        *at++ = ' ';
        at = str_put(at, f->value);
        *at++ = '\r';
        *at++ = '\n';
    }
    return at;
}

static char *put_connection(char *at, const struct h1_render *r)
{
    if (r->is_close)
        return str_put(at, STR("connection: close\r\n"));
    return r->is_keep_alive ? str_put(at, STR("connection: keep-alive\r\n")) : at;
}

static char *put_upgrade(char *at, struct str protocol)
{
    if (protocol.len == 0)
        return at;
    at = str_put(at, STR("connection: upgrade\r\nupgrade: "));
    at = str_put(at, protocol);
    return str_put(at, STR("\r\n"));
}

static char *put_length(char *at, uint64_t length)
{
    at = str_put(at, STR("content-length: "));
    at = put_number(at, length);
    return str_put(at, STR("\r\n"));
}

/* RFC 9110 8.6: a method that usually has a body says so when there is none. */
static bool is_length_expected(struct str method)
{
    return str_eq(method, STR("POST")) || str_eq(method, STR("PUT")) ||
           str_eq(method, STR("PATCH"));
}

static char *put_request_framing(char *at, const struct http_head *h, const struct h1_render *r)
{
    switch (r->body) {
    case H1_BODY_NONE:
        return h->has_length || is_length_expected(h->method) ? put_length(at, 0) : at;
    case H1_BODY_LENGTH:
        return put_length(at, h->length);
    case H1_BODY_CHUNKED:
        return str_put(at, STR("transfer-encoding: chunked\r\n"));
    case H1_BODY_UNTIL_CLOSE: /* no request ends so */
        break;
    }
    ASSERT(false);
    return at;
}

void h1_render_request(struct chain *out, const struct http_head *h, const struct h1_render *r)
{
    bool is_connect = str_eq(h->method, STR("CONNECT"));
    struct str target = is_connect ? h->authority : h->path;
    size_t room, max = FIXED_BYTES_MAX + h->method.len + target.len + h->authority.len +
                       h->protocol.len + fields_len(h);
    char *text = chain_reserve(out, max, &room), *at = text;

    at = str_put(at, h->method);
    *at++ = ' ';
    at = str_put(at, target);
    at = str_put(at, STR(" HTTP/1.1\r\nhost: "));
    at = str_put(at, h->authority);
    at = str_put(at, STR("\r\n"));
    at = put_fields(at, h);
    at = put_request_framing(at, h, r);
    at = put_upgrade(at, h->protocol);
    at = put_connection(at, r);
    at = str_put(at, STR("\r\n"));
    ASSERT((size_t)(at - text) <= max);
    chain_commit(out, (size_t)(at - text));
}

/* RFC 9110 8.6, 15: no length with 1xx and 204; with HEAD and 304 only what the origin told. */
static char *put_response_framing(char *at, const struct http_head *h, const struct h1_render *r)
{
    switch (r->body) {
    case H1_BODY_NONE:
        if (h->status < 200 || h->status == 204)
            return at;
        if (h->has_length)
            return put_length(at, h->length);
        return r->is_to_head || h->status == 304 ? at : put_length(at, 0);
    case H1_BODY_LENGTH:
        return put_length(at, h->length);
    case H1_BODY_CHUNKED:
        return str_put(at, STR("transfer-encoding: chunked\r\n"));
    case H1_BODY_UNTIL_CLOSE:
        return at;
    }
    ASSERT(false);
    return at;
}

static char *put_status_line(char *at, unsigned status)
{
    const char *text = http_status_text(status);

    ASSERT(status >= 100 && status <= 999);
    at = str_put(at, STR("HTTP/1.1 "));
    at = put_number(at, status);
    *at++ = ' ';
    at = str_put(at, str_from_c(text));
    return str_put(at, STR("\r\n"));
}

void h1_render_response(struct chain *out, const struct http_head *h, const struct h1_render *r)
{
    size_t room, max = FIXED_BYTES_MAX + fields_len(h) + r->upgrade.len;
    char *text = chain_reserve(out, max, &room), *at = text;

    at = put_status_line(at, h->status);
    at = put_fields(at, h);
    at = put_response_framing(at, h, r);
    at = put_upgrade(at, r->upgrade);
    at = put_connection(at, r);
    at = str_put(at, STR("\r\n"));
    ASSERT((size_t)(at - text) <= max);
    chain_commit(out, (size_t)(at - text));
}
