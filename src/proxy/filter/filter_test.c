/* The router and authorization, with calls as the downstream, on the simulated backend. */
#include "proxy/filter/filter_priv.h"
#include "proxy/upstream/upstream_test_util.h"

/* --- a request, and what came of it --- */

struct asked {
    struct request r;
    struct call *call; /* NULL once ended */
    unsigned status, local_status, ends;
    bool is_over;
    struct str_buf body, fields;
    struct outcome outcome;
    uint64_t ended_us;
};

static struct route route;
static struct virtual_host vhost;
static struct route_config routes;
static struct weighted_cluster weighted;
static struct downstream_info info;
static struct rbac rbac;

static void count_end(struct exchange *x, void *state)
{
    struct asked *a = CONTAINER_OF(request_of(x), struct asked, r);
    a->ends++;
    a->local_status = x->is_response_local && x->flows[SIDE_RESPONSE].head != NULL
                          ? x->flows[SIDE_RESPONSE].head->status
                          : 0;
}

static const struct filter_ops count_ops = {.name = "count", .on_end = count_end};
static const struct filter chain[] = {
    {.ops = &count_ops}, {.ops = &rbac_filter_ops, .config = &rbac}, {.ops = &router_filter_ops}};

static void on_head(void *ctx, struct call *c, const struct http_head *head)
{
    struct asked *a = ctx;
    a->status = head->status;
    for (uint32_t i = 0; i < head->field_count; i++)
        str_buf_printf(&a->fields, "%.*s: %.*s\n", STR_FMT(head->fields[i].name),
                       STR_FMT(head->fields[i].value));
}

static void on_body(void *ctx, struct call *c, struct chain *body)
{
    struct asked *a = ctx;
    for (uint32_t i = 0; i < body->count; i++)
        str_buf_add(&a->body, chain_slice_str(body, i));
    chain_clear(body);
}

static void on_end(void *ctx, struct call *c, const struct http_head *trailers,
                   const struct outcome *outcome)
{
    struct asked *a = ctx;
    a->is_over = true;
    a->outcome = *outcome;
    a->call = NULL;
    a->ended_us = sim_world_now_us(rig.sim);
}

static const struct call_ops call_ops = {on_head, on_body, NULL, on_end};

static void release(struct exchange *x)
{
    upstream_host_drop(request_of(x)->last_host);
}

struct ask {
    const char *method, *path;
    size_t body_len;
    bool is_body_late; /* not sent by begin_with */
    const char *content_type, *request_id;
};

static void send_body(struct asked *a, size_t len)
{
    struct chain body;
    char *bytes = mem_alloc(len);
    memset(bytes, 'b', len);
    chain_init(&body, turn_chunks(rig.turn), NULL);
    chain_add(&body, str_from(bytes, len));
    call_write(a->call, &body);
    call_end(a->call);
    chain_deinit(&body);
    free(bytes);
}

static void begin_with(struct asked *a, const struct ask *ask)
{
    struct arena arena;
    struct http_head head;
    arena_init(&arena, 512);
    http_head_init(&head, &arena, true);
    head.method = str_from_c(ask->method);
    head.scheme = STR("http");
    head.authority = STR("catalog");
    head.path = str_from_c(ask->path);
    head.has_body = head.has_length = ask->body_len > 0;
    head.length = ask->body_len;
    if (ask->content_type != NULL) {
        http_head_add(&head, HTTP_NAME_CONTENT_TYPE, str_from_c(ask->content_type));
        head.is_grpc = http_is_grpc_type(str_from_c(ask->content_type));
    }
    if (ask->request_id != NULL)
        http_head_add(&head, HTTP_NAME_X_REQUEST_ID, str_from_c(ask->request_id));
    *a = (struct asked){0};
    a->body = (struct str_buf)STR_BUF_INIT(1024 * 1024);
    a->fields = (struct str_buf)STR_BUF_INIT(1024 * 1024);
    a->call = call_start_filters(rig.turn, chain, ARRAY_LEN(chain), &head, &call_ops, a);
    struct exchange *x = call_exchange(a->call);
    a->r = (struct request){
        .x = x,
        .upstream = rig.upstream,
        .metrics = rig.metrics,
        .routes = &routes,
        .vhost = &vhost,
        .route = &route,
        .weighted = &weighted,
        .cluster_name = weighted.name,
        .version = HTTP_11,
    };
    x->ctx = &a->r;
    x->info = &info;
    x->release = release;
    if (ask->body_len > 0 && !ask->is_body_late)
        send_body(a, ask->body_len);
    arena_deinit(&arena);
}

