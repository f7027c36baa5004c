#include "control/api/mesh.h"
#include "control/api/peer_authentication.h"
#include "control/api/service.h"
#include "control/api/test_priv.h"
#include "control/api/workload.h"

static void test_envelope(void **state)
{
    struct parsed p = parse_good("apiVersion: v1\n"
                                 "kind: ServiceAccount\n"
                                 "metadata: { name: orders-sa, namespace: shop,\n"
                                 "  labels: { a: b }, annotations: { note: x }, uid: y,\n"
                                 "  resourceVersion: \"7\" }\n"
                                 "---\n"
                                 "apiVersion: v1\n"
                                 "kind: Namespace\n"
                                 "metadata: { name: shop }\n"
                                 "status: { phase: Active }\n"
                                 "---\n"
                                 "apiVersion: v1\n"
                                 "kind: ServiceAccount\n"
                                 "metadata: { name: other }\n",
                                 3);
    const struct api_document *d = parsed_doc(&p, 0);
    assert_int_equal(d->kind, API_KIND_SERVICE_ACCOUNT);
    assert_str(d->namespace, "shop");
    assert_str(d->name, "orders-sa");
    assert_str(d->resource_version, "7");
    assert_int_equal(d->labels.len, 1);
    assert_int_equal(d->annotations.len, 1);
    assert_str(d->file, "test.yaml");
    assert_str(d->json, "{\"apiVersion\":\"v1\",\"kind\":\"ServiceAccount\",\"metadata\":{"
                        "\"name\":\"orders-sa\",\"namespace\":\"shop\",\"labels\":{\"a\":\"b\"},"
                        "\"annotations\":{\"note\":\"x\"}}}");
    d = parsed_doc(&p, 1);
    assert_str(d->namespace, "");
    assert_int_equal(d->place.line, 7);
    assert_str(d->json, "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{"
                        "\"name\":\"shop\"}}");
    d = parsed_doc(&p, 2);
    assert_str(d->json, "{\"apiVersion\":\"v1\",\"kind\":\"ServiceAccount\",\"metadata\":{"
                        "\"name\":\"other\",\"namespace\":\"default\"}}");
    parsed_free(&p);
}

static void test_default_namespace(void **state)
{
    struct api_document_list list;
    struct api_findings findings;
    struct api_source source = {
        .file = STR("x"),
        .text = STR("{apiVersion: v1, kind: ServiceAccount, metadata: {name: a}}"),
        .default_namespace = STR("team"),
    };
    api_document_list_init(&list);
    api_findings_init(&findings);
    assert_int_equal(api_document_parse(&source, &list, &findings), 0);
    assert_str(list.docs.ptr[0]->namespace, "team");
    source.default_namespace = STR("../x");
    assert_int_equal(api_document_parse(&source, &list, &findings), -ERR_INVALID);
    api_findings_deinit(&findings);
    api_document_list_deinit(&list);
}

/* A document that comes back from the store is still at the line it was applied from. */
static void test_stored_line(void **state)
{
    struct api_document_list list;
    struct api_findings findings;
    struct api_source source = {
        .file = STR("shop/a.yaml"),
        .text = STR("{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"s\"},"
                    "\"spec\":{\"ports\":[{\"port\":80}]}}"),
        .stored_line = 7,
    };
    api_document_list_init(&list);
    api_findings_init(&findings);
    assert_int_equal(api_document_parse(&source, &list, &findings), 0);
    assert_int_equal(list.docs.ptr[0]->place.line, 7);
    assert_int_equal(list.docs.ptr[0]->spec.service->ports[0].place.line, 7);
    api_findings_deinit(&findings);
    api_document_list_deinit(&list);
}

