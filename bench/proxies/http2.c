/* As much HTTP/2 (RFC 9113) and gRPC as an xDS client needs: one long stream, and short calls
 * beside it. Heads that come in are not decoded; that a stream has ended is in their flags. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxies.h"

enum {
    ADS_STREAM = 1,
    FRAME_DATA = 0,
    FRAME_HEADERS = 1,
    FRAME_RST = 3,
    FRAME_SETTINGS = 4,
    FRAME_PING = 6,
    FRAME_GOAWAY = 7,
    FRAME_WINDOW = 8,
    FLAG_END_STREAM = 1,
    FLAG_ACK = 1,
    FLAG_END_HEADERS = 4,
    FRAME_MAX = 16384,
    WINDOW = 1024 * 1024,
    WINDOW_DEFAULT = 65535,
    CONTROL_MAX = 4096,
    MESSAGE_MAX = 64 * 1024 * 1024,
};

static const char ADS_PATH[] =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

static uint32_t get32(const unsigned char *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static void put32(unsigned char *b, uint32_t n)
{
    for (int i = 0; i < 4; i++)
        b[i] = (unsigned char)(n >> (24 - 8 * i));
}

static void add_frame(struct proxy *p, unsigned type, unsigned flags, uint32_t stream,
                      const void *payload, size_t len)
{
    unsigned char head[9] = {(unsigned char)(len >> 16), (unsigned char)(len >> 8),
                             (unsigned char)len, (unsigned char)type, (unsigned char)flags};
    put32(head + 5, stream);
    buffer_add(&p->link.out, head, sizeof head);
    buffer_add(&p->link.out, payload, len);
}

static void add_window(struct proxy *p, uint32_t stream, uint32_t bytes)
{
    unsigned char payload[4];
    put32(payload, bytes);
    add_frame(p, FRAME_WINDOW, 0, stream, payload, sizeof payload);
}

/* --- heads: literals, never indexed (RFC 7541 6.2.2) --- */

static void add_text(struct buffer *b, const char *text)
{
    size_t len = strlen(text);
    unsigned char prefix[3] = {(unsigned char)len};
    size_t prefix_len = 1;
    if (len >= 127) {
        prefix[0] = 127;
        prefix[1] = (unsigned char)(((len - 127) & 127) | (len - 127 > 127 ? 128 : 0));
        prefix[2] = (unsigned char)((len - 127) >> 7);
        prefix_len = len - 127 > 127 ? 3 : 2;
    }
    buffer_add(b, prefix, prefix_len);
    buffer_add(b, text, len);
}

static void add_head(struct proxy *p, uint32_t stream, const char *path)
{
    struct buffer b = {0};
    /* POST, http or https, :path */
    buffer_add(&b, p->link.ssl == NULL ? "\x83\x86\x04" : "\x83\x87\x04", 3);
    add_text(&b, path);
    buffer_add(&b, "\x01", 1); /* :authority */
    add_text(&b, "tulled");
    buffer_add(&b, "\x0f\x10", 2); /* content-type */
    add_text(&b, "application/grpc");
    buffer_add(&b, "\0", 1);
    add_text(&b, "te");
    add_text(&b, "trailers");
    if (p->link.ssl == NULL) {
        buffer_add(&b, "\0", 1);
        add_text(&b, "x-tulle-identity");
        add_text(&b, p->identity->uri);
    }
    add_frame(p, FRAME_HEADERS, FLAG_END_HEADERS, stream, b.ptr, b.len);
    buffer_free(&b);
}

/* --- sending --- */

static void pump(struct proxy *p)
{
    struct http2 *h = &p->http2;
    while (h->unsent.len > 0 && h->window > 0 && h->window_ads > 0) {
        size_t len = h->unsent.len;
        if (len > FRAME_MAX)
            len = FRAME_MAX;
        if ((int64_t)len > h->window)
            len = (size_t)h->window;
        if ((int64_t)len > h->window_ads)
            len = (size_t)h->window_ads;
        add_frame(p, FRAME_DATA, 0, ADS_STREAM, h->unsent.ptr, len);
        buffer_skip(&h->unsent, len);
        h->window -= (int64_t)len;
        h->window_ads -= (int64_t)len;
    }
}

static void add_message(struct buffer *b, const void *message, size_t len)
{
    unsigned char prefix[5] = {0};
    put32(prefix + 1, (uint32_t)len);
    buffer_add(b, prefix, sizeof prefix);
    buffer_add(b, message, len);
}

void http2_send(struct proxy *p, const void *message, size_t len)
{
    add_message(&p->http2.unsent, message, len);
    pump(p);
}

void http2_call(struct proxy *p, const char *path, const void *message, size_t len)
{
    struct http2 *h = &p->http2;
    struct buffer b = {0};
    uint32_t stream = h->next_stream;
    h->next_stream += 2;
    add_message(&b, message, len);
    if ((int64_t)b.len > h->window || (int64_t)b.len > h->window_initial)
        die("no window for a call");
    h->window -= (int64_t)b.len;
    add_head(p, stream, path);
    add_frame(p, FRAME_DATA, FLAG_END_STREAM, stream, b.ptr, b.len);
    buffer_free(&b);
    link_flush(p);
}