static void begin(struct asked *a)
{
    begin_with(a, &(struct ask){.method = "GET", .path = "/"});
}

static void finish(struct asked *a)
{
    for (unsigned i = 0; i < 500 && !a->is_over; i++)
        rig_run(20 * MS);
    assert_true(a->is_over);
    assert_int_equal(a->ends, 1);
}

static void forget(struct asked *a)
{
    str_buf_deinit(&a->body);
    str_buf_deinit(&a->fields);
}

static void one(struct asked *a)
{
    begin(a);
    finish(a);
}

static bool has_flag(const struct asked *a, uint64_t flag)
{
    return (a->outcome.flags & flag) != 0;
}

static bool has_field(const struct asked *a, const char *line)
{
    return str_contains(str_buf_str(&a->fields), str_from_c(line));
}

static bool origin_saw(unsigned i, const char *text)
{
    return str_contains(str_buf_str(&rig.origins[i].last), str_from_c(text));
}

/* --- the world --- */

static const struct retry_policy retries = {
    .on = RETRY_CONNECT_FAILURE | RETRY_REFUSED_STREAM | RETRY_GATEWAY_ERROR,
    .retries_max = 2,
    .avoid_previous_hosts = true,
};

static void open_world(unsigned origins)
{
    static const struct rbac_policy anybody = {.permission = {.kind = RBAC_ANY},
                                               .principal = {.kind = RBAC_ANY}};
    struct cluster model = cluster_defaults();
    model.outlier.is_on = true;
    rig_open(origins);
    set_simple(&model, origins);
    rbac = (struct rbac){.action = RBAC_ALLOW, .policies = &anybody, .policy_count = 1};
    info = (struct downstream_info){0};
    weighted = (struct weighted_cluster){.name = STR("c"), .weight = 1};
    route = (struct route){.match = {.path_kind = PATH_PREFIX, .path = STR("/")},
                           .clusters = &weighted,
                           .cluster_count = 1,
                           .weight_total = 1};
    vhost = (struct virtual_host){.routes = &route, .route_count = 1};
    routes = (struct route_config){.hosts = &vhost, .host_count = 1};
}

static void close_world(void)
{
    struct upstream_cluster *c = the_cluster();
    if (c != NULL) {
        assert_int_equal(c->share->retries, 0);
        assert_int_equal(c->share->requests, 0);
        assert_int_equal(c->share->connections, 0);
        for (size_t i = 0; i < c->hosts.len; i++)
            assert_int_equal(c->hosts.ptr[i]->active, 0);
    }
    rig_close();
}

static void test_passes(void **state)
{
    struct asked a;
    open_world(1);
    begin_with(&a, &(struct ask){.method = "POST", .path = "/x", .body_len = 100});
    finish(&a);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.outcome.err, 0);
    assert_true(str_eq(str_buf_str(&a.body), STR("ok")));
    assert_true(has_field(&a, "x-envoy-upstream-service-time: "));
    assert_int_equal(a.r.attempts, 1);
    forget(&a);
    close_world();
}

/* --- retries --- */

static void test_retry_goes_elsewhere(void **state)
{
    open_world(3);
    route.retry = &retries;
    rig.origins[0].status = rig.origins[1].status = 503;
    for (unsigned i = 0; i < 9; i++) {
        struct asked a;
        one(&a);
        assert_int_equal(a.status, 200);
        assert_int_equal(a.outcome.flags, 0);
        forget(&a);
    }
    assert_int_equal(rig.origins[2].requests, 9);
    close_world();
}

