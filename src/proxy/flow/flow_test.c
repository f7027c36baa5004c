/* From accepted connections to streams, on the simulated backend: raw clients, origins, listeners
 * built by hand. */
#include "proxy/flow/flow_test_util.h"

static struct ip_addr ip_of(const char *text)
{
    struct addr a = addr_of(text, 0);
    return ip_from_bytes(a.ip, 4);
}

static void set_directory(bool is_registry_only)
{
    static const struct directory_port ports[] = {{8080, PROTOCOL_HTTP}};
    static const uint16_t clear_ports[] = {9100};
    struct resource *r = resource_new(RESOURCE_DIRECTORY, STR("shop"));
    struct directory *d = ARENA_NEW(&r->arena, struct directory);
    struct directory_service *s = ARENA_NEW(&r->arena, struct directory_service);
    struct directory_workload *w = ARENA_NEW(&r->arena, struct directory_workload);
    struct cidr *range = ARENA_NEW(&r->arena, struct cidr);
    *s = (struct directory_service){.host = STR("catalog"),
                                    .addresses = {ip_of("240.240.0.1")},
                                    .ports = ports,
                                    .port_count = 1};
    /* It says that the service's address is its own, too, which changes nothing. */
    *w = (struct directory_workload){.addresses = {ip_of("10.9.9.9"), ip_of("240.240.0.1")},
                                     .identity = STR("spiffe://mesh.local/ns/a/sa/b"),
                                     .is_mtls = true,
                                     .clear_ports = clear_ports,
                                     .clear_port_count = 1};
    assert_true(cidr_parse(STR("240.240.0.0/16"), range, NULL));
    *d = (struct directory){.namespace_ = STR("shop"),
                            .address_ranges = range,
                            .address_range_count = 1,
                            .is_registry_only = is_registry_only,
                            .services = s,
                            .service_count = 1,
                            .workloads = w,
                            .workload_count = 1};
    set_directory_of(r, d);
}

static const struct spec in_detects = {.name = "in",
                                       .ip = "10.1.0.1",
                                       .port = 8080,
                                       .cluster = "c",
                                       .has_http_inspector = true,
                                       .has_both = true};

/* --- HTTP --- */

static void test_http_with_log_and_ids(void **state)
{
    char path[] = "/tmp/tulle-flow-XXXXXX", line[1024] = {0};
    int fd = mkstemp(path);
    struct spec s = in_http;
    struct client k;
    s.log_path = path;
    open_world();
    set_listener(&s);
    client_open(&k, "10.1.0.1", 8080);
    client_say(&k, "GET /a/../x HTTP/1.1\r\nHost: catalog\r\nX-Tulle-Version: 1.0\r\n"
                   "X-Forwarded-Client-Cert: URI=spiffe://evil\r\n"
                   "X-Envoy-Attempt-Count: 9\r\n\r\n");
    rig_run(SECOND);
    assert_true(client_got(&k, "HTTP/1.1 200 "));
    assert_true(app_saw("GET /x HTTP/1.1\r\n"));
    assert_true(app_saw("x-request-id: ") && app_saw("traceparent: 00-"));
    assert_false(app_saw("x-tulle-version") || app_saw("spiffe://evil") ||
                 app_saw("attempt-count"));
    client_say(&k,
               "GET /x HTTP/1.1\r\nHost: catalog\r\nX-Request-Id: mine\r\nX-B3-TraceId: 7\r\n\r\n");
    rig_run(SECOND);
    assert_true(app_saw("x-request-id: mine\r\n") && app_saw("x-b3-traceid: 7\r\n"));
    assert_false(app_saw("traceparent"));
    assert_true(read(fd, line, sizeof line - 1) > 0);
    assert_non_null(strstr(line, "\"GET /x HTTP/1.1\" 200 - via_upstream"));
    client_forget(&k);
    close_world();
    close(fd);
    unlink(path);
}

