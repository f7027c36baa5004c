/* The API by a raw client over its unix socket; the loop is driven in between. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/log.h"
#include "control/push/testing/push_rig.h"
#include "control/server/server_priv.h"

struct fixture {
    struct push_rig rig;
    char path[128];
    struct server *server;
    struct arena arena;
    struct str_buf answer;
    unsigned status;
    const struct json *json; /* of the body; NULL: it is none */
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct str_buf why = STR_BUF_INIT(1000);
    push_rig_open(&f->rig);
    arena_init(&f->arena, 4096);
    f->answer = STR_BUF_INIT(1 << 22);
    f->server = server_new(&(struct server_args){f->rig.turn, f->rig.store, f->rig.registry,
                                                 f->rig.translate, f->rig.push, f->rig.ca,
                                                 STR("test"), str_from_c(f->rig.dir)});
    snprintf(f->path, sizeof f->path, "%s/api.sock", f->rig.dir);
    assert_int_equal(server_listen_api(f->server, str_from_c(f->path), &why), 0);
    str_buf_deinit(&why);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    server_free(f->server);
    push_rig_close(&f->rig);
    str_buf_deinit(&f->answer);
    arena_deinit(&f->arena);
    free(f);
    return 0;
}

/* --- the client --- */

static int dial(struct fixture *f)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    size_t len = strlen(f->path);
    assert_true(len < sizeof sa.sun_path);
    memcpy(sa.sun_path, f->path, len + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (void *)&sa, sizeof sa), 0);
    return fd;
}

static void send_all(struct fixture *f, int fd, struct str bytes)
{
    while (bytes.len > 0) {
        ssize_t n = send(fd, bytes.ptr, bytes.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0)
            bytes = str_skip(bytes, (size_t)n);
        else if (errno != EAGAIN)
            return; /* the server has had enough */
        turn_once(f->rig.turn, 0);
    }
}

/* Until the server closes. */
static void receive(struct fixture *f, int fd)
{
    char block[4096];
    str_buf_reset(&f->answer);
    for (int i = 0; i < 3000; i++) {
        turn_once(f->rig.turn, 1);
        ssize_t n = recv(fd, block, sizeof block, MSG_DONTWAIT);
        if (n > 0)
            str_buf_add(&f->answer, str_from(block, (size_t)n));
        if (n == 0 || (n < 0 && errno != EAGAIN))
            break;
    }
    close(fd);
}

static void parse_answer(struct fixture *f)
{
    struct str text = str_buf_str(&f->answer);
    f->status = 0;
    f->json = NULL;
    assert_true(text.len > 12);
    f->status = (unsigned)atoi(text.ptr + 9);
    const char *body = strstr(text.ptr, "\r\n\r\n");
    assert_non_null(body);
    struct str rest = str_skip(text, (size_t)(body + 4 - text.ptr));
    (void)json_parse(&f->arena, rest, rest.len, &f->json, NULL);
}

static void call_typed(struct fixture *f, const char *method, const char *path, const char *type,
                       struct str body)
{
    struct str_buf request = STR_BUF_INIT(80 << 20);
    str_buf_printf(&request,
                   "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: %s\r\n"
                   "Content-Length: %zu\r\n\r\n",
                   method, path, type, body.len);
    str_buf_add(&request, body);
    int fd = dial(f);
    send_all(f, fd, str_buf_str(&request));
    receive(f, fd);
    parse_answer(f);
    str_buf_deinit(&request);
}

static void call(struct fixture *f, const char *method, const char *path, const char *body)
{
    call_typed(f, method, path, "application/yaml", str_from_c(body));
}

static bool says(struct fixture *f, const char *words)
{
    return str_contains(str_buf_str(&f->answer), str_from_c(words));
}

static const char *text_at(struct fixture *f, const char *key)
{
    return arena_str(&f->arena, json_str_or(json_get(f->json, key), STR_NULL)).ptr;
}

#define SERVICE                                                                                    \
    "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n"                      \
    "spec: {selector: {app: web}, ports: [{name: http, port: 80}]}\n"
