#include "control/translate/testing/rig.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"

static void on_dirty(void *ctx, enum resource_type type, struct str name, struct str view)
{
    struct rig *r = ctx;
    VEC_PUSH(&r->dirty, arena_printf(&r->arena, "%s %.*s %.*s", resource_type_name(type),
                                     STR_FMT(name), STR_FMT(view)));
}

static void on_fact(void *ctx, struct str fact)
{
    struct rig *r = ctx;
    VEC_PUSH(&r->facts, arena_str(&r->arena, fact));
    if (r->translate != NULL)
        translate_changed(r->translate, fact, on_dirty, r);
}

static void start(struct rig *r)
{
    struct str_buf why = STR_BUF_INIT(1000);
    int err = store_open_sqlite(str_from_c(r->path), &why, &r->store);
    if (err == 0)
        r->registry = registry_new(r->store, &why);
    if (r->registry == NULL)
        fail_msg("%.*s", STR_FMT(str_buf_str(&why)));
    str_buf_deinit(&why);
    r->translate = translate_new(r->registry);
    registry_watch(r->registry, on_fact, r);
}

static void stop(struct rig *r)
{
    r->translate = translate_free(r->translate);
    r->registry = registry_free(r->registry);
    r->store = store_close(r->store);
}

int rig_setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    strcpy(r->dir, "/tmp/tulle-translate-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    snprintf(r->path, sizeof r->path, "%s/store.db", r->dir);
    arena_init(&r->arena, 4096);
    start(r);
    rig_be(r, "shop", "web");
    *state = r;
    return 0;
}

int rig_teardown(void **state)
{
    struct rig *r = *state;
    stop(r);
    for (size_t i = 0; i < r->resources.len; i++)
        resource_unref(r->resources.ptr[i]);
    VEC_DEINIT(&r->resources);
    VEC_DEINIT(&r->facts);
    VEC_DEINIT(&r->dirty);
    arena_deinit(&r->arena);
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", r->path, suffixes[i]);
        unlink(name);
    }
    rmdir(r->dir);
    free(r);
    return 0;
}

void rig_restart(struct rig *r)
{
    stop(r);
    start(r);
    rig_forget(r);
}

void rig_forget(struct rig *r)
{
    r->facts.len = r->dirty.len = 0;
}

void rig_be(struct rig *r, const char *ns, const char *workload)
{
    r->viewer = (struct translate_viewer){XDS_DIALECT_TULLE, str_from_c(ns), str_from_c(workload)};
}

/* --- documents --- */

static void commit(struct rig *r, struct store_write *w)
{
    size_t failed;
    int err = store_commit(r->store, w, 1, NULL, &failed);
    if (err != 0)
        fail_msg("%.*s: %s", STR_FMT(w->object.name), err_text(err));
}

void rig_apply(struct rig *r, const char *yaml)
{
    struct api_document_list list;
    struct api_findings findings;
    struct api_source source = {
        .file = STR("test.yaml"), .text = str_from_c(yaml), .default_namespace = STR("shop")};
    api_document_list_init(&list);
    api_findings_init(&findings);
    int err = api_document_parse(&source, &list, &findings);
    for (size_t i = 0; i < findings.list.len; i++) {
        if (findings.list.ptr[i].severity == API_ERROR)
            print_error("%.*s\n", STR_FMT(api_finding_line(&findings, &findings.list.ptr[i])));
    }
    assert_int_equal(err, 0);
    for (size_t i = 0; i < list.docs.len; i++) {
        const struct api_document *d = list.docs.ptr[i];
        commit(r, &(struct store_write){.object = {.kind = d->kind,
                                                   .namespace_ = d->namespace,
                                                   .name = d->name,
                                                   .json = d->json,
                                                   .file = STR("test.yaml"),
                                                   .line = d->place.line,
                                                   .owner = STR("api"),
                                                   .created_at = STR("2026-01-01T00:00:00Z")}});
    }
    api_document_list_deinit(&list);
    api_findings_deinit(&findings);
}

void rig_delete(struct rig *r, enum api_kind kind, const char *ns, const char *name)
{
    commit(r,
           &(struct store_write){
               .is_delete = true,
               .object = {.kind = kind, .namespace_ = str_from_c(ns), .name = str_from_c(name)}});
}

/* --- replicas --- */

struct registry_replica *rig_connect(struct rig *r, const char *ns, const char *workload,
                                     uint32_t index, const char *ip)
{
    struct ip_addr addresses[2] = {0}, addr;
    struct registry_replica *p = NULL;
    assert_true(ip_parse(str_from_c(ip), &addr));
    addresses[addr.family == IP_V4 ? 0 : 1] = addr;
    assert_int_equal(registry_replica_connect(r->registry, str_from_c(ns), str_from_c(workload),
                                              index, addresses, r, &p),
                     0);
    return p;
}

struct registry_replica *rig_ready(struct rig *r, const char *ns, const char *workload,
                                   uint32_t index, const char *ip)
{
    struct registry_replica *p = rig_connect(r, ns, workload, index, ip);
    registry_replica_set_state(r->registry, p, REPLICA_READY);
    return p;
}

/* --- outputs --- */

struct translate_output *rig_output(struct rig *r, enum resource_type type, const char *name)
{
    return translate_get(r->translate, &r->viewer, type, str_from_c(name));
}

const void *rig_get(struct rig *r, enum resource_type type, const char *name)
{
    struct translate_output *o = rig_output(r, type, name);
    struct str_buf why = STR_BUF_INIT(4096);
    struct resource *decoded;
    if (o == NULL)
        return NULL;
    assert_str(o->error, "");
    int err = xds_decode(type, o->wire, &why, &decoded);
    if (err != 0)
        fail_msg("%s %s: %.*s", resource_type_name(type), name, STR_FMT(str_buf_str(&why)));
    assert_str(decoded->name, name);
    str_buf_deinit(&why);
    translate_output_unref(o);
    VEC_PUSH(&r->resources, decoded);
    return decoded->body;
}

bool rig_is_dirty(const struct rig *r, const char *start_of_line)
{
    for (size_t i = 0; i < r->dirty.len; i++) {
        if (str_starts_with(r->dirty.ptr[i], str_from_c(start_of_line)))
            return true;
    }
    return false;
}

bool rig_was_told(const struct rig *r, const char *fact)
{
    for (size_t i = 0; i < r->facts.len; i++) {
        if (str_eq(r->facts.ptr[i], str_from_c(fact)))
            return true;
    }
    return false;
}

/* --- requests --- */

struct http_head *rig_request(struct rig *r, const char *method, const char *authority,
                              const char *path, const char *headers)
{
    struct http_head *h = ARENA_NEW(&r->arena, struct http_head);
    struct str rest = str_from_c(headers);
    http_head_init(h, &r->arena, true);
    h->method = str_from_c(method);
    h->scheme = STR("http");
    h->authority = str_from_c(authority);
    h->path = str_from_c(path);
    while (rest.len > 0) {
        struct str value = str_split(&rest, '\n');
        struct str name = str_split(&value, ':');
        http_head_add_named(h, name, str_trim(value));
    }
    return h;
}
