#include "control/push/testing/push_rig.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void on_fact(void *ctx, struct str fact)
{
    push_fact_changed(ctx, fact);
}

void push_rig_start(struct push_rig *r)
{
    struct str_buf why = STR_BUF_INIT(1000);
    char path[128];
    snprintf(path, sizeof path, "%s/store.db", r->dir);
    ASSERT(store_open_sqlite(str_from_c(path), &why, &r->store) == 0);
    r->registry = registry_new(r->store, &why);
    ASSERT(r->registry != NULL);
    struct ca_options o = {.store = r->store,
                           .state_dir = str_from_c(r->dir),
                           .trust_domain = STR("cluster.local"),
                           .root_lifetime_s = 86400 * 365};
    ASSERT(ca_open(&o, turn_wall_us(r->turn) / 1000000, &why, &r->ca) == 0);
    r->translate = translate_new(r->registry);
    r->push = push_new(&(struct push_args){r->turn, r->store, r->registry, r->translate, r->ca});
    registry_watch(r->registry, on_fact, r->push);
    str_buf_deinit(&why);
}

void push_rig_stop(struct push_rig *r)
{
    push_free(r->push);
    translate_free(r->translate);
    registry_free(r->registry);
    ca_free(r->ca);
    store_close(r->store);
}

void push_rig_open(struct push_rig *r)
{
    snprintf(r->dir, sizeof r->dir, "/tmp/tulle-push-XXXXXX");
    ASSERT(mkdtemp(r->dir) != NULL);
    r->turn = turn_new_linux();
    push_rig_start(r);
}

void push_rig_close(struct push_rig *r)
{
    push_rig_stop(r);
    push_rig_remove(r);
}

void push_rig_remove(struct push_rig *r)
{
    turn_free(r->turn);
    DIR *d = opendir(r->dir);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
        unlinkat(dirfd(d), e->d_name, 0);
    if (d != NULL)
        closedir(d);
    rmdir(r->dir);
}

void push_rig_apply(struct push_rig *r, const char *text)
{
    struct api_document_list list;
    struct api_findings findings;
    struct api_source source = {.file = STR("t.yaml"), .text = str_from_c(text)};
    VEC(struct store_write) writes = {0};
    api_document_list_init(&list);
    api_findings_init(&findings);
    ASSERT(api_document_parse(&source, &list, &findings) == 0);
    for (size_t i = 0; i < list.docs.len; i++) {
        const struct api_document *d = list.docs.ptr[i];
        struct store_write w = {.object = {.kind = d->kind,
                                           .namespace_ = d->namespace,
                                           .name = d->name,
                                           .json = d->json,
                                           .owner = STR("api"),
                                           .created_at = STR("2026-01-01T00:00:00Z")}};
        VEC_PUSH(&writes, w);
    }
    uint64_t before = store_revision(r->store);
    ASSERT(store_commit(r->store, writes.ptr, writes.len, NULL, NULL) == 0);
    if (store_revision(r->store) != before)
        push_committed(r->push, store_revision(r->store));
    VEC_DEINIT(&writes);
    api_document_list_deinit(&list);
    api_findings_deinit(&findings);
}
