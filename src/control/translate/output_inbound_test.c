#include "control/translate/testing/rig.h"

#define MESH                                                                                       \
    "apiVersion: tulle.dev/v1\nkind: Mesh\nmetadata: {name: default}\n"                            \
    "spec: {trustDomain: mesh.local}\n---\n"

static const char workload[] =
    MESH "apiVersion: tulle.dev/v1\nkind: Workload\n"
         "metadata: {name: web, namespace: shop, labels: {app: web}}\n"
         "spec: {serviceAccount: web-sa, ports: [{name: http, port: 8080},\n"
         "  {name: grpc-x, port: 9090}, {name: tcp, port: 6379}, {name: any, port: 7000},\n"
         "  {name: https, port: 8443}]}\n";

static int setup(void **state)
{
    rig_setup(state);
    rig_apply(*state, workload);
    return 0;
}

static const struct filter_chain *meet(struct rig *r, uint16_t port, bool is_tls,
                                       const char *protocol)
{
    const struct listener *l = rig_listener(r, TRANSLATE_INBOUND);
    struct str protocols[1] = {str_from_c(protocol)};
    struct chain_input in = {.destination = ip_v4(10, 0, 0, 1),
                             .source = ip_v4(10, 0, 0, 2),
                             .is_tls = is_tls,
                             .application_protocols = protocols,
                             .application_protocol_count = protocol != NULL,
                             .destination_port = port};
    return match_filter_chain(l, &in);
}

/* Where a connection ends: "http-mtls inbound|8080|http", or "closed". */
static const char *end_of(struct rig *r, uint16_t port, bool is_tls, const char *protocol)
{
    const struct filter_chain *chain = meet(r, port, is_tls, protocol);
    if (chain == NULL)
        return "closed";
    const struct network_filter *last = &chain->filters[chain->filter_count - 1];
    struct str cluster = last->kind == NETWORK_FILTER_HCM
                             ? last->hcm->route_config->hosts[0].routes[0].clusters[0].name
                             : last->tcp_proxy->clusters[0].name;
    /* What it is called is what it does. */
    assert_int_equal(chain->tls != NULL, str_ends_with(chain->name, STR("-mtls")));
    assert_int_equal(last->kind == NETWORK_FILTER_HCM, str_starts_with(chain->name, STR("http")));
    if (chain->tls != NULL) {
        const struct common_tls *tls = &chain->tls->common;
        assert_true(chain->tls->require_client_certificate);
        assert_int_equal(tls->san_count, 1);
        assert_str(tls->sans[0].match.value, "spiffe://mesh.local/");
        assert_int_equal(tls->sans[0].match.kind, STRING_MATCH_PREFIX);
        assert_int_equal(tls->sans[0].type, TLS_SAN_TYPE_URI);
        assert_str(tls->certificate.sds_name, "default");
        assert_str(tls->validation.sds_name, "ROOTCA");
        assert_int_equal(tls->version_min, 13);
    }
    return arena_printf(&r->arena, "%.*s %.*s", STR_FMT(chain->name), STR_FMT(cluster)).ptr;
}

struct ending {
    uint16_t port;
    bool is_tls;
    const char *protocol, *want;
};

static void check(struct rig *r, const struct ending *endings, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *got = end_of(r, endings[i].port, endings[i].is_tls, endings[i].protocol);
        if (strcmp(got, endings[i].want) != 0)
            fail_msg("%u %s %s: \"%s\", not \"%s\"", endings[i].port,
                     endings[i].is_tls ? "tls" : "plain",
                     endings[i].protocol != NULL ? endings[i].protocol : "-", got, endings[i].want);
    }
}

#define POLICY(text)                                                                               \
    "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"                                 \
    "metadata: {name: default, namespace: shop}\nspec: " text "\n"

static const struct ending strict[] = {
    {8080, true, "tulle-h2", "http-mtls inbound|8080|http"},
    {8080, true, "h2", "http-mtls inbound|8080|http"},
    {8080, true, NULL, "http-mtls inbound|8080|http"},
    {8080, false, "http/1.1", "closed"},
    {8080, false, NULL, "closed"},
    {9090, true, "tulle-h2", "http-mtls inbound|9090|grpc"},
    {9090, false, "h2c", "closed"},
    {6379, true, "tulle-tcp", "tcp-mtls inbound|6379|tcp"},
    {6379, true, NULL, "tcp-mtls inbound|6379|tcp"},
    {6379, false, NULL, "closed"},
    {8443, true, "h2", "tcp-mtls inbound|8443|tcp"},
    {8443, false, NULL, "closed"},
    {7000, true, "tulle-h2", "http-mtls inbound|7000|auto"},
    {7000, true, "tulle-tcp", "tcp-mtls inbound|7000|tcp"},
    {7000, false, "http/1.1", "closed"},
    {7000, false, NULL, "closed"},
    {1234, true, "tulle-h2", "http-mtls inbound|0|auto"},
    {1234, true, "istio", "tcp-mtls inbound|0|tcp"},
    {1234, false, NULL, "closed"},
};