#define WORKLOAD                                                                                   \
    "apiVersion: tulle.dev/v1\nkind: Workload\n"                                                   \
    "metadata: {name: web, namespace: shop, labels: {app: web}}\n"                                 \
    "spec: {replicas: 2, ports: [{name: http, port: 80}]}\n"
#define ROUTE(name)                                                                                \
    "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"                                   \
    "metadata: {name: " name ", namespace: shop}\n"                                                \
    "spec: {hosts: [web], http: [{route: [{destination: {host: web}}]}]}\n"
#define SERVICES "/api/v1/namespaces/shop/services"

static void apply(struct fixture *f, const char *text)
{
    call(f, "POST", "/tulle/v1/apply", text);
}

/* --- tests --- */

static void test_plain_pages(void **state)
{
    struct fixture *f = *state;
    static const char *const pages[] = {"/readyz",
                                        "/version",
                                        "/api",
                                        "/apis",
                                        "/api/v1",
                                        "/apis/networking.istio.io/v1",
                                        "/tulle/v1/status",
                                        "/tulle/v1/ca/bundle",
                                        "/apis/tulle.dev/v1/meshes"};
    for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
        call(f, "GET", pages[i], "");
        if (f->status != 200)
            fail_msg("%s: %.*s", pages[i], STR_FMT(str_buf_str(&f->answer)));
    }
    struct stat st;
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void test_refusals(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *method, *path, *body;
        unsigned status;
        const char *reason;
    } table[] = {
        {"GET", "/nothing", "", 404, "NotFound"},
        {"GET", "/api/v1/pods", "", 404, "NotFound"},
        {"GET", "/apis/x/y/z", "", 404, "NotFound"},
        {"GET", "/apis/x/y", "", 404, "NotFound"},
        {"GET", SERVICES "/none", "", 404, "NotFound"},
        {"DELETE", SERVICES "/none", "", 404, "NotFound"},
        {"PUT", SERVICES "/web", SERVICE, 404, "NotFound"},
        {"PUT", SERVICES "/other", SERVICE, 400, "BadRequest"},
        {"POST", "/api/v1/namespaces/else/services", SERVICE, 400, "BadRequest"},
        {"POST", "/apis/tulle.dev/v1/namespaces/shop/workloads", SERVICE, 400, "BadRequest"},
        {"POST", SERVICES, SERVICE "---\n" WORKLOAD, 400, "BadRequest"},
        {"PATCH", SERVICES "/web", "{}", 404, "NotFound"},
        {"TRACE", SERVICES "/web", "{}", 405, "MethodNotAllowed"},
        {"PUT", SERVICES, SERVICE, 405, "MethodNotAllowed"},
        {"GET", "/tulle/v1/apply", "", 405, "MethodNotAllowed"},
        {"POST", "/tulle/v1/apply?owner=me", SERVICE, 400, "BadRequest"},
        {"POST", "/tulle/v1/apply", "a: [", 422, "Invalid"},
        {"POST", SERVICES, "kind: Service", 422, "Invalid"},
        {"GET", "/tulle/v1/wait", "", 400, "BadRequest"},
        {"GET", "/tulle/v1/wait?revision=999", "", 400, "BadRequest"},
        {"GET", "/tulle/v1/wait?revision=0&timeout=-1", "", 400, "BadRequest"},
        {"POST", "/tulle/v1/replicas/shop/web/0/gone", "", 404, "NotFound"},
        {"POST", "/tulle/v1/replicas/shop/web/x/gone", "", 404, "NotFound"},
        {"POST", "/apis/tulle.dev/v1/namespaces/shop/workloads/web/token", "{}", 404, "NotFound"},
        {"GET", "/api/v1/services/web", "", 400, "BadRequest"},
        {"GET", "/tulle/v1/explain", "", 405, "MethodNotAllowed"},
        {"POST", "/tulle/v1/explain", "[]", 400, "BadRequest"},
        {"POST", "/tulle/v1/explain", "{\"workload\":\"x\"", 400, "BadRequest"},
        {"POST", "/tulle/v1/explain", "{\"workload\":\"x\"}", 404, "NotFound"},
        {"GET", "/a/b/c/d/e/f/g/h/i/j/k/l/m", "", 400, "BadRequest"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        call(f, table[i].method, table[i].path, table[i].body);
        if (f->status != table[i].status || strcmp(text_at(f, "reason"), table[i].reason) != 0)
            fail_msg("%s %s: %.*s", table[i].method, table[i].path,
                     STR_FMT(str_buf_str(&f->answer)));
    }
    assert_int_equal(store_revision(f->rig.store), 0);
}

