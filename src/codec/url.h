/* Request targets and authorities: split strictly, brought to the one canonical form that routing,
 * authorization and the upstream all see (RFC 3986 section 6.2.2).
 *
 * Pure functions; results point into the input or into the caller's arena. */
#pragma once

#include "base/arena.h"
#include "base/str.h"

enum url_escaped_slashes { URL_SLASHES_KEEP, URL_SLASHES_REJECT, URL_SLASHES_UNESCAPE };

enum url_backslash {
    URL_BACKSLASH_TO_SLASH, /* '\' becomes '/', as browsers and Istio do */
    URL_BACKSLASH_REJECT,
    URL_BACKSLASH_KEEP, /* escaped as %5C, to which then applies what escaped_slashes says */
};

/* Each by itself; what they ask for is done in Envoy's order: escaped slashes, the form of RFC
 * 3986, merging. */
struct url_path_options {
    bool is_normalized; /* escapes, dot segments, bytes that no path may hold */
    bool is_slash_merged;
    enum url_escaped_slashes escaped_slashes; /* %2F and %5C */
    enum url_backslash backslash;             /* where it is normalized */
    /* Not of the path: hosts are not told apart here, and what is no authority is none. Clients of
     * gRPC that come by a unix socket send its path. HTTP/2 only. */
    bool is_authority_unread;
};

/* Istio's default (pathNormalization BASE). */
extern const struct url_path_options url_path_options_base;

enum url_result {
    URL_OK,
    URL_BAD_EMPTY,         /* no path, or one that does not start with '/' */
    URL_BAD_BYTE,          /* control byte, space, or above 0x7e */
    URL_BAD_ESCAPE,        /* '%' without two hexadecimal digits */
    URL_BAD_NUL,           /* %00 */
    URL_BAD_FRAGMENT,      /* '#' in a request target */
    URL_BAD_ESCAPED_SLASH, /* and the options refuse them */
    URL_BAD_BACKSLASH,     /* likewise */
    URL_BAD_ABOVE_ROOT,    /* ".." would leave the root */
    URL_BAD_AUTHORITY,
};

const char *url_result_text(enum url_result result);

/* A request target in origin-form, cut at its first '?'. The query is without '?', verbatim;
 * has_query tells "/a?" from "/a". A '#' anywhere is refused. Views into target. */
enum url_result url_split_target(struct str target, struct str *ret_path, struct str *ret_query,
                                 bool *ret_has_query);

/* The canonical form of a path (without query): unreserved escapes decoded, the other escapes in
 * upper case, visible bytes that RFC 3986 keeps out of paths (but for '[' and ']') escaped,
 * backslashes and slashes as the options say, dot segments removed (encoded ones too).
 * Canonical input is returned as it is, without a copy; else the result is in the arena. Doing it
 * twice changes nothing. */
enum url_result url_path_canonical(struct arena *a, struct str path,
                                   const struct url_path_options *options, struct str *ret_path);

/* An absolute-form target: scheme (lower case a-z only), authority, and the rest ("/" when there
 * is no path). Userinfo is refused. */
enum url_result url_split_absolute(struct arena *a, struct str url, struct str *ret_scheme,
                                   struct str *ret_authority, struct str *ret_target);

struct url_authority {
    struct str host; /* as written, brackets removed */
    uint16_t port;   /* 0: none was given */
    bool is_ipv6;    /* was in brackets */
};

/* host, host:port, [v6], [v6]:port (RFC 3986 3.2.2). Refuses userinfo, empty hosts, bytes that do
 * not belong into a reg-name, ports that are not 1..65535, brackets around what is no IPv6. */
enum url_result url_split_authority(struct str authority, struct url_authority *ret_authority);

/* The host as routes see it: lower case, without a trailing dot. In the arena, or the input itself
 * when that is canonical. */
struct str url_host_canonical(struct arena *a, struct str host);

/* Decodes every %XX; '+' stays. False on a malformed escape. In the arena, or the input itself. */
bool url_decode(struct arena *a, struct str s, struct str *ret_text);

/* The raw value of the first parameter of that name in a query (a=1&b=2); names are compared after
 * decoding. False when there is none. "a" has the empty value. */
bool url_query_get(struct str query, struct str name, struct str *ret_value);
