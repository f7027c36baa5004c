#include "control/api/findings.h"

#include "codec/json_writer.h"

void api_findings_init(struct api_findings *f)
{
    *f = (struct api_findings){.list_max = API_FINDINGS_MAX};
    arena_init(&f->arena, 4096);
}

void api_findings_deinit(struct api_findings *f)
{
    VEC_DEINIT(&f->list);
    arena_deinit(&f->arena);
}

void api_findings_add(struct api_findings *f, const struct api_finding *finding)
{
    if (finding->severity == API_ERROR)
        f->error_count++;
    else
        f->warning_count++;
    if (f->list.len > f->list_max)
        return;
    struct api_finding copy = *finding;
    if (f->list.len == f->list_max) {
        copy.path = copy.hint = STR_NULL;
        copy.text = STR("too many findings: this and all further ones are left out");
    }
    copy.file = arena_str(&f->arena, copy.file);
    copy.subject = arena_str(&f->arena, copy.subject);
    copy.path = arena_str(&f->arena, copy.path);
    copy.text = arena_str(&f->arena, copy.text);
    copy.hint = arena_str(&f->arena, copy.hint);
    VEC_PUSH(&f->list, copy);
}

static int compare_u32(uint32_t a, uint32_t b)
{
    return (a > b) - (a < b);
}

static int compare(const void *left, const void *right)
{
    const struct api_finding *a = left, *b = right;
    int c = str_cmp(a->file, b->file);
    if (c == 0)
        c = compare_u32(a->place.line, b->place.line);
    if (c == 0)
        c = compare_u32(a->place.column, b->place.column);
    if (c == 0)
        c = compare_u32(a->severity, b->severity);
    return c != 0 ? c : str_cmp(a->text, b->text);
}

void api_findings_sort(struct api_findings *f)
{
    if (f->list.len == 0)
        return;
    qsort(f->list.ptr, f->list.len, sizeof *f->list.ptr, compare);
    size_t kept = 1;
    for (size_t i = 1; i < f->list.len; i++) {
        if (compare(&f->list.ptr[i], &f->list.ptr[kept - 1]) != 0)
            f->list.ptr[kept++] = f->list.ptr[i];
        else if (f->list.ptr[i].severity == API_ERROR)
            f->error_count--;
        else
            f->warning_count--;
    }
    f->list.len = kept;
}

struct str api_finding_line(struct api_findings *f, const struct api_finding *finding)
{
    bool has_hint = finding->hint.len > 0;
    struct str line = arena_printf(
        &f->arena, "%.*s:%u:%u: %s: %.*s%s%.*s%s", STR_FMT(finding->file), finding->place.line,
        finding->place.column, finding->severity == API_ERROR ? "error" : "warning",
        STR_FMT(finding->text), has_hint ? " (" : "", STR_FMT(finding->hint), has_hint ? ")" : "");
    char *copy = arena_bytes(&f->arena, line.len);
    for (size_t i = 0; i < line.len; i++) {
        unsigned char c = (unsigned char)line.ptr[i];
        copy[i] = c < ' ' || c == 0x7f ? '?' : line.ptr[i];
    }
    return str_from(copy, line.len);
}

void api_findings_add_json(const struct api_findings *f, struct str_buf *out)
{
    struct json_writer w;
    json_writer_init(&w, out, 0);
    json_writer_array(&w, NULL);
    for (size_t i = 0; i < f->list.len; i++) {
        const struct api_finding *x = &f->list.ptr[i];
        json_writer_object(&w, NULL);
        json_writer_c(&w, "severity", x->severity == API_ERROR ? "error" : "warning");
        json_writer_str(&w, "file", x->file);
        json_writer_u64(&w, "line", x->place.line);
        json_writer_u64(&w, "column", x->place.column);
        json_writer_str(&w, "path", x->path);
        json_writer_str(&w, "text", x->text);
        json_writer_str(&w, "hint", x->hint);
        json_writer_str(&w, "document", x->subject);
        json_writer_end(&w);
    }
    json_writer_end(&w);
}
