#include "http/h2_head.h"

#include <stdlib.h>

#include "base/err.h"
#include "http/h1_field.h"
#include "http/target.h"

enum { METHOD_LEN_MAX = 32 };

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

static void add_pseudo(struct h2_head_reader *r, struct str name, struct str value)
{
    struct http_head *h = r->head;

    if (str_eq(name, STR(":method")))
        h->method = value;
    else if (str_eq(name, STR(":scheme")))
        h->scheme = value;
    else if (str_eq(name, STR(":authority")))
        h->authority = value;
    else if (str_eq(name, STR(":path")))
        r->target = value;
    else if (str_eq(name, STR(":status")))
        h->status = (uint16_t)((value.ptr[0] - '0') * 100 + (value.ptr[1] - '0') * 10 +
                               (value.ptr[2] - '0'));
    else
        r->is_malformed = true; /* :protocol was not offered */
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
    case HTTP_NAME_CONNECTION:
    case HTTP_NAME_KEEP_ALIVE:
    case HTTP_NAME_PROXY_CONNECTION:
    case HTTP_NAME_TRANSFER_ENCODING:
    case HTTP_NAME_UPGRADE:
        r->is_malformed = true;
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

void h2_head_reader_add(struct h2_head_reader *r, struct str name, struct str value)
{
    struct arena *a = r->head->arena;

    if (!is_within_limits(r, name, value) || r->refused != 0)
        return;
    value = arena_str(a, str_trim(value));
    if (name.len > 0 && name.ptr[0] == ':') {
        add_pseudo(r, name, value);
        return;
    }
    enum http_name id = http_name_find(name);
    if (r->kind == H2_HEAD_TRAILERS) {
        r->is_malformed |= is_forbidden_trailer(id);
        if (h1_field_is_never_trailing(name))
            return;
    } else if (take_out(r, id, value)) {
        return;
    }
    if (id == HTTP_NAME_CONTENT_TYPE)
        r->head->is_grpc = http_is_grpc_type(value);
    if (str_eq(name, STR("cookie")))
        r->cookies++;
    if (id != HTTP_NAME_OTHER)
        http_head_add(r->head, id, value);
    else
        http_head_add_named(r->head, arena_str(a, name), value);
}

/* RFC 9113 8.2.3: crumbs become one field again before anybody sees them. */
static void join_cookies(struct http_head *h)
{
    struct str all = STR_NULL;

    for (uint32_t i = 0; i < h->field_count; i++) {
        if (!str_eq(h->fields[i].name, STR("cookie")))
            continue;
        all = all.ptr == NULL
                  ? h->fields[i].value
                  : arena_printf(h->arena, "%.*s; %.*s", STR_FMT(all), STR_FMT(h->fields[i].value));
    }
    http_head_set_named(h, STR("cookie"), all);
}

/* RFC 9110 9.1: a token. A space in it would make another request line of HTTP/1. */
static bool is_method(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!h1_is_token_char(s.ptr[i]))
            return false;
    }
    return s.len > 0 && s.len <= METHOD_LEN_MAX;
}

static int finish_request(struct h2_head_reader *r, const struct url_path_options *path)
{
    struct http_head *h = r->head;
    struct str authority = h->authority.ptr != NULL ? h->authority : r->host;

    if (str_eq(h->method, STR("CONNECT"))) {
        refuse(r, 501, STR("connect_unsupported"));
        return -ERR_INVALID;
    }
    if (!is_method(h->method) ||
        (!str_eq(h->scheme, STR("http")) && !str_eq(h->scheme, STR("https"))))
        return -ERR_PROTOCOL;
    if (r->target.len > r->limits->url_bytes_max) {
        refuse(r, 414, STR("request_target_too_large"));
        return -ERR_TOO_LARGE;
    }
    if (!http_target_set(h, r->target, path)) {
        refuse(r, 400, STR("path_invalid"));
        return -ERR_INVALID;
    }
    if (!http_authority_set(h, authority)) {
        refuse(r, 400, STR("host_invalid"));
        return -ERR_INVALID;
    }
    /* RFC 9113 8.3.1: somebody on the way may have judged the other one. */
    if (r->host.ptr != NULL && !http_authority_eq(r->host, authority, h->scheme)) {
        refuse(r, 400, STR("host_differs_from_authority"));
        return -ERR_INVALID;
    }
    return 0;
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
    /* A status that HTTP/2 does not have (RFC 9113 8.6). */
    return r->kind == H2_HEAD_RESPONSE && r->head->status == 101 ? -ERR_PROTOCOL : 0;
}

/* --- out ------------------------------------------------------------------------------------ */

void h2_pairs_deinit(struct h2_pairs *p)
{
    free(p->ptr);
    *p = (struct h2_pairs){0};
}

/* Secrets never enter the compression table (RFC 7541 7.1.3). */
static uint8_t flags_of(struct str name)
{
    static const struct str secrets[] = {
        {"authorization", 13}, {"proxy-authorization", 19}, {"cookie", 6}, {"set-cookie", 10}};

    for (size_t i = 0; i < ARRAY_LEN(secrets); i++) {
        if (str_eq(name, secrets[i]))
            return NGHTTP2_NV_FLAG_NO_INDEX;
    }
    return NGHTTP2_NV_FLAG_NONE;
}

static uint8_t *bytes_of(struct str s)
{
    return (uint8_t *)(uintptr_t)(s.ptr == NULL ? "" : s.ptr);
}

static void push(struct h2_pairs *p, struct str name, struct str value)
{
    if (p->len == p->cap) {
        p->cap = p->cap == 0 ? 32 : p->cap * 2;
        p->ptr = mem_realloc(p->ptr, p->cap * sizeof(*p->ptr));
    }
    p->ptr[p->len++] =
        (nghttp2_nv){bytes_of(name), bytes_of(value), name.len, value.len, flags_of(name)};
}

static void push_fields(struct h2_pairs *p, const struct http_head *head)
{
    for (uint32_t i = 0; i < head->field_count; i++) {
        if (head->fields[i].id != HTTP_NAME_CONTENT_LENGTH)
            push(p, head->fields[i].name, head->fields[i].value);
    }
}

static void push_length(struct h2_pairs *p, const struct http_head *head, struct arena *a)
{
    if (head->has_length)
        push(p, STR("content-length"), arena_u64(a, head->length));
}

void h2_pairs_request(struct h2_pairs *p, const struct http_head *head, struct arena *a)
{
    p->len = 0;
    push(p, STR(":method"), head->method);
    push(p, STR(":scheme"), str_is_empty(head->scheme) ? STR("http") : head->scheme);
    if (!str_is_empty(head->authority))
        push(p, STR(":authority"), head->authority);
    push(p, STR(":path"), head->path);
    push_fields(p, head);
    push_length(p, head, a);
    if (head->wants_trailers || head->is_grpc)
        push(p, STR("te"), STR("trailers"));
}

void h2_pairs_response(struct h2_pairs *p, const struct http_head *head, struct arena *a)
{
    p->len = 0;
    push(p, STR(":status"), arena_u64(a, head->status));
    push_fields(p, head);
    push_length(p, head, a);
}

void h2_pairs_trailers(struct h2_pairs *p, const struct http_head *trailers)
{
    p->len = 0;
    push_fields(p, trailers);
}
