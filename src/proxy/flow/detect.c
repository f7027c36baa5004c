/* One look at the first bytes of a connection: TLS, HTTP, or neither (listener filters
 * tls_inspector and http_inspector). Nothing is consumed. */
#include "crypto/tls.h"
#include "proxy/flow/flow_priv.h"

enum http_guess { GUESS_MORE, GUESS_NO, GUESS_HTTP1, GUESS_HTTP2 };

/* RFC 9110 9, RFC 5789, and what WebDAV services use. */
static const char *const methods[] = {
    "GET ",    "HEAD ",   "POST ",      "PUT ",    "DELETE ", "CONNECT ", "OPTIONS ",
    "TRACE ",  "PATCH ",  "PROPFIND ",  "MKCOL ",  "COPY ",   "MOVE ",    "LOCK ",
    "UNLOCK ", "REPORT ", "PROPPATCH ", "SEARCH ", "PURGE ",
};

static enum http_guess guess_by_prefix(struct str bytes, struct str prefix, enum http_guess yes)
{
    size_t len = MIN(bytes.len, prefix.len);
    if (memcmp(bytes.ptr, prefix.ptr, len) != 0)
        return GUESS_NO;
    return bytes.len >= prefix.len ? yes : GUESS_MORE;
}

static enum http_guess guess_http(struct str bytes)
{
    enum http_guess best = guess_by_prefix(bytes, STR("PRI * HTTP/2.0\r\n"), GUESS_HTTP2);
    for (size_t i = 0; i < ARRAY_LEN(methods) && best != GUESS_HTTP2; i++) {
        enum http_guess g = guess_by_prefix(bytes, str_from_c(methods[i]), GUESS_HTTP1);
        if (g == GUESS_HTTP1)
            return g;
        if (g == GUESS_MORE)
            best = GUESS_MORE;
    }
    return best;
}

static void take_hello(struct flow_conn *fc, const struct tls_hello *hello)
{
    size_t count = MIN(hello->alpn_count, (size_t)ALPN_MAX);
    struct str *protocols = ARENA_ARRAY(&fc->arena, struct str, count + 1);
    for (size_t i = 0; i < count; i++)
        protocols[i] = hello->alpn[i];
    struct flow_hello *h = ARENA_NEW(&fc->arena, struct flow_hello);
    *h = (struct flow_hello){hello->sni, protocols, count};
    fc->hello = h;
    fc->is_tls = true;
}

static void take_http(struct flow_conn *fc, enum http_guess guess)
{
    static const struct str http1[] = {{"http/1.1", 8}}, http2[] = {{"h2c", 3}};
    static const struct flow_hello hello1 = {.application_protocols = http1,
                                             .application_protocol_count = 1},
                                   hello2 = {.application_protocols = http2,
                                             .application_protocol_count = 1};
    if (guess == GUESS_HTTP1 || guess == GUESS_HTTP2)
        fc->hello = guess == GUESS_HTTP2 ? &hello2 : &hello1;
}

static bool is_off(const struct port_ranges *off, uint16_t port)
{
    for (size_t i = 0; i < off->count; i++) {
        if (port >= off->items[i].from && port <= off->items[i].to)
            return true;
    }
    return false;
}

static bool looks_for_tls(const struct listener *model, uint16_t port)
{
    return model->inspectors.tls_inspector && !is_off(&model->inspectors.tls_ports_off, port);
}

static bool looks_for_http(const struct listener *model, uint16_t port)
{
    return model->inspectors.http_inspector && !is_off(&model->inspectors.http_ports_off, port);
}

bool detect_is_wanted(const struct listener *model, uint16_t port)
{
    return looks_for_tls(model, port) || looks_for_http(model, port);
}

enum detect_result detect_peek(struct flow_conn *fc, const struct listener *model, bool is_final)
{
    uint16_t port = conn_destination(fc)->port;
    struct str bytes = chain_pullup(&fc->conn->in, MIN(fc->conn->in.len, (size_t)TLS_PEEK_LEN_MAX));
    if (bytes.len == 0)
        return is_final ? DETECT_DONE : DETECT_MORE;
    if (looks_for_tls(model, port)) {
        struct tls_hello hello;
        switch (tls_peek_hello(bytes, &fc->arena, &hello)) {
        case TLS_PEEK_YES:
            take_hello(fc, &hello);
            return DETECT_DONE;
        case TLS_PEEK_MORE:
            return is_final || bytes.len >= TLS_PEEK_LEN_MAX ? DETECT_DONE : DETECT_MORE;
        case TLS_PEEK_NO:
            break;
        }
    }
    if (!looks_for_http(model, port))
        return DETECT_DONE;
    enum http_guess guess = guess_http(bytes);
    if (guess == GUESS_MORE && !is_final)
        return DETECT_MORE;
    take_http(fc, guess);
    return DETECT_DONE;
}
