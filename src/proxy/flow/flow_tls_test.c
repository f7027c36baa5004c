/* Mutual TLS end to end on the simulated backend: one process is both proxies.
 *
 *   client --plain--> listener "out" --cluster "mesh": TLS, HTTP/2--> listener "in" --> app */
#include "crypto/test_ids.h"
#include "proxy/flow/flow_test_util.h"

#define ID "spiffe://mesh.local/ns/shop/sa/catalog"

static struct test_id ca;

static const struct str alpns[] = {{"tulle-h2", 8}};
static const struct downstream_tls server_tls = {
    .common = {.certificate = {.sds_name = {"default", 7}},
               .validation = {.sds_name = {"ROOTCA", 6}},
               .alpn = alpns,
               .alpn_count = 1},
    .require_client_certificate = true,
};
static const struct upstream_tls client_tls = {
    .common = {.certificate = {.sds_name = {"default", 7}},
               .validation = {.sds_name = {"ROOTCA", 6}},
               .alpn = alpns,
               .alpn_count = 1},
    .sni = {"outbound_.80_._.catalog", 23},
};

/* --- secrets --- */

static void set_secret(const char *name, const struct secret *model)
{
    struct resource *r = resource_new(RESOURCE_SECRET, str_from_c(name));
    struct secret *s = ARENA_NEW(&r->arena, struct secret);
    *s = *model;
    s->chain_pem = arena_str(&r->arena, model->chain_pem);
    s->key_pem = arena_str(&r->arena, model->key_pem);
    s->roots_pem = arena_str(&r->arena, model->roots_pem);
    r->secret = s;
    tls_store_set_secret(rig.tls, r->name, r);
    resource_unref(r);
}

static void set_leaf(const char *spiffe_id)
{
    struct test_id leaf = test_leaf(&ca, spiffe_id);
    struct str_buf chain = STR_BUF_INIT(16 * 1024), key = STR_BUF_INIT(16 * 1024);
    cert_to_pem(leaf.cert, &chain);
    key_to_pem(leaf.key, &key);
    set_secret("default", &(struct secret){.kind = SECRET_CERTIFICATE,
                                           .chain_pem = str_buf_str(&chain),
                                           .key_pem = str_buf_str(&key)});
    str_buf_deinit(&chain);
    str_buf_deinit(&key);
    test_id_free(&leaf);
}

static void set_roots(const struct tls_san_matcher *sans, size_t san_count)
{
    struct str_buf roots = STR_BUF_INIT(16 * 1024);
    cert_to_pem(ca.cert, &roots);
    set_secret("ROOTCA", &(struct secret){.kind = SECRET_VALIDATION,
                                          .roots_pem = str_buf_str(&roots),
                                          .sans = sans,
                                          .san_count = san_count});
    str_buf_deinit(&roots);
}

/* --- the world --- */

static struct cluster mesh_model(void)
{
    struct cluster model = cluster_defaults();
    model.protocol = UPSTREAM_HTTP2;
    model.tls = &client_tls;
    return model;
}

static void set_mesh(const char *identity)
{
    struct addr at = addr_of("10.1.0.1", 8080);
    struct endpoint e = {
        .address = to_model(&at), .weight = 1, .identity = str_from_c(identity), .is_tulle = true};
    struct cluster model = mesh_model();
    set_endpoints("mesh", &e, 1);
    set_cluster("mesh", &model);
}

static void set_in(const struct rbac *rbac)
{
    set_listener(&(struct spec){.name = "in",
                                .ip = "10.1.0.1",
                                .port = 8080,
                                .cluster = "c",
                                .rbac = rbac,
                                .tls = &server_tls});
}

static void open_mesh(void)
{
    open_world();
    ca = test_ca("mesh.local");
    set_leaf(ID);
    set_roots(NULL, 0);
    set_in(NULL);
    set_listener(&(struct spec){
        .name = "out", .ip = "10.2.0.1", .port = 80, .cluster = "mesh", .is_outbound = true});
    set_mesh(ID);
}

static void close_mesh(void)
{
    close_world();
    test_id_free(&ca);
}

/* One request on a connection of its own. */
static void ask(struct client *k)
{
    client_open(k, "10.2.0.1", 80);
    client_say(k, GET);
    rig_run(3 * SECOND);
}

static void expect(const char *status)
{
    struct client k;
    ask(&k);
    assert_true(client_got(&k, status));
    client_forget(&k);
}

/* --- tests --- */

static void test_mutual_tls(void **state)
{
    open_mesh();
    expect("HTTP/1.1 200 ");
    assert_true(app_saw("GET /x HTTP/1.1\r\n")); /* the caller's version, restored */
    assert_true(app_saw("x-forwarded-client-cert: By=" ID ";Hash="));
    assert_false(app_saw("x-tulle-version"));
    struct client k;
    static const struct rbac_policy nobody[] = {
        {.name = {"AuthorizationPolicy/shop/deny", 29},
         .permission = {.kind = RBAC_ANY},
         .principal = {.kind = RBAC_PRINCIPAL,
                       .string = {.kind = STRING_MATCH_EXACT, .value = {ID, sizeof ID - 1}}}}};
    static const struct rbac denies_id = {
        .action = RBAC_DENY, .policies = nobody, .policy_count = 1};
    set_in(&denies_id);
    ask(&k);
    assert_true(client_got(&k, "HTTP/1.1 403 "));
    assert_true(client_got(&k, "x-tulle-origin: AuthorizationPolicy/shop/deny\r\n"));
    client_forget(&k);
    close_mesh();
}

