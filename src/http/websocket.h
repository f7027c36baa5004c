/* The handshake of WebSocket where its two forms meet: over HTTP/1 the server proves with
 * Sec-WebSocket-Accept that it read the key (RFC 6455 4.2.2), over HTTP/2 there is neither (RFC
 * 8441 5). Whoever stands between makes up what the other side needs. */
#pragma once

#include "base/random.h"
#include "http/head.h"

/* Whether this request for a tunnel needs a key before it goes over HTTP/1. */
bool websocket_needs_key(const struct http_head *request);
/* Adds a key (and the version, which servers ask for), and returns what the server must accept it
 * with; in the head's arena. */
struct str websocket_add_key(struct http_head *request, struct random *random);
/* Whether the response accepts as it must; the field is taken out, nobody asked for it. */
bool websocket_take_accept(struct http_head *response, struct str accept);
/* To an HTTP/1 client that sent a key, in whose response (over HTTP/2) there is no answer to it. */
void websocket_add_accept(const struct http_head *request, struct http_head *response);
