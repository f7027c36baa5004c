#include "http/h1_test_util.h"

#include <setjmp.h>
#include <stdarg.h>
/* cmocka wants those before it. */
#include <cmocka.h>

struct case_ {
    struct http_head head;
    struct h1_render render;
    const char *want;
};

static void check_text(struct arena *a, struct case_ *c)
{
    struct chain out;

    chain_init(&out, NULL, NULL);
    c->head.arena = a;
    http_head_add_named(&c->head, STR("x-a"), STR("1"));
    /* Nothing of these may get through. */
    http_head_add_named(&c->head, STR("connection"), STR("x-a"));
    http_head_add_named(&c->head, STR("content-length"), STR("99"));
    http_head_add_named(&c->head, STR("transfer-encoding"), STR("gzip"));
    http_head_add_named(&c->head, STR("host"), STR("evil"));
    http_head_add_named(&c->head, STR("upgrade"), STR("h2c"));
    http_head_add_named(&c->head, STR("server"), STR("s"));
    if (c->head.is_request)
        h1_render_request(&out, &c->head, &c->render);
    else
        h1_render_response(&out, &c->head, &c->render);
    struct str got = chain_pullup(&out, out.len);
    if (!str_eq(got, str_from_c(c->want)))
        fail_msg("want %s\ngot  %.*s", c->want, STR_FMT(got));
    chain_deinit(&out);
}

#define REQUEST(m)                                                                                 \
    .is_request = true, .method = STR(m), .authority = STR("a:1"), .path = STR("/p?q")
#define FIELDS "x-a: 1\r\nserver: s\r\n"
#define GET "GET /p?q HTTP/1.1\r\nhost: a:1\r\n" FIELDS
#define POST "POST /p?q HTTP/1.1\r\nhost: a:1\r\n" FIELDS

static void test_requests(void **state)
{
    struct case_ cases[] = {
        {{REQUEST("GET")}, {0}, GET "\r\n"},
        {{REQUEST("GET")}, {.is_close = true}, GET "connection: close\r\n\r\n"},
        {{REQUEST("POST")}, {0}, POST "content-length: 0\r\n\r\n"},
        {{REQUEST("GET"), .has_length = true}, {0}, GET "content-length: 0\r\n\r\n"},
        {{REQUEST("POST"), .has_body = true, .has_length = true, .length = INT64_MAX},
         {.body = H1_BODY_LENGTH},
         POST "content-length: 9223372036854775807\r\n\r\n"},
        {{REQUEST("POST"), .has_body = true},
         {.body = H1_BODY_CHUNKED},
         POST "transfer-encoding: chunked\r\n\r\n"},
    };
    struct arena a;

    arena_init(&a, 1024);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_text(&a, &cases[i]);
    arena_deinit(&a);
}

static void test_responses(void **state)
{
    struct case_ cases[] = {
        {{.status = 200}, {0}, "HTTP/1.1 200 OK\r\n" FIELDS "content-length: 0\r\n\r\n"},
        {{.status = 299}, {0}, "HTTP/1.1 299 Unknown\r\n" FIELDS "content-length: 0\r\n\r\n"},
        {{.status = 200, .has_body = true, .has_length = true, .length = 12},
         {.body = H1_BODY_LENGTH},
         "HTTP/1.1 200 OK\r\n" FIELDS "content-length: 12\r\n\r\n"},
        {{.status = 503, .has_body = true},
         {.body = H1_BODY_CHUNKED, .is_close = true},
         "HTTP/1.1 503 Service Unavailable\r\n" FIELDS
         "transfer-encoding: chunked\r\nconnection: close\r\n\r\n"},
        {{.status = 200, .has_body = true},
         {.body = H1_BODY_UNTIL_CLOSE, .is_close = true},
         "HTTP/1.1 200 OK\r\n" FIELDS "connection: close\r\n\r\n"},
        {{.status = 200},
         {.is_keep_alive = true},
         "HTTP/1.1 200 OK\r\n" FIELDS "content-length: 0\r\nconnection: keep-alive\r\n\r\n"},
        {{.status = 200, .has_length = true, .length = 7},
         {.is_to_head = true},
         "HTTP/1.1 200 OK\r\n" FIELDS "content-length: 7\r\n\r\n"},
        {{.status = 200}, {.is_to_head = true}, "HTTP/1.1 200 OK\r\n" FIELDS "\r\n"},
        {{.status = 304}, {0}, "HTTP/1.1 304 Not Modified\r\n" FIELDS "\r\n"},
        {{.status = 204, .has_length = true}, {0}, "HTTP/1.1 204 No Content\r\n" FIELDS "\r\n"},
    };
    struct arena a;

    arena_init(&a, 1024);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_text(&a, &cases[i]);
    arena_deinit(&a);
}

static void test_body_kinds(void **state)
{
    struct http_head none = {0}, length = {.has_body = true, .has_length = true, .length = 1};
    struct http_head unknown = {.has_body = true};

    assert_int_equal(h1_render_body_kind(&none, true), H1_BODY_NONE);
    assert_int_equal(h1_render_body_kind(&length, false), H1_BODY_LENGTH);
    assert_int_equal(h1_render_body_kind(&unknown, true), H1_BODY_CHUNKED);
    assert_int_equal(h1_render_body_kind(&unknown, false), H1_BODY_UNTIL_CLOSE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_responses),
        cmocka_unit_test(test_body_kinds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
