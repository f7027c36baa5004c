/* What is pure in host/: rules, address plan, state file, egress requests, HTTP answers, logs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "host/bypass.h"
#include "host/capture.h"
#include "host/egress.h"
#include "host/http_call.h"
#include "host/logfile.h"
#include "host/sandbox.h"
#include "host/state.h"

static void test_rules(void **unused)
{
    static const uint16_t in[] = {22, 9100}, out[] = {3306};
    static const char *ranges[] = {"10.0.0.0/8", "fd00::/8"};
    struct box_capture c = {in, out, 2, 1, ranges, 2};
    struct str_buf b = STR_BUF_INIT(65536);
    assert_int_equal(capture_rules(&c, 0, &b), 0);
    static const char *const wanted[] = {
        "meta mark 0x53a return",    "tcp dport { 22, 9100 } return",
        "tcp dport { 3306 } return", "ip daddr 10.0.0.0/8 return",
        "ip6 daddr fd00::/8 return", "redirect to :15001",
        "redirect to :15006",        "udp dport 53 redirect to :15053",
        "socket mark 0x539 return"};
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        if (strstr(b.ptr, wanted[i]) == NULL)
            fail_msg("not in the rules: %s", wanted[i]);
    str_buf_deinit(&b);
}

static unsigned count_of(const char *text, const char *part)
{
    unsigned n = 0;
    for (; (text = strstr(text, part)) != NULL; text++)
        n++;
    return n;
}

/* Until somebody confirms: every chain lets everything pass once the set is empty. */
static void test_armed_rules(void **unused)
{
    struct box_capture c = {0};
    struct str_buf b = STR_BUF_INIT(65536);
    assert_int_equal(capture_rules(&c, 30, &b), 0);
    assert_int_equal(count_of(b.ptr, "tcp timeout 30s, udp timeout 30s"), 1);
    assert_int_equal(count_of(b.ptr, "policy accept;\n        meta l4proto != @armed return\n"), 3);
    assert_int_equal(count_of(b.ptr, "chain "), 3);
    str_buf_reset(&b);
    assert_int_equal(capture_rules(&c, 0, &b), 0);
    assert_int_equal(count_of(b.ptr, "armed"), 0);
    str_buf_deinit(&b);
}

static void test_bad_ranges(void **unused)
{
    static const char *const bad[] = {
        "",     "10.0.0.0/33", "10.0.0/8", "fd00::/129", "1.2.3.4; flush ruleset", "10.0.0.0/8 x",
        "host", "10.0.0.0/"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const char *ranges[] = {bad[i]};
        struct box_capture c = {.exclude_outbound_ranges = ranges, .exclude_ranges_count = 1};
        struct str_buf b = STR_BUF_INIT(65536);
        if (capture_rules(&c, 0, &b) != -ERR_INVALID)
            fail_msg("accepted: %s", bad[i]);
        str_buf_deinit(&b);
    }
}

static struct box_spec make_spec(const char *first, uint32_t first_replicas, const char *second)
{
    struct box_spec spec = {.name = "m", .dir = "/a dir", .trust_domain = "mesh.local"};
    static const char *command[] = {"true", NULL};
    VEC_PUSH(
        &spec.workloads,
        ((struct box_workload){
            .name = first, .namespace = "shop", .replicas = first_replicas, .command = command}));
    if (second != NULL)
        VEC_PUSH(&spec.workloads,
                 ((struct box_workload){.name = second, .namespace = "shop", .replicas = 1}));
    return spec;
}

static void test_plan_keeps_addresses(void **unused)
{
    struct state s;
    state_init(&s);
    struct box_spec a = make_spec("web", 2, "db"), b = make_spec("api", 1, "db");
    assert_int_equal(state_plan(&s, &a), 0);
    uint32_t db = state_find(&s, STR("shop"), STR("db"), 0)->address;
    assert_int_equal(state_find(&s, STR("shop"), STR("web"), 0)->address, STATE_ADDRESS_FIRST);
    assert_int_equal(state_plan(&s, &b), 0);
    assert_int_equal(state_find(&s, STR("shop"), STR("db"), 0)->address, db);
    assert_false(state_find(&s, STR("shop"), STR("web"), 0)->is_wanted);
    assert_int_not_equal(state_find(&s, STR("shop"), STR("api"), 0)->address, STATE_ADDRESS_FIRST);
    a.workloads.ptr[0].replicas = BOX_REPLICAS_MAX;
    assert_int_equal(state_plan(&s, &a), -ERR_LIMIT);
    VEC_DEINIT(&a.workloads);
    VEC_DEINIT(&b.workloads);
    state_deinit(&s);
}