static void test_locate(void **state)
{
    static const struct {
        const char *path;
        uint32_t line, column;
    } cases[] = {
        {"", 1, 1},
        {"metadata.name", 3, 19},
        {"spec.ports[0].port", 5, 20},
        {"spec.ports[0].nothing", 5, 12},
        {"spec.ports[7]", 5, 10},
        {"nowhere.at.all[3]", 1, 1},
    };
    struct api_document_list list;
    struct api_findings findings;
    struct api_source source = {
        .file = STR("x"),
        .text = STR("apiVersion: v1\nkind: Service\nmetadata: { name: s }\nspec:\n"
                    "  ports: [ { port: 80 } ]\n"),
        .is_locatable = true,
    };
    struct api_place place = {0};
    api_document_list_init(&list);
    api_findings_init(&findings);
    assert_int_equal(api_document_parse(&source, &list, &findings), 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_true(api_document_locate(list.docs.ptr[0], str_from_c(cases[i].path), &place));
        assert_int_equal(place.line, cases[i].line);
        assert_int_equal(place.column, cases[i].column);
    }
    source.is_locatable = false;
    assert_int_equal(api_document_parse(&source, &list, &findings), 0);
    assert_false(api_document_locate(list.docs.ptr[1], STR("spec"), &place));
    api_findings_deinit(&findings);
    api_document_list_deinit(&list);
}

static void test_list(void **state)
{
    struct parsed p = parse_good("apiVersion: v1\n"
                                 "kind: List\n"
                                 "items:\n"
                                 "  - { apiVersion: v1, kind: Namespace, metadata: { name: a } }\n"
                                 "  - { apiVersion: v1, kind: Namespace, metadata: { name: b } }\n",
                                 2);
    assert_str(parsed_doc(&p, 1)->name, "b");
    parsed_free(&p);
}

/* Documents that are good are kept beside bad ones, and bad ones are remembered by name. */
static void test_broken(void **state)
{
    struct parsed p = parse("apiVersion: v1\nkind: Namespace\nmetadata: { name: a }\n---\n"
                            "apiVersion: v1\nkind: Service\nmetadata: { name: b }\nspec: {}\n");
    assert_int_equal(p.result, -ERR_INVALID);
    assert_int_equal(p.list.docs.len, 1);
    assert_int_equal(p.list.broken.len, 1);
    assert_str(p.list.broken.ptr[0].name, "b");
    assert_str(p.findings.list.ptr[0].subject, "Service/default/b");
    assert_str(p.findings.list.ptr[0].path, "spec");
    parsed_free(&p);
}

static void test_json_is_stable(void **state)
{
    struct parsed p =
        parse_good("apiVersion: tulle.dev/v1\n"
                   "kind: Workload\n"
                   "metadata: { name: w, labels: { app: &n w, v: *n } }\n"
                   "spec:\n"
                   "  replicas: 2\n"
                   "  run: { command: [ \"./x\", \"1\", 'true' ], env: { A: \"\" } }\n",
                   1);
    char *json = str_dup_c(parsed_doc(&p, 0)->json);
    struct parsed again = parse_good(json, 1);
    assert_str(parsed_doc(&again, 0)->json, json);
    free(json);
    parsed_free(&again);
    parsed_free(&p);
}

/* A few bytes must not become gigabytes. */
static void test_bounds(void **state)
{
    struct str_buf text = STR_BUF_INIT(4 << 20);
    str_buf_add_c(&text, "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n"
                         "  annotations:\n    big: &x \"");
    for (size_t i = 0; i < 64 * 1024; i++)
        str_buf_add_char(&text, 'x');
    str_buf_add_c(&text, "\"\n");
    for (size_t i = 0; i < 1000; i++)
        str_buf_printf(&text, "    a%zu: *x\n", i);
    struct parsed p = parse(text.ptr);
    assert_int_equal(p.result, -ERR_INVALID);
    assert_true(has_finding(&p, API_ERROR, "larger than"));
    parsed_free(&p);
    str_buf_reset(&text);
    str_buf_add_c(&text, "apiVersion: v1\nkind: Service\nmetadata: { name: a }\nspec:\n  ports:\n");
    for (size_t i = 0; i < API_ITEMS_MAX + 1; i++)
        str_buf_add_c(&text, "    - a\n");
    p = parse(text.ptr);
    assert_true(has_finding(&p, API_ERROR, "a list has more than"));
    assert_int_equal(p.findings.list.len, 1);
    parsed_free(&p);
    str_buf_deinit(&text);
}

