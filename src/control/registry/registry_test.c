#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "control/registry/registry.h"

enum { LEASE_US = 30 * 1000 * 1000 };

struct fixture {
    char dir[64], path[96];
    struct store *store;
    struct registry *registry;
    struct arena arena;
    struct str_buf facts; /* "fact;fact;" */
};

static void on_fact(void *ctx, struct str fact)
{
    struct fixture *f = ctx;
    str_buf_printf(&f->facts, "%.*s;", STR_FMT(fact));
}

static void open_all(struct fixture *f)
{
    struct str_buf why = STR_BUF_INIT(1000);
    if (store_open_sqlite(str_from_c(f->path), &why, &f->store) != 0)
        fail_msg("%.*s", STR_FMT(str_buf_str(&why)));
    f->registry = registry_new(f->store, &why);
    if (f->registry == NULL)
        fail_msg("%.*s", STR_FMT(str_buf_str(&why)));
    str_buf_deinit(&why);
    registry_watch(f->registry, on_fact, f);
    str_buf_reset(&f->facts);
}

static void close_all(struct fixture *f)
{
    f->registry = registry_free(f->registry);
    f->store = store_close(f->store);
}

static void reopen(struct fixture *f)
{
    close_all(f);
    open_all(f);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    strcpy(f->dir, "/tmp/tulle-registry-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/store.db", f->dir);
    arena_init(&f->arena, 1024);
    f->facts = STR_BUF_INIT(65536);
    open_all(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    close_all(f);
    arena_deinit(&f->arena);
    str_buf_deinit(&f->facts);
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", f->path, suffixes[i]);
        unlink(name);
    }
    rmdir(f->dir);
    free(f);
    return 0;
}

static void write_object(struct fixture *f, struct store_write *w)
{
    size_t failed;
    str_buf_reset(&f->facts);
    w->object.file = STR("t.yaml");
    w->object.owner = STR("api");
    w->object.created_at = STR("2026-01-01T00:00:00Z");
    assert_int_equal(store_commit(f->store, w, 1, NULL, &failed), 0);
}

static void apply(struct fixture *f, const char *yaml)
{
    struct api_document_list list;
    struct api_findings findings;
    struct api_source source = {
        .file = STR("t.yaml"), .text = str_from_c(yaml), .default_namespace = STR("shop")};
    api_document_list_init(&list);
    api_findings_init(&findings);
    assert_int_equal(api_document_parse(&source, &list, &findings), 0);
    for (size_t i = 0; i < list.docs.len; i++) {
        const struct api_document *d = list.docs.ptr[i];
        struct store_write w = {
            .object = {
                .kind = d->kind, .namespace_ = d->namespace, .name = d->name, .json = d->json}};
        write_object(f, &w);
    }
    api_document_list_deinit(&list);
    api_findings_deinit(&findings);
}

static void erase(struct fixture *f, enum api_kind kind, const char *name)
{
    struct store_write w = {
        .is_delete = true,
        .object = {.kind = kind, .namespace_ = STR("shop"), .name = str_from_c(name)}};
    if (kind == API_KIND_MESH)
        w.object.namespace_ = STR_NULL;
    write_object(f, &w);
}

static bool was_told(const struct fixture *f, const char *fact)
{
    struct str rest = str_buf_str(&f->facts);
    while (rest.ptr != NULL) {
        if (str_eq(str_split(&rest, ';'), str_from_c(fact)))
            return true;
    }
    return false;
}

static struct registry_replica *connect_at(struct fixture *f, const char *workload, uint32_t index,
                                           struct ip_addr ip)
{
    struct ip_addr addresses[2] = {0};
    struct registry_replica *p = NULL;
    str_buf_reset(&f->facts);
    addresses[ip.family == IP_V4 ? 0 : 1] = ip;
    assert_int_equal(registry_replica_connect(f->registry, STR("shop"), str_from_c(workload), index,
                                              addresses, f, &p),
                     0);
    return p;
}

#define SERVICE(name)                                                                              \
    "apiVersion: v1\nkind: Service\nmetadata: {name: " name "}\n"                                  \
    "spec: {selector: {app: " name "}, ports: [{name: http, port: 80}]}\n"
