#include "http/h1_parse.h"

#include "base/err.h"
#include "http/target.h"

enum { METHOD_LEN_MAX = 32, VERSION_LEN = 8 };

static int refuse(uint16_t status, struct str details, struct h1_error *ret_error)
{
    *ret_error = (struct h1_error){status, details};
    return status == 414 || status == 431                    ? -ERR_TOO_LARGE
           : status == 501 || status == 505 || status == 426 ? -ERR_UNSUPPORTED
                                                             : -ERR_PROTOCOL;
}

/* RFC 9112 2.3: "HTTP/1.0" or "HTTP/1.1" at p; the text goes on for at least 8 bytes (pad). */
static int parse_version(const char *p, enum http_version *ret_version, struct h1_error *ret_error)
{
    if (memcmp(p, "HTTP/", 5) != 0 || p[5] < '0' || p[5] > '9' || p[6] != '.' || p[7] < '0' ||
        p[7] > '9')
        return refuse(400, STR("version_invalid"), ret_error);
    if (p[5] != '1' || p[7] > '1')
        return refuse(505, STR("version_unsupported"), ret_error);
    *ret_version = p[7] == '1' ? HTTP_11 : HTTP_10;
    return 0;
}

static struct str lowered(struct arena *a, struct str s)
{
    char *copy = arena_bytes(a, s.len);

    for (size_t i = 0; i < s.len; i++)
        copy[i] = (char)(s.ptr[i] >= 'A' && s.ptr[i] <= 'Z' ? s.ptr[i] | 0x20 : s.ptr[i]);
    return str_from(copy, s.len);
}

/* --- request line ----------------------------------------------------------------------------- */

struct request {
    const struct h1_request_options *options;
    struct http_head *head;
    struct str target;    /* as received */
    struct str authority; /* of an absolute target */
    bool is_absolute;
    struct h1_error *error;
};

/* RFC 9112 3: method SP target SP version CRLF, single spaces. *at moves behind it. */
static int parse_request_line(struct request *r, char **at)
{
    char *method = *at, *p = method;

    while (h1_is_token_char(*p))
        p++;
    if (p == method || *p != ' ')
        return refuse(400, STR("method_invalid"), r->error);
    if (p - method > METHOD_LEN_MAX)
        return refuse(501, STR("method_unsupported"), r->error);
    r->head->method = str_from(method, (size_t)(p - method));

    char *target = p + 1;
    char *line_end = h1_field_value_end(target);
    char *space = memchr(target, ' ', (size_t)(line_end - target));
    if (space == NULL || space == target)
        return refuse(400, STR("request_line_invalid"), r->error);
    r->target = str_from(target, (size_t)(space - target));
    if (r->target.len > r->options->limits->url_bytes_max)
        return refuse(414, STR("request_target_too_large"), r->error);

    int err = parse_version(space + 1, &r->head->version, r->error);
    if (err != 0)
        return err;
    if (line_end != space + 1 + VERSION_LEN || line_end[0] != '\r' || line_end[1] != '\n')
        return refuse(400, STR("request_line_invalid"), r->error);
    if (r->head->version == HTTP_10 && !r->options->accept_http_10)
        return refuse(426, STR("http_10_refused"), r->error);
    *at = line_end + 2;
    return 0;
}

static int set_path(struct request *r, struct str target)
{
    if (!http_target_set(r->head, target, r->options->path))
        return refuse(400, STR("path_invalid"), r->error);
    return 0;
}

static bool is_whole(struct str target, struct str authority)
{
    return authority.ptr + authority.len == target.ptr + target.len;
}

/* RFC 9112 3.2.2. */
static int parse_absolute(struct request *r)
{
    struct str scheme, rest;

    if (url_split_absolute(r->head->arena, r->target, &scheme, &r->authority, &rest) != URL_OK)
        return refuse(400, STR("request_target_invalid"), r->error);
    if (!str_eq(scheme, STR("http")) && !str_eq(scheme, STR("https")))
        return refuse(400, STR("scheme_unsupported"), r->error);
    /* RFC 9110 7.4: what asks for encryption is not served in the clear. The other way round is a
     * proxy's who ended TLS itself. */
    if (str_eq(scheme, STR("https")) && str_eq(r->head->scheme, STR("http")))
        return refuse(421, STR("scheme_misdirected"), r->error);
    r->is_absolute = true;
    /* RFC 9112 3.2.4: no path at all is the server itself. */
    if (is_whole(r->target, r->authority) && str_eq(r->head->method, STR("OPTIONS")))
        rest = STR("*");
    return set_path(r, rest);
}

