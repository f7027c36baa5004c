/* Applying documents: all findings, then all or nothing. */
#include <stdlib.h>
#include <time.h>

#include "codec/duration.h"
#include "control/server/server_priv.h"

/* --- findings --- */

static void answer_findings(struct rest *q, const struct api_findings *f)
{
    struct str_buf text = STR_BUF_INIT(ANSWER_BYTES_MAX);
    str_buf_add_c(&text, "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\","
                         "\"code\":422,\"reason\":\"Invalid\",\"message\":\"documents refused\","
                         "\"findings\":");
    api_findings_add_json(f, &text);
    str_buf_add_char(&text, '}');
    rest_answer(q, 422, str_buf_str(&text));
    str_buf_deinit(&text);
}

/* --- parsing --- */

static int parse_text(struct api_document_list *list, struct api_findings *f, struct str file,
                      struct str text)
{
    struct api_source source = {.file = file, .text = text};
    return api_document_parse(&source, list, f);
}

/* {"files": [{"name", "text"}, ...]}: places keep the names of their files. */
static bool parse_files(struct rest *q, struct api_document_list *list, struct api_findings *f)
{
    const struct json *root;
    struct str text = str_buf_str(&q->body);
    if (!q->is_json || json_parse(&q->arena, text, text.len, &root, NULL) != 0)
        return false;
    const struct json *files = json_get(root, "files");
    if (files == NULL)
        return false;
    for (size_t i = 0; i < json_count(files); i++) {
        const struct json *file = json_at(files, i);
        (void)parse_text(list, f, json_str_or(json_get(file, "name"), STR_NULL),
                         json_str_or(json_get(file, "text"), STR_NULL));
    }
    return true;
}

/* --- checking against what is there --- */

static const struct api_document *find_doc(const struct api_document_list *list, enum api_kind kind,
                                           struct str namespace_, struct str name)
{
    for (size_t i = 0; i < list->docs.len; i++) {
        const struct api_document *d = list->docs.ptr[i];
        if (d->kind == kind && str_eq(d->namespace, namespace_) && str_eq(d->name, name))
            return d;
    }
    return NULL;
}

struct keep_ctx {
    struct rest *q;
    const struct api_document_list *applied;
    const struct apply_options *options;
    struct api_document_list *all;
};

static bool is_pruned(const struct keep_ctx *c, const struct store_object *o)
{
    return c->options->is_pruning && str_eq(o->owner, c->options->owner) &&
           find_doc(c->applied, o->kind, o->namespace_, o->name) == NULL;
}

/* What stays beside what is applied. */
static void on_present(void *ctx, const struct store_object *o)
{
    struct keep_ctx *c = ctx;
    if (is_pruned(c, o) || find_doc(c->applied, o->kind, o->namespace_, o->name) != NULL)
        return;
    struct api_document *d =
        registry_doc(c->q->server->args.registry, o->kind, o->namespace_, o->name);
    if (d != NULL)
        api_document_list_add(c->all, d);
}

static bool is_about(const struct api_document_list *applied, struct arena *a, struct str subject)
{
    for (size_t i = 0; i < applied->docs.len; i++) {
        if (str_eq(api_document_subject(a, applied->docs.ptr[i]), subject))
            return true;
    }
    return false;
}

/* Checks the whole that would be; keeps the findings about what is applied. */
static void check_whole(struct rest *q, const struct api_document_list *applied,
                        const struct apply_options *options, struct api_findings *f)
{
    struct api_document_list all;
    struct api_findings found;
    api_document_list_init(&all);
    api_findings_init(&found);
    for (size_t i = 0; i < applied->docs.len; i++)
        api_document_list_add(&all, applied->docs.ptr[i]);
    struct keep_ctx ctx = {q, applied, options, &all};
    for (int kind = 0; kind < API_KIND_COUNT; kind++)
        (void)store_list(q->server->args.store, (enum api_kind)kind, STR_NULL, on_present, &ctx);
    api_check_documents(&all, &found);
    for (size_t i = 0; i < found.list.len; i++) {
        if (is_about(applied, &q->arena, found.list.ptr[i].subject))
            api_findings_add(f, &found.list.ptr[i]);
    }
    api_findings_deinit(&found);
    api_document_list_deinit(&all);
}

int apply_parse(struct rest *q, struct api_document_list *list, struct api_findings *f,
                const struct apply_options *options)
{
    struct str file = q->file.len > 0 ? q->file : STR("request");
    if (!parse_files(q, list, f))
        (void)parse_text(list, f, file, str_buf_str(&q->body));
    check_whole(q, list, options, f);
    if (f->error_count > 0) {
        api_findings_sort(f);
        answer_findings(q, f);
        return -ERR_INVALID;
    }
    return 0;
}

/* --- committing --- */

static struct str now_text(struct arena *a)
{
    char text[TIME_TEXT_MAX];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return arena_str(a, time_format((int64_t)now.tv_sec * 1000, false, text));
}

struct store_write apply_write(struct rest *q, const struct api_document *d, struct str owner)
{
    uint64_t expected = 0;
    (void)str_to_u64(d->resource_version, INT64_MAX, &expected);
    return (struct store_write){
        .object =
            {
                .kind = d->kind,
                .namespace_ = d->namespace,
                .name = d->name,
                .json = d->json,
                .file = d->file,
                .line = d->place.line,
                .created_at = now_text(&q->arena),
                .owner = owner,
            },
        .expected_revision = expected,
    };
}

