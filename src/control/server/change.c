/* A set of documents that takes effect as one: parsed, checked against what is there, written. */
#include <stdlib.h>
#include <string.h>

#include "codec/duration.h"
#include "control/server/server_priv.h"

void change_init(struct change *c, struct server *s, struct str owner)
{
    *c = (struct change){.server = s, .owner = owner};
    api_document_list_init(&c->docs);
    api_findings_init(&c->findings);
    arena_init(&c->arena, 4096);
    map_init(&c->by_subject);
    map_init(&c->deleted);
}

void change_deinit(struct change *c)
{
    api_document_list_deinit(&c->docs);
    api_findings_deinit(&c->findings);
    VEC_DEINIT(&c->writes);
    VEC_DEINIT(&c->namespaces);
    map_deinit(&c->by_subject);
    map_deinit(&c->deleted);
    arena_deinit(&c->arena);
}

static struct str subject_of(struct change *c, enum api_kind kind, struct str namespace_,
                             struct str name)
{
    struct api_document d = {.kind = kind, .namespace = namespace_, .name = name};
    return api_document_subject(&c->arena, &d);
}

static bool is_in_set(const struct change *c, struct str subject)
{
    return map_get(&c->by_subject, subject) != NULL;
}

static void add_write(struct change *c, const struct api_document *d)
{
    char text[TIME_TEXT_MAX];
    uint64_t now_ms = turn_wall_us(c->server->args.turn) / 1000;
    struct store_write w = {
        .object = {.kind = d->kind,
                   .namespace_ = d->namespace,
                   .name = d->name,
                   .json = d->json,
                   .file = d->file,
                   .line = d->place.line,
                   .owner = c->owner,
                   .created_at = arena_str(&c->arena, time_format((int64_t)now_ms, false, text))},
        .is_taking_over = c->is_taking_over,
    };
    /* In a file it says where the document was copied from, not what it is to replace. */
    if (d->resource_version.len > 0 && !c->is_taking_over &&
        (!str_to_u64(d->resource_version, UINT64_MAX - 1, &w.expected_revision) ||
         w.expected_revision == 0))
        w.expected_revision = UINT64_MAX - 1; /* no revision of ours: never equal */
    VEC_PUSH(&c->writes, w);
}

static void note_document(struct change *c, struct api_document *d)
{
    struct str subject = api_document_subject(&c->arena, d);
    add_write(c, d);
    if (!is_in_set(c, subject))
        map_put(&c->by_subject, subject, d);
}

void change_parse(struct change *c, struct str file, uint32_t line, struct str text,
                  struct str namespace_)
{
    size_t before = c->docs.docs.len;
    struct str_buf shown = STR_BUF_INIT(file.len);
    str_buf_add_shown(&shown, file);
    struct api_source source = {
        .file = arena_str(&c->arena, str_buf_str(&shown)),
        .text = text,
        .default_namespace = namespace_,
        .stored_line = line,
    };
    str_buf_deinit(&shown);
    (void)api_document_parse(&source, &c->docs, &c->findings);
    for (size_t i = before; i < c->docs.docs.len; i++)
        note_document(c, c->docs.docs.ptr[i]);
}

void change_add(struct change *c, struct api_document *d)
{
    api_document_list_add(&c->docs, d);
    note_document(c, d);
}

static void remove_at(struct change *c, size_t i)
{
    api_document_unref(c->docs.docs.ptr[i]);
    size_t after = --c->docs.docs.len - i;
    memmove(&c->docs.docs.ptr[i], &c->docs.docs.ptr[i + 1], after * sizeof *c->docs.docs.ptr);
    after = --c->writes.len - i;
    memmove(&c->writes.ptr[i], &c->writes.ptr[i + 1], after * sizeof *c->writes.ptr);
}

bool change_drop(struct change *c, struct str subject)
{
    struct api_document *d = map_remove(&c->by_subject, subject);
    if (d == NULL)
        return false;
    api_document_ref(d);
    for (size_t i = c->docs.docs.len; i-- > 0;) {
        const struct api_document *o = c->docs.docs.ptr[i];
        if (o->kind == d->kind && str_eq(o->namespace, d->namespace) && str_eq(o->name, d->name))
            remove_at(c, i);
    }
    api_document_unref(d);
    return true;
}

void change_delete(struct change *c, const struct store_object *o)
{
    struct store_write w = {
        .is_delete = true,
        .object = {.kind = o->kind,
                   .namespace_ = arena_str(&c->arena, o->namespace_),
                   .name = arena_str(&c->arena, o->name)},
    };
    VEC_PUSH(&c->writes, w);
}

static void on_owned(void *ctx, const struct store_object *o)
{
    struct change *c = ctx;
    if (str_eq(o->owner, c->owner) && !is_in_set(c, subject_of(c, o->kind, o->namespace_, o->name)))
        change_delete(c, o);
}

void change_prune(struct change *c)
{
    for (int kind = 0; kind < API_KIND_COUNT; kind++)
        (void)store_list(c->server->args.store, (enum api_kind)kind, STR_NULL, on_owned, c);
}

/* --- checking --- */