#define WORKLOAD(name, labels)                                                                     \
    "apiVersion: tulle.dev/v1\nkind: Workload\nmetadata: {name: " name ", labels: {" labels "}}\n" \
    "spec: {serviceAccount: " name "-sa, ports: [{name: http, port: 80}]}\n"

static struct ip_addr address(struct fixture *f, const char *name, int family)
{
    const struct registry_service *s = registry_service(f->registry, STR("shop"), str_from_c(name));
    assert_non_null(s);
    return s->addresses[family];
}

/* Addresses are given once: over restarts, over deletion, whatever comes in between. */
static void test_addresses(void **state)
{
    struct fixture *f = *state;
    apply(f, SERVICE("b") "---\n" SERVICE("a"));
    struct ip_addr a4 = address(f, "a", 0), a6 = address(f, "a", 1), b4 = address(f, "b", 0);
    struct ip_addr first = ip_v4(240, 240, 0, 1);
    assert_true(ip_eq(&b4, &first));
    assert_false(ip_eq(&a4, &b4));
    assert_int_equal(a6.family, IP_V6);
    assert_int_equal(a6.bytes[15], 2);
    reopen(f);
    struct ip_addr now = address(f, "a", 0);
    assert_true(ip_eq(&now, &a4));
    erase(f, API_KIND_SERVICE, "a");
    assert_null(registry_service(f->registry, STR("shop"), STR("a")));
    apply(f, SERVICE("c"));
    reopen(f);
    apply(f, SERVICE("a"));
    now = address(f, "a", 0);
    assert_true(ip_eq(&now, &a4));
    struct ip_addr c4 = address(f, "c", 0);
    assert_int_equal(c4.bytes[3], 3);
    /* A change of the service keeps them. */
    apply(f, "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"
             "spec: {selector: {app: z}, ports: [{name: http, port: 81}]}\n");
    now = address(f, "a", 0);
    assert_true(ip_eq(&now, &a4));
    assert_ptr_equal(registry_service_by_host(f->registry, STR("a.shop.svc.cluster.local")),
                     registry_service(f->registry, STR("shop"), STR("a")));
    assert_null(registry_service_by_host(f->registry, STR("a.other.svc.cluster.local")));
    assert_null(registry_service_by_host(f->registry, STR("example.com")));
}

/* One commit of so many services, each with a document. */
static void apply_services(struct fixture *f, size_t count)
{
    struct store_write *writes = calloc(count, sizeof *writes);
    size_t failed;
    for (size_t i = 0; i < count; i++) {
        struct str name = arena_printf(&f->arena, "s%zu", i);
        struct str json =
            arena_printf(&f->arena,
                         "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"%.*"
                         "s\",\"namespace\":"
                         "\"shop\"},\"spec\":{\"ports\":[{\"name\":\"http\",\"port\":80}]}}",
                         STR_FMT(name));
        writes[i].object = (struct store_object){.kind = API_KIND_SERVICE,
                                                 .namespace_ = STR("shop"),
                                                 .name = name,
                                                 .json = json,
                                                 .owner = STR("api"),
                                                 .file = STR("t.yaml"),
                                                 .created_at = STR("2026-01-01T00:00:00Z")};
    }
    assert_int_equal(store_commit(f->store, writes, count, NULL, &failed), 0);
    free(writes);
}

/* System calls of this process that write; 0: the kernel does not count them. */
static unsigned long writes_of_process(void)
{
    unsigned long count = 0;
    char line[100];
    FILE *file = fopen("/proc/self/io", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        (void)sscanf(line, "syscw: %lu", &count);
    if (file != NULL)
        fclose(file);
    return count;
}

/* Work that grows with what is written, not a transaction and its sync for each service: on a disk
 * these took a minute for 10,000. */
static void test_addresses_of_many(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 500 };
    unsigned long before = writes_of_process();
    apply_services(f, COUNT);
    unsigned long writes = writes_of_process() - before;
    assert_int_equal(address(f, "s499", 0).family, IP_V4);
    if (writes >= COUNT)
        fail_msg("%lu writes for %d services", writes, (int)COUNT);
    struct ip_addr last = address(f, "s499", 0);
    reopen(f);
    struct ip_addr now = address(f, "s499", 0);
    assert_true(ip_eq(&now, &last));
}

