#include "http/h2_head.h"

#include "base/err.h"
#include "http/h1_field.h"
#include "http/target.h"

#define KIND_BIT(kind) (1u << (kind))

/* RFC 9113 8.3: which pseudo fields a section may have. */
static const uint32_t pseudo_allowed[] = {
    [H2_HEAD_REQUEST] =
        KIND_BIT(H2_METHOD) | KIND_BIT(H2_SCHEME) | KIND_BIT(H2_AUTHORITY) | KIND_BIT(H2_PATH),
    [H2_HEAD_RESPONSE] = KIND_BIT(H2_STATUS),
    [H2_HEAD_TRAILERS] = 0,
};

void h2_head_reader_init(struct h2_head_reader *r, enum h2_head_kind kind,
                         const struct limits *limits, struct arena *a)
{
    *r = (struct h2_head_reader){.kind = kind, .limits = limits};
    r->head = ARENA_NEW(a, struct http_head);
    http_head_init(r->head, a, kind == H2_HEAD_REQUEST);
    r->head->version = HTTP_2;
}

static void refuse(struct h2_head_reader *r, uint16_t status, struct str details)
{
    if (r->refused != 0)
        return;
    r->refused = status;
    r->details = details;
}

static uint16_t number_of(struct str status)
{
    return (uint16_t)((status.ptr[0] - '0') * 100 + (status.ptr[1] - '0') * 10 +
                      (status.ptr[2] - '0'));
}

/* RFC 3986 3.1: schemes do not differ by case. */
static struct str canonical_scheme(struct str value)
{
    return str_eq_nocase(value, STR("http"))    ? STR("http")
           : str_eq_nocase(value, STR("https")) ? STR("https")
                                                : value;
}

static void set_pseudo(struct h2_head_reader *r, enum h2_kind kind, struct str value)
{
    struct http_head *h = r->head;

    switch (kind) {
    case H2_METHOD:
        h->method = value;
        break;
    case H2_SCHEME:
        h->scheme = canonical_scheme(value);
        break;
    case H2_AUTHORITY:
        h->authority = value;
        break;
    case H2_PATH:
        r->target = value;
        break;
    case H2_STATUS:
        h->status = number_of(value);
        break;
    case H2_PROTOCOL:
        h->protocol = value;
        break;
    case H2_FIELD:
    case H2_PSEUDO_UNKNOWN:
        break; /* not allowed */
    }
}

/* RFC 9113 8.3: each at most once, in front of the fields. */
static void add_pseudo(struct h2_head_reader *r, enum h2_kind kind, struct str value)
{
    uint32_t bit = KIND_BIT(kind), allowed = pseudo_allowed[r->kind];

    if (r->kind == H2_HEAD_REQUEST && r->allows_connect)
        allowed |= KIND_BIT(H2_PROTOCOL);
    if ((allowed & bit) == 0 || (r->pseudo_seen & bit) != 0 || r->has_fields) {
        r->is_malformed = true;
        return;
    }
    r->pseudo_seen |= bit;
    set_pseudo(r, kind, value);
}

static void add_length(struct h2_head_reader *r, struct str value)
{
    if (r->head->has_length || !str_to_u64(value, INT64_MAX, &r->head->length))
        r->is_malformed = true;
    r->head->has_length = true;
}

static void add_expect(struct h2_head_reader *r, struct str value)
{
    if (str_eq_nocase(value, STR("100-continue")))
        r->head->expects_continue = true;
    else
        refuse(r, 417, STR("expectation_unknown"));
}

/* What is about this connection or about framing is taken out (RFC 9113 8.2.2). True: it was. */
static bool take_out(struct h2_head_reader *r, enum http_name id, struct str value)
{
    switch ((unsigned)id) {
    case HTTP_NAME_CONTENT_LENGTH:
        add_length(r, value);
        return true;
    case HTTP_NAME_HOST:
        r->is_malformed |= r->host.ptr != NULL || r->kind != H2_HEAD_REQUEST;
        r->host = value;
        return true;
    case HTTP_NAME_TE:
        r->head->wants_trailers = true; /* nothing else gets through */
        return true;
    case HTTP_NAME_EXPECT:
        if (r->kind == H2_HEAD_REQUEST)
            add_expect(r, value);
        return true;
    case HTTP_NAME_HTTP2_SETTINGS:
    case HTTP_NAME_TRAILER:
        return true;
    default:
        return false;
    }
}