static const struct ending permissive[] = {
    {8080, true, "tulle-h2", "http-mtls inbound|8080|http"},
    {8080, true, NULL, "http-mtls inbound|8080|http"},
    {8080, false, "http/1.1", "http-plain inbound|8080|http"},
    {8080, false, NULL, "http-plain inbound|8080|http"},
    {9090, false, "h2c", "http-plain inbound|9090|grpc"},
    {6379, true, "tulle-tcp", "tcp-mtls inbound|6379|tcp"},
    {6379, true, "istio-peer-exchange", "tcp-mtls inbound|6379|tcp"},
    {6379, true, NULL, "tls-passthrough inbound|6379|tcp"},
    {6379, false, NULL, "tcp-plain inbound|6379|tcp"},
    {8443, true, "h2", "tls-passthrough inbound|8443|tcp"},
    {8443, true, "tulle-tcp", "tcp-mtls inbound|8443|tcp"},
    {7000, true, "tulle-h2", "http-mtls inbound|7000|auto"},
    {7000, true, "istio-http/1.1", "http-mtls inbound|7000|auto"},
    {7000, true, "tulle-tcp", "tcp-mtls inbound|7000|tcp"},
    {7000, true, "h2", "tls-passthrough inbound|7000|tcp"},
    {7000, true, NULL, "tls-passthrough inbound|7000|tcp"},
    {7000, false, "http/1.1", "http-plain inbound|7000|auto"},
    {7000, false, "h2c", "http-plain inbound|7000|auto"},
    {7000, false, NULL, "tcp-plain inbound|7000|tcp"},
    {1234, true, "tulle-h2", "http-mtls inbound|0|auto"},
    {1234, false, NULL, "tcp-plain inbound|0|tcp"},
    {1234, false, "http/1.1", "http-plain inbound|0|auto"},
};

static const struct ending disabled[] = {
    {8080, true, "tulle-h2", "tls-passthrough inbound|8080|tcp"},
    {8080, false, "http/1.1", "http-plain inbound|8080|http"},
    {6379, true, "tulle-tcp", "tls-passthrough inbound|6379|tcp"},
    {6379, false, NULL, "tcp-plain inbound|6379|tcp"},
    {7000, true, "h2", "tls-passthrough inbound|7000|tcp"},
    {7000, false, "http/1.1", "http-plain inbound|7000|auto"},
    {7000, false, NULL, "tcp-plain inbound|7000|tcp"},
    {1234, true, NULL, "tls-passthrough inbound|0|tcp"},
};

static void test_modes(void **state)
{
    struct rig *r = *state;
    check(r, permissive, ARRAY_LEN(permissive));
    assert_int_equal(rig_listener(r, TRANSLATE_INBOUND)->listener_filters_timeout_us, 100000);
    rig_apply(r, POLICY("{mtls: {mode: STRICT}}"));
    check(r, strict, ARRAY_LEN(strict));
    /* A slow handshake is no plain text when there is none. */
    const struct listener *l = rig_listener(r, TRANSLATE_INBOUND);
    assert_true(l->listener_filters_timeout_us >= 1000000);
    assert_false(l->continue_on_listener_filters_timeout);
    assert_true(l->inspectors.original_dst && l->inspectors.tls_inspector &&
                l->inspectors.http_inspector);
    rig_apply(r, POLICY("{mtls: {mode: DISABLE}}"));
    check(r, disabled, ARRAY_LEN(disabled));
    rig_apply(r, POLICY("{mtls: {mode: PERMISSIVE}}"));
    check(r, permissive, ARRAY_LEN(permissive));
}

static const char *plain(struct rig *r, uint16_t port)
{
    return meet(r, port, false, NULL) != NULL ? "open" : "closed";
}

