/* Kubernetes' paths for our kinds:
 *   /api/v1[/namespaces/NS]/PLURAL[/NAME], /apis/GROUP/VERSION[/namespaces/NS]/PLURAL[/NAME]
 *   .../workloads/NAME/token */
#include <stdio.h>

#include "control/server/server_priv.h"

struct target {
    const struct api_kind_info *kind;
    struct str version, namespace_, name, sub; /* sub: what follows the name */
};

static bool parse_target(const struct rest_call *c, struct target *ret_target)
{
    struct target t = {.kind = NULL};
    struct str group = STR_NULL;
    size_t at;
    if (c->path_count >= 3 && str_eq(c->path[0], STR("api"))) {
        at = 1;
    } else if (c->path_count >= 4 && str_eq(c->path[0], STR("apis"))) {
        group = c->path[1];
        at = 2;
    } else {
        return false;
    }
    t.version = c->path[at++];
    /* namespaces/NS/PLURAL.., but namespaces and namespaces/NS are the kind itself. */
    if (str_eq(c->path[at], STR("namespaces")) && c->path_count > at + 2) {
        t.namespace_ = c->path[at + 1];
        at += 2;
    }
    t.kind = api_kind_by_path(group, t.version, c->path[at++]);
    if (at < c->path_count)
        t.name = c->path[at++];
    if (at < c->path_count)
        t.sub = c->path[at++];
    if (t.kind == NULL || at < c->path_count || (t.namespace_.len > 0 && !t.kind->is_namespaced))
        return false;
    *ret_target = t;
    return true;
}

/* --- showing --- */

struct replicas {
    struct json_writer *w;
    struct str namespace_, workload;
};

static void on_replica(void *ctx, const struct registry_replica *r)
{
    const struct replicas *rs = ctx;
    char text[IP_TEXT_MAX];
    if (!str_eq(r->workload, rs->workload) || !str_eq(r->namespace_, rs->namespace_))
        return;
    const struct ip_addr *ip = &r->addresses[r->addresses[0].family != IP_NONE ? 0 : 1];
    json_writer_object(rs->w, NULL);
    json_writer_u64(rs->w, "index", r->index);
    json_writer_str(rs->w, "address", ip->family != IP_NONE ? ip_format(ip, text) : STR_NULL);
    json_writer_bool(rs->w, "ready", r->state == REPLICA_READY);
    json_writer_c(rs->w, "state",
                  r->state == REPLICA_READY      ? "ready"
                  : r->state == REPLICA_DRAINING ? "draining"
                                                 : "unready");
    json_writer_bool(rs->w, "connected", r->node != NULL);
    json_writer_end(rs->w);
}

static void write_metadata(struct json_writer *w, const struct json *metadata,
                           const struct store_object *o)
{
    json_writer_object(w, "metadata");
    for (size_t i = 0; i < json_count(metadata); i++) {
        json_writer_key(w, metadata->keys[i]);
        json_writer_tree(w, NULL, json_at(metadata, i));
    }
    char revision[24];
    snprintf(revision, sizeof revision, "%llu", (unsigned long long)o->revision);
    json_writer_str(w, "uid", o->uid);
    json_writer_str(w, "creationTimestamp", o->created_at);
    json_writer_c(w, "resourceVersion", revision);
    json_writer_u64(w, "generation", o->generation);
    json_writer_end(w);
}

static void write_status(const struct server *s, const struct store_object *o, struct arena *a,
                         struct json_writer *w)
{
    const struct json *status = NULL;
    bool is_workload = o->kind == API_KIND_WORKLOAD;
    if (o->status_json.len > 0 &&
        json_parse(a, o->status_json, o->status_json.len, &status, NULL) != 0)
        status = NULL;
    if (status == NULL && !is_workload)
        return;
    json_writer_object(w, "status");
    for (size_t i = 0; status != NULL && i < json_count(status); i++) {
        json_writer_key(w, status->keys[i]);
        json_writer_tree(w, NULL, json_at(status, i));
    }
    if (is_workload) {
        struct replicas rs = {w, o->namespace_, o->name};
        json_writer_array(w, "replicas");
        registry_replicas(s->args.registry, on_replica, &rs);
        json_writer_end(w);
    }
    json_writer_end(w);
}

