/* Questions come from people and programs, a line a part: workload, namespace, method, URL, from,
 * address, headers. There is an answer that is JSON, or a reason why there is none. */
#include <stdlib.h>

#include "codec/json.h"
#include "control/api/document.h"
#include "control/explain/explain.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ANSWER_BYTES_MAX = 16 * 1024 * 1024 };

static const char documents[] =
    "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: n}\n"
    "spec: {selector: {app: a}, ports: [{name: http, port: 80}]}\n"
    "---\napiVersion: tulle.dev/v1\nkind: Workload\n"
    "metadata: {name: a, namespace: n, labels: {app: a}}\nspec: {ports: [{name: http, port: 80}]}\n"
    "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n"
    "metadata: {name: a, namespace: n}\nspec: {hosts: [a], http: [{match: [{uri: {prefix: /b/},"
    " headers: {x: {exact: y}}}, {queryParams: {q: {exact: v}}}], rewrite: {uri: /},"
    " route: [{destination: {host: a}}]}, {match: [{uri: {exact: /r}}], redirect: {uri: /s}},"
    " {route: [{destination: {host: a, subset: v1}}]}]}\n"
    "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
    "metadata: {name: a, namespace: n}\nspec: {action: DENY, rules: [{to: [{operation: {paths:"
    " [/c*], methods: [PUT]}}], when: [{key: \"request.headers[x]\", values: [z]}]}]}\n";

static struct explain_args mesh; /* made once */

static void fill(struct store *s)
{
    struct api_document_list list;
    struct api_findings findings;
    struct api_source source = {.file = STR("a.yaml"), .text = str_from_c(documents)};
    api_document_list_init(&list);
    api_findings_init(&findings);
    if (api_document_parse(&source, &list, &findings) != 0)
        abort();
    for (size_t i = 0; i < list.docs.len; i++) {
        const struct api_document *d = list.docs.ptr[i];
        struct store_write w = {.object = {.kind = d->kind,
                                           .namespace_ = d->namespace,
                                           .name = d->name,
                                           .json = d->json,
                                           .file = d->file,
                                           .line = d->place.line}};
        if (store_commit(s, &w, 1, NULL, NULL) != 0)
            abort();
    }
    api_findings_deinit(&findings);
    api_document_list_deinit(&list);
}

static void make_mesh(void)
{
    struct str_buf why = STR_BUF_INIT(1024);
    struct registry_replica *r;
    struct ip_addr addresses[2] = {ip_v4(10, 0, 0, 1), {.family = IP_NONE}};
    if (store_open_sqlite(STR(":memory:"), &why, &mesh.store) != 0)
        abort();
    fill(mesh.store);
    mesh.registry = registry_new(mesh.store, &why);
    mesh.translate = translate_new(mesh.registry);
    mesh.has_addresses = true;
    if (registry_replica_connect(mesh.registry, STR("n"), STR("a"), 0, addresses, &mesh, &r) != 0)
        abort();
    registry_replica_set_state(mesh.registry, r, REPLICA_READY);
}

static void check(int err, const struct str_buf *out, const struct str_buf *why)
{
    struct arena a;
    const struct json *root;
    if (err != 0 && why->len == 0)
        abort();
    arena_init(&a, 4096);
    if (err == 0 && json_parse(&a, str_buf_str(out), ANSWER_BYTES_MAX, &root, NULL) != 0)
        abort();
    arena_deinit(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = str_from((const char *)data, size), headers[EXPLAIN_HEADERS_MAX];
    struct str_buf out = STR_BUF_INIT(ANSWER_BYTES_MAX), why = STR_BUF_INIT(8192);
    struct json_writer w;
    if (mesh.store == NULL)
        make_mesh();
    struct explain_args args = mesh;
    args.workload = str_split(&rest, '\n');
    args.namespace_ = str_split(&rest, '\n');
    args.method = str_split(&rest, '\n');
    args.url = str_split(&rest, '\n');
    args.from = str_split(&rest, '\n');
    args.from_ip = str_split(&rest, '\n');
    args.headers = headers;
    while (rest.ptr != NULL && args.header_count < EXPLAIN_HEADERS_MAX)
        headers[args.header_count++] = str_split(&rest, '\n');
    json_writer_init(&w, &out, 0);
    check(explain(&args, &w, &why), &out, &why);
    str_buf_deinit(&out);
    str_buf_deinit(&why);
    return 0;
}
