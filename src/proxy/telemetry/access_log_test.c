#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "codec/json_writer.h"
#include "io/sim.h"
#include "proxy/telemetry/access_log.h"

static struct arena arena;
static struct exchange x;
static struct http_head request, response;
static struct downstream_info info;
static struct record record;
static struct addr upstream_host;

static void make_record(void)
{
    arena_init(&arena, 1024);
    http_head_init(&request, &arena, true);
    http_head_init(&response, &arena, false);
    request.version = HTTP_11;
    request.method = STR("GET");
    request.path = STR("/items?x=1");
    request.authority = STR("catalog:8080");
    http_head_add_named(&request, STR("user-agent"), STR("evil\" 200 -\r\n[fake] \x01\xff\\"));
    http_head_add_named(&request, STR("x-request-id"), STR("id-1"));
    response.status = 200;
    memset(&x, 0, sizeof x);
    x.flows[SIDE_REQUEST].head = &request;
    x.flows[SIDE_RESPONSE].head = &response;
    static const struct downstream_tls_info tls = {.sni = {"outbound_.8080_._.catalog", 25}};
    info = (struct downstream_info){.tls = &tls};
    addr_parse_ip(STR("10.1.2.3"), 4000, &info.remote);
    addr_parse_ip(STR("10.1.2.4"), 15006, &info.local);
    addr_parse_ip(STR("10.1.2.4"), 8080, &info.original_dst);
    addr_parse_ip(STR("10.0.0.1"), 80, &upstream_host);
    record = (struct record){
        .x = &x,
        .info = &info,
        .start_wall_us = 1767225600123456,
        .duration_us = 12345,
        .bytes_received = 1,
        .bytes_sent = 22,
        .flags = FLAG_BIT(RETRY_LIMIT) | FLAG_BIT(UPSTREAM_CONNECT),
        .status = 200,
        .grpc_status = -1,
        .details = STR("via_upstream"),
        .upstream_cluster = STR("outbound|8080||catalog"),
        .upstream_host = &upstream_host,
        .route_name = STR("default"),
        .origin = STR("VirtualService/shop/catalog#http[0]"),
        .upstream_service_time_ms = 7,
        .attempts = 2,
    };
}

static char *line_of(const struct substitution_format *config)
{
    struct str_buf why = STR_BUF_INIT(256), line = STR_BUF_INIT(64 * 1024);
    struct access_log_format *f;
    assert_int_equal(access_log_format_new(config, &why, &f), 0);
    access_log_format_line(f, &record, &line);
    access_log_format_free(f);
    str_buf_deinit(&why);
    return str_buf_take(&line);
}

static void assert_line_is_one(const char *line)
{
    size_t len = strlen(line);
    assert_true(len > 0 && line[len - 1] == '\n');
    for (size_t i = 0; i + 1 < len; i++)
        assert_true((unsigned char)line[i] >= 0x20 && (unsigned char)line[i] < 0x7f);
}

static void test_default_text(void **state)
{
    make_record();
    char *line = line_of(&(struct substitution_format){0});
    assert_line_is_one(line);
    assert_string_equal(
        line, "[2026-01-01T00:00:00.123Z] \"GET /items?x=1 HTTP/1.1\" 200 UF,URX via_upstream - "
              "\"-\" 1 22 12 - \"-\" \"evil\\x22 200 -\\x0d\\x0a[fake] \\x01\\xff\\x5c\" \"id-1\" "
              "\"catalog:8080\" \"10.0.0.1:80\" outbound|8080||catalog - 10.1.2.4:8080 "
              "10.1.2.3:4000 outbound_.8080_._.catalog default "
              "VirtualService/shop/catalog#http[0]\n");
    free(line);
    arena_deinit(&arena);
}

static void test_default_json(void **state)
{
    make_record();
    char *line = line_of(&(struct substitution_format){.is_json = true});
    assert_non_null(strstr(line, "\"response_code\":200,"));
    assert_non_null(strstr(line, "\"upstream_local_address\":null"));
    assert_non_null(strstr(line, "\"response_flags\":\"UF,URX\""));
    assert_null(strstr(line, "\r"));
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
    free(line);
    arena_deinit(&arena);
}