void rest_object(const struct server *s, const struct store_object *o, struct json_writer *w)
{
    struct arena a;
    const struct json *root = NULL;
    arena_init(&a, 4096);
    (void)json_parse(&a, o->json, o->json.len, &root, NULL);
    json_writer_object(w, NULL);
    for (size_t i = 0; i < json_count(root); i++) {
        if (str_eq(root->keys[i], STR("metadata"))) {
            write_metadata(w, json_at(root, i), o);
        } else {
            json_writer_key(w, root->keys[i]);
            json_writer_tree(w, NULL, json_at(root, i));
        }
    }
    write_status(s, o, &a, w);
    json_writer_end(w);
    arena_deinit(&a);
}

static void reply_object(struct rest_call *c, unsigned status, const struct store_object *o)
{
    struct str_buf out = STR_BUF_INIT(REST_ANSWER_BYTES_MAX);
    struct json_writer w;
    json_writer_init(&w, &out, 0);
    rest_object(c->server, o, &w);
    rest_reply(c, status, str_buf_str(&out));
    str_buf_deinit(&out);
}

/* --- reading --- */

struct listing {
    const struct server *server;
    struct json_writer *w;
};

static void on_object(void *ctx, const struct store_object *o)
{
    const struct listing *l = ctx;
    rest_object(l->server, o, l->w);
}

static void list(struct rest_call *c, const struct target *t)
{
    struct str_buf out = STR_BUF_INIT(REST_ANSWER_BYTES_MAX);
    struct json_writer w;
    struct listing l = {c->server, &w};
    json_writer_init(&w, &out, 0);
    json_writer_object(&w, NULL);
    json_writer_str(&w, "kind", arena_printf(c->a, "%sList", t->kind->name));
    json_writer_str(&w, "apiVersion",
                    arena_printf(c->a, "%s%s%.*s", t->kind->group,
                                 t->kind->group[0] != '\0' ? "/" : "", STR_FMT(t->version)));
    json_writer_object(&w, "metadata");
    json_writer_str(
        &w, "resourceVersion",
        arena_printf(c->a, "%llu", (unsigned long long)store_revision(c->server->args.store)));
    json_writer_end(&w);
    json_writer_array(&w, "items");
    int err = store_list(c->server->args.store, t->kind->kind, t->namespace_, on_object, &l);
    json_writer_end(&w);
    json_writer_end(&w);
    if (err == 0 && !out.is_overflown)
        rest_reply(c, 200, str_buf_str(&out));
    else
        rest_fail_store(c, err != 0 ? err : -ERR_TOO_LARGE, NULL);
    str_buf_deinit(&out);
}

static void get(struct rest_call *c, const struct target *t)
{
    struct store_object o = {.kind = t->kind->kind, .name = t->name};
    int err = store_get(c->server->args.store, t->kind->kind, t->namespace_, t->name, c->a, &o);
    if (err == 0)
        reply_object(c, 200, &o);
    else
        rest_fail_store(c, err, &o);
}

/* --- writing --- */

static void reply_invalid(struct rest_call *c, const struct change *change)
{
    struct str_buf out = STR_BUF_INIT(REST_ANSWER_BYTES_MAX), list = STR_BUF_INIT(1024 * 1024);
    api_findings_add_json(&change->findings, &list);
    str_buf_printf(&out,
                   "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\","
                   "\"reason\":\"Invalid\",\"code\":422,"
                   "\"message\":\"the document has errors\",\"findings\":%.*s}",
                   STR_FMT(str_buf_str(&list)));
    rest_reply(c, 422, str_buf_str(&out));
    str_buf_deinit(&list);
    str_buf_deinit(&out);
}

static bool is_as_named(struct rest_call *c, const struct target *t, const struct change *change)
{
    const struct api_document *d = change->docs.docs.len == 1 ? change->docs.docs.ptr[0] : NULL;
    if (d == NULL || d->kind != t->kind->kind)
        rest_fail(c, 400, "BadRequest", "the body is not one %s", t->kind->name);
    else if (t->namespace_.len > 0 && !str_eq(d->namespace, t->namespace_))
        rest_fail(c, 400, "BadRequest", "the document's namespace is not that of the path");
    else if (t->name.len > 0 && !str_eq(d->name, t->name))
        rest_fail(c, 400, "BadRequest", "the document's name is not that of the path");
    else
        return true;
    return false;
}

