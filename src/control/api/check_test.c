#include "control/api/test_priv.h"

#define SERVICE                                                                                    \
    "apiVersion: v1\nkind: Service\nmetadata: { name: catalog, namespace: shop }\n"                \
    "spec: { selector: { app: catalog }, ports: [ { name: http, port: 8080 } ] }\n---\n"
#define WORKLOAD                                                                                   \
    "apiVersion: tulle.dev/v1\nkind: Workload\n"                                                   \
    "metadata: { name: c1, namespace: shop, labels: { app: catalog, version: v1 } }\n"             \
    "spec: { ports: [ { name: http, port: 8080 } ] }\n---\n"
#define MESH                                                                                       \
    "apiVersion: tulle.dev/v1\nkind: Mesh\nmetadata: { name: m }\n"                                \
    "spec: { trustDomain: mesh.local }\n---\n"
#define ACCOUNT                                                                                    \
    "apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: web, namespace: shop }\n---\n"
#define VS                                                                                         \
    "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"                                   \
    "metadata: { name: catalog, namespace: shop }\nspec:\n  hosts: [ catalog ]\n  http:\n"
#define DR                                                                                         \
    "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"                                  \
    "metadata: { name: catalog, namespace: shop }\nspec:\n"
#define AP                                                                                         \
    "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"                                \
    "metadata: { name: p, namespace: shop }\nspec:\n"

struct check_row {
    const char *text;
    enum api_severity severity;
    const char *words; /* NULL: no finding at all */
};

static const struct check_row rows[] = {
    {SERVICE WORKLOAD VS "    - route: [ { destination: { host: catalog, subset: v1 } } ]\n",
     API_WARNING, "endpoints labelled version: v1 are used"},
    {SERVICE WORKLOAD VS "    - route: [ { destination: { host: catalog, subset: v2 } } ]\n",
     API_ERROR, "no workload of catalog.shop.svc.cluster.local is labelled version: v2"},
    {SERVICE VS "    - route: [ { destination: { host: catalog, subset: v2 } } ]\n", API_WARNING,
     "endpoints labelled version: v2 are used"},
    {DR "  host: catalog\n  subsets: [ { name: v2, labels: { version: v2 } } ]\n---\n" SERVICE VS
        "    - route: [ { destination: { host: catalog, subset: v2 } } ]\n",
     API_WARNING, NULL},
    {VS "    - route: [ { destination: { host: nowhere } } ]\n", API_WARNING, NULL},
    {SERVICE VS "    - route: [ { destination: { host: nowhere } } ]\n", API_ERROR,
     "no Service defines host \"nowhere.shop.svc.cluster.local\""},
    {SERVICE VS "    - route: [ { destination: { host: catalog.other.svc.cluster.local } } ]\n",
     API_WARNING, NULL},
    {SERVICE VS
     "    - match: [ { port: 1 } ]\n      route: [ { destination: { host: catalog } } ]\n",
     API_WARNING, "has no port 1"},
    {SERVICE DR "  host: catalogg\n", API_WARNING, "no Service defines host"},
    {SERVICE WORKLOAD DR "  host: catalog\n  subsets: [ { name: x, labels: { version: x } } ]\n",
     API_WARNING, "the labels of subset \"x\" match no workload"},
    {SERVICE WORKLOAD AP "  selector: { matchLabels: { app: nobody } }\n", API_WARNING,
     "the selector matches no workload"},
    {MESH AP "  rules: [ { from: [ { source: { principals: [ other/ns/shop/sa/web ] } } ] } ]\n",
     API_WARNING, "trust domain \"other\" is not the mesh's, which is \"mesh.local\""},
    {MESH ACCOUNT AP
     "  rules: [ { from: [ { source: { principals: [ mesh.local/ns/shop/sa/wep ] } } ] } ]\n",
     API_WARNING, "no ServiceAccount \"wep\""},
    {MESH ACCOUNT AP
     "  rules: [ { from: [ { source: { principals: [ mesh.local/ns/shop/sa/web ] } } ] } ]\n",
     API_WARNING, NULL},
    {MESH "apiVersion: tulle.dev/v1\nkind: Mesh\nmetadata: { name: other }\n", API_ERROR,
     "there is another Mesh document"},
    {"apiVersion: v1\nkind: Service\nmetadata: { name: s }\nspec: { ports: [ { port: 80 } ] }\n",
     API_WARNING, "served by nobody"},
    {SERVICE "apiVersion: tulle.dev/v1\nkind: Workload\nmetadata: { name: w, namespace: shop }\n"
             "spec: { serviceAccount: w-sa }\n",
     API_WARNING, "matches no workload"},
    {"apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
     "metadata: { name: d, namespace: shop }\nspec: { mtls: { mode: STRICT } }\n---\n" DR
     "  host: catalog\n  trafficPolicy: { tls: { mode: DISABLE } }\n",
     API_WARNING, "namespace shop is STRICT"},
    {"apiVersion: v1\nkind: Service\nmetadata: { name: catalog, namespace: shop }\n"
     "spec: { selector: { a: b }, ports: [ { name: tcp, port: 1 } ] }\n---\n" VS
     "    - route: [ { destination: { host: catalog } } ]\n",
     API_WARNING, "spec.http is never used"},
    {"apiVersion: tulle.dev/v1\nkind: Workload\nmetadata: { name: w }\n"
     "spec: { serviceAccount: w-sa }\n",
     API_WARNING, "no ServiceAccount \"w-sa\" in namespace default"},
};