void http2_start(struct proxy *p)
{
    static const unsigned char settings[] = {
        0, 4, WINDOW >> 24 & 255, WINDOW >> 16 & 255, WINDOW >> 8 & 255, WINDOW & 255};
    p->http2 = (struct http2){.window = WINDOW_DEFAULT,
                              .window_ads = WINDOW_DEFAULT,
                              .window_initial = WINDOW_DEFAULT,
                              .next_stream = ADS_STREAM + 2};
    buffer_add(&p->link.out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    add_frame(p, FRAME_SETTINGS, 0, 0, settings, sizeof settings);
    add_window(p, 0, WINDOW - WINDOW_DEFAULT);
    add_head(p, ADS_STREAM, ADS_PATH);
    xds_start(p);
}

void http2_stop(struct proxy *p)
{
    buffer_free(&p->http2.control);
    buffer_free(&p->http2.message);
    buffer_free(&p->http2.unsent);
    p->http2 = (struct http2){0};
}

/* --- receiving --- */

static void take_messages(struct proxy *p, const unsigned char *bytes, size_t len)
{
    struct buffer *m = &p->http2.message;
    buffer_add(m, bytes, len);
    size_t at = 0;
    while (m->len - at >= 5) {
        size_t message_len = get32((const unsigned char *)m->ptr + at + 1);
        if (message_len > MESSAGE_MAX)
            die("a message of %zu bytes", message_len);
        if (m->len - at - 5 < message_len)
            break;
        xds_recv(p, (const unsigned char *)m->ptr + at + 5, message_len);
        at += 5 + message_len;
    }
    buffer_skip(m, at);
}

static void take_data(struct proxy *p, uint32_t stream, const unsigned char *bytes, size_t len)
{
    struct http2 *h = &p->http2;
    if (stream == ADS_STREAM)
        take_messages(p, bytes, len);
    /* Both windows alike: calls get a few bytes only. */
    h->consumed += len;
    if (h->consumed >= WINDOW / 2) {
        add_window(p, 0, (uint32_t)h->consumed);
        add_window(p, ADS_STREAM, (uint32_t)h->consumed);
        h->consumed = 0;
    }
}

static void take_settings(struct proxy *p, const unsigned char *b, size_t len)
{
    struct http2 *h = &p->http2;
    for (size_t i = 0; i + 6 <= len; i += 6) {
        if (b[i] == 0 && b[i + 1] == 4) {
            h->window_ads += (int64_t)get32(b + i + 2) - h->window_initial;
            h->window_initial = get32(b + i + 2);
        }
    }
    add_frame(p, FRAME_SETTINGS, FLAG_ACK, 0, NULL, 0);
    pump(p);
}

/* A whole frame that is neither data nor a head. False: the connection ends. */
static bool take_control(struct proxy *p, unsigned type, unsigned flags, uint32_t stream)
{
    struct http2 *h = &p->http2;
    const unsigned char *b = (const unsigned char *)h->control.ptr;
    size_t len = h->control.len;
    if (type == FRAME_SETTINGS && (flags & FLAG_ACK) == 0) {
        take_settings(p, b, len);
    } else if (type == FRAME_PING && (flags & FLAG_ACK) == 0) {
        add_frame(p, FRAME_PING, FLAG_ACK, 0, b, len);
    } else if (type == FRAME_WINDOW && len == 4) {
        if (stream == 0)
            h->window += get32(b) & 0x7fffffff;
        else if (stream == ADS_STREAM)
            h->window_ads += get32(b) & 0x7fffffff;
        pump(p);
    } else if (type == FRAME_GOAWAY || (type == FRAME_RST && stream == ADS_STREAM)) {
        world.counts.ended++;
        return false;
    }
    return true;
}

static bool end_frame(struct proxy *p)
{
    struct http2 *h = &p->http2;
    unsigned type = h->head[3], flags = h->head[4];
    uint32_t stream = get32(h->head + 5) & 0x7fffffff;
    bool is_good = true;
    if (type <= FRAME_HEADERS) {
        is_good = stream != ADS_STREAM || (flags & FLAG_END_STREAM) == 0;
        world.counts.ended += !is_good;
    } else {
        is_good = take_control(p, type, flags, stream);
    }
    buffer_free(&h->control);
    h->head_len = 0;
    return is_good;
}

static void take_payload(struct proxy *p, const unsigned char *bytes, size_t len)
{
    struct http2 *h = &p->http2;
    h->left -= (uint32_t)len;
    if (h->head[3] == FRAME_DATA)
        take_data(p, get32(h->head + 5) & 0x7fffffff, bytes, len);
    else if (h->head[3] != FRAME_HEADERS && h->control.len + len <= CONTROL_MAX)
        buffer_add(&h->control, bytes, len);
}

bool http2_recv(struct proxy *p, const unsigned char *bytes, size_t len)
{
    struct http2 *h = &p->http2;
    while (len > 0) {
        if (h->head_len < sizeof h->head) {
            h->head[h->head_len++] = *bytes++;
            len--;
            if (h->head_len < sizeof h->head)
                continue;
            h->left = get32(h->head) >> 8;
        }
        size_t n = len < h->left ? len : h->left;
        if (n > 0)
            take_payload(p, bytes, n);
        bytes += n;
        len -= n;
        if (h->left == 0 && !end_frame(p))
            return false;
    }
    return true;
}
