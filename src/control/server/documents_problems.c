/* What is wrong in the folder: kept, logged once, told to who watches. */
#include <stdio.h>

#include "base/log.h"
#include "control/server/documents_priv.h"

void documents_problems_init(struct documents_problems *p)
{
    *p = (struct documents_problems){.count = 0};
    arena_init(&p->arena, 4096);
    map_init(&p->by_subject);
}

void documents_problems_deinit(struct documents_problems *p)
{
    VEC_DEINIT(&p->list);
    map_deinit(&p->by_subject);
    arena_deinit(&p->arena);
}

void documents_problem_add(struct documents_problems *p, const struct documents_problem *problem)
{
    p->count++;
    if (p->list.len >= DOCUMENTS_PROBLEMS_MAX)
        return;
    struct documents_problem *copy = ARENA_NEW(&p->arena, struct documents_problem);
    *copy = *problem;
    copy->subject = arena_str(&p->arena, problem->subject);
    copy->file = arena_str(&p->arena, problem->file);
    copy->text = arena_str(&p->arena, problem->text);
    VEC_PUSH(&p->list, *copy);
    if (copy->subject.len > 0 && map_get(&p->by_subject, copy->subject) == NULL)
        map_put(&p->by_subject, copy->subject, copy);
}

static bool is_equal(const struct documents_problem *a, const struct documents_problem *b)
{
    return a != NULL && b != NULL && a->line == b->line && a->column == b->column &&
           str_eq(a->file, b->file) && str_eq(a->text, b->text);
}

static bool is_known(const struct documents_problems *p, const struct documents_problem *problem)
{
    for (size_t i = 0; i < p->list.len; i++) {
        if (str_eq(p->list.ptr[i].subject, problem->subject) && is_equal(&p->list.ptr[i], problem))
            return true;
    }
    return false;
}

static void log_new(const struct documents_problems *now, const struct documents_problems *next)
{
    char line[16];
    for (size_t i = 0; i < next->list.len; i++) {
        const struct documents_problem *p = &next->list.ptr[i];
        if (is_known(now, p))
            continue;
        snprintf(line, sizeof line, "%u", p->line);
        log_event(LOG_WARN, "document_refused", LF("file", p->file), LFC("line", line),
                  LF("document", p->subject), LF("reason", p->text));
    }
    if (next->count == 0 && now->count > 0)
        log_event(LOG_INFO, "documents_good", LFC("errors", "0"));
}

/* "VirtualService/shop/catalog", "Mesh/default". */
static void tell(struct documents *d, struct str subject)
{
    struct arena a;
    struct store_object o;
    const struct api_kind_info *kind = api_kind_parse(str_split(&subject, '/'));
    if (kind == NULL)
        return;
    struct str namespace_ = kind->is_namespaced ? str_split(&subject, '/') : STR("");
    arena_init(&a, 4096);
    if (store_get(d->server->args.store, kind->kind, namespace_, subject, &a, &o) == 0)
        rest_watch_tell(d->server, STORE_CONFIGURED, &o);
    arena_deinit(&a);
}

/* Subjects of which `these` says what `others` does not. */
static void tell_changed(struct documents *d, const struct documents_problems *these,
                         const struct documents_problems *others, bool is_only_gone)
{
    struct str subject;
    void *problem;
    for (size_t i = 0; map_next(&these->by_subject, &i, &subject, &problem);) {
        const struct documents_problem *other = map_get(&others->by_subject, subject);
        if (is_only_gone ? other == NULL : !is_equal(other, problem))
            tell(d, subject);
    }
}

void documents_publish(struct documents *d)
{
    struct documents_problems old = d->now;
    log_new(&old, &d->next);
    d->now = d->next;
    documents_problems_init(&d->next);
    tell_changed(d, &d->now, &old, false);
    tell_changed(d, &old, &d->now, true);
    documents_problems_deinit(&old);
}
