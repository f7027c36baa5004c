/* The server half against requests written by hand, field by field: state of the world, streams of
 * one type, and what no client of ours does. What the server hears is written to a log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/err.h"
#include "mesh/xds/ads_server.h"
#include "mesh/xds/pb_wire.h"

enum { LOG_MAX = 1 << 16 };

#define URL(type) "type.googleapis.com/envoy.config." type
#define CDS URL("cluster.v3.Cluster")
#define EDS URL("endpoint.v3.ClusterLoadAssignment")

struct fixture {
    struct ads_stream *stream;
    struct str_buf log, why;
};

/* --- the server's ear --- */

static void on_subscribe(void *ctx, enum resource_type type, struct str name, struct str version)
{
    struct fixture *f = ctx;
    str_buf_printf(&f->log, "+%s %.*s=%.*s\n", resource_type_name(type), STR_FMT(name),
                   STR_FMT(version));
}

static void on_known(void *ctx, enum resource_type type, struct str name, struct str version)
{
    struct fixture *f = ctx;
    str_buf_printf(&f->log, "?%s %.*s=%.*s\n", resource_type_name(type), STR_FMT(name),
                   STR_FMT(version));
}

static void on_unsubscribe(void *ctx, enum resource_type type, struct str name)
{
    struct fixture *f = ctx;
    str_buf_printf(&f->log, "-%s %.*s\n", resource_type_name(type), STR_FMT(name));
}

static void on_ack(void *ctx, enum resource_type type, uint64_t response)
{
    struct fixture *f = ctx;
    str_buf_printf(&f->log, "ack %s %d\n", resource_type_name(type), (int)response);
}

static void on_nack(void *ctx, enum resource_type type, uint64_t response, struct str detail)
{
    struct fixture *f = ctx;
    str_buf_printf(&f->log, "nack %s %d %.*s\n", resource_type_name(type), (int)response,
                   STR_FMT(detail));
}

static void on_node(void *ctx, const struct ads_request_info *info)
{
    struct fixture *f = ctx;
    str_buf_printf(&f->log, "node %.*s\n", STR_FMT(info->node_id));
}

static const struct ads_stream_ops stream_ops = {
    .on_subscribe = on_subscribe,
    .on_known = on_known,
    .on_unsubscribe = on_unsubscribe,
    .on_ack = on_ack,
    .on_nack = on_nack,
    .on_node = on_node,
};

/* --- requests and responses --- */

struct request {
    const char *url, *version, *nonce, *error, *node;
    const char *names[4];
    const char *gone[4]; /* delta only */
};

static void add(struct str_buf *to, uint32_t number, const char *text)
{
    if (text != NULL)
        pb_wire_add_bytes(to, number, str_from_c(text));
}

static void add_inner(struct str_buf *to, uint32_t number, uint32_t inner, const char *text)
{
    struct str_buf m = STR_BUF_INIT(LOG_MAX);
    if (text == NULL)
        return;
    add(&m, inner, text);
    pb_wire_add_bytes(to, number, str_buf_str(&m));
    str_buf_deinit(&m);
}

static void encode(const struct request *r, enum ads_variant variant, struct str_buf *to)
{
    bool is_sotw = variant == ADS_SOTW;
    if (is_sotw)
        add(to, 1, r->version);
    add_inner(to, is_sotw ? 2 : 1, 1, r->node);
    for (size_t i = 0; i < ARRAY_LEN(r->names); i++)
        add(to, 3, r->names[i]);
    for (size_t i = 0; i < ARRAY_LEN(r->gone); i++)
        add(to, 4, r->gone[i]);
    add(to, is_sotw ? 4 : 2, r->url);
    add(to, is_sotw ? 5 : 6, r->nonce);
    add_inner(to, is_sotw ? 6 : 7, 2, r->error);
}

static int hear(struct fixture *f, struct request r)
{
    struct str_buf m = STR_BUF_INIT(LOG_MAX);
    encode(&r, ads_stream_variant(f->stream), &m);
    str_buf_reset(&f->why);
    int rc = ads_stream_recv(f->stream, str_buf_str(&m), &f->why);
    str_buf_deinit(&m);
    return rc;
}

