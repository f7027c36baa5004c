/* For the tests and fuzz targets of HTTP/1 only: heads as text, chains in awkward pieces. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "http/h1_body.h"
#include "http/h1_render.h"

/* Appends in a slice of its own, as a packet of its own would be. */
static inline void test_add_slice(struct chain *c, struct str s)
{
    size_t room;

    if (s.len == 0)
        return;
    char *p = chain_reserve(c, CHUNK_LEN + 1 + s.len, &room);
    memcpy(p, s.ptr, s.len);
    chain_commit(c, s.len);
}

static inline struct limits test_limits(void)
{
    struct limits l;

    limits_init(&l);
    return l;
}

static inline struct h1_request_options test_options(const struct limits *l)
{
    return (struct h1_request_options){l, &url_path_options_base, STR("http"), true};
}

static inline const char *test_body_text(enum h1_body_kind kind)
{
    static const char *const texts[] = {"none", "length", "chunked", "close"};

    return texts[kind];
}

/* "GET http a.example /x 11 | name=value | length 5 persistent continue trailers grpc" */
static inline void test_head_text(struct str_buf *out, const struct http_head *h,
                                  const struct h1_framing *f)
{
    if (h->is_request)
        str_buf_printf(out, "%.*s %.*s %.*s %.*s %d", STR_FMT(h->method), STR_FMT(h->scheme),
                       STR_FMT(h->authority), STR_FMT(h->path), (int)h->version);
    else
        str_buf_printf(out, "%u %d", h->status, (int)h->version);
    for (uint32_t i = 0; i < h->field_count; i++)
        str_buf_printf(out, " | %.*s=%.*s", STR_FMT(h->fields[i].name),
                       STR_FMT(h->fields[i].value));
    str_buf_printf(out, " | %s", test_body_text(f->body));
    if (h->has_length)
        str_buf_printf(out, " %llu", (unsigned long long)h->length);
    str_buf_add_c(out, f->is_persistent ? " persistent" : "");
    str_buf_add_c(out, h->expects_continue ? " continue" : "");
    str_buf_add_c(out, h->wants_trailers ? " trailers" : "");
    str_buf_add_c(out, h->is_grpc ? " grpc" : "");
}

enum test_kind { TEST_REQUEST, TEST_TUNNEL_REQUEST, TEST_RESPONSE, TEST_RESPONSE_TO_HEAD };

struct test_parsed {
    struct http_head head;
    struct h1_framing framing;
    struct h1_error error;
    bool is_done, is_bad;
    size_t consumed;
};

/* Scans what is in the chain and parses when it is complete. */
static inline bool test_parse_step(enum test_kind kind, struct h1_scan *scan, struct chain *in,
                                   const struct limits *l, struct arena *a, struct test_parsed *p)
{
    struct h1_request_options options = test_options(l);
    size_t len = 0;
    int err;

    options.accept_upgrade = kind == TEST_TUNNEL_REQUEST;

    switch (h1_scan_chain(scan, in, l, &len, &p->error)) {
    case H1_SCAN_MORE:
        return false;
    case H1_SCAN_BAD:
        p->is_bad = true;
        return true;
    case H1_SCAN_DONE:
        break;
    }
    p->consumed = len;
    p->is_done = true;
    if (len < 4) {
        p->error = (struct h1_error){400, STR("start_line_empty")};
        p->is_bad = true;
        return true;
    }
    char *text = h1_text_copy(a, in, len);
    err = kind <= TEST_TUNNEL_REQUEST
              ? h1_parse_request(text, len, &options, a, &p->head, &p->framing, &p->error)
              : h1_parse_response(text, len, l, kind == TEST_RESPONSE_TO_HEAD, a, &p->head,
                                  &p->framing, &p->error);
    p->is_bad = err != 0;
    return true;
}

static inline enum h1_section test_section(enum test_kind kind)
{
    return kind <= TEST_TUNNEL_REQUEST ? H1_SECTION_REQUEST : H1_SECTION_RESPONSE;
}

/* Feeds the pieces [0, split), [split, len) and returns the result as text: a head, or
 * "status details", or "more". */
static inline void test_parse_split(enum test_kind kind, struct str input, size_t split,
                                    const struct limits *l, struct str_buf *out)
{
    struct h1_scan scan;
    struct arena a;
    struct chain in;
    struct test_parsed p = {0};

    arena_init(&a, 1024);
    chain_init(&in, NULL, NULL);
    h1_scan_init(&scan, test_section(kind));
    test_add_slice(&in, str_sub(input, 0, split));
    if (!test_parse_step(kind, &scan, &in, l, &a, &p)) {
        test_add_slice(&in, str_skip(input, split));
        test_parse_step(kind, &scan, &in, l, &a, &p);
    }
    if (p.is_bad)
        str_buf_printf(out, "%u %.*s", p.error.status, STR_FMT(p.error.details));
    else if (p.is_done)
        test_head_text(out, &p.head, &p.framing);
    else
        str_buf_add_c(out, "more");
    chain_deinit(&in);
    arena_deinit(&a);
}
