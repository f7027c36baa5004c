#include "control/api/reader_priv.h"

#include <stdarg.h>
#include <stdio.h>

#include "control/api/nearest_priv.h"

enum { PATH_LEN_MAX = 512, TEXT_LEN_MAX = 1024 };

/* --- The tree ------------------------------------------------------------------------------- */

static struct api_place place_of(const struct reader *r, const struct yaml_node *n)
{
    if (r->stored_line != 0)
        return (struct api_place){r->stored_line, 1};
    return (struct api_place){n->line, n->column};
}

size_t in_count(const struct in *in)
{
    return in->node == NULL || in->node->kind == YAML_SCALAR ? 0 : in->node->count;
}

bool in_is_null(const struct in *in)
{
    return yaml_is_null(in->node);
}

bool in_is_mapping(const struct in *in)
{
    return in->node != NULL && in->node->kind == YAML_MAP;
}

bool in_is_sequence(const struct in *in)
{
    return in->node != NULL && in->node->kind == YAML_SEQ;
}

struct in in_item(const struct in *in, size_t i)
{
    const struct yaml_node *n = in->node->items[i];
    struct api_place place = place_of(in->reader, n);
    return (struct in){in->reader, n, place, place, in, STR_NULL, i};
}

struct in in_entry(const struct in *in, size_t i)
{
    const struct yaml_node *n = in->node->items[i], *key = in->node->keys[i];
    return (struct in){.reader = in->reader,
                       .node = n,
                       .place = place_of(in->reader, n),
                       .key_place = place_of(in->reader, key),
                       .parent = in,
                       .key = key->text,
                       .index = i};
}

bool in_get(const struct in *in, const char *key, struct in *ret)
{
    if (!in_is_mapping(in))
        return false;
    for (size_t i = 0; i < in_count(in); i++) {
        if (!str_eq(in->node->keys[i]->text, str_from_c(key)))
            continue;
        if (yaml_is_null(in->node->items[i]))
            return false;
        *ret = in_entry(in, i);
        return true;
    }
    return false;
}

/* --- Findings ------------------------------------------------------------------------------- */

static void path_add(struct str_buf *out, const struct in *in)
{
    if (in == NULL || in->parent == NULL)
        return;
    path_add(out, in->parent);
    if (in->key.ptr == NULL)
        str_buf_printf(out, "[%zu]", in->index);
    else
        str_buf_printf(out, "%s%.*s", out->len > 0 ? "." : "", STR_CLIP(in->key));
}

struct str in_path(const struct in *in)
{
    struct str_buf buf = STR_BUF_INIT(PATH_LEN_MAX);
    path_add(&buf, in);
    struct str path = arena_str(&in->reader->findings->arena, str_buf_str(&buf));
    str_buf_deinit(&buf);
    return path;
}

__attribute__((format(printf, 5, 0))) static void report(const struct in *in,
                                                         enum api_severity severity,
                                                         struct api_place place, const char *hint,
                                                         const char *fmt, va_list args)
{
    char text[TEXT_LEN_MAX];
    int len = vsnprintf(text, sizeof text, fmt, args);
    if (len < 0)
        len = 0;
    struct reader *r = in->reader;
    if (severity == API_ERROR)
        r->error_count++;
    struct api_finding finding = {
        .severity = severity,
        .file = r->file,
        .place = place,
        .subject = r->subject,
        .path = in_path(in),
        .text = str_from(text, MIN((size_t)len, sizeof text - 1)),
        .hint = str_from_c(hint),
    };
    api_findings_add(r->findings, &finding);
}

void in_error(const struct in *in, const char *hint, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    report(in, API_ERROR, in->place, hint, fmt, args);
    va_end(args);
}

void in_error_key(const struct in *in, const char *hint, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    report(in, API_ERROR, in->key_place, hint, fmt, args);
    va_end(args);
}

void in_warning(const struct in *in, const char *hint, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    report(in, API_WARNING, in->place, hint, fmt, args);
    va_end(args);
}

void in_error_not_yet(const struct in *in, const char *hint)
{
    struct str path = in_path(in);
    in_error_key(in, hint, "\"%.*s\" is not supported yet", STR_FMT(path));
}

static void error_kind(const struct in *in, const char *wanted)
{
    struct str path = in_path(in);
    if (path.len == 0)
        in_error(in, NULL, "the document must be %s, not %s", wanted, yaml_kind_text(in->node));
    else
        in_error(in, NULL, "\"%.*s\" must be %s, not %s", STR_FMT(path), wanted,
                 yaml_kind_text(in->node));
}

/* --- Mappings and sequences ----------------------------------------------------------------- */

static const struct field *field_find(const struct field *fields, size_t count, struct str name)
{
    for (size_t i = 0; i < count; i++)
        if (str_eq(name, str_from_c(fields[i].name)))
            return &fields[i];
    return NULL;
}

static void error_unknown(const struct in *in, const struct field *fields, size_t count)
{
    const char *best = NULL;
    unsigned best_distance = nearest_distance_max(in->key.len) + 1;
    /* Once nobody reads the findings any more, no work goes into them. */
    if (in->reader->findings->list.len > API_FINDINGS_MAX)
        count = 0;
    for (size_t i = 0; i < count; i++) {
        unsigned d = nearest_distance(in->key, str_from_c(fields[i].name), best_distance);
        if (d < best_distance) {
            best_distance = d;
            best = fields[i].name;
        }
    }
    struct str path = in_path(in);
    char hint[96];
    if (best != NULL)
        snprintf(hint, sizeof hint, "did you mean %s?", best);
    in_error_key(in, best != NULL ? hint : NULL, "unknown field \"%.*s\"", STR_FMT(path));
}

