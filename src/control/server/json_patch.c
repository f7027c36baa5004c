#include "control/server/json_patch.h"

#include "base/err.h"

enum edit_kind { EDIT_ADD, EDIT_REMOVE, EDIT_REPLACE };

struct patching {
    struct arena *a;
    const char *why;
    size_t copied, made;
};

struct edit {
    enum edit_kind kind;
    const struct json *value; /* EDIT_REMOVE: none */
};

static const struct json *fail(struct patching *p, const char *why)
{
    p->why = why;
    return NULL;
}

/* --- pointers (RFC 6901) --- */

/* The first part of a pointer, unescaped: `~1` is '/', `~0` is '~'. False: it is none. */
static bool next_part(struct patching *p, struct str *rest, struct str *ret_part)
{
    if (rest->len == 0 || rest->ptr[0] != '/')
        return fail(p, "a pointer begins with /") != NULL;
    size_t len = 1, out_len = 0;
    while (len < rest->len && rest->ptr[len] != '/')
        len++;
    char *out = arena_bytes(p->a, len);
    for (size_t i = 1; i < len; i++) {
        char c = rest->ptr[i];
        if (c == '~' && i + 1 < len && (rest->ptr[i + 1] == '0' || rest->ptr[i + 1] == '1'))
            c = rest->ptr[++i] == '0' ? '~' : '/';
        else if (c == '~')
            return fail(p, "~ is written ~0 in a pointer") != NULL;
        out[out_len++] = c;
    }
    *ret_part = str_from(out, out_len);
    *rest = str_skip(*rest, len);
    return true;
}

/* An index of RFC 6901: digits, no leading zero; below `bound`. */
static bool read_index(struct patching *p, struct str part, size_t bound, size_t *ret_index)
{
    uint64_t index;
    bool is_number = str_to_u64(part, UINT32_MAX, &index) && (part.len == 1 || part.ptr[0] != '0');
    if (!is_number || index >= bound)
        return fail(p, is_number ? "there is no such item" : "an item is named by its number") !=
               NULL;
    *ret_index = index;
    return true;
}

static const struct json *child(struct patching *p, const struct json *v, struct str part)
{
    size_t index;
    const struct json *found = NULL;
    if (v->type == JSON_OBJECT)
        found = json_get_str_key(v, part);
    else if (v->type == JSON_ARRAY && read_index(p, part, v->count, &index))
        found = json_at(v, index);
    if (found == NULL && p->why == NULL)
        p->why = "there is nothing at the pointer";
    return found;
}

static const struct json *look(struct patching *p, const struct json *v, struct str pointer)
{
    struct str part;
    while (v != NULL && pointer.len > 0)
        v = next_part(p, &pointer, &part) ? child(p, v, part) : NULL;
    return v;
}

/* --- edits: what lies on the way is made anew, all else is shared --- */

enum { KEY_BYTES = 16 /* of a key that count as much as a member */ };

/* Each act makes the lists and objects on its way anew: long ones, and many acts, are more than any
 * memory. */
static bool may_make(struct patching *p, const struct json *v)
{
    size_t room = JSON_PATCH_MADE_MAX - p->made, needed = v->count;
    for (size_t i = 0; v->type == JSON_OBJECT && i < v->count && needed <= room; i++)
        needed += v->keys[i].len / KEY_BYTES;
    if (needed > room)
        return fail(p, "too much is made anew, act by act") != NULL;
    p->made += needed;
    return true;
}

static const struct json *edit_at(struct patching *p, const struct json *v, struct str pointer,
                                  const struct edit *e);