static void test_tcp_has_no_heads(void **state)
{
    make_record();
    record.x = NULL;
    record.status = 0;
    char *text = line_of(&(struct substitution_format){0});
    assert_non_null(strstr(text, "\"- - -\" 0 "));
    char *json = line_of(&(struct substitution_format){.is_json = true});
    assert_non_null(strstr(json, "\"method\":null"));
    free(text);
    free(json);
    arena_deinit(&arena);
}

static void test_operators(void **state)
{
    static const struct {
        const char *format, *want;
    } cases[] = {
        {"%%%RESPONSE_CODE%%%", "%200%"},
        {"%REQ(X-REQUEST-ID):2%", "id"},
        {"%REQ(X-MISSING?:AUTHORITY)%", "catalog:8080"},
        {"%REQ(X-MISSING?Y)%", "-"},
        {"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "10.1.2.3"},
        {"%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "2"},
        {"%GRPC_STATUS_NUMBER%", "-"},
        {"%TRAILER(GRPC-STATUS)%", "-"},
        {"%DOWNSTREAM_PEER_URI_SAN%", "-"},
        {"%REQ(X-REQUEST-ID):0%", ""},
        {"%REQUEST_HEADER(X-EMPTY)%|%REQ(X-EMPTY?X-REQUEST-ID)%", "|"},
        {"%START_TIME(%Y/%m/%dT%H:%M:%S%z %s)%", "2026/01/01T00:00:00+0000 1767225600"},
        {"%START_TIME(%s.%3f %6f %9f %f %1f)%", "1767225600.123 123456 123456000 123456000 1"},
        {"%START_TIME(%FT%T%Ez %Z %a %j %%)%", "2026-01-01T00:00:00+00:00 UTC Thu 001 %"},
        {"%START_TIME()%", "2026-01-01T00:00:00.123Z"},
        {"%EMIT_TIME(%s.%6f)%", "1767225600.135801"},
        {"%PATH% %PATH(NQ)% %PATH(NQ:PATH):3% %PATH(WQ:ORIG)%", "/items?x=1&y=a%20b /items /it -"},
        {"%QUERY_PARAM(x)% %QUERY_PARAM(y)% %QUERY_PARAM(y):2% %QUERY_PARAM(z)%", "1 a b a  -"},
        {"%QUERY_PARAMS%", "x=1&y=a%20b"},
        {"%GRPC_STATUS% %GRPC_STATUS(NUMBER)%", "- -"},
        {"%ACCESS_LOG_TYPE%", "DownstreamEnd"},
        {"%RESPONSE_FLAGS_LONG%", "UpstreamConnectionFailure,UpstreamRetryLimitExceeded"},
        {"%DOWNSTREAM_DIRECT_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_PORT%", "10.1.2.4:15006 8080"},
        {"%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%", "12345"},
        {"%COMMON_DURATION(DS_RX_BEG:DS_RX_END:ms)%", "-"},
        {"%LOCAL_REPLY_BODY%", ""},
        {"%ENVIRONMENT(TULLE_NO_SUCH)%", "-"},
    };
    make_record();
    http_head_add_named(&request, STR("x-empty"), STR(""));
    request.path = STR("/items?x=1&y=a%20b");
    x.started_us = 5;
    x.ended_us = 12350;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *line = line_of(&(struct substitution_format){.text = str_from_c(cases[i].format)});
        assert_string_equal(line, cases[i].want);
        free(line);
    }
    arena_deinit(&arena);
}

static void test_values_that_are_missing_are_left_out(void **state)
{
    make_record();
    char *line = line_of(&(struct substitution_format){
        .text = STR("%REQ(X-NONE)%|%REQ(:METHOD)%\n"), .omit_empty_values = true});
    assert_string_equal(line, "|GET\n");
    free(line);
    arena_deinit(&arena);
}

/* {"n": {"code": ..., "none": ...}, "list": [...], ...}, with and without omit_empty_values. */
static void test_nested_json(void **state)
{
    static const struct format_json none[] = {{{"none", 4}, {"%REQ(X-NONE)%", 13}}};
    static const struct format_json inner[] = {
        {{"code", 4}, {"%RESPONSE_CODE%", 15}},
        {{"none", 4}, {"%REQ(X-NONE)%", 13}},
    };
    static const struct format_json list[] = {
        {.text = {"%REQ(X-NONE)%", 13}},
        {.text = {"<%REQ(X-NONE)%>", 15}},
        {.kind = FORMAT_JSON_NUMBER, .number = -3},
        {.kind = FORMAT_JSON_NUMBER, .number = 1.5},
        {.kind = FORMAT_JSON_OBJECT},
    };
    static const struct format_json fields[] = {
        {.key = {"empty", 5}, .kind = FORMAT_JSON_OBJECT, .children = none, .child_count = 1},
        {.key = {"n", 1}, .kind = FORMAT_JSON_OBJECT, .children = inner, .child_count = 2},
        {.key = {"list", 4}, .kind = FORMAT_JSON_LIST, .children = list, .child_count = 5},
        {.key = {"yes", 3}, .kind = FORMAT_JSON_BOOL, .is_true = true},
        {.key = {"nothing", 7}, .kind = FORMAT_JSON_NULL},
        {.key = {"gone", 4}, .kind = FORMAT_JSON_LIST, .children = none, .child_count = 1},
    };
    struct substitution_format config = {.is_json = true, .fields = fields, .field_count = 6};
    make_record();
    char *line = line_of(&config);
    assert_string_equal(line, "{\"empty\":{\"none\":null},\"n\":{\"code\":200,\"none\":null},"
                              "\"list\":[null,\"<->\",-3,1.5,{}],\"yes\":true,\"nothing\":null,"
                              "\"gone\":[null]}\n");
    free(line);
    config.omit_empty_values = true;
    line = line_of(&config);
    assert_string_equal(line, "{\"n\":{\"code\":200},\"list\":[\"<>\",-3,1.5],\"yes\":true,"
                              "\"gone\":[]}\n");
    free(line);
    arena_deinit(&arena);
}

/* In JSON a value is escaped once, alone or within a text. */
static void test_a_quote_within_a_text(void **state)
{
    static const struct format_json field = {{"k", 1}, {"<%REQ(X-ODD)%>", 14}};
    make_record();
    http_head_add_named(&request, STR("x-odd"), STR("a\"b\\c"));
    char *line =
        line_of(&(struct substitution_format){.is_json = true, .fields = &field, .field_count = 1});
    assert_string_equal(line, "{\"k\":\"<a\\\"b\\\\c>\"}\n");
    free(line);
    arena_deinit(&arena);
}

/* An operator that we do not have is named, and where it stands. */
static void test_a_refusal_says_where(void **state)
{
    static const struct format_json list[] = {{.text = {"ok", 2}}, {.text = {"%NO_SUCH%", 9}}};
    static const struct format_json field = {
        .key = {"a", 1}, .kind = FORMAT_JSON_LIST, .children = list, .child_count = 2};
    struct str_buf why = STR_BUF_INIT(256);
    struct access_log_format *f = NULL;
    const struct substitution_format config = {.is_json = true, .fields = &field, .field_count = 1};
    assert_true(access_log_format_new(&config, &why, &f) < 0);
    assert_string_equal(why.ptr, "json_format.a[1]: operator %NO_SUCH% is not supported");
    str_buf_deinit(&why);
}

/* An odd byte is found wherever it stands in a value of whatever length. */
static void test_every_byte_is_looked_at(void **state)
{
    static const struct format_json field = {{"k", 1}, {"%REQ(X-ODD)%", 12}};
    make_record();
    for (size_t len = 1; len < 40; len++) {
        for (size_t at = 0; at < len; at++) {
            static const unsigned char odd[] = {0x01, 0x1f, 0x7f, '"', '\\', 0x80, 0xff};
            unsigned char c = odd[(len + at) % sizeof odd];
            char value[40], want[64], *line;
            memset(value, 'v', sizeof value);
            value[at] = (char)c;
            http_head_set_named(&request, STR("x-odd"), str_from(value, len));
            line = line_of(&(struct substitution_format){.text = STR("%REQ(X-ODD)%\n")});
            snprintf(want, sizeof want, "%.*s\\x%02x%.*s\n", (int)at, value, c, (int)(len - at - 1),
                     value + at + 1);
            assert_string_equal(line, want);
            free(line);
            line = line_of(
                &(struct substitution_format){.is_json = true, .fields = &field, .field_count = 1});
            struct str_buf quoted = STR_BUF_INIT(256);
            json_writer_quote(&quoted, str_from(value, len));
            snprintf(want, sizeof want, "{\"k\":%s}\n", quoted.ptr);
            assert_string_equal(line, want);
            str_buf_deinit(&quoted);
            free(line);
        }
    }
    arena_deinit(&arena);
}

static void test_json_of_several_pieces(void **state)
{
    static const struct format_json fields[] = {
        {{"a\"b", 3}, {"%REQ(:METHOD)% to %REQ(:AUTHORITY)%", 35}},
        {{"none", 4}, {"", 0}},
        {{"bytes", 5}, {"%BYTES_SENT%", 12}},
    };
    make_record();
    char *line = line_of(&(struct substitution_format){
        .is_json = true, .fields = fields, .field_count = ARRAY_LEN(fields)});
    assert_string_equal(line, "{\"a\\\"b\":\"GET to catalog:8080\",\"none\":\"\",\"bytes\":22}\n");
    free(line);
    arena_deinit(&arena);
}

/* What does not fit is left out; the next line still begins a line. */
static void test_line_has_its_end(void **state)
{
    static char large[4096];
    struct str_buf why = STR_BUF_INIT(256), line = STR_BUF_INIT(1024);
    struct access_log_format *f;
    make_record();
    memset(large, 'x', sizeof large);
    http_head_set_named(&request, STR("user-agent"), str_from(large, sizeof large));
    assert_int_equal(access_log_format_new(&(struct substitution_format){0}, &why, &f), 0);
    access_log_format_line(f, &record, &line);
    assert_true(line.len > 10 && line.len <= 1024);
    assert_memory_equal(line.ptr, "[2026-", 6);
    assert_ptr_equal(memchr(line.ptr, '\n', line.len), line.ptr + line.len - 1);
    access_log_format_free(f);
    str_buf_deinit(&line);
    arena_deinit(&arena);
}

static void test_refused(void **state)
{
    static const char *const formats[] = {
        "%NO_SUCH%",
        "%REQ%",
        "%RESPONSE_CODE(x)%",
        "%REQ(x%",
        "%REQ(x)y%",
        "%REQ(x):abc%",
        "%",
        "a % b",
        "%START_TIME(%n)%",
        "%START_TIME(%Q)%",
        "%START_TIME(%",
        "%START_TIME(%s):3%",
        "%START_TIME(a\nb)%",
        "%START_TIME(%A%A%A%A%A%A%A%A%A%A%A%A%A%A%A%A)%",
        "%PROTOCOL:2%",
        "%REQ(a?b?c)%",
        "%REQ()%",
        "%PATH(x)%",
        "%PATH(NQ:x)%",
        "%GRPC_STATUS(x)%",
        "%QUERY_PARAM()%",
        "%COMMON_DURATION(DS_RX_BEG:DS_TX_END)%",
        "%COMMON_DURATION(US_CX_BEG:DS_TX_END:ms)%",
        "%HOSTNAME(x)%",
        "%ENVIRONMENT%",
        "%DYNAMIC_METADATA(a:b)%",
        "%REQ(x):99999999%",
        "%)(%",
    };
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        struct str_buf why = STR_BUF_INIT(256);
        struct access_log_format *f = NULL;
        struct substitution_format config = {.text = str_from_c(formats[i])};
        assert_true(access_log_format_new(&config, &why, &f) < 0);
        assert_null(f);
        assert_true(why.len > 0);
        const struct format_json field = {STR("k"), str_from_c(formats[i])};
        config = (struct substitution_format){.is_json = true, .fields = &field, .field_count = 1};
        assert_true(access_log_format_new(&config, &why, &f) < 0);
        str_buf_deinit(&why);
    }
}

