/* HttpProtocolOptions and Http2ProtocolOptions, as listeners and clusters share them. */
#include "base/err.h"
#include "mesh/xds/codec_priv.h"

enum { STREAMS_MAX = INT32_MAX, WINDOW_MIN = 65535, WINDOW_MAX = INT32_MAX };
enum { RESPONSE_HEADERS_KB_MAX = 8192 };

/* A number of the message, where it goes, and what it may be. */
struct number {
    const char *name;
    const Pb__UInt32Value *value;
    uint32_t min, max;
    uint32_t *to;
};

static int decode_numbers(struct decode *d, const struct pb_path *at, const struct number *rows,
                          size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct number *n = &rows[i];
        if (n->value == NULL)
            continue;
        if (n->value->value < n->min || n->value->value > n->max)
            return decode_fail(d, PB_AT(at, n->name), "must lie between %u and %u", n->min, n->max);
        *n->to = n->value->value;
    }
    return 0;
}

int decode_http2_options(struct decode *d, const struct pb_path *at,
                         const Pb__Core__Http2ProtocolOptions *m, struct http2_options *options)
{
    if (m == NULL)
        return 0;
    const struct number rows[] = {
        {"max_concurrent_streams", m->max_concurrent_streams, 1, STREAMS_MAX,
         &options->streams_max},
        {"initial_stream_window_size", m->initial_stream_window_size, WINDOW_MIN, WINDOW_MAX,
         &options->stream_window_bytes},
        {"initial_connection_window_size", m->initial_connection_window_size, WINDOW_MIN,
         WINDOW_MAX, &options->connection_window_bytes},
        {"max_outbound_frames", m->max_outbound_frames, 1, UINT32_MAX,
         &options->outbound_frames_max},
        {"max_outbound_control_frames", m->max_outbound_control_frames, 1, UINT32_MAX,
         &options->outbound_control_frames_max},
        {"max_consecutive_inbound_frames_with_empty_payload",
         m->max_consecutive_inbound_frames_with_empty_payload, 1, UINT32_MAX,
         &options->empty_frames_max},
        {"max_inbound_priority_frames_per_stream", m->max_inbound_priority_frames_per_stream, 1,
         UINT32_MAX, &options->priority_frames_max},
        {"max_inbound_window_update_frames_per_data_frame_sent",
         m->max_inbound_window_update_frames_per_data_frame_sent, 1, UINT32_MAX,
         &options->window_updates_max},
    };
    options->allow_connect = m->allow_connect != 0;
    return decode_numbers(d, at, rows, ARRAY_LEN(rows));
}

int decode_http_options(struct decode *d, const struct pb_path *at,
                        const Pb__Core__HttpProtocolOptions *m, const struct http_options *to)
{
    if (m == NULL)
        return 0;
    if (to->max_response_headers_kb == NULL && m->max_response_headers_kb != NULL)
        return decode_fail(d, PB_AT(at, "max_response_headers_kb"),
                           "is of a cluster's options; a listener has max_request_headers_kb");
    uint32_t none = 0;
    const struct number rows[] = {
        {"max_response_headers_kb", m->max_response_headers_kb, 1, RESPONSE_HEADERS_KB_MAX,
         to->max_response_headers_kb != NULL ? to->max_response_headers_kb : &none},
        {"max_headers_count", m->max_headers_count, 1, UINT32_MAX, to->max_headers_count},
        {"max_requests_per_connection", m->max_requests_per_connection, 0, UINT32_MAX,
         to->max_requests_per_connection},
    };
    if (decode_duration(d, PB_AT(at, "idle_timeout"), m->idle_timeout, *to->idle_timeout_us,
                        to->idle_timeout_us) != 0 ||
        decode_duration(d, PB_AT(at, "max_connection_duration"), m->max_connection_duration, 0,
                        to->max_connection_duration_us) != 0 ||
        decode_duration(d, PB_AT(at, "max_stream_duration"), m->max_stream_duration, 0,
                        to->max_stream_duration_us) != 0)
        return -ERR_INVALID;
    return decode_numbers(d, at, rows, ARRAY_LEN(rows));
}

/* --- encoding --- */

static Pb__UInt32Value *encode_set(struct encode *e, uint32_t value)
{
    return value != 0 ? encode_u32(e, value) : NULL;
}

static Pb__Duration *encode_set_duration(struct encode *e, uint64_t value_us)
{
    return value_us != 0 ? encode_duration(e, value_us) : NULL;
}

Pb__Core__Http2ProtocolOptions *encode_http2_options(struct encode *e,
                                                     const struct http2_options *in)
{
    Pb__Core__Http2ProtocolOptions *m =
        PB_NEW(e, Pb__Core__Http2ProtocolOptions, pb__core__http2_protocol_options);
    m->has_allow_connect = m->allow_connect = in->allow_connect;
    m->max_concurrent_streams = encode_set(e, in->streams_max);
    m->initial_stream_window_size = encode_set(e, in->stream_window_bytes);
    m->initial_connection_window_size = encode_set(e, in->connection_window_bytes);
    m->max_outbound_frames = encode_set(e, in->outbound_frames_max);
    m->max_outbound_control_frames = encode_set(e, in->outbound_control_frames_max);
    m->max_consecutive_inbound_frames_with_empty_payload = encode_set(e, in->empty_frames_max);
    m->max_inbound_priority_frames_per_stream = encode_set(e, in->priority_frames_max);
    m->max_inbound_window_update_frames_per_data_frame_sent = encode_set(e, in->window_updates_max);
    return m;
}

Pb__Core__HttpProtocolOptions *encode_http_options(struct encode *e, const struct http_options *in,
                                                   uint64_t idle_fallback_us)
{
    Pb__Core__HttpProtocolOptions *m =
        PB_NEW(e, Pb__Core__HttpProtocolOptions, pb__core__http_protocol_options);
    if (*in->idle_timeout_us != idle_fallback_us)
        m->idle_timeout = encode_duration(e, *in->idle_timeout_us);
    m->max_headers_count = encode_set(e, *in->max_headers_count);
    if (in->max_response_headers_kb != NULL)
        m->max_response_headers_kb = encode_set(e, *in->max_response_headers_kb);
    m->max_connection_duration = encode_set_duration(e, *in->max_connection_duration_us);
    m->max_stream_duration = encode_set_duration(e, *in->max_stream_duration_us);
    m->max_requests_per_connection = encode_set(e, *in->max_requests_per_connection);
    bool is_empty = m->idle_timeout == NULL && m->max_headers_count == NULL &&
                    m->max_response_headers_kb == NULL && m->max_connection_duration == NULL &&
                    m->max_stream_duration == NULL && m->max_requests_per_connection == NULL;
    return is_empty ? NULL : m;
}
