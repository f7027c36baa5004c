#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/err.h"
#include "http/grpc.h"

static void test_frames(void **state)
{
    struct chain out, in;
    struct str_buf buf = STR_BUF_INIT(1000);
    char byte;

    (void)state;
    chain_init(&out, NULL, NULL);
    chain_init(&in, NULL, NULL);
    grpc_frame(&out, STR("hello"));
    grpc_frame(&out, STR(""));
    assert_int_equal(out.len, 15);
    for (int i = 0; i < 9; i++) {
        chain_move(&in, &out, 1);
        assert_int_equal(grpc_deframe(&in, 100, &buf), 0);
    }
    chain_move(&in, &out, out.len);
    assert_int_equal(grpc_deframe(&in, 100, &buf), 1);
    assert_true(str_eq(str_buf_str(&buf), STR("hello")));
    assert_int_equal(grpc_deframe(&in, 100, &buf), 1);
    assert_int_equal(buf.len, 0);
    assert_int_equal(grpc_deframe(&in, 100, &buf), 0);
    grpc_frame(&in, STR("too long"));
    assert_int_equal(grpc_deframe(&in, 7, &buf), -ERR_TOO_LARGE);
    chain_clear(&in);
    for (byte = 1; byte < 3; byte++) {
        chain_add(&in, str_from(&byte, 1));
        chain_add(&in, str_from("\0\0\0\0", 4));
        assert_int_equal(grpc_deframe(&in, 7, &buf), byte == 1 ? -ERR_UNSUPPORTED : -ERR_PROTOCOL);
        chain_clear(&in);
    }
    chain_deinit(&out);
    chain_deinit(&in);
    str_buf_deinit(&buf);
}

/* Whatever is there is taken: nothing of a large message waits in the chain. */
static void test_parts(void **state)
{
    struct chain out, in;
    struct str_buf buf = STR_BUF_INIT(1000);
    struct grpc_part part = {.message = &buf};

    (void)state;
    chain_init(&out, NULL, NULL);
    chain_init(&in, NULL, NULL);
    grpc_frame(&out, STR("hello"));
    grpc_frame(&out, STR(""));
    grpc_frame(&out, STR("again"));
    for (int i = 0; i < 9; i++) {
        chain_move(&in, &out, 1);
        assert_int_equal(grpc_deframe_part(&in, 100, &part), 0);
        assert_int_equal(in.len, i < 4 ? i + 1 : 0);
    }
    chain_move(&in, &out, out.len);
    assert_int_equal(grpc_deframe_part(&in, 100, &part), 1);
    assert_true(str_eq(str_buf_str(&buf), STR("hello")));
    assert_int_equal(grpc_deframe_part(&in, 100, &part), 1);
    assert_int_equal(buf.len, 0);
    assert_int_equal(grpc_deframe_part(&in, 100, &part), 1);
    assert_true(str_eq(str_buf_str(&buf), STR("again")));
    assert_int_equal(grpc_deframe_part(&in, 100, &part), 0);
    grpc_frame(&in, STR("too long"));
    assert_int_equal(grpc_deframe_part(&in, 7, &part), -ERR_TOO_LARGE);
    chain_deinit(&out);
    chain_deinit(&in);
    str_buf_deinit(&buf);
}

static void test_messages(void **state)
{
    static const struct {
        struct str plain, coded;
    } table[] = {
        {{"", 0}, {"", 0}},
        {{"plain text", 10}, {"plain text", 10}},
        {{"100%\n", 5}, {"100%25%0A", 9}},
        {{"\xc3\xa4", 2}, {"%C3%A4", 6}},
    };
    struct arena a;

    (void)state;
    arena_init(&a, 256);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        assert_true(str_eq(grpc_message_encode(table[i].plain, &a), table[i].coded));
        assert_true(str_eq(grpc_message_decode(table[i].coded, &a), table[i].plain));
    }
    assert_true(str_eq(grpc_message_decode(STR("%zz%4%c3"), &a), STR("%zz%4\xc3")));
    arena_deinit(&a);
}

static void test_status(void **state)
{
    struct http_head head, trailers;
    struct arena a;

    (void)state;
    arena_init(&a, 256);
    http_head_init(&head, &a, false);
    http_head_init(&trailers, &a, false);
    assert_int_equal(grpc_status_of(&head, NULL), -1);
    http_head_add(&head, HTTP_NAME_GRPC_STATUS, STR("7"));
    assert_int_equal(grpc_status_of(&head, &trailers), 7);
    http_head_add(&trailers, HTTP_NAME_GRPC_STATUS, STR("14"));
    assert_int_equal(grpc_status_of(&head, &trailers), 14);
    http_head_set(&trailers, HTTP_NAME_GRPC_STATUS, STR("99"));
    assert_int_equal(grpc_status_of(&head, &trailers), GRPC_UNKNOWN);
    assert_int_equal(grpc_status_from_http(503), GRPC_UNAVAILABLE);
    assert_int_equal(grpc_status_from_http(403), GRPC_PERMISSION_DENIED);
    assert_int_equal(grpc_status_from_http(418), GRPC_UNKNOWN);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_status),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