/* An app that ends takes connections and closes them: the caller's proxy may ask elsewhere, but
 * only what may be done twice. */
static void test_a_lost_request_is_tried_elsewhere(void **state)
{
    static const struct retry_policy retries = {.on = RETRY_CONNECT_FAILURE, .retries_max = 2};
    struct client k;
    unsigned budget = 0;
    open_mesh();
    set_listener(&(struct spec){.name = "out",
                                .ip = "10.2.0.1",
                                .port = 80,
                                .cluster = "mesh",
                                .is_outbound = true,
                                .retry = &retries});
    rig.origins[0].mode = ORIGIN_RESETS;
    expect("HTTP/1.1 503 ");
    assert_int_equal(rig.origins[0].requests, 3);
    /* The app had it, so that it counts against the budget, which others use up. */
    struct upstream_cluster *mesh = upstream_find(rig.upstream, STR("mesh"));
    while (upstream_retry_begin(rig.upstream, mesh))
        budget++;
    expect("HTTP/1.1 503 ");
    assert_int_equal(rig.origins[0].requests, 4);
    client_open(&k, "10.2.0.1", 80);
    client_say(&k, "POST /x HTTP/1.1\r\nHost: catalog\r\nContent-Length: 0\r\n\r\n");
    rig_run(3 * SECOND);
    assert_true(client_got(&k, "HTTP/1.1 503 "));
    assert_false(client_got(&k, "x-tulle-unreached"));
    client_forget(&k);
    assert_int_equal(rig.origins[0].requests, 5);
    /* What never reached an app does not. */
    sim_world_refuse(rig.sim, &rig.origins[0].addr, false);
    int64_t failures = metrics_get(rig.metrics, COUNTER_UPSTREAM_CONNECT_FAILURES);
    expect("HTTP/1.1 503 ");
    assert_int_equal(metrics_get(rig.metrics, COUNTER_UPSTREAM_CONNECT_FAILURES), failures + 3);
    for (; budget > 0; budget--)
        upstream_retry_end(rig.upstream, mesh);
    close_mesh();
}

static void test_wrong_identity_is_refused(void **state)
{
    open_mesh();
    set_mesh("spiffe://mesh.local/ns/shop/sa/other");
    expect("HTTP/1.1 503 ");
    assert_int_equal(rig.origins[0].requests, 0);
    assert_true(metrics_get(rig.metrics, COUNTER_UPSTREAM_TLS_FAILURES) > 0);
    close_mesh();
}

/* Names that come with the roots hold as well as those of the cluster. */
static void test_names_of_the_validation_secret(void **state)
{
    static const struct tls_san_matcher other = {
        TLS_SAN_TYPE_URI, {STRING_MATCH_EXACT, false, {"spiffe://mesh.local/ns/a/sa/b", 29}}};
    static const struct tls_san_matcher own = {
        TLS_SAN_TYPE_URI, {STRING_MATCH_PREFIX, false, {"spiffe://mesh.", 14}}};
    open_mesh();
    set_mesh("");
    expect("HTTP/1.1 200 ");
    set_roots(&other, 1);
    upstream_identity_changed(rig.upstream);
    expect("HTTP/1.1 503 ");
    assert_int_equal(rig.origins[0].requests, 1);
    set_roots(&own, 1);
    upstream_identity_changed(rig.upstream);
    expect("HTTP/1.1 200 ");
    close_mesh();
}

static void test_without_secrets_nobody_comes_or_goes(void **state)
{
    struct client k;
    open_mesh();
    tls_store_set_secret(rig.tls, STR("default"), NULL);
    expect("HTTP/1.1 503 ");
    client_open(&k, "10.1.0.1", 8080);
    rig_run(SECOND);
    assert_true(is_gone(&k));
    client_forget(&k);
    set_leaf(ID);
    tls_store_set_secret(rig.tls, STR("ROOTCA"), NULL);
    expect("HTTP/1.1 503 ");
    set_leaf(ID);
    /* A certificate where roots are expected is no root. */
    struct resource *leaf = tls_store_secret(rig.tls, STR("default"));
    tls_store_set_secret(rig.tls, STR("ROOTCA"), leaf);
    expect("HTTP/1.1 503 ");
    assert_int_equal(rig.origins[0].requests, 0);
    set_roots(NULL, 0);
    expect("HTTP/1.1 200 ");
    close_mesh();
}