/* Port before workload before namespace before root namespace before Mesh. */
static void test_precedence(void **state)
{
    struct rig *r = *state;
#define PEER(ns, name, text)                                                                       \
    "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"                                 \
    "metadata: {name: " name ", namespace: " ns "}\nspec: " text "\n"
    assert_string_equal(plain(r, 8080), "open");
    rig_apply(r, "apiVersion: tulle.dev/v1\nkind: Mesh\nmetadata: {name: default}\n"
                 "spec: {trustDomain: mesh.local, mtls: {mode: STRICT}}\n");
    assert_string_equal(plain(r, 8080), "closed");
    rig_apply(r, PEER("istio-system", "default", "{mtls: {mode: PERMISSIVE}}"));
    assert_string_equal(plain(r, 8080), "open");
    rig_apply(r, PEER("shop", "default", "{mtls: {mode: STRICT}}"));
    assert_string_equal(plain(r, 8080), "closed");
    rig_apply(r, PEER("shop", "web",
                      "{selector: {matchLabels: {app: web}},"
                      " mtls: {mode: PERMISSIVE}}"));
    assert_string_equal(plain(r, 8080), "open");
    /* Of another policy, later by name, for a port that is listed and one that is not. */
    rig_apply(r, PEER("shop", "zz",
                      "{selector: {matchLabels: {app: web}},\n"
                      "  portLevelMtls: {8080: {mode: STRICT}, 1234: {mode: STRICT}}}"));
    assert_string_equal(plain(r, 8080), "closed");
    assert_string_equal(plain(r, 1234), "closed");
    assert_string_equal(end_of(r, 1234, true, "tulle-tcp"), "tcp-mtls inbound|0|tcp");
    assert_string_equal(plain(r, 6379), "open");
    assert_string_equal(plain(r, 1235), "open");
    /* A selector of another workload, a policy of another namespace. */
    rig_apply(r,
              PEER("shop", "web", "{selector: {matchLabels: {app: db}}, mtls: {mode: DISABLE}}"));
    rig_apply(r, PEER("bank", "default", "{mtls: {mode: DISABLE}}"));
    assert_string_equal(plain(r, 6379), "closed");
    /* UNSET inherits. */
    rig_apply(r, PEER("shop", "default", "{mtls: {mode: UNSET}}"));
    assert_string_equal(plain(r, 6379), "open");
    rig_delete(r, API_KIND_PEER_AUTHENTICATION, "istio-system", "default");
    assert_string_equal(plain(r, 6379), "closed");
#undef PEER
}