/* RFC 9110 6.5.1: what frames or routes a message has no place behind it. */
static bool is_forbidden_trailer(enum http_name id)
{
    switch ((unsigned)id) {
    case HTTP_NAME_CONTENT_LENGTH:
    case HTTP_NAME_HOST:
    case HTTP_NAME_TE:
    case HTTP_NAME_CONNECTION:
    case HTTP_NAME_KEEP_ALIVE:
    case HTTP_NAME_PROXY_CONNECTION:
    case HTTP_NAME_TRANSFER_ENCODING:
    case HTTP_NAME_UPGRADE:
    case HTTP_NAME_TRAILER:
    case HTTP_NAME_HTTP2_SETTINGS:
        return true;
    default:
        return false;
    }
}

static bool is_within_limits(struct h2_head_reader *r, struct str name, struct str value)
{
    r->bytes += name.len + value.len;
    r->count++;
    if (r->bytes <= r->limits->header_bytes_max && r->count <= r->limits->header_count_max)
        return true;
    refuse(r, 431, STR("header_section_too_large"));
    return false;
}

static void keep(struct h2_head_reader *r, const struct hpack_field *f, struct str value)
{
    struct http_head *h = r->head;

    if (f->id == HTTP_NAME_CONTENT_TYPE)
        h->is_grpc = http_is_grpc_type(value);
    if (f->id != HTTP_NAME_OTHER) {
        http_head_add(h, f->id, value);
    } else {
        r->cookies += str_eq(f->name, STR("cookie"));
        http_head_add_named(h, f->is_name_static ? f->name : arena_str(h->arena, f->name), value);
    }
    h->fields[h->field_count - 1].is_never_indexed = f->is_never_indexed;
}

void h2_head_reader_add(struct h2_head_reader *r, const struct hpack_field *f)
{
    if (!is_within_limits(r, f->name, f->value) || r->refused != 0)
        return;
    if (!f->is_valid) {
        r->is_malformed = true;
        return;
    }
    struct str value = f->is_value_static ? f->value : arena_str(r->head->arena, f->value);
    if (f->kind != H2_FIELD) {
        add_pseudo(r, f->kind, value);
        return;
    }
    r->has_fields = true;
    if (r->kind == H2_HEAD_TRAILERS) {
        r->is_malformed |= is_forbidden_trailer(f->id);
        if (!h1_field_is_never_trailing(f->name))
            keep(r, f, value);
    } else if (!take_out(r, f->id, value)) {
        keep(r, f, value);
    }
}

static bool is_cookie(const struct http_field *f)
{
    return f->id == HTTP_NAME_OTHER && str_eq(f->name, STR("cookie"));
}

/* RFC 9113 8.2.3: crumbs become one field again before anybody sees them. */
static void join_cookies(struct http_head *h)
{
    size_t len = 0;

    for (uint32_t i = 0; i < h->field_count; i++)
        len += is_cookie(&h->fields[i]) ? h->fields[i].value.len + 2 : 0;
    char *text = arena_bytes(h->arena, len), *at = text;
    for (uint32_t i = 0; i < h->field_count; i++) {
        struct str crumb = h->fields[i].value;

        if (!is_cookie(&h->fields[i]))
            continue;
        if (crumb.len > 0)
            memcpy(at, crumb.ptr, crumb.len);
        memcpy(at + crumb.len, "; ", 2);
        at += crumb.len + 2;
    }
    http_head_set_named(h, STR("cookie"), str_from(text, len - 2));
}

static int refused(struct h2_head_reader *r, int err, uint16_t status, struct str details)
{
    refuse(r, status, details);
    return err;
}