static void test_rows(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct parsed p = parse(rows[i].text);
        api_check_documents(&p.list, &p.findings);
        bool is_good = rows[i].words == NULL ? p.findings.list.len == 0
                                             : has_finding(&p, rows[i].severity, rows[i].words);
        for (size_t j = 0; !is_good && j < p.findings.list.len; j++)
            print_error("%.*s\n", STR_FMT(api_finding_line(&p.findings, &p.findings.list.ptr[j])));
        if (!is_good)
            fail_msg("row %zu: %s", i, rows[i].words != NULL ? rows[i].words : "(nothing)");
        parsed_free(&p);
    }
}

/* A Service that is broken is there all the same: what refers to it is not blamed too. */
static void test_broken_service(void **state)
{
    struct parsed p =
        parse(SERVICE
              "apiVersion: v1\nkind: Service\nmetadata: { name: cart, namespace: shop }\nspec: {}\n"
              "---\n" VS "    - route: [ { destination: { host: cart, port: { number: 1 } } } ]\n");
    size_t before = p.findings.list.len;
    assert_int_equal(before, 1);
    api_check_documents(&p.list, &p.findings);
    assert_int_equal(p.findings.list.len, before);
    parsed_free(&p);
}

/* What the server finds is shown in the file by its path: every finding of a check has one that
 * leads to its place. */
static void test_paths(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct api_document_list list;
        struct api_findings findings;
        struct api_source source = {
            .file = STR("x"), .text = str_from_c(rows[i].text), .is_locatable = true};
        api_document_list_init(&list);
        api_findings_init(&findings);
        api_document_parse(&source, &list, &findings);
        size_t before = findings.list.len;
        api_check_documents(&list, &findings);
        for (size_t j = before; j < findings.list.len; j++) {
            const struct api_finding *f = &findings.list.ptr[j];
            struct api_place place = {0};
            for (size_t k = 0; k < list.docs.len; k++)
                if (str_eq(api_document_subject(&findings.arena, list.docs.ptr[k]), f->subject))
                    api_document_locate(list.docs.ptr[k], f->path, &place);
            if (place.line != f->place.line || place.column != f->place.column)
                fail_msg("row %zu: %.*s is at %u:%u, not %u:%u", i, STR_FMT(f->path), place.line,
                         place.column, f->place.line, f->place.column);
        }
        api_findings_deinit(&findings);
        api_document_list_deinit(&list);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_broken_service),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
