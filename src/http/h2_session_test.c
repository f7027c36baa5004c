/* Raw frames into a server: numbers of streams, windows, turns, what a peer may not do for ever. */
#include <nghttp2/nghttp2.h>

#include "http/h2_frame.h"
#include "http/h2_test_util.h"

static void put_u32(struct bench *b, uint8_t type, uint32_t id, uint32_t value)
{
    char payload[4];

    h2_put_u32(payload, value);
    put_frame(b, type, 0, id, str_from(payload, sizeof(payload)));
}

static void put_setting(struct bench *b, uint16_t id, uint32_t value)
{
    char payload[6] = {0, (char)id};

    h2_put_u32(payload + 2, value);
    put_frame(b, NGHTTP2_SETTINGS, 0, 0, str_from(payload, sizeof(payload)));
}

/* --- numbers ---------------------------------------------------------------------------------- */

/* RFC 9113 5.1, 5.1.1: what a frame on such a number does. */
static void test_numbers(void **state)
{
    enum { ON_CLOSED, ON_PASSED_OVER, ON_EVEN, ON_IDLE, ON_RESET_BY_US, ON_RESET_BY_PEER };
    static const struct {
        int what;
        uint8_t type;
        uint32_t goaway; /* 0: none */
    } table[] = {
        {ON_CLOSED, NGHTTP2_HEADERS, NGHTTP2_STREAM_CLOSED},
        {ON_CLOSED, NGHTTP2_DATA, NGHTTP2_STREAM_CLOSED},
        {ON_CLOSED, NGHTTP2_WINDOW_UPDATE, 0},
        {ON_CLOSED, NGHTTP2_RST_STREAM, 0},
        {ON_PASSED_OVER, NGHTTP2_HEADERS, NGHTTP2_PROTOCOL_ERROR},
        {ON_EVEN, NGHTTP2_HEADERS, NGHTTP2_PROTOCOL_ERROR},
        {ON_EVEN, NGHTTP2_RST_STREAM, NGHTTP2_PROTOCOL_ERROR},
        {ON_IDLE, NGHTTP2_DATA, NGHTTP2_PROTOCOL_ERROR},
        {ON_IDLE, NGHTTP2_RST_STREAM, NGHTTP2_PROTOCOL_ERROR},
        {ON_IDLE, NGHTTP2_WINDOW_UPDATE, NGHTTP2_PROTOCOL_ERROR},
        {ON_IDLE, NGHTTP2_PRIORITY, 0},
        {ON_RESET_BY_US, NGHTTP2_HEADERS, 0},
        {ON_RESET_BY_US, NGHTTP2_DATA, 0},
        {ON_RESET_BY_PEER, NGHTTP2_DATA, NGHTTP2_STREAM_CLOSED},
    };
    static const uint32_t numbers[] = {5, 3, 2, 99, 7, 9};

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        uint32_t id = numbers[table[i].what];

        assert_int_equal(setup(state), 0);
        struct bench *b = *state;
        put_preface(b);
        put_headers(b, 1, GET, ENDED);
        put_headers(b, 5, GET, ENDED);
        put_headers(b, 7, POST "content-length\nx\n", NGHTTP2_FLAG_END_HEADERS); /* malformed */
        put_headers(b, 9, POST, NGHTTP2_FLAG_END_HEADERS);
        put_u32(b, NGHTTP2_RST_STREAM, 9, NGHTTP2_CANCEL);
        struct answer a = read_answer(b);
        assert_int_equal(a.headers, 2);
        assert_int_equal(a.resets, 1);
        if (table[i].type == NGHTTP2_HEADERS)
            put_headers(b, id, "x-a\n1\n", ENDED);
        else if (table[i].type == NGHTTP2_PRIORITY)
            put_frame(b, NGHTTP2_PRIORITY, 0, id, str_from("\0\0\0\0\1", 5));
        else
            put_u32(b, table[i].type, id, 1);
        a = read_answer(b);
        if (a.goaways != (table[i].goaway != 0) || a.goaway_code != table[i].goaway)
            fail_msg("row %zu: GOAWAY %u", i, a.goaway_code);
        if (table[i].goaway == 0) {
            put_headers(b, 101, GET, ENDED);
            assert_int_equal(read_answer(b).headers, 1);
        }
        assert_int_equal(teardown(state), 0);
    }
}