/* Requests whose destination_service and destination_service_name are such. */
static unsigned counted_for(const char *service, const char *name)
{
    struct str_buf text = STR_BUF_INIT(1024 * 1024);
    char want[128], *at;
    unsigned count = 0;
    metrics_render(rig.metrics, &text);
    snprintf(want, sizeof want, "destination_service=\"%s\",destination_service_name=\"%s\",",
             service, name);
    for (char *line = strtok(text.ptr, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        if (strncmp(line, "istio_requests_total{", 21) == 0 && strstr(line, want) != NULL &&
            (at = strrchr(line, ' ')) != NULL)
            count += (unsigned)atoi(at);
    }
    str_buf_deinit(&text);
    return count;
}

/* Which service a host is, is remembered; the directory's word holds from the next request on. */
static void test_service_labels_follow_the_directory(void **state)
{
    static const char get[] = "GET /x HTTP/1.1\r\nHost: %s:8080\r\n\r\n";
    static const char *const hosts[] = {"catalog.shop.svc", "catalog.shop.cvs"};
    char text[128];
    struct client k;
    open_world();
    set_listener(&in_http);
    client_open(&k, "10.1.0.1", 8080);
    for (unsigned i = 0; i < 4; i++) {
        snprintf(text, sizeof text, get, hosts[i / 3]);
        client_say(&k, text);
        rig_run(SECOND);
    }
    assert_int_equal(counted_for(hosts[0], hosts[0]), 3);
    assert_int_equal(counted_for(hosts[1], hosts[1]), 1);
    struct resource *r = resource_new(RESOURCE_DIRECTORY, STR("shop"));
    struct directory *d = ARENA_NEW(&r->arena, struct directory);
    struct directory_service *service = ARENA_NEW(&r->arena, struct directory_service);
    service->host = str_from_c(hosts[0]);
    *d = (struct directory){.namespace_ = STR("shop"), .services = service, .service_count = 1};
    set_directory_of(r, d);
    snprintf(text, sizeof text, get, hosts[0]);
    client_say(&k, text);
    rig_run(SECOND);
    assert_int_equal(counted_for(hosts[0], hosts[0]), 3);
    assert_int_equal(counted_for(hosts[0], "catalog"), 1);
    client_forget(&k);
    close_world();
}

/* What holds now judges: also on connections that were there before. */
static void test_policy_change_on_live_connections(void **state)
{
    struct spec denied = in_http;
    struct client idle, busy;
    open_world();
    set_listener(&in_http);
    client_open(&idle, "10.1.0.1", 8080);
    client_say(&idle, GET);
    rig_run(SECOND);
    assert_true(client_got(&idle, "200"));
    rig.origins[0].mode = ORIGIN_HANGS;
    client_open(&busy, "10.1.0.1", 8080);
    client_say(&busy, GET);
    rig_run(SECOND);
    denied.rbac = &denies;
    set_listener(&denied);
    rig_run(SECOND);
    assert_true(client_got(&busy, "HTTP/1.1 403 "));
    client_say(&idle, GET);
    rig_run(SECOND);
    assert_true(client_got(&idle, "HTTP/1.1 403 "));
    client_forget(&idle);
    client_forget(&busy);
    close_world();
}

static void test_listener_replaced_and_removed(void **state)
{
    struct spec moved = in_http;
    struct client a, b, c;
    open_world();
    set_listener(&in_http);
    client_open(&a, "10.1.0.1", 8080);
    client_say(&a, GET);
    rig_run(SECOND);
    for (unsigned i = 0; i < 100; i++)
        set_listener(&in_http);
    client_say(&a, GET);
    rig_run(SECOND);
    assert_int_equal(rig.origins[0].requests, 2);
    assert_false(a.is_closed);
    moved.port = 9090;
    set_listener(&moved);
    client_open(&b, "10.1.0.1", 8080);
    client_open(&c, "10.1.0.1", 9090);
    client_say(&c, GET);
    rig_run(SECOND);
    assert_true(b.is_closed && b.err == -ERR_REFUSED);
    assert_true(client_got(&c, "200"));
    remove_listener("in");
    rig_run(SECOND);
    assert_true(a.is_closed && c.is_closed); /* inbound: nothing holds any more */
    client_forget(&a);
    client_forget(&b);
    client_forget(&c);
    close_world();
}

static void test_bad_listener_changes_nothing(void **state)
{
    struct spec bad = in_http;
    struct str_buf why = STR_BUF_INIT(256);
    struct client k;
    open_world();
    set_listener(&in_http);
    bad.name = "other";
    assert_true(try_listener(&bad, &why) < 0); /* the same port */
    assert_true(why.len > 0);
    bad = in_http;
    bad.log_path = NULL;
    client_open(&k, "10.1.0.1", 8080);
    client_say(&k, GET);
    rig_run(SECOND);
    assert_true(client_got(&k, "200"));
    client_forget(&k);
    str_buf_deinit(&why);
    close_world();
}

/* HTTP without a filter that answers is refused. */
static void test_no_filter(void **state)
{
    static const struct http_filter router = {.kind = HTTP_FILTER_ROUTER};
    static const struct hcm no_filter = {.filters = &router, .filter_count = 0};
    struct network_filter n = {.kind = NETWORK_FILTER_HCM, .hcm = &no_filter};
    struct filter_chain chain = {.filters = &n, .filter_count = 1};
    struct listener l = {.chains = &chain, .chain_count = 1};
    struct resource *r = resource_new(RESOURCE_LISTENER, STR("l"));
    struct str_buf why = STR_BUF_INIT(256);
    open_world();
    r->listener = &l;
    assert_true(flow_set_listener(flow, r->name, r, &why) < 0);
    assert_true(why.len > 0);
    assert_null(listener_find(flow, STR("l")));
    str_buf_deinit(&why);
    resource_unref(r);
    close_world();
}

static void test_drain(void **state)
{
    struct client busy, later;
    open_world();
    set_listener(&in_http);
    rig.origins[0].mode = ORIGIN_HANGS;
    client_open(&busy, "10.1.0.1", 8080);
    client_say(&busy, GET);
    rig_run(SECOND);
    flow_drain(flow, false);
    client_open(&later, "10.1.0.1", 8080);
    rig_run(SECOND);
    assert_true(later.is_closed);
    assert_false(busy.is_closed);
    assert_int_equal(flow_active(flow), 1);
    client_forget(&busy);
    client_forget(&later);
    assert_int_equal(flow_active(flow), 0);
    close_world();
}

/* --- detection --- */

static void test_detection(void **state)
{
    struct client k;
    open_world();
    set_listener(&in_detects);
    client_open(&k, "10.1.0.1", 8080);
    client_say(&k, "G");
    rig_run(300 * MS); /* longer than the first wait: it has begun to speak */
    client_say(&k, "ET /x HTTP/1.1\r\nHost: catalog\r\n\r\n");
    rig_run(SECOND);
    assert_true(app_saw("x-request-id: ")); /* served as HTTP */
    client_forget(&k);
    close_world();
}

static void test_silent_client_is_tcp(void **state)
{
    struct client k;
    open_world();
    app_open();
    set_listener(&in_detects);
    client_open(&k, "10.1.0.1", 8080);
    rig_run(80 * MS);
    assert_null(app.conn);
    rig_run(50 * MS);
    assert_non_null(app.conn); /* server-first protocols do not hang */
    assert_int_equal(metrics_get(rig.metrics, COUNTER_DETECT_TIMEOUTS), 1);
    chain_add(&app.conn->out, STR("220 hello"));
    conn_mark_dirty(app.conn);
    rig_run(50 * MS);
    assert_true(client_got(&k, "220 hello"));
    client_forget(&k);
    client_open(&k, "10.1.0.1", 8080);
    client_say(&k, "*1\r\n$4\r\nPING\r\n");
    rig_run(20 * MS);
    assert_true(str_contains(str_buf_str(&app.got), STR("PING")));
    client_forget(&k);
    str_buf_deinit(&app.got);
    close_world();
}

/* --- captured connections --- */

static const struct spec capture = {.name = FLOW_LISTENER_OUTBOUND,
                                    .ip = "127.0.0.1",
                                    .port = 15001,
                                    .is_capture = true,
                                    .is_outbound = true,
                                    .is_tcp = true,
                                    .cluster = "none"};
static const struct spec detail = {.name = "catalog:8080",
                                   .ip = "240.240.0.1",
                                   .port = 8080,
                                   .is_unbound = true,
                                   .is_outbound = true,
                                   .cluster = "c"};
static const struct spec passthrough = {.name = FLOW_LISTENER_PASSTHROUGH,
                                        .ip = "0.0.0.0",
                                        .port = 1,
                                        .is_unbound = true,
                                        .is_outbound = true,
                                        .is_tcp = true,
                                        .cluster = "world"};

static void open_captured(void)
{
    struct addr at = addr_of("127.0.0.1", 15001);
    struct cluster world = cluster_defaults();
    open_world();
    world.kind = CLUSTER_ORIGINAL_DST;
    set_cluster("world", &world);
    set_listener(&capture);
    set_listener(&passthrough);
    sim_world_capture(rig.sim, &at);
}

static void test_parked_until_the_detail_comes(void **state)
{
    struct client a, b, gone;
    open_captured();
    set_directory(false);
    client_open(&a, "240.240.0.1", 8080);
    client_open(&b, "240.240.0.1", 8080);
    client_open(&gone, "240.240.0.1", 8080);
    client_say(&a, GET);
    rig_run(SECOND);
    assert_true(str_eq(str_buf_str(&wanted), STR("catalog:8080\n"))); /* once */
    assert_int_equal(flow->parked_count, 3);
    client_forget(&gone);
    assert_int_equal(flow->parked_count, 2);
    set_listener(&detail);
    client_say(&b, GET);
    rig_run(SECOND);
    assert_true(client_got(&a, "200") && client_got(&b, "200"));
    assert_int_equal(flow->parked_count, 0);
    client_forget(&a);
    client_forget(&b);
    close_world();
}

static void test_detail_that_does_not_come(void **state)
{
    struct client a, b;
    open_captured();
    set_directory(false);
    client_open(&a, "240.240.0.1", 8080);
    rig_run(SECOND);
    flow_detail_failed(flow, STR("catalog:8080"), STR("no_control_plane"));
    rig_run(SECOND);
    assert_true(a.is_closed);
    client_open(&b, "240.240.0.1", 8080);
    rig_run(SECOND);
    assert_true(str_eq(str_buf_str(&wanted), STR("catalog:8080\ncatalog:8080\n")));
    assert_int_equal(rig.origins[0].conns, 0);
    client_forget(&a);
    client_forget(&b);
    close_world();
}

static void test_parking_is_bounded(void **state)
{
    struct client k[4];
    open_captured();
    set_directory(false);
    rig.limits.parked_connections_max = 3;
    for (unsigned i = 0; i < 4; i++) {
        client_open(&k[i], "240.240.0.1", 8080);
        rig_run(10 * MS);
    }
    assert_true(k[3].is_closed && !k[2].is_closed);
    for (unsigned i = 0; i < 4; i++)
        client_forget(&k[i]);
    close_world();
}

static void test_destinations(void **state)
{
    static const struct {
        const char *ip;
        uint16_t port;
        bool is_registry_only, has_directory, is_let_past;
    } cases[] = {
        {"10.0.0.1", 80, false, true, true},     /* the world */
        {"10.0.0.1", 80, true, true, false},     /* only the registry */
        {"10.0.0.1", 80, false, false, false},   /* nothing is known yet */
        {"240.240.7.7", 80, false, true, false}, /* of the mesh, nobody's */
        {"240.240.0.1", 81, false, true, false}, /* no such port */
        {"10.9.9.9", 80, false, true, false},    /* a replica: by mTLS or not at all */
        {"10.9.9.9", 9100, true, true, true},    /* unless its sidecar is not in the way there */
    };
    struct addr beside = addr_of("10.9.9.9", 9100);
    struct listen_socket *socket;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct client k;
        open_captured();
        app_open();
        (void)listen_open(rig.turn, &beside, NULL, app_accept, NULL, &socket);
        if (cases[i].has_directory)
            set_directory(cases[i].is_registry_only);
        client_open(&k, cases[i].ip, cases[i].port);
        client_say(&k, "hello");
        rig_run(SECOND);
        assert_true(k.is_closed != cases[i].is_let_past && (app.conn == NULL) == k.is_closed);
        assert_int_equal(metrics_get(rig.metrics, COUNTER_UNKNOWN_REFUSED), !cases[i].is_let_past);
        client_forget(&k);
        listen_close(socket);
        str_buf_deinit(&app.got);
        close_world();
    }
}

