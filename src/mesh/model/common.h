/* Shapes that several resources share. Plain and immutable; see resource.h for life times. */
#pragma once

#include "base/str.h"
#include "codec/cidr.h"

/* Where a piece of configuration comes from: stable over edits of its document, e.g.
 * "AuthorizationPolicy/shop/payment-allow-orders#rules[0]". Empty: unknown. */
struct origin {
    struct str text;
};

/* envoy.type.matcher.v3.StringMatcher. */
enum string_match_kind {
    STRING_MATCH_ANY, /* present (exists at all) */
    STRING_MATCH_EXACT,
    STRING_MATCH_PREFIX,
    STRING_MATCH_SUFFIX,
    STRING_MATCH_CONTAINS,
    STRING_MATCH_REGEX, /* of the whole string; case as the pattern says */
};

struct regex;
struct string_match {
    enum string_match_kind kind;
    bool ignore_case;
    struct str value;          /* REGEX: the pattern */
    const struct regex *regex; /* REGEX: the same, compiled */
};

/* envoy.config.route.v3.HeaderMatcher. name in lower case; ":authority", ":method", ":path" too. */
struct header_match {
    struct str name;
    struct string_match value; /* ANY: present_match */
    bool is_inverted;          /* invert_match */
    bool treat_missing_as_empty;
};

/* envoy.config.core.v3.HeaderValueOption.append_action. */
enum header_action {
    HEADER_APPEND, /* APPEND_IF_EXISTS_OR_ADD */
    HEADER_ADD_IF_ABSENT,
    HEADER_SET,           /* OVERWRITE_IF_EXISTS_OR_ADD */
    HEADER_SET_IF_EXISTS, /* OVERWRITE_IF_EXISTS */
};

struct header_edit {
    struct str name, value;
    enum header_action action;
};

struct header_edits {
    const struct header_edit *set;
    size_t set_count;
    const struct str *remove;
    size_t remove_count;
};

/* An address of configuration: literal IP and port, or a unix path (pipe). */
struct model_addr {
    struct ip_addr ip; /* family 0: none */
    uint16_t port;
    struct str path; /* unix socket */
};

/* upgrade_configs of a listener or a route: which tunnels a request may ask for. */
struct upgrade_config {
    struct str type; /* "websocket", in lower case; "connect" stands for the method */
    bool is_enabled;
    bool is_ended_here; /* of a route, "connect" only: bytes go to the cluster by plain TCP */
};

/* envoy.config.core.v3.Http2ProtocolOptions; 0: the process's own (limits.def, or the codec's). */
struct http2_options {
    uint32_t streams_max;         /* that the peer may open; of a cluster: that we open */
    uint32_t stream_window_bytes; /* what the peer may send ahead */
    uint32_t connection_window_bytes;
    uint32_t outbound_frames_max, outbound_control_frames_max; /* waiting to be written */
    uint32_t empty_frames_max;                                 /* in a row, without payload */
    uint32_t priority_frames_max;                              /* a stream */
    uint32_t window_updates_max;                               /* a DATA frame of ours */
    bool allow_connect; /* of a listener: CONNECT, and RFC 8441's with a protocol */
};

/* envoy.type.v3.FractionalPercent, in millionths. */
enum { MODEL_PARTS_ALL = 1000000 };

#define MODEL_UNSET_U32 UINT32_MAX
#define MODEL_UNSET_U64 UINT64_MAX