static void read_field(const struct in *in, const struct field *f, void *out)
{
    if (in_is_null(in) || (f->flags & FIELD_IGNORED) != 0)
        return;
    if (f->read == NULL)
        in_error_not_yet(in, NULL);
    else
        f->read(in, (char *)out + f->offset);
}

static void check_required(const struct in *in, const struct field *fields, size_t count)
{
    struct in child;
    for (size_t i = 0; i < count; i++) {
        if ((fields[i].flags & FIELD_REQUIRED) == 0 || in_get(in, fields[i].name, &child))
            continue;
        struct str path = in_path(in);
        in_error(in, NULL, "\"%.*s%s%s\" is missing", STR_FMT(path), path.len > 0 ? "." : "",
                 fields[i].name);
    }
}

bool in_object(const struct in *in, const struct field *fields, size_t field_count, void *out)
{
    if (!in_is_mapping(in)) {
        error_kind(in, "a map");
        return false;
    }
    for (size_t i = 0; i < in_count(in); i++) {
        struct in child = in_entry(in, i);
        const struct field *f = field_find(fields, field_count, child.key);
        if (f == NULL)
            error_unknown(&child, fields, field_count);
        else
            read_field(&child, f, out);
    }
    check_required(in, fields, field_count);
    return true;
}

void *in_array(const struct in *in, size_t item_len, field_fn *read, size_t *ret_count)
{
    if (!in_is_sequence(in)) {
        error_kind(in, "a list");
        return NULL;
    }
    size_t count = in_count(in);
    if (count == 0)
        return NULL;
    char *items = arena_zalloc(in->reader->arena, item_len * count);
    for (size_t i = 0; i < count; i++) {
        struct in item = in_item(in, i);
        read(&item, items + i * item_len);
    }
    *ret_count = count;
    return items;
}

/* --- Scalars -------------------------------------------------------------------------------- */

bool in_text(const struct in *in, struct str *ret)
{
    struct str text;
    if (yaml_str(in->node, &text)) {
        if (memchr(text.ptr == NULL ? "" : text.ptr, '\0', text.len) != NULL) {
            struct str path = in_path(in);
            in_error(in, NULL, "\"%.*s\" holds a NUL byte", STR_FMT(path));
            return false;
        }
        *ret = arena_str(in->reader->arena, text);
        return true;
    }
    struct str path = in_path(in);
    if (in->node->kind == YAML_SCALAR && in->node->text.len > 0 && in->node->text.len < 60) {
        char hint[96];
        snprintf(hint, sizeof hint, "write \"%.*s\" in quotes", STR_CLIP(in->node->text));
        in_error(in, hint, "\"%.*s\" must be a string, not %s", STR_FMT(path),
                 yaml_kind_text(in->node));
    } else {
        error_kind(in, "a string");
    }
    return false;
}

bool in_text_of_any(const struct in *in, struct str *ret)
{
    if (in->node->kind == YAML_SCALAR && !in->node->is_quoted && !in_is_null(in)) {
        *ret = arena_str(in->reader->arena, in->node->text);
        return true;
    }
    return in_text(in, ret);
}

bool in_number(const struct in *in, uint64_t min, uint64_t max, uint64_t *ret)
{
    uint64_t value;
    double real;
    if (yaml_u64(in->node, &value) && value >= min && value <= max) {
        *ret = value;
        return true;
    }
    struct str path = in_path(in);
    if (!yaml_f64(in->node, &real))
        error_kind(in, "a number");
    else
        in_error(in, NULL, "\"%.*s\" must be a whole number from %llu to %llu, not %.*s",
                 STR_FMT(path), (unsigned long long)min, (unsigned long long)max,
                 STR_CLIP(in->node->text));
    return false;
}

static int name_index(struct str text, const char *const *names)
{
    for (int i = 0; names != NULL && names[i] != NULL; i++)
        if (str_eq(text, str_from_c(names[i])))
            return i;
    return -1;
}

static const char *nearest_name(struct str text, const char *const *names)
{
    for (int i = 0; names[i] != NULL; i++)
        if (nearest_distance(text, str_from_c(names[i]), 2) <= 2)
            return names[i];
    return NULL;
}

int in_enum(const struct in *in, const char *const *names, const char *const *not_yet)
{
    struct str text;
    if (!in_text(in, &text))
        return -1;
    int index = name_index(text, names);
    if (index >= 0)
        return index;
    struct str path = in_path(in);
    if (name_index(text, not_yet) >= 0) {
        in_error(in, NULL, "\"%.*s: %.*s\" is not supported yet", STR_FMT(path), STR_FMT(text));
        return -1;
    }
    char list[256] = "", hint[96];
    size_t len = 0;
    for (int i = 0; names[i] != NULL && len < sizeof list; i++)
        len += (size_t)snprintf(list + len, sizeof list - len, "%s%s", i > 0 ? ", " : "", names[i]);
    const char *nearest = nearest_name(text, names);
    if (nearest != NULL)
        snprintf(hint, sizeof hint, "did you mean %s?", nearest);
    in_error(in, nearest != NULL ? hint : NULL, "\"%.*s\" must be one of %s, not \"%.*s\"",
             STR_FMT(path), list, STR_CLIP(text));
    return -1;
}