static const struct json *edit_member(struct patching *p, const struct json *v, struct str key,
                                      struct str pointer, const struct edit *e)
{
    struct json *out = json_new_object(p->a);
    const struct json *found = json_get_str_key(v, key), *next = NULL;
    bool is_last = pointer.len == 0;
    if (found == NULL && !(is_last && e->kind == EDIT_ADD))
        return fail(p, "there is nothing at the pointer");
    if (!(is_last && e->kind == EDIT_REMOVE)) {
        next = is_last ? e->value : edit_at(p, found, pointer, e);
        if (next == NULL)
            return NULL;
    }
    for (size_t i = 0; i < v->count; i++) {
        if (!str_eq(v->keys[i], key))
            json_object_add(p->a, out, v->keys[i], v->items[i]);
        else if (next != NULL)
            json_object_add(p->a, out, key, next);
    }
    if (found == NULL)
        json_object_add(p->a, out, key, next);
    return out;
}

static const struct json *edit_item(struct patching *p, const struct json *v, struct str part,
                                    struct str pointer, const struct edit *e)
{
    struct json *out = json_new_array(p->a);
    bool is_last = pointer.len == 0, is_insert = is_last && e->kind == EDIT_ADD;
    size_t index = v->count;
    /* RFC 6902 4.1: "-" is behind the last item. */
    bool is_end = is_insert && str_eq(part, STR("-"));
    if (!is_end && !read_index(p, part, v->count + is_insert, &index))
        return NULL;
    for (size_t i = 0; i < v->count; i++) {
        const struct json *item = v->items[i];
        if (i == index && is_insert)
            json_array_add(p->a, out, e->value);
        else if (i == index && is_last)
            item = e->value; /* EDIT_REMOVE: NULL */
        else if (i == index)
            item = edit_at(p, item, pointer, e);
        if (p->why != NULL)
            return NULL;
        if (item != NULL)
            json_array_add(p->a, out, item);
    }
    if (index == v->count && is_insert)
        json_array_add(p->a, out, e->value);
    return out;
}

/* Recursion: as deep as the pointer, see is_short. */
static const struct json *edit_at(struct patching *p, const struct json *v, struct str pointer,
                                  const struct edit *e)
{
    struct str part;
    if (pointer.len == 0)
        return e->kind != EDIT_REMOVE ? e->value : fail(p, "the whole document cannot be removed");
    if (!next_part(p, &pointer, &part) || !may_make(p, v))
        return NULL;
    if (v->type == JSON_OBJECT)
        return edit_member(p, v, part, pointer, e);
    if (v->type == JSON_ARRAY)
        return edit_item(p, v, part, pointer, e);
    return fail(p, "the pointer leads into a value that has no parts");
}

/* --- acts --- */

static bool is_equal(const struct json *a, const struct json *b)
{
    double x, y;
    if (json_f64(a, &x) && json_f64(b, &y))
        return x == y;
    if (a->type != b->type || a->count != b->count)
        return false;
    if (a->type == JSON_STR)
        return str_eq(a->str, b->str);
    if (a->type == JSON_BOOL)
        return a->boolean == b->boolean;
    for (size_t i = 0; i < a->count; i++) {
        const struct json *other =
            a->type == JSON_OBJECT ? json_get_str_key(b, a->keys[i]) : json_at(b, i);
        if (other == NULL || !is_equal(a->items[i], other))
            return false;
    }
    return true;
}

/* Trees are shared, so that a few copies of copies would be more than any memory when they are
 * written: counted as what they are written as, and bounded. */
static bool weigh(struct patching *p, const struct json *v, unsigned depth)
{
    if (++p->copied > JSON_PATCH_COPIED_MAX || depth > JSON_DEPTH_MAX)
        return fail(p, "too much is copied") != NULL;
    bool is_array_or_object = v->type == JSON_ARRAY || v->type == JSON_OBJECT;
    for (size_t i = 0; is_array_or_object && i < v->count; i++) {
        if (!weigh(p, v->items[i], depth + 1))
            return false;
    }
    return true;
}

static const struct json *add(struct patching *p, const struct json *target, struct str path,
                              const struct json *value)
{
    struct edit e = {EDIT_ADD, value};
    return value != NULL ? edit_at(p, target, path, &e) : fail(p, "value is missing");
}

static const struct json *take(struct patching *p, const struct json *target, struct str path)
{
    struct edit e = {EDIT_REMOVE, NULL};
    return edit_at(p, target, path, &e);
}