/* RFC 9113 8.5: a host and a port, and nothing of a resource. */
static int finish_connect(struct h2_head_reader *r)
{
    struct http_head *h = r->head;

    if (h->authority.ptr == NULL || h->scheme.ptr != NULL || r->target.ptr != NULL)
        return -ERR_PROTOCOL;
    if (!r->allows_connect)
        return refused(r, -ERR_INVALID, 501, STR("connect_unsupported"));
    ptrdiff_t colon = str_rfind(h->authority, ':');
    uint64_t port;
    if (colon <= 0 || !str_to_u64(str_skip(h->authority, (size_t)colon + 1), UINT16_MAX, &port) ||
        port == 0 || !http_authority_set(h, h->authority) ||
        (r->host.ptr != NULL && !http_authority_eq(r->host, h->authority, STR("https"))))
        return refused(r, -ERR_INVALID, 400, STR("host_invalid"));
    return 0;
}

/* RFC 8441 4, RFC 9110 7.8: it asks for what an upgrade asks for. */
static int canonical_protocol(struct h2_head_reader *r)
{
    struct http_head *h = r->head;
    char *lower;

    if (h->protocol.ptr == NULL)
        return 0;
    if (!str_eq(h->method, STR("CONNECT")))
        return -ERR_PROTOCOL;
    h->method = STR("GET");
    lower = arena_bytes(h->arena, h->protocol.len);
    for (size_t i = 0; i < h->protocol.len; i++) {
        char c = h->protocol.ptr[i];
        lower[i] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
    }
    h->protocol.ptr = lower;
    return 0;
}

static int finish_target(struct h2_head_reader *r, const struct url_path_options *path)
{
    struct http_head *h = r->head;
    struct str authority = h->authority.ptr != NULL ? h->authority : r->host;

    if (h->method.ptr == NULL || r->target.ptr == NULL || authority.ptr == NULL ||
        (!str_eq(h->scheme, STR("http")) && !str_eq(h->scheme, STR("https"))))
        return -ERR_PROTOCOL;
    /* RFC 9113 8.3.1: "*" is for OPTIONS; everything else begins with a slash. */
    if (r->target.ptr[0] != '/' &&
        !(str_eq(r->target, STR("*")) && str_eq(h->method, STR("OPTIONS"))))
        return -ERR_PROTOCOL;
    if (r->target.len > r->limits->url_bytes_max)
        return refused(r, -ERR_TOO_LARGE, 414, STR("request_target_too_large"));
    if (!http_target_set(h, r->target, path))
        return refused(r, -ERR_INVALID, 400, STR("path_invalid"));
    if (!http_authority_set(h, authority)) {
        h->authority = STR("");
        return path->is_authority_unread ? 0 : refused(r, -ERR_INVALID, 400, STR("host_invalid"));
    }
    /* RFC 9113 8.3.1: somebody on the way may have judged the other one. */
    if (r->host.ptr != NULL && !http_authority_eq(r->host, authority, h->scheme))
        return refused(r, -ERR_INVALID, 400, STR("host_differs_from_authority"));
    return 0;
}

static int finish_request(struct h2_head_reader *r, const struct url_path_options *path)
{
    struct http_head *h = r->head;
    int err = canonical_protocol(r);

    if (err != 0)
        return err;
    if (str_eq(h->method, STR("CONNECT")))
        err = finish_connect(r);
    else
        err = finish_target(r, path);
    if (err == 0 && http_head_asks_tunnel(h))
        h->has_length = h->expects_continue = false;
    return err;
}

int h2_head_reader_finish(struct h2_head_reader *r, const struct url_path_options *path)
{
    if (r->is_malformed)
        return -ERR_PROTOCOL;
    if (r->refused != 0)
        return r->refused == 431 ? -ERR_TOO_LARGE : -ERR_INVALID;
    if (r->cookies > 1)
        join_cookies(r->head);
    if (r->kind == H2_HEAD_REQUEST)
        return finish_request(r, path);
    /* 101 is a status that HTTP/2 does not have (RFC 9113 8.6). */
    return r->kind == H2_HEAD_RESPONSE && (r->head->status == 0 || r->head->status == 101)
               ? -ERR_PROTOCOL
               : 0;
}

