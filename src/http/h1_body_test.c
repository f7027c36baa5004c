#include "http/h1_test_util.h"

#include <setjmp.h>
#include <stdarg.h>
/* cmocka wants those before it. */
#include <cmocka.h>

struct row {
    const char *input, *want;
    size_t len; /* when the input holds a NUL */
};

#define NUL(input, want) input, want, sizeof(input) - 1

/* "data data;trailers" + "+n" bytes that follow, or "400 details", or "...more". */
static const struct row chunked[] = {
    {"0\r\n\r\n", ";"},
    {"5\r\nhello\r\n0\r\n\r\n", "hello;"},
    {"5\r\nhello\r\n0\r\n\r\nGET", "hello;+3"},
    {"a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n", "01234567890123456789a;"},
    {"0005\r\nhello\r\n0000\r\n\r\n", "hello;"},
    {"0000000000000005\r\nhello\r\n0\r\n\r\n", "hello;"},
    {"5;x\r\nhello\r\n0;y=z\r\n\r\n", "hello;"},
    {"5;x=\"a;b\"; y\r\nhello\r\n0\r\n\r\n", "hello;"},
    {"5; x\t= y ;z\r\nhello\r\n0\r\n\r\n", "hello;"},
    {"5;x=\"\\\";\\\\\"\r\nhello\r\n0\r\n\r\n", "hello;"},
    {"5;\r\nhello", "400 chunk_extension_invalid"},
    {"5;;x\r\nhello", "400 chunk_extension_invalid"},
    {"5;x=\r\nhello", "400 chunk_extension_invalid"},
    {"5;=y\r\nhello", "400 chunk_extension_invalid"},
    {"5;x=\"y\r\nhello", "400 chunk_extension_invalid"},
    {"5;x=\"y\"z\r\nhello", "400 chunk_extension_invalid"},
    {"5;x y\r\nhello", "400 chunk_extension_invalid"},
    {"5;\x80\r\nhello\r\n0\r\n\r\n", "400 chunk_extension_invalid"},
    {"2\r\n\r\n\r\n0\r\n\r\n", "\r\n;"},
    {"5\r\nhello\r\n0\r\nX-A: 1\r\nY: 2\r\n\r\n", "hello;x-a=1 y=2 "},
    {"5\r\nhello\r\n0\r\nGrpc-Status: 0\r\nCookie: z\r\n\r\nrest", "hello;grpc-status=0 +4"},
    {"", "...more"},
    {"5", "...more"},
    {"5\r", "...more"},
    {"5\r\nhel", "hel...more"},
    {"5\r\nhello", "hello...more"},
    {"5\r\nhello\r\n0\r\n", "hello...more"},
    {"5\r\nhello\r\n0\r\nX: y\r\n", "hello...more"},
    {"7fffffffffffffff\r\nx", "x...more"},
    {"\r\n", "400 chunk_size_invalid"},
    {";x\r\n", "400 chunk_size_invalid"},
    {" 5\r\nhello", "400 chunk_size_invalid"},
    {"5 \r\nhello", "400 chunk_size_invalid"},
    {"5\t;x\r\nhello", "400 chunk_size_invalid"},
    {"+5\r\nhello", "400 chunk_size_invalid"},
    {"-5\r\nhello", "400 chunk_size_invalid"},
    {"0x5\r\nhello", "400 chunk_size_invalid"},
    {"5h\r\nhello", "400 chunk_size_invalid"},
    {"g\r\nhello", "400 chunk_size_invalid"},
    {"5\nhello\r\n", "400 chunk_size_invalid"},
    {"5\rhello\r\n", "400 chunk_size_invalid"},
    {"5\r\r\nhello", "400 chunk_size_invalid"},
    {NUL("5\0\r\nhello", "400 chunk_size_invalid")},
    {"5,5\r\nhello", "400 chunk_size_invalid"},
    {"8000000000000000\r\n", "400 chunk_size_too_large"},
    {"ffffffffffffffff\r\n", "400 chunk_size_too_large"},
    {"10000000000000000\r\n", "400 chunk_size_too_large"},
    {"00000000000000005\r\nhello", "400 chunk_size_too_large"},
    {"5;a\nb\r\nhello", "400 chunk_extension_invalid"},
    {NUL("5;a\0\r\nhello", "400 chunk_extension_invalid")},
    {"5;a\rb\r\nhello", "400 chunk_size_invalid"},
    {"5;\x7f\r\nhello", "400 chunk_extension_invalid"},
    {"5\r\nhelloX\r\n0\r\n\r\n", "400 chunk_end_invalid"},
    {"5\r\nhello\n0\r\n\r\n", "400 chunk_end_invalid"},
    {"5\r\nhello\rX0\r\n\r\n", "400 chunk_end_invalid"},
    {"5\r\nhello0\r\n\r\n", "400 chunk_end_invalid"},
    {"5\r\nhello\r\n\r\n", "400 chunk_size_invalid"},
    {"0\r\nX: y\n\r\n", "400 line_ends_without_cr"},
    {"0\r\n\n", "400 line_ends_without_cr"},
    {"0\r\nX : y\r\n\r\n", "400 field_name_invalid"},
    {"0\r\n X: y\r\n\r\n", "400 field_line_folded"},
    {"0\r\nContent-Length: 1\r\n\r\n", "400 trailer_forbidden"},
    {"0\r\nTransfer-Encoding: chunked\r\n\r\n", "400 trailer_forbidden"},
    {"0\r\nHost: a\r\n\r\n", "400 trailer_forbidden"},
};

