/* Kubernetes' paths for our kinds:
 *   /api/v1[/namespaces/NS]/PLURAL[/NAME], /apis/GROUP/VERSION[/namespaces/NS]/PLURAL[/NAME]
 *   .../workloads/NAME/token */
#include <stdio.h>

#include "control/server/server_priv.h"

enum { MESSAGE_LEN_MAX = 4096, SHOWN_MAX = 5 };

static bool parse_target(const struct rest_call *c, struct rest_target *ret_target)
{
    struct rest_target t = {.kind = NULL};
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

void rest_metadata(struct json_writer *w, const struct json *metadata, const struct store_object *o)
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

/* What proxies said of it, and what is wrong with it in its file. */
static void write_conditions(struct json_writer *w, const struct json *known, struct str problem)
{
    if (known == NULL && problem.len == 0)
        return;
    json_writer_array(w, "conditions");
    for (size_t i = 0; i < json_count(known); i++)
        json_writer_tree(w, NULL, json_at(known, i));
    if (problem.len > 0) {
        json_writer_object(w, NULL);
        json_writer_c(w, "type", "Accepted");
        json_writer_c(w, "status", "False");
        json_writer_c(w, "reason", "Invalid");
        json_writer_str(w, "message", problem);
        json_writer_end(w);
    }
    json_writer_end(w);
}

static void write_status(const struct server *s, const struct store_object *o, struct arena *a,
                         struct json_writer *w)
{
    const struct json *status = NULL;
    bool is_workload = o->kind == API_KIND_WORKLOAD;
    struct str problem = documents_problem(s->documents, o->kind, o->namespace_, o->name, a);
    if (o->status_json.len > 0 &&
        json_parse(a, o->status_json, o->status_json.len, &status, NULL) != 0)
        status = NULL;
    if (status == NULL && !is_workload && problem.len == 0)
        return;
    json_writer_object(w, "status");
    for (size_t i = 0; status != NULL && i < json_count(status); i++) {
        if (str_eq(status->keys[i], STR("conditions")))
            continue;
        json_writer_key(w, status->keys[i]);
        json_writer_tree(w, NULL, json_at(status, i));
    }
    write_conditions(w, json_get(status, "conditions"), problem);
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
            rest_metadata(w, json_at(root, i), o);
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

static void reply_row(struct rest_call *c, const struct api_kind_info *kind,
                      const struct store_object *o)
{
    struct str_buf out = STR_BUF_INIT(REST_ANSWER_BYTES_MAX);
    struct json_writer w;
    json_writer_init(&w, &out, 0);
    rest_table_of(c, kind, o, &w);
    rest_reply(c, 200, str_buf_str(&out));
    str_buf_deinit(&out);
}

static void get(struct rest_call *c, const struct rest_target *t)
{
    struct store_object o = {.kind = t->kind->kind, .name = t->name};
    int err = store_get(c->server->args.store, t->kind->kind, t->namespace_, t->name, c->a, &o);
    if (err != 0)
        rest_fail_store(c, err, &o);
    else if (rest_wants_table(c))
        reply_row(c, t->kind, &o);
    else
        reply_object(c, 200, &o);
}

/* --- writing --- */

/* For clients that show the message alone: the first errors, each with its path. */
static void describe(const struct api_findings *f, struct str_buf *to)
{
    size_t shown = 0;
    str_buf_add_c(to, "the document has errors");
    for (size_t i = 0; i < f->list.len && shown < SHOWN_MAX; i++) {
        const struct api_finding *finding = &f->list.ptr[i];
        if (finding->severity != API_ERROR)
            continue;
        str_buf_printf(to, "%s%.*s%s%.*s", shown++ == 0 ? ": " : "; ", STR_FMT(finding->path),
                       finding->path.len > 0 ? ": " : "", STR_FMT(finding->text));
    }
}

static void add_warnings(struct rest_call *c, const struct api_findings *f)
{
    for (size_t i = 0; i < f->list.len && c->warning_count < REST_WARNINGS_MAX; i++) {
        const struct api_finding *finding = &f->list.ptr[i];
        if (finding->severity == API_WARNING)
            c->warnings[c->warning_count++] =
                arena_printf(c->a, "%.*s%s%.*s", STR_FMT(finding->path),
                             finding->path.len > 0 ? ": " : "", STR_FMT(finding->text));
    }
}

static void reply_invalid(struct rest_call *c, const struct change *change)
{
    struct str_buf out = STR_BUF_INIT(REST_ANSWER_BYTES_MAX), list = STR_BUF_INIT(1024 * 1024),
                   text = STR_BUF_INIT(MESSAGE_LEN_MAX);
    struct json_writer w;
    server_note_refused(c->server, &change->findings);
    api_findings_add_json(&change->findings, &list);
    describe(&change->findings, &text);
    json_writer_init(&w, &out, 0);
    json_writer_object(&w, NULL);
    json_writer_c(&w, "kind", "Status");
    json_writer_c(&w, "apiVersion", "v1");
    json_writer_c(&w, "status", "Failure");
    json_writer_str(&w, "message", str_buf_str(&text));
    json_writer_c(&w, "reason", "Invalid");
    json_writer_u64(&w, "code", 422);
    json_writer_raw(&w, "findings", str_buf_str(&list));
    json_writer_end(&w);
    rest_reply(c, 422, str_buf_str(&out));
    str_buf_deinit(&text);
    str_buf_deinit(&list);
    str_buf_deinit(&out);
}

static bool is_as_named(struct rest_call *c, const struct rest_target *t,
                        const struct change *change)
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

/* What a dry run would have stored. */
static void reply_would_be(struct rest_call *c, bool is_new, const struct store_object *o)
{
    struct store_object shown = *o, present;
    if (!is_new &&
        store_get(c->server->args.store, o->kind, o->namespace_, o->name, c->a, &present) == 0) {
        bool is_equal = str_eq(present.json, o->json);
        shown = present;
        shown.json = o->json;
        shown.generation += !is_equal;
    }
    reply_object(c, is_new ? 201 : 200, &shown);
}

static void write_one(struct rest_call *c, struct change *change, const char *verb, bool is_new)
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
    if (!rest_may_write(c, &w->object, false))
        return;
    struct store_author by = rest_author(c, verb);
    bool is_dry = rest_query_is_true(c, "dryRun");
    int err = change_commit(change, is_dry, &by, &failed);
    if (err != 0) {
        rest_fail_store(c, err, &w->object);
        return;
    }
    struct store_object o = w->object;
    if (is_dry) {
        reply_would_be(c, is_new, &o);
        return;
    }
    err = store_get(c->server->args.store, o.kind, o.namespace_, o.name, c->a, &o);
    if (err == 0)
        reply_object(c, is_new ? 201 : 200, &o);
    else
        rest_fail_store(c, err, &o);
}

/* Typed clients leave out what the path says: the kind and its version. */
static struct str with_kind(struct rest_call *c, const struct rest_target *t, struct str text)
{
    const struct json *root;
    struct str_buf out = STR_BUF_INIT(REST_BODY_BYTES_MAX);
    struct json_writer w;
    if (json_parse(c->a, text, REST_BODY_BYTES_MAX, &root, NULL) != 0 ||
        root->type != JSON_OBJECT || json_get(root, "kind") != NULL ||
        json_get(root, "apiVersion") != NULL)
        return text;
    json_writer_init(&w, &out, 0);
    json_writer_object(&w, NULL);
    json_writer_str(&w, "apiVersion", rest_api_version(c, t));
    json_writer_c(&w, "kind", t->kind->name);
    for (size_t i = 0; i < json_count(root); i++) {
        json_writer_key(&w, root->keys[i]);
        json_writer_tree(&w, NULL, json_at(root, i));
    }
    json_writer_end(&w);
    struct str whole = arena_str(c->a, str_buf_str(&out));
    str_buf_deinit(&out);
    return whole;
}

/* The text becomes the document. */
static void write_text(struct rest_call *c, const struct rest_target *t, struct str text,
                       const char *verb)
{
    struct str type = http_head_get(c->head, HTTP_NAME_CONTENT_TYPE);
    if (str_starts_with(type, STR("application/vnd.kubernetes.protobuf"))) {
        rest_fail(c, 415, "UnsupportedMediaType",
                  "documents are JSON or YAML here (kubectl apply sends JSON)");
        return;
    }
    struct change change;
    change_init(&change, c->server, STR("api"));
    change.is_single = true;
    change_parse(&change, str_sub(http_head_get_named(c->head, STR("x-tulle-file")), 0, 1024), 0,
                 with_kind(c, t, text), t->namespace_);
    if (change.findings.error_count > 0)
        reply_invalid(c, &change);
    else if (is_as_named(c, t, &change)) {
        bool is_good = change_check(&change);
        add_warnings(c, &change.findings);
        if (is_good)
            write_one(c, &change, verb, t->name.len == 0);
        else
            reply_invalid(c, &change);
    }
    change_deinit(&change);
}

static void create(struct rest_call *c, const struct rest_target *t)
{
    write_text(c, t, str_buf_str(&c->body), "create");
}

static void replace(struct rest_call *c, const struct rest_target *t)
{
    write_text(c, t, str_buf_str(&c->body), "put");
}

static void patch(struct rest_call *c, const struct rest_target *t)
{
    struct store_object o = {.kind = t->kind->kind, .name = t->name};
    struct str text;
    int err = store_get(c->server->args.store, t->kind->kind, t->namespace_, t->name, c->a, &o);
    if (err != 0)
        rest_fail_store(c, err, &o);
    else if (rest_patch(c, &o, &text))
        write_text(c, t, text, "patch");
}

/* DeleteOptions.preconditions: only this very object, only as it was read. False: answered. */
static bool read_preconditions(struct rest_call *c, const struct store_object *present,
                               struct store_write *w)
{
    const struct json *root = NULL;
    if (c->body.len == 0)
        return true;
    if (json_parse(c->a, str_buf_str(&c->body), REST_BODY_BYTES_MAX, &root, NULL) != 0)
        return true; /* options in another format: nothing of them is needed */
    const struct json *wanted = json_get(root, "preconditions");
    struct str uid = json_text_at(wanted, "uid"),
               revision = json_text_at(wanted, "resourceVersion");
    if (uid.len > 0 && !str_eq(uid, present->uid)) {
        rest_fail(c, 409, "Conflict", "%s \"%.*s\" has another uid",
                  api_kind_info(present->kind)->name, STR_FMT(present->name));
        return false;
    }
    if (revision.len > 0 && !str_to_u64(revision, UINT64_MAX - 1, &w->expected_revision))
        w->expected_revision = UINT64_MAX - 1; /* no revision of ours: never equal */
    return true;
}

static void remove_one(struct rest_call *c, const struct rest_target *t)
{
    const struct server_args *args = &c->server->args;
    struct store_write w = {
        .is_delete = true,
        .object = {.kind = t->kind->kind, .namespace_ = t->namespace_, .name = t->name},
    };
    size_t failed;
    struct store_object present;
    int err = store_get(args->store, t->kind->kind, t->namespace_, t->name, c->a, &present);
    if (err == 0 && (!rest_may_write(c, &present, true) || !read_preconditions(c, &present, &w)))
        return;
    struct store_author by = rest_author(c, "delete");
    bool is_dry = rest_query_is_true(c, "dryRun");
    if (err == 0 && !is_dry)
        err = store_commit(args->store, &w, 1, &by, &failed);
    if (err != 0) {
        rest_fail_store(c, err, &w.object);
        return;
    }
    if (!is_dry)
        push_committed(args->push, store_revision(args->store));
    rest_reply(c, 200,
               arena_printf(c->a,
                            "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Success\","
                            "\"revision\":%llu}",
                            (unsigned long long)store_revision(args->store)));
}

struct way {
    const char *method;
    enum access_verb verb;
    void (*run)(struct rest_call *c, const struct rest_target *t);
};

static const struct way named_ways[] = {
    {"GET", ACCESS_GET, get},
    {"PUT", ACCESS_UPDATE, replace},
    {"PATCH", ACCESS_PATCH, patch},
    {"DELETE", ACCESS_DELETE, remove_one},
};
static const struct way list_ways[] = {
    {"GET", ACCESS_LIST, rest_list},
    {"POST", ACCESS_CREATE, create},
    {"DELETE", ACCESS_DELETE, rest_delete_many},
};

static void go(struct rest_call *c, const struct rest_target *t, const struct way *ways,
               size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!rest_is_method(c, ways[i].method))
            continue;
        if (rest_may(c, ways[i].verb, t->kind, t->namespace_))
            ways[i].run(c, t);
        return;
    }
    rest_fail(c, 405, "MethodNotAllowed", "%.*s does not do here", STR_FMT(c->head->method));
}

static void run_sub(struct rest_call *c, const struct rest_target *t)
{
    if (t->kind->kind != API_KIND_WORKLOAD || !str_eq(t->sub, STR("token")))
        rest_fail(c, 404, "NotFound", "there is no %.*s here", STR_FMT(str_sub(t->sub, 0, 100)));
    else if (!rest_is_method(c, "POST"))
        rest_fail(c, 405, "MethodNotAllowed", "POST only");
    else if (rest_may(c, ACCESS_ADMIN, t->kind, t->namespace_))
        rest_token(c, t->namespace_, t->name);
}

bool rest_objects(struct rest_call *c)
{
    struct rest_target t;
    if (!parse_target(c, &t))
        return false;
    if (t.name.len > 0 && t.kind->is_namespaced && t.namespace_.len == 0)
        rest_fail(c, 400, "BadRequest", "%s belongs to a namespace: .../namespaces/NS/%s/NAME",
                  t.kind->name, t.kind->plural);
    else if (t.sub.len > 0)
        run_sub(c, &t);
    else if (t.name.len > 0)
        go(c, &t, named_ways, ARRAY_LEN(named_ways));
    else
        go(c, &t, list_ways, ARRAY_LEN(list_ways));
    return true;
}
