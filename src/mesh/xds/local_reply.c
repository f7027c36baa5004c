/* local_reply_config: what becomes of the answers that a proxy makes itself. */
#include "base/err.h"
#include "mesh/xds/codec_priv.h"

enum { STATUS_MIN = 200, STATUS_MAX = 599 };

/* --- decoding --- */

static int decode_mapper_headers(struct decode *d, const struct pb_path *at,
                                 const Pb__Hcm__ResponseMapper *m, struct local_reply_mapper *to)
{
    struct header_edit *set = ARENA_ARRAY(d->arena, struct header_edit, m->n_headers_to_add);
    for (size_t i = 0; i < m->n_headers_to_add; i++) {
        if (decode_header_set(d, PB_AT_I(at, "headers_to_add", i), m->headers_to_add[i], &set[i]) !=
            0)
            return -ERR_INVALID;
    }
    to->headers.set = m->n_headers_to_add > 0 ? set : NULL;
    to->headers.set_count = m->n_headers_to_add;
    return 0;
}

static int decode_mapper(struct decode *d, const struct pb_path *at,
                         const Pb__Hcm__ResponseMapper *m, struct local_reply_mapper *to)
{
    if (m->filter == NULL)
        return decode_fail(d, PB_AT(at, "filter"), "a filter is needed");
    to->status = decode_u32(m->status_code, 0);
    if (m->status_code != NULL && (to->status < STATUS_MIN || to->status > STATUS_MAX))
        return decode_fail(d, PB_AT(at, "status_code"), "must lie between %d and %d", STATUS_MIN,
                           STATUS_MAX);
    to->has_body = m->body != NULL;
    if (to->has_body && decode_data_source(d, PB_AT(at, "body"), m->body, &to->body) != 0)
        return -ERR_INVALID;
    to->has_format = m->body_format_override != NULL;
    if (decode_access_log_filter(d, PB_AT(at, "filter"), m->filter, &to->filter) != 0 ||
        decode_format(d, PB_AT(at, "body_format_override"), m->body_format_override, &to->format) !=
            0)
        return -ERR_INVALID;
    return decode_mapper_headers(d, at, m, to);
}

int decode_local_reply(struct decode *d, const struct pb_path *at,
                       const Pb__Hcm__LocalReplyConfig *m, const struct local_reply **ret_reply)
{
    if (m == NULL)
        return 0;
    struct local_reply *reply = ARENA_NEW(d->arena, struct local_reply);
    struct local_reply_mapper *mappers =
        ARENA_ARRAY(d->arena, struct local_reply_mapper, m->n_mappers);
    for (size_t i = 0; i < m->n_mappers; i++) {
        if (decode_mapper(d, PB_AT_I(at, "mappers", i), m->mappers[i], &mappers[i]) != 0)
            return -ERR_INVALID;
    }
    reply->mappers = m->n_mappers > 0 ? mappers : NULL;
    reply->mapper_count = m->n_mappers;
    reply->has_format = m->body_format != NULL;
    if (decode_format(d, PB_AT(at, "body_format"), m->body_format, &reply->format) != 0)
        return -ERR_INVALID;
    *ret_reply = reply;
    return 0;
}

/* --- encoding --- */

static Pb__Hcm__ResponseMapper *encode_mapper(struct encode *e, const struct local_reply_mapper *in)
{
    Pb__Hcm__ResponseMapper *m = PB_NEW(e, Pb__Hcm__ResponseMapper, pb__hcm__response_mapper);
    m->filter = encode_access_log_filter(e, in->filter);
    m->status_code = in->status != 0 ? encode_u32(e, in->status) : NULL;
    m->body = in->has_body ? encode_inline(e, in->body) : NULL;
    m->body_format_override = in->has_format ? encode_format(e, &in->format) : NULL;
    m->n_headers_to_add = in->headers.set_count;
    m->headers_to_add = encode_header_set(e, &in->headers);
    return m;
}

Pb__Hcm__LocalReplyConfig *encode_local_reply(struct encode *e, const struct local_reply *in)
{
    if (in == NULL)
        return NULL;
    Pb__Hcm__LocalReplyConfig *m =
        PB_NEW(e, Pb__Hcm__LocalReplyConfig, pb__hcm__local_reply_config);
    m->mappers = PB_PTRS(e, Pb__Hcm__ResponseMapper, in->mapper_count);
    for (size_t i = 0; i < in->mapper_count; i++)
        m->mappers[m->n_mappers++] = encode_mapper(e, &in->mappers[i]);
    m->body_format = in->has_format ? encode_format(e, &in->format) : NULL;
    return m;
}