/* After the documents are kept, the disk is full. */
static void fill_disk(void *ctx, enum store_change change, const struct store_object *o)
{
    const struct fixture *f = ctx;
    char wal[128];
    struct stat st;
    (void)change;
    (void)o;
    snprintf(wal, sizeof wal, "%s-wal", f->path);
    assert_int_equal(stat(wal, &st), 0);
    struct rlimit limit = {(rlim_t)st.st_size, RLIM_INFINITY};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* An address that is not kept is not given: it would be another host's after a restart. */
static void test_addresses_not_kept(void **state)
{
    struct fixture *f = *state;
    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_IGN);
    apply(f, SERVICE("a"));
    store_watch(f->store, fill_disk, NULL, f);
    apply_services(f, 3);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(address(f, "a", 0).family, IP_V4);
    assert_int_equal(address(f, "s1", 0).family, IP_NONE);
    /* With room again, a restart gives them theirs. */
    reopen(f);
    assert_int_equal(address(f, "s1", 0).family, IP_V4);
}

static void test_facts(void **state)
{
    struct fixture *f = *state;
    apply(f, SERVICE("a"));
    assert_string_equal(f->facts.ptr, "namespaces;services/shop;service/shop/a;endpoints/shop/a;");
    apply(f, SERVICE("a"));
    assert_int_equal(f->facts.len, 0);
    apply(f, "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"
             "spec: {selector: {app: a}, ports: [{name: http, port: 81}]}\n");
    assert_false(was_told(f, "namespaces"));
    assert_true(was_told(f, "service/shop/a"));
    apply(f, WORKLOAD("a", "app: a"));
    assert_string_equal(f->facts.ptr, "workload/shop/a;");
    apply(f, "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\n"
             "spec: {hosts: [a, b.bank.svc], http: [{route: [{destination: {host: a}}]}]}\n");
    assert_true(was_told(f, "routes/a.shop.svc.cluster.local"));
    assert_true(was_told(f, "routes/b.bank.svc.cluster.local"));
    apply(f, "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\n"
             "spec: {hosts: [c], http: [{route: [{destination: {host: a}}]}]}\n");
    /* Those that it left, too. */
    assert_true(was_told(f, "routes/a.shop.svc.cluster.local"));
    assert_true(was_told(f, "routes/c.shop.svc.cluster.local"));
    apply(f, "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d}\n"
             "spec: {host: a}\n");
    assert_string_equal(f->facts.ptr, "rules/a.shop.svc.cluster.local;");
    erase(f, API_KIND_DESTINATION_RULE, "d");
    assert_string_equal(f->facts.ptr, "rules/a.shop.svc.cluster.local;");
    apply(f, "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p}\n"
             "spec: {}\n");
    assert_string_equal(f->facts.ptr, "docs/AuthorizationPolicy/shop;");
    apply(f, "apiVersion: tulle.dev/v1\nkind: Mesh\nmetadata: {name: default}\n"
             "spec: {trustDomain: mesh.local}\n");
    assert_string_equal(f->facts.ptr, "mesh;");
    assert_true(str_eq(registry_mesh(f->registry)->trust_domain, STR("mesh.local")));
    erase(f, API_KIND_MESH, "default");
    assert_true(str_eq(registry_mesh(f->registry)->trust_domain, STR("cluster.local")));
}

struct seen {
    char text[256];
};

static void on_replica(void *ctx, const struct registry_replica *p)
{
    struct seen *s = ctx;
    size_t len = strlen(s->text);
    snprintf(s->text + len, sizeof s->text - len, "%.*s/%u ", STR_FMT(p->workload), p->index);
}

static const char *ready(struct fixture *f, const char *service, struct seen *s)
{
    *s = (struct seen){0};
    registry_service_replicas(f->registry,
                              registry_service(f->registry, STR("shop"), str_from_c(service)),
                              on_replica, s);
    return s->text;
}

