/* gRPC over HTTP/2: message framing, status, metadata rules (gRPC PROTOCOL-HTTP2). Pure. */
#pragma once

#include "base/chain.h"
#include "http/head.h"

enum grpc_status {
    GRPC_OK = 0,
    GRPC_CANCELLED = 1,
    GRPC_UNKNOWN = 2,
    GRPC_INVALID_ARGUMENT = 3,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_NOT_FOUND = 5,
    GRPC_ALREADY_EXISTS = 6,
    GRPC_PERMISSION_DENIED = 7,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_FAILED_PRECONDITION = 9,
    GRPC_ABORTED = 10,
    GRPC_OUT_OF_RANGE = 11,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14,
    GRPC_DATA_LOSS = 15,
    GRPC_UNAUTHENTICATED = 16,
};

enum grpc_status grpc_status_from_http(unsigned http_status);
/* The status that a finished response carries: trailers, else head ("trailers only"). -1: none. */
int grpc_status_of(const struct http_head *head, const struct http_head *trailers);

/* Appends prefix and message (uncompressed). */
void grpc_frame(struct chain *out, struct str message);
/* The prefix alone; the caller adds the message. */
void grpc_frame_begin(struct chain *out, size_t message_len);
/* Takes the next whole message from the front of `in` into buf (reset first). 1: a message;
 * 0: more bytes needed; -ERR_TOO_LARGE (more than message_bytes_max), -ERR_UNSUPPORTED
 * (compressed), -ERR_PROTOCOL. */
int grpc_deframe(struct chain *in, size_t message_bytes_max, struct str_buf *buf);
/* As grpc_deframe, but takes what is there at once, so that a large message is not held twice, nor
 * in small pieces. Begin with the rest of the struct zeroed. */
struct grpc_part {
    struct str_buf *message; /* reset when the next one begins */
    size_t left;             /* bytes that have not come */
    bool is_open;
};
int grpc_deframe_part(struct chain *in, size_t message_bytes_max, struct grpc_part *part);
/* grpc-message percent-encoding. */
struct str grpc_message_encode(struct str text, struct arena *a);
struct str grpc_message_decode(struct str text, struct arena *a);