static void note_deleted(struct change *c)
{
    for (size_t i = 0; i < c->writes.len; i++) {
        struct store_write *w = &c->writes.ptr[i];
        const struct store_object *o = &w->object;
        if (w->is_delete)
            map_put(&c->deleted, subject_of(c, o->kind, o->namespace_, o->name), w);
    }
}

static bool stays(struct change *c, const struct api_document *d)
{
    struct str subject = api_document_subject(&c->arena, d);
    return !is_in_set(c, subject) && map_get(&c->deleted, subject) == NULL;
}

/* What is there, without what the set replaces or deletes when it is given. */
struct stored {
    struct change *change;
    bool is_before;
    struct api_document_list *to;
};

static void on_stored(void *ctx, struct api_document *d)
{
    const struct stored *s = ctx;
    if (s->is_before || stays(s->change, d))
        api_document_list_add(s->to, d);
}

static void add_stored(struct change *c, bool is_before, struct api_document_list *to)
{
    struct stored s = {c, is_before, to};
    for (int kind = 0; kind < API_KIND_COUNT; kind++)
        change_each_stored(c, (enum api_kind)kind, on_stored, &s);
}

static bool is_equal(const struct api_finding *a, const struct api_finding *b)
{
    return a->severity == b->severity && str_eq(a->subject, b->subject) &&
           str_eq(a->path, b->path) && str_eq(a->text, b->text);
}

static bool is_among(const struct api_findings *list, const struct api_finding *f)
{
    for (size_t i = 0; i < list->list.len; i++) {
        if (is_equal(&list->list.ptr[i], f))
            return true;
    }
    return false;
}

/* Nothing that was there goes or changes: others can only be told what they lacked before, too. */
static bool is_only_creating(struct change *c)
{
    for (size_t i = 0; i < c->writes.len; i++) {
        const struct store_write *w = &c->writes.ptr[i];
        if (w->is_delete || registry_doc(c->server->args.registry, w->object.kind,
                                         w->object.namespace_, w->object.name) != NULL)
            return false;
    }
    return true;
}

static bool is_to_be_told(struct change *c, const struct api_findings *old,
                          const struct api_finding *f)
{
    if (is_in_set(c, f->subject))
        return true;
    /* What was wrong before is no reason to refuse; what this change makes wrong is. */
    return f->severity == API_ERROR && !is_among(old, f) &&
           !(f->is_unmet && (c->is_single || is_only_creating(c)));
}

bool change_check(struct change *c)
{
    struct api_document_list before, after;
    struct api_findings old, now;
    if (c->findings.error_count > 0)
        return false;
    api_document_list_init(&before);
    api_document_list_init(&after);
    api_findings_init(&old);
    api_findings_init(&now);
    old.list_max = now.list_max = API_FINDINGS_CHECKED_MAX;
    note_deleted(c);
    change_scope(c);
    add_stored(c, true, &before);
    add_stored(c, false, &after);
    for (size_t i = 0; i < c->docs.docs.len; i++)
        api_document_list_add(&after, c->docs.docs.ptr[i]);
    api_check_documents(&before, &old);
    api_check_documents(&after, &now);
    for (size_t i = 0; i < now.list.len; i++) {
        struct api_finding f = now.list.ptr[i];
        if (!is_to_be_told(c, &old, &f))
            continue;
        if (f.is_unmet && c->is_single)
            f.severity = API_WARNING;
        api_findings_add(&c->findings, &f);
    }
    api_findings_sort(&c->findings);
    api_findings_deinit(&old);
    api_findings_deinit(&now);
    api_document_list_deinit(&before);
    api_document_list_deinit(&after);
    return c->findings.error_count == 0;
}

/* --- writing --- */

static int look(struct change *c, size_t *ret_failed)
{
    for (size_t i = 0; i < c->writes.len; i++) {
        struct store_write *w = &c->writes.ptr[i];
        struct store_object o;
        int err = store_get(c->server->args.store, w->object.kind, w->object.namespace_,
                            w->object.name, &c->arena, &o);
        *ret_failed = i;
        if (err != 0 && (err != -ERR_NOT_FOUND || w->is_delete))
            return err;
        bool is_expected =
            w->expected_revision == 0 ||
            (w->expected_revision == UINT64_MAX ? err != 0
                                                : err == 0 && o.revision == w->expected_revision);
        if (!is_expected)
            return -ERR_CONFLICT;
        w->change = w->is_delete                     ? STORE_DELETED
                    : err != 0                       ? STORE_CREATED
                    : str_eq(o.json, w->object.json) ? STORE_UNCHANGED
                                                     : STORE_CONFIGURED;
    }
    return 0;
}

int change_commit(struct change *c, bool is_dry, const struct store_author *by, size_t *ret_failed)
{
    const struct server_args *args = &c->server->args;
    uint64_t before = store_revision(args->store);
    if (is_dry)
        return look(c, ret_failed);
    int err = store_commit(args->store, c->writes.ptr, c->writes.len, by, ret_failed);
    if (err == 0)
        server_note_passed(c->server, c);
    if (err == 0 && store_revision(args->store) != before)
        push_committed(args->push, store_revision(args->store));
    return err;
}