static void answer_commit_error(struct rest *q, int err, const struct store_write *w)
{
    const struct store_object *o = &w->object;
    const char *kind = api_kind_info(o->kind)->name;
    if (err == -ERR_CONFLICT && w->expected_revision == UINT64_MAX)
        rest_error(q, 409, "AlreadyExists", "%s %.*s/%.*s exists already", kind,
                   STR_FMT(o->namespace_), STR_FMT(o->name));
    else if (err == -ERR_CONFLICT)
        rest_error(q, 409, "Conflict",
                   "%s %.*s/%.*s was changed by somebody else since it was read; get it again and "
                   "apply your change to that",
                   kind, STR_FMT(o->namespace_), STR_FMT(o->name));
    else if (err == -ERR_NOT_FOUND)
        rest_error(q, 404, "NotFound", "%s %.*s/%.*s does not exist", kind, STR_FMT(o->namespace_),
                   STR_FMT(o->name));
    else if (err == -ERR_NO_SPACE)
        rest_error(q, 507, "InsufficientStorage", "the store's disk is full; nothing was changed");
    else
        rest_error(q, 500, "InternalError", "the store: %s; nothing was changed", err_text(err));
}

int apply_commit(struct rest *q, struct store_write *writes, size_t count)
{
    struct server *s = q->server;
    size_t failed = 0;
    uint64_t before = store_revision(s->args.store);
    int err = store_commit(s->args.store, writes, count, &failed);
    if (err != 0) {
        answer_commit_error(q, err, &writes[failed]);
        return err;
    }
    if (store_revision(s->args.store) != before)
        push_committed(s->args.push, store_revision(s->args.store));
    return 0;
}

/* --- POST /tulle/v1/apply --- */

struct writes {
    struct store_write *ptr;
    size_t len, cap;
};

struct prune_ctx {
    struct keep_ctx keep;
    struct writes *writes;
};

static void on_prune(void *ctx, const struct store_object *o)
{
    struct prune_ctx *c = ctx;
    if (!is_pruned(&c->keep, o))
        return;
    struct arena *a = &c->keep.q->arena;
    struct store_write w = {
        .is_delete = true,
        .object = {.kind = o->kind,
                   .namespace_ = arena_str(a, o->namespace_),
                   .name = arena_str(a, o->name)},
    };
    VEC_PUSH(c->writes, w);
}

static void collect_writes(struct rest *q, const struct api_document_list *list,
                           const struct apply_options *options, struct writes *writes)
{
    for (size_t i = 0; i < list->docs.len; i++)
        VEC_PUSH(writes, apply_write(q, list->docs.ptr[i], options->owner));
    struct prune_ctx ctx = {{q, list, options, NULL}, writes};
    for (int kind = 0; kind < API_KIND_COUNT && options->is_pruning; kind++)
        (void)store_list(q->server->args.store, (enum api_kind)kind, STR_NULL, on_prune, &ctx);
}

static void answer_applied(struct rest *q, const struct writes *writes,
                           const struct api_findings *warnings)
{
    static const char *const changes[] = {
        [STORE_CREATED] = "created",
        [STORE_CONFIGURED] = "configured",
        [STORE_UNCHANGED] = "unchanged",
        [STORE_DELETED] = "deleted",
    };
    struct str_buf text = STR_BUF_INIT(ANSWER_BYTES_MAX);
    struct str_buf findings = STR_BUF_INIT(ANSWER_BYTES_MAX);
    struct json_writer w;
    json_writer_init(&w, &text, 0);
    json_writer_object(&w, NULL);
    json_writer_array(&w, "applied");
    for (size_t i = 0; i < writes->len; i++) {
        const struct store_object *o = &writes->ptr[i].object;
        json_writer_object(&w, NULL);
        json_writer_c(&w, "kind", api_kind_info(o->kind)->name);
        json_writer_str(&w, "namespace", o->namespace_);
        json_writer_str(&w, "name", o->name);
        json_writer_c(&w, "change", changes[writes->ptr[i].change]);
        json_writer_end(&w);
    }
    json_writer_end(&w);
    json_writer_u64(&w, "revision", store_revision(q->server->args.store));
    api_findings_add_json(warnings, &findings);
    json_writer_raw(&w, "findings", str_buf_str(&findings));
    json_writer_end(&w);
    rest_answer(q, 200, str_buf_str(&text));
    str_buf_deinit(&findings);
    str_buf_deinit(&text);
}

void apply_handle(struct rest *q)
{
    struct str owner = rest_query(q, STR("owner"));
    struct apply_options options = {
        .owner = owner.len > 0 ? owner : STR("api"),
        .is_pruning = str_eq(rest_query(q, STR("prune")), STR("true")),
        .is_dry_run = str_eq(rest_query(q, STR("dryRun")), STR("true")),
    };
    struct api_document_list list;
    struct api_findings findings;
    struct writes writes = {0};
    api_document_list_init(&list);
    api_findings_init(&findings);
    if (apply_parse(q, &list, &findings, &options) == 0) {
        collect_writes(q, &list, &options, &writes);
        if (options.is_dry_run)
            rest_answer(q, 200, STR("{\"applied\":[],\"dryRun\":true}"));
        else if (apply_commit(q, writes.ptr, writes.len) == 0)
            answer_applied(q, &writes, &findings);
    }
    free(writes.ptr);
    api_findings_deinit(&findings);
    api_document_list_deinit(&list);
}