struct reader {
    struct h1_body body;
    struct chain in;
    struct arena arena;
    struct limits limits;
    struct str_buf data, trailers;
    struct h1_error error;
    bool is_ended, is_bad;
};

static void reader_init(struct reader *r, enum h1_body_kind kind, uint64_t length)
{
    memset(r, 0, sizeof *r);
    r->limits = test_limits();
    arena_init(&r->arena, 1024);
    chain_init(&r->in, NULL, NULL);
    r->data = STR_BUF_INIT(1 << 20);
    r->trailers = STR_BUF_INIT(1 << 20);
    h1_body_init(&r->body, &(struct h1_framing){.body = kind, .length = length});
}

static void reader_deinit(struct reader *r)
{
    chain_deinit(&r->in);
    arena_deinit(&r->arena);
    str_buf_deinit(&r->data);
    str_buf_deinit(&r->trailers);
}

static void take_data(struct reader *r, size_t len)
{
    char bytes[7]; /* takes less than it is offered, as a consumer without credit does */
    size_t n = chain_peek(&r->in, 0, bytes, MIN(len, sizeof bytes));

    str_buf_add(&r->data, str_from(bytes, n));
    chain_skip(&r->in, n);
    h1_body_taken(&r->body, n);
}

static void take_trailers(struct reader *r, size_t len)
{
    struct http_head head;

    if (h1_parse_trailers(h1_text_copy(&r->arena, &r->in, len), len, &r->limits, &r->arena, &head,
                          &r->error) < 0) {
        r->is_bad = true;
        return;
    }
    chain_skip(&r->in, len);
    for (uint32_t i = 0; i < head.field_count; i++)
        str_buf_printf(&r->trailers, "%.*s=%.*s ", STR_FMT(head.fields[i].name),
                       STR_FMT(head.fields[i].value));
}

static void read_all(struct reader *r)
{
    while (!r->is_ended && !r->is_bad) {
        size_t len = 0;

        switch (h1_body_next(&r->body, &r->in, &r->limits, &len, &r->error)) {
        case H1_NEXT_MORE:
            return;
        case H1_NEXT_DATA:
            take_data(r, len);
            break;
        case H1_NEXT_TRAILERS:
            take_trailers(r, len);
            break;
        case H1_NEXT_END:
            r->is_ended = true;
            break;
        case H1_NEXT_BAD:
            r->is_bad = true;
            break;
        }
    }
}

static void reader_text(struct reader *r, struct str_buf *out)
{
    if (r->is_bad) {
        str_buf_printf(out, "%u %.*s", r->error.status, STR_FMT(r->error.details));
        return;
    }
    str_buf_add(out, str_buf_str(&r->data));
    str_buf_add_c(out, r->is_ended ? ";" : "...more");
    str_buf_add(out, str_buf_str(&r->trailers));
    if (r->is_ended && r->in.len > 0)
        str_buf_printf(out, "+%zu", r->in.len);
}

static void check_split(const struct row *row, struct str input, size_t split)
{
    struct reader r;
    struct str_buf got = STR_BUF_INIT(4096);

    reader_init(&r, H1_BODY_CHUNKED, 0);
    test_add_slice(&r.in, str_sub(input, 0, split));
    read_all(&r);
    test_add_slice(&r.in, str_skip(input, split));
    read_all(&r);
    reader_text(&r, &got);
    if (strcmp(got.ptr, row->want) != 0)
        fail_msg("split %zu of\n%s\nwant %s\ngot  %s", split, row->input, row->want, got.ptr);
    str_buf_deinit(&got);
    reader_deinit(&r);
}

static void test_chunked(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(chunked); i++) {
        const struct row *row = &chunked[i];
        struct str input = str_from(row->input, row->len > 0 ? row->len : strlen(row->input));

        for (size_t split = 0; split <= input.len; split++)
            check_split(row, input, split);
    }
}