/* The table of the connection goes on over sections that nobody wants. */
static void test_sections_on_reset_streams_are_decoded(void **state)
{
    struct bench *b = *state;
    static const char inserting[] = "\x40\x03x-k\x01v", using[] = "\x82\x86\x84\x41\x01h\xbf";

    put_preface(b);
    put_headers(b, 1, POST "content-length\nx\n", NGHTTP2_FLAG_END_HEADERS);
    assert_int_equal(read_answer(b).resets, 1);
    put_frame(b, NGHTTP2_HEADERS, ENDED, 1, str_from(inserting, sizeof(inserting) - 1));
    put_frame(b, NGHTTP2_HEADERS, ENDED, 3, str_from(using, sizeof(using) - 1));
    assert_int_equal(read_answer(b).status, 200);
}

static void test_a_broken_block_ends_the_connection(void **state)
{
    struct bench *b = *state;

    put_preface(b);
    put_frame(b, NGHTTP2_HEADERS, ENDED, 1, str_from("\x82\xff\xff\xff", 4));
    struct answer a = read_answer(b);
    assert_int_equal(a.goaway_code, NGHTTP2_COMPRESSION_ERROR);
    assert_null(b->server);
}

static void test_streams_max(void **state)
{
    struct bench *b = *state;

    b->limits.streams_per_connection_max = 2;
    put_preface(b);
    for (uint32_t id = 1; id <= 5; id += 2)
        put_headers(b, id, POST, NGHTTP2_FLAG_END_HEADERS);
    struct answer a = read_answer(b);
    assert_int_equal(a.resets, 1);
    assert_int_equal(a.reset_code, NGHTTP2_REFUSED_STREAM);
    put_frame(b, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 5, STR("was on its way"));
    put_frame(b, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, STR("abc"));
    assert_int_equal(read_answer(b).headers, 1);
    put_headers(b, 7, GET, ENDED);
    a = read_answer(b);
    assert_int_equal(a.headers, 1);
    assert_int_equal(a.resets + a.goaways, 0);
}

/* --- frames ----------------------------------------------------------------------------------- */

