/* Field sections in: HEADERS and CONTINUATION (RFC 9113 4.3, 6.2, 6.10).
 *
 * A section is decoded at once, when all of it is here: it changes the table of the connection, so
 * also when nobody wants it any more. */
#include "base/err.h"
#include "http/h2_session.h"

/* Each CONTINUATION of a peer that means well is a full frame; some are allowed to be smaller. */
enum { CONTINUATIONS_MAX = 32 };

/* --- old numbers ---------------------------------------------------------------------------- */

/* We reset it: what was under way then is no fault. When so many were reset that the older ones are
 * forgotten, the benefit of the doubt is theirs. */
static bool was_reset(const struct h2_past *past, uint32_t id)
{
    uint32_t kept = MIN(past->resets_count, (uint32_t)H2_RESETS_KEPT);
    bool is_older = past->resets_count > H2_RESETS_KEPT;

    for (uint32_t i = 0; i < kept; i++) {
        if (past->resets[i] == id)
            return true;
        is_older &= id < past->resets[i];
    }
    return is_older;
}

/* RFC 9113 5.1.1: numbers that were passed over are used up. */
static bool was_left_out(const struct h2_past *past, uint32_t id)
{
    for (uint32_t i = 0; i < MIN(past->gaps_count, (uint32_t)H2_GAPS_KEPT); i++) {
        if (id >= past->gaps[i].from && id <= past->gaps[i].to)
            return true;
    }
    return false;
}

static void use_number(struct h2_session *h, uint32_t id)
{
    struct h2_past *past = &h->past;

    if (id > h->last_id + 2) {
        uint32_t at = past->gaps_count++ % H2_GAPS_KEPT;
        past->gaps[at].from = h->last_id + 1;
        past->gaps[at].to = id - 1;
    }
    h->last_id = id;
}

bool h2_section_is_idle(const struct h2_session *h, uint32_t id)
{
    bool is_theirs = (id & 1) == 1;

    if (h->is_server)
        return !is_theirs || id > h->last_id;
    return !is_theirs || id >= h->next_id;
}

bool h2_section_is_forgotten(const struct h2_session *h, uint32_t id)
{
    return id > h->goaway_id || was_reset(&h->past, id);
}

/* --- decoding ------------------------------------------------------------------------------- */

/* Into h->reader, or nowhere. False: the connection is broken. */
static bool decode(struct h2_session *h, struct str block, bool is_wanted)
{
    struct hpack_field field;
    int got;

    hpack_decode_begin(&h->decoder);
    while ((got = hpack_decode(&h->decoder, &block, &field)) > 0) {
        if (is_wanted)
            h2_head_reader_add(&h->reader, &field);
    }
    if (got < 0)
        h2_session_terminate(h, H2_COMPRESSION_ERROR);
    return got == 0;
}

static enum h2_head_kind kind_of(const struct h2_session *h, const struct h2_stream *st)
{
    if (st->is_head_in)
        return H2_HEAD_TRAILERS;
    return h->is_server ? H2_HEAD_REQUEST : H2_HEAD_RESPONSE;
}

/* A trailer section ends its stream (RFC 9113 8.1); so does no interim response. */
static bool is_end_right(const struct h2_session *h, const struct h2_stream *st, bool is_ended)
{
    if (st->is_head_in)
        return is_ended;
    return h->is_server || !is_ended || h->reader.head->status >= 200;
}

static void deliver(struct h2_session *h, struct h2_stream *st, struct str block, bool is_ended)
{
    st->has_input = true;
    if (!st->is_attached) { /* nobody waits for it, but our own side goes on */
        if (decode(h, block, false) && is_ended) {
            st->has_length = false;
            h2_stream_recv_end(st);
        }
        return;
    }
    h2_head_reader_init(&h->reader, kind_of(h, st), h->limits, &st->x->arena);
    h->reader.allows_connect = h->allows_connect;
    if (!decode(h, block, true))
        return;
    if (!is_end_right(h, st, is_ended) || h->in.is_self_dependent) {
        h2_stream_reject(st, H2_PROTOCOL_ERROR);
        return;
    }
    if (!st->is_head_in) {
        h->reader.is_malformed |= !h2_stream_expect(st, h->reader.head, is_ended);
        st->is_in_ended = is_ended;
    }
    h->ops->on_head(st, is_ended);
}

