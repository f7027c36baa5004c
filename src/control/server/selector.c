#include "control/server/selector.h"

#include "base/err.h"

enum { KEY_LEN_MAX = 317, VALUE_LEN_MAX = 253 };

struct parser {
    struct arena *a;
    struct str rest;
    const char *why; /* NULL: nothing is wrong so far */
};

static bool fail(struct parser *p, const char *why)
{
    if (p->why == NULL)
        p->why = why;
    return false;
}

/* --- words --- */

static void skip_blanks(struct parser *p)
{
    while (p->rest.len > 0 && (p->rest.ptr[0] == ' ' || p->rest.ptr[0] == '\t'))
        p->rest = str_skip(p->rest, 1);
}

static bool takes(struct parser *p, const char *mark)
{
    struct str m = str_from_c(mark);
    skip_blanks(p);
    if (!str_starts_with(p->rest, m))
        return false;
    p->rest = str_skip(p->rest, m.len);
    return true;
}

static bool is_of_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '/';
}

static struct str word(struct parser *p)
{
    size_t len = 0;
    skip_blanks(p);
    while (len < p->rest.len && is_of_word(p->rest.ptr[len]))
        len++;
    struct str w = str_sub(p->rest, 0, len);
    p->rest = str_skip(p->rest, len);
    return w;
}

/* A keyword is a word of its own: `a in (b)`, but not `a innumerable`. */
static bool takes_word(struct parser *p, const char *keyword)
{
    struct str before = p->rest;
    if (str_eq(word(p), str_from_c(keyword)))
        return true;
    p->rest = before;
    return false;
}

/* --- terms --- */

static bool read_one(struct parser *p, struct selector_term *t)
{
    struct str *value = ARENA_NEW(p->a, struct str);
    *value = word(p);
    t->values = value;
    t->count = 1;
    return value->len <= VALUE_LEN_MAX || fail(p, "a value is too long");
}

static bool read_set(struct parser *p, struct selector_term *t)
{
    struct str *values = ARENA_ARRAY(p->a, struct str, SELECTOR_VALUES_MAX);
    t->values = values;
    if (!takes(p, "("))
        return fail(p, "in and notin want values in brackets");
    do {
        if (t->count == SELECTOR_VALUES_MAX)
            return fail(p, "too many values");
        values[t->count++] = word(p);
    } while (takes(p, ","));
    return takes(p, ")") || fail(p, "a closing bracket is missing");
}

static bool read_values(struct parser *p, struct selector_term *t)
{
    bool is_not = takes(p, "!=");
    if (is_not || takes(p, "==") || takes(p, "=")) {
        t->op = is_not ? SELECTOR_NOT_IN : SELECTOR_IN;
        return read_one(p, t);
    }
    is_not = takes_word(p, "notin");
    if (is_not || takes_word(p, "in")) {
        t->op = is_not ? SELECTOR_NOT_IN : SELECTOR_IN;
        return read_set(p, t);
    }
    t->op = SELECTOR_EXISTS;
    return true;
}

static bool read_term(struct parser *p, struct selector_term *t)
{
    bool is_missing = false;
    skip_blanks(p);
    if (!str_starts_with(p->rest, STR("!=")))
        is_missing = takes(p, "!");
    t->key = word(p);
    if (t->key.len == 0 || t->key.len > KEY_LEN_MAX)
        return fail(p, "a key is expected");
    if (!is_missing)
        return read_values(p, t);
    t->op = SELECTOR_MISSING;
    return true;
}

static bool read_all(struct parser *p, struct selector *s)
{
    skip_blanks(p);
    if (p->rest.len == 0)
        return true;
    do {
        if (s->count == SELECTOR_TERMS_MAX)
            return fail(p, "too many terms");
        if (!read_term(p, &s->terms[s->count++]))
            return false;
    } while (takes(p, ","));
    skip_blanks(p);
    return p->rest.len == 0 || fail(p, "a comma, or nothing more, is expected");
}

int selector_parse_labels(struct arena *a, struct str text, struct selector *ret_selector,
                          const char **ret_why)
{
    struct parser p = {.a = a, .rest = text};
    struct selector s = {.count = 0};
    if (!read_all(&p, &s)) {
        *ret_why = p.why;
        return -ERR_INVALID;
    }
    *ret_selector = s;
    return 0;
}

static bool is_field(const struct selector_term *t)
{
    return (str_eq(t->key, STR("metadata.name")) || str_eq(t->key, STR("metadata.namespace"))) &&
           (t->op == SELECTOR_IN || t->op == SELECTOR_NOT_IN) && t->count == 1;
}

int selector_parse_fields(struct arena *a, struct str text, struct selector *ret_selector,
                          const char **ret_why)
{
    struct selector s;
    int err = selector_parse_labels(a, text, &s, ret_why);
    for (size_t i = 0; err == 0 && i < s.count; i++) {
        if (is_field(&s.terms[i]))
            continue;
        *ret_why = "the fields are metadata.name and metadata.namespace, with = or !=";
        err = -ERR_INVALID;
    }
    if (err == 0)
        *ret_selector = s;
    return err;
}

/* --- what they take --- */

static bool has_value(const struct selector_term *t, struct str value)
{
    for (size_t i = 0; i < t->count; i++) {
        if (str_eq(t->values[i], value))
            return true;
    }
    return false;
}

static bool term_takes(const struct selector_term *t, bool is_there, struct str value)
{
    switch (t->op) {
    case SELECTOR_IN:
        return is_there && has_value(t, value);
    case SELECTOR_NOT_IN:
        return !is_there || !has_value(t, value);
    case SELECTOR_EXISTS:
        return is_there;
    case SELECTOR_MISSING:
        return !is_there;
    }
    return false;
}

bool selector_takes_labels(const struct selector *s, const struct json *labels)
{
    for (size_t i = 0; i < s->count; i++) {
        const struct json *label = json_get_str_key(labels, s->terms[i].key);
        struct str value = STR_NULL;
        bool is_there = label != NULL && json_str(label, &value);
        if (!term_takes(&s->terms[i], is_there, value))
            return false;
    }
    return true;
}

bool selector_takes_fields(const struct selector *s, struct str namespace_, struct str name)
{
    for (size_t i = 0; i < s->count; i++) {
        bool is_name = str_eq(s->terms[i].key, STR("metadata.name"));
        if (!term_takes(&s->terms[i], true, is_name ? name : namespace_))
            return false;
    }
    return true;
}

struct str selector_only_name(const struct selector *s)
{
    for (size_t i = 0; i < s->count; i++) {
        const struct selector_term *t = &s->terms[i];
        if (t->op == SELECTOR_IN && str_eq(t->key, STR("metadata.name")))
            return t->values[0];
    }
    return STR_NULL;
}
