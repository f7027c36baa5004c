/* What istiod sends (tests/corpus/istiod, recorded by tests/interop/istiod/record.py): all of it is
 * taken, but for a filter that is not built, and it means what the documents say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "codec/json.h"
#include "mesh/match/match.h"
#include "mesh/xds/codec.h"

enum { FILE_LEN_MAX = 1 << 20, RESOURCES_MAX = 64 };

/* What a sidecar was sent. */
struct sent {
    struct resource *items[RESOURCES_MAX];
    unsigned count, refused;
    struct str_buf why; /* of what was refused */
};

static struct arena arena;

static enum resource_type type_of(struct str name)
{
    for (unsigned t = 0; t < RESOURCE_TYPE_COUNT; t++) {
        if (str_eq(name, str_from_c(resource_type_name((enum resource_type)t))))
            return (enum resource_type)t;
    }
    fail_msg("no such type: %.*s", STR_FMT(name));
    return RESOURCE_TYPE_COUNT;
}

/* {"resource": ..., "type": ...}: keys are sorted, and the type stands last. */
static void add(struct sent *s, struct str line)
{
    static const char head[] = "{\"resource\":", middle[] = ",\"type\":\"";
    struct str_buf why = STR_BUF_INIT(4096);
    size_t at = line.len;
    while (at > 0 && !str_starts_with(str_skip(line, at), str_from_c(middle)))
        at--;
    assert_true(at > 0 && str_starts_with(line, str_from_c(head)));
    struct str body = str_sub(line, strlen(head), at - strlen(head));
    struct str name = str_skip(line, at + strlen(middle));
    enum resource_type type = type_of(str_split(&name, '"'));
    if (xds_from_json(type, body, &why, &s->items[s->count]) == 0) {
        assert_true(++s->count < RESOURCES_MAX);
    } else {
        s->refused++;
        str_buf_add(&s->why, str_buf_str(&why));
    }
    str_buf_deinit(&why);
}

static void load(struct sent *s, const char *name)
{
    char path[512], *text = malloc(FILE_LEN_MAX);
    snprintf(path, sizeof path, CORPUS "/%s.jsonl", name);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        fail_msg("%s is not there", path);
    struct str rest = {text, fread(text, 1, FILE_LEN_MAX, f)};
    fclose(f);
    *s = (struct sent){.why = STR_BUF_INIT(1 << 16)};
    while (rest.len > 0)
        add(s, str_split(&rest, '\n'));
    free(text);
}

static void forget(struct sent *s)
{
    for (unsigned i = 0; i < s->count; i++)
        resource_unref(s->items[i]);
    str_buf_deinit(&s->why);
}

static const struct resource *get(const struct sent *s, enum resource_type type, const char *name)
{
    for (unsigned i = 0; i < s->count; i++) {
        if (s->items[i]->type == type && str_eq(s->items[i]->name, str_from_c(name)))
            return s->items[i];
    }
    fail_msg("%s \"%s\" is not there", resource_type_name(type), name);
    return NULL;
}

static void test_all_is_taken(void **state)
{
    static const char *const names[] = {"redirect-frontend", "redirect-reviews", "none-frontend",
                                        "default-frontend", "default-reviews"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct sent s;
        load(&s, names[i]);
        if (s.refused > 0 || s.count < 10)
            fail_msg("%s: %u taken, %u refused: %.*s", names[i], s.count, s.refused,
                     STR_FMT(str_buf_str(&s.why)));
        forget(&s);
    }
}

/* Without the filter anybody would come in. */
static void test_a_filter_that_checks_tokens_is_refused(void **state)
{
    struct sent s;
    load(&s, "tokens-reviews");
    assert_int_equal(s.refused, 1);
    assert_non_null(strstr(s.why.ptr, "jwt_authn.v3.JwtAuthentication\" is not supported"));
    for (unsigned i = 0; i < s.count; i++)
        assert_false(str_eq(s.items[i]->name, STR("virtualInbound")));
    forget(&s);
}

/* --- who comes in --- */

static const struct filter_chain *chain_for(const struct sent *s, uint16_t port, bool is_tls,
                                            const char *protocol)
{
    struct str alpn = str_from_c(protocol);
    const struct chain_input in = {
        .destination_port = port,
        .is_tls = is_tls,
        .application_protocols = &alpn,
        .application_protocol_count = protocol != NULL,
    };
    return match_filter_chain(get(s, RESOURCE_LISTENER, "virtualInbound")->listener, &in);
}