static bool exists(const struct rest_call *c, const struct store_object *o)
{
    struct store_object present;
    return store_get(c->server->args.store, o->kind, o->namespace_, o->name, c->a, &present) == 0;
}

static void write_one(struct rest_call *c, struct change *change, bool is_new)
{
    struct store_write *w = &change->writes.ptr[0];
    size_t failed;
    if (is_new && exists(c, &w->object)) {
        rest_fail(c, 409, "AlreadyExists", "%s \"%.*s\" is there already",
                  api_kind_info(w->object.kind)->name, STR_FMT(w->object.name));
        return;
    }
    if (!is_new && !exists(c, &w->object)) {
        rest_fail_store(c, -ERR_NOT_FOUND, &w->object);
        return;
    }
    struct store_author by = rest_author(c, is_new ? "create" : "put");
    int err = change_commit(change, false, &by, &failed);
    if (err != 0) {
        rest_fail_store(c, err, &w->object);
        return;
    }
    struct store_object o = w->object;
    err = store_get(c->server->args.store, o.kind, o.namespace_, o.name, c->a, &o);
    if (err == 0)
        reply_object(c, is_new ? 201 : 200, &o);
    else
        rest_fail_store(c, err, &o);
}

static void put(struct rest_call *c, const struct target *t, bool is_new)
{
    struct change change;
    change_init(&change, c->server, STR("api"));
    change_parse(&change, str_sub(http_head_get_named(c->head, STR("x-tulle-file")), 0, 1024),
                 str_buf_str(&c->body), t->namespace_);
    if (change.findings.error_count > 0)
        reply_invalid(c, &change);
    else if (is_as_named(c, t, &change)) {
        if (change_check(&change))
            write_one(c, &change, is_new);
        else
            reply_invalid(c, &change);
    }
    change_deinit(&change);
}

static void remove_one(struct rest_call *c, const struct target *t)
{
    const struct server_args *args = &c->server->args;
    struct store_write w = {
        .is_delete = true,
        .object = {.kind = t->kind->kind, .namespace_ = t->namespace_, .name = t->name},
    };
    size_t failed;
    struct store_author by = rest_author(c, "delete");
    int err = store_commit(args->store, &w, 1, &by, &failed);
    if (err != 0) {
        rest_fail_store(c, err, &w.object);
        return;
    }
    push_committed(args->push, store_revision(args->store));
    rest_reply(c, 200,
               arena_printf(c->a,
                            "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Success\","
                            "\"revision\":%llu}",
                            (unsigned long long)store_revision(args->store)));
}

static void run_named(struct rest_call *c, const struct target *t)
{
    if (rest_is_method(c, "GET"))
        get(c, t);
    else if (rest_is_method(c, "PUT"))
        put(c, t, false);
    else if (rest_is_method(c, "DELETE"))
        remove_one(c, t);
    else
        rest_fail(c, 405, "MethodNotAllowed", "GET, PUT or DELETE");
}

static void run_sub(struct rest_call *c, const struct target *t)
{
    if (t->kind->kind != API_KIND_WORKLOAD || !str_eq(t->sub, STR("token")))
        rest_fail(c, 404, "NotFound", "there is no %.*s here", STR_FMT(str_sub(t->sub, 0, 100)));
    else if (!rest_is_method(c, "POST"))
        rest_fail(c, 405, "MethodNotAllowed", "POST only");
    else
        rest_token(c, t->namespace_, t->name);
}

bool rest_objects(struct rest_call *c)
{
    struct target t;
    if (!parse_target(c, &t))
        return false;
    if (t.name.len > 0 && t.kind->is_namespaced && t.namespace_.len == 0)
        rest_fail(c, 400, "BadRequest", "%s belongs to a namespace: .../namespaces/NS/%s/NAME",
                  t.kind->name, t.kind->plural);
    else if (t.sub.len > 0)
        run_sub(c, &t);
    else if (t.name.len > 0)
        run_named(c, &t);
    else if (rest_is_method(c, "GET"))
        list(c, &t);
    else if (rest_is_method(c, "POST"))
        put(c, &t, true);
    else
        rest_fail(c, 405, "MethodNotAllowed", "GET or POST");
    return true;
}