static void respond(struct fixture *f, enum resource_type type)
{
    struct str_buf message = STR_BUF_INIT(LOG_MAX);
    ads_stream_respond(f->stream, &(struct ads_response){.type = type, .version = STR("v")},
                       &message);
    str_buf_deinit(&message);
}

static void assert_log(struct fixture *f, const char *want)
{
    const char *got = f->log.len > 0 ? f->log.ptr : "";
    if (strcmp(got, want) != 0)
        fail_msg("got:\n%swant:\n%s", got, want);
    str_buf_reset(&f->log);
}

/* A set has no order: each line must be there, and nothing else. */
static void assert_lines(struct fixture *f, size_t count, const char *const *lines)
{
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
        len += strlen(lines[i]);
        if (!str_contains(str_buf_str(&f->log), str_from_c(lines[i])))
            fail_msg("no %sin:\n%s", lines[i], f->log.ptr);
    }
    assert_int_equal(f->log.len, len);
    str_buf_reset(&f->log);
}
#define ASSERT_LINES(f, ...)                                                                       \
    assert_lines(f, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *),                        \
                 (const char *[]){__VA_ARGS__})

/* --- fixture --- */

static void open_stream(struct fixture *f, struct ads_stream_args args)
{
    ads_stream_free(f->stream);
    args.ops = &stream_ops;
    args.ctx = f;
    f->stream = ads_stream_new(&args);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->log = STR_BUF_INIT(LOG_MAX);
    f->why = STR_BUF_INIT(LOG_MAX);
    open_stream(f, (struct ads_stream_args){.variant = ADS_SOTW});
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    ads_stream_free(f->stream);
    str_buf_deinit(&f->log);
    str_buf_deinit(&f->why);
    free(f);
    return 0;
}

/* --- tests --- */

static void test_names_come_and_go(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(hear(f, (struct request){EDS, .node = "n", .names = {"a", "b"}}), 0);
    ASSERT_LINES(f, "node n\n", "+endpoints a=\n", "+endpoints b=\n");
    respond(f, RESOURCE_ENDPOINTS);
    assert_int_equal(hear(f, (struct request){EDS, "v", "1", .names = {"a", "b"}}), 0);
    assert_log(f, "ack endpoints 1\n");
    /* The same nonce again: other names, no other answer. */
    assert_int_equal(hear(f, (struct request){EDS, "v", "1", .names = {"b", "c"}}), 0);
    ASSERT_LINES(f, "+endpoints c=\n", "-endpoints a\n");
    /* Endpoints have no wildcard. */
    assert_int_equal(hear(f, (struct request){EDS, "v", "1"}), 0);
    ASSERT_LINES(f, "-endpoints b\n", "-endpoints c\n");
    assert_int_equal(hear(f, (struct request){EDS, "v", "1", .names = {"a"}}), 0);
    assert_log(f, "+endpoints a=\n");
}

/* The four steps of the specification's example. */
static void test_wildcard(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(hear(f, (struct request){CDS, "abc", .node = "n"}), 0);
    assert_log(f, "node n\n+cluster *=abc\n");
    respond(f, RESOURCE_CLUSTER);
    assert_int_equal(hear(f, (struct request){CDS, "v", "1"}), 0);
    assert_log(f, "ack cluster 1\n");
    assert_int_equal(hear(f, (struct request){CDS, "v", "1", .names = {"*", "a"}}), 0);
    assert_log(f, "+cluster a=\n");
    assert_int_equal(hear(f, (struct request){CDS, "v", "1", .names = {"a"}}), 0);
    assert_log(f, "-cluster *\n");
    assert_int_equal(hear(f, (struct request){CDS, "v", "1"}), 0);
    assert_log(f, "-cluster a\n");
    assert_int_equal(hear(f, (struct request){CDS, "v", "1", .names = {"*"}}), 0);
    assert_log(f, "+cluster *=\n");
}

