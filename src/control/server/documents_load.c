/* A load of the folder: files parsed, checked with what is there, written as one change. */
#include <stdlib.h>

#include "base/log.h"
#include "codec/duration.h"
#include "control/server/documents_priv.h"

enum { ROUNDS_MAX = 16, STRANGERS_LEN_MAX = 500 };

struct str documents_shown_path(const struct documents *d, struct arena *a, struct str path)
{
    struct str_buf shown = STR_BUF_INIT(8 * FOLDER_PATH_LEN_MAX);
    str_buf_add_shown(&shown, path);
    struct str text =
        arena_printf(a, "%s%s%.*s", d->path, path.len > 0 ? "/" : "", STR_FMT(str_buf_str(&shown)));
    str_buf_deinit(&shown);
    return text;
}

static void add_problem(struct documents *d, struct str subject, struct str path, uint32_t line,
                        struct str text)
{
    struct arena a;
    arena_init(&a, 1024);
    struct documents_problem p = {subject, documents_shown_path(d, &a, path), line, 1, text};
    documents_problem_add(&d->next, &p);
    arena_deinit(&a);
}

static void add_finding(struct documents *d, const struct api_finding *f)
{
    struct arena a;
    bool has_path = f->path.len > 0, has_hint = f->hint.len > 0;
    arena_init(&a, 1024);
    struct documents_problem p = {
        .subject = f->subject,
        .file = f->file,
        .line = f->place.line,
        .column = f->place.column,
        .text = arena_printf(&a, "%.*s%s%.*s%s%.*s%s", STR_FMT(f->path), has_path ? ": " : "",
                             STR_FMT(f->text), has_hint ? " (" : "", STR_FMT(f->hint),
                             has_hint ? ")" : ""),
    };
    documents_problem_add(&d->next, &p);
    arena_deinit(&a);
}

/* --- files --- */

void documents_file_free(struct documents_file *f)
{
    VEC_DEINIT(&f->refs);
    arena_deinit(&f->arena);
    free((char *)(uintptr_t)f->path.ptr);
    free(f);
}

static struct documents_file *file_at(struct documents *d, struct str path)
{
    struct documents_file *f = map_get(&d->files, path);
    if (f != NULL)
        return f;
    f = NEW(struct documents_file);
    char *copy = str_dup_c(path);
    f->path = str_from(copy, path.len);
    arena_init_tight(&f->arena, 256);
    map_put(&d->files, f->path, f);
    return f;
}

static void begin_load(struct documents *d)
{
    documents_end_load(d);
    change_init(&d->change, d->server, STR(DOCUMENTS_OWNER));
    d->change.is_taking_over = true;
    d->has_change = true;
    documents_problems_init(&d->next);
    d->seen.len = 0;
    void *value;
    for (size_t i = 0; map_next(&d->files, &i, NULL, &value);)
        ((struct documents_file *)value)->is_seen = false;
}

void documents_end_load(struct documents *d)
{
    if (!d->has_change)
        return;
    change_deinit(&d->change);
    documents_problems_deinit(&d->next);
    d->has_change = false;
}

/* An empty folder is more often one that was not mounted than the wish to have nothing. */
static void judge(struct documents *d, const struct folder_scan *s)
{
    d->is_partial = s->is_partial;
    d->is_usable = s->root >= 0 && s->files.len > 0 && !s->is_too_many;
    if (s->is_too_many)
        add_problem(d, STR_NULL, STR_NULL, 0, STR("there are more than 100000 files"));
    else if (s->root >= 0 && s->files.len == 0)
        add_problem(d, STR_NULL, STR_NULL, 0,
                    STR("there is no .yaml, .yml or .json: what runs stays as it is (a file with "
                        "nothing but a comment says that there is to be nothing)"));
}

static void on_scanned(void *ctx, struct folder_scan *s)
{
    struct documents *d = ctx;
    begin_load(d);
    for (size_t i = 0; i < s->problems.len; i++)
        add_problem(d, STR_NULL, s->problems.ptr[i].path, 0, s->problems.ptr[i].text);
    judge(d, s);
    for (size_t i = 0; d->is_usable && i < s->files.len; i++) {
        struct folder_file *found = &s->files.ptr[i];
        struct documents_file *f = file_at(d, found->path);
        f->is_seen = true;
        VEC_PUSH(&d->seen, f);
        if (found->is_restless) {
            f->is_read = f->is_clean = false;
            f->is_torn = true;
            continue;
        }
        f->is_read = !f->is_clean || !folder_stamp_is_equal(&f->stamp, &found->stamp);
        f->is_clean = f->is_clean && !f->is_read;
        f->is_fresh = found->is_fresh;
        f->stamp = found->stamp;
        found->is_wanted = f->is_read;
    }
}

/* --- a file's documents --- */

static void add_ref(struct documents_file *f, const struct api_document *named, uint32_t line)
{
    struct documents_ref ref = {f, api_document_subject(&f->arena, named), line, false};
    VEC_PUSH(&f->refs, ref);
}