static void test_replicas(void **state)
{
    struct fixture *f = *state;
    struct seen s;
    struct ip_addr none[2] = {0};
    struct registry_replica *p;
    apply(f, SERVICE("a") "---\n" WORKLOAD("w", "app: a") "---\n" WORKLOAD("x", "app: a"));
    assert_int_equal(
        registry_replica_connect(f->registry, STR("shop"), STR("nobody"), 0, none, f, &p),
        -ERR_NOT_FOUND);
    p = connect_at(f, "w", 1, ip_v4(10, 0, 0, 2));
    assert_true(was_told(f, "endpoints/shop/a"));
    assert_true(was_told(f, "replicas/shop"));
    assert_true(str_eq(p->identity, STR("spiffe://cluster.local/ns/shop/sa/w-sa")));
    assert_int_equal(p->state, REPLICA_CONNECTED);
    assert_string_equal(ready(f, "a", &s), "");
    registry_replica_set_state(f->registry, p, REPLICA_READY);
    registry_replica_set_state(f->registry, connect_at(f, "x", 0, ip_v4(10, 0, 0, 1)),
                               REPLICA_READY);
    /* By address; those with IPv6 alone before them, in an order of their own. */
    struct ip_addr v6 = {.family = IP_V6, .bytes = {0xfd, [15] = 2}};
    registry_replica_set_state(f->registry, connect_at(f, "w", 2, v6), REPLICA_READY);
    v6.bytes[15] = 1;
    registry_replica_set_state(f->registry, connect_at(f, "w", 3, v6), REPLICA_READY);
    assert_string_equal(ready(f, "a", &s), "w/3 w/2 x/0 w/1 ");
    /* The same again says nothing; another address does. */
    connect_at(f, "w", 1, ip_v4(10, 0, 0, 2));
    assert_int_equal(f->facts.len, 0);
    connect_at(f, "w", 1, ip_v4(10, 0, 0, 3));
    assert_true(was_told(f, "endpoints/shop/a"));
    registry_replica_set_state(f->registry, p, REPLICA_DRAINING);
    assert_string_equal(ready(f, "a", &s), "w/3 w/2 x/0 ");
    registry_replica_set_state(f->registry, p, REPLICA_GONE);
    assert_null(registry_replica(f->registry, STR("shop"), STR("w"), 1));
    /* Another account, another identity; no account any more, nobody. */
    apply(f, "apiVersion: tulle.dev/v1\nkind: Workload\nmetadata: {name: x, labels: {app: a}}\n"
             "spec: {serviceAccount: new-sa}\n");
    assert_true(was_told(f, "endpoints/shop/a"));
    p = registry_replica(f->registry, STR("shop"), STR("x"), 0);
    assert_true(str_eq(p->identity, STR("spiffe://cluster.local/ns/shop/sa/new-sa")));
    apply(f, "apiVersion: tulle.dev/v1\nkind: Mesh\nmetadata: {name: default}\n"
             "spec: {trustDomain: mesh.local}\n");
    assert_true(was_told(f, "endpoints/shop/a"));
    assert_true(str_eq(p->identity, STR("spiffe://mesh.local/ns/shop/sa/new-sa")));
    erase(f, API_KIND_WORKLOAD, "w");
    assert_string_equal(ready(f, "a", &s), "x/0 ");
    assert_true(was_told(f, "endpoints/shop/a"));
}

static void test_leases(void **state)
{
    struct fixture *f = *state;
    struct seen s;
    apply(f, SERVICE("a") "---\n" WORKLOAD("w", "app: a"));
    struct registry_replica *p = connect_at(f, "w", 0, ip_v4(10, 0, 0, 1));
    registry_replica_set_state(f->registry, p, REPLICA_READY);
    assert_int_equal(registry_expire(f->registry, 1000ull * LEASE_US), UINT64_MAX);
    registry_replica_disconnect(f->registry, p, 100);
    assert_int_equal(registry_expire(f->registry, LEASE_US), LEASE_US + 100);
    assert_string_equal(ready(f, "a", &s), "w/0 ");
    /* Back in time: as if nothing had been. */
    connect_at(f, "w", 0, ip_v4(10, 0, 0, 1));
    assert_int_equal(f->facts.len, 0);
    assert_int_equal(registry_expire(f->registry, 10ull * LEASE_US), UINT64_MAX);
    /* A restart of tulled: known still, for one more lease from the first look at the clock. */
    reopen(f);
    assert_string_equal(ready(f, "a", &s), "w/0 ");
    assert_int_equal(registry_expire(f->registry, 500), LEASE_US + 500);
    str_buf_reset(&f->facts);
    assert_int_equal(registry_expire(f->registry, LEASE_US + 500), UINT64_MAX);
    assert_true(was_told(f, "endpoints/shop/a"));
    assert_string_equal(ready(f, "a", &s), "");
    reopen(f);
    assert_null(registry_replica(f->registry, STR("shop"), STR("w"), 0));
    /* A workload that was deleted meanwhile takes its replicas along. */
    connect_at(f, "w", 0, ip_v4(10, 0, 0, 1));
    erase(f, API_KIND_WORKLOAD, "w");
    reopen(f);
    assert_null(registry_replica(f->registry, STR("shop"), STR("w"), 0));
}