static const struct json *swap(struct patching *p, const struct json *target, struct str path,
                               const struct json *value)
{
    struct edit e = {EDIT_REPLACE, value};
    return value != NULL ? edit_at(p, target, path, &e) : fail(p, "value is missing");
}

static const struct json *move(struct patching *p, const struct json *target, struct str path,
                               struct str from)
{
    const struct json *value = look(p, target, from);
    /* RFC 6902 4.4: nothing moves into itself. */
    if (str_starts_with(path, from) && path.len > from.len && path.ptr[from.len] == '/')
        return fail(p, "from leads to what is moved into");
    const struct json *without = value != NULL && weigh(p, value, 0) ? take(p, target, from) : NULL;
    return without != NULL ? add(p, without, path, value) : NULL;
}

static const struct json *copy(struct patching *p, const struct json *target, struct str path,
                               struct str from)
{
    const struct json *value = look(p, target, from);
    return value != NULL && weigh(p, value, 0) ? add(p, target, path, value) : NULL;
}

/* With values of at most JSON_DEPTH_MAX this bounds how deep the result is. */
static bool is_short(struct str pointer)
{
    size_t parts = 0;
    for (size_t i = 0; i < pointer.len; i++)
        parts += pointer.ptr[i] == '/';
    return parts <= JSON_DEPTH_MAX;
}

static const struct json *act(struct patching *p, const struct json *target, const struct json *a,
                              bool *ret_is_conflict)
{
    struct str op = json_text_at(a, "op"), path, from;
    const struct json *value = json_get(a, "value");
    bool has_from = json_str(json_get(a, "from"), &from);
    if (!json_str(json_get(a, "path"), &path))
        return fail(p, "path is missing");
    if (!is_short(path) || (has_from && !is_short(from)))
        return fail(p, "the pointer is too long");
    if (str_eq(op, STR("add")))
        return add(p, target, path, value);
    if (str_eq(op, STR("remove")))
        return take(p, target, path);
    if (str_eq(op, STR("replace")))
        return swap(p, target, path, value);
    if (str_eq(op, STR("move")) && has_from)
        return move(p, target, path, from);
    if (str_eq(op, STR("copy")) && has_from)
        return copy(p, target, path, from);
    if (!str_eq(op, STR("test")) || value == NULL)
        return fail(p, "op is add, remove, replace, move, copy or test, with its value or from");
    const struct json *found = look(p, target, path);
    *ret_is_conflict = found != NULL && !is_equal(found, value);
    return !*ret_is_conflict ? (found != NULL ? target : NULL) : fail(p, "the test does not hold");
}

static bool is_shallow(const struct json *v, unsigned depth)
{
    bool is_array_or_object = v->type == JSON_ARRAY || v->type == JSON_OBJECT;
    if (is_array_or_object && depth == JSON_DEPTH_MAX)
        return false;
    for (size_t i = 0; is_array_or_object && i < v->count; i++) {
        if (!is_shallow(v->items[i], depth + 1))
            return false;
    }
    return true;
}

int json_patch(struct arena *a, const struct json *target, const struct json *acts,
               const struct json **ret_result, const char **ret_why)
{
    struct patching p = {.a = a};
    bool is_conflict = false;
    if (acts->type != JSON_ARRAY || acts->count > JSON_PATCH_ACTS_MAX) {
        *ret_why = "a list of at most 500 acts is expected";
        return -ERR_INVALID;
    }
    for (size_t i = 0; i < acts->count; i++) {
        target = act(&p, target, acts->items[i], &is_conflict);
        if (target != NULL)
            continue;
        *ret_why = arena_printf(a, "act %zu: %s", i, p.why).ptr;
        return is_conflict ? -ERR_CONFLICT : -ERR_INVALID;
    }
    if (!is_shallow(target, 0)) {
        *ret_why = "the result has too many levels";
        return -ERR_INVALID;
    }
    *ret_result = target;
    return 0;
}
