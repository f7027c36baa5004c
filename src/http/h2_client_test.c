/* Our HTTP/2 client against a server that says what the test makes it say, in raw frames. */
#include <nghttp2/nghttp2.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "http/client.h"
#include "http/h2_frame.h"
#include "http/hpack.h"
#include "http/service.h"
#include "io/sim.h"

struct asked {
    struct bench *bench;
    struct call *call;
    unsigned status, ends;
    size_t body_len;
    struct outcome outcome;
};

struct bench {
    struct sim_world *world;
    struct turn *turn;
    struct limits limits;
    struct http_client_config config;
    struct http_client *client;
    struct listen_socket *listen;
    struct conn *server;
    struct chain in;
    struct hpack_decoder decoder;
    struct asked a[3];
    bool is_draining;
    /* Of what the client sent: */
    unsigned heads, resets, goaways, ends;
    uint32_t reset_code, goaway_code;
    size_t data_bytes;
    char text[512]; /* of the last head: "name: value|" */
};

static void run(struct bench *b)
{
    sim_world_run(b->world, sim_world_now_us(b->world) + 100000);
}

/* --- the server ------------------------------------------------------------------------------- */

static void server_open(struct conn *c)
{
    (void)c;
}

static void server_input(struct conn *c)
{
    struct bench *b = c->ctx;

    chain_move(&b->in, &c->in, c->in.len);
    if (conn_is_in_ended(c))
        conn_close(c);
}

static void server_close(struct conn *c, int err)
{
    (void)err;
    ((struct bench *)c->ctx)->server = NULL;
}

static const struct conn_handler server = {
    .on_open = server_open, .on_input = server_input, .on_close = server_close};

static void on_accept(void *ctx, struct conn *c)
{
    ((struct bench *)ctx)->server = c;
    conn_set_handler(c, &server, ctx);
}

static void put_frame(struct bench *b, uint8_t type, uint8_t flags, uint32_t id, struct str payload)
{
    struct h2_frame f = {.len = (uint32_t)payload.len, .type = type, .flags = flags, .id = id};
    char head[H2_FRAME_HEAD];

    if (b->server == NULL)
        return;
    h2_frame_put(head, &f);
    chain_add(&b->server->out, str_from(head, sizeof(head)));
    chain_add(&b->server->out, payload);
    conn_mark_dirty(b->server);
}

/* "name\nvalue\n..." as literals. */
static void put_head(struct bench *b, uint32_t id, const char *lines, uint8_t flags)
{
    struct str_buf block = STR_BUF_INIT(20000);
    struct str rest = str_from_c(lines);

    while (rest.len > 0) {
        struct str name = str_split(&rest, '\n'), value = str_split(&rest, '\n');

        str_buf_add_char(&block, 0);
        str_buf_add_char(&block, (char)name.len);
        str_buf_add(&block, name);
        str_buf_add_char(&block, (char)value.len);
        str_buf_add(&block, value);
    }
    put_frame(b, H2_HEADERS, flags | H2_FLAG_END_HEADERS, id, str_buf_str(&block));
    str_buf_deinit(&block);
}

static void put_setting(struct bench *b, uint8_t id, uint32_t value)
{
    char payload[6] = {0, (char)id};

    h2_put_u32(payload + 2, value);
    put_frame(b, H2_SETTINGS, 0, 0, str_from(payload, sizeof(payload)));
}

static void read_head(struct bench *b, struct str block)
{
    struct hpack_field f;
    size_t len = 0;

    hpack_decode_begin(&b->decoder);
    b->text[0] = '\0';
    while (hpack_decode(&b->decoder, &block, &f) > 0)
        len += (size_t)snprintf(b->text + len, sizeof(b->text) - len, "%.*s: %.*s|",
                                STR_FMT(f.name), STR_FMT(f.value));
    b->heads++;
}

/* What the client has said since. */
static void read_all(struct bench *b)
{
    run(b);
    b->heads = b->resets = b->goaways = b->ends = 0;
    b->data_bytes = 0;
    while (b->in.len >= H2_FRAME_HEAD) {
        struct h2_frame f = h2_frame_parse(chain_pullup(&b->in, H2_FRAME_HEAD).ptr);

        if (f.len > 20000) { /* the preface */
            chain_skip(&b->in, 24);
            continue;
        }
        const char *payload = chain_pullup(&b->in, H2_FRAME_HEAD + f.len).ptr + H2_FRAME_HEAD;
        b->ends += (f.type == H2_DATA || f.type == H2_HEADERS) && (f.flags & 1) != 0;
        if (f.type == H2_HEADERS) {
            read_head(b, str_from(payload, f.len));
        } else if (f.type == H2_DATA) {
            b->data_bytes += f.len;
        } else if (f.type == H2_RST_STREAM) {
            b->resets++;
            b->reset_code = h2_get_u32(payload);
        } else if (f.type == H2_GOAWAY) {
            b->goaways++;
            b->goaway_code = h2_get_u32(payload + 4);
        }
        chain_skip(&b->in, H2_FRAME_HEAD + f.len);
    }
}