static void take(struct documents *d, struct documents_file *f,
                 const struct api_document_list *list)
{
    for (size_t i = 0; i < list->docs.len; i++) {
        add_ref(f, list->docs.ptr[i], list->docs.ptr[i]->place.line);
        change_add(&d->change, list->docs.ptr[i]);
    }
    for (size_t i = 0; i < list->broken.len; i++) {
        const struct api_broken *b = &list->broken.ptr[i];
        struct api_document named = {.kind = b->kind, .namespace = b->namespace, .name = b->name};
        add_ref(f, &named, b->place.line);
    }
}

static void parse(struct documents *d, struct documents_file *f, struct str text)
{
    struct api_document_list list;
    struct api_findings findings;
    api_document_list_init(&list);
    api_findings_init(&findings);
    findings.list_max = API_FINDINGS_CHECKED_MAX;
    struct api_source source = {
        .file = documents_shown_path(d, &d->change.arena, f->path),
        .text = text,
    };
    (void)api_document_parse(&source, &list, &findings);
    for (size_t i = 0; i < findings.list.len; i++) {
        const struct api_finding *finding = &findings.list.ptr[i];
        if (finding->severity != API_ERROR)
            continue;
        add_finding(d, finding);
        /* Where a document cannot even be named, nobody knows what the file was to say. */
        f->is_torn = f->is_torn || finding->subject.len == 0;
    }
    server_note_refused(d->server, &findings);
    if (!f->is_torn)
        take(d, f, &list);
    api_findings_deinit(&findings);
    api_document_list_deinit(&list);
}

static void on_text(void *ctx, const struct folder_file *found, struct str text, int err)
{
    struct documents *d = ctx;
    struct documents_file *f = map_get(&d->files, found->path);
    f->refs.len = 0;
    arena_reset(&f->arena);
    f->is_torn = err != 0;
    if (err == 0)
        parse(d, f, text);
    else
        add_problem(d, STR_NULL, f->path, 0, str_from_c(err_text(err)));
}

/* --- documents in two places --- */

static void say_twice(struct documents *d, struct documents_ref *ref,
                      const struct documents_ref *other)
{
    struct arena a;
    if (ref->is_twice)
        return;
    ref->is_twice = true;
    arena_init(&a, 1024);
    struct str where = documents_shown_path(d, &a, other->file->path);
    add_problem(d, ref->subject, ref->file->path, ref->line,
                arena_printf(&a, "%.*s stands in %.*s:%u, too; what ran before goes on",
                             STR_FMT(ref->subject), STR_FMT(where), other->line));
    arena_deinit(&a);
    (void)change_drop(&d->change, ref->subject);
}

static void index_refs(struct documents *d)
{
    map_clear(&d->by_subject);
    d->document_count = 0;
    for (size_t i = 0; i < d->seen.len; i++) {
        struct documents_file *f = d->seen.ptr[i];
        for (size_t n = 0; n < f->refs.len; n++) {
            struct documents_ref *ref = &f->refs.ptr[n];
            struct documents_ref *first = map_get(&d->by_subject, ref->subject);
            ref->is_twice = false;
            d->document_count++;
            if (first == NULL)
                map_put(&d->by_subject, ref->subject, ref);
            else
                say_twice(d, ref, first);
            if (first != NULL)
                say_twice(d, first, ref);
        }
    }
}

/* --- what the folder no longer has --- */

static struct str subject_of(struct arena *a, const struct store_object *o)
{
    struct api_document named = {.kind = o->kind, .namespace = o->namespace_, .name = o->name};
    return api_document_subject(a, &named);
}

static void each_stored(struct documents *d, store_each_fn *each)
{
    for (int kind = 0; kind < API_KIND_COUNT; kind++)
        (void)store_list(d->server->args.store, (enum api_kind)kind, STR_NULL, each, d);
}

/* A file that does not parse may hold anything, also what is missing elsewhere. */
static bool has_torn_file(const struct documents *d)
{
    bool is_any = false;
    for (size_t i = 0; i < d->seen.len; i++)
        is_any = is_any || d->seen.ptr[i]->is_torn;
    return is_any;
}

static void note_stranger(struct documents *d, struct str subject)
{
    if (d->stranger_count++ > 0)
        str_buf_add_c(&d->strangers, ", ");
    str_buf_add(&d->strangers, subject);
}

static void on_stored(void *ctx, const struct store_object *o)
{
    struct documents *d = ctx;
    struct str subject = subject_of(&d->change.arena, o);
    if (map_get(&d->by_subject, subject) != NULL)
        return;
    if (!str_eq(o->owner, STR(DOCUMENTS_OWNER)))
        note_stranger(d, subject);
    else if (!d->is_partial)
        change_delete(&d->change, o);
}

/* After what is wrong by itself was dropped. */
static void prune(struct documents *d)
{
    d->is_partial = d->is_partial || has_torn_file(d);
    d->stranger_count = 0;
    str_buf_reset(&d->strangers);
    d->strangers.is_overflown = false;
    each_stored(d, on_stored);
}