static void test_retries_end(void **state)
{
    struct asked a;
    open_world(2);
    route.retry = &retries;
    rig.origins[0].status = rig.origins[1].status = 503;
    one(&a);
    assert_int_equal(a.status, 503); /* the last answer as it came */
    assert_true(str_eq(str_buf_str(&a.body), STR("ok")));
    assert_true(has_flag(&a, FLAG_BIT(RETRY_LIMIT)));
    assert_int_equal(a.r.attempts, 3);
    forget(&a);
    close_world();
}

static void test_no_policy_no_retry(void **state)
{
    struct asked a;
    open_world(2);
    rig.origins[0].status = rig.origins[1].status = 503;
    one(&a);
    assert_int_equal(a.status, 503);
    assert_int_equal(a.r.attempts, 1);
    forget(&a);
    close_world();
}

static void test_connect_failures_are_hidden(void **state)
{
    struct asked a;
    open_world(2);
    route.retry = &retries;
    sim_world_refuse(rig.sim, &rig.origins[0].addr, false);
    for (unsigned i = 0; i < 6; i++) {
        one(&a);
        assert_int_equal(a.status, 200);
        forget(&a);
    }
    sim_world_refuse(rig.sim, &rig.origins[1].addr, false);
    rig_run(SECOND);
    sim_world_cut(rig.sim, &rig.origins[1].addr);
    one(&a);
    assert_int_equal(a.local_status, 503);
    assert_true(has_flag(&a, FLAG_BIT(UPSTREAM_CONNECT)));
    assert_true(a.r.upstream_failure.len > 0);
    forget(&a);
    close_world();
}

static void test_body_is_replayed_as_long_as_it_is_kept(void **state)
{
    static const struct {
        size_t len;
        unsigned status;
    } cases[] = {{1000, 200}, {64 * 1024, 200}, {64 * 1024 + 1, 503}, {300 * 1024, 503}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct asked a;
        open_world(2);
        route.retry = &retries;
        rig.origins[0].status = 503;
        rig.origins[1].status = 200;
        begin_with(&a, &(struct ask){.method = "POST", .path = "/", .body_len = cases[i].len});
        finish(&a);
        assert_int_equal(a.status, cases[i].status);
        if (cases[i].status == 200)
            assert_true(rig.origins[1].last.len > cases[i].len);
        forget(&a);
        close_world();
    }
}

static void test_keep_alive_race(void **state)
{
    struct asked a;
    open_world(2);
    one(&a);
    forget(&a);
    one(&a);
    forget(&a);
    rig.origins[0].mode = rig.origins[1].mode = ORIGIN_CLOSES_REUSED;
    one(&a); /* GET: replayed, without a retry policy */
    assert_int_equal(a.status, 200);
    assert_true(metrics_get(rig.metrics, COUNTER_KEEPALIVE_REPLAYS) >= 1);
    forget(&a);
    rig.origins[0].mode = rig.origins[1].mode = ORIGIN_ANSWERS;
    for (unsigned i = 0; i < 4; i++) {
        one(&a);
        forget(&a);
    }
    rig.origins[0].mode = rig.origins[1].mode = ORIGIN_CLOSES_REUSED;
    int64_t before = metrics_get(rig.metrics, COUNTER_KEEPALIVE_REPLAYS);
    unsigned requests = rig.origins[0].requests + rig.origins[1].requests;
    begin_with(&a, &(struct ask){.method = "POST", .path = "/", .body_len = 5});
    finish(&a); /* POST: never */
    assert_int_equal(a.local_status, 503);
    assert_int_equal(metrics_get(rig.metrics, COUNTER_KEEPALIVE_REPLAYS), before);
    assert_int_equal(rig.origins[0].requests + rig.origins[1].requests, requests + 1);
    forget(&a);
    close_world();
}

/* Over plain text anybody who listens there could say so. */
static void test_a_note_of_the_peer_needs_tls(void **state)
{
    static const struct retry_policy policy = {.on = RETRY_CONNECT_FAILURE, .retries_max = 2};
    struct cluster model = cluster_defaults();
    struct endpoint e = endpoint_of(0);
    struct asked a;
    open_world(1);
    route.retry = &policy;
    e.is_tulle = true;
    set_endpoints("c", &e, 1);
    set_cluster("c", &model);
    rig.origins[0].status = 503;
    rig.origins[0].extra = "x-tulle-unreached: 1\r\n";
    one(&a);
    assert_int_equal(a.status, 503);
    assert_int_equal(a.r.attempts, 1);
    assert_false(has_field(&a, "x-tulle-unreached"));
    forget(&a);
    close_world();
}

