#include "mesh/xds/pb.h"

static void *alloc_in_arena(void *ctx, size_t len)
{
    struct arena *a = ctx;
    if (len > PB_UNPACKED_LEN_MAX || arena_size(a) + len > PB_UNPACKED_LEN_MAX)
        return NULL;
    return arena_alloc(a, len);
}

static void free_in_arena(void *ctx, void *p)
{
}

const void *pb_unpack(struct arena *a, const ProtobufCMessageDescriptor *descriptor,
                      struct str wire)
{
    ProtobufCAllocator allocator = {alloc_in_arena, free_in_arena, a};
    const uint8_t *bytes = (const uint8_t *)(wire.ptr != NULL ? wire.ptr : "");
    return protobuf_c_message_unpack(descriptor, &allocator, wire.len, bytes);
}

static void append(ProtobufCBuffer *buffer, size_t len, const uint8_t *data)
{
    struct buf {
        ProtobufCBuffer base;
        struct str_buf *to;
    } *b = (void *)buffer;
    str_buf_add(b->to, str_from((const char *)data, len));
}

void pb_pack(const ProtobufCMessage *m, struct str_buf *to)
{
    struct {
        ProtobufCBuffer base;
        struct str_buf *to;
    } buffer = {{append}, to};
    protobuf_c_message_pack_to_buffer(m, &buffer.base);
}
