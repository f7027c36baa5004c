/* A connection to the control plane: HTTP/2 over TLS (or plain), opened, used, and gone.
 *
 * Owner: the loop; the opener holds a borrowed pointer until on_close, or until it calls
 * channel_close. Thread: the main thread's. */
#pragma once

#include "crypto/tls.h"
#include "http/client.h"

struct channel;

struct channel_ops {
    void (*on_open)(void *ctx, struct channel *c);
    /* why: a sentence, borrowed. Last callback; not called after channel_close. */
    void (*on_close)(void *ctx, struct channel *c, struct str why);
};

struct channel_args {
    struct addr to;
    struct tls_context *tls; /* NULL: plain text */
    struct str sni;
    const struct tls_san_match *sans;
    size_t san_count;
    uint32_t mark;
    const struct limits *limits;
    const struct channel_ops *ops;
    void *ctx;
};

struct channel *channel_open(struct turn *t, const struct channel_args *args);
struct channel *channel_close(struct channel *c); /* at once; accepts NULL, returns NULL */
/* Valid between on_open and on_close. */
struct http_client *channel_client(struct channel *c);