/* --- the check --- */

/* Takes out what is wrong; how many. */
static size_t drop_wrong(struct documents *d)
{
    struct change *c = &d->change;
    size_t dropped = 0;
    for (size_t i = 0; i < c->findings.list.len; i++) {
        const struct api_finding *f = &c->findings.list.ptr[i];
        bool is_ours = f->severity == API_ERROR && map_get(&c->by_subject, f->subject) != NULL;
        if (is_ours)
            add_finding(d, f);
        dropped += is_ours && change_drop(c, f->subject);
    }
    return dropped;
}

/* Documents that are there already and become wrong by this change are said, and stay. */
static void note_others(struct documents *d)
{
    const struct api_findings *findings = &d->change.findings;
    for (size_t i = 0; i < findings->list.len; i++) {
        if (findings->list.ptr[i].severity == API_ERROR)
            add_finding(d, &findings->list.ptr[i]);
    }
}

/* What is wrong may have been what others need: again, until all that is left is good. */
static bool check(struct documents *d)
{
    struct change *c = &d->change;
    for (int round = 0; round < ROUNDS_MAX; round++) {
        api_findings_deinit(&c->findings);
        api_findings_init(&c->findings);
        c->findings.list_max = API_FINDINGS_CHECKED_MAX;
        if (change_check(c))
            return true;
        if (drop_wrong(d) == 0) {
            note_others(d);
            return c->findings.list.len <= c->findings.list_max;
        }
    }
    return false;
}

/* --- writing --- */

static size_t changed_count(const struct change *c)
{
    size_t count = 0;
    for (size_t i = 0; i < c->writes.len; i++)
        count += c->writes.ptr[i].change != STORE_UNCHANGED;
    return count;
}

static bool write_all(struct documents *d)
{
    char at[TIME_TEXT_MAX];
    size_t failed = 0;
    uint64_t now_ms = turn_wall_us(d->server->args.turn) / 1000;
    struct store_author by = {
        .at = time_format((int64_t)now_ms, false, at),
        .who = STR("documents"),
        .source = str_from_c(d->path),
        .verb = STR("load"),
    };
    int err = change_commit(&d->change, false, &by, &failed);
    if (err != 0) {
        add_problem(d, STR_NULL, STR_NULL, 0, str_from_c(err_text(err)));
        return false;
    }
    d->loaded_ms = now_ms;
    d->loaded_revision = store_revision(d->server->args.store);
    size_t changed = changed_count(&d->change);
    if (changed > 0)
        log_event(LOG_INFO, "documents_loaded", LFC("folder", d->path),
                  LF("documents", arena_u64(&d->change.arena, d->document_count)),
                  LF("changed", arena_u64(&d->change.arena, changed)),
                  LF("revision", arena_u64(&d->change.arena, d->loaded_revision)));
    return true;
}

/* --- the end of a load --- */

static void forget_unseen(struct documents *d)
{
    struct str path;
    void *value;
    for (size_t i = 0; map_next(&d->files, &i, &path, &value);) {
        struct documents_file *f = value;
        if (f->is_seen)
            continue;
        (void)map_remove(&d->files, path);
        documents_file_free(f);
    }
}

/* What is wrong with a document, also by what stands elsewhere, is looked at in every load. */
static void mark_clean(struct documents *d)
{
    size_t skip = strlen(d->path) + 1;
    for (size_t i = 0; i < d->seen.len; i++) {
        struct documents_file *f = d->seen.ptr[i];
        f->is_clean = !f->is_fresh && !f->is_torn;
    }
    for (size_t i = 0; i < d->next.list.len; i++) {
        struct documents_file *f = map_get(&d->files, str_skip(d->next.list.ptr[i].file, skip));
        if (f != NULL)
            f->is_clean = false;
    }
    /* More is wrong than is remembered: all is looked at. */
    for (size_t i = 0; d->next.count > d->next.list.len && i < d->seen.len; i++)
        d->seen.ptr[i]->is_clean = false;
}

static bool load(struct documents *d)
{
    index_refs(d);
    prune(d);
    if (!check(d)) {
        add_problem(d, STR_NULL, STR_NULL, 0,
                    STR("too much is wrong, one thing by another: nothing was changed"));
        return false;
    }
    return write_all(d);
}

static bool on_done(void *ctx)
{
    struct documents *d = ctx;
    bool is_good = !d->is_usable || load(d);
    if (d->is_usable) {
        forget_unseen(d);
        mark_clean(d);
    }
    for (size_t i = 0; !is_good && i < d->seen.len; i++)
        d->seen.ptr[i]->is_clean = false;
    d->loads++;
    d->failures += !is_good || !d->is_usable;
    map_clear(&d->by_subject); /* of texts that the next load overwrites */
    documents_publish(d);
    documents_end_load(d);
    return is_good;
}

const struct folder_ops documents_ops = {
    .scanned = on_scanned,
    .text = on_text,
    .done = on_done,
};