static void test_one_document(void **state)
{
    struct fixture *f = *state;
    call(f, "POST", SERVICES, SERVICE);
    assert_int_equal(f->status, 201);
    assert_true(says(f, "\"resourceVersion\":\"1\"") && says(f, "\"uid\":\""));
    call(f, "POST", SERVICES, SERVICE);
    assert_int_equal(f->status, 409);
    assert_string_equal(text_at(f, "reason"), "AlreadyExists");
    call(f, "GET", SERVICES "/web", "");
    assert_int_equal(f->status, 200);
    assert_string_equal(text_at(f, "kind"), "Service");
    /* Optimistic: by the version that was read. */
    call(f, "PUT", SERVICES "/web",
         "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"web\",\"namespace\":"
         "\"shop\",\"resourceVersion\":\"1\"},\"spec\":{\"selector\":{\"app\":\"web\"},\"ports\":["
         "{\"name\":\"http\",\"port\":81}]}}");
    assert_int_equal(f->status, 200);
    assert_true(says(f, "\"generation\":2"));
    call(f, "PUT", SERVICES "/web",
         "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"web\",\"namespace\":"
         "\"shop\",\"resourceVersion\":\"1\"},\"spec\":{\"selector\":{\"app\":\"web\"},\"ports\":["
         "{\"name\":\"http\",\"port\":82}]}}");
    assert_int_equal(f->status, 409);
    assert_string_equal(text_at(f, "reason"), "Conflict");
    call(f, "GET", "/api/v1/services", "");
    assert_int_equal(json_count(json_get(f->json, "items")), 1);
    call(f, "DELETE", SERVICES "/web", "");
    assert_int_equal(f->status, 200);
    uint64_t revision;
    assert_true(json_u64(json_get(f->json, "revision"), &revision) && revision == 3);
    call(f, "GET", SERVICES, "");
    assert_int_equal(json_count(json_get(f->json, "items")), 0);
}

static void test_all_or_nothing(void **state)
{
    struct fixture *f = *state;
    apply(f, SERVICE "---\n" WORKLOAD "---\nkind: Nonsense\napiVersion: v9\nmetadata: {name: x}\n");
    assert_int_equal(f->status, 422);
    assert_true(json_count(json_get(f->json, "findings")) > 0);
    assert_int_equal(store_revision(f->rig.store), 0);
    apply(f, SERVICE "---\n" WORKLOAD);
    assert_int_equal(f->status, 200);
    assert_int_equal(json_count(json_get(f->json, "applied")), 2);
    assert_true(says(f, "\"change\":\"created\"") && says(f, "\"revision\":2"));
    apply(f, "# a comment\n" SERVICE "---\n" WORKLOAD);
    assert_true(says(f, "\"change\":\"unchanged\"") && says(f, "\"revision\":2"));
    call(f, "POST", "/tulle/v1/apply?dryRun=true", ROUTE("r"));
    assert_true(f->status == 200 && says(f, "\"change\":\"created\"") && says(f, "\"revision\":2"));
    call(f, "GET", "/tulle/v1/wait?revision=2&timeout=1000", "");
    assert_int_equal(f->status, 200);
    assert_true(says(f, "\"proxies\":0,\"acked\":0,\"nacked\":0"));
}