/* RFC 9113 5.1.2, 5.1.1. */
static void begin_stream(struct h2_session *h, uint32_t id, struct str block, bool is_ended)
{
    use_number(h, id);
    if (id > h->goaway_id) {
        decode(h, block, false); /* the peer was told */
        return;
    }
    if (h->open_count >= h->limits->streams_per_connection_max ||
        (h->ops->may_begin != NULL && !h->ops->may_begin(h))) {
        if (!decode(h, block, false))
            return;
        if (!is_ended)
            h->past.resets[h->past.resets_count++ % H2_RESETS_KEPT] = id;
        h2_session_annoy(h, H2_ANNOY_RESET);
        h2_output_u32(h, H2_RST_STREAM, id, H2_REFUSED_STREAM);
        return;
    }
    deliver(h, h->ops->on_new_stream(h, id), block, is_ended);
}

static void recv_old(struct h2_session *h, uint32_t id, struct str block)
{
    if (h2_section_is_forgotten(h, id))
        decode(h, block, false);
    else
        h2_session_terminate(h, was_left_out(&h->past, id) ? H2_PROTOCOL_ERROR : H2_STREAM_CLOSED);
}

static void recv_section(struct h2_session *h, const struct h2_frame *f, struct str block)
{
    struct h2_stream *st = h2_stream_find(h, f->id);
    bool is_ended = (f->flags & H2_FLAG_END_STREAM) != 0;

    if (h->in.is_waiting && h->ops->on_section != NULL)
        h->ops->on_section(h, true);
    h->in.is_waiting = false;
    if (st == NULL && h2_section_is_idle(h, f->id))
        begin_stream(h, f->id, block, is_ended);
    else if (st == NULL)
        recv_old(h, f->id, block);
    else if (!st->is_in_ended)
        deliver(h, st, block, is_ended);
    else if (decode(h, block, false))
        h2_stream_reject(st, H2_STREAM_CLOSED);
}

/* --- frames --------------------------------------------------------------------------------- */

/* RFC 9113 6.2. False: the frame is broken. */
static bool strip(const struct h2_frame *f, struct str *payload, bool *ret_is_self_dependent)
{
    size_t pad = 0;

    *ret_is_self_dependent = false;
    if ((f->flags & H2_FLAG_PADDED) != 0) {
        if (payload->len < 1)
            return false;
        pad = (uint8_t)payload->ptr[0];
        *payload = str_skip(*payload, 1);
    }
    if ((f->flags & H2_FLAG_PRIORITY) != 0) {
        if (payload->len < H2_PRIORITY_LEN)
            return false;
        *ret_is_self_dependent = (h2_get_u32(payload->ptr) & 0x7fffffff) == f->id;
        *payload = str_skip(*payload, H2_PRIORITY_LEN);
    }
    if (pad > payload->len)
        return false;
    payload->len -= pad;
    return true;
}

/* A section on a number that nobody may use yet, or never. */
static bool is_number_wrong(const struct h2_session *h, uint32_t id)
{
    if (id == 0)
        return true;
    return h->is_server ? (id & 1) == 0 : h2_section_is_idle(h, id);
}

void h2_section_recv_headers(struct h2_session *h, const struct h2_frame *f, struct str payload)
{
    if (is_number_wrong(h, f->id) || !strip(f, &payload, &h->in.is_self_dependent)) {
        h2_session_terminate(h, H2_PROTOCOL_ERROR);
        return;
    }
    if ((f->flags & H2_FLAG_END_HEADERS) != 0) {
        recv_section(h, f, payload);
        return;
    }
    h->in.section = *f;
    h->in.is_in_section = true;
    h->in.continuations = 0;
    str_buf_reset(&h->in.block);
    str_buf_add(&h->in.block, payload);
    h2_section_wait(h);
}

void h2_section_wait(struct h2_session *h)
{
    if (!h->in.is_waiting && h->ops->on_section != NULL)
        h->ops->on_section(h, false);
    h->in.is_waiting = true;
}

void h2_section_recv_continuation(struct h2_session *h, const struct h2_frame *f,
                                  struct str payload)
{
    if (!h->in.is_in_section || f->id != h->in.section.id) {
        h2_session_terminate(h, H2_PROTOCOL_ERROR);
        return;
    }
    str_buf_add(&h->in.block, payload);
    if (h->in.block.is_overflown || ++h->in.continuations > CONTINUATIONS_MAX) {
        h2_session_terminate(h, H2_ENHANCE_YOUR_CALM);
        return;
    }
    if ((f->flags & H2_FLAG_END_HEADERS) == 0)
        return;
    h->in.is_in_section = false;
    recv_section(h, &h->in.section, str_buf_str(&h->in.block));
    str_buf_deinit(&h->in.block);
    h->in.block = STR_BUF_INIT(h->in.block.len_max);
}