/* --- sinks --- */

static void test_sink_writes_once_a_turn(void **state)
{
    char path[] = "/tmp/tulle-log-XXXXXX", buf[256] = {0};
    static const struct sim_options options = {.seed = 1};
    int fd = mkstemp(path);
    struct sim_world *w = sim_world_new(&options);
    struct turn *t = turn_new_sim(w);
    struct access_log_sink *s = access_log_sink_new(t, NULL, str_from_c(path), 16);
    access_log_sink_add(s, STR("one\n"));
    access_log_sink_add(s, STR("two\n"));
    access_log_sink_add(s, STR("too much for it\n"));
    assert_int_equal(read(fd, buf, sizeof buf), 0);
    assert_int_equal(access_log_sink_dropped(s), 1);
    turn_once(t, 0);
    assert_int_equal(read(fd, buf, sizeof buf - 1), 8);
    assert_string_equal(buf, "one\ntwo\n");
    access_log_sink_add(s, STR("last\n"));
    access_log_sink_free(s);
    assert_int_equal(read(fd, buf, 5), 5);
    turn_free(t);
    sim_world_free(w);
    close(fd);
    unlink(path);
}

/* Nobody reads the pipe: lines are lost and counted, nothing waits. */
static void test_slow_sink(void **state)
{
    char path[64], line[1000], buf[4096];
    static const struct sim_options options = {.seed = 1};
    snprintf(path, sizeof path, "/tmp/tulle-fifo-%d", (int)getpid());
    assert_int_equal(mkfifo(path, 0600), 0);
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    struct sim_world *w = sim_world_new(&options);
    struct turn *t = turn_new_sim(w);
    struct access_log_sink *s = access_log_sink_new(t, NULL, str_from_c(path), 64 * 1024);
    memset(line, 'x', sizeof line);
    for (unsigned i = 0; i < 300; i++) {
        access_log_sink_add(s, str_from(line, sizeof line));
        sim_world_run(w, sim_world_now_us(w) + 1000);
    }
    uint64_t dropped = access_log_sink_dropped(s);
    assert_in_range(dropped, 100, 250);
    size_t total = 0;
    for (unsigned i = 0; i < 200; i++) {
        ssize_t n = read(fd, buf, sizeof buf);
        total += n > 0 ? (size_t)n : 0;
        sim_world_run(w, sim_world_now_us(w) + 60000);
    }
    assert_int_equal(total, (300 - dropped) * sizeof line);
    access_log_sink_free(s);
    turn_free(t);
    sim_world_free(w);
    close(fd);
    unlink(path);
}