static void test_findings(void **state)
{
    struct api_findings f;
    struct api_finding a = {.severity = API_ERROR,
                            .file = STR("b"),
                            .place = {2, 1},
                            .text = STR("x\ny"),
                            .hint = STR("z")};
    struct api_finding b = a;
    api_findings_init(&f);
    api_findings_add(&f, &a);
    api_findings_add(&f, &a);
    b.file = STR("a");
    b.severity = API_WARNING;
    b.hint = STR_NULL;
    api_findings_add(&f, &b);
    api_findings_sort(&f);
    assert_int_equal(f.list.len, 2);
    assert_int_equal(f.error_count, 1);
    assert_str(api_finding_line(&f, &f.list.ptr[0]), "a:2:1: warning: x?y");
    assert_str(api_finding_line(&f, &f.list.ptr[1]), "b:2:1: error: x?y (z)");
    for (size_t i = 0; i < API_FINDINGS_MAX + 10; i++)
        api_findings_add(&f, &a);
    assert_int_equal(f.list.len, API_FINDINGS_MAX + 1);
    api_findings_deinit(&f);
}

static void test_service(void **state)
{
    struct parsed p =
        parse_good("apiVersion: v1\nkind: Service\nmetadata: { name: s }\nspec:\n"
                   "  type: ClusterIP\n"
                   "  clusterIP: \"\"\n"
                   "  selector: { app: s }\n"
                   "  ports:\n"
                   "    - { name: http-web, port: 80, targetPort: web }\n"
                   "    - { name: db, port: 81, appProtocol: mysql, protocol: TCP }\n",
                   1);
    const struct api_service *s = parsed_doc(&p, 0)->spec.service;
    assert_int_equal(s->port_count, 2);
    assert_str(s->ports[0].target_port_name, "web");
    assert_int_equal(s->ports[0].target_port, 0);
    assert_int_equal(s->ports[0].protocol, API_PROTOCOL_HTTP);
    assert_int_equal(s->ports[1].target_port, 81);
    assert_int_equal(s->ports[1].protocol, API_PROTOCOL_TCP);
    assert_ptr_equal(api_service_find_port(s, 81), &s->ports[1]);
    assert_null(api_service_find_port(s, 82));
    parsed_free(&p);
}

static void test_workload(void **state)
{
    struct parsed p =
        parse_good("apiVersion: tulle.dev/v1\nkind: Workload\nmetadata: { name: w }\nspec:\n"
                   "  serviceAccount: w-sa\n"
                   "  replicas: 0\n"
                   "  ports: [ { name: http, port: 8080 } ]\n"
                   "  run:\n"
                   "    command: [ ./w, --fast ]\n"
                   "    env: { VERSION: v1 }\n"
                   "    ready: { httpGet: { port: http, path: /healthz } }\n"
                   "  capture: { excludeInboundPorts: [ 22, \"23\" ], excludeOutboundRanges: [ "
                   "10.0.0.0/8 ] }\n"
                   "---\n"
                   "apiVersion: tulle.dev/v1\nkind: Workload\nmetadata: { name: v }\nspec: {}\n",
                   2);
    const struct api_workload *w = parsed_doc(&p, 0)->spec.workload;
    assert_str(w->service_account, "w-sa");
    assert_int_equal(w->replicas, 0);
    assert_int_equal(w->run->command.len, 2);
    assert_str(w->run->command.v[1], "--fast");
    assert_str(w->run->env.v[0].value, "v1");
    assert_int_equal(w->run->ready.kind, API_READY_HTTP);
    assert_int_equal(w->run->ready.port, 8080);
    assert_str(w->run->ready.path, "/healthz");
    assert_int_equal(w->capture.exclude_inbound_ports.v[1], 23);
    assert_int_equal(w->capture.exclude_outbound_ranges.len, 1);
    assert_int_equal(api_workload_find_port(w, STR("http")), 8080);
    w = parsed_doc(&p, 1)->spec.workload;
    assert_str(w->service_account, "default");
    assert_int_equal(w->replicas, 1);
    assert_null(w->run);
    parsed_free(&p);
}