static void test_retry_budget(void **state)
{
    struct asked a;
    open_world(2);
    route.retry = &retries;
    rig.origins[0].status = rig.origins[1].status = 503;
    for (unsigned i = 0; i < 10; i++)
        assert_true(upstream_retry_begin(rig.upstream, the_cluster()));
    one(&a);
    assert_int_equal(a.status, 503);
    assert_int_equal(a.r.attempts, 1);
    assert_true(has_flag(&a, FLAG_BIT(UPSTREAM_OVERFLOW)));
    forget(&a);
    /* What was refused before anybody looked at it is no burden. */
    rig.origins[0].status = rig.origins[1].status = 200;
    sim_world_cut(rig.sim, &rig.origins[0].addr);
    for (unsigned i = 0; i < 4; i++) {
        one(&a);
        assert_int_equal(a.status, 200);
        forget(&a);
    }
    for (unsigned i = 0; i < 10; i++)
        upstream_retry_end(rig.upstream, the_cluster());
    close_world();
}

/* Retries that wait for their turn are given back by whoever leaves. */
static void test_cancel_in_every_state(void **state)
{
    static const struct retry_policy slow = {
        .on = RETRY_GATEWAY_ERROR, .retries_max = 5, .backoff_base_us = 100 * MS};
    for (unsigned at = 0; at < 60; at++) {
        struct asked a;
        open_world(2);
        route.retry = &slow;
        route.timeout_us = 400 * MS;
        rig.origins[0].status = 503;
        rig.origins[1].mode = ORIGIN_RESETS;
        begin(&a);
        rig_run(at * (at < 30 ? 50 : 5000));
        if (a.call != NULL)
            call_cancel(a.call);
        finish(&a);
        for (unsigned i = 0; i < 2; i++)
            assert_true(host_failures(i) <= 5);
        forget(&a);
        close_world();
    }
}

static void test_cancel_harms_nobody(void **state)
{
    struct asked a;
    open_world(1);
    rig.origins[0].mode = ORIGIN_HANGS;
    for (unsigned i = 0; i < 10; i++) {
        begin(&a);
        rig_run(5 * MS);
        call_cancel(a.call);
        finish(&a);
        assert_int_equal(a.outcome.fault, FAULT_DOWNSTREAM);
        forget(&a);
    }
    assert_false(host_at(0)->is_ejected);
    assert_int_equal(host_failures(0), 0);
    close_world();
}

/* --- time --- */

static void test_route_timeout(void **state)
{
    struct asked a;
    open_world(1);
    route.timeout_us = 3 * SECOND;
    rig.origins[0].mode = ORIGIN_HANGS;
    begin(&a);
    uint64_t began = sim_world_now_us(rig.sim);
    finish(&a);
    assert_int_equal(a.local_status, 504);
    assert_true(has_flag(&a, FLAG_BIT(UPSTREAM_TIMEOUT)));
    assert_true(str_eq(a.outcome.details, STR("response_timeout")));
    assert_in_range(a.ended_us - began, 2990 * MS, 3100 * MS);
    assert_int_equal(host_failures(0), 1);
    forget(&a);
    close_world();
}

static void test_timeout_during_backoff(void **state)
{
    static const struct retry_policy slow = {.on = RETRY_GATEWAY_ERROR,
                                             .retries_max = 9,
                                             .backoff_base_us = 60ull * SECOND,
                                             .backoff_max_us = 600ull * SECOND};
    struct asked a;
    open_world(1);
    route.timeout_us = 1 * SECOND;
    route.retry = &slow;
    rig.origins[0].status = 503;
    one(&a);
    assert_int_equal(a.local_status, 504);
    forget(&a);
    close_world();
}