static void test_the_capture_port_itself(void **state)
{
    struct client k;
    open_captured();
    set_directory(false);
    client_open(&k, "127.0.0.1", 15001);
    rig_run(SECOND);
    assert_true(k.is_closed);
    client_forget(&k);
    close_world();
}

/* A mesh name whose listener goes: its connection ends with its requests. */
static void test_outbound_name_goes(void **state)
{
    struct client k;
    open_captured();
    set_directory(false);
    set_listener(&detail);
    client_open(&k, "240.240.0.1", 8080);
    client_say(&k, GET);
    rig_run(SECOND);
    assert_true(client_got(&k, "200"));
    remove_listener("catalog:8080");
    rig_run(SECOND);
    assert_true(k.got_end);
    client_forget(&k);
    close_world();
}

static void test_abort_with_everything_under_way(void **state)
{
    for (unsigned at = 0; at < 40; at++) {
        struct client k[4];
        struct spec tcp = in_tcp;
        open_captured();
        set_directory(false);
        tcp.name = "tcp";
        set_listener(&tcp);
        set_listener(&detail);
        client_open(&k[0], "240.240.0.1", 8080);
        client_open(&k[1], "10.0.0.1", 80);
        client_open(&k[2], "240.240.0.1", 9999);
        client_open(&k[3], "8.8.8.8", 53);
        client_say(&k[0], GET GET);
        client_say(&k[1], GET);
        rig_run(at * 70);
        flow_abort(flow);
        rig_run(SECOND);
        for (unsigned i = 0; i < 4; i++)
            client_forget(&k[i]);
        close_world();
    }
}