static void test_chains_of_virtual_inbound(void **state)
{
    struct sent s;
    load(&s, "redirect-reviews");
    const struct filter_chain *http = chain_for(&s, 9080, true, "istio");
    assert_true(http != NULL && http->tls != NULL && http->tls->require_client_certificate);
    assert_int_equal(http->filters[http->filter_count - 1].kind, NETWORK_FILTER_HCM);
    assert_ptr_equal(chain_for(&s, 9080, true, "istio-peer-exchange"), http);
    const struct filter_chain *tcp = chain_for(&s, 9090, true, "istio-peer-exchange");
    assert_true(tcp != NULL && tcp->tls != NULL);
    assert_int_equal(tcp->filters[tcp->filter_count - 1].kind, NETWORK_FILTER_TCP_PROXY);
    /* STRICT: in clear nobody comes in, on no port. */
    assert_null(chain_for(&s, 9080, false, "http/1.1"));
    assert_null(chain_for(&s, 9090, false, NULL));
    assert_null(chain_for(&s, 7777, false, NULL));
    /* Who talks to the capture port itself runs into nothing. */
    const struct filter_chain *hole = chain_for(&s, 15006, false, NULL);
    assert_true(hole != NULL &&
                str_eq(hole->filters[0].tcp_proxy->clusters[0].name, STR("BlackHoleCluster")));
    const struct tls_secret_source *pair = &http->tls->common.certificate;
    assert_true(str_eq(pair->sds_name, STR("default")));
    assert_true(http->tls->common.san_count == 1 && http->tls->common.ciphers.len > 0);
    forget(&s);
}

static void test_secrets_come_from_a_service_of_their_own(void **state)
{
    struct sent s;
    load(&s, "redirect-reviews");
    const struct resource *r = get(&s, RESOURCE_LISTENER, "virtualInbound");
    unsigned secrets = 0;
    for (size_t i = 0; i < r->ref_count_out; i++) {
        if (r->refs[i].type != RESOURCE_SECRET)
            continue;
        secrets++;
        assert_true(str_eq(r->refs[i].source.cluster, STR("sds-grpc")));
    }
    assert_int_equal(secrets, 2);
    forget(&s);
}

static bool is_let_in(const struct hcm *hcm, const char *principal, const char *path)
{
    struct http_head head;
    http_head_init(&head, &arena, true);
    head.method = STR("GET");
    head.authority = STR("reviews");
    head.path = str_from_c(path);
    const struct rbac_input in = {
        .head = &head,
        .principal = str_from_c(principal),
        .source = ip_v4(10, 99, 0, 2),
        .remote = ip_v4(10, 99, 0, 2),
        .destination_port = 9080,
    };
    for (size_t i = 0; i < hcm->filter_count; i++) {
        struct rbac_decision d;
        if (hcm->filters[i].kind != HTTP_FILTER_RBAC)
            continue;
        match_rbac(hcm->filters[i].rbac, &in, &d);
        if (!d.is_allowed)
            return false;
    }
    return true;
}

static void test_policies(void **state)
{
    static const char frontend[] = "spiffe://cluster.local/ns/shop/sa/frontend";
    struct sent s;
    load(&s, "redirect-reviews");
    const struct filter_chain *chain = chain_for(&s, 9080, true, "istio");
    const struct hcm *hcm = chain->filters[chain->filter_count - 1].hcm;
    assert_true(hcm->normalize_path && hcm->xfcc == XFCC_APPEND_FORWARD && hcm->xfcc_uri);
    assert_true(is_let_in(hcm, frontend, "/hello"));
    assert_false(is_let_in(hcm, frontend, "/admin/x"));
    assert_false(is_let_in(hcm, "spiffe://cluster.local/ns/shop/sa/other", "/hello"));
    assert_false(is_let_in(hcm, "", "/hello"));
    /* TCP is judged by namespace, which is a regular expression on the wire. */
    chain = chain_for(&s, 9090, true, "istio");
    unsigned denied = 0;
    for (size_t i = 0; i < chain->filter_count; i++) {
        struct rbac_decision d;
        struct rbac_input in = {.principal = STR("spiffe://cluster.local/ns/other/sa/a"),
                                .destination_port = 9090};
        if (chain->filters[i].kind != NETWORK_FILTER_RBAC)
            continue;
        match_rbac(chain->filters[i].rbac, &in, &d);
        denied += !d.is_allowed;
        in.principal = STR("spiffe://cluster.local/ns/shop/sa/a");
        match_rbac(chain->filters[i].rbac, &in, &d);
        assert_true(d.is_allowed);
    }
    assert_int_equal(denied, 2); /* by the one that denies, and by the one that allows others */
    forget(&s);
}

/* --- where requests go --- */

static const struct route *route_for(const struct sent *s, const char *host, const char *path,
                                     const char *name, const char *value, struct http_head *head)
{
    http_head_init(head, &arena, true);
    head->method = STR("GET");
    head->authority = str_from_c(host);
    head->path = str_from_c(path);
    if (name != NULL)
        http_head_add_named(head, str_from_c(name), str_from_c(value));
    const struct virtual_host *vh =
        match_virtual_host(get(s, RESOURCE_ROUTE, "9080")->route, head->authority);
    assert_non_null(vh);
    return match_route(vh, head);
}