static void test_per_try_timeout(void **state)
{
    static const struct retry_policy policy = {.on = RETRY_5XX,
                                               .retries_max = 1,
                                               .per_try_timeout_us = 500 * MS,
                                               .avoid_previous_hosts = true};
    struct asked a;
    open_world(2);
    route.retry = &policy;
    route.timeout_us = 5 * SECOND;
    rig.origins[0].mode = ORIGIN_HANGS;
    for (unsigned i = 0; i < 2; i++) {
        one(&a);
        assert_int_equal(a.status, 200);
        forget(&a);
    }
    assert_int_equal(rig.origins[0].requests, 2); /* each went there first */
    rig.origins[1].mode = ORIGIN_HANGS;
    uint64_t began = sim_world_now_us(rig.sim);
    one(&a);
    assert_int_equal(a.local_status, 504);
    assert_true(has_flag(&a, FLAG_BIT(UPSTREAM_TIMEOUT)));
    assert_true(has_flag(&a, FLAG_BIT(RETRY_LIMIT)));
    assert_in_range(a.ended_us - began, 990 * MS, 1200 * MS);
    forget(&a);
    close_world();
}

/* Both times count from the end of the request: a long upload is not cut off. */
static void test_a_long_upload_is_not_cut_off(void **state)
{
    static const struct retry_policy policy = {
        .on = RETRY_5XX, .retries_max = 1, .per_try_timeout_us = 500 * MS};
    struct asked a;
    open_world(1);
    route.retry = &policy;
    route.timeout_us = 1 * SECOND;
    begin_with(&a,
               &(struct ask){.method = "POST", .path = "/", .body_len = 100, .is_body_late = true});
    rig_run(3 * SECOND);
    assert_false(a.is_over);
    send_body(&a, 100);
    finish(&a);
    assert_int_equal(a.status, 200);
    assert_int_equal(rig.origins[0].requests, 1);
    forget(&a);
    close_world();
}

/* --- answers of our own --- */

static void test_answers_without_an_upstream(void **state)
{
    struct asked a;
    open_world(1);
    begin(&a);
    a.r.route = NULL;
    a.r.cluster_name = STR_NULL;
    finish(&a);
    assert_int_equal(a.status, 404);
    assert_true(has_flag(&a, FLAG_BIT(NO_ROUTE)));
    forget(&a);
    begin(&a);
    a.r.cluster_name = STR("nobody");
    finish(&a);
    assert_int_equal(a.status, 503);
    assert_true(has_flag(&a, FLAG_BIT(NO_CLUSTER)));
    forget(&a);
    static const struct header_edit edit = {{"x-edited", 8}, {"yes", 3}, HEADER_SET};
    route.kind = ROUTE_DIRECT_RESPONSE;
    route.direct_status = 418;
    route.direct_body = STR("teapot");
    route.response = (struct header_edits){.set = &edit, .set_count = 1};
    one(&a);
    assert_int_equal(a.status, 418);
    assert_true(str_eq(str_buf_str(&a.body), STR("teapot")));
    assert_true(has_field(&a, "x-edited: yes\n"));
    forget(&a);
    route.kind = ROUTE_REDIRECT;
    route.redirect_host = STR("other");
    route.redirect_status = 307;
    begin_with(&a, &(struct ask){.method = "GET", .path = "/a?b=c"});
    finish(&a);
    assert_int_equal(a.status, 307);
    assert_true(has_field(&a, "location: http://other/a?b=c\n"));
    forget(&a);
    assert_int_equal(rig.origins[0].requests, 0);
    close_world();
}

static void test_no_healthy_host(void **state)
{
    struct asked a;
    open_world(1);
    route.retry = &retries;
    set_endpoints("c", NULL, 0);
    one(&a);
    assert_int_equal(a.local_status, 503);
    assert_true(has_flag(&a, FLAG_BIT(NO_HEALTHY_UPSTREAM)));
    assert_int_equal(a.r.attempts, 1);
    forget(&a);
    close_world();
}

/* --- what the upstream sees --- */

/* The cluster goes while a request waits for its names: nobody is left to be asked. */
static void test_removed_before_its_names_are_known(void **state)
{
    static const char *const names[] = {"a.example"};
    struct asked a;
    open_world(1);
    upstream_set_cluster(rig.upstream, STR("c"), NULL);
    set_named(names, 1);
    route.retry = &retries;
    begin(&a);
    rig_run(10 * MS);
    upstream_set_cluster(rig.upstream, STR("c"), NULL);
    finish(&a);
    assert_int_equal(a.local_status, 503);
    assert_true(has_flag(&a, FLAG_BIT(NO_CLUSTER)));
    assert_int_equal(a.r.attempts, 1);
    forget(&a);
    close_world();
}