/* --- headers --- */

struct header_case {
    enum hcm_xfcc xfcc;
    bool is_mtls;
    const char *given, *want; /* NULL: none */
};

static void test_xfcc(void **state)
{
    static const char own[] = "By=spiffe://mesh.local/ns/shop/sa/catalog;Hash=abc;URI=spiffe://web";
    static const char both[] =
        "URI=x,By=spiffe://mesh.local/ns/shop/sa/catalog;Hash=abc;URI=spiffe://web";
    static const struct header_case cases[] = {
        {XFCC_SANITIZE, true, "URI=x", NULL},
        {XFCC_SANITIZE, false, "URI=x", NULL},
        {XFCC_SANITIZE_SET, true, "URI=x", own},
        {XFCC_SANITIZE_SET, true, NULL, own},
        {XFCC_SANITIZE_SET, false, "URI=x", NULL},
        {XFCC_APPEND_FORWARD, true, "URI=x", both},
        {XFCC_APPEND_FORWARD, false, "URI=x", NULL},
        {XFCC_FORWARD_ONLY, true, "URI=x", "URI=x"},
        {XFCC_FORWARD_ONLY, false, "URI=x", NULL},
        {XFCC_ALWAYS_FORWARD_ONLY, false, "URI=x", "URI=x"},
    };
    open_world();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct hcm hcm = {.xfcc = cases[i].xfcc, .xfcc_uri = true};
        struct downstream_tls_info tls = {STR("spiffe://web"), .peer_cert_sha256 = STR("abc")};
        struct exchange x = {.turn = rig.turn};
        struct request r = {.x = &x, .hcm = &hcm};
        struct flow_conn fc = {.flow = flow};
        struct http_head head;
        arena_init(&x.arena, 512);
        arena_init(&fc.arena, 512);
        http_head_init(&head, &x.arena, true);
        if (cases[i].given != NULL)
            http_head_add(&head, HTTP_NAME_X_FORWARDED_CLIENT_CERT, str_from_c(cases[i].given));
        fc.info.is_mtls = cases[i].is_mtls;
        fc.info.tls = &tls;
        headers_request(&fc, &r, &head);
        struct str got = http_head_get(&head, HTTP_NAME_X_FORWARDED_CLIENT_CERT);
        assert_true(str_eq(got, str_from_c(cases[i].want)));
        arena_deinit(&fc.arena);
        arena_deinit(&x.arena);
    }
    close_world();
}

