/* Messages of istio.v1.auth.IstioCertificateService/CreateCertificate: a CSR in, a chain out.
 * Thread: any; no state. */
#pragma once

#include "base/arena.h"

struct ca_codec_request {
    struct str csr_pem;
    uint64_t validity_s; /* 0: what the CA gives */
};

struct ca_codec_response {
    const struct str *chain_pem; /* leaf first, root last */
    size_t chain_count;
};

/* Strings of what is decoded live in the arena. -ERR_PROTOCOL: no such message; unknown fields are
 * passed over. */
void ca_codec_encode_request(const struct ca_codec_request *request, struct str_buf *to);
int ca_codec_decode_request(struct arena *a, struct str wire, struct ca_codec_request *ret_request);
void ca_codec_encode_response(const struct ca_codec_response *response, struct str_buf *to);
int ca_codec_decode_response(struct arena *a, struct str wire,
                             struct ca_codec_response *ret_response);
