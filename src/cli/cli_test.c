/* What is pure in cli/: options, durations, targets, names, metrics, the table of verbs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/err.h"
#include "cli/mesh.h"
#include "cli/metrics.h"
#include "cli/opt.h"
#include "cli/table.h"
#include "cli/up_spec.h"

struct parsed {
    bool is_proxy, is_follow;
    const char *mesh, *wait;
    struct opt_list files;
    struct opt_result result;
    char why[128];
};

static int parse(struct parsed *p, const char *const *argv)
{
    *p = (struct parsed){0};
    const struct opt opts[] = {
        {"proxy", 'p', OPT_FLAG, &p->is_proxy}, {"follow", 'f', OPT_FLAG, &p->is_follow},
        {"mesh", 'm', OPT_VALUE, &p->mesh},     {"wait", 'w', OPT_OPTIONAL, &p->wait},
        {"file", 'F', OPT_LIST, &p->files},
    };
    int argc = 0;
    while (argv[argc] != NULL)
        argc++;
    return opt_parse(argc, (char **)(uintptr_t)argv, opts, ARRAY_LEN(opts), &p->result, p->why,
                     sizeof p->why);
}

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_options(void **unused)
{
    struct parsed p;
    assert_int_equal(
        parse(&p, ARGV("web", "-pf", "--mesh=a", "-F", "x", "-Fy", "--wait", "--", "-z")), 0);
    assert_true(p.is_proxy && p.is_follow);
    assert_string_equal(p.mesh, "a");
    assert_string_equal(p.wait, "");
    assert_int_equal(p.files.count, 2);
    assert_string_equal(p.files.items[1], "y");
    assert_int_equal(p.result.count, 1);
    assert_string_equal(p.result.rest[0], "-z");
    assert_int_equal(parse(&p, ARGV("-", "--wait=5s", "-m", "b", "--help")), 0);
    assert_string_equal(p.result.args[0], "-");
    assert_string_equal(p.wait, "5s");
    assert_true(p.result.is_help && p.result.rest == NULL);
}

static void test_bad_options(void **unused)
{
    struct parsed p;
    assert_int_equal(parse(&p, ARGV("--nope")), -ERR_INVALID);
    assert_string_equal(p.why, "--nope: no such option");
    assert_int_equal(parse(&p, ARGV("-x")), -ERR_INVALID);
    assert_int_equal(parse(&p, ARGV("--mesh")), -ERR_INVALID);
    assert_int_equal(parse(&p, ARGV("-m")), -ERR_INVALID);
    assert_int_equal(parse(&p, ARGV("--proxy=1")), -ERR_INVALID);
}

static void test_durations(void **unused)
{
    static const struct {
        const char *text;
        uint64_t ms; /* 1: refused */
    } rows[] = {{"500ms", 500}, {"30s", 30000},
                {"2m", 120000}, {"1h", 3600000},
                {"5", 5000},    {"0", 0},
                {"", 1},        {"s", 1},
                {"-1s", 1},     {"1d", 86400000},
                {"2d", 1},      {"25h", 1},
                {"1.5s", 1},    {"99999999999999999999", 1}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t ms = 1;
        opt_duration_ms(rows[i].text, &ms);
        assert_int_equal(ms, rows[i].ms);
    }
}

static void test_targets(void **unused)
{
    struct mesh_target t;
    assert_true(mesh_target_parse("web/2:80", &t));
    assert_true(str_eq(t.workload, STR("web")) && t.has_index && t.index == 2 && t.port == 80);
    assert_true(mesh_target_parse("web", &t));
    assert_true(!t.has_index && t.port == 0);
    static const char *const bad[] = {"",      "/0",    ":80",       "web/",
                                      "web/x", "web:0", "web:65536", "web/1/2"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(mesh_target_parse(bad[i], &t));
}

static void test_names(void **unused)
{
    struct arena a;
    arena_init(&a, 1024);
    assert_string_equal(up_spec_name("/x/shop", &a), "shop");
    assert_string_equal(up_spec_name("/x/My Shop.v2", &a), "my-shop-v2");
    assert_string_equal(up_spec_name("/x/...", &a), "mesh");
    assert_true(
        box_name_is_valid(up_spec_name("/an/exceedingly-long-name-of-a-folder-for-a-mesh", &a)));
    arena_deinit(&a);
}

#define SERIES(reporter, code)                                                                     \
    "istio_requests_total{reporter=\"" reporter "\",response_code=\"" code "\"}"
#define BUCKET(le)                                                                                 \
    "istio_request_duration_milliseconds_bucket{reporter=\"destination\",le=\"" le "\"}"

static void test_metrics(void **unused)
{
    struct metrics_sample one = {0}, two = {0};
    struct str text =
        STR("# TYPE x counter\n" SERIES("destination", "200") " 90\n" SERIES("destination", "503") " 10\n" SERIES(
            "source",
            "200") " 7\n" BUCKET("1") " 50\n" BUCKET("10") " 90\n" BUCKET("+Inf") " 100\nistio_"
                                                                                  "requests_total{"
                                                                                  "broken\nistio_"
                                                                                  "requests_total{"
                                                                                  "a=\"\\\n");
    metrics_add(&one, text);
    assert_int_equal(one.requests, 100);
    assert_int_equal(one.failures, 10);
    assert_int_equal(one.bucket_count, 3);
    assert_true(fabs(metrics_quantile_ms(&one, 0.5) - 1) < 0.001);
    assert_true(fabs(metrics_quantile_ms(&one, 0.99) - 10) < 0.001);
    metrics_add(&two, text);
    metrics_add(&two, text);
    struct metrics_sample d = metrics_since(&two, &one);
    assert_int_equal(d.requests, 100);
    d = metrics_since(&one, &two); /* started anew */
    assert_int_equal(d.requests, 100);
    struct metrics_sample none = {0};
    assert_true(metrics_quantile_ms(&none, 0.5) < 0);
}

static void test_verbs(void **unused)
{
    size_t count;
    const struct cli_verb *verbs = cli_verbs(&count);
    for (size_t i = 0; i < count; i++)
        assert_ptr_equal(cli_verb_find(verbs[i].name), &verbs[i]);
    assert_null(cli_verb_find("nope"));
    assert_int_equal(cli_main(2, (char *[]){(char *)"tulle", (char *)"nope", NULL}), CLI_USAGE);
    assert_int_equal(cli_main(3, (char *[]){(char *)"tulle", (char *)"up", (char *)"--x", NULL}),
                     CLI_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options),   cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_durations), cmocka_unit_test(test_targets),
        cmocka_unit_test(test_names),     cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_verbs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