/* RFC 9112 3.2.3, RFC 9110 9.3.6: host and port, and no path. */
static int parse_connect(struct request *r)
{
    struct url_authority split;

    if (!r->options->accept_upgrade)
        return refuse(501, STR("connect_unsupported"), r->error);
    if (url_split_authority(r->target, &split) != URL_OK || split.port == 0)
        return refuse(400, STR("request_target_invalid"), r->error);
    r->authority = r->target;
    r->is_absolute = true;
    return 0;
}

/* RFC 9112 3.2: which of the four forms it is. */
static int parse_target(struct request *r)
{
    if (str_eq(r->head->method, STR("CONNECT")))
        return parse_connect(r);
    if (r->target.ptr[0] == '/')
        return set_path(r, r->target);
    if (!str_eq(r->target, STR("*")))
        return parse_absolute(r);
    if (!str_eq(r->head->method, STR("OPTIONS")))
        return refuse(400, STR("request_target_invalid"), r->error);
    r->head->path = r->target;
    return 0;
}

/* --- request ---------------------------------------------------------------------------------- */

/* RFC 9112 3.2.2: an absolute target names the authority and Host is replaced; what Host says must
 * still be well-formed. */
static int set_authority(struct request *r, const struct h1_fields *f)
{
    struct http_head *h = r->head;

    if (!f->has_host && h->version != HTTP_10)
        return refuse(400, STR("host_missing"), r->error);
    if (f->has_host && !http_authority_set(h, f->host))
        return refuse(400, STR("host_invalid"), r->error);
    if (r->is_absolute && !http_authority_set(h, r->authority))
        return refuse(400, STR("request_target_invalid"), r->error);
    return 0;
}

/* RFC 9112 9.3: HTTP/1.1 persists unless told, HTTP/1.0 only when told. */
static bool is_persistent(const struct h1_fields *f, enum http_version version)
{
    return !f->is_close && (version == HTTP_11 || f->is_keep_alive);
}

/* RFC 9112 6.1, 6.3: the two ways to frame a body exclude each other; HTTP/1.0 has one of them. */
static int check_framing(const struct h1_fields *f, enum http_version version,
                         struct h1_error *ret_error)
{
    if (f->has_transfer_encoding && f->has_length)
        return refuse(400, STR("content_length_with_transfer_encoding"), ret_error);
    if (f->has_transfer_encoding && version == HTTP_10)
        return refuse(400, STR("transfer_encoding_in_http_10"), ret_error);
    return 0;
}

static void frame(struct http_head *h, const struct h1_fields *f, struct h1_framing *ret_framing)
{
    h->has_length = f->has_length;
    ret_framing->is_persistent = is_persistent(f, h->version);
    ret_framing->length = f->has_length ? h->length : 0;
    ret_framing->body = f->has_transfer_encoding  ? H1_BODY_CHUNKED
                        : ret_framing->length > 0 ? H1_BODY_LENGTH
                                                  : H1_BODY_NONE;
}

/* RFC 9110 7.8. h2c is of no use to anybody (RFC 9113 3.1), and common clients ask for it with
 * every first request. What has a body, or another method, is not an upgrade that HTTP/2 could
 * carry. */
static void set_protocol(struct request *r, const struct h1_fields *f,
                         const struct h1_framing *framing)
{
    struct http_head *h = r->head;

    if (!r->options->accept_upgrade || !f->is_upgrade || f->upgrade.len == 0 ||
        h->version != HTTP_11 || framing->body != H1_BODY_NONE || f->has_length ||
        !str_eq(h->method, STR("GET")) || str_eq_nocase(f->upgrade, STR("h2c")))
        return;
    h->protocol = lowered(h->arena, f->upgrade);
}

/* A tunnel's request has a body without an end; none of it is HTTP/1's to frame. */
static int set_tunnel(struct request *r, const struct h1_fields *f,
                      const struct h1_framing *framing)
{
    set_protocol(r, f, framing);
    if (str_eq(r->head->method, STR("CONNECT")) && (f->has_length || f->has_transfer_encoding))
        return refuse(400, STR("body_not_allowed"), r->error);
    return 0;
}

int h1_parse_request(char *text, size_t len, const struct h1_request_options *options,
                     struct arena *a, struct http_head *head, struct h1_framing *ret_framing,
                     struct h1_error *ret_error)
{
    struct request r = {.options = options, .head = head, .error = ret_error};
    struct h1_fields f = {.section = H1_SECTION_REQUEST, .head = head};
    char *at = text;

