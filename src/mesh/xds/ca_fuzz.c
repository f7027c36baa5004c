/* Requests for a certificate, and what comes back: what decodes encodes and decodes to the same. */
#include "mesh/xds/ca_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LEN_MAX = 1 << 22 };

static void check_request(struct arena *a, struct str wire)
{
    struct ca_codec_request first, second;
    struct str_buf again = STR_BUF_INIT(LEN_MAX);
    if (ca_codec_decode_request(a, wire, &first) == 0) {
        ca_codec_encode_request(&first, &again);
        ASSERT(ca_codec_decode_request(a, str_buf_str(&again), &second) == 0);
        ASSERT(str_eq(first.csr_pem, second.csr_pem) && first.validity_s == second.validity_s);
    }
    str_buf_deinit(&again);
}

static void check_response(struct arena *a, struct str wire)
{
    struct ca_codec_response first, second;
    struct str_buf again = STR_BUF_INIT(LEN_MAX);
    if (ca_codec_decode_response(a, wire, &first) == 0) {
        ca_codec_encode_response(&first, &again);
        ASSERT(ca_codec_decode_response(a, str_buf_str(&again), &second) == 0);
        ASSERT(first.chain_count == second.chain_count);
        for (size_t i = 0; i < first.chain_count; i++)
            ASSERT(str_eq(first.chain_pem[i], second.chain_pem[i]));
    }
    str_buf_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str wire = str_from((const char *)data, size);
    struct arena a;
    arena_init(&a, 1024);
    check_request(&a, wire);
    check_response(&a, wire);
    arena_deinit(&a);
    return 0;
}
