/* The head of a message: request or response, in one form for HTTP/1 and HTTP/2.
 *
 * Everything that routing, policy and the other side see is canonical: field names in lower case,
 * values without outer white space, one authority, one path (design decision 17). The codecs fill
 * it, checked; nobody checks again.
 *
 * Lifetime: strings and the field array live in the exchange's arena. Thread: the loop's. */
#pragma once

#include "base/arena.h"
#include "base/str.h"

/* HTTP_NONE, of upstream connections only: a tunnel's bytes. */
enum http_version { HTTP_UNKNOWN = 0, HTTP_NONE = 1, HTTP_10 = 10, HTTP_11 = 11, HTTP_2 = 20 };

/* Names that code asks for by number; HTTP_NAME(id, "text") in names.def. */
enum http_name {
    HTTP_NAME_OTHER = 0,
#define HTTP_NAME(id, text) HTTP_NAME_##id,
#include "http/names.def"
#undef HTTP_NAME
    HTTP_NAME_COUNT,
};

/* Names as a set of bits. */
_Static_assert(HTTP_NAME_COUNT <= 64, "a set of names fits a word");
#define HTTP_NAME_BIT(id) (1ull << HTTP_NAME_##id)

struct str http_name_text(enum http_name id);
enum http_name http_name_find(struct str lower_case_name); /* perfect-hash or switch on length */

struct http_field {
    struct str name, value;
    enum http_name id;
    bool is_never_indexed; /* it came so by HTTP/2 and goes on so (RFC 7541 6.2.3) */
};

struct http_head {
    struct arena *arena;
    enum http_version version; /* as received; what is sent is the sender's matter */
    bool is_request;
    uint16_t status; /* response */
    struct str method, scheme, authority;
    struct str path;          /* canonical, with query: what is routed, judged and sent on */
    struct str original_path; /* as received, when it differs from path; else empty */
    /* What a request asks to switch to ("websocket", in lower case), or the null string. The method
     * is GET then, by whichever version it came; of a response that switches: what to. See
     * http_head_asks_tunnel. */
    struct str protocol;
    /* Without pseudo fields, Host, Content-Length (it is in `length`), and hop-by-hop fields. */
    struct http_field *fields;
    uint32_t field_count, field_cap;
    /* The ids among the first names_count fields, so that what is not there is not looked for. Who
     * writes `fields` past the functions below leaves them alone or calls http_head_index. */
    uint32_t names_count;
    uint64_t names;
    /* Framing, as the codec found it. */
    bool has_body; /* false: the message ends with its head */
    bool has_length;
    uint64_t length;       /* valid when has_length */
    bool is_grpc;          /* http_is_grpc_type(content-type) */
    bool expects_continue; /* Expect: 100-continue was asked (the field itself is stripped) */
    bool wants_trailers;   /* TE: trailers (kept for HTTP/2 upstreams) */
};

void http_head_init(struct http_head *h, struct arena *a, bool is_request);
/* Deep copy into another arena. */
void http_head_copy(struct http_head *to, const struct http_head *from, struct arena *a);

/* Notes which names there are, after fields were written directly. */
void http_head_index(struct http_head *h);

/* A request that asks for a tunnel: bytes both ways behind the heads, each way until its sender
 * ends it. Two kinds: `protocol` is set (HTTP/1: GET with Upgrade, RFC 9110 7.8; HTTP/2: CONNECT
 * with :protocol, RFC 8441; path and authority as ever), or the method is CONNECT (RFC 9110 9.3.6;
 * authority is host:port, path is empty). has_body is true, has_length false. */
bool http_head_asks_tunnel(const struct http_head *request);
/* The response that opens it: status 101 where a protocol was asked for (HTTP/2 says 200 on the
 * wire), 2xx to CONNECT. Any other is an ordinary response. */
bool http_head_opens_tunnel(const struct http_head *request, const struct http_head *response);

/* First value, or the null string (ptr NULL). */
struct str http_head_get(const struct http_head *h, enum http_name id);
struct str http_head_get_named(const struct http_head *h, struct str lower_case_name);
/* All values of a name joined by "," (RFC 9110 5.3), in the arena; null string when there is none.
 */
struct str http_head_get_joined(const struct http_head *h, struct str lower_case_name);
/* The strings are borrowed: literals, or in the head's arena. */
void http_head_add(struct http_head *h, enum http_name id, struct str value);
void http_head_add_named(struct http_head *h, struct str lower_case_name, struct str value);
void http_head_set(struct http_head *h, enum http_name id, struct str value); /* replaces all */
void http_head_set_named(struct http_head *h, struct str lower_case_name, struct str value);
unsigned http_head_remove(struct http_head *h, enum http_name id); /* how many went */
void http_head_remove_all_of(struct http_head *h, uint64_t names); /* set of HTTP_NAME_BIT */
unsigned http_head_remove_named(struct http_head *h, struct str lower_case_name);

/* path without query / the query after '?' (empty: none). */
struct str http_head_path_only(const struct http_head *h);
struct str http_head_query(const struct http_head *h);

/* application/grpc, alone or followed by "+..." or parameters; not application/grpc-web. */
bool http_is_grpc_type(struct str content_type);

/* "Unknown" when the number has no registered text. */
const char *http_status_text(unsigned status);
