#include "http/h1_fuzz_util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result {
    struct str_buf data;
    bool is_ended, is_bad;
    size_t left;
};

static void read_all(struct h1_body *b, struct chain *in, const struct limits *l, struct result *r)
{
    struct arena a;
    struct h1_error error;

    arena_init(&a, 1024);
    while (!r->is_ended && !r->is_bad) {
        struct http_head trailers;
        size_t len = 0;
        enum h1_next next = h1_body_next(b, in, l, &len, &error);

        if (next == H1_NEXT_MORE)
            break;
        FUZZ_CHECK(len <= in->len);
        if (next == H1_NEXT_DATA) {
            str_buf_add(&r->data, chain_pullup(in, len));
            chain_skip(in, len);
            h1_body_taken(b, len);
        } else if (next == H1_NEXT_TRAILERS) {
            r->is_bad =
                h1_parse_trailers(h1_text_copy(&a, in, len), len, l, &a, &trailers, &error) < 0;
            chain_skip(in, len);
        }
        r->is_ended = next == H1_NEXT_END;
        r->is_bad |= next == H1_NEXT_BAD;
    }
    r->left = in->len;
    arena_deinit(&a);
}

static void decode(struct str input, size_t split, struct result *r)
{
    struct limits l = test_limits();
    struct h1_body body;
    struct chain in;

    *r = (struct result){.data = STR_BUF_INIT(1 << 24)};
    chain_init(&in, NULL, NULL);
    h1_body_init(&body, &(struct h1_framing){.body = H1_BODY_CHUNKED});
    test_add_slice(&in, str_sub(input, 0, split));
    read_all(&body, &in, &l, r);
    if (!r->is_ended && !r->is_bad) {
        test_add_slice(&in, str_skip(input, split));
        read_all(&body, &in, &l, r);
    }
    chain_deinit(&in);
}

static void encode_again(const struct result *r)
{
    struct chain data, out;
    struct result again;

    chain_init(&data, NULL, NULL);
    chain_init(&out, NULL, NULL);
    chain_add(&data, str_buf_str(&r->data));
    if (data.len > 0)
        h1_chunk_move(&out, &data, data.len);
    h1_chunk_end(&out, NULL);
    decode(chain_pullup(&out, out.len), 0, &again);
    FUZZ_CHECK(again.is_ended && again.left == 0);
    FUZZ_CHECK(str_eq(str_buf_str(&again.data), str_buf_str(&r->data)));
    str_buf_deinit(&again.data);
    chain_deinit(&data);
    chain_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str input = str_from((const char *)data, size);
    struct result whole, pieces;

    decode(input, size, &whole);
    decode(input, size == 0 ? 0 : data[size / 2] % size, &pieces);
    FUZZ_CHECK(whole.is_ended == pieces.is_ended && whole.is_bad == pieces.is_bad);
    FUZZ_CHECK(str_eq(str_buf_str(&whole.data), str_buf_str(&pieces.data)));
    if (whole.is_ended)
        encode_again(&whole);
    str_buf_deinit(&whole.data);
    str_buf_deinit(&pieces.data);
    return 0;
}