/* --- calls ------------------------------------------------------------------------------------ */

static void on_head(void *ctx, struct call *c, const struct http_head *head)
{
    (void)c;
    ((struct asked *)ctx)->status = head->status;
}

static void on_body(void *ctx, struct call *c, struct chain *body)
{
    (void)c;
    ((struct asked *)ctx)->body_len += body->len;
    chain_clear(body);
}

static void on_end(void *ctx, struct call *c, const struct http_head *trailers,
                   const struct outcome *outcome)
{
    struct asked *a = ctx;

    (void)c;
    (void)trailers;
    a->ends++;
    a->outcome = *outcome;
}

static const struct call_ops call_ops = {.on_head = on_head, .on_body = on_body, .on_end = on_end};

static void ask(struct bench *b, int i, const char *method, const char *protocol)
{
    struct asked *a = &b->a[i];
    struct arena arena;
    struct http_head head;

    *a = (struct asked){.bench = b};
    arena_init(&arena, 1024);
    http_head_init(&head, &arena, true);
    head.method = str_from_c(method);
    head.path = str_eq(head.method, STR("CONNECT")) ? STR("") : STR("/p");
    head.scheme = STR("http");
    head.authority = STR("s:1");
    head.protocol = str_from_c(protocol);
    head.has_body = http_head_asks_tunnel(&head) || str_eq(head.method, STR("POST"));
    a->call = call_start(b->turn, b->client, &head, &call_ops, a);
    if (!head.has_body)
        call_end(a->call);
    arena_deinit(&arena);
}

/* --- the bench -------------------------------------------------------------------------------- */

static void on_room(void *ctx, struct http_client *c)
{
    (void)ctx;
    (void)c;
}

static void on_draining(void *ctx, struct http_client *c)
{
    (void)c;
    ((struct bench *)ctx)->is_draining = true;
}

static void on_client_close(void *ctx, struct http_client *c, int err)
{
    (void)c;
    (void)err;
    ((struct bench *)ctx)->client = NULL;
}

static const struct http_client_ops client_ops = {
    .on_room = on_room, .on_draining = on_draining, .on_close = on_client_close};

static const struct conn_handler nobody;

static int setup(void **state)
{
    static struct bench bench;
    struct bench *b = &bench;
    struct addr addr;

    *b = (struct bench){0};
    b->world = sim_world_new(&(struct sim_options){.seed = 3, .pipe_bytes_max = 1 << 20});
    b->turn = turn_new_sim(b->world);
    limits_init(&b->limits);
    b->config = (struct http_client_config){.limits = &b->limits, .streams_max = 10};
    chain_init(&b->in, NULL, NULL);
    hpack_decoder_init(&b->decoder);
    addr_parse(STR("10.0.0.1:80"), &addr);
    assert_int_equal(listen_open(b->turn, &addr, &(struct listen_options){.inherited_fd = -1},
                                 on_accept, b, &b->listen),
                     0);
    struct conn *c =
        conn_connect(b->turn, &addr, &(struct conn_options){.connect_timeout_us = 1000000}, &nobody,
                     NULL, NULL, NULL);
    b->client = http_client_open(c, HTTP_2, &b->config, &client_ops, b);
    run(b);
    b->server->read_max = 1 << 20;
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    if (b->client != NULL)
        http_client_abort(b->client, -ERR_CANCELED);
    run(b);
    if (b->server != NULL)
        conn_close(b->server);
    listen_close(b->listen);
    for (int i = 0; i < 3; i++) {
        run(b);
        assert_true(b->a[i].call == NULL || b->a[i].ends == 1);
    }
    chain_deinit(&b->in);
    hpack_decoder_deinit(&b->decoder);
    assert_int_equal(turn_account(b->turn)->bytes, 0);
    turn_free(b->turn);
    sim_world_free(b->world);
    return 0;
}

/* --- answers ---------------------------------------------------------------------------------- */