static void test_broken_frames(void **state)
{
    static const struct {
        uint8_t type, flags;
        uint32_t id;
        const char *payload;
        size_t len;
        uint32_t code;
    } table[] = {
        {NGHTTP2_SETTINGS, 0, 1, "", 0, NGHTTP2_PROTOCOL_ERROR},
        {NGHTTP2_SETTINGS, 0, 0, "12345", 5, NGHTTP2_FRAME_SIZE_ERROR},
        {NGHTTP2_SETTINGS, 1, 0, "\0\4\0\0\0\1", 6, NGHTTP2_FRAME_SIZE_ERROR},
        {NGHTTP2_SETTINGS, 0, 0, "\0\2\0\0\0\2", 6, NGHTTP2_PROTOCOL_ERROR},
        {NGHTTP2_SETTINGS, 0, 0, "\0\4\x80\0\0\0", 6, NGHTTP2_FLOW_CONTROL_ERROR},
        {NGHTTP2_SETTINGS, 0, 0, "\0\5\0\0\x3f\xff", 6, NGHTTP2_PROTOCOL_ERROR},
        {NGHTTP2_PING, 0, 0, "1234567", 7, NGHTTP2_FRAME_SIZE_ERROR},
        {NGHTTP2_PING, 0, 1, "12345678", 8, NGHTTP2_PROTOCOL_ERROR},
        {NGHTTP2_GOAWAY, 0, 0, "1234567", 7, NGHTTP2_FRAME_SIZE_ERROR},
        {NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\0\0\0", 4, NGHTTP2_PROTOCOL_ERROR},
        {NGHTTP2_WINDOW_UPDATE, 0, 0, "\x7f\xff\xff\xff", 4, NGHTTP2_FLOW_CONTROL_ERROR},
        {NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\0\1", 3, NGHTTP2_FRAME_SIZE_ERROR},
        {NGHTTP2_RST_STREAM, 0, 1, "\0\0\0", 3, NGHTTP2_FRAME_SIZE_ERROR},
        {NGHTTP2_RST_STREAM, 0, 0, "\0\0\0\0", 4, NGHTTP2_PROTOCOL_ERROR},
        {NGHTTP2_PRIORITY, 0, 0, "\0\0\0\0\0", 5, NGHTTP2_PROTOCOL_ERROR},
        {NGHTTP2_PUSH_PROMISE, 4, 1, "\0\0\0\2\x82", 5, NGHTTP2_PROTOCOL_ERROR},
        {NGHTTP2_CONTINUATION, 4, 1, "", 0, NGHTTP2_PROTOCOL_ERROR},
        {NGHTTP2_DATA, 0, 0, "a", 1, NGHTTP2_PROTOCOL_ERROR},
        {NGHTTP2_DATA, 8, 1, "\3ab", 3, NGHTTP2_PROTOCOL_ERROR},
        {NGHTTP2_DATA, 8, 1, "", 0, NGHTTP2_FRAME_SIZE_ERROR},
        {NGHTTP2_HEADERS, 12, 3, "\2\x82", 2, NGHTTP2_PROTOCOL_ERROR},
        {NGHTTP2_HEADERS, 0x24, 3, "\0\0", 2, NGHTTP2_PROTOCOL_ERROR},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        assert_int_equal(setup(state), 0);
        struct bench *b = *state;

        put_preface(b);
        put_headers(b, 1, POST, NGHTTP2_FLAG_END_HEADERS);
        put_frame(b, table[i].type, table[i].flags, table[i].id,
                  str_from(table[i].payload, table[i].len));
        struct answer a = read_answer(b);
        if (a.goaways != 1 || a.goaway_code != table[i].code)
            fail_msg("row %zu: %u GOAWAY, code %u", i, a.goaways, a.goaway_code);
        assert_null(b->server);
        assert_int_equal(teardown(state), 0);
    }
}

static void test_the_first_frame_is_settings(void **state)
{
    struct bench *b = *state;

    put(b, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    put_frame(b, NGHTTP2_PING, 0, 0, STR("12345678"));
    assert_int_equal(read_answer(b).goaway_code, NGHTTP2_PROTOCOL_ERROR);
}

static void test_too_long_a_frame(void **state)
{
    static char payload[16385];
    struct bench *b = *state;

    put_preface(b);
    put_frame(b, 77, 0, 0, str_from(payload, 16384)); /* unknown: ignored */
    put_headers(b, 1, GET, ENDED);
    assert_int_equal(read_answer(b).status, 200);
    put_frame(b, 77, 0, 0, str_from(payload, 16385));
    assert_int_equal(read_answer(b).goaway_code, NGHTTP2_FRAME_SIZE_ERROR);
}

/* --- windows ---------------------------------------------------------------------------------- */

static void test_more_than_the_window(void **state)
{
    static char payload[16384];
    struct bench *b = *state;

    b->limits.conn_window_bytes = 65536;
    b->is_holding = true;
    put_preface(b);
    put_headers(b, 1, POST, NGHTTP2_FLAG_END_HEADERS);
    for (int i = 0; i < 5; i++) /* the connection's window is given back at once */
        put_frame(b, NGHTTP2_DATA, 0, 1, str_from(payload, sizeof(payload)));
    struct answer a = read_answer(b);
    assert_int_equal(a.resets, 1);
    assert_int_equal(a.reset_code, NGHTTP2_FLOW_CONTROL_ERROR);
    assert_int_equal(a.goaways, 0);
}

/* A client that has not seen our SETTINGS has 64 KiB; what it is ahead, it owes from then on. */
static void test_our_window_begins_with_its_acknowledgement(void **state)
{
    static char payload[16384];
    struct bench *b = *state;
    uint32_t window = (uint32_t)b->limits.flow_window_bytes;

    b->is_holding = true;
    put_preface(b);
    put_headers(b, 1, POST, NGHTTP2_FLAG_END_HEADERS);
    put_headers(b, 3, POST, NGHTTP2_FLAG_END_HEADERS);
    for (uint32_t sent = 0; sent < window; sent += sizeof(payload)) {
        put_frame(b, NGHTTP2_DATA, 0, 1, str_from(payload, MIN(sizeof(payload), window - sent)));
        put_frame(b, NGHTTP2_DATA, 0, 3, str_from(payload, MIN(sizeof(payload), window - sent)));
    }
    put_frame(b, NGHTTP2_DATA, 0, 1, str_from(payload, 65535 - window));
    struct answer a = read_answer(b);
    assert_int_equal(a.resets + a.goaways, 0);
    put_frame(b, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, STR_NULL);
    put_frame(b, NGHTTP2_DATA, 0, 3, str_from(payload, 1)); /* its window is 0 now */
    a = read_answer(b);
    assert_int_equal(a.resets, 1);
    assert_int_equal(a.reset_code, NGHTTP2_FLOW_CONTROL_ERROR);
    put_headers(b, 5, POST, NGHTTP2_FLAG_END_HEADERS);
    for (uint32_t sent = 0; sent < window; sent += sizeof(payload))
        put_frame(b, NGHTTP2_DATA, 0, 5, str_from(payload, MIN(sizeof(payload), window - sent)));
    assert_int_equal(read_answer(b).resets, 0);
    put_frame(b, NGHTTP2_DATA, 0, 5, str_from(payload, 1));
    assert_int_equal(read_answer(b).resets, 1);
}

/* Padding costs the window of the stream, and is given back: more than the window of it passes. */
static void test_padding_is_given_back(void **state)
{
    static char payload[201] = {(char)199};
    struct bench *b = *state;

    put_preface(b);
    put_headers(b, 1, POST, NGHTTP2_FLAG_END_HEADERS);
    for (int i = 0; i < 1000; i++)
        put_frame(b, NGHTTP2_DATA, NGHTTP2_FLAG_PADDED, 1, str_from(payload, 201));
    put_frame(b, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, STR_NULL);
    struct answer a = read_answer(b);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.resets + a.goaways, 0);
}

/* Windows of zero hold DATA back, a smaller one takes what was given (RFC 9113 6.9.2). */
static void test_our_data_keeps_to_windows(void **state)
{
    struct bench *b = *state;

    put_preface(b);
    put_setting(b, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0);
    put_headers(b, 1, GET, ENDED);
    struct answer a = read_answer(b);
    assert_int_equal(a.headers, 1);
    assert_int_equal(a.data, 0);
    put_setting(b, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 3); /* "fin" */
    a = read_answer(b);
    assert_int_equal(a.data, 1);
    assert_int_equal(a.data_bytes, 3);
    assert_int_equal(a.ends, 0);
    put_setting(b, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1); /* now it is -2 */
    put_u32(b, NGHTTP2_WINDOW_UPDATE, 1, 2);
    assert_int_equal(read_answer(b).data, 0);
    put_u32(b, NGHTTP2_WINDOW_UPDATE, 1, 5);
    a = read_answer(b);
    assert_int_equal(a.data_bytes, 1);
    assert_int_equal(a.ends, 1);
}

/* Nobody's body waits for another one's: turns of a frame each. */
static void test_streams_take_turns(void **state)
{
    struct bench *b = *state;
    uint32_t order[64];
    size_t count = 0;

    b->reply_bytes = 60000;
    put_preface(b);
    put_u32(b, NGHTTP2_WINDOW_UPDATE, 0, 1 << 20);
    put_setting(b, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0);
    for (uint32_t id = 1; id <= 5; id += 2)
        put_headers(b, id, GET, ENDED);
    run(b);
    put_setting(b, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 20);
    run(b);
    for (; b->in.len >= 9; chain_skip(&b->in, 9 + (number_at(b, 0) >> 8))) {
        if ((uint8_t)number_at(b, 0) == NGHTTP2_DATA)
            order[count++] = number_at(b, 5);
    }
    assert_true(count >= 9);
    for (size_t i = 0; i < 3; i++)
        assert_true(order[i] != order[i + 1] && order[i] != order[i + 2] &&
                    order[i] == order[i + 3]);
}

/* --- what costs us ---------------------------------------------------------------------------- */

/* Frames that make us reset streams are the peer's resets too. */
static void test_made_resets_are_counted(void **state)
{
    struct bench *b = *state;

    put_preface(b);
    for (uint32_t i = 0; i < 10500 && b->client != NULL; i++) {
        put_headers(b, 1 + 2 * i, POST, NGHTTP2_FLAG_END_HEADERS);
        put_u32(b, NGHTTP2_WINDOW_UPDATE, 1 + 2 * i, 0);
        if (i % 500 == 499) {
            sim_world_run(b->world, sim_world_now_us(b->world) + 1000);
            chain_clear(&b->in);
        }
    }
    run(b);
    assert_null(b->server);
}

static void test_window_updates_that_nobody_asked_for(void **state)
{
    struct bench *b = *state;

    put_preface(b);
    put_headers(b, 1, POST, NGHTTP2_FLAG_END_HEADERS);
    for (int i = 0; i < 6000; i++)
        put_u32(b, NGHTTP2_WINDOW_UPDATE, i % 2, 1);
    assert_int_equal(read_answer(b).goaway_code, NGHTTP2_ENHANCE_YOUR_CALM);
    assert_null(b->server);
}

/* gRPC's libraries send a PING with nearly every answer that they get; who sends nothing else is
 * flooding. */
static void test_pings(void **state)
{
    struct bench *b = *state;

    put_preface(b);
    for (uint32_t i = 0; i < 3000; i++) {
        put_headers(b, 1 + 2 * i, GET, ENDED);
        put_frame(b, NGHTTP2_PING, 0, 0, STR("abcdefgh"));
        sim_world_run(b->world, sim_world_now_us(b->world) + 1000);
        chain_clear(&b->in);
    }
    assert_int_equal(b->exchanges, 3000);
    assert_non_null(b->server);
    for (int i = 0; i < 1100; i++)
        put_frame(b, NGHTTP2_PING, 0, 0, STR("abcdefgh"));
    assert_int_equal(read_answer(b).goaway_code, NGHTTP2_ENHANCE_YOUR_CALM);
    assert_null(b->server);
}

/* DATA of a byte, because the peer opens no more of a window, calls for no PING of its own. */
static void test_pings_between_single_bytes(void **state)
{
    struct bench *b = *state;
    unsigned pings = 0;

    b->reply_bytes = 100000;
    put_preface(b);
    put_setting(b, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0);
    put_headers(b, 1, GET, ENDED);
    run(b);
    for (; pings < 3000 && b->server != NULL; pings++) {
        put_u32(b, NGHTTP2_WINDOW_UPDATE, 1, 1);
        put_frame(b, NGHTTP2_PING, 0, 0, STR("abcdefgh"));
        sim_world_run(b->world, sim_world_now_us(b->world) + 1000);
    }
    assert_in_range(pings, 900, 1200);
    assert_int_equal(read_answer(b).goaway_code, NGHTTP2_ENHANCE_YOUR_CALM);
}

/* Answers to one who does not read them are bounded: with the windows open, and PING between. */
static void test_a_peer_that_does_not_read(void **state)
{
    struct bench *b = *state;

    b->reply_bytes = 100000;
    put_preface(b);
    put_setting(b, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 30);
    put_u32(b, NGHTTP2_WINDOW_UPDATE, 0, 1 << 30);
    conn_pause(b->client);
    for (uint32_t i = 0; i < 5000 && b->client != NULL; i++) {
        put_headers(b, 1 + 2 * i, GET, ENDED);
        if (i % 100 == 99)
            sim_world_run(b->world, sim_world_now_us(b->world) + 1000);
        if (b->server != NULL)
            assert_true(turn_account(b->turn)->bytes < 16 << 20);
    }
}

/* Refusals to one who does not read them are bounded, too. */
static void test_a_peer_that_does_not_read_refusals(void **state)
{
    struct bench *b = *state;

    put_preface(b);
    conn_pause(b->client);
    for (uint32_t i = 0; i < 200000 && b->client != NULL && b->server != NULL; i++) {
        put_headers(b, 1 + 2 * i, GET "expect\nx\n", ENDED);
        if (i % 500 == 499)
            sim_world_run(b->world, sim_world_now_us(b->world) + 1000);
    }
    assert_true(turn_account(b->turn)->bytes < 4 << 20);
    assert_null(b->server);
}

/* Nor does one who opens no window keep streams for ever. */
static void test_a_peer_that_opens_no_window(void **state)
{
    struct bench *b = *state;

    b->config.stream_idle_timeout_us = 5000000;
    b->config.idle_timeout_us = 5000000;
    b->reply_bytes = 50000;
    put_preface(b);
    put_setting(b, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0);
    put_frame(b, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, STR_NULL);
    for (uint32_t i = 0; i < 50; i++)
        put_headers(b, 1 + 2 * i, GET, ENDED);
    run(b);
    assert_int_equal(b->exchanges, 50);
    sim_world_run(b->world, sim_world_now_us(b->world) + 30000000);
    assert_null(b->server);
}

/* Streams that are reset in the very read that opened them are begun no more than others. */
static void test_resets_within_a_turn(void **state)
{
    struct bench *b = *state;

    put_preface(b);
    run(b);
    for (uint32_t i = 0; i < 1000; i++) {
        put_headers(b, 1 + 2 * i, GET, ENDED);
        put_u32(b, NGHTTP2_RST_STREAM, 1 + 2 * i, NGHTTP2_CANCEL);
    }
    run(b);
    assert_in_range(b->begun_max, 1, 2 * 100);
    assert_non_null(b->server);
}

/* Bounds that the configuration sets are those of the connection. */
static void test_configured_bounds(void **state)
{
    static const struct {
        struct h2_bounds bounds;
        uint8_t type;
        unsigned allowed;
    } table[] = {
        {{.empty_frames_max = 3}, NGHTTP2_DATA, 3},
        {{.priority_frames_max = 4}, NGHTTP2_PRIORITY, 8}, /* a stream is open */
        {{.window_updates_max = 2}, NGHTTP2_WINDOW_UPDATE, 7},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        assert_int_equal(setup(state), 0);
        struct bench *b = *state;

        b->config.h2 = table[i].bounds;
        put_preface(b);
        put_headers(b, 1, POST, NGHTTP2_FLAG_END_HEADERS);
        for (unsigned k = 0; k <= table[i].allowed; k++) {
            assert_int_equal(read_answer(b).goaways, 0);
            if (table[i].type == NGHTTP2_DATA)
                put_frame(b, NGHTTP2_DATA, 0, 1, STR_NULL);
            else if (table[i].type == NGHTTP2_PRIORITY)
                put_frame(b, NGHTTP2_PRIORITY, 0, 3, str_from("\0\0\0\0\1", 5));
            else
                put_u32(b, NGHTTP2_WINDOW_UPDATE, 0, 1);
        }
        assert_int_equal(read_answer(b).goaway_code, NGHTTP2_ENHANCE_YOUR_CALM);
        assert_int_equal(teardown(state), 0);
    }
}

/* Answers that wait: those of a turn, for nothing is written before its end. */
static void test_configured_answers(void **state)
{
    struct bench *b = *state;

    b->config.h2 = (struct h2_bounds){.outbound_frames_max = 100, .outbound_control_frames_max = 5};
    put_preface(b);
    run(b);
    for (int i = 0; i < 10; i++) {
        for (int k = 0; k < 5; k++)
            put_frame(b, NGHTTP2_PING, 0, 0, STR("12345678"));
        assert_int_equal(read_answer(b).goaways, 0);
    }
    for (int k = 0; k < 20; k++)
        put_frame(b, NGHTTP2_PING, 0, 0, STR("12345678"));
    assert_int_equal(read_answer(b).goaway_code, NGHTTP2_ENHANCE_YOUR_CALM);
}

static void test_settings_are_acknowledged_in_time(void **state)
{
    struct bench *b = *state;

    put_preface(b);
    run(b);
    chain_clear(&b->in);
    sim_world_run(b->world, sim_world_now_us(b->world) + 31000000);
    assert_int_equal(read_answer(b).goaway_code, NGHTTP2_SETTINGS_TIMEOUT);
    run(b);
    assert_null(b->server);
}

static void test_acknowledged_settings_are_not_waited_for(void **state)
{
    struct bench *b = *state;

    put_preface(b);
    put_frame(b, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, STR_NULL);
    sim_world_run(b->world, sim_world_now_us(b->world) + 31000000);
    assert_int_equal(read_answer(b).goaways, 0);
    assert_non_null(b->server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        TEST(sections_on_reset_streams_are_decoded),
        TEST(a_broken_block_ends_the_connection),
        TEST(streams_max),
        cmocka_unit_test(test_broken_frames),
        TEST(the_first_frame_is_settings),
        TEST(too_long_a_frame),
        TEST(more_than_the_window),
        TEST(our_window_begins_with_its_acknowledgement),
        TEST(padding_is_given_back),
        TEST(our_data_keeps_to_windows),
        TEST(streams_take_turns),
        TEST(made_resets_are_counted),
        TEST(window_updates_that_nobody_asked_for),
        TEST(pings),
        TEST(pings_between_single_bytes),
        TEST(a_peer_that_does_not_read),
        TEST(a_peer_that_does_not_read_refusals),
        TEST(a_peer_that_opens_no_window),
        TEST(resets_within_a_turn),
        cmocka_unit_test(test_configured_bounds),
        TEST(configured_answers),
        TEST(settings_are_acknowledged_in_time),
        TEST(acknowledged_settings_are_not_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