    ASSERT(len >= 4 && memcmp(text + len - 4, "\r\n\r\n", 4) == 0);
    http_head_init(head, a, true);
    head->scheme = options->scheme;
    int err = parse_request_line(&r, &at);
    if (err == 0)
        err = parse_target(&r);
    if (err == 0)
        err = h1_fields_parse(&f, at, (size_t)(text + len - at), options->limits, ret_error);
    if (err == 0)
        err = check_framing(&f, head->version, ret_error);
    if (err == 0)
        err = set_authority(&r, &f);
    if (err != 0)
        return err;
    frame(head, &f, ret_framing);
    err = set_tunnel(&r, &f, ret_framing);
    if (err != 0)
        return err;
    head->has_body = ret_framing->body != H1_BODY_NONE || http_head_asks_tunnel(head);
    head->expects_continue = f.expects_continue && head->version == HTTP_11 && head->has_body;
    return 0;
}

/* --- response --------------------------------------------------------------------------------- */

/* RFC 9112 4: version SP status [SP reason] CRLF. The reason is checked and dropped; servers that
 * leave out the space before an empty one are common. */
static int parse_status_line(struct http_head *h, char **at, struct h1_error *ret_error)
{
    char *p = *at;
    int err = parse_version(p, &h->version, ret_error);

    if (err != 0)
        return err;
    p += VERSION_LEN;
    char *end = h1_field_value_end(p);
    if (end[0] != '\r' || end[1] != '\n' || end - p < 4 || p[0] != ' ' ||
        (end - p > 4 && p[4] != ' '))
        return refuse(502, STR("status_line_invalid"), ret_error);
    for (int i = 1; i < 4; i++) {
        if (p[i] < '0' || p[i] > '9')
            return refuse(502, STR("status_line_invalid"), ret_error);
        h->status = (uint16_t)(h->status * 10 + (p[i] - '0'));
    }
    if (h->status < 100)
        return refuse(502, STR("status_line_invalid"), ret_error);
    *at = end + 2;
    return 0;
}

/* RFC 9112 6.3, cases 1 and 8. Content-Length of a response to HEAD, and of 304, stays in the head:
 * it tells of the body that is not sent. */
static int frame_response(struct http_head *h, const struct h1_fields *f, bool is_to_head,
                          struct h1_framing *ret_framing, struct h1_error *ret_error)
{
    bool never_has_body = h->status < 200 || h->status == 204;

    if (h->status == 101) {
        if (!f->is_upgrade || f->upgrade.len == 0)
            return refuse(502, STR("switching_protocols_invalid"), ret_error);
        h->protocol = lowered(h->arena, f->upgrade);
    }
    /* RFC 9110 8.6, RFC 9112 6.1: such a body would be taken for the next response. */
    if (never_has_body && (f->has_transfer_encoding || (f->has_length && h->length > 0)))
        return refuse(502, STR("body_not_allowed"), ret_error);
    frame(h, f, ret_framing);
    if (never_has_body)
        h->has_length = false;
    if (never_has_body || h->status == 304 || is_to_head) {
        ret_framing->body = H1_BODY_NONE;
        ret_framing->length = 0;
    } else if (!f->has_length && !f->has_transfer_encoding) {
        ret_framing->body = H1_BODY_UNTIL_CLOSE;
        ret_framing->is_persistent = false;
    }
    h->has_body = ret_framing->body != H1_BODY_NONE;
    return 0;
}

int h1_parse_response(char *text, size_t len, const struct limits *limits, bool is_to_head,
                      struct arena *a, struct http_head *head, struct h1_framing *ret_framing,
                      struct h1_error *ret_error)
{
    struct h1_fields f = {.section = H1_SECTION_RESPONSE, .head = head};
    char *at = text;

    ASSERT(len >= 4 && memcmp(text + len - 4, "\r\n\r\n", 4) == 0);
    http_head_init(head, a, false);
    int err = parse_status_line(head, &at, ret_error);
    if (err == 0)
        err = h1_fields_parse(&f, at, (size_t)(text + len - at), limits, ret_error);
    if (err == 0)
        err = check_framing(&f, head->version, ret_error);
    if (err == 0)
        err = frame_response(head, &f, is_to_head, ret_framing, ret_error);
    if (err != 0)
        ret_error->status = 502;
    return err;
}

/* --- trailers --------------------------------------------------------------------------------- */

int h1_parse_trailers(char *text, size_t len, const struct limits *limits, struct arena *a,
                      struct http_head *trailers, struct h1_error *ret_error)
{
    struct h1_fields f = {.section = H1_SECTION_TRAILERS, .head = trailers};

    http_head_init(trailers, a, false);
    return h1_fields_parse(&f, text, len, limits, ret_error);
}
