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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_broken_service),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