static void test_version_is_restored_for_peers_only(void **state)
{
    static const struct {
        const char *note;
        bool is_mtls;
        enum http_version want;
    } cases[] = {
        {"1.1", true, HTTP_11}, {"1.0", true, HTTP_10}, {"9", true, HTTP_2},
        {NULL, true, HTTP_2},   {"1.1", false, HTTP_2},
    };
    open_world();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct hcm hcm = {0};
        struct exchange x = {.turn = rig.turn};
        struct request r = {.x = &x, .hcm = &hcm};
        struct flow_conn fc = {.flow = flow};
        struct http_head head;
        arena_init(&x.arena, 512);
        arena_init(&fc.arena, 512);
        http_head_init(&head, &x.arena, true);
        head.version = HTTP_2;
        if (cases[i].note != NULL)
            http_head_add(&head, HTTP_NAME_X_TULLE_VERSION, str_from_c(cases[i].note));
        fc.info.is_mtls = cases[i].is_mtls;
        headers_request(&fc, &r, &head);
        assert_int_equal(r.version, cases[i].want);
        assert_null(http_head_get(&head, HTTP_NAME_X_TULLE_VERSION).ptr);
        arena_deinit(&fc.arena);
        arena_deinit(&x.arena);
    }
    close_world();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http_with_log_and_ids),
        cmocka_unit_test(test_service_labels_follow_the_directory),
        cmocka_unit_test(test_policy_change_on_live_connections),
        cmocka_unit_test(test_listener_replaced_and_removed),
        cmocka_unit_test(test_bad_listener_changes_nothing),
        cmocka_unit_test(test_no_filter),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_detection),
        cmocka_unit_test(test_silent_client_is_tcp),
        cmocka_unit_test(test_parked_until_the_detail_comes),
        cmocka_unit_test(test_detail_that_does_not_come),
        cmocka_unit_test(test_parking_is_bounded),
        cmocka_unit_test(test_destinations),
        cmocka_unit_test(test_the_capture_port_itself),
        cmocka_unit_test(test_outbound_name_goes),
        cmocka_unit_test(test_abort_with_everything_under_way),
        cmocka_unit_test(test_xfcc),
        cmocka_unit_test(test_version_is_restored_for_peers_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