/* A version says something of a wildcard; of names only that there were some. */
static void test_versions_of_a_former_stream(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(hear(f, (struct request){CDS, "abc", .node = "n", .names = {"a"}}), 0);
    assert_log(f, "node n\n+cluster a=\n");
    assert_int_equal(hear(f, (struct request){EDS, "abc", .names = {"a"}}), 0);
    assert_log(f, "+endpoints a=\n");
}

static void test_stale_requests_change_nothing(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(hear(f, (struct request){EDS, .node = "n", .names = {"a"}}), 0);
    respond(f, RESOURCE_ENDPOINTS);
    respond(f, RESOURCE_ENDPOINTS);
    str_buf_reset(&f->log);
    /* Sent before the second response arrived: the first is answered, names are as they were. */
    assert_int_equal(hear(f, (struct request){EDS, "v", "1", .names = {"a", "b"}}), 0);
    assert_log(f, "ack endpoints 1\n");
    /* Sent before the first one arrived. */
    assert_int_equal(hear(f, (struct request){EDS, .names = {"a", "b"}}), 0);
    assert_log(f, "");
    assert_int_equal(hear(f, (struct request){EDS, "v", "2", .names = {"a", "b"}}), 0);
    assert_log(f, "ack endpoints 2\n+endpoints b=\n");
}

static void test_refusals(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(hear(f, (struct request){EDS, .node = "n", .names = {"a"}}), 0);
    respond(f, RESOURCE_ENDPOINTS);
    str_buf_reset(&f->log);
    /* The version of a refusal is the one before, or none; what counts is that there is an error.
     */
    assert_int_equal(hear(f, (struct request){EDS, NULL, "1", "a: bad", .names = {"a"}}), 0);
    assert_log(f, "nack endpoints 1 a: bad\n");
    respond(f, RESOURCE_ENDPOINTS);
    assert_int_equal(hear(f, (struct request){EDS, "v", "2", "", .names = {"a"}}), 0);
    assert_log(f, "nack endpoints 2 \n");
    respond(f, RESOURCE_ENDPOINTS);
    assert_int_equal(hear(f, (struct request){EDS, "v", "3", .names = {"a"}}), 0);
    assert_log(f, "ack endpoints 3\n");
}

static void test_an_answer_counts_for_those_before(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(hear(f, (struct request){EDS, .node = "n", .names = {"a"}}), 0);
    respond(f, RESOURCE_ENDPOINTS);
    respond(f, RESOURCE_CLUSTER);
    respond(f, RESOURCE_ENDPOINTS);
    str_buf_reset(&f->log);
    assert_int_equal(hear(f, (struct request){EDS, "v", "3", .names = {"a"}}), 0);
    assert_log(f, "ack endpoints 1\nack endpoints 3\n");
}