/* Who proves an identity at an address has it. */
static void test_given_away(void **state)
{
    struct fixture *f = *state;
    apply(f, WORKLOAD("w", "app: a") "---\n" WORKLOAD("x", "app: b"));
    connect_at(f, "w", 0, ip_v4(10, 0, 0, 1));
    /* Two that live may share one: a host's. */
    connect_at(f, "x", 0, ip_v4(10, 0, 0, 1));
    assert_non_null(registry_replica(f->registry, STR("shop"), STR("w"), 0));
    reopen(f);
    connect_at(f, "x", 0, ip_v4(10, 0, 0, 1));
    assert_non_null(registry_replica(f->registry, STR("shop"), STR("w"), 0));
    struct registry_replica *w = connect_at(f, "w", 0, ip_v4(10, 0, 0, 1));
    registry_replica_disconnect(f->registry, w, 0);
    connect_at(f, "x", 0, ip_v4(10, 0, 0, 2));
    assert_non_null(registry_replica(f->registry, STR("shop"), STR("w"), 0));
    connect_at(f, "x", 0, ip_v4(10, 0, 0, 1));
    assert_null(registry_replica(f->registry, STR("shop"), STR("w"), 0));
}

/* The store's records may be of another version, or damaged. */
static void test_records(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *key, *value;
    } records[] = {
        {"shop/w/0", "1 10.0.0.1 -"},
        {"shop/w/1", "9 10.0.0.1 -"},
        {"shop/w/2", "1 x -"},
        {"shop/w/3", "1 fd00::1 -"},
        {"shop/w", "1 10.0.0.1 -"},
        {"shop/w/x", "1 - -"},
        {"shop/w/4", ""},
        {"shop/gone/0", "1 10.0.0.1 -"},
        {"", "1"},
        {"shop/w/5", "1 - fd00::5"},
    };
    apply(f, WORKLOAD("w", "app: a"));
    for (size_t i = 0; i < ARRAY_LEN(records); i++)
        (void)store_record_put(f->store, STR("replicas"), str_from_c(records[i].key),
                               str_from_c(records[i].value));
    (void)store_record_put(f->store, STR("addresses"), STR("x.shop.svc.cluster.local"), STR("zz"));
    reopen(f);
    struct seen s = {0};
    registry_replicas(f->registry, on_replica, &s);
    assert_string_equal(s.text, "w/0 w/5 ");
    /* No address is better than another's. */
    apply(f, SERVICE("x") "---\n" SERVICE("y"));
    assert_int_equal(address(f, "x", 0).family, IP_NONE);
    assert_int_equal(address(f, "y", 0).family, IP_V4);
}

static void on_namespace(void *ctx, struct str namespace_)
{
    struct seen *s = ctx;
    size_t len = strlen(s->text);
    snprintf(s->text + len, sizeof s->text - len, "%.*s ", STR_FMT(namespace_));
}

static void on_doc(void *ctx, const struct api_document *d)
{
    on_namespace(ctx, d->name);
}