/* Whoever goes in the middle of a line does not keep the pipe from the others. */
static void test_a_holder_goes(void **state)
{
    char path[64], line[1000], buf[4096];
    static const struct sim_options options = {.seed = 1};
    snprintf(path, sizeof path, "/tmp/tulle-fifo-%d", (int)getpid());
    assert_int_equal(mkfifo(path, 0600), 0);
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    struct sim_world *w = sim_world_new(&options);
    struct turn *t = turn_new_sim(w);
    struct access_log_share *share = access_log_share_new();
    struct access_log_sink *first =
        access_log_sink_new(t, share, str_from_c(path), (size_t)256 * 1024);
    struct access_log_sink *second = access_log_sink_new(t, share, str_from_c(path), 1024);
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\n';
    for (unsigned i = 0; i < 200; i++)
        access_log_sink_add(first, str_from(line, sizeof line));
    turn_once(t, 0); /* more than a pipe holds: cut within a line */
    access_log_sink_free(first);
    ssize_t n;
    while ((n = read(fd, buf, sizeof buf)) > 0)
        line[0] = buf[n - 1];
    assert_int_equal(line[0], 'x');
    access_log_sink_add(second, STR("mine\n"));
    turn_once(t, 0);
    assert_int_equal(read(fd, buf, sizeof buf), 5);
    assert_memory_equal(buf, "mine\n", 5);
    access_log_sink_free(second);
    access_log_share_free(share);
    turn_free(t);
    sim_world_free(w);
    close(fd);
    unlink(path);
}

