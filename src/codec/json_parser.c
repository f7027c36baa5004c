/* A recursive-descent reader of RFC 8259. Its own, because every fault has to have a place and
 * every depth and length a bound; its fuzz target compares it with jansson. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/vec.h"
#include "codec/json.h"
#include "codec/json_priv.h"

enum { SMALL_OBJECT = 16, NUMBER_LEN_MAX = 400 };

struct child {
    struct str key;
    struct json_place place; /* of the key */
    const struct json *value;
};

struct parser {
    struct arena *arena;
    const char *pos, *end;
    const char *line_start; /* line breaks stand between tokens only, so skip_space sees them all */
    uint32_t line;
    unsigned depth;
    VEC(struct child) children; /* of all open arrays and objects, outermost first */
    struct json_error error;
};

static struct json *parse_value(struct parser *p);

/* `at` lies in the line that is being read. */
static struct json_place place_of(const struct parser *p, const char *at)
{
    return (struct json_place){p->line, (uint32_t)(at - p->line_start) + 1};
}

/* Notes the fault and its place; returns NULL for the caller to return. */
static __attribute__((format(printf, 3, 4))) void *fail(struct parser *p, const char *at,
                                                        const char *fmt, ...)
{
    va_list args;

    if (p->error.line != 0)
        return NULL;
    struct json_place place = place_of(p, at);
    p->error.line = place.line;
    p->error.column = place.column;
    va_start(args, fmt);
    vsnprintf(p->error.text, sizeof(p->error.text), fmt, args);
    va_end(args);
    return NULL;
}

static void *fail_unexpected(struct parser *p, const char *expected)
{
    unsigned char c;

    if (p->pos == p->end)
        return fail(p, p->pos, "ends where %s is expected", expected);
    c = (unsigned char)*p->pos;
    if (c > ' ' && c < 0x7f)
        return fail(p, p->pos, "'%c' where %s is expected", c, expected);
    return fail(p, p->pos, "byte 0x%02x where %s is expected", c, expected);
}

static void skip_space(struct parser *p)
{
    while (p->pos < p->end &&
           (*p->pos == ' ' || *p->pos == '\t' || *p->pos == '\n' || *p->pos == '\r')) {
        if (*p->pos++ == '\n') {
            p->line++;
            p->line_start = p->pos;
        }
    }
}

static bool take(struct parser *p, char c)
{
    if (p->pos == p->end || *p->pos != c)
        return false;
    p->pos++;
    return true;
}

static bool take_hex4(struct parser *p, unsigned *ret_value)
{
    unsigned value = 0;

    if (p->end - p->pos < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        char c = p->pos[i], small = (char)(c | 0x20);

        if (c >= '0' && c <= '9')
            value = value << 4 | (unsigned)(c - '0');
        else if (small >= 'a' && small <= 'f')
            value = value << 4 | (unsigned)(small - 'a' + 10);
        else
            return false;
    }
    p->pos += 4;
    *ret_value = value;
    return true;
}

static char *put_utf8(char *out, unsigned code)
{
    if (code < 0x80) {
        *out++ = (char)code;
        return out;
    }
    if (code < 0x800) {
        *out++ = (char)(0xc0 | code >> 6);
    } else {
        if (code < 0x10000) {
            *out++ = (char)(0xe0 | code >> 12);
        } else {
            *out++ = (char)(0xf0 | code >> 18);
            *out++ = (char)(0x80 | (code >> 12 & 0x3f));
        }
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
    }
    *out++ = (char)(0x80 | (code & 0x3f));
    return out;
}