/* As Istio's meshConfig.pathNormalization. */
static void test_path_normalization(void **state)
{
    struct rig *r = *state;
    static const struct {
        const char *name;
        bool is_normalized, is_merged, is_decoded;
    } rows[] = {
        {"NONE", false, false, false},
        {"BASE", true, false, false},
        {"MERGE_SLASHES", true, true, false},
        {"DECODE_AND_MERGE_SLASHES", true, true, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[256];
        snprintf(text, sizeof text,
                 "apiVersion: tulle.dev/v1\nkind: Mesh\nmetadata: {name: default}\nspec: "
                 "{trustDomain: mesh.local, pathNormalization: {normalization: %s}}\n",
                 rows[i].name);
        rig_apply(r, text);
        const struct hcm *hcm = meet(r, 8080, true, NULL)->filters[0].hcm;
        assert_int_equal(hcm->normalize_path, rows[i].is_normalized);
        assert_int_equal(hcm->merge_slashes, rows[i].is_merged);
        assert_int_equal(hcm->escaped_slashes,
                         rows[i].is_decoded ? SLASHES_UNESCAPE_FORWARD : SLASHES_KEEP);
    }
}

static void test_shape(void **state)
{
    struct rig *r = *state;
    const struct listener *l = rig_listener(r, TRANSLATE_INBOUND);
    assert_int_equal(l->address.port, 15006);
    assert_true(l->bind_to_port);
    assert_int_equal(l->direction, LISTENER_INBOUND);
    assert_str(l->origin.text, "Workload/shop/web");
    const struct hcm *hcm = meet(r, 8080, true, NULL)->filters[0].hcm;
    assert_int_equal(hcm->xfcc, XFCC_SANITIZE_SET);
    assert_true(hcm->xfcc_uri && hcm->xfcc_subject && hcm->xfcc_dns);
    assert_true(hcm->normalize_path && hcm->generate_request_id);
    assert_int_equal(hcm->upgrade_count, 1);
    assert_true(str_eq(hcm->upgrades[0].type, STR("websocket")) && hcm->upgrades[0].is_enabled);
    assert_true(hcm->http2.allow_connect);
    assert_int_equal(hcm->route_config->hosts[0].routes[0].timeout_us, 0);
    rig_be(r, "shop", "nobody");
    assert_null(rig_listener(r, TRANSLATE_INBOUND));
}

/* Every cluster that the listener names under any mode is among those that are subscribed. */
struct names {
    struct rig *r;
    VEC(struct str) list;
};

static void on_name(void *ctx, struct str name)
{
    struct names *n = ctx;
    VEC_PUSH(&n->list, arena_str(&n->r->arena, name));
}

static void test_clusters(void **state)
{
    struct rig *r = *state;
    static const char *const modes[] = {"STRICT", "PERMISSIVE", "DISABLE"};
    struct names n = {.r = r};
    translate_names(r->translate, &r->viewer, RESOURCE_CLUSTER, on_name, &n);
    for (size_t i = 0; i < n.list.len; i++) {
        const struct cluster *c = rig_cluster(r, n.list.ptr[i].ptr);
        assert_non_null(c);
        assert_int_equal(c->kind, CLUSTER_ORIGINAL_DST);
        assert_true(c->is_inbound);
        assert_null(c->tls);
    }
    assert_int_equal(rig_cluster(r, "inbound|8080|http")->protocol, UPSTREAM_HTTP1);
    assert_int_equal(rig_cluster(r, "inbound|9090|grpc")->protocol, UPSTREAM_HTTP2);
    assert_int_equal(rig_cluster(r, "inbound|7000|auto")->protocol, UPSTREAM_DOWNSTREAM);
    for (size_t m = 0; m < ARRAY_LEN(modes); m++) {
        char text[400];
        snprintf(text, sizeof text, POLICY("{mtls: {mode: %s}}"), modes[m]);
        rig_apply(r, text);
        const struct listener *l = rig_listener(r, TRANSLATE_INBOUND);
        for (size_t i = 0; i < l->chain_count; i++) {
            const struct network_filter *last =
                &l->chains[i].filters[l->chains[i].filter_count - 1];
            struct str cluster = last->kind == NETWORK_FILTER_HCM
                                     ? last->hcm->route_config->hosts[0].routes[0].clusters[0].name
                                     : last->tcp_proxy->clusters[0].name;
            bool is_found = false;
            for (size_t k = 0; k < n.list.len; k++)
                is_found |= str_eq(n.list.ptr[k], cluster);
            if (!is_found)
                fail_msg("%s: %.*s is not subscribed", modes[m], STR_FMT(cluster));
        }
    }
    VEC_DEINIT(&n.list);
}

/* Whether a connection of that identity passes the chain's first filter. */
static bool is_let_in(struct rig *r, uint16_t port, const char *protocol, const char *identity)
{
    const struct filter_chain *chain = meet(r, port, true, protocol);
    const struct network_filter *first = &chain->filters[0];
    struct rbac_input in = {.principal = str_from_c(identity), .destination_port = port};
    struct rbac_decision d = {.is_allowed = true};
    if (first->kind == NETWORK_FILTER_RBAC)
        match_rbac(first->rbac, &in, &d);
    return d.is_allowed;
}

#define TILL "spiffe://mesh.local/ns/shop/sa/till"
#define OWN "spiffe://mesh.local/ns/shop/sa/web-sa"

static void test_revoked_identities(void **state)
{
    struct rig *r = *state;
    static const struct {
        uint16_t port;
        const char *protocol;
    } ways[] = {{8080, "tulle-h2"}, {6379, "tulle-tcp"}, {1234, "istio"}, {1234, "h2"}};
    assert_int_equal(registry_revoke(r->registry, STR(TILL), STR("")), 0);
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        assert_false(is_let_in(r, ways[i].port, ways[i].protocol, TILL));
        assert_true(is_let_in(r, ways[i].port, ways[i].protocol, TILL "2"));
        assert_true(is_let_in(r, ways[i].port, ways[i].protocol, ""));
    }
    /* The workload's own: nobody comes in. */
    assert_int_equal(registry_restore(r->registry, STR(TILL)), 0);
    assert_int_equal(registry_revoke(r->registry, STR(OWN), STR("")), 0);
    for (size_t i = 0; i < ARRAY_LEN(ways); i++)
        assert_false(is_let_in(r, ways[i].port, ways[i].protocol, TILL));
    assert_int_equal(registry_restore(r->registry, STR(OWN)), 0);
    assert_true(is_let_in(r, 8080, "tulle-h2", TILL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_modes, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_revoked_identities, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_precedence, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_path_normalization, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_shape, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_clusters, setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