static void test_edits(void **state)
{
    static const struct header_edit set[] = {
        {{"x-set", 5}, {"1", 1}, HEADER_SET},
        {{"x-append", 8}, {"2", 1}, HEADER_APPEND},
        {{"content-length", 14}, {"9999", 4}, HEADER_SET},
        {{"transfer-encoding", 17}, {"chunked", 7}, HEADER_APPEND},
        {{"host", 4}, {"changed", 7}, HEADER_APPEND},
        {{"x-absent", 8}, {"3", 1}, HEADER_SET_IF_EXISTS},
    };
    static const struct str removed[] = {{"x-request-id", 12}, {"host", 4}};
    struct asked a;
    open_world(1);
    vhost.include_attempt_count = true;
    route.request = (struct header_edits){set, ARRAY_LEN(set), removed, ARRAY_LEN(removed)};
    route.match.path = STR("/api");
    route.prefix_rewrite = STR("/v2");
    begin_with(&a, &(struct ask){.method = "GET", .path = "/api/x?q=1", .request_id = "gone"});
    finish(&a);
    assert_true(origin_saw(0, "GET /v2/x?q=1 HTTP/1.1\r\n"));
    assert_true(origin_saw(0, "host: changed\r\n") || origin_saw(0, "Host: changed\r\n"));
    assert_true(origin_saw(0, "x-set: 1\r\n") && origin_saw(0, "x-append: 2\r\n"));
    assert_true(origin_saw(0, "x-envoy-attempt-count: 1\r\n"));
    assert_true(origin_saw(0, "x-envoy-original-path: /api/x?q=1\r\n"));
    assert_false(origin_saw(0, "9999") || origin_saw(0, "chunked") || origin_saw(0, "gone"));
    assert_false(origin_saw(0, "x-absent") || origin_saw(0, "x-tulle-version"));
    forget(&a);
    close_world();
}

static void test_version_note_for_our_own(void **state)
{
    struct asked a;
    struct endpoint e;
    open_world(1);
    e = endpoint_of(0);
    e.is_tulle = true;
    e.hostname = STR("one.example");
    route.auto_host_rewrite = true;
    set_endpoints("c", &e, 1);
    one(&a);
    assert_true(origin_saw(0, "x-tulle-version: 1.1\r\n"));
    assert_true(origin_saw(0, "ost: one.example\r\n"));
    forget(&a);
    close_world();
}

/* --- authorization --- */

static void deny_all(void)
{
    static const struct rbac_policy nobody = {
        .name = {"AuthorizationPolicy/shop/deny#rules[0]", 38},
        .permission = {.kind = RBAC_ANY},
        .principal = {.kind = RBAC_ANY}};
    rbac = (struct rbac){.action = RBAC_DENY, .policies = &nobody, .policy_count = 1};
}

static void test_rbac_tells_mesh_peers(void **state)
{
    static const struct downstream_tls_info web = {
        .peer_principal = {"spiffe://mesh.local/ns/shop/sa/web", 34}};
    struct asked a;
    open_world(1);
    deny_all();
    info.is_mtls = true;
    info.tls = &web;
    begin_with(&a, &(struct ask){.method = "GET", .path = "/", .request_id = "id-7"});
    finish(&a);
    assert_int_equal(a.status, 403);
    assert_true(str_eq(str_buf_str(&a.body), STR("RBAC: access denied")));
    assert_true(has_field(&a, "x-tulle-origin: AuthorizationPolicy/shop/deny#rules[0]\n"));
    assert_int_equal(rig.origins[0].requests, 0);
    assert_int_equal(metrics_get(rig.metrics, COUNTER_RBAC_DENIED), 1);
    forget(&a);
    close_world();
}