static void test_sink_that_does_not_open(void **state)
{
    static const struct sim_options options = {.seed = 1};
    struct sim_world *w = sim_world_new(&options);
    struct turn *t = turn_new_sim(w);
    struct access_log_sink *s = access_log_sink_new(t, NULL, STR("/nonexistent/log"), 1024);
    access_log_sink_add(s, STR("x\n"));
    turn_once(t, 0);
    assert_int_equal(access_log_sink_dropped(s), 1);
    access_log_sink_free(s);
    turn_free(t);
    sim_world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_text),
        cmocka_unit_test(test_default_json),
        cmocka_unit_test(test_tcp_has_no_heads),
        cmocka_unit_test(test_operators),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_sink_writes_once_a_turn),
        cmocka_unit_test(test_slow_sink),
        cmocka_unit_test(test_values_that_are_missing_are_left_out),
        cmocka_unit_test(test_nested_json),
        cmocka_unit_test(test_a_quote_within_a_text),
        cmocka_unit_test(test_a_refusal_says_where),
        cmocka_unit_test(test_every_byte_is_looked_at),
        cmocka_unit_test(test_json_of_several_pieces),
        cmocka_unit_test(test_line_has_its_end),
        cmocka_unit_test(test_a_holder_goes),
        cmocka_unit_test(test_sink_that_does_not_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
