/* gRPC from a peer: messages cut anywhere are the same messages, and text means the same again. */
#include "base/err.h"
#include "http/grpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MESSAGE_BYTES_MAX = 4096, BUF_BYTES_MAX = 1 << 16 };

/* All messages, each behind its length, until no more comes; the last line says how it ended. */
static void deframe_all(struct chain *in, struct str_buf *to, int *ret_end)
{
    struct str_buf message = STR_BUF_INIT(BUF_BYTES_MAX);
    int n;
    while ((n = grpc_deframe(in, MESSAGE_BYTES_MAX, &message)) == 1) {
        ASSERT(message.len <= MESSAGE_BYTES_MAX);
        str_buf_printf(to, "%zu:", message.len);
        str_buf_add(to, str_buf_str(&message));
    }
    ASSERT(n == 0 || n == -ERR_TOO_LARGE || n == -ERR_UNSUPPORTED || n == -ERR_PROTOCOL);
    *ret_end = n;
    str_buf_deinit(&message);
}

/* The same from parts, which are taken as they come. */
static void deframe_parts(struct chain *in, struct grpc_part *part, struct str_buf *to,
                          int *ret_end)
{
    int n;
    while ((n = grpc_deframe_part(in, MESSAGE_BYTES_MAX, part)) == 1) {
        str_buf_printf(to, "%zu:", part->message->len);
        str_buf_add(to, str_buf_str(part->message));
    }
    ASSERT(n < 0 || in->len < 5);
    *ret_end = n;
}

static void check_parts(struct str wire, size_t cut, struct str expected, int expected_end)
{
    struct str_buf message = STR_BUF_INIT(BUF_BYTES_MAX), got = STR_BUF_INIT(1 << 22);
    struct grpc_part part = {.message = &message};
    struct chain in;
    int end;
    chain_init(&in, NULL, NULL);
    chain_add(&in, str_sub(wire, 0, cut));
    deframe_parts(&in, &part, &got, &end);
    if (end == 0) {
        chain_add(&in, str_skip(wire, cut));
        deframe_parts(&in, &part, &got, &end);
    }
    ASSERT(end == expected_end && str_eq(str_buf_str(&got), expected));
    chain_deinit(&in);
    str_buf_deinit(&message);
    str_buf_deinit(&got);
}

static void check_messages(struct str wire)
{
    enum { LEN_MAX = 1 << 22 };
    struct str_buf whole = STR_BUF_INIT(LEN_MAX), pieces = STR_BUF_INIT(LEN_MAX);
    size_t cut = wire.len == 0 ? 0 : (unsigned char)wire.ptr[wire.len / 2] % wire.len;
    struct chain in;
    int end, end_in_pieces;
    chain_init(&in, NULL, NULL);
    chain_add(&in, wire);
    deframe_all(&in, &whole, &end);
    chain_clear(&in);
    chain_add(&in, str_sub(wire, 0, cut));
    deframe_all(&in, &pieces, &end_in_pieces);
    if (end_in_pieces == 0) {
        chain_add(&in, str_skip(wire, cut));
        deframe_all(&in, &pieces, &end_in_pieces);
    }
    ASSERT(end == end_in_pieces && str_eq(str_buf_str(&whole), str_buf_str(&pieces)));
    check_parts(wire, cut, str_buf_str(&whole), end);
    chain_deinit(&in);
    str_buf_deinit(&whole);
    str_buf_deinit(&pieces);
}

static void check_text(struct str text)
{
    struct arena a;
    arena_init(&a, 1024);
    struct str encoded = grpc_message_encode(text, &a);
    for (size_t i = 0; i < encoded.len; i++)
        ASSERT(encoded.ptr[i] >= ' ' && encoded.ptr[i] <= '~');
    ASSERT(str_eq(grpc_message_decode(encoded, &a), text));
    (void)grpc_message_decode(text, &a);
    arena_deinit(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str bytes = str_from((const char *)data, size);
    check_messages(bytes);
    check_text(bytes);
    return 0;
}