static void test_look_ups(void **state)
{
    struct fixture *f = *state;
    apply(f, "apiVersion: v1\nkind: Service\nmetadata: {name: z, namespace: bank}\n"
             "spec: {ports: [{name: http, port: 80}]}\n---\n" WORKLOAD("w", "app: a"));
    struct seen s = {0};
    registry_namespaces(f->registry, on_namespace, &s);
    assert_string_equal(s.text, "bank shop ");
    apply(f, "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v2}\n"
             "spec: {hosts: [z.bank], http: [{route: [{destination: {host: a}}]}]}\n");
    apply(
        f,
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v1}\n"
        "spec: {hosts: [z.bank.svc.cluster.local], http: [{route: [{destination: {host: a}}]}]}\n");
    s = (struct seen){0};
    registry_routes(f->registry, STR("z.bank.svc.cluster.local"), on_doc, &s);
    assert_string_equal(s.text, "v1 ");
    assert_int_equal(registry_docs(f->registry, API_KIND_VIRTUAL_SERVICE, STR("shop")).len, 2);
    assert_int_equal(registry_docs(f->registry, API_KIND_VIRTUAL_SERVICE, STR("sho")).len, 0);
    assert_int_equal(registry_docs(f->registry, API_KIND_VIRTUAL_SERVICE, STR_NULL).len, 2);
    assert_null(registry_doc(f->registry, API_KIND_VIRTUAL_SERVICE, STR("shop"), STR("v")));
}

#define THIEF "spiffe://m/ns/shop/sa/thief"

static void on_revoked(void *ctx, struct str identity, struct str note)
{
    struct str_buf *to = ctx;
    str_buf_printf(to, "%.*s %.*s;", STR_FMT(identity), STR_FMT(note));
}

/* Told once it is on disk; there after a restart; undone for good. */
static void test_revoked(void **state)
{
    struct fixture *f = *state;
    struct str_buf seen = STR_BUF_INIT(1000);
    assert_false(registry_is_revoked(f->registry, STR(THIEF)));
    assert_int_equal(registry_restore(f->registry, STR(THIEF)), -ERR_NOT_FOUND);
    assert_int_equal(registry_revoke(f->registry, STR(THIEF), STR("why")), 0);
    assert_int_equal(registry_revoke(f->registry, STR(THIEF), STR("again")), 0);
    assert_true(str_eq(str_buf_str(&f->facts), STR("revoked;")));
    reopen(f);
    assert_true(registry_is_revoked(f->registry, STR(THIEF)));
    assert_false(registry_is_revoked(f->registry, STR(THIEF "2")));
    registry_each_revoked(f->registry, on_revoked, &seen);
    assert_true(str_eq(str_buf_str(&seen), STR(THIEF " why;")));
    assert_int_equal(registry_restore(f->registry, STR(THIEF)), 0);
    assert_true(str_eq(str_buf_str(&f->facts), STR("revoked;")));
    reopen(f);
    assert_false(registry_is_revoked(f->registry, STR(THIEF)));
    str_buf_deinit(&seen);
}

static void on_bypass(void *ctx, const struct registry_bypass *b)
{
    struct str_buf *to = ctx;
    str_buf_printf(to, "%.*s/%.*s:%u %u %llu %.*s;", STR_FMT(b->namespace_), STR_FMT(b->workload),
                   b->port, b->sides, (unsigned long long)b->until_ms, STR_FMT(b->note));
}

static bool is_bypassed(const struct fixture *f, const char *workload, uint16_t port)
{
    return registry_is_bypassed(f->registry, STR("shop"), str_from_c(workload), port);
}