static void check_routes(const struct sent *s)
{
    static const char host[] = "reviews.shop.svc.cluster.local:9080";
    struct http_head head;
    const struct route *r = route_for(s, host, "/broken", NULL, NULL, &head);
    assert_int_equal(r->overrides.count, 1);
    assert_int_equal(r->overrides.items[0].fault->abort_status, 418);
    assert_int_equal(r->overrides.items[0].fault->abort_parts, MODEL_PARTS_ALL);
    r = route_for(s, host, "/slow", NULL, NULL, &head);
    assert_int_equal(r->overrides.items[0].fault->delay_us, 1000000);
    r = route_for(s, host, "/cors", NULL, NULL, &head);
    assert_true(
        match_string(&r->overrides.items[0].cors->origins[0], STR("https://a.example.com")));
    assert_false(
        match_string(&r->overrides.items[0].cors->origins[0], STR("https://a.example.org")));
    r = route_for(s, host, "/v12/items/tea?q", "x-kind", "bbb", &head);
    assert_true(str_eq(r->name, STR("regex")));
    match_rewrite(r, &head);
    assert_true(str_eq(head.path, STR("/tea/of/12?q")));
    r = route_for(s, host, "/v12/items/tea", "x-kind", "abb", &head);
    assert_true(str_eq(r->name, STR("rest")));
    assert_true(r->retry != NULL && r->retry->retries_max == 2 && r->timeout_us == 0);
    /* Whoever is not of the mesh is let out, as a mesh is without a say in that. */
    r = route_for(s, "elsewhere.example.com:9080", "/", NULL, NULL, &head);
    assert_true(str_eq(r->clusters[0].name, STR("PassthroughCluster")));
}

static void test_routes(void **state)
{
    static const char *const names[] = {"redirect-frontend", "none-frontend", "default-frontend"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct sent s;
        load(&s, names[i]);
        check_routes(&s);
        forget(&s);
    }
}

static void test_splits_and_mirrors(void **state)
{
    struct sent s;
    struct http_head head;
    load(&s, "redirect-frontend");
    const struct route *r = route_for(&s, "split.example.com", "/a", "x-a", "1", &head);
    assert_int_equal(r->cluster_count, 2);
    assert_int_equal(r->clusters[0].weight, 75);
    assert_int_equal(r->mirrors[0].parts, MODEL_PARTS_ALL / 10);
    r = route_for(&s, "split.example.com", "/b", "x-a", "1", &head);
    assert_int_equal(r->cluster_count, 1);
    forget(&s);
}

/* --- how servers are reached --- */

static const struct cluster *cluster_of(const struct sent *s, const char *name)
{
    return get(s, RESOURCE_CLUSTER, name)->cluster;
}

static void test_clusters(void **state)
{
    struct sent s;
    load(&s, "redirect-frontend");
    const struct cluster *c = cluster_of(&s, "outbound|9080||reviews.shop.svc.cluster.local");
    struct endpoint e = {.match_key = STR("tlsMode"), .match_value = STR("istio")};
    const struct upstream_tls *tls = match_upstream_tls(c, &e);
    assert_non_null(tls);
    assert_true(str_eq(tls->sni, STR("outbound_.9080_._.reviews.shop.svc.cluster.local")));
    assert_int_equal(tls->common.san_count, 1);
    assert_true(
        str_eq(tls->common.sans[0].match.value, STR("spiffe://cluster.local/ns/shop/sa/reviews")));
    e.match_value = STR("disabled");
    assert_null(match_upstream_tls(c, &e));
    assert_true(c->lb == LB_HASH && c->panic_threshold_percent == 0);
    assert_int_equal(c->keepalive_idle_s, 60);
    assert_int_equal(c->breaker.connections_max, 10);
    assert_int_equal(c->outlier.consecutive_5xx, 3);
    assert_true(
        cluster_of(&s, "outbound|9070||frontend.shop.svc.cluster.local")->is_locality_weighted);
    assert_int_equal(cluster_of(&s, "outbound|9080||split.example.com")->kind, CLUSTER_STRICT_DNS);
    c = cluster_of(&s, "inbound|9070||");
    assert_int_equal(c->kind, CLUSTER_ORIGINAL_DST);
    struct ip_addr six = ip_v4(127, 0, 0, 6);
    assert_true(ip_eq(&c->bind.ip, &six));
    forget(&s);
}

static int open_arena(void **state)
{
    arena_init(&arena, 4096);
    return 0;
}

static int close_arena(void **state)
{
    arena_deinit(&arena);
    return 0;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_is_taken),
        cmocka_unit_test(test_a_filter_that_checks_tokens_is_refused),
        cmocka_unit_test(test_chains_of_virtual_inbound),
        cmocka_unit_test(test_secrets_come_from_a_service_of_their_own),
        cmocka_unit_test(test_policies),
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_splits_and_mirrors),
        cmocka_unit_test(test_clusters),
    };
    return cmocka_run_group_tests(tests, open_arena, close_arena);
}