static void test_answers(void **state)
{
    static const struct {
        const char *method, *head, *body; /* body NULL: the head ends it */
        unsigned status;                  /* 0: the stream is reset with PROTOCOL_ERROR */
    } table[] = {
        {"GET", ":status\n200\n", NULL, 200},
        {"GET", ":status\n200\ncontent-length\n2\n", "hi", 200},
        {"GET", ":status\n304\ncontent-length\n2\n", NULL, 304},
        {"HEAD", ":status\n200\ncontent-length\n2\n", NULL, 200},
        {"GET", ":status\n200\ncontent-length\n2\n", NULL, 0},
        {"GET", ":status\n200\ncontent-length\n2\n", "h", 0},
        {"GET", ":status\n200\ncontent-length\n2\n", "hi!", 0},
        {"GET", ":status\n200\ncontent-length\nx\n", "hi!", 0},
        {"HEAD", ":status\n200\n", "hi", 0},
        {"GET", ":status\n204\n", "hi", 0},
        {"GET", ":status\n101\n", "hi", 0},
        {"GET", ":status\n20\n", "hi", 0},
        {"GET", ":status\n099\n", "hi", 0},
        {"GET", "x-a\n1\n", "hi", 0},
        {"GET", ":status\n200\n:status\n200\n", "hi", 0},
        {"GET", ":status\n200\n:path\n/\n", "hi", 0},
        {"GET", ":status\n103\n", NULL, 0},
        {"GET", ":status\n200\nX-A\n1\n", "hi", 0},
        {"GET", ":status\n200\nconnection\nclose\n", "hi", 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        assert_int_equal(setup(state), 0);
        struct bench *b = *state;

        put_frame(b, H2_SETTINGS, 0, 0, STR_NULL);
        ask(b, 0, table[i].method, NULL);
        run(b);
        put_head(b, 1, table[i].head, table[i].body == NULL ? H2_FLAG_END_STREAM : 0);
        if (table[i].body != NULL)
            put_frame(b, H2_DATA, H2_FLAG_END_STREAM, 1, str_from_c(table[i].body));
        read_all(b);
        assert_int_equal(b->a[0].ends, 1);
        if ((b->a[0].outcome.err == 0) != (table[i].status != 0) ||
            b->resets != (table[i].status == 0) || b->goaways != 0)
            fail_msg("row %zu: err %d, %u resets", i, b->a[0].outcome.err, b->resets);
        if (table[i].status == 0)
            assert_int_equal(b->reset_code, NGHTTP2_PROTOCOL_ERROR);
        else
            assert_int_equal(b->a[0].status, table[i].status);
        assert_int_equal(teardown(state), 0);
    }
}

static void test_informational(void **state)
{
    struct bench *b = *state;

    put_frame(b, H2_SETTINGS, 0, 0, STR_NULL);
    ask(b, 0, "GET", NULL);
    run(b);
    for (int i = 0; i < 5; i++)
        put_head(b, 1, ":status\n103\nlink\n</a>\n", 0);
    put_head(b, 1, ":status\n200\n", H2_FLAG_END_STREAM);
    run(b);
    assert_int_equal(b->a[0].status, 200);
    ask(b, 1, "GET", NULL);
    run(b);
    for (int i = 0; i < 20; i++)
        put_head(b, 3, ":status\n103\n", 0);
    read_all(b);
    assert_int_equal(b->reset_code, NGHTTP2_PROTOCOL_ERROR);
    assert_int_equal(b->a[1].outcome.err, -ERR_PROTOCOL);
}

/* What a GOAWAY says was not looked at can be sent again; the rest goes on. */
static void test_goaway(void **state)
{
    struct bench *b = *state;

    put_frame(b, H2_SETTINGS, 0, 0, STR_NULL);
    for (int i = 0; i < 3; i++)
        ask(b, i, "GET", NULL);
    run(b);
    put_frame(b, H2_GOAWAY, 0, 0, str_from("\0\0\0\1\0\0\0\0", 8));
    run(b);
    assert_true(b->is_draining);
    assert_int_equal(b->a[0].ends, 0);
    assert_int_equal(b->a[1].ends + b->a[2].ends, 2);
    assert_true(b->a[1].outcome.is_retryable);
    put_head(b, 1, ":status\n200\n", H2_FLAG_END_STREAM);
    run(b);
    assert_int_equal(b->a[0].status, 200);
    run(b);
    assert_null(b->client);
}

static void test_what_a_server_may_not_say(void **state)
{
    static const struct {
        uint8_t type, flags;
        uint32_t id;
        const char *payload;
        size_t len;
    } table[] = {
        {H2_PUSH_PROMISE, 4, 1, "\0\0\0\2\x82\x84\x86", 7},
        {H2_HEADERS, 5, 2, "\x88", 1},
        {H2_HEADERS, 5, 99, "\x88", 1},
        {H2_DATA, 1, 99, "a", 1},
        {H2_RST_STREAM, 0, 99, "\0\0\0\0", 4},
        {H2_SETTINGS, 0, 0, "\0\2\0\0\0\1", 6},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        assert_int_equal(setup(state), 0);
        struct bench *b = *state;

        put_frame(b, H2_SETTINGS, 0, 0, STR_NULL);
        ask(b, 0, "GET", NULL);
        run(b);
        put_frame(b, table[i].type, table[i].flags, table[i].id,
                  str_from(table[i].payload, table[i].len));
        read_all(b);
        if (b->goaways != 1 || b->goaway_code != NGHTTP2_PROTOCOL_ERROR)
            fail_msg("row %zu", i);
        assert_int_equal(b->a[0].ends, 1);
        assert_int_equal(teardown(state), 0);
    }
}

static void test_data_before_the_head(void **state)
{
    struct bench *b = *state;

    put_frame(b, H2_SETTINGS, 0, 0, STR_NULL);
    ask(b, 0, "GET", NULL);
    run(b);
    put_frame(b, H2_DATA, 0, 1, STR("a"));
    read_all(b);
    assert_int_equal(b->reset_code, NGHTTP2_PROTOCOL_ERROR);
    assert_int_equal(b->a[0].outcome.err, -ERR_RESET);
}

static void test_refused_stream(void **state)
{
    struct bench *b = *state;

    put_frame(b, H2_SETTINGS, 0, 0, STR_NULL);
    ask(b, 0, "GET", NULL);
    run(b);
    put_frame(b, H2_RST_STREAM, 0, 1, str_from("\0\0\0\7", 4));
    run(b);
    assert_true(b->a[0].outcome.is_retryable);
}

/* --- tunnels ---------------------------------------------------------------------------------- */

/* It waits for the SETTINGS that allow it (RFC 8441 3). */
static void test_websocket(void **state)
{
    struct bench *b = *state;
    struct chain bytes;

    ask(b, 0, "GET", "websocket");
    read_all(b);
    assert_int_equal(b->heads, 0);
    put_setting(b, H2_SETTING_ENABLE_CONNECT_PROTOCOL, 1);
    read_all(b);
    assert_int_equal(b->heads, 1);
    assert_string_equal(b->text, ":method: CONNECT|:authority: s:1|:protocol: websocket|"
                                 ":scheme: http|:path: /p|");
    put_head(b, 1, ":status\n200\ncontent-length\n1\n", 0);
    put_frame(b, H2_DATA, 0, 1, STR("hello"));
    run(b);
    assert_int_equal(b->a[0].status, 101);
    assert_int_equal(b->a[0].body_len, 5);
    chain_init(&bytes, NULL, NULL);
    chain_add(&bytes, STR("answer"));
    call_write(b->a[0].call, &bytes);
    chain_deinit(&bytes);
    put_frame(b, H2_DATA, H2_FLAG_END_STREAM, 1, STR_NULL);
    read_all(b);
    assert_int_equal(b->data_bytes, 6);
    assert_int_equal(b->a[0].ends, 0); /* our half is open still */
    call_end(b->a[0].call);
    read_all(b);
    assert_int_equal(b->ends, 1);
    assert_int_equal(b->a[0].ends, 1);
    assert_int_equal(b->a[0].outcome.err, 0);
}

static void test_websocket_is_not_allowed(void **state)
{
    struct bench *b = *state;

    put_frame(b, H2_SETTINGS, 0, 0, STR_NULL);
    ask(b, 0, "GET", "websocket");
    read_all(b);
    assert_int_equal(b->heads, 0);
    assert_int_equal(b->a[0].outcome.err, -ERR_UNSUPPORTED);
}

static void test_connect(void **state)
{
    struct bench *b = *state;

    put_frame(b, H2_SETTINGS, 0, 0, STR_NULL);
    ask(b, 0, "CONNECT", NULL);
    read_all(b);
    assert_string_equal(b->text, ":method: CONNECT|:authority: s:1|");
    put_head(b, 1, ":status\n204\n", 0);
    put_frame(b, H2_DATA, H2_FLAG_END_STREAM, 1, STR("hello"));
    run(b);
    assert_int_equal(b->a[0].status, 204);
    assert_int_equal(b->a[0].body_len, 5);
    call_end(b->a[0].call);
    read_all(b);
    assert_int_equal(b->a[0].outcome.err, 0);
    assert_int_equal(b->ends, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        TEST(informational),
        TEST(goaway),
        cmocka_unit_test(test_what_a_server_may_not_say),
        TEST(data_before_the_head),
        TEST(refused_stream),
        TEST(websocket),
        TEST(websocket_is_not_allowed),
        TEST(connect),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
