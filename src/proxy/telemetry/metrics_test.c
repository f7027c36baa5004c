#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "http/exchange.h"
#include "proxy/telemetry/metrics_priv.h"

static struct limits limits;

static struct metrics *new_metrics(uint64_t series_max)
{
    limits_init(&limits);
    limits.metric_series_max = series_max;
    return metrics_new(&limits);
}

static metrics_id peer(struct metrics *m, const char *workload)
{
    return metrics_intern_peer(
        m, &(struct metrics_peer){.workload = str_from_c(workload), .namespace_ = STR("shop")});
}

static metrics_id service(struct metrics *m, const char *host)
{
    return metrics_intern_destination(m,
                                      &(struct metrics_destination){.service = str_from_c(host)});
}

static void count(struct metrics *m, const char *from, const char *to, uint16_t code)
{
    struct metrics_hop hop = {.reporter = REPORTER_DESTINATION,
                              .source = peer(m, from),
                              .destination = peer(m, "own"),
                              .service = service(m, to),
                              .security = SECURITY_MUTUAL_TLS};
    metrics_count_request(m, &hop,
                          &(struct metrics_request){.response_code = code,
                                                    .grpc_status = -1,
                                                    .duration_us = 7000,
                                                    .request_bytes = 10,
                                                    .response_bytes = 2000});
}

static char *render(const struct metrics *m)
{
    struct str_buf b = STR_BUF_INIT(64 * 1024 * 1024);
    metrics_render(m, &b);
    assert_false(b.is_overflown);
    return str_buf_take(&b);
}

static void test_interning(void **state)
{
    struct metrics *m = new_metrics(1000);
    assert_int_equal(metrics_intern_peer(m, &(struct metrics_peer){0}), 0);
    metrics_id a = peer(m, "a"), b = peer(m, "b");
    assert_int_not_equal(a, b);
    assert_int_equal(peer(m, "a"), a);
    /* Texts that look alike when they are put side by side. */
    metrics_id one = metrics_intern_peer(
        m, &(struct metrics_peer){.workload = STR("ab"), .namespace_ = STR("c")});
    metrics_id two = metrics_intern_peer(
        m, &(struct metrics_peer){.workload = STR("a"), .namespace_ = STR("bc")});
    assert_int_not_equal(one, two);
    assert_int_not_equal(service(m, "x"), service(m, "y"));
    metrics_free(m);
}

static void test_series_are_apart(void **state)
{
    struct metrics *m = new_metrics(1000);
    count(m, "web", "catalog", 200);
    count(m, "web", "catalog", 200);
    count(m, "web", "catalog", 503);
    count(m, "web", "orders", 200);
    struct metrics_hop hop = {.reporter = REPORTER_SOURCE, .source = peer(m, "web")};
    static const enum metrics_security securities[] = {SECURITY_UNKNOWN, SECURITY_NONE,
                                                       SECURITY_MUTUAL_TLS};
    for (size_t i = 0; i < ARRAY_LEN(securities); i++) {
        hop.security = securities[i];
        metrics_count_request(m, &hop,
                              &(struct metrics_request){.response_code = 200, .grpc_status = -1});
        metrics_count_request(m, &hop,
                              &(struct metrics_request){.response_code = 200,
                                                        .grpc_status = -1,
                                                        .flags = FLAG_BIT(UPSTREAM_TIMEOUT)});
        metrics_count_request(m, &hop,
                              &(struct metrics_request){.response_code = 200, .grpc_status = 14});
    }
    assert_int_equal(m->cells.len, 3 + 9);
    char *text = render(m);
    assert_non_null(strstr(text, "response_code=\"503\""));
    assert_non_null(strstr(text, "response_flags=\"UT\""));
    assert_non_null(strstr(text, "grpc_response_status=\"14\""));
    assert_non_null(strstr(text, "destination_service=\"catalog\""));
    free(text);
    metrics_free(m);
}

static uint64_t total_requests(const struct metrics *m)
{
    uint64_t n = 0;
    for (size_t i = 0; i < m->cells.len; i++)
        n += m->cells.ptr[i]->kind == CELL_REQUEST ? m->cells.ptr[i]->duration_ms.count : 0;
    return n;
}

/* A stranger who names a new host with each request neither loses a count nor fills the memory. */
static void test_overflow(void **state)
{
    struct metrics *m = new_metrics(100);
    for (unsigned i = 0; i < 5000; i++) {
        char host[32], from[32];
        snprintf(host, sizeof host, "host-%u", i);
        snprintf(from, sizeof from, "from-%u", i);
        count(m, from, host, (uint16_t)(200 + i % 300));
    }
    assert_int_equal(total_requests(m), 5000);
    assert_true(m->cells.len <= 102);
    assert_true(m->hops.len <= 110);
    assert_true(m->peers.len <= 101 && m->destinations.len <= 101);
    assert_true(m->cell_ids.cap <= 256 && m->hop_ids.cap <= 256);
    assert_true(metrics_get(m, COUNTER_SERIES_OVERFLOW) >= 4800);
    size_t held = arena_size(&m->arena);
    for (unsigned i = 0; i < 5000; i++) {
        char host[32];
        snprintf(host, sizeof host, "other-%u", i);
        count(m, "web", host, 200);
    }
    assert_int_equal(arena_size(&m->arena), held);
    assert_int_equal(total_requests(m), 10000);
    char *text = render(m);
    assert_non_null(strstr(text, "destination_service=\"overflow\""));
    free(text);
    metrics_free(m);
}

