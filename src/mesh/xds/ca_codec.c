#include "mesh/xds/ca_codec.h"

#include "base/err.h"
#include "mesh/xds/pb.h"
#include "mesh/xds/pb_check.h"

enum { MESSAGE_LEN_MAX = 1 << 20, BLOCK_LEN = 4096 };

/* NULL: no such message. */
static const void *decode(struct arena *a, const ProtobufCMessageDescriptor *desc, struct str wire)
{
    if (wire.len > MESSAGE_LEN_MAX || pb_check(desc, wire, PB_CHECK_TOLERANT, NULL, NULL) != 0)
        return NULL;
    return pb_unpack(a, desc, wire);
}

void ca_codec_encode_request(const struct ca_codec_request *request, struct str_buf *to)
{
    struct arena a;
    arena_init(&a, BLOCK_LEN);
    Pb__Ca__IstioCertificateRequest m;
    pb__ca__istio_certificate_request__init(&m);
    m.csr = arena_str(&a, request->csr_pem).ptr;
    m.has_validity_duration = request->validity_s > 0;
    m.validity_duration = (int64_t)MIN(request->validity_s, (uint64_t)INT64_MAX);
    pb_pack(&m.base, to);
    arena_deinit(&a);
}

int ca_codec_decode_request(struct arena *a, struct str wire, struct ca_codec_request *ret_request)
{
    const Pb__Ca__IstioCertificateRequest *m =
        decode(a, &pb__ca__istio_certificate_request__descriptor, wire);
    if (m == NULL || m->validity_duration < 0)
        return -ERR_PROTOCOL;
    ret_request->csr_pem = str_from_c(m->csr);
    ret_request->validity_s = (uint64_t)m->validity_duration;
    return 0;
}

void ca_codec_encode_response(const struct ca_codec_response *response, struct str_buf *to)
{
    struct arena a;
    arena_init(&a, BLOCK_LEN);
    Pb__Ca__IstioCertificateResponse m;
    pb__ca__istio_certificate_response__init(&m);
    m.n_cert_chain = response->chain_count;
    m.cert_chain = arena_alloc(&a, sizeof(char *) * (response->chain_count + 1));
    for (size_t i = 0; i < response->chain_count; i++)
        m.cert_chain[i] = arena_str(&a, response->chain_pem[i]).ptr;
    pb_pack(&m.base, to);
    arena_deinit(&a);
}

int ca_codec_decode_response(struct arena *a, struct str wire,
                             struct ca_codec_response *ret_response)
{
    const Pb__Ca__IstioCertificateResponse *m =
        decode(a, &pb__ca__istio_certificate_response__descriptor, wire);
    if (m == NULL)
        return -ERR_PROTOCOL;
    struct str *chain = ARENA_ARRAY(a, struct str, m->n_cert_chain);
    for (size_t i = 0; i < m->n_cert_chain; i++)
        chain[i] = str_from_c(m->cert_chain[i]);
    ret_response->chain_pem = chain;
    ret_response->chain_count = m->n_cert_chain;
    return 0;
}