static void test_conflicts_with_what_is_there(void **state)
{
    struct fixture *f = *state;
    apply(f, SERVICE "---\n" WORKLOAD "---\n" ROUTE(
                 "one") "---\n"
                        "apiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: shop}\n"
                        "spec: {selector: {app: db}, ports: [{name: tcp, port: 5432}]}\n");
    assert_int_equal(f->status, 200);
    /* A destination that does not exist: what is there counts. */
    apply(f, "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
             "metadata: {name: two, namespace: shop}\n"
             "spec: {hosts: [web2], http: [{route: [{destination: {host: web2}}]}]}\n");
    assert_int_equal(f->status, 422);
    assert_true(says(f, "VirtualService/shop/two"));
    /* What was wrong before is no reason: the service goes, something else may still be changed. */
    call(f, "DELETE", SERVICES "/web", "");
    assert_int_equal(f->status, 200);
    apply(f, "apiVersion: v1\nkind: Service\nmetadata: {name: other, namespace: shop}\n"
             "spec: {selector: {app: other}, ports: [{name: http, port: 80}]}\n");
    assert_int_equal(f->status, 200);
}

#define SERVICE_OF(namespace_)                                                                     \
    "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: " namespace_ "}\n"            \
    "spec: {selector: {app: web}, ports: [{name: http, port: 80}]}\n---\n"
#define ROUTE_OF(namespace_, host, to)                                                             \
    "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"                                   \
    "metadata: {name: r, namespace: " namespace_ "}\n"                                             \
    "spec: {hosts: [" host "], http: [{route: [{destination: {host: " to "}}]}]}\n"

/* What a change is checked against is found by who speaks of whom, over namespaces. */
static void test_conflicts_between_namespaces(void **state)
{
    struct fixture *f = *state;
    apply(f, SERVICE_OF("a") SERVICE_OF("b") SERVICE_OF("c") SERVICE_OF("d")
                 ROUTE_OF("a", "web.b.svc.cluster.local", "web.c.svc.cluster.local"));
    /* Of a third namespace, about the same host. */
    call(f, "POST", "/tulle/v1/apply", ROUTE_OF("d", "web.b.svc.cluster.local", "web"));
    assert_int_equal(f->status, 422);
    assert_true(says(f, "VirtualService/a/r"));
    /* What it sends to goes: it stands elsewhere, and would be wrong. */
    apply(f, "apiVersion: v1\nkind: Service\nmetadata: {name: other, namespace: c}\n"
             "spec: {selector: {app: o}, ports: [{name: http, port: 80}]}\n");
    call(f, "POST", "/tulle/v1/apply?prune=true&owner=api",
         SERVICE_OF("a") SERVICE_OF("b") SERVICE_OF("d")
             ROUTE_OF("a", "web.b.svc.cluster.local",
                      "web.c.svc.cluster.local") "---\napiVersion: v1\nkind: Service\nmetadata: "
                                                 "{name: other, namespace: c}\n"
                                                 "spec: {selector: {app: o}, ports: [{name: http, "
                                                 "port: 80}]}\n");
    assert_int_equal(f->status, 422);
    /* Hosts that are in no namespace of ours. */
    apply(f, "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
             "metadata: {name: x, namespace: a}\n"
             "spec: {hosts: [api.example.com], http: [{route: [{destination: {host: web}}]}]}\n");
    call(f, "POST", "/tulle/v1/apply", ROUTE_OF("d", "api.example.com", "web"));
    assert_int_equal(f->status, 422);
}

static void test_prune(void **state)
{
    struct fixture *f = *state;
    call(f, "POST", "/tulle/v1/apply?owner=up", SERVICE "---\n" WORKLOAD "---\n" ROUTE("r"));
    apply(f, "apiVersion: v1\nkind: Namespace\nmetadata: {name: mine}\n");
    call(f, "POST", "/tulle/v1/apply?owner=up&prune=true", SERVICE "---\n" WORKLOAD);
    assert_int_equal(f->status, 200);
    assert_true(says(f, "\"name\":\"r\",\"change\":\"deleted\""));
    call(f, "GET", "/apis/networking.istio.io/v1/virtualservices", "");
    assert_int_equal(json_count(json_get(f->json, "items")), 0);
    call(f, "GET", "/api/v1/namespaces/mine", "");
    assert_int_equal(f->status, 200);
}

static void test_files_keep_their_names(void **state)
{
    struct fixture *f = *state;
    const char *body = "{\"files\":[{\"name\":\"a.yaml\",\"text\":\"apiVersion: v1\\nkind: "
                       "Namespace\\nmetadata: {name: a}\\n\"},{\"name\":\"b.yaml\",\"text\":"
                       "\"apiVersion: v1\\nkind: Namespace\\nmetadata: {nam: b}\\n\"}]}";
    call_typed(f, "POST", "/tulle/v1/apply", "application/json", str_from_c(body));
    assert_int_equal(f->status, 422);
    assert_true(says(f, "\"file\":\"b.yaml\""));
    assert_false(says(f, "\"file\":\"a.yaml\""));
}

