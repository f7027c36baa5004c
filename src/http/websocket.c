#include "http/websocket.h"

#include "codec/base64.h"
#include "codec/sha1.h"

#define KEY "sec-websocket-key"
#define ACCEPT "sec-websocket-accept"
#define VERSION "sec-websocket-version"

enum { NONCE_LEN = 16 };

static bool is_websocket(const struct http_head *request)
{
    return str_eq(request->protocol, STR("websocket"));
}

static struct str base64(struct arena *a, const void *bytes, size_t len)
{
    AUTO(str_buf_deinit) struct str_buf text = STR_BUF_INIT(64);

    base64_encode(&text, BASE64_STD, str_from(bytes, len));
    return arena_str(a, str_buf_str(&text));
}

/* RFC 6455 4.2.2 (5.4) */
static struct str accept_of(struct arena *a, struct str key)
{
    uint8_t digest[SHA1_LEN];
    struct str text = arena_printf(a, "%.*s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", STR_FMT(key));

    sha1(text, digest);
    return base64(a, digest, sizeof digest);
}

bool websocket_needs_key(const struct http_head *request)
{
    return is_websocket(request) && request->version == HTTP_2 &&
           http_head_get_named(request, STR(KEY)).ptr == NULL;
}

struct str websocket_add_key(struct http_head *request, struct random *random)
{
    uint64_t nonce[NONCE_LEN / 8] = {random_u64(random), random_u64(random)};
    struct str key = base64(request->arena, nonce, sizeof nonce);

    http_head_add_named(request, STR(KEY), key);
    if (http_head_get_named(request, STR(VERSION)).ptr == NULL)
        http_head_add_named(request, STR(VERSION), STR("13"));
    return accept_of(request->arena, key);
}

bool websocket_take_accept(struct http_head *response, struct str accept)
{
    bool is_right = str_eq(http_head_get_joined(response, STR(ACCEPT)), accept);

    http_head_remove_named(response, STR(ACCEPT));
    return is_right;
}

void websocket_add_accept(const struct http_head *request, struct http_head *response)
{
    struct str key = http_head_get_named(request, STR(KEY));

    if (is_websocket(request) && response->version == HTTP_2 && key.len > 0 &&
        http_head_get_named(response, STR(ACCEPT)).ptr == NULL)
        http_head_add_named(response, STR(ACCEPT), accept_of(response->arena, key));
}