static void test_plain_text_is_refused(void **state)
{
    struct client k;
    open_mesh();
    client_open(&k, "10.1.0.1", 8080);
    client_say(&k, GET);
    rig_run(SECOND);
    assert_true(is_gone(&k));
    assert_int_equal(rig.origins[0].requests, 0);
    assert_int_equal(metrics_get(rig.metrics, COUNTER_DOWNSTREAM_TLS_FAILURES), 1);
    client_forget(&k);
    /* Nor does one wait for ever who says nothing. */
    client_open(&k, "10.1.0.1", 8080);
    rig_run(20ull * SECOND);
    assert_true(is_gone(&k));
    client_forget(&k);
    close_mesh();
}

/* Who came without a certificate goes when one is required. */
static void test_certificate_becomes_required(void **state)
{
    static const struct upstream_tls bare = {
        .common = {.validation = {.sds_name = {"ROOTCA", 6}}, .alpn = alpns, .alpn_count = 1}};
    struct downstream_tls optional = server_tls;
    struct client k;
    open_mesh();
    optional.require_client_certificate = false;
    set_listener(&(struct spec){
        .name = "in", .ip = "10.1.0.1", .port = 8080, .cluster = "c", .tls = &optional});
    struct cluster model = mesh_model();
    model.tls = &bare;
    set_cluster("mesh", &model);
    client_open(&k, "10.2.0.1", 80);
    client_say(&k, GET);
    rig_run(SECOND);
    assert_true(client_got(&k, "HTTP/1.1 200 "));
    assert_false(app_saw("x-forwarded-client-cert"));
    set_in(NULL);
    client_say(&k, GET);
    rig_run(SECOND);
    assert_true(client_got(&k, "HTTP/1.1 503 "));
    assert_int_equal(rig.origins[0].requests, 1);
    client_forget(&k);
    close_mesh();
}

/* A policy, or the listener's end, that comes while a client is shaking hands holds for it. */
static void test_change_during_the_handshake(void **state)
{
    struct spec in = {.name = "in",
                      .ip = "10.1.0.1",
                      .port = 8080,
                      .cluster = "c",
                      .is_tcp = true,
                      .tls = &server_tls};
    struct spec out = {.name = "out",
                       .ip = "10.2.0.1",
                       .port = 80,
                       .cluster = "mesh",
                       .is_tcp = true,
                       .is_outbound = true};
    for (unsigned at = 0; at < 40; at++) {
        struct client k;
        open_mesh();
        in.tcp_rbac = NULL;
        set_listener(&in);
        set_listener(&out);
        client_open(&k, "10.2.0.1", 80);
        client_say(&k, GET);
        rig_run(at / 2 * 100);
        in.tcp_rbac = &denies;
        if (at % 2 == 0)
            set_listener(&in);
        else
            remove_listener("in");
        rig_run(3 * SECOND);
        assert_true(is_gone(&k));
        client_forget(&k);
        close_mesh();
    }
}

static unsigned links_of_mesh(void)
{
    struct upstream_cluster *c = upstream_find(rig.upstream, STR("mesh"));
    unsigned count = 0;
    LIST_FOREACH (&c->hosts.ptr[0]->links, l, struct upstream_link, link) {
        count++;
    }
    return count;
}

/* A renewal ends no stream: the old connection takes no new ones and closes with its last. */
static void test_rotation(void **state)
{
    struct client stuck;
    open_mesh();
    expect("HTTP/1.1 200 ");
    assert_int_equal(links_of_mesh(), 1);
    rig.origins[0].mode = ORIGIN_HANGS;
    ask(&stuck);
    rig.origins[0].mode = ORIGIN_ANSWERS;
    for (unsigned i = 0; i < 3; i++) {
        set_leaf(ID);
        upstream_identity_changed(rig.upstream);
        expect("HTTP/1.1 200 ");
        assert_false(stuck.is_closed);
        assert_int_equal(links_of_mesh(), 2);
    }
    client_forget(&stuck);
    assert_int_equal(links_of_mesh(), 1);
    close_mesh();
}

/* Secrets that change with every turn, connections in every state. */
static void test_rotation_at_any_time(void **state)
{
    for (unsigned at = 0; at < 20; at++) {
        struct client k[3];
        open_mesh();
        for (unsigned i = 0; i < 3; i++) {
            client_open(&k[i], "10.2.0.1", 80);
            client_say(&k[i], GET);
        }
        rig_run(at * 100);
        set_leaf(ID);
        set_roots(NULL, 0);
        upstream_identity_changed(rig.upstream);
        rig_run(3 * SECOND);
        for (unsigned i = 0; i < 3; i++) {
            assert_true(client_got(&k[i], "HTTP/1.1 200 "));
            client_forget(&k[i]);
        }
        close_mesh();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mutual_tls),
        cmocka_unit_test(test_a_lost_request_is_tried_elsewhere),
        cmocka_unit_test(test_wrong_identity_is_refused),
        cmocka_unit_test(test_names_of_the_validation_secret),
        cmocka_unit_test(test_without_secrets_nobody_comes_or_goes),
        cmocka_unit_test(test_plain_text_is_refused),
        cmocka_unit_test(test_certificate_becomes_required),
        cmocka_unit_test(test_change_during_the_handshake),
        cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_rotation_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