/* RFC 8259 7: behind "\u"; characters beyond U+FFFF come as a pair of surrogates. */
static bool take_unicode(struct parser *p, unsigned *ret_code)
{
    unsigned code, low;

    if (!take_hex4(p, &code) || (code >= 0xdc00 && code <= 0xdfff))
        return false;
    if (code >= 0xd800 && code <= 0xdbff) {
        if (!take(p, '\\') || !take(p, 'u') || !take_hex4(p, &low) || low < 0xdc00 || low > 0xdfff)
            return false;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    *ret_code = code;
    return true;
}

/* The byte behind a backslash; NULL when it is no escape. */
static char *unescape(struct parser *p, char *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *start = p->pos - 1;
    unsigned code;

    if (take(p, 'u')) {
        if (!take_unicode(p, &code))
            return fail(p, start, "escape that stands for no character");
        return put_utf8(out, code);
    }
    const char *at = p->pos < p->end && *p->pos != '\0' ? strchr(from, *p->pos) : NULL;
    if (at == NULL)
        return fail(p, start, "unknown escape");
    p->pos++;
    *out++ = to[at - from];
    return out;
}

/* The length of the raw text up to the closing quote; an escaped text is never longer than that. */
static size_t raw_len(const struct parser *p)
{
    const char *c = p->pos;

    while (c < p->end && *c != '"')
        c += *c == '\\' && c + 1 < p->end ? 2 : 1;
    return (size_t)(c - p->pos);
}

static bool parse_string(struct parser *p, struct str *ret_text)
{
    const char *open = p->pos;

    if (!take(p, '"')) {
        fail_unexpected(p, "a string");
        return false;
    }
    char *text = arena_bytes(p->arena, raw_len(p) + 1), *out = text;
    while (out != NULL && !take(p, '"')) {
        if (p->pos == p->end)
            return fail(p, open, "string without end") != NULL;
        if (take(p, '\\')) {
            out = unescape(p, out);
            continue;
        }
        size_t n = str_utf8_len(str_from(p->pos, (size_t)(p->end - p->pos)));
        if (n == 0)
            return fail(p, p->pos, "not valid UTF-8") != NULL;
        if ((unsigned char)*p->pos < 0x20)
            return fail(p, p->pos, "control character in a string") != NULL;
        memcpy(out, p->pos, n);
        out += n;
        p->pos += n;
    }
    if (out == NULL)
        return false;
    *out = '\0';
    *ret_text = str_from(text, (size_t)(out - text));
    return true;
}

static bool take_digits(struct parser *p)
{
    const char *from = p->pos;

    while (p->pos < p->end && *p->pos >= '0' && *p->pos <= '9')
        p->pos++;
    return p->pos > from;
}

/* RFC 8259 6: -? int frac? exp? */
static bool scan_number(struct parser *p, bool *ret_is_real)
{
    *ret_is_real = false;
    take(p, '-');
    if (!take(p, '0') && !take_digits(p))
        return false;
    if (take(p, '.')) {
        *ret_is_real = true;
        if (!take_digits(p))
            return false;
    }
    if (take(p, 'e') || take(p, 'E')) {
        *ret_is_real = true;
        if (!take(p, '+'))
            take(p, '-');
        return take_digits(p);
    }
    return true;
}

static bool to_i64(struct str s, int64_t *ret_value)
{
    bool is_negative = s.ptr[0] == '-';
    uint64_t value, max = (uint64_t)INT64_MAX + is_negative;

    if (!str_to_u64(str_skip(s, is_negative), max, &value))
        return false;
    *ret_value = is_negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

static struct json *parse_number(struct parser *p)
{
    const char *from = p->pos;
    char text[NUMBER_LEN_MAX + 1];
    bool is_real;
    int64_t integer;

    if (!scan_number(p, &is_real))
        return fail_unexpected(p, "a digit");
    struct str s = str_from(from, (size_t)(p->pos - from));
    if (!is_real) {
        if (!to_i64(s, &integer))
            return fail(p, from, "integer that does not fit 64 bits");
        return json_new_i64(p->arena, integer);
    }
    if (s.len > NUMBER_LEN_MAX)
        return fail(p, from, "number with too many digits");
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    double real = strtod(text, NULL);
    if (!isfinite(real))
        return fail(p, from, "number out of range");
    return json_new_f64(p->arena, real);
}

static int place_cmp(struct json_place a, struct json_place b)
{
    if (a.line != b.line)
        return a.line < b.line ? -1 : 1;
    return (a.column > b.column) - (a.column < b.column);
}

static int child_cmp(const void *a, const void *b)
{
    const struct child *x = a, *y = b;
    int order = str_cmp(x->key, y->key);

    return order != 0 ? order : place_cmp(x->place, y->place);
}

/* Whether a key stands twice, and where the second one is. Of few members each pair is compared;
 * many are sorted in a copy. */
static bool find_duplicate(const struct child *c, size_t n, struct child *ret_twice)
{
    bool is_found = false;

    if (n <= SMALL_OBJECT) {
        for (size_t i = 1; i < n; i++)
            for (size_t k = 0; k < i; k++)
                if (str_eq(c[i].key, c[k].key)) {
                    *ret_twice = c[i];
                    return true;
                }
        return false;
    }
    AUTO(mem_free_auto) struct child *sorted = mem_alloc(n * sizeof(*sorted));
    memcpy(sorted, c, n * sizeof(*sorted));
    qsort(sorted, n, sizeof(*sorted), child_cmp);
    for (size_t i = 1; i < n; i++) {
        if (!str_eq(sorted[i].key, sorted[i - 1].key))
            continue;
        if (!is_found || place_cmp(sorted[i].place, ret_twice->place) < 0)
            *ret_twice = sorted[i];
        is_found = true;
    }
    return is_found;
}

/* Turns the children from `base` on into a node of their own. */
static struct json *close_node(struct parser *p, enum json_type type, size_t base)
{
    size_t n = p->children.len - base;
    const struct child *c = n > 0 ? &p->children.ptr[base] : NULL;
    struct json *v = json_new(p->arena, type);
    struct str *keys = NULL;
    struct json_place *places = NULL;
    struct child twice = {0};

    if (type == JSON_OBJECT) {
        if (find_duplicate(c, n, &twice)) {
            fail(p, p->pos, "key \"%.*s\" stands here a second time",
                 (int)MIN(twice.key.len, (size_t)64), twice.key.ptr);
            p->error.line = twice.place.line;
            p->error.column = twice.place.column;
            return NULL;
        }
        keys = ARENA_ARRAY(p->arena, struct str, n);
        places = ARENA_ARRAY(p->arena, struct json_place, n);
    }
    v->count = (uint32_t)n;
    v->items = ARENA_ARRAY(p->arena, const struct json *, n);
    for (size_t i = 0; i < n; i++) {
        v->items[i] = c[i].value;
        if (keys != NULL) {
            keys[i] = c[i].key;
            places[i] = c[i].place;
        }
    }
    v->keys = keys;
    v->key_places = places;
    p->children.len = base;
    return v;
}

static bool parse_key(struct parser *p, struct child *child)
{
    skip_space(p);
    const char *at = p->pos;

    child->place = place_of(p, at);
    if (!parse_string(p, &child->key))
        return false;
    if (str_find(child->key, '\0') >= 0)
        return fail(p, at, "U+0000 in a key") != NULL;
    skip_space(p);
    if (!take(p, ':')) {
        fail_unexpected(p, "':'");
        return false;
    }
    return true;
}

static bool parse_children(struct parser *p, enum json_type type)
{
    char closing = type == JSON_OBJECT ? '}' : ']';

    skip_space(p);
    if (take(p, closing))
        return true;
    for (;;) {
        struct child child = {0};

        if (type == JSON_OBJECT && !parse_key(p, &child))
            return false;
        child.value = parse_value(p);
        if (child.value == NULL)
            return false;
        VEC_PUSH(&p->children, child);
        skip_space(p);
        if (take(p, closing))
            return true;
        if (!take(p, ',')) {
            fail_unexpected(p, type == JSON_OBJECT ? "',' or '}'" : "',' or ']'");
            return false;
        }
    }
}

static struct json *parse_nested(struct parser *p, enum json_type type)
{
    size_t base = p->children.len;

    if (p->depth == JSON_DEPTH_MAX)
        return fail(p, p->pos, "deeper than %d levels", JSON_DEPTH_MAX);
    p->pos++;
    p->depth++;
    if (!parse_children(p, type))
        return NULL;
    p->depth--;
    return close_node(p, type, base);
}

static struct json *parse_word(struct parser *p)
{
    struct str rest = str_from(p->pos, (size_t)(p->end - p->pos));

    if (str_starts_with(rest, STR("null"))) {
        p->pos += 4;
        return json_new_null(p->arena);
    }
    if (str_starts_with(rest, STR("true"))) {
        p->pos += 4;
        return json_new_bool(p->arena, true);
    }
    if (str_starts_with(rest, STR("false"))) {
        p->pos += 5;
        return json_new_bool(p->arena, false);
    }
    return fail_unexpected(p, "a value");
}

static struct json *parse_text(struct parser *p)
{
    struct str text;
    struct json *v;

    if (!parse_string(p, &text))
        return NULL;
    v = json_new(p->arena, JSON_STR);
    v->str = text;
    return v;
}

static struct json *parse_any(struct parser *p)
{
    if (p->pos == p->end)
        return fail_unexpected(p, "a value");
    switch (*p->pos) {
    case '{':
        return parse_nested(p, JSON_OBJECT);
    case '[':
        return parse_nested(p, JSON_ARRAY);
    case '"':
        return parse_text(p);
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        return parse_number(p);
    default:
        return parse_word(p);
    }
}

static struct json *parse_value(struct parser *p)
{
    struct json_place place;
    struct json *v;

    skip_space(p);
    place = place_of(p, p->pos);
    v = parse_any(p);
    if (v != NULL)
        v->place = place;
    return v;
}

int json_parse(struct arena *a, struct str text, size_t len_max, const struct json **ret_root,
               struct json_error *ret_error)
{
    struct parser p = {.arena = a, .line = 1};
    const struct json *root = NULL;
    bool is_too_large = text.len > len_max;

    p.pos = p.line_start = text.len > 0 ? text.ptr : "";
    p.end = p.pos + text.len;
    if (is_too_large) {
        fail(&p, p.pos, "larger than %zu bytes", len_max);
    } else {
        root = parse_value(&p);
        skip_space(&p);
        if (root != NULL && p.pos != p.end)
            root = fail_unexpected(&p, "the end");
    }
    VEC_DEINIT(&p.children);
    if (root != NULL) {
        *ret_root = root;
        return 0;
    }
    if (ret_error != NULL)
        *ret_error = p.error;
    return is_too_large ? -ERR_TOO_LARGE : -ERR_SYNTAX;
}
