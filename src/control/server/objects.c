/* Documents one by one, in the shape that Kubernetes gives them. */
#include <stdio.h>

#include "control/server/server_priv.h"

/* --- reading --- */

/* metadata as it was applied, with what the store knows. */
static void write_metadata(struct json_writer *w, const struct json *metadata,
                           const struct store_object *o)
{
    json_writer_object(w, "metadata");
    for (size_t i = 0; i < json_count(metadata); i++) {
        json_writer_key(w, metadata->keys[i]);
        json_writer_tree(w, NULL, json_at(metadata, i));
    }
    json_writer_str(w, "uid", o->uid);
    json_writer_str(w, "creationTimestamp", o->created_at);
    char version[24];
    int len = snprintf(version, sizeof version, "%llu", (unsigned long long)o->revision);
    json_writer_str(w, "resourceVersion", str_from(version, (size_t)len));
    json_writer_u64(w, "generation", o->generation);
    json_writer_end(w);
}

struct replicas_ctx {
    struct json_writer *w;
    const struct store_object *o;
    unsigned count, ready;
};

static void on_replica(void *ctx, const struct registry_replica *p)
{
    static const char *const states[] = {
        [REPLICA_CONNECTED] = "connected",
        [REPLICA_READY] = "ready",
        [REPLICA_DRAINING] = "draining",
        [REPLICA_GONE] = "gone",
    };
    struct replicas_ctx *c = ctx;
    if (!str_eq(p->workload, c->o->name) || !str_eq(p->namespace_, c->o->namespace_))
        return;
    char text[IP_TEXT_MAX];
    const struct ip_addr *ip =
        p->addresses[0].family != IP_NONE ? &p->addresses[0] : &p->addresses[1];
    json_writer_object(c->w, NULL);
    json_writer_u64(c->w, "index", p->index);
    json_writer_str(c->w, "address", ip_format(ip, text));
    json_writer_bool(c->w, "ready", p->state == REPLICA_READY);
    json_writer_c(c->w, "state", states[p->state]);
    json_writer_str(c->w, "identity", p->identity);
    json_writer_end(c->w);
    c->count++;
    c->ready += p->state == REPLICA_READY;
}

static void write_status(struct json_writer *w, struct server *s, const struct store_object *o,
                         struct arena *a)
{
    const struct json *own = NULL;
    if (o->status_json.len > 0)
        (void)json_parse(a, o->status_json, o->status_json.len, &own, NULL);
    if (own == NULL && o->kind != API_KIND_WORKLOAD)
        return;
    json_writer_object(w, "status");
    for (size_t i = 0; i < json_count(own); i++) {
        json_writer_key(w, own->keys[i]);
        json_writer_tree(w, NULL, json_at(own, i));
    }
    if (o->kind == API_KIND_WORKLOAD) {
        struct replicas_ctx ctx = {.w = w, .o = o};
        json_writer_array(w, "replicas");
        registry_replicas(s->args.registry, on_replica, &ctx);
        json_writer_end(w);
        json_writer_u64(w, "readyReplicas", ctx.ready);
    }
    json_writer_end(w);
}

void objects_write(struct json_writer *w, struct server *s, const struct store_object *o,
                   struct arena *a)
{
    const struct json *root;
    if (json_parse(a, o->json, o->json.len, &root, NULL) != 0)
        return;
    json_writer_object(w, NULL);
    for (size_t i = 0; i < json_count(root); i++) {
        if (str_eq(root->keys[i], STR("metadata"))) {
            write_metadata(w, json_at(root, i), o);
            continue;
        }
        json_writer_key(w, root->keys[i]);
        json_writer_tree(w, NULL, json_at(root, i));
    }
    write_status(w, s, o, a);
    json_writer_end(w);
}

static void answer_object(struct rest *q, unsigned status, const struct store_object *o)
{
    struct str_buf text = STR_BUF_INIT(ANSWER_BYTES_MAX);
    struct json_writer w;
    json_writer_init(&w, &text, 0);
    objects_write(&w, q->server, o, &q->arena);
    rest_answer(q, status, str_buf_str(&text));
    str_buf_deinit(&text);
}

static void not_found(struct rest *q, const struct rest_target *t)
{
    rest_error(q, 404, "NotFound", "%s %.*s%s%.*s does not exist", t->kind->name,
               STR_FMT(t->namespace_), t->namespace_.len > 0 ? "/" : "", STR_FMT(t->name));
}