/* "a-b"/"c" and "a"/"b-c" must not share a directory. */
static void test_slugs_are_unique(void **unused)
{
    struct state s;
    struct box_spec spec = {.name = "m", .dir = "/", .trust_domain = "t"};
    VEC_PUSH(&spec.workloads,
             ((struct box_workload){.name = "c", .namespace = "a-b", .replicas = 1}));
    VEC_PUSH(&spec.workloads,
             ((struct box_workload){.name = "b-c", .namespace = "a", .replicas = 1}));
    state_init(&s);
    assert_int_equal(state_plan(&s, &spec), 0);
    assert_false(str_eq(s.replicas.ptr[0].slug, s.replicas.ptr[1].slug));
    VEC_DEINIT(&spec.workloads);
    state_deinit(&s);
}

static void test_state_round_trip(void **unused)
{
    struct state s, back;
    struct str_buf one = STR_BUF_INIT(65536), two = STR_BUF_INIT(65536);
    struct box_spec spec = make_spec("web", 2, "db");
    state_init(&s);
    state_plan(&s, &spec);
    s.supervisor = (struct proc){42, 99};
    s.replicas.ptr[0].phase = STATE_READY;
    snprintf(s.replicas.ptr[1].message, STATE_MESSAGE_MAX, "app ended: exit code 1");
    state_format(&s, &one);
    assert_int_equal(state_parse(str_buf_str(&one), &back), 0);
    state_format(&back, &two);
    assert_true(str_eq(str_buf_str(&one), str_buf_str(&two)));
    /* Every prefix is damaged, and said to be. */
    for (size_t len = 0; len + 1 < one.len; len++) {
        struct state cut;
        assert_int_equal(state_parse(str_from(one.ptr, len), &cut), -ERR_CORRUPT);
        state_deinit(&cut);
    }
    VEC_DEINIT(&spec.workloads);
    str_buf_deinit(&one);
    str_buf_deinit(&two);
    state_deinit(&s);
    state_deinit(&back);
}

static void test_egress_requests(void **unused)
{
    static const struct {
        const char *line;
        int err;
    } rows[] = {
        {"TCP 192.0.2.1 443", 0},
        {"TCP 2001:db8::1 80", 0},
        {"UDP-DNS", 0},
        {"TCP 127.0.0.1 22", -ERR_DENIED},
        {"TCP ::1 22", -ERR_DENIED},
        {"TCP ::ffff:127.0.0.1 22", -ERR_DENIED},
        {"TCP 0.0.0.0 22", -ERR_DENIED},
        {"TCP 224.0.0.1 1", -ERR_DENIED},
        {"TCP 240.240.0.1 80", -ERR_DENIED},
        {"TCP 10.77.0.2 15012", -ERR_DENIED},
        {"TCP fd77::2 15012", -ERR_DENIED},
        {"TCP fe80::1 80", -ERR_DENIED},
        {"TCP 169.254.169.254 80", -ERR_DENIED},
        {"TCP 192.0.2.1 0", -ERR_SYNTAX},
        {"TCP 192.0.2.1 65536", -ERR_SYNTAX},
        {"TCP 192.0.2.1", -ERR_SYNTAX},
        {"TCP host 80", -ERR_SYNTAX},
        {"TCP", -ERR_SYNTAX},
        {"", -ERR_SYNTAX},
        {"UDP 192.0.2.1 53", -ERR_SYNTAX},
        {"TCP 192.0.2.1 80 x", -ERR_SYNTAX},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct egress_request r;
        int err = egress_request_parse(str_from_c(rows[i].line), &r);
        if (err != rows[i].err)
            fail_msg("'%s' gives %s", rows[i].line, err_name(err));
    }
}

static void test_nameserver(void **unused)
{
    char ip[46];
    assert_true(egress_first_nameserver(
        STR("# x\nsearch a\nnameserver 192.0.2.53\nnameserver 1.1.1.1"), ip));
    assert_string_equal(ip, "192.0.2.53");
    assert_true(egress_first_nameserver(STR("nameserver\t2001:db8::53"), ip));
    assert_string_equal(ip, "2001:db8::53");
    assert_false(egress_first_nameserver(STR("nameserver nowhere\n"), ip));
    assert_false(egress_first_nameserver(STR(""), ip));
}