static void test_mesh(void **state)
{
    struct parsed p = parse_good("apiVersion: tulle.dev/v1\nkind: Mesh\nspec:\n"
                                 "  trustDomain: mesh.local\n"
                                 "  mtls: { mode: STRICT }\n"
                                 "  outboundTrafficPolicy: { mode: REGISTRY_ONLY }\n"
                                 "  accessLog: { enabled: false, format: JSON }\n"
                                 "  pathNormalization: { normalization: MERGE_SLASHES }\n"
                                 "  certificates: { leafLifetime: 20s }\n",
                                 1);
    const struct api_mesh *m = parsed_doc(&p, 0)->spec.mesh;
    assert_str(parsed_doc(&p, 0)->name, "default");
    assert_str(m->trust_domain, "mesh.local");
    assert_int_equal(m->mtls_mode, API_MTLS_STRICT);
    assert_int_equal(m->outbound_mode, API_OUTBOUND_REGISTRY_ONLY);
    assert_false(m->is_access_log_enabled);
    assert_int_equal(m->access_log_format, API_ACCESS_LOG_JSON);
    assert_int_equal(m->path_normalization, API_PATHS_MERGE_SLASHES);
    assert_int_equal(m->leaf_lifetime_ms, 20000);
    assert_ptr_equal(api_check_mesh(&p.list), m);
    parsed_free(&p);
    p = parse_good("apiVersion: tulle.dev/v1\nkind: Mesh\n"
                   "spec: { certificates: { leafLifetime: 2161h } }\n",
                   1);
    assert_true(has_finding(&p, API_WARNING, "90 days at most"));
    assert_true(parsed_doc(&p, 0)->spec.mesh->leaf_lifetime_ms == API_LEAF_LIFETIME_MS_MAX);
    parsed_free(&p);
    p = parse_good("", 0);
    assert_str(api_check_mesh(&p.list)->trust_domain, "cluster.local");
    assert_int_equal(api_check_mesh(&p.list)->leaf_lifetime_ms, 86400000);
    assert_int_equal(api_check_mesh(&p.list)->path_normalization, API_PATHS_BASE);
    parsed_free(&p);
}

static void test_peer_authentication(void **state)
{
    struct parsed p = parse_good(
        "apiVersion: security.istio.io/v1beta1\nkind: PeerAuthentication\n"
        "metadata: { name: a }\nspec:\n"
        "  selector: { matchLabels: { app: a } }\n"
        "  mtls: { mode: STRICT }\n"
        "  portLevelMtls: { 8080: { mode: DISABLE }, 9090: {} }\n"
        "---\n"
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: { name: b }\n",
        2);
    const struct api_peer_authentication *pa = parsed_doc(&p, 0)->spec.peer_authentication;
    assert_int_equal(pa->mode, API_MTLS_STRICT);
    assert_int_equal(pa->port_count, 2);
    assert_int_equal(pa->ports[0].port, 8080);
    assert_int_equal(pa->ports[0].mode, API_MTLS_DISABLE);
    assert_int_equal(pa->ports[1].mode, API_MTLS_UNSET);
    pa = parsed_doc(&p, 1)->spec.peer_authentication;
    assert_int_equal(pa->mode, API_MTLS_UNSET);
    assert_false(pa->selector.is_set);
    parsed_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_envelope),
        cmocka_unit_test(test_default_namespace),
        cmocka_unit_test(test_stored_line),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_locate),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_json_is_stable),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_findings),
        cmocka_unit_test(test_service),
        cmocka_unit_test(test_workload),
        cmocka_unit_test(test_mesh),
        cmocka_unit_test(test_peer_authentication),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