/* --- out ------------------------------------------------------------------------------------ */

enum { LENGTH_FIELD_BYTES = 40, TE_FIELD_BYTES = 32 };

size_t h2_head_room(const struct http_head *h)
{
    size_t room = HPACK_BLOCK_BYTES + 5 * (HPACK_FIELD_BYTES + sizeof(":authority")) +
                  LENGTH_FIELD_BYTES + TE_FIELD_BYTES + h->method.len + h->scheme.len +
                  h->authority.len + h->path.len + h->protocol.len + sizeof("CONNECT");

    for (uint32_t i = 0; i < h->field_count; i++)
        room += h->fields[i].name.len + h->fields[i].value.len + HPACK_FIELD_BYTES;
    return room;
}

static struct str scheme_of(const struct http_head *h)
{
    return str_is_empty(h->scheme) ? STR("http") : h->scheme;
}

static char *put_fields(struct hpack_encoder *e, char *to, const struct http_head *h)
{
    for (uint32_t i = 0; i < h->field_count; i++) {
        if (h->fields[i].id != HTTP_NAME_CONTENT_LENGTH)
            to = hpack_encode_field(e, to, &h->fields[i]);
    }
    return to;
}

static char *put_length(struct hpack_encoder *e, char *to, const struct http_head *h)
{
    char text[STR_U64_LEN];

    if (!h->has_length)
        return to;
    struct http_field field = {.name = http_name_text(HTTP_NAME_CONTENT_LENGTH),
                               .value = str_of_u64(h->length, text),
                               .id = HTTP_NAME_CONTENT_LENGTH};
    return hpack_encode_field(e, to, &field);
}

/* RFC 9113 8.5; with a protocol RFC 8441 4. */
static char *put_tunnel(struct hpack_encoder *e, char *to, const struct http_head *h)
{
    to = hpack_encode_pseudo(e, to, H2_METHOD, STR("CONNECT"));
    to = hpack_encode_pseudo(e, to, H2_AUTHORITY, h->authority);
    if (h->protocol.len > 0) {
        to = hpack_encode_pseudo(e, to, H2_PROTOCOL, h->protocol);
        to = hpack_encode_pseudo(e, to, H2_SCHEME, scheme_of(h));
        to = hpack_encode_pseudo(e, to, H2_PATH, h->path);
    }
    return put_fields(e, to, h);
}

static char *put_request(struct hpack_encoder *e, char *to, const struct http_head *h)
{
    static const struct http_field te = {{"te", 2}, {"trailers", 8}, HTTP_NAME_TE, false};

    if (http_head_asks_tunnel(h))
        return put_tunnel(e, to, h);
    to = hpack_encode_pseudo(e, to, H2_METHOD, h->method);
    to = hpack_encode_pseudo(e, to, H2_SCHEME, scheme_of(h));
    if (!str_is_empty(h->authority))
        to = hpack_encode_pseudo(e, to, H2_AUTHORITY, h->authority);
    to = hpack_encode_pseudo(e, to, H2_PATH, h->path);
    to = put_length(e, put_fields(e, to, h), h);
    return h->wants_trailers || h->is_grpc ? hpack_encode_field(e, to, &te) : to;
}

char *h2_head_put(struct hpack_encoder *e, char *to, enum h2_head_kind kind,
                  const struct http_head *h)
{
    to = hpack_encode_begin(e, to);
    switch (kind) {
    case H2_HEAD_REQUEST:
        return put_request(e, to, h);
    case H2_HEAD_RESPONSE:
        to = hpack_encode_status(e, to, h->status);
        return put_length(e, put_fields(e, to, h), h);
    case H2_HEAD_TRAILERS:
        return put_fields(e, to, h);
    }
    return to;
}