static void test_rbac_tells_strangers_an_id_only(void **state)
{
    struct asked a;
    open_world(1);
    deny_all();
    begin_with(&a, &(struct ask){.method = "GET", .path = "/", .request_id = "id-7"});
    finish(&a);
    assert_int_equal(a.status, 403);
    assert_false(has_field(&a, "x-tulle-origin"));
    assert_true(has_field(&a, "x-request-id: id-7\n"));
    forget(&a);
    /* gRPC: status 7 behind a 200. */
    info.is_mtls = true;
    begin_with(&a, &(struct ask){.method = "POST",
                                 .path = "/a.B/C",
                                 .body_len = 5,
                                 .content_type = "application/grpc"});
    finish(&a);
    assert_int_equal(a.status, 200);
    assert_true(has_field(&a, "grpc-status: 7\n"));
    assert_true(has_field(&a, "x-tulle-origin: "));
    forget(&a);
    close_world();
}

static void test_rbac_names_the_allows_that_did_not(void **state)
{
    struct asked a;
    open_world(1);
    rbac = (struct rbac){.action = RBAC_ALLOW, .origins = STR("AuthorizationPolicy/shop/some")};
    info.is_mtls = true;
    one(&a);
    assert_int_equal(a.status, 403);
    assert_true(has_field(&a, "x-tulle-origin: AuthorizationPolicy/shop/some\n"));
    forget(&a);
    close_world();
}

/* --- pure parts --- */

static void test_chains_are_checked(void **state)
{
    static const struct http_filter only_rbac[] = {{.kind = HTTP_FILTER_RBAC, .rbac = &rbac}};
    static const struct http_filter wrong[] = {{.kind = HTTP_FILTER_ROUTER},
                                               {.kind = HTTP_FILTER_RBAC, .rbac = &rbac}};
    static const struct http_filter right[] = {{.kind = HTTP_FILTER_RBAC, .rbac = &rbac},
                                               {.kind = HTTP_FILTER_ROUTER}};
    struct filter built[FILTERS_MAX];
    struct str_buf why = STR_BUF_INIT(256);
    uint32_t count = 0;
    assert_true(filters_build(only_rbac, 1, &why, built, &count) < 0);
    assert_true(filters_build(wrong, 2, &why, built, &count) < 0);
    assert_true(filters_build(wrong, 0, &why, built, &count) < 0);
    assert_int_equal(filters_build(right, 2, &why, built, &count), 0);
    assert_int_equal(count, 2);
    str_buf_deinit(&why);
}

static void test_backoff_is_bounded(void **state)
{
    struct random random;
    random_init(&random, 1);
    for (uint32_t n = 1; n < 40; n++) {
        struct retry_policy p = {.backoff_base_us = 25000};
        for (unsigned i = 0; i < 50; i++)
            assert_true(retry_backoff_us(&p, n, &random) <= 250000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_passes),
        cmocka_unit_test(test_retry_goes_elsewhere),
        cmocka_unit_test(test_retries_end),
        cmocka_unit_test(test_no_policy_no_retry),
        cmocka_unit_test(test_connect_failures_are_hidden),
        cmocka_unit_test(test_body_is_replayed_as_long_as_it_is_kept),
        cmocka_unit_test(test_keep_alive_race),
        cmocka_unit_test(test_a_note_of_the_peer_needs_tls),
        cmocka_unit_test(test_retry_budget),
        cmocka_unit_test(test_cancel_in_every_state),
        cmocka_unit_test(test_cancel_harms_nobody),
        cmocka_unit_test(test_route_timeout),
        cmocka_unit_test(test_timeout_during_backoff),
        cmocka_unit_test(test_per_try_timeout),
        cmocka_unit_test(test_a_long_upload_is_not_cut_off),
        cmocka_unit_test(test_answers_without_an_upstream),
        cmocka_unit_test(test_no_healthy_host),
        cmocka_unit_test(test_removed_before_its_names_are_known),
        cmocka_unit_test(test_edits),
        cmocka_unit_test(test_version_note_for_our_own),
        cmocka_unit_test(test_rbac_tells_mesh_peers),
        cmocka_unit_test(test_rbac_tells_strangers_an_id_only),
        cmocka_unit_test(test_rbac_names_the_allows_that_did_not),
        cmocka_unit_test(test_chains_are_checked),
        cmocka_unit_test(test_backoff_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