void objects_get(struct rest *q, const struct rest_target *t)
{
    struct store_object o;
    int err =
        store_get(q->server->args.store, t->kind->kind, t->namespace_, t->name, &q->arena, &o);
    if (err == -ERR_NOT_FOUND)
        not_found(q, t);
    else if (err != 0)
        rest_error(q, 500, "InternalError", "the store: %s", err_text(err));
    else
        answer_object(q, 200, &o);
}

struct list_ctx {
    struct rest *q;
    struct json_writer w;
};

static void on_object(void *ctx, const struct store_object *o)
{
    struct list_ctx *c = ctx;
    struct arena a;
    arena_init(&a, 4096);
    objects_write(&c->w, c->q->server, o, &a);
    arena_deinit(&a);
}

void objects_list(struct rest *q, const struct rest_target *t)
{
    struct str_buf text = STR_BUF_INIT(ANSWER_BYTES_MAX);
    struct list_ctx c = {.q = q};
    const char *group = t->kind->group;
    json_writer_init(&c.w, &text, 0);
    json_writer_object(&c.w, NULL);
    json_writer_str(&c.w, "kind", arena_printf(&q->arena, "%sList", t->kind->name));
    json_writer_str(&c.w, "apiVersion",
                    arena_printf(&q->arena, "%s%s%s", group, group[0] != '\0' ? "/" : "",
                                 t->kind->versions[0]));
    json_writer_object(&c.w, "metadata");
    json_writer_str(
        &c.w, "resourceVersion",
        arena_printf(&q->arena, "%llu", (unsigned long long)store_revision(q->server->args.store)));
    json_writer_end(&c.w);
    json_writer_array(&c.w, "items");
    int err = store_list(q->server->args.store, t->kind->kind, t->namespace_, on_object, &c);
    json_writer_end(&c.w);
    json_writer_end(&c.w);
    if (err != 0)
        rest_error(q, 500, "InternalError", "the store: %s", err_text(err));
    else
        rest_answer(q, 200, str_buf_str(&text));
    str_buf_deinit(&text);
}

/* --- writing --- */

static bool is_addressed(struct rest *q, const struct rest_target *t, const struct api_document *d,
                         bool is_create)
{
    bool is_right = d->kind == t->kind->kind &&
                    (t->namespace_.len == 0 || str_eq(d->namespace, t->namespace_)) &&
                    (is_create || str_eq(d->name, t->name));
    if (!is_right)
        rest_error(q, 400, "BadRequest", "the document is not the one that the path names");
    return is_right;
}

static void put_document(struct rest *q, const struct api_document *d, bool is_create)
{
    struct store_write w = apply_write(q, d, STR("api"));
    if (is_create)
        w.expected_revision = UINT64_MAX;
    if (apply_commit(q, &w, 1) != 0)
        return;
    struct store_object o;
    if (store_get(q->server->args.store, d->kind, d->namespace, d->name, &q->arena, &o) != 0) {
        rest_error(q, 500, "InternalError", "the document is not there after it was written");
        return;
    }
    answer_object(q, w.change == STORE_CREATED ? 201 : 200, &o);
}

void objects_put(struct rest *q, const struct rest_target *t, bool is_create)
{
    struct api_document_list list;
    struct api_findings warnings;
    struct apply_options options = {.owner = STR("api")};
    api_document_list_init(&list);
    api_findings_init(&warnings);
    if (apply_parse(q, &list, &warnings, &options) == 0) {
        if (list.docs.len != 1)
            rest_error(q, 400, "BadRequest", "one document is needed, not %zu", list.docs.len);
        else if (is_addressed(q, t, list.docs.ptr[0], is_create))
            put_document(q, list.docs.ptr[0], is_create);
    }
    api_findings_deinit(&warnings);
    api_document_list_deinit(&list);
}

void objects_delete(struct rest *q, const struct rest_target *t)
{
    struct store_write w = {
        .is_delete = true,
        .object = {.kind = t->kind->kind, .namespace_ = t->namespace_, .name = t->name},
    };
    if (apply_commit(q, &w, 1) != 0)
        return;
    rest_answer(q, 200,
                arena_printf(&q->arena,
                             "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Success\","
                             "\"revision\":%llu}",
                             (unsigned long long)w.revision));
}