static void test_http_answers(void **unused)
{
    static const struct {
        const char *bytes;
        bool is_eof;
        int err, status;
        const char *body;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false, 0, 200, "ok"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", false, -ERR_AGAIN, 0, NULL},
        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", true, -ERR_PROTOCOL, 0, NULL},
        {"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n1;x\r\n!\r\n0\r\n\r\n",
         false, 0, 404, "ok!"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok", false, -ERR_AGAIN, 0,
         NULL},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", false, -ERR_PROTOCOL, 0,
         NULL},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n", false, 0, 204, ""},
        {"HTTP/1.0 200 OK\r\n\r\nall", true, 0, 200, "all"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", false, -ERR_TOO_LARGE, 0, NULL},
        {"SSH-2.0\r\n", false, -ERR_PROTOCOL, 0, NULL},
        {"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", false, -ERR_PROTOCOL, 0, NULL},
        {"", true, -ERR_PROTOCOL, 0, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_answer a = {0, STR_BUF_INIT(1)};
        int err = http_call_parse(str_from_c(rows[i].bytes), rows[i].is_eof, false, &a);
        if (err != rows[i].err)
            fail_msg("answer %zu gives %s", i, err_name(err));
        if (err == 0) {
            assert_int_equal(a.status, rows[i].status);
            assert_true(str_eq(str_buf_str(&a.body), str_from_c(rows[i].body)));
        }
        http_answer_deinit(&a);
    }
}

static void test_tail(void **unused)
{
    struct str text = STR("a\nbb\nccc\n");
    assert_int_equal(logfile_tail_offset(text, 1), 5);
    assert_int_equal(logfile_tail_offset(text, 2), 2);
    assert_int_equal(logfile_tail_offset(text, 9), 0);
    assert_int_equal(logfile_tail_offset(STR(""), 3), 0);
}

static void test_start_time(void **unused)
{
    uint64_t t;
    assert_true(proc_parse_start_time(
        STR("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 9"), &t));
    assert_int_equal(t, 4711);
    assert_false(proc_parse_start_time(STR("7 (a) S 1 2"), &t));
    assert_false(proc_parse_start_time(STR(""), &t));
    assert_true(proc_is_alive(proc_of(getpid())));
    assert_false(proc_is_alive((struct proc){getpid(), 1}));
}

static void test_names_and_resolver(void **unused)
{
    assert_true(box_name_is_valid("shop-1_x"));
    static const char *const bad[] = {"",    "-a", "_a",  "A",
                                      "a/b", "..", "a.b", "abcdefghijklmnopqrstuvwxyz0123456789"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(box_name_is_valid(bad[i]));
    struct str_buf b = STR_BUF_INIT(1024);
    sandbox_resolv_conf("shop", &b);
    assert_non_null(
        strstr(b.ptr, "search shop.svc.cluster.local svc.cluster.local cluster.local\n"));
    str_buf_deinit(&b);
}

static void test_bypass_file_and_rules(void **state)
{
    char path[] = "/tmp/tulle-bypass-XXXXXX";
    int fd = mkstemp(path);
    struct bypass b = {.count = 0}, read_back;
    struct str_buf rules = STR_BUF_INIT(65536);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(bypass_add(&b, (struct bypass_rule){8080, HOST_BYPASS_INBOUND, 5000}), 0);
    assert_int_equal(bypass_add(&b, (struct bypass_rule){8080, HOST_BYPASS_INBOUND, 61000}), 0);
    assert_int_equal(bypass_add(&b, (struct bypass_rule){0, HOST_BYPASS_OUTBOUND, 2000}), 0);
    assert_int_equal(b.count, 2);
    assert_int_equal(bypass_write(path, &b), 0);
    FILE *f = fopen(path, "a");
    fputs("99999 1 5000\n80 7 5000\nnonsense\n", f);
    fclose(f);
    bypass_read(path, &read_back);
    assert_int_equal(read_back.count, 2);
    assert_int_equal(bypass_rules(&read_back, 1000, &rules), 0);
    assert_true(str_contains(str_buf_str(&rules), STR("ports_in { 8080 timeout 60s }")));
    assert_true(
        str_contains(str_buf_str(&rules), STR("all_out { tcp timeout 1s, udp timeout 1s }")));
    assert_false(str_contains(str_buf_str(&rules), STR("element inet tulle_bypass ports_out")));
    /* What is over, and what a clock that was set back makes longer than may be. */
    bypass_prune(&read_back, 2000);
    assert_int_equal(read_back.count, 1);
    assert_true(bypass_drop(&read_back, 8080));
    assert_false(bypass_drop(&read_back, 8080));
    bypass_add(&read_back, (struct bypass_rule){1, HOST_BYPASS_INBOUND, 2001 + BYPASS_MS_MAX});
    bypass_prune(&read_back, 2000);
    assert_int_equal(read_back.count, 0);
    assert_int_equal(bypass_write(path, &read_back), 0);
    assert_int_not_equal(access(path, F_OK), 0);
    bypass_read(path, &read_back);
    assert_int_equal(read_back.count, 0);
    str_buf_deinit(&rules);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bypass_file_and_rules),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_armed_rules),
        cmocka_unit_test(test_bad_ranges),
        cmocka_unit_test(test_plan_keeps_addresses),
        cmocka_unit_test(test_slugs_are_unique),
        cmocka_unit_test(test_state_round_trip),
        cmocka_unit_test(test_egress_requests),
        cmocka_unit_test(test_nameserver),
        cmocka_unit_test(test_http_answers),
        cmocka_unit_test(test_tail),
        cmocka_unit_test(test_start_time),
        cmocka_unit_test(test_names_and_resolver),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