/* Told, on disk, over by itself at its time and at no other; again is another time. */
static void test_bypass(void **state)
{
    struct fixture *f = *state;
    struct str_buf seen = STR_BUF_INIT(1000);
    struct registry_bypass b = {STR("shop"), STR("w"), 80, BYPASS_INBOUND, 5000, STR("why not")};
    assert_false(is_bypassed(f, "w", 80));
    assert_int_equal(registry_bypass_end(f->registry, b.namespace_, b.workload, 80),
                     -ERR_NOT_FOUND);
    assert_int_equal(registry_bypass_begin(f->registry, &b), 0);
    assert_true(was_told(f, "workload/shop/w") && was_told(f, "replicas/shop"));
    b.until_ms = 7000;
    assert_int_equal(registry_bypass_begin(f->registry, &b), 0);
    reopen(f);
    assert_true(is_bypassed(f, "w", 80));
    assert_false(is_bypassed(f, "w", 81) || is_bypassed(f, "v", 80));
    registry_each_bypass(f->registry, on_bypass, &seen);
    assert_true(str_eq(str_buf_str(&seen), STR("shop/w:80 1 7000 why not;")));
    assert_int_equal(registry_bypass_expire(f->registry, 6999), 7000);
    assert_true(is_bypassed(f, "w", 80));
    str_buf_reset(&f->facts);
    assert_int_equal(registry_bypass_expire(f->registry, 7000), UINT64_MAX);
    assert_false(is_bypassed(f, "w", 80));
    assert_true(was_told(f, "workload/shop/w"));
    reopen(f);
    assert_false(is_bypassed(f, "w", 80));
    /* All ports, both sides; outbound alone tells callers nothing. */
    b = (struct registry_bypass){STR("shop"), STR("w"), 0, BYPASS_BOTH, 9000, STR_NULL};
    assert_int_equal(registry_bypass_begin(f->registry, &b), 0);
    assert_true(is_bypassed(f, "w", 81));
    assert_int_equal(registry_bypass_end(f->registry, b.namespace_, b.workload, 0), 0);
    b.sides = BYPASS_OUTBOUND;
    assert_int_equal(registry_bypass_begin(f->registry, &b), 0);
    assert_false(is_bypassed(f, "w", 81));
    str_buf_deinit(&seen);
}

/* Its sidecar is gone, it is not; when the way around ends, its lease does, too. */
static void test_bypassed_replicas_outlive_their_leases(void **state)
{
    struct fixture *f = *state;
    struct seen s;
    apply(f, SERVICE("a") "---\n" WORKLOAD("w", "app: a"));
    struct registry_replica *p = connect_at(f, "w", 0, ip_v4(10, 0, 0, 1));
    registry_replica_set_state(f->registry, p, REPLICA_READY);
    registry_replica_disconnect(f->registry, p, 100);
    struct registry_bypass b = {STR("shop"), STR("w"), 0, BYPASS_BOTH, 9000, STR_NULL};
    assert_int_equal(registry_bypass_begin(f->registry, &b), 0);
    assert_int_equal(registry_expire(f->registry, 10ull * LEASE_US), 11ull * LEASE_US);
    assert_string_equal(ready(f, "a", &s), "w/0 ");
    /* One that was given up before. */
    struct ip_addr at[2] = {ip_v4(10, 0, 0, 2)};
    assert_int_equal(registry_replica_hold(f->registry, STR("shop"), STR("w"), 1, at), 0);
    assert_int_equal(registry_replica_hold(f->registry, STR("shop"), STR("none"), 1, at),
                     -ERR_NOT_FOUND);
    assert_string_equal(ready(f, "a", &s), "w/0 w/1 ");
    (void)registry_expire(f->registry, 20ull * LEASE_US);
    assert_string_equal(ready(f, "a", &s), "w/0 w/1 ");
    assert_int_equal(registry_bypass_expire(f->registry, 9000), UINT64_MAX);
    assert_int_equal(registry_expire(f->registry, 40ull * LEASE_US), UINT64_MAX);
    assert_string_equal(ready(f, "a", &s), "");
    /* Who is only let out past its sidecar is reached through it. */
    p = connect_at(f, "w", 0, ip_v4(10, 0, 0, 1));
    registry_replica_set_state(f->registry, p, REPLICA_READY);
    registry_replica_disconnect(f->registry, p, 40ull * LEASE_US);
    b.sides = BYPASS_OUTBOUND;
    assert_int_equal(registry_bypass_begin(f->registry, &b), 0);
    assert_int_equal(registry_expire(f->registry, 50ull * LEASE_US), UINT64_MAX);
    assert_string_equal(ready(f, "a", &s), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_addresses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_addresses_of_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_addresses_not_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_facts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replicas, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leases, setup, teardown),
        cmocka_unit_test_setup_teardown(test_given_away, setup, teardown),
        cmocka_unit_test_setup_teardown(test_records, setup, teardown),
        cmocka_unit_test_setup_teardown(test_look_ups, setup, teardown),
        cmocka_unit_test_setup_teardown(test_revoked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bypass, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bypassed_replicas_outlive_their_leases, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