static void test_explain_names_the_place_of_a_document(void **state)
{
    struct fixture *f = *state;
    const char *body =
        "{\"files\":[{\"name\":\"/x/web.yaml\",\"line\":7,\"text\":\"{\\\"apiVersion"
        "\\\":\\\"v1\\\",\\\"kind\\\":\\\"Service\\\",\\\"metadata\\\":{\\\"name\\\":"
        "\\\"web\\\",\\\"namespace\\\":\\\"shop\\\"},\\\"spec\\\":{\\\"selector\\\":{"
        "\\\"app\\\":\\\"web\\\"},\\\"ports\\\":[{\\\"port\\\":80}]}}\"}]}";
    call_typed(f, "POST", "/tulle/v1/apply", "application/json", str_from_c(body));
    assert_int_equal(f->status, 200);
    apply(f, WORKLOAD);
    call(
        f, "POST", "/tulle/v1/explain",
        "{\"workload\":\"web\",\"method\":\"GET\",\"url\":\"http://web/\",\"headers\":[\"a: b\"]}");
    assert_int_equal(f->status, 200);
    assert_string_equal(text_at(f, "decision"), "UNAVAILABLE"); /* nobody has connected */
    assert_true(says(f, "\"file\":\"/x/web.yaml\",\"line\":7"));
    call(f, "POST", "/tulle/v1/explain",
         "{\"workload\":\"web\",\"method\":\"GET\",\"url\":\"http://web/\",\"headers\":[\"a\"]}");
    assert_int_equal(f->status, 400);
    assert_true(says(f, "NAME: VALUE"));
}

static void test_tokens(void **state)
{
    struct fixture *f = *state;
    const char *path = "/apis/tulle.dev/v1/namespaces/shop/workloads/web/token";
    static const char *const bad[] = {"", "{}", "{\"replica\":-1}", "{\"replica\":1000000}", "x"};
    apply(f, WORKLOAD);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        call(f, "POST", path, bad[i]);
        assert_int_equal(f->status, 400);
    }
    call(f, "POST", path, "{\"replica\":1}");
    assert_int_equal(f->status, 201);
    struct str namespace_, workload,
        token = arena_str(&f->arena, json_str_or(json_get(f->json, "token"), STR_NULL));
    uint32_t index;
    assert_int_equal(ca_token_redeem(f->rig.store, token, turn_wall_us(f->rig.turn) / 1000000,
                                     &f->arena, &namespace_, &workload, &index),
                     0);
    assert_true(str_eq(workload, STR("web")) && index == 1);
}

static void test_too_large(void **state)
{
    struct fixture *f = *state;
    size_t len = REST_BODY_BYTES_MAX + 1;
    char *body = malloc(len);
    memset(body, '#', len);
    call_typed(f, "POST", "/tulle/v1/apply", "application/yaml", str_from(body, len));
    assert_int_equal(f->status, 413);
    free(body);
}

static void test_a_client_leaves_while_it_waits(void **state)
{
    struct fixture *f = *state;
    apply(f, SERVICE);
    int fd = dial(f);
    send_all(f, fd, STR("GET /tulle/v1/wait?revision=1&timeout=20 HTTP/1.1\r\nHost: x\r\n\r\n"));
    close(fd);
    for (int i = 0; i < 20; i++)
        turn_once(f->rig.turn, 2);
}

int main(void)
{
    log_set_level(LOG_OFF);
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_plain_pages),
        T(test_refusals),
        T(test_one_document),
        T(test_all_or_nothing),
        T(test_conflicts_with_what_is_there),
        T(test_conflicts_between_namespaces),
        T(test_prune),
        T(test_files_keep_their_names),
        T(test_explain_names_the_place_of_a_document),
        T(test_tokens),
        T(test_too_large),
        T(test_a_client_leaves_while_it_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
