#include "control/api/check.h"

#include <stdarg.h>

#include "control/api/check_priv.h"
#include "control/api/mesh.h"

/* --- The set, indexed ----------------------------------------------------------------------- */

static struct str subject_of(struct arena *a, enum api_kind kind, struct str namespace,
                             struct str name)
{
    struct api_document d = {.kind = kind, .namespace = namespace, .name = name};
    return api_document_subject(a, &d);
}

const struct api_document *check_find(struct check *c, enum api_kind kind, struct str namespace,
                                      struct str name)
{
    return map_get(&c->by_subject, subject_of(&c->arena, kind, namespace, name));
}

bool check_has(struct check *c, enum api_kind kind, struct str namespace, struct str name)
{
    struct str subject = subject_of(&c->arena, kind, namespace, name);
    return map_get(&c->by_subject, subject) != NULL || map_get(&c->broken, subject) != NULL;
}

bool check_has_in_namespace(struct check *c, enum api_kind kind, struct str namespace)
{
    CHECK_EACH(c, kind, d)
    if (str_eq(d->namespace, namespace))
        return true;
    return false;
}

const struct api_document *check_find_service(struct check *c, struct str fqdn)
{
    struct str service, namespace;
    if (!api_host_split(fqdn, &service, &namespace))
        return NULL;
    return check_find(c, API_KIND_SERVICE, namespace, service);
}

bool check_is_host_missing(struct check *c, struct str fqdn)
{
    struct str service, namespace;
    if (!api_host_split(fqdn, &service, &namespace))
        return c->by_kind[API_KIND_SERVICE].list.len > 0;
    return check_has_in_namespace(c, API_KIND_SERVICE, namespace) &&
           !check_has(c, API_KIND_SERVICE, namespace, service);
}

static void index_set(struct check *c)
{
    for (size_t i = 0; i < c->set->docs.len; i++) {
        struct api_document *d = c->set->docs.ptr[i];
        struct str subject = api_document_subject(&c->arena, d);
        VEC_PUSH(&c->by_kind[d->kind].list, d);
        if (map_get(&c->by_subject, subject) == NULL)
            map_put(&c->by_subject, subject, d);
    }
    for (size_t i = 0; i < c->set->broken.len; i++) {
        struct api_broken *b = &c->set->broken.ptr[i];
        map_put(&c->broken, subject_of(&c->arena, b->kind, b->namespace, b->name), b);
    }
}

/* --- Findings ------------------------------------------------------------------------------- */

const char *check_path(struct check *c, const char *fmt, ...)
{
    char path[512];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(path, sizeof path, fmt, args);
    va_end(args);
    return len < 0 ? "" : arena_str(&c->arena, str_from_c(path)).ptr;
}

static void __attribute__((format(printf, 6, 0)))
report(struct check *c, enum api_severity severity, bool is_unmet, struct check_at at,
       const char *hint, const char *fmt, va_list args)
{
    char text[1024];
    int len = vsnprintf(text, sizeof text, fmt, args);
    if (len < 0)
        len = 0;
    struct api_finding finding = {
        .severity = severity,
        .is_unmet = is_unmet,
        .file = at.d->file,
        .place = at.place,
        .subject = api_document_subject(&c->arena, at.d),
        .path = str_from_c(at.path),
        .text = str_from(text, MIN((size_t)len, sizeof text - 1)),
        .hint = str_from_c(hint),
    };
    api_findings_add(c->findings, &finding);
}

void check_report(struct check *c, enum api_severity severity, struct check_at at, const char *hint,
                  const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    report(c, severity, false, at, hint, fmt, args);
    va_end(args);
}

void check_report_unmet(struct check *c, struct check_at at, const char *hint, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    report(c, API_ERROR, true, at, hint, fmt, args);
    va_end(args);
}

const char *check_place(struct check *c, const struct api_document *d, struct api_place place)
{
    return arena_printf(&c->arena, "%.*s:%u:%u", STR_FMT(d->file), place.line, place.column).ptr;
}

/* --- Whole documents ------------------------------------------------------------------------ */

static void check_duplicates(struct check *c)
{
    for (size_t i = 0; i < c->set->docs.len; i++) {
        const struct api_document *d = c->set->docs.ptr[i];
        const struct api_document *first = check_find(c, d->kind, d->namespace, d->name);
        if (first == d)
            continue;
        struct str subject = api_document_subject(&c->arena, d);
        struct str hint =
            arena_printf(&c->arena, "the first is at %s", check_place(c, first, first->place));
        check_report(c, API_ERROR, (struct check_at){d, d->place, ""}, hint.ptr,
                     "%.*s is there twice", STR_FMT(subject));
    }
}

static void check_one_mesh(struct check *c)
{
    const struct check_docs *meshes = &c->by_kind[API_KIND_MESH];
    for (size_t i = 1; i < meshes->list.len; i++) {
        const struct api_document *d = meshes->list.ptr[i], *first = meshes->list.ptr[0];
        if (str_eq(d->name, first->name))
            continue; /* a duplicate */
        struct str hint =
            arena_printf(&c->arena, "the other is at %s", check_place(c, first, first->place));
        check_report(c, API_ERROR, (struct check_at){d, d->place, ""}, hint.ptr,
                     "there is another Mesh document");
    }
}

static void check_open(struct check *c, const struct api_document_list *set,
                       struct api_findings *findings)
{
    *c = (struct check){.set = set, .findings = findings};
    arena_init(&c->arena, 4096);
    map_init(&c->by_subject);
    map_init(&c->broken);
    index_set(c);
}

static void check_close(struct check *c)
{
    for (size_t i = 0; i < API_KIND_COUNT; i++)
        VEC_DEINIT(&c->by_kind[i].list);
    map_deinit(&c->broken);
    map_deinit(&c->by_subject);
    arena_deinit(&c->arena);
}

void api_check_duplicates(const struct api_document_list *set, struct api_findings *findings)
{
    struct check c;
    check_open(&c, set, findings);
    check_duplicates(&c);
    check_close(&c);
}

void api_check_documents(const struct api_document_list *set, struct api_findings *findings)
{
    struct check c;
    check_open(&c, set, findings);
    check_duplicates(&c);
    check_one_mesh(&c);
    check_workload_all(&c);
    check_route_all(&c);
    check_policy_all(&c);
    check_close(&c);
}

const struct api_mesh *api_check_mesh(const struct api_document_list *set)
{
    for (size_t i = 0; i < set->docs.len; i++)
        if (set->docs.ptr[i]->kind == API_KIND_MESH)
            return set->docs.ptr[i]->spec.mesh;
    return api_mesh_default();
}