static void check_input(enum h1_body_kind kind, uint64_t length, struct str input, const char *want)
{
    struct reader r;
    struct str_buf got = STR_BUF_INIT(1 << 20);

    reader_init(&r, kind, length);
    chain_add(&r.in, input);
    read_all(&r);
    reader_text(&r, &got);
    assert_string_equal(got.ptr, want);
    str_buf_deinit(&got);
    reader_deinit(&r);
}

static void test_other_framings(void **state)
{
    check_input(H1_BODY_NONE, 0, STR("GET"), ";+3");
    check_input(H1_BODY_LENGTH, 5, STR("hello"), "hello;");
    check_input(H1_BODY_LENGTH, 5, STR("helloGET"), "hello;+3");
    check_input(H1_BODY_LENGTH, 5, STR("hel"), "hel...more");
    check_input(H1_BODY_LENGTH, 0, STR("x"), ";+1");
    check_input(H1_BODY_UNTIL_CLOSE, 0, STR("hello world, hello"), "hello world, hello...more");
}

static void test_extension_bounds(void **state)
{
    struct str_buf text = STR_BUF_INIT(1 << 20);

    str_buf_add_c(&text, "1;");
    for (int i = 0; i < H1_CHUNK_EXT_BYTES_MAX; i++)
        str_buf_add_char(&text, 'x');
    str_buf_add_c(&text, "\r\na\r\n");
    struct str chunk = str_buf_str(&text);
    check_input(H1_BODY_CHUNKED, 0, chunk, "a...more");

    struct str_buf many = STR_BUF_INIT(1 << 20);
    for (int i = 0; i < 17; i++)
        str_buf_add(&many, chunk);
    check_input(H1_BODY_CHUNKED, 0, str_buf_str(&many), "400 chunk_extension_too_large");
    str_buf_reset(&many);
    str_buf_add_c(&many, "1;x");
    str_buf_add(&many, str_skip(chunk, 2));
    check_input(H1_BODY_CHUNKED, 0, str_buf_str(&many), "400 chunk_extension_too_large");
    str_buf_deinit(&many);
    str_buf_deinit(&text);
}

static void test_trailer_bounds(void **state)
{
    struct str_buf text = STR_BUF_INIT(1 << 20);

    str_buf_add_c(&text, "0\r\n");
    for (int i = 0; i < 102; i++)
        str_buf_add_c(&text, "a: b\r\n");
    check_input(H1_BODY_CHUNKED, 0, str_buf_str(&text), "431 header_count_too_large");
    str_buf_reset(&text);
    str_buf_add_c(&text, "0\r\na: ");
    for (int i = 0; i < 80000; i++)
        str_buf_add_char(&text, 'b');
    check_input(H1_BODY_CHUNKED, 0, str_buf_str(&text), "431 header_section_too_large");
    str_buf_deinit(&text);
}

/* Data is moved by slices: a large chunk keeps its memory. */
static void test_round_trip(void **state)
{
    static char big[100000];
    struct chain from, out;
    struct reader r;
    struct http_head trailers;

    memset(big, 'x', sizeof big);
    chain_init(&from, NULL, NULL);
    chain_init(&out, NULL, NULL);
    reader_init(&r, H1_BODY_CHUNKED, 0);
    http_head_init(&trailers, &r.arena, false);
    http_head_add_named(&trailers, STR("grpc-status"), STR("0"));
    http_head_add_named(&trailers, STR("x-sum"), STR("a b"));
    chain_add(&from, STR("hello"));
    h1_chunk_move(&out, &from, 5);
    chain_add(&from, str_from(big, sizeof big));
    h1_chunk_move(&out, &from, sizeof big);
    h1_chunk_end(&out, &trailers);
    chain_add(&out, STR("next"));
    chain_move(&r.in, &out, out.len);
    read_all(&r);
    assert_true(r.is_ended);
    assert_int_equal(r.data.len, 5 + sizeof big);
    assert_string_equal(r.trailers.ptr, "grpc-status=0 x-sum=a b ");
    assert_int_equal(r.in.len, 4);
    chain_deinit(&from);
    chain_deinit(&out);
    reader_deinit(&r);
}

static void test_encoded_form(void **state)
{
    struct chain from, out;

    chain_init(&from, NULL, NULL);
    chain_init(&out, NULL, NULL);
    chain_add(&from, STR("0123456789abcdefgh"));
    h1_chunk_move(&out, &from, 17);
    h1_chunk_move(&out, &from, 1);
    h1_chunk_end(&out, NULL);
    assert_true(
        str_eq(chain_pullup(&out, out.len), STR("11\r\n0123456789abcdefg\r\n1\r\nh\r\n0\r\n\r\n")));
    chain_deinit(&from);
    chain_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunked),          cmocka_unit_test(test_other_framings),
        cmocka_unit_test(test_extension_bounds), cmocka_unit_test(test_trailer_bounds),
        cmocka_unit_test(test_round_trip),       cmocka_unit_test(test_encoded_form),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
