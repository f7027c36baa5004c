/* CreateCertificate: who asks, and which name that gives. */
#include "base/log.h"
#include "control/push/push_priv.h"
#include "mesh/xds/ca_codec.h"

enum { LEAF_PEM_MAX = 64 * 1024 };

/* Whether any Workload document has this identity: a deleted one's is not renewed. */
static bool is_known(const struct push *p, struct str identity)
{
    struct registry_docs docs = registry_docs(p->registry, API_KIND_WORKLOAD, STR_NULL);
    struct arena a;
    bool is_found = false;
    arena_init(&a, 512);
    for (size_t i = 0; i < docs.len && !is_found; i++) {
        is_found = str_eq(registry_identity(p->registry, docs.ptr[i], &a), identity);
        arena_reset(&a);
    }
    arena_deinit(&a);
    return is_found;
}

static enum grpc_status by_token(struct push *p, struct str token, uint64_t now_s, struct arena *a,
                                 struct str *ret_identity, struct str_buf *why)
{
    struct str namespace_, workload;
    uint32_t index;
    int err = ca_token_redeem(p->store, token, now_s, a, &namespace_, &workload, &index);
    if (err != 0) {
        str_buf_add_c(why, "the token is not known, used or over");
        return err == -ERR_UNAUTHENTICATED ? GRPC_UNAUTHENTICATED : GRPC_UNAVAILABLE;
    }
    const struct api_document *d =
        registry_doc(p->registry, API_KIND_WORKLOAD, namespace_, workload);
    if (d == NULL) {
        str_buf_add_c(why, "the token's Workload is gone");
        return GRPC_PERMISSION_DENIED;
    }
    *ret_identity = registry_identity(p->registry, d, a);
    return GRPC_OK;
}

static enum grpc_status attest(struct push *p, struct str peer, struct str token, uint64_t now_s,
                               struct arena *a, struct str *ret_identity, struct str_buf *why)
{
    if (token.len > 0)
        return by_token(p, token, now_s, a, ret_identity, why);
    if (peer.len == 0) {
        str_buf_add_c(why, "neither a token nor a client certificate");
        return GRPC_UNAUTHENTICATED;
    }
    if (!is_known(p, peer)) {
        str_buf_add_c(why, "no Workload has this identity any more");
        return GRPC_PERMISSION_DENIED;
    }
    *ret_identity = peer;
    return GRPC_OK;
}

static enum grpc_status issue(struct push *p, struct arena *a, const struct ca_codec_request *m,
                              struct str identity, uint64_t now_s, struct str_buf *ret_response,
                              struct str_buf *why)
{
    struct str_buf leaf = STR_BUF_INIT(LEAF_PEM_MAX);
    uint64_t lifetime_s = registry_mesh(p->registry)->leaf_lifetime_ms / 1000;
    struct ca_request r = {m->csr_pem, identity, now_s, lifetime_s};
    int err = ca_issue(p->ca, &r, &leaf, why);
    if (err == 0) {
        struct str chain[] = {arena_str(a, str_buf_str(&leaf)), ca_bundle(p->ca)};
        ca_codec_encode_response(&(struct ca_codec_response){chain, ARRAY_LEN(chain)},
                                 ret_response);
        p->counters.certificates++;
    }
    str_buf_deinit(&leaf);
    p->counters.csr_sign += err != 0;
    if (err == 0)
        return GRPC_OK;
    return err_is_retryable(err) ? GRPC_UNAVAILABLE : GRPC_INVALID_ARGUMENT;
}

enum grpc_status push_create_certificate(struct push *p, struct str identity, struct str token,
                                         struct str request, struct str_buf *ret_response,
                                         struct str_buf *why)
{
    struct arena a;
    struct ca_codec_request m;
    struct str name = STR_NULL;
    uint64_t now_s = turn_wall_us(p->turn) / 1000000;
    enum grpc_status status = GRPC_INVALID_ARGUMENT;
    arena_init(&a, 4096);
    if (ca_codec_decode_request(&a, request, &m) != 0) {
        p->counters.csr_parsing++;
        str_buf_add_c(why, "not an IstioCertificateRequest");
    } else {
        status = attest(p, identity, token, now_s, &a, &name, why);
        if (status == GRPC_OK && registry_is_revoked(p->registry, name)) {
            str_buf_add_c(why, "this identity is revoked");
            status = GRPC_PERMISSION_DENIED;
        }
        p->counters.authentication += status != GRPC_OK;
        if (status == GRPC_OK)
            status = issue(p, &a, &m, name, now_s, ret_response, why);
    }
    if (status != GRPC_OK)
        p->counters.rejects++;
    log_event(status == GRPC_OK ? LOG_INFO : LOG_WARN,
              status == GRPC_OK ? "certificate_issued" : "certificate_refused",
              LF("identity", name.len > 0 ? name : identity), LF("reason", str_buf_str(why)));
    arena_deinit(&a);
    return status;
}