static void test_bad_requests(void **state)
{
    static const struct {
        struct request r;
        const char *why;
    } rows[] = {
        {{EDS, "v", "7"}, "a nonce that was never sent"},
        {{EDS, "v", "0"}, "a nonce that was never sent"},
        {{EDS, "v", "x"}, "a nonce that was never sent"},
        {{CDS, "v", "1"}, "the nonce belongs to another type"},
        {{EDS, .names = {""}}, "a resource name is empty or too long"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        open_stream(f, (struct ads_stream_args){.variant = ADS_SOTW});
        respond(f, RESOURCE_ENDPOINTS);
        assert_int_equal(hear(f, rows[i].r), -ERR_PROTOCOL);
        assert_string_equal(f->why.ptr, rows[i].why);
    }
    assert_int_equal(ads_stream_recv(f->stream, STR("\xff"), &f->why), -ERR_PROTOCOL);
    /* Types that we do not have are passed over, with or without a nonce. */
    assert_int_equal(hear(f, (struct request){URL("other.v3.Thing"), .names = {"a"}}), 0);
    assert_int_equal(hear(f, (struct request){NULL}), 0);
}

static void test_streams_of_one_type(void **state)
{
    struct fixture *f = *state;
    for (int variant = ADS_DELTA; variant <= ADS_SOTW; variant++) {
        open_stream(f, (struct ads_stream_args){.variant = (enum ads_variant)variant,
                                                .is_single = true,
                                                .type = RESOURCE_CLUSTER});
        assert_false(ads_stream_is_aggregated(f->stream));
        str_buf_reset(&f->log);
        assert_int_equal(hear(f, (struct request){.node = "n"}), 0);
        assert_log(f, "node n\n+cluster *=\n");
        respond(f, RESOURCE_CLUSTER);
        assert_int_equal(hear(f, (struct request){CDS, .nonce = "1"}), 0);
        assert_log(f, "ack cluster 1\n");
        assert_int_equal(hear(f, (struct request){EDS}), -ERR_PROTOCOL);
        assert_string_equal(f->why.ptr, "the stream is of another type");
    }
}

static void test_delta_honours_stale_requests(void **state)
{
    struct fixture *f = *state;
    open_stream(f, (struct ads_stream_args){.variant = ADS_DELTA});
    assert_int_equal(hear(f, (struct request){EDS, .node = "n", .names = {"a"}}), 0);
    respond(f, RESOURCE_ENDPOINTS);
    respond(f, RESOURCE_ENDPOINTS);
    str_buf_reset(&f->log);
    assert_int_equal(hear(f, (struct request){EDS, .nonce = "1", .names = {"b"}, .gone = {"a"}}),
                     0);
    assert_log(f, "ack endpoints 1\n+endpoints b=\n-endpoints a\n");
    /* What was never subscribed to may be unsubscribed from; what is, may be again. */
    assert_int_equal(hear(f, (struct request){EDS, .names = {"b"}, .gone = {"z"}}), 0);
    assert_log(f, "+endpoints b=\n");
    /* Endpoints have no wildcard without a word. */
    open_stream(f, (struct ads_stream_args){.variant = ADS_DELTA});
    assert_int_equal(hear(f, (struct request){EDS, .node = "n"}), 0);
    assert_log(f, "node n\n");
}

static void test_what_responses_hold(void **state)
{
    struct fixture *f = *state;
    struct ads_item items[] = {{STR("a"), STR("v1"), STR("AA")}, {STR("b"), STR("v2"), STR("BB")}};
    struct str_buf message = STR_BUF_INIT(LOG_MAX);
    struct pb_field field;
    ads_stream_respond(f->stream,
                       &(struct ads_response){RESOURCE_CLUSTER, STR("v9"), items, 2, NULL, 0},
                       &message);
    struct str rest = str_buf_str(&message);
    while (pb_wire_next(&rest, &field) == 1) {
        if (field.number == 2) {
            struct pb_field inner;
            while (pb_wire_next(&field.bytes, &inner) == 1)
                str_buf_printf(&f->log, "%u:%.*s ", inner.number, STR_FMT(inner.bytes));
        } else {
            str_buf_printf(&f->log, "%u=%.*s ", field.number, STR_FMT(field.bytes));
        }
    }
    assert_log(f, "1=v9 4=" CDS " 5=1 1:" CDS " 2:AA 1:" CDS " 2:BB ");
    assert_int_equal(
        ads_response_len(ADS_SOTW,
                         &(struct ads_response){RESOURCE_CLUSTER, STR("v9"), items, 2, NULL, 0}, 1),
        message.len);
    assert_true(ads_stream_is_full(f->stream, RESOURCE_CLUSTER));
    assert_false(ads_stream_is_full(f->stream, RESOURCE_ENDPOINTS));
    assert_false(ads_stream_tells_removal(f->stream, RESOURCE_ENDPOINTS));
    str_buf_deinit(&message);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_names_come_and_go),
        T(test_wildcard),
        T(test_versions_of_a_former_stream),
        T(test_stale_requests_change_nothing),
        T(test_refusals),
        T(test_an_answer_counts_for_those_before),
        T(test_bad_requests),
        T(test_streams_of_one_type),
        T(test_delta_honours_stale_requests),
        T(test_what_responses_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