static void test_odd_grpc_status(void **state)
{
    struct metrics *m = new_metrics(1000);
    struct metrics_hop hop = {.reporter = REPORTER_SOURCE};
    for (int status = 0; status < 2000; status++)
        metrics_count_request(
            m, &hop, &(struct metrics_request){.response_code = 200, .grpc_status = status});
    assert_int_equal(m->cells.len, 17);
    metrics_free(m);
}

static void test_many_flag_sets(void **state)
{
    struct metrics *m = new_metrics(10000);
    struct metrics_hop hop = {.reporter = REPORTER_SOURCE};
    for (unsigned flags = 0; flags < 1000; flags++)
        metrics_count_request(
            m, &hop,
            &(struct metrics_request){.response_code = 200, .grpc_status = -1, .flags = flags});
    assert_true(m->flag_sets.len <= 255);
    assert_int_equal(total_requests(m), 1000);
    metrics_free(m);
}

static void test_merge(void **state)
{
    struct metrics *a = new_metrics(1000), *b = new_metrics(1000), *sum = new_metrics(1000);
    count(a, "web", "catalog", 200);
    count(b, "orders", "catalog", 200); /* other ids */
    count(b, "web", "catalog", 200);
    struct metrics_hop hop = {.reporter = REPORTER_SOURCE, .source = peer(b, "web")};
    hop.protocol = METRICS_TCP;
    metrics_count_tcp_open(b, &hop, 0);
    metrics_count_tcp_bytes(b, &hop, 0, 11, 22);
    metrics_count_tcp_close(b, &hop, 0);
    metrics_add(a, COUNTER_RETRIES, 3);
    metrics_add(b, COUNTER_RETRIES, 4);
    metrics_merge(sum, a);
    metrics_merge(sum, b);
    metrics_merge(sum, b);
    assert_int_equal(metrics_get(sum, COUNTER_RETRIES), 11);
    assert_int_equal(total_requests(sum), 5);
    assert_int_equal(sum->cells.len, 3);
    char *text = render(sum);
    assert_non_null(strstr(text, "istio_tcp_sent_bytes_total{"));
    assert_non_null(strstr(text, "} 44\n"));
    free(text);
    metrics_free(a);
    metrics_free(b);
    metrics_free(sum);
}

static void add_hostile(struct metrics *m)
{
    char *longest = mem_alloc(20000);
    memset(longest, '"', 20000);
    struct metrics_hop hop = {.reporter = REPORTER_DESTINATION};
    hop.source =
        metrics_intern_peer(m, &(struct metrics_peer){.workload = STR("a\"b\\c\nd"),
                                                      .namespace_ = STR("\xff\xfe"),
                                                      .principal = str_from(longest, 20000),
                                                      .app = str_from(longest, 20000),
                                                      .version = str_from(longest, 20000),
                                                      .cluster = str_from(longest, 20000)});
    hop.destination = hop.source;
    metrics_count_request(m, &hop, &(struct metrics_request){.response_code = 200});
    free(longest);
}

static void test_escaping(void **state)
{
    struct metrics *m = new_metrics(1000);
    add_hostile(m);
    char *text = render(m);
    assert_non_null(strstr(text, "source_workload=\"a\\\"b\\\\c\\nd\""));
    assert_non_null(strstr(text, "source_workload_namespace=\"__\""));
    assert_null(strstr(text, "\xff"));
    free(text);
    metrics_free(m);
}

static void test_histograms(void **state)
{
    struct metrics *m = new_metrics(1000);
    count(m, "web", "catalog", 200);
    char *text = render(m);
    const char *h = strstr(text, "istio_request_duration_milliseconds_bucket{");
    assert_non_null(h);
    assert_non_null(strstr(h, ",le=\"5\"} 0\n"));
    assert_non_null(strstr(h, ",le=\"10\"} 1\n"));
    assert_non_null(strstr(h, ",le=\"3600000\"} 1\n"));
    assert_non_null(strstr(h, ",le=\"+Inf\"} 1\n"));
    free(text);
    metrics_free(m);
}

/* Where promtool is installed it has the last word. */
static void test_promtool(void **state)
{
    if (access("/usr/bin/promtool", X_OK) != 0)
        skip();
    struct metrics *m = new_metrics(100);
    add_hostile(m);
    for (unsigned i = 0; i < 200; i++) {
        char host[32];
        snprintf(host, sizeof host, "host-%u", i);
        count(m, "web", host, 200);
    }
    struct metrics_hop hop = {.protocol = METRICS_TCP};
    metrics_count_tcp_open(m, &hop, 0);
    char *text = render(m);
    char path[] = "/tmp/tulle-metrics-XXXXXX", command[128], line[512];
    int fd = mkstemp(path);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    snprintf(command, sizeof command, "/usr/bin/promtool check metrics <%s 2>&1", path);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    /* Istio's own name for a duration is all that may be found wanting. */
    while (fgets(line, sizeof line, p) != NULL)
        assert_non_null(strstr(line, "istio_request_duration_milliseconds use base unit"));
    assert_int_not_equal(pclose(p), 0x100);
    unlink(path);
    free(text);
    metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_interning),      cmocka_unit_test(test_series_are_apart),
        cmocka_unit_test(test_overflow),       cmocka_unit_test(test_odd_grpc_status),
        cmocka_unit_test(test_many_flag_sets), cmocka_unit_test(test_merge),
        cmocka_unit_test(test_escaping),       cmocka_unit_test(test_histograms),
        cmocka_unit_test(test_promtool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
