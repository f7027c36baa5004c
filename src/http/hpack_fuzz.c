/* Bytes as a series of HPACK blocks into two decoders: ours and nghttp2's. What both take must be
 * the same; what ours takes is encoded again and must come out of our decoder unchanged. Each block
 * has its length in front, in one byte. */
#include <nghttp2/nghttp2.h>
#include <stdint.h>
#include <stdlib.h>

#include "http/hpack_table.h"

enum { FIELD_BYTES_MAX = 1 << 16 };

/* One field by nghttp2. 1, 0 at the end, -1. */
static int decode_foreign(nghttp2_hd_inflater *d, struct str *block, nghttp2_nv *ret_pair)
{
    for (;;) {
        int flags = 0;
        ssize_t n =
            nghttp2_hd_inflate_hd2(d, ret_pair, &flags, (const uint8_t *)block->ptr, block->len, 1);

        if (n < 0)
            return -1;
        *block = str_skip(*block, (size_t)n);
        if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0)
            return 1;
        if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0)
            return 0;
    }
}

static void again(struct hpack_encoder *e, struct hpack_decoder *d, const struct hpack_field *f)
{
    struct http_field field = {f->name, f->value, f->id, f->is_never_indexed};
    char *block = mem_alloc(f->name.len + f->value.len + HPACK_FIELD_BYTES + HPACK_BLOCK_BYTES);
    char *end = hpack_encode_begin(e, block);
    struct hpack_field got;

    end = f->kind == H2_FIELD ? hpack_encode_field(e, end, &field)
                              : hpack_encode_pseudo(e, end, f->kind, f->value);
    struct str s = str_from(block, (size_t)(end - block));
    hpack_decode_begin(d);
    ASSERT(hpack_decode(d, &s, &got) == 1 && s.len == 0);
    ASSERT(str_eq(got.value, f->value));
    ASSERT(str_eq(got.name, f->name) || f->kind == H2_PSEUDO_UNKNOWN);
    ASSERT(got.is_valid == f->is_valid || f->kind == H2_PSEUDO_UNKNOWN);
    ASSERT(d->table.size == e->table.size && d->table.size <= d->table.size_max);
    free(block);
}

struct bench {
    struct hpack_decoder ours, theirs_of_ours;
    struct hpack_encoder encoder;
    nghttp2_hd_inflater *foreign;
};

/* False: one of them has refused. */
static bool run_block(struct bench *b, struct str block)
{
    struct str mine = block, theirs = block;
    struct hpack_field f;
    nghttp2_nv pair;
    int got;

    hpack_decode_begin(&b->ours);
    do {
        got = hpack_decode(&b->ours, &mine, &f);
        int foreign = decode_foreign(b->foreign, &theirs, &pair);
        if (got < 0)
            return false; /* ours may be stricter */
        ASSERT(foreign == got);
        if (got == 0)
            break;
        ASSERT(str_eq(f.name, str_from((const char *)pair.name, pair.namelen)));
        ASSERT(str_eq(f.value, str_from((const char *)pair.value, pair.valuelen)));
        if (f.is_valid || f.name.len > 0)
            again(&b->encoder, &b->theirs_of_ours, &f);
    } while (got > 0);
    nghttp2_hd_inflate_end_headers(b->foreign);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = str_from((const char *)data, MIN(size, (size_t)FIELD_BYTES_MAX));
    struct bench b;

    hpack_decoder_init(&b.ours);
    hpack_decoder_init(&b.theirs_of_ours);
    hpack_encoder_init(&b.encoder);
    nghttp2_hd_inflate_new(&b.foreign);
    while (rest.len > 0) {
        struct str block = str_sub(rest, 1, (uint8_t)rest.ptr[0]);

        rest = str_skip(rest, 1 + block.len);
        if (!run_block(&b, block))
            break;
    }
    hpack_decoder_deinit(&b.ours);
    hpack_decoder_deinit(&b.theirs_of_ours);
    hpack_encoder_deinit(&b.encoder);
    nghttp2_hd_inflate_del(b.foreign);
    return 0;
}
