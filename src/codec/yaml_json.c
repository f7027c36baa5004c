/* Between YAML and JSON trees, and YAML as text. */
#include <stdio.h>

#include "codec/json.h"
#include "codec/json_writer.h"
#include "codec/yaml.h"
#include "codec/yaml_priv.h"

static const struct json *scalar_to_json(struct arena *a, const struct yaml_node *n)
{
    bool boolean;
    int64_t integer;
    double real;

    if (n == NULL || yaml_is_null(n))
        return json_new_null(a);
    if (yaml_bool(n, &boolean))
        return json_new_bool(a, boolean);
    if (yaml_i64(n, &integer))
        return json_new_i64(a, integer);
    if (yaml_f64(n, &real))
        return json_new_f64(a, real);
    return json_new_str(a, n->text);
}

const struct json *yaml_to_json(struct arena *a, const struct yaml_node *n)
{
    struct json *v;

    if (n == NULL || n->kind == YAML_SCALAR)
        return scalar_to_json(a, n);
    v = n->kind == YAML_MAP ? json_new_object(a) : json_new_array(a);
    for (uint32_t i = 0; i < n->count; i++) {
        const struct json *item = yaml_to_json(a, n->items[i]);

        if (n->kind == YAML_MAP)
            json_object_add(a, v, n->keys[i]->text, item);
        else
            json_array_add(a, v, item);
    }
    return v;
}

static struct str scalar_text(struct arena *a, const struct json *v)
{
    struct str_buf buf = STR_BUF_INIT(64);
    struct json_writer w;

    if (v->type == JSON_STR)
        return arena_str(a, v->str);
    json_writer_init(&w, &buf, 0);
    json_writer_tree(&w, NULL, v);
    struct str text = arena_str(a, str_buf_str(&buf));
    str_buf_deinit(&buf);
    return text;
}

struct from_json {
    struct arena *arena;
    uint32_t nodes_left, depth_left;
    bool is_over;
};

static struct yaml_node *new_node(struct from_json *f, enum yaml_kind kind, struct json_place place)
{
    struct yaml_node *n = ARENA_NEW(f->arena, struct yaml_node);

    n->kind = kind;
    n->line = place.line;
    n->column = place.column;
    if (f->nodes_left == 0)
        f->is_over = true;
    else
        f->nodes_left--;
    return n;
}

static struct yaml_node *new_scalar(struct from_json *f, struct str text, bool is_quoted,
                                    struct json_place place)
{
    struct yaml_node *n = new_node(f, YAML_SCALAR, place);

    n->text = text;
    n->is_quoted = is_quoted;
    if (str_find(text, '\0') >= 0)
        f->is_over = true; /* YAML's reader then says where */
    return n;
}

static struct yaml_node *convert(struct from_json *f, const struct json *v)
{
    bool is_map = v->type == JSON_OBJECT;

    if (!is_map && v->type != JSON_ARRAY)
        return new_scalar(f, scalar_text(f->arena, v), v->type == JSON_STR, v->place);

    struct yaml_node *n = new_node(f, is_map ? YAML_MAP : YAML_SEQ, v->place);
    if (f->depth_left == 0)
        f->is_over = true;
    if (f->is_over)
        return n;
    f->depth_left--;
    n->items = ARENA_ARRAY(f->arena, struct yaml_node *, v->count);
    if (is_map)
        n->keys = ARENA_ARRAY(f->arena, struct yaml_node *, v->count);
    for (uint32_t i = 0; i < v->count && !f->is_over; i++) {
        struct json_place none = {0, 0};

        if (is_map)
            n->keys[i] = new_scalar(f, arena_str(f->arena, v->keys[i]), true,
                                    v->key_places != NULL ? v->key_places[i] : none);
        n->items[i] = convert(f, v->items[i]);
    }
    n->count = v->count;
    f->depth_left++;
    return n;
}

struct yaml_node *yaml_from_json_within(struct arena *a, const struct json *v, uint32_t depth_max,
                                        const uint32_t *nodes_max)
{
    struct from_json f = {.arena = a, .nodes_left = *nodes_max, .depth_left = depth_max};
    struct yaml_node *n = convert(&f, v);

    return f.is_over ? NULL : n;
}

struct yaml_node *yaml_from_json(struct arena *a, const struct json *v)
{
    struct from_json f = {.arena = a, .nodes_left = UINT32_MAX, .depth_left = UINT32_MAX};

    return convert(&f, v);
}

/* What YAML 1.1's readers take for null or a boolean. */
static bool is_reserved(struct str s)
{
    static const char *const words[] = {"null", "true", "false", "yes", "no",
                                        "on",   "off",  "y",     "n"};

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_eq_nocase(s, str_from_c(words[i])))
            return true;
    return false;
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

/* Plain only where no reader can be in doubt: starts with a letter or one of "/_", goes on with
 * letters, digits and harmless marks; whatever might be a number or a date starts with a digit. */
static bool may_be_plain(struct str s)
{
    if (s.len == 0 || is_reserved(s) || s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == ':')
        return false;
    if ((s.ptr[0] >= '0' && s.ptr[0] <= '9') ||
        (!is_alnum(s.ptr[0]) && strchr("/_", s.ptr[0]) == NULL))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];

        if (is_alnum(c))
            continue;
        if (c == '\0' || strchr("/_.@*+-=: ", c) == NULL || (c == ':' && s.ptr[i + 1] == ' '))
            return false;
    }
    return true;
}

static void write_str(struct str_buf *out, struct str s)
{
    if (may_be_plain(s))
        str_buf_add(out, s);
    else
        json_writer_quote(out, s);
}

static void write_scalar(struct str_buf *out, const struct json *v)
{
    struct json_writer w;

    if (v->type == JSON_STR) {
        write_str(out, v->str);
    } else if (v->type == JSON_OBJECT || v->type == JSON_ARRAY) {
        str_buf_add(out, v->type == JSON_OBJECT ? STR("{}") : STR("[]"));
    } else {
        json_writer_init(&w, out, 0);
        json_writer_tree(&w, NULL, v);
    }
    str_buf_add_char(out, '\n');
}

static void indent_by(struct str_buf *out, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        str_buf_add_char(out, ' ');
}

static void write_block(struct str_buf *out, const struct json *v, unsigned indent);

/* The value behind "key:"; lists stand as deep as their key. */
static void write_member(struct str_buf *out, const struct json *v, unsigned indent)
{
    if (json_count(v) == 0) {
        str_buf_add_char(out, ' ');
        write_scalar(out, v);
        return;
    }
    if (v->type == JSON_OBJECT)
        indent += 2;
    str_buf_add_char(out, '\n');
    indent_by(out, indent);
    write_block(out, v, indent);
}

/* The first line's indentation is there already. */
static void write_block(struct str_buf *out, const struct json *v, unsigned indent)
{
    for (uint32_t i = 0; i < v->count; i++) {
        if (i > 0)
            indent_by(out, indent);
        if (v->type == JSON_OBJECT) {
            write_str(out, v->keys[i]);
            str_buf_add_char(out, ':');
            write_member(out, v->items[i], indent);
            continue;
        }
        str_buf_add(out, STR("- "));
        if (json_count(v->items[i]) > 0)
            write_block(out, v->items[i], indent + 2);
        else
            write_scalar(out, v->items[i]);
    }
}

void yaml_write(struct str_buf *out, const struct json *v)
{
    if (json_count(v) > 0)
        write_block(out, v, 0);
    else
        write_scalar(out, v);
}
