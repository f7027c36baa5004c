/* For the fuzz targets of HTTP/1 heads: what must hold whatever the bytes are. */
#pragma once

#include "http/h1_test_util.h"

#define FUZZ_CHECK(cond) ((cond) ? (void)0 : abort())

/* The same bytes in two pieces give the same result. */
static inline void fuzz_split(enum test_kind kind, struct str input)
{
    struct limits l = test_limits();
    struct str_buf whole = STR_BUF_INIT(1 << 20), pieces = STR_BUF_INIT(1 << 20);
    size_t split = input.len == 0 ? 0 : (unsigned char)input.ptr[input.len / 2] % input.len;

    test_parse_split(kind, input, input.len, &l, &whole);
    test_parse_split(kind, input, split, &l, &pieces);
    FUZZ_CHECK(str_eq(str_buf_str(&whole), str_buf_str(&pieces)));
    str_buf_deinit(&whole);
    str_buf_deinit(&pieces);
}

static inline void fuzz_check_fields(const struct http_head *h)
{
    for (uint32_t i = 0; i < h->field_count; i++) {
        const struct http_field *f = &h->fields[i];

        FUZZ_CHECK(f->name.len > 0 && f->id == http_name_find(f->name));
        for (size_t k = 0; k < f->name.len; k++)
            FUZZ_CHECK(h1_is_token_char(f->name.ptr[k]) &&
                       (f->name.ptr[k] < 'A' || f->name.ptr[k] > 'Z'));
        for (size_t k = 0; k < f->value.len; k++) {
            unsigned char c = (unsigned char)f->value.ptr[k];
            FUZZ_CHECK((c >= ' ' || c == '\t') && c != 0x7f);
        }
        FUZZ_CHECK(str_trim(f->value).len == f->value.len);
    }
}

static inline void fuzz_check_same(const struct test_parsed *a, const struct test_parsed *b)
{
    FUZZ_CHECK(!b->is_bad && b->is_done);
    FUZZ_CHECK(str_eq(a->head.method, b->head.method) && str_eq(a->head.path, b->head.path));
    FUZZ_CHECK(str_eq(a->head.authority, b->head.authority));
    FUZZ_CHECK(str_eq(a->head.protocol, b->head.protocol));
    FUZZ_CHECK(a->head.status == b->head.status);
    FUZZ_CHECK(str_eq(a->head.protocol, b->head.protocol));
    FUZZ_CHECK(a->framing.body == b->framing.body && a->framing.length == b->framing.length);
    FUZZ_CHECK(a->head.field_count == b->head.field_count);
    for (uint32_t i = 0; i < a->head.field_count; i++)
        FUZZ_CHECK(str_eq(a->head.fields[i].name, b->head.fields[i].name) &&
                   str_eq(a->head.fields[i].value, b->head.fields[i].value));
}

/* What was accepted means the same to the next reader once it is written out. */
static inline void fuzz_round_trip(enum test_kind kind, struct str input)
{
    struct limits l = test_limits();
    struct test_parsed first = {0}, second = {0};
    struct h1_scan scan;
    struct arena a;
    struct chain in, out;

    arena_init(&a, 1024);
    chain_init(&in, NULL, NULL);
    chain_init(&out, NULL, NULL);
    chain_add(&in, input);
    h1_scan_init(&scan, test_section(kind));
    test_parse_step(kind, &scan, &in, &l, &a, &first);
    if (first.is_done && !first.is_bad) {
        struct h1_render render = {.body = first.framing.body,
                                   .is_close = !first.framing.is_persistent,
                                   .upgrade = first.head.protocol};
        bool is_request = test_section(kind) == H1_SECTION_REQUEST;
        bool is_tunnel = is_request && http_head_asks_tunnel(&first.head);

        if (!is_request)
            render.upgrade = first.head.protocol;
        fuzz_check_fields(&first.head);
        FUZZ_CHECK(!is_tunnel || kind == TEST_TUNNEL_REQUEST);
        FUZZ_CHECK(first.head.has_body == (is_tunnel || first.framing.body != H1_BODY_NONE));
        if (is_request)
            h1_render_request(&out, &first.head, &render);
        else
            h1_render_response(&out, &first.head, &render);
        l.header_bytes_max *= 2; /* the rendering may add a little */
        l.header_count_max += 4;
        h1_scan_init(&scan, test_section(kind));
        test_parse_step(kind, &scan, &out, &l, &a, &second);
        if (kind == TEST_RESPONSE || first.head.authority.len > 0)
            fuzz_check_same(&first, &second);
    }
    chain_deinit(&in);
    chain_deinit(&out);
    arena_deinit(&a);
}
